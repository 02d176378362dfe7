//! The declarative handler: `[[entity.write]]` as an [`EntityHandler`].
//!
//! Evaluates conditions, makes values, and takes lifetimes from columns; what of that deletes or is guarded is
//! [`super::flow`]'s to say, as for handlers in Rust. Start at [`Mapping`].

mod columns;
mod nested;
mod part;

use std::time::Duration;

use super::access::{mismatch, value_error};
use super::condition::Truth;
use super::handler::{EntityHandler, KeyTemplate, RowImage, Values};
use super::lifetime::Lifetime;
use super::packing::Packing;
use super::spec::{Chosen, Columns, MappingSpec, Shape, Ttl, TtlBase, Unavailable, WriteSpec};
use crate::change::{Cell, Row};
use crate::error::HandleError;
use crate::mutation::{MemberKind, StringKind, Value};
use crate::patch::Patch;
use crate::types::{self, Raw, RenderStyle, Typed};

/// An entity's writes as the settings say them.
#[derive(Debug)]
pub struct Mapping {
    spec: MappingSpec,
    keys: Vec<KeyTemplate>,
}

impl Mapping {
    /// The handler of these writes.
    pub fn new(spec: MappingSpec) -> Mapping {
        let keys = spec.writes.iter().map(key_template).collect();
        Mapping { spec, keys }
    }
}

fn key_template(write: &WriteSpec) -> KeyTemplate {
    let key = KeyTemplate::new(write.key.clone());
    let key = if write.shared { key.shared() } else { key };
    match &write.shape {
        Shape::Invalidate => key.invalidated(),
        Shape::Set { member } => key.with_member(MemberKind::Set, member.clone()),
        Shape::SortedSet { member, .. } => key.with_member(MemberKind::SortedSet, member.clone()),
        Shape::Json(_)
        | Shape::Nested(_)
        | Shape::Text(_)
        | Shape::Template(_)
        | Shape::Hash(_)
        | Shape::Bytes(_) => key,
    }
}

impl EntityHandler for Mapping {
    fn keys(&self) -> &[KeyTemplate] {
        &self.keys
    }

    fn longest_life(&self) -> Option<Duration> {
        let life = |write: &WriteSpec| match (&write.shape, &write.ttl.base) {
            (Shape::Invalidate, _) => Some(Duration::ZERO),
            (_, TtlBase::AfterCommit(ms)) => {
                Some(Duration::from_millis(*ms).mul_f64(1.0 + write.ttl.jitter.clamp(0.0, 1.0)))
            }
            (_, TtlBase::None | TtlBase::After(_) | TtlBase::Column { .. }) => None,
        };
        self.spec.writes.iter().map(life).try_fold(Duration::ZERO, |longest, life| Some(longest.max(life?)))
    }

    fn columns(&self) -> Option<Vec<String>> {
        columns::of(&self.spec)
    }

    fn reads_source(&self) -> bool {
        let conditions = self.spec.writes.iter().filter_map(|write| write.when.as_ref());
        // A column of that name is no reason not to.
        conditions.chain(&self.spec.delete_when).any(|condition| condition.as_str().contains("source"))
    }

    fn values(&self, row: &RowImage<'_>, out: &mut Values) -> Result<(), HandleError> {
        if !row.is_stored()
            && let Some(condition) = &self.spec.delete_when
        {
            match condition.evaluate(row) {
                Truth::False => {}
                Truth::True => return Ok(()),
                Truth::Undecidable(reason) => {
                    out.undecided(None, reason);
                    return Ok(());
                }
            }
        }
        for (index, write) in self.spec.writes.iter().enumerate() {
            if !row.is_stored()
                && let Some(condition) = &write.when
            {
                match condition.evaluate(row) {
                    Truth::True => {}
                    Truth::False => continue,
                    Truth::Undecidable(reason) => {
                        out.undecided(Some(index), reason);
                        continue;
                    }
                }
            }
            let value = match self.made(&write.shape, row)? {
                Made::Value(value) => value,
                Made::Part(patch) => {
                    match lifetime(&write.ttl, row)? {
                        Some(lifetime) => out.patch(index, patch, lifetime),
                        None => out.withhold(index),
                    }
                    continue;
                }
                Made::Nothing => {
                    out.withhold(index);
                    continue;
                }
            };
            let bytes = value.size_bytes();
            if bytes > self.spec.value_bytes_max {
                return Err(HandleError::TooLarge { bytes, limit: self.spec.value_bytes_max });
            }
            // What is the default costs nothing: the bench's path.
            let value =
                if write.packing == Packing::default() { value } else { write.packing.pack(value)? };
            match lifetime(&write.ttl, row)? {
                Some(lifetime) => out.write(index, value, lifetime),
                None => out.withhold(index),
            }
        }
        Ok(())
    }
}

