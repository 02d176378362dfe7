//! Reads the history that refills ask for: a second consumer, assigned by hand, outside the group.
//!
//! A thread of its own beside the poll thread, so that a long walk backwards never holds up live records. Windows
//! are read in rounds, those of one topic at a time and all of its partitions together, since an assignment costs
//! much more than a record. A window ends by positions: with the first record at or past its end, or where the
//! partition ends. Start at [`Reader::run`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::error;
use super::positions::{ask_watermarks, partition_count};
use super::properties::{Properties, Role};
use super::stable::say_open;
use super::tally::Tally;
use super::{KafkaRecord, SourceError};
use crate::batch::{LaneId, LaneName};
use crate::clock::SystemClock;
use crate::record::Position;
use crate::refill::{Growth, HistoryRequest};
use crate::settings::{KafkaSettings, Limits};
use crate::source::{History, ToWorker};

/// Records in a part: as in a chunk of live ones.
const PART_RECORDS_MAX: usize = 1024;
/// Bytes of keys and values in a part; one record may go past it.
const PART_BYTES_MAX: usize = 1 << 20;
/// Partitions whose windows are read at the same time.
const ROUND_MAX: usize = 64;
/// Share of `limits.memory` for fetched history that waits in librdkafka: one part in so many.
const QUEUE_SHARE: usize = 8;
/// How long a poll waits: also how late the end of the process is heard.
const POLL: Duration = Duration::from_millis(50);
/// How long a full channel is waited for at a time.
const FULL: Duration = Duration::from_millis(1);
/// Time for the broker to say what can be read.
const WATERMARKS_WITHIN: Duration = Duration::from_secs(2);
/// Pause after the broker did not say.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// A round in which nothing comes for so long is begun again.
const SILENT_FOR: Duration = Duration::from_secs(30);

/// A request on its way to the reader.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) lane: LaneId,
    pub(super) name: LaneName,
    pub(super) worker: usize,
    pub(super) request: HistoryRequest,
    /// Partitions that the topic had when the group began, where keys are placed by Kafka's own hash.
    pub(super) first_partition_count: Option<i32>,
}

/// The consumer of history: made when it is first needed.
pub(super) struct HistoryClient {
    properties: Properties,
    consumer: OnceLock<BaseConsumer>,
}

impl HistoryClient {
    pub(super) fn new(kafka: &KafkaSettings, limits: &Limits) -> HistoryClient {
        let queue_kib = (limits.memory_bytes / QUEUE_SHARE / 1024).max(1024);
        let properties = Properties::new(kafka, Role::Outside, Some(limits))
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", &queue_kib.to_string())
            // What is asked for is there, but for the last window, whose end is waited for no longer than this.
            .set("fetch.wait.max.ms", "20");
        HistoryClient { properties, consumer: OnceLock::new() }
    }

    fn consumer(&self) -> Result<&BaseConsumer, SourceError> {
        if let Some(consumer) = self.consumer.get() {
            return Ok(consumer);
        }
        let consumer = self.properties.client().create().map_err(SourceError::client)?;
        Ok(self.consumer.get_or_init(|| consumer))
    }
}

/// The thread that reads.
pub(super) struct Reader<'s, 'r> {
    pub(super) client: &'s HistoryClient,
    pub(super) workers: Vec<Sender<ToWorker<KafkaRecord<'s>>>>,
    pub(super) asks: Receiver<Ask>,
    pub(super) stop: &'r AtomicBool,
    pub(super) clock: SystemClock,
}

/// A window that is being read.
struct Open<'s> {
    ask: Ask,
    from: Position,
    low: Position,
    growth: Option<Growth>,
    next: Position,
    records: Vec<KafkaRecord<'s>>,
    bytes: usize,
}

/// The process ends, or a worker has.
struct Ended;

