//! Keys that belong to another partition by now, for their topic has more partitions than it had.
//!
//! Such a key's history lies in two partitions, which no order joins: what the former one says of it is older than
//! whatever the other one says, and may be of a row that was deleted since. So it is left out, and counted.
//!
//! That holds where keys are placed by their hash as Kafka's own producers do it. Others place them otherwise
//! (librdkafka's default by CRC-32), so that is believed of a partition only where the first window that holds such a
//! key bears it out: every key of it belongs there by one of the counts that the topic had. Pure. Start at [`Placing`].

/// A topic's partition count has grown since the group began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// The partition whose history is read.
    pub partition: i32,
    /// What it was when the group first committed.
    pub from: i32,
    /// What it is.
    pub to: i32,
}

impl Growth {
    /// `None` where it has not grown, as far as that is known.
    pub fn of(partition: i32, from: Option<i32>, to: i32) -> Option<Growth> {
        from.filter(|from| (1..to).contains(from)).map(|from| Growth { partition, from, to })
    }

    fn place(self, record_key: &[u8]) -> Place {
        let hash = murmur2(record_key) & i32::MAX;
        let is_here = |count: i32| hash.checked_rem(count) == Some(self.partition);
        if is_here(self.to) {
            Place::Here
        } else if (self.from..self.to).any(is_here) {
            Place::Moved
        } else {
            Place::Nowhere
        }
    }
}

/// Where a key belongs, by Kafka's own hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Here.
    Here,
    /// It did, before the topic grew.
    Moved,
    /// It never belonged here: something else placed it.
    Nowhere,
}

/// What is held of the topic's producers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Judged {
    /// No window has told yet.
    #[default]
    Open,
    /// They place keys by Kafka's own hash.
    Hashed,
    /// They do not, or not all of them.
    Otherwise,
}

/// Tells which records of the history are left out.
#[derive(Debug, Default)]
pub(super) struct Placing {
    growth: Option<Growth>,
    judged: Judged,
    /// The window at hand holds a key that has moved.
    has_moved: bool,
    /// It holds a key that never belonged here.
    has_foreign: bool,
    /// Somebody was told that they place them otherwise.
    is_told: bool,
}

impl Placing {
    /// The next records are of this window, of a topic that has grown, or has not.
    pub(super) fn set(&mut self, growth: Option<Growth>) {
        self.growth = growth;
    }

    /// True where the record is to be left out: its key has moved. What no count of partitions explains stays in.
    pub(super) fn leaves_out(&mut self, record_key: &[u8]) -> bool {
        let Some(growth) = self.growth.filter(|_| self.judged != Judged::Otherwise) else { return false };
        let place = growth.place(record_key);
        self.has_moved |= place == Place::Moved;
        self.has_foreign |= place == Place::Nowhere;
        place == Place::Moved && self.judged == Judged::Hashed
    }

    /// A window was read, or given up. True where it is to be read once more: it holds keys that have moved, and by
    /// now it is known that they are to be left out.
    pub(super) fn judge(&mut self, is_whole: bool) -> bool {
        let has_moved = std::mem::take(&mut self.has_moved);
        let has_foreign = std::mem::take(&mut self.has_foreign);
        if !has_moved || !is_whole || self.judged != Judged::Open {
            return false;
        }
        self.judged = if has_foreign { Judged::Otherwise } else { Judged::Hashed };
        self.judged == Judged::Hashed
    }

    /// True once where nothing is left out, for producers place keys in a way of their own.
    pub(super) fn doubts(&mut self) -> bool {
        self.judged == Judged::Otherwise && !std::mem::replace(&mut self.is_told, true)
    }
}

/// The hash of Kafka's own producers, a murmur2 with their seed:
/// <https://github.com/apache/kafka/blob/3.9.0/clients/src/main/java/org/apache/kafka/common/utils/Utils.java>.
fn murmur2(bytes: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    #[expect(clippy::cast_possible_truncation, reason = "Kafka's length is an int")]
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    (hash ^ (hash >> 15)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kafka's `UtilsTest.testMurmur2`.
    #[test]
    fn keys_hash_as_kafka_hashes_them() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (bytes, hash) in cases {
            assert_eq!(murmur2(bytes), hash, "{bytes:?}");
        }
    }

    fn keys(count: i32, partition: i32) -> Vec<String> {
        let all = (0..100).map(|id| id.to_string());
        all.filter(|key| (murmur2(key.as_bytes()) & i32::MAX) % count == partition).collect()
    }

    #[test]
    fn growth_is_known_only_of_more_partitions() {
        assert_eq!(Growth::of(0, Some(2), 4), Some(Growth { partition: 0, from: 2, to: 4 }));
        for (from, to) in [(None, 4), (Some(4), 4), (Some(5), 4), (Some(0), 4)] {
            assert_eq!(Growth::of(0, from, to), None, "{from:?} {to}");
        }
    }

    #[test]
    fn what_has_moved_is_left_out_once_a_window_has_borne_it_out() {
        let mut placing = Placing::default();
        let (old, new) = (keys(2, 0), keys(4, 0));
        let left_out = |placing: &mut Placing, keys: &[String]| {
            keys.iter().filter(|key| placing.leaves_out(key.as_bytes())).count()
        };
        assert_eq!((left_out(&mut placing, &old), placing.judge(true)), (0, false), "it has not grown");
        placing.set(Growth::of(0, Some(2), 4));
        assert_eq!((left_out(&mut placing, &new), placing.judge(true)), (0, false), "none has moved");
        assert_eq!((left_out(&mut placing, &old), placing.judge(false)), (0, false), "it was given up");
        assert_eq!((left_out(&mut placing, &old), placing.judge(true)), (0, true), "read it once more");
        assert_eq!((left_out(&mut placing, &old), placing.judge(true)), (old.len() - new.len(), false));
        // By now a key that nothing explains is somebody's own, and stays.
        assert_eq!((left_out(&mut placing, &keys(6, 1)), placing.doubts()), (0, false));
    }

    #[test]
    fn where_producers_place_keys_otherwise_nothing_is_left_out() {
        let mut placing = Placing::default();
        placing.set(Growth::of(0, Some(2), 4));
        let all: Vec<String> = (0..100).map(|id| id.to_string()).collect();
        for _ in 0..2 {
            assert!(!all.iter().any(|key| placing.leaves_out(key.as_bytes())));
            assert!(!placing.judge(true));
        }
        assert_eq!((placing.doubts(), placing.doubts()), (true, false), "said once");
    }
}
