//! Templates of larger texts: `value = { template = "…" }`, in Jinja's language by minijinja.
//!
//! Columns are variables: texts, whole numbers, true and false, lists and objects as `value = "json"` would show
//! them; a number with a point is its digits as text, so that none is lost (`|float` computes with it); null is
//! none, and writes nothing. `row` is the whole row, for names that are no variables: `row["e-mail"]`.
//! Strict: a column that the row does not have is an error. Bounded in time (fuel) and in size.
//! No includes, no macros, no clock, no environment. Start at [`TextTemplate::compile`].

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, escape_formatter};

use super::access::{mismatch, value_error};
use crate::change::{Cell, Row};
use crate::error::HandleError;
use crate::types::{self, RenderStyle, Typed};

/// Longest source in bytes: a page of HTML, not a program.
pub const SOURCE_BYTES_MAX: usize = 64 * 1024;
/// Instructions of one value, about one for each expression; some 10 ms. A loop over a list of a row is far below it.
const FUEL: u64 = 100_000;
/// The variable that stands for the whole row.
const ROW: &str = "row";
/// minijinja wants names of templates; one without an ending is not escaped for HTML.
const NAME: &str = "value";

/// A compiled template.
#[derive(Clone)]
pub struct TextTemplate {
    environment: Arc<Environment<'static>>,
    source: Arc<str>,
    /// What it names that may be columns; sorted.
    names: Vec<String>,
}

impl fmt::Debug for TextTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TextTemplate").field(&self.source).finish()
    }
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct TextTemplateError {
    /// Byte in the source.
    pub at: usize,
    /// What is wrong.
    pub problem: String,
}

impl TextTemplate {
    /// Compiles one. Errors name the byte: syntax, and filters, tests and functions that there are not.
    pub fn compile(source: &str) -> Result<TextTemplate, TextTemplateError> {
        if source.len() > SOURCE_BYTES_MAX {
            let problem = format!("a template holds at most {SOURCE_BYTES_MAX} bytes");
            return Err(TextTemplateError { at: SOURCE_BYTES_MAX, problem });
        }
        let mut environment = Environment::new();
        environment.set_debug(false);
        environment.set_fuel(Some(FUEL));
        environment.set_keep_trailing_newline(true);
        environment.set_formatter(|out, state, value| {
            // Null is empty and truth is spelt as in every other text value; minijinja has Python's True.
            match (value.is_none(), value.kind()) {
                (true, _) => Ok(()),
                (false, ValueKind::Bool) => {
                    Ok(out.write_str(if value.is_true() { "true" } else { "false" })?)
                }
                (false, _) => escape_formatter(out, state, value),
            }
        });
        let wrong = |error: &minijinja::Error| located(error, source);
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| wrong(&error))?;
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        let names = {
            let template = environment.get_template(NAME).map_err(|error| wrong(&error))?;
            // A trial without any row: what is unknown by then will be unknown for every row.
            if let Err(error) = template.render_captured_to((), io::sink())
                && matches!(
                    error.kind(),
                    ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction
                )
            {
                return Err(wrong(&error));
            }
            let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
            names.sort();
            names
        };
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        Ok(TextTemplate { environment: Arc::new(environment), source: source.into(), names })
    }

    /// Its source.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The text of that row, at most `limit` bytes; `None` where the row does not hold the value of a column that
    /// the template names (of any column where it names `row`).
    ///
    /// Errors name columns and lines, never values.
    pub(super) fn render(
        &self,
        row: &Row<'_>,
        style: RenderStyle,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, HandleError> {
        let mut variables = BTreeMap::new();
        let mut missing = None;
        for name in self.names.iter().filter(|name| *name != ROW) {
            match row.cell(name) {
                Cell::Unavailable => return Ok(None),
                // May be one of the template language's own functions, or be asked for by `is defined`.
                Cell::Absent => missing = missing.or(Some(name)),
                Cell::Null => {
                    variables.insert(name.clone(), minijinja::Value::from(()));
                }
                Cell::Present(typed) => {
                    variables.insert(name.clone(), variable(name, typed, style)?);
                }
            }
        }
        if self.names.iter().any(|name| name == ROW) {
            let mut whole = BTreeMap::new();
            for (name, cell) in row.cells() {
                let value = match cell {
                    Cell::Unavailable => return Ok(None),
                    Cell::Absent => continue,
                    Cell::Null => minijinja::Value::from(()),
                    Cell::Present(typed) => variable(name, typed, style)?,
                };
                whole.insert(name.to_owned(), value);
            }
            variables.insert(ROW.to_owned(), minijinja::Value::from(whole));
        }
        let failed = |line: Option<usize>, what: String| {
            let line = line.map_or(String::new(), |line| format!(" in line {line}"));
            HandleError::Handler(format!("the value's template failed{line}: {what}").into())
        };
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|error| failed(error.line(), error.kind().to_string()))?;
        let mut out = Bounded { bytes: Vec::new(), limit, over: false };
        match template.render_captured_to(minijinja::Value::from(variables), &mut out) {
            Ok(_) => Ok(Some(out.bytes)),
            Err(_) if out.over => Err(HandleError::TooLarge { bytes: limit.saturating_add(1), limit }),
            // Its detail may quote a value; its kind does not.
            Err(error) => Err(match (error.kind(), missing) {
                (ErrorKind::UndefinedError, Some(column)) => {
                    value_error(column, mismatch("a column of the row", "no such column"))
                }
                (kind, _) => failed(error.line(), kind.to_string()),
            }),
        }
    }
}

