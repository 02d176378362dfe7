//! What an entity says of its rows because no format can: which column holds the operation, what a column
//! means that is not there, and how names are spelt.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::change::{Belief, Cell, Change, Column, Connector, Op, Row};
use crate::types::{self, Kind, RenderStyle};

/// Rules for an entity's rows. By default there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowRules {
    /// Which column says that a row is a delete.
    pub op_column: Option<OpColumn>,
    /// What a declared column means that a row does not have.
    pub absent: Absent,
    /// Names are read in lower case.
    pub lower_case: bool,
}

/// A column that holds what happened to the row. It is no part of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpColumn {
    /// Its name.
    pub column: String,
    /// Its texts that mean a delete; with any other the row is written.
    pub delete: Vec<String>,
}

/// What a column means that the entity declares (`columns`) and a new row does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Absent {
    /// It stays left out.
    #[default]
    Omit,
    /// It is null: producers that leave nulls out.
    Null,
    /// The event does not hold it: producers that leave out what has not changed.
    Unavailable,
}

impl RowRules {
    /// True where rows stay as they are.
    pub fn is_none(&self) -> bool {
        *self == RowRules::default()
    }

    /// Turns the change into what these rules make of it. `declared` are the entity's types of columns.
    pub(crate) fn apply(&self, change: &mut Change<'_>, declared: &[(String, Kind)]) {
        if self.lower_case {
            for row in [&mut change.key, &mut change.before, &mut change.after].into_iter().flatten() {
                lower(row);
            }
        }
        if let Some(op_column) = &self.op_column {
            op_column.apply(change);
        }
        let cell = match self.absent {
            Absent::Omit => return,
            Absent::Null => Cell::Null,
            Absent::Unavailable => Cell::Unavailable,
        };
        let Some(after) = &mut change.after else { return };
        for (name, _) in declared {
            let has = |row: &Row<'_>| row.columns.iter().any(|column| column.name == *name);
            // What the record key holds is there, although the value leaves it out.
            if !has(after) && !change.key.as_ref().is_some_and(has) {
                after.columns.push(Column { name: Cow::Owned(name.clone()), cell });
            }
        }
    }
}

impl OpColumn {
    /// A delete's row is the old one, as much of it as it holds.
    fn apply(&self, change: &mut Change<'_>) {
        let Some(after) = &mut change.after else { return };
        let Some(at) = after.columns.iter().position(|column| column.name == self.column) else { return };
        let column = after.columns.remove(at);
        let mut text = Vec::new();
        if let Cell::Present(typed) = column.cell
            && types::render_text(typed, RenderStyle::default(), &mut text).is_ok()
            && self.delete.iter().any(|delete| delete.as_bytes() == text)
        {
            change.op = Op::Delete;
            change.before = change.after.take();
            change.belief = Belief::Whole;
            if change.connector == Connector::Unknown {
                change.connector = Connector::Other;
            }
        }
    }
}

/// Where two names become one, the last one counts, as where a name repeats.
fn lower(row: &mut Row<'_>) {
    for column in &mut row.columns {
        if column.name.chars().any(char::is_uppercase) {
            column.name = Cow::Owned(column.name.to_lowercase());
        }
    }
    let names: BTreeSet<&str> = row.columns.iter().map(|column| &*column.name).collect();
    if names.len() < row.columns.len() {
        let mut seen = BTreeSet::<String>::new();
        row.columns.reverse();
        row.columns.retain(|column| seen.insert(column.name.clone().into_owned()));
        row.columns.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::testing::{change_of, names, row};

    fn applied(rules: &RowRules, after: &str) -> Change<'static> {
        let mut change = change_of(Op::Update, r#"{"id":7}"#, "", after);
        change.connector = Connector::Unknown;
        rules.apply(&mut change, &[("id".into(), Kind::Int), ("total".into(), Kind::Int)]);
        change
    }

    #[test]
    fn the_op_column_turns_a_row_into_a_delete_and_leaves_it() {
        let op_column = OpColumn { column: "op".into(), delete: vec!["D".into(), "3".into()] };
        let rules = RowRules { op_column: Some(op_column), ..RowRules::default() };
        for (after, op, left) in [
            (r#"{"op":"D","id":7,"n":1}"#, Op::Delete, "id n"),
            (r#"{"op":3,"id":7}"#, Op::Delete, "id"),
            (r#"{"id":7,"op":"U"}"#, Op::Update, "id"),
            (r#"{"id":7,"op":null}"#, Op::Update, "id"),
            (r#"{"id":7}"#, Op::Update, "id"),
        ] {
            let change = applied(&rules, after);
            assert_eq!(change.op, op, "{after}");
            let image = if op == Op::Delete { &change.before } else { &change.after };
            assert_eq!(names(image.as_ref().unwrap()), left, "{after}");
            assert_eq!(change.belief == Belief::Whole, op == Op::Delete, "{after}");
        }
    }

    #[test]
    fn absent_columns_are_what_the_entity_says() {
        for (absent, expected) in [
            (Absent::Omit, Cell::Absent),
            (Absent::Null, Cell::Null),
            (Absent::Unavailable, Cell::Unavailable),
        ] {
            let change = applied(&RowRules { absent, ..RowRules::default() }, r#"{"n":1}"#);
            let after = change.after.unwrap();
            assert_eq!(after.cell("total"), expected, "{absent:?}");
            assert_eq!(after.cell("id"), Cell::Absent, "the record key holds it");
        }
    }

    #[test]
    fn names_are_read_in_lower_case_and_stay_unique() {
        let mut upper = row(r#"{"ID":1,"Name":"x","name":"y"}"#);
        lower(&mut upper);
        assert_eq!(names(&upper), "id name");
        assert_eq!(upper.cell("name"), Cell::json("\"y\""));
    }
}
