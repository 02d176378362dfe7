//! Pairs: a drain between two reference runs, within the same minute.
//!
//! Absolute rates move by a factor on a machine with neighbours; ratios within a minute do not. A trial whose two
//! reference runs differ by more than a bound says that the machine changed meanwhile, and is thrown away.

use crate::contestant::{Contestant, Scene};
use crate::drain::{Drained, drain};
use crate::load::Topic;
use crate::point::Start;
use crate::reference::{Ear, Reference};
use crate::stats::median;

/// Two reference runs may differ by so much of their mean.
const APART_MAX: f64 = 0.15;
/// Trials for each pair that is wanted, before what there is must do.
const TRIALS_PER_PAIR: usize = 3;
/// Bounds of the pipeline's depth: what `redis-benchmark` takes, and what is a pipeline at all.
const DEPTH: (f64, f64) = (8.0, 2_000.0);

/// Writes in a chunk of a preload.
const PRELOAD_DEPTH: usize = 512;

/// What the pairs of one contestant on one point showed.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) point: String,
    pub(crate) contestant: String,
    /// Rate over the mean of the two reference rates, of each pair.
    pub(crate) ratios: Vec<f64>,
    pub(crate) drains: Vec<Drained>,
    pub(crate) reference_rate: f64,
    pub(crate) depth: usize,
    pub(crate) event_bytes: usize,
    pub(crate) records: u64,
    /// Trials that were thrown away because their reference runs differed.
    pub(crate) discarded: usize,
}

impl Measured {
    /// The median of something over the pairs.
    pub(crate) fn median(&self, of: impl Fn(&Drained) -> f64) -> f64 {
        median(&self.drains.iter().map(of).collect::<Vec<_>>())
    }

    pub(crate) fn ratio(&self) -> f64 {
        median(&self.ratios)
    }
}

/// One drain without a reference, which tells what the reference is: it overhears a command and takes the mean batch.
/// It also warms the broker's page cache. Every `step`-th row of what is cached is checked.
pub(crate) fn calibrate(scene: &Scene<'_>, topic: &Topic, rows: usize, step: usize) -> Reference {
    let ear = Ear::open(scene.cache.ports[0]);
    let is_cluster = scene.cache.is_cluster();
    let heard = std::thread::spawn(move || ear.command(is_cluster));
    let drained = drain(&Contestant::Stoker, scene, topic, &format!("{}-calibration", topic.name), step);
    let command = heard.join().expect("a write was overheard");
    let (connections, depth) = match scene.point.start {
        Start::Preload => (1, PRELOAD_DEPTH),
        Start::Earliest | Start::Refill => {
            (topic.ends.len(), drained.batch_units.clamp(DEPTH.0, DEPTH.1).round() as usize)
        }
    };
    Reference { command, connections, depth, rows }
}

/// Measures so many pairs.
pub(crate) fn measure(
    contestant: &Contestant,
    scene: &Scene<'_>,
    topic: &Topic,
    reference: &Reference,
    pairs: usize,
    requests: u64,
) -> Measured {
    let mut measured = Measured {
        point: scene.point.name.to_owned(),
        contestant: contestant.name().to_owned(),
        ratios: Vec::new(),
        drains: Vec::new(),
        reference_rate: 0.0,
        depth: reference.depth,
        event_bytes: scene.point.event_bytes(),
        records: topic.records,
        discarded: 0,
    };
    let mut rates = Vec::new();
    let mut before = reference.run(scene.cache, requests);
    for trial in 0..pairs * TRIALS_PER_PAIR {
        let group = format!("{}-{}-{trial}", topic.name, contestant.name());
        // The first drain is checked whole, the others by every tenth row.
        let drained = drain(contestant, scene, topic, &group, if trial == 0 { 1 } else { 10 });
        let after = reference.run(scene.cache, requests);
        let mean = (before + after) / 2.0;
        let apart = (before - after).abs() / mean;
        let keep = apart <= APART_MAX;
        let ratio = drained.rate / mean;
        eprintln!(
            "  {} {}: {:.0} k/s, {ratio:.2} of {:.0} k/s, {:.2} µs of CPU a record{}",
            scene.point.name,
            contestant.name(),
            drained.rate / 1e3,
            mean / 1e3,
            drained.own_us,
            if keep { "" } else { " (thrown away: its reference runs differ)" }
        );
        before = after;
        if keep {
            measured.ratios.push(ratio);
            measured.drains.push(drained);
            rates.push(mean);
        } else {
            measured.discarded += 1;
        }
        if measured.ratios.len() == pairs {
            break;
        }
    }
    measured.reference_rate = median(&rates);
    measured
}
