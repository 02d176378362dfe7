//! What crosses the border between a lane and a sink: sealed batches, and what became of each unit.
//!
//! Plain data. A batch holds one [`Unit`] per cache key (or key and member), and a unit is one atomic command or
//! script, so that any part of a half-applied batch can be sent again without breaking the order of a key.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::entity::template::Template;
use crate::mutation::{CacheKey, Expiry, RowId, Value};
use crate::patch::Patch;
use crate::record::Position;
use crate::version::Version;

/// Identifies a lane within a process: one assignment of one partition. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub u64);

/// Names a lane for everybody: what the owner record and the watermarks are keyed by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneName {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
}

/// Orders the owners of a lane; who holds the highest owns it. Rises with each take-over, by one or to the
/// server's clock (see `sink::own::epoch_above`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Epoch(pub u64);

/// One partition's sealed batch.
#[derive(Debug)]
pub struct Batch {
    /// The lane that it belongs to.
    pub lane: LaneId,
    /// 1 for the first sending; a resend holds only units that were not acknowledged.
    pub attempt: u32,
    /// One per cache key (or key and member), in no particular order.
    pub units: Vec<Unit>,
    /// Position of the lane before this batch.
    pub start: Position,
    /// Position of the lane once this batch is applied: what its watermark says.
    pub end: Position,
    /// True where the watermarks on all masters are to be brought up to `end`, not only those that the
    /// units touch: before a position is committed, and when an idle lane looks whether its data is there.
    pub everywhere: bool,
    /// The oldest commit time of the source, Unix milliseconds, by entity: for the freshness of what is applied.
    pub commits: SmallVec<[(usize, i64); 2]>,
    /// Local clock when the batch was sealed, Unix milliseconds: what relative expiries count from.
    pub sealed_at_ms: i64,
    /// History that is still to be refilled, as the watermarks of those masters are to say that lack it.
    pub owed: Option<Owed>,
    /// True where all masters lack it: a refill was asked for.
    pub asks: bool,
}

/// History of a lane that a master does not hold (any more): all below a position.
///
/// It stands in the master's own watermark, so that it says what that master holds whatever becomes of it: a
/// snapshot from the middle of a refill that is loaded again brings its debt along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// From here up to the watermark everything is there; what lies below is to be refilled.
    pub below: Position,
    /// How it is written.
    pub mode: RefillMode,
    /// Counts batches with history in them, so that a watermark shows also what it has of a window.
    pub step: u64,
}

/// How history is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefillMode {
    /// Only keys that are absent are written, and nothing is deleted.
    IfAbsent,
    /// Redis lost its data: keys are written over and the history's deletes sent, as far as the lane has not seen
    /// something newer. Redis may hold more than nothing: a snapshot that was taken between a loss and the next
    /// watermark holds values that no watermark tells of, and they are old when it is loaded later.
    Restore,
    /// As [`RefillMode::Restore`], of history that this group never applied (a new group, a gap, another
    /// mapping): what fails in it is set aside or stops the lane as a live change would.
    Overwrite,
}

impl RefillMode {
    /// True where what Redis holds is written over.
    pub fn overwrites(self) -> bool {
        self != RefillMode::IfAbsent
    }

    /// The documented name.
    pub fn as_str(self) -> &'static str {
        match self {
            RefillMode::IfAbsent => "if_absent",
            RefillMode::Restore => "restore",
            RefillMode::Overwrite => "overwrite",
        }
    }
}

impl Owed {
    /// All below that position, of which nothing was written yet.
    pub fn all(below: Position, mode: RefillMode) -> Owed {
        Owed { below, mode, step: 0 }
    }

    /// What two debts come to: the larger one, in the mode that covers both.
    pub fn together(one: Option<Owed>, other: Option<Owed>) -> Option<Owed> {
        match (one, other) {
            (Some(one), Some(other)) => {
                let (below, mode) = (one.below.max(other.below), one.mode.max(other.mode));
                Some(Owed { below, mode, step: one.step.max(other.step) })
            }
            (one, other) => one.or(other),
        }
    }
}

/// What one key (or key and member) needs, composed of everything that the batch's records did to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The key, or the key and member.
    pub key: CacheKey,
    /// The one atomic thing to do.
    pub action: Action,
    /// Offsets of the records that it was composed of, rising. Empty for what a refill writes: history has been
    /// passed long ago, and its errors were told then.
    pub offsets: SmallVec<[i64; 1]>,
    /// Index of the entity of the last of them, for metrics and errors.
    pub entity: usize,
}

/// One atomic thing to do to one key, or to one member of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the whole value; add the member, or move it to another score.
    Write(Value, Expiry),
    /// Write the whole value where the key does not exist, add the member where it is none: a refill after a loss.
    /// A master that owes no history is left alone.
    WriteIfAbsent(Value, Expiry),
    /// Delete the key; remove the member. That a key of another type has no such member is no error.
    Delete,
    /// Delete the key while it holds one of these values. Never of a member.
    DeleteIf(SmallVec<[Value; 1]>),
    /// Steps on what the key holds, carried out in order by one script; one of them overlays it.
    Patch(Vec<PatchStep>),
    /// Steps through the version guard, carried out in order by one script.
    Guarded(Vec<Step>),
}

/// One step on what a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchStep {
    /// Overlay the value; see [`crate::mutation::Effect::Patch`].
    Overlay(Patch, Expiry),
    /// Delete the key while it holds this value.
    DeleteIf(Value),
}

