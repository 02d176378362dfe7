//! Which columns of a row a mapping reads: what an export is read for.

use std::collections::BTreeSet;

use super::super::condition::Condition;
use super::super::spec::{Columns, MappingSpec, Member, Shape, Source, TtlBase, WriteSpec};

/// The columns; `None` where it may be any of them.
pub(super) fn of(spec: &MappingSpec) -> Option<Vec<String>> {
    let mut columns = BTreeSet::new();
    if let Some(condition) = &spec.delete_when {
        of_condition(condition, &mut columns)?;
    }
    for write in &spec.writes {
        of_write(write, &mut columns)?;
    }
    Some(columns.into_iter().collect())
}

fn of_write(write: &WriteSpec, columns: &mut BTreeSet<String>) -> Option<()> {
    if let Some(condition) = &write.when {
        of_condition(condition, columns)?;
    }
    columns.extend(write.key.columns().map(str::to_owned));
    if let TtlBase::Column { column, .. } = &write.ttl.base {
        columns.insert(column.clone());
    }
    match &write.shape {
        // A larger template may take the whole row.
        Shape::Json(Columns::All) | Shape::Hash(Columns::All) | Shape::Template(_) => return None,
        Shape::Json(Columns::Chosen(chosen)) | Shape::Hash(Columns::Chosen(chosen)) => {
            columns.extend(chosen.iter().map(|chosen| chosen.column.clone()));
        }
        Shape::Nested(members) => of_members(members, columns),
        Shape::Text(template) => columns.extend(template.columns().map(str::to_owned)),
        Shape::Bytes(column) => drop(columns.insert(column.clone())),
        Shape::Set { member } => columns.extend(member.columns().map(str::to_owned)),
        Shape::SortedSet { member, score } => {
            columns.extend(member.columns().map(str::to_owned));
            columns.insert(score.clone());
        }
        Shape::Invalidate => {}
    }
    Some(())
}

fn of_members(members: &[Member], columns: &mut BTreeSet<String>) {
    for member in members {
        match &member.source {
            Source::Column(column) | Source::Parsed(column) => drop(columns.insert(column.clone())),
            Source::Constant(_) => {}
            Source::Object(members) => of_members(members, columns),
        }
    }
}

/// The columns that a condition names as `after.column`; `None` where it takes `after` as a whole.
fn of_condition(condition: &Condition, columns: &mut BTreeSet<String>) -> Option<()> {
    let text = condition.as_str();
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    for (at, name) in text.match_indices("after") {
        let before = text.as_bytes().get(..at).and_then(<[u8]>::last);
        let behind = text.get(at + name.len()..).unwrap_or_default();
        if before.is_some_and(|byte| is_part(*byte)) || behind.bytes().next().is_some_and(is_part) {
            continue;
        }
        let column = behind.strip_prefix('.')?;
        let end = column.bytes().position(|byte| !is_part(byte)).unwrap_or(column.len());
        columns.insert(column.get(..end).filter(|column| !column.is_empty())?.to_owned());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_tells_its_columns_or_that_it_takes_any() {
        for (text, expected) in [
            ("after.status == 'active' && after.n > 1", Some("n status")),
            ("op == 'd'", Some("")),
            ("after == null", None),
            ("after['x'] == 1", None),
            ("has(after.a)", Some("a")),
        ] {
            let mut columns = BTreeSet::new();
            let told = of_condition(&Condition::compile(text).unwrap(), &mut columns);
            let found = told.map(|()| columns.into_iter().collect::<Vec<_>>().join(" "));
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
