//! Owns lanes, and turns one input at a time into actions.
//!
//! The process is `loop { let input = select().await; worker.apply(input) }`: `apply` is synchronous, owns all
//! state, and does no IO; whoever drives it carries out the [`Action`]s (`run` with the real parts, the
//! simulation with a model). Memory is bounded by [`Worker::hungry`]: a driver hands in records only while it
//! is true.

mod answers;
mod asked;
mod breaker;
mod counts;
mod handle;
mod look_back;
mod rejects;
mod releasing;
mod schemas;
mod throttle;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::breaker::Breaker;
pub use self::counts::{Counts, Failed, LaneView};
use self::handle::handle;
use self::rejects::RejectWatch;
pub use self::rejects::{GuardView, REJECT_ALARM_PERCENT, REJECT_WINDOW_UNITS};
use self::releasing::{Leave, Releasing};
use self::schemas::Wanted;
pub use self::schemas::{NotTold, SCHEMA_GRACE};
use self::throttle::Throttle;
use self::waiting::Waiting;
use crate::batch::{Batch, Claim, LaneId, LaneName, Outcomes, Purge, Purged, Taken};
use crate::clock::Now;
use crate::dead_letter::{PendingLetter, Unsent};
use crate::decode::{RegisteredSchema, SchemaRef};
use crate::entity::Entity;
use crate::error::WorldError;
use crate::lane::{Act, Activity, Lane, LaneOptions, Phase, STALLED_AFTER};
use crate::pipeline::Pipeline;
use crate::record::AsRecord;
use crate::refill::RefillAsked;
use crate::source::{Assignment, Delivery, History, Released, StopReason, Stored, ToSource, ToWorker};

/// Bytes in a lane's batch, however many lanes there are: below it what a batch costs is more than its commands.
const BATCH_BYTES_MIN: usize = 32 << 10;

/// Bounds and policy of a worker.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// Of each lane.
    pub lane: LaneOptions,
    /// Bytes in the batches that all lanes of the worker fill: each lane's bound is its part of them, or its own where
    /// that is less. One record may go past it, and as much again is in flight.
    pub batches_bytes: usize,
    /// Bytes of records that wait for their lanes, over all lanes of the worker.
    pub backlog_bytes: usize,
    /// Records that wait for their lanes, over all lanes of the worker.
    pub backlog_records: usize,
    /// The breaker: stops when more than this share of the last records failed.
    pub breaker_share: f64,
    /// Of so many.
    pub breaker_of: usize,
    /// Keys of history a second, over all lanes of the worker; `None` is no bound.
    pub refill_rate: Option<f64>,
    /// Workers of the process: a rate that is asked for is shared between them.
    pub workers: usize,
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
    /// The refill that somebody asks for, as it stands now.
    RefillAsked(Option<RefillAsked>),
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
    rejects: RejectWatch,
    leave: Leave,
    /// The registry schema that its next record needs, and since when.
    needs: Option<(SchemaRef, Duration)>,
    /// History that was read and is not handled yet, since a schema is waited for.
    history: VecDeque<History<R>>,
    /// The registry schema that its next record of history needs.
    history_needs: Option<SchemaRef>,
}

impl<R> Owned<R> {
    /// Schemas that it waits for.
    fn awaits(&self) -> impl Iterator<Item = SchemaRef> {
        self.needs.map(|(schema, _)| schema).into_iter().chain(self.history_needs)
    }

    fn stalls_at(&self) -> Option<Duration> {
        let waits = self.needs.map(|(_, since)| since + STALLED_AFTER);
        self.lane.stalls_at().into_iter().chain(waits).min()
    }
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
    throttle: Throttle,
    /// Bytes in a lane's batch.
    batch_bytes: usize,
    stopped: bool,
    /// When all lanes were last told that one of them found data lost.
    alerted_at: Option<Duration>,
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
            throttle: Throttle::new(options.refill_rate),
            batch_bytes: options.lane.batch_bytes,
            stopped: false,
            alerted_at: None,
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

    /// True where records of history may be handed in: all that came before were handled.
    pub fn curious(&self) -> bool {
        self.lanes.values().all(|owned| owned.history.is_empty())
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
                refill: owned.lane.refill_view(),
                owes: owned.lane.owed().is_some(),
                asked: owned.lane.asked_report().map(|(id, report)| (Arc::clone(id), report)),
                guards: owned.rejects.views(),
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
        let held_back = self.lanes.values().filter(|owned| owned.lane.history_is_held_back());
        let throttled = held_back.filter_map(|_| self.throttle.next_wake());
        lanes.chain(releases).chain(pauses).chain(throttled).chain(self.schemas.next_wake()).min()
    }

