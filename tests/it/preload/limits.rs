//! What it does not do: write over what is there, fill Redis, load what it cannot read.

use super::members::{board_rows, without_topic};
use super::{Desk, alone, held, rows};
use crate::support::redis::{RedisCluster, RedisServer};

#[test]
fn rows_that_fail_are_told_without_their_values_up_to_a_number() {
    let redis = RedisServer::start();
    let desk = Desk::new(&alone(redis.port, ""));
    let secret = "hunter2-secret";
    let text = format!(
        "{}{{\"name\":\"{secret}\"}}\nnonsense {secret}\n{{\"id\":null,\"name\":\"x\"}}\n{}",
        rows(0..3),
        rows(3..5)
    );
    desk.file("a.ndjson", text);
    let done = desk.run(&["--unprotected", "--rejects", "rejects.ndjson", "a.ndjson"]);
    assert_eq!((done.code, done.report["ended"]["why"].as_str()), (7, Some("too_many_errors")), "{done:?}");
    let done = desk.run(&[
        "--unprotected",
        "--restart",
        "--max-errors",
        "3",
        "--rejects",
        "rejects.ndjson",
        "a.ndjson",
    ]);
    assert_eq!((done.code, done.count("rows_rejected"), done.count("rows")), (0, 3, 8), "{done:?}");
    let rejects = std::fs::read_to_string(desk.path("rejects.ndjson")).unwrap();
    assert_eq!(
        rejects,
        "{\"file\":\"a.ndjson\",\"row\":4,\"reason\":\"there is no key column \\\"id\\\"\"}\n\
         {\"file\":\"a.ndjson\",\"row\":5,\"reason\":\"the row is not JSON at byte 0: expected an object\"}\n\
         {\"file\":\"a.ndjson\",\"row\":6,\"reason\":\"the key column \\\"id\\\" is null\"}\n"
    );
    assert!(!done.err.contains(secret) && !done.report.to_string().contains(secret));
    assert_eq!(held(&mut redis.client()).len(), 15);
}

