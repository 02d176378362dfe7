//! The captures under `tests/fixtures`, and what the core makes of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use stoker::cli::explain;
use stoker::cli::schemas::SchemaSource;
use stoker::entity::{Entity, Handlers};
use stoker::pipeline::Pipeline;
use stoker::settings;

/// The entities of the settings without the types that they declare.
pub(crate) fn without_declared_types(entities: &[Entity]) -> Arc<[Entity]> {
    let untyped = |entity: &Entity| Entity { columns: Vec::new(), ..entity.clone() };
    entities.iter().map(untyped).collect()
}

/// Where the captures and their settings are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The entities that the captures are explained under.
pub(crate) fn entities() -> Arc<[Entity]> {
    settings::load(&folder().join("stoker.toml"), &Handlers::new()).unwrap().settings.entities
}

/// The records of one captured table.
pub(crate) fn table(variant: &str, table: &str) -> PathBuf {
    folder().join(format!("debezium-3.7-postgres-15/{variant}/{variant}.public.{table}.records.ndjson"))
}

/// Every file of records.
pub(crate) fn all() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(".records.ndjson") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The registry's schemas of the captures in Avro.
pub(crate) fn schemas() -> SchemaSource {
    SchemaSource::file(&folder().join("debezium-3.7-postgres-15/schemas.json")).unwrap()
}

/// What `stoker explain` prints for a file of records.
pub(crate) fn explained(entities: &Arc<[Entity]>, path: &Path) -> String {
    let schemas = schemas();
    let mut pipeline = schemas.known_to(Pipeline::new(Arc::clone(entities)));
    let mut out = Vec::new();
    explain::explain_records(&mut pipeline, &schemas, explain::open(path).unwrap(), None, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// A line of `stoker explain`, as far as tests look at it.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    #[serde(default)]
    pub(crate) mutations: Vec<Shown>,
}

/// A mutation of such a line.
#[derive(Debug, Deserialize)]
pub(crate) struct Shown {
    pub(crate) op: String,
    pub(crate) key: String,
    pub(crate) value: Option<Box<RawValue>>,
}

/// Every value that each key was written with, byte for byte, in the order of its partition.
pub(crate) fn writes(entities: &Arc<[Entity]>, path: &Path) -> BTreeMap<String, Vec<String>> {
    let mut writes = BTreeMap::<_, Vec<_>>::new();
    for line in explained(entities, path).lines() {
        let line: Line = serde_json::from_str(line).unwrap();
        for shown in line.mutations.into_iter().filter(|shown| shown.op == "write") {
            let value = shown.value.map(|value| value.get().to_owned()).unwrap_or_default();
            writes.entry(shown.key).or_default().push(value);
        }
    }
    writes
}
