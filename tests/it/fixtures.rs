//! Real captures through the core of `run`: what is expected of each record stands beside it, and the same row
//! gives the same value whatever form it came in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use crate::support::captures::{self, Line, POSTGRES, respelt};
use crate::support::command::stoker;

/// Records under `debezium-3.7-postgres-15`: none may get lost from the folder without anybody noticing.
const CAPTURED_RECORDS: usize = 1_331;

const FLATTENED: [&str; 6] = [
    "flat-drop",
    "flat-tombstone",
    "flat-tombstone-schema",
    "flat-delete-to-tombstone",
    "flat-rewrite",
    "flat-rewrite-with-tombstone",
];

#[test]
fn every_captured_record_does_what_is_expected_of_it() {
    let arguments = POSTGRES.test_arguments();
    let ran = stoker(&arguments.each_ref().map(String::as_str), "");
    assert_eq!(ran.code, 0, "{}\n{}\nread the differences; --bless writes them", ran.out, ran.err);
    let cases = captures::all().len();
    assert!(ran.out.ends_with(&format!("\n{cases} passed, 0 failed\n")), "{}", ran.out);
}

#[test]
fn every_captured_record_is_answered_once_and_none_is_an_error() {
    let entities = captures::entities();
    let mut count = 0;
    for path in captures::all().iter().filter(|path| !path.to_str().unwrap().contains("by-hand")) {
        let records = std::fs::read_to_string(path).unwrap().lines().count();
        let explained = captures::explained(&entities, path);
        assert_eq!(explained.lines().count(), records, "{}", path.display());
        assert!(!explained.contains("\"error\":"), "{}: {explained}", path.display());
        count += records;
    }
    assert_eq!(count, CAPTURED_RECORDS);
}

/// Text, base64, hexadecimal, UUID, code points and hstore: all spellings in the captures.
#[test]
fn no_placeholder_reaches_a_value() {
    let entities = captures::entities();
    for path in captures::all() {
        for (key, values) in captures::writes(&entities, &path) {
            for spelling in [
                "__debezium_unavailable_value",
                "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ",
                "5f5f646562657a69756d5f756e617661696c61626c655f76616c7565",
                "\"ua\":[\"b68a35a7-17ad-35b3-af2a-ae46edb4545a\"]",
                "[95,95,100,101,98",
            ] {
                assert!(!values.iter().any(|value| value.contains(spelling)), "{key} in {}", path.display());
            }
        }
    }
}

/// The types of JSON without a schema come from the settings' `columns`, those of the rest from the records'
/// schemas alone; the form of the record is another each time.
#[test]
fn the_same_row_gives_the_same_bytes_in_every_form() {
    let declared = captures::entities();
    let undeclared = captures::without_declared_types(&declared);
    let everywhere =
        ["numbers", "times", "texts", "arrays", "toasted", "composite", "keyless", "evolving", "wiped"];
    let without_schema = ["id_default", "id_full", "id_index", "id_nothing", "Mixed-Case_Table"];
    for table in everywhere.into_iter().chain(without_schema) {
        let plain = captures::writes(&declared, &captures::table("json-plain", table));
        assert!(!plain.is_empty(), "{table}");
        for form in FLATTENED.into_iter().chain(["json-schema", "avro", "flat-avro"]) {
            let has_schema = form.ends_with("schema") || form.ends_with("avro");
            if has_schema && without_schema.contains(&table) {
                continue;
            }
            let entities = if has_schema { &undeclared } else { &declared };
            let writes = captures::writes(entities, &captures::table(form, table));
            let (writes, expected) = match form.ends_with("avro") {
                true => (respelt(writes), respelt(plain.clone())),
                false => (writes, plain.clone()),
            };
            assert_eq!(writes, expected, "{table} as {form}");
        }
    }
}

/// Under `json-readable` the connector spells decimals, times and bytes as text. Whole columns that differ are
/// those whose content the connector changes: a numeric's own scale, 24:00, intervals that are not counted but
/// spelt, hstore as an object.
#[test]
fn the_same_column_gives_the_same_bytes_when_the_connector_spells_it_as_text() {
    let entities = captures::entities();
    for (table, key, differing) in [
        ("numbers", "numbers:", vec!["plain"]),
        ("times", "times:", vec!["iv", "t"]),
        ("texts", "texts:", vec!["h"]),
        ("arrays", "arrays-rest:", vec!["n"]),
    ] {
        let plain = captures::writes(&entities, &captures::table("json-plain", table));
        let readable = captures::writes(&entities, &captures::table("json-readable", table));
        let mut found = BTreeSet::new();
        let mut rows = 0;
        for (name, values) in plain.iter().filter(|(name, _)| name.starts_with(key)) {
            let others = &readable[&format!("readable:{name}")];
            assert_eq!(values.len(), others.len(), "{name}");
            for (value, other) in values.iter().zip(others) {
                let [value, other]: [BTreeMap<String, Box<RawValue>>; 2] =
                    [value, other].map(|json| serde_json::from_str(json).unwrap());
                assert!(value.keys().eq(other.keys()), "{name}");
                for (column, token) in
                    value.iter().filter(|(column, token)| token.get() != other[*column].get())
                {
                    found.insert(format!("{column}{}", if token.get() == "null" { " (null)" } else { "" }));
                }
                rows += 1;
            }
        }
        assert!(rows > 2, "{table}: {rows} rows compared");
        assert_eq!(found, differing.into_iter().map(str::to_owned).collect(), "{table}");
    }
}

