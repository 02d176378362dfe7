//! The captures under `tests/fixtures`, `tests/fixtures-binlog` and `tests/fixtures-kconnect`, and what the core makes of them.

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

/// A folder of captures with the settings that they are explained under.
pub(crate) struct Captures {
    folder: &'static str,
    schemas: &'static str,
}

/// Those of PostgreSQL, and those that no system wrote.
pub(crate) const POSTGRES: Captures =
    Captures { folder: "tests/fixtures", schemas: "debezium-3.7-postgres-15/schemas.json" };

/// Those of systems that follow MariaDB's binlog.
pub(crate) const BINLOG: Captures =
    Captures { folder: "tests/fixtures-binlog", schemas: "debezium-3.5-mariadb-10.11/schemas.json" };

/// Those of the same MariaDB through Apicurio's converter of JSON.
pub(crate) const KCONNECT: Captures = Captures { folder: "tests/fixtures-kconnect", schemas: "schemas.json" };

impl Captures {
    /// Where they are.
    pub(crate) fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.folder)
    }

    /// The entities that they are explained under.
    pub(crate) fn entities(&self) -> Arc<[Entity]> {
        settings::load(&self.folder().join("stoker.toml"), &Handlers::new()).unwrap().settings.entities
    }

    /// Every file of records.
    pub(crate) fn all(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder()];
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
    pub(crate) fn schemas(&self) -> SchemaSource {
        SchemaSource::file(&self.folder().join(self.schemas)).unwrap()
    }

    /// The arguments of `stoker test` for the whole folder.
    pub(crate) fn test_arguments(&self) -> [String; 6] {
        let Captures { folder, schemas } = self;
        ["test", "-c", &format!("{folder}/stoker.toml"), "--schemas", &format!("{folder}/{schemas}"), folder]
            .map(str::to_owned)
    }

    /// What `stoker explain` prints for a file of records.
    pub(crate) fn explained(&self, entities: &Arc<[Entity]>, path: &Path) -> String {
        let schemas = self.schemas();
        let mut pipeline = schemas.known_to(Pipeline::new(Arc::clone(entities)));
        let mut out = Vec::new();
        explain::explain_records(&mut pipeline, &schemas, explain::open(path).unwrap(), None, &mut out)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Every value that each key was written with, byte for byte, in the order of its partition.
    pub(crate) fn writes(&self, entities: &Arc<[Entity]>, path: &Path) -> BTreeMap<String, Vec<String>> {
        let mut writes = BTreeMap::<_, Vec<_>>::new();
        for line in self.explained(entities, path).lines() {
            let line: Line = serde_json::from_str(line).unwrap();
            for shown in line.mutations.into_iter().filter(|shown| shown.op == "write") {
                let value = shown.value.map(|value| value.get().to_owned()).unwrap_or_default();
                writes.entry(shown.key).or_default().push(value);
            }
        }
        writes
    }
}

/// The records of one captured table of PostgreSQL.
pub(crate) fn table(variant: &str, table: &str) -> PathBuf {
    let file = format!("debezium-3.7-postgres-15/{variant}/{variant}.public.{table}.records.ndjson");
    POSTGRES.folder().join(file)
}

/// [`Captures::entities`] of PostgreSQL's.
pub(crate) fn entities() -> Arc<[Entity]> {
    POSTGRES.entities()
}

/// [`Captures::all`] of PostgreSQL's.
pub(crate) fn all() -> Vec<PathBuf> {
    POSTGRES.all()
}

/// [`Captures::schemas`] of PostgreSQL's.
pub(crate) fn schemas() -> SchemaSource {
    POSTGRES.schemas()
}

/// [`Captures::explained`] of PostgreSQL's.
pub(crate) fn explained(entities: &Arc<[Entity]>, path: &Path) -> String {
    POSTGRES.explained(entities, path)
}

/// [`Captures::writes`] of PostgreSQL's.
pub(crate) fn writes(entities: &Arc<[Entity]>, path: &Path) -> BTreeMap<String, Vec<String>> {
    POSTGRES.writes(entities, path)
}

/// Values with one spelling of doubles and of escapes in text: JSON keeps the event's (`1.0E10`, `\uD83E\uDD80`),
/// Avro has none.
pub(crate) fn respelt(writes: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let java =
        regex::Regex::new(r"-?[0-9]+\.[0-9]+E-?[0-9]+|\\u[dD][0-9a-fA-F]{3}\\u[dD][0-9a-fA-F]{3}").unwrap();
    let respell = |text: &str| {
        java.replace_all(text, |found: &regex::Captures<'_>| match found[0].parse::<f64>() {
            Ok(double) => serde_json::to_string(&double).unwrap(),
            Err(_) => serde_json::from_str::<String>(&format!("\"{}\"", &found[0])).unwrap(),
        })
        .into_owned()
    };
    let respell_all = |values: Vec<String>| values.iter().map(|value| respell(value)).collect();
    writes.into_iter().map(|(key, values)| (key, respell_all(values))).collect()
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
    pub(crate) guard: Option<String>,
}
