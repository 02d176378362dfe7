//! Debezium's changes as CloudEvents in JSON:
//! <https://debezium.io/documentation/reference/stable/integrations/cloudevents.html>.
//!
//! `data` holds `before` and `after` (with a Connect schema, where there is one); the op and the source's
//! position are attributes beside it, all of them texts. In structured mode all of that is one object; in binary
//! mode the value is the data, and attributes are headers
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md#32-binary-content-mode>).

use super::Decoded;
use super::connect::{Document, Plans};
use super::debezium::Envelope;
use super::key::Key;
use super::members::{self, missing, text, token};
use super::outline::Outlines;
use super::position::Source;
use crate::change::{Cell, Row};
use crate::error::DecodeError;
use crate::record::Headers;
use crate::types::{Raw, Typed};

/// What the names of Debezium's attributes begin with.
const PREFIX: &str = "iodebezium";
/// What the names of headers begin with that are attributes.
const HEADER_PREFIX: &str = "ce_";
/// Attributes that are read of one event. Debezium's have some thirty.
const ATTRIBUTES_MAX: usize = 256;
/// Names of source fields, which attributes write without their underscores.
const UNDERSCORED: [&str; 8] = [
    "ts_ms",
    "commit_lsn",
    "change_lsn",
    "event_serial_no",
    "commit_scn",
    "redo_thread",
    "rs_id",
    "origin_lsn",
];

/// The change that an event in structured mode is.
pub(super) fn decode<'a>(
    row: Row<'a>,
    key: Key<'a>,
    plans: &'a mut Plans,
    outlines: &mut Outlines,
    texts: &'a mut Vec<String>,
) -> Result<Decoded<'a>, DecodeError> {
    let data = token(&row, "data");
    if data.is_some_and(|data| !data.starts_with('{')) {
        return Err(DecodeError::new(
            "format",
            "the event's data is no JSON object; set the converter's data.serializer.type to json",
        ));
    }
    let data = match data {
        Some(data) => Some(plans.unwrap(data).map_err(|wrong| wrong.into_error("value", 0))?),
        None => None,
    };
    attributed(&row, data, key, outlines, texts)
}

/// True where the value is the data of a change in binary mode: row images alone, and headers that tell the rest.
pub(super) fn is_binary(row: &Row<'_>, headers: &dyn Headers) -> bool {
    let data = |name: &str| matches!(name, "before" | "after" | "updateDescription");
    !row.columns.is_empty()
        && row.columns.iter().all(|column| data(&column.name))
        && headers.last("ce_specversion").is_some()
}

/// The change that an event in binary mode is. Its headers are gathered in `attributes`.
pub(super) fn decode_binary<'a>(
    data: Document<'a>,
    key: Key<'a>,
    headers: &dyn Headers,
    attributes: &'a mut String,
    outlines: &mut Outlines,
    texts: &'a mut Vec<String>,
) -> Result<Decoded<'a>, DecodeError> {
    let wrong = || DecodeError::new("envelope", "an attribute of the event, in its headers, is no text");
    let mut told = serde_json::Map::new();
    for index in 0..headers.count().min(ATTRIBUTES_MAX) {
        let Some((name, Some(value))) = headers.get(index) else { continue };
        if let Some(name) = name.strip_prefix(HEADER_PREFIX) {
            // Of a name that repeats the last one counts.
            told.insert(name.to_owned(), std::str::from_utf8(value).map_err(|_| wrong())?.into());
        }
    }
    *attributes = serde_json::to_string(&told).map_err(|_| wrong())?;
    attributed(&members::row_of(attributes, "headers")?, Some(data), key, outlines, texts)
}

