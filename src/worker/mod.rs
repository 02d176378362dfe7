//! Owns lanes, and turns one input at a time into actions.
//!
//! The process is `loop { let input = select().await; worker.apply(input) }`: `apply` is synchronous, owns all
//! state, and does no IO; whoever drives it carries out the [`Action`]s (`run` with the real parts, the
//! simulation with a model). Memory is bounded by [`Worker::hungry`]: a driver hands in records only while it
//! is true.

mod breaker;
mod counts;
mod handle;
mod schemas;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::breaker::Breaker;
pub use self::counts::{Counts, Failed, LaneView};
use self::handle::handle;
use self::schemas::Wanted;
pub use self::schemas::{NotTold, SCHEMA_GRACE};
use crate::batch::{Batch, Claim, LaneId, LaneName, Outcomes, Purge, Purged, Taken};
use crate::clock::Now;
use crate::dead_letter::{PendingLetter, Stage, Unsent};
use crate::decode::{RegisteredSchema, SchemaRef};
use crate::entity::Entity;
use crate::error::WorldError;
use crate::lane::{Act, Activity, Lane, LaneOptions, Phase, STALLED_AFTER, Tally};
use crate::pipeline::Pipeline;
use crate::record::{AsRecord, Record};
use crate::source::{Assignment, Delivery, Released, StopReason, Stored, ToSource, ToWorker};

/// Bounds and policy of a worker.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// Of each lane.
    pub lane: LaneOptions,
    /// Bytes of records that wait for their lanes, over all lanes of the worker.
    pub backlog_bytes: usize,
    /// Records that wait for their lanes, over all lanes of the worker.
    pub backlog_records: usize,
    /// The breaker: stops when more than this share of the last records failed.
    pub breaker_share: f64,
    /// Of so many.
    pub breaker_of: usize,
}

/// What a worker takes in.
#[derive(Debug)]
pub enum Input<R> {
    /// From the source.
    Source(ToWorker<R>),
    /// The sink's answer to a claim.
    Claimed(LaneId, Result<Taken, WorldError>),
    /// The sink's answer to a batch.
    Applied(Batch, Outcomes),
    /// The sink's answer to a step of a purge.
    Purged(Purge, Result<Purged, WorldError>),
    /// The producer's answer: so many letters were out, and these were not acknowledged.
    LettersSent {
        /// Their lane.
        lane: LaneId,
        /// Their flight.
        flight: u64,
        /// How many were out.
        sent: usize,
        /// Those to send again, and why.
        unsent: Unsent,
    },
    /// The sink has left the lane.
    Left(LaneId),
    /// The registry's answer.
    Schema(SchemaRef, Result<RegisteredSchema, NotTold>),
    /// Time has passed.
    Tick,
}

/// What a worker wants done.
#[derive(Debug)]
pub enum Action {
    /// Take a lane over; answered by [`Input::Claimed`].
    Claim(Claim),
    /// Apply a batch; answered by [`Input::Applied`].
    Apply(Batch),
    /// Delete some of the keys of a truncated table; answered by [`Input::Purged`].
    Purge(Purge),
    /// Set records aside; answered by [`Input::LettersSent`].
    SendLetters {
        /// Their lane.
        lane: LaneId,
        /// Topic and partition, for those that must be read again.
        name: LaneName,
        /// Their flight.
        flight: u64,
        /// The letters.
        letters: Vec<PendingLetter>,
    },
    /// Fetch a schema from the registry; answered by [`Input::Schema`].
    FetchSchema(SchemaRef),
    /// This position may be committed.
    Store(LaneId, Stored),
    /// Tell the source.
    Source(ToSource),
    /// Leave the lane in the sink; answered by [`Input::Left`].
    Leave(LaneId),
    /// Forget the lane in the sink, at once.
    Abandon(LaneId),
    /// Answer a [`ToWorker::Release`].
    Answer(std::sync::mpsc::SyncSender<Released>, Released),
}

#[derive(Debug)]
struct Owned<R> {
    lane: Lane,
    reading: u32,
    backlog: VecDeque<Delivery<R>>,
    paused: bool,
    leave: Leave,
    /// The registry schema that its next record needs, and since when.
    needs: Option<(SchemaRef, Duration)>,
}

