//! MongoDB's Kafka source connector: change stream events as Extended JSON,
//! <https://www.mongodb.com/docs/kafka-connector/current/source-connector/>.
//!
//! The row is `fullDocument`, its key `documentKey`. An update that comes without the document (no
//! `change.stream.full.document`, or the document is gone by the time of the lookup) deletes what is cached
//! of it: a miss is right, a part of a document is not. The record key is the resume token by default, unique
//! to each event, and then orders nothing.

use super::key::Key;
use super::members::{self, missing, number, object, text, unknown_op};
use super::{Decoded, Ignored, extended_json, rows};
use crate::change::{Cell, Change, Op, Routing, Row, TableName};
use crate::error::DecodeError;
use crate::types::{Kind, Raw, Typed, unix_ms};
use crate::version::Version;

/// True where the members are a change stream's.
pub(super) fn is_one(row: &Row<'_>) -> bool {
    let object = |name: &str| members::token(row, name).is_some_and(|token| token.starts_with('{'));
    text(row, "operationType").is_some() && (object("ns") || object("documentKey") || object("clusterTime"))
}

/// The change that an event is.
pub(super) fn decode<'a>(row: Row<'a>, key: Key<'a>) -> Result<Decoded<'a>, DecodeError> {
    let what = text(&row, "operationType").ok_or_else(|| missing("operationType", "the event"))?;
    let op = match &*what {
        "insert" => Op::Create,
        "update" | "replace" => Op::Update,
        "delete" => Op::Delete,
        "drop" | "dropDatabase" => Op::Truncate,
        "rename"
        | "invalidate"
        | "create"
        | "createIndexes"
        | "dropIndexes"
        | "modify"
        | "shardCollection"
        | "refineCollectionShardKey"
        | "reshardCollection" => {
            return Ok(Decoded::Ignored(Ignored::SchemaChange));
        }
        other => return Err(unknown_op(other, "insert, update, replace, delete and those of collections")),
    };
    let table = object(&row, "ns")?.and_then(|ns| {
        text(&ns, "coll").map(|table| TableName { database: text(&ns, "db"), schema: None, table })
    });
    let clock = object(&row, "clusterTime")?.map(|time| object(&time, "$timestamp")).transpose()?.flatten();
    let version = clock
        .as_ref()
        .and_then(|clock| Some(Version::from_parts(&[number(clock, "t")?, number(clock, "i")?])));
    let seconds = clock.as_ref().and_then(|clock| members::signed(clock, "t"));
    let commit_ms = wall_time(&row).or_else(|| seconds.and_then(|seconds| seconds.checked_mul(1000)));
    let change = Change { table, version, commit_ms, routing: routing(&key), ..members::change(op) };
    if op == Op::Truncate {
        return Ok(Decoded::one(change));
    }
    let document = |name: &str| -> Result<Option<Row<'a>>, DecodeError> {
        let mut document = object(&row, name)?;
        document.iter_mut().for_each(extended_json::apply);
        Ok(document)
    };
    let named = document("documentKey")?.filter(|named| !named.columns.is_empty());
    let after = if op == Op::Delete { None } else { document("fullDocument")? };
    if op == Op::Create && after.is_none() {
        return Err(missing("fullDocument", "an insert"));
    }
    Ok(Decoded::one(Change {
        op: if after.is_some() { op } else { Op::Delete },
        key: Some(named.ok_or_else(|| missing("documentKey", "the event"))?),
        before: document("fullDocumentBeforeChange")?,
        after,
        ..change
    }))
}

/// The change that a document without its event is (`publish.full.document.only`).
pub(super) fn document<'a>(mut row: Row<'a>, key: Key<'a>) -> Change<'a> {
    extended_json::apply(&mut row);
    let routing = routing(&key);
    let named = members::key(&["_id"], &row);
    Change { key: named.or_else(|| key.into_row()), routing, ..rows::change(row, None) }
}

/// The resume token, `{"_id": {"_data": …}}`, tells no document.
fn routing(key: &Key<'_>) -> Routing {
    match key {
        Key::Row(key) => match members::object(key, "_id") {
            Ok(Some(id)) if id.columns.iter().any(|column| column.name == "_data") => Routing::Nothing,
            _ => Routing::RecordKey,
        },
        Key::Null | Key::Unnamed => Routing::Nothing,
    }
}

fn wall_time(row: &Row<'_>) -> Option<i64> {
    match extended_json::cell(members::token(row, "wallTime")?) {
        Cell::Present(Typed { raw, kind: kind @ (Kind::Instant(_) | Kind::ZonedText) }) => {
            unix_ms(Typed { raw, kind }).ok().flatten()
        }
        Cell::Present(Typed { raw: Raw::Json(token), .. }) => token.parse().ok(),
        _ => None,
    }
}
