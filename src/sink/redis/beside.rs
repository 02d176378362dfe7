//! Writes beside the lanes: of jobs that know no row's partition, such as a preload.
//!
//! Nothing orders them against the lanes. So they write only where nothing is, or say that they overwrite; guarded keys
//! go through the guard; and what was written can be taken back, as long as the key still holds it. The same
//! connections, fences and redirects as the lanes' batches; no watermark, no owner record. When to write and when to
//! take back is the job's to decide. Read [`RedisSink::put`] first.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;

use futures_util::future::join_all;
use redis::{Cmd, Pipeline, Value as Reply};
use sha1::{Digest as _, Sha1};
use smallvec::smallvec;

use super::RedisSink;
use super::classify::Fault;
use super::cluster::resolve;
use super::command::{bytes_of, checked, encode};
use super::connect::Link;
use super::scripts::{GUARD, HASH_WRITE, Script};
use crate::batch::{Action, Refusal, Step, Unit};
use crate::error::{ServerCode, WorldError};
use crate::mutation::{CacheKey, Expiry, Guard, Value};
use crate::sink::own::TOMBSTONE_MS;
use crate::sink::slots::slot_of;

/// One write beside the lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The key.
    pub key: CacheKey,
    /// Its value.
    pub value: Value,
    /// How long it lives.
    pub expiry: Expiry,
    /// Present where the write goes through the version guard.
    pub guard: Option<Guard>,
}

/// Whether a write may replace what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// It writes only where nothing is.
    Nothing,
    /// It replaces what is there; where there is a guard, what that takes for older.
    Anything,
}

/// What became of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is written.
    Written {
        /// When it expires, Unix milliseconds by the server's clock; -1 for never.
        expires_at_ms: i64,
    },
    /// The key holds something, and is left alone.
    Exists,
    /// The guard knows something newer, or that the row was deleted.
    Older,
    /// Redis refuses this command for good.
    Refused(Refusal),
}

/// What a key holds, as far as it takes to see whether that changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// [`digest`] of the value.
    pub digest: String,
    /// When it expires, Unix milliseconds; -1 for never, `None` where the server cannot tell (before Redis 7.0).
    pub expires_at_ms: Option<i64>,
}

/// What became of taking one key back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenBack {
    /// It held that, and is deleted.
    Deleted,
    /// It holds something else.
    Other,
    /// It is gone.
    Gone,
}

/// How full a master is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLoad {
    /// `host:port`, or `unix:` and the path.
    pub address: String,
    /// Bytes in use.
    pub used_bytes: u64,
    /// `maxmemory`; 0 where there is no bound.
    pub max_bytes: u64,
    /// `maxmemory_policy`.
    pub policy: String,
    /// Keys that were evicted since the server started.
    pub evicted_keys: u64,
}

/// The digest of a value, the same as the server's scripts make: `s` or `h` and 40 hexadecimal digits.
pub fn digest(value: &Value) -> String {
    match value {
        Value::String { bytes, .. } => format!("s{}", sha1_hex(&[bytes])),
        Value::Hash(fields) => {
            let mut parts: Vec<String> = fields
                .iter()
                .map(|(name, value)| sha1_hex(&[name.len().to_string().as_bytes(), b":", name, value]))
                .collect();
            parts.sort_unstable();
            format!("h{}", sha1_hex(&[parts.concat().as_bytes()]))
        }
    }
}

fn sha1_hex(pieces: &[&[u8]]) -> String {
    let mut sha = Sha1::new();
    for piece in pieces {
        sha.update(piece);
    }
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tells what a key holds: `digest` and `expires_at`. A hash's fields are told apart by sorting their digests, which
/// every collation of the server's sorts alike. Reading a string as text costs its length.
const FINGERPRINT: &str = r"
local function fingerprint(key)
  local kind = redis.call('TYPE', key).ok
  local digest = kind
  if kind == 'string' then
    digest = 's' .. redis.sha1hex(redis.call('GET', key))
  elseif kind == 'hash' then
    local flat, parts = redis.call('HGETALL', key), {}
    for i = 1, #flat, 2 do
      parts[#parts + 1] = redis.sha1hex(#flat[i] .. ':' .. flat[i] .. flat[i + 1])
    end
    table.sort(parts)
    digest = 'h' .. redis.sha1hex(table.concat(parts))
  end
  local expires_at = redis.pcall('PEXPIRETIME', key)
  if type(expires_at) ~= 'number' then expires_at = '' end
  return digest, tostring(expires_at)
end
";

/// `KEYS`: key. Returns digest and expiry, which is empty where the server cannot tell it; nothing where there is no
/// such key.
static HELD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{FINGERPRINT}
local digest, expires_at = fingerprint(KEYS[1])
if digest == 'none' then return {{}} end
return {{digest, expires_at}}
"
    ))
});

