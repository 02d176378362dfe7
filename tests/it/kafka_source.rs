//! The Kafka edge against librdkafka's mock cluster.
//!
//! The workers of these tests apply nothing: they note what they get, and store positions as they are told.

#![expect(clippy::unwrap_used, reason = "a test panics rather than returns")]

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stoker::batch::{Epoch, LaneId};
use stoker::dead_letter::{DeadLetters, Letter, Stage};
use stoker::record::{AsRecord, OwnedRecord};
use stoker::refill::HistoryRequest;
use stoker::settings::{KafkaSettings, Limits, Partitioner, Secret, Start};
use stoker::source::kafka::mock::MockKafka;
use stoker::source::kafka::probe::{Probe, Severity, probe};
use stoker::source::kafka::{DeadLetterProducer, KafkaRecord, KafkaSource, RereadError, Status, reread};
use stoker::source::{
    Delivery, History, Progress, Released, StopReason, Stored, ToSource, ToWorker, WorkerSenders,
};

/// The mock takes most of a session (3 s here) for a hand-over, and several of them for a member that joins.
const PATIENCE: Duration = Duration::from_secs(40);

/// What the workers got, in order.
#[derive(Debug, Clone, PartialEq)]
enum Got {
    Assign(Owned),
    Record { lane: LaneId, reading: u32, record: OwnedRecord },
    Rewound { lane: LaneId, reading: u32, position: i64 },
    Release(Vec<LaneId>),
    Released(Vec<LaneId>),
    Lost(Vec<LaneId>),
    History { lane: LaneId, number: u64, offsets: Vec<i64>, end: Option<(i64, i64)> },
}

/// An assignment that can be compared.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    lane: LaneId,
    partition: i32,
    committed: Option<i64>,
    start: i64,
    low: i64,
    above: Epoch,
}

/// How the workers behave, and what they have seen.
struct Scene {
    got: Mutex<Vec<Got>>,
    progress: Progress,
    /// Positions are stored up to this one and no further.
    store_up_to: AtomicI64,
    /// Time that a release takes.
    release_takes: Mutex<Duration>,
    /// A release is never answered.
    deaf: AtomicBool,
    /// Workers take nothing.
    blocked: AtomicBool,
    to_source: SyncSender<ToSource>,
    status: Arc<Status>,
}

impl Scene {
    fn work(&self, mut inbox: tokio::sync::mpsc::Receiver<ToWorker<KafkaRecord<'_>>>) {
        // Those that were never answered are kept, for a dropped one is an answer.
        let mut unanswered = Vec::new();
        while let Some(word) = inbox.blocking_recv() {
            while self.blocked.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            match word {
                ToWorker::Assign(a) => self.note(Got::Assign(Owned {
                    lane: a.lane,
                    partition: a.name.partition,
                    committed: a.committed,
                    start: a.start,
                    low: a.low,
                    above: a.above,
                })),
                ToWorker::Records(deliveries) => deliveries.into_iter().for_each(|d| self.take(d)),
                ToWorker::Rewound { lane, reading, position } => {
                    self.note(Got::Rewound { lane, reading, position });
                }
                ToWorker::Release { lanes, within, done } => {
                    self.note(Got::Release(lanes.clone()));
                    if self.deaf.load(Ordering::Relaxed) {
                        unanswered.push(done);
                        continue;
                    }
                    let takes = *self.release_takes.lock().unwrap();
                    std::thread::sleep(takes.min(within));
                    self.note(Got::Released(lanes));
                    let answer = if takes <= within { Released::InTime } else { Released::Abandoned };
                    let _ = done.send(answer);
                }
                ToWorker::History(History { lane, number, records, end, .. }) => {
                    let offsets = records.iter().map(|record| record.as_record().offset).collect();
                    self.note(Got::History { lane, number, offsets, end });
                }
                ToWorker::Lost(lanes) => self.note(Got::Lost(lanes)),
            }
        }
    }

    fn take(&self, delivery: Delivery<KafkaRecord<'_>>) {
        let record = delivery.record.as_record().to_owned_record();
        let position = record.offset + 1;
        let (lane, reading) = (delivery.lane, delivery.reading);
        self.note(Got::Record { lane, reading, record });
        if position <= self.store_up_to.load(Ordering::Relaxed) {
            self.progress.store(lane, Stored { position, epoch: Epoch(7), owed: None });
        }
    }

