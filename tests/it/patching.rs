//! Values that are overlaid in the cache: the same cases over the model and a real server, whose script has to do
//! byte for byte what [`stoker::patch::Patch::overlay`] does.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use stoker::batch::{Action, LaneId, Outcome, PatchStep, Step, Unit};
use stoker::mutation::{Expiry, RowId, StringKind, Value};
use stoker::patch::{Field, Others, Patch, PatchShape, Told};
use stoker::sink::memory::MemoryValue;
use stoker::sink::own::TOMBSTONE_MS;

use super::support::sink::*;

macro_rules! on_both {
    ($($case:ident)*) => {
        mod memory { $(#[test] fn $case() { super::$case(&super::Cache::memory()); })* }
        mod redis { $(#[test] fn $case() { super::$case(&super::Cache::redis()); })* }
    };
}

on_both! {
    a_patch_overlays_what_is_there_and_makes_no_key
    a_patch_sets_the_lifetime_anew
    what_cannot_be_overlaid_is_deleted
    steps_on_a_value_go_in_order
    under_the_guard_only_the_row_s_own_value_is_overlaid
    a_guarded_patch_that_leaves_no_value_leaves_a_tombstone
    every_overlay_is_the_one_that_the_core_makes
    lost_scripts_do_not_lose_patches
}

fn told(fields: &[(&str, &str)]) -> impl Iterator<Item = Field> + use<> {
    let field =
        |(name, value): &(&str, &str)| Field { name: (*name).into(), told: Told::Value((*value).into()) };
    fields.iter().map(field).collect::<Vec<_>>().into_iter()
}

fn kept(name: &str) -> Field {
    Field { name: name.into(), told: Told::Kept }
}

/// Tells `"id"` and `"n"`, and keeps `"bio"` between them.
fn json_patch(n: &str) -> Patch {
    let fields = told(&[("\"id\"", "7")]).chain([kept("\"bio\"")]).chain(told(&[("\"n\"", n)]));
    Patch::new(PatchShape::Json, fields.collect(), Others::Dropped)
}

fn hash_patch(fields: &[(&str, &str)], gone: &[&str], keep: &[&str]) -> Patch {
    let gone = gone.iter().map(|name| Field { name: (*name).into(), told: Told::Gone });
    let fields = told(fields).chain(gone).chain(keep.iter().map(|name| kept(name)));
    Patch::new(PatchShape::Hash, fields.collect(), Others::Dropped)
}

fn overlay(key: &str, patch: Patch, expiry: Expiry) -> Unit {
    unit(key, Action::Patch([PatchStep::Overlay(patch, expiry)].into_iter().collect()))
}

/// A process that applies units one batch after the other.
struct Applying<'a>(&'a Cache, Process, std::cell::Cell<i64>);

impl Applying<'_> {
    fn new(cache: &Cache) -> Applying<'_> {
        let process = cache.process();
        cache.take_over(&process, &fresh_claim(1)).unwrap();
        Applying(cache, process, std::cell::Cell::new(0))
    }

    fn apply(&self, units: Vec<Unit>) -> Vec<Outcome> {
        let start = self.2.get();
        self.2.set(start + 1);
        let outcomes = self.0.apply(&self.1, &batch(LaneId(1).0, start..start + 1, units));
        assert_done(&outcomes);
        outcomes.units
    }

    fn patched(&self, key: &str, patch: Patch) -> Option<MemoryValue> {
        assert_eq!(self.apply(vec![overlay(key, patch, hour())]), [Outcome::Applied]);
        self.0.get(key.as_bytes()).map(|(value, _)| value)
    }
}

fn string(text: &str) -> Option<MemoryValue> {
    Some(MemoryValue::String(text.into()))
}

fn fields(fields: &[(&str, &str)]) -> Option<MemoryValue> {
    let fields = fields.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Some(MemoryValue::Hash(fields.collect()))
}

fn a_patch_overlays_what_is_there_and_makes_no_key(cache: &Cache) {
    let applying = Applying::new(cache);
    assert_eq!(applying.patched("j", json_patch("1")), None);
    assert_eq!(applying.patched("h", hash_patch(&[("id", "7")], &[], &["bio"])), None);

    cache.put(b"j", r#"{"n":0, "bio":{"a":[12.50,"\"}"],"big":12345678901234567890},"gone":1}"#);
    let merged = r#"{"id":7,"bio":{"a":[12.50,"\"}"],"big":12345678901234567890},"n":1e400}"#;
    assert_eq!(applying.patched("j", json_patch("1e400")), string(merged));
    assert_eq!(applying.patched("j", json_patch("1e400")), string(merged), "twice is once");

    applying.apply(vec![unit(
        "h",
        Action::Write(hash(&[("id", "7"), ("bio", "B"), ("x", "1"), ("y", "2")]), hour()),
    )]);
    let patch = || hash_patch(&[("id", "8"), ("new", "N")], &["x"], &["bio", "null before"]);
    assert_eq!(applying.patched("h", patch()), fields(&[("id", "8"), ("bio", "B"), ("new", "N")]));
    assert_eq!(applying.patched("h", patch()), fields(&[("id", "8"), ("bio", "B"), ("new", "N")]));
}

fn a_patch_sets_the_lifetime_anew(cache: &Cache) {
    let applying = Applying::new(cache);
    let write = |key: &str, value| unit(key, Action::Write(value, Expiry::In(60_000)));
    applying.apply(vec![
        write("j", text(r#"{"bio":1}"#)),
        write("j never", text(r#"{"bio":1}"#)),
        write("j past", text(r#"{"bio":1}"#)),
        write("h", hash(&[("a", "1")])),
        write("h never", hash(&[("a", "1")])),
        write("h past", hash(&[("a", "1")])),
    ]);
    let json = |key: &str, expiry| overlay(key, json_patch("1"), expiry);
    let hash = |key: &str, expiry| overlay(key, hash_patch(&[("a", "2")], &[], &[]), expiry);
    let past = Expiry::At(1_000);
    applying.apply(vec![
        json("j", hour()),
        json("j never", Expiry::Never),
        json("j past", past),
        hash("h", hour()),
        hash("h never", Expiry::Never),
        hash("h past", past),
    ]);
    let expiry = |key: &str| cache.get(key.as_bytes()).map(|(_, expires_at)| expires_at);
    for key in ["j", "h"] {
        let left = expiry(key).unwrap().unwrap() - now_ms();
        assert!((3_500_000..=3_601_000).contains(&left), "{key}: {left} ms are left");
        assert_eq!(expiry(&format!("{key} never")), Some(None), "{key}");
        assert_eq!(expiry(&format!("{key} past")), None, "{key}");
    }
}

fn what_cannot_be_overlaid_is_deleted(cache: &Cache) {
    let applying = Applying::new(cache);
    for held in [r#"{"id":7}"#, "[1]", "text", "", r#"{"bio":1"#, r#"{"bio":1,"bio":2}"#, "\u{28}\u{b5}"] {
        cache.put(b"k", held);
        assert_eq!(applying.patched("k", json_patch("1")), None, "{held}");
        cache.put(b"k", held);
        assert_eq!(applying.patched("k", hash_patch(&[("a", "1")], &[], &[])), None, "{held}");
    }
    cache.put_list(b"k");
    assert_eq!(applying.patched("k", json_patch("1")), None, "a list");
    applying.apply(vec![unit("k", Action::Write(hash(&[("\"bio\"", "1")]), hour()))]);
    assert_eq!(applying.patched("k", json_patch("1")), None, "a hash");
    applying.apply(vec![unit("k", Action::Write(hash(&[("a", "1")]), hour()))]);
    assert_eq!(applying.patched("k", hash_patch(&[], &["a"], &[])), None, "no field is left");
}

fn steps_on_a_value_go_in_order(cache: &Cache) {
    let applying = Applying::new(cache);
    let steps = || {
        let patch = PatchStep::Overlay(json_patch("2"), hour());
        let delete_if = |value: &str| PatchStep::DeleteIf(text(value));
        unit(
            "k",
            Action::Patch(
                [delete_if("old"), patch, delete_if(r#"{"id":7,"bio":1,"n":2}"#)].into_iter().collect(),
            ),
        )
    };
    for (held, left) in
        [("old", None), (r#"{"bio":1}"#, None), (r#"{"bio":2}"#, string(r#"{"id":7,"bio":2,"n":2}"#))]
    {
        cache.put(b"k", held);
        assert_eq!(applying.apply(vec![steps()]), [Outcome::Applied]);
        assert_eq!(cache.get(b"k").map(|(value, _)| value), left, "{held}");
    }
}

fn guarded_patch(number: u64, owner: &str, n: &str) -> Step {
    let owner = RowId::new(owner.as_bytes());
    Step::Patch { version: version(number), owner, patch: json_patch(n), expiry: hour() }
}

fn guarded(steps: Vec<Step>) -> Vec<Unit> {
    vec![unit("k", Action::Guarded(steps.into_iter().collect()))]
}

fn under_the_guard_only_the_row_s_own_value_is_overlaid(cache: &Cache) {
    let applying = Applying::new(cache);
    let apply = |steps: Vec<Step>| {
        let applied = applying.apply(guarded(steps)) == [Outcome::Applied];
        (applied, cache.text("k"))
    };
    let there = |text: &str| Some(text.to_owned());
    let first = r#"{"id":7,"bio":"B","n":5}"#;
    assert_eq!(apply(vec![guarded_write(5, "r", first)]), (true, there(first)));
    assert_eq!(apply(vec![guarded_patch(4, "r", "4")]), (false, there(first)), "older");
    assert_eq!(apply(vec![guarded_patch(9, "s", "9")]), (false, there(first)), "another row's");
    let sixth = r#"{"id":7,"bio":"B","n":6}"#;
    assert_eq!(apply(vec![guarded_patch(6, "r", "6")]), (true, there(sixth)));
    assert_eq!(apply(vec![guarded_write(5, "r", first)]), (false, there(sixth)), "its version is remembered");
    let steps =
        vec![guarded_write(7, "s", r#"{"bio":"S"}"#), guarded_patch(8, "s", "8"), guarded_patch(9, "r", "9")];
    let eighth = r#"{"id":7,"bio":"S","n":8}"#;
    assert_eq!(apply(steps), (true, there(eighth)), "upon the write before it");
    let none = r#"{"id":7,"bio":"S","n":0}"#;
    assert_eq!(apply(vec![guarded_patch(0, "s", "0")]), (true, there(none)), "a row without a position");
    assert!(!apply(vec![guarded_write(7, "r", first)]).0, "and it remembers the newest");
    let (_, expires_at) = cache.get(&own_keys().side(b"k")).unwrap();
    let left = expires_at.unwrap() - now_ms() - TOMBSTONE_MS;
    assert!((3_500_000..=3_601_000).contains(&left), "the side key outlives the value: {left} ms");

    cache.remove(&own_keys().side(b"k"));
    assert_eq!(apply(vec![guarded_patch(10, "s", "10")]), (true, None), "nobody knows whose it is");
    assert!(!apply(vec![guarded_write(9, "r", first)]).0, "a tombstone holds");
}

fn a_guarded_patch_that_leaves_no_value_leaves_a_tombstone(cache: &Cache) {
    let applying = Applying::new(cache);
    let never = |step: Step| match step {
        Step::Patch { version, owner, patch, .. } => {
            Step::Patch { version, owner, patch, expiry: Expiry::Never }
        }
        other => other,
    };
    let side_left = || {
        let (_, expires_at) = cache.get(&own_keys().side(b"k")).unwrap();
        expires_at.map(|at_ms| at_ms - now_ms())
    };
    applying.apply(guarded(vec![guarded_write(5, "r", r#"{"bio":1}"#), never(guarded_patch(5, "r", "1"))]));
    assert_eq!(side_left(), None, "a value that never expires is guarded as long");
    cache.put(b"k", "no JSON");
    applying.apply(guarded(vec![never(guarded_patch(6, "r", "1"))]));
    assert_eq!(cache.get(b"k"), None);
    let left = side_left().unwrap();
    assert!((left - TOMBSTONE_MS).abs() < 60_000, "{left} ms");
    applying.apply(guarded(vec![never(guarded_patch(7, "r", "1"))]));
    assert_eq!(cache.get(b"k"), None, "a key that is not there stays so");
    assert!(side_left().is_some());
    assert_eq!(applying.apply(guarded(vec![guarded_write(6, "s", "x")])), [Outcome::Rejected]);
}

fn json_value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("-12.50".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        "[a-z{}\\[\\],:é ]{0,4}".prop_map(|text| format!("\"{text}\"")),
        Just(r#""\"\\\u00e9}""#.to_owned()),
    ];
    scalar.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|values| format!("[{}]", values.join(", "))),
            proptest::collection::vec(inner, 0..3).prop_map(|values| {
                let members: Vec<String> = values.iter().map(|value| format!("\"x\" :{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

const NAMES: [&str; 4] = ["a", "b}", "c\\\"", "é"];

fn json_name(name: &str) -> String {
    format!("\"{name}\"")
}

/// An object with some of the names, in a turned order, with and without white space; sometimes broken.
fn held_json() -> impl Strategy<Value = String> {
    let members = proptest::collection::vec(proptest::option::weighted(0.8, json_value()), NAMES.len());
    let broken = prop_oneof![9 => Just(None), 1 => (any::<usize>(), any::<char>()).prop_map(Some)];
    (members, any::<bool>(), 0..NAMES.len(), broken).prop_map(|(values, spaced, turn, broken)| {
        let mut members: Vec<String> = NAMES
            .iter()
            .zip(values)
            .filter_map(|(name, value)| Some(format!("{}:{}", json_name(name), value?)))
            .collect();
        let turn = turn.min(members.len());
        members.rotate_left(turn);
        let mut json = if spaced {
            format!(" {{ {} }}\n", members.join(" ,\t"))
        } else {
            format!("{{{}}}", members.join(","))
        };
        if let Some((at, char)) = broken {
            let at = json.char_indices().map(|(at, _)| at).nth(at % json.chars().count()).unwrap_or_default();
            json.insert(at, char);
        }
        json
    })
}

fn any_patch(json: bool) -> impl Strategy<Value = Patch> {
    let told = prop_oneof![
        3 => json_value().prop_map(|value| Some(Told::Value(value.into_bytes()))),
        3 => Just(Some(Told::Kept)),
        u32::from(!json) => Just(Some(Told::Gone)),
        1 => Just(None),
    ];
    (proptest::collection::vec(told, NAMES.len()), any::<bool>()).prop_map(move |(told, others_stay)| {
        let name = |name: &str| if json { json_name(name) } else { name.to_owned() };
        let fields = NAMES
            .iter()
            .zip(told)
            .filter_map(|(n, told)| Some(Field { name: name(n).into_bytes(), told: told? }));
        let shape = if json { PatchShape::Json } else { PatchShape::Hash };
        Patch::new(shape, fields.collect(), if others_stay { Others::Kept } else { Others::Dropped })
    })
}

fn held_hash() -> impl Strategy<Value = Value> {
    proptest::collection::vec(proptest::option::weighted(0.8, json_value()), NAMES.len()).prop_map(|values| {
        let fields =
            NAMES.iter().zip(values).filter_map(|(name, value)| Some(((*name).into(), value?.into_bytes())));
        Value::Hash(fields.collect())
    })
}

fn held_text(text: String) -> Value {
    Value::String { kind: StringKind::Json, bytes: text.into_bytes() }
}

fn as_kept(value: Value) -> MemoryValue {
    match value {
        Value::String { bytes, .. } => MemoryValue::String(bytes),
        Value::Hash(fields) => MemoryValue::Hash(fields.into_iter().collect()),
        Value::Member { .. } => panic!("no patch makes a member"),
    }
}

/// Keys that are patched in one batch; in steps, so that compositions are held against the script too.
const KEYS: usize = 1_000;

fn every_overlay_is_the_one_that_the_core_makes(cache: &Cache) {
    let applying = Applying::new(cache);
    let mut runner = TestRunner::deterministic();
    let json = (held_json().prop_map(held_text), any_patch(true), any_patch(true));
    let hash = (held_hash(), any_patch(false), any_patch(false));
    let either = prop_oneof![3 => json, 2 => hash];
    let cases: Vec<(String, Value, Patch, Patch)> = (0..KEYS)
        .map(|n| {
            let (held, first, second) = either.new_tree(&mut runner).unwrap().current();
            (format!("k{n}"), held, first, second)
        })
        .collect();
    applying.apply(
        cases.iter().map(|(key, held, ..)| unit(key, Action::Write(held.clone(), Expiry::Never))).collect(),
    );
    let mut overlaid = 0;
    let mut was: Vec<Option<Value>> = cases
        .iter()
        .map(|(_, held, ..)| {
            Some(held.clone()).filter(|held| !matches!(held, Value::Hash(fields) if fields.is_empty()))
        })
        .collect();
    for turn in 0..2 {
        let patch =
            |case: &(String, Value, Patch, Patch)| if turn == 0 { case.2.clone() } else { case.3.clone() };
        applying.apply(cases.iter().map(|case| overlay(&case.0, patch(case), Expiry::Never)).collect());
        for (case, was) in cases.iter().zip(&mut was) {
            *was = was.take().and_then(|held| patch(case).overlay(&held));
            overlaid += usize::from(was.is_some());
            let found = cache.get(case.0.as_bytes()).map(|(value, _)| value);
            assert_eq!(
                found,
                was.clone().map(as_kept),
                "{:?} under {:?}",
                as_kept(case.1.clone()),
                patch(case).fields()
            );
        }
    }
    assert!(overlaid > KEYS / 4 && overlaid < 2 * KEYS - KEYS / 4, "{overlaid} of {} overlaid", 2 * KEYS);
}

fn lost_scripts_do_not_lose_patches(cache: &Cache) {
    let applying = Applying::new(cache);
    cache.put(b"k", r#"{"bio":1}"#);
    if let Cache::Redis(server, _) = cache {
        server.client().run::<()>(&["SCRIPT", "FLUSH"]);
    }
    assert_eq!(applying.patched("k", json_patch("1")), string(r#"{"id":7,"bio":1,"n":1}"#));
}
