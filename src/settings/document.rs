//! The TOML document with the position of each of its values, found by path.
//!
//! Settings are checked as plain values; whoever finds a problem names a [`Path`], and the document says
//! where in the file that is.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a setting stands: `entity[0].write[1].ttl`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Path(Vec<Segment>);

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Segment {
    /// A field of a table.
    Key(String),
    /// An element of a list, from 0.
    Index(usize),
}

impl Path {
    /// The path of a field of this table.
    pub(super) fn key(&self, key: &str) -> Path {
        self.with(Segment::Key(key.to_owned()))
    }

    /// The path of an element of this list.
    pub(super) fn index(&self, index: usize) -> Path {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Path {
        let mut segments = self.0.clone();
        segments.push(segment);
        Path(segments)
    }

    /// Its steps.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Its field names alone, joined by dots: `entity.write.ttl`.
    pub(super) fn fields(&self) -> String {
        let keys = self.0.iter().filter_map(|segment| match segment {
            Segment::Key(key) => Some(key.as_str()),
            Segment::Index(_) => None,
        });
        keys.collect::<Vec<_>>().join(".")
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if at == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A parsed settings file.
#[derive(Debug)]
pub(super) struct Document<'t> {
    /// Its name in messages.
    pub(super) file: &'t str,
    /// Its text.
    pub(super) text: &'t str,
    root: Spanned<DeValue<'t>>,
}

/// A syntax error: bytes of the text, and what is wrong.
pub(super) type SyntaxError = (Range<usize>, String);

impl<'t> Document<'t> {
    /// Parses a text; all of its syntax errors. Nesting is bounded by the parser (80 levels).
    pub(super) fn parse(file: &'t str, text: &'t str) -> Result<Document<'t>, Vec<SyntaxError>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let span = root.span();
            let root = Spanned::new(span, DeValue::Table(root.into_inner()));
            return Ok(Document { file, text, root });
        }
        Err(errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message().to_owned())).collect())
    }

    /// The whole document as a value.
    pub(super) fn root(&self) -> &Spanned<DeValue<'t>> {
        &self.root
    }

    /// The value at a path.
    pub(super) fn find(&self, path: &Path) -> Option<&Spanned<DeValue<'t>>> {
        path.segments().iter().try_fold(&self.root, step)
    }

    /// The text at a path, as the file spells it.
    pub(super) fn text_at(&self, path: &Path) -> Option<&str> {
        match self.find(path)?.get_ref() {
            DeValue::String(text) => Some(text),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        }
    }

    /// Where the value at a path stands; where it is missing, where the nearest thing around it stands.
    pub(super) fn span(&self, path: &Path) -> Range<usize> {
        let mut found = &self.root;
        let mut span = 0..0;
        for segment in path.segments() {
            let Some(next) = step(found, segment) else { break };
            found = next;
            // A table that is only implied by `[a.b]` has no place of its own.
            if !next.span().is_empty() {
                span = next.span();
            }
        }
        span
    }

    /// Where the name of the field at a path stands.
    pub(super) fn name_span(&self, path: &Path) -> Range<usize> {
        let Some((Segment::Key(key), parents)) = path.segments().split_last() else {
            return self.span(path);
        };
        let table = parents.iter().try_fold(&self.root, step).and_then(|value| value.get_ref().as_table());
        let found = table.and_then(|table| table.iter().find(|(name, _)| name.get_ref() == key.as_str()));
        found.map_or_else(|| self.span(path), |(name, _)| name.span())
    }

    /// Where byte `at` of the text value at a path stands, one character wide.
    pub(super) fn span_inside(&self, path: &Path, at: usize) -> Range<usize> {
        let span = self.span(path);
        let raw = self.text.get(span.clone()).unwrap_or_default();
        let start = span.start.saturating_add(raw_offset(raw, at));
        let width = self.text.get(start..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        start..start.saturating_add(width)
    }
}

