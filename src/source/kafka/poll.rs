//! The poll thread's loop: one turn after another, each bounded.
//!
//! A turn carries out a rebalance that a callback noted, answers what workers ask, hands them records, commits
//! about once a second, and polls. What each of these does stands in a file of its own. Read [`Loop::run`] first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

use rdkafka::Message;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;

use super::context::{self, Context, Noted};
use super::feed::{Feed, Sent};
use super::ffi::CommitQueue;
use super::history::{Ask, ToReader};
use super::lanes::{Lane, Lanes, Standing};
use super::status::PartitionStatus;
use super::tally::Tally;
use super::{KafkaRecord, KafkaSource, error, ffi};
use crate::batch::LaneName;
use crate::settings::Partitioner;
use crate::source::{Delivery, Progress, StopReason, ToSource, WorkerSenders};

/// How long a poll waits where nothing else is to be done: also how late a rewind or a signal is heard.
const IDLE: Duration = Duration::from_millis(20);

/// How long it waits where a channel was full.
const BUSY: Duration = Duration::from_millis(1);

/// How long a full channel may hold up the poll thread at a time. Blocking costs nothing (1,151 k records/s
/// against 1,157 k without stalls), where pausing throws prefetched records away (17 k records/s).
const BLOCK_MAX: Duration = Duration::from_millis(200);

/// Step of that wait.
const BLOCK_STEP: Duration = Duration::from_micros(500);

/// Records taken in one turn: a few milliseconds' worth, so that the clock is not asked for each of them.
const TURN_RECORDS_MAX: usize = 4096;

/// How often commits, the picture and what could not be resolved yet are looked after.
const TICK: Duration = Duration::from_secs(1);

/// How often idle partitions are compared with the broker's watermarks. The net below the error that
/// librdkafka gives for a position out of range, which names no partition.
const LOOK: Duration = Duration::from_secs(60);

/// What workers asked and is not answered yet. More stays in their channel.
const ASKS_MAX: usize = 4096;

/// How long leaving the group may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// The state of the poll thread.
pub(super) struct Loop<'s, 'r> {
    pub(super) source: &'s KafkaSource,
    pub(super) feeds: Vec<Feed<KafkaRecord<'s>>>,
    /// Workers that take nothing, and whose partitions are paused for that.
    pub(super) stuck: Vec<bool>,
    pub(super) from_workers: &'r Receiver<ToSource>,
    pub(super) asks: VecDeque<ToSource>,
    pub(super) progress: &'r Progress,
    pub(super) stop: &'r AtomicBool,
    pub(super) lanes: Lanes,
    pub(super) commits: CommitQueue<'s>,
    /// Since when a commit waits for its answer.
    pub(super) commit_open_since: Option<Duration>,
    /// True where librdkafka said that some position is out of range, until all were looked at.
    pub(super) out_of_range: bool,
    /// True where a rewind was asked for in this turn.
    pub(super) rewinds_asked: bool,
    pub(super) tally: Tally,
    /// To the thread that reads history.
    history: SyncSender<ToReader>,
    ticked_at: Duration,
    looked_at: Duration,
}

impl<'s, 'r> Loop<'s, 'r> {
    pub(super) fn new(
        source: &'s KafkaSource,
        workers: &[WorkerSenders<KafkaRecord<'s>>],
        from_workers: &'r Receiver<ToSource>,
        progress: &'r Progress,
        stop: &'r AtomicBool,
        history: SyncSender<ToReader>,
    ) -> Loop<'s, 'r> {
        let now = source.clock.now().monotonic;
        Loop {
            source,
            feeds: workers.iter().map(|worker| Feed::new(worker.clone(), source.chunk_bytes_max)).collect(),
            stuck: vec![false; workers.len()],
            from_workers,
            asks: VecDeque::new(),
            progress,
            stop,
            lanes: Lanes::default(),
            commits: CommitQueue::new(&source.consumer),
            commit_open_since: None,
            out_of_range: false,
            rewinds_asked: false,
            tally: Tally::default(),
            history,
            ticked_at: now,
            looked_at: now,
        }
    }

    pub(super) fn consumer(&self) -> &'s BaseConsumer<Context> {
        &self.source.consumer
    }

    pub(super) fn now(&self) -> Duration {
        self.source.clock.now().monotonic
    }

    /// Turns until there is a reason to stop; then drains and leaves the group.
    pub(super) fn run(mut self) -> StopReason {
        self.consumer().context().set_running(true);
        let reason = loop {
            if let Err(reason) = self.turn() {
                break reason;
            }
        };
        tracing::info!("stops: what is in flight is finished and committed, then the group is left");
        let reason = self.drain(reason);
        self.close();
        reason
    }

