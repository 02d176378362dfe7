//! `stoker wait --ready`: ends when the whole group is warm, for deploy scripts; with 7 where it gives up.
//!
//! Goes by what the group has committed, so that it sees every member, wherever it runs. `/readyz` speaks for one
//! process. Start at `wait`.

use std::io::{self, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::config::{self, ConfigArgs};
use super::exit::Exit;
use super::verify::ended;
use super::{Output, complain};
use crate::clock::SystemClock;
use crate::entity::Handlers;
use crate::process::subscription;
use crate::settings::{Settings, units};
use crate::source::kafka::topic_reader::{Committed, Extent, Span};
use crate::source::kafka::{SourceError, TopicReader};

/// Between two looks. The group commits once a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest wait for one answer of Kafka, where the time is not up before.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Where nobody watches, a line so often.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Partitions that are named in the result.
const NAMED_MAX: usize = 10;

/// Options of `stoker wait`.
#[derive(Debug, Clone, clap::Args)]
pub struct WaitArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Until the group is warm: nothing that it has not applied is older than ready.lag, and no refill runs
    #[arg(long, required = true)]
    ready: bool,
    /// Give up after this time, with exit code 7
    #[arg(long, value_name = "DURATION", value_parser = units::duration, default_value = "5m")]
    timeout: Duration,
    /// End with exit code 3 where Kafka cannot be reached at the first try, instead of trying until the time is up
    #[arg(long)]
    fail_fast: bool,
}

/// Why a partition is not warm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
enum Cold {
    /// The group has never had it.
    NotTaken,
    /// History before the group's position is still to be refilled.
    Refills,
    /// The oldest record that is not applied is this old.
    Behind {
        /// Its age, milliseconds.
        age_ms: i64,
        /// Positions that are left, markers among them.
        lag: i64,
    },
}

/// A partition that is not warm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ColdPartition {
    topic: String,
    partition: i32,
    #[serde(flatten)]
    cold: Cold,
}

/// One look at the group.
#[derive(Debug, Default)]
struct View {
    partition_count: usize,
    cold: Vec<ColdPartition>,
}

/// The result.
#[derive(Debug, Serialize)]
struct Outcome<'r> {
    ready: bool,
    waited_ms: u64,
    partitions: usize,
    cold_partitions: usize,
    /// Those that are the most behind, where it is not ready.
    cold: &'r [ColdPartition],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) fn wait(args: &WaitArgs, output: Output, handlers: &Handlers) -> Exit {
    let settings = match config::load(&args.config, handlers) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let reader = match TopicReader::connect(&settings.kafka, &settings.limits) {
        Ok(reader) => reader.within(args.timeout.min(ANSWER_WITHIN)),
        Err(error) => {
            complain(format_args!("wait: {error}"));
            return Exit::Usage;
        }
    };
    let clock = SystemClock::new();
    let mut teller = Teller::new(clock);
    let mut last = View::default();
    let mut answered = false;
    let (ready, error) = loop {
        let looked = look(&settings, &reader, clock);
        let waited = clock.now().monotonic;
        let error = match looked {
            Ok(view) => {
                answered = true;
                teller.tell(&view);
                last = view;
                None
            }
            Err(error) if args.fail_fast && !answered => {
                complain(format_args!("wait: {error}"));
                return Exit::Unreachable;
            }
            Err(error) => {
                teller.tell_error(&error);
                Some(error)
            }
        };
        if error.is_none() && last.cold.is_empty() {
            break (true, None);
        }
        if waited >= args.timeout {
            break (false, error);
        }
        std::thread::sleep(LOOK_EVERY.min(args.timeout.saturating_sub(waited)));
    };
    teller.end();
    let result = Outcome {
        ready,
        waited_ms: u64::try_from(clock.now().monotonic.as_millis()).unwrap_or(u64::MAX),
        partitions: last.partition_count,
        cold_partitions: last.cold.len(),
        cold: last.cold.get(..last.cold.len().min(NAMED_MAX)).unwrap_or_default(),
        error: error.map(|error| error.to_string()),
    };
    let exit = if ready { Exit::Done } else { Exit::Incomplete };
    ended(exit, write(&result, output))
}

/// Where the group stands. Most behind first.
fn look(settings: &Settings, reader: &TopicReader, clock: SystemClock) -> Result<View, SourceError> {
    let extents = reader.extents(&subscription(settings))?;
    let names: Vec<_> = extents.iter().map(|extent| extent.name.clone()).collect();
    let committed = reader.committed(&names)?;
    let mut spans: Vec<Span> = extents
        .iter()
        .zip(&committed)
        .filter_map(|(extent, committed)| Some(Span::from(extent, (*committed)?.position)))
        .filter(|span| !span.is_done())
        .collect();
    // The oldest record of each that is not applied. Where only markers are left there is none.
    let mut oldest = vec![None; spans.len()];
    reader.read(&mut spans, &mut |index, record| {
        if let Some(oldest) = oldest.get_mut(index) {
            *oldest = Some(record.timestamp_ms);
        }
        ControlFlow::Break(())
    })?;
    let lag_ms = i64::try_from(settings.ready.lag.as_millis()).unwrap_or(i64::MAX);
    let now_ms = clock.now().unix_ms;
    let mut cold: Vec<ColdPartition> = Vec::new();
    for (extent, committed) in extents.iter().zip(committed) {
        let span = spans.iter().position(|span| span.name == extent.name);
        let oldest = span.and_then(|index| oldest.get(index).copied().flatten());
        if let Some(why) = why_cold(extent, committed, oldest, now_ms, lag_ms) {
            let name = extent.name.clone();
            cold.push(ColdPartition { topic: name.topic, partition: name.partition, cold: why });
        }
    }
    cold.sort_by_key(|partition| match partition.cold {
        Cold::NotTaken => i64::MIN,
        Cold::Refills => i64::MIN + 1,
        Cold::Behind { age_ms, .. } => age_ms.saturating_neg(),
    });
    Ok(View { partition_count: extents.len(), cold })
}

