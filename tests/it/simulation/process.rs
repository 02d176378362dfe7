//! One process of the group: the real workers on the model of the sink, and the model of the poll thread.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, TryRecvError};

use stoker::batch::{Epoch, LaneId, Owed, RefillMode};
use stoker::record::Position;
use stoker::sink::memory::MemorySink;
use stoker::source::{Assignment, Delivery, History, Progress, Released, Stored, ToSource, ToWorker};
use stoker::worker::{Input, Worker};

use super::kafka::{Committed, Kafka, Member, Notice, Partition};
use super::rng::Rng;
use super::shop::Delivered;

/// Records of one lane in a chunk, at most: few, so that batches end everywhere.
const CHUNK_RECORDS: u64 = 8;

/// A worker and its channels.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) worker: Worker<Delivered>,
    pub(super) sink: MemorySink,
    pub(super) control: VecDeque<ToWorker<Delivered>>,
    pub(super) answers: VecDeque<Input<Delivered>>,
    pub(super) records: VecDeque<ToWorker<Delivered>>,
    pub(super) history: VecDeque<ToWorker<Delivered>>,
    /// Lanes whose claims are on their way: abandoning a lane calls its claim off.
    pub(super) claiming: BTreeSet<LaneId>,
    /// When it takes its next input; of several that were planned the earliest.
    pub(super) works_at: Option<u64>,
}

impl Seat {
    pub(super) fn new(worker: Worker<Delivered>, sink: MemorySink) -> Seat {
        Seat {
            worker,
            sink,
            control: VecDeque::new(),
            answers: VecDeque::new(),
            records: VecDeque::new(),
            history: VecDeque::new(),
            claiming: BTreeSet::new(),
            works_at: None,
        }
    }

    /// The next input, in the order in which `engine::drive` takes them.
    pub(super) fn next_input(&mut self, now: std::time::Duration) -> Option<Input<Delivered>> {
        if let Some(word) = self.control.pop_front() {
            return Some(Input::Source(word));
        }
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        if self.worker.hungry()
            && let Some(records) = self.records.pop_front()
        {
            return Some(Input::Source(records));
        }
        if self.worker.curious()
            && let Some(history) = self.history.pop_front()
        {
            return Some(Input::Source(history));
        }
        self.worker.next_wake().filter(|at| *at <= now).map(|_| Input::Tick)
    }

    pub(super) fn has_input(&self) -> bool {
        let records = !self.records.is_empty() && self.worker.hungry();
        let history = !self.history.is_empty() && self.worker.curious();
        !self.control.is_empty() || !self.answers.is_empty() || records || history
    }
}

/// A partition as the poll thread knows it.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) partition: Partition,
    pub(super) seat: usize,
    reading: u32,
    next: Position,
    pub(super) committed: Option<Committed>,
    /// A commit that was sent and not confirmed.
    pub(super) in_doubt: Option<Committed>,
    start: Stored,
    paused: bool,
}

/// Lanes on their way out.
#[derive(Debug)]
pub(super) struct Releasing {
    partitions: Vec<Partition>,
    open: Vec<(Vec<LaneId>, Receiver<Released>)>,
    in_time: Vec<LaneId>,
}

/// What a release came to.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) partitions: Vec<Partition>,
    pub(super) in_time: Vec<LaneId>,
}

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) member: Option<Member>,
    pub(super) frozen: bool,
    pub(super) seats: Vec<Seat>,
    pub(super) lanes: BTreeMap<LaneId, Fetched>,
    last_lane: u64,
    pub(super) progress: Progress,
    pub(super) notices: VecDeque<Notice>,
    pub(super) asks: VecDeque<ToSource>,
    pub(super) releasing: Option<Releasing>,
    pub(super) polls_at: Option<u64>,
    pub(super) commit_open_since: Option<u64>,
    /// Counts commits: an answer to another one than the last is late.
    pub(super) commit_count: u64,
}

impl Process {
    pub(super) fn new(seats: Vec<Seat>) -> Process {
        Process {
            member: None,
            frozen: false,
            seats,
            lanes: BTreeMap::new(),
            last_lane: 0,
            progress: Progress::default(),
            notices: VecDeque::new(),
            asks: VecDeque::new(),
            releasing: None,
            polls_at: None,
            commit_open_since: None,
            commit_count: 0,
        }
    }

