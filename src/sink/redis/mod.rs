//! The cache proper: one Redis server or a Redis Cluster. The only place that names the client library.
//!
//! Start at [`RedisSink`]. A connection to each master carries one pipeline per lane and batch; every reply
//! is looked at. Retrying, redirecting and fencing are ours: the library's own are off, since it resends
//! pipelines as a whole and out of order.
//!
//! Needs Redis 6.2 (`SET … PXAT`, `CLIENT INFO`). An account needs `SET GET UNLINK TYPE PEXPIREAT PERSIST HSET
//! HGET HGETALL HKEYS HDEL EVALSHA SCRIPT|LOAD SCAN TIME`, for members `SADD SREM ZADD ZREM`, and, for the fence,
//! `CLIENT|INFO CLIENT|KILL INFO`; on a cluster also `CLUSTER|SLOTS ASKING`. A preload needs `EXISTS
//! PEXPIRETIME SISMEMBER ZSCORE` beside.

mod apply;
mod asked;
mod beside;
mod classify;
mod cluster;
mod command;
mod commands;
mod connect;
mod lane;
mod look;
mod member;
mod members;
mod memory;
mod onlooker;
mod owner;
mod patching;
mod purge;
mod reader;
mod scripts;
mod topology;
mod watermark;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use crate::batch::{Batch, Claim, LaneId, LaneName, Outcome, Outcomes, Purge, Purged, Taken, WatermarkSeen};
use crate::clock::SystemClock;
use crate::error::WorldError;
use crate::refill::{LaneReport, RefillAsked};
use crate::settings::{RedisSettings, RedisTarget};
use crate::sink::own::OwnKeys;
use crate::sink::{Rewrite, Sink};

pub use beside::{Fingerprint, NodeLoad, Over, Put, PutOutcome, PutRight, TakenBack, digest};
use cluster::SlotMap;
use command::bytes_of;
use connect::{Connector, Node};
use lane::Lane;
pub use look::{Glance, Seen};
pub use members::SetKey;
pub use onlooker::{Eviction, Look};
use owner::Attempt;
pub use reader::{Entry, Held, Reader};
use wire::Exchange;

/// Buffers that are kept for the next commands, and bytes of each: what is larger is rare.
const ROOMS_MAX: usize = 8;
const ROOM_BYTES_MAX: usize = 2 << 20;

/// The real sink. One instance per worker: it lives on one thread, on connections of its own.
///
/// Made without a connection; the first call connects. Needs a tokio runtime with IO and time.
pub struct RedisSink {
    settings: RedisSettings,
    own: OwnKeys,
    value_bytes_max: usize,
    /// Share of a server's `maxmemory` up to which history is written: by the settings, or as it is asked for.
    refill_memory: Cell<f64>,
    refill_memory_set: f64,
    rewrite: Option<Rewrite>,
    clock: SystemClock,
    connector: Connector,
    map: RefCell<Rc<SlotMap>>,
    /// True where something said that the map is out of date.
    stale: Cell<bool>,
    /// Who the last `MOVED` pointed to: the one to ask for a new map.
    moved_to: RefCell<Option<String>>,
    refreshing: tokio::sync::Mutex<()>,
    nodes: RefCell<BTreeMap<String, Rc<Node>>>,
    lanes: RefCell<HashMap<LaneId, Rc<Lane>>>,
    /// Buffers of commands that were answered, for others.
    rooms: RefCell<Vec<Exchange>>,
    /// Lanes that are being taken over.
    attempts: RefCell<HashMap<LaneId, Rc<Attempt>>>,
}

impl std::fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSink").field("nodes", &self.nodes.borrow().keys()).finish_non_exhaustive()
    }
}

/// What is known about one master: for `check`, metrics and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// `host:port`, or `unix:` and the path.
    pub address: String,
    /// True while a whole connection is held.
    pub connected: bool,
    /// The server's clock less the local one, milliseconds; 0 before the first connection.
    pub clock_offset_ms: i64,
    /// False where `CLIENT KILL` is refused: then a write that timed out is held back by the version guard
    /// alone.
    pub fencing_works: bool,
    /// True where the server may evict any key when its memory is full, Stoker's own among them; known once
    /// [`RedisSink::probe`] has asked, false before.
    pub evicts_any_key: bool,
    /// Fences carried out there, against lost connections of our own and those of former owners.
    pub fenced_count: u64,
}

impl RedisSink {
    /// A sink by these settings, for this consumer group. A value over `value_bytes_max` is refused without
    /// being sent: over the server's own limit it would close the connection.
    ///
    /// `settings.own_prefix` must hold no `{` or `}`.
    pub fn new(settings: RedisSettings, group: String, value_bytes_max: usize) -> RedisSink {
        let clock = SystemClock::new();
        RedisSink {
            own: OwnKeys::new(&settings.own_prefix, &group),
            value_bytes_max,
            refill_memory: Cell::new(1.0),
            refill_memory_set: 1.0,
            rewrite: None,
            clock,
            connector: Connector::new(settings.clone(), clock),
            map: RefCell::new(Rc::new(topology::first_map(&settings))),
            stale: Cell::new(matches!(settings.target, RedisTarget::Cluster(_))),
            moved_to: RefCell::new(None),
            refreshing: tokio::sync::Mutex::new(()),
            nodes: RefCell::default(),
            lanes: RefCell::default(),
            attempts: RefCell::default(),
            rooms: RefCell::default(),
            settings,
        }
    }

