//! From a record's bytes to row changes: one file per format.
//!
//! Reads nothing but the record and the plans of schemas seen before; does no IO. Start at [`Decoder`].

mod auto;
mod auxiliary;
mod avro;
mod canal;
mod cloudevents;
mod cockroach;
mod connect;
mod datum;
mod debezium;
mod dms;
mod documents;
mod export;
mod extended_json;
mod flattened;
mod json;
mod json_schema;
mod key;
mod maxwell;
mod members;
mod mongo;
mod mysql_text;
mod mysql_type;
mod ogg;
mod outline;
mod placeholder;
mod position;
mod protobuf;
mod rows;
mod schemas;
mod sequin;
#[cfg(test)]
mod tests;
mod ticdc;
mod ticdc_open;
mod vitess;
mod wire;
mod yugabyte;

use smallvec::SmallVec;

use self::auto::Shape;
use self::connect::{ConnectFault, Document, Plans};
use self::debezium::Envelope;
pub use self::export::{AvroRows, AvroScratch, json_row};
use self::json::Fault;
use self::key::Key;
use self::outline::{Outlines, TopicOutlines};
use self::schemas::Planned;
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
    /// Maxwell's JSON.
    Maxwell,
    /// Canal's flat JSON.
    Canal,
    /// TiCDC: canal-json, open protocol, simple (JSON) and Debezium.
    Ticdc,
    /// Oracle GoldenGate's JSON.
    Ogg,
    /// AWS DMS.
    Dms,
    /// CockroachDB's changefeeds as JSON.
    Cockroach,
    /// Sequin's messages.
    Sequin,
    /// MongoDB: its Kafka source connector, and Debezium's connector for it.
    Mongo,
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
    /// A statement that all changes up to some position have been sent (TiCDC, CockroachDB).
    Watermark,
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
            Ignored::Watermark => "watermark",
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
    key_scratch: datum::Scratch,
    value_scratch: datum::Scratch,
    /// Plans of schemas inside an envelope (CloudEvents).
    inner_plans: Plans,
    inner_outlines: Outlines,
    outlines: TopicOutlines,
    /// A document that came as a JSON text.
    inner: String,
    /// The last envelope was MongoDB's, and so are the keys of a topic's tombstones.
    documents: bool,
    /// Attributes of a CloudEvent that came as headers: a JSON object.
    attributes: String,
    /// Texts that a format keeps escaped or encoded, for rows to borrow from: a record's at a time.
    texts: Vec<String>,
}

impl Decoder {
    /// A decoder for topics of that format.
    pub fn new(format: Format) -> Decoder {
        let plans = || Plans::new(format);
        Decoder {
            format,
            key_plans: plans(),
            value_plans: plans(),
            key_scratch: datum::Scratch::default(),
            value_scratch: datum::Scratch::default(),
            inner_plans: plans(),
            inner_outlines: Outlines::default(),
            outlines: TopicOutlines::default(),
            inner: String::new(),
            documents: false,
            attributes: String::new(),
            texts: Vec::new(),
        }
    }

