//! What a worker asks for, and what it leaves alone.

use super::*;
use crate::batch::{Epoch, Outcome, Owed, RefillMode, Standing, WatermarkSeen};
use crate::decode::{SchemaId, SchemaKind, Side, UnknownSchema, Wire};
use crate::entity::testing::{mapping, write};
use crate::lane::OnRefused;
use crate::record::OwnedRecord;
use crate::record::Position;
use crate::refill::{HistoryRequest, RefillOptions, RefillRequest};

const REFILL: RefillOptions =
    RefillOptions { window_records: 10, window_bytes: 1_000, seen_max: 100, seed: 1 };
const LANE: LaneId = LaneId(1);

fn at(ms: u64) -> Now {
    Now { monotonic: Duration::from_millis(ms), unix_ms: 0 }
}

fn options() -> WorkerOptions {
    let lane =
        LaneOptions { batch_records: 8, batch_bytes: 1_000, on_refused: OnRefused::Skip, refill: REFILL };
    WorkerOptions {
        lane,
        batches_bytes: 1 << 20,
        backlog_bytes: 1_000,
        backlog_records: 8,
        breaker_share: 1.0,
        breaker_of: 8,
        refill_rate: None,
        workers: 1,
    }
}

/// A worker whose one lane was assigned and is to be released; what it asked for meanwhile.
fn released(committed: Option<Position>) -> (Worker<OwnedRecord>, Vec<Action>) {
    let mut worker = Worker::new(Pipeline::new(Arc::from([])), options());
    let name = LaneName { topic: "t".to_owned(), partition: 0 };
    let assignment =
        Assignment { lane: LANE, name, committed, start: 5, low: 0, above: Epoch(0), owed: None };
    let mut out = Vec::new();
    worker.apply(Input::Source(ToWorker::Assign(assignment)), at(0), &mut out);
    let (done, _) = std::sync::mpsc::sync_channel(1);
    let release = ToWorker::Release { lanes: vec![LANE], within: Duration::from_secs(9), done };
    worker.apply(Input::Source(release), at(1), &mut out);
    (worker, out)
}

fn taken() -> Input<OwnedRecord> {
    Input::Claimed(LANE, Ok(Taken { epoch: Epoch(1), standing: Standing::Intact, owed: None }))
}

#[test]
fn a_lane_is_not_left_while_its_claim_is_out() {
    let (mut worker, mut out) = released(Some(5));
    assert!(matches!(out.as_slice(), [Action::Claim(_)]), "{out:?}");
    out.clear();
    worker.apply(taken(), at(2), &mut out);
    let look = match out.pop() {
        Some(Action::Apply(batch)) if out.is_empty() => batch,
        other => panic!("its first look is out: {other:?}"),
    };
    let seen = Outcomes { units: Vec::new(), watermark: WatermarkSeen::Current, error: None };
    worker.apply(Input::Applied(look, seen), at(3), &mut out);
    assert!(matches!(out.as_slice(), [Action::Leave(LANE)]), "{out:?}");
}

#[test]
fn nothing_of_a_lane_is_sent_while_the_sink_leaves_it() {
    let (mut worker, mut out) = released(Some(5));
    let refused = Err(WorldError::Disconnected);
    out.clear();
    worker.apply(Input::Claimed(LANE, refused), at(2), &mut out);
    assert!(matches!(out.as_slice(), [Action::Leave(LANE)]), "{out:?}");
    out.clear();
    for ms in [100, 1_000, 8_000] {
        worker.apply(Input::Tick, at(ms), &mut out);
        worker.apply(taken(), at(ms), &mut out);
    }
    assert!(out.is_empty(), "{out:?}");
}

