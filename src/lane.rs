//! One partition's ordered path: what is filling, what is in flight, and the position to commit.
//!
//! ```text
//!              claimed            watermark missing, behind
//!  Claiming ────────────▶ Running ─────────────────────────▶ Rewinding
//!     ▲  ▲                  │  ▲                                 │
//!     │  └─ refused for now │  └───────────── rewound ───────────┘
//!     │                     │ another owner writes
//!     └─────── later ──── GivenUp
//! ```
//!
//! A state machine without IO: methods are events, [`Act`]s are what the worker must have done. At most one
//! batch is in flight; what was not acknowledged is sent again before anything newer; a position is stored
//! only when everything below it is applied and the watermarks on all masters say so.
//!
//! Where a master has lost its data, the lane goes on from what it last applied, and *owes* what lies before: a
//! [`Refill`] writes it, newest first, in the room that live changes leave in the batches.

mod history;
mod purge;

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use self::history::Asked;
pub use self::purge::PURGE_PAUSE;
use self::purge::{Purging, Told};
use crate::batch::{
    Action, Batch, Claim, Epoch, LaneId, Outcome, Outcomes, Owed, Purge, Purged, RefillMode, Refusal,
    Standing, Taken, Unit, WatermarkSeen,
};
use crate::clock::Now;
use crate::coalesce::Filling;
use crate::dead_letter::{PendingLetter, Unsent};
use crate::entity::template::Template;
use crate::error::{ServerCode, WorldError};
use crate::mutation::{Effect, Guard, Mutation};
use crate::record::Position;
use crate::refill::{HistoryRequest, Refill, RefillCounts, RefillOptions};
use crate::retry::{Verdict, pause, verdict};
use crate::source::{Assignment, Stored};
use crate::version::Version;

/// How often the watermarks on all masters are brought up, and with them the position that may be committed.
/// One second: a restart repeats at most that much, and a cluster's other masters see one command a second.
pub const EVERYWHERE_INTERVAL: Duration = Duration::from_secs(1);
/// How often an idle lane looks whether its watermarks are there. A loss of an idle cache shows within that.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A lane in which nothing has moved for so long has its partition paused. Well over any slow answer, since
/// pausing throws prefetched records away and costs a second.
pub const STALLED_AFTER: Duration = Duration::from_secs(3);
/// Rewinds after losses are at least so far apart, so that a Redis that loses its data over and over is not
/// filled over and over. Doubled with each loss that comes within [`LOSSES_WITHIN`] of the one before, up to
/// [`REWIND_INTERVAL_MAX`].
pub const REWIND_INTERVAL: Duration = Duration::from_secs(10);
/// The longest pause between two rewinds.
pub const REWIND_INTERVAL_MAX: Duration = Duration::from_secs(600);
/// A loss so long after the one before it is one by itself.
pub const LOSSES_WITHIN: Duration = Duration::from_secs(3600);
/// After another owner took a lane that Kafka still assigns to this process, it is claimed again after so long:
/// longer than a group needs to notice that a member is gone (45 s session).
pub const RECLAIM_AFTER: Duration = Duration::from_secs(60);

/// Bounds and policy of a lane.
#[derive(Debug, Clone, Copy)]
pub struct LaneOptions {
    /// Records in a batch.
    pub batch_records: usize,
    /// Bytes in a batch; one record may go past it.
    pub batch_bytes: usize,
    /// What becomes of a unit that Redis refuses for good.
    pub on_refused: OnRefused,
    /// Bounds of a refill.
    pub refill: RefillOptions,
}

/// What becomes of a record that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRefused {
    /// A dead letter.
    DeadLetter,
    /// Counted and passed over.
    Skip,
    /// The process stops, its position before the record.
    Stop,
}

/// What a lane wants done.
#[derive(Debug)]
pub enum Act {
    /// Take the lane over; answered by [`Lane::claimed`].
    Claim(Claim),
    /// Apply a batch; answered by [`Lane::applied`].
    Apply(Batch),
    /// Delete some of the keys of a truncated table; answered by [`Lane::purged`].
    Purge(Purge),
    /// Set records aside; answered by [`Lane::letters_sent`].
    SendLetters {
        /// Which flight they belong to.
        flight: u64,
        /// The letters.
        letters: Vec<PendingLetter>,
    },
    /// This position may be committed.
    Store(Stored),
    /// Read again from there; answered by [`Lane::rewound`].
    Rewind(Position, Loss),
    /// Read a window of history; answered by [`Lane::history_read`].
    ReadHistory(HistoryRequest),
    /// A refill began, or ended.
    Refill(RefillNews),
    /// Forget the lane in the sink: another owner has it, or what it held is void.
    Abandon,
    /// A record was refused under the stop policy.
    StopRefused(i64, Refusal),
}

/// What a rewind makes good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// A master's data is gone: what was not acknowledged is read again, and what lies before refilled.
    Missing,
    /// A master holds less than it acknowledged.
    Behind,
    /// Another owner had the lane.
    Owner,
}

/// What is told of a refill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefillNews {
    /// It begins, or goes on after a restart or a rewind.
    Began(Owed),
    /// All of the history is covered.
    Done(RefillCounts),
    /// Redis has no room: what is not covered stays out, until its next change.
    NoRoom(RefillCounts),
    /// The topic has grown, and its records are not placed by Kafka's own hash: none is left out.
    PlacedOtherwise,
}

