//! The simulation: real workers, lanes and pipeline between models of Kafka and Redis, on a virtual clock.
//!
//! Everything that happens in a run (what the database does, who owns what, what lands when and what is never
//! answered) is a function of one seed. The oracle checks DESIGN's invariants on every action, and at the end
//! that the cache is the fold of the log. Read [`world::World`] first; a new fault is a `faults::Blow` or an odd
//! of `faults::Plan`, a new invariant a method of `oracle::Oracle`.
//!
//! A double fault that DESIGN leaves to the guard alone is not played: where the server has lost its owner
//! records, every connection is cut before the next take-over, since nobody knows any more whom to fence.
//!
//! A run that fails prints its seed and the command that replays it with a trace.

mod blows;
mod faults;
mod fold;
mod kafka;
mod network;
mod oracle;
mod process;
pub(crate) mod rng;
mod shop;
mod trace;
mod turns;
mod world;

use trace::Trace;
use world::World;

/// Seeds of the ordinary run, 14 ms each in a debug build; `STOKER_SEEDS` asks for more.
const SEEDS: u64 = 2_000;
/// The first seed, for who wants others: `STOKER_SEED_FROM`.
const FIRST_SEED: u64 = 1;

/// Tells how to see a failure again.
struct Announced(u64);

impl Drop for Announced {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!(
                "\nseed {seed} failed; to see it again:\n  \
                 STOKER_SEED={seed} cargo test --test it simulation::replay -- --nocapture\n"
            );
        }
    }
}

fn run(seed: u64, trace: Trace) -> Vec<String> {
    let _announced = Announced(seed);
    World::new(seed, trace).run()
}

#[expect(clippy::disallowed_methods, reason = "which seeds are run is the caller's to say")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|number| number.parse().ok())
}

#[test]
fn the_cache_is_the_fold_of_the_log_whatever_happens() {
    let first = asked("STOKER_SEED_FROM").unwrap_or(FIRST_SEED);
    for seed in first..first + asked("STOKER_SEEDS").unwrap_or(SEEDS) {
        run(seed, Trace::Off);
    }
}

/// One seed with its trace, for who looks into a failure; the first one where none is asked for.
#[test]
fn replay() {
    let seed = asked("STOKER_SEED");
    run(seed.unwrap_or(FIRST_SEED), if seed.is_some() { Trace::Printed } else { Trace::Off });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=60 {
        let (one, other) = (run(seed, Trace::Kept(Vec::new())), run(seed, Trace::Kept(Vec::new())));
        assert!(one.len() > 20, "seed {seed}: {} lines", one.len());
        assert_eq!(one, other, "seed {seed}");
    }
}
