//! Reading a partition again from somewhere else, because a worker asks for it.
//!
//! Each rewind begins a new reading, by whose number a worker tells stale records. Where the last fetch does not tell
//! what can still be read, Kafka is asked; where it does not answer in time, it is asked again in a later turn.

use std::time::Duration;

use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::feed::Word;
use super::ffi;
use super::lanes::{Lane, Standing};
use super::poll::{Loop, list};
use super::positions::ask_watermarks;
use crate::batch::LaneId;
use crate::record::Position;

/// Time for the broker to say what can be read, and for librdkafka to take up the new position.
const WATERMARKS_WITHIN: Duration = Duration::from_secs(2);
const SEEK_WITHIN: Duration = Duration::from_secs(2);
/// Time that one turn spends on rewinds, but for the last one's answer.
const REWINDS_WITHIN: Duration = Duration::from_secs(1);

impl Loop<'_, '_> {
    /// A worker asks for it. Records that come meanwhile are stale, and dropped.
    pub(super) fn rewind(&mut self, id: LaneId, to: Position) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        if lane.standing == Standing::Unresolved {
            return;
        }
        lane.standing = Standing::Rewinding(to);
        if let Some(feed) = self.feeds.get_mut(lane.worker) {
            feed.drop_records(&[id]);
        }
        self.rewinds_asked = true;
    }

    /// Carries out the rewinds that were asked for, and tries those again that Kafka did not answer. Once a turn, so that many of them at a time (a loss is every
    /// lane's) hold up the poll by one answer that does not come, and not by one for each lane.
    pub(super) fn finish_rewinds(&mut self) {
        let until = self.now().saturating_add(REWINDS_WITHIN);
        for id in self.lanes.that(|lane| matches!(lane.standing, Standing::Rewinding(_))) {
            if !self.finish_rewind(id) || self.now() >= until {
                // The others would wait as long for nothing: a later turn's.
                return;
            }
        }
    }

    /// Seeks, counts the reading up and tells the worker; false where Kafka did not answer in time.
    fn finish_rewind(&mut self, id: LaneId) -> bool {
        let Some(lane) = self.lanes.get(id) else { return true };
        let Standing::Rewinding(to) = lane.standing else { return true };
        let (low, high) = match self.range_for(lane, to) {
            Ok(watermarks) => watermarks,
            Err(error) => {
                self.count(&error);
                return false;
            }
        };
        if to > high {
            // The log went back meanwhile: its lane begins anew.
            return self.start_anew(id, low, high);
        }
        let position = to.max(low);
        if !self.reposition(id, position) {
            return false;
        }
        self.set_pauses(id);
        let Some(lane) = self.lanes.get_mut(id) else { return true };
        lane.standing = Standing::Reading;
        lane.reading = lane.reading.saturating_add(1);
        lane.next = position;
        let (topic, partition, reading) = (&lane.name.topic, lane.name.partition, lane.reading);
        tracing::info!(topic, partition, position, reading, "reading again from an earlier position");
        if let Some(feed) = self.feeds.get_mut(lane.worker) {
            feed.say(Word::Rewound { lane: id, reading: lane.reading, position });
        }
        true
    }

    /// First and last position that can be read, as far as one needs to know that reads again from `to`.
    ///
    /// What the lane has read before, and lies within what its last fetch told, is not asked for: an answer waits behind
    /// the fetch that is open (seen: 2 to 42 ms a lane, and a loss is every lane's). Where retention or a new topic
    /// has passed it since, fetching says so ("out of range"). While paused it is not fetched.
    fn range_for(&self, lane: &Lane, to: Position) -> KafkaResult<(Position, Position)> {
        let is_fetched = !lane.paused && self.stuck.get(lane.worker) != Some(&true);
        let told = || ffi::known_watermarks(self.consumer(), &lane.name.topic, lane.name.partition);
        if is_fetched
            && to <= lane.next
            && let Some((low, high)) = told()
            && (low..=high).contains(&to)
        {
            return Ok((low, high));
        }
        ask_watermarks(self.consumer(), &lane.name, WATERMARKS_WITHIN)
    }

    /// Makes the next record of a partition the one at `position` (or the first after it).
    ///
    /// A seek where the partition is being fetched; after an error "out of range" it is not (librdkafka stops
    /// it), and it has to be assigned anew. False where neither worked.
    pub(super) fn reposition(&mut self, id: LaneId, position: Position) -> bool {
        let Some(lane) = self.lanes.get(id) else { return false };
        let name = lane.name.clone();
        let offset = Offset::Offset(position);
        if self.consumer().seek(&name.topic, name.partition, offset, SEEK_WITHIN).is_ok() {
            return true;
        }
        let done = match self.consumer().rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.assign_one_anew(id, position),
            RebalanceProtocol::Eager | RebalanceProtocol::None => self.assign_all_anew(id, position),
        };
        match done {
            Ok(()) => true,
            Err(error) => {
                self.count(&error);
                false
            }
        }
    }

    fn assign_one_anew(&self, id: LaneId, position: Position) -> KafkaResult<()> {
        let Some(lane) = self.lanes.get(id) else { return Ok(()) };
        self.consumer().incremental_unassign(&list([&lane.name]))?;
        let mut anew = TopicPartitionList::new();
        anew.add_partition_offset(&lane.name.topic, lane.name.partition, Offset::Offset(position))?;
        self.consumer().incremental_assign(&anew)
    }

    fn assign_all_anew(&self, id: LaneId, position: Position) -> KafkaResult<()> {
        let mut anew = TopicPartitionList::new();
        for lane in self.lanes.sorted() {
            let next = if lane.id == id { position } else { lane.next };
            anew.add_partition_offset(&lane.name.topic, lane.name.partition, Offset::Offset(next))?;
        }
        self.consumer().assign(&anew)
    }
}
