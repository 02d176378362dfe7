//! `stoker preload`: loads an export of a warehouse, safely beside live traffic.
//!
//! ```text
//!  files ──rows──▶ Feed ──chunks──▶ Load ──put / take back──▶ Redis
//!                 (a thread)         ▲ │
//!                                    │ └──mark──▶ Follower ◀──records── the entity's topics
//!                                    └──keys that change, marks that are passed──┘
//! ```
//!
//! Rows become changes and go through the entity's handler, as those of a topic do. What changed since the export shows
//! it is neither written nor overwritten nor swept; a write that a change races with is taken back (`settle`). It
//! writes if absent, unless told to overwrite; stops before Redis is full; goes on where it was ended. Memory does not
//! grow with the export. Start at [`run`], then read `load`.

mod checkpoint;
mod feed;
mod fit;
mod follow;
mod known;
mod listen;
mod load;
mod pace;
mod prepare;
mod rejects;
mod report;
mod settle;
mod sweep;
mod topic;
mod write;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use self::checkpoint::CheckpointError;
pub use self::fit::Fit;
pub use self::known::{Pipelines, Supply};
pub use self::prepare::{Prepared, prepare};
pub use self::report::{Ended, Progress, Protection, Report, Watch};
use crate::error::WorldError;
use crate::export::{InputsError, Reading};
use crate::sink::redis::Over;
use crate::source::kafka::SourceError;

/// What is asked of a preload.
#[derive(Debug, Clone)]
pub struct Job {
    /// The entity's name.
    pub entity: String,
    /// Files, folders, patterns, `-`, `topic:NAME`; the first has priority.
    pub paths: Vec<String>,
    /// How the files are read.
    pub reading: Reading,
    /// The moment that the export shows.
    pub as_of: AsOf,
    /// What a column means that a row leaves out.
    pub absent_is_null: bool,
    /// How long values live, instead of what the entity says; with jitter, 0 to 1.
    pub ttl: Option<(Duration, f64)>,
    /// Whether it replaces what is there.
    pub over: Over,
    /// Writes a second.
    pub rate: Option<u32>,
    /// Afterwards, delete the keys that the export does not hold.
    pub sweep: bool,
    /// Read and map everything, and write nothing.
    pub dry_run: bool,
    /// Rows that may fail before it stops.
    pub max_errors: u64,
    /// Where the rows that failed are told.
    pub rejects: Option<PathBuf>,
    /// Where it keeps how far it is; beside the first path where it is `None`.
    pub checkpoint: Option<PathBuf>,
    /// Begin anew where a load was begun.
    pub restart: bool,
    /// The share of `maxmemory` at which it stops, 0 to 1.
    pub fill: f64,
    /// Begin although the estimate says that it does not fit.
    pub even_if_full: bool,
}

/// The moment that the export shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// Unix milliseconds.
    At(i64),
    /// When the oldest of the files was written.
    FileTime,
    /// It is not said: nothing protects what changed since.
    Unprotected,
}

/// Why a preload did not begin, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// What was asked for makes no sense, or is not there. Exit 2.
    #[error("{0}")]
    Usage(String),
    /// The paths. Exit 2.
    #[error(transparent)]
    Inputs(#[from] InputsError),
    /// The checkpoint. Exit 2.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An input cannot be read. Exit 2 before the first write, else 7.
    #[error("{0}")]
    Input(String),
    /// It would not fit. Exit 7.
    #[error(
        "it would not fit: about {} keys of {} MiB in all, and Redis has room for {} MiB; nothing was written \
         (--even-if-full begins all the same, and stops where Redis is full)",
        .0.keys, .0.bytes >> 20, .0.room_bytes.unwrap_or(0) >> 20
    )]
    DoesNotFit(Fit),
    /// Redis cannot be reached. Exit 3.
    #[error("Redis")]
    Redis(#[source] WorldError),
    /// Kafka cannot be reached. Exit 3.
    #[error("Kafka")]
    Kafka(#[source] SourceError),
    /// Anything else. Exit 1.
    #[error("{0}")]
    Failed(String),
}

/// Runs a load that is prepared. Blocks until it has ended, or shortly after `stop` is set.
///
/// # Errors
/// It was not begun, or where it stands could not be kept. What ends it later is the report's to tell.
pub fn run(prepared: Prepared, watch: &mut dyn Watch, stop: &AtomicBool) -> Result<Report, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Trouble::Failed(format!("no runtime: {error}")))?;
    runtime.block_on(load::load(prepared, watch, stop))
}
