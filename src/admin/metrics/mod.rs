//! Metrics: counted by the engine through handles that each worker keeps, gauges read from the [`Snapshot`].
//!
//! Gauges are put together at each scrape, so that a lane that went to another process leaves none behind.
//! All names stand in [`table`]. Without [`install`] every count goes nowhere, at no cost.

pub mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::{
    Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use self::table::{MetricKind, TABLE};
use super::status::{LaneState, Snapshot};
use crate::batch::{Action, Outcome, Unit};
use crate::dead_letter::Stage;
use crate::decode::Ignored;
use crate::entity::Entity;
use crate::error::WorldError;
use crate::refill::RefillCounts;
use crate::verify::Difference;

/// Buckets of `stoker_freshness_seconds`: a lone record takes milliseconds, a history hours.
const FRESHNESS_BUCKETS: [f64; 13] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 300.0, 3600.0];
/// Buckets of `stoker_redis_batch_seconds`: from a lone command on one machine to the default `redis.timeout`.
const BATCH_LATENCY_BUCKETS: [f64; 11] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Buckets of `stoker_batch_units`, up to the default `limits.batch_records`.
const BATCH_UNITS_BUCKETS: [f64; 7] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

/// Why metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("metrics are already set up in this process")]
pub struct MetricsError;

/// Sets up the process's metrics. The handle must be kept up (see `Admin`), or histograms grow.
pub fn install() -> Result<PrometheusHandle, MetricsError> {
    let recorder = recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| MetricsError)?;
    describe();
    Ok(handle)
}

fn recorder() -> PrometheusRecorder {
    let buckets: [(&str, &[f64]); 3] = [
        (table::FRESHNESS, &FRESHNESS_BUCKETS),
        (table::BATCH_LATENCY, &BATCH_LATENCY_BUCKETS),
        (table::BATCH_UNITS, &BATCH_UNITS_BUCKETS),
    ];
    let mut builder = PrometheusBuilder::new();
    for (name, values) in buckets {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), values)
            .expect("the buckets are fixed and not empty");
    }
    builder.build_recorder()
}

fn describe() {
    for metric in TABLE {
        match metric.kind {
            MetricKind::Counter => describe_counter!(metric.name, metric.meaning),
            MetricKind::Gauge => describe_gauge!(metric.name, metric.meaning),
            MetricKind::Histogram => describe_histogram!(metric.name, metric.meaning),
        }
    }
}

/// The gauges of a snapshot, in Prometheus's text form.
pub(super) fn render_gauges(snapshot: &Snapshot, ready: bool, now_ms: i64) -> String {
    let recorder = recorder();
    metrics::with_local_recorder(&recorder, || {
        describe();
        set_gauges(snapshot, ready, now_ms);
    });
    recorder.handle().render()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; ages and counts fit it to the millisecond"
)]
fn set_gauges(snapshot: &Snapshot, ready: bool, now_ms: i64) {
    let seconds = |ms: i64| ms as f64 / 1_000.0;
    let claim = |holds: bool| f64::from(u8::from(holds));
    gauge!(table::BUILD, "version" => snapshot.version).set(1.0);
    gauge!(table::START_TIME).set(seconds(snapshot.started_ms));
    gauge!(table::READY).set(claim(ready));
    gauge!(table::KAFKA_UP).set(claim(snapshot.kafka.up));
    gauge!(table::REDIS_UP).set(claim(snapshot.redis.dependency.up));
    if let Some(skew_ms) = snapshot.redis.clock_skew_ms {
        gauge!(table::CLOCK_SKEW).set(seconds(skew_ms));
    }
    if let Some(works) = snapshot.redis.fencing_works {
        gauge!(table::FENCING_WORKS).set(claim(works));
    }
    for state in LaneState::ALL {
        let count = snapshot.lanes.values().filter(|lane| lane.state == state).count();
        gauge!(table::LANES, "state" => state.as_str()).set(count as f64);
    }
    gauge!(table::PAUSED).set(snapshot.lanes.values().filter(|lane| lane.paused).count() as f64);
    gauge!(table::REFILL_LANES).set(snapshot.lanes.values().filter(|lane| lane.owes).count() as f64);
    for entity in snapshot.lanes.values().flat_map(|lane| &lane.incomplete) {
        gauge!(table::INCOMPLETE, "entity" => entity.clone()).set(1.0);
    }
    for lane in snapshot.lanes.values() {
        let labels = [("topic", lane.topic.clone()), ("partition", lane.partition.to_string())];
        if let Some(lag) = lane.lag() {
            gauge!(table::LAG, &labels).set(lag as f64);
        }
        if let Some(age_ms) = lane.unapplied_age_ms(now_ms) {
            gauge!(table::UNAPPLIED_AGE, &labels).set(seconds(age_ms));
        }
        if let Some(refill) = &lane.refill {
            gauge!(table::REFILL_COVERED, &labels).set(refill.covered_ratio);
        }
        for guard in &lane.guards {
            if let Some((seen, rejected)) = guard.window {
                let labels = [
                    ("entity", guard.entity.clone()),
                    ("topic", lane.topic.clone()),
                    ("partition", lane.partition.to_string()),
                ];
                gauge!(table::REJECTED_RATIO, &labels).set(rejected as f64 / seen.max(1) as f64);
            }
        }
    }
}

