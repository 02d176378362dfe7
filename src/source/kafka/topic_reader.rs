//! Reads topics between positions, as an onlooker: no membership of the group, no commits, nothing created.
//!
//! For commands that compare or explain what a running group does. It also tells which partitions there are, what
//! of them can be read, and what the group has committed. Blocks; every wait is bounded by [`ANSWER_WITHIN`]. Start
//! at [`TopicReader::read`].

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::error::name;
use super::metadata::CommitMetadata;
use super::properties::{Properties, Role};
use super::topics::meant;
use super::{KafkaRecord, SourceError, ffi};
use crate::batch::LaneName;
use crate::clock::SystemClock;
use crate::record::{AsRecord as _, Position, Record};
use crate::settings::{KafkaSettings, Limits};

/// Longest wait for one answer, and for the next record of a partition that is not read to its end: a broker that
/// restarts or a leader that moves is back sooner.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// One wait for a record.
const POLL: Duration = Duration::from_millis(100);

/// A partition, and what of it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// Topic and partition.
    pub name: LaneName,
    /// First position that can be read.
    pub low: Position,
    /// The end: under `isolation.level=read_committed` (the default here) the last stable offset.
    pub high: Position,
}

/// What the group has committed of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The position.
    pub position: Position,
    /// True where the commit says that history before it is still to be refilled.
    pub refills: bool,
}

/// A part of a partition that is to be read, and how far that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Topic and partition.
    pub name: LaneName,
    /// Next position to be read.
    pub next: Position,
    /// Where reading ends: the record at this position is not read any more.
    pub end: Position,
    /// The position behind the last record that was delivered; `None` before the first. Behind it there may be
    /// offsets that hold no record (transaction markers, compaction), which no position of the group passes.
    pub last: Option<Position>,
    /// Records delivered so far.
    pub records: u64,
    /// True where retention took records away before they were read.
    pub cut: bool,
}

impl Span {
    /// The part of a partition from that position up to its end as the extent says it.
    pub fn from(extent: &Extent, next: Position) -> Span {
        let next = next.max(extent.low);
        Span { name: extent.name.clone(), next, end: extent.high, last: None, records: 0, cut: false }
    }

    /// True where nothing is left to be read.
    pub fn is_done(&self) -> bool {
        self.next >= self.end
    }
}

/// Reads topics. Made without waiting for Kafka.
pub struct TopicReader {
    consumer: BaseConsumer,
    properties: Properties,
    clock: SystemClock,
    within: Duration,
}

impl std::fmt::Debug for TopicReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicReader").finish_non_exhaustive()
    }
}

impl TopicReader {
    /// A reader with these settings; fetched records wait in a share of `limits.memory`.
    ///
    /// # Errors
    /// [`SourceError::Settings`]: a property that librdkafka does not take.
    pub fn connect(kafka: &KafkaSettings, limits: &Limits) -> Result<TopicReader, SourceError> {
        let properties =
            Properties::new(kafka, Role::Outside, Some(limits)).set("enable.partition.eof", "true");
        let consumer = properties.client().create().map_err(SourceError::client)?;
        Ok(TopicReader { consumer, properties, clock: SystemClock::new(), within: ANSWER_WITHIN })
    }

    /// The same with less patience: no answer and no record is waited for longer than this.
    pub fn within(mut self, time: Duration) -> TopicReader {
        self.within = time;
        self
    }

    /// How many members a consumer group has now.
    ///
    /// # Errors
    /// Kafka's.
    pub fn member_count(&self, group: &str) -> Result<usize, SourceError> {
        let groups =
            self.consumer.fetch_group_list(Some(group), self.within).map_err(|error| no_answer(&error))?;
        let of_it = groups.groups().iter().filter(|found| found.name() == group);
        Ok(of_it.map(|found| found.members().len()).sum())
    }

