//! What the columns of a row are elsewhere: the types and the order that the change events of the same table have.
//!
//! A file seldom says as much as a change event: CSV has texts, a warehouse keeps a NUMERIC(19,0) for an integer
//! and an instant for a time stamp without a zone. Where the events' types are known, a row is read under them, so
//! that a value is the same whichever way it came.

use std::borrow::Cow;

use crate::change::{Cell, Column, Row};
use crate::types::{IsoText, Kind, Raw, Typed};

/// A column as change events carry it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its type; `Untyped` where the events tell none.
    pub kind: Kind,
    /// What form its values have, where the type does not tell.
    pub form: Form,
}

impl Seen {
    fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The form of an untyped value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// A text, or not known.
    #[default]
    Text,
    /// A JSON number.
    Number,
    /// `true` or `false`.
    Bool,
    /// A list or an object.
    Nested,
}

impl Form {
    /// The form of a value as an event carries it.
    pub fn of(raw: Raw<'_>) -> Form {
        match raw {
            Raw::Json(token) => match token.as_bytes().first() {
                Some(b'{' | b'[') => Form::Nested,
                Some(b't' | b'f') => Form::Bool,
                Some(b'-' | b'0'..=b'9') => Form::Number,
                _ => Form::Text,
            },
            Raw::Bool(_) => Form::Bool,
            Raw::Int(_) | Raw::Double(_) => Form::Number,
            Raw::Text(_) | Raw::Bytes(_) => Form::Text,
        }
    }
}

/// What is known of the rows from elsewhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    /// The columns, in their order. With `whole` a row has exactly these.
    pub columns: Vec<Seen>,
    /// True where `columns` are all that a row has: what a file has beyond them is left out, and what it lacks
    /// counts as not told. False where they only tell types.
    pub whole: bool,
    /// What a column means that a row lacks although other rows may have it.
    pub absent_is_null: bool,
}

impl Shape {
    /// The row under this shape. `in_file`: the file's own columns, where it says them; a column that is not among
    /// them was not exported, whatever `absent_is_null` says.
    pub fn of_row<'a>(&'a self, row: Row<'a>, in_file: Option<&[String]>) -> Row<'a> {
        if !self.whole {
            let mut row = row;
            for column in &mut row.columns {
                if let Some(seen) = self.columns.iter().find(|seen| seen.name == column.name) {
                    column.cell = under(column.cell, seen);
                }
            }
            return row;
        }
        let mut found: Vec<Option<Column<'a>>> = row.columns.into_iter().map(Some).collect();
        let mut columns = Vec::with_capacity(self.columns.len());
        for (index, seen) in self.columns.iter().enumerate() {
            let is_it = |column: &Option<Column<'a>>| column.as_ref().is_some_and(|it| it.name == seen.name);
            let is_alike =
                |column: &Option<Column<'a>>| column.as_ref().is_some_and(|it| seen.is_named(&it.name));
            // The usual file has its columns in the table's order.
            let at = match found.get(index) {
                Some(column) if is_it(column) => Some(index),
                // Warehouses change the case of names.
                _ => found.iter().position(is_it).or_else(|| found.iter().position(is_alike)),
            };
            let taken = at.and_then(|at| found.get_mut(at)).and_then(Option::take);
            let cell = match taken {
                Some(column) => under(column.cell, seen),
                None if self.absent_is_null && in_file.is_none_or(|names| names.contains(&seen.name)) => {
                    Cell::Null
                }
                None => Cell::Unavailable,
            };
            columns.push(Column { name: Cow::Borrowed(&seen.name), cell });
        }
        Row { columns, declared: row.declared, text: None }
    }

    /// The columns that rows have and this file does not.
    pub fn missing_in<'s>(&'s self, in_file: &'s [String]) -> impl Iterator<Item = &'s str> {
        let whole = self.whole;
        self.columns
            .iter()
            .map(|seen| seen.name.as_str())
            .filter(move |name| whole && !in_file.iter().any(|known| known.eq_ignore_ascii_case(name)))
    }
}

fn under<'a>(cell: Cell<'a>, seen: &'a Seen) -> Cell<'a> {
    match cell {
        Cell::Present(typed) => Cell::Present(reconcile(typed, seen)),
        other => other,
    }
}

