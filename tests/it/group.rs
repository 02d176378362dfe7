//! Where partitions start, and what becomes of them when members come and go.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::broker;
use crate::support::instance::Instance;
use crate::support::load::StopOnDrop;
use crate::support::scene::{Draft, LONG, Scene, event, record_key};
use crate::support::topic::Topic;
use crate::support::wait_for;

const PARTITIONS: i32 = 6;

/// The partitions of this process's lanes that apply.
fn lanes(instance: &Instance) -> Vec<i64> {
    let (code, body) = instance.get("/status");
    assert_eq!(code, 200);
    let status: Value = serde_json::from_str(&body).unwrap();
    let lanes = status["lanes"].as_array().unwrap().iter();
    let owned = lanes.filter(|lane| lane["state"] == "filling" || lane["state"] == "in_flight");
    owned.map(|lane| lane["partition"].as_i64().unwrap()).collect()
}

/// Under load a second member joins, takes its share, and leaves; no partition is ever left lying.
fn joins_and_leaves(scene: &Scene) {
    let partitions = usize::try_from(PARTITIONS).unwrap();
    let bench = scene.draft.bench();
    let first = bench.start();
    let stop = AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        let writer = scope.spawn(|| scene.write_until(0..120, partitions, &stop));
        let _end = StopOnDrop(&stop);
        let all: Vec<i64> = (0..i64::from(PARTITIONS)).collect();
        assert!(wait_for(LONG, || lanes(&first) == all), "{:?}\n{}", lanes(&first), first.story());
        let second = bench.start();
        let shared = wait_for(LONG, || {
            let mut both = [lanes(&first), lanes(&second)].concat();
            both.sort_unstable();
            both == all && lanes(&second).len() == partitions / 2
        });
        assert!(shared, "{:?} {:?}\n{}", lanes(&first), lanes(&second), first.story());
        // The newcomer works: its lanes move.
        second.await_metric("stoker_records_total", "", 200.0);
        assert_eq!(second.stop(), 0);
        assert!(wait_for(LONG, || lanes(&first) == all), "{:?}\n{}", lanes(&first), first.story());
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    scene.await_applied(0..120, last, &first);
    scene.await_committed(PARTITIONS, &first);
    first.await_ready();
    assert_eq!(first.stop(), 0);
}

#[test]
fn a_member_joins_and_leaves_under_load_cooperatively() {
    joins_and_leaves(&Scene::new("group-cooperative", PARTITIONS));
}

#[test]
fn a_member_joins_and_leaves_under_load_by_the_consumer_protocol() {
    let mut scene = Scene::new("group-consumer", PARTITIONS);
    scene.draft.properties = "\"group.protocol\" = \"consumer\"".to_owned();
    joins_and_leaves(&scene);
}

#[test]
fn a_partition_that_is_added_is_read_from_its_beginning_whatever_the_policy() {
    let mut scene = Scene::new("group-added", 1);
    scene.draft.start = "latest";
    scene.draft.properties.push_str("\n\"topic.metadata.refresh.interval.ms\" = \"500\"");
    let instance = scene.draft.bench().start();
    instance.await_ready();
    scene.write(0..1, 1, 1);
    scene.await_applied(0..1, 1, &instance);
    scene.await_committed(1, &instance);
    broker::add_partitions(scene.brokers, scene.name, 2);
    broker::append(scene.brokers, scene.name, 1, &record_key(1), &event(1, 1));
    scene.await_applied(1..2, 1, &instance);
    scene.await_committed(2, &instance);
    assert_eq!(instance.stop(), 0);
}

#[test]
fn a_new_group_starts_where_the_settings_say() {
    let mut scene = Scene::new("group-start", 2);
    scene.draft.start = "latest";
    scene.write(0..10, 1, 2);
    let latest = scene.draft.bench().start();
    latest.await_ready();
    assert_eq!(scene.committed(2), [Some(5), Some(5)], "the start is committed, so that it stays");
    scene.write(10..20, 1, 2);
    scene.await_applied(10..20, 1, &latest);
    assert_eq!(scene.missing(0..10, 1), 10, "what came before is not read");
    assert_eq!(latest.stop(), 0);
    for start in ["earliest", "refill"] {
        let redis = crate::support::redis::RedisServer::start();
        let group = format!("group-start-{start}");
        let whole = Draft { group, start, ..Draft::new(scene.name, scene.brokers, redis.port) };
        let instance = whole.bench().start();
        let keys = || redis.client().run::<Vec<String>>(&["KEYS", "group-start:*"]).len();
        assert!(wait_for(LONG, || keys() == 20), "{start}: {}\n{}", keys(), instance.story());
        if start == "refill" {
            instance.await_log("the history is refilled newest first");
            instance.await_metric("stoker_refills_total", "result=\"done\"", 2.0);
        }
        assert_eq!(instance.stop(), 0);
    }
}

#[test]
fn a_position_that_retention_took_away_is_an_alarm_and_what_is_left_is_refilled() {
    let scene = Scene::new("group-range", 1);
    scene.write(0..10, 1, 1);
    let bench = scene.draft.bench();
    let first = bench.start();
    scene.await_applied(0..10, 1, &first);
    assert_eq!(first.stop(), 0);
    scene.write(10..20, 1, 1);
    broker::delete_below(scene.brokers, scene.name, 0, 15);

    let second = bench.start();
    scene.await_applied(15..20, 1, &second);
    second.await_log("retention took records that were never applied");
    scene.await_committed(1, &second);
    // And while it runs: it sleeps while records come and go. The first of them answers the fetch that it
    // left open.
    second.signal("-STOP");
    scene.write(20..21, 1, 1);
    assert_eq!(broker::ends(scene.brokers, scene.name, 1), [Some(21)]);
    scene.write(21..30, 1, 1);
    broker::delete_below(scene.brokers, scene.name, 0, 25);
    second.signal("-CONT");
    scene.await_applied(25..30, 1, &second);
    let told = |line: &Value| {
        line["level"] == "ERROR"
            && line["message"].as_str().is_some_and(|said| said.contains("never applied"))
    };
    let alarms = second.lines().iter().filter(|line| told(line)).count();
    assert_eq!(alarms, 2, "{}", second.story());
    // 10 to 15 before it began, 21 to 25 while it ran.
    second.await_metric("stoker_missed_positions_total", "topic=\"group-range\"", 9.0);
    scene.await_committed(1, &second);
    assert_eq!(second.stop(), 0);
}

/// Found by review: the lane took the new topic's records for ones that it had applied, and dropped them all.
#[test]
fn a_topic_that_is_made_anew_while_it_is_followed_is_read_from_its_start() {
    let mut scene = Scene::new("group-anew", 1);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.write(0..30, 1, 1);
    scene.await_applied(0..30, 1, &instance);
    scene.await_committed(1, &instance);

    instance.signal("-STOP");
    broker::delete_topic(scene.brokers, scene.name);
    scene.topic = Topic::create(scene.brokers, scene.name, 1);
    scene.write(10..20, 2, 1);
    instance.signal("-CONT");
    scene.await_applied(10..20, 2, &instance);
    scene.await_committed(1, &instance);
    scene.write(20..25, 3, 1);
    scene.await_applied(20..25, 3, &instance);
    assert_eq!(instance.stop(), 0);
}
