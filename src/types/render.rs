//! Rendering: a typed part to JSON, to plain text, to a part of a key, or to its bytes.
//!
//! Every function appends to a buffer, loses nothing, and panics for no combination of kind and part; on an
//! error the buffer is as it was. Numbers are moved as digits ([`super::number`]), times computed in wide
//! integers ([`super::temporal`]); JSON text passes on as it came wherever it already is what is wanted.

use std::borrow::Cow;

use super::binary::{from_base64, from_hex, from_latin1};
use super::decimal::PADDING_MAX;
use super::json::{Items, json_string};
use super::part::Part;
use super::{IsoText, Kind, Raw, RenderStyle, TimeStyle, Typed, ValueError};

/// Levels of arrays, maps and structs in each other. No source is known that nests typed columns beyond a
/// handful; JSON documents inside are text and do not count.
const DEPTH_MAX: usize = 64;

/// What is being rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// A JSON value.
    Json,
    /// Plain text.
    Text,
    /// A part of a key: plain text, one spelling per number.
    Key,
}

/// Appends the value as one JSON value.
///
/// | type | rendered |
/// |---|---|
/// | boolean, integers | a literal, exact at any width |
/// | decimal | `"12.50"`: plain notation, the scale that came; `12.50` in the number style; `"NaN"` and infinities as text |
/// | double | a number: the event's token, else the shortest that reads back; `"NaN"`, `"Infinity"`, `"-Infinity"` |
/// | text, UUID, JSON document | a string; a document stays text |
/// | bytes | base64, or hexadecimal in that style |
/// | bits | `"0101"`, the most significant bit first |
/// | date | `"2024-11-01"`, `"-0043-03-15"`, `"+12024-01-01"`, `"infinity"`, `"-infinity"` |
/// | time stamp | `"2024-11-01T09:57:00.25"`: no zone letter, no zeros at the end of the fraction |
/// | instant | the same in UTC with `Z` |
/// | time | `"10:33:04.5"`, `"24:00:00"`, `"-838:59:59"` |
/// | duration | `"PT1H30M0.5S"`, `"-PT1H"`; an interval's text, and a time with an offset, as they came |
/// | array, map, struct | JSON of the same rules inside; a map that came as pairs stays an array of pairs |
/// | untyped | as it came |
///
/// In the raw style, times pass on as the event carried them.
/// Bounds: 64 levels of nesting, 160,000 digits a decimal, and 16 Ki zeros (of exponents, scales and bit
/// lengths) that the event does not hold. An error says that the part is not what its type wants, or is out
/// of these bounds; `out` is then as it was.
#[inline]
pub fn render_json(value: Typed<'_>, style: RenderStyle, out: &mut Vec<u8>) -> Result<(), ValueError> {
    // What most columns of a binary format are.
    if let Typed { raw: Raw::Text(text), kind: Kind::Text } = value {
        json_string(text, out);
        return Ok(());
    }
    render(value, Target::Json, style, out)
}

/// Appends the value as plain text, as `text` and `hash` values hold it.
///
/// Like [`render_json`] without quotes and escapes. Null is nothing; arrays, maps and structs are their JSON
/// text. An unpaired surrogate in a JSON string is an error here, since no UTF-8 text can hold it.
pub fn render_text(value: Typed<'_>, style: RenderStyle, out: &mut Vec<u8>) -> Result<(), ValueError> {
    render(value, Target::Text, style, out)
}

/// Appends the value as a part of a key.
///
/// Like [`render_text`], but decimals have no zeros at the end and zero has no sign (`1.0` and `1.00` are
/// `1`), so that one number gives one key; and null is an error. An empty text is allowed: it is a value
/// like any other, and `user:` is not the key of a row without one.
pub fn render_key(value: Typed<'_>, style: RenderStyle, out: &mut Vec<u8>) -> Result<(), ValueError> {
    render(value, Target::Key, style, out)
}

/// Appends the bytes that the column holds, for `value = { bytes = "photo" }`.
///
/// Columns of bytes and bits are decoded from base64 or hexadecimal text; any other value gives the bytes of
/// its text ([`render_text`] in the default style). Null is an error.
pub fn raw_bytes(value: Typed<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let part = Part::of(value.raw)?;
    match (part, value.kind) {
        (Part::Null, _) => return Err(part.refuse("a value")),
        (Part::Bytes(bytes), _) => out.extend_from_slice(bytes),
        (_, Kind::Bytes) => out.extend_from_slice(&from_base64(part)?),
        (Part::Quoted(_), Kind::Bits { .. }) => out.extend_from_slice(&from_base64(part)?),
        (_, Kind::BytesHex) => out.extend_from_slice(&from_hex(part)?),
        (_, Kind::BytesLatin1) => out.extend_from_slice(&from_latin1(part)?),
        _ => return render_text(value, RenderStyle::default(), out),
    }
    Ok(())
}

