//! A running process: the source's thread, the workers' threads, and what the admin side sees of them.
//!
//! Assembles real parts and joins what it started; decides nothing about a record, and sets up neither logs nor
//! signals (that is the command's). `stoker run` and `stoker demo` both come through [`run`].

mod applied;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use tokio::sync::mpsc::channel;

use self::applied::Applied;
use self::watch::{Board, Watcher};
use crate::admin::Status;
use crate::batch::LaneName;
use crate::clock::SystemClock;
use crate::dead_letter::{DeadLetters, Letter};
use crate::engine::{Channels, Edges, drive};
use crate::entity::{Entity, Topics};
use crate::error::WorldError;
use crate::lane::{LaneOptions, OnRefused};
use crate::pipeline::Pipeline;
use crate::record::OwnedRecord;
use crate::refill::{FINGERPRINT_BYTES_MAX, RefillOptions, WINDOW_RECORDS};
use crate::registry::RegistryClient;
use crate::settings::{OnError, Settings};
use crate::sink::Rewrite;
use crate::sink::redis::RedisSink;
use crate::source::kafka::{DeadLetterProducer, KafkaSource};
use crate::source::{Progress, StopReason, WorkerSenders};
use crate::worker::{Worker, WorkerOptions};

/// Control words that may wait for one worker: a rebalance sends a few a lane.
const CONTROL_WORDS: usize = 1024;
/// Chunks of records that may wait for one worker. Few: what waits longer is better off in librdkafka's queue,
/// where it is bounded by bytes.
const CHUNKS: usize = 4;
/// Parts of windows of history that may wait for one worker.
const HISTORY_PARTS: usize = 2;
/// Share of `limits.memory` for windows of history, over all workers: one part in so many.
const WINDOW_SHARE: usize = 8;
/// Share of `limits.memory` for what refills have seen, over all workers: one part in so many.
const SEEN_SHARE: usize = 4;
/// Lanes of a worker that these shares are reckoned for, two windows each. More share nothing, and take more.
const LANES_RECKONED: usize = 4;
/// What all workers together may have asked the source for.
const ASKS: usize = 1024;
/// Share of `limits.memory` for the batches that are filled, over all workers: one part in so many. As much again is in
/// flight, and its commands beside. With 8 lanes each has half a MiB: a drain took 6 % less CPU time than with one, since
/// what all lanes hold is nearer to what the processor's own cache holds, and coalesced as much.
const BATCHES_SHARE: usize = 32;
/// Share of `limits.memory` for records that wait for their lanes, over all workers: one part in so many.
const BACKLOG_SHARE: usize = 16;
/// Records that may wait for their lanes in one worker, however small they are.
const BACKLOG_RECORDS: usize = 65_536;
/// How often the admin side's view is renewed.
const VIEW_INTERVAL: Duration = Duration::from_millis(250);

/// Topics of all entities as the consumer subscribes to them, each once.
pub fn subscription(settings: &Settings) -> Vec<String> {
    let mut topics: Vec<String> = settings.entities.iter().flat_map(topics_of).collect();
    topics.sort();
    topics.dedup();
    topics
}

/// Topics of one entity, as the consumer subscribes to them.
pub fn topics_of(entity: &Entity) -> Vec<String> {
    match &entity.topics {
        Topics::Names(names) => names.clone(),
        Topics::Pattern(pattern) => {
            // The consumer wants what the settings say: POSIX knows no groups without a number.
            let inner = pattern.as_str().trim_start_matches("^(?:");
            vec![format!("^{}", inner.strip_suffix(")$").unwrap_or(inner))]
        }
    }
}

