//! What the cache must hold, from what the log means: the model that the oracle compares with.
//!
//! Written from the settings below and DESIGN's words, not from Stoker's code: keys that a partition orders
//! follow its order; a secondary key follows the source's positions, and is deleted only for the row that
//! has it. A member of a key is as a key of its own.

use std::collections::{BTreeMap, BTreeSet};

use stoker::mutation::{CacheKey, Member, MemberKind};
use stoker::sink::memory::{MemoryScore, MemoryValue};

use super::shop::{Does, Entry, Row, Version};

/// The entities that every run follows: one as it comes, and two of which primary keys are guarded too. `{POLICY}` is
/// the run's `[errors]`.
pub(super) const SETTINGS: &str = r#"
kafka = { brokers = "localhost:9092", group = "simulation" }
redis = { url = "redis://localhost" }
{POLICY}
[[entity]]
name = "customer"
topics = ["shop.public.customers"]
replica_identity = "full"

[[entity.write]]
key = "customer:{id}"
value = "json"
ttl = "1h"
jitter = "10%"

[[entity.write]]
key = "customer:{id}:h"
value = { hash = ["id", "email", "v"] }
ttl = "2h"

[[entity.write]]
key = "active:{id}"
value = { text = "{v}" }
when = "after.status == 'active'"
ttl = "none"

[[entity.write]]
key = "email:{email}"
value = { text = "{id}/{v}" }
when = "after.email != null"
ttl = "3h"

[[entity.write]]
key = "newest:{status}"
value = { sorted_set = { member = "{id}", score = "v" } }
ttl = "none"

[[entity.write]]
key = "active"
value = { set = { member = "{id}" } }
when = "after.status == 'active'"
ttl = "none"

[[entity.write]]
key = "addresses"
value = { set = { member = "{email}" } }
when = "after.email != null"
ttl = "none"

[[entity]]
name = "by-position"
topics = ["shop.public.customers"]
replica_identity = "full"
guard = { by = "source" }

[[entity.write]]
key = "position:{id}"
value = { text = "{v}" }
when = "after.status == 'active'"
ttl = "4h"

[[entity]]
name = "by-offset"
topics = ["shop.public.customers"]
guard = { by = "offset", epoch = 2 }

[[entity.write]]
key = "offset:{id}"
value = { hash = ["v"] }
ttl = "4h"
"#;

/// Largest value that the sink takes: a row with a long note is refused.
pub(super) const VALUE_BYTES_MAX: usize = 300;

const HOUR_MS: i64 = 3_600_000;

/// A value that a key must hold, and how long it lives after it was written. Of a member, a set of it alone.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expected {
    pub(super) value: MemoryValue,
    pub(super) ttl_ms: Option<(i64, i64)>,
}

/// What one record does to one key.
#[derive(Debug)]
pub(super) struct Effect {
    pub(super) key: CacheKey,
    /// `None` deletes.
    pub(super) value: Option<Expected>,
    /// Where the key is secondary: position and row.
    pub(super) guard: Option<(Version, u64)>,
}

/// Keys and members that one record can touch: six of its own, two it has and two it left in a board and by address.
pub(super) const EFFECTS_MAX: usize = 12;

