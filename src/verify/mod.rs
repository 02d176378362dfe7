//! Compares what Redis holds with what the topics say that it must hold.
//!
//! Reads the topics as an onlooker, folds them through the same pipeline as the lanes do, and looks at the keys; what
//! differs is looked at again once the group has come as far as the fold. Writes nothing, to Kafka or to Redis. Start
//! at [`Verify::run`].

mod fingerprint;
mod fold;
mod guarded;
mod judge;
mod keyspace;
#[cfg(test)]
mod law;
mod report;
mod running;
mod search;
mod settle;
mod story;
mod table;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use self::fold::Origin;
use self::judge::{Verdict, judge};
use self::keyspace::Keyspace;
use self::story::Trace;
use self::table::{Row, Sample, Table};
use crate::clock::SystemClock;
use crate::entity::Entity;
use crate::error::WorldError;
use crate::mutation::{CacheKey, Mutation};
use crate::pipeline::{Emitted, Pipeline};
use crate::process::topics_of;
use crate::record::{Position, Record};
use crate::registry::FetchError;
use crate::settings::Settings;
use crate::sink::redis::Look;
use crate::source::kafka::topic_reader::{Committed, Extent, Span};
use crate::source::kafka::{SourceError, TopicReader};

pub use self::judge::Difference;
pub use self::report::{EntityCounts, Example, RecordPlace, Report, Shown, redis_type};
pub use self::running::{Checked, Due, RunningCheck};
pub use self::story::{Does, Finding, Remembered, Story, Told, Wanted};

/// Keys that are looked at together.
const KEYS_AT_ONCE: usize = 512;
/// Records between two words of progress.
const RECORDS_A_WORD: u64 = 10_000;

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Options<'o> {
    /// Only this entity.
    pub entity: Option<&'o str>,
    /// Share of the keys, 0 to 1, chosen by their hash.
    pub sample: f64,
    /// Only keys that changed in this time; other keys of Redis are not looked for.
    pub since: Option<Duration>,
    /// Examples kept for each entity and difference.
    pub examples: usize,
    /// Bytes for the keys of one pass.
    pub memory_bytes: usize,
}

