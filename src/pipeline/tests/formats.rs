//! What becomes of other formats' records: keys, old keys, deletes and guards, down to the mutations.

use super::*;
use crate::entity::{Absent, OpColumn, RowRules};
use crate::types::Kind;

fn told(entity: Entity, key: Option<&str>, value: Option<&str>) -> Vec<String> {
    handled(&mut pipeline(vec![entity]), &record(TOPIC, key, value))
}

fn users(format: Format) -> Entity {
    Entity { format, key_columns: Some(vec!["id".into()]), ..mapping(vec![write("c:{id}")]) }
}

#[test]
fn a_changed_key_in_one_update_deletes_the_old_one() {
    for (format, key, value) in [
        (
            Format::Maxwell,
            Some(r#"{"database":"d","table":"t","pk.id":8}"#),
            r#"{"database":"d","table":"t","type":"update","ts":1,"xid":2,"data":{"id":8},"old":{"id":7}}"#,
        ),
        (
            Format::Sequin,
            Some("8"),
            r#"{"record":{"id":8},"changes":{"id":7},"action":"update","metadata":{"table_name":"t","commit_lsn":5,"commit_idx":0}}"#,
        ),
        (
            Format::Dms,
            Some("public.t"),
            r#"{"data":{"id":8},"before-image":{"id":7},"metadata":{"record-type":"data","operation":"update"}}"#,
        ),
    ] {
        assert_eq!(told(users(format), key, Some(value)), ["0: delete c:7, write c:8 = 8"], "{format:?}");
    }
}

#[test]
fn a_record_without_a_key_is_ordered_by_its_position() {
    let value = r#"{"database":"d","table":"t","pkNames":["id"],"isDdl":false,"type":"DELETE","es":16,"data":[{"id":"7"},{"id":"8"}]}"#;
    let words = told(users(Format::Canal), None, Some(value));
    assert_eq!(words, ["0: delete c:7 by d.t:7 v10", "0: delete c:8 by d.t:8 v10"]);
    let token = r#"{"_id":{"_data":"8265"}}"#;
    let event = r#"{"operationType":"delete","clusterTime":{"$timestamp":{"t":2,"i":3}},"ns":{"db":"d","coll":"t"},"documentKey":{"_id":7}}"#;
    let documents = Entity { format: Format::Mongo, ..mapping(vec![write("c:{_id}")]) };
    let words = told(documents, Some(token), Some(event));
    assert_eq!(words, ["0: delete c:7 by d.t:7 v20000000000000003"]);
}

#[test]
fn a_list_of_key_values_stands_for_the_key_columns() {
    let entity = Entity {
        format: Format::Cockroach,
        key_columns: Some(vec!["region".into(), "id".into()]),
        ..mapping(vec![write("c:{region}:{id}")])
    };
    let key = Some(r#"["eu", 7]"#);
    for value in [Some(r#"{"after":null}"#), None] {
        assert_eq!(told(entity.clone(), key, value), ["0: delete c:eu:7"], "{value:?}");
    }
    // Where a position is told, it decides: a feed that starts again repeats what is old.
    let positioned = told(entity.clone(), key, Some(r#"{"after":null,"updated":"5.0000000000"}"#));
    assert!(positioned[0].starts_with("0: delete c:eu:7 by "), "{positioned:?}");
    let other = told(entity, Some("[7]"), None);
    assert!(other[0].contains("failed decode key"), "{other:?}");
}

#[test]
fn an_op_column_deletes_and_is_no_part_of_the_row() {
    let rules = RowRules {
        op_column: Some(OpColumn { column: "op".into(), delete: vec!["D".into()] }),
        ..RowRules::default()
    };
    let entity = Entity { rules, ..users(Format::Rows) };
    for (value, expected) in
        [(r#"{"op":"D","id":7}"#, "0: delete c:7"), (r#"{"op":"U","id":7}"#, "0: write c:7 = 7")]
    {
        assert_eq!(told(entity.clone(), KEY, Some(value)), [expected], "{value}");
    }
}

#[test]
fn names_in_capitals_and_absent_columns_are_as_the_entity_says() {
    let entity = Entity {
        rules: RowRules { absent: Absent::Null, lower_case: true, op_column: None },
        columns: vec![("note".to_owned(), Kind::Text)],
        ..mapping(vec![write("c:{id}"), write("n:{note}")])
    };
    let words = told(entity, Some(r#"{"ID":7}"#), Some(r#"{"ID":7}"#));
    assert!(words[0].contains("null"), "the absent column is null, so its key is an error: {words:?}");
    let entity = Entity {
        rules: RowRules { absent: Absent::Omit, lower_case: true, op_column: None },
        ..mapping(vec![write("c:{id}")])
    };
    assert_eq!(told(entity, Some(r#"{"ID":7}"#), Some(r#"{"ID":7}"#)), ["0: write c:7 = 7"]);
}

/// What an entity makes of a date, by its kind: a column that is only a number shows that no kind was known.
fn dated() -> Entity {
    let mut day = write("c:{id}");
    day.shape = crate::entity::spec::Shape::Text(crate::entity::template::Template::parse("{day}").unwrap());
    mapping(vec![day])
}

#[test]
fn json_under_a_registrys_schema_is_that_of_connects_json_with_its_schema() {
    let envelope = r#"{"before":null,"after":{"id":7,"day":19782},"source":{"connector":"postgresql","schema":"public","table":"customers","lsn":9},"op":"c"}"#;
    let row = r##"{"oneOf":[{"type":"null"},{"type":"object","properties":{"id":{"type":"integer","connect.type":"int32"},
        "day":{"type":"integer","title":"io.debezium.time.Date","connect.type":"int32"}}}]}"##;
    let value = format!(
        r#"{{"type":"object","title":"shop.public.customers.Envelope","properties":{{"before":{row},"after":{row},"op":{{"type":"string"}}}}}}"#
    );
    let key = r#"{"type":"object","title":"shop.public.customers.Key","properties":{"id":{"type":"integer","connect.type":"int32"}}}"#;
    let framed = |id: u8, json: &str| Some([&[0, 0, 0, 0, id], json.as_bytes()].concat());
    let mut pipeline = pipeline(vec![dated()]).with_registry(crate::decode::Wire::default());
    let mut change = record(TOPIC, None, None);
    (change.key, change.value) = (framed(1, r#"{"id":7}"#), framed(2, envelope));
    for _ in 0..2 {
        let schema = pipeline.missing_schema(&change.as_record()).expect("two are to be told");
        let text = if schema.side == crate::decode::Side::Key { key.to_owned() } else { value.clone() };
        let kind = crate::decode::SchemaKind::Json;
        let told = crate::decode::RegisteredSchema { kind, text, references: Vec::new() };
        pipeline.know_schema(schema, Ok(told));
    }
    assert_eq!(pipeline.missing_schema(&change.as_record()), None);
    assert_eq!(handled(&mut pipeline, &change), ["0: write c:7 = 2024-02-29"]);
    let tombstone = OwnedRecord { value: None, ..change };
    assert_eq!(handled(&mut pipeline, &tombstone), ["0: delete c:7"]);
}
