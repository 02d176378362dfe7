//! `stoker preload`: loads an export, shows how far it is, and tells what it did.
//!
//! The job itself is [`crate::preload`]'s. Ends with 0 where all of it was done, 7 where it was not, 2 where it did not
//! begin for what was asked or read, 3 where Redis or Kafka could not be reached at the start.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};

use super::config::{self, ConfigArgs};
use super::exit::Exit;
use super::schemas::{SchemaSource, SchemasArgs};
use super::{Output, complain, run, unwritten};
use crate::clock::SystemClock;
use crate::entity::Handlers;
use crate::export::{Dialect, Format, Reading};
use crate::pipeline::Pipeline;
use crate::preload::{self, AsOf, Ended, Job, Pipelines, Progress, Report, Supply, Trouble, Watch};
use crate::settings::units;
use crate::sink::redis::Over;
use crate::telemetry::{self, chain};

/// A plain line of progress every so often, where nobody sees a bar.
const LINE_EVERY: Duration = Duration::from_secs(5);

const ABOUT: &str = "\
PATH is a file, a folder (read as a whole, sorted), a glob pattern, or - for standard input: Parquet, CSV, NDJSON or Avro,
packed by gzip or zstd or not. Folders named column=value are columns. topic:NAME is a topic up to its end. Of several
paths the first has priority.

What changed since the export shows it is left alone: say when that was by --as-of. Keys that are there already are left
alone too, unless --overwrite is said. A load that was ended goes on where it was when it is started again.

Ends with 0 when all of it was done, with 7 when it was not, and why.";

/// Options of `stoker preload`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = ABOUT)]
pub struct PreloadArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    schemas: SchemasArgs,
    /// The entity whose rows these are
    #[arg(long, value_name = "NAME")]
    entity: String,
    /// The moment that the export shows: RFC 3339, Unix milliseconds, or file-time (when the oldest file was written)
    #[arg(long, value_name = "TIME", value_parser = as_of, required_unless_present_any = ["unprotected", "dry_run"])]
    as_of: Option<AsOf>,
    /// Load without looking at what changed since the export
    #[arg(long, conflicts_with = "as_of")]
    unprotected: bool,
    /// How long values live, instead of what the entity says
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    /// Longer or shorter by up to that share, as the key decides
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "ttl")]
    jitter: Option<f64>,
    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
    /// Keys to write a second, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Afterwards, delete the entity's keys that the export does not hold
    #[arg(long)]
    sweep: bool,
    /// Read everything and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Rows that may fail before it stops
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_errors: u64,
    /// Write the rows that failed there: file, row and reason, one JSON object a line
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// The format of the files, where names and first bytes do not tell it
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What stands between two cells of CSV
    #[arg(long, value_name = "CHAR", value_parser = delimiter, default_value = ",")]
    delimiter: u8,
    /// An empty cell of CSV is an empty text; only \N is null
    #[arg(long)]
    empty_is_text: bool,
    /// A column that a row leaves out is null
    #[arg(long)]
    absent_is_null: bool,
    /// Where it keeps how far it is; beside the first path by default
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Begin anew where a load was begun
    #[arg(long)]
    restart: bool,
    /// The share of maxmemory at which it stops
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "80%")]
    fill: f64,
    /// Begin although it would not fit, and stop where Redis is full
    #[arg(long)]
    even_if_full: bool,
    /// What to load
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
}

impl PreloadArgs {
    fn job(&self) -> Job {
        Job {
            entity: self.entity.clone(),
            paths: self.paths.clone(),
            reading: Reading {
                format: self.format,
                dialect: Dialect { delimiter: self.delimiter, empty_is_text: self.empty_is_text },
                columns: None,
            },
            as_of: self.as_of.unwrap_or(AsOf::Unprotected),
            absent_is_null: self.absent_is_null,
            ttl: self.ttl.map(|ttl| (ttl, self.jitter.unwrap_or(0.0))),
            over: if self.overwrite { Over::Anything } else { Over::Nothing },
            rate: self.rate,
            sweep: self.sweep,
            dry_run: self.dry_run,
            max_errors: self.max_errors,
            rejects: self.rejects.clone(),
            checkpoint: self.checkpoint.clone(),
            restart: self.restart,
            fill: self.fill,
            even_if_full: self.even_if_full,
        }
    }
}

