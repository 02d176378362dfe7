//! Committing what the workers stored: once a second without waiting, and waiting when a lane is given up.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::error;
use super::ffi::{CommitQueue, Entry};
use super::lanes::Commit;
use super::metadata::CommitMetadata;
use super::poll::Loop;
use crate::batch::{LaneId, LaneName};

/// A commit without an answer for this long is not waited for any more, and what it held is committed again: a
/// position that is committed twice does no harm, and later ones do not wait a minute behind a lost answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Time for the last commit of a lane, beside the drain.
pub(super) const COMMIT_WITHIN: Duration = Duration::from_secs(5);

/// Pause between two tries of it.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

impl Loop<'_, '_> {
    /// Commits what changed, without waiting; at most one such commit is open at a time.
    pub(super) fn commit_stored(&mut self, now: Duration) {
        if self.commit_open_since.is_some_and(|since| now.saturating_sub(since) < ANSWER_WITHIN) {
            return;
        }
        let lanes = self.lanes.sorted();
        let commits: Vec<Commit> =
            lanes.into_iter().filter_map(|lane| lane.to_commit(self.progress)).collect();
        if commits.is_empty() {
            return;
        }
        let sent =
            positions(&commits).and_then(|list| self.commits.send(&list).map_err(KafkaError::ConsumerCommit));
        match sent {
            Ok(()) => {
                self.commit_open_since = Some(now);
                self.are_in_doubt(&commits);
            }
            Err(error) => self.count(&error),
        }
    }

    /// Takes the answers that are there.
    pub(super) fn take_answers(&mut self) {
        while let Some(answer) = self.commits.answer(Duration::ZERO) {
            self.commit_open_since = None;
            match answer {
                Ok(entries) => self.committed(entries),
                Err(code) => self.commit_failed(code),
            }
        }
    }

    /// These were sent: until that is confirmed, they may stand or not.
    fn are_in_doubt(&mut self, commits: &[Commit]) {
        for commit in commits {
            let lane = self.lanes.named(&commit.name).and_then(|id| self.lanes.get_mut(id));
            if let Some(lane) = lane {
                lane.in_doubt = Some((commit.position, commit.metadata.owed));
            }
        }
    }

    /// The coordinator confirmed these.
    fn committed(&mut self, entries: Vec<Entry>) {
        self.answered();
        self.source.status.change(|picture| picture.commit_count += 1);
        for entry in entries {
            let name = LaneName { topic: entry.topic, partition: entry.partition };
            let lane = self.lanes.named(&name).and_then(|id| self.lanes.get_mut(id));
            if let (Some(lane), Some(position)) = (lane, entry.offset) {
                let metadata = entry.metadata.as_deref().map(CommitMetadata::parse).unwrap_or_default();
                (lane.committed, lane.committed_owed) = (Some(position), metadata.owed);
                lane.in_doubt = None;
            }
        }
    }

    /// It refused: the next tick tries again with what is stored by then.
    fn commit_failed(&mut self, code: RDKafkaErrorCode) {
        self.source.status.change(|picture| picture.commit_failure_count += 1);
        self.count(&KafkaError::ConsumerCommit(code));
    }

    /// Commits what these lanes stored, and waits for the answer for a bounded time.
    pub(super) fn commit_now(&mut self, lanes: &[LaneId], within: Duration) {
        let lanes = lanes.iter().filter_map(|id| self.lanes.get(*id));
        let commits: Vec<Commit> = lanes.filter_map(|lane| lane.to_commit(self.progress)).collect();
        if commits.is_empty() {
            return;
        }
        let list = match positions(&commits) {
            Ok(list) => list,
            Err(error) => return self.count(&error),
        };
        let until = self.now().saturating_add(within);
        loop {
            let left = until.saturating_sub(self.now());
            // A queue of its own: an answer of an earlier commit is not taken for this one's.
            let queue = CommitQueue::new(self.consumer());
            let code = match queue.send(&list).map(|()| queue.answer(left)) {
                Ok(Some(Ok(entries))) => return self.committed(entries),
                Ok(Some(Err(code))) | Err(code) => code,
                Ok(None) => RDKafkaErrorCode::OperationTimedOut,
            };
            if is_final(code) || until.saturating_sub(self.now()) <= AGAIN_AFTER {
                self.source.status.change(|picture| picture.commit_failure_count += 1);
                tracing::warn!(
                    error = error::code_name(code),
                    partition_count = commits.len(),
                    "the last commit failed: nothing is lost, and the next owner applies some records again"
                );
                return;
            }
            std::thread::sleep(AGAIN_AFTER);
        }
    }
}

/// True where trying again cannot help: the membership is gone, or the time is up.
fn is_final(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::FencedMemberEpoch
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::Fatal
    )
}

/// The list that a commit takes: positions with their metadata.
fn positions(commits: &[Commit]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for commit in commits {
        let mut entry = list.add_partition(&commit.name.topic, commit.name.partition);
        entry.set_offset(Offset::Offset(commit.position))?;
        entry.set_metadata(commit.metadata.to_string());
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Epoch;

    #[test]
    fn a_commit_carries_position_and_metadata() {
        let metadata =
            CommitMetadata { epoch: Epoch(3), first_partition_count: Some(6), ..CommitMetadata::default() };
        let name = LaneName { topic: "t".to_owned(), partition: 2 };
        let list = positions(&[Commit { name, position: 8, metadata }]).unwrap();
        let entries = super::super::ffi::entries(&list);
        assert_eq!(entries[0].offset, Some(8));
        assert_eq!(entries[0].metadata.as_deref().map(CommitMetadata::parse), Some(metadata));
    }
}
