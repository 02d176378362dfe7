//! The parts that run in this process: the broker, the engine as `stoker run` has it, its admin server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::shop;
use super::{Clock, Trouble};
use crate::admin::{self, Admin, Status};
use crate::process;
use crate::record::{OwnedRecord, Position};
use crate::settings::Settings;
use crate::source::StopReason;
use crate::source::kafka::mock::MockKafka;

/// Joining the group takes the broker up to three seconds, applying the rest none: far more than that.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// The broker with the shop's topics, and how many records each partition holds.
pub(super) struct Broker {
    kafka: MockKafka,
    ends: BTreeMap<(String, i32), Position>,
}

impl Broker {
    /// Starts it, with the topics of these records.
    pub(super) fn start(history: &[OwnedRecord]) -> Result<Broker, Trouble> {
        let broken = |error| Trouble::failed("the embedded broker", &error);
        let kafka = MockKafka::start(1).map_err(broken)?;
        let mut ends = BTreeMap::new();
        for record in history {
            if !ends.contains_key(&(record.topic.clone(), 0)) {
                kafka.create_topic(&record.topic, shop::PARTITION_COUNT).map_err(broken)?;
                ends.extend(
                    (0..shop::PARTITION_COUNT).map(|partition| ((record.topic.clone(), partition), 0)),
                );
            }
        }
        Ok(Broker { kafka, ends })
    }

    pub(super) fn brokers(&self) -> &str {
        self.kafka.brokers()
    }

    /// Appends a record to its partition, and waits until it is there.
    pub(super) fn append(&mut self, record: &OwnedRecord) -> Result<(), Trouble> {
        let appended = self.kafka.append(record);
        appended.map_err(|error| Trouble::failed("the embedded broker", &error))?;
        *self.ends.entry((record.topic.clone(), record.partition)).or_default() += 1;
        Ok(())
    }

    /// Appends many, and waits until all are there.
    pub(super) fn append_all(&mut self, records: &[OwnedRecord]) -> Result<(), Trouble> {
        let appended = self.kafka.append_all(records);
        appended.map_err(|error| Trouble::failed("the embedded broker", &error))?;
        for record in records {
            *self.ends.entry((record.topic.clone(), record.partition)).or_default() += 1;
        }
        Ok(())
    }
}

/// The engine, running in a thread of this process. Stopped when dropped.
pub(super) struct Engine {
    pub(super) admin: Admin,
    status: Arc<Status>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<StopReason>>,
}

impl Engine {
    /// Starts it by these settings, with its admin server.
    pub(super) fn start(settings: Settings, clock: &Clock<'_>) -> Result<Engine, Trouble> {
        let status = Arc::new(Status::new(clock.system.now().unix_ms));
        let address =
            settings.admin.ok_or_else(|| Trouble::Failed("the settings name no admin address".into()))?;
        let admin = admin::serve(address, &status, settings.ready.lag, clock.system)
            .map_err(|error| Trouble::failed("the admin server", &error))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (told, stopped, system) = (Arc::clone(&status), Arc::clone(&stop), clock.system);
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || process::run(&settings, &told, system, None, &stopped))
            .map_err(|error| Trouble::failed("the engine's thread", &error))?;
        Ok(Engine { admin, status, stop, thread: Some(thread) })
    }

    /// Waits until all that was appended is applied.
    ///
    /// # Errors
    /// [`Trouble::Failed`]: the engine ended, or took far too long. [`Trouble::Interrupted`].
    pub(super) fn catch_up(&mut self, broker: &Broker, clock: &Clock<'_>) -> Result<(), Trouble> {
        self.catch_up_while(broker, clock, || Ok(()))
    }

    /// The same, with a look at something else in between, every millisecond.
    pub(super) fn catch_up_while(
        &mut self,
        broker: &Broker,
        clock: &Clock<'_>,
        mut look: impl FnMut() -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let deadline = clock.now() + CATCH_UP_WITHIN;
        while !self.is_level_with(broker) {
            self.check()?;
            if clock.now() > deadline {
                return Err(Trouble::Failed(format!(
                    "the engine does not catch up: {}",
                    self.behind(broker)
                )));
            }
            clock.wait(LOOK_INTERVAL)?;
            look()?;
        }
        Ok(())
    }

    fn is_level_with(&self, broker: &Broker) -> bool {
        let snapshot = self.status.snapshot();
        broker.ends.iter().all(|(partition, end)| {
            let position = snapshot.lanes.get(partition).and_then(|lane| lane.position);
            *end == 0 || position.is_some_and(|position| position >= *end)
        })
    }

    /// The partitions that are behind, and what their lanes do.
    fn behind(&self, broker: &Broker) -> String {
        let snapshot = self.status.snapshot();
        let lanes = broker.ends.iter().filter_map(|(partition, end)| {
            let (topic, number) = partition;
            let Some(lane) = snapshot.lanes.get(partition) else {
                return Some(format!("{topic} {number} is not assigned"));
            };
            let (state, position) = (lane.state.as_str(), lane.position.unwrap_or(0));
            (position < *end).then(|| format!("{topic} {number} is {state} at {position} of {end}"))
        });
        lanes.collect::<Vec<String>>().join(", ")
    }

    /// An error where it has ended.
    pub(super) fn check(&mut self) -> Result<(), Trouble> {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Ok(());
        }
        Err(Trouble::Failed(format!("the engine ended: {:?}", self.join())))
    }

    /// Drains and stops it.
    pub(super) fn stop(mut self) -> Result<(), Trouble> {
        self.stop.store(true, Ordering::Release);
        match self.join() {
            StopReason::Signal => Ok(()),
            reason => Err(Trouble::Failed(format!("the engine did not stop as it should: {reason:?}"))),
        }
    }

    fn join(&mut self) -> StopReason {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(reason)) => reason,
            Some(Err(_)) => StopReason::Failed { detail: "it panicked".to_owned() },
            None => StopReason::Signal,
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Why it ended no longer matters.
        drop(self.join());
    }
}
