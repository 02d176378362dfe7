//! One unit as one command, and what its reply means.
//!
//! A string's write is a plain `SET … PXAT`, a delete is `UNLINK`, a member's are those of [`super::member`];
//! everything else is a script, so that each unit stays atomic and can be sent again by itself.

use redis::{Cmd, Value as Reply};

use super::classify::{Fault, classify};
use super::commands::Commands;
use super::member;
use super::scripts::{DELETE_IF, GUARD, GUARD_PATCH, HASH_WRITE, HASH_WRITE_IF_ABSENT, PATCH, Script};
use crate::batch::{Action, Outcome, PatchStep, Step, Unit};
use crate::error::WorldError;
use crate::mutation::{CacheKey, Expiry, Value};
use crate::patch::{Others, Patch, PatchShape, Told};
use crate::sink::Rewrite;
use crate::sink::own::{OwnKeys, TOMBSTONE_MS};

/// Encodes one unit, as one command behind the others.
///
/// `sealed_at_ms` is by the *server's* clock: what relative expiries and tombstones count from.
pub(super) fn encode(
    unit: &Unit,
    own: &OwnKeys,
    rewrite: Option<&Rewrite>,
    sealed_at_ms: i64,
    out: &mut Commands,
) {
    let key = unit.key.as_bytes();
    let cmd = match &unit.action {
        Action::Write(value, _) if let Some(of) = unit.key.member() => member::add(key, of, value),
        Action::WriteIfAbsent(value, _) if let Some(of) = unit.key.member() => {
            member::add_if_absent(key, of, value)
        }
        Action::Write(Value::String { bytes, .. }, expiry) => {
            return out.add_set(key, bytes, expires_at(*expiry, sealed_at_ms), false);
        }
        Action::WriteIfAbsent(Value::String { bytes, .. }, expiry) => {
            return out.add_set(key, bytes, expires_at(*expiry, sealed_at_ms), true);
        }
        Action::Write(Value::Hash(fields), expiry) => {
            write_hash(&HASH_WRITE, key, fields, *expiry, sealed_at_ms)
        }
        Action::WriteIfAbsent(Value::Hash(fields), expiry) => {
            write_hash(&HASH_WRITE_IF_ABSENT, key, fields, *expiry, sealed_at_ms)
        }
        // No key is given a member's value (`Values::defect`): a command without a member is refused.
        Action::Write(Value::Member { .. }, _) | Action::WriteIfAbsent(Value::Member { .. }, _) => {
            let mut cmd = redis::cmd("SADD");
            cmd.arg(key);
            cmd
        }
        Action::Delete => return delete(&unit.key, out),
        Action::DeleteIf(values) => {
            let mut cmd = DELETE_IF.call(&[key]);
            for value in values {
                arg_value(&mut cmd, value);
            }
            cmd
        }
        Action::Patch(steps) => {
            let mut cmd = PATCH.call(&[key]);
            for step in steps {
                match step {
                    PatchStep::Overlay(patch, expiry) => {
                        cmd.arg("p");
                        arg_patch(&mut cmd, patch, expires_at(*expiry, sealed_at_ms));
                    }
                    PatchStep::DeleteIf(value) => {
                        cmd.arg("i");
                        arg_value(&mut cmd, value);
                    }
                }
            }
            cmd
        }
        Action::Guarded(steps) => {
            let patches = steps.iter().any(|step| matches!(step, Step::Patch { .. }));
            let script = if patches { &GUARD_PATCH } else { &GUARD };
            guarded(script, &unit.key, steps, own, rewrite, sealed_at_ms)
        }
    };
    out.add(&cmd);
}

/// Steps through a script that takes the arguments of [`GUARD`].
pub(super) fn guarded(
    script: &Script,
    key: &CacheKey,
    steps: &[Step],
    own: &OwnKeys,
    rewrite: Option<&Rewrite>,
    sealed_at_ms: i64,
) -> Cmd {
    let mut cmd = script.call(&[key.as_bytes(), &own.side_of(key)]);
    cmd.arg(rewrite.map_or("", Rewrite::as_str));
    if let Some(of) = key.member() {
        member::arg_member(&mut cmd, of);
    }
    arg_steps(&mut cmd, steps, sealed_at_ms);
    cmd
}

fn write_hash(
    script: &Script,
    key: &[u8],
    fields: &[(Vec<u8>, Vec<u8>)],
    expiry: Expiry,
    sealed_at_ms: i64,
) -> Cmd {
    let mut cmd = script.call(&[key]);
    arg_expiry(&mut cmd, expires_at(expiry, sealed_at_ms));
    arg_fields(&mut cmd, fields);
    cmd
}

/// Asks for nothing: stands in the place of a command that is not sent, so that every unit has its reply.
pub(super) fn nothing(key: &[u8], out: &mut Commands) {
    out.add(redis::cmd("TYPE").arg(key));
}

/// Deletes a key, whatever it holds; removes a member.
pub(super) fn delete(key: &CacheKey, out: &mut Commands) {
    match key.member() {
        Some(of) => out.add(&member::remove(key.as_bytes(), of)),
        None => out.add_unlink(key.as_bytes()),
    }
}

