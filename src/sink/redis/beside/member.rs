//! Taking back what was put of a member.
//!
//! A member has no expiry and often no value that would tell who added it, and one that is missing is a wrong answer,
//! where a missing key is a miss. So it is not simply removed: it is brought to what the newest change says of it.

use redis::Value as Reply;

use super::super::RedisSink;
use super::super::command::guarded;
use super::scripts::{GUARD_IF_REMEMBERED, PUT_RIGHT};
use super::send::world;
use super::{Fault, TakenBack};
use crate::batch::Step;
use crate::error::WorldError;
use crate::mutation::{CacheKey, Guard, MemberKind, Value};

/// A member that is to be put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutRight {
    /// Key and member.
    pub key: CacheKey,
    /// What was put there; `None` where it was removed since.
    pub put: Option<Value>,
    /// Present where it went through the version guard: then it is removed while that remembers just this write, and
    /// nothing else is done, for the guard keeps what is newer.
    pub guard: Option<Guard>,
    /// What the newest change says of it; `None` where it is no member.
    pub now: Option<Value>,
}

impl RedisSink {
    /// Brings these members to what the newest changes say, each while it is what was put there.
    pub async fn put_right(&self, members: &[PutRight]) -> Vec<Result<TakenBack, WorldError>> {
        let named: Vec<&[u8]> = members.iter().map(|it| it.key.as_bytes()).collect();
        let now_ms = self.clock.now().unix_ms;
        let replies = self
            .each_key(&named, &|index, offset_ms, out| {
                let Some(PutRight { key, put, guard, now }) = members.get(index) else { return };
                if let Some(guard) = guard {
                    let Guard { version, owner } = guard.clone();
                    let step = Step::DeleteOwned { version, owner };
                    let at_ms = now_ms.saturating_add(offset_ms);
                    return out.add(&guarded(&GUARD_IF_REMEMBERED, key, &[step], &self.own, None, at_ms));
                }
                let Some(member) = key.member() else { return };
                let mut cmd = PUT_RIGHT.call(&[key.as_bytes()]);
                cmd.arg(if member.kind == MemberKind::SortedSet { "z" } else { "s" }).arg(&*member.bytes);
                cmd.arg(told(put.as_ref())).arg(told(now.as_ref()));
                out.add(&cmd);
            })
            .await;
        let done = |reply: Result<Reply, Fault>| match reply.map_err(world)? {
            Reply::Int(1) => Ok(TakenBack::Deleted),
            Reply::Int(3) => Ok(TakenBack::Right),
            Reply::Int(_) => Ok(TakenBack::Other),
            _ => Err(WorldError::Protocol),
        };
        replies.into_iter().map(|(reply, _)| done(reply)).collect()
    }
}

/// A score; `in` for a member of a set, and nothing for what is none.
fn told(value: Option<&Value>) -> &[u8] {
    match value {
        Some(Value::Member { score: Some(score) }) => score,
        Some(_) => b"in",
        None => b"",
    }
}
