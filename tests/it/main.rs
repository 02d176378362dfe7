//! The integration tests: one binary, so that it links once.

mod redis_sink;
mod sink_contract;
mod support;
