//! Members of sets and sorted sets: one row's part of a key that many rows share.
//!
//! A member is its own slot: two members of one key are two units of a batch, and each is written and deleted by
//! a command of its own. A member never expires; Redis knows no expiry but a key's.

use std::fmt;

use super::{CacheKey, Value};
use crate::error::HandleError;

/// A member of the set or sorted set at a key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member {
    /// Of which kind of set.
    pub kind: MemberKind,
    /// Its bytes; at least one.
    pub bytes: Box<[u8]>,
}

/// Which kind of set a member is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MemberKind {
    /// A set: a member is there or not.
    Set,
    /// A sorted set: a member has a score.
    SortedSet,
}

impl fmt::Debug for Member {
    /// Members hold personal parts, as keys do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({:?}, {} bytes)", self.kind, self.bytes.len())
    }
}

impl CacheKey {
    /// One member of the set or sorted set at the key of these bytes.
    pub fn of_member(bytes: &[u8], member: Member) -> CacheKey {
        CacheKey { member: Some(Box::new(member)), ..CacheKey::new(bytes) }
    }

    /// The member that it is about; `None` where it is about the whole key.
    pub fn member(&self) -> Option<&Member> {
        self.member.as_deref()
    }

    /// Bytes of key and member.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.member().map_or(0, |member| member.bytes.len())
    }
}

impl Value {
    /// What a row is in a set: a member, and nothing more.
    pub fn member() -> Value {
        Value::Member { score: None }
    }

    /// What a row is in a sorted set: a member of that score. Infinities are scores; NaN is refused.
    pub fn score(score: f64) -> Result<Value, HandleError> {
        if score.is_nan() {
            return Err(HandleError::Handler("NaN is no score".into()));
        }
        let text = match score {
            f64::INFINITY => "+inf".to_owned(),
            f64::NEG_INFINITY => "-inf".to_owned(),
            // The shortest text that reads back.
            finite => format!("{finite:?}"),
        };
        Ok(Value::Member { score: Some(text.into_bytes()) })
    }

    /// True where this can be written to a member of that kind, or to a whole key.
    pub fn fits(&self, member: Option<MemberKind>) -> bool {
        match (self, member) {
            (Value::Member { score }, Some(kind)) => score.is_some() == (kind == MemberKind::SortedSet),
            (Value::Member { .. }, None) | (_, Some(_)) => false,
            (_, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(key: &str, kind: MemberKind, bytes: &str) -> CacheKey {
        CacheKey::of_member(key.as_bytes(), Member { kind, bytes: bytes.as_bytes().into() })
    }

    #[test]
    fn a_member_is_a_slot_of_its_own_and_neither_shows_in_a_log() {
        let (set, sorted) = (MemberKind::Set, MemberKind::SortedSet);
        let seven = member("board", set, "7");
        assert_eq!(seven, member("board", set, "7"));
        for other in [
            member("board", set, "8"),
            member("board", sorted, "7"),
            member("boar", set, "d7"),
            CacheKey::new(b"board"),
        ] {
            assert_ne!(seven, other);
        }
        assert_eq!(seven.size_bytes(), 6);
        assert!(!format!("{:?}", member("board", set, "secret")).contains("secret"));
    }

    #[test]
    fn scores_read_back_and_nan_is_none() {
        for (score, text) in
            [(12.5, "12.5"), (-7.0, "-7.0"), (1e300, "1e300"), (f64::INFINITY, "+inf"), (-1.0 / 0.0, "-inf")]
        {
            assert_eq!(Value::score(score), Ok(Value::Member { score: Some(text.into()) }));
        }
        assert_eq!(Value::score(f64::NAN).unwrap_err().kind(), "handler");
    }

    #[test]
    fn a_value_fits_the_kind_of_its_place() {
        let (set, sorted) = (Some(MemberKind::Set), Some(MemberKind::SortedSet));
        let score = Value::score(1.0).unwrap();
        assert!(Value::text("x").fits(None) && !Value::text("x").fits(set));
        assert!(Value::member().fits(set) && !Value::member().fits(sorted) && !Value::member().fits(None));
        assert!(score.fits(sorted) && !score.fits(set) && !score.fits(None));
    }
}
