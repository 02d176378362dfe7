//! One record's way through decoding, routing and handling.

use super::*;
use crate::decode::Format;
use crate::entity::spec::{MappingSpec, WriteSpec};
use crate::entity::testing::{entity, in_words, mapping, write};
use crate::entity::{EntityHandler, KeyTemplate, Lifetime, Mapping, RowImage, TableFilter, Topics, Values};
use crate::mutation::Value;
use crate::record::{AsRecord, OwnedRecord};

const TOPIC: &str = "shop.public.customers";

/// Columns of the source block of a real capture (Debezium 3.7, PostgreSQL).
fn envelope(op: &str, before: &str, after: &str) -> String {
    format!(
        r#"{{"before":{before},"after":{after},"source":{{"version":"3.7.0.Final","connector":"postgresql","name":"shop","ts_ms":1709209800123,"snapshot":"false","db":"shop","sequence":"[\"24023000\",\"24023128\"]","schema":"public","table":"customers","txId":571,"lsn":24023128,"xmin":null}},"transaction":null,"op":"{op}","ts_ms":1709209800200}}"#
    )
}

fn record(topic: &str, key: Option<&str>, value: Option<&str>) -> OwnedRecord {
    OwnedRecord {
        topic: topic.into(),
        partition: 1,
        offset: 3,
        timestamp_ms: Some(2_000_000),
        key: key.map(Into::into),
        value: value.map(Into::into),
        headers: Vec::new(),
    }
}

/// Everything that was emitted, in words.
fn handled(pipeline: &mut Pipeline, record: &OwnedRecord) -> Vec<String> {
    let mut all = Vec::new();
    pipeline.handle(&record.as_record(), &mut |emitted| match emitted {
        Emitted::Mutations { entity, mutations, .. } => {
            let words: Vec<_> = mutations.map(|mutation| in_words(&mutation)).collect();
            all.push(format!("{entity}: {}", words.join(", ")));
        }
        Emitted::Truncated { entity, templates, version } => {
            let keys: Vec<_> = templates.iter().map(|template| template.as_str()).collect();
            all.push(format!("{entity} truncated {} v{version}", keys.join(" ")));
        }
        Emitted::Ignored { entity, why } => all.push(format!("{entity:?} ignored {}", why.as_str())),
        Emitted::Failed(failure) => {
            let deletes: Vec<_> = failure.deletes.iter().map(in_words).collect();
            all.push(format!(
                "{:?} failed {} {}: {} [{}]",
                failure.entity,
                failure.stage.as_str(),
                failure.kind,
                failure.detail,
                deletes.join(", ")
            ));
        }
    });
    all
}

fn pipeline(entities: Vec<Entity>) -> Pipeline {
    Pipeline::new(entities.into())
}

fn customers() -> Entity {
    mapping(vec![write("c:{id}"), write("e:{email}")])
}