    /// The group gives it these partitions: their workers hear of it. Returns the lanes, and where each starts.
    pub(super) fn assigned(
        &mut self,
        partitions: &[Partition],
        kafka: &Kafka,
        start_refill: bool,
    ) -> Vec<(LaneId, Partition, Position)> {
        let mut lanes = Vec::new();
        for partition in partitions.iter().copied() {
            self.last_lane += 1;
            let lane = LaneId(self.last_lane);
            let committed = kafka.logs[partition].committed;
            let start = if start_refill { kafka.end(partition) } else { 0 };
            let all = Owed::all(start, RefillMode::Overwrite);
            let first = Committed { position: start, epoch: Epoch(0), owed: Some(all).filter(|_| start > 0) };
            let Committed { position, epoch, owed } = committed.unwrap_or(first);
            let load = |seat: &usize| self.lanes.values().filter(|lane| lane.seat == *seat).count();
            let seat = (0..self.seats.len()).min_by_key(load).unwrap_or(0);
            let fetched = Fetched {
                partition,
                seat,
                reading: 0,
                next: position,
                committed,
                in_doubt: None,
                start: Stored { position, epoch, owed },
                paused: false,
            };
            self.lanes.insert(lane, fetched);
            let name = Kafka::name(partition);
            let committed = committed.map(|committed| committed.position);
            let assignment =
                Assignment { lane, name, committed, start: position, low: 0, above: epoch, owed };
            self.seats[seat].control.push_back(ToWorker::Assign(assignment));
            lanes.push((lane, partition, position));
        }
        lanes
    }

