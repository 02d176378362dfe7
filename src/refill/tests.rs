//! The rules of a refill, each by itself, and all of them together against the fold of random logs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::mutation::{Expiry, Guard, StringKind, Value};
use crate::version::Version;

/// One change: of a row, to the key that it has by then (or a delete of it).
#[derive(Debug, Clone, Copy)]
struct Change {
    row: u8,
    key: u8,
    writes: bool,
}

const fn write(row: u8, key: u8) -> Change {
    Change { row, key, writes: true }
}

const fn delete(row: u8, key: u8) -> Change {
    Change { row, key, writes: false }
}

fn options(window_records: i64, seen_max: usize) -> RefillOptions {
    RefillOptions { window_records, window_bytes: 1 << 20, seen_max, seed: 7 }
}

fn row_of(change: Change) -> RowId {
    RowId::new(&[change.row])
}

/// A change as its position's mutation: the value is the position.
fn mutation(change: Change, position: usize) -> Mutation {
    let bytes = position.to_string().into_bytes();
    let value = Value::String { kind: StringKind::Text, bytes };
    let effect = if change.writes { Effect::Write(value, Expiry::Never) } else { Effect::Delete };
    Mutation { key: CacheKey::new(&[change.key]), effect, guard: None }
}

/// A cache, and the log that it is refilled from.
struct Scene {
    log: Vec<Change>,
    low: usize,
    refill: Refill,
    window_count: u64,
    cache: BTreeMap<u8, usize>,
    written: Vec<u8>,
    /// Every record settles its record key.
    settles: bool,
    /// A truncate stands before the record at this position.
    truncated_before: Option<usize>,
    done: bool,
}

impl Scene {
    fn new(log: &[Change], mode: RefillMode, options: RefillOptions) -> Scene {
        let top = Position::try_from(log.len()).unwrap();
        Scene {
            log: log.to_vec(),
            low: 0,
            refill: Refill::new(Owed::all(top, mode), top, options, Scope::default()),
            window_count: 0,
            cache: BTreeMap::new(),
            written: Vec::new(),
            settles: false,
            truncated_before: None,
            done: false,
        }
    }

    /// The lane takes a live change, and applies it.
    fn live(&mut self, change: Change) {
        self.refill.live(Some(&[change.row]));
        self.refill.saw_rows(0, &[row_of(change)]);
        self.refill.saw_key(&CacheKey::new(&[change.key]));
        if self.settles {
            self.refill.saw_settled(&[change.row]);
        }
        match change.writes {
            true => drop(self.cache.insert(change.key, self.log.len())),
            false => drop(self.cache.remove(&change.key)),
        }
        self.log.push(change);
    }

    /// The source reads the next window, if one is due.
    fn read(&mut self) {
        if self.refill.wants_top() {
            self.refill.restart(self.log.len() as Position);
        }
        self.window_count += 1;
        let request = self.refill.next_request(self.window_count);
        let Some(HistoryRequest { number, until, records, .. }) = request else { return };
        let from = until.saturating_sub(records).max(self.low as Position);
        for position in from..until {
            let change = self.log[position as usize];
            if self.refill.wants(number, Some(&[change.row]), None) {
                self.refill.history(Some(&[change.row]));
                let mutation = mutation(change, position as usize);
                self.refill.add(Some(0), &[row_of(change)], std::iter::once(mutation));
                if self.settles {
                    self.refill.settle(&[change.row]);
                }
            }
            if self.truncated_before == Some(position as usize + 1) && self.refill.wants(number, None, None) {
                self.refill.truncate(0);
            }
        }
        self.refill.read(number, from, self.low as Position);
    }

