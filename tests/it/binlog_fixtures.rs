//! Real captures of what follows MariaDB's binlog, through the core of `run`: what is expected of each record stands
//! beside it, the same row gives the same value in every form, and positions compare over a rotation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::support::captures::{BINLOG, KCONNECT, Line, respelt, without_declared_types};
use crate::support::command::stoker;

/// Records of all captures: none may get lost from the folders without anybody noticing.
const CAPTURED_RECORDS: usize = 1_014 + 101;

fn debezium(variant: &str, table: &str) -> PathBuf {
    let file = format!("debezium-3.5-mariadb-10.11/{variant}/{variant}.shop.{table}.records.ndjson");
    BINLOG.folder().join(file)
}

#[test]
fn every_record_of_a_binlog_does_what_is_expected_of_it() {
    for captures in [BINLOG, KCONNECT] {
        let arguments = captures.test_arguments();
        let ran = stoker(&arguments.each_ref().map(String::as_str), "");
        assert_eq!(ran.code, 0, "{}\n{}\nread the differences; --bless writes them", ran.out, ran.err);
        let cases = captures.all().len();
        assert!(ran.out.ends_with(&format!("\n{cases} passed, 0 failed\n")), "{}", ran.out);
    }
}

#[test]
fn every_record_of_a_binlog_is_answered_and_none_is_an_error() {
    let mut count = 0;
    for captures in [BINLOG, KCONNECT] {
        let entities = captures.entities();
        for path in captures.all() {
            let records = std::fs::read_to_string(&path).unwrap().lines().count();
            let explained = captures.explained(&entities, &path);
            assert!(explained.lines().count() >= records, "{}", path.display());
            for line in explained.lines() {
                assert!(!line.contains("\"error\":"), "{line}");
            }
            count += records;
        }
    }
    assert_eq!(count, CAPTURED_RECORDS);
}

/// Types come from the settings in JSON without schemas, from the records' schemas alone elsewhere. BIGINT UNSIGNED is
/// the one type that a schema does not tell, unless the connector adds the column's own (`json-told`, `avro`).
#[test]
fn a_row_of_mariadb_gives_the_same_bytes_in_every_form() {
    let declared = BINLOG.entities();
    let undeclared = without_declared_types(&declared);
    for (table, forms) in [
        ("numbers", &["flat-plain", "json-schema", "flat-schema", "json-told", "avro", "flat-avro"][..]),
        ("times", &["flat-plain", "json-schema", "flat-schema", "avro", "flat-avro"]),
        ("texts", &["flat-plain", "json-schema", "flat-schema", "avro", "flat-avro"]),
        ("evolving", &["flat-plain", "json-schema", "flat-schema", "avro", "flat-avro"]),
        ("composite", &["flat-plain", "json-schema", "flat-schema", "avro", "flat-avro"]),
        ("keyless", &["flat-plain", "json-schema", "flat-schema", "avro", "flat-avro"]),
        ("customers", &["flat-plain"]),
        ("wiped", &["flat-plain"]),
        ("Mixed-Case_Table", &["flat-plain"]),
    ] {
        let plain = BINLOG.writes(&declared, &debezium("json-plain", table));
        assert!(!plain.is_empty(), "{table}");
        for form in forms {
            let unsigned = matches!(table, "numbers" | "evolving");
            let told = matches!(*form, "json-told" | "avro");
            let entities = match *form {
                "flat-plain" => &declared,
                _ if unsigned && !told => &declared,
                _ => &undeclared,
            };
            let writes = BINLOG.writes(entities, &debezium(form, table));
            let (writes, expected) = match form.ends_with("avro") {
                true => (respelt(writes), respelt(plain.clone())),
                false => (writes, plain.clone()),
            };
            assert_eq!(writes, expected, "{table} as {form}");
        }
    }
}

