//! Which keys of Redis may be the entities', by their templates. Pure.

use std::collections::BTreeSet;

use crate::entity::{Entity, KeyTemplate};
use crate::mutation::{CacheKey, MemberKind};

/// The keys of the entities that are compared.
#[derive(Debug)]
pub(super) struct Keyspace {
    chosen: Vec<bool>,
    prefixes: Vec<String>,
    own_prefix: String,
}

impl Keyspace {
    /// Those of the chosen entities; `chosen` is by their index.
    pub(super) fn new(entities: &[Entity], chosen: &[bool], own_prefix: &str) -> Keyspace {
        let of_chosen = entities.iter().zip(chosen).filter(|(_, chosen)| **chosen);
        let mut prefixes: Vec<String> = of_chosen
            .flat_map(|(entity, _)| entity.handler.keys())
            .filter(|key| !key.is_invalidated())
            .map(|key| key.template().literal_prefix().to_owned())
            .collect();
        // Sorted, a prefix stands before those that begin with it.
        prefixes.sort();
        let mut least: Vec<String> = Vec::new();
        for prefix in prefixes {
            if !least.last().is_some_and(|shorter| prefix.starts_with(shorter.as_str())) {
                least.push(prefix);
            }
        }
        Keyspace { chosen: chosen.to_vec(), prefixes: least, own_prefix: own_prefix.to_owned() }
    }

    /// What their keys begin with; no two of them cover the same key.
    pub(super) fn prefixes(&self) -> Vec<String> {
        self.prefixes.clone()
    }

    /// The entities whose topics say what those keys hold: all of them where another may write the same keys.
    pub(super) fn writers<'e>(&self, entities: &'e [Entity]) -> impl Iterator<Item = &'e Entity> {
        let is_chosen = |index: usize| self.chosen.get(index).copied().unwrap_or(false);
        let is_shared = |entity: &Entity| entity.handler.keys().iter().any(KeyTemplate::is_shared);
        let all = entities.iter().enumerate().any(|(index, entity)| is_chosen(index) && is_shared(entity));
        entities
            .iter()
            .enumerate()
            .filter(move |(index, _)| all || is_chosen(*index))
            .map(|(_, entity)| entity)
    }

    /// Which kinds of sets a key may be.
    pub(super) fn kinds_of(&self, entities: &[Entity], key: &[u8]) -> BTreeSet<MemberKind> {
        let templates = entities.iter().flat_map(|entity| entity.handler.keys());
        let kind = |template: &KeyTemplate| {
            let (kind, _) = template.member()?;
            template.template().may_give(key).then_some(kind)
        };
        templates.filter_map(kind).collect()
    }

    /// The entity that a key or member is of. `None` where it may be another's, Stoker's own, or one that its readers
    /// fill.
    pub(super) fn entity_of(&self, entities: &[Entity], key: &CacheKey) -> Option<usize> {
        if key.as_bytes().starts_with(self.own_prefix.as_bytes()) {
            return None;
        }
        let mut found = None;
        for (index, entity) in entities.iter().enumerate() {
            for template in entity.handler.keys().iter().filter(|template| gives(template, key)) {
                if template.is_invalidated() || !self.chosen.get(index).copied().unwrap_or(false) {
                    return None;
                }
                found = found.or(Some(index));
            }
        }
        found
    }
}

