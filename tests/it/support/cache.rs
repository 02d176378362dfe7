//! What is in Redis, read by the tests themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::redis::{Client, RedisCluster};

/// A cached value, as far as a reader can tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cached {
    /// A string that is a JSON object.
    Json(Value),
    /// Any other string.
    Text(String),
    /// A hash.
    Hash(BTreeMap<String, String>),
    /// A set.
    Set(BTreeSet<String>),
    /// A sorted set: members and scores.
    SortedSet(BTreeMap<String, f64>),
}

impl Cached {
    /// From a string value; in what SQL writes `#hash {…}` stands for a hash, `#set […]` for a set, and
    /// `#sorted_set {…}` for one with scores.
    pub(crate) fn from_text(text: &str) -> Cached {
        if let Some(hash) = text.strip_prefix("#hash ") {
            return Cached::Hash(serde_json::from_str(hash).unwrap());
        }
        if let Some(members) = text.strip_prefix("#set ") {
            return Cached::Set(serde_json::from_str(members).unwrap());
        }
        if let Some(members) = text.strip_prefix("#sorted_set ") {
            return Cached::SortedSet(serde_json::from_str(members).unwrap());
        }
        match serde_json::from_str(text) {
            Ok(value @ Value::Object(_)) => Cached::Json(value),
            Ok(_) | Err(_) => Cached::Text(text.to_owned()),
        }
    }

    /// True for a key of members, which never expires.
    pub(crate) fn has_members(&self) -> bool {
        matches!(self, Cached::Set(_) | Cached::SortedSet(_))
    }

    /// Equal by meaning: doubles by value, whatever their spelling.
    pub(crate) fn same(&self, other: &Cached) -> bool {
        match (self, other) {
            (Cached::Json(a), Cached::Json(b)) => same(a, b),
            (a, b) => a == b,
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// Every key of these servers but Stoker's own, with its value and its TTL in milliseconds (-1: none).
pub(crate) fn dump(clients: &mut [Client]) -> BTreeMap<String, (Cached, i64)> {
    let mut found = BTreeMap::new();
    for client in clients {
        let mut cursor = "0".to_owned();
        loop {
            let (next, keys): (String, Vec<String>) = client.run(&["SCAN", &cursor, "COUNT", "1000"]);
            for key in keys.into_iter().filter(|key| !key.starts_with("stoker:")) {
                // A key may go between the SCAN and the look at it.
                let kind: String = client.run(&["TYPE", &key]);
                let value = match kind.as_str() {
                    "string" => {
                        client.run::<Option<String>>(&["GET", &key]).map(|text| Cached::from_text(&text))
                    }
                    "hash" => Some(Cached::Hash(client.run(&["HGETALL", &key]))),
                    "set" => Some(Cached::Set(client.run(&["SMEMBERS", &key]))),
                    "zset" => {
                        let scored: Vec<(String, f64)> =
                            client.run(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]);
                        Some(Cached::SortedSet(scored.into_iter().collect()))
                    }
                    _ => None,
                };
                if let Some(value) = value {
                    let ttl = client.run(&["PTTL", &key]);
                    found.insert(key, (value, ttl));
                }
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
    }
    found
}

/// The slot of a key without braces: CRC16 (XMODEM) modulo 16384.
pub(crate) fn slot(key: &str) -> u16 {
    key.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    }) % 16_384
}

/// Moves a slot to the next master as `redis-cli --cluster reshard` does: migrating, key by key, then assigned.
pub(crate) fn migrate_slot(cluster: &RedisCluster, slot: u16) {
    let from = cluster.master_of(slot);
    let to = cluster.masters.iter().find(|node| node.port != from.port).expect("there is another master");
    let id = |port: u16| -> String {
        let out =
            Command::new("redis-cli").args(["-p", &port.to_string(), "cluster", "myid"]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    };
    let (from_id, to_id) = (id(from.port), id(to.port));
    let (mut source, mut target) = (from.client(), to.client());
    let slot = slot.to_string();
    target.run::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    source.run::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    loop {
        let keys: Vec<String> = source.run(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]);
        if keys.is_empty() {
            break;
        }
        for key in keys {
            source.run::<redis::Value>(&["MIGRATE", "127.0.0.1", &to.port.to_string(), &key, "0", "5000"]);
        }
    }
    target.run::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    source.run::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
}
