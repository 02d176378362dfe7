//! JSON under a registry's JSON Schema: the types of its columns.
//!
//! The datum is plain JSON; what the schema adds are the kinds. Connect's `JsonSchemaConverter` keeps its own types
//! beside JSON Schema's (`title` is the schema's name, `connect.type`, `connect.parameters`; Confluent's
//! `JsonSchemaData`), so that a column has the kind that it has in Connect's JSON. Other producers' schemas tell
//! integers, doubles, booleans and texts. Start at [`compile`].

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::connect::{Plan, Schema};

/// Nodes that are read of one schema with all that it refers to: a table of a thousand columns has as many, and a
/// schema that refers to itself over and over would have more than any memory.
const NODES_MAX: usize = 20_000;
/// Nesting, likewise with what is referred to.
const DEPTH_MAX: u32 = 24;

/// Compiles a schema. The error says what is wrong, without the text.
pub(super) fn compile(text: &str, references: &[(String, String)], zoneless: bool) -> Result<Plan, String> {
    let parse = |text: &str| {
        serde_json::from_str::<Value>(text)
            .map_err(|error| format!("it is not JSON at line {}, column {}", error.line(), error.column()))
    };
    let mut documents = BTreeMap::new();
    for (name, text) in references {
        documents.insert(name.as_str(), parse(text)?);
    }
    let root = parse(text)?;
    let mut reading = Reading { documents: &documents, left: NODES_MAX };
    let schema = reading.schema(&root, &root, DEPTH_MAX)?;
    Plan::of(&schema, text, zoneless).ok_or_else(|| "it is nested too deeply".to_owned())
}

/// The schema's name, by which a Debezium one is known.
pub(super) fn title(text: &str) -> Option<String> {
    let root: Value = serde_json::from_str(text).ok()?;
    Some(root.get("title")?.as_str()?.to_owned())
}

struct Reading<'r> {
    /// Schemas that are referred to, by name.
    documents: &'r BTreeMap<&'r str, Value>,
    left: usize,
}