fn step<'d, 't>(value: &'d Spanned<DeValue<'t>>, segment: &Segment) -> Option<&'d Spanned<DeValue<'t>>> {
    match segment {
        Segment::Key(key) => value.get_ref().as_table()?.get(key.as_str()),
        Segment::Index(index) => value.get_ref().as_array()?.get(*index),
    }
}

/// The offset in a TOML string literal, quotes and escapes included, of byte `at` of the text that it means.
fn raw_offset(raw: &str, at: usize) -> usize {
    let (quotes, multiline) = match () {
        () if raw.starts_with("\"\"\"") || raw.starts_with("'''") => (3, true),
        () if raw.starts_with('"') || raw.starts_with('\'') => (1, false),
        () => return 0,
    };
    let literal = raw.starts_with('\'');
    let mut offset = quotes;
    let mut rest = raw.get(quotes..).unwrap_or_default();
    if multiline {
        // A line break right after the opening quotes does not belong to the text.
        let trimmed = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
        offset += rest.len() - trimmed.len();
        rest = trimmed;
    }
    let mut meant = 0;
    while meant < at {
        let Some((consumed, means)) = one_character(rest, literal) else { break };
        offset += consumed;
        meant += means;
        rest = rest.get(consumed..).unwrap_or_default();
    }
    offset
}

/// How many bytes the next character of a string literal takes, and how many bytes it means.
fn one_character(rest: &str, literal: bool) -> Option<(usize, usize)> {
    let first = rest.chars().next()?;
    if literal || first != '\\' {
        return Some((first.len_utf8(), first.len_utf8()));
    }
    let escape = rest.get(1..)?.chars().next()?;
    let digits = match escape {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        // A backslash at the end of a line swallows all white space up to the next character.
        ' ' | '\t' | '\r' | '\n' => {
            let after = rest.get(1..)?;
            return Some((1 + after.len() - after.trim_start_matches([' ', '\t', '\r', '\n']).len(), 0));
        }
        _ => return Some((1 + escape.len_utf8(), 1)),
    };
    let code = rest.get(2..2 + digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let means = code.and_then(char::from_u32).map_or(1, char::len_utf8);
    Some((2 + digits, means))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_of_a_text_is_found_in_its_spelling() {
        let cases = [
            (r#"key = "abc{x}""#, 3, "{"),
            (r#"key = 'a\c{x}'"#, 3, "{"),
            (r#"key = "\"\u00e9{x}""#, 3, "{"),
            ("key = \"\"\"\nab{x}\"\"\"", 2, "{"),
            ("key = \"\"\"a\\\n   b{x}\"\"\"", 2, "{"),
            (r#"key = "é{x}""#, 2, "{"),
        ];
        for (text, at, expected) in cases {
            let document = Document::parse("f", text).unwrap();
            let span = document.span_inside(&Path::default().key("key"), at);
            assert_eq!(&text[span], expected, "{text}");
        }
    }

    #[test]
    fn a_missing_value_stands_where_its_table_does() {
        let text = "[redis]\nurl = \"x\"\n[[entity]]\nname = \"a\"\n";
        let document = Document::parse("f", text).unwrap();
        let entity = Path::default().key("entity").index(0);
        assert_eq!(&text[document.span(&entity.key("topics"))], "[[entity]]");
        assert_eq!(&text[document.span(&Path::default().key("redis").key("url"))], "\"x\"");
        assert_eq!(&text[document.name_span(&Path::default().key("redis").key("url"))], "url");
        assert_eq!(document.span(&Path::default().key("kafka")), 0..0);
        assert_eq!(entity.key("write").index(1).key("ttl").to_string(), "entity[0].write[1].ttl");
        assert_eq!(entity.key("write").index(1).key("ttl").fields(), "entity.write.ttl");
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        for text in [format!("a = {}", "[".repeat(200_000)), format!("a{} = 1", ".a".repeat(200_000))] {
            assert!(Document::parse("f", &text).is_err());
        }
    }
}
