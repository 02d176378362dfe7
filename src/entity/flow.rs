//! From a change to mutations: what every entity has in common, whatever its handler.
//!
//! Which of a row's keys there are, which the row has left, what a delete or a tombstone reaches, and what
//! must pass the version guard. Within one change deletes come before writes. Read [`Path`] first.

use std::cell::OnceCell;

use super::belief::{belief, believed, believes_record_key};
use super::handler::{KeyTemplate, RowImage, Slot, Undecided, Values};
use super::template::{NoValue, Template, Unfilled};
use super::{Entity, ReplicaIdentity, row_id};
use smallvec::SmallVec;

use crate::change::{Cell, Change, Connector, Op, Routing, Row};
use crate::error::HandleError;
use crate::mutation::{CacheKey, Effect, Guard, Mutation, Mutations, RowId, Value};
use crate::record::Record;
use crate::types::{self, RenderStyle};
use crate::version::Version;

/// How a key's writes and deletes reach the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// The partition orders the key (it is primary), or it is only ever deleted.
    Plain,
    /// Through the version guard: another row may own the key.
    Guarded,
    /// Written plainly, deleted only while it holds this row's value: nothing orders a secondary key of a
    /// source without positions.
    Compared,
}

/// Turns `change` into what `entity` sees of it: declared types, and of `before` only what it believes.
pub(crate) fn see<'a>(change: &mut Change<'a>, before: Option<Row<'a>>, entity: &'a Entity) {
    change.belief = belief(change, &entity.replica_identity);
    change.before = before.and_then(|before| {
        let key_columns = entity.key_columns.as_deref();
        believed(before, change.belief, &entity.replica_identity, key_columns, change.key.as_ref())
    });
    for row in [&mut change.key, &mut change.before, &mut change.after].into_iter().flatten() {
        row.declared = &entity.columns;
    }
}

/// One change on its way through one entity.
pub(crate) struct Flow<'c> {
    entity: &'c Entity,
    change: &'c Change<'c>,
    record: &'c Record<'c>,
    keys: &'c [KeyTemplate],
    value_bytes_max: usize,
    row: OnceCell<Option<RowId>>,
    old_row: OnceCell<Option<RowId>>,
}

