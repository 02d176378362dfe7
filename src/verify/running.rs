//! The running check inside `stoker run`: does Redis hold what this worker has applied a moment ago?
//!
//! Of a share of the keys, what a batch left is remembered when Redis has acknowledged it, and looked at later, twice
//! where it differs. Forgotten as soon as a newer batch with the key is sent, or its lane is left: then somebody may
//! have written it anew. Guarded keys are left out, which other partitions may write; so are keys that readers fill.
//! One a worker, on its thread. Start at [`RunningCheck::answered`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::fingerprint::{Fingerprint, of_key};
use super::fold::{Expectation, Expected, Origin};
use super::judge::{Difference, Verdict, judge};
use super::table::{Sample, is_invalidated};
use crate::batch::{Action, Batch, LaneId, Outcome, Outcomes};
use crate::clock::Now;
use crate::entity::Entity;
use crate::mutation::CacheKey;
use crate::sink::redis::Glance;

/// Keys that wait for their look, in one worker, about 250 bytes each. What comes beyond is not looked at.
const PENDING_MAX: usize = 4_096;
/// Keys that are looked at together.
const LOOK_AT_ONCE: usize = 256;
/// How long after its batch was acknowledged a key is looked at.
const FIRST_AFTER: Duration = Duration::from_millis(500);
/// And how long after that once more, where it differed: by then a lane that was lost meanwhile is known to be.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// The keys of the share change so often: a minute, in milliseconds.
const TURN_MS: i64 = 60_000;

/// What was found of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Index of its entity.
    pub entity: usize,
    /// How it differs, if it does.
    pub difference: Option<Difference>,
}

/// A key that is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The key.
    pub key: CacheKey,
    number: u64,
}

/// The check of one worker.
#[derive(Debug)]
pub struct RunningCheck {
    sample: Sample,
    entities: Arc<[Entity]>,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    pending: HashMap<CacheKey, Pending>,
    /// Numbers what is remembered, so that a look at something older is told apart.
    last_number: u64,
}

#[derive(Debug)]
struct Pending {
    number: u64,
    lane: LaneId,
    entity: usize,
    expected: Option<Expected>,
    due_at: Duration,
    has_differed: bool,
}

impl RunningCheck {
    /// A check of this share of the keys, 0 to 1.
    pub fn new(share: f64, entities: Arc<[Entity]>) -> RunningCheck {
        RunningCheck { sample: Sample::of(share), entities, inner: RefCell::default() }
    }

    /// A batch is about to be sent.
    pub fn sent(&self, batch: &Batch) {
        let pending = &mut self.inner.borrow_mut().pending;
        if pending.is_empty() {
            return;
        }
        for unit in &batch.units {
            pending.remove(&unit.key);
        }
    }

    /// A lane is left or lost.
    pub fn left(&self, lane: LaneId) {
        self.inner.borrow_mut().pending.retain(|_, pending| pending.lane != lane);
    }

    /// Keys of that entity are about to be deleted, for its table was truncated: nothing is said of them.
    pub fn purged(&self, entity: usize) {
        self.inner.borrow_mut().pending.retain(|_, pending| pending.entity != entity);
    }

    /// A batch was answered.
    pub fn answered(&self, batch: &Batch, outcomes: &Outcomes, now: Now) {
        let mut inner = self.inner.borrow_mut();
        let turn = now.unix_ms / TURN_MS;
        for (unit, outcome) in batch.units.iter().zip(&outcomes.units) {
            if inner.pending.len() >= PENDING_MAX {
                return;
            }
            // What a refill writes is left alone by masters that lack nothing.
            let is_history = unit.offsets.is_empty();
            if *outcome != Outcome::Applied || is_history || !self.takes(&unit.key, turn) {
                continue;
            }
            let expected = match &unit.action {
                Action::Write(value, expiry) => {
                    let origin = Origin { partition: 0, offset: 0, timestamp_ms: Some(batch.sealed_at_ms) };
                    Fingerprint::of(value).map(|value| Expected { value, expiry: *expiry, origin })
                }
                Action::Delete if self.is_invalidated(unit.entity, unit.key.as_bytes()) => continue,
                Action::Delete => None,
                // Others may write it too; or it says nothing of what the key holds.
                Action::DeleteIf(_) | Action::Guarded(_) | Action::WriteIfAbsent(..) | Action::Patch(_) => {
                    continue;
                }
            };
            inner.last_number += 1;
            let pending = Pending {
                number: inner.last_number,
                lane: batch.lane,
                entity: unit.entity,
                expected,
                due_at: now.monotonic.saturating_add(FIRST_AFTER),
                has_differed: false,
            };
            inner.pending.insert(unit.key.clone(), pending);
        }
    }

