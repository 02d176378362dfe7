//! Templates of keys and texts: `user:{id}:{email|lower}`.
//!
//! A column's name stands between `{` and `|` or `}`, exactly as it is (it may hold spaces and dots); `{{`
//! and `}}` are the braces themselves. Strict: a key is never made of a null, missing or unavailable column,
//! where many cache warmers write `user:null`. Start at [`Template::parse`].

use super::access::{mismatch, value_error};
use super::filter::Filter;
use crate::change::{Cell, Row};
use crate::error::HandleError;
use crate::types::{self, RenderStyle, ValueError};

/// Longest template text in bytes. A bound for whoever compares templates with each other (see
/// [`super::ambiguity`], whose table has the square of it); keys themselves are far shorter.
pub const TEMPLATE_BYTES_MAX: usize = 1_024;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// One piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Text as it is, braces already single.
    Literal(String),
    /// A column under its filters.
    Column(ColumnPart),
}

/// A column of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ColumnPart {
    name: String,
    filters: Vec<Filter>,
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct TemplateError {
    /// Byte in the template's text.
    pub at: usize,
    /// What is wrong and what to do.
    pub problem: String,
}

/// Why a template could not be filled from a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfilled {
    /// The column has no value.
    NoValue { column: String, state: NoValue },
    /// The column's value is not what its type says.
    Value { column: String, source: ValueError },
    /// The key would have no byte at all.
    Empty,
    /// The key would have more bytes than any value may have: Redis would drop the connection.
    TooLarge { bytes: usize, limit: usize },
}

/// Which of the states without a value a column is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoValue {
    Null,
    Absent,
    Unavailable,
}

impl Unfilled {
    pub(super) fn into_error(self, template: &Template) -> HandleError {
        let key_column = |column: String, state: &'static str| HandleError::KeyColumn {
            template: template.text.clone(),
            column,
            state,
        };
        match self {
            Unfilled::NoValue { column, state } => key_column(
                column,
                match state {
                    NoValue::Null => "null",
                    NoValue::Absent => "missing",
                    NoValue::Unavailable => "unavailable",
                },
            ),
            Unfilled::Value { column, source } => HandleError::Value { column, source },
            Unfilled::TooLarge { bytes, limit } => HandleError::TooLarge { bytes, limit },
            Unfilled::Empty => {
                let columns: Vec<_> = template.columns().collect();
                key_column(columns.join(", "), "empty")
            }
        }
    }
}

impl Template {
    /// Parses one.
    ///
    /// Errors name the byte: an unclosed or single brace, an empty column name, an unknown filter (with a
    /// suggestion), a date part that is not the first filter, an empty or too long text.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        if text.is_empty() {
            return Err(problem(0, "a template must not be empty"));
        }
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(problem(
                TEMPLATE_BYTES_MAX,
                format!("a template holds at most {TEMPLATE_BYTES_MAX} bytes"),
            ));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            let (before, from_brace) = rest.split_at(brace);
            literal.push_str(before);
            let at = text.len() - from_brace.len();
            if let Some(after) = from_brace.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = from_brace.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some(after) = from_brace.strip_prefix('{') {
                let Some((inside, after)) = after.split_once('}') else {
                    return Err(problem(at, "this brace is never closed; write {{ for a brace itself"));
                };
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(Part::Column(ColumnPart::parse(inside, at + 1)?));
                rest = after;
            } else {
                return Err(problem(at, "no column begins before this brace; write }} for a brace itself"));
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Template { text: text.to_owned(), parts })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The columns that it needs, in order of appearance; one may appear twice.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.column_parts().map(|part| part.name.as_str())
    }

    /// The columns by which it tells rows apart: those that stand unfiltered, or under filters that keep
    /// different values different.
    pub fn plain_columns(&self) -> impl Iterator<Item = &str> {
        self.column_parts()
            .filter(|part| part.filters.iter().all(|filter| filter.keeps_apart()))
            .map(|part| part.name.as_str())
    }

    /// Its literals, with `None` where a column stands.
    pub fn literal_skeleton(&self) -> impl Iterator<Item = Option<&str>> {
        self.parts.iter().map(|part| match part {
            Part::Literal(text) => Some(text.as_str()),
            Part::Column(_) => None,
        })
    }

    /// Appends the cache key of that row.
    ///
    /// A null, missing or unavailable column is an error, and so is a key without any byte. An empty text is
    /// a value like any other.
    pub fn render_key(
        &self,
        row: &Row<'_>,
        style: RenderStyle,
        out: &mut Vec<u8>,
    ) -> Result<(), HandleError> {
        self.fill_key(|column| row.cell(column), style, out).map_err(|error| error.into_error(self))
    }

    /// Appends the text of that row: null is empty, a missing or unavailable column is an error.
    pub fn render_text(
        &self,
        row: &Row<'_>,
        style: RenderStyle,
        out: &mut Vec<u8>,
    ) -> Result<(), HandleError> {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Column(column) => {
                    match column.render(row.cell(&column.name), style, types::render_text, out) {
                        Ok(()) | Err(Unfilled::NoValue { state: NoValue::Null, .. }) => {}
                        // A value's column, not a key's: it is told as in every other value.
                        Err(Unfilled::NoValue { column, state: NoValue::Absent }) => {
                            return Err(value_error(
                                &column,
                                mismatch("a column of the row", "no such column"),
                            ));
                        }
                        Err(error) => return Err(error.into_error(self)),
                    }
                }
            }
        }
        Ok(())
    }

    /// True where the row does not hold the value of one of the columns.
    pub(super) fn needs_unavailable(&self, row: &Row<'_>) -> bool {
        self.columns().any(|column| row.cell(column) == Cell::Unavailable)
    }

    /// Appends the cache key made of those cells. Leaves `out` with a part of it where it fails.
    pub(super) fn fill_key<'a>(
        &self,
        cell: impl Fn(&str) -> Cell<'a>,
        style: RenderStyle,
        out: &mut Vec<u8>,
    ) -> Result<(), Unfilled> {
        let start = out.len();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Column(column) => column.render(cell(&column.name), style, types::render_key, out)?,
            }
        }
        if out.len() == start { Err(Unfilled::Empty) } else { Ok(()) }
    }

    /// Its pieces in order.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn column_parts(&self) -> impl Iterator<Item = &ColumnPart> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Column(column) => Some(column),
        })
    }
}

