//! Which keys of Redis may be the entities', by their templates. Pure.

use crate::entity::{Entity, KeyTemplate};

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
            .filter(|key| !key.is_invalidated() && key.member().is_none())
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

    /// The entity that a key is of. `None` where it may be another's, Stoker's own, or one that its readers fill.
    pub(super) fn entity_of(&self, entities: &[Entity], key: &[u8]) -> Option<usize> {
        if key.starts_with(self.own_prefix.as_bytes()) {
            return None;
        }
        let mut found = None;
        for (index, entity) in entities.iter().enumerate() {
            for template in entity.handler.keys().iter().filter(|template| template.template().may_give(key))
            {
                if template.is_invalidated()
                    || template.member().is_some()
                    || !self.chosen.get(index).copied().unwrap_or(false)
                {
                    return None;
                }
                found = found.or(Some(index));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::entity::Handlers;
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

    /// Entities, each with a topic of its name and these keys; a key with a `!` is invalidated.
    fn entities(all: &[(&str, &[&str])]) -> std::sync::Arc<[Entity]> {
        let mut text = "[kafka]\nbrokers = \"b:1\"\ngroup = \"g\"\n[redis]\nurl = \"redis://h\"\n".to_owned();
        for (name, keys) in all {
            text.push_str(&format!("[[entity]]\nname = \"{name}\"\ntopics = [\"{name}\"]\n"));
            for key in *keys {
                let (key, rest) = match key.strip_suffix('!') {
                    Some(key) => (key, "value = \"invalidate\""),
                    None => (*key, "value = \"json\"\nttl = \"1h\""),
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
            assert_eq!(both.entity_of(&all, key.as_bytes()), of_both, "{key}");
            assert_eq!(one.entity_of(&all, key.as_bytes()), of_one, "{key}");
        }
    }
}