    /// The keys whose time for a look has come, some hundreds at most.
    pub fn due(&self, now: Duration) -> Vec<Due> {
        let inner = self.inner.borrow();
        let due = inner.pending.iter().filter(|(_, pending)| pending.due_at <= now);
        due.take(LOOK_AT_ONCE)
            .map(|(key, pending)| Due { key: key.clone(), number: pending.number })
            .collect()
    }

    /// What a look says, where it is the last one that is needed. What is remembered anew by then is left alone.
    pub fn looked(&self, due: &Due, glance: &Glance, now: Duration) -> Option<Checked> {
        let mut inner = self.inner.borrow_mut();
        let pending = inner.pending.get_mut(&due.key).filter(|pending| pending.number == due.number)?;
        let expectation = Expectation { expected: pending.expected, ..Expectation::nothing() };
        let difference = match judge(&expectation, glance) {
            Verdict::Wrong(difference) => Some(difference),
            Verdict::Right | Verdict::Expired | Verdict::Raced => None,
        };
        if difference.is_some() && !pending.has_differed {
            pending.has_differed = true;
            pending.due_at = now.saturating_add(AGAIN_AFTER);
            return None;
        }
        let checked = Checked { entity: pending.entity, difference };
        inner.pending.remove(&due.key);
        Some(checked)
    }

    fn takes(&self, key: &CacheKey, turn: i64) -> bool {
        // Multiplied by an odd number, every turn has other low bits.
        let turn = turn.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.sample.takes(of_key(key) ^ turn)
    }

