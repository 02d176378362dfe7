//! Values with an inside as the JSON that Connect's `JsonConverter` writes of them: fields by their names in the
//! .proto text, 64-bit numbers as numbers, maps with other keys than texts as lists of pairs.
//!
//! What of it means something else than it says (times, decimals, bytes) is told by the kind beside it, which the
//! renderer of JSON columns reads; nothing is converted twice.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use super::super::datum::{Fault, push_base64, push_comma, push_double, push_text};
use super::plan::{Field, Form, Message, Rule};
use super::read::{Reader, WireType};
use super::walk::{DEPTH_MAX, Place, Scalar, Walk, take};

/// A map's key.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum MapKey<'a> {
    Number(i128),
    Text(&'a str),
}

impl<'a> Walk<'a, '_> {
    /// Appends a field's value.
    pub(super) fn field(&mut self, field: &'a Field, places: &[Place], depth: usize) -> Result<(), Fault> {
        self.within_bounds()?;
        match field.rule {
            Rule::Repeated => self.list(field.form, places, depth),
            Rule::Map => self.map(field.form, places, depth),
            Rule::Implicit | Rule::Explicit | Rule::Required => {
                let scalar = self.single(field, places, depth)?;
                self.push(scalar);
                Ok(())
            }
        }
    }

    /// Appends a message as an object of all its fields.
    pub(super) fn object(
        &mut self,
        message: &'a Message,
        parts: &[Range<usize>],
        depth: usize,
    ) -> Result<(), Fault> {
        let depth = self.deeper(depth)?;
        let places = self.places(message, parts)?;
        let mut rest = places.as_slice();
        self.json.push('{');
        for (index, field) in message.fields.iter().enumerate() {
            push_comma(self.json, index);
            push_text(self.json, &field.name);
            self.json.push(':');
            self.field(field, take(&mut rest, index), depth)?;
        }
        self.json.push('}');
        Ok(())
    }

    fn deeper(&self, depth: usize) -> Result<usize, Fault> {
        if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(self.fault_at_end("values nested too deeply")) }
    }

    /// Appends a list: values one by one, or packed behind one length, or both.
    fn list(&mut self, form: Form, places: &[Place], depth: usize) -> Result<(), Fault> {
        let depth = self.deeper(depth)?;
        let mut index = 0;
        self.json.push('[');
        for place in places {
            if let Form::Message(id) | Form::Group(id) = form {
                self.within_bounds()?;
                push_comma(self.json, index);
                index += 1;
                let part = self.part(*place)?;
                let scalar = self.value_of(id, &[part], depth)?;
                self.push(scalar);
                continue;
            }
            let (mut reader, _, wire) = self.value_at(*place)?;
            if wire == WireType::Bytes && form.wire() != WireType::Bytes {
                let mut packed = Reader::new(self.datum, reader.delimited()?);
                while !packed.is_done() {
                    let scalar = self.scalar(form, &mut packed)?;
                    push_comma(self.json, index);
                    index += 1;
                    self.push(Some(scalar));
                }
            } else {
                let scalar = self.scalar(form, &mut reader)?;
                push_comma(self.json, index);
                index += 1;
                self.push(Some(scalar));
            }
            self.within_bounds()?;
        }
        self.json.push(']');
        Ok(())
    }

    /// Appends a map: an object where its keys are texts, else a list of pairs. Of a key's entries the last counts,
    /// where the first stood.
    pub(super) fn map(&mut self, form: Form, places: &[Place], depth: usize) -> Result<(), Fault> {
        let depth = self.deeper(depth)?;
        let Form::Message(entry) = form else { return Err(self.fault_at_end("expected a map's entry")) };
        let entry = self.message(entry)?;
        let [key, value] = entry.fields.as_slice() else {
            return Err(self.fault_at_end("expected a key and a value"));
        };
        let keys_are_texts = key.form == Form::Text;
        let mut indexes: BTreeMap<MapKey<'a>, usize> = BTreeMap::new();
        let mut entries: Vec<(Scalar<'a>, Place)> = Vec::new();
        for place in places {
            let scalar = self.entry(entry, *place)?.0;
            let index = *indexes.entry(map_key(scalar)).or_insert(entries.len());
            match entries.get_mut(index) {
                Some(found) => found.1 = *place,
                None => entries.push((scalar, *place)),
            }
        }
        self.json.push(if keys_are_texts { '{' } else { '[' });
        for (index, (key, place)) in entries.into_iter().enumerate() {
            self.within_bounds()?;
            push_comma(self.json, index);
            if !keys_are_texts {
                self.json.push('[');
            }
            self.push(Some(key));
            self.json.push(if keys_are_texts { ':' } else { ',' });
            let places = self.entry(entry, place)?.1;
            let scalar = match places.as_slice() {
                [] => self.default(value.form, depth)?,
                places => self.single(value, places, depth)?,
            };
            self.push(scalar);
            if !keys_are_texts {
                self.json.push(']');
            }
        }
        self.json.push(if keys_are_texts { '}' } else { ']' });
        Ok(())
    }

    /// An entry's key, and the places of its value.
    fn entry(&mut self, entry: &'a Message, place: Place) -> Result<(Scalar<'a>, Vec<Place>), Fault> {
        let part = self.part(place)?;
        let places = self.places(entry, &[part])?;
        let mut rest = places.as_slice();
        let keys = take(&mut rest, 0);
        let Some(key) = entry.fields.first() else { return Err(self.fault_at_end("expected a map's key")) };
        let scalar = match keys {
            [] => self.default(key.form, 0)?,
            keys => self.single(key, keys, 0)?,
        };
        Ok((scalar.unwrap_or(Scalar::Null), rest.to_vec()))
    }

    /// Appends a scalar, where there is one that is not written yet.
    pub(super) fn push(&mut self, scalar: Option<Scalar<'a>>) {
        match scalar {
            None => {}
            Some(Scalar::Null) => self.json.push_str("null"),
            Some(Scalar::Bool(value)) => self.json.push_str(if value { "true" } else { "false" }),
            Some(Scalar::Int(number)) => {
                let _ = write!(self.json, "{number}");
            }
            Some(Scalar::Uint(number)) => {
                let _ = write!(self.json, "{number}");
            }
            Some(Scalar::Double(value)) => push_double(self.json, value),
            Some(Scalar::Text(text)) => push_text(self.json, text),
            Some(Scalar::Bytes(bytes)) => push_base64(self.json, bytes),
        }
    }
}

fn map_key(scalar: Scalar<'_>) -> MapKey<'_> {
    match scalar {
        Scalar::Text(text) => MapKey::Text(text),
        Scalar::Int(number) => MapKey::Number(i128::from(number)),
        Scalar::Uint(number) => MapKey::Number(i128::from(number)),
        Scalar::Bool(value) => MapKey::Number(i128::from(value)),
        // The schema's parser takes no other keys.
        Scalar::Null | Scalar::Double(_) | Scalar::Bytes(_) => MapKey::Number(0),
    }
}
