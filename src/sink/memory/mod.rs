//! The model of the cache: one server in memory, and a sink over it, with the semantics of the real ones.
//!
//! Everything is synchronous and on a virtual clock, so that a simulation decides what lands when. A batch
//! is sent with [`MemorySink::send`]; what comes back may land ([`Pipeline::land`]), be answered
//! ([`MemorySink::answer`]), or lose its answer ([`MemorySink::lose`]) and still land later, unless its
//! connection was killed meanwhile. Start at [`MemorySink`].

mod member;
mod server;

pub use member::MemoryScore;
pub use server::{Kept, MemoryRedis, MemoryValue, Snapshot};

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use crate::batch::{
    Action, Batch, Claim, Epoch, LaneId, LaneName, Outcome, Outcomes, Owed, Purge, Purged, Refusal, Taken,
    Unit, WatermarkSeen,
};
use crate::error::WorldError;
use crate::record::Position;
use crate::refill::LaneReport;
use crate::sink::own::{Entry, Found, Mark, OwnKeys, OwnerRecord, Peer, beginning, epoch_above};
use crate::sink::slots::slot_of;
use crate::sink::{RefillAsked, Rewrite, Sink, largest_value};

/// The node's name in owner records.
const NODE: &str = "memory";

/// A client of a [`MemoryRedis`].
#[derive(Debug)]
pub struct MemorySink {
    server: MemoryRedis,
    own: OwnKeys,
    value_bytes_max: usize,
    rewrite: Option<Rewrite>,
    client: RefCell<Client>,
}

#[derive(Debug, Default)]
struct Client {
    connection: Option<Peer>,
    /// Connections that were lost with commands unanswered, to be killed before anything else is sent.
    suspects: Vec<Peer>,
    lanes: HashMap<LaneId, Lane>,
}

#[derive(Debug)]
struct Lane {
    epoch: Epoch,
    record: Vec<u8>,
    mark: Vec<u8>,
    /// The position last acknowledged; `None` where the mark is to be set whatever is there.
    told: Option<Position>,
    told_owed: Option<Owed>,
    /// A position that was sent and not acknowledged: it may be there.
    sent: Option<Position>,
    sent_owed: Option<Owed>,
    /// True where the server lacks history that the lane owes.
    owes: bool,
    entered: Option<Peer>,
}

/// A batch on its way: sent, and not answered.
#[derive(Debug)]
pub struct Pipeline {
    server: MemoryRedis,
    own: OwnKeys,
    rewrite: Option<Rewrite>,
    peer: Peer,
    lane: LaneId,
    units: Vec<Unit>,
    too_large: Vec<bool>,
    sealed_at_ms: i64,
    advance: Option<Advance>,
    landed: Option<(Vec<Outcome>, WatermarkSeen)>,
}

/// How a watermark is to be moved.
#[derive(Debug)]
struct Advance {
    mark: Vec<u8>,
    epoch: Epoch,
    target: Position,
    told: Option<(Position, Option<Owed>)>,
    sent: Option<(Position, Option<Owed>)>,
    owed: Option<Owed>,
}

/// What sending a batch came to.
#[derive(Debug)]
pub enum Sending {
    /// It is on its way.
    Sent(Box<Pipeline>),
    /// It could not be sent: what became of it.
    Failed(Outcomes),
}

impl Pipeline {
    /// The server carries it out, all at once. False where its connection is gone: it never lands.
    pub fn land(&mut self) -> bool {
        if self.landed.is_some() || !self.server.is_connected(&self.peer) {
            return self.landed.is_some();
        }
        let refusing = self.server.refusing().is_some();
        let carried_out = self.units.iter().zip(&self.too_large).map(|(unit, too_large)| match too_large {
            _ if refusing => Outcome::NotAcknowledged,
            true => {
                if let Some(deleted) = deleted(unit) {
                    self.carry_out(&deleted);
                }
                Outcome::Refused(Refusal::TooLarge)
            }
            false => self.carry_out(unit),
        });
        let outcomes = carried_out.collect();
        let seen = match &self.advance {
            Some(advance) => advance.carry_out(&self.server, refusing),
            None => WatermarkSeen::Current,
        };
        self.landed = Some((outcomes, seen));
        true
    }

