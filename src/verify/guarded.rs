//! A key under the version guard: what it must hold, and what the lanes' own order can leave of it.
//!
//! Follows the source's positions, whatever order the partitions are read in. Start at [`GuardedKey::expectation`].

use smallvec::SmallVec;

use super::fingerprint::{Fingerprint, of_row};
use super::fold::{Expectation, Expected, Origin, written};
use crate::mutation::{Effect, Guard};
use crate::version::Version;

/// Rows that may have one key at a time, of which the newest are remembered. A key of more rows than that is no key.
const CLAIMS_MAX: usize = 16;

/// A key under the version guard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GuardedKey {
    /// Version and row of the newest write; it may be deleted since.
    newest: Option<(Version, u64)>,
    /// The newest version of a delete, by whatever row; true where such a row also wrote the key at that version.
    newest_delete: Option<(Version, bool)>,
    /// Rows whose newest change of this key writes it.
    claims: SmallVec<[Claim; 1]>,
    /// The last record of each partition that did something to it.
    lasts: SmallVec<[Origin; 1]>,
    /// What the last record leaves of a key that only one row can have, where versions say otherwise.
    out_of_order: Option<Box<Option<Expected>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    row: u64,
    version: Version,
    expected: Expected,
}

impl GuardedKey {
    /// Takes in what a record does to it.
    pub(super) fn apply(&mut self, effect: &Effect, guard: &Guard, origin: Origin) {
        self.take_in(effect, guard, origin);
        if !guard.has_rows() {
            let left = match effect {
                Effect::Write(value, expiry) => written(value, *expiry),
                Effect::Patch(patch, expiry) if self.winner().is_some() => {
                    Some((Fingerprint::of_part(patch.shape()), *expiry))
                }
                Effect::Patch(..) | Effect::Delete | Effect::DeleteIf(_) => None,
            };
            let last = left.map(|(value, expiry)| Expected { value, expiry, origin });
            let newest = self.winner().map(|winner| winner.expected);
            self.out_of_order = (newest != last).then(|| Box::new(last));
        }
    }

    fn take_in(&mut self, effect: &Effect, guard: &Guard, origin: Origin) {
        self.lasts.retain(|last| last.partition != origin.partition);
        self.lasts.push(origin);
        let row = of_row(guard.owner.as_bytes());
        let version = &guard.version;
        match effect {
            Effect::Write(value, expiry) => {
                let Some((value, expiry)) = written(value, *expiry) else { return self.delete(row, version) };
                let held = self.claims.iter().find(|claim| claim.row == row);
                if held.is_some_and(|held| held.version > *version) {
                    return;
                }
                let expected = Expected { value, expiry, origin };
                self.claims.retain(|claim| claim.row != row);
                self.claims.push(Claim { row, version: version.clone(), expected });
                if self.newest.as_ref().is_none_or(|(newest, _)| version >= newest) {
                    self.newest = Some((version.clone(), row));
                }
                if self.claims.len() > CLAIMS_MAX {
                    self.forget_the_oldest();
                }
            }
            Effect::Delete | Effect::DeleteIf(_) => self.delete(row, version),
            Effect::Patch(patch, expiry) => {
                let in_order = |claim: &Claim| version.is_none() || claim.version <= *version;
                match self.claims.iter_mut().find(|claim| claim.row == row && in_order(claim)) {
                    Some(claim) => {
                        let value = Fingerprint::of_part(patch.shape());
                        claim.version = claim.version.clone().max(version.clone());
                        claim.expected = Expected { value, expiry: *expiry, origin };
                        if self.newest.as_ref().is_none_or(|(newest, _)| version >= newest) {
                            self.newest = Some((version.clone(), row));
                        }
                    }
                    None => self.delete(row, version),
                }
            }
        }
    }

    /// The table was truncated: what is not newer may be gone. Which of the rows were there by then is not told.
    pub(super) fn truncate(&mut self, version: &Version, origin: Origin) {
        self.lasts.retain(|last| last.partition != origin.partition);
        self.lasts.push(origin);
        let newest = self.newest.as_ref().map(|(newest, _)| newest.clone()).unwrap_or_default();
        let until = if version.is_none() { newest } else { version.clone() };
        if self.newest_delete.as_ref().is_none_or(|(deleted, _)| *deleted <= until) {
            self.newest_delete = Some((until, true));
        }
    }

