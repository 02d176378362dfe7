//! A blocking look at the cache from outside: keys, page by page or by name, and what its masters have evicted.
//!
//! For commands that compare or explain, over connections of their own. Writes nothing. Needs `SCAN` beside what
//! [`RedisSink::look`] needs. Start at [`Look`]; members of sets are shown by [`super::members`].

use std::borrow::Borrow;
use std::time::Duration;

use redis::Value as Reply;

use super::RedisSink;
use super::command::bytes_of;
use super::look::Glance;
use crate::clock::SystemClock;
use crate::error::WorldError;
use crate::mutation::CacheKey;
use crate::retry::{pause, verdict};
use crate::settings::RedisSettings;

/// Keys that are asked for in one pipeline.
const KEYS_AT_ONCE: usize = 512;
/// Keys that `SCAN` looks at in one call: about a millisecond of the server's time.
const SCAN_COUNT: usize = 1_000;
/// How long something is asked for that is not answered: a failover and a slot on the move are over by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a master says of its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// The master.
    pub address: String,
    /// True where it may drop keys that Stoker wrote when its memory is full.
    pub may_evict: bool,
    /// Keys that it has dropped so since it started.
    pub evicted_count: u64,
}

/// A blocking look over connections of its own.
pub struct Look {
    sink: RedisSink,
    runtime: tokio::runtime::Runtime,
    clock: SystemClock,
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Look").field("sink", &self.sink).finish_non_exhaustive()
    }
}

impl Look {
    /// Connects to every master.
    ///
    /// # Errors
    /// The first master that cannot be reached, or that answers "not now".
    pub fn connect(settings: RedisSettings) -> Result<Look, WorldError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| WorldError::Unreachable { node: "Redis: no runtime".to_owned() })?;
        // Of no group: it takes no lane over, so that no key is made of the name.
        let sink = RedisSink::new(settings, String::new(), usize::MAX);
        runtime.block_on(sink.probe())?;
        Ok(Look { sink, runtime, clock: SystemClock::new() })
    }

    /// What these keys and members hold, in their order.
    ///
    /// # Errors
    /// Of the world, after 10 s of trying (a failover, a slot on the move).
    pub fn keys<K: Borrow<CacheKey>>(&self, keys: &[K]) -> Result<Vec<Glance>, WorldError> {
        let mut glances = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(KEYS_AT_ONCE) {
            glances.extend(self.blocking(async |sink| sink.look(chunk).await)?);
        }
        Ok(glances)
    }

    /// Shows every key that begins so, page by page, in no order; one may come twice. Not a snapshot: what comes or
    /// goes meanwhile may be shown or not. `SCAN`, never `KEYS`: other clients get their turn.
    ///
    /// # Errors
    /// Of the world, after 10 s of trying; those of `visit`.
    pub fn scan<E: From<WorldError>>(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(Vec<Vec<u8>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let pattern = glob(prefix);
        for address in self.sink.map().masters() {
            let mut cursor = b"0".to_vec();
            loop {
                let (next, keys) = self.blocking(async |sink| sink.page(address, &cursor, &pattern).await)?;
                visit(keys)?;
                if next == b"0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }

    /// What each master says of its memory.
    ///
    /// # Errors
    /// Of the world.
    pub fn evictions(&self) -> Result<Vec<Eviction>, WorldError> {
        self.runtime.block_on(async {
            let mut found = Vec::new();
            for (address, link) in self.sink.links(self.sink.map().masters()).await {
                let link = link?;
                let mut asked = String::new();
                for section in ["memory", "stats"] {
                    let mut cmd = redis::cmd("INFO");
                    cmd.arg(section);
                    let info = self.sink.call(&link, cmd).await?;
                    asked.push_str(&String::from_utf8_lossy(bytes_of(&info).unwrap_or_default()));
                }
                let field =
                    |name: &str| asked.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                found.push(Eviction {
                    address,
                    may_evict: field("maxmemory_policy:").is_some_and(|policy| policy != "noeviction")
                        && field("maxmemory:").is_some_and(|bytes| bytes != "0"),
                    evicted_count: field("evicted_keys:").and_then(|count| count.parse().ok()).unwrap_or(0),
                });
            }
            Ok(found)
        })
    }

    /// Asks until it is answered, for a bounded time.
    pub(super) fn blocking<T>(
        &self,
        ask: impl AsyncFnMut(&RedisSink) -> Result<T, WorldError>,
    ) -> Result<T, WorldError> {
        self.runtime.block_on(self.patiently(ask))
    }

    /// The same, with the pauses of the lanes.
    async fn patiently<T>(
        &self,
        mut ask: impl AsyncFnMut(&RedisSink) -> Result<T, WorldError>,
    ) -> Result<T, WorldError> {
        let until = self.clock.now().monotonic.saturating_add(PATIENCE);
        let mut attempt = 0;
        loop {
            let error = match ask(&self.sink).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            attempt += 1;
            let pause = pause(verdict(&error), attempt, 0);
            if self.clock.now().monotonic.saturating_add(pause) > until {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }
}

impl RedisSink {
    /// One page of a master's keys, and the cursor of the next one.
    async fn page(
        &self,
        address: &str,
        cursor: &[u8],
        pattern: &[u8],
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>), WorldError> {
        let mut cmd = redis::cmd("SCAN");
        cmd.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
        let link = self.link(address).await?;
        let reply = self.call(&link, cmd).await?;
        let Reply::Array(parts) = &reply else { return Err(WorldError::Protocol) };
        let [cursor, Reply::Array(keys)] = parts.as_slice() else { return Err(WorldError::Protocol) };
        let cursor = bytes_of(cursor).ok_or(WorldError::Protocol)?.to_vec();
        Ok((cursor, keys.iter().filter_map(bytes_of).map(<[u8]>::to_vec).collect()))
    }
}

/// A pattern of `SCAN` for keys that begin so.
fn glob(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for byte in prefix {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_matched_as_it_stands() {
        assert_eq!(glob(b"customer:"), b"customer:*");
        assert_eq!(glob(b"a*[b]?\\"), b"a\\*\\[b\\]\\?\\\\*");
        assert_eq!(glob(b""), b"*");
    }
}
