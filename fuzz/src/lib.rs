//! What each fuzz target does with its input. None may panic, hang, or allocate past the limits that `make fuzz` sets.
//!
//! An input is parts, one behind the other: each but the last one ends at a NUL byte, so that a seed is a text that
//! can be read and cut.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use stoker::change::{Cell, Row};
use stoker::decode::{
    Decoded, Decoder, Format, RegisteredSchema, SchemaId, SchemaKind, SchemaRef, Schemas, Side, Wire,
};
use stoker::entity::condition::Condition;
use stoker::entity::template::Template;
use stoker::entity::text_template::TextTemplate;
use stoker::entity::{Handlers, Topics};
use stoker::pipeline::Pipeline;
use stoker::record::{AsRecord as _, OwnedRecord, Record};
use stoker::settings::{self, Environment};
use stoker::types::{BytesStyle, DecimalStyle, RenderStyle, TimeStyle};
use stoker::types::{raw_bytes, render_json, render_key, render_text, unix_ms};

const FORMATS: [Format; 12] = [
    Format::Auto,
    Format::Debezium,
    Format::Flattened,
    Format::Rows,
    Format::Maxwell,
    Format::Canal,
    Format::Ticdc,
    Format::Ogg,
    Format::Dms,
    Format::Cockroach,
    Format::Sequin,
    Format::Mongo,
];

/// What stands before the next NUL, and what behind it; all and nothing where there is none.
fn split(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}

/// As many bytes as the first one says, or all there are, and what is behind them.
fn behind_length(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = input.split_first() else { return (&[], &[]) };
    rest.split_at(rest.len().min(usize::from(*length)))
}

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

fn owned(key: Option<&[u8]>, value: Option<Vec<u8>>) -> OwnedRecord {
    OwnedRecord { topic: "t".to_owned(), key: key.map(<[u8]>::to_vec), value, ..OwnedRecord::default() }
}

/// Decodes under every format; each value is rendered in every way.
fn decode(record: &Record<'_>, schemas: &Schemas) {
    for format in FORMATS {
        if let Ok(Decoded::Changes(changes)) = Decoder::new(format).decode_with(record, schemas) {
            for change in &changes {
                [&change.key, &change.before, &change.after].into_iter().flatten().for_each(look);
                if let Some(block) = change.source {
                    serde_json::from_str::<serde_json::Value>(block)
                        .map(drop)
                        .expect("a source block is JSON");
                }
            }
        }
    }
}

fn look(row: &Row<'_>) {
    let other = RenderStyle { decimal: DecimalStyle::Number, time: TimeStyle::Raw, bytes: BytesStyle::Hex };
    for (_, cell) in row.cells() {
        let Cell::Present(typed) = cell else { continue };
        for style in [RenderStyle::default(), other] {
            let mut out = Vec::new();
            if render_json(typed, style, &mut out).is_ok() {
                let read = serde_json::from_slice::<&serde_json::value::RawValue>(&out);
                assert!(read.is_ok(), "what is rendered as JSON is JSON");
            }
            let _ = render_text(typed, style, &mut Vec::new());
            let _ = render_key(typed, style, &mut Vec::new());
        }
        let _ = raw_bytes(typed, &mut Vec::new());
        let _ = unix_ms(typed);
    }
}

/// Key and value without a registry.
pub fn json(input: &[u8]) {
    let (key, value) = split(input);
    let record = owned(Some(key), Some(value.to_vec()));
    decode(&record.as_record(), &Schemas::default());
}

/// A schema's text and a datum.
fn registered(kind: SchemaKind, input: &[u8]) {
    let (schema, datum) = split(input);
    let mut schemas = Schemas::new(Wire::default());
    let id = SchemaRef { id: SchemaId::Number(1), side: Side::Value };
    schemas.know(id, Ok(RegisteredSchema { kind, text: text(schema), references: Vec::new() }));
    let framed = [&[0, 0, 0, 0, 1], datum].concat();
    decode(&owned(Some(&framed), Some(framed.clone())).as_record(), &schemas);
    decode(&owned(Some(&framed), None).as_record(), &schemas);
}

/// An Avro schema and a datum.
pub fn avro(input: &[u8]) {
    registered(SchemaKind::Avro, input);
}

/// A JSON Schema and a datum.
pub fn json_schema(input: &[u8]) {
    registered(SchemaKind::Json, input);
}

/// A .proto text and a datum behind its message indexes.
pub fn protobuf(input: &[u8]) {
    registered(SchemaKind::Protobuf, input);
}

