//! Handlers in Rust: a binary of one's own has every command, and what its handler says goes the same way as what
//! settings say.

use std::sync::Arc;
use std::time::Duration;

use stoker::entity::{Entity, EntityHandler, KeyTemplate, Lifetime, RowImage, Values};
use stoker::error::HandleError;
use stoker::mutation::Value;

use crate::support::captures;
use crate::support::command::{example, run, stoker};

const SETTINGS: [&str; 2] = ["-c", "examples/price/stoker.toml"];
const RECORDS: &str = "examples/price/offers.records.ndjson";

#[test]
fn the_example_s_handler_does_what_is_expected_of_it() {
    let price = example("price_handler");
    let tested = run(&price, &["test", SETTINGS[0], SETTINGS[1], "examples/price"], "");
    assert_eq!((tested.code, tested.err.as_str()), (0, ""), "{}", tested.out);
    let explained = run(&price, &["explain", SETTINGS[0], SETTINGS[1], RECORDS], "");
    assert_eq!((explained.code, explained.err.as_str()), (0, ""));
    let expected = std::fs::read_to_string("examples/price/offers.expected.ndjson").unwrap();
    assert_eq!(explained.out, expected);
}

#[test]
fn a_binary_with_handlers_has_every_command() {
    let price = example("price_handler");
    let commands = |help: String| {
        let list = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0.to_owned();
        assert!(list.contains("run "), "{list}");
        list
    };
    assert_eq!(commands(run(&price, &["--help"], "").out), commands(stoker(&["--help"], "").out));
    let checked = run(&price, &["check", "--offline", SETTINGS[0], SETTINGS[1]], "");
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
}

#[test]
fn settings_that_name_a_handler_of_another_binary_are_refused() {
    let refused = stoker(&["explain", SETTINGS[0], SETTINGS[1], RECORDS], "");
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    assert!(refused.err.contains("stoker.toml:") && refused.err.contains("\"price\""), "{}", refused.err);
}

/// The keys and values of `id_full` in the fixtures' settings, said in Rust.
#[derive(Debug)]
struct IdFull {
    keys: [KeyTemplate; 3],
}

impl IdFull {
    fn new(row: KeyTemplate) -> IdFull {
        let key = |text| KeyTemplate::parse(text).unwrap();
        IdFull { keys: [row, key("id_full-email:{email|lower}"), key("id_full-page:{id}").invalidated()] }
    }
}

impl EntityHandler for IdFull {
    fn keys(&self) -> &[KeyTemplate] {
        &self.keys
    }

    fn values(&self, row: &RowImage<'_>, out: &mut Values) -> Result<(), HandleError> {
        let field = |name: &str| Ok::<_, HandleError>((name.into(), row.text(name)?.into_bytes()));
        let hour = Duration::from_secs(3600);
        out.write(0, Value::Hash(vec![field("email")?, field("n")?]), Lifetime::after(hour));
        let commit_ms = row.commit_ms().ok_or(HandleError::Handler("no time".into()))?;
        let lifetime = Lifetime::after_moment(commit_ms, hour).jitter(0.1);
        out.write(1, Value::text(row.text("id")?), lifetime);
        Ok(())
    }
}

fn row_key() -> KeyTemplate {
    KeyTemplate::parse("id_full:{id}").unwrap()
}

/// The fixtures' entity of that name alone, and the same under a handler in Rust.
fn declared_and_in_rust(name: &str, handler: impl EntityHandler + 'static) -> [Arc<[Entity]>; 2] {
    let entities = captures::entities();
    let declared = entities.iter().find(|entity| *entity.name == *name).unwrap().clone();
    let in_rust = Entity { handler: Arc::new(handler), ..declared.clone() };
    [Arc::new([declared]), Arc::new([in_rust])]
}

/// Key changes, an address that passes between rows, deletes, tombstones: with a source position (guarded), and
/// flattened with and without the old row.
#[test]
fn a_handler_in_rust_goes_the_way_of_declared_writes() {
    let [declared, in_rust] = declared_and_in_rust("id_full", IdFull::new(row_key()));
    for form in ["json-plain", "json-readable", "flat-rewrite", "flat-tombstone"] {
        let records = captures::table(form, "id_full");
        let expected = captures::explained(&declared, &records);
        assert!(expected.contains("\"guard\":\""), "{form}");
        assert_eq!(captures::explained(&in_rust, &records), expected, "{form}");
    }
}

/// A source without positions: a secondary key that a row has left, or that goes with it, is deleted only while
/// it holds that row's value.
#[test]
fn a_handler_s_secondary_keys_are_compared_where_the_source_has_no_position() {
    let image = |email| format!(r#"{{"id":7,"email":"{email}","n":1}}"#);
    let value = |op, before: &str, after: &str| {
        let source = r#"{"connector":"vitess","ts_ms":5000,"table":"id_full"}"#;
        format!(r#"{{"before":{before},"after":{after},"source":{source},"op":"{op}"}}"#)
    };
    let mut records = tempfile::NamedTempFile::new().unwrap();
    for value in [value("u", &image("old@x"), &image("new@x")), value("d", &image("new@x"), "null")] {
        let line = serde_json::json!({"topic": "v.public.id_full", "timestamp_ms": 5000, "key": "{\"id\":7}", "value": value});
        std::io::Write::write_all(&mut records, format!("{line}\n").as_bytes()).unwrap();
    }
    let [declared, in_rust] = declared_and_in_rust("id_full", IdFull::new(row_key()));
    let explained = captures::explained(&in_rust, records.path());
    for delete in [
        r#"{"op":"delete","key":"id_full-email:old@x","only_if":"7"}"#,
        r#"{"op":"delete","key":"id_full-email:new@x","only_if":"7"}"#,
    ] {
        assert!(explained.contains(delete), "{delete} in {explained}");
    }
    assert_eq!(explained, captures::explained(&declared, records.path()));
}

#[test]
fn a_handler_s_shared_key_is_guarded_even_where_the_partition_orders_it() {
    let [_, in_rust] = declared_and_in_rust("id_full", IdFull::new(row_key().shared()));
    let explained = captures::explained(&in_rust, &captures::table("json-plain", "id_full"));
    let mut mutations = 0;
    for line in explained.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for mutation in line["mutations"].as_array().unwrap() {
            if mutation["key"].as_str().unwrap().starts_with("id_full:") {
                assert!(mutation["guard"].is_string(), "{mutation}");
                mutations += 1;
            }
        }
    }
    assert!(mutations > 10, "{mutations}");
}