/// What a record does, key by key.
pub(super) fn effects(does: &Does) -> Vec<Effect> {
    let mut list = Vec::new();
    match does {
        Does::Upsert { before, after, version } => {
            let [json, hash, active, by_position, by_offset, member] = primary_keys(after.id);
            list.push(plain(json, json_value(after)));
            list.push(plain(hash, Some(hash_value(after))));
            list.push(plain(active, after.active.then(|| text(after.v.to_string(), None))));
            list.push(plain(member, after.active.then(|| in_set(after.id.to_string()))));
            if let Some(before) = before
                && before.active != after.active
            {
                list.push(plain(newest(before), None));
            }
            list.push(plain(newest(after), Some(newest_value(after))));
            let ttl = Some((4 * HOUR_MS, 4 * HOUR_MS));
            list.push(plain(by_position, after.active.then(|| text(after.v.to_string(), ttl))));
            list.push(plain(by_offset, Some(v_value(after))));
            let guard = Some((*version, after.id));
            if let Some(left) = before.as_ref().and_then(|row| row.email)
                && after.email != Some(left)
            {
                list.extend(email_keys(left).map(|key| Effect { key, value: None, guard }));
            }
            if let Some(email) = after.email {
                let ttl = Some((3 * HOUR_MS, 3 * HOUR_MS));
                let values = [text(format!("{}/{}", after.id, after.v), ttl), in_set(address(email))];
                let written = email_keys(email).into_iter().zip(values);
                list.extend(written.map(|(key, value)| Effect { key, value: Some(value), guard }));
            }
        }
        Does::Delete { before, version } | Does::Unhandled { before, version } => {
            list.extend(primary_keys(before.id).map(|key| plain(key, None)));
            list.push(plain(newest(before), None));
            if let Some(email) = before.email {
                let guard = Some((*version, before.id));
                list.extend(email_keys(email).map(|key| Effect { key, value: None, guard }));
            }
        }
        Does::Tombstone { id } | Does::Undecodable { id: Some(id) } => {
            list.extend(primary_keys(*id).map(|key| plain(key, None)));
        }
        Does::Undecodable { id: None } | Does::Nothing => {}
    }
    list
}

/// True where the record must be set aside.
pub(super) fn is_set_aside(does: &Does) -> bool {
    matches!(does, Does::Undecodable { .. } | Does::Unhandled { .. })
}

/// Everything that the cache must hold once these logs (each in order) are applied.
pub(super) fn fold<'e>(logs: impl Iterator<Item = &'e Entry>) -> BTreeMap<Vec<u8>, Expected> {
    let mut primary: BTreeMap<CacheKey, Option<Expected>> = BTreeMap::new();
    let mut secondary: BTreeMap<CacheKey, Vec<(Version, u64, Option<Expected>)>> = BTreeMap::new();
    for effect in logs.flat_map(|entry| effects(&entry.does)) {
        match effect.guard {
            None => {
                primary.insert(effect.key, effect.value);
            }
            Some((version, row)) => {
                secondary.entry(effect.key).or_default().push((version, row, effect.value));
            }
        }
    }
    for (key, mut history) in secondary {
        // Of one position a key change's delete comes before its create.
        history.sort_by_key(|(version, _, value)| (*version, value.is_some()));
        let mut held: Option<(u64, Expected)> = None;
        for (_, row, value) in history {
            match value {
                Some(value) => held = Some((row, value)),
                None => held = held.filter(|(owner, _)| *owner != row),
            }
        }
        primary.insert(key, held.map(|(_, value)| value));
    }
    let mut expected: BTreeMap<Vec<u8>, Expected> = BTreeMap::new();
    for (key, value) in primary {
        let (bytes, Some(value)) = (key.as_bytes().to_vec(), value) else { continue };
        match expected.get_mut(&bytes) {
            None => drop(expected.insert(bytes, value)),
            Some(members) => join(&mut members.value, value.value),
        }
    }
    expected
}

/// The secondary keys that each row's newest change gives, whoever had them last: what a refill, which reads no
/// more of a row than that, may leave where the fold holds nothing.
pub(super) fn given_by_newest<'e>(logs: impl Iterator<Item = &'e Entry>) -> BTreeMap<Vec<u8>, Vec<Expected>> {
    let mut newest: BTreeMap<u64, &Does> = BTreeMap::new();
    for entry in logs {
        let row = match &entry.does {
            Does::Upsert { after, .. } => after.id,
            Does::Delete { before, .. } | Does::Unhandled { before, .. } => before.id,
            Does::Tombstone { id } | Does::Undecodable { id: Some(id) } => *id,
            Does::Undecodable { id: None } | Does::Nothing => continue,
        };
        newest.insert(row, &entry.does);
    }
    let mut given: BTreeMap<Vec<u8>, Vec<Expected>> = BTreeMap::new();
    for effect in newest.into_values().flat_map(effects).filter(|effect| effect.guard.is_some()) {
        given.entry(effect.key.as_bytes().to_vec()).or_default().extend(effect.value);
    }
    given
}

