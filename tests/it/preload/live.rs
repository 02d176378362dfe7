//! Beside live traffic: what changed since the export is left alone, and what races is taken back.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Desk, as_of, entity, held, long_ago, now_ms, rows};
use crate::support::redis::RedisServer;
use crate::support::rig::Rig;
use crate::support::scene::{LONG, envelope, record_key};
use crate::support::topic::Topic;
use crate::support::{broker, wait_for};

/// Settings of entity `t` over that topic.
fn settings(topic: &str, redis: u16) -> String {
    let brokers = Rig::shared().brokers();
    format!(
        "[kafka]\nbrokers = \"{brokers}\"\ngroup = \"{topic}\"\nstart = \"earliest\"\n[redis]\n\
         url = \"redis://127.0.0.1:{redis}/0\"\n[errors]\non_error = \"stop\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{}",
        entity(topic)
    )
}

fn image(id: usize, name: &str) -> String {
    format!(r#"{{"id":{id},"name":"{name}"}}"#)
}

fn update(id: usize, name: &str, lsn: usize) -> String {
    envelope("u", "null", &image(id, name), lsn)
}

fn delete(id: usize, lsn: usize) -> String {
    envelope("d", &image(id, ""), "null", lsn)
}

#[test]
fn what_changed_since_the_export_is_neither_written_nor_replaced() {
    let redis = RedisServer::start();
    let topic = Topic::create(Rig::shared().brokers(), "preload_changed", 3);
    for id in 0..10 {
        topic.append_at(0, &record_key(id), Some(&update(id, &format!("n{id}"), 1)), long_ago());
    }
    let now = now_ms();
    topic.append_at(1, &record_key(1), Some(&update(1, "newer", 10)), now);
    topic.append_at(2, &record_key(2), Some(&delete(2, 11)), now);
    topic.append_at(2, &record_key(3), None, now);
    topic.flush();
    let desk = Desk::new(&settings(&topic.name, redis.port));
    desk.file("a.ndjson", rows(0..10));
    let mut client = redis.client();
    client.run::<()>(&["SET", "t:1", "live"]);
    for overwrite in [&[][..], &["--overwrite"]] {
        let as_of = as_of();
        let arguments = [&["--as-of", &as_of, "a.ndjson"][..], overwrite].concat();
        let done = desk.run(&arguments);
        assert_eq!(done.code, 0, "{done:?}");
        // Of a row that changed no key is written, not even the name that it had then.
        assert_eq!(done.count("keys_changed"), 9, "{done:?}");
        assert_eq!(done.report["protection"], "topics");
        let held = held(&mut client);
        assert_eq!(held.len(), 7 * 3 + 1, "{:?}", held.keys());
        assert_eq!(held["t:1"], "live");
        assert_eq!(held["t:name:n4"], "4");
    }
    // The secondary key went through the guard, as the lanes' writes of it do.
    assert_eq!(client.run::<usize>(&["EVAL", "return #redis.call('KEYS', 'stoker:v:*')", "0"]), 7);
    drop(broker::ends(Rig::shared().brokers(), &topic.name, 3));
}

#[test]
fn the_guard_keeps_what_a_lane_has_written() {
    let redis = RedisServer::start();
    let topic = Topic::create(Rig::shared().brokers(), "preload_guard", 1);
    topic.append_at(0, &record_key(5), Some(&update(5, "shared", 7)), long_ago());
    topic.flush();
    let desk = Desk::new(&settings(&topic.name, redis.port));
    let bench = crate::support::instance::Bench::new(&settings(&topic.name, redis.port));
    let mut client = redis.client();
    let instance = bench.start();
    assert!(wait_for(LONG, || client.run::<bool>(&["EXISTS", "t:name:shared"])), "{}", instance.story());
    assert_eq!(instance.stop(), 0);
    // In the export another row has the name, which it has given up since.
    desk.file("a.ndjson", "{\"id\":4,\"name\":\"shared\"}\n");
    let done = desk.run(&["--as-of", &as_of(), "--overwrite", "a.ndjson"]);
    assert_eq!((done.code, done.count("keys_older"), done.count("keys_written")), (0, 1, 2), "{done:?}");
    assert_eq!(client.run::<String>(&["GET", "t:name:shared"]), "5");
}

/// No lane runs here: what the load writes after a change stays, if it does not take it back itself.
#[test]
fn a_write_that_a_change_raced_with_is_taken_back() {
    let redis = RedisServer::start();
    let topic = Topic::create(Rig::shared().brokers(), "preload_raced", 2);
    topic.append_at(0, &record_key(0), Some(&update(0, "n0", 1)), long_ago());
    topic.flush();
    let desk = Desk::new(&settings(&topic.name, redis.port));
    const ROWS: usize = 8_000;
    desk.file("a.ndjson", rows(0..ROWS));
    let running = desk.start(&["--as-of", &as_of(), "--rate", "6000", "a.ndjson"]);
    let mut client = redis.client();
    // Rows are deleted while their chunk is on its way, or has just come: Redis stands still meanwhile, as if the lane
    // had been quicker.
    let mut deleted = HashSet::new();
    let mut next = 0;
    while next < ROWS {
        let there = wait_for(LONG, || client.run::<u64>(&["EXISTS", &format!("t:{next}")]) == 1);
        assert!(there, "{next}: {}", running.said());
        redis.signal("-STOP");
        for id in next..(next + 400).min(ROWS) {
            topic.append(i32::try_from(id % 2).unwrap(), Some(&record_key(id)), Some(&delete(id, 100 + id)));
            deleted.insert(id);
        }
        topic.flush();
        redis.signal("-CONT");
        next += 1_000;
    }
    let done = running.end();
    assert_eq!(done.code, 0, "{done:?}");
    let held = held(&mut client);
    let wrong: Vec<usize> =
        deleted.iter().copied().filter(|id| held.contains_key(&format!("t:{id}"))).collect();
    let settled = done.count("taken_back");
    assert!(settled > 0 && done.count("unsettled") == 0, "{done:?}");
    // What had been settled before it was deleted is a lane's to delete; none runs.
    assert!(wrong.len() < 100, "{} deleted rows are back, {settled} were taken back", wrong.len());
    let kept = (0..ROWS).filter(|id| !deleted.contains(id) && held.contains_key(&format!("t:{id}"))).count();
    assert_eq!(kept, ROWS - deleted.len(), "what nobody changed is there");
}

#[test]
fn beside_a_lane_nothing_stale_stays_and_nothing_deleted_comes_back() {
    const ROWS: usize = 6_000;
    let redis = RedisServer::start();
    let topic = Topic::create(Rig::shared().brokers(), "preload_beside", 2);
    let partition = |id: usize| i32::try_from(id % 2).unwrap();
    for id in 0..ROWS {
        topic.append_at(partition(id), &record_key(id), Some(&update(id, &format!("n{id}"), 1)), long_ago());
    }
    topic.flush();
    let bench = crate::support::instance::Bench::new(&settings(&topic.name, redis.port));
    let instance = bench.start();
    let mut client = redis.client();
    let done = wait_for(LONG, || client.run::<u64>(&["EXISTS", &format!("t:{}", ROWS - 1)]) == 1);
    assert!(done, "{}", instance.story());
    let desk = Desk::new(&settings(&topic.name, redis.port));
    desk.file("a.ndjson", rows(0..ROWS));

    // The load replaces everything, over and over, while rows change and go.
    let stop = AtomicBool::new(false);
    let versions = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut versions = vec![1_usize; ROWS];
            let mut step = 1_usize;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..50 {
                    step += 1;
                    let id = step.wrapping_mul(2_654_435_761) % ROWS;
                    versions[id] = step;
                    let value = if step.is_multiple_of(3) {
                        delete(id, step)
                    } else {
                        update(id, &format!("v{step}"), step)
                    };
                    topic.append(partition(id), Some(&record_key(id)), Some(&value));
                }
                topic.flush();
                std::thread::sleep(Duration::from_millis(5));
            }
            versions
        });
        let mut taken_back = 0;
        for _ in 0..3 {
            let done = desk.run(&["--as-of", &as_of(), "--overwrite", "a.ndjson"]);
            assert_eq!((done.code, done.count("unsettled")), (0, 0), "{done:?}");
            taken_back += done.count("taken_back");
        }
        stop.store(true, Ordering::Relaxed);
        println!("{taken_back} writes were taken back");
        writer.join().unwrap()
    });
    let ends = broker::ends(Rig::shared().brokers(), &topic.name, 2);
    let caught_up =
        wait_for(LONG, || broker::committed(Rig::shared().brokers(), &topic.name, &topic.name, 2) == ends);
    assert!(caught_up, "{}", instance.story());
    assert_eq!(instance.stop(), 0);
    let held = held(&mut client);
    for (id, version) in versions.into_iter().enumerate() {
        let found = held.get(&format!("t:{id}"));
        let expected = match version {
            1 => Some(image(id, &format!("n{id}"))),
            deleted if deleted % 3 == 0 => None,
            updated => Some(image(id, &format!("v{updated}"))),
        };
        // A write that was taken back leaves a miss where the lane had nothing to write anymore.
        let may_miss = version != 1 && found.is_none();
        assert!(found == expected.as_ref() || may_miss, "row {id}: {found:?}, and not {expected:?}");
    }
}

