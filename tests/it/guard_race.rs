//! Two writers race on the same keys under the version guard: the newest version wins, deletes included.
//!
//! Each run is a short history of a few rows, read by two groups that know nothing of each other. Turns, batch sizes,
//! re-readings and batches that land a second time, much later, are drawn from a seed. Both stop anywhere; then the
//! cache must hold what the rows were after the newest change that one of them applied. A failing run prints its seed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use stoker::batch::{Batch, LaneId};
use stoker::coalesce::Filling;
use stoker::entity::{Entity, Handlers};
use stoker::pipeline::{Emitted, Pipeline};
use stoker::record::{AsRecord, OwnedRecord};
use stoker::settings::{ProcessEnvironment, parse};

use super::simulation::rng::Rng;
use super::support::sink::*;

/// Runs of each kind on a real server: some 4 ms of a core each, in a debug build.
const RUNS: u64 = 1_200;
const ROWS: usize = 3;
const EMAILS: u64 = 3;

/// By what the entity is guarded, and what its deletes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guarded {
    /// `d` events, whose position orders them.
    BySource,
    /// `d` events and their tombstones, by offset.
    ByOffset,
    /// Soft deletes: the column rises with them.
    ByColumns,
    /// Not at all.
    No,
}

impl Guarded {
    fn entities(self) -> Arc<[Entity]> {
        let guard = match self {
            Guarded::BySource => "guard = { by = \"source\" }",
            Guarded::ByOffset => "guard = { by = \"offset\" }",
            Guarded::ByColumns => {
                "guard = { by = { column = [\"at\", \"n\"] } }\ndelete_when = \"after.gone == true\""
            }
            Guarded::No => "",
        };
        let text = format!(
            r#"
kafka = {{ brokers = "localhost:9092", group = "race" }}
redis = {{ url = "redis://localhost" }}

[[entity]]
name = "customer"
topics = ["shop.public.customers"]
replica_identity = "full"
columns = {{ until = "instant_ms" }}
{guard}

[[entity.write]]
key = "row:{{id}}"
value = {{ text = "{{v}}" }}
ttl = {{ column = "until" }}

[[entity.write]]
key = "hash:{{id}}"
value = {{ hash = ["v"] }}
ttl = "1h"

[[entity.write]]
key = "email:{{email}}"
value = {{ text = "{{id}}" }}
ttl = "1h"
"#
        );
        let environment = ProcessEnvironment::new(std::path::PathBuf::new());
        parse(&text, &environment, &Handlers::default())
            .unwrap_or_else(|error| panic!("{error}"))
            .settings
            .entities
    }
}

/// A row; its keys are of one run alone.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: String,
    email: String,
    v: usize,
    /// False where its value has expired by the time that it is written.
    lasts: bool,
}

impl Row {
    fn json(&self, gone: bool) -> String {
        let until = if self.lasts { now_ms() + 3_600_000 } else { 1_000 };
        let Row { id, email, v, .. } = self;
        // Pairs of changes have one time, so that the second column decides.
        let at = format!("2026-11-21T07:00:{:02}.{}Z", v / 2, "5".repeat(v / 2 % 4 + 1));
        format!(
            r#"{{"id":"{id}","email":"{email}","v":{v},"until":{until},"gone":{gone},"at":"{at}","n":{}}}"#,
            v % 2
        )
    }
}

/// The rows of a run by their ids.
type Rows = BTreeMap<String, Row>;

/// A run's records, and the rows after each of them.
struct History {
    records: Vec<OwnedRecord>,
    after: Vec<Rows>,
    ids: Vec<String>,
    emails: Vec<String>,
}

impl History {
    fn draw(guarded: Guarded, run: u64, rng: &mut Rng) -> History {
        let ids: Vec<String> = (0..ROWS).map(|row| format!("{run}-{row}")).collect();
        let emails: Vec<String> = (0..EMAILS).map(|email| format!("{run}-e{email}")).collect();
        let mut history = History { records: Vec::new(), after: Vec::new(), ids, emails };
        let mut rows = Rows::new();
        for v in 0..rng.between(3, 12) as usize {
            let id = rng.pick(&history.ids).unwrap().clone();
            let before = rows.remove(&id);
            let old = before.as_ref().map_or("null".to_owned(), |row| row.json(false));
            let soft = guarded == Guarded::ByColumns;
            match before {
                Some(row) if rng.chance(300) => {
                    if soft {
                        let gone = Row { v, ..row };
                        history.append(&id, v, &old, Some(&gone.json(true)), &rows);
                    } else {
                        history.append(&id, v, &old, None, &rows);
                        if guarded != Guarded::BySource {
                            history.push(&id, None, &rows);
                        }
                    }
                }
                _ => {
                    let taken = |email: &&String| rows.values().any(|row| row.email == **email);
                    let free: Vec<_> = history.emails.iter().filter(|email| !taken(email)).cloned().collect();
                    let email = rng.pick(&free).unwrap().clone();
                    let row = Row { id: id.clone(), email, v, lasts: rng.chance(850) };
                    let new = row.json(false);
                    rows.insert(id.clone(), row);
                    history.append(&id, v, &old, Some(&new), &rows);
                }
            }
        }
        history
    }

