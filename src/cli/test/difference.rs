//! Where two texts of JSON lines differ, shown so that a person sees it.

use std::fmt;

use serde::Serialize;

/// Characters of a long line shown before and after the place where it differs: two lines of a terminal, and
/// enough to see which field it is.
const EXCERPT_BEFORE: usize = 60;
const EXCERPT_AFTER: usize = 100;

/// One line that differs. `None` where a side has no such line.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    line: usize,
    expected: Option<String>,
    got: Option<String>,
}

/// The lines that differ, by their number. Blank lines of what is expected do not count.
pub(super) fn differences(expected: &str, got: &str) -> Vec<Difference> {
    let mut expected = expected
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim().is_empty());
    let mut got = got.lines();
    let mut found = Vec::new();
    let mut last_line = 0;
    loop {
        match (expected.next(), got.next()) {
            (None, None) => return found,
            (Some((line, expected)), Some(got)) => {
                last_line = line;
                if compact(expected) != compact(got) {
                    found.push(Difference {
                        line,
                        expected: Some(expected.to_owned()),
                        got: Some(got.to_owned()),
                    });
                }
            }
            (Some((line, expected)), None) => {
                last_line = line;
                found.push(Difference { line, expected: Some(expected.to_owned()), got: None });
            }
            (None, Some(got)) => {
                last_line += 1;
                found.push(Difference { line: last_line, expected: None, got: Some(got.to_owned()) });
            }
        }
    }
}

impl fmt::Display for Difference {
    /// Long lines are shown from shortly before the place where they part.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [expected, got] = [&self.expected, &self.got].map(|line| line.as_deref().map(compact));
        let same = match (&expected, &got) {
            (Some(expected), Some(got)) => {
                expected.chars().zip(got.chars()).take_while(|(a, b)| a == b).count()
            }
            (None, _) | (_, None) => 0,
        };
        writeln!(f, "  line {}:", self.line)?;
        writeln!(f, "    expected {}", excerpt(expected, same))?;
        writeln!(f, "    got      {}", excerpt(got, same))
    }
}

/// The line around a character of it, within [`EXCERPT_BEFORE`] and [`EXCERPT_AFTER`].
fn excerpt(line: Option<String>, at: usize) -> String {
    let Some(line) = line else { return "no such line".to_owned() };
    let length = line.chars().count();
    if length <= EXCERPT_BEFORE + EXCERPT_AFTER {
        return line;
    }
    let start = at.saturating_sub(EXCERPT_BEFORE);
    let end = at.saturating_add(EXCERPT_AFTER);
    let part: String = line.chars().skip(start).take(end - start).collect();
    let (before, after) = (if start > 0 { "… " } else { "" }, if end < length { " …" } else { "" });
    format!("{before}{part}{after}")
}

/// The JSON text without white space between its tokens. Keeps order and digits, which parsing would not.
fn compact(json: &str) -> String {
    let mut in_text = false;
    let mut escaped = false;
    json.chars()
        .filter(|&letter| {
            if in_text {
                in_text = escaped || letter != '"';
                escaped = !escaped && letter == '\\';
                return true;
            }
            in_text = letter == '"';
            !matches!(letter, ' ' | '\t' | '\r' | '\n')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_the_line_of_the_expected_file() {
        let found = differences("{\"a\":1}\n\n{\"a\":2}\n", "{\"a\":1}\n{\"a\":2.0}\n{\"a\":3}\n");
        let some = |text: &str| Some(text.to_owned());
        let expected = [
            Difference { line: 3, expected: some("{\"a\":2}"), got: some("{\"a\":2.0}") },
            Difference { line: 4, expected: None, got: some("{\"a\":3}") },
        ];
        assert_eq!(found, expected);
        assert_eq!(differences("{}\n{}\n", "{}\n").len(), 1);
    }

    #[test]
    fn a_long_line_is_shown_around_the_place_where_it_differs() {
        let line = |digit| {
            Some(format!(
                "{{\"a\":\"{}\", \"ttl_ms\":{digit}, \"b\":\"{}\"}}",
                "x".repeat(200),
                "é".repeat(200)
            ))
        };
        let shown = Difference { line: 3, expected: line(1), got: line(2) }.to_string();
        let lines: Vec<_> = shown.lines().collect();
        assert!(
            lines[1].starts_with("    expected … xxx") && lines[1].contains("\"ttl_ms\":1,\"b\""),
            "{shown}"
        );
        assert!(lines[2].ends_with("é …") && lines[2].contains("\"ttl_ms\":2,\"b\""), "{shown}");
        assert!(lines.iter().all(|line| line.chars().count() < 180), "{shown}");
    }

    #[test]
    fn white_space_counts_only_inside_texts() {
        assert_eq!(compact(r#" { "a b" : "c \" d \\" , "e" : 1.50 } "#), r#"{"a b":"c \" d \\","e":1.50}"#);
    }
}