/// Runs the engine until `stop` is set or it cannot go on, as a part of that rewrite, where there is one. Blocks.
pub fn run(
    settings: &Settings,
    status: &Status,
    clock: SystemClock,
    rewrite: Option<&Rewrite>,
    stop: &AtomicBool,
) -> StopReason {
    let source = match KafkaSource::connect(&settings.kafka, &subscription(settings), &settings.limits) {
        Ok(source) => source,
        Err(error) => return StopReason::Failed { detail: crate::telemetry::chain(&error) },
    };
    let letters = match &settings.errors.on_error {
        OnError::DeadLetter { topic } => match DeadLetterProducer::connect(&settings.kafka, topic) {
            Ok(producer) => Letters::To(Box::new(producer)),
            Err(error) => return StopReason::Failed { detail: crate::telemetry::chain(&error) },
        },
        OnError::Stop | OnError::Skip => Letters::Nowhere,
    };
    let registry = match settings.registry.clone().map(RegistryClient::new).transpose() {
        Ok(registry) => registry,
        Err(detail) => return StopReason::Failed { detail },
    };
    let count = settings.limits.workers.max(1);
    let options = worker_options(settings, count);
    let progress = Progress::default();
    let board = Board::new(count, settings.entities.clone());
    let (to_source, from_workers) = sync_channel(ASKS);
    let ended = AtomicBool::new(false);

    let reason = std::thread::scope(|scope| {
        let mut senders = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (control, control_received) = channel(CONTROL_WORDS);
            let (records, records_received) = channel(CHUNKS);
            let (history, history_received) = channel(HISTORY_PARTS);
            senders.push(WorkerSenders { control, records, history });
            let channels = Channels {
                control: control_received,
                records: records_received,
                history: history_received,
                received: None,
                to_source: to_source.clone(),
            };
            let (letters, progress, board) = (&letters, &progress, &board);
            let registry = registry.as_ref();
            let mut pipeline =
                Pipeline::new(settings.entities.clone()).with_value_bytes_max(settings.limits.value_bytes);
            if let Some(registry) = &settings.registry {
                pipeline = pipeline.with_registry(registry.wire);
            }
            let worker = Worker::new(pipeline, options);
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            let spawned = thread.spawn_scoped(scope, move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let sink = RedisSink::new(
                    settings.redis.clone(),
                    settings.kafka.group.clone(),
                    settings.limits.value_bytes,
                )
                .with_refill_memory(settings.refill.memory)
                .rewriting(rewrite.cloned());
                let applied = settings.verify.map(|verify| Applied::new(verify, settings, clock));
                let watcher = Watcher::new(index, settings, clock, board, &sink, applied.as_ref());
                let edges = Edges { sink: &sink, letters, registry };
                let driven = drive(worker, channels, edges, progress, clock, &watcher);
                match &applied {
                    None => runtime.block_on(driven),
                    Some(applied) => runtime.block_on(async {
                        tokio::select! {
                            () = driven => {}
                            () = applied.look_for_ever() => {}
                        }
                    }),
                }
                Ok::<(), std::io::Error>(())
            });
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(_) => return failed("a worker's thread could not be started"),
            }
        }
        drop(to_source);
        let view = scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                board.show(status, &source.status());
                let draining = stop.load(Ordering::Acquire);
                status.update(|snapshot| snapshot.draining |= draining);
                std::thread::sleep(VIEW_INTERVAL);
            }
        });
        let reason = run_source(&source, senders, &from_workers, &progress, stop);
        // The senders are gone, so the workers end; a panic of one ends the process with a reason.
        let panicked =
            threads.into_iter().map(|thread| thread.join()).fold(None, |found, joined| match joined {
                Ok(Ok(())) => found,
                Ok(Err(_)) => Some("a worker's runtime could not be started"),
                Err(_) => Some("a worker panicked"),
            });
        ended.store(true, Ordering::Release);
        let _ = view.join();
        panicked.map_or(reason, failed)
    });
    source.end();
    reason
}

fn run_source<'s>(
    source: &'s KafkaSource,
    senders: Vec<WorkerSenders<crate::source::kafka::KafkaRecord<'s>>>,
    from_workers: &Receiver<crate::source::ToSource>,
    progress: &Progress,
    stop: &AtomicBool,
) -> StopReason {
    source.run(&senders, from_workers, progress, stop)
}

fn failed(detail: &str) -> StopReason {
    StopReason::Failed { detail: detail.to_owned() }
}

#[expect(clippy::cast_precision_loss, reason = "a rate, and few workers")]
fn worker_options(settings: &Settings, workers: usize) -> WorkerOptions {
    let limits = &settings.limits;
    WorkerOptions {
        lane: LaneOptions {
            batch_records: limits.batch_records,
            batch_bytes: limits.batch_bytes,
            on_refused: match settings.errors.on_error {
                OnError::DeadLetter { .. } => OnRefused::DeadLetter,
                OnError::Stop => OnRefused::Stop,
                OnError::Skip => OnRefused::Skip,
            },
            refill: RefillOptions {
                window_records: WINDOW_RECORDS,
                window_bytes: (limits.memory_bytes / WINDOW_SHARE / workers / LANES_RECKONED / 2).max(1),
                seen_max: limits.memory_bytes / SEEN_SHARE / workers / LANES_RECKONED / FINGERPRINT_BYTES_MAX,
                seed: std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
            },
        },
        batches_bytes: limits.memory_bytes / BATCHES_SHARE / workers,
        backlog_bytes: (limits.memory_bytes / BACKLOG_SHARE / workers).max(1),
        backlog_records: BACKLOG_RECORDS,
        breaker_share: settings.errors.breaker.share,
        breaker_of: settings.errors.breaker.of,
        workers,
        refill_rate: settings.refill.rate.map(|rate| f64::from(rate) / workers as f64),
    }
}

/// Where dead letters go.
enum Letters {
    To(Box<DeadLetterProducer>),
    /// Under the other policies no lane has a letter.
    Nowhere,
}

impl DeadLetters for Letters {
    async fn send(&self, letter: &Letter) -> Result<(), WorldError> {
        match self {
            Letters::To(producer) => producer.send(letter).await,
            Letters::Nowhere => Err(nowhere()),
        }
    }

    async fn read_again(&self, lane: &LaneName, offset: i64) -> Result<Option<OwnedRecord>, WorldError> {
        match self {
            Letters::To(producer) => producer.read_again(lane, offset).await,
            Letters::Nowhere => Err(nowhere()),
        }
    }
}

fn nowhere() -> WorldError {
    WorldError::Unreachable { node: "a dead letter topic: none is set".to_owned() }
}
