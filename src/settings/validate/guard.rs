//! `guard` of an `[[entity]]`: by what its keys are guarded, and what that cannot order.

use super::Context;
use super::entity::{Draft, DraftHandler};
use crate::decode::Format;
use crate::entity::{GuardBy, GuardRule};
use crate::settings::document::Path;
use crate::settings::raw_guard::{By, ByColumn, ByName, Guard, Names};
use crate::types::may_order;

/// The rule that a section says.
pub(super) fn guard(raw: &Guard, path: &Path, context: &mut Context<'_, '_>) -> Option<GuardRule> {
    let by_path = path.key("by");
    let by = match raw.by.as_ref()? {
        By::Name(ByName::Source) => GuardBy::Source,
        By::Name(ByName::Offset) => GuardBy::Offset,
        By::Column(ByColumn { column }) => {
            let path = by_path.key("column");
            let names = match column.as_ref()? {
                Names::One(name) => vec![context.filled(Some(name), &path)?.to_owned()],
                Names::Several(names) if names.is_empty() => {
                    context.findings.refuse(&path, "names no column");
                    return None;
                }
                Names::Several(names) => super::entity::names(Some(names), &path, context)?,
            };
            GuardBy::Columns(names)
        }
    };
    Some(GuardRule { by, epoch: raw.epoch.unwrap_or(0) })
}

/// Refuses what a guard could never do.
pub(super) fn check(entities: &[Draft], context: &mut Context<'_, '_>) {
    for entity in entities {
        let Some(rule) = &entity.guard else { continue };
        let path = entity.path.key("guard").key("by");
        match &rule.by {
            GuardBy::Source if entity.format == Format::Rows => {
                let message = "plain rows have no source position: none of them would be newer than another";
                let help = "guard by \"offset\", or by a column that rises: { column = \"updated_at\" }";
                context.findings.refuse_with(&path, message, help);
            }
            GuardBy::Source => {}
            GuardBy::Offset => check_shared(entity, &path, context),
            GuardBy::Columns(names) => {
                for (name, kind) in &entity.columns {
                    if names.contains(name) && !may_order(kind) {
                        let message = format!(
                            "{name:?} is declared as a type without an order: a version is a number, a date or \
                             time, or bytes"
                        );
                        context.findings.refuse(&path.key("column"), message);
                    }
                }
            }
        }
    }
}

fn check_shared(entity: &Draft, path: &Path, context: &mut Context<'_, '_>) {
    let shares = match &entity.handler {
        DraftHandler::Missing => false,
        DraftHandler::Rust(handler) => handler.keys().iter().any(|key| key.is_shared()),
        DraftHandler::Mapping { writes, .. } => writes.iter().any(|write| write.shared),
    };
    if shares {
        let message =
            "offsets of two topics or partitions do not compare, and a key of this entity is shared";
        let help = "guard by \"source\" or by a column, or make the keys different";
        context.findings.refuse_with(path, message, help);
    }
}
