//! What a process does in its turns: the poll thread's and the workers'.

use std::sync::Arc;

use stoker::batch::Batch;
use stoker::lane::{LaneOptions, OnRefused, RefillNews};
use stoker::pipeline::Pipeline;
use stoker::refill::RefillOptions;
use stoker::sink::Sink as _;
use stoker::sink::memory::MemorySink;
use stoker::source::ToWorker;
use stoker::worker::{Action, Input, Worker, WorkerOptions};

use super::faults::{MS, SECOND};
use super::fold::VALUE_BYTES_MAX;
use super::kafka::{Notice, Partition};
use super::process::{Process, Release, Seat};
use super::shop::Delivered;
use super::world::{COMMIT_EVERY, DRAIN, ENTITIES, Event, Letters, World};

impl World {
    pub(super) fn start(&mut self) {
        self.starting -= 1;
        self.process_count += 1;
        let no = self.process_count;
        let entities = ENTITIES.with(|both| Arc::clone(&both[usize::from(self.plan.dead_letters)]));
        let on_refused = if self.plan.dead_letters { OnRefused::DeadLetter } else { OnRefused::Skip };
        let options = WorkerOptions {
            lane: LaneOptions {
                batch_records: self.plan.batch_records,
                batch_bytes: 4_096,
                on_refused,
                refill: RefillOptions {
                    window_records: self.plan.window_records,
                    window_bytes: self.plan.window_bytes,
                    seen_max: self.plan.seen_max,
                    seed: 1,
                },
            },
            batches_bytes: 1 << 20,
            backlog_bytes: 1 << 20,
            backlog_records: self.plan.backlog_records,
            breaker_share: 1.0,
            breaker_of: 1_000,
            refill_rate: self.plan.refill_rate,
            workers: 1,
        };
        let seats = (0..self.plan.workers).map(|_| {
            let sink = MemorySink::new(self.server.clone(), "stoker:", "simulation", VALUE_BYTES_MAX);
            Seat::new(Worker::new(Pipeline::new(Arc::clone(&entities)), options), sink)
        });
        let mut process = Process::new(seats.collect());
        process.member = Some(self.kafka.join());
        self.trace.line(self.now, || format!("process {no} starts as member {:?}", process.member));
        self.processes.insert(no, process);
        self.plan_in(0, 100 * MS, Event::Coordinate);
        self.plan_in(0, COMMIT_EVERY, Event::CommitTick(no));
    }

    pub(super) fn nudge_poll(&mut self, no: u64, within_us: u64) {
        let at = self.now + self.rng.between(10, 10 + within_us);
        if let Some(process) = self.processes.get_mut(&no)
            && process.polls_at.is_none_or(|planned| planned > at)
        {
            process.polls_at = Some(at);
            self.plan_at(at, Event::Poll(no));
        }
    }

    pub(super) fn nudge_work(&mut self, no: u64, seat: usize) {
        let at = self.now + self.rng.between(5, 300);
        if let Some(process) = self.processes.get_mut(&no) {
            let seat_ = &mut process.seats[seat];
            if seat_.works_at.is_none_or(|planned| planned > at) {
                seat_.works_at = Some(at);
                self.plan_at(at, Event::Work(no, seat));
            }
        }
    }

    /// One turn of the poll thread.
    pub(super) fn poll(&mut self, no: u64, process: &mut Process) {
        process.polls_at = None;
        if process.releasing.is_some() {
            let Some(Release { partitions, in_time }) = process.released() else {
                return;
            };
            self.last_commit(process, &in_time);
            let lanes = process.lanes_of(&partitions);
            process.forget(&lanes);
            if let Some(member) = process.member {
                self.kafka.given_back(member, &partitions);
            }
            self.trace.line(self.now, || format!("process {no} gave back {partitions:?}"));
            self.plan_in(0, 50 * MS, Event::Coordinate);
        }
        while let Some(ask) = process.asks.pop_front() {
            self.trace.line(self.now, || format!("process {no} is asked {ask:?}"));
            process.heed(ask, &self.kafka);
        }
        while process.releasing.is_none()
            && let Some(notice) = process.notices.pop_front()
        {
            self.trace.line(self.now, || format!("process {no} hears {notice:?}"));
            match notice {
                Notice::Assigned(partitions) => {
                    let start_refill = self.plan.start_refill;
                    for (lane, partition, start) in process.assigned(&partitions, &self.kafka, start_refill) {
                        if self.kafka.logs[partition].committed.is_none() {
                            self.oracle.owes(partition, start);
                        }
                        self.oracle.assigned((no, lane), partition);
                    }
                }
                Notice::Revoked(partitions) => process.revoked(partitions, DRAIN),
                Notice::Lost => {
                    process.lost();
                    process.notices.clear();
                    process.commit_open_since = None;
                    process.commit_count += 1;
                    process.member = Some(self.kafka.join());
                    self.plan_in(0, SECOND, Event::Coordinate);
                }
            }
        }
        // A release that concerns no lane has nobody to answer for it.
        let mut again = process.releasing.is_some();
        if process.releasing.is_none() {
            again = process.fetch(&self.kafka, self.plan.chunks, &mut self.rng);
        }
        for seat in 0..process.seats.len() {
            self.plan_work(no, process, seat);
        }
        if again {
            let at = self.now + self.rng.between(100, 5 * MS);
            process.polls_at = Some(at);
            self.plan_at(at, Event::Poll(no));
        }
    }

