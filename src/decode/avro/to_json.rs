//! Values with an inside as the JSON that Connect's `JsonConverter` writes of them.
//!
//! What of it means something else than it says (times, decimals, bytes) is told by the kind beside it, which the
//! renderer of JSON columns reads; nothing is converted twice.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;

use super::Fault;
use super::schema::{Field, Form, NodeId};
use super::walk::{DEPTH_MAX, Walk, widened};
use crate::types::{Kind, json_string, plain_length};

/// JSON of one record's nested parts. Names make it longer than the datum; no cached value is nearly as long.
const JSON_BYTES_MAX: usize = 64 << 20;

/// Members for which there is room without allocating: a source block's.
const MEMBERS_EXPECTED: usize = 24;

/// Names and where their values stand in the JSON.
pub(super) type Members<'a> = SmallVec<[(&'a str, Range<usize>); MEMBERS_EXPECTED]>;

impl<'a> Walk<'a, '_> {
    /// Appends a value whose union is resolved.
    pub(super) fn value(&mut self, node: NodeId, form: &Form, depth: usize) -> Result<(), Fault> {
        if self.json.len() > JSON_BYTES_MAX {
            return Err(self.reader.fault("expected at most 64 MiB of nested values"));
        }
        match form {
            Form::Null => self.json.push_str("null"),
            Form::Bool => {
                let value = self.reader.boolean()?;
                self.json.push_str(if value { "true" } else { "false" });
            }
            Form::Int => {
                let number = self.reader.int()?;
                self.push_number(number);
            }
            Form::Long => {
                let number = self.reader.long()?;
                self.push_number(number);
            }
            Form::Float => {
                let value = self.reader.float()?;
                self.push_double(widened(value));
            }
            Form::Double => {
                let value = self.reader.double()?;
                self.push_double(value);
            }
            Form::Text => {
                let text = self.reader.text()?;
                self.push_text(text);
            }
            Form::Enum(symbols) => {
                let fault = self.reader.fault("expected the index of a symbol of the enum");
                let symbol = symbols.get(self.reader.index()?).ok_or(fault)?;
                self.push_text(symbol);
            }
            Form::Bytes => {
                let bytes = self.reader.bytes()?;
                self.push_base64(bytes);
            }
            Form::Fixed(length) => {
                let bytes = self.reader.fixed(*length)?;
                self.push_fixed(node, bytes);
            }
            Form::Array(item) => self.array(node, *item, depth)?,
            Form::Map(value) => self.map(*value, depth)?,
            Form::Record(fields) => {
                let depth = self.deeper(depth)?;
                self.json.push('{');
                for (index, field) in fields.iter().enumerate() {
                    self.comma(index);
                    self.json.push_str(&field.label);
                    self.resolved(field.node, depth)?;
                }
                self.json.push('}');
            }
            Form::Union(_) => return Err(self.reader.fault("unions in each other")),
        }
        Ok(())
    }

    /// Appends a record as an object, and tells where each member's value stands.
    pub(super) fn members(&mut self, fields: &'a [Field]) -> Result<Members<'a>, Fault> {
        let mut members = SmallVec::new();
        self.json.push('{');
        for (index, field) in fields.iter().enumerate() {
            self.comma(index);
            self.json.push_str(&field.label);
            let start = self.json.len();
            self.resolved(field.node, 1)?;
            members.push((field.name.as_str(), start..self.json.len()));
        }
        self.json.push('}');
        Ok(members)
    }

    fn resolved(&mut self, node: NodeId, depth: usize) -> Result<(), Fault> {
        let (node, form) = self.resolve(node)?;
        self.value(node, form, depth)
    }

    fn deeper(&self, depth: usize) -> Result<usize, Fault> {
        if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(self.reader.fault("values nested too deeply")) }
    }

    fn array(&mut self, node: NodeId, item: NodeId, depth: usize) -> Result<(), Fault> {
        let depth = self.deeper(depth)?;
        if self.plan.is_map_entry(item) {
            let keys_are_texts = matches!(self.plan.kind(node), Kind::Map(key, _) if **key == Kind::Text);
            return self.entries(item, keys_are_texts, depth);
        }
        self.json.push('[');
        self.each_item(|this, index| {
            this.comma(index);
            this.resolved(item, depth)
        })?;
        self.json.push(']');
        Ok(())
    }

    /// A map as Connect writes it where its keys are optional or no texts. In JSON it is an object where the keys
    /// are texts, else a list of pairs.
    fn entries(&mut self, item: NodeId, keys_are_texts: bool, depth: usize) -> Result<(), Fault> {
        let plan = self.plan;
        let Form::Record(fields) = plan.form(item) else {
            return Err(self.reader.fault("expected a record"));
        };
        let [key, value] = fields.as_slice() else { return Err(self.reader.fault("expected a pair")) };
        self.json.push(if keys_are_texts { '{' } else { '[' });
        self.each_item(|this, index| {
            this.comma(index);
            if !keys_are_texts {
                this.json.push('[');
            }
            let (key, form) = this.resolve(key.node)?;
            if keys_are_texts && !matches!(form, Form::Text | Form::Enum(_)) {
                return Err(this.reader.fault("expected a text as the map's key"));
            }
            this.value(key, form, depth)?;
            this.json.push(if keys_are_texts { ':' } else { ',' });
            this.resolved(value.node, depth)?;
            if !keys_are_texts {
                this.json.push(']');
            }
            Ok(())
        })?;
        self.json.push(if keys_are_texts { '}' } else { ']' });
        Ok(())
    }

    fn map(&mut self, value: NodeId, depth: usize) -> Result<(), Fault> {
        let depth = self.deeper(depth)?;
        self.json.push('{');
        self.each_item(|this, index| {
            this.comma(index);
            let key = this.reader.text()?;
            this.push_text(key);
            this.json.push(':');
            this.resolved(value, depth)
        })?;
        self.json.push('}');
        Ok(())
    }

    /// Calls for each item of the blocks of an array or map.
    fn each_item(
        &mut self,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut index = 0;
        loop {
            let count = self.reader.block()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                self.step()?;
                item(self, index)?;
                index += 1;
            }
        }
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.json.push(',');
        }
    }

    fn push_number(&mut self, number: i64) {
        self.json.push_str(itoa::Buffer::new().format(number));
    }

    /// JSON has no infinities: Connect writes them as texts.
    fn push_double(&mut self, value: f64) {
        match serde_json::to_string(&value) {
            Ok(text) if value.is_finite() => self.json.push_str(&text),
            _ if value.is_nan() => self.json.push_str("\"NaN\""),
            _ => self.json.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }),
        }
    }

    fn push_text(&mut self, text: &str) {
        if plain_length(text.as_bytes()) == text.len() {
            self.json.push('"');
            self.json.push_str(text);
            self.json.push('"');
            return;
        }
        let mut quoted = Vec::with_capacity(text.len() + 2);
        json_string(text, &mut quoted);
        self.json.push_str(std::str::from_utf8(&quoted).unwrap_or("\"\""));
    }

    fn push_base64(&mut self, bytes: &[u8]) {
        self.json.push('"');
        STANDARD.encode_string(bytes, self.json);
        self.json.push('"');
    }

    /// A UUID and a duration have no form in Connect: they are written as what they are rendered as.
    fn push_fixed(&mut self, node: NodeId, bytes: &[u8]) {
        use std::fmt::Write as _;
        if let (Kind::Uuid, Ok(uuid)) = (self.plan.kind(node), <&[u8; 16]>::try_from(bytes)) {
            self.push_text(&super::super::wire::guid_text(uuid));
        } else if let (true, Some([months, days, millis])) = (self.plan.is_duration(node), duration(bytes)) {
            let (seconds, millis) = (millis / 1_000, millis % 1_000);
            let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}") };
            let fraction = fraction.trim_end_matches('0');
            let _ = write!(self.json, "\"P{months}M{days}DT{seconds}{fraction}S\"");
        } else {
            self.push_base64(bytes);
        }
    }
}

/// Months, days and milliseconds, little-endian.
fn duration(bytes: &[u8]) -> Option<[u32; 3]> {
    let (parts, rest) = bytes.as_chunks::<4>();
    let [months, days, millis] = parts else { return None };
    rest.is_empty().then(|| [months, days, millis].map(|part| u32::from_le_bytes(*part)))
}