    /// The server carries out the first `count` units, and then the connection breaks: the rest and the
    /// watermark never land. How many were carried out; `None` where the connection was gone before.
    pub fn land_in_part(&mut self, count: usize) -> Option<usize> {
        if self.landed.is_some() || !self.server.is_connected(&self.peer) {
            return None;
        }
        let refusing = self.server.refusing().is_some();
        let taken = self.units.iter().zip(&self.too_large).take(count);
        for (unit, too_large) in taken.filter(|_| !refusing) {
            let sent = if *too_large { deleted(unit) } else { Some(unit.clone()) };
            if let Some(sent) = sent {
                self.carry_out(&sent);
            }
        }
        self.server.cut(&self.peer);
        Some(count.min(self.units.len()))
    }

    fn carry_out(&self, unit: &Unit) -> Outcome {
        self.server.carry_out(unit, &self.own, self.rewrite.as_ref(), self.sealed_at_ms)
    }

    /// The connection that it was sent over: what is sent over one lands in the order of sending.
    pub fn connection(&self) -> &Peer {
        &self.peer
    }

    /// The lane that it belongs to.
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    fn unanswered(&self, error: WorldError) -> Outcomes {
        let units = vec![Outcome::NotAcknowledged; self.units.len()];
        Outcomes { units, watermark: WatermarkSeen::Unknown, error: Some(error) }
    }
}

impl Advance {
    fn carry_out(&self, server: &MemoryRedis, refusing: bool) -> WatermarkSeen {
        let held = server.mark(&self.mark);
        if held.is_some_and(|held| held.epoch > self.epoch) {
            return WatermarkSeen::NotOwner;
        }
        if let Some(told) = self.told {
            let Some(held) = held else { return WatermarkSeen::Missing };
            let is = (held.position, held.owed);
            let ours = held.epoch == self.epoch;
            let known = is == told || (ours && (is == (self.target, self.owed) || Some(is) == self.sent));
            if !known && held.position <= told.0 {
                return WatermarkSeen::Behind(held.position, held.owed);
            }
        }
        let target = Mark { epoch: self.epoch, position: self.target, owed: self.owed };
        let there = held == Some(target);
        if refusing && !there {
            return WatermarkSeen::Unknown;
        }
        server.set_mark(&self.mark, target);
        WatermarkSeen::Current
    }
}

impl MemorySink {
    /// A client of that server, for this group, under this prefix of Stoker's own keys.
    pub fn new(server: MemoryRedis, own_prefix: &str, group: &str, value_bytes_max: usize) -> MemorySink {
        let own = OwnKeys::new(own_prefix, group);
        MemorySink { server, own, value_bytes_max, rewrite: None, client: RefCell::default() }
    }

    /// The same as a part of that rewrite, where there is one.
    pub fn rewriting(self, rewrite: Option<Rewrite>) -> MemorySink {
        MemorySink { rewrite, ..self }
    }

    /// The names of Stoker's own keys, as this sink makes them.
    pub fn own_keys(&self) -> &OwnKeys {
        &self.own
    }

    /// [`Sink::take_over`], at once.
    ///
    /// Errors: as there.
    pub fn take_over_now(&self, claim: &Claim) -> Result<Taken, WorldError> {
        let mut client = self.client.borrow_mut();
        client.lanes.remove(&claim.lane);
        let peer = client.connection(&self.server);
        if let Some(code) = self.server.refusing() {
            return Err(WorldError::NotNow { code });
        }
        let record_key = self.own.owner_record(&claim.name);
        let mark = self.mark_key(&claim.name);
        let former = self.server.record(&record_key).unwrap_or_default();
        let held = self.server.mark(&mark);
        let newest = held.map_or(Epoch(0), |held| held.epoch).max(former.epoch).max(claim.above);
        let epoch = epoch_above(newest, self.server.now_ms());
        for named in former.entries.values().filter_map(|entry| entry.peer.as_ref()) {
            if *named != peer {
                self.server.kill(named);
            }
        }
        let found = held.map_or(Found::Lost, |held| Found::At(held.position, held.owed));
        let begun = beginning(claim, &[found]);
        let (position, owed) = begun.masters.first().copied().unwrap_or((claim.start, None));
        let position = position.max(0);
        self.server.set_mark(&mark, Mark { epoch, position, owed });
        let mut lane = Lane {
            epoch,
            record: record_key,
            mark,
            told: Some(position),
            told_owed: owed,
            sent: None,
            sent_owed: None,
            owes: owed.is_some(),
            entered: None,
        };
        self.enter(&mut lane, &peer)?;
        client.lanes.insert(claim.lane, lane);
        Ok(Taken { epoch, standing: begun.standing, owed: begun.owed })
    }

