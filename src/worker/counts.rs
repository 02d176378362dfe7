//! What a worker tells about its work: plain numbers and names, never a key or a value.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rejects::GuardView;
use crate::batch::LaneName;
use crate::batch::RefillMode;
use crate::dead_letter::Stage;
use crate::decode::{Ignored, SchemaId};
use crate::error::WorldError;
use crate::lane::{Activity, Loss, RefillNews};
use crate::record::Position;
use crate::refill::{LaneReport, RefillView};

/// What happened since the counters were last taken. Plain numbers: the driver makes metrics and logs of them.
#[derive(Debug, Default)]
pub struct Counts {
    /// Records taken, whatever came of them, by topic.
    pub records: BTreeMap<String, u64>,
    /// Records that a source delivered again or after their lane was gone.
    pub stale: u64,
    /// Changes by entity.
    pub changes: BTreeMap<usize, u64>,
    /// Mutations composed into one that was there.
    pub coalesced: u64,
    /// Conditions that could not be evaluated, by entity.
    pub undecided: BTreeMap<usize, u64>,
    /// Ignored records by reason.
    pub ignored: BTreeMap<&'static str, (Ignored, u64)>,
    /// Errors of records.
    pub failures: Vec<Failed>,
    /// Errors of the world that batches and claims met.
    pub world: Vec<WorldError>,
    /// Registry schemas that could not be told, and why.
    pub schemas_untold: Vec<(SchemaId, String)>,
    /// Truncates that were ignored, with their offsets: each one is an alarm.
    pub truncates: Vec<(LaneName, i64)>,
    /// Truncates whose keys are being deleted, with their offsets and entities.
    pub truncated: Vec<(LaneName, i64, usize)>,
    /// Keys that truncates deleted, by entity.
    pub purged: BTreeMap<usize, u64>,
    /// Truncates whose keys are all gone, and how many there were.
    pub purges_done: Vec<(LaneName, usize, u64)>,
    /// Rewinds asked for.
    pub rewinds: Vec<(LaneName, Position, Loss)>,
    /// What is told of refills.
    pub refills: Vec<(LaneName, RefillNews)>,
    /// Lanes given up because another owner writes.
    pub given_up: Vec<LaneName>,
    /// Lanes of which the guard has begun to refuse nearly all of an entity, or no longer does.
    pub guard_alarms: Vec<(LaneName, GuardView)>,
    /// Lanes taken over.
    pub taken_over: u64,
}

impl Counts {
    /// Counts a record that was taken.
    pub(super) fn taken(&mut self, topic: &str) {
        match self.records.get_mut(topic) {
            Some(count) => *count += 1,
            None => drop(self.records.insert(topic.to_owned(), 1)),
        }
    }
}

/// A record's error, for log and counters: where it was, never what it held.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Topic and partition.
    pub lane: LaneName,
    /// Offset.
    pub offset: i64,
    /// The entity, where it got that far.
    pub entity: Option<usize>,
    /// Where it failed.
    pub stage: Stage,
    /// Short name.
    pub kind: &'static str,
    /// In words.
    pub detail: String,
}

/// One lane as the status page shows it.
#[derive(Debug, Clone)]
pub struct LaneView {
    /// Topic and partition.
    pub name: LaneName,
    /// What it is doing.
    pub activity: Activity,
    /// True while it finishes what was taken, before it is handed over.
    pub draining: bool,
    /// Below it everything is applied.
    pub applied: Position,
    /// Kafka's timestamp of the oldest record that is taken and not applied, Unix milliseconds.
    pub oldest_ms: Option<i64>,
    /// True where its partition is paused.
    pub paused: bool,
    /// How far its refill is, and how it writes.
    pub refill: Option<(RefillView, RefillMode)>,
    /// True where history is owed, also while no refill runs.
    pub owes: bool,
    /// The refill that was asked for last, and how far it is.
    pub asked: Option<(Arc<str>, LaneReport)>,
    /// What became of its guarded units, by entity.
    pub guards: Vec<GuardView>,
    /// Why the registry schema that it waits for is not known, where the registry could not be asked.
    pub schema_error: Option<String>,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failed { lane, offset, stage, kind, detail, .. } = self;
        let stage = stage.as_str();
        write!(f, "{}/{} offset {offset}: {stage}: {kind}: {detail}", lane.topic, lane.partition)
    }
}
