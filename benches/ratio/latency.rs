//! Latency from append to applied, under a load that does not wait for anybody.
//!
//! The load is an open loop: each record has a time at which it is due, and its latency counts from there, so that a
//! producer that falls behind hides nothing. A thousand probes a second, rows of their own among the others, are looked
//! for in Redis by an independent reader, which asks about every 0.2 ms. So a latency holds the producer's linger (up to
//! 5 ms), the broker's append, the fetch, Stoker, Redis, and up to 0.2 ms of the looking.

use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::contestant::{Contestant, Scene};
use crate::events::{Event, FIRST_ID};
use crate::load::{Producer, create, key, open_loop};
use crate::parts::{connect, wait_for};
use crate::process::cpu_us_of_threads;
use crate::stats::quantile;

/// How long the load gathers records: the default of Kafka's producer (since 4.0, KIP-1030) and of librdkafka. With less,
/// this many partitions are thousands of requests a second, and the broker is what is measured.
const LINGER_MS: u32 = 5;
/// The load goes on before it is measured, in steps of this, until the broker's JVM has compiled what it needs: on two
/// cores its compilers take half a core from everybody for some twenty seconds.
const WARM_UP_STEP: Duration = Duration::from_secs(2);
/// So many steps at most.
const WARM_UP_STEPS_MAX: usize = 30;
/// Share of a core that the JVM's compilers use once they have nearly nothing to do.
const QUIET_COMPILERS: f64 = 0.03;
/// Probes a second.
const PROBES: f64 = 1_000.0;
/// Rows that the other records change, made beforehand so that making them costs no core of the load.
const ROWS: u64 = 20_000;
/// Where probes' ids begin.
const FIRST_PROBE: u64 = FIRST_ID + 500_000_000;

/// Latencies in ms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    /// Records a second.
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) probes: usize,
    /// By how much the load was behind, with what the broker had not acknowledged yet: where this is much more than the
    /// linger, the machine was too busy for the load, and the latencies are the load's.
    pub(crate) late_p99: f64,
}

/// Measures at that rate for so long. The scene's topic is made here.
pub(crate) fn measure(scene: &Scene<'_>, rate: f64, within: Duration) -> Latency {
    let point = scene.point;
    create(&scene.broker.address, scene.topic, point.partitions);
    scene.cache.flush();
    let running = Contestant::Stoker.start(scene, scene.topic);
    let producer = Producer::connect(&scene.broker.address, LINGER_MS);
    let partitions = u64::try_from(point.partitions).expect("a count");
    let event = |id, version| Event { id, version, row_bytes: point.row_bytes };
    let records: Vec<(Vec<u8>, Vec<u8>)> = (0..ROWS)
        .map(|row| event(FIRST_ID + row, row))
        .map(|event| (event.key(point.format), event.value(point.format)))
        .collect();
    let send = |id: u64, key: &[u8], value: &[u8]| producer.send(scene.topic, id % partitions, key, value);
    for (row, (key, value)) in (0..).zip(&records) {
        send(FIRST_ID + row, key, value);
    }
    wait_for("the first rows", Duration::from_secs(60), Duration::from_millis(10), || {
        scene.cache.key_count() >= ROWS
    });

    let send_row = |number: u64| {
        let row = number % ROWS;
        let (key, value) = &records[row as usize];
        send(FIRST_ID + row, key, value);
    };
    warm_up(scene, || open_loop(rate, WARM_UP_STEP, |number, _| send_row(number)));

    let (probes, sent) = channel();
    let port = scene.cache.ports[0];
    let mut late = Vec::new();
    let latencies = std::thread::scope(|threads| {
        let reader = threads.spawn(move || read(port, &sent));
        let every = (rate / PROBES).max(1.0) as u64;
        let mut numbers = 0..;
        open_loop(rate, within, |number, due| {
            if number % every == 0 {
                let backlog_s = f64::from(producer.unacknowledged()) / rate;
                late.push((due.elapsed().as_secs_f64() + backlog_s) * 1e3);
                let id = FIRST_PROBE + numbers.next().unwrap_or(0);
                let event = event(id, 0);
                send(id, &event.key(point.format), &event.value(point.format));
                let _ = probes.send((key(id), due));
            } else {
                send_row(number);
            }
        });
        producer.flush();
        drop(probes);
        reader.join().expect("the reader ends")
    });
    drop(running);
    let of = |share| quantile(&latencies, share);
    Latency {
        rate,
        p50: of(0.5),
        p99: of(0.99),
        p999: of(0.999),
        probes: latencies.len(),
        late_p99: quantile(&late, 0.99),
    }
}

/// Goes on by steps until the broker's JVM compiles no more; and what was written until then goes to the disk before it is
/// measured, or the kernel writes it in the middle, half a minute later, and appends wait for that (seen: 100 ms).
fn warm_up(scene: &Scene<'_>, mut step: impl FnMut()) {
    let compiled_us = || cpu_us_of_threads(scene.broker.pid, &["C1 Compiler", "C2 Compiler"]);
    for _ in 0..WARM_UP_STEPS_MAX {
        let before = compiled_us();
        step();
        if compiled_us() - before < QUIET_COMPILERS * WARM_UP_STEP.as_secs_f64() * 1e6 {
            break;
        }
    }
    let synced = Command::new("sync").status().expect("sync runs");
    assert!(synced.success(), "sync: {synced}");
    step();
}

/// Looks for probes until all that were sent are there.
fn read(port: u16, sent: &Receiver<(String, Instant)>) -> Vec<f64> {
    let mut server = connect(port).expect("redis-server answers");
    let mut latencies = Vec::new();
    let mut open: Vec<(String, Instant)> = Vec::new();
    let mut is_closed = false;
    let until = Instant::now() + Duration::from_secs(300);
    while !(is_closed && open.is_empty()) && Instant::now() < until {
        loop {
            match sent.try_recv() {
                Ok(probe) => open.push(probe),
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    is_closed = true;
                    break;
                }
            }
        }
        if !open.is_empty() {
            let mut look = redis::pipe();
            for (key, _) in &open {
                look.cmd("EXISTS").arg(key);
            }
            let there: Vec<bool> = look.query(&mut server).expect("redis-server answers");
            let now = Instant::now();
            let mut there = there.into_iter();
            open.retain(|(_, due)| {
                let is_there = there.next().unwrap_or(false);
                if is_there {
                    latencies.push(now.saturating_duration_since(*due).as_secs_f64() * 1e3);
                }
                !is_there
            });
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    assert!(open.is_empty(), "{} probes never came", open.len());
    latencies
}
