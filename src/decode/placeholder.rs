//! The placeholder that stands for a value which the event does not hold (unchanged TOAST, unchanged LOB).
//!
//! `unavailable.value.placeholder` is `__debezium_unavailable_value` by default, and each column type spells
//! it in its own way (Debezium's PostgreSQL connector, `UnchangedToastedReplicationMessageColumn` and the
//! value converter; the text and bytes forms captured from Debezium 3.7). Only whole values match: a text
//! that merely holds the placeholder is a value.

use crate::types::Kind;

const PLACEHOLDER: &str = "__debezium_unavailable_value";
const TEXT: &str = "\"__debezium_unavailable_value\"";
const BASE64: &str = "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"";
const HEX: &str = "\"5f5f646562657a69756d5f756e617661696c61626c655f76616c7565\"";
/// Version 3 UUID of the placeholder's bytes: what stands in a `uuid[]`.
const UUID: &str = "\"b68a35a7-17ad-35b3-af2a-ae46edb4545a\"";
/// hstore in `hstore.handling.mode = json`.
const MAP_TEXT: &str = r#""{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}""#;

/// True where the JSON token is the placeholder as a column of that kind spells it.
///
/// The text form stands for every kind; the others only where the kind can be spelt so, or is not known.
/// `token` is valid JSON without white space around it.
pub(super) fn is_unavailable(token: &str, kind: &Kind) -> bool {
    match token.as_bytes() {
        [b'"', b'_', ..] => token == TEXT,
        [b'"', b'X', ..] => token == BASE64 && matches!(kind, Kind::Bytes | Kind::Text | Kind::Untyped),
        [b'"', b'5', ..] => token == HEX && matches!(kind, Kind::BytesHex | Kind::Text | Kind::Untyped),
        [b'"', b'{', ..] => token == MAP_TEXT && matches!(kind, Kind::Json | Kind::Text | Kind::Untyped),
        [b'[', inner @ .., b']'] => match kind {
            Kind::Array(element) => is_array(inner, element),
            Kind::Untyped => is_array(inner, kind),
            _ => false,
        },
        [b'{', inner @ .., b'}'] => matches!(kind, Kind::Map(..) | Kind::Untyped) && is_map(inner),
        _ => false,
    }
}

fn is_array(inner: &[u8], element: &Kind) -> bool {
    let inner = inner.trim_ascii();
    match inner.first() {
        Some(b'"') => {
            inner == TEXT.as_bytes()
                || (inner == BASE64.as_bytes() && matches!(element, Kind::Bytes | Kind::Text | Kind::Untyped))
                || (inner == HEX.as_bytes() && matches!(element, Kind::BytesHex | Kind::Text | Kind::Untyped))
                || (inner == UUID.as_bytes() && matches!(element, Kind::Uuid | Kind::Text | Kind::Untyped))
        }
        Some(b'9') => matches!(element, Kind::Int | Kind::Date | Kind::Untyped) && is_codes(inner),
        _ => false,
    }
}

/// The placeholder's bytes as an array of numbers.
fn is_codes(inner: &[u8]) -> bool {
    let mut codes = inner.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    PLACEHOLDER.bytes().all(|byte| {
        codes.next().and_then(|code| std::str::from_utf8(code).ok()).and_then(|code| code.parse().ok())
            == Some(byte)
    }) && codes.next().is_none()
}

fn is_map(inner: &[u8]) -> bool {
    let mut sides = inner.splitn(2, |byte| *byte == b':').map(<[u8]>::trim_ascii);
    sides.next() == Some(TEXT.as_bytes()) && sides.next() == Some(TEXT.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn array(element: Kind) -> Kind {
        Kind::Array(Arc::new(element))
    }

    #[test]
    fn every_form_is_known_where_its_kind_allows_it_and_without_a_kind() {
        let codes: Vec<String> = PLACEHOLDER.bytes().map(|byte| byte.to_string()).collect();
        let codes = format!("[{}]", codes.join(", "));
        let map = format!("{{{TEXT}:{TEXT}}}");
        let (text, base64, hex, uuid) =
            (format!("[{TEXT}]"), format!("[{BASE64}]"), format!("[{HEX}]"), format!("[ {UUID} ]"));
        let map_kind = Kind::Map(Arc::new(Kind::Text), Arc::new(Kind::Text));
        for (token, kind) in [
            (TEXT, Kind::Text),
            (TEXT, Kind::Json),
            (TEXT, Kind::Decimal { scale: None }),
            (BASE64, Kind::Bytes),
            (BASE64, Kind::Text),
            (HEX, Kind::Text),
            (MAP_TEXT, Kind::Json),
            (&text, array(Kind::Text)),
            (&text, array(Kind::Json)),
            (&base64, array(Kind::Bytes)),
            (&hex, array(Kind::Text)),
            (&uuid, array(Kind::Uuid)),
            (&codes, array(Kind::Int)),
            (&codes, array(Kind::Date)),
            (&map, map_kind),
        ] {
            assert!(is_unavailable(token, &kind), "{token} as {kind:?}");
            assert!(is_unavailable(token, &Kind::Untyped), "{token} without a kind");
        }
    }

    #[test]
    fn only_whole_values_of_a_fitting_kind_match() {
        for (token, kind) in [
            ("\"__debezium_unavailable_value \"", Kind::Text),
            ("\"__DEBEZIUM_UNAVAILABLE_VALUE\"", Kind::Text),
            ("\"see __debezium_unavailable_value\"", Kind::Text),
            (BASE64, Kind::Json),
            ("[95,95,100]", array(Kind::Int)),
            ("[\"__debezium_unavailable_value\",\"x\"]", array(Kind::Text)),
            ("[]", Kind::Untyped),
            ("{}", Kind::Untyped),
            ("\"\"", Kind::Untyped),
            ("95", Kind::Int),
        ] {
            assert!(!is_unavailable(token, &kind), "{token} as {kind:?}");
        }
    }
}
