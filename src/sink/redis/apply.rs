//! One batch: a pipeline to each master that it touches, and every reply looked at.
//!
//! Units are sorted by slot; each part ends with the lane's watermark. `MOVED` leaves a unit unacknowledged and
//! the map stale, `ASK` sends it once to where it points, lost scripts are loaded and their units sent again, all
//! within the one call. Nothing else is sent again here: that is the lane's. Read [`RedisSink::apply_batch`] first.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::join_all;
use redis::Value as Reply;
use smallvec::SmallVec;

use super::RedisSink;
use super::classify::Fault;
use super::cluster::{SlotMap, resolve};
use super::command::{checked, delete, encode, nothing, outcome};
use super::commands::Commands;
use super::connect::{Link, Node};
use super::lane::Lane;
use super::memory::Memory;
use super::watermark::{LaneMark, together};
use super::wire::Exchange;
use crate::batch::{Action, Batch, Outcome, Outcomes, Refusal, Unit, WatermarkSeen};
use crate::error::{ServerCode, WorldError};
use crate::retry::worse;
use crate::sink::largest_value;
use crate::sink::slots::slot_of;

/// What has become of a batch so far.
struct Progress<'a> {
    batch: &'a Batch,
    outcomes: Vec<Outcome>,
    watermark: WatermarkSeen,
    error: Option<WorldError>,
    /// Masters whose data turned out to be lost.
    lost: Vec<String>,
    /// Units that are to be sent to another node this once, by node.
    asked: BTreeMap<String, Vec<usize>>,
}

/// Which units a master is sent.
struct Units {
    /// Their indices in the batch.
    indices: Vec<usize>,
    /// Bytes of their keys and values.
    bytes: usize,
    /// True where `OK` in answer to any of them says that it was applied, whichever it is.
    only_writes: bool,
}

/// A master, while the units of a batch are sorted.
struct Routed<'m> {
    master: &'m str,
    /// It holds all history of the lane.
    has_history: bool,
    /// Its watermark stands at the batch's end, or past it.
    has_batch: bool,
    /// No history is to be written to it for now.
    is_full: bool,
    units: Units,
}

/// One master's part of a batch.
struct Part<'a> {
    lane: &'a Lane,
    batch: &'a Batch,
    node: Rc<Node>,
    link: Rc<Link>,
    units: Units,
}

/// What the server said to a part.
struct Answers {
    /// Of each unit, in the part's order; a fault's is [`Outcome::NotAcknowledged`].
    outcomes: Vec<Outcome>,
    /// Faults, by the unit's index in its batch.
    faults: Vec<(usize, Fault)>,
    watermark: Result<WatermarkSeen, Fault>,
    /// Why some of them were not sent again, where that failed. What was answered before stays answered.
    failed: Option<WorldError>,
}

impl RedisSink {
    /// Applies a batch of a lane; see [`crate::sink::Sink::apply`].
    pub(super) async fn apply_batch(&self, lane: &Lane, batch: &Batch) -> Outcomes {
        let mut progress = Progress::new(batch);
        // What a call that was dropped left here: its connections are broken, and known as such.
        lane.sending.borrow_mut().clear();
        if let Err(error) = self.refresh_if_stale().await {
            progress.failed(error);
        }
        let map = self.map();
        lane.follow(&map, &self.own);
        let parts = self.route(lane, &map, &mut progress);
        let links = self.connect_and_enter(lane, parts.keys().map(String::as_str), &mut progress).await;

        let sending = parts.into_iter().filter_map(|(address, units)| {
            let link = Rc::clone(links.get(&address)?);
            Some(Part { lane, batch, node: self.node(&address), link, units })
        });
        let answered = join_all(sending.map(|part| async {
            let answers = self.send_part(&part).await;
            (part, answers)
        }));
        for (part, answers) in answered.await {
            self.take_answers(&part, answers, &mut progress);
        }
        self.send_asked(lane, &mut progress).await;
        if !progress.lost.is_empty() {
            lane.settle_others(&progress.lost, batch.start);
        }
        if let Err(error) = self.name_marks_after(lane, &links).await {
            progress.watermark = together(progress.watermark, watermark_of(&error));
            progress.failed(error);
        }
        progress.finish()
    }

