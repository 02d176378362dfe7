//! How soon readers are served again after Redis lost everything: newest first, against reading the topic in order.
//!
//! A reader asks for rows with the popularity with which they change, while live changes and deletes go on. Its time
//! runs until nine of ten of its last reads are current: they show the row as it is, or as it was a moment ago, for a
//! change may still be on its way. Newest first it runs from FLUSHALL, so that noticing the loss counts; in order (what a
//! team does by hand: a group of its own, from the beginning) from the first key in the cache, so that starting does
//! not. From FLUSHALL on no read may show a value that is older than what was applied before it, and no row that was
//! deleted before it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::contestant::{Contestant, Running, Scene};
use crate::events::Event;
use crate::load::{Dice, FIRST_ID, Producer, Topic, key};
use crate::parts::{connect, wait_for};
use crate::point::{Keys, Point, Start};

/// Live changes a second, every tenth of them a delete.
const LIVE: f64 = 200.0;
/// Reads that are looked at together, and how often: 100,000 a second.
const READS: usize = 1_000;
const READ_EVERY: Duration = Duration::from_millis(10);
/// A change may take so long; what the row was before it is current until then.
const ON_ITS_WAY: Duration = Duration::from_millis(1_500);
/// The longest that either may take.
const WITHIN: Duration = Duration::from_secs(240);

/// What was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recovery {
    pub(crate) keys: Keys,
    pub(crate) records: u64,
    pub(crate) rows: u64,
    pub(crate) newest_first: Seen,
    /// What a team's readers see meanwhile.
    pub(crate) in_order: Seen,
}

impl Recovery {
    /// How much sooner nine of ten reads are current.
    pub(crate) fn times_as_soon(&self) -> f64 {
        self.in_order.current_s[1] / self.newest_first.current_s[1]
    }
}

/// What each row is.
struct Rows {
    rows: Vec<Row>,
}

/// What a row is, and since when, behind what else it was within [`ON_ITS_WAY`]; no version where it is deleted.
struct Row(Vec<(Option<u64>, Instant)>);

impl Row {
    fn new(version: Option<u64>, since: Instant) -> Row {
        Row(vec![(version, since)])
    }

    fn now(&self) -> Option<u64> {
        self.0.last().expect("it is something").0
    }

    fn becomes(&mut self, version: Option<u64>) {
        self.0.push((version, Instant::now()));
        self.0.drain(..self.first_current());
    }

    /// What it was when the time began that a change may take.
    fn first_current(&self) -> usize {
        self.0.iter().rposition(|(_, since)| since.elapsed() > ON_ITS_WAY).unwrap_or(0)
    }

    /// True where a reader may be shown that.
    fn is_current(&self, shown: Option<u64>) -> bool {
        self.0[self.first_current()..].iter().any(|(version, _)| *version == shown)
    }
}

/// Shares of the reads whose time is taken.
pub(crate) const SHARES: [f64; 3] = [0.5, 0.9, 0.99];

/// What each row was before a loss.
struct Before {
    rows: Vec<Option<u64>>,
    /// Later than any version by then.
    end: u64,
}

impl Before {
    fn of(state: &Rows) -> Before {
        let rows: Vec<_> = state.rows.iter().map(Row::now).collect();
        let end = rows.iter().flatten().max().map_or(0, |last| last + 1);
        Before { rows, end }
    }
}

/// What one run showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Seconds until each of [`SHARES`] was current.
    pub(crate) current_s: [f64; 3],
    /// Reads that showed something older than before the loss, or a row that was deleted before it.
    pub(crate) old_reads: u64,
}

/// Measures on the scene's topic, whose keys are popular by rank.
pub(crate) fn measure(scene: &Scene<'_>, topic: &Topic, rows: usize) -> Recovery {
    let long_ago = Instant::now();
    let all = (0..rows).map(|row| Row::new(topic.version_of(row), long_ago)).collect();
    let state = Mutex::new(Rows { rows: all });
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| go_on(scene, topic, rows, &state, &stop));
        scene.cache.flush();
        let keeper = Contestant::Stoker.start(scene, &format!("{}-keeper", topic.name));
        let mut reader = Reader::new(scene, rows);
        wait_for("the cache", WITHIN, Duration::from_millis(50), || reader.share(&state, None).0 > 0.999);
        let before = Before::of(&lock(&state));
        let lost_at = Instant::now();
        scene.cache.flush();
        let newest = watch(&mut reader, &state, &before, lost_at);
        drop::<Running>(keeper);

        scene.cache.flush();
        let before = Before::of(&lock(&state));
        let replay = Contestant::Stoker.start(scene, &format!("{}-replay", topic.name));
        wait_for("the first key", Duration::from_secs(60), Duration::from_millis(2), || {
            scene.cache.key_count() >= 200
        });
        let in_order = watch(&mut reader, &state, &before, Instant::now());
        drop(replay);
        stop.store(true, Ordering::Release);
        let (records, rows, keys) = (topic.records, topic.row_count(), scene.point.keys);
        Recovery { keys, records, rows, newest_first: newest, in_order }
    })
}

