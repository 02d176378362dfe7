//! Dates, times and spans from counts, in arithmetic that is wider than any count.

use std::io::Write;

use super::Unit;
use super::civil::Date;

/// Nanoseconds in a second.
const SECOND: i128 = 1_000_000_000;

/// Seconds in a day.
const DAY_SECONDS: i128 = 86_400;

impl Unit {
    /// Nanoseconds of so many of this unit.
    pub(super) fn nanos(self, count: i64) -> i128 {
        let each = match self {
            Unit::Millis => 1_000_000,
            Unit::Micros => 1_000,
            Unit::Nanos => 1,
        };
        i128::from(count) * each
    }
}

/// The text that stands for a day that is no day.
///
/// PostgreSQL's infinite dates as Debezium counts them: it parses `+5877611-06-21` and `-5877611-06-22`
/// (before 3.7 the former with a wrong sign; `PostgresValueConverter`, the test for dbz#2524). PostgreSQL's
/// finite dates end 2,714 years before. The ends of `int32` are those of other readers of PostgreSQL.
pub(super) fn infinite_date(days: i64) -> Option<&'static str> {
    match days {
        2_146_033_979 | -2_147_472_692 | 2_147_483_647 | i64::MAX => Some("infinity"),
        -2_147_472_691 | -2_147_483_648 | i64::MIN => Some("-infinity"),
        _ => None,
    }
}

/// The text that stands for a time stamp that is no moment.
///
/// The PostgreSQL driver knows infinity as 9223372036825200000 and −9223372036832400000 ms. Debezium takes
/// that count for milliseconds or, in other versions, for microseconds, and converts to the column's unit,
/// to the ends of 64 bits where it does not fit (dbz#2524; seen with 3.7: 9223372036854775807 µs). In
/// nanoseconds the driver's count is a moment in 2262, so only the ends of 64 bits are infinite there.
pub(super) fn infinite_stamp(count: i64, unit: Unit) -> Option<&'static str> {
    match (count, unit) {
        (i64::MAX, _)
        | (9_223_372_036_825_200_000, Unit::Millis | Unit::Micros)
        | (9_223_372_036_825_200, Unit::Millis) => Some("infinity"),
        (i64::MIN, _)
        | (-9_223_372_036_832_400_000, Unit::Millis | Unit::Micros)
        | (-9_223_372_036_832_400, Unit::Millis) => Some("-infinity"),
        _ => None,
    }
}

/// Appends a date: four digits of year, outside 0000–9999 a sign and as many as it takes.
pub(super) fn write_date(date: Date, out: &mut Vec<u8>) {
    let Date { year, month, day } = date;
    let sign = match year {
        ..0 => "-",
        0..=9999 => "",
        _ => "+",
    };
    push(out, format_args!("{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs()));
}

/// Appends a time stamp, without a zone letter: so many nanoseconds after 1970-01-01T00:00:00.
pub(super) fn write_stamp(nanos: i128, out: &mut Vec<u8>) {
    write_stamp_seconds(nanos.div_euclid(SECOND), out);
    write_nanos(nanos.rem_euclid(SECOND), out);
}

/// Appends a time stamp of whole seconds.
pub(super) fn write_stamp_seconds(seconds: i128, out: &mut Vec<u8>) {
    write_date(Date::from_days(seconds.div_euclid(DAY_SECONDS)), out);
    out.push(b'T');
    write_clock(seconds.rem_euclid(DAY_SECONDS), out);
}

/// Appends a time of day or a signed span of hours: `10:33:04.5`, `24:00:00`, `-838:59:59`.
pub(super) fn write_time(nanos: i128, out: &mut Vec<u8>) {
    if nanos < 0 {
        out.push(b'-');
    }
    let span = nanos.abs();
    write_clock(span / SECOND, out);
    write_nanos(span % SECOND, out);
}

/// Appends an ISO 8601 duration of hours, minutes and seconds. Days are 24 hours here and months are no
/// fixed time, so neither is made up. The sign stands in front (ISO 8601-2).
pub(super) fn write_duration(nanos: i128, out: &mut Vec<u8>) {
    if nanos < 0 {
        out.push(b'-');
    }
    let span = nanos.abs();
    let (total, fraction) = (span / SECOND, span % SECOND);
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    out.extend_from_slice(b"PT");
    if hours != 0 {
        push(out, format_args!("{hours}H"));
    }
    if minutes != 0 {
        push(out, format_args!("{minutes}M"));
    }
    if seconds != 0 || fraction != 0 || span == 0 {
        push(out, format_args!("{seconds}"));
        write_nanos(fraction, out);
        out.push(b'S');
    }
}

/// Appends a fraction without zeros at its end, and nothing where there are only zeros.
pub(super) fn write_fraction(digits: &str, out: &mut Vec<u8>) {
    let digits = digits.trim_end_matches('0');
    if !digits.is_empty() {
        out.push(b'.');
        out.extend_from_slice(digits.as_bytes());
    }
}

fn write_clock(seconds: i128, out: &mut Vec<u8>) {
    push(out, format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
}

fn write_nanos(nanos: i128, out: &mut Vec<u8>) {
    if nanos != 0 {
        write_fraction(&format!("{nanos:09}"), out);
    }
}

/// Appends what is formatted.
pub(super) fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(i128, &mut Vec<u8>), nanos: i128) -> String {
        let mut out = Vec::new();
        write(nanos, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn durations_leave_out_what_is_zero() {
        for (nanos, text) in [
            (0, "PT0S"),
            (5_400_500_000_000, "PT1H30M0.5S"),
            (5_400_000_000_000, "PT1H30M"),
            (-1, "-PT0.000000001S"),
            (60_000_000_000, "PT1M"),
            (93_784_000_000_000, "PT26H3M4S"),
            (Unit::Micros.nanos(i64::MIN), "-PT2562047788H54.775808S"),
            (Unit::Nanos.nanos(i64::MAX), "PT2562047H47M16.854775807S"),
        ] {
            assert_eq!(written(write_duration, nanos), text);
        }
    }

    #[test]
    fn times_are_signed_and_not_bounded_by_a_day() {
        for (nanos, text) in [
            (0, "00:00:00"),
            (37_984_500_000_000, "10:33:04.5"),
            (86_400_000_000_000, "24:00:00"),
            (-3_020_399_000_000_000, "-838:59:59"),
            (-500_000, "-00:00:00.0005"),
        ] {
            assert_eq!(written(write_time, nanos), text);
        }
    }
}
