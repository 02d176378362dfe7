use super::super::tests::told;
use super::super::{Decoder, Format, RegisteredSchema, SchemaId, SchemaKind, SchemaRef, Schemas, Side, Wire};
use super::*;
use crate::change::Cell;
use crate::record::{AsRecord as _, NoHeaders, OwnedRecord, Record};
use crate::types::{RenderStyle, TimeStyle, render_json};

fn registered(text: &str) -> RegisteredSchema {
    RegisteredSchema { kind: SchemaKind::Protobuf, text: text.to_owned(), references: Vec::new() }
}

fn schemas(texts: &[&str]) -> Schemas {
    let mut schemas = Schemas::new(Wire::default());
    for (index, text) in texts.iter().enumerate() {
        let id = SchemaId::Number(u32::try_from(index + 1).unwrap());
        schemas.know(SchemaRef { id, side: Side::Value }, Ok(registered(text)));
    }
    schemas
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number as u8) | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field that is a varint.
fn int(field: u64, number: u64) -> Vec<u8> {
    [varint(field << 3), varint(number)].concat()
}

/// A field behind its length.
fn part(field: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// The first message of a schema in Confluent's framing under that id.
fn framed(id: u8, datum: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, id, 0][..], datum].concat()
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

fn rendered_in(style: RenderStyle, schema: &str, datum: &[u8]) -> String {
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
            Cell::Present(typed) => render_json(typed, style, &mut out).unwrap(),
            Cell::Null => out.extend_from_slice(b"null"),
            Cell::Unavailable => out.extend_from_slice(b"unavailable"),
            Cell::Absent => panic!("a decoder gives no absent cell"),
        }
        out.push(b' ');
    }
    String::from_utf8(out).unwrap().trim_end().to_owned()
}

/// The columns of a plain row as JSON values hold them.
fn rendered(schema: &str, datum: &[u8]) -> String {
    rendered_in(RenderStyle::default(), schema, datum)
}

/// A schema of one message, and what stands beside it.
fn row_of(fields: &str) -> String {
    format!(
        r#"syntax = "proto3"; package t; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
        import "google/protobuf/struct.proto"; import "google/protobuf/duration.proto"; import "google/type/date.proto";
        import "google/type/timeofday.proto"; import "google/type/decimal.proto"; import "confluent/type/decimal.proto";
        message Plain {{ {fields} }} message Tree {{ int32 v = 1; repeated Tree next = 2; }}
        message VariableScaleDecimal {{ int32 scale = 1; bytes value = 2; }}
        message Home {{ string street = 1; optional int32 zip = 2; }} enum Level {{ LOW = 0; HIGH = 5; }}"#
    )
}

const KEY: &str = r#"syntax = "proto3"; package app.shop.users; message Key { int32 id = 1; }"#;

/// As Confluent's converter registers Debezium's envelope, with `optional.for.nullables`.
const ENVELOPE: &str = r#"syntax = "proto3"; package app.shop.users;
message Envelope {
  optional Value before = 1; optional Value after = 2; Source source = 3; optional block transaction = 4;
  string op = 5; optional int64 ts_ms = 6;
  message Value { int32 id = 1; optional string name = 2; }
  message Source { string connector = 1; string db = 2; string schema = 3; string table = 4; int64 ts_ms = 5; optional int64 lsn = 6; }
  message block { string id = 1; }
}"#;

/// `before`, `after` and `op` around a source block of `shop.public.users` at lsn 100.
fn envelope(before: Option<&[u8]>, after: Option<&[u8]>, op: &str) -> Vec<u8> {
    let source = [
        part(1, "postgresql"),
        part(2, "shop"),
        part(3, "public"),
        part(4, "users"),
        int(5, 10),
        int(6, 100),
    ]
    .concat();
    let image = |field, image: Option<&[u8]>| image.map(|image| part(field, image)).unwrap_or_default();
    [image(1, before), image(2, after), part(3, source), part(5, op)].concat()
}