impl<R> Owned<R> {
    fn stalls_at(&self) -> Option<Duration> {
        let waits = self.needs.map(|(_, since)| since + STALLED_AFTER);
        self.lane.stalls_at().into_iter().chain(waits).min()
    }
}

/// How far a lane is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// Not asked to.
    Stays,
    /// Finishes what was taken.
    Drains,
    /// The sink is leaving it.
    Leaving,
}

#[derive(Debug)]
struct Releasing {
    lanes: Vec<LaneId>,
    until: Duration,
    done: std::sync::mpsc::SyncSender<Released>,
    abandoned: bool,
}

/// Owns lanes. Start at [`Worker::apply`].
#[derive(Debug)]
pub struct Worker<R> {
    pipeline: Pipeline,
    options: WorkerOptions,
    lanes: BTreeMap<LaneId, Owned<R>>,
    releasing: Vec<Releasing>,
    waiting: Waiting,
    breaker: Breaker,
    counts: Counts,
    schemas: Wanted,
    stopped: bool,
    /// The lane with the highest number that was ever assigned here. Numbers rise and are never used twice.
    newest: Option<LaneId>,
    acts: Vec<Act>,
}

impl<R: AsRecord> Worker<R> {
    /// A worker over that pipeline.
    pub fn new(pipeline: Pipeline, options: WorkerOptions) -> Worker<R> {
        Worker {
            pipeline,
            options,
            lanes: BTreeMap::new(),
            releasing: Vec::new(),
            waiting: Waiting::default(),
            breaker: Breaker::new(options.breaker_share, options.breaker_of),
            counts: Counts::default(),
            schemas: Wanted::default(),
            stopped: false,
            newest: None,
            acts: Vec::new(),
        }
    }

    /// The entities, by the index that units and letters carry.
    pub fn entities(&self) -> &Arc<[Entity]> {
        self.pipeline.entities()
    }

    /// True where records may be handed in.
    pub fn hungry(&self) -> bool {
        self.waiting.bytes < self.options.backlog_bytes && self.waiting.records < self.options.backlog_records
    }

    /// Takes what was counted since the last time.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// The lanes, for the status page.
    pub fn views(&self) -> Vec<LaneView> {
        self.lanes
            .values()
            .map(|owned| LaneView {
                name: owned.lane.name().clone(),
                activity: match (owned.lane.activity(), owned.needs) {
                    (Activity::Filling, Some(_)) => Activity::AwaitingSchema,
                    (activity, _) => activity,
                },
                schema_error: owned
                    .needs
                    .and_then(|(schema, _)| self.schemas.error(schema))
                    .map(ToString::to_string),
                draining: owned.leave != Leave::Stays,
                applied: owned.lane.applied_position(),
                oldest_ms: owned.lane.oldest_ms().or_else(|| {
                    owned.backlog.front().and_then(|waiting| waiting.record.as_record().timestamp_ms)
                }),
                paused: owned.paused,
            })
            .collect()
    }

    /// When [`Input::Tick`] has something to do, on the monotonic clock.
    pub fn next_wake(&self) -> Option<Duration> {
        let lanes = self.lanes.values().filter(|owned| owned.leave != Leave::Leaving);
        let lanes = lanes.filter_map(|owned| owned.lane.next_wake());
        let releases = self.releasing.iter().map(|releasing| releasing.until);
        let pauses = self
            .lanes
            .values()
            .filter(|owned| !owned.backlog.is_empty() && !owned.paused)
            .filter_map(Owned::stalls_at);
        lanes.chain(releases).chain(pauses).chain(self.schemas.next_wake()).min()
    }