/// One step through the version guard.
///
/// The guard remembers `(version, owner)` beside the key. *Remembered* below is that pair, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Applies where nothing is remembered or the remembered version is not newer (equal applies);
    /// then this version and owner are remembered.
    Write {
        /// Version carried.
        version: Version,
        /// Row.
        owner: RowId,
        /// The value.
        value: Value,
        /// Its expiry. The remembered pair outlives it by the tombstone time.
        expiry: Expiry,
    },
    /// Applies where nothing is remembered; or the remembered owner is this row and its version is not
    /// newer than `version`, or this delete has none ([`Version::NONE`]: a tombstone, which comes in the order
    /// of its row's partition); or the remembered version is not newer than `covers`. Then the key is deleted,
    /// and the newest of `version`, `covers` and what was remembered of this row is remembered, with the row, as
    /// a tombstone.
    Delete {
        /// Version carried.
        version: Version,
        /// Row.
        owner: RowId,
        /// The version of a write of the same row that this delete swallowed, if one came before it.
        covers: Option<Version>,
    },
    /// A delete of history: applies where the remembered owner is this row, with a version that is not newer.
    ///
    /// Where nothing is remembered it says nothing about the key: another row may have it, whose older write is
    /// still to come from another partition.
    DeleteOwned {
        /// Version carried.
        version: Version,
        /// Row.
        owner: RowId,
    },
    /// A [`Step::Delete`] without `covers` that, where the remembered owner is this row, overlays what the key
    /// holds instead of deleting it. A key that is not there stays so.
    Patch {
        /// Version carried.
        version: Version,
        /// Row.
        owner: RowId,
        /// What overlays the value.
        patch: Patch,
        /// Its expiry from then on.
        expiry: Expiry,
    },
}

/// What became of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Redis did it and said so.
    Applied,
    /// The guard found something newer (or another owner) and left it alone. Done, and counted.
    Rejected,
    /// Redis refuses this command for good: the record's error.
    Refused(Refusal),
    /// Not done for now, or no answer (it may still have landed): the lane sends it again, before anything newer.
    NotAcknowledged,
}

/// Why Redis refuses one command for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The key (or its side key) holds another type and is not replaced by this command: a member's, say.
    #[error("the key holds a value of another type (WRONGTYPE)")]
    WrongType,
    /// The value is over `limits.value_bytes`, or over what the server takes.
    #[error("the value is too large")]
    TooLarge,
    /// Any other refusal of this one command.
    #[error("Redis refused the command")]
    Command,
}

impl Refusal {
    /// A short name for counting and for the dead letter.
    pub fn kind(self) -> &'static str {
        match self {
            Refusal::WrongType => "wrong_type",
            Refusal::TooLarge => "too_large",
            Refusal::Command => "refused",
        }
    }
}

/// What became of a batch.
#[derive(Debug)]
pub struct Outcomes {
    /// One per unit, in the order of `Batch::units`.
    pub units: Vec<Outcome>,
    /// What the lane's watermarks said.
    pub watermark: WatermarkSeen,
    /// The worst error of the world that was met; present wherever a unit was not acknowledged.
    pub error: Option<crate::error::WorldError>,
}

/// What the lane's watermarks said when the batch was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatermarkSeen {
    /// They are where this lane put them, and where the batch asked, forward at `Batch::end`.
    Current,
    /// No answer from at least one master; nothing can be said, and the position must not be committed.
    Unknown,
    /// A master has none: its data is gone.
    Missing,
    /// A master's is lower than what it acknowledged: an old snapshot or a lagging replica took over, which owes
    /// that history.
    Behind(Position, Option<Owed>),
    /// Another owner writes: the lane gives up.
    NotOwner,
}

/// One step of deleting what the keys of a truncated table may be.
#[derive(Debug, Clone)]
pub struct Purge {
    /// The lane that waits for it.
    pub lane: LaneId,
    /// Which truncate it is of; a step of another one begins anew.
    pub number: u64,
    /// Index of the entity.
    pub entity: usize,
    /// Keys that one of these can give are deleted, and no others. None begins with a column.
    pub templates: Arc<[Template]>,
    /// Where the guard remembers something newer of a key, that key stays; [`Version::NONE`]: none does.
    pub version: Version,
    /// Local clock when the step was asked for, Unix milliseconds: what the guard's tombstones count from.
    pub sealed_at_ms: i64,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// Keys that were deleted.
    pub deleted: u64,
    /// True where every key that was there when the first step began has been looked at, on all masters.
    pub done: bool,
}

/// What a lane asks for when it takes over its partition.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The lane.
    pub lane: LaneId,
    /// Its name.
    pub name: LaneName,
    /// The new epoch must be above this one, which the commit's metadata held.
    pub above: Epoch,
    /// The committed position; `None` where the group has none.
    pub committed: Option<Position>,
    /// Where reading starts: the committed position, or what the start policy says.
    pub start: Position,
    /// The partition's first position that can still be read.
    pub low: Position,
    /// History that is to be refilled, where no watermark tells: of a group that starts, or as the commit's
    /// metadata says.
    pub owed: Option<Owed>,
}

/// What a lane got when it took over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The lane's epoch from now on.
    pub epoch: Epoch,
    /// What the watermarks said against the committed position.
    pub standing: Standing,
    /// History that some master lacks.
    pub owed: Option<Owed>,
}

/// What the watermarks say when a lane is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was committed, or everything that was committed is there, but for what is owed.
    Intact,
    /// A master holds less than what was committed; read from here.
    Behind(Position),
}
