//! Avro's binary primitives, bounded by the datum: no length is believed before it is held against what is left.

use super::super::datum::Fault;

/// Bytes of the longest `long`: 64 bits in groups of 7.
const VARINT_BYTES_MAX: usize = 10;

/// Reads a datum from left to right.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(datum: &'a [u8]) -> Reader<'a> {
        Reader { rest: datum, length: datum.len() }
    }

    /// Bytes that are not read yet.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// A fault at the byte that is read next.
    pub(super) fn fault(&self, what: &'static str) -> Fault {
        Fault { at: self.length.saturating_sub(self.rest.len()), what }
    }

    /// Nothing may follow.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.fault("expected the end")) }
    }

    /// A `long`: zig-zag, 7 bits a byte, the lowest first. Most are of one byte: branches of unions, lengths.
    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, Fault> {
        match self.rest.split_first() {
            Some((byte, rest)) if byte & 0x80 == 0 => {
                self.rest = rest;
                Ok(unzigzag(u64::from(*byte)))
            }
            _ => self.longer(),
        }
    }

    fn longer(&mut self) -> Result<i64, Fault> {
        let mut number = 0_u64;
        for (index, byte) in self.rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            if index + 1 == VARINT_BYTES_MAX && *byte > 1 {
                return Err(self.fault("expected a number of at most 64 bits"));
            }
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(unzigzag(number));
            }
        }
        Err(self.fault("expected a number, and the record ends within it"))
    }

    /// An `int`.
    pub(super) fn int(&mut self) -> Result<i64, Fault> {
        let fault = self.fault("expected a number of at most 32 bits");
        let number = self.long()?;
        i32::try_from(number).map(i64::from).map_err(|_| fault)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Fault> {
        match self.rest.split_first() {
            Some((byte @ (0 | 1), rest)) => {
                self.rest = rest;
                Ok(*byte == 1)
            }
            _ => Err(self.fault("expected a boolean, 0 or 1")),
        }
    }

    pub(super) fn float(&mut self) -> Result<f32, Fault> {
        let (bytes, rest) =
            self.rest.split_first_chunk().ok_or_else(|| self.fault("expected the 4 bytes of a float"))?;
        self.rest = rest;
        Ok(f32::from_le_bytes(*bytes))
    }

    pub(super) fn double(&mut self) -> Result<f64, Fault> {
        let (bytes, rest) =
            self.rest.split_first_chunk().ok_or_else(|| self.fault("expected the 8 bytes of a double"))?;
        self.rest = rest;
        Ok(f64::from_le_bytes(*bytes))
    }

    /// So many bytes.
    pub(super) fn fixed(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.fault("a length reaches beyond the record's end"))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Bytes behind their length.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let fault = self.fault("expected a length that is not negative");
        let length = usize::try_from(self.long()?).map_err(|_| fault)?;
        self.fixed(length)
    }

    /// Text behind its length.
    pub(super) fn text(&mut self) -> Result<&'a str, Fault> {
        let fault = self.fault("expected a text in UTF-8");
        utf8(self.bytes()?).ok_or(fault)
    }

    /// An index of a union's branch or an enum's symbol; who has the list holds it against that.
    pub(super) fn index(&mut self) -> Result<usize, Fault> {
        let fault = self.fault("expected an index that is not negative");
        usize::try_from(self.long()?).map_err(|_| fault)
    }

    /// Number of items in the next block; 0 ends the array or map. A negative count has the block's size in
    /// bytes behind it, for those who skip.
    pub(super) fn block(&mut self) -> Result<u64, Fault> {
        let count = self.long()?;
        if count < 0 {
            let fault = self.fault("expected a block's size that is not negative");
            if self.long()? < 0 {
                return Err(fault);
            }
        }
        Ok(count.unsigned_abs())
    }
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Texts of so many bytes are checked by vector instructions.
const LONG_TEXT: usize = 64;

fn utf8(bytes: &[u8]) -> Option<&str> {
    if bytes.len() < LONG_TEXT {
        std::str::from_utf8(bytes).ok()
    } else {
        simdutf8::basic::from_utf8(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longs_are_zigzag_and_bounded() {
        let max = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let min = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        for (bytes, number) in [
            (&[0][..], 0),
            (&[1], -1),
            (&[2], 1),
            (&[0x80, 1], 64),
            (&[0xff, 1], -128),
            (&max, i64::MAX),
            (&min, i64::MIN),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.long(), Ok(number), "{bytes:?}");
            assert_eq!(reader.finish(), Ok(()));
        }
        for bytes in [&[][..], &[0x80], &[0xff; 10], &[0xff; 11]] {
            assert!(Reader::new(bytes).long().is_err(), "{bytes:?}");
        }
        assert!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x10]).int().is_err());
    }

    #[test]
    fn lengths_are_held_against_what_is_left() {
        for bytes in [&[4, b'a'][..], &[1], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
            assert!(Reader::new(bytes).bytes().is_err(), "{bytes:?}");
        }
        assert_eq!(Reader::new(&[4, 0xff, 0xff]).text().unwrap_err().what, "expected a text in UTF-8");
        assert!(Reader::new(&[2]).boolean().is_err());
    }
}
