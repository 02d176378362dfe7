//! Records set aside with a reason.

use crate::error::WorldError;
use crate::record::OwnedRecord;

/// A record that failed, its original bytes and position, and why.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The record as it was read.
    pub record: OwnedRecord,
    /// The entity that it failed in, where it got that far.
    pub entity: Option<String>,
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

/// Takes dead letters.
pub trait DeadLetters {
    /// Sets one record aside. `Ok` means that the broker acknowledged it with all replicas; only then may
    /// the position pass the record.
    fn send(&self, letter: &Letter) -> impl Future<Output = Result<(), WorldError>>;
}
