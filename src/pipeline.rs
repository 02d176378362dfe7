//! The core of one record's way: decode, route, handle. `run`, `explain` and `test` all go through it.
//!
//! Pure: no IO, no clock. It neither coalesces nor decides what becomes of an error: it emits, piece by piece,
//! what came of the record, and who called does the rest. A defect of a handler (a panic) is that record's
//! error. Start at [`Pipeline::handle`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::change::{Belief, Change, Connector, Op, Routing};
use crate::dead_letter::Stage;
use crate::decode::{Decoded, Decoder, Ignored, RegisteredSchema, SchemaRef, Schemas, UnknownSchema, Wire};
use crate::entity::flow::{Flow, see};
use crate::entity::{Entity, GuardRule, Truncate, Undecided};
use crate::error::{DecodeError, HandleError};
use crate::mutation::{Mutation, Mutations, RowId};
use crate::record::Record;

mod emitted;
mod plain_key;
mod routes;

pub use self::emitted::{Emitted, Failure};
use self::routes::Routes;

/// Bytes in a value unless the settings say otherwise: `limits.value_bytes`' default.
const VALUE_BYTES_MAX: usize = 16 << 20;

/// Decoders and entities of the topics that were seen. One per worker.
#[derive(Debug)]
pub struct Pipeline {
    entities: Arc<[Entity]>,
    value_bytes_max: usize,
    routes: Routes,
    mutations: Mutations,
    undecided: Vec<(usize, Undecided)>,
    schemas: Schemas,
    tells_rows: bool,
    settles: bool,
}

impl Pipeline {
    /// The longest that a value from that topic may live after its change's commit; `None` where nothing bounds it.
    pub fn longest_life(&self, topic: &str) -> Option<Duration> {
        let readers = self.entities().iter().filter(|entity| entity.topics.matches(topic));
        readers
            .map(|entity| entity.handler.longest_life())
            .try_fold(Duration::ZERO, |longest, life| Some(longest.max(life?)))
    }

    /// A pipeline over these entities.
    pub fn new(entities: Arc<[Entity]>) -> Pipeline {
        Pipeline {
            entities,
            value_bytes_max: VALUE_BYTES_MAX,
            routes: Routes::default(),
            mutations: Mutations::new(),
            undecided: Vec::new(),
            schemas: Schemas::default(),
            tells_rows: false,
            settles: false,
        }
    }

    /// Whether the rows of changes are told from now on: reckoning them costs some 0.2 µs a change.
    pub fn tell_rows(&mut self, told: bool) {
        self.tells_rows = told;
    }

    /// True where the record that was handled last settles its record key: whatever an older record under the very
    /// same bytes does to the cache, this one has decided since. Only told with the rows.
    ///
    /// So where every key of every entity that reads the topic is made of the record key's columns alone.
    pub fn settles(&self) -> bool {
        self.settles
    }

    /// The same with a schema registry, whose producers frame records so.
    pub fn with_registry(mut self, wire: Wire) -> Pipeline {
        self.schemas = Schemas::new(wire);
        self
    }

    /// A schema that must be known before this record is handled; `None` where it can be handled at once.
    ///
    /// - Fetch it, tell [`Pipeline::know_schema`], and ask again: key and value may need one each.
    /// - Only for topics that an entity reads, and only with a registry. A record that nothing frames costs a look
    ///   at its first bytes and at its headers' names.
    pub fn missing_schema(&self, record: &Record<'_>) -> Option<SchemaRef> {
        if !self.schemas.is_enabled() {
            return None;
        }
        let missing = self.schemas.missing(record)?;
        let is_read = match self.routes.get(record.topic) {
            Some(route) => !route.readers.is_empty(),
            None => self.entities.iter().any(|entity| entity.topics.matches(record.topic)),
        };
        is_read.then_some(missing)
    }

    /// Keeps what the registry says of a schema, for as long as the pipeline lives.
    pub fn know_schema(&mut self, schema: SchemaRef, told: Result<RegisteredSchema, UnknownSchema>) {
        self.schemas.know(schema, told);
    }

    /// The same with another bound on values, `limits.value_bytes`: for handlers in Rust, which have none of
    /// their own.
    pub fn with_value_bytes_max(mut self, bytes: usize) -> Pipeline {
        self.value_bytes_max = bytes;
        self
    }

    /// The entities.
    pub fn entities(&self) -> &Arc<[Entity]> {
        &self.entities
    }

    /// The conditions that could not be evaluated for the record that was handled last, with the index of
    /// their entity: what they guard was deleted.
    pub fn undecided(&self) -> &[(usize, Undecided)] {
        &self.undecided
    }