    /// The same with another share of a server's `maxmemory` up to which history is written.
    pub fn with_refill_memory(mut self, share: f64) -> RedisSink {
        self.refill_memory.set(share);
        self.refill_memory_set = share;
        self
    }

    /// The same as a part of that rewrite, where there is one.
    pub fn rewriting(self, rewrite: Option<Rewrite>) -> RedisSink {
        RedisSink { rewrite, ..self }
    }

    /// False once a server refused `CLIENT KILL`; see [`NodeStatus::fencing_works`].
    pub fn fencing_works(&self) -> bool {
        self.nodes.borrow().values().all(|node| node.may_kill())
    }

    /// The nodes that are known, in the order of their addresses.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        let nodes = self.nodes.borrow();
        let status = |node: &Rc<Node>| NodeStatus {
            address: node.address.clone(),
            connected: node.live().is_some(),
            clock_offset_ms: node.clock_offset_ms(),
            fencing_works: node.may_kill(),
            evicts_any_key: false,
            fenced_count: node.fenced_count(),
        };
        nodes.values().map(status).collect()
    }

    /// Connects to every master, and says what is known then. Nothing is written.
    ///
    /// Errors: the first master that cannot be reached, or that answers "not now".
    pub async fn probe(&self) -> Result<Vec<NodeStatus>, WorldError> {
        self.refresh_if_stale().await?;
        let map = self.map();
        let mut evicting = BTreeSet::new();
        for (address, link) in self.links(map.masters()).await {
            let mut cmd = redis::cmd("INFO");
            cmd.arg("memory");
            let info = self.call(&*link?, cmd).await?;
            let info = String::from_utf8_lossy(bytes_of(&info).unwrap_or_default());
            let says = |line: &str| info.lines().any(|said| said.starts_with(line));
            if says("maxmemory_policy:allkeys") && !says("maxmemory:0") {
                evicting.insert(address);
            }
        }
        let mut nodes = self.nodes();
        nodes.iter_mut().for_each(|node| node.evicts_any_key = evicting.contains(&node.address));
        Ok(nodes)
    }

    /// An empty buffer for commands, with room where one is left over.
    fn room(&self) -> Exchange {
        self.rooms.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a buffer back whose commands are done with.
    fn keep_room(&self, mut room: Exchange) {
        let mut rooms = self.rooms.borrow_mut();
        if rooms.len() < ROOMS_MAX && room.commands.capacity() <= ROOM_BYTES_MAX {
            room.commands.clear();
            room.replies.clear();
            rooms.push(room);
        }
    }

    fn lane(&self, id: LaneId) -> Option<Rc<Lane>> {
        self.lanes.borrow().get(&id).cloned()
    }
}

impl Sink for RedisSink {
    async fn take_over(&self, claim: &Claim) -> Result<Taken, WorldError> {
        self.abandon(claim.lane);
        let attempt = Rc::new(Attempt::default());
        self.attempts.borrow_mut().insert(claim.lane, Rc::clone(&attempt));
        let taken = self.take_over_lane(claim, &attempt).await;
        let mut attempts = self.attempts.borrow_mut();
        if attempts.get(&claim.lane).is_some_and(|last| Rc::ptr_eq(last, &attempt)) {
            attempts.remove(&claim.lane);
        }
        taken
    }

    async fn apply(&self, batch: &Batch) -> Outcomes {
        match self.lane(batch.lane) {
            Some(lane) => self.apply_batch(&lane, batch).await,
            None => not_owner(batch),
        }
    }

    async fn purge(&self, purge: &Purge) -> Result<Purged, WorldError> {
        match self.lane(purge.lane) {
            Some(lane) => self.purge_step(&lane, purge).await,
            None => Err(WorldError::NotOwner),
        }
    }

    async fn refill_asked(&self) -> Result<Option<RefillAsked>, WorldError> {
        let asked = RedisSink::refill_asked(self).await?;
        if asked.is_none() {
            self.refill_memory.set(self.refill_memory_set);
        }
        Ok(asked)
    }

    async fn tell_refill(
        &self,
        id: &str,
        reports: &[(LaneName, LaneReport)],
        now_ms: i64,
    ) -> Result<(), WorldError> {
        RedisSink::tell_refill(self, id, reports, now_ms).await
    }

    async fn release(&self, lane: LaneId) {
        let removed = self.lanes.borrow_mut().remove(&lane);
        if let Some(lane) = removed {
            lane.gone.set(true);
            if let Err(error) = self.leave(&lane).await {
                tracing::debug!(%error, "a lane was released without saying so; the next owner fences");
            }
        }
    }

    fn abandon(&self, lane: LaneId) {
        if let Some(attempt) = self.attempts.borrow_mut().remove(&lane) {
            attempt.call_off();
        }
        if let Some(lane) = self.lanes.borrow_mut().remove(&lane) {
            lane.gone.set(true);
            for link in lane.sending.borrow_mut().drain(..) {
                link.give_up();
            }
        }
    }
}

/// A lane that was never taken over, or is gone: nothing is sent.
fn not_owner(batch: &Batch) -> Outcomes {
    Outcomes {
        units: vec![Outcome::NotAcknowledged; batch.units.len()],
        watermark: WatermarkSeen::NotOwner,
        error: Some(WorldError::NotOwner),
    }
}