/// Deletes a key while it holds that. `KEYS`: key. `ARGV`: digest, expiry or nothing. Returns 1 where it was deleted,
/// 0 where it holds something else, 2 where it is gone.
static TAKE_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{FINGERPRINT}
local digest, expires_at = fingerprint(KEYS[1])
if digest == 'none' then return 2 end
if digest ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' and expires_at ~= '' and expires_at ~= ARGV[2] then return 0 end
redis.call('UNLINK', KEYS[1])
return 1
"
    ))
});

/// The same script, for a key that is not there; returns -1 where it is.
fn if_absent(script: &Script) -> Script {
    Script::of_source(format!(
        "if redis.call('EXISTS', KEYS[1]) == 1 then return -1 end\n{}",
        script.source()
    ))
}

static HASH_WRITE_IF_ABSENT: LazyLock<Script> = LazyLock::new(|| if_absent(&HASH_WRITE));
static GUARD_IF_ABSENT: LazyLock<Script> = LazyLock::new(|| if_absent(&GUARD));

impl RedisSink {
    /// Writes these keys. One answer each, in their order; an error says that the write may or may not have been done,
    /// and doing it again is right.
    ///
    /// A key must not stand there twice.
    pub async fn put(&self, puts: &[Put], over: Over) -> Vec<Result<PutOutcome, WorldError>> {
        let keys: Vec<&[u8]> = puts.iter().map(|put| put.key.as_bytes()).collect();
        let now_ms = self.clock.now().unix_ms;
        let replies = self
            .each_key(&keys, &|index, offset_ms| {
                let put = puts.get(index)?;
                self.put_command(put, over, now_ms.saturating_add(offset_ms))
            })
            .await;
        puts.iter()
            .zip(replies)
            .map(|(put, (reply, offset_ms))| match reply {
                Ok(Reply::Nil | Reply::Int(-1)) => Ok(PutOutcome::Exists),
                Ok(Reply::Int(0)) if put.guard.is_some() => Ok(PutOutcome::Older),
                Ok(_) => {
                    let at_ms = put.expiry.at(now_ms.saturating_add(offset_ms));
                    Ok(PutOutcome::Written { expires_at_ms: at_ms.map_or(-1, |at_ms| at_ms.max(1)) })
                }
                Err(Fault::Refused(refusal)) => Ok(PutOutcome::Refused(refusal)),
                Err(Fault::World(error)) => Err(error),
                Err(Fault::Moved { .. } | Fault::Ask { .. }) => Err(WorldError::Redirected),
            })
            .collect()
    }

    /// What these keys hold; `None` where a key is not there.
    pub async fn fingerprints(&self, keys: &[&[u8]]) -> Vec<Result<Option<Fingerprint>, WorldError>> {
        let replies = self.each_key(keys, &|index, _| Some(HELD.call(&[keys.get(index)?]))).await;
        let held = |reply: Result<Reply, Fault>| match reply.map_err(world)? {
            Reply::Array(parts) if parts.is_empty() => Ok(None),
            Reply::Array(parts) => {
                let text = |index: usize| {
                    let bytes = parts.get(index).and_then(bytes_of)?;
                    std::str::from_utf8(bytes).ok()
                };
                let digest = text(0).ok_or(WorldError::Protocol)?.to_owned();
                Ok(Some(Fingerprint { digest, expires_at_ms: text(1).and_then(|at| at.parse().ok()) }))
            }
            _ => Err(WorldError::Protocol),
        };
        replies.into_iter().map(|(reply, _)| held(reply)).collect()
    }

