//! What a handler emits: intended cache effects, before coalescing and before any clock.
//!
//! Start at [`Mutation`]. Handlers fill a [`Mutations`]; the lane composes what it holds
//! (see [`crate::coalesce`]).

mod member;

use std::fmt;

use smallvec::SmallVec;

use crate::error::HandleError;
use crate::patch::Patch;
use crate::version::Version;

pub use member::{Member, MemberKind};

/// What in the cache a mutation is about: a key as readers see it (not a record key; bytes, 1 to 512 MiB as Redis
/// bounds them), or one [`Member`] of the set or sorted set at a key.
///
/// Equal where both are: two members of one key are two of these, which nothing composes with each other.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey {
    bytes: SmallVec<[u8; 40]>,
    /// Boxed: most keys have none, and it would double their size.
    member: Option<Box<Member>>,
}

impl CacheKey {
    /// A key of these bytes.
    pub fn new(bytes: &[u8]) -> CacheKey {
        CacheKey { bytes: SmallVec::from_slice(bytes), member: None }
    }

    /// The key's bytes, without the member.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes))?;
        match self.member() {
            Some(member) => write!(f, " member {}", String::from_utf8_lossy(&member.bytes)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for CacheKey {
    /// Keys hold personal parts: only the length is shown, so that no log gets them by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.member() {
            Some(member) => write!(f, "CacheKey({} bytes, {member:?})", self.bytes.len()),
            None => write!(f, "CacheKey({} bytes)", self.bytes.len()),
        }
    }
}

/// Which row a guarded write or delete speaks for: text of table and key columns, or a digest of them.
///
/// Compared for equality only. Bounded (see `RowId::MAX_BYTES`), since the guard keeps it beside each key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowId(SmallVec<[u8; 32]>);

impl RowId {
    /// Longer identities are replaced by a digest of this many hexadecimal digits or fewer bytes.
    pub const MAX_BYTES: usize = 48;

    /// The row of a primary key under the guard: the key itself tells which.
    pub const PRIMARY: &[u8] = b"row";

    /// An identity of these bytes; the caller keeps them within [`RowId::MAX_BYTES`].
    pub fn new(bytes: &[u8]) -> RowId {
        debug_assert!(bytes.len() <= Self::MAX_BYTES);
        RowId(SmallVec::from_slice(bytes))
    }

    /// The bytes, as the guard's side key holds them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A cached value.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// A Redis string. `kind` only says how `explain` shows it.
    String {
        /// Which shape made it.
        kind: StringKind,
        /// The bytes that readers get.
        bytes: Vec<u8>,
    },
    /// A Redis hash, replaced as a whole. Fields in the order of the row; names are unique.
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
    /// What a member is, beside being there.
    Member {
        /// Of a sorted set: its score, as the text that Redis reads (a number, `+inf` or `-inf`).
        score: Option<Vec<u8>>,
    },
}

/// What made a string value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StringKind {
    /// A JSON document.
    Json,
    /// Text of a template.
    Text,
    /// One column's bytes.
    Bytes,
    /// One of the above, packed.
    Packed(Packed),
}

/// How a string value was packed, so that `explain` can show what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packed {
    /// Which shape made it.
    pub of: PackedShape,
    /// True where JSON became MessagePack.
    pub msgpack: bool,
    /// The frame around it, if any.
    pub compression: Option<Compression>,
    /// Bytes before compression.
    pub plain_bytes: usize,
}

/// Which shape made a packed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackedShape {
    /// A JSON document.
    Json,
    /// Text of a template.
    Text,
    /// One column's bytes.
    Bytes,
}

/// A compression of values; each writes its standard frame, which tells itself by its first four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// `zstd` (RFC 8878).
    Zstd,
    /// `lz4`, its frame format.
    Lz4,
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Value {
        Value::String { kind: StringKind::Text, bytes: text.into().into_bytes() }
    }

    /// The JSON of a value, for handlers in Rust. Fails where the type's `Serialize` does.
    pub fn json(value: &impl serde::Serialize) -> Result<Value, HandleError> {
        // The cause may quote the value.
        let bytes = serde_json::to_vec(value)
            .map_err(|_| HandleError::Handler("the handler's value cannot be written as JSON".into()))?;
        Ok(Value::String { kind: StringKind::Json, bytes })
    }

    /// Bytes as they are.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Value {
        Value::String { kind: StringKind::Bytes, bytes: bytes.into() }
    }

    /// Bytes that travel, without protocol overhead.
    pub fn size_bytes(&self) -> usize {
        match self {
            Value::String { bytes, .. } => bytes.len(),
            Value::Hash(fields) => fields.iter().map(|(n, v)| n.len() + v.len()).sum(),
            Value::Member { score } => score.as_ref().map_or(0, Vec::len),
        }
    }
}

