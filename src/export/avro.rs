//! Avro object container files: blocks of rows under one schema.
//!
//! <https://avro.apache.org/docs/1.12.0/specification/#object-container-files>. The container is read here, and its
//! rows by the decoder of change events, so that a type means the same in both.

use std::io::{BufRead, Read as _};

use super::{ExportError, Next, Rows};
use crate::decode::{AvroRows, AvroScratch};

/// What a file begins with.
pub(super) const MAGIC: &[u8] = b"Obj\x01";

/// Largest block, packed or not. Writers cut them at 16 KiB to a few MiB.
const BLOCK_BYTES_MAX: u64 = 64 << 20;
/// Longest entry of the file's metadata: its schema.
const ENTRY_BYTES_MAX: u64 = 16 << 20;
/// Entries of the metadata.
const ENTRIES_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

pub(super) struct Avro {
    input: Box<dyn BufRead + Send>,
    rows: AvroRows,
    codec: Codec,
    sync: [u8; 16],
    block: Vec<u8>,
    /// Where in the block the next row begins.
    at: usize,
    /// Rows of the block that are not read yet.
    left: u64,
    scratch: AvroScratch,
}

impl Avro {
    /// Reads the header.
    pub(super) fn new(mut input: Box<dyn BufRead + Send>) -> Result<Avro, ExportError> {
        let mut magic = [0; 4];
        input.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(ExportError::Content("the file is no Avro object container".to_owned()));
        }
        let (mut schema, mut codec) = (None, Codec::Null);
        let mut entries = 0;
        loop {
            let count = block_count(&mut *input)?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                entries += 1;
                if entries > ENTRIES_MAX {
                    return Err(ExportError::Content("the file's metadata have no end".to_owned()));
                }
                let name = entry(&mut *input)?;
                let value = entry(&mut *input)?;
                match name.as_slice() {
                    b"avro.schema" => schema = Some(value),
                    b"avro.codec" => codec = Codec::of(&value)?,
                    _ => {}
                }
            }
        }
        let mut sync = [0; 16];
        input.read_exact(&mut sync)?;
        let schema = schema.and_then(|schema| String::from_utf8(schema).ok());
        let schema = schema.ok_or_else(|| ExportError::Content("the file names no schema".to_owned()))?;
        let rows = AvroRows::compile(&schema)
            .map_err(|wrong| ExportError::Content(format!("the file's schema: {wrong}")))?;
        let (block, scratch) = (Vec::new(), AvroScratch::default());
        Ok(Avro { input, rows, codec, sync, block, at: 0, left: 0, scratch })
    }

    /// Reads blocks until one has rows. False at the end.
    fn advance(&mut self) -> Result<bool, ExportError> {
        while self.left == 0 {
            if self.input.fill_buf()?.is_empty() {
                return Ok(false);
            }
            let count = long(&mut *self.input)?;
            let size = long(&mut *self.input)?;
            let (Ok(count), Ok(size)) = (u64::try_from(count), u64::try_from(size)) else {
                return Err(ExportError::Content("a block's size is negative".to_owned()));
            };
            if size > BLOCK_BYTES_MAX {
                return Err(ExportError::Content(format!(
                    "a block is larger than {} MiB",
                    BLOCK_BYTES_MAX >> 20
                )));
            }
            let mut packed = Vec::new();
            let read = (&mut self.input).take(size).read_to_end(&mut packed)?;
            let mut sync = [0; 16];
            self.input.read_exact(&mut sync)?;
            if u64::try_from(read) != Ok(size) || sync != self.sync {
                return Err(ExportError::Content("a block does not end where it should".to_owned()));
            }
            self.block = self.codec.unpack(packed)?;
            self.at = 0;
            self.left = count;
        }
        Ok(true)
    }
}

impl Rows for Avro {
    fn next(&mut self) -> Result<Next<'_>, ExportError> {
        if !self.advance()? {
            return Ok(Next::End);
        }
        self.left -= 1;
        let rest = self.block.get(self.at..).unwrap_or_default();
        match self.rows.first(rest, &mut self.scratch) {
            Ok((row, length)) => {
                self.at += length;
                Ok(Next::Row(row))
            }
            Err(error) => Err(ExportError::Content(error.to_string())),
        }
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(self.rows.columns())
    }
}

impl Codec {
    fn of(name: &[u8]) -> Result<Codec, ExportError> {
        Ok(match name {
            b"null" => Codec::Null,
            b"deflate" => Codec::Deflate,
            b"snappy" => Codec::Snappy,
            b"zstandard" => Codec::Zstandard,
            other => {
                let name = String::from_utf8_lossy(other);
                return Err(ExportError::NotRead(format!(
                    "the codec {name:?} is not read: write the file with null, deflate, snappy or zstandard"
                )));
            }
        })
    }