#[test]
fn envelopes_give_the_changes_that_json_gives() {
    let id = int(1, 7);
    let ann = [int(1, 7), part(2, "Ann")].concat();
    let key = Some((2, id.as_slice()));
    for (before, after, op, expected) in [
        (None, Some(ann.as_slice()), "c", "c k(id=7) a(id=7 name=Ann)"),
        (Some(id.as_slice()), Some(&ann), "u", "u k(id=7) b(id=7 name:null) a(id=7 name=Ann)"),
        (Some(&ann), None, "d", "d k(id=7) b(id=7 name=Ann)"),
        (None, None, "t", "t"),
        (None, None, "c", "error envelope: op \"c\" without an after row"),
        (None, Some(&ann), "x", "error op: unknown op \"x\"; known are c, u, d, r, t and m"),
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
    let value = framed(1, &envelope(None, Some(&int(1, 7)), "c"));
    let mut decoder = Decoder::new(Format::Debezium);
    let whole = record(None, Some(&value));
    let Ok(Decoded::Changes(changes)) = decoder.decode_with(&whole, &schemas) else { panic!("no change") };
    let change = &changes[0];
    assert_eq!(change.table.as_ref().unwrap().table, "users");
    assert_eq!(change.commit_ms, Some(10));
    assert_eq!(change.version, Some(crate::version::Version::from_parts(&[100, 100])));
    let block =
        r#"{"connector":"postgresql","db":"shop","schema":"public","table":"users","ts_ms":10,"lsn":100}"#;
    assert_eq!(change.source, Some(block));
}

#[test]
fn the_transaction_block_orders_what_the_source_block_does_not() {
    let schemas = schemas(&[r#"syntax = "proto3"; package app.k.t;
        message Envelope {
          optional Value after = 2; Source source = 3; optional block transaction = 4; string op = 5;
          message Value { int32 id = 1; }
          message Source { string connector = 1; string keyspace = 2; string table = 3; string shard = 4; }
          message block { string id = 1; int64 total_order = 2; int64 transaction_epoch = 3; string transaction_rank = 4; }
        }"#]);
    let source = [part(1, "vitess"), part(2, "k"), part(3, "t"), part(4, "-")].concat();
    let transaction = [part(1, "[]"), int(2, 3), int(3, 1), part(4, "1513")].concat();
    let version = |transaction: Option<&[u8]>| {
        let block = transaction.map(|block| part(4, block)).unwrap_or_default();
        let datum = [part(2, int(1, 7)), part(3, &source), block, part(5, "c")].concat();
        let value = framed(1, &datum);
        let mut decoder = Decoder::new(Format::Auto);
        let whole = record(None, Some(&value));
        let Ok(Decoded::Changes(changes)) = decoder.decode_with(&whole, &schemas) else {
            panic!("no change")
        };
        changes[0].version.clone()
    };
    assert_eq!(version(Some(&transaction)), Some(crate::version::Version::from_parts(&[1, 1513, 3])));
    assert_eq!(version(None), None);
}

#[test]
fn the_message_is_chosen_as_confluent_and_apicurio_tell_it() {
    let text = r#"syntax = "proto3"; message A { int32 a = 1; }
        message B { int32 b = 1; map<string, int32> m = 2; message C { int32 c = 1; } message D { int32 d = 1; } }"#;
    let mut schemas = schemas(&[text]);
    let guid = [9; 16];
    for id in [SchemaId::Guid(guid), SchemaId::ApicurioGlobal(1), SchemaId::ApicurioContent(1)] {
        schemas.know(SchemaRef { id, side: Side::Value }, Ok(registered(text)));
    }
    let by = |value: &[u8], headers: &[(&str, &[u8])]| {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), Some(value.to_vec())));
        let (value, headers) = (Some(value.to_vec()), headers.collect());
        let owned = OwnedRecord { value, headers, ..OwnedRecord::default() };
        let mut decoder = Decoder::new(Format::Rows);
        told(&decoder.decode_with(&owned.as_record(), &schemas))
    };
    let in_header = |indexes: &[u8]| [&[1][..], &guid, indexes].concat();
    let one: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 1];
    type Case<'c> = (&'c [u8], &'c [(&'c str, &'c [u8])], &'c str);
    let (b_d, b_0, b_none) = (in_header(&[4, 2, 2]), in_header(&[0]), in_header(&[]));
    let cases: &[Case<'_>] = &[
        // Field 1 holds 7.
        (&[0, 0, 0, 0, 1, 0, 8, 7], &[], "u a(a=7)"),
        (&[0, 0, 0, 0, 1, 2, 0, 8, 7], &[], "u a(a=7)"),
        (&[0, 0, 0, 0, 1, 2, 2, 8, 7], &[], "u a(b=7 m={})"),
        (&[0, 0, 0, 0, 1, 4, 2, 0, 8, 7], &[], "u a(c=7)"),
        (&[0, 0, 0, 0, 1, 4, 2, 2, 8, 7], &[], "u a(d=7)"),
        (&[8, 7], &[("__value_schema_id", &b_d)], "u a(d=7)"),
        (&[8, 7], &[("__value_schema_id", &b_0)], "u a(a=7)"),
        (&[8, 7], &[("__value_schema_id", &b_none)], "u a(a=7)"),
        // All fields have their default values, so there are no bytes.
        (&[], &[("__value_schema_id", &b_0)], "u a(a=0)"),
        (&[0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 10, 1, b'B', 8, 7], &[], "u a(b=7 m={})"),
        (&[0, 0, 0, 0, 1, 3, 10, 1, b'B', 8, 7], &[], "u a(b=7 m={})"),
        (&[8, 7], &[("apicurio.value.globalId", one), ("apicurio.protobuf.type", b"B")], "u a(b=7 m={})"),
        (&[8, 7], &[("apicurio.value.contentId", one)], "u a(a=7)"),
    ];
    for (value, headers, expected) in cases {
        assert_eq!(by(value, headers), *expected, "{value:?} {headers:?}");
    }
    for (value, expected) in [
        (&[0, 0, 0, 0, 1][..], "at byte 0: expected a number, and the record ends within it"),
        (&[0, 0, 0, 0, 1, 1], "at byte 0: expected the number of message indexes"),
        (&[0, 0, 0, 0, 1, 0xfe, 0xff, 3], "at byte 0: expected the number of message indexes"),
        (&[0, 0, 0, 0, 1, 2, 4], "at byte 1: expected the index of a message of the schema"),
        (&[0, 0, 0, 0, 1, 2, 1], "at byte 1: expected the index of a message of the schema"),
        (&[0, 0, 0, 0, 1, 4, 0], "at byte 2: expected a number, and the record ends within it"),
        (&[0, 0, 0, 0, 1, 4, 0, 0], "at byte 2: expected the index of a message of the schema"),
    ] {
        let expected = format!("error protobuf: the value is not what its Protobuf schema says {expected}");
        assert_eq!(by(value, &[]), expected, "{value:?}");
    }
    let unknown = by(&[8, 7], &[("apicurio.value.globalId", one), ("apicurio.protobuf.type", b"Z")]);
    assert!(unknown.ends_with("the header names a message that is not there"), "{unknown}");
}

