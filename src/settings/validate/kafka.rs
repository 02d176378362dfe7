//! `[kafka]`.

use std::time::Duration;

use super::Context;
use crate::settings::document::Path;
use crate::settings::raw::{Brokers, Kafka, Partitioner as RawPartitioner, Property, Start as RawStart};
use crate::settings::redis_url::host_and_port;
use crate::settings::{KafkaSettings, Limits, Partitioner, Secret, Start, defaults, units};

/// librdkafka properties that Stoker sets itself, and why they cannot be set here.
const OWNED: [(&str, &str); 11] = [
    ("bootstrap.servers", "say kafka.brokers"),
    ("metadata.broker.list", "say kafka.brokers"),
    ("group.id", "say kafka.group"),
    (
        "auto.offset.reset",
        "say kafka.start: Stoker resolves positions itself, so that none is skipped in silence",
    ),
    ("enable.auto.commit", "a position is committed only after its records are applied"),
    ("auto.commit.interval.ms", "a position is committed only after its records are applied"),
    ("enable.auto.offset.store", "a position is stored only after its records are applied"),
    ("offset.store.method", "positions live in the group"),
    ("enable.partition.eof", "Stoker tells the end of a partition by its positions"),
    ("group.protocol.type", "Stoker is a consumer"),
    ("transactional.id", "Stoker writes no transactions"),
];

/// What KIP-848 leaves to the broker: librdkafka refuses these beside `group.protocol = consumer`.
const CLASSIC_ONLY: [&str; 3] =
    ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"];

/// `[kafka]`, checked.
pub(super) fn kafka(raw: &Kafka, path: &Path, context: &mut Context<'_, '_>) -> Option<KafkaSettings> {
    let brokers = raw.brokers.as_ref().and_then(|raw| brokers(raw, &path.key("brokers"), context));
    let group = context.filled(raw.group.as_ref().map(|text| text.0.as_str()), &path.key("group"));
    if group.is_some_and(|group| group.contains(['{', '}'])) {
        let why = "holds a brace: the group is a part of Stoker's own keys, where braces would be a hash tag";
        context.findings.refuse(&path.key("group"), why);
    }
    let start = match raw.start {
        None | Some(RawStart::Refill) => Start::Refill,
        Some(RawStart::Earliest) => Start::Earliest,
        Some(RawStart::Latest) => Start::Latest,
    };
    let partitioner = match raw.partitioner {
        None | Some(RawPartitioner::Murmur2) => Partitioner::Murmur2,
        Some(RawPartitioner::Unknown) => Partitioner::Unknown,
    };
    let mut properties = Vec::new();
    for (name, value) in raw.properties.iter().flatten() {
        let value = match value {
            Property::Text(text) => text.0.clone(),
            Property::Number(number) => number.to_string(),
            Property::Switch(switch) => switch.to_string(),
        };
        properties.push((name.as_str(), value));
    }
    let path = path.key("properties");
    for (name, value) in &properties {
        property(name, value, &properties, brokers.as_deref(), &path.key(name), context);
    }
    let properties = properties.into_iter().map(|(name, value)| (name.to_owned(), Secret::new(value)));
    Some(KafkaSettings {
        brokers: brokers?,
        group: group?.to_owned(),
        start,
        partitioner,
        properties: properties.collect(),
    })
}

fn brokers(raw: &Brokers, path: &Path, context: &mut Context<'_, '_>) -> Option<String> {
    let parts: Vec<(&str, Path)> = match raw {
        Brokers::Text(text) => text.0.split(',').map(|part| (part.trim(), path.clone())).collect(),
        Brokers::List(list) => {
            list.iter().enumerate().map(|(index, part)| (part.0.trim(), path.index(index))).collect()
        }
    };
    if parts.is_empty() {
        context.findings.refuse(path, "names no broker");
        return None;
    }
    let mut good = Vec::new();
    for (part, at) in &parts {
        // librdkafka takes a protocol before the host: `SASL_SSL://host:9093`.
        let host = part.split_once("://").map_or(*part, |(_, host)| host);
        match host_and_port(host) {
            Ok(_) => good.push(*part),
            Err(wrong) => {
                let message = format!("{} {wrong}", context.shown(part, at));
                context.findings.refuse_with(at, message, "a broker is host:port, as in \"localhost:9092\"");
            }
        }
    }
    (good.len() == parts.len()).then(|| good.join(","))
}