/// A worker with a registry and two lanes of a topic of framed rows, both taken over.
fn framed_rows() -> (Worker<OwnedRecord>, Vec<Action>) {
    let mut rows = mapping(vec![write("row:{id}")]);
    rows.topics = crate::entity::Topics::Names(vec!["t".to_owned()]);
    rows.format = crate::decode::Format::Rows;
    let pipeline = Pipeline::new(Arc::from([rows])).with_registry(Wire::default());
    let mut worker = Worker::new(pipeline, options());
    let mut out = Vec::new();
    for (id, partition) in [(1, 0), (2, 1)] {
        let name = LaneName { topic: "t".to_owned(), partition };
        let (lane, above) = (LaneId(id), Epoch(0));
        let assignment = Assignment { lane, name, committed: Some(0), start: 0, low: 0, above, owed: None };
        worker.apply(Input::Source(ToWorker::Assign(assignment)), at(0), &mut out);
        let taken = Ok(Taken { epoch: Epoch(1), standing: Standing::Intact, owed: None });
        worker.apply(Input::Claimed(lane, taken), at(0), &mut out);
    }
    for action in std::mem::take(&mut out) {
        if let Action::Apply(look) = action {
            let seen = Outcomes { units: Vec::new(), watermark: WatermarkSeen::Current, error: None };
            worker.apply(Input::Applied(look, seen), at(0), &mut out);
        }
    }
    out.clear();
    for (id, partition) in [(1, 0), (2, 1)] {
        let record = OwnedRecord {
            topic: "t".to_owned(),
            partition,
            key: None,
            value: Some(vec![0, 0, 0, 0, 9, 14]),
            ..OwnedRecord::default()
        };
        let records = vec![Delivery { lane: LaneId(id), reading: 0, record }];
        worker.apply(Input::Source(ToWorker::Records(records)), at(1), &mut out);
    }
    (worker, out)
}

const SCHEMA: SchemaRef = SchemaRef { id: SchemaId::Number(9), side: Side::Value };

fn outage() -> Input<OwnedRecord> {
    let error = WorldError::Registry { place: "h:1".into(), what: "cannot be reached".into() };
    Input::Schema(SCHEMA, Err(NotTold::World(error)))
}

fn written(actions: &[Action]) -> Vec<String> {
    let batches = actions.iter().filter_map(|action| match action {
        Action::Apply(batch) => Some(batch),
        _ => None,
    });
    batches.flat_map(|batch| batch.units.iter().map(|unit| unit.key.to_string())).collect()
}

