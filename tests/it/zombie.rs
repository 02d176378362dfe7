//! A process that sleeps past its session and wakes up: another has taken its lane over, and nothing that the
//! sleeper still had in hand may be seen again.

use std::time::Duration;

use crate::support::instance::Bench;
use crate::support::redis::RedisServer;
use crate::support::rig::Rig;
use crate::support::topic::Topic;
use crate::support::wait_for;

/// Keys of one run. Enough that the sleeper has a batch in hand and others waiting.
const KEYS: usize = 400;
/// The version that the heir writes. Enough before it that the sleeper is still busy when it is stopped.
const LAST: usize = 80;
/// Runs in the ordinary test run. `STOKER_ZOMBIE_RUNS=50` for the long one.
const RUNS: usize = 5;

#[test]
fn a_zombie_that_wakes_up_writes_nothing_stale() {
    #[expect(clippy::disallowed_methods, reason = "how often is the caller's to say")]
    let runs = std::env::var("STOKER_ZOMBIE_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS);
    let rig = Rig::shared();
    let redis = RedisServer::start();
    for run in 0..runs {
        let name = format!("zombie-{run}");
        let topic = Topic::create(rig.brokers(), &name, 1);
        let bench = Bench::new(&settings(&name, rig.brokers(), redis.port));
        let all_at = |version: usize| {
            let mut client = redis.client();
            let at = format!("{{\"id\":{{}},\"version\":{version}}}");
            (0..KEYS)
                .filter(|id| {
                    let held: Option<String> = client.run(&["GET", &format!("{name}:{id}")]);
                    held.as_deref() != Some(&at.replace("{}", &id.to_string()))
                })
                .count()
        };
        let write = |version: usize| {
            for id in 0..KEYS {
                topic.append(0, Some(&format!("{{\"id\":{id}}}")), Some(&event(id, version)));
            }
        };

        let sleeper = bench.start();
        write(1);
        topic.flush();
        assert!(wait_for(Duration::from_secs(30), || all_at(1) == 0), "run {run}: the first one applies");
        // Put to sleep in the middle of its work: once some of what waits for it was applied, with most to come.
        for version in 2..LAST {
            write(version);
        }
        topic.flush();
        assert!(wait_for(Duration::from_secs(30), || all_at(1) > 0), "run {run}: the sleeper is at work");
        sleeper.signal("-STOP");

        let heir = bench.start();
        write(LAST);
        topic.flush();
        let taken = wait_for(Duration::from_secs(40), || all_at(LAST) == 0);
        assert!(taken, "run {run}: the heir takes over and applies:\n{}", heir.log());
        sleeper.signal("-CONT");
        // The sleeper either hears from Kafka that it lost its partition, or from Redis that another owns it.
        let heard = wait_for(Duration::from_secs(20), || {
            assert_eq!(all_at(LAST), 0, "run {run}: something stale is seen:\n{}", sleeper.log());
            sleeper.log().contains("lost")
        });
        assert!(heard, "run {run}: the sleeper learns that it lost its lane:\n{}", sleeper.log());
        assert_eq!(all_at(LAST), 0, "run {run}: something stale is seen");
        assert!(matches!(sleeper.stop(), 0 | 5));
        assert_eq!(heir.stop(), 0);
    }
}

fn event(id: usize, version: usize) -> String {
    format!(
        r#"{{"before":null,"after":{{"id":{id},"version":{version}}},"source":{{"connector":"postgresql","schema":"public","table":"t","lsn":{version}}},"op":"u"}}"#
    )
}

fn settings(name: &str, brokers: &str, redis: u16) -> String {
    format!(
        r#"
[kafka]
brokers = "{brokers}"
group = "{name}"
start = "earliest"
[kafka.properties]
"session.timeout.ms" = "1500"
"heartbeat.interval.ms" = "300"
[redis]
url = "redis://127.0.0.1:{redis}/0"
[errors]
on_error = "stop"
[limits]
workers = 1
batch_records = 50
[admin]
listen = "127.0.0.1:0"
[[entity]]
name = "t"
topics = ["{name}"]
  [[entity.write]]
  key = "{name}:{{id}}"
  value = "json"
  ttl = "1h"
"#
    )
}
