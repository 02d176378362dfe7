//! Looking for keys, and members of sets, that the entities' templates may give and the topics do not.

use std::collections::HashSet;

use super::{Progress, Step, Verify, VerifyError};
use crate::mutation::{CacheKey, Member};
use crate::sink::redis::SetKey;

/// Keys that should not be there, which are looked at again together.
const EXTRAS_AT_ONCE: usize = 10_000;

/// What was found so far.
#[derive(Default)]
struct Search {
    found: HashSet<CacheKey>,
    done: u64,
}

impl Verify<'_> {
    /// Searches all of Redis, and settles what it finds.
    pub(super) fn search(&mut self) -> Result<(), VerifyError> {
        let look = self.look;
        let mut search = Search::default();
        for prefix in self.keyspace.prefixes() {
            look.scan(prefix.as_bytes(), &mut |keys: Vec<Vec<u8>>| {
                search.done += keys.len() as u64;
                let mut sets = Vec::new();
                for key in keys {
                    let kinds = self.keyspace.kinds_of(&self.entities, &key);
                    if kinds.is_empty() {
                        self.meet(CacheKey::new(&key), &mut search);
                    }
                    sets.extend(kinds.into_iter().map(|kind| SetKey { bytes: key.clone(), kind }));
                }
                let (done, pass) = (search.done, self.report.passes);
                (self.progress)(Progress { step: Step::Searches, done, of: 0, pass });
                self.search_sets(&sets, &mut search)?;
                self.settle_found(&mut search, EXTRAS_AT_ONCE)
            })?;
        }
        self.settle_found(&mut search, 1)
    }

    /// Searches the members of these keys. One that is no set is met as a key, unless it may rightly be another kind.
    fn search_sets(&mut self, sets: &[SetKey], search: &mut Search) -> Result<(), VerifyError> {
        let look = self.look;
        look.members(sets, &mut |set, members| {
            match members {
                Some(members) => {
                    for bytes in members {
                        let member = Member { kind: set.kind, bytes: bytes.into() };
                        self.meet(CacheKey::of_member(&set.bytes, member), search);
                    }
                }
                None if self.keyspace.kinds_of(&self.entities, &set.bytes).len() > 1 => {}
                None => self.meet(CacheKey::new(&set.bytes), search),
            }
            self.settle_found(search, EXTRAS_AT_ONCE)
        })
    }

    /// Takes in what Redis holds, where the topics do not know it.
    fn meet(&mut self, key: CacheKey, search: &mut Search) {
        if !self.table.holds(&key) || self.table.get(&key).is_some() {
            return;
        }
        let entity = self.keyspace.entity_of(&self.entities, &key);
        let counts = entity.and_then(|index| self.report.entities.get_mut(index));
        if let Some(counts) = counts
            && search.found.insert(key)
        {
            counts.checked += 1;
        }
    }

    /// Looks again at what was found, where it is so many.
    fn settle_found(&mut self, search: &mut Search, least: usize) -> Result<(), VerifyError> {
        if search.found.len() < least {
            return Ok(());
        }
        self.settle(search.found.drain().collect())
    }
}