    /// Takes one input in and says what is to be done about it.
    pub fn apply(&mut self, input: Input<R>, now: Now, out: &mut Vec<Action>) {
        match input {
            Input::Source(ToWorker::Assign(assignment)) => self.assign(assignment, now, out),
            Input::Source(ToWorker::Records(deliveries)) => self.take(deliveries, now, out),
            Input::Source(ToWorker::Rewound { lane, reading, position }) => {
                self.with(lane, now, out, |owned, acts| {
                    owned.reading = reading;
                    owned.lane.rewound(position, now, acts);
                });
            }
            Input::Source(ToWorker::Release { lanes, within, done }) => {
                self.release(lanes, within, done, now, out);
            }
            Input::Source(ToWorker::Lost(lanes)) => {
                for lane in lanes {
                    self.drop_lane(lane);
                    out.push(Action::Abandon(lane));
                }
            }
            Input::Claimed(lane, result) => {
                match &result {
                    Ok(_) => self.counts.taken_over += 1,
                    Err(error) => self.counts.world.push(error.clone()),
                }
                self.with(lane, now, out, |owned, acts| owned.lane.claimed(result, now, acts));
            }
            Input::Applied(batch, outcomes) => self.applied(batch, outcomes, now, out),
            Input::Purged(purge, result) => self.purged(&purge, &result, now, out),
            Input::LettersSent { lane, flight, sent, unsent } => {
                self.with(lane, now, out, |owned, acts| {
                    owned.lane.letters_sent(flight, sent, unsent, now, acts);
                });
            }
            Input::Left(lane) => {
                self.drop_lane(lane);
            }
            Input::Schema(schema, told) => self.schema_told(schema, told, now, out),
            Input::Tick => {
                let waits = |schema: SchemaRef| {
                    self.lanes
                        .values()
                        .any(|owned| owned.needs.is_some_and(|(needed, _)| needed.id == schema.id))
                };
                out.extend(self.schemas.due(now, waits).into_iter().map(Action::FetchSchema));
                let lanes: Vec<LaneId> = self.lanes.keys().copied().collect();
                for lane in lanes {
                    self.with(lane, now, out, |owned, acts| owned.lane.tick(now, acts));
                }
            }
        }
        self.finish_releases(now, out);
    }

    fn assign(&mut self, assignment: Assignment, now: Now, out: &mut Vec<Action>) {
        let id = assignment.lane;
        self.newest = self.newest.max(Some(id));
        let mut acts = std::mem::take(&mut self.acts);
        let lane = Lane::new(assignment, self.options.lane, now, &mut acts);
        self.lanes.insert(
            id,
            Owned {
                lane,
                reading: 0,
                backlog: VecDeque::new(),
                paused: false,
                leave: Leave::Stays,
                needs: None,
            },
        );
        self.carry_out(id, &mut acts, out);
        self.acts = acts;
    }

    fn take(&mut self, deliveries: Vec<Delivery<R>>, now: Now, out: &mut Vec<Action>) {
        let mut touched = None;
        for delivery in deliveries {
            let id = delivery.lane;
            if touched != Some(id) {
                if let Some(before) = touched {
                    self.with(before, now, out, |_, _| {});
                }
                touched = Some(id);
            }
            let Some(owned) = self.lanes.get_mut(&id) else {
                // Of a lane that is gone, and read again by its next owner. A lane that was never here would be
                // a record lost.
                assert!(Some(id) <= self.newest, "a lane's assignment comes before its records");
                self.counts.stale += 1;
                continue;
            };
            if delivery.reading != owned.reading || owned.leave != Leave::Stays {
                self.counts.stale += 1;
                continue;
            }
            self.waiting.add(&delivery.record.as_record());
            owned.backlog.push_back(delivery);
        }
        if let Some(last) = touched {
            self.with(last, now, out, |_, _| {});
        }
    }

