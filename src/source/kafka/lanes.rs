//! The partitions that this process has, one entry for each assignment.
//!
//! A partition that is given back and comes again is another lane with another number. Plain state: nothing here
//! talks to Kafka. Start at [`Lanes`].

use std::collections::HashMap;

use super::metadata::CommitMetadata;
use crate::batch::{Epoch, LaneId, LaneName, Owed};
use crate::record::Position;
use crate::source::{Progress, Stored};

/// One assigned partition.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) name: LaneName,
    pub(super) worker: usize,
    pub(super) standing: Standing,
    /// Number of the reading that is delivered now.
    pub(super) reading: u32,
    /// Offset that the next record will have at least.
    pub(super) next: Position,
    /// The group's position, as far as the coordinator confirmed it.
    pub(super) committed: Option<Position>,
    /// What history that commit says is owed.
    pub(super) committed_owed: Option<Owed>,
    /// A commit that was sent and not confirmed: it may stand.
    pub(super) in_doubt: Option<(Position, Option<Owed>)>,
    /// What is committed while the worker has stored nothing: where reading started.
    pub(super) start: Stored,
    pub(super) first_partition_count: Option<i32>,
    /// The worker asked for it.
    pub(super) paused: bool,
    /// Where its fetches ended by the last statistics, and `next` then.
    end_seen: Option<(Position, Position)>,
    /// Those of the statistics before told the same.
    is_at_end: bool,
}

impl Lane {
    /// Its fetches have ended at `end`, or nowhere yet.
    pub(super) fn ends_at(&mut self, end: Option<Position>) {
        let seen = end.filter(|_| self.standing == Standing::Reading).map(|end| (end, self.next));
        self.is_at_end = self.end_seen == seen;
        self.end_seen = seen;
    }

    /// All up to there was handed out: its fetches stood there over two statistics, and no record came between or since.
    pub(super) fn read_to(&self) -> Option<Position> {
        self.end_seen.filter(|(_, next)| self.is_at_end && *next == self.next).map(|(end, _)| end)
    }
}

/// How a lane stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Assigned, paused, unknown to the worker: Kafka has not said yet where it starts.
    Unresolved,
    /// Its records are delivered.
    Reading,
    /// A rewind is asked for; what comes meanwhile is stale.
    Rewinding(Position),
}

/// A position to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) name: LaneName,
    pub(super) position: Position,
    pub(super) metadata: CommitMetadata,
}

impl Lane {
    /// What is to be committed; `None` where it already is, or nothing is known yet.
    pub(super) fn to_commit(&self, progress: &Progress) -> Option<Commit> {
        if self.standing == Standing::Unresolved {
            return None;
        }
        let stored = match (progress.get(self.id), self.committed) {
            (Some(stored), _) => stored,
            (None, None) => self.start,
            (None, Some(_)) => return None,
        };
        let metadata = CommitMetadata {
            epoch: stored.epoch,
            first_partition_count: self.first_partition_count,
            owed: stored.owed,
            owes_unread: false,
        };
        let known = (stored.position, stored.owed);
        let is_new = self.committed != Some(stored.position)
            || self.committed_owed != stored.owed
            || self.in_doubt.is_some_and(|sent| sent != known);
        is_new.then(|| Commit { name: self.name.clone(), position: stored.position, metadata })
    }
}

/// All lanes of this process.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: HashMap<LaneId, Lane, ahash::RandomState>,
    by_name: HashMap<LaneName, LaneId>,
    /// Where librdkafka's topic handle is known, the way that a record takes. Emptied on every change.
    by_handle: HashMap<(usize, i32), LaneId, ahash::RandomState>,
    last_id: u64,
}

/// Seeds of the two maps on a record's way. Fixed: their keys are this process's own numbers, which nobody
/// outside can choose.
const SEEDS: [u64; 4] = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];

impl Default for Lanes {
    fn default() -> Lanes {
        let [a, b, c, d] = SEEDS;
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        Lanes {
            lanes: HashMap::with_hasher(hasher.clone()),
            by_name: HashMap::new(),
            by_handle: HashMap::with_hasher(hasher),
            last_id: 0,
        }
    }
}

impl Lanes {
    /// Adds a partition whose start is not known yet. Its number was never used before.
    pub(super) fn add(&mut self, name: LaneName, worker: usize) -> LaneId {
        self.last_id += 1;
        let id = LaneId(self.last_id);
        self.by_handle.clear();
        self.by_name.insert(name.clone(), id);
        let lane = Lane {
            id,
            name,
            worker,
            standing: Standing::Unresolved,
            reading: 0,
            next: 0,
            committed: None,
            committed_owed: None,
            in_doubt: None,
            start: Stored { position: 0, epoch: Epoch(0), owed: None },
            first_partition_count: None,
            paused: false,
            end_seen: None,
            is_at_end: false,
        };
        self.lanes.insert(id, lane);
        id
    }

