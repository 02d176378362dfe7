//! From the rows of the export to writes, a chunk at a time.
//!
//! The only thing that reads files: in order, from a place on, as often as is asked. Rows go through the entity's handler
//! like the rows of change events. Start at [`Feed::next_chunk`].

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::known::Known;
use super::settle::{NO_ROW, fingerprint, of_row};
use super::topic::{Step, TopicInputs, TopicRows};
use crate::batch::LaneName;
use crate::change::Row;
use crate::entity::Lifetime;
use crate::export::{ExportError, Input, Next, Opened, Origin, Reading, open};
use crate::mutation::{CacheKey, Effect};
use crate::pipeline::{Emitted, Pipeline};
use crate::record::{NoHeaders, Record};
use crate::sink::redis::Put;

/// Writes in a chunk: a pipeline that Redis answers within some milliseconds.
const PUTS_MAX: usize = 512;
/// Bytes of their values.
const BYTES_MAX: usize = 1 << 20;
/// Rows in a chunk, whatever they give.
const ROWS_MAX: u64 = 4_096;

/// A place in the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(super) struct Place {
    /// Number of the input.
    pub(super) input: usize,
    /// Rows of it that are passed; of a partition the position.
    pub(super) row: u64,
}

/// A row that gives nothing because it cannot be read or handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reject {
    pub(super) input: usize,
    /// Number of the row in its file, from 1; of a topic's the offset.
    pub(super) row: u64,
    /// Why, without values.
    pub(super) reason: String,
}

/// What some rows give.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) puts: Vec<Put>,
    /// The rows that they are of, in their order: fingerprints.
    pub(super) rows_of: Vec<u64>,
    /// Keys that the export speaks of without giving their value: nothing is written there, and nothing swept.
    pub(super) withheld: Vec<u64>,
    pub(super) rejects: Vec<Reject>,
    pub(super) rows: u64,
    /// Rows that give no write.
    pub(super) idle_rows: u64,
    /// Writes of a key that a row of this chunk gives already.
    pub(super) repeated: u64,
    /// What is passed with it.
    pub(super) end: Place,
}

/// A file that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
#[error("{name}")]
pub(super) struct FeedError {
    name: String,
    #[source]
    source: ExportError,
}

/// Turns rows into writes.
pub(super) struct Mapper {
    /// Over the one entity.
    pub(super) pipeline: Pipeline,
    pub(super) known: Known,
    pub(super) as_of_ms: Option<i64>,
    /// Instead of the entity's own.
    pub(super) lifetime: Option<Lifetime>,
    /// Whether the last of two writes of a key counts, and not the first.
    pub(super) last_counts: bool,
    /// What it takes to read topics, where there are any among the inputs.
    pub(super) topics: Option<Arc<TopicInputs>>,
}

/// A row, and what its source says of it.
pub(super) struct Given<'a> {
    pub(super) row: Row<'a>,
    /// Its key, where the source tells it.
    pub(super) key: Option<Row<'a>>,
    /// The columns that all rows of the file have, where it says them.
    pub(super) in_file: Option<&'a [String]>,
    /// When it was committed, Unix milliseconds; the export's time where the source does not say.
    pub(super) commit_ms: Option<i64>,
}

/// How far the inputs are read: shared with whoever shows it.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Bytes of the inputs that are passed, as if all of them were as large as their files.
    pub(super) bytes: AtomicU64,
}

/// The inputs, from a place on.
pub(super) struct Feed {
    /// In the order in which they are read.
    inputs: Arc<[Input]>,
    reading: Reading,
    mapper: Mapper,
    place: Place,
    current: Option<Current>,
    reach: Arc<Reach>,
    /// Bytes of the inputs that are read to their end.
    bytes_before: u64,
}

struct Current {
    source: Source,
    columns: Option<Vec<String>>,
    file_bytes: u64,
}

enum Source {
    File(Opened),
    Topic(Box<TopicRows>),
}

impl Source {
    /// How many rows it has where it says so, and how many of its bytes are read.
    fn measure(&self) -> (Option<u64>, u64) {
        match self {
            Source::File(opened) => (opened.rows.count(), opened.bytes_read.load(Ordering::Relaxed)),
            Source::Topic(_) => (None, 0),
        }
    }
}

