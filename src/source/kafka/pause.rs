//! Pausing partitions: where a worker asks for it, and where one takes nothing at all.

use std::time::Duration;

use rdkafka::consumer::Consumer;

use super::lanes::{Lane, Standing};
use super::poll::{Loop, list};
use crate::batch::LaneId;

/// After this long a worker that takes nothing gets its partitions paused. Seconds, because after a pause
/// the next record comes 0.7–1.2 s late.
const STUCK_FOR: Duration = Duration::from_secs(3);

impl Loop<'_, '_> {
    /// A worker asks for it.
    pub(super) fn set_paused(&mut self, id: LaneId, paused: bool) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        lane.paused = paused;
        let stuck = self.stuck.get(lane.worker).copied().unwrap_or(false);
        if lane.standing == Standing::Unresolved || stuck {
            return;
        }
        let list = list([&lane.name]);
        let done = if paused { self.consumer().pause(&list) } else { self.consumer().resume(&list) };
        if let Err(error) = done {
            self.count(&error);
        }
    }

    /// Pauses the partitions of a worker that takes nothing, and resumes them once it does.
    pub(super) fn pause_stuck(&mut self, now: Duration) {
        for worker in 0..self.feeds.len() {
            let Some(feed) = self.feeds.get(worker) else { continue };
            let since = feed.stuck_since();
            let stuck = self.stuck.get(worker).copied().unwrap_or(false);
            let wanted = match since {
                Some(since) => stuck || now.saturating_sub(since) >= STUCK_FOR,
                None => false,
            };
            if wanted == stuck {
                continue;
            }
            let concerned =
                |lane: &&Lane| lane.worker == worker && !lane.paused && lane.standing != Standing::Unresolved;
            let lanes = self.lanes.sorted();
            let list = list(lanes.iter().filter(|lane| concerned(lane)).map(|lane| &lane.name));
            let done = if wanted { self.consumer().pause(&list) } else { self.consumer().resume(&list) };
            let partition_count = list.count();
            if wanted {
                tracing::warn!(worker, partition_count, "a worker takes nothing: its partitions are paused");
            } else {
                tracing::info!(worker, partition_count, "the worker takes records again");
            }
            if let Err(error) = done {
                self.count(&error);
            }
            if let Some(stuck) = self.stuck.get_mut(worker) {
                *stuck = wanted;
            }
        }
    }

    /// Pauses or resumes a partition as its lane and its worker stand.
    pub(super) fn set_pauses(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get(id) else { return };
        let stuck = self.stuck.get(lane.worker).copied().unwrap_or(false);
        let one = list([&lane.name]);
        let done =
            if lane.paused || stuck { self.consumer().pause(&one) } else { self.consumer().resume(&one) };
        if let Err(error) = done {
            self.count(&error);
        }
    }
}