/// A worker's handles: looked up once, then each count is an atomic addition.
///
/// Entities go by their index, as in [`crate::pipeline::Emitted`]; an index without an entity counts nowhere.
#[derive(Debug)]
pub struct WorkerMetrics {
    entities: Vec<EntityMetrics>,
    ignored: Vec<(Ignored, Counter)>,
    coalesced: Counter,
    take_overs: Counter,
    batch_latency: Histogram,
    batch_units: Histogram,
}

#[derive(Debug)]
struct EntityMetrics {
    changes: Counter,
    writes: Counter,
    patches: Counter,
    purged: Counter,
    deletes: Counter,
    compared_deletes: Counter,
    guarded: Counter,
    rejected: Counter,
    undecided: Counter,
    freshness: Histogram,
}

/// A lane's handle. Lanes of one topic share their count.
#[derive(Debug)]
pub struct TopicMetrics {
    records: Counter,
}

impl TopicMetrics {
    /// The handle of that topic.
    pub fn new(topic: &str) -> TopicMetrics {
        TopicMetrics { records: counter!(table::RECORDS, "topic" => topic.to_owned()) }
    }

    /// Records that were handled, whatever came of them.
    pub fn records(&self, count: u64) {
        self.records.increment(count);
    }
}

impl WorkerMetrics {
    /// Handles for these entities, after [`install`]. Their counts appear as 0 at once, so that rates see the
    /// first one.
    pub fn new(entities: &[Entity]) -> WorkerMetrics {
        WorkerMetrics {
            entities: entities.iter().map(|entity| EntityMetrics::new(&entity.name)).collect(),
            ignored: Vec::new(),
            coalesced: counter!(table::COALESCED),
            take_overs: counter!(table::TAKE_OVERS),
            batch_latency: histogram!(table::BATCH_LATENCY),
            batch_units: histogram!(table::BATCH_UNITS),
        }
    }

    /// Changes that an entity's handler took.
    pub fn changes(&self, entity: usize, count: u64) {
        if let Some(entity) = self.entities.get(entity) {
            entity.changes.increment(count);
        }
    }

    /// Conditions of an entity that could not be evaluated.
    pub fn undecided(&self, entity: usize, count: u64) {
        if let Some(entity) = self.entities.get(entity) {
            entity.undecided.increment(count);
        }
    }

    /// Keys of an entity that a truncate of its table deleted.
    pub fn purged(&self, entity: usize, count: u64) {
        if let Some(entity) = self.entities.get(entity) {
            entity.purged.increment(count);
        }
    }

    /// Records, or changes of them, with nothing to do.
    pub fn ignored(&mut self, why: Ignored, count: u64) {
        // A handful of reasons: a search is quicker than a map.
        if let Some((_, counter)) = self.ignored.iter().find(|(known, _)| *known == why) {
            return counter.increment(count);
        }
        let counter = counter!(table::IGNORED, "reason" => why.as_str());
        counter.increment(count);
        self.ignored.push((why, counter));
    }

