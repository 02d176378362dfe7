//! What must hold: on every action of a run the invariants, and at its end that the cache is the fold of the
//! log. Sees what workers ask for, what the server carries out and what Kafka accepts; knows nothing of
//! Stoker's insides.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use stoker::batch::{Action, Batch, LaneId, Outcome, Outcomes, Step};
use stoker::dead_letter::PendingLetter;
use stoker::mutation::CacheKey;
use stoker::record::Position;
use stoker::sink::memory::{Kept, MemoryValue};

use super::fold::{EFFECTS_MAX, Expected, effects, is_set_aside};
use super::kafka::Partition;
use super::shop::Entry;

/// A lane of a process.
pub(super) type LaneOf = (u64, LaneId);

/// Checks a run.
#[derive(Debug)]
pub(super) struct Oracle {
    dead_letters: bool,
    batch_records: usize,
    partitions: Vec<PartitionCheck>,
    lanes: HashMap<LaneOf, LaneCheck>,
    /// Losses of the server's data so far.
    losses: u64,
    /// A refill ended since the server had no room: keys may be missing from then on.
    pub(super) no_room: bool,
}

#[derive(Debug, Default)]
struct PartitionCheck {
    needs: Vec<Need>,
    /// Counts readings: each take-over and each rewind begins one.
    era: u64,
    /// Nothing of an earlier reading may be carried out any more.
    fenced_below: u64,
    /// The server lost the owner record: until the owner has looked, only the guard holds others back.
    unfenced: bool,
    landed: HashMap<CacheKey, (u64, i64)>,
}

/// What a record still needs before a position may pass it.
#[derive(Debug)]
struct Need {
    keys: BTreeSet<CacheKey>,
    letter: bool,
}

#[derive(Debug)]
struct LaneCheck {
    partition: Partition,
    era: u64,
    in_flight: bool,
    left: BTreeSet<CacheKey>,
    acknowledged: HashSet<(CacheKey, i64)>,
    /// Records of refused units whose letters are not out yet.
    refused: BTreeSet<i64>,
    /// End and sealing time of the batch that was sent last in this reading.
    last: Option<(Position, i64)>,
}

/// What of a batch is checked when it is carried out.
#[derive(Debug)]
pub(super) struct Sent {
    partition: Partition,
    era: u64,
    /// The owner looked at its record before it sent this, so many losses of data into the run.
    looked: Option<u64>,
    keys: Vec<(CacheKey, i64, bool)>,
}

impl Oracle {
    pub(super) fn new(partitions: usize, dead_letters: bool, batch_records: usize) -> Oracle {
        let partitions = (0..partitions).map(|_| PartitionCheck::default()).collect();
        Oracle { dead_letters, batch_records, partitions, lanes: HashMap::new(), losses: 0, no_room: false }
    }

    pub(super) fn appended(&mut self, partition: Partition, entry: &Entry) {
        let keys = effects(&entry.does).into_iter().map(|effect| effect.key).collect();
        let letter = self.dead_letters && is_set_aside(&entry.does);
        self.partitions[partition].needs.push(Need { keys, letter });
    }

    /// A group that starts at this position: what lies before comes with a refill, and no position waits for it.
    pub(super) fn owes(&mut self, partition: Partition, below: Position) {
        for need in self.partitions[partition].needs.iter_mut().take(below as usize) {
            need.keys.clear();
            need.letter = false;
        }
    }

    pub(super) fn assigned(&mut self, lane: LaneOf, partition: Partition) {
        let check = LaneCheck {
            partition,
            era: 0,
            in_flight: false,
            left: BTreeSet::new(),
            acknowledged: HashSet::new(),
            refused: BTreeSet::new(),
            last: None,
        };
        assert!(self.lanes.insert(lane, check).is_none(), "a lane's number is never used twice");
    }

