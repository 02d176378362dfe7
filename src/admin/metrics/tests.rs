use std::collections::{BTreeMap, BTreeSet};

use smallvec::smallvec;

use super::super::status::{GuardStatus, LaneStatus, RefillStatus, Status};
use super::*;
use crate::batch::{LaneName, RefillMode};
use crate::mutation::{CacheKey, Expiry, StringKind, Value};
use crate::refill::RefillView;

fn lane(snapshot: &mut Snapshot) {
    let name = LaneName { topic: "t".into(), partition: 3 };
    let view = RefillView { top: 100, cursor: 25, slices: 1, ..RefillView::default() };
    let lane = LaneStatus {
        position: Some(8),
        high: Some(10),
        oldest_unapplied_ms: Some(1_000),
        owes: true,
        incomplete: vec!["board".into()],
        refill: Some(RefillStatus::new(&view, RefillMode::IfAbsent)),
        guards: vec![GuardStatus {
            entity: "customer".into(),
            seen: 9_000,
            rejected: 2_000,
            window: Some((2_000, 1_000)),
            rejects_nearly_all: false,
        }],
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
        worker.ignored(Ignored::Heartbeat, 1);
        worker.ignored(Ignored::Heartbeat, 1);
        worker.coalesced(1);
        worker.batch(Duration::from_millis(3), 5);
        let value = Value::String { kind: StringKind::Text, bytes: Vec::new() };
        let write = unit(Action::Write(value, Expiry::Never));
        let delete = unit(Action::Delete);
        // Runs of the same and changes between them.
        worker.outcomes(
            [
                (&write, &Outcome::Applied),
                (&write, &Outcome::Applied),
                (&delete, &Outcome::Rejected),
                (&delete, &Outcome::NotAcknowledged),
                (&write, &Outcome::Applied),
            ]
            .into_iter(),
        );
        worker.fresh(0, 1_000, 1_020);
        worker.fresh(0, 9_000, 1_020);
        worker.taken_over();
        let verify = VerifyMetrics { entities: vec![VerifiedEntity::new("customer")] };
        verify.checked(0, None);
        verify.checked(0, Some(Difference::Stale));
        verify.checked(9, None);
        record_error(Stage::Decode, "json");
        dead_letter(Stage::Decode);
        skipped(Stage::Handle);
        retried(&WorldError::Timeout);
        rewound("missing");
        refilled("done");
        refill_counts(&RefillCounts { written: 5, seen: 2, moved: 1, ..RefillCounts::default() });
        commits(1, 0);
        missed(&BTreeMap::from([("t".to_owned(), 4)]));
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
        r#"stoker_refill_covered_ratio{topic="t",partition="3"} 0.75"#,
        r#"stoker_refill_lanes 1"#,
        r#"stoker_changes_total{entity="customer"} 2"#,
        r#"stoker_ignored_records_total{reason="heartbeat"} 2"#,
        r#"stoker_mutations_total{entity="customer",kind="write"} 3"#,
        r#"stoker_mutations_total{entity="customer",kind="delete"} 0"#,
        r#"stoker_rejected_mutations_total{entity="customer"} 1"#,
        r#"stoker_freshness_seconds_bucket{entity="customer",le="0.025"} 2"#,
        r#"stoker_freshness_seconds_bucket{entity="customer",le="0.01"} 1"#,
        r#"stoker_retries_total{reason="timeout"} 1"#,
        r#"stoker_lag_records{topic="t",partition="3"} 6"#,
        r#"stoker_unapplied_age_seconds{topic="t",partition="3"} 2"#,
        r#"stoker_guard_rejected_ratio{entity="customer",topic="t",partition="3"} 0.5"#,
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
