//! Problems of a settings file: where, what, and what to do.
//!
//! A problem shows the line of the file that it speaks of, but never a secret: lines of sections that hold
//! secrets are shown up to the equals sign only.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::document::{Document, Path, Segment};

/// Everything that is wrong with a settings file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError {
    /// The problems; at least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// One problem. Its `Display` is `stoker.toml:12:9: entity "customer", write 2: ttl: …`, then the line with a
/// caret under the place, then what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Line, from 1; 0 where the file could not be read at all.
    pub line: usize,
    /// Column in characters, from 1; 0 where the file could not be read at all.
    pub column: usize,
    /// Where the setting stands: `entity[0].write[1].ttl`. Empty for the whole file and for syntax errors.
    pub path: String,
    /// The same in words: `entity "customer", write 2: ttl`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

/// A line of the file and how many characters of it, from the problem's column on, are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    line: String,
    width: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.place.is_empty() {
            write!(f, ": {}", self.place)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(excerpt) = &self.excerpt {
            let before = excerpt.line.chars().take(self.column.saturating_sub(1));
            let pad: String = before.map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
            let carets = "^".repeat(excerpt.width.max(1));
            write!(f, "\n    | {}\n    | {pad}{carets}", excerpt.line)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n    = {help}")?;
        }
        Ok(())
    }
}

impl Problem {
    /// A problem of a file that could not be read.
    pub(super) fn of_file(file: &str, message: String) -> Problem {
        Problem {
            file: file.to_owned(),
            line: 0,
            column: 0,
            path: String::new(),
            place: String::new(),
            message,
            help: None,
            excerpt: None,
        }
    }

    /// A problem at bytes of a text.
    pub(super) fn at(file: &str, text: &str, span: Range<usize>, message: String) -> Problem {
        let start = floor_boundary(text, span.start);
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let meant = text.get(start..floor_boundary(text, span.end)).unwrap_or_default();
        let width = meant.lines().next().unwrap_or_default().chars().count();
        Problem {
            line: before.matches('\n').count() + 1,
            column,
            excerpt: excerpt(before, line, column, width),
            ..Problem::of_file(file, message)
        }
    }

    /// A problem of a setting, at bytes of the document.
    pub(super) fn of_setting(
        document: &Document<'_>,
        path: &Path,
        span: Range<usize>,
        message: String,
    ) -> Problem {
        let problem = Problem::at(document.file, document.text, span, message);
        // What is missing from the whole file is missing from no line of it.
        let excerpt = problem.excerpt.filter(|_| !path.segments().is_empty());
        Problem { path: path.to_string(), place: place(document, path), excerpt, ..problem }
    }

    /// The same with what to do about it.
    pub(super) fn with_help(self, help: impl Into<String>) -> Problem {
        Problem { help: Some(help.into()), ..self }
    }
}

/// Sections whose lines hold no secret and may be shown whole.
const OPEN_SECTIONS: [&str; 7] = ["entity", "limits", "errors", "ready", "verify", "log", "admin"];

