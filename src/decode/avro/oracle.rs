//! The walk held against another decoder: random schemas and values, and bytes that were broken.

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;

use super::super::datum::row as row_over;
use super::walk::Walk;
use super::*;
use crate::change::{Cell, Column};

/// A schema and a value of it. Names are numbered afterwards, since each may be given once.
fn typed() -> BoxedStrategy<(serde_json::Value, Value)> {
    use serde_json::json;
    let leaf = prop_oneof![
        Just((json!("null"), Value::Null)),
        any::<bool>().prop_map(|value| (json!("boolean"), Value::Boolean(value))),
        any::<i32>().prop_map(|value| (json!("int"), Value::Int(value))),
        any::<i64>().prop_map(|value| (json!("long"), Value::Long(value))),
        any::<i16>().prop_map(|value| (json!("float"), Value::Float(f32::from(value) / 8.0))),
        any::<i32>().prop_map(|value| (json!("double"), Value::Double(f64::from(value) / 8.0))),
        ".{0,8}".prop_map(|text| (json!("string"), Value::String(text))),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| (json!("bytes"), Value::Bytes(bytes))),
        prop::collection::vec(any::<u8>(), 3..4)
            .prop_map(|bytes| { (json!({"type": "fixed", "name": "?", "size": 3}), Value::Fixed(3, bytes)) }),
        (0..3_u32).prop_map(|index| {
            let symbol = ["A", "B", "C"][index as usize].to_owned();
            (json!({"type": "enum", "name": "?", "symbols": ["A", "B", "C"]}), Value::Enum(index, symbol))
        }),
    ];
    leaf.boxed()
        .prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                (inner.clone(), 0..3_usize).prop_map(|((schema, value), count)| {
                    (json!({"type": "array", "items": schema}), Value::Array(vec![value; count]))
                }),
                (inner.clone(), "[a-z]{1,3}").prop_map(|((schema, value), name)| {
                    (json!({"type": "map", "values": schema}), Value::Map([(name, value)].into()))
                }),
                (inner.clone(), any::<bool>()).prop_map(|((schema, value), first)| {
                    if schema.is_array() || schema == json!("null") {
                        return (schema, value);
                    }
                    let (schema, branch) =
                        if first { (json!([schema, "null"]), 0) } else { (json!(["null", schema]), 1) };
                    (schema, Value::Union(branch, Box::new(value)))
                }),
                prop::collection::vec(inner, 0..4).prop_map(|fields| {
                    let schemas: Vec<_> = fields
                        .iter()
                        .enumerate()
                        .map(|(at, (schema, _))| json!({"name": format!("f{at}"), "type": schema}))
                        .collect();
                    let values =
                        fields.into_iter().enumerate().map(|(at, (_, value))| (format!("f{at}"), value));
                    (
                        json!({"type": "record", "name": "?", "fields": schemas}),
                        Value::Record(values.collect()),
                    )
                }),
            ]
        })
        .boxed()
}

fn row() -> impl Strategy<Value = (serde_json::Value, Value)> {
    prop::collection::vec(typed(), 0..5).prop_map(|fields| {
        let schemas = fields.iter().enumerate();
        let schemas =
            schemas.map(|(at, (schema, _))| serde_json::json!({"name": format!("c{at}"), "type": schema}));
        let mut schema =
            serde_json::json!({"type": "record", "name": "?", "fields": schemas.collect::<Vec<_>>()});
        number(&mut schema, &mut 0);
        let values = fields.into_iter().enumerate().map(|(at, (_, value))| (format!("c{at}"), value));
        (schema, Value::Record(values.collect()))
    })
}

fn number(schema: &mut serde_json::Value, next: &mut u32) {
    match schema {
        serde_json::Value::Object(object) => {
            if let Some(name) = object.get_mut("name").filter(|name| *name == "?") {
                *name = serde_json::Value::String(format!("N{next}"));
                *next += 1;
            }
            object.values_mut().for_each(|value| number(value, next));
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(|value| number(value, next)),
        _ => {}
    }
}

/// The value as the JSON that Connect writes.
fn json_of(value: &Value) -> serde_json::Value {
    use base64::Engine as _;
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes).into();
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Long(value) => (*value).into(),
        Value::Float(value) => f64::from(*value).into(),
        Value::Double(value) => (*value).into(),
        Value::String(text) | Value::Enum(_, text) => text.as_str().into(),
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => base64(bytes),
        Value::Array(items) => items.iter().map(json_of).collect(),
        Value::Union(_, value) => json_of(value),
        Value::Map(members) => members.iter().map(|(name, value)| (name.clone(), json_of(value))).collect(),
        Value::Record(fields) => fields.iter().map(|(name, value)| (name.clone(), json_of(value))).collect(),
        other => panic!("{other:?} is not made here"),
    }
}

/// The datum as columns.
fn walked(plan: &Plan, datum: &[u8]) -> Result<serde_json::Value, Fault> {
    let mut scratch = Scratch::default();
    let mut walk = Walk::new(plan, datum, &mut scratch);
    let columns = walk.row(plan.root())?.expect("the root is a record");
    walk.finish()?;
    let row = row_over(columns, &scratch.json);
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
    Ok(row.columns.iter().map(column).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_read_as_another_decoder_reads_them((schema, value) in row(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)) {
        let text = schema.to_string();
        let oracle = apache_avro::Schema::parse_str(&text).unwrap();
        let plan = Plan::compile(&text, &[], false).unwrap();
        let mut datum = GenericDatumWriter::builder(&oracle).build().unwrap().write_value_to_vec(value.clone()).unwrap();
        prop_assert_eq!(walked(&plan, &datum), Ok(json_of(&value)), "{}", text);

        // Broken bytes are refused, or are another value to both. The other decoder reads more than this one: it
        // takes booleans and text for what they are not, or leaves bytes unread; never less.
        for (at, bits) in flips {
            if !datum.is_empty() {
                let at = at.index(datum.len());
                datum[at] ^= bits;
            }
        }
        if let Ok(found) = walked(&plan, &datum) {
            let expected = GenericDatumReader::builder(&oracle).build().unwrap().read_value(&mut &datum[..]);
            prop_assert!(expected.is_ok(), "{text}: {datum:?} was read as {found}");
            // A map's repeated names, and infinities, have no one form here.
            if !text.contains("\"map\"") && !text.contains("float") && !text.contains("double") {
                prop_assert_eq!(found, json_of(&expected.unwrap()), "{}", text);
            }
        }
    }

    #[test]
    fn arbitrary_schemas_and_bytes_give_an_answer(text in "[\\[\\]{}\":,a-z]{0,40}", datum in prop::collection::vec(any::<u8>(), 0..64), (schema, _) in row()) {
        if let Ok(plan) = Plan::compile(&text, &[], true) {
            let _ = Walk::new(&plan, &datum, &mut Scratch::default()).row(plan.root());
        }
        let plan = Plan::compile(&schema.to_string(), &[], false).unwrap();
        let _ = walked(&plan, &datum);
    }
}
