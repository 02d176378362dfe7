//! Entities: what is cached, under which keys, made of which columns.
//!
//! An entity has one handler, which says what the keys of a row hold. The declarative handler ([`Mapping`])
//! is one implementation of [`EntityHandler`]; a handler in Rust is another. What all of them have in common
//! (key changes, deletes, tombstones, the version guard) is done by `flow`. Pure: no IO, no clock, no
//! randomness (TTL jitter is a function of the key).

mod access;
pub mod ambiguity;
mod belief;
pub mod condition;
mod digest;
mod filter;
pub(crate) mod flow;
mod guard;
mod handler;
pub mod hash_tag;
mod lifetime;
mod mapping;
mod msgpack;
pub mod packing;
pub mod parse_back;
mod row_id;
mod row_rules;
pub mod spec;
pub mod template;
#[cfg(test)]
pub(crate) mod testing;
pub mod text_template;

use std::sync::Arc;

pub use access::FromColumn;
pub use guard::{GuardBy, GuardRule};
pub use handler::{EntityHandler, Handlers, KeyTemplate, RowImage, Undecided, Values};
pub use lifetime::Lifetime;
pub use mapping::Mapping;
pub use row_rules::{Absent, OpColumn, RowRules};

use crate::change::TableName;
use crate::decode::Format;
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
    /// By what all of its keys are guarded; without it, only those that the partition does not order are, by
    /// source position.
    pub guard: Option<GuardRule>,
    /// Types of columns whose format carries none.
    pub columns: Vec<(String, Kind)>,
    /// What its rows mean where no format says it.
    pub rules: RowRules,
    /// How values are rendered.
    pub render: RenderStyle,
    /// What a truncate of its table does.
    pub truncate: Truncate,
    /// The handler.
    pub handler: Arc<dyn EntityHandler>,
}

impl Entity {
    /// The templates of all its keys.
    pub fn templates(&self) -> Arc<[Template]> {
        self.handler.keys().iter().map(|key| key.template().clone()).collect()
    }
}

/// What a truncate of an entity's table does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truncate {
    /// Nothing: the keys stay until they expire.
    #[default]
    Ignore,
    /// Deletes every key that its templates can give.
    Delete,
}

/// Topics of an entity.
#[derive(Debug, Clone)]
pub enum Topics {
    /// Exact names.
    Names(Vec<String>),
    /// A regular expression over the whole name, compiled as `^(?:…)$`.
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
    /// A regular expression over the whole name, compiled as `^(?:…)$`.
    Pattern(regex::Regex),
}

impl TableFilter {
    /// True where it names this table. A name may be the table alone, or qualified by its schema, its
    /// database, or both (`db.schema.table`); a pattern must match one of these spellings as a whole.
    pub fn matches(&self, table: &TableName<'_>) -> bool {
        let database = table.database.as_deref();
        let schema = table.schema.as_deref();
        let spellings = [(None, None), (None, schema), (database, None), (database, schema)];
        spellings.into_iter().any(|(database, schema)| {
            let parts = [database, schema, Some(&*table.table)];
            let name = parts.into_iter().flatten().collect::<Vec<_>>().join(".");
            match self {
                TableFilter::Name(wanted) => *wanted == name,
                TableFilter::Pattern(pattern) => pattern.is_match(&name),
            }
        })
    }

    /// The same for a table that a record in this topic names. One that is named alone (flattened rows have
    /// `__table`, and seldom its schema) is the qualified one that the topic is named after.
    pub fn matches_in_topic(&self, table: &TableName<'_>, topic: &str) -> bool {
        let alone = table.database.is_none() && table.schema.is_none();
        self.matches(table) || (alone && ends_with_name(topic, &table.table) && self.names_topic(topic))
    }

    /// True where a topic's name says that it carries this one table (`prefix.schema.table`): what counts
    /// where the format names no table.
    pub fn names_topic(&self, topic: &str) -> bool {
        match self {
            TableFilter::Name(wanted) => ends_with_name(topic, wanted),
            TableFilter::Pattern(pattern) => {
                let dots = topic.match_indices('.').map(|(at, _)| at + 1);
                std::iter::once(0)
                    .chain(dots)
                    .filter_map(|at| topic.get(at..))
                    .any(|name| pattern.is_match(name))
            }
        }
    }
}

/// True where the topic's name is this one, or ends with it behind a dot. Debezium writes an underscore for
/// what no topic may hold (captured from 3.7: `"Mixed-Case Table"` is in `….Mixed-Case_Table`).
fn ends_with_name(topic: &str, name: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    let name: String = name.chars().map(|letter| if allowed(letter) { letter } else { '_' }).collect();
    topic.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_filter_takes_every_qualified_spelling_and_no_other_table() {
        let table =
            TableName { database: Some("shop".into()), schema: Some("public".into()), table: "users".into() };
        for (name, matches) in [
            ("users", true),
            ("public.users", true),
            ("shop.users", true),
            ("shop.public.users", true),
            ("other.users", false),
            ("user", false),
        ] {
            assert_eq!(TableFilter::Name(name.into()).matches(&table), matches, "{name}");
        }
        for (pattern, matches) in [("public\\.u.*", true), ("u", false), ("users|orders", true)] {
            let filter = TableFilter::Pattern(regex::Regex::new(&format!("^(?:{pattern})$")).unwrap());
            assert_eq!(filter.matches(&table), matches, "{pattern}");
        }
    }

    #[test]
    fn a_topic_named_after_the_table_carries_it() {
        let pattern = TableFilter::Pattern(regex::Regex::new("^(?:public\\.users)$").unwrap());
        for (topic, names) in [
            ("shop.public.users", true),
            ("public.users", true),
            ("shop.public.users_old", false),
            ("shop.republic.users", false),
        ] {
            assert_eq!(TableFilter::Name("public.users".into()).names_topic(topic), names, "{topic}");
            assert_eq!(pattern.names_topic(topic), names, "{topic}");
        }
    }

    #[test]
    fn a_table_that_is_named_alone_is_the_one_that_its_topic_is_named_after() {
        let table = |schema: Option<&str>, table: &str| TableName {
            database: None,
            schema: schema.map(|schema| schema.to_owned().into()),
            table: table.to_owned().into(),
        };
        for filter in [
            TableFilter::Name("public.Big Users".into()),
            TableFilter::Pattern(regex::Regex::new("^(?:public\\.Big_U.*)$").unwrap()),
        ] {
            for (schema, name, topic, matches) in [
                (None, "Big Users", "shop.public.Big_Users", true),
                (None, "Users", "shop.public.Big_Users", false),
                (None, "Big Users", "shop.other.Big_Users", false),
                (None, "Big Users", "everything", false),
                (None, "orders", "shop.public.Big_Users", false),
                (Some("other"), "Big Users", "shop.public.Big_Users", false),
            ] {
                let found = filter.matches_in_topic(&table(schema, name), topic);
                assert_eq!(found, matches, "{schema:?} {name} in {topic}");
            }
        }
    }

    #[test]
    fn a_topic_pattern_matches_whole_names() {
        let topics = Topics::Pattern(regex::Regex::new("^(?:shop|shop\\..*)$").unwrap());
        assert!(topics.matches("shop.users") && topics.matches("shop"));
        assert!(!topics.matches("myshop") && !topics.matches("shops"));
    }
}
