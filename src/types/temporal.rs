//! Rendering dates, times and spans, whether the event carries them as counts or as text.

use std::borrow::Cow;

use super::civil::Date;
use super::iso::{Stamp, parse_clock, parse_stamp};
use super::part::{Part, is_digits};
use super::render::{Renderer, Target};
use super::time::{
    infinite_date, infinite_iso, infinite_stamp, write_date, write_duration, write_fraction, write_stamp,
    write_stamp_seconds, write_time,
};
use super::{Unit, ValueError};

const DATE: &str = "a date as days since 1970-01-01, or in ISO 8601";
const STAMP: &str = "a time stamp as a count since 1970-01-01, or in ISO 8601 without an offset";
const STAMP_TEXT: &str = "a time stamp in ISO 8601 without an offset";
const INSTANT: &str = "an instant as a count since 1970-01-01, or in ISO 8601 with an offset";
const INSTANT_TEXT: &str = "an instant in ISO 8601 with an offset";
const TIME: &str = "a time as a count since midnight, or in ISO 8601 without an offset";
const TIME_TEXT: &str = "a time in ISO 8601 without an offset";
const DURATION: &str = "a duration as a count, or as text";
const TEXT: &str = "a time or an interval as text";

/// What a temporal part carries.
#[derive(Debug)]
pub(super) enum Moment<'a> {
    /// A count in the column's unit.
    Count(i64),
    /// A text that is no count.
    Text(Cow<'a, str>),
}

impl<'a> Moment<'a> {
    /// A whole number of 64 bits, or a text. Digits in a text are a count: some formats carry all as text.
    pub(super) fn of(part: Part<'a>, expected: &'static str) -> Result<Moment<'a>, ValueError> {
        match part {
            Part::Int(count) => Ok(Moment::Count(count)),
            Part::Number(token) => token
                .parse()
                .map(Moment::Count)
                .map_err(|_| ValueError::mismatch(expected, "a number that is no integer of 64 bits")),
            Part::Quoted(_) | Part::Text(_) => {
                let text = part.text()?.unwrap_or_default();
                match is_digits(text.strip_prefix('-').unwrap_or(&text)) {
                    true => text.parse().map(Moment::Count).map_err(|_| part.misread(expected)),
                    false => Ok(Moment::Text(text)),
                }
            }
            Part::Null
            | Part::Bool(_)
            | Part::Double(_)
            | Part::Bytes(_)
            | Part::Array(_)
            | Part::Object(_) => Err(part.refuse(expected)),
        }
    }
}

/// The text for PostgreSQL's infinite dates and times, where this is one.
pub(super) fn infinite_text(text: &str) -> Option<&'static str> {
    ["infinity", "-infinity"].into_iter().find(|name| *name == text)
}

