//! The walk held against another decoder: random schemas and values, and bytes that were broken.

use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};
use serde_json::json;

use super::super::datum::row;
use super::compile::compile;
use super::*;
use crate::change::{Cell, Column};

/// A field: how often it is there, and its type.
#[derive(Debug, Clone)]
struct Field {
    rule: Rule,
    of: Type,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Implicit,
    Optional,
    Repeated,
    Map(&'static str),
    Choice,
}

#[derive(Debug, Clone)]
enum Type {
    Scalar(&'static str),
    Message(Vec<Field>),
}

/// What is expected of a map's entry.
const OF_A_MAP: &str = "expected the wire type of bytes behind a length";

const SCALARS: [&str; 16] = [
    "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64",
    "sfixed32", "sfixed64", "bool", "string", "bytes", "E",
];

fn fields() -> BoxedStrategy<Vec<Field>> {
    let rule = prop_oneof![
        Just(Rule::Implicit),
        Just(Rule::Optional),
        Just(Rule::Repeated),
        prop::sample::select(vec!["string", "int32", "uint64", "bool"]).prop_map(Rule::Map),
        Just(Rule::Choice),
    ];
    let scalar = prop::sample::select(SCALARS.to_vec()).prop_map(Type::Scalar);
    let field =
        move |of: BoxedStrategy<Type>| (rule.clone(), of).prop_map(|(rule, of)| Field { rule, of }).boxed();
    let leaf = field(scalar.boxed());
    let fields = leaf.prop_recursive(3, 16, 4, move |inner| {
        field(prop::collection::vec(inner, 0..4).prop_map(Type::Message).boxed())
    });
    prop::collection::vec(fields, 0..5).boxed()
}

/// The text of a message of these fields; a map's name begins with `m`.
fn text(name: &str, fields: &[Field]) -> String {
    let mut body = String::new();
    for (index, field) in fields.iter().enumerate() {
        let number = index + 1;
        let inner = format!("M{index}");
        let of = match &field.of {
            Type::Scalar(name) => (*name).to_owned(),
            Type::Message(fields) => {
                body += &text(&inner, fields);
                inner
            }
        };
        body += &match field.rule {
            Rule::Implicit => format!("{of} f{number} = {number};"),
            Rule::Optional => format!("optional {of} f{number} = {number};"),
            Rule::Repeated => format!("repeated {of} f{number} = {number};"),
            Rule::Map(key) => format!("map<{key}, {of}> m{number} = {number};"),
            Rule::Choice => {
                format!("oneof c{number} {{ {of} f{number} = {number}; bool n{number} = 10{number}; }}")
            }
        };
    }
    format!("message {name} {{ {body} }}")
}

/// Values out of a list of numbers; past its end all are small.
struct Source(std::vec::IntoIter<u64>);

impl Source {
    fn next(&mut self) -> u64 {
        self.0.next().unwrap_or(0)
    }

    fn fill(&mut self, message: &mut DynamicMessage) {
        for field in message.descriptor().fields().collect::<Vec<_>>() {
            // A second member of a choice clears the first: one in four.
            if self.next().is_multiple_of(4) {
                continue;
            }
            let value = self.field(&field);
            message.set_field(&field, value);
        }
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { panic!("a map's entry is a message") };
            let key = match self.one(&entry.map_entry_key_field().kind()) {
                Value::String(key) => MapKey::String(key),
                Value::I32(key) => MapKey::I32(key),
                Value::U64(key) => MapKey::U64(key),
                Value::Bool(key) => MapKey::Bool(key),
                other => panic!("{other:?} is no key"),
            };
            return Value::Map([(key, self.one(&entry.map_entry_value_field().kind()))].into());
        }
        if field.is_list() {
            let count = self.next() % 3;
            return Value::List((0..count).map(|_| self.one(&field.kind())).collect());
        }
        self.one(&field.kind())
    }

