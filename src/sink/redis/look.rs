//! Looks at cache keys: what they hold and for how long, on one server or a cluster. Writes nothing.
//!
//! For commands that compare or explain; no lane goes through here. Needs `TYPE STRLEN PTTL GET HGETALL SCAN`
//! beside what the sink needs. Start at [`Look`], which blocks, or at [`RedisSink::look`], which does not.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use redis::{Pipeline, Value as Reply};

use super::RedisSink;
use super::classify::Fault;
use super::cluster::resolve;
use super::command::{bytes_of, checked, checked_world};
use super::connect::Link;
use super::reader::Held;
use crate::error::{ServerCode, WorldError};
use crate::settings::RedisSettings;
use crate::sink::slots::slot_of;

/// Keys that are asked for in one pipeline.
const KEYS_AT_ONCE: usize = 512;
/// Bytes of strings that one pipeline asks for; a larger one comes alone.
const BYTES_AT_ONCE: usize = 8 << 20;
/// What a hash is counted as towards that: its size would cost another command.
const HASH_BYTES: usize = 4 << 10;
/// Keys that `SCAN` looks at in one call: about a millisecond of the server's time.
const SCAN_COUNT: usize = 1_000;
/// How often a key is asked for that was not answered (a failover, a slot on the move), and the pause between.
const TRIES: u32 = 40;
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its value.
    pub held: Held,
    /// When it expires, Unix milliseconds by its server's clock; `None` where it never does.
    pub expires_at_ms: Option<i64>,
}