/// The change of that data under these attributes.
fn attributed<'a>(
    attributes: &Row<'a>,
    data: Option<Document<'a>>,
    key: Key<'a>,
    outlines: &mut Outlines,
    texts: &'a mut Vec<String>,
) -> Result<Decoded<'a>, DecodeError> {
    if !text(attributes, "type").is_some_and(|kind| kind.starts_with("io.debezium.")) {
        return Err(DecodeError::new("format", "the value is a CloudEvent, but none of Debezium's"));
    }
    let data = data.ok_or_else(|| missing("data", "the event"))?;
    let envelope =
        Envelope::scan(data, outlines).map_err(|stop| super::fault("json", stop, "event's data", 0))?;
    let mut source = Source::default();
    let mut op = None;
    for column in &attributes.columns {
        let (Some(name), Cell::Present(Typed { raw: Raw::Json(token), .. })) =
            (column.name.strip_prefix(PREFIX), column.cell)
        else {
            continue;
        };
        if name == "op" {
            op = Some(token);
        } else {
            let spelt =
                UNDERSCORED.iter().find(|spelt| spelt.bytes().filter(|byte| *byte != b'_').eq(name.bytes()));
            source.set(spelt.unwrap_or(&name), token);
        }
    }
    if op.is_none() {
        return Err(missing("iodebeziumop", "the event"));
    }
    envelope.attributed(op, source).decode(key, texts)
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;
    use super::super::{Decoder, Format};
    use super::*;
    use crate::record::{AsRecord as _, OwnedRecord};
    use crate::version::Version;

    fn event(value: &str, more: &[(&str, &str)]) -> OwnedRecord {
        let own = [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_type", "io.debezium.connector.postgresql.DataChangeEvent"),
            ("ce_iodebeziumconnector", "postgresql"),
            ("ce_iodebeziumtable", "us\"ers"),
            ("ce_iodebeziumlsn", "29274832"),
        ];
        let headers =
            own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec())));
        OwnedRecord {
            topic: "app.public.users".into(),
            key: Some(br#"{"id":7}"#.to_vec()),
            value: Some(value.as_bytes().to_vec()),
            headers: headers.collect(),
            ..OwnedRecord::default()
        }
    }

    #[test]
    fn in_binary_mode_the_headers_tell_the_op_and_the_position() {
        let after = r#"{"before":null,"after":{"id":7}}"#;
        let schema = r#"{"schema":{"type":"struct","fields":[]},"payload":{"before":{"id":7},"after":null}}"#;
        for (value, op, expected) in [
            (after, "c", "c k(id=7) a(id=7)"),
            (r#"{"before":{"id":7,"n":1},"after":{"id":7}}"#, "u", "u k(id=7) b(id=7 n=1) a(id=7)"),
            (schema, "d", "d k(id=7) b(id=7)"),
        ] {
            for format in [Format::Auto, Format::Debezium] {
                let record = event(value, &[("ce_iodebeziumop", "r"), ("ce_iodebeziumop", op)]);
                let mut decoder = Decoder::new(format);
                let decoded = decoder.decode(&record.as_record());
                assert_eq!(told(&decoded), expected);
                let Ok(Decoded::Changes(changes)) = decoded else { panic!("no change") };
                assert_eq!(changes[0].version, Some(Version::from_parts(&[29_274_832, 29_274_832])));
                assert_eq!(changes[0].table.as_ref().map(|table| &*table.table), Some("us\"ers"));
            }
        }
    }

    #[test]
    fn what_is_no_change_of_debezium_in_binary_mode_is_said() {
        let after = r#"{"before":null,"after":{"id":7}}"#;
        let op = ("ce_iodebeziumop", "c");
        for (format, more, expected) in [
            (Format::Auto, &[][..], "error envelope: the event has no member \"iodebeziumop\""),
            (
                Format::Auto,
                &[op, ("ce_type", "com.example.order")],
                "error format: the value is a CloudEvent, but none of Debezium's",
            ),
            (
                Format::Cockroach,
                &[op],
                "error format: the value looks like a CloudEvent in binary mode; the entity says format = \"cockroach\"",
            ),
        ] {
            let record = event(after, more);
            assert_eq!(told(&Decoder::new(format).decode(&record.as_record())), expected);
        }
        // Rows of a job that owns such columns, and others, are its own.
        let row = event(r#"{"id":7,"after":{"id":7}}"#, &[op]);
        assert_eq!(
            told(&Decoder::new(Format::Auto).decode(&row.as_record())),
            "u k(id=7) a(id=7 after={\"id\":7})"
        );
    }
}
