//! What the key templates of all entities mean for each other, and for Stoker's own keys.

use super::Context;
use super::entity::{Draft, DraftHandler};
use super::write::DraftWrite;
use crate::entity::ambiguity::{Ambiguity, ambiguity};
use crate::entity::template::Template;
use crate::types::Kind;

/// Refuses templates that certainly give one key, warns of those that can, and refuses those that reach into
/// Stoker's own keys.
pub(super) fn check(entities: &[Draft], own_prefix: &str, context: &mut Context<'_, '_>) {
    let mut templates = Vec::new();
    for entity in entities {
        let DraftHandler::Mapping { writes, .. } = &entity.handler else { continue };
        for write in writes {
            if let Some(key) = &write.key {
                own_keys(key, write, entity, own_prefix, context);
                templates.push((key, write, entity));
            }
        }
    }
    for (index, (key, write, _)) in templates.iter().enumerate() {
        for (earlier_key, earlier, earlier_entity) in templates.iter().take(index) {
            if write.shared && earlier.shared || begin_apart(earlier_key, key) {
                continue;
            }
            let place = || {
                let span = context.findings.document().span(&earlier.key_path);
                let text = context.findings.document().text.get(..span.start).unwrap_or_default();
                let line = text.matches('\n').count().saturating_add(1);
                format!("{:?} of entity {:?} (line {line})", earlier_key.as_str(), earlier_entity.name)
            };
            match ambiguity(earlier_key, key) {
                Ambiguity::None => {}
                Ambiguity::Certain => {
                    let message = format!("gives the same keys as {}", place());
                    let help = "make the keys different; or, where that is meant, say shared = true on both: the \
                                version guard then keeps the newer value";
                    context.findings.refuse_with(&write.key_path, message, help);
                    // One of a group of equal keys is enough to name.
                    break;
                }
                Ambiguity::Possible(example) => {
                    let message = format!("can give the same key as {}: {example:?}, for example", place());
                    let help = "where a column can hold such a text, make the keys different, or say shared = true on both";
                    context.findings.warn(&write.key_path, message, Some(help.to_owned()));
                }
            }
        }
        let constant = key.literal_skeleton().all(|literal| literal.is_some());
        if constant && !write.shared && !write.invalidates() {
            let message = "names no column: every row writes this one key";
            context.findings.warn(&write.key_path, message, None);
        }
    }
}

/// True where the literals before the first columns tell the keys apart. All pairs are compared, and this keeps
/// the search for a common key to those that are alike.
fn begin_apart(a: &Template, b: &Template) -> bool {
    let (a, b) = (literal_start(a), literal_start(b));
    !a.starts_with(b) && !b.starts_with(a)
}

fn literal_start(template: &Template) -> &str {
    template.literal_skeleton().next().flatten().unwrap_or_default()
}

/// A value written over an owner record or a watermark would undo the fencing.
fn own_keys(
    key: &Template,
    write: &DraftWrite,
    entity: &Draft,
    own_prefix: &str,
    context: &mut Context<'_, '_>,
) {
    let Ok(own) = Template::parse(&format!("{own_prefix}{{rest}}")) else { return };
    let example = match ambiguity(key, &own) {
        Ambiguity::None => return,
        Ambiguity::Certain => format!("{own_prefix}…"),
        Ambiguity::Possible(_) if begins_with_number(key, entity) && !may_begin_number(own_prefix) => return,
        Ambiguity::Possible(example) => example,
    };
    let message = format!(
        "can give {example:?}: keys that begin with redis.own_prefix ({own_prefix:?}) are Stoker's own"
    );
    let help = "begin the key with a text of its own, as in \"customer:{id}\"; or declare its first column as a \
                number: columns = { id = \"int\" }";
    context.findings.refuse_with(&write.key_path, message, help);
}

/// True where the key begins with a column that the settings declare as a whole number.
fn begins_with_number(key: &Template, entity: &Draft) -> bool {
    let first = key.as_str().strip_prefix('{').filter(|rest| !rest.starts_with('{'));
    let name = first.and_then(|rest| rest.split(['|', '}']).next());
    let kind = name.and_then(|name| entity.columns.iter().find(|(column, _)| column == name));
    matches!(kind, Some((_, Kind::Int | Kind::Uint)))
}

fn may_begin_number(prefix: &str) -> bool {
    prefix.starts_with(|first: char| first.is_ascii_digit() || first == '-')
}
