//! `stoker.toml`, read at the edge and handed down as plain values.
//!
//! These are the validated settings; [`load`] reads them. A file goes through four steps: `document` parses
//! it and keeps positions, `check` holds it against the JSON Schema (which `raw`'s types generate) and fills
//! in variables and files, serde reads it, `validate` looks at what it means. Every step collects problems
//! instead of stopping at the first. Stoker's core never sees any of this.

mod alternative;
mod check;
mod defaults;
mod describe;
mod document;
mod expand;
mod not_built;
mod problem;
mod raw;
mod raw_entity;
mod raw_guard;
mod raw_member;
mod raw_registry;
mod read;
mod redis_url;
mod schema;
#[cfg(test)]
mod tests;
pub(crate) mod units;
mod validate;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::decode::Wire;
use crate::entity::Entity;

pub use expand::{Environment, ProcessEnvironment};
pub use problem::{Problem, SettingsError};
pub use read::{Loaded, load, parse};
pub use schema::schema;

/// All settings, validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Kafka.
    pub kafka: KafkaSettings,
    /// The schema registry, where one is named.
    pub registry: Option<RegistrySettings>,
    /// Redis.
    pub redis: RedisSettings,
    /// What becomes of records that fail.
    pub errors: ErrorSettings,
    /// Bounds.
    pub limits: Limits,
    /// When this process counts as warm.
    pub ready: ReadySettings,
    /// `[refill]`.
    pub refill: RefillSettings,
    /// The running check of what was applied; `None` where it is turned off.
    pub verify: Option<VerifySettings>,
    /// Logs.
    pub log: LogSettings,
    /// The admin HTTP server; `None` where it is turned off.
    pub admin: Option<std::net::SocketAddr>,
    /// Entities in the order of the file, ready to run.
    pub entities: Arc<[Entity]>,
}

/// `[kafka]`.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// Consumer group.
    pub group: String,
    /// Where a group without positions starts.
    pub start: Start,
    /// How the topics' producers place records.
    pub partitioner: Partitioner,
    /// librdkafka properties, passed through. Values may be secrets.
    pub properties: Vec<(String, Secret)>,
}

/// Where a group without positions starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// History, then live. Reads the history from the earliest position in order for now.
    #[default]
    Refill,
    /// From the earliest position.
    Earliest,
    /// From the end.
    Latest,
}

/// How producers place records that have a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    /// By the hash of Kafka's own producers, so that it is known which keys move where a topic grows.
    #[default]
    Murmur2,
    /// In some other way, or it is not known.
    Unknown,
}

/// `[registry]`.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// Where its API is, in the order in which they are tried. At least one.
    pub urls: Vec<RegistryUrl>,
    /// User of basic authentication.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Bearer token.
    pub token: Option<Secret>,
    /// What to trust with `https`.
    pub tls: TlsSettings,
    /// How long one request may take.
    pub timeout: Duration,
    /// How records name their schemas.
    pub wire: Wire,
}

/// Where a registry's API is. Shown as it is written, which holds no login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryUrl {
    /// `https`.
    pub tls: bool,
    /// Host name or address, an IPv6 one without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path without a slash at its end; may be empty.
    pub path: String,
}

impl std::fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl RegistryUrl {
    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// `[redis]`.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Where.
    pub target: RedisTarget,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// TLS; `None` where the connection is plain.
    pub tls: Option<TlsSettings>,
    /// Prefix of Stoker's own keys.
    pub own_prefix: String,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How long a connection may take.
    pub connect_timeout: Duration,
}

/// A Redis server or cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisTarget {
    /// One server.
    Single {
        /// Where it listens.
        address: RedisAddress,
        /// Database number.
        database: i64,
    },
    /// A Redis Cluster: some of its nodes, `host:port`.
    Cluster(Vec<String>),
}

/// Where a Redis server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisAddress {
    /// Host and port.
    Tcp(String, u16),
    /// Unix socket.
    Unix(PathBuf),
}

/// TLS of Redis connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates to trust instead of the system's, PEM.
    pub ca: Option<PathBuf>,
    /// Client certificate, PEM.
    pub cert: Option<PathBuf>,
    /// Client key, PEM.
    pub key: Option<PathBuf>,
}

/// A secret. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    /// The file that it came from.
    file: Option<PathBuf>,
}

impl Secret {
    /// Wraps a secret.
    pub fn new(text: String) -> Secret {
        Secret { text, file: None }
    }

    /// A secret that was read from a file, which may be given another one later.
    pub fn of_file(text: String, file: PathBuf) -> Secret {
        Secret { text, file: Some(file) }
    }

    /// The secret as it was when the settings were read: for the client that needs it, never for a log.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The secret as it is now: where it came from a file, that is read again, for secrets are rotated while a
    /// process runs.
    ///
    /// Errors: the file cannot be read any more.
    pub fn expose_anew(&self) -> std::io::Result<Cow<'_, str>> {
        match &self.file {
            None => Ok(Cow::Borrowed(&self.text)),
            Some(file) => Ok(Cow::Owned(expand::without_line_end(&expand::read_bounded(file)?).to_owned())),
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// `[errors]`.
#[derive(Debug, Clone)]
pub struct ErrorSettings {
    /// What becomes of a record that fails.
    pub on_error: OnError,
    /// Stops the process when more than `share` of the last `of` records failed.
    pub breaker: Breaker,
}

/// What becomes of a record that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnError {
    /// Goes to this topic.
    DeadLetter {
        /// The topic.
        topic: String,
    },
    /// Stops the process.
    Stop,
    /// Is counted and passed over.
    Skip,
}

/// The breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// Share of records, 0 to 1.
    pub share: f64,
    /// Of so many records.
    pub of: usize,
}

/// `[limits]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Workers.
    pub workers: usize,
    /// All queues, batches and windows together, bytes.
    pub memory_bytes: usize,
    /// Records in a batch.
    pub batch_records: usize,
    /// Bytes in a batch.
    pub batch_bytes: usize,
    /// Bytes in a value.
    pub value_bytes: usize,
    /// Time to drain at revoke and shutdown.
    pub drain: Duration,
}

/// `[refill]`.
#[derive(Debug, Clone, Copy)]
pub struct RefillSettings {
    /// Keys a second that this process writes; `None` is no bound.
    pub rate: Option<u32>,
    /// Share of a server's `maxmemory` over which no history is written, 0 to 1.
    pub memory: f64,
}

/// `[ready]`.
#[derive(Debug, Clone, Copy)]
pub struct ReadySettings {
    /// Warm: no lane's oldest unapplied record is older than this.
    pub lag: Duration,
}

/// `[verify]`.
#[derive(Debug, Clone, Copy)]
pub struct VerifySettings {
    /// Share of the keys, 0 to 1.
    pub sample: f64,
}

/// `[log]`.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// Text, JSON, or by what standard error is.
    pub format: LogFormat,
    /// Level or filter.
    pub level: String,
}

/// Form of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text.
    Text,
    /// JSON, one object a line.
    Json,
}