/// One more member of a key.
fn join(members: &mut MemoryValue, one: MemoryValue) {
    match (members, one) {
        (MemoryValue::Set(members), MemoryValue::Set(one)) => members.extend(one),
        (MemoryValue::SortedSet(members), MemoryValue::SortedSet(one)) => members.extend(one),
        (members, one) => panic!("{members:?} and {one:?} of one key"),
    }
}

/// Keys that follow the order of their partition: under the guard as without it.
fn primary_keys(id: u64) -> [CacheKey; 6] {
    let name = |suffix: &str| format!("{suffix}:{id}");
    let [json, hash, active, by_position, by_offset] =
        [name("customer"), format!("customer:{id}:h"), name("active"), name("position"), name("offset")]
            .map(whole);
    [json, hash, active, by_position, by_offset, member("active", MemberKind::Set, &id.to_string())]
}

fn email_keys(email: u64) -> [CacheKey; 2] {
    let address = address(email);
    [whole(format!("email:{address}")), member("addresses", MemberKind::Set, &address)]
}

fn address(email: u64) -> String {
    format!("e{email}")
}

fn newest(row: &Row) -> CacheKey {
    let key = if row.active { "newest:active" } else { "newest:idle" };
    member(key, MemberKind::SortedSet, &row.id.to_string())
}

fn newest_value(row: &Row) -> Expected {
    let scored = BTreeMap::from([(row.id.to_string().into_bytes(), MemoryScore(row.v as f64))]);
    Expected { value: MemoryValue::SortedSet(scored), ttl_ms: None }
}

fn in_set(name: String) -> Expected {
    Expected { value: MemoryValue::Set(BTreeSet::from([name.into_bytes()])), ttl_ms: None }
}

fn whole(key: String) -> CacheKey {
    CacheKey::new(key.as_bytes())
}

fn member(key: &str, kind: MemberKind, name: &str) -> CacheKey {
    CacheKey::of_member(key.as_bytes(), Member { kind, bytes: name.as_bytes().into() })
}

fn plain(key: CacheKey, value: Option<Expected>) -> Effect {
    Effect { key, value, guard: None }
}

fn text(text: String, ttl_ms: Option<(i64, i64)>) -> Expected {
    Expected { value: MemoryValue::String(text.into_bytes()), ttl_ms }
}

/// `None` where it is too large: the key is deleted then.
fn json_value(row: &Row) -> Option<Expected> {
    let json = row.json();
    let ttl = Some((HOUR_MS * 9 / 10, HOUR_MS * 11 / 10));
    (json.len() <= VALUE_BYTES_MAX).then(|| text(json, ttl))
}

fn v_value(row: &Row) -> Expected {
    let fields = BTreeMap::from([(b"v".to_vec(), row.v.to_string().into_bytes())]);
    Expected { value: MemoryValue::Hash(fields), ttl_ms: Some((4 * HOUR_MS, 4 * HOUR_MS)) }
}

fn hash_value(row: &Row) -> Expected {
    let mut fields = BTreeMap::from([
        (b"id".to_vec(), row.id.to_string().into_bytes()),
        (b"v".to_vec(), row.v.to_string().into_bytes()),
    ]);
    if let Some(email) = row.email {
        fields.insert(b"email".to_vec(), format!("e{email}").into_bytes());
    }
    Expected { value: MemoryValue::Hash(fields), ttl_ms: Some((2 * HOUR_MS, 2 * HOUR_MS)) }
}
