//! Reads the history that refills ask for: a second consumer, assigned by hand, outside the group.
//!
//! A thread of its own beside the poll thread, so that a long walk backwards never holds up live records. Each window
//! is an assignment of its partition for as long as it is read, beside those of other partitions. It ends by positions:
//! with the first record at or past its end, or where the partition ends. Start at [`Reader::run`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
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
use super::positions::{ask_all, partition_count};
use super::properties::{Properties, Role};
use super::stable::say_open;
use super::tally::Tally;
use super::{KafkaRecord, SourceError, ffi};
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
const OPEN_MAX: usize = 64;
/// Records that are taken before it is looked who asks.
const TURN_RECORDS: usize = 256;
/// Records that librdkafka fetches ahead, over all partitions: what lies past a window's end is fetched for nothing. By
/// 2,048 a walk took twice as long, for fetches waited.
const AHEAD_RECORDS: &str = "32768";
/// For how long it is believed where a partition begins before the broker is asked again.
const BOUNDS_STAND_FOR: Duration = Duration::from_secs(5);
/// Share of `limits.memory` for fetched history that waits in librdkafka: one part in so many.
const QUEUE_SHARE: usize = 8;
/// How long a poll waits: also how late the end of the process, or who asks, is heard.
const POLL: Duration = Duration::from_millis(20);
/// How long a full channel is waited for at a time.
const FULL: Duration = Duration::from_millis(1);
/// Time for the broker to say what can be read.
const WATERMARKS_WITHIN: Duration = Duration::from_secs(2);
/// For how long it may wait that an open transaction is told of.
const SAY_OPEN_AFTER: Duration = Duration::from_secs(1);
/// Pause after the broker did not say.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Windows of which nothing comes for so long are begun again.
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

/// What the reader hears.
#[derive(Debug)]
pub(super) enum ToReader {
    /// A window is to be read.
    Read(Ask),
    /// History of these partitions may be asked for soon: to connect, and to ask where they begin, would take longer
    /// than to read the first window (seen: 57 and 97 ms).
    Soon(Vec<LaneName>),
}

/// The consumer of history: made when it is first needed, or may be soon.
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
            .set("queued.min.messages", AHEAD_RECORDS)
            .set("fetch.queue.backoff.ms", "1")
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
    client: &'s HistoryClient,
    workers: Vec<Sender<ToWorker<KafkaRecord<'s>>>>,
    asks: Receiver<ToReader>,
    stop: &'r AtomicBool,
    clock: SystemClock,
    /// Windows that are to be opened: of a partition one at most.
    waiting: VecDeque<Ask>,
    soon: Vec<LaneName>,
    /// The windows that are read, by their partition's number.
    open: BTreeMap<i32, Open<'s>>,
    bounds: HashMap<LaneName, Bounds>,
    /// Ends of partitions whose first window was read, to look for open transactions, and since when they wait for it.
    ends: Vec<(LaneName, Position)>,
    ends_since: Duration,
}

/// What the broker said of a partition.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Where it begins.
    low: Position,
    /// Partitions of its topic.
    count: i32,
    asked_at: Duration,
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

/// Why reading does not go on.
enum Halt {
    /// The process ends, or a worker has.
    Ended,
    /// Kafka does not give it for now: the windows that are open are read again from their beginning.
    Away(String),
}

impl From<KafkaError> for Halt {
    fn from(error: KafkaError) -> Halt {
        Halt::Away(error::name(&error))
    }
}

impl<'s, 'r> Reader<'s, 'r> {
    pub(super) fn new(
        client: &'s HistoryClient,
        workers: Vec<Sender<ToWorker<KafkaRecord<'s>>>>,
        asks: Receiver<ToReader>,
        stop: &'r AtomicBool,
        clock: SystemClock,
    ) -> Reader<'s, 'r> {
        Reader {
            client,
            workers,
            asks,
            stop,
            clock,
            waiting: VecDeque::new(),
            soon: Vec::new(),
            open: BTreeMap::new(),
            bounds: HashMap::new(),
            ends: Vec::new(),
            ends_since: Duration::ZERO,
        }
    }

