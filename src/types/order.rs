//! A value as text that stands in the value's order: what the version guard compares columns by.
//!
//! Numbers of any width and scale, dates and times, and bytes, each exact. Texts are read as numbers or as ISO
//! 8601, so that one column gives one order whatever format carried it. Start at [`order_key`].

use super::decimal::{Decimal, Notation, PADDING_MAX};
use super::iso::parse_stamp;
use super::{Kind, RenderStyle, Typed, ValueError, raw_bytes, render_text};

/// Digits of a number that orders rows. Any counter, time stamp or amount has fewer; a version is kept beside each
/// key.
const DIGITS_MAX: usize = 64;
/// Places before or after the point: what four digits hold, with room.
const POWER_MAX: u32 = 0x4000;
/// Bytes of a binary column that orders rows: SQL Server's `rowversion` has 8, a UUID 16.
const BYTES_MAX: usize = 32;
/// Digits of a second's fraction that are kept.
const FRACTION_DIGITS: usize = 9;

const WANTED: &str =
    "a number of at most 64 digits, a date or time, or up to 32 bytes, which alone order versions";

/// What an ordered text begins with: kinds do not mix in one column, and if they do, they have an order still.
const NULL: u8 = b'0';
const NUMBER: u8 = b'1';
const TIME: u8 = b'2';
const BYTES: u8 = b'3';

/// The text of null: below any other.
pub fn order_key_of_null(out: &mut Vec<u8>) {
    out.push(NULL);
}

/// Appends lower-case hexadecimal digits that compare, byte by byte, as the values do. None is the beginning of
/// another one, so that those of several columns may follow each other.
///
/// - Numbers: booleans apart, integers, decimals, doubles and texts that are one; compared as decimals.
/// - Times: dates, time stamps and instants, and texts in ISO 8601, to the nanosecond; without a zone as if in UTC,
///   a date as its first moment. `infinity` and `-infinity` are the last and the first.
/// - Bytes: compared as such.
///
/// Errors: any other value, among them null ([`order_key_of_null`]), NaN, MySQL's zero dates and times of day;
/// `out` is then as it was.
pub fn order_key(value: Typed<'_>, out: &mut Vec<u8>) -> Result<(), ValueError> {
    if matches!(value.kind, Kind::Bytes | Kind::BytesHex | Kind::BytesLatin1) {
        let mut bytes = Vec::new();
        raw_bytes(value, &mut bytes)?;
        if bytes.len() > BYTES_MAX {
            return Err(ValueError::mismatch(WANTED, "longer bytes"));
        }
        push_bytes(&bytes, out);
        return Ok(());
    }
    let mut text = Vec::new();
    render_text(value, RenderStyle::default(), &mut text)?;
    let text = std::str::from_utf8(&text).unwrap_or_default();
    let ordered = number(text).or_else(|| time(text));
    let ordered = ordered.ok_or_else(|| ValueError::mismatch(WANTED, "something else"))?;
    out.extend_from_slice(&ordered);
    Ok(())
}

/// True where values of that type may have an order: what the settings can say of a declared column.
pub fn may_order(kind: &Kind) -> bool {
    match kind {
        Kind::Untyped
        | Kind::Int
        | Kind::Uint
        | Kind::Decimal { .. }
        | Kind::VariableDecimal
        | Kind::Double
        | Kind::Text
        | Kind::Bytes
        | Kind::BytesHex
        | Kind::BytesLatin1
        | Kind::Date
        | Kind::Timestamp(_)
        | Kind::Instant(_)
        | Kind::ZonedText
        | Kind::IsoText(_) => true,
        Kind::Bool
        | Kind::Uuid
        | Kind::Json
        | Kind::Bits { .. }
        | Kind::Time(_)
        | Kind::ZonedTime
        | Kind::Duration(_)
        | Kind::IntervalText
        | Kind::Array(_)
        | Kind::Map(..)
        | Kind::Struct(_) => false,
    }
}

