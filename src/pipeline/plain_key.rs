//! Record keys that are one bare value (`7`, `"7"`, plain text): they name no column, so the entity's only
//! key column is taken for theirs.

use serde_json::value::RawValue;

use crate::change::{Cell, Change, Column, Op, Routing, Row};
use crate::entity::Entity;
use crate::record::Record;
use crate::types::{self, Kind, Raw, RenderStyle, Typed};

/// The record key as a row of the entity's one key column.
///
/// `None` where the key is null, empty or no such text, where the entity names no or several key columns, or
/// where the row has another value in that column: many jobs key their records by the table's name.
pub(super) fn read<'a>(record: &Record<'a>, entity: &'a Entity, change: &Change<'a>) -> Option<Row<'a>> {
    let names = entity.key_columns.as_deref()?;
    let text = std::str::from_utf8(record.key?).ok()?.trim();
    if text.starts_with('[') {
        return list(text, names, entity, change);
    }
    let [column] = names else { return None };
    if text.is_empty() || text.starts_with('{') || text.chars().any(char::is_control) {
        return None;
    }
    let scalar = text.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let raw = if scalar { Raw::Json(text) } else { Raw::Text(text) };
    let one_column = |cell: Cell<'a>| Row {
        columns: vec![Column { name: column.as_str().into(), cell }],
        declared: &entity.columns,
        text: None,
    };
    let key = one_column(Cell::Present(Typed { raw, kind: &Kind::Untyped }));
    let of_row = change.after.as_ref().map_or(Cell::Absent, |after| after.cell(column));
    let agrees = match of_row {
        Cell::Absent => true,
        cell => in_key(one_column(cell).cell(column)) == in_key(key.cell(column)),
    };
    agrees.then_some(key)
}

/// A record key that is a list with one value for each of the entity's key columns.
fn list<'a>(text: &'a str, names: &'a [String], entity: &'a Entity, change: &Change<'a>) -> Option<Row<'a>> {
    let values: Vec<&'a RawValue> = serde_json::from_str(text).ok()?;
    if values.len() != names.len() {
        return None;
    }
    let columns: Vec<Column<'a>> = names
        .iter()
        .zip(values)
        .map(|(name, value)| match value.get() {
            "null" => None,
            token => Some(Column { name: name.as_str().into(), cell: Cell::json(token) }),
        })
        .collect::<Option<_>>()?;
    let key = Row { columns, declared: &entity.columns, text: None };
    let agrees = change.after.as_ref().is_none_or(|after| {
        let after = Row { columns: after.columns.clone(), declared: &entity.columns, text: None };
        names.iter().all(|name| match after.cell(name) {
            Cell::Absent => true,
            cell => in_key(cell) == in_key(key.cell(name)),
        })
    });
    agrees.then_some(key)
}

/// The entity's key columns as the row itself holds them, for formats whose records do not name them.
pub(super) fn of_row<'a>(
    entity: &'a Entity,
    change: &Change<'a>,
    before: Option<&Row<'a>>,
) -> Option<Row<'a>> {
    if change.routing == Routing::RecordKey {
        return None;
    }
    let row = if change.op == Op::Delete { before } else { change.after.as_ref() }?;
    let column = |name: &String| {
        row.columns.iter().find(|column| column.name == *name && column.cell != Cell::Null).cloned()
    };
    let columns = entity.key_columns.as_deref()?.iter().map(column).collect::<Option<_>>()?;
    Some(Row { columns, declared: &entity.columns, text: None })
}

/// The value's text in a key; `None` where it has none.
fn in_key(cell: Cell<'_>) -> Option<Vec<u8>> {
    let Cell::Present(typed) = cell else { return None };
    let mut text = Vec::new();
    types::render_key(typed, RenderStyle::default(), &mut text).ok()?;
    Some(text)
}
