//! What the binary formats under a registry have in common: a datum is walked once, its columns borrow from it, and
//! what has an inside is written as JSON into a scratch that the change borrows from in the end.
//!
//! The walks themselves are [`super::avro`]'s and [`super::protobuf`]'s.

mod json;
pub(super) mod unavailable;

use std::borrow::Cow;
use std::ops::Range;

pub(super) use self::json::{JSON_BYTES_MAX, push_base64, push_comma, push_double, push_text, widened};
use super::debezium::{self, Envelope};
use super::json::{Fault as Stop, Scanner};
use super::key::Key;
use super::position::{self, Source};
use super::vitess::Transaction;
use super::{Decoded, Format, Ignored, auxiliary, cloudevents, flattened, rows};
use crate::change::{Cell, Column, Row};
use crate::error::DecodeError;
use crate::record::Record;
use crate::types::{Kind, Raw, Typed};

/// What flattening puts before the names of the columns that it adds; they are read as JSON tokens.
pub(super) const ADDED_PREFIX: &str = "__";

/// Where the JSON of a datum's nested parts stands while its change is borrowed. One for each side.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) json: String,
    /// Members of the source block that have an inside, or whose text is wanted.
    pub(super) source: Named,
    /// Of a source block only those members are written that mean something.
    pub(super) skips_source_text: bool,
}

/// Bytes that are kept between records: a wide row's arrays, not the one huge record of a topic.
const SCRATCH_KEPT_BYTES: usize = 1 << 20;

impl Scratch {
    pub(super) fn empty(&mut self) -> &mut String {
        self.source.clear();
        self.json.clear();
        self.json.shrink_to(SCRATCH_KEPT_BYTES);
        &mut self.json
    }
}

/// A binary encoding, as errors name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Avro,
    Protobuf,
}

impl Encoding {
    /// The kind of its errors.
    fn kind(self) -> &'static str {
        match self {
            Encoding::Avro => "avro",
            Encoding::Protobuf => "protobuf",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Encoding::Avro => "Avro",
            Encoding::Protobuf => "Protobuf",
        }
    }
}

/// Why a datum could not be read: at which byte, and what was expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) what: &'static str,
}

impl Fault {
    /// The error of that part of a record, `key` or `value`.
    pub(super) fn into_error(self, part: &'static str, encoding: Encoding) -> DecodeError {
        let kind = if part == "key" { "key" } else { encoding.kind() };
        let (name, Fault { at, what }) = (encoding.name(), self);
        DecodeError::new(kind, format!("the {part} is not what its {name} schema says at byte {at}: {what}"))
    }
}

/// A cell before the scratch that its text lies in can be borrowed.
#[derive(Debug)]
pub(super) enum Pending<'a> {
    /// Borrows from the datum or the plan.
    Ready(Cell<'a>),
    /// JSON in the scratch.
    Json(Range<usize>, &'a Kind),
}

/// Columns of a record.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    /// All of them, in order.
    list: Vec<Column<'a>>,
    /// Those that have an inside, by index: their JSON in the scratch, which could not be borrowed yet.
    written: Vec<(usize, Range<usize>, &'a Kind)>,
}

impl<'a> Columns<'a> {
    /// None yet, of so many.
    pub(super) fn of(count: usize) -> Columns<'a> {
        Columns { list: Vec::with_capacity(count), written: Vec::new() }
    }

    /// Takes the next one.
    pub(super) fn push(&mut self, name: &'a str, pending: Pending<'a>) {
        let cell = match pending {
            Pending::Ready(cell) => cell,
            Pending::Json(range, kind) => {
                self.written.push((self.list.len(), range, kind));
                Cell::Null
            }
        };
        self.list.push(Column { name: Cow::Borrowed(name), cell });
    }
}

/// A row image.
#[derive(Debug, Default)]
pub(super) enum Image<'a> {
    #[default]
    Missing,
    Null,
    Row(Columns<'a>),
    Other,
}

/// A field of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    Before,
    After,
    Op,
    Source,
    Transaction,
    Unread,
}

impl Member {
    /// What the field of that name is.
    pub(super) fn named(name: &str) -> Member {
        match name {
            "before" => Member::Before,
            "after" => Member::After,
            "op" => Member::Op,
            "source" => Member::Source,
            "transaction" => Member::Transaction,
            _ => Member::Unread,
        }
    }
}

