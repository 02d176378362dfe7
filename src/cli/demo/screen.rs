//! What a person sees: the story on standard output, progress on standard error (a bar on a terminal, plain lines
//! elsewhere). With `--output json` the story is silent.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::compare::shown;
use crate::cli::{Output, complain};
use crate::sink::redis::Entry;

/// Columns of a value's lines: with its indent a line of a narrow terminal.
const VALUE_COLUMNS: usize = 64;

/// Plain lines that progress takes at most.
const PLAIN_LINES: u64 = 4;

/// Where the demo says what it does.
pub(super) struct Screen {
    output: Output,
    /// Someone watches as it happens.
    pub(super) watched: bool,
    bar: Option<ProgressBar>,
    done: u64,
    of: u64,
}

impl Screen {
    pub(super) fn new(output: Output) -> Screen {
        let watched = std::io::stderr().is_terminal();
        Screen { output, watched, bar: None, done: 0, of: 0 }
    }

    /// A line of the story.
    pub(super) fn say(&self, line: impl Display) {
        if self.output == Output::Json {
            return;
        }
        let write = || {
            // Where nobody reads any more, the exit code still tells.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// The result as one JSON object, where that is asked for.
    pub(super) fn result(&self, result: &impl serde::Serialize) {
        if self.output == Output::Json
            && let Ok(line) = serde_json::to_string(result)
        {
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }

    /// A count towards `of` begins.
    pub(super) fn start_count(&mut self, of: usize) {
        (self.done, self.of) = (0, u64::try_from(of).unwrap_or(u64::MAX));
        if self.watched {
            let style = ProgressStyle::with_template("  {bar:40} {human_pos} of {human_len} changes");
            let bar = ProgressBar::new(self.of);
            self.bar = Some(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())));
        }
    }

    /// More is done.
    pub(super) fn count(&mut self, more: usize) {
        let before = self.done;
        self.done = before.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        let step = (self.of / PLAIN_LINES).max(1);
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.done / step > before / step => {
                complain(format_args!("{} of {} changes", HumanCount(self.done), HumanCount(self.of)));
            }
            None => {}
        }
    }

    /// The count is over; its bar goes.
    pub(super) fn end_count(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// One look at a key: what it holds and for how long, or that it is not there.
    pub(super) fn say_entry(&self, moment: &str, entry: Option<&Entry>) {
        let Some(Entry { held, ttl }) = entry else {
            self.say(format_args!("      {moment:<8}(not there)"));
            return;
        };
        let ttl = ttl.map_or_else(|| "no ttl".to_owned(), |ttl| format!("ttl {}", rough(ttl)));
        let mut lines = folded(&shown(held));
        match lines.last_mut() {
            Some(last) if last.chars().count() + ttl.len() + 2 <= VALUE_COLUMNS => {
                last.push_str("  ");
                last.push_str(&ttl);
            }
            Some(_) | None => lines.push(ttl),
        }
        for (moment, line) in std::iter::once(moment).chain(std::iter::repeat("")).zip(lines) {
            self.say(format_args!("      {moment:<8}{line}"));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end_count();
    }
}

/// A value in lines of at most [`VALUE_COLUMNS`] characters, parted behind a comma or a blank where there is one.
fn folded(value: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = value;
    while let Some((most, _)) = rest.char_indices().nth(VALUE_COLUMNS) {
        let fitting = rest.get(..most).unwrap_or_default();
        let cut = fitting.rfind([',', ' ']).map_or(most, |at| at + 1);
        let (line, left) = rest.split_at(cut);
        lines.push(line.trim_end().to_owned());
        rest = left;
    }
    lines.push(rest.to_owned());
    lines
}

/// A duration to two places: `59m 58s`, `23h 12m`, `6d 23h`.
pub(super) fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        (_, _, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_to_two_places() {
        let cases = [(0, "0s"), (59, "59s"), (3_599, "59m 59s"), (3_600, "1h 0m"), (604_799, "6d 23h")];
        for (seconds, expected) in cases {
            assert_eq!(rough(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_long_value_is_folded_behind_a_comma_or_a_blank_or_between_letters() {
        let letters = "é".repeat(VALUE_COLUMNS + 1);
        assert_eq!(folded(&letters), ["é".repeat(VALUE_COLUMNS), "é".to_owned()]);
        let head = "a".repeat(VALUE_COLUMNS - 2);
        assert_eq!(folded(&format!("{head},bc")), [format!("{head},"), "bc".to_owned()]);
        assert_eq!(folded(&format!("{head} bc d")), [head, "bc d".to_owned()]);
        assert_eq!(folded("short, all of it"), ["short, all of it"]);
    }
}