impl Feed {
    pub(super) fn new(
        inputs: Arc<[Input]>,
        reading: Reading,
        mapper: Mapper,
        place: Place,
        reach: Arc<Reach>,
    ) -> Feed {
        let passed = inputs.iter().take(place.input);
        let bytes_before = passed.map(Input::bytes).fold(0, u64::saturating_add);
        Feed { inputs, reading, mapper, place, current: None, reach, bytes_before }
    }

    /// What of the input at hand says how many rows it has, and how much of it is read.
    pub(super) fn measure(&self) -> (Option<u64>, u64) {
        self.current.as_ref().map_or((None, 0), |current| current.source.measure())
    }

    /// The columns of the input at hand, where it says them.
    pub(super) fn columns(&self) -> Option<&[String]> {
        self.current.as_ref()?.columns.as_deref()
    }

    /// The columns that change events have and a file with these has not.
    pub(super) fn missing_in(&self, in_file: &[String]) -> Vec<String> {
        self.mapper.known.shape.missing_in(in_file).map(str::to_owned).collect()
    }

    /// Gives the mapper back.
    pub(super) fn into_mapper(self) -> Mapper {
        self.mapper
    }

    /// Opens the input at hand, at its place. False where there is none any more.
    pub(super) fn prepare(&mut self) -> Result<bool, FeedError> {
        if self.current.is_some() {
            return Ok(true);
        }
        let Some(input) = self.inputs.get(self.place.input) else { return Ok(false) };
        let failed = |source| FeedError { name: input.name(), source };
        let file_bytes = input.bytes();
        let (source, columns) = match (&input.origin, &self.mapper.topics) {
            (Origin::Topic { name, partition }, Some(topics)) => {
                let name = LaneName { topic: name.clone(), partition: *partition };
                let from = i64::try_from(self.place.row).unwrap_or(i64::MAX);
                (Source::Topic(Box::new(TopicRows::open(topics, name, from).map_err(failed)?)), None)
            }
            _ => {
                let mut opened = open(input, &self.reading).map_err(failed)?;
                opened.rows.skip(self.place.row).map_err(failed)?;
                let columns = opened.rows.columns();
                (Source::File(opened), columns)
            }
        };
        self.current = Some(Current { source, columns, file_bytes });
        Ok(true)
    }

    /// The next chunk; never one without a row. `None` at the end of the inputs.
    ///
    /// # Errors
    /// An input cannot be read to its end.
    pub(super) fn next_chunk(&mut self) -> Result<Option<Chunk>, FeedError> {
        let mut chunk = Chunk::default();
        let mut bytes = 0;
        let mut keys = HashSet::new();
        while chunk.rows < ROWS_MAX && chunk.puts.len() < PUTS_MAX && bytes < BYTES_MAX {
            if !self.prepare()? {
                break;
            }
            let (Some(current), Some(input)) = (&mut self.current, self.inputs.get(self.place.input)) else {
                break;
            };
            let failed = |source| FeedError { name: input.name(), source };
            let before = chunk.puts.len();
            let step = match &mut current.source {
                Source::Topic(topic) => topic.next(&mut self.mapper, &mut chunk).map_err(failed)?,
                Source::File(opened) => match opened.rows.next().map_err(failed)? {
                    Next::End => Step::End,
                    Next::Bad(reason) => Step::Row(Err(reason)),
                    Next::Row(row) => {
                        let in_file = current.columns.as_deref();
                        let given = Given { row, key: None, in_file, commit_ms: None };
                        Step::Row(self.mapper.map(given, &mut chunk))
                    }
                },
            };
            let read = match step {
                Step::End => {
                    self.bytes_before = self.bytes_before.saturating_add(current.file_bytes);
                    self.reach.bytes.store(self.bytes_before, Ordering::Relaxed);
                    self.current = None;
                    self.place = Place { input: self.place.input + 1, row: 0 };
                    // What was passed belongs to the file; a chunk may end with it.
                    chunk.end = self.place;
                    continue;
                }
                Step::Row(read) => read,
            };
            chunk.rows += 1;
            let number = match &current.source {
                Source::File(_) => {
                    self.place.row += 1;
                    self.place.row
                }
                Source::Topic(topic) => {
                    self.place.row = u64::try_from(topic.reached()).unwrap_or(0);
                    u64::try_from(topic.offset()).unwrap_or(0)
                }
            };
            chunk.end = self.place;
            if let Err(reason) = read {
                chunk.puts.truncate(before);
                chunk.rows_of.truncate(before);
                chunk.rejects.push(Reject { input: self.place.input, row: number, reason });
                continue;
            }
            if chunk.puts.len() == before {
                chunk.idle_rows += 1;
            }
            bytes += self.mapper.keep_one_a_key(&mut chunk, before, &mut keys);
        }
        if let Some(current) = &self.current {
            let read = match current.source.measure() {
                (Some(count), _) if count > 0 => {
                    let share = u128::from(self.place.row.min(count)) * u128::from(current.file_bytes);
                    u64::try_from(share / u128::from(count)).unwrap_or(0)
                }
                (_, bytes) => bytes.min(current.file_bytes),
            };
            self.reach.bytes.store(self.bytes_before.saturating_add(read), Ordering::Relaxed);
        }
        Ok((chunk.rows > 0 || !chunk.rejects.is_empty()).then_some(chunk))
    }
}

