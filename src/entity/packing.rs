//! How a value's bytes are packed on their way into the cache: MessagePack instead of JSON, compression over a
//! size.
//!
//! Deterministic: the same value gives the same bytes, since a compare-and-delete compares them. Another
//! version of a compressor may give others; docs/values.md says what that means. Start at [`Packing`].

use std::io::{self, Read as _, Write as _};

use super::msgpack;
use crate::error::HandleError;
use crate::mutation::{Compression, Packed, PackedShape, StringKind, Value};

/// The first bytes of a zstd frame: <https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1>.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The first bytes of an LZ4 frame: <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>.
const LZ4_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// zstd's own default: above it values of a few KiB hardly get smaller, and take longer.
const ZSTD_LEVEL: i32 = 3;

/// What is done to a value's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packing {
    /// JSON is written as MessagePack.
    pub msgpack: bool,
    /// Compressed, where that is larger than so many bytes.
    pub compress: Option<(Compression, usize)>,
}

impl Packing {
    /// Packs a string value; its kind then says what was done. A hash stays as it is: the settings refuse to pack one.
    ///
    /// Under `compress`, a value that begins as a compressed one does is compressed whatever its size, so that
    /// a reader may go by the first bytes alone; any other stays as it is where compressing makes it no smaller.
    /// The error says that a handler's JSON cannot be MessagePack.
    pub fn pack(self, value: Value) -> Result<Value, HandleError> {
        let Value::String { kind, bytes } = value else { return Ok(value) };
        let of = match kind {
            StringKind::Json => PackedShape::Json,
            StringKind::Text => PackedShape::Text,
            StringKind::Bytes => PackedShape::Bytes,
            StringKind::Packed(_) => return Ok(Value::String { kind, bytes }),
        };
        let msgpack = self.msgpack && of == PackedShape::Json;
        let bytes = if msgpack { msgpack::from_json(&bytes)? } else { bytes };
        let packed = |compression| Packed { of, msgpack, compression, plain_bytes: bytes.len() };
        if let Some((compression, over)) = self.compress {
            let ambiguous = begins_compressed(&bytes);
            if ambiguous || bytes.len() > over {
                let small = compressed(compression, &bytes)
                    .map_err(|_| HandleError::Handler("the value cannot be compressed".into()))?;
                if ambiguous || small.len() < bytes.len() {
                    return Ok(Value::String {
                        kind: StringKind::Packed(packed(Some(compression))),
                        bytes: small,
                    });
                }
            }
        }
        let kind = if msgpack { StringKind::Packed(packed(None)) } else { kind };
        Ok(Value::String { kind, bytes })
    }
}

fn begins_compressed(bytes: &[u8]) -> bool {
    bytes.starts_with(&ZSTD_MAGIC) || bytes.starts_with(&LZ4_MAGIC)
}

fn compressed(compression: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match compression {
        // One frame with the size of its content and without a checksum.
        Compression::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL),
        Compression::Lz4 => {
            let size = u64::try_from(bytes.len()).ok();
            let frame = lz4_flex::frame::FrameInfo::new().content_size(size);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
            encoder.write_all(bytes)?;
            encoder.finish().map_err(io::Error::other)
        }
    }
}

