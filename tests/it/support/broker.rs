//! What tests ask of the broker beside Stoker: commits, records, and changes to topics.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::wait_for;

const WITHIN: Duration = Duration::from_secs(20);

/// A record as it lies in a topic.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Read {
    /// The last header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().rev().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// The group's committed positions of a topic's first partitions, as any other tool sees them.
pub(crate) fn committed(brokers: &str, group: &str, topic: &str, partitions: i32) -> Vec<Option<i64>> {
    let mut asked = TopicPartitionList::new();
    (0..partitions).for_each(|partition| {
        asked.add_partition(topic, partition);
    });
    let found = consumer(brokers, group).committed_offsets(asked, WITHIN).unwrap();
    let elements = found.elements();
    let positions = elements.iter().map(|element| match element.offset() {
        Offset::Offset(position) => Some(position),
        _ => None,
    });
    positions.collect()
}

/// Commits a position of a group without members, with that metadata.
pub(crate) fn commit(
    brokers: &str,
    group: &str,
    (topic, partition): (&str, i32),
    position: i64,
    metadata: &str,
) {
    let mut list = TopicPartitionList::new();
    let mut entry = list.add_partition(topic, partition);
    entry.set_offset(Offset::Offset(position)).unwrap();
    entry.set_metadata(metadata);
    consumer(brokers, group).commit(&list, CommitMode::Sync).unwrap();
}

/// The end of each of a topic's first partitions.
pub(crate) fn ends(brokers: &str, topic: &str, partitions: i32) -> Vec<Option<i64>> {
    let consumer = consumer(brokers, "nobody");
    let end = |partition| consumer.fetch_watermarks(topic, partition, WITHIN).unwrap().1;
    (0..partitions).map(|partition| Some(end(partition))).collect()
}

/// The end of each of a topic's partitions, as many as there are by now.
pub(crate) fn ends_of_all(brokers: &str, topic: &str) -> Vec<i64> {
    let consumer = consumer(brokers, "nobody");
    let metadata = consumer.fetch_metadata(Some(topic), WITHIN).unwrap();
    let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let count = i32::try_from(count).unwrap();
    (0..count).map(|partition| consumer.fetch_watermarks(topic, partition, WITHIN).unwrap().1).collect()
}

/// All records of a topic, partition by partition; none where there is no such topic.
pub(crate) fn read_all(brokers: &str, topic: &str) -> Vec<Read> {
    let consumer = consumer(brokers, "nobody");
    let metadata = consumer.fetch_metadata(None, WITHIN).unwrap();
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Vec::new() };
    let mut assigned = TopicPartitionList::new();
    let mut count = 0;
    for partition in found.partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), WITHIN).unwrap();
        count += high - low;
        assigned.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&assigned).unwrap();
    let mut read = Vec::new();
    let all = wait_for(WITHIN, || {
        while let Some(Ok(record)) = consumer.poll(Duration::from_millis(50)) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
            read.push(Read {
                key: record.key().map(text),
                value: record.payload().map(text),
                timestamp_ms: record.timestamp().to_millis(),
                headers: headers
                    .map(|header| (header.key.to_owned(), header.value.map(text).unwrap_or_default()))
                    .collect(),
            });
        }
        i64::try_from(read.len()).unwrap() >= count
    });
    assert!(all, "{} of {count} records of {topic}", read.len());
    read
}

/// The offsets of all records that a partition still holds, as a reader of committed records sees them.
pub(crate) fn offsets(brokers: &str, topic: &str, partition: i32) -> Vec<i64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "nobody").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    consumer.assign(&assigned).unwrap();
    let mut offsets = Vec::new();
    let all = wait_for(WITHIN, || {
        loop {
            match consumer.poll(Duration::from_millis(50)) {
                Some(Ok(record)) => offsets.push(record.offset()),
                Some(Err(KafkaError::PartitionEOF(_))) => return true,
                Some(Err(error)) => panic!("{error}"),
                None => return false,
            }
        }
    });
    assert!(all, "{} records of {topic}/{partition}", offsets.len());
    offsets
}

/// Appends one record by a producer of its own, which knows the topic as it is by now.
pub(crate) fn append(brokers: &str, topic: &str, partition: i32, key: &str, value: &str) {
    let mut config = ClientConfig::new();
    let producer: BaseProducer = config.set("bootstrap.servers", brokers).create().unwrap();
    producer.send(BaseRecord::to(topic).partition(partition).key(key).payload(value)).unwrap();
    producer.flush(WITHIN).unwrap();
}

/// Raises a topic's partition count.
pub(crate) fn add_partitions(brokers: &str, topic: &str, count: usize) {
    let grown = NewPartitions::new(topic, count);
    let made = block(admin(brokers).create_partitions([&grown], &AdminOptions::new()));
    made.into_iter().for_each(|made| drop(made.unwrap()));
}

/// Deletes a topic, and waits until the broker has forgotten it.
pub(crate) fn delete_topic(brokers: &str, topic: &str) {
    let gone = block(admin(brokers).delete_topics(&[topic], &AdminOptions::new()));
    gone.into_iter().for_each(|gone| drop(gone.unwrap()));
    let consumer = consumer(brokers, "nobody");
    let forgotten = wait_for(WITHIN, || {
        let metadata = consumer.fetch_metadata(None, WITHIN).unwrap();
        metadata.topics().iter().all(|known| known.name() != topic)
    });
    assert!(forgotten, "the topic is gone");
}

/// Takes all records below these positions away, as retention would.
pub(crate) fn delete_below(brokers: &str, topic: &str, partition: i32, position: i64) {
    let mut below = TopicPartitionList::new();
    below.add_partition_offset(topic, partition, Offset::Offset(position)).unwrap();
    block(admin(brokers).delete_records(&below, &AdminOptions::new()));
    let consumer = consumer(brokers, "nobody");
    let gone = wait_for(WITHIN, || {
        consumer.fetch_watermarks(topic, partition, WITHIN).is_ok_and(|(low, _)| low == position)
    });
    assert!(gone, "the records are gone");
}

/// Makes a topic that takes no letter until [`open`], not even one without its value: a batch is never so small.
pub(crate) fn create_closed(brokers: &str, topic: &str) {
    let closed = NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "80");
    let made = block(admin(brokers).create_topics([&closed], &AdminOptions::new()));
    made.into_iter().for_each(|made| drop(made.unwrap()));
}

/// Lets it take records.
pub(crate) fn open(brokers: &str, topic: &str) {
    let opened = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", "1048588");
    let made = block(admin(brokers).alter_configs([&opened], &AdminOptions::new()));
    made.into_iter().for_each(|made| drop(made.unwrap()));
}

fn consumer(brokers: &str, group: &str) -> BaseConsumer {
    ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create().unwrap()
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap()
}

fn block<T, E: std::fmt::Debug>(answer: impl Future<Output = Result<T, E>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(answer).unwrap()
}
