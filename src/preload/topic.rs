//! A topic as an export: of each partition the newest record of each key, up to the end that it had when it was opened.
//!
//! A topic holds a row more than once, and the last one counts, also where that is a delete. So a partition is read twice:
//! once for the positions of its keys, once for its rows; in slices of the key space where the keys are too many to hold.
//! Records without a key are rows of their own. A key's records lie in one partition. Start at [`TopicRows::next`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::feed::{Chunk, Given, Mapper};
use super::known::{Pipelines, Supply};
use super::settle::of_bytes;
use crate::batch::LaneName;
use crate::change::Op;
use crate::clock::SystemClock;
use crate::entity::{Entity, Topics, Truncate};
use crate::export::ExportError;
use crate::pipeline::Pipeline;
use crate::record::{AsRecord as _, Position};
use crate::settings::KafkaSettings;
use crate::source::kafka::reader::{Polled, TopicReader};
use crate::telemetry::chain;

/// Keys of a partition whose newest position is held at a time: 17 bytes each, and up to as much to spare.
const KEYS_MAX: usize = 2_000_000;
/// Slices of a partition's keys; more would mean thirty billion keys.
const SLICES_MAX: u64 = 1 << 14;
/// How long one question for a record waits.
const POLL: Duration = Duration::from_millis(100);
/// How long Kafka may keep silent, or a registry refuse, before the partition counts as not readable.
const SILENT_MAX: Duration = Duration::from_secs(120);
/// Pause after an error of Kafka's or the registry's.
const PAUSE: Duration = Duration::from_millis(500);
/// For the question where a partition ends.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// What it takes to read topics.
pub(super) struct TopicInputs {
    pub(super) kafka: KafkaSettings,
    /// The one entity: what its topics hold, and in which format.
    pub(super) entity: Entity,
    pub(super) pipelines: Pipelines,
    pub(super) supply: Supply,
}

/// What reading on has come to.
pub(super) enum Step {
    /// A row; where it fails, why.
    Row(Result<(), String>),
    End,
}

/// The rows of a partition.
pub(super) struct TopicRows {
    name: LaneName,
    /// Where it begins.
    start: Position,
    /// Where it ended when it was opened.
    end: Position,
    reader: TopicReader,
    inputs: Arc<TopicInputs>,
    pipeline: Pipeline,
    slice: u64,
    slices: u64,
    /// Of each key of the slice its last position.
    newest: HashMap<u64, Position, ahash::RandomState>,
    /// The offset of the row that came last.
    offset: Position,
}

impl TopicRows {
    /// Opens a partition from a position on, and reads it for its keys.
    ///
    /// # Errors
    /// It cannot be read to its end.
    pub(super) fn open(
        inputs: &Arc<TopicInputs>,
        name: LaneName,
        from: Position,
    ) -> Result<TopicRows, ExportError> {
        let reader = opened(&inputs.kafka, &name, from)?;
        let (start, end) = reader.parts().first().map_or((from, from), |part| (part.start, part.end));
        let entity = Entity { topics: Topics::Names(vec![name.topic.clone()]), ..inputs.entity.clone() };
        let mut rows = TopicRows {
            name,
            start,
            end,
            reader,
            pipeline: (inputs.pipelines)(Arc::from([entity])),
            inputs: Arc::clone(inputs),
            slice: 0,
            slices: 1,
            newest: HashMap::default(),
            offset: start,
        };
        rows.find_newest()?;
        Ok(rows)
    }

    /// Where a load that is ended now may go on.
    pub(super) fn reached(&self) -> Position {
        // A later slice begins at the beginning again.
        if self.slices > 1 {
            self.start
        } else {
            self.reader.positions().first().copied().unwrap_or(self.start)
        }
    }

    /// The offset of the row that came last.
    pub(super) fn offset(&self) -> Position {
        self.offset
    }

