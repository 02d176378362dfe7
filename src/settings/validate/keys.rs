//! What the key templates of all entities mean for each other, and for Stoker's own keys.

use super::Context;
use super::entity::{Draft, DraftHandler};
use super::write::DraftWrite;
use crate::entity::ambiguity::{Ambiguity, ambiguity};
use crate::entity::hash_tag::{TagDoubt, doubt};
use crate::entity::template::Template;
use crate::entity::{GuardRule, KeyTemplate, Truncate};
use crate::mutation::MemberKind;
use crate::settings::document::Path;
use crate::types::Kind;

/// What a key of Redis holds.
const ONE_KIND: &str = "members of a set, members of a sorted set, or a value, and not two of them";

/// A key of an entity, and where it is named.
struct Key<'d> {
    template: &'d Template,
    /// Of which kind of set its rows are members, and which, where that can be read.
    member: Option<(MemberKind, Option<&'d Template>)>,
    shared: bool,
    invalidates: bool,
    path: Path,
    entity: &'d Draft,
}

/// Refuses templates that certainly give one key, warns of those that can, and refuses those that reach into
/// Stoker's own keys.
pub(super) fn check(entities: &[Draft], own_prefix: &str, context: &mut Context<'_, '_>) {
    let keys: Vec<Key<'_>> = entities.iter().flat_map(keys_of).collect();
    for entity in entities.iter().filter(|entity| entity.truncate == Truncate::Delete) {
        truncated(entity, &keys, context);
    }
    for (index, key) in keys.iter().enumerate() {
        own_keys(key, own_prefix, context);
        hash_tag(key, context);
        let earlier = keys.get(..index).unwrap_or_default();
        let certain = compare(key, earlier, context);
        if key.is_constant() && !certain && !key.shared && !key.invalidates {
            let message = "names no column: every row writes this one key";
            context.findings.warn(&key.path, message, None);
        }
    }
}

/// Refuses to delete all keys of an entity where a scan could not find them by their beginning, or could not tell
/// them from another entity's.
fn truncated(entity: &Draft, keys: &[Key<'_>], context: &mut Context<'_, '_>) {
    let path = entity.path.key("truncate");
    let (own, others): (Vec<_>, Vec<_>) = keys.iter().partition(|key| std::ptr::eq(key.entity, entity));
    for key in own {
        let shown = key.template.as_str();
        if key.template.literal_prefix().is_empty() {
            let message =
                format!("\"delete\" looks for keys by their beginning, and {shown:?} begins with a column");
            let help = "begin the key with a text of its own, as in \"customer:{id}\"";
            context.findings.refuse_with(&path, message, help);
            continue;
        }
        let alike = |other: &&&Key<'_>| {
            !begin_apart(other.template, key.template)
                && ambiguity(other.template, key.template) != Ambiguity::None
        };
        if let Some(other) = others.iter().find(alike) {
            let other = described(other, context);
            let message = format!("\"delete\" would take keys of {other} for those of {shown:?}");
            let help = "begin the keys with texts of their own, or leave the keys to their TTL: truncate = \"ignore\"";
            context.findings.refuse_with(&path, message, help);
        }
    }
}

fn keys_of<'d>(entity: &'d Draft) -> Vec<Key<'d>> {
    match &entity.handler {
        DraftHandler::Missing => Vec::new(),
        DraftHandler::Mapping { writes, .. } => {
            let readable = writes.iter().filter_map(|write| write.key.as_ref().map(|key| (key, write)));
            let key = |(template, write): (_, &'d DraftWrite)| Key {
                template,
                member: write.member.as_ref().map(|(kind, template)| (*kind, template.as_ref())),
                shared: write.shared,
                invalidates: write.invalidates,
                path: write.key_path.clone(),
                entity,
            };
            readable.map(key).collect()
        }
        DraftHandler::Rust(handler) => handler.keys().iter().map(|key| key_of(key, entity)).collect(),
    }
}

