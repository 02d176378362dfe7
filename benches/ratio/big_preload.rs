//! A preload of millions of rows: its rate and memory, what a kill in the middle of it costs, and whether every key is
//! right in the end.
//!
//! Topic and export hold each row once, and the topic's records are older than the export. The rate is that of a drain
//! between two reference runs, as the point `preload from Parquet` has it, but of one pair: millions of rows even out
//! what short drains are repeated for. Then a load is killed and goes on, and `stoker verify` compares all that it
//! left. Start at [`measure`].

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::contestant::{Contestant, EXPORTED_BEFORE_MS, Scene};
use crate::drain::{Drained, drain, key_count};
use crate::export;
use crate::load::{Topic, unix_ms};
use crate::parts::{Broker, Cache, Process, Registry, free_port, wait_for};
use crate::point::{Point, Start};
use crate::process::peak_mb;
use crate::trial::calibrate;

/// What `--only` calls it.
pub(crate) const NAME: &str = "preload-5m";

/// Of the rows of a drain one in so many is checked: `stoker verify` compares all of them later.
const CHECK_STEP: usize = 100;
/// The longest that a load may take, picked by eye: five million at 8,000 rows a second.
const LOAD_WITHIN: Duration = Duration::from_secs(600);
/// The same of the comparison, which reads the topic once a pass.
const VERIFY_WITHIN: Duration = Duration::from_secs(1_800);
/// What `stoker verify` may take for its keys, about 350 bytes each: two passes over five million. With the 128 MiB of
/// the settings it would be sixteen.
const VERIFY_MEMORY: &str = "1GiB";
/// Examples of each kind of difference, where there are any.
const EXAMPLES: &str = "5";
/// How often is looked how far something is.
const STEP: Duration = Duration::from_millis(5);

/// What was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BigPreload {
    /// Rows of the export, each of one key.
    pub(crate) rows: u64,
    /// A load without interruption.
    pub(crate) loaded: Drained,
    /// Commands a second of `redis-benchmark`, before it and after it.
    pub(crate) reference_rates: [f64; 2],
    pub(crate) resumed: Resumed,
    pub(crate) verified: Verified,
}

impl BigPreload {
    /// Its share of the mean reference rate.
    pub(crate) fn ratio(&self) -> f64 {
        let [before, after] = self.reference_rates;
        self.loaded.rate / ((before + after) / 2.0)
    }
}

/// A load that was killed, and went on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resumed {
    /// Keys that were there after the kill.
    pub(crate) keys_at_kill: u64,
    /// Rows that were read after it.
    pub(crate) rows_read: u64,
    /// Those among them whose keys were there already.
    pub(crate) rows_again: u64,
    /// From the second start to its end, s.
    pub(crate) took_s: f64,
    /// The most memory of the second process, MB.
    pub(crate) peak_mb: f64,
}

/// What `stoker verify` said. It found no difference, or the run had ended there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verified {
    pub(crate) checked: u64,
    pub(crate) differences: u64,
    pub(crate) passes: u64,
    pub(crate) took_s: f64,
    pub(crate) peak_mb: f64,
}

/// Measures with so many rows.
pub(crate) fn measure(broker: &Broker, registry: &Registry, folder: &Path, rows: usize) -> BigPreload {
    let point = Point { name: NAME, start: Start::Preload, target: None, ..Point::base() };
    eprintln!("{NAME}: {rows} rows of {} B", point.row_bytes);
    let cache = Cache::start(point.nodes);
    let topic = Topic::make_once(&broker.address, "bench-preload-5m", &point, rows);
    let scene = Scene { broker, cache: &cache, registry, point: &point, topic: &topic.name, folder };
    export::write(&scene.export(), &topic);

    let reference = calibrate(&scene, &topic, rows, CHECK_STEP);
    // As many keys as the load writes, so that Redis's tables grow as far.
    let requests = rows as u64;
    let before = reference.run(&cache, requests);
    let group = format!("{}-load", topic.name);
    let loaded = drain(&Contestant::Stoker, &scene, &topic, &group, CHECK_STEP);
    let after = reference.run(&cache, requests);
    eprintln!("  {loaded:?}, redis-benchmark {before:.0} and {after:.0} a second");

    let group = format!("{}-killed", topic.name);
    let resumed = kill_and_resume(&scene, &group, topic.row_count());
    eprintln!("  {resumed:?}");
    // Else what is wrong would count for the group's lag.
    topic.commit_ends(&broker.address, &group, point.partitions);
    let verified = verify(&scene, &group, topic.row_count());
    eprintln!("  {verified:?}");
    topic.delete(&broker.address);
    BigPreload { rows: topic.row_count(), loaded, reference_rates: [before, after], resumed, verified }
}

