//! TiCDC's open protocol: <https://docs.pingcap.com/tidb/stable/ticdc-open-protocol>.
//!
//! Key and value are parallel lists of events, each behind its length as eight bytes; the key begins with the
//! protocol's version. A row event's key names the table and the commit, its value holds columns as
//! `{"t": type, "h": handle key, "f": flags, "v": value}`: the new row in `u`, the former in `p`, a deleted
//! one (of which only the handle key may be there) in `d`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;

use super::json::unescape;
use super::members::{self, missing, number, object, text, token};
use super::{Decoded, Ignored, ticdc};
use crate::change::{Cell, Change, Column, Op, Routing, Row, TableName};
use crate::error::DecodeError;
use crate::record::Record;
use crate::types::{IsoText, Kind, Raw, Typed};
use crate::version::Version;

const VERSION: u64 = 1;
/// Kinds of events: a row, a schema change, a resolved time stamp.
const ROW: u64 = 1;
const SCHEMA_CHANGE: u64 = 2;
/// Flags of a column.
const BINARY: u64 = 1;
const UNSIGNED: u64 = 1 << 7;

/// True where the record key begins as the protocol's does: its version, a length, and an object.
pub(super) fn is_one(record: &Record<'_>) -> bool {
    let Some((head, rest)) = record.key.and_then(|key| key.split_first_chunk::<8>()) else { return false };
    u64::from_be_bytes(*head) == VERSION && rest.get(8) == Some(&b'{')
}

/// The changes that a record holds. Texts that come as base64 are decoded into `texts`.
pub(super) fn decode<'a>(
    record: &Record<'a>,
    texts: &'a mut Vec<String>,
) -> Result<Decoded<'a>, DecodeError> {
    let head = record.key.and_then(|key| key.get(8..)).unwrap_or_default();
    let (keys, values) = (events(head, "key")?, events(record.value.unwrap_or_default(), "value")?);
    if keys.len() != values.len() {
        return Err(DecodeError::new("envelope", "the key and the value hold different numbers of events"));
    }
    let mut changes: SmallVec<[Change<'a>; 1]> = SmallVec::new();
    let mut ignored = Ignored::Watermark;
    for (key, value) in keys.into_iter().zip(values) {
        let key = members::row_of(key, "key")?;
        match number(&key, "t") {
            Some(ROW) => changes.push(change(&key, &members::row_of(value, "value")?)?),
            Some(SCHEMA_CHANGE) => ignored = Ignored::SchemaChange,
            _ => {}
        }
    }
    if changes.is_empty() {
        return Ok(Decoded::Ignored(ignored));
    }
    decode_texts(&mut changes, texts);
    Ok(Decoded::Changes(changes))
}

/// The events of a list, as texts.
fn events<'a>(mut bytes: &'a [u8], part: &str) -> Result<Vec<&'a str>, DecodeError> {
    let wrong = |what: &str| DecodeError::new("envelope", format!("the {part}'s list of events {what}"));
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
        let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| wrong("is cut short"))?;
        let (event, behind) = rest.split_at_checked(length).ok_or_else(|| wrong("is cut short"))?;
        let event = std::str::from_utf8(event).map_err(|_| wrong("is not UTF-8"))?;
        if !event.is_empty() {
            checked(event).map_err(|()| wrong("is not JSON"))?;
        }
        events.push(event);
        bytes = behind;
    }
    if bytes.is_empty() { Ok(events) } else { Err(wrong("is cut short")) }
}

fn checked(event: &str) -> Result<(), ()> {
    let mut scanner = super::json::Scanner::new(event, 0);
    scanner.skip().and_then(|_| scanner.finish()).map_err(drop)
}

