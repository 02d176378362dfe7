//! The keys of one pass, with what is known of each, in bounded memory.
//!
//! Keys are told apart by a hash, of which a pass takes a range. Where the range holds more keys than the budget
//! allows it is halved on the way, and the next pass begins where this one's range ends: what stays in the table was
//! followed from the first record on. Pure. Start at [`Table::take`].

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::fingerprint::of_key;
use super::fold::{KeyState, Origin};
use crate::entity::Entity;
use crate::mutation::{CacheKey, Effect, Mutation};
use crate::version::Version;

/// What a key costs beside what [`KeyState::heap_bytes`] says and a key's bytes over 40: its place in the map, which is
/// at most twice as large as it is full, and in the list of those that are looked at again. About 350 bytes.
const KEY_BYTES: usize = 2 * (size_of::<(CacheKey, Row)>() + 1) + size_of::<CacheKey>();
/// Bytes of a key that lie in it, not on the heap.
const INLINE_KEY_BYTES: usize = 40;
/// States that are remembered of a key that is looked at again. One that changes more often in that time is left out.
const STATES_MAX: usize = 64;

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Index of the entity that did it last.
    pub(super) entity: usize,
    /// What is known of it.
    pub(super) state: KeyState,
}

/// Which keys count, by their hash.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    share: f64,
}

impl Sample {
    /// So large a share of the keys, 0 to 1.
    pub(super) fn of(share: f64) -> Sample {
        Sample { share }
    }

    /// True where the key is in it. The low half decides, as ranges go by the high one.
    pub(super) fn takes(self, hash: u64) -> bool {
        const LOW: u64 = 0xffff_ffff;
        self.share >= 1.0 || ((hash & LOW) as f64) < self.share * (LOW as f64)
    }
}

/// The keys of one pass.
#[derive(Debug)]
pub(super) struct Table {
    rows: HashMap<CacheKey, Row, ahash::RandomState>,
    range: RangeInclusive<u64>,
    sample: Sample,
    bytes: usize,
    bytes_max: usize,
    watched: HashMap<CacheKey, Vec<KeyState>, ahash::RandomState>,
    /// The one key that counts, where there is only one.
    only: Option<CacheKey>,
}

impl Table {
    /// An empty table for keys whose hash is in the range, in so many bytes.
    pub(super) fn new(range: RangeInclusive<u64>, sample: Sample, bytes_max: usize) -> Table {
        let hasher = || ahash::RandomState::with_seed(0);
        Table {
            rows: HashMap::with_hasher(hasher()),
            range,
            sample,
            bytes: 0,
            bytes_max,
            watched: HashMap::with_hasher(hasher()),
            only: None,
        }
    }

    /// The same for this one key.
    pub(super) fn only(mut self, key: CacheKey) -> Table {
        self.only = Some(key);
        self
    }

    /// Takes in one mutation.
    pub(super) fn take(&mut self, mutation: &Mutation, entities: &[Entity], entity: usize, origin: Origin) {
        let key = &mutation.key;
        if !self.holds(key) {
            return;
        }
        let deletes = matches!(mutation.effect, Effect::Delete) && mutation.guard.is_none();
        // Who reads such a key fills it, with what nobody here knows.
        if deletes && entities.get(entity).is_some_and(|entity| is_invalidated(entity, key.as_bytes())) {
            return;
        }
        let (key, earlier) = match self.rows.remove_entry(key) {
            Some((key, row)) => {
                self.bytes = self.bytes.saturating_sub(cost(&key, &row));
                (key, Some(row.state))
            }
            None => (key.clone(), None),
        };
        let state = KeyState::apply(earlier, &mutation.effect, mutation.guard.as_deref(), origin);
        if let Some(states) = self.watched.get_mut(&key)
            && states.len() <= STATES_MAX
        {
            states.push(state.clone());
        }
        let row = Row { entity, state };
        self.bytes = self.bytes.saturating_add(cost(&key, &row));
        self.rows.insert(key, row);
        while self.bytes > self.bytes_max && self.halve() {}
    }

    /// The table of an entity was truncated, and its keys are deleted with it.
    pub(super) fn truncate(&mut self, entity: usize, version: &Version, origin: Origin) {
        for (key, row) in self.rows.iter_mut().filter(|(_, row)| row.entity == entity) {
            self.bytes = self.bytes.saturating_sub(cost(key, row));
            row.state.truncate(version, origin);
            self.bytes = self.bytes.saturating_add(cost(key, row));
            if let Some(states) = self.watched.get_mut(key)
                && states.len() <= STATES_MAX
            {
                states.push(row.state.clone());
            }
        }
    }

    /// True where this pass looks at the key, or member.
    pub(super) fn holds(&self, key: &CacheKey) -> bool {
        if let Some(only) = &self.only {
            return only == key;
        }
        let hash = of_key(key);
        self.range.contains(&hash) && self.sample.takes(hash)
    }

