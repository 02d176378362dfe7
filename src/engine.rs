//! Drives a worker with real parts: awaits one input, lets the worker apply it, carries out what it wants.
//!
//! The only place that awaits on behalf of a worker. Everything runs on the worker's own thread, in a
//! single-threaded runtime; answers that are waited for are futures of this loop, never detached tasks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

use crate::batch::{Batch, LaneId, LaneName, Outcomes};
use crate::clock::SystemClock;
use crate::dead_letter::{DeadLetters, Letter, PendingLetter, Stage, Unsent};
use crate::decode::{RegisteredSchema, SchemaRef, UnknownSchema};
use crate::entity::Entity;
use crate::error::WorldError;
use crate::record::{AsRecord, OwnedRecord};
use crate::refill::LaneReport;
use crate::registry::{FetchError, RegistryClient};
use crate::sink::Sink;
use crate::source::{Progress, Released, ToSource, ToWorker};
use crate::worker::{Action, Counts, Input, LaneView, NotTold, Worker};

/// How often counters and lane views are handed to the [`Observer`] at least.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(250);
/// How often is looked whether somebody asks for a refill, and told how far it is.
const ASKED_INTERVAL: Duration = Duration::from_secs(1);
/// A stashed message to the source is tried again after so long.
const SOURCE_RETRY: Duration = Duration::from_millis(20);

/// Hears what a worker counted; makes metrics, logs and the status page of it.
pub trait Observer {
    /// Counters since the last call, and the lanes as they stand.
    fn observe(&self, counts: Counts, lanes: Vec<LaneView>);
    /// A batch is about to be sent: what was known of its keys holds no more.
    fn batch_sent(&self, _batch: &Batch) {}
    /// Keys of that entity are about to be deleted with a table that was truncated.
    fn purge_sent(&self, _entity: usize) {}
    /// A lane is left or lost: from now on another owner may write its keys.
    fn lane_left(&self, _lane: LaneId) {}
    /// A claim was answered; the error is why it failed.
    fn claim_answered(&self, error: Option<&WorldError>);
    /// A batch was answered after so long, at that Unix millisecond.
    fn batch_answered(&self, batch: &Batch, outcomes: &Outcomes, took: Duration, now_ms: i64);
    /// Letters of records that failed at these stages were acknowledged; the error is why others were not.
    fn letters_sent(&self, stages: &[Stage], error: Option<&WorldError>);
}

/// The channels of one worker.
#[derive(Debug)]
pub struct Channels<R> {
    /// Assignments, releases, rewinds: taken before records.
    pub control: Receiver<ToWorker<R>>,
    /// Records: taken only while the worker has room.
    pub records: Receiver<ToWorker<R>>,
    /// Records of history: taken only while nothing else is there.
    pub history: Receiver<ToWorker<R>>,
    /// Records that were received and not handed out yet; `None` at the start.
    pub received: Option<ToWorker<R>>,
    /// What the worker asks of the source.
    pub to_source: SyncSender<ToSource>,
}

impl<R> Channels<R> {
    /// The next message in the order in which the source sent it, as far as that matters: never records before
    /// a control word that was sent ahead of them. `None` once the control channel is closed.
    ///
    /// Polling the control channel first is not enough: a word and the records behind it may both arrive
    /// between the look at the one channel and the look at the other. So records that were received wait until
    /// the control channel was found empty afterwards. May be dropped and called again at any time.
    async fn next(&mut self, hungry: bool, curious: bool) -> Option<ToWorker<R>> {
        loop {
            match self.control.try_recv() {
                Ok(word) => return Some(word),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            if let Some(records) = self.received.take() {
                return Some(records);
            }
            tokio::select! {
                biased;
                word = self.control.recv() => return word,
                Some(records) = self.records.recv(), if hungry => self.received = Some(records),
                Some(history) = self.history.recv(), if curious => self.received = Some(history),
            }
        }
    }
}

/// The edges that a worker's actions go to.
#[derive(Debug)]
pub struct Edges<'e, S, D> {
    /// The cache.
    pub sink: &'e S,
    /// Where records are set aside.
    pub letters: &'e D,
    /// Where schemas are fetched from; without one, no record needs any.
    pub registry: Option<&'e RegistryClient>,
}

