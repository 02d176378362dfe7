//! Owning a lane: the owner record, taking over, leaving.
//!
//! Taking over raises the epoch, kills the former owner's connections, enters one's own, and only then touches a
//! watermark. What the record holds is described in [`crate::sink::own`]; when a lane is claimed is not decided
//! here. Read [`RedisSink::take_over_lane`] first.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use redis::Value as Reply;

use super::RedisSink;
use super::cluster::SlotMap;
use super::command::bytes_of;
use super::connect::Link;
use super::lane::Lane;
use super::scripts::{ENTER, RAISE};
use super::watermark::LaneMark;
use crate::batch::{Claim, Epoch, Owed, Standing, Taken, WatermarkSeen};
use crate::error::{ServerCode, WorldError};
use crate::sink::own::{Beginning, Entry, Found, Mark, OwnerRecord, beginning, epoch_above};
use crate::sink::slots::slot_of;

/// How often the epoch is raised anew, where the record or a watermark turns out to hold a newer one, before
/// the attempt is given up as lost to somebody who does the same.
const RAISES_MAX: u32 = 8;

type Links = BTreeMap<String, Rc<Link>>;

impl RedisSink {
    /// Takes a lane over; see [`crate::sink::Sink::take_over`].
    ///
    /// `attempt` is looked at before each step: once it was called off, nothing more is sent, or the steps would
    /// take the lane from who has it by then.
    pub(super) async fn take_over_lane(&self, claim: &Claim, attempt: &Attempt) -> Result<Taken, WorldError> {
        self.refresh_if_stale().await?;
        let map = self.map();
        let links: Links = self
            .links(map.masters())
            .await
            .into_iter()
            .map(|(node, link)| link.map(|link| (node, link)))
            .collect::<Result<_, _>>()?;
        let record_key = self.own.owner_record(&claim.name);
        let home = link_of(&map, &links, &record_key)?;

        let server_ms = self.server_ms(&map, &record_key)?;
        let mut epoch = epoch_above(claim.above, server_ms);
        let mut former = Former::default();
        let mut looked = Looked { newest: epoch, ..Looked::default() };
        for _ in 0..RAISES_MAX {
            let record;
            (epoch, record) = self.raise(&home, &record_key, epoch, attempt).await?;
            self.fence(&record).await;
            former.add(record);
            looked = self.look_at_marks(claim, &map, &links, &former.watermarks).await?;
            if looked.newest < epoch {
                break;
            }
            // The record was lost and a watermark was not: its epoch counts as well.
            epoch = epoch_above(looked.newest, server_ms);
        }
        if looked.newest >= epoch {
            return Err(WorldError::NotOwner);
        }

        // The record names our connections and still the former watermarks, until ours are set.
        let mut record = OwnerRecord { epoch, entries: former.last };
        record.entries.values_mut().for_each(|entry| entry.peer = None);
        for (node, link) in &links {
            record.entries.entry(node.clone()).or_default().peer = Some(link.peer.clone());
        }
        attempt.goes_on()?;
        if let Some(older) = self.enter(&home, &record_key, &record).await? {
            // Somebody wrote it anew after it was lost once more.
            self.fence(&older).await;
        }

        let found: Vec<Found> = looked.masters.values().map(|master| master.found).collect();
        let Beginning { standing, owed, masters } = beginning(claim, &found);
        let lane = Rc::new(Lane {
            name: claim.name.clone(),
            epoch,
            record: record_key,
            marks: RefCell::default(),
            entered: RefCell::new(record.entries),
            guests: RefCell::new(BTreeSet::new()),
            sending: RefCell::default(),
            map: RefCell::new(Rc::clone(&map)),
            scan: RefCell::default(),
            gone: Cell::new(false),
        });
        for ((node, master), (position, owed)) in looked.masters.into_iter().zip(masters) {
            let intact = match master.found {
                Found::At(at, _) => claim.committed.is_none_or(|committed| at >= committed),
                Found::Nothing => true,
                Found::Lost => false,
            };
            let mut mark = LaneMark { owes: owed.is_some(), ..LaneMark::new(master.key) };
            let link = links.get(&node).ok_or(WorldError::Redirected)?;
            let (cmd, target) = mark.advance(epoch, position, owed, false);
            attempt.goes_on()?;
            let reply = self.call(link, cmd).await?;
            match mark.answered(&reply, target) {
                Ok(WatermarkSeen::Current) => {}
                Ok(_) => return Err(WorldError::NotOwner),
                Err(_) => return Err(WorldError::Protocol),
            }
            mark.settled =
                claim.committed.filter(|_| intact && owed.is_none() && standing != Standing::Intact);
            lane.marks.borrow_mut().insert(node, mark);
        }
        self.name_marks(&lane, &links).await?;
        self.drop_keys(&looked.out_of_use).await;
        attempt.goes_on()?;
        self.lanes.borrow_mut().insert(claim.lane, lane);
        Ok(Taken { epoch, standing, owed })
    }

