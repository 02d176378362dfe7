//! Taking partitions and giving them back.
//!
//! Called by the loop and never from a callback, so that a drain may take its time: release, wait, commit, and
//! only then unassign. What is not drained by the deadline is abandoned and not committed. Lost partitions are
//! dropped at once.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::commit::COMMIT_WITHIN;
use super::context;
use super::error;
use super::feed::{Sent, Word};
use super::lanes::Standing;
use super::poll::{Loop, list};
use super::positions::{self, Found};
use super::start::{Because, owed, start};
use crate::batch::{LaneId, LaneName};
use crate::settings::Start;
use crate::source::{Assignment, Released, StopReason, Stored};

/// Time for Kafka to say where new partitions start (measured: 1–3 ms for 6). Those without an answer are
/// taken paused, and asked for again.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

/// The same when asked again: it holds up the other lanes.
const RESOLVE_AGAIN_WITHIN: Duration = Duration::from_secs(2);

/// How long after the deadline a worker's answer is still waited for.
const ANSWER_GRACE: Duration = Duration::from_millis(500);

/// Step of that wait.
const ANSWER_STEP: Duration = Duration::from_millis(1);

/// What a release came to.
#[derive(Debug, Default)]
struct Release {
    /// Lanes whose in-flight work was finished.
    in_time: Vec<LaneId>,
    /// Lanes that were abandoned.
    abandoned: Vec<LaneId>,
}

impl Loop<'_, '_> {
    /// The group gives these partitions to this process.
    pub(super) fn assigned(&mut self, names: &[LaneName]) -> Result<(), StopReason> {
        let found = match positions::find(self.consumer(), names, RESOLVE_WITHIN) {
            Ok(found) => found,
            Err(error) => {
                self.count(&error);
                Vec::new()
            }
        };
        let mut found: HashMap<&LaneName, &Found> = found.iter().map(|found| (&found.name, found)).collect();

        let mut taken = TopicPartitionList::with_capacity(names.len());
        let mut paused = TopicPartitionList::new();
        for name in names {
            let position = found.get(name).map(|found| start(found.known, self.source.start).0);
            let added = taken.add_partition_offset(
                &name.topic,
                name.partition,
                Offset::Offset(position.unwrap_or(0)),
            );
            added.map_err(|error| cannot("assign", &error))?;
            if position.is_none() {
                paused.add_partition(&name.topic, name.partition);
            }
        }
        context::assign(self.consumer(), &taken).map_err(|error| cannot("assign", &error))?;
        for name in names {
            let worker = self.lanes.worker_for(name.partition, self.feeds.len());
            let id = self.lanes.add(name.clone(), worker);
            if self.stuck.get(worker) == Some(&true) {
                paused.add_partition(&name.topic, name.partition);
            }
            if let Some(found) = found.remove(name) {
                self.settle(id, found);
            }
        }
        if paused.count() > 0
            && let Err(error) = self.consumer().pause(&paused)
        {
            self.count(&error);
        }
        self.source.status.change(|picture| picture.assignment_count += 1);
        if !names.is_empty() {
            self.commit_stored(self.now());
            self.history_soon(|lane| lane.standing != Standing::Unresolved);
        }
        self.picture();
        Ok(())
    }

