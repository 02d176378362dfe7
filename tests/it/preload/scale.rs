//! A large export, small: it takes little memory, goes on after kill -9, and `stoker verify` finds nothing in what came of it.

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};

use super::formats::{Column, column, parquet};
use super::{Desk, LONG, Running, alone, as_of, entity, long_ago};
use crate::support::broker;
use crate::support::instance::Bench;
use crate::support::redis::RedisServer;
use crate::support::rig::Rig;
use crate::support::scene::{envelope, record_key};
use crate::support::topic::Topic;
use crate::support::wait_for;
use crate::verify::Said;

const GROUPS: usize = 10;
const ROWS_PER_GROUP: usize = 20_000;
const ROWS: usize = GROUPS * ROWS_PER_GROUP;
/// Resident memory that a preload may take, KiB. In a debug build.
const PEAK_KIB_MAX: u64 = 200 << 10;

/// One key a row. What is missing shows, for no TTL can have run out.
fn settings(topic: &str, redis: u16) -> String {
    let one = format!(
        "\n[[entity]]\nname = \"t\"\ntopics = [\"{topic}\"]\nkey_columns = [\"id\"]\n  [[entity.write]]\n  \
         key = \"t:{{id}}\"\n  value = \"json\"\n  ttl = \"24h\"\n"
    );
    alone(redis, "")
        .replace("127.0.0.1:1\"", &format!("{}\"", Rig::shared().brokers()))
        .replace(&entity("t"), &one)
}

fn name(id: usize) -> String {
    format!("{id:0>100}")
}

/// Row groups with these rows.
fn export(path: &std::path::Path) {
    let message = "message t { required int64 id; required binary name (UTF8); }";
    let groups = (0..GROUPS).map(|group| -> Vec<Column> {
        let ids = group * ROWS_PER_GROUP..(group + 1) * ROWS_PER_GROUP;
        let names: Vec<ByteArray> = ids.clone().map(|id| name(id).as_str().into()).collect();
        let ids = ids.map(|id| i64::try_from(id).unwrap()).collect();
        vec![column::<Int64Type>(ids, vec![], vec![]), column::<ByteArrayType>(names, vec![], vec![])]
    });
    parquet(path, message, groups.collect());
}

/// Waits until the claim holds or the load has ended; returns the most memory that it had until then, KiB.
fn watch(running: &mut Running, mut claim: impl FnMut() -> bool) -> u64 {
    let mut peak = 0;
    let held = wait_for(LONG, || {
        peak = running.peak_kib().map_or(peak, |kib| kib.max(peak));
        claim() || running.child.try_wait().unwrap().is_some()
    });
    assert!(held, "{}", running.said());
    peak
}

#[test]
fn two_hundred_thousand_rows_are_right_after_a_kill_in_the_middle() {
    let redis = RedisServer::start();
    let brokers = Rig::shared().brokers();
    let topic = Topic::create(brokers, "preload_scale", 2);
    for id in 0..ROWS {
        let image = format!(r#"{{"id":{id},"name":"{}"}}"#, name(id));
        let event = envelope("u", "null", &image, id + 1);
        topic.append_at(i32::try_from(id % 2).unwrap(), &record_key(id), Some(&event), long_ago());
        if id % ROWS_PER_GROUP == 0 {
            topic.flush();
        }
    }
    topic.flush();
    // A group that has come to the end: else verify calls what is missing its lag.
    for (partition, end) in (0..).zip(broker::ends(brokers, &topic.name, 2)) {
        broker::commit(brokers, "g", (&topic.name, partition), end.unwrap(), "");
    }
    let settings = settings(&topic.name, redis.port);
    let desk = Desk::new(&settings);
    export(&desk.path("big.parquet"));
    let bench = Bench::new(&settings);
    let mut client = redis.client();
    let mut loaded = || -> usize { client.run(&["DBSIZE"]) };

    let as_of = as_of();
    let arguments = ["--as-of", &as_of, "big.parquet"];
    // Seconds lie between the moment to end it and its own end.
    let mut running = desk.start(&[&arguments[..], &["--rate", "30000"]].concat());
    let mut peak = watch(&mut running, || loaded() > ROWS / 4 * 3);
    running.kill();
    let until_then = loaded();
    assert!((ROWS / 4 * 3..ROWS).contains(&until_then), "in the middle: {until_then}");
    let half = Said::by(&bench, &[]);
    assert_eq!(half.summary["differences"], ROWS - until_then, "{}", half.summary);

    let mut running = desk.start(&arguments);
    peak = watch(&mut running, || false).max(peak);
    let done = running.end();
    assert_eq!((done.code, done.report["protection"].as_str()), (0, Some("topics")), "{done:?}");
    assert!(done.count("rows") < ROWS as u64 && done.err.contains("goes on with a load"), "{done:?}");
    assert!((1..PEAK_KIB_MAX).contains(&peak), "{peak} KiB");
    println!("{peak} KiB at the most, {} rows after the kill", done.count("rows"));

    assert_eq!(loaded(), ROWS);
    let whole = Said::by(&bench, &[]);
    assert_eq!(whole.differences(), [], "{}", whole.summary);
    assert_eq!(whole.count("checked"), ROWS as u64, "{}", whole.summary);
    for apart in ["expired", "behind", "evicted", "unknown"] {
        assert_eq!(whole.count(apart), 0, "{apart}: {}", whole.summary);
    }
}