    /// Does something to a lane, then moves it as far as it goes: handles what waits, and flushes.
    fn with(
        &mut self,
        id: LaneId,
        now: Now,
        out: &mut Vec<Action>,
        event: impl FnOnce(&mut Owned<R>, &mut Vec<Act>),
    ) {
        let Some(owned) = self.lanes.get_mut(&id) else { return };
        if owned.leave == Leave::Leaving {
            // Its connections are being struck from the record: nothing of it may be sent any more.
            return;
        }
        let mut acts = std::mem::take(&mut self.acts);
        event(owned, &mut acts);
        if matches!(owned.lane.phase(), Phase::Rewinding | Phase::RewindLater(..) | Phase::GivenUp(_)) {
            // It is read again from an earlier position.
            self.waiting.forget(&mut owned.backlog);
            owned.needs = None;
        }
        while !self.stopped && owned.lane.wants_records() {
            let Some(next) = owned.backlog.front() else { break };
            if let Some(schema) = self.pipeline.missing_schema(&next.record.as_record()) {
                owned.needs.get_or_insert((schema, now.monotonic)).0 = schema;
                if self.schemas.add(schema, now) {
                    out.push(Action::FetchSchema(schema));
                }
                break;
            }
            owned.needs = None;
            let Some(delivery) = owned.backlog.pop_front() else { break };
            let record = delivery.record.as_record();
            self.waiting.remove(&record);
            let handled = handle(
                &mut self.pipeline,
                &record,
                &mut owned.lane,
                self.options.lane.on_refused,
                &mut self.counts,
                &mut self.breaker,
                now,
            );
            if let Err(reason) = handled {
                self.stopped = true;
                out.push(Action::Source(ToSource::Stop(reason)));
            }
            if !owned.lane.wants_records() {
                owned.lane.flush(now, false, &mut acts);
            }
        }
        owned.lane.flush(now, owned.leave == Leave::Drains, &mut acts);
        let stalled = owned.stalls_at().is_some_and(|at| at <= now.monotonic);
        if stalled && !owned.backlog.is_empty() && !owned.paused {
            owned.paused = true;
            out.push(Action::Source(ToSource::Pause(id)));
        } else if owned.paused && owned.backlog.is_empty() && owned.lane.wants_records() {
            owned.paused = false;
            out.push(Action::Source(ToSource::Resume(id)));
        }
        self.carry_out(id, &mut acts, out);
        self.acts = acts;
    }

    fn applied(&mut self, batch: Batch, outcomes: Outcomes, now: Now, out: &mut Vec<Action>) {
        let id = batch.lane;
        let mut tally = Tally::default();
        self.with(id, now, out, |owned, acts| owned.lane.applied(batch, outcomes, now, &mut tally, acts));
        self.counts.world.extend(tally.error);
        let Some(owned) = self.lanes.get(&id) else { return };
        for (offset, entity, refusal) in tally.refused {
            self.counts.failures.push(Failed {
                lane: owned.lane.name().clone(),
                offset,
                entity: Some(entity),
                stage: Stage::Apply,
                kind: refusal.kind(),
                detail: refusal.to_string(),
            });
            self.breaker.looked_at(true);
        }
        if self.breaker.tripped() && !self.stopped {
            self.stopped = true;
            out.push(Action::Source(ToSource::Stop(self.breaker.reason())));
        }
    }

    fn purged(
        &mut self,
        purge: &Purge,
        result: &Result<Purged, WorldError>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        match result {
            Ok(purged) => *self.counts.purged.entry(purge.entity).or_default() += purged.deleted,
            Err(error) => self.counts.world.push(error.clone()),
        }
        let mut done = None;
        self.with(purge.lane, now, out, |owned, acts| {
            done = owned
                .lane
                .purged(purge, result, now, acts)
                .map(|deleted| (owned.lane.name().clone(), deleted));
        });
        if let Some((lane, deleted)) = done {
            self.counts.purges_done.push((lane, purge.entity, deleted));
        }
    }

