//! Coalescing: what one key needs after several mutations, as one atomic unit.
//!
//! [`compose`] is pure and exact: applying the composed action leaves the cache as applying the mutations one
//! by one would, whatever the cache held before (`tests/it/coalesce_law.rs` holds it against a model). Where two
//! guarded steps cannot be merged exactly they both stay, and one script carries them out in order.
//!
//! [`Filling`] is the batch that a lane fills while another one is in flight.

use hashbrown::HashTable;
use smallvec::{SmallVec, smallvec};

use crate::batch::{Action, PatchStep, Step, Unit};
use crate::mutation::{CacheKey, Effect, Expiry, Guard, Mutation, Value};
use crate::patch::Patch;

/// Bytes that a unit costs beside key and value: the command's words, the index entry.
const UNIT_OVERHEAD_BYTES: usize = 64;

/// The action that does what `earlier` and then `later` would.
///
/// A key goes through the guard always or never (its template decides), so the two are not mixed; where a
/// handler does mix them, the later one stands alone.
pub fn compose(earlier: Option<Action>, effect: Effect, guard: Option<Box<Guard>>) -> Action {
    match guard {
        Some(guard) => compose_guarded(earlier, effect, *guard),
        None => compose_plain(earlier, effect),
    }
}

fn compose_plain(earlier: Option<Action>, later: Effect) -> Action {
    let value = match later {
        Effect::Write(value, expiry) => return Action::Write(value, expiry),
        Effect::Delete => return Action::Delete,
        Effect::Patch(patch, expiry) => return compose_patch(earlier, patch, expiry),
        Effect::DeleteIf(value) => value,
    };
    match earlier {
        Some(Action::Write(written, _)) if same_content(&written, &value) => Action::Delete,
        Some(written @ Action::Write(..)) => written,
        Some(Action::Delete) => Action::Delete,
        Some(Action::DeleteIf(mut values)) => {
            if !values.iter().any(|known| same_content(known, &value)) {
                values.push(value);
            }
            Action::DeleteIf(values)
        }
        Some(Action::Patch(mut steps)) => {
            steps.push(PatchStep::DeleteIf(value));
            Action::Patch(steps)
        }
        Some(Action::Guarded(_) | Action::WriteIfAbsent(..)) | None => Action::DeleteIf(smallvec![value]),
    }
}

fn compose_patch(earlier: Option<Action>, patch: Patch, expiry: Expiry) -> Action {
    let mut steps: Vec<PatchStep> = match earlier {
        Some(Action::Write(value, _)) => {
            return patch.overlay(&value).map_or(Action::Delete, |value| Action::Write(value, expiry));
        }
        Some(Action::Delete) => return Action::Delete,
        Some(Action::DeleteIf(values)) => values.into_iter().map(PatchStep::DeleteIf).collect(),
        Some(Action::Patch(steps)) => steps,
        Some(Action::Guarded(_) | Action::WriteIfAbsent(..)) | None => Vec::new(),
    };
    if let Some(PatchStep::Overlay(earlier, last_expiry)) = steps.last_mut() {
        let Some(both) = earlier.then(&patch) else { return Action::Delete };
        (*earlier, *last_expiry) = (both, expiry);
    } else {
        steps.push(PatchStep::Overlay(patch, expiry));
    }
    Action::Patch(steps)
}

fn compose_guarded(earlier: Option<Action>, effect: Effect, guard: Guard) -> Action {
    let Guard { version, owner } = guard;
    let step = match effect {
        Effect::Write(value, expiry) => Step::Write { version, owner, value, expiry },
        // The guard's own memory of the owner is a stronger proof than the value.
        Effect::Delete | Effect::DeleteIf(_) => Step::Delete { version, owner, covers: None },
        Effect::Patch(patch, expiry) => Step::Patch { version, owner, patch, expiry },
    };
    let mut steps = match earlier {
        Some(Action::Guarded(steps)) => steps,
        Some(
            Action::Write(..)
            | Action::WriteIfAbsent(..)
            | Action::Delete
            | Action::DeleteIf(_)
            | Action::Patch(_),
        )
        | None => Vec::new(),
    };
    push_step(&mut steps, step);
    Action::Guarded(steps)
}

