//! Writes beside the lanes: of jobs that know no row's partition, such as a preload.
//!
//! Nothing orders them against the lanes. So they write only where nothing is, or say that they overwrite; guarded keys
//! go through the guard; and what was written can be taken back, as long as the key still holds it. The same
//! connections, fences and redirects as the lanes' batches; no watermark, no owner record. When to write and when to
//! take back is the job's to decide. Read [`RedisSink::put`] first.

mod member;
mod scripts;
mod send;

use redis::Value as Reply;
use sha1::{Digest as _, Sha1};
use smallvec::SmallVec;

pub use self::member::PutRight;
use self::scripts::{GUARD_IF_ABSENT, HELD, TAKE_BACK};
use self::send::world;
use super::RedisSink;
use super::classify::Fault;
use super::command::{bytes_of, encode, guarded};
use super::commands::Commands;
use super::scripts::GUARD;
use crate::batch::{Action, Refusal, Step, Unit};
use crate::error::WorldError;
use crate::mutation::{CacheKey, Expiry, Guard, Value};

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

impl Fingerprint {
    /// True where it is of a type that entities write; of others only the type is known.
    pub fn is_of_value(&self) -> bool {
        self.digest.len() == DIGEST_CHARS
    }
}

/// What became of taking one key back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenBack {
    /// It held that, and is deleted.
    Deleted,
    /// It holds something else.
    Other,
    /// A member is what the newest change says of it.
    Right,
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

/// Characters of a digest: a letter, and SHA-1 in hexadecimal.
const DIGEST_CHARS: usize = 41;

/// The digest of a value, the same as the server's scripts make of a whole key: `s` or `h` and 40 hexadecimal digits.
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
        // Members are told by themselves, see [`PutRight`].
        Value::Member { score } => format!("m{}", sha1_hex(&[score.as_deref().unwrap_or_default()])),
    }
}

fn sha1_hex(pieces: &[&[u8]]) -> String {
    let mut sha = Sha1::new();
    for piece in pieces {
        sha.update(piece);
    }
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl RedisSink {
    /// Writes these keys. One answer each, in their order; an error says that the write may or may not have been done,
    /// and doing it again is right.
    ///
    /// A key must not stand there twice.
    pub async fn put(&self, puts: &[Put], over: Over) -> Vec<Result<PutOutcome, WorldError>> {
        let keys: Vec<&[u8]> = puts.iter().map(|put| put.key.as_bytes()).collect();
        let now_ms = self.clock.now().unix_ms;
        let replies = self
            .each_key(&keys, &|index, offset_ms, out| {
                if let Some(put) = puts.get(index) {
                    self.put_command(put, over, now_ms.saturating_add(offset_ms), out);
                }
            })
            .await;
        puts.iter()
            .zip(replies)
            .map(|(put, (reply, offset_ms))| match reply {
                Ok(Reply::Int(-1)) if put.guard.is_some() => Ok(PutOutcome::Exists),
                Ok(Reply::Int(0)) if put.guard.is_some() => Ok(PutOutcome::Older),
                Ok(Reply::Nil | Reply::Int(0)) if over == Over::Nothing => Ok(PutOutcome::Exists),
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
        let replies = self
            .each_key(keys, &|index, _, out| {
                if let Some(key) = keys.get(index) {
                    out.add(&HELD.call(&[key]));
                }
            })
            .await;
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
            .each_key(&named, &|index, _, out| {
                let Some((key, held)) = keys.get(index) else { return };
                let mut cmd = TAKE_BACK.call(&[key.as_bytes()]);
                cmd.arg(&held.digest);
                match held.expires_at_ms {
                    Some(at_ms) => cmd.arg(at_ms),
                    None => cmd.arg(""),
                };
                out.add(&cmd);
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

    /// Adds the command of a write.
    fn put_command(&self, put: &Put, over: Over, now_ms: i64, out: &mut Commands) {
        let (key, value) = (&put.key, put.value.clone());
        if let Some(Guard { version, owner }) = put.guard.clone() {
            let script = if over == Over::Anything { &GUARD } else { &GUARD_IF_ABSENT };
            let step = Step::Write { version, owner, value, expiry: put.expiry };
            return out.add(&guarded(script, key, &[step], &self.own, None, now_ms));
        }
        let action = match over {
            Over::Anything => Action::Write(value, put.expiry),
            Over::Nothing => Action::WriteIfAbsent(value, put.expiry),
        };
        let unit = Unit { key: key.clone(), action, offsets: SmallVec::new(), entity: 0 };
        encode(&unit, &self.own, None, now_ms, out);
    }
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
