//! The proleptic Gregorian calendar over every day that 64 bits can count: no date library's range is that wide.
//!
//! The algorithms are Howard Hinnant's `days_from_civil` and `civil_from_days`
//! (<https://howardhinnant.github.io/date_algorithms.html>), with the eras split off before anything is
//! added, so that the ends of 64 bits do not overflow.

/// Days in 400 years, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;

/// Days from 0000-03-01, where the algorithm's eras begin, to 1970-01-01.
const EPOCH_SHIFT_DAYS: i64 = 719_468;

/// A date of the proleptic Gregorian calendar; year 0 is 1 BC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    /// Astronomical year.
    pub(super) year: i64,
    /// 1 to 12 (0 in MySQL's zero dates, which only text carries).
    pub(super) month: u8,
    /// 1 to 31 (0 likewise).
    pub(super) day: u8,
}

impl Date {
    /// The date so many days after 1970-01-01.
    pub(super) fn from_days(days: i64) -> Date {
        let shifted = days.rem_euclid(ERA_DAYS) + EPOCH_SHIFT_DAYS;
        let era = days.div_euclid(ERA_DAYS) + shifted / ERA_DAYS;
        let day_of_era = shifted % ERA_DAYS;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Months counted from March, so that a leap day is the last of its year.
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let small = |number| u8::try_from(number).expect("months and days are below 32");
        Date { year, month: small(month), day: small(day) }
    }

    /// Days since 1970-01-01; `None` where there is no such date, or 64 bits do not hold its count.
    pub(super) fn days(self) -> Option<i64> {
        if self.day == 0 || self.day > self.month_days()? {
            return None;
        }
        let month = i64::from(self.month);
        let year = self.year.checked_sub(i64::from(month <= 2))?;
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = i128::from(era) * i128::from(ERA_DAYS) + i128::from(day_of_era - EPOCH_SHIFT_DAYS);
        i64::try_from(days).ok()
    }

    fn month_days(self) -> Option<u8> {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        match self.month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
            4 | 6 | 9 | 11 => Some(30),
            2 => Some(if leap { 29 } else { 28 }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree_with_known_ones() {
        for (year, month, day, days) in [
            (1970, 1, 1, 0),
            (2024, 2, 29, 19_782),
            (1969, 12, 31, -1),
            (2000, 2, 29, 11_016),
            (1, 1, 1, -719_162),
            (0, 12, 31, -719_163),
            (-43, 3, 15, -735_160),
            (9999, 12, 31, 2_932_896),
            (12_024, 1, 1, 3_672_148),
            (5_874_897, 12, 31, 2_145_042_905),
            (-5_877_611, 6, 22, -2_147_472_691),
        ] {
            let date = Date { year, month, day };
            assert_eq!(date.days(), Some(days), "{date:?}");
            assert_eq!(Date::from_days(days), date);
        }
    }

    #[test]
    fn every_day_of_an_era_comes_back_and_dates_rise() {
        let mut last = Date::from_days(-1);
        for days in 0..ERA_DAYS {
            let date = Date::from_days(days);
            assert_eq!(date.days(), Some(days));
            assert!((date.year, date.month, date.day) > (last.year, last.month, last.day));
            last = date;
        }
        for days in [i64::MIN, i64::MAX] {
            assert_eq!(Date::from_days(days).days(), Some(days));
        }
    }

    #[test]
    fn dates_that_do_not_exist_have_no_days() {
        for (year, month, day) in [
            (2023, 2, 29),
            (1900, 2, 29),
            (2024, 4, 31),
            (0, 0, 0),
            (2024, 13, 1),
            (i64::MAX, 1, 1),
            (i64::MIN, 1, 1),
        ] {
            assert_eq!(Date { year, month, day }.days(), None, "{year}-{month}-{day}");
        }
    }
}
