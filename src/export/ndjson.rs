//! NDJSON: one JSON object a line.

use std::io::BufRead;

use super::{ExportError, Next, Rows};
use crate::decode::json_row;

/// Longest line, bytes: four times the default `limits.value_bytes`, for a row is wider than its value.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Bytes of the line buffer that are kept between lines.
const LINE_BYTES_KEPT: usize = 1 << 20;

pub(super) struct Ndjson {
    input: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    first: bool,
}

impl Ndjson {
    pub(super) fn new(input: Box<dyn BufRead + Send>) -> Ndjson {
        Ndjson { input, line: Vec::new(), first: true }
    }

    /// Reads the next line that is not blank. False at the end.
    fn advance(&mut self) -> Result<bool, ExportError> {
        loop {
            self.line.clear();
            self.line.shrink_to(LINE_BYTES_KEPT);
            if !read_line(&mut *self.input, &mut self.line)? {
                return Ok(false);
            }
            if std::mem::take(&mut self.first) {
                if self.line.starts_with(b"\xef\xbb\xbf") {
                    self.line.drain(..3);
                }
                if self.line.trim_ascii_start().starts_with(b"[") {
                    return Err(ExportError::Content(
                        "the file begins with a list: NDJSON has one object a line (`jq -c '.[]'` makes it so)"
                            .to_owned(),
                    ));
                }
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }
}

impl Rows for Ndjson {
    fn next(&mut self) -> Result<Next<'_>, ExportError> {
        if !self.advance()? {
            return Ok(Next::End);
        }
        let Ok(text) = std::str::from_utf8(&self.line) else {
            return Ok(Next::Bad("the line is not UTF-8".to_owned()));
        };
        Ok(match json_row(text.trim_ascii()) {
            Ok(row) => Next::Row(row),
            Err(error) => Next::Bad(error.to_string()),
        })
    }

    fn skip(&mut self, rows: u64) -> Result<u64, ExportError> {
        for passed in 0..rows {
            if !self.advance()? {
                return Ok(passed);
            }
        }
        Ok(rows)
    }
}

/// Appends a line without its end. False where there is none.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> Result<bool, ExportError> {
    let mut any = false;
    loop {
        let available = match input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if available.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = memchr::memchr(b'\n', available);
        let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
        if line.len().saturating_add(part.len()) > LINE_BYTES_MAX {
            return Err(ExportError::Content(format!("a line is longer than {} MiB", LINE_BYTES_MAX >> 20)));
        }
        line.extend_from_slice(part);
        let used = end.map_or(available.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::listed;
    use super::*;

    fn rows(text: &str) -> Vec<String> {
        listed(&mut Ndjson::new(Box::new(std::io::Cursor::new(text.as_bytes().to_vec()))))
    }

    #[test]
    fn a_line_is_a_row_and_a_bad_one_is_passed_over() {
        let text =
            "\u{feff}{\"id\":1,\"n\":null}\r\n\n  {\"id\":9007199254740993}\nnonsense\n[1]\n{\"id\":3}";
        assert_eq!(
            rows(text),
            [
                "id=1 n=null",
                "id=9007199254740993",
                "bad: the row is not JSON at byte 0: expected an object",
                "bad: the row is not JSON at byte 0: expected an object",
                "id=3",
            ]
        );
        assert_eq!(rows(""), Vec::<String>::new());
    }

    #[test]
    fn a_list_is_refused_and_rows_are_skipped() {
        let mut list = Ndjson::new(Box::new(&b"[{\"id\":1}]"[..]));
        assert!(matches!(list.next(), Err(ExportError::Content(_))));
        let mut some = Ndjson::new(Box::new(&b"{}\n\nx\n{\"id\":3}\n"[..]));
        assert_eq!(some.skip(2).unwrap(), 2);
        assert_eq!(listed(&mut some), ["id=3"]);
        assert_eq!(some.skip(2).unwrap(), 0);
    }
}
