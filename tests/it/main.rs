//! Tests of the edges against the real thing.

mod kafka_source;
