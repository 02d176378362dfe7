//! What `stoker check` and `--fail-fast` ask of Kafka, the schema registry and Redis. Bounded in time; writes nothing.

use std::time::Duration;

use super::finding::{Finding, Level};
use crate::error::WorldError;
use crate::process::subscription;
use crate::registry::{RegistryClient, WorldFault};
use crate::settings::{OnError, Settings};
use crate::sink::redis::RedisSink;
use crate::source::kafka::probe::{Probe, Severity, probe};

/// For each question to Kafka: long enough for a TLS handshake across a continent.
const KAFKA_WITHIN: Duration = Duration::from_secs(5);
/// More than this between the server's clock and the local one is worth a warning: expiries count by the
/// server's, logs and readiness by the local one.
const SKEW_MS_MAX: u64 = 5_000;

/// Brokers, topics, the dead letter topic, the group.
pub fn kafka(settings: &Settings) -> Vec<Finding> {
    let topics = subscription(settings);
    let dead_letter_topic = match &settings.errors.on_error {
        OnError::DeadLetter { topic } => Some(topic.as_str()),
        OnError::Stop | OnError::Skip => None,
    };
    let asked = Probe { kafka: &settings.kafka, topics: &topics, dead_letter_topic, timeout: KAFKA_WITHIN };
    probe(&asked)
        .into_iter()
        .filter_map(|found| {
            let level = match (found.severity, found.subject.as_str()) {
                (Severity::Good, _) => return None,
                (Severity::Warning, _) => Level::Warning,
                (Severity::Error, "brokers") => Level::Unreachable,
                (Severity::Error, _) => Level::Error,
            };
            Some(Finding::new(level, format!("kafka {}", found.subject), found.detail))
        })
        .collect()
}

/// Every address of the schema registry: reachable, and lets us in.
pub fn registry(settings: &Settings) -> Vec<Finding> {
    let Some(registry) = &settings.registry else { return Vec::new() };
    let error = |what: String| vec![Finding::new(Level::Error, "registry", what)];
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(wrong) => return error(format!("no runtime: {wrong}")),
    };
    let client = match RegistryClient::new(registry.clone()) {
        Ok(client) => client,
        Err(wrong) => return error(wrong),
    };
    let finding = |(place, answer): (String, Result<(), WorldFault>)| {
        let fault = answer.err()?;
        let level = match fault {
            WorldFault::Unreachable | WorldFault::Timeout | WorldFault::Status(429 | 500..) => {
                Level::Unreachable
            }
            WorldFault::Tls
            | WorldFault::Login(_)
            | WorldFault::Status(_)
            | WorldFault::NoApi
            | WorldFault::Protocol => Level::Error,
        };
        Some(Finding::new(level, format!("registry {place}"), fault.to_string()))
    };
    runtime.block_on(client.probe()).into_iter().filter_map(finding).collect()
}

/// Every master: reachable, its clock, the right to fence.
pub fn redis(settings: &Settings) -> Vec<Finding> {
    let place = "redis";
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![Finding::new(Level::Error, place, format!("no runtime: {error}"))],
    };
    let sink =
        RedisSink::new(settings.redis.clone(), settings.kafka.group.clone(), settings.limits.value_bytes);
    let nodes = match runtime.block_on(sink.probe()) {
        Ok(nodes) => nodes,
        Err(error) => {
            let level = match error {
                WorldError::Unreachable { .. } | WorldError::Timeout | WorldError::Disconnected => {
                    Level::Unreachable
                }
                WorldError::NotNow { .. }
                | WorldError::Redirected
                | WorldError::NoScript
                | WorldError::Protocol
                | WorldError::NotOwner
                | WorldError::Registry { .. } => Level::Error,
            };
            return vec![Finding::new(level, place, error.to_string())];
        }
    };
    let mut findings = Vec::new();
    for node in nodes {
        let place = format!("redis {}", node.address);
        if node.clock_offset_ms.unsigned_abs() > SKEW_MS_MAX {
            let what = format!("its clock is {} ms off this machine's", node.clock_offset_ms);
            findings
                .push(Finding::new(Level::Warning, place.clone(), what).remedy("run a time service on both"));
        }
        if node.evicts_any_key {
            findings.push(
                Finding::new(
                    Level::Warning,
                    place.clone(),
                    "maxmemory-policy is allkeys-…: a full server may evict Stoker's own keys. An evicted \
                     watermark looks like a loss, and its partition is read again from the beginning",
                )
                .remedy(
                    "set maxmemory-policy to volatile-lru or volatile-ttl: keys of Stoker's have no expiry",
                ),
            );
        }
        if !node.fencing_works {
            findings.push(
                Finding::new(
                    Level::Warning,
                    place,
                    "CLIENT KILL is refused: a write that timed out, or that a former owner still has in hand, \
                     is held back by the version guard alone",
                )
                .remedy("allow +client|kill to Stoker's user, or accept it where a proxy stands between"),
            );
        }
    }
    findings
}
