//! Records as NDJSON: one object a line. `stoker explain --help` says it to users.
//!
//! A line holds `topic` (required), `partition`, `offset`, `timestamp_ms`; `key` and `value` as text, or
//! `key_b64` and `value_b64` (absent or null is none); `headers` as a list of `[name, value_b64]`. Blank
//! lines are passed over. Start at [`Reader`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::record::OwnedRecord;

/// Longest input line: four times the default `limits.value_bytes`, for JSON escapes and base64 make a value longer.
pub const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

const FIELDS: [&str; 9] =
    ["topic", "partition", "offset", "timestamp_ms", "key", "key_b64", "value", "value_b64", "headers"];

/// Why reading ended before the end of the input. Holds no value of a record.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A line is no record.
    #[error("{name}:{line}: {problem}")]
    Line {
        /// The file, or `standard input`.
        name: String,
        /// Line number, from 1.
        line: u64,
        /// What is wrong and what is expected.
        problem: Cow<'static, str>,
    },
    /// The file cannot be read.
    #[error("{name}: cannot be read")]
    Io {
        /// The file, or `standard input`.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads records line by line, holding one line at a time.
#[derive(Debug)]
pub struct Reader<R> {
    name: String,
    input: R,
    line: u64,
    record_count: i64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// A reader of this input; `name` is what errors call it.
    pub fn new(name: impl Into<String>, input: R) -> Reader<R> {
        Reader { name: name.into(), input, line: 0, record_count: 0, buffer: Vec::new() }
    }

    /// The next record; `None` at the end. A record without `offset` gets its number in the input, from 0.
    pub fn next_record(&mut self) -> Result<Option<OwnedRecord>, InputError> {
        while self.next_line()? {
            let text = self.buffer.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let record = parse(text, self.record_count).map_err(|problem| self.line_error(problem))?;
            self.record_count = self.record_count.saturating_add(1);
            return Ok(Some(record));
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Result<bool, InputError> {
        self.buffer.clear();
        let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let read = (&mut self.input)
            .take(limit)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| InputError::Io { name: self.name.clone(), source })?;
        self.line = self.line.saturating_add(1);
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(self.line_error(format!("the line is longer than {LINE_BYTES_MAX} bytes").into()));
        }
        Ok(read > 0)
    }

    fn line_error(&self, problem: Cow<'static, str>) -> InputError {
        InputError::Line { name: self.name.clone(), line: self.line, problem }
    }
}

type Problem = Cow<'static, str>;
type Fields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

fn parse(line: &[u8], default_offset: i64) -> Result<OwnedRecord, Problem> {
    let fields: Fields<'_> = serde_json::from_slice(line).map_err(|error| {
        let expected =
            "expected a record as one JSON object, such as {\"topic\":\"shop.customers\",\"value\":\"…\"}";
        if error.is_syntax() || error.is_eof() {
            Problem::from(format!("not JSON at byte {}; {expected}", error.column()))
        } else {
            Problem::from(expected)
        }
    })?;
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&&***name)) {
        return Err(format!("unknown field {unknown:?}; a record has {}", FIELDS.join(", ")).into());
    }
    let topic: String =
        field(&fields, "topic", "a text")?.ok_or("\"topic\" is missing: expected the record's topic")?;
    Ok(OwnedRecord {
        topic,
        partition: field::<u32>(&fields, "partition", "a whole number from 0 to 2147483647")?
            .map_or(Ok(0), i32::try_from)
            .map_err(|_| "\"partition\" is over 2147483647")?,
        offset: field::<u64>(&fields, "offset", "a whole number from 0 on")?
            .map_or(Ok(default_offset), i64::try_from)
            .map_err(|_| "\"offset\" is over 9223372036854775807")?,
        timestamp_ms: field(&fields, "timestamp_ms", "Unix milliseconds as a whole number")?,
        key: bytes(&fields, "key", "key_b64")?,
        value: bytes(&fields, "value", "value_b64")?,
        headers: headers(&fields)?,
    })
}

/// The field's value; `None` where it is absent or null.
fn field<'a, T: Deserialize<'a>>(
    fields: &Fields<'a>,
    name: &str,
    expected: &str,
) -> Result<Option<T>, Problem> {
    match fields.get(name) {
        None => Ok(None),
        Some(raw) => serde_json::from_str::<Option<T>>(raw.get())
            .map_err(|_| format!("{name:?} must be {expected}").into()),
    }
}

