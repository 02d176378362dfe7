//! Looks at cache keys and members: what they hold and for how long, on one server or a cluster. Writes nothing.
//!
//! For what compares or explains; no lane goes through here. Needs `STRLEN PTTL SISMEMBER ZSCORE` beside what the sink
//! needs. Start at [`RedisSink::look`].

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::rc::Rc;

use redis::{Cmd, Value as Reply};

use super::RedisSink;
use super::classify::Fault;
use super::cluster::resolve;
use super::command::{bytes_of, checked, checked_world};
use super::commands::Commands;
use super::connect::Link;
use super::reader::Held;
use crate::error::{ServerCode, WorldError};
use crate::mutation::{CacheKey, Member, MemberKind};
use crate::sink::slots::slot_of;

/// Bytes of strings that one pipeline asks for; a larger one comes alone.
const BYTES_AT_ONCE: usize = 8 << 20;
/// What a hash is counted as towards that: its size would cost another command.
const HASH_BYTES: usize = 4 << 10;

/// What a key, or a member of one, holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its value.
    pub held: Held,
    /// When it expires, Unix milliseconds by its server's clock; `None` where it never does. A member's is its key's.
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

impl RedisSink {
    /// What these keys and members hold, in their order; a few hundred at a time. Read in two steps: a key that is
    /// written meanwhile may show a value and the expiry of the one before it.
    ///
    /// # Errors
    /// Of the world. A key whose slot is on the move is [`WorldError::Redirected`]: ask again.
    pub async fn look<K: Borrow<CacheKey>>(&self, keys: &[K]) -> Result<Vec<Glance>, WorldError> {
        self.refresh_if_stale().await?;
        let map = self.map();
        let mut by_master: BTreeMap<&str, Vec<(usize, &CacheKey)>> = BTreeMap::new();
        for (index, key) in keys.iter().enumerate() {
            let key = key.borrow();
            let master = map
                .master_of(slot_of(key.as_bytes()))
                .ok_or(WorldError::NotNow { code: ServerCode::ClusterDown })?;
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

    async fn look_at(
        &self,
        master: &str,
        link: &Rc<Link>,
        keys: &[(usize, &CacheKey)],
    ) -> Result<Vec<(usize, Glance)>, WorldError> {
        let mut ask = Commands::one(&redis::cmd("TIME"));
        for (_, key) in keys {
            let bytes = key.as_bytes();
            ask.add(redis::cmd("TYPE").arg(bytes));
            ask.add(redis::cmd("PTTL").arg(bytes));
            match key.member() {
                Some(member) => ask.add(&find(bytes, member)),
                None => ask.add(redis::cmd("STRLEN").arg(bytes)),
            }
        }
        let replies = link.send(ask).await?;
        let mut replies = replies.iter();
        let server_ms = time(self.answered(master, replies.next())?).ok_or(WorldError::Protocol)?;
        let mut glances = Vec::with_capacity(keys.len());
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        let mut bytes = 0;
        for (index, key) in keys {
            let (kind, left, third) = (replies.next(), replies.next(), replies.next());
            if let Some(Err(Fault::Ask { node })) = kind.map(checked) {
                glances.push((*index, self.look_on_the_move(&resolve(&node, master), key).await?));
                continue;
            }
            let kind = type_name(self.answered(master, kind)?);
            let left = int(self.answered(master, left)?).ok_or(WorldError::Protocol)?;
            // -2: the key is gone. -1: it never expires.
            let expires_at_ms = (left >= 0).then(|| server_ms.saturating_add(left));
            if let Some(member) = key.member() {
                let held = match third.map(checked) {
                    // Of another type.
                    Some(Err(Fault::Refused(_))) => None,
                    _ => member_held(member, self.answered(master, third)?),
                };
                let held = unless_no_set(&kind, member, held);
                let seen = held.map(|held| Seen { held, expires_at_ms });
                glances.push((*index, Glance { seen, server_ms }));
                continue;
            }
            // Of another type than a string this is an error, and not needed.
            let length = third.and_then(int).and_then(|length| usize::try_from(length).ok());
            match kind.as_str() {
                "none" => glances.push((*index, Glance { seen: None, server_ms })),
                "string" | "hash" => {
                    let size = if kind == "hash" { HASH_BYTES } else { length.unwrap_or(0) };
                    if bytes + size > BYTES_AT_ONCE && !wanted.is_empty() {
                        self.values(master, link, server_ms, &mut wanted, &mut glances).await?;
                        bytes = 0;
                    }
                    bytes += size;
                    let is_hash = kind == "hash";
                    wanted.push(Wanted { index: *index, key: key.as_bytes(), is_hash, expires_at_ms });
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
        let mut ask = Commands::default();
        for one in wanted.iter() {
            ask.add(&get(one.key, one.is_hash));
        }
        for (reply, one) in link.send(ask).await?.into_iter().zip(wanted.drain(..)) {
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
    async fn look_on_the_move(&self, address: &str, key: &CacheKey) -> Result<Glance, WorldError> {
        let link = self.link(address).await?;
        let (key, member) = (key.as_bytes(), key.member());
        let mut ask = Commands::one(&redis::cmd("TIME"));
        ask.add_asking(redis::cmd("TYPE").arg(key));
        ask.add_asking(redis::cmd("PTTL").arg(key));
        let replies = link.send(ask).await?;
        let [server_ms, _, kind, _, left] = replies.as_slice() else { return Err(WorldError::Protocol) };
        let server_ms = time(self.answered(address, Some(server_ms))?).ok_or(WorldError::Protocol)?;
        let kind = type_name(self.answered(address, Some(kind))?);
        let left = int(self.answered(address, Some(left))?).ok_or(WorldError::Protocol)?;
        let expires_at_ms = (left >= 0).then(|| server_ms.saturating_add(left));
        let held = match kind.as_str() {
            kind if let Some(member) = member => {
                let mut ask = Commands::default();
                ask.add_asking(&find(key, member));
                let reply = link.send(ask).await?.pop().ok_or(WorldError::Protocol)?;
                let held = match checked(&reply) {
                    Err(Fault::Refused(_)) => None,
                    _ => member_held(member, self.answered(address, Some(&reply))?),
                };
                unless_no_set(kind, member, held)
            }
            "none" => None,
            "string" | "hash" => {
                let mut ask = Commands::default();
                ask.add_asking(&get(key, kind == "hash"));
                let reply = link.send(ask).await?.pop().ok_or(WorldError::Protocol)?;
                self.answered(address, Some(&reply))?;
                held(reply)
            }
            _ => Some(Held::Other(kind)),
        };
        Ok(Glance { seen: held.map(|held| Seen { held, expires_at_ms }), server_ms })
    }

    /// The reply, or what its error means for a look: a slot that moved is asked for where it is by then.
    pub(super) fn answered<'r>(
        &self,
        master: &str,
        reply: Option<&'r Reply>,
    ) -> Result<&'r Reply, WorldError> {
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

/// Asks for a whole value.
fn get(key: &[u8], is_hash: bool) -> Cmd {
    let mut cmd = redis::cmd(if is_hash { "HGETALL" } else { "GET" });
    cmd.arg(key);
    cmd
}

/// Asks for a member.
fn find(key: &[u8], member: &Member) -> Cmd {
    let mut cmd = redis::cmd(match member.kind {
        MemberKind::Set => "SISMEMBER",
        MemberKind::SortedSet => "ZSCORE",
    });
    cmd.arg(key).arg(&*member.bytes);
    cmd
}

/// What the reply to [`find`] says; `None` where there is no such member.
fn member_held(member: &Member, reply: &Reply) -> Option<Held> {
    match (member.kind, reply) {
        (MemberKind::Set, Reply::Int(1)) => Some(Held::Member(None)),
        (MemberKind::SortedSet, Reply::Double(score)) => {
            Some(Held::Member(Some(score.to_string().into_bytes())))
        }
        (MemberKind::SortedSet, reply) => bytes_of(reply).map(|text| Held::Member(Some(text.to_vec()))),
        (MemberKind::Set, _) => None,
    }
}

/// What was found of a member, or that a key of that type has no such members.
fn unless_no_set(kind: &str, member: &Member, held: Option<Held>) -> Option<Held> {
    let fits = match member.kind {
        MemberKind::Set => "set",
        MemberKind::SortedSet => "zset",
    };
    if kind == fits || kind == "none" { held } else { Some(Held::NoSet(kind.to_owned())) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_come_in_both_protocols() {
        let bulk = |text: &str| Reply::BulkString(text.into());
        let fields = Some(Held::Hash(BTreeMap::from([(b"a".to_vec(), b"1".to_vec())])));
        assert_eq!(held(Reply::Array(vec![bulk("a"), bulk("1")])), fields);
        assert_eq!(held(Reply::Map(vec![(bulk("a"), bulk("1"))])), fields);
        assert_eq!(held(Reply::Array(Vec::new())), None, "it is gone");
        assert_eq!(time(&Reply::Array(vec![bulk("12"), bulk("345678")])), Some(12_345));
    }

    #[test]
    fn a_member_is_there_with_its_score_or_not_or_its_key_is_no_set() {
        let of = |kind| Member { kind, bytes: b"m"[..].into() };
        let (set, sorted) = (of(MemberKind::Set), of(MemberKind::SortedSet));
        let score = |text: &str| Some(Held::Member(Some(text.into())));
        for (member, reply, held) in [
            (&set, Reply::Int(1), Some(Held::Member(None))),
            (&set, Reply::Int(0), None),
            (&sorted, Reply::Nil, None),
            (&sorted, Reply::BulkString(b"1e+17".to_vec()), score("1e+17")),
            (&sorted, Reply::Double(0.1), score("0.1")),
            (&sorted, Reply::Double(f64::NEG_INFINITY), score("-inf")),
        ] {
            assert_eq!(member_held(member, &reply), held, "{reply:?}");
        }
        assert_eq!(unless_no_set("set", &sorted, None), Some(Held::NoSet("set".into())));
        assert_eq!(unless_no_set("zset", &sorted, None), None);
        assert_eq!(unless_no_set("none", &set, None), None);
    }
}
