//! How a process of `stoker run` ends: signals, exit codes, and what is committed by then.

use std::time::Duration;

use crate::support::broker;
use crate::support::redis::free_port;
use crate::support::scene::{Draft, LONG, Scene, event, record_key};
use crate::support::wait_for;

#[test]
fn sigterm_drains_and_commits_and_a_restart_applies_nothing_twice() {
    let scene = Scene::new("process-drain", 3);
    scene.write(0..600, 1, 3);
    let bench = scene.draft.bench();
    let first = bench.start();
    scene.await_applied(0..600, 1, &first);
    assert_eq!(first.stop(), 0);
    assert_eq!(scene.committed(3), broker::ends(scene.brokers, scene.name, 3), "all that was applied");

    let second = bench.start();
    second.await_ready();
    scene.write(600..603, 1, 3);
    scene.await_applied(600..603, 1, &second);
    second.await_metric("stoker_records_total", "", 3.0);
    assert_eq!(second.metric("stoker_records_total", ""), 3.0, "only what is new");
    assert_eq!(second.stop(), 0);
}

#[test]
fn sigterm_under_load_commits_exactly_what_it_applied() {
    let mut scene = Scene::new("process-load", 3);
    // Small batches, so that the signal comes in the middle of the work.
    scene.draft.limits = "workers = 2\nbatch_records = 20".to_owned();
    let count = 20_000;
    scene.write(0..count, 1, 3);
    let bench = scene.draft.bench();
    let first = bench.start();
    let mut client = scene.redis.client();
    let mut keys = || -> usize { client.run(&["EVAL", COUNT_KEYS, "0", scene.name]) };
    assert!(wait_for(LONG, || keys() > 100), "{}", first.story());
    assert_eq!(first.stop(), 0);
    let committed: i64 = scene.committed(3).into_iter().flatten().sum();
    assert_eq!(usize::try_from(committed).unwrap(), keys(), "each row has a key of its own");

    let second = bench.start();
    scene.await_applied(0..count, 1, &second);
    assert_eq!(second.stop(), 0);
}

/// Counts the keys of an entity without blocking on all of them in the client.
const COUNT_KEYS: &str = "return #redis.call('KEYS', ARGV[1] .. ':*')";

