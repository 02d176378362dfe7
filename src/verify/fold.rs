//! What a key must hold, folded from the mutations of its records in the order of each partition.
//!
//! Pure. Keys that a partition orders follow it. Guarded keys follow the source's positions, whatever order the
//! partitions are read in: the newest write stands, unless its row has deleted it since. What the lanes' own order
//! can make of a key beside that is kept too ([`Expectation::others`]): right as well, and counted apart. Start at
//! [`KeyState::apply`].

use smallvec::{SmallVec, smallvec};

use super::fingerprint::{Fingerprint, of_row};
use crate::mutation::{Effect, Expiry, Guard, Value};
use crate::version::Version;

/// Rows that may have one key at a time, of which the newest are remembered. A key of more rows than that is no key.
const CLAIMS_MAX: usize = 16;

/// Which record did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// Index of the partition among those that are read.
    pub(super) partition: u32,
    /// The record's offset.
    pub(super) offset: i64,
    /// Its timestamp, Unix milliseconds; `None` where it has none.
    pub(super) timestamp_ms: Option<i64>,
}

/// A value that a key must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    /// What it means.
    pub(super) value: Fingerprint,
    /// How long it lives.
    pub(super) expiry: Expiry,
    /// Who wrote it.
    pub(super) origin: Origin,
}

/// What a record left of a key: a value and how long it lives, or nothing.
type Left = Option<(Fingerprint, Expiry)>;

/// What is known of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyState {
    /// One partition orders it: what its last record left.
    Ordered(Origin, Left),
    /// Records of several partitions, without positions: what each of them left. Which came last is not known. Empty
    /// where there were only deletes that compare.
    Unordered(Box<SmallVec<[(Origin, Left); 2]>>),
    /// The version guard orders it.
    Guarded(Box<GuardedKey>),
}

/// A key under the version guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GuardedKey {
    /// Version and row of the newest write; it may be deleted since.
    newest: Option<(Version, u64)>,
    /// The newest version of a delete, by whatever row; true where such a row also wrote the key at that version.
    newest_delete: Option<(Version, bool)>,
    /// Rows whose newest change of this key writes it.
    claims: SmallVec<[Claim; 1]>,
    /// The record that came last, whatever it did.
    last: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    row: u64,
    version: Version,
    expected: Expected,
}

/// What a key must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expectation {
    /// This value, or nothing.
    pub(super) expected: Option<Expected>,
    /// These are right too: the order of the lanes can leave them. `None` is "nothing".
    pub(super) others: SmallVec<[Option<Expected>; 2]>,
    /// The record that came last: where it is not applied yet, nothing can be said.
    pub(super) last: Origin,
    /// True where no write of the key was seen, so that only a whole history says that it must be absent.
    pub(super) unwritten: bool,
}

impl KeyState {
    /// Takes in what a record does to a key; `earlier` is what is known of it, if anything.
    pub(super) fn apply(
        earlier: Option<KeyState>,
        effect: &Effect,
        guard: Option<&Guard>,
        origin: Origin,
    ) -> KeyState {
        match guard {
            Some(guard) => {
                let mut key = match earlier {
                    Some(KeyState::Guarded(key)) => key,
                    Some(KeyState::Ordered(..) | KeyState::Unordered(_)) | None => {
                        Box::new(GuardedKey::new(origin))
                    }
                };
                key.apply(effect, guard, origin);
                KeyState::Guarded(key)
            }
            None => plain(earlier, effect, origin),
        }
    }

    /// What the key must hold.
    pub(super) fn expectation(&self) -> Expectation {
        match self {
            KeyState::Ordered(last, left) => Expectation {
                expected: expected(*last, left.as_ref()),
                others: SmallVec::new(),
                last: *last,
                unwritten: false,
            },
            KeyState::Unordered(list) => {
                let mut found = list.iter().rev().map(|(origin, left)| expected(*origin, left.as_ref()));
                let last = list.last().map_or(NOWHERE, |(origin, _)| *origin);
                Expectation {
                    expected: found.next().flatten(),
                    others: found.collect(),
                    last,
                    unwritten: list.is_empty(),
                }
            }
            KeyState::Guarded(key) => key.expectation(),
        }
    }