/// True where some row may give the key, or member. A key whose readers fill it is theirs with all members.
pub(super) fn gives(template: &KeyTemplate, key: &CacheKey) -> bool {
    let fits = match (template.member(), key.member()) {
        (Some((kind, of)), Some(member)) => kind == member.kind && of.may_give(&member.bytes),
        (None, Some(_)) => template.is_invalidated(),
        // A key that must be a set and holds something else is its template's all the same.
        (_, None) => true,
    };
    fits && template.template().may_give(key.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::entity::Handlers;
    use crate::mutation::Member;
    use crate::settings::{Environment, parse};

    struct Nothing;

    impl Environment for Nothing {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
        fn locate(&self, path: &Path) -> PathBuf {
            path.to_owned()
        }
        fn read(&self, _: &Path) -> std::io::Result<String> {
            Err(std::io::ErrorKind::NotFound.into())
        }
        fn cores(&self) -> usize {
            1
        }
    }

    /// Entities, each with a topic of its name and these keys; a key with a `!` is invalidated, one with a `=` is a set
    /// of that member.
    fn entities(all: &[(&str, &[&str])]) -> std::sync::Arc<[Entity]> {
        let mut text = "[kafka]\nbrokers = \"b:1\"\ngroup = \"g\"\n[redis]\nurl = \"redis://h\"\n".to_owned();
        for (name, keys) in all {
            text.push_str(&format!("[[entity]]\nname = \"{name}\"\ntopics = [\"{name}\"]\n"));
            for key in *keys {
                let (key, rest) = match (key.strip_suffix('!'), key.split_once('=')) {
                    (Some(key), _) => (key, "value = \"invalidate\"".to_owned()),
                    (None, Some((key, member))) => {
                        (key, format!("value = {{ set = {{ member = \"{member}\" }} }}\nttl = \"none\""))
                    }
                    (None, None) => (*key, "value = \"json\"\nttl = \"1h\"".to_owned()),
                };
                text.push_str(&format!("[[entity.write]]\nkey = \"{key}\"\n{rest}\n"));
            }
        }
        parse(&text, &Nothing, &Handlers::new()).unwrap().settings.entities
    }

    #[test]
    fn prefixes_cover_every_key_once() {
        let all = entities(&[("a", &["user:{id}", "user:{id}:card", "us:{id}"]), ("b", &["b:{id}"])]);
        assert_eq!(Keyspace::new(&all, &[true, true], "stoker:").prefixes(), ["b:", "us:", "user:"]);
        assert_eq!(Keyspace::new(&all, &[false, true], "stoker:").prefixes(), ["b:"]);
    }

    #[test]
    fn a_key_that_may_be_anothers_is_no_entitys() {
        let all = entities(&[("a", &["user:{id}", "page:{id}!"]), ("b", &["user:x{name}", "user:{any}:b"])]);
        let both = Keyspace::new(&all, &[true, true], "stoker:");
        let one = Keyspace::new(&all, &[true, false], "stoker:");
        for (key, of_both, of_one) in [
            ("user:7", Some(0), Some(0)),
            ("user:x7", Some(0), None),
            ("user:7:b", Some(0), None),
            ("page:7", None, None),
            ("stoker:b", None, None),
            ("other", None, None),
        ] {
            assert_eq!(both.entity_of(&all, &CacheKey::new(key.as_bytes())), of_both, "{key}");
            assert_eq!(one.entity_of(&all, &CacheKey::new(key.as_bytes())), of_one, "{key}");
        }
    }

    #[test]
    fn members_are_their_templates_and_of_its_kind_of_set() {
        let all = entities(&[("a", &["team:{team}=a{id}", "page:{id}!"]), ("b", &["user:{id}"])]);
        let both = Keyspace::new(&all, &[true, true], "stoker:");
        let member = |key: &str, kind, member: &str| {
            let member = Member { kind, bytes: member.as_bytes().into() };
            both.entity_of(&all, &CacheKey::of_member(key.as_bytes(), member))
        };
        assert_eq!(member("team:7", MemberKind::Set, "a1"), Some(0));
        assert_eq!(member("team:7", MemberKind::Set, "b1"), None, "somebody else's");
        assert_eq!(member("team:7", MemberKind::SortedSet, "a1"), None);
        assert_eq!(member("user:7", MemberKind::Set, "a1"), None);
        assert_eq!(both.kinds_of(&all, b"team:7"), BTreeSet::from([MemberKind::Set]));
        assert!(both.kinds_of(&all, b"user:7").is_empty());
    }
}
