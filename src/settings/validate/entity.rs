//! `[[entity]]`, all but its writes.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use super::guard::guard;
use super::unavailable::unavailable;
use super::write::{DraftWrite, compile, write};
use super::{Context, process};
use crate::decode::Format;
use crate::entity::condition::Condition;
use crate::entity::spec::{MappingSpec, Unavailable};
use crate::entity::{
    Absent, Entity, EntityHandler, GuardRule, Mapping, OpColumn, ReplicaIdentity, RowRules, TableFilter,
    Topics, Truncate,
};
use crate::settings::document::Path;
use crate::settings::problem::{one_of, suggestion};
use crate::settings::raw_entity::{
    Absent as RawAbsent, ColumnCase, Entity as RawEntity, Format as RawFormat, Render, RenderBytes,
    RenderDecimal, RenderTime, ReplicaIdentity as RawIdentity, ReplicaIdentityName, Truncate as RawTruncate,
};
use crate::types::{BytesStyle, DecimalStyle, Kind, RenderStyle, TimeStyle};

/// An entity as far as its section tells; what is wrong is missing, and reported.
pub(super) struct Draft {
    pub(super) path: Path,
    pub(super) name: String,
    pub(super) topics: Option<Topics>,
    pub(super) columns: Vec<(String, Kind)>,
    pub(super) handler: DraftHandler,
    pub(super) guard: Option<GuardRule>,
    pub(super) format: Format,
    pub(super) unavailable: Unavailable,
    table: Option<TableFilter>,
    key_columns: Option<Vec<String>>,
    replica_identity: ReplicaIdentity,
    pub(super) truncate: Truncate,
    rules: RowRules,
    render: RenderStyle,
}

/// What handles an entity's changes.
pub(super) enum DraftHandler {
    /// Neither or both are said, or no handler has that name: reported.
    Missing,
    /// A handler in Rust.
    Rust(Arc<dyn EntityHandler>),
    /// The declarative one.
    Mapping { writes: Vec<DraftWrite>, delete_when: Option<Condition> },
}

impl Draft {
    /// The entity; `None` where something of it was refused.
    pub(super) fn finish(self, value_bytes_max: usize) -> Option<Entity> {
        let handler = match self.handler {
            DraftHandler::Missing => return None,
            DraftHandler::Rust(handler) => handler,
            DraftHandler::Mapping { writes, delete_when } => {
                let writes: Option<Vec<_>> = writes.into_iter().map(|write| write.spec).collect();
                let unavailable = self.unavailable;
                mapping(MappingSpec { writes: writes?, delete_when, value_bytes_max, unavailable })
            }
        };
        Some(Entity {
            name: Arc::from(self.name),
            topics: self.topics?,
            table: self.table,
            format: self.format,
            key_columns: self.key_columns,
            replica_identity: self.replica_identity,
            guard: self.guard,
            columns: self.columns,
            rules: self.rules,
            render: self.render,
            truncate: self.truncate,
            handler,
        })
    }
}

fn mapping(spec: MappingSpec) -> Arc<dyn EntityHandler> {
    Arc::new(Mapping::new(spec))
}

/// `[[entity]]`, checked.
pub(super) fn entities(raw: &[RawEntity], path: &Path, context: &mut Context<'_, '_>) -> Vec<Draft> {
    let mut first_of: HashMap<&str, usize> = HashMap::new();
    for (index, entity) in raw.iter().enumerate() {
        let Some(name) = entity.name.as_deref() else { continue };
        let at = path.index(index).key("name");
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if name.is_empty() || !name.bytes().all(legal) {
            context.findings.refuse(&at, "a name is made of a-z, 0-9, _ and -");
        }
        if let Some(first) = first_of.insert(name, index) {
            let message = format!("is the name of entity {} already", first.saturating_add(1));
            context.findings.refuse(&at, message);
        }
    }
    raw.iter().enumerate().map(|(index, raw)| entity(raw, &path.index(index), context)).collect()
}

