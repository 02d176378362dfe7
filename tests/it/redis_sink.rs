//! What only a real server shows: lost connections, writes that land late, servers that refuse.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stoker::batch::{Action, Batch, Outcome, Outcomes, Step, Unit, WatermarkSeen};
use stoker::error::{ServerCode, WorldError};
use stoker::mutation::{Expiry, MemberKind, RowId, Value};
use stoker::settings::{RedisAddress, RedisSettings, RedisTarget, Secret, TlsSettings};
use stoker::sink::Sink;
use stoker::sink::redis::RedisSink;

use super::support::redis::{RedisServer, wait_for};
use super::support::sink::*;

const LIMIT: Duration = Duration::from_secs(20);

fn sink(settings: RedisSettings) -> RedisSink {
    RedisSink::new(settings, GROUP.into(), VALUE_BYTES_MAX)
}

fn not_now(code: ServerCode) -> Option<WorldError> {
    Some(WorldError::NotNow { code })
}

/// Sends what was not acknowledged again until everything is, as a lane does. Returns how often.
async fn until_applied(sink: &RedisSink, mut batch: Batch) -> u32 {
    for attempt in 1..500 {
        batch.attempt = attempt;
        let outcomes = sink.apply(&batch).await;
        let mut acknowledged = outcomes.units.iter().map(|outcome| *outcome != Outcome::NotAcknowledged);
        batch.units.retain(|_| !acknowledged.next().unwrap());
        if batch.units.is_empty() && outcomes.watermark == WatermarkSeen::Current {
            return attempt;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never applied");
}

#[test]
fn what_was_not_acknowledged_is_sent_again_under_a_hail_of_kills() {
    let server = RedisServer::start();
    let sink = sink(server.settings());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.client();
            while !over.load(Ordering::Relaxed) {
                let _: i64 = client.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        runtime().block_on(async {
            while sink.take_over(&fresh_claim(1)).await.is_err() {}
            let mut attempts = 0;
            for round in 0..100 {
                let mut units: Vec<_> =
                    (0..200).map(|key| write(&format!("k{key}"), &round.to_string())).collect();
                let guarded = guarded_write(round + 1, "r", &round.to_string());
                units.push(unit("guarded", Action::Guarded([guarded].into_iter().collect())));
                let round = i64::try_from(round).unwrap();
                attempts += until_applied(&sink, batch(1, round..round + 1, units)).await;
            }
            assert!(attempts > 100, "connections were killed under way");
        });
        over.store(true, Ordering::Relaxed);
    });
    let mut client = server.client();
    for key in (0..200).map(|key| format!("k{key}")).chain(["guarded".to_owned()]) {
        assert_eq!(client.run::<String>(&["GET", &key]), "99", "{key}");
    }
}

/// Keys of the pipeline that lands late: 3.4 MB, which a server reads in some 200 portions, so that whoever
/// comes after it without a fence is done before its end. (With 500 keys, a take-over's own questions take
/// longer than they do, and the test would pass without a fence.)
const LATE_KEYS: usize = 8_000;
/// So many of them, the last, are written anew.
const NEWER_KEYS: usize = 500;

fn late_unit(key: usize, value: &str) -> stoker::batch::Unit {
    write(&format!("late{key}"), &value.repeat(400 / value.len()))
}

fn old_units() -> Vec<stoker::batch::Unit> {
    (0..LATE_KEYS).map(|key| late_unit(key, "old!")).collect()
}

fn newer_units() -> Vec<stoker::batch::Unit> {
    (LATE_KEYS - NEWER_KEYS..LATE_KEYS).map(|key| late_unit(key, "new!")).collect()
}

fn stale_keys(server: &RedisServer) -> usize {
    let mut client = server.client();
    let held = |key| client.run::<String>(&["GET", &format!("late{key}")]);
    (LATE_KEYS - NEWER_KEYS..LATE_KEYS).map(held).filter(|value| !value.starts_with("new!")).count()
}

/// Ten runs, or as many as `STOKER_LATE_RUNS` says.
fn late_runs() -> u32 {
    let runs = std::env::var_os("STOKER_LATE_RUNS");
    runs.map_or(10, |runs| runs.to_str().unwrap().parse().unwrap())
}

/// A pipeline of `old` times out in a stopped server; then `newer` is called and the server goes on.
fn with_a_late_pipeline(
    server: &RedisServer,
    runtime: &tokio::runtime::Runtime,
    newer: impl FnOnce(&tokio::runtime::Runtime),
) {
    let settings = RedisSettings { timeout: Duration::from_millis(300), ..server.settings() };
    let first = sink(settings);
    let taken = runtime.block_on(first.take_over(&fresh_claim(1)));
    taken.unwrap();
    server.signal("-STOP");
    let outcomes = runtime.block_on(first.apply(&batch(1, 0..1, old_units())));
    assert_eq!(outcomes.error, Some(WorldError::Timeout));
    assert!(outcomes.units.iter().all(|outcome| *outcome == Outcome::NotAcknowledged));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            server.signal("-CONT");
        });
        newer(runtime);
    });
    // Whatever the stopped server still held has been carried out once both connections are quiet.
    let mut client = server.client();
    let quiet = wait_for(LIMIT, || {
        let list: String = client.run(&["CLIENT", "LIST"]);
        list.lines().all(|line| line.contains("cmd=client") || line.contains(" qbuf=0 "))
    });
    assert!(quiet);
}

