//! Where `explain` and `test` take registry schemas from: a file, or the registry.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::decode::{RegisteredSchema, SchemaId, SchemaKind, SchemaRef, UnknownSchema, Wire, guid_text};
use crate::pipeline::Pipeline;
use crate::record::Record;
use crate::registry::{FetchError, RegistryClient};
use crate::settings::Settings;

/// The option that names a file of schemas.
#[derive(Debug, Clone, clap::Args)]
pub struct SchemasArgs {
    /// Registry schemas from a file instead of from the registry: {"7": {"schema": "…", "schemaType": "AVRO"}}
    #[arg(long, value_name = "FILE")]
    schemas: Option<std::path::PathBuf>,
}

/// Where schemas come from.
#[derive(Debug)]
pub struct SchemaSource {
    wire: Option<Wire>,
    from: Origin,
}

#[derive(Debug)]
enum Origin {
    Nowhere,
    File { place: String, schemas: HashMap<String, RegisteredSchema> },
    Registry { client: Box<RegistryClient>, runtime: Box<tokio::runtime::Runtime> },
}

/// A schema in the file: what the registry answers about it. Its references stand in it by name and text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    schema: String,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<StoredReference>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredReference {
    name: String,
    schema: String,
}

impl SchemaSource {
    /// No schemas: records in a registry's framing are errors.
    pub fn nowhere() -> SchemaSource {
        SchemaSource { wire: None, from: Origin::Nowhere }
    }

    /// Schemas of a file, as `--schemas` names it, under a registry's usual framing.
    pub fn file(path: &Path) -> Result<SchemaSource, String> {
        let schemas = read(path).map_err(|wrong| format!("{}: {wrong}", path.display()))?;
        let from = Origin::File { place: path.display().to_string(), schemas };
        Ok(SchemaSource { wire: Some(Wire::default()), from })
    }

    /// The file that the option names, else the registry of the settings, where there is one. The error says what
    /// is wrong with either.
    pub fn new(args: &SchemasArgs, settings: &Settings) -> Result<SchemaSource, String> {
        let wire = settings.registry.as_ref().map(|registry| registry.wire);
        if let Some(path) = &args.schemas {
            let source = SchemaSource::file(path)?;
            return Ok(SchemaSource { wire: wire.or(source.wire), ..source });
        }
        let Some(registry) = &settings.registry else { return Ok(SchemaSource::nowhere()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
        let client = RegistryClient::new(registry.clone())?;
        Ok(SchemaSource {
            wire,
            from: Origin::Registry { client: Box::new(client), runtime: Box::new(runtime) },
        })
    }

    /// The registry of the settings, where there is one.
    pub fn of(settings: &Settings) -> Result<SchemaSource, String> {
        SchemaSource::new(&SchemasArgs { schemas: None }, settings)
    }

    /// A pipeline over the settings that asks for these schemas.
    pub fn pipeline(&self, settings: &Settings) -> Pipeline {
        let pipeline =
            Pipeline::new(Arc::clone(&settings.entities)).with_value_bytes_max(settings.limits.value_bytes);
        self.known_to(pipeline)
    }

    /// The same pipeline, asking for these schemas.
    pub fn known_to(&self, pipeline: Pipeline) -> Pipeline {
        match self.wire {
            Some(wire) => pipeline.with_registry(wire),
            None => pipeline,
        }
    }

    /// Tells the pipeline the schemas that the record needs. The error is the registry's, not the record's.
    pub fn supply(&self, pipeline: &mut Pipeline, record: &Record<'_>) -> Result<(), FetchError> {
        while let Some(schema) = pipeline.missing_schema(record) {
            let told = self.look_up(&schema)?;
            pipeline.know_schema(schema, told);
        }
        Ok(())
    }

    fn look_up(&self, schema: &SchemaRef) -> Result<Result<RegisteredSchema, UnknownSchema>, FetchError> {
        match &self.from {
            Origin::Nowhere => Ok(Err(UnknownSchema { place: "no registry".to_owned() })),
            Origin::File { place, schemas } => {
                let id = match schema.id {
                    SchemaId::Number(id) => id.to_string(),
                    SchemaId::ApicurioGlobal(id) | SchemaId::ApicurioContent(id) => id.to_string(),
                    SchemaId::Guid(guid) => guid_text(&guid),
                };
                Ok(schemas.get(&id).cloned().ok_or_else(|| UnknownSchema { place: place.clone() }))
            }
            Origin::Registry { client, runtime } => match runtime.block_on(client.fetch(schema)) {
                Ok(schema) => Ok(Ok(schema)),
                Err(FetchError::NotFound(unknown)) => Ok(Err(unknown)),
                Err(world @ FetchError::World { .. }) => Err(world),
            },
        }
    }
}

fn read(path: &Path) -> Result<HashMap<String, RegisteredSchema>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {}", error.kind()))?;
    let stored: HashMap<String, Stored> =
        serde_json::from_str(&text).map_err(|error| format!("no object of schemas by id: {error}"))?;
    stored
        .into_iter()
        .map(|(id, stored)| {
            let kind = match stored.schema_type.as_deref() {
                None | Some("AVRO") => SchemaKind::Avro,
                Some("JSON") => SchemaKind::Json,
                Some("KCONNECT") => SchemaKind::Connect,
                Some("PROTOBUF") => SchemaKind::Protobuf,
                Some(_) => {
                    return Err(format!(
                        "schema {id}: schemaType is none of AVRO, JSON, KCONNECT and PROTOBUF"
                    ));
                }
            };
            let references = stored.references.into_iter().map(|one| (one.name, one.schema)).collect();
            Ok((id, RegisteredSchema { kind, text: stored.schema, references }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_what_the_registry_answers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("schemas.json");
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        let found = of(r#"{"7":{"schema":"\"int\""},"8":{"schema":"x","schemaType":"JSON"}}"#).unwrap();
        assert_eq!((found["7"].kind, found["7"].text.as_str()), (SchemaKind::Avro, "\"int\""));
        assert_eq!(found["8"].kind, SchemaKind::Json);
        for wrong in ["", "[]", r#"{"7":"int"}"#, r#"{"7":{"schema":"x","schemaType":"XML"}}"#, r#"{"7":{}}"#]
        {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
