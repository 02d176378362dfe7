//! What an operator sees of a running process, how soon records show, and what `stoker check` finds.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use stoker::admin::metrics::table::TABLE;

use crate::support::redis::{free_port, now};
use crate::support::scene::{Draft, LONG, Scene, sum};
use crate::support::wait_for;

/// A lone record waits for no linger and no timer: the quickest of a few is far below any that would be
/// noticed, however busy the machine is. Milliseconds are what it takes on an idle one.
const LONE_RECORD_MAX: Duration = Duration::from_secs(1);

#[test]
fn a_lone_record_is_visible_at_once() {
    let scene = Scene::new("admin-lone", 1);
    let instance = scene.draft.bench().start();
    scene.write(0..1, 1, 1);
    scene.await_applied(0..1, 1, &instance);
    scene.await_committed(1, &instance);
    let mut quickest = Duration::MAX;
    for id in 1..=5 {
        let appended = now();
        scene.write(id..id + 1, 1, 1);
        scene.await_applied(id..id + 1, 1, &instance);
        quickest = quickest.min(appended.elapsed());
    }
    assert!(quickest < LONE_RECORD_MAX, "{quickest:?}");
    assert_eq!(instance.stop(), 0);
}

#[test]
fn batches_grow_under_load_and_every_record_is_counted() {
    let scene = Scene::new("admin-batches", 2);
    let count = 5_000;
    scene.write(0..count, 1, 2);
    // The same rows again: what one batch holds of a row is composed.
    scene.write(0..count, 2, 2);
    let instance = scene.draft.bench().start();
    scene.await_applied(0..count, 2, &instance);
    let records = 2.0 * f64::from(u32::try_from(count).unwrap());
    instance.await_metric("stoker_records_total", "", records);
    let (_, page) = instance.get("/metrics");
    assert_eq!(sum(&page, "stoker_records_total", "topic=\"admin-batches\""), records);
    assert_eq!(sum(&page, "stoker_changes_total", "entity=\"t\""), records);
    let batches = sum(&page, "stoker_batch_units_count", "");
    assert!(batches * 4.0 < records, "{batches} batches of {records} records");
    let written = sum(&page, "stoker_mutations_total", "kind=\"write\"");
    let coalesced = sum(&page, "stoker_coalesced_mutations_total", "");
    assert_eq!(written + coalesced, records, "{written} + {coalesced}");
    assert_eq!(instance.stop(), 0);
}

#[test]
fn every_page_answers_and_metrics_are_the_documented_ones() {
    let scene = Scene::new("admin-pages", 2);
    scene.write(0..10, 1, 2);
    let instance = scene.draft.bench().start();
    scene.await_applied(0..10, 1, &instance);
    scene.await_committed(2, &instance);
    instance.await_ready();
    instance.await_metric("stoker_commits_total", "result=\"ok\"", 1.0);

    let (_, page) = instance.get("/metrics");
    let documented: BTreeSet<&str> = TABLE.iter().map(|metric| metric.name).collect();
    let mut seen = BTreeSet::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            seen.insert(rest.split(' ').next().unwrap());
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
            assert!(!series.contains('{') || series.ends_with('}'), "{line}");
        }
    }
    assert_eq!(seen.difference(&documented).collect::<Vec<_>>(), Vec::<&&str>::new());
    for name in ["records_total", "changes_total", "mutations_total", "take_overs_total", "commits_total"] {
        assert!(seen.contains(format!("stoker_{name}").as_str()), "{name}");
    }
    for name in ["freshness_seconds", "redis_batch_seconds", "lag_records", "ready", "build_info", "lanes"] {
        assert!(seen.contains(format!("stoker_{name}").as_str()), "{name}");
    }
    for (name, value) in [("ready", 1.0), ("kafka_up", 1.0), ("redis_up", 1.0), ("lag_records", 0.0)] {
        let name = format!("stoker_{name}");
        assert!(wait_for(LONG, || instance.metric(&name, "") + 0.0 == value), "{name} is not {value}");
    }
    assert_eq!(instance.metric("stoker_redis_fencing_works", ""), 1.0);

    assert_eq!(instance.get("/livez"), (200, "alive\n".to_owned()));
    assert!(instance.get("/").1.contains("<title>Stoker</title>"));
    assert_eq!(instance.get("/nothing").0, 404);
    let status: Value = serde_json::from_str(&instance.get("/status").1).unwrap();
    assert_eq!(status["ready"], true);
    let lanes = status["lanes"].as_array().unwrap();
    assert_eq!(lanes.len(), 2);
    for lane in lanes {
        assert_eq!((&lane["topic"], &lane["lag"]), (&scene.name.into(), &0.into()), "{lane}");
        assert_eq!(lane["position"], 5);
    }
    assert_eq!(instance.stop(), 0);
}

