//! The law of keys: whatever happens to a table's rows, applying every change's mutations leaves the cache
//! equal to what the rows that are left give; under the guard in whatever order the partitions come.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::super::spec::{Shape, WriteSpec};
use super::super::testing::{change_of, mapping, mutations, tombstone, write};
use super::*;
use crate::mutation::Value;
use crate::version::Version;

/// What a client does to the table `(id, email)`; emails are unique, as a secondary key's columns should be.
#[derive(Debug, Clone)]
enum Deed {
    Insert {
        id: u8,
        email: u8,
    },
    ChangeEmail {
        id: u8,
        email: u8,
    },
    ChangeId {
        id: u8,
        to: u8,
    },
    Delete {
        id: u8,
    },
    /// An incremental snapshot reads the row.
    Read {
        id: u8,
    },
}

fn deed() -> impl Strategy<Value = Deed> {
    let (id, email) = (0..4_u8, 0..4_u8);
    prop_oneof![
        (id.clone(), email.clone()).prop_map(|(id, email)| Deed::Insert { id, email }),
        (id.clone(), email).prop_map(|(id, email)| Deed::ChangeEmail { id, email }),
        (id.clone(), id.clone()).prop_map(|(id, to)| Deed::ChangeId { id, to }),
        id.clone().prop_map(|id| Deed::Delete { id }),
        id.prop_map(|id| Deed::Read { id }),
    ]
}

fn row_of(id: u8, email: u8) -> String {
    format!(r#"{{"id":{id},"email":"E{email}"}}"#)
}

fn key_of(id: u8) -> String {
    format!(r#"{{"id":{id}}}"#)
}

/// The deed's changes as Debezium emits them under REPLICA IDENTITY FULL; none where the table refuses it.
fn changes(table: &mut BTreeMap<u8, u8>, deed: &Deed) -> Vec<Change<'static>> {
    let taken = |table: &BTreeMap<u8, u8>, email| table.values().any(|other| *other == email);
    match *deed {
        Deed::Insert { id, email } if !table.contains_key(&id) && !taken(table, email) => {
            table.insert(id, email);
            vec![change_of(Op::Create, &key_of(id), "", &row_of(id, email))]
        }
        Deed::ChangeEmail { id, email } if !taken(table, email) => match table.insert(id, email) {
            Some(old) => vec![change_of(Op::Update, &key_of(id), &row_of(id, old), &row_of(id, email))],
            None => {
                table.remove(&id);
                Vec::new()
            }
        },
        Deed::ChangeId { id, to } if !table.contains_key(&to) => match table.remove(&id) {
            Some(email) => {
                table.insert(to, email);
                vec![
                    change_of(Op::Delete, &key_of(id), &row_of(id, email), ""),
                    tombstone(&key_of(id)),
                    change_of(Op::Create, &key_of(to), "", &row_of(to, email)),
                ]
            }
            None => Vec::new(),
        },
        Deed::Delete { id } => match table.remove(&id) {
            Some(email) => {
                vec![change_of(Op::Delete, &key_of(id), &row_of(id, email), ""), tombstone(&key_of(id))]
            }
            None => Vec::new(),
        },
        Deed::Read { id } => match table.get(&id) {
            Some(email) => {
                let read = change_of(Op::Read, &key_of(id), "", &row_of(id, *email));
                vec![Change { version: Some(Version::NONE), ..read }]
            }
            None => Vec::new(),
        },
        Deed::Insert { .. } | Deed::ChangeEmail { .. } | Deed::ChangeId { .. } => Vec::new(),
    }
}

/// A cache with the guard's memory beside it, as [`crate::batch::Step`] says.
#[derive(Debug, Default)]
struct Cache {
    values: BTreeMap<CacheKey, Value>,
    remembered: BTreeMap<CacheKey, Guard>,
}

impl Cache {
    fn apply(&mut self, mutation: Mutation) {
        let Mutation { key, effect, guard } = mutation;
        if let Some(guard) = guard {
            let applies = self.remembered.get(&key).is_none_or(|held| {
                let newer = guard.version >= held.version;
                newer && (matches!(effect, Effect::Write(..)) || held.owner == guard.owner)
            });
            if !applies {
                return;
            }
            self.remembered.insert(key.clone(), *guard);
        }
        match effect {
            Effect::Write(value, _) => {
                self.values.insert(key, value);
            }
            Effect::Patch(..) => panic!("nothing is unavailable here"),
            Effect::Delete => {
                self.values.remove(&key);
            }
            Effect::DeleteIf(value) => {
                if self.values.get(&key) == Some(&value) {
                    self.values.remove(&key);
                }
            }
        }
    }
}

fn expected(table: &BTreeMap<u8, u8>, source: Source) -> BTreeMap<String, String> {
    let keys = |(id, email): (&u8, &u8)| {
        let mut keys = vec![
            (format!("c:{id}"), id.to_string()),
            (format!("e:e{email}"), id.to_string()),
            (format!("by-email:E{email} member {id}"), "there".to_owned()),
        ];
        if source != Source::Unpositioned {
            keys.push((format!("emails member E{email}"), "there".to_owned()));
        }
        keys
    };
    table.iter().flat_map(keys).collect()
}

fn found(cache: &Cache) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::String { bytes, .. } => String::from_utf8(bytes.clone()).unwrap(),
        Value::Member { score: None } => "there".to_owned(),
        Value::Hash(_) | Value::Member { score: Some(_) } => panic!("neither was written"),
    };
    cache.values.iter().map(|(key, value)| (key.to_string(), text(value))).collect()
}

