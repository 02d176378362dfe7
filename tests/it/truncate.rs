//! `truncate = "delete"`: which keys go, on the model and on a real server, and from a topic to Redis.

use std::sync::Arc;

use stoker::batch::{Action, LaneId, Outcome, Purge, Purged};
use stoker::entity::template::Template;
use stoker::error::WorldError;
use stoker::sink::Sink as _;
use stoker::sink::redis::RedisSink;
use stoker::sink::slots::slot_of;
use stoker::version::Version;

use super::support::captures;
use super::support::command::stoker;
use super::support::redis::RedisCluster;
use super::support::scene::{LONG, Scene, envelope};
use super::support::sink::*;
use super::support::wait_for;

macro_rules! on_both {
    ($($case:ident)*) => {
        mod memory { $(#[test] fn $case() { super::$case(&super::Cache::memory()); })* }
        mod redis { $(#[test] fn $case() { super::$case(&super::Cache::redis()); })* }
    };
}

on_both! {
    only_keys_that_the_templates_can_give_are_deleted
    what_the_guard_knows_to_be_newer_stays
    a_lane_that_is_gone_deletes_nothing
    thousands_of_keys_go_in_steps
}

fn purge(lane: u64, number: u64, templates: &[&str], version: Version) -> Purge {
    let templates: Arc<[Template]> = templates.iter().map(|text| Template::parse(text).unwrap()).collect();
    Purge { lane: LaneId(lane), number, entity: 0, templates, version, sealed_at_ms: now_ms() }
}

/// Takes every step; how many keys were deleted, and in how many steps.
fn purge_all(cache: &Cache, process: &Process, purge: &Purge) -> (u64, u32) {
    let (mut all, mut steps) = (0, 0);
    loop {
        let Purged { deleted, done } = cache.purge(process, purge).unwrap();
        all += deleted;
        steps += 1;
        if done {
            return (all, steps);
        }
    }
}

fn only_keys_that_the_templates_can_give_are_deleted(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    let gone = ["c:7", "c:", "c:{x}", "c:7:h", "page*[1]:9"];
    let stay = ["customer:7", "C:7", "xc:7", "page*[1]:", "page1:9", "pageXX[1]:9", "other"];
    for key in gone.iter().chain(&stay) {
        cache.put(key.as_bytes(), "x");
    }
    cache.put_list(b"c:list");
    let own = cache.mark_key(&lane_name());
    assert!(cache.get(&own).is_some());
    // The second one's prefix is a pattern, if it is not taken by its letters.
    let all = purge(1, 1, &["c:{id}", "c:{id}:h", "page*[1]:{id|hash:8}9"], Version::NONE);
    assert_eq!(purge_all(cache, &process, &all).0, 6);
    for key in gone {
        assert_eq!(cache.get(key.as_bytes()), None, "{key}");
    }
    for key in stay {
        assert!(cache.get(key.as_bytes()).is_some(), "{key}");
    }
    assert!(cache.get(&own).is_some(), "Stoker's own keys stay");
    // A template that could give Stoker's own keys is refused by the settings; and would not reach them here.
    assert_eq!(purge_all(cache, &process, &purge(1, 2, &["s{x}"], Version::NONE)).0, 0);
    assert!(cache.get(&own).is_some());
}

fn what_the_guard_knows_to_be_newer_stays(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    let guarded = |key: &str, number| {
        unit(key, Action::Guarded([guarded_write(number, "r", "x")].into_iter().collect()))
    };
    let units =
        vec![guarded("e:older", 4), guarded("e:same", 5), guarded("e:newer", 6), write("e:plain", "x")];
    assert_done(&cache.apply(&process, &batch(1, 0..1, units)));
    assert_eq!(purge_all(cache, &process, &purge(1, 1, &["e:{e}"], version(5))).0, 3);
    let there = |key: &str| cache.get(key.as_bytes()).is_some();
    assert_eq!(["e:older", "e:same", "e:newer", "e:plain"].map(there), [false, false, true, false]);
    let units = vec![guarded("e:older", 4), guarded("e:same", 6)];
    let outcomes = cache.apply(&process, &batch(1, 1..2, units));
    assert_eq!(outcomes.units, [Outcome::Rejected, Outcome::Applied], "what came late is refused");
    let (_, expires_at) = cache.get(&own_keys().side(b"e:older")).unwrap();
    assert!(expires_at.is_some(), "a tombstone does not stay for ever");
    assert_eq!(
        purge_all(cache, &process, &purge(1, 2, &["e:{e}"], Version::NONE)).0,
        2,
        "without a position"
    );
}

fn a_lane_that_is_gone_deletes_nothing(cache: &Cache) {
    let process = cache.process();
    cache.put(b"c:7", "x");
    let stray = purge(1, 1, &["c:{id}"], Version::NONE);
    assert_eq!(cache.purge(&process, &stray), Err(WorldError::NotOwner));
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    cache.release(&process, LaneId(1));
    assert_eq!(cache.purge(&process, &stray), Err(WorldError::NotOwner));
    assert!(cache.get(b"c:7").is_some());
}

fn thousands_of_keys_go_in_steps(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    let units = |prefix: &str| (0..5_000).map(|n| write(&format!("{prefix}:{n}"), "x")).collect::<Vec<_>>();
    for (start, prefix) in (0..).zip(["a", "b", "c"]) {
        assert_done(&cache.apply(&process, &batch(1, start..start + 1, units(prefix))));
    }
    let job = purge(1, 1, &["a:{id}", "b:{id}"], Version::NONE);
    if let Cache::Redis(server, _) = cache {
        // In the middle the scripts are lost, and the connection.
        cache.purge(&process, &job).unwrap();
        server.client().run::<()>(&["SCRIPT", "FLUSH"]);
        assert_eq!(cache.purge(&process, &job), Err(WorldError::NoScript));
        server.client().run::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        assert!(cache.purge(&process, &job).is_err());
    }
    let (_, steps) = purge_all(cache, &process, &job);
    assert!(matches!(cache, Cache::Memory(_)) || steps > 10, "{steps} steps");
    for n in 0..5_000 {
        assert_eq!(cache.get(format!("a:{n}").as_bytes()), None);
        assert_eq!(cache.get(format!("b:{n}").as_bytes()), None);
    }
    assert!((0..5_000).all(|n| cache.get(format!("c:{n}").as_bytes()).is_some()));
}

#[test]
fn every_master_of_a_cluster_is_looked_at() {
    let cluster = RedisCluster::start();
    let sink = RedisSink::new(cluster.settings(), GROUP.into(), VALUE_BYTES_MAX);
    let runtime = runtime();
    runtime.block_on(sink.take_over(&fresh_claim(1))).unwrap();
    let units = |prefix: &str| (0..3_000).map(|n| write(&format!("{prefix}:{n}"), "x")).collect::<Vec<_>>();
    for (start, prefix) in (0..).zip(["a", "b"]) {
        assert_done(&runtime.block_on(sink.apply(&batch(1, start..start + 1, units(prefix)))));
    }
    let job = purge(1, 1, &["a:{id}"], Version::NONE);
    let step = || runtime.block_on(sink.purge(&job));
    while !step().unwrap().done {}
    let there = |key: &str| {
        let key = key.as_bytes();
        read(&mut cluster.master_of(slot_of(key)).client(), key).is_some()
    };
    assert!((0..3_000).step_by(7).all(|n| !there(&format!("a:{n}")) && there(&format!("b:{n}"))));
}

#[test]
fn explain_shows_what_a_captured_truncate_deletes() {
    let settings = r#"
kafka = { brokers = "localhost:9092", group = "g" }
redis = { url = "redis://localhost:6379" }
[[entity]]
name = "wiped"
topics = ["json-plain.public.wiped"]
truncate = "delete"
[[entity.write]]
key = "wiped:{id}"
value = "json"
ttl = "1h"
[[entity.write]]
key = "wiped-page:{id}"
value = "invalidate"
[[entity.write]]
key = "by-name:{name}"
value = "invalidate"
"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stoker.toml");
    std::fs::write(&file, settings).unwrap();
    let input = std::fs::read_to_string(captures::table("json-plain", "wiped")).unwrap();
    let truncates: String = input.lines().filter(|line| line.contains(r#"\"op\":\"t\""#)).collect();
    let explained = stoker(&["explain", "-c", file.to_str().unwrap()], &truncates);
    assert_eq!((explained.code, explained.err.as_str()), (0, ""));
    let mutations = r#""mutations":[{"op":"delete_prefix","prefix":"by-name:"},{"op":"delete_prefix","prefix":"wiped-page:"},{"op":"delete_prefix","prefix":"wiped:"}]"#;
    assert!(explained.out.contains(mutations), "{}", explained.out);
    assert_eq!(explained.out.lines().count(), 1);
}

/// Enough that a scan takes seconds, so that something can happen to it.
const GHOSTS: u64 = 60_000;

#[test]
fn a_truncate_outlives_its_process_and_spares_what_comes_after() {
    let mut scene = Scene::new("truncate-kill", 1);
    scene.draft.entities = scene.draft.entities.replacen("topics", "truncate = \"delete\"\ntopics", 1);
    let mut client = scene.redis.client();
    let mut ghosts = |first: u64| {
        let script = "for i = ARGV[1], ARGV[2] do redis.call('SET', 'truncate-kill:ghost:' .. i, '') end";
        client.run::<()>(&["EVAL", script, "0", &first.to_string(), &(first + GHOSTS - 1).to_string()]);
    };
    ghosts(0);
    scene.write(0..100, 1, 1);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..100, 1, &instance);
    scene.await_committed(1, &instance);

    scene.topic.append(0, None, Some(&envelope("t", "null", "null", 2)));
    scene.write(0..50, 3, 1);
    let count = || scene.redis.client().run::<u64>(&["DBSIZE"]);
    let in_the_middle = || wait_for(LONG, || count() < GHOSTS * 9 / 10) && count() > GHOSTS / 100;
    assert!(in_the_middle(), "{}", instance.story());
    instance.await_metric("stoker_lanes", "purging", 1.0);
    assert_eq!(instance.stop(), 0, "what is left is the next owner's");
    assert_eq!(scene.committed(1), [Some(100)], "the truncate is not done");
    assert_eq!(scene.missing(0..50, 3), 50, "nothing behind it was taken");

    ghosts(GHOSTS);
    let instance = bench.start();
    assert!(in_the_middle(), "{}", instance.story());
    instance.kill();
    assert_eq!(scene.committed(1), [Some(100)]);

    let instance = bench.start();
    scene.await_applied(0..50, 3, &instance);
    scene.await_committed(1, &instance);
    assert_eq!(scene.missing(50..100, 1), 50);
    assert!(count() < 60, "{} keys are left", count());
    instance.await_log("the keys of the truncated table are deleted");
    instance.await_metric("stoker_mutations_total", "kind=\"purge\"", 1.0);
    assert_eq!(instance.stop(), 0);
}