/// Why it could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Kafka.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Redis.
    #[error("Redis: {0}")]
    Redis(#[from] WorldError),
    /// The schema registry.
    #[error(transparent)]
    Registry(#[from] FetchError),
    /// No such entity.
    #[error("there is no entity {0:?}")]
    NoEntity(String),
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// So much of it is done: records or keys.
    pub done: u64,
    /// Of so much; 0 where that is not known.
    pub of: u64,
    /// In this pass, from 1.
    pub pass: u32,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Records are read.
    Reads,
    /// Keys are compared.
    Compares,
    /// Redis is searched for keys that should not be there.
    Searches,
    /// Differences are looked at again.
    LooksAgain,
}

/// Tells a pipeline the schemas that a record needs.
pub type Supply<'v> = &'v dyn Fn(&mut Pipeline, &Record<'_>) -> Result<(), FetchError>;

/// One comparison.
pub struct Verify<'v> {
    settings: &'v Settings,
    options: Options<'v>,
    reader: &'v TopicReader,
    look: &'v Look,
    pipeline: Pipeline,
    supply: Supply<'v>,
    progress: &'v mut dyn FnMut(Progress),
    clock: SystemClock,
    entities: Arc<[Entity]>,
    /// Which of them are compared.
    chosen: Vec<bool>,
    keyspace: Keyspace,
    /// Per entity: true where the topics reach back to its first change.
    whole: Vec<bool>,
    spans: Vec<Span>,
    table: Table,
    report: Report,
    may_have_evicted: bool,
    /// What the group had committed when it was last waited for in vain.
    stalled_at: Option<Vec<Option<Committed>>>,
    /// The key whose records are remembered.
    trace: Option<Trace>,
}

impl std::fmt::Debug for Verify<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verify").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'v> Verify<'v> {
    /// A comparison. `pipeline` is over the settings' entities; `supply` tells it schemas of a registry.
    ///
    /// # Errors
    /// [`VerifyError::NoEntity`].
    pub fn new(
        settings: &'v Settings,
        options: Options<'v>,
        reader: &'v TopicReader,
        look: &'v Look,
        pipeline: Pipeline,
        supply: Supply<'v>,
        progress: &'v mut dyn FnMut(Progress),
    ) -> Result<Verify<'v>, VerifyError> {
        let entities = Arc::clone(&settings.entities);
        let chosen: Vec<bool> =
            entities.iter().map(|entity| options.entity.is_none_or(|name| *entity.name == *name)).collect();
        if !chosen.contains(&true) {
            return Err(VerifyError::NoEntity(options.entity.unwrap_or_default().to_owned()));
        }
        let counts = entities
            .iter()
            .map(|entity| EntityCounts { entity: entity.name.to_string(), ..EntityCounts::default() });
        let report = Report { entities: counts.collect(), ..Report::default() };
        Ok(Verify {
            keyspace: Keyspace::new(&entities, &chosen, &settings.redis.own_prefix),
            whole: vec![false; entities.len()],
            spans: Vec::new(),
            table: Table::new(0..=u64::MAX, Sample::of(options.sample), options.memory_bytes),
            may_have_evicted: false,
            stalled_at: None,
            trace: None,
            clock: SystemClock::new(),
            settings,
            options,
            reader,
            look,
            pipeline,
            supply,
            progress,
            entities,
            chosen,
            report,
        })
    }

    /// Compares, in as many passes over the topics as the memory needs.
    ///
    /// # Errors
    /// [`VerifyError`]; what was counted by then is lost.
    pub fn run(mut self) -> Result<Report, VerifyError> {
        let topics: Vec<String> = self.keyspace.writers(&self.entities).flat_map(topics_of).collect();
        let extents = self.reader.extents(&topics)?;
        let starts = self.starts(&extents)?;
        let mut low = 0;
        loop {
            self.report.passes += 1;
            self.table =
                Table::new(low..=u64::MAX, Sample::of(self.options.sample), self.options.memory_bytes);
            // Retention may have moved since the first pass, and there is more to read.
            let names: Vec<_> = extents.iter().map(|extent| extent.name.clone()).collect();
            let extents = self.reader.extents_of(&names)?;
            self.spans =
                extents.iter().zip(&starts).map(|(extent, start)| Span::from(extent, *start)).collect();
            self.read(Step::Reads)?;
            self.judge_history(&extents, &starts);
            self.compare()?;
            match self.table.range().end().checked_add(1) {
                Some(next) => low = next,
                None => break,
            }
        }
        let chosen = &self.chosen;
        let mut index = 0;
        self.report.entities.retain(|_| {
            index += 1;
            chosen.get(index - 1).copied().unwrap_or(false)
        });
        Ok(self.report)
    }

    /// Where each partition is read from.
    fn starts(&self, extents: &[Extent]) -> Result<Vec<Position>, VerifyError> {
        let Some(since) = self.options.since else {
            return Ok(extents.iter().map(|extent| extent.low).collect());
        };
        let since_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let moment_ms = self.clock.now().unix_ms.saturating_sub(since_ms).max(0);
        let names: Vec<_> = extents.iter().map(|extent| extent.name.clone()).collect();
        let positions = self.reader.positions_at(&names, moment_ms)?;
        Ok(extents.iter().zip(positions).map(|(extent, position)| position.unwrap_or(extent.high)).collect())
    }

    /// Reads the spans to their ends, and folds.
    fn read(&mut self, step: Step) -> Result<(), VerifyError> {
        let of = self.spans.iter().map(|span| span.end.saturating_sub(span.next)).sum::<i64>();
        let pass = self.report.passes;
        let mut done = 0;
        let mut failed = None;
        let Verify { reader, pipeline, supply, table, report, entities, progress, spans, trace, .. } = self;
        let read = reader.read(spans, &mut |index, record| {
            if let Err(error) = supply(pipeline, record) {
                failed = Some(error);
            }
            if failed.is_some() {
                return ControlFlow::Break(());
            }
            let partition = u32::try_from(index).unwrap_or(u32::MAX);
            let origin = Origin { partition, offset: record.offset, timestamp_ms: record.timestamp_ms };
            let take = |table: &mut Table, trace: &mut Option<Trace>, entity: usize, mutation: &Mutation| {
                if let Some(trace) = trace {
                    trace.take(mutation, entity, origin);
                }
                table.take(mutation, entities, entity, origin);
            };
            pipeline.handle(record, &mut |emitted| match emitted {
                Emitted::Mutations { entity, mutations, .. } => {
                    mutations.for_each(|mutation| take(table, trace, entity, &mutation));
                }
                Emitted::Failed(failure) => {
                    report.failed_records += u64::from(pass == 1);
                    for mutation in &failure.deletes {
                        take(table, trace, failure.entity.unwrap_or_default(), mutation);
                    }
                }
                Emitted::Truncated { entity, version, .. } => {
                    table.truncate(entity, &version, origin);
                }
                Emitted::Ignored { .. } => {}
            });
            report.records += 1;
            done += 1;
            if done % RECORDS_A_WORD == 0 {
                progress(Progress { step, done, of: u64::try_from(of).unwrap_or(0), pass });
            }
            ControlFlow::Continue(())
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        Ok(read?)
    }

    /// Whose history is whole: read from its first record, with none taken out.
    fn judge_history(&mut self, extents: &[Extent], starts: &[Position]) {
        let mut compacted: std::collections::BTreeMap<&str, bool> = std::collections::BTreeMap::new();
        let mut partial: Vec<&str> = Vec::new();
        for ((extent, start), span) in extents.iter().zip(starts).zip(&self.spans) {
            let topic = extent.name.topic.as_str();
            let offsets = extent.high.saturating_sub(*start);
            // Markers of transactions leave gaps as compaction does; only the topic's settings tell.
            let gaps = u64::try_from(offsets).unwrap_or(0) > span.records;
            let mut is_compacted =
                || *compacted.entry(topic).or_insert_with(|| self.reader.is_compacted(topic).unwrap_or(true));
            if *start > 0 || span.cut || (gaps && is_compacted()) {
                partial.push(topic);
            }
        }
        self.whole = self
            .entities
            .iter()
            .map(|entity| {
                self.options.since.is_none() && !partial.iter().any(|topic| entity.topics.matches(topic))
            })
            .collect();
    }

    /// Compares the keys of this pass, and looks for others.
    fn compare(&mut self) -> Result<(), VerifyError> {
        self.look_for_evictions()?;
        let doubtful = self.doubtful()?;
        self.settle(doubtful)?;
        if self.options.since.is_none() {
            self.search()?;
        }
        Ok(())
    }

    fn look_for_evictions(&mut self) -> Result<(), VerifyError> {
        let masters = self.look.evictions()?;
        self.may_have_evicted = masters.iter().any(|master| master.may_evict && master.evicted_count > 0);
        Ok(())
    }

    /// The keys of this pass that differ at first sight.
    fn doubtful(&mut self) -> Result<Vec<CacheKey>, VerifyError> {
        let mut doubtful = Vec::new();
        let (mut done, of, pass) = (0, self.table.len() as u64, self.report.passes);
        let chosen = |row: &Row| self.chosen.get(row.entity).copied().unwrap_or(false);
        let mut rows = self.table.rows().filter(|(_, row)| chosen(row));
        loop {
            let chunk: Vec<_> = rows.by_ref().take(KEYS_AT_ONCE).collect();
            if chunk.is_empty() {
                return Ok(doubtful);
            }
            let keys: Vec<&CacheKey> = chunk.iter().map(|(key, _)| *key).collect();
            for ((key, row), glance) in chunk.into_iter().zip(self.look.keys(&keys)?) {
                let Some(counts) = self.report.entities.get_mut(row.entity) else { continue };
                counts.checked += 1;
                done += 1;
                match judge(&row.state.expectation(), &glance) {
                    Verdict::Right => {}
                    Verdict::Expired => counts.expired += 1,
                    Verdict::Raced => counts.raced += 1,
                    Verdict::Wrong(_) => doubtful.push(key.clone()),
                }
            }
            (self.progress)(Progress { step: Step::Compares, done, of, pass });
        }
    }
}