    fn note(&self, got: Got) {
        self.got.lock().unwrap().push(got);
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    fn assigned(&self) -> Vec<Owned> {
        let assigned = self.got().into_iter().filter_map(|got| match got {
            Got::Assign(assignment) => Some(assignment),
            _ => None,
        });
        assigned.collect()
    }

    fn lane(&self, partition: i32) -> LaneId {
        self.assigned().iter().rfind(|a| a.partition == partition).expect("was assigned").lane
    }

    fn offsets(&self, partition: i32, reading_wanted: u32) -> Vec<i64> {
        let offsets = self.got().into_iter().filter_map(|got| match got {
            Got::Record { reading, record, .. } if record.partition == partition => {
                (reading == reading_wanted).then_some(record.offset)
            }
            _ => None,
        });
        offsets.collect()
    }

    /// Waits for a condition on what was seen.
    fn wait(&self, what: &str, condition: impl Fn(&Scene) -> bool) {
        wait(what, || condition(self), || format!("{:#?}\n{:#?}", self.got(), self.status.picture()));
    }
}

fn wait(what: &str, condition: impl Fn() -> bool, state: impl Fn() -> String) {
    let until = clock() + PATIENCE;
    while !condition() {
        assert!(clock() < until, "{what}: not after {PATIENCE:?}\n{}", state());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[expect(clippy::disallowed_methods, reason = "a deadline of a test")]
fn clock() -> Instant {
    Instant::now()
}

/// A topic and a group of their own.
struct Cluster {
    mock: MockKafka,
    topic: String,
    /// What the source follows.
    followed: Vec<String>,
}

impl Cluster {
    fn new(topic: &str, partition_count: i32) -> Cluster {
        let mock = MockKafka::start(1).unwrap();
        mock.create_topic(topic, partition_count).unwrap();
        Cluster { mock, topic: topic.to_owned(), followed: vec![topic.to_owned()] }
    }

    fn settings(&self) -> KafkaSettings {
        KafkaSettings {
            brokers: self.mock.brokers().to_owned(),
            group: format!("group-of-{}", self.topic),
            start: Start::Earliest,
            partitioner: Partitioner::Murmur2,
            properties: [("session.timeout.ms", "3000"), ("heartbeat.interval.ms", "300")]
                .map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned())))
                .to_vec(),
        }
    }

    fn append(&self, partition: i32, count: usize) {
        let records: Vec<OwnedRecord> = (0..count).map(|number| self.record(partition, number)).collect();
        self.mock.append_all(&records).unwrap();
    }

    fn record(&self, partition: i32, number: usize) -> OwnedRecord {
        OwnedRecord {
            topic: self.topic.clone(),
            partition,
            key: Some(format!("k{number}").into_bytes()),
            value: Some(format!("v{number}").into_bytes()),
            ..OwnedRecord::default()
        }
    }

    /// Runs a source with two workers while `body` does, then stops it.
    fn run(&self, settings: &KafkaSettings, body: impl FnOnce(&Scene)) -> StopReason {
        self.run_with(settings, Duration::from_secs(5), |_| {}, body)
    }

    fn run_with(
        &self,
        settings: &KafkaSettings,
        drain: Duration,
        before: impl FnOnce(&Scene),
        body: impl FnOnce(&Scene),
    ) -> StopReason {
        let limits = Limits {
            workers: 2,
            memory_bytes: 64 << 20,
            batch_records: 100,
            batch_bytes: 1 << 20,
            value_bytes: 1 << 20,
            drain,
        };
        let source = KafkaSource::connect(settings, &self.followed, &limits).unwrap();
        let (to_source, from_workers) = std::sync::mpsc::sync_channel(16);
        let stage = Scene {
            got: Mutex::default(),
            progress: Progress::default(),
            store_up_to: AtomicI64::new(i64::MAX),
            release_takes: Mutex::new(Duration::ZERO),
            deaf: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            to_source,
            status: source.status(),
        };
        before(&stage);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (senders, receivers): (Vec<_>, Vec<_>) =
                (0..2).map(|_| tokio::sync::mpsc::channel(4)).unzip();
            for receiver in receivers {
                scope.spawn(|| stage.work(receiver));
            }
            let (source, stage, stop) = (&source, &stage, &stop);
            let senders: Vec<_> = senders.into_iter().map(WorkerSenders::over_one).collect();
            let thread = scope.spawn(move || source.run(&senders, &from_workers, &stage.progress, stop));
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(stage)));
            stop.store(true, Ordering::Release);
            let reason = thread.join().unwrap();
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            reason
        })
    }
}