fn entity(raw: &RawEntity, path: &Path, context: &mut Context<'_, '_>) -> Draft {
    let rules = rules(raw, path, context);
    let columns = columns(raw, &path.key("columns"), context);
    Draft {
        path: path.clone(),
        name: raw.name.clone().unwrap_or_default(),
        topics: raw.topics.as_deref().and_then(|raw| topics(raw, &path.key("topics"), context)),
        table: raw.table.as_deref().and_then(|raw| table(raw, &path.key("table"), context)),
        format: match raw.format {
            None | Some(RawFormat::Auto) => Format::Auto,
            Some(RawFormat::Debezium) => Format::Debezium,
            Some(RawFormat::Flattened) => Format::Flattened,
            Some(RawFormat::Rows) => Format::Rows,
            Some(RawFormat::Maxwell) => Format::Maxwell,
            Some(RawFormat::Canal) => Format::Canal,
            Some(RawFormat::Ticdc) => Format::Ticdc,
            Some(RawFormat::Ogg) => Format::Ogg,
            Some(RawFormat::Dms) => Format::Dms,
            Some(RawFormat::Cockroach) => Format::Cockroach,
            Some(RawFormat::Sequin) => Format::Sequin,
            Some(RawFormat::Mongo) => Format::Mongo,
        },
        key_columns: names(raw.key_columns.as_deref(), &path.key("key_columns"), context),
        replica_identity: replica_identity(raw, &path.key("replica_identity"), context),
        guard: raw.guard.as_ref().and_then(|raw| guard(raw, &path.key("guard"), context)),
        unavailable: unavailable(raw, rules.absent, path, context),
        rules,
        truncate: match raw.truncate {
            None | Some(RawTruncate::Ignore) => Truncate::Ignore,
            Some(RawTruncate::Delete) => Truncate::Delete,
        },
        render: raw.render.as_ref().map_or_else(RenderStyle::default, render),
        handler: handler(raw, path, context),
        columns,
    }
}

/// What the entity says of its rows. DMS leaves nulls out unless it is told otherwise.
fn rules(raw: &RawEntity, path: &Path, context: &mut Context<'_, '_>) -> RowRules {
    let op_column = raw.op_column.as_ref().and_then(|raw| {
        let path = path.key("op_column");
        let column = context.filled(raw.column.as_deref(), &path.key("column"));
        let delete = names(raw.delete.as_deref(), &path.key("delete"), context)?;
        Some(OpColumn { column: column?.to_owned(), delete })
    });
    let absent = match (&raw.absent, &raw.format) {
        (Some(RawAbsent::Omit), _) => Absent::Omit,
        (Some(RawAbsent::Null), _) | (None, Some(RawFormat::Dms)) => Absent::Null,
        (Some(RawAbsent::Unavailable), _) => Absent::Unavailable,
        (None, _) => Absent::Omit,
    };
    if matches!(raw.absent, Some(RawAbsent::Null | RawAbsent::Unavailable)) && raw.columns.is_none() {
        let help = "declare the columns that may be left out: columns = { note = \"text\" }";
        context.findings.refuse_with(
            &path.key("absent"),
            "speaks of the columns in `columns`, and there are none",
            help,
        );
    }
    let lower_case = matches!(raw.column_case, Some(ColumnCase::Lower));
    RowRules { op_column, absent, lower_case }
}

fn topics(raw: &[String], path: &Path, context: &mut Context<'_, '_>) -> Option<Topics> {
    if let [only] = raw
        && only.starts_with('^')
    {
        return pattern(only, &path.index(0), context).map(Topics::Pattern);
    }
    let mut good = true;
    for (index, name) in raw.iter().enumerate() {
        let at = path.index(index);
        if name.starts_with('^') {
            good = false;
            let help = "write one expression with alternatives: \"^(one|two)$\"";
            context.findings.refuse_with(&at, "a regular expression stands alone in the list", help);
        } else if let Some(wrong) = process::topic_problem(name) {
            good = false;
            let message = format!("{} {wrong}", context.shown(name, &at));
            let help = "a regular expression over the whole name begins with ^ and ends with $";
            context.findings.refuse_with(&at, message, help);
        } else if raw.iter().take(index).any(|earlier| earlier == name) {
            context.findings.refuse(&at, "stands in the list twice");
        }
    }
    good.then(|| Topics::Names(raw.to_vec()))
}

/// `^…$` over the whole name.
fn pattern(text: &str, path: &Path, context: &mut Context<'_, '_>) -> Option<Regex> {
    let Some(inner) = text.strip_prefix('^').and_then(|rest| rest.strip_suffix('$')) else {
        context.findings.refuse(path, "a regular expression speaks of the whole name: it ends with $");
        return None;
    };
    // The group keeps an alternative at the top ("^a|b$") from escaping the anchors.
    match Regex::new(&format!("^(?:{inner})$")) {
        Ok(pattern) => Some(pattern),
        Err(regex::Error::CompiledTooBig(_)) => {
            context.findings.refuse(path, "the regular expression is too large");
            None
        }
        Err(error) => {
            // The crate draws the expression over several lines; its last line says what is wrong.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            context.findings.refuse(path, format!("is no regular expression: {why}"));
            None
        }
    }
}

fn table(raw: &str, path: &Path, context: &mut Context<'_, '_>) -> Option<TableFilter> {
    if raw.starts_with('^') {
        return pattern(raw, path, context).map(TableFilter::Pattern);
    }
    context.filled(Some(raw), path).map(|name| TableFilter::Name(name.to_owned()))
}

