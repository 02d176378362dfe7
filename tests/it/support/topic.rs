//! Topics on the real broker, and hand-made change events in them.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::scene::{LONG, event, record_key};

/// A topic and a producer to it.
pub(crate) struct Topic {
    pub(crate) name: String,
    producer: BaseProducer,
}

impl Topic {
    /// Makes a topic of so many partitions.
    pub(crate) fn create(brokers: &str, name: &str, partitions: i32) -> Topic {
        Topic::create_with(brokers, name, partitions, &[])
    }

    /// The same with these settings of the topic.
    pub(crate) fn create_with(
        brokers: &str,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Topic {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("linger.ms", "0").set("acks", "all");
        let admin: AdminClient<_> = config.create().unwrap();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new())).unwrap();
        made.into_iter().for_each(|made| {
            made.expect("the topic is made");
        });
        Topic { name: name.to_owned(), producer: config.create().unwrap() }
    }

    /// Appends one record; `None` is null.
    pub(crate) fn append(&self, partition: i32, key: Option<&str>, value: Option<&str>) {
        let mut record = BaseRecord::<str, str>::to(&self.name).partition(partition);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.poll(Duration::ZERO);
    }

    /// Appends one record that was produced at that time, Unix milliseconds.
    pub(crate) fn append_at(&self, partition: i32, key: &str, value: Option<&str>, at_ms: i64) {
        let mut record =
            BaseRecord::<str, str>::to(&self.name).partition(partition).key(key).timestamp(at_ms);
        if let Some(value) = value {
            record = record.payload(value);
        }
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until the broker has acknowledged everything.
    pub(crate) fn flush(&self) {
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }
}

/// A producer that writes rows in transactions.
pub(crate) struct Transactional {
    topic: &'static str,
    producer: BaseProducer,
}

impl Transactional {
    /// To that topic, whose name is its transactional id.
    pub(crate) fn to(topic: &'static str, brokers: &str) -> Transactional {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("transactional.id", topic);
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(LONG).unwrap();
        Transactional { topic, producer }
    }

    /// Begins a transaction with these rows at that version, in the topic's first partition.
    pub(crate) fn begin(&self, ids: std::ops::Range<usize>, version: usize) {
        self.begin_in(0, ids, version);
    }

    /// The same in another partition.
    pub(crate) fn begin_in(&self, partition: i32, ids: std::ops::Range<usize>, version: usize) {
        self.producer.begin_transaction().unwrap();
        for id in ids {
            let (key, value) = (record_key(id), event(id, version));
            let record = BaseRecord::to(self.topic).partition(partition).key(&key).payload(&value);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(LONG).unwrap();
    }

    /// Commits it.
    pub(crate) fn commit(&self) {
        self.producer.commit_transaction(LONG).unwrap();
    }

    /// Aborts it.
    pub(crate) fn abort(&self) {
        self.producer.abort_transaction(LONG).unwrap();
    }
}
