//! Defects of other pipelines between Kafka and Redis, each with the test that would see it here.
//!
//! | defect | shown by |
//! |---|---|
//! | deletes of a batch are sent before its writes | [`deletes_hoisted_before_writes`]; `coalesce_law` |
//! | the expiry is a command of its own, or missing for some types | [`a_key_without_its_ttl`]; `sink_contract::each_shape_expires_when_it_says`; `end_to_end` checks every TTL |
//! | each error is retried, so that a poisoned record blocks its partition | `errors::records_that_fail_become_letters_and_the_rest_goes_on` |
//! | errors in replies are passed over (OOM, READONLY, LOADING, MOVED) | `outage::what_redis_refuses_for_now_is_waited_for_and_is_no_letter`; [`a_loading_server_taken_for_one_that_wrote`]; `redis_cluster::every_key_reaches_its_master_while_slots_move` |
//! | a pipeline with errors counts as done, or is sent again as a whole | [`a_partly_failed_pipeline_sent_again_as_a_whole`]; `redis_sink::what_was_not_acknowledged_is_sent_again_under_a_hail_of_kills` |
//! | the position moves on after so many failures | `outage::a_redis_that_restarts_empty_is_filled_again`; [`an_outage_outlasted_by_giving_up`] |
//! | any error of a command drops the connection, for ever | `errors::records_that_fail_become_letters_and_the_rest_goes_on`; the table in `retry` |
//! | a batch is sent only when it is full | `admin::a_lone_record_is_visible_at_once`; [`few_records_that_wait_for_more`] |
//! | a key change leaves the old key; a delete of a shared key takes its new owner's | [`a_key_change_that_leaves_an_orphan`]; [`a_delete_that_takes_the_new_owners_key`]; `end_to_end` |
//! | the version guard is not atomic, or does not renew the TTL | `sink_contract::the_guard_takes_what_is_not_older`; `sink_contract::the_guard_of_lua_is_that_of_the_model` |
//! | one pipeline across slots (CROSSSLOT) | `redis_cluster::every_key_reaches_its_master_while_slots_move`; `end_to_end::a_cluster_equals_…` |
//! | nested values as the language prints them; a removed field stays in a hash | [`nested_values_that_are_no_json_and_fields_that_stay`]; `sink_contract::a_hash_is_replaced_as_a_whole` |

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::broker;
use crate::support::cache::{self, Cached};
use crate::support::instance::Instance;
use crate::support::redis::Client;
use crate::support::scene::{LONG, Scene, envelope, event, record_key, row};
use crate::support::wait_for;

fn get(client: &mut Client, key: &str) -> Option<String> {
    client.run(&["GET", key])
}

fn delete(id: usize) -> String {
    envelope("d", &format!("{{\"id\":{id},\"version\":null}}"), "null", 9)
}

#[test]
fn deletes_hoisted_before_writes() {
    let scene = Scene::new("peers-hoisted", 1);
    // All of it is there before the process starts, so that batches hold many changes of one key.
    for round in 0..20 {
        for id in 0..10 {
            let key = record_key(id);
            scene.append(0, id, round);
            scene.topic.append(0, Some(&key), Some(&delete(id)));
            scene.topic.append(0, Some(&key), None);
            // Half of the rows end as written, half as deleted.
            if id % 2 == 0 {
                scene.append(0, id, round + 1);
            }
        }
    }
    scene.append(0, 10, 1);
    scene.topic.flush();
    let instance = scene.draft.bench().start();
    scene.await_applied(10..11, 1, &instance);
    let mut client = scene.redis.client();
    for id in 0..10 {
        let expected = (id % 2 == 0).then(|| row(id, 20));
        assert_eq!(get(&mut client, &format!("peers-hoisted:{id}")), expected, "row {id}");
    }
    instance.await_metric("stoker_coalesced_mutations_total", "", 100.0);
    assert_eq!(instance.stop(), 0);
}

/// An entity with a write of each shape.
fn every_shape(name: &str) -> String {
    let mut entity =
        format!("[[entity]]\nname = \"t\"\ntopics = [\"{name}\"]\nreplica_identity = \"full\"\n");
    for (tail, value) in [
        ("json:{id}", "\"json\""),
        ("text:{id}", "{ text = \"{version}\" }"),
        ("hash:{id}", "{ hash = [\"id\", \"version\", \"tags\"] }"),
        ("mail:{mail}", "{ text = \"{id}\" }"),
        ("card:{mail}", "{ hash = [\"id\", \"version\"] }"),
    ] {
        entity.push_str(&format!(
            "  [[entity.write]]\n  key = \"{name}:{tail}\"\n  value = {value}\n  ttl = \"1h\"\n  jitter = \"10%\"\n"
        ));
    }
    entity
}

