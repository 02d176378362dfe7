//! What a comparison found: counts for each entity, examples of keys. Never a value.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fold::Origin;
use super::judge::Difference;
use crate::batch::LaneName;
use crate::sink::redis::{Held, Seen};

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Per entity, in the order of the settings.
    pub entities: Vec<EntityCounts>,
    /// Examples of keys, at most so many an entity and difference as was asked for.
    #[serde(skip)]
    pub examples: Vec<Example>,
    /// Records that were read, in all passes.
    pub records: u64,
    /// Of those, in the first pass, how many cannot be decoded or handled.
    pub failed_records: u64,
    /// Passes over the topics.
    pub passes: u32,
    /// Partitions whose group position stood still behind what was read, or that are being refilled: nothing is said of
    /// keys that changed there.
    pub behind_partitions: usize,
}

/// The keys of one entity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EntityCounts {
    /// The entity.
    pub entity: String,
    /// Keys that were compared.
    pub checked: u64,
    /// Keys that are not as they must be, by difference.
    pub differences: BTreeMap<Difference, u64>,
    /// Not there, and its TTL may have run out since its last change. Right.
    pub expired: u64,
    /// Held as the order of lanes can leave it. Right.
    pub raced: u64,
    /// The group has not come to the key's last changes yet, or refills them, or they come too fast to be held still.
    pub behind: u64,
    /// Not there, on a server that has dropped keys to make room.
    pub evicted: u64,
    /// Nothing can be said: the topic does not reach back to what made it.
    pub unknown: u64,
}

/// One key that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The entity.
    pub entity: String,
    /// The key.
    pub key: String,
    /// The member of it, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// In which way.
    pub difference: Difference,
    /// What it holds; `None` where it is not there.
    pub held: Option<Shown>,
    /// The Redis type that it must have; `None` where it must not be there.
    pub expected_type: Option<&'static str>,
    /// The record that made it so.
    pub record: Option<RecordPlace>,
}

/// What a key holds, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its Redis type.
    pub r#type: String,
    /// Bytes of its value.
    pub bytes: usize,
    /// What is left of its life, milliseconds; `None` where it never expires.
    pub ttl_ms: Option<i64>,
}

impl Shown {
    /// What was seen when the server's clock showed `server_ms`.
    pub fn of(seen: &Seen, server_ms: i64) -> Shown {
        Shown {
            r#type: redis_type(&seen.held).to_owned(),
            bytes: seen.held.size_bytes(),
            ttl_ms: seen.expires_at_ms.map(|at_ms| at_ms.saturating_sub(server_ms)),
        }
    }
}

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordPlace {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Its timestamp, Unix milliseconds.
    pub timestamp_ms: Option<i64>,
}

impl EntityCounts {
    /// Keys that are not as they must be.
    pub fn difference_count(&self) -> u64 {
        self.differences.values().sum()
    }

    /// How many differ in that way.
    pub fn count(&self, difference: Difference) -> u64 {
        self.differences.get(&difference).copied().unwrap_or(0)
    }
}

impl Report {
    /// Keys that are not as they must be, over all entities.
    pub fn difference_count(&self) -> u64 {
        self.entities.iter().map(EntityCounts::difference_count).sum()
    }

    /// Counts a key that is not as it must be, and keeps it as an example where there is room.
    pub(super) fn differs(&mut self, index: usize, example: Example, examples_max: usize) {
        let Some(entity) = self.entities.get_mut(index) else { return };
        let count = entity.differences.entry(example.difference).or_default();
        *count += 1;
        if *count <= examples_max as u64 {
            self.examples.push(example);
        }
    }
}

impl RecordPlace {
    pub(super) fn new(name: &LaneName, origin: Origin) -> RecordPlace {
        RecordPlace {
            topic: name.topic.clone(),
            partition: name.partition,
            offset: origin.offset,
            timestamp_ms: origin.timestamp_ms,
        }
    }
}

/// The type's name in Redis.
pub fn redis_type(held: &Held) -> &str {
    match held {
        Held::String(_) => "string",
        Held::Hash(_) => "hash",
        Held::Member(None) => "set",
        Held::Member(Some(_)) => "zset",
        Held::Other(name) | Held::NoSet(name) => name,
    }
}
