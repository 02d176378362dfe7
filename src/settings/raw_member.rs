//! `value = { set = … }` and `{ sorted_set = … }` as they are written; see [`super::raw`].

use schemars::JsonSchema;
use serde::Deserialize;

use super::raw_entity::Template;

/// A member of a set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetMember {
    /// The member: a template, as a key is.
    #[schemars(required)]
    pub(super) member: Option<Template>,
}

/// A member of a sorted set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SortedSetMember {
    /// The member: a template, as a key is.
    #[schemars(required)]
    pub(super) member: Option<Template>,
    /// The column of its score: a number, or a date or time as Unix milliseconds.
    #[schemars(required)]
    pub(super) score: Option<String>,
}
