//! From a record's bytes to row changes: one file per format.
//!
//! Reads nothing but the record and the plans of schemas seen before; does no IO. Start at [`Decoder`].

mod auto;
mod auxiliary;
mod avro;
mod connect;
mod debezium;
mod flattened;
mod json;
mod key;
mod placeholder;
mod position;
mod rows;
mod schemas;
#[cfg(test)]
mod tests;
mod wire;

use smallvec::SmallVec;

use self::connect::{ConnectFault, Document, Plans};
use self::debezium::Envelope;
use self::json::Fault;
use self::key::Key;
pub use self::schemas::{RegisteredSchema, SchemaKind, Schemas, UnknownSchema};
pub use self::wire::{ApicurioIds, IdBytes, SchemaId, SchemaRef, Side, Wire, guid_text};
use crate::change::Change;
use crate::error::DecodeError;
use crate::record::Record;

/// Which format an entity's topics are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// Recognised record by record.
    #[default]
    Auto,
    /// Debezium envelopes.
    Debezium,
    /// Rows of Debezium's ExtractNewRecordState.
    Flattened,
    /// Plain rows of an ETL job: every value is the whole row, a null value deletes.
    Rows,
}

/// What a record turned out to be.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, and a box would be an allocation a record"
)]
pub enum Decoded<'a> {
    /// Row changes, in the order in which they happened. Empty only where a format allows an empty list.
    Changes(SmallVec<[Change<'a>; 1]>),
    /// Nothing to do, and that is right.
    Ignored(Ignored),
}

/// Why a record is ignored. The names are what `explain` and the metrics show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Connector heartbeat.
    Heartbeat,
    /// Transaction BEGIN or END.
    Transaction,
    /// Schema change (DDL).
    SchemaChange,
    /// Logical message (op `m`).
    Message,
    /// No entity reads this topic.
    NoEntity,
    /// The entity's `table` does not name this table.
    FilteredTable,
    /// Neither key nor value.
    Empty,
    /// A truncate, under `truncate = "ignore"`.
    Truncate,
}

impl Ignored {
    /// The documented name.
    pub fn as_str(self) -> &'static str {
        match self {
            Ignored::Heartbeat => "heartbeat",
            Ignored::Transaction => "transaction",
            Ignored::SchemaChange => "schema_change",
            Ignored::Message => "message",
            Ignored::NoEntity => "no_entity",
            Ignored::FilteredTable => "filtered_table",
            Ignored::Empty => "empty",
            Ignored::Truncate => "truncate",
        }
    }
}

impl Decoded<'_> {
    fn one(change: Change<'_>) -> Decoded<'_> {
        Decoded::Changes(SmallVec::from_buf([change]))
    }
}

/// Decodes the records of one topic. Keeps the plans of the schemas that it has seen, bounded.
#[derive(Debug)]
pub struct Decoder {
    format: Format,
    key_plans: Plans,
    value_plans: Plans,
    key_scratch: avro::Scratch,
    value_scratch: avro::Scratch,
}

impl Decoder {
    /// A decoder for topics of that format.
    pub fn new(format: Format) -> Decoder {
        Decoder {
            format,
            key_plans: Plans::new(format),
            value_plans: Plans::new(format),
            key_scratch: avro::Scratch::default(),
            value_scratch: avro::Scratch::default(),
        }
    }

    /// Decodes one record without a registry.
    #[cfg(test)]
    fn decode<'a>(&'a mut self, record: &Record<'a>) -> Result<Decoded<'a>, DecodeError> {
        static NONE: std::sync::LazyLock<Schemas> = std::sync::LazyLock::new(Schemas::default);
        self.decode_with(record, &NONE)
    }