/// The bytes of a packed value without their packing, MessagePack as JSON; `None` where they are not what
/// `packed` says. Holds at most `packed.plain_bytes` at a time, and the JSON of that.
pub fn unpacked(packed: &Packed, bytes: &[u8]) -> Option<Vec<u8>> {
    let plain = match packed.compression {
        None => bytes.to_vec(),
        Some(Compression::Zstd) => zstd::bulk::decompress(bytes, packed.plain_bytes).ok()?,
        Some(Compression::Lz4) => {
            let mut plain = Vec::new();
            let most = u64::try_from(packed.plain_bytes).ok()?;
            lz4_flex::frame::FrameDecoder::new(bytes).take(most).read_to_end(&mut plain).ok()?;
            plain
        }
    };
    if packed.msgpack { msgpack::to_json(&plain) } else { Some(plain) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: StringKind, bytes: &[u8]) -> Value {
        Value::String { kind, bytes: bytes.to_vec() }
    }

    fn packed(packing: Packing, kind: StringKind, bytes: &[u8]) -> (StringKind, Vec<u8>) {
        match packing.pack(value(kind, bytes)).unwrap() {
            Value::String { kind, bytes } => (kind, bytes),
            Value::Hash(_) | Value::Member { .. } => panic!("a string stays one"),
        }
    }

    fn over(compression: Compression, bytes: usize) -> Packing {
        Packing { msgpack: false, compress: Some((compression, bytes)) }
    }

    #[test]
    fn values_over_the_size_are_frames_that_read_back_and_smaller_ones_stay() {
        let json = format!(r#"{{"id":7,"text":"{}"}}"#, "abc".repeat(500));
        for (compression, magic) in [(Compression::Zstd, ZSTD_MAGIC), (Compression::Lz4, LZ4_MAGIC)] {
            for (kind, of) in [
                (StringKind::Json, PackedShape::Json),
                (StringKind::Text, PackedShape::Text),
                (StringKind::Bytes, PackedShape::Bytes),
            ] {
                let (made, small) = packed(over(compression, 1_024), kind, json.as_bytes());
                let StringKind::Packed(how) = made else { panic!("{made:?}") };
                assert_eq!((how.of, how.compression, how.plain_bytes), (of, Some(compression), json.len()));
                assert!(small.starts_with(&magic) && small.len() < 200, "{} bytes", small.len());
                assert_eq!(unpacked(&how, &small).unwrap(), json.as_bytes());
                let again = packed(over(compression, 1_024), kind, json.as_bytes());
                assert_eq!(again, (made, small), "the same value, the same bytes");
                let exact = packed(over(compression, json.len()), kind, json.as_bytes());
                assert_eq!(exact, (kind, json.clone().into_bytes()), "not over the size");
            }
        }
    }

    #[test]
    fn what_gets_no_smaller_stays_unless_it_would_be_taken_for_a_frame() {
        let noise: Vec<u8> = (0..64_u8).map(|n| n.wrapping_mul(167).rotate_left(3) ^ n).collect();
        for compression in [Compression::Zstd, Compression::Lz4] {
            assert_eq!(packed(over(compression, 0), StringKind::Bytes, &noise).0, StringKind::Bytes);
            for magic in [ZSTD_MAGIC, LZ4_MAGIC] {
                let photo = [&magic[..], &noise].concat();
                let (kind, bytes) = packed(over(compression, 1 << 20), StringKind::Bytes, &photo);
                let StringKind::Packed(how) = kind else { panic!("{kind:?}") };
                assert_eq!(unpacked(&how, &bytes).unwrap(), photo);
            }
        }
        assert_eq!(packed(Packing::default(), StringKind::Bytes, &ZSTD_MAGIC).0, StringKind::Bytes);
    }

    #[test]
    fn message_pack_is_compressed_after_it_is_made_and_shown_as_json() {
        let json = format!(r#"{{"id":7,"text":"{}"}}"#, "abc".repeat(500));
        let packing = Packing { msgpack: true, compress: Some((Compression::Lz4, 100)) };
        for json in [json.as_str(), r#"{"id":7}"#] {
            let (kind, bytes) = packed(packing, StringKind::Json, json.as_bytes());
            let StringKind::Packed(how) = kind else { panic!("{kind:?}") };
            assert!(how.msgpack);
            assert_eq!(how.compression.is_some(), json.len() > 100);
            assert_eq!(unpacked(&how, &bytes).unwrap(), json.as_bytes());
        }
        assert_eq!(packed(packing, StringKind::Text, b"{}").0, StringKind::Text);
    }

    /// The frames as the versions of the crates in use make them: where this fails, a new version compresses
    /// otherwise, and the change log has to say so (see docs/values.md).
    #[test]
    fn frames_are_the_golden_ones() {
        let text = "stoker".repeat(20);
        let hex = |compression| {
            let (_, bytes) = packed(over(compression, 0), StringKind::Text, text.as_bytes());
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        assert_eq!(hex(Compression::Zstd), "28b52ffd20786d00003073746f6b657201002f692902");
        assert_eq!(
            hex(Compression::Lz4),
            "04224d186840780000000000000081110000006f73746f6b65720600596073746f6b657200000000"
        );
    }
}
