//! What goes wrong in a run, and how often: drawn from the seed, each fault on in some runs and off in others,
//! so that no fault hides another (swarm testing, <https://users.cs.utah.edu/~regehr/papers/swarm12.pdf>).

use super::rng::Rng;

/// Virtual microseconds.
pub(super) const MS: u64 = 1_000;
pub(super) const SECOND: u64 = 1_000 * MS;

/// The shape of a run and the odds of its faults, per thousand steps of their kind.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) partitions: usize,
    pub(super) processes: usize,
    pub(super) workers: usize,
    /// Transactions of the database.
    pub(super) transactions: u64,
    /// Pause between two of them, at most.
    pub(super) pace_us: u64,
    pub(super) dead_letters: bool,
    /// A partition without a commit is followed from its end, and its history refilled.
    pub(super) start_refill: bool,
    /// Bounds of a refill: positions and bytes of a window, and what may have been seen.
    pub(super) window_records: i64,
    pub(super) window_bytes: usize,
    pub(super) seen_max: usize,
    pub(super) refill_rate: Option<f64>,
    pub(super) batch_records: usize,
    pub(super) backlog_records: usize,
    /// Chunks of records that wait for one worker.
    pub(super) chunks: usize,

    pub(super) lose_answer: u64,
    pub(super) hold: u64,
    pub(super) slow: u64,
    pub(super) land_in_part: u64,
    pub(super) lose_claim: u64,
    pub(super) slow_claim: u64,
    pub(super) lose_commit: u64,
    pub(super) fail_letters: u64,
    /// What happens to the whole world, one after the other; none where the list is empty.
    pub(super) blows: Vec<Blow>,
    pub(super) blow_pause_us: u64,
}

/// Something that happens to a server, a process or the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// Partitions move.
    Rebalance,
    /// A process dies at once; another starts later.
    Crash,
    /// A process stands still, for longer than its session or not.
    Freeze,
    /// Every connection is cut.
    CutConnections,
    /// The server refuses writes for a while.
    Refuse,
    /// `FLUSHALL`.
    FlushAll,
    /// The server ends and comes back empty.
    RestartEmpty,
    /// The server ends and comes back from its last snapshot.
    RestartFromSnapshot,
    /// The server ends and comes back with everything.
    Restart,
    /// A snapshot is taken.
    Snapshot,
    /// Somebody asks for a refill.
    AskRefill,
    /// Somebody takes it back.
    EndRefill,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Plan {
        let odds = |rng: &mut Rng, most: u64| if rng.chance(500) { rng.between(1, most) } else { 0 };
        let mut blows = Vec::new();
        let possible = [
            (Blow::Rebalance, 3),
            (Blow::Crash, 2),
            (Blow::Freeze, 2),
            (Blow::CutConnections, 1),
            (Blow::Refuse, 1),
            (Blow::FlushAll, 1),
            (Blow::RestartEmpty, 1),
            (Blow::RestartFromSnapshot, 1),
            (Blow::Restart, 1),
            (Blow::AskRefill, 2),
        ];
        for (blow, weight) in possible {
            if rng.chance(400) {
                blows.extend(std::iter::repeat_n(blow, weight));
            }
        }
        if blows.contains(&Blow::AskRefill) {
            blows.push(Blow::EndRefill);
        }
        if blows.contains(&Blow::RestartFromSnapshot) {
            blows.extend([Blow::Snapshot; 2]);
        }
        Plan {
            partitions: rng.between(1, 4) as usize,
            processes: rng.between(1, 3) as usize,
            workers: rng.between(1, 2) as usize,
            transactions: rng.between(4, 30),
            pace_us: *rng.pick(&[MS, 20 * MS, SECOND]).unwrap_or(&MS),
            dead_letters: rng.chance(700),
            start_refill: rng.chance(500),
            window_records: *rng.pick(&[1, 3, 10, 1_000]).unwrap_or(&3),
            window_bytes: *rng.pick(&[1, 2_000, 1 << 20]).unwrap_or(&2_000),
            refill_rate: *rng.pick(&[None, None, Some(40.0)]).unwrap_or(&None),
            seen_max: *rng.pick(&[6, 16, 1_000]).unwrap_or(&16),
            batch_records: *rng.pick(&[1, 3, 8, 64]).unwrap_or(&8),
            backlog_records: *rng.pick(&[1, 6, 100]).unwrap_or(&6),
            chunks: rng.between(1, 4) as usize,
            lose_answer: odds(rng, 150),
            hold: odds(rng, 150),
            slow: odds(rng, 200),
            land_in_part: odds(rng, 100),
            lose_claim: odds(rng, 200),
            slow_claim: odds(rng, 200),
            lose_commit: odds(rng, 300),
            fail_letters: odds(rng, 500),
            blows,
            blow_pause_us: *rng.pick(&[50 * MS, 400 * MS, 3 * SECOND]).unwrap_or(&SECOND),
        }
    }
}

/// How a batch fares on its way to the server and back. Times are virtual microseconds from its sending.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passage {
    pub(super) lands: u64,
    /// Of the units, how many are carried out before the connection breaks; all where `None`.
    pub(super) part: Option<usize>,
    pub(super) answered: Option<u64>,
}

/// The sink's time limit for an answer.
pub(super) const ANSWER_WITHIN: u64 = 5 * SECOND;

impl Plan {
    pub(super) fn passage(&self, rng: &mut Rng, units: usize, faulty: bool) -> Passage {
        let lands = rng.between(50, 2 * MS);
        let answered = Some(lands + rng.between(50, 2 * MS));
        if !faulty {
            return Passage { lands, part: None, answered };
        }
        if rng.chance(self.lose_answer) {
            return Passage { lands, part: None, answered: None };
        }
        if rng.chance(self.hold) {
            let lands = ANSWER_WITHIN + rng.between(0, 9 * SECOND);
            return Passage { lands, part: None, answered: None };
        }
        if rng.chance(self.land_in_part) {
            return Passage { lands, part: Some(rng.below(units + 1)), answered };
        }
        if rng.chance(self.slow) {
            let lands = rng.between(MS, 4 * SECOND);
            let answered = Some(lands + rng.between(50, SECOND));
            return Passage { lands, part: None, answered };
        }
        Passage { lands, part: None, answered }
    }
}
