//! Kafka Connect's JSON with schema: `{"schema": …, "payload": …}`.
//!
//! A schema is compiled once into a [`Plan`], the kinds of the columns, and found again by its exact bytes:
//! in a record whose `schema` member was seen before, it is compared and not read. Schemas are Connect's
//! `JsonConverter`'s (<https://kafka.apache.org/documentation/#connect>): types `int8` … `struct`, with
//! semantic names that the kinds come from
//! (<https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-data-types>).
//! Start at [`Plans::unwrap`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::Format;
use super::json::{Fault, Scanner};
use crate::error::DecodeError;
use crate::types::{IsoText, Kind, Unit};

/// Plans that are kept. A topic has one schema at a time and a few over its life; several tables in one
/// topic have one each. Past it all are forgotten and made anew.
const PLANS_MAX: usize = 256;
/// Bytes of schemas that are kept, likewise: 256 schemas of tables of a hundred columns.
const PLANS_BYTES_MAX: usize = 4 << 20;
/// Nesting of types that is read. Real rows nest arrays and composites by two or three.
const SCHEMA_DEPTH_MAX: u32 = 24;
/// Fields over which a field out of order is looked up by a map and not one by one.
const FIELDS_SCANNED_MAX: usize = 32;

/// What a schema says of the columns.
#[derive(Debug)]
pub(super) struct Plan {
    schema: Box<str>,
    /// Columns of the payload itself, for keys and rows.
    pub(super) row: Fields,
    /// Columns of the payload's `before`, for envelopes.
    pub(super) before: Fields,
    /// Columns of the payload's `after`.
    pub(super) after: Fields,
}

/// Named fields and their kinds, in the schema's order.
#[derive(Debug, Default)]
pub(super) struct Fields {
    list: Arc<[(String, Kind)]>,
    /// Only for long lists.
    by_name: Option<BTreeMap<String, usize>>,
}

impl Fields {
    fn of(kind: &Kind) -> Fields {
        let Kind::Struct(list) = kind else { return Fields::default() };
        let by_name = (list.len() > FIELDS_SCANNED_MAX)
            .then(|| list.iter().enumerate().map(|(index, (name, _))| (name.clone(), index)).collect());
        Fields { list: Arc::clone(list), by_name }
    }

    /// Number of fields.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The kind of that field; rows come in the schema's order, so `expected` is looked at first.
    pub(super) fn kind(&self, expected: usize, name: &str) -> &Kind {
        if let Some((found, kind)) = self.list.get(expected)
            && found == name
        {
            return kind;
        }
        let entry = match &self.by_name {
            Some(by_name) => by_name.get(name).and_then(|index| self.list.get(*index)),
            None => self.list.iter().find(|(found, _)| found == name),
        };
        entry.map_or(&Kind::Untyped, |(_, kind)| kind)
    }
}

/// A value without its schema: text from `at` on, and the schema's plan where there was one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'a> {
    text: &'a str,
    at: usize,
    /// What the schema says; `None` for bare JSON and for a null schema.
    pub(super) plan: Option<&'a Plan>,
}

impl<'a> Document<'a> {
    /// A text without a schema.
    pub(super) fn bare(text: &'a str) -> Document<'a> {
        Document { text, at: 0, plan: None }
    }

    /// A text whose schema stands elsewhere.
    pub(super) fn under(text: &'a str, plan: &'a Plan) -> Document<'a> {
        Document { text, at: 0, plan: Some(plan) }
    }

    /// The text; the payload need not begin with it.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// A scanner at the payload. Positions of its faults count from the record's text.
    pub(super) fn scanner(&self) -> Scanner<'a> {
        Scanner::new(self.text, self.at)
    }
}

/// The plans of the schemas that were seen, bounded in number and in bytes.
#[derive(Debug)]
pub(super) struct Plans {
    format: Format,
    plans: Vec<Plan>,
    last: usize,
    bytes: usize,
}

/// Where a document's payload lies and which plan it has: found first, borrowed afterwards.
struct Found {
    start: usize,
    end: usize,
    plan: Option<usize>,
}

impl Plans {
    /// No plans yet.
    pub(super) fn new(format: Format) -> Plans {
        Plans { format, plans: Vec::new(), last: 0, bytes: 0 }
    }