#[test]
fn a_window_of_a_refill_that_began_anew_is_not_taken_for_its_successors() {
    let mut rows = mapping(vec![write("row:{id}")]);
    rows.topics = crate::entity::Topics::Names(vec!["t".to_owned()]);
    let mut worker = Worker::new(Pipeline::new(Arc::from([rows])), options());
    let name = LaneName { topic: "t".to_owned(), partition: 0 };
    // A former owner had begun what is asked for.
    let owed = Some(Owed::all(50, RefillMode::IfAbsent));
    let assignment =
        Assignment { lane: LANE, name, committed: Some(90), start: 90, low: 0, above: Epoch(0), owed };
    let mut out = Vec::new();
    worker.apply(Input::Source(ToWorker::Assign(assignment)), at(0), &mut out);
    let taken = Ok(Taken { epoch: Epoch(1), standing: Standing::Intact, owed });
    worker.apply(Input::Claimed(LANE, taken), at(0), &mut out);
    let mut windows = Vec::new();
    let mut run = |worker: &mut Worker<OwnedRecord>, input, windows: &mut Vec<HistoryRequest>| {
        worker.apply(input, at(1), &mut out);
        while let Some(action) = out.pop() {
            match action {
                Action::Apply(batch) => {
                    let seen = Outcomes { units: Vec::new(), watermark: WatermarkSeen::Current, error: None };
                    worker.apply(Input::Applied(batch, seen), at(1), &mut out);
                }
                Action::Source(ToSource::History { request, .. }) => windows.push(request),
                _ => {}
            }
        }
    };
    run(&mut worker, Input::Tick, &mut windows);
    let request: RefillRequest = serde_json::from_str(r#"{"id":"1-a","overwrite":false}"#).unwrap();
    let asked = RefillAsked { request, lanes: BTreeMap::new() };
    run(&mut worker, Input::RefillAsked(Some(asked)), &mut windows);
    let [first, anew] = windows[..] else { panic!("one window each: {windows:?}") };
    let end = Some((first.until - first.records, 0));
    let late = History { lane: LANE, number: first.number, records: Vec::new(), end, growth: None };
    run(&mut worker, Input::Source(ToWorker::History(late)), &mut windows);
    assert_eq!(windows, [first, anew], "what was read for the one that is gone covers nothing");
}

#[test]
fn lanes_wait_for_a_schema_that_is_fetched_once_and_go_on_when_it_is_told() {
    let (mut worker, mut out) = framed_rows();
    assert!(matches!(out.as_slice(), [Action::FetchSchema(SCHEMA)]), "{out:?}");
    assert!(worker.views().iter().all(|view| view.activity == Activity::AwaitingSchema));
    out.clear();
    worker.apply(outage(), at(2), &mut out);
    assert!(out.is_empty(), "it is asked for again after a pause: {out:?}");
    assert!(worker.views().iter().all(|view| view.schema_error.is_some()));
    let again = worker.next_wake().unwrap();
    worker.apply(Input::Tick, Now { monotonic: again, unix_ms: 0 }, &mut out);
    assert!(matches!(out.as_slice(), [Action::FetchSchema(SCHEMA)]), "{out:?}");
    out.clear();
    let text = r#"{"type":"record","name":"r","fields":[{"name":"id","type":"long"}]}"#.to_owned();
    let told = RegisteredSchema { kind: SchemaKind::Avro, text, references: Vec::new() };
    worker.apply(Input::Schema(SCHEMA, Ok(told)), at(9_000), &mut out);
    assert_eq!(written(&out), ["row:7", "row:7"]);
}

#[test]
fn a_registry_that_is_away_for_long_has_the_partitions_paused_and_no_record_fails() {
    let (mut worker, mut out) = framed_rows();
    out.clear();
    for minutes in 0..60 {
        worker.apply(outage(), at(minutes * 60_000), &mut out);
        worker.apply(Input::Tick, at(minutes * 60_000 + 30_000), &mut out);
    }
    let paused = out.iter().filter(|action| matches!(action, Action::Source(ToSource::Pause(_)))).count();
    assert_eq!(paused, 2);
    assert_eq!(worker.take_counts().failures.len(), 0);
}

#[test]
fn a_schema_that_the_registry_does_not_have_is_the_records_error_after_the_grace_time() {
    let (mut worker, mut out) = framed_rows();
    let unknown = || Input::Schema(SCHEMA, Err(NotTold::Unknown(UnknownSchema { place: "h:1".into() })));
    worker.apply(unknown(), at(100), &mut out);
    worker.apply(Input::Tick, at(10_000), &mut out);
    worker.apply(unknown(), at(10_001), &mut out);
    assert_eq!(worker.take_counts().failures.len(), 0, "within the grace time");
    worker.apply(Input::Tick, at(40_000), &mut out);
    worker.apply(unknown(), at(40_001), &mut out);
    let failures = worker.take_counts().failures;
    assert_eq!(failures.len(), 2);
    assert!(failures.iter().all(|failed| failed.kind == "schema" && failed.detail.contains("h:1")));
}

#[test]
fn a_lane_that_waits_for_a_schema_can_be_given_back() {
    let (mut worker, mut out) = framed_rows();
    out.clear();
    let (done, _) = std::sync::mpsc::sync_channel(1);
    let release =
        ToWorker::Release { lanes: vec![LaneId(1), LaneId(2)], within: Duration::from_secs(9), done };
    worker.apply(Input::Source(release), at(10), &mut out);
    let left = out.iter().filter(|action| matches!(action, Action::Leave(_))).count();
    assert_eq!(left, 2, "{out:?}");
}

/// A worker with one lane of rows that are guarded by offset, taken over; nothing is in flight.
fn guarded_rows() -> Worker<OwnedRecord> {
    let lane = LaneOptions { batch_records: 100, batch_bytes: 1 << 20, ..options().lane };
    rows_under(WorkerOptions { lane, backlog_bytes: 1 << 20, backlog_records: 1_000, ..options() })
}

fn rows_under(options: WorkerOptions) -> Worker<OwnedRecord> {
    let mut rows = mapping(vec![write("row:{id}")]);
    rows.topics = crate::entity::Topics::Names(vec!["t".to_owned()]);
    rows.format = crate::decode::Format::Rows;
    rows.guard = Some(crate::entity::GuardRule { by: crate::entity::GuardBy::Offset, epoch: 0 });
    let mut worker = Worker::new(Pipeline::new(Arc::from([rows])), options);
    let name = LaneName { topic: "t".to_owned(), partition: 0 };
    let assignment =
        Assignment { lane: LANE, name, committed: Some(0), start: 0, low: 0, above: Epoch(0), owed: None };
    let mut out = Vec::new();
    worker.apply(Input::Source(ToWorker::Assign(assignment)), at(0), &mut out);
    worker.apply(taken(), at(0), &mut out);
    answer(&mut worker, out, &Outcome::Applied);
    worker
}

/// Answers every batch, each unit with this outcome, until none is out.
fn answer(worker: &mut Worker<OwnedRecord>, mut out: Vec<Action>, outcome: &Outcome) {
    while let Some(action) = out.pop() {
        if let Action::Apply(batch) = action {
            let units = vec![outcome.clone(); batch.units.len()];
            let seen = Outcomes { units, watermark: WatermarkSeen::Current, error: None };
            worker.apply(Input::Applied(batch, seen), at(0), &mut out);
        }
    }
}

/// The row of that number.
fn row(offset: i64) -> OwnedRecord {
    let text = format!(r#"{{"id":{offset}}}"#).into_bytes();
    let (key, value) = (Some(text.clone()), Some(text));
    OwnedRecord { topic: "t".to_owned(), offset, key, value, ..OwnedRecord::default() }
}

fn deliver(worker: &mut Worker<OwnedRecord>, offsets: std::ops::Range<i64>, outcome: &Outcome) {
    for offset in offsets {
        let records = vec![Delivery { lane: LANE, reading: 0, record: row(offset) }];
        let mut out = Vec::new();
        worker.apply(Input::Source(ToWorker::Records(records)), at(1), &mut out);
        answer(worker, out, outcome);
    }
}

#[test]
fn the_batches_of_many_lanes_together_have_a_bound() {
    let units_of_a_batch = |lanes: u64| {
        let lane = LaneOptions { batch_records: 10_000, batch_bytes: 1 << 20, ..options().lane };
        let (batches_bytes, backlog_bytes) = (256 << 10, 1 << 20);
        let options =
            WorkerOptions { lane, batches_bytes, backlog_bytes, backlog_records: 10_000, ..options() };
        let mut worker = rows_under(options);
        let mut out = Vec::new();
        for lane in 2..=lanes {
            let name = LaneName { topic: "t".to_owned(), partition: lane as i32 };
            let (lane, committed, above) = (LaneId(lane), Some(0), Epoch(0));
            let assignment = Assignment { lane, name, committed, start: 0, low: 0, above, owed: None };
            worker.apply(Input::Source(ToWorker::Assign(assignment)), at(0), &mut out);
        }
        out.clear();
        let records = (0..9_000).map(|offset| Delivery { lane: LANE, reading: 0, record: row(offset) });
        worker.apply(Input::Source(ToWorker::Records(records.collect())), at(1), &mut out);
        let [Action::Apply(batch)] = &out[..] else { panic!("one batch") };
        batch.units.len()
    };
    let of_one = units_of_a_batch(1);
    assert!((500..4_000).contains(&of_one), "256 KiB of some hundred bytes each: {of_one}");
    let of_four = units_of_a_batch(4);
    assert!(of_four.abs_diff(of_one / 4) < of_one / 20, "{of_four} of {of_one}");
    let of_many = units_of_a_batch(100);
    assert!(
        of_many.abs_diff(of_one / 8) < of_one / 20,
        "{of_many} of {of_one}: 32 KiB, or each would be a waste"
    );
}

#[test]
fn a_lane_whose_records_the_guard_refuses_is_alarmed_of_once_and_ends() {
    let window = i64::try_from(REJECT_WINDOW_UNITS).unwrap();
    let mut worker = guarded_rows();
    let turns = |worker: &mut Worker<OwnedRecord>| {
        let turned = worker.take_counts().guard_alarms;
        turned.into_iter().map(|(lane, view)| (lane.partition, view.alarmed)).collect::<Vec<_>>()
    };
    deliver(&mut worker, 0..window, &Outcome::Applied);
    assert_eq!(turns(&mut worker), []);
    deliver(&mut worker, window..3 * window, &Outcome::Rejected);
    assert_eq!(turns(&mut worker), [(0, true)]);
    let [view] = worker.views().remove(0).guards[..] else { panic!("one entity") };
    let expected = GuardView {
        entity: 0,
        seen: 3 * REJECT_WINDOW_UNITS,
        rejected: 2 * REJECT_WINDOW_UNITS,
        window: Some((REJECT_WINDOW_UNITS, REJECT_WINDOW_UNITS)),
        alarmed: true,
    };
    assert_eq!(view, expected);
    deliver(&mut worker, 3 * window..4 * window, &Outcome::Applied);
    assert_eq!(turns(&mut worker), [(0, false)]);
}
