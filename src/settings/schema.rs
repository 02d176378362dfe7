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
    tidy(&mut schema);
    schema
}

/// Takes the nulls out (TOML has none: a field that may be left out is not one that may be null) and the line
/// breaks of the doc comments.
fn tidy(schema: &mut Value) {
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
            if let Some(Value::String(description)) = members.get_mut("description") {
                *description = description.replace('\n', " ");
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(elements) => elements.iter_mut().for_each(tidy),
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
        // The one value of that name that a setting may have is a text.
        let types = text.replace("\"const\":\"null\"", "").replace("[\"omit\",\"null\",", "");
        assert!(!types.contains("\"null\""));
        let mut fields = 0;
        each_object(&schema, &mut |object| {
            for (name, field) in object["properties"].as_object().into_iter().flatten() {
                fields += 1;
                // A variant's only field is described by the variant.
                let described = field["description"].is_string() || object["description"].is_string();
                assert!(described, "{name} has no description: {field}");
            }
        });
        assert!(fields > 60, "{fields}");
    }

    const EXAMPLE: &str = include_str!("../../examples/stoker.toml");

    #[test]
    fn the_example_shows_every_field_and_the_defaults() {
        // What the example sets to something else, to show it.
        const SHOWN_OTHERWISE: [&str; 2] = ["replica_identity", "from"];
        each_object(&schema(), &mut |object| {
            for (name, field) in object["properties"].as_object().into_iter().flatten() {
                let header = EXAMPLE.contains(&format!("[{name}]")) || EXAMPLE.contains(&format!(".{name}]"));
                assert!(header || EXAMPLE.contains(&format!("{name} = ")), "{name}");
                if let (Some(default), false) =
                    (field.get("default"), SHOWN_OTHERWISE.contains(&name.as_str()))
                {
                    let shown = EXAMPLE.contains(&format!("{name} = {default}"));
                    assert!(shown, "{name} = {default}");
                }
            }
        });
    }

    fn each_object(value: &Value, visit: &mut impl FnMut(&Value)) {
        match value {
            Value::Object(members) => {
                // A map of fields is no schema, whatever the fields are called.
                if value["type"] == "object" {
                    visit(value);
                }
                members.values().for_each(|member| each_object(member, visit));
            }
            Value::Array(elements) => elements.iter().for_each(|element| each_object(element, visit)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn the_schema_alone_tells_the_example_from_wrong_files() {
        let schema = schema();
        let accepts_text = |text: &str| {
            let value: Value = toml::from_str(text).unwrap();
            accepts(&schema, &schema, &value)
        };
        assert!(accepts_text(EXAMPLE));
        for (right, wrong) in [
            ("group = ", "gruop = "),
            ("drain = \"10s\"", "drain = \"10 s\""),
            ("drain = \"10s\"", "drain = 10"),
            ("value = \"hash\"", "value = \"set\""),
            ("value = \"hash\"", "value = {}"),
            ("{ text = \"{id}\" }", "{ text = \"{id}\", json = [\"id\"] }"),
            ("topics = [\"shop.public.orders\"]", "topics = [\"o\"]\nformat = \"protobuf\""),
            ("topics = [\"shop.public.orders\"]", "topics = [\"o\", 5]"),
            ("batch_records = 4096", "batch_records = \"4096\""),
            ("name = \"order\"", "table = \"orders\""),
        ] {
            assert!(EXAMPLE.contains(right), "{right}");
            assert!(!accepts_text(&EXAMPLE.replacen(right, wrong, 1)), "{wrong}");
        }
    }

    /// What an editor makes of the keywords that the schema uses.
    fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
        let count = |several: &Value| {
            several.as_array().map(|all| all.iter().filter(|one| accepts(root, one, value)).count())
        };
        let typed = match schema["type"].as_str() {
            None => true,
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            Some(other) => panic!("a type that the settings do not have: {other}"),
        };
        let reference =
            schema["$ref"].as_str().map(|name| &root["$defs"][name.trim_start_matches("#/$defs/")]);
        let pattern = schema["pattern"].as_str().map(|pattern| regex::Regex::new(pattern).unwrap());
        let known = |name: &str| schema["properties"].get(name).or(schema.get("additionalProperties"));
        let required = schema["required"].as_array().into_iter().flatten();
        typed
            && reference.is_none_or(|schema| accepts(root, schema, value))
            && count(&schema["anyOf"]).is_none_or(|count| count > 0)
            && count(&schema["oneOf"]).is_none_or(|count| count == 1)
            && schema.get("const").is_none_or(|only| only == value)
            && schema["enum"].as_array().is_none_or(|choices| choices.contains(value))
            && pattern.is_none_or(|pattern| value.as_str().is_some_and(|text| pattern.is_match(text)))
            && value.as_array().is_none_or(|all| all.iter().all(|one| accepts(root, &schema["items"], one)))
            && value.as_object().is_none_or(|members| {
                required.clone().all(|name| members.contains_key(name.as_str().unwrap()))
                    && members.iter().all(|(name, member)| match known(name) {
                        Some(Value::Bool(allowed)) => *allowed,
                        Some(schema) => accepts(root, schema, member),
                        None => true,
                    })
            })
    }
}
