//! The scheduler: one event after the other on a virtual clock, and what each does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stoker::batch::{Batch, Claim, LaneId};
use stoker::clock::Now;
use stoker::dead_letter::PendingLetter;
use stoker::entity::{Entity, Handlers};
use stoker::lane::Activity;
use stoker::settings::{ProcessEnvironment, parse};
use stoker::sink::memory::{self, MemoryRedis, Snapshot};
use stoker::worker::{Action, Input};

use super::faults::{MS, Plan, SECOND};
use super::fold::{self, SETTINGS};
use super::kafka::{Committed, Kafka, Member, Notice, Owner, Partition};
use super::oracle::{Oracle, Sent};
use super::process::Process;
use super::rng::Rng;
use super::shop::{Delivered, Shop};
use super::trace::Trace;

/// Where the wall clock stands when a run begins.
const BEGAN_MS: i64 = 1_700_000_000_000;
/// A member that says nothing for so long is thrown out.
pub(super) const SESSION: u64 = 6 * SECOND;
/// Time to drain at a revoke.
pub(super) const DRAIN: u64 = 10 * SECOND;
/// As in `source::kafka`: how often positions are committed, and how long an answer is waited for.
pub(super) const COMMIT_EVERY: u64 = SECOND;
pub(super) const COMMIT_ANSWERED_WITHIN: u64 = 60 * SECOND;
/// After the last fault: what was held lands, and every loss shows within that.
const SETTLES: u64 = 25 * SECOND;
/// Liveness: by then everything must be applied and committed. Three turns of the longest wait (a lane that
/// another owner took is claimed again after 60 s), and a commit without an answer.
const QUIET_WITHIN: u64 = 300 * SECOND;

/// What happens at some moment.
#[derive(Debug)]
pub(super) enum Event {
    Transaction,
    Blow,
    RefuseNoMore,
    Calm,
    Coordinate,
    Notice(u64, Member, Notice),
    Poll(u64),
    Work(u64, usize),
    CommitTick(u64),
    CommitArrives(u64, Member, u64, Vec<(LaneId, Partition, Committed)>),
    CommitAnswered(u64, u64, Vec<(LaneId, Committed)>),
    Claim(u64, usize, Claim),
    Land(u64),
    Return(u64),
    Letters(u64, usize, Letters),
    Leave(u64, usize, LaneId),
    Answer(u64, usize, Input<Delivered>),
    SessionOver(u64, Member),
    Thaw(u64),
    Start,
    Watch,
}

/// Letters on their way to the broker.
#[derive(Debug)]
pub(super) struct Letters {
    pub(super) lane: LaneId,
    pub(super) partition: Partition,
    pub(super) flight: u64,
    pub(super) letters: Vec<PendingLetter>,
}

/// A batch on its way to the server, or held somewhere.
#[derive(Debug)]
pub(super) struct Flying {
    pub(super) process: u64,
    pub(super) seat: usize,
    pub(super) pipeline: memory::Pipeline,
    /// With the sink until it is answered or given up.
    pub(super) batch: Option<Batch>,
    pub(super) sent: Sent,
    pub(super) part: Option<usize>,
    pub(super) answered: bool,
    /// When it reaches the server, until it has.
    pub(super) lands_at: Option<u64>,
    pub(super) returns_at: u64,
}

/// One run.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) trace: Trace,
    pub(super) oracle: Oracle,
    pub(super) now: u64,
    pub(super) events: BTreeMap<(u64, u64), Event>,
    pub(super) event_count: u64,
    pub(super) shop: Shop,
    pub(super) transactions_left: u64,
    pub(super) kafka: Kafka,
    pub(super) server: MemoryRedis,
    pub(super) snapshot: Snapshot,
    pub(super) refusing: bool,
    pub(super) unfenced: bool,
    pub(super) processes: BTreeMap<u64, Process>,
    pub(super) process_count: u64,
    pub(super) starting: usize,
    /// Refills that were asked for.
    pub(super) asked: u64,
    /// When each member hears the last thing that it was told: notices come in order.
    pub(super) noticed_at: BTreeMap<Member, u64>,
    /// What happened to frozen processes, to be looked at when they wake up.
    pub(super) deferred: BTreeMap<u64, Vec<Event>>,
    pub(super) flying: BTreeMap<u64, Flying>,
    pub(super) flying_count: u64,
    pub(super) faulty: bool,
    pub(super) calm_since: u64,
    pub(super) done: bool,
    pub(super) actions: Vec<Action>,
}

thread_local! {
    pub(super) static ENTITIES: [Arc<[Entity]>; 2] = ["[errors]\non_error = \"skip\"", "[errors]\ndead_letter_topic = \"letters\""]
        .map(|policy| {
            let environment = ProcessEnvironment::new(std::path::PathBuf::new());
            let loaded = parse(&SETTINGS.replace("{POLICY}", policy), &environment, &Handlers::default());
            loaded.unwrap_or_else(|error| panic!("{error}")).settings.entities
        });
}