/// What is counted when a batch comes back.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Units that Redis refused for good: the last of their records' offsets, their entity, and why.
    pub refused: Vec<(i64, usize, Refusal)>,
    /// The error of the world, if one was met.
    pub error: Option<WorldError>,
    /// What the guard decided, by entity.
    pub guarded: SmallVec<[GuardTally; 1]>,
}

/// How many units of an entity the guard looked at, and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardTally {
    /// Index of the entity.
    pub entity: usize,
    /// Units that were applied or refused.
    pub seen: u64,
    /// Units that were refused.
    pub rejected: u64,
}

impl Tally {
    fn count_guarded(&mut self, unit: &Unit, result: &Outcome) {
        let rejected = u64::from(*result == Outcome::Rejected);
        if unit.offsets.is_empty() {
            // Of history: that something newer is there is what a refill expects.
            return;
        }
        if !matches!(unit.action, Action::Guarded(_)) || (rejected == 0 && *result != Outcome::Applied) {
            return;
        }
        match self.guarded.iter_mut().find(|tally| tally.entity == unit.entity) {
            Some(tally) => {
                tally.seen += 1;
                tally.rejected += rejected;
            }
            None => self.guarded.push(GuardTally { entity: unit.entity, seen: 1, rejected }),
        }
    }
}

/// Which part of its life a lane is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for its epoch.
    Claiming,
    /// Asks again for its epoch then.
    ClaimLater(Duration),
    /// Takes records.
    Running,
    /// Waiting for the source to read again.
    Rewinding,
    /// Asks the source to read again then (a loss too soon after the last one).
    RewindLater(Duration, Position, Loss),
    /// Another owner has it; claims it again then, if it is still assigned.
    GivenUp(Duration),
}

/// What a lane is doing, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Takes the partition over from its former owner.
    TakingOver,
    /// Nothing is in flight; the next record goes out at once.
    Filling,
    /// A batch is in flight.
    InFlight,
    /// Waits before it sends again what was not acknowledged, by Redis or by the dead letter topic.
    Backoff,
    /// Waits for the source to read again.
    Rewinding,
    /// Another owner has it.
    GivenUp,
    /// Its next record names a registry schema that is not known yet.
    AwaitingSchema,
    /// Deletes the keys of a table that was truncated.
    Purging,
}

/// One partition's lane.
#[derive(Debug)]
pub struct Lane {
    claim: Claim,
    options: LaneOptions,
    phase: Phase,
    epoch: Epoch,
    filling: Filling,
    letters: Vec<PendingLetter>,
    letter_bytes: usize,
    filling_records: usize,
    filling_oldest_ms: Option<i64>,
    filling_commits: SmallVec<[(usize, i64); 2]>,
    /// After the last record that was taken.
    position: Position,
    /// Below it all is applied, since the last rewind.
    applied: Position,
    /// Highest position that was given for committing, or was committed when the lane was taken over.
    stored: Position,
    flight: Option<Flight>,
    flight_count: u64,
    /// A truncate: nothing behind it is taken before its keys are gone.
    purging: Option<Purging>,
    purge_count: u64,
    everywhere_at: Option<Duration>,
    rewound_at: Option<Duration>,
    /// The pause between that rewind and the next one.
    rewind_pause: Duration,
    moved_at: Duration,
    attempts: u32,
    must_rewind: bool,
    /// True once a command was refused under the stop policy.
    stopped: bool,
    /// History that some master lacks.
    owed: Option<Owed>,
    /// The same as it was stored last, or as the group's commit says.
    owed_stored: Option<Owed>,
    refill: Option<Refill>,
    /// Windows of history that were asked for, by all its refills.
    window_count: u64,
    asked: Option<Asked>,
    /// No value that it writes lives longer after its commit than this; `None` where nothing bounds that.
    longest_life: Option<Duration>,
    /// Keys of history that may be sent now, and those that were since the last time this was asked.
    history_allowed: usize,
    history_sent: usize,
    /// A refill begins once the lane is here again: it must have seen what it had seen before it went back.
    caught_up_at: Position,
}

/// A sealed batch and its letters, until both are done.
#[derive(Debug)]
struct Flight {
    number: u64,
    batch: Sealed,
    end: Position,
    owed: Option<Owed>,
    everywhere: bool,
    oldest_ms: Option<i64>,
    letters: Vec<PendingLetter>,
    letters_at: Duration,
    letters_out: usize,
    /// True once the dead letter topic did not take one of them.
    letters_refused: bool,
}

/// Where the batch of a flight is.
#[derive(Debug)]
enum Sealed {
    /// With the sink.
    Out,
    /// Goes out again then.
    Waiting(Batch, Duration),
    /// Applied, and its watermarks stand.
    Done,
}

impl Lane {
    /// The same, where no value that it writes lives longer after its commit than this.
    pub fn with_longest_life(mut self, longest_life: Option<Duration>) -> Lane {
        self.longest_life = longest_life;
        self
    }

