//! Reading dates and times as text: ISO 8601 as Java, PostgreSQL and MySQL write it.
//!
//! Accepted beside the standard: a space for the `T`, ` UTC`, ` BC`, offsets with or without a colon and
//! with seconds, a zone name in brackets after an offset, years of up to nine digits, and any number of
//! digits in a fraction. What does not fit is `None`; nothing is guessed.

use super::civil::Date;
use super::part::is_digits;

/// A text as its parts. Fractions stay text, so that no digit is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp<'a> {
    /// The date. May be one of MySQL's zero dates, see [`Date::days`].
    pub(super) date: Date,
    /// The time of day, where there is one.
    pub(super) clock: Option<Clock<'a>>,
    /// Seconds east of UTC, where told.
    pub(super) offset: Option<i32>,
}

/// Hours, minutes, seconds and the digits of a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock<'a> {
    /// Seconds of the whole of it. Up to 24:00:00, and a leap second is the one after.
    pub(super) seconds: i64,
    /// Digits after the point; may be empty.
    pub(super) fraction: &'a str,
    /// The text up to the fraction.
    pub(super) text: &'a str,
}

impl Clock<'_> {
    /// True at the beginning of a day.
    pub(super) fn is_midnight(&self) -> bool {
        self.seconds == 0 && self.fraction.bytes().all(|digit| digit == b'0')
    }
}

impl Stamp<'_> {
    /// Seconds after 1970-01-01T00:00:00Z, rounded down; without an offset as if it were UTC.
    /// `None` where there is no such date.
    pub(super) fn utc_seconds(&self) -> Option<i64> {
        let clock = self.clock.map_or(0, |clock| clock.seconds);
        let local = self.date.days()?.checked_mul(86_400)?.checked_add(clock)?;
        local.checked_sub(i64::from(self.offset.unwrap_or(0)))
    }
}

/// Reads a date or a time stamp.
pub(super) fn parse_stamp(text: &str) -> Option<Stamp<'_>> {
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (mut date, rest) = split_date(text)?;
    if before_christ {
        date.year = 1 - date.year;
    }
    match rest.strip_prefix(['T', 't', ' ']) {
        Some(after) if after.starts_with(|first: char| first.is_ascii_digit()) => {
            let end = after.find(|c: char| !matches!(c, '0'..='9' | ':' | '.')).unwrap_or(after.len());
            let (clock, zone) = after.split_at_checked(end)?;
            let clock = parse_clock(clock)?;
            if clock.text.len() > "00:00:00".len() || clock.seconds > 86_400 {
                return None;
            }
            Some(Stamp { date, clock: Some(clock), offset: parse_zone(zone)? })
        }
        _ => Some(Stamp { date, clock: None, offset: parse_zone(rest)? }),
    }
}

/// Reads a time of day or a span of hours, without its sign: `10:33:04.5`, `838:59:59`.
pub(super) fn parse_clock(text: &str) -> Option<Clock<'_>> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, is_digits(fraction).then_some(fraction)?),
        None => (text, ""),
    };
    let mut parts = whole.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next());
    if parts.next().is_some()
        || (seconds.is_none() && !fraction.is_empty())
        || !(2..=9).contains(&hours.len())
    {
        return None;
    }
    let total = i64::from(number(hours)?) * 3600
        + i64::from(sixty(minutes, 59)?) * 60
        + i64::from(sixty(seconds.unwrap_or("00"), 60)?);
    Some(Clock { seconds: total, fraction, text: whole })
}

/// Takes the date from the front: an optional sign, a year of four to nine digits, month and day.
fn split_date(text: &str) -> Option<(Date, &str)> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (year, rest) = unsigned.split_once('-')?;
    if !(4..=9).contains(&year.len()) {
        return None;
    }
    let year = i64::from(number(year)?);
    let (month, rest) = rest.split_at_checked(2)?;
    let (day, rest) = rest.strip_prefix('-')?.split_at_checked(2)?;
    let (month, day) = (u8::try_from(number(month)?).ok()?, u8::try_from(number(day)?).ok()?);
    let date = Date { year: if negative { -year } else { year }, month, day };
    // A zero month or day is MySQL's "unknown"; any other date must exist.
    (month == 0 && day <= 31 || day == 0 && month <= 12 || date.days().is_some()).then_some((date, rest))
}

