//! Dates, times and spans from counts. Counts have 64 bits, and are split into seconds and a fraction
//! before anything else is done to them, so nothing here can overflow.

use std::io::Write;

use super::Unit;
use super::civil::Date;

/// Seconds in a day.
const DAY_SECONDS: i64 = 86_400;

impl Unit {
    /// How many of this unit are a second, and how many nanoseconds it has.
    fn scale(self) -> (u32, u32) {
        match self {
            Unit::Millis => (1_000, 1_000_000),
            Unit::Micros => (1_000_000, 1_000),
            Unit::Nanos => (1_000_000_000, 1),
        }
    }

    /// Seconds of a count, rounded down, and the nanoseconds that are left.
    fn seconds(self, count: i64) -> (i64, u32) {
        let (per_second, nanos) = self.scale();
        let left = u32::try_from(count.rem_euclid(i64::from(per_second)));
        (count.div_euclid(i64::from(per_second)), left.expect("less than a second") * nanos)
    }

    /// Milliseconds of a count, rounded down.
    pub(super) fn millis(self, count: i64) -> i64 {
        match self {
            Unit::Millis => count,
            Unit::Micros => count.div_euclid(1_000),
            Unit::Nanos => count.div_euclid(1_000_000),
        }
    }

    /// Whole seconds of a count whatever its sign, and the nanoseconds that are left.
    fn span(self, count: i64) -> (u64, u32) {
        let (per_second, nanos) = self.scale();
        let magnitude = count.unsigned_abs();
        let left = u32::try_from(magnitude % u64::from(per_second));
        (magnitude / u64::from(per_second), left.expect("less than a second") * nanos)
    }
}

/// The text that stands for a day that is no day.
///
/// PostgreSQL's infinite dates as Debezium counts them: it parses `+5877611-06-21` and `-5877611-06-22`
/// (before 3.7 the former with a wrong sign; `PostgresValueConverter`, the test for dbz#2524). PostgreSQL's
/// finite dates end 2,714 years before. The ends of `int32` are those of other readers of PostgreSQL.
///
/// Snapshot rows come through the driver instead, whose infinite dates lie 292 million years off: of their
/// day count Debezium keeps the lower 32 bits, and of the negative one's era nothing (captured from 3.7;
/// east of UTC the connector is a day further on). PostgreSQL's finite dates begin at day -2,440,588.
pub(super) fn infinite_date(days: i64) -> Option<&'static str> {
    match days {
        2_146_033_979 | -2_147_472_692 | 2_147_483_647 | i64::MAX => Some("infinity"),
        -622_191_234 | -622_191_233 => Some("infinity"),
        -2_147_472_691 | -2_147_483_648 | i64::MIN => Some("-infinity"),
        -625_821_272 | -625_821_271 => Some("-infinity"),
        _ => None,
    }
}

/// The same for a date or time stamp that is spelt out, under `time.precision.mode = isostring`: the days of
/// [`infinite_date`] before their count is cut to 32 bits, and the driver's time stamps (captured from 3.7).
/// PostgreSQL's finite dates end in the year 5874897.
pub(super) fn infinite_iso(date: Date) -> Option<&'static str> {
    match (date.year, date.month, date.day) {
        (5_877_611, 6, 21) | (292_278_994, 8, 16 | 17) => Some("infinity"),
        (-5_877_611, 6, 22) | (292_269_055, 12, 2 | 3) | (-292_275_055, 5, 16 | 17) => Some("-infinity"),
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
    match year {
        ..0 => push(out, format_args!("-{:04}", year.unsigned_abs())),
        0..=9999 => push(out, format_args!("{year:04}")),
        _ => push(out, format_args!("+{year}")),
    }
    out.push(b'-');
    push_two(out, month);
    out.push(b'-');
    push_two(out, day);
}

/// Appends a time stamp, without a zone letter: so many units after 1970-01-01T00:00:00.
pub(super) fn write_stamp(count: i64, unit: Unit, out: &mut Vec<u8>) {
    let (seconds, nanos) = unit.seconds(count);
    write_stamp_seconds(seconds, out);
    write_nanos(nanos, out);
}

/// Appends a time stamp of whole seconds.
pub(super) fn write_stamp_seconds(seconds: i64, out: &mut Vec<u8>) {
    write_date(Date::from_days(seconds.div_euclid(DAY_SECONDS)), out);
    out.push(b'T');
    write_clock(seconds.rem_euclid(DAY_SECONDS).unsigned_abs(), out);
}

