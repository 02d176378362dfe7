//! The score of a sorted set's member: a number as Redis reads it.

use super::decimal::{Decimal, special};
use super::part::Part;
use super::{IsoText, Kind, RenderStyle, Typed, ValueError, render_text, unix_ms};

const WANTED: &str = "a number, or a date or time";
const DECLARE: &str = "a number, or a date or time: declare the column's type under `columns`, for instance \
                       \"decimal\", since a text may be a number in base64";

/// Appends the column's value as a score.
///
/// - A number is its digits in plain notation, a double its shortest text (or the event's token); infinities are
///   `+inf` and `-inf`. Every digit is sent; Redis keeps scores as doubles, so that over 15 digits two numbers can
///   get one score (<https://redis.io/docs/latest/commands/zadd/>).
/// - A date or time is its Unix milliseconds, as [`unix_ms`] says.
/// - Errors: NaN, what a double's range does not hold, any other type, and an untyped text that is no ISO 8601. They
///   leave `out` as it was.
pub fn score(value: Typed<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let before = out.len();
    let written = write(value, out);
    if written.is_err() {
        out.truncate(before);
    }
    written
}

fn write(value: Typed<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let part = Part::of(value.raw)?;
    let is_text = matches!(part, Part::Quoted(_) | Part::Text(_));
    match value.kind {
        Kind::Int | Kind::Uint | Kind::Decimal { .. } | Kind::VariableDecimal | Kind::Double => {
            number(value, out)
        }
        Kind::Untyped if matches!(part, Part::Number(_) | Part::Int(_) | Part::Double(_)) => {
            number(value, out)
        }
        Kind::Untyped if is_text => {
            moment(value, out).map_err(|error| if is_decimal(part) { part.refuse(DECLARE) } else { error })
        }
        Kind::Text if is_decimal(part) => {
            number(Typed { kind: &Kind::Decimal { scale: None }, ..value }, out)
        }
        Kind::Text
        | Kind::Date
        | Kind::Timestamp(_)
        | Kind::Instant(_)
        | Kind::ZonedText
        | Kind::IsoText(IsoText::Date | IsoText::Timestamp) => moment(value, out),
        Kind::Untyped
        | Kind::Bool
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
        | Kind::Struct(_) => Err(part.refuse(WANTED)),
    }
}

fn is_decimal(part: Part<'_>) -> bool {
    let text = part.text().ok().flatten();
    text.is_some_and(|text| special(&text).is_some() || Decimal::from_text(&text).is_some())
}

fn number(value: Typed<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let start = out.len();
    render_text(value, RenderStyle::default(), out)?;
    let text = out.get(start..).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
    let another = match text {
        "NaN" => return Err(ValueError::mismatch(WANTED, "NaN")),
        "Infinity" => Some("+inf"),
        "-Infinity" => Some("-inf"),
        // Only to know whether Redis would take it, and not to make another text of it.
        _ => match text.parse::<f64>() {
            Ok(double) if double.is_infinite() => {
                return Err(ValueError::mismatch("a number within a double's range", "a greater one"));
            }
            // Redis refuses what is too small to be told from nothing.
            Ok(0.0) => Some("0"),
            Ok(_) => None,
            Err(_) => return Err(ValueError::mismatch(WANTED, "another text")),
        },
    };
    if let Some(another) = another {
        replace(out, start, another);
    }
    Ok(())
}

fn moment(value: Typed<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let start = out.len();
    match unix_ms(value)? {
        Some(i64::MAX) => replace(out, start, "+inf"),
        Some(i64::MIN) => replace(out, start, "-inf"),
        Some(ms) => replace(out, start, &ms.to_string()),
        None => return Err(ValueError::mismatch(WANTED, "null")),
    }
    Ok(())
}

fn replace(out: &mut Vec<u8>, start: usize, text: &str) {
    out.truncate(start);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Raw, Unit};

    fn score_of(kind: &Kind, token: &str) -> Result<String, String> {
        let mut out = b"kept ".to_vec();
        score(Typed { raw: Raw::Json(token), kind }, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap().strip_prefix("kept ").unwrap().to_owned())
    }

    #[test]
    fn numbers_and_times_are_scores_digit_by_digit() {
        let decimal = Kind::Decimal { scale: None };
        for (kind, token, expected) in [
            (&Kind::Int, "12", "12"),
            (&Kind::Int, "-9007199254740993", "-9007199254740993"),
            (&Kind::Uint, "-1", "18446744073709551615"),
            (&Kind::Decimal { scale: Some(2) }, "\"BOI=\"", "12.50"),
            (&decimal, "\"12.50\"", "12.50"),
            (&decimal, "\"0.00\"", "0"),
            (&decimal, "\"Infinity\"", "+inf"),
            (&Kind::Double, "1e300", "1e300"),
            (&Kind::Double, "\"-Infinity\"", "-inf"),
            (&Kind::Double, "4e-500", "0"),
            (&Kind::Untyped, "7.25", "7.25"),
            (&Kind::Text, "\"7.25\"", "7.25"),
            (&Kind::Instant(Unit::Micros), "1700000000123456", "1700000000123"),
            (&Kind::Timestamp(Unit::Millis), "-5", "-5"),
            (&Kind::Date, "1", "86400000"),
            (&Kind::ZonedText, "\"1970-01-01T01:00:00.5+01:00\"", "500"),
            (&Kind::ZonedText, "\"infinity\"", "+inf"),
            (&Kind::Untyped, "\"1970-01-02\"", "86400000"),
        ] {
            assert_eq!(score_of(kind, token).as_deref(), Ok(expected), "{kind:?} {token}");
        }
    }

    #[test]
    fn what_has_no_place_in_an_order_is_no_score() {
        for (kind, token, words) in [
            (&Kind::Double, "\"NaN\"", "found NaN"),
            (&Kind::Decimal { scale: None }, "\"NaN\"", "found NaN"),
            (&Kind::Double, "1e999", "a double's range"),
            // Either 1234, or 14,118,392 in base64.
            (&Kind::Untyped, "\"1234\"", "declare the column's type"),
            (&Kind::Untyped, "\"gold\"", "found another text"),
            (&Kind::Untyped, "{}", "found a JSON object"),
            (&Kind::Text, "\"gold\"", "found another text"),
            (&Kind::Bool, "true", "found a boolean"),
            (&Kind::Time(Unit::Millis), "5", "found a number"),
        ] {
            let error = score_of(kind, token).unwrap_err();
            assert!(error.contains(words), "{kind:?} {token}: {error}");
        }
    }
}
