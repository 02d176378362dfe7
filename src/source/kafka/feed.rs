//! What waits to be taken by one worker: control words first, then one chunk of records.
//!
//! A chunk is sent as soon as the channel takes it, so a lone record leaves at once and chunks grow by
//! themselves while the worker is busy. Records never overtake a control word; a control word may overtake
//! records, which are then stale or of a lane that is being released.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;

use crate::batch::LaneId;
use crate::record::Position;
use crate::source::{Assignment, Delivery, Released, ToWorker, WorkerSenders};

/// Records in a chunk: picked by eye; large enough that the channel's cost (0.1 µs a word) is nothing a record.
pub(super) const CHUNK_RECORDS_MAX: usize = 1024;

/// Bytes of keys and values in a chunk. One record more may come over it.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A control word that waits. Few: one for each change of a lane's state.
#[derive(Debug)]
pub(super) enum Word {
    Assign(Assignment),
    Rewound { lane: LaneId, reading: u32, position: Position },
    Release { lanes: Vec<LaneId>, until: Duration, done: SyncSender<Released> },
    Lost(Vec<LaneId>),
}

impl Word {
    fn into_word<R>(self, now: Duration) -> ToWorker<R> {
        match self {
            Word::Assign(assignment) => ToWorker::Assign(assignment),
            Word::Rewound { lane, reading, position } => ToWorker::Rewound { lane, reading, position },
            Word::Release { lanes, until, done } => {
                ToWorker::Release { lanes, within: until.saturating_sub(now), done }
            }
            Word::Lost(lanes) => ToWorker::Lost(lanes),
        }
    }
}

/// What became of trying to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing waits any more.
    All,
    /// The channel is full.
    Full,
    /// The worker is gone.
    Closed,
}

/// One worker's feed.
#[derive(Debug)]
pub(super) struct Feed<R> {
    worker: WorkerSenders<R>,
    words: VecDeque<Word>,
    chunk: Vec<Delivery<R>>,
    chunk_bytes: usize,
    chunk_bytes_max: usize,
    /// Since when the channel takes nothing; `None` where it does.
    stuck_since: Option<Duration>,
}

impl<R> Feed<R> {
    pub(super) fn new(worker: WorkerSenders<R>, chunk_bytes_max: usize) -> Feed<R> {
        Feed {
            worker,
            words: VecDeque::new(),
            chunk: Vec::new(),
            chunk_bytes: 0,
            chunk_bytes_max,
            stuck_since: None,
        }
    }

    /// Adds a record to the chunk; true where the chunk is full by now.
    pub(super) fn push(&mut self, delivery: Delivery<R>, bytes: usize) -> bool {
        if self.chunk.capacity() == 0 {
            self.chunk.reserve_exact(CHUNK_RECORDS_MAX);
        }
        self.chunk.push(delivery);
        self.chunk_bytes = self.chunk_bytes.saturating_add(bytes);
        self.chunk.len() >= CHUNK_RECORDS_MAX || self.chunk_bytes >= self.chunk_bytes_max
    }

    pub(super) fn say(&mut self, word: Word) {
        self.words.push_back(word);
    }

    /// Drops the records of lanes that nobody waits for any more.
    pub(super) fn drop_records(&mut self, lanes: &[LaneId]) {
        self.chunk.retain(|delivery| !lanes.contains(&delivery.lane));
        if self.chunk.is_empty() {
            self.chunk_bytes = 0;
        }
    }

