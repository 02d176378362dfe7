//! `unavailable = "merge"` from the settings to a real server, over real captures of PostgreSQL's unchanged TOAST.

use std::sync::Arc;

use serde_json::Value as Json;
use stoker::cli::explain;
use stoker::coalesce::Filling;
use stoker::entity::{Entity, Handlers};
use stoker::pipeline::{Emitted, Pipeline};
use stoker::record::{AsRecord as _, OwnedRecord};
use stoker::settings;
use stoker::sink::memory::MemoryValue;

use super::support::captures;
use super::support::command::stoker;
use super::support::sink::{Cache, Process, assert_done, batch, fresh_claim};

const SETTINGS: &str = r#"
kafka = { brokers = "localhost:9092", group = "g" }
redis = { url = "redis://localhost:6379" }

[[entity]]
name = "toasted"
topics = ["^[a-z-]+\\.public\\.toasted$"]
columns = { da = "array(date)" }
unavailable = "merge"

[[entity.write]]
key = "toasted:{id}"
value = "json"
ttl = "1h"

[[entity.write]]
key = "toasted-hash:{id}"
value = { hash = ["t", "id", { name = "array", column = "ta" }] }
ttl = "1h"
"#;

/// All forms of the records; they hold a placeholder in six spellings.
const VARIANTS: [&str; 5] = ["json-plain", "json-schema", "avro", "flat-drop", "flat-rewrite"];

fn entities(text: &str) -> Arc<[Entity]> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    settings::load(file.path(), &Handlers::new()).unwrap().settings.entities
}

/// Row 1 as it was read by the snapshot, an update that holds neither of its texts, and one that holds one.
fn first_row(variant: &str) -> Vec<OwnedRecord> {
    let mut reader = explain::open(&captures::table(variant, "toasted")).unwrap();
    let mut records = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        records.push(record);
    }
    // Offset 1 of its partition is of row 2.
    let partition = records.iter().find(|record| record.offset == 3).unwrap().partition;
    records.retain(|record| record.partition == partition && matches!(record.offset, 0 | 2 | 3));
    assert_eq!(records.len(), 3, "{variant}");
    records
}

/// Applies the records to the cache, so many in a batch.
fn apply(cache: &Cache, process: &Process, start: i64, records: &[OwnedRecord], in_batch: usize) {
    let schemas = captures::schemas();
    let mut pipeline = schemas.known_to(Pipeline::new(entities(SETTINGS)));
    for (turn, records) in (start..).zip(records.chunks(in_batch)) {
        let mut filling = Filling::default();
        for record in records {
            schemas.supply(&mut pipeline, &record.as_record()).unwrap();
            pipeline.handle(&record.as_record(), &mut |emitted| match emitted {
                Emitted::Mutations { entity, mutations, .. } => {
                    for mutation in mutations {
                        filling.add(mutation, record.offset, entity);
                    }
                }
                other => panic!("{other:?}"),
            });
        }
        assert_done(&cache.apply(process, &batch(1, turn..turn + 1, filling.take())));
    }
}

/// The one column that the last update holds of the three long ones.
fn told_text() -> String {
    let record = first_row("json-plain").pop().unwrap();
    let value: Json = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
    value["after"]["t"].as_str().unwrap().to_owned()
}

#[test]
fn toasted_columns_stay_byte_for_byte_whatever_form_the_record_has() {
    let cache = Cache::redis();
    let process = cache.process_for_values_of(1 << 20);
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    let mut start = 0;
    for variant in VARIANTS {
        let records = first_row(variant);
        let key = b"toasted:1";
        apply(&cache, &process, start, &records[..1], 1);
        let whole = cache.text("toasted:1").unwrap();
        let text = &serde_json::from_str::<Json>(&whole).unwrap()["t"].as_str().unwrap().to_owned();
        let once = whole.replacen("\"n\":1,", "\"n\":100,", 1);
        let twice = once.replacen(text.as_str(), &told_text(), 1);
        assert!(once != whole && twice != once, "{variant}");

        apply(&cache, &process, start + 1, &records[1..2], 1);
        assert_eq!(cache.text("toasted:1").unwrap(), once, "{variant}");
        apply(&cache, &process, start + 2, &records[2..], 1);
        assert_eq!(cache.text("toasted:1").unwrap(), twice, "{variant}");
        let one_by_one = (cache.get(key), cache.get(b"toasted-hash:1"));
        let Some((MemoryValue::Hash(fields), _)) = &one_by_one.1 else { panic!("{one_by_one:?}") };
        assert_eq!(fields.get(b"t".as_slice()).unwrap(), told_text().as_bytes());
        assert!(fields.get(b"array".as_slice()).unwrap().starts_with(b"[\""), "an array that no update held");

        // What is composed, onto nothing and onto what is there, leaves the same.
        cache.remove(key);
        cache.remove(b"toasted-hash:1");
        apply(&cache, &process, start + 3, &records, 3);
        assert_eq!(cache.text("toasted:1").unwrap(), twice, "{variant}");
        apply(&cache, &process, start + 4, &records[1..], 2);
        assert_eq!(cache.text("toasted:1").unwrap(), twice, "{variant}");
        let value = |kept: Option<(MemoryValue, Option<i64>)>| kept.map(|(value, _)| value);
        assert_eq!(value(cache.get(b"toasted-hash:1")), value(one_by_one.1), "{variant}");

        // And a part never makes a key.
        cache.remove(key);
        apply(&cache, &process, start + 5, &records[1..2], 1);
        assert_eq!(cache.get(key), None, "{variant}");
        cache.remove(b"toasted-hash:1");
        start += 6;
    }
}