#[test]
fn what_is_there_stays_unless_it_is_to_be_replaced_and_the_first_path_has_priority() {
    let redis = RedisServer::start();
    let desk = Desk::new(&alone(redis.port, ""));
    let mut client = redis.client();
    client.run::<()>(&["SET", "t:1", "live"]);
    client.run::<()>(&["HSET", "t:2:h", "id", "live"]);
    client.run::<()>(&["SADD", "t:3", "another type"]);
    let first = "{\"id\":0,\"name\":\"first\"}\n";
    desk.file("first.ndjson", first);
    desk.file("rest.ndjson", rows(0..4));
    let paths = ["first.ndjson", "rest.ndjson"];
    let done = desk.run(&["--unprotected", "first.ndjson", "rest.ndjson"]);
    assert_eq!((done.code, done.count("keys_present"), done.count("keys_repeated")), (0, 3, 2), "{done:?}");
    let mut now = held_but(&mut client, "t:3");
    assert_eq!((now["t:1"].as_str(), now["t:2:h"].as_str()), ("live", "{\"id\": \"live\"}"));
    assert_eq!(now["t:0"], first.trim());

    let done =
        desk.run(&["--unprotected", "--overwrite", "--ttl", "36h", "--jitter", "10%", paths[0], paths[1]]);
    assert_eq!(done.code, 0, "{done:?}");
    now = held(&mut client);
    assert_eq!(now["t:1"], r#"{"id":1,"name":"n1"}"#);
    assert_eq!(now["t:2:h"], "{\"id\": \"2\", \"name\": \"n2\"}");
    assert_eq!(now["t:3"], r#"{"id":3,"name":"n3"}"#);
    assert_eq!(now["t:0"], first.trim(), "the first path has priority");
    for key in now.keys() {
        let ttl: i64 = client.run(&["PTTL", key]);
        assert!((116_000_000..143_000_000).contains(&ttl), "{key}: {ttl}");
    }
}

fn held_but(
    client: &mut crate::support::redis::Client,
    set: &str,
) -> std::collections::BTreeMap<String, String> {
    client.run::<()>(&["RENAME", set, "stoker:aside"]);
    let held = held(client);
    client.run::<()>(&["RENAME", "stoker:aside", set]);
    held
}

#[test]
fn it_says_before_the_first_write_that_it_would_not_fit_and_stops_where_it_is_told_to() {
    let redis = RedisServer::start_with(&["--maxmemory", "12mb", "--maxmemory-policy", "allkeys-lru"]);
    let desk = Desk::new(&alone(redis.port, ""));
    let mut client = redis.client();
    desk.file("a.ndjson", rows(0..60_000));
    let done = desk.run(&["--unprotected", "a.ndjson"]);
    assert!(done.code == 7 && done.err.contains("would not fit"), "{done:?}");
    assert_eq!(client.run::<u64>(&["DBSIZE"]), 0, "nothing was written");

    let used = |client: &mut crate::support::redis::Client| {
        let info: String = client.run(&["INFO"]);
        let field = |name: &str| -> u64 {
            info.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
        };
        (field("used_memory:"), field("evicted_keys:"))
    };
    let (before, _) = used(&mut client);
    desk.file("b.ndjson", rows(0..4_000));
    let done = desk.run(&["--unprotected", "b.ndjson"]);
    assert_eq!(done.code, 0, "{done:?}");
    let (after, _) = used(&mut client);
    let (estimate, took) = (done.report["estimate"]["bytes"].as_u64().unwrap(), after - before);
    let ratio = estimate as f64 / took as f64;
    assert!((0.75..1.5).contains(&ratio), "estimated {estimate} bytes, and it took {took}");

    let done = desk.run(&["--unprotected", "--even-if-full", "a.ndjson"]);
    assert_eq!((done.code, done.report["ended"]["why"].as_str()), (7, Some("full")), "{done:?}");
    let (full, evicted) = used(&mut client);
    assert!(full < 12 << 20 && evicted == 0, "{full} bytes, {evicted} evicted");
    assert!(done.count("keys_written") > 1_000);
}

#[test]
fn a_dry_run_reads_everything_and_writes_nothing() {
    let redis = RedisServer::start();
    let desk = Desk::new(&alone(redis.port, ""));
    desk.file("dt=1/a.ndjson", rows(0..1_000));
    let done = desk.run(&["--dry-run", "dt=1"]);
    assert_eq!((done.code, done.count("rows"), done.count("keys_written")), (0, 1_000, 3_000), "{done:?}");
    assert_eq!(redis.client().run::<u64>(&["DBSIZE"]), 0);
    assert!(!desk.path(".stoker-preload-t.json").exists());
    redis.signal("-KILL");
    assert_eq!(desk.run(&["--dry-run", "dt=1"]).code, 0, "Redis is not needed");
    assert_eq!(desk.run(&["--unprotected", "dt=1"]).code, 3);
}

#[test]
fn bad_usage_is_told_before_anything_is_done() {
    let redis = RedisServer::start();
    let desk = Desk::new(&alone(redis.port, ""));
    desk.file("a.ndjson", rows(0..1));
    desk.file("delta/_delta_log/0.json", "{}");
    desk.file("a.xyz", "?");
    for (arguments, says) in [
        (&["a.ndjson"][..], "--as-of"),
        (&["--unprotected", "none"], "no file"),
        (&["--unprotected", "delta"], "Delta Lake"),
        (&["--unprotected", "a.xyz"], "--format"),
        (&["--unprotected", "ftp://b/x"], "ftp://"),
        (&["--unprotected", "--sweep", "-"], "--sweep"),
        (&["--as-of", "2100-01-01T00:00:00Z", "a.ndjson"], "future"),
        (&["--as-of", "file-time", "-"], "file time"),
    ] {
        let done = desk.run(arguments);
        assert!(done.code == 2 && done.err.contains(says), "{arguments:?}: {done:?}");
    }
    assert_eq!(redis.client().run::<u64>(&["DBSIZE"]), 0);
}

#[test]
fn a_cluster_is_loaded_and_swept_on_all_of_its_masters() {
    let cluster = RedisCluster::start();
    let seed = cluster.masters[0].port;
    let settings =
        alone(0, "").replace("url = \"redis://127.0.0.1:0/0\"", &format!("cluster = [\"127.0.0.1:{seed}\"]"));
    let desk = Desk::new(&settings);
    desk.file("a.ndjson", rows(0..2_000));
    let done = desk.run(&["--unprotected", "a.ndjson"]);
    assert_eq!((done.code, done.count("keys_written")), (0, 6_000), "{done:?}");
    desk.file("b.ndjson", rows(0..500));
    let done = desk.run(&["--unprotected", "--sweep", "b.ndjson"]);
    assert_eq!((done.code, done.count("keys_swept")), (0, 4_500), "{done:?}");
    let left: usize = cluster.masters.iter().map(|master| held(&mut master.client()).len()).sum();
    assert_eq!(left, 1_500);
}

/// A user that may do exactly what the README allows and docs/preload.md adds.
#[test]
fn the_rights_in_redis_are_enough() {
    let read =
        |name: &str| std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (readme, page) = (read("README.md"), read("docs/preload.md"));
    let rule = readme.lines().find(|line| line.starts_with("ACL SETUSER ")).unwrap();
    let (_, rights) = page.split_once("## Rights").unwrap();
    let mut words: Vec<&str> = rule.split(' ').collect();
    words.extend(["~t:*", "~in:*", "~board:*"]);
    words.extend(
        rights
            .split(|letter: char| letter.is_whitespace() || "`,;".contains(letter))
            .filter(|word| word.starts_with('+')),
    );
    let redis = RedisServer::start();
    let mut client = redis.client();
    client.run::<()>(&words);
    client.run::<()>(&["SET", "t:999", "old"]);
    let settings = alone(redis.port, "").replace("redis://", "redis://stoker:secret@");
    let desk = Desk::new(&settings);
    desk.file("a.ndjson", rows(0..100));
    for overwrite in [&[][..], &["--overwrite"]] {
        let done = desk.run(&[&["--unprotected", "--sweep", "a.ndjson"][..], overwrite].concat());
        assert_eq!(done.code, 0, "{done:?}");
    }
    assert_eq!(held(&mut client).len(), 300);
    for more in ["", "guard = { by = \"source\" }"] {
        client.run::<()>(&["DEL", "in:0", "in:1", "in:2", "board:0", "board:1", "board:2"]);
        let settings = without_topic(redis.port, more).replace("redis://", "redis://stoker:secret@");
        let desk = Desk::new(&settings);
        desk.file("a.ndjson", board_rows(0..50));
        for overwrite in [&[][..], &["--overwrite"]] {
            let done = desk.run(&[&["--unprotected", "a.ndjson"][..], overwrite].concat());
            assert_eq!((done.code, done.count("keys_written")), (0, 100), "{done:?}");
        }
    }
    let refused: Vec<redis::Value> = client.run(&["ACL", "LOG"]);
    assert!(refused.is_empty(), "{refused:?}");
}
