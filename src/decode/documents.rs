//! MongoDB's documents in Debezium's envelopes and keys: texts that hold Extended JSON.
//!
//! Shapes: <https://debezium.io/documentation/reference/stable/connectors/mongodb.html#mongodb-events>. The
//! texts are unescaped into the decoder's buffer, and rows are borrowed from there.

use super::extended_json;
use super::json::{Scanner, unescape};
use super::key::Key;
use super::members;
use super::rows;
use crate::change::{Column, Row};
use crate::error::DecodeError;

/// The name that a document's key has in the document.
const ID: &str = "_id";

/// The documents of an envelope, and the row that its key names.
#[derive(Debug)]
pub(super) struct Documents<'a> {
    pub(super) key: Option<Row<'a>>,
    pub(super) before: Option<Row<'a>>,
    pub(super) after: Option<Row<'a>>,
}

/// Reads the images, which are tokens of texts, and the key `{"id": "<extended JSON>"}`.
pub(super) fn read<'a>(
    key: &Key<'a>,
    before: Option<&'a str>,
    after: Option<&'a str>,
    texts: &'a mut Vec<String>,
) -> Result<Documents<'a>, DecodeError> {
    texts.clear();
    let id = match key {
        Key::Row(row) => members::token(row, "id").filter(|token| token.starts_with('"')),
        Key::Null | Key::Unnamed => None,
    };
    for (token, name) in [(id, "id"), (before, "before"), (after, "after")] {
        let text =
            token.map(|token| unescape(token).ok_or_else(|| members::wrong(name, "a document as text")));
        texts.push(text.transpose()?.unwrap_or_default().into_owned());
    }
    let texts: &'a [String] = texts;
    let mut texts = texts.iter().map(String::as_str).map(|text| (!text.is_empty()).then_some(text));
    let mut next = || texts.next().flatten();
    let key = next().map(id_row).transpose()?;
    let before = next().map(|text| document(text, "before")).transpose()?;
    let after = next().map(|text| document(text, "after")).transpose()?;
    Ok(Documents { key, before, after })
}

/// True where the record key may be one of MongoDB's: a text named `id`.
pub(super) fn may_be_key(key: &Key<'_>) -> bool {
    key.is_only("id")
        && matches!(key, Key::Row(row) if members::token(row, "id").is_some_and(|token| token.starts_with('"')))
}

/// True where the record key is one of MongoDB's whatever the format says: an object's text, as of an
/// ObjectId. A number's or a text's may as well be a column `id` of a table.
pub(super) fn is_key(key: &Key<'_>) -> bool {
    key.is_only("id")
        && matches!(key, Key::Row(row) if members::token(row, "id").is_some_and(|token| token.starts_with("\"{\\\"$")))
}

fn id_row(text: &str) -> Result<Row<'_>, DecodeError> {
    let wrong = |_| DecodeError::new("key", "the key's id is no extended JSON");
    let mut scanner = Scanner::new(text, 0);
    let token = scanner.skip().map_err(wrong)?;
    scanner.finish().map_err(wrong)?;
    let columns = vec![Column { name: ID.into(), cell: extended_json::cell(token) }];
    Ok(Row { columns, declared: &[], text: None })
}

fn document<'a>(text: &'a str, name: &str) -> Result<Row<'a>, DecodeError> {
    let mut scanner = Scanner::new(text, 0);
    let row = rows::scan(&mut scanner, None).and_then(|row| scanner.finish().map(|()| row));
    let mut row = row.map_err(|_| members::wrong(name, "a document as text"))?;
    extended_json::apply(&mut row);
    Ok(row)
}