    /// Sends a batch: connects, fences and enters first where that is due.
    pub fn send(&self, batch: &Batch) -> Sending {
        let mut client = self.client.borrow_mut();
        let peer = client.connection(&self.server);
        let Some(lane) = client.lanes.get_mut(&batch.lane) else {
            return Sending::Failed(failed(batch, WorldError::NotOwner));
        };
        if (batch.everywhere || lane.entered.as_ref() != Some(&peer))
            && let Err(error) = self.enter(lane, &peer)
        {
            return Sending::Failed(failed(batch, error));
        }
        let too_large: Vec<bool> =
            batch.units.iter().map(|unit| largest_value(unit) > self.value_bytes_max).collect();
        let advance = (batch.everywhere || !batch.units.is_empty()).then(|| {
            let end = batch.end;
            let target = lane.told.map_or(end, |told| told.max(end)).max(0);
            lane.owes = (lane.owes || batch.asks) && batch.owed.is_some();
            let owed = batch.owed.filter(|_| lane.owes);
            let sent = lane.sent.replace(target).map(|sent| (sent, lane.sent_owed));
            lane.sent_owed = owed;
            let told = lane.told.map(|told| (told, lane.told_owed));
            Advance { mark: lane.mark.clone(), epoch: lane.epoch, target, told, sent, owed }
        });
        Sending::Sent(Box::new(Pipeline {
            server: self.server.clone(),
            own: self.own.clone(),
            rewrite: self.rewrite.clone(),
            peer,
            lane: batch.lane,
            too_large,
            units: batch.units.clone(),
            sealed_at_ms: batch.sealed_at_ms,
            advance,
            landed: None,
        }))
    }

    /// The answer of a pipeline arrives; where it never landed, its connection is found broken.
    pub fn answer(&self, pipeline: &Pipeline) -> Outcomes {
        let Some((units, seen)) = &pipeline.landed else {
            return self.lost(pipeline, WorldError::Disconnected);
        };
        let mut client = self.client.borrow_mut();
        if let (Some(lane), Some(advance)) = (client.lanes.get_mut(&pipeline.lane), &pipeline.advance) {
            lane.answered(*seen, advance.target);
        }
        let refused = units.contains(&Outcome::NotAcknowledged) || *seen == WatermarkSeen::Unknown;
        let error = match (seen, self.server.refusing()) {
            (WatermarkSeen::NotOwner, _) => Some(WorldError::NotOwner),
            (_, Some(code)) if refused => Some(WorldError::NotNow { code }),
            _ if refused => Some(WorldError::Disconnected),
            _ => None,
        };
        Outcomes { units: units.clone(), watermark: *seen, error }
    }

    /// The answer of a pipeline does not come in time. It may still land.
    pub fn lose(&self, pipeline: &Pipeline) -> Outcomes {
        self.lost(pipeline, WorldError::Timeout)
    }

    /// [`Sink::apply`], at once: sent, landed and answered.
    pub fn apply_now(&self, batch: &Batch) -> Outcomes {
        match self.send(batch) {
            Sending::Sent(mut pipeline) => {
                pipeline.land();
                self.answer(&pipeline)
            }
            Sending::Failed(outcomes) => outcomes,
        }
    }

    /// [`Sink::purge`], at once: all of it in one step.
    ///
    /// Errors: as there.
    pub fn purge_now(&self, purge: &Purge) -> Result<Purged, WorldError> {
        if !self.client.borrow().lanes.contains_key(&purge.lane) {
            return Err(WorldError::NotOwner);
        }
        if let Some(code) = self.server.refusing() {
            return Err(WorldError::NotNow { code });
        }
        let given = |key: &&Vec<u8>| purge.templates.iter().any(|template| template.may_give(key));
        let keys = self.server.dump();
        let keys = keys.keys().filter(given).filter(|key| !self.own.is_own(key));
        let deleted = keys.filter(|key| self.server.purge(key, &self.own, purge)).count();
        Ok(Purged { deleted: u64::try_from(deleted).unwrap_or(u64::MAX), done: true })
    }

    /// [`Sink::release`], at once.
    pub fn release_now(&self, lane: LaneId) {
        let mut client = self.client.borrow_mut();
        let Some(lane) = client.lanes.remove(&lane) else { return };
        let whole = client.connection.as_ref().filter(|peer| self.server.is_connected(peer));
        if let Some(mut record) = self.server.record(&lane.record)
            && record.epoch == lane.epoch
        {
            // What was sent over a connection that broke may still land: the next owner fences it.
            record
                .entries
                .values_mut()
                .for_each(|entry| drop(entry.peer.take_if(|peer| Some(&*peer) == whole)));
            self.server.set_record(&lane.record, &record);
        }
    }

