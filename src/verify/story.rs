//! One key's story: who gives it, what Redis holds, which records made it, and what it must hold now.

use std::collections::VecDeque;

use super::fold::{Expectation, Expected, Origin};
use super::judge::{Difference, window};
use super::keyspace::gives;
use super::report::{RecordPlace, Shown};
use super::table::{Sample, Table, is_invalidated};
use super::{Step, Verify, VerifyError};
use crate::entity::KeyTemplate;
use crate::mutation::{CacheKey, Effect, Member, Mutation, Value};
use crate::process::topics_of;
use crate::sink::own::{self, OwnKeys};
use crate::sink::redis::{Glance, Held};
use crate::source::kafka::topic_reader::Span;

/// Records that are remembered of a key, the last ones.
const TOUCHES_MAX: usize = 16;

/// One key's story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Entity and template of each that may give the key. Which one it was, a key does not always tell.
    pub givers: Vec<(String, String)>,
    /// What Redis holds; `None` where the key is not there.
    pub held: Option<(Shown, Held)>,
    /// What the version guard remembers beside it.
    pub guard: Option<Remembered>,
    /// The last records that did something to it, the newest last of each partition.
    pub touches: Vec<Told>,
    /// What it must hold as far as the topics say; `None` where nothing.
    pub expected: Option<Wanted>,
    /// How the two compare.
    pub finding: Finding,
    /// Records that were read.
    pub records: u64,
}

/// What the version guard remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The version of the last write or delete.
    pub version: String,
    /// The row that it spoke for.
    pub row: String,
    /// The last rewrite (`run --force`) that reached the key.
    pub rewrite: Option<String>,
    /// What is left of the side key's life, milliseconds.
    pub ttl_ms: Option<i64>,
}

/// What a record did to the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The record.
    pub record: RecordPlace,
    /// The entity.
    pub entity: String,
    /// What it did.
    pub does: Does,
    /// The version that it carried, where the key is guarded.
    pub version: Option<String>,
    /// True for the record that made what the key must hold.
    pub made_it: bool,
}

/// What a record does to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// Writes it.
    Write,
    /// Deletes it; under the guard only for the row that has it.
    Delete,
    /// Deletes it while it holds the row's value.
    CompareAndDelete,
    /// Lays a part of a value over what it holds.
    Merge,
}

/// What the key must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The Redis type.
    pub redis_type: &'static str,
    /// The value, where its record is among those that are remembered.
    pub value: Option<Value>,
    /// What may be left of its life, milliseconds: the least and the most, 5 s for clocks in it; `None` for ever.
    pub ttl_ms: Option<(i64, i64)>,
}

/// How what is held and what must be held compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// As it must be.
    Right,
    /// Not there, and its TTL may have run out. Right.
    Expired,
    /// As the order of lanes can leave it. Right.
    Raced,
    /// The group has not come to its last change.
    Behind,
    /// Not there, on a server that has dropped keys.
    Evicted,
    /// Its readers fill it; records only delete it.
    Invalidated,
    /// It is a set, of which a row is one member: that one has a story.
    Members,
    /// No entity's template gives it.
    NoTemplate,
    /// The topics do not reach back to what made it.
    Unknown,
    /// Not as it must be.
    #[serde(untagged)]
    Wrong(Difference),
}

/// A key whose records are remembered.
#[derive(Debug)]
pub(super) struct Trace {
    key: CacheKey,
    touches: VecDeque<Touch>,
}

#[derive(Debug)]
struct Touch {
    origin: Origin,
    entity: usize,
    does: Does,
    version: Option<String>,
    value: Option<Value>,
}

impl Trace {
    pub(super) fn take(&mut self, mutation: &Mutation, entity: usize, origin: Origin) {
        if mutation.key != self.key {
            return;
        }
        let (does, value) = match &mutation.effect {
            Effect::Write(value, _) => (Does::Write, Some(value.clone())),
            Effect::Delete => (Does::Delete, None),
            Effect::DeleteIf(_) => (Does::CompareAndDelete, None),
            Effect::Patch(..) => (Does::Merge, None),
        };
        let version = mutation.guard.as_ref().map(|guard| guard.version.to_string());
        if self.touches.len() >= TOUCHES_MAX {
            self.touches.pop_front();
        }
        self.touches.push_back(Touch { origin, entity, does, version, value });
    }
}