    fn append(&mut self, id: &str, v: usize, before: &str, after: Option<&str>, rows: &Rows) {
        let op = if after.is_some() { "u" } else { "d" };
        let after = after.unwrap_or("null");
        let source = format!(
            r#"{{"connector":"postgresql","ts_ms":1700000000000,"sequence":"[null,\"{v}\"]","table":"customers","lsn":{v}}}"#
        );
        let value = format!(r#"{{"before":{before},"after":{after},"source":{source},"op":"{op}"}}"#);
        self.push(id, Some(value), rows);
    }

    fn push(&mut self, id: &str, value: Option<String>, rows: &Rows) {
        self.records.push(OwnedRecord {
            topic: "shop.public.customers".into(),
            offset: self.records.len() as i64,
            key: Some(format!(r#"{{"id":"{id}"}}"#).into_bytes()),
            value: value.map(String::into_bytes),
            timestamp_ms: Some(1_700_000_000_000),
            ..OwnedRecord::default()
        });
        self.after.push(rows.clone());
    }

    /// Every key that the run's rows can have, and what it must hold after so many records.
    fn expected(&self, applied: usize) -> BTreeMap<String, Option<String>> {
        let none = Rows::new();
        let rows = applied.checked_sub(1).map_or(&none, |last| &self.after[last]);
        let mut expected = BTreeMap::new();
        for id in &self.ids {
            let row = rows.get(id);
            expected.insert(format!("row:{id}"), row.filter(|row| row.lasts).map(|row| row.v.to_string()));
            expected.insert(format!("hash:{id}"), row.map(|row| row.v.to_string()));
        }
        for email in &self.emails {
            let owner = rows.values().find(|row| row.email == *email);
            expected.insert(format!("email:{email}"), owner.map(|row| row.id.clone()));
        }
        expected
    }
}

/// A group's process: reads the history in order, and now and then a part of it again.
struct Writer {
    process: Process,
    pipeline: Pipeline,
    position: Cell<i64>,
}

/// The cache, two writers, and a third connection over which batches land a second time.
struct Race<'c> {
    cache: &'c Cache,
    guarded: Guarded,
    writers: [Writer; 2],
    late: Writer,
}

impl Race<'_> {
    fn new(cache: &Cache, guarded: Guarded) -> Race<'_> {
        Race::of(cache, guarded, &guarded.entities())
    }

    fn of<'c>(cache: &'c Cache, guarded: Guarded, entities: &Arc<[Entity]>) -> Race<'c> {
        let writer = |group: &str| {
            let process = cache.process_of(group, None);
            cache.take_over(&process, &fresh_claim(1)).unwrap();
            Writer { process, pipeline: Pipeline::new(Arc::clone(entities)), position: Cell::new(0) }
        };
        Race { cache, guarded, writers: [writer("one"), writer("other")], late: writer("late") }
    }

    /// One run. `Err` says which key is wrong, and how.
    fn run(&mut self, run: u64, seed: u64) -> Result<(), String> {
        let mut rng = Rng::new(seed);
        let history = History::draw(self.guarded, run, &mut rng);
        let end = history.records.len();
        let mut next = [0, 0];
        let mut applied = 0;
        let mut held: Vec<Batch> = Vec::new();
        for _ in 0..rng.between(2, 12) {
            let both = rng.chance(300);
            let who = rng.below(2);
            let mut taken = [None, None];
            for index in [0, 1] {
                if !both && index != who {
                    continue;
                }
                let from = if rng.chance(200) { rng.below(next[index] + 1) } else { next[index] };
                let to = end.min(from + rng.between(1, 5) as usize);
                let batch = self.writers[index].batch(&history.records[from..to]);
                next[index] = to;
                applied = applied.max(to);
                if rng.chance(250) {
                    held.push(self.late.again(&batch));
                }
                taken[index] = Some(batch);
            }
            self.apply(taken);
            if rng.chance(200) && !held.is_empty() {
                let late = held.remove(rng.below(held.len()));
                assert_done(&self.cache.apply(&self.late.process, &late));
            }
        }
        for late in held {
            assert_done(&self.cache.apply(&self.late.process, &late));
        }
        let expected = history.expected(applied);
        let found = self.read(expected.keys());
        let wrong = expected.iter().zip(&found).find(|((_, expected), found)| expected != found);
        wrong.map_or(Ok(()), |((key, expected), found)| {
            Err(format!("{key} holds {found:?} and not {expected:?} ({applied} of {end} records)"))
        })
    }

    /// Applies what each writer took: of both at a time, on two connections.
    fn apply(&self, taken: [Option<Batch>; 2]) {
        let [one, other] = &self.writers;
        match (self.cache, taken) {
            (Cache::Redis(_, runtime), [Some(first), Some(second)]) => {
                let (Process::Redis(one), Process::Redis(other)) = (&one.process, &other.process) else {
                    unreachable!()
                };
                use stoker::sink::Sink as _;
                let both =
                    async { futures_util::future::join(one.apply(&first), other.apply(&second)).await };
                let (first, second) = runtime.block_on(both);
                assert_done(&first);
                assert_done(&second);
            }
            (cache, taken) => {
                for (writer, batch) in self.writers.iter().zip(taken) {
                    if let Some(batch) = batch {
                        assert_done(&cache.apply(&writer.process, &batch));
                    }
                }
            }
        }
    }

    fn read<'k>(&self, keys: impl Iterator<Item = &'k String>) -> Vec<Option<String>> {
        use stoker::sink::memory::MemoryValue;
        let text = |value: MemoryValue| match value {
            MemoryValue::String(bytes) => String::from_utf8(bytes).unwrap(),
            MemoryValue::Hash(fields) => String::from_utf8(fields[b"v".as_slice()].clone()).unwrap(),
            MemoryValue::Set(_) | MemoryValue::SortedSet(_) | MemoryValue::Other => {
                panic!("no writer writes that")
            }
        };
        match self.cache {
            Cache::Memory(server) => {
                keys.map(|key| server.get(key.as_bytes()).map(|(value, _)| text(value))).collect()
            }
            Cache::Redis(server, _) => {
                let mut pipeline = redis::pipe();
                for key in keys {
                    match key.starts_with("hash:") {
                        true => pipeline.cmd("HGET").arg(key).arg("v"),
                        false => pipeline.cmd("GET").arg(key),
                    };
                }
                pipeline.query(&mut server.client().0).unwrap()
            }
        }
    }
}

