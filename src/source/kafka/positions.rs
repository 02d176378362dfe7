//! Asks Kafka for what decides where a partition starts: commits, watermarks, partition counts.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::ffi;
use super::metadata::CommitMetadata;
use super::start::Known;
use crate::batch::{Epoch, LaneName, Owed};
use crate::clock::SystemClock;
use crate::record::Position;

/// Partitions whose watermarks are asked for at the same time. Each costs two round trips of 1 ms and more.
const ASKED_AT_ONCE: usize = 8;

/// What is known of one assigned partition.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) name: LaneName,
    pub(super) known: Known,
    /// The epoch in the commit's metadata; 0 where it holds none.
    pub(super) epoch: Epoch,
    /// History that the commit's metadata says is owed.
    pub(super) owed: Option<Owed>,
    /// What commits of this topic carry on as the count of its first partitions.
    pub(super) first_partition_count: Option<i32>,
}

/// Asks for all of `names` within a time; those that got no answer are left out of what is returned.
///
/// # Errors
/// Commits or partition counts could not be had: then nothing is known of any partition.
pub(super) fn find<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    names: &[LaneName],
    within: Duration,
) -> KafkaResult<Vec<Found>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let clock = SystemClock::new();
    let left = || within.saturating_sub(clock.now().monotonic);

    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    for name in names {
        if !counts.contains_key(name.topic.as_str()) {
            counts.insert(&name.topic, partition_count(consumer, &name.topic, left())?);
        }
    }
    let commits = commits(consumer, &counts, names, left())?;
    let watermarks = watermarks(consumer, names, left());

    let mut first_counts: HashMap<&str, i32> = HashMap::new();
    for (name, commit) in &commits {
        if let Some(count) = commit.metadata.first_partition_count {
            let least = first_counts.entry(&name.topic).or_insert(count);
            *least = count.min(*least);
        }
    }
    let found = names.iter().zip(watermarks).filter_map(|(name, watermarks)| {
        let (low, high) = watermarks?;
        let commit = commits.get(name);
        let first = first_counts.get(name.topic.as_str()).copied();
        let added = commit.is_none() && first.is_some_and(|first| name.partition >= first);
        Some(Found {
            name: name.clone(),
            known: Known { committed: commit.map(|commit| commit.position), low, high, added },
            epoch: commit.map_or(Epoch(0), |commit| commit.metadata.epoch),
            owed: commit.and_then(|commit| commit.metadata.owed),
            first_partition_count: first.or_else(|| counts.get(name.topic.as_str()).copied()),
        })
    });
    Ok(found.collect())
}

/// Where each of these partitions begins (`Offset::Beginning`) or where what can be read of it ends (`Offset::End`): one
/// question to each broker, however many they are. Each is to be named once: the whole question fails otherwise.
///
/// # Errors
/// Also where one of them alone got no answer.
pub(super) fn ask_all<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    names: &[LaneName],
    which: Offset,
    within: Duration,
) -> KafkaResult<HashMap<LaneName, Position>> {
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let mut asked = TopicPartitionList::with_capacity(names.len());
    for name in names {
        asked.add_partition_offset(&name.topic, name.partition, which)?;
    }
    let answers = ffi::entries(&consumer.offsets_for_times(asked, within)?).into_iter().map(|entry| {
        let name = LaneName { topic: entry.topic, partition: entry.partition };
        match (entry.error, entry.offset) {
            (None, Some(offset)) => Ok((name, offset)),
            (error, _) => Err(KafkaError::MetadataFetch(error.unwrap_or(RDKafkaErrorCode::NoOffset))),
        }
    });
    answers.collect()
}

/// Low and high watermark as the broker says now.
pub(super) fn ask_watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    name: &LaneName,
    within: Duration,
) -> KafkaResult<(Position, Position)> {
    consumer.fetch_watermarks(&name.topic, name.partition, within)
}

struct Commit {
    position: Position,
    metadata: CommitMetadata,
}

/// The group's commits of every partition of those topics: also of other members', for their metadata.
fn commits<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    counts: &BTreeMap<&str, i32>,
    names: &[LaneName],
    within: Duration,
) -> KafkaResult<HashMap<LaneName, Commit>> {
    let mut asked = TopicPartitionList::new();
    for (topic, count) in counts {
        for partition in 0..*count {
            asked.add_partition(topic, partition);
        }
    }
    // The count may be older than the assignment.
    for name in names {
        if asked.find_partition(&name.topic, name.partition).is_none() {
            asked.add_partition(&name.topic, name.partition);
        }
    }
    let mut commits = HashMap::new();
    for entry in ffi::entries(&consumer.committed_offsets(asked, within)?) {
        if let Some(error) = entry.error {
            return Err(KafkaError::OffsetFetch(error));
        }
        if let Some(position) = entry.offset {
            let metadata = entry.metadata.as_deref().map(CommitMetadata::parse).unwrap_or_default();
            let name = LaneName { topic: entry.topic, partition: entry.partition };
            commits.insert(name, Commit { position, metadata });
        }
    }
    Ok(commits)
}

/// How many partitions the topic has now.
pub(super) fn partition_count<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    within: Duration,
) -> KafkaResult<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), within)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found {
        Some(found) if found.error().is_none() => {
            Ok(i32::try_from(found.partitions().len()).unwrap_or(i32::MAX))
        }
        Some(found) => Err(KafkaError::MetadataFetch(
            found.error().map_or(rdkafka::types::RDKafkaErrorCode::UnknownTopic, Into::into),
        )),
        None => Err(KafkaError::MetadataFetch(rdkafka::types::RDKafkaErrorCode::UnknownTopic)),
    }
}

/// Watermarks of each, in order; `None` where the broker did not answer in time.
pub(super) fn watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    names: &[LaneName],
    within: Duration,
) -> Vec<Option<(Position, Position)>> {
    let clock = SystemClock::new();
    let share = names.len().div_ceil(ASKED_AT_ONCE).max(1);
    let ask = |names: &[LaneName]| -> Vec<Option<(Position, Position)>> {
        let each = names.iter().map(|name| {
            let left = within.saturating_sub(clock.now().monotonic);
            if left.is_zero() { None } else { ask_watermarks(consumer, name, left).ok() }
        });
        each.collect()
    };
    if share == 1 && names.len() <= 2 {
        return ask(names);
    }
    let ask = &ask;
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            names.chunks(share).map(|names| (names.len(), scope.spawn(move || ask(names)))).collect();
        let answers = threads
            .into_iter()
            .flat_map(|(count, thread)| thread.join().unwrap_or_else(|_| vec![None; count]));
        answers.collect()
    })
}
