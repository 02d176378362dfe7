//! MongoDB's Extended JSON, both versions: <https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/>.
//!
//! A value that JSON has no type for is an object whose one name begins with a dollar. Fields of a document
//! are turned into typed cells by it; what lies deeper, inside a field, stays as it came.

use super::json::{Scanner, unescape};
use super::rows;
use crate::change::{Cell, Row};
use crate::types::{Kind, Raw, Typed, Unit};

/// Turns the fields of a document into typed cells.
pub(super) fn apply(row: &mut Row<'_>) {
    for column in &mut row.columns {
        if let Cell::Present(Typed { raw: Raw::Json(token), kind: Kind::Untyped }) = column.cell {
            column.cell = cell(token);
        }
    }
}

/// The cell of one value. A text is a text here and never a placeholder or a number.
pub(super) fn cell(token: &str) -> Cell<'_> {
    if token.starts_with('{') {
        return wrapped(token).unwrap_or_else(|| Cell::json(token));
    }
    match token {
        "null" => Cell::Null,
        _ => Cell::json(token),
    }
}

fn wrapped(token: &str) -> Option<Cell<'_>> {
    let first = Scanner::new(token, 0).first_name()?;
    if !first.starts_with('$') {
        return None;
    }
    let object = rows::scan(&mut Scanner::new(token, 0), None).ok()?;
    let inner = |name: &str| match object.cell(name) {
        Cell::Present(Typed { raw: Raw::Json(token), .. }) => Some(token),
        _ => None,
    };
    let of =
        |kind: &'static Kind| inner(&first).map(|token| Cell::Present(Typed { raw: Raw::Json(token), kind }));
    match &*first {
        "$oid" | "$symbol" => of(&Kind::Text),
        "$numberInt" | "$numberLong" => of(&Kind::Int),
        "$numberDouble" => of(&Kind::Double),
        "$numberDecimal" => of(&Kind::Decimal { scale: None }),
        "$undefined" => Some(Cell::Null),
        "$uuid" => of(&Kind::Uuid),
        // Milliseconds bare or as a `$numberLong`, or a text with an offset.
        "$date" => match inner("$date")? {
            date if date.starts_with('{') => {
                let count = cell(date);
                match count {
                    Cell::Present(Typed { raw, .. }) => Some(Cell::Present(Typed { raw, kind: MILLIS })),
                    _ => None,
                }
            }
            date if date.starts_with('"') && unescape(date).is_some_and(|text| text.contains('T')) => {
                of(&Kind::ZonedText)
            }
            _ => of(MILLIS),
        },
        // `{"$binary": "…", "$type": "00"}`, or `{"$binary": {"base64": "…", "subType": "00"}}`.
        "$binary" | "$type" => {
            let binary = inner("$binary")?;
            let text = if binary.starts_with('{') {
                let inside = rows::scan(&mut Scanner::new(binary, 0), None).ok()?;
                match inside.cell("base64") {
                    Cell::Present(Typed { raw: Raw::Json(token), .. }) => token,
                    _ => return None,
                }
            } else {
                binary
            };
            Some(Cell::Present(Typed { raw: Raw::Json(text), kind: &Kind::Bytes }))
        }
        _ => None,
    }
}

const MILLIS: &Kind = &Kind::Instant(Unit::Millis);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{RenderStyle, render_json};

    #[test]
    fn each_wrapper_of_both_versions_is_its_type() {
        for (token, expected) in [
            (r#"{"$oid":"5f43a1b2c3d4e5f6a7b8c9d0"}"#, r#""5f43a1b2c3d4e5f6a7b8c9d0""#),
            (r#"{"$numberLong":"9007199254740993"}"#, "9007199254740993"),
            (r#"{ "$numberInt" : "7" }"#, "7"),
            (r#"{"$numberDecimal":"12.50"}"#, r#""12.50""#),
            (r#"{"$numberDouble":"-Infinity"}"#, r#""-Infinity""#),
            (r#"{"$date":1730455020250}"#, r#""2024-11-01T09:57:00.25Z""#),
            (r#"{"$date":{"$numberLong":"1730455020250"}}"#, r#""2024-11-01T09:57:00.25Z""#),
            (r#"{"$date":"2024-11-01T09:57:00.250Z"}"#, r#""2024-11-01T09:57:00.25Z""#),
            (r#"{"$binary":"AAEC","$type":"00"}"#, r#""AAEC""#),
            (r#"{"$binary":{"base64":"AAEC","subType":"00"}}"#, r#""AAEC""#),
            (r#"{"street":"x"}"#, r#"{"street":"x"}"#),
            (r#"{"$ref":"x","$id":1}"#, r#"{"$ref":"x","$id":1}"#),
            ("7", "7"),
        ] {
            let Cell::Present(typed) = cell(token) else { panic!("{token}") };
            let mut out = Vec::new();
            render_json(typed, RenderStyle::default(), &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{token}");
        }
        assert_eq!(cell(r#"{"$undefined":true}"#), Cell::Null);
    }
}
