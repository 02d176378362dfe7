//! A registry's .proto text with its imports, as descriptors.
//!
//! Only how values are written matters here, so what says other things is left out before it could be wrong:
//! services, extensions, options. With them go imports that nobody has (of options, mostly). Files that Confluent's
//! serializers take for known, and so do not register, are [`super::known`]'s.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, MessageOptions};
use prost_reflect::{DescriptorPool, FileDescriptor};

use super::known;

/// Bytes of a schema with all that it refers to: a thousand tables of a hundred columns.
const TEXT_BYTES_MAX: usize = 8 << 20;
/// What the schema itself is called among its imports. No import can have a colon and a space.
const OWN_NAME: &str = "schema: ";
/// Characters of an error of the parser that are passed on.
const WRONG_CHARS_MAX: usize = 200;

/// Compiles a schema with the files that it imports, by import path. The error says what is wrong and where.
pub(super) fn compile(text: &str, references: &[(String, String)]) -> Result<FileDescriptor, String> {
    let bytes = references.iter().fold(text.len(), |sum, (_, text)| sum.saturating_add(text.len()));
    if bytes > TEXT_BYTES_MAX {
        return Err(format!("it has {bytes} bytes with its imports, and {TEXT_BYTES_MAX} are read"));
    }
    let mut files = BTreeMap::new();
    files.insert(OWN_NAME.to_owned(), parse(OWN_NAME, text).map_err(|wrong| format!("it {wrong}"))?);
    for (name, text) in references {
        let file = parse(name, text).map_err(|wrong| format!("the import {name:?} {wrong}"))?;
        files.insert(name.clone(), file);
    }
    add_known(&mut files)?;
    let names: BTreeSet<String> = files.keys().cloned().collect();
    for file in files.values_mut() {
        keep_shapes(file);
        keep_dependencies(file, |name| names.contains(name));
    }
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_protos(files.into_values()).map_err(|error| short(&error.to_string()))?;
    pool.get_file_by_name(OWN_NAME).ok_or_else(|| "it has no descriptor".to_owned())
}

fn parse(name: &str, text: &str) -> Result<FileDescriptorProto, String> {
    protox_parse::parse(name, text).map_err(|error| {
        let place = error.span().and_then(|span| text.get(..span.start)).map_or(String::new(), |before| {
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            format!(" at line {line}, column {column}")
        });
        format!("is no .proto text{place}: {}", short(&error.to_string()))
    })
}

/// Adds what is imported, known, and not there. Only that: a schema may hold Google's own text itself.
fn add_known(files: &mut BTreeMap<String, FileDescriptorProto>) -> Result<(), String> {
    let google = DescriptorPool::global();
    let mut imported: Vec<String> = files.values().flat_map(|file| file.dependency.clone()).collect();
    while let Some(name) = imported.pop() {
        if files.contains_key(&name) {
            continue;
        }
        let file = match (known::text(&name), google.get_file_by_name(&name)) {
            (Some(text), _) => parse(&name, text)?,
            (None, Some(file)) => file.file_descriptor_proto().clone(),
            (None, None) => continue,
        };
        imported.extend(file.dependency.iter().cloned());
        files.insert(name, file);
    }
    Ok(())
}

fn keep_shapes(file: &mut FileDescriptorProto) {
    file.service.clear();
    file.extension.clear();
    file.options = None;
    file.source_code_info = None;
    file.enum_type.iter_mut().for_each(keep_symbols);
    file.message_type.iter_mut().for_each(keep_fields);
}

/// The parser bounds the nesting, and so the recursion.
fn keep_fields(message: &mut DescriptorProto) {
    message.extension.clear();
    message.extension_range.clear();
    let is_map_entry = message.options.as_ref().and_then(|options| options.map_entry);
    message.options =
        is_map_entry.map(|entry| MessageOptions { map_entry: Some(entry), ..MessageOptions::default() });
    message.field.iter_mut().for_each(|field| field.options = None);
    message.oneof_decl.iter_mut().for_each(|oneof| oneof.options = None);
    message.enum_type.iter_mut().for_each(keep_symbols);
    message.nested_type.iter_mut().for_each(keep_fields);
}