    /// Deletes these keys, each only while it holds that. Where the expiry is told and the server can tell its own,
    /// that must be the same too, so that the same value that somebody else wrote stays.
    pub async fn take_back(&self, keys: &[(CacheKey, Fingerprint)]) -> Vec<Result<TakenBack, WorldError>> {
        let named: Vec<&[u8]> = keys.iter().map(|(key, _)| key.as_bytes()).collect();
        let replies = self
            .each_key(&named, &|index, _| {
                let (key, held) = keys.get(index)?;
                let mut cmd = TAKE_BACK.call(&[key.as_bytes()]);
                cmd.arg(&held.digest);
                match held.expires_at_ms {
                    Some(at_ms) => cmd.arg(at_ms),
                    None => cmd.arg(""),
                };
                Some(cmd)
            })
            .await;
        let taken = |reply: Result<Reply, Fault>| match reply.map_err(world)? {
            Reply::Int(1) => Ok(TakenBack::Deleted),
            Reply::Int(0) => Ok(TakenBack::Other),
            Reply::Int(2) => Ok(TakenBack::Gone),
            _ => Err(WorldError::Protocol),
        };
        replies.into_iter().map(|(reply, _)| taken(reply)).collect()
    }

    /// How full every master is.
    ///
    /// # Errors
    /// The first master that cannot be asked.
    pub async fn loads(&self) -> Result<Vec<NodeLoad>, WorldError> {
        self.refresh_if_stale().await?;
        let mut loads = Vec::new();
        for (address, link) in self.links(self.map().masters()).await {
            let link = link?;
            let mut info = String::new();
            for section in ["memory", "stats"] {
                let mut cmd = redis::cmd("INFO");
                cmd.arg(section);
                let reply = self.call(&link, cmd).await?;
                info.push_str(&String::from_utf8_lossy(bytes_of(&reply).unwrap_or_default()));
            }
            let field = |name: &str| info.lines().find_map(|line| line.trim().strip_prefix(name));
            let number = |name: &str| field(name).and_then(|text| text.parse().ok()).unwrap_or(0);
            loads.push(NodeLoad {
                address,
                used_bytes: number("used_memory:"),
                max_bytes: number("maxmemory:"),
                policy: field("maxmemory_policy:").unwrap_or_default().to_owned(),
                evicted_keys: number("evicted_keys:"),
            });
        }
        Ok(loads)
    }

    /// The addresses of the masters.
    ///
    /// # Errors
    /// The map of a cluster cannot be had.
    pub async fn masters(&self) -> Result<Vec<String>, WorldError> {
        self.refresh_if_stale().await?;
        Ok(self.map().masters().map(str::to_owned).collect())
    }

    /// Some of a master's keys that begin with `prefix`: the next cursor (0: that was the last part) and the keys.
    /// Keys may come more than once. `cursor` begins with 0.
    ///
    /// # Errors
    /// The master cannot be asked; the same cursor may be asked for again.
    pub async fn scan(
        &self,
        master: &str,
        cursor: u64,
        prefix: &str,
        count: usize,
    ) -> Result<(u64, Vec<Vec<u8>>), WorldError> {
        let link = self.link(master).await?;
        let mut cmd = redis::cmd("SCAN");
        cmd.arg(cursor).arg("MATCH").arg(format!("{}*", glob_literal(prefix))).arg("COUNT").arg(count);
        let reply = self.call(&link, cmd).await?;
        let Reply::Array(parts) = reply else { return Err(WorldError::Protocol) };
        let [next, Reply::Array(keys)] = parts.as_slice() else { return Err(WorldError::Protocol) };
        let next = bytes_of(next).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let keys = keys.iter().filter_map(bytes_of).map(<[u8]>::to_vec).collect();
        Ok((next.ok_or(WorldError::Protocol)?, keys))
    }

