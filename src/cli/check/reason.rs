//! What follows from the settings, without asking anybody: which changes cannot reach which keys.
//!
//! The reasoning is over the keys that a handler names, declarative or in Rust.

use std::collections::BTreeSet;

use super::super::finding::{Finding, Level};
use crate::decode::Format;
use crate::entity::{Entity, GuardBy, KeyTemplate, ReplicaIdentity};
use crate::settings::{OnError, Settings};

/// Findings about valid settings.
pub(super) fn about(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
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
    let keys: Vec<Key<'_>> = entity.handler.keys().iter().map(Key::of).collect();
    let mut reasoner = Reasoner::new(
        entity.name.as_ref(),
        entity.format,
        &entity.replica_identity,
        entity.key_columns.as_deref(),
        &keys,
    );
    reasoner.by_columns = entity.guard.as_ref().is_some_and(|rule| matches!(rule.by, GuardBy::Columns(_)));
    let mut findings = reasoner.findings();
    findings.extend(super::guard::about(entity));
    findings
}

/// A key, as far as its reach is concerned.
#[derive(Debug, Clone)]
struct Key<'s> {
    template: &'s str,
    /// The template of its members and their columns, where it has them.
    member: Option<(&'s str, Vec<&'s str>)>,
    /// Columns of key and member.
    columns: Vec<&'s str>,
    /// Columns that stand only under filters which can make one text of two.
    blurred: Vec<&'s str>,
    shared: bool,
    invalidated: bool,
}

impl<'s> Key<'s> {
    fn of(key: &'s KeyTemplate) -> Key<'s> {
        let plain = |column: &&str| key.plain_columns().any(|name| name == *column);
        Key {
            template: key.template().as_str(),
            member: key.member().map(|(_, member)| (member.as_str(), member.columns().collect())),
            columns: key.columns().collect(),
            blurred: key.columns().filter(|column| !plain(column)).collect(),
            shared: key.is_shared(),
            invalidated: key.is_invalidated(),
        }
    }

    /// The columns that it takes to tell one row: of a board or an index, those of the member.
    fn row_key(&self) -> BTreeSet<&'s str> {
        let columns = self.member.as_ref().map_or(&self.columns, |(_, columns)| columns);
        columns.iter().copied().collect()
    }

    /// Its name in messages.
    fn shown(&self) -> String {
        match &self.member {
            Some((member, _)) => format!("{:?} (member {member:?})", self.template),
            None => format!("{:?}", self.template),
        }
    }

    /// What becomes of it where no delete reaches it.
    fn stays(&self) -> &'static str {
        match self.member {
            Some(_) => "keeps its member for ever",
            None if self.invalidated => "is not deleted",
            None => "stays until its ttl, if it has one",
        }
    }

    /// A way out where the old row cannot be told; after a semicolon or comma.
    fn or_short_ttl(&self) -> &'static str {
        if self.member.is_some() {
            "; a member has no ttl that would end it"
        } else {
            ", or give this key a short ttl"
        }
    }

    /// True where rows that differ in these columns cannot give it.
    fn tells_apart(&self, columns: &BTreeSet<&str>) -> bool {
        let plain = |column: &&str| self.columns.contains(column) && !self.blurred.contains(column);
        columns.iter().all(plain)
    }
}

/// One entity, and which columns are taken to be its row's key.
struct Reasoner<'s> {
    entity: &'s str,
    format: Format,
    identity: &'s ReplicaIdentity,
    keys: &'s [Key<'s>],
    row_key: BTreeSet<&'s str>,
    /// True where the settings do not name the key columns, so that those of the first key are taken.
    guessed: bool,
    /// True where columns of the row order all keys, whatever the source tells.
    by_columns: bool,
}

