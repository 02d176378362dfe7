//! The real parts: a broker by tests/rig, redis-servers of the run's own, and a registry of two schemas.
//!
//! Everything listens on 127.0.0.1 and ends with its value here, also where a trial panics; the rig watches this
//! process and ends with it, however it ends.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::events::{KEY_SCHEMA, KEY_SCHEMA_ID, VALUE_SCHEMA, VALUE_SCHEMA_ID};

/// True once somebody wants the run to end.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).expect("signals can be heard");
    }
    flag
});

/// Waits until `done`, looking every so often. Panics when the time is over, or on a signal: what was started is then
/// ended on the way out.
pub(crate) fn wait_for(what: &str, within: Duration, step: Duration, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + within;
    while !done() {
        assert!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
        assert!(Instant::now() < until, "{what}: not within {within:?}");
        std::thread::sleep(step);
    }
}

/// A process of ours, ended with the value.
pub(crate) struct Process(std::process::Child);

impl Process {
    /// Starts it with its output in that file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Process {
        let log = std::fs::File::create(log).expect("a log can be written");
        let errors = log.try_clone().expect("a file handle can be copied");
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        Process(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, where it has by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker.
pub(crate) struct Broker {
    home: tempfile::TempDir,
    pub(crate) address: String,
    pub(crate) pid: u32,
}

/// Of the broker. With less, it collects garbage every second or two under the load whose latency is measured, and its
/// pauses are what is seen at the 99th percentile.
const HEAP: &str = "1200m";

impl Broker {
    pub(crate) fn start() -> Broker {
        let home = tempfile::Builder::new().prefix("stoker-bench-").tempdir().expect("a temporary folder");
        let out = Command::new(rig("up"))
            .args(["--until", &std::process::id().to_string(), "kafka"])
            .env("STOKER_RIG_HOME", home.path())
            .env("STOKER_RIG_KAFKA_HEAP", HEAP)
            .output()
            .expect("tests/rig/up runs");
        assert!(out.status.success(), "no broker: {}", String::from_utf8_lossy(&out.stderr));
        let env = String::from_utf8_lossy(&out.stdout).into_owned();
        let address = env.lines().find_map(|line| line.strip_prefix("KAFKA_BROKERS=")).expect("an address");
        let pid = std::fs::read_to_string(home.path().join("kafka.pid")).expect("the broker's pid");
        let pid = pid.split(' ').next().and_then(|pid| pid.trim().parse().ok()).expect("the broker's pid");
        Broker { address: address.to_owned(), pid, home }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = Command::new(rig("down")).arg("kafka").env("STOKER_RIG_HOME", self.home.path()).output();
    }
}

fn rig(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig").join(script)
}

/// One redis-server without persistence, or a cluster of some.
pub(crate) struct Cache {
    servers: Vec<Process>,
    pub(crate) ports: Vec<u16>,
    _folder: tempfile::TempDir,
}

impl Cache {
    pub(crate) fn start(nodes: usize) -> Cache {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mut servers, mut ports) = (Vec::new(), Vec::new());
        for _ in 0..nodes {
            let port = free_port();
            let data = folder.path().join(port.to_string());
            std::fs::create_dir(&data).expect("a folder");
            let mut command = Command::new("redis-server");
            command.args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ]);
            command.arg("--dir").arg(&data);
            if nodes > 1 {
                command.args(["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"]);
            }
            servers.push(Process::start(&mut command, &data.join("log")));
            ports.push(port);
        }
        let cache = Cache { servers, ports, _folder: folder };
        for port in &cache.ports {
            wait_for("redis-server", Duration::from_secs(20), Duration::from_millis(20), || {
                connect(*port).is_ok()
            });
        }
        if nodes > 1 {
            cache.join();
        }
        cache
    }

    fn join(&self) {
        let nodes = self.ports.iter().map(|port| format!("127.0.0.1:{port}"));
        let out = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(nodes)
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .output()
            .expect("redis-cli runs");
        assert!(out.status.success(), "no cluster: {}", String::from_utf8_lossy(&out.stdout));
        wait_for("the cluster", Duration::from_secs(30), Duration::from_millis(100), || {
            self.ports.iter().all(|port| {
                let info = connect(*port)
                    .and_then(|mut node| redis::cmd("CLUSTER").arg("INFO").query::<String>(&mut node));
                info.is_ok_and(|info| info.contains("cluster_state:ok"))
            })
        });
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.ports.len() > 1
    }

    /// Process ids of the servers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Process::id).collect()
    }

    /// Connections to all nodes.
    pub(crate) fn nodes(&self) -> Vec<redis::Connection> {
        self.ports.iter().map(|port| connect(*port).expect("redis-server answers")).collect()
    }

    /// Keys in all nodes.
    pub(crate) fn key_count(&self) -> u64 {
        self.nodes().iter_mut().map(|node| redis::cmd("DBSIZE").query::<u64>(node).expect("a count")).sum()
    }

    pub(crate) fn flush(&self) {
        for mut node in self.nodes() {
            redis::cmd("FLUSHALL").arg("SYNC").exec(&mut node).expect("the cache is emptied");
        }
    }
}

/// A connection to a server on this machine.
pub(crate) fn connect(port: u16) -> redis::RedisResult<redis::Connection> {
    redis::Client::open(("127.0.0.1", port))?.get_connection()
}

/// A port that nobody listens on, low enough that a cluster's bus, 10,000 above it, has one too.
pub(crate) fn free_port() -> u16 {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 8_000).unwrap_or(0) + 21_000;
    loop {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed);
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
}

/// A schema registry with the two schemas of the events: its answers, and nothing else of one.
pub(crate) struct Registry {
    pub(crate) url: String,
}

impl Registry {
    /// Answers until the process ends.
    pub(crate) fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut request = [0; 2048];
                let length = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let asks = |id: u32| request.contains(&format!("/schemas/ids/{id}"));
                let (status, schema) = match () {
                    () if asks(KEY_SCHEMA_ID) => ("200 OK", KEY_SCHEMA),
                    () if asks(VALUE_SCHEMA_ID) => ("200 OK", VALUE_SCHEMA),
                    () => ("404 Not Found", ""),
                };
                let body = serde_json::json!({ "schema": schema }).to_string();
                let head = "Content-Type: application/vnd.schemaregistry.v1+json\r\nConnection: close\r\n";
                let _ =
                    write!(stream, "HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len());
            }
        });
        Registry { url }
    }
}