    fn forget_the_oldest(&mut self) {
        let claims = self.claims.iter().enumerate();
        if let Some((oldest, _)) = claims.min_by(|(_, a), (_, b)| a.version.cmp(&b.version)) {
            self.claims.remove(oldest);
        }
    }

    /// A row gives the key up. Without a version (a tombstone) it comes in the order of its row's partition, and the
    /// guard goes on remembering the version that the row wrote.
    fn delete(&mut self, row: u64, version: &Version) {
        let claims = |claim: &Claim| claim.row == row && (version.is_none() || claim.version <= *version);
        let given_up = self.claims.iter().find(|claim| claims(claim)).map(|claim| claim.version.clone());
        let wrote = given_up.as_ref().is_some_and(|given_up| given_up >= version);
        let version = given_up.as_ref().map_or(version, |given_up| given_up.max(version));
        self.claims.retain(|claim| claim.row != row || claim.version > *version);
        match &mut self.newest_delete {
            Some((newest, _)) if version < newest => {}
            Some((newest, wrote_too)) if version == newest => *wrote_too |= wrote,
            newest => *newest = Some((version.clone(), wrote)),
        }
    }

    /// The newest write, where its row has not deleted it since.
    fn winner(&self) -> Option<&Claim> {
        self.newest.as_ref().and_then(|(_, row)| self.claims.iter().find(|claim| claim.row == *row))
    }

    /// What it must hold.
    pub(super) fn expectation(&self) -> Expectation {
        let winner = self.winner();
        let mut others: SmallVec<[Option<Expected>; 2]> = SmallVec::new();
        match winner {
            Some(winner) => {
                // Among equal positions any order is right.
                let ties = self
                    .claims
                    .iter()
                    .filter(|claim| claim.row != winner.row && claim.version == winner.version);
                others.extend(ties.map(|claim| Some(claim.expected)));
                // A delete of another row at a newer position, where that row's lane was ahead of this one's: its
                // tombstone then kept the older write out. At an equal one, a row that took the key and gave it up
                // may have done so after this write.
                let may_be_gone = self.newest_delete.as_ref().is_some_and(|(deleted, wrote_too)| {
                    *deleted > winner.version || (*wrote_too && *deleted == winner.version)
                });
                if may_be_gone || winner.expected.value.is_part() {
                    others.push(None);
                }
            }
            // The newest write was deleted. A row that wrote the key before, and has not given it up, has it after a
            // refill, and where its lane came last.
            None => others.extend(self.claims.iter().map(|claim| Some(claim.expected))),
        }
        // A rewrite, a raised epoch, and a memory that has expired let the record in that came last. Nothing in the
        // topics tells of them.
        others.extend(self.out_of_order.as_deref().copied());
        Expectation {
            expected: winner.map(|winner| winner.expected),
            others,
            lasts: self.lasts.clone(),
            unwritten: self.newest.is_none(),
        }
    }

