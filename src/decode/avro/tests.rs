use super::super::tests::told;
use super::super::{Decoder, Format, RegisteredSchema, SchemaId, SchemaKind, SchemaRef, Schemas, Side, Wire};
use super::*;
use crate::change::Cell;
use crate::record::{NoHeaders, Record};
use crate::types::{RenderStyle, render_json};

fn registered(text: &str) -> RegisteredSchema {
    RegisteredSchema { kind: SchemaKind::Avro, text: text.to_owned(), references: Vec::new() }
}

fn schemas(texts: &[&str]) -> Schemas {
    let mut schemas = Schemas::new(Wire::default());
    for (index, text) in texts.iter().enumerate() {
        let id = SchemaId::Number(u32::try_from(index + 1).unwrap());
        schemas.know(SchemaRef { id, side: Side::Value }, Ok(registered(text)));
    }
    schemas
}

/// The datum in Confluent's framing under that id.
fn framed(id: u8, datum: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, id][..], datum].concat()
}

fn record<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Record<'a> {
    Record { topic: "t", partition: 0, offset: 0, timestamp_ms: None, key, value, headers: &NoHeaders }
}

/// What comes of records under these schemas; key and value by id and datum.
fn see(texts: &[&str], format: Format, key: Option<(u8, &[u8])>, value: Option<(u8, &[u8])>) -> String {
    let schemas = schemas(texts);
    let frame = |part: Option<(u8, &[u8])>| part.map(|(id, datum)| framed(id, datum));
    let (key, value) = (frame(key), frame(value));
    told(&Decoder::new(format).decode_with(&record(key.as_deref(), value.as_deref()), &schemas))
}

/// The columns of a plain row as JSON values hold them.
fn rendered(schema: &str, datum: &[u8]) -> String {
    let schemas = schemas(&[schema]);
    let value = framed(1, datum);
    let mut decoder = Decoder::new(Format::Auto);
    let whole = record(None, Some(&value));
    let changes = match decoder.decode_with(&whole, &schemas) {
        Ok(Decoded::Changes(changes)) => changes,
        other => return told(&other),
    };
    let mut out = Vec::new();
    for column in &changes[0].after.as_ref().unwrap().columns {
        match column.cell {
            Cell::Present(typed) => render_json(typed, RenderStyle::default(), &mut out).unwrap(),
            Cell::Null => out.extend_from_slice(b"null"),
            Cell::Unavailable => out.extend_from_slice(b"unavailable"),
            Cell::Absent => panic!("a decoder gives no absent cell"),
        }
        out.push(b' ');
    }
    String::from_utf8(out).unwrap().trim_end().to_owned()
}

fn row_of(types: &[&str]) -> String {
    let fields: Vec<String> =
        types.iter().enumerate().map(|(at, text)| format!(r#"{{"name":"c{at}","type":{text}}}"#)).collect();
    format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","))
}

const KEY: &str =
    r#"{"type":"record","name":"Key","namespace":"app.shop.users","fields":[{"name":"id","type":"int"}]}"#;

const ENVELOPE: &str = r#"{"type":"record","name":"Envelope","namespace":"app.shop.users","fields":[
  {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
    {"name":"id","type":"int"},{"name":"name","type":["null","string"],"default":null}],
    "connect.name":"app.shop.users.Value"}],"default":null},
  {"name":"after","type":["null","Value"],"default":null},
  {"name":"source","type":{"type":"record","name":"Source","namespace":"io.debezium.connector.postgresql","fields":[
    {"name":"connector","type":"string"},{"name":"db","type":"string"},{"name":"schema","type":"string"},
    {"name":"table","type":"string"},{"name":"ts_ms","type":"long"},{"name":"lsn","type":["null","long"]}]}},
  {"name":"transaction","type":["null",{"type":"record","name":"block","namespace":"event","fields":[
    {"name":"id","type":"string"}]}]},
  {"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"]}],"connect.name":"app.shop.users.Envelope"}"#;

/// `before`, `after` and `op` around a source block of `shop.public.users` at lsn 100.
fn envelope(before: &[u8], after: &[u8], op: u8) -> Vec<u8> {
    let source = b"\x14postgresql\x08shop\x0cpublic\x0ausers\x14\x02\xc8\x01";
    [before, after, source, &[0, 2, op, 0]].concat()
}

const ANN: &[u8] = &[2, 14, 2, 6, b'A', b'n', b'n'];

