//! The model's sets and sorted sets.

use std::collections::{BTreeMap, BTreeSet};

use super::server::{MemoryRedis, MemoryValue};
use crate::batch::Refusal;
use crate::mutation::{Member, MemberKind, Value};

/// A score as Redis keeps it: a double, told apart by its bits.
#[derive(Debug, Clone, Copy)]
pub struct MemoryScore(pub f64);

impl PartialEq for MemoryScore {
    fn eq(&self, other: &MemoryScore) -> bool {
        self.0.total_cmp(&other.0).is_eq()
    }
}

impl Eq for MemoryScore {}

impl MemoryRedis {
    /// `SADD`, `ZADD`.
    pub(super) fn add_member(&self, key: &[u8], member: &Member, value: &Value) -> Result<(), Refusal> {
        let held = self.get(key);
        let expires_at = held.as_ref().and_then(|(_, expires_at)| *expires_at);
        let bytes = member.bytes.to_vec();
        let grown = match (member.kind, held.map(|(value, _)| value)) {
            (MemberKind::Set, None) => MemoryValue::Set(BTreeSet::from([bytes])),
            (MemberKind::Set, Some(MemoryValue::Set(mut members))) => {
                members.insert(bytes);
                MemoryValue::Set(members)
            }
            (MemberKind::SortedSet, None) => {
                MemoryValue::SortedSet(BTreeMap::from([(bytes, score_of(value)?)]))
            }
            (MemberKind::SortedSet, Some(MemoryValue::SortedSet(mut members))) => {
                members.insert(bytes, score_of(value)?);
                MemoryValue::SortedSet(members)
            }
            (MemberKind::Set | MemberKind::SortedSet, Some(_)) => return Err(Refusal::WrongType),
        };
        self.put(key, grown, expires_at);
        Ok(())
    }

    /// `SREM`, `ZREM`; of a key of another type nothing is removed. A set without members is none.
    pub(super) fn remove_member(&self, key: &[u8], member: &Member) {
        let Some((held, expires_at)) = self.get(key) else { return };
        let (left, is_empty) = match (member.kind, held) {
            (MemberKind::Set, MemoryValue::Set(mut members)) => {
                members.remove(&*member.bytes);
                let is_empty = members.is_empty();
                (MemoryValue::Set(members), is_empty)
            }
            (MemberKind::SortedSet, MemoryValue::SortedSet(mut members)) => {
                members.remove(&*member.bytes);
                let is_empty = members.is_empty();
                (MemoryValue::SortedSet(members), is_empty)
            }
            (MemberKind::Set | MemberKind::SortedSet, _) => return,
        };
        if is_empty { self.remove(key) } else { self.put(key, left, expires_at) }
    }
}

fn score_of(value: &Value) -> Result<MemoryScore, Refusal> {
    let score = match value {
        Value::Member { score: Some(text) } => {
            std::str::from_utf8(text).ok().and_then(|text| text.parse().ok())
        }
        Value::Member { score: None } | Value::String { .. } | Value::Hash(_) => None,
    };
    score.filter(|score: &f64| !score.is_nan()).map(MemoryScore).ok_or(Refusal::Command)
}
