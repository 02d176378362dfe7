//! A schema made ready for reading: what each type's values mean, and what the whole is.

use std::sync::Arc;

use super::super::Ignored;
use super::super::connect::{is_unsigned_bigint, semantic};
use super::super::datum::{Member, auxiliary_by_name, members};
use super::schema::{Form, Node, NodeId, Notes, Schema};
use crate::types::{Kind, Unit};

/// Kinds in each other that are told; what lies deeper is passed on as it came. The bound that rendering has.
const KIND_HEIGHT_MAX: usize = 64;

/// A compiled writer's schema.
#[derive(Debug)]
pub(in crate::decode) struct Plan {
    name: Option<String>,
    nodes: Vec<Node>,
    kinds: Vec<Kind>,
    root: NodeId,
    shape: Shape,
    auxiliary: Option<Ignored>,
}

/// What values of the whole schema are.
#[derive(Debug)]
pub(super) enum Shape {
    /// A Debezium envelope, and what each of its fields is.
    Envelope(Vec<Member>),
    /// Any other record.
    Row,
    /// No record.
    Other,
}

impl Plan {
    /// Compiles a schema; see [`Schema::parse`] for the references. `zoneless` says whether Connect's `Timestamp`
    /// is a time stamp without a zone, which [`connect::zoneless`] tells by the name and the topic's format.
    ///
    /// [`connect::zoneless`]: super::super::connect::zoneless
    pub(in crate::decode) fn compile(
        text: &str,
        references: &[(String, String)],
        zoneless: bool,
    ) -> Result<Plan, String> {
        let Schema { nodes, root } = Schema::parse(text, references)?;
        let record = record_of(&nodes, root);
        let notes = record.and_then(|record| nodes.get(record)).map(|node| &node.notes);
        let name = notes.and_then(|notes| notes.connect_name.clone().or_else(|| notes.name.clone()));
        let auxiliary = name.as_deref().and_then(auxiliary_by_name);
        let shape = match record.and_then(|record| nodes.get(record)) {
            Some(Node { form: Form::Record(fields), .. }) => {
                let is_record = |node| record_of(&nodes, node).is_some();
                let fields = fields.iter().map(|field| (field.name.as_str(), is_record(field.node)));
                members(fields).map_or(Shape::Row, Shape::Envelope)
            }
            _ => Shape::Other,
        };
        let kinds = Kinds::of(&nodes, zoneless);
        Ok(Plan { name, nodes, kinds, root, shape, auxiliary })
    }

    /// The record's name in Connect, or in Avro.
    pub(in crate::decode) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// True where every value is a record, or null.
    pub(in crate::decode) fn is_record(&self) -> bool {
        record_of(&self.nodes, self.root).is_some()
    }