fn render(value: Typed<'_>, target: Target, style: RenderStyle, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let before = out.len();
    let outcome = Renderer { out, style, padding: PADDING_MAX }.value(value, target, 0);
    if outcome.is_err() {
        out.truncate(before);
    }
    outcome
}

/// Renders one value, with what is left of its bounds.
#[derive(Debug)]
pub(super) struct Renderer<'o> {
    /// Where it goes.
    pub(super) out: &'o mut Vec<u8>,
    /// How.
    pub(super) style: RenderStyle,
    /// Zeros that may still be written although the event does not hold them.
    pub(super) padding: usize,
}

impl Renderer<'_> {
    fn value(&mut self, value: Typed<'_>, target: Target, depth: usize) -> Result<(), ValueError> {
        let part = Part::of(value.raw)?;
        if part == Part::Null {
            return match target {
                Target::Json => {
                    self.literal("null");
                    Ok(())
                }
                Target::Text => Ok(()),
                Target::Key => Err(part.refuse("a value for a key")),
            };
        }
        match value.kind {
            Kind::Untyped => self.untyped(part, target),
            kind if self.style.time == TimeStyle::Raw && kind.is_temporal() => self.untyped(part, target),
            Kind::Bool => self.boolean(part),
            Kind::Int => self.int(part),
            Kind::Uint => self.uint(part),
            Kind::Decimal { scale } => self.decimal(part, *scale, target),
            Kind::VariableDecimal => self.variable_decimal(part, target),
            Kind::Double => self.double(part, target),
            Kind::Text | Kind::Json => self.text(part, target),
            Kind::Uuid => self.uuid(part, target),
            Kind::Bytes => {
                let bytes = from_base64(part)?;
                self.bytes(&bytes, target);
                Ok(())
            }
            Kind::BytesHex => {
                let bytes = from_hex(part)?;
                self.bytes(&bytes, target);
                Ok(())
            }
            Kind::BytesLatin1 => {
                let bytes = from_latin1(part)?;
                self.bytes(&bytes, target);
                Ok(())
            }
            Kind::Bits { length } => self.bits(part, *length, target),
            Kind::Date | Kind::IsoText(IsoText::Date) => self.date(part, target),
            Kind::Timestamp(unit) => self.timestamp(part, Some(*unit), target),
            Kind::IsoText(IsoText::Timestamp) => self.timestamp(part, None, target),
            Kind::Instant(unit) => self.instant(part, Some(*unit), target),
            Kind::ZonedText => self.instant(part, None, target),
            Kind::Time(unit) => self.time(part, Some(*unit), target),
            Kind::IsoText(IsoText::Time) => self.time(part, None, target),
            Kind::Duration(unit) => self.duration(part, *unit, target),
            Kind::ZonedTime | Kind::IntervalText => self.temporal_text(part, target),
            Kind::Array(item) => self.array(part, item, depth),
            Kind::Map(key, item) => self.map(part, key, item, depth),
            Kind::Struct(fields) => self.structure(part, fields, depth),
        }
    }

    fn untyped(&mut self, part: Part<'_>, target: Target) -> Result<(), ValueError> {
        match part {
            Part::Number(token) | Part::Array(token) | Part::Object(token) => self.literal(token),
            Part::Bytes(bytes) => self.bytes(bytes, target),
            Part::Double(value) => self.shortest(value, target),
            Part::Bool(value) => self.literal(if value { "true" } else { "false" }),
            Part::Int(number) => self.whole(number),
            Part::Null | Part::Quoted(_) | Part::Text(_) => return self.text(part, target),
        }
        Ok(())
    }

    /// Text. What is no text becomes one as it stands (a number's token, a document's JSON).
    pub(super) fn text(&mut self, part: Part<'_>, target: Target) -> Result<(), ValueError> {
        let text = match part {
            Part::Quoted(token) if target == Target::Json => {
                self.literal(token);
                return Ok(());
            }
            Part::Quoted(token) => super::json::unescape(token)?,
            Part::Text(text) | Part::Number(text) | Part::Array(text) | Part::Object(text) => {
                Cow::Borrowed(text)
            }
            Part::Bytes(bytes) => Cow::Borrowed(
                std::str::from_utf8(bytes)
                    .map_err(|_| ValueError::mismatch("a text", "bytes that are not UTF-8"))?,
            ),
            Part::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Part::Int(number) => Cow::Owned(number.to_string()),
            Part::Double(value) if value.is_finite() => {
                Cow::Owned(serde_json::to_string(&value).expect("a finite double is JSON"))
            }
            Part::Double(value) => {
                self.shortest(value, target);
                return Ok(());
            }
            Part::Null => return Err(part.refuse("a text")),
        };
        match target {
            Target::Json => json_string(&text, self.out),
            Target::Text | Target::Key => self.literal(&text),
        }
        Ok(())
    }

    /// A UUID: text as it came, or the 16 bytes that Avro's `fixed` carries.
    fn uuid(&mut self, part: Part<'_>, target: Target) -> Result<(), ValueError> {
        let Part::Bytes(bytes) = part else { return self.text(part, target) };
        let bytes: [u8; 16] = bytes.try_into().map_err(|_| part.refuse("a UUID as a text or 16 bytes"))?;
        let digits = format!("{:032x}", u128::from_be_bytes(bytes));
        let mut text = String::with_capacity(36);
        for (at, digit) in digits.chars().enumerate() {
            if matches!(at, 8 | 12 | 16 | 20) {
                text.push('-');
            }
            text.push(digit);
        }
        self.quoted(target, text.as_bytes());
        Ok(())
    }

    /// An array. Where an item is an array itself although its kind is none, the kind is that of the
    /// innermost items: a PostgreSQL array's type does not tell its dimensions.
    fn array(&mut self, part: Part<'_>, kind: &Kind, depth: usize) -> Result<(), ValueError> {
        let Part::Array(token) = part else { return Err(part.refuse("a JSON array")) };
        let depth = deeper(depth)?;
        let mut items = Items::of_array(token)?;
        self.list('[', |renderer| {
            let Some(item) = items.item()? else { return Ok(false) };
            let nested = item.starts_with('[')
                && !matches!(kind, Kind::Array(_) | Kind::Map(..) | Kind::Json | Kind::Untyped);
            match nested {
                true => renderer.array(Part::Array(item), kind, depth)?,
                false => renderer.value(Typed { raw: Raw::Json(item), kind }, Target::Json, depth)?,
            }
            Ok(true)
        })
    }

    fn map(&mut self, part: Part<'_>, key: &Kind, item: &Kind, depth: usize) -> Result<(), ValueError> {
        match part {
            Part::Object(token) => self.members(token, |_| item, depth),
            Part::Array(token) => {
                let depth = deeper(depth)?;
                let mut pairs = Items::of_array(token)?;
                self.list('[', |renderer| {
                    let Some(pair) = pairs.item()? else { return Ok(false) };
                    let mut kinds = [key, item].into_iter();
                    let mut halves = Items::of_array(pair)?;
                    renderer.list('[', |renderer| {
                        let Some(half) = halves.item()? else { return Ok(false) };
                        let kind = kinds.next().ok_or_else(|| part.misread("pairs of key and value"))?;
                        renderer.value(Typed { raw: Raw::Json(half), kind }, Target::Json, depth)?;
                        Ok(true)
                    })?;
                    match kinds.next() {
                        Some(_) => Err(part.misread("pairs of key and value")),
                        None => Ok(true),
                    }
                })
            }
            _ => Err(part.refuse("a JSON object, or an array of pairs")),
        }
    }

    fn structure(
        &mut self,
        part: Part<'_>,
        fields: &[(String, Kind)],
        depth: usize,
    ) -> Result<(), ValueError> {
        let Part::Object(token) = part else { return Err(part.refuse("a JSON object")) };
        let kind_of = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, kind)| kind);
        self.members(token, |name| kind_of(name).unwrap_or(&Kind::Untyped), depth)
    }

    fn members<'k>(
        &mut self,
        token: &str,
        kind_of: impl Fn(&str) -> &'k Kind,
        depth: usize,
    ) -> Result<(), ValueError> {
        let depth = deeper(depth)?;
        let mut members = Items::of_object(token)?;
        self.list('{', |renderer| {
            let Some((name, item)) = members.member()? else { return Ok(false) };
            renderer.literal(name);
            renderer.out.push(b':');
            let kind = kind_of(&super::json::unescape(name)?);
            renderer.value(Typed { raw: Raw::Json(item), kind }, Target::Json, depth)?;
            Ok(true)
        })
    }

    /// Brackets and commas around what `next` renders, until it renders nothing.
    fn list(
        &mut self,
        open: char,
        mut next: impl FnMut(&mut Self) -> Result<bool, ValueError>,
    ) -> Result<(), ValueError> {
        let (open, close) = if open == '[' { (b'[', b']') } else { (b'{', b'}') };
        self.out.push(open);
        let first = self.out.len();
        loop {
            let at = self.out.len();
            if at > first {
                self.out.push(b',');
            }
            if !next(self)? {
                self.out.truncate(at);
                self.out.push(close);
                return Ok(());
            }
        }
    }

    /// Appends the text as it is.
    pub(super) fn literal(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Appends a text that needs no escapes, in quotes where the target is JSON.
    pub(super) fn quoted(&mut self, target: Target, text: &[u8]) {
        if target == Target::Json {
            self.out.push(b'"');
        }
        self.out.extend_from_slice(text);
        if target == Target::Json {
            self.out.push(b'"');
        }
    }
}

/// One level further in, where that is allowed.
fn deeper(depth: usize) -> Result<usize, ValueError> {
    if depth < DEPTH_MAX {
        return Ok(depth + 1);
    }
    Err(ValueError::mismatch("at most 64 levels of arrays, maps and structs", "more"))
}