    /// Leaves a lane: strikes its connections from the record, keeps the watermarks named there.
    ///
    /// Only connections that are whole are struck. What was sent over one that broke may still land, so the
    /// next owner has to fence it.
    pub(super) async fn leave(&self, lane: &Lane) -> Result<(), WorldError> {
        let map = self.map();
        let address = map.master_of(slot_of(&lane.record)).ok_or(WorldError::Redirected)?;
        let home = self.node(address).live().ok_or(WorldError::Disconnected)?;
        let mut record = lane.record_to_enter(&BTreeMap::new());
        for (address, entry) in &mut record.entries {
            let whole = self.node(address).live().map(|link| link.peer.clone());
            entry.peer.take_if(|peer| whole.as_ref() == Some(peer));
        }
        self.enter(&home, &lane.record, &record).await.map(drop)
    }

    /// Enters the lane's connections in its record where one of them is not named there yet, or a mark is
    /// not. Where the record was lost, it is written again and who is named in an older one is fenced.
    pub(super) async fn enter_lane(&self, lane: &Lane, links: &Links) -> Result<(), WorldError> {
        let home = self.home(lane).await?;
        let record = lane.record_to_enter(links);
        if let Some(former) = self.enter(&home, &lane.record, &record).await? {
            self.fence(&former).await;
        }
        let out_of_use = lane.was_entered(record);
        self.drop_keys(&out_of_use).await;
        Ok(())
    }

    /// Looks whether the record is still ours; true where it was lost and is to be written again.
    pub(super) async fn record_is_lost(&self, lane: &Lane) -> Result<bool, WorldError> {
        let home = self.home(lane).await?;
        let mut cmd = ENTER.call(&[&lane.record]);
        cmd.arg(lane.epoch.0);
        match self.call(&home, cmd).await? {
            Reply::Array(parts) => match parts.first() {
                Some(Reply::Int(0)) => Ok(false),
                Some(Reply::Int(1)) => Ok(true),
                Some(Reply::Int(-1)) => Err(WorldError::NotOwner),
                _ => Err(WorldError::Protocol),
            },
            _ => Err(WorldError::Protocol),
        }
    }

    /// Names marks that were set but are not in the record yet.
    pub(super) async fn name_marks(&self, lane: &Lane, links: &Links) -> Result<(), WorldError> {
        let changed = *lane.entered.borrow() != lane.record_to_enter(links).entries;
        if changed || lane.has_unnamed_marks() {
            self.enter_lane(lane, links).await?;
        }
        Ok(())
    }

    async fn home(&self, lane: &Lane) -> Result<Rc<Link>, WorldError> {
        let map = self.map();
        match map.master_of(slot_of(&lane.record)) {
            Some(address) => self.link(address).await,
            None => Err(WorldError::NotNow { code: ServerCode::ClusterDown }),
        }
    }

    /// The clock of the server that has a key, Unix milliseconds.
    fn server_ms(&self, map: &SlotMap, key: &[u8]) -> Result<i64, WorldError> {
        let address = map.master_of(slot_of(key)).ok_or(WorldError::Redirected)?;
        Ok(self.clock.now().unix_ms.saturating_add(self.node(address).clock_offset_ms()))
    }

    /// Raises the record's epoch to `epoch`, or above its own where that is newer. Returns it, and the record
    /// as it was.
    async fn raise(
        &self,
        home: &Link,
        key: &[u8],
        mut epoch: Epoch,
        attempt: &Attempt,
    ) -> Result<(Epoch, OwnerRecord), WorldError> {
        for _ in 0..RAISES_MAX {
            attempt.goes_on()?;
            let mut cmd = RAISE.call(&[key]);
            cmd.arg(epoch.0);
            let (raised, former) = state_and_record(&self.call(home, cmd).await?)?;
            if raised == 1 {
                return Ok((epoch, former));
            }
            epoch = Epoch(former.epoch.max(epoch).0.saturating_add(1));
        }
        Err(WorldError::NotOwner)
    }

    /// Writes the record. Returns the former one where it was missing or older.
    async fn enter(
        &self,
        home: &Link,
        key: &[u8],
        record: &OwnerRecord,
    ) -> Result<Option<OwnerRecord>, WorldError> {
        let mut cmd = ENTER.call(&[key]);
        cmd.arg(record.epoch.0);
        for (name, entry) in record.entry_fields() {
            cmd.arg(name).arg(entry);
        }
        match state_and_record(&self.call(home, cmd).await?)? {
            (0, _) => Ok(None),
            (1, former) => Ok(Some(former)),
            _ => Err(WorldError::NotOwner),
        }
    }