/// Names of columns: none empty, none twice.
pub(super) fn names(
    raw: Option<&[String]>,
    path: &Path,
    context: &mut Context<'_, '_>,
) -> Option<Vec<String>> {
    let raw = raw?;
    for (index, name) in raw.iter().enumerate() {
        if name.is_empty() {
            context.findings.refuse(&path.index(index), "is empty");
        } else if raw.iter().take(index).any(|earlier| earlier == name) {
            context.findings.refuse(&path.index(index), "stands in the list twice");
        }
    }
    Some(raw.to_vec())
}

fn replica_identity(raw: &RawEntity, path: &Path, context: &mut Context<'_, '_>) -> ReplicaIdentity {
    match &raw.replica_identity {
        None | Some(RawIdentity::Name(ReplicaIdentityName::Default)) => ReplicaIdentity::Default,
        Some(RawIdentity::Name(ReplicaIdentityName::Full)) => ReplicaIdentity::Full,
        Some(RawIdentity::Index(raw)) => {
            let columns = names(raw.index.as_deref(), &path.key("index"), context);
            ReplicaIdentity::Index(columns.unwrap_or_default())
        }
    }
}

fn columns(raw: &RawEntity, path: &Path, context: &mut Context<'_, '_>) -> Vec<(String, Kind)> {
    let mut columns = Vec::new();
    for (name, kind) in raw.columns.iter().flatten() {
        match Kind::parse(kind) {
            Ok(kind) => columns.push((name.clone(), kind)),
            Err(_) if context.filled_in.contains(&path.key(name)) => {
                context.findings.refuse(&path.key(name), "the value is not a type");
            }
            Err(wrong) => context.findings.refuse(&path.key(name), wrong),
        }
    }
    columns
}

fn render(raw: &Render) -> RenderStyle {
    RenderStyle {
        decimal: match raw.decimal {
            None | Some(RenderDecimal::String) => DecimalStyle::Text,
            Some(RenderDecimal::Number) => DecimalStyle::Number,
        },
        time: match raw.time {
            None | Some(RenderTime::Rfc3339) => TimeStyle::Rfc3339,
            Some(RenderTime::Raw) => TimeStyle::Raw,
        },
        bytes: match raw.bytes {
            None | Some(RenderBytes::Base64) => BytesStyle::Base64,
            Some(RenderBytes::Hex) => BytesStyle::Hex,
        },
    }
}

fn handler(raw: &RawEntity, path: &Path, context: &mut Context<'_, '_>) -> DraftHandler {
    let handler_path = path.key("handler");
    let (says_handler, says_write) =
        (context.findings.says(&handler_path), context.findings.says(&path.key("write")));
    // Writes are checked even where they should not be there.
    let write_path = path.key("write");
    let writes = raw.write.iter().flatten().enumerate();
    let writes: Vec<_> = writes.map(|(index, raw)| write(raw, &write_path.index(index), context)).collect();
    let delete_path = path.key("delete_when");
    let delete_when = raw.delete_when.as_ref().and_then(|raw| compile(&raw.0, &delete_path, context));
    match (says_handler, says_write) {
        (true, true) => {
            let message = "stands beside [[entity.write]]: an entity has one or the other";
            context.findings.refuse_field(&handler_path, message, None);
            DraftHandler::Missing
        }
        (false, false) => {
            let help = "write an [[entity.write]] with key, value and ttl, or name a handler in Rust: handler = \"…\"";
            context.findings.refuse_with(path, "does not say what a row becomes", help);
            DraftHandler::Missing
        }
        (false, true) => DraftHandler::Mapping { writes, delete_when },
        (true, false) => {
            if raw.delete_when.is_some() {
                let message = "is a part of the declarative entities: a handler in Rust decides itself";
                context.findings.refuse_field(&delete_path, message, None);
            }
            raw.handler.as_deref().map_or(DraftHandler::Missing, |name| in_rust(name, &handler_path, context))
        }
    }
}

fn in_rust(name: &str, path: &Path, context: &mut Context<'_, '_>) -> DraftHandler {
    if let Some(handler) = context.handlers.get(name) {
        return DraftHandler::Rust(Arc::clone(handler));
    }
    let names: Vec<&str> = context.handlers.names().collect();
    let message = format!("this program has no handler {}", context.shown(name, path));
    let help = match (suggestion(name, names.iter().copied()), names.as_slice()) {
        (Some(alike), _) => format!("did you mean {alike:?}?"),
        (None, []) => "it has none: handlers in Rust are a part of your own binary".to_owned(),
        (None, names) => format!("it has {}", one_of(names.iter().copied())),
    };
    context.findings.refuse_with(path, message, help);
    DraftHandler::Missing
}
