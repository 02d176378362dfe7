//! The guard by choice under a load, and tables that are truncated.

use super::{Desk, as_of, long_ago};
use crate::support::instance::Bench;
use crate::support::redis::RedisServer;
use crate::support::rig::Rig;
use crate::support::scene::{LONG, envelope, record_key};
use crate::support::topic::Topic;
use crate::support::wait_for;

fn settings(topic: &str, redis: u16, entity: &str) -> String {
    let brokers = Rig::shared().brokers();
    format!(
        "[kafka]\nbrokers = \"{brokers}\"\ngroup = \"{topic}\"\nstart = \"earliest\"\n[redis]\n\
         url = \"redis://127.0.0.1:{redis}/0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[entity]]\nname = \"t\"\n\
         topics = [\"{topic}\"]\nkey_columns = [\"id\"]\n{entity}\n  [[entity.write]]\n  key = \"t:{{id}}\"\n  \
         value = {{ json = [\"id\", \"v\"] }}\n  ttl = \"1h\"\n"
    )
}

fn image(id: usize, v: usize) -> String {
    format!(r#"{{"id":{id},"v":{v},"seq":{v}}}"#)
}

/// What is left of a load over rows that a lane wrote long before the export's time: the guard alone keeps them.
fn guarded_by(name: &str, guard: &str) -> (Vec<Option<String>>, u64, u64) {
    let redis = RedisServer::start();
    let topic = Topic::create(Rig::shared().brokers(), name, 1);
    for id in 0..3 {
        let record = envelope("u", "null", &image(id, 50), 50);
        topic.append_at(0, &record_key(id), Some(&record), long_ago());
    }
    let deleted = envelope("d", &image(2, 50), "null", 60);
    topic.append_at(0, &record_key(2), Some(&deleted), long_ago());
    topic.flush();
    let settings = settings(name, redis.port, guard);
    let instance = Bench::new(&settings).start();
    let mut client = redis.client();
    let written =
        wait_for(LONG, || client.run::<bool>(&["EXISTS", "t:1"]) && !client.run::<bool>(&["EXISTS", "t:2"]));
    assert!(written, "{}", instance.story());
    instance.await_ready();
    assert_eq!(instance.stop(), 0);
    let desk = Desk::new(&settings);
    // Older than what is there, newer, of a row that is gone, and one that nothing is known of.
    desk.file("a.ndjson", [(0, 40), (1, 70), (2, 40), (3, 40)].map(|(id, v)| image(id, v) + "\n").concat());
    let done = desk.run(&["--as-of", &as_of(), "--overwrite", "a.ndjson"]);
    assert_eq!(done.code, 0, "{done:?}");
    let held = (0..4).map(|id| client.run::<Option<String>>(&["GET", &format!("t:{id}")])).collect();
    (held, done.count("keys_written"), done.count("keys_older"))
}

fn json(id: usize, v: usize) -> Option<String> {
    Some(format!(r#"{{"id":{id},"v":{v}}}"#))
}

#[test]
fn a_row_of_an_export_has_no_position_and_fills_what_is_not_remembered() {
    for (name, guard) in [
        ("preload_by_source", "guard = { by = \"source\" }"),
        ("preload_by_offset", "guard = { by = \"offset\", epoch = 3 }"),
    ] {
        let (held, written, older) = guarded_by(name, guard);
        assert_eq!(held, [json(0, 50), json(1, 50), None, json(3, 40)], "{guard}");
        assert_eq!((written, older), (1, 3), "{guard}");
    }
}

#[test]
fn a_row_of_an_export_is_as_new_as_its_column_says() {
    let guard = "guard = { by = { column = \"seq\" } }\nreplica_identity = \"full\"";
    let (held, written, older) = guarded_by("preload_by_column", guard);
    assert_eq!(held, [json(0, 50), json(1, 70), None, json(3, 40)]);
    assert_eq!((written, older), (2, 2));
}

/// Rows of the export are read for the guard's column too, and one without it is an error.
#[test]
fn a_row_without_the_version_is_an_error() {
    let redis = RedisServer::start();
    let desk =
        Desk::new(&settings("preload_no_version", redis.port, "guard = { by = { column = \"seq\" } }"));
    desk.file("a.ndjson", "{\"id\":1,\"v\":2}\n");
    let done = desk.run(&["--unprotected", "a.ndjson"]);
    assert_eq!((done.code, done.count("rows_rejected"), done.count("keys_written")), (7, 1, 0), "{done:?}");
}

#[test]
fn a_truncate_ends_the_load_and_what_raced_with_it_is_taken_back() {
    const ROWS: usize = 20_000;
    let redis = RedisServer::start();
    let topic = Topic::create(Rig::shared().brokers(), "preload_truncated", 1);
    topic.append_at(0, &record_key(0), Some(&envelope("u", "null", &image(0, 1), 1)), long_ago());
    topic.flush();
    let settings = settings(&topic.name, redis.port, "truncate = \"delete\"");
    let instance = Bench::new(&settings).start();
    let mut client = redis.client();
    let desk = Desk::new(&settings);
    desk.file("a.ndjson", (0..ROWS).map(|id| image(id, 1) + "\n").collect::<String>());
    let as_of = as_of();
    let running = desk.start(&["--as-of", &as_of, "--rate", "5000", "a.ndjson"]);
    let begun = wait_for(LONG, || client.run::<bool>(&["EXISTS", "t:4000"]));
    assert!(begun, "{}", running.said());
    topic.append(0, None, Some(&envelope("t", "null", "null", 9)));
    topic.append(0, Some(&record_key(7)), Some(&envelope("u", "null", &image(7, 2), 10)));
    topic.flush();
    let done = running.end();
    assert_eq!((done.code, done.report["ended"]["why"].as_str()), (7, Some("truncated")), "{done:?}");
    assert_eq!((done.count("unsettled"), done.report["checkpoint"].as_str()), (0, None), "{done:?}");
    let left = || client.run::<Vec<String>>(&["KEYS", "t:*"]) == ["t:7"];
    assert!(wait_for(LONG, left), "{}", instance.story());
    assert_eq!(instance.stop(), 0);
    assert_eq!(client.run::<String>(&["GET", "t:7"]), json(7, 2).unwrap());

    // The same export is too old from then on.
    let again = desk.run(&["--as-of", &as_of, "a.ndjson"]);
    assert_eq!((again.code, again.count("keys_written")), (7, 0), "{again:?}");
    assert!(again.err.is_empty() || !again.err.contains("panicked"), "{again:?}");
}
