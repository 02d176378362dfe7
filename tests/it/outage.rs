//! Errors of the world: Redis loses its data, is away, or says "not now"; Kafka is away. Nothing is lost,
//! nothing becomes a dead letter, and an operator can see what is waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::support::broker;
use crate::support::instance::Instance;
use crate::support::redis::RedisServer;
use crate::support::scene::{Draft, LONG, Scene, event, record_key, row};
use crate::support::wait_for;

const LOST: &str = "Redis lost its data";
const FELL_BACK: &str = "Redis went back to an older state";

/// The process never left the group: its lanes are those that it was given first.
fn assert_stayed(instance: &Instance) {
    let log = instance.log();
    assert!(
        !log.contains("partitions lost") && !log.contains("partitions given back"),
        "{}",
        instance.story()
    );
}

#[test]
fn a_redis_that_restarts_empty_is_filled_again() {
    let mut scene = Scene::new("outage-empty", 2);
    scene.write(0..300, 1, 2);
    let mut instance = scene.draft.bench().start();
    scene.await_applied(0..300, 1, &instance);
    scene.await_committed(2, &instance);
    instance.await_ready();

    scene.redis.kill();
    scene.write(0..50, 2, 2);
    instance.await_reason("redis_down");
    instance.await_reason("lane_not_applying");
    assert_eq!(instance.metric("stoker_redis_up", ""), 0.0);
    assert_eq!(instance.get("/livez").0, 200, "a restart of Stoker would not help");
    scene.redis.restart(&[]);
    scene.await_applied(0..50, 2, &instance);
    scene.await_applied(50..300, 1, &instance);
    instance.await_metric("stoker_rewinds_total", "reason=\"missing\"", 2.0);
    instance.await_log(LOST);
    instance.await_ready();
    assert!(instance.runs());
    assert_stayed(&instance);
    assert_eq!(instance.stop(), 0);
}

#[test]
fn a_redis_that_restarts_from_an_old_snapshot_is_brought_up_to_date() {
    let mut scene = Scene::new("outage-snapshot", 1);
    let folder = tempfile::tempdir().unwrap();
    let options = ["--dir", folder.path().to_str().unwrap()];
    scene.redis.restart(&options);
    scene.write(0..100, 1, 1);
    let instance = scene.draft.bench().start();
    scene.await_applied(0..100, 1, &instance);
    scene.await_committed(1, &instance);
    scene.redis.client().run::<()>(&["SAVE"]);
    scene.write(0..50, 2, 1);
    scene.topic.append(0, Some(&record_key(50)), None);
    scene.write(100..150, 1, 1);
    scene.await_applied(100..150, 1, &instance);
    scene.await_committed(1, &instance);

    scene.redis.restart(&options);
    scene.await_applied(0..50, 2, &instance);
    scene.await_applied(51..100, 1, &instance);
    scene.await_applied(100..150, 1, &instance);
    assert_eq!(scene.missing(50..51, 1), 1, "what was deleted since the snapshot is deleted again");
    instance.await_metric("stoker_rewinds_total", "reason=\"behind\"", 1.0);
    instance.await_log(FELL_BACK);
    assert_eq!(instance.stop(), 0);
}

#[test]
fn flushall_is_seen_while_idle_and_a_second_one_is_refilled_later_and_told() {
    let scene = Scene::new("outage-flush-idle", 2);
    scene.write(0..100, 1, 2);
    let instance = scene.draft.bench().start();
    scene.await_applied(0..100, 1, &instance);
    scene.await_committed(2, &instance);
    let mut client = scene.redis.client();
    client.run::<()>(&["FLUSHALL"]);
    scene.await_applied(0..100, 1, &instance);
    instance.await_metric("stoker_rewinds_total", "reason=\"missing\"", 2.0);
    instance.await_ready();
    // Too soon after the first one: not filled over and over.
    client.run::<()>(&["FLUSHALL"]);
    instance.await_reason("rewinding");
    scene.await_applied(0..100, 1, &instance);
    instance.await_ready();
    assert_eq!(instance.stop(), 0);
}

#[test]
fn flushall_under_load_loses_nothing() {
    let scene = Scene::new("outage-flush-load", 2);
    scene.write(1_000..1_100, 1, 2);
    let instance = scene.draft.bench().start();
    scene.await_applied(1_000..1_100, 1, &instance);
    let stop = AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        let writer = scope.spawn(|| scene.write_until(0..200, 2, &stop));
        instance.await_metric("stoker_records_total", "", 1_000.0);
        scene.redis.client().run::<()>(&["FLUSHALL"]);
        let seen = wait_for(LONG, || instance.metric("stoker_rewinds_total", "") >= 1.0);
        stop.store(true, Ordering::Relaxed);
        assert!(seen, "{}", instance.story());
        writer.join().unwrap()
    });
    scene.await_applied(0..200, last, &instance);
    scene.await_applied(1_000..1_100, 1, &instance);
    scene.await_committed(2, &instance);
    assert_eq!(instance.stop(), 0);
}