fn property(
    name: &str,
    value: &str,
    all: &[(&str, String)],
    brokers: Option<&str>,
    path: &Path,
    context: &mut Context<'_, '_>,
) {
    if let Some((_, why)) = OWNED.iter().find(|(owned, _)| *owned == name) {
        context.findings.refuse_field(path, format!("is set by Stoker: {why}"), None);
        return;
    }
    let consumer_protocol = all.iter().any(|(name, value)| *name == "group.protocol" && is_consumer(value));
    if consumer_protocol && CLASSIC_ONLY.contains(&name) {
        let why = "cannot be set beside \"group.protocol\" = \"consumer\": there the broker decides it";
        context.findings.refuse_field(path, why, None);
        return;
    }
    match (name, value) {
        ("partition.assignment.strategy", value) if value != "cooperative-sticky" => {
            let why = "only \"cooperative-sticky\" (the default) moves a partition without stopping all others, \
                       and Stoker's hand-over counts on that";
            context.findings.refuse(path, why);
        }
        ("enable.ssl.certificate.verification", "false") if !brokers.is_some_and(all_loopback) => {
            let why = "without it anyone in between can read the changes and alter them, so this is allowed only \
                       where all brokers are on this machine";
            let help = "set \"ssl.ca.location\" to the certificate of whoever signed the broker's";
            context.findings.refuse_with(path, why, help);
        }
        ("ssl.endpoint.identification.algorithm", "none") if !brokers.is_some_and(all_loopback) => {
            let why = "any certificate that the CA has signed passes for a broker's";
            context.findings.warn(path, why, None);
        }
        ("isolation.level", "read_uncommitted") => {
            let why = "rows of transactions that were aborted will be cached";
            context.findings.warn(path, why, None);
        }
        _ => {}
    }
}

/// True for KIP-848's group protocol; librdkafka reads its values in any case.
fn is_consumer(protocol: &str) -> bool {
    protocol.eq_ignore_ascii_case("consumer")
}

fn all_loopback(brokers: &str) -> bool {
    brokers.split(',').all(|broker| {
        let host = broker.split_once("://").map_or(broker, |(_, host)| host);
        host_and_port(host).is_ok_and(|(host, _)| {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
    })
}

/// The broker gives the partitions away after the session timeout, whether the drain is over or not.
pub(super) fn check_drain(
    kafka: &KafkaSettings,
    limits: &Limits,
    root: &Path,
    context: &mut Context<'_, '_>,
) {
    let property =
        |name: &str| kafka.properties.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    if property("group.protocol").is_some_and(|value| is_consumer(value.expose())) {
        return;
    }
    let session =
        match property("session.timeout.ms").map(|value| value.expose().parse().map(Duration::from_millis)) {
            None => defaults::SESSION_TIMEOUT,
            Some(Ok(session)) => session,
            Some(Err(_)) => {
                let path = root.key("kafka").key("properties").key("session.timeout.ms");
                context.findings.refuse(&path, "is a whole number of milliseconds");
                return;
            }
        };
    if limits.drain >= session {
        let message = format!(
            "drain ({}) is not below session.timeout.ms ({}): the broker may give the partitions to another \
             process while this one still drains",
            units::show_duration(limits.drain),
            units::show_duration(session)
        );
        let drain = root.key("limits").key("drain");
        let session = root.key("kafka").key("properties").key("session.timeout.ms");
        context.findings.warn(if context.findings.says(&drain) { &drain } else { &session }, message, None);
    }
}
