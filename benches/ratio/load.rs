//! The load: topics of change events, made once for each point, and the state that they must lead to.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::events::Event;
pub(crate) use crate::events::FIRST_ID;
use crate::point::{Keys, Point};

/// A topic, and what it leads to.
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) records: u64,
    row_bytes: usize,
    last: Last,
    /// Id and version of each partition's last record.
    pub(crate) ends: Vec<(u64, u64)>,
    /// The same of the row in each partition that has not changed for longest: what a refill comes to last.
    pub(crate) oldest: Vec<(u64, u64)>,
}

/// The last version of each row.
enum Last {
    /// As the dice fell; `None` where the row never changed.
    Drawn(Vec<Option<u64>>),
    /// Each of so many rows has one record, in their order: its version is its number. Holds nothing, for there may
    /// be millions.
    Once(usize),
}

impl Topic {
    /// Makes the topic of a point: so many records over so many rows.
    pub(crate) fn make(brokers: &str, name: &str, point: &Point, records: u64, rows: usize) -> Topic {
        let mut dice = Dice::new(point.keys, rows);
        let mut last = vec![None; rows];
        let ends = fill(brokers, name, point, records, |version| {
            let row = dice.row();
            last[row] = Some(version);
            row
        });
        Topic::filled(name, point, records, Last::Drawn(last), ends)
    }

    /// Makes a topic that holds each of so many rows once.
    pub(crate) fn make_once(brokers: &str, name: &str, point: &Point, rows: usize) -> Topic {
        let records = rows as u64;
        let ends = fill(brokers, name, point, records, |version| version as usize);
        Topic::filled(name, point, records, Last::Once(rows), ends)
    }

    fn filled(name: &str, point: &Point, records: u64, last: Last, ends: Vec<(u64, u64)>) -> Topic {
        let partitions = u64::try_from(point.partitions).expect("a count");
        let mut topic = Topic {
            name: name.to_owned(),
            records,
            row_bytes: point.row_bytes,
            last,
            ends,
            oldest: Vec::new(),
        };
        let mut oldest = vec![(0, u64::MAX); partitions as usize];
        for row in 0..topic.rows_max() {
            let (id, Some(version)) = (FIRST_ID + row as u64, topic.version_of(row)) else { continue };
            let oldest = &mut oldest[(id % partitions) as usize];
            if version < oldest.1 {
                *oldest = (id, version);
            }
        }
        oldest.retain(|(id, _)| *id != 0);
        topic.oldest = oldest;
        topic
    }

    /// Rows that there may be.
    fn rows_max(&self) -> usize {
        match &self.last {
            Last::Drawn(last) => last.len(),
            Last::Once(rows) => *rows,
        }
    }

    /// Rows that must be cached.
    pub(crate) fn row_count(&self) -> u64 {
        match &self.last {
            Last::Drawn(last) => last.iter().flatten().count() as u64,
            Last::Once(rows) => *rows as u64,
        }
    }

    /// The last version of a row, if it ever changed.
    pub(crate) fn version_of(&self, row: usize) -> Option<u64> {
        match &self.last {
            Last::Drawn(last) => last.get(row).copied().flatten(),
            Last::Once(rows) => (row < *rows).then_some(row as u64),
        }
    }

    /// Every `step`-th row as it is in the end.
    pub(crate) fn rows(&self, step: usize) -> impl Iterator<Item = Event> {
        (0..self.rows_max()).step_by(step).filter_map(|row| {
            let version = self.version_of(row)?;
            Some(Event { id: FIRST_ID + row as u64, version, row_bytes: self.row_bytes })
        })
    }

    /// Keys and the values that they must hold, of every `step`-th row.
    pub(crate) fn expected(&self, step: usize) -> impl Iterator<Item = (String, String)> {
        self.rows(step).map(|event| (key(event.id), event.row()))
    }

    /// Commits the ends of all partitions, as a group that has applied everything has.
    pub(crate) fn commit_ends(&self, brokers: &str, group: &str, partitions: i32) {
        const WITHIN: Duration = Duration::from_secs(30);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("group.id", group).set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut ends = TopicPartitionList::new();
        for partition in 0..partitions {
            let (_, end) = consumer.fetch_watermarks(&self.name, partition, WITHIN).expect("the end");
            ends.add_partition_offset(&self.name, partition, Offset::Offset(end)).expect("a position");
        }
        consumer.commit(&ends, CommitMode::Sync).expect("the broker takes a commit");
    }

    /// Deletes it from the broker.
    pub(crate) fn delete(&self, brokers: &str) {
        let _ = wait(admin(brokers).delete_topics(&[&self.name], &AdminOptions::new()));
    }
}

