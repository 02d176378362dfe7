//! Decimals in plain notation: every digit that came, the scale that came, no exponent, no rounding.

use std::borrow::Cow;

use num_bigint::{BigInt, Sign};

use super::ValueError;
use super::part::is_digits;

/// Digits of one decimal. PostgreSQL's `numeric` holds the most that is known: 131,072 before the point
/// and 16,383 after it (<https://www.postgresql.org/docs/current/datatype-numeric.html>).
pub(super) const DIGITS_MAX: usize = 160_000;

/// Bytes of an unscaled integer of at most [`DIGITS_MAX`] digits: log₂ 10 / 8 bytes a digit, rounded up.
const UNSCALED_BYTES_MAX: usize = 66_440;

/// Zeros written for one rendered value that the event does not hold (`1E+9999`, a scale of −9999).
///
/// A few bytes of exponent could ask for gigabytes. PostgreSQL's greatest scale is 16,383.
pub(super) const PADDING_MAX: usize = 16 * 1024;

/// A number that is no number, by the name that Java, PostgreSQL and JSON converters agree on.
///
/// Debezium's string mode also writes the names of its enum (`NAN`, `POSITIVE_INFINITY`).
pub(super) fn special(text: &str) -> Option<&'static str> {
    const SPELLINGS: [(&str, &str); 9] = [
        ("nan", "NaN"),
        ("infinity", "Infinity"),
        ("+infinity", "Infinity"),
        ("-infinity", "-Infinity"),
        ("inf", "Infinity"),
        ("+inf", "Infinity"),
        ("-inf", "-Infinity"),
        ("positive_infinity", "Infinity"),
        ("negative_infinity", "-Infinity"),
    ];
    SPELLINGS.iter().find(|(spelling, _)| text.eq_ignore_ascii_case(spelling)).map(|(_, name)| *name)
}

/// How a decimal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    /// With the scale that came.
    AsScaled,
    /// Without zeros at the end of the fraction: one text per number.
    Canonical,
}