    fn turn(&mut self) -> Result<(), StopReason> {
        while let Some(noted) = self.consumer().context().take() {
            self.heed(noted)?;
        }
        if self.stop.load(Ordering::Acquire) {
            return Err(StopReason::Signal);
        }
        self.take_asks()?;
        while let Some(ask) = self.asks.pop_front() {
            self.answer(ask)?;
        }
        if std::mem::take(&mut self.rewinds_asked) {
            self.history_soon(|lane| matches!(lane.standing, Standing::Rewinding(_)));
            self.finish_rewinds();
        }
        let now = self.now();
        self.send(now)?;
        self.pause_stuck(now);
        if now.saturating_sub(self.ticked_at) >= TICK {
            self.ticked_at = now;
            self.tick(now)?;
        }
        let waits = self.feeds.iter().any(|feed| !feed.is_empty());
        self.gather(if waits { BUSY } else { IDLE })
    }

    fn heed(&mut self, noted: Noted) -> Result<(), StopReason> {
        match noted {
            Noted::Assigned(names) => self.assigned(&names)?,
            Noted::Revoked(names) => self.revoked(&names)?,
            Noted::Lost(names) => self.lost(&names)?,
        }
        Ok(())
    }

    /// Takes what the workers ask, without answering yet.
    pub(super) fn take_asks(&mut self) -> Result<(), StopReason> {
        while self.asks.len() < ASKS_MAX {
            match self.from_workers.try_recv() {
                Ok(ask) => self.asks.push_back(ask),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(StopReason::Failed { detail: "all workers ended".to_owned() });
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, ask: ToSource) -> Result<(), StopReason> {
        match ask {
            ToSource::Rewind { lane, to } => self.rewind(lane, to),
            ToSource::History { lane, request } => {
                if let Some(lane) = self.lanes.get(lane) {
                    let (name, worker) = (lane.name.clone(), lane.worker);
                    // A reader that is gone has ended with the process.
                    let first_partition_count = lane
                        .first_partition_count
                        .filter(|_| self.source.partitioner == Partitioner::Murmur2);
                    let ask = Ask { lane: lane.id, name, worker, request, first_partition_count };
                    let _ = self.history.try_send(ToReader::Read(ask));
                }
            }
            ToSource::Pause(lane) => self.set_paused(lane, true),
            ToSource::Resume(lane) => self.set_paused(lane, false),
            ToSource::Stop(reason) => return Err(reason),
        }
        Ok(())
    }

    /// History of these lanes may be asked for soon.
    pub(super) fn history_soon(&self, pick: impl Fn(&Lane) -> bool) {
        let names = self.lanes.sorted().into_iter().filter(|lane| pick(lane)).map(|lane| lane.name.clone());
        // A reader that is gone has ended with the process.
        let _ = self.history.try_send(ToReader::Soon(names.collect()));
    }

    /// Sends what waits for the workers.
    fn send(&mut self, now: Duration) -> Result<(), StopReason> {
        for (worker, feed) in self.feeds.iter_mut().enumerate() {
            if feed.send(now) == Sent::Closed {
                return Err(worker_ended(worker));
            }
        }
        Ok(())
    }

    fn tick(&mut self, now: Duration) -> Result<(), StopReason> {
        if let Some((code, detail)) = self.consumer().client().fatal_error() {
            return Err(fenced(code, &detail));
        }
        self.resolve_late()?;
        self.finish_rewinds();
        let look = now.saturating_sub(self.looked_at) >= LOOK;
        if look || self.out_of_range {
            self.looked_at = now;
            self.look_at_positions();
        }
        self.take_answers();
        self.commit_stored(now);
        self.picture();
        Ok(())
    }

    /// Takes records until there are none for now.
    fn gather(&mut self, mut wait: Duration) -> Result<(), StopReason> {
        let consumer = self.consumer();
        for _ in 0..TURN_RECORDS_MAX {
            match consumer.poll(wait) {
                Some(Ok(record)) => {
                    if self.take(record)? {
                        break;
                    }
                }
                Some(Err(error)) => self.heed_error(&error)?,
                None => break,
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// Takes one record; true where its worker's channel is full and the thread waited for it in vain.
    fn take(&mut self, message: BorrowedMessage<'s>) -> Result<bool, StopReason> {
        let (offset, handle) = (message.offset(), message.topic_ptr().addr());
        let lane = self.lanes.of_record(handle, message.partition(), || message.topic().to_owned());
        let Some(lane) = lane.filter(|lane| lane.standing == Standing::Reading && offset >= lane.next) else {
            self.source.status.change(|picture| picture.stale_record_count += 1);
            return Ok(false);
        };
        lane.next = offset.saturating_add(1);
        let (worker, lane, reading) = (lane.worker, lane.id, lane.reading);
        let bytes = message.key_len().saturating_add(message.payload_len());
        let Some(feed) = self.feeds.get_mut(worker) else { return Ok(false) };
        let full = feed.push(Delivery { lane, reading, record: KafkaRecord(message) }, bytes);
        if full { self.send_blocking(worker) } else { Ok(false) }
    }

    /// Sends one worker's chunk, waiting for its channel for a bounded time; true where that was in vain.
    fn send_blocking(&mut self, worker: usize) -> Result<bool, StopReason> {
        let until = self.now().saturating_add(BLOCK_MAX);
        loop {
            let now = self.now();
            match self.feeds.get_mut(worker).map(|feed| feed.send(now)) {
                Some(Sent::Full) if now < until => {
                    self.take_asks()?;
                    std::thread::sleep(BLOCK_STEP);
                }
                Some(Sent::Full) => return Ok(true),
                Some(Sent::Closed) => return Err(worker_ended(worker)),
                Some(Sent::All) | None => return Ok(false),
            }
        }
    }

    fn heed_error(&mut self, error: &KafkaError) -> Result<(), StopReason> {
        if let Some((code, detail)) = self.consumer().client().fatal_error() {
            return Err(fenced(code, &detail));
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                // Looked at by the next tick: one such error comes for each partition concerned.
                self.out_of_range = true;
            }
            _ => self.count(error),
        }
        Ok(())
    }

    /// Counts an error of the world; says it once a kind, and then sums up.
    pub(super) fn count(&mut self, error: &KafkaError) {
        let name = error::name(error);
        if let Some(count) = self.tally.count(&name, self.now()) {
            tracing::warn!(error = name, count, "Kafka");
        }
        self.source.status.change(|picture| {
            picture.connected &= !matches!(
                error.rdkafka_error_code(),
                Some(
                    RDKafkaErrorCode::AllBrokersDown
                        | RDKafkaErrorCode::BrokerTransportFailure
                        | RDKafkaErrorCode::OperationTimedOut
                        | RDKafkaErrorCode::Resolve
                        | RDKafkaErrorCode::Authentication
                )
            );
            picture.error = Some(name);
        });
    }

    /// Kafka answered.
    pub(super) fn answered(&self) {
        self.source.status.change(|picture| {
            picture.connected = true;
            picture.error = None;
        });
    }

    /// Renews the picture that the admin side sees.
    pub(super) fn picture(&mut self) {
        let disconnected = !self.source.status.picture().connected;
        if disconnected && let Some(lane) = self.lanes.sorted().first() {
            match super::positions::ask_watermarks(self.consumer(), &lane.name, TICK) {
                Ok(_) => self.answered(),
                Err(error) => self.count(&error),
            }
        }
        if let Some(ends) = self.consumer().context().take_ends() {
            for lane in self.lanes.all_mut() {
                lane.ends_at(ends.get(&lane.name).copied());
            }
        }
        let partitions = self.lanes.sorted().into_iter().map(|lane| {
            let known = ffi::known_watermarks(self.consumer(), &lane.name.topic, lane.name.partition);
            PartitionStatus {
                name: lane.name.clone(),
                worker: lane.worker,
                position: lane.next,
                committed: lane.committed,
                low: known.map(|(low, _)| low),
                high: known.map(|(_, high)| high),
                read_to: lane.read_to(),
                paused: lane.paused,
                resolved: lane.standing != Standing::Unresolved,
            }
        });
        let partitions = partitions.collect();
        let polled_at_ms = self.source.clock.now().unix_ms;
        self.source.status.change(|picture| {
            picture.partitions = partitions;
            picture.polled_at_ms = polled_at_ms;
        });
    }

    /// Leaves the group. Bounded: what is not done in time is done when the source is dropped.
    fn close(&mut self) {
        let consumer = self.consumer();
        consumer.context().set_running(false);
        // A rebalance that is open would keep the group waiting, and the close with it.
        while let Some(noted) = consumer.context().take() {
            let answered = match noted {
                Noted::Assigned(names) => context::assign(consumer, &list(&names)),
                Noted::Revoked(names) | Noted::Lost(names) => context::unassign(consumer, &list(&names)),
            };
            if let Err(error) = answered {
                self.count(&error);
            }
        }
        if consumer.client().fatal_error().is_some() {
            // Out of the group already.
            return;
        }
        if let Err(error) = consumer.close_queue() {
            tracing::warn!(error = error::name(&error), "the group could not be left");
            return;
        }
        let until = self.now().saturating_add(CLOSE_WITHIN);
        while !consumer.closed() && self.now() < until {
            drop(consumer.poll(IDLE));
        }
        self.source.status.change(|picture| {
            picture.partitions.clear();
            picture.connected = false;
        });
    }
}

/// A partition list without offsets.
pub(super) fn list<'n>(names: impl IntoIterator<Item = &'n LaneName>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for name in names {
        list.add_partition(&name.topic, name.partition);
    }
    list
}

fn worker_ended(worker: usize) -> StopReason {
    StopReason::Failed { detail: format!("worker {worker} ended") }
}

fn fenced(code: RDKafkaErrorCode, detail: &str) -> StopReason {
    StopReason::Fenced { detail: format!("{}: {detail}", error::code_name(code)) }
}
