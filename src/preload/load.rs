//! The load itself: takes chunks, has them written, hears of changes, settles, and knows when to end.
//!
//! One task on one thread: what it hears is taken in between two chunks, never beside a write, so that a change is
//! either known before a write is decided or finds it remembered. Start at [`load`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

use super::checkpoint::Checkpoint;
use super::feed::{Chunk, Feed, FeedError, Mapper, Place, Reach};
use super::fit::{least_room, share};
use super::listen::Following;
use super::pace::Pace;
use super::prepare::Prepared;
use super::rejects::Rejects;
use super::report::{Ended, Progress, Protection, Report, Watch};
use super::settle::{Back, PENDING_MAX, Settling};
use super::sweep;
use super::{Job, Trouble};
use crate::clock::SystemClock;
use crate::export::Input;
use crate::sink::redis::{NodeLoad, Over, RedisSink};
use crate::telemetry::chain;

/// Chunks that wait to be written.
const CHUNKS: usize = 2;
/// A mark costs a question to each partition: one at a time, and not more often.
const MARK_EVERY: Duration = Duration::from_millis(200);
/// How often the masters are asked how full they are.
const LOADS_EVERY: Duration = Duration::from_secs(1);
/// They are asked sooner where what was written since may have taken this part of the room that there was: a small Redis
/// is full within a second.
const ROOM_PART: u64 = 4;
/// How often the checkpoint is written.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How often it is shown how far it is.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// How long it waits at a time before it looks around.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// Writes whose end is not known where a load was killed: all that may be remembered, and the chunks on their way.
const OVERLAP: usize = PENDING_MAX + 4 * 512;

/// A load under way.
pub(super) struct Load<'w> {
    pub(super) job: Job,
    pub(super) inputs: Arc<[Input]>,
    pub(super) sink: RedisSink,
    pub(super) settling: Settling<Place>,
    pub(super) follower: Option<Following>,
    pub(super) report: Report,
    pub(super) watch: &'w mut dyn Watch,
    pub(super) stop: &'w AtomicBool,
    pub(super) clock: SystemClock,
    pace: Pace,
    rejects: Rejects,
    checkpoint: Option<(std::path::PathBuf, Checkpoint)>,
    /// True where it goes on with a load that was ended.
    goes_on: bool,
    /// Writes that a killed run before this one may have done, so far ahead.
    pub(super) overlap: usize,
    evicted_before: Vec<(String, u64)>,
    reach: Arc<Reach>,
    bytes_all: u64,
    looked: Duration,
    /// Bytes that were left on the fullest master then.
    room: Option<u64>,
    /// Bytes that were written since, about.
    pub(super) unlooked: u64,
    saved: Duration,
    shown: Duration,
    pub(super) back: Vec<Back>,
}

/// The thread that reads the export.
struct Reading {
    chunks: Receiver<Chunk>,
    thread: JoinHandle<Result<Mapper, FeedError>>,
}

