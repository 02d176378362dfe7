//! A datum's fields, in the schema's order, as borrowed cells.
//!
//! On the wire fields come in any order, and more than once: the last scalar counts, messages are merged (which is
//! to read their parts one behind the other), lists go on. So a message's fields are looked up first, 8 bytes for
//! each, and then read one by one.

use std::ops::Range;

use super::super::datum::unavailable::{is_bytes, is_text};
use super::super::datum::{
    ADDED_PREFIX, Columns, Fault, Image, JSON_BYTES_MAX, Member, Members, Pending, widened,
};
use super::plan::{Field, Form, Message, MessageId, Plan, Rule};
use super::read::{Reader, WireType, low32, unzigzag};
use crate::change::Cell;
use crate::types::{Kind, Raw, Typed};

/// Messages, lists and maps in each other: the bound that rendering has.
pub(super) const DEPTH_MAX: usize = 64;

/// Where a field's value is written: the field's index, and where its tag begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    field: u32,
    at: u32,
}

/// A value without an inside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// The parts of a datum that one message is.
pub(super) type Parts = Vec<Range<usize>>;

/// Reads one datum.
#[derive(Debug)]
pub(super) struct Walk<'a, 's> {
    pub(super) plan: &'a Plan,
    pub(super) datum: &'a [u8],
    pub(super) json: &'s mut String,
}

