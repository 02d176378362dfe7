//! A Stoker process under test: the built binary with a settings file of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use super::wait_for;

/// A folder with settings and logs, from which instances are started.
pub(crate) struct Bench {
    folder: Rc<tempfile::TempDir>,
    started: std::cell::Cell<u32>,
}

impl Bench {
    /// A bench with these settings (`stoker.toml`).
    pub(crate) fn new(settings: &str) -> Bench {
        let folder = tempfile::Builder::new().prefix("stoker-bench-").tempdir().unwrap();
        std::fs::write(folder.path().join("stoker.toml"), settings).unwrap();
        Bench { folder: Rc::new(folder), started: std::cell::Cell::new(0) }
    }

    /// The settings file.
    pub(crate) fn settings(&self) -> PathBuf {
        self.folder.path().join("stoker.toml")
    }

    /// Starts an instance of `stoker run`.
    pub(crate) fn start(&self) -> Instance {
        self.start_with(&[])
    }

    /// Starts one with more arguments.
    pub(crate) fn start_with(&self, arguments: &[&str]) -> Instance {
        let number = self.started.get() + 1;
        self.started.set(number);
        let log = self.folder.path().join(format!("{number}.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_stoker"))
            .args(["run", "-c"])
            .arg(self.settings())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Instance { child, log, _folder: Rc::clone(&self.folder) }
    }
}

/// A running process; killed with the test.
pub(crate) struct Instance {
    child: Child,
    log: PathBuf,
    // Its log outlives the bench.
    _folder: Rc<tempfile::TempDir>,
}

impl Instance {
    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    /// The same without the settings: for the message of a test that fails.
    pub(crate) fn story(&self) -> String {
        let log = self.log();
        let lines = log.lines().filter(|line| {
            !line.contains(r#""message":"setting""#) && !line.contains("librdkafka properties")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Sends a signal (`-TERM`, `-STOP`, …).
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill {name}");
    }

    /// Ends it without any warning.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The exit code, once it ends by itself or by an earlier signal.
    pub(crate) fn exit_code(mut self, limit: Duration) -> i32 {
        let mut status = None;
        wait_for(limit, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap_or_else(|| panic!("still running after {limit:?}:\n{}", self.log()));
        status.code().unwrap_or_else(|| panic!("{status}:\n{}", self.log()))
    }

    /// Asks it to stop and returns its exit code.
    pub(crate) fn stop(self) -> i32 {
        self.signal("-TERM");
        self.exit_code(Duration::from_secs(40))
    }

    /// True while it has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // A stopped process dies of SIGKILL all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let story = self.story();
            let tail: Vec<&str> = story.lines().rev().take(40).collect();
            eprintln!("--- the end of {}", self.log.display());
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