/// Adds a step, merged with the last one where the two are one step in every state of the guard's memory.
///
/// Invariant of a delete that has a version: `covers` is not newer.
fn push_step(steps: &mut Vec<Step>, later: Step) {
    let Some(last) = steps.pop() else {
        steps.push(later);
        return;
    };
    match (last, later) {
        // Whatever the memory holds, the newer of two writes decides; of equal ones the later.
        (
            Step::Write { version: earlier_version, owner, value, expiry },
            Step::Write { version, owner: later_owner, value: later_value, expiry: later_expiry },
        ) => steps.push(if version >= earlier_version {
            Step::Write { version, owner: later_owner, value: later_value, expiry: later_expiry }
        } else {
            Step::Write { version: earlier_version, owner, value, expiry }
        }),
        // Of the same row: a newer delete swallows the write but keeps its reach, and so does one without a
        // version; an older one is stale whether or not the write applies.
        (
            Step::Write { version: written, owner, value, expiry },
            Step::Delete { version, owner: deleter, covers },
        ) if owner == deleter => steps.push(if version >= written || version.is_none() {
            Step::Delete { version, owner, covers: covers.max(Some(written)) }
        } else {
            Step::Write { version: written, owner, value, expiry }
        }),
        // A write that is not older than the delete applies wherever the delete would, and decides alone. One
        // without a version would, whatever is remembered of its row.
        (Step::Delete { version: deleted, .. }, write @ Step::Write { .. })
            if !deleted.is_none() && write_version(&write) >= Some(&deleted) =>
        {
            steps.push(write);
        }
        (
            Step::Delete { version: first, owner, covers },
            Step::Delete { version: second, owner: other, covers: None },
        ) if owner == other && first.is_none() == second.is_none() => {
            steps.push(Step::Delete { version: first.max(second), owner, covers });
        }
        // At one version of one row both apply or none does.
        (
            Step::Write { version: written, owner, value, .. },
            Step::Patch { version, owner: patcher, patch, expiry },
        ) if owner == patcher && version == written && !version.is_none() => {
            steps.push(match patch.overlay(&value) {
                Some(value) => Step::Write { version, owner, value, expiry },
                None => Step::Delete { version, owner, covers: Some(written) },
            });
        }
        (Step::Delete { version, owner, covers }, Step::Patch { version: patched, owner: patcher, .. })
            if owner == patcher && version == patched =>
        {
            steps.push(Step::Delete { version, owner, covers });
        }
        (
            Step::Patch { version: first, owner, patch, .. },
            Step::Patch { version, owner: patcher, patch: later, expiry },
        ) if owner == patcher && version == first => steps.push(match patch.then(&later) {
            Some(patch) => Step::Patch { version, owner, patch, expiry },
            None => Step::Delete { version, owner, covers: None },
        }),
        // The usual case: one column is never told, all others are each time.
        (
            Step::Patch { version: first, owner, patch, .. },
            Step::Patch { version, owner: patcher, patch: later, expiry },
        ) if owner == patcher && version > first && !first.is_none() && patch.is_covered_by(&later) => {
            steps.push(Step::Patch { version, owner, patch: later, expiry });
        }
        // Where a patch is not newer than what follows, that decides alone.
        (Step::Patch { version: patched, .. }, write @ Step::Write { .. })
            if !patched.is_none() && write_version(&write) >= Some(&patched) =>
        {
            steps.push(write);
        }
        (
            Step::Patch { version: patched, owner, .. },
            Step::Delete { version, owner: deleter, covers: None },
        ) if owner == deleter && version >= patched && version.is_none() == patched.is_none() => {
            steps.push(Step::Delete { version, owner, covers: None });
        }
        (last, later) => {
            steps.push(last);
            steps.push(later);
        }
    }
}

fn write_version(step: &Step) -> Option<&crate::version::Version> {
    match step {
        Step::Write { version, .. } => Some(version),
        Step::Delete { .. } | Step::DeleteOwned { .. } | Step::Patch { .. } => None,
    }
}

/// True where readers could not tell the two values apart. Field order of a hash does not count.
pub fn same_content(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String { bytes: a, .. }, Value::String { bytes: b, .. }) => a == b,
        (Value::Hash(a), Value::Hash(b)) => {
            a.len() == b.len() && a.iter().all(|field| b.iter().any(|other| other == field))
        }
        (Value::Member { score: a }, Value::Member { score: b }) => a == b,
        (Value::String { .. } | Value::Hash(_) | Value::Member { .. }, _) => false,
    }
}

