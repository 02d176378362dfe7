//! `guard` of an `[[entity]]` as it is written; see [`super::raw`].

use schemars::JsonSchema;
use serde::Deserialize;

/// By what all keys of an entity are guarded.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Guard {
    /// What is compared: "source", the source's position; "offset", the record's; or `{ column = "updated_at" }`, a
    /// column of the row that rises with each of its changes (`["updated_at", "seq"]`: several, compared in turn).
    #[schemars(required)]
    pub(super) by: Option<By>,
    /// Compared before it: raise it where what is compared starts again, as positions do after a failover, and
    /// offsets where a topic was made anew or has more partitions.
    #[schemars(extend("default" = 0))]
    pub(super) epoch: Option<u64>,
}

/// What is compared.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum By {
    /// Not of the row.
    Name(ByName),
    /// Of the row.
    Column(ByColumn),
}

/// What is compared, where it is not of the row.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ByName {
    /// The source's position.
    Source,
    /// The record's offset.
    Offset,
}

/// Columns of the row.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ByColumn {
    /// One, or several that are compared in turn.
    #[schemars(required)]
    pub(super) column: Option<Names>,
}

/// One name or several.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Names {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}
