//! Protobuf data in a registry's framing, as Connect's converters and other producers write it.
//!
//! The registry's .proto text is compiled once into a [`Plan`]; a datum is then one walk over it that yields borrowed
//! cells, and JSON of what has an inside. A column that is absent is null where the schema tells null from the
//! default value (`optional`, messages, choices), and else is that value: what the producer wrote cannot be told.
//! Start at [`value`].

mod choose;
mod compile;
mod kinds;
mod known;
mod meaning;
mod meant;
#[cfg(test)]
mod oracle;
mod plan;
mod read;
#[cfg(test)]
mod tests;
mod to_json;
mod walk;

pub(super) use self::choose::MessageName;
use self::meaning::Meaning;
pub(super) use self::plan::Plan;
use self::plan::{Message, MessageId};
use self::walk::Walk;
use super::datum::{Encoding, Fault, Scratch, change, row};
use super::key::Key;
use super::{Decoded, Format, connect};
use crate::error::DecodeError;
use crate::record::Record;

/// A schema's plans: with instants for Connect's time stamps, and with time stamps without a zone.
#[derive(Debug)]
pub(super) struct Plans([Plan; 2]);

impl Plans {
    /// Compiles a .proto text with the files that it imports. The error says what is wrong with it.
    pub(super) fn compile(text: &str, references: &[(String, String)]) -> Result<Plans, String> {
        let file = compile::compile(text, references)?;
        Ok(Plans([Plan::of(&file, false)?, Plan::of(&file, true)?]))
    }

    /// The message that a datum is, and its plan.
    fn chosen<'p>(
        &'p self,
        name: MessageName<'_>,
        datum: &[u8],
        format: Format,
    ) -> Result<Chosen<'p>, Fault> {
        let [zoned, zoneless] = &self.0;
        let (id, start) = choose::choose(zoned, name, datum)?;
        let plan = match zoned.message(id) {
            Some(message)
                if connect::zoneless(|| connect::is_named_as_debezium_does(&message.name), format) =>
            {
                zoneless
            }
            _ => zoned,
        };
        let message = plan.message(id).ok_or(Fault { at: 0, what: "expected a message of the schema" })?;
        Ok(Chosen { plan, id, message, start })
    }
}

/// The message that a datum is.
struct Chosen<'p> {
    plan: &'p Plan,
    id: MessageId,
    message: &'p Message,
    /// Where its fields begin.
    start: usize,
}

/// The key that a datum is: named columns where its message has them.
pub(super) fn key<'a>(
    plans: &'a Plans,
    name: MessageName<'_>,
    datum: &'a [u8],
    scratch: &'a mut Scratch,
    format: Format,
) -> Result<Key<'a>, DecodeError> {
    let read = |scratch: &mut Scratch| {
        let Chosen { plan, id, message, start } = plans.chosen(name, datum, format)?;
        if message.meaning != Meaning::Plain {
            return Ok(None);
        }
        let part = start..datum.len();
        Walk { plan, datum, json: scratch.empty() }.row(id, &[part]).map(Some)
    };
    match read(scratch).map_err(|fault: Fault| fault.into_error("key", Encoding::Protobuf))? {
        None => Ok(Key::Unnamed),
        Some(pending) => Ok(Key::of_row(row(pending, &scratch.json))),
    }
}

/// Where a value goes, and what is beside it.
pub(super) struct Beside<'a, 'r> {
    pub(super) format: Format,
    pub(super) record: &'r Record<'r>,
    pub(super) key: Key<'a>,
    pub(super) texts: &'a mut Vec<String>,
}

/// The change that a datum is.
pub(super) fn value<'a>(
    plans: &'a Plans,
    name: MessageName<'_>,
    datum: &'a [u8],
    scratch: &'a mut Scratch,
    beside: Beside<'a, '_>,
) -> Result<Decoded<'a>, DecodeError> {
    let Beside { format, record, key, texts } = beside;
    let fault = |fault: Fault| fault.into_error("value", Encoding::Protobuf);
    let Chosen { plan, id, message, start } = plans.chosen(name, datum, format).map_err(fault)?;
    if let Some(ignored) = message.auxiliary {
        return Ok(Decoded::Ignored(ignored));
    }
    if message.meaning != Meaning::Plain {
        return Err(DecodeError::new(
            "format",
            "the value's Protobuf message stands for one value, and every format that is built has one message \
             with columns a change",
        ));
    }
    let mut walk = Walk { plan, datum, json: scratch.empty() };
    let part = start..datum.len();
    if let Some(members) = &message.envelope {
        let pending = walk.envelope(message, members, &[part]).map_err(fault)?;
        let envelope = pending.envelope(scratch, Encoding::Protobuf)?;
        return format.envelope(envelope, key, texts);
    }
    let pending = walk.row(id, &[part]).map_err(fault)?;
    change(format, row(pending, &scratch.json), key, record, Encoding::Protobuf)
}