#[test]
fn a_key_without_its_ttl() {
    let mut scene = Scene::new("peers-ttl", 1);
    scene.draft.entities = every_shape(scene.name);
    scene.draft.redis.push_str("\ntimeout = \"500ms\"");
    let instance = scene.draft.bench().start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut version = 0;
            while !stop.load(Ordering::Relaxed) {
                version += 1;
                for id in 0..20 {
                    let image = format!(r#"{{"id":{id},"version":{version},"tags":[1],"mail":"m{id}"}}"#);
                    let value = envelope("u", "null", &image, version);
                    scene.topic.append(0, Some(&record_key(id)), Some(&value));
                }
                scene.topic.flush();
            }
        });
        let (mut looks, mut client) = (0, scene.redis.client());
        let enough = wait_for(LONG, || {
            // Between the commands too: connections are cut while it writes.
            client.run::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            for (key, (_, ttl)) in cache::dump(std::slice::from_mut(&mut client)) {
                // Gone since it was listed, or within an hour and its jitter.
                assert!(ttl == -2 || (1..=3_960_000).contains(&ttl), "{key} expires in {ttl} ms");
                looks += 1;
            }
            looks > 3_000
        });
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        assert!(enough, "{looks} looks:\n{}", instance.story());
    });
    let kinds = |prefix: &str| -> usize {
        scene.redis.client().run::<Vec<String>>(&["KEYS", &format!("peers-ttl:{prefix}:*")]).len()
    };
    for shape in ["json", "text", "hash", "mail", "card"] {
        assert!(wait_for(LONG, || kinds(shape) == 20), "{shape}: {}", kinds(shape));
    }
    assert_eq!(instance.stop(), 0);
}

