//! Produces dead letters: the record as it was, and why, in headers that existing tools know.
//!
//! Key, value, headers and timestamp are the original's. Kafka Connect's header names are added (prefix
//! `__connect.errors.`, values are UTF-8 text; Kafka's `DeadLetterQueueReporter`), with what they mean here:
//!
//! | header | holds |
//! |---|---|
//! | `topic` `partition` `offset` | the record's position |
//! | `connector.name` | the consumer group |
//! | `task.id` | `0`: a group has no tasks |
//! | `stage` | `decode`, `handle` or `apply` |
//! | `class.name` | the entity, or `stoker` where the record did not get that far |
//! | `exception.class.name` | the error's kind |
//! | `exception.message` | the error in words, without values |

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::SourceError;
use super::properties::{Properties, Role};
use super::{RereadError, reread};
use crate::batch::LaneName;
use crate::dead_letter::{DeadLetters, Letter};
use crate::error::{ServerCode, WorldError};
use crate::record::OwnedRecord;
use crate::settings::KafkaSettings;

/// Prefix of Kafka Connect's error headers.
pub const HEADER_PREFIX: &str = "__connect.errors.";

/// Says that a letter's value was too large for the dead letter topic and was left out; holds its size in
/// bytes. The original is where the position headers say.
pub const VALUE_OMITTED: &str = "__stoker.value.omitted.bytes";

/// How long a full producer queue is waited for. A lane has one letter at a time, so it is never full for long.
const QUEUE_WITHIN: Duration = Duration::from_secs(5);

/// How long reading one record again may take.
const READ_AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// Sends dead letters with `acks=all` and idempotence.
pub struct DeadLetterProducer {
    topic: String,
    group: String,
    kafka: KafkaSettings,
    properties: Properties,
    /// Made anew after an error that an idempotent producer does not survive.
    producer: Mutex<FutureProducer<ProducerContext>>,
}

impl DeadLetterProducer {
    /// Makes the client; Kafka itself is not waited for.
    ///
    /// # Errors
    /// [`SourceError::Settings`]: a property that librdkafka does not take.
    pub fn connect(kafka: &KafkaSettings, topic: &str) -> Result<DeadLetterProducer, SourceError> {
        let properties = Properties::new(kafka, Role::Producer, None);
        let producer = Mutex::new(producer(&properties)?);
        Ok(DeadLetterProducer {
            topic: topic.to_owned(),
            group: kafka.group.clone(),
            kafka: kafka.clone(),
            properties,
            producer,
        })
    }

    fn producer(&self) -> Result<FutureProducer<ProducerContext>, WorldError> {
        let mut held = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if held.client().fatal_error().is_some() {
            *held = producer(&self.properties).map_err(|_| self.unreachable())?;
        }
        Ok(held.clone())
    }

    fn unreachable(&self) -> WorldError {
        WorldError::Unreachable { node: format!("the dead letter topic {:?}", self.topic) }
    }

    fn error(&self, error: &KafkaError) -> WorldError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::RequestTimedOut) => {
                WorldError::Timeout
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed,
            ) => WorldError::NotNow { code: ServerCode::NoPermission },
            _ => self.unreachable(),
        }
    }

    async fn produce(&self, letter: &Letter, with_value: bool) -> Result<(), KafkaError> {
        let record = &letter.record;
        let mut headers = headers(letter, &self.group);
        let mut produced = FutureRecord::<[u8], [u8]>::to(&self.topic);
        match &record.value {
            Some(value) if with_value => produced = produced.payload(value),
            Some(value) => {
                let size = value.len().to_string();
                headers = headers.insert(Header { key: VALUE_OMITTED, value: Some(&size) });
            }
            None => {}
        }
        if let Some(key) = &record.key {
            produced = produced.key(key);
        }
        if let Some(timestamp_ms) = record.timestamp_ms {
            produced = produced.timestamp(timestamp_ms);
        }
        let producer = self.producer().map_err(|_| KafkaError::Global(RDKafkaErrorCode::AllBrokersDown))?;
        match producer.send(produced.headers(headers), QUEUE_WITHIN).await {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error),
        }
    }
}

