//! `unavailable`: what becomes of a value that an update holds only in part.

use super::Context;
use super::entity::Draft;
use crate::entity::Absent;
use crate::entity::spec::Unavailable;
use crate::patch::Others;
use crate::settings::document::Path;
use crate::settings::raw_entity::{
    Column, Encoding, Entity as RawEntity, Unavailable as RawUnavailable, Value, ValueName, ValueOf, Write,
};
use crate::settings::{KafkaSettings, Start};

/// `unavailable` of an entity. Merging is refused where a value is not made of fields that can be told apart.
pub(super) fn unavailable(
    raw: &RawEntity,
    absent: Absent,
    path: &Path,
    context: &mut Context<'_, '_>,
) -> Unavailable {
    match raw.unavailable {
        None | Some(RawUnavailable::Delete) => return Unavailable::Delete,
        Some(RawUnavailable::Merge) => {}
    }
    if raw.handler.is_some() {
        let message = "is a part of the declarative entities: a handler in Rust decides itself";
        context.findings.refuse_field(&path.key("unavailable"), message, None);
    }
    for (index, write) in raw.write.iter().flatten().enumerate() {
        mergeable(write, &path.key("write").index(index), context);
    }
    Unavailable::Merge(if absent == Absent::Unavailable { Others::Kept } else { Others::Dropped })
}

fn mergeable(raw: &Write, path: &Path, context: &mut Context<'_, '_>) {
    const HELP: &str =
        "leave out unavailable = \"merge\", or put this key into an entity of its own over the same topics";
    let in_one_piece = match &raw.value {
        None | Some(Value::Name(ValueName::Json | ValueName::Hash | ValueName::Invalidate)) => None,
        // Members are written or removed as a whole: there is nothing to merge.
        Some(Value::Of(ValueOf::Hash(_) | ValueOf::Set(_) | ValueOf::SortedSet(_))) => None,
        Some(Value::Of(ValueOf::Json(columns))) => {
            columns.iter().any(is_more_than_a_column).then_some("JSON of more than columns")
        }
        Some(Value::Of(ValueOf::Text(_) | ValueOf::Template(_))) => Some("a text"),
        Some(Value::Of(ValueOf::Bytes(_))) => Some("one column's bytes"),
    };
    if let Some(what) = in_one_piece {
        let message = format!(
            "{what} cannot be merged with what is cached: unavailable = \"merge\" is for JSON and hashes of columns"
        );
        context.findings.refuse_with(&path.key("value"), message, HELP);
    }
    let packed =
        [("encoding", matches!(raw.encoding, Some(Encoding::Msgpack))), ("compress", raw.compress.is_some())];
    for (name, _) in packed.into_iter().filter(|(_, says)| *says) {
        let message = "a packed value cannot be merged with what is cached (unavailable = \"merge\")";
        context.findings.refuse_field(&path.key(name), message, Some(HELP.to_owned()));
    }
}

fn is_more_than_a_column(column: &Column) -> bool {
    match column {
        Column::Same(_) => false,
        Column::Renamed(renamed) => {
            renamed.value.is_some() || renamed.json.is_some() || renamed.parse.is_some()
        }
    }
}

/// Under `start = "latest"` what is cached may be older than anything that the group has read: nothing of it is
/// kept.
pub(super) fn check_start(kafka: &KafkaSettings, drafts: &mut [Draft], context: &mut Context<'_, '_>) {
    if kafka.start != Start::Latest {
        return;
    }
    for draft in drafts.iter_mut().filter(|draft| draft.unavailable != Unavailable::Delete) {
        draft.unavailable = Unavailable::Delete;
        let message = "counts as \"delete\" under kafka.start = \"latest\": what is cached may be older than anything \
                       that the group has read";
        context.findings.warn(&draft.path.key("unavailable"), message, None);
    }
}