/// Units that are being filled: one per key, or key and member.
#[derive(Debug, Default)]
pub struct Filling {
    units: Vec<Unit>,
    /// Index of each key's unit, and nothing else: a map with the keys in it was ten times as large, and all lanes'
    /// together larger than the processor's own cache.
    by_key: HashTable<usize>,
    hasher: ahash::RandomState,
    bytes: usize,
    /// Units of the last batch: room for as many is made at once.
    last_len: usize,
}

impl Filling {
    /// Adds one mutation of the record at `offset`; true where it was composed into a unit that was there.
    pub fn add(&mut self, mutation: Mutation, offset: i64, entity: usize) -> bool {
        let Mutation { key, effect, guard } = mutation;
        let hash = self.hasher.hash_one(&key);
        if let Some(unit) = self.index_of(hash, &key).and_then(|index| self.units.get_mut(index)) {
            self.bytes -= unit_bytes(unit);
            let earlier = std::mem::replace(&mut unit.action, Action::Delete);
            unit.action = compose(Some(earlier), effect, guard);
            if unit.offsets.last() != Some(&offset) {
                unit.offsets.push(offset);
            }
            unit.entity = entity;
            self.bytes += unit_bytes(unit);
            return true;
        }
        self.push(
            hash,
            Unit { key, action: compose(None, effect, guard), offsets: smallvec![offset], entity },
        );
        false
    }

    fn index_of(&self, hash: u64, key: &CacheKey) -> Option<usize> {
        let is_its = |index: &usize| self.units.get(*index).is_some_and(|unit| unit.key == *key);
        self.by_key.find(hash, is_its).copied()
    }

    fn push(&mut self, hash: u64, unit: Unit) {
        if self.units.is_empty() {
            self.units.reserve(self.last_len);
        }
        self.bytes += unit_bytes(&unit);
        let index = self.units.len();
        self.units.push(unit);
        let (units, hasher) = (&self.units, &self.hasher);
        let rehash = |index: &usize| units.get(*index).map_or(0, |unit| hasher.hash_one(&unit.key));
        self.by_key.insert_unique(hash, index, rehash);
    }

    /// True where there is a unit of that key.
    pub fn has(&self, key: &CacheKey) -> bool {
        self.index_of(self.hasher.hash_one(key), key).is_some()
    }

    /// Adds a unit of history, which no record's position waits for. The key must not have one yet.
    pub fn add_history(&mut self, key: CacheKey, action: Action, entity: usize) {
        let hash = self.hasher.hash_one(&key);
        self.push(hash, Unit { key, action, offsets: SmallVec::new(), entity });
    }

    /// Takes the units out, keeping the room.
    pub fn take(&mut self) -> Vec<Unit> {
        self.by_key.clear();
        self.bytes = 0;
        self.last_len = self.units.len();
        std::mem::take(&mut self.units)
    }

    /// Number of units.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Bytes of keys and values, and what they cost beside.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn unit_bytes(unit: &Unit) -> usize {
    let values = match &unit.action {
        Action::Write(value, _) | Action::WriteIfAbsent(value, _) => value.size_bytes(),
        Action::Delete => 0,
        Action::DeleteIf(values) => values.iter().map(Value::size_bytes).sum(),
        Action::Patch(steps) => steps
            .iter()
            .map(|step| match step {
                PatchStep::Overlay(patch, _) => UNIT_OVERHEAD_BYTES + patch.size_bytes(),
                PatchStep::DeleteIf(value) => value.size_bytes(),
            })
            .sum(),
        Action::Guarded(steps) => steps
            .iter()
            .map(|step| match step {
                Step::Write { value, .. } => UNIT_OVERHEAD_BYTES + value.size_bytes(),
                Step::Patch { patch, .. } => UNIT_OVERHEAD_BYTES + patch.size_bytes(),
                Step::Delete { .. } | Step::DeleteOwned { .. } => UNIT_OVERHEAD_BYTES,
            })
            .sum(),
    };
    UNIT_OVERHEAD_BYTES + unit.key.size_bytes() + values + unit.offsets.len() * size_of::<i64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::{Expiry, Member, MemberKind, RowId, StringKind};
    use crate::version::Version;