pub(super) fn preload(args: &PreloadArgs, output: Output, handlers: &Handlers) -> Exit {
    let settings = match config::load(&args.config, handlers) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    if let Err(error) = telemetry::init(&settings.log) {
        complain(chain(&error));
        return Exit::Usage;
    }
    let schemas = match SchemaSource::new(&args.schemas, &settings) {
        Ok(schemas) => Arc::new(schemas),
        Err(wrong) => {
            complain(wrong);
            return Exit::Usage;
        }
    };
    let stop = match run::stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => {
            complain(format_args!("signals: {error}"));
            return Exit::Failed;
        }
    };
    let value_bytes = settings.limits.value_bytes;
    let known = Arc::clone(&schemas);
    let pipelines: Pipelines =
        Arc::new(move |entities| known.known_to(Pipeline::new(entities).with_value_bytes_max(value_bytes)));
    let supply: Supply =
        Arc::new(move |pipeline, record| schemas.supply(pipeline, record).map_err(|error| chain(&error)));
    let mut screen = Screen::new();
    let done = preload::prepare(args.job(), settings, pipelines, supply, &mut screen)
        .and_then(|prepared| preload::run(prepared, &mut screen, &stop));
    screen.end();
    match done {
        Ok(report) => tell(&report, output),
        Err(trouble) => {
            complain(chain(&trouble));
            match trouble {
                Trouble::Usage(_) | Trouble::Inputs(_) | Trouble::Checkpoint(_) | Trouble::Input(_) => {
                    Exit::Usage
                }
                Trouble::DoesNotFit(_) => Exit::Incomplete,
                Trouble::Redis(_) | Trouble::Kafka(_) => Exit::Unreachable,
                Trouble::Failed(_) => Exit::Failed,
            }
        }
    }
}

fn tell(report: &Report, output: Output) -> Exit {
    let mut out = std::io::stdout().lock();
    let written = match output {
        Output::Json => match serde_json::to_string(report) {
            Ok(line) => writeln!(out, "{line}"),
            Err(error) => return unwritten(&error.into()),
        },
        Output::Text => write!(out, "{}", in_words(report)),
    };
    match written {
        Err(error) => unwritten(&error),
        Ok(()) if report.complete => Exit::Done,
        Ok(()) => Exit::Incomplete,
    }
}

/// The report for people: what is nothing is left out.
fn in_words(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |number: u64, what: &str| {
        if number > 0 {
            text.push_str(&format!("{:>15}  {what}\n", HumanCount(number).to_string()));
        }
    };
    line(report.rows, "rows read");
    line(report.rows_rejected, "rows failed");
    line(report.rows_without_key, "rows gave no key");
    line(report.keys_written, if report.dry_run { "keys would be written" } else { "keys written" });
    line(report.keys_present, "keys were there already");
    line(report.keys_changed, "keys changed since the export, left alone");
    line(report.keys_older, "keys for which the guard knows something newer");
    line(report.keys_expired, "keys would have expired already");
    line(report.keys_refused, "keys refused by Redis");
    line(report.keys_repeated, "keys given by several rows at once");
    line(report.taken_back, "writes taken back, for a change raced with them");
    line(report.put_right, "members brought to what a change says that raced with them");
    line(report.unsettled, "writes of which it is not known whether a change raced with them");
    line(report.keys_swept, "keys swept");
    line(report.records_unreadable, "records of the topics could not be read: their keys are not protected");
    if let Some(reject) = &report.first_reject {
        text.push_str(&format!("first row that failed: {reject}\n"));
    }
    if report.protection == preload::Protection::None && !report.dry_run {
        text.push_str("nothing protected what changed since the export\n");
    }
    let took = HumanDuration(Duration::from_millis(report.took_ms));
    let why = match &report.ended {
        Ended::Done if report.complete => "complete".to_owned(),
        Ended::Done => "INCOMPLETE".to_owned(),
        Ended::Stopped => "INCOMPLETE: it was stopped".to_owned(),
        Ended::Full(how) => format!("INCOMPLETE: Redis is full: {how} (--fill)"),
        Ended::Evicts => "INCOMPLETE: Redis began to evict keys".to_owned(),
        Ended::RedisRefuses(how) => format!("INCOMPLETE: {how}"),
        Ended::TooManyErrors => "INCOMPLETE: too many rows failed (--max-errors)".to_owned(),
        Ended::TooManyChanges => {
            "INCOMPLETE: too many keys changed since the export: take a newer one".to_owned()
        }
        Ended::Truncated => {
            "INCOMPLETE: the table was truncated since the export, and its keys deleted: take a newer export"
                .to_owned()
        }
        Ended::ProtectionLost => {
            "INCOMPLETE: the topics lost records that were not followed yet: take a newer export".to_owned()
        }
        Ended::Input(why) => format!("INCOMPLETE: {why}"),
        Ended::NotSettled => "INCOMPLETE: the topics could not be followed to their end".to_owned(),
        Ended::NotSwept(why) => format!("loaded, but NOT SWEPT: {why}"),
    };
    text.push_str(&format!("{why}, after {took}\n"));
    if let Some(checkpoint) = &report.checkpoint {
        text.push_str(&format!("started again, it goes on from {checkpoint}\n"));
    }
    text
}

