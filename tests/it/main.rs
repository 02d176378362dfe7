//! Stoker's integration tests: one binary, one module a subject.

mod coalesce_law;
