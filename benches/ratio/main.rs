//! `make bench`: Stoker against `redis-benchmark` and against what a team would write, in one run on one machine.
//!
//! Real broker, real redis-server, the release build. docs/bench/README.md says how it is measured and why so; read
//! `trial.rs` first. Development: `cargo bench --bench ratio -- --quick --only base`.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark panics where something is not as it should be"
)]
#![allow(clippy::disallowed_methods, reason = "it measures time")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers of its own")]

mod big_preload;
mod contestant;
mod drain;
#[path = "../events/mod.rs"]
#[allow(dead_code, reason = "the load is in some of the formats")]
mod events;
mod export;
mod latency;
mod load;
mod parts;
mod plot;
mod point;
mod process;
mod recovery;
mod reference;
mod report;
mod stats;
mod trial;

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;

use self::contestant::{Contestant, Scene};
use self::load::Topic;
use self::parts::{Broker, Cache, Registry};
use self::point::{Point, Start};
use self::report::Findings;

/// Options.
#[derive(Debug, Parser)]
struct Options {
    /// Pairs of each row
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Short topics and one pair: shows that it works, and measures nothing; writes to target/bench/
    #[arg(long)]
    quick: bool,
    /// Three times the records, and the preload of five million rows
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// Only the points and contestants of these names
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Cargo's own
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much of everything.
struct Size {
    kind: &'static str,
    pairs: usize,
    /// Bytes of a topic, at most, and records.
    topic_bytes: usize,
    records_max: u64,
    /// Rows that change.
    rows: usize,
    /// Commands of a reference run.
    requests: u64,
    latency: Duration,
    /// Of the topic that a lost cache is refilled from.
    recovery_records: u64,
    recovery_rows: usize,
    /// Of the export that is preloaded with a kill in the middle.
    preload_rows: usize,
}

impl Size {
    fn of(options: &Options) -> Size {
        if options.quick {
            return Size {
                kind: "quick",
                pairs: 1,
                topic_bytes: 100 << 20,
                records_max: 100_000,
                rows: 30_000,
                requests: 200_000,
                latency: Duration::from_secs(3),
                recovery_records: 100_000,
                recovery_rows: 10_000,
                preload_rows: 100_000,
            };
        }
        let times = if options.full { 3 } else { 1 };
        Size {
            kind: if options.full { "full" } else { "default" },
            pairs: options.pairs,
            topic_bytes: times << 30,
            records_max: 1_200_000 * times as u64,
            rows: 400_000,
            requests: 1_000_000,
            latency: Duration::from_secs(15),
            recovery_records: 2_000_000,
            recovery_rows: 200_000,
            preload_rows: 5_000_000,
        }
    }
}

fn main() {
    let options = Options::parse();
    let size = Size::of(&options);
    let is_wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let peers = Contestant::peers(&root.join("benches/peers"));
    let peers: Vec<_> = peers.into_iter().filter(|peer| is_wanted(&peer.name)).collect();

    let begun = Instant::now();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (broker, registry) = (Broker::start(), Registry::start());
    let mut measured = Vec::new();
    for (index, point) in Point::all().iter().enumerate() {
        let is_base = index == 0;
        let has_wanted_peer = is_base && peers.iter().any(|peer| options.only.contains(&peer.name));
        if !is_wanted(point.name) && !has_wanted_peer {
            continue;
        }
        let cache = Cache::start(point.nodes);
        let records = size.records_max.min((size.topic_bytes / point.event_bytes()) as u64);
        eprintln!("{}: {records} records of {} B", point.name, point.event_bytes());
        // Each row changes a few times, whatever its size.
        let rows = size.rows.min(records as usize / 3);
        let topic = Topic::make(&broker.address, &format!("bench-{index}"), point, records, rows);
        let scene = Scene {
            broker: &broker,
            cache: &cache,
            registry: &registry,
            point,
            topic: &topic.name,
            folder: folder.path(),
        };
        if point.start == Start::Preload {
            export::write(&scene.export(), &topic);
        }
        let reference = trial::calibrate(&scene, &topic, rows, 1);
        let mut contestants = vec![Contestant::Stoker];
        if is_base {
            contestants.extend(peers.iter().cloned().map(Contestant::Peer));
        }
        for contestant in &contestants {
            if is_wanted(point.name) || is_wanted(contestant.name()) {
                measured.push(trial::measure(
                    contestant,
                    &scene,
                    &topic,
                    &reference,
                    size.pairs,
                    size.requests,
                ));
            }
        }
        topic.delete(&broker.address);
    }

    let mut latencies = Vec::new();
    if is_wanted("latency") {
        let base = Point::base();
        let stoker = measured.iter().find(|row| row.point == base.name && row.contestant == "stoker");
        let half = stoker.map(|row| row.median(|drained| drained.rate) / 2.0);
        for (index, rate) in [Some(20_000.0), half].into_iter().flatten().enumerate() {
            let cache = Cache::start(1);
            let topic = format!("bench-latency-{index}");
            let scene = Scene {
                broker: &broker,
                cache: &cache,
                registry: &registry,
                point: &base,
                topic: &topic,
                folder: folder.path(),
            };
            let latency = latency::measure(&scene, rate, size.latency);
            eprintln!("  latency: {latency:?}");
            latencies.push(latency);
        }
    }

    let points = if is_wanted("recovery") { &recovery::points()[..] } else { &[] };
    let recoveries = points.iter().enumerate().map(|(index, point)| {
        let cache = Cache::start(1);
        let (records, rows) = (size.recovery_records, size.recovery_rows);
        eprintln!("recovery: {records} records over {rows} rows");
        let topic = Topic::make(&broker.address, &format!("bench-recovery-{index}"), point, records, rows);
        let scene = Scene {
            broker: &broker,
            cache: &cache,
            registry: &registry,
            point,
            topic: &topic.name,
            folder: folder.path(),
        };
        let recovery = recovery::measure(&scene, &topic, rows);
        eprintln!("  {recovery:?}");
        topic.delete(&broker.address);
        recovery
    });
    let recoveries = recoveries.collect();

    // It takes long: a default run is to stay below three quarters of an hour.
    let wants_big = if options.only.is_empty() { options.full } else { is_wanted(big_preload::NAME) };
    let big_preload =
        wants_big.then(|| big_preload::measure(&broker, &registry, folder.path(), size.preload_rows));

    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let kind = size.kind;
    let findings = Findings { measured, latencies, recoveries, big_preload, peers, kind, minutes };
    write(root, &findings);
}

/// Writes table, plot and history; figures of a quick run, or of a part, are not for the docs.
fn write(root: &Path, findings: &Findings) {
    let is_whole = findings.kind != "quick" && findings.measured.len() >= Point::all().len();
    let folder = root.join(if is_whole { "docs/bench" } else { "target/bench" });
    std::fs::create_dir_all(&folder).expect("a folder");
    let markdown = findings.markdown();
    std::fs::write(folder.join("results.md"), &markdown).expect("the table can be written");
    std::fs::write(folder.join("results.svg"), plot::svg(&findings.measured))
        .expect("the plot can be written");
    println!("{markdown}");
    report::compare_and_append(&folder.join("history.ndjson"), &findings.history());
    println!("Written to {}", folder.display());
}
