//! What a registry answers, as JSON.

use serde::Deserialize;

use super::WorldFault;
use crate::decode::SchemaKind;

/// The answer about a schema. Registries leave the type out for Avro.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) schema: String,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    pub(super) references: Vec<Reference>,
}

/// A schema that another one refers to.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) subject: String,
    pub(super) version: u32,
}

impl Answer {
    pub(super) fn parse(body: &[u8]) -> Result<Answer, WorldFault> {
        serde_json::from_slice(body).map_err(|_| WorldFault::Protocol)
    }

    pub(super) fn kind(&self) -> Result<SchemaKind, WorldFault> {
        match self.schema_type.as_deref() {
            None | Some("AVRO") => Ok(SchemaKind::Avro),
            Some("JSON") => Ok(SchemaKind::Json),
            Some("PROTOBUF") => Ok(SchemaKind::Protobuf),
            Some("KCONNECT") => Ok(SchemaKind::Connect),
            Some(_) => Err(WorldFault::Protocol),
        }
    }
}

/// The kind of a schema that Apicurio's own API gives without saying it: a .proto text is no JSON, Connect's says whether
/// it is optional, JSON Schema has an object's `properties` or names its dialect, and all else is Avro.
pub(super) fn kind_of(text: &str) -> SchemaKind {
    #[derive(Deserialize)]
    struct Signs {
        optional: Option<bool>,
        properties: Option<serde::de::IgnoredAny>,
        #[serde(rename = "$schema")]
        dialect: Option<serde::de::IgnoredAny>,
    }
    if !text.trim_start().starts_with(['{', '[', '"']) {
        return SchemaKind::Protobuf;
    }
    match serde_json::from_str::<Signs>(text) {
        Ok(Signs { optional: Some(_), .. }) => SchemaKind::Connect,
        Ok(Signs { properties, dialect, .. }) if properties.is_some() || dialect.is_some() => {
            SchemaKind::Json
        }
        _ => SchemaKind::Avro,
    }
}

#[derive(Deserialize)]
struct Refusal {
    error_code: i64,
}

/// True where a 404 is the registry's word about a subject, version or schema (40401, 40402, 40403, and those of
/// soft deletes), and not a server's word about a path.
pub(super) fn is_about_a_schema(body: &[u8]) -> bool {
    serde_json::from_slice::<Refusal>(body)
        .is_ok_and(|refusal| (40_400..40_500).contains(&refusal.error_code))
}

/// True where a 404 of Apicurio's own API is its word.
pub(super) fn has_error_code(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Named {
        name: Option<String>,
        title: Option<String>,
    }
    serde_json::from_slice::<Named>(body).is_ok_and(|named| named.name.is_some() || named.title.is_some())
}

/// How many artifacts a content refers to.
pub(super) fn artifacts(body: &[u8]) -> Result<usize, WorldFault> {
    let list: Vec<serde::de::IgnoredAny> = serde_json::from_slice(body).map_err(|_| WorldFault::Protocol)?;
    Ok(list.len())
}