/// Makes a topic of so many records; `row` tells the row of each version. Returns id and version of each partition's
/// last record.
fn fill(
    brokers: &str,
    name: &str,
    point: &Point,
    records: u64,
    mut row: impl FnMut(u64) -> usize,
) -> Vec<(u64, u64)> {
    create(brokers, name, point.partitions);
    // An export of an hour ago shows all of it.
    let producer = Producer::connect(brokers, 20).of_yesterday();
    let partitions = u64::try_from(point.partitions).expect("a count");
    let mut ends = vec![(0, 0); partitions as usize];
    for version in 0..records {
        let event = Event { id: FIRST_ID + row(version) as u64, version, row_bytes: point.row_bytes };
        let partition = event.id % partitions;
        ends[partition as usize] = (event.id, version);
        producer.send(name, partition, &event.key(point.format), &event.value(point.format));
    }
    producer.flush();
    // A partition that no row fell into has no end to wait for.
    ends.retain(|(id, _)| *id != 0);
    ends
}

/// The cached key of a row.
pub(crate) fn key(id: u64) -> String {
    format!("customer:{id}")
}

/// Makes a topic.
pub(crate) fn create(brokers: &str, name: &str, partitions: i32) {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let made =
        wait(admin(brokers).create_topics([&topic], &AdminOptions::new())).expect("the broker answers");
    made.into_iter().for_each(|made| drop(made.expect("the topic is made")));
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().expect("an admin client")
}

fn wait<T>(answer: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(answer)
}

/// A producer.
pub(crate) struct Producer {
    inner: BaseProducer,
    /// When its records say they were made, Unix milliseconds; now where it is not said.
    made_at_ms: Option<i64>,
}

impl Producer {
    /// One that gathers records for so long.
    pub(crate) fn connect(brokers: &str, linger_ms: u32) -> Producer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("linger.ms", linger_ms.to_string());
        config.set("batch.size", "1000000").set("queue.buffering.max.kbytes", "262144");
        Producer { inner: config.create().expect("a producer"), made_at_ms: None }
    }

    /// The same, of records that were made a day ago.
    fn of_yesterday(self) -> Producer {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Producer { made_at_ms: Some(unix_ms() - DAY.as_millis() as i64), ..self }
    }

    /// Appends a record, waiting where the queue is full.
    pub(crate) fn send(&self, topic: &str, partition: u64, key: &[u8], value: &[u8]) {
        let partition = i32::try_from(partition).expect("a partition");
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).key(key).payload(value);
        record.timestamp = self.made_at_ms;
        loop {
            match self.inner.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.inner.poll(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("a record cannot be appended: {error}"),
            }
        }
        self.inner.poll(Duration::ZERO);
    }

    /// Appends a tombstone.
    pub(crate) fn send_tombstone(&self, topic: &str, partition: u64, key: &[u8]) {
        let partition = i32::try_from(partition).expect("a partition");
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).key(key);
        self.inner.send(record).map_err(|(error, _)| error).expect("a record can be appended");
        self.inner.poll(Duration::ZERO);
    }

    /// Records that the broker has not acknowledged.
    pub(crate) fn unacknowledged(&self) -> i32 {
        self.inner.in_flight_count()
    }

    /// Waits until the broker has all.
    pub(crate) fn flush(&self) {
        self.inner.flush(Duration::from_secs(120)).expect("the broker takes everything");
    }
}

/// Now, in Unix milliseconds.
pub(crate) fn unix_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time after 1970");
    now.as_millis() as i64
}

/// Chooses rows, the same in every run.
pub(crate) struct Dice {
    state: u64,
    rows: usize,
    /// Cumulated shares by rank.
    shares: Vec<f64>,
}

impl Dice {
    pub(crate) fn new(keys: Keys, rows: usize) -> Dice {
        let mut sum = 0.0;
        let shares = match keys {
            Keys::Uniform => Vec::new(),
            Keys::Zipf | Keys::Steep => {
                let share = |rank: usize| {
                    sum += (rank as f64).powf(-keys.exponent());
                    sum
                };
                (1..=rows).map(share).collect()
            }
        };
        Dice { state: 0x5eed, rows, shares }
    }

    /// SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
    fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// The same, that fall otherwise.
    pub(crate) fn other(mut self) -> Dice {
        self.state = !self.state;
        self
    }

    pub(crate) fn row(&mut self) -> usize {
        let roll = self.roll();
        let Some(sum) = self.shares.last() else { return (roll % self.rows as u64) as usize };
        let place = (roll >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        self.shares.partition_point(|share| *share < place).min(self.rows - 1)
    }
}

/// Appends at a steady rate, whatever becomes of what was appended before: an open loop.
///
/// `send` is called with the record's number once its time has come, and may be late; `due` is when it should have
/// been sent.
pub(crate) fn open_loop(rate: f64, within: Duration, mut send: impl FnMut(u64, Instant)) {
    let start = Instant::now();
    let total = (rate * within.as_secs_f64()) as u64;
    for number in 0..total {
        let due = start + Duration::from_secs_f64(number as f64 / rate);
        let now = Instant::now();
        if due > now + Duration::from_micros(200) {
            std::thread::sleep(due - now);
        }
        send(number, due);
    }
}
