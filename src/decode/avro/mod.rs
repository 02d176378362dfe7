//! Avro data in a registry's framing, as Connect's converters and other producers write it.
//!
//! The writer's schema is compiled once into a [`Plan`]; a datum is then one flat walk over it that yields
//! borrowed cells. Parts with an inside (arrays, maps, structs), the source block and the columns that flattening
//! adds are written as the JSON that Connect's `JsonConverter` gives the same value, so that one row gives one
//! cached value whatever carried it. Encoding: <https://avro.apache.org/docs/1.12.0/specification/>.

#[cfg(test)]
mod oracle;
mod plan;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod to_json;
mod unavailable;
mod walk;

pub(super) use self::plan::Plan;
use self::plan::Shape;
use self::walk::{Columns, Walk};
use super::debezium::{Envelope, Image};
use super::key::Key;
use super::position::Source;
use super::{Decoded, Format, Ignored, auxiliary, flattened, rows};
use crate::change::{Cell, Row};
use crate::error::DecodeError;
use crate::types::{Raw, Typed};

/// Where the JSON of a datum's nested parts stands while its change is borrowed. One for each side.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    json: String,
}

/// Bytes that are kept between records: a wide row's arrays, not the one huge record of a topic.
const SCRATCH_KEPT_BYTES: usize = 1 << 20;

impl Scratch {
    fn empty(&mut self) -> &mut String {
        self.json.clear();
        self.json.shrink_to(SCRATCH_KEPT_BYTES);
        &mut self.json
    }
}

/// Why a datum could not be read: at which byte, and what was expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    at: usize,
    what: &'static str,
}

impl Fault {
    fn into_error(self, part: &'static str) -> DecodeError {
        let kind = if part == "key" { "key" } else { "avro" };
        DecodeError::new(
            kind,
            format!("the {part} is not what its Avro schema says at byte {}: {}", self.at, self.what),
        )
    }
}

/// The key that a datum is: named columns where its schema is a record.
pub(super) fn key<'a>(
    plan: &'a Plan,
    datum: &'a [u8],
    scratch: &'a mut Scratch,
) -> Result<Key<'a>, DecodeError> {
    let read = |scratch: &mut Scratch| {
        let mut walk = Walk::new(plan, datum, scratch.empty());
        let row = match plan.shape() {
            Shape::Envelope(_) | Shape::Row => walk.row(plan.root())?,
            Shape::Other => return Ok(None),
        };
        walk.finish()?;
        Ok(Some(row))
    };
    match read(scratch).map_err(|fault: Fault| fault.into_error("key"))? {
        None => Ok(Key::Unnamed),
        Some(None) => Ok(Key::Null),
        Some(Some(pending)) => Ok(Key::of_row(row(pending, &scratch.json))),
    }
}

/// The change that a datum is.
pub(super) fn value<'a>(
    plan: &'a Plan,
    datum: &'a [u8],
    scratch: &'a mut Scratch,
    format: Format,
    topic: &str,
    key: Key<'a>,
    texts: &'a mut Vec<String>,
) -> Result<Decoded<'a>, DecodeError> {
    let fault = |fault: Fault| fault.into_error("value");
    if let Some(ignored) = plan.auxiliary() {
        return Ok(Decoded::Ignored(ignored));
    }
    match plan.shape() {
        Shape::Other => Err(DecodeError::new(
            "format",
            "the value's Avro schema is no record, and every format that is built has one record a change",
        )),
        Shape::Envelope(members) => {
            let mut walk = Walk::new(plan, datum, scratch.empty());
            let pending = walk.envelope(members).map_err(fault)?;
            walk.finish().map_err(fault)?;
            let Some(pending) = pending else { return format.tombstone(key, texts) };
            let json = &scratch.json;
            let text = |range: Option<std::ops::Range<usize>>| range.and_then(|range| json.get(range));
            let source = pending.source.map(|block| {
                let members = block.members.into_iter();
                let tokens = members.filter_map(|(name, range)| Some((name, json.get(range)?)));
                Source::of(text(Some(block.whole)), tokens)
            });
            let envelope = Envelope {
                op: text(pending.op),
                before: image(pending.before, json),
                after: image(pending.after, json),
                source,
            };
            format.envelope(envelope, key, texts)
        }
        Shape::Row => {
            let mut walk = Walk::new(plan, datum, scratch.empty());
            let pending = walk.row(plan.root()).map_err(fault)?;
            walk.finish().map_err(fault)?;
            let Some(pending) = pending else { return format.tombstone(key, texts) };
            let row = row(pending, &scratch.json);
            change(format, row, key, topic)
        }
    }
}

/// What a row is under a format: the same as a row of JSON.
fn change<'a>(format: Format, row: Row<'a>, key: Key<'a>, topic: &str) -> Result<Decoded<'a>, DecodeError> {
    if let Some(ignored) = auxiliary::recognise(&row, &key, topic, matches!(format, Format::Debezium)) {
        return Ok(Decoded::Ignored(ignored));
    }
    let is_flattened = flattened::is_one(&row);
    match format {
        Format::Flattened => flattened::decode(row, key),
        Format::Auto if is_flattened => flattened::decode(row, key),
        Format::Auto => Ok(Decoded::one(rows::change(row, key.into_row()))),
        _ if is_flattened => Err(format.meets("a flattened row")),
        Format::Rows => Ok(Decoded::one(rows::change(row, key.into_row()))),
        _ => Err(format.meets("a plain row")),
    }
}

fn image<'a>(pending: walk::Image<'a>, json: &'a str) -> Image<'a> {
    match pending {
        walk::Image::Missing => Image::Missing,
        walk::Image::Null => Image::Null,
        walk::Image::Row(columns) => Image::Row(row(columns, json)),
        walk::Image::Other => Image::Other,
    }
}

fn row<'a>(pending: Columns<'a>, json: &'a str) -> Row<'a> {
    let Columns { mut list, written } = pending;
    for (index, range, kind) in written {
        let Some(column) = list.get_mut(index) else { continue };
        let token = json.get(range).unwrap_or("null");
        column.cell = match token {
            "null" => Cell::Null,
            _ if super::placeholder::is_unavailable(token, kind) => Cell::Unavailable,
            _ => Cell::Present(Typed { raw: Raw::Json(token), kind }),
        };
    }
    Row { columns: list, declared: &[] }
}

/// The record that Debezium writes beside changes, by its schema's name (Debezium 3.7).
fn auxiliary_by_name(name: &str) -> Option<Ignored> {
    let own = name.strip_prefix("io.debezium.connector.")?;
    Some(match own {
        "common.Heartbeat" => Ignored::Heartbeat,
        "common.TransactionMetadataValue" => Ignored::Transaction,
        _ if own.ends_with(".SchemaChangeValue") => Ignored::SchemaChange,
        _ => return None,
    })
}
