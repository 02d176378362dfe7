//! Canal's flat JSON, and TiCDC's canal-json: <https://github.com/alibaba/canal>,
//! <https://docs.pingcap.com/tidb/stable/ticdc-canal-json>.
//!
//! One record may hold many rows: `data` is a list of them, and `old` pairs with it. Every value is a text,
//! and its type is in `mysqlType` (or, as JDBC's code, in `sqlType`), which also completes some (`mysql_text`). `old`
//! holds the columns that changed, or (TiCDC) all of them. A changed key is one update. Nothing in the record key names
//! the row.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::json::unescape;
use super::members::{self, missing, number, object, text, token, unknown_op};
use super::mysql_text::Completion;
use super::{Decoded, Ignored, mysql_type};
use crate::change::{Cell, Change, Column, Op, Routing, Row, TableName};
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

/// The changes that a record holds. Texts that the types complete stand in `texts`.
pub(super) fn decode<'a>(
    row: Row<'a>,
    record: &Record<'a>,
    texts: &'a mut Vec<String>,
) -> Result<Decoded<'a>, DecodeError> {
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
    texts.clear();
    let mut typed = |mut image: Row<'a>| {
        let completed = kinds.apply(&mut image, texts);
        (image, completed)
    };
    let no_object = || members::wrong("data", "a list of objects");
    let images = members::objects(&row, "data")?;
    let images: Vec<_> = images
        .into_iter()
        .map(|image| image.map(&mut typed).ok_or_else(no_object))
        .collect::<Result<_, _>>()?;
    let olds = members::objects(&row, "old")?;
    let olds: Vec<_> = olds.into_iter().map(|old| old.map(&mut typed)).collect();
    let texts: &'a [String] = texts;
    let mut texts = texts.iter();
    let mut settled = |(mut image, completed): (Row<'a>, Vec<usize>)| {
        for at in completed {
            let text = texts.next();
            if let (Some(column), Some(text)) = (image.columns.get_mut(at), text)
                && let Cell::Present(typed) = &mut column.cell
            {
                typed.raw = Raw::Text(text);
            }
        }
        image
    };
    let images: Vec<_> = images.into_iter().map(&mut settled).collect();
    let mut olds = olds.into_iter().map(|old| old.map(&mut settled));
    let mut changes = SmallVec::new();
    for image in images {
        let old = olds.next().flatten().map(|old| members::former(&image, old));
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

/// What is told of a column.
struct Told {
    kind: &'static Kind,
    completion: Option<Completion>,
}

/// What is told of the columns, in the order in which it is.
struct Kinds<'a> {
    list: Vec<(Cow<'a, str>, Told)>,
    by_name: BTreeMap<Cow<'a, str>, usize>,
}

impl<'a> Kinds<'a> {
    fn of(row: &Row<'a>) -> Result<Kinds<'a>, DecodeError> {
        let types = object(row, "sqlType")?;
        let codes = Codes::of(types.as_ref());
        let names = object(row, "mysqlType")?;
        let by_name = names.is_some();
        let types = names.or(types).map_or_else(Vec::new, |types| types.columns);
        let mut list = Vec::with_capacity(types.len());
        for (index, column) in types.into_iter().enumerate() {
            let Cell::Present(Typed { raw: Raw::Json(token), .. }) = column.cell else { continue };
            let code = codes.code(index, &column.name);
            let told = if by_name {
                unescape(token).map(|name| Told {
                    kind: mysql_type::kind(&name),
                    completion: Completion::of(&name, code),
                })
            } else {
                code.map(|code| Told { kind: mysql_type::jdbc(code), completion: None })
            };
            list.push((column.name, told.unwrap_or(Told { kind: &Kind::Untyped, completion: None })));
        }
        let by_name = list.iter().enumerate().map(|(index, (name, _))| (name.clone(), index)).collect();
        Ok(Kinds { list, by_name })
    }

    fn told(&self, index: usize, name: &str) -> Option<&Told> {
        let expected = self.list.get(index).filter(|(told, _)| told == name);
        let found = expected.or_else(|| self.by_name.get(name).and_then(|index| self.list.get(*index)));
        found.map(|(_, told)| told)
    }

    /// Gives the columns their kinds; texts that a type completes go to `texts`, and the columns' places are returned.
    fn apply(&self, row: &mut Row<'a>, texts: &mut Vec<String>) -> Vec<usize> {
        let mut completed = Vec::new();
        for (index, column) in row.columns.iter_mut().enumerate() {
            let Some(told) = self.told(index, &column.name) else { continue };
            if let (Some(completion), Cell::Present(Typed { raw: Raw::Json(token), .. })) =
                (&told.completion, column.cell)
                && let Some(text) = completion.complete(token.trim_matches('"'))
            {
                texts.push(text);
                completed.push(index);
            }
            column.cell = coerced(column.cell, told.kind);
        }
        completed
    }
}

/// JDBC's codes by column: in the order of the types as a rule, so that few need the map.
struct Codes<'a> {
    list: Vec<(Cow<'a, str>, Option<i64>)>,
    by_name: OnceCell<BTreeMap<Cow<'a, str>, Option<i64>>>,
}

impl<'a> Codes<'a> {
    fn of(row: Option<&Row<'a>>) -> Codes<'a> {
        let code = |column: &Column<'a>| match column.cell {
            Cell::Present(Typed { raw: Raw::Json(token), .. }) => token.trim_matches('"').parse().ok(),
            _ => None,
        };
        let columns = row.into_iter().flat_map(|row| &row.columns);
        let list = columns.map(|column| (column.name.clone(), code(column))).collect();
        Codes { list, by_name: OnceCell::new() }
    }

    fn code(&self, index: usize, name: &str) -> Option<i64> {
        match self.list.get(index) {
            Some((found, code)) if found == name => *code,
            _ => *self.by_name.get_or_init(|| self.list.iter().cloned().collect()).get(name)?,
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