    /// One turn of a worker: one input, and what comes of it.
    pub(super) fn work(&mut self, no: u64, process: &mut Process, index: usize) {
        let now = self.clock();
        if process.seats[index].works_at != Some(self.now) && process.seats[index].works_at.is_some() {
            return;
        }
        process.seats[index].works_at = None;
        if let Some(input) = process.seats[index].next_input(now.monotonic) {
            self.look_at(no, &input);
            let mut actions = std::mem::take(&mut self.actions);
            process.seats[index].worker.apply(input, now, &mut actions);
            for (lane, news) in process.seats[index].worker.take_counts().refills {
                self.trace.line(self.now, || format!("process {no} {lane:?} refill {news:?}"));
                self.oracle.no_room |= matches!(news, RefillNews::NoRoom(_));
            }
            for action in actions.drain(..) {
                self.carry_out(no, process, index, action);
            }
            self.actions = actions;
        }
        self.plan_work(no, process, index);
    }

    pub(super) fn plan_work(&mut self, no: u64, process: &mut Process, index: usize) {
        let seat = &mut process.seats[index];
        let at = if seat.has_input() {
            Some(self.now + self.rng.between(5, 300))
        } else {
            let wake = seat.worker.next_wake();
            wake.map(|wake| (wake.as_nanos().div_ceil(1_000) as u64).max(self.now + 1))
        };
        if let Some(at) = at
            && seat.works_at.is_none_or(|planned| planned > at)
        {
            seat.works_at = Some(at);
            self.plan_at(at, Event::Work(no, index));
        }
    }

    /// Lets the oracle see what a worker hears.
    pub(super) fn look_at(&mut self, no: u64, input: &Input<Delivered>) {
        match input {
            Input::Applied(batch, outcomes) => {
                self.trace.line(self.now, || {
                    let Batch { lane, start, end, .. } = batch;
                    format!(
                        "process {no} lane {} {start}..{end} answered {:?} {:?} {:?}",
                        lane.0, outcomes.units, outcomes.watermark, outcomes.error
                    )
                });
                self.oracle.answered((no, batch.lane), batch, outcomes);
            }
            Input::Source(ToWorker::Rewound { lane, position, .. }) => {
                self.trace.line(self.now, || format!("process {no} lane {} reads from {position}", lane.0));
                self.oracle.rewound((no, *lane), *position);
            }
            Input::Claimed(lane, result) => {
                self.trace.line(self.now, || format!("process {no} lane {} claimed {result:?}", lane.0));
            }
            _ => {}
        }
    }

    /// Does what a worker wants done: what `engine::drive` does with real parts.
    pub(super) fn carry_out(&mut self, no: u64, process: &mut Process, index: usize, action: Action) {
        match action {
            Action::Claim(claim) => {
                let slow = self.faulty && self.rng.chance(self.plan.slow_claim);
                let most = if slow { 8 * SECOND } else { 2 * MS };
                process.seats[index].claiming.insert(claim.lane);
                self.plan_in(200, most, Event::Claim(no, index, claim));
            }
            Action::FetchSchema(schema) => panic!("no record of the shop names a schema: {schema:?}"),
            Action::Apply(batch) => self.send(no, process, index, batch),
            Action::Purge(purge) => {
                let purged = process.seats[index].sink.purge_now(&purge);
                self.plan_in(50, MS, Event::Answer(no, index, Input::Purged(purge, purged)));
            }
            Action::SendLetters { lane, name, flight, letters } => {
                let letters = Letters { lane, partition: name.partition as Partition, flight, letters };
                self.plan_in(200, 5 * MS, Event::Letters(no, index, letters));
            }
            Action::Store(lane, stored) => {
                self.trace.line(self.now, || format!("process {no} lane {} stores {stored:?}", lane.0));
                self.oracle.stored((no, lane), stored.position);
                process.progress.store(lane, stored);
            }
            Action::Source(ask) => {
                process.asks.push_back(ask);
                self.plan_poll(no, process);
            }
            Action::Leave(lane) => self.plan_in(100, 2 * MS, Event::Leave(no, index, lane)),
            Action::Abandon(lane) => {
                self.trace.line(self.now, || format!("process {no} lane {} abandoned", lane.0));
                process.seats[index].claiming.remove(&lane);
                process.seats[index].sink.abandon(lane);
            }
            Action::Answer(done, released) => {
                let _ = done.try_send(released);
                self.plan_poll(no, process);
            }
        }
    }

    pub(super) fn plan_poll(&mut self, no: u64, process: &mut Process) {
        let at = self.now + self.rng.between(10, 20 * MS);
        if process.polls_at.is_none_or(|planned| planned > at) {
            process.polls_at = Some(at);
            self.plan_at(at, Event::Poll(no));
        }
    }
}