    /// A lane for a new assignment. It claims its partition at once.
    pub fn new(assignment: Assignment, options: LaneOptions, now: Now, out: &mut Vec<Act>) -> Lane {
        let Assignment { lane, name, committed, start, low, above, owed } = assignment;
        let claim = Claim { lane, name, above, committed, start, low, owed };
        out.push(Act::Claim(claim.clone()));
        Lane {
            options,
            phase: Phase::Claiming,
            epoch: Epoch::default(),
            filling: Filling::default(),
            letters: Vec::new(),
            letter_bytes: 0,
            filling_records: 0,
            filling_oldest_ms: None,
            filling_commits: SmallVec::new(),
            position: start,
            applied: start,
            // A commit past the start is of a topic that was made anew: it must not hold later ones back.
            stored: committed.filter(|committed| *committed <= start).unwrap_or(Position::MIN),
            flight: None,
            flight_count: 0,
            purging: None,
            purge_count: 0,
            everywhere_at: None,
            rewound_at: None,
            rewind_pause: REWIND_INTERVAL,
            moved_at: now.monotonic,
            attempts: 0,
            must_rewind: false,
            stopped: false,
            owed: None,
            owed_stored: claim.owed.map(|owed| Owed { step: 0, ..owed }),
            refill: None,
            window_count: 0,
            asked: None,
            longest_life: None,
            history_allowed: usize::MAX,
            history_sent: 0,
            caught_up_at: start,
            claim,
        }
    }

    /// The lane's number.
    pub fn id(&self) -> LaneId {
        self.claim.lane
    }

    /// Topic and partition.
    pub fn name(&self) -> &crate::batch::LaneName {
        &self.claim.name
    }

    /// Which part of its life it is in.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What it is doing, for the status page.
    pub fn activity(&self) -> Activity {
        match (&self.phase, &self.flight) {
            (Phase::Claiming | Phase::ClaimLater(_), _) => Activity::TakingOver,
            (Phase::Rewinding | Phase::RewindLater(..), _) => Activity::Rewinding,
            (Phase::GivenUp(_), _) => Activity::GivenUp,
            (Phase::Running, Some(Flight { batch: Sealed::Waiting(..), .. })) => Activity::Backoff,
            (Phase::Running, Some(Flight { letters_refused: true, .. })) => Activity::Backoff,
            (Phase::Running, Some(_)) => Activity::InFlight,
            (Phase::Running, None) if self.purging.is_some() => Activity::Purging,
            (Phase::Running, None) => Activity::Filling,
        }
    }

    /// Below it everything is applied.
    pub fn applied_position(&self) -> Position {
        self.applied
    }

    /// Kafka's timestamp of the oldest record that is taken and not applied, Unix milliseconds.
    pub fn oldest_ms(&self) -> Option<i64> {
        let in_flight = self.flight.as_ref().and_then(|flight| flight.oldest_ms);
        let purging = self.purging.as_ref().and_then(|purging| purging.timestamp_ms);
        in_flight.or(self.filling_oldest_ms).or(purging)
    }

    /// So many bytes are in a batch at most from now on; one record may go past it.
    pub fn bound_batch(&mut self, bytes: usize) {
        self.options.batch_bytes = bytes;
    }

    /// True where the next record can be taken.
    pub fn wants_records(&self) -> bool {
        self.phase == Phase::Running
            && self.purging.is_none()
            && self.filling_records < self.options.batch_records
            && self.filling.bytes() + self.letter_bytes < self.options.batch_bytes
    }

    /// When the lane counts as stalled if nothing moves until then; `None` where nothing is waited for.
    pub fn stalls_at(&self) -> Option<Duration> {
        let waits = self.flight.is_some() || self.purging.is_some() || self.phase != Phase::Running;
        waits.then(|| self.moved_at + STALLED_AFTER)
    }

    /// True where everything that was taken is applied and stored.
    pub fn is_drained(&self) -> bool {
        match self.phase {
            // What is left of a truncate is its next owner's, which reads it again.
            Phase::Running if self.purging.is_some() => {
                let is_out = self.purging.as_ref().is_some_and(Purging::is_out);
                let holds = !self.filling.is_empty() || !self.letters.is_empty();
                self.flight.is_none() && !holds && !is_out && self.applied <= self.stored
            }
            Phase::Running => {
                self.flight.is_none() && self.filling_records == 0 && self.applied <= self.stored
            }
            // A claim that is out may still enter this process in the record, after it was struck from it.
            Phase::Claiming => false,
            // Nothing is applied before the claim, nothing may be after giving up, and a rewind starts over.
            Phase::ClaimLater(_) | Phase::Rewinding | Phase::RewindLater(..) | Phase::GivenUp(_) => {
                self.flight.is_none()
            }
        }
    }

    /// True where a command was refused under the stop policy: what is in flight stays as it is, its position
    /// before the record, and no drain can finish it.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Adds one mutation of the record at `offset`; true where it was composed into another.
    pub fn fill(&mut self, mut mutation: Mutation, offset: i64, entity: usize) -> bool {
        let has_rows = mutation.guard.as_deref().is_some_and(Guard::has_rows);
        let known = self.refill.as_mut().is_some_and(|refill| !has_rows && refill.saw_key(&mutation.key));
        // What the key holds may be older than the history that is owed: a part of a value laid over it would hide
        // that for good.
        let is_old = !known && self.owed.is_some_and(|owed| owed.mode.overwrites());
        if is_old && matches!(mutation.effect, Effect::Patch(..)) {
            mutation.effect = Effect::Delete;
        }
        self.filling.add(mutation, offset, entity)
    }

