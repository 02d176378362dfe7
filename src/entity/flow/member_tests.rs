//! The rules of keys, for members of sets and sorted sets.

use super::super::condition::Condition;
use super::super::spec::{Shape, WriteSpec};
use super::super::testing::{change_of, effects, in_words, mapping, tombstone, without_positions, write};
use super::super::{Lifetime, ReplicaIdentity};
use super::*;
use crate::change::Change;
use crate::entity::EntityHandler;
use crate::mutation::MemberKind;

const KEY: &str = r#"{"id":7}"#;
const IN_EU: &str = r#"{"id":7,"region":"eu","points":10,"email":"e"}"#;
const IN_US: &str = r#"{"id":7,"region":"us","points":12.5,"email":"e"}"#;

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn board(key: &str, member: &str) -> WriteSpec {
    let shape = Shape::SortedSet { member: template(member), score: "points".into() };
    WriteSpec { shape, ..write(key) }
}

fn index(key: &str, member: &str) -> WriteSpec {
    WriteSpec { shape: Shape::Set { member: template(member) }, ..write(key) }
}

fn full(writes: Vec<WriteSpec>) -> Entity {
    Entity { replica_identity: ReplicaIdentity::Full, ..mapping(writes) }
}

fn check(name: &str, entity: &Entity, change: Change<'static>, expected: &[&str]) {
    assert_eq!(effects(entity, change), expected, "{name}");
}

#[test]
fn a_row_is_a_member_and_leaves_the_key_that_it_no_longer_belongs_to() {
    let entity = full(vec![board("board:{region}", "{id}"), index("by-region:{region}", "{id}")]);
    check(
        "created",
        &entity,
        change_of(Op::Create, KEY, "", IN_EU),
        &["write board:eu member 7 = 10", "write by-region:eu member 7 = there"],
    );
    check(
        "moved",
        &entity,
        change_of(Op::Update, KEY, IN_EU, IN_US),
        &[
            "delete board:eu member 7",
            "delete by-region:eu member 7",
            "write board:us member 7 = 12.5",
            "write by-region:us member 7 = there",
        ],
    );
    check(
        "deleted",
        &entity,
        change_of(Op::Delete, KEY, IN_US, ""),
        &["delete board:us member 7", "delete by-region:us member 7"],
    );
    check(
        "a score that changes moves the member where it is",
        &full(vec![board("board", "{id}")]),
        change_of(Op::Update, KEY, IN_EU, IN_US),
        &["write board member 7 = 12.5"],
    );
    check(
        "a member that changes leaves its key",
        &full(vec![index("regions", "{id}:{region}")]),
        change_of(Op::Update, KEY, IN_EU, IN_US),
        &["delete regions member 7:eu", "write regions member 7:us = there"],
    );
}

