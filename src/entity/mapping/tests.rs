//! Values, conditions and lifetimes as the settings say them.

use super::super::condition::Condition;
use super::super::spec::{Member, Source};
use super::super::template::Template;
use super::super::testing::{change_of, effects, entity, mapping, mutations, without_positions, write};
use super::super::text_template::TextTemplate;
use super::*;
use crate::change::Op;
use crate::entity::Entity;
use crate::mutation::{Compression, Effect, Expiry};
use crate::types::{Kind, Unit};

const KEY: &str = r#"{"id":7}"#;

fn shaped(shape: Shape) -> Entity {
    mapping(vec![WriteSpec { shape, ..write("c:{id}") }])
}

fn living(base: TtlBase, jitter: f64) -> Entity {
    let mut entity = mapping(vec![WriteSpec { ttl: Ttl { base, jitter }, ..write("c:{id}") }]);
    entity.columns = vec![("until".into(), Kind::Instant(Unit::Millis))];
    entity
}

fn chosen(columns: &[(&str, &str)]) -> Columns {
    let chosen = |(name, column): &(&str, &str)| Chosen { name: (*name).into(), column: (*column).into() };
    Columns::Chosen(columns.iter().map(chosen).collect())
}

fn text(template: &str) -> Shape {
    Shape::Text(Template::parse(template).unwrap())
}

fn created(entity: &Entity, row: &str) -> Vec<String> {
    effects(entity, change_of(Op::Create, KEY, "", row))
}

fn when(condition: &str) -> Option<Condition> {
    Some(Condition::compile(condition).unwrap())
}

