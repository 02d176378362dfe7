//! Stoker's integration tests: one binary, so that it links once; one module a subject.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as it should be")]

mod admin;
mod coalesce_law;
mod demo;
mod dependencies;
mod end_to_end;
mod errors;
mod explain;
mod fixtures;
mod group;
mod guard;
mod guard_race;
mod handler;
mod kafka_source;
mod member_contract;
mod merging;
mod mutated_captures;
mod outage;
mod patching;
mod peers;
mod preload;
mod process;
mod readme;
mod redis_cluster;
mod redis_sink;
mod simulation;
mod sink_contract;
mod support;
mod tidy;
mod truncate;
mod values;
mod zombie;