    /// The server has raised the lane's epoch and killed the former owner's connections.
    pub(super) fn claimed(&mut self, lane: LaneOf) {
        let Some(check) = self.lanes.get_mut(&lane) else { return };
        let partition = &mut self.partitions[check.partition];
        partition.era += 1;
        partition.fenced_below = partition.era;
        check.era = partition.era;
    }

    /// The lane reads again: an earlier order may come once more.
    pub(super) fn rewound(&mut self, lane: LaneOf, position: Position) {
        let Some(check) = self.lanes.get_mut(&lane) else { return };
        let partition = &mut self.partitions[check.partition];
        // A former owner's reading stays a former one.
        if check.era == partition.era {
            partition.era += 1;
            check.era = partition.era;
        }
        check.in_flight = false;
        check.left.clear();
        check.acknowledged.clear();
        // Composed anew, the same records may fit.
        check.refused.clear();
        check.last = None;
        assert!(position <= partition.needs.len() as Position, "a rewind goes back");
    }

    /// The server's data was lost or set back: what the owner records knew is gone with it.
    pub(super) fn lost_data(&mut self) {
        self.losses += 1;
        for partition in &mut self.partitions {
            partition.unfenced = true;
        }
    }

    /// A worker sends a batch. Checks invariants 3, 4 and 5, and the bound of a batch (7).
    pub(super) fn sends(&mut self, lane: LaneOf, batch: &Batch) -> Sent {
        let check = self.lanes.get_mut(&lane).expect("a batch of an assigned lane");
        assert!(!check.in_flight, "invariant 4: two batches of one lane in flight");
        check.in_flight = true;
        let keys: BTreeSet<CacheKey> = batch.units.iter().map(|unit| unit.key.clone()).collect();
        assert_eq!(keys.len(), batch.units.len(), "invariant 5: a key, or a member of it, twice in a batch");
        let records = batch.end - batch.start;
        assert!(
            batch.units.len() <= EFFECTS_MAX * self.batch_records,
            "invariant 7: {} units",
            batch.units.len()
        );
        assert!(records <= self.batch_records as Position, "invariant 7: {records} records in a batch");
        if batch.attempt == 1 {
            assert!(check.left.is_empty(), "invariant 3: something newer before {:?}", names(&check.left));
            if let Some((end, _)) = check.last {
                assert_eq!(batch.start, end, "a batch begins where the last one ended");
            }
            check.last = Some((batch.end, batch.sealed_at_ms));
        } else {
            // What a refill would write may be dropped, where Redis has no room.
            let live = batch.units.iter().filter(|unit| !unit.offsets.is_empty());
            let live = live.map(|unit| unit.key.clone()).collect();
            assert_eq!(names(&live), names(&check.left), "invariant 3: what is sent again is what was left");
            let resealed = check.last != Some((batch.end, batch.sealed_at_ms));
            assert!(!resealed, "a resend does not extend what it writes");
        }
        for unit in &batch.units {
            for offset in &unit.offsets {
                let again = check.acknowledged.contains(&(unit.key.clone(), *offset));
                assert!(!again, "invariant 3: {} of offset {offset} was acknowledged", unit.key);
            }
        }
        let keys = batch.units.iter().map(|unit| {
            // What a refill writes has no place in the order of live changes.
            let offset = unit.offsets.last().copied().unwrap_or(Position::MIN);
            let plain = !matches!(unit.action, Action::Guarded(_)) && !unit.offsets.is_empty();
            (unit.key.clone(), offset, plain)
        });
        let keys = keys.collect();
        Sent {
            partition: check.partition,
            era: check.era,
            looked: batch.everywhere.then_some(self.losses),
            keys,
        }
    }