#[test]
fn records_arrive_in_order_with_all_their_parts_and_the_next_run_goes_on_after_what_was_stored() {
    let cluster = Cluster::new("in-order", 2);
    let odd = OwnedRecord {
        topic: cluster.topic.clone(),
        timestamp_ms: Some(1_700_000_000_123),
        key: Some(Vec::new()),
        headers: vec![
            ("a".to_owned(), Some(b"1".to_vec())),
            ("a".to_owned(), None),
            ("raw".to_owned(), Some(vec![0xff, 0])),
        ],
        ..OwnedRecord::default()
    };
    assert_eq!(cluster.mock.append(&odd).unwrap(), (0, 0));
    cluster.append(0, 299);
    cluster.append(1, 300);
    let settings = cluster.settings();

    let reason = cluster.run_with(
        &settings,
        Duration::from_secs(5),
        |stage| stage.store_up_to.store(50, Ordering::Relaxed),
        |stage| {
            stage.wait("all records", |s| s.offsets(0, 0).len() == 300 && s.offsets(1, 0).len() == 300);
            for partition in [0, 1] {
                assert_eq!(stage.offsets(partition, 0), (0..300).collect::<Vec<_>>());
            }
            let first = stage.got().into_iter().find_map(|got| match got {
                Got::Record { record, .. } if record.partition == 0 => Some(record),
                _ => None,
            });
            assert_eq!(first, Some(odd.clone()));
            for assignment in stage.assigned() {
                let expected = (None, 0, 0, Epoch(0));
                let a = &assignment;
                assert_eq!((a.committed, a.start, a.low, a.above), expected);
            }
            // Each lane has one worker, and they share them.
            assert_eq!(stage.status.picture().partitions.iter().map(|p| p.worker).sum::<usize>(), 1);
            stage.wait("the commit", |s| {
                s.status.picture().partitions.iter().all(|p| p.committed == Some(50))
            });
            stage.wait("the lag", |s| s.status.picture().lag() == 500);
        },
    );
    assert_eq!(reason, StopReason::Signal);

    cluster.run(&settings, |stage| {
        stage.wait("the rest", |s| s.offsets(0, 0).len() == 250 && s.offsets(1, 0).len() == 250);
        assert_eq!(stage.offsets(0, 0), (50..300).collect::<Vec<_>>());
        for assignment in stage.assigned() {
            let a = &assignment;
            assert_eq!((a.committed, a.start, a.low, a.above), (Some(50), 50, 0, Epoch(7)));
        }
    });
    // The last positions were committed at shutdown, without waiting for the next second.
    cluster.run(&settings, |stage| {
        stage.wait("both lanes", |s| s.assigned().len() == 2);
        assert!(stage.assigned().iter().all(|a| a.committed == Some(300)), "{:?}", stage.assigned());
    });
}

#[test]
fn a_rewind_reads_exactly_from_its_position_and_only_under_the_new_reading() {
    let cluster = Cluster::new("rewind", 1);
    cluster.append(0, 200);
    cluster.run(&cluster.settings(), |stage| {
        stage.wait("the first reading", |s| s.offsets(0, 0).len() == 200);
        let lane = stage.lane(0);
        let rewind = |to| stage.to_source.send(ToSource::Rewind { lane, to }).unwrap();

        rewind(120);
        stage.wait("the second reading", |s| s.offsets(0, 1).len() == 80);
        assert_eq!(stage.offsets(0, 1), (120..200).collect::<Vec<_>>());
        rewind(0);
        stage.wait("the third reading", |s| s.offsets(0, 2).len() == 200);
        assert_eq!(stage.offsets(0, 2), (0..200).collect::<Vec<_>>());

        // The word comes before the records of its reading.
        let got = stage.got();
        let word = got.iter().position(|g| matches!(g, Got::Rewound { reading: 2, position: 0, .. }));
        let record = got.iter().position(|g| matches!(g, Got::Record { reading: 2, .. }));
        assert!(word.unwrap() < record.unwrap());
    });
}

