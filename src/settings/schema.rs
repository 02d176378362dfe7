//! The JSON Schema of `stoker.toml`, generated from [`super::raw`].
//!
//! `schemas/stoker.schema.json` is this, for editors. A test compares the two; `STOKER_BLESS=1 cargo test
//! --lib settings::schema` writes the file anew.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::Stoker;

/// The JSON Schema of the settings (draft 2020-12). Descriptions and defaults are those of the settings.
pub fn schema() -> Value {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Stoker>();
    let mut schema = schema.to_value();
    without_null(&mut schema);
    schema
}

/// TOML has no null: a field that serde may leave out is not one that may be null.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(alternatives)) = members.get_mut("anyOf") {
                alternatives.retain(|alternative| alternative.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = alternatives.as_slice() {
                    let only = only.clone();
                    members.remove("anyOf");
                    members.extend(only);
                }
            }
            members.values_mut().for_each(without_null);
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/stoker.schema.json");

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a switch of this test, not a setting")]
    fn the_schema_in_the_repository_is_the_generated_one() {
        let generated = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var("STOKER_BLESS").is_ok() {
            std::fs::write(FILE, &generated).unwrap();
        }
        let stored = std::fs::read_to_string(FILE).unwrap_or_default();
        assert!(
            stored == generated,
            "schemas/stoker.schema.json is not what the settings say; write it anew with\n  \
             STOKER_BLESS=1 cargo test --lib settings::schema"
        );
    }

    #[test]
    fn every_field_is_described_and_nothing_may_be_null() {
        let schema = schema();
        let text = schema.to_string();
        assert!(!text.contains("\"null\""));
        let mut fields = 0;
        for definition in schema["$defs"].as_object().unwrap().values().chain([&schema]) {
            for (name, field) in definition["properties"].as_object().into_iter().flatten() {
                fields += 1;
                let variant = definition["required"].as_array().is_some_and(|required| required.len() == 1);
                assert!(variant || field["description"].is_string(), "{name} has no description: {field}");
            }
        }
        assert!(fields > 50, "{fields}");
    }
}