/// A present cell as the template sees it.
fn variable(name: &str, typed: Typed<'_>, style: RenderStyle) -> Result<minijinja::Value, HandleError> {
    let mut json = Vec::new();
    types::render_json(typed, style, &mut json).map_err(|error| value_error(name, error))?;
    let refuse = || value_error(name, mismatch("JSON of at most 128 levels", "another value"));
    let text = std::str::from_utf8(&json).map_err(|_| refuse())?.trim();
    Ok(match text.as_bytes().first() {
        Some(b'"') => {
            minijinja::Value::from(types::unescape(text).map_err(|error| value_error(name, error))?)
        }
        Some(b'-' | b'0'..=b'9') => match text.parse::<i128>() {
            Ok(whole) => minijinja::Value::from(whole),
            Err(_) => minijinja::Value::from(text),
        },
        _ => {
            let value: serde_json::Value = serde_json::from_str(text).map_err(|_| refuse())?;
            minijinja::Value::from_serialize(&value)
        }
    })
}

/// Where the error stands in the source, and what it is.
fn located(error: &minijinja::Error, source: &str) -> TextTemplateError {
    let line_start = || {
        let before = error.line().unwrap_or(1).saturating_sub(1);
        source.split_inclusive('\n').take(before).map(str::len).sum()
    };
    let at = error.range().map_or_else(line_start, |range| range.start);
    let problem = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    TextTemplateError { at, problem }
}

/// Takes at most `limit` bytes.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    over: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit.saturating_sub(self.bytes.len()) {
            self.over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::testing::row;

    fn text(source: &str, json: &str) -> Result<Option<String>, HandleError> {
        let template = TextTemplate::compile(source).unwrap();
        let made = template.render(&row(json), RenderStyle::default(), 1_000)?;
        Ok(made.map(|bytes| String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn columns_are_variables_without_losing_digits() {
        let json = r#"{"id":18446744073709551616,"price":12.50,"name":"A<\"é","gone":null,"ok":true,
            "tags":["a","b"],"e-mail":"x","geo":{"lat":1}}"#;
        for (source, expected) in [
            (
                "{{ id }} {{ price }} {{ name }} [{{ gone }}] {{ ok }}",
                "18446744073709551616 12.50 A<\"é [] true",
            ),
            ("{% for tag in tags %}<{{ tag }}>{% endfor %}\n", "<a><b>\n"),
            ("{{ row['e-mail'] }} {{ geo.lat }} {{ name|upper }}", "x 1 A<\"É"),
            ("{% if gone is none %}none{% endif %}{{ missing is defined }}", "nonefalse"),
            ("{{ tags|tojson }} {{ price|float * 2 }}", "[\"a\",\"b\"] 25.0"),
            ("${HOME}", "${HOME}"),
        ] {
            assert_eq!(text(source, json), Ok(Some(expected.to_owned())), "{source}");
        }
    }

    #[test]
    fn a_missing_column_is_an_error_and_an_unavailable_one_no_value() {
        for source in ["{{ gone }}", "{{ gone.x }}", "{% for x in gone %}{% endfor %}"] {
            let error = text(source, r#"{"id":1}"#).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), ("value", "column \"gone\""), "{source}");
        }
        assert_eq!(text("{{ row.gone }}", r#"{"id":1}"#).unwrap_err().kind(), "handler");
        let toast = r#"{"id":1,"bio":"<unavailable>"}"#;
        assert_eq!(text("{{ bio }}", toast), Ok(None));
        assert_eq!(text("{{ row.id }}", toast), Ok(None));
        assert_eq!(text("{{ id }}", toast), Ok(Some("1".to_owned())));
    }

    #[test]
    fn size_and_time_are_bounded_and_errors_hold_no_values() {
        let row = r#"{"id":1,"secret":"s3cret","list":[1,2]}"#;
        let long = "{% for x in range(300) %}12345{% endfor %}";
        assert!(matches!(text(long, row), Err(HandleError::TooLarge { limit: 1_000, .. })));
        let busy = "{% for x in range(1000) %}{% for y in range(1000) %}{% endfor %}{% endfor %}";
        let error = text(busy, row).unwrap_err();
        assert!(error.to_string().contains("fuel"), "{error}");
        let error = text("a\n{{ secret + list }}", row).unwrap_err();
        assert!(
            error.to_string().contains("in line 2") && !format!("{error:?}").contains("s3cret"),
            "{error:?}"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_source_is_a_template_or_a_problem_inside_it(
            source in r"([{}% |.a-z()'é\n+*~-]|\{\{|\}\}|\{%|%\}| if | for | in | set | end(if|for) ){0,24}",
        ) {
            match TextTemplate::compile(&source) {
                Ok(template) => {
                    let _ = template.render(&row(r#"{"a":"x","b":[1]}"#), RenderStyle::default(), 100);
                }
                Err(error) => assert!(error.at <= source.len(), "{error:?}"),
            }
        }
    }

    #[test]
    fn problems_name_the_byte() {
        for (source, at, words) in [
            ("ab\n{{ id", 6, "syntax"),
            ("{% if id %}x", 11, "syntax"),
            ("é{{ id|uper }}", 8, "filter"),
            ("{{ now() }}", 3, "now"),
            ("{% include 'x' %}", 3, "include"),
        ] {
            let error = TextTemplate::compile(source).unwrap_err();
            assert!(error.problem.contains(words), "{source}: {error}");
            assert_eq!(error.at, at, "{source}: {error}");
        }
        assert!(TextTemplate::compile(&"x".repeat(SOURCE_BYTES_MAX + 1)).is_err());
    }
}
