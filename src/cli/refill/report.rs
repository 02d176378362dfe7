//! What `stoker refill` shows on the way, and its report.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::batch::LaneName;
use crate::cli::exit::Exit;
use crate::cli::{Output, complain};
use crate::clock::SystemClock;
use crate::error::WorldError;
use crate::refill::{AskedState, LaneReport, RefillCounts};
use crate::source::kafka::OpenTransaction;
use crate::source::kafka::topic_reader::Extent;

/// Where nobody watches, a line so often.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Steps of the bar.
const STEPS: u64 = 1_000;

/// How a refill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Ending {
    /// All of the history that was asked for is covered.
    Done,
    /// As many keys are written as were asked for.
    KeysMax,
    /// Redis has no room for more.
    NoRoom,
    /// It is not done: see the reason.
    Incomplete,
}

/// The result.
#[derive(Debug, Serialize)]
pub(super) struct Report<'r> {
    id: &'r str,
    result: Ending,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    took_ms: u64,
    partitions: usize,
    partitions_done: usize,
    /// Share of the history that is covered, 0 to 1.
    covered: f64,
    records_read: u64,
    keys_written: u64,
    keys_seen: u64,
    changes_failed: u64,
    /// Records left out, for their key belongs to another partition since the topic has grown.
    records_moved: u64,
    /// Where a transaction was open in the end: what lies behind its beginning is not refilled, and comes live.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    open_transactions: Vec<OpenTransaction>,
}

impl Report<'_> {
    pub(super) fn new<'r>(
        id: &'r str,
        extents: &[Extent],
        lanes: &BTreeMap<LaneName, LaneReport>,
        reason: Option<&'static str>,
        took: Duration,
    ) -> Report<'r> {
        let any = |state: AskedState| lanes.values().any(|lane| lane.state == state);
        let result = match reason {
            Some(_) => Ending::Incomplete,
            None if any(AskedState::NoRoom) => Ending::NoRoom,
            None if any(AskedState::Cancelled) => Ending::Incomplete,
            None if any(AskedState::KeysMax) => Ending::KeysMax,
            None => Ending::Done,
        };
        let RefillCounts { read, written, seen, failed, moved } = sum(lanes);
        Report {
            id,
            result,
            reason,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            partitions: extents.len(),
            partitions_done: lanes.values().filter(|lane| lane.state.is_over()).count(),
            covered: covered(extents, lanes),
            records_read: read,
            keys_written: written,
            keys_seen: seen,
            changes_failed: failed,
            records_moved: moved,
            open_transactions: Vec::new(),
        }
    }

    pub(super) fn with_open(self, open_transactions: Vec<OpenTransaction>) -> Self {
        Report { open_transactions, ..self }
    }

    pub(super) fn exit(&self) -> Exit {
        match self.result {
            Ending::Done | Ending::KeysMax => Exit::Done,
            Ending::NoRoom | Ending::Incomplete => Exit::Incomplete,
        }
    }

    pub(super) fn write(&self, output: Output) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match output {
            Output::Json => writeln!(out, "{}", serde_json::to_string(self)?)?,
            Output::Text => {
                let words = match self.result {
                    Ending::Done => "done",
                    Ending::KeysMax => "done: as many keys are written as were asked for",
                    Ending::NoRoom => {
                        "ended early: Redis has no room for more (refill.memory, --memory-budget)"
                    }
                    Ending::Incomplete => "not done",
                };
                writeln!(out, "refill: {words}")?;
                if let Some(reason) = self.reason {
                    writeln!(out, "  {reason}")?;
                }
                writeln!(
                    out,
                    "  {} keys written, {} left out for something newer, {} changes failed, of {} records of {} of {} \
                     partitions in {:.1} s",
                    self.keys_written,
                    self.keys_seen,
                    self.changes_failed,
                    self.records_read,
                    self.partitions_done,
                    self.partitions,
                    Duration::from_millis(self.took_ms).as_secs_f64()
                )?;
                if self.records_moved > 0 {
                    writeln!(
                        out,
                        "  {} records left out: their keys belong to other partitions since the topic has grown",
                        self.records_moved
                    )?;
                }
                for OpenTransaction { topic, partition, from, to } in &self.open_transactions {
                    writeln!(
                        out,
                        "  {topic}/{partition}: a transaction is open; positions {from} to {to} come live once it ends"
                    )?;
                }
            }
        }
        out.flush()
    }
}