    /// Number of plans that are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.plans.len()
    }

    /// Takes a value out of its `{"schema", "payload"}` where it is in one.
    ///
    /// It is in one where the object has exactly these two members, and the schema is null or an object
    /// with a text `type`. A row may own columns of these names.
    pub(super) fn unwrap<'a>(&'a mut self, text: &'a str) -> Result<Document<'a>, ConnectFault> {
        let found = match self.seen_before(text) {
            Some(found) => found,
            None => self.look(text)?,
        };
        if let Some(index) = found.plan {
            self.last = index;
        }
        Ok(Document {
            text: text.get(..found.end).unwrap_or_default(),
            at: found.start,
            plan: found.plan.and_then(|index| self.plans.get(index)),
        })
    }

    /// The usual case: the bytes begin as `JsonConverter` writes them, with a schema that is known. What
    /// lies between there and the closing brace must be one value, which reading it will show.
    fn seen_before(&self, text: &str) -> Option<Found> {
        let rest = text.strip_prefix("{\"schema\":")?;
        let closed = text.trim_ascii_end().strip_suffix('}')?;
        let payload_of = |index: usize| {
            let plan = self.plans.get(index)?;
            let payload = rest.strip_prefix(&*plan.schema)?.strip_prefix(",\"payload\":")?;
            let start = text.len().checked_sub(payload.len())?;
            Some(Found { start, end: closed.len(), plan: Some(index) })
        };
        payload_of(self.last).or_else(|| (0..self.plans.len()).find_map(payload_of))
    }

    fn look(&mut self, text: &str) -> Result<Found, ConnectFault> {
        let bare = Found { start: 0, end: text.len(), plan: None };
        let mut scanner = Scanner::new(text, 0);
        if !matches!(scanner.first_name().as_deref(), Some("schema" | "payload")) {
            return Ok(bare);
        }
        let (mut schema, mut payload, mut others) = (None, None, 0);
        scanner.each_member(|scanner, name| {
            scanner.peek();
            let start = scanner.position();
            let token = scanner.skip()?;
            match &*name {
                "schema" => schema = Some(token),
                "payload" => payload = Some((start, start + token.len())),
                _ => others += 1,
            }
            Ok(())
        })?;
        scanner.finish()?;
        let (Some(schema), Some((start, end)), 0) = (schema, payload, others) else { return Ok(bare) };
        if schema == "null" {
            return Ok(Found { start, end, plan: None });
        }
        if let Some(known) = self.plans.iter().position(|known| *known.schema == *schema) {
            return Ok(Found { start, end, plan: Some(known) });
        }
        let Some(compiled) = compile(schema, self.format)? else { return Ok(bare) };
        Ok(Found { start, end, plan: Some(self.keep(compiled)) })
    }

    fn keep(&mut self, plan: Plan) -> usize {
        self.bytes += plan.schema.len();
        if self.plans.len() >= PLANS_MAX || self.bytes > PLANS_BYTES_MAX {
            self.plans.clear();
            self.bytes = plan.schema.len();
        }
        self.plans.push(plan);
        self.plans.len() - 1
    }
}

/// Why a `{"schema", "payload"}` could not be read.
#[derive(Debug)]
pub(super) enum ConnectFault {
    /// It is not JSON.
    Json(Fault),
    /// The schema is none that Connect writes.
    Schema(DecodeError),
}

impl From<Fault> for ConnectFault {
    fn from(fault: Fault) -> Self {
        ConnectFault::Json(fault)
    }
}

/// A Connect schema as `JsonConverter` writes it.
#[derive(Default, Deserialize)]
pub(super) struct Schema {
    #[serde(rename = "type")]
    pub(super) base: String,
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) parameters: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    pub(super) fields: Vec<Schema>,
    /// The field's name, where this is the schema of a struct's field.
    pub(super) field: Option<String>,
    pub(super) items: Option<Box<Schema>>,
    pub(super) keys: Option<Box<Schema>>,
    pub(super) values: Option<Box<Schema>>,
}