    /// The group takes these partitions back: their workers finish them within that time.
    pub(super) fn revoked(&mut self, partitions: Vec<Partition>, within_us: u64) {
        let mut releasing = Releasing { partitions, open: Vec::new(), in_time: Vec::new() };
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let concerned = self.lanes.iter().filter(|(_, fetched)| {
                fetched.seat == index && releasing.partitions.contains(&fetched.partition)
            });
            let lanes: Vec<LaneId> = concerned.map(|(lane, _)| *lane).collect();
            if lanes.is_empty() {
                continue;
            }
            let (done, answer) = std::sync::mpsc::sync_channel(1);
            let within = std::time::Duration::from_micros(within_us);
            seat.control.push_back(ToWorker::Release { lanes: lanes.clone(), within, done });
            releasing.open.push((lanes, answer));
        }
        self.releasing = Some(releasing);
    }

    /// Looks after the release: what it came to, once every worker has answered.
    pub(super) fn released(&mut self) -> Option<Release> {
        let releasing = self.releasing.as_mut()?;
        let in_time = &mut releasing.in_time;
        releasing.open.retain(|(lanes, answer)| match answer.try_recv() {
            Ok(Released::InTime) => {
                in_time.extend(lanes);
                false
            }
            Ok(Released::Abandoned) | Err(TryRecvError::Disconnected) => false,
            Err(TryRecvError::Empty) => true,
        });
        if !releasing.open.is_empty() {
            return None;
        }
        let Releasing { partitions, in_time, .. } = self.releasing.take()?;
        Some(Release { partitions, in_time })
    }

    /// It is no member any more: the workers drop all lanes.
    pub(super) fn lost(&mut self) {
        self.releasing = None;
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let lanes: Vec<LaneId> =
                self.lanes.iter().filter(|(_, lane)| lane.seat == index).map(|(lane, _)| *lane).collect();
            if !lanes.is_empty() {
                seat.control.push_back(ToWorker::Lost(lanes));
            }
        }
        let lanes: Vec<LaneId> = self.lanes.keys().copied().collect();
        self.forget(&lanes);
    }

    pub(super) fn forget(&mut self, lanes: &[LaneId]) {
        for lane in lanes {
            self.lanes.remove(lane);
            self.progress.remove(*lane);
        }
    }

    pub(super) fn lanes_of(&self, partitions: &[Partition]) -> Vec<LaneId> {
        let concerned = self.lanes.iter().filter(|(_, lane)| partitions.contains(&lane.partition));
        concerned.map(|(lane, _)| *lane).collect()
    }

    /// What is to be committed of these lanes: what `source::kafka` would commit.
    pub(super) fn to_commit(&self, lanes: &[LaneId]) -> Vec<(LaneId, Partition, Committed)> {
        let mut commits = Vec::new();
        for lane in lanes {
            let Some(fetched) = self.lanes.get(lane) else { continue };
            let stored = match (self.progress.get(*lane), fetched.committed) {
                (Some(stored), _) => stored,
                (None, None) => fetched.start,
                (None, Some(_)) => continue,
            };
            let Stored { position, epoch, owed } = stored;
            let other = |it: Committed| (it.position, it.owed) != (position, owed);
            if fetched.committed.is_none_or(other) || fetched.in_doubt.is_some_and(other) {
                let committed = Committed { position, epoch, owed };
                commits.push((*lane, fetched.partition, committed));
            }
        }
        commits
    }

    /// Takes one thing that a worker asked for. Stops are the caller's to judge.
    pub(super) fn heed(&mut self, ask: ToSource, kafka: &Kafka) {
        match ask {
            ToSource::Rewind { lane, to } => {
                let Some(fetched) = self.lanes.get_mut(&lane) else { return };
                let position = to.max(0);
                fetched.reading += 1;
                fetched.next = position;
                let word = ToWorker::Rewound { lane, reading: fetched.reading, position };
                self.seats[fetched.seat].control.push_back(word);
            }
            ToSource::History { lane, request } => {
                let Some(fetched) = self.lanes.get(&lane) else { return };
                let from = request.until.saturating_sub(request.records).max(0);
                let entries = &kafka.logs[fetched.partition].entries;
                let window = entries.get(from as usize..request.until as usize).unwrap_or_default();
                let (first, second) = window.split_at(window.len() / 2);
                let deliver = |part: &[std::rc::Rc<_>]| part.iter().cloned().map(Delivered).collect();
                let number = request.number;
                let history = &mut self.seats[fetched.seat].history;
                let part = History { lane, number, records: deliver(first), end: None, growth: None };
                history.push_back(ToWorker::History(part));
                let part =
                    History { lane, number, records: deliver(second), end: Some((from, 0)), growth: None };
                history.push_back(ToWorker::History(part));
            }
            ToSource::Pause(lane) => self.set_paused(lane, true),
            ToSource::Resume(lane) => self.set_paused(lane, false),
            ToSource::Stop(reason) => panic!("no run stops by its error policy: {reason:?}"),
        }
    }

    fn set_paused(&mut self, lane: LaneId, paused: bool) {
        if let Some(fetched) = self.lanes.get_mut(&lane) {
            fetched.paused = paused;
        }
    }

    /// Fetches a chunk for each worker that has room, and tells whether there is more.
    pub(super) fn fetch(&mut self, kafka: &Kafka, chunks: usize, rng: &mut Rng) -> bool {
        for index in 0..self.seats.len() {
            if self.seats[index].records.len() >= chunks {
                continue;
            }
            let mut chunk = Vec::new();
            let readable = self.lanes.iter_mut().filter(|(_, fetched)| fetched.seat == index);
            for (lane, fetched) in readable {
                let entries = &kafka.logs[fetched.partition].entries;
                if fetched.paused || rng.chance(300) {
                    continue;
                }
                let next = fetched.next as usize;
                let last = entries.len().min(next + rng.between(1, CHUNK_RECORDS) as usize);
                for entry in entries.get(next..last).unwrap_or_default() {
                    let record = Delivered(std::rc::Rc::clone(entry));
                    chunk.push(Delivery { lane: *lane, reading: fetched.reading, record });
                }
                fetched.next = fetched.next.max(last as Position);
            }
            if !chunk.is_empty() {
                self.seats[index].records.push_back(ToWorker::Records(chunk));
            }
        }
        self.has_more(kafka)
    }

    fn has_more(&self, kafka: &Kafka) -> bool {
        self.lanes.values().any(|fetched| !fetched.paused && fetched.next < kafka.end(fetched.partition))
    }
}