/// Two digits a byte, with a mark before each that there is one: a shorter one is less.
fn push_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(BYTES);
    for byte in bytes {
        out.push(b'1');
        push_hex(u64::from(*byte), 2, out);
    }
    out.push(b'0');
}

/// Sign, power of ten, digits without zeros at either end, and an end below any digit. Of a negative number all
/// but the sign is turned around.
fn number(text: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    Decimal::from_text(text)?.write(Notation::Canonical, &mut { PADDING_MAX }, &mut plain).ok()?;
    let plain = std::str::from_utf8(&plain).ok()?;
    let (negative, unsigned) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let whole = whole.trim_start_matches('0');
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    // 0.d₁d₂… × 10^power, d₁ not zero.
    let power = match whole.len() {
        0 => -i32::try_from(digits.len() - significant.len()).ok()?,
        count => i32::try_from(count).ok()?,
    };
    let significant = significant.trim_end_matches('0');
    if significant.is_empty() {
        return Some(vec![NUMBER, b'1']);
    }
    if significant.len() > DIGITS_MAX || power.unsigned_abs() > POWER_MAX {
        return None;
    }
    let mut magnitude = Vec::with_capacity(significant.len() + 5);
    push_hex(u64::try_from(power + 0x8000).ok()?, 4, &mut magnitude);
    magnitude.extend(significant.bytes().map(|digit| hex(digit - b'0' + 1)));
    magnitude.push(b'0');
    let mut out = vec![NUMBER, if negative { b'0' } else { b'2' }];
    out.extend(magnitude.into_iter().map(|digit| if negative { turned(digit) } else { digit }));
    Some(out)
}

/// Seconds from the first that 64 bits count, and nanoseconds.
fn time(text: &str) -> Option<Vec<u8>> {
    let (seconds, nanos) = match text {
        "infinity" => (i64::MAX, u64::from(u32::MAX)),
        "-infinity" => (i64::MIN, 0),
        _ => {
            let stamp = parse_stamp(text)?;
            let fraction = stamp.clock.map_or("", |clock| clock.fraction).trim_end_matches('0');
            if fraction.len() > FRACTION_DIGITS {
                return None;
            }
            (stamp.utc_seconds()?, format!("{fraction:0<9}").parse().ok()?)
        }
    };
    let mut out = vec![TIME];
    push_hex(seconds.cast_unsigned() ^ (1 << 63), 16, &mut out);
    push_hex(nanos, 8, &mut out);
    Some(out)
}

fn push_hex(number: u64, digits: u32, out: &mut Vec<u8>) {
    for place in (0..digits).rev() {
        out.push(hex(u8::try_from((number >> (place * 4)) & 0xf).unwrap_or(0)));
    }
}

fn hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) }
}