/// One look at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// What it holds; `None` where it is not there.
    pub seen: Option<Seen>,
    /// Its server's clock at the time, Unix milliseconds.
    pub server_ms: i64,
}

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
        Ok(Look { sink, runtime })
    }

    /// What these keys hold, in their order.
    ///
    /// # Errors
    /// Of the world, after 10 s of trying.
    pub fn keys<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Glance>, WorldError> {
        let mut glances = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(KEYS_AT_ONCE) {
            glances.extend(self.runtime.block_on(self.sink.look_patiently(chunk))?);
        }
        Ok(glances)
    }

    /// Shows every key that begins so, page by page, in no order; one may come twice. Not a snapshot: what comes or
    /// goes meanwhile may be shown or not. `SCAN`, never `KEYS`: other clients get their turn.
    ///
    /// # Errors
    /// Of the world; those of `visit`.
    pub fn scan<E: From<WorldError>>(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(Vec<Vec<u8>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let pattern = glob(prefix);
        for address in self.sink.map().masters() {
            let mut cursor = b"0".to_vec();
            loop {
                let page = self.runtime.block_on(self.sink.page(address, &cursor, &pattern));
                let (next, keys) = page?;
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
}

impl RedisSink {
    /// What these keys hold, in their order; a few hundred at a time. Read in two steps: a key that is written
    /// meanwhile may show a value and the expiry of the one before it.
    ///
    /// # Errors
    /// Of the world. A key whose slot is on the move is [`WorldError::Redirected`]: ask again.
    pub async fn look<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Glance>, WorldError> {
        self.refresh_if_stale().await?;
        let map = self.map();
        let mut by_master: BTreeMap<&str, Vec<(usize, &[u8])>> = BTreeMap::new();
        for (index, key) in keys.iter().enumerate() {
            let key = key.as_ref();
            let master =
                map.master_of(slot_of(key)).ok_or(WorldError::NotNow { code: ServerCode::ClusterDown })?;
            by_master.entry(master).or_default().push((index, key));
        }
        let mut glances: Vec<Option<Glance>> = vec![None; keys.len()];
        for (master, keys) in by_master {
            let link = self.link(master).await?;
            for (index, glance) in self.look_at(master, &link, &keys).await? {
                if let Some(slot) = glances.get_mut(index) {
                    *slot = Some(glance);
                }
            }
        }
        glances.into_iter().map(|glance| glance.ok_or(WorldError::Protocol)).collect()
    }

    async fn look_patiently<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Glance>, WorldError> {
        let mut tries = 0;
        loop {
            match self.look(keys).await {
                Ok(glances) => return Ok(glances),
                Err(error) => {
                    tries += 1;
                    if tries >= TRIES {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn look_at(
        &self,
        master: &str,
        link: &Rc<Link>,
        keys: &[(usize, &[u8])],
    ) -> Result<Vec<(usize, Glance)>, WorldError> {
        let mut ask = Pipeline::new();
        ask.cmd("TIME");
        for (_, key) in keys {
            ask.cmd("TYPE").arg(*key).cmd("PTTL").arg(*key).cmd("STRLEN").arg(*key);
        }
        let replies = link.send(&ask).await?;
        let mut replies = replies.iter();
        let server_ms = time(self.answered(master, replies.next())?).ok_or(WorldError::Protocol)?;
        let mut glances = Vec::with_capacity(keys.len());
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        let mut bytes = 0;
        for (index, key) in keys {
            let (kind, left, length) = (replies.next(), replies.next(), replies.next());
            if let Some(Err(Fault::Ask { node })) = kind.map(checked) {
                glances.push((*index, self.look_on_the_move(&resolve(&node, master), key).await?));
                continue;
            }
            let kind = type_name(self.answered(master, kind)?);
            let left = int(self.answered(master, left)?).ok_or(WorldError::Protocol)?;
            // Of another type than a string this is an error, and not needed.
            let length = length.and_then(int).and_then(|length| usize::try_from(length).ok());
            // -2: the key is gone. -1: it never expires.
            let expires_at_ms = (left >= 0).then(|| server_ms.saturating_add(left));
            match kind.as_str() {
                "none" => glances.push((*index, Glance { seen: None, server_ms })),
                "string" | "hash" => {
                    let size = if kind == "hash" { HASH_BYTES } else { length.unwrap_or(0) };
                    if bytes + size > BYTES_AT_ONCE && !wanted.is_empty() {
                        self.values(master, link, server_ms, &mut wanted, &mut glances).await?;
                        bytes = 0;
                    }
                    bytes += size;
                    wanted.push(Wanted { index: *index, key, is_hash: kind == "hash", expires_at_ms });
                }
                _ => {
                    let seen = Some(Seen { held: Held::Other(kind), expires_at_ms });
                    glances.push((*index, Glance { seen, server_ms }));
                }
            }
        }
        self.values(master, link, server_ms, &mut wanted, &mut glances).await?;
        Ok(glances)
    }

    async fn values(
        &self,
        master: &str,
        link: &Rc<Link>,
        server_ms: i64,
        wanted: &mut Vec<Wanted<'_>>,
        glances: &mut Vec<(usize, Glance)>,
    ) -> Result<(), WorldError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let mut ask = Pipeline::new();
        for one in wanted.iter() {
            ask.cmd(if one.is_hash { "HGETALL" } else { "GET" }).arg(one.key);
        }
        for (reply, one) in link.send(&ask).await?.into_iter().zip(wanted.drain(..)) {
            let held = match checked(&reply) {
                // Another type by now, or gone: asked again by whoever finds a difference.
                Err(Fault::Refused(_)) | Ok(Reply::Nil) => None,
                Err(_) => return self.answered(master, Some(&reply)).map(drop),
                Ok(_) => held(reply),
            };
            let seen = held.map(|held| Seen { held, expires_at_ms: one.expires_at_ms });
            glances.push((one.index, Glance { seen, server_ms }));
        }
        Ok(())
    }

    /// A key that its slot's master does not have while the slot moves: whether it has arrived at the other one.
    async fn look_on_the_move(&self, address: &str, key: &[u8]) -> Result<Glance, WorldError> {
        let link = self.link(address).await?;
        let mut ask = Pipeline::new();
        ask.cmd("TIME").cmd("ASKING").cmd("TYPE").arg(key).cmd("ASKING").cmd("PTTL").arg(key);
        let replies = link.send(&ask).await?;
        let [server_ms, _, kind, _, left] = replies.as_slice() else { return Err(WorldError::Protocol) };
        let server_ms = time(self.answered(address, Some(server_ms))?).ok_or(WorldError::Protocol)?;
        let kind = type_name(self.answered(address, Some(kind))?);
        let left = int(self.answered(address, Some(left))?).ok_or(WorldError::Protocol)?;
        let expires_at_ms = (left >= 0).then(|| server_ms.saturating_add(left));
        let held = match kind.as_str() {
            "none" => None,
            "string" | "hash" => {
                let mut ask = Pipeline::new();
                ask.cmd("ASKING").cmd(if kind == "hash" { "HGETALL" } else { "GET" }).arg(key);
                let reply = link.send(&ask).await?.pop().ok_or(WorldError::Protocol)?;
                self.answered(address, Some(&reply))?;
                held(reply)
            }
            _ => Some(Held::Other(kind)),
        };
        Ok(Glance { seen: held.map(|held| Seen { held, expires_at_ms }), server_ms })
    }

    async fn page(
        &self,
        address: &str,
        cursor: &[u8],
        pattern: &[u8],
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>), WorldError> {
        let mut tries = 0;
        let reply = loop {
            let mut cmd = redis::cmd("SCAN");
            cmd.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
            let asked = match self.link(address).await {
                Ok(link) => self.call(&link, cmd).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(reply) => break reply,
                Err(error) => {
                    tries += 1;
                    if tries >= TRIES {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        };
        let Reply::Array(parts) = &reply else { return Err(WorldError::Protocol) };
        let [cursor, Reply::Array(keys)] = parts.as_slice() else { return Err(WorldError::Protocol) };
        let cursor = bytes_of(cursor).ok_or(WorldError::Protocol)?.to_vec();
        Ok((cursor, keys.iter().filter_map(bytes_of).map(<[u8]>::to_vec).collect()))
    }

    /// The reply, or what its error means for a look: a slot that moved is asked for where it is by then.
    fn answered<'r>(&self, master: &str, reply: Option<&'r Reply>) -> Result<&'r Reply, WorldError> {
        let reply = reply.ok_or(WorldError::Protocol)?;
        if let Err(Fault::Moved { slot, node }) = checked(reply) {
            return Err(self.moved(slot, &node, master));
        }
        checked_world(reply).inspect_err(|error| self.noticed(error))
    }
}

/// A value that is there, and is to be read.
struct Wanted<'k> {
    index: usize,
    key: &'k [u8],
    is_hash: bool,
    expires_at_ms: Option<i64>,
}

fn held(reply: Reply) -> Option<Held> {
    match reply {
        Reply::BulkString(bytes) => Some(Held::String(bytes)),
        Reply::Array(flat) if flat.is_empty() => None,
        Reply::Array(flat) => {
            let mut fields = BTreeMap::new();
            for pair in flat.chunks_exact(2) {
                if let [name, value] = pair {
                    fields.insert(bytes_of(name)?.to_vec(), bytes_of(value)?.to_vec());
                }
            }
            Some(Held::Hash(fields))
        }
        Reply::Map(pairs) => {
            let pair =
                |(name, value): (Reply, Reply)| Some((bytes_of(&name)?.to_vec(), bytes_of(&value)?.to_vec()));
            pairs.into_iter().map(pair).collect::<Option<BTreeMap<_, _>>>().map(Held::Hash)
        }
        _ => None,
    }
}

/// What `TYPE` answers.
fn type_name(reply: &Reply) -> String {
    String::from_utf8_lossy(bytes_of(reply).unwrap_or_default()).into_owned()
}

fn int(reply: &Reply) -> Option<i64> {
    match reply {
        Reply::Int(number) => Some(*number),
        _ => None,
    }
}

/// What `TIME` answers, Unix milliseconds.
fn time(reply: &Reply) -> Option<i64> {
    let Reply::Array(parts) = reply else { return None };
    let number = |index: usize| -> Option<i64> {
        std::str::from_utf8(bytes_of(parts.get(index)?)?).ok()?.parse().ok()
    };
    number(0)?.checked_mul(1_000)?.checked_add(number(1)? / 1_000)
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

    #[test]
    fn hashes_come_in_both_protocols() {
        let bulk = |text: &str| Reply::BulkString(text.into());
        let fields = Some(Held::Hash(BTreeMap::from([(b"a".to_vec(), b"1".to_vec())])));
        assert_eq!(held(Reply::Array(vec![bulk("a"), bulk("1")])), fields);
        assert_eq!(held(Reply::Map(vec![(bulk("a"), bulk("1"))])), fields);
        assert_eq!(held(Reply::Array(Vec::new())), None, "it is gone");
        assert_eq!(time(&Reply::Array(vec![bulk("12"), bulk("345678")])), Some(12_345));
    }
}
