//! Entities: what is cached, under which keys, made of which columns.
//!
//! An entity has one handler, which turns a [`Change`] into mutations. The declarative handler
//! (`mapping`) is one implementation of [`EntityHandler`]; a handler in Rust is another. Pure: no IO, no
//! clock, no randomness (TTL jitter is a function of the key).

pub mod condition;
pub mod spec;
pub mod template;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::change::Change;
use crate::decode::Format;
use crate::error::HandleError;
use crate::mutation::Mutations;
use crate::types::{Kind, RenderStyle};
use template::Template;

/// A kind of cached thing: which records it reads and what handles them.
#[derive(Debug, Clone)]
pub struct Entity {
    /// Its name: metrics label, log field, `--entity`.
    pub name: Arc<str>,
    /// Which topics it reads.
    pub topics: Topics,
    /// Only this table, where several share a topic.
    pub table: Option<TableFilter>,
    /// The format of its topics.
    pub format: Format,
    /// The row's key columns, where the record's key does not tell them.
    pub key_columns: Option<Vec<String>>,
    /// How much of a PostgreSQL `before` may be believed.
    pub replica_identity: ReplicaIdentity,
    /// Types of columns whose format carries none.
    pub columns: Vec<(String, Kind)>,
    /// How values are rendered.
    pub render: RenderStyle,
    /// The handler.
    pub handler: Arc<dyn EntityHandler>,
}

/// Topics of an entity.
#[derive(Debug, Clone)]
pub enum Topics {
    /// Exact names.
    Names(Vec<String>),
    /// A regular expression over the whole name, without its `^` and `$`.
    Pattern(regex::Regex),
}

impl Topics {
    /// True where the entity reads this topic.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Topics::Names(names) => names.iter().any(|name| name == topic),
            Topics::Pattern(pattern) => pattern.is_match(topic),
        }
    }
}

/// A table filter: `db.table`, `schema.table`, or a regular expression over `schema.table` or `db.table`.
#[derive(Debug, Clone)]
pub enum TableFilter {
    /// Exact name, `qualifier.table` or `table`.
    Name(String),
    /// A regular expression over the whole name.
    Pattern(regex::Regex),
}

/// PostgreSQL's replica identity of an entity's tables, as the settings say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ReplicaIdentity {
    /// Only the key columns of `before` are believed.
    #[default]
    Default,
    /// `before` is the whole old row.
    Full,
    /// Only these columns of `before` are believed, and not even the record key of a delete.
    Index(Vec<String>),
}

/// Turns a change into mutations.
///
/// - Deterministic: the same change gives the same mutations (invariant 6); no IO, no clock.
/// - Called once per change, in offset order within a partition; different partitions concurrently.
/// - An error is about this record: nothing that was emitted for it is applied, and `errors.on_error` says
///   what becomes of it. Error texts hold no row values.
/// - `op d` deletes every key of the row; within one change deletes are applied before writes, in whatever
///   order they were emitted.
pub trait EntityHandler: Send + Sync + std::fmt::Debug {
    /// The handler's mutations for one change.
    fn handle(&self, change: &Change<'_>, out: &mut Mutations) -> Result<(), HandleError>;

    /// Every key that this handler writes.
    fn keys(&self) -> &[KeyTemplate] {
        &[]
    }
}

/// A key of a handler.
#[derive(Debug, Clone)]
pub struct KeyTemplate {
    template: Template,
    shared: bool,
    invalidated: bool,
}

impl KeyTemplate {
    /// A key of that template.
    pub fn new(template: Template) -> KeyTemplate {
        KeyTemplate { template, shared: false, invalidated: false }
    }

    /// The same, deleted on every change and never written.
    pub fn invalidated(mut self) -> KeyTemplate {
        self.invalidated = true;
        self
    }

    /// The template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// True where another template may give the same key.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// True where it is deleted on every change and never written.
    pub fn is_invalidated(&self) -> bool {
        self.invalidated
    }
}

/// A condition that could not be evaluated, so that the key was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// Position of the key in [`EntityHandler::keys`]; `None` where the condition is about the whole row.
    pub key: Option<usize>,
    /// Why, without values.
    pub reason: String,
}

/// Handlers in Rust by the name under which `handler = "…"` finds them.
#[derive(Debug, Clone, Default)]
pub struct Handlers(BTreeMap<String, Arc<dyn EntityHandler>>);
