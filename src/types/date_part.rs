//! Parts of a date for keys: the year of an order, the hour of a reading.

use super::civil::Date;
use super::iso::parse_stamp;
use super::{RenderStyle, TimeStyle, Typed, ValueError, render_text};

/// A part of a date or time stamp. With an offset it is that of UTC; without one, as the clock on the wall shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatePart {
    /// `2024-11-01`.
    Date,
    /// `2024`; outside 0001–9999 the expanded form of ISO 8601 (`-0043`, `+12024`).
    Year,
    /// `01` to `12`.
    Month,
    /// `01` to `31`.
    Day,
    /// `00` to `23`; a date alone has none.
    Hour,
}

const EXPECTED: &str = "a date or time (a number needs a type: columns = { … = \"timestamp_ms\" })";

/// Appends that part of the value. A value that is no date, or has no hour, is an error.
pub fn render_date_part(
    value: Typed<'_>,
    part: DatePart,
    style: RenderStyle,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let mut text = Vec::new();
    render_text(value, RenderStyle { time: TimeStyle::Rfc3339, ..style }, &mut text)?;
    let text = std::str::from_utf8(&text).ok().and_then(|text| part.of(text));
    let text = text.ok_or(ValueError { expected: EXPECTED.into(), found: "another value".into() })?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

impl DatePart {
    fn of(self, text: &str) -> Option<String> {
        let stamp = parse_stamp(text)?;
        let (date, hour) = match stamp.utc_seconds() {
            Some(seconds) => {
                (Date::from_days(seconds.div_euclid(86_400)), seconds.rem_euclid(86_400) / 3_600)
            }
            // One of MySQL's zero dates: no day of the calendar, but its digits can be told.
            None => (stamp.date, stamp.clock.map_or(0, |clock| clock.seconds) / 3_600),
        };
        let year = match date.year {
            year @ 0..=9_999 => format!("{year:04}"),
            year => format!("{year:+05}"),
        };
        Some(match self {
            DatePart::Date => format!("{year}-{:02}-{:02}", date.month, date.day),
            DatePart::Year => year,
            DatePart::Month => format!("{:02}", date.month),
            DatePart::Day => format!("{:02}", date.day),
            DatePart::Hour => {
                stamp.clock?;
                format!("{hour:02}")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_utc_where_an_offset_is_told() {
        let all = [DatePart::Date, DatePart::Year, DatePart::Month, DatePart::Day, DatePart::Hour];
        for (text, expected) in [
            ("2024-11-01T09:57:00.25", "2024-11-01 2024 11 01 09"),
            ("2024-12-31T23:30:00-01:00", "2025-01-01 2025 01 01 00"),
            ("2024-11-01", "2024-11-01 2024 11 01 -"),
            ("-0043-03-15T01:00:00Z", "-0043-03-15 -0043 03 15 01"),
            ("+12024-01-01", "+12024-01-01 +12024 01 01 -"),
            ("0000-00-00 00:00:00", "0000-00-00 0000 00 00 00"),
            ("2024-11-01T24:00:00", "2024-11-02 2024 11 02 00"),
            ("infinity", "- - - - -"),
            ("1730455020", "- - - - -"),
        ] {
            let parts = all.map(|part| part.of(text).unwrap_or("-".into()));
            assert_eq!(parts.join(" "), expected, "{text}");
        }
    }
}
