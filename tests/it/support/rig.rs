//! The real parts that a JVM or a database server takes: PostgreSQL, a broker, Connect with Debezium.
//!
//! Started once for the whole test binary by `tests/rig/up`, and ended by it when this process ends, however
//! it ends. Tests keep apart by names: a database, a connector and topics of their own.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::wait_for;

/// The parts, running.
pub(crate) struct Rig {
    home: tempfile::TempDir,
    env: HashMap<String, String>,
}

impl Rig {
    /// The one rig of this process, all parts of it.
    pub(crate) fn shared() -> &'static Rig {
        static RIG: OnceLock<Rig> = OnceLock::new();
        RIG.get_or_init(Rig::start)
    }

    fn start() -> Rig {
        let home = tempfile::Builder::new().prefix("stoker-rig-").tempdir().unwrap();
        let out = Command::new(script("up"))
            .args(["--until", &std::process::id().to_string(), "pg", "kafka", "connect"])
            .env("STOKER_RIG_HOME", home.path())
            .output()
            .expect("tests/rig/up runs (bash)");
        assert!(
            out.status.success(),
            "the real parts did not start; `make test` installs what they need (or tests/rig/setup):\n{}",
            String::from_utf8_lossy(&out.stderr)
        );
        let env = String::from_utf8_lossy(&out.stdout)
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Rig { home, env }
    }

    /// `host:port` of the broker.
    pub(crate) fn brokers(&self) -> &str {
        &self.env["KAFKA_BROKERS"]
    }

    /// The schema registry, running. One test at a time stops it: who takes it has it until dropped.
    pub(crate) fn registry(&'static self) -> Registry {
        static TAKEN: Mutex<()> = Mutex::new(());
        let registry = Registry {
            rig: self,
            _taken: TAKEN.lock().unwrap_or_else(PoisonError::into_inner),
            base: self.env["REGISTRY_URL"].trim_end_matches("/apis/ccompat/v7").to_owned(),
        };
        self.run("up", &["registry"]);
        registry
    }

    /// Runs one of the rig's scripts.
    fn run(&self, name: &str, args: &[&str]) {
        let out = Command::new(script(name)).args(args).env("STOKER_RIG_HOME", self.home.path()).output();
        let out = out.expect("the rig's scripts run (bash)");
        assert!(
            out.status.success(),
            "{name} {args:?}; `make test` installs what it needs (or tests/rig/setup avro):\n{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }

    /// A new database with that schema, and a client in it.
    pub(crate) fn database(&self, name: &str, schema: &str) -> Database {
        let port: u16 = self.env["PG_PORT"].parse().unwrap();
        let mut root = connect(port, "postgres");
        root.batch_execute(&format!("create database {name}")).unwrap();
        let database = Database { port, name: name.to_owned() };
        database.client().batch_execute(schema).unwrap();
        database
    }

    /// Makes a connector of that name from a file of settings, in the database, and waits until it runs.
    pub(crate) fn connector(
        &'static self,
        name: &str,
        database: &Database,
        file: &str,
        members: &[&str],
    ) -> Connector {
        let database = format!("database.dbname={}", database.name);
        let prefix = format!("topic.prefix={name}");
        let out = Command::new(script("connector"))
            .args(["add", name, file, &database, &prefix])
            .args(members)
            .env("STOKER_RIG_HOME", self.home.path())
            .env("PGDATABASE", database.trim_start_matches("database.dbname="))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(out.status.success(), "connector {name}: {}", String::from_utf8_lossy(&out.stderr));
        Connector { rig: self, name: name.to_owned() }
    }
}

/// The schema registry.
pub(crate) struct Registry {
    rig: &'static Rig,
    _taken: MutexGuard<'static, ()>,
    base: String,
}

impl Registry {
    /// Where Stoker asks: Confluent's API.
    pub(crate) fn url(&self) -> String {
        format!("{}/apis/ccompat/v7", self.base)
    }

    /// Members of a connector that writes Avro under it: what the shop's connector in Avro has beside the one in JSON.
    pub(crate) fn converters(&self) -> Vec<String> {
        type Members = BTreeMap<String, String>;
        let json: Members =
            serde_json::from_str(include_str!("../../../examples/shop/connector.json")).unwrap();
        let avro: Members =
            serde_json::from_str(include_str!("../../../examples/shop/connector.avro.json")).unwrap();
        let own = avro.iter().filter(|(name, value)| json.get(*name) != Some(value));
        let url = format!("{}/apis/registry/v2", self.base);
        own.map(|(name, value)| format!("{name}={}", value.replace("${env:CONVERTER_REGISTRY_URL}", &url)))
            .collect()
    }

    /// Starts it again, with the schemas that it had.
    pub(crate) fn start(&self) {
        self.rig.run("up", &["registry"]);
    }

    /// Ends it.
    pub(crate) fn stop(&self) {
        self.rig.run("down", &["registry"]);
    }
}

/// A connector, removed with the test.
pub(crate) struct Connector {
    rig: &'static Rig,
    name: String,
}

impl Drop for Connector {
    fn drop(&mut self) {
        let _ = Command::new(script("connector"))
            .args(["rm", &self.name])
            .env("STOKER_RIG_HOME", self.rig.home.path())
            .output();
    }
}

/// A database of the rig's server.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    port: u16,
    name: String,
}

impl Database {
    /// A client of its own.
    pub(crate) fn client(&self) -> postgres::Client {
        connect(self.port, &self.name)
    }
}

fn connect(port: u16, database: &str) -> postgres::Client {
    let config = format!("host=127.0.0.1 port={port} user=postgres dbname={database}");
    let mut client = None;
    wait_for(Duration::from_secs(20), || {
        client = postgres::Client::connect(&config, postgres::NoTls).ok();
        client.is_some()
    });
    client.expect("PostgreSQL answers")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig").join(name)
}