    /// Bytes that it takes beside its own size.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            KeyState::Ordered(..) => 0,
            KeyState::Unordered(list) => {
                let spilled = if list.spilled() { list.capacity() } else { 0 };
                size_of_val(&**list) + spilled * size_of::<(Origin, Left)>()
            }
            KeyState::Guarded(key) => {
                let spilled = if key.claims.spilled() { key.claims.capacity() } else { 0 };
                size_of::<GuardedKey>() + spilled * size_of::<Claim>()
            }
        }
    }
}

/// Stands for the record of a key that no record did anything to.
pub(super) const NOWHERE: Origin = Origin { partition: u32::MAX, offset: -1, timestamp_ms: None };

fn expected(origin: Origin, left: Option<&(Fingerprint, Expiry)>) -> Option<Expected> {
    left.map(|(value, expiry)| Expected { value: *value, expiry: *expiry, origin })
}

fn written(value: &Value, expiry: Expiry) -> Left {
    Fingerprint::of(value).map(|value| (value, expiry))
}

fn plain(earlier: Option<KeyState>, effect: &Effect, origin: Origin) -> KeyState {
    let own = match &earlier {
        Some(KeyState::Ordered(before, left)) if before.partition == origin.partition => Some(*left),
        Some(KeyState::Unordered(list)) => {
            list.iter().find(|(before, _)| before.partition == origin.partition).map(|(_, left)| *left)
        }
        Some(KeyState::Ordered(..) | KeyState::Guarded(_)) | None => None,
    };
    let left = match effect {
        Effect::Write(value, expiry) => written(value, *expiry),
        Effect::Delete => None,
        Effect::DeleteIf(value) => {
            let condition = Fingerprint::of(value);
            let holds = |left: &Left| left.map(|(value, _)| value) == condition;
            match (&own, &earlier) {
                // What this partition wrote stands, unless it is what is to be deleted.
                (Some(left), _) if holds(left) => None,
                (Some(left), _) => *left,
                // It may have come after another partition's write of that value, or before.
                (None, Some(KeyState::Ordered(_, left))) if holds(left) => None,
                (None, Some(KeyState::Unordered(list))) if list.iter().any(|(_, left)| holds(left)) => None,
                (None, Some(earlier)) => return earlier.clone(),
                (None, None) => return KeyState::Unordered(Box::default()),
            }
        }
    };
    match earlier {
        Some(KeyState::Ordered(before, other)) if before.partition != origin.partition => {
            KeyState::Unordered(Box::new(smallvec![(before, other), (origin, left)]))
        }
        Some(KeyState::Unordered(mut list)) => {
            list.retain(|(before, _)| before.partition != origin.partition);
            list.push((origin, left));
            KeyState::Unordered(list)
        }
        Some(KeyState::Ordered(..) | KeyState::Guarded(_)) | None => KeyState::Ordered(origin, left),
    }
}

impl GuardedKey {
    fn new(last: Origin) -> GuardedKey {
        GuardedKey { newest: None, newest_delete: None, claims: SmallVec::new(), last }
    }

    fn apply(&mut self, effect: &Effect, guard: &Guard, origin: Origin) {
        self.last = origin;
        let row = of_row(guard.owner.as_bytes());
        let version = &guard.version;
        match effect {
            Effect::Write(value, expiry) => {
                let Some((value, expiry)) = written(value, *expiry) else { return self.delete(row, version) };
                let held = self.claims.iter().find(|claim| claim.row == row);
                if held.is_some_and(|held| held.version > *version) {
                    return;
                }
                let expected = Expected { value, expiry, origin };
                self.claims.retain(|claim| claim.row != row);
                self.claims.push(Claim { row, version: version.clone(), expected });
                if self.newest.as_ref().is_none_or(|(newest, _)| version >= newest) {
                    self.newest = Some((version.clone(), row));
                }
                if self.claims.len() > CLAIMS_MAX
                    && let Some(oldest) = (0..self.claims.len()).min_by(|a, b| {
                        self.claims
                            .get(*a)
                            .map(|claim| &claim.version)
                            .cmp(&self.claims.get(*b).map(|claim| &claim.version))
                    })
                {
                    self.claims.remove(oldest);
                }
            }
            Effect::Delete | Effect::DeleteIf(_) => self.delete(row, version),
        }
    }

