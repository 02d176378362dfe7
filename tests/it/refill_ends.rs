//! A refill ends by positions: whatever lies at a partition's end, at its beginning and in between, and whatever becomes
//! of it meanwhile, it comes to an end and leaves what the topic says.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::broker;
use crate::support::instance::{Bench, Instance};
use crate::support::redis::RedisServer;
use crate::support::scene::{Draft, LONG, Scene, envelope, record_key, row};
use crate::support::topic::{Topic, Transactional};
use crate::support::wait_for;

/// A `stoker refill` under way.
pub(crate) struct Refill(Child);

impl Refill {
    pub(crate) fn begin(bench: &Bench, more: &[&str]) -> Refill {
        let settings = bench.settings();
        let child = Command::new(env!("CARGO_BIN_EXE_stoker"))
            .args(["refill", "-c", settings.to_str().unwrap(), "--output", "json"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Refill(child.unwrap())
    }

    /// Its report, once it is done.
    pub(crate) fn done(mut self, instance: &Instance) -> Value {
        let ends = wait_for(LONG, || self.0.try_wait().unwrap().is_some());
        assert!(ends, "it does not end:\n{}", instance.story());
        let mut out = String::new();
        std::io::Read::read_to_string(self.0.stdout.as_mut().unwrap(), &mut out).unwrap();
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (report["result"].as_str(), report["covered"].as_f64(), &report["partitions_done"]),
            (Some("done"), Some(1.0), &report["partitions"]),
            "{report}\n{}",
            instance.story()
        );
        report
    }
}

impl Drop for Refill {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes these rows out of the cache, has them refilled, and returns the report.
fn refilled(scene: &Scene, instance: &Instance, bench: &Bench, ids: std::ops::Range<usize>) -> Value {
    scene.forget(ids);
    Refill::begin(bench, &[]).done(instance)
}

fn count(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn at_transaction_markers_behind_the_last_record() {
    let scene = Scene::new("refill_markers", 1);
    let producer = Transactional::to(scene.name, scene.brokers);
    for (ids, version) in [(0..10, 1), (0..5, 2), (0..3, 3)] {
        producer.begin(ids, version);
        producer.commit();
    }
    let ends = broker::ends(scene.brokers, scene.name, 1);
    assert_eq!(ends, [Some(10 + 5 + 3 + 3)], "a marker each");
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..3, 3, &instance);
    let report = refilled(&scene, &instance, &bench, 0..10);
    assert_eq!((count(&report, "records_read"), count(&report, "keys_written")), (18, 10), "{report}");
    assert_eq!((scene.missing(0..3, 3), scene.missing(3..5, 2), scene.missing(5..10, 1)), (0, 0, 0));
    // A new group begins behind the markers, and its history ends with them.
    let (redis, fresh) = new_group(&scene);
    fresh.await_ready();
    assert_eq!(held(&redis, scene.name).len(), 10, "{}", fresh.story());
    assert_eq!((fresh.stop(), instance.stop()), (0, 0));
}

/// A group that has never committed, over a cache of its own, which it refills first.
fn new_group(scene: &Scene) -> (RedisServer, Instance) {
    let redis = RedisServer::start();
    let group = format!("{}-fresh", scene.name);
    let draft = Draft { group, start: "refill", ..Draft::new(scene.name, scene.brokers, redis.port) };
    (redis, draft.bench().start())
}

/// What is cached of the scene's rows.
fn held(redis: &RedisServer, name: &str) -> Vec<String> {
    let mut client = redis.client();
    let mut keys: Vec<String> = client.run(&["KEYS", &format!("{name}:*")]);
    keys.sort_unstable();
    keys.iter().map(|key| client.run(&["GET", key])).collect()
}

/// A transaction hangs, and other records lie behind it: what is committed comes back, the report names the range that
/// cannot be read, and once the transaction ends the lanes go on with it.
fn at_an_open_transaction(name: &'static str, end: impl FnOnce(&Transactional), last: usize) {
    let scene = Scene::new(name, 1);
    let producer = Transactional::to(name, scene.brokers);
    producer.begin(0..10, 1);
    producer.commit();
    producer.begin(0..5, 2);
    scene.write(10..15, 1, 1);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..10, 1, &instance);

    let report = refilled(&scene, &instance, &bench, 0..10);
    let open = &report["open_transactions"][0];
    let said = (&open["topic"], open["partition"].as_i64(), open["from"].as_i64(), open["to"].as_i64());
    assert_eq!(said, (&name.into(), Some(0), Some(11), Some(21)), "{report}");
    assert_eq!((scene.missing(0..10, 1), scene.missing(10..15, 1)), (0, 5), "{report}");
    instance.await_log("a transaction is open");
    let (redis, fresh) = new_group(&scene);
    fresh.await_metric("stoker_refills_total", "result=\"done\"", 1.0);
    assert_eq!(held(&redis, name).len(), 10, "{}", fresh.story());
    // How old what lies behind is cannot be known: it is not warm.
    fresh.await_reason("lag_unknown");

