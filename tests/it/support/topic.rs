//! Topics on the real broker, and hand-made change events in them.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// A topic and a producer to it.
pub(crate) struct Topic {
    pub(crate) name: String,
    producer: BaseProducer,
}

impl Topic {
    /// Makes a topic of so many partitions.
    pub(crate) fn create(brokers: &str, name: &str, partitions: i32) -> Topic {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("linger.ms", "0").set("acks", "all");
        let admin: AdminClient<_> = config.create().unwrap();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
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
