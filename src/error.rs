//! Errors in our words, one enum per boundary: what the caller does about it decides the enum.
//!
//! Errors *of a record* ([`DecodeError`], [`HandleError`]) follow `errors.on_error`. Errors *of the world*
//! ([`WorldError`]) are retried by the table in [`crate::retry`]. Neither ever holds a value, a key or a secret.

use std::borrow::Cow;

use crate::types::ValueError;

/// This record cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct DecodeError {
    /// A short name for counting and for the dead letter: `json`, `envelope`, `op`, `key`, `empty`, …
    pub kind: &'static str,
    /// What was expected and where (byte or path), and which settings would help. No values.
    pub detail: Cow<'static, str>,
}

impl DecodeError {
    /// An error of that kind.
    pub fn new(kind: &'static str, detail: impl Into<Cow<'static, str>>) -> DecodeError {
        DecodeError { kind, detail: detail.into() }
    }
}

/// A handler cannot handle this change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// A column that a key needs is null, absent or unavailable.
    #[error("key column {column:?} of {template:?} is {state}")]
    KeyColumn {
        /// The template's text.
        template: String,
        /// The column.
        column: String,
        /// `null`, `missing` or `unavailable`.
        state: &'static str,
    },
    /// A column's value is not what its type says.
    #[error("column {column:?}")]
    Value {
        /// The column.
        column: String,
        /// What is wrong.
        #[source]
        source: ValueError,
    },
    /// The value is over `limits.value_bytes`.
    #[error("a value of {bytes} bytes is over limits.value_bytes = {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A Rust handler says so. The text must hold no values.
    #[error("{0}")]
    Handler(Cow<'static, str>),
    /// A Rust handler panicked.
    #[error("the handler panicked")]
    Panicked,
}

impl HandleError {
    /// A short name for counting and for the dead letter.
    pub fn kind(&self) -> &'static str {
        match self {
            HandleError::KeyColumn { .. } => "key_column",
            HandleError::Value { .. } => "value",
            HandleError::TooLarge { .. } => "too_large",
            HandleError::Handler(_) => "handler",
            HandleError::Panicked => "panic",
        }
    }
}

/// An error of the world: not of a record, and never a dead letter. [`crate::retry`] says what is done.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WorldError {
    /// No answer in time; what was sent may still land.
    #[error("no answer within the time limit")]
    Timeout,
    /// The connection broke; what was sent may still land.
    #[error("the connection broke")]
    Disconnected,
    /// No connection could be made.
    #[error("cannot connect to {node}")]
    Unreachable {
        /// The node's address.
        node: String,
    },
    /// The server answered with an error code that says "not now".
    #[error("the server answers {code}")]
    NotNow {
        /// Its code: `LOADING`, `READONLY`, `CLUSTERDOWN`, `MASTERDOWN`, `OOM`, `MISCONF`, `NOREPLICAS`, `BUSY`, …
        code: ServerCode,
    },
    /// The key's slot is served elsewhere; the map was or must be refreshed.
    #[error("the slot moved")]
    Redirected,
    /// The server's scripts were flushed.
    #[error("the server has lost its scripts")]
    NoScript,
    /// What came is not the protocol; the connection is dropped.
    #[error("the answer is not the protocol")]
    Protocol,
    /// Another owner has the lane.
    #[error("another owner has taken the lane")]
    NotOwner,
    /// The schema registry does not answer, or would not say.
    #[error("the schema registry at {place} {what}")]
    Registry {
        /// Its address, without a login.
        place: String,
        /// What it did, in words.
        what: String,
    },
}

/// Server error codes that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerCode {
    /// Restarting from a snapshot.
    Loading,
    /// Demoted, or a replica.
    ReadOnly,
    /// Cluster not serving.
    ClusterDown,
    /// Replica without its master.
    MasterDown,
    /// Memory limit reached.
    OutOfMemory,
    /// Persistence fails and writes are refused.
    Misconf,
    /// Too few replicas.
    NoReplicas,
    /// A script runs for too long.
    Busy,
    /// Credentials missing or wrong.
    Auth,
    /// The user may not do this.
    NoPermission,
    /// Too many clients.
    MaxClients,
    /// Multi-key command during a slot migration.
    TryAgain,
}

impl ServerCode {
    /// The code as the server spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            ServerCode::Loading => "LOADING",
            ServerCode::ReadOnly => "READONLY",
            ServerCode::ClusterDown => "CLUSTERDOWN",
            ServerCode::MasterDown => "MASTERDOWN",
            ServerCode::OutOfMemory => "OOM",
            ServerCode::Misconf => "MISCONF",
            ServerCode::NoReplicas => "NOREPLICAS",
            ServerCode::Busy => "BUSY",
            ServerCode::Auth => "NOAUTH",
            ServerCode::NoPermission => "NOPERM",
            ServerCode::MaxClients => "MAXCLIENTS",
            ServerCode::TryAgain => "TRYAGAIN",
        }
    }
}

impl std::fmt::Display for ServerCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
