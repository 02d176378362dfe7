//! The declarative handler's parts as plain values: what the settings make and `mapping` compiles.
//!
//! Checked before they get here: templates parse, conditions compile, lifetimes are in bounds. Start at
//! [`MappingSpec`].

use super::condition::Condition;
use super::packing::Packing;
use super::template::Template;
use super::text_template::TextTemplate;
use crate::patch::Others;

/// An entity's declarative handler.
#[derive(Debug, Clone)]
pub struct MappingSpec {
    /// Writes in the order of the file.
    pub writes: Vec<WriteSpec>,
    /// Soft deletes: where it is true, or cannot be evaluated, the row's keys are deleted.
    pub delete_when: Option<Condition>,
    /// Values over this many bytes are the record's error.
    pub value_bytes_max: usize,
    /// What becomes of a value that an update holds only in part.
    pub unavailable: Unavailable,
}

/// What becomes of a JSON value or a hash of which an update does not hold every column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unavailable {
    /// Its key is deleted.
    #[default]
    Delete,
    /// What the event holds overlays what is cached. Columns of a whole row that the event does not even name
    /// are told by the format ([`Others::Dropped`]: there are none) or stay.
    Merge(Others),
}

/// One `[[entity.write]]`.
#[derive(Debug, Clone)]
pub struct WriteSpec {
    /// The key.
    pub key: Template,
    /// The value.
    pub shape: Shape,
    /// What is done to its bytes.
    pub packing: Packing,
    /// The lifetime.
    pub ttl: Ttl,
    /// False, or not evaluable: the key is deleted.
    pub when: Option<Condition>,
    /// True where another template may give the same key: turns the version guard on.
    pub shared: bool,
}

/// What the value is made of.
#[derive(Debug, Clone)]
pub enum Shape {
    /// One JSON object.
    Json(Columns),
    /// One JSON object of more than columns.
    Nested(Vec<Member>),
    /// Text.
    Text(Template),
    /// Larger text.
    Template(TextTemplate),
    /// A hash, replaced as a whole.
    Hash(Columns),
    /// One column's bytes as they are.
    Bytes(String),
    /// A member of a set.
    Set {
        /// The member.
        member: Template,
    },
    /// A member of a sorted set.
    SortedSet {
        /// The member.
        member: Template,
        /// Column of its score.
        score: String,
    },
    /// No value: the key is deleted on every change.
    Invalidate,
}

/// Which columns, under which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// The whole row in the event's order.
    All,
    /// These, in this order.
    Chosen(Vec<Chosen>),
}

/// A chosen column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Name in the value.
    pub name: String,
    /// Column of the row.
    pub column: String,
}

/// A member of a nested object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Name in the value.
    pub name: String,
    /// What it holds.
    pub source: Source,
}

/// What a member of a nested object holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// This column.
    Column(String),
    /// This column, whose text is JSON.
    Parsed(String),
    /// This JSON.
    Constant(String),
    /// An object inside.
    Object(Vec<Member>),
}

/// A lifetime.
#[derive(Debug, Clone, PartialEq)]
pub struct Ttl {
    /// What it counts from.
    pub base: TtlBase,
    /// ± this share of a duration, 0 to 1, as a function of the key; 0 for none.
    pub jitter: f64,
}

/// What a lifetime counts from. Durations in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TtlBase {
    /// Said out loud: never expires.
    None,
    /// After the write.
    After(u64),
    /// After the source's commit; a value that would have expired already is deleted.
    AfterCommit(u64),
    /// At the moment that a column holds.
    Column {
        /// The column.
        column: String,
        /// But at most so long after the write.
        at_most: Option<u64>,
        /// Where the column is null; without it, null is the record's error.
        if_null: Option<u64>,
    },
}
