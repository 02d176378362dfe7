//! Looking again at what differs: a change on its way is no difference.
//!
//! What a key held at a moment is right if it is the state at any position between what the group had committed before
//! that moment and the topics' end after it. So: fold up to the end, wait until the group has committed that, look,
//! fold up to the end once more, and hold what was seen against every state of the key in between. What differs twice
//! stands. A key with a change that the group has not committed, or that a refill is still to bring back, is behind:
//! that is lag, and no difference.

use std::time::Duration;

use super::fold::{Expectation, Origin};
use super::judge::{Difference, Verdict, judge};
use super::report::{EntityCounts, Example, RecordPlace, Shown};
use super::{KEYS_AT_ONCE, Progress, Step, Verify, VerifyError};
use crate::mutation::CacheKey;
use crate::settings::Start;
use crate::sink::redis::Glance;
use crate::source::kafka::topic_reader::Committed;

/// The pause before each: a late answer of Redis, or an expiry, is over by then.
const PAUSE: Duration = Duration::from_millis(200);
/// Keys that go through a round together, and bytes of their values.
const DOUBTS_AT_ONCE: usize = 20_000;
const VALUE_BYTES_AT_ONCE: usize = 64 << 20;
/// How long the group is waited for, in each round. It commits once a second.
const COMMITTED_WITHIN: Duration = Duration::from_secs(10);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// A key is looked at again twice.
#[derive(Debug, Clone, Copy)]
enum Round {
    /// What still differs goes through the last one.
    First,
    /// What still differs stands.
    Last,
}

/// What looking again came to.
enum Settled {
    /// It is as it must be.
    Right(Verdict),
    /// Nothing can be said yet.
    Behind,
    /// It still differs.
    Differs(Difference),
}

/// A key that is looked at again.
struct Doubt {
    key: CacheKey,
    /// What it must hold, as of what the group has committed.
    expectation: Expectation,
    glance: Glance,
}

