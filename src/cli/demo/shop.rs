//! The shop of the demo: what is embedded of `examples/shop`, and its settings with this run's addresses.
//!
//! The records are a capture of a real Debezium (`tests/rig/capture demo`): a snapshot of every table, then the
//! changes of a load.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cli::explain::{InputError, Reader};
use crate::entity::Handlers;
use crate::record::OwnedRecord;
use crate::settings::{self, Environment, Loaded, ProcessEnvironment, Secret, SettingsError};

const SETTINGS: &str = include_str!("../../../examples/shop/stoker.toml");
const SNAPSHOT: &str = include_str!("../../../examples/shop/demo/snapshot.ndjson");
const LIVE: &str = include_str!("../../../examples/shop/demo/live.ndjson");
const EXPECTED: &str = include_str!("../../../examples/shop/demo/expected.ndjson");

/// The shop's topics have as many partitions as those that were captured.
pub(super) const PARTITION_COUNT: i32 = 3;

/// The shop's settings for these addresses.
///
/// # Errors
/// What [`settings::parse`] finds: the file is part of the program, so only an address can be wrong.
pub(super) fn settings(brokers: &str, redis_port: u16) -> Result<Loaded, SettingsError> {
    let addresses = Addresses { brokers: brokers.to_owned(), redis_port };
    let mut loaded = settings::parse(SETTINGS, &addresses, &Handlers::default())?;
    // A real broker answers a waiting fetch as soon as a record comes; the embedded one lets it wait to its end.
    loaded.settings.kafka.properties.push(("fetch.wait.max.ms".to_owned(), Secret::new("5".to_owned())));
    Ok(loaded)
}

/// Stands for the environment: the variables that the shop's settings name, with the addresses of this run.
struct Addresses {
    brokers: String,
    redis_port: u16,
}

impl Environment for Addresses {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "KAFKA_BROKERS" => Some(self.brokers.clone()),
            "REDIS_URL" => Some(format!("redis://127.0.0.1:{}/0", self.redis_port)),
            // Never asked: the demo's records are JSON.
            "REGISTRY_URL" => Some("http://127.0.0.1:8080/apis/ccompat/v7".to_owned()),
            // The system chooses a port that is free.
            "ADMIN_LISTEN" => Some("127.0.0.1:0".to_owned()),
            _ => None,
        }
    }

    fn locate(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn read(&self, _path: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn cores(&self) -> usize {
        ProcessEnvironment::new(PathBuf::new()).cores()
    }
}

/// The history: a snapshot of every row.
///
/// # Errors
/// A line is no record; likewise in [`live`].
pub(super) fn history() -> Result<Vec<OwnedRecord>, InputError> {
    records("snapshot.ndjson", SNAPSHOT)
}

/// The changes that follow, as they arrived.
pub(super) fn live() -> Result<Vec<Event>, InputError> {
    let events = records("live.ndjson", LIVE)?.into_iter().map(|record| {
        let change = record.value.as_deref().and_then(|value| serde_json::from_slice(value).ok());
        Event { record, change }
    });
    Ok(events.collect())
}

fn records(name: &str, text: &str) -> Result<Vec<OwnedRecord>, InputError> {
    let mut reader = Reader::new(name, text.as_bytes());
    let mut records = Vec::new();
    while let Some(mut record) = reader.next_record()? {
        // The broker stamps a record when it takes it: that is the age which readiness asks for.
        record.timestamp_ms = None;
        records.push(record);
    }
    Ok(records)
}

/// A record of the live stream, and what its envelope says: read here, apart from Stoker's own decoding.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) record: OwnedRecord,
    /// `None` for a tombstone.
    pub(super) change: Option<Envelope>,
}

/// What the demo looks at of a Debezium envelope.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    pub(super) op: String,
    pub(super) before: Option<Map<String, Value>>,
    pub(super) after: Option<Map<String, Value>>,
    pub(super) source: Source,
}

/// Where a change comes from.
#[derive(Debug, Deserialize)]
pub(super) struct Source {
    pub(super) table: String,
    #[serde(rename = "txId")]
    pub(super) transaction: u64,
}

/// A key that Redis must hold at the end, as SQL wrote it from the database's rows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Expected {
    pub(super) key: String,
    #[serde(flatten)]
    pub(super) value: ExpectedValue,
    /// Least and most that a key just written has left to live, milliseconds.
    pub(super) ttl_ms: [u64; 2],
}

/// Its value.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ExpectedValue {
    /// A string that holds this JSON.
    Json(Value),
    /// A string.
    Text(String),
    /// A hash.
    Hash(BTreeMap<String, String>),
}

/// Every key that Redis must hold at the end.
///
/// # Errors
/// A line is not what [`Expected`] says.
pub(super) fn expected() -> Result<Vec<Expected>, serde_json::Error> {
    EXPECTED.lines().map(serde_json::from_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::kafka::mock::PARTITION_BYTES_MAX;

    #[test]
    fn the_shops_settings_have_no_warning() {
        let Loaded { settings, warnings } = settings("localhost:1", 2).expect("valid settings");
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(settings.kafka.brokers, "localhost:1");
        assert!(settings.admin.is_some_and(|address| address.ip().is_loopback()));
    }

    #[test]
    fn the_records_fit_the_broker_and_lie_in_its_partitions_from_the_first_offset_on() {
        let mut partitions: BTreeMap<(String, i32), (i64, usize)> = BTreeMap::new();
        let live = live().expect("records").into_iter().map(|event| event.record);
        for record in history().expect("records").into_iter().chain(live) {
            assert!((0..PARTITION_COUNT).contains(&record.partition));
            let (next, bytes) = partitions.entry((record.topic.clone(), record.partition)).or_default();
            assert_eq!(record.offset, *next, "{} {}", record.topic, record.partition);
            *next += 1;
            *bytes += record.as_record().size_bytes();
        }
        assert_eq!(partitions.len(), 9);
        // Well under what the broker keeps, headers and batches counted in.
        assert!(partitions.values().all(|(_, bytes)| *bytes < PARTITION_BYTES_MAX * 3 / 5));
    }

    #[test]
    fn every_change_of_the_live_stream_can_be_told_and_the_rest_are_tombstones() {
        for event in live().expect("records") {
            assert_eq!(
                event.change.is_none(),
                event.record.value.is_none(),
                "offset {}",
                event.record.offset
            );
        }
    }

    #[test]
    fn what_is_expected_names_each_key_once() {
        let mut keys: Vec<String> = expected().expect("valid").into_iter().map(|one| one.key).collect();
        let count = keys.len();
        assert!(count > 1_000, "{count}");
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    use crate::record::AsRecord as _;
}
