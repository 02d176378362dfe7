//! What the process knows about itself: a plain snapshot that the engine keeps current.
//!
//! Names, positions, states and ages; never a key or a value.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Serialize, Serializer};

use crate::batch::{LaneName, RefillMode};
use crate::record::Position;
use crate::refill::RefillView;

/// The shared, current [`Snapshot`]: written by the engine's threads, read by the admin server.
///
/// Writers hold it for a few field writes and call it a few times a second and lane, not per record.
#[derive(Debug)]
pub struct Status {
    snapshot: Mutex<Snapshot>,
}

/// The state of the process at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// Stoker's version.
    pub version: &'static str,
    /// When the process started, Unix milliseconds.
    pub started_ms: i64,
    /// When the source last polled Kafka, Unix milliseconds; `None` before the first time.
    pub polled_ms: Option<i64>,
    /// True once the group has answered with an assignment, even an empty one.
    pub joined: bool,
    /// True once the process has begun to end: it finishes what is in flight and gives its partitions back.
    pub draining: bool,
    /// Kafka, as the source sees it.
    pub kafka: DependencyStatus,
    /// Redis, as the workers see it.
    pub redis: RedisStatus,
    /// What the running check has found since the start; `None` where it is turned off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifyStatus>,
    /// The lanes that this process owns.
    #[serde(serialize_with = "as_list")]
    pub lanes: BTreeMap<(String, i32), LaneStatus>,
}

/// A dependency.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DependencyStatus {
    /// True while it answers.
    pub up: bool,
    /// Its last error, in our words, while it does not.
    pub error: Option<String>,
}

/// Redis.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RedisStatus {
    /// Whether it answers.
    #[serde(flatten)]
    pub dependency: DependencyStatus,
    /// Its clock minus this machine's, milliseconds, where asked.
    pub clock_skew_ms: Option<i64>,
    /// False where the right to kill a former owner's connections is missing; `None` before it was tried.
    pub fencing_works: Option<bool>,
}

/// The running check of what was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct VerifyStatus {
    /// Keys that were looked at.
    pub checked: u64,
    /// Of those, keys that Redis did not hold as they were applied.
    pub differences: u64,
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LaneStatus {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// What it is doing.
    pub state: LaneState,
    /// True while its partition is not fetched.
    pub paused: bool,
    /// Position up to which all is applied; `None` before it has taken over.
    pub position: Option<Position>,
    /// Position that the group has committed.
    pub committed: Option<Position>,
    /// The partition's high watermark, where known.
    pub high: Option<Position>,
    /// Where all that a reader gets below it is applied: past `position` lie the markers of transactions.
    #[serde(skip)]
    pub read_to: Option<Position>,
    /// Kafka's time stamp of the oldest record that was read and is not applied, Unix milliseconds.
    pub oldest_unapplied_ms: Option<i64>,
    /// The last error of the world, in our words, while the lane waits for it to pass.
    pub last_error: Option<String>,
    /// True while history is still to be refilled.
    pub owes: bool,
    /// Entities whose sets and sorted sets lack members meanwhile. They are never empty for long, and so look whole.
    pub incomplete: Vec<String>,
    /// How far the refill is, while one runs.
    pub refill: Option<RefillStatus>,
    /// What the version guard decided, one an entity that it guards here.
    pub guards: Vec<GuardStatus>,
}

/// A lane's refill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RefillStatus {
    /// `if_absent`, `restore` or `overwrite`.
    pub mode: &'static str,
    /// Everything from here on was covered in this pass.
    pub position: Position,
    /// Share of the history that this pass has covered, 0 to 1.
    pub covered_ratio: f64,
    /// Which pass it is, from 1.
    pub pass: u64,
    /// How many passes there are: one, unless rows and keys are more than memory may hold.
    pub passes: u64,
    /// Records of history read so far.
    pub records_read: u64,
    /// Keys written so far.
    pub keys_written: u64,
    /// Keys left out so far, for something newer was there.
    pub keys_seen: u64,
}

impl RefillStatus {
    /// What a lane tells of its refill.
    pub fn new(view: &RefillView, mode: RefillMode) -> RefillStatus {
        RefillStatus {
            mode: mode.as_str(),
            position: view.cursor,
            covered_ratio: view.covered_of_pass(),
            pass: view.slice + 1,
            passes: view.slices,
            records_read: view.counts.read,
            keys_written: view.counts.written,
            keys_seen: view.counts.seen,
        }
    }
}

/// What the version guard decided about one entity in one lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GuardStatus {
    /// The entity's name.
    pub entity: String,
    /// Commands that it looked at since the lane was assigned.
    pub seen: u64,
    /// Of these, commands that it refused: something newer was there.
    pub rejected: u64,
    /// Commands of the last window (see [`crate::worker::REJECT_WINDOW_UNITS`]) and how many of them were refused.
    #[serde(skip)]
    pub window: Option<(u64, u64)>,
    /// True where nearly all of them were.
    pub rejects_nearly_all: bool,
}

/// What a lane is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// Takes the partition over from its former owner.
    TakingOver,
    /// Nothing is in flight; the next record goes out at once.
    Filling,
    /// A batch is in flight.
    InFlight,
    /// Waits before it sends again what was not acknowledged.
    Backoff,
    /// Reads again what a master has lost.
    Rewinding,
    /// Its next record names a registry schema that is not known yet.
    AwaitingSchema,
    /// Deletes the keys of a table that was truncated.
    Purging,
    /// Finishes what is in flight, before it is handed over.
    Draining,
}