#[test]
fn a_loading_server_taken_for_one_that_wrote() {
    let mut scene = Scene::new("peers-loading", 1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    scene.redis.restart(&["--dir", &path]);
    scene.write(0..10, 1, 1);
    let instance = scene.draft.bench().start();
    scene.await_applied(0..10, 1, &instance);
    scene.await_committed(1, &instance);
    // Ballast, so that loading takes a while: 50 keys, a tenth of a second each, and answers between them.
    let fill = "for i = 1, 50 do redis.call('SET', 'stoker:ballast:' .. i, string.rep('x', 3000)) end";
    let mut client = scene.redis.client();
    client.run::<()>(&["EVAL", fill, "0"]);
    client.run::<()>(&["CONFIG", "SET", "rdbcompression", "no"]);
    client.run::<()>(&["SAVE"]);
    scene.redis.restart_loading(&[
        "--dir",
        &path,
        "--key-load-delay",
        "100000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    scene.write(0..10, 2, 1);
    instance.await_reason("LOADING");
    instance.await_metric("stoker_retries_total", "reason=\"LOADING\"", 1.0);
    assert_eq!(scene.committed(1), [Some(10)]);
    scene.await_committed(1, &instance);
    scene.await_applied(0..10, 2, &instance);
    assert_eq!(instance.metric("stoker_record_errors_total", "") + 0.0, 0.0);
    let lines = instance.lines();
    let last =
        lines.iter().rfind(|line| line["message"].as_str().is_some_and(|said| said.starts_with("Redis ")));
    assert_eq!(last.unwrap()["message"], "Redis takes writes again", "{}", instance.story());
    assert_eq!(instance.stop(), 0);
}

#[test]
fn a_partly_failed_pipeline_sent_again_as_a_whole() {
    let scene = Scene::new("peers-partial", 1);
    let mut admin = scene.redis.client();
    admin.run::<()>(&["CONFIG", "SET", "notify-keyspace-events", "K$"]);
    let name = scene.name;
    // Of twenty keys only the first ten (one digit) may be written for now.
    admin.run::<()>(&[
        "ACL",
        "SETUSER",
        "warm",
        "on",
        "nopass",
        "~stoker:*",
        &format!("~{name}:?"),
        "&*",
        "+@all",
    ]);
    let mut draft = scene.draft.clone();
    draft.redis.push_str("\nusername = \"warm\"\npassword = \"any\"");
    let mut events = scene.redis.client();
    let mut events = events.0.as_pubsub();
    events.psubscribe(format!("__keyspace@0__:{name}:*")).unwrap();
    events.set_read_timeout(Some(Duration::from_millis(200))).unwrap();

    scene.write(0..20, 1, 1);
    let instance = draft.bench().start();
    instance.await_metric("stoker_retries_total", "reason=\"NOPERM\"", 3.0);
    assert_eq!(scene.missing(0..10, 1), 0, "those that may be written are");
    assert_eq!(scene.missing(10..20, 1), 10);
    assert_eq!(scene.committed(1)[0].unwrap_or(0), 0, "nothing is passed");
    admin.run::<()>(&["ACL", "SETUSER", "warm", &format!("~{name}:*")]);
    scene.await_applied(0..20, 1, &instance);
    scene.await_committed(1, &instance);
    assert_eq!(instance.stop(), 0);

    let mut writes: BTreeMap<String, u32> = BTreeMap::new();
    while let Ok(event) = events.get_message() {
        if event.get_payload::<String>().unwrap() == "set" {
            *writes.entry(event.get_channel_name().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(writes.len(), 20);
    assert!(writes.values().all(|count| *count == 1), "each command was acknowledged once: {writes:?}");
}

#[test]
fn an_outage_outlasted_by_giving_up() {
    let mut scene = Scene::new("peers-outage", 2);
    // A session of 1.5 s, so that the outage is longer than any patience that hangs on it.
    scene.draft.properties =
        "\"session.timeout.ms\" = \"1500\"\n\"heartbeat.interval.ms\" = \"300\"".to_owned();
    scene.draft.limits = "workers = 2\nbatch_records = 10\nmemory = \"16MiB\"".to_owned();
    let mut instance = scene.draft.bench().start();
    scene.write(0..10, 1, 2);
    scene.await_applied(0..10, 1, &instance);
    scene.await_committed(2, &instance);
    let committed = scene.committed(2);
    scene.redis.kill();
    for version in 2..40 {
        scene.write(0..100, version, 2);
    }
    // Longer than a session, several attempts, and until partitions are paused.
    instance.await_metric("stoker_retries_total", "", 8.0);
    instance.await_metric("stoker_paused_lanes", "", 2.0);
    assert!(instance.runs());
    assert_eq!(scene.committed(2), committed, "nothing is passed");
    scene.redis.restart(&[]);
    scene.await_applied(0..100, 39, &instance);
    scene.await_committed(2, &instance);
    assert!(wait_for(LONG, || instance.metric("stoker_paused_lanes", "") + 0.0 == 0.0));
    let log = instance.log();
    assert!(!log.contains("partitions lost") && !log.contains("given back"), "{}", instance.story());
    assert_eq!(instance.stop(), 0);
}

#[test]
fn few_records_that_wait_for_more() {
    let scene = Scene::new("peers-few", 1);
    let instance = scene.draft.bench().start();
    scene.write(0..3, 1, 1);
    scene.await_applied(0..3, 1, &instance);
    // Three of 4,096 records: and nothing more comes.
    assert_eq!(broker::ends(scene.brokers, scene.name, 1), [Some(3)]);
    scene.await_committed(1, &instance);
    assert_eq!(instance.stop(), 0);
}

/// Rows by `id`, and by `mail`, which passes from row to row.
fn by_mail(name: &str) -> String {
    format!(
        "[[entity]]\nname = \"t\"\ntopics = [\"{name}\"]\nreplica_identity = \"full\"\n  [[entity.write]]\n  key = \"{name}:{{id}}\"\n  value = \"json\"\n  ttl = \"1h\"\n  [[entity.write]]\n  key = \"{name}:mail:{{mail}}\"\n  value = {{ text = \"{{id}}\" }}\n  ttl = \"1h\"\n"
    )
}

fn mailed(id: usize, mail: &str) -> String {
    format!(r#"{{"id":{id},"mail":"{mail}"}}"#)
}

/// What is cached: by the part of the key after the test's name.
fn cached(scene: &Scene) -> BTreeMap<String, String> {
    let prefix = format!("{}:", scene.name);
    let held = cache::dump(&mut [scene.redis.client()]).into_iter();
    let held = held.map(|(key, (value, _))| match value {
        Cached::Json(value) => (key, value.to_string()),
        Cached::Text(text) => (key, text),
        Cached::Hash(fields) => (key, format!("{fields:?}")),
        Cached::Set(_) | Cached::SortedSet(_) => panic!("{key} has members, and no peer writes any"),
    });
    held.map(|(key, value)| (key.trim_start_matches(&prefix).to_owned(), value)).collect()
}

fn await_cached(scene: &Scene, instance: &Instance, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let same = wait_for(LONG, || cached(scene) == expected);
    assert!(same, "{:#?}\nis not {expected:#?}\n{}", cached(scene), instance.story());
}

#[test]
fn a_key_change_that_leaves_an_orphan() {
    let mut scene = Scene::new("peers-orphan", 1);
    scene.draft.entities = by_mail(scene.name);
    let append = |id: usize, value: Option<&str>| scene.topic.append(0, Some(&record_key(id)), value);
    append(1, Some(&envelope("c", "null", &mailed(1, "a"), 1)));
    append(5, Some(&envelope("c", "null", &mailed(5, "e"), 2)));
    scene.topic.flush();
    let instance = scene.draft.bench().start();
    let fifth = mailed(5, "e");
    await_cached(
        &scene,
        &instance,
        &[("1", &mailed(1, "a")), ("mail:a", "1"), ("5", &fifth), ("mail:e", "5")],
    );
    // The database gives row 1 another key: its connector says delete, tombstone, create.
    append(1, Some(&envelope("d", &mailed(1, "a"), "null", 3)));
    append(1, None);
    append(2, Some(&envelope("c", "null", &mailed(2, "a"), 3)));
    // And row 5 another mail.
    append(5, Some(&envelope("u", &mailed(5, "e"), &mailed(5, "f"), 4)));
    scene.topic.flush();
    let fifth = mailed(5, "f");
    await_cached(
        &scene,
        &instance,
        &[("2", &mailed(2, "a")), ("mail:a", "2"), ("5", &fifth), ("mail:f", "5")],
    );
    assert_eq!(instance.stop(), 0);
}

#[test]
fn a_delete_that_takes_the_new_owners_key() {
    let mut scene = Scene::new("peers-owner", 2);
    scene.draft.entities = by_mail(scene.name);
    let append = |partition: i32, id: usize, value: &str| {
        scene.topic.append(partition, Some(&record_key(id)), Some(value));
        scene.topic.flush();
    };
    append(0, 1, &envelope("c", "null", &mailed(1, "a"), 1));
    let instance = scene.draft.bench().start();
    await_cached(&scene, &instance, &[("1", &mailed(1, "a")), ("mail:a", "1")]);
    // Row 2 takes the mail at 20, in another partition; that row 1 left it at 10 is heard only after that.
    append(1, 2, &envelope("c", "null", &mailed(2, "a"), 20));
    await_cached(&scene, &instance, &[("1", &mailed(1, "a")), ("2", &mailed(2, "a")), ("mail:a", "2")]);
    append(0, 1, &envelope("u", &mailed(1, "a"), &mailed(1, "b"), 10));
    let (first, second) = (mailed(1, "b"), mailed(2, "a"));
    await_cached(&scene, &instance, &[("1", &first), ("2", &second), ("mail:a", "2"), ("mail:b", "1")]);
    append(0, 1, &envelope("d", &mailed(1, "b"), "null", 30));
    await_cached(&scene, &instance, &[("2", &second), ("mail:a", "2")]);
    assert_eq!(instance.stop(), 0);
}

#[test]
fn nested_values_that_are_no_json_and_fields_that_stay() {
    let mut scene = Scene::new("peers-nested", 1);
    scene.draft.entities = every_shape(scene.name);
    let append = |lsn: usize, image: &str| {
        scene.topic.append(0, Some(&record_key(1)), Some(&envelope("u", "null", image, lsn)));
        scene.topic.flush();
    };
    let first = r#"{"id":1,"version":1,"tags":{"a":[1,{"b":"ü\"x"}]},"mail":"m"}"#;
    append(1, first);
    let instance = scene.draft.bench().start();
    let hash = |fields: &[(&str, &str)]| -> String {
        let fields: BTreeMap<String, String> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        format!("{fields:?}")
    };
    let card = |version| hash(&[("id", "1"), ("version", version)]);
    let nested = hash(&[("id", "1"), ("version", "1"), ("tags", r#"{"a":[1,{"b":"ü\"x"}]}"#)]);
    let same = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap().to_string();
    await_cached(
        &scene,
        &instance,
        &[
            ("json:1", &same(first)),
            ("text:1", "1"),
            ("hash:1", &nested),
            ("mail:m", "1"),
            ("card:m", &card("1")),
        ],
    );
    // The nested column becomes null: its field goes.
    let second = r#"{"id":1,"version":2,"tags":null,"mail":"m"}"#;
    append(2, second);
    let plain = card("2");
    await_cached(
        &scene,
        &instance,
        &[
            ("json:1", &same(second)),
            ("text:1", "2"),
            ("hash:1", &plain),
            ("mail:m", "1"),
            ("card:m", &plain),
        ],
    );
    assert_eq!(get(&mut scene.redis.client(), "peers-nested:json:1").as_deref(), Some(second));
    assert_eq!(instance.stop(), 0);
}

#[test]
fn the_helpers_of_these_tests_build_what_a_connector_sends() {
    let parsed: serde_json::Value = serde_json::from_str(&event(7, 3)).unwrap();
    assert_eq!((&parsed["op"], &parsed["after"]["id"]), (&"u".into(), &7.into()));
    let parsed: serde_json::Value = serde_json::from_str(&delete(7)).unwrap();
    assert_eq!((&parsed["op"], &parsed["after"]), (&"d".into(), &serde_json::Value::Null));
}