#[test]
fn each_shape_gives_its_value() {
    let row = r#"{"id":7,"email":null,"na\"me":"x","pad":" y ","photo":"AAEC","n":1.50}"#;
    for (shape, expected) in [
        (
            Shape::Json(Columns::All),
            r#"write c:7 = {"id":7,"email":null,"na\"me":"x","pad":" y ","photo":"AAEC","n":1.50}"#,
        ),
        (Shape::Json(chosen(&[("total", "n"), ("id", "id")])), r#"write c:7 = {"total":1.50,"id":7}"#),
        (Shape::Hash(chosen(&[("id", "id"), ("email", "email"), ("p", "pad")])), "write c:7 = [id=7 p= y ]"),
        (text("{id}/{email}/{pad|trim}"), "write c:7 = 7//y"),
        (Shape::Bytes("pad".into()), "write c:7 =  y "),
        (Shape::Bytes("email".into()), "delete c:7"),
        (Shape::Hash(chosen(&[("email", "email")])), "delete c:7"),
        (Shape::Invalidate, "delete c:7"),
    ] {
        assert_eq!(created(&shaped(shape.clone()), row), [expected], "{shape:?}");
    }
}

/// A member of a nested object.
fn member(name: &str, source: Source) -> Member {
    Member { name: name.into(), source }
}

#[test]
fn nested_objects_hold_columns_constants_and_parsed_texts() {
    let shape = Shape::Nested(vec![
        member("id", Source::Column("id".into())),
        member("kind", Source::Constant(r#""x\"y""#.into())),
        member("attributes", Source::Parsed("attributes".into())),
        member(
            "address",
            Source::Object(vec![
                member("city", Source::Column("city".into())),
                member("inner", Source::Object(vec![member("n", Source::Constant("1.5".into()))])),
            ]),
        ),
    ]);
    let text = r#"{"id":7,"city":null,"attributes":" {\"b\": [1, 2.50],\"a\":null}\n"}"#;
    let expected = r#"write c:7 = {"id":7,"kind":"x\"y","attributes":{"b": [1, 2.50],"a":null},"address":{"city":null,"inner":{"n":1.5}}}"#;
    assert_eq!(created(&shaped(shape.clone()), text), [expected]);
    for (row, expected) in [
        (r#"{"id":7,"city":"<unavailable>","attributes":"1"}"#, "delete c:7"),
        (r#"{"id":7,"city":"x","attributes":"<unavailable>"}"#, "delete c:7"),
        (r#"{"id":7,"city":"x","attributes":"{oops"}"#, "error value: column \"attributes\""),
        (r#"{"id":7,"city":"x","attributes":""}"#, "error value: column \"attributes\""),
        (r#"{"id":7,"attributes":"1"}"#, "error value: column \"city\""),
        (
            r#"{"id":7,"city":"x","attributes":null}"#,
            r#"write c:7 = {"id":7,"kind":"x\"y","attributes":null,"address":{"city":"x","inner":{"n":1.5}}}"#,
        ),
    ] {
        assert_eq!(created(&shaped(shape.clone()), row), [expected], "{row}");
    }
}

#[test]
fn a_template_writes_text_under_the_rules_of_every_value() {
    let shape = |source| Shape::Template(TextTemplate::compile(source).unwrap());
    for (source, row, expected) in [
        ("<{{ name }}{{ gone }}>", r#"{"id":7,"name":"x","gone":null}"#, "write c:7 = <x>"),
        ("{{ name }}", r#"{"id":7}"#, "error value: column \"name\""),
        ("{{ name }}", r#"{"id":7,"name":"<unavailable>"}"#, "delete c:7"),
        (
            "{% for n in range(999) %}xx{% endfor %}",
            r#"{"id":7}"#,
            "error too_large: a value of 1001 bytes is over limits.value_bytes = 1000",
        ),
    ] {
        assert_eq!(created(&shaped(shape(source)), row), [expected], "{source}");
    }
}

#[test]
fn a_compare_and_delete_looks_for_the_packed_bytes() {
    let packing = Packing { msgpack: false, compress: Some((Compression::Zstd, 10)) };
    let spec = WriteSpec { packing, shape: text("{note}"), ..write("n:{name}") };
    let mut entity = mapping(vec![spec]);
    entity.replica_identity = crate::entity::ReplicaIdentity::Full;
    let note = "abc".repeat(100);
    let row = |name: &str| format!(r#"{{"id":7,"name":"{name}","note":"{note}"}}"#);
    let written = |name: &str, op, before: &str| {
        let change = without_positions(change_of(op, KEY, before, &row(name)));
        mutations(&entity, change).unwrap()
    };
    let first = written("a", Op::Create, "");
    let Effect::Write(value, _) = &first[0].effect else { panic!("{first:?}") };
    assert!(value.size_bytes() < note.len());
    let before = row("a");
    let moved = written("b", Op::Update, &before);
    assert!(moved.iter().any(|made| made.effect == Effect::DeleteIf(value.clone())), "{moved:?}");
}

#[test]
fn a_value_that_the_event_does_not_hold_deletes_the_key_where_it_is_needed() {
    let row = r#"{"id":7,"bio":"<unavailable>","name":"x"}"#;
    for (shape, expected) in [
        (Shape::Json(Columns::All), "delete c:7"),
        (Shape::Json(chosen(&[("bio", "bio")])), "delete c:7"),
        (Shape::Json(chosen(&[("name", "name")])), r#"write c:7 = {"name":"x"}"#),
        (Shape::Hash(Columns::All), "delete c:7"),
        (text("{name}{bio}"), "delete c:7"),
        (text("{name}"), "write c:7 = x"),
        (Shape::Bytes("bio".into()), "delete c:7"),
    ] {
        assert_eq!(created(&shaped(shape.clone()), row), [expected], "{shape:?}");
    }
}

#[test]
fn a_missing_column_is_the_record_s_error_and_names_it() {
    for shape in [
        Shape::Json(chosen(&[("x", "gone")])),
        Shape::Hash(chosen(&[("x", "gone")])),
        text("{gone}"),
        Shape::Bytes("gone".into()),
    ] {
        let words = created(&shaped(shape.clone()), r#"{"id":7}"#);
        assert!(words.len() == 1 && words[0].starts_with("error ") && words[0].contains("gone"), "{words:?}");
    }
}

#[test]
fn a_value_over_the_limit_is_the_record_s_error() {
    let row = |bytes: usize| format!(r#"{{"id":7,"n":"{}"}}"#, "x".repeat(bytes));
    assert!(created(&shaped(text("{n}")), &row(1_000))[0].starts_with("write"));
    assert_eq!(
        created(&shaped(text("{n}")), &row(1_001)),
        ["error too_large: a value of 1001 bytes is over limits.value_bytes = 1000"]
    );
}

#[test]
fn conditions_decide_between_writing_and_deleting() {
    for (condition, status, expected) in [
        ("after.status == 'active'", r#""active""#, "write c:7 = 7"),
        ("after.status == 'active'", r#""closed""#, "delete c:7"),
        ("after.status == 'active'", "null", "delete c:7"),
        ("after.status == 'active'", r#""<unavailable>""#, "delete c:7"),
        ("after.status > 5", r#""active""#, "delete c:7"),
        ("after.gone == 1", r#""active""#, "delete c:7"),
    ] {
        let entity = mapping(vec![WriteSpec { when: when(condition), ..write("c:{id}") }]);
        let row = format!(r#"{{"id":7,"status":{status}}}"#);
        assert_eq!(created(&entity, &row), [expected], "{condition} over {status}");
    }
}

#[test]
fn op_d_deletes_whatever_the_condition_says() {
    let entity = mapping(vec![WriteSpec { when: when("op != 'd'"), ..write("c:{id}") }]);
    assert_eq!(effects(&entity, change_of(Op::Delete, KEY, "", "")), ["delete c:7"]);
}

#[test]
fn a_soft_delete_deletes_every_key_of_the_row() {
    let soft = |condition: &str| {
        entity(std::sync::Arc::new(Mapping::new(MappingSpec {
            writes: vec![write("c:{id}"), write("email:{email}")],
            delete_when: when(condition),
            value_bytes_max: 1_000,
            unavailable: Default::default(),
        })))
    };
    let both = ["delete c:7", "delete email:a by public.customers:7 v9"];
    let row = |deleted_at: &str| format!(r#"{{"id":7,"email":"a","deleted_at":{deleted_at}}}"#);
    let entity = soft("after.deleted_at != null");
    assert_eq!(created(&entity, &row("5")), both);
    assert_eq!(created(&entity, &row("null"))[0], "write c:7 = 7");
    assert_eq!(created(&entity, &row(r#""<unavailable>""#)), both, "undecidable counts as true");
    assert_eq!(created(&soft("after.gone != null"), &row("null")), both, "so does a missing column");
}

#[test]
fn deletes_come_before_writes_in_the_order_of_the_file() {
    let conditional = |key: &str, condition: &str| WriteSpec { when: when(condition), ..write(key) };
    let entity = mapping(vec![
        write("a:{id}"),
        conditional("b:{id}", "false"),
        write("c:{id}"),
        conditional("d:{id}", "false"),
    ]);
    assert_eq!(
        created(&entity, r#"{"id":7}"#),
        ["delete b:7", "delete d:7", "write a:7 = 7", "write c:7 = 7"]
    );
}

#[test]
fn lifetimes_count_from_the_write_the_commit_or_a_column() {
    let column = |at_most, if_null| TtlBase::Column { column: "until".into(), at_most, if_null };
    for (base, until, expected) in [
        (TtlBase::None, "1", "write c:7 = 7"),
        (TtlBase::After(1_000), "1", "write c:7 = 7 in 1000"),
        (TtlBase::AfterCommit(1_000), "1", "write c:7 = 7 at 1001000"),
        (column(None, None), "5000", "write c:7 = 7 at 5000"),
        (column(Some(60), None), "5000", "write c:7 = 7 at 5000 within 60"),
        (column(None, Some(90)), "null", "write c:7 = 7 in 90"),
        (column(Some(60), Some(90)), "null", "write c:7 = 7 in 60"),
        (column(None, None), "9223372036825200000", "write c:7 = 7"),
        (column(Some(60), None), "9223372036825200000", "write c:7 = 7 in 60"),
        (column(None, None), "\"<unavailable>\"", "delete c:7"),
        (column(None, None), "null", "error value: column \"until\""),
        (column(None, None), "\"soon\"", "error value: column \"until\""),
    ] {
        let row = format!(r#"{{"id":7,"until":{until}}}"#);
        assert_eq!(created(&living(base.clone(), 0.0), &row), [expected], "{base:?} {until}");
    }
    let gone = created(&living(column(None, Some(90)), 0.0), r#"{"id":7}"#);
    assert_eq!(gone, ["error value: column \"until\""], "a missing column is not a null one");
}

#[test]
fn without_a_commit_time_the_record_s_counts() {
    let mut change = without_positions(change_of(Op::Create, KEY, "", r#"{"id":7}"#));
    change.commit_ms = None;
    assert_eq!(effects(&living(TtlBase::AfterCommit(5), 0.0), change), ["write c:7 = 7 at 2000005"]);
}

#[test]
fn jitter_depends_on_nothing_but_the_key() {
    let entity = living(TtlBase::After(1_000_000), 0.2);
    let expiry = |row: &str, op| {
        let made = mutations(&entity, change_of(op, "", "", row)).unwrap();
        match made[0].effect {
            Effect::Write(_, Expiry::In(ms)) => ms,
            _ => panic!("{made:?}"),
        }
    };
    let first = expiry(r#"{"id":7,"a":1}"#, Op::Create);
    assert_eq!(first, expiry(r#"{"id":7,"a":2}"#, Op::Update));
    assert_ne!(first, expiry(r#"{"id":8,"a":1}"#, Op::Create));
    assert!((800_000..=1_200_000).contains(&first));
}