    /// Sorts the units by master.
    fn route(&self, lane: &Lane, map: &SlotMap, progress: &mut Progress<'_>) -> BTreeMap<String, Units> {
        let batch = progress.batch;
        let marks = lane.marks.borrow();
        let mut parts: SmallVec<[Routed<'_>; 4]> = SmallVec::new();
        let room = batch.units.len() / map.masters().count().max(1);
        if batch.everywhere {
            parts.extend(map.masters().map(|master| self.routed(master, marks.get(master), batch, room)));
            if parts.is_empty() {
                progress.unknown(WorldError::NotNow { code: ServerCode::ClusterDown });
            }
        }
        let only_master = map.only_master();
        for (index, unit) in batch.units.iter().enumerate() {
            let master = only_master.or_else(|| map.master_of(slot_of(unit.key.as_bytes())));
            let Some(master) = master else {
                progress.failed(WorldError::NotNow { code: ServerCode::ClusterDown });
                self.noticed(&WorldError::Redirected);
                continue;
            };
            let position = parts.iter().position(|part| part.master == master).unwrap_or_else(|| {
                parts.push(self.routed(master, marks.get(master), batch, room));
                parts.len() - 1
            });
            let part = &mut parts[position];
            let is_history = unit.offsets.is_empty();
            let is_there = match (is_history, &unit.action) {
                (true, Action::Guarded(_)) => false,
                (true, _) => part.has_history,
                (false, _) => part.has_batch,
            };
            if is_there {
                progress.decide(index, Outcome::Applied);
                continue;
            }
            if is_history && part.is_full {
                progress.failed(WorldError::NotNow { code: ServerCode::OutOfMemory });
                continue;
            }
            part.units.add(index, unit, self.is_too_large(unit));
        }
        let wanted = parts.into_iter().filter(|part| batch.everywhere || !part.units.indices.is_empty());
        wanted.map(|part| (part.master.to_owned(), part.units)).collect()
    }

    fn routed<'m>(&self, master: &'m str, mark: Option<&LaneMark>, batch: &Batch, room: usize) -> Routed<'m> {
        Routed {
            master,
            // What a refill writes is for those that lack it (guarded keys have other rows too), and the rest for those
            // that are behind.
            has_history: mark.is_some_and(|mark| !mark.owes && !batch.asks),
            has_batch: mark.is_some_and(|mark| mark.has(batch.end)),
            is_full: self.node(master).is_full(self.refill_memory.get()),
            units: Units { indices: Vec::with_capacity(room), bytes: 0, only_writes: true },
        }
    }

    /// Connects to the masters of a batch, and enters what is new in the owner record. Masters that are
    /// left out cannot be sent to; the error is taken in.
    async fn connect_and_enter(
        &self,
        lane: &Lane,
        addresses: impl IntoIterator<Item = &str>,
        progress: &mut Progress<'_>,
    ) -> BTreeMap<String, Rc<Link>> {
        let mut links = BTreeMap::new();
        for (address, link) in self.links(addresses).await {
            match link {
                Ok(link) => drop(links.insert(address, link)),
                Err(error) => progress.unknown(error),
            }
        }
        if let Err(error) = self.enter_new(lane, &links, progress.batch.everywhere).await {
            let not_owner = error == WorldError::NotOwner;
            progress.unknown(error);
            if not_owner {
                links.clear();
            } else {
                links.retain(|address, link| is_entered(lane, address, link));
            }
        }
        links
    }

    async fn enter_new(
        &self,
        lane: &Lane,
        links: &BTreeMap<String, Rc<Link>>,
        look: bool,
    ) -> Result<(), WorldError> {
        let new = links.iter().any(|(address, link)| !is_entered(lane, address, link));
        if new || (look && self.record_is_lost(lane).await?) {
            self.enter_lane(lane, links).await?;
        }
        Ok(())
    }

    /// Adds the command of a unit. A value over the limit is not sent but its key deleted, in the same place: the
    /// watermark behind it must not vouch for a stale value.
    fn add_command(&self, unit: &Unit, sealed_at_ms: i64, out: &mut Commands) {
        if self.is_too_large(unit) {
            return match unit.action {
                // Of a row's past: what the key holds by now is newer.
                Action::WriteIfAbsent(..) => nothing(unit.key.as_bytes(), out),
                _ => delete(&unit.key, out),
            };
        }
        encode(unit, &self.own, self.rewrite.as_ref(), sealed_at_ms, out);
    }

    /// Bytes that the commands of these units are, as they are sent to a server by whose clock it is that time, Unix
    /// milliseconds. For measuring: nothing is sent.
    pub fn command_bytes(&self, units: &[Unit], sealed_at_ms: i64) -> usize {
        let mut room = self.room();
        units.iter().for_each(|unit| self.add_command(unit, sealed_at_ms, &mut room.commands));
        let bytes = room.commands.as_bytes().len();
        self.keep_room(room);
        bytes
    }

    fn outcome(&self, unit: &Unit, reply: &Reply) -> Result<Outcome, Fault> {
        if self.is_too_large(unit) {
            return checked(reply).map(|_| Outcome::Refused(Refusal::TooLarge));
        }
        outcome(unit, reply)
    }

    fn is_too_large(&self, unit: &Unit) -> bool {
        largest_value(unit) > self.value_bytes_max
    }

    /// Sends one master's part: its units, then the lane's watermark.
    async fn send_part(&self, part: &Part<'_>) -> Result<Answers, WorldError> {
        let sealed_at_ms = part.batch.sealed_at_ms.saturating_add(part.node.clock_offset_ms());
        let mut exchange = self.room();
        let commands = &mut exchange.commands;
        commands.reserve(part.units.indices.len(), part.units.bytes);
        for unit in part.units.indices.iter().filter_map(|index| part.batch.units.get(*index)) {
            self.add_command(unit, sealed_at_ms, commands);
        }
        let (advance, target) = {
            let mut marks = part.lane.marks.borrow_mut();
            let mark = marks.get_mut(&part.node.address).ok_or(WorldError::Redirected)?;
            mark.advance(part.lane.epoch, part.batch.end, part.batch.owed, part.batch.asks)
        };
        commands.add(&advance);
        let refills = part.batch.owed.is_some();
        if part.batch.everywhere {
            if refills {
                commands.add(redis::cmd("INFO").arg("memory"));
                commands.add(redis::cmd("INFO").arg("stats"));
            }
            commands.add(&redis::cmd("TIME"));
        }

        let sent_ms = self.clock.now().unix_ms;
        let mut answered = self.send_for_lane(part.lane, &part.link, exchange).await?;
        let replies = &mut answered.replies;
        if part.batch.everywhere
            && let Some(time) = replies.pop()
        {
            part.node.measure_clock(&time, sent_ms, self.clock.now().unix_ms);
            match (refills, refills.then(|| (replies.pop(), replies.pop()))) {
                (true, Some((Some(stats), Some(memory)))) => {
                    part.node.remembers(Memory::read(&memory, &stats));
                }
                _ => part.node.forgets_memory(),
            }
        }
        let failed = self.resend_where_scripts_were_lost(part, &mut answered).await.err();

        let watermark = answered.replies.pop().map_or(Err(Fault::World(WorldError::Protocol)), |reply| {
            let mut marks = part.lane.marks.borrow_mut();
            match marks.get_mut(&part.node.address) {
                Some(mark) => mark.answered(&reply, target),
                None => Err(Fault::World(WorldError::Redirected)),
            }
        });
        let mut faults = Vec::new();
        let mut outcomes = Vec::with_capacity(part.units.indices.len());
        outcomes.extend(part.units.indices.iter().zip(&answered.replies).map(|(index, reply)| {
            // The answer to a plain SET, so to nearly all. The unit is not looked at for it: by now it is far away in
            // memory.
            if part.units.only_writes && *reply == Reply::Okay {
                return Outcome::Applied;
            }
            match part.batch.units.get(*index).map(|unit| self.outcome(unit, reply)) {
                Some(Ok(outcome)) => outcome,
                Some(Err(fault)) => {
                    faults.push((*index, fault));
                    Outcome::NotAcknowledged
                }
                None => Outcome::NotAcknowledged,
            }
        }));
        self.keep_room(answered);
        Ok(Answers { outcomes, faults, watermark, failed })
    }

    /// Scripts are gone after `SCRIPT FLUSH` or a failover. Units are of different keys, so that sending
    /// some of them again changes no order.
    async fn resend_where_scripts_were_lost(
        &self,
        part: &Part<'_>,
        answered: &mut Exchange,
    ) -> Result<(), WorldError> {
        let lost = |reply: &Reply| matches!(checked(reply), Err(Fault::World(WorldError::NoScript)));
        let Exchange { commands, replies } = answered;
        let mut again = Commands::default();
        for (index, _) in replies.iter().enumerate().filter(|(_, reply)| lost(reply)) {
            again.add_again(commands, index);
        }
        if again.is_empty() {
            return Ok(());
        }
        self.load_scripts(&part.link).await?;
        let fresh = self.send_for_lane(part.lane, &part.link, again.into()).await?.replies;
        for (reply, fresh) in replies.iter_mut().filter(|reply| lost(reply)).zip(fresh) {
            *reply = fresh;
        }
        Ok(())
    }

    /// Sends commands of a lane, known as unanswered meanwhile.
    pub(super) async fn send_for_lane(
        &self,
        lane: &Lane,
        link: &Rc<Link>,
        exchange: Exchange,
    ) -> Result<Exchange, WorldError> {
        if lane.gone.get() {
            return Err(WorldError::NotOwner);
        }
        lane.sending.borrow_mut().push(Rc::clone(link));
        let answered = link.exchange(exchange).await;
        lane.sending.borrow_mut().retain(|sending| !Rc::ptr_eq(sending, link));
        answered
    }

    fn take_answers(
        &self,
        part: &Part<'_>,
        answers: Result<Answers, WorldError>,
        progress: &mut Progress<'_>,
    ) {
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => return progress.unknown(error),
        };
        if let Some(error) = answers.failed {
            progress.unknown(error);
        }
        let address = &part.node.address;
        for (index, outcome) in part.units.indices.iter().zip(answers.outcomes) {
            progress.decide(*index, outcome);
        }
        for (index, fault) in answers.faults {
            match fault {
                Fault::Refused(refusal) => progress.decide(index, Outcome::Refused(refusal)),
                Fault::Ask { node } => {
                    progress.asked.entry(resolve(&node, address)).or_default().push(index);
                }
                Fault::Moved { slot, node } => progress.failed(self.moved(slot, &node, address)),
                Fault::World(error) => self.refused_for_now(part, error, progress),
            }
        }
        match answers.watermark {
            Ok(seen) => {
                if matches!(seen, WatermarkSeen::Missing | WatermarkSeen::Behind(..)) {
                    progress.lost.push(address.clone());
                }
                if seen == WatermarkSeen::NotOwner {
                    progress.failed(WorldError::NotOwner);
                }
                progress.watermark = together(progress.watermark, seen);
            }
            Err(fault) => {
                progress.watermark = together(progress.watermark, WatermarkSeen::Unknown);
                match fault {
                    Fault::Moved { slot, node } => {
                        progress.failed(self.moved(slot, &node, address));
                    }
                    Fault::Ask { .. } => {
                        part.lane.replace_mark(address, &self.own);
                        progress.failed(WorldError::Redirected);
                    }
                    Fault::World(error) => self.refused_for_now(part, error, progress),
                    Fault::Refused(_) => progress.failed(WorldError::Protocol),
                }
            }
        }
    }

    fn refused_for_now(&self, part: &Part<'_>, error: WorldError, progress: &mut Progress<'_>) {
        self.noticed(&error);
        // A demoted server, or new credentials: only a new connection finds the way.
        if let WorldError::NotNow { code: ServerCode::ReadOnly | ServerCode::Auth } = error {
            part.link.give_up();
        }
        progress.failed(error);
    }

    /// Sends what a node that gives a slot away has answered with `ASK` to where it goes, this once.
    async fn send_asked(&self, lane: &Lane, progress: &mut Progress<'_>) {
        let asked = std::mem::take(&mut progress.asked);
        for (address, units) in asked {
            lane.guests.borrow_mut().insert(address.clone());
            let links = self.connect_and_enter(lane, [address.as_str()], progress).await;
            let Some(link) = links.get(&address) else { continue };
            let sealed_at_ms =
                progress.batch.sealed_at_ms.saturating_add(self.node(&address).clock_offset_ms());
            let mut commands = Commands::default();
            for unit in units.iter().filter_map(|index| progress.batch.units.get(*index)) {
                commands.ask_next();
                self.add_command(unit, sealed_at_ms, &mut commands);
            }
            let replies = match self.send_for_lane(lane, link, commands.into()).await {
                Ok(answered) => answered.replies,
                Err(error) => {
                    progress.failed(error);
                    continue;
                }
            };
            for (index, reply) in units.iter().zip(replies.iter().skip(1).step_by(2)) {
                let Some(unit) = progress.batch.units.get(*index) else { continue };
                match self.outcome(unit, reply) {
                    Ok(outcome) => progress.decide(*index, outcome),
                    Err(Fault::Refused(refusal)) => progress.decide(*index, Outcome::Refused(refusal)),
                    Err(Fault::World(error)) => progress.failed(error),
                    Err(Fault::Moved { .. } | Fault::Ask { .. }) => progress.failed(WorldError::Redirected),
                }
            }
        }
    }

    async fn name_marks_after(
        &self,
        lane: &Lane,
        links: &BTreeMap<String, Rc<Link>>,
    ) -> Result<(), WorldError> {
        if lane.has_unnamed_marks() {
            self.name_marks(lane, links).await?;
        }
        Ok(())
    }
}

