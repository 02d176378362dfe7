//! `stoker demo`: the whole job on parts that it brings along, from changes of a database to keys in Redis.
//!
//! A broker inside this process, a private redis-server, and the engine of `stoker run` by the settings of
//! `examples/shop/stoker.toml`, fed with what a real Debezium captured. It shows what happens and ends with a
//! check of every key against what SQL says. Nothing stays behind, however it ends. Start at [`demo`]; `shop` is
//! what is embedded, `stage` what runs, `play` what happens on it.

mod compare;
mod play;
mod report;
mod screen;
mod server;
mod shop;
mod stage;
mod story;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::screen::Screen;
use self::server::Server;
use super::exit::Exit;
use super::{Output, complain, run};
use crate::clock::SystemClock;
use crate::telemetry;

/// Of the engine, in its log.
const LOG_LEVEL: &str = "info";

/// Lines of the log that are shown where the demo fails.
const LOG_LINES: usize = 20;

/// Longest that one wait takes no notice of a signal.
const NAP: Duration = Duration::from_millis(50);

/// Options of `stoker demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Leave it running after the check, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Why the demo did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    /// Something has to be installed first: what, and how.
    Missing(String),
    /// A signal came.
    Interrupted,
    /// A part failed.
    Failed(String),
}

impl Trouble {
    /// A part failed, and why.
    fn failed(part: &str, error: &dyn std::error::Error) -> Trouble {
        Trouble::Failed(format!("{part}: {}", telemetry::chain(error)))
    }
}

/// Time, and whether a signal has come.
struct Clock<'a> {
    system: SystemClock,
    stop: &'a AtomicBool,
}

impl Clock<'_> {
    fn now(&self) -> Duration {
        self.system.now().monotonic
    }

    /// Waits so long, or until a signal comes: then it is [`Trouble::Interrupted`].
    fn wait(&self, time: Duration) -> Result<(), Trouble> {
        let until = self.now() + time;
        loop {
            if self.stop.load(Ordering::Acquire) {
                return Err(Trouble::Interrupted);
            }
            let left = until.saturating_sub(self.now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}

/// Runs the demo.
///
/// Ends with [`Exit::Done`] where every key is as it must be, [`Exit::Failed`] where one differs, a part failed or
/// a signal came before the check, [`Exit::Unreachable`] where redis-server is missing.
pub fn demo(args: &DemoArgs, output: Output) -> Exit {
    let stop = match run::stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => {
            complain(format_args!("signals: {error}"));
            return Exit::Failed;
        }
    };
    let clock = Clock { system: SystemClock::new(), stop: &stop };
    let server = match Server::start(clock.system) {
        Ok(server) => server,
        Err(trouble) => return told(&trouble, None),
    };
    let log = server.folder().join("stoker.log");
    let logging = File::create(&log).map_err(|error| Trouble::failed("the log", &error)).and_then(|file| {
        let into_file = telemetry::init_into(LOG_LEVEL, file);
        into_file.map_err(|error| Trouble::failed("the log", &error))
    });
    let played = logging.and_then(|()| play::play(args, &server, &clock, &mut Screen::new(output)));
    match played {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::Failed,
        // A signal also cuts short what a part waits for.
        Err(Trouble::Failed(_)) if stop.load(Ordering::Acquire) => told(&Trouble::Interrupted, None),
        Err(trouble) => told(&trouble, Some(&log)),
    }
}

/// Says why it ended early, with the end of the log where a part failed: the log's folder is about to go.
fn told(trouble: &Trouble, log: Option<&Path>) -> Exit {
    match trouble {
        Trouble::Missing(what) => {
            complain(what);
            return Exit::Unreachable;
        }
        Trouble::Interrupted => complain("stopped before the check"),
        Trouble::Failed(what) => {
            let log = log.and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            if !lines.is_empty() {
                complain("the end of the engine's log:");
                lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).for_each(complain);
            }
            complain(format_args!("the demo failed: {what}"));
        }
    }
    Exit::Failed
}