#[test]
fn a_pipeline_that_timed_out_never_overwrites_what_the_next_owner_wrote() {
    let server = RedisServer::start();
    for run in 0..late_runs() {
        let runtime = runtime();
        let second = sink(server.settings());
        runtime.block_on(second.probe()).unwrap();
        with_a_late_pipeline(&server, &runtime, |runtime| {
            runtime.block_on(async {
                assert!(second.take_over(&claim_from(2, 0)).await.is_ok());
                assert_done(&second.apply(&batch(2, 0..1, newer_units())).await);
            });
        });
        assert_eq!(stale_keys(&server), 0, "run {run}");
    }
}

#[test]
fn a_pipeline_that_timed_out_never_overwrites_what_its_own_sink_sent_again() {
    let server = RedisServer::start();
    for run in 0..late_runs() {
        let runtime = runtime();
        let settings = RedisSettings { timeout: Duration::from_millis(300), ..server.settings() };
        let sink = sink(settings);
        runtime.block_on(async {
            sink.take_over(&claim_from(1, 0)).await.unwrap();
            server.signal("-STOP");
            let outcomes = sink.apply(&batch(1, 0..1, old_units())).await;
            assert_eq!(outcomes.error, Some(WorldError::Timeout));
            server.signal("-CONT");
            until_applied(&sink, batch(1, 0..1, newer_units())).await;
        });
        assert_eq!(stale_keys(&server), 0, "run {run}");
        assert!(sink.nodes()[0].fenced_count > 0, "run {run}");
    }
}

/// The control: without the fence the same pipeline does overwrite, so the tests above can fail.
#[test]
fn without_the_fence_a_late_pipeline_overwrites() {
    let server = RedisServer::start();
    let mut overwritten = 0;
    for _ in 0..late_runs() {
        let mut second = server.client();
        with_a_late_pipeline(&server, &runtime(), |_| {
            let mut newer = redis::pipe();
            for unit in newer_units() {
                newer.cmd("SET").arg(unit.key.as_bytes()).arg("new!".repeat(100)).ignore();
            }
            newer.exec(&mut second.0).unwrap();
        });
        overwritten += u32::from(stale_keys(&server) > 0);
    }
    assert_eq!(overwritten, late_runs(), "a server that was stopped carries the older pipeline out last");
}

#[test]
fn a_call_that_was_dropped_is_fenced_like_one_that_timed_out() {
    let server = RedisServer::start();
    let sink = sink(server.settings());
    runtime().block_on(async {
        sink.take_over(&fresh_claim(1)).await.unwrap();
        server.signal("-STOP");
        let old = batch(1, 0..1, old_units());
        assert!(tokio::time::timeout(Duration::from_millis(100), sink.apply(&old)).await.is_err());
        server.signal("-CONT");
        assert_done(&sink.apply(&batch(1, 0..1, newer_units())).await);
    });
    assert_eq!(stale_keys(&server), 0);
    assert_eq!(sink.nodes()[0].fenced_count, 1);
}

