//! What the micro-benchmarks are fed: records in memory, and a pipeline as the settings make it.

use std::io;
use std::path::{Path, PathBuf};

use stoker::decode::{RegisteredSchema, SchemaId, SchemaKind, SchemaRef, Schemas, Side, Wire};
use stoker::entity::Handlers;
use stoker::pipeline::Pipeline;
use stoker::record::{NoHeaders, Record};
use stoker::settings::{self, Environment, Settings};

use super::events::{self, Event, FIRST_ID, Format};

/// Records that are kept in memory, all of different rows: over a MB, more than the caches nearest to a core hold.
pub(crate) const RECORDS: usize = 1024;

const TOPIC: &str = "shop.public.customers";

const SETTINGS: &str = r#"
[kafka]
brokers = "localhost:9092"
group = "bench"
[registry]
url = "http://localhost:8081"
[redis]
url = "redis://localhost:6379/0"
[[entity]]
name = "customer"
topics = ["shop.public.customers"]
key_columns = ["id"]
  [[entity.write]]
  key = "customer:{id}"
  value = "json"
  ttl = "1h"
"#;

/// Records of one format, over and over. Rows differ, offsets rise.
pub(crate) struct Records {
    list: Vec<(Vec<u8>, Vec<u8>)>,
    next: i64,
}

impl Records {
    pub(crate) fn new(format: Format, row_bytes: usize) -> Records {
        let event = |id| Event { id: FIRST_ID + id, version: id, row_bytes };
        let list = (0..RECORDS as u64).map(|id| (event(id).key(format), event(id).value(format))).collect();
        Records { list, next: 0 }
    }

    pub(crate) fn next(&mut self) -> Record<'_> {
        let offset = self.next;
        self.next += 1;
        let (key, value) = &self.list[usize::try_from(offset).unwrap() % RECORDS];
        Record {
            topic: TOPIC,
            partition: 0,
            offset,
            timestamp_ms: Some(1_730_455_020_300),
            key: Some(key),
            value: Some(value),
            headers: &NoHeaders,
        }
    }
}

/// The settings, with an entity whose rows are cached as JSON by id, for an hour.
pub(crate) fn settings() -> Settings {
    settings::parse(SETTINGS, &Nowhere, &Handlers::new()).unwrap().settings
}

/// The pipeline of one entity: rows as JSON by id, for an hour.
pub(crate) fn pipeline() -> Pipeline {
    let mut pipeline = Pipeline::new(settings().entities).with_registry(Wire::default());
    for (schema, told) in registered() {
        pipeline.know_schema(schema, Ok(told));
    }
    pipeline
}

/// What a registry says of the events in Avro.
pub(crate) fn schemas() -> Schemas {
    let mut schemas = Schemas::new(Wire::default());
    for (schema, told) in registered() {
        schemas.know(schema, Ok(told));
    }
    schemas
}

fn registered() -> [(SchemaRef, RegisteredSchema); 2] {
    let schema = |id, side, text: &str| {
        let registered =
            RegisteredSchema { kind: SchemaKind::Avro, text: text.to_owned(), references: Vec::new() };
        (SchemaRef { id: SchemaId::Number(id), side }, registered)
    };
    [
        schema(events::KEY_SCHEMA_ID, Side::Key, events::KEY_SCHEMA),
        schema(events::VALUE_SCHEMA_ID, Side::Value, events::VALUE_SCHEMA),
    ]
}

/// An environment without variables and files.
struct Nowhere;

impl Environment for Nowhere {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
    fn locate(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
    fn read(&self, _path: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn cores(&self) -> usize {
        1
    }
}
