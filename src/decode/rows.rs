//! Rows: a JSON object's members as columns; and the plain rows of an ETL job.
//!
//! A plain row is the whole row, whatever happened to it. It tells no op, no table, no position and no
//! commit time: each is an update (to a cache, an insert is one too), and a null value deletes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::connect::{Document, Fields};
use super::json::{Fault, Scanner};
use super::outline::{Outlines, Whole};
use super::placeholder::is_unavailable;
use crate::change::{Belief, Cell, Change, Column, Connector, Op, Routing, Row};
use crate::types::{Kind, Raw, Typed};

/// Columns for which room is made before they are seen, without a schema.
const COLUMNS_EXPECTED: usize = 12;
/// The same with a schema, at most: a schema may have more fields than the row.
const COLUMNS_EXPECTED_MAX: usize = 512;
/// Columns up to which a repeated name is found without a set.
const COLUMNS_COMPARED_MAX: usize = 64;

/// Reads an object as a row; the columns' kinds are the schema's, where there is one.
pub(super) fn scan<'a>(scanner: &mut Scanner<'a>, fields: Option<&'a Fields>) -> Result<Row<'a>, Fault> {
    let expected = fields.map_or(COLUMNS_EXPECTED, |fields| fields.len().min(COLUMNS_EXPECTED_MAX));
    let mut columns = Vec::with_capacity(expected);
    scanner.peek();
    let start = scanner.position();
    scanner.each_member(|scanner, name| {
        let token = scanner.skip()?;
        columns.push(column(name, token, fields, columns.len()));
        Ok(())
    })?;
    keep_last(&mut columns);
    Ok(Row { columns, declared: &[], text: Some(scanner.since(start)?) })
}

/// Reads a whole document as a row.
pub(super) fn scan_document<'a>(document: Document<'a>, outlines: &mut Outlines) -> Result<Row<'a>, Fault> {
    if let Some(found) = outlines.read(document, Whole::Row) {
        return Ok(found.after.1);
    }
    let row = read_document(document)?;
    outlines.learn(document, Whole::Row);
    Ok(row)
}

/// The same, member by member.
pub(super) fn read_document(document: Document<'_>) -> Result<Row<'_>, Fault> {
    let mut scanner = document.scanner();
    let row = scan(&mut scanner, document.plan.map(|plan| &plan.row))?;
    scanner.finish()?;
    Ok(row)
}

/// The change that a plain row is.
pub(super) fn change<'a>(row: Row<'a>, key: Option<Row<'a>>) -> Change<'a> {
    Change { after: Some(row), ..untold(Op::Update, key) }
}

/// The delete that a null value is.
pub(super) fn tombstone(key: Row<'_>) -> Change<'_> {
    Change { tombstone: true, ..untold(Op::Delete, Some(key)) }
}

fn untold(op: Op, key: Option<Row<'_>>) -> Change<'_> {
    Change {
        op,
        tombstone: false,
        table: None,
        key,
        before: None,
        belief: Belief::KeyColumns,
        after: None,
        source: None,
        commit_ms: None,
        version: None,
        connector: Connector::Unknown,
        routing: Routing::RecordKey,
    }
}

/// The column of that name and token, at that index of its row.
#[inline]
pub(super) fn column<'a>(
    name: Cow<'a, str>,
    token: &'a str,
    fields: Option<&'a Fields>,
    index: usize,
) -> Column<'a> {
    let kind = fields.map_or(&Kind::Untyped, |fields| fields.kind(index, &name));
    Column { cell: cell(token, kind), name }
}

/// The cell of a token.
pub(super) fn cell<'a>(token: &'a str, kind: &'a Kind) -> Cell<'a> {
    if token == "null" {
        Cell::Null
    } else if is_unavailable(token, kind) {
        Cell::Unavailable
    } else {
        Cell::Present(Typed { raw: Raw::Json(token), kind })
    }
}

/// Where a name repeats, the last one counts (as in JavaScript and Jackson): the earlier ones go.
fn keep_last(columns: &mut Vec<Column<'_>>) {
    if !repeats(columns) {
        return;
    }
    let mut seen = BTreeSet::<String>::new();
    columns.reverse();
    columns.retain(|column| seen.insert(column.name.clone().into_owned()));
    columns.reverse();
}

/// A filter of one word keeps the usual row, whose names all differ, at a few comparisons.
fn repeats(columns: &[Column<'_>]) -> bool {
    if columns.len() > COLUMNS_COMPARED_MAX {
        let mut seen = BTreeSet::<&str>::new();
        return !columns.iter().all(|column| seen.insert(&column.name));
    }
    let mut filter = 0u64;
    columns.iter().enumerate().any(|(index, column)| {
        let bit = 1u64 << (fingerprint(&column.name) & 63);
        let seen = filter & bit != 0;
        filter |= bit;
        seen && columns.iter().take(index).any(|earlier| earlier.name == column.name)
    })
}

fn fingerprint(name: &str) -> usize {
    let bytes = name.as_bytes();
    let edge = |byte: Option<&u8>| byte.copied().map_or(0, usize::from);
    bytes.len().wrapping_mul(11) ^ edge(bytes.first()).wrapping_mul(5) ^ edge(bytes.last()).wrapping_mul(3)
}