impl<'r> Reading<'r> {
    /// The Connect schema of a node in the document `root`.
    fn schema(&mut self, node: &'r Value, root: &'r Value, depth: u32) -> Result<Schema, String> {
        self.left = self.left.checked_sub(1).ok_or_else(|| "it is too large".to_owned())?;
        let depth = depth.checked_sub(1).ok_or_else(|| "it is nested too deeply".to_owned())?;
        let Value::Object(members) = node else { return Ok(Schema::default()) };
        if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
            let (node, root) = self.referred(reference, root)?;
            return self.schema(node, root, depth);
        }
        let choices = ["oneOf", "anyOf"].iter().find_map(|name| members.get(*name)?.as_array());
        if let Some(choices) = choices {
            let is_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
            let mut others = choices.iter().filter(|choice| !is_null(choice));
            return match (others.next(), others.next()) {
                (Some(only), None) => self.schema(only, root, depth),
                _ => Ok(Schema::default()),
            };
        }
        let mut schema = Schema { base: base(members).to_owned(), ..Schema::default() };
        schema.name = members.get("title").and_then(Value::as_str).map(str::to_owned);
        if let Some(Value::Object(parameters)) = members.get("connect.parameters") {
            schema.parameters.extend(parameters.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        match schema.base.as_str() {
            "struct" => {
                for (name, node) in members.get("properties").and_then(Value::as_object).into_iter().flatten()
                {
                    let field = self.schema(node, root, depth)?;
                    schema.fields.push(Schema { field: Some(name.clone()), ..field });
                }
            }
            "array" => {
                if let Some(items) = members.get("items") {
                    schema.items = Some(Box::new(self.schema(items, root, depth)?));
                }
            }
            "map" => {
                schema.keys = Some(Box::new(Schema { base: "string".to_owned(), ..Schema::default() }));
                if let Some(values) = members.get("additionalProperties") {
                    schema.values = Some(Box::new(self.schema(values, root, depth)?));
                }
            }
            _ => {}
        }
        Ok(schema)
    }

    /// What a `$ref` points to, and the document that it stands in: `#/definitions/Name`, `name.json`,
    /// `name.json#/definitions/Name`.
    fn referred(&self, reference: &str, root: &'r Value) -> Result<(&'r Value, &'r Value), String> {
        let (name, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let document = if name.is_empty() { Some(root) } else { self.documents.get(name) };
        let node = document.and_then(|document| Some((document.pointer(pointer)?, document)));
        node.ok_or_else(|| format!("it refers to {reference:?}, which is not there"))
    }
}

/// The type as Connect calls it; empty where none is told.
fn base(members: &Map<String, Value>) -> &str {
    if let Some(own) = members.get("connect.type").and_then(Value::as_str) {
        return match own {
            "float32" => "float",
            "float64" => "double",
            own => own,
        };
    }
    let told = match members.get("type") {
        Some(Value::Array(several)) => {
            let mut others = several.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            match (others.next(), others.next()) {
                (only, None) => only,
                _ => None,
            }
        }
        told => told.and_then(Value::as_str),
    };
    match told {
        Some("integer") => "int64",
        Some("number") => "double",
        Some("boolean") => "boolean",
        Some("string") => "string",
        Some("array") => "array",
        Some("object") => "struct",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Kind, Unit};

    /// As Connect's converter registers a row of Debezium's (attributes in its order).
    const ROW: &str = r##"{"type":"object","title":"shop.public.customers.Value","properties":{
        "id":{"type":"integer","connect.index":0,"connect.type":"int32"},
        "balance":{"connect.index":1,"oneOf":[{"type":"null"},{"type":"number","title":"org.apache.kafka.connect.data.Decimal",
            "connect.version":1,"connect.type":"bytes","connect.parameters":{"scale":"2"}}]},
        "placed":{"connect.index":2,"oneOf":[{"type":"null"},{"type":"integer","title":"io.debezium.time.MicroTimestamp","connect.type":"int64"}]},
        "rate":{"type":"number","connect.type":"float32"},
        "tags":{"type":"array","items":{"type":"string"}},
        "home":{"$ref":"#/definitions/Address"},
        "any":{"oneOf":[{"type":"string"},{"type":"integer"}]}},
        "definitions":{"Address":{"type":"object","properties":{"zip":{"type":["null","string"]}}}}}"##;

    #[test]
    fn columns_have_the_kinds_that_connect_gives_them() {
        let plan = compile(ROW, &[], true).unwrap();
        let kinds = [
            ("id", Kind::Int),
            ("balance", Kind::Decimal { scale: Some(2) }),
            ("placed", Kind::Timestamp(Unit::Micros)),
            ("rate", Kind::Double),
            ("tags", Kind::Array(Kind::Text.into())),
            ("home", Kind::Struct([("zip".to_owned(), Kind::Text)].into())),
            ("any", Kind::Untyped),
            ("unknown", Kind::Untyped),
        ];
        for (name, kind) in kinds {
            assert_eq!(plan.row.kind(0, name), &kind, "{name}");
        }
        assert_eq!(title(ROW).as_deref(), Some("shop.public.customers.Value"));
    }

    #[test]
    fn references_are_followed_and_never_for_ever() {
        let other = ("address.json".to_owned(), r#"{"type":"integer"}"#.to_owned());
        let row = r#"{"type":"object","properties":{"a":{"$ref":"address.json"}}}"#;
        assert_eq!(compile(row, &[other], false).unwrap().row.kind(0, "a"), &Kind::Int);
        assert!(compile(row, &[], false).unwrap_err().contains("address.json"));
        let itself = r##"{"type":"object","properties":{"a":{"$ref":"#"}}}"##;
        assert!(compile(itself, &[], false).unwrap_err().contains("nested"));
        let twice = r##"{"type":"object","properties":{"a":{"$ref":"#"},"b":{"$ref":"#"}}}"##;
        assert!(compile(twice, &[], false).is_err(), "2^24 nodes are not read");
        assert!(compile("{", &[], false).unwrap_err().contains("line 1"));
    }
}
