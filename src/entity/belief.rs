//! How much of `before` may be believed, and what is left of it.
//!
//! Under PostgreSQL's default replica identity the `before` of a delete holds made-up values in its NOT NULL
//! columns (`{"id":1,"email":"","n":0}`, seen with Debezium 3.7 on PostgreSQL 15), and under USING INDEX even
//! the record key of a delete is made up (`{"id":0}`). So what is not believed is taken out before any
//! handler sees it: there it reads as absent.

use super::ReplicaIdentity;
use crate::change::{Belief, Change, Connector, Op, Row};

/// How much of this change's `before` an entity with that replica identity believes.
///
/// The settings speak for PostgreSQL, and for formats that name no source system; of any other connector the
/// decoder knows better.
pub(crate) fn belief(change: &Change<'_>, identity: &ReplicaIdentity) -> Belief {
    match change.connector {
        Connector::Other => change.belief,
        Connector::Postgres | Connector::Unknown => match identity {
            ReplicaIdentity::Default => Belief::KeyColumns,
            ReplicaIdentity::Full => Belief::Whole,
            ReplicaIdentity::Index(_) => Belief::IndexColumns,
        },
    }
}

/// What is left of `before` under that belief; `None` where nothing is.
///
/// Key columns are the entity's `key_columns` where it has them (a record key may be made of other columns,
/// by `message.key.columns`), else the record key's.
pub(crate) fn believed<'a>(
    before: Row<'a>,
    belief: Belief,
    identity: &ReplicaIdentity,
    key_columns: Option<&[String]>,
    key: Option<&Row<'_>>,
) -> Option<Row<'a>> {
    let keep: &dyn Fn(&str) -> bool = match belief {
        Belief::Whole => return Some(before),
        Belief::None => return None,
        Belief::KeyColumns => &|name| match (key_columns, key) {
            (Some(names), _) => names.iter().any(|column| column == name),
            (None, Some(key)) => key.columns.iter().any(|column| column.name == name),
            (None, None) => false,
        },
        Belief::IndexColumns => &|name| match identity {
            ReplicaIdentity::Index(names) => names.iter().any(|column| column == name),
            ReplicaIdentity::Default | ReplicaIdentity::Full => false,
        },
    };
    let mut before = before;
    before.columns.retain(|column| keep(&column.name));
    (!before.columns.is_empty()).then_some(before)
}

/// True where the record key's values may be believed: always, but for deletes under USING INDEX.
pub(crate) fn believes_record_key(change: &Change<'_>) -> bool {
    !(change.op == Op::Delete && change.belief == Belief::IndexColumns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::testing::{change, names, row};

    #[test]
    fn settings_decide_for_postgres_and_unnamed_sources_and_decoders_for_others() {
        let index = ReplicaIdentity::Index(vec!["code".into()]);
        for (connector, identity, decoded, expected) in [
            (Connector::Postgres, ReplicaIdentity::Default, Belief::Whole, Belief::KeyColumns),
            (Connector::Postgres, ReplicaIdentity::Full, Belief::KeyColumns, Belief::Whole),
            (Connector::Postgres, index.clone(), Belief::KeyColumns, Belief::IndexColumns),
            (Connector::Unknown, ReplicaIdentity::Default, Belief::Whole, Belief::KeyColumns),
            (Connector::Unknown, ReplicaIdentity::Full, Belief::None, Belief::Whole),
            (Connector::Other, ReplicaIdentity::Default, Belief::Whole, Belief::Whole),
            (Connector::Other, index, Belief::None, Belief::None),
        ] {
            let mut change = change(Op::Update);
            change.connector = connector;
            change.belief = decoded;
            assert_eq!(belief(&change, &identity), expected, "{connector:?} {identity:?} {decoded:?}");
        }
    }

    #[test]
    fn columns_that_are_not_believed_are_taken_out() {
        let before = r#"{"id":1,"email":"","n":0,"code":"c"}"#;
        let key = row(r#"{"id":1}"#);
        let key_columns = ["email".to_owned()];
        let index = ReplicaIdentity::Index(vec!["code".into()]);
        for (belief, key_columns, key, expected) in [
            (Belief::Whole, None, Some(&key), Some("id email n code")),
            (Belief::None, None, Some(&key), None),
            (Belief::KeyColumns, None, Some(&key), Some("id")),
            (Belief::KeyColumns, Some(&key_columns[..]), Some(&key), Some("email")),
            (Belief::KeyColumns, None, None, None),
            (Belief::IndexColumns, None, Some(&key), Some("code")),
        ] {
            let left = believed(row(before), belief, &index, key_columns, key);
            assert_eq!(left.as_ref().map(names).as_deref(), expected, "{belief:?}");
        }
    }
}
