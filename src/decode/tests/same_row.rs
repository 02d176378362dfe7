//! One row through every format gives the same value, where the format carries its types and their order.

use proptest::prelude::*;

use super::*;
use crate::types::{Kind, RenderStyle, render_json};

const EXPECTED: &str = r#"{"id":9007199254740993,"price":"12.50","name":"Ann","on":"2024-11-01","at":"2024-11-01T09:57:00.25","pic":"AAH/","gone":null}"#;

/// The row as JSON values with their own types, as formats without types carry it.
const BARE: &str = r#"{"id":9007199254740993,"price":"12.50","name":"Ann","on":"2024-11-01","at":"2024-11-01 09:57:00.250","pic":"AAH/","gone":null}"#;
/// The row as texts, as Canal carries it.
const TEXTS: &str = r#"{"id":"9007199254740993","price":"12.50","name":"Ann","on":"2024-11-01","at":"2024-11-01 09:57:00.250","pic":"\u0000\u0001\u00ff","gone":null}"#;
const TYPES: &str = r#"{"id":"bigint(20)","price":"decimal(10,2)","name":"varchar(9)","on":"date","at":"datetime(3)","pic":"blob","gone":"int"}"#;
/// The row as Connect's numbers and bytes, and its schema.
const CONNECT: &str = r#"{"id":9007199254740993,"price":"BOI=","name":"Ann","on":20028,"at":1730455020250,"pic":"AAH/","gone":null}"#;
const FIELDS: &str = r#"[{"type":"int64","field":"id"},{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"},"field":"price"},{"type":"string","field":"name"},{"type":"int32","name":"io.debezium.time.Date","field":"on"},{"type":"int64","name":"io.debezium.time.Timestamp","field":"at"},{"type":"bytes","field":"pic"},{"type":"int32","field":"gone"}]"#;

fn declared() -> Vec<(String, Kind)> {
    [("id", "int"), ("price", "decimal"), ("on", "date"), ("at", "timestamp"), ("pic", "bytes")]
        .map(|(name, kind)| (name.to_owned(), Kind::parse(kind).unwrap()))
        .into()
}

fn value(format: Format, text: &str, declared: &[(String, Kind)]) -> String {
    with_change(format, "", text, |change| rendered(change, declared))
}

fn rendered(change: &Change<'_>, declared: &[(String, Kind)]) -> String {
    let row = Row { declared, ..change.after.clone().unwrap() };
    columns_rendered(&row)
}

fn columns_rendered(row: &Row<'_>) -> String {
    let mut out = b"{".to_vec();
    for (name, cell) in row.cells() {
        if out.len() > 1 {
            out.push(b',');
        }
        crate::types::json_string(name, &mut out);
        out.push(b':');
        match cell {
            Cell::Present(typed) => render_json(typed, RenderStyle::default(), &mut out).unwrap(),
            Cell::Null => out.extend_from_slice(b"null"),
            other => panic!("{name} {other:?}"),
        }
    }
    out.push(b'}');
    String::from_utf8(out).unwrap()
}

