//! AWS DMS with Kafka as its target:
//! <https://docs.aws.amazon.com/dms/latest/userguide/CHAP_Target.Kafka.html>.
//!
//! `data` is the row, `metadata` says what happened. Null columns are left out unless `IncludeNullAndEmpty`
//! is set, so what is absent is null (see the entity's `absent`). A changed key shows only where the task
//! writes before images. The record key is the table's name by default and never names columns.

use super::key::Key;
use super::members::{self, missing, number, object, text, token, unknown_op};
use super::{Decoded, Ignored};
use crate::change::{Change, Op, Row, TableName};
use crate::error::DecodeError;
use crate::record::Record;
use crate::types::{Kind, Raw, Typed, unix_ms};
use crate::version::Version;

/// True where the members are those of DMS.
pub(super) fn is_one(row: &Row<'_>) -> bool {
    matches!(object(row, "metadata"), Ok(Some(metadata)) if text(&metadata, "record-type").is_some())
}

/// The change that a record is.
pub(super) fn decode<'a>(
    row: Row<'a>,
    key: Key<'a>,
    record: &Record<'a>,
) -> Result<Decoded<'a>, DecodeError> {
    let metadata = object(&row, "metadata")?.ok_or_else(|| missing("metadata", "the record"))?;
    if text(&metadata, "record-type").as_deref() == Some("control") {
        return Ok(Decoded::Ignored(Ignored::SchemaChange));
    }
    let operation = text(&metadata, "operation").ok_or_else(|| missing("operation", "the metadata"))?;
    let op = match &*operation {
        "load" => Op::Read,
        "insert" => Op::Create,
        "update" => Op::Update,
        "delete" => Op::Delete,
        other => return Err(unknown_op(other, "load, insert, update and delete")),
    };
    let data = object(&row, "data")?.ok_or_else(|| missing("data", "the change"))?;
    let changed = object(&row, "before-image")?;
    let (before, after) = match op {
        Op::Delete => (Some(changed.map_or_else(|| data.clone(), |old| members::former(&data, old))), None),
        _ => (changed.map(|old| members::former(&data, old)), Some(data)),
    };
    let table = text(&metadata, "table-name");
    Ok(Decoded::one(Change {
        table: table.map(|table| TableName { database: None, schema: text(&metadata, "schema-name"), table }),
        key: key.into_row(),
        before,
        after,
        commit_ms: millis(&metadata, "commit-timestamp").or_else(|| millis(&metadata, "timestamp")),
        version: version(&metadata, op),
        routing: members::routing(record),
        ..members::change(op)
    }))
}

/// (transaction, record in it), where the task includes transaction details; rows of the full load come from
/// before any of them.
fn version(metadata: &Row<'_>, op: Op) -> Option<Version> {
    if op == Op::Read {
        return Some(Version::NONE);
    }
    let within = number(metadata, "transaction-record-id")?;
    Some(Version::from_parts(&[number(metadata, "transaction-id")?, within]))
}

fn millis(metadata: &Row<'_>, name: &str) -> Option<i64> {
    unix_ms(Typed { raw: Raw::Json(token(metadata, name)?), kind: &Kind::ZonedText }).ok().flatten()
}
