//! JSON that is written of binary values, as Connect's `JsonConverter` writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::types::{json_string, plain_length};

/// JSON of one record's nested parts. Names make it longer than the datum; no cached value is nearly as long.
pub(in crate::decode) const JSON_BYTES_MAX: usize = 64 << 20;

/// A comma before all items but the first.
pub(in crate::decode) fn push_comma(json: &mut String, index: usize) {
    if index > 0 {
        json.push(',');
    }
}

/// A text with its quotes and escapes.
pub(in crate::decode) fn push_text(json: &mut String, text: &str) {
    if plain_length(text.as_bytes()) == text.len() {
        json.push('"');
        json.push_str(text);
        json.push('"');
        return;
    }
    let mut quoted = Vec::with_capacity(text.len() + 2);
    json_string(text, &mut quoted);
    json.push_str(std::str::from_utf8(&quoted).unwrap_or("\"\""));
}

/// Bytes as base64.
pub(in crate::decode) fn push_base64(json: &mut String, bytes: &[u8]) {
    json.push('"');
    STANDARD.encode_string(bytes, json);
    json.push('"');
}

/// JSON has no infinities: Connect writes them as texts.
pub(in crate::decode) fn push_double(json: &mut String, value: f64) {
    match serde_json::to_string(&value) {
        Ok(text) if value.is_finite() => json.push_str(&text),
        _ if value.is_nan() => json.push_str("\"NaN\""),
        _ => json.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }),
    }
}

/// The double whose shortest text is the float's: 0.1 stays 0.1, as it is in JSON, and is not 0.10000000149011612.
pub(in crate::decode) fn widened(value: f32) -> f64 {
    if value.is_finite() { value.to_string().parse().unwrap_or(f64::from(value)) } else { f64::from(value) }
}
