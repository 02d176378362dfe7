//! What each blow does.

use std::collections::BTreeMap;

use stoker::error::ServerCode;
use stoker::refill::{RefillAsked, RefillRequest};
use stoker::sink::memory::{MemoryRedis, Snapshot};
use stoker::worker::Input;

use super::faults::{Blow, MS, SECOND};
use super::kafka::Notice;
use super::process::Process;
use super::world::{Event, SESSION, World};

impl World {
    pub(super) fn blow(&mut self) {
        if !self.faulty {
            return;
        }
        let Some(blow) = self.rng.pick(&self.plan.blows).copied() else { return };
        self.trace.line(self.now, || format!("BLOW {blow:?}"));
        match blow {
            Blow::Rebalance => {
                let turn = self.rng.below(5);
                self.kafka.balance(turn);
                self.plan_in(0, 100 * MS, Event::Coordinate);
            }
            Blow::Crash => self.crash(),
            Blow::Freeze => self.freeze(),
            Blow::CutConnections => self.server.kill_connections(),
            Blow::Refuse => {
                let codes = [ServerCode::OutOfMemory, ServerCode::ReadOnly, ServerCode::Loading];
                let code = self.rng.pick(&codes).copied();
                self.refuse(code);
                self.plan_in(10 * MS, 8 * SECOND, Event::RefuseNoMore);
            }
            Blow::FlushAll => self.lose_data(|server, _| server.flush_all()),
            Blow::RestartEmpty => self.lose_data(|server, _| {
                server.restart();
                server.flush_all();
            }),
            Blow::RestartFromSnapshot => self.lose_data(|server, snapshot| {
                server.restart();
                server.rollback(snapshot);
            }),
            Blow::Restart => self.server.restart(),
            Blow::Snapshot => self.snapshot = self.server.snapshot(),
            Blow::AskRefill => self.ask_refill(),
            Blow::EndRefill => self.hand_refill(None),
        }
        let pause = self.plan.blow_pause_us;
        self.plan_in(pause / 4, pause * 2, Event::Blow);
    }

    fn ask_refill(&mut self) {
        self.asked += 1;
        let request = RefillRequest {
            id: format!("{:013}", self.asked),
            overwrite: self.rng.chance(500),
            since_ms: None,
            entities: self.rng.pick(&[vec![], vec!["customer".to_owned()]]).cloned().unwrap_or_default(),
            rate: None,
            lane_keys_max: self.rng.pick(&[None, Some(3)]).copied().flatten(),
            memory: None,
        };
        self.hand_refill(Some(&RefillAsked { request, lanes: BTreeMap::new() }));
    }

    /// Every worker hears of it sooner or later.
    fn hand_refill(&mut self, asked: Option<&RefillAsked>) {
        let seats = |(no, process): (&u64, &Process)| (*no, process.seats.len());
        let workers: Vec<(u64, usize)> = self.processes.iter().map(seats).collect();
        for (no, seats) in workers {
            for seat in 0..seats {
                let heard = Event::Answer(no, seat, Input::RefillAsked(asked.cloned()));
                self.plan_in(50, SECOND, heard);
            }
        }
    }

    pub(super) fn lose_data(&mut self, lose: impl FnOnce(&MemoryRedis, &Snapshot)) {
        lose(&self.server, &self.snapshot);
        self.oracle.lost_data();
        self.unfenced = true;
    }

    pub(super) fn crash(&mut self) {
        let numbers: Vec<u64> = self.processes.keys().copied().collect();
        let Some(no) = self.rng.pick(&numbers).copied() else { return };
        let Some(process) = self.processes.remove(&no) else { return };
        self.deferred.remove(&no);
        self.trace.line(self.now, || format!("process {no} dies"));
        if let Some(member) = process.member {
            self.plan_in(100 * MS, SESSION, Event::SessionOver(no, member));
        }
        self.starting += 1;
        self.plan_in(10 * MS, 3 * SECOND, Event::Start);
    }

    pub(super) fn freeze(&mut self) {
        let awake: Vec<u64> = self.processes.iter().filter(|(_, it)| !it.frozen).map(|(no, _)| *no).collect();
        let Some(no) = self.rng.pick(&awake).copied() else { return };
        let Some(process) = self.processes.get_mut(&no) else { return };
        self.trace.line(self.now, || format!("process {no} stands still"));
        process.frozen = true;
        if let Some(member) = process.member {
            self.plan_at(self.now + SESSION, Event::SessionOver(no, member));
        }
        self.plan_in(100 * MS, 20 * SECOND, Event::Thaw(no));
    }

    pub(super) fn thaw(&mut self, no: u64) {
        let Some(process) = self.processes.get_mut(&no) else { return };
        self.trace.line(self.now, || format!("process {no} goes on"));
        process.frozen = false;
        process.polls_at = None;
        process.seats.iter_mut().for_each(|seat| seat.works_at = None);
        let (seats, member) = (process.seats.len(), process.member);
        self.calm_since = self.calm_since.max(self.now);
        for event in self.deferred.remove(&no).unwrap_or_default() {
            match event {
                Event::Work(..) | Event::Poll(_) => {}
                Event::Notice(..) => self.plan_at(self.now, event),
                other => self.plan_in(0, 3 * MS, other),
            }
        }
        self.nudge_poll(no, 3 * MS);
        (0..seats).for_each(|seat| self.nudge_work(no, seat));
        if let Some(member) = member.filter(|member| !self.kafka.has_member(*member)) {
            self.plan_in(0, 3 * SECOND, Event::Notice(no, member, Notice::Lost));
        }
    }
}