/// A way in which Redis says "not now", and the way back.
struct Refusal {
    label: &'static str,
    begin: &'static [&'static [&'static str]],
    end: &'static [&'static [&'static str]],
}

const REFUSALS: [Refusal; 4] = [
    Refusal {
        label: "OOM",
        begin: &[&["CONFIG", "SET", "maxmemory-policy", "noeviction"], &["CONFIG", "SET", "maxmemory", "1"]],
        end: &[&["CONFIG", "SET", "maxmemory", "0"]],
    },
    Refusal {
        label: "READONLY",
        begin: &[&["REPLICAOF", "127.0.0.1", "1"]],
        end: &[&["REPLICAOF", "NO", "ONE"]],
    },
    Refusal {
        label: "NOREPLICAS",
        begin: &[&["CONFIG", "SET", "min-replicas-to-write", "1"]],
        end: &[&["CONFIG", "SET", "min-replicas-to-write", "0"]],
    },
    Refusal {
        label: "timeout",
        begin: &[&["CLIENT", "PAUSE", "600000", "WRITE"]],
        end: &[&["CLIENT", "UNPAUSE"]],
    },
];

#[test]
fn what_redis_refuses_for_now_is_waited_for_and_is_no_letter() {
    let mut scene = Scene::new("outage-refusals", 1);
    scene.draft.redis.push_str("\ntimeout = \"400ms\"");
    scene.draft.errors = "dead_letter_topic = \"outage-refusals-dlq\"".to_owned();
    scene.draft.limits = "workers = 1".to_owned();
    let instance = scene.draft.bench().start();
    let mut version = 1;
    scene.write(0..20, version, 1);
    scene.await_applied(0..20, version, &instance);
    let mut client = scene.redis.client();
    for Refusal { label, begin, end } in REFUSALS {
        scene.await_committed(1, &instance);
        let before = scene.committed(1);
        begin.iter().for_each(|words| client.run::<()>(words));
        version += 1;
        scene.write(0..20, version, 1);
        instance.await_metric("stoker_retries_total", &format!("reason=\"{label}\""), 1.0);
        instance.await_reason("lane_not_applying");
        assert_eq!(scene.missing(0..20, version - 1), 0, "{label}: nothing of it is applied");
        assert_eq!(scene.committed(1), before, "{label}: nothing of it is committed");
        end.iter().for_each(|words| client.run::<()>(words));
        scene.await_applied(0..20, version, &instance);
        instance.await_ready();
    }
    assert_eq!(instance.metric("stoker_record_errors_total", "") + 0.0, 0.0);
    assert_eq!(instance.metric("stoker_dead_letters_total", "") + 0.0, 0.0);
    let log = instance.log();
    assert!(log.contains("Redis takes writes again") && log.contains("the server answers OOM"), "{log}");
    assert_stayed(&instance);
    assert_eq!(instance.stop(), 0);
}

#[test]
fn connections_killed_and_scripts_flushed_under_load_change_nothing() {
    let scene = Scene::new("outage-kills", 2);
    let instance = scene.draft.bench().start();
    let stop = AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        let writer = scope.spawn(|| scene.write_until(0..200, 2, &stop));
        let mut client = scene.redis.client();
        for round in 1..=30 {
            instance.await_metric("stoker_records_total", "", f64::from(round) * 200.0);
            client.run::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            client.run::<()>(&["SCRIPT", "FLUSH"]);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    scene.await_applied(0..200, last, &instance);
    scene.await_committed(2, &instance);
    assert_eq!(instance.metric("stoker_rewinds_total", "") + 0.0, 0.0, "nothing was lost");
    assert_eq!(instance.stop(), 0);
}

#[test]
fn a_redis_that_hangs_for_a_while_gets_what_came_meanwhile() {
    let mut scene = Scene::new("outage-hang", 2);
    scene.draft.redis.push_str("\ntimeout = \"400ms\"\nconnect_timeout = \"400ms\"");
    let instance = scene.draft.bench().start();
    scene.write(0..100, 1, 2);
    scene.await_applied(0..100, 1, &instance);
    scene.redis.signal("-STOP");
    for version in 2..10 {
        scene.write(0..100, version, 2);
    }
    instance.await_metric("stoker_retries_total", "reason=\"timeout\"", 1.0);
    instance.await_reason("redis_down");
    scene.redis.signal("-CONT");
    scene.await_applied(0..100, 9, &instance);
    instance.await_ready();
    assert_stayed(&instance);
    assert_eq!(instance.stop(), 0);
}

/// A broker of its own, for faults that a shared one cannot be given.
struct OwnBroker {
    name: &'static str,
    producer: BaseProducer,
    redis: RedisServer,
}

impl OwnBroker {
    fn start(name: &'static str) -> OwnBroker {
        let mut config = ClientConfig::new();
        config.set("test.mock.num.brokers", "1").set("linger.ms", "0").set("acks", "all");
        let own = OwnBroker { name, producer: config.create().unwrap(), redis: RedisServer::start() };
        own.cluster().create_topic(name, 1, 1).unwrap();
        own
    }

    fn cluster(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.producer.client().mock_cluster().unwrap()
    }

    fn draft(&self) -> Draft {
        Draft::new(self.name, &self.cluster().bootstrap_servers(), self.redis.port)
    }

    /// Appends a row and waits until it is cached.
    fn append_and_wait(&self, id: usize, instance: &Instance) {
        let (key, value) = (record_key(id), event(id, 1));
        let record = BaseRecord::to(self.name).key(&key).payload(&value);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        let done = wait_for(LONG, || {
            // Not acknowledged for as long as the broker is away.
            let _ = self.producer.flush(Duration::from_millis(10));
            self.held(id) == Some(row(id, 1))
        });
        assert!(done, "row {id}:\n{}", instance.story());
    }

    fn held(&self, id: usize) -> Option<String> {
        self.redis.client().run(&["GET", &format!("{}:{id}", self.name)])
    }
}

#[test]
fn brokers_that_are_away_for_a_while_are_waited_for() {
    let own = OwnBroker::start("outage-brokers");
    let instance = own.draft().bench().start();
    own.append_and_wait(1, &instance);
    instance.await_ready();
    own.cluster().broker_down(1).unwrap();
    instance.await_reason("kafka_down");
    assert_eq!(own.held(1), Some(row(1, 1)), "Redis is left alone");
    assert_eq!(instance.get("/livez").0, 200);
    own.cluster().broker_up(1).unwrap();
    own.append_and_wait(2, &instance);
    instance.await_ready();
    assert_eq!(instance.stop(), 0);
}

#[test]
fn commits_that_fail_are_made_again_and_hold_nothing_up() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS as LOADING,
        RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION as OUTDATED, RD_KAFKA_RESP_ERR_NOT_COORDINATOR as MOVED,
        RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS as REBALANCING, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as LATE,
        RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID as UNKNOWN,
    };
    let own = OwnBroker::start("outage-commits");
    let mut instance = own.draft().bench().start();
    own.append_and_wait(0, &instance);
    for (id, error) in (1..).zip([REBALANCING, LOADING, LATE, MOVED, OUTDATED, UNKNOWN]) {
        let failed = instance.metric("stoker_commits_total", "failed");
        let requests = [error, error];
        own.cluster().request_errors(RDKafkaApiKey::OffsetCommit, &requests);
        // Applied all the same.
        own.append_and_wait(id, &instance);
        let brokers = own.cluster().bootstrap_servers();
        let end = i64::try_from(id + 1).unwrap();
        let committed = || broker::committed(&brokers, own.name, own.name, 1)[0];
        let done = wait_for(LONG, || committed() == Some(end));
        assert!(done, "{error:?}: {:?} of {end}\n{}", committed(), instance.story());
        if error == REBALANCING {
            // The others are librdkafka's to try again, or end with the membership.
            let told = wait_for(LONG, || instance.metric("stoker_commits_total", "failed") > failed);
            assert!(told, "{}", instance.story());
        }
        own.cluster().clear_request_errors(RDKafkaApiKey::OffsetCommit);
    }
    instance.await_ready();
    assert!(instance.runs());
    assert_eq!(instance.stop(), 0);
}

#[test]
fn sigterm_ends_in_bounded_time_while_kafka_is_away() {
    let own = OwnBroker::start("outage-leave");
    let instance = own.draft().bench().start();
    own.append_and_wait(1, &instance);
    instance.await_ready();
    own.cluster().broker_down(1).unwrap();
    instance.await_reason("kafka_down");
    instance.signal("-TERM");
    // All was applied. The last commit has 5 s and leaving the group 10 s; the next start repeats a second's work.
    assert_eq!(instance.exit_code(LONG), 0);
    assert_eq!(own.held(1), Some(row(1, 1)));
}