    /// The record at `offset` truncated the table of an entity, whose keys are to be deleted: nothing behind it is
    /// taken before that is done.
    pub fn purge(
        &mut self,
        entity: usize,
        templates: Arc<[Template]>,
        version: Version,
        record: (i64, Option<i64>),
        now: Now,
    ) {
        self.purge_count += 1;
        if let Some(refill) = &mut self.refill {
            refill.saw_truncate(entity);
        }
        let (offset, timestamp_ms) = record;
        self.purging.get_or_insert_with(|| Purging::new(offset, timestamp_ms, now)).add(
            self.purge_count,
            entity,
            templates,
            version,
        );
    }

    /// It is about to be handed over: no step of a purge follows the one that is out.
    pub fn halt_purge(&mut self) {
        if let Some(purging) = &mut self.purging {
            purging.halt();
        }
    }

    /// Notes when the source committed a change of that entity: the oldest one counts.
    pub fn committed(&mut self, entity: usize, commit_ms: i64) {
        match self.filling_commits.iter_mut().find(|(known, _)| *known == entity) {
            Some((_, oldest)) => *oldest = commit_ms.min(*oldest),
            None => self.filling_commits.push((entity, commit_ms)),
        }
    }

    /// Adds a letter of a record: the position does not pass it before the letter is acknowledged.
    pub fn set_aside(&mut self, letter: PendingLetter, bytes: usize) {
        self.letter_bytes += bytes;
        self.letters.push(letter);
    }

    /// The record at `offset` is handled, whatever came of it. False where it is stale and must not be handled.
    pub fn is_next(&self, offset: i64) -> bool {
        offset >= self.position
    }

    /// Moves past the record at `offset`.
    pub fn record_done(&mut self, offset: i64, timestamp_ms: Option<i64>) {
        self.position = offset.saturating_add(1);
        self.filling_records += 1;
        self.filling_oldest_ms = self.filling_oldest_ms.or(timestamp_ms);
    }

    /// Sends what is filling where nothing is in flight. Where there are no units, it waits for the next time
    /// that all watermarks are due, so that records that yield nothing cost no command each.
    pub fn flush(&mut self, now: Now, drain: bool, out: &mut Vec<Act>) {
        if self.phase != Phase::Running || self.flight.is_some() {
            return;
        }
        if self.purging.as_ref().is_some_and(Purging::is_out) {
            return;
        }
        let end = self.end();
        let since = self.everywhere_at.map(|at| now.monotonic.saturating_sub(at));
        let due = since.is_none_or(|since| since >= EVERYWHERE_INTERVAL);
        let look = since.is_none_or(|since| since >= LOOK_INTERVAL);
        if !drain {
            self.go_on_refilling(now, out);
        }
        let unstored = end > self.stored || self.to_store() != self.owed_stored;
        // A truncate's turn comes when nothing else is to be sent.
        if let Some(refill) = self.refill.as_mut().filter(|_| !drain && self.purging.is_none()) {
            let live = self.filling.len();
            let units_max = self.options.batch_records.min(live.saturating_add(self.history_allowed));
            if refill.fill(&mut self.filling, units_max, self.options.batch_bytes)
                && let Some(owed) = &mut self.owed
            {
                owed.step = owed.step.saturating_add(1);
                let sent = self.filling.len() - live;
                self.history_sent += sent;
                self.history_allowed = self.history_allowed.saturating_sub(sent);
            }
        }
        let has_work = !self.filling.is_empty() || !self.letters.is_empty();
        if !(has_work || (unstored && (due || drain)) || look) {
            let lane = self.id();
            out.extend(
                self.purging.as_mut().and_then(|purging| purging.next_step(lane, now)).map(Act::Purge),
            );
            return;
        }
        let everywhere = due || drain || !has_work;
        if everywhere {
            self.everywhere_at = Some(now.monotonic);
        }
        let batch = Batch {
            lane: self.id(),
            attempt: 1,
            units: self.filling.take(),
            start: self.applied,
            end,
            everywhere,
            commits: std::mem::take(&mut self.filling_commits),
            sealed_at_ms: now.unix_ms,
            owed: self.owed,
            asks: self.asks(),
        };
        self.flight_count += 1;
        self.flight = Some(Flight {
            number: self.flight_count,
            batch: Sealed::Out,
            end: batch.end,
            owed: self.to_store(),
            everywhere,
            oldest_ms: self.filling_oldest_ms.take(),
            letters: std::mem::take(&mut self.letters),
            letters_at: now.monotonic,
            letters_out: 0,
            letters_refused: false,
        });
        self.letter_bytes = 0;
        self.filling_records = 0;
        self.attempts = 0;
        self.moved_at = now.monotonic;
        out.push(Act::Apply(batch));
        self.resend(now, out);
    }

    /// Its masters have reason to be looked at before that is due: another lane found data lost.
    pub fn look_soon(&mut self) {
        if self.phase == Phase::Running {
            self.everywhere_at = None;
        }
    }

