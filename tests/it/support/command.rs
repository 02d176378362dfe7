//! A command of Stoker that runs to its end: what it printed and how it ended.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a command printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the built `stoker` in the repository's folder.
pub(crate) fn stoker(arguments: &[&str], input: &str) -> Ran {
    run(Path::new(env!("CARGO_BIN_EXE_stoker")), arguments, input)
}

/// The built example of that name. Cargo builds examples for `cargo test`, but not for `cargo test --test it`.
pub(crate) fn example(name: &str) -> PathBuf {
    let stoker = Path::new(env!("CARGO_BIN_EXE_stoker"));
    let path = stoker.parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: run cargo build --examples", path.display());
    path
}

/// Runs a program in the repository's folder.
pub(crate) fn run(program: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Where it ends without reading, there is nobody to write to.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().expect("it ends by itself"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
