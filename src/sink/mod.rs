//! The border to the cache: a trait, and what implements it.
//!
//! [`redis`] is the real one; [`memory`] is its model for tests and the simulation. The same contract cases run
//! over all of them (`tests/it/sink_contract.rs`). A sink neither composes mutations nor decides to send again:
//! it says what became of each unit. Start at [`Sink`].

pub mod memory;
pub mod own;
pub mod redis;
mod rewrite;
pub mod slots;

pub use rewrite::Rewrite;

use crate::batch::{
    Action, Batch, Claim, LaneId, LaneName, Outcomes, PatchStep, Purge, Purged, Step, Taken, Unit,
};
use crate::error::WorldError;
use crate::mutation::Value;
use crate::refill::{LaneReport, RefillAsked};

/// Applies batches to the cache. One instance per worker, on the worker's own connections.
///
/// - At most one call per lane at a time; calls of different lanes run concurrently on one thread.
/// - Cancelling a call (dropping its future) is like losing its answer: what was sent may still land, so
///   the connection must be fenced before anything newer of that lane is sent.
pub trait Sink {
    /// Takes over a lane: raises its epoch above the record's and above `Claim::above`, kills the
    /// connections of the former owner, enters its own, and compares the watermarks with
    /// `Claim::committed`. Then the watermarks are set to where reading starts (`Claim::start`, or what the
    /// standing says), under the new epoch, with the history that each master owes.
    ///
    /// Errors: of the world; the lane asks again after a pause. Nothing was written to a cache key.
    fn take_over(&self, claim: &Claim) -> impl Future<Output = Result<Taken, WorldError>>;

    /// Applies one batch.
    ///
    /// - One outcome per unit; what is `NotAcknowledged` is the lane's to send again, in order, before
    ///   anything newer of the lane (invariant 3).
    /// - On a connection that replaces one with unanswered commands, the old one is fenced and the new one
    ///   entered in the owner record before anything is sent.
    /// - Each master that the units touch (all of them with `Batch::everywhere`) gets the lane's watermark
    ///   at the end of its part. A master whose watermark already stands at or past `Batch::end` (during a
    ///   rewind that another master's loss caused) is left alone, its units count as applied.
    /// - Units of history (without offsets), but guarded ones, go to masters that owe it alone: all of them, where
    ///   [`Batch::asks`].
    /// - Bounded by `redis.timeout` for each answer.
    fn apply(&self, batch: &Batch) -> impl Future<Output = Outcomes>;

    /// Deletes some of the keys of a truncated table: the next step of the purge that the lane was last given, or the
    /// first one of another.
    ///
    /// - Keys that were there when the first step began are looked at, on all masters; those that come meanwhile
    ///   may be. Stoker's own keys are none of them.
    /// - What a step has deleted before it fails stays deleted; repeating one does no harm.
    /// - Under the same fence as a batch, and never while one of the lane is in flight.
    ///
    /// Errors: of the world; the lane asks again after a pause.
    fn purge(&self, purge: &Purge) -> impl Future<Output = Result<Purged, WorldError>>;

    /// The refill that somebody asks for, and what the group's lanes told of it; `None` where nobody does.
    ///
    /// Errors: of the world; what was heard before stands.
    fn refill_asked(&self) -> impl Future<Output = Result<Option<RefillAsked>, WorldError>>;

    /// Tells how far lanes are with the refill of that name, which stood a moment ago. Of any other one it says nothing.
    fn tell_refill(
        &self,
        id: &str,
        reports: &[(LaneName, LaneReport)],
        now_ms: i64,
    ) -> impl Future<Output = Result<(), WorldError>>;

    /// Leaves a lane in good order: its connections are struck from the owner record, so that the next
    /// owner has nothing to kill. Best effort; called with no batch in flight.
    fn release(&self, lane: LaneId) -> impl Future<Output = ()>;

    /// Forgets a lane at once, without leaving: after a lost partition, or a drain past its deadline. What
    /// is in flight is fenced by whoever takes over; connections with unanswered commands are closed.
    fn abandon(&self, lane: LaneId);
}

/// The largest single value that a unit carries, in bytes: what a sink holds against its limit.
pub(crate) fn largest_value(unit: &Unit) -> usize {
    match &unit.action {
        Action::Write(value, _) | Action::WriteIfAbsent(value, _) => value.size_bytes(),
        Action::Delete => 0,
        Action::DeleteIf(values) => values.iter().map(Value::size_bytes).max().unwrap_or(0),
        Action::Patch(steps) => steps.iter().map(patch_step_bytes).max().unwrap_or(0),
        Action::Guarded(steps) => steps.iter().map(step_bytes).max().unwrap_or(0),
    }
}

fn step_bytes(step: &Step) -> usize {
    match step {
        Step::Write { value, .. } => value.size_bytes(),
        Step::Patch { patch, .. } => patch.size_bytes(),
        Step::Delete { .. } | Step::DeleteOwned { .. } => 0,
    }
}

fn patch_step_bytes(step: &PatchStep) -> usize {
    match step {
        PatchStep::Overlay(patch, _) => patch.size_bytes(),
        PatchStep::DeleteIf(value) => value.size_bytes(),
    }
}