    /// Takes one input in and says what is to be done about it.
    pub fn apply(&mut self, input: Input<R>, now: Now, out: &mut Vec<Action>) {
        match input {
            Input::Source(ToWorker::Assign(assignment)) => self.assign(assignment, now, out),
            Input::Source(ToWorker::Records(deliveries)) => self.take(deliveries, now, out),
            Input::Source(ToWorker::History(history)) => {
                self.with(history.lane, now, out, |owned, _| owned.history.push_back(history));
            }
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
            Input::RefillAsked(asked) => self.refill_asked(asked.as_ref(), now, out),
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
                    self.lanes.values().any(|owned| owned.awaits().any(|needed| needed.id == schema.id))
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
        let longest_life = self.pipeline.longest_life(&assignment.name.topic);
        let lane = Lane::new(assignment, self.options.lane, now, &mut acts).with_longest_life(longest_life);
        self.lanes.insert(
            id,
            Owned {
                lane,
                reading: 0,
                backlog: VecDeque::new(),
                paused: false,
                rejects: RejectWatch::default(),
                leave: Leave::Stays,
                needs: None,
                history: VecDeque::new(),
                history_needs: None,
            },
        );
        self.share_out();
        self.carry_out(id, &mut acts, out);
        self.acts = acts;
    }

    /// Lanes have come or gone.
    fn share_out(&mut self) {
        let share = self.options.batches_bytes / self.lanes.len().max(1);
        self.batch_bytes = share.max(BATCH_BYTES_MIN).min(self.options.lane.batch_bytes);
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
            self.waiting.add(&delivery.record);
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
        let allowed =
            if owned.lane.is_refilling() { self.throttle.allowed(now.monotonic) } else { usize::MAX };
        owned.lane.allow_history(allowed);
        owned.lane.bound_batch(self.batch_bytes);
        event(owned, &mut acts);
        if matches!(owned.lane.phase(), Phase::Rewinding | Phase::RewindLater(..) | Phase::GivenUp(_)) {
            // It is read again from an earlier position.
            self.waiting.forget(&mut owned.backlog);
            owned.needs = None;
        }
        while !self.stopped && owned.lane.wants_records() {
            let Some(next) = owned.backlog.front() else { break };
            let record = next.record.as_record();
            if let Some(schema) = self.pipeline.missing_schema(&record) {
                owned.needs.get_or_insert((schema, now.monotonic)).0 = schema;
                if self.schemas.add(schema, now) {
                    out.push(Action::FetchSchema(schema));
                }
                break;
            }
            owned.needs = None;
            self.waiting.remove(record.size_bytes());
            self.pipeline.tell_rows(owned.lane.is_refilling());
            let handled = handle(
                &mut self.pipeline,
                &record,
                &mut owned.lane,
                self.options.lane.on_refused,
                &mut self.counts,
                &mut self.breaker,
                now,
            );
            // Gone with it is its hold on what it was fetched in.
            owned.backlog.pop_front();
            if let Err(reason) = handled {
                self.stopped = true;
                out.push(Action::Source(ToSource::Stop(reason)));
            }
            if !owned.lane.wants_records() {
                owned.lane.flush(now, false, &mut acts);
            }
        }
        owned.lane.flush(now, owned.leave == Leave::Drains, &mut acts);
        if !owned.history.is_empty() && !self.stopped {
            if let Err(reason) = self.look_back(id, now, out) {
                self.stopped = true;
                out.push(Action::Source(ToSource::Stop(reason)));
            }
            let Some(owned) = self.lanes.get_mut(&id) else { return };
            owned.lane.flush(now, owned.leave == Leave::Drains, &mut acts);
        }
        let Some(owned) = self.lanes.get_mut(&id) else { return };
        self.throttle.spent(owned.lane.history_sent());
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
        let waiting = self.lanes.iter().filter(|(_, owned)| owned.awaits().next().is_some());
        let waiting: Vec<LaneId> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            self.with(id, now, out, |_, _| {});
        }
    }

    fn drop_lane(&mut self, id: LaneId) {
        if let Some(mut owned) = self.lanes.remove(&id) {
            self.waiting.forget(&mut owned.backlog);
            self.share_out();
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
                Act::ReadHistory(request) => Action::Source(ToSource::History { lane: id, request }),
                Act::Refill(news) => {
                    if let Some(owned) = self.lanes.get(&id) {
                        self.counts.refills.push((owned.lane.name().clone(), news));
                    }
                    continue;
                }
                Act::Rewind(to, loss) => {
                    if let Some(owned) = self.lanes.get(&id) {
                        self.counts.rewinds.push((owned.lane.name().clone(), to, loss));
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

#[cfg(test)]
mod tests;