impl<'a> Walk<'a, '_> {
    /// A fault at the datum's end: of what is missing.
    pub(super) fn fault_at_end(&self, what: &'static str) -> Fault {
        Fault { at: self.datum.len(), what }
    }

    /// A fault where JSON has become too much.
    pub(super) fn within_bounds(&self) -> Result<(), Fault> {
        if self.json.len() <= JSON_BYTES_MAX {
            return Ok(());
        }
        Err(self.fault_at_end("expected at most 64 MiB of nested values"))
    }

    pub(super) fn message(&self, id: MessageId) -> Result<&'a Message, Fault> {
        self.plan.message(id).ok_or_else(|| self.fault_at_end("expected a message of the schema"))
    }

    /// Where the message's known fields are, sorted by field; within one, in the datum's order. Unknown fields are
    /// passed over. Of a choice's fields only the last one is there.
    pub(super) fn places(&self, message: &'a Message, parts: &[Range<usize>]) -> Result<Vec<Place>, Fault> {
        let mut places: Vec<Place> = Vec::new();
        let mut chosen = vec![(u32::MAX, 0); message.oneof_count];
        let mut changed_mind = false;
        for part in parts {
            let mut reader = Reader::new(self.datum, part.clone());
            loop {
                let start = reader.position();
                let fault = reader.fault("expected a record of at most 4 GiB");
                let Some((number, wire)) = reader.tag()? else { break };
                let Some((index, field)) = message.by_number(number) else {
                    reader.skip(number, wire)?;
                    continue;
                };
                if !field.takes(wire) {
                    return Err(Fault { at: start, what: field.form.expected() });
                }
                reader.skip(number, wire)?;
                let place = Place {
                    field: u32::try_from(index).map_err(|_| fault)?,
                    at: u32::try_from(start).map_err(|_| fault)?,
                };
                if let Some(choice) = field.oneof.and_then(|oneof| chosen.get_mut(oneof))
                    && choice.0 != place.field
                {
                    changed_mind |= choice.0 != u32::MAX;
                    *choice = (place.field, places.len());
                }
                places.push(place);
            }
        }
        if changed_mind {
            let mut index = 0;
            places.retain(|place| {
                let oneof = message.fields.get(place.field as usize).and_then(|field| field.oneof);
                let choice = oneof.and_then(|oneof| chosen.get(oneof));
                let stays = choice.is_none_or(|(field, since)| *field == place.field && index >= *since);
                index += 1;
                stays
            });
        }
        if !places.is_sorted_by_key(|place| place.field) {
            places.sort_by_key(|place| place.field);
        }
        Ok(places)
    }

    /// The columns of a message.
    pub(super) fn row(&mut self, id: MessageId, parts: &[Range<usize>]) -> Result<Columns<'a>, Fault> {
        let message = self.message(id)?;
        let places = self.places(message, parts)?;
        let mut rest = places.as_slice();
        let mut columns = Columns::of(message.fields.len());
        for (index, field) in message.fields.iter().enumerate() {
            columns.push(&field.name, self.column(field, take(&mut rest, index))?);
        }
        Ok(columns)
    }

    /// The members of an envelope.
    pub(super) fn envelope(
        &mut self,
        message: &'a Message,
        members: &[Member],
        parts: &[Range<usize>],
    ) -> Result<Members<'a>, Fault> {
        let places = self.places(message, parts)?;
        let mut rest = places.as_slice();
        let mut found = Members::default();
        for (index, (field, member)) in message.fields.iter().zip(members).enumerate() {
            let places = take(&mut rest, index);
            match member {
                Member::Before => found.before = self.image(field, places)?,
                Member::After => found.after = self.image(field, places)?,
                Member::Op => found.op = Some(self.written(field, places)?),
                Member::Source => found.source_text = Some(self.written(field, places)?),
                Member::Transaction => found.transaction = Some(self.written(field, places)?),
                Member::Unread => {
                    // Written and taken back: what is skipped must be well-formed all the same.
                    let range = self.written(field, places)?;
                    self.json.truncate(range.start);
                }
            }
        }
        Ok(found)
    }

    fn image(&mut self, field: &'a Field, places: &[Place]) -> Result<Image<'a>, Fault> {
        match (field.form, field.rule) {
            (Form::Message(id) | Form::Group(id), Rule::Explicit | Rule::Required) => {
                if places.is_empty() {
                    return Ok(Image::Null);
                }
                let parts = self.parts(places)?;
                Ok(Image::Row(self.row(id, &parts)?))
            }
            _ => {
                self.written(field, places)?;
                Ok(Image::Other)
            }
        }
    }

    /// Writes a field's value; where it lies in the scratch.
    fn written(&mut self, field: &'a Field, places: &[Place]) -> Result<Range<usize>, Fault> {
        let start = self.json.len();
        self.field(field, places, 0)?;
        Ok(start..self.json.len())
    }

    fn column(&mut self, field: &'a Field, places: &[Place]) -> Result<Pending<'a>, Fault> {
        let kind = &field.column;
        if field.name.starts_with(ADDED_PREFIX) {
            // A text that was null is not there.
            if places.is_empty() && matches!((field.rule, field.form), (Rule::Implicit, Form::Text)) {
                return Ok(Pending::Ready(Cell::Null));
            }
            return Ok(Pending::Json(self.written(field, places)?, kind));
        }
        if matches!(field.rule, Rule::Repeated | Rule::Map) {
            return Ok(Pending::Json(self.written(field, places)?, kind));
        }
        let start = self.json.len();
        let present = |raw: Raw<'a>| Pending::Ready(Cell::Present(Typed { raw, kind }));
        Ok(match self.single(field, places, 0)? {
            None => Pending::Json(start..self.json.len(), kind),
            Some(Scalar::Null) => Pending::Ready(Cell::Null),
            Some(Scalar::Bool(value)) => present(Raw::Bool(value)),
            Some(Scalar::Int(number)) => present(Raw::Int(number)),
            Some(Scalar::Uint(number)) => present(Raw::Int(number.cast_signed())),
            Some(Scalar::Double(value)) => present(Raw::Double(value)),
            Some(Scalar::Text(text)) if is_text(text, &Kind::Text) => Pending::Ready(Cell::Unavailable),
            Some(Scalar::Text(text)) => present(Raw::Text(text)),
            Some(Scalar::Bytes(bytes)) if is_bytes(bytes, &Kind::Bytes) => Pending::Ready(Cell::Unavailable),
            Some(Scalar::Bytes(bytes)) => present(Raw::Bytes(bytes)),
        })
    }

    /// The value of a field that is there at most once; `None` where it was written as JSON.
    pub(super) fn single(
        &mut self,
        field: &'a Field,
        places: &[Place],
        depth: usize,
    ) -> Result<Option<Scalar<'a>>, Fault> {
        if places.is_empty() {
            return match field.rule {
                Rule::Required => Err(self.fault_at_end("a required field is missing")),
                Rule::Explicit => Ok(Some(Scalar::Null)),
                Rule::Implicit | Rule::Repeated | Rule::Map => self.default(field.form, depth),
            };
        }
        match field.form {
            Form::Message(id) | Form::Group(id) => {
                let parts = self.parts(places)?;
                self.value_of(id, &parts, depth)
            }
            form => self.last_scalar(form, places).map(Some),
        }
    }

    /// The value of what is not written.
    pub(super) fn default(&mut self, form: Form, depth: usize) -> Result<Option<Scalar<'a>>, Fault> {
        Ok(Some(match form {
            Form::Message(id) | Form::Group(id) => return self.value_of(id, &[], depth),
            Form::Bool => Scalar::Bool(false),
            Form::Double | Form::Float => Scalar::Double(0.0),
            Form::Text => Scalar::Text(""),
            Form::Bytes => Scalar::Bytes(&[]),
            Form::Enum(symbols) => {
                let first = self.plan.enums.get(symbols).map_or(0, |symbols| symbols.first);
                self.symbol(symbols, first)
            }
            Form::Uint64 | Form::Fixed64 => Scalar::Uint(0),
            _ => Scalar::Int(0),
        }))
    }

    /// The value that a message is; `None` where it was written as JSON.
    pub(super) fn value_of(
        &mut self,
        id: MessageId,
        parts: &[Range<usize>],
        depth: usize,
    ) -> Result<Option<Scalar<'a>>, Fault> {
        let message = self.message(id)?;
        self.meant(message, parts, depth)
    }

    /// The parts that a message's places hold.
    pub(super) fn parts(&self, places: &[Place]) -> Result<Parts, Fault> {
        places.iter().map(|place| self.part(*place)).collect()
    }

    /// The part that a message's place holds.
    pub(super) fn part(&self, place: Place) -> Result<Range<usize>, Fault> {
        let (mut reader, number, wire) = self.value_at(place)?;
        match wire {
            WireType::Group => reader.group(number),
            _ => reader.delimited(),
        }
    }

    /// A reader of a place's value.
    pub(super) fn value_at(&self, place: Place) -> Result<(Reader<'a>, u32, WireType), Fault> {
        let mut reader = Reader::new(self.datum, place.at as usize..self.datum.len());
        let missing = reader.fault("expected a field");
        let (number, wire) = reader.tag()?.ok_or(missing)?;
        Ok((reader, number, wire))
    }

    /// The last scalar of a field that is there at most once.
    fn last_scalar(&self, form: Form, places: &[Place]) -> Result<Scalar<'a>, Fault> {
        let Some(place) = places.last() else { return Ok(Scalar::Null) };
        let (mut reader, ..) = self.value_at(*place)?;
        self.scalar(form, &mut reader)
    }

    /// One scalar.
    pub(super) fn scalar(&self, form: Form, reader: &mut Reader<'a>) -> Result<Scalar<'a>, Fault> {
        let int = |low: u32| Scalar::Int(i64::from(low.cast_signed()));
        Ok(match form {
            Form::Bool => Scalar::Bool(reader.varint()? != 0),
            Form::Int32 => int(low32(reader.varint()?)),
            Form::Int64 => Scalar::Int(reader.varint()?.cast_signed()),
            Form::Uint32 => Scalar::Int(i64::from(low32(reader.varint()?))),
            Form::Uint64 => Scalar::Uint(reader.varint()?),
            Form::Sint32 => Scalar::Int(unzigzag(u64::from(low32(reader.varint()?)))),
            Form::Sint64 => Scalar::Int(unzigzag(reader.varint()?)),
            Form::Enum(symbols) => {
                let number = low32(reader.varint()?).cast_signed();
                self.symbol(symbols, number)
            }
            Form::Fixed32 => Scalar::Int(i64::from(u32::from_le_bytes(reader.four()?))),
            Form::Sfixed32 => int(u32::from_le_bytes(reader.four()?)),
            Form::Float => Scalar::Double(widened(f32::from_le_bytes(reader.four()?))),
            Form::Fixed64 => Scalar::Uint(u64::from_le_bytes(reader.eight()?)),
            Form::Sfixed64 => Scalar::Int(i64::from_le_bytes(reader.eight()?)),
            Form::Double => Scalar::Double(f64::from_le_bytes(reader.eight()?)),
            Form::Text => Scalar::Text(reader.text()?),
            Form::Bytes => Scalar::Bytes(reader.bytes()?),
            Form::Message(_) | Form::Group(_) => return Err(reader.fault("expected a scalar")),
        })
    }

    /// An enum's name, or its number where the schema has no name for it.
    fn symbol(&self, symbols: usize, number: i32) -> Scalar<'a> {
        let name = self.plan.enums.get(symbols).and_then(|symbols| symbols.name(number));
        name.map_or(Scalar::Int(i64::from(number)), Scalar::Text)
    }
}