/// Why a partition is not warm; `None` where it is. `oldest` is the timestamp of the record at the committed position,
/// where there is a record; one without a timestamp counts as old.
fn why_cold(
    extent: &Extent,
    committed: Option<Committed>,
    oldest: Option<Option<i64>>,
    now_ms: i64,
    lag_ms: i64,
) -> Option<Cold> {
    let Some(Committed { position, refills }) = committed else { return Some(Cold::NotTaken) };
    if refills {
        return Some(Cold::Refills);
    }
    let age_ms = now_ms.saturating_sub(oldest?.unwrap_or(0));
    (age_ms > lag_ms).then(|| Cold::Behind { age_ms, lag: extent.high.saturating_sub(position) })
}

fn write(result: &Outcome<'_>, output: Output) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string(result)?)?,
        Output::Text if result.ready => {
            writeln!(out, "ready: all {} partitions are warm", result.partitions)?
        }
        Output::Text => {
            let Outcome { partitions, cold_partitions, .. } = result;
            let warm = partitions.saturating_sub(*cold_partitions);
            writeln!(out, "not ready: {warm} of {partitions} partitions are warm")?;
            for cold in result.cold {
                writeln!(out, "  {}", words(cold))?;
            }
            if let Some(error) = &result.error {
                writeln!(out, "  {error}")?;
            }
        }
    }
    out.flush()
}

fn words(cold: &ColdPartition) -> String {
    let ColdPartition { topic, partition, cold } = cold;
    match cold {
        Cold::NotTaken => format!("{topic}/{partition}: the group has not taken it yet"),
        Cold::Refills => format!("{topic}/{partition}: a refill runs"),
        Cold::Behind { age_ms, lag } => {
            format!("{topic}/{partition}: {} s behind ({lag} records)", age_ms / 1_000)
        }
    }
}

/// Tells how many partitions are warm, on standard error.
struct Teller {
    bar: Option<ProgressBar>,
    clock: SystemClock,
    told_at: Option<Duration>,
}

impl Teller {
    fn new(clock: SystemClock) -> Teller {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("  {bar:40} {pos} of {len} partitions are warm  {msg}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Teller { bar, clock, told_at: None }
    }

    fn tell(&mut self, view: &View) {
        let warm = view.partition_count.saturating_sub(view.cold.len());
        let worst = view.cold.first().map_or_else(String::new, words);
        match &self.bar {
            Some(bar) => {
                bar.set_length(view.partition_count as u64);
                bar.set_position(warm as u64);
                bar.set_message(worst);
            }
            None if !view.cold.is_empty() => {
                self.line(format_args!("{warm} of {} partitions are warm; {worst}", view.partition_count));
            }
            None => {}
        }
    }

    fn tell_error(&mut self, error: &SourceError) {
        match &self.bar {
            Some(bar) => bar.set_message(error.to_string()),
            None => self.line(format_args!("{error}")),
        }
    }

    fn line(&mut self, words: std::fmt::Arguments<'_>) {
        let now = self.clock.now().monotonic;
        if self.told_at.is_none_or(|told_at| now.saturating_sub(told_at) >= TELL_EVERY) {
            self.told_at = Some(now);
            complain(words);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::LaneName;

    #[test]
    fn a_partition_is_warm_when_nothing_unapplied_is_old_and_nothing_is_refilled() {
        let name = LaneName { topic: "t".to_owned(), partition: 0 };
        let extent = Extent { name, low: 0, high: 10 };
        let at = |position, refills| Some(Committed { position, refills });
        for (committed, oldest, expected) in [
            (None, None, Some(Cold::NotTaken)),
            (at(10, false), None, None),
            (at(10, true), None, Some(Cold::Refills)),
            (at(8, false), None, None),
            (at(8, false), Some(Some(95_000)), None),
            (at(8, false), Some(Some(94_999)), Some(Cold::Behind { age_ms: 5_001, lag: 2 })),
            (at(8, false), Some(Some(200_000)), None),
            (at(8, false), Some(None), Some(Cold::Behind { age_ms: 100_000, lag: 2 })),
        ] {
            assert_eq!(why_cold(&extent, committed, oldest, 100_000, 5_000), expected, "{committed:?}");
        }
    }
}