/// What the fields of an envelope are; `None` where they are a row's. Of each field its name, and whether it is a
/// record. An envelope has an `op`, and a source block or a row image, which are records: no column of a database
/// is one.
pub(super) fn members<'n>(fields: impl Iterator<Item = (&'n str, bool)>) -> Option<Vec<Member>> {
    let mut has_op = false;
    let mut has_record = false;
    let member = |(name, is_record): (&str, bool)| {
        let member = Member::named(name);
        has_op |= member == Member::Op;
        has_record |= is_record && matches!(member, Member::Before | Member::After | Member::Source);
        member
    };
    let members = fields.map(member).collect();
    (has_op && has_record).then_some(members)
}

/// Members of a source block, and where their values stand in the scratch.
pub(super) type Named = Vec<(position::Field, Range<usize>)>;

/// What an envelope holds.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    pub(super) before: Image<'a>,
    pub(super) after: Image<'a>,
    /// A JSON token in the scratch.
    pub(super) op: Option<Range<usize>>,
    /// The source block as far as the walk has read it: what has an inside is in [`Scratch::source`].
    pub(super) source: Option<Source<'a>>,
    /// The source block's JSON in the scratch. Where the walk has not read it, it is read from there.
    pub(super) source_text: Option<Range<usize>>,
    /// The transaction block's JSON in the scratch.
    pub(super) transaction: Option<Range<usize>>,
}

impl<'a> Members<'a> {
    /// The envelope, over the scratch.
    pub(super) fn envelope(
        self,
        scratch: &'a mut Scratch,
        encoding: Encoding,
    ) -> Result<Envelope<'a>, DecodeError> {
        let json = scratch.json.as_str();
        let text = |range: Option<Range<usize>>| range.and_then(|range| json.get(range));
        let block = |range| text(range).filter(|block| block.starts_with('{'));
        let unread = |name: &str, stop: Stop| {
            DecodeError::new(encoding.kind(), format!("the {name} block cannot be read: {}", stop.what))
        };
        let whole = block(self.source_text);
        let mut source = match (self.source, whole) {
            (Some(source), _) => Some(source.with_text(whole)),
            (None, Some(whole)) => {
                Some(Source::scan(&mut Scanner::new(whole, 0)).map_err(|stop| unread("source", stop))?)
            }
            (None, None) => None,
        };
        if let Some(source) = &mut source {
            for (field, range) in &scratch.source {
                source.take(*field, text(Some(range.clone())).unwrap_or("null"));
            }
        }
        let transaction = match block(self.transaction) {
            Some(block) => {
                Transaction::scan(&mut Scanner::new(block, 0)).map_err(|stop| unread("transaction", stop))?
            }
            None => Transaction::default(),
        };
        Ok(Envelope {
            op: text(self.op),
            before: image(self.before, json),
            after: image(self.after, json),
            source,
            transaction,
        })
    }
}

fn image<'a>(pending: Image<'a>, json: &'a str) -> debezium::Image<'a> {
    match pending {
        Image::Missing => debezium::Image::Missing,
        Image::Null => debezium::Image::Null,
        Image::Row(columns) => debezium::Image::Row(row(columns, json)),
        Image::Other => debezium::Image::Other,
    }
}

/// The columns as a row, over the scratch.
pub(super) fn row<'a>(pending: Columns<'a>, json: &'a str) -> Row<'a> {
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
    Row { columns: list, declared: &[], text: None }
}

/// What a row is under a format: the same as a row of JSON.
pub(super) fn change<'a>(
    format: Format,
    row: Row<'a>,
    key: Key<'a>,
    record: &Record<'_>,
    encoding: Encoding,
) -> Result<Decoded<'a>, DecodeError> {
    if let Some(ignored) = auxiliary::recognise(&row, &key, record.topic, matches!(format, Format::Debezium))
    {
        return Ok(Decoded::Ignored(ignored));
    }
    if cloudevents::is_binary(&row, record.headers) {
        return Err(format.meets_unbuilt(match encoding {
            Encoding::Avro => "a CloudEvent in Avro",
            Encoding::Protobuf => "a CloudEvent in Protobuf",
        }));
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

/// The record that Debezium writes beside changes, by its schema's name (Debezium 3.7).
pub(super) fn auxiliary_by_name(name: &str) -> Option<Ignored> {
    let own = name.strip_prefix("io.debezium.connector.")?;
    Some(match own {
        "common.Heartbeat" => Ignored::Heartbeat,
        "common.TransactionMetadataValue" => Ignored::Transaction,
        _ if own.ends_with(".SchemaChangeValue") => Ignored::SchemaChange,
        _ => return None,
    })
}
