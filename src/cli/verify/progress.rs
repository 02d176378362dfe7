//! How far a comparison has come, on standard error: a bar on a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::cli::complain;
use crate::clock::SystemClock;
use crate::verify::{Progress, Step};

/// Where nobody watches, a line so often.
const EVERY: Duration = Duration::from_secs(5);

/// Tells a person.
pub(super) struct Teller {
    bar: Option<ProgressBar>,
    clock: SystemClock,
    told_at: Duration,
}

impl Teller {
    pub(super) fn new() -> Teller {
        let clock = SystemClock::new();
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("  {msg} {bar:40} {human_pos} of {human_len} ({per_sec})");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Teller { bar, clock, told_at: clock.now().monotonic }
    }

    pub(super) fn tell(&mut self, progress: Progress) {
        let Progress { step, done, of, pass } = progress;
        let what = match step {
            Step::Reads => "records read",
            Step::Compares => "keys compared",
            Step::Searches => "keys of Redis looked through",
            Step::LooksAgain => "looked at again",
        };
        let pass = if pass > 1 { format!("pass {pass}: ") } else { String::new() };
        match &self.bar {
            Some(bar) => {
                bar.set_message(format!("{pass}{what}"));
                bar.set_length(of.max(done));
                bar.set_position(done);
            }
            None => {
                let now = self.clock.now().monotonic;
                if now.saturating_sub(self.told_at) >= EVERY {
                    self.told_at = now;
                    let of = if of > 0 { format!(" of {}", HumanCount(of)) } else { String::new() };
                    complain(format_args!("{pass}{}{of} {what}", HumanCount(done)));
                }
            }
        }
    }

    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
