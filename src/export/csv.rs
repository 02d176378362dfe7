//! CSV with a header line (RFC 4180): every cell is a text, and which of them is null a convention.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use super::{ExportError, Next, Rows};
use crate::change::{Cell, Column, Row};
use crate::types::{Kind, Raw, Typed};

/// What is null beside an empty cell: PostgreSQL's and Snowflake's `\N`.
const NULL: &[u8] = b"\\N";

/// Bytes that one row may take, as a line of NDJSON may: a quote that is not closed reads on to the end of the file.
const ROW_BYTES_MAX: usize = 64 << 20;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Between two cells.
    pub delimiter: u8,
    /// True where an empty cell is an empty text and only `\N` is null.
    pub empty_is_text: bool,
}

impl Default for Dialect {
    fn default() -> Dialect {
        Dialect { delimiter: b',', empty_is_text: false }
    }
}

pub(super) struct Csv {
    reader: Reader<Bounded>,
    names: Vec<String>,
    record: ByteRecord,
    empty_is_text: bool,
}

impl Csv {
    /// Reads the header.
    pub(super) fn new(input: Box<dyn BufRead + Send>, dialect: Dialect) -> Result<Csv, ExportError> {
        let input = Bounded { input, left: ROW_BYTES_MAX };
        // `flexible`: a row of another length is that row's error, and not the file's.
        let mut reader = ReaderBuilder::new().delimiter(dialect.delimiter).flexible(true).from_reader(input);
        let header = reader.byte_headers().map_err(fault)?;
        let mut names = Vec::with_capacity(header.len());
        for (index, name) in header.iter().enumerate() {
            let name = if index == 0 { name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name) } else { name };
            let name = std::str::from_utf8(name)
                .map_err(|_| ExportError::Content("the header line is not UTF-8".to_owned()))?;
            if names.iter().any(|known| known == name) {
                return Err(ExportError::Content(format!("the header names the column {name:?} twice")));
            }
            names.push(name.to_owned());
        }
        Ok(Csv { reader, names, record: ByteRecord::new(), empty_is_text: dialect.empty_is_text })
    }
}

impl Csv {
    /// Reads a row. False at the end.
    fn advance(&mut self) -> Result<bool, ExportError> {
        self.reader.get_mut().left = ROW_BYTES_MAX;
        self.reader.read_byte_record(&mut self.record).map_err(fault)
    }
}

/// What may be read until the next row begins.
struct Bounded {
    input: Box<dyn BufRead + Send>,
    left: usize,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let left = self.left.checked_sub(count);
        self.left = left.ok_or_else(|| {
            let why =
                format!("a row is longer than {} MiB: maybe a quote is not closed", ROW_BYTES_MAX >> 20);
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        Ok(count)
    }
}

impl Rows for Csv {
    fn next(&mut self) -> Result<Next<'_>, ExportError> {
        if !self.advance()? {
            return Ok(Next::End);
        }
        if self.record.len() != self.names.len() {
            let (found, wanted) = (self.record.len(), self.names.len());
            return Ok(Next::Bad(format!("the row has {found} cells, and the header {wanted}")));
        }
        let mut columns = Vec::with_capacity(self.names.len());
        for (name, cell) in self.names.iter().zip(&self.record) {
            let cell = if cell == NULL || (cell.is_empty() && !self.empty_is_text) {
                Cell::Null
            } else {
                let Ok(text) = std::str::from_utf8(cell) else {
                    return Ok(Next::Bad(format!("column {name:?} is not UTF-8")));
                };
                Cell::Present(Typed { raw: Raw::Text(text), kind: &Kind::Untyped })
            };
            columns.push(Column { name: Cow::Borrowed(name), cell });
        }
        Ok(Next::Row(Row { columns, declared: &[], text: None }))
    }

    fn skip(&mut self, rows: u64) -> Result<u64, ExportError> {
        for passed in 0..rows {
            if !self.advance()? {
                return Ok(passed);
            }
        }
        Ok(rows)
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(self.names.clone())
    }
}

/// The library's messages quote no cells, but hold positions that only the library counts.
fn fault(error: csv::Error) -> ExportError {
    match error.into_kind() {
        ErrorKind::Io(error) => ExportError::Io(error),
        _ => ExportError::Content("the file is no CSV".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::listed;
    use super::*;

    fn rows(text: &str, dialect: Dialect) -> Vec<String> {
        let mut csv = Csv::new(Box::new(std::io::Cursor::new(text.as_bytes().to_vec())), dialect).unwrap();
        listed(&mut csv)
    }

    #[test]
    fn cells_are_texts_and_empty_ones_null() {
        let text = "\u{feff}id,name\r\n1,\"a \"\"b\"\",\nc\"\r\n2,\n3,\\N\n4\n5,x,y\n";
        let expected = [
            "id='1' name='a \"b\",\nc'",
            "id='2' name=null",
            "id='3' name=null",
            "bad: the row has 1 cells, and the header 2",
            "bad: the row has 3 cells, and the header 2",
        ];
        assert_eq!(rows(text, Dialect::default()), expected);
        let hive = Dialect { delimiter: 1, empty_is_text: true };
        assert_eq!(rows("a\x01b\n\x01\\N\n", hive), ["a='' b=null"]);
    }

    #[test]
    fn a_header_that_names_a_column_twice_is_refused() {
        let read = Csv::new(Box::new(&b"a,b,a\n1,2,3\n"[..]), Dialect::default());
        assert!(matches!(read, Err(ExportError::Content(_))));
    }

    #[test]
    fn a_quote_that_is_not_closed_reads_no_further_than_a_row_may_be_long() {
        let endless = io::BufReader::new(io::Read::chain(&b"id\n\"x"[..], io::repeat(b'x')));
        let mut csv = Csv::new(Box::new(endless), Dialect::default()).unwrap();
        let error = crate::telemetry::chain(&csv.next().unwrap_err());
        assert!(error.contains("longer than 64 MiB"), "{error}");
    }
}
