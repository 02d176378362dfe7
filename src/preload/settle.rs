//! Which writes may still turn out wrong: the state behind *settled* writes.
//!
//! Nothing orders a preload's writes against those of the lanes. So each is remembered until the follower of the
//! entity's topics has passed the ends that they had right after the write: every change that could have come before it
//! has come to light by then. One that does takes the write back, as long as the key still holds it; a member is put
//! right instead, see [`PutRight`]. Pure: who follows and who writes are others. Start at [`Settling`].

use std::collections::{HashMap, HashSet, VecDeque};

use smallvec::SmallVec;

use crate::mutation::{CacheKey, Guard, RowId, Value};
use crate::sink::redis::{Fingerprint, PutRight};

/// Rows and keys that may have changed since the export: nine bytes each, and a spare.
pub(super) const CHANGED_MAX: usize = 7_000_000;
/// Members that changes name: what the newest one says of each, some sixty bytes.
pub(super) const MEMBERS_MAX: usize = 1_000_000;
/// How often a member that changes on and on is put right before that counts for settled.
const RIGHTED_MAX: u8 = 8;
/// Writes that may wait to be settled: their keys and some 200 bytes each.
pub(super) const PENDING_MAX: usize = 100_000;

type Hasher = ahash::RandomState;

/// What stands for a key, or for a member of it.
pub(super) fn fingerprint(key: &CacheKey) -> u64 {
    match key.member() {
        None => of_bytes(key.as_bytes()),
        Some(member) => Hasher::with_seeds(1, 2, 3, 4).hash_one((key.as_bytes(), &*member.bytes)),
    }
}

/// The same of its bytes.
pub(super) fn of_bytes(key: &[u8]) -> u64 {
    // The same in every part of the process; nothing of it is kept.
    Hasher::with_seeds(1, 2, 3, 4).hash_one(key)
}

/// Stands for a row that nothing tells apart.
pub(super) const NO_ROW: u64 = u64::MAX;

/// What stands for a row. Never the same as a key's.
pub(super) fn of_row(row: &RowId) -> u64 {
    of_bytes(row.as_bytes()).wrapping_add(1)
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// A key's value.
    Whole(Fingerprint),
    /// What a member is; `None` where it was removed since.
    Member(Option<Value>, Option<Guard>),
}

/// What is to be done about a write that a change raced with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Back {
    /// The key is deleted, while it holds that.
    Whole(CacheKey, Fingerprint),
    /// The member is put right.
    Member(PutRight),
}

/// A write that is remembered.
#[derive(Debug)]
struct Remembered {
    key: CacheKey,
    held: Held,
    /// The row that it is of.
    row: u64,
    generation: u64,
    /// How often it was put right.
    righted: u8,
}

/// Rows and keys that changed since the export, and writes that are not settled yet.
///
/// A change names its row, and the keys that it writes and deletes: a key that the row had at the export's time may be
/// none of these, and another row may have it by now.
///
/// Writes are remembered in generations: all of one generation are settled when the follower has passed the ends that
/// the topics had after the last of them.
#[derive(Debug)]
pub(super) struct Settling<P> {
    changed: HashSet<u64, Hasher>,
    /// What the newest change says of members; `None` where they are none.
    members: HashMap<u64, Option<Value>, Hasher>,
    /// True where all rows are gone since the export.
    truncated: bool,
    /// True where writes replace what is there.
    replaces: bool,
    pending: HashMap<u64, Remembered, Hasher>,
    /// The keys of each row that are pending.
    rows: HashMap<u64, SmallVec<[u64; 2]>, Hasher>,
    generation: u64,
    /// What was reached at the end of each generation that is closed and not settled, oldest first.
    closed: VecDeque<(u64, P)>,
    /// What was reached at the end of the open one.
    reached: Option<P>,
    /// What was reached last.
    last: Option<P>,
}

/// The keys that changed since the export are too many.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyChanges;

impl<P: Copy> Settling<P> {
    /// `replaces`: writes replace what is there.
    pub(super) fn new(replaces: bool) -> Settling<P> {
        Settling {
            changed: HashSet::default(),
            members: HashMap::default(),
            truncated: false,
            replaces,
            pending: HashMap::default(),
            rows: HashMap::default(),
            generation: 1,
            closed: VecDeque::new(),
            reached: None,
            last: None,
        }
    }