impl<'s> Reasoner<'s> {
    fn new(
        entity: &'s str,
        format: Format,
        identity: &'s ReplicaIdentity,
        key_columns: Option<&'s [String]>,
        keys: &'s [Key<'s>],
    ) -> Reasoner<'s> {
        let row_key = match key_columns {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => keys.first().map(Key::row_key).unwrap_or_default(),
        };
        let guessed = key_columns.is_none();
        Reasoner { entity, format, identity, keys, row_key, guessed, by_columns: false }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.keys.iter().flat_map(|key| self.about_key(key)).collect();
        if let ReplicaIdentity::Index(index) = self.identity {
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

    fn about_key(&self, key: &Key<'_>) -> Vec<Finding> {
        let beyond: Vec<&str> =
            key.columns.iter().copied().filter(|column| !self.row_key.contains(column)).collect();
        let mut findings = Vec::new();
        if !beyond.is_empty() {
            findings.extend(self.old_key(key, &beyond));
        }
        if (key.shared || !key.tells_apart(&self.row_key)) && !key.invalidated {
            findings.push(self.guard(key));
        }
        findings
    }

    /// What becomes of a secondary key's old value when the row changes or goes; `beyond` are its columns that
    /// are not of the row's key.
    fn old_key(&self, key: &Key<'_>, beyond: &[&str]) -> Option<Finding> {
        let (shown, stays, columns) = (key.shown(), key.stays(), list(beyond.iter().copied()));
        let or_short_ttl = key.or_short_ttl();
        let finding = match (self.format, self.identity) {
            // An update tells the former values of what it changed, and a delete the whole row.
            (Format::Maxwell | Format::Canal | Format::Ticdc | Format::Ogg, _) => return None,
            (Format::Dms | Format::Cockroach | Format::Mongo, _) => self
                .finding(Level::Warning, format!(
                    "records of this format tell the old row only where its producer was asked for it: without, \
                     when {columns} changes or the row is deleted, the old {shown} {stays}",
                ))
                .remedy(format!(
                    "write before images of all columns (DMS: BeforeImageSettings; CockroachDB: diff; MongoDB: \
                     pre-images){or_short_ttl}",
                )),
            (Format::Rows | Format::Flattened, _) => self
                .finding(Level::Warning, format!(
                    "records of this format carry no old row: when {columns} changes or the row is deleted, \
                     the old {shown} {stays}",
                ))
                .remedy(format!("capture whole envelopes (format = \"debezium\"){or_short_ttl}")),
            (Format::Auto | Format::Debezium | Format::Sequin, ReplicaIdentity::Full) => self.finding(Level::Note, format!(
                "a tombstone tells only the record's key: where compaction has taken a delete and left its \
                 tombstone, {shown} {stays}",
            )),
            (Format::Auto | Format::Debezium | Format::Sequin, ReplicaIdentity::Index(index)) => {
                let untold = missing(&beyond.iter().copied().collect(), index);
                if untold.is_empty() {
                    return None;
                }
                self.finding(Level::Warning, format!(
                    "the replica identity's index does not hold {}: when it changes or the row is deleted, \
                     the old {shown} {stays}",
                    list(untold),
                ))
                .remedy(format!("set REPLICA IDENTITY FULL and replica_identity = \"full\"{or_short_ttl}"))
            }
            (Format::Auto | Format::Debezium | Format::Sequin, ReplicaIdentity::Default) => self
                .finding(Level::Warning, format!(
                    "on PostgreSQL's default replica identity the old row tells only its key columns: when \
                     {columns} changes or the row is deleted, the old {shown} {stays}",
                ))
                .remedy(
                    "on PostgreSQL: ALTER TABLE … REPLICA IDENTITY FULL, and replica_identity = \"full\" here; \
                     other databases tell the whole old row",
                ),
        };
        Some(self.name_guess(finding))
    }

    /// Says which columns were taken as the row's key, where nothing names them.
    fn name_guess(&self, mut finding: Finding) -> Finding {
        if self.guessed {
            let row_key = list(self.row_key.iter().copied());
            finding.what.push_str(&format!(
                " (the row's key is taken to be {row_key}, as in the first key; key_columns says otherwise)"
            ));
        }
        finding
    }

    /// How a key that several rows can have is ordered.
    fn guard(&self, key: &Key<'_>) -> Finding {
        let shown = key.shown();
        if key.member.is_some() {
            return self.guard_of_member(&shown);
        }
        let how = match self.format {
            _ if self.by_columns => {
                "it is written under the version guard, by the entity's columns: of two rows the newer stays, and \
                 a delete takes only what its own row wrote"
            }
            Format::Rows | Format::Flattened => {
                "records of this format have no source position: of two rows in different partitions, \
                 whichever arrives later stays, and a delete compares with the value first"
            }
            Format::Auto
            | Format::Debezium
            | Format::Maxwell
            | Format::Canal
            | Format::Ticdc
            | Format::Ogg
            | Format::Dms
            | Format::Cockroach
            | Format::Sequin
            | Format::Mongo => {
                "it is written under the version guard, which keeps a small side key beside it; where the \
                 source tells no position, whichever arrives later stays, and a delete compares with the value first"
            }
        };
        self.finding(Level::Note, format!("{shown} can pass from one row to another: {how}"))
    }

    /// The same of a member: that it is there tells no row from another, so nothing can be compared.
    fn guard_of_member(&self, shown: &str) -> Finding {
        let passes = format!("{shown} can pass from one row to another:");
        match self.format {
            Format::Rows => {
                let finding = self.finding(Level::Error, format!(
                    "{passes} records of this format have no source position to order its rows by, so that each \
                     of them fails",
                ));
                self.name_guess(finding).remedy("make key and member hold the columns of the record's key")
            }
            Format::Flattened
            | Format::Auto
            | Format::Debezium
            | Format::Maxwell
            | Format::Canal
            | Format::Ticdc
            | Format::Ogg
            | Format::Dms
            | Format::Cockroach
            | Format::Sequin
            | Format::Mongo => self.finding(Level::Note, format!(
                "{passes} it is written under the version guard, which keeps a side key for each member as long \
                 as the member is there; where the source tells no position, the record fails",
            )),
        }
    }

    fn finding(&self, level: Level, what: String) -> Finding {
        Finding::new(level, format!("entity {:?}", self.entity), what)
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
    use super::*;

    const ID: Key<'static> = Key {
        template: "customer:{id}",
        member: None,
        columns: Vec::new(),
        blurred: Vec::new(),
        shared: false,
        invalidated: false,
    };

    fn primary() -> Key<'static> {
        Key { columns: vec!["id"], ..ID }
    }

    fn by_email() -> Key<'static> {
        Key { template: "customer:email:{email|lower}", columns: vec!["email"], ..ID }
    }

    fn reasoned(format: Format, identity: &ReplicaIdentity, keys: &[Key<'_>]) -> Vec<(Level, String)> {
        let findings = Reasoner::new("customer", format, identity, None, keys).findings();
        findings.into_iter().map(|finding| (finding.level, finding.what)).collect()
    }

    fn says(found: &[(Level, String)], level: Level, words: &str) -> bool {
        found.iter().any(|(found, what)| *found == level && what.contains(words))
    }

    #[test]
    fn keys_of_the_row_key_alone_leave_nothing_to_say() {
        let by_name = Key { template: "customer:{id}:h", ..primary() };
        assert_eq!(reasoned(Format::Auto, &ReplicaIdentity::Default, &[primary(), by_name]), []);
    }

    #[test]
    fn a_row_key_under_a_filter_that_loses_differences_can_pass_between_rows() {
        let of = |text| crate::entity::KeyTemplate::parse(text).unwrap();
        for (template, passes) in [
            ("c:{id|hash}", true),
            ("c:{id|lower}", true),
            ("c:{id|url}", false),
            ("c:{id|hash}:{id}", false),
        ] {
            let template = of(template);
            let found = reasoned(Format::Auto, &ReplicaIdentity::Full, &[Key::of(&template)]);
            assert_eq!(says(&found, Level::Note, "can pass from one row to another"), passes, "{found:?}");
        }
    }

    #[test]
    fn a_secondary_key_is_warned_of_where_the_old_row_does_not_tell_it() {
        let index = |column: &str| ReplicaIdentity::Index(vec![column.to_owned()]);
        let cases = [
            (Format::Debezium, ReplicaIdentity::Default, Level::Warning, "default replica identity"),
            (Format::Auto, ReplicaIdentity::Full, Level::Note, "tombstone"),
            (Format::Auto, index("id"), Level::Warning, "index does not hold email"),
            (Format::Rows, ReplicaIdentity::Default, Level::Warning, "carry no old row"),
            (Format::Flattened, ReplicaIdentity::Full, Level::Warning, "carry no old row"),
        ];
        for (format, identity, level, words) in cases {
            let found = reasoned(format, &identity, &[primary(), by_email()]);
            assert!(says(&found, level, words), "{format:?} {identity:?}: {found:?}");
            assert!(says(&found, level, "taken to be id"), "{format:?} {identity:?}: {found:?}");
        }
    }

    #[test]
    fn an_index_that_holds_the_secondary_key_still_hides_the_row_key_of_deletes() {
        let identity = ReplicaIdentity::Index(vec!["email".to_owned()]);
        let found = reasoned(Format::Auto, &identity, &[primary(), by_email()]);
        assert!(says(&found, Level::Warning, "row key's id"), "{found:?}");
        assert!(!says(&found, Level::Warning, "index does not hold"), "{found:?}");
    }

    #[test]
    fn named_key_columns_decide_what_is_secondary() {
        let names = ["email".to_owned()];
        let keys = [primary(), by_email()];
        let identity = ReplicaIdentity::Default;
        let reasoner = Reasoner::new("customer", Format::Debezium, &identity, Some(&names), &keys);
        let found = reasoner.findings();
        assert!(found.iter().all(|finding| finding.what.contains("customer:{id}")), "{found:?}");
        assert!(
            !found.is_empty() && !found.iter().any(|finding| finding.what.contains("taken to be")),
            "{found:?}"
        );
    }

    #[test]
    fn a_key_that_can_pass_between_rows_says_how_it_is_ordered_unless_it_is_only_deleted() {
        let keys = [primary(), by_email()];
        let guarded = reasoned(Format::Debezium, &ReplicaIdentity::Full, &keys);
        assert!(says(&guarded, Level::Note, "version guard"), "{guarded:?}");
        let compared = reasoned(Format::Rows, &ReplicaIdentity::Default, &keys);
        assert!(says(&compared, Level::Note, "whichever arrives later stays"), "{compared:?}");
        let invalidated = [primary(), Key { invalidated: true, ..by_email() }];
        let found = reasoned(Format::Debezium, &ReplicaIdentity::Default, &invalidated);
        assert!(says(&found, Level::Warning, "is not deleted") && found.len() == 1, "{found:?}");
        let shared = [Key { shared: true, ..primary() }];
        assert!(says(
            &reasoned(Format::Auto, &ReplicaIdentity::Default, &shared),
            Level::Note,
            "version guard"
        ));
    }

    fn findings_of(format: Format, identity: &ReplicaIdentity, keys: &[KeyTemplate]) -> Vec<(Level, String)> {
        reasoned(format, identity, &keys.iter().map(Key::of).collect::<Vec<_>>())
    }

    fn of_set(key: &str, member: &str) -> KeyTemplate {
        let member = crate::entity::template::Template::parse(member).unwrap();
        KeyTemplate::parse(key).unwrap().with_member(crate::mutation::MemberKind::Set, member)
    }

    #[test]
    fn members_that_hold_the_row_key_pass_to_no_other_row() {
        let index = [of_set("orders:{customer_id}", "{id}")];
        let full = findings_of(Format::Debezium, &ReplicaIdentity::Full, &index);
        assert!(says(&full, Level::Note, "tombstone") && full.len() == 1, "{full:?}");
        let default = findings_of(Format::Debezium, &ReplicaIdentity::Default, &index);
        let words = "the old \"orders:{customer_id}\" (member \"{id}\") keeps its member for ever";
        assert!(says(&default, Level::Warning, words), "{default:?}");
        assert!(says(&default, Level::Warning, "taken to be id"), "{default:?}");
        assert_eq!(findings_of(Format::Rows, &ReplicaIdentity::Default, &[of_set("all", "{id}")]), []);
    }

    #[test]
    fn a_member_that_passes_between_rows_needs_positions() {
        let keys = [KeyTemplate::parse("c:{id}").unwrap(), of_set("emails", "{email}")];
        let guarded = findings_of(Format::Debezium, &ReplicaIdentity::Full, &keys);
        assert!(says(&guarded, Level::Note, "a side key for each member"), "{guarded:?}");
        let refused = findings_of(Format::Rows, &ReplicaIdentity::Default, &keys);
        assert!(says(&refused, Level::Error, "no source position to order its rows by"), "{refused:?}");
    }
}
