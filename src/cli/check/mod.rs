//! `stoker check`: every finding about the settings and what they name, at once.
//!
//! Offline: what the settings file says, and what follows from it for each entity. Online: what [`Probe`]s
//! find out about brokers and Redis. Ends with 2 where something is wrong, 3 where all is right but a
//! dependency could not be asked, else 0, also with warnings.

mod guard;
mod reason;

use std::io::{self, Write};

use super::config::ConfigArgs;
use super::exit::Exit;
use super::finding::{Finding, Level};
use super::{Output, unwritten};
use crate::entity::Handlers;
use crate::settings::{self, Loaded, Settings};

/// Options of `stoker check`.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Look at the settings alone: connect to nothing
    #[arg(long)]
    pub(super) offline: bool,
}

/// Asks a dependency whether it is what the settings need. Bounded in time; writes nothing.
pub type Probe = fn(&Settings) -> Vec<Finding>;

pub(super) fn check(args: &CheckArgs, output: Output, handlers: &Handlers, probes: &[Probe]) -> Exit {
    let probes = if args.offline { &[] } else { probes };
    let findings = findings(settings::load(&args.config.config, handlers), probes);
    match write(&findings, output, &mut io::stdout().lock()) {
        Ok(()) => exit(&findings),
        Err(error) => match unwritten(&error) {
            Exit::Done => exit(&findings),
            failed => failed,
        },
    }
}

/// All findings. Settings that are wrong cannot be reasoned about or tried out.
fn findings(loaded: Result<Loaded, settings::SettingsError>, probes: &[Probe]) -> Vec<Finding> {
    let of_settings = |level| move |problem| Finding::of_settings(level, problem);
    match loaded {
        Err(error) => error.problems.into_iter().map(of_settings(Level::Error)).collect(),
        Ok(Loaded { settings, warnings }) => {
            let mut findings: Vec<Finding> = warnings.into_iter().map(of_settings(Level::Warning)).collect();
            findings.extend(reason::about(&settings));
            findings.extend(probes.iter().flat_map(|probe| probe(&settings)));
            findings
        }
    }
}

fn write(findings: &[Finding], output: Output, out: &mut dyn Write) -> io::Result<()> {
    for finding in findings {
        match output {
            Output::Text => writeln!(out, "{finding}")?,
            Output::Json => writeln!(out, "{}", serde_json::to_string(finding)?)?,
        }
    }
    if findings.is_empty() && output == Output::Text {
        writeln!(out, "nothing found")?;
    }
    out.flush()
}

fn exit(findings: &[Finding]) -> Exit {
    match findings.iter().map(|finding| finding.level).max() {
        Some(Level::Error) => Exit::Usage,
        Some(Level::Unreachable) => Exit::Unreachable,
        Some(Level::Warning | Level::Note) | None => Exit::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_the_exit_code() {
        let cases: [(&[Level], Exit); 5] = [
            (&[], Exit::Done),
            (&[Level::Note, Level::Warning], Exit::Done),
            (&[Level::Unreachable, Level::Warning], Exit::Unreachable),
            (&[Level::Error, Level::Unreachable], Exit::Usage),
            (&[Level::Error], Exit::Usage),
        ];
        for (levels, expected) in cases {
            let findings: Vec<_> = levels.iter().map(|level| Finding::new(*level, "here", "this")).collect();
            assert_eq!(exit(&findings), expected, "{levels:?}");
        }
    }
}