/// Of several symbols of one number, the first one: then no option need allow them.
fn keep_symbols(symbols: &mut EnumDescriptorProto) {
    symbols.options = None;
    symbols.value.iter_mut().for_each(|value| value.options = None);
    let mut seen = BTreeSet::new();
    symbols.value.retain(|value| seen.insert(value.number()));
}

fn keep_dependencies(file: &mut FileDescriptorProto, exists: impl Fn(&str) -> bool) {
    let public: BTreeSet<String> = (file.public_dependency.iter())
        .filter_map(|index| file.dependency.get(usize::try_from(*index).ok()?).cloned())
        .collect();
    file.weak_dependency.clear();
    file.dependency.retain(|name| exists(name));
    let public = file.dependency.iter().enumerate().filter(|(_, name)| public.contains(*name));
    file.public_dependency = public.filter_map(|(index, _)| i32::try_from(index).ok()).collect();
}

fn short(wrong: &str) -> String {
    wrong.lines().next().unwrap_or_default().chars().take(WRONG_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found_known_or_not_needed() {
        let text = r#"syntax = "proto3"; package shop;
            import "common/money.proto"; import "google/type/date.proto"; import "google/protobuf/timestamp.proto";
            import "confluent/meta.proto"; import "validate/of_nobody.proto";
            option (of.nobody) = { deep: { a: 1 } };
            service S { rpc Get(of.nobody.Request) returns (of.nobody.Response); }
            message Order {
              option (confluent.message_meta).doc = "x";
              Money price = 1 [(confluent.field_meta) = { params: [{ key: "connect.type", value: "int8" }] }];
              google.type.Date on = 2; google.protobuf.Timestamp at = 3;
              enum Level { option allow_alias = true; LOW = 0; LEAST = 0; HIGH = 1; }
              Level level = 4;
            }"#;
        let money = r#"syntax = "proto3"; package shop; message Money { int64 units = 1; }"#;
        let references = [("common/money.proto".to_owned(), money.to_owned())];
        let file = compile(text, &references).unwrap();
        let order = file.messages().next().unwrap();
        assert_eq!(order.full_name(), "shop.Order");
        let kinds: Vec<_> = order.fields().map(|field| format!("{:?}", field.kind())).collect();
        assert_eq!(
            kinds,
            ["shop.Money", "google.type.Date", "google.protobuf.Timestamp", "shop.Order.Level"]
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let message = r#"syntax = "proto3"; message M { Nobody n = 1; }"#;
        for (text, references, expected) in [
            ("syntax = \"proto3\";\nmessage M { int32 = 1; }", vec![], "at line 2, column 19"),
            ("message M { optional int32 a = 1; optional int32 a = 2; }", vec![], "'M.a'"),
            (message, vec![], "'Nobody'"),
            (message, vec![("a.proto", "x")], "the import \"a.proto\" is no .proto text at line 1"),
            ("edition = \"2023\";", vec![], "is no .proto text"),
        ] {
            let references: Vec<_> =
                references.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
            let wrong = compile(text, &references).unwrap_err();
            assert!(wrong.contains(expected), "{wrong}");
        }
        let nested = "message M {".repeat(5_000);
        assert!(compile(&nested, &[]).is_err());
        let many = "// x\n".repeat(TEXT_BYTES_MAX / 5 + 1);
        assert!(compile(&many, &[]).unwrap_err().contains("bytes with its imports"));
    }

    #[test]
    fn known_files_are_complete() {
        for (name, _) in known::FILES {
            let text = format!("syntax = \"proto3\"; import {name:?}; message M {{}}");
            let file = compile(&text, &[]).unwrap();
            assert_eq!(file.dependencies().len(), 1, "{name}");
        }
    }
}
