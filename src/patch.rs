//! What an event tells of a value that it holds only in part, and how that overlays a cached value.
//!
//! Pure and exact: members that are kept keep their very bytes, for a value goes through no parser of numbers or
//! texts, only past a scanner of tokens (`scan`). The cache's script (`sink::redis::scripts`) does the same to
//! what it holds; one contract test holds the two together. Start at [`Patch::overlay`].

mod scan;

use std::fmt;

use crate::mutation::{StringKind, Value};

/// A part of a value: some of its fields, and what becomes of the others.
#[derive(Clone, PartialEq, Eq)]
pub struct Patch {
    shape: PatchShape,
    fields: Vec<Field>,
    others: Others,
    /// Fields that the held value must have, or there is nothing that could be kept.
    needs: Vec<Vec<u8>>,
}

/// Which values a patch overlays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchShape {
    /// A string that is one JSON object. Names are JSON texts (with their quotes), values any JSON.
    Json,
    /// A hash. Names and values are bytes.
    Hash,
}

/// A field, and what is told of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name, as the shape spells it.
    pub name: Vec<u8>,
    /// What is told.
    pub told: Told,
}

/// What is told of a field.
#[derive(Clone, PartialEq, Eq)]
pub enum Told {
    /// It holds this now.
    Value(Vec<u8>),
    /// The value has no such field now: a null column of a hash. Of JSON, never.
    Gone,
    /// It is what it was.
    Kept,
}

/// What becomes of fields that are not named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They go: the event names every column there is.
    Dropped,
    /// They stay: the event names only what has changed.
    Kept,
}

impl Patch {
    /// A patch of these fields, whose names are unique. The order of JSON's members is theirs, or where the
    /// others stay, the held value's.
    ///
    /// What is kept of JSON must be in the held value, since a whole row has every member; a hash that lacks it
    /// held a null there.
    pub fn new(shape: PatchShape, fields: Vec<Field>, others: Others) -> Patch {
        let kept = |field: &&Field| shape == PatchShape::Json && field.told == Told::Kept;
        let needs = fields.iter().filter(kept).map(|field| field.name.clone()).collect();
        Patch { shape, fields, others, needs }
    }

    /// Which values it overlays.
    pub fn shape(&self) -> PatchShape {
        self.shape
    }

    /// Its fields in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// What becomes of fields that it does not name.
    pub fn others(&self) -> Others {
        self.others
    }

    /// Names of fields that the held value must have.
    pub fn needs(&self) -> &[Vec<u8>] {
        &self.needs
    }

    /// Bytes that travel, without protocol overhead.
    pub fn size_bytes(&self) -> usize {
        let field = |field: &Field| {
            let value = match &field.told {
                Told::Value(value) => value.len(),
                Told::Gone | Told::Kept => 0,
            };
            field.name.len() + value
        };
        self.fields.iter().map(field).sum::<usize>() + self.needs.iter().map(Vec::len).sum::<usize>()
    }

    /// The held value under this patch. `None` where there is no value to be had, so that the key is deleted:
    /// what is held is of another type, is no JSON object whose members have different names, lacks a field that
    /// is needed (an older mapping wrote it), or a hash would have no field left.
    pub fn overlay(&self, held: &Value) -> Option<Value> {
        match (self.shape, held) {
            (PatchShape::Hash, Value::Hash(fields)) => {
                let held: Vec<(&[u8], &[u8])> = fields.iter().map(|(n, v)| (&n[..], &v[..])).collect();
                let merged = self.merged(&held)?;
                let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
                (!held.is_empty() && !merged.is_empty())
                    .then(|| Value::Hash(merged.into_iter().map(owned).collect()))
            }
            (PatchShape::Json, Value::String { bytes, .. }) => {
                let merged = self.merged(&scan::members(bytes)?)?;
                Some(Value::String { kind: StringKind::Json, bytes: object(&merged) })
            }
            (PatchShape::Hash, Value::String { .. } | Value::Member { .. })
            | (PatchShape::Json, Value::Hash(_) | Value::Member { .. }) => None,
        }
    }

