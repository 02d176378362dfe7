//! The command line: one file a command.
//!
//! Results go to standard output, everything else to standard error. A binary of one's own calls [`main`]
//! with its handlers and has every command. Start at `Command`.

pub mod check;
pub mod config;
pub mod demo;
mod exit;
pub mod explain;
pub mod finding;
pub mod inspect;
pub mod preload;
pub mod probe;
pub mod refill;
pub mod run;
pub mod schemas;
pub mod test;
pub mod verify;
pub mod wait;

use std::fmt::Display;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand, ValueEnum};

pub use self::exit::Exit;
use crate::entity::Handlers;
use crate::source::linked::librdkafka_version;

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (librdkafka {})", env!("CARGO_PKG_VERSION"), librdkafka_version()));

/// Keeps Redis caches hot from Kafka change streams.
#[derive(Debug, Parser)]
#[command(name = "stoker", version = VERSION.as_str(), propagate_version = true, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// Form of the result on standard output
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Form of a command's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keeps the caches hot until a signal
    Run(run::RunArgs),
    /// Loads an export of a warehouse, then ends
    Preload(preload::PreloadArgs),
    /// Looks for problems of the settings and of what they name, all at once
    Check(check::CheckArgs),
    /// Shows what records would do to the cache, without Kafka and without Redis
    Explain(explain::ExplainArgs),
    /// Compares what recorded records do with what is expected
    Test(test::TestArgs),
    /// Compares what Redis holds with what the topics say
    Verify(verify::VerifyArgs),
    /// Tells one key's story: who gives it, what Redis holds, which record made it, what the topics say now
    Inspect(inspect::InspectArgs),
    /// Asks the running group for a newest-first refill, and follows it to its end
    Refill(refill::RefillArgs),
    /// Waits until the whole group is warm, for deploy scripts
    Wait(wait::WaitArgs),
    /// Runs the whole job on this machine, on parts that it brings along: nothing to set up but redis-server
    Demo(demo::DemoArgs),
}

/// Runs the command that the process's arguments ask for, with these handlers in Rust.
///
/// The exit code is one of [`Exit`]; bad usage is 2, `--help` and `--version` are 0.
pub fn main(handlers: Handlers) -> ExitCode {
    match Args::try_parse() {
        // A panic is a broken invariant; the hook has said where. Nothing of the state is used afterwards.
        Ok(args) => {
            catch_unwind(AssertUnwindSafe(|| dispatch(&args, &handlers))).unwrap_or(Exit::Failed).into()
        }
        Err(error) => {
            // Where the stream is closed there is nobody to tell.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { Exit::Done.code() })
        }
    }
}

/// Says something on standard error. Where that is closed, the exit code still tells.
fn complain(what: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{what}");
}

/// How a command ends whose result could not be written: a reader that has seen enough (`head`) is no failure.
fn unwritten(error: &std::io::Error) -> Exit {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Exit::Done;
    }
    complain(format_args!("the output cannot be written: {error}"));
    Exit::Failed
}

fn dispatch(args: &Args, handlers: &Handlers) -> Exit {
    match &args.command {
        Command::Run(run) => run::run(run, handlers, run::engine),
        Command::Preload(preload) => preload::preload(preload, args.output, handlers),
        Command::Check(check) => {
            check::check(check, args.output, handlers, &[probe::kafka, probe::registry, probe::redis])
        }
        Command::Explain(explain) => explain::explain(explain, handlers),
        Command::Test(test) => test::test(test, args.output, handlers),
        Command::Verify(verify) => verify::verify(verify, args.output, handlers),
        Command::Inspect(inspect) => inspect::inspect(inspect, args.output, handlers),
        Command::Refill(refill) => refill::refill(refill, args.output, handlers),
        Command::Wait(wait) => wait::wait(wait, args.output, handlers),
        Command::Demo(demo) => demo::demo(demo, args.output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_output_option_may_stand_behind_the_command() {
        let args =
            Args::try_parse_from(["stoker", "check", "-c", "shop.toml", "--offline", "--output", "json"]);
        let args = args.expect("valid arguments");
        assert_eq!(args.output, Output::Json);
        assert!(matches!(args.command, Command::Check(check) if check.offline));
    }

    #[test]
    fn a_rewrite_may_be_named() {
        let parsed = |argument| Args::try_parse_from(["stoker", "run", argument]).map(drop);
        for argument in ["--force", "--force=restore-7"] {
            parsed(argument).expect("valid arguments");
        }
        parsed("--force=two words").expect_err("a name has no blank");
    }

    #[test]
    fn version_names_the_kafka_client() {
        let error = Args::try_parse_from(["stoker", "--version"]).expect_err("clap answers it");
        let text = error.to_string();
        assert!(text.starts_with(concat!("stoker ", env!("CARGO_PKG_VERSION"), " (librdkafka ")), "{text}");
    }
}