    fn text(text: &str) -> Value {
        Value::String { kind: StringKind::Text, bytes: text.as_bytes().to_vec() }
    }
    fn guard(version: u64, owner: &str) -> Option<Box<Guard>> {
        let owner = RowId::new(owner.as_bytes());
        Some(Box::new(Guard { version: Version::from_parts(&[version]), owner }))
    }
    fn write(value: &str) -> Effect {
        Effect::Write(text(value), Expiry::Never)
    }

    #[test]
    fn the_last_full_write_or_delete_wins() {
        let action = compose(None, write("1"), None);
        let action = compose(Some(action), Effect::Delete, None);
        assert_eq!(action, Action::Delete);
        assert_eq!(compose(Some(action), write("2"), None), Action::Write(text("2"), Expiry::Never));
    }

    #[test]
    fn a_conditional_delete_after_a_write_depends_on_what_was_written() {
        let written = compose(None, write("7"), None);
        assert_eq!(compose(Some(written.clone()), Effect::DeleteIf(text("7")), None), Action::Delete);
        assert_eq!(compose(Some(written.clone()), Effect::DeleteIf(text("8")), None), written);
    }

    #[test]
    fn two_conditional_deletes_both_count() {
        let action = compose(None, Effect::DeleteIf(text("1")), None);
        let action = compose(Some(action), Effect::DeleteIf(text("2")), None);
        assert_eq!(action, Action::DeleteIf(smallvec![text("1"), text("2")]));
    }

    #[test]
    fn a_guarded_delete_of_another_row_leaves_the_write_standing() {
        let action = compose(None, write("new owner"), guard(5, "b"));
        let Action::Guarded(steps) = compose(Some(action), Effect::Delete, guard(6, "a")) else {
            panic!("guarded stays guarded")
        };
        assert!(matches!(steps.as_slice(), [Step::Write { .. }, Step::Delete { .. }]));
    }

    #[test]
    fn a_guarded_delete_of_the_same_row_swallows_the_write_and_keeps_its_reach() {
        let action = compose(None, write("x"), guard(5, "a"));
        let Action::Guarded(steps) = compose(Some(action), Effect::Delete, guard(6, "a")) else {
            panic!("guarded stays guarded")
        };
        assert_eq!(
            steps.as_slice(),
            [Step::Delete {
                version: Version::from_parts(&[6]),
                owner: RowId::new(b"a"),
                covers: Some(Version::from_parts(&[5])),
            }]
        );
    }

    #[test]
    fn members_of_one_key_are_units_of_their_own() {
        let mut filling = Filling::default();
        let mut add = |member: &str, effect, offset| {
            let member = Member { kind: MemberKind::Set, bytes: member.as_bytes().into() };
            filling.add(Mutation { key: CacheKey::of_member(b"k", member), effect, guard: None }, offset, 0)
        };
        assert!(!add("7", Effect::Write(Value::member(), Expiry::Never), 1));
        assert!(!add("8", Effect::Write(Value::member(), Expiry::Never), 2));
        assert!(add("7", Effect::Delete, 3));
        let units = filling.take();
        let actions: Vec<_> = units.iter().map(|unit| (unit.key.to_string(), &unit.action)).collect();
        assert_eq!(
            actions,
            [
                ("k member 7".to_owned(), &Action::Delete),
                ("k member 8".to_owned(), &Action::Write(Value::member(), Expiry::Never)),
            ]
        );
    }

    #[test]
    fn bytes_follow_what_is_held() {
        let mut filling = Filling::default();
        let mutation = |value: &str| Mutation { key: CacheKey::new(b"k"), effect: write(value), guard: None };
        assert!(!filling.add(mutation(&"x".repeat(1_000)), 1, 0));
        let large = filling.bytes();
        assert!(filling.add(mutation("x"), 2, 0));
        assert!(filling.bytes() < large - 900, "{} of {large}", filling.bytes());
        let units = filling.take();
        assert_eq!((units.len(), filling.bytes(), filling.len()), (1, 0, 0));
        assert_eq!(units.first().map(|unit| unit.offsets.as_slice()), Some([1, 2].as_slice()));
    }
}
