//! Stoker's integration tests: one binary, so that it links once; one module a subject.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as it should be")]

mod coalesce_law;
mod end_to_end;
mod kafka_source;
mod redis_cluster;
mod redis_sink;
mod simulation;
mod sink_contract;
mod support;
mod zombie;
