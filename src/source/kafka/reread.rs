//! Reads one record again by its position, where its bytes were let go before they were needed.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::properties::{Properties, Role};
use super::{KafkaRecord, SourceError};
use crate::clock::SystemClock;
use crate::record::{AsRecord, OwnedRecord};
use crate::settings::KafkaSettings;

/// The record cannot be read again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RereadError {
    /// Retention or compaction has taken it, or its offset was never a record's: trying again does not help.
    #[error("the record is not there any more")]
    Gone,
    /// Kafka did not answer in time, or refused.
    #[error("the record could not be read again")]
    Source(#[source] SourceError),
}

/// Reads the record at `offset`. Blocks for at most about `timeout`; joins no group and commits nothing.
///
/// A client is made for it, so it costs some milliseconds and a connection: meant for dead letters.
///
/// # Errors
/// [`RereadError::Gone`], where the caller goes on without the bytes; [`RereadError::Source`], where it tries
/// again.
pub fn reread(
    kafka: &KafkaSettings,
    topic: &str,
    partition: i32,
    offset: i64,
    timeout: Duration,
) -> Result<OwnedRecord, RereadError> {
    let properties = Properties::new(kafka, Role::Outside, None).set("enable.partition.eof", "true");
    let consumer: BaseConsumer =
        properties.client().create().map_err(|error| RereadError::Source(SourceError::client(error)))?;
    let mut at = TopicPartitionList::new();
    at.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(|_| RereadError::Gone)?;
    consumer.assign(&at).map_err(|error| no_answer(&error))?;

    let clock = SystemClock::new();
    let mut last = None;
    loop {
        let left = timeout.saturating_sub(clock.now().monotonic);
        match consumer.poll(left) {
            Some(Ok(message)) if message.offset() == offset => {
                return Ok(KafkaRecord(message).as_record().to_owned_record());
            }
            // The first one that is left after it, or the end.
            Some(Ok(message)) if message.offset() > offset => return Err(RereadError::Gone),
            Some(Err(KafkaError::PartitionEOF(_))) => return Err(RereadError::Gone),
            Some(Err(error)) if is_out_of_range(&error) => return Err(RereadError::Gone),
            Some(Err(error)) => last = Some(error),
            Some(Ok(_)) | None => {}
        }
        if left.is_zero() {
            return Err(last.map_or_else(
                || RereadError::Source(SourceError::Unreachable { detail: "no answer in time".to_owned() }),
                |error| no_answer(&error),
            ));
        }
    }
}

fn is_out_of_range(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange};
    matches!(error.rdkafka_error_code(), Some(AutoOffsetReset | OffsetOutOfRange))
}

fn no_answer(error: &KafkaError) -> RereadError {
    RereadError::Source(SourceError::Unreachable { detail: super::error::name(error) })
}
