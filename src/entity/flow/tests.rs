//! Each rule of keys: which a change writes, which it deletes, and what passes the guard.

use super::super::ReplicaIdentity;
use super::super::spec::{Shape, WriteSpec};
use super::super::testing::{
    change_of, effects, in_words, mapping, record, row, tombstone, without_positions, write,
};
use super::*;
use crate::change::{Belief, Change};
use crate::entity::condition::Condition;

const BY_ID: &str = "customer:{id}";
const BY_EMAIL: &str = "email:{email|lower}";

fn customer() -> Entity {
    mapping(vec![write(BY_ID), write(BY_EMAIL)])
}

fn full(mut entity: Entity) -> Entity {
    entity.replica_identity = ReplicaIdentity::Full;
    entity
}

fn index(mut entity: Entity, column: &str) -> Entity {
    entity.replica_identity = ReplicaIdentity::Index(vec![column.into()]);
    entity
}

fn key_columns(mut entity: Entity, columns: &[&str]) -> Entity {
    entity.key_columns = Some(columns.iter().map(|column| (*column).to_owned()).collect());
    entity
}

fn check(name: &str, entity: &Entity, change: Change<'static>, expected: &[&str]) {
    assert_eq!(effects(entity, change), expected, "{name}");
}

const ANN: &str = r#"{"id":7,"email":"Ann@x"}"#;
const KEY: &str = r#"{"id":7}"#;

#[test]
fn a_row_is_written_under_each_of_its_keys_and_secondary_keys_carry_the_guard() {
    let expected = ["write customer:7 = 7", "write email:ann@x = 7 by public.customers:7 v9"];
    for op in [Op::Create, Op::Update, Op::Read] {
        check(op.letter(), &customer(), change_of(op, KEY, "", ANN), &expected);
    }
}

#[test]
fn a_snapshot_row_without_a_position_is_older_than_any() {
    let mut change = change_of(Op::Read, KEY, "", ANN);
    change.version = None;
    let expected = ["write customer:7 = 7", "write email:ann@x = 7 by public.customers:7 v"];
    check("incremental", &customer(), change, &expected);
}

