//! Whether the process is warm, and whether it lives: pure functions of a snapshot.
//!
//! Ready speaks for this process's lanes alone, not for the group. Start at [`readiness`].

use std::time::Duration;

use serde::Serialize;

use super::status::{LaneState, LaneStatus, Snapshot};

/// How long the source may go without polling before the process counts as dead: librdkafka's default
/// `max.poll.interval.ms`, after which the group has thrown the member out anyway.
pub const POLL_SILENCE_MAX: Duration = Duration::from_secs(300);

/// Why the process is not warm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The process ends: its partitions are on their way to others.
    Draining,
    /// The group has not answered with an assignment.
    NotJoined,
    /// Kafka does not answer.
    KafkaDown {
        /// How that showed.
        error: Option<String>,
    },
    /// Redis does not answer.
    RedisDown {
        /// How that showed.
        error: Option<String>,
    },
    /// A lane does not apply.
    LaneNotApplying {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// What it does instead.
        state: LaneState,
        /// What it waits for.
        error: Option<String>,
    },
    /// A lane's history is still to be refilled.
    LaneRefilling {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Share of the history that is covered, in percent.
        covered_percent: u8,
    },
    /// A lane has not said yet how far behind it is.
    LagUnknown {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
    },
    /// A lane's oldest unapplied record is older than `ready.lag`.
    LaneBehind {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Age of that record, milliseconds.
        age_ms: i64,
        /// `ready.lag`, milliseconds.
        age_max_ms: i64,
    },
}