fn excerpt(before: &str, line: &str, column: usize, width: usize) -> Option<Excerpt> {
    let mut headers =
        before.lines().chain(std::iter::once(line)).filter(|line| line.trim_start().starts_with('['));
    let section = headers.next_back().map_or("", |header| header.trim_start().trim_start_matches('['));
    let section = section.split([']', '.']).next().unwrap_or_default().trim();
    let shown = match line.split_once('=') {
        _ if OPEN_SECTIONS.contains(&section) => line.to_owned(),
        Some((name, value)) => {
            let space = value.len() - value.trim_start().len();
            format!("{name}={}…", " ".repeat(space))
        }
        None if line.trim_start().starts_with('[') => line.to_owned(),
        None => return None,
    };
    let rest = shown.chars().count().checked_sub(column.saturating_sub(1)).filter(|rest| *rest > 0)?;
    Some(Excerpt { line: shown.trim_end().to_owned(), width: width.min(rest) })
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A path in words. Entities go by their name, writes by their number from 1.
fn place(document: &Document<'_>, path: &Path) -> String {
    let mut words = Vec::new();
    let mut fields: Vec<String> = Vec::new();
    let mut so_far = Path::default();
    let mut list = "";
    for segment in path.segments() {
        match segment {
            Segment::Key(key) => {
                so_far = so_far.key(key);
                list = key;
                fields.push(key.clone());
            }
            Segment::Index(index) => {
                so_far = so_far.index(*index);
                let name = document.text_at(&so_far.key("name"));
                let number = index.saturating_add(1);
                match (list, name) {
                    ("entity", Some(name)) => words.push(format!("entity {name:?}")),
                    ("entity" | "write", _) => words.push(format!("{list} {number}")),
                    _ => {
                        if let Some(last) = fields.last_mut() {
                            last.push_str(&format!("[{index}]"));
                        }
                        continue;
                    }
                }
                fields.clear();
            }
        }
    }
    let mut place = words.join(", ");
    if !fields.is_empty() {
        let separator = if place.is_empty() { "" } else { ": " };
        place = format!("{place}{separator}{}", fields.join("."));
    }
    place
}

/// Collects problems and warnings of one document.
#[derive(Debug)]
pub(super) struct Findings<'d> {
    document: &'d Document<'d>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'d> Findings<'d> {
    /// Nothing found yet.
    pub(super) fn new(document: &'d Document<'d>) -> Findings<'d> {
        Findings { document, problems: Vec::new(), warnings: Vec::new() }
    }

    /// The document.
    pub(super) fn document(&self) -> &'d Document<'d> {
        self.document
    }

    /// True where the file says something at that path, right or wrong.
    pub(super) fn says(&self, path: &Path) -> bool {
        self.document.find(path).is_some()
    }

    /// A problem of the value at a path.
    pub(super) fn refuse(&mut self, path: &Path, message: impl Into<String>) {
        self.problems.push(self.problem(path, message));
    }

    /// A problem of the value at a path, and what to do about it.
    pub(super) fn refuse_with(&mut self, path: &Path, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(self.problem(path, message).with_help(help));
    }

    /// A problem of the field at a path: it should not be there.
    pub(super) fn refuse_field(&mut self, path: &Path, message: impl Into<String>, help: Option<String>) {
        let span = self.document.name_span(path);
        let problem = Problem::of_setting(self.document, path, span, message.into());
        self.problems.push(Problem { help, ..problem });
    }

    /// A problem at byte `at` of the text at a path.
    pub(super) fn refuse_inside(&mut self, path: &Path, at: usize, message: impl Into<String>) {
        let span = self.document.span_inside(path, at);
        self.problems.push(Problem::of_setting(self.document, path, span, message.into()));
    }

    /// Something that is allowed, but doubtful.
    pub(super) fn warn(&mut self, path: &Path, message: impl Into<String>, help: Option<String>) {
        let problem = self.problem(path, message);
        self.warnings.push(Problem { help, ..problem });
    }

    fn problem(&self, path: &Path, message: impl Into<String>) -> Problem {
        Problem::of_setting(self.document, path, self.document.span(path), message.into())
    }

    /// The problems and the warnings, in the order of the file.
    pub(super) fn sorted(mut self) -> (Vec<Problem>, Vec<Problem>) {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        self.warnings.sort_by_key(|problem| (problem.line, problem.column));
        (self.problems, self.warnings)
    }
}

/// The name among `names` that a misspelt one most likely meant.
pub(super) fn suggestion<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Above 0.8 strsim's Jaro-Winkler finds transpositions and dropped letters ("timout", "tabel") and leaves
    // unrelated short names alone; picked by eye over the fields of stoker.toml.
    const ALIKE: f64 = 0.8;
    let alike = names.into_iter().map(|name| (strsim::jaro_winkler(&wrong.to_lowercase(), name), name));
    let best = alike.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, name)| name)
}

/// `"a", "b" or "c"`.
pub(super) fn one_of<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("{name:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "nothing".to_owned(),
    }
}
