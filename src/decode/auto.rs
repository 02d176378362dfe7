//! What a value looks like, where it is none of the formats that are built.
//!
//! A record of such a format must never pass for a plain row: its envelope would be cached as one. The
//! signs are the members that each format always has (its own documentation), and the first bytes of
//! binary framings.

use crate::change::{Cell, Row};
use crate::record::Headers;
use crate::types::{Raw, Typed};

/// The framing that needs a registry, which the settings name none of.
pub(super) fn registry_framing(bytes: &[u8], headers: &dyn Headers) -> Option<&'static str> {
    Some(match bytes {
        [0, _, _, _, _, ..] => "Avro, Protobuf or JSON Schema in Confluent's or Apicurio's framing",
        [1, rest @ ..] if rest.len() >= 16 => "Avro, Protobuf or JSON Schema in Confluent's framing by GUID",
        [b'{' | b'[', ..] => return None,
        _ if headers.last("__value_schema_id").is_some() => "Avro with the schema's id in a header",
        _ if headers.last("apicurio.value.globalId").is_some()
            || headers.last("apicurio.value.contentId").is_some() =>
        {
            "Avro with Apicurio's schema id in a header"
        }
        _ => return None,
    })
}

/// The binary framing or container that these bytes begin with, which is not built yet.
pub(super) fn framing(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [3, 0 | 5, ..] => "AWS Glue's schema registry framing",
        [0xc3, 0x01, ..] => "Avro's single-object encoding",
        [b'O', b'b', b'j', 1, ..] => "an Avro container file",
        _ => return None,
    })
}

/// The change format, not built yet, that an object's members tell; `None` for a plain row.
pub(super) fn foreign(row: &Row<'_>) -> Option<&'static str> {
    // Each format has one of these; the usual row has none, and is looked at no further.
    let sign = |name: &str| {
        matches!(
            name,
            "database"
                | "op_type"
                | "metadata"
                | "specversion"
                | "operationType"
                | "message"
                | "after"
                | "resolved"
        )
    };
    if !row.columns.iter().any(|column| sign(&column.name)) {
        return None;
    }
    let token = |name: &str| match row.cell(name) {
        Cell::Present(Typed { raw: Raw::Json(token), .. }) => token,
        Cell::Null => "null",
        _ => "",
    };
    let has = |name: &str| !token(name).is_empty();
    let text = |name: &str| token(name).starts_with('"');
    let object = |name: &str| token(name).starts_with('{');
    let only = |names: &[&str]| row.columns.iter().all(|column| names.contains(&&*column.name));
    let typed = text("type") && text("database") && text("table");
    Some(if typed && has("isDdl") {
        "Canal (or TiCDC's canal-json)"
    } else if typed && has("commitTs") {
        "TiCDC's simple protocol"
    } else if typed && object("data") && has("ts") {
        "Maxwell"
    } else if text("op_type") && text("table") && has("pos") {
        "Oracle GoldenGate"
    } else if object("metadata") && token("metadata").contains("\"record-type\"") {
        "AWS DMS"
    } else if object("metadata") && object("record") && text("action") {
        "Sequin"
    } else if text("specversion") && text("type") && text("source") {
        "CloudEvents"
    } else if text("operationType") && (object("ns") || object("documentKey")) {
        "MongoDB's Kafka connector"
    } else if object("message") && token("message").contains("\"headers\"") && row.columns.len() == 1 {
        "Qlik Replicate"
    } else if (has("after") || text("resolved"))
        && only(&["after", "before", "key", "updated", "mvcc_timestamp", "topic", "resolved"])
    {
        "a CockroachDB changefeed"
    } else {
        return None;
    })
}
