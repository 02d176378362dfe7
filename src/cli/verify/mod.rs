//! `stoker verify`: compares what Redis holds with what the topics say, and ends with 7 where they differ.

mod output;
mod progress;

use std::io::{self, Write as _};
use std::time::Duration;

use super::config::{self, ConfigArgs};
use super::exit::Exit;
use super::schemas::SchemaSource;
use super::{Output, complain, unwritten};
use crate::entity::Handlers;
use crate::pipeline::Pipeline;
use crate::record::Record;
use crate::settings::{Settings, units};
use crate::sink::redis::Look;
use crate::source::kafka::{SourceError, TopicReader};
use crate::verify::{Options, Verify, VerifyError};

use self::progress::Teller;

/// Options of `stoker verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this entity
    #[arg(long, value_name = "NAME")]
    entity: Option<String>,
    /// Only a share of the keys, chosen by their hash
    #[arg(long, value_name = "SHARE", value_parser = units::share, default_value = "100%")]
    sample: f64,
    /// Only keys that changed in this time; keys that should not be there are not looked for
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    since: Option<Duration>,
    /// Examples of keys to show for each entity and kind of difference
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    max_examples: usize,
    /// Memory for keys, about 350 bytes each; with less than they take, the topics are read more than once.
    /// Default: limits.memory
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    memory: Option<usize>,
}

pub(super) fn verify(args: &VerifyArgs, output: Output, handlers: &Handlers) -> Exit {
    let settings = match config::load(&args.config, handlers) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let options = Options {
        entity: args.entity.as_deref(),
        sample: args.sample,
        since: args.since,
        examples: args.max_examples,
        memory_bytes: args.memory.unwrap_or(settings.limits.memory_bytes),
    };
    let report = match with_parts(&settings, options, |verify| verify.run()) {
        Ok(report) => report,
        Err(exit) => return exit,
    };
    let mut out = io::stdout().lock();
    let written = match output {
        Output::Text => output::text(&report, &mut out),
        Output::Json => output::json(&report, &mut out),
    };
    let exit = if report.difference_count() > 0 { Exit::Incomplete } else { Exit::Done };
    ended(exit, written.and_then(|()| out.flush()))
}

/// How a command with that exit code ends once its result is written, or could not be.
pub(super) fn ended(exit: Exit, written: io::Result<()>) -> Exit {
    match written {
        Ok(()) => exit,
        Err(error) => match unwritten(&error) {
            Exit::Done => exit,
            failed => failed,
        },
    }
}

/// Does something with a comparison over real parts, its progress told on standard error. Says what went wrong there,
/// and returns the exit code.
pub(super) fn with_parts<T>(
    settings: &Settings,
    options: Options<'_>,
    does: impl FnOnce(Verify<'_>) -> Result<T, VerifyError>,
) -> Result<T, Exit> {
    let schemas = SchemaSource::of(settings).map_err(|wrong| {
        complain(wrong);
        Exit::Usage
    })?;
    let supply = |pipeline: &mut Pipeline, record: &Record<'_>| schemas.supply(pipeline, record);
    let mut teller = Teller::new();
    let done = TopicReader::connect(&settings.kafka, &settings.limits)
        .map_err(VerifyError::from)
        .and_then(|reader| Ok((reader, Look::connect(settings.redis.clone())?)))
        .and_then(|(reader, look)| {
            let mut tell = |progress| teller.tell(progress);
            let pipeline = schemas.pipeline(settings);
            does(Verify::new(settings, options, &reader, &look, pipeline, &supply, &mut tell)?)
        });
    teller.end();
    done.map_err(|error| {
        complain(&error);
        failed(&error)
    })
}

/// The exit code of a comparison that could not be made.
fn failed(error: &VerifyError) -> Exit {
    match error {
        VerifyError::Source(SourceError::Settings { .. }) | VerifyError::NoEntity(_) => Exit::Usage,
        VerifyError::Source(SourceError::Unreachable { .. })
        | VerifyError::Redis(_)
        | VerifyError::Registry(_) => Exit::Unreachable,
    }
}