    /// Takes back a release that was not sent yet, and says in its place that the lanes are lost.
    pub(super) fn lose_unsent(&mut self) {
        for word in &mut self.words {
            if let Word::Release { lanes, .. } = word {
                *word = Word::Lost(std::mem::take(lanes));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty() && self.chunk.is_empty()
    }

    /// Since when the channel takes nothing.
    pub(super) fn stuck_since(&self) -> Option<Duration> {
        self.stuck_since
    }

    /// Sends what waits, without blocking.
    pub(super) fn send(&mut self, now: Duration) -> Sent {
        while !self.is_empty() {
            let channel = if self.words.is_empty() { &self.worker.records } else { &self.worker.control };
            let permit = match channel.try_reserve() {
                Ok(permit) => permit,
                Err(TrySendError::Full(())) => {
                    self.stuck_since.get_or_insert(now);
                    return Sent::Full;
                }
                Err(TrySendError::Closed(())) => return Sent::Closed,
            };
            self.stuck_since = None;
            match self.words.pop_front() {
                Some(word) => permit.send(word.into_word(now)),
                None => {
                    self.chunk_bytes = 0;
                    permit.send(ToWorker::Records(std::mem::take(&mut self.chunk)));
                }
            }
        }
        Sent::All
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(lane: u64) -> Delivery<u8> {
        Delivery { lane: LaneId(lane), reading: 0, record: 0 }
    }

    fn feed(capacity: usize) -> (Feed<u8>, tokio::sync::mpsc::Receiver<ToWorker<u8>>) {
        let (sender, receiver) = tokio::sync::mpsc::channel(capacity);
        (Feed::new(WorkerSenders::over_one(sender), 10), receiver)
    }

    #[test]
    fn a_lone_record_leaves_at_once() {
        let (mut feed, mut worker) = feed(1);
        assert!(!feed.push(record(1), 1));
        assert_eq!(feed.send(Duration::ZERO), Sent::All);
        assert!(matches!(worker.try_recv(), Ok(ToWorker::Records(records)) if records.len() == 1));
    }

    #[test]
    fn a_chunk_is_full_by_bytes_and_by_count() {
        let (mut feed, _worker) = feed(1);
        assert!(!feed.push(record(1), 9));
        assert!(feed.push(record(1), 1));

        let (sender, _worker) = tokio::sync::mpsc::channel(1);
        let mut feed = Feed::new(WorkerSenders::over_one(sender), usize::MAX);
        let full: Vec<bool> = (0..CHUNK_RECORDS_MAX).map(|_| feed.push(record(1), 0)).collect();
        assert_eq!(full.iter().filter(|full| **full).count(), 1);
    }

    #[test]
    fn words_come_before_records_and_nothing_is_dropped_where_the_channel_is_full() {
        let (mut feed, mut worker) = feed(1);
        feed.push(record(2), 1);
        feed.say(Word::Rewound { lane: LaneId(2), reading: 1, position: 5 });
        assert_eq!(feed.send(Duration::from_secs(1)), Sent::Full);
        assert_eq!(feed.stuck_since(), Some(Duration::from_secs(1)));
        assert!(matches!(worker.try_recv(), Ok(ToWorker::Rewound { position: 5, .. })));
        assert_eq!(feed.send(Duration::from_secs(2)), Sent::All);
        assert_eq!(feed.stuck_since(), None);
        assert!(matches!(worker.try_recv(), Ok(ToWorker::Records(_))));
    }

    #[test]
    fn a_release_that_came_too_late_to_be_sent_is_said_as_lost() {
        let (mut feed, mut worker) = feed(1);
        let (done, _) = std::sync::mpsc::sync_channel(1);
        feed.push(record(1), 1);
        feed.push(record(2), 1);
        feed.drop_records(&[LaneId(1)]);
        feed.say(Word::Release { lanes: vec![LaneId(1)], until: Duration::from_secs(1), done });
        feed.lose_unsent();
        assert_eq!(feed.send(Duration::ZERO), Sent::Full);
        assert!(matches!(worker.try_recv(), Ok(ToWorker::Lost(lanes)) if lanes == [LaneId(1)]));
        assert_eq!(feed.send(Duration::ZERO), Sent::All);
        assert!(
            matches!(worker.try_recv(), Ok(ToWorker::Records(records)) if records.len() == 1 && records[0].lane == LaneId(2))
        );
    }

    #[test]
    fn a_worker_that_is_gone_is_said() {
        let (mut feed, worker) = feed(1);
        drop(worker);
        feed.push(record(1), 1);
        assert_eq!(feed.send(Duration::ZERO), Sent::Closed);
    }
}
