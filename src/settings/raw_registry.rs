//! `[registry]` as it is written; see [`super::raw`].

use schemars::JsonSchema;
use serde::Deserialize;

use super::raw::{DurationText, Text, Tls};
use super::{defaults, units};

/// The schema registry of records in Avro, in Protobuf, or in JSON with a JSON Schema: Confluent's, or one with its
/// API (Karapace, Apicurio).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Registry {
    /// Where its API is: `http://host:8081`, `https://host/path`, with Apicurio `http://host:8080/apis/ccompat/v7`.
    /// A list is tried in its order.
    #[schemars(required)]
    pub(super) url: Option<Urls>,
    /// The user of basic authentication.
    pub(super) username: Option<Text>,
    /// Its password.
    pub(super) password: Option<Text>,
    /// A bearer token, instead of user and password.
    pub(super) token: Option<Text>,
    /// What to trust, with `https`.
    pub(super) tls: Option<Tls>,
    /// How long one request may take, connection included.
    #[schemars(extend("default" = units::show_duration(defaults::REGISTRY_TIMEOUT)))]
    pub(super) timeout: Option<DurationText>,
    /// Bytes of a schema's id before a record: 4, or Apicurio's 8. Without it, 8 where the first 4 are zero.
    #[schemars(range(min = 4, max = 8))]
    pub(super) id_bytes: Option<u32>,
    /// What Apicurio's 8-byte ids count: "global" (versions of artifacts) or "content".
    #[schemars(extend("default" = "global"))]
    pub(super) apicurio_ids: Option<ApicurioIds>,
}

/// Where the API is.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Urls {
    /// One.
    One(Text),
    /// Several.
    List(Vec<Text>),
}

/// What Apicurio's ids count.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ApicurioIds {
    /// Versions of artifacts.
    Global,
    /// Contents.
    Content,
}
