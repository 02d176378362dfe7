//! Positions that cannot be read: below what retention left, or past the end of a topic that was cut or made anew.
//!
//! librdkafka's reset policy is `error`, so that it stops such a partition and says so; what is done about it is
//! decided here. Retention leaves a gap, which the lane walks over like any other. A log that went back ends the
//! lane and begins another: below the position there are other records now, and nothing that was said of the old
//! ones (position, watermark, batch in flight) holds for them. Read [`Loop::look_at_positions`].

use std::time::Duration;

use super::lanes::Standing;
use super::poll::Loop;
use super::positions::{Found, ask_watermarks};
use super::start::{Known, start};
use crate::batch::LaneId;
use crate::record::Position;
use crate::source::Stored;

/// Time for the broker to say what can be read.
const WATERMARKS_WITHIN: Duration = Duration::from_secs(2);

impl Loop<'_, '_> {
    /// Compares where each lane reads with what can be read, and brings those back that are out of range.
    pub(super) fn look_at_positions(&mut self) {
        // Past the end is believed only where librdkafka was told so too: right after a change of leader the
        // end can look lower than it is.
        let told = self.out_of_range;
        for id in self.lanes.that(|lane| lane.standing == Standing::Reading) {
            let Some(lane) = self.lanes.get(id) else { continue };
            let (low, high) = match ask_watermarks(self.consumer(), &lane.name, WATERMARKS_WITHIN) {
                Ok(watermarks) => watermarks,
                Err(error) => {
                    self.count(&error);
                    return;
                }
            };
            let position = lane.next;
            let done = if position < low {
                self.pass_gap(id, low)
            } else if told && position > high {
                self.start_anew(id, low, high)
            } else if told {
                // librdkafka has stopped the partition that the error was of, whatever its range is by now.
                let done = self.reposition(id, position);
                self.set_pauses(id);
                done
            } else {
                true
            };
            if !done {
                // `out_of_range` stays as it is: the next tick tries again.
                return;
            }
        }
        self.out_of_range = false;
    }

    /// Retention took records that were never read. What was read before them is still in the lane's hands and
    /// is applied like any other; it goes on behind the gap.
    fn pass_gap(&mut self, id: LaneId, low: Position) -> bool {
        if !self.reposition(id, low) {
            return false;
        }
        self.set_pauses(id);
        let Some(lane) = self.lanes.get_mut(id) else { return true };
        tracing::error!(
            topic = lane.name.topic,
            partition = lane.name.partition,
            position = lane.next,
            low,
            "the position is out of range, so records were never applied: reading from the earliest position"
        );
        self.source.status.missed(&lane.name.topic, lane.next, low);
        lane.next = low;
        true
    }

    /// The log ends before the position: it was cut, or is another one of the same name. Its lane is lost, and
    /// another begins where a newly assigned one would.
    pub(super) fn start_anew(&mut self, id: LaneId, low: Position, high: Position) -> bool {
        let Some(lane) = self.lanes.get(id) else { return true };
        let Stored { epoch, owed, .. } = self.progress.get(id).unwrap_or(lane.start);
        let known = Known { committed: lane.committed, low, high, added: false };
        let (name, worker, position) = (lane.name.clone(), lane.worker, lane.next);
        let first_partition_count = lane.first_partition_count;
        if !self.reposition(id, start(known, self.source.start).0) {
            return false;
        }
        tracing::error!(
            topic = name.topic,
            partition = name.partition,
            position,
            low,
            high,
            "the partition ends before the position: it was cut or made anew, and its lane starts anew"
        );
        self.lose(&[id]);
        let anew = self.lanes.add(name.clone(), worker);
        self.settle(anew, &Found { name, known, epoch, owed, first_partition_count });
        self.set_pauses(anew);
        true
    }
}
