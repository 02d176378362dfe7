//! Canal's flat JSON, and TiCDC's canal-json: <https://github.com/alibaba/canal>,
//! <https://docs.pingcap.com/tidb/stable/ticdc-canal-json>.
//!
//! One record may hold many rows: `data` is a list of them, and `old` pairs with it. Every value is a text,
//! and its type is in `mysqlType` (or, as JDBC's code, in `sqlType`). `old` holds the columns that changed,
//! or (TiCDC) all of them. A changed key is one update. Nothing in the record key names the row.

use std::borrow::Cow;
use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::json::unescape;
use super::members::{self, missing, number, object, text, token, unknown_op};
use super::{Decoded, Ignored, mysql_type};
use crate::change::{Cell, Change, Op, Routing, Row, TableName};
use crate::error::DecodeError;
use crate::record::Record;
use crate::types::{Kind, Raw, Typed};
use crate::version::Version;

const KNOWN: &str = "INSERT, UPDATE, DELETE, INIT, TRUNCATE and those of schema changes";

/// True where the members are Canal's.
pub(super) fn is_one(row: &Row<'_>) -> bool {
    matches!(token(row, "isDdl"), Some("true" | "false"))
        && text(row, "type").is_some()
        && ["es", "ts", "database"].iter().any(|name| token(row, name).is_some())
}

/// The changes that a record holds.
pub(super) fn decode<'a>(row: Row<'a>, record: &Record<'a>) -> Result<Decoded<'a>, DecodeError> {
    let what = text(&row, "type").ok_or_else(|| missing("type", "the record"))?;
    let op = match &*what {
        "INSERT" => Op::Create,
        "UPDATE" => Op::Update,
        "DELETE" => Op::Delete,
        // Huawei's DRS, for its full load.
        "INIT" => Op::Read,
        "TRUNCATE" => Op::Truncate,
        "TIDB_WATERMARK" => return Ok(Decoded::Ignored(Ignored::Watermark)),
        _ if token(&row, "isDdl") == Some("true") => return Ok(Decoded::Ignored(Ignored::SchemaChange)),
        "CREATE" | "ALTER" | "ERASE" | "QUERY" | "RENAME" | "CINDEX" | "DINDEX" => {
            return Ok(Decoded::Ignored(Ignored::SchemaChange));
        }
        other => return Err(unknown_op(other, KNOWN)),
    };
    let tidb = object(&row, "_tidb")?;
    let common = Change {
        table: text(&row, "table").map(|table| TableName {
            database: text(&row, "database"),
            schema: None,
            table,
        }),
        commit_ms: members::signed(&row, "es"),
        version: match op {
            Op::Read => Some(Version::NONE),
            _ => version(&row, tidb.as_ref()),
        },
        routing: match &tidb {
            Some(_) => Routing::Nothing,
            None => members::routing(record),
        },
        ..members::change(op)
    };
    if op == Op::Truncate {
        return Ok(Decoded::one(common));
    }
    let names = members::texts(&row, "pkNames")?;
    let kinds = Kinds::of(&row)?;
    let old = members::objects(&row, "old")?;
    let mut old = old.into_iter();
    let mut changes = SmallVec::new();
    for image in members::objects(&row, "data")? {
        let mut image = image.ok_or_else(|| members::wrong("data", "a list of objects"))?;
        kinds.apply(&mut image);
        let old = old.next().flatten().map(|mut old| {
            kinds.apply(&mut old);
            members::former(&image, old)
        });
        let key = members::key(&names, &image);
        let (before, after) = match op {
            Op::Delete => (Some(image), None),
            Op::Create | Op::Update | Op::Read | Op::Truncate => (old, Some(image)),
        };
        changes.push(Change { key, before, after, ..common.clone() });
    }
    if changes.is_empty() {
        return Err(missing("data", "a row change"));
    }
    Ok(Decoded::Changes(changes))
}

/// TiDB's commit time stamp; of Canal the second of the binlog event.
///
/// Rows of one second tie, and then their order in the partition decides. Canal's message number would part
/// them, but it begins anew when Canal does, and a newer row must never look older.
fn version(row: &Row<'_>, tidb: Option<&Row<'_>>) -> Option<Version> {
    let commit = tidb.and_then(|tidb| number(tidb, "commitTs"));
    commit.or_else(|| number(row, "es")).map(|position| Version::from_parts(&[position]))
}

/// The kinds of the columns, in the order in which the types are told.
struct Kinds<'a> {
    list: Vec<(Cow<'a, str>, &'static Kind)>,
    by_name: BTreeMap<Cow<'a, str>, &'static Kind>,
}

impl<'a> Kinds<'a> {
    fn of(row: &Row<'a>) -> Result<Kinds<'a>, DecodeError> {
        let mut list = Vec::new();
        let (types, by_name) = match object(row, "mysqlType")? {
            Some(types) => (Some(types), true),
            None => (object(row, "sqlType")?, false),
        };
        for column in types.into_iter().flat_map(|types| types.columns) {
            let Cell::Present(Typed { raw: Raw::Json(token), .. }) = column.cell else { continue };
            let kind = if by_name {
                unescape(token).map(|name| mysql_type::kind(&name))
            } else {
                token.trim_matches('"').parse().ok().map(mysql_type::jdbc)
            };
            list.push((column.name, kind.unwrap_or(&Kind::Untyped)));
        }
        let by_name = list.iter().cloned().collect();
        Ok(Kinds { list, by_name })
    }

    fn apply(&self, row: &mut Row<'a>) {
        for (index, column) in row.columns.iter_mut().enumerate() {
            let expected = self.list.get(index).filter(|(name, _)| *name == column.name);
            let found = expected.map(|(_, kind)| kind).or_else(|| self.by_name.get(&column.name));
            if let Some(kind) = found {
                column.cell = coerced(column.cell, kind);
            }
        }
    }
}

/// A cell of text under its kind. A BIT's text is its number, and not its digits.
fn coerced<'a>(cell: Cell<'a>, kind: &'static Kind) -> Cell<'a> {
    let Cell::Present(Typed { raw, .. }) = cell else { return cell };
    let raw = match (raw, kind) {
        (Raw::Json(token), Kind::Bits { .. }) => match token.trim_matches('"').parse::<u64>() {
            Ok(number) => Raw::Int(number.cast_signed()),
            Err(_) => raw,
        },
        _ => raw,
    };
    Cell::Present(Typed { raw, kind })
}