/// The value under the events' type, where the file's own says less or something else.
fn reconcile<'a>(typed: Typed<'a>, seen: &'a Seen) -> Typed<'a> {
    const ISO_STAMP: Kind = Kind::IsoText(IsoText::Timestamp);
    let Typed { raw, kind } = typed;
    let of = |raw: Raw<'a>, kind: &'a Kind| Typed { raw, kind };
    match (kind, &seen.kind) {
        (Kind::Untyped, Kind::Untyped) => of(formed(raw, seen.form), kind),
        (Kind::Untyped, wanted) => textual(raw, wanted),
        // A warehouse keeps one kind of time stamp, often the other one.
        (Kind::Instant(unit), Kind::Timestamp(_) | Kind::IsoText(IsoText::Timestamp)) => {
            of(raw, stamp(*unit))
        }
        (Kind::Timestamp(unit), Kind::Instant(_) | Kind::ZonedText) => of(raw, instant(*unit)),
        (&ISO_STAMP, Kind::Instant(_) | Kind::ZonedText) => {
            of(raw, &Kind::Instant(crate::types::Unit::Nanos))
        }
        (&ISO_STAMP, _) => typed,
        // What the file has as text or as a number with no fraction.
        (Kind::Text, Kind::Text | Kind::Untyped) => typed,
        (Kind::Text, wanted) => textual(raw, wanted),
        (
            Kind::Decimal { .. } | Kind::Double,
            wanted @ (Kind::Int | Kind::Uint | Kind::Double | Kind::Decimal { .. }),
        ) if matches!(raw, Raw::Text(_) | Raw::Double(_)) => of(raw, wanted),
        (Kind::Int | Kind::Uint, wanted @ (Kind::Bool | Kind::Decimal { .. } | Kind::Double)) => {
            of(raw, wanted)
        }
        (Kind::Int, Kind::Uint) => of(raw, &seen.kind),
        (Kind::Bytes, wanted @ (Kind::Uuid | Kind::Text | Kind::Json)) => of(raw, wanted),
        _ => typed,
    }
}

/// A text under a type: what is written as base64 in change events is written out in exports.
fn textual<'a>(raw: Raw<'a>, wanted: &'a Kind) -> Typed<'a> {
    let nested = matches!(wanted, Kind::Array(_) | Kind::Map(..) | Kind::Struct(_));
    match (raw, wanted) {
        (Raw::Text(text), _) if nested => Typed { raw: formed(Raw::Text(text), Form::Nested), kind: wanted },
        (Raw::Json(token), Kind::Decimal { .. }) if is_decimal(token.trim_matches('"')) => {
            Typed { raw, kind: &Kind::Decimal { scale: None } }
        }
        _ => Typed { raw, kind: wanted },
    }
}

/// A text as the token that it is, where values of this column are such tokens.
fn formed(raw: Raw<'_>, form: Form) -> Raw<'_> {
    let Raw::Text(text) = raw else { return raw };
    let fits = match form {
        Form::Text => false,
        Form::Number => is_json(text, |first| first == b'-' || first.is_ascii_digit()),
        Form::Bool => matches!(text, "true" | "false"),
        Form::Nested => is_json(text, |first| matches!(first, b'{' | b'[')),
    };
    if fits { Raw::Json(text) } else { raw }
}

fn is_json(text: &str, first: impl Fn(u8) -> bool) -> bool {
    text.as_bytes().first().is_some_and(|byte| first(*byte))
        && text.as_bytes().last().is_some_and(|byte| !byte.is_ascii_whitespace())
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// True for digits with or without a sign and a point.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match unsigned.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(unsigned),
    }
}

fn stamp(unit: crate::types::Unit) -> &'static Kind {
    use crate::types::Unit;
    match unit {
        Unit::Millis => &Kind::Timestamp(Unit::Millis),
        Unit::Micros => &Kind::Timestamp(Unit::Micros),
        Unit::Nanos => &Kind::Timestamp(Unit::Nanos),
    }
}

