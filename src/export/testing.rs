//! Rows as text, for the tests of the readers.

use super::{Next, Rows};
use crate::change::{Cell, Row};
use crate::types::{Raw, RenderStyle, render_json};

/// What is left of the rows: `name=value`, a text that is no JSON in single quotes, under its own type rendered.
pub(super) fn listed(rows: &mut dyn Rows) -> Vec<String> {
    let mut listed = Vec::new();
    loop {
        match rows.next().unwrap() {
            Next::Row(row) => listed.push(shown(&row)),
            Next::Bad(why) => listed.push(format!("bad: {why}")),
            Next::End => return listed,
        }
    }
}

fn shown(row: &Row<'_>) -> String {
    let cells = row.columns.iter().map(|column| {
        let value = match column.cell {
            Cell::Null => "null".to_owned(),
            Cell::Absent | Cell::Unavailable => "?".to_owned(),
            Cell::Present(typed) => match typed.raw {
                Raw::Text(text)
                    if matches!(typed.kind, crate::types::Kind::Untyped | crate::types::Kind::Text) =>
                {
                    format!("'{text}'")
                }
                _ => {
                    let mut out = Vec::new();
                    match render_json(typed, RenderStyle::default(), &mut out) {
                        Ok(()) => String::from_utf8(out).unwrap(),
                        Err(error) => format!("error: {error}"),
                    }
                }
            },
        };
        format!("{}={value}", column.name)
    });
    cells.collect::<Vec<_>>().join(" ")
}
