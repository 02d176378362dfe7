//! The law of verifying: whatever order the partitions are applied in, and however often parts of them are applied
//! again, what that leaves is no difference; nor does the order in which they are read for the fold matter.

use proptest::prelude::*;
use smallvec::smallvec;

use super::fold::{KeyState, Origin};
use super::judge::{Verdict, judge};
use crate::batch::{Batch, Claim, Epoch, LaneId, LaneName, Unit};
use crate::coalesce::compose;
use crate::mutation::{CacheKey, Effect, Expiry, Guard, RowId, Value};
use crate::sink::memory::{MemoryRedis, MemorySink, MemoryValue};
use crate::sink::redis::{Glance, Held, Seen};
use crate::version::Version;

const KEY: &[u8] = b"k";
const PARTITIONS: usize = 2;

/// What a row does to the one key.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// Takes it with a new value.
    Write,
    /// Gives it up, if it has it.
    GiveUp,
    /// An incremental snapshot reads the row, if it has the key.
    Read,
}

/// A step of applying: the next record of a partition, or back by some.
#[derive(Debug, Clone, Copy)]
enum Step {
    Next(usize),
    Again(usize, usize),
}

#[derive(Debug, Clone)]
struct Done {
    effect: Effect,
    guard: Option<Guard>,
}

/// Row, deed, and how much newer its position is than the one before: 0 within one position.
fn deeds() -> impl Strategy<Value = Vec<(usize, Deed, u64)>> {
    let deed = prop_oneof![4 => Just(Deed::Write), 4 => Just(Deed::GiveUp), 1 => Just(Deed::Read)];
    prop::collection::vec((0..4_usize, deed, 0..3_u64), 1..12)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..PARTITIONS).prop_map(Step::Next),
        1 => (0..PARTITIONS, 1..4_usize).prop_map(|(partition, by)| Step::Again(partition, by)),
    ];
    prop::collection::vec(step, 0..24)
}

/// What the partitions hold: each row's records in its own one, in order.
fn logs(deeds: &[(usize, Deed, u64)], is_guarded: bool) -> Vec<Vec<Done>> {
    let mut logs = vec![Vec::new(); PARTITIONS];
    let mut has: [Option<Value>; 4] = [None, None, None, None];
    let mut version = 1;
    for (number, (row, deed, gap)) in deeds.iter().enumerate() {
        version += gap;
        let position = Version::from_parts(&[version]);
        let (effect, version) = match (deed, &has[*row]) {
            (Deed::Write, _) => {
                let value = Value::text(format!("{row}/{number}"));
                has[*row] = Some(value.clone());
                (Effect::Write(value, Expiry::Never), position)
            }
            (Deed::GiveUp, Some(value)) => {
                let effect = if is_guarded { Effect::Delete } else { Effect::DeleteIf(value.clone()) };
                has[*row] = None;
                (effect, position)
            }
            (Deed::Read, Some(value)) => (Effect::Write(value.clone(), Expiry::Never), Version::NONE),
            (Deed::GiveUp | Deed::Read, None) => continue,
        };
        let guard = is_guarded.then(|| Guard { version, owner: RowId::new(&[b'r', *row as u8]) });
        logs[row % PARTITIONS].push(Done { effect, guard });
    }
    logs
}

/// Records of the one row that can have the key, all in the first partition, with versions in any order; 0 is none.
fn logs_of_one_row(deeds: &[(bool, u64)]) -> Vec<Vec<Done>> {
    let mut logs = vec![Vec::new(); PARTITIONS];
    logs[0] = (0..)
        .zip(deeds)
        .map(|(number, (writes, version))| {
            let write = Effect::Write(Value::text(number.to_string()), Expiry::Never);
            let version = if *version == 0 { Version::NONE } else { Version::from_parts(&[*version]) };
            let guard = Guard { version, owner: RowId::new(RowId::PRIMARY) };
            Done { effect: if *writes { write } else { Effect::Delete }, guard: Some(guard) }
        })
        .collect();
    logs
}