#[test]
fn explain_shows_what_is_written_and_what_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stoker.toml");
    std::fs::write(&file, SETTINGS).unwrap();
    let input = captures::table("json-plain", "toasted");
    let explained = stoker(&["explain", "-c", file.to_str().unwrap(), input.to_str().unwrap()], "");
    assert_eq!((explained.code, explained.err.as_str()), (0, ""));
    let lines: Vec<Json> = explained.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let patch = &lines[2]["mutations"][0];
    assert_eq!(patch["op"], "write");
    assert_eq!(
        (&patch["partial"], &patch["kind"], &patch["ttl_ms"]),
        (&true.into(), &"json".into(), &3_600_000.into())
    );
    assert_eq!(patch["value"], serde_json::json!({ "id": 1, "n": 100 }));
    assert_eq!(patch["kept"], serde_json::json!(["t", "by", "j", "jb", "ta", "ia", "la", "ua", "da", "h"]));
    let patch = &lines[2]["mutations"][1];
    assert_eq!((&patch["kind"], &patch["value"]), (&"hash".into(), &serde_json::json!({ "id": "1" })));
    assert_eq!(
        lines[6]["mutations"][0]["op"], "delete",
        "a row that was created has nothing that could be kept"
    );
}

/// What GoldenGate's compressed updates, and jobs that send only what changed, leave out.
#[test]
fn a_compressed_update_writes_only_what_it_holds() {
    let settings = r#"
kafka = { brokers = "localhost:9092", group = "g" }
redis = { url = "redis://localhost:6379" }

[[entity]]
name = "item"
topics = ["items"]
columns = { note = "text", n = "int", id = "int" }
absent = "unavailable"
column_case = "lower"
unavailable = "merge"

[[entity.write]]
key = "item:{id}"
value = "json"
ttl = "1h"

[[entity.write]]
key = "item-hash:{id}"
value = "hash"
ttl = "1h"
"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stoker.toml");
    std::fs::write(&file, settings).unwrap();
    let change = |op: &str, after: &str| {
        let value = format!(
            r#"{{"table":"SHOP.ITEMS","op_type":"{op}","pos":"00000000000000000007","primary_keys":["ID"],"after":{after}}}"#
        );
        serde_json::json!({ "topic": "items", "value": value }).to_string()
    };
    let input = [
        change("I", r#"{"ID":7,"N":1,"NOTE":null}"#),
        change("U", r#"{"ID":7,"N":2}"#),
        change("U", r#"{"ID":7,"NOTE":null}"#),
    ];
    let explained = stoker(&["explain", "-c", file.to_str().unwrap()], &input.join("\n"));
    assert_eq!((explained.code, explained.err.as_str()), (0, ""));
    let written: Vec<String> = explained
        .out
        .lines()
        .flat_map(|line| serde_json::from_str::<Json>(line).unwrap()["mutations"].as_array().unwrap().clone())
        .map(|shown| {
            let of = |name: &str| shown.get(name).map(Json::to_string).unwrap_or_default();
            format!("{} {}{}{}", of("partial"), of("value"), of("kept"), of("removed"))
        })
        .collect();
    assert_eq!(
        written,
        [
            r#" {"id":7,"n":1,"note":null}"#,
            r#" {"id":"7","n":"1"}"#,
            r#"true {"id":7,"n":2}["note"]"#,
            r#"true {"id":"7","n":"2"}["note"]"#,
            r#"true {"id":7,"note":null}["n"]"#,
            r#"true {"id":"7"}["n"]["note"]"#,
        ]
    );
}