#[test]
fn every_scalar_is_read_at_its_full_range() {
    let all = |number: u64| int(1, number);
    let fixed = |wire: u8, bytes: &[u8]| [&[8 | wire][..], bytes].concat();
    for (field, datum, expected) in [
        ("int32 a = 1;", all(u64::MAX), "-1"),
        ("int32 a = 1;", all(0xffff_ffff), "-1"),
        ("int64 a = 1;", all(1 << 63), "-9223372036854775808"),
        ("uint32 a = 1;", all(u64::MAX), "4294967295"),
        ("uint64 a = 1;", all(u64::MAX), "18446744073709551615"),
        ("sint32 a = 1;", all(3), "-2"),
        ("sint64 a = 1;", all(u64::MAX), "-9223372036854775808"),
        ("fixed32 a = 1;", fixed(5, &[0xff; 4]), "4294967295"),
        ("fixed64 a = 1;", fixed(1, &[0xff; 8]), "18446744073709551615"),
        ("sfixed32 a = 1;", fixed(5, &[0xff; 4]), "-1"),
        ("sfixed64 a = 1;", fixed(1, &[0xfe, 255, 255, 255, 255, 255, 255, 255]), "-2"),
        ("float a = 1;", fixed(5, &0.1_f32.to_le_bytes()), "0.1"),
        ("double a = 1;", fixed(1, &f64::NAN.to_le_bytes()), "\"NaN\""),
        ("bool a = 1;", all(2), "true"),
        ("string a = 1;", part(1, "é\""), "\"é\\\"\""),
        ("bytes a = 1;", part(1, [0, 1, 255]), "\"AAH/\""),
        ("Level a = 1;", all(5), "\"HIGH\""),
        // Enums are open: a number without a name is the number.
        ("Level a = 1;", all(7), "7"),
        ("google.protobuf.UInt64Value a = 1;", part(1, int(1, u64::MAX)), "18446744073709551615"),
        // The last one counts.
        ("int32 a = 1;", [all(1), all(2)].concat(), "2"),
    ] {
        assert_eq!(rendered(&row_of(field), &datum), expected, "{field}");
    }
}