impl LaneState {
    /// All of them, for the gauge by state.
    pub const ALL: [LaneState; 8] = [
        LaneState::TakingOver,
        LaneState::Filling,
        LaneState::InFlight,
        LaneState::Backoff,
        LaneState::Rewinding,
        LaneState::AwaitingSchema,
        LaneState::Purging,
        LaneState::Draining,
    ];

    /// The documented name.
    pub fn as_str(self) -> &'static str {
        match self {
            LaneState::TakingOver => "taking_over",
            LaneState::Filling => "filling",
            LaneState::InFlight => "in_flight",
            LaneState::Backoff => "backoff",
            LaneState::Rewinding => "rewinding",
            LaneState::AwaitingSchema => "awaiting_schema",
            LaneState::Purging => "purging",
            LaneState::Draining => "draining",
        }
    }
}

impl LaneStatus {
    /// A lane that was just assigned.
    pub fn new(name: &LaneName, committed: Option<Position>) -> LaneStatus {
        LaneStatus {
            topic: name.topic.clone(),
            partition: name.partition,
            state: LaneState::TakingOver,
            paused: false,
            position: None,
            committed,
            high: None,
            read_to: None,
            oldest_unapplied_ms: None,
            last_error: None,
            owes: false,
            incomplete: Vec::new(),
            refill: None,
            guards: Vec::new(),
        }
    }

    /// Records between what is committed and the high watermark; `None` where either is unknown.
    pub fn lag(&self) -> Option<i64> {
        Some(self.high?.saturating_sub(self.committed?).max(0))
    }

    /// Age in milliseconds of the oldest record that is not applied: 0 where all up to the high watermark is,
    /// `None` where it cannot be told yet.
    pub fn unapplied_age_ms(&self, now_ms: i64) -> Option<i64> {
        let (position, high) = (self.position?, self.high?);
        match self.oldest_unapplied_ms {
            Some(oldest_ms) => Some(now_ms.saturating_sub(oldest_ms).max(0)),
            None if position.max(self.read_to.unwrap_or(position)) >= high => Some(0),
            None => None,
        }
    }
}

impl Status {
    /// The status of a process that starts at this moment (Unix milliseconds) and knows nothing yet.
    pub fn new(started_ms: i64) -> Status {
        Status {
            snapshot: Mutex::new(Snapshot {
                version: env!("CARGO_PKG_VERSION"),
                started_ms,
                polled_ms: None,
                joined: false,
                draining: false,
                kafka: DependencyStatus::default(),
                redis: RedisStatus::default(),
                verify: None,
                lanes: BTreeMap::new(),
            }),
        }
    }

    /// Changes it. `change` must not block.
    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.lock());
    }

    /// Changes one lane; a lane that is not there (any more) is left alone.
    pub fn update_lane(&self, name: &LaneName, change: impl FnOnce(&mut LaneStatus)) {
        if let Some(lane) = self.lock().lanes.get_mut(&(name.topic.clone(), name.partition)) {
            change(lane);
        }
    }

    /// Adds a lane that was assigned.
    pub fn add_lane(&self, lane: LaneStatus) {
        self.lock().lanes.insert((lane.topic.clone(), lane.partition), lane);
    }

    /// Removes a lane that was released or lost.
    pub fn remove_lane(&self, name: &LaneName) {
        self.lock().lanes.remove(&(name.topic.clone(), name.partition));
    }

    /// A copy of what is known now.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn as_list<S: Serializer>(
    lanes: &BTreeMap<(String, i32), LaneStatus>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(lanes.values())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> LaneName {
        LaneName { topic: "t".into(), partition: 3 }
    }

    #[test]
    fn a_lane_knows_its_lag_and_age_only_where_the_parts_are_known() {
        let new = LaneStatus::new(&name(), Some(5));
        let read = LaneStatus { position: Some(8), high: Some(10), ..new.clone() };
        let behind = LaneStatus { oldest_unapplied_ms: Some(700), ..read.clone() };
        let ahead_of_an_old_look = LaneStatus { position: Some(12), ..read.clone() };
        let before_a_marker = LaneStatus { read_to: Some(10), ..read.clone() };
        let before_an_open_transaction = LaneStatus { read_to: Some(9), ..read.clone() };
        let cases = [
            (&new, None, None),
            (&read, Some(5), None),
            (&before_a_marker, Some(5), Some(0)),
            (&before_an_open_transaction, Some(5), None),
            (&behind, Some(5), Some(300)),
            (&ahead_of_an_old_look, Some(5), Some(0)),
        ];
        for (lane, lag, age_ms) in cases {
            assert_eq!((lane.lag(), lane.unapplied_age_ms(1_000)), (lag, age_ms), "{lane:?}");
        }
    }

    #[test]
    fn a_late_word_of_a_lane_that_is_gone_is_not_kept() {
        let status = Status::new(0);
        status.add_lane(LaneStatus::new(&name(), None));
        status.update_lane(&name(), |lane| lane.position = Some(1));
        assert_eq!(status.snapshot().lanes.len(), 1);
        status.remove_lane(&name());
        status.update_lane(&name(), |lane| lane.position = Some(2));
        assert!(status.snapshot().lanes.is_empty());
    }
}
