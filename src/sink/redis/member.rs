//! Commands of members: one command, or one script under the guard, for one member of a set or sorted set.
//!
//! Where the key holds another type, adding is refused (`WRONGTYPE`): no other row's members may be thrown away
//! for it. Removing finds nothing to remove, and is done.

use redis::{Cmd, Value as Reply};

use super::classify::Fault;
use crate::batch::Refusal;
use crate::mutation::{Member, MemberKind, Value};

/// Adds the member, or moves it to another score.
pub(super) fn add(key: &[u8], member: &Member, value: &Value) -> Cmd {
    let mut cmd = redis::cmd(command_to_add(member.kind));
    cmd.arg(key);
    if member.kind == MemberKind::SortedSet {
        cmd.arg(score(value));
    }
    cmd.arg(&*member.bytes);
    cmd
}

/// Adds the member where it is none yet; its score is left alone.
pub(super) fn add_if_absent(key: &[u8], member: &Member, value: &Value) -> Cmd {
    let mut cmd = redis::cmd(command_to_add(member.kind));
    cmd.arg(key);
    if member.kind == MemberKind::SortedSet {
        cmd.arg("NX").arg(score(value));
    }
    cmd.arg(&*member.bytes);
    cmd
}

/// Removes the member, if it is there.
pub(super) fn remove(key: &[u8], member: &Member) -> Cmd {
    let mut cmd = redis::cmd(command_to_remove(member.kind));
    cmd.arg(key).arg(&*member.bytes);
    cmd
}

/// What the guard's script is told first, where it speaks of a member: how it is added and removed, and its bytes.
pub(super) fn arg_member(cmd: &mut Cmd, member: &Member) {
    cmd.arg("m").arg(command_to_add(member.kind)).arg(command_to_remove(member.kind)).arg(&*member.bytes);
}

/// The score's text; empty for a member of a set, and for what is no member's value, which Redis then refuses as
/// a score.
pub(super) fn score(value: &Value) -> &[u8] {
    match value {
        Value::Member { score } => score.as_deref().unwrap_or_default(),
        Value::String { .. } | Value::Hash(_) => b"",
    }
}

/// What the reply to a removal means.
pub(super) fn removed(reply: Result<&Reply, Fault>) -> Result<(), Fault> {
    match reply {
        Ok(_) | Err(Fault::Refused(Refusal::WrongType)) => Ok(()),
        Err(fault) => Err(fault),
    }
}

fn command_to_add(kind: MemberKind) -> &'static str {
    match kind {
        MemberKind::Set => "SADD",
        MemberKind::SortedSet => "ZADD",
    }
}

fn command_to_remove(kind: MemberKind) -> &'static str {
    match kind {
        MemberKind::Set => "SREM",
        MemberKind::SortedSet => "ZREM",
    }
}
