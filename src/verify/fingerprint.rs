//! What a value means in 64 bits, so that millions of them can be compared without being kept.
//!
//! JSON counts by meaning: order of members, escapes in text and the spelling of numbers do not matter, digits beyond
//! a double's do. Hashes count by their fields, everything else byte for byte. Fingerprints hold within one process:
//! two values that differ meet in one of 2^64 cases.

use std::fmt;

use ahash::RandomState;
use serde::Deserializer as _;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::mutation::{CacheKey, StringKind, Value};
use crate::patch::PatchShape;
use crate::sink::redis::Held;

/// JSON that is nested deeper is compared byte for byte. serde_json itself reads no deeper.
const DEPTH_MAX: usize = 128;
/// Up to so many significant digits every decimal is told apart by the double that is nearest to it.
const DIGITS_OF_DOUBLE: usize = 15;
/// Digits that the shortest spelling of a double has at most.
const DIGITS_OF_SHORTEST: usize = 17;

/// What a key holds, as far as it matters for a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    kind: Kind,
    digest: u64,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A string that holds JSON.
    Json,
    /// Any other string.
    Bytes,
    /// A hash.
    Hash,
    /// A member of a set.
    Member,
    /// A member of a sorted set, by its score.
    Score,
    /// Some string: a record told only a part of it.
    SomeString,
    /// Some hash: a record told only a part of it.
    SomeHash,
}

impl Fingerprint {
    /// Of a value that is to be written; `None` for a hash without fields, which is no key at all.
    pub(super) fn of(value: &Value) -> Option<Fingerprint> {
        let (kind, digest) = match value {
            Value::String { kind: StringKind::Json, bytes } => (Kind::Json, of_json(bytes)),
            Value::String { kind: StringKind::Text | StringKind::Bytes | StringKind::Packed(_), bytes } => {
                (Kind::Bytes, of_bytes(bytes))
            }
            Value::Hash(fields) if fields.is_empty() => return None,
            Value::Hash(fields) => (
                Kind::Hash,
                of_fields(fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))),
            ),
            Value::Member { score: None } => (Kind::Member, 0),
            Value::Member { score: Some(score) } => (Kind::Score, of_score(score)),
        };
        Some(Fingerprint { kind, digest })
    }

    /// Of a value that was laid over what the key held: the rest of it is not known.
    pub(super) fn of_part(shape: PatchShape) -> Fingerprint {
        let kind = match shape {
            PatchShape::Json => Kind::SomeString,
            PatchShape::Hash => Kind::SomeHash,
        };
        Fingerprint { kind, digest: 0 }
    }

    /// True where only a part of the value was told: a key that was not there stays so, too.
    pub(super) fn is_part(self) -> bool {
        matches!(self.kind, Kind::SomeString | Kind::SomeHash)
    }

    /// Whether a key holds this; `None` where it holds another type.
    pub(super) fn matches(self, held: &Held) -> Option<bool> {
        let digest = match (self.kind, held) {
            (Kind::Json, Held::String(bytes)) => of_json(bytes),
            (Kind::Bytes, Held::String(bytes)) => of_bytes(bytes),
            (Kind::Hash, Held::Hash(fields)) => {
                of_fields(fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())))
            }
            (Kind::SomeString, Held::String(_)) | (Kind::SomeHash, Held::Hash(_)) => 0,
            (Kind::Member, Held::Member(None)) => 0,
            (Kind::Score, Held::Member(Some(score))) => of_score(score),
            (
                Kind::Json
                | Kind::Bytes
                | Kind::Hash
                | Kind::Member
                | Kind::Score
                | Kind::SomeString
                | Kind::SomeHash,
                _,
            ) => return None,
        };
        Some(digest == self.digest)
    }

    /// The type that Redis calls it.
    pub(super) fn redis_type(self) -> &'static str {
        match self.kind {
            Kind::Json | Kind::Bytes | Kind::SomeString => "string",
            Kind::Hash | Kind::SomeHash => "hash",
            Kind::Member => "set",
            Kind::Score => "zset",
        }
    }
}

/// The same within a process, on every machine.
fn hasher() -> RandomState {
    RandomState::with_seeds(0x5374_6f6b, 0x6572_2076, 0x6572_6966, 0x7921)
}

/// 64 bits of a key, or of a member, for slices and samples: the members of one large set are not all in one slice.
pub(super) fn of_key(key: &CacheKey) -> u64 {
    match key.member() {
        None => hasher().hash_one(("key", key.as_bytes())),
        Some(member) => hasher().hash_one(("member", key.as_bytes(), member)),
    }
}