    /// A row gives the key up. Without a version (a tombstone) it comes in the order of its row's partition.
    fn delete(&mut self, row: u64, version: &Version) {
        let wrote = self.claims.iter().any(|claim| claim.row == row && claim.version == *version);
        self.claims.retain(|claim| claim.row != row || (!version.is_none() && claim.version > *version));
        match &mut self.newest_delete {
            Some((newest, _)) if version < newest => {}
            Some((newest, wrote_too)) if version == newest => *wrote_too |= wrote,
            newest => *newest = Some((version.clone(), wrote)),
        }
    }

    fn expectation(&self) -> Expectation {
        let winner =
            self.newest.as_ref().and_then(|(_, row)| self.claims.iter().find(|claim| claim.row == *row));
        let mut others: SmallVec<[Option<Expected>; 2]> = SmallVec::new();
        match winner {
            Some(winner) => {
                // Among equal positions any order is right.
                let ties = self
                    .claims
                    .iter()
                    .filter(|claim| claim.row != winner.row && claim.version == winner.version);
                others.extend(ties.map(|claim| Some(claim.expected)));
                // A delete of another row at a newer position, where that row's lane was ahead of this one's: its
                // tombstone then kept the older write out. At an equal one, a row that took the key and gave it up
                // may have done so after this write.
                let may_be_gone = self.newest_delete.as_ref().is_some_and(|(deleted, wrote_too)| {
                    *deleted > winner.version || (*wrote_too && *deleted == winner.version)
                });
                if may_be_gone {
                    others.push(None);
                }
            }
            // The newest write was deleted. A row that wrote the key before, and has not given it up, has it after a
            // refill, and where its lane came last.
            None => others.extend(self.claims.iter().map(|claim| Some(claim.expected))),
        }
        Expectation {
            expected: winner.map(|winner| winner.expected),
            others,
            last: self.last,
            unwritten: self.newest.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::RowId;

    fn origin(partition: u32, offset: i64) -> Origin {
        Origin { partition, offset, timestamp_ms: Some(1_000 + offset) }
    }

    fn write(text: &str) -> Effect {
        Effect::Write(Value::text(text), Expiry::In(60_000))
    }

    fn guard(version: u64, row: &str) -> Guard {
        let version = if version == 0 { Version::NONE } else { Version::from_parts(&[version]) };
        Guard { version, owner: RowId::new(row.as_bytes()) }
    }

    fn print(text: &str) -> Fingerprint {
        Fingerprint::of(&Value::text(text)).unwrap()
    }

    fn plain_fold(steps: &[(u32, Effect)]) -> Expectation {
        let fold = steps.iter().zip(0..).fold(None, |state, ((partition, effect), offset)| {
            Some(KeyState::apply(state, effect, None, origin(*partition, offset)))
        });
        fold.unwrap().expectation()
    }

    fn guarded_fold(steps: &[(u64, &str, Option<&str>)]) -> Expectation {
        let fold = steps.iter().zip(0..).fold(None, |state, ((version, row, value), offset)| {
            let effect = value.map_or(Effect::Delete, write);
            Some(KeyState::apply(state, &effect, Some(&guard(*version, row)), origin(0, offset)))
        });
        fold.unwrap().expectation()
    }

    fn shown(expectation: &Expectation) -> (Option<Fingerprint>, Vec<Option<Fingerprint>>) {
        let value = |expected: &Expected| expected.value;
        let others = expectation.others.iter().map(|other| other.as_ref().map(value)).collect();
        (expectation.expected.as_ref().map(value), others)
    }

    #[test]
    fn a_partition_orders_its_keys() {
        let last = plain_fold(&[(0, write("1")), (0, Effect::Delete), (0, write("2"))]);
        assert_eq!(shown(&last), (Some(print("2")), vec![]));
        assert_eq!((last.last.offset, last.expected.unwrap().origin.offset), (2, 2));
        let gone = plain_fold(&[(0, write("1")), (0, Effect::Delete)]);
        assert_eq!(shown(&gone), (None, vec![]));
    }

    #[test]
    fn without_positions_what_each_partition_left_is_right() {
        let either = plain_fold(&[(0, write("1")), (1, write("2")), (0, write("3"))]);
        assert_eq!(shown(&either), (Some(print("3")), vec![Some(print("2"))]));
        let compared = |value: &str| Effect::DeleteIf(Value::text(value));
        let own = plain_fold(&[(0, write("1")), (0, compared("1"))]);
        assert_eq!(shown(&own), (None, vec![]));
        let kept = plain_fold(&[(0, write("1")), (0, compared("2"))]);
        assert_eq!(shown(&kept), (Some(print("1")), vec![]));
        let raced = plain_fold(&[(0, write("1")), (1, compared("1"))]);
        assert_eq!(shown(&raced), (None, vec![Some(print("1"))]));
        let other = plain_fold(&[(0, write("1")), (1, compared("2"))]);
        assert_eq!(shown(&other), (Some(print("1")), vec![]));
        assert!(plain_fold(&[(0, compared("1"))]).unwritten && !own.unwritten);
    }

    #[test]
    fn guarded_keys_follow_positions_whatever_order_they_are_read_in() {
        let steps = [(1, "a", Some("a")), (3, "a", None), (5, "b", Some("b"))];
        assert_eq!(shown(&guarded_fold(&steps)), (Some(print("b")), vec![]));
        let b_first = [(5, "b", Some("b")), (1, "a", Some("a")), (3, "a", None)];
        assert_eq!(shown(&guarded_fold(&b_first)), (Some(print("b")), vec![]));
        let gone = [(5, "b", Some("b")), (7, "b", None), (1, "a", Some("a")), (3, "a", None)];
        assert_eq!(shown(&guarded_fold(&gone)), (None, vec![]));
    }

    #[test]
    fn what_the_order_of_lanes_can_leave_is_right_too() {
        let tie = [(5, "a", Some("a")), (5, "b", Some("b"))];
        assert_eq!(shown(&guarded_fold(&tie)), (Some(print("b")), vec![Some(print("a"))]));
        let after_a_refill = [(1, "a", Some("a")), (2, "b", Some("b")), (3, "b", None)];
        assert_eq!(shown(&guarded_fold(&after_a_refill)), (None, vec![Some(print("a"))]));
        let kept_out = [(2, "b", Some("b")), (1, "a", Some("a")), (3, "a", None)];
        assert_eq!(shown(&guarded_fold(&kept_out)), (Some(print("b")), vec![None]));
        let tie_given_up = [(5, "a", Some("a")), (5, "a", None), (5, "b", Some("b"))];
        assert_eq!(shown(&guarded_fold(&tie_given_up)), (Some(print("b")), vec![None]));
        let passed_on = [(1, "a", Some("a")), (5, "a", None), (5, "b", Some("b"))];
        assert_eq!(shown(&guarded_fold(&passed_on)), (Some(print("b")), vec![]));
    }

    #[test]
    fn versions_of_one_row_count_and_none_is_oldest() {
        let late_snapshot = [(5, "a", Some("new")), (0, "a", Some("old"))];
        assert_eq!(shown(&guarded_fold(&late_snapshot)).0, Some(print("new")));
        let tombstone = [(5, "a", Some("new")), (0, "a", None)];
        assert_eq!(shown(&guarded_fold(&tombstone)).0, None);
        let stale_delete = [(5, "a", Some("new")), (4, "a", None)];
        assert_eq!(shown(&guarded_fold(&stale_delete)).0, Some(print("new")));
        assert!(guarded_fold(&[(5, "a", None)]).unwritten);
    }

    #[test]
    fn rows_of_one_key_are_bounded() {
        let mut state = None;
        for version in 1..=100 {
            let guard = guard(version, &format!("row {version}"));
            state = Some(KeyState::apply(state, &write("x"), Some(&guard), origin(0, 0)));
        }
        assert!(state.unwrap().heap_bytes() < 10_000);
    }
}
