//! A topic as an export: the newest record of each key counts, up to the end that it had.

use super::{Desk, alone, as_of, entity, held, long_ago, now_ms};
use crate::support::redis::RedisServer;
use crate::support::rig::Rig;
use crate::support::scene::{envelope, record_key};
use crate::support::topic::Topic;
use crate::support::wait_for;

fn settings(topic: &str, redis: u16) -> String {
    alone(redis, "")
        .replace("127.0.0.1:1\"", &format!("{}\"", Rig::shared().brokers()))
        .replace(&entity("t"), &entity(topic))
}

fn update(id: usize, name: &str) -> String {
    envelope("u", "null", &format!(r#"{{"id":{id},"name":"{name}"}}"#), id)
}

#[test]
fn the_newest_record_of_each_key_is_loaded_if_it_is_no_delete() {
    let redis = RedisServer::start();
    let brokers = Rig::shared().brokers();
    let export = Topic::create(brokers, "preload_topic_export", 2);
    let live = Topic::create(brokers, "preload_topic_live", 1);
    for round in ["old", "new"] {
        for id in 0..500 {
            let name = format!("{round}{id}");
            export.append(i32::try_from(id % 2).unwrap(), Some(&record_key(id)), Some(&update(id, &name)));
        }
    }
    export.append(1, Some(&record_key(1)), None);
    let gone = envelope("d", r#"{"id":3,"name":"new3"}"#, "null", 1);
    export.append(1, Some(&record_key(3)), Some(&gone));
    export.append(0, Some(&record_key(4)), Some("nonsense"));
    export.flush();
    // What the entity's own topic says to have changed since is left alone.
    live.append_at(0, &record_key(0), Some(&update(0, "long ago")), long_ago());
    live.append_at(0, &record_key(6), Some(&update(6, "live")), now_ms());
    live.flush();
    let desk = Desk::new(&settings(&live.name, redis.port));
    let mut client = redis.client();
    for overwrite in [&[][..], &["--overwrite"]] {
        client.run::<()>(&["FLUSHALL"]);
        let since = as_of();
        let arguments = [
            &["--as-of", &since, "--max-errors", "1", "--rejects", "r", "topic:preload_topic_export"][..],
            overwrite,
        ];
        let done = desk.run(&arguments.concat());
        assert_eq!((done.code, done.count("rows"), done.count("rows_rejected")), (0, 500, 1), "{done:?}");
        assert_eq!((done.count("rows_without_key"), done.count("keys_changed")), (2, 3), "{done:?}");
        let held = held(&mut client);
        assert_eq!(held.len(), 496 * 3, "{done:?}");
        for (key, expected) in
            [("t:499", Some(r#"{"id":499,"name":"new499"}"#)), ("t:1", None), ("t:3", None), ("t:4", None)]
        {
            assert_eq!(held.get(key).map(String::as_str), expected, "{key}");
        }
        assert!(!held.contains_key("t:name:old499") && !held.contains_key("t:6"));
        let rejects = std::fs::read_to_string(desk.path("r")).unwrap();
        assert!(rejects.starts_with(r#"{"file":"topic:preload_topic_export/0","row":500,"#), "{rejects}");
    }
}

#[test]
fn a_partition_goes_on_where_it_was_ended() {
    const ROWS: usize = 10_000;
    let redis = RedisServer::start();
    let export = Topic::create(Rig::shared().brokers(), "preload_topic_resumed", 2);
    for id in 0..ROWS {
        let partition = i32::from(id >= ROWS / 2);
        export.append(partition, Some(&record_key(id)), Some(&update(id, &format!("n{id}"))));
    }
    export.flush();
    let desk = Desk::new(&settings("none", redis.port));
    let mut client = redis.client();
    let arguments = ["--unprotected", "topic:preload_topic_resumed"];
    let running = desk.start(&[&arguments[..], &["--rate", "8000"]].concat());
    let begun = wait_for(super::LONG, || client.run::<u64>(&["DBSIZE"]) > 34_000);
    assert!(begun, "{}", running.said());
    running.kill();
    let done = desk.run(&arguments);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.count("rows") < 5_000 && done.err.contains("at file 2"), "{done:?}");
    assert_eq!(held(&mut client).len(), ROWS * 3);
    for (arguments, says) in [
        (&["--unprotected", "topic:preload_no_such_export"][..], "no such topic"),
        (&["--unprotected", "--sweep", "topic:preload_topic_resumed"], "compacted"),
        (&["--as-of", "file-time", "topic:preload_topic_resumed"], "file time"),
    ] {
        let done = desk.run(arguments);
        assert!(done.code == 2 && done.err.contains(says), "{done:?}");
    }
}

#[test]
fn a_truncate_in_a_topic_is_an_error_where_it_deletes() {
    let redis = RedisServer::start();
    let topic = Topic::create(Rig::shared().brokers(), "preload_topic_truncated", 1);
    topic.append(0, Some(&record_key(1)), Some(&update(1, "gone")));
    topic.append(0, None, Some(&envelope("t", "null", "null", 2)));
    topic.append(0, Some(&record_key(2)), Some(&update(2, "there")));
    topic.flush();
    let export = format!("topic:{}", topic.name);
    for (truncate, code, rejected) in [("ignore", 0, 0), ("delete", 7, 1)] {
        let settings = settings(&topic.name, redis.port)
            .replace("key_columns", &format!("truncate = \"{truncate}\"\nkey_columns"));
        let desk = Desk::new(&settings);
        let done = desk.run(&["--unprotected", "--overwrite", &export]);
        assert_eq!((done.code, done.count("rows_rejected")), (code, rejected), "{done:?}");
        if rejected > 0 {
            let first = done.report["first_reject"].as_str().unwrap();
            assert!(first.contains("row 1: ") && first.contains("truncated"), "{first}");
        }
    }
}