/// The points that it is measured on.
pub(crate) fn points() -> [Point; 2] {
    [Keys::Zipf, Keys::Steep].map(|keys| Point {
        name: "recovery",
        keys,
        start: Start::Earliest,
        target: None,
        ..Point::base()
    })
}

fn lock(state: &Mutex<Rows>) -> std::sync::MutexGuard<'_, Rows> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Live changes and deletes.
fn go_on(scene: &Scene<'_>, topic: &Topic, rows: usize, state: &Mutex<Rows>, stop: &AtomicBool) {
    let producer = Producer::connect(&scene.broker.address, 2);
    let partitions = u64::try_from(scene.point.partitions).expect("a count");
    let mut dice = Dice::new(scene.point.keys, rows).other();
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let (row, version) = (dice.row(), topic.records + number);
        let event = Event { id: FIRST_ID + row as u64, version, row_bytes: scene.point.row_bytes };
        let (key, format) = (event.key(scene.point.format), scene.point.format);
        let mut held = lock(state);
        if number % 10 == 9 {
            held.rows[row].becomes(None);
            producer.send_tombstone(&topic.name, event.id % partitions, &key);
        } else {
            held.rows[row].becomes(Some(version));
            producer.send(&topic.name, event.id % partitions, &key, &event.value(format));
        }
        drop(held);
        std::thread::sleep(Duration::from_secs_f64(1.0 / LIVE));
    }
}

/// Reads until all is there.
fn watch(reader: &mut Reader, state: &Mutex<Rows>, before: &Before, since: Instant) -> Seen {
    let (mut current_s, mut old_reads) = ([f64::NAN; 3], 0);
    wait_for("the cache", WITHIN, READ_EVERY, || {
        let (current, old) = reader.share(state, Some(before));
        old_reads += old;
        for (share, reached_s) in SHARES.iter().zip(&mut current_s) {
            if current >= *share && reached_s.is_nan() {
                *reached_s = since.elapsed().as_secs_f64();
            }
        }
        current > 0.999
    });
    Seen { current_s, old_reads }
}

/// Who asks for rows.
struct Reader {
    dice: Dice,
    node: redis::Connection,
}

impl Reader {
    fn new(scene: &Scene<'_>, rows: usize) -> Reader {
        let node = connect(scene.cache.ports[0]).expect("redis-server answers");
        Reader { dice: Dice::new(scene.point.keys, rows), node }
    }

    /// The share of reads that are current, and how many were older than `before`.
    fn share(&mut self, state: &Mutex<Rows>, before: Option<&Before>) -> (f64, u64) {
        let asked: Vec<usize> = (0..READS).map(|_| self.dice.row()).collect();
        let mut mget = redis::cmd("MGET");
        for row in &asked {
            mget.arg(key(FIRST_ID + *row as u64));
        }
        let held: Vec<Option<String>> = mget.query(&mut self.node).expect("redis-server answers");
        let state = lock(state);
        let (mut current, mut old) = (0_u64, 0);
        for (row, held) in asked.into_iter().zip(held) {
            let held = held.as_deref().map(version_in);
            current += u64::from(state.rows[row].is_current(held));
            if let (Some(before), Some(held)) = (before, held) {
                // What was deleted before may have come back since, at a later version than any.
                old += u64::from(held < before.rows[row].unwrap_or(before.end));
            }
        }
        (current as f64 / READS as f64, old)
    }
}

fn version_in(row: &str) -> u64 {
    let rest = row.split("\"version\":").nth(1).unwrap_or_default();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse::<u64>().map_or(0, |shown| shown - 1_000_000)
}
