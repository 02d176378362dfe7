//! The load's ear: what the follower tells is taken in, marks are set, and writes become settled.
//!
//! The other half of [`Load`]: here nothing is written. Start at [`Load::settle`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{sleep, timeout};

use super::follow::{Ask, Changes, Follower, Heard, Tally};
use super::known::Supply;
use super::load::{Load, TICK};
use super::report::Ended;
use crate::pipeline::Pipeline;
use crate::source::kafka::reader::TopicReader;

/// What the follower has told and nobody has taken in yet.
const HEARD: usize = 64;
/// How long it waits for the follower to get any further before it gives up settling.
const SETTLE_WITHIN: Duration = Duration::from_secs(120);

/// The follower, and what is asked of it.
pub(super) struct Following {
    pub(super) asks: SyncSender<Ask>,
    pub(super) heard: Receiver<Heard>,
    pub(super) tally: Arc<Tally>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) thread: Option<JoinHandle<()>>,
    pub(super) is_ready: bool,
    /// The mark that is not passed yet.
    pub(super) open: Option<u64>,
    pub(super) marked: Duration,
}

impl Following {
    /// Starts the follower's thread.
    pub(super) fn start((reader, pipeline, supply): (TopicReader, Pipeline, Supply)) -> Following {
        let (asks, asked) = sync_channel(1);
        let (told, heard) = channel(HEARD);
        let (tally, stop) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let follower =
            Follower { reader, pipeline, supply, tally: Arc::clone(&tally), stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name("follower".to_owned());
        // Where there is no thread, nobody tells anything: that is heard.
        let thread = thread.spawn(move || follower.run(&asked, &told)).ok();
        Following { asks, heard, tally, stop, thread, is_ready: false, open: None, marked: Duration::ZERO }
    }
}

impl Load<'_> {
    /// Waits until everything is known that changed between the export's time and now.
    pub(super) async fn wait_for_topics(&mut self) -> Result<(), Ended> {
        if self.follower.is_some() {
            self.watch.note("reading what changed since the export");
        }
        while self.follower.as_ref().is_some_and(|follower| !follower.is_ready) {
            self.listen_for(TICK).await?;
        }
        Ok(())
    }

    /// Takes in what the follower has told so far.
    pub(super) fn listen(&mut self) -> Result<(), Ended> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Ended::Stopped);
        }
        while let Some(follower) = &mut self.follower {
            match follower.heard.try_recv() {
                Ok(heard) => self.take_in(heard)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(Ended::ProtectionLost);
                }
            }
        }
        Ok(())
    }

    /// The same, waiting for it.
    pub(super) async fn listen_for(&mut self, within: Duration) -> Result<(), Ended> {
        match &mut self.follower {
            None => sleep(within).await,
            Some(follower) => match timeout(within, follower.heard.recv()).await {
                Err(_) => {}
                Ok(None) => return Err(Ended::ProtectionLost),
                Ok(Some(heard)) => self.take_in(heard)?,
            },
        }
        self.listen()
    }

    fn take_in(&mut self, heard: Heard) -> Result<(), Ended> {
        match heard {
            Heard::Changes(Changes { keys, members, .. }) => {
                let heard = self.settling.heard_members(members);
                let heard = heard.and_then(|()| self.settling.heard(&keys, &mut self.back));
                heard.map_err(|_| Ended::TooManyChanges)?;
            }
            Heard::Truncated => self.settling.heard_truncate(&mut self.back),
            Heard::Ready => {
                if let Some(follower) = &mut self.follower {
                    follower.is_ready = true;
                }
                self.watch.note(&format!(
                    "{} rows and keys changed since the export",
                    self.settling.changed_count()
                ));
            }
            Heard::Passed(mark) => {
                if let Some(follower) = &mut self.follower {
                    follower.open = None;
                }
                if let Some(place) = self.settling.passed(mark) {
                    self.settled(place)?;
                }
            }
            Heard::Lost => return Err(Ended::ProtectionLost),
            Heard::Waits(why) => self.watch.note(&format!("Kafka: {why}; it goes on when that is over")),
        }
        Ok(())
    }

    /// Asks the follower to mark where the topics end now, where no mark is open.
    pub(super) fn mark(&mut self) {
        let Some(follower) = &mut self.follower else { return };
        if follower.open.is_some() {
            return;
        }
        if let Some(number) = self.settling.close() {
            follower.open = Some(number);
            follower.marked = self.clock.now().monotonic;
            // Room for one is always there: none is open. Where nobody listens, hearing says so.
            let _ = follower.asks.try_send(Ask::Mark(number));
        }
    }

    /// Waits until every write is settled.
    pub(super) async fn settle(&mut self) -> Result<(), Ended> {
        let mut since = self.clock.now().monotonic;
        let mut records = 0;
        while self.follower.is_some() && !self.settling.is_settled() {
            self.mark();
            self.listen_for(TICK).await?;
            self.take_back().await?;
            let now = self.clock.now().monotonic;
            let read = self.follower.as_ref().map_or(0, |it| it.tally.records.load(Ordering::Relaxed));
            if read != records {
                (since, records) = (now, read);
            } else if now.saturating_sub(since) > SETTLE_WITHIN {
                return Err(Ended::NotSettled);
            }
        }
        self.take_back().await
    }
}
