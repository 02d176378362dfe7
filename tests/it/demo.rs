//! `stoker demo` as a newcomer runs it: the built binary, without a terminal. Nothing stays behind, however it
//! ends: each run has a temporary folder of its own, which must be empty then, and its Redis no longer answers.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::wait_for;

/// It ends by itself well within the promised minute; this allows for a machine that does much else.
const LIMIT: Duration = Duration::from_secs(60);

/// A demo that runs, in a temporary folder of its own.
struct Demo {
    child: Child,
    output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
    /// What it says on standard error.
    complaints: tempfile::NamedTempFile,
}

impl Demo {
    fn start(args: &[&str]) -> Demo {
        let folder = tempfile::tempdir().unwrap();
        let complaints = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_stoker"))
            .arg("demo")
            .args(args)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(complaints.reopen().unwrap())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Demo { child, output, folder, complaints }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// What is said up to a line that holds this text.
    fn said_until(&mut self, text: &str) -> String {
        let mut said = String::new();
        while !said.contains(text) {
            let line = self.line();
            assert!(!line.is_empty(), "it ended before {text:?}:\n{said}");
            said.push_str(&line);
        }
        said
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill {name}");
    }

    /// Its exit code (`None` where a signal ended it) and the rest of what it says. Nothing of it is left.
    fn end(&mut self, redis_port: u16) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        let mut status = None;
        wait_for(LIMIT, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap_or_else(|| panic!("still running after {LIMIT:?}:\n{rest}"));
        let left = || std::fs::read_dir(self.folder.path()).unwrap().count();
        assert!(wait_for(LIMIT, || left() == 0), "{} entries stay in the temporary folder", left());
        assert!(get(redis_port, "customer:1").is_none(), "its Redis still answers");
        (status.code(), rest)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- on standard error:");
            eprintln!("{}", std::fs::read_to_string(self.complaints.path()).unwrap_or_default());
        }
    }
}

/// The answer of the server at that port; `None` where there is no server.
fn get(port: u16, key: &str) -> Option<Option<String>> {
    let client = redis::Client::open(("127.0.0.1", port)).unwrap();
    let mut connection = client.get_connection_with_timeout(Duration::from_secs(5)).ok()?;
    redis::cmd("GET").arg(key).query(&mut connection).ok()
}

/// The port in a line such as `  Redis  127.0.0.1:1234, …`, or in an address.
fn port_of(text: &str) -> u16 {
    let (_, rest) = text.rsplit_once("127.0.0.1:").unwrap();
    rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn the_demo_shows_its_steps_checks_every_key_and_leaves_nothing_behind() {
    let mut demo = Demo::start(&[]);
    let port = port_of(&demo.said_until("  Redis  "));
    let (code, said) = demo.end(port);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" keys checked, 0 differ\n"), "{said}");
    for shown in
        ["An update: ", "A delete: ", "A changed key: ", "A secondary key moves: ", "before  ", "ttl "]
    {
        assert!(said.contains(shown), "{shown}\n{said}");
    }
}

#[test]
fn as_json_the_demo_is_one_object_and_when_kept_it_runs_until_a_signal() {
    let mut demo = Demo::start(&["--output", "json", "--keep"]);
    let result: Value = serde_json::from_str(&demo.line()).unwrap();
    let port = port_of(result["redis"].as_str().unwrap());
    assert!(result["check"]["key_count"].as_u64().unwrap() > 1_000, "{result}");
    assert_eq!(result["check"]["differ_count"], 0, "{result}");
    let steps = result["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 4, "{result}");
    for key in steps.iter().flat_map(|step| step["keys"].as_array().unwrap()) {
        assert_ne!(key["before"]["value"], key["after"]["value"], "{key}");
        let name = key["key"].as_str().unwrap();
        assert!(key["after"].is_null() || key["after"]["ttl_ms"].as_u64().unwrap() > 0, "{name}");
    }
    assert!(get(port, "customer-by-email:nobody").is_some(), "it is still there");
    demo.signal("-TERM");
    assert_eq!(demo.end(port), (Some(0), String::new()));
}

#[test]
fn a_key_that_differs_fails_the_demo() {
    let mut demo = Demo::start(&[]);
    let port = port_of(&demo.said_until("  Redis  "));
    demo.said_until("History: ");
    let mut connection = redis::Client::open(("127.0.0.1", port)).unwrap().get_connection().unwrap();
    redis::cmd("SET").arg(&["intruder", "x"]).exec(&mut connection).unwrap();
    let (code, said) = demo.end(port);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(" keys checked, 1 differ\n  intruder should not be there\n"), "{said}");
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for (signal, code) in [("-TERM", Some(1)), ("-KILL", None)] {
        let mut demo = Demo::start(&[]);
        let port = port_of(&demo.said_until("  Redis  "));
        demo.said_until("An update: ");
        demo.signal(signal);
        let (ended, said) = demo.end(port);
        assert_eq!(ended, code, "{signal}\n{said}");
        assert!(!said.contains("keys checked"), "{signal}\n{said}");
    }
}

#[test]
fn without_redis_server_the_demo_says_what_to_install() {
    let nothing = tempfile::tempdir().unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_stoker"))
        .arg("demo")
        .env("PATH", nothing.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("apt-get install redis-server") && said.contains("brew install redis"), "{said}");
}
