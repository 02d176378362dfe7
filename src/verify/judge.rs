//! Whether what a key holds is what it must hold. Pure.
//!
//! Expiries lie within a window, for nobody knows at which moment between a record's timestamp and now it was
//! applied. Start at [`judge`].

use super::fold::{Expectation, Expected};
use crate::mutation::Expiry;
use crate::sink::redis::{Glance, Held, Seen};

/// What clocks of producer, broker, Redis and this machine may differ by, and a batch may take. `check` warns of
/// more skew than this.
pub(super) const SLACK_MS: i64 = 5_000;

/// In which way a key is not as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It is not there.
    Missing,
    /// It holds another value.
    Stale,
    /// It should not be there.
    Extra,
    /// It expires too early, too late, or never.
    WrongTtl,
    /// It is of another Redis type.
    WrongType,
}

impl Difference {
    /// All of them, in the order of reports.
    pub const ALL: [Difference; 5] = [
        Difference::Missing,
        Difference::Stale,
        Difference::Extra,
        Difference::WrongTtl,
        Difference::WrongType,
    ];

    /// Its name in reports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Difference::Missing => "missing",
            Difference::Stale => "stale",
            Difference::Extra => "extra",
            Difference::WrongTtl => "wrong_ttl",
            Difference::WrongType => "wrong_type",
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it must be.
    Right,
    /// Not there, as is right for a value whose time may have passed.
    Expired,
    /// As the order of the lanes can leave it, which is right too.
    Raced,
    /// Not as it must be.
    Wrong(Difference),
}

/// Compares.
pub(super) fn judge(expectation: &Expectation, glance: &Glance) -> Verdict {
    let first = one(expectation.expected.as_ref(), glance);
    if !matches!(first, Verdict::Wrong(_)) {
        return first;
    }
    let raced =
        expectation.others.iter().any(|other| !matches!(one(other.as_ref(), glance), Verdict::Wrong(_)));
    if raced { Verdict::Raced } else { first }
}

fn one(expected: Option<&Expected>, glance: &Glance) -> Verdict {
    match (expected, &glance.seen) {
        // A key of another type has no such member, which is as it must be.
        (None, None | Some(Seen { held: Held::NoSet(_), .. })) => Verdict::Right,
        (None, Some(_)) => Verdict::Wrong(Difference::Extra),
        (Some(expected), None) => {
            let (earliest, _) = window(expected, glance.server_ms);
            match earliest {
                Some(earliest) if earliest <= glance.server_ms => Verdict::Expired,
                _ => Verdict::Wrong(Difference::Missing),
            }
        }
        (Some(expected), Some(seen)) => value(expected, seen, glance.server_ms),
    }
}

fn value(expected: &Expected, seen: &Seen, now_ms: i64) -> Verdict {
    match expected.value.matches(&seen.held) {
        None => Verdict::Wrong(Difference::WrongType),
        Some(false) => Verdict::Wrong(Difference::Stale),
        Some(true) => {
            let right = match (window(expected, now_ms), seen.expires_at_ms) {
                ((None, None), None) => true,
                ((Some(earliest), Some(latest)), Some(at_ms)) => (earliest..=latest).contains(&at_ms),
                _ => false,
            };
            if right { Verdict::Right } else { Verdict::Wrong(Difference::WrongTtl) }
        }
    }
}