    /// Whether [`Change::source`] is told: in a binary format it has to be written for that. As it is made, it does.
    pub fn tell_source_text(&mut self, told: bool) {
        self.value_scratch.skips_source_text = !told;
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
    /// - Memory is bounded by the record's size, or, for the JSON of nested values under a registry's schema, by 64 MiB; time grows with it linearly (or nearly so).
    ///
    /// Errors are about this record; they name what was expected and where, never a value. Kinds: `json`,
    /// `avro`, `protobuf`, `key`, `empty`, `schema`, `envelope`, `op`, `format`.
    pub fn decode_with<'a>(
        &'a mut self,
        record: &Record<'a>,
        schemas: &'a Schemas,
    ) -> Result<Decoded<'a>, DecodeError> {
        let format = self.format;
        let (texts, outlines) = (&mut self.texts, &mut self.outlines);
        if matches!(format, Format::Auto | Format::Ticdc) && ticdc_open::is_one(record) {
            return ticdc_open::decode(record, texts);
        }
        let key = match schemas.framed(record, Side::Key) {
            Some(framed) => match schemas.plan(framed.schema.id, format)? {
                Planned::Avro(plan) => avro::key(plan, framed.datum, &mut self.key_scratch)?,
                Planned::Json(plan) => {
                    Key::read(&mut self.key_plans, Some(framed.datum), Some(plan), &mut outlines.key)?
                }
                Planned::Protobuf(plans) => {
                    protobuf::key(plans, framed.message, framed.datum, &mut self.key_scratch, format)?
                }
            },
            None => Key::read(&mut self.key_plans, record.key, None, &mut outlines.key)?,
        };
        let Some(bytes) = record.value else { return format.tombstone(key, self.documents, texts) };
        let (mut bytes, mut under) = (bytes, None);
        if let Some(framed) = schemas.framed(record, Side::Value) {
            match schemas.plan(framed.schema.id, format)? {
                Planned::Avro(plan) => {
                    let scratch = &mut self.value_scratch;
                    return avro::value(plan, framed.datum, scratch, format, record, key, texts);
                }
                Planned::Json(plan) => (bytes, under) = (framed.datum, Some(plan)),
                Planned::Protobuf(plans) => {
                    let beside = protobuf::Beside { format, record, key, texts };
                    let scratch = &mut self.value_scratch;
                    return protobuf::value(plans, framed.message, framed.datum, scratch, beside);
                }
            }
        } else if bytes.is_empty() {
            return Err(DecodeError::new(
                "empty",
                "the value is empty, which is neither null (a tombstone) nor JSON; check the producer's \
                 serializer",
            ));
        } else if let Some(framing) = auto::registry_framing(bytes, record.headers) {
            let detail =
                format!("the value looks like {framing}, and no registry is named: set [registry] url");
            return Err(DecodeError::new("format", detail));
        }
        if let Some(framing) = auto::framing(bytes) {
            return Err(format.meets_unbuilt(framing));
        }
        let (text, skipped) = text_of(bytes, "value")?;
        let json = |stop: Fault| fault("json", stop, "value", skipped);
        // The usual record, before it is asked what it may be. No envelope is a schema and a payload.
        if under.is_none()
            && let Some(envelope) = Envelope::by_outline(Document::bare(text), &mut outlines.envelope)
            && envelope.is_one()
        {
            self.documents = envelope.is_mongodb();
            return format.envelope(envelope, key, texts);
        }
        let mut document = match under {
            Some(plan) => Document::under(text, plan),
            None => self.value_plans.unwrap(text).map_err(|wrong| wrong.into_error("value", skipped))?,
        };
        if format.reads_texts() && document.scanner().peek() == Some(b'"') {
            self.inner = whole(document).map_err(json).map(json::unescape)?.unwrap_or_default().into_owned();
            document = Document::bare(&self.inner);
        }
        match document.scanner().peek() {
            Some(b'{') => {}
            Some(b'n') => {
                whole(document).map_err(json)?;
                return format.tombstone(key, self.documents, texts);
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
            let envelope = Envelope::scan(document, &mut outlines.envelope).map_err(json)?;
            if envelope.is_one() {
                self.documents = envelope.is_mongodb();
                return format.envelope(envelope, key, texts);
            }
        }
        let row = rows::scan_document(document, &mut outlines.row).map_err(json)?;
        if !begins && row.columns.iter().any(|column| column.name == "op") {
            let envelope = Envelope::scan(document, &mut outlines.envelope).map_err(json)?;
            if envelope.is_one() {
                self.documents = envelope.is_mongodb();
                return format.envelope(envelope, key, texts);
            }
        }
        if let Some(ignored) =
            auxiliary::recognise(&row, &key, record.topic, matches!(format, Format::Debezium))
        {
            return Ok(Decoded::Ignored(ignored));
        }
        if !matches!(format, Format::Flattened) && flattened::is_one(&row) {
            return match format {
                Format::Auto => flattened::decode(row, key),
                _ => Err(format.meets("a flattened row")),
            };
        }
        match (format, auto::shape(&row)) {
            (Format::Flattened, _) => flattened::decode(row, key),
            (Format::Rows, _) => Ok(Decoded::one(rows::change(row, key.into_row()))),
            // CockroachDB's are `before` and `after` alone, too, but here the op is in a header.
            _ if cloudevents::is_binary(&row, record.headers) => match format.takes(Shape::CloudEvents) {
                true => {
                    let attributes = &mut self.attributes;
                    let outlines = &mut self.inner_outlines;
                    cloudevents::decode_binary(document, key, record.headers, attributes, outlines, texts)
                }
                false => Err(format.meets("a CloudEvent in binary mode")),
            },
            (_, Some(shape)) if format.takes(shape) => match shape {
                Shape::Maxwell => maxwell::decode(row, key, record),
                Shape::Canal => canal::decode(row, record, texts),
                Shape::TicdcSimple => ticdc::decode(row, key, record),
                Shape::Ogg => ogg::decode(row, key, record),
                Shape::Dms => dms::decode(row, key, record),
                Shape::Cockroach => cockroach::decode(row, key, record),
                Shape::Sequin => sequin::decode(row, key, record),
                Shape::Mongo => mongo::decode(row, key),
                Shape::CloudEvents => {
                    let (plans, outlines) = (&mut self.inner_plans, &mut self.inner_outlines);
                    cloudevents::decode(row, key, plans, outlines, texts)
                }
                Shape::Qlik => Err(format.meets_unbuilt(shape.name())),
            },
            (_, Some(Shape::Qlik)) => Err(format.meets_unbuilt(Shape::Qlik.name())),
            (Format::Auto, None) => Ok(Decoded::one(rows::change(row, key.into_row()))),
            // The envelopes `row` and `bare`, and documents without their events, are rows.
            (Format::Cockroach, None) => cockroach::decode(row, key, record),
            (Format::Mongo, None) => Ok(Decoded::one(mongo::document(row, key))),
            (_, Some(shape)) => Err(format.meets(shape.name())),
            (_, None) => Err(format.meets("a plain row")),
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
            Format::Maxwell => "maxwell",
            Format::Canal => "canal",
            Format::Ticdc => "ticdc",
            Format::Ogg => "ogg",
            Format::Dms => "dms",
            Format::Cockroach => "cockroach",
            Format::Sequin => "sequin",
            Format::Mongo => "mongo",
        }
    }

