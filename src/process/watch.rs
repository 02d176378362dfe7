//! What workers and the source tell, made into metrics, logs and the admin side's view.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{error, info, warn};

use super::applied::Applied;
use crate::admin::metrics::{self, TopicMetrics, WorkerMetrics};
use crate::admin::{
    DependencyStatus, GUARD_HINT, GuardStatus, LaneState, LaneStatus, RedisStatus, RefillStatus, Status,
    VerifyStatus,
};
use crate::batch::{Batch, LaneId, Outcomes};
use crate::clock::SystemClock;
use crate::dead_letter::Stage;
use crate::engine::Observer;
use crate::entity::Entity;
use crate::error::WorldError;
use crate::lane::{Activity, Loss, RefillNews};
use crate::settings::{OnError, Settings};
use crate::sink::redis::RedisSink;
use crate::source::kafka;
use crate::telemetry::{SUMMED_EVERY, SummedLog};
use crate::worker::{Counts, GuardView, LaneView};

/// What each worker last told: one slot a worker, bounded by its lanes.
#[derive(Debug)]
pub(super) struct Board {
    workers: Vec<Mutex<Told>>,
    entities: Arc<[Entity]>,
}

/// One worker's word.
#[derive(Debug, Default, Clone)]
struct Told {
    lanes: Vec<LaneView>,
    redis: RedisStatus,
    /// Why the dead letter topic takes no letters, while it does not.
    letters: Option<String>,
    /// What the running check has found.
    verify: Option<VerifyStatus>,
}

impl Board {
    pub(super) fn new(workers: usize, entities: Arc<[Entity]>) -> Board {
        Board { workers: (0..workers).map(|_| Mutex::default()).collect(), entities }
    }

    /// Entities that read the topic and keep sets or sorted sets.
    fn with_members(&self, topic: &str) -> Vec<String> {
        let keeps = |entity: &&Entity| {
            entity.topics.matches(topic) && entity.handler.keys().iter().any(|key| key.member().is_some())
        };
        self.entities.iter().filter(keeps).map(|entity| entity.name.to_string()).collect()
    }

    fn guard(&self, view: &GuardView) -> Option<GuardStatus> {
        Some(GuardStatus {
            entity: self.entities.get(view.entity)?.name.to_string(),
            seen: view.seen,
            rejected: view.rejected,
            window: view.window,
            rejects_nearly_all: view.alarmed,
        })
    }

    fn tell(&self, worker: usize, told: Told) {
        if let Some(slot) = self.workers.get(worker) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = told;
        }
    }

    /// Puts the workers' and the source's words together.
    pub(super) fn show(&self, status: &Status, source: &kafka::Status) {
        let picture = source.picture();
        metrics::commits(picture.commit_count, picture.commit_failure_count);
        metrics::missed(&picture.missed);
        let told: Vec<Told> = self
            .workers
            .iter()
            .map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect();
        let views: HashMap<(&str, i32), &LaneView> = told
            .iter()
            .flat_map(|told| &told.lanes)
            .map(|view| ((view.name.topic.as_str(), view.name.partition), view))
            .collect();
        let redis_error = told.iter().find_map(|told| told.redis.dependency.error.clone());
        let letters_error = told.iter().find_map(|told| told.letters.clone());
        let lanes: BTreeMap<(String, i32), LaneStatus> = picture
            .partitions
            .iter()
            .map(|partition| {
                let name = &partition.name;
                let mut lane = LaneStatus::new(name, partition.committed);
                lane.high = partition.high;
                lane.paused = partition.paused;
                if let Some(view) = views.get(&(name.topic.as_str(), name.partition)) {
                    lane.state = if view.draining { LaneState::Draining } else { state(view.activity) };
                    lane.position = (lane.state != LaneState::TakingOver).then_some(view.applied);
                    lane.read_to = partition.read_to.filter(|_| view.applied >= partition.position);
                    lane.oldest_unapplied_ms = view.oldest_ms;
                    lane.owes = view.owes;
                    lane.incomplete = if view.owes { self.with_members(&name.topic) } else { Vec::new() };
                    lane.refill = view.refill.map(|(view, mode)| RefillStatus::new(&view, mode));
                    lane.guards = view.guards.iter().filter_map(|guard| self.guard(guard)).collect();
                    if lane.state == LaneState::AwaitingSchema {
                        lane.last_error.clone_from(&view.schema_error);
                    }
                    if lane.state == LaneState::Backoff {
                        lane.last_error = redis_error.clone().or_else(|| letters_error.clone());
                    }
                }
                ((name.topic.clone(), name.partition), lane)
            })
            .collect();
        let idle = lanes.is_empty();
        status.update(|snapshot| {
            snapshot.polled_ms = (picture.polled_at_ms > 0).then_some(picture.polled_at_ms);
            snapshot.joined = picture.assignment_count > 0;
            snapshot.kafka = DependencyStatus { up: picture.connected, error: picture.error };
            snapshot.redis = RedisStatus {
                dependency: DependencyStatus {
                    // A process without lanes asks nothing of Redis.
                    up: redis_error.is_none() && (idle || told.iter().any(|told| told.redis.dependency.up)),
                    error: redis_error,
                },
                clock_skew_ms: told
                    .iter()
                    .filter_map(|told| told.redis.clock_skew_ms)
                    .max_by_key(|skew| skew.unsigned_abs()),
                fencing_works: told.iter().filter_map(|told| told.redis.fencing_works).min(),
            };
            let verify = told.iter().filter_map(|told| told.verify);
            snapshot.verify = verify.reduce(|sum, more| VerifyStatus {
                checked: sum.checked + more.checked,
                differences: sum.differences + more.differences,
            });
            snapshot.lanes = lanes;
        });
    }
}

