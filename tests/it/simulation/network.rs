//! What is on its way: claims, batches, letters and commits, each sent, landed and answered apart.

use stoker::batch::{Batch, Claim, LaneId};
use stoker::error::{ServerCode, WorldError};
use stoker::sink::memory::Sending;
use stoker::worker::Input;

use super::faults::{ANSWER_WITHIN, MS};
use super::kafka::{Committed, Member, Partition};
use super::oracle::in_words;
use super::process::Process;
use super::world::{COMMIT_ANSWERED_WITHIN, COMMIT_EVERY, Event, Flying, Letters, World};

impl World {
    pub(super) fn claim(&mut self, no: u64, process: &mut Process, index: usize, claim: &Claim) {
        if !process.seats[index].claiming.remove(&claim.lane) {
            return;
        }
        if self.unfenced {
            // Nobody knows any more whom to fence: what the former owner still has under way is DESIGN's
            // documented gap, where only the guard covers. The run goes on as if it had been cut.
            self.server.kill_connections();
            self.unfenced = false;
        }
        let taken = process.seats[index].sink.take_over_now(claim);
        self.trace.line(self.now, || format!("process {no} takes over {claim:?}: {taken:?}"));
        if taken.is_ok() {
            self.oracle.claimed((no, claim.lane));
        }
        let lost = self.faulty && self.rng.chance(self.plan.lose_claim);
        let (taken, within) = if lost { (Err(WorldError::Timeout), ANSWER_WITHIN) } else { (taken, MS) };
        self.plan_in(50, within, Event::Answer(no, index, Input::Claimed(claim.lane, taken)));
    }

    pub(super) fn send(&mut self, no: u64, process: &mut Process, index: usize, batch: Batch) {
        let sent = self.oracle.sends((no, batch.lane), &batch);
        let passage = self.plan.passage(&mut self.rng, batch.units.len(), self.faulty);
        self.trace.line(self.now, || {
            let Batch { lane, attempt, start, end, everywhere, units, .. } = &batch;
            let units: Vec<String> = units
                .iter()
                .map(|unit| format!("{} {} {:?}", unit.key, in_words(&unit.action), unit.offsets))
                .collect();
            let lane = lane.0;
            format!(
                "process {no} lane {lane} sends {start}..{end} #{attempt} {everywhere} {units:?} {passage:?}"
            )
        });
        match process.seats[index].sink.send(&batch) {
            Sending::Failed(outcomes) => {
                self.plan_in(50, MS, Event::Answer(no, index, Input::Applied(batch, outcomes)));
            }
            Sending::Sent(pipeline) => {
                self.flying_count += 1;
                let flight = self.flying_count;
                // A connection is a queue: nothing overtakes what was sent over it before.
                let ahead =
                    self.flying.values().filter(|it| it.pipeline.connection() == pipeline.connection());
                let after = ahead.filter_map(|it| it.lands_at).max().unwrap_or(0) + 1;
                let lands_at = (self.now + passage.lands).max(after);
                let timeout = self.now + ANSWER_WITHIN;
                let answered_at = passage.answered.map(|answered| lands_at + answered - passage.lands);
                let answered_at = answered_at.filter(|at| *at < timeout);
                let flying = Flying {
                    process: no,
                    seat: index,
                    pipeline: *pipeline,
                    batch: Some(batch),
                    sent,
                    part: passage.part,
                    answered: answered_at.is_some(),
                    lands_at: Some(lands_at),
                    returns_at: answered_at.unwrap_or(timeout),
                };
                self.plan_at(lands_at, Event::Land(flight));
                self.plan_at(flying.returns_at, Event::Return(flight));
                self.flying.insert(flight, flying);
            }
        }
    }

    pub(super) fn land(&mut self, flight: u64) {
        let Some(flying) = self.flying.get_mut(&flight) else { return };
        flying.lands_at = None;
        let count = match flying.part {
            Some(part) => flying.pipeline.land_in_part(part),
            None => flying.pipeline.land().then_some(usize::MAX),
        };
        self.trace.line(self.now, || format!("flight of process {} lands: {count:?}", flying.process));
        if let Some(count) = count.filter(|_| !self.refusing) {
            self.oracle.carried_out(&flying.sent, count);
        }
        if flying.batch.is_none() {
            self.flying.remove(&flight);
        }
    }

