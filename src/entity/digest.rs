//! Digests that are the same on every machine and in every run.
//!
//! They are kept in Redis beside guarded keys and decide TTL jitter, so neither `ahash` nor std's hasher will
//! do: both promise nothing between versions. FNV-1a is a dozen lines, needs no crate and cannot change:
//! <https://datatracker.ietf.org/doc/draft-eastlake-fnv/>. Not for adversaries: who can choose whole rows can
//! make two of them collide, and gains a cache miss.

/// 128-bit FNV-1a, fed piece by piece.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fnv128(u128);

impl Fnv128 {
    const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    pub(crate) fn new() -> Fnv128 {
        Fnv128(Self::OFFSET_BASIS)
    }

    /// Feeds one piece with its length, so that `("ab", "c")` and `("a", "bc")` differ.
    pub(crate) fn piece(&mut self, bytes: &[u8]) {
        self.bytes(&(bytes.len() as u64).to_be_bytes());
        self.bytes(bytes);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }

    pub(crate) fn finish(self) -> u128 {
        self.0
    }
}

/// 64 bits of a key whose every bit depends on every byte of it.
///
/// 64-bit FNV-1a, then the finalizer of MurmurHash3, without which keys that differ in their last byte would
/// have nearly the same upper half.
pub(crate) fn spread(bytes: &[u8]) -> u64 {
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_gives_its_published_vectors() {
        let digest = |text: &str| {
            let mut fnv = Fnv128::new();
            fnv.bytes(text.as_bytes());
            fnv.finish()
        };
        assert_eq!(digest(""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(digest("a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(digest("foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    #[test]
    fn pieces_do_not_run_into_each_other() {
        let digest = |pieces: &[&str]| {
            let mut fnv = Fnv128::new();
            pieces.iter().for_each(|piece| fnv.piece(piece.as_bytes()));
            fnv.finish()
        };
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["", "a"]), digest(&["a", ""]));
    }

    #[test]
    fn the_spread_of_neighbouring_keys_is_even() {
        let mut buckets = [0; 8];
        for id in 0..8_000 {
            buckets[usize::try_from(spread(format!("customer:{id}").as_bytes()) >> 61).unwrap()] += 1;
        }
        assert!(buckets.iter().all(|count| (850..1_150).contains(count)), "{buckets:?}");
    }
}
