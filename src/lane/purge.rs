//! A truncate that its lane waits for: the keys of the table's entities are deleted in small steps, and nothing
//! behind the truncate is taken before the last one.
//!
//! So no row that the partition brings afterwards can be deleted by it. What other partitions bring meanwhile can:
//! nothing orders a truncate against them, but for keys whose guard remembers a newer position. Pure: the lane
//! hands the steps out. Start at [`Purging`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{LaneId, Purge, Purged};
use crate::clock::Now;
use crate::entity::template::Template;
use crate::error::WorldError;
use crate::record::Position;
use crate::retry::{Verdict, pause, verdict};
use crate::version::Version;

/// Between two steps, so that a scan of millions of keys leaves Redis to its readers: a step looks at about a
/// thousand keys, which takes well under a millisecond, so that at most 200,000 keys a second are looked at.
pub const PURGE_PAUSE: Duration = Duration::from_millis(5);

/// A truncate, from its record until its keys are gone.
#[derive(Debug)]
pub(super) struct Purging {
    /// Offset of its record: a position at which nothing of it is done.
    pub(super) offset: Position,
    /// The record's timestamp.
    pub(super) timestamp_ms: Option<i64>,
    jobs: VecDeque<Job>,
    step: Step,
    attempts: u32,
    halted: bool,
}

/// One entity's part.
#[derive(Debug)]
struct Job {
    number: u64,
    entity: usize,
    templates: Arc<[Template]>,
    version: Version,
    deleted: u64,
}

#[derive(Debug)]
enum Step {
    /// Goes out then.
    Due(Duration),
    /// With the sink.
    Out,
}

/// What an answer to a step means for the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It is of a truncate that the lane does not wait for any more.
    Stale,
    /// There is more to do.
    GoesOn,
    /// All keys of this entity are gone, so many; and with it those of all, or not.
    Done(u64, bool),
    /// Another owner has the lane.
    GiveUp,
}

impl Purging {
    pub(super) fn new(offset: Position, timestamp_ms: Option<i64>, now: Now) -> Purging {
        let step = Step::Due(now.monotonic);
        Purging { offset, timestamp_ms, jobs: VecDeque::new(), step, attempts: 0, halted: false }
    }

    /// Adds an entity's part. `number` is never used twice in the lane.
    pub(super) fn add(&mut self, number: u64, entity: usize, templates: Arc<[Template]>, version: Version) {
        self.jobs.push_back(Job { number, entity, templates, version, deleted: 0 });
    }

    pub(super) fn is_out(&self) -> bool {
        matches!(self.step, Step::Out)
    }

    /// No step follows the one that is out: the next owner reads the truncate again.
    pub(super) fn halt(&mut self) {
        self.halted = true;
    }

    /// When the next step is due; `None` where only an answer can move it.
    pub(super) fn due_at(&self) -> Option<Duration> {
        match self.step {
            Step::Due(at) if !self.halted => Some(at),
            Step::Due(_) | Step::Out => None,
        }
    }

    /// The next step, where it is due.
    pub(super) fn next_step(&mut self, lane: LaneId, now: Now) -> Option<Purge> {
        if self.due_at().is_none_or(|at| at > now.monotonic) {
            return None;
        }
        let Job { number, entity, templates, version, .. } = self.jobs.front()?;
        self.step = Step::Out;
        Some(Purge {
            lane,
            number: *number,
            entity: *entity,
            templates: Arc::clone(templates),
            version: version.clone(),
            sealed_at_ms: now.unix_ms,
        })
    }

    /// The sink's answer to a step.
    pub(super) fn answered(&mut self, purge: &Purge, result: &Result<Purged, WorldError>, now: Now) -> Told {
        let is_out = self.is_out();
        let Some(job) = self.jobs.front_mut().filter(|job| is_out && job.number == purge.number) else {
            return Told::Stale;
        };
        let wait = match result {
            Ok(Purged { deleted, done }) => {
                self.attempts = 0;
                job.deleted = job.deleted.saturating_add(*deleted);
                if *done {
                    let deleted = job.deleted;
                    self.jobs.pop_front();
                    self.step = Step::Due(now.monotonic);
                    return Told::Done(deleted, self.jobs.is_empty());
                }
                PURGE_PAUSE
            }
            Err(error) => match verdict(error) {
                Verdict::GiveUp => return Told::GiveUp,
                verdict => {
                    self.attempts = self.attempts.saturating_add(1);
                    pause(verdict, self.attempts, purge.lane.0).max(PURGE_PAUSE)
                }
            },
        };
        self.step = Step::Due(now.monotonic + wait);
        Told::GoesOn
    }
}
