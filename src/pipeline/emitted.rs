//! What the pipeline says of a record.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::dead_letter::Stage;
use crate::decode::Ignored;
use crate::entity::template::Template;
use crate::mutation::{Mutation, RowId};
use crate::version::Version;

/// What came of a record, piece by piece, in order.
#[derive(Debug)]
pub enum Emitted<'m> {
    /// Mutations of one entity for one change of the record: deletes first. May be empty.
    Mutations {
        /// Index of the entity.
        entity: usize,
        /// The mutations; take them out.
        mutations: std::vec::Drain<'m, Mutation>,
        /// The rows that the change is of, the last one as it is now: told where asked for, see
        /// [`super::Pipeline::tell_rows`]. None where a row has no identity.
        rows: &'m [RowId],
        /// When the source committed the change, Unix milliseconds, where told.
        commit_ms: Option<i64>,
    },
    /// The entity's table was truncated, and its keys are to be deleted with it.
    Truncated {
        /// Index of the entity.
        entity: usize,
        /// Of all its keys.
        templates: Arc<[Template]>,
        /// The position of the truncate; [`Version::NONE`] where the source gives none.
        version: Version,
    },
    /// Nothing to do, and that is right.
    Ignored {
        /// The entity, where it got that far.
        entity: Option<usize>,
        /// Why.
        why: Ignored,
    },
    /// The record's error. Nothing of this change was emitted for this entity.
    Failed(Failure),
}

/// A record's error.
#[derive(Debug)]
pub struct Failure {
    /// The entity, where it got that far.
    pub entity: Option<usize>,
    /// Where it failed.
    pub stage: Stage,
    /// Short name of the error.
    pub kind: &'static str,
    /// The error in words, without values.
    pub detail: String,
    /// Deletes of the cached keys that are known, so that no stale value stays behind.
    pub deletes: Vec<Mutation>,
    /// The rows that it is of, as far as they are known: told where asked for, as with mutations.
    pub rows: SmallVec<[RowId; 2]>,
}
