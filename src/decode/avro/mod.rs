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
mod walk;

pub(super) use self::plan::Plan;
use self::plan::Shape;
use self::walk::Walk;
use super::datum::{Encoding, Fault, Scratch, change, row};
use super::key::Key;
use super::{Decoded, Format};
use crate::change::Row;
use crate::error::DecodeError;
use crate::record::Record;

/// The key that a datum is: named columns where its schema is a record.
pub(super) fn key<'a>(
    plan: &'a Plan,
    datum: &'a [u8],
    scratch: &'a mut Scratch,
) -> Result<Key<'a>, DecodeError> {
    let read = |scratch: &mut Scratch| {
        let mut walk = Walk::new(plan, datum, scratch);
        let row = match plan.shape() {
            Shape::Envelope(_) | Shape::Row => walk.row(plan.root())?,
            Shape::Other => return Ok(None),
        };
        walk.finish()?;
        Ok(Some(row))
    };
    match read(scratch).map_err(|fault: Fault| fault.into_error("key", Encoding::Avro))? {
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
    record: &Record<'_>,
    key: Key<'a>,
    texts: &'a mut Vec<String>,
) -> Result<Decoded<'a>, DecodeError> {
    let fault = |fault: Fault| fault.into_error("value", Encoding::Avro);
    if let Some(ignored) = plan.auxiliary() {
        return Ok(Decoded::Ignored(ignored));
    }
    match plan.shape() {
        Shape::Other => Err(DecodeError::new(
            "format",
            "the value's Avro schema is no record, and every format that is built has one record a change",
        )),
        Shape::Envelope(members) => {
            let skips_source_text = scratch.skips_source_text;
            let mut walk = Walk::new(plan, datum, scratch);
            let pending = walk.envelope(members, skips_source_text).map_err(fault)?;
            walk.finish().map_err(fault)?;
            let Some(pending) = pending else { return format.tombstone(key, false, texts) };
            let envelope = pending.envelope(scratch, Encoding::Avro)?;
            format.envelope(envelope, key, texts)
        }
        Shape::Row => {
            let mut walk = Walk::new(plan, datum, scratch);
            let pending = walk.row(plan.root()).map_err(fault)?;
            walk.finish().map_err(fault)?;
            let Some(pending) = pending else { return format.tombstone(key, false, texts) };
            let row = row(pending, &scratch.json);
            change(format, row, key, record, Encoding::Avro)
        }
    }
}

/// The first record of a run of them, and how many bytes it has. For rows of a file, whatever their columns' names.
pub(super) fn first_row<'a>(
    plan: &'a Plan,
    bytes: &'a [u8],
    scratch: &'a mut Scratch,
) -> Result<(Row<'a>, usize), DecodeError> {
    let fault = |fault: Fault| fault.into_error("row", Encoding::Avro);
    let mut walk = Walk::new(plan, bytes, scratch);
    let pending = walk.row(plan.root()).map_err(fault)?;
    let length = bytes.len().saturating_sub(walk.reader.left());
    let pending = pending.ok_or_else(|| DecodeError::new("avro", "the row is null"))?;
    Ok((row(pending, &scratch.json), length))
}