    /// Handles one record: calls `emit` at least once, also where nothing is to be done.
    ///
    /// - Changes in the order of the record, and for each the entities in the order of the settings.
    /// - A record that cannot be decoded fails once for each format that its topic is read in.
    /// - A panic of a Rust handler is caught and becomes a [`Failure`] of kind `panic`.
    pub fn handle(&mut self, record: &Record<'_>, emit: &mut dyn FnMut(Emitted<'_>)) {
        let Pipeline { entities, routes, mutations, undecided, schemas, settles, .. } = self;
        undecided.clear();
        *settles = false;
        let route = routes.of(record.topic, entities);
        let has_one_reader = route.readers.len() == 1;
        if route.readers.is_empty() {
            emit(Emitted::Ignored { entity: None, why: Ignored::NoEntity });
        }
        for reader in &mut route.readers {
            let mut handling = Handling {
                entities,
                readers: &reader.entities,
                record,
                value_bytes_max: self.value_bytes_max,
                tells_rows: self.tells_rows,
                mutations,
                undecided,
                is_plain: false,
                decided: 0,
            };
            let failed = match reader.decoder.decode_with(record, schemas) {
                Ok(decoded) => {
                    handling.decoded(decoded, emit);
                    *settles = has_one_reader && handling.settles();
                    None
                }
                Err(error) => Some(error),
            };
            if let Some(error) = failed {
                if handling.bare_tombstone(emit) {
                    continue;
                }
                let known = handling.deletes_by_record_key(&mut reader.decoder, schemas);
                emit(Emitted::Failed(decode_failure(&error, &reader.entities, known)));
            }
        }
    }

    /// Shows each change of a record to `see`, as the entity at that index sees it, and handles nothing.
    ///
    /// # Errors
    /// The record cannot be decoded in one of its entities' formats; the others are shown.
    pub fn look(
        &mut self,
        record: &Record<'_>,
        see: &mut dyn FnMut(usize, &Change<'_>),
    ) -> Result<(), DecodeError> {
        let entities = Arc::clone(&self.entities);
        let route = self.routes.of(record.topic, &entities);
        let mut looked = Ok(());
        for reader in &mut route.readers {
            let mut handling = Handling {
                entities: &entities,
                readers: &reader.entities,
                record,
                value_bytes_max: self.value_bytes_max,
                tells_rows: false,
                mutations: &mut self.mutations,
                undecided: &mut self.undecided,
                is_plain: false,
                decided: 0,
            };
            match reader.decoder.decode_with(record, &self.schemas) {
                Ok(Decoded::Changes(changes)) => {
                    for change in changes {
                        handling.each_taker(change, |_, index, change| see(index, change));
                    }
                }
                Ok(Decoded::Ignored(_)) => {}
                Err(error) => looked = Err(error),
            }
        }
        looked
    }

    /// Handles one row that no record carried: `change` is what the entity at `index` is to see of it, and
    /// `record` says where it comes from. Calls `emit` once, as [`Pipeline::handle`] does for a change of one entity.
    ///
    /// The entity's filters of topic and table are not asked, its rules for rows are. Returns which row it is, where
    /// that can be told.
    pub fn handle_row(
        &mut self,
        index: usize,
        change: Change<'_>,
        record: &Record<'_>,
        emit: &mut dyn FnMut(Emitted<'_>),
    ) -> Option<RowId> {
        self.undecided.clear();
        let entities = Arc::clone(&self.entities);
        let entity = entities.get(index)?;
        // Of a life as short as the entity's here.
        let mut change = change;
        let mut handling = Handling {
            entities: &entities,
            readers: &[index],
            record,
            value_bytes_max: self.value_bytes_max,
            tells_rows: false,
            mutations: &mut self.mutations,
            undecided: &mut self.undecided,
            is_plain: false,
            decided: 0,
        };
        entity.rules.apply(&mut change, &entity.columns);
        let before = change.before.take();
        see(&mut change, before, entity);
        handling.one(index, &change, emit);
        Flow::new(entity, &change, record, self.value_bytes_max).rows_by_key().pop()
    }

    /// Tells which rows a record is about, as the entity at that index sees it: each as it is, and as it was. A record
    /// that cannot be decoded tells none.
    pub fn rows_of(&mut self, record: &Record<'_>, tell: &mut dyn FnMut(usize, RowId)) {
        let entities = Arc::clone(&self.entities);
        let value_bytes_max = self.value_bytes_max;
        // What cannot be decoded is told where it is handled.
        let _ = self.look(record, &mut |index, change| {
            let Some(entity) = entities.get(index) else { return };
            let rows = Flow::new(entity, change, record, value_bytes_max).rows_by_key();
            rows.into_iter().for_each(|row| tell(index, row));
        });
    }
}

fn decode_failure(
    error: &DecodeError,
    entities: &[usize],
    (deletes, rows): (Vec<Mutation>, SmallVec<[RowId; 2]>),
) -> Failure {
    // The record cannot be read for any of them; only where there is one is there one to name.
    let entity = match entities {
        [entity] => Some(*entity),
        _ => None,
    };
    Failure { entity, stage: Stage::Decode, kind: error.kind, detail: error.to_string(), deletes, rows }
}

/// One record under one decoder.
struct Handling<'h> {
    entities: &'h [Entity],
    readers: &'h [usize],
    record: &'h Record<'h>,
    value_bytes_max: usize,
    tells_rows: bool,
    mutations: &'h mut Mutations,
    undecided: &'h mut Vec<(usize, Undecided)>,
    /// The record is one change, under a record key that names columns.
    is_plain: bool,
    /// Entities whose keys the record key alone decides.
    decided: usize,
}