/// What was deleted by any record of a variant.
fn deleted(variant: &str, table: &str) -> BTreeSet<String> {
    let explained = captures::explained(&captures::entities(), &captures::table(variant, table));
    let lines = explained.lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
    lines
        .flat_map(|line| line.mutations)
        .filter(|shown| shown.op == "delete")
        .map(|shown| shown.key)
        .collect()
}

/// Each form with the piece of a line by which a delete is spelt there.
#[test]
fn every_spelling_of_a_delete_deletes_what_the_record_key_tells() {
    for (form, spellings) in [
        ("json-plain", &[r#"\"op\":\"d\""#, r#""value":null"#][..]),
        ("json-readable", &[r#"\"op\":\"d\""#]),
        ("flat-tombstone", &[r#""value":"null""#]),
        ("flat-tombstone-schema", &[r#",\"payload\":null}""#]),
        ("flat-delete-to-tombstone", &[r#""value":null"#]),
        ("flat-rewrite", &[r#"\"__deleted\":\"true\""#]),
        ("flat-rewrite-with-tombstone", &[r#"\"__deleted\":\"true\""#, r#""value":null"#]),
        // Deletes are dropped: nothing in the topic tells of them.
        ("flat-drop", &[]),
    ] {
        let records = std::fs::read_to_string(captures::table(form, "toasted")).unwrap();
        for spelling in spellings {
            assert_eq!(records.matches(spelling).count(), 2, "{spelling} in {form}");
        }
        let keys = if spellings.is_empty() { vec![] } else { vec!["toasted-n:1", "toasted-n:3"] };
        let found = deleted(form, "toasted").into_iter().filter(|key| key.starts_with("toasted-n:"));
        assert_eq!(found.collect::<Vec<_>>(), keys, "{form}");
    }
}

/// What each replica identity lets a delete, or a change of a key, reach.
#[test]
fn deletes_reach_what_the_replica_identity_tells() {
    for (table, prefix, plain, tombstone, rewrite) in [
        ("id_default", "id_default-email:", vec![], vec![], vec![]),
        (
            "id_full",
            "id_full-email:",
            vec!["f1@example.com", "f2@example.com", "f3@example.com", "moved@example.com"],
            vec![],
            // A flattened update does not tell the old row: only the deletes reach their keys.
            vec!["f2@example.com", "moved@example.com"],
        ),
        ("id_index", "id_index-code:", vec!["code1", "code2"], vec![], vec!["code1", "code2"]),
        // Under USING INDEX the record key of a delete is made up: no row's own key is deleted by it.
        ("id_index", "id_index:", vec![], vec![], vec![]),
        (
            "id_default",
            "id_default:",
            vec!["-3", "1", "2", "3", "4"],
            vec!["-3", "1", "2", "3", "4"],
            vec!["-3", "1", "2", "3", "4"],
        ),
        ("keyless", "keyless:", vec!["a"], vec![], vec!["a"]),
    ] {
        for (form, keys) in [("json-plain", plain), ("flat-tombstone", tombstone), ("flat-rewrite", rewrite)]
        {
            let deleted = deleted(form, table);
            let found: Vec<_> = deleted.iter().filter_map(|key| key.strip_prefix(prefix)).collect();
            assert_eq!(found, keys, "{prefix} in {form}");
        }
    }
}

/// What no system here can write, and what none should: framings, message indexes, formats of other systems.
#[test]
fn records_made_by_hand_do_what_is_expected_of_them() {
    let folder = "tests/fixtures-framed";
    let (settings, schemas) = (format!("{folder}/stoker.toml"), format!("{folder}/schemas.json"));
    let ran = stoker(&["test", "-c", &settings, "--schemas", &schemas, folder], "");
    assert_eq!(ran.code, 0, "{}\n{}\nread the differences; --bless writes them", ran.out, ran.err);
    assert!(ran.out.ends_with("\n4 passed, 0 failed\n"), "{}", ran.out);
}