    fn lost(&self, pipeline: &Pipeline, error: WorldError) -> Outcomes {
        self.client.borrow_mut().give_up(&pipeline.peer);
        pipeline.unanswered(error)
    }

    /// Enters a connection in the lane's record; gives up where the record is newer, fences who is named in
    /// an older one.
    fn enter(&self, lane: &mut Lane, peer: &Peer) -> Result<(), WorldError> {
        let former = self.server.record(&lane.record).unwrap_or_default();
        if former.epoch > lane.epoch {
            return Err(WorldError::NotOwner);
        }
        if former.epoch < lane.epoch {
            for named in former.entries.values().filter_map(|entry| entry.peer.as_ref()) {
                if named != peer {
                    self.server.kill(named);
                }
            }
        }
        let watermark = Some(String::from_utf8_lossy(&lane.mark).into_owned());
        let entry = Entry { peer: Some(peer.clone()), watermark };
        let entries = BTreeMap::from([(NODE.to_owned(), entry)]);
        self.server.set_record(&lane.record, &OwnerRecord { epoch: lane.epoch, entries });
        lane.entered = Some(peer.clone());
        Ok(())
    }

    fn mark_key(&self, name: &LaneName) -> Vec<u8> {
        self.own.watermark(name, slot_of(&self.own.owner_record(name)))
    }
}

impl Client {
    /// The connection in use; where it is gone, a new one over which the lost ones are killed first.
    fn connection(&mut self, server: &MemoryRedis) -> Peer {
        if let Some(peer) = &self.connection {
            if server.is_connected(peer) {
                return peer.clone();
            }
            self.connection = None;
        }
        let peer = server.connect();
        for suspect in self.suspects.drain(..) {
            server.kill(&suspect);
        }
        self.connection = Some(peer.clone());
        peer
    }

    fn give_up(&mut self, peer: &Peer) {
        self.connection.take_if(|connection| connection == peer);
        if !self.suspects.contains(peer) {
            self.suspects.push(peer.clone());
        }
    }
}

impl Lane {
    fn answered(&mut self, seen: WatermarkSeen, target: Position) {
        match seen {
            WatermarkSeen::Current => (self.told, self.told_owed) = (Some(target), self.sent_owed),
            WatermarkSeen::Missing => (self.told, self.told_owed, self.owes) = (None, None, true),
            WatermarkSeen::Behind(position, owed) => {
                (self.told, self.told_owed, self.owes) = (Some(position), owed, owed.is_some());
            }
            WatermarkSeen::NotOwner | WatermarkSeen::Unknown => return,
        }
        (self.sent, self.sent_owed) = (None, None);
    }
}

/// What is sent in place of a unit whose value is over the limit. Nothing where it is of a row's past.
fn deleted(unit: &Unit) -> Option<Unit> {
    let Unit { key, offsets, entity, action } = unit;
    let present = !matches!(action, Action::WriteIfAbsent(..));
    present.then(|| Unit {
        key: key.clone(),
        action: Action::Delete,
        offsets: offsets.clone(),
        entity: *entity,
    })
}

fn failed(batch: &Batch, error: WorldError) -> Outcomes {
    let watermark = match error {
        WorldError::NotOwner => WatermarkSeen::NotOwner,
        _ => WatermarkSeen::Unknown,
    };
    Outcomes { units: vec![Outcome::NotAcknowledged; batch.units.len()], watermark, error: Some(error) }
}

impl Sink for MemorySink {
    async fn take_over(&self, claim: &Claim) -> Result<Taken, WorldError> {
        self.take_over_now(claim)
    }

    async fn apply(&self, batch: &Batch) -> Outcomes {
        self.apply_now(batch)
    }

    async fn purge(&self, purge: &Purge) -> Result<Purged, WorldError> {
        self.purge_now(purge)
    }

    /// The model knows no requests: who drives a worker hands them to it.
    async fn refill_asked(&self) -> Result<Option<RefillAsked>, WorldError> {
        Ok(None)
    }

    async fn tell_refill(&self, _: &str, _: &[(LaneName, LaneReport)], _: i64) -> Result<(), WorldError> {
        Ok(())
    }

    async fn release(&self, lane: LaneId) {
        self.release_now(lane);
    }