    /// A batch of so many units is filled, applied and lands.
    fn flush(&mut self, units: usize) {
        let mut filling = Filling::default();
        self.refill.fill(&mut filling, units, usize::MAX);
        for unit in filling.take() {
            let key = unit.key.as_bytes()[0];
            let held = match unit.action {
                Action::Write(value, _) => Some(value),
                Action::WriteIfAbsent(value, _) if !self.cache.contains_key(&key) => Some(value),
                Action::Delete => {
                    self.cache.remove(&key);
                    None
                }
                _ => None,
            };
            if let Some(Value::String { bytes, .. }) = held {
                self.cache.insert(key, String::from_utf8(bytes).unwrap().parse().unwrap());
            }
            self.written.push(key);
        }
        while let Some(progressed) = self.refill.landed() {
            self.done |= progressed == Progressed::Done;
        }
    }

    fn finish(&mut self) {
        for _ in 0..100_000 {
            if self.done {
                return;
            }
            self.read();
            self.flush(3);
        }
        panic!("a refill ends");
    }

    /// What each key must hold: the newest change of it decides, where it is its row's newest as well.
    fn expected(&self) -> BTreeMap<u8, usize> {
        let mut newest_of_row = BTreeMap::new();
        let mut newest_of_key = BTreeMap::new();
        for (position, change) in self.log.iter().enumerate().skip(self.low) {
            newest_of_row.insert(change.row, position);
            newest_of_key.insert(change.key, position);
        }
        let writes = newest_of_key.into_iter().filter(|(_, position)| {
            let change = self.log[*position];
            change.writes && newest_of_row[&change.row] == *position
        });
        writes.collect()
    }
}

#[test]
fn hot_keys_come_first_and_each_is_written_once() {
    let log: Vec<Change> = (0..40).map(|n| write(n % 4, n % 4)).chain([write(9, 9)]).collect();
    let mut scene = Scene::new(&log, RefillMode::IfAbsent, options(2, 100));
    scene.finish();
    assert_eq!(scene.written, [9, 3, 2, 1, 0], "newest first, and never again");
}

#[test]
fn what_was_deleted_stays_deleted() {
    let mut scene = Scene::new(&[write(1, 1), delete(1, 1)], RefillMode::IfAbsent, options(1, 100));
    scene.finish();
    assert!(scene.cache.is_empty() && scene.written.is_empty());
}

#[test]
fn what_the_lane_took_meanwhile_is_left_alone_though_its_window_was_read_before() {
    let mut scene = Scene::new(&[write(1, 1), write(2, 2)], RefillMode::Overwrite, options(10, 100));
    scene.read();
    scene.live(write(1, 1));
    scene.live(delete(2, 2));
    scene.finish();
    assert_eq!(scene.cache, BTreeMap::from([(1, 2)]));
    assert_eq!(scene.written, [] as [u8; 0]);
}

#[test]
fn an_older_change_of_a_row_writes_nothing_and_deletes_only_over_what_is_there() {
    // The row had key 1, left it (nothing says so), had key 2 deleted, and has key 3.
    let log = [write(1, 1), delete(1, 2), write(1, 3)];
    for (mode, expected) in [(RefillMode::IfAbsent, &[3][..]), (RefillMode::Overwrite, &[3, 2][..])] {
        for window in [1, 10] {
            let mut scene = Scene::new(&log, mode, options(window, 100));
            scene.finish();
            assert_eq!(scene.written, expected, "{mode:?} {window}");
        }
    }
}

/// Between a loss and the next watermark a batch landed and a snapshot was taken, and that was loaded much later.
#[test]
fn a_snapshot_that_no_watermark_tells_of_is_written_over() {
    let log = [write(1, 1), write(2, 2), write(1, 1), delete(2, 2)];
    let mut scene = Scene::new(&log, RefillMode::Restore, options(10, 100));
    scene.cache = BTreeMap::from([(1, 0), (2, 1)]);
    scene.finish();
    assert_eq!(scene.cache, BTreeMap::from([(1, 2)]));
}

