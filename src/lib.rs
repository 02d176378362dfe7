//! Stoker keeps Redis caches hot from Kafka: change events and row streams in, `(key, value, ttl)` writes
//! and deletes out, applied in partition-ordered batches.

pub mod admin;
pub mod batch;
pub mod change;
pub mod cli;
pub mod clock;
pub mod coalesce;
pub mod dead_letter;
pub mod decode;
pub mod engine;
pub mod entity;
pub mod error;
pub mod lane;
pub mod mutation;
pub mod pipeline;
pub mod process;
pub mod record;
pub mod retry;
pub mod settings;
pub mod sink;
pub mod source;
pub mod telemetry;
pub mod types;
pub mod version;
pub mod worker;
