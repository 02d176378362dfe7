//! One face for both sinks: what the contract cases are written against.

use std::time::Duration;

use stoker::batch::{
    Action, Batch, Claim, Epoch, LaneId, LaneName, Outcomes, Purge, Purged, Step, Taken, Unit, WatermarkSeen,
};
use stoker::error::WorldError;
use stoker::mutation::{CacheKey, Expiry, Member, MemberKind, RowId, StringKind, Value};
use stoker::sink::memory::{Kept, MemoryRedis, MemoryScore, MemorySink, MemoryValue};
use stoker::sink::own::OwnKeys;
use stoker::sink::redis::RedisSink;
use stoker::sink::slots::slot_of;
use stoker::sink::{Rewrite, Sink};
use stoker::version::Version;

use super::redis::{Client, RedisServer};

pub(crate) const VALUE_BYTES_MAX: usize = 1024;
pub(crate) const GROUP: &str = "group";

/// A cache that cases run on.
pub(crate) enum Cache {
    Memory(MemoryRedis),
    Redis(RedisServer, tokio::runtime::Runtime),
}

/// A process that applies batches to it.
pub(crate) enum Process {
    Memory(Box<MemorySink>),
    Redis(Box<RedisSink>),
}

impl Cache {
    pub(crate) fn memory() -> Cache {
        Cache::Memory(MemoryRedis::new(now_ms()))
    }

    pub(crate) fn redis() -> Cache {
        Cache::Redis(RedisServer::start(), runtime())
    }

    /// A process with connections of its own.
    pub(crate) fn process(&self) -> Process {
        self.process_of(GROUP, None)
    }

    /// The same of another group, or as a part of a rewrite.
    pub(crate) fn process_of(&self, group: &str, rewrite: Option<&str>) -> Process {
        self.any_process(group, rewrite, VALUE_BYTES_MAX)
    }

    /// The same with another bound on values.
    pub(crate) fn process_for_values_of(&self, value_bytes_max: usize) -> Process {
        self.any_process(GROUP, None, value_bytes_max)
    }

    fn any_process(&self, group: &str, rewrite: Option<&str>, value_bytes_max: usize) -> Process {
        let rewrite = rewrite.map(|name| Rewrite::named(name).unwrap());
        match self {
            Cache::Memory(server) => {
                let sink = MemorySink::new(server.clone(), "stoker:", group, value_bytes_max);
                Process::Memory(Box::new(sink.rewriting(rewrite)))
            }
            Cache::Redis(server, _) => {
                let sink = RedisSink::new(server.settings(), group.into(), value_bytes_max);
                Process::Redis(Box::new(sink.rewriting(rewrite)))
            }
        }
    }

    pub(crate) fn take_over(&self, process: &Process, claim: &Claim) -> Result<Taken, WorldError> {
        match (self, process) {
            (Cache::Memory(_), Process::Memory(sink)) => sink.take_over_now(claim),
            (Cache::Redis(_, runtime), Process::Redis(sink)) => runtime.block_on(sink.take_over(claim)),
            _ => unreachable!(),
        }
    }

    pub(crate) fn apply(&self, process: &Process, batch: &Batch) -> Outcomes {
        match (self, process) {
            (Cache::Memory(_), Process::Memory(sink)) => sink.apply_now(batch),
            (Cache::Redis(_, runtime), Process::Redis(sink)) => runtime.block_on(sink.apply(batch)),
            _ => unreachable!(),
        }
    }

    pub(crate) fn purge(&self, process: &Process, purge: &Purge) -> Result<Purged, WorldError> {
        match (self, process) {
            (Cache::Memory(_), Process::Memory(sink)) => sink.purge_now(purge),
            (Cache::Redis(_, runtime), Process::Redis(sink)) => runtime.block_on(sink.purge(purge)),
            _ => unreachable!(),
        }
    }

    pub(crate) fn release(&self, process: &Process, lane: LaneId) {
        match (self, process) {
            (Cache::Memory(_), Process::Memory(sink)) => sink.release_now(lane),
            (Cache::Redis(_, runtime), Process::Redis(sink)) => runtime.block_on(sink.release(lane)),
            _ => unreachable!(),
        }
    }

    /// A key as readers see it.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Kept> {
        match self {
            Cache::Memory(server) => server.get(key),
            Cache::Redis(server, _) => read(&mut server.client(), key),
        }
    }

    /// A string's bytes.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.get(key.as_bytes()).map(|(value, _)| match value {
            MemoryValue::String(bytes) => String::from_utf8(bytes).unwrap(),
            other => panic!("{key} is no string but {other:?}"),
        })
    }

    /// Puts a string there, as another client would.
    pub(crate) fn put(&self, key: &[u8], value: &str) {
        match self {
            Cache::Memory(server) => server.put(key, MemoryValue::String(value.into()), None),
            Cache::Redis(server, _) => {
                redis::cmd("SET").arg(key).arg(value).exec(&mut server.client().0).unwrap();
            }
        }
    }

    /// Puts a value of a type there that Stoker never writes.
    pub(crate) fn put_list(&self, key: &[u8]) {
        match self {
            Cache::Memory(server) => server.put(key, MemoryValue::Other, None),
            Cache::Redis(server, _) => {
                redis::cmd("RPUSH").arg(key).arg("x").exec(&mut server.client().0).unwrap();
            }
        }
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        match self {
            Cache::Memory(server) => server.remove(key),
            Cache::Redis(server, _) => redis::cmd("DEL").arg(key).exec(&mut server.client().0).unwrap(),
        }
    }

    pub(crate) fn flush_all(&self) {
        match self {
            Cache::Memory(server) => server.flush_all(),
            Cache::Redis(server, _) => server.client().run(&["FLUSHALL"]),
        }
    }

    /// The watermark key of a lane.
    pub(crate) fn mark_key(&self, name: &LaneName) -> Vec<u8> {
        let own = own_keys();
        own.watermark(name, slot_of(&own.owner_record(name)))
    }
}

