//! Keys under an entity's own guard.

use super::super::ReplicaIdentity;
use super::super::testing::{
    change_of, effects, in_words, mapping, record, tombstone, without_positions, write,
};
use super::*;
use crate::change::{Belief, Change};

const KEY: &str = r#"{"id":7}"#;
const OLD: &str = r#"{"id":7,"email":"a","at":5,"seq":1}"#;
const NEW: &str = r#"{"id":7,"email":"b","at":6,"seq":2}"#;

fn guarded(by: GuardBy, epoch: u64) -> Entity {
    let mut entity = mapping(vec![write("c:{id}"), write("e:{email}")]);
    entity.guard = Some(GuardRule { by, epoch });
    entity.replica_identity = ReplicaIdentity::Full;
    entity
}

fn columns(names: &[&str]) -> GuardBy {
    GuardBy::Columns(names.iter().map(|name| (*name).to_owned()).collect())
}

/// Words with the ordered text of a small number as the number itself.
fn words(entity: &Entity, change: Change<'static>) -> Vec<String> {
    // The sign, ten to the first power, the digit and the end: see `types::order_key`.
    let digit = |number: u8| format!("128001{}0", number + 1);
    let mut words = effects(entity, change);
    for word in &mut words {
        for number in 1..9 {
            *word = word.replace(&digit(number), &format!("<{number}>"));
        }
    }
    words
}

#[test]
fn by_source_every_key_carries_the_position_and_a_primary_one_tells_its_row_by_itself() {
    let entity = guarded(GuardBy::Source, 0);
    assert_eq!(
        effects(&entity, change_of(Op::Update, KEY, OLD, NEW)),
        [
            "delete e:a by public.customers:7 v9",
            "write c:7 = 7 by row v9",
            "write e:b = 7 by public.customers:7 v9",
        ]
    );
    assert_eq!(
        effects(&entity, change_of(Op::Delete, KEY, OLD, "")),
        ["delete c:7 by row v9", "delete e:a by public.customers:7 v9"]
    );
    assert_eq!(
        effects(&entity, tombstone(KEY)),
        ["delete c:7 by row v"],
        "it tells no table, and names the same row"
    );
    let mut index = entity.clone();
    index.replica_identity = ReplicaIdentity::Index(vec!["id".into()]);
    assert_eq!(
        effects(&index, change_of(Op::Delete, r#"{"id":0}"#, KEY, "")),
        ["delete c:7 by row v9"],
        "whatever the record key says"
    );
    let moved = change_of(Op::Update, KEY, r#"{"id":3,"email":"a"}"#, NEW);
    assert_eq!(effects(&entity, moved)[0], "delete c:3 by row v9", "the former row's key");
}

#[test]
fn by_offset_only_keys_that_the_partition_orders_carry_it() {
    let entity = guarded(GuardBy::Offset, 0);
    let update = || change_of(Op::Update, KEY, OLD, NEW);
    assert_eq!(
        effects(&entity, update()),
        [
            "delete e:a by public.customers:7 v9",
            "write c:7 = 7 by row v-0000000000000003",
            "write e:b = 7 by public.customers:7 v9",
        ]
    );
    assert_eq!(
        effects(&entity, without_positions(update())),
        ["delete e:a if 7", "write c:7 = 7 by row v-0000000000000003", "write e:b = 7"]
    );
    assert_eq!(effects(&entity, tombstone(KEY)), ["delete c:7 by row v-0000000000000003"]);
}

#[test]
fn by_columns_a_change_carries_those_of_its_row_and_a_delete_those_of_the_row_that_it_ends() {
    let entity = guarded(columns(&["at", "seq"]), 0);
    for change in [
        change_of(Op::Create, KEY, "", NEW),
        without_positions(change_of(Op::Update, KEY, OLD, NEW)),
        change_of(Op::Update, KEY, OLD, NEW),
    ] {
        let found = words(&entity, change);
        assert!(found.iter().all(|word| word.ends_with(" v+<6><2>")), "{found:?}");
        assert!(found.contains(&"write c:7 = 7 by row v+<6><2>".to_owned()), "{found:?}");
    }
    let found = words(&entity, change_of(Op::Delete, KEY, OLD, ""));
    assert!(found.iter().all(|word| word.ends_with(" v+<5><1>")), "{found:?}");

    // Under the default identity a delete does not tell them.
    let mut default = entity.clone();
    default.replica_identity = ReplicaIdentity::Default;
    assert_eq!(words(&default, change_of(Op::Delete, KEY, OLD, "")), ["delete c:7 by row v"]);
    assert_eq!(words(&default, tombstone(KEY)), ["delete c:7 by row v"]);
}

#[test]
fn a_null_is_older_than_any_value_and_another_column_is_the_records_error() {
    let entity = guarded(columns(&["at"]), 0);
    let create = |json| change_of(Op::Create, KEY, "", json);
    let null = words(&entity, create(r#"{"id":7,"email":"b","at":null}"#));
    assert_eq!(null[0], "write c:7 = 7 by row v+0");
    for (json, error) in [
        (r#"{"id":7,"email":"b"}"#, "no such column"),
        (r#"{"id":7,"email":"b","at":"soon"}"#, "something else"),
        (r#"{"id":7,"email":"b","at":true}"#, "something else"),
    ] {
        let Err(HandleError::Value { column, source }) =
            super::super::testing::mutations(&entity, create(json))
        else {
            panic!("{json}")
        };
        assert_eq!((column.as_str(), &*source.found), ("at", error));
        let mut change: Change<'_> = create(json);
        change.belief = Belief::None;
        let record = record();
        let salvaged: Vec<_> =
            Flow::new(&entity, &change, &record, usize::MAX).salvage().iter().map(in_words).collect();
        assert_eq!(salvaged, ["delete c:7 by row v", "delete e:b by public.customers:7 v"], "{json}");
    }
}

#[test]
fn an_epoch_stands_before_every_version() {
    for (by, version) in [
        (GuardBy::Source, "h120000000000000009"),
        (GuardBy::Offset, "h12-0000000000000003"),
        (columns(&["seq"]), "h12+<2>"),
    ] {
        let found = words(&guarded(by, 12), change_of(Op::Create, KEY, "", NEW));
        assert_eq!(found[0], format!("write c:7 = 7 by row v{version}"));
    }
    assert_eq!(
        words(&guarded(GuardBy::Source, 2), tombstone(KEY)),
        ["delete c:7 by row vg2"],
        "also before none"
    );
}

#[test]
fn keys_that_hold_no_value_need_no_guard() {
    let mut page = write("page:{id}");
    page.shape = crate::entity::spec::Shape::Invalidate;
    let mut entity = mapping(vec![page]);
    entity.guard = Some(GuardRule { by: GuardBy::Source, epoch: 0 });
    assert_eq!(effects(&entity, change_of(Op::Update, KEY, OLD, NEW)), ["delete page:7"]);
}