/// Kills a load when half of the keys are there, and lets it go on from its checkpoint to the end.
fn kill_and_resume(scene: &Scene<'_>, group: &str, rows: u64) -> Resumed {
    scene.cache.flush();
    // Of another moment it would be another load, and refused.
    let as_of_ms = unix_ms() - EXPORTED_BEFORE_MS;
    let start = |log: &Path| {
        let mut command = scene.preload(group, as_of_ms);
        Process::start(command.args(["--output", "json"]), log)
    };
    let log = scene.folder.join(format!("{group}-first.log"));
    let mut nodes = scene.cache.nodes();
    let mut first = start(&log);
    wait_for("half of the keys", LOAD_WITHIN, STEP, || {
        assert!(first.ended().is_none(), "the load ended before it was killed: {}", read(&log));
        key_count(&mut nodes) >= rows / 2
    });
    // SIGKILL, and its end is waited for.
    drop(first);
    let keys_at_kill = key_count(&mut nodes);
    assert!(keys_at_kill < rows, "nothing is left to go on with: {}", read(&log));
    assert!(scene.checkpoint(group).exists(), "there is no checkpoint: {}", read(&log));

    let log = scene.folder.join(format!("{group}-second.log"));
    let started = Instant::now();
    let mut second = start(&log);
    let peak_mb = watch("the load that goes on", LOAD_WITHIN, &mut second, &log);
    let took_s = started.elapsed().as_secs_f64();
    let report = last_object(&log, "keys_written");
    assert_eq!(report["complete"], true, "{report}");
    assert!(read(&log).contains("goes on with a load"), "it began anew: {}", read(&log));
    let (rows_read, rows_again) = (count(&report, "rows"), count(&report, "keys_present"));
    // A row gives one key.
    assert_eq!(count(&report, "keys_written") + rows_again, rows_read, "{report}");
    Resumed { keys_at_kill, rows_read, rows_again, took_s, peak_mb }
}

/// Compares all keys. Panics where one differs, or where nothing can be said of one: no key may be gone, although
/// `stoker verify` takes those of records that are older than their TTL for expired.
fn verify(scene: &Scene<'_>, group: &str, rows: u64) -> Verified {
    let log = scene.folder.join(format!("{group}-verify.log"));
    let mut command = scene.stoker("verify", group, free_port());
    command.args(["--output", "json", "--memory", VERIFY_MEMORY, "--max-examples", EXAMPLES]);
    let started = Instant::now();
    let mut running = Process::start(&mut command, &log);
    let peak_mb = watch("stoker verify", VERIFY_WITHIN, &mut running, &log);
    let took_s = started.elapsed().as_secs_f64();
    let report = last_object(&log, "checked");
    let (checked, differences) = (count(&report, "checked"), count(&report, "differences"));
    assert_eq!((checked, differences), (rows, 0), "{}", read(&log));
    assert_eq!(count(&report, "failed_records"), 0, "{report}");
    for apart in ["expired", "raced", "behind", "evicted", "unknown"] {
        assert_eq!(count(&report["entities"][0], apart), 0, "{apart}: {report}");
    }
    Verified { checked, differences, passes: count(&report, "passes"), took_s, peak_mb }
}

/// Waits until it has ended, and well. Returns the most memory that it had, MB.
fn watch(what: &str, within: Duration, process: &mut Process, log: &Path) -> f64 {
    let mut peak = 0.0_f64;
    wait_for(what, within, STEP, || {
        peak = peak.max(peak_mb(process.id()));
        let ended = process.ended();
        assert!(ended.is_none_or(|status| status.success()), "{what}: {ended:?}: {}", read(log));
        ended.is_some()
    });
    peak
}

fn read(log: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned()
}

/// The last line that is a JSON object with such a member; its progress and its notes are in the same log.
fn last_object(log: &Path, member: &str) -> Value {
    let text = read(log);
    let mut objects = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    objects.rfind(|object| object.get(member).is_some()).unwrap_or_else(|| panic!("no report: {text}"))
}

fn count(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("no {name}: {report}"))
}