impl<'s> Reader<'s, '_> {
    /// Reads until the process stops, or nobody can ask any more.
    pub(super) fn run(mut self) {
        let mut waiting: VecDeque<Ask> = VecDeque::new();
        let mut tally = Tally::default();
        while !self.stop.load(Ordering::Acquire) {
            match self.asks.recv_timeout(if waiting.is_empty() { POLL } else { Duration::ZERO }) {
                Ok(ask) => {
                    waiting.push_back(ask);
                    waiting.extend(self.asks.try_iter());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if waiting.is_empty() {
                continue;
            }
            match self.round(&mut waiting) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    if let Some(count) = tally.count(&error, self.clock.now().monotonic) {
                        tracing::warn!(error, count, "history cannot be read for now: the refill waits");
                    }
                    std::thread::sleep(AGAIN_AFTER);
                }
                Err(Ended) => return,
            }
        }
    }

    /// Reads the windows of one topic that wait. Where Kafka does not answer, they wait on.
    fn round(&mut self, waiting: &mut VecDeque<Ask>) -> Result<Result<(), String>, Ended> {
        let consumer = match self.client.consumer() {
            Ok(consumer) => consumer,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let Some(topic) = waiting.front().map(|ask| ask.name.topic.clone()) else { return Ok(Ok(())) };
        let count = match partition_count(consumer, &topic, WATERMARKS_WITHIN) {
            Ok(count) => count,
            Err(error) => return Ok(Err(error::name(&error))),
        };
        let mut open: BTreeMap<i32, Open<'s>> = BTreeMap::new();
        let mut others = VecDeque::new();
        let mut failed = None;
        for ask in waiting.drain(..) {
            let partition = ask.name.partition;
            if failed.is_some() || ask.name.topic != topic || open.len() >= ROUND_MAX {
                others.push_back(ask);
                continue;
            }
            match ask_watermarks(consumer, &ask.name, WATERMARKS_WITHIN) {
                Ok((low, _)) => {
                    let from = ask.request.until.saturating_sub(ask.request.records).max(low);
                    let (records, bytes) = (Vec::new(), 0);
                    let growth = Growth::of(partition, ask.first_partition_count, count);
                    let window = Open { ask, from, low, growth, next: from, records, bytes };
                    // A newer request of the same partition stands for an older one, whose lane is gone.
                    open.insert(partition, window);
                }
                Err(error) => {
                    failed = Some(error::name(&error));
                    others.push_back(ask);
                }
            }
        }
        *waiting = others;
        if let Some(error) = failed.filter(|_| open.is_empty()) {
            return Ok(Err(error));
        }
        let read = self.read(consumer, &mut open);
        let _ = consumer.unassign();
        // What was not read to its end is read again from its beginning: what was handed out of it is composed
        // once more, which changes nothing.
        waiting.extend(open.into_values().map(|window| window.ask));
        read
    }

    fn read(
        &mut self,
        consumer: &'s BaseConsumer,
        open: &mut BTreeMap<i32, Open<'s>>,
    ) -> Result<Result<(), String>, Ended> {
        self.close_empty(open)?;
        let mut assigned = TopicPartitionList::with_capacity(open.len());
        for window in open.values() {
            let name = &window.ask.name;
            let offset = Offset::Offset(window.from);
            if let Err(error) = assigned.add_partition_offset(&name.topic, name.partition, offset) {
                return Ok(Err(error::name(&error)));
            }
        }
        // What was paused stays so over an assignment.
        if let Err(error) = consumer.assign(&assigned).and_then(|()| consumer.resume(&assigned)) {
            return Ok(Err(error::name(&error)));
        }
        let mut heard_at = self.clock.now().monotonic;
        while !open.is_empty() {
            if self.stop.load(Ordering::Acquire) {
                return Err(Ended);
            }
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    heard_at = self.clock.now().monotonic;
                    self.take(consumer, open, message)?;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard_at = self.clock.now().monotonic;
                    self.close(consumer, open, partition)?;
                }
                // Retention has taken its beginning meanwhile, or Kafka is away: the round begins again.
                Some(Err(error)) => return Ok(Err(error::name(&error))),
                None if self.clock.now().monotonic.saturating_sub(heard_at) > SILENT_FOR => {
                    return Ok(Err("Timeout".to_owned()));
                }
                None => {}
            }
        }
        Ok(Ok(()))
    }

    /// Windows that span nothing are told at once.
    fn close_empty(&self, open: &mut BTreeMap<i32, Open<'s>>) -> Result<(), Ended> {
        let empty = open.iter().filter(|(_, window)| window.from >= window.ask.request.until);
        let empty: Vec<i32> = empty.map(|(partition, _)| *partition).collect();
        for partition in empty {
            if let Some(window) = open.remove(&partition) {
                self.send(window, true)?;
            }
        }
        Ok(())
    }

    fn take(
        &self,
        consumer: &BaseConsumer,
        open: &mut BTreeMap<i32, Open<'s>>,
        message: rdkafka::message::BorrowedMessage<'s>,
    ) -> Result<(), Ended> {
        let (partition, offset) = (message.partition(), message.offset());
        let Some(window) = open.get_mut(&partition) else { return Ok(()) };
        if offset < window.next {
            return Ok(());
        }
        let until = window.ask.request.until;
        if offset < until {
            window.next = offset.saturating_add(1);
            window.bytes += message.key_len() + message.payload_len();
            window.records.push(KafkaRecord(message));
        }
        if window.next >= until || offset >= until {
            return self.close(consumer, open, partition);
        }
        if window.records.len() >= PART_RECORDS_MAX || window.bytes >= PART_BYTES_MAX {
            let part = Open {
                ask: Ask { name: window.ask.name.clone(), ..window.ask },
                records: std::mem::take(&mut window.records),
                bytes: std::mem::take(&mut window.bytes),
                ..*window
            };
            self.send(part, false)?;
        }
        Ok(())
    }

    /// The window of that partition has been read to its end.
    fn close(
        &self,
        consumer: &BaseConsumer,
        open: &mut BTreeMap<i32, Open<'s>>,
        partition: i32,
    ) -> Result<(), Ended> {
        let Some(window) = open.remove(&partition) else { return Ok(()) };
        // What lies behind it would be fetched for nothing.
        let mut done = TopicPartitionList::new();
        done.add_partition(&window.ask.name.topic, partition);
        let _ = consumer.pause(&done);
        if window.ask.request.number == 1 {
            say_open(consumer, &window.ask.name);
        }
        self.send(window, true)
    }

    fn send(&self, window: Open<'s>, last: bool) -> Result<(), Ended> {
        let Open { ask, from, low, growth, records, .. } = window;
        let number = ask.request.number;
        let end = last.then_some((from, low));
        let mut part = ToWorker::History(History { lane: ask.lane, number, records, end, growth });
        let Some(worker) = self.workers.get(ask.worker) else { return Ok(()) };
        loop {
            match worker.try_send(part) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(_)) => return Err(Ended),
                Err(TrySendError::Full(back)) if !self.stop.load(Ordering::Acquire) => {
                    part = back;
                    std::thread::sleep(FULL);
                }
                Err(TrySendError::Full(_)) => return Err(Ended),
            }
        }
    }
}