    /// Bytes that it takes beside its own size.
    pub(super) fn heap_bytes(&self) -> usize {
        let claims = if self.claims.spilled() { self.claims.capacity() } else { 0 };
        let lasts = if self.lasts.spilled() { self.lasts.capacity() } else { 0 };
        let last = if self.out_of_order.is_some() { size_of::<Option<Expected>>() } else { 0 };
        claims * size_of::<Claim>() + lasts * size_of::<Origin>() + last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::{Expiry, RowId, Value};

    fn guard(version: u64, row: &str) -> Guard {
        let version = if version == 0 { Version::NONE } else { Version::from_parts(&[version]) };
        Guard { version, owner: RowId::new(row.as_bytes()) }
    }

    fn key(steps: &[(u64, &str, Option<&str>)]) -> GuardedKey {
        let mut key = GuardedKey::default();
        for ((version, row, value), offset) in steps.iter().zip(0..) {
            let effect =
                value.map_or(Effect::Delete, |text| Effect::Write(Value::text(text), Expiry::In(60_000)));
            let origin = Origin { partition: offset % 2, offset: i64::from(offset), timestamp_ms: None };
            key.apply(&effect, &guard(*version, row), origin);
        }
        key
    }

    /// The value that must be there, and what may be instead.
    fn fold(steps: &[(u64, &str, Option<&str>)]) -> (Option<Fingerprint>, Vec<Option<Fingerprint>>) {
        let Expectation { expected, others, .. } = key(steps).expectation();
        let value = |expected: Expected| expected.value;
        (expected.map(value), others.into_iter().map(|other| other.map(value)).collect())
    }

    fn print(text: &str) -> Fingerprint {
        Fingerprint::of(&Value::text(text)).unwrap()
    }

    #[test]
    fn guarded_keys_follow_positions_whatever_order_they_are_read_in() {
        let steps = [(1, "a", Some("a")), (3, "a", None), (5, "b", Some("b"))];
        assert_eq!(fold(&steps), (Some(print("b")), vec![]));
        let b_first = [(5, "b", Some("b")), (1, "a", Some("a")), (3, "a", None)];
        assert_eq!(fold(&b_first), (Some(print("b")), vec![]));
        let gone = [(5, "b", Some("b")), (7, "b", None), (1, "a", Some("a")), (3, "a", None)];
        assert_eq!(fold(&gone), (None, vec![]));
    }

    #[test]
    fn what_the_order_of_lanes_can_leave_is_right_too() {
        let tie = [(5, "a", Some("a")), (5, "b", Some("b"))];
        assert_eq!(fold(&tie), (Some(print("b")), vec![Some(print("a"))]));
        let after_a_refill = [(1, "a", Some("a")), (2, "b", Some("b")), (3, "b", None)];
        assert_eq!(fold(&after_a_refill), (None, vec![Some(print("a"))]));
        let kept_out = [(2, "b", Some("b")), (1, "a", Some("a")), (3, "a", None)];
        assert_eq!(fold(&kept_out), (Some(print("b")), vec![None]));
        let tie_given_up = [(5, "a", Some("a")), (5, "a", None), (5, "b", Some("b"))];
        assert_eq!(fold(&tie_given_up), (Some(print("b")), vec![None]));
        let passed_on = [(1, "a", Some("a")), (5, "a", None), (5, "b", Some("b"))];
        assert_eq!(fold(&passed_on), (Some(print("b")), vec![]));
    }

    #[test]
    fn of_a_key_that_one_row_has_the_last_record_may_have_been_let_in() {
        let row = std::str::from_utf8(RowId::PRIMARY).unwrap();
        let late = [(5, row, Some("new")), (3, row, Some("late"))];
        assert_eq!(fold(&late), (Some(print("new")), vec![Some(print("late"))]));
        let late_delete = [(5, row, Some("new")), (3, row, None)];
        assert_eq!(fold(&late_delete), (Some(print("new")), vec![None]));
        let caught_up = [(5, row, Some("new")), (3, row, Some("late")), (6, row, Some("newer"))];
        assert_eq!(fold(&caught_up), (Some(print("newer")), vec![]));
        let of_rows = [(5, "a", Some("new")), (3, "a", Some("late"))];
        assert_eq!(fold(&of_rows), (Some(print("new")), vec![]));
    }

    #[test]
    fn versions_of_one_row_count_and_none_is_oldest() {
        let late_snapshot = [(5, "a", Some("new")), (0, "a", Some("old"))];
        assert_eq!(fold(&late_snapshot).0, Some(print("new")));
        let tombstone = [(5, "a", Some("new")), (0, "a", None)];
        assert_eq!(fold(&tombstone).0, None);
        let read_after_a_tombstone = [(5, "a", Some("old")), (0, "a", None), (0, "a", Some("again"))];
        assert_eq!(fold(&read_after_a_tombstone), (Some(print("again")), vec![None]), "5 is remembered");
        let stale_delete = [(5, "a", Some("new")), (4, "a", None)];
        assert_eq!(fold(&stale_delete).0, Some(print("new")));
        assert!(key(&[(5, "a", None)]).expectation().unwritten);
    }

    #[test]
    fn the_last_record_of_each_partition_is_remembered() {
        let steps =
            [(1, "a", Some("a")), (2, "b", Some("b")), (3, "a", None), (4, "b", None), (5, "b", None)];
        let lasts = key(&steps).expectation().lasts;
        let lasts: Vec<_> = lasts.iter().map(|last| (last.partition, last.offset)).collect();
        assert_eq!(lasts, [(1, 3), (0, 4)]);
    }

    #[test]
    fn rows_of_one_key_are_bounded() {
        let rows: Vec<String> = (0..100).map(|row| format!("row {row}")).collect();
        let steps: Vec<_> =
            (1..).zip(&rows).map(|(version, row)| (version, row.as_str(), Some("x"))).collect();
        let key = key(&steps);
        assert_eq!(key.claims.len(), CLAIMS_MAX);
        assert!(key.heap_bytes() < 10_000);
    }
}
