//! The record key: named columns where it is an object, decided apart from the value.
//!
//! Key and value have converters of their own, so one may carry a schema where the other has none, and the
//! key may be plain text or a number beside a JSON value.

use super::connect::{Document, Plan, Plans};
use super::outline::{Outlines, Whole};
use super::{fault, text_of};
use crate::change::Row;
use crate::error::DecodeError;

/// What a merged topic's router adds to keys (`key.enforce.uniqueness`); it is no column of the row.
/// <https://debezium.io/documentation/reference/stable/transformations/topic-routing.html>
const ROUTER_COLUMNS: [&str; 2] = ["__dbz__physicalTableIdentifier", "__dbz__sourceIdentifier"];

/// A record key.
#[derive(Debug)]
pub(super) enum Key<'a> {
    /// Null: the record belongs to no row.
    Null,
    /// Named columns.
    Row(Row<'a>),
    /// Bytes that name no columns: a bare number or text, or another encoding.
    Unnamed,
}

impl<'a> Key<'a> {
    /// Reads the key. Only one that sets out to be an object and is none is an error.
    ///
    /// `under` is what a registry's JSON Schema says of it, where it has one.
    pub(super) fn read(
        plans: &'a mut Plans,
        bytes: Option<&'a [u8]>,
        under: Option<&'a Plan>,
        outlines: &mut Outlines,
    ) -> Result<Key<'a>, DecodeError> {
        let Some(bytes) = bytes else { return Ok(Key::Null) };
        let Ok((text, skipped)) = text_of(bytes, "key") else { return Ok(Key::Unnamed) };
        match text.trim_ascii_start().as_bytes().first() {
            Some(b'{') => {}
            _ if text.trim_ascii() == "null" => return Ok(Key::Null),
            _ => return Ok(Key::Unnamed),
        }
        if under.is_none()
            && let Some(found) = outlines.read(Document::bare(text), Whole::Row)
            && !found
                .after
                .1
                .columns
                .first()
                .is_some_and(|first| matches!(&*first.name, "schema" | "payload"))
        {
            return Ok(Key::of_row(found.after.1));
        }
        let document = match under {
            Some(plan) => Document::under(text, plan),
            None => plans.unwrap(text).map_err(|wrong| wrong.into_error("key", skipped))?,
        };
        match document.scanner().peek() {
            Some(b'{') => {}
            Some(b'n') => return Ok(Key::Null),
            _ => return Ok(Key::Unnamed),
        }
        let row = super::rows::scan_document(document, outlines)
            .map_err(|stop| fault("key", stop, "key", skipped))?;
        Ok(Key::of_row(row))
    }

    /// The key that these columns are.
    pub(super) fn of_row(mut row: Row<'a>) -> Key<'a> {
        row.columns.retain(|column| !ROUTER_COLUMNS.contains(&&*column.name));
        if row.columns.is_empty() { Key::Unnamed } else { Key::Row(super::yugabyte::unwrap(row)) }
    }

    /// The named columns; `None` where there are none.
    pub(super) fn into_row(self) -> Option<Row<'a>> {
        match self {
            Key::Row(row) => Some(row),
            Key::Null | Key::Unnamed => None,
        }
    }

    /// True where the key is exactly this one column.
    pub(super) fn is_only(&self, name: &str) -> bool {
        matches!(self, Key::Row(row) if matches!(row.columns.as_slice(), [column] if column.name == name))
    }
}