fn key_of<'d>(key: &'d KeyTemplate, entity: &'d Draft) -> Key<'d> {
    Key {
        template: key.template(),
        member: key.member().map(|(kind, template)| (kind, Some(template))),
        shared: key.is_shared(),
        invalidates: key.is_invalidated(),
        path: entity.path.key("handler"),
        entity,
    }
}

impl Key<'_> {
    fn kind(&self) -> Option<MemberKind> {
        self.member.map(|(kind, _)| kind)
    }

    /// True where every row gives this one key, or this one member of it.
    fn is_constant(&self) -> bool {
        let constant = |template: &Template| template.literal_skeleton().all(|literal| literal.is_some());
        constant(self.template) && self.member.is_none_or(|(_, member)| member.is_some_and(constant))
    }

    /// Whether the two can give the same key; of members, the same member of the same key.
    fn meets(&self, other: &Key<'_>) -> Ambiguity {
        let keys = ambiguity(other.template, self.template);
        let members = match (other.member, self.member) {
            (Some((kind, other)), Some((own_kind, own))) if kind == own_kind => match other.zip(own) {
                Some((other, own)) => ambiguity(other, own),
                None => Ambiguity::None,
            },
            // A key holds one type: where the keys meet, so do the two.
            _ => return keys,
        };
        match (keys, members) {
            (Ambiguity::None, _) | (_, Ambiguity::None) => Ambiguity::None,
            (Ambiguity::Certain, Ambiguity::Certain) => Ambiguity::Certain,
            (Ambiguity::Possible(key), _) => Ambiguity::Possible(key),
            (Ambiguity::Certain, Ambiguity::Possible(member)) => Ambiguity::Possible(member),
        }
    }
}

/// Holds a key against those before it; true where one of them is certainly the same.
fn compare(key: &Key<'_>, earlier: &[Key<'_>], context: &mut Context<'_, '_>) -> bool {
    // A handler in Rust stands in the file by its name alone.
    let own = match &key.entity.handler {
        DraftHandler::Rust(_) => format!("its key {:?} ", key.template.as_str()),
        DraftHandler::Mapping { .. } | DraftHandler::Missing => String::new(),
    };
    let (mut possible, mut mixed) = (Vec::new(), Vec::new());
    for other in earlier {
        if begin_apart(other.template, key.template) {
            continue;
        }
        let one_kind = other.kind() == key.kind();
        if one_kind && other.shared && key.shared {
            one_guard(key, other, &own, context);
            continue;
        }
        match key.meets(other) {
            Ambiguity::None => {}
            Ambiguity::Possible(example) => {
                let doubts = if one_kind { &mut possible } else { &mut mixed };
                doubts.push(format!("{}, for example {example:?}", described(other, context)));
            }
            Ambiguity::Certain if !one_kind => {
                let other = described(other, context);
                let message = format!("{own}gives the same keys as {other}: a key holds {ONE_KIND}");
                context.findings.refuse_with(&key.path, message, "make the keys different");
                return true;
            }
            Ambiguity::Certain => {
                let what = if key.member.is_some() { "members" } else { "keys" };
                let message = format!("{own}gives the same {what} as {}", described(other, context));
                let help = "make the keys different; or, where that is meant, say shared = true on both: the \
                            version guard then keeps the newer value";
                context.findings.refuse_with(&key.path, message, help);
                // One of a group of equal keys is enough to name.
                return true;
            }
        }
    }
    if !mixed.is_empty() {
        let message =
            format!("{own}can give the same key as {}: a key holds {ONE_KIND}", mixed.join(" and "));
        context.findings.warn(&key.path, message, Some("make the keys different".to_owned()));
    }
    if !possible.is_empty() {
        let what = if key.member.is_some() { "member" } else { "key" };
        let message = format!("{own}can give the same {what} as {}", possible.join(" and "));
        let help =
            "where a column can hold such a text, make the keys different, or say shared = true on both";
        context.findings.warn(&key.path, message, Some(help.to_owned()));
    }
    false
}