    /// The keys' hashes, as far as the memory reaches.
    pub(super) fn range(&self) -> &RangeInclusive<u64> {
        &self.range
    }

    /// What is known of a key.
    pub(super) fn get(&self, key: &CacheKey) -> Option<&Row> {
        self.rows.get(key)
    }

    /// Every key with what is known of it.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&CacheKey, &Row)> {
        self.rows.iter()
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// From now on, every state of these keys is remembered; the others' are forgotten.
    pub(super) fn watch<'k>(&mut self, keys: impl Iterator<Item = &'k CacheKey>) {
        self.watched.clear();
        self.watched.extend(keys.map(|key| (key.clone(), Vec::new())));
    }

    /// The states that a watched key went through since. `None` where there were too many.
    pub(super) fn states_since(&self, key: &CacheKey) -> Option<&[KeyState]> {
        match self.watched.get(key) {
            Some(states) if states.len() > STATES_MAX => None,
            Some(states) => Some(states),
            None => Some(&[]),
        }
    }

    /// Gives up the upper half of the range. False where that is one key already.
    fn halve(&mut self) -> bool {
        let (low, high) = (*self.range.start(), *self.range.end());
        if low == high {
            return false;
        }
        self.range = low..=low + (high - low) / 2;
        let range = self.range.clone();
        let mut bytes = 0;
        self.rows.retain(|key, row| {
            let stays = range.contains(&of_key(key));
            bytes += if stays { cost(key, row) } else { 0 };
            stays
        });
        self.rows.shrink_to_fit();
        self.bytes = bytes;
        true
    }
}

fn cost(key: &CacheKey, row: &Row) -> usize {
    let spilled = key.as_bytes().len();
    let spilled = if spilled > INLINE_KEY_BYTES { spilled } else { 0 };
    let member = key.member().map_or(0, |member| size_of_val(member) + member.bytes.len());
    KEY_BYTES + row.state.heap_bytes() + 2 * (spilled + member)
}

/// True where the key is one that the entity only ever deletes.
pub(super) fn is_invalidated(entity: &Entity, key: &[u8]) -> bool {
    entity
        .handler
        .keys()
        .iter()
        .any(|template| template.is_invalidated() && template.template().may_give(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::{Expiry, Value};

    fn write(key: &str) -> Mutation {
        let effect = Effect::Write(Value::text("x"), Expiry::Never);
        Mutation { key: CacheKey::new(key.as_bytes()), effect, guard: None }
    }

    fn fill(table: &mut Table, keys: usize) {
        for key in 0..keys {
            let origin = Origin { partition: 0, offset: 0, timestamp_ms: None };
            table.take(&write(&format!("key:{key}")), &[], 0, origin);
        }
    }

    #[test]
    fn passes_cover_every_key_once_within_their_memory() {
        let (keys, bytes_max) = (10_000, 400_000);
        let mut seen = std::collections::HashSet::new();
        let (mut low, mut passes) = (0, 0);
        loop {
            let mut table = Table::new(low..=u64::MAX, Sample::of(1.0), bytes_max);
            fill(&mut table, keys);
            assert!(table.bytes <= bytes_max);
            for (key, _) in table.rows() {
                assert!(seen.insert(key.clone()), "twice");
            }
            passes += 1;
            match table.range().end().checked_add(1) {
                Some(next) => low = next,
                None => break,
            }
        }
        assert_eq!(seen.len(), keys);
        assert!((5..40).contains(&passes), "{passes}");
    }

    #[test]
    fn a_sample_is_the_same_keys_every_time_and_about_its_share() {
        let mut kept = Vec::new();
        for _ in 0..2 {
            let mut table = Table::new(0..=u64::MAX, Sample::of(0.1), usize::MAX);
            fill(&mut table, 10_000);
            let mut keys: Vec<CacheKey> = table.rows().map(|(key, _)| key.clone()).collect();
            keys.sort();
            assert!((800..1_200).contains(&keys.len()), "{}", keys.len());
            kept.push(keys);
        }
        assert_eq!(kept[0], kept[1]);
    }

    #[test]
    fn states_of_watched_keys_are_remembered_within_bounds() {
        let mut table = Table::new(0..=u64::MAX, Sample::of(1.0), usize::MAX);
        let (hot, cold) = (CacheKey::new(b"key:0"), CacheKey::new(b"key:1"));
        table.watch([&hot, &cold].into_iter());
        for _ in 0..STATES_MAX {
            fill(&mut table, 1);
        }
        assert_eq!(table.states_since(&hot).map(<[KeyState]>::len), Some(STATES_MAX));
        assert_eq!(table.states_since(&cold).map(<[KeyState]>::len), Some(0));
        fill(&mut table, 2);
        assert_eq!(table.states_since(&hot), None);
        assert_eq!(table.states_since(&cold).map(<[KeyState]>::len), Some(1));
    }
}