impl<'c> Flow<'c> {
    /// `change` is as [`see`] leaves it.
    pub(crate) fn new(
        entity: &'c Entity,
        change: &'c Change<'c>,
        record: &'c Record<'c>,
        value_bytes_max: usize,
    ) -> Flow<'c> {
        let (row, old_row) = (OnceCell::new(), OnceCell::new());
        Flow { entity, change, record, keys: entity.handler.keys(), value_bytes_max, row, old_row }
    }

    /// The change's mutations, deletes first. Where it fails, `out` holds a part that must not be applied.
    pub(crate) fn run(&self, undecided: &mut Vec<Undecided>, out: &mut Mutations) -> Result<(), HandleError> {
        match self.change.op {
            Op::Truncate => {}
            Op::Delete => self.delete_row(out)?,
            Op::Create | Op::Update | Op::Read => self.upsert_row(undecided, out)?,
        }
        out.finish();
        Ok(())
    }

    /// Deletes of the row's keys that can still be told where the change could not be handled, so that no
    /// stale value stays behind. Never fails: what cannot be told is left out.
    pub(crate) fn salvage(&self) -> Vec<Mutation> {
        let mut deletes = Vec::new();
        let olds: &[bool] = if self.change.op == Op::Delete { &[true] } else { &[false, true] };
        for (key, old) in self.keys.iter().flat_map(|key| olds.iter().map(move |old| (key, *old))) {
            let filled = if old {
                self.fill(key.template(), |column| self.old_cell(column))
            } else {
                self.fill(key.template(), |column| self.new_cell(column))
            };
            let Ok(cache_key) = filled else { continue };
            let guard = match self.path(key) {
                Path::Guarded => match self.guard(old) {
                    Ok(Some(guard)) => Some(guard),
                    Ok(None) | Err(_) => continue,
                },
                // Without its value, a delete could take the key from the row that has it now.
                Path::Compared if old => continue,
                // The key of the row as it is now: as unconditional as the write in whose place it stands.
                Path::Plain | Path::Compared => None,
            };
            let delete = Mutation { key: cache_key, effect: Effect::Delete, guard };
            if !deletes.contains(&delete) {
                deletes.push(delete);
            }
        }
        deletes
    }

    fn upsert_row(&self, undecided: &mut Vec<Undecided>, out: &mut Mutations) -> Result<(), HandleError> {
        let after = self.change.after.as_ref().ok_or(HandleError::Handler("the change has no row".into()))?;
        let mut values = Values::new(self.keys.len());
        match self.entity.handler.values(&self.image(after, false), &mut values) {
            Ok(()) => {}
            // A handler in Rust asked for a column that the event does not hold.
            Err(HandleError::Value { column, .. }) if after.cell(&column) == Cell::Unavailable => {
                values.withhold_all();
            }
            Err(error) => return Err(error),
        }
        if values.is_misnamed(self.keys) {
            return Err(HandleError::Handler(
                "the handler gave a value to a key that it does not write".into(),
            ));
        }
        undecided.append(&mut values.take_undecided());
        for (index, key) in self.keys.iter().enumerate() {
            let slot = values.take(index);
            let path = self.path(key);
            let filled = self.fill(key.template(), |column| self.new_cell(column));
            let cache_key = match filled {
                Ok(cache_key) => Some(cache_key),
                // A row that the key's condition shuts out may have a null there: it never had that key.
                Err(Unfilled::NoValue { state: NoValue::Null, .. }) if matches!(slot, Slot::Unset) => None,
                Err(error) => return Err(error.into_error(key.template())),
            };
            self.leave_old_key(index, path, cache_key.as_ref(), out)?;
            match (cache_key, slot) {
                (Some(cache_key), Slot::Written(value, lifetime)) => {
                    self.check_size(value.size_bytes())?;
                    let expiry = lifetime.of_key(cache_key.as_bytes());
                    let guard = match path {
                        Path::Plain | Path::Compared => None,
                        Path::Guarded => Some(self.guard(false)?.ok_or_else(|| self.no_identity())?),
                    };
                    out.push(Mutation { key: cache_key, effect: Effect::Write(value, expiry), guard });
                }
                // As unconditional as the write in whose place it stands.
                (Some(cache_key), Slot::Withheld) if path == Path::Compared => {
                    out.push(Mutation { key: cache_key, effect: Effect::Delete, guard: None });
                }
                (Some(cache_key), Slot::Withheld | Slot::Unset) => {
                    self.give_up_key(index, path, cache_key, out)?;
                }
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// Deletes a key of the row as it is now. Where the row goes by another identity since this change (its
    /// key columns changed, or it is told by all of its columns), the key is still owned by the former one.
    fn give_up_key(
        &self,
        index: usize,
        path: Path,
        key: CacheKey,
        out: &mut Mutations,
    ) -> Result<(), HandleError> {
        if path == Path::Guarded && self.change.before.is_some() {
            let former = self.guard(true)?.filter(|former| self.row_is_not(former));
            if former.is_some() {
                out.push(Mutation { key: key.clone(), effect: Effect::Delete, guard: former });
            }
        }
        self.delete_key(index, path, key, false, out)
    }

    fn row_is_not(&self, former: &Guard) -> bool {
        !matches!(self.guard(false), Ok(Some(guard)) if guard.owner == former.owner)
    }

    /// Deletes the key that the row had before, where `before` tells it and it is another than now.
    fn leave_old_key(
        &self,
        index: usize,
        path: Path,
        now: Option<&CacheKey>,
        out: &mut Mutations,
    ) -> Result<(), HandleError> {
        let (Some(before), Some(key)) = (&self.change.before, self.keys.get(index)) else { return Ok(()) };
        // What `before` does not tell, or had no value, is no key that could be deleted.
        let Ok(old) = self.fill(key.template(), |column| before.cell(column)) else { return Ok(()) };
        if now == Some(&old) { Ok(()) } else { self.delete_key(index, path, old, true, out) }
    }

    fn delete_row(&self, out: &mut Mutations) -> Result<(), HandleError> {
        for (index, key) in self.keys.iter().enumerate() {
            let path = self.path(key);
            if self.change.tombstone && !self.tombstone_reaches(key) {
                continue;
            }
            match self.fill(key.template(), |column| self.old_cell(column)) {
                Ok(cache_key) => self.delete_key(index, path, cache_key, true, out)?,
                // Nothing tells this key: the row had none, or only a whole `before` would tell it.
                Err(Unfilled::NoValue { .. }) if !self.record_key_names(key.template().columns()) => {}
                Err(error) => return Err(error.into_error(key.template())),
            }
        }
        Ok(())
    }

    /// A tombstone reaches the keys that the record key alone tells. Secondary keys cannot follow it: it has
    /// no position, and nothing orders it against the row that has the key now.
    fn tombstone_reaches(&self, key: &KeyTemplate) -> bool {
        let ordered = key.is_invalidated() || key.is_shared() || self.is_primary(key.template());
        ordered && self.record_key_names(key.template().columns())
    }

    fn delete_key(
        &self,
        index: usize,
        path: Path,
        key: CacheKey,
        old: bool,
        out: &mut Mutations,
    ) -> Result<(), HandleError> {
        let (effect, guard) = match path {
            Path::Plain => (Effect::Delete, None),
            Path::Guarded => match self.guard(old)? {
                Some(guard) => (Effect::Delete, Some(guard)),
                // Nobody could have written it for a row that cannot be told.
                None => return Ok(()),
            },
            Path::Compared => {
                let before = self.change.before.as_ref();
                let after = self.change.after.as_ref().filter(|_| !old);
                let mut held: SmallVec<[Value; 2]> = SmallVec::new();
                for value in [before, after].into_iter().flatten().filter_map(|row| self.stored(index, row)) {
                    if !held.contains(&value) {
                        held.push(value);
                    }
                }
                for value in held {
                    let effect = Effect::DeleteIf(value);
                    out.push(Mutation { key: key.clone(), effect, guard: None });
                }
                return Ok(());
            }
        };
        out.push(Mutation { key, effect, guard });
        Ok(())
    }

    /// What the key may hold of that row.
    fn stored(&self, index: usize, row: &'c Row<'c>) -> Option<Value> {
        let mut values = Values::new(self.keys.len());
        self.entity.handler.values(&self.image(row, true), &mut values).ok()?;
        match values.take(index) {
            Slot::Written(value, _) => Some(value),
            Slot::Withheld | Slot::Unset => None,
        }
    }

    fn image(&self, row: &'c Row<'c>, stored: bool) -> RowImage<'c> {
        RowImage { row, change: self.change, record: self.record, style: self.entity.render, stored }
    }

    fn check_size(&self, bytes: usize) -> Result<(), HandleError> {
        if bytes > self.value_bytes_max {
            return Err(HandleError::TooLarge { bytes, limit: self.value_bytes_max });
        }
        Ok(())
    }

    fn fill<'a>(&self, template: &Template, cell: impl Fn(&str) -> Cell<'a>) -> Result<CacheKey, Unfilled> {
        let mut bytes = Vec::with_capacity(40);
        template.fill_key(cell, self.entity.render, &mut bytes)?;
        if bytes.len() > self.value_bytes_max {
            return Err(Unfilled::TooLarge { bytes: bytes.len(), limit: self.value_bytes_max });
        }
        Ok(CacheKey::new(&bytes))
    }

    /// A column of the row as it is now: of `after`, else of the record key, where a stream keeps the key
    /// out of its values.
    fn new_cell(&self, column: &str) -> Cell<'c> {
        or_else(cell(self.change.after.as_ref(), column), || cell(self.change.key.as_ref(), column))
    }

    /// A column of the row as it was: of the record key of a delete, where that is believed, else of `before`.
    fn old_cell(&self, column: &str) -> Cell<'c> {
        let before = || cell(self.change.before.as_ref(), column);
        match self.change.op {
            Op::Delete if believes_record_key(self.change) => {
                or_else(cell(self.change.key.as_ref(), column), before)
            }
            Op::Create | Op::Update | Op::Delete | Op::Read | Op::Truncate => before(),
        }
    }

    /// The partition orders a key that holds all of the record key's columns, for then no row of another
    /// partition can have it.
    fn is_primary(&self, template: &Template) -> bool {
        self.change.key.as_ref().is_some_and(|key| {
            self.change.routing != Routing::Nothing
                && !key.columns.is_empty()
                && key.columns.iter().all(|column| template.plain_columns().any(|name| name == column.name))
        })
    }

    fn path(&self, key: &KeyTemplate) -> Path {
        // A delete without a value to lose is right at any time, in any order.
        if key.is_invalidated() || (!key.is_shared() && self.is_primary(key.template())) {
            return Path::Plain;
        }
        // PostgreSQL has positions, also where this one change has none.
        let positioned = self.change.version.is_some() || self.change.connector == Connector::Postgres;
        if key.is_shared() || positioned { Path::Guarded } else { Path::Compared }
    }

    /// True where the record key's values may be believed and it holds all of these columns.
    fn record_key_names<'t>(&self, mut columns: impl Iterator<Item = &'t str>) -> bool {
        believes_record_key(self.change)
            && self
                .change
                .key
                .as_ref()
                .is_some_and(|key| columns.all(|name| key.columns.iter().any(|column| column.name == name)))
    }

    /// The guard for the row as it is now, or as it was; `None` where nothing tells which row that is.
    fn guard(&self, old: bool) -> Result<Option<Guard>, HandleError> {
        let slot = if old { &self.old_row } else { &self.row };
        let owner = match slot.get() {
            Some(owner) => owner,
            None => {
                let owner = self.identity(old)?;
                slot.get_or_init(|| owner)
            }
        };
        let version = self.change.version.clone().unwrap_or(Version::NONE);
        Ok(owner.clone().map(|owner| Guard { version, owner }))
    }

    /// Which row it is (or was): by the columns of its replica identity's index, the entity's key columns or
    /// the record key, else by all of its columns.
    fn identity(&self, old: bool) -> Result<Option<RowId>, HandleError> {
        self.identity_in(&row_id::table_name(self.change.table.as_ref(), self.record.topic), old)
    }

    fn identity_in(&self, table: &str, old: bool) -> Result<Option<RowId>, HandleError> {
        let mut names: Vec<&str> = match (&self.entity.replica_identity, &self.entity.key_columns) {
            (ReplicaIdentity::Index(columns), _) => columns.iter().map(String::as_str).collect(),
            (_, Some(columns)) => columns.iter().map(String::as_str).collect(),
            (_, None) => {
                let key = self.change.key.iter().flat_map(|key| &key.columns);
                key.map(|column| &*column.name).collect()
            }
        };
        if names.is_empty() {
            let row = if old { &self.change.before } else { &self.change.after };
            return row
                .as_ref()
                .map(|row| row_id::of_row(table, row))
                .transpose()
                .map_err(|(column, source)| HandleError::Value { column, source });
        }
        names.sort_unstable();
        names.dedup();
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            let found = if old {
                // A key column that an update's `before` leaves out has not changed.
                or_else(self.old_cell(name), || match self.change.op {
                    Op::Update => self.new_cell(name),
                    Op::Create | Op::Delete | Op::Read | Op::Truncate => Cell::Absent,
                })
            } else {
                self.new_cell(name)
            };
            let mut value = Vec::new();
            match found {
                Cell::Present(typed) => types::render_key(typed, RenderStyle::default(), &mut value)
                    .map_err(|source| HandleError::Value { column: name.to_owned(), source })?,
                Cell::Null | Cell::Absent | Cell::Unavailable => return Ok(None),
            }
            values.push(value);
        }
        Ok(Some(row_id::of_key(table, &values)))
    }

    /// Which rows the change is about: as it is and as it was, where that can be told. By their keys alone, for a
    /// tombstone names no table.
    pub(crate) fn row_ids(&self) -> [Option<RowId>; 2] {
        let of = |old: bool| self.identity_in("", old).ok().flatten();
        match self.change.op {
            Op::Create | Op::Read => [of(false), None],
            Op::Update => [of(false), of(true)],
            Op::Delete => [None, of(true)],
            Op::Truncate => [None, None],
        }
    }

    fn no_identity(&self) -> HandleError {
        HandleError::Handler("the row has no value in a key column, so a guarded key cannot name it".into())
    }
}

fn cell<'c>(row: Option<&'c Row<'c>>, column: &str) -> Cell<'c> {
    row.map_or(Cell::Absent, |row| row.cell(column))
}

fn or_else<'c>(cell: Cell<'c>, other: impl FnOnce() -> Cell<'c>) -> Cell<'c> {
    if cell == Cell::Absent { other() } else { cell }
}

#[cfg(test)]
mod law;
#[cfg(test)]
mod tests;
