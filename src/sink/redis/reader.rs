//! A plain look at a server: blocking, on a connection of its own, writing nothing. For commands that show or
//! compare what is in the cache; no lane goes through here.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::{Client, Connection, ErrorKind, FromRedisValue, Pipeline, RedisError};

use crate::error::WorldError;

/// Keys that are asked for in one pipeline.
const KEYS_AT_ONCE: usize = 500;

/// A connection that reads.
pub struct Reader {
    connection: Connection,
}

/// What a key holds, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its value.
    pub held: Held,
    /// What is left of its life; `None` where it never expires.
    pub ttl: Option<Duration>,
}

/// A value, as Redis keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// A string's bytes.
    String(Vec<u8>),
    /// A hash's fields.
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// Another type, by its name in Redis: not read.
    Other(String),
    /// What was asked for is a member, and there: of a sorted set with its score, as Redis writes it.
    Member(Option<Vec<u8>>),
    /// A member was asked for, and the key is of this other type, which has no such members.
    NoSet(String),
}

impl Held {
    /// Bytes of its value; 0 where it was not read.
    pub fn size_bytes(&self) -> usize {
        match self {
            Held::String(bytes) => bytes.len(),
            Held::Hash(fields) => fields.iter().map(|(name, value)| name.len() + value.len()).sum(),
            Held::Member(score) => score.as_ref().map_or(0, Vec::len),
            Held::Other(_) | Held::NoSet(_) => 0,
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// Connects to a server without TLS and password; each answer may take as long as `within`, too.
    ///
    /// # Errors
    /// [`WorldError::Unreachable`]: nothing answers there.
    pub fn connect(host: &str, port: u16, within: Duration) -> Result<Reader, WorldError> {
        let connect = || {
            let connection = Client::open((host, port))?.get_connection_with_timeout(within)?;
            connection.set_read_timeout(Some(within))?;
            connection.set_write_timeout(Some(within))?;
            Ok::<Connection, RedisError>(connection)
        };
        match connect() {
            Ok(connection) => Ok(Reader { connection }),
            Err(_) => Err(WorldError::Unreachable { node: format!("{host}:{port}") }),
        }
    }

    /// The server's working folder, as it says itself.
    ///
    /// # Errors
    /// The world's; those of the methods below likewise.
    pub fn folder(&mut self) -> Result<String, WorldError> {
        let mut found: BTreeMap<String, String> = self.ask(&["CONFIG", "GET", "dir"])?;
        found.remove("dir").ok_or(WorldError::Protocol)
    }

    /// Number of keys in the database.
    pub fn key_count(&mut self) -> Result<u64, WorldError> {
        self.ask(&["DBSIZE"])
    }

    /// All keys, each once, in no order. Holds them all in memory.
    pub fn keys(&mut self) -> Result<Vec<Vec<u8>>, WorldError> {
        let mut keys = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let (next, found): (String, Vec<Vec<u8>>) = self.ask(&["SCAN", &cursor, "COUNT", "1000"])?;
            keys.extend(found);
            if next == "0" {
                break;
            }
            cursor = next;
        }
        // SCAN may return a key more than once.
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    /// What these keys hold, in their order; `None` for a key that is not there. Read in several steps: a key
    /// that is written meanwhile may show a value and the time to live of the one before it.
    pub fn entries<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> Result<Vec<Option<Entry>>, WorldError> {
        let mut entries = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(KEYS_AT_ONCE) {
            let mut types = Pipeline::new();
            for key in chunk {
                types.cmd("TYPE").arg(key.as_ref());
            }
            let types: Vec<String> = types.query(&mut self.connection).map_err(|error| world(&error))?;
            for (key, kind) in chunk.iter().zip(types) {
                entries.push(self.entry(key.as_ref(), &kind)?);
            }
        }
        Ok(entries)
    }

    fn entry(&mut self, key: &[u8], kind: &str) -> Result<Option<Entry>, WorldError> {
        let held = match kind {
            "string" => self.value(key, "GET")?.map(Held::String),
            "hash" => self.value(key, "HGETALL")?.map(Held::Hash),
            "none" => None,
            other => Some(Held::Other(other.to_owned())),
        };
        let left: i64 =
            redis::cmd("PTTL").arg(key).query(&mut self.connection).map_err(|error| world(&error))?;
        // -2: the key is gone. -1: it never expires.
        let ttl = u64::try_from(left).ok().map(Duration::from_millis);
        Ok(held.filter(|_| left != -2).map(|held| Entry { held, ttl }))
    }

    /// `None` where the key is gone, or holds another type by now.
    fn value<T: FromRedisValue>(&mut self, key: &[u8], command: &str) -> Result<Option<T>, WorldError> {
        match redis::cmd(command).arg(key).query(&mut self.connection) {
            Ok(value) => Ok(value),
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
            Err(error) => Err(world(&error)),
        }
    }

    fn ask<T: FromRedisValue>(&mut self, words: &[&str]) -> Result<T, WorldError> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query(&mut self.connection).map_err(|error| world(&error))
    }
}

fn world(error: &RedisError) -> WorldError {
    if error.is_timeout() {
        WorldError::Timeout
    } else if error.kind() == ErrorKind::Io {
        WorldError::Disconnected
    } else {
        WorldError::Protocol
    }
}
