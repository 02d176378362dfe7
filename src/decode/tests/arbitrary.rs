//! Properties over random and mutated records.

use proptest::prelude::*;

use super::*;
use crate::change::Op;

/// Real shapes, to be cut and mixed.
fn seeds() -> Vec<String> {
    let typed = r#"{"schema":{"type":"struct","name":"a.Envelope","fields":[{"type":"struct","field":"after","fields":[{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"},"field":"n"}]}]},"payload":{"before":null,"after":{"n":"MDk="},"source":{"connector":"mysql","file":"b.1","pos":4},"op":"c"}}"#;
    vec![
        typed.to_owned(),
        envelope("u", r#"{"id":7}"#, r#"{"id":7,"a":[95,95],"m":{"x":"\u00e9"}}"#),
        r#"{"id":7,"__deleted":"true","__op":"d","__lsn":5,"__source_sequence":"[\"1\",\"2\"]"}"#.to_owned(),
        r#"{"status":"END","id":"1","event_count":2,"data_collections":[],"ts_ms":1}"#.to_owned(),
        r#"{"schema":null,"payload":{"id":"\uD83E\uDD80"}}"#.to_owned(),
    ]
    .into_iter()
    .chain(super::formats::SAMPLES.iter().map(|sample| sample.2.to_owned()))
    .collect()
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let seed = (prop::sample::select(seeds()), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    (
        seed,
        prop::sample::select(seeds()),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    )
        .prop_map(|((seed, from, to), other, edits)| {
            let mut bytes = seed.into_bytes();
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            if from < to && to - from < 20 {
                bytes.splice(from..to, other.bytes().take(to - from));
            }
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
}

/// Ids 1 to 4: an envelope and a row in Protobuf, a row in Avro, a row under a JSON Schema.
fn registered() -> Schemas {
    let imports = r#"syntax = "proto3"; import "google/protobuf/timestamp.proto"; import "google/protobuf/struct.proto";"#;
    let value = "message Value { int32 id = 1; optional string name = 2; repeated sint64 n = 3; map<string, Value> m = 4; \
        google.protobuf.Timestamp at = 5; google.protobuf.Struct s = 6; oneof o { fixed64 f = 7; bytes b = 8; } }";
    let envelope = "message Envelope { Value before = 1; Value after = 2; Value source = 3; string op = 4; }";
    let avro = r#"{"type":"record","name":"R","fields":[{"name":"id","type":"int"},{"name":"n","type":["null",{"type":"array","items":"string"}]}]}"#;
    let json = r#"{"type":"object","properties":{"id":{"type":"integer"}}}"#;
    let mut schemas = Schemas::new(Wire::default());
    for (id, kind, text) in [
        (1, SchemaKind::Protobuf, format!("{imports}{envelope}{value}")),
        (2, SchemaKind::Protobuf, format!("{imports}{value}")),
        (3, SchemaKind::Avro, avro.to_owned()),
        (4, SchemaKind::Json, json.to_owned()),
    ] {
        let schema = RegisteredSchema { kind, text, references: Vec::new() };
        schemas.know(SchemaRef { id: SchemaId::Number(id), side: Side::Value }, Ok(schema));
    }
    schemas
}

/// Confluent's framing with one of these ids, and fields that are likely, or bytes.
fn framed() -> impl Strategy<Value = Vec<u8>> {
    let field = (0..70_u8, prop::collection::vec(any::<u8>(), 0..6))
        .prop_map(|(tag, bytes)| [&[tag, u8::try_from(bytes.len()).unwrap()], &bytes[..]].concat());
    (0..6_u8, any::<bool>(), prop::collection::vec(field, 0..8)).prop_map(|(id, index, fields)| {
        let mut datum = fields.concat();
        // Half of them inside of the envelope's row.
        if index && let Ok(length) = u8::try_from(datum.len()) {
            datum.splice(0..0, [0x22, 1, b'c', 0x12, length]);
        }
        [&[0, 0, 0, 0, id, 0][..], &datum].concat()
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_give_an_answer_and_never_a_panic(
        key in prop::option::of(prop_oneof![mutated(), prop::collection::vec(any::<u8>(), 0..40)]),
        values in prop::collection::vec(prop_oneof![mutated(), prop::collection::vec(any::<u8>(), 0..80)], 1..4),
    ) {
        for format in FORMATS {
            let mut decoder = Decoder::new(format);
            for value in &values {
                let whole = Record { key: key.as_deref(), value: Some(value), ..record(None, None) };
                if let Ok(Decoded::Changes(changes)) = decoder.decode(&whole) {
                    for change in &changes {
                        prop_assert!(!change.tombstone || change.key.is_some());
                        prop_assert_eq!(change.after.is_some(), matches!(change.op, Op::Create | Op::Update | Op::Read));
                        let images = [&change.key, &change.before, &change.after];
                        for column in images.into_iter().flatten().flat_map(|row| &row.columns) {
                            if let Cell::Present(Typed { raw: Raw::Json(token), .. }) = column.cell {
                                prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(token).is_ok());
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn arbitrary_data_under_a_registry_give_an_answer(
        value in prop_oneof![prop::collection::vec(any::<u8>(), 0..80), framed()],
        key in prop_oneof![prop::collection::vec(any::<u8>(), 0..20), framed()],
    ) {
        let schemas = registered();
        for format in FORMATS {
            let whole = Record { key: Some(&key), value: Some(&value), ..record(None, None) };
            if let Ok(Decoded::Changes(changes)) = Decoder::new(format).decode_with(&whole, &schemas) {
                for column in changes.iter().filter_map(|change| change.after.as_ref()).flat_map(|row| &row.columns) {
                    if let Cell::Present(Typed { raw: Raw::Json(token), .. }) = column.cell {
                        prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(token).is_ok());
                    }
                }
            }
        }
    }

    #[test]
    fn a_plain_row_comes_back_column_by_column(
        columns in prop::collection::btree_map("[a-z \"é.]{0,6}", prop_oneof![
            Just(serde_json::Value::Null),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
            prop::collection::vec(any::<u64>(), 0..3).prop_map(serde_json::Value::from),
        ], 0..90),
    ) {
        let text = serde_json::to_string(&columns).unwrap();
        let mut decoder = Decoder::new(Format::Rows);
        let whole = record(None, Some(&text));
        let Ok(Decoded::Changes(changes)) = decoder.decode(&whole) else { panic!("no row") };
        let row = changes[0].after.as_ref().unwrap();
        prop_assert_eq!(row.columns.len(), columns.len());
        for ((name, expected), (found, cell)) in columns.iter().zip(row.cells()) {
            prop_assert_eq!(found, name.as_str());
            match cell {
                Cell::Null => prop_assert!(expected.is_null()),
                Cell::Present(Typed { raw: Raw::Json(token), .. }) => {
                    prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(token).unwrap(), expected);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