const KEY: Option<&str> = Some(r#"{"id":7}"#);

#[test]
fn a_change_becomes_the_mutations_of_every_entity_of_its_topic() {
    let mut other = mapping(vec![write("other:{id}")]);
    other.topics = Topics::Pattern(regex::Regex::new("^(?:shop\\..*)$").unwrap());
    let mut elsewhere = mapping(vec![write("x:{id}")]);
    elsewhere.topics = Topics::Names(vec!["orders".into()]);
    let mut pipeline = pipeline(vec![customers(), elsewhere, other]);
    let value = envelope("c", "null", r#"{"id":7,"email":"a"}"#);
    let version = format!("{:x}{:016x}", 24_023_000, 24_023_128);
    assert_eq!(
        handled(&mut pipeline, &record(TOPIC, KEY, Some(&value))),
        [
            format!("0: write c:7 = 7, write e:a = 7 by public.customers:7 v{version}"),
            "2: write other:7 = 7".to_owned()
        ]
    );
    assert_eq!(handled(&mut pipeline, &record(TOPIC, KEY, None)), ["0: delete c:7", "2: delete other:7"]);
}

#[test]
fn each_entity_believes_as_much_of_before_as_its_settings_say() {
    let mut full = customers();
    full.replica_identity = crate::entity::ReplicaIdentity::Full;
    let mut pipeline = pipeline(vec![customers(), full, customers()]);
    let value = envelope("d", r#"{"id":7,"email":"a"}"#, "null");
    let words = handled(&mut pipeline, &record(TOPIC, KEY, Some(&value)));
    assert_eq!(words[0], "0: delete c:7");
    assert!(words[1].starts_with("1: delete c:7, delete e:a by public.customers:7"), "{words:?}");
    assert_eq!(words[2], "2: delete c:7");
}

#[test]
fn a_record_that_yields_nothing_says_why() {
    let mut filtered = customers();
    filtered.table = Some(TableFilter::Name("public.orders".into()));
    let both = || vec![customers(), filtered.clone()];
    let row = envelope("c", "null", r#"{"id":7,"email":"a"}"#);
    for (name, entities, record, expected) in [
        ("no entity", both(), record("other", KEY, Some(&row)), "None ignored no_entity"),
        (
            "another table",
            vec![filtered.clone()],
            record(TOPIC, KEY, Some(&row)),
            "None ignored filtered_table",
        ),
        (
            "a tombstone of whichever",
            vec![filtered.clone()],
            record(TOPIC, KEY, None),
            "None ignored filtered_table",
        ),
        ("neither key nor value", both(), record(TOPIC, None, None), "None ignored empty"),
        (
            "truncate",
            both(),
            record(TOPIC, None, Some(&envelope("t", "null", "null"))),
            "Some(0) ignored truncate",
        ),
        (
            "a truncate that deletes",
            vec![Entity { truncate: Truncate::Delete, ..customers() }, filtered.clone()],
            record(TOPIC, None, Some(&envelope("t", "null", "null"))),
            "0 truncated c:{id} e:{email} v",
        ),
    ] {
        let words = handled(&mut pipeline(entities), &record);
        assert!(words.len() == 1 && words[0].starts_with(expected), "{name}: {words:?}");
    }
    let words = handled(&mut pipeline(both()), &record(TOPIC, KEY, Some(&row)));
    assert!(
        words.len() == 1 && words[0].starts_with("0: write"),
        "the other entity is not concerned: {words:?}"
    );
}

#[test]
fn a_topic_named_after_the_table_needs_no_table_in_its_records() {
    let mut filtered = mapping(vec![write("c:{id}")]);
    filtered.table = Some(TableFilter::Name("public.customers".into()));
    let mut pipeline = pipeline(vec![filtered]);
    assert_eq!(handled(&mut pipeline, &record(TOPIC, KEY, None)), ["0: delete c:7"]);
    assert_eq!(handled(&mut pipeline, &record(TOPIC, KEY, Some(r#"{"id":7}"#))), ["0: write c:7 = 7"]);
}

#[test]
fn a_flattened_row_that_names_its_table_alone_is_of_the_table_its_topic_is_named_after() {
    let mut filtered = mapping(vec![write("c:{id}")]);
    filtered.table = Some(TableFilter::Name("public.customers".into()));
    let mut pipeline = pipeline(vec![filtered]);
    for (table, expected) in [("customers", "0: write c:7 = 7"), ("orders", "None ignored filtered_table")] {
        let row = format!(r#"{{"id":7,"__op":"u","__table":"{table}","__lsn":5}}"#);
        assert_eq!(handled(&mut pipeline, &record(TOPIC, KEY, Some(&row))), [expected], "{table}");
    }
}

#[test]
fn a_record_key_that_is_a_bare_value_is_the_entity_s_one_key_column() {
    let mut rows = customers();
    rows.key_columns = Some(vec!["id".into()]);
    let mut pipeline = pipeline(vec![rows]);
    let row = r#"{"id":7,"email":"a"}"#;
    for (key, value, expected) in [
        (Some("7"), Some(row), "0: write c:7 = 7, write e:a = 7"),
        (Some("\"7\""), Some(row), "0: write c:7 = 7, write e:a = 7"),
        (Some("7"), None, "0: delete c:7"),
        (Some("k-7"), None, "0: delete c:k-7"),
    ] {
        assert_eq!(handled(&mut pipeline, &record(TOPIC, key, value)), [expected], "{key:?} {value:?}");
    }
    // A record key that is something else orders nothing: then every key is secondary, and so compared.
    let mut whole = mapping(vec![write("c:{id}")]);
    whole.key_columns = Some(vec!["id".into()]);
    let mut pipeline = self::pipeline(vec![whole, customers()]);
    let words = handled(&mut pipeline, &record(TOPIC, Some("public.customers"), Some(row)));
    assert_eq!(words[0], "0: write c:7 = 7");
    let words = handled(&mut pipeline, &record(TOPIC, Some("7"), None));
    assert!(words[0].starts_with("None failed decode key:"), "one entity names no column: {words:?}");
}

#[test]
fn what_cannot_be_decoded_fails_and_what_its_key_tells_is_deleted() {
    let mut pipeline = pipeline(vec![customers()]);
    let words = handled(&mut pipeline, &record(TOPIC, KEY, Some("{\"before\":")));
    assert!(
        words.len() == 1
            && words[0].starts_with("Some(0) failed decode json:")
            && words[0].ends_with("[delete c:7]"),
        "{words:?}"
    );
    let words = handled(&mut pipeline, &record(TOPIC, Some("{"), Some("{")));
    assert!(words.len() == 1 && words[0].ends_with("[]"), "{words:?}");
}

#[test]
fn what_cannot_be_handled_fails_for_that_entity_and_its_known_keys_are_deleted() {
    let mut pipeline = pipeline(vec![customers(), mapping(vec![write("x:{id}")])]);
    let value = envelope("u", "null", r#"{"id":7,"email":null}"#);
    assert_eq!(
        handled(&mut pipeline, &record(TOPIC, KEY, Some(&value))),
        [
            r#"Some(0) failed handle key_column: key column "email" of "e:{email}" is null [delete c:7]"#,
            "1: write x:7 = 7"
        ]
    );
}

/// Panics for row 13, and gives key 1 a value that is not its to give for row 14.
#[derive(Debug)]
struct Unlucky {
    keys: [KeyTemplate; 2],
}

impl EntityHandler for Unlucky {
    fn keys(&self) -> &[KeyTemplate] {
        &self.keys
    }

    fn values(&self, row: &RowImage<'_>, out: &mut Values) -> Result<(), HandleError> {
        let id: u64 = row.get("id")?;
        assert!(id != 13, "id {id}");
        out.write(0, Value::text(id.to_string()), Lifetime::never());
        if id == 14 {
            out.write(1, Value::text("x"), Lifetime::never());
        }
        if id == 15 {
            out.write(2, Value::text("x"), Lifetime::never());
        }
        if id == 16 {
            out.write(0, Value::text("x".repeat(101)), Lifetime::never());
        }
        Ok(())
    }
}

#[test]
fn a_handler_in_rust_that_fails_takes_nothing_down_with_it() {
    let keys =
        [KeyTemplate::parse("u:{id}").unwrap(), KeyTemplate::parse("page:{id}").unwrap().invalidated()];
    let unlucky = || entity(Arc::new(Unlucky { keys: keys.clone() }));
    let mut pipeline = pipeline(vec![unlucky()]).with_value_bytes_max(100);
    let defect = "the handler gave a value to a key that it does not write";
    for (id, expected) in [
        (12, "0: delete page:12, write u:12 = 12".to_owned()),
        (13, "Some(0) failed handle panic: the handler panicked [delete u:13, delete page:13]".to_owned()),
        (14, format!("Some(0) failed handle handler: {defect} [delete u:14, delete page:14]")),
        (15, format!("Some(0) failed handle handler: {defect} [delete u:15, delete page:15]")),
        (
            16,
            "Some(0) failed handle too_large: a value of 101 bytes is over limits.value_bytes = 100 \
             [delete u:16, delete page:16]"
                .to_owned(),
        ),
        (17, "0: delete page:17, write u:17 = 17".to_owned()),
    ] {
        let row = format!(r#"{{"id":{id}}}"#);
        let words = handled(&mut pipeline, &record(TOPIC, Some(&row), Some(&row)));
        assert_eq!(words, [expected]);
    }
}

#[test]
fn a_key_over_the_limit_never_reaches_redis() {
    let mut pipeline = pipeline(vec![customers()]).with_value_bytes_max(100);
    let row = format!(r#"{{"id":7,"email":"{}"}}"#, "x".repeat(99));
    let expected = "Some(0) failed handle too_large: a value of 101 bytes is over limits.value_bytes = 100 \
                    [delete c:7]";
    assert_eq!(handled(&mut pipeline, &record(TOPIC, KEY, Some(&row))), [expected]);
}

#[test]
fn conditions_that_could_not_be_evaluated_are_told_until_the_next_record() {
    let when = crate::entity::condition::Condition::compile("after.score > 5").unwrap();
    let spec = MappingSpec {
        writes: vec![write("a:{id}"), WriteSpec { when: Some(when), ..write("b:{id}") }],
        delete_when: None,
        value_bytes_max: 100,
        unavailable: Default::default(),
    };
    let mut pipeline = pipeline(vec![entity(Arc::new(Mapping::new(spec)))]);
    let undecided = record(TOPIC, KEY, Some(r#"{"id":7,"score":null}"#));
    assert_eq!(handled(&mut pipeline, &undecided), ["0: delete b:7, write a:7 = 7"]);
    let [(0, told)] = pipeline.undecided() else { panic!("{:?}", pipeline.undecided()) };
    assert_eq!(told.key, Some(1));
    handled(&mut pipeline, &record(TOPIC, KEY, Some(r#"{"id":7,"score":6}"#)));
    assert!(pipeline.undecided().is_empty());
}

/// What a refill may pass over: older records under the same record key.
#[test]
fn a_record_settles_its_key_where_that_alone_decides_every_key() {
    let settles = |entities: Vec<Entity>, key: Option<&str>, value: Option<&str>| {
        let mut pipeline = pipeline(entities);
        pipeline.tell_rows(true);
        handled(&mut pipeline, &record(TOPIC, key, value));
        pipeline.settles()
    };
    let row = r#"{"id":7,"email":"a"}"#;
    let update = envelope("u", "null", row);
    let by_id = || mapping(vec![write("c:{id}"), write("c:{id}:h")]);
    assert!(settles(vec![by_id()], KEY, Some(&update)));
    assert!(
        settles(vec![by_id()], KEY, Some(&envelope("d", row, "null"))) && settles(vec![by_id()], KEY, None)
    );
    assert!(!settles(vec![customers()], KEY, Some(&update)), "the row had other addresses before");
    assert!(!settles(vec![by_id(), customers()], KEY, Some(&update)), "one of them needs the past");
    let other_table = Entity { table: Some(TableFilter::Name("orders".into())), ..by_id() };
    assert!(!settles(vec![by_id(), other_table], KEY, Some(&update)), "older ones may be of the other table");
    assert!(!settles(vec![by_id()], None, Some(&update)), "no record key");
    assert!(!settles(vec![by_id()], KEY, Some("{")), "what it says is not known");
    let flattened = Entity { format: Format::Flattened, ..by_id() };
    assert!(!settles(vec![by_id(), flattened], KEY, Some(&update)), "two readers");
}

#[test]
fn entities_of_one_topic_may_read_it_in_different_formats() {
    let mut debezium = mapping(vec![write("d:{id}")]);
    debezium.format = Format::Debezium;
    let mut rows = mapping(vec![write("r:{id}")]);
    rows.format = Format::Rows;
    let mut pipeline = pipeline(vec![debezium, rows]);
    let words = handled(&mut pipeline, &record(TOPIC, KEY, Some(r#"{"id":7}"#)));
    assert!(words[0].starts_with("Some(0) failed decode format:"), "{words:?}");
    assert_eq!(words[1], "1: write r:7 = 7");
}

mod formats;
