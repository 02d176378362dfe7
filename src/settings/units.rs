//! Durations, sizes and shares as people write them: `"90s"`, `"4MiB"`, `"10%"`.
//!
//! A number without a unit is refused: nobody can tell whether `5000` is milliseconds or bytes.
//! Errors say what is allowed and never repeat the text, which may have come from a variable.

use std::time::Duration;

/// What a duration may look like; the pattern in the JSON Schema. `${NAME}` is filled in before it is read.
pub(super) const DURATION_PATTERN: &str = r"^[0-9]+(ms|s|m|h|d)$|\$\{";
/// What a size may look like.
pub(super) const SIZE_PATTERN: &str = r"^[0-9]+(B|KiB|MiB|GiB)$|\$\{";
/// What a share may look like.
pub(super) const SHARE_PATTERN: &str = r"^[0-9]+(\.[0-9]+)?%$|\$\{";

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// A duration of whole milliseconds.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "is not a duration: write a whole number with its unit (ms, s, m, h or d), as in \"250ms\" or \"15m\"";
    scaled(text, &DURATION_UNITS).map(Duration::from_millis).ok_or(WRONG)
}

/// A size in bytes.
pub(crate) fn size(text: &str) -> Result<usize, &'static str> {
    const WRONG: &str = "is not a size: write a whole number with its unit (B, KiB, MiB or GiB; a KiB is 1,024 B), \
         as in \"16MiB\"";
    scaled(text, &SIZE_UNITS).and_then(|bytes| usize::try_from(bytes).ok()).ok_or(WRONG)
}

/// A share, 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, &'static str> {
    const WRONG: &str = "is not a share: write a number from 0 to 100 with a percent sign, as in \"10%\"";
    let number = text.strip_suffix('%').ok_or(WRONG)?;
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let percent: f64 = if plain { number.parse().map_err(|_| WRONG)? } else { return Err(WRONG) };
    if (0.0..=100.0).contains(&percent) { Ok(percent / 100.0) } else { Err(WRONG) }
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A duration as the settings would say it, in the largest unit that shows it exactly.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(millis, DURATION_UNITS.iter().rev().copied(), "ms")
}

/// A size as the settings would say it, in the largest unit that shows it exactly.
pub(super) fn show_size(bytes: usize) -> String {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    show(bytes, SIZE_UNITS[..3].iter().rev().copied(), "B")
}

/// A share as the settings would say it.
pub(super) fn show_share(share: f64) -> String {
    // Hundredths of a percent are as fine as anyone writes them; more digits would only show binary rounding.
    format!("{}%", (share * 10_000.0).round() / 100.0)
}

fn show(amount: u64, mut units: impl Iterator<Item = (&'static str, u64)>, smallest: &str) -> String {
    let exact = units.find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor));
    match exact {
        Some((name, factor)) => format!("{}{name}", amount / factor),
        None => format!("{amount}{smallest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_with_a_unit() {
        let good =
            [("250ms", 250), ("90s", 90_000), ("15m", 900_000), ("1h", 3_600_000), ("7d", 604_800_000)];
        for (text, millis) in good {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
            let shown = show_duration(Duration::from_millis(millis));
            assert_eq!(duration(&shown), Ok(Duration::from_millis(millis)), "{shown}");
        }
        for text in ["", "5", "s", "5 s", "1.5h", "-1s", "5min", "18446744073709551615d", "٣s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_is_a_whole_number_with_a_binary_unit() {
        for (text, bytes) in [("0B", 0), ("17B", 17), ("1KiB", 1024), ("4MiB", 4 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
        for text in ["1KB", "1k", "1 MiB", "1", "99999999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_a_percentage() {
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("0.1%"), Ok(0.001));
        assert_eq!(show_share(0.05), "5%");
        assert_eq!(show_share(0.001), "0.1%");
        for text in ["5", "0.05", "101%", "-1%", "1e1%", "inf%", ".%", "%"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
