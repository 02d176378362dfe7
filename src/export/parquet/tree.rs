//! Columns with an inside: from levels to lists, maps and structs.
//!
//! The algorithm is Dremel's, as the format's page on nested encoding tells it; which groups are lists and maps follows
//! its rules for older writers:
//! <https://github.com/apache/parquet-format/blob/master/LogicalTypes.md#nested-types>.

use std::sync::Arc;

use ::parquet::basic::{ConvertedType, LogicalType, Repetition};
use ::parquet::errors::ParquetError;
use ::parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::Pending;
use super::leaf::{Leaf, push_quoted};
use super::meaning;
use crate::types::Kind;

/// Groups in each other: the bound that rendering has.
const DEPTH_MAX: usize = 64;

/// How a column is put together of its leaves.
#[derive(Debug)]
pub(super) struct Tree {
    kind: Kind,
    /// A level of definition above this one says that it is there; `None` where it always is.
    optional: Option<i16>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Leaf { leaf: usize, is_text: bool },
    Struct(Vec<(String, Tree)>),
    List { def: i16, rep: i16, item: Box<Tree> },
    Map { def: i16, rep: i16, key: Box<Tree>, value: Box<Tree> },
}

/// What is read of a file.
pub(super) struct Planned {
    pub(super) names: Vec<String>,
    pub(super) trees: Vec<Tree>,
    /// Numbers of the primitive columns, for each leaf.
    pub(super) leaves: Vec<usize>,
}

/// Plans the columns of that name; all where `wanted` is `None`.
pub(super) fn plan(schema: &SchemaDescriptor, wanted: Option<&[String]>) -> Result<Planned, ParquetError> {
    let mut planner = Planner { column: 0, leaves: Vec::new(), skipping: false };
    let mut planned = Planned { names: Vec::new(), trees: Vec::new(), leaves: Vec::new() };
    for field in schema.root_schema().get_fields() {
        planner.skipping =
            wanted.is_some_and(|names| !names.iter().any(|name| name.eq_ignore_ascii_case(field.name())));
        let tree = planner.field(field, Levels::default(), 0)?;
        if !planner.skipping {
            planned.names.push(field.name().to_owned());
            planned.trees.push(tree);
        }
    }
    planned.leaves = planner.leaves;
    Ok(planned)
}

struct Planner {
    /// The next primitive column, in the order of the file.
    column: usize,
    leaves: Vec<usize>,
    skipping: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Levels {
    def: i16,
    rep: i16,
}

impl Planner {
    /// A field; `levels` are those of what it stands in.
    fn field(&mut self, field: &TypePtr, levels: Levels, depth: usize) -> Result<Tree, ParquetError> {
        let basic = field.get_basic_info();
        let repetition = if basic.has_repetition() { basic.repetition() } else { Repetition::REQUIRED };
        match repetition {
            Repetition::REQUIRED => self.content(field, levels, None, depth),
            Repetition::OPTIONAL => {
                self.content(field, Levels { def: levels.def + 1, ..levels }, Some(levels.def), depth)
            }
            // Repeated without being called a list: a list that is always there.
            Repetition::REPEATED => {
                let inside = Levels { def: levels.def + 1, rep: levels.rep + 1 };
                let item = self.content(field, inside, None, depth + 1)?;
                Ok(list(None, levels, item))
            }
        }
    }