/// Two headers, each behind a byte that tells its length, and a value, under a registry whose schemas are fixed.
pub fn framing(input: &[u8]) {
    let (first, rest) = behind_length(input);
    let (second, value) = behind_length(rest);
    let mut schemas = Schemas::new(Wire::default());
    let proto = r#"syntax = "proto3"; message A { int32 a = 1; message B { string b = 1; } }"#;
    let avro = r#"{"type":"record","name":"A","fields":[{"name":"a","type":"int"}]}"#;
    for (id, kind, schema) in [
        (SchemaId::Number(1), SchemaKind::Protobuf, proto),
        (SchemaId::Number(2), SchemaKind::Avro, avro),
        (SchemaId::Guid([b'g'; 16]), SchemaKind::Protobuf, proto),
        (SchemaId::ApicurioGlobal(1), SchemaKind::Protobuf, proto),
        (SchemaId::ApicurioContent(2), SchemaKind::Avro, avro),
    ] {
        let told = RegisteredSchema { kind, text: schema.to_owned(), references: Vec::new() };
        schemas.know(SchemaRef { id, side: Side::Value }, Ok(told));
    }
    let header = |header: &[u8]| {
        let (name, value) =
            header.split_at(header.iter().position(|byte| *byte == b'=').unwrap_or(header.len()));
        (text(name), value.get(1..).map(<[u8]>::to_vec))
    };
    let mut record = owned(None, Some(value.to_vec()));
    record.headers = [first, second].into_iter().filter(|bytes| !bytes.is_empty()).map(header).collect();
    decode(&record.as_record(), &schemas);
}

/// A template, of a key and in Jinja's language, and a row that it is filled from.
pub fn template(input: &[u8]) {
    let (template, row) = split(input);
    let template = text(template);
    if TextTemplate::compile(&template).is_ok() {
        under(&format!("value = {{ template = {} }}", quoted(&template)), row);
    }
    let Ok(template) = Template::parse(&template) else { return };
    let record = owned(None, Some(row.to_vec()));
    let schemas = Schemas::default();
    let mut decoder = Decoder::new(Format::Rows);
    let record = record.as_record();
    let Ok(Decoded::Changes(changes)) = decoder.decode_with(&record, &schemas) else { return };
    for row in changes.iter().filter_map(|change| change.after.as_ref()) {
        let mut key = Vec::new();
        if template.render_key(row, RenderStyle::default(), &mut key).is_ok() {
            assert!(!key.is_empty(), "a key has a byte");
        }
        let _ = template.render_text(row, RenderStyle::default(), &mut Vec::new());
    }
}

/// A condition and a row that it is asked of.
pub fn condition(input: &[u8]) {
    let (condition, row) = split(input);
    let condition = text(condition);
    if Condition::compile(&condition).is_ok() {
        under(&format!("value = \"json\"\nwhen = {}", quoted(&condition)), row);
    }
}

/// A row through an entity whose write has these settings too.
fn under(write: &str, row: &[u8]) {
    let file = format!(
        "[kafka]\nbrokers = \"b:9092\"\ngroup = \"g\"\n[redis]\nurl = \"redis://r\"\n\
         [[entity]]\nname = \"a\"\ntopics = [\"a\"]\n\
         [[entity.write]]\nkey = \"a:{{id}}\"\nttl = \"none\"\n{write}\n"
    );
    settings(&[file.as_bytes(), row].join(&0));
}

/// A text in TOML: JSON has the same escapes.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is written").replace('\u{7f}', "\\u007f")
}

/// An environment without variables and files.
struct Nowhere;

impl Environment for Nowhere {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn locate(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn cores(&self) -> usize {
        2
    }
}

/// A settings file, and a record that goes through its entities.
pub fn settings(input: &[u8]) {
    let (file, value) = split(input);
    let Ok(loaded) = settings::parse(&text(file), &Nowhere, &Handlers::new()) else { return };
    let topics = loaded.settings.entities.iter().map(|entity| match &entity.topics {
        Topics::Names(names) => names.first().cloned().unwrap_or_default(),
        Topics::Pattern(_) => "shop.public.customers".to_owned(),
    });
    let topics: BTreeSet<String> = topics.collect();
    let mut pipeline = Pipeline::new(loaded.settings.entities);
    for topic in topics {
        let record = OwnedRecord {
            topic,
            key: Some(br#"{"id":7}"#.to_vec()),
            value: (!value.is_empty()).then(|| value.to_vec()),
            ..OwnedRecord::default()
        };
        pipeline.handle(&record.as_record(), &mut |_| {});
    }
}
