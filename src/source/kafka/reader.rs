//! Reads topics from a time on, by a consumer of its own: without a group's positions, without commits.
//!
//! For jobs beside `run`. Ends are told by positions and never by offsets of records, since what stands at the end of
//! a partition may be a transaction's marker, which no consumer sees. Start at [`TopicReader::open`].

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::error::{code_name, name};
use super::positions::watermarks;
use super::properties::{Properties, Role};
use super::topics::meant;
use super::{KafkaRecord, SourceError, ffi};
use crate::batch::LaneName;
use crate::record::Position;
use crate::settings::KafkaSettings;

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The first record that is not older than this, Unix milliseconds.
    Time(i64),
    /// So many records before the end of each partition.
    Tail(i64),
    /// The first record that is left.
    Earliest,
}

/// A partition that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Topic and partition.
    pub name: LaneName,
    /// The first position that can be read.
    pub low: Position,
    /// Where reading began.
    pub start: Position,
    /// The end when reading began.
    pub end: Position,
}

impl Part {
    /// True where records may be missing between the time that was asked for and the first one that is left: retention
    /// took what was before it, and nothing older than that time is left to show that it took no more.
    pub fn may_lack_records(&self) -> bool {
        self.low > 0 && self.start <= self.low
    }
}

/// What came of asking for the next record.
#[derive(Debug)]
pub enum Polled<'r> {
    /// A record.
    Record(KafkaRecord<'r>),
    /// Nothing within the time.
    Nothing,
    /// Kafka does not answer, or refuses for now: reading goes on by itself once it answers again.
    Failed(SourceError),
    /// A position cannot be read any more: retention took it, or the topic was made anew. Records were missed.
    Lost,
}

/// A consumer of topics outside of any group.
pub struct TopicReader {
    consumer: BaseConsumer,
    parts: Vec<Part>,
    index: HashMap<(String, i32), usize>,
    /// Of each part the position behind what was handed out.
    next: Vec<Position>,
    missing: Vec<String>,
}

impl std::fmt::Debug for TopicReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicReader").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl TopicReader {
    /// Opens these topics: names, and patterns that begin with `^`. Blocks for at most about three times `within`.
    ///
    /// A topic that is not there is told by [`TopicReader::missing`], and is no error.
    ///
    /// # Errors
    /// The client cannot be made, or Kafka does not answer in time.
    pub fn open(
        kafka: &KafkaSettings,
        topics: &[String],
        from: From,
        within: Duration,
    ) -> Result<TopicReader, SourceError> {
        let consumer = outside(kafka)?;
        let unreachable = |detail: String| SourceError::Unreachable { detail };
        let metadata = consumer.fetch_metadata(None, within).map_err(|error| unreachable(name(&error)))?;
        let mut counts: BTreeMap<String, i32> = BTreeMap::new();
        let mut missing = Vec::new();
        for asked in topics {
            let before = counts.len();
            for topic in meant(&metadata, asked)?.into_iter().filter(|topic| !topic.partitions().is_empty()) {
                if let Some(error) = topic.error() {
                    return Err(unreachable(format!("{}: {}", topic.name(), code_name(error.into()))));
                }
                let count = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
                counts.insert(topic.name().to_owned(), count);
            }
            let known = !asked.starts_with('^') && counts.contains_key(asked);
            if counts.len() == before && !known {
                missing.push(asked.clone());
            }
        }
        let names: Vec<LaneName> = counts
            .into_iter()
            .flat_map(|(topic, count)| {
                (0..count).map(move |partition| LaneName { topic: topic.clone(), partition })
            })
            .collect();
        let mut parts = Vec::with_capacity(names.len());
        // Before the times are asked for: what is appended in between then has one, and what has none lies before.
        let found = watermarks(&consumer, &names, within);
        let starts = match from {
            From::Time(ms) => times(&consumer, &names, ms, within)?,
            From::Tail(_) | From::Earliest => HashMap::new(),
        };
        for (name, found) in names.iter().zip(found) {
            let (low, end) = found.ok_or_else(|| unreachable(format!("no watermarks of {}", name.topic)))?;
            let start = match from {
                From::Time(_) => starts.get(&(name.topic.clone(), name.partition)).copied().unwrap_or(end),
                From::Tail(count) => end.saturating_sub(count),
                From::Earliest => low,
            };
            parts.push(Part { name: name.clone(), low, start: start.clamp(low, end.max(low)), end });
        }
        TopicReader::assigned(consumer, parts, missing)
    }

    /// Opens one partition at a position; where that is not there, at the first or the last one that is. Blocks for
    /// at most about `within`.
    ///
    /// # Errors
    /// The client cannot be made, or Kafka does not answer in time.
    pub fn open_at(
        kafka: &KafkaSettings,
        name: LaneName,
        position: Position,
        within: Duration,
    ) -> Result<TopicReader, SourceError> {
        let consumer = outside(kafka)?;
        let found = watermarks(&consumer, std::slice::from_ref(&name), within).into_iter().next().flatten();
        let (low, end) = found
            .ok_or_else(|| SourceError::Unreachable { detail: format!("no watermarks of {}", name.topic) })?;
        let start = position.clamp(low, end.max(low));
        TopicReader::assigned(consumer, vec![Part { name, low, start, end }], Vec::new())
    }

    fn assigned(
        consumer: BaseConsumer,
        parts: Vec<Part>,
        missing: Vec<String>,
    ) -> Result<TopicReader, SourceError> {
        let unreachable = |detail: String| SourceError::Unreachable { detail };
        let mut assigned = TopicPartitionList::new();
        for part in &parts {
            let Part { name, start, .. } = part;
            assigned
                .add_partition_offset(&name.topic, name.partition, Offset::Offset(*start))
                .map_err(|error| unreachable(super::error::name(&error)))?;
        }
        if !parts.is_empty() {
            consumer.assign(&assigned).map_err(|error| unreachable(super::error::name(&error)))?;
        }
        let index = parts.iter().enumerate();
        let index = index.map(|(at, part)| ((part.name.topic.clone(), part.name.partition), at)).collect();
        let next = parts.iter().map(|part| part.start).collect();
        Ok(TopicReader { consumer, parts, index, next, missing })
    }

    /// The partitions that are read.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The names and patterns that no topic has.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// The next record of any partition. Blocks for at most about `within`.
    pub fn poll(&mut self, within: Duration) -> Polled<'_> {
        if self.parts.is_empty() {
            return Polled::Nothing;
        }
        let TopicReader { consumer, index, next, .. } = self;
        match consumer.poll(within) {
            None => {
                pass_markers(consumer, index, next);
                Polled::Nothing
            }
            Some(Ok(message)) => {
                let part = (message.topic().to_owned(), message.partition());
                if let Some(next) = index.get(&part).and_then(|at| next.get_mut(*at)) {
                    *next = message.offset().saturating_add(1);
                }
                Polled::Record(KafkaRecord(message))
            }
            Some(Err(error)) => {
                use rdkafka::error::RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange};
                match error.rdkafka_error_code() {
                    Some(AutoOffsetReset | OffsetOutOfRange) => Polled::Lost,
                    _ => Polled::Failed(SourceError::Unreachable { detail: name(&error) }),
                }
            }
        }
    }

    /// Of each of [`TopicReader::parts`] the position behind what was handed out.
    pub fn positions(&self) -> &[Position] {
        &self.next
    }

    /// The end of each of them, as the broker says now. Under `read_committed` it does not pass an open transaction.
    /// Blocks for at most about `within`.
    ///
    /// # Errors
    /// Not all of them answered in time.
    pub fn ends(&self, within: Duration) -> Result<Vec<Position>, SourceError> {
        let names: Vec<LaneName> = self.parts.iter().map(|part| part.name.clone()).collect();
        watermarks(&self.consumer, &names, within)
            .into_iter()
            .map(|found| found.map(|(_, end)| end))
            .collect::<Option<_>>()
            .ok_or_else(|| SourceError::Unreachable { detail: "no watermarks in time".to_owned() })
    }

    /// True once everything below these ends was handed out.
    pub fn has_passed(&self, ends: &[Position]) -> bool {
        self.next.iter().zip(ends).all(|(next, end)| next >= end)
    }
}