    /// The position once what is filling is applied: before a truncate whose keys are not gone.
    fn end(&self) -> Position {
        self.purging.as_ref().map_or(self.position, |purging| purging.offset)
    }

    /// The sink's answer to a step of a purge. How many keys it deleted in all, where that was the last step.
    pub fn purged(
        &mut self,
        purge: &Purge,
        result: &Result<Purged, WorldError>,
        now: Now,
        out: &mut Vec<Act>,
    ) -> Option<u64> {
        let told = self.purging.as_mut().map_or(Told::Stale, |purging| purging.answered(purge, result, now));
        match told {
            Told::Stale => None,
            Told::GiveUp => {
                self.give_up(now, out);
                None
            }
            Told::GoesOn => {
                self.flush(now, false, out);
                None
            }
            Told::Done(deleted, all) => {
                if all {
                    self.purging = None;
                    self.moved_at = now.monotonic;
                }
                self.flush(now, false, out);
                Some(deleted)
            }
        }
    }

    /// The sink's answer to a claim.
    pub fn claimed(&mut self, result: Result<Taken, WorldError>, now: Now, out: &mut Vec<Act>) {
        if self.phase != Phase::Claiming {
            return;
        }
        match result {
            Ok(Taken { epoch, standing, owed }) => {
                self.epoch = epoch;
                self.attempts = 0;
                self.moved_at = now.monotonic;
                self.phase = Phase::Running;
                self.owed = owed;
                self.ask_again();
                let to = match standing {
                    Standing::Intact if self.must_rewind => Some((self.claim.start, Loss::Owner)),
                    Standing::Intact => None,
                    Standing::Behind(position) => Some((position, Loss::Behind)),
                };
                match to {
                    Some((position, loss)) if position < self.position || self.must_rewind => {
                        self.must_rewind = false;
                        self.rewind(position, loss, now, out);
                    }
                    Some(_) | None => self.flush(now, false, out),
                }
            }
            Err(error) => match verdict(&error) {
                Verdict::GiveUp => self.give_up(now, out),
                verdict => {
                    self.attempts = self.attempts.saturating_add(1);
                    let wait = pause(verdict, self.attempts, self.claim.lane.0);
                    self.phase = Phase::ClaimLater(now.monotonic + wait);
                }
            },
        }
    }

    /// The sink's answer to a batch. Leaves a summary for the counters in `tally`.
    pub fn applied(
        &mut self,
        mut batch: Batch,
        outcomes: Outcomes,
        now: Now,
        tally: &mut Tally,
        out: &mut Vec<Act>,
    ) {
        let Some(flight) = &mut self.flight else { return };
        assert!(matches!(flight.batch, Sealed::Out), "a lane has at most one batch in flight");
        let Outcomes { units: results, watermark, error } = outcomes;
        assert_eq!(results.len(), batch.units.len(), "the sink answers for every unit");

        let before = batch.units.len();
        let units = std::mem::take(&mut batch.units);
        batch.units = left_over(units, results, self.options.on_refused, &mut flight.letters, tally, out);
        self.stopped |= self.options.on_refused == OnRefused::Stop && !tally.refused.is_empty();
        let moved = batch.units.len() < before;
        if error == Some(WorldError::NotNow { code: ServerCode::OutOfMemory }) {
            self.stop_refilling(&mut batch, out);
        }
        tally.error.clone_from(&error);

        match watermark {
            WatermarkSeen::NotOwner => return self.give_up(now, out),
            WatermarkSeen::Missing => {
                // What was applied is gone there; what was not acknowledged is read again.
                let lost = Owed::all(self.applied, RefillMode::Restore);
                self.owed = Owed::together(self.owed, Some(lost));
                self.owes_more_than_asked();
                return self.rewind_later(self.applied, Loss::Missing, now, out);
            }
            WatermarkSeen::Behind(position, owed) => {
                self.owed = Owed::together(self.owed, owed);
                if owed.is_some() {
                    self.owes_more_than_asked();
                }
                return self.rewind_later(position, Loss::Behind, now, out);
            }
            WatermarkSeen::Current | WatermarkSeen::Unknown => {}
        }
        let verdict = verdict(&error.unwrap_or(WorldError::Timeout));
        let whole = batch.units.is_empty() && watermark == WatermarkSeen::Current;
        if verdict == Verdict::GiveUp {
            return self.give_up(now, out);
        }
        if moved {
            self.attempts = 0;
            self.moved_at = now.monotonic;
        }
        let Some(flight) = &mut self.flight else { return };
        if whole {
            flight.batch = Sealed::Done;
        } else {
            self.attempts = self.attempts.saturating_add(1);
            batch.attempt = batch.attempt.saturating_add(1);
            let wait = pause(verdict, self.attempts, self.claim.lane.0);
            flight.batch = Sealed::Waiting(batch, now.monotonic + wait);
        }
        self.resend(now, out);
        self.land(now, out);
    }

