//! Changes made by hand from JSON text, for the tests of entities.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::spec::{MappingSpec, Shape, Ttl, TtlBase, WriteSpec};
use super::template::Template;
use super::{Entity, EntityHandler, Mapping, ReplicaIdentity, Topics};
use crate::change::{Belief, Cell, Change, Column, Connector, Op, Routing, Row, TableName};
use crate::decode::Format;
use crate::error::HandleError;
use crate::mutation::{Effect, Expiry, Mutation, Mutations, Value};
use crate::patch::{Field, Others, Told};
use crate::record::{NoHeaders, Record};
use crate::types::RenderStyle;

/// A row of a JSON object's text; `"<unavailable>"` stands for an unavailable column. Leaks: for tests.
pub(crate) fn row(json: &str) -> Row<'static> {
    struct Columns;
    impl<'de> Visitor<'de> for Columns {
        type Value = Vec<(String, Box<RawValue>)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut columns = Vec::new();
            while let Some(entry) = map.next_entry()? {
                columns.push(entry);
            }
            Ok(columns)
        }
    }
    let columns = serde_json::Deserializer::from_str(json).deserialize_map(Columns).unwrap();
    let columns = columns.into_iter().map(|(name, value)| {
        let token: &'static str = Box::leak(value.get().to_owned().into_boxed_str());
        let cell = match token {
            "null" => Cell::Null,
            "\"<unavailable>\"" => Cell::Unavailable,
            _ => Cell::json(token),
        };
        Column { name: name.into(), cell }
    });
    Row { columns: columns.collect(), declared: &[], text: None }
}

/// Names of a row's columns.
pub(crate) fn names(row: &Row<'_>) -> String {
    row.columns.iter().map(|column| &*column.name).collect::<Vec<_>>().join(" ")
}

/// A PostgreSQL change of `public.customers` without rows.
pub(crate) fn change(op: Op) -> Change<'static> {
    Change {
        op,
        tombstone: false,
        table: Some(TableName { database: None, schema: Some("public".into()), table: "customers".into() }),
        key: None,
        before: None,
        belief: Belief::KeyColumns,
        after: None,
        source: None,
        commit_ms: Some(1_000_000),
        version: Some(crate::version::Version::from_parts(&[9])),
        connector: Connector::Postgres,
        routing: Routing::RecordKey,
    }
}

/// A change with rows; an empty text is none.
pub(crate) fn change_of(op: Op, key: &str, before: &str, after: &str) -> Change<'static> {
    let some_row = |json: &str| (!json.is_empty()).then(|| row(json));
    Change { key: some_row(key), before: some_row(before), after: some_row(after), ..change(op) }
}

/// A tombstone of that record key.
pub(crate) fn tombstone(key: &str) -> Change<'static> {
    Change {
        tombstone: true,
        table: None,
        version: None,
        commit_ms: None,
        connector: Connector::Unknown,
        ..change_of(Op::Delete, key, "", "")
    }
}

/// The same change as a format without source positions gives it.
pub(crate) fn without_positions(change: Change<'static>) -> Change<'static> {
    Change { version: None, connector: Connector::Unknown, table: None, ..change }
}

/// A record at offset 3 of partition 1 of `shop.public.customers`.
pub(crate) fn record() -> Record<'static> {
    Record {
        topic: "shop.public.customers",
        partition: 1,
        offset: 3,
        timestamp_ms: Some(2_000_000),
        key: None,
        value: None,
        headers: &NoHeaders,
    }
}

/// An entity with that handler over every topic.
pub(crate) fn entity(handler: Arc<dyn EntityHandler>) -> Entity {
    Entity {
        name: "customer".into(),
        topics: Topics::Names(vec!["shop.public.customers".into()]),
        table: None,
        format: Format::Auto,
        key_columns: None,
        replica_identity: ReplicaIdentity::Default,
        guard: None,
        columns: Vec::new(),
        rules: super::RowRules::default(),
        render: RenderStyle::default(),
        truncate: super::Truncate::Ignore,
        handler,
    }
}

/// The entity's mutations in words, one a line; an error's words where it fails.
pub(crate) fn effects(entity: &Entity, change: Change<'static>) -> Vec<String> {
    match mutations(entity, change) {
        Ok(list) => list.iter().map(in_words).collect(),
        Err(error) => vec![format!("error {}: {error}", error.kind())],
    }
}

/// The entity's mutations.
pub(crate) fn mutations(entity: &Entity, change: Change<'static>) -> Result<Vec<Mutation>, HandleError> {
    let mut change: Change<'_> = change;
    let before = change.before.take();
    super::flow::see(&mut change, before, entity);
    let record = record();
    let mut out = Mutations::new();
    let mut undecided = Vec::new();
    super::flow::Flow::new(entity, &change, &record, usize::MAX).run(&mut undecided, &mut out)?;
    Ok(out.drain().collect())
}

/// `write k = v in 1000 by public.customers:7 at 0009`
pub(crate) fn in_words(mutation: &Mutation) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = |value: &Value| match value {
        Value::String { bytes, .. } => text(bytes),
        Value::Hash(fields) => {
            let fields: Vec<_> = fields.iter().map(|(n, v)| format!("{}={}", text(n), text(v))).collect();
            format!("[{}]", fields.join(" "))
        }
        Value::Member { score } => score.as_ref().map_or("there".to_owned(), |score| text(score)),
    };
    let lifetime = |expiry: &Expiry| match expiry {
        Expiry::Never => String::new(),
        Expiry::In(ms) => format!(" in {ms}"),
        Expiry::At(ms) => format!(" at {ms}"),
        Expiry::AtWithin { at_ms, within_ms } => format!(" at {at_ms} within {within_ms}"),
    };
    let mut words = match &mutation.effect {
        Effect::Write(written, expiry) => {
            format!("write {} = {}{}", mutation.key, value(written), lifetime(expiry))
        }
        Effect::Patch(patch, expiry) => {
            let field = |field: &Field| match &field.told {
                Told::Value(value) => format!("{}={}", text(&field.name), text(value)),
                Told::Gone => format!("{} gone", text(&field.name)),
                Told::Kept => format!("{} kept", text(&field.name)),
            };
            let fields: Vec<_> = patch.fields().iter().map(field).collect();
            let others = if patch.others() == Others::Kept { " others kept" } else { "" };
            format!("patch {} [{}]{others}{}", mutation.key, fields.join(" "), lifetime(expiry))
        }
        Effect::Delete => format!("delete {}", mutation.key),
        Effect::DeleteIf(held) => format!("delete {} if {}", mutation.key, value(held)),
    };
    if let Some(guard) = &mutation.guard {
        let version = guard.version.to_string();
        let version = version.trim_start_matches('0');
        words.push_str(&format!(" by {} v{version}", text(guard.owner.as_bytes())));
    }
    words
}

/// A write of the row's id as text under that key, for an hour.
pub(crate) fn write(key: &str) -> WriteSpec {
    WriteSpec {
        key: Template::parse(key).unwrap(),
        shape: Shape::Text(Template::parse("{id}").unwrap()),
        packing: crate::entity::packing::Packing::default(),
        ttl: Ttl { base: TtlBase::None, jitter: 0.0 },
        when: None,
        shared: false,
    }
}

/// An entity of those writes.
pub(crate) fn mapping(writes: Vec<WriteSpec>) -> Entity {
    entity(Arc::new(Mapping::new(MappingSpec {
        writes,
        delete_when: None,
        value_bytes_max: 1_000,
        unavailable: Default::default(),
    })))
}
