//! Which writes may still turn out wrong: the state behind *settled* writes.
//!
//! Nothing orders a preload's writes against those of the lanes. So each is remembered until the follower of the
//! entity's topics has passed the ends that they had right after the write: every change that could have come before it
//! has come to light by then. One that does takes the write back, as long as the key still holds it. Pure: who follows
//! and who writes are others. Start at [`Settling`].

use std::collections::{HashMap, HashSet, VecDeque};

use smallvec::SmallVec;

use crate::mutation::{CacheKey, RowId};
use crate::sink::redis::Fingerprint;

/// Rows and keys that may have changed since the export: nine bytes each, and a spare.
pub(super) const CHANGED_MAX: usize = 7_000_000;
/// Writes that may wait to be settled: their keys and some 200 bytes each.
pub(super) const PENDING_MAX: usize = 100_000;

type Hasher = ahash::RandomState;

/// What stands for a key.
pub(super) fn fingerprint(key: &CacheKey) -> u64 {
    of_bytes(key.as_bytes())
}

/// The same of its bytes.
pub(super) fn of_bytes(key: &[u8]) -> u64 {
    // The same in every part of the process; nothing of it is kept.
    Hasher::with_seeds(1, 2, 3, 4).hash_one(key)
}

/// Stands for a row that nothing tells apart.
pub(super) const NO_ROW: u64 = u64::MAX;

/// What stands for a row. Never the same as a key's.
pub(super) fn of_row(row: &RowId) -> u64 {
    of_bytes(row.as_bytes()).wrapping_add(1)
}

/// A write that is remembered.
#[derive(Debug)]
struct Remembered {
    key: CacheKey,
    held: Fingerprint,
    /// The row that it is of.
    row: u64,
    generation: u64,
}

/// Rows and keys that changed since the export, and writes that are not settled yet.
///
/// A change names its row, and the keys that it writes and deletes: a key that the row had at the export's time may be
/// none of these, and another row may have it by now.
///
/// Writes are remembered in generations: all of one generation are settled when the follower has passed the ends that
/// the topics had after the last of them.
#[derive(Debug)]
pub(super) struct Settling<P> {
    changed: HashSet<u64, Hasher>,
    pending: HashMap<u64, Remembered, Hasher>,
    /// The keys of each row that are pending.
    rows: HashMap<u64, SmallVec<[u64; 2]>, Hasher>,
    generation: u64,
    /// What was reached at the end of each generation that is closed and not settled, oldest first.
    closed: VecDeque<(u64, P)>,
    /// What was reached at the end of the open one.
    reached: Option<P>,
}

/// The keys that changed since the export are too many.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyChanges;

impl<P> Settling<P> {
    pub(super) fn new() -> Settling<P> {
        Settling {
            changed: HashSet::default(),
            pending: HashMap::default(),
            rows: HashMap::default(),
            generation: 1,
            closed: VecDeque::new(),
            reached: None,
        }
    }

    /// Takes in rows and keys that changed; what of theirs was written is given back, to be taken back.
    pub(super) fn heard(
        &mut self,
        changed: &[u64],
        back: &mut Vec<(CacheKey, Fingerprint)>,
    ) -> Result<(), TooManyChanges> {
        for changed in changed {
            if self.changed.len() >= CHANGED_MAX && !self.changed.contains(changed) {
                return Err(TooManyChanges);
            }
            self.changed.insert(*changed);
            let of_row = self.rows.get(changed).cloned().unwrap_or_default();
            for key in of_row.iter().chain([changed]) {
                if let Some(written) = self.forget(*key) {
                    back.push((written.key, written.held));
                }
            }
        }
        Ok(())
    }

    /// True where the row or the key changed since the export.
    pub(super) fn is_changed(&self, fingerprint: u64) -> bool {
        self.changed.contains(&fingerprint)
    }

    /// How many rows and keys changed.
    pub(super) fn changed_count(&self) -> usize {
        self.changed.len()
    }

