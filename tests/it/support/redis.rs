//! Private Redis servers: on free ports of 127.0.0.1, without persistence, ended with the test.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stoker::settings::{RedisAddress, RedisSettings, RedisTarget};

/// A server of its own.
pub(crate) struct RedisServer {
    child: Child,
    pub(crate) port: u16,
    options: Vec<String>,
    // Deleted after the server has ended.
    folder: tempfile::TempDir,
}

impl RedisServer {
    /// Starts one and waits until it answers.
    pub(crate) fn start() -> RedisServer {
        RedisServer::start_with(&[])
    }

    /// Starts one with more options.
    pub(crate) fn start_with(options: &[&str]) -> RedisServer {
        RedisServer::start_by(options, free_port)
    }

    /// Kills it (with -9) and starts another in its place. Empty, unless the options lead to a snapshot.
    pub(crate) fn restart(&mut self, options: &[&str]) {
        self.kill();
        let port = self.port;
        *self = RedisServer::start_by(options, || port);
    }

    /// The same with a server that takes its time to load its snapshot: does not wait until it answers.
    pub(crate) fn restart_loading(&mut self, options: &[&str]) {
        self.kill();
        self.child = spawn(self.port, self.folder.path(), options);
    }

    /// Starts it again where it was killed, with what its folder holds: of a cluster's node who it is, and no data.
    pub(crate) fn revive(&mut self) {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        self.child = spawn(self.port, self.folder.path(), &options);
        assert!(wait_for(Duration::from_secs(20), || answers(self.port)), "the server is back");
    }

    /// Kills it (with -9).
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts one on a port that another has just left.
    pub(crate) fn start_at(port: u16) -> RedisServer {
        RedisServer::start_by(&[], || port)
    }

