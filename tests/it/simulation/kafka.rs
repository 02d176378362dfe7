//! The model of Kafka: logs, one group with its members, who has which partition, and what is committed.

use std::collections::BTreeSet;
use std::rc::Rc;

use stoker::batch::{Epoch, LaneName, Owed};
use stoker::record::Position;

use super::shop::{Draft, Entry, TOPIC};

/// A partition by its number.
pub(super) type Partition = usize;

/// A membership: a process that was thrown out and joins again is another member.
pub(super) type Member = u64;

/// Who has a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    Has(Member),
    /// It was asked to give it back, and has not yet.
    GivesBack(Member),
}

/// A committed position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) position: Position,
    pub(super) epoch: Epoch,
    pub(super) owed: Option<Owed>,
}

/// One partition.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) entries: Vec<Rc<Entry>>,
    pub(super) committed: Option<Committed>,
    pub(super) owner: Owner,
    /// Whom the group wants to have it.
    pub(super) wanted: Option<Member>,
}

/// The broker and the group's coordinator.
#[derive(Debug)]
pub(super) struct Kafka {
    pub(super) logs: Vec<Log>,
    members: BTreeSet<Member>,
    last_member: Member,
}

/// What the coordinator tells a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    Assigned(Vec<Partition>),
    Revoked(Vec<Partition>),
    /// It is no member any more.
    Lost,
}

impl Kafka {
    pub(super) fn new(partitions: usize) -> Kafka {
        let log = || Log { entries: Vec::new(), committed: None, owner: Owner::Nobody, wanted: None };
        Kafka { logs: (0..partitions).map(|_| log()).collect(), members: BTreeSet::new(), last_member: 0 }
    }

    pub(super) fn name(partition: Partition) -> LaneName {
        LaneName { topic: TOPIC.to_owned(), partition: partition as i32 }
    }

    pub(super) fn append(&mut self, draft: Draft, now_ms: i64) -> Rc<Entry> {
        let log = &mut self.logs[draft.partition];
        let entry = Rc::new(draft.at(log.entries.len(), now_ms));
        log.entries.push(Rc::clone(&entry));
        entry
    }

    pub(super) fn end(&self, partition: Partition) -> Position {
        self.logs[partition].entries.len() as Position
    }

    pub(super) fn join(&mut self) -> Member {
        self.last_member += 1;
        self.members.insert(self.last_member);
        self.balance(0);
        self.last_member
    }

    /// A member left, or its session ended: its partitions are free at once.
    pub(super) fn remove(&mut self, member: Member) {
        self.members.remove(&member);
        for log in &mut self.logs {
            if matches!(log.owner, Owner::Has(owner) | Owner::GivesBack(owner) if owner == member) {
                log.owner = Owner::Nobody;
            }
        }
        self.balance(0);
    }

    pub(super) fn has_member(&self, member: Member) -> bool {
        self.members.contains(&member)
    }

    /// Wants the partitions spread over the members, in an order that `turn` shifts.
    pub(super) fn balance(&mut self, turn: usize) {
        let members: Vec<Member> = self.members.iter().copied().collect();
        for (partition, log) in self.logs.iter_mut().enumerate() {
            log.wanted = members.get((partition + turn) % members.len().max(1)).copied();
        }
    }

    /// What is to be told to whom, so that each partition comes to whom the group wants to have it. A
    /// partition is given only once its former owner has given it back.
    pub(super) fn coordinate(&mut self) -> Vec<(Member, Notice)> {
        let mut notices: Vec<(Member, Notice)> = Vec::new();
        for member in self.members.iter().copied() {
            let (mut taken, mut given) = (Vec::new(), Vec::new());
            for (partition, log) in self.logs.iter_mut().enumerate() {
                match log.owner {
                    Owner::Has(owner) if owner == member && log.wanted != Some(member) => {
                        log.owner = Owner::GivesBack(member);
                        taken.push(partition);
                    }
                    Owner::Nobody if log.wanted == Some(member) => {
                        log.owner = Owner::Has(member);
                        given.push(partition);
                    }
                    Owner::Has(_) | Owner::GivesBack(_) | Owner::Nobody => {}
                }
            }
            if !taken.is_empty() {
                notices.push((member, Notice::Revoked(taken)));
            }
            if !given.is_empty() {
                notices.push((member, Notice::Assigned(given)));
            }
        }
        notices
    }

    pub(super) fn given_back(&mut self, member: Member, partitions: &[Partition]) {
        for partition in partitions {
            let log = &mut self.logs[*partition];
            if log.owner == Owner::GivesBack(member) {
                log.owner = Owner::Nobody;
            }
        }
    }
}