    fn one(&mut self, kind: &Kind) -> Value {
        let bits = self.next();
        let [a, b, c, d, e, f, g, h] = bits.to_le_bytes();
        let low = u32::from_le_bytes([a, b, c, d]);
        match kind {
            Kind::Double => Value::F64(f64::from(low.cast_signed()) / 8.0),
            Kind::Float => Value::F32(f32::from(i16::from_le_bytes([a, b])) / 8.0),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(low.cast_signed()),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(bits.cast_signed()),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(low),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(bits),
            Kind::Bool => Value::Bool(a & 1 == 1),
            Kind::String => Value::String(format!("{}\u{e9}\"", bits % 1_000)),
            Kind::Bytes => Value::Bytes(vec![e, f, g, h].into()),
            Kind::Enum(_) => Value::EnumNumber(i32::from(a % 4)),
            Kind::Message(descriptor) => {
                let mut message = DynamicMessage::new(descriptor.clone());
                self.fill(&mut message);
                Value::Message(message)
            }
        }
    }
}

/// The message as the JSON that is written of it.
fn json_of(message: &DynamicMessage) -> serde_json::Value {
    let field = |field: FieldDescriptor| {
        let value = match field.supports_presence() && !message.has_field(&field) {
            true => serde_json::Value::Null,
            false => json_of_value(&message.get_field(&field), &field.kind()),
        };
        (field.name().to_owned(), value)
    };
    message.descriptor().fields().map(field).collect()
}

fn json_of_value(value: &Value, kind: &Kind) -> serde_json::Value {
    use base64::Engine as _;
    match (value, kind) {
        (Value::Bool(value), _) => json!(value),
        (Value::I32(value), _) => json!(value),
        (Value::I64(value), _) => json!(value),
        (Value::U32(value), _) => json!(value),
        (Value::U64(value), _) => json!(value),
        (Value::F32(value), _) => double(f64::from(*value)),
        (Value::F64(value), _) => double(*value),
        (Value::String(text), _) => json!(text),
        (Value::Bytes(bytes), _) => json!(base64::engine::general_purpose::STANDARD.encode(bytes)),
        (Value::EnumNumber(number), Kind::Enum(symbols)) => {
            symbols.get_value(*number).map_or(json!(number), |symbol| json!(symbol.name()))
        }
        (Value::Message(message), _) => json_of(message),
        (Value::List(items), kind) => items.iter().map(|item| json_of_value(item, kind)).collect(),
        (Value::Map(entries), Kind::Message(entry)) => {
            let of = entry.map_entry_value_field().kind();
            let value = |value| json_of_value(value, &of);
            if entry.map_entry_key_field().kind() == Kind::String {
                let entry = |(key, found): (&MapKey, _)| (key.as_str().unwrap().to_owned(), value(found));
                return entries.iter().map(entry).collect();
            }
            let key = |key: &MapKey| match key {
                MapKey::Bool(key) => json!(key),
                MapKey::I32(key) => json!(key),
                MapKey::U64(key) => json!(key),
                other => panic!("{other:?} is not made here"),
            };
            entries.iter().map(|(name, found)| json!([key(name), value(found)])).collect()
        }
        (value, kind) => panic!("{value:?} is no {kind:?}"),
    }
}

fn double(value: f64) -> serde_json::Value {
    if value.is_finite() { json!(value) } else { json!("none") }
}

/// Maps in one order, and what is no finite number in one spelling.
fn in_order(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                in_order(member);
                if let (true, serde_json::Value::Array(pairs)) = (name.starts_with('m'), member) {
                    pairs.sort_by_key(ToString::to_string);
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(in_order),
        serde_json::Value::String(text) if ["NaN", "Infinity", "-Infinity"].contains(&&**text) => {
            *text = "none".to_owned();
        }
        // Floats are read as the double of their shortest text: here, what the float is.
        serde_json::Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().map(|value| value as f32);
            *value = float.filter(|value| value.is_finite()).map_or(json!("wide"), |value| json!(value));
        }
        _ => {}
    }
}

fn ordered(mut value: serde_json::Value) -> serde_json::Value {
    in_order(&mut value);
    value
}

/// The datum as columns.
fn walked(plan: &Plan, datum: &[u8]) -> Result<serde_json::Value, Fault> {
    let mut json = String::new();
    let root = plan.roots[0].message;
    let whole = 0..datum.len();
    let columns = Walk { plan, datum, json: &mut json }.row(root, &[whole])?;
    let row = row(columns, &json);
    let column = |column: &Column<'_>| {
        let value = match column.cell {
            Cell::Present(typed) => {
                let mut out = Vec::new();
                crate::types::render_json(typed, crate::types::RenderStyle::default(), &mut out).unwrap();
                serde_json::from_slice(&out).unwrap()
            }
            _ => serde_json::Value::Null,
        };
        (column.name.clone().into_owned(), value)
    };
    Ok(ordered(row.columns.iter().map(column).collect()))
}

fn schema(fields: &[Field]) -> (String, Plan, MessageDescriptor) {
    let text = format!("syntax = \"proto3\"; {} enum E {{ A = 0; B = 1; C = 2; }}", text("Row", fields));
    let file = compile(&text, &[]).unwrap();
    let (plan, root) = (Plan::of(&file, false).unwrap(), file.messages().next().unwrap());
    (text, plan, root)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_read_as_another_decoder_reads_them(
        fields in fields(),
        numbers in prop::collection::vec(prop_oneof![any::<u64>(), 0..300_u64], 0..80),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        twice in any::<bool>(),
    ) {
        let (text, plan, root) = schema(&fields);
        let mut source = Source(numbers.into_iter());
        let mut datum = Vec::new();
        // Two messages one behind the other are one merged message.
        for _ in 0..=u32::from(twice) {
            let mut message = DynamicMessage::new(root.clone());
            source.fill(&mut message);
            message.encode(&mut datum).unwrap();
        }
        let whole = DynamicMessage::decode(root.clone(), &datum[..]).unwrap();
        prop_assert_eq!(walked(&plan, &datum), Ok(ordered(json_of(&whole))), "{}", text);

        // Of broken bytes, this one takes what the other one takes, for the same value. It takes more: of values
        // that are written twice, it reads the last. And less: the other one does not look at a map's wire type.
        for (at, bits) in flips {
            if !datum.is_empty() {
                let at = at.index(datum.len());
                datum[at] ^= bits;
            }
        }
        match (walked(&plan, &datum), DynamicMessage::decode(root, &datum[..])) {
            (Err(fault), Ok(_)) if text.contains("map<") && fault.what == OF_A_MAP => {}
            (found, Ok(expected)) => prop_assert_eq!(found, Ok(ordered(json_of(&expected))), "{} {:?}", text, datum),
            (Ok(_) | Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn arbitrary_schemas_and_bytes_give_an_answer(
        text in "[a-zM=;{}<>,\\[\\]\" 0-9]{0,60}", datum in prop::collection::vec(any::<u8>(), 0..64), fields in fields(),
    ) {
        let _ = Plans::compile(&format!("syntax = \"proto3\"; message M {{ {text} }}"), &[]);
        let _ = Plans::compile(&text, &[]);
        let (_, plan, _) = schema(&fields);
        let _ = walked(&plan, &datum);
    }
}
