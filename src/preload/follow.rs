//! Follows the entity's topics beside the load: which keys change, and how far that is known.
//!
//! A thread of its own with a consumer of its own, outside of the group. It goes through the same pipeline as the lanes,
//! so that a change names the same keys here as there. It writes nothing. Start at [`Follower::run`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use super::known::Supply;
use super::settle::{fingerprint, of_row};
use crate::clock::SystemClock;
use crate::pipeline::{Emitted, Pipeline};
use crate::record::{AsRecord as _, Position};
use crate::source::kafka::reader::{Polled, TopicReader};
use crate::telemetry::chain;

/// Keys that are told at a time.
const KEYS_AT_ONCE: usize = 4_096;
/// How long a mark may wait for a record.
const POLL: Duration = Duration::from_millis(10);
/// For each question about the topics' ends.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// Pause after an error of Kafka's or the registry's.
const PAUSE: Duration = Duration::from_millis(500);

/// What the follower is asked.
#[derive(Debug)]
pub(super) enum Ask {
    /// Look where the topics end now, and tell when that is passed.
    Mark(u64),
}

/// What the follower tells.
#[derive(Debug)]
pub(super) enum Heard {
    /// These rows and keys change; their fingerprints.
    Keys(Vec<u64>),
    /// Everything up to where the topics ended at the start was read.
    Ready,
    /// What was asked for with that mark is passed.
    Passed(u64),
    /// Records were missed: the protection has a hole.
    Lost,
    /// It waits for something, in words.
    Waits(String),
}

/// What the follower counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Records that were read.
    pub(super) records: AtomicU64,
    /// Records whose keys cannot be told: they cannot be decoded or handled.
    pub(super) unreadable: AtomicU64,
}

pub(super) struct Follower {
    pub(super) reader: TopicReader,
    pub(super) pipeline: Pipeline,
    pub(super) supply: Supply,
    pub(super) tally: Arc<Tally>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Follower {
    /// Runs until it is told to stop, or nobody listens.
    pub(super) fn run(mut self, asks: &Receiver<Ask>, heard: &Sender<Heard>) {
        let first: Vec<Position> = self.reader.parts().iter().map(|part| part.end).collect();
        let mut ready = false;
        let mut marks: Vec<(u64, Vec<Position>)> = Vec::new();
        let mut keys = Vec::new();
        let mut waits = Waits::default();
        while !self.stop.load(Ordering::Relaxed) {
            match asks.try_recv() {
                Ok(Ask::Mark(number)) => {
                    let Some(ends) = self.ends(heard, &mut waits) else { return };
                    marks.push((number, ends));
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            let idle = match self.step(&mut keys) {
                Step::Record => false,
                Step::Idle => true,
                Step::Lost => {
                    if heard.blocking_send(Heard::Lost).is_err() {
                        return;
                    }
                    true
                }
                Step::Waits(why) => {
                    if waits.tell(why, heard).is_err() {
                        return;
                    }
                    std::thread::sleep(PAUSE);
                    true
                }
            };
            let passed = marks.first().is_some_and(|(_, ends)| self.reader.has_passed(ends));
            let caught_up = !ready && self.reader.has_passed(&first);
            if (idle || passed || caught_up || keys.len() >= KEYS_AT_ONCE)
                && !keys.is_empty()
                && heard.blocking_send(Heard::Keys(std::mem::take(&mut keys))).is_err()
            {
                return;
            }
            if caught_up {
                ready = true;
                if heard.blocking_send(Heard::Ready).is_err() {
                    return;
                }
            }
            while marks.first().is_some_and(|(_, ends)| self.reader.has_passed(ends)) {
                let (number, _) = marks.remove(0);
                if heard.blocking_send(Heard::Passed(number)).is_err() {
                    return;
                }
            }
        }
    }

    /// Reads one record and adds the keys that it changes.
    fn step(&mut self, keys: &mut Vec<u64>) -> Step {
        let record = match self.reader.poll(POLL) {
            Polled::Record(record) => record,
            Polled::Nothing => return Step::Idle,
            Polled::Lost => return Step::Lost,
            Polled::Failed(error) => return Step::Waits(chain(&error)),
        };
        let record = record.as_record();
        let mut waited = 0_u32;
        while let Err(why) = (self.supply)(&mut self.pipeline, &record) {
            // Its keys must be known before anything behind it counts as passed.
            waited += 1;
            if waited == 1 {
                tracing::warn!(why, "the follower waits for the registry");
            }
            if self.stop.load(Ordering::Relaxed) {
                return Step::Idle;
            }
            std::thread::sleep(PAUSE);
        }
        self.tally.records.fetch_add(1, Ordering::Relaxed);
        self.pipeline.rows_of(&record, &mut |_, row| keys.push(of_row(&row)));
        self.pipeline.handle(&record, &mut |emitted| match emitted {
            Emitted::Mutations { mutations, .. } => {
                keys.extend(mutations.map(|mutation| fingerprint(&mutation.key)));
            }
            Emitted::Failed(failure) => {
                self.tally.unreadable.fetch_add(1, Ordering::Relaxed);
                keys.extend(failure.deletes.iter().map(|mutation| fingerprint(&mutation.key)));
            }
            Emitted::Ignored { .. } => {}
        });
        Step::Record
    }

    /// Where the topics end now; `None` where it was told to stop, or nobody listens.
    fn ends(&mut self, heard: &Sender<Heard>, waits: &mut Waits) -> Option<Vec<Position>> {
        loop {
            match self.reader.ends(ENDS_WITHIN) {
                Ok(ends) => return Some(ends),
                Err(error) => waits.tell(chain(&error), heard).ok()?,
            }
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

enum Step {
    Record,
    Idle,
    Lost,
    Waits(String),
}

/// Says what it waits for, every few seconds.
#[derive(Default)]
struct Waits {
    told: Option<Duration>,
    clock: Option<SystemClock>,
}

impl Waits {
    fn tell(&mut self, why: String, heard: &Sender<Heard>) -> Result<(), ()> {
        const EVERY: Duration = Duration::from_secs(5);
        let now = self.clock.get_or_insert_with(SystemClock::new).now().monotonic;
        if self.told.is_some_and(|told| now.saturating_sub(told) < EVERY) {
            return Ok(());
        }
        self.told = Some(now);
        heard.blocking_send(Heard::Waits(why)).map_err(|_| ())
    }
}