/// The earliest and the latest moment at which the value may expire; `None` where it never does.
pub(super) fn window(expected: &Expected, now_ms: i64) -> (Option<i64>, Option<i64>) {
    let from = expected.origin.timestamp_ms.map(|at_ms| at_ms.min(now_ms));
    let latest = expected.expiry.at(now_ms);
    let earliest = match (from, expected.expiry) {
        // The expiry is a moment of its own.
        (_, Expiry::At(_) | Expiry::Never) => latest,
        (Some(from), Expiry::In(_) | Expiry::AtWithin { .. }) => expected.expiry.at(from),
        // Nothing tells when it was applied.
        (None, Expiry::In(_) | Expiry::AtWithin { .. }) => Some(i64::MIN),
    };
    (earliest.map(|at_ms| at_ms.saturating_sub(SLACK_MS)), latest.map(|at_ms| at_ms.saturating_add(SLACK_MS)))
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::super::fingerprint::Fingerprint;
    use super::super::fold::Origin;
    use super::*;
    use crate::mutation::Value;

    const NOW: i64 = 1_000_000_000;
    const HOUR: i64 = 3_600_000;

    fn expected(text: &str, expiry: Expiry, age_ms: i64) -> Expected {
        let origin = Origin { partition: 0, offset: 7, timestamp_ms: Some(NOW - age_ms) };
        Expected { value: Fingerprint::of(&Value::text(text)).unwrap(), expiry, origin }
    }

    fn seen(text: &str, left_ms: Option<i64>) -> Glance {
        let held = Held::String(text.into());
        let expires_at_ms = left_ms.map(|left| NOW + left);
        Glance { seen: Some(Seen { held, expires_at_ms }), server_ms: NOW }
    }

    const GONE: Glance = Glance { seen: None, server_ms: NOW };

    fn of(expected: Option<Expected>) -> Expectation {
        Expectation { expected, ..Expectation::nothing() }
    }

    #[test]
    fn a_value_is_right_missing_stale_extra_or_of_another_type() {
        let hour = Expiry::In(HOUR as u64);
        let value = of(Some(expected("a", hour, 1_000)));
        assert_eq!(judge(&value, &seen("a", Some(HOUR - 500))), Verdict::Right);
        assert_eq!(judge(&value, &seen("b", Some(HOUR))), Verdict::Wrong(Difference::Stale));
        assert_eq!(judge(&value, &GONE), Verdict::Wrong(Difference::Missing));
        let other = Seen { held: Held::Other("set".into()), expires_at_ms: None };
        let other = Glance { seen: Some(other), server_ms: NOW };
        assert_eq!(judge(&value, &other), Verdict::Wrong(Difference::WrongType));
        assert_eq!(judge(&of(None), &seen("a", None)), Verdict::Wrong(Difference::Extra));
        assert_eq!(judge(&of(None), &GONE), Verdict::Right);
    }

    #[test]
    fn a_member_is_missing_of_another_score_extra_or_its_key_is_no_set() {
        let score = |text: &str| Value::Member { score: Some(text.into()) };
        let mut must = expected("", Expiry::Never, 0);
        must.value = Fingerprint::of(&score("7.5")).unwrap();
        let (must, nothing) = (of(Some(must)), of(None));
        let held = |held| Glance { seen: Some(Seen { held, expires_at_ms: None }), server_ms: NOW };
        let scored = |text: &str| held(Held::Member(Some(text.into())));
        assert_eq!(judge(&must, &scored("7.50")), Verdict::Right);
        assert_eq!(judge(&must, &scored("8")), Verdict::Wrong(Difference::Stale));
        assert_eq!(judge(&must, &GONE), Verdict::Wrong(Difference::Missing));
        assert_eq!(judge(&must, &held(Held::NoSet("set".into()))), Verdict::Wrong(Difference::WrongType));
        assert_eq!(judge(&nothing, &scored("7.5")), Verdict::Wrong(Difference::Extra));
        assert_eq!(judge(&nothing, &held(Held::NoSet("set".into()))), Verdict::Right);
        let expires = Seen { held: Held::Member(Some("7.5".into())), expires_at_ms: Some(NOW + HOUR) };
        let expires = Glance { seen: Some(expires), server_ms: NOW };
        assert_eq!(judge(&must, &expires), Verdict::Wrong(Difference::WrongTtl), "somebody's EXPIRE");
    }

    #[test]
    fn an_expiry_lies_between_what_the_record_and_what_now_give() {
        let hour = Expiry::In(HOUR as u64);
        let at = Expiry::At(NOW + HOUR);
        let within = Expiry::AtWithin { at_ms: NOW + 2 * HOUR, within_ms: HOUR as u64 };
        for (expiry, age_ms, left_ms, right) in [
            (hour, HOUR / 2, Some(HOUR), true),
            (hour, HOUR / 2, Some(HOUR / 2), true),
            (hour, HOUR / 2, Some(HOUR + SLACK_MS + 1), false),
            (hour, HOUR / 2, Some(HOUR / 2 - SLACK_MS - 1), false),
            (hour, HOUR / 2, None, false),
            (Expiry::Never, HOUR, None, true),
            (Expiry::Never, HOUR, Some(HOUR), false),
            (at, HOUR, Some(HOUR), true),
            (at, HOUR, Some(HOUR - SLACK_MS - 1), false),
            (at, HOUR, None, false),
            (within, HOUR / 2, Some(HOUR / 2), true),
            (within, HOUR / 2, Some(HOUR), true),
            (within, HOUR / 2, Some(2 * HOUR), false),
        ] {
            let verdict = judge(&of(Some(expected("a", expiry, age_ms))), &seen("a", left_ms));
            let wanted = if right { Verdict::Right } else { Verdict::Wrong(Difference::WrongTtl) };
            assert_eq!(verdict, wanted, "{expiry:?} {age_ms} {left_ms:?}");
        }
    }

    #[test]
    fn a_value_whose_time_may_have_passed_may_be_gone() {
        let hour = Expiry::In(HOUR as u64);
        let missing = Verdict::Wrong(Difference::Missing);
        for (expiry, age_ms, verdict) in [
            (hour, HOUR, Verdict::Expired),
            (hour, HOUR - SLACK_MS - 1, missing),
            (Expiry::At(NOW), 0, Verdict::Expired),
            (Expiry::At(NOW + SLACK_MS + 1), 0, missing),
            (Expiry::Never, 100 * HOUR, missing),
        ] {
            assert_eq!(judge(&of(Some(expected("a", expiry, age_ms))), &GONE), verdict, "{expiry:?}");
        }
        let mut undated = expected("a", hour, 0);
        undated.origin.timestamp_ms = None;
        assert_eq!(judge(&of(Some(undated)), &GONE), Verdict::Expired);
        assert_eq!(judge(&of(Some(undated)), &seen("a", Some(1))), Verdict::Right);
    }

    #[test]
    fn what_the_order_of_lanes_can_leave_is_counted_apart() {
        let hour = Expiry::In(HOUR as u64);
        let mut expectation = of(None);
        expectation.others = smallvec![Some(expected("a", hour, 0))];
        assert_eq!(judge(&expectation, &seen("a", Some(HOUR))), Verdict::Raced);
        assert_eq!(judge(&expectation, &seen("b", Some(HOUR))), Verdict::Wrong(Difference::Extra));
        assert_eq!(judge(&expectation, &GONE), Verdict::Right);
    }
}
