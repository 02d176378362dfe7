//! Metrics: counted by the engine through handles that each worker keeps, gauges read from the [`Snapshot`].
//!
//! Gauges are put together at each scrape, so that a lane that went to another process leaves none behind.
//! All names stand in [`table`]. Without [`install`] every count goes nowhere, at no cost.

pub mod table;

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
    for lane in snapshot.lanes.values() {
        let labels = [("topic", lane.topic.clone()), ("partition", lane.partition.to_string())];
        if let Some(lag) = lane.lag() {
            gauge!(table::LAG, &labels).set(lag as f64);
        }
        if let Some(age_ms) = lane.unapplied_age_ms(now_ms) {
            gauge!(table::UNAPPLIED_AGE, &labels).set(seconds(age_ms));
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
    deletes: Counter,
    compared_deletes: Counter,
    guarded: Counter,
    rejected: Counter,
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

    /// A record, or a change of it, with nothing to do.
    pub fn ignored(&mut self, why: Ignored) {
        // A handful of reasons: a search is quicker than a map.
        if let Some((_, counter)) = self.ignored.iter().find(|(known, _)| *known == why) {
            return counter.increment(1);
        }
        let counter = counter!(table::IGNORED, "reason" => why.as_str());
        counter.increment(1);
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

    /// What became of a unit. Refused ones count as errors of a record; those to be sent again not at all.
    pub fn outcome(&self, unit: &Unit, outcome: &Outcome) {
        let Some(entity) = self.entities.get(unit.entity) else { return };
        match (outcome, &unit.action) {
            (Outcome::Applied, Action::Write(..)) => entity.writes.increment(1),
            (Outcome::Applied, Action::Delete) => entity.deletes.increment(1),
            (Outcome::Applied, Action::DeleteIf(_)) => entity.compared_deletes.increment(1),
            (Outcome::Applied, Action::Guarded(_)) => entity.guarded.increment(1),
            (Outcome::Rejected, _) => entity.rejected.increment(1),
            (Outcome::Refused(_) | Outcome::NotAcknowledged, _) => {}
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
            deletes: mutations("delete"),
            compared_deletes: mutations("delete_if"),
            guarded: mutations("guarded"),
            rejected: counter!(table::REJECTED, "entity" => name.to_owned()),
            freshness: histogram!(table::FRESHNESS, "entity" => name.to_owned()),
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

/// A lane reads again what Redis had lost; `reason` is a fixed name (`missing`, `behind`).
pub fn rewound(reason: &'static str) {
    counter!(table::REWINDS, "reason" => reason).increment(1);
}

/// Positions were committed, or not.
pub fn committed(ok: bool) {
    counter!(table::COMMITS, "result" => if ok { "ok" } else { "failed" }).increment(1);
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
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use smallvec::smallvec;

    use super::super::status::{LaneStatus, Status};
    use super::*;
    use crate::batch::LaneName;
    use crate::mutation::{CacheKey, Expiry, StringKind, Value};

    fn lane(snapshot: &mut Snapshot) {
        let name = LaneName { topic: "t".into(), partition: 3 };
        let lane = LaneStatus {
            position: Some(8),
            high: Some(10),
            oldest_unapplied_ms: Some(1_000),
            ..LaneStatus::new(&name, Some(4))
        };
        snapshot.lanes.insert(("t".into(), 3), lane);
        snapshot.redis.clock_skew_ms = Some(-250);
        snapshot.redis.fencing_works = Some(true);
    }

    fn unit(action: Action) -> Unit {
        Unit { key: CacheKey::new(b"k"), action, offsets: smallvec![1], entity: 0 }
    }

    /// Counts one of everything and gives what `/metrics` shows.
    fn rendered() -> String {
        let recorder = recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            let mut worker = WorkerMetrics::new(&[]);
            worker.entities.push(EntityMetrics::new("customer"));
            TopicMetrics::new("t").records(3);
            worker.changes(0, 2);
            worker.changes(9, 2);
            worker.ignored(Ignored::Heartbeat);
            worker.ignored(Ignored::Heartbeat);
            worker.coalesced(1);
            worker.batch(Duration::from_millis(3), 5);
            let value = Value::String { kind: StringKind::Text, bytes: Vec::new() };
            worker.outcome(&unit(Action::Write(value, Expiry::Never)), &Outcome::Applied);
            worker.outcome(&unit(Action::Delete), &Outcome::Rejected);
            worker.outcome(&unit(Action::Delete), &Outcome::NotAcknowledged);
            worker.fresh(0, 1_000, 1_020);
            worker.fresh(0, 9_000, 1_020);
            worker.taken_over();
            record_error(Stage::Decode, "json");
            dead_letter(Stage::Decode);
            skipped(Stage::Handle);
            retried(&WorldError::Timeout);
            rewound("missing");
            committed(true);
        });
        let mut snapshot = Status::new(2_500).snapshot();
        lane(&mut snapshot);
        format!("{}{}", recorder.handle().render(), render_gauges(&snapshot, false, 3_000))
    }

    /// Name to kind and label names, as rendered.
    fn families(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
        let mut families = BTreeMap::new();
        for line in text.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            }
        }
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let series = line.rsplit_once(' ').expect("a sample").0;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let ends = ["", "_bucket", "_sum", "_count"];
            let base = ends.iter().filter_map(|end| name.strip_suffix(end));
            let family = base.into_iter().find(|base| families.contains_key(*base));
            let family = family.and_then(|base| families.get_mut(base));
            let names = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
            family
                .expect("a declared family")
                .1
                .extend(names.map(|(name, _)| name.to_owned()).filter(|name| name != "le"));
        }
        families
    }

    #[test]
    fn what_is_registered_is_what_the_table_says() {
        let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let documented: BTreeMap<_, _> = TABLE
            .iter()
            .map(|metric| (metric.name.to_owned(), (metric.kind.as_str().to_owned(), labels(metric.labels))))
            .collect();
        assert_eq!(families(&rendered()), documented);
    }

    #[test]
    fn names_follow_the_house_style() {
        for metric in TABLE {
            assert!(metric.name.starts_with("stoker_"), "{}", metric.name);
            let is_counter = metric.kind == MetricKind::Counter;
            assert_eq!(metric.name.ends_with("_total"), is_counter, "{}", metric.name);
            assert!(metric.meaning.ends_with('.') && !metric.meaning.contains('|'), "{}", metric.name);
        }
    }

    #[test]
    fn counts_and_ages_are_what_was_counted() {
        let text = rendered();
        for sample in [
            r#"stoker_records_total{topic="t"} 3"#,
            r#"stoker_changes_total{entity="customer"} 2"#,
            r#"stoker_ignored_records_total{reason="heartbeat"} 2"#,
            r#"stoker_mutations_total{entity="customer",kind="write"} 1"#,
            r#"stoker_mutations_total{entity="customer",kind="delete"} 0"#,
            r#"stoker_rejected_mutations_total{entity="customer"} 1"#,
            r#"stoker_freshness_seconds_bucket{entity="customer",le="0.025"} 2"#,
            r#"stoker_freshness_seconds_bucket{entity="customer",le="0.01"} 1"#,
            r#"stoker_retries_total{reason="timeout"} 1"#,
            r#"stoker_lag_records{topic="t",partition="3"} 6"#,
            r#"stoker_unapplied_age_seconds{topic="t",partition="3"} 2"#,
            r#"stoker_lanes{state="taking_over"} 1"#,
            r#"stoker_redis_clock_skew_seconds -0.25"#,
            "stoker_start_time_seconds 2.5",
            "stoker_ready 0",
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample} in\n{text}");
        }
    }

    #[test]
    fn a_lane_that_is_gone_leaves_no_gauge() {
        let mut snapshot = Status::new(0).snapshot();
        lane(&mut snapshot);
        assert!(render_gauges(&snapshot, true, 0).contains("stoker_lag_records"));
        snapshot.lanes.clear();
        assert!(!render_gauges(&snapshot, true, 0).contains("stoker_lag_records"));
    }
}
