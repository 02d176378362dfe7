//! The Kafka edge: one poll thread with the group membership, and what else speaks Kafka.
//!
//! [`KafkaSource::run`] is the thread: it polls, hands records to the workers in chunks, takes and gives
//! back partitions, commits what the workers stored in [`Progress`], and rewinds where they ask. It decodes
//! nothing, writes nothing and decides nothing about a record. Beside it: the producer of dead letters
//! ([`dead_letter`]), reading one record again ([`reread()`]), looking at a cluster for `stoker check`
//! ([`probe`]) and an embedded cluster for the demo and tests ([`mock`]). Nothing outside this folder names
//! an rdkafka type.
//!
//! ```text
//!  callback (in poll) ──note──▶ Loop ──word / chunk──▶ Feed ──channel──▶ worker
//!                                │ ▲                                      │
//!                 assign, commit │ └───────────────── ToSource, Progress ◀┘
//!                  seek, unassign▼
//!                             librdkafka
//! ```

mod commit;
mod context;
pub mod dead_letter;
mod error;
mod feed;
mod ffi;
mod history;
mod lanes;
mod metadata;
pub mod mock;
mod pause;
mod poll;
mod positions;
pub mod probe;
mod properties;
mod range;
pub mod reader;
mod rebalance;
mod record;
mod reread;
mod rewind;
mod stable;
mod start;
mod status;
mod tally;
pub mod topic_reader;
mod topics;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use self::context::Context;
use self::history::{HistoryClient, Reader};
use self::properties::{Properties, Role};
use crate::clock::SystemClock;
use crate::settings::{KafkaSettings, Limits, Partitioner, Start};
use crate::source::{Progress, StopReason, ToSource, WorkerSenders};

pub use self::dead_letter::DeadLetterProducer;
pub use self::error::SourceError;
pub use self::record::KafkaRecord;
pub use self::reread::{RereadError, reread};
pub use self::stable::{OpenTransaction, open_transactions};
pub use self::status::{PartitionStatus, Picture, Status};
pub use self::topic_reader::TopicReader;

/// The one group consumer of this process.
///
/// Records borrow from it, so it outlives the workers: make it before the scope of their threads.
pub struct KafkaSource {
    consumer: BaseConsumer<Context>,
    history: HistoryClient,
    status: Arc<Status>,
    clock: SystemClock,
    start: Start,
    partitioner: Partitioner,
    /// Time for a drain at shutdown.
    drain: Duration,
    /// Time for a drain at a revoke: not more than half a session, for it holds up every lane.
    revoke_drain: Duration,
    /// Bytes of a chunk.
    chunk_bytes_max: usize,
}

/// Windows of history that may be asked for: one a lane, and there are never so many.
const HISTORY_ASKS: usize = 65_536;

/// Share of `limits.memory` for the chunks that are being filled, one a worker: one part in so many.
const CHUNK_SHARE: usize = 16;

impl KafkaSource {
    /// Makes the client and subscribes; Kafka itself is not waited for.
    ///
    /// `topics`: exact names, and patterns that begin with `^` and are matched against the whole name (POSIX
    /// extended; with `group.protocol=consumer` the broker's RE2).
    ///
    /// # Errors
    /// [`SourceError::Settings`]: a property that librdkafka does not take, or a pattern that it cannot read.
    pub fn connect(
        kafka: &KafkaSettings,
        topics: &[String],
        limits: &Limits,
    ) -> Result<KafkaSource, SourceError> {
        let properties = Properties::new(kafka, Role::Member, Some(limits));
        properties.log();
        let consumer = BaseConsumer::from_config_and_context(properties.client(), Context::default())
            .map_err(SourceError::client)?;
        let topics: Vec<String> = topics.iter().map(|topic| whole_name(topic)).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer
            .subscribe(&topics)
            .map_err(|error| SourceError::Settings { detail: format!("cannot subscribe: {error}") })?;

        let session = properties.duration("session.timeout.ms").unwrap_or(SESSION);
        let poll_interval = properties.duration("max.poll.interval.ms").unwrap_or(POLL_INTERVAL);
        let clock = SystemClock::new();
        let workers = limits.workers.max(1);
        Ok(KafkaSource {
            consumer,
            history: HistoryClient::new(kafka, limits),
            status: Arc::new(Status::new(clock)),
            clock,
            start: kafka.start,
            partitioner: kafka.partitioner,
            drain: limits.drain,
            revoke_drain: limits.drain.min(session / 2).min(poll_interval / 4),
            chunk_bytes_max: (limits.memory_bytes / CHUNK_SHARE / workers).clamp(1, feed::CHUNK_BYTES_MAX),
        })
    }