    /// The command of a write; `None` for a value that cannot be written so.
    fn put_command(&self, put: &Put, over: Over, now_ms: i64) -> Option<Cmd> {
        let key = put.key.as_bytes();
        if over == Over::Anything {
            let action = match &put.guard {
                None => Action::Write(put.value.clone(), put.expiry),
                Some(Guard { version, owner }) => Action::Guarded(smallvec![Step::Write {
                    version: version.clone(),
                    owner: owner.clone(),
                    value: put.value.clone(),
                    expiry: put.expiry,
                }]),
            };
            let unit = Unit { key: put.key.clone(), action, offsets: smallvec![], entity: 0 };
            return Some(encode(&unit, &self.own, now_ms));
        }
        let expires_at = put.expiry.at(now_ms).map(|at_ms| at_ms.max(1));
        if let Some(guard) = &put.guard {
            let side = self.own.side(key);
            let mut cmd = GUARD_IF_ABSENT.call(&[key, &side]);
            let side_expires_at = expires_at.map(|at_ms| at_ms.max(now_ms).saturating_add(TOMBSTONE_MS));
            cmd.arg("w").arg(guard.version.as_bytes()).arg(guard.owner.as_bytes());
            arg_or_empty(&mut cmd, side_expires_at);
            arg_or_empty(&mut cmd, expires_at);
            if let Value::String { bytes, .. } = &put.value {
                cmd.arg("s").arg(bytes.as_slice());
            } else if let Value::Hash(fields) = &put.value {
                cmd.arg("h").arg(fields.len());
                for (name, value) in fields {
                    cmd.arg(name.as_slice()).arg(value.as_slice());
                }
            } else {
                return None;
            }
            return Some(cmd);
        }
        if let Value::String { bytes, .. } = &put.value {
            let mut cmd = Cmd::with_capacity(6, key.len() + bytes.len() + 44);
            cmd.arg("SET").arg(key).arg(bytes.as_slice()).arg("NX");
            if let Some(at_ms) = expires_at {
                cmd.arg("PXAT").arg(at_ms);
            }
            return Some(cmd);
        }
        if let Value::Hash(fields) = &put.value {
            let mut cmd = HASH_WRITE_IF_ABSENT.call(&[key]);
            arg_or_empty(&mut cmd, expires_at);
            for (name, value) in fields {
                cmd.arg(name.as_slice()).arg(value.as_slice());
            }
            return Some(cmd);
        }
        None
    }

    /// Sends one command a key to where its slot is served: one pipeline a master. An answer is the reply, or what its
    /// error means, with the server's clock less ours. `build` gets the index and that offset; where it gives none,
    /// the command counts as refused.
    async fn each_key(
        &self,
        keys: &[&[u8]],
        build: &dyn Fn(usize, i64) -> Option<Cmd>,
    ) -> Vec<(Result<Reply, Fault>, i64)> {
        let mut answers: Vec<(Result<Reply, Fault>, i64)> =
            keys.iter().map(|_| (Err(Fault::Refused(Refusal::Command)), 0)).collect();
        if let Err(error) = self.refresh_if_stale().await {
            answers.iter_mut().for_each(|answer| answer.0 = Err(Fault::World(error.clone())));
            return answers;
        }
        let map = self.map();
        let mut parts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, key) in keys.iter().enumerate() {
            match map.master_of(slot_of(key)) {
                Some(master) => parts.entry(master).or_default().push(index),
                None => {
                    let error = WorldError::NotNow { code: ServerCode::ClusterDown };
                    self.noticed(&error);
                    set(&mut answers, index, Err(Fault::World(error)), 0);
                }
            }
        }
        let sending = parts.into_iter().map(|(address, indices)| async move {
            let offset_ms = |sink: &RedisSink| sink.node(address).clock_offset_ms();
            match self.link(address).await {
                Ok(link) => {
                    let offset_ms = offset_ms(self);
                    let replies = self.send_keys(address, &link, &indices, offset_ms, build).await;
                    (indices, replies, offset_ms)
                }
                Err(error) => {
                    let failed = indices.iter().map(|_| Err(Fault::World(error.clone()))).collect();
                    (indices, failed, 0)
                }
            }
        });
        for (indices, replies, offset_ms) in join_all(sending).await {
            for (index, reply) in indices.into_iter().zip(replies) {
                set(&mut answers, index, reply, offset_ms);
            }
        }
        answers
    }

    async fn send_keys(
        &self,
        address: &str,
        link: &Rc<Link>,
        indices: &[usize],
        offset_ms: i64,
        build: &dyn Fn(usize, i64) -> Option<Cmd>,
    ) -> Vec<Result<Reply, Fault>> {
        let mut replies: Vec<Result<Reply, Fault>> =
            indices.iter().map(|_| Err(Fault::Refused(Refusal::Command))).collect();
        // Places that are open. Twice: what finds its script lost is sent again once they are loaded.
        let mut open: Vec<usize> = (0..indices.len()).collect();
        for attempt in 0..2 {
            let mut pipeline = Pipeline::with_capacity(open.len());
            open.retain(|place| match indices.get(*place).and_then(|index| build(*index, offset_ms)) {
                Some(cmd) => {
                    pipeline.add_command(cmd);
                    true
                }
                None => false,
            });
            if open.is_empty() {
                break;
            }
            let answered = match link.send(&pipeline).await {
                Ok(answered) => answered,
                Err(error) => {
                    self.noticed(&error);
                    for place in open {
                        put(&mut replies, place, Err(Fault::World(error.clone())));
                    }
                    return replies;
                }
            };
            let mut lost = Vec::new();
            for (place, reply) in open.into_iter().zip(answered) {
                match checked(&reply).map(|_| ()) {
                    Ok(()) => put(&mut replies, place, Ok(reply)),
                    Err(Fault::World(WorldError::NoScript)) if attempt == 0 => lost.push(place),
                    Err(Fault::Ask { node }) => {
                        let cmd = indices.get(place).and_then(|index| build(*index, offset_ms));
                        if let Some(cmd) = cmd {
                            put(&mut replies, place, self.ask(&resolve(&node, address), cmd).await);
                        }
                    }
                    Err(fault) => put(&mut replies, place, Err(self.taken_in(fault, address, link))),
                }
            }
            open = lost;
            if !open.is_empty()
                && let Err(error) = self.load_beside(link).await
            {
                for place in open {
                    put(&mut replies, place, Err(Fault::World(error.clone())));
                }
                break;
            }
        }
        replies
    }

    /// What an error says about the map and the connection.
    fn taken_in(&self, fault: Fault, address: &str, link: &Link) -> Fault {
        match fault {
            Fault::Moved { slot, node } => Fault::World(self.moved(slot, &node, address)),
            Fault::World(error) => {
                self.noticed(&error);
                if let WorldError::NotNow { code: ServerCode::ReadOnly | ServerCode::Auth } = error {
                    link.give_up();
                }
                Fault::World(error)
            }
            other => other,
        }
    }

    /// Sends one command to where its slot is going.
    async fn ask(&self, address: &str, cmd: Cmd) -> Result<Reply, Fault> {
        let link = self.link(address).await.map_err(Fault::World)?;
        self.load_beside(&link).await.map_err(Fault::World)?;
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ASKING");
        pipeline.add_command(cmd);
        let reply = link.send(&pipeline).await.map_err(Fault::World)?.pop();
        let reply = reply.ok_or(Fault::World(WorldError::Protocol))?;
        checked(&reply).map(|_| ()).map(|()| reply.clone())
    }

    async fn load_beside(&self, link: &Link) -> Result<(), WorldError> {
        self.load_scripts(link).await?;
        let mut pipeline = Pipeline::new();
        for script in [&HELD, &TAKE_BACK, &HASH_WRITE_IF_ABSENT, &GUARD_IF_ABSENT] {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(script.source());
        }
        for reply in link.send(&pipeline).await? {
            checked(&reply).map_err(world)?;
        }
        Ok(())
    }
}

