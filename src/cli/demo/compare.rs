//! The self-check: what Redis holds, against what SQL says that it must hold. Pure; apart from Stoker's mapping.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::shop::{Expected, ExpectedValue};
use crate::sink::redis::{Entry, Held};

/// Two clocks and their rounding.
const SLACK: Duration = Duration::from_secs(1);

/// A key that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub(super) key: String,
    #[serde(flatten)]
    pub(super) what: What,
}

/// In which way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "difference", rename_all = "snake_case")]
pub(super) enum What {
    /// It is not there.
    Missing,
    /// It should not be there.
    Extra,
    /// It holds something else.
    Value {
        /// What Redis holds.
        held: String,
        /// What it must hold.
        expected: String,
    },
    /// It expires too early, too late, or never.
    Ttl {
        /// What is left, milliseconds.
        left_ms: Option<u64>,
        /// Least and most that may be left.
        bounds_ms: [u64; 2],
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = &self.key;
        match &self.what {
            What::Missing => write!(f, "{key} is missing"),
            What::Extra => write!(f, "{key} should not be there"),
            What::Value { held, expected } => write!(f, "{key} holds {held}, not {expected}"),
            What::Ttl { left_ms, bounds_ms: [least, most] } => match left_ms {
                Some(left) => write!(f, "{key} expires in {left} ms, not in {least} to {most} ms"),
                None => write!(f, "{key} never expires"),
            },
        }
    }
}

/// Every difference. `held` are the keys of the cache, without Stoker's own; the oldest of them was written at
/// most `age` ago.
pub(super) fn differences(
    expected: &[Expected],
    held: &BTreeMap<String, Entry>,
    age: Duration,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut seen = 0;
    for one in expected {
        let what = match held.get(&one.key) {
            None => Some(What::Missing),
            Some(entry) => {
                seen += 1;
                value(&one.value, &entry.held).or_else(|| ttl(one.ttl_ms, entry.ttl, age))
            }
        };
        differences.extend(what.map(|what| Difference { key: one.key.clone(), what }));
    }
    if seen < held.len() {
        let known: std::collections::HashSet<&str> = expected.iter().map(|one| one.key.as_str()).collect();
        let extra = held.keys().filter(|key| !known.contains(key.as_str()));
        differences.extend(extra.map(|key| Difference { key: key.clone(), what: What::Extra }));
    }
    differences
}

fn value(expected: &ExpectedValue, held: &Held) -> Option<What> {
    let same = match (expected, held) {
        (ExpectedValue::Json(json), Held::String(bytes)) => {
            serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|held| held == *json)
        }
        (ExpectedValue::Text(text), Held::String(bytes)) => text.as_bytes() == bytes.as_slice(),
        (ExpectedValue::Hash(fields), Held::Hash(held)) => {
            let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            fields.eq(held.iter().map(|(name, value)| (name.as_slice(), value.as_slice())))
        }
        (ExpectedValue::Json(_) | ExpectedValue::Text(_) | ExpectedValue::Hash(_), _) => false,
    };
    (!same).then(|| {
        let expected = match expected {
            ExpectedValue::Json(json) => json.to_string(),
            ExpectedValue::Text(text) => text.clone(),
            ExpectedValue::Hash(fields) => {
                text_of_fields(fields.iter().map(|(n, v)| (n.as_str(), v.as_str())))
            }
        };
        What::Value { held: shown(held), expected }
    })
}

fn ttl([least, most]: [u64; 2], left: Option<Duration>, age: Duration) -> Option<What> {
    let least = Duration::from_millis(least).saturating_sub(age).saturating_sub(SLACK);
    let most = Duration::from_millis(most).saturating_add(SLACK);
    if left.is_some_and(|left| (least..=most).contains(&left)) {
        return None;
    }
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Some(What::Ttl { left_ms: left.map(millis), bounds_ms: [millis(least), millis(most)] })
}

/// A value as a person reads it.
pub(super) fn shown(held: &Held) -> String {
    match held {
        Held::String(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Held::Hash(fields) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let fields: Vec<(String, String)> = fields.iter().map(|(n, v)| (text(n), text(v))).collect();
            text_of_fields(fields.iter().map(|(n, v)| (n.as_str(), v.as_str())))
        }
        Held::Other(kind) | Held::NoSet(kind) => format!("a {kind}"),
        Held::Member(_) => "a member".to_owned(),
    }
}

fn text_of_fields<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    fields.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const AGE: Duration = Duration::from_secs(20);

    fn expected(line: &str) -> Expected {
        serde_json::from_str(line).expect("valid")
    }

    fn string(text: &str, ttl_ms: Option<u64>) -> Entry {
        Entry { held: Held::String(text.into()), ttl: ttl_ms.map(Duration::from_millis) }
    }

    fn found(line: &str, entry: Option<Entry>) -> Option<What> {
        let expected = expected(line);
        let held = entry.map(|entry| (expected.key.clone(), entry)).into_iter().collect();
        let found = differences(&[expected], &held, AGE);
        found.into_iter().next().map(|difference| difference.what)
    }

    #[test]
    fn equal_is_by_meaning_for_json_and_to_the_byte_for_text() {
        let json = r#"{"key":"a","json":{"id":1,"big":18446744073709551615},"ttl_ms":[3600000,3600000]}"#;
        let held = |text| Some(string(text, Some(HOUR_MS)));
        assert_eq!(found(json, held(r#"{"big": 18446744073709551615, "id": 1}"#)), None);
        for other in [r#"{"id":1}"#, r#"{"id":"1","big":18446744073709551615}"#, "no json"] {
            assert!(matches!(found(json, held(other)), Some(What::Value { .. })), "{other}");
        }
        let text = r#"{"key":"a","text":"12.50","ttl_ms":[3600000,3600000]}"#;
        assert_eq!(found(text, held("12.50")), None);
        assert!(matches!(found(text, held("12.5")), Some(What::Value { .. })));
    }

    #[test]
    fn a_hash_has_just_its_fields() {
        let line = r#"{"key":"a","hash":{"id":"1","total":"2.00"},"ttl_ms":[3600000,3600000]}"#;
        let hash = |fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            Some(Entry { held: Held::Hash(fields.collect()), ttl: Some(Duration::from_millis(HOUR_MS)) })
        };
        assert_eq!(found(line, hash(&[("total", "2.00"), ("id", "1")])), None);
        let left_over = hash(&[("total", "2.00"), ("id", "1"), ("old", "x")]);
        for wrong in [hash(&[("id", "1")]), left_over, Some(string("1", Some(HOUR_MS)))] {
            assert!(matches!(found(line, wrong), Some(What::Value { .. })));
        }
    }

    #[test]
    fn a_ttl_lies_within_its_bounds_less_what_has_passed() {
        let line = r#"{"key":"a","text":"1","ttl_ms":[3240000,3960000]}"#;
        for good in [3_960_000, 3_600_000, 3_240_000, 3_220_000] {
            assert_eq!(found(line, Some(string("1", Some(good)))), None, "{good}");
        }
        for bad in [Some(3_962_000), Some(3_218_000), None] {
            assert!(matches!(found(line, Some(string("1", bad))), Some(What::Ttl { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_missing_or_too_much() {
        let line = r#"{"key":"a","text":"1","ttl_ms":[3600000,3600000]}"#;
        assert_eq!(found(line, None), Some(What::Missing));
        let held = BTreeMap::from([("b".to_owned(), string("1", None))]);
        let difference = Difference { key: "b".to_owned(), what: What::Extra };
        assert_eq!(differences(&[], &held, AGE), [difference]);
    }
}
