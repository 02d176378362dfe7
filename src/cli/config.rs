//! Reading the settings for a command: every problem is printed at once, and only then does it end.

use std::path::PathBuf;

use super::complain;
use super::exit::Exit;
use super::finding::Level;
use crate::entity::Handlers;
use crate::settings::{self, Loaded, Problem, Settings};

/// The option that names the settings file.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    /// The settings file
    #[arg(short, long, value_name = "FILE", default_value = "stoker.toml")]
    pub config: PathBuf,
}

/// The settings, with their warnings printed to standard error; or all problems there, and the exit code.
pub fn load(config: &ConfigArgs, handlers: &Handlers) -> Result<Settings, Exit> {
    let Loaded { settings, warnings } = read(config, handlers)?;
    print(Level::Warning, &warnings);
    Ok(settings)
}

/// The settings and their warnings, for a command that has a log for them; or all problems on standard error,
/// and the exit code.
pub fn read(config: &ConfigArgs, handlers: &Handlers) -> Result<Loaded, Exit> {
    settings::load(&config.config, handlers).map_err(|error| {
        print(Level::Error, &error.problems);
        Exit::Usage
    })
}

fn print(level: Level, problems: &[Problem]) {
    for problem in problems {
        complain(format_args!("{level}: {problem}"));
    }
}