#[test]
fn the_columns_of_key_and_member_together_decide_whether_the_partition_orders_it() {
    for (key, member, record_key, guarded) in [
        ("board", "{id}", KEY, false),
        ("board:{id}", "{region}", KEY, false),
        ("board:{region}", "{id}", r#"{"id":7,"region":"eu"}"#, false),
        ("board", "{id|lower}", KEY, true),
        ("board", "{email}", KEY, true),
        ("board:{region}", "{id}", r#"{"id":7,"email":"e"}"#, true),
        ("board", "{id}", "", true),
    ] {
        let words = effects(&mapping(vec![index(key, member)]), change_of(Op::Create, record_key, "", IN_EU));
        assert_eq!(words[0].contains(" by "), guarded, "{key} {member} of {record_key}: {words:?}");
    }
}

#[test]
fn a_tombstone_removes_what_the_record_key_tells_of_key_and_member() {
    let entity =
        mapping(vec![board("board", "{id}"), board("board:{region}", "{id}"), index("emails", "{email}")]);
    check("tombstone", &entity, tombstone(KEY), &["delete board member 7"]);
    let before = r#"{"id":7,"region":"","points":0,"email":""}"#;
    check(
        "default identity: the rest of before is made up",
        &entity,
        change_of(Op::Delete, KEY, before, ""),
        &["delete board member 7"],
    );
}

#[test]
fn a_row_that_does_not_qualify_or_whose_score_the_event_does_not_hold_is_no_member() {
    let when = Some(Condition::compile("after.points > 11").unwrap());
    let entity = full(vec![WriteSpec { when, ..board("board", "{id}") }]);
    check("false", &entity, change_of(Op::Update, KEY, "", IN_EU), &["delete board member 7"]);
    check("true", &entity, change_of(Op::Update, KEY, "", IN_US), &["write board member 7 = 12.5"]);
    let entity = full(vec![board("board", "{id}")]);
    let row = |points: &str| format!(r#"{{"id":7,"points":{points}}}"#);
    check(
        "unavailable",
        &entity,
        change_of(Op::Update, KEY, "", &row("\"<unavailable>\"")),
        &["delete board member 7"],
    );
    for (points, words) in [("null", "null"), ("\"gold\"", "another text"), ("true", "a boolean")] {
        let made = effects(&entity, change_of(Op::Update, KEY, "", &row(points)));
        assert_eq!(made, ["error value: column \"points\""], "{points}: {words}");
    }
    let nameless = effects(&full(vec![index("names", "{name}")]), change_of(Op::Update, KEY, "", IN_EU));
    assert_eq!(nameless, [r#"error key_column: key column "name" of "{name}" is missing"#]);
}

#[test]
fn a_secondary_member_goes_through_the_guard_and_without_positions_is_the_record_s_error() {
    let entity = full(vec![index("emails", "{email}")]);
    let other = IN_EU.replace("\"e\"", "\"f\"");
    check(
        "guarded",
        &entity,
        change_of(Op::Update, KEY, IN_EU, &other),
        &[
            "delete emails member e by public.customers:7 v9",
            "write emails member f = there by public.customers:7 v9",
        ],
    );
    for change in [change_of(Op::Update, KEY, IN_EU, &other), change_of(Op::Delete, KEY, IN_EU, "")] {
        let words = effects(&entity, without_positions(change));
        assert!(words.len() == 1 && words[0].contains("no position to order them by"), "{words:?}");
    }
    let primary = full(vec![index("ids", "{id}")]);
    let unpositioned = without_positions(change_of(Op::Delete, KEY, IN_EU, ""));
    check("a primary one needs none", &primary, unpositioned, &["delete ids member 7"]);
}

#[test]
fn what_cannot_be_handled_is_no_member_any_more() {
    let entity = full(vec![board("board", "{id}"), index("emails", "{email}"), write("{gone}")]);
    let salvaged = |change: Change<'static>| {
        let mut change: Change<'_> = change;
        let before = change.before.take();
        see(&mut change, before, &entity);
        let record = super::super::testing::record();
        let deletes = Flow::new(&entity, &change, &record, usize::MAX).salvage();
        deletes.iter().map(in_words).collect::<Vec<_>>()
    };
    let change = || change_of(Op::Update, KEY, "", IN_EU);
    assert_eq!(
        salvaged(change()),
        ["delete board member 7", "delete emails member e by public.customers:7 v9"]
    );
    assert_eq!(salvaged(without_positions(change())), ["delete board member 7"], "nothing orders the other");
}

/// Gives its one key whatever it is made with.
#[derive(Debug)]
struct Gives([KeyTemplate; 1], Value, Lifetime);

impl EntityHandler for Gives {
    fn keys(&self) -> &[KeyTemplate] {
        &self.0
    }
    fn values(&self, _: &RowImage<'_>, out: &mut Values) -> Result<(), HandleError> {
        out.write(0, self.1.clone(), self.2);
        Ok(())
    }
}

#[test]
fn a_handler_in_rust_gives_members_what_members_are() {
    let set = || KeyTemplate::parse("set").unwrap().with_member(MemberKind::Set, template("{id}"));
    let sorted = || KeyTemplate::parse("z").unwrap().with_member(MemberKind::SortedSet, template("{id}"));
    let plain = || KeyTemplate::parse("k:{id}").unwrap();
    let hour = Lifetime::after(std::time::Duration::from_secs(3_600));
    let another_kind = "members and whole values differ";
    for (key, value, lifetime, expected) in [
        (set(), Value::member(), Lifetime::never(), "write set member 7 = there"),
        (sorted(), Value::score(1.5).unwrap(), Lifetime::never(), "write z member 7 = 1.5"),
        (set(), Value::text("x"), Lifetime::never(), another_kind),
        (set(), Value::score(1.5).unwrap(), Lifetime::never(), another_kind),
        (sorted(), Value::member(), Lifetime::never(), another_kind),
        (plain(), Value::member(), Lifetime::never(), another_kind),
        (set(), Value::member(), hour, "members do not expire"),
    ] {
        let entity = super::super::testing::entity(std::sync::Arc::new(Gives([key], value, lifetime)));
        let words = effects(&entity, change_of(Op::Create, KEY, "", IN_EU));
        assert!(words.len() == 1 && words[0].contains(expected), "{words:?}: {expected}");
    }
}

#[test]
fn key_and_member_are_bounded_each_by_itself() {
    let entity = full(vec![index("set:{region}", "{email}")]);
    let made = |region: usize, email: usize| {
        let (region, email) = ("r".repeat(region), "e".repeat(email));
        let after = format!(r#"{{"id":7,"region":"{region}","email":"{email}"}}"#);
        let change = change_of(Op::Create, KEY, "", &after);
        let (mut undecided, mut out) = (Vec::new(), Mutations::new());
        Flow::new(&entity, &change, &super::super::testing::record(), 20).run(&mut undecided, &mut out)
    };
    assert_eq!(made(16, 20), Ok(()));
    assert_eq!(made(17, 20), Err(HandleError::TooLarge { bytes: 21, limit: 20 }));
    assert_eq!(made(16, 21), Err(HandleError::TooLarge { bytes: 21, limit: 20 }));
}
