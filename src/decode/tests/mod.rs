//! Rules of the decoders, over events written after the connectors' documentation.

use std::fmt::Write as _;

mod arbitrary;
mod formats;
mod same_row;
mod schema;

use super::*;
use crate::change::{Belief, Cell, Connector, Row};
use crate::record::NoHeaders;
use crate::types::{Raw, Typed};

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

fn record<'a>(key: Option<&'a str>, value: Option<&'a str>) -> Record<'a> {
    Record {
        topic: "shop.public.users",
        partition: 0,
        offset: 7,
        timestamp_ms: None,
        key: key.map(str::as_bytes),
        value: value.map(str::as_bytes),
        headers: &NoHeaders,
    }
}

fn row(row: &Row<'_>) -> String {
    let cells = row.cells().map(|(name, cell)| match cell {
        Cell::Present(Typed { raw: Raw::Json(token), .. }) => format!("{name}={token}"),
        Cell::Present(Typed { raw: Raw::Int(number), .. }) => format!("{name}={number}"),
        Cell::Present(Typed { raw: Raw::Text(text), .. }) => format!("{name}={text}"),
        Cell::Null => format!("{name}:null"),
        Cell::Unavailable => format!("{name}:unavailable"),
        other => format!("{name}:{other:?}"),
    });
    format!("({})", cells.collect::<Vec<_>>().join(" "))
}

/// One line that tells what came of a record: `u k(id=7) b(…) a(…)`, `ignored heartbeat`, `error op: …`.
pub(super) fn told(decoded: &Result<Decoded<'_>, DecodeError>) -> String {
    let changes = match decoded {
        Ok(Decoded::Changes(changes)) => changes,
        Ok(Decoded::Ignored(ignored)) => return format!("ignored {}", ignored.as_str()),
        Err(error) => return format!("error {}: {}", error.kind, error.detail),
    };
    let mut line = String::new();
    for change in changes {
        line += if change.tombstone { "tombstone" } else { change.op.letter() };
        for (name, image) in [("k", &change.key), ("b", &change.before), ("a", &change.after)] {
            if let Some(image) = image {
                write!(line, " {name}{}", row(image)).unwrap();
            }
        }
    }
    line
}

fn see(format: Format, key: Option<&str>, value: Option<&str>) -> String {
    told(&Decoder::new(format).decode(&record(key, value)))
}