/// Standard error: a bar on a terminal, else a line every few seconds.
struct Screen {
    bar: Option<ProgressBar>,
    is_terminal: bool,
    clock: SystemClock,
    told: Duration,
    /// How far it was when it was first shown, and when: a load may go on in the middle.
    first: Option<(Progress, Duration)>,
}

impl Screen {
    fn new() -> Screen {
        let is_terminal = std::io::stderr().is_terminal();
        Screen { bar: None, is_terminal, clock: SystemClock::new(), told: Duration::ZERO, first: None }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Screen {
    fn progress(&mut self, progress: Progress) {
        let Progress { bytes, bytes_all, rows, written, left } = progress;
        let now = self.clock.now().monotonic;
        let (first, since) = *self.first.get_or_insert((progress, now));
        let took = now.saturating_sub(since);
        let rate =
            u128::from(rows.saturating_sub(first.rows)).saturating_mul(1000).checked_div(took.as_millis());
        let counts = format!(
            "{} rows ({}/s), {} keys written, {} left alone",
            HumanCount(rows),
            HumanCount(rate.and_then(|rate| u64::try_from(rate).ok()).unwrap_or(0)),
            HumanCount(written),
            HumanCount(left)
        );
        if self.is_terminal {
            let bar = self.bar.get_or_insert_with(|| {
                let template = if bytes_all > 0 {
                    "  {bar:30} {bytes} of {total_bytes}, {eta} left: {msg}"
                } else {
                    "  {spinner} {elapsed}: {msg}"
                };
                let style = ProgressStyle::with_template(template);
                let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
                // The position first, so that what was done before counts for no speed.
                ProgressBar::new(bytes_all).with_position(bytes).with_style(style)
            });
            bar.set_position(bytes);
            bar.set_message(counts);
            return;
        }
        if now.saturating_sub(self.told) < LINE_EVERY {
            return;
        }
        self.told = now;
        let of = if bytes_all > 0 { format!(" of {}", HumanBytes(bytes_all)) } else { String::new() };
        let left = left_of(bytes.saturating_sub(first.bytes), bytes_all.saturating_sub(bytes), took);
        complain(format_args!("{}{of} read: {counts}{left}", HumanBytes(bytes)));
    }

    fn note(&mut self, note: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| complain(note)),
            None => complain(note),
        }
    }
}

/// What is left of the time, where so many bytes took so long and the rest is to come.
fn left_of(bytes: u64, rest: u64, took: Duration) -> String {
    let rest = u128::from(rest);
    match took.as_millis().saturating_mul(rest).checked_div(u128::from(bytes)) {
        Some(ms) if rest > 0 => {
            let left = Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX));
            format!(", about {} left", HumanDuration(left))
        }
        _ => String::new(),
    }
}

fn as_of(text: &str) -> Result<AsOf, String> {
    if text == "file-time" {
        return Ok(AsOf::FileTime);
    }
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(AsOf::At(ms));
    }
    // Minutes are enough for a time that people write.
    let with_seconds = text.strip_suffix('Z').filter(|text| text.matches(':').count() == 1);
    let with_seconds = with_seconds.map(|text| format!("{text}:00Z"));
    let stamp = with_seconds.as_deref().unwrap_or(text).parse::<jiff::Timestamp>();
    stamp
        .map(|stamp| AsOf::At(stamp.as_millisecond()))
        .map_err(|_| "expected RFC 3339 (2026-11-01T00:00:00Z), Unix milliseconds, or file-time".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|wrong| format!("the value {wrong}"))
}

fn share(text: &str) -> Result<f64, String> {
    units::share(text).map_err(|wrong| format!("the value {wrong}"))
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        b"\\x01" => Ok(1),
        _ => Err("expected one character, \\t or \\x01".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_export_s_time_is_a_moment_or_the_files() {
        assert_eq!(as_of("file-time"), Ok(AsOf::FileTime));
        for text in
            ["2026-11-01T00:00Z", "2026-11-01T00:00:00Z", "2026-11-01T01:00:00+01:00", "1793491200000"]
        {
            assert_eq!(as_of(text), Ok(AsOf::At(1_793_491_200_000)), "{text}");
        }
        for text in ["", "2026-11-01", "now", "2026-11-01T00:00"] {
            assert!(as_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_report_says_what_was_done_and_why_it_ended() {
        let mut report = Report { rows: 1_000_000, keys_written: 5, complete: true, ..Report::default() };
        let text = in_words(&report);
        assert!(text.starts_with("      1,000,000  rows read\n              5  keys written\n"), "{text}");
        assert!(text.contains("\ncomplete, after") && text.contains("nothing protected"), "{text}");
        report.complete = false;
        report.ended = Ended::Full("81 % of maxmemory is used".to_owned());
        assert!(in_words(&report).contains("INCOMPLETE: Redis is full: 81 %"), "{}", in_words(&report));
    }
}
