//! What a value looks like, where its format is not told, or another one is.
//!
//! A record of another format must never pass for a plain row: its envelope would be cached as one. The
//! signs are the members that each format always has (its own documentation), and the first bytes of
//! binary framings.

use crate::change::Row;
use crate::record::Headers;

/// The framing that needs a registry, which the settings name none of.
pub(super) fn registry_framing(bytes: &[u8], headers: &dyn Headers) -> Option<&'static str> {
    Some(match bytes {
        [0, _, _, _, _, ..] => "Avro, Protobuf or JSON Schema in Confluent's or Apicurio's framing",
        [1, rest @ ..] if rest.len() >= 16 => "Avro, Protobuf or JSON Schema in Confluent's framing by GUID",
        [b'{', ..] if super::wire::is_enveloped(bytes) => {
            "JSON of Apicurio's converter, which names its schema"
        }
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

/// A change format other than Debezium's, as an object's members tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Maxwell,
    Canal,
    TicdcSimple,
    Ogg,
    Dms,
    Cockroach,
    Sequin,
    Mongo,
    CloudEvents,
    Qlik,
}

impl Shape {
    /// What it is called in errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Shape::Maxwell => "Maxwell",
            Shape::Canal => "Canal (or TiCDC's canal-json)",
            Shape::TicdcSimple => "TiCDC's simple protocol",
            Shape::Ogg => "Oracle GoldenGate",
            Shape::Dms => "AWS DMS",
            Shape::Cockroach => "a CockroachDB changefeed",
            Shape::Sequin => "Sequin",
            Shape::Mongo => "MongoDB's Kafka connector",
            Shape::CloudEvents => "CloudEvents",
            Shape::Qlik => "Qlik Replicate",
        }
    }
}

/// The change format that an object's members tell; `None` for a plain row.
pub(super) fn shape(row: &Row<'_>) -> Option<Shape> {
    // Each format has one of these; the usual row has none, and is looked at no further.
    let sign = |name: &str| {
        matches!(
            name,
            "database"
                | "isDdl"
                | "op_type"
                | "metadata"
                | "specversion"
                | "operationType"
                | "message"
                | "after"
                | "resolved"
                | "commitTs"
                | "tableSchema"
                | "__crdb__"
        )
    };
    if !row.columns.iter().any(|column| sign(&column.name)) {
        return None;
    }
    let token = |name: &str| super::members::token(row, name).unwrap_or("");
    let text = |name: &str| token(name).starts_with('"');
    Some(if super::canal::is_one(row) {
        Shape::Canal
    } else if super::ticdc::is_one(row) {
        Shape::TicdcSimple
    } else if super::maxwell::is_one(row) {
        Shape::Maxwell
    } else if super::ogg::is_one(row) {
        Shape::Ogg
    } else if super::dms::is_one(row) {
        Shape::Dms
    } else if super::sequin::is_one(row) {
        Shape::Sequin
    } else if text("specversion") && text("type") && text("source") {
        Shape::CloudEvents
    } else if super::mongo::is_one(row) {
        Shape::Mongo
    } else if row.columns.len() == 1
        && token("message").contains("\"headers\"")
        && token("message").starts_with('{')
    {
        Shape::Qlik
    } else if super::cockroach::is_one(row) {
        Shape::Cockroach
    } else {
        return None;
    })
}