#[test]
fn what_a_truncate_deleted_is_not_brought_back() {
    // Of history: entity 0 is truncated between positions 1 and 2. Windows of one record, and of all.
    for (mode, window) in [(RefillMode::IfAbsent, 1), (RefillMode::Restore, 1), (RefillMode::Restore, 10)] {
        let log = [write(1, 1), write(2, 2), write(3, 3)];
        let mut scene = Scene::new(&log, mode, options(window, 100));
        scene.truncated_before = Some(2);
        scene.cache = if mode.overwrites() { BTreeMap::from([(1, 0)]) } else { BTreeMap::new() };
        scene.finish();
        assert_eq!(scene.cache, BTreeMap::from([(3, 2)]), "{mode:?}, windows of {window}");
    }
    // A live one, when a window was read and waits.
    let mut scene = Scene::new(&[write(1, 1), write(2, 2)], RefillMode::Restore, options(1, 100));
    scene.read();
    scene.refill.saw_truncate(0);
    scene.finish();
    assert!(scene.cache.is_empty(), "{:?}", scene.cache);
}

#[test]
fn a_truncate_without_a_key_counts_in_every_slice() {
    let log: Vec<Change> = (0..40).map(|n| write(n, n)).collect();
    let mut scene = Scene::new(&log, RefillMode::Restore, options(10, 4));
    scene.truncated_before = Some(40);
    scene.finish();
    assert!(scene.refill.slices > 1 && scene.cache.is_empty(), "{:?}", scene.cache);
}