impl Renderer<'_> {
    /// A date.
    pub(super) fn date(&mut self, part: Part<'_>, target: Target) -> Result<(), ValueError> {
        let moment = Moment::of(part, DATE)?;
        self.in_quotes(target, |renderer| match moment {
            Moment::Count(days) => {
                match infinite_date(days) {
                    Some(name) => renderer.literal(name),
                    None => write_date(Date::from_days(days), renderer.out),
                }
                Some(())
            }
            Moment::Text(text) => renderer.date_text(&text),
        })
        .ok_or_else(|| part.misread(DATE))
    }

    /// A time stamp without a zone. Without a unit, only text tells what it is.
    pub(super) fn timestamp(
        &mut self,
        part: Part<'_>,
        unit: Option<Unit>,
        target: Target,
    ) -> Result<(), ValueError> {
        let expected = if unit.is_some() { STAMP } else { STAMP_TEXT };
        let moment = Moment::of(part, expected)?;
        self.in_quotes(target, |renderer| match moment {
            Moment::Count(count) => unit.map(|unit| renderer.stamp_count(count, unit)),
            Moment::Text(text) => renderer.stamp_text(&text),
        })
        .ok_or_else(|| part.misread(expected))
    }

    /// An instant, in UTC. Without a unit, only text tells what it is.
    pub(super) fn instant(
        &mut self,
        part: Part<'_>,
        unit: Option<Unit>,
        target: Target,
    ) -> Result<(), ValueError> {
        let expected = if unit.is_some() { INSTANT } else { INSTANT_TEXT };
        let moment = Moment::of(part, expected)?;
        self.in_quotes(target, |renderer| match moment {
            Moment::Count(count) => {
                let unit = unit?;
                renderer.stamp_count(count, unit);
                if infinite_stamp(count, unit).is_none() {
                    renderer.out.push(b'Z');
                }
                Some(())
            }
            Moment::Text(text) => renderer.instant_text(&text),
        })
        .ok_or_else(|| part.misread(expected))
    }

    /// A time of day or a span of hours. Without a unit, only text tells what it is.
    pub(super) fn time(
        &mut self,
        part: Part<'_>,
        unit: Option<Unit>,
        target: Target,
    ) -> Result<(), ValueError> {
        let expected = if unit.is_some() { TIME } else { TIME_TEXT };
        let moment = Moment::of(part, expected)?;
        self.in_quotes(target, |renderer| match moment {
            Moment::Count(count) => unit.map(|unit| write_time(count, unit, renderer.out)),
            Moment::Text(text) => renderer.time_text(&text),
        })
        .ok_or_else(|| part.misread(expected))
    }

    /// A duration; an interval's text passes as it came.
    pub(super) fn duration(&mut self, part: Part<'_>, unit: Unit, target: Target) -> Result<(), ValueError> {
        match Moment::of(part, DURATION)? {
            Moment::Text(_) => self.text(part, target),
            Moment::Count(count) => self
                .in_quotes(target, |renderer| {
                    write_duration(count, unit, renderer.out);
                    Some(())
                })
                .ok_or_else(|| part.refuse(DURATION)),
        }
    }

    /// A temporal text that passes as it came; anything else is refused.
    pub(super) fn temporal_text(&mut self, part: Part<'_>, target: Target) -> Result<(), ValueError> {
        match part.text()? {
            Some(_) => self.text(part, target),
            None => Err(part.refuse(TEXT)),
        }
    }

    fn stamp_count(&mut self, count: i64, unit: Unit) {
        match infinite_stamp(count, unit) {
            Some(name) => self.literal(name),
            None => write_stamp(count, unit, self.out),
        }
    }

    fn date_text(&mut self, text: &str) -> Option<()> {
        if let Some(name) = infinite_text(text) {
            self.literal(name);
            return Some(());
        }
        let stamp = parse_stamp(text)?;
        if let Some(name) = infinite_iso(stamp.date) {
            self.literal(name);
            return Some(());
        }
        // A time of day must not get lost, and an offset would move the date.
        let whole_day = stamp.clock.is_none_or(|clock| clock.is_midnight()) && stamp.offset.unwrap_or(0) == 0;
        whole_day.then(|| write_date(stamp.date, self.out))
    }

    fn stamp_text(&mut self, text: &str) -> Option<()> {
        if let Some(name) = infinite_text(text) {
            self.literal(name);
            return Some(());
        }
        let Stamp { date, clock, offset } = parse_stamp(text)?;
        if offset.unwrap_or(0) != 0 {
            return None;
        }
        if let Some(name) = infinite_iso(date) {
            self.literal(name);
            return Some(());
        }
        write_date(date, self.out);
        self.out.push(b'T');
        match clock {
            Some(clock) => self.clock_text(clock.text, clock.fraction),
            None => self.literal("00:00:00"),
        }
        Some(())
    }

    fn instant_text(&mut self, text: &str) -> Option<()> {
        if let Some(name) = infinite_text(text) {
            self.literal(name);
            return Some(());
        }
        let stamp = parse_stamp(text)?;
        stamp.offset?;
        write_stamp_seconds(stamp.utc_seconds()?, self.out);
        write_fraction(stamp.clock.map_or("", |clock| clock.fraction), self.out);
        self.out.push(b'Z');
        Some(())
    }

    fn time_text(&mut self, text: &str) -> Option<()> {
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", text),
        };
        let clock = parse_clock(unsigned.strip_suffix('Z').unwrap_or(unsigned))?;
        self.literal(sign);
        self.clock_text(clock.text, clock.fraction);
        Some(())
    }

    fn clock_text(&mut self, whole: &str, fraction: &str) {
        self.literal(whole);
        if whole.matches(':').count() == 1 {
            self.literal(":00");
        }
        write_fraction(fraction, self.out);
    }

    /// Quotes around what is written, where the target is JSON: plain ASCII that needs no escapes.
    fn in_quotes(&mut self, target: Target, write: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        if target == Target::Json {
            self.out.push(b'"');
        }
        write(self)?;
        if target == Target::Json {
            self.out.push(b'"');
        }
        Some(())
    }
}
