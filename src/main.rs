//! The `stoker` binary: every command over the handlers that the settings declare. A binary of one's own with
//! handlers in Rust is this one with its handlers registered.

use std::process::ExitCode;

use stoker::entity::Handlers;

fn main() -> ExitCode {
    stoker::cli::main(Handlers::default())
}