/// 64 bits of which row a guarded effect speaks for.
pub(super) fn of_row(row: &[u8]) -> u64 {
    hasher().hash_one(("row", row))
}

fn of_bytes(bytes: &[u8]) -> u64 {
    hasher().hash_one(("bytes", bytes))
}

fn of_fields<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> u64 {
    fields.fold(0, |sum: u64, field| sum.wrapping_add(hasher().hash_one(field)))
}

/// Scores are doubles, as Redis keeps them; how they are written does not matter.
fn of_score(text: &[u8]) -> u64 {
    match std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()) {
        // Both zeros are one score.
        Some(score) => hasher().hash_one(("score", (score + 0.0).to_bits())),
        None => of_bytes(text),
    }
}

fn of_json(bytes: &[u8]) -> u64 {
    serde_json::from_slice::<&RawValue>(bytes)
        .ok()
        .and_then(|raw| of_token(raw, DEPTH_MAX))
        .unwrap_or_else(|| of_bytes(bytes))
}

fn of_token(raw: &RawValue, depth: usize) -> Option<u64> {
    let text = raw.get();
    let deeper = depth.checked_sub(1)?;
    let mut json = serde_json::Deserializer::from_str(text);
    match text.bytes().next()? {
        b'{' => json.deserialize_map(Members(deeper)).ok(),
        b'[' => json.deserialize_seq(Items(deeper)).ok(),
        b'"' => serde_json::from_str::<String>(text).ok().map(|text| hasher().hash_one(("text", text))),
        b'-' | b'0'..=b'9' => Some(of_number(text)),
        _ => Some(hasher().hash_one(("word", text))),
    }
}

struct Members(usize);

impl<'de> Visitor<'de> for Members {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut sum = hasher().hash_one("object");
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            let value = of_token(value, self.0).ok_or_else(too_deep)?;
            sum = sum.wrapping_add(hasher().hash_one((name, value)));
        }
        Ok(sum)
    }
}

struct Items(usize);

impl<'de> Visitor<'de> for Items {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<u64, A::Error> {
        let mut all = hasher().hash_one("array");
        while let Some(item) = items.next_element::<&RawValue>()? {
            let item = of_token(item, self.0).ok_or_else(too_deep)?;
            all = hasher().hash_one((all, item));
        }
        Ok(all)
    }
}

fn too_deep<E: serde::de::Error>() -> E {
    E::custom("nested too deep")
}

/// Equal numbers are equal however they are written: `1`, `1.0`, `10e-1`; `0.1` and `0.10000000000000001`, which are
/// one double. Whole numbers, and numbers with more digits than a double's shortest spelling, count digit by digit.
fn of_number(token: &str) -> u64 {
    let plain = Decimal::parse(token);
    let is_whole = !token.contains(['.', 'e', 'E']);
    let of_double = !is_whole && (DIGITS_OF_DOUBLE + 1..=DIGITS_OF_SHORTEST).contains(&plain.digits.len());
    let number = match token.parse::<f64>() {
        Ok(double) if of_double => Decimal::parse(&format!("{double:e}")),
        _ => plain,
    };
    hasher().hash_one(("number", number.negative, number.digits, number.exponent))
}