/// How a present cell becomes text.
type Render = fn(types::Typed<'_>, RenderStyle, &mut Vec<u8>) -> Result<(), ValueError>;

impl ColumnPart {
    /// The last filter: what its text looks like in the key.
    pub(super) fn last_filter(&self) -> Option<Filter> {
        self.filters.last().copied()
    }

    /// The column.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// True where its filters leave no brace in its text.
    pub(super) fn takes_braces_out(&self) -> bool {
        self.filters.iter().any(|filter| filter.takes_braces_out())
    }

    /// True where its filters never give an empty text.
    pub(super) fn is_never_empty(&self) -> bool {
        self.filters.iter().any(|filter| filter.is_never_empty())
    }

    /// Parses what stands between the braces; `at` is where it begins.
    fn parse(inside: &str, at: usize) -> Result<ColumnPart, TemplateError> {
        let mut pieces = inside.split('|');
        let name = pieces.next().unwrap_or_default();
        if name.is_empty() {
            return Err(problem(at, "a column's name is missing between the braces"));
        }
        if let Some(brace) = name.find('{') {
            return Err(problem(at + brace, "a brace inside a column's name; is the one before it closed?"));
        }
        let mut filters = Vec::new();
        let mut position = at + name.len();
        for piece in pieces {
            let filter = Filter::parse(piece.trim()).map_err(|error| problem(position + 1, error))?;
            if filter.date_part().is_some() && !filters.is_empty() {
                return Err(problem(position + 1, "a part of a date is read from the value: put it first"));
            }
            filters.push(filter);
            position += 1 + piece.len();
        }
        Ok(ColumnPart { name: name.to_owned(), filters })
    }

    fn render(
        &self,
        cell: Cell<'_>,
        style: RenderStyle,
        render: Render,
        out: &mut Vec<u8>,
    ) -> Result<(), Unfilled> {
        let no_value = |state| Err(Unfilled::NoValue { column: self.name.clone(), state });
        let typed = match cell {
            Cell::Present(typed) => typed,
            Cell::Null => return no_value(NoValue::Null),
            Cell::Absent => return no_value(NoValue::Absent),
            Cell::Unavailable => return no_value(NoValue::Unavailable),
        };
        let start = out.len();
        match self.filters.first().and_then(|filter| filter.date_part()) {
            Some(part) => types::render_date_part(typed, part, style, out),
            None => render(typed, style, out),
        }
        .map_err(|source| Unfilled::Value { column: self.name.clone(), source })?;
        if !self.filters.is_empty() {
            let text = String::from_utf8_lossy(out.get(start..).unwrap_or_default()).into_owned();
            let text = self.filters.iter().fold(text, |text, filter| filter.apply(&text));
            out.truncate(start);
            out.extend_from_slice(text.as_bytes());
        }
        Ok(())
    }
}

fn problem(at: usize, problem: impl Into<String>) -> TemplateError {
    TemplateError { at, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::testing::row;

    fn key(template: &str, json: &str) -> Result<String, HandleError> {
        let mut out = Vec::new();
        Template::parse(template).unwrap().render_key(&row(json), RenderStyle::default(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn columns_filters_and_braces_are_rendered() {
        let row = r#"{"id":7,"e-mail":" Ann@X.org ","a.b c":"ß","empty":""}"#;
        for (template, expected) in [
            ("user:{id}", "user:7"),
            ("{id}", "7"),
            ("u:{e-mail|trim|lower}", "u:ann@x.org"),
            ("u:{e-mail|upper | trim}", "u:ANN@X.ORG"),
            ("{a.b c|upper}", "SS"),
            ("user:{{{id}}}:profile", "user:{7}:profile"),
            ("{{}}", "{}"),
            ("u:{e-mail|trim|lower|hash:8}", "u:367a1e74"),
            ("u:{e-mail|url}", "u:%20Ann%40X.org%20"),
            ("user:{empty}:x", "user::x"),
        ] {
            assert_eq!(key(template, row).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn a_key_is_never_made_of_a_column_without_a_value() {
        for (json, state) in [
            (r#"{"id":null}"#, "null"),
            (r#"{"other":1}"#, "missing"),
            (r#"{"id":"<unavailable>"}"#, "unavailable"),
        ] {
            let error = key("user:{id}", json).unwrap_err();
            assert_eq!(
                error,
                HandleError::KeyColumn { template: "user:{id}".into(), column: "id".into(), state },
                "{json}"
            );
        }
        assert!(matches!(key("{id}", r#"{"id":""}"#), Err(HandleError::KeyColumn { state: "empty", .. })));
    }

    #[test]
    fn null_is_empty_in_a_text() {
        let template = Template::parse("{a}-{b}").unwrap();
        let mut out = Vec::new();
        template.render_text(&row(r#"{"a":null,"b":"x"}"#), RenderStyle::default(), &mut out).unwrap();
        assert_eq!(out, b"-x");
        let error = template.render_text(&row(r#"{"a":1}"#), RenderStyle::default(), &mut out).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), ("value", "column \"b\""));
    }

    #[test]
    fn problems_name_the_byte_and_what_to_do() {
        for (template, at, words) in [
            ("", 0, "empty"),
            ("user:{id", 5, "never closed"),
            ("user:id}", 7, "}}"),
            ("a:{}", 3, "name is missing"),
            ("a:{|lower}", 3, "name is missing"),
            ("a:{x{y}", 4, "inside"),
            ("a:{x|lowr}", 5, "did you mean \"lower\""),
            ("a:{x|lower|md5}", 11, "there are lower, upper"),
            ("a:{x|hash:3}", 5, "from 8 to 64"),
            ("a:{x|lower|date}", 11, "put it first"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert_eq!(error.at, at, "{template}: {error}");
            assert!(error.problem.contains(words), "{template}: {error}");
        }
        assert!(Template::parse(&"x".repeat(TEMPLATE_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn only_columns_that_keep_values_apart_are_plain() {
        let template = Template::parse("c:{id}:{email|lower}:{id}").unwrap();
        assert_eq!(template.columns().collect::<Vec<_>>(), ["id", "email", "id"]);
        assert_eq!(template.plain_columns().collect::<Vec<_>>(), ["id", "id"]);
        assert_eq!(
            template.literal_skeleton().collect::<Vec<_>>(),
            [Some("c:"), None, Some(":"), None, Some(":"), None]
        );
        for (template, plain) in [
            ("{id|url}", true),
            ("{id|escape}", true),
            ("{id|escape|url}", true),
            ("{id|url|lower}", false),
            ("{id|trim|url}", false),
            ("{id|hash:64}", false),
            ("{id|date}", false),
            ("{id|hash}:{id}", true),
        ] {
            let template = Template::parse(template).unwrap();
            assert_eq!(template.plain_columns().next().is_some(), plain, "{template:?}");
        }
    }

    #[test]
    fn a_part_of_a_date_is_read_from_the_value() {
        let row = r#"{"at":"2024-12-31T23:30:00-01:00","n":5}"#;
        assert_eq!(key("o:{at|date}:{at|hour|upper}", row).as_deref(), Ok("o:2025-01-01:00"));
        assert_eq!(key("o:{n|year}", row).unwrap_err().kind(), "value");
    }
}