fn instant(unit: crate::types::Unit) -> &'static Kind {
    use crate::types::Unit;
    match unit {
        Unit::Millis => &Kind::Instant(Unit::Millis),
        Unit::Micros => &Kind::Instant(Unit::Micros),
        Unit::Nanos => &Kind::Instant(Unit::Nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{RenderStyle, Unit, render_json};

    fn shown(raw: Raw<'_>, kind: &Kind, wanted: Kind, form: Form) -> String {
        let seen = Seen { name: "c".to_owned(), kind: wanted, form };
        let mut out = Vec::new();
        match render_json(reconcile(Typed { raw, kind }, &seen), RenderStyle::default(), &mut out) {
            Ok(()) => String::from_utf8(out).unwrap(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn a_value_is_rendered_as_its_change_event_s_would_be() {
        let decimal = || Kind::Decimal { scale: Some(2) };
        let cases = [
            (Raw::Text("7"), Kind::Untyped, Kind::Int, "7"),
            (Raw::Text("1234"), Kind::Untyped, decimal(), "\"1234\""),
            (Raw::Json("\"1234\""), Kind::Untyped, decimal(), "\"1234\""),
            (Raw::Json("12.50"), Kind::Untyped, decimal(), "\"12.50\""),
            (Raw::Json("\"BOI=\""), Kind::Untyped, decimal(), "\"12.50\""),
            (Raw::Text("t"), Kind::Untyped, Kind::Bool, "true"),
            (
                Raw::Text("2024-11-01 09:57:00.250"),
                Kind::Untyped,
                Kind::Timestamp(Unit::Micros),
                "\"2024-11-01T09:57:00.25\"",
            ),
            (
                Raw::Text("2024-11-01 09:57:00 UTC"),
                Kind::Untyped,
                Kind::ZonedText,
                "\"2024-11-01T09:57:00Z\"",
            ),
            (Raw::Text("[1, 2]"), Kind::Untyped, Kind::Array(std::sync::Arc::new(Kind::Int)), "[1,2]"),
            (
                Raw::Int(1_000),
                Kind::Instant(Unit::Millis),
                Kind::Timestamp(Unit::Micros),
                "\"1970-01-01T00:00:01\"",
            ),
            (Raw::Int(1_000), Kind::Timestamp(Unit::Millis), Kind::ZonedText, "\"1970-01-01T00:00:01Z\""),
            (Raw::Text("7"), Kind::Decimal { scale: None }, Kind::Int, "7"),
            (Raw::Int(1), Kind::Int, Kind::Bool, "true"),
            (Raw::Text("12.50"), Kind::Text, decimal(), "\"12.50\""),
            (Raw::Int(7), Kind::Int, Kind::Text, "7"),
        ];
        for (raw, kind, wanted, expected) in cases {
            let said = format!("{raw:?} {kind:?} {wanted:?}");
            assert_eq!(shown(raw, &kind, wanted, Form::Text), expected, "{said}");
        }
    }

    #[test]
    fn without_types_a_text_takes_the_form_that_the_events_have() {
        for (text, form, expected) in [
            ("7", Form::Number, "7"),
            ("1e3", Form::Number, "1e3"),
            ("007", Form::Number, "\"007\""),
            ("7 ", Form::Number, "\"7 \""),
            ("7", Form::Text, "\"7\""),
            ("true", Form::Bool, "true"),
            ("{\"a\":1}", Form::Nested, "{\"a\":1}"),
            ("{a", Form::Nested, "\"{a\""),
        ] {
            assert_eq!(shown(Raw::Text(text), &Kind::Untyped, Kind::Untyped, form), expected, "{text}");
        }
    }

    #[test]
    fn a_row_takes_the_events_order_and_what_it_lacks_is_not_told() {
        let seen = |name: &str| Seen { name: name.to_owned(), kind: Kind::Untyped, form: Form::Text };
        let mut shape =
            Shape { columns: ["a", "b", "c"].map(seen).into(), whole: true, absent_is_null: false };
        let row = || Row {
            columns: ["dt", "b", "a"].map(|name| Column { name: name.into(), cell: Cell::json("1") }).into(),
            declared: &[],
            text: None,
        };
        let cells = |shape: &Shape, in_file: Option<&[String]>| {
            let row = shape.of_row(row(), in_file);
            let shown = row.columns.iter().map(|column| match column.cell {
                Cell::Present(_) => column.name.clone().into_owned(),
                Cell::Null => format!("{}=null", column.name),
                Cell::Absent | Cell::Unavailable => format!("{}=?", column.name),
            });
            shown.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(cells(&shape, None), "a b c=?");
        let names = ["dt", "b", "a"].map(str::to_owned);
        assert_eq!(shape.missing_in(&names).collect::<Vec<_>>(), ["c"]);
        shape.absent_is_null = true;
        assert_eq!(cells(&shape, None), "a b c=null");
        assert_eq!(cells(&shape, Some(&names)), "a b c=?");
        shape.whole = false;
        assert_eq!(cells(&shape, None), "dt b a");
    }
}
