//! A comparable source position: what the version guard compares.
//!
//! Lower-case hexadecimal digits of fixed width per connector, most significant first, so that a byte
//! comparison is a numeric one. Text and not raw bytes because the guard's Lua script compares with the
//! server's collation (Redis calls `setlocale(LC_COLLATE, "")` at start), under which only digits and
//! lower-case letters of one length keep their order everywhere; and never as Lua numbers, which lose
//! integers over 2^53.

use std::cmp::Ordering;
use std::fmt;

use smallvec::SmallVec;

/// Room for the widest composite position that is kept without allocating: PostgreSQL's pair of 64-bit numbers.
const INLINE_DIGITS: usize = 32;

/// A version of a row: its source position. Longer counts as newer, equal lengths compare as text.
///
/// [`Version::NONE`] (no position, as in an incremental snapshot) is older than any other.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Version(SmallVec<[u8; INLINE_DIGITS]>);

impl Version {
    /// The version of a row whose source gave no position: older than any.
    pub const NONE: Version = Version(SmallVec::new_const());

    /// A composite version of 64-bit parts, most significant first.
    pub fn from_parts(parts: &[u64]) -> Version {
        let mut digits = SmallVec::with_capacity(parts.len() * 16);
        for part in parts {
            let mut text = [0; 16];
            for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(part.to_be_bytes()) {
                *pair =
                    [byte >> 4, byte & 0xf].map(|nibble| nibble + if nibble < 10 { b'0' } else { b'a' - 10 });
            }
            digits.extend_from_slice(&text);
        }
        Version(digits)
    }

    /// The digits, as the guard's script gets them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads digits back, as the guard's side key holds them. `None` where they are no version.
    pub fn from_digits(digits: &[u8]) -> Option<Version> {
        digits
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
            .then(|| Version(SmallVec::from_slice(digits)))
    }

    /// True for [`Version::NONE`].
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

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
    fn order_is_numeric_part_by_part_and_none_is_oldest() {
        let rising = [
            Version::NONE,
            Version::from_parts(&[0, 9]),
            Version::from_parts(&[0, 10]),
            Version::from_parts(&[1, 0]),
            Version::from_parts(&[u64::MAX, 0]),
        ];
        for pair in rising.windows(2) {
            assert!(pair[0] < pair[1], "{:?} < {:?}", pair[0], pair[1]);
        }
    }

    #[test]
    fn digits_read_back_and_others_do_not() {
        let version = Version::from_parts(&[24_023_000, 24_023_128]);
        assert_eq!(Version::from_digits(version.as_bytes()), Some(version));
        assert_eq!(Version::from_digits(b"12AB"), None);
    }
}
