//! Errors of the Kafka edge, and what is said of librdkafka's without giving anything away.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// The Kafka client cannot be had, or does not get an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The settings are wrong: trying again does not help. Exit 2.
    #[error("{detail}")]
    Settings {
        /// What is wrong, without values.
        detail: String,
    },
    /// Kafka did not answer, or refused for now.
    #[error("no answer from Kafka: {detail}")]
    Unreachable {
        /// librdkafka's words.
        detail: String,
    },
}

impl SourceError {
    /// The error of making a client. A property's value is never shown: it may be a secret.
    pub(super) fn client(error: KafkaError) -> SourceError {
        let detail = match error {
            KafkaError::ClientConfig(_, _, property, _) => format!(
                "kafka.properties: {property:?} is no property of librdkafka, or its value is not valid"
            ),
            other => format!("the Kafka client cannot be made: {other}"),
        };
        SourceError::Settings { detail }
    }
}

/// librdkafka's short name of an error, for counting and for logs.
pub(super) fn name(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| "Client".to_owned(), code_name)
}

/// The same of a code.
pub(super) fn code_name(code: RDKafkaErrorCode) -> String {
    format!("{code:?}")
}