impl Plan {
    /// The plan of a schema whose text is that; `None` where it is nested too deeply or a field has no name.
    pub(super) fn of(schema: &Schema, text: &str, zoneless: bool) -> Option<Plan> {
        let root = kind(schema, zoneless, SCHEMA_DEPTH_MAX)?;
        let image = |name: &str| match &root {
            Kind::Struct(fields) => {
                fields.iter().find(|(found, _)| found == name).map(|(_, kind)| Fields::of(kind))
            }
            _ => None,
        };
        Some(Plan {
            schema: text.into(),
            before: image("before").unwrap_or_default(),
            after: image("after").unwrap_or_default(),
            row: Fields::of(&root),
        })
    }
}

/// The plan of a schema that a registry keeps. The error says what is wrong, without the text.
pub(super) fn registered(text: &str, zoneless: bool) -> Result<Plan, String> {
    let schema: Schema = serde_json::from_str(text)
        .map_err(|error| format!("line {}, column {}", error.line(), error.column()))?;
    let plan = Plan::of(&schema, text, zoneless);
    plan.ok_or_else(|| "it is nested too deeply, or a field has no name".to_owned())
}

/// The name of a schema that a registry keeps.
pub(super) fn name(text: &str) -> Option<String> {
    serde_json::from_str::<Schema>(text).ok()?.name
}