fn change<'a>(key: &Row<'a>, value: &Row<'a>) -> Result<Change<'a>, DecodeError> {
    let commit = number(key, "ts");
    let version = commit.map(|commit| Version::from_parts(&[commit]));
    let (op, image) = match (token(value, "u"), token(value, "d")) {
        (Some(_), _) => (Op::Update, "u"),
        (None, Some(_)) => (Op::Delete, "d"),
        (None, None) => return Err(missing("u", "a row event")),
    };
    let cells = object(value, image)?.ok_or_else(|| missing(image, "a row event"))?;
    let (row, names) = columns(cells)?;
    let former = object(value, "p")?.map(columns).transpose()?;
    let former = former.map(|(changed, _)| members::former(&row, changed));
    let named = members::key(&names, &row);
    let (before, after) = if op == Op::Delete { (Some(row), None) } else { (former, Some(row)) };
    Ok(Change {
        table: text(key, "tbl").map(|table| TableName { database: text(key, "scm"), schema: None, table }),
        key: named,
        before,
        after,
        commit_ms: commit.and_then(ticdc::commit_ms),
        routing: members::routing_of_repeats(version.as_ref(), Routing::Row),
        version,
        ..members::change(op)
    })
}

/// The row of columns with their types, and the names of its handle key.
fn columns(cells: Row<'_>) -> Result<(Row<'_>, Vec<String>), DecodeError> {
    let mut names = Vec::new();
    let mut row = Row::default();
    for column in cells.columns {
        let Cell::Present(Typed { raw: Raw::Json(token), .. }) = column.cell else {
            return Err(members::wrong(&column.name, "a column with its type"));
        };
        let told = members::row_of(token, "column")?;
        if members::token(&told, "h") == Some("true") {
            names.push(column.name.clone().into_owned());
        }
        let flags = number(&told, "f").unwrap_or(0);
        let cell = match told.cell("v") {
            Cell::Present(Typed { raw, .. }) => {
                let kind = kind(number(&told, "t").unwrap_or(u64::MAX), flags);
                Cell::Present(Typed { raw, kind })
            }
            other => other,
        };
        row.columns.push(Column { name: column.name, cell });
    }
    Ok((row, names))
}

/// The kind of MySQL's code of a type.
fn kind(code: u64, flags: u64) -> &'static Kind {
    match code {
        1 | 2 | 3 | 8 | 9 | 13 if flags & UNSIGNED != 0 => &Kind::Uint,
        1 | 2 | 3 | 8 | 9 | 13 => &Kind::Int,
        4 | 5 => &Kind::Double,
        0 | 246 => &Kind::Decimal { scale: None },
        10 | 14 => &Kind::Date,
        7 | 12 => &Kind::IsoText(IsoText::Timestamp),
        11 => &Kind::IsoText(IsoText::Time),
        245 => &Kind::Json,
        15 | 253 | 254 => &Kind::Text,
        249..=252 if flags & BINARY != 0 => &Kind::Bytes,
        249..=252 => BASE64_TEXT,
        _ => &Kind::Untyped,
    }
}

/// Marks a text that comes as base64, until it is decoded: no other column here has this kind.
const BASE64_TEXT: &Kind = &Kind::BytesHex;

/// Decodes the texts that come as base64. One that is none stays as it came.
fn decode_texts<'a>(changes: &mut [Change<'a>], texts: &'a mut Vec<String>) {
    texts.clear();
    each_text(changes, &mut |token| {
        let text = unescape(token).and_then(|text| STANDARD.decode(&*text).ok());
        let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
        // Not base64 after all: the text as it came.
        texts.push(text.unwrap_or_else(|| unescape(token).unwrap_or_default().into_owned()));
        None
    });
    let texts: &'a [String] = texts;
    let mut decoded = texts.iter();
    each_text(changes, &mut |_| decoded.next().map(String::as_str));
}

fn each_text<'a>(changes: &mut [Change<'a>], turn: &mut dyn FnMut(&'a str) -> Option<&'a str>) {
    let rows = changes.iter_mut().flat_map(|change| [&mut change.before, &mut change.after]).flatten();
    for column in rows.flat_map(|row| &mut row.columns) {
        if let Cell::Present(Typed { raw: Raw::Json(token), kind: Kind::BytesHex }) = column.cell
            && let Some(text) = turn(token)
        {
            column.cell = Cell::Present(Typed { raw: Raw::Text(text), kind: &Kind::Text });
        }
    }
}