    end(&producer);
    for instance in [&instance, &fresh] {
        scene.await_applied(0..5, last, instance);
        scene.await_applied(10..15, 1, instance);
    }
    assert!(wait_for(LONG, || held(&redis, name).len() == 15), "{}", fresh.story());
    // The markers at the end are nothing that it waits for.
    fresh.await_ready();
    let report = refilled(&scene, &instance, &bench, 0..15);
    assert!(report.get("open_transactions").is_none(), "{report}");
    assert_eq!((scene.missing(0..5, last), scene.missing(5..15, 1)), (0, 0), "{report}");
    assert_eq!((fresh.stop(), instance.stop()), (0, 0));
}

#[test]
fn at_an_open_transaction_that_is_committed_later() {
    at_an_open_transaction("refill_hung_commit", Transactional::commit, 2);
}

#[test]
fn at_an_open_transaction_that_is_aborted_later() {
    at_an_open_transaction("refill_hung_abort", Transactional::abort, 1);
}

#[test]
fn at_an_aborted_tail_and_in_a_partition_where_all_is_aborted() {
    let scene = Scene::new("refill_aborted", 2);
    let producer = Transactional::to(scene.name, scene.brokers);
    producer.begin(0..10, 1);
    producer.commit();
    producer.begin(0..20, 2);
    producer.abort();
    producer.begin_in(1, 20..30, 2);
    producer.abort();
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..10, 1, &instance);
    let report = refilled(&scene, &instance, &bench, 0..10);
    assert_eq!((count(&report, "records_read"), count(&report, "keys_written")), (10, 10), "{report}");
    let rows: Vec<String> = (0..10).map(|id| row(id, 1)).collect();
    assert_eq!(held(&scene.redis, scene.name), rows, "no value that was aborted");
    // A new group takes both partitions as history, and the whole of one is aborted.
    let (redis, fresh) = new_group(&scene);
    fresh.await_ready();
    assert_eq!(held(&redis, scene.name), rows, "{}", fresh.story());
    assert_eq!((fresh.stop(), instance.stop()), (0, 0));
}

/// The broker's cleaner has left nothing but the newest record of each key, far apart, and tombstones.
#[test]
fn in_a_compacted_topic_with_gaps() {
    const ROWS: usize = 300;
    let name = "refill_compacted";
    let mut scene = Scene::new("refill_compacted_rig", 1);
    scene.name = name;
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "500"),
    ];
    scene.topic = Topic::create_with(scene.brokers, name, 1, &settings);
    scene.draft = Draft::new(name, scene.brokers, scene.redis.port);
    // Rows are written once each, and in between the same few again and again: windows begin and end in gaps.
    for id in 0..ROWS {
        scene.append(0, id, 1);
        (0..100).for_each(|version| scene.append(0, ROWS + version % 3, version));
    }
    for id in 0..10 {
        let key = record_key(id);
        scene.topic.append(0, Some(&key), Some(&envelope("d", &row(id, 1), "null", 2)));
        scene.topic.append(0, Some(&key), None);
    }
    scene.topic.flush();
    let written = ROWS * 101 + 20;
    let mut left = Vec::new();
    let compacted = wait_for(LONG, || {
        // A segment is closed by the first record that comes late enough; the open one is never compacted.
        scene.write(ROWS..ROWS + 1, 1, 1);
        left = broker::offsets(scene.brokers, name, 0);
        left.len() < ROWS * 3
    });
    assert!(compacted, "the cleaner has left {} of more than {written} records", left.len());

    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(10..ROWS, 1, &instance);
    scene.await_committed(1, &instance);
    let report = refilled(&scene, &instance, &bench, 0..ROWS + 3);
    assert_eq!(count(&report, "keys_written"), ROWS as u64 - 10 + 3, "{report}");
    let right = || (scene.missing(10..ROWS, 1), scene.missing(ROWS..ROWS + 1, 1));
    assert_eq!((right(), scene.missing(0..10, 1)), ((0, 0), 10), "{report}");
    // What tombstones tell is carried out by one that writes over.
    let mut client = scene.redis.client();
    (0..20).for_each(|id| client.run::<()>(&["SET", &format!("{name}:{id}"), "old", "EX", "3600"]));
    let report = Refill::begin(&bench, &["--overwrite"]).done(&instance);
    assert_eq!((right(), held(&scene.redis, name).len()), ((0, 0), ROWS - 10 + 3), "{report}");
    assert_eq!(instance.stop(), 0);
}

