//! Who is measured: Stoker, and what a team would write in its place.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::events::Format;
use crate::load::unix_ms;
use crate::parts::{Broker, Cache, Process, Registry, free_port};
use crate::point::{Point, Start};

/// How old exports are. The topics' records are older still.
pub(crate) const EXPORTED_BEFORE_MS: i64 = 3_600_000;

/// Somebody who keeps the cache.
#[derive(Debug, Clone)]
pub(crate) enum Contestant {
    /// The release build beside this program.
    Stoker,
    /// Any other program.
    Peer(Peer),
}

/// A program by `benches/peers/peers.toml`. It is told by its environment what to read and where to write; see there.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// Program and arguments; `{peers}` is the folder of the peers.
    pub(crate) command: Vec<String>,
    /// What it does not do and Stoker does, for the table.
    pub(crate) cannot: String,
}

#[derive(Deserialize)]
struct Peers {
    peer: Vec<Peer>,
}

/// Where a trial takes place.
pub(crate) struct Scene<'a> {
    pub(crate) broker: &'a Broker,
    pub(crate) cache: &'a Cache,
    pub(crate) registry: &'a Registry,
    pub(crate) point: &'a Point,
    pub(crate) topic: &'a str,
    pub(crate) folder: &'a Path,
}

/// A contestant at work.
pub(crate) struct Running {
    pub(crate) process: Process,
    /// Stoker's port for metrics.
    pub(crate) admin: Option<u16>,
}

impl Contestant {
    /// The peers of the configuration. `only` keeps those of that name.
    pub(crate) fn peers(folder: &Path) -> Vec<Peer> {
        let file = folder.join("peers.toml");
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let peers: Peers =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let place = |word: &String| word.replace("{peers}", &folder.display().to_string());
        let placed = |peer: Peer| Peer { command: peer.command.iter().map(place).collect(), ..peer };
        peers.peer.into_iter().map(placed).collect()
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Contestant::Stoker => "stoker",
            Contestant::Peer(peer) => &peer.name,
        }
    }

    /// Starts it on the scene's topic, from the beginning, under a group of its own.
    pub(crate) fn start(&self, scene: &Scene<'_>, group: &str) -> Running {
        let log = scene.folder.join(format!("{group}.log"));
        match self {
            Contestant::Stoker => {
                if scene.point.start == Start::Preload {
                    let mut command = scene.preload(group, unix_ms() - EXPORTED_BEFORE_MS);
                    return Running { process: Process::start(&mut command, &log), admin: None };
                }
                let admin = free_port();
                let mut command = scene.stoker("run", group, admin);
                Running { process: Process::start(&mut command, &log), admin: Some(admin) }
            }
            Contestant::Peer(peer) => {
                let (program, arguments) = peer.command.split_first().expect("a peer has a command");
                let mut command = Command::new(program);
                command.args(arguments);
                let ports: Vec<String> = scene.cache.ports.iter().map(u16::to_string).collect();
                command
                    .env("BROKERS", &scene.broker.address)
                    .env("TOPIC", scene.topic)
                    .env("GROUP", group)
                    .env("REDIS_PORT", ports.join(","))
                    .env("KEY_PREFIX", "customer:")
                    .env("TTL_MS", "3600000");
                Running { process: Process::start(&mut command, &log), admin: None }
            }
        }
    }
}

impl Scene<'_> {
    /// Where the export of the topic's rows is, for a preload.
    pub(crate) fn export(&self) -> PathBuf {
        self.folder.join(format!("{}.parquet", self.topic))
    }

    /// A command of Stoker's, with settings of that group.
    pub(crate) fn stoker(&self, command: &str, group: &str, admin: u16) -> Command {
        let settings = self.folder.join(format!("{group}.toml"));
        std::fs::write(&settings, self.settings(group, admin)).expect("settings can be written");
        let mut stoker = Command::new(env!("CARGO_BIN_EXE_stoker"));
        stoker.arg(command).arg("-c").arg(settings);
        stoker
    }

    /// A preload of the export, as of that moment. Of the same group and moment it goes on where it was ended.
    pub(crate) fn preload(&self, group: &str, as_of_ms: i64) -> Command {
        let mut stoker = self.stoker("preload", group, free_port());
        stoker.args(["--entity", "customer", "--as-of", &as_of_ms.to_string(), "--checkpoint"]);
        stoker.arg(self.checkpoint(group)).arg(self.export());
        stoker
    }

    /// Where a group's preload keeps how far it is.
    pub(crate) fn checkpoint(&self, group: &str) -> PathBuf {
        self.folder.join(format!("{group}.checkpoint"))
    }

    /// Stoker's settings: defaults but for what the point says.
    fn settings(&self, group: &str, admin: u16) -> String {
        let Point { workers, guard, format, start, .. } = self.point;
        let start = match start {
            Start::Earliest | Start::Preload => "earliest",
            Start::Refill => "refill",
        };
        let redis = if self.cache.is_cluster() {
            let nodes: Vec<String> =
                self.cache.ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
            format!("cluster = [{}]", nodes.join(", "))
        } else {
            format!("url = \"redis://127.0.0.1:{}/0\"", self.cache.ports[0])
        };
        let registry = match format {
            Format::Avro => format!("[registry]\nurl = \"{}\"\n", self.registry.url),
            _ => String::new(),
        };
        let shared = if *guard { "shared = true" } else { "" };
        format!(
            r#"
[kafka]
brokers = "{}"
group = "{group}"
start = "{start}"
[redis]
{redis}
{registry}
[errors]
on_error = "stop"
[limits]
workers = {workers}
[admin]
listen = "127.0.0.1:{admin}"
[[entity]]
name = "customer"
topics = ["{}"]
key_columns = ["id"]
  [[entity.write]]
  key = "customer:{{id}}"
  value = "json"
  ttl = "1h"
  {shared}
"#,
            self.broker.address, self.topic
        )
    }
}
