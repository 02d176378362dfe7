//! Follows the entity's topics beside the load: which keys change, and how far that is known.
//!
//! A thread of its own with a consumer of its own, outside of the group. It goes through the same pipeline as the lanes,
//! so that a change names the same keys here as there. It writes nothing. Start at [`Follower::run`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::SendError;

use super::known::Supply;
use super::settle::{fingerprint, of_row};
use crate::clock::SystemClock;
use crate::mutation::{Effect, Mutation, Value};
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
    /// These rows and keys change.
    Changes(Changes),
    /// The entity's table is truncated, and its keys are deleted.
    Truncated,
    /// Everything up to where the topics ended at the start was read.
    Ready,
    /// What was asked for with that mark is passed.
    Passed(u64),
    /// Records were missed: the protection has a hole.
    Lost,
    /// It waits for something, in words.
    Waits(String),
}

/// What some records change.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Rows and keys; their fingerprints.
    pub(super) keys: Vec<u64>,
    /// What is said of members, in order; their fingerprints are among the keys, too.
    pub(super) members: Vec<(u64, Option<Value>)>,
    truncated: bool,
}

impl Changes {
    fn add(&mut self, mutation: Mutation) {
        let key = fingerprint(&mutation.key);
        if mutation.key.member().is_some() {
            let now = match mutation.effect {
                Effect::Write(value, _) => Some(value),
                Effect::Patch(..) | Effect::Delete | Effect::DeleteIf(_) => None,
            };
            self.members.push((key, now));
        }
        self.keys.push(key);
    }
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
        let mut changes = Changes::default();
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
            let idle = match self.step(&mut changes) {
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
            let full = changes.keys.len() >= KEYS_AT_ONCE;
            if (idle || passed || caught_up || full || changes.truncated)
                && tell(std::mem::take(&mut changes), heard).is_err()
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

    /// Reads one record and adds what it changes.
    fn step(&mut self, changes: &mut Changes) -> Step {
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
        self.pipeline.rows_of(&record, &mut |_, row| changes.keys.push(of_row(&row)));
        self.pipeline.handle(&record, &mut |emitted| match emitted {
            Emitted::Mutations { mutations, .. } => mutations.for_each(|it| changes.add(it)),
            Emitted::Failed(failure) => {
                self.tally.unreadable.fetch_add(1, Ordering::Relaxed);
                failure.deletes.into_iter().for_each(|it| changes.add(it));
            }
            Emitted::Truncated { .. } => changes.truncated = true,
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

fn tell(changes: Changes, heard: &Sender<Heard>) -> Result<(), SendError<Heard>> {
    let truncated = changes.truncated;
    if !changes.keys.is_empty() {
        heard.blocking_send(Heard::Changes(changes))?;
    }
    if truncated { heard.blocking_send(Heard::Truncated) } else { Ok(()) }
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
