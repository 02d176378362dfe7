//! What the admin side may see of the source: a picture that the poll thread renews about once a second.
//!
//! Read by other threads, so it is a copy and never borrows from the loop. Start at [`Picture`].

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::batch::LaneName;
use crate::clock::SystemClock;
use crate::record::Position;

/// The source as it was when the picture was taken. Read it from any thread.
#[derive(Debug)]
pub struct Status {
    clock: SystemClock,
    picture: Mutex<Picture>,
}

/// One picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// Unix milliseconds of the poll thread's last turn; 0 before the first. Old means: it hangs.
    pub polled_at_ms: i64,
    /// True while Kafka answers.
    pub connected: bool,
    /// Assignments received so far: 0 means that this process has not joined the group yet.
    pub assignment_count: u64,
    /// Partitions of this process, in the order in which they were assigned.
    pub partitions: Vec<PartitionStatus>,
    /// Commits that the coordinator confirmed.
    pub commit_count: u64,
    /// Commits that failed and were, or will be, tried again.
    pub commit_failure_count: u64,
    /// Records that came for a lane that was let go, or before a rewind: dropped, and read again.
    pub stale_record_count: u64,
    /// Positions that retention took away before they were read, by topic.
    pub missed: BTreeMap<String, u64>,
    /// librdkafka's name of the last error, while nothing has worked since.
    pub error: Option<String>,
}

/// One assigned partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Topic and partition.
    pub name: LaneName,
    /// Index of its worker.
    pub worker: usize,
    /// Next record to be read.
    pub position: Position,
    /// The group's position.
    pub committed: Option<Position>,
    /// First position that can be read, as of the last fetch.
    pub low: Option<Position>,
    /// The end, as of the last fetch.
    pub high: Option<Position>,
    /// All up to there was handed out, `position` being the last record of it that there was; where known.
    pub read_to: Option<Position>,
    /// True where its worker asked for a pause.
    pub paused: bool,
    /// False while Kafka has not said where it starts.
    pub resolved: bool,
}

impl PartitionStatus {
    /// High watermark less committed position, in records; `None` where either is not known.
    pub fn lag(&self) -> Option<u64> {
        u64::try_from(self.high?.saturating_sub(self.committed?)).ok()
    }
}

impl Picture {
    /// Sum of the lags that are known, in records.
    pub fn lag(&self) -> u64 {
        self.partitions.iter().filter_map(PartitionStatus::lag).sum()
    }

    /// Partitions that are paused.
    pub fn paused_count(&self) -> usize {
        self.partitions.iter().filter(|partition| partition.paused).count()
    }
}

impl Status {
    pub(super) fn new(clock: SystemClock) -> Status {
        Status { clock, picture: Mutex::default() }
    }

    /// The latest picture.
    pub fn picture(&self) -> Picture {
        self.lock().clone()
    }

    /// True where the poll thread has taken a turn in this time.
    pub fn polled_within(&self, time: std::time::Duration) -> bool {
        let age_ms = self.clock.now().unix_ms.saturating_sub(self.lock().polled_at_ms);
        u128::try_from(age_ms).unwrap_or(0) <= time.as_millis()
    }

    /// Retention took what lies between, and it was not read.
    pub(super) fn missed(&self, topic: &str, from: Position, to: Position) {
        let count = u64::try_from(to.saturating_sub(from)).unwrap_or(0);
        *self.lock().missed.entry(topic.to_owned()).or_default() += count;
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Picture)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Picture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_end_less_the_committed_position() {
        let cases = [
            (Some(10), Some(4), Some(6)),
            (Some(4), Some(4), Some(0)),
            (None, Some(4), None),
            (Some(4), None, None),
            (Some(2), Some(4), None),
        ];
        for (high, committed, lag) in cases {
            let name = LaneName { topic: "t".to_owned(), partition: 0 };
            let partition = PartitionStatus {
                name,
                worker: 0,
                position: 0,
                committed,
                low: None,
                high,
                read_to: None,
                paused: false,
                resolved: true,
            };
            assert_eq!(partition.lag(), lag, "{high:?} {committed:?}");
        }
    }
}