/// What a row gives a key.
enum Made {
    /// Its value.
    Value(Value),
    /// As much of it as the event holds.
    Part(Patch),
    /// None to write.
    Nothing,
}

impl Mapping {
    fn made(&self, shape: &Shape, row: &RowImage<'_>) -> Result<Made, HandleError> {
        if let Some(value) = value(shape, row, self.spec.value_bytes_max)? {
            return Ok(Made::Value(value));
        }
        let Unavailable::Merge(others) = self.spec.unavailable else { return Ok(Made::Nothing) };
        let part = match shape {
            Shape::Json(columns) => part::of_json(columns, others, row)?,
            Shape::Hash(columns) => part::of_hash(columns, others, row)?,
            // A member has a score at most.
            Shape::Set { .. } | Shape::SortedSet { .. } => None,
            Shape::Invalidate | Shape::Text(_) | Shape::Template(_) | Shape::Nested(_) | Shape::Bytes(_) => {
                None
            }
        };
        Ok(part.map_or(Made::Nothing, Made::Part))
    }
}

/// The value; `None` where there is none to write, so that the key is deleted: the event does not hold a
/// column that it needs, the column of a `bytes` value is null, or a hash would have no field.
fn value(shape: &Shape, row: &RowImage<'_>, bytes_max: usize) -> Result<Option<Value>, HandleError> {
    match shape {
        Shape::Invalidate => Ok(None),
        Shape::Text(template) => {
            if template.needs_unavailable(row) {
                return Ok(None);
            }
            let mut bytes = Vec::new();
            template.render_text(row, row.style(), &mut bytes)?;
            Ok(Some(Value::String { kind: StringKind::Text, bytes }))
        }
        Shape::Template(template) => {
            let text = template.render(row, row.style(), bytes_max)?;
            Ok(text.map(|bytes| Value::String { kind: StringKind::Text, bytes }))
        }
        Shape::Nested(members) => {
            let json = nested::object(members, row, row.style())?;
            Ok(json.map(|bytes| Value::String { kind: StringKind::Json, bytes }))
        }
        Shape::Bytes(column) => match row.cell(column) {
            Cell::Present(typed) => {
                let mut bytes = Vec::new();
                types::raw_bytes(typed, &mut bytes).map_err(|error| value_error(column, error))?;
                Ok(Some(Value::String { kind: StringKind::Bytes, bytes }))
            }
            Cell::Null | Cell::Unavailable => Ok(None),
            Cell::Absent => Err(missing(column)),
        },
        Shape::Set { .. } => Ok(Some(Value::member())),
        Shape::SortedSet { score, .. } => match row.cell(score) {
            Cell::Present(typed) => {
                let mut text = Vec::new();
                types::score(typed, &mut text).map_err(|error| value_error(score, error))?;
                Ok(Some(Value::Member { score: Some(text) }))
            }
            // A null has no place in an order; `when` says what such rows are.
            Cell::Null => Err(value_error(score, mismatch("a score", "null"))),
            Cell::Absent => Err(missing(score)),
            Cell::Unavailable => Ok(None),
        },
        Shape::Json(Columns::All) => {
            if let Some(text) = row.as_it_came() {
                return Ok(Some(Value::String { kind: StringKind::Json, bytes: text.as_bytes().to_vec() }));
            }
            if row.has_unavailable() {
                return Ok(None);
            }
            // Straight from the row, where a list of its cells would be an allocation more: the bench's path.
            let cells = row.cells().map(|(name, cell)| Named { name, column: name, cell });
            let bytes = json(cells, row.style())?;
            Ok(Some(Value::String { kind: StringKind::Json, bytes }))
        }
        Shape::Json(columns) => {
            let Some(cells) = whole(chosen_cells(columns, row)?) else { return Ok(None) };
            let bytes = json(cells.into_iter(), row.style())?;
            Ok(Some(Value::String { kind: StringKind::Json, bytes }))
        }
        Shape::Hash(columns) => {
            let Some(cells) = whole(chosen_cells(columns, row)?) else { return Ok(None) };
            let fields = hash(&cells, row.style())?;
            Ok((!fields.is_empty()).then_some(Value::Hash(fields)))
        }
    }
}

/// A cell under the name that the value gives it.
#[derive(Clone)]
struct Named<'c> {
    name: &'c str,
    column: &'c str,
    cell: Cell<'c>,
}

