//! The contract of [`stoker::sink::Sink`] for members of sets and sorted sets, held over the model and over a real
//! server: the same cases.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use stoker::batch::{Action, Outcome, Refusal, Step, Unit};
use stoker::mutation::{CacheKey, Expiry, MemberKind, RowId, Value};
use stoker::sink::memory::{MemoryScore, MemoryValue};
use stoker::sink::own::TOMBSTONE_MS;

use super::support::sink::*;

/// Runs each case on both.
macro_rules! on_both {
    ($($case:ident)*) => {
        mod memory { $(#[test] fn $case() { super::$case(&super::Cache::memory()); })* }
        mod redis { $(#[test] fn $case() { super::$case(&super::Cache::redis()); })* }
    };
}

on_both! {
    members_of_one_key_come_and_go_each_by_itself
    a_score_moves_its_member_and_is_what_its_text_says
    a_resend_leaves_what_it_left
    members_of_a_key_of_another_type_are_refused_and_removing_them_is_done
    what_redis_takes_for_no_score_is_refused
    a_guarded_member_has_a_memory_of_its_own_that_lives_with_it
    a_guarded_member_of_a_key_of_another_type_leaves_no_memory
}

fn of_set(key: &str, name: &str) -> CacheKey {
    member(key, MemberKind::Set, name)
}

fn of_board(key: &str, name: &str) -> CacheKey {
    member(key, MemberKind::SortedSet, name)
}

fn there(key: CacheKey, value: Value) -> Unit {
    Unit { key, ..unit("", Action::Write(value, Expiry::Never)) }
}

fn gone(key: CacheKey) -> Unit {
    Unit { key, ..unit("", Action::Delete) }
}

fn set(members: &[&str]) -> Option<MemoryValue> {
    let members: BTreeSet<Vec<u8>> = members.iter().map(|name| (*name).into()).collect();
    (!members.is_empty()).then_some(MemoryValue::Set(members))
}

fn board(members: &[(&str, f64)]) -> Option<MemoryValue> {
    let scored = members.iter().map(|(name, score)| ((*name).into(), MemoryScore(*score)));
    let members: BTreeMap<Vec<u8>, MemoryScore> = scored.collect();
    (!members.is_empty()).then_some(MemoryValue::SortedSet(members))
}

/// A lane that applies one batch after the other.
struct Lane<'c>(&'c Cache, Process, RefCell<i64>);

impl Lane<'_> {
    fn new(cache: &Cache) -> Lane<'_> {
        let process = cache.process();
        cache.take_over(&process, &fresh_claim(1)).unwrap();
        Lane(cache, process, RefCell::new(0))
    }

    fn apply(&self, units: Vec<Unit>) -> Vec<Outcome> {
        let start = self.2.replace_with(|position| *position + 1);
        let outcomes = self.0.apply(&self.1, &batch(1, start..start + 1, units));
        assert_done(&outcomes);
        outcomes.units
    }

    fn held(&self, key: &str) -> Option<MemoryValue> {
        let (value, expires_at) = self.0.get(key.as_bytes())?;
        assert_eq!(expires_at, None, "a key of members does not expire");
        Some(value)
    }
}

fn members_of_one_key_come_and_go_each_by_itself(cache: &Cache) {
    let lane = Lane::new(cache);
    let add = |name| there(of_set("s", name), Value::member());
    assert_eq!(lane.apply(vec![add("1"), add("2"), add("3")]), vec![Outcome::Applied; 3]);
    assert_eq!(lane.held("s"), set(&["1", "2", "3"]));
    assert_eq!(lane.apply(vec![gone(of_set("s", "2")), gone(of_set("s", "9"))]), vec![Outcome::Applied; 2]);
    assert_eq!(lane.held("s"), set(&["1", "3"]));
    lane.apply(vec![gone(of_set("s", "1")), gone(of_set("s", "3"))]);
    assert_eq!(lane.held("s"), None, "a set without members is none");
}

fn a_score_moves_its_member_and_is_what_its_text_says(cache: &Cache) {
    let lane = Lane::new(cache);
    let scores = [("int", "12", 12.0), ("decimal", "-12.50", -12.5), ("double", "1e300", 1e300)];
    let infinite = [("top", "+inf", f64::INFINITY), ("bottom", "-inf", f64::NEG_INFINITY)];
    let large = [("exact", "9007199254740993", 9_007_199_254_740_992.0)];
    let all = [&scores[..], &infinite, &large].concat();
    lane.apply(all.iter().map(|(name, text, _)| there(of_board("b", name), score(text))).collect());
    let held: Vec<_> = all.iter().map(|(name, _, score)| (*name, *score)).collect();
    assert_eq!(lane.held("b"), board(&held));
    lane.apply(vec![there(of_board("b", "int"), score("13.25")), gone(of_board("b", "exact"))]);
    let moved: Vec<_> = held
        .iter()
        .filter(|(name, _)| *name != "exact")
        .map(|(name, score)| (*name, if *name == "int" { 13.25 } else { *score }))
        .collect();
    assert_eq!(lane.held("b"), board(&moved));
}

fn a_resend_leaves_what_it_left(cache: &Cache) {
    let lane = Lane::new(cache);
    lane.apply(vec![there(of_set("s", "old"), Value::member())]);
    let units = || {
        let guarded = [write_step(5, "r", score("2"))].into_iter().collect();
        vec![
            there(of_set("s", "new"), Value::member()),
            gone(of_set("s", "old")),
            there(of_board("b", "1"), score("1")),
            Unit { key: of_board("b", "2"), ..unit("", Action::Guarded(guarded)) },
        ]
    };
    for _ in 0..2 {
        assert_eq!(lane.apply(units()), vec![Outcome::Applied; 4]);
        assert_eq!((lane.held("s"), lane.held("b")), (set(&["new"]), board(&[("1", 1.0), ("2", 2.0)])));
    }
}

fn members_of_a_key_of_another_type_are_refused_and_removing_them_is_done(cache: &Cache) {
    let lane = Lane::new(cache);
    cache.put(b"text", "x");
    lane.apply(vec![there(of_set("s", "1"), Value::member())]);
    let refused = Outcome::Refused(Refusal::WrongType);
    let units = vec![
        there(of_set("text", "1"), Value::member()),
        there(of_board("s", "1"), score("1")),
        gone(of_set("text", "2")),
        gone(of_board("s", "2")),
        there(of_set("s", "3"), Value::member()),
    ];
    let applied = Outcome::Applied;
    assert_eq!(lane.apply(units), [refused.clone(), refused, applied.clone(), applied.clone(), applied]);
    assert_eq!((cache.text("text").as_deref(), lane.held("s")), (Some("x"), set(&["1", "3"])));
}

fn what_redis_takes_for_no_score_is_refused(cache: &Cache) {
    let lane = Lane::new(cache);
    let refused = Outcome::Refused(Refusal::Command);
    let units = vec![there(of_board("b", "1"), score("gold")), there(of_board("b", "2"), Value::member())];
    assert_eq!(lane.apply(units), [refused.clone(), refused]);
    assert_eq!(lane.held("b"), None);
}

fn write_step(number: u64, owner: &str, value: Value) -> Step {
    let owner = RowId::new(owner.as_bytes());
    Step::Write { version: version(number), owner, value, expiry: Expiry::Never }
}

fn guarded(key: CacheKey, steps: Vec<Step>) -> Unit {
    Unit { key, ..unit("", Action::Guarded(steps.into_iter().collect())) }
}

fn a_guarded_member_has_a_memory_of_its_own_that_lives_with_it(cache: &Cache) {
    let lane = Lane::new(cache);
    let (ann, bob) = (of_set("emails", "ann"), of_set("emails", "bob"));
    let side = own_keys().side_of(&ann);
    let write = |key: &CacheKey, number, owner| {
        lane.apply(vec![guarded(key.clone(), vec![write_step(number, owner, Value::member())])])
    };
    let delete = |key: &CacheKey, number, owner| {
        lane.apply(vec![guarded(key.clone(), vec![guarded_delete(number, owner, None)])])
    };
    assert_eq!(write(&ann, 5, "1"), [Outcome::Applied]);
    assert_eq!(write(&bob, 4, "2"), [Outcome::Applied], "of another member nothing is remembered");
    let remembered = MemoryValue::String(b"0000000000000005 1".to_vec());
    assert_eq!(cache.get(&side), Some((remembered, None)), "a member does not expire, nor its memory");
    assert_eq!(delete(&ann, 9, "2"), [Outcome::Rejected], "another row's");
    assert_eq!(lane.held("emails"), set(&["ann", "bob"]));
    assert_eq!(delete(&ann, 6, "1"), [Outcome::Applied]);
    assert_eq!(lane.held("emails"), set(&["bob"]));
    let until = cache.get(&side).unwrap().1.unwrap();
    assert!((until - now_ms() - TOMBSTONE_MS).abs() < 5_000, "a tombstone's day");
    assert_eq!(write(&ann, 5, "3"), [Outcome::Rejected], "a tombstone holds");
    assert_eq!(write(&ann, 7, "3"), [Outcome::Applied]);
    assert_eq!(lane.held("emails"), set(&["ann", "bob"]));
    assert_eq!(cache.get(&side).unwrap().1, None);
}

fn a_guarded_member_of_a_key_of_another_type_leaves_no_memory(cache: &Cache) {
    let lane = Lane::new(cache);
    cache.put(b"text", "x");
    let key = of_set("text", "1");
    let side = own_keys().side_of(&key);
    let units = vec![guarded(key.clone(), vec![write_step(5, "r", Value::member())])];
    assert_eq!(lane.apply(units), [Outcome::Refused(Refusal::WrongType)]);
    assert_eq!(cache.get(&side), None);
    let units = vec![guarded(key, vec![guarded_delete(5, "r", None)])];
    assert_eq!(lane.apply(units), [Outcome::Applied], "it is not there");
    assert!(cache.get(&side).is_some() && cache.text("text").as_deref() == Some("x"));
}

fn member_steps() -> impl Strategy<Value = Vec<Step>> {
    let owner = prop_oneof![Just("r"), Just("s")];
    let covers = prop_oneof![Just(None), (0..6_u64).prop_map(Some)];
    let step = (any::<bool>(), 0..6_u64, owner, covers, 0..1_000_u32).prop_map(
        |(is_write, number, owner, covers, points)| match is_write {
            true => write_step(number, owner, score(&points.to_string())),
            false => guarded_delete(number, owner, covers),
        },
    );
    prop::collection::vec(step, 1..6)
}

/// The script and its model agree on every sequence of steps of two members of one key.
#[test]
fn the_guard_of_lua_is_that_of_the_model_for_members_too() {
    let (real, model) = (Cache::redis(), Cache::memory());
    let lanes = (Lane::new(&real), Lane::new(&model));
    let config = ProptestConfig { cases: 200, ..ProptestConfig::default() };
    let batches = || prop::collection::vec((0..2_u8, member_steps()), 1..6);
    let run = RefCell::new(0);
    proptest!(config, |(batches in batches())| {
        let key = format!("b{}", run.replace_with(|run| *run + 1));
        for (name, steps) in batches {
            let of = of_board(&key, &name.to_string());
            let outcomes = |lane: &Lane<'_>| lane.apply(vec![guarded(of.clone(), steps.clone())]);
            prop_assert_eq!(outcomes(&lanes.0), outcomes(&lanes.1));
            prop_assert_eq!(lanes.0.held(&key), lanes.1.held(&key));
            let side = own_keys().side_of(&of);
            let remembered = |cache: &Cache| cache.get(&side).map(|(value, until)| (value, until.is_some()));
            prop_assert_eq!(remembered(&real), remembered(&model));
        }
    });
}