impl Mapper {
    /// Adds a row's writes. Where it fails, the reason; what was added is to be taken out again.
    pub(super) fn map(&mut self, given: Given<'_>, chunk: &mut Chunk) -> Result<(), String> {
        let Given { row, key, in_file, commit_ms } = given;
        let row = self.known.shape.of_row(row, in_file);
        let is_withheld = row.has_unavailable();
        let change = self.known.change(row, key, commit_ms.or(self.as_of_ms))?;
        let record = Record {
            topic: &self.known.topic,
            partition: -1,
            // No record carried it.
            offset: -1,
            timestamp_ms: self.as_of_ms,
            key: None,
            value: None,
            headers: &NoHeaders,
        };
        let lifetime = self.lifetime;
        let mut outcome = Ok(());
        let row = self.pipeline.handle_row(0, change, &record, &mut |emitted| match emitted {
            Emitted::Mutations { mutations, .. } => {
                for mutation in mutations {
                    let key = mutation.key;
                    match mutation.effect {
                        Effect::Write(value, expiry) => {
                            // Members do not expire.
                            let own = lifetime.filter(|_| key.member().is_none());
                            let expiry = own.map_or(expiry, |lifetime| lifetime.of_key(key.as_bytes()));
                            chunk.puts.push(Put {
                                key,
                                value,
                                expiry,
                                guard: mutation.guard.map(|guard| *guard),
                            });
                        }
                        Effect::Delete | Effect::DeleteIf(_) if is_withheld => {
                            chunk.withheld.push(fingerprint(&key));
                        }
                        Effect::Delete | Effect::DeleteIf(_) => {}
                        // Only an update tells a value in part, and a row of an export is none.
                        Effect::Patch(..) => outcome = Err("the row tells a value only in part".to_owned()),
                    }
                }
            }
            Emitted::Failed(failure) => outcome = Err(format!("{}: {}", failure.kind, failure.detail)),
            Emitted::Ignored { .. } | Emitted::Truncated { .. } => {}
        });
        // What no identity tells is told by its keys alone.
        let row = row.as_ref().map_or(NO_ROW, of_row);
        chunk.rows_of.resize(chunk.puts.len(), row);
        outcome
    }

    /// Of the writes from `from` on keeps one for each key of the chunk. Returns the bytes that they add.
    fn keep_one_a_key(&self, chunk: &mut Chunk, from: usize, keys: &mut HashSet<CacheKey>) -> usize {
        let mut bytes = 0;
        let added = chunk.puts.split_off(from.min(chunk.puts.len()));
        let rows_of = chunk.rows_of.split_off(from.min(chunk.rows_of.len()));
        for (put, row) in added.into_iter().zip(rows_of) {
            bytes += put.key.size_bytes() + put.value.size_bytes();
            if keys.insert(put.key.clone()) {
                chunk.puts.push(put);
                chunk.rows_of.push(row);
                continue;
            }
            chunk.repeated += 1;
            let former = chunk.puts.iter().position(|former| former.key == put.key);
            if self.last_counts
                && let Some(at) = former
                && let (Some(former), Some(row_of)) = (chunk.puts.get_mut(at), chunk.rows_of.get_mut(at))
            {
                (*former, *row_of) = (put, row);
            }
        }
        bytes
    }
}