/// Runs a worker until the source has closed its control channel.
pub async fn drive<R: AsRecord, S: Sink, D: DeadLetters, O: Observer>(
    mut worker: Worker<R>,
    mut channels: Channels<R>,
    edges: Edges<'_, S, D>,
    progress: &Progress,
    clock: SystemClock,
    observer: &O,
) {
    let Edges { sink, letters, registry } = edges;
    let to_source = channels.to_source.clone();
    let mut waiting: FuturesUnordered<LocalBoxFuture<'_, Input<R>>> = FuturesUnordered::new();
    let mut actions = Vec::new();
    let mut answers: Vec<(SyncSender<Released>, Released)> = Vec::new();
    let mut stash: VecDeque<ToSource> = VecDeque::new();
    let mut observed_at = Duration::ZERO;
    let mut asked = Asking::default();

    loop {
        let now = clock.now();
        if now.monotonic >= observed_at + OBSERVE_INTERVAL {
            observed_at = now.monotonic;
            let views = worker.views();
            if let Some((id, reports)) = asked.due(&views, now.monotonic) {
                waiting.push(Box::pin(async move {
                    // What cannot be heard or told now is in a second.
                    let Ok(asked) = sink.refill_asked().await else { return Input::Tick };
                    if let (Some(id), Some(stands)) = (id, &asked)
                        && stands.request.id == *id
                    {
                        let _ = sink.tell_refill(&id, &reports, now.unix_ms).await;
                    }
                    Input::RefillAsked(asked)
                }));
            }
            observer.observe(worker.take_counts(), views);
        }
        let mut wake = worker.next_wake().unwrap_or(Duration::MAX).min(observed_at + OBSERVE_INTERVAL);
        if !stash.is_empty() {
            wake = wake.min(now.monotonic + SOURCE_RETRY);
        }
        let input = tokio::select! {
            biased;
            Some(answer) = waiting.next(), if !waiting.is_empty() => answer,
            message = channels.next(worker.hungry(), worker.curious()) => match message {
                Some(message) => Input::Source(message),
                None => break,
            },
            () = tokio::time::sleep(wake.saturating_sub(now.monotonic)) => Input::Tick,
        };
        let now = clock.now();
        asked.heard(&input);
        worker.apply(input, now, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Claim(claim) => waiting.push(Box::pin(async move {
                    let taken = sink.take_over(&claim).await;
                    observer.claim_answered(taken.as_ref().err());
                    Input::Claimed(claim.lane, taken)
                })),
                Action::Apply(batch) => waiting.push(Box::pin(async move {
                    let started = clock.now().monotonic;
                    observer.batch_sent(&batch);
                    let outcomes = sink.apply(&batch).await;
                    let now = clock.now();
                    let took = now.monotonic.saturating_sub(started);
                    observer.batch_answered(&batch, &outcomes, took, now.unix_ms);
                    Input::Applied(batch, outcomes)
                })),
                Action::Purge(purge) => waiting.push(Box::pin(async move {
                    observer.purge_sent(purge.entity);
                    let purged = sink.purge(&purge).await;
                    Input::Purged(purge, purged)
                })),
                Action::SendLetters { lane, name, flight, letters: pending } => {
                    let entities = Arc::clone(worker.entities());
                    waiting.push(Box::pin(async move {
                        let sent = pending.len();
                        let (acknowledged, unsent) = send_letters(letters, &entities, &name, pending).await;
                        observer.letters_sent(&acknowledged, unsent.as_ref().map(|(_, error)| error));
                        Input::LettersSent { lane, flight, sent, unsent }
                    }));
                }
                Action::FetchSchema(schema) => waiting
                    .push(Box::pin(async move { Input::Schema(schema, fetch(registry, &schema).await) })),
                Action::Store(lane, stored) => progress.store(lane, stored),
                Action::Source(message) => stash.push_back(message),
                Action::Leave(lane) => {
                    observer.lane_left(lane);
                    waiting.push(Box::pin(async move {
                        sink.release(lane).await;
                        Input::Left(lane)
                    }));
                }
                Action::Abandon(lane) => {
                    observer.lane_left(lane);
                    sink.abandon(lane);
                }
                Action::Answer(done, released) => answers.push((done, released)),
            }
        }
        while let Some(message) = stash.pop_front() {
            match to_source.try_send(message) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) => {
                    stash.push_front(message);
                    break;
                }
                // The source is gone: nobody is left to ask.
                Err(TrySendError::Disconnected(_)) => break,
            }
        }
        for (done, released) in answers.drain(..) {
            // Positions are in `progress` by now. An answer that nobody waits for any more is no error.
            let _ = done.try_send(released);
        }
    }
    observer.observe(worker.take_counts(), worker.views());
}

/// When a worker looks again whether somebody asks for a refill.
#[derive(Debug, Default)]
struct Asking {
    asked_at: Option<Duration>,
    /// True while a request stands: then its lanes tell how far they are.
    stands: bool,
}

impl Asking {
    /// What is to be told, and of which request, where it is time to look. A worker without lanes does not.
    fn due(&mut self, views: &[LaneView], now: Duration) -> Option<Telling> {
        let due = self.asked_at.is_none_or(|at| now >= at + ASKED_INTERVAL);
        if !due || views.is_empty() {
            return None;
        }
        self.asked_at = Some(now);
        let reported = || views.iter().filter_map(|view| Some((&view.name, view.asked.as_ref()?)));
        let id = reported().map(|(_, (id, _))| id).max().filter(|_| self.stands).map(Arc::clone);
        let of_it = reported().filter(|(_, (of, _))| Some(of) == id.as_ref());
        let reports = of_it.map(|(name, (_, report))| (name.clone(), *report)).collect();
        Some((id, reports))
    }

