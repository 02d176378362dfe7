//! librdkafka's properties: ours said out loud, the user's over them, and those that are not the user's.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::settings::{KafkaSettings, Limits};

/// What Stoker's correctness rests on: the user's value is not taken.
///
/// `auto.offset.reset=error`: Stoker resolves positions itself, and any other value would skip data in
/// silence. <https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>
const OWNED: [(&str, &str); 4] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "false"),
];

/// The same of the producer: a position passes a record only when all replicas have its dead letter.
const OWNED_BY_PRODUCER: [(&str, &str); 2] = [("acks", "all"), ("request.required.acks", "all")];

/// Names that `[kafka]` has fields of its own for.
const FIELDS: [&str; 3] = ["bootstrap.servers", "metadata.broker.list", "group.id"];

/// Properties of group membership: a client outside the group must not have them.
const MEMBERSHIP: [&str; 3] = ["group.instance.id", "group.protocol", "group.remote.assignor"];

/// Share of `limits.memory` for fetched records that wait in librdkafka: one part in so many. The rest is
/// for the chunks on their way, the workers' batches and what their records pin.
const QUEUE_SHARE: usize = 8;

/// Bounds of that queue, KiB: librdkafka's own are 1 and 2,097,151; below 1 MiB every fetch stalls.
const QUEUE_KIB_MIN: usize = 1024;
const QUEUE_KIB_MAX: usize = 2_097_151;

/// librdkafka's default, and the most that one fetch may bring.
const FETCH_BYTES_MAX: usize = 52_428_800;
/// librdkafka's default of `message.max.bytes`: it refuses a smaller `fetch.max.bytes`.
const MESSAGE_BYTES_MAX: usize = 1_000_000;
/// One fetch may bring so large a part of the queue: a record that waits keeps all of its fetch in memory.
const FETCH_SHARE: usize = 4;

/// What a client takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Membership of the group.
    Member,
    /// Reading and asking by hand, without membership and without commits.
    Outside,
    /// Producing dead letters.
    Producer,
}

/// The properties of a client of that role. Not `Debug`: values may be secrets.
#[derive(Clone)]
pub(super) struct Properties {
    ours: Vec<(String, String)>,
    client: ClientConfig,
    refused: Vec<String>,
    users: Vec<String>,
}

impl Properties {
    /// Puts them together.
    pub(super) fn new(kafka: &KafkaSettings, role: Role, limits: Option<&Limits>) -> Properties {
        let user = |name: &str| {
            kafka.properties.iter().rev().find(|(found, _)| found == name).map(|(_, value)| value.expose())
        };
        let mut ours: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: &str| {
            if user(name).is_none() {
                ours.push((name.to_owned(), value.to_owned()));
            }
        };
        set("client.id", "stoker");
        set("socket.keepalive.enable", "true");
        match role {
            Role::Member | Role::Outside => {
                set("isolation.level", "read_committed");
                set("allow.auto.create.topics", "false");
                // 1000 by default, which caps a fast consumer at about 110 MB/s (measured).
                set("fetch.queue.backoff.ms", "10");
                let memory = limits.map_or(FETCH_BYTES_MAX, |limits| limits.memory_bytes / QUEUE_SHARE);
                let queue_kib = (memory / 1024).clamp(QUEUE_KIB_MIN, QUEUE_KIB_MAX);
                set("queued.max.messages.kbytes", &queue_kib.to_string());
                // librdkafka refuses less than one message may have.
                let message_bytes = user("message.max.bytes").and_then(|text| text.parse().ok());
                let message_bytes = message_bytes.unwrap_or(MESSAGE_BYTES_MAX);
                let fetch_bytes = queue_kib.saturating_mul(1024) / FETCH_SHARE;
                let fetch_bytes = fetch_bytes.min(FETCH_BYTES_MAX).max(message_bytes);
                set("fetch.max.bytes", &fetch_bytes.to_string());
            }
            Role::Producer => {
                set("enable.idempotence", "true");
                set("delivery.timeout.ms", "30000");
                // The broker decides what is too large; librdkafka's own limit is 1 MB.
                set("message.max.bytes", "104857600");
                set("linger.ms", "0");
            }
        }
        if role == Role::Member {
            // A new partition or a new topic of a pattern is found after at most this long (5 min by default).
            set("topic.metadata.refresh.interval.ms", "60000");
            set("max.poll.interval.ms", "300000");
            // Tells where a partition ends for a reader: transactions leave markers at its end that nobody is given.
            set("statistics.interval.ms", "2000");
            // The new protocol has these on the broker's side and refuses them here.
            if !user("group.protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer")) {
                set("partition.assignment.strategy", "cooperative-sticky");
                set("session.timeout.ms", "45000");
                set("heartbeat.interval.ms", "3000");
            }
        }

        let mut client = ClientConfig::new();
        // rdkafka would take the level of the `log` crate, which is not used here, and so say nothing.
        let debug = user("debug").is_some();
        client.set_log_level(if debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        for (name, value) in &ours {
            client.set(name, value);
        }
        let owned: &[(&str, &str)] = if role == Role::Producer { &OWNED_BY_PRODUCER } else { &OWNED };
        let (mut refused, mut users) = (Vec::new(), Vec::new());
        for (name, value) in &kafka.properties {
            let owned = owned.iter().any(|(owned, _)| owned == name);
            if owned || FIELDS.contains(&name.as_str()) {
                refused.push(name.clone());
            } else if !(role != Role::Member && MEMBERSHIP.contains(&name.as_str())) {
                client.set(name, value.expose());
                users.push(name.clone());
            }
        }
        client.set("bootstrap.servers", &kafka.brokers);
        ours.push(("bootstrap.servers".to_owned(), kafka.brokers.clone()));
        if role != Role::Producer {
            client.set("group.id", &kafka.group);
            ours.push(("group.id".to_owned(), kafka.group.clone()));
        }
        for (name, value) in owned {
            client.set(*name, *value);
            ours.push(((*name).to_owned(), (*value).to_owned()));
        }
        Properties { ours, client, refused, users }
    }

