//! By what an entity's keys are guarded, and the version that a change carries.
//!
//! Without a rule only keys that the partition does not order go through the guard (see [`super::flow`]); with one
//! all keys do that hold a value. Start at [`GuardRule`].

use crate::change::{Cell, Change, Op, Row};
use crate::error::HandleError;
use crate::record::Record;
use crate::types::{ValueError, order_key, order_key_of_null};
use crate::version::Version;

/// An entity's `guard`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardRule {
    /// What is compared.
    pub by: GuardBy,
    /// Compared before it. Raised by who runs Stoker where what is compared starts again: 0 or more.
    pub epoch: u64,
}

/// What versions are made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GuardBy {
    /// The change's source position.
    #[default]
    Source,
    /// The record's offset. Orders only keys that one partition writes.
    Offset,
    /// Columns of the row, most significant first.
    Columns(Vec<String>),
}

impl GuardRule {
    /// The rule that holds for secondary and shared keys where an entity says none.
    pub const DEFAULT: GuardRule = GuardRule { by: GuardBy::Source, epoch: 0 };

    /// The version of a change that writes a row, or gives up one of its keys.
    ///
    /// Errors: the row does not hold a version column, or what it holds has no order.
    pub(super) fn of_row(
        &self,
        by: &GuardBy,
        change: &Change<'_>,
        record: &Record<'_>,
    ) -> Result<Version, HandleError> {
        let version = match by {
            GuardBy::Source => change.version.clone().unwrap_or(Version::NONE),
            // A row that no record carried has none, and is older than any.
            GuardBy::Offset if record.offset < 0 => Version::NONE,
            GuardBy::Offset => Version::from_offset(record.offset),
            GuardBy::Columns(names) => {
                // A delete's last state of the row is the newest one that it can tell.
                let row = if change.op == Op::Delete { &change.before } else { &change.after };
                of_columns(names, row.as_ref())?
            }
        };
        Ok(version.in_epoch(self.epoch))
    }

    /// The version of a truncate: the source's position, where that is what is compared.
    pub(crate) fn of_truncate(&self, change: &Change<'_>) -> Version {
        match (&self.by, &change.version) {
            (GuardBy::Source, Some(version)) => version.clone().in_epoch(self.epoch),
            (GuardBy::Source, None) | (GuardBy::Offset | GuardBy::Columns(_), _) => Version::NONE,
        }
    }

    /// The version of a delete: where its columns are not told, none but the epoch, so that it applies in the
    /// order of the row's partition.
    pub(super) fn of_delete(&self, by: &GuardBy, change: &Change<'_>, record: &Record<'_>) -> Version {
        self.of_row(by, change, record).unwrap_or_else(|_| Version::NONE.in_epoch(self.epoch))
    }
}

fn of_columns(names: &[String], row: Option<&Row<'_>>) -> Result<Version, HandleError> {
    let mut ordered = Vec::with_capacity(32);
    for name in names {
        let failed = |source| HandleError::Value { column: name.clone(), source };
        let untold = |found| failed(ValueError { expected: "the guard's version column".into(), found });
        match row.map_or(Cell::Absent, |row| row.cell(name)) {
            Cell::Present(typed) => order_key(typed, &mut ordered).map_err(failed)?,
            Cell::Null => order_key_of_null(&mut ordered),
            Cell::Absent => return Err(untold("no such column".into())),
            Cell::Unavailable => return Err(untold("a value that the event does not hold".into())),
        }
    }
    Ok(Version::from_columns(&ordered))
}
