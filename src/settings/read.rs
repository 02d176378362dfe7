//! Reading a settings file: parse, check against the schema, fill in, check what it means.

use std::path::Path;

use super::check::{Checked, check};
use super::document::Document;
use super::expand::{Environment, ProcessEnvironment, read_bounded};
use super::problem::{Findings, Problem, SettingsError};
use super::raw::Stoker;
use super::validate::{self, Context};
use super::{Settings, check, schema};
use crate::entity::Handlers;

/// Settings, and what is allowed but doubtful about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What is doubtful, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Reads and checks a settings file; relative paths in it count from its directory.
///
/// Errors are all that is wrong with it, in the order of the file. Its syntax errors come alone: what stands
/// around them cannot be told from what was meant.
pub fn load(path: &Path, handlers: &Handlers) -> Result<Loaded, SettingsError> {
    let file = path.display().to_string();
    let text = read_bounded(path).map_err(|error| {
        let problem = Problem::of_file(&file, format!("cannot be read: {}", check::reason(&error)));
        SettingsError { problems: vec![problem] }
    })?;
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    parse_named(&file, &text, &ProcessEnvironment::new(directory), handlers)
}

/// Reads and checks the text of a settings file; in messages it is `stoker.toml`.
pub fn parse(
    text: &str,
    environment: &dyn Environment,
    handlers: &Handlers,
) -> Result<Loaded, SettingsError> {
    parse_named("stoker.toml", text, environment, handlers)
}

fn parse_named(
    file: &str,
    text: &str,
    environment: &dyn Environment,
    handlers: &Handlers,
) -> Result<Loaded, SettingsError> {
    // Some editors begin a file with a byte order mark; it would count as a column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let document = Document::parse(file, text).map_err(|errors| {
        let problems = errors.into_iter().map(|(span, message)| Problem::at(file, text, span, message));
        let mut problems: Vec<Problem> = problems.collect();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        SettingsError { problems }
    })?;
    let mut findings = Findings::new(&document);
    let schema = schema::schema();
    let Checked { tree, filled_in, files } = check(&schema, environment, &mut findings);
    let settings = match serde_json::from_value::<Stoker>(tree) {
        Ok(raw) => {
            let mut context = Context {
                findings: &mut findings,
                environment,
                handlers,
                filled_in: &filled_in,
                files: &files,
            };
            validate::settings(&raw, &mut context)
        }
        Err(error) => {
            // The schema is made of the types that are read here, so this is a fault of Stoker's own. The
            // error may quote a value: only its kind is shown.
            let message = format!("the checked settings could not be read ({:?})", error.classify());
            findings.refuse(&super::document::Path::default(), message);
            None
        }
    };
    let (problems, warnings) = findings.sorted();
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { settings, warnings }),
        Some(_) | None => Err(SettingsError { problems }),
    }
}
