//! The file of rows that failed: one JSON object a line, with file, row and reason. Never a value.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use serde::Serialize;

/// Where rows that failed are told.
pub(super) struct Rejects {
    file: Option<BufWriter<File>>,
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    row: u64,
    reason: &'a str,
}

impl Rejects {
    /// Nowhere, or a file that is written anew; behind what it holds where a load goes on.
    pub(super) fn open(path: Option<&Path>, goes_on: bool) -> io::Result<Rejects> {
        let file = match path {
            None => None,
            Some(path) if goes_on => Some(File::options().append(true).create(true).open(path)?),
            Some(path) => Some(File::create(path)?),
        };
        Ok(Rejects { file: file.map(BufWriter::new) })
    }

    pub(super) fn add(&mut self, file: &str, row: u64, reason: &str) -> io::Result<()> {
        let Some(out) = &mut self.file else { return Ok(()) };
        serde_json::to_writer(&mut *out, &Line { file, row, reason })?;
        out.write_all(b"\n")
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.flush())
    }
}
