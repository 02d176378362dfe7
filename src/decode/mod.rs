//! From a record's bytes to row changes: one file per format.
//!
//! Reads nothing but the record and the plans of schemas seen before; does no IO. Start at [`Decoder`].

use smallvec::SmallVec;

use crate::change::Change;
use crate::error::DecodeError;
use crate::record::Record;

/// Which format an entity's topics are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// Recognised record by record.
    #[default]
    Auto,
    /// Debezium envelopes.
    Debezium,
    /// Rows of Debezium's ExtractNewRecordState.
    Flattened,
    /// Plain rows of an ETL job: every value is the whole row, a null value deletes.
    Rows,
}

/// What a record turned out to be.
#[derive(Debug)]
pub enum Decoded<'a> {
    /// Row changes, in the order in which they happened. Empty only where a format allows an empty list.
    Changes(SmallVec<[Change<'a>; 1]>),
    /// Nothing to do, and that is right.
    Ignored(Ignored),
}

/// Why a record is ignored. The names are what `explain` and the metrics show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Connector heartbeat.
    Heartbeat,
    /// Transaction BEGIN or END.
    Transaction,
    /// Schema change (DDL).
    SchemaChange,
    /// Logical message (op `m`).
    Message,
    /// No entity reads this topic.
    NoEntity,
    /// The entity's `table` does not name this table.
    FilteredTable,
    /// Neither key nor value.
    Empty,
    /// A truncate, under `truncate = "ignore"`.
    Truncate,
}

impl Ignored {
    /// The documented name.
    pub fn as_str(self) -> &'static str {
        match self {
            Ignored::Heartbeat => "heartbeat",
            Ignored::Transaction => "transaction",
            Ignored::SchemaChange => "schema_change",
            Ignored::Message => "message",
            Ignored::NoEntity => "no_entity",
            Ignored::FilteredTable => "filtered_table",
            Ignored::Empty => "empty",
            Ignored::Truncate => "truncate",
        }
    }
}

/// Decodes the records of one topic. Keeps the plans of the schemas that it has seen, bounded.
#[derive(Debug)]
pub struct Decoder {
    format: Format,
}

impl Decoder {
    /// A decoder for topics of that format.
    pub fn new(format: Format) -> Decoder {
        Decoder { format }
    }

    /// Decodes one record. What it returns borrows from the record and from the plans.
    ///
    /// Errors are about this record; they name what was expected and where, never a value.
    pub fn decode<'a>(&'a mut self, record: &Record<'a>) -> Result<Decoded<'a>, DecodeError> {
        let _ = (self.format, record);
        Err(DecodeError::new("format", "not decoded"))
    }
}