fn with_change<T>(format: Format, key: &str, value: &str, look: impl FnOnce(&Change<'_>) -> T) -> T {
    let mut decoder = Decoder::new(format);
    match decoder.decode(&record(Some(key), Some(value))) {
        Ok(Decoded::Changes(changes)) => look(&changes[0]),
        other => panic!("no change: {}", told(&other)),
    }
}

const SOURCE: &str = r#"{"version":"3.7.0.Final","connector":"postgresql","name":"app","ts_ms":1709209800123,"snapshot":"false","db":"shop","sequence":"[\"24023000\",\"24023128\"]","schema":"public","table":"users","txId":571,"lsn":24023128,"xmin":null}"#;

fn envelope(op: &str, before: &str, after: &str) -> String {
    format!(
        r#"{{"before":{before},"after":{after},"source":{SOURCE},"transaction":null,"op":"{op}","ts_ms":1709209800200}}"#
    )
}

#[test]
fn each_op_of_an_envelope_is_its_change() {
    for (op, before, after, expected) in [
        ("c", "null", r#"{"id":7,"name":"Ann"}"#, r#"c k(id=7) a(id=7 name="Ann")"#),
        ("r", "null", r#"{"id":7,"name":null}"#, "r k(id=7) a(id=7 name:null)"),
        (
            "u",
            r#"{"id":7}"#,
            r#"{"id":7,"big":9007199254740993}"#,
            "u k(id=7) b(id=7) a(id=7 big=9007199254740993)",
        ),
        (
            "u",
            "null",
            r#"{"id":7,"bio":"__debezium_unavailable_value"}"#,
            "u k(id=7) a(id=7 bio:unavailable)",
        ),
        ("U", "null", r#"{"id":7}"#, "u k(id=7) a(id=7)"),
        ("d", r#"{"id":7,"name":""}"#, "null", r#"d k(id=7) b(id=7 name="")"#),
        ("d", "null", "null", "d k(id=7)"),
        ("t", "null", "null", "t"),
        ("m", "null", "null", "ignored message"),
        ("x", "null", "null", r#"error op: unknown op "x"; known are c, u, d, r, t and m"#),
        (
            "secret text",
            "null",
            "null",
            "error op: unknown op, a text of 11 bytes; known are c, u, d, r, t and m",
        ),
        ("u", r#"{"id":7}"#, "null", r#"error envelope: op "u" without an after row"#),
    ] {
        for format in [Format::Auto, Format::Debezium] {
            let value = envelope(op, before, after);
            assert_eq!(see(format, Some(r#"{"id":7}"#), Some(&value)), expected, "{op} as {format:?}");
        }
    }
}

#[test]
fn an_envelope_is_one_in_any_order_of_its_members() {
    for value in [
        r#"{"op":"d","before":null,"after":null}"#,
        r#"{"added":1,"op":"d","ts_ms":5,"source":{"connector":"mysql"}}"#,
        r#"{"added":1,"ts_ms":5,"after":null,"op":"d","before":{}}"#,
    ] {
        for format in [Format::Auto, Format::Debezium] {
            let found = see(format, Some(r#"{"id":7}"#), Some(value));
            assert!(found.starts_with("d k(id=7)"), "{value} as {format:?}: {found}");
        }
        let found = see(Format::Rows, Some(r#"{"id":7}"#), Some(value));
        assert!(found.contains("looks like a Debezium envelope"), "{value}: {found}");
    }
}

#[test]
fn the_source_block_tells_table_time_position_and_belief() {
    with_change(Format::Auto, r#"{"id":7}"#, &envelope("c", "null", r#"{"id":7}"#), |change| {
        let table = change.table.as_ref().unwrap();
        assert_eq!(
            (table.database.as_deref(), table.schema.as_deref(), &*table.table),
            (Some("shop"), Some("public"), "users")
        );
        assert_eq!(change.commit_ms, Some(1_709_209_800_123));
        assert_eq!(change.version.as_ref().unwrap().to_string(), "00000000016e8fd800000000016e9058");
        assert_eq!((change.connector, change.belief), (Connector::Postgres, Belief::KeyColumns));
        assert_eq!(change.source, Some(SOURCE));
    });
    for (source, connector, belief, table) in [
        (
            r#"{"connector":"mysql","db":"shop","table":"t"}"#,
            Connector::Other,
            Belief::Whole,
            "Some(shop).None.t",
        ),
        (
            r#"{"connector":"mongodb","db":"shop","collection":"c"}"#,
            Connector::Other,
            Belief::Whole,
            "Some(shop).None.c",
        ),
        (
            r#"{"connector":"sqlserver","db":"","schema":"dbo","table":"t\u00e9"}"#,
            Connector::Other,
            Belief::Whole,
            "None.Some(dbo).té",
        ),
        (r#"{}"#, Connector::Unknown, Belief::KeyColumns, "-"),
    ] {
        let value = format!(r#"{{"op":"c","after":{{"id":1}},"source":{source}}}"#);
        with_change(Format::Auto, "{\"id\":1}", &value, |change| {
            assert_eq!((change.connector, change.belief), (connector, belief), "{source}");
            let found = change.table.as_ref().map_or("-".to_owned(), |name| {
                let part = |part: &Option<std::borrow::Cow<'_, str>>| match part {
                    Some(part) => format!("Some({part})"),
                    None => "None".to_owned(),
                };
                format!("{}.{}.{}", part(&name.database), part(&name.schema), name.table)
            });
            assert_eq!(found, table, "{source}");
        });
    }
}

#[test]
fn a_tombstone_is_a_delete_by_key_in_all_its_spellings() {
    let bare = r#"{"id":7}"#;
    let typed = r#"{"schema":{"type":"struct","fields":[{"type":"int64","field":"id"}]},"payload":{"id":7}}"#;
    let wrapped = r#"{"schema":{"type":"struct","optional":true,"fields":[]},"payload":null}"#;
    for format in FORMATS {
        for key in [bare, typed] {
            for value in [None, Some("null"), Some(" null\n"), Some(wrapped)] {
                assert_eq!(see(format, Some(key), value), "tombstone k(id=7)", "{value:?} as {format:?}");
            }
        }
        for value in [None, Some("null"), Some(wrapped)] {
            for key in [None, Some("null"), Some(r#"{"schema":null,"payload":null}"#)] {
                assert_eq!(see(format, key, value), "ignored empty", "{key:?}, {value:?} as {format:?}");
            }
            for key in ["7", "\"seven\"", "seven", "[7]", "{}", "", "\u{1}"] {
                let found = see(format, Some(key), value);
                assert!(
                    found.starts_with("error key: a null value deletes by the record key"),
                    "{key}: {found}"
                );
            }
        }
        assert!(see(format, Some(bare), Some("")).starts_with("error empty: "), "{format:?}");
    }
}

#[test]
fn key_and_value_are_told_apart_from_each_other() {
    let value = r#"{"id":7}"#;
    let typed = r#"{"schema":{"type":"struct","fields":[{"type":"int64","field":"id"}]},"payload":{"id":7}}"#;
    for (key, expected) in [
        (r#"{"id":7}"#, " k(id=7)"),
        (typed, " k(id=7)"),
        (r#"{"schema":{"type":"int64"},"payload":7}"#, ""),
        (r#"{"id":7,"__dbz__physicalTableIdentifier":"users_1"}"#, " k(id=7)"),
        ("7", ""),
        ("Struct{id=7}", ""),
        ("\0\0\0\0\0\0\0\u{7}", ""),
        ("null", ""),
    ] {
        for value in [value, typed] {
            assert_eq!(see(Format::Rows, Some(key), Some(value)), format!("u{expected} a(id=7)"), "{key}");
        }
    }
    let broken = see(Format::Auto, Some(r#"{"id":7"#), Some(value));
    assert_eq!(
        broken,
        "error key: the key is not JSON at byte 7: expected a comma or the end of the object or array"
    );
}

#[test]
fn records_beside_the_changes_are_known_by_shape() {
    let heartbeat = (Some(r#"{"serverName":"app"}"#), r#"{"ts_ms":1709209800123}"#, "heartbeat");
    let begin = (
        Some(r#"{"id":"571:24023128"}"#),
        r#"{"status":"BEGIN","id":"571:24023128","event_count":null,"data_collections":null,"ts_ms":1}"#,
        "transaction",
    );
    let ddl = (
        Some(r#"{"databaseName":"inv"}"#),
        r#"{"source":{"connector":"mysql"},"ts_ms":1,"databaseName":"inv","schemaName":null,"ddl":"CREATE TABLE t (id INT)","tableChanges":[]}"#,
        "schema_change",
    );
    let notification = (
        None,
        r#"{"id":"d4","aggregate_type":"Initial Snapshot","type":"STARTED","additional_data":{},"timestamp":1}"#,
        "message",
    );
    let message = (
        Some(r#"{"prefix":"p"}"#),
        r#"{"op":"m","ts_ms":1,"source":{"connector":"postgresql"},"message":{"prefix":"p","content":"aGk="}}"#,
        "message",
    );
    for format in FORMATS {
        for (key, value, expected) in [heartbeat, begin, ddl, notification, message] {
            assert_eq!(see(format, key, Some(value)), format!("ignored {expected}"), "as {format:?}");
            let typed = format!(r#"{{"schema":{{"type":"struct","fields":[]}},"payload":{value}}}"#);
            assert_eq!(see(format, key, Some(&typed)), format!("ignored {expected}"), "typed as {format:?}");
        }
    }
}

#[test]
fn rows_that_resemble_them_stay_rows() {
    for value in [
        r#"{"ts_ms":5}"#,
        r#"{"status":"BEGIN","id":3}"#,
        r#"{"id":1,"op":"x","source":"web"}"#,
        r#"{"op":"pay","source":"web","after":"tax"}"#,
        r#"{"schema":"public","payload":"x"}"#,
        r#"{"schema":{"type":7},"payload":{"id":1}}"#,
        r#"{"schema":{"type":"struct"},"payload":{"id":1},"id":1}"#,
        r#"{"payload":{"id":1}}"#,
        r#"{"databaseName":"a","ddl":"b"}"#,
        r#"{"id":1,"op":"x","after":null}"#,
        r#"{"type":"a","database":"b","table":"c"}"#,
    ] {
        let found = see(Format::Auto, Some(r#"{"id":1}"#), Some(value));
        assert!(found.starts_with("u k(id=1) a("), "{value}: {found}");
    }
}

#[test]
fn flattened_rows_in_all_delete_modes() {
    let extra = r#""__table":"users","__lsn":24023128,"__source_ts_ms":1709209800123,"__ts_ms":5"#;
    for (value, expected) in [
        (r#"{"id":7,"name":"Ann"}"#.to_owned(), r#"u k(id=7) a(id=7 name="Ann")"#),
        (r#"{"id":7,"__deleted":"false"}"#.to_owned(), "u k(id=7) a(id=7)"),
        (r#"{"id":7,"__deleted":"true"}"#.to_owned(), "d k(id=7) b(id=7)"),
        (r#"{"id":7,"__deleted":true}"#.to_owned(), "d k(id=7) b(id=7)"),
        (r#"{"id":7,"__deleted":null}"#.to_owned(), "u k(id=7) a(id=7)"),
        (format!(r#"{{"id":7,"__deleted":"true","__op":"d",{extra}}}"#), "d k(id=7) b(id=7)"),
        (format!(r#"{{"id":7,"__op":"d",{extra}}}"#), "d k(id=7) b(id=7)"),
        (format!(r#"{{"id":7,"__op":"r",{extra}}}"#), "r k(id=7) a(id=7)"),
        (format!(r#"{{"id":7,"__op":"c","__mine":1,{extra}}}"#), "c k(id=7) a(id=7 __mine=1)"),
        (r#"{"id":7,"__op":"z"}"#.to_owned(), r#"error op: unknown op "z"; known are c, u, d, r, t and m"#),
        (r#"{"id":7,"__deleted":"yes"}"#.to_owned(), r#"error op: __deleted is neither "true" nor "false""#),
    ] {
        for format in [Format::Auto, Format::Flattened] {
            assert_eq!(see(format, Some(r#"{"id":7}"#), Some(&value)), expected, "{value} as {format:?}");
        }
    }
    let value = format!(r#"{{"id":7,"__op":"u",{extra}}}"#);
    with_change(Format::Flattened, r#"{"id":7}"#, &value, |change| {
        assert_eq!(&*change.table.as_ref().unwrap().table, "users");
        assert_eq!(change.commit_ms, Some(1_709_209_800_123));
        assert_eq!(change.version, Some(crate::version::Version::from_parts(&[24_023_128, 24_023_128])));
        assert_eq!((change.connector, change.belief), (Connector::Unknown, Belief::KeyColumns));
    });
    let incremental = r#"{"id":7,"__op":"r","__lsn":null,"__source_sequence":"[\"32065368\",\"32064856\"]"}"#;
    with_change(Format::Flattened, r#"{"id":7}"#, incremental, |change| {
        assert_eq!(change.version, Some(crate::version::Version::NONE));
    });
}

#[test]
fn other_formats_are_named_and_never_pass_for_rows() {
    for (value, looks) in [
        (r#"{"message":{"data":{"id":1},"headers":{"operation":"INSERT"}}}"#, "Qlik Replicate"),
        ("\u{3}\0abc", "AWS Glue"),
        ("Obj\u{1}", "an Avro container"),
    ] {
        let found = see(Format::Auto, Some(r#"{"id":1}"#), Some(value));
        assert!(
            found.starts_with(&format!("error format: the value looks like {looks}")),
            "{value}: {found}"
        );
        assert!(found.ends_with("which is not built yet"), "{found}");
    }
}

#[test]
fn a_registry_s_framing_without_a_registry_says_so() {
    for value in ["\0\0\0\0\u{7}\u{2}", "\u{1}0123456789abcdef"] {
        let found = see(Format::Auto, None, Some(value));
        assert!(found.ends_with("no registry is named: set [registry] url"), "{found}");
    }
}

#[test]
fn a_configured_format_refuses_another_ones_shape() {
    let (envelope, flat, plain) = (
        envelope("c", "null", r#"{"id":7}"#),
        r#"{"id":7,"__deleted":"false"}"#.to_owned(),
        r#"{"id":7}"#.to_owned(),
    );
    for (format, value, looks) in [
        (Format::Rows, &envelope, "a Debezium envelope; the entity says format = \"rows\""),
        (Format::Flattened, &envelope, "a Debezium envelope; the entity says format = \"flattened\""),
        (Format::Rows, &flat, "a flattened row; the entity says format = \"rows\""),
        (Format::Debezium, &flat, "a flattened row; the entity says format = \"debezium\""),
        (Format::Debezium, &plain, "a plain row; the entity says format = \"debezium\""),
    ] {
        let found = see(format, None, Some(value));
        assert_eq!(found, format!("error format: the value looks like {looks}"));
    }
}

#[test]
fn text_around_the_document_and_in_names() {
    let expected = r#"u a(name="x")"#;
    for value in [
        "\u{feff}{\"name\":\"x\"}",
        " \t\r\n{ \"name\" : \"x\" }\n",
        r#"{"n\u0061me":"x"}"#,
        r#"{"name":1,"name":"x"}"#,
    ] {
        assert_eq!(see(Format::Auto, None, Some(value)), expected, "{value}");
    }
    for (value, at) in
        [("{\"name\":\"x\"}\0", 12), ("{\"name\":\"x\"} {}", 13), ("\u{feff}{\"name\"}", 10), ("{", 1)]
    {
        let found = see(Format::Auto, None, Some(value));
        assert!(found.starts_with(&format!("error json: the value is not JSON at byte {at}: ")), "{found}");
    }
    let mut decoder = Decoder::new(Format::Auto);
    let broken = Record { value: Some(b"{\"a\":\"\xff\"}"), ..record(None, None) };
    assert_eq!(told(&decoder.decode(&broken)), "error json: the value is not UTF-8 at byte 6");
}

#[test]
fn where_a_name_repeats_the_last_one_counts_in_rows_of_any_width() {
    for width in [3, 40, 500] {
        let mut members: Vec<String> = (0..width).map(|index| format!(r#""c{index}":{index}"#)).collect();
        members.push(r#""c1":"last""#.to_owned());
        let value = format!("{{{}}}", members.join(","));
        with_change(Format::Rows, "{\"c0\":0}", &value, |change| {
            let row = change.after.as_ref().unwrap();
            assert_eq!(row.columns.len(), width);
            assert_eq!(row.cell("c1"), Cell::json("\"last\""));
        });
    }
}

#[test]
fn json_that_is_no_object_is_said() {
    for value in [r#"[{"id":1}]"#, r#""[]""#, "7", "true"] {
        for format in FORMATS {
            let found = see(format, Some(r#"{"id":1}"#), Some(value));
            assert!(found.starts_with("error format: the value is JSON but no object"), "{value}: {found}");
        }
    }
}
