//! One window of history: what its records do, composed, until the window has been read to its end.
//!
//! Read forwards, so that what comes later replaces what came before. A row's newest change in it writes; what
//! its older ones wrote is void, and their deletes matter only where the history is written over what is there.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::seen::Fingerprint;
use crate::mutation::{CacheKey, Effect, Guard, Mutation};

/// Bytes that an entry costs beside key and value: its place in the list and in the index.
const ENTRY_OVERHEAD_BYTES: usize = 160;

/// What a row is to one key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: CacheKey,
    pub(super) effect: Effect,
    pub(super) guard: Option<Box<Guard>>,
    pub(super) row: Option<Fingerprint>,
    pub(super) entity: Option<usize>,
    /// Counts the changes of the window: which one it is of.
    change: u32,
}

impl Entry {
    pub(super) fn bytes(&self) -> usize {
        let value = match &self.effect {
            Effect::Write(value, _) | Effect::DeleteIf(value) => value.size_bytes(),
            Effect::Patch(patch, _) => patch.size_bytes(),
            Effect::Delete => 0,
        };
        ENTRY_OVERHEAD_BYTES + self.key.size_bytes() + value
    }
}

/// A window that is being read.
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: Vec<Entry>,
    /// A key that several rows can have has an entry for each, any other has one.
    index: HashMap<(CacheKey, Option<Fingerprint>), usize, ahash::RandomState>,
    newest: HashMap<Fingerprint, u32, ahash::RandomState>,
    changes: u32,
    bytes: usize,
    /// Entities whose table one of its records truncated.
    truncated: SmallVec<[usize; 1]>,
    /// Record keys that a record of it settles.
    settled: Vec<Fingerprint>,
}

/// What a window comes to once it is read.
pub(super) struct Finished {
    /// What is to be looked at, newest first, each with whether it is of its row's newest change.
    pub(super) entries: Vec<(Entry, bool)>,
    /// All rows.
    pub(super) rows: Vec<Fingerprint>,
    /// Record keys that it settles: older records under them say nothing new.
    pub(super) settled: Vec<Fingerprint>,
    /// Entities whose table was truncated in it: older windows hold nothing of theirs to be written.
    pub(super) truncated: SmallVec<[usize; 1]>,
}

/// A truncate came after these: what they wrote was deleted by it.
pub(super) fn truncate<'e>(entries: impl Iterator<Item = &'e mut Entry>, entity: usize) {
    for entry in entries.filter(|entry| entry.entity == Some(entity)) {
        entry.effect = Effect::Delete;
    }
}

impl Window {
    /// Adds one change: the rows that it is of (the last one is the row as it is now), and what it does.
    pub(super) fn add(
        &mut self,
        entity: Option<usize>,
        rows: SmallVec<[Fingerprint; 2]>,
        mutations: impl Iterator<Item = Mutation>,
    ) {
        self.changes = self.changes.saturating_add(1);
        for row in &rows {
            if self.newest.insert(*row, self.changes).is_none() {
                self.bytes += 2 * size_of::<Fingerprint>();
            }
        }
        let row = rows.last().copied();
        for Mutation { key, mut effect, guard } in mutations {
            let of_row = row.filter(|_| guard.as_deref().is_some_and(Guard::has_rows));
            let held = self.index.get(&(key.clone(), of_row)).and_then(|&at| self.entries.get_mut(at));
            if let (Some(held), Effect::Patch(patch, expiry)) = (&held, &effect)
                && let Effect::Write(value, _) = &held.effect
                && held.row == row
            {
                // Onto the whole value that came before it in this window.
                effect = patch.overlay(value).map_or(Effect::Delete, |value| Effect::Write(value, *expiry));
            }
            let entry = Entry { key, effect, guard, row, entity, change: self.changes };
            self.bytes += entry.bytes();
            match held {
                Some(held) => {
                    self.bytes -= held.bytes();
                    *held = entry;
                }
                None => {
                    self.index.insert((entry.key.clone(), of_row), self.entries.len());
                    self.entries.push(entry);
                }
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The record that was added last settles this record key.
    pub(super) fn settle(&mut self, record_key: Fingerprint) {
        self.bytes += size_of::<Fingerprint>();
        self.settled.push(record_key);
    }

    /// The entity's table was truncated after what was added so far.
    pub(super) fn truncate(&mut self, entity: usize) {
        truncate(self.entries.iter_mut(), entity);
        if !self.truncated.contains(&entity) {
            self.truncated.push(entity);
        }
    }

    pub(super) fn finish(mut self) -> Finished {
        self.entries.sort_by_key(|entry| std::cmp::Reverse(entry.change));
        let newest = &self.newest;
        let is_newest = |entry: &Entry| match entry.row {
            Some(row) => newest.get(&row).is_none_or(|change| *change == entry.change),
            None => true,
        };
        let entries = self.entries.into_iter().map(|entry| {
            let newest = is_newest(&entry);
            (entry, newest)
        });
        let entries = entries.collect();
        let mut rows: Vec<Fingerprint> = self.newest.into_keys().collect();
        rows.sort_unstable();
        Finished { entries, rows, settled: self.settled, truncated: self.truncated }
    }
}
