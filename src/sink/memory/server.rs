//! The model of a server: keys with expiry on a virtual clock, connections, and the commands as plain code.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::MemoryScore;
use crate::batch::{Action, Outcome, PatchStep, Purge, Refusal, Step, Unit};
use crate::error::ServerCode;
use crate::mutation::{CacheKey, Expiry, StringKind, Value};
use crate::patch::Patch;
use crate::sink::Rewrite;
use crate::sink::own::{EPOCH_FIELD, Mark, OwnKeys, OwnerRecord, Peer, Remembered, TOMBSTONE_MS};
use crate::version::Version;

/// A Redis server in memory. Clones are the same server.
#[derive(Debug, Clone)]
pub struct MemoryRedis {
    state: Rc<RefCell<Server>>,
}

/// A value as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryValue {
    /// A string.
    String(Vec<u8>),
    /// A hash.
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// A set.
    Set(BTreeSet<Vec<u8>>),
    /// A sorted set.
    SortedSet(BTreeMap<Vec<u8>, MemoryScore>),
    /// Any other type.
    Other,
}

/// A key's value, and when it expires in Unix milliseconds.
pub type Kept = (MemoryValue, Option<i64>);

/// What a server holds at a moment, to go back to.
#[derive(Debug, Clone)]
pub struct Snapshot(BTreeMap<Vec<u8>, Kept>);

#[derive(Debug)]
struct Server {
    now_ms: i64,
    keys: BTreeMap<Vec<u8>, Kept>,
    connections: BTreeSet<u64>,
    next_connection: u64,
    run: u64,
    refusing: Option<ServerCode>,
    kills: bool,
}

impl MemoryRedis {
    /// An empty server whose clock shows `now_ms`.
    pub fn new(now_ms: i64) -> MemoryRedis {
        let server = Server {
            now_ms,
            keys: BTreeMap::new(),
            connections: BTreeSet::new(),
            next_connection: 1,
            run: 1,
            refusing: None,
            kills: true,
        };
        MemoryRedis { state: Rc::new(RefCell::new(server)) }
    }

    /// Sets the clock. Time never goes back.
    pub fn set_now(&self, now_ms: i64) {
        let mut server = self.state.borrow_mut();
        server.now_ms = server.now_ms.max(now_ms);
    }