#[test]
fn in_an_empty_partition_and_above_what_retention_took() {
    let scene = Scene::new("refill_low", 4);
    (0..10).for_each(|id| scene.append(1, id, 1));
    (10..20).for_each(|id| scene.append(2, id, 1));
    (20..40).for_each(|id| scene.append(3, id, 1));
    scene.topic.flush();
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..40, 1, &instance);
    scene.await_committed(4, &instance);
    // Partition 0 never held anything, 2 does not any more, and 3 begins in its middle.
    broker::delete_below(scene.brokers, scene.name, 2, 10);
    broker::delete_below(scene.brokers, scene.name, 3, 15);
    let report = refilled(&scene, &instance, &bench, 0..40);
    assert_eq!((count(&report, "records_read"), count(&report, "keys_written")), (15, 15), "{report}");
    assert_eq!((scene.missing(0..10, 1), scene.missing(10..35, 1), scene.missing(35..40, 1)), (0, 25, 0));
    let (redis, fresh) = new_group(&scene);
    fresh.await_ready();
    assert_eq!(held(&redis, scene.name).len(), 15, "{}", fresh.story());
    assert_eq!((fresh.stop(), instance.stop()), (0, 0));
}

/// What a slow refill has still to read is taken away under it, bit by bit.
#[test]
fn where_retention_takes_what_is_still_to_be_read() {
    let scene = Scene::new("refill_retention", 1);
    let fill = |count: usize, ids: std::ops::Range<usize>| {
        (0..count).for_each(|n| scene.append(0, ids.start + n % ids.len(), 1));
    };
    fill(1_000, 200..215);
    fill(4_000, 215..230);
    fill(20_000, 100..200);
    fill(10_000, 0..100);
    scene.topic.flush();
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..230, 1, &instance);
    scene.await_committed(1, &instance);
    scene.forget(0..230);
    let refill = Refill::begin(&bench, &["--rate", "40"]);
    assert!(wait_for(LONG, || scene.missing(0..100, 1) < 100), "{}", instance.story());
    for below in [500, 1_000, 1_500, 2_000] {
        broker::delete_below(scene.brokers, scene.name, 0, below);
    }
    let report = refill.done(&instance);
    assert_eq!((scene.missing(0..200, 1), scene.missing(215..230, 1)), (0, 0), "{report}");
    // And again, of what is left.
    let report = refilled(&scene, &instance, &bench, 0..230);
    assert_eq!((scene.missing(0..200, 1), scene.missing(200..215, 1)), (0, 15), "{report}");
    assert_eq!((count(&report, "records_read"), scene.missing(215..230, 1)), (33_000, 0), "{report}");
    assert_eq!(instance.stop(), 0);
}

/// Half of the lanes move to a member that joins: they go on there, and the refill ends with both members' reports.
#[test]
fn where_a_member_joins_meanwhile() {
    let scene = Scene::new("refill_joined", 4);
    scene.write(0..800, 1, 4);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..800, 1, &instance);
    scene.await_committed(4, &instance);
    scene.forget(0..800);
    let refill = Refill::begin(&bench, &["--rate", "40"]);
    assert!(wait_for(LONG, || scene.missing(0..800, 1) < 800), "{}", instance.story());
    let other = bench.start();
    other.await_log("partition assigned");
    assert!(scene.missing(0..800, 1) > 0, "it is under way");
    // Live changes go on meanwhile, and one of the deleted rows stays so.
    scene.write(0..8, 2, 4);
    scene.topic.append(0, Some(&record_key(400)), Some(&envelope("d", &row(400, 1), "null", 2)));
    scene.topic.flush();
    let report = refill.done(&instance);
    assert_eq!(report["partitions"], 4, "{report}");
    scene.await_applied(0..8, 2, &other);
    let left = (scene.missing(8..400, 1), scene.missing(400..401, 1), scene.missing(401..800, 1));
    assert_eq!(left, (0, 1, 0), "{report}\n{}\n{}", instance.story(), other.story());
    other.await_ready();
    assert_eq!((other.stop(), instance.stop()), (0, 0));
}

/// Whoever takes a lane over goes on where it was: what is there is not written a second time.
#[test]
fn what_a_killed_process_has_written_is_not_written_again() {
    let scene = Scene::new("refill_gone_on", 1);
    scene.write(0..12_000, 1, 1);
    let bench = scene.draft.bench();
    let first = bench.start();
    scene.await_applied(0..12_000, 1, &first);
    scene.await_committed(1, &first);
    scene.forget(0..12_000);
    let refill = Refill::begin(&bench, &["--rate", "3000"]);
    assert!(wait_for(LONG, || scene.missing(0..12_000, 1) < 8_000), "{}", first.story());
    first.signal("-KILL");
    let second = bench.start();
    let report = refill.done(&second);
    assert_eq!(scene.missing(0..12_000, 1), 0, "{report}");
    // The window that was being written is written once more, of 7,500, and the one before it is not, of 2,500.
    assert!(count(&report, "keys_written") <= 9_600, "{report}\n{}", second.story());
    assert_eq!(second.stop(), 0);
}