#[test]
fn envelopes_give_the_changes_that_json_gives() {
    let key = Some((2, &[14][..]));
    // Zig-zag: 14 is 7.
    for (before, after, op, expected) in [
        (&[0][..], ANN, b'c', "c k(id=7) a(id=7 name=Ann)"),
        (&[2, 14, 0], ANN, b'u', "u k(id=7) b(id=7 name:null) a(id=7 name=Ann)"),
        (ANN, &[0], b'd', "d k(id=7) b(id=7 name=Ann)"),
        (&[0], &[0], b't', "t"),
        (&[0], &[0], b'c', "error envelope: op \"c\" without an after row"),
        (&[0], ANN, b'x', "error op: unknown op \"x\"; known are c, u, d, r, t and m"),
    ] {
        let datum = envelope(before, after, op);
        let found = see(&[ENVELOPE, KEY], Format::Auto, key, Some((1, &datum)));
        assert_eq!(found, expected);
        let as_rows = see(&[ENVELOPE, KEY], Format::Rows, key, Some((1, &datum)));
        assert!(as_rows.starts_with("error format: the value looks like a Debezium envelope"), "{as_rows}");
    }
    assert_eq!(see(&[ENVELOPE, KEY], Format::Auto, key, None), "tombstone k(id=7)");
}

#[test]
fn the_source_block_tells_table_commit_time_and_position() {
    let schemas = schemas(&[ENVELOPE]);
    let value = framed(1, &envelope(&[0], ANN, b'c'));
    let block =
        r#"{"connector":"postgresql","db":"shop","schema":"public","table":"users","ts_ms":10,"lsn":100}"#;
    for (told, expected) in [(true, Some(block)), (false, None)] {
        let mut decoder = Decoder::new(Format::Debezium);
        decoder.tell_source_text(told);
        let whole = record(None, Some(&value));
        let Ok(Decoded::Changes(changes)) = decoder.decode_with(&whole, &schemas) else {
            panic!("no change")
        };
        let change = &changes[0];
        assert_eq!(change.table.as_ref().unwrap().table, "users");
        assert_eq!(change.commit_ms, Some(10));
        assert_eq!(change.version, Some(crate::version::Version::from_parts(&[100, 100])));
        assert_eq!(change.source, expected);
    }
}

