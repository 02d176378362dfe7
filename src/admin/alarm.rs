//! What somebody should look at although the process may be warm: a pure function of a snapshot.

use serde::Serialize;

use super::status::Snapshot;

/// Alarms shown: the first ones tell, and a process may own thousands of lanes.
const ALARMS_SHOWN_MAX: usize = 100;

/// What the guard's alarm can mean, and what to do about it.
pub const GUARD_HINT: &str = "old records are read again, which passes; or the versions of new ones started again \
     (failover, restore, a topic made anew): raise guard.epoch, or rewrite the keys with --force";

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "alarm", rename_all = "snake_case")]
pub enum Alarm {
    /// The version guard refuses nearly all that a partition brings of an entity.
    GuardRejectsNearlyAll {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The entity's name.
        entity: String,
        /// Commands of the last window that it refused.
        rejected: u64,
        /// Of so many.
        of: u64,
        /// What it can mean.
        hint: &'static str,
    },
}

/// The alarms that stand, in the order of the lanes.
pub fn alarms(snapshot: &Snapshot) -> Vec<Alarm> {
    let guards = snapshot.lanes.values().flat_map(|lane| lane.guards.iter().map(move |guard| (lane, guard)));
    let standing = guards.filter(|(_, guard)| guard.rejects_nearly_all);
    let alarm = standing.map(|(lane, guard)| {
        let (of, rejected) = guard.window.unwrap_or_default();
        Alarm::GuardRejectsNearlyAll {
            topic: lane.topic.clone(),
            partition: lane.partition,
            entity: guard.entity.clone(),
            rejected,
            of,
            hint: GUARD_HINT,
        }
    });
    alarm.take(ALARMS_SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::{GuardStatus, LaneStatus, Status};
    use crate::batch::LaneName;

    #[test]
    fn only_a_guard_that_rejects_nearly_all_is_alarmed_of() {
        let status = Status::new(0);
        for (partition, rejects_nearly_all) in [(0, false), (1, true)] {
            let mut lane = LaneStatus::new(&LaneName { topic: "t".into(), partition }, None);
            let window = Some((1_000, 990));
            let entity = "customer".to_owned();
            lane.guards.push(GuardStatus {
                entity,
                seen: 5_000,
                rejected: 1_200,
                window,
                rejects_nearly_all,
            });
            status.add_lane(lane);
        }
        let found = alarms(&status.snapshot());
        let [Alarm::GuardRejectsNearlyAll { partition: 1, rejected: 990, of: 1_000, .. }] = found.as_slice()
        else {
            panic!("{found:?}")
        };
    }
}