/// A decimal number as digits without zeros around them, and the power of ten of the last one.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Reads a number as JSON has it.
    fn parse(token: &str) -> Decimal {
        let (negative, rest) = match token.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, token),
        };
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let exponent: i64 = exponent.trim_start_matches('+').parse().unwrap_or(i64::MAX);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> =
            whole.bytes().chain(fraction.bytes()).skip_while(|digit| *digit == b'0').collect();
        let mut exponent = exponent.saturating_sub(i64::try_from(fraction.len()).unwrap_or(i64::MAX));
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent = exponent.saturating_add(1);
        }
        if digits.is_empty() {
            return Decimal { negative: false, digits, exponent: 0 };
        }
        Decimal { negative, digits, exponent }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn json(text: &str) -> Fingerprint {
        Fingerprint::of(&Value::String { kind: StringKind::Json, bytes: text.into() }).unwrap()
    }

    fn string(text: &str) -> Held {
        Held::String(text.into())
    }

    #[test]
    fn json_is_compared_by_meaning() {
        let value = json(r#"{"id":7,"name":"ß \"x\"","rate":0.1,"tags":[1,2],"none":null}"#);
        for same in [
            r#"{"id":7,"name":"ß \"x\"","rate":0.1,"tags":[1,2],"none":null}"#,
            r#"{ "tags": [1, 2.0], "none": null, "name": "\u00df \u0022x\"", "rate": 1e-1, "id": 7 }"#,
            r#"{"id":7.0,"name":"ß \"x\"","rate":0.10000000000000001,"tags":[1,2],"none":null}"#,
        ] {
            assert_eq!(value.matches(&string(same)), Some(true), "{same}");
        }
        for other in [
            r#"{"id":8,"name":"ß \"x\"","rate":0.1,"tags":[1,2],"none":null}"#,
            r#"{"id":"7","name":"ß \"x\"","rate":0.1,"tags":[1,2],"none":null}"#,
            r#"{"id":7,"name":"ß \"x\"","rate":0.1,"tags":[2,1],"none":null}"#,
            r#"{"id":7,"name":"ß \"x\"","rate":0.1,"tags":[1,2]}"#,
            r#"{"name":7,"id":"ß \"x\"","rate":0.1,"tags":[1,2],"none":null}"#,
            "no json",
            "",
        ] {
            assert_eq!(value.matches(&string(other)), Some(false), "{other}");
        }
    }

    #[test]
    fn numbers_are_equal_by_value_and_no_digit_is_lost() {
        for (a, b, equal) in [
            ("1", "1.0", true),
            ("100", "1e2", true),
            ("-0", "0.0", true),
            ("0.30000000000000004", "3.0000000000000004e-1", true),
            ("0.3", "0.30000000000000004", false),
            ("9007199254740993", "9007199254740992", false),
            ("12345678901234567890.12", "12345678901234567890.13", false),
            ("18446744073709551616", "18446744073709551616.0", true),
            ("1", "-1", false),
            ("1e400", "1e401", false),
        ] {
            assert_eq!(of_number(a) == of_number(b), equal, "{a} {b}");
        }
    }

    #[test]
    fn a_member_is_its_score_however_that_is_written() {
        let score = |text: &str| Fingerprint::of(&Value::Member { score: Some(text.into()) }).unwrap();
        let held = |text: &str| Held::Member(Some(text.into()));
        for (written, read, equal) in [
            ("12.50", "12.5", true),
            ("+inf", "inf", true),
            ("-0", "0", true),
            ("1e17", "1e+17", true),
            ("9007199254740993", "9007199254740992", true),
            ("1", "2", false),
            ("+inf", "-inf", false),
        ] {
            assert_eq!(score(written).matches(&held(read)), Some(equal), "{written} {read}");
        }
        let member = Fingerprint::of(&Value::member()).unwrap();
        assert_eq!(member.matches(&Held::Member(None)), Some(true));
        assert_eq!(member.matches(&held("0")), None);
        assert_eq!(score("0").matches(&Held::Member(None)), None);
        assert_eq!(score("0").matches(&Held::NoSet("set".into())), None);
    }

    #[test]
    fn nesting_has_no_end_and_the_stack_does() {
        let deep = format!("{}1{}", "[".repeat(4_000), "]".repeat(4_000));
        assert_eq!(json(&deep).matches(&string(&deep)), Some(true), "byte for byte");
    }

    #[test]
    fn a_hash_is_its_fields_and_types_are_told_apart() {
        let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let hash = Fingerprint::of(&Value::Hash(vec![field("a", "1"), field("b", "2")])).unwrap();
        let held = |fields: &[(&str, &str)]| {
            Held::Hash(fields.iter().map(|(name, value)| field(name, value)).collect::<BTreeMap<_, _>>())
        };
        assert_eq!(hash.matches(&held(&[("b", "2"), ("a", "1")])), Some(true));
        assert_eq!(hash.matches(&held(&[("a", "2"), ("b", "1")])), Some(false));
        assert_eq!(hash.matches(&held(&[("a", "1"), ("b", "2"), ("c", "")])), Some(false));
        assert_eq!(hash.matches(&string("1")), None);
        assert_eq!(json("1").matches(&Held::Other("set".into())), None);
        assert_eq!(Fingerprint::of(&Value::Hash(Vec::new())), None);
        assert_eq!(hash.matches(&Held::NoSet("hash".into())), None);
        let text = Fingerprint::of(&Value::text("1.0")).unwrap();
        assert_eq!(text.matches(&string("1")), Some(false), "text is its bytes");
    }
}