#[test]
fn a_server_that_refuses_for_now_is_written_to_later() {
    let server = RedisServer::start();
    let sink = sink(server.settings());
    let mut client = server.client();
    let row = || RowId::new(b"r");
    let never = Expiry::Never;
    let guarded_member = |step| Unit {
        key: member("board", MemberKind::SortedSet, "m"),
        ..unit("", Action::Guarded([step].into_iter().collect()))
    };
    let units = || {
        let guarded = Action::Guarded([guarded_write(1, "r", "x")].into_iter().collect());
        vec![
            write("string", "x"),
            unit("hash", Action::Write(hash(&[("f", "v")]), hour())),
            unit("guarded", guarded),
            Unit {
                key: member("set", MemberKind::Set, "m"),
                ..unit("", Action::Write(Value::member(), never))
            },
            guarded_member(Step::Write {
                version: version(1),
                owner: row(),
                value: score("1"),
                expiry: never,
            }),
        ]
    };
    let names = ["EXISTS", "string", "hash", "guarded", "set", "board"];
    let cases: [(&[&str], &[&str], ServerCode); 3] = [
        (&["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"], ServerCode::OutOfMemory),
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"], ServerCode::ReadOnly),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
            ServerCode::NoReplicas,
        ),
    ];
    runtime().block_on(async {
        sink.take_over(&fresh_claim(1)).await.unwrap();
        for (position, (worsen, mend, code)) in (0..).zip(cases) {
            client.run::<redis::Value>(worsen);
            let outcomes = sink.apply(&batch(1, position..position + 1, units())).await;
            assert_eq!(outcomes.error, not_now(code), "{outcomes:?}");
            assert_eq!(outcomes.units, vec![Outcome::NotAcknowledged; 5], "{code}");
            assert_eq!(outcomes.watermark, WatermarkSeen::Unknown, "{code}");
            assert_eq!(client.run::<i64>(&names), 0, "{code}");
            if code != ServerCode::OutOfMemory {
                let gone = guarded_member(guarded_delete(2, "r", None));
                let outcomes = sink.apply(&batch(1, position..position + 1, vec![gone])).await;
                assert_eq!(outcomes.units, [Outcome::NotAcknowledged], "{code}: a removal is no different");
            }
            client.run::<redis::Value>(mend);
            until_applied(&sink, batch(1, position..position + 1, units())).await;
            assert_eq!(client.run::<i64>(&names), 5, "{code}");
            client.run::<i64>(&["DEL", "string", "hash", "guarded", "set", "board"]);
        }
    });
}

#[test]
fn a_server_busy_with_a_script_is_waited_for() {
    let server = RedisServer::start_with(&["--busy-reply-threshold", "50"]);
    let sink = sink(server.settings());
    let runtime = runtime();
    runtime.block_on(sink.take_over(&fresh_claim(1))).unwrap();
    let mut client = server.client();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let endless = server.client().try_run::<redis::Value>(&["EVAL", "while true do end", "0"]);
            assert!(endless.is_err(), "it was killed");
        });
        let busy = || client.try_run::<String>(&["PING"]).is_err_and(|e| e.code() == Some("BUSY"));
        assert!(wait_for(LIMIT, busy));
        let outcomes = runtime.block_on(sink.apply(&batch(1, 0..1, vec![write("a", "x")])));
        client.run::<()>(&["SCRIPT", "KILL"]);
        assert_eq!(outcomes.error, not_now(ServerCode::Busy));
        assert_eq!(outcomes.units, [Outcome::NotAcknowledged]);
    });
    runtime.block_on(until_applied(&sink, batch(1, 0..1, vec![write("a", "x")])));
}

#[test]
fn a_server_that_takes_no_connection_is_waited_for() {
    let server = RedisServer::start();
    let mut client = server.client();
    let probe = |settings| runtime().block_on(sink(settings).probe()).err();
    client.run::<()>(&["CONFIG", "SET", "requirepass", "secret"]);
    assert_eq!(probe(server.settings()), not_now(ServerCode::Auth));
    client.run::<()>(&["CONFIG", "SET", "requirepass", ""]);
    client.run::<()>(&["CONFIG", "SET", "maxclients", "1"]);
    // The server says so and closes at once; where we were still writing, only the closing is seen.
    let gone = Some(WorldError::Unreachable { node: format!("127.0.0.1:{}", server.port) });
    let refused = probe(server.settings());
    assert!(refused == not_now(ServerCode::MaxClients) || refused == gone, "{refused:?}");
    client.run::<()>(&["CONFIG", "SET", "maxclients", "100"]);
    assert_eq!(probe(server.settings()), None);
}

