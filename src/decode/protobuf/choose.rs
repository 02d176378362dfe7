//! Which message of a schema a datum is: a schema's text may hold several.
//!
//! - Confluent: indexes before the datum, zig-zag varints with their number first; the single byte `00` is `[0]`. Where
//!   the schema's id is in a header, the indexes are behind it
//!   (<https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>).
//! - Apicurio: the message's name, in the header `apicurio.protobuf.type` (`apicurio.protobuf.type.key`) or before the
//!   datum as a message behind its length (`Ref`, whose field 1 is the name). Without either it is the first one
//!   (Apicurio's `ProtobufSerializer` and `ProtobufDeserializer`, 3.0).

use super::super::datum::Fault;
use super::plan::{MessageId, Plan, Root};
use super::read::{Reader, WireType, unzigzag};

/// Messages in each other that indexes name. The parser of schemas nests no deeper.
const INDEXES_MAX: i64 = 64;

/// What a record says of its message beside the datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum MessageName<'a> {
    /// Nothing: Confluent's indexes stand before the datum, or Apicurio's name.
    InFront,
    /// Confluent's indexes stand behind the schema's id in a header. None there are `[0]`.
    Indexes(&'a [u8]),
    /// Apicurio's framing: a name in a header, or before the datum.
    Apicurio(Option<&'a str>),
}

/// The message, and where its fields begin in the datum.
pub(super) fn choose(plan: &Plan, name: MessageName<'_>, datum: &[u8]) -> Result<(MessageId, usize), Fault> {
    match name {
        MessageName::Indexes(indexes) => {
            let mut reader = Reader::new(indexes, 0..indexes.len());
            let id = if reader.is_done() { first(plan)? } else { by_indexes(plan, &mut reader)? };
            Ok((id, 0))
        }
        MessageName::InFront => {
            if let Some(found) = by_reference(plan, datum) {
                return Ok(found);
            }
            let mut reader = Reader::new(datum, 0..datum.len());
            Ok((by_indexes(plan, &mut reader)?, reader.position()))
        }
        MessageName::Apicurio(name) => {
            if let Some(found) = by_reference(plan, datum) {
                return Ok(found);
            }
            match name {
                None => Ok((first(plan)?, 0)),
                Some(name) => {
                    let id = by_name(plan, name);
                    let id = id.ok_or(Fault { at: 0, what: "the header names a message that is not there" });
                    Ok((id?, 0))
                }
            }
        }
    }
}

fn first(plan: &Plan) -> Result<MessageId, Fault> {
    let first = plan.roots.first().map(|root| root.message);
    first.ok_or(Fault { at: 0, what: "the schema has no message" })
}

fn by_indexes(plan: &Plan, reader: &mut Reader<'_>) -> Result<MessageId, Fault> {
    let fault = reader.fault("expected the number of message indexes");
    let count = unzigzag(reader.varint()?);
    if count == 0 {
        return first(plan);
    }
    if !(1..=INDEXES_MAX).contains(&count) {
        return Err(fault);
    }
    let (mut messages, mut found) = (plan.roots.as_slice(), None);
    for _ in 0..count {
        let fault = reader.fault("expected the index of a message of the schema");
        let index = usize::try_from(unzigzag(reader.varint()?)).map_err(|_| fault)?;
        let root = messages.get(index).ok_or(fault)?;
        (messages, found) = (&root.nested, Some(root.message));
    }
    found.ok_or(fault)
}

/// The message that Apicurio's `Ref` before a datum names. Only one that names a message of the schema is one.
fn by_reference(plan: &Plan, datum: &[u8]) -> Option<(MessageId, usize)> {
    let mut reader = Reader::new(datum, 0..datum.len());
    let part = reader.delimited().ok()?;
    let start = reader.position();
    let mut reader = Reader::new(datum, part);
    let (1, WireType::Bytes) = reader.tag().ok()?? else { return None };
    let name = reader.text().ok()?;
    if !reader.is_done() {
        return None;
    }
    Some((by_name(plan, name)?, start))
}

/// A message on top of the text, by its own name.
fn by_name(plan: &Plan, name: &str) -> Option<MessageId> {
    let root: &Root = plan.roots.iter().find(|root| root.name == name)?;
    Some(root.message)
}