/// The cells of a value.
fn chosen_cells<'c>(columns: &'c Columns, row: &'c Row<'c>) -> Result<Vec<Named<'c>>, HandleError> {
    let cells: Vec<Named<'c>> = match columns {
        Columns::All => row.cells().map(|(name, cell)| Named { name, column: name, cell }).collect(),
        Columns::Chosen(chosen) => {
            let named = |Chosen { name, column }: &'c Chosen| match row.cell(column) {
                // Leaving it out, or writing null, would be a guess.
                Cell::Absent => Err(missing(column)),
                cell => Ok(Named { name, column, cell }),
            };
            chosen.iter().map(named).collect::<Result<_, _>>()?
        }
    };
    Ok(cells)
}

/// The cells; `None` where one of them is unavailable.
fn whole(cells: Vec<Named<'_>>) -> Option<Vec<Named<'_>>> {
    let unavailable = cells.iter().any(|named| named.cell == Cell::Unavailable);
    (!unavailable).then_some(cells)
}

fn json<'c>(
    cells: impl Iterator<Item = Named<'c>> + Clone,
    style: RenderStyle,
) -> Result<Vec<u8>, HandleError> {
    // Nearly exact, so that the buffer neither grows nor wastes: it is kept until its batch is applied.
    let bytes: usize = cells.clone().map(|named| named.name.len() + 4 + rendered_length(&named.cell)).sum();
    let mut out = Vec::with_capacity(bytes + 2);
    out.push(b'{');
    for (index, named) in cells.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        types::json_string(named.name, &mut out);
        out.push(b':');
        match named.cell {
            Cell::Present(typed) => types::render_json(typed, style, &mut out)
                .map_err(|error| value_error(named.column, error))?,
            Cell::Null | Cell::Absent | Cell::Unavailable => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    Ok(out)
}

/// About the bytes that the cell will have.
fn rendered_length(cell: &Cell<'_>) -> usize {
    const NUMBER: usize = 20;
    match cell {
        Cell::Present(Typed { raw: Raw::Json(token), .. }) => token.len(),
        Cell::Present(Typed { raw: Raw::Text(text), .. }) => text.len() + 2,
        Cell::Present(Typed { raw: Raw::Bytes(bytes), .. }) => bytes.len() / 3 * 4 + 6,
        Cell::Present(Typed { raw: Raw::Bool(_) | Raw::Int(_) | Raw::Double(_), .. }) => NUMBER,
        Cell::Null | Cell::Absent | Cell::Unavailable => 4,
    }
}

/// Names and texts, as [`Value::Hash`] holds them.
type HashFields = Vec<(Vec<u8>, Vec<u8>)>;

/// Fields of a hash: a null column has none, so that the whole hash, when replaced, loses it.
fn hash(cells: &[Named<'_>], style: RenderStyle) -> Result<HashFields, HandleError> {
    let mut fields = Vec::with_capacity(cells.len());
    for named in cells {
        if let Cell::Present(typed) = named.cell {
            let mut text = Vec::new();
            types::render_text(typed, style, &mut text).map_err(|error| value_error(named.column, error))?;
            fields.push((named.name.as_bytes().to_vec(), text));
        }
    }
    Ok(fields)
}

/// The lifetime; `None` where the event does not hold the column that it needs.
fn lifetime(ttl: &Ttl, row: &RowImage<'_>) -> Result<Option<Lifetime>, HandleError> {
    let lifetime = match &ttl.base {
        TtlBase::None => Lifetime::never(),
        TtlBase::After(ms) => Lifetime::after(Duration::from_millis(*ms)),
        TtlBase::AfterCommit(ms) => {
            let commit_ms = row.commit_ms().ok_or(HandleError::Handler(
                "the time to live counts from the commit, but neither the change nor the record has a time"
                    .into(),
            ))?;
            Lifetime::after_moment(commit_ms, Duration::from_millis(*ms))
        }
        TtlBase::Column { column, at_most, if_null } => {
            let bound = at_most.map(Duration::from_millis);
            let lifetime = match (row.cell(column), if_null) {
                (Cell::Unavailable, _) => return Ok(None),
                (Cell::Null, Some(ms)) => Lifetime::after(Duration::from_millis(*ms)),
                (Cell::Null, None) => return Err(value_error(column, mismatch("a time", "null"))),
                _ => row
                    .unix_ms(column)?
                    .map(Lifetime::until)
                    .ok_or_else(|| value_error(column, mismatch("a time", "null")))?,
            };
            bound.map_or(lifetime, |bound| lifetime.at_most(bound))
        }
    };
    Ok(Some(lifetime.jitter(ttl.jitter)))
}

fn missing(column: &str) -> HandleError {
    value_error(column, mismatch("a column of the row", "no such column"))
}

#[cfg(test)]
mod tests;