    /// The producer's answer: so many letters of that flight were out, and these were not acknowledged, for
    /// that reason.
    pub fn letters_sent(&mut self, flight: u64, sent: usize, unsent: Unsent, now: Now, out: &mut Vec<Act>) {
        let Some(flight) = self.flight.as_mut().filter(|open| open.number == flight) else { return };
        flight.letters_out = flight.letters_out.saturating_sub(sent);
        match unsent {
            None => self.moved_at = now.monotonic,
            Some((letters, error)) => {
                self.attempts = self.attempts.saturating_add(1);
                flight.letters_refused = true;
                flight.letters.extend(letters);
                let wait = pause(verdict(&error), self.attempts, self.claim.lane.0);
                flight.letters_at = now.monotonic + wait;
            }
        }
        self.resend(now, out);
        self.land(now, out);
    }

    /// The source reads again from `position`, as it was asked to.
    ///
    /// # Panics
    /// Where nobody asked: all records of the new reading would be taken for ones that were applied.
    pub fn rewound(&mut self, position: Position, now: Now, out: &mut Vec<Act>) {
        assert_eq!(self.phase, Phase::Rewinding, "a lane is read again only where it asked for it");
        self.phase = Phase::Running;
        self.position = position;
        self.applied = position;
        self.moved_at = now.monotonic;
        self.flush(now, false, out);
    }

    /// Time has passed: resends, claims and looks that are due.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Act>) {
        match self.phase {
            Phase::ClaimLater(at) | Phase::GivenUp(at) if at <= now.monotonic => {
                self.phase = Phase::Claiming;
                out.push(Act::Claim(self.claim.clone()));
            }
            Phase::RewindLater(at, to, loss) if at <= now.monotonic => self.rewind(to, loss, now, out),
            Phase::Running => {
                self.resend(now, out);
                self.flush(now, false, out);
            }
            Phase::Claiming
            | Phase::ClaimLater(_)
            | Phase::GivenUp(_)
            | Phase::Rewinding
            | Phase::RewindLater(..) => {}
        }
    }

    /// When [`Lane::tick`] has something to do, on the monotonic clock; `None` where only an answer can move it.
    pub fn next_wake(&self) -> Option<Duration> {
        match self.phase {
            Phase::ClaimLater(at) | Phase::GivenUp(at) | Phase::RewindLater(at, ..) => Some(at),
            Phase::Claiming | Phase::Rewinding => None,
            Phase::Running => match &self.flight {
                Some(flight) => {
                    let batch = match &flight.batch {
                        Sealed::Waiting(_, at) => Some(*at),
                        Sealed::Out | Sealed::Done => None,
                    };
                    let letters = (!flight.letters.is_empty()).then_some(flight.letters_at);
                    [batch, letters].into_iter().flatten().min()
                }
                None => {
                    if self.purging.as_ref().is_some_and(Purging::is_out) {
                        return None;
                    }
                    let unstored = self.end() > self.stored || self.to_store() != self.owed_stored;
                    let wait = if unstored { EVERYWHERE_INTERVAL } else { LOOK_INTERVAL };
                    let watermarks = self.everywhere_at.map_or(Duration::ZERO, |at| at + wait);
                    let purge = self.purging.as_ref().and_then(Purging::due_at);
                    Some(purge.map_or(watermarks, |at| at.min(watermarks)))
                }
            },
        }
    }

    /// Sends what is waiting and due: the batch's units that were not acknowledged, and its letters.
    fn resend(&mut self, now: Now, out: &mut Vec<Act>) {
        let Some(flight) = self.flight.as_mut().filter(|_| !self.stopped) else { return };
        if let Sealed::Waiting(_, at) = flight.batch
            && at <= now.monotonic
            && let Sealed::Waiting(batch, _) = std::mem::replace(&mut flight.batch, Sealed::Out)
        {
            out.push(Act::Apply(batch));
        }
        if !flight.letters.is_empty() && flight.letters_at <= now.monotonic {
            let letters = std::mem::take(&mut flight.letters);
            flight.letters_out += letters.len();
            out.push(Act::SendLetters { flight: flight.number, letters });
        }
    }

    /// Closes the flight where both parts are done, and sends the next.
    fn land(&mut self, now: Now, out: &mut Vec<Act>) {
        let Some(Flight { batch: Sealed::Done, end, owed, everywhere, letters, letters_out: 0, .. }) =
            &self.flight
        else {
            return;
        };
        if !letters.is_empty() {
            return;
        }
        let (end, owed, everywhere) = (*end, *owed, *everywhere);
        self.flight = None;
        self.applied = end;
        self.moved_at = now.monotonic;
        if everywhere && (end > self.stored || (end == self.stored && owed != self.owed_stored)) {
            self.stored = end;
            self.owed_stored = owed;
            self.owed_is_stored();
            out.push(Act::Store(Stored { position: end, epoch: self.epoch, owed }));
        }
        self.flush(now, false, out);
    }

    /// Another owner has the lane: nothing of it is sent or committed any more.
    fn give_up(&mut self, now: Now, out: &mut Vec<Act>) {
        self.forget();
        // The other owner may have begun as far back as the stored position: what was applied since is not
        // there any more wherever it wrote.
        let stored = (self.stored != Position::MIN).then_some(self.stored);
        self.claim.start = self.applied.min(stored.unwrap_or(self.claim.start));
        self.claim.committed = stored;
        self.claim.above = self.claim.above.max(self.epoch);
        self.must_rewind = true;
        self.phase = Phase::GivenUp(now.monotonic + RECLAIM_AFTER);
        out.push(Act::Abandon);
    }

    fn rewind_later(&mut self, to: Position, loss: Loss, now: Now, out: &mut Vec<Act>) {
        match self.rewound_at {
            Some(at) if now.monotonic < at + self.rewind_pause => {
                self.forget();
                self.phase = Phase::RewindLater(at + self.rewind_pause, to, loss);
            }
            Some(_) | None => self.rewind(to, loss, now, out),
        }
    }

    fn rewind(&mut self, to: Position, loss: Loss, now: Now, out: &mut Vec<Act>) {
        let again = self.rewound_at.is_some_and(|at| now.monotonic < at + LOSSES_WITHIN);
        self.rewind_pause = match again {
            true => self.rewind_pause.saturating_mul(2).min(REWIND_INTERVAL_MAX),
            false => REWIND_INTERVAL,
        };
        self.forget();
        self.rewound_at = Some(now.monotonic);
        self.phase = Phase::Rewinding;
        // What it reads again in order is owed no more.
        if let Some(owed) = &mut self.owed {
            owed.below = owed.below.min(to);
        }
        out.push(Act::Rewind(to, loss));
    }

    /// Drops what is filling and in flight: it is read again, or another owner's. A refill begins anew once the
    /// lane is where it was.
    fn forget(&mut self) {
        self.caught_up_at = self.caught_up_at.max(self.position);
        self.refill = None;
        self.filling.take();
        self.letters.clear();
        self.letter_bytes = 0;
        self.filling_records = 0;
        self.filling_oldest_ms = None;
        self.filling_commits.clear();
        self.flight = None;
        self.purging = None;
        self.everywhere_at = None;
        self.attempts = 0;
    }
}