/// A refill that begins anew asks for a window while its last one is on the way: all windows of the process hung.
#[test]
fn of_windows_of_a_partition_that_are_asked_for_in_one_breath_the_newest_is_read() {
    let cluster = Cluster::new("windows", 2);
    cluster.append(0, 200);
    cluster.append(1, 200);
    cluster.run(&cluster.settings(), |stage| {
        stage.wait("the live records", |s| s.offsets(0, 0).len() + s.offsets(1, 0).len() == 400);
        for number in 1..=20 {
            for partition in [0, 1] {
                let request =
                    HistoryRequest { number, is_first: true, until: 200 - number as i64, records: 50 };
                stage.to_source.send(ToSource::History { lane: stage.lane(partition), request }).unwrap();
            }
        }
        for partition in [0, 1] {
            let asked = stage.lane(partition);
            let whole = |got: &Got| matches!(got, Got::History { lane, number: 20, end: Some((130, 0)), .. } if *lane == asked);
            stage.wait("the newest window", |s| s.got().iter().any(whole));
            let read = stage.got().into_iter().filter_map(|got| match got {
                Got::History { lane, number: 20, offsets, .. } if lane == asked => Some(offsets),
                _ => None,
            });
            assert_eq!(read.flatten().collect::<Vec<_>>(), (130..180).collect::<Vec<_>>());
        }
    });
}

/// Found by review: it was read from the end, and the records of the new log before that were passed over.
#[test]
fn a_rewind_past_the_end_begins_a_new_lane() {
    let cluster = Cluster::new("rewind-past", 1);
    cluster.append(0, 20);
    cluster.run(&cluster.settings(), |stage| {
        stage.wait("the records", |s| s.offsets(0, 0).len() == 20);
        let lane = stage.lane(0);
        stage.to_source.send(ToSource::Rewind { lane, to: 100_000 }).unwrap();
        stage.wait("another lane", |s| s.lane(0) != lane);
        assert!(stage.got().contains(&Got::Lost(vec![lane])));
        cluster.append(0, 1);
        stage.wait("what is appended then", |s| s.offsets(0, 0).last() == Some(&20));
    });
}