    /// Remembers a write, which is done or may be.
    pub(super) fn remember(&mut self, key: CacheKey, row: u64, held: Fingerprint) {
        let (generation, name) = (self.generation, fingerprint(&key));
        self.forget(name);
        if row != NO_ROW {
            self.rows.entry(row).or_default().push(name);
        }
        self.pending.insert(name, Remembered { key, held, row, generation });
    }

    fn forget(&mut self, key: u64) -> Option<Remembered> {
        let written = self.pending.remove(&key)?;
        if let Some(keys) = self.rows.get_mut(&written.row) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.rows.remove(&written.row);
            }
        }
        Some(written)
    }

    /// Says how far everything is written by now: what counts as reached once the open generation is settled.
    pub(super) fn reach(&mut self, place: P) {
        self.reached = Some(place);
    }

    /// Closes the open generation and returns its number, for the follower to mark; `None` where nothing was reached
    /// in it.
    pub(super) fn close(&mut self) -> Option<u64> {
        let place = self.reached.take()?;
        let closed = self.generation;
        self.generation += 1;
        self.closed.push_back((closed, place));
        Some(closed)
    }

    /// The follower has passed the mark of this generation. Returns how far everything is settled.
    pub(super) fn passed(&mut self, generation: u64) -> Option<P> {
        let settled: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, written)| written.generation <= generation)
            .map(|(key, _)| *key)
            .collect();
        settled.into_iter().for_each(|key| drop(self.forget(key)));
        let mut place = None;
        while let Some((_, reached)) = self.closed.pop_front_if(|(number, _)| *number <= generation) {
            place = Some(reached);
        }
        place
    }

    /// Writes that are not settled.
    pub(super) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// True where everything is settled.
    pub(super) fn is_settled(&self) -> bool {
        self.closed.is_empty() && self.reached.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> CacheKey {
        CacheKey::new(name.as_bytes())
    }

    fn held(digest: &str) -> Fingerprint {
        Fingerprint { digest: digest.to_owned(), expires_at_ms: None }
    }

    #[test]
    fn a_change_that_comes_to_light_takes_the_write_back_until_it_is_settled() {
        let mut settling = Settling::new();
        settling.remember(key("a"), 100, held("1"));
        settling.remember(key("b"), 100, held("2"));
        settling.reach(10);
        assert_eq!(settling.close(), Some(1));
        assert_eq!(settling.close(), None, "nothing was reached in it");
        settling.remember(key("c"), 200, held("3"));
        settling.reach(20);

        let mut back = Vec::new();
        settling.heard(&[fingerprint(&key("a")), fingerprint(&key("x"))], &mut back).unwrap();
        assert_eq!(back, [(key("a"), held("1"))]);
        assert!(settling.is_changed(fingerprint(&key("x"))) && !settling.is_changed(fingerprint(&key("b"))));

        assert_eq!(settling.passed(1), Some(10));
        assert_eq!(settling.pending_count(), 1, "c is of the next generation");
        back.clear();
        settling.heard(&[fingerprint(&key("b")), fingerprint(&key("c"))], &mut back).unwrap();
        assert_eq!(back, [(key("c"), held("3"))], "b is settled: what changes it now is a lane's to write");
        assert!(!settling.is_settled());
        assert_eq!(settling.close(), Some(2));
        assert_eq!(settling.passed(2), Some(20));
        assert!(settling.is_settled());
    }

    #[test]
    fn a_row_that_changes_takes_all_of_its_keys_back() {
        let mut settling = Settling::<u8>::new();
        for (name, row) in [("a", 1), ("b", 1), ("c", 2), ("a", 1)] {
            settling.remember(key(name), row, held(name));
        }
        let mut back = Vec::new();
        settling.heard(&[1], &mut back).unwrap();
        back.sort_by(|(one, _), (other, _)| one.cmp(other));
        assert_eq!(back, [(key("a"), held("a")), (key("b"), held("b"))]);
        assert_eq!((settling.pending_count(), settling.rows.len()), (1, 1));
    }
}