#[test]
fn a_key_is_primary_where_it_holds_the_whole_record_key_unfiltered() {
    let json = r#"{"id":7,"tenant":"T","email":"e"}"#;
    for (key, record_key, guarded) in [
        ("c:{id}", r#"{"id":7}"#, false),
        ("c:{id}:{email}", r#"{"id":7}"#, false),
        ("c:{tenant}:{id}", r#"{"id":7,"tenant":"T"}"#, false),
        ("c:{id}", r#"{"id":7,"tenant":"T"}"#, true),
        ("c:{tenant|lower}:{id}", r#"{"id":7,"tenant":"T"}"#, true),
        ("c:{tenant|lower}:{id}", r#"{"id":7}"#, false),
        ("c:{id|trim}", r#"{"id":7}"#, true),
        ("c:{id}", "", true),
        ("c:{email}", r#"{"id":7}"#, true),
    ] {
        let words = effects(&mapping(vec![write(key)]), change_of(Op::Create, record_key, "", json));
        assert_eq!(words[0].contains(" by "), guarded, "{key} of {record_key}: {words:?}");
    }
}

#[test]
fn a_delete_reaches_what_before_or_the_record_key_tell() {
    let made_up = r#"{"id":7,"email":"","n":0}"#;
    let by_both = mapping(vec![write("c:{id}:{email}"), write(BY_ID)]);
    let guarded = "delete email:ann@x by public.customers:7 v9";
    for (name, entity, key, before, expected) in [
        ("default: the rest of before is made up", customer(), KEY, made_up, vec!["delete customer:7"]),
        ("full", full(customer()), KEY, ANN, vec!["delete customer:7", guarded]),
        ("nothing", customer(), KEY, "", vec!["delete customer:7"]),
        ("a primary key of more than the record key", by_both, KEY, made_up, vec!["delete customer:7"]),
        (
            "the same under full",
            full(mapping(vec![write("c:{id}:{email}")])),
            KEY,
            ANN,
            vec!["delete c:7:Ann@x"],
        ),
    ] {
        check(name, &entity, change_of(Op::Delete, key, before, ""), &expected);
    }
}

#[test]
fn under_an_index_identity_only_the_index_columns_are_believed() {
    let entity = index(mapping(vec![write(BY_ID), write("code:{code}")]), "code");
    let row = r#"{"id":7,"code":"x"}"#;
    check(
        "create",
        &entity,
        change_of(Op::Create, KEY, "", row),
        &["write customer:7 = 7", "write code:x = 7 by public.customers:x v9"],
    );
    check(
        "delete: its record key and its id are made up",
        &entity,
        change_of(Op::Delete, r#"{"id":0}"#, r#"{"id":0,"code":"x"}"#, ""),
        &["delete code:x by public.customers:x v9"],
    );
    check("the tombstone after it", &entity, index_tombstone(), &[]);
}

fn index_tombstone() -> Change<'static> {
    tombstone(r#"{"id":0}"#)
}

#[test]
fn other_connectors_before_is_whole() {
    let mut change = change_of(Op::Delete, KEY, ANN, "");
    change.connector = Connector::Other;
    change.belief = Belief::Whole;
    check(
        "mysql",
        &customer(),
        change,
        &["delete customer:7", "delete email:ann@x by public.customers:7 v9"],
    );
}

#[test]
fn a_tombstone_deletes_what_the_record_key_tells() {
    let mut invalidated = write("page:{id}");
    invalidated.shape = Shape::Invalidate;
    let mut shared = write(BY_ID);
    shared.shared = true;
    for (name, entity, key, expected) in [
        ("secondary keys cannot follow", customer(), KEY, vec!["delete customer:7"]),
        ("a key of more columns", mapping(vec![write("c:{id}:{email}")]), KEY, vec![]),
        ("a part of a composite key", mapping(vec![write(BY_ID)]), r#"{"id":7,"line":2}"#, vec![]),
        ("invalidated", mapping(vec![invalidated]), r#"{"id":7,"line":2}"#, vec!["delete page:7"]),
        ("shared", mapping(vec![shared]), KEY, vec!["delete customer:7 by shop.public.customers:7 v"]),
    ] {
        check(name, &entity, tombstone(key), &expected);
    }
    check(
        "a null in the record key is the record's error",
        &customer(),
        tombstone(r#"{"id":null}"#),
        &[r#"error key_column: key column "id" of "customer:{id}" is null"#],
    );
}

#[test]
fn a_primary_key_change_arrives_as_delete_tombstone_and_create() {
    let entity = full(customer());
    let words: Vec<_> = [
        change_of(Op::Delete, KEY, ANN, ""),
        tombstone(KEY),
        change_of(Op::Create, r#"{"id":8}"#, "", r#"{"id":8,"email":"Ann@x"}"#),
    ]
    .into_iter()
    .flat_map(|change| effects(&entity, change))
    .collect();
    assert_eq!(
        words,
        [
            "delete customer:7",
            "delete email:ann@x by public.customers:7 v9",
            "delete customer:7",
            "write customer:8 = 8",
            "write email:ann@x = 8 by public.customers:8 v9",
        ]
    );
}

#[test]
fn a_key_that_the_row_has_left_is_deleted_before_anything_is_written() {
    let bob = r#"{"id":7,"email":"Bob@x"}"#;
    check(
        "a secondary key moves",
        &full(customer()),
        change_of(Op::Update, KEY, ANN, bob),
        &[
            "delete email:ann@x by public.customers:7 v9",
            "write customer:7 = 7",
            "write email:bob@x = 7 by public.customers:7 v9",
        ],
    );
    check(
        "where before is not believed, nobody knows",
        &customer(),
        change_of(Op::Update, KEY, ANN, bob),
        &["write customer:7 = 7", "write email:bob@x = 7 by public.customers:7 v9"],
    );
    check(
        "one update that changes the primary key",
        &full(customer()),
        change_of(Op::Update, r#"{"id":8}"#, ANN, r#"{"id":8,"email":"Ann@x"}"#),
        &["delete customer:7", "write customer:8 = 8", "write email:ann@x = 8 by public.customers:8 v9"],
    );
    check(
        "the old key names its old row",
        &full(customer()),
        change_of(Op::Update, r#"{"id":8}"#, ANN, r#"{"id":8,"email":"Bob@x"}"#),
        &[
            "delete customer:7",
            "delete email:ann@x by public.customers:7 v9",
            "write customer:8 = 8",
            "write email:bob@x = 8 by public.customers:8 v9",
        ],
    );
    check(
        "a row that had no such key",
        &full(mapping(vec![write(BY_EMAIL)])),
        change_of(Op::Update, KEY, r#"{"id":7,"email":null}"#, bob),
        &["write email:bob@x = 7 by public.customers:7 v9"],
    );
}

#[test]
fn without_positions_a_secondary_key_is_deleted_only_while_it_holds_the_row_s_value() {
    let entity = full(customer());
    let bob = r#"{"id":7,"email":"Bob@x"}"#;
    for (name, entity, change, expected) in [
        (
            "update",
            &entity,
            change_of(Op::Update, KEY, ANN, bob),
            vec!["delete email:ann@x if 7", "write customer:7 = 7", "write email:bob@x = 7"],
        ),
        (
            "delete",
            &entity,
            change_of(Op::Delete, KEY, ANN, ""),
            vec!["delete customer:7", "delete email:ann@x if 7"],
        ),
        (
            "a delete whose before is not believed",
            &customer(),
            change_of(Op::Delete, KEY, ANN, ""),
            vec!["delete customer:7"],
        ),
        ("tombstone", &entity, tombstone(KEY), vec!["delete customer:7"]),
    ] {
        check(name, entity, without_positions(change), &expected);
    }
}

/// Two rows whose values a filter makes one would overwrite each other in two partitions without the guard.
#[test]
fn only_filters_that_keep_rows_apart_leave_a_key_to_its_partition() {
    for (template, is_guarded) in [
        ("c:{id|url}", false),
        ("c:{id|escape}", false),
        ("c:{id|hash}:{id}", false),
        ("c:{id|hash:64}", true),
        ("c:{id|lower}", true),
        ("c:{id|url|trim}", true),
    ] {
        let made = super::super::testing::mutations(
            &mapping(vec![write(template)]),
            change_of(Op::Create, KEY, "", r#"{"id":7}"#),
        );
        let made = made.unwrap();
        assert!(made.iter().all(|mutation| mutation.guard.is_some() == is_guarded), "{template}: {made:?}");
        assert_eq!(made.len(), 1, "{template}");
    }
}

#[test]
fn without_positions_a_row_that_no_longer_qualifies_gives_up_a_key_only_while_it_holds_its_value() {
    let when = Some(Condition::compile("after.ok").unwrap());
    let entity = full(mapping(vec![WriteSpec {
        shape: Shape::Text(super::Template::parse("{id}:{n}").unwrap()),
        when,
        ..write(BY_EMAIL)
    }]));
    let row = |n: u32, ok: bool| format!(r#"{{"id":7,"email":"a","n":{n},"ok":{ok}}}"#);
    for (name, before, expected) in [
        ("both values count", row(1, true), vec!["delete email:a if 7:1", "delete email:a if 7:2"]),
        ("one where they are the same", row(2, true), vec!["delete email:a if 7:2"]),
        ("the new row's where there is no other", String::new(), vec!["delete email:a if 7:2"]),
    ] {
        check(
            name,
            &entity,
            without_positions(change_of(Op::Update, KEY, &before, &row(2, false))),
            &expected,
        );
    }
}

#[test]
fn without_positions_a_value_that_the_event_does_not_hold_deletes_like_the_write_in_its_place() {
    let entity = mapping(vec![WriteSpec {
        shape: Shape::Text(super::Template::parse("{bio}").unwrap()),
        ..write(BY_EMAIL)
    }]);
    let row = r#"{"id":7,"email":"a","bio":"<unavailable>"}"#;
    check("toast", &entity, without_positions(change_of(Op::Update, KEY, "", row)), &["delete email:a"]);
    check(
        "with positions the guard decides",
        &entity,
        change_of(Op::Update, KEY, "", row),
        &["delete email:a by public.customers:7 v9"],
    );
}

#[test]
fn a_handler_in_rust_that_asks_for_an_unavailable_column_deletes_the_row_s_keys() {
    #[derive(Debug)]
    struct Bio([KeyTemplate; 2]);
    impl crate::entity::EntityHandler for Bio {
        fn keys(&self) -> &[KeyTemplate] {
            &self.0
        }
        fn values(&self, row: &RowImage<'_>, out: &mut Values) -> Result<(), HandleError> {
            out.write(0, Value::text("written first"), crate::entity::Lifetime::never());
            out.write(1, Value::text(row.text("bio")?), crate::entity::Lifetime::never());
            Ok(())
        }
    }
    let keys = ["a:{id}", "b:{id}"].map(|key| KeyTemplate::parse(key).unwrap());
    let entity = crate::entity::testing::entity(std::sync::Arc::new(Bio(keys)));
    let toast = r#"{"id":7,"bio":"<unavailable>"}"#;
    check("toast", &entity, change_of(Op::Update, KEY, "", toast), &["delete a:7", "delete b:7"]);
    let missing = effects(&entity, change_of(Op::Update, KEY, "", r#"{"id":7}"#));
    assert!(missing[0].starts_with("error value"), "{missing:?}");
}

#[test]
fn shared_keys_pass_the_guard_though_the_partition_orders_them() {
    let mut shared = write(BY_ID);
    shared.shared = true;
    let entity = mapping(vec![shared]);
    check(
        "write",
        &entity,
        change_of(Op::Create, KEY, "", ANN),
        &["write customer:7 = 7 by public.customers:7 v9"],
    );
    check(
        "delete",
        &entity,
        change_of(Op::Delete, KEY, "", ""),
        &["delete customer:7 by public.customers:7 v9"],
    );
    check(
        "without positions, by the owner alone",
        &entity,
        without_positions(change_of(Op::Create, KEY, "", ANN)),
        &["write customer:7 = 7 by shop.public.customers:7 v"],
    );
}

#[test]
fn the_row_of_a_keyless_table_is_told_by_its_key_columns_or_all_of_them() {
    let by_columns = full(key_columns(mapping(vec![write(BY_ID)]), &["id"]));
    let bob = r#"{"id":7,"email":"Bob@x"}"#;
    check(
        "key_columns",
        &by_columns,
        change_of(Op::Update, "", ANN, bob),
        &["write customer:7 = 7 by public.customers:7 v9"],
    );
    check(
        "key_columns, delete",
        &by_columns,
        change_of(Op::Delete, "", ANN, ""),
        &["delete customer:7 by public.customers:7 v9"],
    );
    let by_row = full(mapping(vec![write(BY_EMAIL)]));
    let owner = |words: &str| words.split(" by ").nth(1).unwrap().to_owned();
    let created = effects(&by_row, change_of(Op::Create, "", "", ANN));
    let updated = effects(&by_row, change_of(Op::Update, "", ANN, bob));
    let deleted = effects(&by_row, change_of(Op::Delete, "", bob, ""));
    assert_eq!(updated.len(), 2, "{updated:?}");
    assert_eq!(owner(&updated[0]), owner(&created[0]), "the old key is left by the row that wrote it");
    assert_eq!(owner(&deleted[0]), owner(&updated[1]), "and the new one is deleted by the row that wrote it");
    assert_ne!(owner(&created[0]), owner(&updated[1]));
}

#[test]
fn a_key_that_a_row_gives_up_is_given_up_for_its_former_identity_too() {
    let spec = || WriteSpec { when: Some(Condition::compile("after.ok").unwrap()), ..write("email:{email}") };
    let row = |id: u8, ok: bool| format!(r#"{{"id":{id},"email":"a","ok":{ok}}}"#);
    let entity = full(mapping(vec![spec()]));
    let written = effects(&entity, change_of(Op::Create, "", "", &row(7, true)));
    let given_up = effects(&entity, change_of(Op::Update, "", &row(7, true), &row(7, false)));
    let owner = |words: &str| words.split(" by ").nth(1).unwrap().to_owned();
    assert_eq!(given_up.len(), 2, "{given_up:?}");
    assert_eq!(owner(&given_up[0]), owner(&written[0]), "a keyless row is told by all of its columns");
    check(
        "an update that changes the primary key",
        &entity,
        change_of(Op::Update, r#"{"id":8}"#, &row(7, true), &row(8, false)),
        &["delete email:a by public.customers:7 v9", "delete email:a by public.customers:8 v9"],
    );
    check(
        "the same row",
        &entity,
        change_of(Op::Update, KEY, &row(7, true), &row(7, false)),
        &["delete email:a by public.customers:7 v9"],
    );
}

#[test]
fn a_key_column_without_a_value_is_the_record_s_error() {
    for (json, words) in [
        (r#"{"id":7,"email":null}"#, "is null"),
        (r#"{"id":7}"#, "is missing"),
        (r#"{"id":7,"email":"<unavailable>"}"#, "is unavailable"),
    ] {
        let found = effects(&customer(), change_of(Op::Update, KEY, "", json));
        assert!(
            found.len() == 1 && found[0].starts_with("error key_column") && found[0].ends_with(words),
            "{found:?}"
        );
    }
}

#[test]
fn the_record_key_stands_in_for_key_columns_that_the_row_leaves_out() {
    let entity = mapping(vec![WriteSpec {
        shape: Shape::Text(super::Template::parse("{email}").unwrap()),
        ..write(BY_ID)
    }]);
    check(
        "upsert stream",
        &entity,
        change_of(Op::Create, KEY, "", r#"{"email":"a"}"#),
        &["write customer:7 = a"],
    );
}

#[test]
fn a_row_that_a_condition_shuts_out_is_deleted_and_a_null_there_is_no_key() {
    let guarded = |when: &str| {
        mapping(vec![WriteSpec { when: Some(Condition::compile(when).unwrap()), ..write("email:{email}") }])
    };
    let entity = guarded("after.email != null");
    check("it had no key", &entity, change_of(Op::Create, KEY, "", r#"{"id":7,"email":null}"#), &[]);
    check(
        "it has left its key",
        &full(guarded("after.email != null")),
        change_of(Op::Update, KEY, r#"{"id":7,"email":"a"}"#, r#"{"id":7,"email":null}"#),
        &["delete email:a by public.customers:7 v9"],
    );
    check(
        "an unavailable one is an error all the same",
        &guarded("false"),
        change_of(Op::Update, KEY, "", r#"{"id":7,"email":"<unavailable>"}"#),
        &[r#"error key_column: key column "email" of "email:{email}" is unavailable"#],
    );
}

#[test]
fn invalidated_keys_are_deleted_on_every_change_whoever_filled_them() {
    let mut page = write("page:{email}");
    page.shape = Shape::Invalidate;
    let entity = full(mapping(vec![page]));
    let bob = r#"{"id":7,"email":"Bob@x"}"#;
    for op in [Op::Create, Op::Read] {
        check(op.letter(), &entity, change_of(op, KEY, "", bob), &["delete page:Bob@x"]);
    }
    check("u", &entity, change_of(Op::Update, KEY, ANN, bob), &["delete page:Ann@x", "delete page:Bob@x"]);
    check("d", &entity, change_of(Op::Delete, KEY, ANN, ""), &["delete page:Ann@x"]);
}

#[test]
fn truncates_do_nothing_here() {
    check("t", &customer(), change_of(Op::Truncate, "", "", ""), &[]);
}

#[test]
fn what_a_failed_change_touches_is_deleted_as_far_as_it_is_known() {
    let salvage = |entity: &Entity, change: Change<'static>| {
        let mut change: Change<'_> = change;
        let before = change.before.take();
        see(&mut change, before, entity);
        let record = record();
        let flow = Flow::new(entity, &change, &record, usize::MAX);
        flow.salvage().iter().map(in_words).collect::<Vec<_>>()
    };
    let no_email = r#"{"id":7,"email":null}"#;
    assert_eq!(
        salvage(&full(customer()), change_of(Op::Update, KEY, ANN, no_email)),
        ["delete customer:7", "delete email:ann@x by public.customers:7 v9"]
    );
    assert_eq!(salvage(&customer(), change_of(Op::Create, KEY, "", ANN)).len(), 2);
    assert_eq!(
        salvage(&customer(), without_positions(change_of(Op::Create, KEY, "", ANN))),
        ["delete customer:7", "delete email:ann@x"],
        "its own write would have taken the key from whatever row had it"
    );
    assert_eq!(
        salvage(&full(customer()), without_positions(change_of(Op::Update, KEY, ANN, no_email))),
        ["delete customer:7"],
        "the key that it leaves may be another row's by now"
    );
    assert_eq!(salvage(&customer(), tombstone(r#"{"other":1}"#)), Vec::<String>::new());
}

#[test]
fn declared_types_reach_every_row_of_the_change() {
    let mut entity = customer();
    entity.columns = vec![("id".into(), crate::types::Kind::Int)];
    let mut change: Change<'_> = change_of(Op::Update, KEY, ANN, ANN);
    let before = change.before.take();
    see(&mut change, before, &entity);
    for row in [&change.key, &change.before, &change.after] {
        let Some(Cell::Present(typed)) = row.as_ref().map(|row| row.cell("id")) else { panic!("{row:?}") };
        assert_eq!(typed.kind, &crate::types::Kind::Int);
    }
    assert_eq!(row("{}").columns.len(), 0);
}