#[test]
fn what_is_absent_is_null_where_the_schema_tells_null_from_the_default() {
    for (field, expected) in [
        ("int32 a = 1;", "0"),
        ("uint64 a = 1;", "0"),
        ("string a = 1;", "\"\""),
        ("bytes a = 1;", "\"\""),
        ("bool a = 1;", "false"),
        ("double a = 1;", "0.0"),
        ("Level a = 1;", "\"LOW\""),
        ("repeated int32 a = 1;", "[]"),
        ("map<string, int32> a = 1;", "{}"),
        ("map<int32, int32> a = 1;", "[]"),
        ("optional int32 a = 1;", "null"),
        ("Home a = 1;", "null"),
        ("google.protobuf.Int32Value a = 1;", "null"),
        ("google.protobuf.Timestamp a = 1;", "null"),
        ("oneof o { int32 a = 1; string b = 2; }", "null null"),
    ] {
        assert_eq!(rendered(&row_of(field), &[]), expected, "{field}");
    }
    for (field, datum, expected) in [
        ("optional int32 a = 1;", int(1, 0), "0"),
        ("google.protobuf.Int32Value a = 1;", part(1, []), "0"),
        ("Home a = 1;", part(1, []), r#"{"street":"","zip":null}"#),
        ("oneof o { int32 a = 1; string b = 2; }", part(2, "x"), "null \"x\""),
        // Of a choice, the last one is there; what was merged before the mind changed is not.
        ("oneof o { int32 a = 1; string b = 2; }", [part(2, "x"), int(1, 0)].concat(), "0 null"),
        (
            "oneof o { Home a = 1; string b = 2; }",
            [part(1, part(1, "old")), part(2, "x"), part(1, int(2, 3)), part(1, part(1, "new"))].concat(),
            r#"{"street":"new","zip":3} null"#,
        ),
    ] {
        assert_eq!(rendered(&row_of(field), &datum), expected, "{field}");
    }
    let proto2 = r#"message M { required int32 a = 1; optional int32 b = 2 [default = 5]; optional group G = 3 { optional int32 c = 4; } }"#;
    assert_eq!(rendered(proto2, &[8, 1, 0x1b, 0x20, 9, 0x1c]), r#"1 null {"c":9}"#);
    assert!(rendered(proto2, &[0x10, 1]).ends_with("at byte 3: a required field is missing"));
}

#[test]
fn messages_that_stand_for_a_value_are_that_value() {
    let timestamp =
        |seconds: i64, nanos: u64| part(1, [int(1, seconds.cast_unsigned()), int(2, nanos)].concat());
    let numbers = |numbers: &[u64]| {
        let fields = numbers.iter().zip(1..).map(|(number, field)| int(field, *number));
        part(1, fields.collect::<Vec<_>>().concat())
    };
    let at = "google.protobuf.Timestamp a = 1;";
    let decimal = "confluent.type.Decimal a = 1;";
    for (field, datum, expected) in [
        (at, timestamp(1_730_455_020, 250_000_000), "\"2024-11-01T09:57:00.25Z\""),
        (at, timestamp(-1, 999_999_999), "\"1969-12-31T23:59:59.999999999Z\""),
        (at, timestamp(253_402_300_799, 0), "\"9999-12-31T23:59:59Z\""),
        (at, timestamp(-62_135_596_800, 0), "\"0001-01-01T00:00:00Z\""),
        ("google.type.Date a = 1;", numbers(&[2024, 2, 29]), "\"2024-02-29\""),
        ("google.type.TimeOfDay a = 1;", numbers(&[10, 33, 4, 500_000_000]), "\"10:33:04.5\""),
        ("google.type.TimeOfDay a = 1;", numbers(&[24]), "\"24:00:00\""),
        ("google.protobuf.Duration a = 1;", numbers(&[5400, 500_000_000]), "\"PT1H30M0.5S\""),
        ("google.protobuf.Duration a = 1;", numbers(&[315_576_000_000]), "\"PT315576000000S\""),
        ("google.type.Decimal a = 1;", part(1, part(1, "12.50")), "\"12.50\""),
        (decimal, part(1, [part(1, [0x04, 0xe2]), int(2, 4), int(3, 2)].concat()), "\"12.50\""),
        (decimal, part(1, [part(1, [0x9c])].concat()), "\"-100\""),
        (decimal, part(1, []), "\"0\""),
        ("VariableScaleDecimal a = 1;", part(1, [int(1, 2), part(2, [0x30, 0x39])].concat()), "\"123.45\""),
        (
            "repeated google.type.Date a = 1;",
            [numbers(&[1970, 1, 2]), numbers(&[1969, 12, 31])].concat(),
            "[\"1970-01-02\",\"1969-12-31\"]",
        ),
        ("repeated google.protobuf.Timestamp a = 1;", timestamp(1, 0), "[\"1970-01-01T00:00:01Z\"]"),
        (
            "google.protobuf.Struct a = 1;",
            part(
                1,
                part(1, [part(1, "k"), part(2, [&[0x11][..], &1.5_f64.to_le_bytes()].concat())].concat()),
            ),
            r#"{"k":1.5}"#,
        ),
        (
            "google.protobuf.Value a = 1;",
            part(1, part(6, [part(1, int(1, 0)), part(1, part(3, "x"))].concat())),
            r#"[null,"x"]"#,
        ),
    ] {
        assert_eq!(rendered(&row_of(field), &datum), expected, "{field}");
    }
    for (field, datum, expected) in [
        (at, timestamp(0, 1_000_000_000), "expected a time stamp"),
        (at, timestamp(i64::MAX, 0), "expected a time stamp"),
        ("google.type.Date a = 1;", numbers(&[2024, 5]), "expected a whole date"),
        ("google.type.TimeOfDay a = 1;", numbers(&[25]), "expected a time of day"),
    ] {
        let found = rendered(&row_of(field), &datum);
        assert!(found.ends_with(expected), "{found}");
    }
    // Anybody may give a message of their own that name.
    let own = r#"syntax = "proto3"; package google.type; message M { Date d = 1; } message Date { string year = 1; }"#;
    assert_eq!(rendered(own, &part(1, part(1, "MMXXIV"))), r#"{"year":"MMXXIV"}"#);
}

#[test]
fn connects_times_have_no_zone_in_debeziums_events_and_are_its_numbers() {
    let value =
        row_of("google.protobuf.Timestamp a = 1; google.type.TimeOfDay b = 2; google.type.Date c = 3;")
            .replace("message Plain", "message Value");
    let datum = |nanos| {
        let parts = [
            part(1, [int(1, 1), int(2, nanos)].concat()),
            part(2, [int(3, 2), int(4, nanos)].concat()),
            part(3, [int(1, 1970), int(2, 1), int(3, 3)].concat()),
        ];
        parts.concat()
    };
    let raw = RenderStyle { time: TimeStyle::Raw, ..RenderStyle::default() };
    assert_eq!(rendered_in(raw, &value, &datum(5_000_000)), "1005 2005 2");
    assert_eq!(
        rendered(&value, &datum(5_000_000)),
        "\"1970-01-01T00:00:01.005\" \"00:00:02.005\" \"1970-01-03\""
    );
    assert_eq!(
        rendered(&value, &datum(5)),
        "\"1970-01-01T00:00:01.000000005\" \"00:00:02.000000005\" \"1970-01-03\""
    );
    let elsewhere = value.replace("message Value", "message Order");
    assert_eq!(rendered_in(raw, &elsewhere, &datum(0)), "\"1970-01-01T00:00:01Z\" \"00:00:02\" 2");
}

#[test]
fn columns_without_a_type_of_their_own_take_the_declared_one() {
    use crate::types::Kind;
    let declared = [
        ("at".to_owned(), Kind::parse("timestamp_us").unwrap()),
        ("n".to_owned(), Kind::parse("decimal").unwrap()),
        ("days".to_owned(), Kind::parse("array(date)").unwrap()),
    ];
    let schemas = schemas(&[&row_of("int64 at = 1; string n = 2; repeated int32 days = 3; uint64 u = 4;")]);
    let datum = [int(1, 1_000_000), part(2, "1.5"), part(3, [1]), int(4, u64::MAX)].concat();
    let value = framed(1, &datum);
    let mut decoder = Decoder::new(Format::Rows);
    let whole = record(None, Some(&value));
    let Ok(Decoded::Changes(changes)) = decoder.decode_with(&whole, &schemas) else { panic!("no change") };
    let mut row = changes[0].after.clone().unwrap();
    row.declared = &declared;
    let mut out = Vec::new();
    for (_, cell) in row.cells() {
        let Cell::Present(typed) = cell else { panic!("{cell:?}") };
        render_json(typed, RenderStyle::default(), &mut out).unwrap();
    }
    let found = String::from_utf8(out).unwrap();
    assert_eq!(found, r#""1970-01-01T00:00:01""1.5"["1970-01-02"]18446744073709551615"#);
}

#[test]
fn lists_and_maps_are_joined_from_wherever_they_stand() {
    let entry = |key: Vec<u8>, value: Vec<u8>| part(1, [key, value].concat());
    for (field, datum, expected) in [
        // Packed, one by one, and another field in between.
        ("repeated int32 a = 1; int32 b = 2;", [part(1, [1, 2]), int(2, 9), int(1, 3)].concat(), "[1,2,3] 9"),
        ("repeated double a = 1 [packed = false];", part(1, 1.5_f64.to_le_bytes()), "[1.5]"),
        ("repeated string a = 1;", [part(1, "x"), part(1, "")].concat(), r#"["x",""]"#),
        ("repeated bytes a = 1;", part(1, [255]), r#"["/w=="]"#),
        ("repeated Level a = 1;", part(1, [0, 5]), r#"["LOW","HIGH"]"#),
        ("repeated uint64 a = 1;", part(1, varint(u64::MAX)), "[18446744073709551615]"),
        ("repeated google.protobuf.Int32Value a = 1;", [part(1, int(1, 3)), part(1, [])].concat(), "[3,0]"),
        (
            "map<string, Home> a = 1;",
            [
                entry(part(1, "k"), part(2, part(1, "s"))),
                entry(part(1, "l"), vec![]),
                entry(part(1, "k"), part(2, part(1, "t"))),
            ]
            .concat(),
            r#"{"k":{"street":"t","zip":null},"l":{"street":"","zip":null}}"#,
        ),
        ("map<int32, int64> a = 1;", entry(int(1, 7), int(2, 1)), "[[7,1]]"),
        ("map<bool, string> a = 1;", entry(vec![], part(2, "x")), "[[false,\"x\"]]"),
        (
            "Tree a = 1;",
            part(1, [int(1, 1), part(2, [int(1, 2)].concat())].concat()),
            r#"{"v":1,"next":[{"v":2,"next":[]}]}"#,
        ),
        // A message that stands twice is merged.
        ("Home a = 1;", [part(1, part(1, "s")), part(1, int(2, 3))].concat(), r#"{"street":"s","zip":3}"#),
        // Unknown fields of each wire type, a group among them.
        (
            "int32 a = 1;",
            [int(9, 1), part(9, "x"), vec![0x4d, 1, 2, 3, 4], vec![0x4b, 0x08, 1, 0x4c], int(1, 3)].concat(),
            "3",
        ),
    ] {
        assert_eq!(rendered(&row_of(field), &datum), expected, "{field}");
    }
}

#[test]
fn columns_keep_the_order_of_the_text_and_the_placeholder_is_known() {
    assert_eq!(rendered(&row_of("int32 b = 2; int32 a = 1;"), &[int(1, 1), int(2, 2)].concat()), "2 1");
    for (field, datum) in [
        ("string a = 1;", part(1, "__debezium_unavailable_value")),
        ("bytes a = 1;", part(1, "__debezium_unavailable_value")),
        ("repeated string a = 1;", part(1, "__debezium_unavailable_value")),
        ("google.protobuf.StringValue a = 1;", part(1, part(1, "__debezium_unavailable_value"))),
    ] {
        assert_eq!(rendered(&row_of(field), &datum), "unavailable", "{field}");
    }
}

#[test]
fn flattened_rows_lose_the_columns_that_flattening_added() {
    let flat = r#"syntax = "proto3"; message Value { int32 id = 1; string __op = 2; string __deleted = 3; int64 __lsn = 4; string __table = 5; }"#;
    for (op, deleted, expected) in
        [("u", "false", "u a(id=7)"), ("d", "true", "d b(id=7)"), ("", "", "u a(id=7)")]
    {
        let told = [part(2, op), part(3, deleted)].concat();
        let datum = if op.is_empty() { int(1, 7) } else { [int(1, 7), told].concat() };
        assert_eq!(see(&[flat], Format::Auto, None, Some((1, &datum))), expected);
        assert_eq!(see(&[flat], Format::Flattened, None, Some((1, &datum))), expected);
        let found = see(&[flat], Format::Rows, None, Some((1, &datum)));
        assert!(found.starts_with("error format: the value looks like a flattened row"), "{found}");
    }
}

#[test]
fn what_is_beside_changes_is_ignored_and_bare_values_name_nothing() {
    let heartbeat =
        r#"syntax = "proto3"; package io.debezium.connector.common; message Heartbeat { int64 ts_ms = 1; }"#;
    assert_eq!(see(&[heartbeat], Format::Auto, None, Some((1, &int(1, 2)))), "ignored heartbeat");
    let bare = r#"syntax = "proto3"; package google.protobuf; message Int64Value { int64 value = 1; }"#;
    let found = see(&[bare], Format::Auto, None, Some((1, &int(1, 2))));
    assert!(found.starts_with("error format: the value's Protobuf message stands for one value"), "{found}");
    let found = see(&[bare], Format::Auto, Some((1, &int(1, 2))), None);
    assert!(found.starts_with("error key: a null value deletes by the record key"), "{found}");
}

#[test]
fn what_is_no_datum_says_where() {
    let nested = |depth: usize| (0..depth).fold(Vec::new(), |inner, _| part(2, inner));
    for (field, datum, expected) in [
        ("string a = 1;", vec![10, 2, b'x'], "at byte 2: a length reaches beyond what it stands in"),
        ("string a = 1;", vec![10, 1, 0xff], "at byte 2: expected a text in UTF-8"),
        ("int32 a = 1;", vec![8, 0x80], "at byte 2: expected a number, and the record ends within it"),
        ("int32 a = 1;", part(1, "x"), "at byte 1: expected the wire type of a varint"),
        ("string a = 1;", int(1, 2), "at byte 1: expected the wire type of bytes behind a length"),
        ("int32 a = 1;", vec![12], "at byte 1: expected the wire type of a varint"),
        ("int32 a = 1;", vec![0, 1], "at byte 1: expected a field's number and wire type"),
        ("int32 a = 1;", vec![0x14], "at byte 2: the end of a group that was not begun"),
        ("repeated fixed32 a = 1;", part(1, [1, 2, 3, 4, 5]), "at byte 7: expected the 4 bytes of a number"),
        ("Home a = 1;", part(1, [10, 9]), "at byte 4: a length reaches beyond what it stands in"),
        ("Tree a = 1;", part(1, nested(100)), "values nested too deeply"),
    ] {
        let found = rendered(&row_of(field), &datum);
        assert!(
            found.starts_with("error protobuf: the value is not what its Protobuf schema says at byte")
                && found.ends_with(expected),
            "{field}: {found}"
        );
    }
}

#[test]
fn schemas_that_cannot_be_read_are_the_error_of_each_record() {
    let found = see(&["message {"], Format::Auto, None, Some((1, &[])));
    assert!(
        found.starts_with(
            "error schema: schema id 1 is no Protobuf schema that can be read: it is no .proto text at line 1"
        ),
        "{found}"
    );
    let found = see(&["syntax = \"proto3\"; enum E { A = 0; }"], Format::Auto, None, Some((1, &[])));
    assert!(found.ends_with("at byte 0: the schema has no message"), "{found}");
}