/// Appends a time of day or a signed span of hours: `10:33:04.5`, `24:00:00`, `-838:59:59`.
pub(super) fn write_time(count: i64, unit: Unit, out: &mut Vec<u8>) {
    if count < 0 {
        out.push(b'-');
    }
    let (seconds, nanos) = unit.span(count);
    write_clock(seconds, out);
    write_nanos(nanos, out);
}

/// Appends an ISO 8601 duration of hours, minutes and seconds. Days are not always 24 hours and months are
/// no fixed time, so neither is made up. The sign stands in front (ISO 8601-2).
pub(super) fn write_duration(count: i64, unit: Unit, out: &mut Vec<u8>) {
    if count < 0 {
        out.push(b'-');
    }
    let (total, nanos) = unit.span(count);
    let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
    out.extend_from_slice(b"PT");
    if hours != 0 {
        push(out, format_args!("{hours}H"));
    }
    if minutes != 0 {
        push(out, format_args!("{minutes}M"));
    }
    if seconds != 0 || nanos != 0 || count == 0 {
        push(out, format_args!("{seconds}"));
        write_nanos(nanos, out);
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

fn write_clock(seconds: u64, out: &mut Vec<u8>) {
    let below_sixty = |number: u64| u8::try_from(number % 60).expect("less than 60");
    match u8::try_from(seconds / 3600) {
        Ok(hours @ 0..100) => push_two(out, hours),
        _ => push(out, format_args!("{}", seconds / 3600)),
    }
    out.push(b':');
    push_two(out, below_sixty(seconds / 60));
    out.push(b':');
    push_two(out, below_sixty(seconds));
}

fn write_nanos(nanos: u32, out: &mut Vec<u8>) {
    if nanos == 0 {
        return;
    }
    push(out, format_args!(".{nanos:09}"));
    while out.last() == Some(&b'0') {
        out.pop();
    }
}

/// Appends two digits; the number is below 100.
fn push_two(out: &mut Vec<u8>, number: u8) {
    out.extend_from_slice(&[b'0' + number / 10, b'0' + number % 10]);
}

/// Appends what is formatted.
pub(super) fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: fn(i64, Unit, &mut Vec<u8>), count: i64, unit: Unit) -> String {
        let mut out = Vec::new();
        write(count, unit, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn durations_leave_out_what_is_zero() {
        for (count, unit, text) in [
            (0, Unit::Millis, "PT0S"),
            (5_400_500, Unit::Millis, "PT1H30M0.5S"),
            (5_400_000_000, Unit::Micros, "PT1H30M"),
            (-1, Unit::Nanos, "-PT0.000000001S"),
            (60_000, Unit::Millis, "PT1M"),
            (93_784_000, Unit::Millis, "PT26H3M4S"),
            (i64::MIN, Unit::Micros, "-PT2562047788H54.775808S"),
            (i64::MAX, Unit::Nanos, "PT2562047H47M16.854775807S"),
        ] {
            assert_eq!(written(write_duration, count, unit), text);
        }
    }

    #[test]
    fn times_are_signed_and_not_bounded_by_a_day() {
        for (count, unit, text) in [
            (0, Unit::Nanos, "00:00:00"),
            (37_984_500, Unit::Millis, "10:33:04.5"),
            (86_400_000, Unit::Millis, "24:00:00"),
            (359_999_999, Unit::Millis, "99:59:59.999"),
            (360_000_000, Unit::Millis, "100:00:00"),
            (-3_020_399_000_000, Unit::Micros, "-838:59:59"),
            (-500, Unit::Micros, "-00:00:00.0005"),
            (i64::MIN, Unit::Millis, "-2562047788015:12:55.808"),
        ] {
            assert_eq!(written(write_time, count, unit), text);
        }
    }

    #[test]
    fn milliseconds_are_rounded_down() {
        for (count, unit, ms) in [
            (-1, Unit::Millis, -1),
            (-1, Unit::Micros, -1),
            (-1_000_001, Unit::Nanos, -2),
            (1_999, Unit::Micros, 1),
            (i64::MIN, Unit::Nanos, -9_223_372_036_855),
        ] {
            assert_eq!(unit.millis(count), ms);
        }
    }
}