#[test]
fn a_part_of_a_value_is_laid_over_the_whole_one_of_its_window_or_leaves_the_key_out() {
    use crate::patch::{Field, Others, Patch, PatchShape, Told};
    let json = |text: &str| Value::String { kind: StringKind::Json, bytes: text.into() };
    let kept = Field { name: b"\"a\"".to_vec(), told: Told::Kept };
    let told = Field { name: b"\"b\"".to_vec(), told: Told::Value(b"2".to_vec()) };
    let patch = Effect::Patch(Patch::new(PatchShape::Json, vec![kept, told], Others::Dropped), Expiry::Never);
    let whole = Effect::Write(json(r#"{"a":1.50,"b":1}"#), Expiry::Never);
    let merged = Some(Action::Write(json(r#"{"a":1.50,"b":2}"#), Expiry::Never));
    for (window, mode, expected) in [
        (10, RefillMode::Restore, merged),
        (1, RefillMode::Restore, Some(Action::Delete)),
        (1, RefillMode::IfAbsent, None),
    ] {
        let mut refill = Refill::new(Owed::all(2, mode), 2, options(window, 100), Scope::default());
        let mut sent = Vec::new();
        while let Some(request) = refill.next_request(1) {
            let from = (request.until - request.records).max(0);
            for position in from..request.until {
                assert!(refill.wants(request.number, Some(b"k"), None));
                let effect = if position == 0 { whole.clone() } else { patch.clone() };
                let mutation = Mutation { key: CacheKey::new(b"k"), effect, guard: None };
                refill.add(Some(0), &[RowId::new(b"r")], std::iter::once(mutation));
            }
            refill.read(request.number, from, 0);
            let mut filling = Filling::default();
            refill.fill(&mut filling, 10, usize::MAX);
            sent.extend(filling.take().into_iter().map(|unit| unit.action));
            while refill.landed().is_some() {}
        }
        assert_eq!(sent, Vec::from_iter(expected), "{mode:?}, windows of {window}");
    }
}

/// A record that could not be read gives up the keys of every entity; one of them alone was asked for.
#[test]
fn keys_that_nobody_knows_the_entity_of_are_left_alone_where_one_entity_is_asked_for() {
    let scope = Scope { entities: vec![0], ..Scope::default() };
    let mut refill = Refill::new(Owed::all(2, RefillMode::Overwrite), 2, options(10, 100), scope);
    let request = refill.next_request(1).unwrap();
    for (position, entity, change) in
        [(0, Some(0), write(1, 1)), (1, Some(1), write(1, 2)), (2, None, delete(1, 1))]
    {
        assert!(refill.wants(request.number, Some(b"k"), None));
        refill.add(entity, &[row_of(change)], std::iter::once(mutation(change, position)));
    }
    refill.read(request.number, 0, 0);
    let mut filling = Filling::default();
    assert!(!refill.fill(&mut filling, 10, usize::MAX), "{:?}", filling.take());
    while refill.landed().is_some_and(|progressed| progressed != Progressed::Done) {}
}

#[test]
fn a_scope_ends_by_time_and_by_keys() {
    let log: Vec<Change> = (0..120).map(|n| write(n, n)).collect();
    let refilled = |scope: Scope| {
        let mut refill = Refill::new(Owed::all(120, RefillMode::Restore), 120, options(4, 1_000), scope);
        let (mut written, mut end) = (Vec::new(), None);
        while let Some(HistoryRequest { number, until, records, .. }) = refill.next_request(1) {
            let from = (until - records).max(0);
            for position in from..until {
                let change = log[position as usize];
                if refill.wants(number, Some(&[change.row]), Some(position * 10)) {
                    refill.add(
                        Some(0),
                        &[row_of(change)],
                        std::iter::once(mutation(change, position as usize)),
                    );
                }
            }
            refill.read(number, from, 0);
            let mut filling = Filling::default();
            refill.fill(&mut filling, usize::MAX, usize::MAX);
            written.extend(filling.take().iter().map(|unit| unit.key.as_bytes()[0]));
            while let Some(progressed) = refill.landed() {
                end = Some(progressed);
                if progressed == Progressed::KeysMax {
                    return (written, end, refill.counts.read);
                }
            }
        }
        (written, end, refill.counts.read)
    };
    let since = Scope { since_ms: Some(1_150), ..Scope::default() };
    let (written, end, read) = refilled(since);
    assert_eq!((written, end), (vec![119, 118, 117, 116, 115], Some(Progressed::Done)));
    assert!(read < 120, "what is too old as a whole ends it: {read}");
    let keys = Scope { keys_max: Some(6), ..Scope::default() };
    assert_eq!(
        (refilled(keys).0, refilled(Scope::default()).0.len()),
        (vec![119, 118, 117, 116, 115, 114], 120)
    );
}

#[test]
fn what_is_settled_is_not_decoded_again() {
    let mut refill = Refill::new(Owed::all(4, RefillMode::Restore), 4, options(2, 100), Scope::default());
    let first = refill.next_request(1).unwrap();
    for position in [2, 3] {
        assert!(refill.wants(first.number, Some(b"hot"), None), "within a window the last one counts");
        refill.add(Some(0), &[RowId::new(b"r")], std::iter::once(mutation(write(1, 1), position)));
        refill.settle(b"hot");
    }
    refill.read(first.number, 2, 0);
    let second = refill.next_request(2).unwrap();
    assert!(!refill.wants(second.number, Some(b"hot"), None));
    assert!(refill.wants(second.number, Some(b"cold"), None) && refill.wants(second.number, None, None));
    refill.live(Some(b"cold"));
    refill.saw_settled(b"cold");
    assert!(!refill.wants(second.number, Some(b"cold"), None));
}

#[test]
fn what_is_there_already_is_read_for_its_keys_alone() {
    let log = [write(1, 1), write(2, 2), delete(1, 1), write(3, 3)];
    let mut scene = Scene::new(&log, RefillMode::IfAbsent, options(10, 100));
    scene.refill = Refill::new(Owed::all(2, RefillMode::IfAbsent), 4, options(10, 100), Scope::default());
    scene.finish();
    assert_eq!(scene.written, [2], "3 is there, and 1 was deleted since");
}

#[test]
fn a_window_that_is_too_large_is_read_in_parts() {
    let log: Vec<Change> = (0..20).map(|n| write(n, n)).collect();
    let small = RefillOptions { window_bytes: 700, ..options(1_000, 100) };
    let mut scene = Scene::new(&log, RefillMode::IfAbsent, small);
    scene.finish();
    assert_eq!(scene.cache.len(), 20);
    assert!(scene.refill.window_records < 8, "{}", scene.refill.window_records);
}

#[test]
fn a_window_is_paid_once_all_of_it_has_landed() {
    let log: Vec<Change> = (0..4).map(|n| write(n, n)).collect();
    let mut refill = Scene::new(&log, RefillMode::IfAbsent, options(2, 100));
    refill.read();
    let mut filling = Filling::default();
    assert!(refill.refill.fill(&mut filling, 1, usize::MAX));
    assert_eq!(refill.refill.landed(), None, "one of its two keys");
    assert!(refill.refill.fill(&mut filling, 2, usize::MAX));
    assert_eq!(refill.refill.landed(), Some(Progressed::Owes(2)));
}

#[test]
fn a_key_that_the_batch_holds_waits_for_the_next_one() {
    let mut scene = Scene::new(&[write(1, 1)], RefillMode::Overwrite, options(10, 100));
    scene.read();
    let mut filling = Filling::default();
    // Of another row's guarded change: the lane does not tell of its key.
    let owner = RowId::new(b"other");
    let guard = Some(Box::new(Guard { version: Version::from_parts(&[1]), owner }));
    filling.add(Mutation { guard, ..mutation(write(2, 1), 5) }, 5, 0);
    assert!(!scene.refill.fill(&mut filling, 10, usize::MAX));
    assert_eq!((filling.take().len(), scene.refill.has_entries()), (1, true));
    assert!(scene.refill.fill(&mut Filling::default(), 10, usize::MAX));
}

#[test]
fn a_delete_of_history_says_nothing_about_a_key_that_nobody_is_known_to_have() {
    let mut scene = Scene::new(&[delete(1, 1)], RefillMode::Overwrite, options(10, 100));
    let request = scene.refill.next_request(1).unwrap();
    let owner = RowId::new(b"r");
    let guard = Some(Box::new(Guard { version: Version::from_parts(&[4]), owner: owner.clone() }));
    assert!(scene.refill.wants(request.number, None, None));
    let guarded = Mutation { guard, ..mutation(delete(1, 1), 0) };
    scene.refill.add(Some(0), &[owner], std::iter::once(guarded));
    scene.refill.read(request.number, 0, 0);
    let mut filling = Filling::default();
    scene.refill.fill(&mut filling, 10, usize::MAX);
    let units = filling.take();
    let Action::Guarded(steps) = &units[0].action else { panic!("{units:?}") };
    assert!(matches!(steps.as_slice(), [Step::DeleteOwned { .. }]));
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    // A row has one key at a time, and each key one row: as a primary key does.
    let change = (0..6_u8, any::<bool>(), 0..4_u8).prop_map(|(row, writes, odds)| Change {
        row,
        key: row,
        writes: writes || odds == 0,
    });
    prop::collection::vec(change, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the windows, the slices and the live changes in between: in the end the cache holds what the log
    /// says, and on the way no key holds anything older than that.
    #[test]
    fn the_cache_is_the_fold_of_the_log(
        history in changes(),
        live in changes(),
        steps in prop::collection::vec(0..4_u8, 0..80),
        window in 1..9_i64,
        seen_max in 5..16_usize,
        settles in any::<bool>(),
        mode in prop::sample::select(vec![RefillMode::IfAbsent, RefillMode::Restore, RefillMode::Overwrite]),
    ) {
        let mut scene = Scene::new(&history, mode, options(window, seen_max));
        scene.settles = settles;
        let mut live = live.into_iter();
        for step in steps {
            match step {
                0 => scene.read(),
                1 => scene.flush(1),
                2 => scene.flush(4),
                _ => if let Some(change) = live.next() { scene.live(change) },
            }
            let expected = scene.expected();
            for (key, held) in &scene.cache {
                prop_assert_eq!(expected.get(key), Some(held), "key {} on the way", key);
            }
        }
        scene.finish();
        prop_assert_eq!(&scene.cache, &scene.expected());
    }
}
