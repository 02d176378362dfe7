//! Holds a document against the JSON Schema of the settings and collects every problem: unknown and missing
//! fields, wrong types, values that are not among those allowed.
//!
//! What comes out is the document as plain JSON, with variables and files filled in and everything wrong
//! left out, so that what is right can be checked further. Reads the keywords that [`super::schema()`] makes
//! and no others; a `pattern` is for editors, since the units' own errors say more.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::alternative::{Alternative, alternatives};
use super::document::Path;
use super::expand::{Environment, expand, without_line_end};
use super::not_built::{advice, not_built};
use super::problem::{Findings, one_of, suggestion};
use super::raw::FILE;

/// A checked document.
pub(super) struct Checked {
    /// Everything that is right, as plain values.
    pub(super) tree: Value,
    /// Texts that a variable or a file has changed: their values are never shown.
    pub(super) filled_in: HashSet<Path>,
    /// Files that texts came from.
    pub(super) files: HashMap<Path, PathBuf>,
}

/// Checks the document of `findings`.
pub(super) fn check(schema: &Value, environment: &dyn Environment, findings: &mut Findings<'_>) -> Checked {
    let root = findings.document().root();
    let mut checker =
        Checker { schema, environment, findings, filled_in: HashSet::new(), files: HashMap::new() };
    let tree = checker.value(root, schema, &Path::default()).unwrap_or_else(|| json!({}));
    Checked { tree, filled_in: checker.filled_in, files: checker.files }
}

struct Checker<'c, 'd> {
    schema: &'c Value,
    environment: &'c dyn Environment,
    findings: &'c mut Findings<'d>,
    filled_in: HashSet<Path>,
    files: HashMap<Path, PathBuf>,
}