    fn heard<R>(&mut self, input: &Input<R>) {
        if let Input::RefillAsked(asked) = input {
            self.stands = asked.is_some();
        }
    }
}

/// A request's name, and what is told of it.
type Telling = (Option<Arc<str>>, Vec<(LaneName, LaneReport)>);

async fn fetch(registry: Option<&RegistryClient>, schema: &SchemaRef) -> Result<RegisteredSchema, NotTold> {
    let Some(registry) = registry else {
        return Err(NotTold::Unknown(UnknownSchema { place: "no registry".to_owned() }));
    };
    registry.fetch(schema).await.map_err(|error| match error {
        FetchError::NotFound(unknown) => NotTold::Unknown(unknown),
        FetchError::World { place, what } => {
            NotTold::World(WorldError::Registry { place, what: what.to_string() })
        }
    })
}

/// Sends letters one after the other: where those failed that were acknowledged, and those that were not.
/// After the first error the others are not tried: each would wait as long for nothing, and the lane with it.
async fn send_letters<D: DeadLetters>(
    letters: &D,
    entities: &[Entity],
    name: &LaneName,
    pending: Vec<PendingLetter>,
) -> (Vec<Stage>, Unsent) {
    let mut acknowledged = Vec::new();
    let mut pending = pending.into_iter();
    while let Some(letter) = pending.next() {
        let sent = match &letter {
            PendingLetter::Whole(whole) => letters.send(whole).await,
            PendingLetter::ByOffset { offset, entity, refusal } => {
                match letters.read_again(name, *offset).await {
                    Ok(record) => {
                        let record = record.unwrap_or_else(|| OwnedRecord {
                            topic: name.topic.clone(),
                            partition: name.partition,
                            offset: *offset,
                            ..OwnedRecord::default()
                        });
                        let letter = Letter {
                            record,
                            entity: entities.get(*entity).map(|entity| Arc::clone(&entity.name)),
                            stage: Stage::Apply,
                            kind: refusal.kind(),
                            detail: refusal.to_string(),
                        };
                        letters.send(&letter).await
                    }
                    Err(error) => Err(error),
                }
            }
        };
        match (sent, &letter) {
            (Err(error), _) => {
                let unsent = std::iter::once(letter).chain(pending).collect();
                return (acknowledged, Some((unsent, error)));
            }
            (Ok(()), PendingLetter::Whole(whole)) => acknowledged.push(whole.stage),
            (Ok(()), PendingLetter::ByOffset { .. }) => acknowledged.push(Stage::Apply),
        }
    }
    (acknowledged, None)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::Sender;

    use super::*;
    use crate::batch::LaneId;
    use crate::source::Delivery;

    /// Found by the demo on a busy machine: a lane's first records were received before its assignment, taken
    /// for a stranger's, and dropped.
    #[test]
    fn records_never_overtake_the_assignment_that_was_sent_before_them() {
        // Many pairs of threads, so that the machine takes one away between its look at the one channel and at
        // the other.
        const PAIRS: usize = 24;
        std::thread::scope(|scope| {
            for _ in 0..PAIRS {
                let (control_sender, control) = tokio::sync::mpsc::channel(64);
                let (records_sender, records) = tokio::sync::mpsc::channel(4);
                let (to_source, _) = std::sync::mpsc::sync_channel(1);
                let (_, history) = tokio::sync::mpsc::channel(1);
                let channels = Channels::<()> { control, records, history, received: None, to_source };
                scope.spawn(move || assign_and_deliver(&control_sender, &records_sender));
                scope.spawn(move || expect_order(channels));
            }
        });
    }

    fn assign_and_deliver(control: &Sender<ToWorker<()>>, records: &Sender<ToWorker<()>>) {
        for lane in (0..4_000).map(LaneId) {
            let delivery = Delivery { lane, reading: 0, record: () };
            // Any control word will do.
            control.blocking_send(ToWorker::Lost(vec![lane])).unwrap();
            records.blocking_send(ToWorker::Records(vec![delivery])).unwrap();
        }
    }

    fn expect_order(mut channels: Channels<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut known = None;
        while let Some(message) = runtime.block_on(channels.next(true, false)) {
            match message {
                ToWorker::Lost(lanes) => known = lanes.first().copied(),
                ToWorker::Records(deliveries) => {
                    let lane = deliveries.first().map(|delivery| delivery.lane);
                    assert!(lane <= known, "records of {lane:?}, but {known:?} was the last word");
                }
                other => panic!("nobody sent {other:?}"),
            }
        }
    }
}
