//! What follows from the settings, without asking anybody: which changes cannot reach which keys.
//!
//! The reasoning is over the declarative entities; a handler in Rust keeps its own counsel.

use std::collections::BTreeSet;

use super::super::finding::{Finding, Level};
use crate::decode::Format;
use crate::entity::spec::{MappingSpec, Shape, TtlBase, WriteSpec};
use crate::entity::{Entity, ReplicaIdentity};
use crate::settings::{OnError, Settings, Start};

/// Findings about valid settings.
pub(super) fn about(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.kafka.start == Start::Refill {
        findings.push(Finding::new(
            Level::Note,
            "kafka.start",
            "a group without positions reads its topics from the earliest position, in order (newest first is not built yet)",
        ));
    }
    if settings.errors.on_error == OnError::Skip {
        findings.push(
            Finding::new(
                Level::Warning,
                "errors.on_error",
                "records that fail are passed over: their bytes are kept nowhere but in the topic",
            )
            .remedy("set errors.dead_letter_topic, and on_error = \"dead_letter\""),
        );
    }
    findings.extend(settings.entities.iter().flat_map(about_entity));
    findings
}

fn about_entity(entity: &Entity) -> Vec<Finding> {
    match entity.handler.mapping() {
        Some(mapping) => Reasoner::new(entity, mapping).findings(),
        None => Vec::new(),
    }
}

/// One declarative entity, and which columns are taken to be its row's key.
struct Reasoner<'s> {
    entity: &'s Entity,
    mapping: &'s MappingSpec,
    row_key: BTreeSet<&'s str>,
    /// True where the settings do not name the key columns, so that those of the first key are taken.
    guessed: bool,
}

impl<'s> Reasoner<'s> {
    fn new(entity: &'s Entity, mapping: &'s MappingSpec) -> Reasoner<'s> {
        let named = mapping.key_columns.as_ref().or(entity.key_columns.as_ref());
        let row_key = match named {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => mapping.writes.first().map(|write| write.key.columns().collect()).unwrap_or_default(),
        };
        Reasoner { entity, mapping, row_key, guessed: named.is_none() }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> =
            self.mapping.writes.iter().flat_map(|write| self.about_write(write)).collect();
        if let ReplicaIdentity::Index(index) = &self.entity.replica_identity {
            let missing = missing(&self.row_key, index);
            if !missing.is_empty() {
                let what = format!(
                    "under REPLICA IDENTITY USING INDEX a delete tells only {}: it does not tell the row key's {}",
                    list(index.iter().map(String::as_str)),
                    list(missing),
                );
                findings.push(self.finding(Level::Warning, what).remedy(
                    "make the keys of the index's columns, or set REPLICA IDENTITY FULL and replica_identity = \"full\"",
                ));
            }
        }
        findings
    }

    fn about_write(&self, write: &WriteSpec) -> Vec<Finding> {
        let beyond: Vec<&str> = write.key.columns().filter(|column| !self.row_key.contains(column)).collect();
        let mut findings = Vec::new();
        if !beyond.is_empty() {
            findings.extend(self.old_keys(write, &beyond));
            findings.push(self.guard(write));
        } else if write.shared {
            findings.push(self.guard(write));
        }
        findings
    }

    /// What becomes of a secondary key's old value when the row changes or goes.
    fn old_keys(&self, write: &WriteSpec, beyond: &[&str]) -> Vec<Finding> {
        let key = write.key.as_str();
        let columns = list(beyond.iter().copied());
        let stays = stays(write);
        let taken = if self.guessed {
            format!(
                " ({} taken as the row's key, from the first write: key_columns says otherwise)",
                list(self.row_key.iter().copied())
            )
        } else {
            String::new()
        };
        match (self.entity.format, &self.entity.replica_identity) {
            (Format::Rows | Format::Flattened, _) => vec![
                self.finding(
                    Level::Warning,
                    format!("rows of this format carry no old row: when {columns} changes or the row is deleted, the old key of {key:?} {stays}{taken}"),
                )
                .remedy("capture whole envelopes (format = \"debezium\"), or give this key a short ttl"),
            ],
            (Format::Auto | Format::Debezium, ReplicaIdentity::Full) => vec![self.finding(
                Level::Note,
                format!("a tombstone tells only the record's key: where compaction has taken a delete and left its tombstone, the key of {key:?} {stays}{taken}"),
            )],
            (Format::Auto | Format::Debezium, ReplicaIdentity::Index(index)) => {
                let untold: Vec<&str> =
                    beyond.iter().copied().filter(|column| !index.iter().any(|known| known == column)).collect();
                if untold.is_empty() {
                    return Vec::new();
                }
                vec![
                    self.finding(
                        Level::Warning,
                        format!("the old row's {} is not in the replica identity's index: the old key of {key:?} {stays}{taken}", list(untold)),
                    )
                    .remedy("set REPLICA IDENTITY FULL and replica_identity = \"full\", or give this key a short ttl"),
                ]
            }
            (Format::Auto | Format::Debezium, ReplicaIdentity::Default) => vec![
                self.finding(
                    Level::Warning,
                    format!("on PostgreSQL's default replica identity the old row tells only its key columns: when {columns} changes or the row is deleted, the old key of {key:?} {stays}{taken}"),
                )
                .remedy("on PostgreSQL: ALTER TABLE … REPLICA IDENTITY FULL, and replica_identity = \"full\" here; other databases tell the whole old row"),
            ],
        }
    }

    /// What the version guard does for a key that several rows can have.
    fn guard(&self, write: &WriteSpec) -> Finding {
        let key = write.key.as_str();
        match self.entity.format {
            Format::Rows | Format::Flattened => self.finding(
                Level::Note,
                format!("{key:?} can pass from one row to another, and rows without a source position cannot be ordered across partitions: of two writes, whichever arrives later stays; a delete compares with the value first"),
            ),
            Format::Auto | Format::Debezium => self.finding(
                Level::Note,
                format!("{key:?} can pass from one row to another: it is written under the version guard, which keeps a small side key beside it"),
            ),
        }
    }

    fn finding(&self, level: Level, what: String) -> Finding {
        Finding::new(level, format!("entity {:?}", &*self.entity.name), what)
    }
}

