//! Who reads a topic. Start at [`Routes::of`].

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::decode::{Decoder, Format};
use crate::entity::Entity;

/// Topics whose route is remembered. Far above what one group follows; where a pattern matches more, routes
/// are made anew, which costs time and nothing else.
const ROUTES_MAX: usize = 4_096;

/// The routes of the topics that were seen.
#[derive(Debug, Default)]
pub(super) struct Routes {
    list: Vec<(String, Route)>,
    by_topic: HashMap<String, usize, ahash::RandomState>,
    /// The last one that was asked for. Records come in runs of one topic, and comparing a name is less than hashing it.
    last: usize,
}

impl Routes {
    /// The route of a topic, made where it is not known yet.
    pub(super) fn of(&mut self, topic: &str, entities: &[Entity]) -> &mut Route {
        self.last = self.index_of(topic).unwrap_or_else(|| self.add(topic, entities));
        &mut self.list[self.last].1
    }

    fn add(&mut self, topic: &str, entities: &[Entity]) -> usize {
        if self.list.len() >= ROUTES_MAX {
            self.list.clear();
            self.by_topic.clear();
        }
        self.list.push((topic.to_owned(), Route::of(topic, entities)));
        self.by_topic.insert(topic.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }

    /// The route of a topic, where it is known.
    pub(super) fn get(&self, topic: &str) -> Option<&Route> {
        self.list.get(self.index_of(topic)?).map(|(_, route)| route)
    }

    fn index_of(&self, topic: &str) -> Option<usize> {
        match self.list.get(self.last) {
            Some((known, _)) if known == topic => Some(self.last),
            _ => self.by_topic.get(topic).copied(),
        }
    }
}

/// Who reads a topic: the entities of each format, and the decoder that they share.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) readers: SmallVec<[Reader; 1]>,
}

#[derive(Debug)]
pub(super) struct Reader {
    pub(super) decoder: Decoder,
    pub(super) entities: SmallVec<[usize; 2]>,
}

impl Route {
    fn of(topic: &str, entities: &[Entity]) -> Route {
        let mut by_format: SmallVec<[(Format, Reader); 1]> = SmallVec::new();
        for (index, entity) in entities.iter().enumerate() {
            if !entity.topics.matches(topic) {
                continue;
            }
            match by_format.iter_mut().find(|(format, _)| *format == entity.format) {
                Some((_, reader)) => reader.entities.push(index),
                None => {
                    let entities = SmallVec::from_slice(&[index]);
                    let reader = Reader { decoder: Decoder::new(entity.format), entities };
                    by_format.push((entity.format, reader));
                }
            }
        }
        let mut readers: SmallVec<[Reader; 1]> = by_format.into_iter().map(|(_, reader)| reader).collect();
        for Reader { decoder, entities: read } in &mut readers {
            let reads =
                |index: &usize| entities.get(*index).is_some_and(|entity| entity.handler.reads_source());
            decoder.tell_source_text(read.iter().any(reads));
        }
        Route { readers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::Topics;
    use crate::entity::testing::{mapping, write};

    #[test]
    fn each_topic_has_its_own_route_and_there_are_only_so_many() {
        let of_any = Topics::Pattern(regex::Regex::new("^(?:t.*)$").unwrap());
        let entities = [Entity { topics: of_any, ..mapping(vec![write("c:{id}")]) }];
        let mut routes = Routes::default();
        assert!(routes.get("t0").is_none());
        for turn in 0..2 {
            for number in 0..10 {
                let (read, not_read) = (format!("t{number}"), format!("u{number}"));
                assert_eq!(routes.of(&read, &entities).readers.len(), 1, "{turn}");
                assert_eq!(routes.of(&not_read, &entities).readers.len(), 0, "{turn}");
                assert_eq!(routes.get(&read).map(|route| route.readers.len()), Some(1), "{turn}");
            }
        }
        assert_eq!(routes.list.len(), 20);
        for number in 0..ROUTES_MAX + 10 {
            routes.of(&format!("t{number}"), &entities);
        }
        assert!(routes.list.len() <= ROUTES_MAX && routes.by_topic.len() == routes.list.len());
    }
}
