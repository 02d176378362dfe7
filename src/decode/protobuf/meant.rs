//! Values that a message of its own stands for.
//!
//! Connect's times are milliseconds: under a schema of Debezium's they are handed out so, as Connect's JSON does, and
//! as ISO 8601 text where that is finer. Elsewhere a time is its text, as in Protobuf's own JSON.

use std::fmt::Write as _;
use std::ops::Range;

use super::super::datum::{Fault, push_base64};
use super::meaning::Meaning;
use super::plan::{Message, Rule};
use super::walk::{Scalar, Walk, take};
use crate::types::{Kind, Raw, RenderStyle, Typed, Unit, days_since_epoch, render_json};

const NANOS: i64 = 1_000_000_000;
const NANOS_IN_MILLI: i64 = 1_000_000;

impl<'a> Walk<'a, '_> {
    /// The value that a message stands for, or its fields; `None` where it was written as JSON.
    pub(super) fn meant(
        &mut self,
        message: &'a Message,
        parts: &[Range<usize>],
        depth: usize,
    ) -> Result<Option<Scalar<'a>>, Fault> {
        let at = parts.first().map_or(self.datum.len(), |part| part.start);
        let fault = |what| Fault { at, what };
        match message.meaning {
            Meaning::Timestamp => {
                let [seconds, nanos, ..] = self.numbers(message, parts)?;
                self.timestamp(seconds, nanos).ok_or_else(|| fault("expected a time stamp"))
            }
            Meaning::Duration => {
                let [seconds, nanos, ..] = self.numbers(message, parts)?;
                self.duration(seconds, nanos).ok_or_else(|| fault("expected a duration"))
            }
            Meaning::Date => {
                let [year, month, day, _] = self.numbers(message, parts)?;
                let days = days_since_epoch(year, month, day);
                Ok(Some(Scalar::Int(days.ok_or_else(|| fault("expected a whole date"))?)))
            }
            Meaning::TimeOfDay => {
                let numbers = self.numbers(message, parts)?;
                self.time(numbers).ok_or_else(|| fault("expected a time of day"))
            }
            Meaning::Decimal => self.decimal(message, parts),
            Meaning::DecimalText => {
                let [text, ..] = self.scalars(message, parts)?;
                Ok(Some(if text == Scalar::Text("") { Scalar::Text("0") } else { text }))
            }
            Meaning::Wrapper => {
                let [wrapped, ..] = self.scalars(message, parts)?;
                Ok(Some(wrapped))
            }
            Meaning::JsonObject | Meaning::JsonList => {
                let places = self.places(message, parts)?;
                if let Some(only) = message.fields.first() {
                    self.field(only, &places, depth)?;
                }
                Ok(None)
            }
            Meaning::JsonValue => {
                let places = self.places(message, parts)?;
                let mut rest = places.as_slice();
                // The first one is null.
                for (index, field) in message.fields.iter().enumerate() {
                    let places = take(&mut rest, index);
                    if index > 0 && !places.is_empty() {
                        return self.single(field, places, depth);
                    }
                }
                Ok(Some(Scalar::Null))
            }
            Meaning::VariableDecimal | Meaning::Plain => {
                self.object(message, parts, depth)?;
                Ok(None)
            }
        }
    }

    /// The first four fields, which are scalars; null where there are fewer.
    fn scalars(&mut self, message: &'a Message, parts: &[Range<usize>]) -> Result<[Scalar<'a>; 4], Fault> {
        let places = self.places(message, parts)?;
        let mut rest = places.as_slice();
        let mut scalars = [Scalar::Null; 4];
        for ((index, field), scalar) in message.fields.iter().enumerate().zip(&mut scalars) {
            let places = take(&mut rest, index);
            let found = match (places, field.rule) {
                ([], Rule::Explicit) => self.default(field.form, 0)?,
                _ => self.single(field, places, 0)?,
            };
            *scalar = found.unwrap_or(Scalar::Null);
        }
        Ok(scalars)
    }

    fn numbers(&mut self, message: &'a Message, parts: &[Range<usize>]) -> Result<[i64; 4], Fault> {
        let number = |scalar| if let Scalar::Int(number) = scalar { number } else { 0 };
        Ok(self.scalars(message, parts)?.map(number))
    }

    fn timestamp(&mut self, seconds: i64, nanos: i64) -> Option<Option<Scalar<'a>>> {
        if !(0..NANOS).contains(&nanos) {
            return None;
        }
        let millis = seconds.checked_mul(1_000)?;
        if self.plan.zoneless && nanos % NANOS_IN_MILLI == 0 {
            return Some(Some(Scalar::Int(millis.checked_add(nanos / NANOS_IN_MILLI)?)));
        }
        let kind =
            if self.plan.zoneless { Kind::Timestamp(Unit::Millis) } else { Kind::Instant(Unit::Millis) };
        let mut text = rendered(millis, &kind)?;
        if nanos > 0 {
            let closing = text.strip_suffix("Z\"").or_else(|| text.strip_suffix('"'))?.len();
            let fraction = format!(".{nanos:09}");
            text.insert_str(closing, fraction.trim_end_matches('0'));
        }
        self.json.push_str(&text);
        Some(None)
    }

    fn duration(&mut self, seconds: i64, nanos: i64) -> Option<Option<Scalar<'a>>> {
        let agree = seconds.signum() * nanos.signum() >= 0;
        if !agree || nanos.abs() >= NANOS {
            return None;
        }
        match seconds.checked_mul(NANOS).and_then(|whole| whole.checked_add(nanos)) {
            Some(count) => Some(Some(Scalar::Int(count))),
            None => {
                // More than 292 years.
                let fraction = if nanos == 0 { String::new() } else { format!(".{:09}", nanos.abs()) };
                let fraction = fraction.trim_end_matches('0');
                let sign = if seconds < 0 { "-" } else { "" };
                let _ = write!(self.json, "\"{sign}PT{}{fraction}S\"", seconds.unsigned_abs());
                Some(None)
            }
        }
    }

    fn time(&mut self, [hours, minutes, seconds, nanos]: [i64; 4]) -> Option<Option<Scalar<'a>>> {
        let is_one = (0..=24).contains(&hours)
            && (0..60).contains(&minutes)
            && (0..=60).contains(&seconds)
            && (0..NANOS).contains(&nanos);
        if !is_one {
            return None;
        }
        let nanos = ((hours * 60 + minutes) * 60 + seconds) * NANOS + nanos;
        if self.plan.zoneless && nanos % NANOS_IN_MILLI == 0 {
            return Some(Some(Scalar::Int(nanos / NANOS_IN_MILLI)));
        }
        let text = rendered(nanos, &Kind::Time(Unit::Nanos))?;
        self.json.push_str(&text);
        Some(None)
    }

    fn decimal(&mut self, message: &'a Message, parts: &[Range<usize>]) -> Result<Option<Scalar<'a>>, Fault> {
        let [value, _, scale, _] = self.scalars(message, parts)?;
        let scale = if let Scalar::Int(scale) = scale { scale } else { 0 };
        let bytes = match value {
            Scalar::Bytes(bytes) if !bytes.is_empty() => bytes,
            _ => &[0],
        };
        let _ = write!(self.json, "{{\"scale\":{scale},\"value\":");
        push_base64(self.json, bytes);
        self.json.push('}');
        Ok(None)
    }
}

/// The JSON of a count of that kind.
fn rendered(count: i64, kind: &Kind) -> Option<String> {
    let mut out = Vec::new();
    render_json(Typed { raw: Raw::Int(count), kind }, RenderStyle::default(), &mut out).ok()?;
    String::from_utf8(out).ok()
}
