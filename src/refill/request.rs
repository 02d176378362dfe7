//! A refill that somebody asked for, and how far the lanes are with it: what stands in Redis while it lasts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RefillCounts;
use crate::batch::{LaneName, RefillMode};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefillRequest {
    /// Tells it from others: no two have the same.
    pub id: String,
    /// True where keys are written over and the history's deletes are sent, false where only keys that are absent
    /// are written.
    pub overwrite: bool,
    /// Records before that moment are left out, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// Names of the entities that are refilled; all, where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<String>,
    /// Keys a second that each process writes at most, instead of what its settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Keys that each partition's lane writes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane_keys_max: Option<u64>,
    /// Share of a server's `maxmemory` up to which history is written, instead of what the settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
}

impl RefillRequest {
    /// How it writes.
    pub fn mode(&self) -> RefillMode {
        if self.overwrite { RefillMode::Overwrite } else { RefillMode::IfAbsent }
    }
}

/// Which part of the history is refilled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Records before that moment are left out, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Indexes of the entities; all, where there is none.
    pub entities: Vec<usize>,
    /// Keys written at most.
    pub keys_max: Option<u64>,
}

impl Scope {
    /// True where it leaves no entity out.
    pub fn is_whole(&self) -> bool {
        self.entities.is_empty()
    }

    /// True where it holds that entity.
    pub fn has(&self, entity: usize) -> bool {
        self.is_whole() || self.entities.contains(&entity)
    }
}

/// How far a lane is with a refill that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedState {
    /// It has not begun.
    Waiting,
    /// It is under way.
    Running,
    /// The history is covered.
    Done,
    /// It ended early: Redis has no room.
    NoRoom,
    /// It ended early: as many keys as were asked for are written.
    KeysMax,
    /// It was taken back.
    Cancelled,
}

impl AskedState {
    /// True where nothing more will be done.
    pub fn is_over(self) -> bool {
        !matches!(self, AskedState::Waiting | AskedState::Running)
    }
}

/// What a lane tells of a refill that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LaneReport {
    /// How far it is.
    pub state: AskedState,
    /// True once all masters' watermarks say what it owes by this request: its next owner goes on there.
    #[serde(default)]
    pub stored: bool,
    /// Share of the history that is covered, 0 to 1.
    pub covered: f64,
    /// Records of history read.
    pub read: u64,
    /// Keys written.
    pub written: u64,
    /// Keys left out, for something newer was there.
    pub seen: u64,
    /// Changes that failed, and were left out.
    pub failed: u64,
    /// Records left out, for their key has moved to another partition.
    #[serde(default)]
    pub moved: u64,
}

impl LaneReport {
    /// Of these counts.
    pub fn new(state: AskedState, covered: f64, counts: RefillCounts) -> LaneReport {
        let RefillCounts { read, written, seen, failed, moved } = counts;
        LaneReport { state, stored: false, covered, read, written, seen, failed, moved }
    }
}

/// A refill that somebody asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct RefillAsked {
    /// What is asked for.
    pub request: RefillRequest,
    /// What lanes told of it.
    pub lanes: BTreeMap<LaneName, LaneReport>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_only_what_was_asked() {
        let plain = r#"{"id":"7-a","overwrite":false}"#;
        let request: RefillRequest = serde_json::from_str(plain).unwrap();
        assert_eq!((request.mode(), request.entities.len()), (RefillMode::IfAbsent, 0));
        assert_eq!(serde_json::to_string(&request).unwrap(), plain);
        let unknown = r#"{"id":"7-a","overwrite":false,"wish":1}"#;
        assert!(
            serde_json::from_str::<RefillRequest>(unknown).is_err(),
            "a wish that is not known is not granted"
        );
    }
}