    fn is_invalidated(&self, entity: usize, key: &[u8]) -> bool {
        self.entities.get(entity).is_some_and(|entity| is_invalidated(entity, key))
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::batch::{Unit, WatermarkSeen};
    use crate::mutation::{Expiry, Value};
    use crate::sink::redis::{Held, Seen};

    const LANE: LaneId = LaneId(1);
    const KEY: &[u8] = b"k";

    fn at(seconds: u64) -> Now {
        Now { monotonic: Duration::from_secs(seconds), unix_ms: 1_000_000 + 1_000 * seconds as i64 }
    }

    fn batch(action: Action) -> Batch {
        let unit = Unit { key: CacheKey::new(KEY), action, offsets: smallvec![1], entity: 0 };
        Batch {
            lane: LANE,
            attempt: 1,
            units: vec![unit],
            start: 0,
            end: 1,
            everywhere: false,
            commits: smallvec![],
            sealed_at_ms: at(0).unix_ms,
            owed: None,
            asks: false,
        }
    }

    fn outcomes(outcome: Outcome) -> Outcomes {
        Outcomes { units: vec![outcome], watermark: WatermarkSeen::Current, error: None }
    }

    fn write(text: &str) -> Action {
        Action::Write(Value::text(text), Expiry::In(3_600_000))
    }

    /// A check that knows of one applied write of "a".
    fn after_a_write() -> RunningCheck {
        let check = RunningCheck::new(1.0, Arc::from([]));
        check.answered(&batch(write("a")), &outcomes(Outcome::Applied), at(0));
        check
    }

    fn glance(text: Option<&str>) -> Glance {
        let seen = text.map(|text| Seen {
            held: Held::String(text.into()),
            expires_at_ms: Some(at(0).unix_ms + 3_600_000),
        });
        Glance { seen, server_ms: at(1).unix_ms }
    }

    fn look(check: &RunningCheck, seconds: u64, text: Option<&str>) -> Vec<Option<Checked>> {
        let now = at(seconds).monotonic;
        check.due(now).iter().map(|due| check.looked(due, &glance(text), now)).collect()
    }

    #[test]
    fn nothing_is_said_of_what_a_truncate_deletes() {
        let check = after_a_write();
        check.purged(1);
        assert_eq!(look(&check, 1, Some("a")).len(), 1, "another entity's");
        let check = after_a_write();
        check.purged(0);
        assert!(look(&check, 1, None).is_empty());
    }

    #[test]
    fn what_was_applied_is_looked_at_once_where_it_is_there_and_twice_where_not() {
        let check = after_a_write();
        assert!(check.due(Duration::ZERO).is_empty(), "not yet");
        assert_eq!(look(&check, 1, Some("a")), [Some(Checked { entity: 0, difference: None })]);
        assert!(check.due(at(100).monotonic).is_empty());
        for (text, difference) in [(None, Difference::Missing), (Some("b"), Difference::Stale)] {
            let check = after_a_write();
            assert_eq!(look(&check, 1, text), [None]);
            assert!(check.due(at(2).monotonic).is_empty(), "a pause");
            assert_eq!(look(&check, 4, text), [Some(Checked { entity: 0, difference: Some(difference) })]);
        }
        let check = after_a_write();
        assert_eq!(look(&check, 1, None), [None]);
        assert_eq!(look(&check, 4, Some("a")), [Some(Checked { entity: 0, difference: None })]);
    }

    #[test]
    fn what_may_have_been_written_anew_is_forgotten_also_while_it_is_looked_at() {
        let check = after_a_write();
        let now = at(1).monotonic;
        let due = check.due(now);
        check.sent(&batch(write("b")));
        assert_eq!(check.looked(&due[0], &glance(Some("b")), now), None);
        check.answered(&batch(write("b")), &outcomes(Outcome::Applied), at(1));
        assert_eq!(check.looked(&due[0], &glance(Some("a")), now), None, "a look of before");
        assert_eq!(look(&check, 2, Some("b")), [Some(Checked { entity: 0, difference: None })]);

        let check = after_a_write();
        check.left(LaneId(2));
        assert_eq!(check.due(now).len(), 1);
        check.left(LANE);
        assert!(check.due(now).is_empty());
    }

    #[test]
    fn only_what_was_applied_and_only_this_lane_writes_is_remembered() {
        let check = RunningCheck::new(1.0, Arc::from([]));
        let mut history = batch(write("a"));
        history.units[0].offsets.clear();
        check.answered(&history, &outcomes(Outcome::Applied), at(0));
        assert!(check.due(at(1).monotonic).is_empty(), "what a refill writes");
        for (action, outcome, is_remembered) in [
            (Action::WriteIfAbsent(Value::text("a"), Expiry::Never), Outcome::Applied, false),
            (write("a"), Outcome::Applied, true),
            (Action::Delete, Outcome::Applied, true),
            (write("a"), Outcome::NotAcknowledged, false),
            (Action::Guarded(Vec::new()), Outcome::Applied, false),
            (Action::DeleteIf(smallvec![]), Outcome::Applied, false),
        ] {
            let check = RunningCheck::new(1.0, Arc::from([]));
            check.answered(&batch(action), &outcomes(outcome), at(0));
            assert_eq!(check.due(at(1).monotonic).len(), usize::from(is_remembered));
        }
    }

    #[test]
    fn each_minute_has_its_own_share() {
        let check = RunningCheck::new(0.1, Arc::from([]));
        let key = |number: u32| CacheKey::new(number.to_string().as_bytes());
        let of_turn = |turn| {
            let taken = (0..1_000).filter(|number| check.takes(&key(*number), turn));
            taken.collect::<std::collections::BTreeSet<u32>>()
        };
        let (first, second) = (of_turn(1), of_turn(2));
        assert!((60..140).contains(&first.len()) && (60..140).contains(&second.len()));
        assert!(first.intersection(&second).count() < 40);
    }
}