/// The plan of a schema; `None` where the object has no text `type`, so is no schema at all.
fn compile(text: &str, format: Format) -> Result<Option<Plan>, ConnectFault> {
    #[derive(Deserialize)]
    struct Probe {
        r#type: Option<serde_json::Value>,
    }
    let typed = serde_json::from_str::<Probe>(text)
        .is_ok_and(|probe| probe.r#type.is_some_and(|base| base.is_string()));
    if !typed {
        return Ok(None);
    }
    let wrong = |why: String| {
        ConnectFault::Schema(DecodeError::new(
            "schema",
            format!("the schema member is no Connect schema: {why}"),
        ))
    };
    let schema: Schema = serde_json::from_str(text)
        .map_err(|error| wrong(format!("line {}, column {}", error.line(), error.column())))?;
    let zoneless = zoneless(|| schema.name.as_deref().is_some_and(is_named_as_debezium_does), format);
    let plan = Plan::of(&schema, text, zoneless);
    plan.map(Some).ok_or_else(|| wrong("it is nested too deeply, or a field has no name".into()))
}

/// Whether `org.apache.kafka.connect.data.Timestamp` is a wall-clock time here.
///
/// Debezium gives that name to columns without a zone (`time.precision.mode = connect`), JDBC sources to
/// instants. So it has no zone in the formats of Debezium, and under `auto` where the schema is named as
/// Debezium names it; everywhere else it is an instant.
pub(super) fn zoneless(is_named_as_debezium_does: impl FnOnce() -> bool, format: Format) -> bool {
    match format {
        Format::Debezium | Format::Flattened | Format::Ticdc => true,
        Format::Rows
        | Format::Maxwell
        | Format::Canal
        | Format::Ogg
        | Format::Dms
        | Format::Cockroach
        | Format::Sequin
        | Format::Mongo => false,
        Format::Auto => is_named_as_debezium_does(),
    }
}

/// True for `….Envelope`, `….Value`, `….Key`.
pub(super) fn is_named_as_debezium_does(schema_name: &str) -> bool {
    schema_name.rsplit_once('.').is_some_and(|(_, last)| matches!(last, "Envelope" | "Value" | "Key"))
}

/// The kind of a schema; `None` where it is nested too deeply or a field has no name.
fn kind(schema: &Schema, zoneless: bool, depth: u32) -> Option<Kind> {
    let depth = depth.checked_sub(1)?;
    let parameter = |name: &str| schema.parameters.get(name).and_then(|value| value.as_str());
    if let Some(kind) =
        schema.name.as_deref().and_then(|name| semantic(name, &schema.base, &parameter, zoneless))
    {
        return Some(kind);
    }
    let part = |part: &Option<Box<Schema>>| match part {
        Some(part) => kind(part, zoneless, depth),
        None => Some(Kind::Untyped),
    };
    Some(match schema.base.as_str() {
        "int64" if is_unsigned_bigint(&parameter) => Kind::Uint,
        "int8" | "int16" | "int32" | "int64" => Kind::Int,
        "float" | "double" => Kind::Double,
        "boolean" => Kind::Bool,
        "string" => Kind::Text,
        "bytes" => Kind::Bytes,
        "array" => Kind::Array(Arc::new(part(&schema.items)?)),
        "map" => Kind::Map(Arc::new(part(&schema.keys)?), Arc::new(part(&schema.values)?)),
        "struct" => Kind::Struct(
            schema
                .fields
                .iter()
                .map(|field| Some((field.field.clone()?, kind(field, zoneless, depth)?)))
                .collect::<Option<_>>()?,
        ),
        _ => Kind::Untyped,
    })
}

/// The kind that a semantic name gives its base type; `None` where the base alone tells all.
///
/// Names that only say what a text or a number is about (`Enum`, `EnumSet`, `Xml`, `Ltree`, `Tsvector`,
/// `Year`), and structs and arrays that their fields tell (geometry, vectors, `Structured…`), need no line.
pub(super) fn semantic<'s>(
    name: &str,
    base: &str,
    parameter: &dyn Fn(&str) -> Option<&'s str>,
    zoneless: bool,
) -> Option<Kind> {
    Some(match (name, base) {
        ("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date", "int32") => Kind::Date,
        ("io.debezium.time.Time" | "org.apache.kafka.connect.data.Time", "int32") => Kind::Time(Unit::Millis),
        ("io.debezium.time.MicroTime", "int64") => Kind::Time(Unit::Micros),
        ("io.debezium.time.NanoTime", "int64") => Kind::Time(Unit::Nanos),
        ("io.debezium.time.Timestamp", "int64") => Kind::Timestamp(Unit::Millis),
        ("io.debezium.time.MicroTimestamp", "int64") => Kind::Timestamp(Unit::Micros),
        ("io.debezium.time.NanoTimestamp", "int64") => Kind::Timestamp(Unit::Nanos),
        ("org.apache.kafka.connect.data.Timestamp", "int64") if zoneless => Kind::Timestamp(Unit::Millis),
        ("org.apache.kafka.connect.data.Timestamp", "int64") => Kind::Instant(Unit::Millis),
        ("io.debezium.time.ZonedTimestamp", "string") => Kind::ZonedText,
        ("io.debezium.time.ZonedTime", "string") => Kind::ZonedTime,
        ("io.debezium.time.IsoDate", "string") => Kind::IsoText(IsoText::Date),
        ("io.debezium.time.IsoTime", "string") => Kind::IsoText(IsoText::Time),
        ("io.debezium.time.IsoTimestamp", "string") => Kind::IsoText(IsoText::Timestamp),
        ("io.debezium.time.Interval", "string") => Kind::IntervalText,
        ("io.debezium.time.MicroDuration", "int64") => Kind::Duration(Unit::Micros),
        ("io.debezium.time.NanoDuration", "int64") => Kind::Duration(Unit::Nanos),
        ("org.apache.kafka.connect.data.Decimal", "bytes") => {
            Kind::Decimal { scale: number(parameter("scale")) }
        }
        ("io.debezium.data.VariableScaleDecimal", "struct") => Kind::VariableDecimal,
        ("io.debezium.data.Json", "string") => Kind::Json,
        ("io.debezium.data.Uuid", "string") => Kind::Uuid,
        ("io.debezium.data.Bits", "bytes") => Kind::Bits { length: number(parameter("length")).unwrap_or(0) },
        _ => return None,
    })
}

/// A numeric parameter; Connect keeps them as text.
fn number<T: std::str::FromStr>(parameter: Option<&str>) -> Option<T> {
    parameter?.parse().ok()
}

/// MySQL's BIGINT UNSIGNED in `bigint.unsigned.handling.mode = long`, where `column.propagate.source.type`
/// tells: 2^63 and above arrive negative.
pub(super) fn is_unsigned_bigint<'s>(parameter: &dyn Fn(&str) -> Option<&'s str>) -> bool {
    parameter("__debezium.source.column.type")
        .is_some_and(|source| source.to_ascii_uppercase().starts_with("BIGINT UNSIGNED"))
}