impl fmt::Debug for Value {
    /// Row values never reach a log: only the shape and the size are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::String { kind, bytes } => write!(f, "{kind:?}({} bytes)", bytes.len()),
            Value::Hash(fields) => write!(f, "Hash({} fields)", fields.len()),
            Value::Member { .. } => f.write_str("Member"),
        }
    }
}

/// When a written key expires. Made absolute by the server's clock when the batch is sent, from the
/// moment at which the batch was sealed, so that a resend does not extend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Never (`ttl = "none"`).
    Never,
    /// So many milliseconds after the batch was sealed, jitter already in it.
    In(u64),
    /// At this Unix millisecond. One that has passed deletes instead.
    At(i64),
    /// At this Unix millisecond, but at most so many milliseconds after the batch was sealed.
    AtWithin {
        /// Unix milliseconds.
        at_ms: i64,
        /// The bound in milliseconds.
        within_ms: u64,
    },
}

impl Expiry {
    /// The absolute expiry in Unix milliseconds for a batch sealed at `now_ms`; `None` for never.
    pub fn at(self, now_ms: i64) -> Option<i64> {
        let after = |ms: u64| now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX));
        match self {
            Expiry::Never => None,
            Expiry::In(ms) => Some(after(ms)),
            Expiry::At(at_ms) => Some(at_ms),
            Expiry::AtWithin { at_ms, within_ms } => Some(at_ms.min(after(within_ms))),
        }
    }
}

/// What the version guard compares: the version that this effect carries and the row it speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The row's source position; [`Version::NONE`] is older than any.
    pub version: Version,
    /// The row.
    pub owner: RowId,
}

impl Guard {
    /// True where several rows can have the key. Else its partition orders it, too.
    pub fn has_rows(&self) -> bool {
        self.owner.as_bytes() != RowId::PRIMARY
    }
}

/// One intended cache effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// The key, or the key and member.
    pub key: CacheKey,
    /// What to do to it.
    pub effect: Effect,
    /// Present where the effect goes through the version guard (secondary and shared keys). Boxed: most keys have none,
    /// and it would be a third of the mutation.
    pub guard: Option<Box<Guard>>,
}

/// What to do to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write the whole value; add the member, or move it to another score.
    Write(Value, Expiry),
    /// Overlay what the key holds, which then lives this long; a key that is not there stays so, and one that
    /// holds what cannot be overlaid is deleted. Under the guard: as [`Effect::Delete`], but for a value of the
    /// guard's row, which is overlaid.
    Patch(Patch, Expiry),
    /// Delete the key; remove the member. Under the guard: only while the side key names the guard's row.
    Delete,
    /// Delete the key only while it holds exactly this value (secondary keys without a source position; never a
    /// member, whose being there proves nothing).
    DeleteIf(Value),
}

/// One change's mutations: in order, deletes first (see [`Mutations::finish`]).
#[derive(Debug, Default)]
pub struct Mutations {
    list: Vec<Mutation>,
}

impl Mutations {
    /// An empty list.
    pub fn new() -> Mutations {
        Mutations::default()
    }

    /// Adds one.
    pub fn push(&mut self, mutation: Mutation) {
        self.list.push(mutation);
    }

    /// Puts all deletes before all writes, each group in the order in which it was emitted.
    pub fn finish(&mut self) {
        self.list.sort_by_key(|mutation| matches!(mutation.effect, Effect::Write(..) | Effect::Patch(..)));
    }

    /// The mutations so far.
    pub fn as_slice(&self) -> &[Mutation] {
        &self.list
    }

    /// Takes them out, keeping the room for the next change.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Mutation> {
        self.list.drain(..)
    }

    /// Forgets them: what a failed change emitted must not be applied in part.
    pub fn clear(&mut self) {
        self.list.clear();
    }
}