#[test]
fn without_kafka_it_waits_and_says_so_and_can_be_stopped() {
    let redis = crate::support::redis::RedisServer::start();
    let draft = Draft::new("admin-waits", &format!("127.0.0.1:{}", free_port()), redis.port);
    let instance = draft.bench().start();
    instance.await_reason("not_joined");
    instance.await_reason("kafka_down");
    assert_eq!(instance.get("/livez").0, 200);
    assert_eq!(instance.metric("stoker_ready", "") + 0.0, 0.0);
    assert_eq!(instance.stop(), 0);
}

/// Exit code and output of `stoker check`.
fn check(draft: &Draft, arguments: &[&str]) -> (i32, String) {
    let bench = draft.bench();
    let out = Command::new(env!("CARGO_BIN_EXE_stoker"))
        .args(["check", "-c"])
        .arg(bench.settings())
        .args(arguments)
        .output()
        .unwrap();
    (out.status.code().unwrap(), String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn check_finds_nothing_where_all_is_there() {
    let mut scene = Scene::new("admin-check-fine", 1);
    scene.draft.properties.clear();
    assert_eq!(check(&scene.draft, &[]), (0, "nothing found\n".to_owned()));
    assert!(scene.read_all(scene.name).is_empty(), "it writes nothing");
    assert_eq!(scene.redis.client().run::<usize>(&["DBSIZE"]), 0, "nowhere");
}

#[test]
fn check_names_topics_that_are_missing() {
    let scene = Scene::new("admin-check-topics", 1);
    let mut draft = scene.draft.clone();
    draft.entities = draft.entities.replace("[\"admin-check-topics\"]", "[\"admin-check-absent\"]");
    draft.errors = "dead_letter_topic = \"admin-check-no-letters\"".to_owned();
    let (code, said) = check(&draft, &[]);
    assert_eq!(code, 2, "{said}");
    for topic in ["admin-check-absent", "admin-check-no-letters"] {
        assert!(said.lines().any(|line| line.starts_with("error: kafka") && line.contains(topic)), "{said}");
    }
    assert_eq!(check(&draft, &["--offline"]).0, 0, "offline it asks nobody");
    assert!(scene.read_all("admin-check-absent").is_empty());
}

#[test]
fn check_ends_with_3_where_a_dependency_cannot_be_asked() {
    let scene = Scene::new("admin-check-away", 1);
    let nowhere = free_port();
    let no_kafka = Draft { brokers: format!("127.0.0.1:{nowhere}"), ..scene.draft.clone() };
    let no_redis = Draft { redis: format!("url = \"redis://127.0.0.1:{nowhere}/0\""), ..scene.draft.clone() };
    for (draft, place) in [(no_kafka, "kafka brokers"), (no_redis, "redis")] {
        let (code, said) = check(&draft, &["--output", "json"]);
        assert_eq!(code, 3, "{said}");
        let found = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let found = found.filter(|finding| finding["level"] == "unreachable");
        let places: Vec<String> =
            found.map(|finding| finding["place"].as_str().unwrap().to_owned()).collect();
        assert_eq!(places, [place], "{said}");
    }
}

#[test]
fn check_warns_of_a_redis_that_may_evict_any_key() {
    let scene = Scene::new("admin-check-evict", 1);
    let mut client = scene.redis.client();
    client.run::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let (code, said) = check(&scene.draft, &[]);
    assert!(code == 0 && !said.contains("allkeys"), "without a limit nothing is evicted: {said}");
    client.run::<()>(&["CONFIG", "SET", "maxmemory", "1gb"]);
    let (code, said) = check(&scene.draft, &[]);
    assert!(code == 0 && said.contains("warning: redis") && said.contains("allkeys"), "{said}");
    client.run::<()>(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    let (_, said) = check(&scene.draft, &[]);
    assert!(!said.contains("maxmemory"), "{said}");
}

#[test]
fn check_warns_of_a_redis_user_that_may_not_fence() {
    let scene = Scene::new("admin-check-acl", 1);
    let rules = ["ACL", "SETUSER", "weak", "on", ">word", "~*", "+@all", "-client|kill"];
    scene.redis.client().run::<()>(&rules);
    let mut draft = scene.draft.clone();
    draft.redis.push_str("\nusername = \"weak\"\npassword = \"word\"");
    let (code, said) = check(&draft, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("warning: redis") && said.contains("CLIENT KILL is refused"), "{said}");
    draft.redis = draft.redis.replace("\"word\"", "\"wrong\"");
    let (code, said) = check(&draft, &[]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("error: redis") && !said.contains("wrong"), "{said}");
}