    /// Mutations that a later one of the same key in the same batch made needless.
    pub fn coalesced(&self, count: u64) {
        self.coalesced.increment(count);
    }

    /// A batch that was sent: how long until its last reply, and how many units it held.
    pub fn batch(&self, latency: Duration, unit_count: usize) {
        self.batch_latency.record(latency.as_secs_f64());
        self.batch_units.record(f64::from(u32::try_from(unit_count).unwrap_or(u32::MAX)));
    }

    /// What became of units. Refused ones count as errors of a record; those to be sent again not at all.
    pub fn outcomes<'u>(&self, outcomes: impl Iterator<Item = (&'u Unit, &'u Outcome)>) {
        // A counter is shared between threads: one look at it for each run of the same.
        let (mut run, mut count): (Option<&Counter>, u64) = (None, 0);
        for (unit, outcome) in outcomes {
            let Some(counter) = self.counter_of(unit, outcome) else { continue };
            match run {
                Some(known) if std::ptr::eq(known, counter) => count += 1,
                _ => {
                    if let Some(ended) = run.replace(counter) {
                        ended.increment(count);
                    }
                    count = 1;
                }
            }
        }
        if let Some(ended) = run {
            ended.increment(count);
        }
    }

    fn counter_of(&self, unit: &Unit, outcome: &Outcome) -> Option<&Counter> {
        let entity = self.entities.get(unit.entity)?;
        match (outcome, &unit.action) {
            (Outcome::Applied, Action::Write(..) | Action::WriteIfAbsent(..)) => Some(&entity.writes),
            (Outcome::Applied, Action::Patch(_)) => Some(&entity.patches),
            (Outcome::Applied, Action::Delete) => Some(&entity.deletes),
            (Outcome::Applied, Action::DeleteIf(_)) => Some(&entity.compared_deletes),
            (Outcome::Applied, Action::Guarded(_)) => Some(&entity.guarded),
            // The key is there already: what is owed to it is paid.
            (Outcome::Rejected, Action::WriteIfAbsent(..)) => None,
            (Outcome::Rejected, _) => Some(&entity.rejected),
            (Outcome::Refused(_) | Outcome::NotAcknowledged, _) => None,
        }
    }

    /// The oldest change of an entity in a batch that Redis has acknowledged: apply time minus commit time,
    /// both Unix milliseconds. A source clock that is ahead counts as 0.
    ///
    /// Once a batch and entity, not once a change: the exporter holds each sample (some 24 bytes) until the
    /// next upkeep, and at hundreds of thousands of changes a second that is tens of megabytes.
    pub fn fresh(&self, entity: usize, commit_ms: i64, applied_ms: i64) {
        if let Some(entity) = self.entities.get(entity) {
            let age_ms = u64::try_from(applied_ms.saturating_sub(commit_ms)).unwrap_or(0);
            entity.freshness.record(Duration::from_millis(age_ms).as_secs_f64());
        }
    }

    /// A lane was taken over.
    pub fn taken_over(&self) {
        self.take_overs.increment(1);
    }
}

impl EntityMetrics {
    fn new(name: &str) -> EntityMetrics {
        let mutations = |kind| counter!(table::MUTATIONS, "entity" => name.to_owned(), "kind" => kind);
        EntityMetrics {
            changes: counter!(table::CHANGES, "entity" => name.to_owned()),
            writes: mutations("write"),
            patches: mutations("patch"),
            purged: mutations("purge"),
            deletes: mutations("delete"),
            compared_deletes: mutations("delete_if"),
            guarded: mutations("guarded"),
            rejected: counter!(table::REJECTED, "entity" => name.to_owned()),
            undecided: counter!(table::UNDECIDED, "entity" => name.to_owned()),
            freshness: histogram!(table::FRESHNESS, "entity" => name.to_owned()),
        }
    }
}

/// A worker's handles of the running check.
#[derive(Debug)]
pub struct VerifyMetrics {
    entities: Vec<VerifiedEntity>,
}

