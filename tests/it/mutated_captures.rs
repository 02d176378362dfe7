//! Nothing that a topic may hold panics the core, or makes it write JSON that is none: captures with bytes
//! broken, moved and taken from each other.
//!
//! A failing run prints the seed and the record; `STOKER_SEED=n` does that one alone.
#![allow(clippy::disallowed_methods, reason = "tests read the depth and the seed from the environment")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::de::IgnoredAny;
use stoker::cli::explain;
use stoker::cli::schemas::SchemaSource;
use stoker::decode::Format;
use stoker::entity::Entity;
use stoker::mutation::{Effect, Mutation, StringKind, Value};
use stoker::pipeline::{Emitted, Pipeline};
use stoker::record::{AsRecord as _, OwnedRecord};
use stoker::types::{BytesStyle, DecimalStyle, RenderStyle, TimeStyle};

use crate::support::captures;

/// Broken records in the ordinary run: some five seconds unoptimised. `PROPTEST_BUDGET_SECS` makes it more.
const RECORDS: u64 = 30_000;
const RECORDS_A_SECOND: u64 = 6_000;

/// Values that no captured column holds, or not there.
const ODD_TOKENS: &[&str] = &[
    "null",
    "true",
    "\"\"",
    "{}",
    "[]",
    "-0",
    "1e999",
    "-1e-999",
    "18446744073709551616",
    "-9223372036854775808",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"__debezium_unavailable_value\"",
    "[95,95,100]",
    "\"-infinity\"",
    "\"////\"",
    "{\"scale\":2147483647,\"value\":\"/w==\"}",
    "{\"scale\":-2147483648,\"value\":\"fw==\"}",
    "[[[[[[[[1]]]]]]]]",
    "\"+999999999-12-31T23:59:60Z\"",
    "\"P-178000000Y\"",
    "\"[\\\"1\\\",null]\"",
    "\"t\"",
    "\"d\"",
    "\"incremental\"",
];

/// xorshift64*: enough to reach everywhere, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

#[test]
fn broken_captures_never_panic_and_never_write_what_is_no_json() {
    let records = captured();
    let first = std::env::var("STOKER_SEED").ok().map(|seed| seed.parse().unwrap());
    let budget = std::env::var("PROPTEST_BUDGET_SECS").ok().and_then(|secs| secs.parse::<u64>().ok());
    let count = if first.is_some() { 1 } else { budget.map_or(RECORDS, |secs| secs * RECORDS_A_SECOND) };
    let first = first.unwrap_or(1);
    let schemas = captures::schemas();
    let mut pipelines = pipelines(&schemas);
    let (mut done, mut failed, mut garbage) = (0_u64, 0_u64, 0_u64);
    count_panics();
    for seed in first..first + count {
        let record = broken(&records, seed);
        let which = usize::try_from(seed).unwrap() % pipelines.len();
        let pipeline = &mut pipelines[which];
        // A pipeline goes on behind a handler's panic, so panics are counted and not only caught.
        let handled = catch_unwind(AssertUnwindSafe(|| {
            schemas.supply(pipeline, &record.as_record()).unwrap();
            pipeline.handle(&record.as_record(), &mut |emitted| match emitted {
                // Taken out, as a worker does.
                Emitted::Mutations { mutations, .. } => {
                    done += u64::from(
                        mutations.inspect(|mutation| garbage += u64::from(!sound(mutation))).count() > 0,
                    );
                }
                Emitted::Ignored { .. } | Emitted::Truncated { .. } => {}
                Emitted::Failed(_) => failed += 1,
            });
        }));
        assert!(
            handled.is_ok() && PANICS.get() == 0 && garbage == 0,
            "STOKER_SEED={seed} cargo test --test it broken_captures: {garbage} values are no JSON; topic {}, key {:?}, value {:?}",
            record.topic,
            record.key.as_deref().map(String::from_utf8_lossy),
            record.value.as_deref().map(String::from_utf8_lossy),
        );
    }
    // Neither all whole nor all unreadable: then nothing would have been looked at. Most of the formats that are
    // forced on the captures refuse them.
    assert!(
        count < 100 || (done > count / 16 && failed > count / 10),
        "{done} of {count} done, {failed} failed"
    );
}