    /// True where records of that shape are this format's.
    fn takes(self, shape: Shape) -> bool {
        match self {
            Format::Auto => shape != Shape::Qlik,
            Format::Debezium => shape == Shape::CloudEvents,
            Format::Flattened | Format::Rows => false,
            Format::Maxwell => shape == Shape::Maxwell,
            Format::Canal => shape == Shape::Canal,
            Format::Ticdc => matches!(shape, Shape::Canal | Shape::TicdcSimple),
            Format::Ogg => shape == Shape::Ogg,
            Format::Dms => shape == Shape::Dms,
            Format::Cockroach => shape == Shape::Cockroach,
            Format::Sequin => shape == Shape::Sequin,
            Format::Mongo => matches!(shape, Shape::Mongo | Shape::CloudEvents),
        }
    }

    /// True where a value may be a JSON text that holds the JSON: what a converter makes of a producer that
    /// writes its JSON itself (MongoDB's connector, outbox payloads).
    fn reads_texts(self) -> bool {
        matches!(self, Format::Auto | Format::Rows | Format::Mongo)
    }

    /// A null value: a delete by the key. Without a key it says nothing (a keyless table's tombstone). `documents` says
    /// whether the topic's envelopes are MongoDB's, as far as was seen.
    fn tombstone<'a>(
        self,
        key: Key<'a>,
        documents: bool,
        texts: &'a mut Vec<String>,
    ) -> Result<Decoded<'a>, DecodeError> {
        let documents = documents || self == Format::Mongo;
        if documents && documents::may_be_key(&key) || self == Format::Auto && documents::is_key(&key) {
            let named = documents::read(&key, None, None, texts)?.key;
            return named
                .map_or(Ok(Decoded::Ignored(Ignored::Empty)), |row| Ok(Decoded::one(rows::tombstone(row))));
        }
        if matches!(self, Format::Auto | Format::Maxwell) && maxwell::is_key(&key) {
            return Ok(match maxwell::key_row(key) {
                maxwell::Named::Columns(row) => Decoded::one(rows::tombstone(row)),
                maxwell::Named::Nothing | maxwell::Named::Unknown => Decoded::Ignored(Ignored::Empty),
            });
        }
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

    /// What an envelope is under this format.
    fn envelope<'a>(
        self,
        envelope: Envelope<'a>,
        key: Key<'a>,
        texts: &'a mut Vec<String>,
    ) -> Result<Decoded<'a>, DecodeError> {
        match self {
            Format::Auto | Format::Debezium | Format::Ticdc | Format::Cockroach => {
                envelope.decode(key, texts)
            }
            Format::Mongo if envelope.is_mongodb() => envelope.decode(key, texts),
            // Flattening leaves logical messages as they are.
            _ if envelope.is_message() => Ok(Decoded::Ignored(Ignored::Message)),
            Format::Flattened
            | Format::Rows
            | Format::Maxwell
            | Format::Canal
            | Format::Ogg
            | Format::Dms
            | Format::Sequin
            | Format::Mongo => Err(self.meets("a Debezium envelope")),
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

/// True where the first member is one that envelopes begin with, as the connectors write them. Where the
/// guess is wrong, the document is read again.
fn begins_like_envelope(document: Document<'_>) -> bool {
    matches!(
        document.scanner().first_name().as_deref(),
        Some("before" | "after" | "source" | "op" | "ts_ms" | "transaction" | "message")
    )
}

/// Reads the document for its faults, and its token.
fn whole(document: Document<'_>) -> Result<&str, Fault> {
    let mut scanner = document.scanner();
    let token = scanner.skip()?;
    scanner.finish()?;
    Ok(token)
}

/// The bytes as text, without a byte order mark, and how many bytes that was.
fn text_of<'a>(bytes: &'a [u8], part: &'static str) -> Result<(&'a str, usize), DecodeError> {
    let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let skipped = bytes.len() - body.len();
    match simdutf8::compat::from_utf8(body) {
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
