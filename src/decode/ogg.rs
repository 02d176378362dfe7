//! Oracle GoldenGate's JSON (operation and row format of its Big Data handler):
//! <https://docs.oracle.com/en/middleware/goldengate/big-data/>.
//!
//! Around `before` and `after` stand `table`, `op_type`, `primary_keys` and `pos`. The row format has no
//! images: the columns stand beside these. A compressed update leaves out what did not change, and only the
//! entity's `absent` can say so.

use super::Decoded;
use super::key::Key;
use super::members::{self, missing, object, text, token, unknown_op};
use crate::change::{Change, Op, Row, TableName};
use crate::error::DecodeError;
use crate::record::Record;
use crate::version::Version;

/// Members that are GoldenGate's and no column.
const META: [&str; 9] =
    ["table", "op_type", "op_ts", "current_ts", "pos", "primary_keys", "tokens", "csn", "xid"];
/// Digits of a trail position: ten of its sequence and ten of the byte in it.
const POSITION_DIGITS: usize = 20;

/// True where the members are GoldenGate's.
pub(super) fn is_one(row: &Row<'_>) -> bool {
    text(row, "op_type").is_some() && text(row, "table").is_some() && token(row, "pos").is_some()
}

/// The change that a record is.
pub(super) fn decode<'a>(
    row: Row<'a>,
    key: Key<'a>,
    record: &Record<'a>,
) -> Result<Decoded<'a>, DecodeError> {
    let letter = text(&row, "op_type").ok_or_else(|| missing("op_type", "the record"))?;
    let op = match &*letter {
        "I" => Op::Create,
        "U" => Op::Update,
        "D" => Op::Delete,
        "T" => Op::Truncate,
        other => return Err(unknown_op(other, "I, U, D and T")),
    };
    let names = members::texts(&row, "primary_keys")?;
    let mut change = Change {
        table: text(&row, "table").map(table),
        version: text(&row, "pos").and_then(|pos| version(&pos)),
        routing: members::routing(record),
        ..members::change(op)
    };
    if op == Op::Truncate {
        return Ok(Decoded::one(change));
    }
    let in_images = token(&row, "before").or_else(|| token(&row, "after")).is_some();
    let (before, after) = if in_images {
        (object(&row, "before")?, object(&row, "after")?)
    } else {
        let mut columns = row;
        columns.columns.retain(|column| !META.contains(&&*column.name));
        if op == Op::Delete { (Some(columns), None) } else { (None, Some(columns)) }
    };
    let image = if op == Op::Delete { &before } else { &after };
    let image = image
        .as_ref()
        .ok_or_else(|| missing(if op == Op::Delete { "before" } else { "after" }, "the change"))?;
    change.key = members::key(&names, image).or_else(|| key.into_row());
    change.after = after.filter(|_| op != Op::Delete);
    change.before = before;
    Ok(Decoded::one(change))
}

/// `OWNER.TABLE`, or with a container in front.
fn table(name: std::borrow::Cow<'_, str>) -> TableName<'_> {
    let part = |text: &str| std::borrow::Cow::Owned(text.to_owned());
    match name.rsplit_once('.') {
        None => TableName { database: None, schema: None, table: name },
        Some((owner, table)) => match owner.rsplit_once('.') {
            Some((database, schema)) => {
                TableName { database: Some(part(database)), schema: Some(part(schema)), table: part(table) }
            }
            None => TableName { database: None, schema: Some(part(owner)), table: part(table) },
        },
    }
}

/// (sequence of the trail file, byte in it): padded with zeros, so its halves are the two numbers.
fn version(pos: &str) -> Option<Version> {
    if pos.len() != POSITION_DIGITS {
        return None;
    }
    let (sequence, byte) = pos.split_at_checked(POSITION_DIGITS / 2)?;
    Some(Version::from_parts(&[sequence.parse().ok()?, byte.parse().ok()?]))
}
