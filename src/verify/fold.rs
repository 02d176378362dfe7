//! What a key must hold, folded from the mutations of its records in the order of each partition.
//!
//! Pure. Keys that a partition orders follow it. Guarded keys follow the source's positions, whatever order the
//! partitions are read in: the newest write stands, unless its row has deleted it since. What the lanes' own order
//! can make of a key beside that is kept too ([`Expectation::others`]): right as well, and counted apart. Start at
//! [`KeyState::apply`].

use smallvec::{SmallVec, smallvec};

use super::fingerprint::Fingerprint;
use super::guarded::GuardedKey;
use crate::mutation::{Effect, Expiry, Guard, Value};
use crate::version::Version;

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
pub(super) type Left = Option<(Fingerprint, Expiry)>;

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

/// What a key must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expectation {
    /// This value, or nothing.
    pub(super) expected: Option<Expected>,
    /// These are right too: the order of the lanes can leave them. `None` is "nothing".
    pub(super) others: SmallVec<[Option<Expected>; 2]>,
    /// The last record of each partition that did something to it, in the order of reading: where one of them is not
    /// applied yet, nothing can be said.
    pub(super) lasts: SmallVec<[Origin; 1]>,
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
                    Some(KeyState::Ordered(..) | KeyState::Unordered(_)) | None => Box::default(),
                };
                key.apply(effect, guard, origin);
                KeyState::Guarded(key)
            }
            None => plain(earlier, effect, origin),
        }
    }

    /// The table of the key's entity was truncated, with `version` where the source tells one. Partitions are not
    /// ordered against each other: what another one left may be gone, or not.
    pub(super) fn truncate(&mut self, version: &Version, origin: Origin) {
        match self {
            KeyState::Ordered(before, left) if before.partition == origin.partition => {
                (*before, *left) = (origin, None);
            }
            KeyState::Ordered(before, left) => {
                *self = KeyState::Unordered(Box::new(smallvec![(origin, None), (*before, *left)]));
            }
            KeyState::Unordered(list) => {
                list.retain(|(before, _)| before.partition != origin.partition);
                list.insert(0, (origin, None));
            }
            KeyState::Guarded(key) => key.truncate(version, origin),
        }
    }

    /// What the key must hold.
    pub(super) fn expectation(&self) -> Expectation {
        match self {
            KeyState::Ordered(last, left) => Expectation {
                expected: expected(*last, left.as_ref()),
                others: or_nothing(left.as_ref()),
                lasts: smallvec![*last],
                unwritten: false,
            },
            KeyState::Unordered(list) => {
                let mut found = list.iter().rev().map(|(origin, left)| expected(*origin, left.as_ref()));
                let expected = found.next().flatten();
                let mut others: SmallVec<[Option<Expected>; 2]> = found.collect();
                others.extend(list.iter().flat_map(|(_, left)| or_nothing(left.as_ref())));
                Expectation {
                    expected,
                    others,
                    lasts: list.iter().map(|(origin, _)| *origin).collect(),
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
            KeyState::Guarded(key) => size_of::<GuardedKey>() + key.heap_bytes(),
        }
    }
}

impl Expectation {
    /// Of a key that no record did anything to.
    pub(super) fn nothing() -> Expectation {
        Expectation { expected: None, others: SmallVec::new(), lasts: SmallVec::new(), unwritten: true }
    }

    /// The record that made what the key must hold, or that left nothing of it.
    pub(super) fn made_by(&self) -> Option<Origin> {
        self.expected.map(|expected| expected.origin).or(self.lasts.last().copied())
    }
}

fn expected(origin: Origin, left: Option<&(Fingerprint, Expiry)>) -> Option<Expected> {
    left.map(|(value, expiry)| Expected { value: *value, expiry: *expiry, origin })
}

/// What may be instead of a value: nothing, where a record told only a part of it, for a key that was not there
/// stays so.
pub(super) fn or_nothing(left: Option<&(Fingerprint, Expiry)>) -> SmallVec<[Option<Expected>; 2]> {
    if left.is_some_and(|(value, _)| value.is_part()) { smallvec![None] } else { SmallVec::new() }
}

pub(super) fn written(value: &Value, expiry: Expiry) -> Left {
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
        Effect::Patch(..) if own == Some(None) => None,
        Effect::Patch(patch, expiry) => Some((Fingerprint::of_part(patch.shape()), *expiry)),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(partition: u32, offset: i64) -> Origin {
        Origin { partition, offset, timestamp_ms: Some(1_000 + offset) }
    }

    fn write(text: &str) -> Effect {
        Effect::Write(Value::text(text), Expiry::In(60_000))
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

    fn shown(expectation: &Expectation) -> (Option<Fingerprint>, Vec<Option<Fingerprint>>) {
        let value = |expected: &Expected| expected.value;
        let others = expectation.others.iter().map(|other| other.as_ref().map(value)).collect();
        (expectation.expected.as_ref().map(value), others)
    }

    #[test]
    fn a_partition_orders_its_keys() {
        let last = plain_fold(&[(0, write("1")), (0, Effect::Delete), (0, write("2"))]);
        assert_eq!(shown(&last), (Some(print("2")), vec![]));
        assert_eq!((last.lasts[0].offset, last.expected.unwrap().origin.offset), (2, 2));
        let gone = plain_fold(&[(0, write("1")), (0, Effect::Delete)]);
        assert_eq!(shown(&gone), (None, vec![]));
    }

    #[test]
    fn of_a_part_of_a_value_no_more_is_said_than_that_it_is_one() {
        use crate::patch::{Others, Patch, PatchShape};
        let patch = || Effect::Patch(Patch::new(PatchShape::Hash, Vec::new(), Others::Kept), Expiry::Never);
        let part = Some(Fingerprint::of_part(PatchShape::Hash));
        let merged = plain_fold(&[(0, write("1")), (0, patch())]);
        assert_eq!(shown(&merged), (part, vec![None]));
        assert_eq!(shown(&plain_fold(&[(0, Effect::Delete), (0, patch())])), (None, vec![]), "it stays away");
        assert_eq!(shown(&plain_fold(&[(0, patch()), (0, write("2"))])), (Some(print("2")), vec![]));
    }

    #[test]
    fn a_truncate_deletes_what_its_partition_left_and_may_have_deleted_what_others_left() {
        let fold = |partition: u32| {
            let mut state = KeyState::apply(None, &write("1"), None, origin(0, 1));
            state.truncate(&Version::NONE, origin(partition, 2));
            shown(&state.expectation())
        };
        assert_eq!(fold(0), (None, vec![]));
        assert_eq!(fold(1), (Some(print("1")), vec![None]));
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
}
