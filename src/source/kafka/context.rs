//! What librdkafka's callbacks do: note it, and let the poll loop act.
//!
//! The callbacks run on the poll thread inside `poll`, which returns right after each of them. A rebalance
//! stays open until the loop has let the lanes go and calls `incremental_(un)assign`, so nothing blocks in
//! here. While no loop runs (the consumer is being closed) the callback answers at once itself.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;

use super::ffi;
use crate::batch::LaneName;
use crate::record::Position;

/// What a callback noted.
#[derive(Debug)]
pub(super) enum Noted {
    /// The group gives these partitions to this process.
    Assigned(Vec<LaneName>),
    /// The group takes them back, and waits.
    Revoked(Vec<LaneName>),
    /// They are somebody else's already.
    Lost(Vec<LaneName>),
}

/// The consumer's context: the notes, in order.
///
/// One rebalance can be open at a time, so the list stays short by itself.
#[derive(Debug, Default)]
pub(super) struct Context {
    notes: Mutex<VecDeque<Noted>>,
    /// Where the fetches of partitions last came to an end, as of the last statistics; none where that was taken.
    ends: Mutex<Option<HashMap<LaneName, Position>>>,
    running: AtomicBool,
}

impl Context {
    /// From now on the loop answers rebalances (`true`), or the callback does at once (`false`).
    pub(super) fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::Release);
    }

    /// The oldest note.
    pub(super) fn take(&self) -> Option<Noted> {
        self.lock().pop_front()
    }

    /// The ends by new statistics, each time once.
    pub(super) fn take_ends(&self) -> Option<HashMap<LaneName, Position>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, noted: Noted) {
        self.lock().push_back(noted);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Noted>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.into_iter().flat_map(|(topic, of)| {
            of.partitions.into_values().map(move |partition| (topic.clone(), partition))
        });
        let ends = partitions.filter(|(_, partition)| partition.eof_offset >= 0).map(|(topic, partition)| {
            (LaneName { topic, partition: partition.partition }, partition.eof_offset)
        });
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = Some(ends.collect());
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(error = super::error::name(&error), reason, "librdkafka error");
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let names = names(partitions);
        let running = self.running.load(Ordering::Acquire);
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS if running => {
                self.note(Noted::Assigned(names));
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS
                if running && !consumer.assignment_lost() =>
            {
                self.note(Noted::Revoked(names));
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS if running => {
                self.note(Noted::Lost(names));
            }
            // Nobody polls for records any more: to finish the rebalance is all that is left to do.
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                report("assign", assign(consumer, partitions));
            }
            // Revoked while closing, or an error event, which must be answered by unassigning at once.
            _ => {
                if running {
                    self.note(Noted::Lost(names));
                } else {
                    report("unassign", unassign(consumer, partitions));
                }
            }
        }
    }
}

/// Takes partitions, in the way of the group's protocol.
pub(super) fn assign(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(partitions),
    }
}

/// Gives partitions back, in the way of the group's protocol.
pub(super) fn unassign(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}

fn names(partitions: &TopicPartitionList) -> Vec<LaneName> {
    let entries = ffi::entries(partitions).into_iter();
    entries.map(|entry| LaneName { topic: entry.topic, partition: entry.partition }).collect()
}

fn report(what: &'static str, result: KafkaResult<()>) {
    if let Err(error) = result {
        tracing::warn!(
            error = super::error::name(&error),
            what,
            "the rebalance could not be answered while closing"
        );
    }
}

/// Passes librdkafka's own log lines on.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{text}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{text}"),
    }
}
