//! Parquet files, row group by row group, a bounded number of rows at a time.
//!
//! Read by columns and put together into rows here: the library's own rows lose what a type says beyond its physical
//! form (whether a time stamp is an instant, nanoseconds, INT96, a UUID). Only the columns that are asked for are
//! read from the file. A column without repetition is handed on as it lies in its page; one with an inside becomes
//! JSON, as in change events. Format: <https://parquet.apache.org/docs/file-format/>. Start at [`Parquet::next`].

mod leaf;
mod meaning;
#[cfg(test)]
mod tests;
mod tree;

use std::borrow::Cow;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{ChunkReader, FileReader};
use ::parquet::file::serialized_reader::SerializedFileReader;

use self::leaf::Leaf;
use self::tree::{Tree, plan};
use super::{ExportError, Next, Rows};
use crate::change::{Cell, Column, Row};
use crate::types::{Kind, Raw, Typed};

/// What a file begins with.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// Rows that are read of each column at a time.
const ROWS_AT_ONCE: usize = 1_024;
/// Bytes that those of all columns may have, by the mean of the row group.
const BYTES_AT_ONCE: usize = 4 << 20;
/// Bytes of scratch that are kept between rows.
const SCRATCH_KEPT_BYTES: usize = 1 << 20;

/// A file under its projection.
pub(super) struct Parquet {
    file: Box<dyn FileReader>,
    names: Vec<String>,
    trees: Vec<Tree>,
    kinds: Vec<Kind>,
    leaves: Vec<Leaf>,
    /// The row group that is read next.
    group: usize,
    /// Rows of the current one that are not read yet.
    left: u64,
    at_once: usize,
    pending: Vec<Pending>,
    scratch: String,
}

/// A cell before its row is borrowed.
#[derive(Debug, Clone)]
enum Pending {
    Null,
    /// A value of that leaf.
    Value(usize, usize),
    /// A plain text in the scratch.
    Text(Range<usize>),
    /// JSON in the scratch.
    Json(Range<usize>),
}

impl Parquet {
    /// Opens a file. `wanted`: the columns to read; all where it is `None`.
    pub(super) fn new(
        file: impl ChunkReader + 'static,
        wanted: Option<&[String]>,
    ) -> Result<Parquet, ExportError> {
        guarded(|| {
            let file: Box<dyn FileReader> = Box::new(SerializedFileReader::new(file)?);
            let schema = file.metadata().file_metadata().schema_descr_ptr();
            let planned = plan(&schema, wanted)?;
            let leaves = planned.leaves.into_iter().map(|column| Leaf::new(column, &schema)).collect();
            Ok(Parquet {
                file,
                names: planned.names,
                kinds: planned.trees.iter().map(Tree::kind).collect(),
                trees: planned.trees,
                leaves,
                group: 0,
                left: 0,
                at_once: 0,
                pending: Vec::new(),
                scratch: String::new(),
            })
        })
    }

    /// Opens row groups until one has rows. False at the end.
    fn advance(&mut self) -> Result<bool, ExportError> {
        while self.left == 0 {
            if self.group >= self.file.num_row_groups() {
                return Ok(false);
            }
            guarded(|| {
                let group = self.file.get_row_group(self.group)?;
                for leaf in &mut self.leaves {
                    leaf.open(&*group)?;
                }
                let metadata = group.metadata();
                self.left = u64::try_from(metadata.num_rows()).unwrap_or(0);
                let rows = usize::try_from(metadata.num_rows()).unwrap_or(0).max(1);
                let bytes = usize::try_from(metadata.total_byte_size()).unwrap_or(0);
                self.at_once = (BYTES_AT_ONCE / (bytes / rows).max(1)).clamp(1, ROWS_AT_ONCE);
                Ok(())
            })?;
            self.group += 1;
        }
        Ok(true)
    }

    /// Makes sure that every leaf holds the next row as a whole.
    fn fill(&mut self) -> Result<(), ExportError> {
        let at_once = self.at_once;
        for leaf in self.leaves.iter_mut().filter(|leaf| leaf.is_empty()) {
            guarded(|| leaf.fill(at_once))?;
            if leaf.is_empty() {
                return Err(ExportError::Content("a column has fewer rows than its row group".to_owned()));
            }
        }
        Ok(())
    }
}

impl Rows for Parquet {
    fn next(&mut self) -> Result<Next<'_>, ExportError> {
        if !self.advance()? {
            return Ok(Next::End);
        }
        self.fill()?;
        self.left -= 1;
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_KEPT_BYTES);
        self.pending.clear();
        for tree in &self.trees {
            let cell = tree.cell(&mut self.leaves, &mut self.scratch);
            self.pending.push(cell.map_err(|what| ExportError::Content(what.to_owned()))?);
        }
        let mut columns = Vec::with_capacity(self.names.len());
        for ((name, kind), pending) in self.names.iter().zip(&self.kinds).zip(&self.pending) {
            let text = |range: &Range<usize>| self.scratch.get(range.clone()).unwrap_or_default();
            let present = |raw| Cell::Present(Typed { raw, kind });
            let cell = match pending {
                Pending::Null => Cell::Null,
                Pending::Value(leaf, index) => match self.leaves.get(*leaf).map(|leaf| leaf.raw(*index)) {
                    Some(Ok(raw)) => present(raw),
                    Some(Err(what)) => return Ok(Next::Bad(format!("column {name:?}: {what}"))),
                    None => Cell::Null,
                },
                Pending::Text(range) => present(Raw::Text(text(range))),
                Pending::Json(range) => present(Raw::Json(text(range))),
            };
            columns.push(Column { name: Cow::Borrowed(name), cell });
        }
        Ok(Next::Row(Row { columns, declared: &[], text: None }))
    }

    /// Whole row groups are passed over unread.
    fn skip(&mut self, rows: u64) -> Result<u64, ExportError> {
        let mut passed = 0;
        while passed < rows {
            if self.left == 0 {
                let Some(group) = self.file.metadata().row_groups().get(self.group) else { break };
                let has = u64::try_from(group.num_rows()).unwrap_or(0);
                if has <= rows - passed {
                    self.group += 1;
                    passed += has;
                    continue;
                }
            }
            match self.next()? {
                Next::End => break,
                Next::Row(_) | Next::Bad(_) => passed += 1,
            }
        }
        Ok(passed)
    }

    fn count(&self) -> Option<u64> {
        u64::try_from(self.file.metadata().file_metadata().num_rows()).ok()
    }

    fn columns(&self) -> Option<Vec<String>> {
        Some(self.names.clone())
    }
}

/// Calls the library, which is not promised to stand every broken file: a panic is the file's error.
fn guarded<T>(call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ExportError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error @ ParquetError::NYI(_))) => Err(ExportError::NotRead(format!("{error}"))),
        Ok(Err(error)) => Err(ExportError::Content(format!("the file is no whole Parquet: {error}"))),
        Err(_) => Err(ExportError::Content("the file is no whole Parquet".to_owned())),
    }
}
