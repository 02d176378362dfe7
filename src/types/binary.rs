//! Bytes and bit strings: from base64 and hexadecimal text to bytes, and from bytes to text.

use std::borrow::Cow;

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine};

use super::part::{Part, is_digits};
use super::render::{Renderer, Target};
use super::{BytesStyle, ValueError};

/// base64 for URLs, with or without padding: Debezium's `binary.handling.mode = base64-url-safe`.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a column of bytes wants, in words.
pub(super) const BASE64: &str = "bytes, or a text in base64";

/// What a column of hexadecimal text wants, in words.
pub(super) const HEX: &str = "bytes, or a text in hexadecimal";

/// What a column of Latin-1 text wants, in words.
const LATIN1: &str = "bytes, or a text of one character a byte";

const BITS: &str = "bits: bytes in base64, digits 0 and 1, a boolean or a whole number";

/// The bytes of a part that is bytes, or base64 of them: padded, or of the alphabet for URLs.
pub(super) fn from_base64(part: Part<'_>) -> Result<Cow<'_, [u8]>, ValueError> {
    if let Part::Bytes(bytes) = part {
        return Ok(Cow::Borrowed(bytes));
    }
    let text = part.text()?.ok_or_else(|| part.refuse(BASE64))?;
    decode_padded(&text)
        .or_else(|| URL_SAFE.decode(&*text).ok())
        .map(Cow::Owned)
        .ok_or_else(|| not("base64", BASE64))
}

/// The bytes of standard padded base64, as Kafka Connect writes it.
pub(super) fn decode_padded(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The bytes of a part that is bytes, or hexadecimal text of them (with PostgreSQL's `\x` or without).
pub(super) fn from_hex(part: Part<'_>) -> Result<Cow<'_, [u8]>, ValueError> {
    if let Part::Bytes(bytes) = part {
        return Ok(Cow::Borrowed(bytes));
    }
    let text = part.text()?.ok_or_else(|| part.refuse(HEX))?;
    let digits = text.strip_prefix("\\x").unwrap_or(&text).as_bytes();
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().map(Cow::Owned).ok_or_else(|| not("hexadecimal", HEX))
}

/// The bytes of a part that is bytes, or text of one character a byte.
pub(super) fn from_latin1(part: Part<'_>) -> Result<Cow<'_, [u8]>, ValueError> {
    if let Part::Bytes(bytes) = part {
        return Ok(Cow::Borrowed(bytes));
    }
    let text = part.text()?.ok_or_else(|| part.refuse(LATIN1))?;
    let bytes = text.chars().map(|letter| u8::try_from(u32::from(letter)).ok());
    bytes
        .collect::<Option<Vec<u8>>>()
        .map(Cow::Owned)
        .ok_or_else(|| not("of characters up to U+00FF", LATIN1))
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn not(form: &'static str, expected: &'static str) -> ValueError {
    ValueError { expected: Cow::Borrowed(expected), found: Cow::Owned(format!("a text that is not {form}")) }
}

impl Renderer<'_> {
    /// Bytes as base64 or hexadecimal text.
    pub(super) fn bytes(&mut self, bytes: &[u8], target: Target) {
        match self.style.bytes {
            BytesStyle::Base64 => self.quoted(target, STANDARD.encode(bytes).as_bytes()),
            BytesStyle::Hex => self.quoted(target, &hex(bytes)),
        }
    }

    /// A bit string as digits, the most significant first, as SQL writes it.
    ///
    /// `length` digits, or more where a bit beyond them is set; without a length, all bits of the bytes.
    pub(super) fn bits(&mut self, part: Part<'_>, length: u32, target: Target) -> Result<(), ValueError> {
        let bytes = match part {
            Part::Bool(bit) => Cow::Owned(vec![u8::from(bit)]),
            Part::Int(number) => Cow::Owned(number.to_le_bytes().to_vec()),
            Part::Number(token) => {
                let number: u64 = token.parse().map_err(|_| part.refuse(BITS))?;
                Cow::Owned(number.to_le_bytes().to_vec())
            }
            Part::Text(text) if is_digits(text) && text.bytes().all(|digit| digit <= b'1') => {
                self.quoted(target, text.as_bytes());
                return Ok(());
            }
            Part::Bytes(_) | Part::Quoted(_) | Part::Text(_) => from_base64(part)?,
            Part::Null | Part::Double(_) | Part::Array(_) | Part::Object(_) => return Err(part.refuse(BITS)),
        };
        let is_number = matches!(part, Part::Bool(_) | Part::Int(_) | Part::Number(_));
        let mut digits: Vec<u8> = bytes
            .iter()
            .rev()
            .flat_map(|byte| (0..8).rev().map(move |bit| b'0' + (byte >> bit & 1)))
            .collect();
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        let wanted = match usize::try_from(length).unwrap_or(usize::MAX) {
            0 if is_number => 1,
            0 => digits.len(),
            length => length,
        };
        if wanted > digits.len() {
            let made_up = wanted - digits.len();
            self.padding = self.padding.checked_sub(made_up).ok_or_else(|| {
                ValueError::mismatch(
                    "at most 16,384 bits that the event does not hold",
                    "a longer bit string",
                )
            })?;
            digits.splice(..0, std::iter::repeat_n(b'0', made_up));
        } else {
            digits.drain(..zeros.min(digits.len() - wanted));
        }
        self.quoted(target, &digits);
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) };
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]).collect()
}