/// A decimal as digits and an exponent; nothing is computed but the place of the point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal<'a> {
    negative: bool,
    whole: Cow<'a, str>,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// Reads a text: sign, digits with or without a point, exponent. `None` where it is no decimal.
    pub(super) fn from_text(text: &'a str) -> Option<Decimal<'a>> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits_only = |part: &str| part.is_empty() || is_digits(part);
        if (whole.is_empty() && fraction.is_empty()) || !digits_only(whole) || !digits_only(fraction) {
            return None;
        }
        Some(Decimal { negative, whole: Cow::Borrowed(whole), fraction, exponent })
    }

    /// Reads Connect's form: a big-endian two's-complement integer, and how many of its digits stand after
    /// the point. No bytes are zero. `None` for more than [`DIGITS_MAX`] digits.
    pub(super) fn from_unscaled(bytes: &[u8], scale: i32) -> Option<Decimal<'static>> {
        if bytes.len() > UNSCALED_BYTES_MAX {
            return None;
        }
        let (negative, digits) = match small(bytes) {
            Some(number) => (number < 0, number.unsigned_abs().to_string()),
            None => {
                let number = BigInt::from_signed_bytes_be(bytes);
                (number.sign() == Sign::Minus, number.magnitude().to_string())
            }
        };
        Some(Decimal { negative, whole: Cow::Owned(digits), fraction: "", exponent: -i64::from(scale) })
    }

    /// True where there is nothing but zeros after the point: an integer.
    pub(super) fn is_integer(&self) -> bool {
        let after_point = |digits: &str, exponent: i64| match usize::try_from(-i128::from(exponent)) {
            Ok(count) => ends_in_zeros(digits, count),
            Err(_) => true,
        };
        if self.exponent >= 0 {
            let skipped = usize::try_from(self.exponent).unwrap_or(usize::MAX).min(self.fraction.len());
            ends_in_zeros(self.fraction, self.fraction.len() - skipped)
        } else {
            ends_in_zeros(self.fraction, self.fraction.len()) && after_point(&self.whole, self.exponent)
        }
    }

    /// Appends the number in plain notation. `padding` is how many zeros may still be made up, and shrinks.
    pub(super) fn write(
        &self,
        notation: Notation,
        padding: &mut usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueError> {
        let too_long = || {
            ValueError::mismatch("a decimal of at most 160,000 digits and 16,384 added zeros", "a longer one")
        };
        let (whole, fraction) = (self.whole.as_bytes(), self.fraction.as_bytes());
        let digit_count = whole.len().checked_add(fraction.len()).ok_or_else(too_long)?;
        if digit_count > DIGITS_MAX {
            return Err(too_long());
        }
        let digits = || whole.iter().chain(fraction).copied();
        let is_zero = digits().all(|digit| digit == b'0');
        if is_zero && notation == Notation::Canonical {
            out.push(b'0');
            return Ok(());
        }

        // Where the point stands, counted in digits from the first; outside of them, zeros are made up.
        let signed = |count: usize| i64::try_from(count).map_err(|_| too_long());
        let point = signed(whole.len())?.checked_add(self.exponent).ok_or_else(too_long)?;
        let zeros_after = if is_zero { 0 } else { point.saturating_sub(signed(digit_count)?).max(0) };
        let zeros_before = point.checked_neg().ok_or_else(too_long)?.max(0);
        let zeros_after = usize::try_from(zeros_after).map_err(|_| too_long())?;
        let zeros_before = usize::try_from(zeros_before).map_err(|_| too_long())?;
        let split = usize::try_from(point.max(0)).map_err(|_| too_long())?.min(digit_count);
        let made_up = zeros_after.checked_add(zeros_before).ok_or_else(too_long)?;
        *padding = padding.checked_sub(made_up).ok_or_else(too_long)?;

        if self.negative && !is_zero {
            out.push(b'-');
        }
        let whole_from = out.len();
        out.extend(digits().take(split).skip_while(|digit| *digit == b'0'));
        if out.len() == whole_from {
            out.push(b'0');
        } else {
            out.extend(std::iter::repeat_n(b'0', zeros_after));
        }
        let point_at = out.len();
        out.push(b'.');
        out.extend(std::iter::repeat_n(b'0', zeros_before));
        out.extend(digits().skip(split));
        if notation == Notation::Canonical {
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
        if out.len() == point_at + 1 {
            out.pop();
        }
        Ok(())
    }
}

/// The integer, where it fits into 128 bits.
fn small(bytes: &[u8]) -> Option<i128> {
    let fill = if bytes.first().is_some_and(|first| *first >= 0x80) { 0xff } else { 0 };
    let mut wide = [fill; 16];
    let start = wide.len().checked_sub(bytes.len())?;
    wide.get_mut(start..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

fn parse_exponent(text: &str) -> Option<i64> {
    is_digits(text.strip_prefix(['+', '-']).unwrap_or(text)).then(|| text.parse().ok())?
}

fn ends_in_zeros(digits: &str, count: usize) -> bool {
    digits.bytes().rev().take(count).all(|digit| digit == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(decimal: &Decimal<'_>, notation: Notation) -> String {
        let mut out = Vec::new();
        decimal.write(notation, &mut PADDING_MAX.clone(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_written_plainly_with_its_scale_and_canonically_without() {
        for (input, scaled, canonical) in [
            ("12.50", "12.50", "12.5"),
            ("1.0E10", "10000000000", "10000000000"),
            ("1E+3", "1000", "1000"),
            ("1.0E-2", "0.010", "0.01"),
            ("1.234e2", "123.4", "123.4"),
            ("1.000", "1.000", "1"),
            ("100", "100", "100"),
            ("-0", "0", "0"),
            ("-0.00", "0.00", "0"),
            ("0E+7", "0", "0"),
            ("0E-3", "0.000", "0"),
            ("+007.10", "7.10", "7.1"),
            (".5", "0.5", "0.5"),
            ("5.", "5", "5"),
            ("-0.000001", "-0.000001", "-0.000001"),
            ("00.0012E2", "0.12", "0.12"),
        ] {
            let decimal = Decimal::from_text(input).unwrap();
            assert_eq!(text(&decimal, Notation::AsScaled), scaled, "{input}");
            assert_eq!(text(&decimal, Notation::Canonical), canonical, "{input}");
        }
        for input in
            ["", "-", ".", "e5", "1e", "1e+", "1.2.3", "1,5", "NaN", "1e99999999999999999999", "0x1", "1 "]
        {
            assert_eq!(Decimal::from_text(input), None, "{input}");
        }
    }

    #[test]
    fn unscaled_bytes_are_big_endian_twos_complement() {
        for (bytes, scale, expected) in [
            (&[0x30, 0x39][..], 2, "123.45"),
            (&[0x9c], 2, "-1.00"),
            (&[0x00, 0x80], 0, "128"),
            (&[0x00], 0, "0"),
            (&[0x00, 0xff], 0, "255"),
            (&[], 0, "0"),
            (&[], 2, "0.00"),
            (&[0x05], -3, "5000"),
            (&[0x00], -3, "0"),
            (&[0xff], 5, "-0.00001"),
            (
                &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                0,
                "-170141183460469231731687303715884105728",
            ),
            (
                &[0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                1,
                "17014118346046923173168730371588410572.8",
            ),
        ] {
            assert_eq!(text(&Decimal::from_unscaled(bytes, scale).unwrap(), Notation::AsScaled), expected);
        }
    }

    #[test]
    fn made_up_zeros_and_digits_are_bounded() {
        for input in ["1E+16385", "1E-16386", "0E-999999", "1E+9223372036854775807", "1E-9223372036854775808"]
        {
            let mut out = Vec::new();
            let decimal = Decimal::from_text(input).unwrap();
            let _ = decimal.write(Notation::AsScaled, &mut PADDING_MAX.clone(), &mut out).unwrap_err();
        }
        let mut left = 10;
        let mut out = Vec::new();
        let eight = Decimal::from_text("1E+8").unwrap();
        eight.write(Notation::AsScaled, &mut left, &mut out).unwrap();
        assert_eq!(left, 2);
        assert!(eight.write(Notation::AsScaled, &mut left, &mut out).is_err());

        let long = "9".repeat(DIGITS_MAX + 1);
        let decimal = Decimal::from_text(&long).unwrap();
        assert!(decimal.write(Notation::AsScaled, &mut PADDING_MAX.clone(), &mut out).is_err());
        assert_eq!(Decimal::from_unscaled(&vec![0x7f; UNSCALED_BYTES_MAX + 1], 0), None);
        let longest = Decimal::from_unscaled(&vec![0x7f; UNSCALED_BYTES_MAX - 8], 0).unwrap();
        assert!(text(&longest, Notation::AsScaled).len() > 159_000);
    }

    #[test]
    fn integers_are_told_by_what_stands_after_the_point() {
        for (input, is_integer) in [
            ("7", true),
            ("7.00", true),
            ("7.01", false),
            ("1.50E1", true),
            ("1.55E1", false),
            ("70E-1", true),
            ("71E-1", false),
            ("7.0E-1", false),
            ("0E-9", true),
            ("1E9", true),
        ] {
            assert_eq!(Decimal::from_text(input).unwrap().is_integer(), is_integer, "{input}");
        }
    }
}