    /// Takes in what changes say of members. Their keys are to be told with [`Settling::heard`], afterwards.
    pub(super) fn heard_members(
        &mut self,
        members: impl IntoIterator<Item = (u64, Option<Value>)>,
    ) -> Result<(), TooManyChanges> {
        for (member, now) in members {
            if self.members.len() >= MEMBERS_MAX && !self.members.contains_key(&member) {
                return Err(TooManyChanges);
            }
            self.members.insert(member, now);
        }
        Ok(())
    }

    /// Takes in rows and keys that change, and adds what is to be taken back for it.
    pub(super) fn heard(&mut self, changed: &[u64], back: &mut Vec<Back>) -> Result<(), TooManyChanges> {
        for changed in changed {
            if self.changed.len() >= CHANGED_MAX && !self.changed.contains(changed) {
                return Err(TooManyChanges);
            }
            self.changed.insert(*changed);
            let of_row = self.rows.get(changed).cloned().unwrap_or_default();
            for key in of_row.iter().chain([changed]) {
                self.back_of(*key, back);
            }
        }
        Ok(())
    }

    /// The table is truncated: of all writes that are not settled, what is to be taken back. From here on everything
    /// has changed since the export.
    pub(super) fn heard_truncate(&mut self, back: &mut Vec<Back>) {
        self.truncated = true;
        // What is a member from now on, later changes say.
        self.members.clear();
        let pending: Vec<u64> = self.pending.keys().copied().collect();
        pending.into_iter().for_each(|key| self.back_of(key, back));
    }

    /// True once the table was truncated.
    pub(super) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// What is to be done about a write that was done before anybody listened, where a change came in between.
    pub(super) fn overlapped(&mut self, key: CacheKey, row: u64, held: Held, back: &mut Vec<Back>) {
        let name = fingerprint(&key);
        if let (Held::Member(_, None), Some(Some(now))) = (&held, self.members.get(&name)) {
            // It may have been removed then.
            let (key, now) = (key.clone(), Some(now.clone()));
            back.push(Back::Member(PutRight { key, put: None, guard: None, now }));
        }
        self.remember(key, row, held);
        self.back_of(name, back);
    }