fn arg_steps(cmd: &mut Cmd, steps: &[Step], sealed_at_ms: i64) {
    for step in steps {
        match step {
            Step::Write { version, owner, value, expiry } => {
                let expires_at = expires_at(*expiry, sealed_at_ms);
                cmd.arg("w").arg(version.as_bytes()).arg(owner.as_bytes());
                arg_expiry(cmd, side_expires_at(expires_at, sealed_at_ms));
                arg_expiry(cmd, expires_at);
                arg_value(cmd, value);
            }
            Step::DeleteOwned { version, owner } => {
                let letter = if version.is_none() { "t" } else { "d" };
                cmd.arg(letter).arg(version.as_bytes()).arg(owner.as_bytes());
                cmd.arg(sealed_at_ms.saturating_add(TOMBSTONE_MS)).arg("o").arg("");
            }
            Step::Patch { version, owner, patch, expiry } => {
                let expires_at = expires_at(*expiry, sealed_at_ms);
                let letter = if version.is_none() { "q" } else { "p" };
                cmd.arg(letter).arg(version.as_bytes()).arg(owner.as_bytes());
                arg_expiry(cmd, side_expires_at(expires_at, sealed_at_ms));
                cmd.arg(sealed_at_ms.saturating_add(TOMBSTONE_MS));
                arg_patch(cmd, patch, expires_at);
            }
            Step::Delete { version, owner, covers } => {
                let letter = if version.is_none() { "t" } else { "d" };
                cmd.arg(letter).arg(version.as_bytes()).arg(owner.as_bytes());
                cmd.arg(sealed_at_ms.saturating_add(TOMBSTONE_MS));
                match covers {
                    Some(covered) => cmd.arg("1").arg(covered.as_bytes()),
                    None => cmd.arg("0").arg(""),
                };
            }
        }
    }
}

/// The side key of a value outlives it by the tombstone time.
fn side_expires_at(expires_at: Option<i64>, sealed_at_ms: i64) -> Option<i64> {
    expires_at.map(|at_ms| at_ms.max(sealed_at_ms).saturating_add(TOMBSTONE_MS))
}

/// The absolute expiry. Redis refuses times before 1 ms; every time that has passed means "gone".
fn expires_at(expiry: Expiry, sealed_at_ms: i64) -> Option<i64> {
    expiry.at(sealed_at_ms).map(|at_ms| at_ms.max(1))
}

fn arg_expiry(cmd: &mut Cmd, expires_at: Option<i64>) {
    match expires_at {
        Some(at_ms) => cmd.arg(at_ms),
        None => cmd.arg(""),
    };
}

fn arg_patch(cmd: &mut Cmd, patch: &Patch, expires_at: Option<i64>) {
    cmd.arg(match patch.shape() {
        PatchShape::Json => "j",
        PatchShape::Hash => "h",
    });
    cmd.arg(if patch.others() == Others::Kept { "1" } else { "0" });
    arg_expiry(cmd, expires_at);
    cmd.arg(patch.fields().len());
    for field in patch.fields() {
        cmd.arg(field.name.as_slice());
        match &field.told {
            Told::Value(value) => cmd.arg("v").arg(value.as_slice()),
            Told::Kept => cmd.arg("k").arg(""),
            Told::Gone => cmd.arg("g").arg(""),
        };
    }
    cmd.arg(patch.needs().len());
    for name in patch.needs() {
        cmd.arg(name.as_slice());
    }
}

fn arg_value(cmd: &mut Cmd, value: &Value) {
    match value {
        Value::String { bytes, .. } => {
            cmd.arg("s").arg(bytes.as_slice());
        }
        Value::Hash(fields) => {
            cmd.arg("h").arg(fields.len());
            arg_fields(cmd, fields);
        }
        Value::Member { .. } => {
            cmd.arg("s").arg(member::score(value));
        }
    }
}

fn arg_fields(cmd: &mut Cmd, fields: &[(Vec<u8>, Vec<u8>)]) {
    for (name, value) in fields {
        cmd.arg(name.as_slice()).arg(value.as_slice());
    }
}

/// What a reply means.
pub(super) fn outcome(unit: &Unit, reply: &Reply) -> Result<Outcome, Fault> {
    if unit.action == Action::Delete && unit.key.member().is_some() {
        return member::removed(checked(reply)).map(|()| Outcome::Applied);
    }
    match (&unit.action, checked(reply)?) {
        (Action::Write(..) | Action::Delete | Action::Patch(_), _) => Ok(Outcome::Applied),
        (Action::WriteIfAbsent(..), Reply::Nil | Reply::Int(0)) => Ok(Outcome::Rejected),
        (Action::WriteIfAbsent(..), _) => Ok(Outcome::Applied),
        (Action::DeleteIf(_) | Action::Guarded(_), Reply::Int(0)) => Ok(Outcome::Rejected),
        (Action::DeleteIf(_) | Action::Guarded(_), Reply::Int(_)) => Ok(Outcome::Applied),
        (Action::DeleteIf(_) | Action::Guarded(_), _) => Err(Fault::World(WorldError::Protocol)),
    }
}

/// The reply, or what its error means.
pub(super) fn checked(reply: &Reply) -> Result<&Reply, Fault> {
    match reply {
        Reply::ServerError(error) => Err(classify(error.code(), error.details().unwrap_or(""))),
        other => Ok(other),
    }
}

/// A reply where only errors of the world can be acted on: an answer of any other kind is no protocol.
pub(super) fn checked_world(reply: &Reply) -> Result<&Reply, WorldError> {
    checked(reply).map_err(|fault| match fault {
        Fault::World(error) => error,
        Fault::Moved { .. } | Fault::Ask { .. } => WorldError::Redirected,
        Fault::Refused(_) => WorldError::Protocol,
    })
}

/// The bytes of a bulk or simple string.
pub(super) fn bytes_of(reply: &Reply) -> Option<&[u8]> {
    match reply {
        Reply::BulkString(bytes) => Some(bytes),
        Reply::SimpleString(text) => Some(text.as_bytes()),
        Reply::Okay => Some(b"OK"),
        _ => None,
    }
}