    fn abandon(&self, lane: LaneId) {
        self.client.borrow_mut().lanes.remove(&lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::{CacheKey, Expiry, StringKind, Value};

    fn claim(lane: u64) -> Claim {
        let name = LaneName { topic: "t".into(), partition: 0 };
        Claim { lane: LaneId(lane), name, above: Epoch(0), committed: None, start: 0, low: 0, owed: None }
    }

    fn batch(lane: u64, end: Position, value: &str) -> Batch {
        let value = Value::String { kind: StringKind::Text, bytes: value.into() };
        let unit = Unit {
            key: CacheKey::new(b"k"),
            action: Action::Write(value, Expiry::Never),
            offsets: [end - 1].into_iter().collect(),
            entity: 0,
        };
        Batch {
            lane: LaneId(lane),
            attempt: 1,
            units: vec![unit],
            start: end - 1,
            end,
            everywhere: false,
            commits: smallvec::SmallVec::new(),
            sealed_at_ms: 0,
            owed: None,
            asks: false,
        }
    }

    fn sent(sink: &MemorySink, batch: &Batch) -> Pipeline {
        match sink.send(batch) {
            Sending::Sent(pipeline) => *pipeline,
            Sending::Failed(outcomes) => panic!("{outcomes:?}"),
        }
    }

    fn sink(server: &MemoryRedis) -> MemorySink {
        MemorySink::new(server.clone(), "stoker:", "g", 100)
    }

    fn value(server: &MemoryRedis) -> Option<MemoryValue> {
        server.get(b"k").map(|(value, _)| value)
    }

    fn string(value: &str) -> Option<MemoryValue> {
        Some(MemoryValue::String(value.into()))
    }

    #[test]
    fn a_pipeline_whose_answer_was_lost_lands_until_its_connection_is_killed() {
        for kills in [true, false] {
            let server = MemoryRedis::new(0);
            server.allow_kills(kills);
            let sink = sink(&server);
            sink.take_over_now(&claim(1)).unwrap();
            let mut late = sent(&sink, &batch(1, 1, "old"));
            assert_eq!(sink.lose(&late).error, Some(WorldError::Timeout));
            assert_eq!(sink.apply_now(&batch(1, 1, "new")).units, [Outcome::Applied]);
            assert_eq!(late.land(), !kills);
            assert_eq!(value(&server), string(if kills { "new" } else { "old" }));
        }
    }

    #[test]
    fn taking_over_kills_what_the_former_owner_has_under_way() {
        let server = MemoryRedis::new(0);
        let (first, second) = (sink(&server), sink(&server));
        first.take_over_now(&claim(1)).unwrap();
        let mut late = sent(&first, &batch(1, 1, "old"));
        second.take_over_now(&claim(2)).unwrap();
        assert_eq!(second.apply_now(&batch(2, 1, "new")).units, [Outcome::Applied]);
        assert!(!late.land());
        assert_eq!(first.answer(&late).error, Some(WorldError::Disconnected));
        assert_eq!(first.apply_now(&batch(1, 1, "old")).error, Some(WorldError::NotOwner));
        assert_eq!(value(&server), string("new"));
    }

    #[test]
    fn a_resend_of_what_did_land_is_no_other_owner() {
        let server = MemoryRedis::new(0);
        let sink = sink(&server);
        sink.take_over_now(&claim(1)).unwrap();
        let mut pipeline = sent(&sink, &batch(1, 1, "x"));
        assert!(pipeline.land());
        sink.lose(&pipeline);
        let outcomes = sink.apply_now(&batch(1, 1, "x"));
        assert_eq!((outcomes.units, outcomes.watermark), (vec![Outcome::Applied], WatermarkSeen::Current));
    }

    #[test]
    fn a_server_goes_back_to_a_snapshot_and_forgets_its_connections() {
        let server = MemoryRedis::new(0);
        let sink = sink(&server);
        sink.take_over_now(&claim(1)).unwrap();
        sink.apply_now(&batch(1, 1, "one"));
        let snapshot = server.snapshot();
        sink.apply_now(&batch(1, 2, "two"));
        let mut late = sent(&sink, &batch(1, 3, "three"));
        server.restart();
        server.rollback(&snapshot);
        assert!(!late.land());
        assert_eq!(sink.answer(&late).error, Some(WorldError::Disconnected));
        assert_eq!(value(&server), string("one"));
        assert_eq!(sink.apply_now(&batch(1, 3, "three")).watermark, WatermarkSeen::Behind(1, None));
    }

    #[test]
    fn keys_are_gone_when_their_time_has_come() {
        let server = MemoryRedis::new(1_000);
        server.put(b"k", MemoryValue::Other, Some(2_000));
        server.set_now(1_999);
        assert!(server.get(b"k").is_some());
        server.set_now(2_000);
        assert!(server.get(b"k").is_none() && server.dump().is_empty());
    }
}
