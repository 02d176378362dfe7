//! Logs: structured, on standard error, without row values or secrets.
//!
//! Redaction is by construction: what could hold a value (`CacheKey`, `Value`, `Secret`) shows only its shape,
//! and a panic's own words are not printed where they could quote one. [`SummedLog`] keeps an error that comes a
//! thousand times a second to a line now and then.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::io::{self, IsTerminal as _};
use std::sync::Mutex;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::{LogFormat, LogSettings};

/// Most kinds that a [`SummedLog`] tells apart. Far more than there are names of errors.
pub const SUMMED_KINDS_MAX: usize = 256;

/// How often the same kind of error is summed up: often enough for a person, rare enough for a log.
pub const SUMMED_EVERY: Duration = Duration::from_secs(30);

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is no filter.
    #[error(
        "log.level is neither a level (error, warn, info, debug, trace) nor a filter such as \"info,stoker=debug\""
    )]
    Level(#[source] tracing_subscriber::filter::ParseError),
}

/// Sets up logging for the process: text on a terminal, JSON elsewhere, or as the settings ask. Where a binary
/// of one's own has set up a subscriber already, that one stays.
pub fn init(log: &LogSettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder().parse(&log.level).map_err(TelemetryError::Level)?;
    let terminal = io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let common = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(terminal)
        .with_writer(io::stderr);
    let _already_set = if json {
        let json = common.json().flatten_event(true).with_current_span(false).with_span_list(false);
        json.finish().try_init()
    } else {
        common.finish().try_init()
    };
    hide_panic_values();
    Ok(())
}

/// Sets up logging for a command whose terminal shows something else: as text into this file.
pub fn init_into(level: &str, file: File) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder().parse(level).map_err(TelemetryError::Level)?;
    let text = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_ansi(false);
    let _already_set = text.with_writer(Mutex::new(file)).finish().try_init();
    hide_panic_values();
    Ok(())
}

/// Lets a panic say where it happened, and why only where its words are fixed in the program: words that
/// were put together at run time (a handler's `unwrap` of a parse error) could quote a row.
fn hide_panic_values() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
        let words = panic.payload().downcast_ref::<&'static str>().copied();
        tracing::error!(place, words = words.unwrap_or("not shown: they could hold a row's values"), "panic");
    }));
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// Counts what would flood a log: the first of a kind is told at once, those after it as a count every so often.
///
/// Reads no clock: `now` is the monotonic time of [`crate::clock::Now`]. Holds at most
/// [`SUMMED_KINDS_MAX`] kinds; any beyond share one count.
#[derive(Debug)]
pub struct SummedLog<K> {
    every: Duration,
    kinds: HashMap<K, Tally>,
    others: Tally,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    told_at: Option<Duration>,
    untold: u64,
}

impl<K: Eq + Hash + Clone> SummedLog<K> {
    /// Sums up every so often; see [`SUMMED_EVERY`].
    pub fn new(every: Duration) -> SummedLog<K> {
        SummedLog { every, kinds: HashMap::new(), others: Tally::default() }
    }

    /// One more of that kind. `Some(count)` where it is to be logged, with the number since the last line
    /// (1 for the first); `None` where it is only counted.
    pub fn hit(&mut self, kind: K, now: Duration) -> Option<u64> {
        let every = self.every;
        if self.kinds.len() >= SUMMED_KINDS_MAX && !self.kinds.contains_key(&kind) {
            return self.others.hit(every, now);
        }
        self.kinds.entry(kind).or_default().hit(every, now)
    }

    /// Kinds with hits that were not told for as long as `every`, and how many: so that a burst that ends is
    /// told in full. Kinds quiet for that long are forgotten, and their next hit is a first one again.
    pub fn overdue(&mut self, now: Duration) -> Vec<(K, u64)> {
        let every = self.every;
        let mut due = Vec::new();
        self.kinds.retain(|kind, tally| {
            if !tally.is_due(every, now) {
                return true;
            }
            if tally.untold == 0 {
                return false;
            }
            due.push((kind.clone(), tally.tell(now)));
            true
        });
        due
    }
}

impl Tally {
    fn hit(&mut self, every: Duration, now: Duration) -> Option<u64> {
        self.untold = self.untold.saturating_add(1);
        self.is_due(every, now).then(|| self.tell(now))
    }

    fn is_due(&self, every: Duration, now: Duration) -> bool {
        self.told_at.is_none_or(|told_at| now.saturating_sub(told_at) >= every)
    }

    fn tell(&mut self, now: Duration) -> u64 {
        self.told_at = Some(now);
        std::mem::take(&mut self.untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_of_a_kind_is_told_and_later_ones_as_a_count() {
        let mut log = SummedLog::new(EVERY);
        assert_eq!(log.hit("json", at(0)), Some(1));
        assert_eq!(log.hit("json", at(1)), None);
        assert_eq!(log.hit("op", at(1)), Some(1), "another kind is a first one");
        assert_eq!(log.hit("json", at(29)), None);
        assert_eq!(log.hit("json", at(30)), Some(3));
        assert_eq!(log.hit("json", at(31)), None);
    }

    #[test]
    fn a_burst_that_ends_is_told_in_full_and_a_quiet_kind_is_forgotten() {
        let mut log = SummedLog::new(EVERY);
        assert_eq!(log.hit("json", at(0)), Some(1));
        assert_eq!(log.hit("json", at(1)), None);
        assert_eq!(log.overdue(at(20)), []);
        assert_eq!(log.overdue(at(30)), [("json", 1)]);
        assert_eq!(log.overdue(at(60)), []);
        assert!(log.kinds.is_empty());
        assert_eq!(log.hit("json", at(61)), Some(1));
    }

    #[test]
    fn kinds_beyond_the_bound_share_one_count() {
        let mut log = SummedLog::new(EVERY);
        for kind in 0..SUMMED_KINDS_MAX {
            assert_eq!(log.hit(kind, at(0)), Some(1));
        }
        assert_eq!(log.hit(SUMMED_KINDS_MAX, at(0)), Some(1));
        assert_eq!(log.hit(SUMMED_KINDS_MAX + 1, at(0)), None);
        assert_eq!(log.hit(SUMMED_KINDS_MAX + 1, at(30)), Some(2));
        assert_eq!(log.kinds.len(), SUMMED_KINDS_MAX);
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        let cause = io::Error::other("no space left");
        let error = crate::cli::explain::ExplainError::Output(cause);
        assert_eq!(chain(&error), "the output cannot be written: no space left");
    }
}