    /// Every partition of these topics (names, and patterns that begin with `^`), in order.
    ///
    /// # Errors
    /// A topic that is named and does not exist is [`SourceError::Settings`]; everything else is Kafka's.
    pub fn extents(&self, topics: &[String]) -> Result<Vec<Extent>, SourceError> {
        let metadata = self.consumer.fetch_metadata(None, self.within).map_err(|error| no_answer(&error))?;
        let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
        for asked in topics {
            for topic in meant(&metadata, asked)?.into_iter().filter(|topic| topic.error().is_none()) {
                counts.insert(topic.name(), i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX));
            }
            if !asked.starts_with('^') && !counts.contains_key(asked.as_str()) {
                return Err(SourceError::Settings {
                    detail: format!("the topic {asked:?} does not exist, or this user may not see it"),
                });
            }
        }
        let names = counts.into_iter().flat_map(|(topic, count)| {
            (0..count).map(|partition| LaneName { topic: topic.to_owned(), partition })
        });
        self.extents_of(&names.collect::<Vec<_>>())
    }

    /// What of these partitions can be read now, in their order.
    ///
    /// # Errors
    /// Kafka's.
    pub fn extents_of(&self, names: &[LaneName]) -> Result<Vec<Extent>, SourceError> {
        let extent = |name: &LaneName| {
            let (low, high) = self
                .consumer
                .fetch_watermarks(&name.topic, name.partition, self.within)
                .map_err(|error| no_answer(&error))?;
            Ok(Extent { name: name.clone(), low, high })
        };
        names.iter().map(extent).collect()
    }

    /// The first positions of these partitions whose records are not older than that moment (Unix milliseconds),
    /// in their order; `None` where every record is older.
    ///
    /// # Errors
    /// Kafka's.
    pub fn positions_at(
        &self,
        names: &[LaneName],
        moment_ms: i64,
    ) -> Result<Vec<Option<Position>>, SourceError> {
        let asked = list(names.iter().map(|name| (name, Offset::Offset(moment_ms))))?;
        let found = self.consumer.offsets_for_times(asked, self.within).map_err(|error| no_answer(&error))?;
        self.in_order(names, found)
            .map(|found| found.into_iter().map(|entry| entry.and_then(|entry| entry.offset)).collect())
    }

    /// What the group has committed of these partitions, in their order; `None` where nothing.
    ///
    /// # Errors
    /// Kafka's.
    pub fn committed(&self, names: &[LaneName]) -> Result<Vec<Option<Committed>>, SourceError> {
        let asked = list(names.iter().map(|name| (name, Offset::Invalid)))?;
        let found = self.consumer.committed_offsets(asked, self.within).map_err(|error| no_answer(&error))?;
        let committed = |entry: Option<ffi::Entry>| {
            let entry = entry?;
            let refills = entry.metadata.as_deref().is_some_and(|text| CommitMetadata::parse(text).owes());
            Some(Committed { position: entry.offset?, refills })
        };
        self.in_order(names, found).map(|found| found.into_iter().map(committed).collect())
    }

    /// True where compaction may have taken records of the topic; `None` where the broker does not say.
    pub fn is_compacted(&self, topic: &str) -> Option<bool> {
        let admin: AdminClient<DefaultClientContext> = self.properties.client().create().ok()?;
        let options = AdminOptions::new().request_timeout(Some(self.within));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
        let asked = [ResourceSpecifier::Topic(topic)];
        let found = runtime.block_on(admin.describe_configs(&asked, &options)).ok()?;
        let policy = found.into_iter().next()?.ok()?.get("cleanup.policy")?.value.clone()?;
        Some(policy.split(',').any(|policy| policy.trim() == "compact"))
    }

    /// Reads these spans to their ends, each partition's records in offset order, topic after topic.
    ///
    /// - `visit` gets the index of the span with each record; `Break` ends that span there, as if it ended behind
    ///   the record.
    /// - A span ends where the partition does, if that is earlier: at an open transaction, or where nothing but
    ///   transaction markers or compacted offsets follow. Its `next` is its `end` then.
    /// - Where retention overtakes the reading, it goes on at what is left, and the span says so (`cut`).
    ///
    /// # Errors
    /// Kafka's: nothing came for as long as an answer may take. What was read is read; it may be called again with the
    /// same spans.
    pub fn read(
        &self,
        spans: &mut [Span],
        visit: &mut dyn FnMut(usize, &Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        // One topic at a time: librdkafka's word that a partition has ended does not say of which topic.
        let mut topics: Vec<String> =
            spans.iter().filter(|span| !span.is_done()).map(|span| span.name.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        for topic in topics {
            let done = self.read_topic(&topic, spans, visit);
            // What is left of this topic must not be delivered as the next one's.
            let _ = self.consumer.unassign();
            done?;
        }
        Ok(())
    }

    fn read_topic(
        &self,
        topic: &str,
        spans: &mut [Span],
        visit: &mut dyn FnMut(usize, &Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let unread = |spans: &[Span]| -> HashMap<i32, usize> {
            let unread =
                spans.iter().enumerate().filter(|(_, span)| span.name.topic == topic && !span.is_done());
            unread.map(|(index, span)| (span.name.partition, index)).collect()
        };
        let mut left = unread(spans);
        self.assign(spans, &left)?;
        let mut last_error = None;
        let mut heard_at = self.clock.now().monotonic;
        while !left.is_empty() {
            let polled = self.consumer.poll(POLL);
            let now = self.clock.now().monotonic;
            if let Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) = &polled {
                heard_at = now;
            }
            match polled {
                Some(Ok(message)) => {
                    let record = KafkaRecord(message);
                    let record = record.as_record();
                    let Some(&index) = left.get(&record.partition) else { continue };
                    let Some(span) = spans.get_mut(index) else { continue };
                    if record.topic != topic || record.offset < span.next {
                        continue;
                    }
                    if record.offset < span.end {
                        span.next = record.offset.saturating_add(1);
                        span.last = Some(span.next);
                        span.records = span.records.saturating_add(1);
                        if visit(index, &record).is_break() {
                            span.end = span.next;
                        }
                    } else {
                        span.next = span.end;
                    }
                    if span.is_done() {
                        left.remove(&record.partition);
                        if !left.is_empty() {
                            self.let_go(topic, record.partition);
                        }
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(span) = left.remove(&partition).and_then(|index| spans.get_mut(index)) {
                        span.next = span.end;
                    }
                }
                Some(Err(error)) if is_out_of_range(&error) => {
                    self.pass_gaps(spans, &left)?;
                    left = unread(spans);
                    self.assign(spans, &left)?;
                }
                Some(Err(error)) => last_error = Some(no_answer(&error)),
                None => {}
            }
            if now.saturating_sub(heard_at) > self.within {
                let silent =
                    || SourceError::Unreachable { detail: format!("no record of {topic:?} in time") };
                return Err(last_error.unwrap_or_else(silent));
            }
        }
        Ok(())
    }

    fn assign(&self, spans: &[Span], left: &HashMap<i32, usize>) -> Result<(), SourceError> {
        let wanted = left.values().filter_map(|index| spans.get(*index));
        let at = list(wanted.map(|span| (&span.name, Offset::Offset(span.next))))?;
        self.consumer.assign(&at).map_err(|error| no_answer(&error))
    }

    /// Nothing more is wanted of that partition: what is fetched beyond would be thrown away. Not by a pause, which
    /// would outlast the next assignment.
    fn let_go(&self, topic: &str, partition: i32) {
        let mut done = TopicPartitionList::new();
        done.add_partition(topic, partition);
        // Where it stays it costs time, and nothing else.
        let _ = self.consumer.incremental_unassign(&done);
    }

    /// Moves spans on that begin below what retention left.
    fn pass_gaps(&self, spans: &mut [Span], left: &HashMap<i32, usize>) -> Result<(), SourceError> {
        for index in left.values() {
            let Some(span) = spans.get_mut(*index) else { continue };
            for extent in self.extents_of(std::slice::from_ref(&span.name))? {
                if span.next < extent.low {
                    span.next = extent.low;
                    span.cut = true;
                }
                // A log that was cut or made anew.
                span.end = span.end.min(extent.high);
            }
        }
        Ok(())
    }

    /// The entries of an answer in the order in which they were asked for.
    fn in_order(
        &self,
        names: &[LaneName],
        found: TopicPartitionList,
    ) -> Result<Vec<Option<ffi::Entry>>, SourceError> {
        let mut by_name = HashMap::new();
        for entry in ffi::entries(&found) {
            if let Some(code) = entry.error {
                return Err(SourceError::Unreachable { detail: super::error::code_name(code) });
            }
            by_name.insert((entry.topic.clone(), entry.partition), entry);
        }
        Ok(names.iter().map(|name| by_name.remove(&(name.topic.clone(), name.partition))).collect())
    }
}

fn list<'n>(
    entries: impl Iterator<Item = (&'n LaneName, Offset)>,
) -> Result<TopicPartitionList, SourceError> {
    let mut list = TopicPartitionList::new();
    for (name, offset) in entries {
        list.add_partition_offset(&name.topic, name.partition, offset).map_err(|error| no_answer(&error))?;
    }
    Ok(list)
}

fn is_out_of_range(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange};
    matches!(error.rdkafka_error_code(), Some(AutoOffsetReset | OffsetOutOfRange))
}

fn no_answer(error: &KafkaError) -> SourceError {
    SourceError::Unreachable { detail: name(error) }
}