    /// Kafka has said where the lane starts: it is the worker's from now on.
    pub(super) fn settle(&mut self, id: LaneId, found: &Found) {
        let (position, because) = start(found.known, self.source.start);
        let (topic, partition) = (&found.name.topic, found.name.partition);
        let (committed, low, high) = (found.known.committed, found.known.low, found.known.high);
        match because {
            Because::Committed => tracing::info!(topic, partition, position, "partition assigned"),
            Because::Policy if self.source.start == Start::Refill => tracing::info!(
                topic,
                partition,
                position,
                "partition assigned; it has no commit: live changes are followed, and the history is refilled newest first"
            ),
            Because::Policy => {
                tracing::info!(topic, partition, position, "partition assigned; it has no commit");
            }
            Because::Added => {
                tracing::info!(topic, partition, position, "partition assigned; it was added to its topic");
            }
            Because::BelowLow => {
                self.source.status.missed(topic, committed.unwrap_or(low), low);
                tracing::error!(
                    topic,
                    partition,
                    committed,
                    low,
                    "retention took records that were never applied: live changes are followed, and what is left of \
                     the history is refilled over what Redis holds"
                );
            }
            Because::AboveHigh => tracing::error!(
                topic,
                partition,
                committed,
                high,
                "the committed position is past the end, so the topic was made anew: reading from the earliest position"
            ),
        }
        let Some(lane) = self.lanes.get_mut(id) else { return };
        lane.standing = Standing::Reading;
        lane.next = position;
        lane.committed = committed;
        let owed = owed(found.known, self.source.start, found.owed);
        lane.committed_owed = found.owed;
        lane.start = Stored { position, epoch: found.epoch, owed };
        lane.first_partition_count = found.first_partition_count;
        let assignment = Assignment {
            lane: id,
            name: found.name.clone(),
            // A commit past the end is of another log: no watermark is held against it, and none spares a master.
            // One that retention took is as good as none: all of the history is written over.
            committed: committed.filter(|_| !matches!(because, Because::AboveHigh | Because::BelowLow)),
            start: position,
            low,
            above: found.epoch,
            owed,
        };
        if let Some(feed) = self.feeds.get_mut(lane.worker) {
            feed.say(Word::Assign(assignment));
        }
        self.answered();
    }

