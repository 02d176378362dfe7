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
use crate::settings::units;
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
        memory_bytes: settings.limits.memory_bytes,
    };
    let schemas = match SchemaSource::of(&settings) {
        Ok(schemas) => schemas,
        Err(wrong) => {
            complain(wrong);
            return Exit::Usage;
        }
    };
    let supply = |pipeline: &mut Pipeline, record: &Record<'_>| {
        schemas.supply(pipeline, record).map_err(|error| error.to_string())
    };
    let mut teller = Teller::new();
    let compared = TopicReader::connect(&settings.kafka, &settings.limits)
        .map_err(VerifyError::from)
        .and_then(|reader| Ok((reader, Look::connect(settings.redis.clone())?)))
        .and_then(|(reader, look)| {
            let mut tell = |progress| teller.tell(progress);
            let pipeline = schemas.pipeline(&settings);
            Verify::new(&settings, options, &reader, &look, pipeline, &supply, &mut tell)?.run()
        });
    teller.end();
    let report = match compared {
        Ok(report) => report,
        Err(error) => {
            complain(format_args!("verify: {error}"));
            return failed(&error);
        }
    };
    let mut out = io::stdout().lock();
    let written = match output {
        Output::Text => output::text(&report, &mut out),
        Output::Json => output::json(&report, &mut out),
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) if report.difference_count() > 0 => Exit::Incomplete,
        Ok(()) => Exit::Done,
        Err(error) => match unwritten(&error) {
            Exit::Done if report.difference_count() > 0 => Exit::Incomplete,
            exit => exit,
        },
    }
}

/// The exit code of a comparison that could not be made.
pub(super) fn failed(error: &VerifyError) -> Exit {
    match error {
        VerifyError::Source(SourceError::Settings { .. }) | VerifyError::NoEntity(_) => Exit::Usage,
        VerifyError::Source(SourceError::Unreachable { .. })
        | VerifyError::Redis(_)
        | VerifyError::Registry(_) => Exit::Unreachable,
    }
}