impl DeadLetters for DeadLetterProducer {
    /// Bounded by `delivery.timeout.ms` (30 s unless the settings say otherwise). A letter that is too large
    /// for its topic goes there without its value ([`VALUE_OMITTED`]): else one record would stop its lane
    /// for good.
    async fn send(&self, letter: &Letter) -> Result<(), WorldError> {
        let first = self.produce(letter, true).await;
        let too_large = matches!(
            first.as_ref().err().and_then(KafkaError::rdkafka_error_code),
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize)
        );
        let last = if too_large { self.produce(letter, false).await } else { first };
        last.map_err(|error| self.error(&error))
    }

    /// Bounded by `READ_AGAIN_WITHIN` (10 s); on a thread of its own, for the client blocks.
    async fn read_again(&self, lane: &LaneName, offset: i64) -> Result<Option<OwnedRecord>, WorldError> {
        let (kafka, lane) = (self.kafka.clone(), lane.clone());
        let read = tokio::task::spawn_blocking(move || {
            reread(&kafka, &lane.topic, lane.partition, offset, READ_AGAIN_WITHIN)
        });
        match read.await {
            Ok(Ok(record)) => Ok(Some(record)),
            Ok(Err(RereadError::Gone)) => Ok(None),
            Ok(Err(RereadError::Source(_))) | Err(_) => Err(WorldError::Timeout),
        }
    }
}

impl std::fmt::Debug for DeadLetterProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetterProducer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

fn producer(properties: &Properties) -> Result<FutureProducer<ProducerContext>, SourceError> {
    FutureProducer::from_config_and_context(properties.client(), ProducerContext).map_err(SourceError::client)
}

/// The original's headers, and after them the reasons. Where a letter is a dead letter read again, the later
/// ones count, as with any repeated name.
fn headers(letter: &Letter, group: &str) -> OwnedHeaders {
    let record = &letter.record;
    let reasons = [
        ("topic", record.topic.clone()),
        ("partition", record.partition.to_string()),
        ("offset", record.offset.to_string()),
        ("connector.name", group.to_owned()),
        ("task.id", "0".to_owned()),
        ("stage", letter.stage.as_str().to_owned()),
        ("class.name", letter.entity.as_deref().unwrap_or("stoker").to_owned()),
        ("exception.class.name", letter.kind.to_owned()),
        ("exception.message", letter.detail.clone()),
    ];
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len().saturating_add(reasons.len()));
    for (name, value) in &record.headers {
        // A C string inside: a name with a zero byte cannot be kept.
        let name = name.replace('\0', "\u{fffd}");
        headers = headers.insert(Header { key: &name, value: value.as_ref() });
    }
    for (name, value) in reasons {
        headers = headers.insert(Header { key: &format!("{HEADER_PREFIX}{name}"), value: Some(&value) });
    }
    headers
}

#[derive(Debug, Clone)]
struct ProducerContext;

impl ClientContext for ProducerContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        super::context::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(error = super::error::name(&error), reason, "librdkafka error");
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers;

    use super::*;
    use crate::dead_letter::Stage;
    use crate::record::OwnedRecord;

    #[test]
    fn original_headers_stay_and_the_reasons_follow() {
        let record = OwnedRecord {
            topic: "shop".to_owned(),
            partition: 3,
            offset: 17,
            headers: vec![("trace".to_owned(), Some(b"\xff".to_vec())), ("null".to_owned(), None)],
            ..OwnedRecord::default()
        };
        let letter =
            Letter { record, entity: None, stage: Stage::Decode, kind: "json", detail: "byte 4".to_owned() };
        let headers = headers(&letter, "group");
        let seen: Vec<(String, Option<Vec<u8>>)> = (0..headers.count())
            .map(|index| headers.get(index))
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect();
        let text =
            |name: &str, value: &str| (format!("{HEADER_PREFIX}{name}"), Some(value.as_bytes().to_vec()));
        let expected = vec![
            ("trace".to_owned(), Some(b"\xff".to_vec())),
            ("null".to_owned(), None),
            text("topic", "shop"),
            text("partition", "3"),
            text("offset", "17"),
            text("connector.name", "group"),
            text("task.id", "0"),
            text("stage", "decode"),
            text("class.name", "stoker"),
            text("exception.class.name", "json"),
            text("exception.message", "byte 4"),
        ];
        assert_eq!(seen, expected);
    }
}
