//! What a place of the JSON Schema allows.

use serde_json::{Map, Value};

use super::problem::one_of;
use super::raw::LANGUAGES;

/// One of the schemas that a value may satisfy, without references and alternatives.
pub(super) struct Alternative<'c> {
    /// Its keywords.
    pub(super) schema: &'c Value,
    /// The name under which it was referred to.
    pub(super) name: Option<&'c str>,
}

impl<'c> Alternative<'c> {
    /// True for a schema of that JSON type.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.schema.get("type").is_some_and(|name| name == kind)
    }

    /// True for a text in a language of its own, where a dollar is a dollar.
    pub(super) fn is_language(&self) -> bool {
        let format = self.schema.get("format").and_then(Value::as_str);
        format.is_some_and(|format| LANGUAGES.contains(&format))
    }

    /// True for a value that is passed on as it stands.
    pub(super) fn is_constant(&self) -> bool {
        self.schema.get("format").is_some_and(|format| format == "constant")
    }

    /// The fields of a table.
    pub(super) fn properties(&self) -> Option<&'c Map<String, Value>> {
        self.schema.get("properties")?.as_object()
    }

    /// The texts that it allows; `None` where it allows any.
    pub(super) fn allowed(&self) -> Option<Vec<&'c str>> {
        if let Some(only) = self.schema.get("const") {
            return Some(only.as_str().into_iter().collect());
        }
        let choices = self.schema.get("enum")?.as_array()?;
        Some(choices.iter().filter_map(Value::as_str).collect())
    }

    /// What it wants, in words.
    pub(super) fn described(&self) -> String {
        match self.schema.get("type").and_then(Value::as_str) {
            Some("string") => match self.allowed() {
                Some(texts) => one_of(texts),
                None => "a text".to_owned(),
            },
            Some("integer") => "a whole number".to_owned(),
            Some("number") => "a number".to_owned(),
            Some("boolean") => "true or false".to_owned(),
            Some("array") => "a list".to_owned(),
            _ => match self.properties() {
                Some(properties) if properties.len() == 1 => {
                    format!("{{ {} = … }}", properties.keys().next().map_or("", String::as_str))
                }
                _ => "a table".to_owned(),
            },
        }
    }
}

/// All that `schema` allows, references and alternatives resolved. The schema is our own and not recursive.
pub(super) fn alternatives<'c>(root: &'c Value, schema: &'c Value) -> Vec<Alternative<'c>> {
    let mut found = Vec::new();
    flatten(root, schema, None, &mut found);
    found
}

fn flatten<'c>(root: &'c Value, schema: &'c Value, name: Option<&'c str>, into: &mut Vec<Alternative<'c>>) {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let name = name.trim_start_matches("#/$defs/");
        if let Some(definition) = root.get("$defs").and_then(|all| all.get(name)) {
            flatten(root, definition, Some(name), into);
        }
        return;
    }
    let several = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
    match several {
        Some(several) => several.iter().for_each(|schema| flatten(root, schema, name, into)),
        None => into.push(Alternative { schema, name }),
    }
}