/// A consumer outside of any group.
fn outside(kafka: &KafkaSettings) -> Result<BaseConsumer, SourceError> {
    let properties = Properties::new(kafka, Role::Outside, None).set("enable.partition.eof", "false");
    properties.client().create().map_err(SourceError::client)
}

/// Takes in positions behind what is never handed out: markers, aborted records.
fn pass_markers(consumer: &BaseConsumer, index: &HashMap<(String, i32), usize>, next: &mut [Position]) {
    let Ok(positions) = consumer.position() else { return };
    for entry in ffi::entries(&positions) {
        let part = (entry.topic, entry.partition);
        if let (Some(offset), Some(next)) = (entry.offset, index.get(&part).and_then(|at| next.get_mut(*at)))
        {
            *next = (*next).max(offset);
        }
    }
}

/// The first offset that is not older than `ms` of each partition; none where all are older.
fn times(
    consumer: &BaseConsumer,
    names: &[LaneName],
    ms: i64,
    within: Duration,
) -> Result<HashMap<(String, i32), Position>, SourceError> {
    let unreachable = |error: &rdkafka::error::KafkaError| SourceError::Unreachable { detail: name(error) };
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let mut asked = TopicPartitionList::new();
    for name in names {
        // Below zero the numbers mean the ends.
        asked
            .add_partition_offset(&name.topic, name.partition, Offset::Offset(ms.max(0)))
            .map_err(|error| unreachable(&error))?;
    }
    let found = consumer.offsets_for_times(asked, within).map_err(|error| unreachable(&error))?;
    let mut starts = HashMap::new();
    for entry in ffi::entries(&found) {
        if let Some(error) = entry.error {
            return Err(SourceError::Unreachable { detail: code_name(error) });
        }
        if let Some(offset) = entry.offset {
            starts.insert((entry.topic, entry.partition), offset);
        }
    }
    Ok(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_lacks_records_where_nothing_older_is_left() {
        let part = |low, start, end| Part {
            name: LaneName { topic: "t".to_owned(), partition: 0 },
            low,
            start,
            end,
        };
        for (part, lacks) in [
            (part(0, 0, 0), false),
            (part(0, 0, 9), false),
            (part(5, 7, 9), false),
            (part(5, 5, 9), true),
            (part(9, 9, 9), true),
        ] {
            assert_eq!(part.may_lack_records(), lacks, "{part:?}");
        }
    }
}