    fn back_of(&mut self, name: u64, back: &mut Vec<Back>) {
        let Some(Remembered { held: Held::Member(..), .. }) = self.pending.get(&name) else {
            if let Some(Remembered { key, held: Held::Whole(held), .. }) = self.forget(name) {
                back.push(Back::Whole(key, held));
            }
            return;
        };
        let told = self.members.get(&name);
        let Some(Remembered { key, held: Held::Member(put, guard), generation, righted, .. }) =
            self.pending.get_mut(&name)
        else {
            return;
        };
        // A change that names it goes through the guard, too.
        let by_guard = guard.is_some() && told.is_some();
        let now = told.cloned().flatten();
        let is_right = match (&*put, &now) {
            (None, None) => true,
            // The lane's own write of it comes after ours, or ours would not have been done; if it replaced nothing.
            (Some(put), Some(now)) => put == now || !self.replaces,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if by_guard || is_right {
            return;
        }
        let before = std::mem::replace(put, now.clone());
        back.push(Back::Member(PutRight { key: key.clone(), put: before, guard: guard.clone(), now }));
        // That is a write as well: what it races with comes to light later.
        if *righted < RIGHTED_MAX {
            (*righted, *generation) = (*righted + 1, self.generation);
            self.reached = self.reached.or(self.last);
        }
    }

    /// True where the row or the key changed since the export.
    pub(super) fn is_changed(&self, fingerprint: u64) -> bool {
        self.truncated || self.changed.contains(&fingerprint)
    }

    /// How many rows and keys changed.
    pub(super) fn changed_count(&self) -> usize {
        self.changed.len()
    }

    /// Remembers a write, which is done or may be.
    pub(super) fn remember(&mut self, key: CacheKey, row: u64, held: Held) {
        let (generation, name) = (self.generation, fingerprint(&key));
        self.forget(name);
        if row != NO_ROW {
            self.rows.entry(row).or_default().push(name);
        }
        self.pending.insert(name, Remembered { key, held, row, generation, righted: 0 });
    }

    fn forget(&mut self, key: u64) -> Option<Remembered> {
        let written = self.pending.remove(&key)?;
        if let Some(keys) = self.rows.get_mut(&written.row) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.rows.remove(&written.row);
            }
        }
        Some(written)
    }

    /// Says how far everything is written by now: what counts as reached once the open generation is settled.
    pub(super) fn reach(&mut self, place: P) {
        self.reached = Some(place);
        self.last = Some(place);
    }

    /// Closes the open generation and returns its number, for the follower to mark; `None` where nothing was reached
    /// in it.
    pub(super) fn close(&mut self) -> Option<u64> {
        let place = self.reached.take()?;
        let closed = self.generation;
        self.generation += 1;
        self.closed.push_back((closed, place));
        Some(closed)
    }

    /// The follower has passed the mark of this generation. Returns how far everything is settled.
    pub(super) fn passed(&mut self, generation: u64) -> Option<P> {
        let settled: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, written)| written.generation <= generation)
            .map(|(key, _)| *key)
            .collect();
        settled.into_iter().for_each(|key| drop(self.forget(key)));
        let mut place = None;
        while let Some((_, reached)) = self.closed.pop_front_if(|(number, _)| *number <= generation) {
            place = Some(reached);
        }
        place
    }

    /// Writes that are not settled.
    pub(super) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// True where everything is settled.
    pub(super) fn is_settled(&self) -> bool {
        self.closed.is_empty() && self.reached.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::{Member, MemberKind};

    fn key(name: &str) -> CacheKey {
        CacheKey::new(name.as_bytes())
    }

    fn held(digest: &str) -> Held {
        Held::Whole(Fingerprint { digest: digest.to_owned(), expires_at_ms: None })
    }

    fn back(name: &str, digest: &str) -> Back {
        Back::Whole(key(name), Fingerprint { digest: digest.to_owned(), expires_at_ms: None })
    }

    #[test]
    fn a_change_that_comes_to_light_takes_the_write_back_until_it_is_settled() {
        let mut settling = Settling::new(false);
        settling.remember(key("a"), 100, held("1"));
        settling.remember(key("b"), 100, held("2"));
        settling.reach(10);
        assert_eq!(settling.close(), Some(1));
        assert_eq!(settling.close(), None, "nothing was reached in it");
        settling.remember(key("c"), 200, held("3"));
        settling.reach(20);

        let mut taken = Vec::new();
        settling.heard(&[fingerprint(&key("a")), fingerprint(&key("x"))], &mut taken).unwrap();
        assert_eq!(taken, [back("a", "1")]);
        assert!(settling.is_changed(fingerprint(&key("x"))) && !settling.is_changed(fingerprint(&key("b"))));

        assert_eq!(settling.passed(1), Some(10));
        assert_eq!(settling.pending_count(), 1, "c is of the next generation");
        taken.clear();
        settling.heard(&[fingerprint(&key("b")), fingerprint(&key("c"))], &mut taken).unwrap();
        assert_eq!(taken, [back("c", "3")], "b is settled: what changes it now is a lane's to write");
        assert!(!settling.is_settled());
        assert_eq!(settling.close(), Some(2));
        assert_eq!(settling.passed(2), Some(20));
        assert!(settling.is_settled());
    }

    #[test]
    fn a_row_that_changes_takes_all_of_its_keys_back() {
        let mut settling = Settling::<u8>::new(false);
        for (name, row) in [("a", 1), ("b", 1), ("c", 2), ("a", 1)] {
            settling.remember(key(name), row, held(name));
        }
        let mut taken = Vec::new();
        settling.heard(&[1], &mut taken).unwrap();
        taken.sort_by_key(|it| format!("{it:?}"));
        assert_eq!(taken, [back("a", "a"), back("b", "b")]);
        assert_eq!((settling.pending_count(), settling.rows.len()), (1, 1));
    }

    fn member(name: &str, kind: MemberKind) -> CacheKey {
        CacheKey::of_member(b"board", Member { kind, bytes: name.as_bytes().into() })
    }

    fn score(score: f64) -> Value {
        Value::score(score).unwrap()
    }

    /// What is done about a member of score 1, of row 100, when this is heard of it.
    fn done(
        replaces: bool,
        guard: Option<Guard>,
        heard: &[Option<Value>],
    ) -> Vec<(Option<Value>, Option<Value>)> {
        let mut settling = Settling::new(replaces);
        let ann = member("ann", MemberKind::SortedSet);
        settling.remember(ann.clone(), 100, Held::Member(Some(score(1.0)), guard));
        settling.reach(10);
        settling.close().unwrap();
        let mut back = Vec::new();
        for now in heard {
            settling.heard_members([(fingerprint(&ann), now.clone())]).unwrap();
            settling.heard(&[100, fingerprint(&ann)], &mut back).unwrap();
        }
        if heard.is_empty() {
            settling.heard(&[100], &mut back).unwrap();
        }
        back.into_iter()
            .map(|back| match back {
                Back::Member(PutRight { put, now, .. }) => (put, now),
                Back::Whole(..) => unreachable!("a member"),
            })
            .collect()
    }

    #[test]
    fn a_member_is_brought_to_what_the_newest_change_says() {
        let guard = || Some(Guard { version: crate::version::Version::NONE, owner: RowId::new(b"7") });
        let (one, two) = (|| Some(score(1.0)), || Some(score(2.0)));
        // Nothing was replaced: the lane's write of it comes after.
        assert_eq!(done(false, None, &[two()]), []);
        assert_eq!(done(true, None, &[two()]), [(one(), two())]);
        assert_eq!(done(true, None, &[one()]), []);
        // It left; and what it left and came back to is not to lack it.
        assert_eq!(done(false, None, &[None]), [(one(), None)]);
        assert_eq!(done(false, None, &[None, None, two()]), [(one(), None), (None, two())]);
        // Its row changed, and no change says that it is there.
        assert_eq!(done(false, None, &[]), [(one(), None)]);
        // What a change names goes through the guard.
        assert_eq!(done(true, guard(), &[two(), None]), []);
        assert_eq!(done(true, guard(), &[]), [(one(), None)]);
    }

    #[test]
    fn putting_a_member_right_is_a_write_that_is_settled_later_but_not_for_ever() {
        let mut settling = Settling::new(true);
        let ann = member("ann", MemberKind::SortedSet);
        settling.remember(ann.clone(), 100, Held::Member(Some(score(0.0)), None));
        settling.reach(10);
        let mut back = Vec::new();
        let mut number: u8 = 0;
        while let Some(generation) = settling.close() {
            number += 1;
            settling.heard_members([(fingerprint(&ann), Some(score(f64::from(number))))]).unwrap();
            settling.heard(&[fingerprint(&ann)], &mut back).unwrap();
            assert_eq!(settling.passed(generation), Some(10));
        }
        assert_eq!((number, back.len()), (RIGHTED_MAX + 1, usize::from(RIGHTED_MAX + 1)));
        assert!(settling.is_settled() && settling.pending_count() == 0);
    }

    #[test]
    fn members_are_told_from_keys_and_from_each_other() {
        let set = |name| fingerprint(&member(name, MemberKind::Set));
        assert_ne!(set("a"), set("b"));
        assert_ne!(set("a"), fingerprint(&key("board")));
        assert_ne!(set("a"), fingerprint(&key("boarda")));
    }

    #[test]
    fn a_truncate_takes_all_back_and_lets_nothing_be_written() {
        let mut settling = Settling::<u8>::new(false);
        settling.remember(key("a"), 1, held("1"));
        settling.remember(member("m", MemberKind::Set), 2, Held::Member(Some(Value::member()), None));
        let mut taken = Vec::new();
        assert!(!settling.is_changed(7));
        settling.heard_truncate(&mut taken);
        assert_eq!(taken.len(), 2);
        assert!(taken.contains(&back("a", "1")));
        assert!(settling.is_changed(7) && settling.is_truncated());

        // A row that came after it.
        taken.clear();
        let m = fingerprint(&member("m", MemberKind::Set));
        settling.heard_members([(m, Some(Value::member()))]).unwrap();
        settling.heard(&[m], &mut taken).unwrap();
        assert!(matches!(&taken[..], [Back::Member(PutRight { put: None, now: Some(_), .. })]), "{taken:?}");
    }

    #[test]
    fn what_a_killed_load_may_have_written_or_removed_is_put_right() {
        let overlapped = |told: Option<Value>| {
            let mut settling = Settling::<u8>::new(true);
            let ann = member("ann", MemberKind::SortedSet);
            settling.heard_members([(fingerprint(&ann), told)]).unwrap();
            let mut back = Vec::new();
            settling.overlapped(ann, 100, Held::Member(Some(score(1.0)), None), &mut back);
            settling.reach(1);
            assert_eq!((settling.pending_count(), settling.close()), (1, Some(1)), "it is settled later");
            let steps = back.into_iter().map(|back| match back {
                Back::Member(PutRight { put, now, .. }) => (put, now),
                Back::Whole(..) => unreachable!("a member"),
            });
            steps.collect::<Vec<_>>()
        };
        let (one, two) = (|| Some(score(1.0)), || Some(score(2.0)));
        assert_eq!(overlapped(None), [(one(), None)]);
        assert_eq!(overlapped(two()), [(None, two()), (one(), two())]);

        let mut settling = Settling::<u8>::new(false);
        let mut taken = Vec::new();
        settling.overlapped(key("a"), 100, held("1"), &mut taken);
        assert_eq!((taken, settling.pending_count()), (vec![back("a", "1")], 0));
    }
}
