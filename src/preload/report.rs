//! What a preload tells: how far it is, and at the end what it did.

use serde::Serialize;

use super::fit::Fit;

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// The entity.
    pub entity: String,
    /// Whether nothing was written, and the counts are of what would have been.
    pub dry_run: bool,
    /// Whether all of it was done.
    pub complete: bool,
    /// Why it ended.
    pub ended: Ended,
    /// Files that were read to their end.
    pub files: usize,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that failed.
    pub rows_rejected: u64,
    /// Rows that gave no key: they do not qualify, or lack a column that a value needs.
    pub rows_without_key: u64,
    /// Keys that were written.
    pub keys_written: u64,
    /// Keys that were there already.
    pub keys_present: u64,
    /// Keys that changed since the export, and were left alone.
    pub keys_changed: u64,
    /// Keys for which the version guard knows something newer.
    pub keys_older: u64,
    /// Keys whose value would have expired already.
    pub keys_expired: u64,
    /// Keys that Redis refused.
    pub keys_refused: u64,
    /// Keys that several rows gave at once.
    pub keys_repeated: u64,
    /// Writes that a change raced with, and that were taken back.
    pub taken_back: u64,
    /// Members that a change raced with, and that were brought to what it says.
    pub put_right: u64,
    /// Writes of which it is not known whether a change raced with them.
    pub unsettled: u64,
    /// Keys that were swept.
    pub keys_swept: u64,
    /// What protects what changed since the export.
    pub protection: Protection,
    /// Records of the topics that were followed.
    pub records_followed: u64,
    /// Records among them whose keys cannot be told.
    pub records_unreadable: u64,
    /// Columns that the topics' rows have and the export has not: keys that need them were not written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns_missing: Vec<String>,
    /// What it was expected to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Fit>,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// Where it goes on when it is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The first row that failed: file, row and reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_reject: Option<String>,
}

/// Why a preload ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "why", content = "detail")]
pub enum Ended {
    /// Everything is loaded.
    #[default]
    Done,
    /// A signal.
    Stopped,
    /// Redis reached the share of `maxmemory` that it was allowed.
    Full(String),
    /// Redis began to evict keys.
    Evicts,
    /// Redis refuses writes for good, or for lack of memory.
    RedisRefuses(String),
    /// More rows failed than were allowed.
    TooManyErrors,
    /// More keys changed since the export than are remembered.
    TooManyChanges,
    /// The table was truncated since the export: what it holds is gone.
    Truncated,
    /// The topics lost records that were not followed yet.
    ProtectionLost,
    /// A file cannot be read to its end.
    Input(String),
    /// Everything is written, and what may have raced is not known.
    NotSettled,
    /// Everything is loaded, and it could not be swept.
    NotSwept(String),
}

/// What protects what changed since the export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// The entity's topics, from the export's time on.
    Topics,
    /// Nothing: the entity has no topic, or it was asked for so.
    #[default]
    None,
}

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the files that are read.
    pub bytes: u64,
    /// Bytes of all files; 0 where that is not known.
    pub bytes_all: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Keys that were written.
    pub written: u64,
    /// Keys that were left alone.
    pub left: u64,
}

/// Who watches a preload.
pub trait Watch {
    /// How far it is; called several times a second.
    fn progress(&mut self, progress: Progress);
    /// Something to know, in words.
    fn note(&mut self, note: &str);
}
