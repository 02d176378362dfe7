//! Members of an envelope that is no Debezium's: tokens by name, rows inside rows, the old row of an update.
//!
//! What these formats have in common: an object with the row in one member, what it was in another, and
//! around them what happened, where and when. Everything is borrowed from the record.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::json::{Fault, Scanner, unescape};
use super::rows;
use crate::change::{Belief, Cell, Change, Column, Connector, Op, Routing, Row};
use crate::error::DecodeError;
use crate::record::Record;
use crate::types::{Raw, Typed};
use crate::version::Version;

/// Columns up to which one is found without a map.
const COLUMNS_SCANNED_MAX: usize = 32;

/// A change of which nothing is told but the op. Its `before`, where it gets one, is believed.
pub(super) fn change<'a>(op: Op) -> Change<'a> {
    Change {
        op,
        tombstone: false,
        table: None,
        key: None,
        before: None,
        belief: Belief::Whole,
        after: None,
        source: None,
        commit_ms: None,
        version: None,
        connector: Connector::Other,
        routing: Routing::RecordKey,
    }
}

/// How a record got into its partition where a row's producer keys it by the row, or by its table.
pub(super) fn routing(record: &Record<'_>) -> Routing {
    if record.key.is_none() { Routing::Nothing } else { Routing::Row }
}

/// The same for a source that may send old changes again behind newer ones (TiCDC and CockroachDB, after a
/// restart): where it tells positions, only these order, and the guard holds back what is older.
pub(super) fn routing_of_repeats(version: Option<&Version>, otherwise: Routing) -> Routing {
    if version.is_some() { Routing::Nothing } else { otherwise }
}

/// The token of a member; `None` where it is null or missing.
pub(super) fn token<'a>(row: &Row<'a>, name: &str) -> Option<&'a str> {
    match row.cell(name) {
        Cell::Present(Typed { raw: Raw::Json(token), .. }) => Some(token),
        _ => None,
    }
}

/// The text of a member that is one.
pub(super) fn text<'a>(row: &Row<'a>, name: &str) -> Option<Cow<'a, str>> {
    token(row, name).and_then(unescape)
}

/// A whole number that is not negative, bare or in quotes.
pub(super) fn number(row: &Row<'_>, name: &str) -> Option<u64> {
    token(row, name)?.trim_matches('"').parse().ok()
}

/// A whole number, bare or in quotes.
pub(super) fn signed(row: &Row<'_>, name: &str) -> Option<i64> {
    token(row, name)?.trim_matches('"').parse().ok()
}

/// The row in a member that is an object; `None` where it is null or missing.
pub(super) fn object<'a>(row: &Row<'a>, name: &str) -> Result<Option<Row<'a>>, DecodeError> {
    token(row, name).map(|token| row_of(token, name)).transpose()
}

/// The rows in a member that is an array of objects; null elements are `None`.
pub(super) fn objects<'a>(row: &Row<'a>, name: &str) -> Result<Vec<Option<Row<'a>>>, DecodeError> {
    let tokens = match token(row, name) {
        Some(token) => elements(token, name)?,
        None => Vec::new(),
    };
    let row = |token| if token == "null" { Ok(None) } else { row_of(token, name).map(Some) };
    tokens.into_iter().map(row).collect()
}

/// The texts in a member that is an array of texts; empty where it is null or missing.
pub(super) fn texts<'a>(row: &Row<'a>, name: &str) -> Result<Vec<Cow<'a, str>>, DecodeError> {
    let Some(token) = token(row, name) else { return Ok(Vec::new()) };
    let texts: Option<Vec<_>> = elements(token, name)?.into_iter().map(unescape).collect();
    texts.ok_or_else(|| wrong(name, "a list of texts"))
}

/// An object's token as a row.
pub(super) fn row_of<'a>(token: &'a str, name: &str) -> Result<Row<'a>, DecodeError> {
    rows::scan(&mut Scanner::new(token, 0), None).map_err(|_| wrong(name, "an object"))
}

/// An array's elements as tokens.
pub(super) fn elements<'a>(token: &'a str, name: &str) -> Result<Vec<&'a str>, DecodeError> {
    let mut tokens = Vec::new();
    let scan = |tokens: &mut Vec<&'a str>| -> Result<(), Fault> {
        Scanner::new(token, 0).each_element(|scanner| scanner.skip().map(|token| tokens.push(token)))
    };
    scan(&mut tokens).map_err(|_| wrong(name, "a list"))?;
    Ok(tokens)
}

/// The error of a member that is something else.
pub(super) fn wrong(name: &str, expected: &str) -> DecodeError {
    DecodeError::new("envelope", format!("the member {name:?} is not {expected}"))
}

/// The error of a change that lacks a member.
pub(super) fn missing(name: &str, of: &str) -> DecodeError {
    DecodeError::new("envelope", format!("{of} has no member {name:?}"))
}

/// The error of an op that the format does not have. Names it where it is short: what stands there may be
/// anything.
pub(super) fn unknown_op(op: &str, known: &str) -> DecodeError {
    let short =
        op.len() <= 24 && op.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_- ".contains(&byte));
    let shown = if short { format!("{op:?}") } else { format!("a text of {} bytes", op.len()) };
    DecodeError::new("op", format!("unknown op, {shown}; known are {known}"))
}

/// The old row, of a new row and the columns that changed with their former values.
///
/// In the new row's order; a former column that the row does not have any more comes last.
pub(super) fn former<'a>(row: &Row<'a>, changed: Row<'a>) -> Row<'a> {
    let mut former = row.clone();
    let places = (row.columns.len() > COLUMNS_SCANNED_MAX).then(|| {
        row.columns.iter().enumerate().map(|(at, column)| (&*column.name, at)).collect::<BTreeMap<_, _>>()
    });
    for column in changed.columns {
        let place = match &places {
            Some(places) => places.get(&*column.name).copied(),
            None => row.columns.iter().position(|found| found.name == column.name),
        };
        match place.and_then(|at| former.columns.get_mut(at)) {
            Some(found) => found.cell = column.cell,
            None => former.columns.push(column),
        }
    }
    former
}

/// The columns of that row which are its key; `None` where one is missing or null, or there are none.
pub(super) fn key<'a, N: AsRef<str>>(names: &[N], row: &Row<'a>) -> Option<Row<'a>> {
    let column = |name: &N| -> Option<Column<'a>> {
        let name = name.as_ref();
        row.columns.iter().find(|column| column.name == name && column.cell != Cell::Null).cloned()
    };
    let columns: Option<Vec<_>> = names.iter().map(column).collect();
    columns.filter(|columns| !columns.is_empty()).map(|columns| Row { columns, declared: &[], text: None })
}
