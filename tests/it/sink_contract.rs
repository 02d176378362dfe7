//! The contract of [`stoker::sink::Sink`], held over the model and over a real server: the same cases.

use std::cell::RefCell;

use proptest::prelude::*;
use stoker::batch::{
    Action, Batch, Epoch, LaneId, Outcome, Owed, RefillMode, Refusal, Standing, Step, WatermarkSeen,
};
use stoker::error::WorldError;
use stoker::mutation::Expiry;
use stoker::patch::{Field, Others, Patch, PatchShape, Told};
use stoker::sink::memory::MemoryValue;
use stoker::sink::own::TOMBSTONE_MS;

use stoker::mutation::RowId;
use stoker::version::Version;

use super::support::sink::*;

/// Runs each case on both.
macro_rules! on_both {
    ($($case:ident)*) => {
        mod memory { $(#[test] fn $case() { super::$case(&super::Cache::memory()); })* }
        mod redis { $(#[test] fn $case() { super::$case(&super::Cache::redis()); })* }
    };
}

on_both! {
    the_last_batch_of_a_key_stands
    each_shape_expires_when_it_says
    a_resend_extends_no_expiry
    what_has_expired_already_is_gone
    a_hash_is_replaced_as_a_whole
    a_conditional_delete_spares_what_has_changed
    the_guard_takes_what_is_not_older
    the_guard_compares_epoch_then_kind_then_number
    the_guard_deletes_only_for_the_row_that_is_there
    a_tombstone_deletes_what_its_row_wrote_under_the_guard
    the_guard_deletes_what_a_covered_write_would_have_replaced
    the_guard_remembers_past_the_value
    an_equal_version_makes_the_ttl_anew
    a_rewrite_replaces_what_is_newer_once_and_keeps_its_own_newest
    a_rewrite_deletes_what_its_row_has_whatever_its_version
    a_poisoned_key_is_refused_and_the_rest_applied
    a_value_over_the_limit_is_refused_and_the_rest_applied
    the_key_of_a_value_that_is_too_large_is_gone_before_its_watermark_moves
    a_missing_watermark_is_told_once_and_set_again
    a_watermark_that_fell_back_is_told_once_and_set_again
    a_watermark_of_a_newer_owner_ends_the_lane
    a_higher_watermark_of_ones_own_goes_back_to_where_the_lane_is
    taking_over_compares_with_what_was_committed
    taking_over_raises_the_epoch_above_all_that_is_known
    an_owner_whose_traces_were_lost_is_told_from_the_next_one
    the_former_owner_gives_up
    a_lost_record_is_written_again_and_who_is_named_there_fenced
    a_released_lane_is_taken_over_in_peace
}

fn the_last_batch_of_a_key_stands(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    for round in 0..20 {
        let units = vec![write("a", &round.to_string()), unit("b", Action::Delete)];
        assert_done(&cache.apply(&process, &batch(1, round * 2..round * 2 + 1, units)));
        let units = vec![unit("a", Action::Delete), write("b", &round.to_string())];
        assert_done(&cache.apply(&process, &batch(1, round * 2 + 1..round * 2 + 2, units)));
        assert_eq!((cache.text("a"), cache.text("b")), (None, Some(round.to_string())));
    }
}

fn each_shape_expires_when_it_says(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    let step = Step::Write {
        version: version(1),
        owner: stoker::mutation::RowId::new(b"row"),
        value: hash(&[("f", "v")]),
        expiry: hour(),
    };
    let at_ms = now_ms() + 77_000;
    let within = Expiry::AtWithin { at_ms, within_ms: 30_000 };
    let sealed = batch(
        1,
        0..9,
        vec![
            write("string", "x"),
            unit("hash", Action::Write(hash(&[("f", "v")]), hour())),
            unit("guarded", Action::Guarded([guarded_write(1, "row", "x")].into_iter().collect())),
            unit("guarded hash", Action::Guarded([step].into_iter().collect())),
            unit("at", Action::Write(text("x"), Expiry::At(at_ms))),
            unit("within", Action::Write(text("x"), within)),
            unit("never", Action::Write(text("x"), Expiry::Never)),
            unit("never hash", Action::Write(hash(&[("f", "v")]), Expiry::Never)),
        ],
    );
    assert_done(&cache.apply(&process, &sealed));
    let expiry = |key: &str| cache.get(key.as_bytes()).unwrap().1;
    for key in ["string", "hash", "guarded", "guarded hash"] {
        close(expiry(key), Some(sealed.sealed_at_ms + 3_600_000), key);
    }
    assert_eq!(expiry("at"), Some(at_ms), "absolute times are passed on as they are");
    close(expiry("within"), Some(sealed.sealed_at_ms + 30_000), "within");
    assert_eq!((expiry("never"), expiry("never hash")), (None, None));
}

fn a_resend_extends_no_expiry(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    let units = vec![
        write("string", "x"),
        unit("hash", Action::Write(hash(&[("f", "v")]), hour())),
        unit("guarded", Action::Guarded([guarded_write(1, "row", "x")].into_iter().collect())),
    ];
    let mut sealed = batch(1, 0..3, units);
    sealed.everywhere = true;
    assert_done(&cache.apply(&process, &sealed));
    let keys = ["string", "hash", "guarded"];
    let before = keys.map(|key| cache.get(key.as_bytes()).unwrap().1);
    std::thread::sleep(std::time::Duration::from_millis(150));
    sealed.attempt = 2;
    assert_done(&cache.apply(&process, &sealed));
    assert_eq!(keys.map(|key| cache.get(key.as_bytes()).unwrap().1), before);
}

fn what_has_expired_already_is_gone(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    let keys = ["string", "hash", "ancient", "guarded"];
    for key in keys {
        cache.put(key.as_bytes(), "old");
    }
    let step = Step::Write {
        version: version(5),
        owner: stoker::mutation::RowId::new(b"row"),
        value: text("x"),
        expiry: Expiry::At(1_000),
    };
    let units = vec![
        unit("string", Action::Write(text("x"), Expiry::At(1_000))),
        unit("hash", Action::Write(hash(&[("f", "v")]), Expiry::At(1_000))),
        unit("ancient", Action::Write(text("x"), Expiry::At(-5))),
        unit("guarded", Action::Guarded([step].into_iter().collect())),
    ];
    assert_done(&cache.apply(&process, &batch(1, 0..1, units)));
    for key in keys {
        assert_eq!(cache.get(key.as_bytes()), None, "{key}");
    }
    let units = vec![unit("guarded", Action::Guarded([guarded_write(4, "row", "x")].into_iter().collect()))];
    let outcomes = cache.apply(&process, &batch(1, 1..2, units));
    assert_eq!(outcomes.units, [Outcome::Rejected], "the guard remembers what expired at once");
}

fn a_hash_is_replaced_as_a_whole(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    let put = |positions, value| {
        assert_done(
            &cache.apply(&process, &batch(1, positions, vec![unit("h", Action::Write(value, hour()))])),
        );
        cache.get(b"h").map(|(value, _)| value)
    };
    let kept = |fields: &[(&str, &str)]| {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Some(MemoryValue::Hash(fields.collect()))
    };
    assert_eq!(put(0..1, hash(&[("a", "1"), ("b", "2")])), kept(&[("a", "1"), ("b", "2")]));
    assert_eq!(put(1..2, hash(&[("b", "3")])), kept(&[("b", "3")]));
    assert_eq!(put(2..3, hash(&[])), None);
    cache.put(b"h", "a string");
    assert_eq!(put(3..4, hash(&[("a", "1")])), kept(&[("a", "1")]));
    // More fields than go into one call of a command within a script.
    let letters = || ('a'..='z').map(String::from);
    let names: Vec<String> =
        letters().flat_map(|first| letters().map(move |next| first.clone() + &next)).take(510).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(put(4..5, hash(&many)), kept(&many));
}

fn a_conditional_delete_spares_what_has_changed(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    cache.put(b"string", "mine");
    let fields = hash(&[("a", "1"), ("b", "2")]);
    let units = vec![unit("hash", Action::Write(fields, hour()))];
    assert_done(&cache.apply(&process, &batch(1, 0..1, units)));
    let delete_if = |key: &str, values: Vec<stoker::mutation::Value>| {
        let units = vec![unit(key, Action::DeleteIf(values.into_iter().collect()))];
        let outcomes = cache.apply(&process, &batch(1, 1..2, units));
        (outcomes.units.into_iter().next().unwrap(), cache.get(key.as_bytes()).is_some())
    };
    let spared = (Outcome::Rejected, true);
    assert_eq!(delete_if("string", vec![text("other"), hash(&[("a", "1")])]), spared);
    assert_eq!(delete_if("string", vec![text("other"), text("mine")]), (Outcome::Applied, false));
    assert_eq!(delete_if("string", vec![text("mine")]), (Outcome::Applied, false));
    assert_eq!(delete_if("hash", vec![hash(&[("a", "1")])]), spared);
    assert_eq!(delete_if("hash", vec![hash(&[("a", "1"), ("b", "3")])]), spared);
    assert_eq!(delete_if("hash", vec![hash(&[("a", "1"), ("c", "2")])]), spared);
    let turned = hash(&[("b", "2"), ("a", "1")]);
    assert_eq!(delete_if("hash", vec![text("x"), turned]), (Outcome::Applied, false));
    cache.put_list(b"list");
    assert_eq!(delete_if("list", vec![text("x")]), spared);
}

/// Applies steps to the key `k`, and says what became of them and what is there.
struct Guarded<'a>(&'a Cache, Process, RefCell<i64>);

impl Guarded<'_> {
    fn new(cache: &Cache) -> Guarded<'_> {
        Guarded::by(cache, cache.process())
    }

    fn by(cache: &Cache, process: Process) -> Guarded<'_> {
        cache.take_over(&process, &fresh_claim(1)).unwrap();
        Guarded(cache, process, RefCell::new(0))
    }

    fn apply(&self, steps: Vec<Step>) -> (bool, Option<String>) {
        let start = self.2.replace_with(|position| *position + 1);
        let units = vec![unit("k", Action::Guarded(steps.into_iter().collect()))];
        let outcomes = self.0.apply(&self.1, &batch(1, start..start + 1, units));
        assert_done(&outcomes);
        (outcomes.units == [Outcome::Applied], self.0.text("k"))
    }
}

