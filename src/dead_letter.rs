//! Records set aside with a reason: what a letter holds, and the border to where letters go.
//!
//! A letter keeps the record as it was and says why it failed, in words without values. It is not sent from
//! here, and nothing here decides which errors make one: `errors.on_error` does. The lane's position waits for
//! the acknowledgement. Start at [`Letter`].

use std::sync::Arc;

use crate::batch::LaneName;
use crate::error::WorldError;
use crate::record::OwnedRecord;

/// A record that failed, its original bytes and position, and why.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The record as it was read.
    pub record: OwnedRecord,
    /// The entity that it failed in, where it got that far.
    pub entity: Option<Arc<str>>,
    /// Where it failed.
    pub stage: Stage,
    /// Short name of the error, as counted.
    pub kind: &'static str,
    /// The error in words, without values.
    pub detail: String,
}

/// Where a record failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Its bytes could not be decoded.
    Decode,
    /// Its change could not be handled.
    Handle,
    /// Redis refused what it asks for.
    Apply,
}

impl Stage {
    /// The documented name.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Handle => "handle",
            Stage::Apply => "apply",
        }
    }
}

/// Letters that were not acknowledged, and why; `None` where all of them were.
pub type Unsent = Option<(Vec<PendingLetter>, WorldError)>;

/// A letter on its way: whole, or one whose record must be read again because its bytes are gone.
#[derive(Debug, Clone)]
pub enum PendingLetter {
    /// With the record's bytes.
    Whole(Box<Letter>),
    /// Redis refused what the record at this offset asks for, after its bytes were let go.
    ByOffset {
        /// The record's offset in the lane's partition.
        offset: i64,
        /// The entity.
        entity: usize,
        /// Why Redis refused.
        refusal: crate::batch::Refusal,
    },
}

/// Takes dead letters.
pub trait DeadLetters {
    /// Sets one record aside. `Ok` means that the broker acknowledged it with all replicas; only then may
    /// the position pass the record.
    fn send(&self, letter: &Letter) -> impl Future<Output = Result<(), WorldError>>;

    /// Reads one record again by its position, for a letter whose bytes are gone. `None` where it cannot be
    /// read any more (retention, compaction): the letter then goes out with its position and empty bytes.
    fn read_again(
        &self,
        lane: &LaneName,
        offset: i64,
    ) -> impl Future<Output = Result<Option<OwnedRecord>, WorldError>>;
}
