//! The registry schemas that were seen: what a record's framing names, and what the registry said of it.
//!
//! Does no IO: who drives the pipeline asks which schema a record needs ([`Schemas::missing`]), fetches it, and
//! tells it here ([`Schemas::know`]). Schemas never change under their id, so nothing is fetched twice.

use std::collections::HashMap;

use super::avro::Plan;
use super::wire::{Framed, SchemaId, SchemaRef, Side, Wire, framed};
use super::{Format, connect, json_schema, protobuf};
use crate::error::DecodeError;
use crate::record::Record;

/// Schemas that are kept: some per table and its history, for more tables than one group follows. Past it all are
/// forgotten and asked for anew.
const SCHEMAS_MAX: usize = 4_096;

/// What kind of schema a registry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaKind {
    /// Avro.
    Avro,
    /// JSON Schema.
    Json,
    /// A schema of Kafka Connect as its `JsonConverter` writes it: Apicurio's `KCONNECT`.
    Connect,
    /// Protocol Buffers.
    Protobuf,
}

/// A schema as the registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// Its kind.
    pub kind: SchemaKind,
    /// Its text.
    pub text: String,
    /// Name and text of the schemas that it refers to, directly or not, none before those that it refers to itself.
    pub references: Vec<(String, String)>,
}

/// The registry says that there is no such schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSchema {
    /// Where it was looked for: the registry's address without a login, or a file.
    pub place: String,
}

/// Registry schemas by id. Without a registry, nothing is taken for framed.
#[derive(Debug, Default)]
pub struct Schemas {
    wire: Option<Wire>,
    known: HashMap<SchemaId, Known, ahash::RandomState>,
}

#[derive(Debug)]
enum Known {
    Avro(Box<Readings<Plan>>),
    /// A JSON Schema, or a Connect schema.
    Json(Box<Readings<connect::Plan>>),
    Protobuf(Box<protobuf::Plans>),
    Refused(DecodeError),
}

/// Both readings of Connect's `Timestamp`: an instant, and a time stamp without zone.
#[derive(Debug)]
struct Readings<P> {
    zoned: P,
    zoneless: P,
    is_named_as_debezium_does: bool,
}

impl<P> Readings<P> {
    /// Of a schema, compiled so and so; `name` tells how it is named.
    fn compile<E>(
        compile: impl Fn(bool) -> Result<P, E>,
        name: impl FnOnce(&P) -> Option<String>,
    ) -> Result<Box<Readings<P>>, E> {
        let (zoned, zoneless) = (compile(false)?, compile(true)?);
        let is_named_as_debezium_does =
            name(&zoned).is_some_and(|name| connect::is_named_as_debezium_does(&name));
        Ok(Box::new(Readings { zoned, zoneless, is_named_as_debezium_does }))
    }

    /// The one that topics of that format mean.
    fn of(&self, format: Format) -> &P {
        if connect::zoneless(|| self.is_named_as_debezium_does, format) {
            &self.zoneless
        } else {
            &self.zoned
        }
    }
}

/// How a datum is read.
#[derive(Debug)]
pub(super) enum Planned<'s> {
    /// As Avro.
    Avro(&'s Plan),
    /// As JSON whose columns have these kinds.
    Json(&'s connect::Plan),
    /// As Protobuf: which of both readings is the message's to say.
    Protobuf(&'s protobuf::Plans),
}

impl Schemas {
    /// Schemas of a registry whose producers frame records so.
    pub fn new(wire: Wire) -> Schemas {
        Schemas { wire: Some(wire), known: HashMap::with_hasher(ahash::RandomState::with_seed(0)) }
    }

    /// True where there is a registry.
    pub fn is_enabled(&self) -> bool {
        self.wire.is_some()
    }

    /// The first schema of the record, value before key, that is not known here.
    pub fn missing(&self, record: &Record<'_>) -> Option<SchemaRef> {
        let missing = |side| {
            let schema = self.framed(record, side)?.schema;
            (!self.known.contains_key(&schema.id)).then_some(schema)
        };
        missing(Side::Value).or_else(|| missing(Side::Key))
    }

    /// Keeps what the registry said of a schema. One that cannot be read is the error of each record that names it.
    pub fn know(&mut self, schema: SchemaRef, told: Result<RegisteredSchema, UnknownSchema>) {
        if self.known.len() >= SCHEMAS_MAX {
            self.known.clear();
        }
        let refused = |detail: String| Known::Refused(DecodeError::new("schema", detail));
        let id = schema.id;
        let known = match told {
            Err(UnknownSchema { place }) => refused(format!("{id} is not in the registry at {place}")),
            Ok(RegisteredSchema { kind: SchemaKind::Avro, text, references }) => {
                let compile = |zoneless| Plan::compile(&text, &references, zoneless);
                match Readings::compile(compile, |plan| plan.name().map(str::to_owned)) {
                    Ok(plans) => Known::Avro(plans),
                    Err(wrong) => refused(format!("{id} is no Avro schema: {wrong}")),
                }
            }
            Ok(RegisteredSchema { kind: SchemaKind::Json, text, references }) => {
                let compile = |zoneless| json_schema::compile(&text, &references, zoneless);
                match Readings::compile(compile, |_| json_schema::title(&text)) {
                    Ok(plans) => Known::Json(plans),
                    Err(wrong) => refused(format!("{id} is no JSON Schema that can be read: {wrong}")),
                }
            }
            Ok(RegisteredSchema { kind: SchemaKind::Connect, text, .. }) => {
                let compile = |zoneless| connect::registered(&text, zoneless);
                match Readings::compile(compile, |_| connect::name(&text)) {
                    Ok(plans) => Known::Json(plans),
                    Err(wrong) => refused(format!("{id} is no Connect schema: {wrong}")),
                }
            }
            Ok(RegisteredSchema { kind: SchemaKind::Protobuf, text, references }) => {
                match protobuf::Plans::compile(&text, &references) {
                    Ok(plans) => Known::Protobuf(Box::new(plans)),
                    Err(wrong) => refused(format!("{id} is no Protobuf schema that can be read: {wrong}")),
                }
            }
        };
        self.known.insert(id, known);
    }

    /// The schema that a side of the record names, and its datum.
    pub(super) fn framed<'a>(&self, record: &Record<'a>, side: Side) -> Option<Framed<'a>> {
        framed(record, side, self.wire?)
    }

    /// The plan of a schema for topics of that format.
    pub(super) fn plan(&self, id: SchemaId, format: Format) -> Result<Planned<'_>, DecodeError> {
        match self.known.get(&id) {
            Some(Known::Avro(plans)) => Ok(Planned::Avro(plans.of(format))),
            Some(Known::Json(plans)) => Ok(Planned::Json(plans.of(format))),
            Some(Known::Protobuf(plans)) => Ok(Planned::Protobuf(plans)),
            Some(Known::Refused(error)) => Err(error.clone()),
            None => Err(DecodeError::new("schema", format!("{id} was not looked up"))),
        }
    }
}