fn sum(lanes: &BTreeMap<LaneName, LaneReport>) -> RefillCounts {
    lanes.values().fold(RefillCounts::default(), |sum, lane| RefillCounts {
        read: sum.read.saturating_add(lane.read),
        written: sum.written.saturating_add(lane.written),
        seen: sum.seen.saturating_add(lane.seen),
        failed: sum.failed.saturating_add(lane.failed),
        moved: sum.moved.saturating_add(lane.moved),
    })
}

/// Share of the history that is covered: partitions count by their positions.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn covered(extents: &[Extent], lanes: &BTreeMap<LaneName, LaneReport>) -> f64 {
    let (mut whole, mut done) = (0.0, 0.0);
    for extent in extents {
        let weight = extent.high.saturating_sub(extent.low).max(1) as f64;
        whole += weight;
        done += weight
            * lanes.get(&extent.name).map_or(0.0, |lane| match lane.state.is_over() {
                true => 1.0,
                false => lane.covered,
            });
    }
    if whole > 0.0 { done / whole } else { 1.0 }
}

/// Tells how far it is, on standard error.
pub(super) struct Teller {
    bar: Option<ProgressBar>,
    clock: SystemClock,
    began_at: Duration,
    told: Option<(Duration, u64)>,
}

impl Teller {
    pub(super) fn new(clock: SystemClock) -> Teller {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("  {bar:40} {percent}%  {msg}, {eta} left");
            ProgressBar::new(STEPS).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Teller { bar, clock, began_at: clock.now().monotonic, told: None }
    }

    pub(super) fn took(&self) -> Duration {
        self.clock.now().monotonic.saturating_sub(self.began_at)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "shown"
    )]
    pub(super) fn tell(&mut self, extents: &[Extent], lanes: &BTreeMap<LaneName, LaneReport>) {
        let (share, counts) = (covered(extents, lanes), sum(lanes));
        let now = self.clock.now().monotonic;
        let (since, before) = self.told.unwrap_or((self.began_at, 0));
        let seconds = now.saturating_sub(since).as_secs_f64().max(0.001);
        let rate = counts.written.saturating_sub(before) as f64 / seconds;
        let words = format!("{} keys ({rate:.0}/s), {} seen", counts.written, counts.seen);
        match &self.bar {
            Some(bar) => {
                bar.set_position((share * STEPS as f64) as u64);
                bar.set_message(words);
                if now.saturating_sub(since) >= Duration::from_secs(1) {
                    self.told = Some((now, counts.written));
                }
            }
            None if self.told.is_none() || now.saturating_sub(since) >= TELL_EVERY => {
                let left = if share > 0.01 {
                    let left = self.took().as_secs_f64() / share * (1.0 - share);
                    format!(", about {left:.0} s left")
                } else {
                    String::new()
                };
                complain(format_args!("refill: {:.0} % of the history, {words}{left}", share * 100.0));
                self.told = Some((now, counts.written));
            }
            None => {}
        }
    }

    pub(super) fn tell_error(&mut self, error: &WorldError) {
        match &self.bar {
            Some(bar) => bar.set_message(error.to_string()),
            None => complain(format_args!("refill: {error}")),
        }
    }

    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_partitions_by_their_size_and_ends_by_the_worst_of_them() {
        let name = |partition| LaneName { topic: "t".to_owned(), partition };
        let extents =
            [Extent { name: name(0), low: 0, high: 300 }, Extent { name: name(1), low: 0, high: 100 }];
        let lane = |state, covered| {
            LaneReport::new(
                state,
                covered,
                RefillCounts { read: 10, written: 4, seen: 1, ..RefillCounts::default() },
            )
        };
        let report = |first, second, why| {
            let lanes = BTreeMap::from([(name(0), first), (name(1), second)]);
            let report = Report::new("7", &extents, &lanes, why, Duration::from_secs(1));
            (report.result, report.exit(), report.covered, report.keys_written)
        };
        let done = || lane(AskedState::Done, 1.0);
        assert_eq!(report(done(), done(), None), (Ending::Done, Exit::Done, 1.0, 8));
        let full = lane(AskedState::NoRoom, 0.5);
        assert_eq!(report(done(), full, None), (Ending::NoRoom, Exit::Incomplete, 1.0, 8));
        let half = lane(AskedState::Running, 0.5);
        assert_eq!(report(done(), half, Some("gone")), (Ending::Incomplete, Exit::Incomplete, 0.875, 8));
        let bounded = lane(AskedState::KeysMax, 0.1);
        assert_eq!(report(done(), bounded, None).0, Ending::KeysMax);
    }
}
