//! Avro schemas as JSON text, read into a flat list of nodes that name each other by index.
//!
//! Read here and not by an Avro library, because what Connect says of a column (`connect.name`,
//! `connect.parameters`) stands beside the primitive type, where libraries drop it. Named types may refer to each
//! other and to themselves, so a schema is a graph; nothing here follows it.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::super::datum::ADDED_PREFIX;
use super::super::position;

/// A node of the schema: index into [`Schema::nodes`].
pub(super) type NodeId = usize;

/// A schema and the named types that it refers to.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) nodes: Vec<Node>,
    pub(super) root: NodeId,
}

/// One type.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) form: Form,
    pub(super) notes: Notes,
}

/// How a value of a type is written.
#[derive(Debug)]
pub(super) enum Form {
    Null,
    Bool,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<String>),
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Vec<Field>),
}

/// A record's field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// The name as JSON, and a colon: what stands before its value there.
    pub(super) label: String,
    pub(super) node: NodeId,
    /// What it is in a source block.
    pub(super) of_source: position::Field,
    /// A column that flattening added.
    pub(super) is_added: bool,
}

/// What a schema says of a type beside how it is written.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Full name of a record, enum or fixed.
    pub(super) name: Option<String>,
    pub(super) connect_name: Option<String>,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) logical: Option<String>,
    /// Digits after the point of a decimal.
    pub(super) scale: i32,
    /// A record that stands for one entry of a map whose keys are no plain texts.
    pub(super) is_map_entry: bool,
}

impl Schema {
    /// Reads a schema behind those that it refers to, which come in an order in which none refers to a later one.
    ///
    /// The error says what is wrong with the text, for whoever registered it.
    pub(super) fn parse(text: &str, references: &[(String, String)]) -> Result<Schema, String> {
        let mut parser = Parser::default();
        for (name, text) in references {
            parser.document(text).map_err(|wrong| format!("the reference {name:?}: {wrong}"))?;
        }
        let root = parser.document(text)?;
        Ok(Schema { nodes: parser.nodes, root })
    }
}

#[derive(Default)]
struct Parser {
    nodes: Vec<Node>,
    named: HashMap<String, NodeId>,
}

impl Parser {
    fn document(&mut self, text: &str) -> Result<NodeId, String> {
        // serde_json bounds the nesting, and so the recursion here.
        let value = serde_json::from_str::<Value>(text)
            .map_err(|error| format!("no JSON at line {}, column {}", error.line(), error.column()))?;
        self.read(&value, "")
    }

    fn read(&mut self, value: &Value, namespace: &str) -> Result<NodeId, String> {
        match value {
            Value::String(name) => self.by_name(name, namespace, Notes::default()),
            Value::Array(branches) => {
                let branches =
                    branches.iter().map(|branch| self.read(branch, namespace)).collect::<Result<_, _>>()?;
                Ok(self.add(Form::Union(branches), Notes::default()))
            }
            Value::Object(object) => self.object(object, namespace),
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                Err("a type is neither a name, nor a list, nor an object".into())
            }
        }
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<NodeId, String> {
        let base = match object.get("type") {
            Some(Value::String(base)) => base.as_str(),
            Some(inner @ (Value::Object(_) | Value::Array(_))) => return self.read(inner, namespace),
            _ => return Err("an object has no \"type\"".into()),
        };
        let mut notes = notes(object);
        match base {
            "array" | "map" => {
                let inner = if base == "array" { "items" } else { "values" };
                let inner = object.get(inner).ok_or_else(|| format!("type {base:?} has no {inner:?}"))?;
                let inner = self.read(inner, namespace)?;
                let form = if base == "array" { Form::Array(inner) } else { Form::Map(inner) };
                Ok(self.add(form, notes))
            }
            "record" | "error" | "enum" | "fixed" => {
                let full = full_name(object, namespace).ok_or_else(|| format!("a {base} has no name"))?;
                notes.name = Some(full.clone());
                let node = self.add(Form::Null, notes);
                self.named.insert(full.clone(), node);
                let inside = full.rsplit_once('.').map_or("", |(namespace, _)| namespace);
                let form = match base {
                    "enum" => Form::Enum(symbols(object)?),
                    "fixed" => {
                        let size = object.get("size").and_then(Value::as_u64);
                        let size = size.and_then(|size| usize::try_from(size).ok());
                        Form::Fixed(size.ok_or_else(|| format!("the fixed {full:?} has no size"))?)
                    }
                    _ => Form::Record(self.fields(object, inside, &full)?),
                };
                if let Some(node) = self.nodes.get_mut(node) {
                    node.form = form;
                }
                Ok(node)
            }
            _ => self.by_name(base, namespace, notes),
        }
    }

    fn fields(&mut self, object: &Map<String, Value>, inside: &str, of: &str) -> Result<Vec<Field>, String> {
        let fields = object.get("fields").and_then(Value::as_array);
        let fields = fields.ok_or_else(|| format!("the record {of:?} has no list of fields"))?;
        let field = |field: &Value| {
            let name = field.get("name").and_then(Value::as_str);
            let name = name.ok_or_else(|| format!("a field of {of:?} has no name"))?;
            let node =
                field.get("type").ok_or_else(|| format!("the field {name:?} of {of:?} has no type"))?;
            let label = format!("{}:", Value::from(name));
            Ok(Field {
                name: name.to_owned(),
                label,
                node: self.read(node, inside)?,
                of_source: position::Field::of(name),
                is_added: name.starts_with(ADDED_PREFIX),
            })
        };
        fields.iter().map(field).collect()
    }

    /// A primitive, or a type that was named before.
    fn by_name(&mut self, name: &str, namespace: &str, notes: Notes) -> Result<NodeId, String> {
        let form = match name {
            "null" => Form::Null,
            "boolean" => Form::Bool,
            "int" => Form::Int,
            "long" => Form::Long,
            "float" => Form::Float,
            "double" => Form::Double,
            "bytes" => Form::Bytes,
            "string" => Form::Text,
            _ => {
                let qualified = format!("{namespace}.{name}");
                let known = self.named.get(&qualified).or_else(|| self.named.get(name));
                return known.copied().ok_or_else(|| format!("the type {name:?} is named nowhere"));
            }
        };
        Ok(self.add(form, notes))
    }

    fn add(&mut self, form: Form, notes: Notes) -> NodeId {
        self.nodes.push(Node { form, notes });
        self.nodes.len() - 1
    }
}

fn full_name(object: &Map<String, Value>, namespace: &str) -> Option<String> {
    let name = object.get("name")?.as_str()?;
    let namespace = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
    Some(if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    })
}

fn symbols(object: &Map<String, Value>) -> Result<Vec<String>, String> {
    let symbols = object.get("symbols").and_then(Value::as_array);
    let symbols = symbols.and_then(|list| list.iter().map(|one| one.as_str().map(str::to_owned)).collect());
    symbols.ok_or_else(|| "an enum has no list of symbols".into())
}

fn notes(object: &Map<String, Value>) -> Notes {
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    let parameters = object.get("connect.parameters").and_then(Value::as_object);
    let parameters = parameters.into_iter().flatten();
    let parameters = parameters.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    let scale = object.get("scale").and_then(Value::as_i64).and_then(|scale| i32::try_from(scale).ok());
    Notes {
        name: None,
        connect_name: text("connect.name"),
        parameters: parameters.collect(),
        logical: text("logicalType"),
        scale: scale.unwrap_or(0),
        is_map_entry: text("connect.internal.type").as_deref() == Some("MapEntry"),
    }
}