impl<'h> Handling<'h> {
    fn decoded<'x>(&mut self, decoded: Decoded<'x>, emit: &mut dyn FnMut(Emitted<'_>))
    where
        'h: 'x,
    {
        let changes = match decoded {
            Decoded::Ignored(why) => return emit(Emitted::Ignored { entity: None, why }),
            Decoded::Changes(changes) => changes,
        };
        if changes.is_empty() {
            emit(Emitted::Ignored { entity: None, why: Ignored::Empty });
        }
        self.is_plain = changes.len() == 1;
        for change in changes {
            if change.op == Op::Truncate {
                self.truncate(&change, emit);
            } else {
                let taken = self.each_taker(change, |this, index, change| this.one(index, change, emit));
                if !taken {
                    emit(Emitted::Ignored { entity: None, why: Ignored::FilteredTable });
                }
            }
        }
    }

    fn settles(&self) -> bool {
        self.is_plain && self.record.key.is_some() && self.decided == self.readers.len()
    }

    fn truncate(&mut self, change: &Change<'_>, emit: &mut dyn FnMut(Emitted<'_>)) {
        let mut taken = false;
        for index in self.readers {
            let Some(entity) = self.entity(*index).filter(|entity| takes(entity, change, self.record)) else {
                continue;
            };
            taken = true;
            emit(match entity.truncate {
                Truncate::Ignore => Emitted::Ignored { entity: Some(*index), why: Ignored::Truncate },
                Truncate::Delete => Emitted::Truncated {
                    entity: *index,
                    templates: entity.templates(),
                    version: entity.guard.as_ref().unwrap_or(&GuardRule::DEFAULT).of_truncate(change),
                },
            });
        }
        if !taken {
            emit(Emitted::Ignored { entity: None, why: Ignored::FilteredTable });
        }
    }

    /// Shows the change to each entity whose table it is of, as that entity sees it. It is turned in place
    /// from one entity's view into the next one's, so that the usual case, one entity, copies nothing.
    /// False where no entity took it.
    fn each_taker<'x>(
        &mut self,
        mut change: Change<'x>,
        mut show: impl FnMut(&mut Self, usize, &Change<'x>),
    ) -> bool
    where
        'h: 'x,
    {
        let takers: SmallVec<[usize; 2]> = self
            .readers
            .iter()
            .copied()
            .filter(|index| self.entity(*index).is_some_and(|entity| takes(entity, &change, self.record)))
            .collect();
        let belief = change.belief;
        let mut before = change.before.take();
        let has_named_key = change.key.is_some();
        for (position, index) in takers.iter().enumerate() {
            let Some(entity) = self.entity(*index) else { continue };
            let last = position + 1 == takers.len();
            let seen_before = if last { before.take() } else { before.clone() };
            if !entity.rules.is_none() {
                self.is_plain = false;
                let mut own = Change { belief, before: seen_before, ..change.clone() };
                self.show_by_rules(&mut own, has_named_key, *index, entity, &mut show);
                continue;
            }
            change.belief = belief;
            if !has_named_key {
                self.is_plain = false;
                change.key = plain_key::read(self.record, entity, &change)
                    .or_else(|| plain_key::of_row(entity, &change, seen_before.as_ref()));
            }
            see(&mut change, seen_before, entity);
            show(self, *index, &change);
        }
        !takers.is_empty()
    }

    /// The same for an entity with rules of its own for rows, on a change that nobody else sees.
    fn show_by_rules<'x>(
        &mut self,
        change: &mut Change<'x>,
        has_named_key: bool,
        index: usize,
        entity: &'x Entity,
        show: &mut impl FnMut(&mut Self, usize, &Change<'x>),
    ) where
        'h: 'x,
    {
        if !has_named_key {
            change.key = plain_key::read(self.record, entity, change);
        }
        entity.rules.apply(change, &entity.columns);
        let before = change.before.take();
        if change.key.is_none() {
            change.key = plain_key::of_row(entity, change, before.as_ref());
        }
        see(change, before, entity);
        show(self, index, change);
    }