fn there(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn the_guard_takes_what_is_not_older(cache: &Cache) {
    let guard = Guarded::new(cache);
    assert_eq!(guard.apply(vec![guarded_write(0, "r", "v0")]), (true, there("v0")), "nothing remembered");
    assert_eq!(guard.apply(vec![guarded_write(9, "r", "v9")]), (true, there("v9")));
    assert_eq!(guard.apply(vec![guarded_write(8, "r", "v8")]), (false, there("v9")), "older");
    assert_eq!(guard.apply(vec![guarded_write(9, "r", "again")]), (true, there("again")), "equal applies");
    assert_eq!(guard.apply(vec![guarded_write(0, "r", "none")]), (false, there("again")), "NONE is oldest");
    assert_eq!(guard.apply(vec![guarded_write(10, "s", "v10")]), (true, there("v10")), "another row");
    // 2^53 and 2^53 + 1 are one number to Lua.
    assert!(guard.apply(vec![guarded_write((1 << 53) + 1, "r", "big")]).0);
    assert!(!guard.apply(vec![guarded_write(1 << 53, "r", "less")]).0);
    let steps =
        vec![guarded_write(1, "r", "old"), guarded_write(1 << 60, "r", "a"), guarded_write(2, "r", "b")];
    assert_eq!(guard.apply(steps), (true, there("a")), "in order, each against the one before");
}

fn the_guard_compares_epoch_then_kind_then_number(cache: &Cache) {
    let guard = Guarded::new(cache);
    let rising = [
        Version::from_columns(b"12801a0"),
        Version::from_columns(b"12801aa0"),
        Version::from_columns(b"12801dd0"),
        Version::from_offset(9),
        Version::from_offset(10),
        Version::from_parts(&[0, 0xaa]),
        Version::from_parts(&[0, 0xab]),
        Version::NONE.in_epoch(2),
        Version::from_columns(b"1").in_epoch(2),
        Version::from_parts(&[3]).in_epoch(2),
        Version::from_offset(1).in_epoch(10),
    ];
    for (index, version) in rising.iter().enumerate() {
        assert!(guard.apply(vec![write_of(version, "r", "v")]).0, "{version} is newer than those before");
        for older in rising.iter().take(index) {
            assert!(!guard.apply(vec![write_of(older, "r", "old")]).0, "{older} after {version}");
        }
    }
    let none = Version::NONE.in_epoch(10);
    let tombstone = Step::Delete { version: none, owner: RowId::new(b"r"), covers: None };
    assert_eq!(guard.apply(vec![tombstone]), (true, None), "in the order of its row, in any epoch");
    assert!(!guard.apply(vec![write_of(&Version::from_offset(0).in_epoch(10), "r", "old")]).0);
}

fn the_guard_deletes_only_for_the_row_that_is_there(cache: &Cache) {
    let guard = Guarded::new(cache);
    guard.apply(vec![guarded_write(5, "r", "v")]);
    assert_eq!(guard.apply(vec![guarded_delete(9, "s", None)]), (false, there("v")), "another row's");
    assert_eq!(guard.apply(vec![guarded_delete(4, "r", None)]), (false, there("v")), "older");
    assert_eq!(guard.apply(vec![guarded_delete(5, "r", None)]), (true, None), "equal applies");
    assert_eq!(guard.apply(vec![guarded_write(4, "s", "late")]), (false, None), "a tombstone holds");
    assert_eq!(guard.apply(vec![guarded_write(6, "s", "new")]), (true, there("new")));
    cache.remove(&own_keys().side(b"k"));
    assert_eq!(guard.apply(vec![guarded_delete(1, "r", None)]), (true, None), "nothing remembered");
    assert!(!guard.apply(vec![guarded_write(0, "s", "late")]).0, "and a tombstone stays");
}

/// Found by review: a tombstone has no position, so it was older than whatever its own row had written.
fn a_tombstone_deletes_what_its_row_wrote_under_the_guard(cache: &Cache) {
    let guard = Guarded::new(cache);
    guard.apply(vec![guarded_write(5, "r", "v")]);
    assert_eq!(guard.apply(vec![guarded_delete(0, "s", None)]), (false, there("v")), "another row's");
    assert_eq!(guard.apply(vec![guarded_delete(0, "r", None)]), (true, None));
    assert_eq!(guard.apply(vec![guarded_write(4, "s", "late")]), (false, None), "the version stays");
    assert_eq!(guard.apply(vec![guarded_write(5, "r", "read again")]), (true, there("read again")));
}

fn the_guard_deletes_what_a_covered_write_would_have_replaced(cache: &Cache) {
    let guard = Guarded::new(cache);
    guard.apply(vec![guarded_write(5, "s", "v")]);
    assert_eq!(guard.apply(vec![guarded_delete(9, "r", Some(4))]), (false, there("v")));
    assert_eq!(guard.apply(vec![guarded_delete(9, "r", Some(5))]), (true, None));
    guard.apply(vec![guarded_write(9, "s", "v")]);
    assert_eq!(
        guard.apply(vec![guarded_delete(10, "r", Some(0))]),
        (false, there("v")),
        "NONE covers little"
    );
}

fn the_guard_remembers_past_the_value(cache: &Cache) {
    let guard = Guarded::new(cache);
    let side = own_keys().side(b"k");
    let remembered_until = || cache.get(&side).unwrap().1;
    guard.apply(vec![guarded_write(1, "r", "v")]);
    close(remembered_until(), Some(now_ms() + 3_600_000 + TOMBSTONE_MS), "the value's expiry and a day");
    guard.apply(vec![guarded_delete(2, "r", None)]);
    close(remembered_until(), Some(now_ms() + TOMBSTONE_MS), "a tombstone's day");
    let row = stoker::mutation::RowId::new(b"r");
    let never = Step::Write { version: version(3), owner: row, value: text("v"), expiry: Expiry::Never };
    guard.apply(vec![never]);
    assert_eq!(remembered_until(), None);
    let MemoryValue::String(held) = cache.get(&side).unwrap().0 else { panic!() };
    assert_eq!(held, b"0000000000000003 r");
    assert!(!String::from_utf8(side).unwrap().contains(GROUP), "two groups guard each other");
}

fn an_equal_version_makes_the_ttl_anew(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    let write = |sealed_after_ms, number| {
        let steps = [guarded_write(number, "r", "v")].into_iter().collect();
        let mut sealed = batch(1, 0..1, vec![unit("k", Action::Guarded(steps))]);
        sealed.sealed_at_ms += sealed_after_ms;
        assert_done(&cache.apply(&process, &sealed));
        cache.get(b"k").unwrap().1
    };
    write(0, 7);
    close(write(600_000, 7), Some(now_ms() + 4_200_000), "ten minutes later the same change again");
    close(write(900_000, 6), Some(now_ms() + 4_200_000), "an older one leaves the TTL as it is");
}

fn a_rewrite_replaces_what_is_newer_once_and_keeps_its_own_newest(cache: &Cache) {
    // Groups of their own, so that they do not fence each other.
    let usual = Guarded::by(cache, cache.process());
    let rewriting = |group: &str, name: &str| Guarded::by(cache, cache.process_of(group, Some(name)));
    let (first, beside) = (rewriting("first", "r1"), rewriting("beside", "r1"));
    usual.apply(vec![guarded_write(9, "r", "v9")]);
    assert_eq!(first.apply(vec![guarded_write(3, "r", "v3")]), (true, there("v3")), "whatever is there");
    assert_eq!(beside.apply(vec![guarded_write(2, "r", "v2")]), (false, there("v3")), "older in the rewrite");
    assert_eq!(first.apply(vec![guarded_write(4, "r", "v4")]), (true, there("v4")));
    assert_eq!(
        usual.apply(vec![guarded_write(3, "r", "late")]),
        (false, there("v4")),
        "the rewrite's counts"
    );
    assert_eq!(usual.apply(vec![guarded_write(7, "r", "v7")]), (true, there("v7")), "and newer ones apply");
    assert_eq!(
        first.apply(vec![guarded_write(5, "r", "v5")]),
        (false, there("v7")),
        "newer than the rewrite's"
    );
    let second = rewriting("second", "r2");
    let steps = vec![guarded_write(2, "r", "b"), guarded_write(1, "s", "a")];
    assert_eq!(second.apply(steps), (true, there("b")), "another rewrite: again whatever is there, in order");
    cache.remove(&own_keys().side(b"k"));
    assert_eq!(second.apply(vec![guarded_write(1, "r", "c")]), (true, there("c")));
    let held = |cache: &Cache| cache.get(&own_keys().side(b"k")).unwrap().0;
    assert_eq!(held(cache), MemoryValue::String(b"0000000000000001 r r2".into()));
    usual.apply(vec![guarded_write(2, "r", "d")]);
    assert_eq!(held(cache), MemoryValue::String(b"0000000000000002 r r2".into()), "the name stays");
}

fn a_rewrite_deletes_what_its_row_has_whatever_its_version(cache: &Cache) {
    let usual = Guarded::by(cache, cache.process());
    let rewriting = |name: &str| Guarded::by(cache, cache.process_of(name, Some(name)));
    usual.apply(vec![guarded_write(9, "r", "v")]);
    let rewrite = rewriting("r1");
    assert_eq!(rewrite.apply(vec![guarded_delete(1, "s", None)]), (false, there("v")), "another row's");
    assert_eq!(rewrite.apply(vec![guarded_delete(3, "r", None)]), (true, None));
    assert!(!rewrite.apply(vec![guarded_write(2, "r", "old")]).0, "a tombstone of the rewrite's own version");
    assert_eq!(rewrite.apply(vec![guarded_write(3, "s", "v3")]), (true, there("v3")));
    let rewrite = rewriting("r2");
    assert_eq!(rewrite.apply(vec![guarded_delete(2, "r", Some(1))]), (true, None), "it swallowed a write");
    assert!(rewrite.apply(vec![guarded_write(2, "r", "v2")]).0);
    assert_eq!(rewriting("r3").apply(vec![guarded_delete(0, "r", None)]), (true, None), "a tombstone");
    assert!(usual.apply(vec![guarded_write(1, "r", "v1")]).0, "which keeps no version of before");
}

fn a_poisoned_key_is_refused_and_the_rest_applied(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    cache.put_list(&own_keys().side(b"poisoned"));
    cache.put_list(b"list");
    let units = vec![
        write("before", "x"),
        unit("poisoned", Action::Guarded([guarded_write(1, "r", "x")].into_iter().collect())),
        write("list", "a plain write replaces any type"),
        write("after", "x"),
    ];
    let outcomes = cache.apply(&process, &batch(1, 0..4, units));
    let refused = Outcome::Refused(Refusal::WrongType);
    assert_eq!(outcomes.units, [Outcome::Applied, refused, Outcome::Applied, Outcome::Applied]);
    assert_done(&outcomes);
    assert_eq!(cache.text("poisoned"), None);
    assert_eq!(cache.text("after"), there("x"));
}

fn a_value_over_the_limit_is_refused_and_the_rest_applied(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    let large = "x".repeat(VALUE_BYTES_MAX + 1);
    let units = vec![
        write("large", &large),
        unit("guarded", Action::Guarded([guarded_write(1, "r", &large)].into_iter().collect())),
        write("fits", &large[1..]),
    ];
    let outcomes = cache.apply(&process, &batch(1, 0..3, units));
    let refused = Outcome::Refused(Refusal::TooLarge);
    assert_eq!(outcomes.units, [refused.clone(), refused, Outcome::Applied]);
    assert_done(&outcomes);
    assert_eq!(cache.text("large"), None);
}

/// Found by the simulation, twice: a snapshot that was taken between the refusal and the delete in its place
/// looked as if it held the delete, or as if nothing of the batch had been acknowledged since.
fn the_key_of_a_value_that_is_too_large_is_gone_before_its_watermark_moves(cache: &Cache) {
    let process = cache.process();
    let epoch = cache.take_over(&process, &fresh_claim(1)).unwrap().epoch;
    let mark = cache.mark_key(&lane_name());
    let stands_at = |position: i64| {
        let text = format!("{}:{position}", epoch.0);
        assert_eq!(cache.get(&mark).unwrap().0, MemoryValue::String(text.into()));
    };
    assert_done(&cache.apply(&process, &batch(1, 0..5, vec![write("large", "small as yet")])));
    stands_at(5);
    let units = vec![write("large", &"x".repeat(VALUE_BYTES_MAX + 1)), write("fits", "1")];
    let outcomes = cache.apply(&process, &batch(1, 5..9, units));
    assert_eq!(outcomes.units, [Outcome::Refused(Refusal::TooLarge), Outcome::Applied]);
    assert_eq!((cache.text("large"), cache.text("fits")), (None, Some("1".into())));
    stands_at(9);
    assert_done(&cache.apply(&process, &batch(1, 5..9, vec![unit("large", Action::Delete)])));
    stands_at(9);
    assert_eq!((cache.text("large"), cache.text("fits")), (None, Some("1".into())));
}

fn a_missing_watermark_is_told_once_and_set_again(cache: &Cache) {
    let process = cache.process();
    cache.take_over(&process, &fresh_claim(1)).unwrap();
    assert_done(&cache.apply(&process, &batch(1, 0..10, vec![write("a", "1")])));
    assert_done(&cache.apply(&process, &look(1, 10)));
    cache.flush_all();
    assert_eq!(cache.apply(&process, &look(1, 10)).watermark, WatermarkSeen::Missing);
    assert_done(&cache.apply(&process, &batch(1, 0..4, vec![write("a", "0")])));
    assert_done(&cache.apply(&process, &batch(1, 4..10, vec![write("a", "1")])));
    assert_eq!(cache.text("a"), there("1"));
    cache.flush_all();
    let outcomes = cache.apply(&process, &batch(1, 10..11, vec![write("b", "1")]));
    assert_eq!(outcomes.watermark, WatermarkSeen::Missing, "at the end of a batch as well");
    assert_eq!(outcomes.units, [Outcome::Applied]);
}

fn a_watermark_that_fell_back_is_told_once_and_set_again(cache: &Cache) {
    let process = cache.process();
    let epoch = cache.take_over(&process, &fresh_claim(1)).unwrap().epoch;
    let mark = cache.mark_key(&lane_name());
    assert_done(&cache.apply(&process, &batch(1, 0..10, vec![write("a", "1")])));
    assert_eq!(cache.get(&mark).unwrap().0, MemoryValue::String(format!("{}:10", epoch.0).into()));
    cache.put(&mark, &format!("{}:7", epoch.0));
    assert_eq!(cache.apply(&process, &look(1, 10)).watermark, WatermarkSeen::Behind(7, None));
    assert_done(&cache.apply(&process, &batch(1, 7..9, vec![write("a", "1")])));
    // What a former owner had set, an old snapshot brings back.
    cache.put(&mark, "0:8");
    assert_eq!(cache.apply(&process, &look(1, 9)).watermark, WatermarkSeen::Behind(8, None));
    assert_done(&cache.apply(&process, &look(1, 9)));
}

fn a_watermark_of_a_newer_owner_ends_the_lane(cache: &Cache) {
    let process = cache.process();
    let epoch = cache.take_over(&process, &fresh_claim(1)).unwrap().epoch;
    let mark = cache.mark_key(&lane_name());
    cache.put(&mark, &format!("{}:0", epoch.0 + 1));
    let outcomes = cache.apply(&process, &batch(1, 0..1, vec![write("a", "1")]));
    assert_eq!(outcomes.watermark, WatermarkSeen::NotOwner);
    assert_eq!(outcomes.error, Some(WorldError::NotOwner));
}

/// Found by the simulation: while a lane was read again after a loss, a snapshot from before the loss was loaded.
/// The lane took its own former watermark for another owner's and gave up; who took over found the higher one and
/// thought that nothing was missing.
fn a_higher_watermark_of_ones_own_goes_back_to_where_the_lane_is(cache: &Cache) {
    let process = cache.process();
    let epoch = cache.take_over(&process, &fresh_claim(1)).unwrap().epoch;
    let mark = cache.mark_key(&lane_name());
    assert_done(&cache.apply(&process, &batch(1, 0..5, vec![write("a", "1")])));
    for (held_by, end) in [(epoch.0, 7), (epoch.0 - 1, 9)] {
        cache.put(&mark, &format!("{held_by}:99"));
        assert_done(&cache.apply(&process, &batch(1, end - 2..end, vec![write("a", "2")])));
        let text = format!("{}:{end}", epoch.0);
        assert_eq!(cache.get(&mark).unwrap().0, MemoryValue::String(text.into()));
    }
}

fn taking_over_compares_with_what_was_committed(cache: &Cache) {
    let process = cache.process();
    let mark = cache.mark_key(&lane_name());
    let position = || cache.get(&mark).map(|(value, _)| value);
    let at = |epoch: Epoch, at: i64| Some(MemoryValue::String(format!("{}:{at}", epoch.0).into()));
    let take = |committed: Option<i64>| {
        let claim = committed.map_or_else(|| fresh_claim(1), |committed| claim_from(1, committed));
        cache.take_over(&process, &claim).unwrap()
    };

    let owed = Some(Owed::all(100, RefillMode::Restore));
    let taken = take(Some(100));
    assert_eq!((taken.standing, taken.owed), (Standing::Intact, owed), "what was committed is not there");
    let text = format!("{}:100:r100.0", taken.epoch.0);
    assert_eq!(position(), Some(MemoryValue::String(text.into())), "and its watermark says so");
    assert_eq!(take(Some(100)).owed, owed, "still to be refilled");
    let part = Some(Owed::all(40, RefillMode::Restore));
    assert_done(&cache.apply(&process, &Batch { owed: part, ..look(1, 100) }));
    assert_eq!(take(Some(100)).owed, part);
    assert_done(&cache.apply(&process, &look(1, 100)));
    let taken = take(Some(100));
    assert_eq!((taken.standing, taken.owed), (Standing::Intact, None));
    let taken = take(Some(80));
    assert_eq!(taken.standing, Standing::Intact, "the commit was lost");
    assert_eq!(position(), at(taken.epoch, 80), "to where reading starts");
    let taken = take(Some(90));
    assert_eq!(taken.standing, Standing::Behind(80));
    cache.remove(&mark);
    assert_eq!(take(Some(90)).owed, Some(Owed::all(90, RefillMode::Restore)));
    cache.flush_all();
    assert_eq!(take(None).standing, Standing::Intact, "nothing was committed");
    cache.flush_all();
    assert_eq!(take(Some(0)).standing, Standing::Intact, "nothing can have been there");
}

fn taking_over_raises_the_epoch_above_all_that_is_known(cache: &Cache) {
    let process = cache.process();
    let mut claim = fresh_claim(1);
    assert!(cache.take_over(&process, &claim).unwrap().epoch > Epoch(0));
    // Past any clock.
    claim.above = Epoch(1 << 60);
    assert_eq!(cache.take_over(&process, &claim).unwrap().epoch, Epoch((1 << 60) + 1));
    claim.above = Epoch(7);
    assert_eq!(cache.take_over(&process, &claim).unwrap().epoch, Epoch((1 << 60) + 2));
    cache.remove(&own_keys().owner_record(&lane_name()));
    assert_eq!(
        cache.take_over(&process, &claim).unwrap().epoch,
        Epoch((1 << 60) + 3),
        "above the watermark's"
    );
}

fn an_owner_whose_traces_were_lost_is_told_from_the_next_one(cache: &Cache) {
    let (first, second) = (cache.process(), cache.process());
    let lost = cache.take_over(&first, &fresh_claim(1)).unwrap().epoch;
    cache.flush_all();
    // The server's clock tells them apart: by then it is some milliseconds later.
    std::thread::sleep(std::time::Duration::from_millis(5));
    if let Cache::Memory(server) = cache {
        server.set_now(now_ms());
    }
    assert!(cache.take_over(&second, &fresh_claim(2)).unwrap().epoch > lost);
}

fn the_former_owner_gives_up(cache: &Cache) {
    let (first, second) = (cache.process(), cache.process());
    cache.take_over(&first, &fresh_claim(1)).unwrap();
    assert_done(&cache.apply(&first, &batch(1, 0..1, vec![write("a", "first")])));
    cache.take_over(&second, &claim_from(2, 1)).unwrap();
    assert_done(&cache.apply(&second, &batch(2, 1..2, vec![write("a", "second")])));
    // Its connection was killed; the first call may find that out, the next cannot enter a new one.
    let zombie = batch(1, 1..2, vec![write("a", "zombie")]);
    let last = (0..2).map(|_| cache.apply(&first, &zombie)).last().unwrap();
    assert_eq!(last.error, Some(WorldError::NotOwner));
    assert_eq!(last.units, [Outcome::NotAcknowledged]);
    assert_eq!(cache.text("a"), there("second"));
    assert_done(&cache.apply(&second, &look(2, 2)));
}

fn a_lost_record_is_written_again_and_who_is_named_there_fenced(cache: &Cache) {
    let (first, second) = (cache.process(), cache.process());
    let record = own_keys().owner_record(&lane_name());
    cache.take_over(&first, &fresh_claim(1)).unwrap();
    let owner = cache.take_over(&second, &fresh_claim(2)).unwrap().epoch;
    cache.flush_all();
    // With the record gone, the former owner can enter its new connection: until the owner looks.
    let mut zombie = (0..3).map(|_| cache.apply(&first, &look(1, 0)));
    assert!(zombie.any(|outcomes| outcomes.error.is_none()), "it does not know better yet");
    assert_eq!(cache.apply(&second, &look(2, 0)).error, None);
    let fields = cache.get(&record).unwrap().0;
    let MemoryValue::Hash(fields) = fields else { panic!() };
    assert_eq!(fields.get(b"epoch".as_slice()).unwrap(), owner.0.to_string().as_bytes());
    let last = (0..2).map(|_| cache.apply(&first, &batch(1, 0..1, vec![write("a", "x")]))).last().unwrap();
    assert_eq!(last.error, Some(WorldError::NotOwner));
}

fn a_released_lane_is_taken_over_in_peace(cache: &Cache) {
    let (first, second) = (cache.process(), cache.process());
    cache.take_over(&first, &fresh_claim(1)).unwrap();
    let other = stoker::batch::Claim {
        name: stoker::batch::LaneName { topic: "topic".into(), partition: 4 },
        ..fresh_claim(7)
    };
    cache.take_over(&first, &other).unwrap();
    cache.release(&first, LaneId(1));
    let outcomes = cache.apply(&first, &batch(1, 0..1, vec![write("a", "x")]));
    assert_eq!(outcomes.error, Some(WorldError::NotOwner), "a released lane sends nothing");
    cache.take_over(&second, &fresh_claim(2)).unwrap();
    let kept = batch(7, 0..1, vec![write("b", "x")]);
    assert_done(&cache.apply(&first, &kept));
}

/// Equal but for the difference of two clocks of one machine.
fn close(found: Option<i64>, expected: Option<i64>, what: &str) {
    let (found, expected) = (found.expect(what), expected.unwrap());
    assert!((found - expected).abs() <= 1_000, "{what}: {found} is not about {expected}");
}

/// Writes `b`, and keeps `a`.
fn patch_of(version: Version, owner: &str, value: u32) -> Step {
    let field = |name: &str, told| Field { name: name.into(), told };
    let told = Told::Value(value.to_string().into_bytes());
    let fields = vec![field("\"a\"", Told::Kept), field("\"b\"", told)];
    let patch = Patch::new(PatchShape::Json, fields, Others::Dropped);
    let owner = stoker::mutation::RowId::new(owner.as_bytes());
    Step::Patch { version, owner, patch, expiry: hour() }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any_version = || {
        prop_oneof![
            6 => (0..6_u64).prop_map(version),
            2 => (0..3_i64).prop_map(Version::from_offset),
            2 => (0..3_i64).prop_map(|offset| Version::from_offset(offset).in_epoch(1)),
            1 => Just(Version::NONE.in_epoch(1)),
        ]
    };
    let owner = prop_oneof![Just("r"), Just("s")];
    let covers = prop::option::of(any_version());
    let step = (0..3_u8, any_version(), owner, covers, 0..1_000_u32).prop_map(
        |(what, version, owner, covers, value)| match what {
            0 => write_of(&version, owner, &format!(r#"{{"a":{value},"b":1}}"#)),
            1 => Step::Delete { version, owner: RowId::new(owner.as_bytes()), covers },
            _ => patch_of(version, owner, value),
        },
    );
    prop::collection::vec(step, 1..5)
}

/// The script and its model agree on every sequence of steps: outcomes, values, what is remembered.
#[test]
fn the_guard_of_lua_is_that_of_the_model() {
    let (real, model) = (Cache::redis(), Cache::memory());
    // Without a rewrite, and as a part of one or the other; in groups of their own, so that nobody is fenced.
    let processes =
        [("usual", None), ("first", Some("r1")), ("second", Some("r2"))].map(|(group, rewrite)| {
            let processes = (real.process_of(group, rewrite), model.process_of(group, rewrite));
            real.take_over(&processes.0, &fresh_claim(1)).unwrap();
            model.take_over(&processes.1, &fresh_claim(1)).unwrap();
            processes
        });
    let position = RefCell::new(0);
    let config = ProptestConfig { cases: 300, ..ProptestConfig::default() };
    proptest!(config, |(batches in prop::collection::vec((0..3_usize, steps()), 1..5))| {
        let start = position.replace_with(|position| *position + 100);
        let key = format!("k{start}");
        for (offset, (who, steps)) in (start..).zip(batches) {
            let processes = &processes[who];
            let units = vec![unit(&key, Action::Guarded(steps.into_iter().collect()))];
            let sealed = batch(1, offset..offset + 1, units);
            let outcomes = (real.apply(&processes.0, &sealed), model.apply(&processes.1, &sealed));
            prop_assert_eq!(outcomes.0.units, outcomes.1.units);
            for key in [key.as_bytes().to_vec(), own_keys().side(key.as_bytes())] {
                let (real, model) = (real.get(&key), model.get(&key));
                prop_assert_eq!(real.as_ref().map(|kept| &kept.0), model.as_ref().map(|kept| &kept.0));
                let expiries = (real.and_then(|kept| kept.1), model.and_then(|kept| kept.1));
                match expiries {
                    (Some(real), Some(model)) => prop_assert!((real - model).abs() <= 1_000),
                    other => prop_assert_eq!(other.0, other.1),
                }
            }
        }
    });
}
