//! Looks at a cluster for `stoker check`: all findings at once, as plain data.
//!
//! Joins no group, commits nothing and creates nothing. That a right to *write* is missing is not seen here. Start
//! at [`probe`].

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;

use super::error::{code_name, name};
use super::properties::{Properties, Role};
use super::{SourceError, ffi};
use crate::settings::{KafkaSettings, Start};

/// What the look is at.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    /// Brokers, group, start policy, properties.
    pub kafka: &'a KafkaSettings,
    /// Names, and patterns that begin with `^`.
    pub topics: &'a [String],
    /// The dead letter topic, where one is set.
    pub dead_letter_topic: Option<&'a str>,
    /// For each question to Kafka: there are two, and one for each partition that has a commit. The first that
    /// is not answered is the last.
    pub timeout: Duration,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: `brokers`, `group`, or a topic's name.
    pub subject: String,
    /// In words, with what to do where that is known.
    pub detail: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Good,
    /// Works, and is probably not what is wanted.
    Warning,
    /// Does not work.
    Error,
}

/// Asks the cluster. Blocks; joins no group, commits nothing, creates nothing.
pub fn probe(probe: &Probe<'_>) -> Vec<Finding> {
    let mut findings = Findings::default();
    let properties = Properties::new(probe.kafka, Role::Outside, None);
    let consumer: BaseConsumer = match properties.client().create() {
        Ok(consumer) => consumer,
        Err(error) => {
            findings.add(Severity::Error, "brokers", SourceError::client(error).to_string());
            return findings.0;
        }
    };
    let metadata = match consumer.fetch_metadata(None, probe.timeout) {
        Ok(metadata) => metadata,
        Err(error) => {
            let detail = format!(
                "no answer from {} within {:?}: {}",
                probe.kafka.brokers,
                probe.timeout,
                name(&error)
            );
            findings.add(Severity::Error, "brokers", detail);
            return findings.0;
        }
    };
    findings.add(
        Severity::Good,
        "brokers",
        format!("{} reachable", count(metadata.brokers().len(), "broker")),
    );
    let followed = topics(probe, &metadata, &mut findings);
    if let Some(topic) = probe.dead_letter_topic {
        dead_letter_topic(topic, &metadata, &mut findings);
    }
    if !followed.is_empty() {
        group(probe, &consumer, &followed, &mut findings);
    }
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, subject: &str, detail: impl Into<String>) {
        self.0.push(Finding { severity, subject: subject.to_owned(), detail: detail.into() });
    }
}

/// The topics that are there, with their partition counts.
fn topics(probe: &Probe<'_>, metadata: &Metadata, findings: &mut Findings) -> Vec<(String, i32)> {
    let mut followed: Vec<(String, i32)> = Vec::new();
    for asked in probe.topics {
        let matched = if asked.starts_with('^') {
            match regex::Regex::new(&super::whole_name(asked)) {
                Ok(pattern) => matching(metadata, |name| pattern.is_match(name)),
                Err(_) => {
                    findings.add(Severity::Error, asked, "the pattern cannot be read");
                    continue;
                }
            }
        } else {
            matching(metadata, |name| name == asked)
        };
        if matched.is_empty() && asked.starts_with('^') {
            findings.add(Severity::Warning, asked, "no topic matches the pattern yet");
        } else if matched.is_empty() {
            findings.add(Severity::Error, asked, "the topic does not exist, or this user may not see it");
        }
        for (topic, partitions) in matched {
            match partitions {
                Ok(partition_count) => {
                    findings.add(Severity::Good, &topic, count(partition_count, "partition"));
                    followed.push((topic, i32::try_from(partition_count).unwrap_or(i32::MAX)));
                }
                Err(code) => findings.add(Severity::Error, &topic, code_name(code)),
            }
        }
    }
    followed.sort();
    followed.dedup();
    followed
}

fn dead_letter_topic(topic: &str, metadata: &Metadata, findings: &mut Findings) {
    match matching(metadata, |name| name == topic).into_iter().next() {
        Some((_, Ok(_))) => findings.add(Severity::Good, topic, "the dead letter topic exists"),
        Some((_, Err(code))) => findings.add(Severity::Error, topic, code_name(code)),
        None => findings.add(
            Severity::Error,
            topic,
            "the dead letter topic does not exist: the first bad record would stop its lane; create it",
        ),
    }
}

/// Whether the group's commits can be read, and what they say.
fn group(probe: &Probe<'_>, consumer: &BaseConsumer, topics: &[(String, i32)], findings: &mut Findings) {
    let mut asked = TopicPartitionList::new();
    for (topic, partition_count) in topics {
        for partition in 0..*partition_count {
            asked.add_partition(topic, partition);
        }
    }
    let entries = match consumer.committed_offsets(asked, probe.timeout) {
        Ok(positions) => ffi::entries(&positions),
        Err(error) => {
            let group = &probe.kafka.group;
            let detail = format!("commits of {group:?} cannot be read: {}", name(&error));
            findings.add(Severity::Error, "group", detail);
            return;
        }
    };
    if let Some(code) = entries.iter().find_map(|entry| entry.error) {
        findings.add(Severity::Error, "group", format!("commits cannot be read: {}", code_name(code)));
        return;
    }
    let committed = entries.iter().filter(|entry| entry.offset.is_some()).count();
    let start = match probe.kafka.start {
        Start::Refill => "the earliest position, in order",
        Start::Earliest => "the earliest position",
        Start::Latest => "the end",
    };
    let detail = match committed {
        0 => format!("{:?} has no commits: it starts at {start}", probe.kafka.group),
        _ => format!(
            "{:?} has commits for {committed} of {}",
            probe.kafka.group,
            count(entries.len(), "partition")
        ),
    };
    findings.add(Severity::Good, "group", detail);
    for entry in entries {
        let Some(position) = entry.offset else { continue };
        let Ok((low, high)) = consumer.fetch_watermarks(&entry.topic, entry.partition, probe.timeout) else {
            let detail = format!("partition {}: its watermarks cannot be read", entry.partition);
            findings.add(Severity::Error, &entry.topic, detail);
            return;
        };
        if position < low || position > high {
            let detail = format!(
                "partition {}: the committed position {position} is outside of {low}–{high}; it would be read from {low}",
                entry.partition
            );
            findings.add(Severity::Warning, &entry.topic, detail);
        }
    }
}

type Matched = (String, Result<usize, RDKafkaErrorCode>);

fn matching(metadata: &Metadata, pick: impl Fn(&str) -> bool) -> Vec<Matched> {
    let topics = metadata.topics().iter().filter(|topic| pick(topic.name()));
    let matched = topics.map(|topic| {
        let partitions = match topic.error() {
            Some(error) => Err(error.into()),
            None => Ok(topic.partitions().len()),
        };
        (topic.name().to_owned(), partitions)
    });
    matched.collect()
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
