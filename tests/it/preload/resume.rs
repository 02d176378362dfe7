//! What was ended goes on: after kill -9, and only with the same files.

use std::io::Write as _;
use std::time::Duration;

use super::{Desk, alone, held, rows};
use crate::support::redis::RedisServer;
use crate::support::wait_for;

#[test]
fn a_load_that_was_killed_goes_on_where_it_was() {
    let redis = RedisServer::start();
    let desk = Desk::new(&alone(redis.port, ""));
    desk.file("export/a.ndjson", rows(0..10_000));
    desk.file("export/b.ndjson", rows(10_000..20_000));
    let arguments = ["--unprotected", "--rate", "15000", "export"];
    let mut client = redis.client();
    let running = desk.start(&arguments);
    let begun = wait_for(Duration::from_secs(60), || client.run::<u64>(&["DBSIZE"]) > 25_000);
    assert!(begun, "{}", running.said());
    running.kill();
    let checkpoint = desk.path(".stoker-preload-t.json");
    assert!(checkpoint.exists());
    let before: u64 = client.run(&["DBSIZE"]);
    assert!(before < 60_000);

    // Another load, and one of other files, do not go on with it.
    let other = desk.run(&["--unprotected", "--overwrite", "export"]);
    assert!(other.code == 2 && other.err.contains("if absent"), "{other:?}");
    let changed = desk.file("export/b.ndjson", rows(10_000..20_001));
    let other = desk.run(&arguments);
    assert!(other.code == 2 && other.err.contains("b.ndjson has changed"), "{other:?}");
    assert_eq!(client.run::<u64>(&["DBSIZE"]), before);

    let restarted = desk.run(&["--unprotected", "--restart", "--dry-run", "export"]);
    assert_eq!((restarted.code, restarted.count("rows")), (0, 20_001));
    std::fs::remove_file(changed).unwrap();
    std::fs::remove_file(desk.path("export/a.ndjson")).unwrap();

    // The rest, in a load of its own that is ended and goes on with the same files.
    desk.file("export/a.ndjson", rows(0..20_000));
    let running = desk.start(&["--unprotected", "--rate", "15000", "--restart", "export"]);
    let begun = wait_for(Duration::from_secs(60), || client.run::<u64>(&["DBSIZE"]) > before + 9_000);
    assert!(begun, "{}", running.said());
    running.kill();
    let done = desk.run(&["--unprotected", "export"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.count("rows") < 19_000, "it began anew: {done:?}");
    assert!(done.err.contains("goes on with a load"), "{done:?}");
    assert!(!checkpoint.exists());
    let held = held(&mut client);
    assert_eq!(held.len(), 60_000);
    assert_eq!(held["t:19999"], r#"{"id":19999,"name":"n19999"}"#);
}

#[test]
fn a_signal_ends_it_and_says_where_it_goes_on() {
    let redis = RedisServer::start();
    let desk = Desk::new(&alone(redis.port, ""));
    desk.file("a.ndjson", rows(0..20_000));
    let mut client = redis.client();
    let running = desk.start(&["--unprotected", "--rate", "6000", "a.ndjson"]);
    assert!(wait_for(Duration::from_secs(60), || client.run::<u64>(&["DBSIZE"]) > 1_000));
    running.terminate();
    let done = running.end();
    assert_eq!((done.code, done.report["ended"]["why"].as_str()), (7, Some("stopped")), "{done:?}");
    assert!(done.report["checkpoint"].as_str().unwrap().ends_with(".stoker-preload-t.json"));
    let done = desk.run(&["--unprotected", "a.ndjson"]);
    assert_eq!((done.code, held(&mut client).len()), (0, 60_000), "{done:?}");
}

#[test]
fn a_pipe_is_loaded_to_its_end_and_a_signal_does_not_wait_for_it() {
    let redis = RedisServer::start();
    let desk = Desk::new(&alone(redis.port, ""));
    let mut client = redis.client();
    for is_ended in [true, false] {
        client.run::<()>(&["FLUSHALL"]);
        let mut running = desk.start_with(&["--unprotected", "-"], std::process::Stdio::piped());
        let mut input = running.child.stdin.take().unwrap();
        input.write_all(rows(0..1_000).as_bytes()).unwrap();
        let begun = wait_for(Duration::from_secs(60), || client.run::<u64>(&["DBSIZE"]) > 1_000);
        assert!(begun, "{}", running.said());
        if is_ended {
            drop(input);
            let done = running.end();
            assert_eq!(
                (done.code, done.count("rows"), held(&mut client).len()),
                (0, 1_000, 3_000),
                "{done:?}"
            );
        } else {
            running.terminate();
            let done = running.end();
            assert_eq!((done.code, done.report["ended"]["why"].as_str()), (7, Some("stopped")), "{done:?}");
            drop(input);
        }
    }
}