fn state(activity: Activity) -> LaneState {
    match activity {
        Activity::TakingOver => LaneState::TakingOver,
        Activity::Filling => LaneState::Filling,
        Activity::InFlight => LaneState::InFlight,
        Activity::Backoff | Activity::GivenUp => LaneState::Backoff,
        Activity::Rewinding => LaneState::Rewinding,
        Activity::Purging => LaneState::Purging,
        Activity::AwaitingSchema => LaneState::AwaitingSchema,
    }
}

/// Hears one worker.
pub(super) struct Watcher<'a> {
    worker: usize,
    settings: &'a Settings,
    clock: SystemClock,
    board: &'a Board,
    sink: &'a RedisSink,
    check: Option<&'a Applied<'a>>,
    inner: RefCell<Inner>,
}

struct Inner {
    metrics: WorkerMetrics,
    topics: HashMap<String, TopicMetrics>,
    failures: SummedLog<(Stage, &'static str)>,
    world: SummedLog<String>,
    schemas: SummedLog<String>,
    truncates: SummedLog<()>,
    redis: DependencyStatus,
    letters: SummedLog<String>,
    letters_error: Option<String>,
}

impl Inner {
    /// Redis answered, or did not. Told as it happens and not when the counters are taken: an error that has
    /// passed would come after the success that ended it, and stand until the next batch.
    fn redis_answered(&mut self, error: Option<&WorldError>, now: Duration) {
        if let Some(error) = error {
            metrics::retried(error);
        }
        match error {
            // A slot on its way is no fault of Redis; a lane that another has is told as such.
            Some(WorldError::Redirected | WorldError::NotOwner) => {}
            Some(error) => {
                if let Some(count) = self.world.hit(error.to_string(), now) {
                    warn!(
                        %error,
                        count,
                        "Redis does not take writes for now; nothing is lost, they are sent again"
                    );
                }
                self.redis = DependencyStatus { up: false, error: Some(error.to_string()) };
            }
            None => {
                if !self.redis.up && self.redis.error.is_some() {
                    info!("Redis takes writes again");
                }
                self.redis = DependencyStatus { up: true, error: None };
            }
        }
    }
}

impl<'a> Watcher<'a> {
    pub(super) fn new(
        worker: usize,
        settings: &'a Settings,
        clock: SystemClock,
        board: &'a Board,
        sink: &'a RedisSink,
        check: Option<&'a Applied<'a>>,
    ) -> Watcher<'a> {
        let inner = RefCell::new(Inner {
            metrics: WorkerMetrics::new(&settings.entities),
            topics: HashMap::new(),
            failures: SummedLog::new(SUMMED_EVERY),
            world: SummedLog::new(SUMMED_EVERY),
            schemas: SummedLog::new(SUMMED_EVERY),
            truncates: SummedLog::new(SUMMED_EVERY),
            redis: DependencyStatus::default(),
            letters: SummedLog::new(SUMMED_EVERY),
            letters_error: None,
        });
        Watcher { worker, settings, clock, board, sink, check, inner }
    }

