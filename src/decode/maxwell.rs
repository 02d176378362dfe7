//! Maxwell's JSON: <https://maxwells-daemon.io/dataformat/>.
//!
//! `data` is the whole row (of a delete, the deleted one), `old` the former values of the columns that
//! changed. A changed key is one update, whose old key `old` tells. The record key names the key's columns
//! as `pk.…`. No types are told: declare them.

use std::borrow::Cow;

use super::key::Key;
use super::members::{self, missing, number, object, text, token, unknown_op};
use super::{Decoded, Ignored};
use crate::change::{Change, Op, Routing, Row, TableName};
use crate::error::DecodeError;
use crate::record::Record;
use crate::version::Version;

/// What the record key puts before the names of the key's columns.
const KEY_PREFIX: &str = "pk.";
/// Ordinal of the row that ends its transaction, which alone has no `xoffset`.
const LAST_OF_TRANSACTION: u64 = u64::MAX;

/// True where the members are Maxwell's: rows have a `data` object, schema changes a type of their own.
pub(super) fn is_one(row: &Row<'_>) -> bool {
    let typed = text(row, "database").is_some() && token(row, "ts").is_some();
    typed
        && text(row, "type").is_some_and(|what| match &*what {
            "insert" | "update" | "delete" | "bootstrap-insert" | "bootstrap-start"
            | "bootstrap-complete" => {
                token(row, "data").is_some_and(|data| data.starts_with('{'))
                    || token(row, "encrypted").is_some()
            }
            other => is_schema_change(other),
        })
}

fn is_schema_change(what: &str) -> bool {
    matches!(
        what,
        "database-create"
            | "database-alter"
            | "database-drop"
            | "table-create"
            | "table-alter"
            | "table-drop"
    )
}

/// The change that a record is.
pub(super) fn decode<'a>(
    row: Row<'a>,
    key: Key<'a>,
    record: &Record<'a>,
) -> Result<Decoded<'a>, DecodeError> {
    let what = text(&row, "type").ok_or_else(|| missing("type", "the record"))?;
    let op = match &*what {
        "insert" => Op::Create,
        "update" => Op::Update,
        "delete" => Op::Delete,
        "bootstrap-insert" => Op::Read,
        "bootstrap-start" | "bootstrap-complete" => return Ok(Decoded::Ignored(Ignored::Message)),
        other if is_schema_change(other) => return Ok(Decoded::Ignored(Ignored::SchemaChange)),
        other => {
            return Err(unknown_op(other, "insert, update, delete, bootstrap-… and those of schema changes"));
        }
    };
    if token(&row, "encrypted").is_some() {
        return Err(DecodeError::new("envelope", "the row is encrypted (Maxwell's encrypt); turn that off"));
    }
    let data = object(&row, "data")?.ok_or_else(|| missing("data", "the record"))?;
    let named = members::texts(&row, "primary_key_columns")?;
    let (key, routing) = match key_row(key) {
        Named::Columns(key) => (Some(key), Routing::RecordKey),
        Named::Nothing => (None, Routing::Nothing),
        Named::Unknown => (members::key(&named, &data), members::routing(record)),
    };
    let old = object(&row, "old")?;
    let (before, after) = match op {
        Op::Delete => (Some(data), None),
        _ => (old.map(|old| members::former(&data, old)), Some(data)),
    };
    let version = if op == Op::Read { Some(Version::NONE) } else { version(&row) };
    Ok(Decoded::one(Change {
        table: table(&row),
        key,
        before,
        after,
        commit_ms: members::signed(&row, "ts").and_then(|seconds| seconds.checked_mul(1000)),
        version,
        routing,
        ..members::change(op)
    }))
}

fn table<'a>(row: &Row<'a>) -> Option<TableName<'a>> {
    Some(TableName { database: text(row, "database"), schema: None, table: text(row, "table")? })
}

/// What Maxwell's record key says of the row.
pub(super) enum Named<'a> {
    /// Its key columns.
    Columns(Row<'a>),
    /// That the table has no key.
    Nothing,
    /// Nothing: it is no object of Maxwell's.
    Unknown,
}

/// True where the record key is Maxwell's, with the key columns of a row.
pub(super) fn is_key(key: &Key<'_>) -> bool {
    let has = |row: &Row<'_>, wanted: fn(&str) -> bool| row.columns.iter().any(|column| wanted(&column.name));
    matches!(key, Key::Row(row)
        if has(row, |name| name == "database")
            && has(row, |name| name == "table")
            && has(row, |name| name.starts_with(KEY_PREFIX)))
}

/// The key's columns without their prefix.
pub(super) fn key_row(key: Key<'_>) -> Named<'_> {
    let Key::Row(mut row) = key else { return Named::Unknown };
    let has = |name: &str| row.columns.iter().any(|column| column.name == name);
    if !has("database") || !has("table") {
        return Named::Unknown;
    }
    row.columns.retain_mut(|column| match column.name.strip_prefix(KEY_PREFIX) {
        Some(name) => {
            column.name = Cow::Owned(name.to_owned());
            true
        }
        None => false,
    });
    if row.columns.is_empty() { Named::Nothing } else { Named::Columns(row) }
}

/// (file's number, offset, ordinal) where `output_binlog_position` gives it, else (second, transaction, ordinal). Both
/// rise along one server's binlog; a failover begins another. The ordinal is that in the transaction: rows that one
/// statement changed share their offset (captured from Maxwell 1.22).
fn version(row: &Row<'_>) -> Option<Version> {
    let ordinal = match token(row, "commit") {
        Some("true") => LAST_OF_TRANSACTION,
        _ => number(row, "xoffset").unwrap_or(0),
    };
    if let Some(position) = text(row, "position") {
        let (file, offset) = position.rsplit_once(':')?;
        let (_, file) = file.rsplit_once('.')?;
        return Some(Version::from_parts(&[file.parse().ok()?, offset.parse().ok()?, ordinal]));
    }
    Some(Version::from_parts(&[number(row, "ts")?, number(row, "xid")?, ordinal]))
}
