//! Redis Cluster's hash slots: which slot a key hashes to, and one short hash tag for each slot.
//!
//! Pure. CRC16 (XMODEM) and the rule of the first `{…}` are from the cluster specification:
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>.

use std::sync::LazyLock;

/// Number of slots of a cluster.
pub const SLOT_COUNT: u16 = 16384;

/// The slot of a key: CRC16 of what stands between the first `{` and the next `}` where that is not empty,
/// else of the whole key.
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hashed_part(key)) % SLOT_COUNT
}

/// A text without braces that hashes to that slot, at most five bytes long.
///
/// The same in every process and version, since keys that outlive both are named with it: numbers are
/// tried upwards from 0, the first that gives a slot is its tag.
pub fn tag_of(slot: u16) -> &'static str {
    static TAGS: LazyLock<Vec<String>> = LazyLock::new(tags);
    TAGS.get(usize::from(slot % SLOT_COUNT)).map_or("", String::as_str)
}

fn tags() -> Vec<String> {
    let mut tags = vec![String::new(); usize::from(SLOT_COUNT)];
    let mut missing = tags.len();
    let mut number = 0_u32;
    while missing > 0 {
        let text = number.to_string();
        if let Some(tag) = tags.get_mut(usize::from(slot_of(text.as_bytes())))
            && tag.is_empty()
        {
            *tag = text;
            missing -= 1;
        }
        number += 1;
    }
    tags
}

fn hashed_part(key: &[u8]) -> &[u8] {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close)
    });
    match tag {
        Some(tag) if !tag.is_empty() => tag,
        _ => key,
    }
}

/// CRC16 of one byte, for each byte.
const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        let [high, _] = crc.to_be_bytes();
        (crc << 8) ^ CRC16[usize::from(high ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // `CLUSTER KEYSLOT` of Redis 7.0.15.
        for (key, slot) in [("foo", 12182), ("bar", 5061), ("{user1000}.following", 3443)] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn the_first_braces_count_and_empty_ones_do_not() {
        assert_eq!(slot_of(b"a{foo}b{bar}"), slot_of(b"foo"));
        assert_eq!(slot_of(b"{}foo"), crc16(b"{}foo") % SLOT_COUNT);
        assert_eq!(slot_of(b"{{foo}}"), slot_of(b"{foo"));
        assert_eq!(slot_of(b"{foo"), crc16(b"{foo") % SLOT_COUNT);
    }

    #[test]
    fn each_slot_has_a_tag_that_hashes_to_it() {
        for slot in 0..SLOT_COUNT {
            let tag = tag_of(slot);
            assert!(!tag.is_empty() && tag.len() <= 6);
            assert_eq!(slot_of(format!("x:{{{tag}}}:any}}{{thing").as_bytes()), slot);
        }
    }
}
