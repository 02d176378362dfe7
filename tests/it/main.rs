//! The integration tests: one binary, so that it links once.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as it should be")]

mod redis_cluster;
mod redis_sink;
mod sink_contract;
mod support;