#[test]
fn a_topic_that_does_not_reach_back_protects_nothing_and_is_refused() {
    let redis = RedisServer::start();
    let topic = Topic::create(Rig::shared().brokers(), "preload_gap", 1);
    for id in 0..10 {
        topic.append_at(0, &record_key(id), Some(&update(id, "x", 1)), now_ms());
    }
    topic.flush();
    broker::delete_below(Rig::shared().brokers(), &topic.name, 0, 5);
    let desk = Desk::new(&settings(&topic.name, redis.port));
    desk.file("a.ndjson", rows(0..3));
    let done = desk.run(&["--as-of", &as_of(), "a.ndjson"]);
    assert!(done.code == 2 && done.err.contains("does not reach back"), "{done:?}");
    let done = desk.run(&["--unprotected", "a.ndjson"]);
    assert_eq!((done.code, done.report["protection"].as_str()), (0, Some("none")), "{done:?}");
    // Without a topic there is nothing to protect by, and the report says so.
    let desk = Desk::new(&settings("preload_no_such_topic", redis.port));
    desk.file("a.ndjson", rows(0..3));
    let done = desk.run(&["--as-of", "file-time", "a.ndjson"]);
    assert_eq!((done.code, done.report["protection"].as_str()), (0, Some("none")), "{done:?}");
    assert!(done.err.contains("there is no topic"), "{done:?}");
}
