//! Hive partitions: columns that stand in the folders' names and not in the files.
//!
//! `dt=2026-11-01/region=EU/part-0.parquet`: names and values percent-encoded, `__HIVE_DEFAULT_PARTITION__` is null,
//! and every value is a text.

use std::borrow::Cow;
use std::path::{Component, Path};

use super::{ExportError, Next, Rows};
use crate::change::{Cell, Column};
use crate::types::{Kind, Raw, Typed};

/// How Hive and Spark write a null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The partition columns in a path, from the outside in. The file's own name is none.
pub fn of_path(path: &Path) -> Vec<(String, Option<String>)> {
    let folders = path.parent().into_iter().flat_map(Path::components);
    let mut columns: Vec<(String, Option<String>)> = Vec::new();
    for folder in folders {
        let Component::Normal(folder) = folder else { continue };
        let Some((name, value)) = folder.to_str().and_then(|folder| folder.split_once('=')) else { continue };
        if name.is_empty() {
            continue;
        }
        let (name, value) = (decoded(name), (value != NULL).then(|| decoded(value)));
        columns.retain(|(known, _)| *known != name);
        columns.push((name, value));
    }
    columns
}

/// Percent-decodes; what is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escape = (*first == b'%').then(|| behind.split_at_checked(2)).flatten();
        let byte = escape.and_then(|(hex, after)| {
            let hex =
                std::str::from_utf8(hex).ok().filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
            Some((u8::from_str_radix(hex, 16).ok()?, after))
        });
        match byte {
            Some((byte, after)) => {
                bytes.push(byte);
                rest = after;
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Rows with the partition's columns behind their own. A column that the file has itself is the file's.
pub(super) struct Partitioned {
    pub(super) rows: Box<dyn Rows>,
    pub(super) columns: Vec<(String, Option<String>)>,
}

impl Rows for Partitioned {
    fn next(&mut self) -> Result<Next<'_>, ExportError> {
        let mut next = self.rows.next()?;
        if let Next::Row(row) = &mut next {
            for (name, value) in &self.columns {
                if row.columns.iter().any(|column| column.name == *name) {
                    continue;
                }
                let cell = match value {
                    Some(text) => Cell::Present(Typed { raw: Raw::Text(text), kind: &Kind::Untyped }),
                    None => Cell::Null,
                };
                row.columns.push(Column { name: Cow::Borrowed(name), cell });
            }
        }
        Ok(next)
    }

    fn skip(&mut self, rows: u64) -> Result<u64, ExportError> {
        self.rows.skip(rows)
    }

    fn count(&self) -> Option<u64> {
        self.rows.count()
    }

    fn columns(&self) -> Option<Vec<String>> {
        let mut names = self.rows.columns()?;
        for (name, _) in &self.columns {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ndjson::Ndjson;
    use super::super::testing::listed;
    use super::*;

    #[test]
    fn folders_are_columns_and_the_innermost_of_a_name_counts() {
        let columns = |path: &str| of_path(Path::new(path));
        let some = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        assert_eq!(columns("a/dt=2026-11-01/b/part=1.csv"), [some("dt", "2026-11-01")]);
        assert_eq!(columns("a=1/b=x%2Fy%20z%/a=2/f"), [some("b", "x/y z%"), some("a", "2")]);
        assert_eq!(columns("n=__HIVE_DEFAULT_PARTITION__/f"), [("n".to_owned(), None)]);
        assert_eq!(columns("=x/f"), []);
        assert_eq!(columns("a=%C3%BC%zz/f"), [some("a", "ü%zz")]);
    }

    #[test]
    fn the_file_s_own_column_counts() {
        let rows = Box::new(Ndjson::new(Box::new(&b"{\"id\":1}\n{\"dt\":2}\n"[..])));
        let columns = of_path(Path::new("dt=x/f"));
        assert_eq!(listed(&mut Partitioned { rows, columns }), ["id=1 dt='x'", "dt=2"]);
    }
}
