//! `stoker explain`: what records would do, without Kafka and without Redis.
//!
//! The same core as `run`: each record goes through a [`Pipeline`]; what it emits is printed, in input order
//! and not coalesced. Ends with 0 also where records had errors: those are the answer. `input` says what a
//! line of input holds, `output` what a line of output.

mod input;
mod output;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::input::{InputError, LINE_BYTES_MAX, Reader};
pub use self::output::Account;
use super::config::{self, ConfigArgs};
use super::exit::Exit;
use super::schemas::{SchemaSource, SchemasArgs};
use super::{complain, unwritten};
use crate::entity::Handlers;
use crate::pipeline::Pipeline;
use crate::record::AsRecord as _;
use crate::registry::FetchError;
use crate::telemetry;

const FORMS: &str = "\
A record is an object with \"topic\" (required), \"partition\", \"offset\", \"timestamp_ms\", \"key\" and \"value\" as
text or \"key_b64\" and \"value_b64\" (absent or null: none), and \"headers\" as a list of [name, value_b64].

For each record and each entity that it concerns there is one object with \"mutations\" (in order, not coalesced),
\"ignored\" (why there is nothing to do), or \"error\" (beside the deletes that it causes).

Ends with 0, also where records had errors; with 2 for bad settings or a line that is no record.";

/// Options of `stoker explain`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = FORMS)]
pub struct ExplainArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    schemas: SchemasArgs,
    /// The moment at which records are applied, instead of their timestamps: Unix milliseconds or RFC 3339
    #[arg(long, value_name = "MS|RFC3339", value_parser = parse_now, allow_hyphen_values = true)]
    now: Option<i64>,
    /// Records, one JSON object a line; standard input where none is given
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Why explaining stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The input is not what it must be.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The output cannot be written.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
    /// The registry cannot be asked.
    #[error(transparent)]
    Registry(#[from] FetchError),
}

pub(super) fn explain(args: &ExplainArgs, handlers: &Handlers) -> Exit {
    let settings = match config::load(&args.config, handlers) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    if let Err(error) = telemetry::init(&settings.log) {
        complain(telemetry::chain(&error));
        return Exit::Usage;
    }
    let schemas = match SchemaSource::new(&args.schemas, &settings) {
        Ok(schemas) => schemas,
        Err(wrong) => {
            complain(wrong);
            return Exit::Usage;
        }
    };
    let mut pipeline = schemas.pipeline(&settings);
    let mut out = BufWriter::new(io::stdout().lock());
    let explained = explain_inputs(&mut pipeline, &schemas, &args.files, args.now, &mut out)
        .and_then(|()| out.flush().map_err(ExplainError::Output));
    match explained {
        Ok(()) => Exit::Done,
        Err(ExplainError::Output(error)) => unwritten(&error),
        Err(ExplainError::Input(error)) => {
            // What was explained so far is whole and comes first.
            let _ = out.flush();
            complain(telemetry::chain(&error));
            Exit::Usage
        }
        Err(ExplainError::Registry(error)) => {
            let _ = out.flush();
            complain(telemetry::chain(&error));
            Exit::Unreachable
        }
    }
}

fn explain_inputs(
    pipeline: &mut Pipeline,
    schemas: &SchemaSource,
    files: &[PathBuf],
    now_ms: Option<i64>,
    out: &mut dyn Write,
) -> Result<(), ExplainError> {
    if files.is_empty() {
        if io::stdin().is_terminal() {
            complain("reading records from standard input, one JSON object a line");
        }
        let records = Reader::new("standard input", io::stdin().lock());
        return explain_records(pipeline, schemas, records, now_ms, out);
    }
    for path in files {
        explain_records(pipeline, schemas, open(path)?, now_ms, out)?;
    }
    Ok(())
}

/// Opens a file of records.
pub fn open(path: &Path) -> Result<Reader<BufReader<File>>, InputError> {
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => Ok(Reader::new(name, BufReader::new(file))),
        Err(source) => Err(InputError::Io { name, source }),
    }
}

/// Sends every record of an input through the pipeline and writes what came of it.
///
/// `schemas` supplies what the records need of a registry. "Now" is `now_ms` (Unix milliseconds) where given, else each record's own timestamp.
pub fn explain_records<R: BufRead>(
    pipeline: &mut Pipeline,
    schemas: &SchemaSource,
    mut records: Reader<R>,
    now_ms: Option<i64>,
    out: &mut dyn Write,
) -> Result<(), ExplainError> {
    let entities = Arc::clone(pipeline.entities());
    let names: Vec<Arc<str>> = entities.iter().map(|entity| Arc::clone(&entity.name)).collect();
    while let Some(owned) = records.next_record()? {
        let record = owned.as_record();
        schemas.supply(pipeline, &record)?;
        let mut account = Account::new(&names, record, now_ms.or(record.timestamp_ms));
        pipeline.handle(&record, &mut |emitted| account.add(emitted));
        for (entity, undecided) in pipeline.undecided() {
            let key = undecided.key.and_then(|key| entities.get(*entity)?.handler.keys().get(key));
            account.add_undecided(*entity, key.map(|key| key.template().as_str()), &undecided.reason);
        }
        out.write_all(account.to_ndjson().as_bytes()).map_err(ExplainError::Output)?;
    }
    Ok(())
}

fn parse_now(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(timestamp) => Ok(timestamp.as_millisecond()),
        Err(_) => {
            Err("expected Unix milliseconds (1730455020250) or RFC 3339 (2024-11-01T09:57:00Z)".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_milliseconds_or_rfc_3339() {
        let cases = [
            ("1730455020250", 1_730_455_020_250),
            ("-1", -1),
            ("2024-11-01T10:57:00.25+01:00", 1_730_455_020_250),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_now(text), Ok(expected), "{text}");
        }
        for text in ["", "now", "2024-11-01", "1.5", "99999999999999999999"] {
            assert!(parse_now(text).is_err(), "{text}");
        }
    }
}
