//! A Kafka cluster inside this process: for `stoker demo` and for tests.
//!
//! It is librdkafka's mock cluster: it speaks the protocol over TCP on localhost, also to other processes,
//! with consumer groups, commits and idempotent producers. It keeps at most 5 MB (or 100 k records) a
//! partition and drops the oldest beyond that in silence, hands partitions over only shortly
//! before a session ends (so set `session.timeout.ms` low where members come and go), and does not answer
//! `offsets_for_times`. No use for measurements.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::{SourceError, ffi};
use crate::record::OwnedRecord;

/// Bytes that the cluster keeps of a partition.
pub const PARTITION_BYTES_MAX: usize = 5 << 20;

/// An append is acknowledged in well under a millisecond; this long means that the cluster is gone.
const APPEND_WITHIN: Duration = Duration::from_secs(10);

/// The cluster, and a producer of records for it. Ends when dropped.
pub struct MockKafka {
    /// Its client owns the cluster.
    producer: ThreadedProducer<Acknowledge>,
    brokers: String,
}

impl MockKafka {
    /// Starts a cluster of that many brokers (one or more) on free ports.
    ///
    /// # Errors
    /// [`SourceError::Settings`]: it cannot be started.
    pub fn start(broker_count: i32) -> Result<MockKafka, SourceError> {
        let mut config = ClientConfig::new();
        config
            .set("test.mock.num.brokers", broker_count.max(1).to_string())
            .set("acks", "all")
            .set("linger.ms", "0");
        let producer: ThreadedProducer<Acknowledge> =
            ThreadedProducer::from_config_and_context(&config, Acknowledge).map_err(SourceError::client)?;
        ffi::no_initial_rebalance_delay(producer.client());
        let brokers = match producer.client().mock_cluster() {
            Some(cluster) => cluster.bootstrap_servers(),
            None => return Err(SourceError::Settings { detail: "no mock cluster was made".to_owned() }),
        };
        Ok(MockKafka { producer, brokers })
    }

    /// `host:port` of its brokers, separated by commas.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`SourceError::Unreachable`]: it exists, or its name is not valid.
    pub fn create_topic(&self, topic: &str, partition_count: i32) -> Result<(), SourceError> {
        self.cluster()?.create_topic(topic, partition_count, 1).map_err(|error| failed(&error))
    }

    /// Appends a record and waits for the acknowledgement. The offset of `record` is not looked at; a negative
    /// partition leaves the choice to the key.
    ///
    /// # Errors
    /// [`SourceError::Unreachable`]: the cluster does not take it.
    pub fn append(&self, record: &OwnedRecord) -> Result<(i32, i64), SourceError> {
        let (acknowledged, answer) = sync_channel(1);
        self.send(record, Some(acknowledged))?;
        match answer.recv_timeout(APPEND_WITHIN) {
            Ok(Ok(position)) => Ok(position),
            Ok(Err(error)) => Err(failed(&error)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(SourceError::Unreachable { detail: "the mock cluster does not answer".to_owned() })
            }
        }
    }

    /// Appends many, each partition's in order, and waits until all are there.
    ///
    /// # Errors
    /// As [`MockKafka::append`]; some may have been appended.
    pub fn append_all<'r>(
        &self,
        records: impl IntoIterator<Item = &'r OwnedRecord>,
    ) -> Result<(), SourceError> {
        for record in records {
            self.send(record, None)?;
        }
        self.producer.flush(APPEND_WITHIN).map_err(|error| failed(&error))
    }

    /// Takes all brokers away (`false`: they refuse connections) or brings them back.
    ///
    /// # Errors
    /// [`SourceError::Unreachable`]: the cluster is gone.
    pub fn set_up(&self, up: bool) -> Result<(), SourceError> {
        let cluster = self.cluster()?;
        let all = -1;
        let done = if up { cluster.broker_up(all) } else { cluster.broker_down(all) };
        done.map_err(|error| failed(&error))
    }

    /// Refuses the next so many questions for watermarks.
    ///
    /// # Errors
    /// [`SourceError::Unreachable`]: the cluster is gone.
    pub fn refuse_watermarks(&self, count: usize) -> Result<(), SourceError> {
        let refusals = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; count];
        self.cluster()?.request_errors(RDKafkaApiKey::ListOffsets, &refusals);
        Ok(())
    }

    fn cluster(&self) -> Result<MockCluster<'_, Acknowledge>, SourceError> {
        let gone = || SourceError::Unreachable { detail: "the mock cluster is gone".to_owned() };
        self.producer.client().mock_cluster().ok_or_else(gone)
    }

    fn send(&self, record: &OwnedRecord, acknowledged: Option<Answer>) -> Result<(), SourceError> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (name, value) in &record.headers {
            headers = headers.insert(Header { key: name, value: value.as_ref() });
        }
        let mut produced = BaseRecord::<[u8], [u8], Box<Option<Answer>>>::with_opaque_to(
            &record.topic,
            Box::new(acknowledged),
        )
        .headers(headers);
        if let Some(key) = &record.key {
            produced = produced.key(key);
        }
        if let Some(value) = &record.value {
            produced = produced.payload(value);
        }
        if let Some(timestamp_ms) = record.timestamp_ms {
            produced = produced.timestamp(timestamp_ms);
        }
        if record.partition >= 0 {
            produced = produced.partition(record.partition);
        }
        loop {
            match self.producer.send(produced) {
                Ok(()) => return Ok(()),
                Err((error, again)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    produced = again;
                    self.producer.flush(APPEND_WITHIN).map_err(|error| failed(&error))?;
                }
                Err((error, _)) => return Err(failed(&error)),
            }
        }
    }
}

impl std::fmt::Debug for MockKafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MockKafka").field("brokers", &self.brokers()).finish_non_exhaustive()
    }
}

fn failed(error: &KafkaError) -> SourceError {
    SourceError::Unreachable { detail: super::error::name(error) }
}

type Answer = SyncSender<Result<(i32, i64), KafkaError>>;

#[derive(Debug, Clone)]
struct Acknowledge;

impl ClientContext for Acknowledge {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        super::context::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(error = super::error::name(&error), reason, "librdkafka error");
    }
}

impl ProducerContext for Acknowledge {
    type DeliveryOpaque = Box<Option<Answer>>;

    fn delivery(&self, delivery: &DeliveryResult<'_>, answer: Box<Option<Answer>>) {
        if let Some(answer) = *answer {
            let result = match delivery {
                Ok(record) => Ok((record.partition(), record.offset())),
                Err((error, _)) => Err(error.clone()),
            };
            // Who asked may have stopped waiting.
            drop(answer.send(result));
        }
    }
}