impl Verify<'_> {
    /// Tells the story of one key, or of one member of it. Reads the topics of the entities that may give it.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn story(mut self, key: &[u8], member: Option<&[u8]>) -> Result<Story, VerifyError> {
        let kinds = self.keyspace.kinds_of(&self.entities, key);
        let key = match member.zip(kinds.first()) {
            Some((bytes, kind)) => CacheKey::of_member(key, Member { kind: *kind, bytes: bytes.into() }),
            None => CacheKey::new(key),
        };
        let mut givers = Vec::new();
        for (entity, chosen) in self.entities.iter().zip(&mut self.chosen) {
            let templates = entity.handler.keys().iter();
            let before = givers.len();
            givers.extend(
                templates
                    .filter(|template| template.member().is_some() == member.is_some())
                    .filter(|template| gives(template, &key))
                    .map(|template| (entity.name.to_string(), shown(template))),
            );
            *chosen = givers.len() > before;
        }
        self.trace = Some(Trace { key: key.clone(), touches: VecDeque::new() });
        self.table = Table::new(0..=u64::MAX, Sample::of(1.0), usize::MAX).only(key.clone());
        let finding = match givers.is_empty() {
            true if member.is_none() && !kinds.is_empty() => Finding::Members,
            true => Finding::NoTemplate,
            false => self.compare_one(&key)?,
        };
        let expectation = self.table.get(&key).map(|row| row.state.expectation());

        let side = OwnKeys::new(&self.settings.redis.own_prefix, &self.settings.kafka.group).side_of(&key);
        let mut glances = self.look.keys(&[key, CacheKey::new(&side)])?.into_iter();
        let glance = glances.next().unwrap_or(Glance { seen: None, server_ms: 0 });
        let now_ms = glance.server_ms;
        // It may be of an entity whose records nobody has read, or of one whose readers fill it.
        let untold = expectation.is_none() && glance.seen.is_some() && finding == Finding::Right;
        Ok(Story {
            givers,
            guard: glances.next().and_then(remembered),
            touches: self.told(expectation.as_ref()),
            expected: expectation.and_then(|it| it.expected).map(|expected| self.wanted(&expected, now_ms)),
            held: glance.seen.map(|seen| (Shown::of(&seen, now_ms), seen.held)),
            finding: if untold { Finding::Unknown } else { finding },
            records: self.report.records,
        })
    }

    /// Folds the key's records and compares.
    fn compare_one(&mut self, key: &CacheKey) -> Result<Finding, VerifyError> {
        let chosen = self.entities.iter().zip(&self.chosen).filter(|(_, chosen)| **chosen);
        let chosen: Vec<_> = chosen.map(|(entity, _)| entity).collect();
        let is_shared = chosen.iter().any(|entity| entity.handler.keys().iter().any(|key| key.is_shared()));
        let topics: Vec<String> = if is_shared {
            self.entities.iter().flat_map(topics_of).collect()
        } else {
            chosen.iter().flat_map(|entity| topics_of(entity)).collect()
        };
        let invalidated = chosen.iter().any(|entity| is_invalidated(entity, key.as_bytes()));
        let extents = self.reader.extents(&topics)?;
        let starts: Vec<_> = extents.iter().map(|extent| extent.low).collect();
        self.spans = extents.iter().map(|extent| Span::from(extent, extent.low)).collect();
        self.report.passes = 1;
        self.read(Step::Reads)?;
        self.judge_history(&extents, &starts);
        self.look_for_evictions()?;
        if invalidated && self.table.get(key).is_none() {
            return Ok(Finding::Invalidated);
        }
        self.settle(vec![key.clone()])?;
        let counted =
            |count: fn(&super::EntityCounts) -> u64| self.report.entities.iter().any(|it| count(it) > 0);
        let difference = Difference::ALL
            .into_iter()
            .find(|difference| self.report.entities.iter().any(|entity| entity.count(*difference) > 0));
        Ok(match difference {
            Some(difference) => Finding::Wrong(difference),
            None if counted(|it| it.behind) => Finding::Behind,
            None if counted(|it| it.unknown) => Finding::Unknown,
            None if counted(|it| it.evicted) => Finding::Evicted,
            None if counted(|it| it.expired) => Finding::Expired,
            None if counted(|it| it.raced) => Finding::Raced,
            None => Finding::Right,
        })
    }

    fn told(&self, expectation: Option<&Expectation>) -> Vec<Told> {
        let made = expectation.and_then(Expectation::made_by);
        let touches = self.trace.iter().flat_map(|trace| &trace.touches);
        touches
            .filter_map(|touch| {
                let span = self.spans.get(usize::try_from(touch.origin.partition).ok()?)?;
                Some(Told {
                    record: RecordPlace::new(&span.name, touch.origin),
                    entity: self.entities.get(touch.entity)?.name.to_string(),
                    does: touch.does,
                    version: touch.version.clone(),
                    made_it: made == Some(touch.origin),
                })
            })
            .collect()
    }

    fn wanted(&self, expected: &Expected, now_ms: i64) -> Wanted {
        let mut touches = self.trace.iter().flat_map(|trace| &trace.touches);
        let made = touches.rfind(|touch| touch.origin == expected.origin);
        let (earliest, latest) = window(expected, now_ms);
        let left = |at_ms: i64| at_ms.saturating_sub(now_ms).max(0);
        Wanted {
            redis_type: expected.value.redis_type(),
            value: made.and_then(|touch| touch.value.clone()),
            ttl_ms: earliest.zip(latest).map(|(earliest, latest)| (left(earliest), left(latest))),
        }
    }
}

/// A key's template, and behind a blank its member's.
fn shown(template: &KeyTemplate) -> String {
    let key = template.template().as_str();
    template.member().map_or_else(|| key.to_owned(), |(_, member)| format!("{key} {}", member.as_str()))
}

/// Reads what the guard's side key holds.
fn remembered(glance: Glance) -> Option<Remembered> {
    let seen = glance.seen?;
    let Held::String(bytes) = &seen.held else { return None };
    let own::Remembered { version, owner, rewrite } = own::Remembered::parse(bytes)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Remembered {
        version: version.to_string(),
        row: text(&owner),
        rewrite: Some(text(&rewrite)).filter(|name| !name.is_empty()),
        ttl_ms: seen.expires_at_ms.map(|at_ms| at_ms.saturating_sub(glance.server_ms)),
    })
}