    /// The server carries out the first `count` units of a batch. Checks invariant 2, and that nothing of a
    /// former owner is carried out after a take-over.
    pub(super) fn carried_out(&mut self, sent: &Sent, count: usize) {
        let partition = &mut self.partitions[sent.partition];
        if partition.unfenced {
            if sent.era < partition.era {
                return;
            }
            partition.unfenced = sent.looked != Some(self.losses);
        }
        let Sent { era, .. } = *sent;
        assert!(
            era >= partition.fenced_below,
            "invariant 2: reading {era} of partition {} is carried out after reading {} was fenced in",
            sent.partition,
            partition.fenced_below
        );
        for (key, offset, plain) in sent.keys.iter().take(count) {
            if !plain {
                continue;
            }
            let landed = partition.landed.entry(key.clone()).or_insert((era, *offset));
            assert!(
                *landed <= (era, *offset),
                "invariant 2: {key} goes back from (reading, offset) {landed:?} to {:?}",
                (era, offset)
            );
            *landed = (era, *offset);
        }
    }

    /// A worker hears what became of a batch.
    pub(super) fn answered(&mut self, lane: LaneOf, batch: &Batch, outcomes: &Outcomes) {
        let Some(check) = self.lanes.get_mut(&lane).filter(|check| check.in_flight) else { return };
        check.in_flight = false;
        check.left.clear();
        let needs = &mut self.partitions[check.partition].needs;
        for (unit, outcome) in batch.units.iter().zip(&outcomes.units) {
            let key = &unit.key;
            match outcome {
                Outcome::Applied | Outcome::Rejected => {
                    for offset in &unit.offsets {
                        check.acknowledged.insert((unit.key.clone(), *offset));
                        needs[*offset as usize].keys.remove(key);
                    }
                }
                Outcome::NotAcknowledged if unit.offsets.is_empty() => {}
                Outcome::NotAcknowledged => {
                    check.left.insert(key.clone());
                }
                Outcome::Refused(_) => {
                    if unit.action != Action::Delete && !unit.offsets.is_empty() {
                        check.left.insert(key.clone());
                    }
                    if self.dead_letters {
                        check.refused.extend(&unit.offsets);
                    }
                }
            }
        }
    }

    /// The broker acknowledged a letter.
    pub(super) fn letter(&mut self, lane: LaneOf, partition: Partition, letter: &PendingLetter) {
        let offset = match letter {
            PendingLetter::Whole(letter) => letter.record.offset,
            PendingLetter::ByOffset { offset, .. } => *offset,
        };
        self.partitions[partition].needs[offset as usize].letter = false;
        if let Some(check) = self.lanes.get_mut(&lane) {
            check.refused.remove(&offset);
        }
    }

    /// A worker says that a position may be committed. Checks invariant 1.
    pub(super) fn stored(&self, lane: LaneOf, position: Position) {
        let check = self.lanes.get(&lane).expect("a position of an assigned lane");
        let refused = check.refused.range(..position).next();
        assert!(refused.is_none(), "invariant 1: {position} passes {refused:?}, refused and not set aside");
        self.committed(check.partition, position);
    }

    /// Kafka accepts a commit. Checks invariant 1.
    pub(super) fn committed(&self, partition: Partition, position: Position) {
        let needs = &self.partitions[partition].needs;
        let first = needs.iter().position(|need| need.letter || !need.keys.is_empty());
        let floor = first.unwrap_or(needs.len()) as Position;
        assert!(
            position <= floor,
            "invariant 1: position {position} of partition {partition} passes offset {floor}, which needs {:?}",
            needs.get(floor as usize)
        );
    }