    /// Reads the watermarks that former records name, wherever their slots are now; where a master has
    /// none, the one that it would get.
    async fn look_at_marks(
        &self,
        claim: &Claim,
        map: &SlotMap,
        links: &Links,
        watermarks: &BTreeSet<String>,
    ) -> Result<Looked, WorldError> {
        let named: BTreeSet<&[u8]> = watermarks.iter().map(String::as_bytes).collect();
        let record_slot = slot_of(&self.own.owner_record(&claim.name));
        let mut looked = Looked::default();
        for (node, link) in links {
            let mut keys: Vec<Vec<u8>> = named
                .iter()
                .filter(|key| map.master_of(slot_of(key)) == Some(node))
                .map(|key| key.to_vec())
                .collect();
            let unnamed = keys.is_empty();
            if unnamed {
                let slot = map.slot_of_master(node, record_slot).ok_or(WorldError::Redirected)?;
                keys.push(self.own.watermark(&claim.name, slot));
            }
            let mut master = Looking { key: Vec::new(), found: Found::Nothing };
            for key in keys {
                let mut cmd = redis::cmd("GET");
                cmd.arg(key.as_slice());
                let mark = bytes_of(&self.call(link, cmd).await?).and_then(Mark::parse);
                looked.newest = looked.newest.max(mark.map_or(Epoch(0), |mark| mark.epoch));
                let found = match mark {
                    Some(mark) => Found::At(mark.position, mark.owed),
                    None if unnamed && !named.is_empty() => Found::Nothing,
                    None => Found::Lost,
                };
                master.found = worst(master.found, found);
                if master.key.is_empty() {
                    master.key = key;
                } else {
                    looked.out_of_use.push(key);
                }
            }
            looked.masters.insert(node.clone(), master);
        }
        Ok(looked)
    }

    /// Deletes watermark keys that are out of use. Best effort: one that stays is looked at by nobody.
    async fn drop_keys(&self, keys: &[Vec<u8>]) {
        let map = self.map();
        for key in keys {
            let Some(address) = map.master_of(slot_of(key)) else { continue };
            let Some(link) = self.node(address).live() else { continue };
            let mut cmd = redis::cmd("UNLINK");
            cmd.arg(key.as_slice());
            let _ = self.call(&link, cmd).await;
        }
    }
}

/// An attempt to take a lane over, from its start until it is answered or called off.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    called_off: Cell<bool>,
}

impl Attempt {
    /// The lane was abandoned or claimed anew: this attempt sends nothing more.
    pub(super) fn call_off(&self) {
        self.called_off.set(true);
    }

    fn goes_on(&self) -> Result<(), WorldError> {
        if self.called_off.get() { Err(WorldError::NotOwner) } else { Ok(()) }
    }
}

/// What the records said that this claim put out of force.
#[derive(Debug, Default)]
struct Former {
    /// Entries of the last one.
    last: BTreeMap<String, Entry>,
    /// Watermarks that any of them named.
    watermarks: BTreeSet<String>,
}

impl Former {
    fn add(&mut self, record: OwnerRecord) {
        self.watermarks.extend(record.entries.values().filter_map(|entry| entry.watermark.clone()));
        self.last = record.entries;
    }
}

/// What was found on all masters.
#[derive(Debug, Default)]
struct Looked {
    masters: BTreeMap<String, Looking>,
    /// The newest epoch that a watermark held.
    newest: Epoch,
    /// More than one watermark on a master: these are not used on.
    out_of_use: Vec<Vec<u8>>,
}

/// What was found on one.
#[derive(Debug)]
struct Looking {
    key: Vec<u8>,
    found: Found,
}

fn worst(one: Found, other: Found) -> Found {
    match (one, other) {
        (Found::Lost, _) | (_, Found::Lost) => Found::Lost,
        (Found::At(one, owed), Found::At(other, also)) => {
            Found::At(one.min(other), Owed::together(owed, also))
        }
        (Found::Nothing, found) | (found, Found::Nothing) => found,
    }
}

fn link_of(map: &SlotMap, links: &Links, key: &[u8]) -> Result<Rc<Link>, WorldError> {
    let link = map.master_of(slot_of(key)).and_then(|address| links.get(address));
    link.cloned().ok_or(WorldError::NotNow { code: ServerCode::ClusterDown })
}

/// Reads the `{state, fields}` of the scripts over owner records.
fn state_and_record(reply: &Reply) -> Result<(i64, OwnerRecord), WorldError> {
    let Reply::Array(parts) = reply else { return Err(WorldError::Protocol) };
    let [Reply::Int(state), Reply::Array(fields)] = parts.as_slice() else {
        return Err(WorldError::Protocol);
    };
    let pairs = fields.chunks_exact(2).filter_map(|pair| match pair {
        [name, value] => Some((bytes_of(name)?, bytes_of(value)?)),
        _ => None,
    });
    Ok((*state, OwnerRecord::from_fields(pairs)))
}