    pub(super) fn answer_flight(&mut self, flight: u64) {
        let Some(flying) = self.flying.get_mut(&flight) else { return };
        let (no, seat, answered) = (flying.process, flying.seat, flying.answered);
        let (Some(process), Some(batch)) = (self.processes.get_mut(&no), flying.batch.take()) else { return };
        let sink = &process.seats[seat].sink;
        let outcomes = if answered { sink.answer(&flying.pipeline) } else { sink.lose(&flying.pipeline) };
        process.seats[seat].answers.push_back(Input::Applied(batch, outcomes));
        if answered {
            self.flying.remove(&flight);
        }
        self.nudge_work(no, seat);
    }

    pub(super) fn letters_arrive(&mut self, no: u64, seat: usize, letters: Letters) {
        let Letters { lane, partition, flight, letters } = letters;
        let sent = letters.len();
        let mut unsent = Vec::new();
        for letter in letters {
            if self.faulty && self.rng.chance(self.plan.fail_letters) {
                unsent.push(letter);
            } else {
                self.trace.line(self.now, || format!("letter {partition} {letter:?}"));
                self.oracle.letter((no, lane), partition, &letter);
            }
        }
        let unsent = (!unsent.is_empty()).then_some((unsent, WorldError::Timeout));
        let input = Input::LettersSent { lane, flight, sent, unsent };
        self.plan_in(100, 5 * MS, Event::Answer(no, seat, input));
    }

    pub(super) fn refuse(&mut self, code: Option<ServerCode>) {
        self.refusing = code.is_some();
        self.server.refuse_writes(code);
    }

    pub(super) fn commit(&mut self, no: u64, process: &mut Process) {
        self.plan_at(self.now + COMMIT_EVERY, Event::CommitTick(no));
        let open = process.commit_open_since.is_some_and(|since| self.now - since < COMMIT_ANSWERED_WITHIN);
        let Some(member) = process.member else { return };
        if open || process.releasing.is_some() {
            return;
        }
        let lanes: Vec<LaneId> = process.lanes.keys().copied().collect();
        let commits = process.to_commit(&lanes);
        if commits.is_empty() {
            return;
        }
        process.commit_open_since = Some(self.now);
        process.commit_count += 1;
        for (lane, _, committed) in &commits {
            if let Some(fetched) = process.lanes.get_mut(lane) {
                fetched.in_doubt = Some(*committed);
            }
        }
        if !(self.faulty && self.rng.chance(self.plan.lose_commit)) {
            self.plan_in(MS, 50 * MS, Event::CommitArrives(no, member, process.commit_count, commits));
        }
    }

    pub(super) fn commit_arrives(
        &mut self,
        no: u64,
        member: Member,
        count: u64,
        commits: Vec<(LaneId, Partition, Committed)>,
    ) {
        let late = self.processes.get(&no).is_some_and(|process| process.commit_count != count);
        if late {
            return;
        }
        let accepted = self.accept(no, member, &commits);
        if !(self.faulty && self.rng.chance(self.plan.lose_commit)) {
            self.plan_in(MS, 50 * MS, Event::CommitAnswered(no, count, accepted));
        }
    }

    /// The coordinator looks at who commits, not at who owns what.
    pub(super) fn accept(
        &mut self,
        no: u64,
        member: Member,
        commits: &[(LaneId, Partition, Committed)],
    ) -> Vec<(LaneId, Committed)> {
        if !self.kafka.has_member(member) {
            return Vec::new();
        }
        let mut accepted = Vec::new();
        for (lane, partition, committed) in commits {
            self.trace.line(self.now, || format!("process {no} commits {partition} {committed:?}"));
            self.oracle.committed(*partition, committed.position);
            self.kafka.logs[*partition].committed = Some(*committed);
            accepted.push((*lane, *committed));
        }
        accepted
    }

    /// The commit that a revoke waits for. One that was under way before is answered or lost by then.
    pub(super) fn last_commit(&mut self, process: &mut Process, lanes: &[LaneId]) {
        process.commit_count += 1;
        process.commit_open_since = None;
        let commits = process.to_commit(lanes);
        let lost = self.faulty && self.rng.chance(self.plan.lose_commit);
        if let Some(member) = process.member.filter(|_| !lost) {
            self.accept(member, member, &commits);
        }
    }
}