fn set(
    answers: &mut [(Result<Reply, Fault>, i64)],
    index: usize,
    reply: Result<Reply, Fault>,
    offset_ms: i64,
) {
    if let Some(answer) = answers.get_mut(index) {
        *answer = (reply, offset_ms);
    }
}

fn put(replies: &mut [Result<Reply, Fault>], place: usize, reply: Result<Reply, Fault>) {
    if let Some(slot) = replies.get_mut(place) {
        *slot = reply;
    }
}

fn world(fault: Fault) -> WorldError {
    match fault {
        Fault::World(error) => error,
        Fault::Moved { .. } | Fault::Ask { .. } => WorldError::Redirected,
        Fault::Refused(_) => WorldError::Protocol,
    }
}

fn arg_or_empty(cmd: &mut Cmd, at_ms: Option<i64>) {
    match at_ms {
        Some(at_ms) => cmd.arg(at_ms),
        None => cmd.arg(""),
    };
}

/// A text as a pattern of Redis's that matches only itself.
fn glob_literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_values_apart_whatever_the_order_of_a_hash() {
        let hash = |fields: &[(&str, &str)]| {
            let owned =
                fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
            digest(&Value::Hash(owned.collect()))
        };
        assert_eq!(digest(&Value::text("a")), "s86f7e437faa5a7fce15d1ddcb9eaeaea377667b8");
        assert_eq!(hash(&[("a", "1"), ("b", "2")]), hash(&[("b", "2"), ("a", "1")]));
        assert_ne!(hash(&[("a", "1"), ("b", "2")]), hash(&[("a", "2"), ("b", "1")]));
        assert_ne!(hash(&[("a", "bc")]), hash(&[("ab", "c")]));
    }

    #[test]
    fn a_prefix_is_taken_letter_by_letter() {
        assert_eq!(glob_literal("a*[b]:{x}\\"), "a\\*\\[b\\]:{x}\\\\");
    }
}
