//! Exports of a warehouse as rows: what `stoker preload` loads.
//!
//! Files in Parquet, CSV, NDJSON and Avro, packed or not; found by [`inputs`], opened by [`open()`], read row by row
//! in memory that does not grow with the export. Rows are borrowed columns like those of a change; which type each
//! of them has is the file's to say, and where it says none, the caller's ([`Shape`]). Nothing here knows entities,
//! keys or Redis. Start at [`Rows`].

mod avro;
mod csv;
mod identity;
pub mod inputs;
mod ndjson;
mod open;
mod packed;
mod parquet;
pub mod partition;
mod remote;
mod shape;
#[cfg(test)]
mod testing;

pub use self::identity::{Identity, modified_ms};
pub use self::inputs::{Input, InputsError, Origin, find};
pub use self::open::{Dialect, Format, Opened, Reading, open};
pub use self::remote::Object;
pub use self::shape::{Form, Seen, Shape};

use crate::change::Row;

/// Rows of one file, in its order.
pub trait Rows: Send {
    /// The next row; borrowed until the next call.
    ///
    /// # Errors
    /// [`ExportError`] where nothing more can be read of the file. A single row that cannot be read is
    /// [`Next::Bad`], and reading goes on behind it.
    fn next(&mut self) -> Result<Next<'_>, ExportError>;

    /// Passes over so many rows, bad ones among them; the number that there were where they are fewer.
    ///
    /// # Errors
    /// As [`Rows::next`].
    fn skip(&mut self, rows: u64) -> Result<u64, ExportError> {
        for passed in 0..rows {
            if let Next::End = self.next()? {
                return Ok(passed);
            }
        }
        Ok(rows)
    }

    /// How many rows the file has, where it says so itself.
    fn count(&self) -> Option<u64> {
        None
    }

    /// The columns of every row, where the file says them.
    fn columns(&self) -> Option<Vec<String>> {
        None
    }
}

/// What comes next in a file.
#[derive(Debug)]
pub enum Next<'r> {
    /// A row.
    Row(Row<'r>),
    /// A row that cannot be read: why, without values.
    Bad(String),
    /// The end.
    End,
}

/// A file that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The system says so.
    #[error("cannot be read")]
    Io(#[from] std::io::Error),
    /// What it holds is not what its format says. No values.
    #[error("{0}")]
    Content(String),
    /// It holds what is not read: a codec, an encryption, a format.
    #[error("{0}")]
    NotRead(String),
}