/// Warm or why not: every reason, not only the first.
///
/// A member without partitions is warm once the group has told it so: it holds nothing up.
pub fn readiness(snapshot: &Snapshot, lag_max: Duration, now_ms: i64) -> Result<(), Vec<Reason>> {
    let mut reasons = Vec::new();
    if snapshot.draining {
        reasons.push(Reason::Draining);
    }
    if !snapshot.joined {
        reasons.push(Reason::NotJoined);
    }
    if !snapshot.kafka.up {
        reasons.push(Reason::KafkaDown { error: snapshot.kafka.error.clone() });
    }
    if !snapshot.redis.dependency.up {
        reasons.push(Reason::RedisDown { error: snapshot.redis.dependency.error.clone() });
    }
    let age_max_ms = i64::try_from(lag_max.as_millis()).unwrap_or(i64::MAX);
    reasons.extend(snapshot.lanes.values().filter_map(|lane| lane_reason(lane, age_max_ms, now_ms)));
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

fn lane_reason(lane: &LaneStatus, age_max_ms: i64, now_ms: i64) -> Option<Reason> {
    let (topic, partition) = (lane.topic.clone(), lane.partition);
    match lane.state {
        LaneState::TakingOver | LaneState::Backoff | LaneState::Rewinding | LaneState::AwaitingSchema => {
            let error = lane.last_error.clone();
            return Some(Reason::LaneNotApplying { topic, partition, state: lane.state, error });
        }
        LaneState::Filling | LaneState::InFlight | LaneState::Purging | LaneState::Draining => {}
    }
    if lane.owes {
        let ratio = lane.refill.as_ref().map_or(0.0, |refill| refill.covered_ratio);
        return Some(Reason::LaneRefilling { topic, partition, covered_percent: percent(ratio) });
    }
    match lane.unapplied_age_ms(now_ms) {
        None => Some(Reason::LagUnknown { topic, partition }),
        Some(age_ms) if age_ms > age_max_ms => {
            Some(Reason::LaneBehind { topic, partition, age_ms, age_max_ms })
        }
        Some(_) => None,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
fn percent(ratio: f64) -> u8 {
    (ratio.clamp(0.0, 1.0) * 100.0) as u8
}

/// False where a restart would help: the source once polled Kafka and has been silent for too long.
pub fn liveness(snapshot: &Snapshot, now_ms: i64) -> bool {
    let silence_max_ms = i64::try_from(POLL_SILENCE_MAX.as_millis()).unwrap_or(i64::MAX);
    snapshot.polled_ms.is_none_or(|polled_ms| now_ms.saturating_sub(polled_ms) <= silence_max_ms)
}

#[cfg(test)]
mod tests {
    use super::super::status::Status;
    use super::*;
    use crate::batch::LaneName;

    const LAG_MAX: Duration = Duration::from_secs(5);
    const NOW_MS: i64 = 100_000;

    fn warm() -> Snapshot {
        let mut snapshot = Status::new(0).snapshot();
        snapshot.joined = true;
        snapshot.kafka.up = true;
        snapshot.redis.dependency.up = true;
        let name = LaneName { topic: "t".into(), partition: 0 };
        let lane = LaneStatus {
            state: LaneState::Filling,
            position: Some(10),
            high: Some(10),
            ..LaneStatus::new(&name, Some(10))
        };
        snapshot.lanes.insert(("t".into(), 0), lane);
        snapshot
    }

    fn reasons(change: impl FnOnce(&mut Snapshot, &mut LaneStatus)) -> Vec<Reason> {
        let mut snapshot = warm();
        let mut lane = snapshot.lanes.pop_first().expect("one lane").1;
        change(&mut snapshot, &mut lane);
        snapshot.lanes.insert(("t".into(), 0), lane);
        readiness(&snapshot, LAG_MAX, NOW_MS).err().unwrap_or_default()
    }

    #[test]
    fn warm_is_a_lane_that_is_at_the_end_or_not_far_behind() {
        assert_eq!(reasons(|_, _| {}), []);
        let close = |_: &mut Snapshot, lane: &mut LaneStatus| {
            lane.high = Some(50);
            lane.state = LaneState::InFlight;
            lane.oldest_unapplied_ms = Some(NOW_MS - 5_000);
        };
        assert_eq!(reasons(close), []);
    }

    #[test]
    fn each_thing_that_is_missing_is_a_reason_of_its_own() {
        let (topic, partition) = ("t".to_owned(), 0);
        let unknown = Reason::LagUnknown { topic: topic.clone(), partition };
        let behind = Reason::LaneBehind { topic: topic.clone(), partition, age_ms: 5_001, age_max_ms: 5_000 };
        let error = Some("the server answers LOADING".to_owned());
        let waits =
            Reason::LaneNotApplying { topic, partition, state: LaneState::Backoff, error: error.clone() };
        assert_eq!(reasons(|snapshot, _| snapshot.draining = true), [Reason::Draining]);
        assert_eq!(reasons(|snapshot, _| snapshot.joined = false), [Reason::NotJoined]);
        assert_eq!(reasons(|snapshot, _| snapshot.kafka.up = false), [Reason::KafkaDown { error: None }]);
        let down = Reason::RedisDown { error: None };
        assert_eq!(reasons(|snapshot, _| snapshot.redis.dependency.up = false), [down]);
        assert_eq!(reasons(|_, lane| lane.high = None), std::slice::from_ref(&unknown));
        assert_eq!(reasons(|_, lane| lane.high = Some(50)), [unknown], "behind, and nothing read yet");
        assert_eq!(reasons(|_, lane| lane.oldest_unapplied_ms = Some(NOW_MS - 5_001)), [behind]);
        let refilling = Reason::LaneRefilling { topic: "t".to_owned(), partition: 0, covered_percent: 0 };
        assert_eq!(reasons(|_, lane| lane.owes = true), [refilling]);
        let backoff = |_: &mut Snapshot, lane: &mut LaneStatus| {
            lane.state = LaneState::Backoff;
            lane.last_error = error;
        };
        assert_eq!(reasons(backoff), [waits]);
    }

    #[test]
    fn all_reasons_are_told_at_once() {
        let found = readiness(&Status::new(0).snapshot(), LAG_MAX, NOW_MS).expect_err("knows nothing");
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_member_without_partitions_is_warm_once_it_has_joined() {
        let mut snapshot = warm();
        snapshot.lanes.clear();
        assert_eq!(readiness(&snapshot, LAG_MAX, NOW_MS), Ok(()));
    }

    #[test]
    fn only_a_source_that_fell_silent_is_dead() {
        let mut snapshot = warm();
        assert!(liveness(&snapshot, NOW_MS));
        snapshot.polled_ms = Some(0);
        assert!(liveness(&snapshot, 300_000));
        assert!(!liveness(&snapshot, 300_001));
    }
}