    /// The run is over: every record is accounted for, and the cache holds what the log says.
    pub(super) fn finished(
        &self,
        expected: &BTreeMap<Vec<u8>, Expected>,
        refilled: &BTreeMap<Vec<u8>, Vec<Expected>>,
        held: &BTreeMap<Vec<u8>, Kept>,
        (began_ms, ended_ms): (i64, i64),
    ) {
        for (partition, check) in self.partitions.iter().enumerate() {
            self.committed(partition, check.needs.len() as Position);
        }
        for (key, expected) in expected {
            let name = String::from_utf8_lossy(key);
            let Some((value, expires_at_ms)) = held.get(key) else {
                if self.no_room {
                    continue;
                }
                panic!("{name} is missing: {:?} expected", expected.value);
            };
            self.fits(&name, value, &expected.value, refilled.get(key).map_or(&[][..], Vec::as_slice));
            match (expected.ttl_ms, expires_at_ms) {
                (None, None) => {}
                (Some((least, most)), Some(at_ms)) => {
                    let bounds = began_ms + least..=ended_ms + most;
                    assert!(bounds.contains(at_ms), "{name} expires at {at_ms}, out of {bounds:?}");
                }
                (expected, at_ms) => panic!("{name} expires at {at_ms:?}, expected {expected:?}"),
            }
        }
        for key in held.keys() {
            let own = key.starts_with(b"stoker:");
            // After a refill a secondary key may be of a row whose newest change gives it.
            if own || expected.contains_key(key) {
                continue;
            }
            let given = refilled.get(key).map_or(&[][..], Vec::as_slice);
            let part = |given: &Expected| match (&given.value, &held[key].0) {
                (MemoryValue::Set(one), MemoryValue::Set(_)) => {
                    held_of(&held[key].0).intersection(one).count()
                }
                (one, held) => usize::from(one == held),
            };
            let right = given.iter().map(part).sum::<usize>() >= held_of(&held[key].0).len().max(1);
            assert!(right, "{} is left over: {:?}", String::from_utf8_lossy(key), held[key].0);
        }
    }

    /// The value, or a set with no member less, and none more than rows' newest changes give.
    fn fits(&self, name: &str, held: &MemoryValue, expected: &MemoryValue, given: &[Expected]) {
        let (MemoryValue::Set(held), MemoryValue::Set(expected)) = (held, expected) else {
            let lacking = self.no_room && matches!(held, MemoryValue::SortedSet(_));
            assert!(held == expected || lacking, "{name}: {held:?}, expected {expected:?}");
            return;
        };
        assert!(expected.is_subset(held) || self.no_room, "{name}: {held:?} lacks some of {expected:?}");
        for member in held.difference(expected) {
            let is_given = given.iter().any(|given| held_of(&given.value).contains(member));
            assert!(is_given, "{name}: {held:?}, expected {expected:?}");
        }
    }
}

/// The members of a set; of anything else none.
fn held_of(value: &MemoryValue) -> BTreeSet<Vec<u8>> {
    match value {
        MemoryValue::Set(members) => members.clone(),
        _ => BTreeSet::new(),
    }
}

fn names(keys: &BTreeSet<CacheKey>) -> Vec<String> {
    keys.iter().map(CacheKey::to_string).collect()
}

/// A unit in a line of the trace.
pub(super) fn in_words(action: &Action) -> String {
    match action {
        Action::Write(..) => "write".to_owned(),
        Action::WriteIfAbsent(..) => "write if absent".to_owned(),
        Action::Delete => "delete".to_owned(),
        Action::DeleteIf(values) => format!("delete if {}", values.len()),
        Action::Patch(steps) => format!("patch {}", steps.len()),
        Action::Guarded(steps) => {
            let step = |step: &Step| match step {
                Step::Write { version, owner, .. } => format!("w{}", side(version, owner)),
                Step::DeleteOwned { version, owner } => format!("D{}", side(version, owner)),
                Step::Patch { version, owner, .. } => format!("p{}", side(version, owner)),
                Step::Delete { version, owner, covers } => {
                    format!("d{}{}", side(version, owner), if covers.is_some() { "+" } else { "" })
                }
            };
            steps.iter().map(step).collect::<Vec<_>>().join(",")
        }
    }
}

fn side(version: &stoker::version::Version, owner: &stoker::mutation::RowId) -> String {
    let digits = version.to_string();
    let shortened = digits.trim_start_matches('0').to_owned();
    format!("({shortened} {})", String::from_utf8_lossy(owner.as_bytes()))
}