/// The digit as far from the other end.
fn turned(digit: u8) -> u8 {
    hex(15 - if digit < b'a' { digit - b'0' } else { digit - b'a' + 10 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{Raw, Unit};

    fn key(token: &str, kind: &Kind) -> Result<Vec<u8>, ValueError> {
        let mut out = Vec::new();
        order_key(Typed { raw: Raw::Json(token), kind }, &mut out).map(|()| out)
    }

    #[test]
    fn values_of_each_kind_rise() {
        let decimal = Kind::Decimal { scale: None };
        let cases: [(&Kind, &[&str]); 7] = [
            (
                &Kind::Untyped,
                &[
                    "-12345678901234567890123456789",
                    "-1e3",
                    "-999.5",
                    "-10",
                    "-9.99",
                    "-0.02",
                    "-0.015",
                    "0",
                    "0.0000001",
                    "0.015",
                    "0.02",
                    "9",
                    "9007199254740992",
                    "9007199254740993",
                    "18446744073709551615",
                    "18446744073709551615.5",
                    "1e30",
                ],
            ),
            (&Kind::Int, &["-9223372036854775808", "-1", "0", "1", "9223372036854775807"]),
            (&decimal, &[r#""-1.5""#, r#""-1.25""#, r#""1.25""#, r#""1.3""#, r#""10""#]),
            (
                &Kind::Text,
                &[
                    r#""infinity""#.replace("inf", "-inf").leak(),
                    r#""1969-12-31T23:59:59.999999999Z""#,
                    r#""1970-01-01""#,
                    r#""1970-01-01 00:00:00.5""#,
                    r#""1970-01-01T01:00:01+01:00""#,
                    r#""2024-11-01T09:57:00Z""#,
                    r#""2024-11-01T09:57:00.5Z""#,
                    r#""2024-11-01T09:57:01Z""#,
                    r#""+12024-01-01T00:00:00Z""#,
                    r#""infinity""#,
                ],
            ),
            (&Kind::Timestamp(Unit::Micros), &["-1", "0", "1", "1730455020000000", "1730455020000001"]),
            (&Kind::Date, &["-1", "0", "20000"]),
            (&Kind::Bytes, &[r#""""#, r#""AA==""#, r#""AAA=""#, r#""AAE=""#, r#""AQ==""#, r#""/w==""#]),
        ];
        for (kind, rising) in cases {
            for pair in rising.windows(2) {
                let (a, b) = (key(pair[0], kind).unwrap(), key(pair[1], kind).unwrap());
                assert!(a < b && !b.starts_with(&a), "{kind:?} {pair:?}");
            }
        }
    }

    #[test]
    fn one_value_gives_one_text_however_it_came() {
        for (a, b) in [
            (
                ("1730455020000", Kind::Instant(Unit::Millis)),
                (r#""2024-11-01T10:57:00+01:00""#, Kind::Untyped),
            ),
            (("1.50", Kind::Untyped), (r#""1.5""#, Kind::Text)),
            (("-0", Kind::Untyped), ("0.00", Kind::Untyped)),
            (("19782", Kind::Date), (r#""2024-02-29T00:00:00""#, Kind::Text)),
        ] {
            assert_eq!(key(a.0, &a.1), key(b.0, &b.1), "{a:?} {b:?}");
        }
    }

    #[test]
    fn what_has_no_order_is_refused() {
        let long = "1".repeat(65);
        for (token, kind) in [
            ("true", Kind::Bool),
            (r#""abc""#, Kind::Text),
            (r#""""#, Kind::Text),
            (r#""NaN""#, Kind::Double),
            ("{}", Kind::Untyped),
            (r#""0000-00-00""#, Kind::Text),
            (r#""2024-11-01T09:57:00.0000000001Z""#, Kind::Text),
            (&long, Kind::Untyped),
            ("1e99999999", Kind::Untyped),
            (&format!("1{}", "0".repeat(70_000)), Kind::Untyped),
        ] {
            assert!(key(token, &kind).is_err(), "{token}");
        }
    }

    proptest! {
        #[test]
        fn decimals_order_as_numbers(a in any::<i64>(), b in any::<i64>(), shift in 0..12_u32) {
            // Close ones too.
            for (a, b) in [(a, b), (a >> 52, b >> 52), (a, a.wrapping_add(b >> 60))] {
                let [x, y] = [a, b].map(|number| {
                    let number = i128::from(number);
                    let scale = 10_i128.pow(shift);
                    let sign = if number < 0 { "-" } else { "" };
                    let digits = number.unsigned_abs();
                    let text = format!("{sign}{}.{:0width$}", digits / scale.unsigned_abs(),
                        digits % scale.unsigned_abs(), width = shift as usize);
                    key(text.trim_end_matches('.'), &Kind::Untyped).unwrap()
                });
                prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            }
        }

        #[test]
        fn instants_order_as_numbers(a in any::<i32>(), b in any::<i32>()) {
            let [x, y] = [a, b].map(|us| key(&us.to_string(), &Kind::Instant(Unit::Micros)).unwrap());
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }

        #[test]
        fn nothing_panics(text in ".{0,40}") {
            let _ = number(&text);
            let _ = time(&text);
        }
    }
}
