//! `stoker refill`: asks the running group for a refill, follows it, and ends with its report.
//!
//! The lanes of the group do the work; the request and what they tell of it stand in Redis. Where no member lives,
//! this process joins the group until it is done. Start at `refill`.

mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::report::{Report, Teller};
use super::config::{self, ConfigArgs};
use super::exit::Exit;
use super::run::stop_on_signals;
use super::verify::ended;
use super::{Output, complain};
use crate::admin::Status;
use crate::batch::LaneName;
use crate::clock::SystemClock;
use crate::entity::Handlers;
use crate::error::WorldError;
use crate::process::{self, subscription};
use crate::refill::{LaneReport, RefillAsked, RefillRequest};
use crate::settings::{Settings, units};
use crate::sink::redis::RedisSink;
use crate::source::StopReason;
use crate::source::kafka::topic_reader::Extent;
use crate::source::kafka::{TopicReader, open_transactions};
use crate::telemetry::chain;

/// Between two looks; the lanes tell once a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Options of `stoker refill`.
#[derive(Debug, Clone, clap::Args)]
pub struct RefillArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this entity; may be given more than once
    #[arg(long, value_name = "NAME")]
    entity: Vec<String>,
    /// Only records of this time before now
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    since: Option<Duration>,
    /// Write over what is there, and delete what the history deletes; else only keys that are absent are written
    #[arg(long)]
    overwrite: bool,
    /// Keys a second that each process writes at most [default: refill.rate]
    #[arg(long, value_name = "KEYS")]
    rate: Option<u32>,
    /// Write no more keys than this, shared evenly between the partitions: the newest ones
    #[arg(long, value_name = "KEYS")]
    max_keys: Option<u64>,
    /// Stop where a server holds this share of its maxmemory [default: refill.memory]
    #[arg(long, value_name = "SHARE", value_parser = units::share)]
    memory_budget: Option<f64>,
    /// Ask for nothing: show the refill that is under way
    #[arg(long, conflicts_with_all = ["entity", "since", "overwrite", "rate", "max_keys", "memory_budget", "cancel"])]
    follow: bool,
    /// Take the refill that is under way back
    #[arg(long, conflicts_with_all = ["entity", "since", "overwrite", "rate", "max_keys", "memory_budget"])]
    cancel: bool,
}

/// What the command goes by.
struct Job<'s> {
    settings: &'s Settings,
    sink: RedisSink,
    runtime: tokio::runtime::Runtime,
    clock: SystemClock,
}

pub(super) fn refill(args: &RefillArgs, output: Output, handlers: &Handlers) -> Exit {
    let settings = match config::load(&args.config, handlers) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    if let Some(unknown) =
        args.entity.iter().find(|name| settings.entities.iter().all(|entity| *entity.name != ***name))
    {
        let known: Vec<&str> = settings.entities.iter().map(|entity| &*entity.name).collect();
        complain(format_args!(
            "refill: --entity {unknown:?} is none of the settings' entities ({})",
            known.join(", ")
        ));
        return Exit::Usage;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("refill: {}", chain(&error)));
            return Exit::Failed;
        }
    };
    let sink =
        RedisSink::new(settings.redis.clone(), settings.kafka.group.clone(), settings.limits.value_bytes);
    let job = Job { settings: &settings, sink, runtime, clock: SystemClock::new() };
    if args.cancel {
        return job.cancel();
    }
    let reader = match TopicReader::connect(&settings.kafka, &settings.limits) {
        Ok(reader) => reader,
        Err(error) => {
            complain(format_args!("refill: {error}"));
            return Exit::Usage;
        }
    };
    let extents = match reader.extents(&subscription(&settings)) {
        Ok(extents) => extents,
        Err(error) => {
            complain(format_args!("refill: {error}"));
            return Exit::Unreachable;
        }
    };
    let members = match reader.member_count(&settings.kafka.group) {
        Ok(members) => members,
        Err(error) => {
            complain(format_args!("refill: {error}"));
            return Exit::Unreachable;
        }
    };
    let asked = if args.follow { job.standing() } else { job.ask(&request(args, &extents, job.clock)) };
    let id = match asked {
        Ok(id) => id,
        Err(exit) => return exit,
    };
    let stop = match stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => {
            complain(format_args!("refill: signals: {}", chain(&error)));
            return Exit::Failed;
        }
    };
    if members > 0 {
        return job.follow(&id, &extents, output, &stop, || None);
    }
    complain("refill: no member of the group lives: this process joins it until the refill is done");
    job.join_and_follow(&id, &extents, output, &stop)
}

