//! Sequin's messages: <https://sequinstream.com/docs/reference/messages>.
//!
//! `record` is the whole row (of a delete, the deleted one), `changes` the former values of what an update
//! changed. Its source is PostgreSQL, so the entity's replica identity says how much of the old row holds.

use super::Decoded;
use super::key::Key;
use super::members::{self, missing, number, object, text, token, unknown_op};
use crate::change::{Belief, Change, Connector, Op, Row, TableName};
use crate::error::DecodeError;
use crate::record::Record;
use crate::types::{Kind, Raw, Typed, unix_ms};
use crate::version::Version;

/// True where the members are Sequin's.
pub(super) fn is_one(row: &Row<'_>) -> bool {
    let object = |name: &str| token(row, name).is_some_and(|token| token.starts_with('{'));
    object("metadata") && object("record") && text(row, "action").is_some()
}

/// The change that a record is.
pub(super) fn decode<'a>(
    row: Row<'a>,
    key: Key<'a>,
    record: &Record<'a>,
) -> Result<Decoded<'a>, DecodeError> {
    let action = text(&row, "action").ok_or_else(|| missing("action", "the record"))?;
    let op = match &*action {
        "insert" => Op::Create,
        "update" => Op::Update,
        "delete" => Op::Delete,
        "read" => Op::Read,
        other => return Err(unknown_op(other, "insert, update, delete and read")),
    };
    let metadata = object(&row, "metadata")?.ok_or_else(|| missing("metadata", "the record"))?;
    let image = object(&row, "record")?.ok_or_else(|| missing("record", "the change"))?;
    let changes = object(&row, "changes")?;
    let (before, after) = match op {
        Op::Delete => (Some(image), None),
        _ => (changes.map(|old| members::former(&image, old)), Some(image)),
    };
    let committed = token(&metadata, "commit_timestamp")
        .and_then(|token| unix_ms(Typed { raw: Raw::Json(token), kind: &Kind::ZonedText }).ok().flatten());
    let table = text(&metadata, "table_name");
    Ok(Decoded::one(Change {
        table: table.map(|table| TableName {
            database: None,
            schema: text(&metadata, "table_schema"),
            table,
        }),
        key: key.into_row(),
        before,
        belief: Belief::KeyColumns,
        after,
        commit_ms: committed,
        version: version(&metadata, op),
        connector: Connector::Postgres,
        routing: members::routing(record),
        ..members::change(op)
    }))
}

/// (lsn of the commit, ordinal in it). Rows of a backfill are not ordered against live ones.
fn version(metadata: &Row<'_>, op: Op) -> Option<Version> {
    if op == Op::Read {
        return Some(Version::NONE);
    }
    let ordinal = number(metadata, "commit_idx").unwrap_or(0);
    Some(Version::from_parts(&[number(metadata, "commit_lsn")?, ordinal]))
}