impl Writer {
    fn batch(&mut self, records: &[OwnedRecord]) -> Batch {
        let mut filling = Filling::default();
        for record in records {
            self.pipeline.handle(&record.as_record(), &mut |emitted| match emitted {
                Emitted::Mutations { entity, mutations, .. } => {
                    for mutation in mutations {
                        filling.add(mutation, record.offset, entity);
                    }
                }
                Emitted::Ignored { .. } | Emitted::Truncated { .. } => {}
                Emitted::Failed(failure) => panic!("{}", failure.detail),
            });
        }
        self.sealed(filling.take())
    }

    /// The same units in a batch of this writer.
    fn again(&self, batch: &Batch) -> Batch {
        self.sealed(batch.units.clone())
    }

    fn sealed(&self, units: Vec<stoker::batch::Unit>) -> Batch {
        let start = self.position.replace(self.position.get() + 1);
        Batch { lane: LaneId(1), ..batch(1, start..start + 1, units) }
    }
}

/// Runs so many, one after the other on one server, each on keys of its own.
fn race_often(guarded: Guarded, first_seed: u64, runs: u64) {
    let cache = Cache::redis();
    let mut race = Race::new(&cache, guarded);
    for seed in first_seed..first_seed + runs {
        if let Err(wrong) = race.run(seed, seed) {
            panic!("{guarded:?}, seed {seed}: {wrong}");
        }
    }
}

#[test]
fn the_newest_position_wins_every_race() {
    race_often(Guarded::BySource, 1, RUNS);
}

#[test]
fn the_newest_offset_wins_every_race() {
    race_often(Guarded::ByOffset, 100_001, RUNS);
}

#[test]
fn the_newest_columns_win_every_race() {
    race_often(Guarded::ByColumns, 200_001, RUNS);
}

/// What the races above would show if the guard did nothing.
#[test]
fn without_the_guard_races_are_lost() {
    let cache = Cache::redis();
    let mut race = Race::new(&cache, Guarded::No);
    let lost = (0..200).filter(|seed| race.run(*seed, *seed).is_err()).count();
    assert!(lost > 20, "{lost} of 200 runs are lost");
}

thread_local! {
    static ENTITIES: [(Guarded, Arc<[Entity]>); 3] =
        [Guarded::BySource, Guarded::ByOffset, Guarded::ByColumns].map(|guarded| (guarded, guarded.entities()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_newest_version_wins_every_race_in_the_model(
        seed in any::<u64>(),
        guarded in prop_oneof![Just(Guarded::BySource), Just(Guarded::ByOffset), Just(Guarded::ByColumns)],
    ) {
        let cache = Cache::memory();
        let entities = ENTITIES.with(|all| Arc::clone(&all.iter().find(|(of, _)| *of == guarded).unwrap().1));
        let result = Race::of(&cache, guarded, &entities).run(0, seed);
        prop_assert!(result.is_ok(), "{guarded:?}: {result:?}");
    }
}