impl Units {
    fn add(&mut self, index: usize, unit: &Unit, is_too_large: bool) {
        self.indices.push(index);
        self.bytes += unit.key.as_bytes().len() + largest_value(unit);
        let is_write = matches!(unit.action, Action::Write(..) | Action::WriteIfAbsent(..));
        self.only_writes &= is_write && !is_too_large;
    }
}

impl Progress<'_> {
    fn new(batch: &Batch) -> Progress<'_> {
        Progress {
            batch,
            outcomes: vec![Outcome::NotAcknowledged; batch.units.len()],
            watermark: WatermarkSeen::Current,
            error: None,
            lost: Vec::new(),
            asked: BTreeMap::new(),
        }
    }

    fn decide(&mut self, index: usize, outcome: Outcome) {
        if let Some(slot) = self.outcomes.get_mut(index) {
            *slot = outcome;
        }
    }

    /// Takes in an error that left units unacknowledged.
    fn failed(&mut self, error: WorldError) {
        self.error = Some(match self.error.take() {
            Some(former) => worse(former, error),
            None => error,
        });
    }

    /// Takes in that a master gave no answer at all.
    fn unknown(&mut self, error: WorldError) {
        self.watermark = together(self.watermark, watermark_of(&error));
        self.failed(error);
    }

    fn finish(self) -> Outcomes {
        let acknowledged = !self.outcomes.contains(&Outcome::NotAcknowledged);
        let error = if acknowledged && self.watermark == WatermarkSeen::Current { None } else { self.error };
        Outcomes { units: self.outcomes, watermark: self.watermark, error }
    }
}

