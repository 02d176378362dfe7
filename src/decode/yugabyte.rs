//! YugabyteDB's columns in Debezium's envelopes and keys: `{"value":7,"set":true}`, as its own plugin `yboutput` and
//! its gRPC connector write them without the transformation `PGCompatible`:
//! <https://docs.yugabyte.com/stable/additional-features/change-data-capture/using-logical-replication/transformers/>.
//!
//! A column that the event does not tell, for it did not change, is a bare null; one that is null is
//! `{"value":null,"set":true}`.

use std::borrow::Cow;

use super::json::Scanner;
use super::rows;
use crate::change::{Cell, Column, Row};
use crate::types::{Kind, Raw, Typed};

/// Takes the columns out of what they are wrapped in, where all that are there are.
///
/// No other row of Debezium's has nothing but such objects for columns, and every table has a key that is told.
pub(super) fn unwrap<'a>(mut row: Row<'a>) -> Row<'a> {
    // The usual row is left at its first column that is told.
    let first = row.columns.iter().find_map(|column| match column.cell {
        Cell::Present(typed) => Some(typed),
        Cell::Null | Cell::Absent | Cell::Unavailable => None,
    });
    if !first.is_some_and(|typed| matches!(typed.raw, Raw::Json(token) if token.starts_with('{'))) {
        return row;
    }
    let mut columns: Vec<Column<'a>> = Vec::with_capacity(row.columns.len());
    for column in &row.columns {
        let cell = match column.cell {
            Cell::Present(typed) => match told(typed) {
                Some(cell) => cell,
                None => return row,
            },
            Cell::Null | Cell::Absent | Cell::Unavailable => Cell::Unavailable,
        };
        columns.push(Column { name: Cow::clone(&column.name), cell });
    }
    row.columns = columns;
    row
}

/// What a wrapped column holds; `None` where it is not wrapped.
fn told<'a>(typed: Typed<'a>) -> Option<Cell<'a>> {
    let Raw::Json(token) = typed.raw else { return None };
    let inside = rows::scan(&mut Scanner::new(token, 0), None).ok()?;
    let [first, second] = inside.columns.as_slice() else { return None };
    let (value, set) = match (&*first.name, &*second.name) {
        ("value", "set") => (first, second),
        ("set", "value") => (second, first),
        _ => return None,
    };
    let set = match set.cell {
        Cell::Present(Typed { raw: Raw::Json("true"), .. }) => true,
        Cell::Present(Typed { raw: Raw::Json("false"), .. }) => false,
        _ => return None,
    };
    let kind = match typed.kind {
        Kind::Struct(fields) => fields.iter().find(|(name, _)| name == "value").map(|(_, kind)| kind),
        _ => None,
    };
    Some(match value.cell {
        _ if !set => Cell::Unavailable,
        Cell::Present(Typed { raw: Raw::Json(token), .. }) => {
            rows::cell(token, kind.unwrap_or(&Kind::Untyped))
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;
    use super::super::{Decoder, Format};
    use crate::record::{AsRecord as _, OwnedRecord};

    fn see(key: &str, value: Option<&str>) -> String {
        let record = OwnedRecord {
            key: Some(key.as_bytes().to_vec()),
            value: value.map(|value| value.as_bytes().to_vec()),
            ..OwnedRecord::default()
        };
        told(&Decoder::new(Format::Auto).decode(&record.as_record()))
    }

    #[test]
    fn wrapped_columns_are_told_null_or_not_told() {
        let key = r#"{"id":{"value":7,"set":true}}"#;
        let source = r#""source":{"connector":"postgresql","table":"t","lsn":5}"#;
        let update = |after: &str| format!(r#"{{"before":null,"after":{after},{source},"op":"u"}}"#);
        for (after, expected) in [
            (
                r#"{"id":{"value":7,"set":true},"name":null,"aura":{"value":null,"set":true},"x":{"set":false,"value":null}}"#,
                "u k(id=7) a(id=7 name:unavailable aura:null x:unavailable)",
            ),
            // Structs of other columns, and what merely looks alike, stay as they are.
            (
                r#"{"id":7,"name":null,"p":{"value":1,"set":true}}"#,
                r#"u k(id=7) a(id=7 name:null p={"value":1,"set":true})"#,
            ),
            (
                r#"{"id":{"value":7,"set":true,"more":1}}"#,
                r#"u k(id=7) a(id={"value":7,"set":true,"more":1})"#,
            ),
            (r#"{"id":{"value":7,"set":"true"}}"#, r#"u k(id=7) a(id={"value":7,"set":"true"})"#),
        ] {
            assert_eq!(see(key, Some(&update(after))), expected);
        }
        let delete = format!(
            r#"{{"before":{{"id":{{"value":7,"set":true}},"n":null}},"after":null,{source},"op":"d"}}"#
        );
        assert_eq!(see(key, Some(&delete)), "d k(id=7) b(id=7 n:unavailable)");
        assert_eq!(see(key, None), "tombstone k(id=7)");
    }

    #[test]
    fn a_wrapped_column_has_the_type_of_its_schema() {
        let wrapped = r#"{"type":"struct","optional":true,"field":"d","fields":[{"type":"int32","name":"io.debezium.time.Date","field":"value"},{"type":"boolean","field":"set"}]}"#;
        let value = format!(
            r#"{{"schema":{{"type":"struct","fields":[{{"type":"struct","field":"after","fields":[{wrapped}]}}]}},"payload":{{"before":null,"after":{{"d":{{"value":0,"set":true}}}},"source":{{"connector":"postgresql"}},"op":"c"}}}}"#
        );
        let record = OwnedRecord { value: Some(value.into_bytes()), ..OwnedRecord::default() };
        let mut decoder = Decoder::new(Format::Auto);
        let Ok(super::super::Decoded::Changes(changes)) = decoder.decode(&record.as_record()) else {
            panic!("no change")
        };
        let crate::change::Cell::Present(typed) = changes[0].after.as_ref().unwrap().cell("d") else {
            panic!("no value")
        };
        assert_eq!(typed.kind, &crate::types::Kind::Date);
    }
}
