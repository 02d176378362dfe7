//! Typed access to columns, for handlers in Rust.
//!
//! A column is read through the text that keys and `text` values would show, so that a handler sees what the
//! declarative one writes. Errors name the column and what was expected, never the value. Start at [`FromColumn`].

use crate::change::{Cell, Row};
use crate::error::HandleError;
use crate::types::{self, RenderStyle, Typed, ValueError};

/// A type that a column can be read as. Never goes through `f64` but for `f64` itself.
pub trait FromColumn: Sized {
    /// What is expected, in words.
    const EXPECTED: &'static str;

    /// Reads the value's text, as it stands in `text` values and keys.
    fn from_text(text: &str) -> Option<Self>;

    /// Reads the cell: a null is no value, but for `Option`.
    fn from_cell(cell: Cell<'_>) -> Result<Self, ValueError> {
        match cell {
            Cell::Present(typed) => from_present(typed),
            Cell::Null => Err(mismatch(Self::EXPECTED, "null")),
            Cell::Absent => Err(mismatch(Self::EXPECTED, "no such column")),
            Cell::Unavailable => Err(mismatch(Self::EXPECTED, "a value that the event does not hold")),
        }
    }
}

macro_rules! from_column {
    ($($type:ty => $expected:literal),*) => {$(
        impl FromColumn for $type {
            const EXPECTED: &'static str = $expected;
            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

from_column!(
    i32 => "a 32-bit integer", i64 => "a 64-bit integer",
    u32 => "an unsigned 32-bit integer", u64 => "an unsigned 64-bit integer",
    f64 => "a number", bool => "true or false", String => "a text"
);

impl<T: FromColumn> FromColumn for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_text(text: &str) -> Option<Self> {
        T::from_text(text).map(Some)
    }

    fn from_cell(cell: Cell<'_>) -> Result<Self, ValueError> {
        match cell {
            Cell::Null => Ok(None),
            _ => T::from_cell(cell).map(Some),
        }
    }
}

impl Row<'_> {
    /// The column as that type. Null is an error unless the type is an `Option`; a missing or unavailable
    /// column is one always.
    pub fn get<T: FromColumn>(&self, column: &str) -> Result<T, HandleError> {
        T::from_cell(self.cell(column)).map_err(|source| value_error(column, source))
    }

    /// The column's text, rendered as `text` values are.
    pub fn text(&self, column: &str) -> Result<String, HandleError> {
        self.get(column)
    }

    /// The moment that the column holds, Unix milliseconds; `None` for null. Infinity is
    /// `i64::MAX`, minus infinity `i64::MIN`. A number needs a type that tells its unit.
    pub fn unix_ms(&self, column: &str) -> Result<Option<i64>, HandleError> {
        let moment = match self.cell(column) {
            Cell::Present(typed) => types::unix_ms(typed),
            Cell::Null => Ok(None),
            Cell::Absent => Err(mismatch("a time", "no such column")),
            Cell::Unavailable => Err(mismatch("a time", "a value that the event does not hold")),
        };
        moment.map_err(|source| value_error(column, source))
    }
}

fn from_present<T: FromColumn>(typed: Typed<'_>) -> Result<T, ValueError> {
    let mut text = Vec::new();
    types::render_text(typed, RenderStyle::default(), &mut text)?;
    std::str::from_utf8(&text)
        .ok()
        .and_then(T::from_text)
        .ok_or_else(|| mismatch(T::EXPECTED, "another value"))
}

pub(super) fn value_error(column: &str, source: ValueError) -> HandleError {
    HandleError::Value { column: column.to_owned(), source }
}

pub(super) fn mismatch(expected: &'static str, found: &'static str) -> ValueError {
    ValueError { expected: expected.into(), found: found.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::testing::row;

    #[test]
    fn columns_are_read_as_types_without_losing_digits() {
        let row =
            row(r#"{"id":18446744073709551615,"n":-9007199254740993,"s":"x\"y","t":"7","b":true,"z":null}"#);
        assert_eq!(row.get::<u64>("id"), Ok(u64::MAX));
        assert_eq!(row.get::<i64>("n"), Ok(-9_007_199_254_740_993));
        assert_eq!(row.text("s").as_deref(), Ok("x\"y"));
        assert_eq!(row.get::<i32>("t"), Ok(7));
        assert_eq!(row.get::<bool>("b"), Ok(true));
        assert_eq!(row.get::<Option<i64>>("z"), Ok(None));
        assert_eq!(row.get::<Option<i64>>("t"), Ok(Some(7)));
    }

    #[test]
    fn what_is_not_there_or_not_the_type_is_an_error_without_the_value() {
        let row = row(r#"{"z":null,"s":"secret","u":"<unavailable>"}"#);
        for (error, words) in [
            (row.get::<i64>("z").unwrap_err(), "null"),
            (row.get::<i64>("s").unwrap_err(), "another value"),
            (row.get::<Option<i64>>("gone").unwrap_err(), "no such column"),
            (row.text("u").unwrap_err(), "does not hold"),
        ] {
            let HandleError::Value { source, .. } = &error else { panic!("{error:?}") };
            assert!(source.to_string().contains(words), "{source}");
            assert!(!format!("{error:?}").contains("secret"));
        }
    }
}