    fn log(&self, inner: &mut Inner, counts: &Counts, now: Duration) {
        for failed in &counts.failures {
            metrics::record_error(failed.stage, failed.kind);
            if self.settings.errors.on_error == OnError::Skip {
                metrics::skipped(failed.stage);
            }
            let entity = failed.entity.and_then(|index| self.settings.entities.get(index));
            if let Some(count) = inner.failures.hit((failed.stage, failed.kind), now) {
                warn!(
                    topic = failed.lane.topic,
                    partition = failed.lane.partition,
                    offset = failed.offset,
                    entity = entity.map(|entity| &*entity.name),
                    stage = failed.stage.as_str(),
                    kind = failed.kind,
                    count,
                    detail = failed.detail,
                    "a record failed"
                );
            }
        }
        for (lane, offset) in &counts.truncates {
            if let Some(count) = inner.truncates.hit((), now) {
                warn!(
                    topic = lane.topic,
                    partition = lane.partition,
                    offset,
                    count,
                    "the table was truncated: its keys stay until their ttl (truncate = \"ignore\")"
                );
            }
        }
        let name_of = |entity: usize| self.settings.entities.get(entity).map(|entity| &*entity.name);
        for (lane, offset, entity) in &counts.truncated {
            info!(
                topic = lane.topic,
                partition = lane.partition,
                offset,
                entity = name_of(*entity),
                "the table was truncated: its keys are deleted, and the partition waits meanwhile"
            );
        }
        for (lane, entity, deleted) in &counts.purges_done {
            info!(
                topic = lane.topic,
                partition = lane.partition,
                entity = name_of(*entity),
                deleted,
                "the keys of the truncated table are deleted"
            );
        }
        for (schema, reason) in &counts.schemas_untold {
            if let Some(count) = inner.schemas.hit(reason.clone(), now) {
                warn!(
                    %schema,
                    reason,
                    count,
                    "a schema is not known yet: the lanes whose records name it wait, and nothing is lost"
                );
            }
        }
        for (lane, from, loss) in &counts.rewinds {
            let (topic, partition) = (&lane.topic, lane.partition);
            match loss {
                Loss::Missing => {
                    metrics::rewound("missing");
                    error!(
                        topic,
                        partition, from, "Redis lost its data: the partition's history is refilled"
                    );
                }
                Loss::Behind => {
                    metrics::rewound("behind");
                    error!(
                        topic,
                        partition,
                        from,
                        "Redis went back to an older state: the partition is read again from there"
                    );
                }
                Loss::Owner => {}
            }
        }
        for (lane, news) in &counts.refills {
            let (topic, partition) = (&lane.topic, lane.partition);
            match news {
                RefillNews::Began(owed) => info!(
                    topic,
                    partition,
                    below = owed.below,
                    mode = owed.mode.as_str(),
                    "refill: the history is walked through backwards, newest first"
                ),
                RefillNews::PlacedOtherwise => warn!(
                    topic,
                    partition,
                    "refill: the topic has more partitions than it had, and its records are not placed by Kafka's own \
                     hash: what a former partition holds of a key that has moved may come back with an old value"
                ),
                RefillNews::Done(counts) => {
                    metrics::refilled("done");
                    metrics::refill_counts(counts);
                    info!(
                        topic,
                        partition,
                        read = counts.read,
                        written = counts.written,
                        seen = counts.seen,
                        failed = counts.failed,
                        moved = counts.moved,
                        "refill: done"
                    );
                }
                RefillNews::NoRoom(counts) => {
                    metrics::refilled("no_room");
                    metrics::refill_counts(counts);
                    error!(
                        topic,
                        partition,
                        read = counts.read,
                        written = counts.written,
                        "refill: ended early, for Redis is out of memory; keys that are not covered come with their \
                         next change"
                    );
                }
            }
        }
        for (lane, guard) in &counts.guard_alarms {
            let entity = self.settings.entities.get(guard.entity).map(|entity| &*entity.name);
            let (of, rejected) = guard.window.unwrap_or_default();
            let (topic, partition) = (&lane.topic, lane.partition);
            if guard.alarmed {
                warn!(
                    topic,
                    partition, entity, rejected, of, "the version guard refuses nearly all: {GUARD_HINT}"
                );
            } else {
                info!(topic, partition, entity, rejected, of, "the version guard lets changes through again");
            }
        }
        for lane in &counts.given_up {
            warn!(
                topic = lane.topic,
                partition = lane.partition,
                "another owner has taken the lane: it is lost to this process, which writes nothing more of it"
            );
        }
        for ((stage, kind), count) in inner.failures.overdue(now) {
            warn!(stage = stage.as_str(), kind, count, "records failed since the last line of this kind");
        }
        for (reason, count) in inner.schemas.overdue(now) {
            warn!(reason, count, "schemas were not told since the last line of this kind");
        }
        for (error, count) in inner.world.overdue(now) {
            warn!(error, count, "since the last line of this kind");
        }
    }
}