    fn unpack(self, packed: Vec<u8>) -> Result<Vec<u8>, ExportError> {
        let wrong = || ExportError::Content("a block cannot be unpacked".to_owned());
        let bounded = |unpacked: &mut dyn std::io::Read| -> Result<Vec<u8>, ExportError> {
            let mut block = Vec::new();
            unpacked.take(BLOCK_BYTES_MAX + 1).read_to_end(&mut block).map_err(|_| wrong())?;
            if u64::try_from(block.len()).is_ok_and(|bytes| bytes > BLOCK_BYTES_MAX) {
                return Err(ExportError::Content("a block unpacks to too much".to_owned()));
            }
            Ok(block)
        };
        match self {
            Codec::Null => Ok(packed),
            Codec::Deflate => bounded(&mut flate2::bufread::DeflateDecoder::new(packed.as_slice())),
            Codec::Zstandard => bounded(
                &mut zstd::stream::read::Decoder::with_buffer(packed.as_slice()).map_err(|_| wrong())?,
            ),
            Codec::Snappy => {
                // Behind the bytes stands the CRC-32 of what they unpack to.
                let (bytes, crc) = packed.split_last_chunk::<4>().ok_or_else(wrong)?;
                let length = snap::raw::decompress_len(bytes).map_err(|_| wrong())?;
                if u64::try_from(length).is_ok_and(|length| length > BLOCK_BYTES_MAX) {
                    return Err(ExportError::Content("a block unpacks to too much".to_owned()));
                }
                let block = snap::raw::Decoder::new().decompress_vec(bytes).map_err(|_| wrong())?;
                let mut sum = flate2::Crc::new();
                sum.update(&block);
                if sum.sum() != u32::from_be_bytes(*crc) {
                    return Err(ExportError::Content("a block's checksum is wrong".to_owned()));
                }
                Ok(block)
            }
        }
    }
}

/// The number of entries in the next block of a map.
fn block_count(input: &mut dyn BufRead) -> Result<u64, ExportError> {
    let count = long(input)?;
    if count < 0 {
        // Its size in bytes, for those who skip it.
        long(input)?;
    }
    Ok(count.unsigned_abs())
}

fn entry(input: &mut dyn BufRead) -> Result<Vec<u8>, ExportError> {
    let length = u64::try_from(long(input)?).unwrap_or(u64::MAX);
    if length > ENTRY_BYTES_MAX {
        return Err(ExportError::Content("an entry of the file's metadata is too long".to_owned()));
    }
    let mut bytes = Vec::new();
    let read = input.take(length).read_to_end(&mut bytes)?;
    if u64::try_from(read) == Ok(length) {
        Ok(bytes)
    } else {
        Err(ExportError::Content("the file ends in its header".to_owned()))
    }
}

/// A `long`: zig-zag, 7 bits a byte, the lowest first.
fn long(input: &mut dyn BufRead) -> Result<i64, ExportError> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        let [byte] = byte;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    Err(ExportError::Content("a number has more than 64 bits".to_owned()))
}

#[cfg(test)]
mod tests {
    use apache_avro::types::Record;
    use apache_avro::{Codec as Written, DeflateSettings, Schema, Writer};

    use super::super::testing::listed;
    use super::*;

    const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[{"name":"id","type":"long"},
        {"name":"name","type":["null","string"]},{"name":"tags","type":{"type":"array","items":"int"}}]}"#;

    fn file(codec: Written, rows: i64) -> Vec<u8> {
        let schema = Schema::parse_str(SCHEMA).unwrap();
        let mut writer =
            Writer::builder().schema(&schema).writer(Vec::new()).codec(codec).block_size(64).build().unwrap();
        for id in 0..rows {
            let mut record = Record::new(&schema).unwrap();
            record.put("id", id);
            record.put("name", (id % 2 == 0).then(|| format!("n{id}")));
            record.put("tags", apache_avro::types::Value::Array(vec![1.into(), 2.into()]));
            writer.append_value(record).unwrap();
        }
        writer.into_inner().unwrap()
    }

    fn open(bytes: Vec<u8>) -> Result<Avro, ExportError> {
        Avro::new(Box::new(std::io::Cursor::new(bytes)))
    }

    #[test]
    fn rows_of_all_blocks_are_read() {
        for codec in [Written::Null, Written::Deflate(DeflateSettings::default())] {
            let rows = listed(&mut open(file(codec, 40)).unwrap());
            assert_eq!(rows.len(), 40);
            assert_eq!(rows[0], "id=0 name='n0' tags=[1,2]");
            assert_eq!(rows[39], "id=39 name=null tags=[1,2]");
        }
    }

    #[test]
    fn blocks_of_other_codecs_are_unpacked() {
        let plain = b"some bytes that are packed".repeat(20);
        let mut crc = flate2::Crc::new();
        crc.update(&plain);
        let snappy = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        let whole = [snappy.as_slice(), &crc.sum().to_be_bytes()].concat();
        assert_eq!(Codec::Snappy.unpack(whole).unwrap(), plain);
        assert!(Codec::Snappy.unpack([snappy.as_slice(), &[0; 4]].concat()).is_err());
        assert_eq!(Codec::Zstandard.unpack(zstd::encode_all(&plain[..], 1).unwrap()).unwrap(), plain);
        assert!(matches!(Codec::of(b"bzip2"), Err(ExportError::NotRead(_))));
    }

    #[test]
    fn a_file_that_is_cut_or_broken_is_an_error_and_not_the_end() {
        let whole = file(Written::Null, 40);
        for length in (0..whole.len()).step_by(7) {
            let cut = whole[..length].to_vec();
            let outcome = open(cut).map(|mut rows| {
                let mut count = 0;
                loop {
                    match rows.next() {
                        Ok(Next::End) => return Ok(count),
                        Ok(_) => count += 1,
                        Err(error) => return Err(error),
                    }
                }
            });
            // A file may be cut between two blocks, which nothing tells.
            assert!(!matches!(outcome, Ok(Ok(40))), "{length}");
        }
    }
}
