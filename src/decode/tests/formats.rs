//! The documented samples of each format, and what a reader easily gets wrong of them.

use super::*;
use crate::change::Routing;
use crate::types::{RenderStyle, render_json};

/// Format, record key, value, and what comes of it under `auto` and under the format itself.
pub(super) const SAMPLES: &[(Format, Option<&str>, &str, &str)] = &[
    // Maxwell: https://maxwells-daemon.io/dataformat/
    (
        Format::Maxwell,
        Some(r#"{"database":"shop","table":"users","pk.id":7}"#),
        r#"{"database":"shop","table":"users","type":"update","ts":1709209800,"xid":23396,"commit":true,"data":{"id":7,"name":"Ann","tags":["a","b"],"pic":"AAEC"},"old":{"name":"An"}}"#,
        r#"u k(id=7) b(id=7 name="An" tags=["a","b"] pic="AAEC") a(id=7 name="Ann" tags=["a","b"] pic="AAEC")"#,
    ),
    (
        Format::Maxwell,
        Some(r#"{"database":"shop","table":"users","pk.id":8}"#),
        r#"{"database":"shop","table":"users","type":"update","ts":1,"xid":2,"xoffset":0,"data":{"id":8,"name":"Ann"},"old":{"id":7}}"#,
        r#"u k(id=8) b(id=7 name="Ann") a(id=8 name="Ann")"#,
    ),
    (
        Format::Maxwell,
        None,
        r#"{"database":"shop","table":"users","type":"delete","ts":1,"xid":2,"primary_key_columns":["id"],"data":{"id":7,"name":"Ann"}}"#,
        r#"d k(id=7) b(id=7 name="Ann")"#,
    ),
    (
        Format::Maxwell,
        Some(r#"{"database":"shop","table":"log","_uuid":"a-b"}"#),
        r#"{"database":"shop","table":"log","type":"insert","ts":1,"xid":2,"data":{"line":"x"}}"#,
        r#"c a(line="x")"#,
    ),
    (
        Format::Maxwell,
        None,
        r#"{"database":"shop","table":"users","type":"bootstrap-insert","ts":1,"data":{"id":7}}"#,
        "r a(id=7)",
    ),
    (
        Format::Maxwell,
        None,
        r#"{"database":"shop","table":"users","type":"bootstrap-start","ts":1,"data":{}}"#,
        "ignored message",
    ),
    (
        Format::Maxwell,
        None,
        r#"{"type":"table-alter","database":"shop","table":"users","old":{},"def":{},"ts":1709209800123,"sql":"ALTER"}"#,
        "ignored schema_change",
    ),
    // Canal's flat messages.
    (
        Format::Canal,
        None,
        r#"{"id":12,"database":"shop","table":"users","pkNames":["id"],"isDdl":false,"type":"UPDATE","es":1709209800000,"ts":1709209800321,"sql":"","sqlType":{"id":-5,"name":12},"mysqlType":{"id":"bigint(20)","name":"varchar(64)"},"data":[{"id":"7","name":"Ann"},{"id":"9","name":null},{"id":"8","name":"Cy"}],"old":[{"name":"An"},{"name":"Bo"},{"id":"5"}],"gtid":""}"#,
        r#"u k(id="7") b(id="7" name="An") a(id="7" name="Ann")u k(id="9") b(id="9" name="Bo") a(id="9" name:null)u k(id="8") b(id="5" name="Cy") a(id="8" name="Cy")"#,
    ),
    (
        Format::Canal,
        None,
        r#"{"database":"shop","table":"users","pkNames":["id"],"isDdl":false,"type":"DELETE","es":1,"data":[{"id":"7"}],"old":null}"#,
        r#"d k(id="7") b(id="7")"#,
    ),
    (
        Format::Canal,
        None,
        r#"{"database":"shop","table":"users","pkNames":null,"isDdl":true,"type":"TRUNCATE","es":1,"data":null,"old":null,"sql":"truncate table users"}"#,
        "t",
    ),
    (
        Format::Canal,
        None,
        r#"{"database":"","table":"","pkNames":null,"isDdl":true,"type":"QUERY","es":1,"data":null,"sql":"create user"}"#,
        "ignored schema_change",
    ),
    // TiCDC.
    (
        Format::Ticdc,
        None,
        r#"{"id":0,"database":"d","table":"t","pkNames":["id"],"isDdl":false,"type":"INSERT","es":1,"ts":2,"sql":"","mysqlType":{"id":"int unsigned"},"data":[{"id":"7"}],"old":null,"_tidb":{"commitTs":429918007904436226}}"#,
        r#"c k(id="7") a(id="7")"#,
    ),
    (
        Format::Ticdc,
        None,
        r#"{"id":0,"database":"","table":"","pkNames":null,"isDdl":false,"type":"TIDB_WATERMARK","es":1,"ts":2,"data":null,"old":null,"_tidb":{"watermarkTs":429918007904436226}}"#,
        "ignored watermark",
    ),
    (
        Format::Ticdc,
        None,
        r#"{"version":1,"database":"d","table":"t","tableID":1,"type":"UPDATE","commitTs":429918007904436226,"buildTs":1,"schemaVersion":1,"data":{"id":"7","n":"b"},"old":{"id":"7","n":"a"}}"#,
        r#"u b(id="7" n="a") a(id="7" n="b")"#,
    ),
    (
        Format::Ticdc,
        None,
        r#"{"version":1,"type":"WATERMARK","commitTs":5,"buildTs":6}"#,
        "ignored watermark",
    ),
    // Oracle GoldenGate.
    (
        Format::Ogg,
        Some("OWNER.USERS"),
        r#"{"table":"OWNER.USERS","op_type":"U","op_ts":"2024-02-29 12:30:00.123456","current_ts":"2024-02-29T12:30:01.000000","pos":"00000000020000004576","primary_keys":["ID"],"tokens":{},"before":{"ID":"7","NAME":"An"},"after":{"ID":"7","NAME":"Ann"}}"#,
        r#"u k(ID="7") b(ID="7" NAME="An") a(ID="7" NAME="Ann")"#,
    ),
    (
        Format::Ogg,
        None,
        r#"{"table":"O.T","op_type":"D","pos":"00000000020000004577","primary_keys":["ID"],"before":{"ID":7}}"#,
        "d k(ID=7) b(ID=7)",
    ),
    (
        Format::Ogg,
        None,
        r#"{"table":"O.T","op_type":"I","op_ts":"x","pos":"00000000020000004577","ID":7,"NAME":"Ann"}"#,
        r#"c a(ID=7 NAME="Ann")"#,
    ),
    (Format::Ogg, None, r#"{"table":"O.T","op_type":"T","pos":"00000000020000004578"}"#, "t"),
    // AWS DMS, indented with tabs and without null columns.
    (
        Format::Dms,
        Some("public.users"),
        "{\n\t\"data\":\t{\n\t\t\"id\":\t8,\n\t\t\"name\":\t\"Ann\"\n\t},\n\t\"before-image\":\t{\n\t\t\"id\":\t6\n\t},\n\t\"metadata\":\t{\n\t\t\"timestamp\":\t\"2024-02-29T12:30:00.123456Z\",\n\t\t\"record-type\":\t\"data\",\n\t\t\"operation\":\t\"update\",\n\t\t\"schema-name\":\t\"public\",\n\t\t\"table-name\":\t\"users\",\n\t\t\"transaction-id\":\t47330445004,\n\t\t\"transaction-record-id\":\t2\n\t}\n}",
        r#"u b(id=6 name="Ann") a(id=8 name="Ann")"#,
    ),
    (
        Format::Dms,
        None,
        r#"{"metadata":{"timestamp":"2024-02-29T12:30:00Z","record-type":"control","operation":"create-table","schema-name":"public","table-name":"users"},"control":{"table-def":{}}}"#,
        "ignored schema_change",
    ),
    // CockroachDB's changefeeds.
    (
        Format::Cockroach,
        Some("[7]"),
        r#"{"after":{"id":7,"n":9007199254740993},"before":{"id":7,"n":1},"updated":"1709209800123456789.0000000001"}"#,
        "u b(id=7 n=1) a(id=7 n=9007199254740993)",
    ),
    (Format::Cockroach, Some("[7]"), r#"{"after":null,"updated":"1709209800123456789.0000000002"}"#, "d"),
    (Format::Cockroach, None, r#"{"resolved":"1709209800123456789.0000000000"}"#, "ignored watermark"),
    (
        Format::Cockroach,
        Some("[7]"),
        r#"{"id":7,"__crdb__":{"key":[7],"updated":"1709209800123456789.0000000000"}}"#,
        "u a(id=7)",
    ),
    // Sequin.
    (
        Format::Sequin,
        Some("7"),
        r#"{"record":{"id":8,"name":"Ann"},"changes":{"id":7},"action":"update","metadata":{"table_schema":"public","table_name":"users","commit_timestamp":"2024-02-29T12:30:00Z","commit_lsn":24023128,"commit_idx":3}}"#,
        r#"u b(id=7 name="Ann") a(id=8 name="Ann")"#,
    ),
    (
        Format::Sequin,
        Some("7"),
        r#"{"record":{"id":8},"changes":null,"action":"delete","metadata":{"table_name":"users"}}"#,
        "d b(id=8)",
    ),
    // MongoDB's Kafka connector; the second as its JSON text in JSON.
    (
        Format::Mongo,
        Some(r#"{"_id":{"_data":"8265"}}"#),
        r#"{"_id":{"_data":"8265"},"operationType":"replace","clusterTime":{"$timestamp":{"t":1709209800,"i":3}},"fullDocument":{"_id":{"$oid":"5f43a1b2c3d4e5f6a7b8c9d0"},"n":{"$numberLong":"5"}},"ns":{"db":"shop","coll":"users"},"documentKey":{"_id":{"$oid":"5f43a1b2c3d4e5f6a7b8c9d0"}}}"#,
        r#"u k(_id="5f43a1b2c3d4e5f6a7b8c9d0") a(_id="5f43a1b2c3d4e5f6a7b8c9d0" n="5")"#,
    ),
    (
        Format::Mongo,
        None,
        r#""{\"_id\":{},\"operationType\":\"delete\",\"ns\":{\"db\":\"shop\",\"coll\":\"users\"},\"documentKey\":{\"_id\":7}}""#,
        "d k(_id=7)",
    ),
    (
        Format::Mongo,
        None,
        r#"{"_id":{},"operationType":"update","ns":{"db":"shop","coll":"users"},"documentKey":{"_id":"a"},"updateDescription":{"updatedFields":{"n":1}}}"#,
        r#"d k(_id="a")"#,
    ),
    // Debezium's MongoDB connector: documents as text, an update whose document is gone.
    (
        Format::Mongo,
        Some(r#"{"id":"{\"$oid\":\"5f43\"}"}"#),
        r#"{"before":null,"after":"{\"_id\":{\"$oid\":\"5f43\"},\"n\":{\"$numberLong\":\"5\"}}","source":{"connector":"mongodb","ts_ms":1709209800000,"db":"shop","collection":"users","ord":3},"op":"c"}"#,
        r#"c k(_id="5f43") a(_id="5f43" n="5")"#,
    ),
    (
        Format::Mongo,
        Some(r#"{"id":"\"7\""}"#),
        r#"{"before":null,"after":null,"source":{"connector":"mongodb","ts_ms":1709209800000,"db":"shop","collection":"users","ord":3},"op":"u"}"#,
        r#"d k(_id="7")"#,
    ),
    (
        Format::Mongo,
        Some(r#"{"id":"7"}"#),
        r#"{"before":null,"after":null,"source":{"connector":"mongodb","ts_ms":1709209800000,"db":"shop","collection":"users","ord":3},"op":"d"}"#,
        "d k(_id=7)",
    ),
    // Debezium's CloudEvents, with and without a schema in their data.
    (
        Format::Debezium,
        Some(r#"{"id":7}"#),
        r#"{"id":"name:app;lsn:29274832;txId:565","source":"/debezium/postgresql/app","specversion":"1.0","type":"io.debezium.connector.postgresql.DataChangeEvent","time":"2024-02-29T12:30:00Z","datacontenttype":"application/json","iodebeziumop":"u","iodebeziumconnector":"postgresql","iodebeziumtable":"users","iodebeziumschema":"public","iodebeziumtsms":"1709209800123","iodebeziumlsn":"29274832","data":{"before":null,"after":{"id":7}}}"#,
        "u k(id=7) a(id=7)",
    ),
    (
        Format::Debezium,
        Some(r#"{"id":7}"#),
        r#"{"id":"a","source":"/debezium/mysql/app","specversion":"1.0","type":"io.debezium.connector.mysql.DataChangeEvent","iodebeziumop":"c","data":{"schema":{"type":"struct","fields":[{"type":"struct","field":"after","fields":[{"type":"int64","field":"id"}]}]},"payload":{"before":null,"after":{"id":7}}}}"#,
        "c k(id=7) a(id=7)",
    ),
];

#[test]
fn each_sample_is_its_changes_under_its_format_and_under_auto() {
    for (format, key, value, expected) in SAMPLES {
        for format in [*format, Format::Auto] {
            assert_eq!(see(format, *key, Some(value)), *expected, "{format:?} {value}");
        }
    }
}

#[test]
fn a_configured_format_says_what_another_ones_record_looks_like() {
    for (format, key, value, _) in SAMPLES {
        for other in FORMATS {
            let found = see(other, *key, Some(value));
            let says = format!("; the entity says format = {:?}", other.as_str());
            let family = [*format, other];
            let related = *format == other
                || other == Format::Auto
                // Plain rows may be anything that is no envelope, and these formats share some.
                || matches!(other, Format::Rows | Format::Flattened)
                || value.contains("\"op\"") && other != Format::Sequin
                || family == [Format::Ticdc, Format::Canal]
                || family == [Format::Canal, Format::Ticdc]
                || family == [Format::Debezium, Format::Mongo];
            assert!(
                related || found.ends_with(&says) || found.starts_with("error format"),
                "{other:?} {value}: {found}"
            );
        }
    }
    assert_eq!(
        see(Format::Debezium, None, Some(SAMPLES[7].2)),
        "error format: the value looks like Canal (or TiCDC's canal-json); the entity says format = \"debezium\""
    );
}

fn versions(format: Format, key: &str, values: &[&str]) -> Vec<crate::version::Version> {
    values
        .iter()
        .map(|value| with_change(format, key, value, |change| change.version.clone().unwrap()))
        .collect()
}

#[test]
fn positions_rise_as_the_source_does() {
    let maxwell = |more: &str| {
        format!(r#"{{"database":"d","table":"t","type":"insert","ts":2,"xid":5,{more}"data":{{"id":1}}}}"#)
    };
    let crdb = |clock: &str| format!(r#"{{"after":{{"id":1}},"updated":"{clock}"}}"#);
    for (format, rising) in [
        (
            Format::Maxwell,
            vec![maxwell(r#""xoffset":0,"#), maxwell(r#""xoffset":10,"#), maxwell(r#""commit":true,"#)],
        ),
        (
            Format::Maxwell,
            vec![
                maxwell(r#""position":"m.999999:4","#),
                maxwell(r#""position":"m.1000000:4","#),
                maxwell(r#""position":"m.1000000:10","#),
            ],
        ),
        // As numbers with a fraction, the first two would be one.
        (
            Format::Cockroach,
            vec![
                crdb("1709209800123456788.0000000001"),
                crdb("1709209800123456789.0000000001"),
                crdb("1709209800123456789.0000000010"),
            ],
        ),
    ] {
        let rising: Vec<&str> = rising.iter().map(String::as_str).collect();
        for pair in versions(format, "{}", &rising).windows(2) {
            assert!(pair[0] < pair[1], "{format:?} {pair:?}");
        }
    }
}

#[test]
fn equal_commits_tie_so_that_a_delete_and_an_insert_of_one_key_apply_in_order() {
    let of = |what: &str, image: &str| {
        format!(
            r#"{{"database":"d","table":"t","pkNames":["id"],"isDdl":false,"type":"{what}","es":1,"mysqlType":{{"id":"int"}},"{image}":[{{"id":"7"}}],"_tidb":{{"commitTs":429918007904436226}}}}"#
        )
    };
    let found = versions(Format::Ticdc, "", &[&of("DELETE", "data"), &of("INSERT", "data")]);
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0].as_bytes(), b"05f760267fb00002".as_slice());
}

#[test]
fn what_routes_a_record_is_told() {
    for (index, routing) in
        [(0, Routing::RecordKey), (3, Routing::Nothing), (7, Routing::Nothing), (15, Routing::Row)]
    {
        let (format, key, value, _) = SAMPLES[index];
        let mut decoder = Decoder::new(format);
        let Ok(Decoded::Changes(changes)) = decoder.decode(&record(key, Some(value))) else {
            panic!("{value}")
        };
        assert_eq!(changes[0].routing, routing, "{value}");
    }
}

#[test]
fn seconds_of_rows_and_milliseconds_of_stamps_are_told_apart() {
    with_change(Format::Maxwell, "{}", SAMPLES[0].2, |change| {
        assert_eq!(change.commit_ms, Some(1_709_209_800_000));
    });
    with_change(Format::Cockroach, "[7]", SAMPLES[21].2, |change| {
        assert_eq!(change.commit_ms, Some(1_709_209_800_123));
    });
}

#[test]
fn texts_are_coerced_by_their_mysql_type() {
    let value = r#"{"database":"d","table":"t","isDdl":false,"type":"INSERT","es":1,"mysqlType":{"u":"bigint(20) unsigned","d":"decimal(10,2)","t":"datetime(3)","x":"time","b":"blob","f":"bit(3)","one":"bit(1)","j":"json"},"data":[{"u":"18446744073709551615","d":"12.50","t":"2024-11-01 09:57:00.250","x":"-838:59:59","b":"\u0000\u00ff","f":"5","one":"1","j":"{\"a\": 1}"}]}"#;
    with_change(Format::Canal, "", value, |change| {
        let mut rendered = Vec::new();
        for (name, cell) in change.after.as_ref().unwrap().cells() {
            let Cell::Present(typed) = cell else { panic!("{name}") };
            rendered.extend_from_slice(format!("{name}=").as_bytes());
            render_json(typed, RenderStyle::default(), &mut rendered).unwrap();
            rendered.push(b' ');
        }
        assert_eq!(
            String::from_utf8(rendered).unwrap(),
            r#"u=18446744073709551615 d="12.50" t="2024-11-01T09:57:00.25" x="-838:59:59" b="AP8=" f="101" one=true j="{\"a\": 1}" "#
        );
    });
}

fn framed(head: &[u8], events: &[&str]) -> Vec<u8> {
    let mut bytes = head.to_vec();
    for event in events {
        bytes.extend_from_slice(&u64::try_from(event.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(event.as_bytes());
    }
    bytes
}

#[test]
fn an_open_protocol_record_holds_several_events() {
    let version = 1u64.to_be_bytes();
    let row = r#"{"ts":429918007904436226,"scm":"d","tbl":"t","t":1}"#;
    let key = framed(&version, &[row, row]);
    let value = framed(
        b"",
        &[
            r#"{"u":{"id":{"t":3,"h":true,"f":11,"v":7},"c":{"t":252,"f":64,"v":"c2hvcA=="},"b":{"t":252,"f":65,"v":"AAEC"}},"p":{"id":{"t":3,"h":true,"f":11,"v":6}}}"#,
            r#"{"d":{"id":{"t":3,"h":true,"f":11,"v":8}}}"#,
        ],
    );
    for format in [Format::Auto, Format::Ticdc] {
        let mut decoder = Decoder::new(format);
        let whole = Record { key: Some(&key), value: Some(&value), ..record(None, None) };
        let Ok(Decoded::Changes(changes)) = decoder.decode(&whole) else { panic!("no changes") };
        assert_eq!(changes.len(), 2);
        let after = changes[0].after.as_ref().unwrap();
        assert!(matches!(after.cell("c"), Cell::Present(Typed { raw: Raw::Text("shop"), .. })));
        assert_eq!(row_of(&changes[0].before), "6");
        assert_eq!(row_of(&changes[1].key), "8");
    }
    let mut decoder = Decoder::new(Format::Ticdc);
    let resolved = framed(&version, &[r#"{"ts":1,"scm":"","tbl":"","t":3}"#]);
    let whole = Record { key: Some(&resolved), value: Some(&[0; 8]), ..record(None, None) };
    assert_eq!(told(&decoder.decode(&whole)), "ignored watermark");
    let cut = Record { key: Some(&key), value: value.get(..40), ..record(None, None) };
    assert!(
        told(&decoder.decode(&cut)).starts_with("error envelope: the value's list of events is cut short")
    );
}

fn row_of(row: &Option<Row<'_>>) -> String {
    match row.as_ref().unwrap().cell("id") {
        Cell::Present(Typed { raw: Raw::Json(token), .. }) => token.to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tombstones_know_the_key_of_their_format() {
    for (format, key, expected) in [
        (Format::Maxwell, r#"{"database":"d","table":"t","pk.id":7}"#, "tombstone k(id=7)"),
        (Format::Auto, r#"{"database":"d","table":"t","pk.id":7}"#, "tombstone k(id=7)"),
        (Format::Mongo, r#"{"id":"\"7\""}"#, r#"tombstone k(_id="7")"#),
        (Format::Auto, r#"{"id":"{\"$oid\":\"5f\"}"}"#, r#"tombstone k(_id="5f")"#),
        (Format::Auto, r#"{"id":"7"}"#, r#"tombstone k(id="7")"#),
    ] {
        assert_eq!(see(format, Some(key), None), expected, "{format:?} {key}");
    }
}

/// A text `id` may be a column of a table or a document's key; the envelopes before it tell.
#[test]
fn a_tombstone_behind_mongodbs_envelopes_is_of_a_document() {
    let documents = r#"{"before":null,"after":null,"source":{"connector":"mongodb","ts_ms":1,"db":"s","collection":"u","ord":3},"op":"d"}"#;
    let rows = r#"{"before":{"id":"7"},"after":null,"source":{"connector":"mysql","table":"u"},"op":"d"}"#;
    for (envelope, key, expected) in [
        (documents, r#"{"id":"7"}"#, "tombstone k(_id=7)"),
        (documents, r#"{"id":"\"a\""}"#, r#"tombstone k(_id="a")"#),
        (documents, r#"{"id":7}"#, "tombstone k(id=7)"),
        (rows, r#"{"id":"7"}"#, r#"tombstone k(id="7")"#),
    ] {
        let mut decoder = Decoder::new(Format::Auto);
        decoder.decode(&record(Some(key), Some(envelope))).unwrap();
        assert_eq!(told(&decoder.decode(&record(Some(key), None))), expected, "{key}");
    }
}

#[test]
fn flinks_update_is_a_delete_and_a_create() {
    let old = r#"{"before":{"id":7,"n":1},"after":null,"op":"d"}"#;
    let new = r#"{"before":null,"after":{"id":7,"n":2},"op":"c"}"#;
    assert_eq!(see(Format::Auto, None, Some(old)), "d b(id=7 n=1)");
    assert_eq!(see(Format::Auto, None, Some(new)), "c a(id=7 n=2)");
}

#[test]
fn ops_that_a_format_does_not_have_are_errors_that_name_no_value() {
    for (format, value) in [
        (Format::Canal, r#"{"database":"d","table":"t","isDdl":false,"type":"UPSERT","es":1}"#),
        (Format::Ogg, r#"{"table":"O.T","op_type":"X","pos":"1"}"#),
        (Format::Sequin, r#"{"record":{},"action":"merge","metadata":{}}"#),
        (
            Format::Dms,
            r#"{"data":{},"metadata":{"record-type":"data","operation":"secret secret secret secret"}}"#,
        ),
    ] {
        let found = see(format, None, Some(value));
        assert!(found.starts_with("error op: unknown op") && !found.contains("secret"), "{found}");
    }
}
