//! Which Kafka client is linked into this binary.

/// Version of the linked librdkafka, as it names itself ("2.12.1").
pub fn librdkafka_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