fn request(args: &RefillArgs, extents: &[Extent], clock: SystemClock) -> RefillRequest {
    let now_ms = clock.now().unix_ms;
    let before = |time: Duration| now_ms.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    let lanes = u64::try_from(extents.len()).unwrap_or(u64::MAX).max(1);
    RefillRequest {
        // Later ones sort behind; two in one millisecond differ by who asks.
        id: format!("{now_ms:013}-{}", std::process::id()),
        overwrite: args.overwrite,
        since_ms: args.since.map(before),
        entities: args.entity.clone(),
        rate: args.rate.map(f64::from),
        lane_keys_max: args.max_keys.map(|keys| keys.div_ceil(lanes)),
        memory: args.memory_budget,
    }
}

impl Job<'_> {
    fn ask(&self, request: &RefillRequest) -> Result<String, Exit> {
        match self.runtime.block_on(self.sink.ask_refill(request, self.clock.now().unix_ms)) {
            Ok(true) => Ok(request.id.clone()),
            Ok(false) => {
                complain("refill: one is under way already: --follow shows it, --cancel takes it back");
                Err(Exit::Incomplete)
            }
            Err(error) => Err(unreachable(&error)),
        }
    }

    fn standing(&self) -> Result<String, Exit> {
        match self.runtime.block_on(self.sink.refill_asked()) {
            Ok(Some(asked)) => Ok(asked.request.id),
            Ok(None) => {
                complain("refill: none is under way");
                Err(Exit::Incomplete)
            }
            Err(error) => Err(unreachable(&error)),
        }
    }

    fn cancel(&self) -> Exit {
        if let Err(exit) = self.standing() {
            return exit;
        }
        match self.runtime.block_on(self.sink.end_refill()) {
            Ok(()) => {
                complain("refill: taken back; the lanes stop within a second or two");
                Exit::Done
            }
            Err(error) => unreachable(&error),
        }
    }

    /// Runs a member of the group beside, which ends with the refill.
    fn join_and_follow(&self, id: &str, extents: &[Extent], output: Output, stop: &AtomicBool) -> Exit {
        let status = Status::new(self.clock.now().unix_ms);
        let ends = Arc::new(AtomicBool::new(false));
        let (settings, clock) = (self.settings, self.clock);
        std::thread::scope(|scope| {
            let member = scope.spawn(|| process::run(settings, &status, clock, None, &ends));
            let exit = self.follow(id, extents, output, stop, || {
                member.is_finished().then_some("the member of the group has stopped")
            });
            ends.store(true, Ordering::Release);
            match member.join() {
                Ok(StopReason::Signal | StopReason::DrainDeadline) => exit,
                Ok(reason) => {
                    complain(format_args!("refill: {reason:?}"));
                    Exit::from(&reason)
                }
                Err(_) => Exit::Failed,
            }
        })
    }

    /// Shows how far the lanes are until all of them are through, and takes the request away then.
    fn follow(
        &self,
        id: &str,
        extents: &[Extent],
        output: Output,
        stop: &AtomicBool,
        mut ended_because: impl FnMut() -> Option<&'static str>,
    ) -> Exit {
        let mut teller = Teller::new(self.clock);
        let mut lanes: BTreeMap<LaneName, LaneReport> = BTreeMap::new();
        let why = loop {
            match self.runtime.block_on(self.sink.refill_asked()) {
                Ok(Some(RefillAsked { request, lanes: told })) if request.id == id => {
                    lanes = told;
                    teller.tell(extents, &lanes);
                }
                Ok(_) => break Some("the request is gone: it was taken back, or Redis lost it"),
                // Redis may be away for a moment, as lanes know it.
                Err(error) => teller.tell_error(&error),
            }
            if extents.iter().all(|extent| lanes.get(&extent.name).is_some_and(|lane| lane.state.is_over())) {
                break None;
            }
            if let Some(why) = ended_because() {
                break Some(why);
            }
            if stop.load(Ordering::Acquire) {
                break Some("interrupted: members of the group go on with it; --cancel takes it back");
            }
            std::thread::sleep(LOOK_EVERY);
        };
        teller.end();
        if why.is_none()
            && let Err(error) = self.runtime.block_on(self.sink.end_refill())
        {
            // It is over all the same, and forgotten in a week.
            complain(format_args!("refill: the request could not be taken away: {error}"));
        }
        let names = extents.iter().map(|extent| &extent.name).filter(|_| why.is_none());
        let open = open_transactions(&self.settings.kafka, names).unwrap_or_else(|error| {
            complain(format_args!("refill: whether transactions are open could not be told: {error}"));
            Vec::new()
        });
        let report = Report::new(id, extents, &lanes, why, teller.took()).with_open(open);
        ended(report.exit(), report.write(output))
    }
}

fn unreachable(error: &WorldError) -> Exit {
    complain(format_args!("refill: {error}"));
    Exit::Unreachable
}