    /// The names of the record's fields.
    pub(in crate::decode) fn columns(&self) -> Vec<String> {
        let record = record_of(&self.nodes, self.root).and_then(|record| self.nodes.get(record));
        match record.map(|record| &record.form) {
            Some(Form::Record(fields)) => fields.iter().map(|field| field.name.clone()).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn root(&self) -> NodeId {
        self.root
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(super) fn auxiliary(&self) -> Option<Ignored> {
        self.auxiliary
    }

    pub(super) fn form(&self, node: NodeId) -> &Form {
        self.nodes.get(node).map_or(&Form::Null, |node| &node.form)
    }

    pub(super) fn kind(&self, node: NodeId) -> &Kind {
        self.kinds.get(node).unwrap_or(&Kind::Untyped)
    }

    /// True for an array that stands for a map with other keys than plain texts.
    pub(super) fn is_map_entry(&self, item: NodeId) -> bool {
        self.nodes.get(item).is_some_and(is_map_entry)
    }

    /// True for a `duration`: months, days and milliseconds.
    pub(super) fn is_duration(&self, node: NodeId) -> bool {
        matches!(self.form(node), Form::Fixed(12)) && self.kind(node) == &Kind::IntervalText
    }
}

/// The one record that a type is: itself, or the only branch beside null.
fn record_of(nodes: &[Node], node: NodeId) -> Option<NodeId> {
    match &nodes.get(node)?.form {
        Form::Record(_) => Some(node),
        Form::Union(branches) => {
            let is_null =
                |branch: &NodeId| nodes.get(*branch).is_some_and(|node| matches!(node.form, Form::Null));
            let mut rest = branches.iter().filter(|branch| !is_null(branch));
            let only = rest.next().filter(|_| rest.next().is_none())?;
            matches!(nodes.get(*only)?.form, Form::Record(_)).then_some(*only)
        }
        _ => None,
    }
}

fn is_map_entry(node: &Node) -> bool {
    let Form::Record(fields) = &node.form else { return false };
    let pair = matches!(fields.as_slice(), [key, value] if key.name == "key" && value.name == "value");
    let named = node.notes.name.as_deref() == Some("io.confluent.connect.avro.MapEntry");
    pair && (named || node.notes.is_map_entry)
}

/// The kinds of all nodes. A type that holds itself is untyped inside: it has no finite kind.
struct Kinds<'n> {
    nodes: &'n [Node],
    zoneless: bool,
    done: Vec<Option<(Kind, usize)>>,
    begun: Vec<bool>,
}

impl Kinds<'_> {
    fn of(nodes: &[Node], zoneless: bool) -> Vec<Kind> {
        let mut kinds =
            Kinds { nodes, zoneless, done: vec![None; nodes.len()], begun: vec![false; nodes.len()] };
        // In the order of the text, so that a named type is done before others refer to it: the recursion is no
        // deeper than the text's nesting.
        for node in 0..nodes.len() {
            kinds.kind(node);
        }
        kinds.done.into_iter().map(|kind| kind.map_or(Kind::Untyped, |(kind, _)| kind)).collect()
    }

    /// The kind, and how many kinds it has in each other.
    fn kind(&mut self, node: NodeId) -> (Kind, usize) {
        if let Some(Some(done)) = self.done.get(node) {
            return done.clone();
        }
        match self.begun.get_mut(node) {
            Some(begun) if !*begun => *begun = true,
            _ => return (Kind::Untyped, 0),
        }
        let (kind, height) = self.compute(node);
        let kind = if height > KIND_HEIGHT_MAX { (Kind::Untyped, 0) } else { (kind, height) };
        if let Some(done) = self.done.get_mut(node) {
            *done = Some(kind.clone());
        }
        kind
    }

    fn compute(&mut self, id: NodeId) -> (Kind, usize) {
        let nodes = self.nodes;
        let Some(node) = nodes.get(id) else { return (Kind::Untyped, 0) };
        if let Some(kind) = named(node, self.zoneless) {
            return (kind, 0);
        }
        match &node.form {
            Form::Null => (Kind::Untyped, 0),
            Form::Bool => (Kind::Bool, 0),
            Form::Int => (Kind::Int, 0),
            Form::Long if is_unsigned_bigint(&|name| node.notes.parameter(name)) => (Kind::Uint, 0),
            Form::Long => (Kind::Int, 0),
            Form::Float | Form::Double => (Kind::Double, 0),
            Form::Bytes | Form::Fixed(_) => (Kind::Bytes, 0),
            Form::Text | Form::Enum(_) => (Kind::Text, 0),
            Form::Array(item) => match nodes.get(*item) {
                Some(Node { form: Form::Record(fields), .. })
                    if nodes.get(*item).is_some_and(is_map_entry) =>
                {
                    let mut halves = fields.iter().map(|field| self.kind(field.node));
                    let (key, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
                    (Kind::Map(Arc::new(key.0), Arc::new(value.0)), key.1.max(value.1) + 1)
                }
                _ => {
                    let (kind, height) = self.kind(*item);
                    (Kind::Array(Arc::new(kind)), height + 1)
                }
            },
            Form::Map(value) => {
                let (kind, height) = self.kind(*value);
                (Kind::Map(Arc::new(Kind::Text), Arc::new(kind)), height + 1)
            }
            Form::Union(branches) => {
                let mut told = branches
                    .iter()
                    .filter(|branch| !matches!(nodes.get(**branch).map(|node| &node.form), Some(Form::Null)));
                match (told.next(), told.next()) {
                    (Some(only), None) => self.kind(*only),
                    // Each value has the kind of its own branch; what stands inside another part has none.
                    _ => (Kind::Untyped, 0),
                }
            }
            Form::Record(fields) => {
                let mut height = 0;
                let kinds = fields.iter().map(|field| {
                    let (kind, inner) = self.kind(field.node);
                    height = height.max(inner + 1);
                    (field.name.clone(), kind)
                });
                let kinds: Arc<[(String, Kind)]> = kinds.collect();
                (Kind::Struct(kinds), height)
            }
        }
    }
}

/// The kind that a semantic or a logical type's name gives; `None` where the form tells all. Connect's name comes
/// first: `timestamp-millis` beside it is a time stamp without a zone in Debezium's events.
fn named(node: &Node, zoneless: bool) -> Option<Kind> {
    let base = match &node.form {
        Form::Int => "int32",
        Form::Long => "int64",
        Form::Text | Form::Enum(_) => "string",
        Form::Bytes | Form::Fixed(_) => "bytes",
        Form::Record(_) => "struct",
        _ => return None,
    };
    let connect_name = node.notes.connect_name.as_deref().or(match node.form {
        Form::Record(_) => node.notes.name.as_deref(),
        _ => None,
    });
    let connect = connect_name
        .and_then(|name| semantic(name, base, &|name: &str| node.notes.parameter(name), zoneless));
    match connect {
        Some(Kind::Decimal { scale: None }) => Some(Kind::Decimal { scale: Some(node.notes.scale) }),
        Some(kind) => Some(kind),
        None => logical(node),
    }
}

/// <https://avro.apache.org/docs/1.12.0/specification/#logical-types>. Beside another form a name means nothing.
fn logical(node: &Node) -> Option<Kind> {
    Some(match (node.notes.logical.as_deref()?, &node.form) {
        ("decimal", Form::Bytes | Form::Fixed(_)) => Kind::Decimal { scale: Some(node.notes.scale) },
        ("uuid", Form::Text | Form::Fixed(16)) => Kind::Uuid,
        ("date", Form::Int) => Kind::Date,
        ("time-millis", Form::Int) => Kind::Time(Unit::Millis),
        ("time-micros", Form::Long) => Kind::Time(Unit::Micros),
        ("timestamp-millis", Form::Long) => Kind::Instant(Unit::Millis),
        ("timestamp-micros", Form::Long) => Kind::Instant(Unit::Micros),
        ("timestamp-nanos", Form::Long) => Kind::Instant(Unit::Nanos),
        ("local-timestamp-millis", Form::Long) => Kind::Timestamp(Unit::Millis),
        ("local-timestamp-micros", Form::Long) => Kind::Timestamp(Unit::Micros),
        ("local-timestamp-nanos", Form::Long) => Kind::Timestamp(Unit::Nanos),
        ("duration", Form::Fixed(12)) => Kind::IntervalText,
        _ => return None,
    })
}

impl Notes {
    /// A parameter of Connect's.
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}