    fn one(&mut self, index: usize, change: &Change<'_>, emit: &mut dyn FnMut(Emitted<'_>)) {
        let Some(entity) = self.entity(index) else { return };
        let mut undecided = Vec::new();
        // What a handler left behind is thrown away with the change that it panicked on.
        let (mut rows, mut is_decided) = (SmallVec::new(), false);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let flow = Flow::new(entity, change, self.record, self.value_bytes_max);
            flow.run(&mut undecided, self.mutations)?;
            if self.tells_rows {
                rows = flow.rows();
                is_decided = flow.is_decided_by_record_key();
            }
            Ok(())
        }))
        .unwrap_or(Err(HandleError::Panicked));
        self.undecided.extend(undecided.into_iter().map(|undecided| (index, undecided)));
        match result {
            Ok(()) => {
                self.decided += usize::from(is_decided);
                emit(Emitted::Mutations {
                    entity: index,
                    mutations: self.mutations.drain(),
                    rows: &rows,
                    commit_ms: change.commit_ms,
                });
            }
            Err(error) => {
                self.mutations.clear();
                let known = catch_unwind(AssertUnwindSafe(|| {
                    let flow = Flow::new(entity, change, self.record, self.value_bytes_max);
                    (flow.salvage(), if self.tells_rows { flow.rows() } else { SmallVec::new() })
                }));
                let (deletes, rows) = known.unwrap_or_default();
                emit(Emitted::Failed(Failure {
                    entity: Some(index),
                    stage: Stage::Handle,
                    kind: error.kind(),
                    detail: in_words(&error),
                    deletes,
                    rows,
                }));
            }
        }
    }

    /// A null value under a record key that is one bare value is no change to a decoder, which knows no
    /// columns' names; it is one to entities that name their one key column. False where it is not that.
    fn bare_tombstone(&mut self, emit: &mut dyn FnMut(Emitted<'_>)) -> bool {
        let tombstone = untold_tombstone();
        let readable = self.record.value.is_none()
            && self.readers.iter().all(|index| {
                self.entity(*index)
                    .is_some_and(|entity| plain_key::read(self.record, entity, &tombstone).is_some())
            });
        readable && self.each_taker(tombstone, |this, index, change| this.one(index, change, emit))
    }

    /// Deletes of the keys that the record key alone tells, for a record whose value cannot be decoded: what
    /// a tombstone in its place would delete.
    fn deletes_by_record_key(
        &mut self,
        decoder: &mut Decoder,
        schemas: &Schemas,
    ) -> (Vec<Mutation>, SmallVec<[RowId; 2]>) {
        let (mut deletes, mut rows) = (Vec::new(), SmallVec::new());
        let mut collect = |this: &mut Self, index: usize, change: &Change<'_>| {
            let Some(entity) = this.entity(index) else { return };
            let done = catch_unwind(AssertUnwindSafe(|| {
                let flow = Flow::new(entity, change, this.record, this.value_bytes_max);
                if this.tells_rows {
                    rows.extend(flow.rows());
                }
                flow.run(&mut Vec::new(), this.mutations)
            }));
            if matches!(done, Ok(Ok(()))) {
                deletes.extend(this.mutations.drain());
            }
            this.mutations.clear();
        };
        match decoder.decode_with(&Record { value: None, ..*self.record }, schemas) {
            Ok(Decoded::Ignored(_)) => {}
            Ok(Decoded::Changes(changes)) => {
                for change in changes {
                    self.each_taker(change, &mut collect);
                }
            }
            Err(_) => {
                self.each_taker(untold_tombstone(), &mut collect);
            }
        }
        (deletes, rows)
    }

    fn entity(&self, index: usize) -> Option<&'h Entity> {
        self.entities.get(index)
    }
}

/// A delete of a row that only the entity's key column can name.
fn untold_tombstone() -> Change<'static> {
    Change {
        op: Op::Delete,
        tombstone: true,
        table: None,
        key: None,
        before: None,
        belief: Belief::KeyColumns,
        after: None,
        source: None,
        commit_ms: None,
        version: None,
        connector: Connector::Unknown,
        routing: Routing::RecordKey,
    }
}

/// True where the change is of the entity's table. Where the format names none (flattened and plain rows,
/// tombstones), the topic must be named after it: in a topic of several tables, `{"id":7}` says nothing about
/// which of them lost its row 7.
fn takes(entity: &Entity, change: &Change<'_>, record: &Record<'_>) -> bool {
    match (&entity.table, &change.table) {
        (None, _) => true,
        (Some(filter), Some(table)) => filter.matches_in_topic(table, record.topic),
        (Some(filter), None) => filter.names_topic(record.topic),
    }
}

/// The error with its causes. None of them holds a value.
fn in_words(error: &HandleError) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests;
