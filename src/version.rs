//! What the version guard compares: a source position, an offset, or columns of the row.
//!
//! Text whose bytes stand in the order of what it means, so that one comparison byte by byte decides, in Rust as
//! in the guard's Lua script; never Lua numbers, which lose integers over 2^53.
//!
//! | part | text | order |
//! |---|---|---|
//! | epoch | none for 0; else a letter for the number of its digits (`g` for one, `h` for two, …) and the digits | compared before the rest |
//! | kind | `+` columns, `-` offset, nothing for a source position | in this order, within an epoch |
//! | the rest | lower-case hexadecimal digits, of fixed width or such that none is the beginning of another | as its kind says |

use std::fmt;

use smallvec::SmallVec;

/// Room for the widest composite position that is kept without allocating: PostgreSQL's pair of 64-bit numbers.
const INLINE_DIGITS: usize = 32;

/// Marks a version made of columns. Below every hexadecimal digit and below [`OFFSET`].
const COLUMNS: u8 = b'+';
/// Marks a version that is an offset. Below every hexadecimal digit.
const OFFSET: u8 = b'-';

/// A version of a row. Compared byte by byte.
///
/// Versions of one kind are ordered by what they mean. Of different kinds, which meet where the settings were
/// changed, a source position is newer than an offset, and that than columns; a newer epoch is newer than all.
/// One without more than an epoch ([`Version::NONE`] in epoch 0: no position, as in an incremental snapshot) is
/// older than any other of its epoch.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(SmallVec<[u8; INLINE_DIGITS]>);

impl Version {
    /// The version of a row whose source gave no position: older than any.
    pub const NONE: Version = Version(SmallVec::new_const());

    /// A composite source position of 64-bit parts, most significant first. Those of one source have the same
    /// number of parts.
    pub fn from_parts(parts: &[u64]) -> Version {
        let mut digits = SmallVec::with_capacity(parts.len() * 16);
        parts.iter().for_each(|part| push_hex(*part, &mut digits));
        Version(digits)
    }

    /// The offset of a record. Of one partition: those of others do not compare.
    pub fn from_offset(offset: i64) -> Version {
        let mut digits = SmallVec::new();
        digits.push(OFFSET);
        push_hex(u64::try_from(offset).unwrap_or(0), &mut digits);
        Version(digits)
    }

    /// Columns of a row, each as [`crate::types::order_key`] writes it, most significant first.
    pub fn from_columns(ordered: &[u8]) -> Version {
        let mut digits = SmallVec::with_capacity(ordered.len() + 1);
        digits.push(COLUMNS);
        digits.extend_from_slice(ordered);
        Version(digits)
    }

    /// The same version, of epoch 0, in that epoch.
    pub fn in_epoch(self, epoch: u64) -> Version {
        if epoch == 0 {
            return self;
        }
        // 64 bits are at most 20 decimal digits: letters from g to z.
        let number = epoch.to_string();
        let count = (b'f'..=b'z').nth(number.len()).unwrap_or(b'z');
        let mut digits = SmallVec::with_capacity(self.0.len() + number.len() + 1);
        digits.push(count);
        digits.extend_from_slice(number.as_bytes());
        digits.extend_from_slice(&self.0);
        Version(digits)
    }

    /// The text, as the guard's script gets it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads a text back, as the guard's side key holds it. `None` where it is no version.
    pub fn from_text(text: &[u8]) -> Option<Version> {
        text.iter()
            .all(|byte| matches!(*byte, b'0'..=b'9' | b'a'..=b'z' | COLUMNS | OFFSET))
            .then(|| Version(SmallVec::from_slice(text)))
    }

    /// True for a version that is nothing but its epoch: [`Version::NONE`] in any.
    pub fn is_none(&self) -> bool {
        match self.0.split_first() {
            None => true,
            Some((count @ b'g'..=b'z', rest)) => rest.len() == usize::from(count - b'f'),
            Some(_) => false,
        }
    }
}

fn push_hex(number: u64, digits: &mut SmallVec<[u8; INLINE_DIGITS]>) {
    let text = number.to_be_bytes().map(|byte| HEX[usize::from(byte)]);
    digits.extend_from_slice(text.as_flattened());
}

/// The two digits of each byte.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 0xf]];
        byte += 1;
    }
    pairs
};

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_by_epoch_then_kind_then_number_and_none_is_the_oldest_of_its_epoch() {
        let rising = [
            Version::NONE,
            Version::from_columns(b"0"),
            Version::from_columns(b"12"),
            Version::from_offset(0),
            Version::from_offset(9),
            Version::from_offset(10),
            Version::from_offset(i64::MAX),
            Version::from_parts(&[0, 9]),
            Version::from_parts(&[0, 10]),
            Version::from_parts(&[1, 0]),
            Version::from_parts(&[u64::MAX, 0]),
            Version::NONE.in_epoch(1),
            Version::from_offset(9).in_epoch(1),
            Version::from_parts(&[1, 0]).in_epoch(1),
            Version::from_columns(b"1").in_epoch(2),
            Version::from_offset(0).in_epoch(9),
            Version::NONE.in_epoch(10),
            Version::from_columns(b"1").in_epoch(11),
            Version::from_offset(0).in_epoch(100),
            Version::NONE.in_epoch(u64::MAX),
            Version::from_offset(0).in_epoch(u64::MAX),
        ];
        for pair in rising.windows(2) {
            assert!(pair[0] < pair[1], "{:?} < {:?}", pair[0], pair[1]);
        }
    }

    #[test]
    fn none_is_told_in_every_epoch() {
        for epoch in [0, 1, 9, 10, 12_345, u64::MAX] {
            assert!(Version::NONE.in_epoch(epoch).is_none(), "{epoch}");
            for version in [Version::from_offset(0), Version::from_parts(&[0]), Version::from_columns(b"0")] {
                assert!(!version.in_epoch(epoch).is_none(), "{epoch}");
            }
        }
    }

    #[test]
    fn texts_read_back_and_others_do_not() {
        for version in [
            Version::from_parts(&[24_023_000, 24_023_128]),
            Version::from_offset(7).in_epoch(2),
            Version::from_columns(b"12ab").in_epoch(31),
        ] {
            assert_eq!(Version::from_text(version.as_bytes()), Some(version));
        }
        assert_eq!(Version::from_offset(255).in_epoch(2).to_string(), "g2-00000000000000ff");
        for text in ["12AB", "1 2", "1\n"] {
            assert_eq!(Version::from_text(text.as_bytes()), None, "{text:?}");
        }
    }
}
