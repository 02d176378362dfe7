//! What a value holds and how its bytes are packed: `value = { json = […] }`, `encoding`, `compress`.

use super::Context;
use crate::entity::packing::Packing;
use crate::entity::spec::{Chosen, Columns, Member, Shape, Source};
use crate::mutation::Compression;
use crate::settings::defaults::{COMPRESS_OVER_BYTES, COMPRESS_OVER_BYTES_BOUNDS};
use crate::settings::document::Path;
use crate::settings::raw_entity::{Algorithm, Column, Encoding, Renamed, Value, ValueName, ValueOf, Write};

/// The columns of a `hash`.
pub(super) fn chosen(raw: &[Column], path: &Path, context: &mut Context<'_, '_>) -> Vec<Chosen> {
    let mut chosen = Vec::new();
    for (index, member) in members(raw, path, context).into_iter().enumerate() {
        match member.source {
            Source::Column(column) => chosen.push(Chosen { name: member.name, column }),
            Source::Parsed(_) | Source::Constant(_) | Source::Object(_) => {
                let message = "a hash has texts of columns: constants, objects and parsed JSON are json's";
                context.findings.refuse(&path.index(index), message);
            }
        }
    }
    chosen
}

/// The fields of a `json` value. One of columns alone keeps its own, faster way.
pub(super) fn fields_of_json(raw: &[Column], path: &Path, context: &mut Context<'_, '_>) -> Shape {
    let members = members(raw, path, context);
    let plain = |member: &Member| match &member.source {
        Source::Column(column) => Some(Chosen { name: member.name.clone(), column: column.clone() }),
        Source::Parsed(_) | Source::Constant(_) | Source::Object(_) => None,
    };
    match members.iter().map(plain).collect() {
        Some(chosen) => Shape::Json(Columns::Chosen(chosen)),
        None => Shape::Nested(members),
    }
}

/// One for each element, also for those that are refused, so that positions stay.
fn members(raw: &[Column], path: &Path, context: &mut Context<'_, '_>) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    if raw.is_empty() {
        context.findings.refuse(path, "names no column");
    }
    for (index, column) in raw.iter().enumerate() {
        let at = path.index(index);
        let (name, source) = match column {
            Column::Same(name) => (name.clone(), Source::Column(name.clone())),
            Column::Renamed(renamed) => {
                (renamed.name.clone().unwrap_or_default(), source(renamed, &at, context))
            }
        };
        let no_column =
            matches!(&source, Source::Column(column) | Source::Parsed(column) if column.is_empty());
        if name.is_empty() || no_column {
            context.findings.refuse(&at, "a name is empty");
        } else if members.iter().any(|earlier| earlier.name == name) {
            let shown = context.shown(&name, &at);
            context.findings.refuse(&at, format!("the value has a field {shown} already"));
        }
        members.push(Member { name, source });
    }
    members
}

/// What a field under a name of its own holds; where that is refused, a constant null.
fn source(raw: &Renamed, path: &Path, context: &mut Context<'_, '_>) -> Source {
    if raw.parse.is_some() && raw.column.is_none() {
        let message = "says how a column's text is read: there is no column here";
        context.findings.refuse_field(&path.key("parse"), message, None);
    }
    match (&raw.column, &raw.value, &raw.json) {
        (Some(column), None, None) if raw.parse.is_some() => Source::Parsed(column.clone()),
        (Some(column), None, None) => Source::Column(column.clone()),
        (None, Some(constant), None) => Source::Constant(constant.0.to_string()),
        (None, None, Some(columns)) => Source::Object(members(columns, &path.key("json"), context)),
        _ => {
            let said = ["column", "value", "json"].iter().any(|name| context.findings.says(&path.key(name)));
            let message =
                if said { "has to be one of column, value and json" } else { "\"column\" is missing" };
            let help = "a field is { name = …, column = … }, or holds value = … (a constant) or json = […]";
            context.findings.refuse_with(path, message, help);
            Source::Constant("null".to_owned())
        }
    }
}

/// `encoding` and `compress`.
pub(super) fn packing(raw: &Write, path: &Path, context: &mut Context<'_, '_>) -> Packing {
    let msgpack = matches!(raw.encoding, Some(Encoding::Msgpack));
    let is_json =
        matches!(raw.value, Some(Value::Name(ValueName::Json) | Value::Of(ValueOf::Json(_))) | None);
    if msgpack && !is_json {
        let message = "MessagePack is an encoding of JSON values, and this is none";
        context.findings.refuse_field(&path.key("encoding"), message, None);
    }
    let Some(compress) = &raw.compress else { return Packing { msgpack, compress: None } };
    let at = path.key("compress");
    let why = match raw.value {
        Some(Value::Name(ValueName::Hash) | Value::Of(ValueOf::Hash(_))) => {
            Some("a hash is read field by field: it cannot be compressed")
        }
        Some(Value::Of(ValueOf::Set(_) | ValueOf::SortedSet(_))) => {
            Some("a member is compared with others: it cannot be compressed")
        }
        Some(Value::Name(ValueName::Invalidate)) => {
            Some("value = \"invalidate\" deletes the key: there is nothing to compress")
        }
        _ => None,
    };
    if let Some(why) = why {
        context.findings.refuse_field(&at, why, None);
    }
    let over = context.size_or(
        compress.over.as_ref(),
        &at.key("over"),
        COMPRESS_OVER_BYTES,
        &COMPRESS_OVER_BYTES_BOUNDS,
    );
    let compress = compress.algorithm.as_ref().map(|algorithm| match algorithm {
        Algorithm::Zstd => (Compression::Zstd, over),
        Algorithm::Lz4 => (Compression::Lz4, over),
    });
    Packing { msgpack, compress }
}