    /// Asks again for the partitions whose start is not known.
    pub(super) fn resolve_late(&mut self) -> Result<(), StopReason> {
        let ids = self.lanes.that(|lane| lane.standing == Standing::Unresolved);
        let names: Vec<LaneName> =
            ids.iter().filter_map(|id| self.lanes.get(*id)).map(|lane| lane.name.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let found = match positions::find(self.consumer(), &names, RESOLVE_AGAIN_WITHIN) {
            Ok(found) => found,
            Err(error) => {
                self.count(&error);
                return Ok(());
            }
        };
        for found in found {
            let Some(id) = self.lanes.named(&found.name) else { continue };
            let (position, _) = start(found.known, self.source.start);
            if self.reposition(id, position) {
                self.settle(id, &found);
                self.set_pauses(id);
            }
        }
        Ok(())
    }

    /// The group takes these partitions back and waits: lets their lanes finish, commits, gives them back.
    pub(super) fn revoked(&mut self, names: &[LaneName]) -> Result<(), StopReason> {
        let ids = self.ids(names);
        let release = self.release(&ids, self.source.revoke_drain);
        if !release.abandoned.is_empty() {
            tracing::warn!(
                lane_count = release.abandoned.len(),
                "the drain deadline passed at a revoke: their last positions are not committed"
            );
        }
        self.commit_now(&release.in_time, COMMIT_WITHIN);
        self.forget(&ids);
        let given = context::unassign(self.consumer(), &list(names));
        given.map_err(|error| cannot("give back", &error))?;
        tracing::info!(partition_count = names.len(), "partitions given back");
        self.picture();
        Ok(())
    }

    /// These partitions are somebody else's already.
    pub(super) fn lost(&mut self, names: &[LaneName]) -> Result<(), StopReason> {
        tracing::warn!(partition_count = names.len(), "partitions lost: nothing of them is committed");
        let ids = self.ids(names);
        self.lose(&ids);
        let given = context::unassign(self.consumer(), &list(names));
        given.map_err(|error| cannot("give back", &error))?;
        self.picture();
        Ok(())
    }

    /// Lets everything finish within the drain, and commits it. Says the reason as it is by then.
    pub(super) fn drain(&mut self, reason: StopReason) -> StopReason {
        let ids = self.lanes.that(|_| true);
        if let StopReason::Fenced { .. } = reason {
            self.lose(&ids);
            let until = self.now().saturating_add(ANSWER_GRACE);
            while self.feeds.iter().any(|feed| !feed.is_empty()) && self.now() < until {
                let now = self.now();
                let sent: Vec<Sent> = self.feeds.iter_mut().map(|feed| feed.send(now)).collect();
                if !sent.contains(&Sent::Full) {
                    break;
                }
                std::thread::sleep(ANSWER_STEP);
            }
            return reason;
        }
        let release = self.release(&ids, self.source.drain);
        self.commit_now(&release.in_time, COMMIT_WITHIN);
        self.forget(&ids);
        match reason {
            StopReason::Signal if !release.abandoned.is_empty() => StopReason::DrainDeadline,
            other => other,
        }
    }

    fn ids(&self, names: &[LaneName]) -> Vec<LaneId> {
        names.iter().filter_map(|name| self.lanes.named(name)).collect()
    }

    /// Those of the lanes that workers know of, by worker.
    fn by_worker(&self, ids: &[LaneId]) -> HashMap<usize, Vec<LaneId>> {
        let mut by_worker: HashMap<usize, Vec<LaneId>> = HashMap::new();
        for lane in ids.iter().filter_map(|id| self.lanes.get(*id)) {
            if lane.standing != Standing::Unresolved {
                by_worker.entry(lane.worker).or_default().push(lane.id);
            }
        }
        by_worker
    }

    /// Asks the workers to finish these lanes, and waits for their answers until shortly after the deadline.
    fn release(&mut self, ids: &[LaneId], within: Duration) -> Release {
        let mut release = Release::default();
        let until = self.now().saturating_add(within);
        let mut open: Vec<(usize, Vec<LaneId>, Receiver<Released>)> = Vec::new();
        for (worker, lanes) in self.by_worker(ids) {
            let (done, answer) = sync_channel(1);
            if let Some(feed) = self.feeds.get_mut(worker) {
                feed.drop_records(&lanes);
                feed.say(Word::Release { lanes: lanes.clone(), until, done });
                open.push((worker, lanes, answer));
            }
        }
        while !open.is_empty() && self.now() < until.saturating_add(ANSWER_GRACE) {
            let now = self.now();
            let closed: Vec<bool> =
                self.feeds.iter_mut().map(|feed| feed.send(now) == Sent::Closed).collect();
            // A worker that waits to be heard would not answer.
            if self.take_asks().is_err() {
                break;
            }
            open.retain(|(worker, lanes, answer)| match answer.try_recv() {
                Ok(Released::InTime) => {
                    release.in_time.extend(lanes);
                    false
                }
                Ok(Released::Abandoned) | Err(TryRecvError::Disconnected) => {
                    release.abandoned.extend(lanes);
                    false
                }
                Err(TryRecvError::Empty) if closed.get(*worker) == Some(&true) => {
                    release.abandoned.extend(lanes);
                    false
                }
                Err(TryRecvError::Empty) => true,
            });
            if !open.is_empty() {
                std::thread::sleep(ANSWER_STEP);
            }
        }
        for (worker, lanes, _) in open {
            release.abandoned.extend(lanes);
            if let Some(feed) = self.feeds.get_mut(worker) {
                feed.lose_unsent();
            }
        }
        release
    }

    /// Tells the workers that these lanes are lost, and forgets them.
    pub(super) fn lose(&mut self, ids: &[LaneId]) {
        for (worker, lanes) in self.by_worker(ids) {
            if let Some(feed) = self.feeds.get_mut(worker) {
                feed.drop_records(&lanes);
                feed.say(Word::Lost(lanes));
            }
        }
        self.forget(ids);
    }

    fn forget(&mut self, ids: &[LaneId]) {
        for id in ids {
            self.lanes.remove(*id);
            self.progress.remove(*id);
        }
    }
}

/// A rebalance that cannot be answered leaves the group waiting for this process: better to end it.
fn cannot(what: &str, cause: &KafkaError) -> StopReason {
    StopReason::Failed { detail: format!("cannot {what} partitions: {}", error::name(cause)) }
}
