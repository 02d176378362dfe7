//! Records beside the changes: heartbeats, transaction metadata, schema changes, notifications.
//!
//! A subscription by pattern catches their topics too. They are told by shape, so strictly that no row of a
//! table passes for one (shapes captured from Debezium 3.7, and
//! <https://debezium.io/documentation/reference/stable/configuration/notification.html>).

use super::Ignored;
use super::key::Key;
use crate::change::{Cell, Row};
use crate::types::{Raw, Typed};

/// Default of `topic.heartbeat.prefix`.
const HEARTBEAT_TOPIC: &str = "__debezium-heartbeat";
/// More members than any of these records has.
const MEMBERS_MAX: usize = 8;

/// What kind of auxiliary record it is; `None` for rows. `alone` says that a value in this topic can be no
/// plain row, so that the value's shape is enough.
pub(super) fn recognise(row: &Row<'_>, key: &Key<'_>, topic: &str, alone: bool) -> Option<Ignored> {
    if row.columns.is_empty() || row.columns.len() > MEMBERS_MAX {
        return None;
    }
    let has = |name: &str| row.columns.iter().any(|column| column.name == name);
    let only = |names: &[&str]| row.columns.iter().all(|column| names.contains(&&*column.name));
    let token = |name: &str| match row.cell(name) {
        Cell::Present(Typed { raw: Raw::Json(token), .. }) => token,
        _ => "",
    };
    if has("ts_ms")
        && only(&["ts_ms", "ts_us", "ts_ns"])
        && (alone || key.is_only("serverName") || topic.starts_with(HEARTBEAT_TOPIC))
    {
        return Some(Ignored::Heartbeat);
    }
    if matches!(token("status"), "\"BEGIN\"" | "\"END\"")
        && has("id")
        && (has("event_count") || has("data_collections") || topic.ends_with(".transaction"))
        && only(&["status", "id", "event_count", "data_collections", "ts_ms", "ts_us", "ts_ns"])
    {
        return Some(Ignored::Transaction);
    }
    if has("databaseName") && (has("ddl") || has("tableChanges")) && token("source").starts_with('{') {
        return Some(Ignored::SchemaChange);
    }
    if has("aggregate_type") && only(&["id", "aggregate_type", "type", "additional_data", "timestamp"]) {
        return Some(Ignored::Message);
    }
    None
}