    /// The clock, Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.state.borrow().now_ms
    }

    /// A key, if it is there and has not expired.
    pub fn get(&self, key: &[u8]) -> Option<Kept> {
        let server = self.state.borrow();
        server.keys.get(key).filter(|kept| alive(kept, server.now_ms)).cloned()
    }

    /// Puts a key there, as another client would.
    pub fn put(&self, key: &[u8], value: MemoryValue, expires_at_ms: Option<i64>) {
        self.state.borrow_mut().keys.insert(key.to_vec(), (value, expires_at_ms));
    }

    /// Deletes a key, as another client would.
    pub fn remove(&self, key: &[u8]) {
        self.state.borrow_mut().keys.remove(key);
    }

    /// Everything that has not expired, Stoker's own keys among it.
    pub fn dump(&self) -> BTreeMap<Vec<u8>, Kept> {
        let server = self.state.borrow();
        let kept = server.keys.iter().filter(|(_, kept)| alive(kept, server.now_ms));
        kept.map(|(key, kept)| (key.clone(), kept.clone())).collect()
    }

    /// `FLUSHALL`.
    pub fn flush_all(&self) {
        self.state.borrow_mut().keys.clear();
    }

    /// What the server holds now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.state.borrow().keys.clone())
    }

    /// Goes back to a snapshot, as after a restart from an old one or a failover to a lagging replica.
    pub fn rollback(&self, snapshot: &Snapshot) {
        self.state.borrow_mut().keys.clone_from(&snapshot.0);
    }

    /// Ends the process and starts another: connections are gone, ids start again. The keys stay; see
    /// [`MemoryRedis::flush_all`] and [`MemoryRedis::rollback`].
    pub fn restart(&self) {
        let mut server = self.state.borrow_mut();
        server.connections.clear();
        server.next_connection = 1;
        server.run += 1;
    }

    /// Cuts all connections; what was held on them never lands.
    pub fn kill_connections(&self) {
        self.state.borrow_mut().connections.clear();
    }

    /// Refuses every write with this code from now on (`OOM`, `READONLY`, …); `None` ends it.
    pub fn refuse_writes(&self, code: Option<ServerCode>) {
        self.state.borrow_mut().refusing = code;
    }

    /// Whether `CLIENT KILL` is allowed; without it, only the guard holds late writes back.
    pub fn allow_kills(&self, allowed: bool) {
        self.state.borrow_mut().kills = allowed;
    }

    pub(super) fn refusing(&self) -> Option<ServerCode> {
        self.state.borrow().refusing
    }

    pub(super) fn connect(&self) -> Peer {
        let mut server = self.state.borrow_mut();
        let id = server.next_connection;
        server.next_connection += 1;
        server.connections.insert(id);
        Peer { run_id: server.run.to_string(), id, addr: format!("memory:{id}") }
    }

    pub(super) fn is_connected(&self, peer: &Peer) -> bool {
        let server = self.state.borrow();
        peer.run_id == server.run.to_string() && server.connections.contains(&peer.id)
    }

    pub(super) fn kill(&self, peer: &Peer) {
        if self.state.borrow().kills {
            self.cut(peer);
        }
    }

    /// Breaks one connection.
    pub(super) fn cut(&self, peer: &Peer) {
        if self.is_connected(peer) {
            self.state.borrow_mut().connections.remove(&peer.id);
        }
    }

    /// Carries one unit out, atomically. `sealed_at_ms` is what relative expiries count from.
    pub(super) fn carry_out(
        &self,
        unit: &Unit,
        own: &OwnKeys,
        rewrite: Option<&Rewrite>,
        sealed_at_ms: i64,
    ) -> Outcome {
        let key = unit.key.as_bytes();
        match &unit.action {
            Action::Write(value, expiry) => {
                let written = self.write(&unit.key, value, *expiry, sealed_at_ms);
                written.map_or_else(Outcome::Refused, |()| Outcome::Applied)
            }
            Action::WriteIfAbsent(..) if self.has(&unit.key) => Outcome::Rejected,
            Action::WriteIfAbsent(value, expiry) => {
                let written = self.write(&unit.key, value, *expiry, sealed_at_ms);
                written.map_or_else(Outcome::Refused, |()| Outcome::Applied)
            }
            Action::Delete => {
                self.delete(&unit.key);
                Outcome::Applied
            }
            Action::DeleteIf(values) => match self.get(key) {
                Some((held, _)) if !values.iter().any(|value| same(&held, value)) => Outcome::Rejected,
                _ => {
                    self.remove(key);
                    Outcome::Applied
                }
            },
            Action::Patch(steps) => {
                let carry = |step: &PatchStep| match step {
                    PatchStep::Overlay(patch, expiry) => {
                        self.overlay(&unit.key, patch, *expiry, sealed_at_ms)
                    }
                    PatchStep::DeleteIf(value) => {
                        if self.get(key).is_some_and(|(held, _)| same(&held, value)) {
                            self.remove(key);
                        }
                        Ok(())
                    }
                };
                steps.iter().try_for_each(carry).map_or_else(Outcome::Refused, |()| Outcome::Applied)
            }
            Action::Guarded(steps) => {
                self.guarded(&unit.key, &own.side_of(&unit.key), steps, rewrite, sealed_at_ms)
            }
        }
    }

    /// Overlays what the key holds. A key that is not there stays so; one that cannot be overlaid is deleted.
    fn overlay(
        &self,
        key: &CacheKey,
        patch: &Patch,
        expiry: Expiry,
        sealed_at_ms: i64,
    ) -> Result<(), Refusal> {
        let held = match self.get(key.as_bytes()) {
            None => return Ok(()),
            Some((MemoryValue::String(bytes), _)) => Some(Value::String { kind: StringKind::Json, bytes }),
            Some((MemoryValue::Hash(fields), _)) => Some(Value::Hash(fields.into_iter().collect())),
            Some((MemoryValue::Set(_) | MemoryValue::SortedSet(_) | MemoryValue::Other, _)) => None,
        };
        match held.and_then(|held| patch.overlay(&held)) {
            Some(value) => self.write(key, &value, expiry, sealed_at_ms),
            None => {
                self.remove(key.as_bytes());
                Ok(())
            }
        }
    }

    fn write(&self, key: &CacheKey, value: &Value, expiry: Expiry, sealed_at_ms: i64) -> Result<(), Refusal> {
        let bytes = key.as_bytes();
        if let Some(member) = key.member() {
            return self.add_member(bytes, member, value);
        }
        let kept = match value {
            Value::String { bytes, .. } => MemoryValue::String(bytes.clone()),
            Value::Hash(fields) if fields.is_empty() => {
                self.remove(bytes);
                return Ok(());
            }
            Value::Hash(fields) => MemoryValue::Hash(fields.iter().cloned().collect()),
            Value::Member { .. } => return Err(Refusal::Command),
        };
        self.put(bytes, kept, expiry.at(sealed_at_ms).map(|at_ms| at_ms.max(1)));
        Ok(())
    }

    /// True where the key is there, or the member in its key.
    fn has(&self, key: &CacheKey) -> bool {
        match (self.get(key.as_bytes()), key.member()) {
            (held, None) => held.is_some(),
            (Some((MemoryValue::Set(members), _)), Some(member)) => members.contains(&*member.bytes),
            (Some((MemoryValue::SortedSet(members), _)), Some(member)) => {
                members.contains_key(&*member.bytes)
            }
            (_, Some(_)) => false,
        }
    }

    fn delete(&self, key: &CacheKey) {
        match key.member() {
            Some(member) => self.remove_member(key.as_bytes(), member),
            None => self.remove(key.as_bytes()),
        }
    }

    fn guarded(
        &self,
        key: &CacheKey,
        side: &[u8],
        steps: &[Step],
        rewrite: Option<&Rewrite>,
        sealed_at_ms: i64,
    ) -> Outcome {
        let former = self.get(side);
        let mut known = match &former {
            Some((MemoryValue::String(held), _)) => Remembered::parse(held),
            Some(_) => return Outcome::Refused(Refusal::WrongType),
            None => None,
        };
        let name = rewrite.map(|rewrite| rewrite.as_str().as_bytes().to_vec());
        let left = known.as_ref().map(|known| known.rewrite.clone()).unwrap_or_default();
        // What is remembered is of before the rewrite.
        let mut before = known.is_some() && name.as_ref().is_some_and(|name| *name != left);
        let rewrite = name.unwrap_or(left);
        let mut applied = false;
        // What the last step that applied came to: a refusal leaves the memory as it was.
        let mut result = Ok(());
        for step in steps {
            let not_newer_than =
                |version: &Version| known.as_ref().is_none_or(|known| before || known.version <= *version);
            let (version, owner, until) = match step {
                Step::Write { version, owner, value, expiry } if not_newer_than(version) => {
                    result = self.write(key, value, *expiry, sealed_at_ms);
                    let expires_at = expiry.at(sealed_at_ms).map(|at_ms| at_ms.max(1));
                    let until = expires_at.map(|at_ms| at_ms.max(sealed_at_ms).saturating_add(TOMBSTONE_MS));
                    (version.clone(), owner, until)
                }
                Step::Delete { version, owner, covers } => {
                    let mine = known.as_ref().is_none_or(|known| known.owner == owner.as_bytes());
                    let in_order = version.is_none() || not_newer_than(version);
                    let applies = (mine && in_order) || covers.as_ref().is_some_and(not_newer_than);
                    if !applies {
                        continue;
                    }
                    self.delete(key);
                    result = Ok(());
                    let held = known.as_ref().filter(|_| mine && !before).map(|known| &known.version);
                    let newest = [Some(version), covers.as_ref(), held].into_iter().flatten().max();
                    let until = Some(sealed_at_ms.saturating_add(TOMBSTONE_MS));
                    (newest.cloned().unwrap_or_default(), owner, until)
                }
                Step::DeleteOwned { version, owner }
                    if known.as_ref().is_some_and(|known| known.owner == owner.as_bytes())
                        && (version.is_none() || not_newer_than(version)) =>
                {
                    self.delete(key);
                    result = Ok(());
                    let held = known.as_ref().filter(|_| !before).map(|known| &known.version);
                    let newest = held.map_or(version, |held| held.max(version));
                    (newest.clone(), owner, Some(sealed_at_ms.saturating_add(TOMBSTONE_MS)))
                }
                Step::Patch { version, owner, patch, expiry } => {
                    let mine = known.as_ref().is_some_and(|known| known.owner == owner.as_bytes());
                    if known.is_some() && !(mine && (version.is_none() || not_newer_than(version))) {
                        continue;
                    }
                    // What was there before a rewrite is no value to keep anything of.
                    let until = if mine && !before {
                        result = self.overlay(key, patch, *expiry, sealed_at_ms);
                        expiry.at(sealed_at_ms)
                    } else {
                        self.delete(key);
                        result = Ok(());
                        None
                    };
                    let lives_until = self.get(key.as_bytes()).map_or(Some(sealed_at_ms), |_| until);
                    let until = lives_until.map(|at_ms| at_ms.max(sealed_at_ms).saturating_add(TOMBSTONE_MS));
                    let held = known.as_ref().filter(|_| !before).map(|known| &known.version);
                    let newest = held.map_or(version, |held| held.max(version));
                    (newest.clone(), owner, until)
                }
                Step::Write { .. } | Step::DeleteOwned { .. } => continue,
            };
            let left = Remembered { version, owner: owner.as_bytes().to_vec(), rewrite: rewrite.clone() };
            self.put(side, MemoryValue::String(left.to_text()), until);
            (known, before, applied) = (Some(left), false, true);
        }
        if let Err(refusal) = result {
            match former {
                Some((value, expires_at_ms)) => self.put(side, value, expires_at_ms),
                None => self.remove(side),
            }
            return Outcome::Refused(refusal);
        }
        if applied { Outcome::Applied } else { Outcome::Rejected }
    }

    /// Deletes a key of a truncated table; false where the guard remembers something newer.
    pub(super) fn purge(&self, key: &[u8], own: &OwnKeys, purge: &Purge) -> bool {
        let side = own.side(key);
        if let Some((MemoryValue::String(held), _)) = self.get(&side)
            && let Some(known) = Remembered::parse(&held)
            && !purge.version.is_none()
        {
            if known.version > purge.version {
                return false;
            }
            let tombstone = Remembered { version: purge.version.clone(), ..known };
            let until = purge.sealed_at_ms.saturating_add(TOMBSTONE_MS);
            self.put(&side, MemoryValue::String(tombstone.to_text()), Some(until));
        }
        self.remove(key);
        true
    }

    pub(super) fn mark(&self, key: &[u8]) -> Option<Mark> {
        match self.get(key) {
            Some((MemoryValue::String(text), _)) => Mark::parse(&text),
            _ => None,
        }
    }

    pub(super) fn set_mark(&self, key: &[u8], mark: Mark) {
        self.put(key, MemoryValue::String(mark.to_string().into_bytes()), None);
    }

    pub(super) fn record(&self, key: &[u8]) -> Option<OwnerRecord> {
        match self.get(key) {
            Some((MemoryValue::Hash(fields), _)) => {
                let fields = fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
                Some(OwnerRecord::from_fields(fields))
            }
            _ => None,
        }
    }

    pub(super) fn set_record(&self, key: &[u8], record: &OwnerRecord) {
        let entries = record.entry_fields().into_iter().map(|(name, value)| (name.into_bytes(), value));
        let mut fields: BTreeMap<Vec<u8>, Vec<u8>> = entries.collect();
        fields.insert(EPOCH_FIELD.as_bytes().to_vec(), record.epoch.0.to_string().into_bytes());
        self.put(key, MemoryValue::Hash(fields), None);
    }
}

fn alive(kept: &Kept, now_ms: i64) -> bool {
    kept.1.is_none_or(|at_ms| at_ms > now_ms)
}

fn same(held: &MemoryValue, value: &Value) -> bool {
    match (held, value) {
        (MemoryValue::String(held), Value::String { bytes, .. }) => held == bytes,
        (MemoryValue::Hash(held), Value::Hash(fields)) => {
            *held == fields.iter().cloned().collect::<BTreeMap<_, _>>()
        }
        _ => false,
    }
}