/// All types are the registry's, but BIGINT UNSIGNED: its schema does not tell it.
#[test]
fn a_row_of_mariadb_gives_the_same_bytes_under_a_registered_schema_of_connect() {
    for table in ["numbers", "times", "texts", "composite", "keyless", "evolving"] {
        let plain = BINLOG.writes(&BINLOG.entities(), &debezium("json-plain", table));
        let path = KCONNECT.folder().join(format!("kconnect/kconnect.shop.{table}.records.ndjson"));
        let writes = KCONNECT.writes(&KCONNECT.entities(), &path);
        assert!(!writes.is_empty(), "{table}");
        for (key, values) in writes {
            assert_eq!(plain.get(&key), Some(&values), "{key}");
        }
    }
}

/// Under `json-readable` the connector spells decimals, times and bytes as text. It has no spelling for a TIME of more
/// than a day, or of less than nothing: null.
#[test]
fn a_column_of_mariadb_gives_the_same_bytes_when_the_connector_spells_it_as_text() {
    let entities = BINLOG.entities();
    for (table, differing) in [("numbers", &[][..]), ("times", &["t (null)", "t6 (null)"]), ("texts", &[])] {
        let plain = BINLOG.writes(&entities, &debezium("json-plain", table));
        let readable = BINLOG.writes(&entities, &debezium("json-readable", table));
        let mut found = BTreeSet::new();
        let mut rows = 0;
        for (name, values) in plain.iter().filter(|(name, _)| name.starts_with(&format!("{table}:"))) {
            let others = &readable[&format!("readable:{name}")];
            assert_eq!(values.len(), others.len(), "{name}");
            for (value, other) in values.iter().zip(others) {
                let [value, other]: [BTreeMap<String, Box<RawValue>>; 2] =
                    [value, other].map(|json| serde_json::from_str(json).unwrap());
                assert!(value.keys().eq(other.keys()), "{name}");
                for column in value.keys().filter(|column| bare(&value[*column]) != bare(&other[*column])) {
                    let null = if other[column].get() == "null" { " (null)" } else { "" };
                    found.insert(format!("{column}{null}"));
                }
                rows += 1;
            }
        }
        assert!(rows > 5, "{table}: {rows} rows compared");
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), differing, "{table}");
    }
}

/// What each row was last written as by followers of the same binlog. Columns that differ are those whose content one of
/// them changes, as `tests/fixtures-binlog/README.md` lists.
#[test]
fn a_row_of_mariadb_gives_the_same_bytes_whoever_follows() {
    let entities = BINLOG.entities();
    for (file, table, differing) in [
        ("maxwell-1.22-mariadb-10.11/maxwell", "numbers", &["bit64", "bit9", "y"][..]),
        (
            "maxwell-1.22-mariadb-10.11/maxwell",
            "times",
            &["d", "dn", "dt", "dt3", "dt6", "dtn", "t", "t6", "ts", "ts6", "tsn"],
        ),
        ("maxwell-1.22-mariadb-10.11/maxwell", "texts", &["b", "e", "g", "ls", "p", "s"]),
        ("maxwell-1.22-mariadb-10.11/maxwell", "customers", &[]),
        ("maxwell-1.22-mariadb-10.11/maxwell", "evolving", &[]),
        ("canal-1.1.7-mariadb-10.11/canal", "numbers", &["y"]),
        (
            "canal-1.1.7-mariadb-10.11/canal",
            "times",
            &["d", "dn", "dt", "dt3", "dt6", "dtn", "ts", "ts6", "tsn"],
        ),
        ("canal-1.1.7-mariadb-10.11/canal", "texts", &["b", "e", "g", "l", "ls", "p"]),
        ("canal-1.1.7-mariadb-10.11/canal", "customers", &[]),
    ] {
        let others = BINLOG.writes(&entities, &BINLOG.folder().join(format!("{file}.records.ndjson")));
        let others = respelt(others);
        let follower = file.rsplit_once('/').unwrap().1;
        let mut found = BTreeSet::new();
        let mut rows = 0;
        for (key, values) in respelt(BINLOG.writes(&entities, &debezium("json-plain", table))) {
            if !key.starts_with(&format!("{table}:")) {
                continue;
            }
            // Rows of the snapshot alone are not in the others.
            let Some(others) = others.get(&format!("{follower}:{key}")) else { continue };
            let [value, other]: [BTreeMap<String, Box<RawValue>>; 2] =
                [values.last(), others.last()].map(|json| serde_json::from_str(json.unwrap()).unwrap());
            assert!(value.keys().eq(other.keys()), "{key}");
            let differs = |(name, token): &(String, Box<RawValue>)| token.get() != other[name].get();
            found.extend(value.into_iter().filter(differs).map(|(name, _)| name));
            rows += 1;
        }
        assert!(rows > 0, "{table} of {follower}");
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), differing, "{table} of {follower}");
    }
}