/// `version` and `name` mean nothing to the cache.
#[test]
fn what_is_passed_over_in_a_source_block_must_be_well_formed_all_the_same() {
    let schema = r#"{"type":"record","name":"Envelope","fields":[
        {"name":"after","type":["null",{"type":"record","name":"Value","fields":[{"name":"id","type":"int"}]}]},
        {"name":"source","type":{"type":"record","name":"Source","fields":[
            {"name":"version","type":"string"},{"name":"ts_ms","type":"long"},{"name":"name","type":{"type":"array","items":"int"}}]}},
        {"name":"op","type":"string"}]}"#;
    let schemas = schemas(&[schema]);
    for (version, expected) in [(b'v', "c a(id=7)"), (0xff, "error avro: ")] {
        let value = framed(1, &[2, 14, 2, version, 20, 2, 8, 0, 2, b'c']);
        let mut decoder = Decoder::new(Format::Debezium);
        decoder.tell_source_text(false);
        let found = told(&decoder.decode_with(&record(None, Some(&value)), &schemas));
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn semantic_names_come_before_logical_types() {
    let connect =
        |base: &str, name: &str, more: &str| format!(r#"{{"type":"{base}","connect.name":"{name}"{more}}}"#);
    let micros = connect("long", "io.debezium.time.MicroTimestamp", "");
    let instant =
        connect("long", "org.apache.kafka.connect.data.Timestamp", r#","logicalType":"timestamp-millis""#);
    let decimal = connect(
        "bytes",
        "org.apache.kafka.connect.data.Decimal",
        r#","logicalType":"decimal","scale":2,"precision":9,"connect.parameters":{"scale":"2"}"#,
    );
    let bits = connect("bytes", "io.debezium.data.Bits", r#","connect.parameters":{"length":"4"}"#);
    let variable = r#"{"type":"record","name":"VariableScaleDecimal","namespace":"io.debezium.data","fields":[
        {"name":"scale","type":"int"},{"name":"value","type":"bytes"}],"connect.name":"io.debezium.data.VariableScaleDecimal"}"#;
    for (schema, datum, expected) in [
        (micros.as_str(), &[0x80, 0x89, 0x7a][..], "\"1970-01-01T00:00:01\""),
        (&instant, &[0xd0, 0x0f], "\"1970-01-01T00:00:01Z\""),
        (&decimal, &[4, 0x30, 0x39], "\"123.45\""),
        (
            r#"{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":4,"scale":1}"#,
            &[0x30, 0x39],
            "\"1234.5\"",
        ),
        (r#"{"type":"bytes","logicalType":"decimal","precision":4}"#, &[2, 0x9c], "\"-100\""),
        (variable, &[4, 4, 0x30, 0x39], "\"123.45\""),
        (&bits, &[2, 5], "\"0101\""),
        (r#"{"type":"int","logicalType":"date"}"#, &[1], "\"1969-12-31\""),
        (r#"{"type":"long","logicalType":"local-timestamp-micros"}"#, &[0], "\"1970-01-01T00:00:00\""),
        (
            r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#,
            &[0xab; 16],
            "\"abababab-abab-abab-abab-abababababab\"",
        ),
        (
            r#"{"type":"fixed","name":"D","size":12,"logicalType":"duration"}"#,
            &[1, 0, 0, 0, 2, 0, 0, 0, 0xdc, 5, 0, 0],
            "\"P1M2DT1.5S\"",
        ),
        (r#"{"type":"string","logicalType":"of nobody"}"#, &[2, b'x'], "\"x\""),
        (r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, &[2], "\"B\""),
        ("\"float\"", &[0xcd, 0xcc, 0xcc, 0x3d], "0.1"),
        ("\"double\"", &[0, 0, 0, 0, 0, 0, 0xf8, 0x7f], "\"NaN\""),
        (r#"["int","null","string"]"#, &[4, 2, b'x'], "\"x\""),
        (r#"["int","null"]"#, &[2], "null"),
        ("\"string\"", b"\x38__debezium_unavailable_value", "unavailable"),
        ("\"bytes\"", b"\x38__debezium_unavailable_value", "unavailable"),
        (r#"{"type":"array","items":"string"}"#, b"\x02\x38__debezium_unavailable_value\0", "unavailable"),
    ] {
        assert_eq!(rendered(&row_of(&[schema]), datum), expected, "{schema}");
    }
}

#[test]
fn nested_values_are_rendered_by_the_rules_of_json() {
    let date = r#"{"type":"int","connect.name":"io.debezium.time.Date"}"#;
    let entry = |key: &str| {
        format!(
            r#"{{"type":"array","items":{{"type":"record","name":"MapEntry","namespace":"io.confluent.connect.avro",
            "fields":[{{"name":"key","type":{key}}},{{"name":"value","type":"int"}}]}}}}"#
        )
    };
    let tree = r#"{"type":"record","name":"T","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","T"]}]}"#;
    for (schema, datum, expected) in [
        (
            format!(r#"{{"type":"array","items":["null",{date}]}}"#),
            &[4, 2, 2, 0, 0][..],
            r#"["1970-01-02",null]"#,
        ),
        // A block of negative count has its size behind it.
        (r#"{"type":"array","items":"int"}"#.to_owned(), &[3, 4, 2, 4, 2, 6, 0], "[1,2,3]"),
        (r#"{"type":"map","values":"bytes"}"#.to_owned(), &[2, 2, b'k', 2, 0xff, 0], r#"{"k":"/w=="}"#),
        (entry("\"int\""), &[2, 14, 2, 0], "[[7,1]]"),
        (entry(r#"["null","string"]"#), &[2, 2, 2, b'k', 2, 0], r#"{"k":1}"#),
        (tree.to_owned(), &[2, 2, 4, 0], r#"{"v":1,"next":{"v":2,"next":null}}"#),
    ] {
        assert_eq!(rendered(&row_of(&[&schema]), datum), expected, "{schema}");
    }
}

#[test]
fn flattened_rows_lose_the_columns_that_flattening_added() {
    let flat = r#"{"type":"record","name":"Value","fields":[{"name":"id","type":"int"},
        {"name":"__op","type":["null","string"]},{"name":"__deleted","type":["null","string"]},{"name":"__lsn","type":["null","long"]}]}"#;
    for (datum, expected) in [
        (&b"\x0e\x02\x02u\x02\x0afalse\x00"[..], "u a(id=7)"),
        (b"\x0e\x02\x02d\x02\x08true\x02\x02", "d b(id=7)"),
    ] {
        assert_eq!(see(&[flat], Format::Auto, None, Some((1, datum))), expected);
        assert_eq!(see(&[flat], Format::Flattened, None, Some((1, datum))), expected);
        let found = see(&[flat], Format::Rows, None, Some((1, datum)));
        assert!(found.starts_with("error format: the value looks like a flattened row"), "{found}");
    }
}

#[test]
fn a_null_datum_is_a_tombstone_and_what_is_beside_changes_is_ignored() {
    let optional = format!(r#"["null",{}]"#, row_of(&["\"int\""]));
    assert_eq!(see(&[&optional, KEY], Format::Rows, Some((2, &[2])), Some((1, &[0]))), "tombstone k(id=1)");
    let heartbeat = r#"{"type":"record","name":"Heartbeat","namespace":"io.debezium.connector.common","fields":[{"name":"ts_ms","type":"long"}]}"#;
    assert_eq!(see(&[heartbeat], Format::Auto, None, Some((1, &[2]))), "ignored heartbeat");
}

#[test]
fn zeros_without_bytes_and_deep_values_are_bounded() {
    let endless = [&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..], &[0]].concat();
    for items in ["\"null\"", r#"{"type":"record","name":"E","fields":[]}"#] {
        let schema = row_of(&[&format!(r#"{{"type":"array","items":{items}}}"#)]);
        assert!(rendered(&schema, &endless).contains("more values than bytes"), "{items}");
    }
    // Each record holds the one before twice: 2^40 values in no byte at all.
    let doubling = (1..40).fold(row_of(&["\"null\""]).replace("\"R\"", "\"R0\""), |inner, level| {
        let before = level - 1;
        format!(
            r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":"R{before}"}}]}}"#
        )
    });
    let found = rendered(&row_of(&[&doubling]), &[]);
    assert!(found.contains("more values than bytes") || found.contains("no JSON"), "{found}");
    let tree = r#"{"type":"record","name":"T","fields":[{"name":"next","type":["null","T"]}]}"#;
    assert!(rendered(&row_of(&[tree]), &[2; 200]).contains("nested too deeply"));
}

#[test]
fn what_is_no_datum_says_where() {
    for (schema, datum, expected) in [
        ("\"string\"", &[4, b'x'][..], "at byte 1: a length reaches beyond the record's end"),
        ("\"int\"", &[2, 2], "at byte 1: expected the end"),
        (r#"["null","int"]"#, &[4], "at byte 0: expected the index of a branch of the union"),
        ("\"boolean\"", &[7], "at byte 0: expected a boolean, 0 or 1"),
        ("\"long\"", &[], "at byte 0: expected a number, and the record ends within it"),
    ] {
        let expected = format!("error avro: the value is not what its Avro schema says {expected}");
        assert_eq!(rendered(&row_of(&[schema]), datum), expected);
    }
}

#[test]
fn schemas_that_cannot_be_read_are_the_error_of_each_record() {
    for (text, expected) in [
        ("{", "schema id 1 is no Avro schema: no JSON at line 1"),
        ("\"Nobody\"", "the type \"Nobody\" is named nowhere"),
        (r#"{"type":"record","name":"R"}"#, "the record \"R\" has no list of fields"),
        (r#"{"type":"fixed","name":"F"}"#, "the fixed \"F\" has no size"),
    ] {
        let found = see(&[text], Format::Auto, None, Some((1, &[2])));
        assert!(found.starts_with("error schema: ") && found.contains(expected), "{found}");
    }
    let found = see(&["\"int\""], Format::Auto, None, Some((1, &[2])));
    assert!(found.starts_with("error format: the value's Avro schema is no record"), "{found}");
}

#[test]
fn references_supply_named_types() {
    let mut schemas = Schemas::new(Wire::default());
    let inner = r#"{"type":"record","name":"B","namespace":"a","fields":[{"name":"v","type":"int"}]}"#;
    let text = r#"{"type":"record","name":"R","namespace":"a","fields":[{"name":"b","type":"B"},{"name":"c","type":["null","a.B"]}]}"#;
    let schema = RegisteredSchema { references: vec![("a.B".into(), inner.into())], ..registered(text) };
    schemas.know(SchemaRef { id: SchemaId::Number(1), side: Side::Value }, Ok(schema));
    let value = framed(1, &[2, 0]);
    let found = told(&Decoder::new(Format::Rows).decode_with(&record(None, Some(&value)), &schemas));
    assert_eq!(found, r#"u a(b={"v":1} c:null)"#);
}