/// Carries a load out. The report is what was done, also where it ended early.
pub(super) async fn load(
    mut prepared: Prepared,
    watch: &mut dyn Watch,
    stop: &AtomicBool,
) -> Result<Report, Trouble> {
    let settings = &prepared.settings;
    let sink =
        RedisSink::new(settings.redis.clone(), settings.kafka.group.clone(), settings.limits.value_bytes);
    let loads = match sink.loads().await {
        Ok(loads) => Some(loads),
        // It only reads: how full Redis is would be good to know.
        Err(_) if prepared.job.dry_run => None,
        Err(error) => return Err(Trouble::Redis(error)),
    };
    let estimate = loads.as_ref().and_then(|loads| prepared.fit(loads));
    match &estimate {
        Some(fit) if !fit.fits() && !prepared.job.even_if_full && !prepared.job.dry_run => {
            if let Some((path, _)) = prepared.checkpoint.as_ref().filter(|_| !prepared.goes_on) {
                Checkpoint::remove(path)?;
            }
            return Err(Trouble::DoesNotFit(fit.clone()));
        }
        Some(fit) if !fit.fits() => watch.note("it does not fit, as far as that can be told"),
        Some(_) => {}
        None => watch.note("how many rows there are is not known: whether they fit is not either"),
    }
    let rejects = Rejects::open(prepared.job.rejects.as_deref(), prepared.goes_on)
        .map_err(|error| Trouble::Usage(format!("the file of rejects cannot be written: {error}")))?;
    let clock = SystemClock::new();
    let follower = prepared.follow.take().map(Following::start);
    let place = prepared.checkpoint.as_ref().map_or_else(Place::default, |(_, held)| held.place);
    let reach = Arc::new(Reach::default());
    let mut load = Load {
        report: Report {
            entity: prepared.job.entity.clone(),
            dry_run: prepared.job.dry_run,
            protection: if follower.is_some() { Protection::Topics } else { Protection::None },
            columns_missing: prepared.missing,
            estimate,
            ..Report::default()
        },
        pace: Pace::new(prepared.job.rate, clock.now().monotonic),
        goes_on: prepared.goes_on,
        overlap: if prepared.goes_on { OVERLAP } else { 0 },
        room: loads.as_deref().and_then(|loads| least_room(loads, prepared.job.fill)),
        unlooked: 0,
        evicted_before: evicted(loads.as_deref().unwrap_or_default()),
        inputs: Arc::clone(&prepared.inputs),
        settling: Settling::new(prepared.job.over == Over::Anything),
        checkpoint: prepared.checkpoint,
        bytes_all: prepared.bytes_all,
        reach: Arc::clone(&reach),
        job: prepared.job,
        sink,
        follower,
        watch,
        stop,
        clock,
        rejects,
        looked: Duration::ZERO,
        saved: Duration::ZERO,
        shown: Duration::ZERO,
        back: Vec::new(),
    };
    if prepared.goes_on {
        let Place { input, row } = place;
        load.watch.note(&format!("goes on with a load that was begun, at file {} row {row}", input + 1));
    }
    let feed = Feed::new(prepared.inputs, load.job.reading.clone(), prepared.mapper, place, reach);
    let ended = match load.wait_for_topics().await {
        Ok(()) => load.run(feed, &prepared.entity, &prepared.settings).await,
        Err(ended) => ended,
    };
    load.finish(ended).await
}

