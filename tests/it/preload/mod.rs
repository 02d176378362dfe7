//! `stoker preload` as its users meet it: the built binary, files of each format, a real Redis, the real broker.

mod formats;
mod guarded;
mod limits;
mod live;
mod members;
mod objects;
mod resume;
mod scale;
mod sweep;
mod topic;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::redis::Client;
use crate::support::wait_for;

/// Longest that anything which works may take on a machine that is busy with other tests.
const LONG: Duration = Duration::from_secs(120);

/// A folder of its own with settings and exports.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    /// What the process finds in its environment, beside this one's.
    env: Vec<(&'static str, String)>,
}

/// How a preload ended.
#[derive(Debug)]
pub(crate) struct Done {
    code: i32,
    report: Value,
    err: String,
}

impl Done {
    /// A count of the report.
    fn count(&self, name: &str) -> u64 {
        self.report[name].as_u64().unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }
}

impl Desk {
    fn new(settings: &str) -> Desk {
        let folder = tempfile::Builder::new().prefix("stoker-preload-").tempdir().unwrap();
        std::fs::write(folder.path().join("stoker.toml"), settings).unwrap();
        Desk { folder, env: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the export.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Starts a preload of entity `t` from this folder.
    fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(arguments, Stdio::null())
    }

    /// The same, with that standard input.
    fn start_with(&self, arguments: &[&str], input: Stdio) -> Running {
        let (out, err) = (self.path("out.json"), self.path("err.txt"));
        let child = Command::new(env!("CARGO_BIN_EXE_stoker"))
            .args(["preload", "-c", "stoker.toml", "--entity", "t", "--output", "json"])
            .args(arguments)
            .current_dir(self.folder.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(input)
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        Running { child, out, err }
    }

    /// Runs one to its end.
    fn run(&self, arguments: &[&str]) -> Done {
        self.start(arguments).end()
    }
}

/// A preload that runs; killed with the test.
pub(crate) struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    fn end(mut self) -> Done {
        let mut status = None;
        let ended = wait_for(LONG, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let err = self.said();
        assert!(ended, "still running:\n{err}");
        let text = std::fs::read_to_string(&self.out).unwrap();
        let report = serde_json::from_str(&text).unwrap_or(Value::Null);
        let code = status.unwrap().code().unwrap_or_else(|| panic!("{status:?}:\n{err}"));
        Done { code, report, err }
    }

    /// Asks it to end.
    fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Ends it without any warning.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it has said on standard error so far.
    fn said(&self) -> String {
        read(&self.err)
    }

    /// The most memory that it has had resident so far, KiB; as long as it runs.
    fn peak_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// Now, Unix milliseconds.
#[expect(clippy::disallowed_methods, reason = "a test's records are of this moment")]
fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// An hour ago: before the exports' time.
fn long_ago() -> i64 {
    now_ms() - 3_600_000
}

/// What tests say of the exports' time: half an hour ago.
fn as_of() -> String {
    (now_ms() - 1_800_000).to_string()
}

/// Settings without a broker: for loads that nothing protects.
fn alone(redis: u16, more: &str) -> String {
    format!(
        "[kafka]\nbrokers = \"127.0.0.1:1\"\ngroup = \"g\"\n[redis]\nurl = \"redis://127.0.0.1:{redis}/0\"\n{more}\n{}",
        entity("t")
    )
}

/// An entity with a JSON value, a hash and a secondary key.
fn entity(topic: &str) -> String {
    format!(
        r#"
[[entity]]
name = "t"
topics = ["{topic}"]
key_columns = ["id"]
  [[entity.write]]
  key = "t:{{id}}"
  value = "json"
  ttl = "1h"
  [[entity.write]]
  key = "t:{{id}}:h"
  value = {{ hash = ["id", "name"] }}
  ttl = "1h"
  [[entity.write]]
  key = "t:name:{{name}}"
  value = {{ text = "{{id}}" }}
  ttl = "1h"
"#
    )
}

/// Rows as NDJSON: id and name.
fn rows(ids: std::ops::Range<usize>) -> String {
    ids.map(|id| format!("{{\"id\":{id},\"name\":\"n{id}\"}}\n")).collect()
}

/// Every key but Stoker's own, with what it holds (a hash's fields sorted).
fn held(client: &mut Client) -> BTreeMap<String, String> {
    let mut keys: Vec<String> = client.run(&["KEYS", "*"]);
    keys.retain(|key| !key.starts_with("stoker:"));
    let mut held = BTreeMap::new();
    for key in keys {
        let kind: String = client.run(&["TYPE", &key]);
        let value = match kind.as_str() {
            "hash" => format!("{:?}", client.run::<BTreeMap<String, String>>(&["HGETALL", &key])),
            _ => client.run::<String>(&["GET", &key]),
        };
        held.insert(key, value);
    }
    held
}
