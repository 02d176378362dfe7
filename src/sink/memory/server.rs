//! The model of a server: keys with expiry on a virtual clock, connections, and the commands as plain code.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::batch::{Action, Epoch, Outcome, PatchStep, Purge, Refusal, Step, Unit};
use crate::error::ServerCode;
use crate::mutation::{Expiry, StringKind, Value};
use crate::patch::Patch;
use crate::record::Position;
use crate::sink::own::{EPOCH_FIELD, Mark, OwnKeys, OwnerRecord, Peer, TOMBSTONE_MS, remembered};
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
    pub(super) fn carry_out(&self, unit: &Unit, own: &OwnKeys, sealed_at_ms: i64) -> Outcome {
        let key = unit.key.as_bytes();
        match &unit.action {
            Action::Write(value, expiry) => {
                self.write(key, value, *expiry, sealed_at_ms);
                Outcome::Applied
            }
            Action::Delete => {
                self.remove(key);
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
                for step in steps {
                    match step {
                        PatchStep::Overlay(patch, expiry) => self.overlay(key, patch, *expiry, sealed_at_ms),
                        PatchStep::DeleteIf(value) => {
                            if self.get(key).is_some_and(|(held, _)| same(&held, value)) {
                                self.remove(key);
                            }
                        }
                    }
                }
                Outcome::Applied
            }
            Action::Guarded(steps) => self.guarded(key, &own.side(key), steps, sealed_at_ms),
        }
    }

    fn overlay(&self, key: &[u8], patch: &Patch, expiry: Expiry, sealed_at_ms: i64) {
        let held = match self.get(key) {
            None => return,
            Some((MemoryValue::String(bytes), _)) => Some(Value::String { kind: StringKind::Json, bytes }),
            Some((MemoryValue::Hash(fields), _)) => Some(Value::Hash(fields.into_iter().collect())),
            Some((MemoryValue::Other, _)) => None,
        };
        match held.and_then(|held| patch.overlay(&held)) {
            Some(value) => self.write(key, &value, expiry, sealed_at_ms),
            None => self.remove(key),
        }
    }

    fn write(&self, key: &[u8], value: &Value, expiry: Expiry, sealed_at_ms: i64) {
        let kept = match value {
            Value::String { bytes, .. } => MemoryValue::String(bytes.clone()),
            Value::Hash(fields) if fields.is_empty() => return self.remove(key),
            Value::Hash(fields) => MemoryValue::Hash(fields.iter().cloned().collect()),
        };
        self.put(key, kept, expiry.at(sealed_at_ms).map(|at_ms| at_ms.max(1)));
    }

    fn guarded(&self, key: &[u8], side: &[u8], steps: &[Step], sealed_at_ms: i64) -> Outcome {
        let mut known: Option<(Version, Vec<u8>)> = match self.get(side) {
            Some((MemoryValue::String(held), _)) => split_remembered(&held),
            Some((MemoryValue::Hash(_) | MemoryValue::Other, _)) => {
                return Outcome::Refused(Refusal::WrongType);
            }
            None => None,
        };
        let mut applied = false;
        for step in steps {
            let not_newer_than = |version: &Version| known.as_ref().is_none_or(|(held, _)| held <= version);
            match step {
                Step::Write { version, owner, value, expiry } if not_newer_than(version) => {
                    self.write(key, value, *expiry, sealed_at_ms);
                    let expires_at = expiry.at(sealed_at_ms).map(|at_ms| at_ms.max(1));
                    let remembered_until =
                        expires_at.map(|at_ms| at_ms.max(sealed_at_ms).saturating_add(TOMBSTONE_MS));
                    self.put(side, MemoryValue::String(remembered(version, owner)), remembered_until);
                    known = Some((version.clone(), owner.as_bytes().to_vec()));
                    applied = true;
                }
                Step::Delete { version, owner, covers } => {
                    let mine = known.as_ref().is_none_or(|(_, held)| held == owner.as_bytes());
                    let in_order = version.is_none() || not_newer_than(version);
                    let applies = (mine && in_order) || covers.as_ref().is_some_and(not_newer_than);
                    if applies {
                        let held = known.as_ref().filter(|_| mine).map(|(held, _)| held);
                        let version = [Some(version), covers.as_ref(), held].into_iter().flatten().max();
                        let version = &version.cloned().unwrap_or_default();
                        self.remove(key);
                        let until = Some(sealed_at_ms.saturating_add(TOMBSTONE_MS));
                        self.put(side, MemoryValue::String(remembered(version, owner)), until);
                        known = Some((version.clone(), owner.as_bytes().to_vec()));
                        applied = true;
                    }
                }
                Step::Patch { version, owner, patch, expiry } => {
                    let mine = known.as_ref().is_some_and(|(_, held)| held == owner.as_bytes());
                    if known.is_some() && !(mine && (version.is_none() || not_newer_than(version))) {
                        continue;
                    }
                    let until = if mine {
                        self.overlay(key, patch, *expiry, sealed_at_ms);
                        expiry.at(sealed_at_ms)
                    } else {
                        self.remove(key);
                        None
                    };
                    let now = self.get(key).map_or(Some(sealed_at_ms), |_| until);
                    let until = now.map(|at_ms| at_ms.max(sealed_at_ms).saturating_add(TOMBSTONE_MS));
                    let held = known.map(|(held, _)| held);
                    let version =
                        [Some(version.clone()), held].into_iter().flatten().max().unwrap_or_default();
                    self.put(side, MemoryValue::String(remembered(&version, owner)), until);
                    known = Some((version, owner.as_bytes().to_vec()));
                    applied = true;
                }
                Step::Write { .. } => {}
            }
        }
        if applied { Outcome::Applied } else { Outcome::Rejected }
    }

    /// Deletes a key of a truncated table; false where the guard remembers something newer.
    pub(super) fn purge(&self, key: &[u8], own: &OwnKeys, purge: &Purge) -> bool {
        let side = own.side(key);
        if let Some((MemoryValue::String(held), _)) = self.get(&side)
            && let Some((version, owner)) = split_remembered(&held)
            && !purge.version.is_none()
        {
            if version > purge.version {
                return false;
            }
            let mut tombstone = format!("{} ", purge.version).into_bytes();
            tombstone.extend(owner);
            let until = purge.sealed_at_ms.saturating_add(TOMBSTONE_MS);
            self.put(&side, MemoryValue::String(tombstone), Some(until));
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

    pub(super) fn set_mark(&self, key: &[u8], epoch: Epoch, position: Position) {
        let mark = Mark { epoch, position };
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

fn split_remembered(held: &[u8]) -> Option<(Version, Vec<u8>)> {
    let blank = held.iter().position(|byte| *byte == b' ')?;
    let (version, owner) = (held.get(..blank)?, held.get(blank + 1..)?);
    Some((Version::from_digits(version)?, owner.to_vec()))
}