#[test]
fn the_same_row_is_the_same_value_whatever_carried_it() {
    let schema = format!(
        r#"{{"type":"struct","name":"a.Envelope","fields":[{{"type":"struct","field":"after","fields":{FIELDS}}}]}}"#
    );
    let row_schema = format!(r#"{{"type":"struct","name":"a.Value","fields":{FIELDS}}}"#);
    let flat = CONNECT.replace(r#""gone":null"#, r#""gone":null,"__deleted":"false""#);
    let mysql = r#""source":{"connector":"mysql","file":"b.1","pos":4},"op":"c""#;
    for (format, text) in [
        (Format::Debezium, format!(r#"{{"schema":{schema},"payload":{{"after":{CONNECT},{mysql}}}}}"#)),
        (
            Format::Debezium,
            format!(
                r#"{{"specversion":"1.0","id":"1","source":"/d","type":"io.debezium.x","iodebeziumop":"c","data":{{"schema":{schema},"payload":{{"before":null,"after":{CONNECT}}}}}}}"#
            ),
        ),
        (Format::Flattened, format!(r#"{{"schema":{row_schema},"payload":{flat}}}"#)),
        (
            Format::Canal,
            format!(
                r#"{{"database":"d","table":"t","isDdl":false,"type":"INSERT","es":1,"mysqlType":{TYPES},"data":[{TEXTS}]}}"#
            ),
        ),
        (
            Format::Ticdc,
            format!(
                r#"{{"database":"d","table":"t","isDdl":false,"type":"INSERT","es":1,"mysqlType":{TYPES},"data":[{TEXTS}],"_tidb":{{"commitTs":5}}}}"#
            ),
        ),
    ] {
        for format in [format, Format::Auto] {
            assert_eq!(value(format, &text, &[]), EXPECTED, "{format:?} without declared types");
        }
    }
    // These carry no types (or JSON's alone), so the entity declares them. Doubles and TIMESTAMPs are left out
    // on purpose: a double keeps its spelling, and these formats write a TIMESTAMP without its zone.
    for (format, text) in [
        (Format::Rows, BARE.to_owned()),
        (Format::Debezium, format!(r#"{{"after":{BARE},{mysql}}}"#)),
        (Format::Maxwell, format!(r#"{{"database":"d","table":"t","type":"insert","ts":1,"data":{BARE}}}"#)),
        (
            Format::Ticdc,
            format!(
                r#"{{"version":1,"database":"d","table":"t","type":"INSERT","commitTs":1,"data":{}}}"#,
                TEXTS.replace(r"\u0000\u0001\u00ff", "AAH/")
            ),
        ),
        (Format::Ogg, format!(r#"{{"table":"O.T","op_type":"I","pos":"1","after":{BARE}}}"#)),
        (
            Format::Dms,
            format!(r#"{{"data":{BARE},"metadata":{{"record-type":"data","operation":"insert"}}}}"#),
        ),
        (Format::Cockroach, format!(r#"{{"after":{BARE}}}"#)),
        (Format::Sequin, format!(r#"{{"record":{BARE},"action":"insert","metadata":{{}}}}"#)),
        (
            Format::Mongo,
            format!(
                r#"{{"operationType":"insert","ns":{{}},"documentKey":{{"_id":1}},"fullDocument":{BARE}}}"#
            ),
        ),
    ] {
        for format in [format, Format::Auto] {
            assert_eq!(value(format, &text, &declared()), EXPECTED, "{format:?} with declared types");
        }
    }
}

/// The row's fields as Confluent's converter declares them, under `optional.for.nullables`.
const PROTO_FIELDS: &str = "int64 id = 1; optional confluent.type.Decimal price = 2; optional string name = 3; \
    optional google.type.Date on = 4; optional google.protobuf.Timestamp at = 5; optional bytes pic = 6; optional int32 gone = 7;";
/// The row under them.
const PROTO: &[u8] = b"\x08\x81\x80\x80\x80\x80\x80\x80\x10\x12\x08\x0a\x02\x04\xe2\x10\x04\x18\x02\x1a\x03Ann\
    \x22\x07\x08\xe8\x0f\x10\x0b\x18\x01\x2a\x0b\x08\xec\xcb\x92\xb9\x06\x10\x80\xe5\x9a\x77\x32\x03\x00\x01\xff";

#[test]
fn the_same_row_is_the_same_value_in_protobuf() {
    let imports = r#"syntax = "proto3"; package app.shop.users; import "confluent/type/decimal.proto";
        import "google/type/date.proto"; import "google/protobuf/timestamp.proto";"#;
    let envelope = format!(
        "{imports} message Envelope {{ optional Value after = 1; string op = 2; message Value {{ {PROTO_FIELDS} }} }}"
    );
    let flat = format!("{imports} message Value {{ {PROTO_FIELDS} optional string __deleted = 8; }}");
    let length = u8::try_from(PROTO.len()).unwrap();
    let in_envelope = [&[0x0a, length], PROTO, b"\x12\x01c"].concat();
    let flattened = [PROTO, b"\x42\x05false"].concat();
    for (format, text, datum) in
        [(Format::Debezium, envelope, in_envelope), (Format::Flattened, flat, flattened)]
    {
        let mut schemas = Schemas::new(Wire::default());
        let id = SchemaRef { id: SchemaId::Number(1), side: Side::Value };
        let schema = RegisteredSchema { kind: SchemaKind::Protobuf, text, references: Vec::new() };
        schemas.know(id, Ok(schema));
        let value = [&[0, 0, 0, 0, 1, 0][..], &datum].concat();
        for format in [format, Format::Auto] {
            let mut decoder = Decoder::new(format);
            let whole = Record { value: Some(&value), ..record(None, None) };
            match decoder.decode_with(&whole, &schemas) {
                Ok(Decoded::Changes(changes)) => {
                    assert_eq!(rendered(&changes[0], &[]), EXPECTED, "{format:?}")
                }
                other => panic!("{format:?}: {}", told(&other)),
            }
        }
    }
}

/// A row of a few columns, with white space wherever JSON allows it, and with names that repeat.
fn row_text() -> impl Strategy<Value = String> {
    let space = || prop_oneof![9 => Just(""), 1 => Just(" "), 1 => Just("\n\t")];
    let name = prop_oneof![8 => "[a-e]", 1 => Just("\\u0061".to_owned()), 1 => Just("é".to_owned())];
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-0.5e+3".to_owned()),
        Just("\"\"".to_owned()),
        Just("\"a\\u00e9\\n\\\"é\"".to_owned()),
        Just("[1, {\"a\" : null}]".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    let member = (space(), name, space(), space(), value, space());
    let member = member.prop_map(|(a, name, b, c, value, d)| format!("{a}\"{name}\"{b}:{c}{value}{d}"));
    prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(",")))
}

proptest! {
    #[test]
    fn a_row_copied_at_once_is_what_its_columns_come_to(
        rows in prop::collection::vec(row_text(), 1..4), has_types in any::<bool>(),
    ) {
        let declared = [("a".to_owned(), Kind::Bool), ("b".to_owned(), Kind::Text)];
        let mut decoder = Decoder::new(Format::Debezium);
        for text in rows {
            let event = format!(r#"{{"before":null,"after":{text},"source":{{}},"op":"c"}}"#);
            let Ok(Decoded::Changes(changes)) = decoder.decode(&record(None, Some(&event))) else {
                panic!("{text}")
            };
            let row = changes.into_iter().next().unwrap().after.unwrap();
            prop_assert_eq!(row.as_it_came().is_some(), columns_rendered(&row) == text && text != "{}", "{}", text);
            let row = Row { declared: if has_types { &declared } else { &[] }, ..row };
            if let Some(at_once) = row.as_it_came() {
                prop_assert_eq!(columns_rendered(&row), at_once);
            }
        }
    }
}