impl Verify<'_> {
    /// Looks at these keys again, and counts those that still differ.
    pub(super) fn settle(&mut self, doubtful: Vec<CacheKey>) -> Result<(), VerifyError> {
        let of = doubtful.len() as u64;
        let mut waiting = doubtful.into_iter();
        let mut done = 0;
        while !waiting.as_slice().is_empty() {
            let mut left: Vec<CacheKey> = waiting.by_ref().take(DOUBTS_AT_ONCE).collect();
            done += left.len() as u64;
            for round in [Round::First, Round::Last] {
                std::thread::sleep(PAUSE);
                left = self.look_again(left, round)?;
                if left.is_empty() {
                    break;
                }
            }
            let pass = self.report.passes;
            (self.progress)(Progress { step: Step::LooksAgain, done, of, pass });
        }
        Ok(())
    }

    /// One round. Returns the keys that go through the next one.
    fn look_again(&mut self, mut keys: Vec<CacheKey>, round: Round) -> Result<Vec<CacheKey>, VerifyError> {
        let mut left = Vec::new();
        while !keys.is_empty() {
            let committed = self.catch_up()?;
            self.table.watch(keys.iter());
            let doubts = self.look(&mut keys)?;
            self.read_to_the_end()?;
            for doubt in doubts {
                match self.settled(&doubt, &committed) {
                    Settled::Right(verdict) => self.count_right(&doubt.key, verdict),
                    Settled::Behind => self.count(&doubt.key, |counts| counts.behind += 1),
                    Settled::Differs(difference) => match round {
                        Round::First => left.push(doubt.key),
                        Round::Last => self.stands(&doubt, difference),
                    },
                }
            }
        }
        self.table.watch(std::iter::empty());
        Ok(left)
    }

    /// Looks at keys until their values fill the room for them; takes those out of the list.
    fn look(&self, keys: &mut Vec<CacheKey>) -> Result<Vec<Doubt>, VerifyError> {
        let mut doubts = Vec::new();
        let mut bytes = 0;
        while !keys.is_empty() && bytes < VALUE_BYTES_AT_ONCE {
            let mut chunk = keys.split_off(keys.len().saturating_sub(KEYS_AT_ONCE));
            // What the memory had no room for meanwhile is the next pass's.
            chunk.retain(|key| self.table.holds(key));
            let glances = self.look.keys(&chunk)?;
            for (key, glance) in chunk.into_iter().zip(glances) {
                bytes += glance.seen.as_ref().map_or(0, |seen| seen.held.size_bytes());
                let expectation =
                    self.table.get(&key).map_or_else(Expectation::nothing, |row| row.state.expectation());
                doubts.push(Doubt { key, expectation, glance });
            }
        }
        Ok(doubts)
    }

    /// Folds up to the end of the topics as it is now, and waits until the group has committed that, for a bounded
    /// time. A refill is not waited for, which may take hours. Returns what it has committed.
    fn catch_up(&mut self) -> Result<Vec<Option<Committed>>, VerifyError> {
        self.read_to_the_end()?;
        let names: Vec<_> = self.spans.iter().map(|span| span.name.clone()).collect();
        let until = self.clock.now().monotonic.saturating_add(COMMITTED_WITHIN);
        let mut before = self.stalled_at.take();
        loop {
            let committed = self.reader.committed(&names)?;
            let (mut lagging, mut behind) = (0, 0);
            for (span, committed) in self.spans.iter().zip(&committed) {
                // Only up to the last record: no commit passes what holds none.
                let lags = span.last.is_some_and(|last| committed.is_none_or(|it| it.position < last));
                lagging += usize::from(lags);
                behind += usize::from(lags || committed.is_some_and(|it| it.refills));
            }
            self.report.behind_partitions = behind;
            if lagging == 0 {
                return Ok(committed);
            }
            // A group that stood still through a whole wait is waited for again once it has moved.
            if before.as_ref() == Some(&committed) || self.clock.now().monotonic >= until {
                self.stalled_at = Some(committed.clone());
                return Ok(committed);
            }
            before = None;
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn read_to_the_end(&mut self) -> Result<(), VerifyError> {
        let names: Vec<_> = self.spans.iter().map(|span| span.name.clone()).collect();
        for (span, extent) in self.spans.iter_mut().zip(self.reader.extents_of(&names)?) {
            span.end = span.end.max(extent.high);
        }
        self.read(Step::LooksAgain)
    }

    fn settled(&self, doubt: &Doubt, committed: &[Option<Committed>]) -> Settled {
        let Doubt { key, expectation, glance } = doubt;
        let verdict = judge(expectation, glance);
        let Verdict::Wrong(difference) = verdict else { return Settled::Right(verdict) };
        let Some(since) = self.table.states_since(key) else { return Settled::Behind };
        for state in since {
            let verdict = judge(&state.expectation(), glance);
            if !matches!(verdict, Verdict::Wrong(_)) {
                return Settled::Right(verdict);
            }
        }
        let is_behind = |origin: &Origin| match committed.get(place(*origin)) {
            Some(Some(committed)) => committed.refills || committed.position <= origin.offset,
            Some(None) => true,
            // Not one of those that are read.
            None => false,
        };
        if expectation.lasts.iter().any(is_behind) {
            return Settled::Behind;
        }
        Settled::Differs(difference)
    }

    /// A difference that stands.
    fn stands(&mut self, doubt: &Doubt, difference: Difference) {
        let Doubt { key, expectation, glance } = doubt;
        let Some(index) = self.entity_of(key) else { return };
        let whole = self.whole.get(index).copied().unwrap_or(false);
        // What is older than the history that was read, or than the group, has another story.
        let untold = match difference {
            Difference::Extra => expectation.unwritten && !whole,
            Difference::Missing => self.settings.kafka.start == Start::Latest,
            Difference::Stale | Difference::WrongTtl | Difference::WrongType => false,
        };
        if untold {
            return self.count(key, |counts| counts.unknown += 1);
        }
        if difference == Difference::Missing && self.may_have_evicted {
            return self.count(key, |counts| counts.evicted += 1);
        }
        let Some(entity) = self.entities.get(index) else { return };
        let example = Example {
            entity: entity.name.to_string(),
            key: lossy(key.as_bytes()),
            member: key.member().map(|member| lossy(&member.bytes)),
            difference,
            held: glance.seen.as_ref().map(|seen| Shown::of(seen, glance.server_ms)),
            expected_type: expectation.expected.map(|expected| expected.value.redis_type()),
            record: expectation.made_by().and_then(|origin| {
                self.spans.get(place(origin)).map(|span| RecordPlace::new(&span.name, origin))
            }),
        };
        self.report.differs(index, example, self.options.examples);
    }

    fn entity_of(&self, key: &CacheKey) -> Option<usize> {
        let known = self.table.get(key).map(|row| row.entity);
        known.or_else(|| self.keyspace.entity_of(&self.entities, key))
    }

    fn count(&mut self, key: &CacheKey, count: impl FnOnce(&mut EntityCounts)) {
        if let Some(counts) = self.entity_of(key).and_then(|index| self.report.entities.get_mut(index)) {
            count(counts);
        }
    }

    fn count_right(&mut self, key: &CacheKey, verdict: Verdict) {
        self.count(key, |counts| match verdict {
            Verdict::Expired => counts.expired += 1,
            Verdict::Raced => counts.raced += 1,
            Verdict::Right | Verdict::Wrong(_) => {}
        });
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Index of a record's partition.
fn place(origin: Origin) -> usize {
    usize::try_from(origin.partition).unwrap_or(usize::MAX)
}
