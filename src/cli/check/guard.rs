//! What an entity's `guard` can order, and what not: from the settings alone.

use super::super::finding::{Finding, Level};
use crate::decode::Format;
use crate::entity::{Entity, GuardBy, ReplicaIdentity, Topics};

/// Findings about an entity's guard, where it has one.
pub(super) fn about(entity: &Entity) -> Vec<Finding> {
    let Some(rule) = &entity.guard else { return Vec::new() };
    let finding = |level, what: String| {
        Finding::new(level, format!("entity {:?}", &*entity.name), format!("guard: {what}"))
    };
    match &rule.by {
        GuardBy::Source => by_source(entity.format)
            .map(|(level, what, remedy)| finding(level, what.to_owned()).remedy(remedy))
            .into_iter()
            .collect(),
        GuardBy::Offset => {
            let mut findings = vec![finding(
                Level::Note,
                "offsets order what one partition writes: when the topic is made anew or gets more partitions, raise \
                 guard.epoch; keys that rows of several partitions can have stay under the source position"
                    .to_owned(),
            )];
            if reads_several(&entity.topics) {
                findings.push(
                    finding(
                        Level::Warning,
                        "the entity reads several topics, whose offsets do not compare: where two of them tell of \
                         one key, the one with lower offsets is refused"
                            .to_owned(),
                    )
                    .remedy("guard by \"source\" or by a column, or make an entity of each topic with keys of its own"),
                );
            }
            findings
        }
        GuardBy::Columns(names) => {
            let names = names.join(", ");
            let mut findings = vec![finding(
                Level::Note,
                format!(
                    "{names} must rise with each change of a row, also of one that is inserted again; a record without \
                     it is an error"
                ),
            )];
            findings.extend(
                untold_by_deletes(entity, &names)
                    .map(|(what, remedy)| finding(Level::Note, what).remedy(remedy)),
            );
            findings
        }
    }
}

/// Formats whose records may lack a position.
fn by_source(format: Format) -> Option<(Level, &'static str, &'static str)> {
    const WITHOUT: &str = "records of this format tell a position only where their producer was asked for it: without, all of them \
         are equally old, and the guard holds nothing back";
    match format {
        Format::Flattened => {
            Some((Level::Warning, WITHOUT, "add.fields = op,table,lsn,source.ts_ms,source.sequence"))
        }
        Format::Dms => Some((Level::Warning, WITHOUT, "turn IncludeTransactionDetails on")),
        Format::Cockroach => {
            Some((Level::Warning, WITHOUT, "create the changefeed WITH mvcc_timestamp, or updated"))
        }
        Format::Auto => Some((
            Level::Note,
            "plain rows have no source position: of them the guard holds nothing back",
            "where the topics hold plain rows, guard by \"offset\" or by a column",
        )),
        Format::Canal => Some((
            Level::Note,
            "Canal's positions count seconds: of changes in one second the later to arrive stays",
            "where that is too coarse, guard by \"offset\" or by a column",
        )),
        // The settings refuse a guard by position for plain rows.
        Format::Rows
        | Format::Debezium
        | Format::Maxwell
        | Format::Ticdc
        | Format::Ogg
        | Format::Sequin
        | Format::Mongo => None,
    }
}

fn reads_several(topics: &Topics) -> bool {
    match topics {
        Topics::Names(names) => names.len() > 1,
        Topics::Pattern(_) => true,
    }
}

/// Deletes that do not tell the version of the row that they end.
fn untold_by_deletes(entity: &Entity, names: &str) -> Option<(String, &'static str)> {
    let untold = format!(
        "a delete that does not tell {names} carries no version: it applies in the order of its partition, while \
         its row is the one that is remembered"
    );
    match (entity.format, &entity.replica_identity) {
        (Format::Maxwell | Format::Canal | Format::Ticdc | Format::Ogg, _) => None,
        (Format::Auto | Format::Debezium | Format::Sequin, ReplicaIdentity::Full) => None,
        (Format::Auto | Format::Debezium | Format::Sequin, _) => Some((
            untold,
            "on PostgreSQL: ALTER TABLE … REPLICA IDENTITY FULL, and replica_identity = \"full\" here; or soft deletes \
             (delete_when), which tell it",
        )),
        (Format::Rows | Format::Flattened | Format::Dms | Format::Cockroach | Format::Mongo, _) => {
            Some((untold, "soft deletes (delete_when) tell it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::GuardRule;
    use crate::entity::testing::{mapping, write};

    fn found(format: Format, by: GuardBy, change: impl FnOnce(&mut Entity)) -> Vec<(Level, String)> {
        let mut entity = mapping(vec![write("c:{id}")]);
        entity.format = format;
        entity.guard = Some(GuardRule { by, epoch: 0 });
        change(&mut entity);
        about(&entity).into_iter().map(|finding| (finding.level, finding.what)).collect()
    }

    #[test]
    fn without_a_guard_there_is_nothing_to_say() {
        assert!(about(&mapping(vec![write("c:{id}")])).is_empty());
    }

    #[test]
    fn by_position_formats_that_may_lack_it_are_named() {
        for (format, level) in [
            (Format::Debezium, None),
            (Format::Maxwell, None),
            (Format::Auto, Some(Level::Note)),
            (Format::Flattened, Some(Level::Warning)),
            (Format::Dms, Some(Level::Warning)),
        ] {
            let found = found(format, GuardBy::Source, |_| {});
            assert_eq!(found.first().map(|(level, _)| *level), level, "{format:?}: {found:?}");
        }
    }

    #[test]
    fn by_offset_several_topics_are_doubtful() {
        let several = |entity: &mut Entity| entity.topics = Topics::Names(vec!["a".into(), "b".into()]);
        let one = found(Format::Rows, GuardBy::Offset, |_| {});
        assert!(matches!(one.as_slice(), [(Level::Note, _)]), "{one:?}");
        let two = found(Format::Rows, GuardBy::Offset, several);
        assert!(matches!(two.as_slice(), [(Level::Note, _), (Level::Warning, _)]), "{two:?}");
    }

    #[test]
    fn by_columns_it_is_said_what_deletes_do_not_tell() {
        let by = || GuardBy::Columns(vec!["updated_at".into()]);
        let full = |entity: &mut Entity| entity.replica_identity = ReplicaIdentity::Full;
        assert_eq!(found(Format::Debezium, by(), full).len(), 1);
        let default = found(Format::Debezium, by(), |_| {});
        assert!(default.iter().any(|(_, what)| what.contains("does not tell updated_at")), "{default:?}");
    }
}