impl<'c> Checker<'c, '_> {
    /// The value as JSON; `None` where it is wrong, which is then reported.
    fn value(&mut self, value: &Spanned<DeValue<'_>>, schema: &'c Value, path: &Path) -> Option<Value> {
        let alternatives = self::alternatives(self.schema, schema);
        let kept = match value.get_ref() {
            DeValue::String(text) => self.text(text, &alternatives, path),
            DeValue::Integer(integer) => self.integer(integer, &alternatives, path),
            DeValue::Boolean(switch) => {
                let fits = alternatives.iter().any(|alternative| alternative.is("boolean"));
                if fits { Ok(Some(json!(switch))) } else { Err("true or false") }
            }
            DeValue::Array(elements) => {
                let list = alternatives.iter().find(|alternative| alternative.is("array"));
                match list.map(|list| list.schema) {
                    Some(list) => return self.list(elements.iter(), list, path),
                    None => Err("a list"),
                }
            }
            DeValue::Table(table) => return self.table(table, &alternatives, path),
            DeValue::Float(float) => {
                if alternatives.iter().any(|alternative| alternative.is("number")) {
                    return self.float(float.as_str(), path);
                }
                Err("a number with a point")
            }
            DeValue::Datetime(moment) => {
                let fits = alternatives.iter().any(Alternative::is_constant);
                if fits { Ok(Some(json!(moment.to_string()))) } else { Err("a date or time") }
            }
        };
        match kept {
            Ok(kept) => kept,
            Err(found) => {
                self.misfit(found, &alternatives, path);
                None
            }
        }
    }

    /// Says what was expected instead of what was found.
    fn misfit(&mut self, found: &str, alternatives: &[Alternative<'c>], path: &Path) {
        let expected: BTreeSet<String> = alternatives.iter().map(Alternative::described).collect();
        let expected: Vec<String> = expected.into_iter().collect();
        let message = format!("expected {}, found {found}", expected.join(" or "));
        let items = alternatives.iter().find_map(|alternative| alternative.schema.get("items"));
        let all_tables =
            |items| self::alternatives(self.schema, items).iter().all(|alternative| alternative.is("object"));
        let help = match (items, found) {
            (Some(items), "a table") if all_tables(items) => {
                format!("write [[{}]], with two brackets", path.fields())
            }
            (Some(_), "a text") => "put it in brackets: [\"…\"]".to_owned(),
            (None, "a table") if path.fields().starts_with("kafka.properties") => {
                "a property's name has dots: put it in quotes, as in \"security.protocol\" = …".to_owned()
            }
            _ => return self.findings.refuse(path, message),
        };
        self.findings.refuse_with(path, message, help);
    }

    fn text(
        &mut self,
        text: &str,
        alternatives: &[Alternative<'c>],
        path: &Path,
    ) -> Result<Option<Value>, &'static str> {
        let texts: Vec<_> = alternatives.iter().filter(|alternative| alternative.is("string")).collect();
        if texts.is_empty() {
            return Err("a text");
        }
        let language = texts.iter().any(|text| text.is_language());
        let filled = if language { Ok(text.to_owned()) } else { expand(text, self.environment) };
        let filled = match filled {
            Ok(filled) => filled,
            Err(errors) => {
                for (at, message) in errors {
                    self.findings.refuse_inside(path, at, message);
                }
                return Ok(None);
            }
        };
        if filled != text {
            self.filled_in.insert(path.clone());
        }
        let mut allowed = Vec::new();
        for text in &texts {
            match text.allowed() {
                Some(texts) => allowed.extend(texts),
                None => return Ok(self.free_text(filled, text, path)),
            }
        }
        if allowed.contains(&filled.as_str()) {
            return Ok(Some(json!(filled)));
        }
        let tables = alternatives.iter().filter(|alternative| alternative.is("object"));
        let mut choices = one_of(allowed.iter().copied());
        tables.for_each(|table| choices.push_str(&format!(", or {}", table.described())));
        if let Some(what) = not_built(&path.fields(), &filled) {
            let help = format!("this version has {choices}");
            self.findings.refuse_with(path, format!("{filled:?} is not built yet ({what})"), help);
        } else {
            let shown = if filled == text { format!("{filled:?}") } else { "the value".to_owned() };
            let message = format!("{shown} is not {choices}");
            let alike = suggestion(&filled, allowed).map(|name| format!("did you mean {name:?}?"));
            match advice(&path.fields(), &filled).map(str::to_owned).or(alike) {
                Some(help) => self.findings.refuse_with(path, message, help),
                None => self.findings.refuse(path, message),
            }
        }
        Ok(None)
    }

    /// A text that may be anything, but for the lengths that the schema bounds.
    fn free_text(&mut self, text: String, schema: &Alternative<'c>, path: &Path) -> Option<Value> {
        if text.is_empty() && schema.schema.get("minLength").is_some() {
            self.findings.refuse(path, "is empty");
            return None;
        }
        Some(json!(text))
    }

    fn integer(
        &mut self,
        integer: &DeInteger<'_>,
        alternatives: &[Alternative<'c>],
        path: &Path,
    ) -> Result<Option<Value>, &'static str> {
        let Some(schema) = alternatives.iter().find(|alternative| alternative.is("integer")) else {
            return Err("a whole number");
        };
        let bound = |name: &str| schema.schema.get(name).and_then(Value::as_i64);
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let least = bound("minimum").unwrap_or(i64::MIN);
        let most = bound("maximum").unwrap_or(i64::MAX);
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(json!(number))),
            None => {
                self.findings
                    .refuse(path, format!("is out of bounds: write a whole number from {least} to {most}"));
                Ok(None)
            }
        }
    }

    fn float(&mut self, text: &str, path: &Path) -> Option<Value> {
        let number = text.parse().ok().and_then(serde_json::Number::from_f64);
        if number.is_none() {
            self.findings.refuse(path, "is no number of JSON");
        }
        number.map(Value::Number)
    }

    fn list<'v, 't: 'v>(
        &mut self,
        elements: impl Iterator<Item = &'v Spanned<DeValue<'t>>>,
        schema: &'c Value,
        path: &Path,
    ) -> Option<Value> {
        let items = schema.get("items")?;
        let mut kept = Vec::new();
        let mut count = 0;
        for (index, element) in elements.enumerate() {
            count += 1;
            kept.extend(self.value(element, items, &path.index(index)));
        }
        if count == 0 && schema.get("minItems").is_some() {
            self.findings.refuse(path, "is an empty list");
            return None;
        }
        // A list without one of its elements would be read as another list, and its positions would be off.
        (kept.len() == count).then_some(Value::Array(kept))
    }

    fn table(&mut self, table: &DeTable<'_>, alternatives: &[Alternative<'c>], path: &Path) -> Option<Value> {
        let tables: Vec<_> = alternatives.iter().filter(|alternative| alternative.is("object")).collect();
        if tables.is_empty() {
            self.misfit("a table", alternatives, path);
            return None;
        }
        if let ([only], [_]) = (tables.as_slice(), alternatives) {
            return Some(self.fields(table, only, &[], path).0);
        }
        let matching = |alternative: &&&Alternative<'c>| {
            let properties = alternative.properties();
            table
                .keys()
                .filter(|key| properties.is_some_and(|all| all.contains_key(key.get_ref().as_ref())))
                .count()
        };
        // The first of those with the most fields in common: the order of the schema is the order of the docs.
        let best = tables.iter().rev().max_by_key(matching)?;
        if matching(&best) > 0 {
            if best.name == Some(FILE) {
                return self.file(table, best, path);
            }
            // One of several: with something wrong in it, it may have been meant as another.
            let (fields, whole) = self.fields(table, best, &tables, path);
            return whole.then_some(fields);
        }
        self.no_match(table, &tables, alternatives, path);
        None
    }

    /// A table that has no field of any that it could be.
    fn no_match(
        &mut self,
        table: &DeTable<'_>,
        tables: &[&Alternative<'c>],
        alternatives: &[Alternative<'c>],
        path: &Path,
    ) {
        let names = || tables.iter().filter_map(|table| table.properties()).flat_map(Map::keys);
        let mut reported = false;
        for key in table.keys().map(|key| key.get_ref().as_ref()) {
            let (message, help) = if let Some(what) = not_built(&path.fields(), key) {
                (format!("not built yet: {what}"), None)
            } else if let Some(alike) = suggestion(key, names().map(String::as_str)) {
                (format!("unknown field {key:?}"), Some(format!("did you mean {alike:?}?")))
            } else {
                continue;
            };
            reported = true;
            self.findings.refuse_field(&path.key(key), message, help);
        }
        if !reported {
            self.misfit("a table", alternatives, path);
        }
    }

    /// A table's fields; and whether all of them were right. `others` are what it could have been as well.
    fn fields(
        &mut self,
        table: &DeTable<'_>,
        schema: &Alternative<'c>,
        others: &[&Alternative<'c>],
        path: &Path,
    ) -> (Value, bool) {
        let mut kept = Map::new();
        let mut whole = true;
        let any_name = schema.schema.get("additionalProperties").filter(|schema| schema.is_object());
        for (key, value) in table {
            let name: &str = key.get_ref();
            let field = schema.properties().and_then(|all| all.get(name)).or(any_name);
            let value = match field {
                Some(field) => self.value(value, field, &path.key(name)),
                None => {
                    self.unknown(name, schema, others, path);
                    None
                }
            };
            match value {
                Some(value) => {
                    kept.insert(name.to_owned(), value);
                }
                None => whole = false,
            }
        }
        let required = schema.schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str).filter(|name| table.get(*name).is_none()) {
            whole = false;
            let described = schema.properties().and_then(|all| all.get(name)?.get("description")?.as_str());
            let message = format!("{name:?} is missing");
            match described {
                Some(described) => self.findings.refuse_with(path, message, first_sentence(described)),
                None => self.findings.refuse(path, message),
            }
        }
        (Value::Object(kept), whole)
    }

    fn unknown(&mut self, name: &str, schema: &Alternative<'c>, others: &[&Alternative<'c>], path: &Path) {
        let at = path.key(name);
        let elsewhere =
            |other: &&Alternative<'c>| other.properties().is_some_and(|all| all.contains_key(name));
        if others.iter().any(elsewhere) {
            let fields: Vec<&str> =
                schema.properties().into_iter().flat_map(Map::keys).map(String::as_str).collect();
            let message = format!("does not go together with {}", fields.join(", "));
            self.findings.refuse_field(&at, message, None);
            return;
        }
        if let Some(what) = not_built(&path.fields(), name) {
            self.findings.refuse_field(&at, format!("not built yet: {what}"), None);
            return;
        }
        let names = || schema.properties().into_iter().flat_map(Map::keys).map(String::as_str);
        let help = match (advice(&path.fields(), name), suggestion(name, names())) {
            (Some(advice), _) => advice.to_owned(),
            (None, Some(alike)) => format!("did you mean {alike:?}?"),
            (None, None) => format!("the fields here are {}", names().collect::<Vec<_>>().join(", ")),
        };
        self.findings.refuse_field(&at, format!("unknown field {name:?}"), Some(help));
    }

    /// `{ file = "path" }`: the content of that file.
    fn file(&mut self, table: &DeTable<'_>, schema: &Alternative<'c>, path: &Path) -> Option<Value> {
        let (fields, whole) = self.fields(table, schema, &[], path);
        let name = fields.get("file").and_then(Value::as_str).filter(|_| whole)?;
        self.filled_in.insert(path.clone());
        let file = std::path::Path::new(name);
        match self.environment.read(file) {
            Ok(text) => {
                self.files.insert(path.clone(), self.environment.locate(file));
                Some(json!(without_line_end(&text)))
            }
            Err(error) => {
                let at = path.key("file");
                let shown =
                    if self.filled_in.contains(&at) { "the file".to_owned() } else { format!("{name:?}") };
                self.findings.refuse(&at, format!("{shown} cannot be read: {}", reason(&error)));
                None
            }
        }
    }
}

/// Why a file cannot be read, without its name.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        std::io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        kind => kind.to_string(),
    }
}

fn first_sentence(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.split_inclusive(". ").next().unwrap_or_default().trim_end().to_owned()
}