/// Reads what follows a time: nothing, `Z`, or an offset in seconds. The outer `None` is a failure.
fn parse_zone(text: &str) -> Option<Option<i32>> {
    let text = match text.split_once('[') {
        Some((offset, name)) if !offset.is_empty() && name.ends_with(']') => offset,
        Some(_) => return None,
        None => text,
    };
    let (sign, digits) = match text.trim_start_matches(' ') {
        "" if text.is_empty() => return Some(None),
        "Z" | "z" | "UTC" => return Some(Some(0)),
        offset => match (offset.strip_prefix('+'), offset.strip_prefix('-')) {
            (Some(digits), _) => (1, digits),
            (None, Some(digits)) => (-1, digits),
            (None, None) => return None,
        },
    };
    let mut seconds = 0;
    let mut rest = digits;
    for (place, unit) in [3600, 60, 1].into_iter().enumerate() {
        if rest.is_empty() && place > 0 {
            break;
        }
        if place > 0 {
            rest = rest.strip_prefix(':').unwrap_or(rest);
        }
        let (two, after) = rest.split_at_checked(2)?;
        seconds += i32::try_from(sixty(two, 59)?).ok()? * unit;
        rest = after;
    }
    // No zone has ever been further from UTC than 15:13:42 (Asia/Manila); Java allows 18 hours.
    (rest.is_empty() && seconds <= 18 * 3600).then_some(Some(sign * seconds))
}

fn sixty(text: &str, most: u32) -> Option<u32> {
    (text.len() == 2).then(|| number(text))?.filter(|count| *count <= most)
}

fn number(text: &str) -> Option<u32> {
    is_digits(text).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_in_all_their_forms() {
        for (zone, seconds) in [
            ("", None),
            ("Z", Some(0)),
            (" UTC", Some(0)),
            ("+01:00", Some(3600)),
            ("-0530", Some(-19_800)),
            ("+02", Some(7200)),
            ("+00:53:28", Some(3208)),
            ("+02:00[Europe/Berlin]", Some(7200)),
            ("Z[UTC]", Some(0)),
        ] {
            assert_eq!(parse_zone(zone), Some(seconds), "{zone}");
        }
        for zone in
            [" ", "+", "+1", "+1:00", "+01:00:00:00", "+19:00", "+01:60", "CET", "[UTC]", "Z0", "+01:"]
        {
            assert_eq!(parse_zone(zone), None, "{zone}");
        }
    }

    #[test]
    fn stamps_that_do_not_exist_are_refused() {
        for text in [
            "",
            "2024",
            "2024-02",
            "2024-2-1",
            "24-02-01",
            "2024-02-30",
            "2023-02-29",
            "2024-13-01",
            "2024-02-01T",
            "2024-02-01T1:00",
            "2024-02-01T10",
            "2024-02-01T10:60:00Z",
            "2024-02-01T25:00:00Z",
            "2024-02-01T24:00:01Z",
            "2024-02-01T10:00:00.Z",
            "2024-02-01T10:00.5Z",
            "2024-02-01T10:00:00.5.5",
            "0123456789-01-01",
            "20-24-02-01",
            "٢٠٢٤-01-01",
            "2024-02-01 BC BC",
            "infinity",
        ] {
            assert_eq!(parse_stamp(text), None, "{text}");
        }
    }

    #[test]
    fn seconds_count_from_1970_whatever_the_spelling() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00.999+01:00", 0),
            ("1969-12-31 19:00-05", 0),
            ("1970-01-01T24:00:00Z", 86_400),
            ("1972-06-30T23:59:60Z", 78_796_800),
            ("0001-01-01T00:00:00Z", -62_135_596_800),
            ("0001-01-01T00:00:00 BC", -62_167_219_200),
            ("0000-01-01T00:00:00", -62_167_219_200),
            ("+294247-01-01T23:59:59.999999Z", 9_223_371_331_199),
        ] {
            let stamp = parse_stamp(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(stamp.utc_seconds(), Some(seconds), "{text}");
        }
    }
}
