//! Protobuf's wire format, bounded by the datum: no length is believed before it is held against what is left.
//!
//! Encoding: <https://protobuf.dev/programming-guides/encoding/>.

use std::ops::Range;

use super::super::datum::Fault;

/// Bytes of the longest varint: 64 bits in groups of 7.
const VARINT_BYTES_MAX: usize = 10;
/// Groups in each other that are skipped: what Google's own parsers nest by default.
const GROUPS_MAX: usize = 100;

/// Reads a part of a datum from left to right.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    datum: &'a [u8],
    at: usize,
    end: usize,
}

/// How a field's value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireType {
    Varint,
    Eight,
    Bytes,
    Group,
    GroupEnd,
    Four,
}

impl<'a> Reader<'a> {
    /// A reader of that part; what lies outside the datum is empty.
    pub(super) fn new(datum: &'a [u8], part: Range<usize>) -> Reader<'a> {
        let end = part.end.min(datum.len());
        Reader { datum, at: part.start.min(end), end }
    }

    /// Where it stands in the datum.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// True where nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// A fault at the byte that is read next.
    pub(super) fn fault(&self, what: &'static str) -> Fault {
        Fault { at: self.at, what }
    }

    fn rest(&self) -> &'a [u8] {
        self.datum.get(self.at..self.end).unwrap_or_default()
    }

    /// A number of up to 64 bits, 7 a byte, the lowest first.
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        let mut number = 0_u64;
        for (index, byte) in self.rest().iter().take(VARINT_BYTES_MAX).enumerate() {
            if index + 1 == VARINT_BYTES_MAX && *byte > 1 {
                return Err(self.fault("expected a number of at most 64 bits"));
            }
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.at += index + 1;
                return Ok(number);
            }
        }
        Err(self.fault("expected a number, and the record ends within it"))
    }

    /// A field's number and how its value is written; `None` at the end.
    pub(super) fn tag(&mut self) -> Result<Option<(u32, WireType)>, Fault> {
        if self.is_done() {
            return Ok(None);
        }
        let fault = self.fault("expected a field's number and wire type");
        let tag = u32::try_from(self.varint()?).map_err(|_| fault)?;
        let wire = match tag & 7 {
            0 => WireType::Varint,
            1 => WireType::Eight,
            2 => WireType::Bytes,
            3 => WireType::Group,
            4 => WireType::GroupEnd,
            5 => WireType::Four,
            _ => return Err(fault),
        };
        match tag >> 3 {
            0 => Err(fault),
            number => Ok(Some((number, wire))),
        }
    }

    /// The eight bytes of a fixed number.
    pub(super) fn eight(&mut self) -> Result<[u8; 8], Fault> {
        let fault = self.fault("expected the 8 bytes of a number");
        let (bytes, _) = self.rest().split_first_chunk().ok_or(fault)?;
        self.at += 8;
        Ok(*bytes)
    }

    /// The four bytes of a fixed number.
    pub(super) fn four(&mut self) -> Result<[u8; 4], Fault> {
        let fault = self.fault("expected the 4 bytes of a number");
        let (bytes, _) = self.rest().split_first_chunk().ok_or(fault)?;
        self.at += 4;
        Ok(*bytes)
    }

    /// Where the bytes behind a length lie.
    pub(super) fn delimited(&mut self) -> Result<Range<usize>, Fault> {
        let fault = self.fault("a length reaches beyond what it stands in");
        let length = usize::try_from(self.varint()?).map_err(|_| fault)?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.end).ok_or(fault)?;
        let part = self.at..end;
        self.at = end;
        Ok(part)
    }

    /// The bytes behind a length.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let part = self.delimited()?;
        Ok(self.datum.get(part).unwrap_or_default())
    }

    /// The text behind a length.
    pub(super) fn text(&mut self) -> Result<&'a str, Fault> {
        let fault = self.fault("expected a text in UTF-8");
        std::str::from_utf8(self.bytes()?).map_err(|_| fault)
    }

    /// Where the inside of a group lies whose beginning was read.
    pub(super) fn group(&mut self, number: u32) -> Result<Range<usize>, Fault> {
        let start = self.at;
        let unended = self.fault("expected a group's end");
        let mut open = vec![number];
        loop {
            let inside = self.at;
            let (number, wire) = self.tag()?.ok_or(unended)?;
            match wire {
                WireType::Group if open.len() >= GROUPS_MAX => {
                    return Err(Fault { at: inside, what: "groups nested too deeply" });
                }
                WireType::Group => open.push(number),
                WireType::GroupEnd if open.pop() != Some(number) => {
                    return Err(Fault { at: inside, what: "the end of another group" });
                }
                WireType::GroupEnd if open.is_empty() => return Ok(start..inside),
                WireType::GroupEnd => {}
                flat => self.skip_flat(flat)?,
            }
        }
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, number: u32, wire: WireType) -> Result<(), Fault> {
        match wire {
            WireType::Group => self.group(number).map(drop),
            WireType::GroupEnd => Err(self.fault("the end of a group that was not begun")),
            flat => self.skip_flat(flat),
        }
    }

    fn skip_flat(&mut self, wire: WireType) -> Result<(), Fault> {
        match wire {
            WireType::Varint => self.varint().map(drop),
            WireType::Eight => self.eight().map(drop),
            WireType::Four => self.four().map(drop),
            WireType::Bytes => self.delimited().map(drop),
            WireType::Group | WireType::GroupEnd => Ok(()),
        }
    }
}

/// The signed number of a zig-zag one.
pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// The lowest 32 bits: a wider number is cut, as in C++ (and every parser).
pub(super) fn low32(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new(bytes, 0..bytes.len())
    }

    #[test]
    fn varints_are_bounded() {
        let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        for (bytes, number) in [(&[0][..], 0), (&[0x7f], 127), (&[0x80, 1], 128), (&max, u64::MAX)] {
            let mut reader = reader(bytes);
            assert_eq!(reader.varint(), Ok(number), "{bytes:?}");
            assert!(reader.is_done());
        }
        for bytes in [&[][..], &[0x80], &[0xff; 10], &[0xff; 11]] {
            assert!(reader(bytes).varint().is_err(), "{bytes:?}");
        }
        assert_eq!((unzigzag(0), unzigzag(1), unzigzag(u64::MAX)), (0, -1, i64::MIN));
        assert_eq!(low32(0xffff_ffff_ffff_fffe), u32::MAX - 1);
    }

    #[test]
    fn tags_lengths_and_groups_are_held_against_what_is_left() {
        for bytes in [&[0][..], &[7], &[0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
            assert!(reader(bytes).tag().is_err(), "{bytes:?}");
        }
        for bytes in [&[2, b'a'][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
            assert!(reader(bytes).bytes().is_err(), "{bytes:?}");
        }
        assert!(Reader::new(&[1, b'a', b'b'], 0..1).bytes().is_err(), "the part ends before the datum");
        assert_eq!(reader(&[2, 0xff, 0xff]).text().unwrap_err().what, "expected a text in UTF-8");
        // Field 1's group holds the number 5 in field 2 and an empty group 3.
        assert_eq!(reader(&[0x10, 5, 0x1b, 0x1c, 0x0c]).group(1), Ok(0..4));
        for (bytes, what) in [
            (&[0x10, 5][..], "expected a group's end"),
            (&[0x14], "the end of another group"),
            (&[0x0b; 200], "groups nested too deeply"),
        ] {
            assert_eq!(reader(bytes).group(1).unwrap_err().what, what, "{bytes:?}");
        }
        assert!(reader(&[]).skip(1, WireType::GroupEnd).is_err());
    }
}