fn watermark_of(error: &WorldError) -> WatermarkSeen {
    if *error == WorldError::NotOwner { WatermarkSeen::NotOwner } else { WatermarkSeen::Unknown }
}

pub(super) fn is_entered(lane: &Lane, address: &str, link: &Link) -> bool {
    let entered = lane.entered.borrow();
    entered.get(address).is_some_and(|entry| entry.peer.as_ref() == Some(&link.peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::{CacheKey, Expiry, Value};

    /// Found by reading: an `OK` that a guard's script never gives was taken for its answer, where it is a sign that
    /// answers are not those of their commands.
    #[test]
    fn an_ok_is_only_believed_without_looking_where_all_units_are_writes_that_fit() {
        let only_writes = |action: Action, is_too_large: bool| {
            let mut units = Units { indices: Vec::new(), bytes: 0, only_writes: true };
            let unit =
                |action| Unit { key: CacheKey::new(b"key"), action, offsets: SmallVec::new(), entity: 0 };
            units.add(0, &unit(Action::Write(Value::text("x"), Expiry::Never)), false);
            units.add(1, &unit(action), is_too_large);
            assert_eq!(units.indices, [0, 1]);
            units.only_writes
        };
        let write = || Action::Write(Value::text("x"), Expiry::Never);
        assert!(only_writes(write(), false));
        assert!(only_writes(Action::WriteIfAbsent(Value::text("x"), Expiry::Never), false));
        assert!(!only_writes(write(), true));
        assert!(!only_writes(Action::Guarded(Vec::new()), false));
        assert!(!only_writes(Action::DeleteIf(SmallVec::new()), false));
        assert!(!only_writes(Action::Delete, false));
    }
}
