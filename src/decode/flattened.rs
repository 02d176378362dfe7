//! Rows of Debezium's ExtractNewRecordState: the row itself, and what happened in `__…` columns.
//!
//! Modes and fields: <https://debezium.io/documentation/reference/stable/transformations/event-flattening.html>.
//! In the delete modes `rewrite…` a row has `__deleted`, a text; `add.fields` adds `__op`, `__table`,
//! `__lsn`, `__source_ts_ms` and so on. These columns leave the row, since no table owns them. In the modes
//! `tombstone` and `delete-to-tombstone` a delete is a null value, which is decided before this module.

use super::json::unescape;
use super::key::Key;
use super::position::Source;
use super::{Decoded, Ignored};
use crate::change::{Cell, Change, Op, Routing, Row};
use crate::error::DecodeError;
use crate::types::{Raw, Typed};

/// Default of `add.fields.prefix`.
const PREFIX: &str = "__";
/// What a field of the source block is named by, behind the prefix, where `add.fields` says `source.…`.
const SOURCE_PREFIX: &str = "source_";

/// What a field of the transaction block is named by, where it says `transaction.…`.
const TRANSACTION_PREFIX: &str = "transaction_";

/// True where the columns tell that the row was flattened.
pub(super) fn is_one(row: &Row<'_>) -> bool {
    row.columns.iter().any(|column| matches!(&*column.name, "__deleted" | "__op"))
}

/// The change that a flattened row is.
///
/// Without `__op` it is an update, whatever it was. A delete's row is the old one: it was the envelope's
/// `before`, and as little of it may be believed.
pub(super) fn decode<'a>(row: Row<'a>, key: Key<'a>) -> Result<Decoded<'a>, DecodeError> {
    let mut told = Told::default();
    let mut row = row;
    let mut wrong = None;
    row.columns.retain(|column| match told.take(&column.name, column.cell) {
        Ok(taken) => !taken,
        Err(error) => {
            wrong = Some(error);
            false
        }
    });
    if let Some(error) = wrong {
        return Err(error);
    }
    let op = match (told.deleted, told.op) {
        (true, _) => Op::Delete,
        (false, None) => Op::Update,
        (false, Some(FlatOp::Row(op))) => op,
        (false, Some(FlatOp::Message)) => return Ok(Decoded::Ignored(Ignored::Message)),
    };
    let (before, after, key) = match op {
        Op::Delete => (Some(row), None, key.into_row()),
        Op::Truncate => (None, None, None),
        Op::Create | Op::Update | Op::Read => (None, Some(row), key.into_row()),
    };
    let source = told.source;
    Ok(Decoded::one(Change {
        op,
        tombstone: false,
        table: source.table(),
        key,
        before,
        belief: source.belief(),
        after,
        source: None,
        commit_ms: source.commit_ms(),
        version: source.version(),
        connector: source.connector(),
        routing: Routing::RecordKey,
    }))
}

/// What the added columns tell.
#[derive(Default)]
struct Told<'a> {
    deleted: bool,
    op: Option<FlatOp>,
    source: Source<'a>,
}

#[derive(Clone, Copy)]
enum FlatOp {
    Row(Op),
    Message,
}

impl<'a> Told<'a> {
    /// Takes one column; false where it is the row's own.
    fn take(&mut self, name: &str, cell: Cell<'a>) -> Result<bool, DecodeError> {
        let Some(name) = name.strip_prefix(PREFIX) else { return Ok(false) };
        let token = match cell {
            Cell::Present(Typed { raw: Raw::Json(token), .. }) => token,
            _ => "null",
        };
        match name {
            "deleted" => self.deleted = deleted(token)?,
            "op" => self.op = op(token)?,
            // The envelope's own: when the connector worked, and which transaction it was.
            "ts_ms" | "ts_us" | "ts_ns" => {}
            _ if name
                .strip_prefix(TRANSACTION_PREFIX)
                .is_some_and(|name| self.source.transaction.set(name, token)) => {}
            _ => return Ok(self.source.set(name.strip_prefix(SOURCE_PREFIX).unwrap_or(name), token)),
        }
        Ok(true)
    }
}

/// `__deleted` is a text; "false" is not true, and null or nothing means not deleted.
fn deleted(token: &str) -> Result<bool, DecodeError> {
    match token {
        "\"true\"" | "true" => Ok(true),
        "\"false\"" | "false" | "null" => Ok(false),
        _ => Err(DecodeError::new("op", "__deleted is neither \"true\" nor \"false\"")),
    }
}

fn op(token: &str) -> Result<Option<FlatOp>, DecodeError> {
    if token == "null" {
        return Ok(None);
    }
    let letter = unescape(token).unwrap_or_default();
    super::debezium::op(&letter).map(|op| Some(op.map_or(FlatOp::Message, FlatOp::Row)))
}