impl World {
    pub(super) fn new(seed: u64, trace: Trace) -> World {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        let server = MemoryRedis::new(BEGAN_MS);
        let mut world = World {
            rng,
            trace,
            oracle: Oracle::new(plan.partitions, plan.dead_letters, plan.batch_records),
            now: 0,
            events: BTreeMap::new(),
            event_count: 0,
            shop: Shop::new(plan.partitions),
            transactions_left: plan.transactions,
            kafka: Kafka::new(plan.partitions),
            snapshot: server.snapshot(),
            server,
            refusing: false,
            unfenced: false,
            processes: BTreeMap::new(),
            process_count: 0,
            starting: plan.processes,
            asked: 0,
            noticed_at: BTreeMap::new(),
            deferred: BTreeMap::new(),
            flying: BTreeMap::new(),
            flying_count: 0,
            faulty: true,
            calm_since: 0,
            done: false,
            actions: Vec::new(),
            plan,
        };
        for _ in 0..world.plan.processes {
            let at = world.rng.between(0, SECOND);
            world.plan_at(at, Event::Start);
        }
        let calm = world.rng.between(SECOND, 30 * SECOND);
        world.plan_at(0, Event::Transaction);
        world.plan_at(world.plan.blow_pause_us, Event::Blow);
        world.plan_at(calm, Event::Calm);
        world.plan_at(calm + SETTLES, Event::Watch);
        world
    }

    /// Runs to quiescence and checks what is left.
    pub(super) fn run(mut self) -> Vec<String> {
        let plan = format!("{:?}", self.plan);
        self.trace.line(0, || plan);
        while !self.done {
            let ((at, _), event) = self.events.pop_first().expect("somebody always waits for something");
            self.now = at;
            self.server.set_now(self.clock().unix_ms);
            self.happen(event);
        }
        let expected =
            fold::fold(self.kafka.logs.iter().flat_map(|log| log.entries.iter().map(|entry| &**entry)));
        let times = (BEGAN_MS, self.clock().unix_ms);
        let logs = self.kafka.logs.iter().flat_map(|log| log.entries.iter().map(|entry| &**entry));
        let refilled = fold::given_by_newest(logs);
        self.oracle.finished(&expected, &refilled, &self.server.dump(), times);
        self.trace.into_lines()
    }

    pub(super) fn clock(&self) -> Now {
        let unix_ms = BEGAN_MS + (self.now / MS) as i64;
        Now { monotonic: Duration::from_micros(self.now), unix_ms }
    }

    pub(super) fn plan_at(&mut self, at: u64, event: Event) {
        self.event_count += 1;
        self.events.insert((at, self.event_count), event);
    }

    pub(super) fn plan_in(&mut self, from: u64, to: u64, event: Event) {
        let at = self.now + self.rng.between(from, to);
        self.plan_at(at, event);
    }

    pub(super) fn happen(&mut self, event: Event) {
        let Some(event) = self.defer(event) else { return };
        match event {
            Event::Transaction => self.transaction(),
            Event::Blow => self.blow(),
            Event::RefuseNoMore => self.refuse(None),
            Event::Calm => {
                self.faulty = false;
                self.refuse(None);
                self.calm_since = self.calm_since.max(self.now);
            }
            Event::Coordinate => {
                for (member, notice) in self.kafka.coordinate() {
                    let found = self.processes.iter().find(|(_, process)| process.member == Some(member));
                    let Some((process, _)) = found else { continue };
                    let (process, last) = (*process, self.noticed_at.get(&member).copied().unwrap_or(0));
                    let at = (self.now + self.rng.between(MS, 200 * MS)).max(last + 1);
                    self.noticed_at.insert(member, at);
                    self.plan_at(at, Event::Notice(process, member, notice));
                }
            }
            Event::Notice(process, member, notice) => {
                // What was said to the member that it was before is void.
                let found = self.processes.get_mut(&process).filter(|it| it.member == Some(member));
                if let Some(found) = found {
                    found.notices.push_back(notice);
                    self.nudge_poll(process, 0);
                }
            }
            Event::Poll(process) => self.with_process(process, World::poll),
            Event::Work(process, seat) => {
                self.with_process(process, |world, no, it| world.work(no, it, seat))
            }
            Event::CommitTick(process) => self.with_process(process, World::commit),
            Event::CommitArrives(process, member, count, commits) => {
                self.commit_arrives(process, member, count, commits);
            }
            Event::CommitAnswered(process, count, accepted) => {
                if let Some(found) = self.processes.get_mut(&process).filter(|it| it.commit_count == count) {
                    found.commit_open_since = None;
                    for (lane, committed) in accepted {
                        if let Some(fetched) = found.lanes.get_mut(&lane) {
                            (fetched.committed, fetched.in_doubt) = (Some(committed), None);
                        }
                    }
                }
            }
            Event::Claim(process, seat, claim) => {
                // It goes over the worker's connection, behind what was sent before and is still awaited.
                let of_seat = self.flying.values().filter(|it| it.process == process && it.seat == seat);
                let ahead = of_seat.filter(|it| it.batch.is_some());
                let awaited = |it: &Flying| {
                    let lands_at = it.lands_at?;
                    Some(if it.returns_at > self.now { lands_at.min(it.returns_at) } else { lands_at })
                };
                let behind = ahead.filter_map(awaited).max();
                if let Some(at) = behind {
                    return self.plan_at(at + 1, Event::Claim(process, seat, claim));
                }
                self.with_process(process, |world, no, it| world.claim(no, it, seat, &claim));
            }
            Event::Land(flight) => self.land(flight),
            Event::Return(flight) => self.answer_flight(flight),
            Event::Letters(process, seat, letters) => self.letters_arrive(process, seat, letters),
            Event::Leave(process, seat, lane) => {
                if let Some(found) = self.processes.get_mut(&process) {
                    found.seats[seat].sink.release_now(lane);
                    self.plan_in(50, MS, Event::Answer(process, seat, Input::Left(lane)));
                }
            }
            Event::Answer(process, seat, input) => {
                if let Some(found) = self.processes.get_mut(&process) {
                    found.seats[seat].answers.push_back(input);
                    self.nudge_work(process, seat);
                }
            }
            Event::SessionOver(process, member) => {
                let alive =
                    self.processes.get(&process).is_some_and(|it| it.member == Some(member) && !it.frozen);
                if !alive && self.kafka.has_member(member) {
                    self.trace.line(self.now, || format!("session of member {member} is over"));
                    self.kafka.remove(member);
                    self.plan_in(0, 100 * MS, Event::Coordinate);
                }
            }
            Event::Thaw(process) => self.thaw(process),
            Event::Start => self.start(),
            Event::Watch => self.watch(),
        }
    }

