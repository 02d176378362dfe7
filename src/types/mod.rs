//! Semantic types of columns, and values as the format carried them.
//!
//! A decoder hands out [`Typed`]: a borrowed raw part with the type that the format's schema, or the
//! entity's settings, give it. Nothing is converted before somebody asks; what asks is [`render_json`],
//! [`render_text`], [`render_key`], [`raw_bytes`], [`unix_ms`] or [`score()`].
//! This module does no IO, reads no clock, and never goes through `f64` for a decimal or an integer.

mod binary;
mod civil;
mod date_part;
mod decimal;
mod iso;
mod json;
mod kind;
mod moment;
mod number;
mod order;
mod part;
mod render;
mod score;
mod temporal;
mod time;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod property_tests;

pub use date_part::{DatePart, render_date_part};
pub use json::{json_string, plain_length, unescape};
pub use kind::{NAMES, TypeName};
pub use moment::unix_ms;
pub use order::{may_order, order_key, order_key_of_null};
pub use render::{raw_bytes, render_json, render_key, render_text};
pub use score::score;

use std::borrow::Cow;
use std::sync::Arc;

/// Days since 1970-01-01 of a date of the Gregorian calendar; `None` where there is none.
pub(crate) fn days_since_epoch(year: i64, month: i64, day: i64) -> Option<i64> {
    civil::Date { year, month: month.try_into().ok()?, day: day.try_into().ok()? }.days()
}

/// The semantic type of a column: what its raw part means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Kind {
    /// The format carries no type and the settings declare none: passed on as it came.
    #[default]
    Untyped,
    /// Boolean.
    Bool,
    /// Signed integer of any width.
    Int,
    /// Unsigned integer; a negative 64-bit number is the same bits read unsigned (MySQL's `long` mode).
    Uint,
    /// Decimal: text, or big-endian two's-complement bytes (base64 in JSON) with this scale.
    Decimal {
        /// Digits after the point of the unscaled integer; `None` where only text can be meant.
        scale: Option<i32>,
    },
    /// Decimal with a scale of its own in each value: `{"scale": n, "value": base64}`.
    VariableDecimal,
    /// Binary floating point.
    Double,
    /// Text.
    Text,
    /// UUID as text.
    Uuid,
    /// JSON document as text: passed on as text, never parsed unasked.
    Json,
    /// Bytes: base64 in JSON.
    Bytes,
    /// Bytes that the connector already wrote as hexadecimal text.
    BytesHex,
    /// Bytes as text with one character a byte, U+0000 to U+00FF (Canal's and TiCDC's binary columns).
    BytesLatin1,
    /// Bit string: little-endian bytes, this many bits.
    Bits {
        /// Number of bits; 0 where not told.
        length: u32,
    },
    /// Days since 1970-01-01.
    Date,
    /// Wall-clock time stamp without zone, counted from 1970-01-01T00:00:00 in this unit.
    Timestamp(Unit),
    /// Instant, counted from 1970-01-01T00:00:00Z in this unit.
    Instant(Unit),
    /// Instant as ISO 8601 text with an offset.
    ZonedText,
    /// Time of day, or a signed time span as MySQL's TIME, in this unit.
    Time(Unit),
    /// Time of day with an offset, as text.
    ZonedTime,
    /// ISO 8601 text without conversion: date, time or time stamp in `isostring` mode.
    IsoText(IsoText),
    /// Time span in this unit.
    Duration(Unit),
    /// Interval as ISO 8601 text: as it came.
    IntervalText,
    /// Array of one element type.
    Array(Arc<Kind>),
    /// Map; keys other than text come as an array of pairs.
    Map(Arc<Kind>, Arc<Kind>),
    /// Struct of named fields (geometry, composite types).
    Struct(Arc<[(String, Kind)]>),
}

/// Which of the `isostring` forms a text is. They end in `Z` whether or not they are instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsoText {
    /// `2017-09-15Z`: rendered as a date, without the zone letter.
    Date,
    /// `04:05:11.789Z`: rendered as a time, without the zone letter.
    Time,
    /// `2019-07-09T02:28:57.123456Z`: a time stamp without zone, rendered without the zone letter.
    Timestamp,
}

/// Unit of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// 1/1,000 s.
    Millis,
    /// 1/1,000,000 s.
    Micros,
    /// 1/1,000,000,000 s.
    Nanos,
}

/// A value as the format carried it: a borrowed part, not converted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Raw<'a> {
    /// A JSON token or document: exactly the bytes between its neighbours, white space trimmed.
    Json(&'a str),
    /// A boolean of a binary format.
    Bool(bool),
    /// An integer of a binary format.
    Int(i64),
    /// A double of a binary format.
    Double(f64),
    /// Text of a binary format, or a text cell of a format whose values are all text.
    Text(&'a str),
    /// Bytes of a binary format.
    Bytes(&'a [u8]),
}

/// A raw part and what it means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Typed<'a> {
    /// The part.
    pub raw: Raw<'a>,
    /// Its semantic type.
    pub kind: &'a Kind,
}

/// How values are rendered, per entity (`render = { … }`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RenderStyle {
    /// Decimals as text (default) or as a JSON number of the same digits.
    pub decimal: DecimalStyle,
    /// Times as ISO 8601 text (default) or the number as the event carried it.
    pub time: TimeStyle,
    /// Bytes as base64 (default) or hexadecimal text.
    pub bytes: BytesStyle,
}

/// How decimals are rendered in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DecimalStyle {
    /// `"12.50"`.
    #[default]
    Text,
    /// `12.50`.
    Number,
}

/// How times are rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeStyle {
    /// ISO 8601 / RFC 3339 text.
    #[default]
    Rfc3339,
    /// As the event carried it.
    Raw,
}

/// How bytes are rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BytesStyle {
    /// Standard padded base64.
    #[default]
    Base64,
    /// Lower-case hexadecimal.
    Hex,
}

/// Why a value could not be rendered: the part is not what its type says. Holds no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct ValueError {
    /// What the type wants, in words ("days as an integer").
    pub expected: Cow<'static, str>,
    /// What kind of part is there, in words ("a JSON object"); never the value itself.
    pub found: Cow<'static, str>,
}