/// Takes the places of the field of that index off the list, whose fields come in order.
pub(super) fn take<'p>(rest: &mut &'p [Place], field: usize) -> &'p [Place] {
    let count = rest.iter().take_while(|place| place.field as usize == field).count();
    let (taken, behind) = rest.split_at_checked(count).unwrap_or_default();
    *rest = behind;
    taken
}

impl Field {
    /// True where its value, or several of them, may be written so.
    fn takes(&self, wire: WireType) -> bool {
        let own = self.form.wire();
        let is_packed = self.rule == Rule::Repeated
            && wire == WireType::Bytes
            && matches!(own, WireType::Varint | WireType::Eight | WireType::Four);
        wire == own || is_packed
    }
}

impl Form {
    pub(super) fn wire(self) -> WireType {
        match self {
            Form::Int32
            | Form::Int64
            | Form::Uint32
            | Form::Uint64
            | Form::Sint32
            | Form::Sint64
            | Form::Bool
            | Form::Enum(_) => WireType::Varint,
            Form::Fixed64 | Form::Sfixed64 | Form::Double => WireType::Eight,
            Form::Fixed32 | Form::Sfixed32 | Form::Float => WireType::Four,
            Form::Text | Form::Bytes | Form::Message(_) => WireType::Bytes,
            Form::Group(_) => WireType::Group,
        }
    }

    fn expected(self) -> &'static str {
        match self.wire() {
            WireType::Varint => "expected the wire type of a varint",
            WireType::Eight => "expected the wire type of 8 bytes",
            WireType::Four => "expected the wire type of 4 bytes",
            WireType::Bytes => "expected the wire type of bytes behind a length",
            WireType::Group | WireType::GroupEnd => "expected the wire type of a group",
        }
    }
}
