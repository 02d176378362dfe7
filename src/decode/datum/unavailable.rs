//! The placeholder of a value that the event does not hold, as binary formats carry it: bare text and bytes.
//!
//! Its forms in JSON tokens, and where they come from, are [`super::super::placeholder`]'s.

use crate::types::Kind;

const TEXT: &str = "__debezium_unavailable_value";
const BASE64: &str = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==";
const HEX: &str = "5f5f646562657a69756d5f756e617661696c61626c655f76616c7565";
const MAP_TEXT: &str = r#"{"__debezium_unavailable_value":"__debezium_unavailable_value"}"#;

/// True where the text is the placeholder as a column of that kind spells it.
pub(in crate::decode) fn is_text(text: &str, kind: &Kind) -> bool {
    match text.as_bytes() {
        [b'_', ..] => text == TEXT,
        [b'X', ..] => text == BASE64 && matches!(kind, Kind::Text),
        [b'5', ..] => text == HEX && matches!(kind, Kind::Text),
        [b'{', ..] => text == MAP_TEXT && matches!(kind, Kind::Json | Kind::Text),
        _ => false,
    }
}

/// True where the bytes are the placeholder's.
pub(in crate::decode) fn is_bytes(bytes: &[u8], kind: &Kind) -> bool {
    bytes == TEXT.as_bytes() && matches!(kind, Kind::Bytes)
}