/// Under `bigint.unsigned.handling.mode = precise` a BIGINT UNSIGNED is a decimal, which is shown as text.
fn bare(token: &RawValue) -> &str {
    let token = token.get();
    let digits = token.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty()).unwrap_or(token)
}

#[derive(Deserialize)]
struct Record {
    value: Option<String>,
}

#[derive(Deserialize)]
struct Envelope {
    source: Source,
}

#[derive(Deserialize)]
struct Source {
    file: String,
    pos: u64,
    row: u64,
}

/// Rows that one statement changes share their offset in the binlog; what parts them is their place in the transaction.
#[test]
fn rows_of_one_statement_have_positions_of_their_own_in_maxwell() {
    let path = BINLOG.folder().join("maxwell-1.22-mariadb-10.11/maxwell.records.ndjson");
    let records = std::fs::read_to_string(&path).unwrap();
    let mut offsets = BTreeMap::<_, BTreeSet<_>>::new();
    for (record, line) in records.lines().zip(BINLOG.explained(&BINLOG.entities(), &path).lines()) {
        let record: Record = serde_json::from_str(record).unwrap();
        let change: serde_json::Value = serde_json::from_str(&record.value.unwrap()).unwrap();
        let line: Line = serde_json::from_str(line).unwrap();
        let guard = line.mutations.into_iter().find_map(|shown| shown.guard);
        if let (Some(offset), Some(guard)) = (change["position"].as_str(), guard) {
            offsets.entry(offset.to_owned()).or_default().insert(guard);
        }
    }
    assert_eq!(offsets.values().map(BTreeSet::len).max(), Some(4), "the update of all customers");
}

/// The guard compares versions; what they must agree with is the order of the binlog, which the records tell.
#[test]
fn positions_rise_along_the_binlog_and_over_its_rotation() {
    let path = debezium("json-plain", "customers");
    let explained = BINLOG.explained(&BINLOG.entities(), &path);
    let mut guards = BTreeMap::new();
    let mut files = BTreeSet::new();
    for (record, line) in std::fs::read_to_string(path).unwrap().lines().zip(explained.lines()) {
        let record: Record = serde_json::from_str(record).unwrap();
        let Some(value) = record.value else { continue };
        let Envelope { source: Source { file, pos, row } } = serde_json::from_str(&value).unwrap();
        let number: u64 = file.rsplit_once('.').unwrap().1.parse().unwrap();
        files.insert(number);
        let line: Line = serde_json::from_str(line).unwrap();
        for shown in line.mutations {
            let Some(guard) = shown.guard else { continue };
            let known = guards.entry((number, pos, row)).or_insert(guard.clone());
            assert_eq!(*known, guard, "two versions of one position");
        }
    }
    assert!(files.len() > 1, "the capture holds no rotation");
    assert!(guards.len() > 15, "{} positions", guards.len());
    assert!(guards.values().is_sorted_by(|older, newer| older < newer), "{guards:?}");
    let flattened = BINLOG.explained(&BINLOG.entities(), &debezium("flat-plain", "customers"));
    assert!(flattened.matches("\"guard\":").count() > 15);
    let known = guards.values().collect::<BTreeSet<_>>();
    for line in flattened.lines() {
        let line: Line = serde_json::from_str(line).unwrap();
        for guard in line.mutations.iter().filter_map(|shown| shown.guard.as_ref()) {
            assert!(guard.len() == known.first().unwrap().len(), "{guard}");
        }
    }
}