#[test]
fn sigterm_while_redis_hangs_ends_with_5_and_commits_nothing_unapplied() {
    let mut scene = Scene::new("process-hung", 1);
    scene.draft.limits = "workers = 1\ndrain = \"2s\"".to_owned();
    let bench = scene.draft.bench();
    let first = bench.start();
    scene.write(0..10, 1, 1);
    scene.await_applied(0..10, 1, &first);
    scene.await_committed(1, &first);
    scene.redis.signal("-STOP");
    scene.write(0..10, 2, 1);
    assert!(
        wait_for(LONG, || first.metric("stoker_lag_records", "") >= 10.0),
        "the records are seen:\n{}",
        first.story()
    );
    first.signal("-TERM");
    // Drain, last commit and leaving the group are bounded: 2 s, 5 s and 10 s.
    assert_eq!(first.exit_code(Duration::from_secs(30)), 5);
    assert_eq!(scene.committed(1), [Some(10)]);
    scene.redis.signal("-CONT");
    let second = bench.start();
    // What the first one had sent may have landed by now, so that the rows do not tell whether this one works.
    second.await_ready();
    scene.await_applied(0..10, 2, &second);
    assert_eq!(second.stop(), 0);
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let mut scene = Scene::new("process-twice", 1);
    scene.draft.limits = "workers = 1\ndrain = \"300s\"".to_owned();
    scene.write(0..1, 1, 1);
    let first = scene.draft.bench().start();
    scene.await_applied(0..1, 1, &first);
    scene.redis.signal("-STOP");
    scene.write(0..1, 2, 1);
    first.signal("-TERM");
    first.await_log("stops");
    let draining = wait_for(LONG, || {
        let (code, body) = first.get("/readyz");
        code == 503 && body.contains(r#"{"reason":"draining"}"#)
    });
    assert!(draining, "{:?}", first.get("/readyz"));
    first.signal("-TERM");
    assert_eq!(first.exit_code(LONG), 5, "long before the drain deadline");
}

#[test]
fn bad_settings_end_with_2_and_every_problem() {
    let mut draft = Draft::new("process-settings", "localhost:1", 1);
    draft.limits = "workers = 0\nbach_records = 5\ndrain = \"10 parsecs\"".to_owned();
    draft.errors = "on_error = \"explode\"".to_owned();
    let bad = draft.bench().start();
    let log = wait_and_log(bad, 2);
    for problem in ["workers", "bach_records", "did you mean", "batch_records", "drain", "explode"] {
        assert!(log.contains(problem), "{problem} in:\n{log}");
    }
}

#[test]
fn fail_fast_ends_with_3_where_kafka_or_redis_is_away() {
    let scene = Scene::new("process-fail-fast", 1);
    let nowhere = free_port();
    let no_kafka = Draft { brokers: format!("127.0.0.1:{nowhere}"), ..scene.draft.clone() };
    let no_redis = Draft { redis: format!("url = \"redis://127.0.0.1:{nowhere}/0\""), ..scene.draft.clone() };
    for (draft, place) in [(no_kafka, "brokers"), (no_redis, "redis")] {
        let log = wait_and_log(draft.bench().start_with(&["--fail-fast"]), 3);
        assert!(log.contains("could not be reached") && log.contains(place), "{place}:\n{log}");
    }
    let fine = scene.draft.bench().start_with(&["--fail-fast"]);
    fine.await_ready();
    assert_eq!(fine.stop(), 0);
}

#[test]
fn the_second_of_one_group_instance_id_fences_the_first() {
    let mut scene = Scene::new("process-fenced", 2);
    scene.draft.properties.push_str("\n\"group.instance.id\" = \"pod-0\"");
    let bench = scene.draft.bench();
    let first = bench.start();
    scene.write(0..10, 1, 2);
    scene.await_applied(0..10, 1, &first);
    let second = bench.start();
    let log = wait_and_log(first, 4);
    assert!(log.contains("FENCED_INSTANCE_ID") || log.contains("FencedInstanceId"), "{log}");
    scene.write(0..10, 2, 2);
    scene.await_applied(0..10, 2, &second);
    assert_eq!(second.stop(), 0);
}

#[test]
fn the_stop_policy_ends_with_6_before_the_record_that_failed() {
    let scene = Scene::new("process-stop", 1);
    scene.write(0..5, 1, 1);
    scene.topic.append(0, Some(&record_key(5)), Some("{\"before\":"));
    scene.topic.append(0, Some(&record_key(6)), Some(&event(6, 1)));
    scene.topic.flush();
    let bench = scene.draft.bench();
    for start in ["the first", "the next"] {
        let log = wait_and_log(bench.start(), 6);
        assert!(log.contains("process-stop/0 offset 5: decode: json"), "{start}:\n{log}");
        assert_eq!(scene.committed(1), [Some(5)], "{start} stands before the record");
    }
    assert_eq!(scene.missing(0..5, 1), 0, "what came before it is applied");
    assert_eq!(scene.missing(6..7, 1), 1, "what comes after it is not");
}

#[test]
fn the_breaker_ends_with_6_where_too_many_records_fail() {
    let mut scene = Scene::new("process-breaker", 1);
    scene.draft.errors =
        "dead_letter_topic = \"process-breaker-dlq\"\nbreaker = { share = \"50%\", of = 20 }".to_owned();
    for id in 0..100 {
        scene.topic.append(0, Some(&record_key(id)), Some("no json"));
    }
    scene.topic.flush();
    let log = wait_and_log(scene.draft.bench().start(), 6);
    assert!(log.contains("20 of the last 20 records failed"), "{log}");
    let letters = scene.read_all("process-breaker-dlq").len();
    assert!((20..100).contains(&letters), "it stopped, and set aside what it passed: {letters}");
    let committed = scene.committed(1);
    assert!(
        committed[0].unwrap_or(0) <= i64::try_from(letters).unwrap(),
        "{committed:?} of {letters} letters"
    );
}

/// Waits for the end, checks its code and returns the log.
fn wait_and_log(mut instance: crate::support::instance::Instance, code: i32) -> String {
    assert!(wait_for(LONG, || !instance.runs()), "still running:\n{}", instance.story());
    let log = instance.log();
    assert_eq!(instance.exit_code(LONG), code, "{log}");
    log
}