/// How long a key stays that no delete reaches.
fn stays(write: &WriteSpec) -> &'static str {
    match (&write.shape, &write.ttl.base) {
        (Shape::Invalidate, _) => "is not deleted",
        (_, TtlBase::None) => "stays for ever (ttl = \"none\")",
        (_, TtlBase::After(_) | TtlBase::AfterCommit(_) | TtlBase::Column { .. }) => "stays until its ttl",
    }
}

fn missing<'s>(columns: &BTreeSet<&'s str>, known: &[String]) -> Vec<&'s str> {
    columns.iter().copied().filter(|column| !known.iter().any(|known| known == column)).collect()
}

fn list<'s>(columns: impl IntoIterator<Item = &'s str>) -> String {
    columns.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::change::Change;
    use crate::entity::spec::{Columns, Ttl};
    use crate::entity::template::Template;
    use crate::entity::{EntityHandler, Topics};
    use crate::error::HandleError;
    use crate::mutation::Mutations;
    use crate::types::RenderStyle;

    #[derive(Debug)]
    struct Mapped(MappingSpec);

    impl EntityHandler for Mapped {
        fn handle(&self, _change: &Change<'_>, _out: &mut Mutations) -> Result<(), HandleError> {
            Ok(())
        }
        fn mapping(&self) -> Option<&MappingSpec> {
            Some(&self.0)
        }
    }

    fn write(key: &str, base: TtlBase) -> WriteSpec {
        WriteSpec {
            key: Template::parse(key).unwrap(),
            shape: Shape::Json(Columns::All),
            ttl: Ttl { base, jitter: 0.0 },
            when: None,
            shared: false,
        }
    }

    fn findings(format: Format, replica_identity: ReplicaIdentity, writes: Vec<WriteSpec>) -> Vec<Finding> {
        let mapping = MappingSpec { writes, delete_when: None, key_columns: None, value_bytes_max: 1024 };
        about_entity(&Entity {
            name: "customer".into(),
            topics: Topics::Names(vec!["t".into()]),
            table: None,
            format,
            key_columns: None,
            replica_identity,
            columns: Vec::new(),
            render: RenderStyle::default(),
            handler: Arc::new(Mapped(mapping)),
        })
    }

    fn secondary(format: Format, identity: ReplicaIdentity) -> Vec<(Level, String)> {
        let writes = vec![
            write("customer:{id}", TtlBase::After(1)),
            write("customer:email:{email|lower}", TtlBase::None),
        ];
        let shown = |finding: Finding| (finding.level, finding.what);
        findings(format, identity, writes).into_iter().map(shown).collect()
    }

    #[test]
    fn keys_of_the_row_key_alone_leave_nothing_to_say() {
        let writes = vec![write("customer:{id}", TtlBase::After(1)), write("customer:{id}:h", TtlBase::None)];
        assert_eq!(findings(Format::Auto, ReplicaIdentity::Default, writes), []);
    }

    #[test]
    fn a_secondary_key_is_warned_of_where_the_old_row_does_not_tell_it() {
        let index = |column: &str| ReplicaIdentity::Index(vec![column.to_owned()]);
        let cases = [
            (Format::Debezium, ReplicaIdentity::Default, Level::Warning, "default replica identity"),
            (Format::Auto, ReplicaIdentity::Full, Level::Note, "tombstone"),
            (Format::Auto, index("id"), Level::Warning, "replica identity's index"),
            (Format::Rows, ReplicaIdentity::Default, Level::Warning, "carry no old row"),
            (Format::Flattened, ReplicaIdentity::Full, Level::Warning, "carry no old row"),
        ];
        for (format, identity, level, words) in cases {
            let found = secondary(format, identity.clone());
            let (found_level, what) = &found[0];
            assert_eq!(*found_level, level, "{format:?} {identity:?}: {what}");
            assert!(
                what.contains(words) && what.contains("stays for ever"),
                "{format:?} {identity:?}: {what}"
            );
        }
    }

    #[test]
    fn an_index_that_holds_the_secondary_key_still_hides_the_row_key_of_deletes() {
        let found = secondary(Format::Auto, ReplicaIdentity::Index(vec!["email".to_owned()]));
        assert!(
            found.iter().any(|(level, what)| *level == Level::Warning && what.contains("row key's id")),
            "{found:?}"
        );
        assert!(!found.iter().any(|(_, what)| what.contains("replica identity's index")), "{found:?}");
    }

    #[test]
    fn a_key_that_can_pass_between_rows_says_how_it_is_ordered() {
        let guarded = secondary(Format::Debezium, ReplicaIdentity::Full);
        assert!(guarded.iter().any(|(_, what)| what.contains("version guard")), "{guarded:?}");
        let compared = secondary(Format::Rows, ReplicaIdentity::Default);
        assert!(
            compared.iter().any(|(_, what)| what.contains("whichever arrives later stays")),
            "{compared:?}"
        );
    }
}