    /// Sets one more, over everything.
    pub(super) fn set(mut self, name: &str, value: &str) -> Properties {
        self.client.set(name, value);
        self
    }

    /// What a client is made of.
    pub(super) fn client(&self) -> &ClientConfig {
        &self.client
    }

    /// A duration in milliseconds, as in force; `None` where it is not set or is no number.
    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        self.client.get(name)?.trim().parse().ok().map(Duration::from_millis)
    }

    /// Logs what is in force: ours with values, the user's by name only, for any of them may be a secret.
    pub(super) fn log(&self) {
        let ours: Vec<String> = self.ours.iter().map(|(name, value)| format!("{name}={value}")).collect();
        tracing::info!(
            properties = ours.join(" "),
            from_settings = self.users.join(" "),
            "librdkafka properties"
        );
        if !self.refused.is_empty() {
            tracing::warn!(
                properties = self.refused.join(" "),
                "these librdkafka properties are Stoker's and were not taken"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Partitioner, Secret, Start};

    fn kafka(properties: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            brokers: "b:1".to_owned(),
            group: "g".to_owned(),
            start: Start::Refill,
            partitioner: Partitioner::Murmur2,
            properties: properties
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())))
                .collect(),
        }
    }

    fn get(properties: &[(&str, &str)], role: Role, name: &str) -> Option<String> {
        Properties::new(&kafka(properties), role, None).client().get(name).map(str::to_owned)
    }

    #[test]
    fn what_correctness_rests_on_is_not_the_users() {
        let user = [("enable.auto.commit", "true"), ("auto.offset.reset", "latest"), ("group.id", "other")];
        assert_eq!(get(&user, Role::Member, "enable.auto.commit").as_deref(), Some("false"));
        assert_eq!(get(&user, Role::Member, "auto.offset.reset").as_deref(), Some("error"));
        assert_eq!(get(&user, Role::Member, "group.id").as_deref(), Some("g"));
    }

    #[test]
    fn a_dead_letter_is_acknowledged_by_all_replicas_whatever_the_user_says() {
        for name in ["acks", "request.required.acks"] {
            assert_eq!(get(&[(name, "1")], Role::Producer, name).as_deref(), Some("all"));
        }
    }

    #[test]
    fn every_role_makes_a_client_also_where_one_message_may_be_larger_than_the_queue() {
        let kafka = kafka(&[("message.max.bytes", "60000000"), ("session.timeout.ms", "10000")]);
        for role in [Role::Member, Role::Outside, Role::Producer] {
            let properties = Properties::new(&kafka, role, None);
            assert!(properties.client().create_native_config().is_ok(), "{role:?}");
            let made = match role {
                Role::Producer => properties.client().create::<rdkafka::producer::BaseProducer>().map(drop),
                _ => properties.client().create::<rdkafka::consumer::BaseConsumer>().map(drop),
            };
            assert!(made.is_ok(), "{role:?}: {made:?}");
        }
    }

    /// Found by an outage with `limits.memory = "16MiB"`: the process stopped at once.
    #[test]
    fn little_memory_makes_a_client_too() {
        let limits = Limits {
            workers: 1,
            memory_bytes: 1 << 20,
            batch_records: 10,
            batch_bytes: 1 << 20,
            value_bytes: 1 << 20,
            drain: Duration::from_secs(1),
        };
        for role in [Role::Member, Role::Outside] {
            let properties = Properties::new(&kafka(&[]), role, Some(&limits));
            let made = properties.client().create::<rdkafka::consumer::BaseConsumer>();
            assert!(made.is_ok(), "{role:?}: {:?}", made.err());
        }
    }

    #[test]
    fn the_rest_is_the_users() {
        let user = [("isolation.level", "read_uncommitted"), ("partition.assignment.strategy", "range")];
        assert_eq!(get(&user, Role::Member, "isolation.level").as_deref(), Some("read_uncommitted"));
        assert_eq!(get(&user, Role::Member, "partition.assignment.strategy").as_deref(), Some("range"));
        assert_eq!(
            get(&[], Role::Member, "partition.assignment.strategy").as_deref(),
            Some("cooperative-sticky")
        );
    }

    #[test]
    fn the_new_protocol_gets_no_property_of_the_classic_one() {
        let user = [("group.protocol", "consumer")];
        for name in ["partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"] {
            assert_eq!(get(&user, Role::Member, name), None, "{name}");
        }
    }

    #[test]
    fn who_is_outside_the_group_has_no_membership() {
        let user =
            [("group.protocol", "consumer"), ("group.instance.id", "a"), ("security.protocol", "PLAINTEXT")];
        for role in [Role::Outside, Role::Producer] {
            assert_eq!(get(&user, role, "group.instance.id"), None);
            assert_eq!(get(&user, role, "group.protocol"), None);
            assert_eq!(get(&user, role, "security.protocol").as_deref(), Some("PLAINTEXT"));
        }
    }
}