fn bytes(fields: &Fields<'_>, text: &str, encoded: &str) -> Result<Option<Vec<u8>>, Problem> {
    let plain: Option<String> =
        field(fields, text, "a text (a JSON document goes in as text, with its quotes escaped) or null")?;
    let base64: Option<String> = field(fields, encoded, "base64 text or null")?;
    match (plain, base64) {
        (Some(_), Some(_)) => Err(format!("{text:?} and {encoded:?} exclude each other").into()),
        (plain, None) => Ok(plain.map(String::into_bytes)),
        (None, Some(base64)) => STANDARD
            .decode(base64)
            .map(Some)
            .map_err(|_| format!("{encoded:?} is not base64 (standard alphabet, padded)").into()),
    }
}

type OwnedHeaders = Vec<(String, Option<Vec<u8>>)>;

fn headers(fields: &Fields<'_>) -> Result<OwnedHeaders, Problem> {
    let expected = "a list of [name, value as base64 or null]";
    let pairs: Option<Vec<(String, Option<String>)>> = field(fields, "headers", expected)?;
    pairs
        .unwrap_or_default()
        .into_iter()
        .map(|(name, value)| Ok((name, value.map(|value| STANDARD.decode(value)).transpose()?)))
        .collect::<Result<_, base64::DecodeError>>()
        .map_err(|_| format!("\"headers\" must be {expected}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<OwnedRecord>, InputError> {
        let mut reader = Reader::new("in.ndjson", text.as_bytes());
        std::iter::from_fn(|| reader.next_record().transpose()).collect()
    }

    #[test]
    fn text_and_base64_and_null_are_told_apart() {
        let records = read(concat!(
            "{\"topic\":\"t\",\"partition\":3,\"offset\":7,\"timestamp_ms\":-5,\"key\":\"k\\u00e9\",\"value_b64\":\"AP8=\",",
            "\"headers\":[[\"a\",\"AQ==\"],[\"b\",null]]}\r\n",
            "\n",
            "{\"topic\":\"t\",\"key\":null,\"value\":\"\"}",
        ))
        .unwrap();
        let full = OwnedRecord {
            topic: "t".into(),
            partition: 3,
            offset: 7,
            timestamp_ms: Some(-5),
            key: Some("ké".into()),
            value: Some(vec![0, 255]),
            headers: vec![("a".into(), Some(vec![1])), ("b".into(), None)],
        };
        let bare =
            OwnedRecord { topic: "t".into(), offset: 1, value: Some(Vec::new()), ..OwnedRecord::default() };
        assert_eq!(records, [full, bare]);
    }

    #[test]
    fn a_line_that_is_no_record_is_named_by_file_and_line_and_never_quoted() {
        let cases = [
            ("{\"topic\":", "not JSON at byte"),
            ("[1]", "expected a record as one JSON object"),
            ("{\"value\":\"hunter2\"}", "\"topic\" is missing"),
            ("{\"topic\":null}", "\"topic\" is missing"),
            ("{\"topic\":7}", "\"topic\" must be a text"),
            ("{\"topic\":\"t\",\"vlaue\":\"hunter2\"}", "unknown field \"vlaue\""),
            ("{\"topic\":\"t\",\"value\":{\"id\":\"hunter2\"}}", "\"value\" must be a text"),
            ("{\"topic\":\"t\",\"partition\":\"hunter2\"}", "\"partition\" must be a whole number"),
            ("{\"topic\":\"t\",\"partition\":4294967295}", "\"partition\" is over"),
            ("{\"topic\":\"t\",\"offset\":-1}", "\"offset\" must be a whole number"),
            ("{\"topic\":\"t\",\"key\":\"a\",\"key_b64\":\"YQ==\"}", "exclude each other"),
            ("{\"topic\":\"t\",\"value_b64\":\"hunter2\"}", "\"value_b64\" is not base64"),
            ("{\"topic\":\"t\",\"headers\":[[\"a\"]]}", "\"headers\" must be a list"),
            ("\u{1}", "not JSON"),
        ];
        for (line, expected) in cases {
            let error = read(&format!("\n{line}\n")).expect_err(line).to_string();
            assert!(error.starts_with("in.ndjson:2: "), "{line}: {error}");
            assert!(error.contains(expected), "{line}: {error}");
            assert!(!error.contains("hunter2"), "{line}: {error}");
        }
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_it_is_held() {
        let endless = io::repeat(b' ');
        let mut reader = Reader::new("in.ndjson", io::BufReader::new(endless));
        let error = reader.next_record().expect_err("too long").to_string();
        assert!(error.contains("longer than"), "{error}");
        assert!(reader.buffer.len() <= LINE_BYTES_MAX + 1);
    }
}
