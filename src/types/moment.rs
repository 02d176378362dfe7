//! The moment that a column holds, for `ttl = { column = "expires_at" }`.

use super::iso::parse_stamp;
use super::part::{Part, is_digits};
use super::temporal::{Moment, infinite_text};
use super::time::{infinite_date, infinite_iso, infinite_stamp};
use super::{IsoText, Kind, Typed, ValueError};

/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;

const WANTED: &str = "a date, time stamp or instant";
const DECLARE: &str = "a date, time stamp or instant: declare the column's type under `columns`, \
                       for instance \"instant_ms\", since a number does not tell its unit";

/// The moment that the column holds, in Unix milliseconds, rounded down; `None` for null.
///
/// - Time stamps without a zone and dates are taken as UTC; a date is its first moment.
/// - Infinity is `i64::MAX`, minus infinity `i64::MIN`; what lies beyond 64 bits of milliseconds likewise.
/// - An untyped column, or one of text, may hold ISO 8601. A number without a type is refused with an error
///   that says to declare the column's type: seconds, milliseconds and microseconds look alike.
pub fn unix_ms(value: Typed<'_>) -> Result<Option<i64>, ValueError> {
    let part = Part::of(value.raw)?;
    if part == Part::Null {
        return Ok(None);
    }
    let text = match value.kind {
        Kind::Timestamp(unit) | Kind::Instant(unit) => match Moment::of(part, WANTED)? {
            Moment::Count(count) => {
                return Ok(Some(match infinite_stamp(count, *unit) {
                    Some(name) => infinite_ms(name),
                    None => unit.millis(count),
                }));
            }
            Moment::Text(text) => text,
        },
        Kind::Date | Kind::IsoText(IsoText::Date) => match Moment::of(part, WANTED)? {
            Moment::Count(days) => {
                return Ok(Some(match infinite_date(days) {
                    Some(name) => infinite_ms(name),
                    None => days.saturating_mul(DAY_MS),
                }));
            }
            Moment::Text(text) => text,
        },
        Kind::ZonedText | Kind::IsoText(IsoText::Timestamp) => {
            part.text()?.ok_or_else(|| part.refuse(WANTED))?
        }
        Kind::Untyped | Kind::Text => match part.text()? {
            Some(text) if !is_digits(text.strip_prefix('-').unwrap_or(&text)) => text,
            _ => return Err(part.refuse(DECLARE)),
        },
        Kind::Int | Kind::Uint => return Err(part.refuse(DECLARE)),
        Kind::Bool
        | Kind::Decimal { .. }
        | Kind::VariableDecimal
        | Kind::Double
        | Kind::Uuid
        | Kind::Json
        | Kind::Bytes
        | Kind::BytesHex
        | Kind::BytesLatin1
        | Kind::Bits { .. }
        | Kind::Time(_)
        | Kind::ZonedTime
        | Kind::IsoText(IsoText::Time)
        | Kind::Duration(_)
        | Kind::IntervalText
        | Kind::Array(_)
        | Kind::Map(..)
        | Kind::Struct(_) => {
            return Err(ValueError::mismatch(WANTED, "a column of another type"));
        }
    };
    if let Some(name) = infinite_text(&text) {
        return Ok(Some(infinite_ms(name)));
    }
    let stamp = parse_stamp(&text).ok_or_else(|| part.misread(WANTED))?;
    if let Some(name) = infinite_iso(stamp.date) {
        return Ok(Some(infinite_ms(name)));
    }
    let seconds = stamp.utc_seconds().ok_or_else(|| part.misread(WANTED))?;
    let fraction = stamp.clock.map_or("", |clock| clock.fraction);
    let millis =
        fraction.bytes().chain(*b"000").take(3).fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    Ok(Some(seconds.saturating_mul(1000).saturating_add(millis)))
}

fn infinite_ms(name: &str) -> i64 {
    if name.starts_with('-') { i64::MIN } else { i64::MAX }
}
