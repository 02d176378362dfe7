//! Which row a guarded write or delete speaks for.
//!
//! Text of table and key columns where it is short and plain (`public.customers:7`), so that who looks at a
//! side key can read it; else `#` and the 32 hexadecimal digits of a 128-bit FNV-1a digest of the same
//! pieces. Side keys outlive releases: changing any of this needs a migration.

use std::fmt::Write as _;

use super::digest::Fnv128;
use crate::change::{Cell, Row, TableName};
use crate::mutation::RowId;
use crate::types::{self, RenderStyle, ValueError};

/// The identity of a row of `table` with these key values, in a fixed order of the columns.
pub(crate) fn of_key(table: &str, values: &[Vec<u8>]) -> RowId {
    let mut text = Vec::with_capacity(RowId::MAX_BYTES);
    text.extend_from_slice(table.as_bytes());
    let mut plain = !table.is_empty() && table.bytes().all(is_plain);
    for (index, value) in values.iter().enumerate() {
        text.push(if index == 0 { b':' } else { b',' });
        text.extend_from_slice(value);
        plain &= value.iter().copied().all(is_plain);
    }
    if plain && text.len() <= RowId::MAX_BYTES {
        return RowId::new(&text);
    }
    let mut fnv = Fnv128::new();
    fnv.piece(table.as_bytes());
    values.iter().for_each(|value| fnv.piece(value));
    digest(fnv)
}

/// The identity of a row without a key: a digest of all its columns, whatever their order.
pub(crate) fn of_row(table: &str, row: &Row<'_>) -> Result<RowId, (String, ValueError)> {
    let mut names: Vec<&str> = row.columns.iter().map(|column| &*column.name).collect();
    names.sort_unstable();
    names.dedup();
    let mut fnv = Fnv128::new();
    fnv.piece(table.as_bytes());
    let mut value = Vec::new();
    for name in names {
        value.clear();
        // The first byte keeps null apart from every text.
        match row.cell(name) {
            Cell::Present(typed) => {
                value.push(b'=');
                types::render_key(typed, RenderStyle::default(), &mut value)
                    .map_err(|source| (name.to_owned(), source))?;
            }
            Cell::Null | Cell::Absent => {}
            Cell::Unavailable => value.push(b'?'),
        }
        fnv.piece(name.as_bytes());
        fnv.piece(&value);
    }
    Ok(digest(fnv))
}

/// The table's name within an identity: as much of it as the format tells, else the topic.
pub(crate) fn table_name(table: Option<&TableName<'_>>, topic: &str) -> String {
    match table {
        Some(TableName { schema: Some(qualifier), table, .. })
        | Some(TableName { schema: None, database: Some(qualifier), table }) => {
            format!("{qualifier}.{table}")
        }
        Some(TableName { table, .. }) => table.to_string(),
        None => topic.to_owned(),
    }
}

/// Plain bytes can neither be taken for a separator nor for the mark of a digest.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b':' | b',' | b'#')
}

fn digest(fnv: Fnv128) -> RowId {
    let mut text = String::with_capacity(33);
    let _ = write!(text, "#{:032x}", fnv.finish());
    RowId::new(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::testing::row;

    fn of(table: &str, values: &[&str]) -> String {
        let values: Vec<_> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        String::from_utf8(of_key(table, &values).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn short_plain_keys_stay_readable() {
        assert_eq!(of("public.customers", &["7"]), "public.customers:7");
        assert_eq!(of("orders", &["7", "a-b"]), "orders:7,a-b");
    }

    #[test]
    fn long_and_strange_keys_become_the_same_digest_on_every_machine() {
        assert_eq!(of("t", &[&"x".repeat(60)]).len(), 33);
        assert_eq!(of("t", &["a,b"]), "#2b9f8d2e9f23a3e031f75192da9c4548");
        assert_ne!(of("t", &["a,b"]), of("t", &["a", "b"]));
        assert_ne!(of("t", &["a:b"]), of("t:a", &["b"]));
    }

    #[test]
    fn a_row_without_a_key_is_told_by_all_its_columns() {
        let of = |json| of_row("t", &row(json)).unwrap();
        assert_eq!(of(r#"{"a":1,"b":null}"#), of(r#"{"b":null,"a":1}"#));
        assert_ne!(of(r#"{"a":1,"b":null}"#), of(r#"{"a":1,"b":""}"#));
        assert_ne!(of(r#"{"a":"1b","c":2}"#), of(r#"{"a":"1","bc":2}"#));
    }

    #[test]
    fn the_table_is_named_as_far_as_the_format_tells() {
        let name = |database: Option<&'static str>, schema: Option<&'static str>| TableName {
            database: database.map(Into::into),
            schema: schema.map(Into::into),
            table: "users".into(),
        };
        for (table, expected) in [
            (Some(name(Some("shop"), Some("public"))), "public.users"),
            (Some(name(Some("shop"), None)), "shop.users"),
            (Some(name(None, None)), "users"),
            (None, "topic"),
        ] {
            assert_eq!(table_name(table.as_ref(), "topic"), expected);
        }
    }
}
