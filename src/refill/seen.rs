//! What was seen already: fingerprints of rows and keys, in bounded memory.
//!
//! A fingerprint has 64 bits, so that two of a million meet with odds of 1 : 37 million. Where they do, a key stays
//! out of the cache until its next change: a miss, never a wrong value. One costs 9 to 21 bytes (8, one of control,
//! and the table's free room); a row with one key takes two.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use crate::mutation::{CacheKey, RowId};

/// Bytes that a fingerprint takes at most, with the room that the table keeps free after it has grown.
pub const FINGERPRINT_BYTES_MAX: usize = 21;

/// A row or a key that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Fingerprint(u64);

/// The set.
#[derive(Debug)]
pub(super) struct Seen {
    hasher: ahash::RandomState,
    set: HashSet<Fingerprint, BuildHasherDefault<AsItIs>>,
    count_max: usize,
}

impl Seen {
    /// An empty set for at most so many fingerprints. `seed` differs between processes, so that nobody outside
    /// can choose rows whose fingerprints meet.
    pub(super) fn new(seed: u64, count_max: usize) -> Seen {
        let hasher = ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 0x243f_6a88_85a3_08d3);
        Seen { hasher, set: HashSet::default(), count_max: count_max.max(1) }
    }

    /// The fingerprint of a key, or of a key and member.
    pub(super) fn key(&self, key: &CacheKey) -> Fingerprint {
        Fingerprint(self.hasher.hash_one((0_usize, key)))
    }

    /// The fingerprint of an entity's row.
    pub(super) fn row(&self, entity: usize, row: &RowId) -> Fingerprint {
        Fingerprint(self.hasher.hash_one((entity.saturating_add(1), row.as_bytes())))
    }

    /// The fingerprint of a record key.
    pub(super) fn record(&self, key: &[u8]) -> Fingerprint {
        Fingerprint(self.hasher.hash_one((usize::MAX - 1, key)))
    }

    /// A number that spreads what has these bytes over slices.
    pub(super) fn spread(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one((usize::MAX, bytes))
    }

    pub(super) fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.set.contains(&fingerprint)
    }

    pub(super) fn insert(&mut self, fingerprint: Fingerprint) {
        self.set.insert(fingerprint);
    }

    /// True where it holds more than it was made for.
    pub(super) fn is_over(&self) -> bool {
        self.set.len() > self.count_max
    }

    /// Forgets all, and gives the memory back.
    pub(super) fn clear(&mut self) {
        self.set = HashSet::default();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.set.len()
    }
}

/// A fingerprint is a hash already.
#[derive(Debug, Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_entities_and_keys_are_told_apart() {
        let mut seen = Seen::new(7, 10);
        let row = RowId::new(b"a");
        let all = [seen.key(&CacheKey::new(b"a")), seen.row(0, &row), seen.row(1, &row)];
        for fingerprint in all {
            assert!(!seen.contains(fingerprint));
            seen.insert(fingerprint);
        }
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn a_fingerprint_takes_no_more_than_it_says() {
        let mut seen = Seen::new(7, 1 << 20);
        for number in 0..1_000_000_u64 {
            seen.insert(seen.key(&CacheKey::new(&number.to_be_bytes())));
        }
        assert_eq!(seen.len(), 1_000_000, "none of a million meet");
        // Eight bytes and one of control for each place of the table, of which one in eight stays free.
        let bytes = seen.set.capacity() * 8 / 7 * 9;
        assert!(bytes <= 1_000_000 * FINGERPRINT_BYTES_MAX, "{bytes}");
        assert!(!seen.is_over());
    }
}