impl Observer for Watcher<'_> {
    fn observe(&self, counts: Counts, lanes: Vec<LaneView>) {
        let now = self.clock.now();
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        for (topic, count) in &counts.records {
            inner.topics.entry(topic.clone()).or_insert_with(|| TopicMetrics::new(topic)).records(*count);
        }
        for (entity, count) in &counts.changes {
            inner.metrics.changes(*entity, *count);
        }
        for (entity, count) in &counts.undecided {
            inner.metrics.undecided(*entity, *count);
        }
        for (entity, count) in &counts.purged {
            inner.metrics.purged(*entity, *count);
        }
        inner.metrics.coalesced(counts.coalesced);
        for (why, count) in counts.ignored.values() {
            inner.metrics.ignored(*why, *count);
        }
        for _ in 0..counts.taken_over {
            inner.metrics.taken_over();
        }
        self.log(inner, &counts, now.monotonic);
        let nodes = self.sink.nodes();
        let redis = RedisStatus {
            dependency: inner.redis.clone(),
            clock_skew_ms: nodes
                .iter()
                .map(|node| node.clock_offset_ms)
                .max_by_key(|skew| skew.unsigned_abs()),
            fencing_works: (!nodes.is_empty()).then(|| self.sink.fencing_works()),
        };
        self.board.tell(
            self.worker,
            Told {
                lanes,
                redis,
                letters: inner.letters_error.clone(),
                verify: self.check.map(Applied::status),
            },
        );
    }

    fn batch_sent(&self, batch: &Batch) {
        if let Some(check) = self.check {
            check.sent(batch);
        }
    }

    fn purge_sent(&self, entity: usize) {
        if let Some(check) = self.check {
            check.purged(entity);
        }
    }

    fn lane_left(&self, lane: LaneId) {
        if let Some(check) = self.check {
            check.left(lane);
        }
    }

    fn batch_answered(&self, batch: &Batch, outcomes: &Outcomes, took: Duration, now_ms: i64) {
        if let Some(check) = self.check {
            check.answered(batch, outcomes);
        }
        let mut inner = self.inner.borrow_mut();
        inner.metrics.batch(took, batch.units.len());
        inner.metrics.outcomes(batch.units.iter().zip(&outcomes.units));
        if outcomes.error.is_none() {
            for (entity, commit_ms) in &batch.commits {
                inner.metrics.fresh(*entity, *commit_ms, now_ms);
            }
        }
        inner.redis_answered(outcomes.error.as_ref(), self.clock.now().monotonic);
    }

    fn claim_answered(&self, error: Option<&WorldError>) {
        self.inner.borrow_mut().redis_answered(error, self.clock.now().monotonic);
    }

    fn letters_sent(&self, stages: &[Stage], error: Option<&WorldError>) {
        stages.iter().copied().for_each(metrics::dead_letter);
        let mut inner = self.inner.borrow_mut();
        let OnError::DeadLetter { topic } = &self.settings.errors.on_error else { return };
        match error {
            Some(error) => {
                if let Some(count) = inner.letters.hit(error.to_string(), self.clock.now().monotonic) {
                    warn!(
                        topic,
                        %error,
                        count,
                        "the dead letter topic does not take letters for now: their lane waits, nothing is skipped"
                    );
                }
                inner.letters_error = Some(format!("no letters to {topic:?}: {error}"));
            }
            None => {
                if inner.letters_error.take().is_some() {
                    info!(topic, "the dead letter topic takes letters again");
                }
            }
        }
    }
}