/// Reads a key of any type with its expiry.
pub(crate) fn read(client: &mut Client, key: &[u8]) -> Option<Kept> {
    let kind: String = redis::cmd("TYPE").arg(key).query(&mut client.0).unwrap();
    let value = match kind.as_str() {
        "none" => return None,
        "string" => MemoryValue::String(redis::cmd("GET").arg(key).query(&mut client.0).unwrap()),
        "hash" => MemoryValue::Hash(redis::cmd("HGETALL").arg(key).query(&mut client.0).unwrap()),
        "set" => MemoryValue::Set(redis::cmd("SMEMBERS").arg(key).query(&mut client.0).unwrap()),
        "zset" => {
            let mut all = redis::cmd("ZRANGE");
            all.arg(key).arg(0).arg(-1).arg("WITHSCORES");
            let scored: Vec<(Vec<u8>, f64)> = all.query(&mut client.0).unwrap();
            let scored = scored.into_iter().map(|(member, score)| (member, MemoryScore(score)));
            MemoryValue::SortedSet(scored.collect())
        }
        _ => MemoryValue::Other,
    };
    let expires_at: i64 = redis::cmd("PEXPIRETIME").arg(key).query(&mut client.0).unwrap();
    Some((value, (expires_at >= 0).then_some(expires_at)))
}

pub(crate) fn own_keys() -> OwnKeys {
    OwnKeys::new("stoker:", GROUP)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn now_ms() -> i64 {
    stoker::clock::SystemClock::new().now().unix_ms
}

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn hour() -> Expiry {
    Expiry::In(u64::try_from(HOUR.as_millis()).unwrap())
}

pub(crate) fn lane_name() -> LaneName {
    LaneName { topic: "topic".into(), partition: 3 }
}

/// A claim of a group without positions.
pub(crate) fn fresh_claim(lane: u64) -> Claim {
    Claim {
        lane: LaneId(lane),
        name: lane_name(),
        above: Epoch(0),
        committed: None,
        start: 0,
        low: 0,
        owed: None,
    }
}

/// A claim that goes on from a committed position, history being readable from 0.
pub(crate) fn claim_from(lane: u64, committed: i64) -> Claim {
    Claim { committed: Some(committed), start: committed, ..fresh_claim(lane) }
}

/// A batch between two positions.
pub(crate) fn batch(lane: u64, positions: std::ops::Range<i64>, units: Vec<Unit>) -> Batch {
    Batch {
        owed: None,
        asks: false,
        lane: LaneId(lane),
        attempt: 1,
        units,
        start: positions.start,
        end: positions.end,
        everywhere: false,
        commits: smallvec::SmallVec::new(),
        sealed_at_ms: now_ms(),
    }
}

/// A look at the watermarks.
pub(crate) fn look(lane: u64, position: i64) -> Batch {
    Batch { everywhere: true, ..batch(lane, position..position, Vec::new()) }
}

pub(crate) fn unit(key: &str, action: Action) -> Unit {
    Unit { key: CacheKey::new(key.as_bytes()), action, offsets: [0].into_iter().collect(), entity: 0 }
}

/// A member of the set or sorted set at a key.
pub(crate) fn member(key: &str, kind: MemberKind, name: &str) -> CacheKey {
    CacheKey::of_member(key.as_bytes(), Member { kind, bytes: name.as_bytes().into() })
}

/// What a member of a sorted set is.
pub(crate) fn score(text: &str) -> Value {
    Value::Member { score: Some(text.into()) }
}

pub(crate) fn text(text: &str) -> Value {
    Value::String { kind: StringKind::Text, bytes: text.into() }
}

pub(crate) fn hash(fields: &[(&str, &str)]) -> Value {
    Value::Hash(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}

pub(crate) fn write(key: &str, value: &str) -> Unit {
    unit(key, Action::Write(text(value), hour()))
}

pub(crate) fn version(number: u64) -> Version {
    if number == 0 { Version::NONE } else { Version::from_parts(&[number]) }
}

pub(crate) fn guarded_write(number: u64, owner: &str, value: &str) -> Step {
    let owner = RowId::new(owner.as_bytes());
    Step::Write { version: version(number), owner, value: text(value), expiry: hour() }
}

/// The same of any version.
pub(crate) fn write_of(version: &Version, owner: &str, value: &str) -> Step {
    let owner = RowId::new(owner.as_bytes());
    Step::Write { version: version.clone(), owner, value: text(value), expiry: hour() }
}

pub(crate) fn guarded_delete(number: u64, owner: &str, covers: Option<u64>) -> Step {
    let owner = RowId::new(owner.as_bytes());
    Step::Delete { version: version(number), owner, covers: covers.map(version) }
}

/// Asserts that everything was acknowledged, and the watermarks with it.
pub(crate) fn assert_done(outcomes: &Outcomes) {
    assert_eq!(outcomes.error, None, "{outcomes:?}");
    assert_eq!(outcomes.watermark, WatermarkSeen::Current, "{outcomes:?}");
}
