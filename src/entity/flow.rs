//! From a change to mutations: what every entity has in common, whatever its handler.
//!
//! Which of a row's keys there are, which the row has left, what a delete or a tombstone reaches, and what
//! must pass the version guard. Within one change deletes come before writes. Read [`Path`] first.

use std::cell::OnceCell;

use super::belief::{belief, believed, believes_record_key};
use super::guard::{GuardBy, GuardRule};
use super::handler::{KeyTemplate, RowImage, Slot, Undecided, Values};
use super::template::{NoValue, Template, Unfilled};
use super::{Entity, ReplicaIdentity, row_id};
use smallvec::SmallVec;

use crate::change::{Cell, Change, Connector, Op, Routing, Row};
use crate::error::HandleError;
use crate::mutation::{CacheKey, Effect, Guard, Member, Mutation, Mutations, RowId, Value};
use crate::record::Record;
use crate::types::{self, RenderStyle};

/// How a key's writes and deletes reach the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path<'e> {
    /// The partition orders the key (it is primary), or it is only ever deleted.
    Plain,
    /// Through the version guard.
    Guarded(Guarded<'e>),
    /// Written plainly, deleted only while it holds this row's value: nothing orders a secondary key of a
    /// source without positions.
    Compared,
}

/// How a key is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Guarded<'e> {
    by: &'e GuardBy,
    /// True where the key is this entity's alone and holds the record key: it tells its row by itself.
    primary: bool,
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
                self.fill(key, |column| self.old_cell(column))
            } else {
                self.fill(key, |column| self.new_cell(column))
            };
            let Ok(cache_key) = filled else { continue };
            let guard = match self.path(key) {
                Path::Guarded(guarded) => match self.guard_of_delete(guarded, old) {
                    Ok(Some(guard)) => Some(guard),
                    Ok(None) | Err(_) => continue,
                },
                // Without its value, a delete could take the key from the row that has it now. A member has none.
                Path::Compared if old || key.member().is_some() => continue,
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
        if let Some(defect) = values.defect(self.keys) {
            return Err(HandleError::Handler(defect.into()));
        }
        undecided.append(&mut values.take_undecided());
        for (index, key) in self.keys.iter().enumerate() {
            let mut slot = values.take(index);
            let path = self.ordered_path(key)?;
            let filled = self.fill(key, |column| self.new_cell(column));
            let cache_key = match filled {
                Ok(cache_key) => Some(cache_key),
                // A row that the key's condition shuts out may have a null there: it never had that key.
                Err((Unfilled::NoValue { state: NoValue::Null, .. }, _)) if matches!(slot, Slot::Unset) => {
                    None
                }
                Err((error, template)) => return Err(error.into_error(template)),
            };
            self.leave_old_key(index, path, cache_key.as_ref(), out)?;
            if let (Some(cache_key), Slot::Patched(..)) = (&cache_key, &slot)
                && !self.may_overlay(key, path, cache_key)?
            {
                slot = Slot::Withheld;
            }
            match (cache_key, slot) {
                (Some(cache_key), Slot::Written(value, lifetime)) => {
                    self.check_size(value.size_bytes())?;
                    let expiry = lifetime.of_key(cache_key.as_bytes());
                    let guard = self.guard_of_write(path)?;
                    out.push(Mutation { key: cache_key, effect: Effect::Write(value, expiry), guard });
                }
                (Some(cache_key), Slot::Patched(patch, lifetime)) => {
                    self.check_size(patch.size_bytes())?;
                    let expiry = lifetime.of_key(cache_key.as_bytes());
                    let guard = self.guard_of_write(path)?;
                    out.push(Mutation { key: cache_key, effect: Effect::Patch(patch, expiry), guard });
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

    fn guard_of_write(&self, path: Path<'_>) -> Result<Option<Box<Guard>>, HandleError> {
        match path {
            Path::Plain | Path::Compared => Ok(None),
            Path::Guarded(guarded) => {
                Ok(Some(self.guard(guarded, false)?.ok_or_else(|| self.no_identity())?))
            }
        }
    }

    /// True where it is certain that what `now` holds, if anything, is this row's value before this change: only an
    /// update keeps what was there, and only of a key that it did not change. Of a key that no `before` tells, that
    /// is certain where the record key tells all of it. Under the guard the side key must be able to name the row.
    fn may_overlay(&self, key: &KeyTemplate, path: Path<'_>, now: &CacheKey) -> Result<bool, HandleError> {
        if self.change.op != Op::Update || path == Path::Compared {
            return Ok(false);
        }
        let before = self.change.before.as_ref();
        let is_same_key = match self.fill(key, |column| cell(before, column)) {
            Ok(old) => old == *now,
            Err(_) => self.record_key_names(key.columns()),
        };
        let Path::Guarded(guarded) = path else { return Ok(is_same_key) };
        let former = self.guard(guarded, true)?;
        let is_same_row = self.guard(guarded, false)?.is_some()
            && former.is_none_or(|former| !self.row_is_not(guarded, &former));
        Ok(is_same_key && is_same_row)
    }

    /// Deletes a key of the row as it is now. Where the row goes by another identity since this change (its
    /// key columns changed, or it is told by all of its columns), the key is still owned by the former one.
    fn give_up_key(
        &self,
        index: usize,
        path: Path<'_>,
        key: CacheKey,
        out: &mut Mutations,
    ) -> Result<(), HandleError> {
        if let Path::Guarded(guarded) = path
            && self.change.before.is_some()
        {
            let former = self.guard(guarded, true)?.filter(|former| self.row_is_not(guarded, former));
            if former.is_some() {
                out.push(Mutation { key: key.clone(), effect: Effect::Delete, guard: former });
            }
        }
        self.delete_key(index, path, key, false, out)
    }

    fn row_is_not(&self, guarded: Guarded<'_>, former: &Guard) -> bool {
        !matches!(self.guard(guarded, false), Ok(Some(guard)) if guard.owner == former.owner)
    }

    /// Deletes the key that the row had before, where `before` tells it and it is another than now.
    fn leave_old_key(
        &self,
        index: usize,
        path: Path<'_>,
        now: Option<&CacheKey>,
        out: &mut Mutations,
    ) -> Result<(), HandleError> {
        let (Some(before), Some(key)) = (&self.change.before, self.keys.get(index)) else { return Ok(()) };
        // What `before` does not tell, or had no value, is no key that could be deleted.
        let Ok(old) = self.fill(key, |column| before.cell(column)) else { return Ok(()) };
        if now == Some(&old) { Ok(()) } else { self.delete_key(index, path, old, true, out) }
    }

    fn delete_row(&self, out: &mut Mutations) -> Result<(), HandleError> {
        for (index, key) in self.keys.iter().enumerate() {
            if self.change.tombstone && !self.tombstone_reaches(key) {
                continue;
            }
            let path = self.ordered_path(key)?;
            match self.fill(key, |column| self.old_cell(column)) {
                Ok(cache_key) => self.delete_key(index, path, cache_key, true, out)?,
                // Nothing tells this key: the row had none, or only a whole `before` would tell it.
                Err((Unfilled::NoValue { .. }, _)) if !self.record_key_names(key.columns()) => {}
                Err((error, template)) => return Err(error.into_error(template)),
            }
        }
        Ok(())
    }

    /// A tombstone reaches the keys that the record key alone tells. Secondary keys cannot follow it: it has
    /// no position, and nothing orders it against the row that has the key now.
    fn tombstone_reaches(&self, key: &KeyTemplate) -> bool {
        let ordered = key.is_invalidated() || key.is_shared() || self.is_primary(key);
        ordered && self.record_key_names(key.columns())
    }

    fn delete_key(
        &self,
        index: usize,
        path: Path<'_>,
        key: CacheKey,
        old: bool,
        out: &mut Mutations,
    ) -> Result<(), HandleError> {
        let (effect, guard) = match path {
            Path::Plain => (Effect::Delete, None),
            Path::Guarded(guarded) => match self.guard(guarded, old)? {
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
            Slot::Withheld | Slot::Unset | Slot::Patched(..) => None,
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

    /// Key and member; what fails names its template.
    fn fill<'a, 't>(
        &self,
        key: &'t KeyTemplate,
        cell: impl Fn(&str) -> Cell<'a>,
    ) -> Result<CacheKey, (Unfilled, &'t Template)> {
        let bytes = self.fill_template(key.template(), &cell)?;
        let Some((kind, template)) = key.member() else { return Ok(CacheKey::new(&bytes)) };
        let member = Member { kind, bytes: self.fill_template(template, &cell)?.into() };
        Ok(CacheKey::of_member(&bytes, member))
    }

    fn fill_template<'a, 't>(
        &self,
        template: &'t Template,
        cell: impl Fn(&str) -> Cell<'a>,
    ) -> Result<Vec<u8>, (Unfilled, &'t Template)> {
        let mut bytes = Vec::with_capacity(40);
        let filled = template.fill_key(cell, self.entity.render, &mut bytes);
        filled.map_err(|error| (error, template))?;
        if bytes.len() > self.value_bytes_max {
            return Err((Unfilled::TooLarge { bytes: bytes.len(), limit: self.value_bytes_max }, template));
        }
        Ok(bytes)
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

    /// The partition orders a key (or key and member) that holds all of the record key's columns, for then no
    /// row of another partition can have it.
    fn is_primary(&self, key: &KeyTemplate) -> bool {
        self.change.key.as_ref().is_some_and(|record_key| {
            self.change.routing != Routing::Nothing
                && !record_key.columns.is_empty()
                && record_key.columns.iter().all(|column| key.plain_columns().any(|name| name == column.name))
        })
    }

    /// The path of a key that is to be written or deleted. A member that nothing orders is the record's error:
    /// that it is there tells no row from another, so that no delete could spare the row that has it now.
    fn ordered_path(&self, key: &KeyTemplate) -> Result<Path<'c>, HandleError> {
        match self.path(key) {
            Path::Compared if key.member().is_some() => Err(HandleError::Handler(
                "rows of several partitions can give this member, and the source tells no position to order \
                 them by: key and member have to hold the columns of the record's key"
                    .into(),
            )),
            path => Ok(path),
        }
    }

    fn path(&self, key: &KeyTemplate) -> Path<'c> {
        // A delete without a value to lose is right at any time, in any order.
        if key.is_invalidated() {
            return Path::Plain;
        }
        let primary = !key.is_shared() && self.is_primary(key);
        match (&self.entity.guard, primary) {
            (Some(GuardRule { by: by @ GuardBy::Columns(_), .. }), _)
            | (Some(GuardRule { by, .. }), true) => {
                return Path::Guarded(Guarded { by, primary });
            }
            // Offsets of two partitions do not compare, and a source may tell no position.
            (Some(GuardRule { by: GuardBy::Source | GuardBy::Offset, .. }), false) => {}
            (None, true) => return Path::Plain,
            (None, false) => {}
        }
        // PostgreSQL has positions, also where this one change has none.
        let positioned = self.change.version.is_some() || self.change.connector == Connector::Postgres;
        if key.is_shared() || positioned {
            Path::Guarded(Guarded { by: &GuardBy::Source, primary })
        } else {
            Path::Compared
        }
    }

    /// True where every key of the entity is made of columns of the record key alone, so that records under the same
    /// record key are about the same keys.
    pub(crate) fn is_decided_by_record_key(&self) -> bool {
        self.change.routing == Routing::RecordKey
            && self.keys.iter().all(|key| self.record_key_names(key.columns()))
    }

    /// True where the record key's values may be believed and it holds all of these columns.
    fn record_key_names<'t>(&self, columns: impl Iterator<Item = &'t str>) -> bool {
        believes_record_key(self.change) && self.record_key_holds(columns)
    }

    fn record_key_holds<'t>(&self, mut columns: impl Iterator<Item = &'t str>) -> bool {
        let has = |key: &Row<'_>| columns.all(|name| key.columns.iter().any(|column| column.name == name));
        self.change.key.as_ref().is_some_and(has)
    }

    /// The guard for the row as it is now, or as it was; `None` where nothing tells which row that is.
    fn guard(&self, guarded: Guarded<'_>, old: bool) -> Result<Option<Box<Guard>>, HandleError> {
        if self.change.op == Op::Delete {
            return self.guard_of_delete(guarded, old);
        }
        let Some(owner) = self.owner(guarded, old)? else { return Ok(None) };
        let version = self.rule().of_row(guarded.by, self.change, self.record)?;
        Ok(Some(Box::new(Guard { version, owner })))
    }

    /// The same for a delete that must not fail for want of a version.
    fn guard_of_delete(&self, guarded: Guarded<'_>, old: bool) -> Result<Option<Box<Guard>>, HandleError> {
        let Some(owner) = self.owner(guarded, old)? else { return Ok(None) };
        let version = self.rule().of_delete(guarded.by, self.change, self.record);
        Ok(Some(Box::new(Guard { version, owner })))
    }

    fn rule(&self) -> &GuardRule {
        self.entity.guard.as_ref().unwrap_or(&GuardRule::DEFAULT)
    }

    fn owner(&self, guarded: Guarded<'_>, old: bool) -> Result<Option<RowId>, HandleError> {
        if guarded.primary {
            return Ok(Some(RowId::new(RowId::PRIMARY)));
        }
        let slot = if old { &self.old_row } else { &self.row };
        if let Some(owner) = slot.get() {
            return Ok(owner.clone());
        }
        let owner = self.identity(old)?;
        Ok(slot.get_or_init(|| owner).clone())
    }

    /// The rows that the change is of: the one that it was, where that is another one, and the one that it is.
    pub(crate) fn rows(&self) -> SmallVec<[RowId; 2]> {
        self.rows_in(&row_id::table_name(self.change.table.as_ref(), self.record.topic))
    }

    /// The same by their keys alone, for those that do not know the table of each change: a tombstone names none.
    pub(crate) fn rows_by_key(&self) -> SmallVec<[RowId; 2]> {
        self.rows_in("")
    }

    fn rows_in(&self, table: &str) -> SmallVec<[RowId; 2]> {
        let (deleted, updated) = (self.change.op == Op::Delete, self.change.op == Op::Update);
        let of = |told: bool, old: bool| told.then(|| self.identity_in(table, old).ok().flatten()).flatten();
        let (was, is) = (of(deleted || updated, true), of(!deleted, false));
        let was = was.filter(|was| Some(was) != is.as_ref());
        was.into_iter().chain(is).collect()
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
mod guarded_tests;
#[cfg(test)]
mod law;
#[cfg(test)]
mod member_tests;
#[cfg(test)]
mod tests;