/// What the table and its source are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A PostgreSQL table with a key.
    Keyed,
    /// One without a key: null record keys, so no tombstones.
    Keyless,
    /// A source without positions.
    Unpositioned,
}

/// A write of the row as a member of that set.
fn in_set(key: &str, member: &str) -> WriteSpec {
    WriteSpec { shape: Shape::Set { member: Template::parse(member).unwrap() }, ..write(key) }
}

/// Runs the deeds. With `order`, each row id has a partition
/// of its own, and the bytes pick which partition goes on next.
fn run(
    deeds: &[Deed],
    source: Source,
    order: Option<&[u8]>,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let mut writes = vec![write("c:{id}"), write("e:{email|lower}"), in_set("by-email:{email}", "{id}")];
    if source != Source::Unpositioned {
        writes.push(in_set("emails", "{email}"));
    }
    let mut entity = mapping(writes);
    entity.replica_identity = ReplicaIdentity::Full;
    let mut table = BTreeMap::new();
    let mut partitions: BTreeMap<String, VecDeque<Vec<Mutation>>> = BTreeMap::new();
    let mut in_order = Vec::new();
    for (position, deed) in deeds.iter().enumerate() {
        for mut change in changes(&mut table, deed) {
            change.version = match change.version {
                _ if source == Source::Unpositioned => None,
                Some(version) if !version.is_none() => {
                    Some(Version::from_parts(&[u64::try_from(position).unwrap() + 1]))
                }
                other => other,
            };
            let partition = change.key.as_ref().unwrap().text("id").unwrap();
            match source {
                Source::Keyed => {}
                Source::Unpositioned => change.connector = Connector::Unknown,
                Source::Keyless if change.tombstone => continue,
                Source::Keyless => change.key = None,
            }
            let made = mutations(&entity, change).unwrap();
            in_order.extend(made.clone());
            partitions.entry(partition).or_default().push_back(made);
        }
    }
    let mut cache = Cache::default();
    match order {
        None => in_order.into_iter().for_each(|mutation| cache.apply(mutation)),
        Some(order) => {
            for pick in order.iter().cycle() {
                partitions.retain(|_, left| !left.is_empty());
                let Some(count) = std::num::NonZeroUsize::new(partitions.len()) else { break };
                let next = partitions.values_mut().nth(usize::from(*pick) % count).unwrap();
                next.pop_front().unwrap().into_iter().for_each(|mutation| cache.apply(mutation));
            }
        }
    }
    (found(&cache), expected(&table, source))
}

proptest! {
    #[test]
    fn the_cache_is_what_the_rows_give(deeds in proptest::collection::vec(deed(), 1..40)) {
        let (found, expected) = run(&deeds, Source::Keyed, None);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn the_cache_is_what_the_rows_give_in_whatever_order_the_partitions_come(
        deeds in proptest::collection::vec(deed(), 1..40),
        order in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let (found, expected) = run(&deeds, Source::Keyed, Some(&order));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn the_cache_is_what_the_rows_of_a_keyless_table_give_in_order(
        deeds in proptest::collection::vec(deed(), 1..40),
    ) {
        let (found, expected) = run(&deeds, Source::Keyless, None);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn the_cache_is_what_the_rows_give_in_order_without_positions(
        deeds in proptest::collection::vec(deed(), 1..40),
    ) {
        let (found, expected) = run(&deeds, Source::Unpositioned, None);
        prop_assert_eq!(found, expected);
    }
}
