//! Opens one input: which format it is in, what it is packed in, how far it is read.

use std::fs::File;
use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::avro::{self, Avro};
use super::csv::Csv;
pub use super::csv::Dialect;
use super::ndjson::Ndjson;
use super::packed::{Packing, unpack};
use super::parquet::{self, Parquet};
use super::partition::Partitioned;
use super::{ExportError, Input, Origin, Rows};

/// A format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Parquet.
    Parquet,
    /// CSV with a header line.
    Csv,
    /// The same with tabs.
    Tsv,
    /// One JSON object a line.
    Ndjson,
    /// An Avro object container.
    Avro,
}

impl Format {
    /// By a file's name, without what it is packed in.
    fn of_name(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let packed = [".gz", ".gzip", ".zst", ".zstd"].iter().find_map(|ending| name.strip_suffix(ending));
        let name = packed.unwrap_or(&name);
        Some(match name.rsplit_once('.')?.1 {
            "parquet" | "parq" | "pq" => Format::Parquet,
            "csv" => Format::Csv,
            "tsv" | "tab" => Format::Tsv,
            "ndjson" | "jsonl" | "json" | "jsonlines" => Format::Ndjson,
            "avro" => Format::Avro,
            _ => return None,
        })
    }

    /// By the first bytes, unpacked.
    fn of_head(head: &[u8]) -> Option<Format> {
        if head.starts_with(parquet::MAGIC) {
            return Some(Format::Parquet);
        }
        if head.starts_with(avro::MAGIC) {
            return Some(Format::Avro);
        }
        head.trim_ascii_start().starts_with(b"{").then_some(Format::Ndjson)
    }
}

/// What is to be read of the inputs.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The format of all of them; where it is `None` names and first bytes tell.
    pub format: Option<Format>,
    /// How CSV is written.
    pub dialect: Dialect,
    /// The columns that are needed; all where it is `None`.
    pub columns: Option<Vec<String>>,
}

/// An open input.
pub struct Opened {
    /// Its rows.
    pub rows: Box<dyn Rows>,
    /// Its format.
    pub format: Format,
    /// Bytes of the file that were read so far; stays 0 where rows are counted instead ([`Rows::count`]).
    pub bytes_read: Arc<AtomicU64>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("format", &self.format).finish_non_exhaustive()
    }
}

/// Opens an input.
///
/// # Errors
/// It cannot be read, its format is not told, or it is not what its format says.
pub fn open(input: &Input, reading: &Reading) -> Result<Opened, ExportError> {
    let bytes_read = Arc::new(AtomicU64::new(0));
    let named = reading.format.or_else(|| Format::of_name(Path::new(&input.name())));
    let raw: Box<dyn Read + Send> = match &input.origin {
        Origin::Stdin => Box::new(std::io::stdin()),
        Origin::Object(object) => {
            let mut head = [0; 4];
            let count = read_head(&mut object.read(), &mut head)?;
            if head.get(..count) == Some(parquet::MAGIC) {
                let rows = Parquet::new(object.at_any_place(), reading.columns.as_deref())?;
                return Ok(opened(Box::new(rows), input, Format::Parquet, bytes_read));
            }
            Box::new(object.read())
        }
        Origin::Topic { .. } => {
            return Err(ExportError::NotRead("a topic's records are no file".to_owned()));
        }
        Origin::File(path) => {
            let mut file = File::open(path)?;
            let mut head = [0; 4];
            let count = read_head(&mut file, &mut head)?;
            if head.get(..count) == Some(parquet::MAGIC) {
                let rows = Parquet::new(file, reading.columns.as_deref())?;
                return Ok(opened(Box::new(rows), input, Format::Parquet, bytes_read));
            }
            Box::new(File::open(path)?)
        }
    };
    let counted = Counted { inner: raw, bytes: Arc::clone(&bytes_read) };
    let (packing, mut unpacked) = unpack(counted)?;
    let head = unpacked.fill_buf()?;
    let format = match (Format::of_head(head), named) {
        (Some(found @ (Format::Parquet | Format::Avro)), _) => found,
        (_, Some(named)) => named,
        (Some(found), None) => found,
        (None, None) => {
            return Err(ExportError::NotRead(
                "neither its name nor its first bytes tell the format: say --format".to_owned(),
            ));
        }
    };
    let rows = stream(format, packing, unpacked, reading.dialect)?;
    Ok(opened(rows, input, format, bytes_read))
}

fn stream(
    format: Format,
    packing: Packing,
    input: Box<dyn BufRead + Send>,
    dialect: Dialect,
) -> Result<Box<dyn Rows>, ExportError> {
    Ok(match format {
        Format::Parquet if packing == Packing::Plain => {
            return Err(ExportError::NotRead(
                "Parquet is read from its end: name a file, or see whether this is one".to_owned(),
            ));
        }
        Format::Parquet => {
            return Err(ExportError::NotRead("packed Parquet is not read: unpack the file".to_owned()));
        }
        Format::Csv => Box::new(Csv::new(input, dialect)?),
        Format::Tsv => Box::new(Csv::new(input, Dialect { delimiter: b'\t', ..dialect })?),
        Format::Ndjson => Box::new(Ndjson::new(input)),
        Format::Avro => Box::new(Avro::new(input)?),
    })
}

fn opened(rows: Box<dyn Rows>, input: &Input, format: Format, bytes_read: Arc<AtomicU64>) -> Opened {
    let rows = match input.partition.as_slice() {
        [] => rows,
        columns => Box::new(Partitioned { rows, columns: columns.to_vec() }),
    };
    Opened { rows, format, bytes_read }
}

fn read_head(file: &mut impl Read, head: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while let Some(rest) = head.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

/// Counts what is read.
struct Counted {
    inner: Box<dyn Read + Send>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::listed;
    use super::*;

    fn read(name: &str, content: &[u8], format: Option<Format>) -> Result<Vec<String>, ExportError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let input = Input { origin: Origin::File(path), argument: 0, partition: Vec::new() };
        let mut opened = open(&input, &Reading { format, ..Reading::default() })?;
        Ok(listed(&mut *opened.rows))
    }

    #[test]
    fn the_format_is_told_by_option_name_and_first_bytes() {
        let packed = zstd::encode_all(&b"{\"id\":1}\n"[..], 1).unwrap();
        for (name, content, format, expected) in [
            ("a.csv", &b"id\n1\n"[..], None, "id='1'"),
            ("a.tsv", b"id\tn\n1\tx\n", None, "id='1' n='x'"),
            ("a.JSONL", b"{\"id\":1}", None, "id=1"),
            ("a", b"\n {\"id\":1}", None, "id=1"),
            ("a.txt", b"id\n1\n", Some(Format::Csv), "id='1'"),
            ("a.json.zst", &packed, None, "id=1"),
            // The name says nothing of the packing.
            ("a.ndjson", &packed, None, "id=1"),
        ] {
            assert_eq!(read(name, content, format).unwrap(), [expected], "{name}");
        }
        for (name, content) in
            [("a.txt", &b"id\n1\n"[..]), ("a.parquet", b"id"), ("a.avro", b"id\n1\n"), ("e", b"")]
        {
            assert!(read(name, content, None).is_err(), "{name}");
        }
    }
}
