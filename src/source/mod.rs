//! The border to Kafka: what a source and a worker tell each other.
//!
//! One source thread polls and owns the group membership; W workers own the lanes. They talk over bounded
//! channels in these two vocabularies, so that the simulation's memory source and the real one are driven
//! alike. [`kafka`] is the real one, and the only place that names rdkafka. A source knows nothing of changes,
//! entities or Redis. Start at [`ToWorker`].

pub mod kafka;
pub mod linked;

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::sync::mpsc::Sender;

use crate::batch::{Epoch, LaneId, LaneName, Owed};
use crate::record::Position;
use crate::refill::{Growth, HistoryRequest};

/// What a source tells a worker, in order. `R` is the record as the source delivers it.
#[derive(Debug)]
pub enum ToWorker<R> {
    /// This worker owns a new lane. Comes before the lane's first record.
    Assign(Assignment),
    /// Records, each lane's in offset order.
    Records(Vec<Delivery<R>>),
    /// A rewind that the worker asked for is done: records of this reading follow, from this position on.
    Rewound {
        /// The lane.
        lane: LaneId,
        /// Number of the new reading; deliveries of earlier ones are stale.
        reading: u32,
        /// Where it reads from.
        position: Position,
    },
    /// Records of a lane's history that the worker asked for, in offset order.
    History(History<R>),
    /// Stop taking, finish what is in flight, store the position, release, and answer on `done`. Past the
    /// deadline: abandon instead. The source waits for the answer before it commits and hands over.
    Release {
        /// The lanes.
        lanes: Vec<LaneId>,
        /// Time left to do so.
        within: std::time::Duration,
        /// Gets one answer.
        done: std::sync::mpsc::SyncSender<Released>,
    },
    /// These lanes are lost: drop their state, store nothing more.
    Lost(Vec<LaneId>),
}

/// The source's ends of one worker's channels.
///
/// Several, so that a release is heard also by a worker that takes no records for now, and live records come before
/// history. Control words are
/// sent before the records that follow them, and received first; they may overtake earlier records, which
/// are then stale or of a lane that is being released.
#[derive(Debug)]
pub struct WorkerSenders<R> {
    /// Everything but records.
    pub control: Sender<ToWorker<R>>,
    /// [`ToWorker::Records`].
    pub records: Sender<ToWorker<R>>,
    /// [`ToWorker::History`]: received only where neither of the others has anything.
    pub history: Sender<ToWorker<R>>,
}

impl<R> Clone for WorkerSenders<R> {
    fn clone(&self) -> Self {
        WorkerSenders {
            control: self.control.clone(),
            records: self.records.clone(),
            history: self.history.clone(),
        }
    }
}

impl<R> WorkerSenders<R> {
    /// All over one channel: for a receiver that takes everything as it comes.
    pub fn over_one(sender: Sender<ToWorker<R>>) -> WorkerSenders<R> {
        WorkerSenders { control: sender.clone(), records: sender.clone(), history: sender }
    }
}

/// A part of a window of history.
#[derive(Debug)]
pub struct History<R> {
    /// The lane.
    pub lane: LaneId,
    /// The request that it answers.
    pub number: u64,
    /// Its next records.
    pub records: Vec<R>,
    /// Present with the last part: where the window began, and the first position that can be read at all.
    pub end: Option<(Position, Position)>,
    /// That the topic has more partitions than it had, where that is known and tells where keys belong.
    pub growth: Option<Growth>,
}

/// One record on its way to its lane.
#[derive(Debug)]
pub struct Delivery<R> {
    /// The lane.
    pub lane: LaneId,
    /// Which reading of the partition it belongs to: 0 after the assignment, one more with each rewind.
    pub reading: u32,
    /// The record.
    pub record: R,
}

/// A partition that was assigned to this process and to one worker.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The lane's number: never used twice in a process.
    pub lane: LaneId,
    /// Topic and partition.
    pub name: LaneName,
    /// The group's committed position, `None` where there is none.
    pub committed: Option<Position>,
    /// Where reading starts.
    pub start: Position,
    /// The first position that can still be read.
    pub low: Position,
    /// The epoch that the commit's metadata held; 0 where it held none.
    pub above: Epoch,
    /// History that is to be refilled, where no watermark tells: below a start that the policy chose, or as the
    /// commit's metadata says.
    pub owed: Option<Owed>,
}

/// A worker's answer to [`ToWorker::Release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// All in-flight work was finished in time.
    InTime,
    /// Some lane's deadline passed: nothing is lost, and its next owner does some of it again.
    Abandoned,
}

/// What a worker asks of the source.
#[derive(Debug)]
pub enum ToSource {
    /// Read the lane's partition again from there, in order; answered by [`ToWorker::Rewound`].
    Rewind {
        /// The lane.
        lane: LaneId,
        /// From there, or from the first position that can be read where retention has taken it.
        to: Position,
    },
    /// Read a window of the lane's history; answered by [`ToWorker::History`].
    History {
        /// The lane.
        lane: LaneId,
        /// Which records.
        request: HistoryRequest,
    },
    /// Stop fetching the lane's partition: nothing has moved in it for seconds.
    Pause(LaneId),
    /// Fetch it again.
    Resume(LaneId),
    /// The process must stop.
    Stop(StopReason),
}

/// Why the engine stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// A signal asked for it, and everything was drained.
    Signal,
    /// A signal asked for it, and the drain deadline passed.
    DrainDeadline,
    /// A record failed under `on_error = "stop"`, or the breaker tripped. Exit 6.
    ErrorPolicy {
        /// What happened, without values.
        detail: String,
    },
    /// Kafka ended the membership for good. Exit 4.
    Fenced {
        /// Kafka's words.
        detail: String,
    },
    /// Anything else. Exit 1.
    Failed {
        /// What happened.
        detail: String,
    },
}

/// Positions that are applied and may be committed: written by workers, committed by the source.
///
/// Shared rather than sent, so that a slow committer never holds up a lane; holds one entry per live lane.
#[derive(Debug, Default)]
pub struct Progress {
    lanes: Mutex<HashMap<LaneId, Stored>>,
}

/// A position that may be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The position.
    pub position: Position,
    /// The lane's epoch, for the commit's metadata.
    pub epoch: Epoch,
    /// History that is not refilled yet, for the commit's metadata.
    pub owed: Option<Owed>,
}

impl Progress {
    /// Stores a position: all below it is applied, dead-lettered or ignored by a documented reason.
    pub fn store(&self, lane: LaneId, stored: Stored) {
        self.lock().insert(lane, stored);
    }

    /// The stored position of a lane.
    pub fn get(&self, lane: LaneId) -> Option<Stored> {
        self.lock().get(&lane).copied()
    }

    /// Forgets a lane.
    pub fn remove(&self, lane: LaneId) {
        self.lock().remove(&lane);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<LaneId, Stored>> {
        self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