    /// Hands the next row over. Older records of its key are passed over; a delete is a row that gives nothing.
    ///
    /// # Errors
    /// Nothing more can be read.
    pub(super) fn next(&mut self, mapper: &mut Mapper, chunk: &mut Chunk) -> Result<Step, ExportError> {
        let silence = Silence::new();
        loop {
            if self.reader.has_passed(&[self.end]) {
                if self.slice + 1 >= self.slices {
                    return Ok(Step::End);
                }
                self.slice += 1;
                self.find_newest()?;
                continue;
            }
            let record = match self.reader.poll(POLL) {
                Polled::Record(record) => record,
                other => {
                    silence.bear(&other)?;
                    continue;
                }
            };
            let record = record.as_record();
            let is_newest = match record.key.map(of_bytes) {
                Some(key) => self.newest.get(&key) == Some(&record.offset),
                // A row of its own, told with the first slice.
                None => self.slice == 0,
            };
            if !is_newest || record.offset >= self.end {
                continue;
            }
            self.offset = record.offset;
            let refused = Silence::new();
            while let Err(why) = (self.inputs.supply)(&mut self.pipeline, &record) {
                refused.wait(why)?;
            }
            let mut given = Ok(());
            let deletes_all = self.inputs.entity.truncate == Truncate::Delete;
            let looked = self.pipeline.look(&record, &mut |_, change| {
                if change.op == Op::Truncate && deletes_all {
                    given = Err("the table was truncated here: what comes before it is gone".to_owned());
                }
                let Some(row) = change.after.clone().filter(|_| given.is_ok()) else { return };
                let (key, commit_ms) = (change.key.clone(), change.commit_ms);
                given = mapper.map(Given { row, key, in_file: None, commit_ms }, chunk);
            });
            return Ok(Step::Row(given.and(looked.map_err(|error| error.to_string()))));
        }
    }

    /// Reads from the start to the end for the slice's keys, and is at the start again behind it.
    fn find_newest(&mut self) -> Result<(), ExportError> {
        self.rewind()?;
        self.newest.clear();
        let mut silence = Silence::new();
        while !self.reader.has_passed(&[self.end]) {
            let record = match self.reader.poll(POLL) {
                Polled::Record(record) => record,
                other => {
                    silence.bear(&other)?;
                    continue;
                }
            };
            silence = Silence::new();
            let record = record.as_record();
            let Some(key) = record.key.map(of_bytes) else { continue };
            if key % self.slices != self.slice || record.offset >= self.end {
                continue;
            }
            self.newest.insert(key, record.offset);
            if self.newest.len() > KEYS_MAX {
                // Slice s of n is slices s and s + n of 2 n: none is missed, and some may come twice.
                self.slices *= 2;
                if self.slices > SLICES_MAX {
                    return Err(ExportError::NotRead(format!("{} has too many keys", self.name.topic)));
                }
                let (slice, slices) = (self.slice, self.slices);
                self.newest.retain(|key, _| key % slices == slice);
            }
        }
        self.rewind()
    }

    fn rewind(&mut self) -> Result<(), ExportError> {
        self.reader = opened(&self.inputs.kafka, &self.name, self.start)?;
        Ok(())
    }
}

fn opened(kafka: &KafkaSettings, name: &LaneName, from: Position) -> Result<TopicReader, ExportError> {
    TopicReader::open_at(kafka, name.clone(), from, ENDS_WITHIN)
        .map_err(|error| ExportError::Content(chain(&error)))
}

/// How long nothing has come.
struct Silence(SystemClock);

impl Silence {
    fn new() -> Silence {
        Silence(SystemClock::new())
    }

    /// What came instead of a record.
    fn bear(&self, polled: &Polled<'_>) -> Result<(), ExportError> {
        match polled {
            Polled::Record(_) => Ok(()),
            Polled::Nothing => self.within("Kafka sends nothing".to_owned()),
            Polled::Failed(error) => self.wait(chain(error)),
            Polled::Lost => {
                Err(ExportError::Content("the topic lost records that were not read yet".to_owned()))
            }
        }
    }

    fn wait(&self, why: String) -> Result<(), ExportError> {
        self.within(why)?;
        std::thread::sleep(PAUSE);
        Ok(())
    }

    fn within(&self, why: String) -> Result<(), ExportError> {
        if self.0.now().monotonic > SILENT_MAX { Err(ExportError::Content(why)) } else { Ok(()) }
    }
}