#[test]
fn what_is_no_redis_is_an_error_and_no_panic() {
    let answers: [&[u8]; 4] = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*-5\r\n", b"$99999999999\r\n", b""];
    for answer in answers {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = RedisAddress::Tcp("127.0.0.1".into(), listener.local_addr().unwrap().port());
        let target = RedisTarget::Single { address, database: 0 };
        let settings = super::support::redis::settings(target);
        let settings = RedisSettings {
            timeout: Duration::from_millis(300),
            connect_timeout: Duration::from_millis(300),
            ..settings
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                std::io::Write::write_all(&mut stream, answer).unwrap();
            });
            assert!(runtime().block_on(sink(settings).probe()).is_err());
        });
    }
}

#[test]
fn an_idle_look_succeeds_on_a_server_that_is_out_of_memory() {
    let server = RedisServer::start();
    let sink = sink(server.settings());
    let mut client = server.client();
    runtime().block_on(async {
        sink.take_over(&fresh_claim(1)).await.unwrap();
        client.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
        assert_done(&sink.apply(&look(1, 0)).await);
    });
}

#[test]
fn lost_scripts_are_loaded_within_the_call() {
    let server = RedisServer::start();
    let sink = sink(server.settings());
    let mut client = server.client();
    runtime().block_on(async {
        sink.take_over(&fresh_claim(1)).await.unwrap();
        for round in 0..3 {
            client.run::<()>(&["SCRIPT", "FLUSH"]);
            let guarded = Action::Guarded([guarded_write(1, "r", "x")].into_iter().collect());
            let units = vec![
                write("plain", "x"),
                unit("hash", Action::Write(hash(&[("f", "v")]), Expiry::Never)),
                unit("guarded", guarded),
                unit("gone", Action::DeleteIf([text("x")].into_iter().collect())),
            ];
            let outcomes = sink.apply(&batch(1, round..round + 1, units)).await;
            assert_done(&outcomes);
            assert_eq!(outcomes.units, vec![Outcome::Applied; 4]);
        }
        client.run::<()>(&["SCRIPT", "FLUSH"]);
        assert_done(&sink.apply(&look(1, 3)).await);
        client.run::<()>(&["SCRIPT", "FLUSH"]);
        assert!(sink.take_over(&claim_from(2, 3)).await.is_ok());
    });
}

#[test]
fn a_server_that_restarted_is_not_sent_kills_meant_for_another() {
    let runtime = runtime();
    let first = RedisServer::start();
    let sink = sink(first.settings());
    let port = first.port;
    runtime.block_on(async {
        sink.take_over(&fresh_claim(1)).await.unwrap();
        assert_done(&sink.apply(&batch(1, 0..1, vec![write("a", "x")])).await);
    });
    drop(first);
    runtime.block_on(async {
        let outcomes = sink.apply(&batch(1, 1..2, vec![write("a", "y")])).await;
        assert_eq!(outcomes.units, [Outcome::NotAcknowledged]);
        let outcomes = sink.apply(&batch(1, 1..2, vec![write("a", "y")])).await;
        assert_eq!(outcomes.error, Some(WorldError::Unreachable { node: format!("127.0.0.1:{port}") }));
    });
    let second = RedisServer::start_at(port);
    runtime.block_on(async {
        let outcomes: Outcomes = sink.apply(&batch(1, 1..2, vec![write("a", "y")])).await;
        assert_eq!(outcomes.watermark, WatermarkSeen::Missing, "it came back empty");
        assert_eq!(outcomes.units, [Outcome::Applied]);
        assert_eq!(sink.nodes()[0].fenced_count, 0);
    });
    drop(second);
}

#[test]
fn without_the_right_to_kill_it_goes_on_and_says_so() {
    let server = RedisServer::start();
    let rules = ["ACL", "SETUSER", "weak", "on", ">secret", "~*", "+@all", "-client|kill"];
    server.client().run::<()>(&rules);
    let account = |password: &str| RedisSettings {
        username: Some("weak".into()),
        password: Some(Secret::new(password.into())),
        ..server.settings()
    };
    runtime().block_on(async {
        let weak = sink(account("secret"));
        weak.take_over(&fresh_claim(1)).await.unwrap();
        assert_done(&weak.apply(&batch(1, 0..1, vec![write("a", "x")])).await);
        assert!(!weak.fencing_works());
        let next = sink(account("secret"));
        assert!(next.take_over(&claim_from(1, 1)).await.is_ok());

        let strong = sink(server.settings());
        assert!(strong.probe().await.unwrap()[0].connected);
        assert!(strong.fencing_works());
        let wrong = sink(account("wrong"));
        assert_eq!(wrong.probe().await.err(), not_now(ServerCode::Auth));
    });
}

