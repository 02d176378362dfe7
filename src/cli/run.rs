//! `stoker run`: settings, logs, metrics and the admin server around a running process, and the exit code.
//!
//! What runs in between is [`process::run`]; [`engine`] is the border, so that tests can put another in its place.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tracing::{error, info, warn};

use super::complain;
use super::config::{self, ConfigArgs};
use super::exit::Exit;
use super::finding::Level;
use super::probe;
use crate::admin::{self, AdminError, Status};
use crate::clock::SystemClock;
use crate::entity::Handlers;
use crate::process;
use crate::settings::{Loaded, Problem, Settings};
use crate::sink::Rewrite;
use crate::source::StopReason;
use crate::source::linked::librdkafka_version;
use crate::telemetry::{self, chain};

/// Options of `stoker run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// End with exit code 3 where Kafka or Redis cannot be reached at start, instead of waiting for them
    #[arg(long)]
    fail_fast: bool,
    /// Rewrite guarded keys: what was remembered of them before counts for nothing, once a key. All processes of the
    /// group, and a restart that goes on with it, need the same NAME [default: the time of the start]
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "",
          value_parser = named)]
    force: Option<Named>,
}

/// What `--force` names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// Itself, after the time of the start.
    Itself,
    /// A rewrite that others may take part in.
    Rewrite(Rewrite),
}

fn named(name: &str) -> Result<Named, &'static str> {
    if name.is_empty() { Ok(Named::Itself) } else { Rewrite::named(name).map(Named::Rewrite) }
}

/// What the engine is given.
#[derive(Debug)]
pub struct Parts {
    /// The settings.
    pub settings: Settings,
    /// What health, readiness, `/status` and the gauges read: the engine keeps it current.
    pub status: Arc<Status>,
    /// The clock that the status's times are of.
    pub clock: SystemClock,
    /// End with [`Exit::Unreachable`] where a dependency cannot be reached at start.
    pub fail_fast: bool,
    /// The rewrite that the run is a part of.
    pub rewrite: Option<Rewrite>,
}

/// Why the engine ended.
#[derive(Debug)]
pub enum Ended {
    /// It ran, and stopped.
    Stopped(StopReason),
    /// It did not start: with `fail_fast`, a dependency could not be reached.
    Unreachable {
        /// Which one, and how that showed.
        detail: String,
    },
}

/// Runs the engine until it ends, with logs, metrics and the admin server around it.
pub fn run(args: &RunArgs, handlers: &Handlers, engine: impl FnOnce(Parts) -> Ended) -> Exit {
    let Loaded { settings, warnings } = match config::read(&args.config, handlers) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    if let Err(error) = telemetry::init(&settings.log) {
        complain(chain(&error));
        return Exit::Usage;
    }
    info!(
        version = env!("CARGO_PKG_VERSION"),
        librdkafka = librdkafka_version(),
        group = settings.kafka.group,
        brokers = settings.kafka.brokers,
        entity_count = settings.entities.len(),
        "starts"
    );
    for Problem { line, place, message, help, .. } in &warnings {
        warn!(line, place, help, "{message}");
    }
    let clock = SystemClock::new();
    let status = Arc::new(Status::new(clock.now().unix_ms));
    let _admin = match settings.admin.map(|address| admin::serve(address, &status, settings.ready.lag, clock))
    {
        None => None,
        Some(Ok(server)) => {
            info!(address = %server.address(), "admin server listens");
            Some(server)
        }
        Some(Err(error)) => {
            error!(error = chain(&error), "stopped");
            return match error {
                AdminError::Bind { .. } => Exit::Usage,
                AdminError::Start(_) | AdminError::Metrics(_) => Exit::Failed,
            };
        }
    };
    let rewrite = args.force.clone().map(|force| match force {
        Named::Itself => Rewrite::begun_at(clock.now().unix_ms),
        Named::Rewrite(rewrite) => rewrite,
    });
    if let Some(rewrite) = &rewrite {
        warn!(
            %rewrite,
            "guarded keys are rewritten: what was remembered of a key before counts for nothing. Give the group's \
             other processes, and a restart that goes on with it, the same name: --force=<rewrite>"
        );
    }
    exit(&engine(Parts { settings, status, clock, fail_fast: args.fail_fast, rewrite }))
}

/// The engine of `stoker run`: real parts, until a signal.
pub fn engine(parts: Parts) -> Ended {
    let Parts { settings, status, clock, fail_fast, rewrite } = parts;
    for (name, value) in settings.describe() {
        info!(name, value, "setting");
    }
    if fail_fast {
        let found = [probe::kafka(&settings), probe::registry(&settings), probe::redis(&settings)].concat();
        if let Some(finding) = found.into_iter().find(|finding| finding.level == Level::Unreachable) {
            return Ended::Unreachable { detail: finding.to_string() };
        }
    }
    match stop_on_signals() {
        Ok(stop) => Ended::Stopped(process::run(&settings, &status, clock, rewrite.as_ref(), &stop)),
        Err(error) => Ended::Stopped(StopReason::Failed { detail: format!("signals: {}", chain(&error)) }),
    }
}

/// A flag that the first SIGTERM or SIGINT sets. A second one ends the process at once, with the exit code of
/// a drain that was cut short: nothing is lost.
pub fn stop_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the one that ends the process looks at the flag before the other one sets it.
        let code = i32::from(Exit::DrainDeadline.code());
        flag::register_conditional_shutdown(signal, code, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Says once why the engine ended.
fn exit(ended: &Ended) -> Exit {
    let reason = match ended {
        Ended::Stopped(reason) => reason,
        Ended::Unreachable { detail } => {
            error!(detail, "a dependency could not be reached");
            return Exit::Unreachable;
        }
    };
    match reason {
        StopReason::Signal => info!("stopped"),
        StopReason::DrainDeadline => {
            error!("the drain deadline passed: nothing is lost, the next start does some of it again");
        }
        StopReason::ErrorPolicy { detail } => error!(detail, "stopped by the error policy"),
        StopReason::Fenced { detail } => error!(detail, "Kafka ended the membership"),
        StopReason::Failed { detail } => error!(detail, "stopped"),
    }
    Exit::from(reason)
}