#[test]
fn a_paused_lane_gets_nothing_until_it_is_resumed() {
    let cluster = Cluster::new("pause", 1);
    cluster.append(0, 5);
    cluster.run(&cluster.settings(), |stage| {
        stage.wait("the records", |s| s.offsets(0, 0).len() == 5);
        let lane = stage.lane(0);
        stage.to_source.send(ToSource::Pause(lane)).unwrap();
        stage.wait("the pause", |s| s.status.picture().paused_count() == 1);
        cluster.append(0, 5);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(stage.offsets(0, 0).len(), 5);
        stage.to_source.send(ToSource::Resume(lane)).unwrap();
        stage.wait("the rest", |s| s.offsets(0, 0).len() == 10);
        assert_eq!(stage.offsets(0, 0), (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn a_pattern_follows_the_topics_whose_whole_name_it_matches() {
    let mut cluster = Cluster::new("shop-a", 1);
    cluster.mock.create_topic("shop-a-more", 1).unwrap();
    cluster.mock.create_topic("old-shop-a", 1).unwrap();
    cluster.mock.create_topic("shop-b", 1).unwrap();
    cluster.followed = vec!["^shop-[ab]|none".to_owned()];
    cluster.run(&cluster.settings(), |stage| {
        stage.wait("both topics", |s| s.assigned().len() == 2);
        let partitions = stage.status.picture().partitions;
        let mut topics: Vec<_> = partitions.iter().map(|p| p.name.topic.as_str()).collect();
        topics.sort_unstable();
        assert_eq!(topics, ["shop-a", "shop-b"]);
    });
}

#[test]
fn latest_starts_at_the_end_and_an_idle_partition_keeps_that_place() {
    let cluster = Cluster::new("latest", 2);
    cluster.append(0, 5);
    let settings = KafkaSettings { start: Start::Latest, ..cluster.settings() };
    cluster.run(&settings, |stage| {
        stage.wait("both lanes", |s| s.assigned().len() == 2);
        cluster.append(0, 1);
        stage.wait("the new record", |s| s.offsets(0, 0) == [5]);
    });
    cluster.append(1, 3);
    cluster.run(&settings, |stage| {
        stage.wait("both lanes", |s| s.assigned().len() == 2);
        let mut starts: Vec<_> =
            stage.assigned().iter().map(|a| (a.partition, a.committed, a.start)).collect();
        starts.sort_unstable();
        assert_eq!(starts, [(0, Some(6), 6), (1, Some(0), 0)]);
        stage.wait("what came meanwhile", |s| s.offsets(1, 0) == [0, 1, 2]);
    });
}

#[test]
fn a_committed_position_past_the_end_is_read_from_the_beginning() {
    let cluster = Cluster::new("past-the-end", 1);
    cluster.append(0, 3);
    cluster.run(&cluster.settings(), |stage| {
        stage.wait("the records", |s| s.offsets(0, 0).len() == 3);
        stage.progress.store(stage.lane(0), Stored { position: 500, epoch: Epoch(7), owed: None });
    });
    cluster.run(&cluster.settings(), |stage| {
        stage.wait("the records again", |s| s.offsets(0, 0) == [0, 1, 2]);
        let a = &stage.assigned()[0];
        // Found by review: held against the commit of another log, a master's watermark spared it the new records.
        assert_eq!((a.committed, a.start, a.low), (None, 0, 0));
    });
}

/// The mock broker refuses a follower whose `SyncGroup` comes before the leader's, where a real one waits: the
/// follower joins again at once, and the generation in which the leader gives back is over before it can commit.
/// Such a run shows nothing.
#[test]
fn partitions_pass_to_a_second_member_only_after_they_were_released() {
    const RUNS_MAX: usize = 8;
    assert!((0..RUNS_MAX).any(passes_to_a_second_member), "no run without the mock broker's race");
}

fn passes_to_a_second_member(run: usize) -> bool {
    let cluster = Cluster::new(&format!("two-members-{run}"), 4);
    (0..4).for_each(|partition| cluster.append(partition, 20));
    let settings = cluster.settings();
    let mut shown = false;
    cluster.run(&settings, |first| {
        first.wait("all records", |s| (0..4).all(|partition| s.offsets(partition, 0).len() == 20));
        *first.release_takes.lock().unwrap() = Duration::from_millis(700);
        let released = || -> Vec<LaneId> {
            let got = first.got().into_iter().filter_map(|got| match got {
                Got::Released(lanes) => Some(lanes),
                _ => None,
            });
            got.flatten().collect()
        };
        cluster.run(&settings, |second| {
            second.wait("its share", |s| {
                if !s.assigned().is_empty() {
                    assert_eq!(released().len(), 2, "given away before it was released");
                }
                s.assigned().len() == 2
            });
            let given = second.assigned();
            let raced = first.status.picture().error.as_deref() == Some("IllegalGeneration");
            if raced && given.iter().any(|a| a.start == 0) {
                return;
            }
            // Everything was stored, so nothing is read again.
            assert!(given.iter().all(|a| a.start == 20 && a.above == Epoch(7)), "{given:?}");
            let its: Vec<i32> = second.assigned().iter().map(|a| a.partition).collect();
            (0..4).for_each(|partition| cluster.append(partition, 10));
            second.wait("its records", |s| its.iter().all(|p| s.offsets(*p, 0).len() == 10));
            first.wait("the first one's", |s| {
                (0..4).filter(|p| !its.contains(p)).all(|p| s.offsets(p, 0).len() == 30)
            });
            assert!(its.iter().all(|p| first.offsets(*p, 0).len() == 20));
            shown = true;
        });
        if !shown {
            return;
        }
        first.wait("all partitions again", |s| s.assigned().len() == 6);
        let again = &first.assigned()[4..];
        assert!(again.iter().all(|a| a.start == 30), "{again:?}");
        assert!(!first.got().iter().any(|got| matches!(got, Got::Lost(_))));
    });
    shown
}

#[test]
fn a_worker_that_misses_the_drain_deadline_commits_nothing_more() {
    let cluster = Cluster::new("deadline", 1);
    cluster.append(0, 10);
    let settings = cluster.settings();
    let reason = cluster.run_with(
        &settings,
        Duration::from_millis(300),
        |stage| stage.deaf.store(true, Ordering::Relaxed),
        |stage| {
            stage.wait("the commit", |s| {
                s.status.picture().partitions.iter().any(|p| p.committed == Some(10))
            });
            stage.progress.store(stage.lane(0), Stored { position: 5, epoch: Epoch(7), owed: None });
        },
    );
    assert_eq!(reason, StopReason::DrainDeadline);
    cluster.run(&settings, |stage| {
        stage.wait("the lane", |s| s.assigned().len() == 1);
        assert_eq!(stage.assigned()[0].committed, Some(10));
    });
}

#[test]
fn a_stop_from_a_worker_drains_and_is_the_reason() {
    let cluster = Cluster::new("worker-stop", 1);
    cluster.append(0, 10);
    let wanted = StopReason::ErrorPolicy { detail: "breaker".to_owned() };
    let reason = cluster.run(&cluster.settings(), |stage| {
        stage.wait("the records", |s| s.offsets(0, 0).len() == 10);
        stage.to_source.send(ToSource::Stop(wanted.clone())).unwrap();
        stage.wait("the release", |s| s.got().iter().any(|got| matches!(got, Got::Released(_))));
    });
    assert_eq!(reason, wanted);
}

#[test]
fn a_worker_that_takes_nothing_for_seconds_loses_no_record_and_no_membership() {
    let cluster = Cluster::new("stuck", 2);
    cluster.run(&cluster.settings(), |stage| {
        stage.wait("both lanes", |s| s.assigned().len() == 2);
        stage.blocked.store(true, Ordering::Relaxed);
        // More than channel, chunk and the word in hand hold.
        cluster.append(0, 12_000);
        cluster.append(1, 12_000);
        // Past the point at which its partitions are paused, and past a session.
        std::thread::sleep(Duration::from_secs(5));
        let held: i64 = stage.status.picture().partitions.iter().map(|p| p.position).sum();
        assert!((2_000..14_000).contains(&held), "{held} records are held");
        assert!(stage.status.polled_within(Duration::from_secs(2)));
        stage.blocked.store(false, Ordering::Relaxed);
        stage.wait("all records", |s| {
            let committed = |p: &stoker::source::kafka::PartitionStatus| p.committed == Some(12_000);
            s.status.picture().partitions.iter().all(committed)
        });
        for partition in [0, 1] {
            assert!(stage.offsets(partition, 0).into_iter().eq(0..12_000));
        }
        assert_eq!(stage.assigned().len(), 2);
    });
}

#[test]
fn a_partition_whose_start_kafka_does_not_tell_is_asked_for_again() {
    let cluster = Cluster::new("unresolved", 1);
    cluster.append(0, 5);
    // Each try asks once or twice: more than one try is refused, so the state in between lasts a second.
    cluster.mock.refuse_watermarks(6).unwrap();
    cluster.run(&cluster.settings(), |stage| {
        stage.wait("the assignment", |s| s.status.picture().partitions.iter().any(|p| !p.resolved));
        assert_eq!(stage.got(), []);
        stage.wait("the records", |s| s.offsets(0, 0) == [0, 1, 2, 3, 4]);
        assert_eq!(stage.assigned().len(), 1);
    });
}

#[test]
fn kafka_away_for_a_while_loses_nothing() {
    let cluster = Cluster::new("away", 1);
    cluster.append(0, 5);
    // A session that outlives the outage: the membership stays.
    let mut settings = cluster.settings();
    settings.properties.retain(|(name, _)| name != "session.timeout.ms");
    cluster.run(&settings, |stage| {
        stage.wait("the records", |s| s.offsets(0, 0).len() == 5);
        cluster.mock.set_up(false).unwrap();
        stage.wait("that it is away", |s| !s.status.picture().connected);
        // A rewind waits until Kafka answers.
        let lane = stage.lane(0);
        stage.to_source.send(ToSource::Rewind { lane, to: 2 }).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        assert!(stage.offsets(0, 1).is_empty());
        cluster.mock.set_up(true).unwrap();
        cluster.append(0, 5);
        stage.wait("the rest", |s| s.offsets(0, 1).len() == 8);
        assert_eq!(stage.offsets(0, 1), (2..10).collect::<Vec<_>>());
        stage.wait("that it is back", |s| s.status.picture().connected);
        assert_eq!(stage.assigned().len(), 1);
    });
}

#[test]
fn kafka_away_at_shutdown_holds_it_up_for_a_bounded_time() {
    let cluster = Cluster::new("away-at-end", 1);
    cluster.append(0, 5);
    let ended = Mutex::new(clock());
    let reason = cluster.run(&cluster.settings(), |stage| {
        stage.wait("the records", |s| s.offsets(0, 0).len() == 5);
        cluster.mock.set_up(false).unwrap();
        stage.wait("that it is away", |s| !s.status.picture().connected);
        *ended.lock().unwrap() = clock();
    });
    assert_eq!(reason, StopReason::Signal);
    let took = clock() - *ended.lock().unwrap();
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_dead_letter_keeps_the_record_and_is_readable_by_its_position() {
    let cluster = Cluster::new("dead-letters", 1);
    let settings = cluster.settings();
    let record = OwnedRecord {
        topic: "shop".to_owned(),
        partition: 3,
        offset: 17,
        timestamp_ms: Some(1_700_000_000_000),
        key: Some(b"k".to_vec()),
        value: None,
        headers: vec![("trace".to_owned(), Some(b"t".to_vec()))],
    };
    let letter = Letter {
        record: record.clone(),
        entity: Some("customer".into()),
        stage: Stage::Handle,
        kind: "key_column",
        detail: "key column \"id\" is null".to_owned(),
    };
    let producer = DeadLetterProducer::connect(&settings, &cluster.topic).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(producer.send(&letter)).unwrap();

    let timeout = Duration::from_secs(10);
    let read = reread(&settings, &cluster.topic, 0, 0, timeout).unwrap();
    assert_eq!((&read.key, &read.value, read.timestamp_ms), (&record.key, &None, record.timestamp_ms));
    let header = |name: &str| {
        let found = read.headers.iter().find(|(found, _)| found == name);
        found.and_then(|(_, value)| value.clone()).map(|value| String::from_utf8(value).unwrap())
    };
    for (name, value) in [
        ("trace", "t"),
        ("__connect.errors.topic", "shop"),
        ("__connect.errors.partition", "3"),
        ("__connect.errors.offset", "17"),
        ("__connect.errors.stage", "handle"),
        ("__connect.errors.class.name", "customer"),
        ("__connect.errors.exception.class.name", "key_column"),
        ("__connect.errors.exception.message", "key column \"id\" is null"),
    ] {
        assert_eq!(header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(reread(&settings, &cluster.topic, 0, 1, timeout), Err(RereadError::Gone));
    assert_eq!(reread(&settings, &cluster.topic, 0, 400, timeout), Err(RereadError::Gone));
}

#[test]
fn the_probe_says_what_is_there_and_what_is_not() {
    let cluster = Cluster::new("probed", 2);
    let topics = ["probed".to_owned(), "^pro.*d$".to_owned(), "missing".to_owned(), "^none$".to_owned()];
    let settings = cluster.settings();
    let timeout = Duration::from_secs(10);
    let look = Probe { kafka: &settings, topics: &topics, dead_letter_topic: Some("probed-dlq"), timeout };
    let findings = probe(&look);
    let of = |subject: &str| {
        findings.iter().filter(|f| f.subject == subject).map(|f| f.severity).collect::<Vec<_>>()
    };
    assert_eq!(of("brokers"), [Severity::Good]);
    assert_eq!(of("probed"), [Severity::Good, Severity::Good]);
    assert_eq!(of("missing"), [Severity::Error]);
    assert_eq!(of("^none$"), [Severity::Warning]);
    assert_eq!(of("probed-dlq"), [Severity::Error]);
    assert_eq!(of("group"), [Severity::Good]);
}

#[test]
fn the_probe_says_that_no_broker_answers() {
    let settings = KafkaSettings {
        brokers: "127.0.0.1:1".to_owned(),
        group: "g".to_owned(),
        start: Start::Earliest,
        partitioner: Partitioner::Murmur2,
        properties: vec![("log_level".to_owned(), Secret::new("0".to_owned()))],
    };
    let look = Probe {
        kafka: &settings,
        topics: &["t".to_owned()],
        dead_letter_topic: None,
        timeout: Duration::from_millis(500),
    };
    let findings = probe(&look);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Error);
}