    fn content(
        &mut self,
        field: &TypePtr,
        levels: Levels,
        optional: Option<i16>,
        depth: usize,
    ) -> Result<Tree, ParquetError> {
        if depth > DEPTH_MAX {
            return Err(ParquetError::NYI("groups nested more than 64 deep".to_owned()));
        }
        if field.is_primitive() {
            let (kind, form) = meaning::of(field);
            let leaf = self.leaves.len();
            if !self.skipping {
                self.leaves.push(self.column);
            }
            self.column += 1;
            let is_text =
                !matches!(form, meaning::Form::Plain | meaning::Form::Unsigned32 | meaning::Form::Half);
            return Ok(Tree { kind, optional, form: Form::Leaf { leaf, is_text } });
        }
        let basic = field.get_basic_info();
        let only = match field.get_fields() {
            [only] if is_repeated(only) => Some(only),
            _ => None,
        };
        let is_list = basic.converted_type() == ConvertedType::LIST
            || matches!(basic.logical_type_ref(), Some(LogicalType::List));
        let is_map = matches!(basic.converted_type(), ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE)
            || matches!(basic.logical_type_ref(), Some(LogicalType::Map));
        let inside = Levels { def: levels.def + 1, rep: levels.rep + 1 };
        match only {
            Some(repeated) if is_list => {
                let item = match repeated.is_primitive() {
                    false if !is_item(repeated) => match repeated.get_fields() {
                        [item] => self.field(item, inside, depth + 1)?,
                        _ => self.content(repeated, inside, None, depth + 1)?,
                    },
                    _ => self.content(repeated, inside, None, depth + 1)?,
                };
                Ok(list(optional, levels, item))
            }
            Some(entry) if is_map && !entry.is_primitive() && entry.get_fields().len() == 2 => {
                let [key, value] = entry.get_fields() else {
                    return Err(ParquetError::General("a map has no pairs".to_owned()));
                };
                let key = self.field(key, inside, depth + 1)?;
                let value = self.field(value, inside, depth + 1)?;
                let kind = Kind::Map(Arc::new(key.kind.clone()), Arc::new(value.kind.clone()));
                let (def, rep, key, value) = (levels.def, levels.rep, Box::new(key), Box::new(value));
                Ok(Tree { kind, optional, form: Form::Map { def, rep, key, value } })
            }
            _ => {
                let mut fields = Vec::with_capacity(field.get_fields().len());
                for child in field.get_fields() {
                    fields.push((child.name().to_owned(), self.field(child, levels, depth + 1)?));
                }
                let kinds = fields.iter().map(|(name, tree)| (name.clone(), tree.kind.clone())).collect();
                Ok(Tree { kind: Kind::Struct(kinds), optional, form: Form::Struct(fields) })
            }
        }
    }
}

fn list(optional: Option<i16>, levels: Levels, item: Tree) -> Tree {
    let kind = Kind::Array(Arc::new(item.kind.clone()));
    Tree { kind, optional, form: Form::List { def: levels.def, rep: levels.rep, item: Box::new(item) } }
}

fn is_repeated(field: &Type) -> bool {
    let basic = field.get_basic_info();
    basic.has_repetition() && basic.repetition() == Repetition::REPEATED
}

/// True where the repeated group of a list is the item itself, and not a wrapper around it: the format's rules of
/// backward compatibility.
fn is_item(repeated: &Type) -> bool {
    let [one] = repeated.get_fields() else { return true };
    let is_list = repeated.get_basic_info().converted_type() == ConvertedType::LIST;
    if is_list || is_repeated(one) {
        return false;
    }
    repeated.name() == "array" || repeated.name().ends_with("_tuple")
}

const ENDS: &str = "a column ends within a row";

impl Tree {
    pub(super) fn kind(&self) -> Kind {
        self.kind.clone()
    }

    /// The column's cell in the row that stands next, which it takes.
    pub(super) fn cell(&self, leaves: &mut [Leaf], scratch: &mut String) -> Result<Pending, &'static str> {
        if let Form::Leaf { leaf: index, is_text } = &self.form {
            let leaf = leaves.get_mut(*index).ok_or(ENDS)?;
            let Some(value) = leaf.take() else { return Ok(Pending::Null) };
            if !is_text {
                return Ok(Pending::Value(*index, value));
            }
            let start = scratch.len();
            leaf.push_text(value, scratch)?;
            return Ok(Pending::Text(start..scratch.len()));
        }
        if !self.is_there(leaves)? {
            self.pass(leaves)?;
            return Ok(Pending::Null);
        }
        let start = scratch.len();
        self.push_content(leaves, scratch)?;
        Ok(Pending::Json(start..scratch.len()))
    }

