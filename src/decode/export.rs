//! Rows that no record carried: a line of NDJSON, a datum of an Avro file.

use super::avro::{Plan, first_row};
use super::datum::Scratch;
use super::json::{Fault, Scanner};
use super::rows;
use crate::change::Row;
use crate::error::DecodeError;

/// Reads one JSON object as a row; its columns have no types.
///
/// # Errors
/// Kind `json`: the text is no JSON object, or something follows it.
pub fn json_row(text: &str) -> Result<Row<'_>, DecodeError> {
    let read = || -> Result<Row<'_>, Fault> {
        let mut scanner = Scanner::new(text, 0);
        let row = rows::scan(&mut scanner, None)?;
        scanner.finish()?;
        Ok(row)
    };
    read().map_err(|stop| super::fault("json", stop, "row", 0))
}

/// The schema of an Avro file, made ready for reading its rows.
#[derive(Debug)]
pub struct AvroRows {
    plan: Plan,
}

/// Where the JSON of a row's nested parts stands while the row is borrowed.
#[derive(Debug, Default)]
pub struct AvroScratch(Scratch);

impl AvroRows {
    /// Compiles a file's schema. The error says what is wrong with it.
    pub fn compile(schema: &str) -> Result<AvroRows, String> {
        let plan = Plan::compile(schema, &[], false)?;
        if !plan.is_record() {
            return Err("the file's schema is no record, so that its rows have no columns".to_owned());
        }
        Ok(AvroRows { plan })
    }

    /// The names of a row's columns.
    pub fn columns(&self) -> Vec<String> {
        self.plan.columns()
    }

    /// The first row of a block's bytes, and how many bytes it has.
    ///
    /// # Errors
    /// Kind `avro`: the bytes are not what the schema says; where the next row begins cannot be told then.
    pub fn first<'a>(
        &'a self,
        block: &'a [u8],
        scratch: &'a mut AvroScratch,
    ) -> Result<(Row<'a>, usize), DecodeError> {
        first_row(&self.plan, block, &mut scratch.0)
    }
}
