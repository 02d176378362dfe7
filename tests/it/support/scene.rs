//! A topic, a Redis and settings of one test's own, all under one name; and what the test looks at.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::instance::{Bench, Instance};
use super::redis::{Client, RedisServer};
use super::rig::Rig;
use super::topic::Topic;
use super::{broker, wait_for};

/// Longest that anything which works may take on a machine that is busy with other tests.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Sections of a settings file, as text. Unlike in a real one all have a value.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) brokers: String,
    pub(crate) group: String,
    pub(crate) start: &'static str,
    /// Any other lines of `[kafka]`.
    pub(crate) kafka: String,
    /// Lines of `[kafka.properties]`.
    pub(crate) properties: String,
    /// Lines of `[redis]`.
    pub(crate) redis: String,
    /// Lines of `[errors]`.
    pub(crate) errors: String,
    /// Lines of `[limits]`.
    pub(crate) limits: String,
    /// Any other sections.
    pub(crate) more: String,
    /// The entities.
    pub(crate) entities: String,
}

impl Draft {
    /// One entity: rows by `id`, whole rows as JSON under `<name>:<id>`, for an hour.
    pub(crate) fn new(name: &str, brokers: &str, redis: u16) -> Draft {
        Draft {
            brokers: brokers.to_owned(),
            group: name.to_owned(),
            start: "earliest",
            kafka: String::new(),
            properties: SHORT_SESSION.to_owned(),
            redis: format!("url = \"redis://127.0.0.1:{redis}/0\""),
            errors: "on_error = \"stop\"".to_owned(),
            limits: "workers = 2".to_owned(),
            more: String::new(),
            entities: format!(
                "[[entity]]\nname = \"t\"\ntopics = [\"{name}\"]\n  [[entity.write]]\n  key = \"{name}:{{id}}\"\n  value = \"json\"\n  ttl = \"1h\"\n"
            ),
        }
    }

    /// The settings file.
    pub(crate) fn text(&self) -> String {
        let Draft { brokers, group, start, kafka, properties, redis, errors, limits, more, entities } = self;
        format!(
            "[kafka]\nbrokers = \"{brokers}\"\ngroup = \"{group}\"\nstart = \"{start}\"\n{kafka}\n[kafka.properties]\n{properties}\n\
             [redis]\n{redis}\n[errors]\n{errors}\n[limits]\n{limits}\n[admin]\nlisten = \"127.0.0.1:0\"\n{more}\n{entities}"
        )
    }

    /// A bench with it.
    pub(crate) fn bench(&self) -> Bench {
        Bench::new(&self.text())
    }
}

/// Members that are gone are noticed soon, and those that are slow because the machine is busy are not lost.
const SHORT_SESSION: &str = "\"session.timeout.ms\" = \"6000\"\n\"heartbeat.interval.ms\" = \"500\"";

/// The parts of one test.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) brokers: &'static str,
    pub(crate) topic: Topic,
    pub(crate) redis: RedisServer,
    pub(crate) draft: Draft,
}

impl Scene {
    /// A topic of that name with so many partitions, and an empty Redis.
    pub(crate) fn new(name: &'static str, partitions: i32) -> Scene {
        let brokers = Rig::shared().brokers();
        let topic = Topic::create(brokers, name, partitions);
        let redis = RedisServer::start();
        let draft = Draft::new(name, brokers, redis.port);
        Scene { name, brokers, topic, redis, draft }
    }

    /// Appends these rows at that version, each to the partition that its id belongs to; waits for the broker.
    pub(crate) fn write(&self, ids: std::ops::Range<usize>, version: usize, partitions: usize) {
        for id in ids {
            self.append(i32::try_from(id % partitions).unwrap(), id, version);
        }
        self.topic.flush();
    }

    /// Appends one row.
    pub(crate) fn append(&self, partition: i32, id: usize, version: usize) {
        self.topic.append(partition, Some(&record_key(id)), Some(&event(id, version)));
    }

    /// Takes the keys of these rows out of the cache.
    pub(crate) fn forget(&self, ids: std::ops::Range<usize>) {
        let mut client = self.redis.client();
        ids.for_each(|id| client.run::<()>(&["DEL", &format!("{}:{id}", self.name)]));
    }

    /// How many of these rows are not cached at that version, or have no TTL.
    pub(crate) fn missing(&self, ids: std::ops::Range<usize>, version: usize) -> usize {
        missing(&mut self.redis.client(), self.name, ids, version)
    }

    /// Waits until all of these rows are cached at that version.
    pub(crate) fn await_applied(&self, ids: std::ops::Range<usize>, version: usize, instance: &Instance) {
        let mut left = 0;
        let mut client = self.redis.client();
        let done = wait_for(LONG, || {
            left = missing(&mut client, self.name, ids.clone(), version);
            left == 0
        });
        assert!(done, "{left} of {ids:?} are not at version {version}:\n{}", instance.story());
    }

