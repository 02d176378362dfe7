//! The result of the demo: what `--output json` prints as one object.

use std::time::Duration;

use serde::Serialize;

use super::compare::Difference;
use crate::sink::redis::{Entry, Held};

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) history: History,
    pub(super) live: Live,
    pub(super) steps: Vec<ShownStep>,
    pub(super) check: Check,
    /// Where Redis listens, `host:port`, and the URL of the status page: while the demo runs.
    pub(super) redis: String,
    pub(super) admin: String,
}

/// The history, from the first key in Redis to the last.
#[derive(Debug, Serialize)]
pub(super) struct History {
    pub(super) record_count: usize,
    pub(super) key_count: usize,
    pub(super) took_ms: u64,
}

/// The live changes.
#[derive(Debug, Serialize)]
pub(super) struct Live {
    pub(super) record_count: usize,
    pub(super) took_ms: u64,
}

/// A step that was shown.
#[derive(Debug, Serialize)]
pub(super) struct ShownStep {
    pub(super) title: String,
    /// From the append to the last of its keys; `None` where that was not seen.
    pub(super) visible_after_ms: Option<u64>,
    pub(super) keys: Vec<ShownKey>,
}

/// A key before and after it; `None` where it was not there.
#[derive(Debug, Serialize)]
pub(super) struct ShownKey {
    pub(super) key: String,
    pub(super) before: Option<ShownEntry>,
    pub(super) after: Option<ShownEntry>,
}

/// What a key holds: a text, or an object of a hash's texts.
#[derive(Debug, Serialize)]
pub(super) struct ShownEntry {
    pub(super) value: serde_json::Value,
    pub(super) ttl_ms: Option<u64>,
}

/// The self-check.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) key_count: usize,
    pub(super) differ_count: usize,
    pub(super) differences: Vec<Difference>,
    /// Keys of Stoker's own, which are no part of the cache.
    pub(super) own_key_count: usize,
}

impl From<&Entry> for ShownEntry {
    fn from(entry: &Entry) -> ShownEntry {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let value = match &entry.held {
            Held::String(bytes) => text(bytes).into(),
            Held::Hash(fields) => {
                fields.iter().map(|(name, value)| (text(name), text(value))).collect::<serde_json::Value>()
            }
            Held::Other(kind) | Held::NoSet(kind) => format!("a {kind}").into(),
            Held::Member(_) => "a member".into(),
        };
        ShownEntry { value, ttl_ms: entry.ttl.map(millis) }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