#[test]
fn a_command_that_may_not_be_run_waits_and_is_no_dead_letter() {
    let server = RedisServer::start();
    server.client().run::<()>(&["ACL", "SETUSER", "default", "resetkeys", "~stoker:*", "~b"]);
    runtime().block_on(async {
        let sink = sink(server.settings());
        sink.take_over(&fresh_claim(1)).await.unwrap();
        let units = vec![write("a", "x"), write("b", "x")];
        let outcomes = sink.apply(&batch(1, 0..1, units)).await;
        assert_eq!(outcomes.units, [Outcome::NotAcknowledged, Outcome::Applied]);
        assert_eq!(outcomes.error, not_now(ServerCode::NoPermission));
    });
}

#[test]
fn a_unix_socket_and_another_database_are_reached() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redis.sock");
    let server = RedisServer::start_with(&["--unixsocket", path.to_str().unwrap()]);
    let target = RedisTarget::Single { address: RedisAddress::Unix(path), database: 5 };
    let sink = sink(RedisSettings { target, ..server.settings() });
    runtime().block_on(async {
        sink.take_over(&fresh_claim(1)).await.unwrap();
        assert_done(&sink.apply(&batch(1, 0..1, vec![write("a", "x")])).await);
    });
    let mut client = server.client();
    client.run::<()>(&["SELECT", "5"]);
    assert_eq!(client.run::<String>(&["GET", "a"]), "x");
}

#[test]
fn tls_is_spoken_and_a_certificate_of_nobody_known_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = super::support::tls::certificate(folder.path());
    let tls_port = super::support::redis::free_port();
    let (cert_text, key_text) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let port = tls_port.to_string();
    let server = RedisServer::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        cert_text,
        "--tls-key-file",
        key_text,
        "--tls-auth-clients",
        "no",
    ]);
    let target =
        RedisTarget::Single { address: RedisAddress::Tcp("127.0.0.1".into(), tls_port), database: 0 };
    let with = |ca| RedisSettings {
        target: target.clone(),
        tls: Some(TlsSettings { ca, ..TlsSettings::default() }),
        ..server.settings()
    };
    runtime().block_on(async {
        let trusting = sink(with(Some(cert)));
        trusting.take_over(&fresh_claim(1)).await.unwrap();
        assert_done(&trusting.apply(&batch(1, 0..1, vec![write("a", "x")])).await);
        let refused = sink(with(None)).probe().await;
        assert_eq!(refused.err(), Some(WorldError::Unreachable { node: format!("127.0.0.1:{tls_port}") }));
    });
    assert_eq!(server.client().run::<String>(&["GET", "a"]), "x");
}

/// Found by review: a claim that outlived its lane raised the epoch above the next owner's, and stopped it.
#[test]
fn a_claim_whose_lane_was_abandoned_meanwhile_takes_nothing() {
    let server = RedisServer::start();
    let (first, second) = (sink(server.settings()), sink(server.settings()));
    runtime().block_on(async {
        second.probe().await.unwrap();
        server.signal("-STOP");
        let claim = fresh_claim(1);
        let mut late = Box::pin(first.take_over(&claim));
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut late).await.is_err(), "it connects");
        first.abandon(claim.lane);
        server.signal("-CONT");
        second.take_over(&claim_from(2, 0)).await.unwrap();
        assert_eq!(late.await, Err(WorldError::NotOwner));
        let outcomes = second.apply(&look(2, 0)).await;
        assert_eq!(outcomes.watermark, WatermarkSeen::Current, "still the owner");
    });
}

/// Found by review: the file was read once, and after a rotation no connection could be made any more.
#[test]
fn a_password_that_was_rotated_in_its_file_is_read_again_at_the_next_connection() {
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let mut client = server.client();
    let rotate = |client: &mut super::support::redis::Client, password: &str| {
        client.run::<()>(&["CONFIG", "SET", "requirepass", password]);
        std::fs::write(&file, format!("{password}\n")).unwrap();
    };
    rotate(&mut client, "first");
    let password = Some(Secret::of_file("first".into(), file.clone()));
    let sink = sink(RedisSettings { password, ..server.settings() });
    runtime().block_on(async {
        sink.take_over(&fresh_claim(1)).await.unwrap();
        rotate(&mut client, "second");
        client.run::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        until_applied(&sink, batch(1, 0..1, vec![write("a", "x")])).await;
    });
}
