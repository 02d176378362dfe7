//! Rules of Connect's schemas: kinds, plans, placeholders.

use super::*;
use crate::types::{IsoText, Kind, Unit};

fn field(schema: &str, name: &str) -> String {
    format!(r#"{{"field":"{name}",{}"#, schema.trim_start_matches('{'))
}

fn kind_of(format: Format, schema: &str) -> Kind {
    let value =
        format!(r#"{{"schema":{{"type":"struct","fields":[{}]}},"payload":{{"c":1}}}}"#, field(schema, "c"));
    with_change(format, "{\"c\":1}", &value, |change| match change.after.as_ref().unwrap().cell("c") {
        Cell::Present(Typed { kind, .. }) => kind.clone(),
        other => panic!("{other:?}"),
    })
}

#[test]
fn each_semantic_type_has_its_kind() {
    let named = |base: &str, name: &str| {
        format!(r#"{{"type":"{base}","optional":true,"name":"{name}","version":1}}"#)
    };
    let debezium = |base: &str, name: &str| named(base, &format!("io.debezium.{name}"));
    let connect = |base: &str, name: &str| named(base, &format!("org.apache.kafka.connect.data.{name}"));
    for (schema, kind) in [
        (r#"{"type":"boolean"}"#.to_owned(), Kind::Bool),
        (r#"{"type":"int8"}"#.to_owned(), Kind::Int),
        (r#"{"type":"int64"}"#.to_owned(), Kind::Int),
        (r#"{"type":"float"}"#.to_owned(), Kind::Double),
        (r#"{"type":"double"}"#.to_owned(), Kind::Double),
        (r#"{"type":"string"}"#.to_owned(), Kind::Text),
        (r#"{"type":"bytes"}"#.to_owned(), Kind::Bytes),
        (r#"{"type":"int64","parameters":{"__debezium.source.column.type":"BIGINT UNSIGNED"}}"#.to_owned(), Kind::Uint),
        (debezium("int32", "time.Date"), Kind::Date),
        (debezium("int32", "time.Time"), Kind::Time(Unit::Millis)),
        (debezium("int64", "time.MicroTime"), Kind::Time(Unit::Micros)),
        (debezium("int64", "time.NanoTime"), Kind::Time(Unit::Nanos)),
        (debezium("int64", "time.Timestamp"), Kind::Timestamp(Unit::Millis)),
        (debezium("int64", "time.MicroTimestamp"), Kind::Timestamp(Unit::Micros)),
        (debezium("int64", "time.NanoTimestamp"), Kind::Timestamp(Unit::Nanos)),
        (debezium("string", "time.ZonedTimestamp"), Kind::ZonedText),
        (debezium("string", "time.ZonedTime"), Kind::ZonedTime),
        (debezium("string", "time.IsoDate"), Kind::IsoText(IsoText::Date)),
        (debezium("string", "time.IsoTime"), Kind::IsoText(IsoText::Time)),
        (debezium("string", "time.IsoTimestamp"), Kind::IsoText(IsoText::Timestamp)),
        (debezium("int32", "time.Year"), Kind::Int),
        (debezium("string", "time.Interval"), Kind::IntervalText),
        (debezium("int64", "time.MicroDuration"), Kind::Duration(Unit::Micros)),
        (debezium("int64", "time.NanoDuration"), Kind::Duration(Unit::Nanos)),
        (debezium("string", "data.Json"), Kind::Json),
        (debezium("string", "data.Uuid"), Kind::Uuid),
        (debezium("string", "data.Xml"), Kind::Text),
        (debezium("string", "data.Enum"), Kind::Text),
        (debezium("string", "data.EnumSet"), Kind::Text),
        (debezium("struct", "data.VariableScaleDecimal"), Kind::VariableDecimal),
        (r#"{"type":"bytes","name":"io.debezium.data.Bits","parameters":{"length":"9"}}"#.to_owned(), Kind::Bits { length: 9 }),
        (
            r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"-2"}}"#.to_owned(),
            Kind::Decimal { scale: Some(-2) },
        ),
        (connect("int32", "Date"), Kind::Date),
        (connect("int32", "Time"), Kind::Time(Unit::Millis)),
        (r#"{"type":"array","items":{"type":"int32","name":"io.debezium.time.Date"}}"#.to_owned(), Kind::Array(Kind::Date.into())),
        (
            r#"{"type":"map","keys":{"type":"int16"},"values":{"type":"double"}}"#.to_owned(),
            Kind::Map(Kind::Int.into(), Kind::Double.into()),
        ),
        (
            r#"{"type":"struct","name":"io.debezium.data.geometry.Geometry","fields":[{"type":"bytes","field":"wkb"},{"type":"int32","field":"srid"}]}"#.to_owned(),
            Kind::Struct([("wkb".to_owned(), Kind::Bytes), ("srid".to_owned(), Kind::Int)].into()),
        ),
        // A name whose base type is not the one that it stands for is taken for what the base says.
        (debezium("string", "time.Timestamp"), Kind::Text),
        (named("string", "com.example.Colour"), Kind::Text),
    ] {
        assert_eq!(kind_of(Format::Rows, &schema), kind, "{schema}");
    }
}

#[test]
fn connects_time_stamp_is_zoneless_from_debezium_and_an_instant_from_elsewhere() {
    let schema = r#"{"type":"int64","name":"org.apache.kafka.connect.data.Timestamp"}"#;
    assert_eq!(kind_of(Format::Rows, schema), Kind::Instant(Unit::Millis));
    assert_eq!(kind_of(Format::Auto, schema), Kind::Instant(Unit::Millis));
    assert_eq!(kind_of(Format::Flattened, schema), Kind::Timestamp(Unit::Millis));
    let row = format!(r#"{{"type":"struct","fields":[{}]"#, field(schema, "at"));
    let value = format!(
        r#"{{"schema":{{"type":"struct","name":"app.public.t.Envelope","fields":[{row},"field":"before"}},{row},"field":"after"}}]}},"payload":{}}}"#,
        envelope("u", r#"{"at":1}"#, r#"{"at":2}"#),
    );
    with_change(Format::Auto, "{\"id\":7}", &value, |change| {
        for row in [&change.before, &change.after] {
            let Cell::Present(Typed { kind, .. }) = row.as_ref().unwrap().cell("at") else { panic!() };
            assert_eq!(*kind, Kind::Timestamp(Unit::Millis));
        }
    });
}

#[test]
fn placeholders_are_known_by_the_columns_kind() {
    let base64 = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==";
    let value = |first: &str, second: &str| {
        format!(
            r#"{{"schema":{{"type":"struct","fields":[{first},{second}]}},"payload":{{"a":"{base64}","b":"{base64}"}}}}"#
        )
    };
    let value = value(
        r#"{"type":"bytes","field":"a"}"#,
        r#"{"type":"string","name":"io.debezium.data.Json","field":"b"}"#,
    );
    let found = see(Format::Rows, None, Some(&value));
    assert_eq!(found, format!(r#"u a(a:unavailable b="{base64}")"#));
}

#[test]
fn a_schema_seen_before_is_found_by_its_bytes_and_a_new_one_is_read() {
    let value = |base: &str, payload: &str| {
        format!(
            r#"{{"schema":{{"type":"struct","fields":[{{"type":"{base}","field":"c"}}]}},"payload":{payload}}}"#
        )
    };
    let mut decoder = Decoder::new(Format::Rows);
    let mut kind = |text: &str| match decoder.decode(&record(None, Some(text))) {
        Ok(Decoded::Changes(changes)) => match changes[0].after.as_ref().unwrap().cell("c") {
            Cell::Present(Typed { kind, .. }) => kind.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{}", told(&other)),
    };
    for (base, expected) in [("string", Kind::Text), ("bytes", Kind::Bytes), ("string", Kind::Text)] {
        for _ in 0..2 {
            assert_eq!(kind(&value(base, r#"{"c":"x"}"#)), expected);
        }
        assert_eq!(kind(&(value(base, r#" {"c":"x"} "#) + "\n")), expected);
        assert_eq!(kind(&value(base, r#"{"c":"x"}"#).replace(",\"payload\"", " , \"payload\"")), expected);
    }
    // Payload first, and bytes behind the payload.
    assert_eq!(
        kind(r#"{"payload":{"c":"x"},"schema":{"type":"struct","fields":[{"type":"bytes","field":"c"}]}}"#),
        Kind::Bytes
    );
    let found = told(&decoder.decode(&record(None, Some(&value("string", r#"{"c":"x"}} {"#)))));
    assert!(found.starts_with("error json: "), "{found}");
}

#[test]
fn plans_are_bounded_in_number_and_wrong_schemas_are_said() {
    let mut plans = Plans::new(Format::Rows);
    for index in 0..1_000 {
        let text = format!(r#"{{"schema":{{"type":"int{index}"}},"payload":1}}"#);
        assert!(plans.unwrap(&text).unwrap().plan.is_some());
        assert!(plans.len() <= 256);
    }
    for schema in [r#"{"type":"struct","fields":7}"#, r#"{"type":"struct","fields":[{"type":"int8"}]}"#] {
        let value = format!(r#"{{"schema":{schema},"payload":{{"c":1}}}}"#);
        let found = see(Format::Rows, None, Some(&value));
        assert!(found.starts_with("error schema: the schema member is no Connect schema"), "{found}");
    }
    let deep = r#"{"type":"array","items":"#.repeat(40) + r#"{"type":"int8"}"# + &"}".repeat(40);
    let value = format!(r#"{{"schema":{deep},"payload":[]}}"#);
    assert!(see(Format::Rows, None, Some(&value)).contains("nested too deeply"));
}
