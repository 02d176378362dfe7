//! CockroachDB's changefeeds: <https://www.cockroachlabs.com/docs/stable/changefeed-messages>.
//!
//! Envelopes `wrapped` (`after`, and `before` under `diff`), `bare` (the row, with metadata in `__crdb__`),
//! `row` (the row alone), `key_only` (a null value: that something changed, so the key is deleted) and
//! `enriched`, which is Debezium's. The record key is a list of values that names no column: `key_columns`
//! does. Duplicates may come late, so positions are to be compared.

use super::Decoded;
use super::Ignored;
use super::json::unescape;
use super::key::Key;
use super::members::{self, object, text, token};
use super::rows;
use crate::change::{Change, Op, Routing, Row};
use crate::error::DecodeError;
use crate::record::Record;
use crate::version::Version;

/// The member that holds a bare row's metadata.
const META: &str = "__crdb__";
/// Members of the wrapped envelope, and of resolved time stamps.
const WRAPPED: [&str; 8] =
    ["after", "before", "key", "updated", "mvcc_timestamp", "topic", "resolved", "cluster_id"];

/// True where the members are a changefeed's: those of a wrapped envelope and no other, or `__crdb__`.
pub(super) fn is_one(row: &Row<'_>) -> bool {
    if token(row, META).is_some_and(|meta| meta.starts_with('{')) {
        return true;
    }
    let only = row.columns.iter().all(|column| WRAPPED.contains(&&*column.name));
    let has = |name: &str| row.columns.iter().any(|column| column.name == name);
    let image = token(row, "after").is_none_or(|after| after.starts_with('{'));
    only && image && (has("after") || text(row, "resolved").is_some_and(|clock| hlc(&clock).is_some()))
}

/// The change that a record is.
pub(super) fn decode<'a>(
    row: Row<'a>,
    key: Key<'a>,
    record: &Record<'a>,
) -> Result<Decoded<'a>, DecodeError> {
    if let Some(meta) = object(&row, META)? {
        if token(&meta, "resolved").is_some() {
            return Ok(Decoded::Ignored(Ignored::Watermark));
        }
        let mut columns = row;
        columns.columns.retain(|column| column.name != META);
        let (version, commit_ms) = position(&meta);
        return Ok(Decoded::one(Change {
            key: key.into_row(),
            after: Some(columns),
            routing: members::routing_of_repeats(version.as_ref(), Routing::RecordKey),
            version,
            commit_ms,
            ..members::change(Op::Update)
        }));
    }
    if !is_one(&row) {
        return Ok(Decoded::one(rows::change(row, key.into_row())));
    }
    if token(&row, "resolved").is_some() && token(&row, "after").is_none() && record.key.is_none() {
        return Ok(Decoded::Ignored(Ignored::Watermark));
    }
    let (after, before) = (object(&row, "after")?, object(&row, "before")?);
    let op = if after.is_some() { Op::Update } else { Op::Delete };
    let (version, commit_ms) = position(&row);
    let routing = members::routing_of_repeats(version.as_ref(), Routing::RecordKey);
    let key = key.into_row();
    Ok(Decoded::one(Change { key, before, after, version, commit_ms, routing, ..members::change(op) }))
}

/// When the row was written, by the cluster's hybrid clock: as a position, and in Unix milliseconds.
fn position(row: &Row<'_>) -> (Option<Version>, Option<i64>) {
    let clock = text(row, "mvcc_timestamp").or_else(|| text(row, "updated"));
    match clock.as_deref().and_then(hlc) {
        Some([nanos, logical]) => {
            let millis = i64::try_from(nanos / 1_000_000).ok();
            (Some(Version::from_parts(&[nanos, logical])), millis)
        }
        None => (None, None),
    }
}

/// A hybrid clock's text, `<nanoseconds>.<logical>`: two whole numbers, and never one with a fraction.
fn hlc(text: &str) -> Option<[u64; 2]> {
    let (nanos, logical) = text.split_once('.')?;
    Some([nanos.parse().ok()?, logical.parse().ok()?])
}

/// The version of a token that is a hybrid clock's text.
pub(super) fn version_of(token: &str) -> Option<Version> {
    hlc(&unescape(token)?).map(|parts| Version::from_parts(&parts))
}