#[test]
fn the_same_seed_breaks_the_same_record_in_the_same_way() {
    let records = captured();
    for seed in 1..200 {
        assert_eq!(broken(&records, seed), broken(&records, seed));
    }
}

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// False where a value that is to be JSON is none.
fn sound(mutation: &Mutation) -> bool {
    match &mutation.effect {
        Effect::Write(Value::String { kind: StringKind::Json, bytes }, _) => {
            serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
        }
        Effect::Write(..) | Effect::Patch(..) | Effect::Delete | Effect::DeleteIf(_) => true,
    }
}

/// The captures' entities as they are, without their types, and with each format forced on all of them, under
/// the other way of rendering.
fn pipelines(schemas: &SchemaSource) -> Vec<Pipeline> {
    let entities = captures::entities();
    let render = RenderStyle { decimal: DecimalStyle::Number, time: TimeStyle::Raw, bytes: BytesStyle::Hex };
    let forced = |format| entities.iter().map(|entity| Entity { format, render, ..entity.clone() }).collect();
    let untyped = captures::without_declared_types(&entities);
    let formats = [
        Format::Debezium,
        Format::Flattened,
        Format::Rows,
        Format::Maxwell,
        Format::Canal,
        Format::Ticdc,
        Format::Ogg,
        Format::Dms,
        Format::Cockroach,
        Format::Sequin,
        Format::Mongo,
    ]
    .map(forced);
    [Arc::clone(&entities), untyped]
        .into_iter()
        .chain(formats)
        .map(|entities| schemas.known_to(Pipeline::new(entities)))
        .collect()
}

/// Counts this thread's panics from here on, also those that are caught; they are told as before.
fn count_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.set(PANICS.get() + 1);
        tell(panic);
    }));
}

fn captured() -> Vec<OwnedRecord> {
    let mut records = Vec::new();
    for path in captures::all() {
        let mut reader = explain::open(&path).unwrap();
        while let Some(record) = reader.next_record().unwrap() {
            records.push(record);
        }
    }
    records
}

fn broken(records: &[OwnedRecord], seed: u64) -> OwnedRecord {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut record = random.one(records).clone();
    let other = random.one(records);
    if random.below(8) == 0 {
        record.topic = other.topic.clone();
    }
    for _ in 0..=random.below(2) {
        let of_key = random.below(4) == 0;
        let (part, donor) = match of_key {
            true => (&mut record.key, &other.key),
            false => (&mut record.value, &other.value),
        };
        match part {
            Some(bytes) => break_bytes(&mut random, bytes, donor.as_deref().unwrap_or_default()),
            None => *part = donor.clone(),
        }
    }
    record
}

fn break_bytes(random: &mut Random, bytes: &mut Vec<u8>, donor: &[u8]) {
    let (from, to) = range(random, bytes.len());
    match random.below(20) {
        0 if !bytes.is_empty() => bytes[from.min(to.saturating_sub(1))] ^= 1 << random.below(8),
        1 => bytes.truncate(from),
        2 => drop(bytes.drain(from..to)),
        3 => {
            let again = bytes[from..to].to_vec();
            bytes.splice(to..to, again);
        }
        4 => {
            let (start, end) = range(random, donor.len());
            bytes.splice(from..to, donor[start..end].iter().copied());
        }
        // The whole tokens of JSON are where decoders decide.
        _ => {
            let Some((from, to)) = token(random, bytes) else { return };
            let odd = random.one(ODD_TOKENS).as_bytes();
            match token(random, donor) {
                Some((start, end)) if random.below(3) == 0 => {
                    bytes.splice(from..to, donor[start..end].iter().copied());
                }
                _ => {
                    bytes.splice(from..to, odd.iter().copied());
                }
            }
        }
    }
}

/// A short range of a text of this length.
fn range(random: &mut Random, length: usize) -> (usize, usize) {
    let from = random.below(length + 1);
    (from, length.min(from + random.below(12)))
}

/// A value of a JSON text, by its looks: from behind a colon or comma up to the next comma or bracket, or a text.
fn token(random: &mut Random, bytes: &[u8]) -> Option<(usize, usize)> {
    let starts: Vec<usize> = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| matches!(byte, b':' | b','))
        .map(|(at, _)| at + 1)
        .collect();
    let from = *starts.get(random.below(starts.len()))?;
    let rest = bytes.get(from..)?;
    let length = match rest.first()? {
        b'"' => rest.iter().skip(1).position(|byte| *byte == b'"')? + 2,
        _ => rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']'))?,
    };
    Some((from, from + length))
}