    /// Decodes one record. What it returns borrows from the record, the plans and the schemas, which must know
    /// those that the record names ([`Schemas::missing`]).
    ///
    /// - A null value, the four bytes `null`, and a null payload beside a schema are tombstones: a delete
    ///   by the record key.
    /// - Under [`Format::Auto`] each record is recognised by itself; a configured format refuses a record
    ///   that has another one's shape.
    /// - Memory is bounded by the record's size, time grows with it linearly (or nearly so).
    ///
    /// Errors are about this record; they name what was expected and where, never a value. Kinds: `json`,
    /// `avro`, `key`, `empty`, `schema`, `envelope`, `op`, `format`.
    pub fn decode_with<'a>(
        &'a mut self,
        record: &Record<'a>,
        schemas: &'a Schemas,
    ) -> Result<Decoded<'a>, DecodeError> {
        let format = self.format;
        let key = match schemas.framed(record, Side::Key) {
            Some(framed) => {
                let plan = schemas.plan(framed.schema.id, format)?;
                avro::key(plan, framed.datum, &mut self.key_scratch)?
            }
            None => Key::read(&mut self.key_plans, record.key)?,
        };
        let Some(bytes) = record.value else { return tombstone(key) };
        if bytes.is_empty() {
            return Err(DecodeError::new(
                "empty",
                "the value is empty, which is neither null (a tombstone) nor JSON; check the producer's \
                 serializer",
            ));
        }
        if let Some(framed) = schemas.framed(record, Side::Value) {
            let plan = schemas.plan(framed.schema.id, format)?;
            return avro::value(plan, framed.datum, &mut self.value_scratch, format, record.topic, key);
        }
        if let Some(framing) = auto::registry_framing(bytes, record.headers) {
            let detail =
                format!("the value looks like {framing}, and no registry is named: set [registry] url");
            return Err(DecodeError::new("format", detail));
        }
        if let Some(framing) = auto::framing(bytes) {
            return Err(format.meets_unbuilt(framing));
        }
        let (text, skipped) = text_of(bytes, "value")?;
        let json = |stop: Fault| fault("json", stop, "value", skipped);
        let document = self.value_plans.unwrap(text).map_err(|wrong| wrong.into_error("value", skipped))?;
        match document.scanner().peek() {
            Some(b'{') => {}
            Some(b'n') => {
                whole(document).map_err(json)?;
                return tombstone(key);
            }
            _ => {
                whole(document).map_err(json)?;
                return Err(DecodeError::new(
                    "format",
                    "the value is JSON but no object, and every format that is built has one object a record",
                ));
            }
        }
        let begins = matches!(format, Format::Debezium) || begins_like_envelope(document);
        if begins {
            let envelope = Envelope::scan(document).map_err(json)?;
            if envelope.is_one() {
                return format.envelope(envelope, key);
            }
        }
        let row = rows::scan_document(document).map_err(json)?;
        if !begins && row.columns.iter().any(|column| column.name == "op") {
            let envelope = Envelope::scan(document).map_err(json)?;
            if envelope.is_one() {
                return format.envelope(envelope, key);
            }
        }
        if let Some(ignored) =
            auxiliary::recognise(&row, &key, record.topic, matches!(format, Format::Debezium))
        {
            return Ok(Decoded::Ignored(ignored));
        }
        match format {
            Format::Flattened => flattened::decode(row, key),
            Format::Rows | Format::Debezium if flattened::is_one(&row) => {
                Err(format.meets("a flattened row"))
            }
            Format::Rows => Ok(Decoded::one(rows::change(row, key.into_row()))),
            Format::Debezium => Err(match auto::foreign(&row) {
                Some(foreign) => format.meets_unbuilt(foreign),
                None => format.meets("a plain row"),
            }),
            Format::Auto if flattened::is_one(&row) => flattened::decode(row, key),
            Format::Auto => match auto::foreign(&row) {
                Some(foreign) => Err(format.meets_unbuilt(foreign)),
                None => Ok(Decoded::one(rows::change(row, key.into_row()))),
            },
        }
    }
}

impl Format {
    /// The name in `stoker.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Debezium => "debezium",
            Format::Flattened => "flattened",
            Format::Rows => "rows",
        }
    }

    /// What an envelope is under this format.
    fn envelope<'a>(self, envelope: Envelope<'a>, key: Key<'a>) -> Result<Decoded<'a>, DecodeError> {
        match self {
            Format::Auto | Format::Debezium => envelope.decode(key),
            // Flattening leaves logical messages as they are.
            Format::Flattened | Format::Rows if envelope.is_message() => {
                Ok(Decoded::Ignored(Ignored::Message))
            }
            Format::Flattened | Format::Rows => Err(self.meets("a Debezium envelope")),
        }
    }

    /// The error of a record in the shape of another format that the settings can name.
    fn meets(self, looks: &str) -> DecodeError {
        let says = self.as_str();
        DecodeError::new("format", format!("the value looks like {looks}; the entity says format = {says:?}"))
    }

    /// The error of a record in a format that no setting can name yet.
    fn meets_unbuilt(self, looks: &str) -> DecodeError {
        let says = match self {
            Format::Auto => String::new(),
            _ => format!("; the entity says format = {:?}", self.as_str()),
        };
        DecodeError::new("format", format!("the value looks like {looks}, which is not built yet{says}"))
    }
}

/// A null value: a delete by the key. Without a key it says nothing (a keyless table's tombstone).
fn tombstone(key: Key<'_>) -> Result<Decoded<'_>, DecodeError> {
    match key {
        Key::Null => Ok(Decoded::Ignored(Ignored::Empty)),
        Key::Row(row) => Ok(Decoded::one(rows::tombstone(row))),
        Key::Unnamed => Err(DecodeError::new(
            "key",
            "a null value deletes by the record key, and this key is no JSON object with named columns; \
             have the producer write the key as one",
        )),
    }
}

/// True where the first member is one that envelopes begin with, as the connectors write them. Where the
/// guess is wrong, the document is read again.
fn begins_like_envelope(document: Document<'_>) -> bool {
    matches!(
        document.scanner().first_name().as_deref(),
        Some("before" | "after" | "source" | "op" | "ts_ms" | "transaction" | "message")
    )
}

/// Reads the document for its faults alone.
fn whole(document: Document<'_>) -> Result<(), Fault> {
    let mut scanner = document.scanner();
    scanner.skip()?;
    scanner.finish()
}

/// The bytes as text, without a byte order mark, and how many bytes that was.
fn text_of<'a>(bytes: &'a [u8], part: &'static str) -> Result<(&'a str, usize), DecodeError> {
    let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let skipped = bytes.len() - body.len();
    match std::str::from_utf8(body) {
        Ok(text) => Ok((text, skipped)),
        Err(error) => {
            let at = error.valid_up_to() + skipped;
            Err(DecodeError::new("json", format!("the {part} is not UTF-8 at byte {at}")))
        }
    }
}

/// The error of text that is not JSON.
fn fault(kind: &'static str, stop: Fault, part: &'static str, skipped: usize) -> DecodeError {
    DecodeError::new(kind, format!("the {part} is not JSON at byte {}: {}", stop.at + skipped, stop.what))
}

impl ConnectFault {
    fn into_error(self, part: &'static str, skipped: usize) -> DecodeError {
        match self {
            ConnectFault::Json(stop) => {
                fault(if part == "key" { "key" } else { "json" }, stop, part, skipped)
            }
            ConnectFault::Schema(error) => error,
        }
    }
}