impl Load<'_> {
    async fn run(
        &mut self,
        feed: Feed,
        entity: &crate::entity::Entity,
        settings: &crate::settings::Settings,
    ) -> Ended {
        let mut reading = match read(feed) {
            Ok(reading) => reading,
            Err(ended) => return ended,
        };
        let loaded = self.take_chunks(&mut reading).await;
        if let Err(ended) = loaded {
            // The thread may wait for a standard input that never comes: it ends where nobody takes its chunks, or
            // with the process.
            return ended;
        }
        // Nothing more comes of it: it is at its end.
        let mapper = match reading.thread.join() {
            Ok(Ok(mapper)) => mapper,
            Ok(Err(error)) => return Ended::Input(chain(&error)),
            Err(_) => return Ended::Input("the reader panicked".to_owned()),
        };
        self.report.files = self.inputs.len();
        if let Err(ended) = self.settle().await {
            return ended;
        }
        if self.settling.is_truncated() {
            return Ended::Truncated;
        }
        if self.job.sweep && !self.job.dry_run {
            return match sweep::sweep(self, mapper, entity, settings).await {
                // From then on it found nothing to delete.
                Ok(()) if self.settling.is_truncated() => Ended::Truncated,
                Ok(()) => Ended::Done,
                Err(ended) => ended,
            };
        }
        Ended::Done
    }

    async fn take_chunks(&mut self, reading: &mut Reading) -> Result<(), Ended> {
        loop {
            self.tend().await?;
            // What a run that was killed may have written is still to be taken back.
            if self.settling.is_truncated() && self.overlap == 0 {
                return Err(Ended::Truncated);
            }
            if self.settling.pending_count() >= PENDING_MAX {
                // The follower is behind: what is remembered has a bound.
                self.mark();
                self.listen_for(TICK).await?;
                continue;
            }
            match timeout(TICK, reading.chunks.recv()).await {
                Err(_) => {}
                Ok(None) => return Ok(()),
                Ok(Some(chunk)) => self.apply(chunk).await?,
            }
        }
    }

    /// Everything that is to be done between two chunks.
    async fn tend(&mut self) -> Result<(), Ended> {
        self.listen()?;
        self.take_back().await?;
        let now = self.clock.now().monotonic;
        if now.saturating_sub(self.shown) >= SHOW_EVERY {
            self.shown = now;
            let left = self.report.keys_present + self.report.keys_changed + self.report.keys_older;
            self.watch.progress(Progress {
                bytes: self.reach.bytes.load(Ordering::Relaxed),
                bytes_all: self.bytes_all,
                rows: self.report.rows,
                written: self.report.keys_written,
                left,
            });
        }
        if self.job.dry_run {
            return Ok(());
        }
        let may_be_full = self.room.is_some_and(|room| self.unlooked >= room / ROOM_PART);
        if may_be_full || now.saturating_sub(self.looked) >= LOADS_EVERY {
            self.looked = now;
            self.unlooked = 0;
            // Where they do not answer, the next write says so.
            if let Ok(loads) = self.sink.loads().await {
                self.judge(&loads)?;
            }
        }
        let is_due = self.follower.as_ref().is_some_and(|it| now.saturating_sub(it.marked) >= MARK_EVERY);
        if is_due {
            self.mark();
        }
        Ok(())
    }

    fn judge(&mut self, loads: &[NodeLoad]) -> Result<(), Ended> {
        let share = share(loads);
        self.pace.saw_share(share, self.job.fill);
        self.room = least_room(loads, self.job.fill);
        if share >= self.job.fill {
            let percent = share * 100.0;
            return Err(Ended::Full(format!("{percent:.0} % of maxmemory is used")));
        }
        let more = evicted(loads).iter().any(|(address, count)| {
            let before = self.evicted_before.iter().find(|(known, _)| known == address);
            before.is_some_and(|(_, before)| count > before)
        });
        if more { Err(Ended::Evicts) } else { Ok(()) }
    }

    /// Writes a chunk.
    async fn apply(&mut self, chunk: Chunk) -> Result<(), Ended> {
        let Chunk { puts, rows_of, rejects, rows, idle_rows, repeated, end, withheld: _ } = chunk;
        self.report.rows += rows;
        self.report.rows_without_key += idle_rows;
        self.report.keys_repeated += repeated;
        for reject in rejects {
            self.reject(reject.input, reject.row, &reject.reason)?;
        }
        if self.job.dry_run {
            self.report.keys_written += count(puts.len());
            return Ok(());
        }
        self.listen()?;
        let (puts, rows_of) = self.choose(puts, rows_of);
        self.take_back().await?;
        let written = puts.len();
        let before = self.clock.now().monotonic;
        self.put(puts, rows_of).await?;
        if self.follower.is_some() {
            self.settling.reach(end);
        } else {
            self.settled(end)?;
        }
        let now = self.clock.now().monotonic;
        let pause = self.pace.pause(written, now.saturating_sub(before), now);
        if !pause.is_zero() {
            let until = now + pause;
            while self.clock.now().monotonic < until {
                let left = until.saturating_sub(self.clock.now().monotonic);
                self.listen_for(left.min(TICK)).await?;
                // At a low rate it may be a long one, and a change that races is not to wait for it.
                self.tend().await?;
            }
        }
        Ok(())
    }

    fn reject(&mut self, input: usize, row: u64, reason: &str) -> Result<(), Ended> {
        self.report.rows_rejected += 1;
        let name = self.inputs.get(input).map(Input::name).unwrap_or_default();
        self.report.first_reject.get_or_insert_with(|| format!("{name}, row {row}: {reason}"));
        if let Err(error) = self.rejects.add(&name, row, reason) {
            return Err(Ended::Input(format!("the file of rejects cannot be written: {error}")));
        }
        if self.report.rows_rejected > self.job.max_errors { Err(Ended::TooManyErrors) } else { Ok(()) }
    }

    /// Everything up to there is done for good.
    pub(super) fn settled(&mut self, place: Place) -> Result<(), Ended> {
        let now = self.clock.now().monotonic;
        if let Some((path, checkpoint)) = &mut self.checkpoint {
            checkpoint.place = place;
            if now.saturating_sub(self.saved) >= SAVE_EVERY {
                self.saved = now;
                checkpoint.save(path).map_err(|error| Ended::Input(chain(&error)))?;
            }
        }
        Ok(())
    }

    /// Ends: what can still be settled is, the checkpoint says how far it got, and the report is made.
    async fn finish(mut self, mut ended: Ended) -> Result<Report, Trouble> {
        if !matches!(ended, Ended::Done | Ended::ProtectionLost | Ended::TooManyChanges) {
            // What it has written by now is not left in doubt where that can be helped. `stop` is heeded no more.
            let stop = std::mem::replace(&mut self.stop, &NEVER);
            let _ = timeout(SETTLE_LAST, self.settle()).await;
            self.stop = stop;
        }
        self.report.unsettled += count(self.settling.pending_count() + self.back.len());
        if let Some(mut follower) = self.follower.take() {
            follower.stop.store(true, Ordering::Relaxed);
            follower.heard.close();
            self.report.records_followed = follower.tally.records.load(Ordering::Relaxed);
            self.report.records_unreadable = follower.tally.unreadable.load(Ordering::Relaxed);
            if let Some(thread) = follower.thread.take() {
                let _ = tokio::task::spawn_blocking(move || thread.join()).await;
            }
        }
        if let Err(error) = self.rejects.flush()
            && ended == Ended::Done
        {
            ended = Ended::Input(format!("the file of rejects cannot be written: {error}"));
        }
        self.report.complete =
            ended == Ended::Done && self.report.unsettled == 0 && self.report.keys_refused == 0;
        if let Some((path, checkpoint)) = &self.checkpoint {
            let nothing_done = checkpoint.place == Place::default() && self.report.keys_written == 0;
            let in_vain = ended == Ended::Truncated && self.report.unsettled == 0;
            if self.report.complete || in_vain || (nothing_done && !self.goes_on) {
                Checkpoint::remove(path)?;
            } else {
                checkpoint.save(path)?;
                self.report.checkpoint = Some(path.display().to_string());
            }
        }
        self.report.took_ms = u64::try_from(self.clock.now().monotonic.as_millis()).unwrap_or(u64::MAX);
        self.report.ended = ended;
        Ok(self.report)
    }

    /// A pause that a slow answer asks for, with what is heard taken in.
    pub(super) fn pace_of(&mut self, writes: usize, took: Duration) -> Duration {
        let now = self.clock.now().monotonic;
        self.pace.pause(writes, took, now)
    }

    /// The time, for measuring.
    pub(super) fn now(&self) -> Duration {
        self.clock.now().monotonic
    }

    /// Tends, for jobs that go on after the load.
    pub(super) async fn look_around(&mut self) -> Result<(), Ended> {
        self.tend().await
    }
}

/// How long what was written before an early end is given to be settled.
const SETTLE_LAST: Duration = Duration::from_secs(10);
/// For what is to be finished after a stop.
static NEVER: AtomicBool = AtomicBool::new(false);

fn read(mut feed: Feed) -> Result<Reading, Ended> {
    let (sender, chunks) = channel(CHUNKS);
    let thread = std::thread::Builder::new().name("export".to_owned()).spawn(move || {
        while let Some(chunk) = feed.next_chunk()? {
            if sender.blocking_send(chunk).is_err() {
                break;
            }
        }
        Ok(feed.into_mapper())
    });
    match thread {
        Ok(thread) => Ok(Reading { chunks, thread }),
        Err(error) => Err(Ended::Input(format!("no thread: {error}"))),
    }
}

fn evicted(loads: &[NodeLoad]) -> Vec<(String, u64)> {
    loads.iter().map(|load| (load.address.clone(), load.evicted_keys)).collect()
}

pub(super) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