/// The records in the order of those steps, then the rest of each partition. Which record each is, with it.
fn ordered<'l>(logs: &'l [Vec<Done>], steps: &[Step]) -> Vec<(Origin, &'l Done)> {
    let mut at = [0; PARTITIONS];
    let mut order = Vec::new();
    let rest = (0..PARTITIONS).flat_map(|partition| std::iter::repeat_n(Step::Next(partition), 40));
    for step in steps.iter().copied().chain(rest) {
        match step {
            Step::Next(partition) => {
                if let Some(done) = logs[partition].get(at[partition]) {
                    let offset = at[partition] as i64;
                    order.push((Origin { partition: partition as u32, offset, timestamp_ms: None }, done));
                    at[partition] += 1;
                }
            }
            Step::Again(partition, by) => at[partition] = at[partition].saturating_sub(by),
        }
    }
    order
}

/// What the cache holds after the records were applied in that order, each by itself.
fn applied(order: &[(Origin, &Done)]) -> Option<Held> {
    let server = MemoryRedis::new(0);
    let sink = MemorySink::new(server.clone(), "stoker:", "g", usize::MAX);
    let name = LaneName { topic: "t".into(), partition: 0 };
    let claim =
        Claim { lane: LaneId(1), name, above: Epoch(0), committed: None, start: 0, low: 0, owed: None };
    sink.take_over_now(&claim).unwrap();
    for (end, (_, done)) in (1..).zip(order) {
        let action = compose(None, done.effect.clone(), done.guard.clone().map(Box::new));
        let unit = Unit { key: CacheKey::new(KEY), action, offsets: smallvec![end], entity: 0 };
        let units = vec![unit];
        let commits = smallvec![];
        let lane = LaneId(1);
        sink.apply_now(&Batch {
            lane,
            attempt: 1,
            units,
            start: end - 1,
            end,
            everywhere: false,
            commits,
            sealed_at_ms: 0,
            owed: None,
            asks: false,
        });
    }
    server.get(KEY).map(|(value, _)| match value {
        MemoryValue::String(bytes) => Held::String(bytes),
        MemoryValue::Hash(fields) => Held::Hash(fields),
        MemoryValue::Set(_) => Held::Other("set".into()),
        MemoryValue::SortedSet(_) => Held::Other("zset".into()),
        MemoryValue::Other => Held::Other("other".into()),
    })
}

fn found(
    is_guarded: bool,
    deeds: &[(usize, Deed, u64)],
    applies: &[Step],
    reads: &[Step],
) -> Option<Verdict> {
    found_of(&logs(deeds, is_guarded), applies, reads)
}

fn found_of(logs: &[Vec<Done>], applies: &[Step], reads: &[Step]) -> Option<Verdict> {
    let reads: Vec<Step> = reads.iter().copied().filter(|step| matches!(step, Step::Next(_))).collect();
    let state = ordered(logs, &reads).into_iter().fold(None, |state, (origin, done)| {
        Some(KeyState::apply(state, &done.effect, done.guard.as_ref(), origin))
    });
    let held = applied(&ordered(logs, applies));
    let seen = held.map(|held| Seen { held, expires_at_ms: None });
    Some(judge(&state?.expectation(), &Glance { seen, server_ms: 1_000 }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_any_order_of_partitions_leaves_of_a_guarded_key_is_right(
        deeds in deeds(), applies in steps(), reads in steps(),
    ) {
        let verdict = found(true, &deeds, &applies, &reads);
        prop_assert!(!matches!(verdict, Some(Verdict::Wrong(_))), "{:?}", verdict);
    }

    #[test]
    fn what_the_guard_leaves_of_a_primary_key_is_right_whatever_its_versions(
        deeds in prop::collection::vec((prop::bool::weighted(0.7), 0..6_u64), 1..12), applies in steps(),
    ) {
        let verdict = found_of(&logs_of_one_row(&deeds), &applies, &[]);
        prop_assert!(!matches!(verdict, Some(Verdict::Wrong(_))), "{:?}", verdict);
    }

    #[test]
    fn what_any_order_of_partitions_leaves_of_a_compared_key_is_right(
        deeds in deeds(), applies in steps(), reads in steps(),
    ) {
        // Applied again, a write can bring back what another partition has deleted: nothing orders them.
        let applies: Vec<Step> = applies.into_iter().filter(|step| matches!(step, Step::Next(_))).collect();
        let verdict = found(false, &deeds, &applies, &reads);
        prop_assert!(!matches!(verdict, Some(Verdict::Wrong(_))), "{:?}", verdict);
    }
}