    /// The fields of the result, in order.
    fn merged<'m>(&'m self, held: &[(&'m [u8], &'m [u8])]) -> Option<Vec<(&'m [u8], &'m [u8])>> {
        let value_of = |at: usize, wanted: &[u8]| {
            let alike = held.get(at).filter(|(name, _)| *name == wanted);
            alike.or_else(|| held.iter().find(|(name, _)| *name == wanted)).map(|(_, value)| *value)
        };
        if !self.needs.iter().enumerate().all(|(at, name)| value_of(at, name).is_some()) {
            return None;
        }
        let mut merged = Vec::with_capacity(held.len().max(self.fields.len()));
        if self.others == Others::Kept {
            for (at, (name, value)) in held.iter().enumerate() {
                match self.told(at, name) {
                    Some(Told::Value(told)) => merged.push((*name, told.as_slice())),
                    Some(Told::Gone) => {}
                    Some(Told::Kept) | None => merged.push((*name, *value)),
                }
            }
        }
        for (at, Field { name, told }) in self.fields.iter().enumerate() {
            match (self.others, told) {
                (Others::Dropped, Told::Value(value)) => merged.push((name, value)),
                (Others::Dropped, Told::Kept) => {
                    merged.extend(value_of(at, name).map(|value| (&name[..], value)))
                }
                (Others::Kept, Told::Value(value)) if value_of(at, name).is_none() => {
                    merged.push((name, value))
                }
                (Others::Kept, Told::Value(_) | Told::Kept) | (_, Told::Gone) => {}
            }
        }
        Some(merged)
    }

    /// The one patch that does what this one and then `later` would; `None` where that leaves no key, whatever
    /// is held. A hash that has no field in between counts as one that is still there.
    pub fn then(&self, later: &Patch) -> Option<Patch> {
        if self.shape != later.shape {
            return None;
        }
        let mut needs = self.needs.clone();
        for (at, name) in later.needs.iter().enumerate() {
            match (self.told(at, name), self.others) {
                (Some(Told::Value(_)), _) => {}
                (Some(Told::Kept), _) | (None, Others::Kept) => {
                    if !needs.contains(name) {
                        needs.push(name.clone());
                    }
                }
                (Some(Told::Gone), _) | (None, Others::Dropped) => return None,
            }
        }
        // What `later` keeps is what this one leaves.
        let resolved = |at: usize, field: &Field| {
            let told = match (&field.told, self.told(at, &field.name), self.others) {
                (Told::Kept, Some(told), _) => told.clone(),
                (Told::Kept, None, Others::Dropped) => Told::Gone,
                (told, _, _) => told.clone(),
            };
            Field { name: field.name.clone(), told }
        };
        let laters = later.fields.iter().enumerate();
        if later.others == Others::Dropped {
            let fields = laters.map(|(at, field)| resolved(at, field)).collect();
            return Some(Patch { shape: self.shape, fields, others: Others::Dropped, needs });
        }
        let mine = self.fields.iter().enumerate().map(|(at, field)| match later.told(at, &field.name) {
            None | Some(Told::Kept) => field.clone(),
            Some(told) => Field { name: field.name.clone(), told: told.clone() },
        });
        let added = laters.filter(|(at, field)| self.told(*at, &field.name).is_none());
        let fields = mine.chain(added.map(|(at, field)| resolved(at, field))).collect();
        Some(Patch { shape: self.shape, fields, others: self.others, needs })
    }

    /// True where `later` alone does what this one and then `later` would: it tells all that this one does.
    pub fn is_covered_by(&self, later: &Patch) -> bool {
        let alike = |(mine, theirs): (&Field, &Field)| {
            mine.name == theirs.name && (mine.told == Told::Kept) == (theirs.told == Told::Kept)
        };
        self.shape == later.shape
            && self.others == later.others
            && self.needs == later.needs
            && self.fields.len() == later.fields.len()
            && self.fields.iter().zip(&later.fields).all(alike)
    }

    /// What is told of a field. `at` is where it may stand: patches of one table name the same columns.
    fn told(&self, at: usize, name: &[u8]) -> Option<&Told> {
        let alike = self.fields.get(at).filter(|field| field.name == name);
        alike.or_else(|| self.fields.iter().find(|field| field.name == name)).map(|field| &field.told)
    }
}

/// A JSON object of these members, without white space, as Stoker writes every object.
fn object(members: &[(&[u8], &[u8])]) -> Vec<u8> {
    let bytes = members.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>();
    let mut out = Vec::with_capacity(bytes + 2);
    out.push(b'{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
    out
}

impl fmt::Debug for Patch {
    /// Row values never reach a log: only the shape and the counts are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.fields.iter().filter(|field| field.told == Told::Kept).count();
        let (shape, others, told) = (self.shape, self.others, self.fields.len() - kept);
        write!(f, "{shape:?}({told} fields told, {kept} kept, others {others:?})")
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({:?})", self.told)
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Told::Value(value) => write!(f, "Value({} bytes)", value.len()),
            Told::Gone => f.write_str("Gone"),
            Told::Kept => f.write_str("Kept"),
        }
    }
}

#[cfg(test)]
mod tests;