    /// Reads until the process stops, or nobody can ask any more.
    pub(super) fn run(mut self) {
        let mut tally = Tally::default();
        let mut heard_at = self.clock.now().monotonic;
        while !self.stop.load(Ordering::Acquire) {
            let is_idle = self.waiting.is_empty() && self.open.is_empty();
            match self.asks.recv_timeout(if is_idle { POLL } else { Duration::ZERO }) {
                Ok(word) => {
                    self.hear(word);
                    while let Ok(word) = self.asks.try_recv() {
                        self.hear(word);
                    }
                    self.foresee();
                }
                Err(RecvTimeoutError::Timeout) if is_idle => {
                    self.rest();
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if is_idle {
                heard_at = self.clock.now().monotonic;
            }
            if self.waiting.is_empty() && self.open.is_empty() {
                continue;
            }
            let turned = self.turn();
            let now = self.clock.now().monotonic;
            let away = match turned {
                Err(Halt::Ended) => return,
                Err(Halt::Away(error)) => error,
                Ok(false) if now.saturating_sub(heard_at) > SILENT_FOR => "Timeout".to_owned(),
                Ok(false) => continue,
                Ok(true) => {
                    heard_at = now;
                    continue;
                }
            };
            if let Some(count) = tally.count(&away, now) {
                tracing::warn!(error = away, count, "history cannot be read for now: the refill waits");
            }
            self.begin_again();
            std::thread::sleep(AGAIN_AFTER);
            heard_at = self.clock.now().monotonic;
        }
    }

    fn hear(&mut self, word: ToReader) {
        match word {
            // A newer request of the same partition stands for an older one, whose lane is gone or has begun anew.
            ToReader::Read(ask) => {
                self.waiting.retain(|older| older.name != ask.name);
                self.waiting.push_back(ask);
            }
            ToReader::Soon(names) => self.soon.extend(names),
        }
    }

    /// Connects, and asks for the bounds of what may be asked for soon. What fails is tried again when it is.
    fn foresee(&mut self) {
        let soon = std::mem::take(&mut self.soon);
        if soon.is_empty() {
            return;
        }
        let Ok(consumer) = self.client.consumer() else { return };
        if let Err(error) = self.ask_bounds(consumer, &soon) {
            tracing::debug!(
                error = error::name(&error),
                "history: Kafka does not say yet where partitions begin"
            );
        }
    }

    /// Nothing is to be read. What the client says meanwhile, of a connection that was idle for too long, is of no
    /// window.
    fn rest(&mut self) {
        let Some(consumer) = self.client.consumer.get() else { return };
        while consumer.poll(Duration::ZERO).is_some() {}
        self.say_open(consumer, Duration::ZERO);
    }

    /// Says where transactions are open, for what has waited so long. Later than a window is read, for the answer takes
    /// longer than a window does, and all other windows would wait for it.
    fn say_open(&mut self, consumer: &BaseConsumer, waited: Duration) {
        if !self.ends.is_empty() && self.clock.now().monotonic.saturating_sub(self.ends_since) >= waited {
            say_open(consumer, &std::mem::take(&mut self.ends));
        }
    }

    /// Opens what waits, and takes what has come. True where anything has.
    fn turn(&mut self) -> Result<bool, Halt> {
        let consumer = self.client.consumer().map_err(|error| Halt::Away(error.to_string()))?;
        self.open_waiting(consumer)?;
        self.say_open(consumer, SAY_OPEN_AFTER);
        let mut has_heard = false;
        for _ in 0..TURN_RECORDS {
            if self.open.is_empty() {
                break;
            }
            let wait = if has_heard { Duration::ZERO } else { POLL };
            match consumer.poll(wait) {
                Some(Ok(message)) => self.take(consumer, message)?,
                Some(Err(KafkaError::PartitionEOF(partition))) => self.close(consumer, partition)?,
                // Retention has taken its beginning meanwhile, or Kafka is away.
                Some(Err(error)) => return Err(error.into()),
                None => break,
            }
            has_heard = true;
        }
        Ok(has_heard)
    }

    /// Opens the windows that wait, as far as their partition's number is free: the end of a partition is told by
    /// its number alone.
    fn open_waiting(&mut self, consumer: &'s BaseConsumer) -> Result<(), Halt> {
        let names: Vec<LaneName> = self.waiting.iter().map(|ask| ask.name.clone()).collect();
        self.ask_bounds(consumer, &names)?;
        let mut begin = TopicPartitionList::new();
        for _ in 0..self.waiting.len() {
            let Some(ask) = self.waiting.pop_front() else { break };
            let is_busy = self.open.get(&ask.name.partition).is_some_and(|open| open.ask.name != ask.name);
            if is_busy || self.open.len() >= OPEN_MAX {
                self.waiting.push_back(ask);
                continue;
            }
            let Some(&Bounds { low, count, .. }) = self.bounds.get(&ask.name) else {
                self.waiting.push_back(ask);
                continue;
            };
            let from = ask.request.until.saturating_sub(ask.request.records).max(low);
            let (partition, is_empty) = (ask.name.partition, from >= ask.request.until);
            let name = ask.name.clone();
            let growth = Growth::of(partition, ask.first_partition_count, count);
            let window = Open { ask, from, low, growth, next: from, records: Vec::new(), bytes: 0 };
            if is_empty {
                self.send(window, true)?;
                continue;
            }
            // As of those that wait, the newer one stands.
            if self.open.insert(partition, window).is_some() {
                consumer.incremental_unassign(&only(&name))?;
            }
            begin.add_partition_offset(&name.topic, partition, Offset::Offset(from))?;
        }
        if begin.count() > 0 {
            consumer.incremental_assign(&begin)?;
        }
        Ok(())
    }

    /// Asks where these partitions begin, each once, but for those of which the broker said it not long ago. Where
    /// retention has moved that since, reading below it fails, and it is asked again.
    fn ask_bounds(&mut self, consumer: &BaseConsumer, names: &[LaneName]) -> Result<(), KafkaError> {
        let now = self.clock.now().monotonic;
        let is_old = |name: &&LaneName| {
            self.bounds.get(name).is_none_or(|bounds| now.saturating_sub(bounds.asked_at) >= BOUNDS_STAND_FOR)
        };
        let asked: BTreeSet<&LaneName> = names.iter().filter(is_old).collect();
        let asked: Vec<LaneName> = asked.into_iter().cloned().collect();
        // First, for with it the leaders are known, of whom the beginnings are asked.
        let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
        for name in &asked {
            if !counts.contains_key(name.topic.as_str()) {
                counts.insert(&name.topic, partition_count(consumer, &name.topic, WATERMARKS_WITHIN)?);
            }
        }
        for (name, low) in ask_all(consumer, &asked, Offset::Beginning, WATERMARKS_WITHIN)? {
            let Some(&count) = counts.get(name.topic.as_str()) else { continue };
            self.bounds.insert(name, Bounds { low, count, asked_at: now });
        }
        Ok(())
    }

    fn take(
        &mut self,
        consumer: &BaseConsumer,
        message: rdkafka::message::BorrowedMessage<'s>,
    ) -> Result<(), Halt> {
        let (partition, offset) = (message.partition(), message.offset());
        let Some(window) = self.open.get_mut(&partition) else { return Ok(()) };
        if offset < window.next || window.ask.name.topic != message.topic() {
            return Ok(());
        }
        let until = window.ask.request.until;
        if offset < until {
            window.next = offset.saturating_add(1);
            window.bytes += message.key_len() + message.payload_len();
            window.records.push(KafkaRecord(message));
        }
        if window.next >= until || offset >= until {
            return self.close(consumer, partition);
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
    fn close(&mut self, consumer: &BaseConsumer, partition: i32) -> Result<(), Halt> {
        let Some(window) = self.open.remove(&partition) else { return Ok(()) };
        if window.ask.request.is_first
            && let LaneName { topic, partition } = &window.ask.name
            && let Some((_, end)) = ffi::known_watermarks(consumer, topic, *partition)
        {
            if self.ends.is_empty() {
                self.ends_since = self.clock.now().monotonic;
            }
            self.ends.push((window.ask.name.clone(), end));
        }
        // What lies behind it would be fetched for nothing. Not paused: what is resumed waits up to a second for
        // its first record (seen; librdkafka 2.12 does not wake the thread that fetches).
        let name = window.ask.name.clone();
        self.send(window, true)?;
        Ok(consumer.incremental_unassign(&only(&name))?)
    }

    /// What was not read to its end is read again from its beginning: what was handed out of it is composed once more,
    /// which changes nothing. Not where a newer request of the partition waits.
    fn begin_again(&mut self) {
        if let Ok(consumer) = self.client.consumer() {
            let _ = consumer.unassign();
        }
        self.bounds.clear();
        for Open { ask, .. } in std::mem::take(&mut self.open).into_values() {
            if self.waiting.iter().all(|newer| newer.name != ask.name) {
                self.waiting.push_front(ask);
            }
        }
    }

    fn send(&self, window: Open<'s>, last: bool) -> Result<(), Halt> {
        let Open { ask, from, low, growth, records, .. } = window;
        let number = ask.request.number;
        let end = last.then_some((from, low));
        let mut part = ToWorker::History(History { lane: ask.lane, number, records, end, growth });
        let Some(worker) = self.workers.get(ask.worker) else { return Ok(()) };
        loop {
            match worker.try_send(part) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(_)) => return Err(Halt::Ended),
                Err(TrySendError::Full(back)) if !self.stop.load(Ordering::Acquire) => {
                    part = back;
                    std::thread::sleep(FULL);
                }
                Err(TrySendError::Full(_)) => return Err(Halt::Ended),
            }
        }
    }
}

/// That partition alone.
fn only(name: &LaneName) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&name.topic, name.partition);
    list
}