#[derive(Debug)]
struct VerifiedEntity {
    checked: Counter,
    differences: [(Difference, Counter); Difference::ALL.len()],
}

impl VerifyMetrics {
    /// Handles for these entities, after [`install`]; 0 at once.
    pub fn new(entities: &[Entity]) -> VerifyMetrics {
        VerifyMetrics { entities: entities.iter().map(|entity| VerifiedEntity::new(&entity.name)).collect() }
    }

    /// A key was looked at, and this is how it differs, if it does.
    pub fn checked(&self, entity: usize, difference: Option<Difference>) {
        let Some(entity) = self.entities.get(entity) else { return };
        entity.checked.increment(1);
        let counters = entity.differences.iter().filter(|(known, _)| Some(*known) == difference);
        counters.for_each(|(_, counter)| counter.increment(1));
    }
}

impl VerifiedEntity {
    fn new(name: &str) -> VerifiedEntity {
        let difference = |difference: Difference| {
            let labels = [("entity", name.to_owned()), ("kind", difference.name().to_owned())];
            (difference, counter!(table::VERIFY_DIFFERENCES, &labels))
        };
        VerifiedEntity {
            checked: counter!(table::VERIFY_CHECKED, "entity" => name.to_owned()),
            differences: Difference::ALL.map(difference),
        }
    }
}

/// A record's error. `kind` is one of the names that errors have in the program.
pub fn record_error(stage: Stage, kind: &'static str) {
    counter!(table::RECORD_ERRORS, "stage" => stage.as_str(), "kind" => kind).increment(1);
}

/// A record was set aside in the dead letter topic.
pub fn dead_letter(stage: Stage) {
    counter!(table::DEAD_LETTERS, "stage" => stage.as_str()).increment(1);
}

/// A record was passed over under `on_error = "skip"`.
pub fn skipped(stage: Stage) {
    counter!(table::SKIPPED, "stage" => stage.as_str()).increment(1);
}

/// A batch is sent again.
pub fn retried(reason: &WorldError) {
    counter!(table::RETRIES, "reason" => reason_name(reason)).increment(1);
}

/// A lane's refill ended: `result` is `done` or `no_room`.
pub fn refilled(result: &'static str) {
    counter!(table::REFILLS, "result" => result).increment(1);
}

/// Keys of history that were written, and that were left out.
pub fn refill_counts(counts: &RefillCounts) {
    let RefillCounts { written, seen, moved, .. } = *counts;
    counter!(table::REFILL_MOVED).increment(moved);
    counter!(table::REFILL_KEYS, "result" => "written").increment(written);
    counter!(table::REFILL_KEYS, "result" => "seen").increment(seen);
}

/// A lane reads again what Redis had lost; `reason` is a fixed name (`missing`, `behind`).
pub fn rewound(reason: &'static str) {
    counter!(table::REWINDS, "reason" => reason).increment(1);
}

/// How often positions were committed, and how often that failed, since the start.
pub fn commits(ok_count: u64, failure_count: u64) {
    counter!(table::COMMITS, "result" => "ok").absolute(ok_count);
    counter!(table::COMMITS, "result" => "failed").absolute(failure_count);
}

/// Positions that retention took before they were read, since the start.
pub fn missed(by_topic: &BTreeMap<String, u64>) {
    for (topic, count) in by_topic {
        counter!(table::MISSED, "topic" => topic.clone()).absolute(*count);
    }
}

/// A bounded label: the server's code, or what happened to the connection. Never a node's address.
fn reason_name(error: &WorldError) -> &'static str {
    match error {
        WorldError::Timeout => "timeout",
        WorldError::Disconnected => "disconnected",
        WorldError::Unreachable { .. } => "unreachable",
        WorldError::NotNow { code } => code.as_str(),
        WorldError::Redirected => "redirected",
        WorldError::NoScript => "no_script",
        WorldError::Protocol => "protocol",
        WorldError::NotOwner => "not_owner",
        WorldError::Registry { .. } => "registry",
    }
}

#[cfg(test)]
mod tests;
