//! What a file is packed in: gzip and zstd, told by its first bytes.
//!
//! Both may come in several members or frames, one behind the other: a decoder that stops after the first would
//! lose rows in silence.

use std::io::{self, BufRead, BufReader, Read};

/// Bytes that are read at a time: by so much, what is read is ahead of the rows.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;

/// The largest window of a zstd frame, as a power of two: 128 MiB, what `zstd --long=27` needs, as `zstd` itself
/// takes it unasked. More would break the bound on memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A file's packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// By the first bytes. <https://www.rfc-editor.org/rfc/rfc1952>, <https://www.rfc-editor.org/rfc/rfc8878>
    pub(super) fn of(head: &[u8]) -> Packing {
        match head {
            [0x1f, 0x8b, ..] => Packing::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
            // A skippable frame may come first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
            _ => Packing::Plain,
        }
    }
}

/// Unpacks what `input` holds, by its first bytes.
pub(super) fn unpack(input: impl Read + Send + 'static) -> io::Result<(Packing, Box<dyn BufRead + Send>)> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let packing = Packing::of(input.fill_buf()?);
    let unpacked: Box<dyn BufRead + Send> = match packing {
        Packing::Plain => Box::new(input),
        Packing::Gzip => {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, flate2::bufread::MultiGzDecoder::new(input)))
        }
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
    };
    Ok((packing, unpacked))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn unpacked(bytes: Vec<u8>) -> (Packing, String) {
        let (packing, mut read) = unpack(io::Cursor::new(bytes)).unwrap();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        (packing, text)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_member_and_frame_is_read() {
        let frame = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let cases = [
            (b"a\nb".to_vec(), Packing::Plain, "a\nb"),
            (Vec::new(), Packing::Plain, ""),
            ([gzip("a\n"), gzip("b")].concat(), Packing::Gzip, "a\nb"),
            ([frame("a\n"), frame("b")].concat(), Packing::Zstd, "a\nb"),
            ([skippable, frame("b")].concat(), Packing::Zstd, "b"),
        ];
        for (bytes, packing, text) in cases {
            assert_eq!(unpacked(bytes), (packing, text.to_owned()));
        }
    }

    #[test]
    fn what_ends_within_a_member_is_an_error_and_not_the_end() {
        for whole in [gzip("some text that is long enough"), zstd::encode_all(&b"some text"[..], 1).unwrap()]
        {
            let cut = whole[..whole.len() - 5].to_vec();
            let (_, mut read) = unpack(io::Cursor::new(cut)).unwrap();
            assert!(read.read_to_end(&mut Vec::new()).is_err());
        }
    }
}