    /// The registry has answered: the lanes that wait for the schema go on, where that is decided.
    fn schema_told(
        &mut self,
        schema: SchemaRef,
        told: Result<RegisteredSchema, NotTold>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        if let Err(not_told) = &told {
            let reason = match not_told {
                NotTold::Unknown(_) => "the registry has no such schema".to_owned(),
                NotTold::World(error) => error.to_string(),
            };
            self.counts.schemas_untold.push((schema.id, reason));
        }
        let Some(known) = self.schemas.told(schema, told, now) else { return };
        self.pipeline.know_schema(schema, known);
        let waiting = self.lanes.iter().filter(|(_, owned)| owned.needs.is_some());
        let waiting: Vec<LaneId> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            self.with(id, now, out, |_, _| {});
        }
    }

    fn release(
        &mut self,
        lanes: Vec<LaneId>,
        within: Duration,
        done: std::sync::mpsc::SyncSender<Released>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        for id in &lanes {
            if let Some(owned) = self.lanes.get_mut(id) {
                owned.leave = Leave::Drains;
                owned.lane.halt_purge();
                // What waits was not handled: its next owner reads it again.
                self.waiting.forget(&mut owned.backlog);
                owned.needs = None;
            }
            self.with(*id, now, out, |_, _| {});
        }
        self.releasing.push(Releasing { lanes, until: now.monotonic + within, done, abandoned: false });
    }

    /// Moves the releases on: lanes that are drained are left, those past the deadline abandoned.
    fn finish_releases(&mut self, now: Now, out: &mut Vec<Action>) {
        let mut releasing = std::mem::take(&mut self.releasing);
        releasing.retain_mut(|release| {
            let late = now.monotonic >= release.until;
            release.lanes.retain(|&id| {
                let Some(owned) = self.lanes.get_mut(&id) else { return false };
                if late || owned.lane.is_stopped() {
                    release.abandoned = true;
                    self.drop_lane(id);
                    out.push(Action::Abandon(id));
                    return false;
                }
                if owned.leave == Leave::Drains && owned.lane.is_drained() {
                    owned.leave = Leave::Leaving;
                    out.push(Action::Leave(id));
                }
                true
            });
            if release.lanes.is_empty() {
                let released = if release.abandoned { Released::Abandoned } else { Released::InTime };
                out.push(Action::Answer(release.done.clone(), released));
            }
            !release.lanes.is_empty()
        });
        self.releasing = releasing;
    }

    fn drop_lane(&mut self, id: LaneId) {
        if let Some(mut owned) = self.lanes.remove(&id) {
            self.waiting.forget(&mut owned.backlog);
        }
    }

    fn carry_out(&mut self, id: LaneId, acts: &mut Vec<Act>, out: &mut Vec<Action>) {
        for act in acts.drain(..) {
            out.push(match act {
                Act::Claim(claim) => Action::Claim(claim),
                Act::Apply(batch) => Action::Apply(batch),
                Act::Purge(purge) => Action::Purge(purge),
                Act::SendLetters { flight, letters } => {
                    let name = match self.lanes.get(&id) {
                        Some(owned) => owned.lane.name().clone(),
                        None => continue,
                    };
                    Action::SendLetters { lane: id, name, flight, letters }
                }
                Act::Store(stored) => Action::Store(id, stored),
                Act::Rewind(to) => {
                    if let Some(owned) = self.lanes.get(&id) {
                        self.counts.rewinds.push((owned.lane.name().clone(), to));
                    }
                    Action::Source(ToSource::Rewind { lane: id, to })
                }
                Act::Abandon => {
                    if let Some(owned) = self.lanes.get(&id) {
                        self.counts.given_up.push(owned.lane.name().clone());
                    }
                    Action::Abandon(id)
                }
                Act::StopRefused(offset, refusal) => {
                    self.stopped = true;
                    let place = self.lanes.get(&id).map(|owned| owned.lane.name().clone());
                    let place = place.map_or_else(String::new, |n| format!("{}/{}", n.topic, n.partition));
                    Action::Source(ToSource::Stop(StopReason::ErrorPolicy {
                        detail: format!("{place} offset {offset}: {refusal}"),
                    }))
                }
            });
        }
    }
}

/// What waits in the backlogs of all lanes.
#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    records: usize,
}

impl Waiting {
    fn add(&mut self, record: &Record<'_>) {
        self.bytes += record.size_bytes();
        self.records += 1;
    }
    fn remove(&mut self, record: &Record<'_>) {
        self.bytes -= record.size_bytes();
        self.records -= 1;
    }
    fn forget<R: AsRecord>(&mut self, backlog: &mut VecDeque<Delivery<R>>) {
        for waiting in backlog.drain(..) {
            self.remove(&waiting.record.as_record());
        }
    }
}

#[cfg(test)]
mod tests;