/// The units that are to be sent again, in one piece with what became of the others.
///
/// A refused unit becomes letters of its records, and comes back as a plain delete, so that no stale value
/// stays behind; under the stop policy it stays as it is, before the position.
fn left_over(
    units: Vec<Unit>,
    results: Vec<Outcome>,
    on_refused: OnRefused,
    letters: &mut Vec<PendingLetter>,
    tally: &mut Tally,
    out: &mut Vec<Act>,
) -> Vec<Unit> {
    let mut left = Vec::new();
    for (unit, result) in units.into_iter().zip(results) {
        tally.count_guarded(&unit, &result);
        let refusal = match result {
            Outcome::Applied | Outcome::Rejected => continue,
            Outcome::NotAcknowledged => {
                left.push(unit);
                continue;
            }
            Outcome::Refused(refusal) => refusal,
        };
        // Of history: its errors were told when it was live.
        let Some(offset) = unit.offsets.last().copied() else { continue };
        tally.refused.push((offset, unit.entity, refusal));
        match on_refused {
            OnRefused::Skip => {}
            OnRefused::DeadLetter => {
                letters.extend(unit.offsets.iter().map(|&offset| PendingLetter::ByOffset {
                    offset,
                    entity: unit.entity,
                    refusal,
                }))
            }
            OnRefused::Stop => {
                out.push(Act::StopRefused(offset, refusal));
                left.push(unit);
                continue;
            }
        }
        if unit.action != Action::Delete {
            left.push(Unit { action: Action::Delete, ..unit });
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::LaneName;
    use crate::mutation::{CacheKey, Effect};

    fn now() -> Now {
        Now { monotonic: Duration::from_secs(100), unix_ms: 0 }
    }

    fn lane(committed: Option<Position>, start: Position) -> (Lane, Vec<Act>) {
        let name = LaneName { topic: "t".into(), partition: 0 };
        let assignment =
            Assignment { lane: LaneId(1), name, committed, start, low: 0, above: Epoch(0), owed: None };
        let refill = RefillOptions { window_records: 10, window_bytes: 1_000, seen_max: 100, seed: 1 };
        let options =
            LaneOptions { batch_records: 10, batch_bytes: 1_000, on_refused: OnRefused::Stop, refill };
        let mut acts = Vec::new();
        let mut lane = Lane::new(assignment, options, now(), &mut acts);
        acts.clear();
        let taken = Taken { epoch: Epoch(1), standing: Standing::Intact, owed: None };
        lane.claimed(Ok(taken), now(), &mut acts);
        (lane, acts)
    }

    fn answer(lane: &mut Lane, acts: Vec<Act>) -> Vec<Act> {
        let mut out = Vec::new();
        for act in acts {
            if let Act::Apply(batch) = act {
                let units = vec![Outcome::Applied; batch.units.len()];
                let outcomes = Outcomes { units, watermark: WatermarkSeen::Current, error: None };
                lane.applied(batch, outcomes, now(), &mut Tally::default(), &mut out);
            }
        }
        out
    }

    /// Found by review: commits stood still until the new topic was as long as the old one had been.
    #[test]
    fn a_topic_that_was_made_anew_commits_from_its_start() {
        let (mut lane, acts) = lane(Some(500), 0);
        let acts = answer(&mut lane, acts);
        assert!(
            matches!(acts.as_slice(), [Act::Store(Stored { position: 0, .. })]),
            "the start is stored at once: {acts:?}"
        );
    }

    /// Found by the simulation: what a zombie wrote after the last stored position was never written over.
    #[test]
    fn a_lane_that_another_owner_took_is_read_again_from_the_stored_position() {
        let (mut lane, acts) = lane(Some(7), 7);
        answer(&mut lane, acts);
        lane.record_done(7, None);
        let mut acts = Vec::new();
        lane.flush(now(), true, &mut acts);
        answer(&mut lane, acts);
        assert_eq!((lane.applied, lane.stored), (8, 8));
        let mutation = Mutation { key: CacheKey::new(b"k"), effect: Effect::Delete, guard: None };
        lane.fill(mutation, 8, 0);
        lane.record_done(8, None);
        let mut acts = Vec::new();
        lane.flush(now(), false, &mut acts);
        answer(&mut lane, acts);
        assert_eq!((lane.applied, lane.stored), (9, 8));

        let mut acts = Vec::new();
        lane.give_up(now(), &mut acts);
        lane.tick(Now { monotonic: now().monotonic + RECLAIM_AFTER, ..now() }, &mut acts);
        let claim = acts.into_iter().find_map(|act| match act {
            Act::Claim(claim) => Some(claim),
            _ => None,
        });
        assert_eq!(claim.map(|claim| (claim.start, claim.committed)), Some((8, Some(8))));
    }

    fn truncated(lane: &mut Lane, offset: i64) {
        let templates = [Template::parse("c:{id}").unwrap()].into();
        lane.purge(0, templates, Version::NONE, (offset, Some(5)), now());
        lane.record_done(offset, Some(5));
    }

    fn step(acts: &[Act]) -> &Purge {
        let [Act::Purge(purge)] = acts else { panic!("{acts:?}") };
        purge
    }

    #[test]
    fn a_truncate_waits_for_what_came_before_and_holds_up_what_comes_after() {
        let (mut lane, acts) = lane(Some(7), 7);
        answer(&mut lane, acts);
        lane.fill(Mutation { key: CacheKey::new(b"k"), effect: Effect::Delete, guard: None }, 7, 0);
        lane.record_done(7, None);
        truncated(&mut lane, 8);
        assert!(!lane.wants_records() && !lane.is_drained());
        let mut acts = Vec::new();
        lane.flush(now(), false, &mut acts);
        assert!(matches!(acts.as_slice(), [Act::Apply(batch)] if batch.end == 8 && batch.units.len() == 1));
        let acts = answer(&mut lane, acts);
        let purge = step(&acts).clone();
        assert_eq!((lane.activity(), lane.oldest_ms()), (Activity::Purging, Some(5)));
        assert_eq!(lane.next_wake(), None, "only an answer can move it");

        let mut acts = Vec::new();
        let deleted = |deleted, done| Ok(Purged { deleted, done });
        assert_eq!(lane.purged(&purge, &deleted(2, false), now(), &mut acts), None);
        assert!(acts.is_empty(), "the next step has time: {acts:?}");
        let later = |wait| Now { monotonic: now().monotonic + wait, ..now() };
        assert_eq!(lane.next_wake(), Some(later(PURGE_PAUSE).monotonic));
        lane.tick(later(PURGE_PAUSE), &mut acts);
        step(&acts);
        acts.clear();
        lane.purged(&purge, &Err(WorldError::Timeout), later(PURGE_PAUSE), &mut acts);
        lane.tick(later(Duration::from_millis(100)), &mut acts);
        step(&acts);
        acts.clear();
        let done_at = later(Duration::from_millis(200));
        assert_eq!(lane.purged(&purge, &deleted(3, true), done_at, &mut acts), Some(5));
        assert!(lane.wants_records());
        assert_eq!(lane.purged(&purge, &deleted(3, true), done_at, &mut acts), None, "a late answer");
        lane.tick(later(EVERYWHERE_INTERVAL), &mut acts);
        let acts = answer(&mut lane, acts);
        assert!(matches!(acts.as_slice(), [Act::Store(Stored { position: 9, .. })]), "{acts:?}");
    }

    #[test]
    fn a_truncate_that_is_not_done_is_left_to_the_next_owner() {
        let (mut lane, acts) = lane(Some(7), 7);
        answer(&mut lane, acts);
        truncated(&mut lane, 7);
        let mut acts = Vec::new();
        lane.flush(now(), false, &mut acts);
        let purge = step(&acts).clone();
        lane.halt_purge();
        assert!(!lane.is_drained(), "a step is out");
        let mut acts = Vec::new();
        lane.purged(&purge, &Ok(Purged { deleted: 1, done: false }), now(), &mut acts);
        lane.flush(Now { monotonic: now().monotonic + PURGE_PAUSE, ..now() }, true, &mut acts);
        assert!(acts.is_empty() && lane.is_drained(), "{acts:?}");
        assert_eq!(lane.applied_position(), 7, "its record is read again");
    }

    #[test]
    fn a_record_that_yields_nothing_moves_the_position() {
        let (mut lane, acts) = lane(Some(7), 7);
        answer(&mut lane, acts);
        lane.record_done(7, None);
        let later = Now { monotonic: now().monotonic + EVERYWHERE_INTERVAL, ..now() };
        let mut acts = Vec::new();
        lane.tick(later, &mut acts);
        let acts = answer(&mut lane, acts);
        assert!(matches!(acts.as_slice(), [Act::Store(Stored { position: 8, .. })]), "{acts:?}");
    }
}