    /// What readiness and metrics are made of; may be read from any thread, also after the source is gone.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Runs the poll thread until it is told to stop, or cannot go on. Blocks; to be called once.
    ///
    /// - A lane is assigned to the worker with the fewest, and stays there.
    ///   [`Assign`](crate::source::ToWorker::Assign) comes before its first record, each lane's records in offset
    ///   order; after [`Rewound`](crate::source::ToWorker::Rewound) only those of the new reading.
    /// - A full channel blocks for at most 200 ms at a time, and the partitions of a worker that takes
    ///   nothing for 3 s are paused. Waiting: one chunk a worker (1,024 records or 1 MiB, and what comes in
    ///   those 3 s: at most 15 records), beside what the channels hold.
    /// - Commits, about once a second, only what `progress` holds, and the start of a partition that has
    ///   no commit; in sync when a partition is given back and at the end. What a worker that missed its
    ///   drain deadline stored last is not committed.
    /// - Ends within about `limits.drain` and 15 s after `stop` is set.
    pub fn run<'s>(
        &'s self,
        workers: &[WorkerSenders<KafkaRecord<'s>>],
        from_workers: &Receiver<ToSource>,
        progress: &Progress,
        stop: &AtomicBool,
    ) -> StopReason {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (history, asks) = std::sync::mpsc::sync_channel(HISTORY_ASKS);
            let history_of = workers.iter().map(|worker| worker.history.clone()).collect();
            let reader = Reader::new(&self.history, history_of, asks, &ended, self.clock);
            let thread = std::thread::Builder::new().name("history".to_owned());
            if thread.spawn_scoped(scope, move || reader.run()).is_err() {
                return StopReason::Failed {
                    detail: "the thread that reads history could not be started".into(),
                };
            }
            let reason = poll::Loop::new(self, workers, from_workers, progress, stop, history).run();
            ended.store(true, std::sync::atomic::Ordering::Release);
            reason
        })
    }

    /// Lets the client go. Where the group could not be left within its time it is left to the end of the
    /// process: the library's destructor would wait for Kafka without a bound.
    pub fn end(self) {
        if !self.consumer.closed() {
            tracing::warn!("Kafka does not answer: the group learns by its session that this member is gone");
            std::mem::forget(self);
        }
    }
}

/// A pattern that matches only whole names: librdkafka itself looks for one anywhere in the name. A name is
/// left as it is.
fn whole_name(topic: &str) -> String {
    let Some(pattern) = topic.strip_prefix('^') else { return topic.to_owned() };
    let pattern = match pattern.strip_suffix('$') {
        Some(body) if !body.ends_with('\\') => body,
        _ => pattern,
    };
    format!("^({pattern})$")
}

/// librdkafka's defaults, where `group.protocol=consumer` leaves them to the broker.
const SESSION: Duration = Duration::from_secs(45);
const POLL_INTERVAL: Duration = Duration::from_secs(300);

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource").field("start", &self.start).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_matched_against_the_whole_name() {
        let cases = [
            ("shop.public.orders", "shop.public.orders"),
            ("^shop\\..*", "^(shop\\..*)$"),
            ("^shop\\..*$", "^(shop\\..*)$"),
            ("^a|b$", "^(a|b)$"),
            ("^costs\\$", "^(costs\\$)$"),
        ];
        for (topic, expected) in cases {
            assert_eq!(whole_name(topic), expected);
        }
    }
}