    fn start_by(options: &[&str], choose_port: impl Fn() -> u16) -> RedisServer {
        let folder = tempfile::tempdir().unwrap();
        // A port that was free may be taken by the time the server binds it: try others.
        for _ in 0..20 {
            let port = choose_port();
            let mut child = spawn(port, folder.path(), options);
            if wait_for(Duration::from_secs(10), || child.try_wait().unwrap().is_some() || answers(port))
                && child.try_wait().unwrap().is_none()
            {
                let options = options.iter().map(|option| (*option).to_owned()).collect();
                return RedisServer { child, port, options, folder };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("no redis-server could be started on a free port");
    }

    /// Settings that lead here.
    pub(crate) fn settings(&self) -> RedisSettings {
        let address = RedisAddress::Tcp("127.0.0.1".into(), self.port);
        settings(RedisTarget::Single { address, database: 0 })
    }

    /// A plain client of the test's own.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// Stops the process where it stands, or lets it go on.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

fn spawn(port: u16, folder: &Path, options: &[&str]) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(["--loglevel", "warning", "--port", &port.to_string()])
        .arg("--dir")
        .arg(folder)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server starts: `apt-get install redis-server`, or run `make test`")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Settings of a test.
pub(crate) fn settings(target: RedisTarget) -> RedisSettings {
    RedisSettings {
        target,
        username: None,
        password: None,
        tls: None,
        own_prefix: "stoker:".into(),
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
    }
}

/// A cluster of three masters.
pub(crate) struct RedisCluster {
    pub(crate) masters: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts one and waits until all slots are served.
    pub(crate) fn start() -> RedisCluster {
        let masters: Vec<RedisServer> = (0..3).map(|_| start_node()).collect();
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(masters.iter().map(|master| format!("127.0.0.1:{}", master.port)))
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .output()
            .expect("redis-cli runs: `apt-get install redis-tools`, or run `make test`");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        for master in &masters {
            let mut client = master.client();
            let ok = wait_for(Duration::from_secs(20), || {
                let state: String = redis::cmd("CLUSTER").arg("INFO").query(&mut client.0).unwrap();
                state.contains("cluster_state:ok")
            });
            assert!(ok, "the cluster serves all slots");
        }
        RedisCluster { masters }
    }

    /// Adds a replica of that master, in step with it.
    pub(crate) fn add_replica(&self, master: &RedisServer) -> RedisServer {
        let replica = start_node();
        let id: String = master.client().run(&["CLUSTER", "MYID"]);
        let mut client = replica.client();
        let nodes: String = master.client().run(&["CLUSTER", "NODES"]);
        let bus = nodes.lines().find(|line| line.contains("myself")).unwrap();
        let bus = bus.split_once('@').unwrap().1.split([' ', ',']).next().unwrap();
        client.run::<()>(&["CLUSTER", "MEET", "127.0.0.1", &master.port.to_string(), bus]);
        let limit = Duration::from_secs(20);
        assert!(wait_for(limit, || client.try_run::<()>(&["CLUSTER", "REPLICATE", &id]).is_ok()));
        let in_step = wait_for(limit, || {
            let state: String = client.run(&["INFO", "replication"]);
            state.contains("master_link_status:up")
        });
        assert!(in_step, "the replica follows");
        replica
    }

    /// Settings that name one of the nodes.
    pub(crate) fn settings(&self) -> RedisSettings {
        let seeds = self.masters.iter().take(1).map(|master| format!("127.0.0.1:{}", master.port));
        settings(RedisTarget::Cluster(seeds.collect()))
    }

    /// `[redis]`'s line of settings, with all masters.
    pub(crate) fn target(&self) -> String {
        let nodes: Vec<String> =
            self.masters.iter().map(|node| format!("\"127.0.0.1:{}\"", node.port)).collect();
        format!("cluster = [{}]", nodes.join(", "))
    }

    /// A client of each master.
    pub(crate) fn clients(&self) -> Vec<Client> {
        self.masters.iter().map(RedisServer::client).collect()
    }

    /// The master that serves a slot, as that master itself says.
    pub(crate) fn master_of(&self, slot: u16) -> &RedisServer {
        &self.masters[self.number_of(slot)]
    }

    /// Its number.
    pub(crate) fn number_of(&self, slot: u16) -> usize {
        self.masters
            .iter()
            .position(|master| {
                let mut client = master.client();
                let nodes: String = redis::cmd("CLUSTER").arg("NODES").query(&mut client.0).unwrap();
                let myself = nodes.lines().find(|line| line.contains("myself")).unwrap().to_owned();
                myself.split(' ').skip(8).filter(|range| !range.starts_with('[')).any(|range| {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    (first.parse().unwrap()..=last.parse::<u16>().unwrap()).contains(&slot)
                })
            })
            .expect("the slot is served")
    }
}

fn start_node() -> RedisServer {
    let bus = free_port().to_string();
    RedisServer::start_with(&[
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "2000",
        "--cluster-config-file",
        "nodes.conf",
        "--cluster-port",
        &bus,
    ])
}

/// A blocking connection of the test's own, beside the sink's.
pub(crate) struct Client(pub(crate) redis::Connection);

impl Client {
    fn connect(port: u16) -> Client {
        let client = redis::Client::open(("127.0.0.1", port)).unwrap();
        Client(client.get_connection_with_timeout(Duration::from_secs(5)).unwrap())
    }

    /// One command with these words.
    pub(crate) fn run<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> T {
        self.try_run(words).unwrap()
    }

    /// The same, where it may be refused.
    pub(crate) fn try_run<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> redis::RedisResult<T> {
        let (name, args) = words.split_first().unwrap();
        redis::cmd(name).arg(args).query(&mut self.0)
    }
}

/// Waits until the claim holds; false where it did not in time.
pub(crate) fn wait_for(limit: Duration, mut claim: impl FnMut() -> bool) -> bool {
    let start = now();
    while !claim() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

#[expect(clippy::disallowed_methods, reason = "a test waits in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn answers(port: u16) -> bool {
    let client = redis::Client::open(("127.0.0.1", port)).unwrap();
    client
        .get_connection_with_timeout(Duration::from_secs(1))
        .is_ok_and(|mut connection| redis::cmd("PING").query::<String>(&mut connection).is_ok())
}