    /// Keeps what a frozen process would do for when it wakes up. What is on the network goes on.
    pub(super) fn defer(&mut self, event: Event) -> Option<Event> {
        let process = match &event {
            Event::Notice(process, ..)
            | Event::Poll(process)
            | Event::Work(process, _)
            | Event::CommitTick(process)
            | Event::CommitAnswered(process, ..)
            | Event::Answer(process, ..) => Some(*process),
            Event::Return(flight) => self.flying.get(flight).map(|flying| flying.process),
            _ => None,
        };
        let frozen = process.filter(|no| self.processes.get(no).is_some_and(|it| it.frozen));
        match frozen {
            Some(process) => {
                self.deferred.entry(process).or_default().push(event);
                None
            }
            None => Some(event),
        }
    }

    pub(super) fn with_process(&mut self, no: u64, act: impl FnOnce(&mut World, u64, &mut Process)) {
        if let Some(mut process) = self.processes.remove(&no) {
            act(self, no, &mut process);
            self.processes.insert(no, process);
        }
    }

    // ---- the database

    pub(super) fn transaction(&mut self) {
        if self.transactions_left == 0 {
            return;
        }
        self.transactions_left -= 1;
        for draft in self.shop.commit(&mut self.rng) {
            let partition = draft.partition;
            let entry = self.kafka.append(draft, BEGAN_MS + (self.now / MS) as i64);
            self.oracle.appended(partition, &entry);
            self.trace
                .line(self.now, || format!("append {partition}@{} {:?}", entry.record.offset, entry.does));
        }
        self.calm_since = self.calm_since.max(self.now);
        let processes: Vec<u64> = self.processes.keys().copied().collect();
        for process in processes {
            self.nudge_poll(process, 5 * MS);
        }
        let pace = self.plan.pace_us;
        self.plan_in(0, pace, Event::Transaction);
    }

    // ---- the end

    pub(super) fn watch(&mut self) {
        let settled = self.now >= self.calm_since + SETTLES;
        if settled && self.unquiet().is_none() {
            self.done = true;
            return;
        }
        assert!(
            self.now < self.calm_since + QUIET_WITHIN || self.transactions_left > 0,
            "liveness: {} s after the last fault {}",
            (self.now - self.calm_since) / SECOND,
            self.unquiet().unwrap_or_default()
        );
        self.plan_at(self.now + SECOND, Event::Watch);
    }

    /// What is still to be done, if anything.
    pub(super) fn unquiet(&self) -> Option<String> {
        if self.transactions_left > 0 || self.starting > 0 {
            return Some("somebody is about to start".to_owned());
        }
        if let Some((no, _)) = self.processes.iter().find(|(_, process)| process.frozen) {
            return Some(format!("process {no} stands still"));
        }
        for (partition, log) in self.kafka.logs.iter().enumerate() {
            let end = self.kafka.end(partition);
            let owned = matches!(log.owner, Owner::Has(member) if self.kafka.has_member(member));
            if !owned
                || log.committed.is_none_or(|committed| committed.position != end || committed.owed.is_some())
            {
                return Some(format!("{partition} ends at {end}, {:?} {:?}", log.owner, log.committed));
            }
        }
        for (no, process) in &self.processes {
            for view in process.seats.iter().flat_map(|seat| seat.worker.views()) {
                let end = self.kafka.end(view.name.partition as Partition);
                if view.activity != Activity::Filling || view.applied != end || view.owes {
                    return Some(format!("process {no}: {view:?}"));
                }
            }
        }
        None
    }
}
