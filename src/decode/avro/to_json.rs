//! Values with an inside as the JSON that Connect's `JsonConverter` writes of them.
//!
//! What of it means something else than it says (times, decimals, bytes) is told by the kind beside it, which the
//! renderer of JSON columns reads; nothing is converted twice.

use super::super::datum::{Fault, JSON_BYTES_MAX, push_base64, push_comma, push_double, push_text, widened};
use super::schema::{Field, Form, NodeId};
use super::walk::{DEPTH_MAX, Walk};
use crate::types::Kind;

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
                push_double(self.json, widened(value));
            }
            Form::Double => {
                let value = self.reader.double()?;
                push_double(self.json, value);
            }
            Form::Text => {
                let text = self.reader.text()?;
                push_text(self.json, text);
            }
            Form::Enum(symbols) => {
                let fault = self.reader.fault("expected the index of a symbol of the enum");
                let symbol = symbols.get(self.reader.index()?).ok_or(fault)?;
                push_text(self.json, symbol);
            }
            Form::Bytes => {
                let bytes = self.reader.bytes()?;
                push_base64(self.json, bytes);
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
                    push_comma(self.json, index);
                    self.json.push_str(&field.label);
                    self.resolved(field.node, depth)?;
                }
                self.json.push('}');
            }
            Form::Union(_) => return Err(self.reader.fault("unions in each other")),
        }
        Ok(())
    }

    /// Appends a source block as an object, and tells where each member's value stands.
    pub(super) fn members(&mut self, fields: &'a [Field]) -> Result<(), Fault> {
        self.json.push('{');
        for (index, field) in fields.iter().enumerate() {
            push_comma(self.json, index);
            self.json.push_str(&field.label);
            let start = self.json.len();
            self.resolved(field.node, 1)?;
            self.of_source.push((field.of_source, start..self.json.len()));
        }
        self.json.push('}');
        Ok(())
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
            push_comma(this.json, index);
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
            push_comma(this.json, index);
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
            push_comma(this.json, index);
            let key = this.reader.text()?;
            push_text(this.json, key);
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

    fn push_number(&mut self, number: i64) {
        self.json.push_str(itoa::Buffer::new().format(number));
    }

    /// A UUID and a duration have no form in Connect: they are written as what they are rendered as.
    fn push_fixed(&mut self, node: NodeId, bytes: &[u8]) {
        use std::fmt::Write as _;
        if let (Kind::Uuid, Ok(uuid)) = (self.plan.kind(node), <&[u8; 16]>::try_from(bytes)) {
            push_text(self.json, &super::super::wire::guid_text(uuid));
        } else if let (true, Some([months, days, millis])) = (self.plan.is_duration(node), duration(bytes)) {
            let (seconds, millis) = (millis / 1_000, millis % 1_000);
            let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}") };
            let fraction = fraction.trim_end_matches('0');
            let _ = write!(self.json, "\"P{months}M{days}DT{seconds}{fraction}S\"");
        } else {
            push_base64(self.json, bytes);
        }
    }
}

/// Months, days and milliseconds, little-endian.
fn duration(bytes: &[u8]) -> Option<[u32; 3]> {
    let (parts, rest) = bytes.as_chunks::<4>();
    let [months, days, millis] = parts else { return None };
    rest.is_empty().then(|| [months, days, millis].map(|part| u32::from_le_bytes(*part)))
}
