//! `--sweep`: what the export does not hold goes, what lives stays.

use super::{Desk, as_of, held, long_ago, now_ms, rows};
use crate::support::redis::RedisServer;
use crate::support::rig::Rig;
use crate::support::scene::{envelope, record_key};
use crate::support::topic::Topic;

#[test]
fn what_the_export_does_not_hold_goes_and_what_changed_since_stays() {
    let redis = RedisServer::start();
    let brokers = Rig::shared().brokers();
    let topic = Topic::create(brokers, "preload_sweep", 1);
    let update =
        |id: usize, name: &str| envelope("u", "null", &format!(r#"{{"id":{id},"name":"{name}"}}"#), 1);
    topic.append_at(0, &record_key(0), Some(&update(0, "n0")), long_ago());
    topic.append_at(0, &record_key(7_000), Some(&update(7_000, "new")), now_ms());
    topic.flush();
    let settings = format!(
        "[kafka]\nbrokers = \"{brokers}\"\ngroup = \"preload_sweep\"\n[redis]\nurl = \"redis://127.0.0.1:{}/0\"\n{}",
        redis.port,
        super::entity("preload_sweep")
    );
    let desk = Desk::new(&settings);
    let mut client = redis.client();
    let mut pipe = redis::pipe();
    for id in 0..5_000 {
        pipe.cmd("SET").arg(format!("t:{id}")).arg("old").ignore();
    }
    // A row that is newer than the export, and keys that are not the entity's.
    for key in ["t:7000", "t:name:new", "tt:1", "other", "stoker:x", "t"] {
        pipe.cmd("SET").arg(key).arg("stays").ignore();
    }
    pipe.cmd("SADD").arg("t:9000").arg("another type").ignore();
    pipe.query::<()>(&mut client.0).unwrap();
    desk.file("a.ndjson", rows(0..100));
    let done = desk.run(&["--as-of", &as_of(), "--overwrite", "--sweep", "a.ndjson"]);
    assert_eq!((done.code, done.count("keys_swept")), (0, 4_900), "{done:?}");
    client.run::<()>(&["RENAME", "t:9000", "stoker:set"]);
    let left = held(&mut client);
    for key in ["t:7000", "t:name:new", "tt:1", "other", "t"] {
        assert_eq!(left.get(key).map(String::as_str), Some("stays"), "{key}");
    }
    assert_eq!(left.len(), 300 + 5, "{:?}", left.keys());
    assert_eq!(left["t:99"], r#"{"id":99,"name":"n99"}"#);
}

#[test]
fn an_export_that_cannot_be_read_as_a_whole_sweeps_nothing() {
    let redis = RedisServer::start();
    let desk = Desk::new(&super::alone(redis.port, ""));
    let mut client = redis.client();
    client.run::<()>(&["SET", "t:1", "old"]);
    desk.file("a.ndjson", format!("{}nonsense\n", rows(0..1)));
    let done = desk.run(&["--unprotected", "--sweep", "--max-errors", "5", "a.ndjson"]);
    assert_eq!((done.code, done.report["ended"]["why"].as_str()), (7, Some("not_swept")), "{done:?}");
    assert_eq!(client.run::<String>(&["GET", "t:1"]), "old");
}
