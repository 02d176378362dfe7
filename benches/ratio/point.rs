//! What is measured: one base point, and points that differ from it in one factor each.

use crate::events::{Event, Format};

/// One point.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    /// Its name in tables, in the history, and for `--only`.
    pub(crate) name: &'static str,
    pub(crate) format: Format,
    /// Bytes of a row as JSON, and so of a cached value.
    pub(crate) row_bytes: usize,
    pub(crate) keys: Keys,
    pub(crate) partitions: i32,
    /// Nodes of a Redis Cluster; 1 is one plain server.
    pub(crate) nodes: usize,
    /// Every write goes through the version guard.
    pub(crate) guard: bool,
    pub(crate) workers: usize,
    pub(crate) start: Start,
    /// The least share of `redis-benchmark`'s rate that is aimed at.
    pub(crate) target: Option<f64>,
}

/// Where a group without positions starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the beginning, in order.
    Earliest,
    /// At the end; what lies before it is refilled, newest first.
    Refill,
    /// `stoker preload` instead of `stoker run`: an export of the rows.
    Preload,
}

/// How the changes fall on the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    Uniform,
    /// The row of rank r gets a share of 1/r.
    Zipf,
    /// A share of 1/r^1.2: few rows are most of the load.
    Steep,
}

impl Keys {
    /// The power of the rank that shares fall with.
    pub(crate) fn exponent(self) -> f64 {
        match self {
            Keys::Uniform => 0.0,
            Keys::Zipf => 1.0,
            Keys::Steep => 1.2,
        }
    }
}

impl Point {
    /// Debezium JSON without schema, about 830 B; rows of 400 B, uniform keys, 8 partitions, one server, no guard.
    pub(crate) fn base() -> Point {
        Point {
            name: "base",
            format: Format::Debezium,
            row_bytes: 400,
            keys: Keys::Uniform,
            partitions: 8,
            nodes: 1,
            guard: false,
            workers: 1,
            start: Start::Earliest,
            target: Some(0.55),
        }
    }

    /// All points, the base first. A job beside `stoker run` is a [`Start`].
    pub(crate) fn all() -> Vec<Point> {
        let base = || Point { target: None, ..Point::base() };
        vec![
            Point::base(),
            Point { name: "schema", format: Format::DebeziumWithSchema, target: Some(0.35), ..base() },
            Point { name: "flattened", format: Format::Flattened, ..base() },
            Point { name: "avro", format: Format::Avro, target: Some(0.65), ..base() },
            Point { name: "zipf", keys: Keys::Zipf, target: Some(0.8), ..base() },
            Point { name: "1 partition", partitions: 1, ..base() },
            Point { name: "64 partitions", partitions: 64, ..base() },
            Point { name: "100 B values", row_bytes: 100, ..base() },
            Point { name: "10 KB values", row_bytes: 10_000, ..base() },
            Point { name: "3-node cluster", nodes: 3, ..base() },
            Point { name: "guard", guard: true, target: Some(0.7), ..base() },
            Point { name: "2 workers", workers: 2, ..base() },
            Point { name: "refill backwards", start: Start::Refill, ..base() },
            Point { name: "preload from Parquet", start: Start::Preload, ..base() },
        ]
    }

    /// What makes it differ from the base, for the table.
    pub(crate) fn event_bytes(&self) -> usize {
        let event = Event { id: crate::events::FIRST_ID, version: 0, row_bytes: self.row_bytes };
        event.value(self.format).len()
    }
}