    pub(super) fn remove(&mut self, id: LaneId) -> Option<Lane> {
        let lane = self.lanes.remove(&id)?;
        self.by_handle.clear();
        if self.by_name.get(&lane.name) == Some(&id) {
            self.by_name.remove(&lane.name);
        }
        Some(lane)
    }

    pub(super) fn get(&self, id: LaneId) -> Option<&Lane> {
        self.lanes.get(&id)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.lanes.values_mut()
    }

    pub(super) fn get_mut(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.lanes.get_mut(&id)
    }

    pub(super) fn named(&self, name: &LaneName) -> Option<LaneId> {
        self.by_name.get(name).copied()
    }

    /// The lane of a record, by librdkafka's topic handle and the partition.
    pub(super) fn of_record(
        &mut self,
        handle: usize,
        partition: i32,
        topic: impl FnOnce() -> String,
    ) -> Option<&mut Lane> {
        let id = match self.by_handle.get(&(handle, partition)) {
            Some(id) => *id,
            None => {
                let id = self.named(&LaneName { topic: topic(), partition })?;
                self.by_handle.insert((handle, partition), id);
                id
            }
        };
        self.lanes.get_mut(&id)
    }

    /// All lanes, by number.
    pub(super) fn sorted(&self) -> Vec<&Lane> {
        let mut lanes: Vec<&Lane> = self.lanes.values().collect();
        lanes.sort_unstable_by_key(|lane| lane.id);
        lanes
    }

    /// Numbers of the lanes that stand like this, in order.
    pub(super) fn that(&self, pick: impl Fn(&Lane) -> bool) -> Vec<LaneId> {
        self.sorted().into_iter().filter(|lane| pick(lane)).map(|lane| lane.id).collect()
    }

    /// The worker with the fewest lanes; among equals by partition, so that one topic spreads the same way
    /// in every process.
    pub(super) fn worker_for(&self, partition: i32, worker_count: usize) -> usize {
        let mut loads = vec![0usize; worker_count.max(1)];
        for lane in self.lanes.values() {
            if let Some(load) = loads.get_mut(lane.worker) {
                *load += 1;
            }
        }
        let first = usize::try_from(partition).unwrap_or(0) % loads.len();
        let least = loads.iter().min().copied().unwrap_or(0);
        let order = (first..loads.len()).chain(0..first);
        order.into_iter().find(|worker| loads.get(*worker) == Some(&least)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(partition: i32) -> LaneName {
        LaneName { topic: "t".to_owned(), partition }
    }

    #[test]
    fn a_lane_number_is_never_used_twice() {
        let mut lanes = Lanes::default();
        let first = lanes.add(name(0), 0);
        lanes.remove(first);
        let second = lanes.add(name(0), 0);
        assert_ne!(first, second);
        assert_eq!(lanes.named(&name(0)), Some(second));
        assert!(lanes.remove(first).is_none());
        assert_eq!(lanes.named(&name(0)), Some(second));
    }

    #[test]
    fn a_record_of_a_lane_that_was_let_go_has_no_lane() {
        let mut lanes = Lanes::default();
        let id = lanes.add(name(3), 0);
        let topic = || "t".to_owned();
        assert_eq!(lanes.of_record(1, 3, topic).map(|lane| lane.id), Some(id));
        assert_eq!(lanes.of_record(1, 3, || unreachable!()).map(|lane| lane.id), Some(id));
        lanes.remove(id);
        assert!(lanes.of_record(1, 3, topic).is_none());
    }

    #[test]
    fn lanes_spread_evenly_whichever_partitions_come() {
        for partitions in [[0, 1, 2, 3], [0, 2, 4, 6], [5, 5, 5, 5]] {
            let mut lanes = Lanes::default();
            for partition in partitions {
                let worker = lanes.worker_for(partition, 2);
                lanes.add(name(partition), worker);
            }
            let on_first = lanes.that(|lane| lane.worker == 0).len();
            assert_eq!(on_first, 2, "{partitions:?}");
        }
    }

    #[test]
    fn only_what_is_stored_is_committed_and_a_start_once() {
        let progress = Progress::default();
        let mut lanes = Lanes::default();
        let id = lanes.add(name(0), 0);
        let lane = lanes.get_mut(id).unwrap();
        assert_eq!(lane.to_commit(&progress), None);
        lane.standing = Standing::Reading;
        lane.start = Stored { position: 4, epoch: Epoch(2), owed: None };
        assert_eq!(lane.to_commit(&progress).map(|commit| commit.position), Some(4));
        lane.committed = Some(4);
        lane.next = 100;
        assert_eq!(lane.to_commit(&progress), None);
        progress.store(id, Stored { position: 8, epoch: Epoch(3), owed: None });
        let commit = lane.to_commit(&progress).unwrap();
        assert_eq!((commit.position, commit.metadata.epoch), (8, Epoch(3)));
        lane.committed = Some(8);
        assert_eq!(lane.to_commit(&progress), None);
        progress.store(id, Stored { position: 6, epoch: Epoch(3), owed: None });
        assert_eq!(lane.to_commit(&progress).map(|commit| commit.position), Some(6));
    }
}