    /// Appends versions 1, 2, … of these rows until `stop`, the last one whole; returns it.
    pub(crate) fn write_until(
        &self,
        ids: std::ops::Range<usize>,
        partitions: usize,
        stop: &AtomicBool,
    ) -> usize {
        let mut version = 0;
        loop {
            let last = stop.load(Ordering::Relaxed);
            version += 1;
            self.write(ids.clone(), version, partitions);
            if last {
                return version;
            }
        }
    }

    /// What the group has committed.
    pub(crate) fn committed(&self, partitions: i32) -> Vec<Option<i64>> {
        broker::committed(self.brokers, &self.draft.group, self.name, partitions)
    }

    /// Waits until all of the topic is committed.
    pub(crate) fn await_committed(&self, partitions: i32, instance: &Instance) {
        let ends = broker::ends(self.brokers, self.name, partitions);
        let done = wait_for(LONG, || self.committed(partitions) == ends);
        assert!(done, "{:?} of {ends:?}:\n{}", self.committed(partitions), instance.story());
    }

    /// Letters in that topic.
    pub(crate) fn read_all(&self, topic: &str) -> Vec<broker::Read> {
        broker::read_all(self.brokers, topic)
    }
}

fn missing(client: &mut Client, name: &str, ids: std::ops::Range<usize>, version: usize) -> usize {
    let mut pipeline = redis::pipe();
    for id in ids.clone() {
        let key = format!("{name}:{id}");
        pipeline.cmd("GET").arg(&key).cmd("PTTL").arg(&key);
    }
    let held: Vec<(Option<String>, i64)> = pipeline.query(&mut client.0).unwrap();
    let there = |(id, (value, ttl)): &(usize, (Option<String>, i64))| {
        value.as_deref() == Some(row(*id, version).as_str()) && (1..=3_600_000).contains(ttl)
    };
    ids.len() - ids.zip(held).filter(there).count()
}

/// A row as it is cached.
pub(crate) fn row(id: usize, version: usize) -> String {
    format!(r#"{{"id":{id},"version":{version}}}"#)
}

/// Its record's key.
pub(crate) fn record_key(id: usize) -> String {
    format!(r#"{{"id":{id}}}"#)
}

/// Its change event.
pub(crate) fn event(id: usize, version: usize) -> String {
    envelope("u", "null", &row(id, version), version)
}

/// A change event of PostgreSQL's connector with these images.
pub(crate) fn envelope(op: &str, before: &str, after: &str, lsn: usize) -> String {
    format!(
        r#"{{"before":{before},"after":{after},"source":{{"connector":"postgresql","schema":"public","table":"t","lsn":{lsn}}},"op":"{op}"}}"#
    )
}

impl Instance {
    /// `host:port` of its admin server.
    pub(crate) fn admin(&self) -> String {
        let mut address = None;
        let found = wait_for(LONG, || {
            address = self.lines().into_iter().find_map(|line| {
                let said = line["message"] == "admin server listens";
                said.then(|| line["address"].as_str().unwrap().to_owned())
            });
            address.is_some()
        });
        assert!(found, "no admin server:\n{}", self.story());
        address.unwrap()
    }

    /// Its log lines.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until a log line holds these words.
    pub(crate) fn await_log(&self, words: &str) {
        assert!(wait_for(LONG, || self.log().contains(words)), "no {words:?} in the log:\n{}", self.story());
    }

    /// Status code and body of a page.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(&self.admin(), path)
    }

    /// What `/readyz` says: empty where it is ready.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let (code, body) = self.get("/readyz");
        let body: Value = serde_json::from_str(&body).unwrap();
        let reasons: Vec<String> =
            body["reasons"].as_array().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(code, if reasons.is_empty() { 200 } else { 503 });
        reasons
    }

    /// Waits until it is ready.
    pub(crate) fn await_ready(&self) {
        let ready = wait_for(LONG, || self.reasons().is_empty());
        assert!(ready, "{:?}:\n{}", self.reasons(), self.story());
    }

    /// Waits until one of the reasons against being ready holds these words.
    pub(crate) fn await_reason(&self, words: &str) {
        let mut reasons = Vec::new();
        let said = wait_for(LONG, || {
            reasons = self.reasons();
            reasons.iter().any(|reason| reason.contains(words))
        });
        assert!(said, "{words:?} is none of {reasons:?}:\n{}", self.story());
    }

    /// The sum of a metric over the series whose labels hold these words.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> f64 {
        let (code, body) = self.get("/metrics");
        assert_eq!(code, 200);
        sum(&body, name, labels)
    }

    /// Waits until a metric is at least so high.
    pub(crate) fn await_metric(&self, name: &str, labels: &str, least: f64) {
        let mut last = 0.0;
        let reached = wait_for(LONG, || {
            last = self.metric(name, labels);
            last >= least
        });
        assert!(reached, "{name}{{{labels}}} is {last}, not {least}:\n{}", self.story());
    }
}

/// The sum of a metric in Prometheus's text form.
pub(crate) fn sum(page: &str, name: &str, labels: &str) -> f64 {
    let series = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let rest = series.strip_prefix(name)?;
        let same = rest.is_empty() || rest.starts_with('{');
        (same && rest.contains(labels)).then(|| value.parse::<f64>().unwrap())
    });
    series.sum()
}

fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: stoker\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
