//! A drain: a contestant reads a whole topic into an empty cache, watched from Redis's side.
//!
//! Time runs from the first keys in the cache to the last change of every partition in it, as an independent reader
//! sees them; joining the group is in `first_write`, not in the rate. A refill comes to the oldest rows last: its end
//! is that these are there, and as many keys as rows.

use std::time::{Duration, Instant};

use crate::contestant::{Contestant, Running, Scene};
use crate::load::{Topic, key};
use crate::parts::wait_for;
use crate::point::Start;
use crate::process::{cpu_us, cpu_us_of, family, peak_mb};

/// Keys in the cache that count as the beginning: more than any contestant keeps for itself.
const BEGUN_KEYS: u64 = 200;
/// The longest that a drain may take, one of five million rows too.
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// How often Redis is asked meanwhile.
const STEP: Duration = Duration::from_millis(2);

/// What a drain showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drained {
    /// Records a second.
    pub(crate) rate: f64,
    /// Processor time of a record, µs.
    pub(crate) own_us: f64,
    pub(crate) redis_us: f64,
    pub(crate) broker_us: f64,
    /// The most memory of the contestant, MB.
    pub(crate) peak_mb: f64,
    /// From the start of the process to its first write, s.
    pub(crate) first_write_s: f64,
    /// Commands in a batch of Stoker's, on average; 0 of others.
    pub(crate) batch_units: f64,
}

/// Drains the topic, and checks every `step`-th row of what is cached afterwards.
pub(crate) fn drain(
    contestant: &Contestant,
    scene: &Scene<'_>,
    topic: &Topic,
    group: &str,
    step: usize,
) -> Drained {
    scene.cache.flush();
    let mut nodes = scene.cache.nodes();
    let redis = scene.cache.pids();
    let started = Instant::now();
    let mut running = contestant.start(scene, group);
    let alive = |running: &mut Running| {
        let is_job = scene.point.start == Start::Preload;
        let ended = running.process.ended().filter(|status| !(is_job && status.success()));
        assert!(ended.is_none(), "{} ended: {}", contestant.name(), log(scene, group));
    };
    wait_for("the first write", Duration::from_secs(60), STEP, || {
        alive(&mut running);
        key_count(&mut nodes) >= BEGUN_KEYS
    });
    let begun = Instant::now();
    let members = family(running.process.id());
    let before = (cpu_us_of(&members), cpu_us_of(&redis), cpu_us(scene.broker.pid));
    let (mut open, rows) = match scene.point.start {
        Start::Earliest => (topic.ends.clone(), 0),
        Start::Refill | Start::Preload => (topic.oldest.clone(), topic.row_count()),
    };
    wait_for("the drain", DRAIN_MAX, STEP, || {
        alive(&mut running);
        open.retain(|(id, version)| !holds(&mut nodes, *id, *version));
        open.is_empty() && (rows == 0 || key_count(&mut nodes) >= rows)
    });
    let took = begun.elapsed();
    let after = (cpu_us_of(&members), cpu_us_of(&redis), cpu_us(scene.broker.pid));
    let records = match scene.point.start {
        Start::Preload => topic.row_count() as f64,
        Start::Earliest | Start::Refill => topic.records as f64,
    };
    let batch_units = running.admin.map_or(0.0, batch_units);
    let peak = members.iter().map(|pid| peak_mb(*pid)).sum();
    check(scene, topic, step);
    Drained {
        rate: records / took.as_secs_f64(),
        own_us: (after.0 - before.0) / records,
        redis_us: (after.1 - before.1) / records,
        broker_us: (after.2 - before.2) / records,
        peak_mb: peak,
        first_write_s: (begun - started).as_secs_f64(),
        batch_units,
    }
}

/// What it said before it ended.
fn log(scene: &Scene<'_>, group: &str) -> String {
    std::fs::read_to_string(scene.folder.join(format!("{group}.log"))).unwrap_or_default()
}

/// Keys in these nodes, by connections that stay open: it is asked often.
pub(crate) fn key_count(nodes: &mut [redis::Connection]) -> u64 {
    let count = |node: &mut redis::Connection| redis::cmd("DBSIZE").query::<u64>(node).expect("a count");
    nodes.iter_mut().map(count).sum()
}

/// True where some node holds the row at that version.
fn holds(nodes: &mut [redis::Connection], id: u64, version: u64) -> bool {
    let wanted = format!("\"version\":{},", 1_000_000 + version);
    nodes.iter_mut().any(|node| {
        // Other nodes of a cluster answer MOVED.
        let head = redis::cmd("GETRANGE").arg(key(id)).arg(0).arg(60).query::<String>(node);
        head.is_ok_and(|head| head.contains(&wanted))
    })
}

/// Holds what is cached against what the topic leads to, and that it expires.
///
/// Every partition's last change is there, but lanes of one batch may still have commands on their way: what is not
/// there at once is asked for again.
fn check(scene: &Scene<'_>, topic: &Topic, step: usize) {
    const AT_ONCE: usize = 1_000;
    let mut nodes = scene.cache.nodes();
    let mut chunk = Vec::with_capacity(AT_ONCE);
    let mut expected = topic.expected(step);
    loop {
        chunk.clear();
        chunk.extend(expected.by_ref().take(AT_ONCE));
        if chunk.is_empty() {
            break;
        }
        wait_for("the state that the topic leads to", Duration::from_secs(5), STEP, || {
            chunk.retain(|(key, value)| !nodes.iter_mut().any(|node| is_cached(node, key, value)));
            chunk.is_empty()
        });
    }
    if step == 1 && !scene.point.guard {
        let extra = scene.cache.key_count() - topic.row_count();
        assert!(extra < BEGUN_KEYS, "{extra} keys that no row has");
    }
}

fn is_cached(node: &mut redis::Connection, key: &str, value: &str) -> bool {
    let held: redis::RedisResult<(Option<String>, i64)> =
        redis::pipe().cmd("GET").arg(key).cmd("PTTL").arg(key).query(node);
    held.is_ok_and(|(held, ttl)| held.as_deref() == Some(value) && (1..=3_600_000).contains(&ttl))
}

/// The mean of `stoker_batch_units`, from its metrics.
fn batch_units(port: u16) -> f64 {
    let metrics = http_get(port, "/metrics");
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
    };
    value("stoker_batch_units_sum") / value("stoker_batch_units_count").max(1.0)
}

fn http_get(port: u16, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut answer = String::new();
    let asked = std::net::TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    asked.map(|_| answer).unwrap_or_default()
}
