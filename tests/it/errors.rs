//! Errors of records, as an operator meets them: what becomes of the record, of its cached key, of those after it.

use std::time::Duration;

use crate::support::broker::{self, Read};
use crate::support::scene::{LONG, Scene, envelope, record_key, row};
use crate::support::wait_for;

/// Stands in rows, keys and the password: no log line may hold it.
const MARKER: &str = "hunter2-secret-7Q";

/// Two entities over one topic: `t` with a plain and a guarded key, so that each way to fail can be met.
fn entities(name: &str) -> String {
    format!(
        r#"
[[entity]]
name = "t"
topics = ["{name}"]
replica_identity = "full"
  [[entity.write]]
  key = "{name}:{{id}}"
  value = "json"
  ttl = "1h"
  [[entity.write]]
  key = "{name}:mail:{{mail}}"
  value = {{ text = "{{id}}" }}
  ttl = "1h"
"#
    )
}

fn image(id: usize, mail: &str, note: &str) -> String {
    format!(r#"{{"id":{id},"mail":{mail},"note":"{note}"}}"#)
}

/// A record that fails: its row's id, its bytes, and how a letter names its error.
struct Bad {
    id: usize,
    value: String,
    stage: &'static str,
    kind: &'static str,
}

/// One of each error of a record. Each row was cached before.
fn bad_records() -> Vec<Bad> {
    let update = |id, mail: &str, note: &str| envelope("u", "null", &image(id, mail, note), 100);
    let large = "x".repeat(5_000);
    vec![
        Bad {
            id: 0,
            value: format!("{{\"before\":null,\"after\":{{\"id\":0,\"note\":\"{MARKER}"),
            stage: "decode",
            kind: "json",
        },
        Bad {
            id: 1,
            value: envelope("x", "null", &image(1, "\"b\"", MARKER), 100),
            stage: "decode",
            kind: "op",
        },
        Bad { id: 2, value: update(2, "null", MARKER), stage: "handle", kind: "key_column" },
        Bad { id: 3, value: update(3, "\"m3\"", &large), stage: "handle", kind: "too_large" },
        Bad { id: 4, value: update(4, "\"refused\"", MARKER), stage: "apply", kind: "wrong_type" },
    ]
}

/// Writes rows 0 to 5, then makes each of the first five fail, then changes row 5.
fn play(scene: &Scene, bad: &[Bad]) -> crate::support::instance::Instance {
    let good = |id: usize, note: &str, lsn| {
        let value = envelope("u", "null", &image(id, &format!("\"m{id}\""), note), lsn);
        scene.topic.append(0, Some(&record_key(id)), Some(&value));
    };
    (0..6).for_each(|id| good(id, "first", 1));
    scene.topic.flush();
    let instance = scene.draft.bench().start();
    let mut client = scene.redis.client();
    let mut there = |id: usize| -> Option<String> { client.run(&["GET", &format!("{}:{id}", scene.name)]) };
    assert!(wait_for(LONG, || there(5).is_some()), "{}", instance.story());
    poison(scene, "refused");
    for bad in bad {
        scene.topic.append(0, Some(&record_key(bad.id)), Some(&bad.value));
    }
    good(5, "last", 200);
    scene.topic.flush();
    let expected = image(5, "\"m5\"", "last");
    assert!(wait_for(LONG, || there(5).as_deref() == Some(&expected)), "goes on:\n{}", instance.story());
    instance
}

/// Puts a list where the guard's side key of a mail's key would be, so that Redis refuses the guarded write.
fn poison(scene: &Scene, mail: &str) {
    let key = format!("{}:mail:{mail}", scene.name);
    let own = stoker::sink::own::OwnKeys::new("stoker:", scene.name);
    let side = String::from_utf8(own.side(key.as_bytes())).unwrap();
    scene.redis.client().run::<()>(&["RPUSH", &side, "x"]);
}

#[test]
fn records_that_fail_become_letters_and_the_rest_goes_on() {
    let mut scene = Scene::new("errors-letters", 1);
    scene.draft.entities = entities(scene.name);
    scene.draft.errors =
        "dead_letter_topic = \"errors-letters-dlq\"\nbreaker = { share = \"90%\", of = 100 }".to_owned();
    scene.draft.limits = "workers = 1\nvalue_bytes = \"4KiB\"".to_owned();
    let bad = bad_records();
    let instance = play(&scene, &bad);
    scene.await_committed(1, &instance);

    let mut letters = Vec::new();
    assert!(wait_for(LONG, || {
        letters = scene.read_all("errors-letters-dlq");
        letters.len() >= bad.len()
    }));
    assert_eq!(letters.len(), bad.len());
    for (number, bad) in bad.iter().enumerate() {
        let offset = (6 + number).to_string();
        let header = |letter: &Read, name: &str| {
            letter.header(&format!("__connect.errors.{name}")).map(ToOwned::to_owned)
        };
        let letter = letters.iter().find(|letter| header(letter, "offset").as_deref() == Some(&offset));
        let letter = letter.unwrap_or_else(|| panic!("no letter of offset {offset}"));
        let of = |name| header(letter, name).unwrap_or_else(|| panic!("{}: no {name}", bad.kind));
        assert_eq!(letter.key.as_deref(), Some(record_key(bad.id).as_str()));
        assert_eq!(letter.value.as_ref(), Some(&bad.value), "{}: the original bytes", bad.kind);
        assert!(letter.timestamp_ms.is_some());
        assert_eq!((of("topic"), of("partition")), (scene.name.to_owned(), "0".to_owned()));
        assert_eq!((of("stage"), of("exception.class.name")), (bad.stage.into(), bad.kind.into()));
        assert_eq!((of("connector.name"), of("class.name")), (scene.name.to_owned(), "t".to_owned()));
        assert!(!of("exception.message").is_empty() && !of("exception.message").contains(MARKER));
    }
    let mut client = scene.redis.client();
    // The refused command is one of two of its record: the other is good.
    let expected = [None, None, None, None, Some(image(4, "\"refused\"", MARKER))];
    for (id, expected) in expected.into_iter().enumerate() {
        let held: Option<String> = client.run(&["GET", &format!("errors-letters:{id}")]);
        assert_eq!(held, expected, "row {id}: no stale value stays");
    }
    for bad in &bad {
        let labels = format!("stage=\"{}\",kind=\"{}\"", bad.stage, bad.kind);
        instance.await_metric("stoker_record_errors_total", &labels, 1.0);
    }
    instance.await_metric("stoker_dead_letters_total", "", 5.0);
    assert_eq!(instance.metric("stoker_dead_letters_total", "stage=\"apply\""), 1.0);
    assert_eq!(instance.stop(), 0);
}

#[test]
fn records_that_fail_are_skipped_and_counted_where_the_settings_say_so() {
    let mut scene = Scene::new("errors-skip", 1);
    scene.draft.entities = entities(scene.name);
    scene.draft.errors = "on_error = \"skip\"\nbreaker = { share = \"90%\", of = 100 }".to_owned();
    scene.draft.limits = "workers = 1\nvalue_bytes = \"4KiB\"".to_owned();
    let bad = bad_records();
    let instance = play(&scene, &bad);
    scene.await_committed(1, &instance);
    for (stage, count) in [("decode", 2.0), ("handle", 2.0), ("apply", 1.0)] {
        let labels = format!("stage=\"{stage}\"");
        instance.await_metric("stoker_skipped_records_total", &labels, count);
        assert_eq!(instance.metric("stoker_skipped_records_total", &labels), count, "{stage}");
    }
    assert_eq!(instance.stop(), 0);
}

#[test]
fn a_refused_command_stops_with_6_before_its_record_under_the_stop_policy() {
    let mut scene = Scene::new("errors-refused", 1);
    scene.draft.entities = entities(scene.name);
    let append = |id: usize, mail: &str| {
        let value = envelope("u", "null", &image(id, &format!("\"{mail}\""), "x"), id);
        scene.topic.append(0, Some(&record_key(id)), Some(&value));
    };
    poison(&scene, "refused");
    append(0, "fine");
    append(1, "refused");
    scene.topic.flush();
    scene.draft.limits = "workers = 1\ndrain = \"300s\"".to_owned();
    let mut instance = scene.draft.bench().start();
    // Long before the drain deadline: there is nothing that a drain could finish.
    assert!(wait_for(LONG, || !instance.runs()), "{}", instance.story());
    let log = instance.log();
    assert_eq!(instance.exit_code(LONG), 6, "{log}");
    assert!(log.contains("errors-refused/0 offset 1"), "{log}");
    assert!(scene.committed(1)[0].unwrap_or(0) <= 1, "{:?}", scene.committed(1));
}

#[test]
fn a_dead_letter_topic_that_takes_nothing_is_waited_for() {
    let mut scene = Scene::new("errors-closed", 1);
    let letters = "errors-closed-dlq";
    broker::create_closed(scene.brokers, letters);
    scene.draft.errors = format!("dead_letter_topic = \"{letters}\"");
    scene.draft.more = "[ready]\nlag = \"500ms\"".to_owned();
    scene.write(0..1, 1, 1);
    scene.topic.append(0, Some(&record_key(1)), Some("no json"));
    let instance = scene.draft.bench().start();
    instance.await_log(letters);
    // Said, and seen: the lane waits for the letter, whatever it could apply meanwhile.
    instance.await_log("dead letter topic does not take");
    instance.await_reason(letters);
    scene.write(2..5, 1, 1);
    assert!(scene.committed(1)[0].unwrap_or(0) <= 1, "{:?}", scene.committed(1));
    assert!(instance.metric("stoker_dead_letters_total", "") < 1.0);

    broker::open(scene.brokers, letters);
    scene.await_applied(2..5, 1, &instance);
    scene.await_committed(1, &instance);
    instance.await_ready();
    let found = scene.read_all(letters);
    assert_eq!(found.last().and_then(|letter| letter.value.as_deref()), Some("no json"));
    assert_eq!(instance.stop(), 0);
}

#[test]
fn errors_are_told_once_a_kind_and_no_row_value_or_secret_is_logged() {
    let mut scene = Scene::new("errors-silence", 1);
    let user = ["ACL", "SETUSER", "warm", "on", &format!(">{MARKER}"), "~*", "&*", "+@all"];
    scene.redis.client().run::<()>(&user);
    scene.draft.redis.push_str(&format!("\nusername = \"warm\"\npassword = \"{MARKER}\""));
    // librdkafka tells its own settings and what it sends under `debug`.
    let kafka = format!("\n\"sasl.password\" = \"{MARKER}\"\n\"debug\" = \"conf,cgrp,fetch,protocol\"");
    scene.draft.properties.push_str(&kafka);
    scene.draft.entities = entities(scene.name);
    scene.draft.errors = "on_error = \"skip\"\nbreaker = { share = \"100%\", of = 100 }".to_owned();
    scene.draft.limits = "workers = 1\nvalue_bytes = \"4KiB\"".to_owned();
    scene.draft.more = "[log]\nlevel = \"debug\"".to_owned();
    let mail = format!("\"{MARKER}\"");
    for round in 0..50 {
        for bad in bad_records() {
            let key = if bad.id == 0 { MARKER.to_owned() } else { record_key(bad.id) };
            scene.topic.append(0, Some(&key), Some(&bad.value));
        }
        let value = envelope("u", "null", &image(7, &mail, MARKER), round);
        scene.topic.append(0, Some(MARKER), Some(&value));
    }
    scene.topic.flush();
    poison(&scene, "refused");
    let instance = scene.draft.bench().start();
    instance.await_metric("stoker_record_errors_total", "kind=\"json\"", 50.0);
    scene.await_committed(1, &instance);
    let log = instance.log();
    assert!(log.contains("\"level\":\"DEBUG\""), "the level is heard");
    let lines = instance.lines();
    for (offset, kind) in ["json", "op", "key_column", "too_large"].into_iter().enumerate() {
        let told = lines.iter().filter(|line| line["message"] == "a record failed" && line["kind"] == kind);
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), 1, "{kind}: {told:?}");
        assert!(told[0]["offset"] == offset && told[0]["topic"] == "errors-silence", "{told:?}");
    }
    let refused = lines.iter().find(|line| line["kind"] == "wrong_type").unwrap();
    assert_eq!(refused["offset"].as_i64().unwrap() % 6, 4, "the record that was refused: {refused}");
    assert_eq!(instance.stop(), 0);
    assert!(!log.contains(MARKER), "{}", log.lines().find(|line| line.contains(MARKER)).unwrap_or(""));
    assert!(!log.contains(&row(7, 1)));
}

#[test]
fn a_deep_or_absurd_record_is_a_letter_and_no_crash() {
    let mut scene = Scene::new("errors-absurd", 1);
    scene.draft.errors =
        "dead_letter_topic = \"errors-absurd-dlq\"\nbreaker = { share = \"100%\", of = 100 }".to_owned();
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let deep_row = envelope("u", "null", &format!("{{\"id\":1,\"a\":{deep}}}"), 1);
    let wide = format!("{{\"id\":{}}}", "9".repeat(100_000));
    for value in [&deep, &deep_row, "[", "\u{0}", "{\"op\":\"u\",\"after\":[1,2]}", &wide] {
        scene.topic.append(0, Some("{\"id\":1}"), Some(value));
    }
    scene.topic.append(0, None, Some("7"));
    scene.append(0, 2, 1);
    scene.topic.flush();
    let mut instance = scene.draft.bench().start();
    scene.await_applied(2..3, 1, &instance);
    assert!(instance.runs());
    instance.await_metric("stoker_dead_letters_total", "", 3.0);
    assert_eq!(instance.stop(), 0);
    assert!(wait_for(Duration::from_secs(1), || scene.committed(1) == [Some(8)]));
}