    fn is_there(&self, leaves: &[Leaf]) -> Result<bool, &'static str> {
        match self.optional {
            None => Ok(true),
            Some(def) => Ok(self.first(leaves)?.def().ok_or(ENDS)? > def),
        }
    }

    fn push(&self, leaves: &mut [Leaf], out: &mut String) -> Result<(), &'static str> {
        if self.is_there(leaves)? {
            return self.push_content(leaves, out);
        }
        out.push_str("null");
        self.pass(leaves)
    }

    fn push_content(&self, leaves: &mut [Leaf], out: &mut String) -> Result<(), &'static str> {
        match &self.form {
            Form::Leaf { leaf, .. } => {
                let leaf = leaves.get_mut(*leaf).ok_or(ENDS)?;
                match leaf.take() {
                    Some(value) => leaf.push_json(value, out)?,
                    None => out.push_str("null"),
                }
            }
            Form::Struct(fields) => {
                out.push('{');
                for (index, (name, tree)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    push_quoted(name, out);
                    out.push(':');
                    tree.push(leaves, out)?;
                }
                out.push('}');
            }
            Form::List { def, rep, item } => {
                out.push('[');
                let mut count = 0;
                loop {
                    let first = item.first(leaves)?;
                    if first.def().ok_or(ENDS)? <= *def {
                        item.pass(leaves)?;
                        break;
                    }
                    if count > 0 {
                        out.push(',');
                    }
                    item.push(leaves, out)?;
                    count += 1;
                    if item.first(leaves)?.rep().is_none_or(|next| next <= *rep) {
                        break;
                    }
                }
                out.push(']');
            }
            Form::Map { def, rep, key, value } => {
                // Keys that are no texts come as pairs, as Connect writes them.
                let is_object = matches!(key.kind, Kind::Text | Kind::Uuid);
                out.push(if is_object { '{' } else { '[' });
                let mut count = 0;
                loop {
                    if key.first(leaves)?.def().ok_or(ENDS)? <= *def {
                        key.pass(leaves)?;
                        value.pass(leaves)?;
                        break;
                    }
                    if count > 0 {
                        out.push(',');
                    }
                    if !is_object {
                        out.push('[');
                    }
                    key.push(leaves, out)?;
                    out.push(if is_object { ':' } else { ',' });
                    value.push(leaves, out)?;
                    if !is_object {
                        out.push(']');
                    }
                    count += 1;
                    if key.first(leaves)?.rep().is_none_or(|next| next <= *rep) {
                        break;
                    }
                }
                out.push(if is_object { '}' } else { ']' });
            }
        }
        Ok(())
    }

    /// The leaf that tells where the tree stands.
    fn first<'l>(&self, leaves: &'l [Leaf]) -> Result<&'l Leaf, &'static str> {
        match &self.form {
            Form::Leaf { leaf, .. } => leaves.get(*leaf).ok_or(ENDS),
            Form::Struct(fields) => fields.first().ok_or("a group has no columns")?.1.first(leaves),
            Form::List { item, .. } => item.first(leaves),
            Form::Map { key, .. } => key.first(leaves),
        }
    }

    /// Takes what stands next in every leaf: a null or an empty list.
    fn pass(&self, leaves: &mut [Leaf]) -> Result<(), &'static str> {
        match &self.form {
            Form::Leaf { leaf, .. } => {
                leaves.get_mut(*leaf).ok_or(ENDS)?.take();
            }
            Form::Struct(fields) => {
                for (_, tree) in fields {
                    tree.pass(leaves)?;
                }
            }
            Form::List { item, .. } => item.pass(leaves)?,
            Form::Map { key, value, .. } => {
                key.pass(leaves)?;
                value.pass(leaves)?;
            }
        }
        Ok(())
    }
}
