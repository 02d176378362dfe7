//! TiCDC's simple protocol: <https://docs.pingcap.com/tidb/stable/ticdc-simple-protocol>.
//!
//! `data` is the row, `old` what it was; all values are texts, and their types come in records of their own
//! (BOOTSTRAP), every two minutes. They are not kept: a row's value would depend on where reading began. Declare the types. TiCDC's canal-json is read as Canal's, its Debezium as
//! Debezium's, its open protocol by [`super::ticdc_open`].

use super::key::Key;
use super::members::{self, missing, number, object, text, token, unknown_op};
use super::{Decoded, Ignored};
use crate::change::{Change, Op, Row, TableName};
use crate::error::DecodeError;
use crate::record::Record;
use crate::version::Version;

/// Low bits of a time stamp of TiDB's, which count within a millisecond.
const LOGICAL_BITS: u32 = 18;

/// True where the members are the simple protocol's.
pub(super) fn is_one(row: &Row<'_>) -> bool {
    text(row, "type").is_some()
        && token(row, "commitTs").is_some()
        && token(row, "version").or_else(|| token(row, "database")).is_some()
        || text(row, "type").as_deref() == Some("BOOTSTRAP") && token(row, "tableSchema").is_some()
}

/// The change that a record is.
pub(super) fn decode<'a>(
    row: Row<'a>,
    key: Key<'a>,
    record: &Record<'a>,
) -> Result<Decoded<'a>, DecodeError> {
    let what = text(&row, "type").ok_or_else(|| missing("type", "the record"))?;
    let op = match &*what {
        "INSERT" => Op::Create,
        "UPDATE" => Op::Update,
        "DELETE" => Op::Delete,
        "TRUNCATE" => Op::Truncate,
        "WATERMARK" => return Ok(Decoded::Ignored(Ignored::Watermark)),
        "BOOTSTRAP" => return Ok(Decoded::Ignored(Ignored::Message)),
        "CREATE" | "RENAME" | "CINDEX" | "DINDEX" | "ERASE" | "ALTER" | "QUERY" => {
            return Ok(Decoded::Ignored(Ignored::SchemaChange));
        }
        other => {
            return Err(unknown_op(other, "INSERT, UPDATE, DELETE, WATERMARK, BOOTSTRAP and schema changes"));
        }
    };
    let commit = number(&row, "commitTs");
    let version = commit.map(|commit| Version::from_parts(&[commit]));
    let change = Change {
        table: text(&row, "table").map(|table| TableName {
            database: text(&row, "database"),
            schema: None,
            table,
        }),
        routing: members::routing_of_repeats(version.as_ref(), members::routing(record)),
        version,
        commit_ms: commit.and_then(commit_ms),
        ..members::change(op)
    };
    if op == Op::Truncate {
        return Ok(Decoded::one(change));
    }
    if text(&row, "claimCheckLocation").is_some_and(|place| !place.is_empty()) {
        return Err(DecodeError::new(
            "envelope",
            "the row is kept elsewhere (TiCDC's claim check); turn that off",
        ));
    }
    let (data, old) = (object(&row, "data")?, object(&row, "old")?);
    let partial = token(&row, "handleKeyOnly") == Some("true");
    let (op, before, after) = match op {
        // Only the key is there, so what is cached of the row goes.
        Op::Create | Op::Update if partial => (Op::Delete, data.or(old), None),
        Op::Delete => (Op::Delete, Some(old.or(data).ok_or_else(|| missing("old", "the change"))?), None),
        _ => {
            let data = data.ok_or_else(|| missing("data", "the change"))?;
            (op, old.map(|old| members::former(&data, old)), Some(data))
        }
    };
    Ok(Decoded::one(Change { op, key: key.into_row(), before, after, ..change }))
}

/// Unix milliseconds of a time stamp of TiDB's.
pub(super) fn commit_ms(stamp: u64) -> Option<i64> {
    i64::try_from(stamp >> LOGICAL_BITS).ok()
}