/// Two entities that share a key must compare one thing.
fn one_guard(key: &Key<'_>, other: &Key<'_>, own: &str, context: &mut Context<'_, '_>) {
    let rule = |key: &Key<'_>| key.entity.guard.clone().unwrap_or(GuardRule::DEFAULT);
    if rule(key) == rule(other) || ambiguity(other.template, key.template) == Ambiguity::None {
        return;
    }
    let message = format!("{own}is shared with {}, which compares other versions", described(other, context));
    let help = "give both entities the same guard, epoch included";
    context.findings.refuse_with(&key.path, message, help);
}

/// A key as the messages about another one name it.
fn described(key: &Key<'_>, context: &Context<'_, '_>) -> String {
    let at = context.findings.document().span(&key.path).start;
    let before = context.findings.document().text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count().saturating_add(1);
    let member = match key.member {
        Some((_, Some(member))) => format!(" (member {:?})", member.as_str()),
        _ => String::new(),
    };
    format!("{:?}{member} of entity {:?} (line {line})", key.template.as_str(), key.entity.name)
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

/// A key whose hash tag is empty or cut short lies in another slot than those that it was meant to lie with.
fn hash_tag(key: &Key<'_>, context: &mut Context<'_, '_>) {
    let is_number = |name: &str| {
        let kind = key.entity.columns.iter().find(|(column, _)| column == name);
        matches!(kind, Some((_, Kind::Int | Kind::Uint | Kind::Bool | Kind::Uuid | Kind::Date)))
    };
    let message = match doubt(key.template, is_number) {
        None => return,
        Some(TagDoubt::AlwaysEmpty) => "its hash tag is empty: the whole key decides the slot".to_owned(),
        Some(TagDoubt::Empty(column)) => {
            format!("its hash tag is empty where {column:?} is: the whole key then decides the slot")
        }
        Some(TagDoubt::Brace(column)) => {
            format!("a brace in {column:?} would move its hash tag, and the key to another slot")
        }
    };
    let help = "declare the column's type, as in columns = { id = \"int\" }; or begin the tag with a text and take \
                braces out: {{u{name|escape}}}";
    context.findings.warn(&key.path, message, Some(help.to_owned()));
}

/// A value written over an owner record or a watermark would undo the fencing.
fn own_keys(key: &Key<'_>, own_prefix: &str, context: &mut Context<'_, '_>) {
    let start = literal_start(key.template);
    let message = if start.starts_with(own_prefix) {
        format!("begins with redis.own_prefix ({own_prefix:?}): such keys are Stoker's own")
    } else if own_prefix.starts_with(start) && column_may_go_on(key, own_prefix) {
        format!(
            "can give a key that begins with redis.own_prefix ({own_prefix:?}): such keys are Stoker's own"
        )
    } else {
        return;
    };
    let help = "begin the key with a text of its own, as in \"customer:{id}\"; or declare its first column as a \
                number: columns = { id = \"int\" }";
    context.findings.refuse_with(&key.path, message, help);
}

/// True where the first column may hold the rest of the prefix: any text can, a whole number cannot.
fn column_may_go_on(key: &Key<'_>, own_prefix: &str) -> bool {
    let has_column = key.template.literal_skeleton().any(|literal| literal.is_none());
    let prefix_is_text = !own_prefix.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    has_column && !(prefix_is_text && begins_with_number(key))
}

/// True where the key begins with a column that the settings declare as a whole number.
fn begins_with_number(key: &Key<'_>) -> bool {
    let first = key.template.as_str().strip_prefix('{').filter(|rest| !rest.starts_with('{'));
    let name = first.and_then(|rest| rest.split(['|', '}']).next());
    let kind = name.and_then(|name| key.entity.columns.iter().find(|(column, _)| column == name));
    matches!(kind, Some((_, Kind::Int | Kind::Uint)))
}
