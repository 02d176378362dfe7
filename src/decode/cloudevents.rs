//! Debezium's changes as CloudEvents in structured JSON:
//! <https://debezium.io/documentation/reference/stable/integrations/cloudevents.html>.
//!
//! `data` holds `before` and `after` (with a Connect schema, where there is one); the op and the source's
//! position are attributes beside it, all of them texts.

use super::Decoded;
use super::connect::Plans;
use super::debezium::Envelope;
use super::key::Key;
use super::layout::Layouts;
use super::members::{missing, text, token};
use super::position::Source;
use crate::change::{Cell, Row};
use crate::error::DecodeError;
use crate::types::{Raw, Typed};

/// What the names of Debezium's attributes begin with.
const PREFIX: &str = "iodebezium";
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

/// The change that an event is.
pub(super) fn decode<'a>(
    row: Row<'a>,
    key: Key<'a>,
    plans: &'a mut Plans,
    layouts: &mut Layouts,
    texts: &'a mut Vec<String>,
) -> Result<Decoded<'a>, DecodeError> {
    if !text(&row, "type").is_some_and(|kind| kind.starts_with("io.debezium.")) {
        return Err(DecodeError::new("format", "the value is a CloudEvent, but none of Debezium's"));
    }
    let data = token(&row, "data").ok_or_else(|| missing("data", "the event"))?;
    if !data.starts_with('{') {
        return Err(DecodeError::new(
            "format",
            "the event's data is no JSON object; set the converter's data.serializer.type to json",
        ));
    }
    let document = plans.unwrap(data).map_err(|wrong| wrong.into_error("value", 0))?;
    let envelope =
        Envelope::scan(document, layouts).map_err(|stop| super::fault("json", stop, "event's data", 0))?;
    let mut source = Source::default();
    let mut op = None;
    for column in &row.columns {
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
