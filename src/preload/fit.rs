//! Will it fit? What the export would take, against what Redis has.

use serde::Serialize;

use crate::mutation::Value;
use crate::sink::redis::{NodeLoad, Put};

/// Bytes that a key takes beside its name and value: an entry of the dictionary and its place in the table, the object,
/// headers and rounding of two strings. Measured on Redis 7.0: 72 bytes without expiry for a value of 200.
const KEY_BYTES: u64 = 80;
/// An expiry: an entry of the second dictionary and its place.
const EXPIRY_BYTES: u64 = 40;
/// A field of a hash.
const FIELD_BYTES: u64 = 12;
/// The guard's side key, beside its name: measured 80 bytes.
const SIDE_BYTES: u64 = 120;

/// A member of a sorted set, beside its own bytes: its node, its entry in the dictionary, its text's header.
const MEMBER_BYTES: u64 = 120;

/// What one write takes of Redis's memory, about.
pub(super) fn bytes_of(put: &Put) -> u64 {
    let length = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let key = length(put.key.as_bytes().len());
    let fields = match &put.value {
        Value::Hash(fields) => length(fields.len()).saturating_mul(FIELD_BYTES),
        Value::String { .. } | Value::Member { .. } => 0,
    };
    let side = if put.guard.is_some() { SIDE_BYTES + key } else { 0 };
    if let Some(member) = put.key.member() {
        return [MEMBER_BYTES, length(member.bytes.len()), side].into_iter().fold(0, u64::saturating_add);
    }
    [KEY_BYTES, EXPIRY_BYTES, key, length(put.value.size_bytes()), fields, side]
        .into_iter()
        .fold(0, u64::saturating_add)
}

/// A sample of the export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) rows: u64,
    pub(super) keys: u64,
    pub(super) bytes: u64,
}

/// The estimate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// Rows that the export has, about.
    pub rows: u64,
    /// Keys that they give.
    pub keys: u64,
    /// Bytes that these take in Redis.
    pub bytes: u64,
    /// Bytes that are left up to the limit, on all masters; `None` where Redis has no `maxmemory`.
    pub room_bytes: Option<u64>,
}

impl Fit {
    /// From a sample, the number of rows, and how full the masters are. Keys are taken to spread evenly.
    pub(super) fn new(sample: Sample, rows: u64, loads: &[NodeLoad], fill: f64) -> Fit {
        let scaled = |part: u64| {
            let scaled = u128::from(part) * u128::from(rows) / u128::from(sample.rows.max(1));
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        // The fullest master is the first that is full.
        let room = loads.iter().map(|load| room(load, fill)).collect::<Option<Vec<u64>>>();
        let masters = u64::try_from(loads.len()).unwrap_or(1);
        let room_bytes = room.and_then(|rooms| Some(rooms.into_iter().min()?.saturating_mul(masters)));
        Fit { rows, keys: scaled(sample.keys), bytes: scaled(sample.bytes), room_bytes }
    }

    /// True where it fits, as far as that can be told.
    pub fn fits(&self) -> bool {
        self.room_bytes.is_none_or(|room| self.bytes <= room)
    }
}

/// Bytes left up to that share on the fullest master; `None` where none has a limit.
pub(super) fn least_room(loads: &[NodeLoad], fill: f64) -> Option<u64> {
    loads.iter().filter_map(|load| room(load, fill)).min()
}

/// Bytes left up to that share; `None` without a limit.
fn room(load: &NodeLoad, fill: f64) -> Option<u64> {
    if load.max_bytes == 0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a size, which need not be exact"
    )]
    let limit = (load.max_bytes as f64 * fill) as u64;
    Some(limit.saturating_sub(load.used_bytes))
}

/// The share of the fullest master that is used; 0 where none has a limit.
pub(super) fn share(loads: &[NodeLoad]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share, which need not be exact")]
    let share = |load: &NodeLoad| load.used_bytes as f64 / load.max_bytes as f64;
    loads.iter().filter(|load| load.max_bytes > 0).map(share).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(used_bytes: u64, max_bytes: u64) -> NodeLoad {
        NodeLoad {
            address: "a".to_owned(),
            used_bytes,
            max_bytes,
            policy: "noeviction".to_owned(),
            evicted_keys: 0,
        }
    }

    #[test]
    fn the_fullest_master_decides() {
        let sample = Sample { rows: 10, keys: 20, bytes: 1_000 };
        let fit = |loads: &[NodeLoad]| Fit::new(sample, 100, loads, 0.8);
        let even = fit(&[load(0, 10_000), load(3_000, 10_000)]);
        assert_eq!((even.keys, even.bytes, even.room_bytes), (200, 10_000, Some(10_000)));
        assert!(even.fits());
        assert!(!fit(&[load(3_001, 10_000), load(0, 10_000)]).fits());
        assert!(fit(&[load(9_000, 0)]).fits(), "no limit");
        assert!((share(&[load(1, 0), load(5, 10), load(2, 10)]) - 0.5).abs() < 1e-9);
    }
}
