//! One lane's refill: its history, newest first, in windows, beside the live changes.
//!
//! ```text
//!   low                         cursor        owed.below      top
//!    │  not read yet  │ window ◀──┤  written     │  applied by the lane  │ live ─▶
//! ```
//!
//! Above `top` the lane follows its partition and tells what it sees. Below, windows are read forwards, one after
//! the other towards the beginning. Each key is written once, by its row's newest change, and only where neither a
//! newer window nor the lane has seen the row or the key: so hot keys come back first, no old value ever shows,
//! and what was deleted stays deleted. What lies between `owed.below` and `top` is there already (a refill that
//! goes on after a restart or a rewind): it is read for its rows and keys alone.
//!
//! Where rows and keys are more than memory may hold, they are covered in slices by the hash of the record key, one
//! pass a slice, each from a new `top`.
//!
//! Pure. Which history is owed is the lane's to know ([`crate::lane`]), reading is the source's. Start at [`Refill`].

mod growth;
mod request;
mod seen;
mod window;

use std::collections::VecDeque;

use smallvec::SmallVec;

pub use self::growth::Growth;
use self::growth::Placing;
pub use self::request::{AskedState, LaneReport, RefillAsked, RefillRequest, Scope};
pub use self::seen::FINGERPRINT_BYTES_MAX;
use self::seen::{Fingerprint, Seen};
use self::window::{Entry, Finished, Window, truncate};
use crate::batch::{Action, Owed, RefillMode, Step};
use crate::coalesce::Filling;
use crate::mutation::{CacheKey, Effect, Guard, Mutation, RowId};
use crate::record::Position;

/// Records in the first window; see [`RefillOptions::window_records`]. Few, for what is asked for most is in them.
pub const WINDOW_RECORDS: i64 = 2_500;
/// A window is so many times as large as the one before it, as far as memory allows.
const WINDOW_GROWTH: u8 = 3;
/// Records in a window at most: a backward walk by windows of 60,000 read 0.95 million records a second, by windows
/// of 20,000 half of that.
const WINDOW_RECORDS_MAX: i64 = 60_000;
/// Slices at most: as many passes over the history. Beyond, memory grows instead.
const SLICES_MAX: u64 = 1 << 12;

/// Bounds of a refill.
#[derive(Debug, Clone, Copy)]
pub struct RefillOptions {
    /// Records in the first window. Later ones grow as far as memory allows.
    pub window_records: i64,
    /// Bytes of keys and values in one window of this lane; two windows may be in memory.
    pub window_bytes: usize,
    /// Rows and keys that are remembered; past it, slices are made.
    pub seen_max: usize,
    /// Makes fingerprints unlike those of other processes.
    pub seed: u64,
}

/// What is to be read: records below `until`, as many as asked for, but none below the partition's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRequest {
    /// Which window of its lane: records of others are stale.
    pub number: u64,
    /// True where a pass begins with it.
    pub is_first: bool,
    /// The first position after it.
    pub until: Position,
    /// Positions that it spans at most.
    pub records: i64,
}

/// How far a refill is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefillView {
    /// Where this pass began.
    pub top: Position,
    /// Everything from here on was read in this pass.
    pub cursor: Position,
    /// The partition's first position, as far as it is known.
    pub low: Position,
    /// Which slice it is of how many.
    pub slice: u64,
    /// How many slices there are.
    pub slices: u64,
    /// Counts so far.
    pub counts: RefillCounts,
}

impl RefillView {
    /// Share of the history that is covered, over all slices: 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn covered(&self) -> f64 {
        (self.slice as f64 + self.covered_of_pass()) / self.slices.max(1) as f64
    }

    /// Share of the history that this pass has covered: 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn covered_of_pass(&self) -> f64 {
        let (whole, done) = (self.top.saturating_sub(self.low), self.top.saturating_sub(self.cursor));
        if whole > 0 { (done as f64 / whole as f64).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// What a refill did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefillCounts {
    /// Records of history that were read.
    pub read: u64,
    /// Keys that were sent.
    pub written: u64,
    /// Keys that were left out, their row or key having been seen.
    pub seen: u64,
    /// Changes that failed, and were left out.
    pub failed: u64,
    /// Records that were left out, their key having moved to another partition.
    pub moved: u64,
}

/// The refill of one lane.
#[derive(Debug)]
pub struct Refill {
    owed: Owed,
    options: RefillOptions,
    scope: Scope,
    top: Position,
    cursor: Position,
    low: Option<Position>,
    slice: u64,
    slices: u64,
    seen: Seen,
    live_is_of_slice: bool,
    /// Entities whose table was truncated after all that is still to be read in this pass.
    truncated: SmallVec<[usize; 1]>,
    window_records: i64,
    reading: Option<Reading>,
    ready: Option<Covered>,
    writing: Option<Covered>,
    placing: Placing,
    counts: RefillCounts,
}

/// A window that is being read.
#[derive(Debug)]
struct Reading {
    request: HistoryRequest,
    window: Window,
    /// The newest timestamp in it; the last moment of all where a record has none.
    newest_ms: Option<i64>,
    /// The record at hand is of this slice.
    is_of_slice: bool,
    /// It was too large: the rest of it is passed over, and a smaller one is asked for.
    too_large: bool,
}

/// A window that was read to its end.
#[derive(Debug)]
struct Covered {
    from: Position,
    /// True where nothing of it is written: it is there.
    recalled: bool,
    entries: VecDeque<(Entry, bool)>,
    rows: Vec<Fingerprint>,
}

/// What came of a batch that landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progressed {
    /// A window is done, and what is owed is the same.
    Covered,
    /// Only what lies below is owed any more.
    Owes(Position),
    /// All of the history is covered.
    Done,
    /// As many keys are written as the scope allows.
    KeysMax,
}

impl Refill {
    /// Begins, or goes on with what is owed. The lane tells of all that it takes from `top` on.
    pub fn new(owed: Owed, top: Position, options: RefillOptions, scope: Scope) -> Refill {
        Refill {
            owed,
            options,
            scope,
            top,
            cursor: top,
            low: None,
            slice: 0,
            slices: 1,
            seen: Seen::new(options.seed, options.seen_max),
            live_is_of_slice: true,
            truncated: SmallVec::new(),
            window_records: options.window_records,
            reading: None,
            ready: None,
            writing: None,
            placing: Placing::default(),
            counts: RefillCounts::default(),
        }
    }

    /// How it writes.
    pub fn mode(&self) -> RefillMode {
        self.owed.mode
    }

    /// How far it is.
    pub fn view(&self) -> RefillView {
        RefillView {
            top: self.top,
            cursor: self.cursor,
            low: self.low.unwrap_or(0),
            slice: self.slice,
            slices: self.slices,
            counts: self.counts,
        }
    }

    /// The next window to read, where one is due. The number is one that no window of the lane had before, also not of
    /// an earlier refill, whose records may still come.
    pub fn next_request(&mut self, number: u64) -> Option<HistoryRequest> {
        if self.reading.is_some() || self.ready.is_some() || self.is_read() || self.wants_top() {
            return None;
        }
        let below = self.owed.below;
        let span = if self.cursor > below { self.cursor.saturating_sub(below) } else { i64::MAX };
        let records = self.window_records.min(span).max(1);
        let request =
            HistoryRequest { number, is_first: self.cursor == self.top, until: self.cursor, records };
        let window = Window::default();
        self.reading =
            Some(Reading { request, window, newest_ms: None, is_of_slice: true, too_large: false });
        Some(request)
    }

    /// True where this pass has reached the partition's beginning.
    fn is_read(&self) -> bool {
        self.low.is_some_and(|low| self.cursor <= low)
    }

    /// The records that come next are of a topic that has grown, or has not.
    pub fn set_growth(&mut self, growth: Option<Growth>) {
        self.placing.set(growth);
    }

    /// True once where records whose key may have moved stay in, for they are not placed by Kafka's own hash.
    pub fn doubts_placing(&mut self) -> bool {
        self.placing.doubts()
    }

    /// True where a record of that window is to be handled: one of this window and of this slice. Counts it as read.
    pub fn wants(&mut self, number: u64, record_key: Option<&[u8]>, timestamp_ms: Option<i64>) -> bool {
        let Some(reading) = self.reading_of(number) else { return false };
        reading.newest_ms = reading.newest_ms.max(timestamp_ms.or(Some(i64::MAX)));
        self.counts.read += 1;
        if !self.is_too_old(timestamp_ms) && record_key.is_some_and(|key| self.placing.leaves_out(key)) {
            self.counts.moved += 1;
            return false;
        }
        self.would_want(number, record_key, timestamp_ms)
    }

    /// The same, without counting.
    pub fn would_want(&self, number: u64, record_key: Option<&[u8]>, timestamp_ms: Option<i64>) -> bool {
        let reading = self.reading.as_ref().filter(|reading| reading.request.number == number);
        if reading.is_none_or(|reading| reading.too_large) || self.is_too_old(timestamp_ms) {
            return false;
        }
        // A truncate has no key, and concerns every slice.
        let Some(key) = record_key else { return true };
        // Most of a hot row's history: it is not even decoded.
        self.is_of_slice(record_key) && !self.seen.contains(self.seen.record(key))
    }

    fn is_too_old(&self, timestamp_ms: Option<i64>) -> bool {
        timestamp_ms.is_some_and(|at_ms| self.scope.since_ms.is_some_and(|since_ms| at_ms < since_ms))
    }

    fn reading_of(&mut self, number: u64) -> Option<&mut Reading> {
        self.reading.as_mut().filter(|reading| reading.request.number == number && !reading.too_large)
    }

    /// What is added next is of a record of the window with that key.
    pub fn history(&mut self, record_key: Option<&[u8]>) {
        let is_of_slice = self.is_of_slice(record_key);
        if let Some(reading) = &mut self.reading {
            reading.is_of_slice = is_of_slice;
        }
    }

    fn is_of_slice(&self, record_key: Option<&[u8]>) -> bool {
        self.slices == 1 || self.seen.spread(record_key.unwrap_or_default()) % self.slices == self.slice
    }

    /// Adds one change of the window's next record: the rows that it is of (the last one as it is now).
    /// `entity` is none where it is not known: of a record that could not be read, whose keys are given up.
    pub fn add(&mut self, entity: Option<usize>, rows: &[RowId], mutations: impl Iterator<Item = Mutation>) {
        if entity.is_some_and(|entity| !self.scope.has(entity)) {
            return;
        }
        let rows = rows.iter().map(|row| self.seen.row(entity.unwrap_or_default(), row)).collect();
        let wanted = |reading: &&mut Reading| reading.is_of_slice && !reading.too_large;
        let Some(reading) = self.reading.as_mut().filter(wanted) else { return };
        reading.window.add(entity, rows, mutations);
        if reading.window.bytes() > self.options.window_bytes && reading.request.records > 1 {
            reading.too_large = true;
            reading.window = Window::default();
        }
    }

    /// The window's next record, under this key, settles it ([`crate::pipeline::Pipeline::settles`]).
    pub fn settle(&mut self, record_key: &[u8]) {
        let record_key = self.seen.record(record_key);
        if let Some(reading) =
            self.reading.as_mut().filter(|reading| reading.is_of_slice && !reading.too_large)
        {
            reading.window.settle(record_key);
        }
    }

    /// The lane took a live record that settles its key.
    pub fn saw_settled(&mut self, record_key: &[u8]) {
        if self.live_is_of_slice {
            self.seen.insert(self.seen.record(record_key));
        }
    }

    /// The window's next record truncated the entity's table: what it held before was deleted.
    pub fn truncate(&mut self, entity: usize) {
        if let Some(reading) = &mut self.reading {
            reading.window.truncate(entity);
        }
    }

    /// The lane took a live truncate of the entity's table.
    pub fn saw_truncate(&mut self, entity: usize) {
        self.truncate(entity);
        for covered in [&mut self.ready, &mut self.writing].into_iter().flatten() {
            truncate(covered.entries.iter_mut().map(|(entry, _)| entry), entity);
        }
        self.were_truncated(&[entity]);
    }

    fn were_truncated(&mut self, entities: &[usize]) {
        for entity in entities {
            if !self.truncated.contains(entity) {
                self.truncated.push(*entity);
            }
        }
    }

    /// Counts a change of history that failed.
    pub fn failed(&mut self) {
        self.counts.failed += 1;
    }

    /// The window was read from `from` to its end; the partition begins at `low`.
    pub fn read(&mut self, number: u64, from: Position, low: Position) {
        let Some(Reading { request, window, newest_ms, too_large, .. }) =
            self.reading.take_if(|reading| reading.request.number == number)
        else {
            return;
        };
        let again = self.placing.judge(!too_large);
        if again {
            return;
        }
        if too_large {
            self.window_records = (request.records / 2).max(1);
            return;
        }
        if window.bytes().saturating_mul(usize::from(WINDOW_GROWTH)) < self.options.window_bytes {
            self.window_records =
                self.window_records.saturating_mul(i64::from(WINDOW_GROWTH)).min(WINDOW_RECORDS_MAX);
        }
        // What lies before a window that is too old as a whole is older still.
        let is_too_old = newest_ms.zip(self.scope.since_ms).is_some_and(|(newest, since)| newest < since);
        self.low = Some(if is_too_old { from.max(low) } else { low });
        self.cursor = from.min(self.cursor);
        let recalled = request.until > self.owed.below;
        let Finished { mut entries, rows, settled, truncated } = window.finish();
        settled.into_iter().for_each(|record_key| self.seen.insert(record_key));
        for entity in &self.truncated {
            truncate(entries.iter_mut().map(|(entry, _)| entry), *entity);
        }
        self.were_truncated(&truncated);
        self.ready = Some(Covered { from: self.cursor, recalled, entries: entries.into(), rows });
        self.begin_writing();
    }

    /// The lane takes a live record with that key: what is seen next is of it.
    pub fn live(&mut self, record_key: Option<&[u8]>) {
        self.live_is_of_slice = self.is_of_slice(record_key);
    }

    /// The lane took a live change of these rows.
    pub fn saw_rows(&mut self, entity: usize, rows: &[RowId]) {
        for row in rows.iter().filter(|_| self.live_is_of_slice) {
            self.seen.insert(self.seen.row(entity, row));
        }
    }

    /// The lane took a live change of this key, which its partition orders. True where it is known that the lane,
    /// or this refill, has written or deleted the key before: it holds nothing that is older than that.
    pub fn saw_key(&mut self, key: &CacheKey) -> bool {
        if !self.live_is_of_slice {
            return false;
        }
        let key = self.seen.key(key);
        let known = self.seen.contains(key);
        self.seen.insert(key);
        known
    }

    /// True where something waits to be written.
    pub fn has_entries(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| !writing.entries.is_empty())
    }

    /// Adds what waits to a batch that is about to be sealed, within its bounds; a key that the batch already
    /// holds waits for the next one. True where anything was added.
    pub fn fill(&mut self, filling: &mut Filling, units_max: usize, bytes_max: usize) -> bool {
        let Some(writing) = &mut self.writing else { return false };
        let keys_max = self.scope.keys_max.unwrap_or(u64::MAX);
        let mut added = false;
        for _ in 0..writing.entries.len() {
            if self.counts.written >= keys_max {
                writing.entries.clear();
                break;
            }
            if filling.len() >= units_max || filling.bytes() >= bytes_max {
                break;
            }
            let Some((entry, newest)) = writing.entries.pop_front() else { break };
            if filling.has(&entry.key) {
                writing.entries.push_back((entry, newest));
                continue;
            }
            if entry.entity.is_none() && !self.scope.is_whole() {
                // Whose key it is, and so whether it is asked for, is not known: older changes leave it alone.
                if !entry.guard.as_deref().is_some_and(Guard::has_rows) {
                    self.seen.insert(self.seen.key(&entry.key));
                }
                self.counts.seen += 1;
                continue;
            }
            let (key, entity) = (entry.key.clone(), entry.entity.unwrap_or_default());
            match action(entry, newest, self.owed.mode, &mut self.seen) {
                Some(action) => {
                    filling.add_history(key, action, entity);
                    self.counts.written += 1;
                    added = true;
                }
                None => self.counts.seen += 1,
            }
        }
        added
    }

    /// A batch landed, or nothing is in flight: what is covered by now? To be asked until there is nothing new.
    pub fn landed(&mut self) -> Option<Progressed> {
        let writing = self.writing.take_if(|writing| writing.entries.is_empty())?;
        for row in writing.rows {
            self.seen.insert(row);
        }
        if self.scope.keys_max.is_some_and(|keys_max| self.counts.written >= keys_max) {
            return Some(Progressed::KeysMax);
        }
        let was_recalled = writing.recalled;
        let from = writing.from;
        if self.low.is_some_and(|low| from <= low) {
            if self.slice + 1 >= self.slices {
                return Some(Progressed::Done);
            }
            self.slice += 1;
            self.begin_again();
            return Some(Progressed::Covered);
        }
        self.begin_writing();
        if self.seen.is_over() && self.slices < SLICES_MAX {
            self.slices *= 2;
            self.slice = 0;
            self.begin_again();
        }
        if self.slices > 1 || was_recalled || from >= self.owed.below {
            return Some(Progressed::Covered);
        }
        self.owed.below = from;
        Some(Progressed::Owes(from))
    }

    /// True where this pass is over or was given up, and another one is to begin at the lane's position.
    pub fn wants_top(&self) -> bool {
        self.top == Position::MIN
    }

    /// Begins the next pass: the lane tells of all that it takes from `top` on.
    pub fn restart(&mut self, top: Position) {
        self.top = top;
        self.cursor = top;
    }

    fn begin_again(&mut self) {
        self.seen.clear();
        self.truncated.clear();
        self.reading = None;
        self.ready = None;
        self.writing = None;
        self.low = None;
        self.top = Position::MIN;
    }

    /// Takes up the window that was read, where the one before it is written. Of a window that is there already,
    /// rows and keys are noted and nothing is written.
    fn begin_writing(&mut self) {
        if self.writing.is_some() {
            return;
        }
        let Some(mut ready) = self.ready.take() else { return };
        if ready.recalled {
            for (entry, _) in ready.entries.drain(..) {
                if !entry.guard.as_deref().is_some_and(Guard::has_rows) {
                    self.seen.insert(self.seen.key(&entry.key));
                }
            }
        }
        self.writing = Some(ready);
    }
}

/// What is sent for an entry, if anything.
fn action(entry: Entry, newest: bool, mode: RefillMode, seen: &mut Seen) -> Option<Action> {
    let Entry { key, effect, guard, row, .. } = entry;
    let superseded = !newest || row.is_some_and(|row| seen.contains(row));
    if !guard.as_deref().is_some_and(Guard::has_rows) {
        let key = seen.key(&key);
        if seen.contains(key) || (superseded && (!mode.overwrites() || is_write(&effect))) {
            return None;
        }
        seen.insert(key);
    }
    let Some(guard) = guard else {
        return match effect {
            Effect::Write(value, expiry) if mode.overwrites() => Some(Action::Write(value, expiry)),
            Effect::Write(value, expiry) => Some(Action::WriteIfAbsent(value, expiry)),
            // Of a part of a value the rest lies in older changes.
            Effect::Delete | Effect::Patch(..) if mode.overwrites() => Some(Action::Delete),
            Effect::DeleteIf(value) if mode.overwrites() => {
                Some(Action::DeleteIf(SmallVec::from_iter([value])))
            }
            Effect::Delete | Effect::Patch(..) | Effect::DeleteIf(_) => None,
        };
    };
    // What the guard orders it decides: other rows may have the key, in this partition and in others.
    let has_rows = guard.has_rows();
    let Guard { version, owner } = *guard;
    match effect {
        Effect::Write(value, expiry) if !superseded => {
            Some(Action::Guarded(vec![Step::Write { version, owner, value, expiry }]))
        }
        Effect::Delete | Effect::DeleteIf(_) | Effect::Patch(..) if mode.overwrites() => {
            let step = match has_rows {
                true => Step::DeleteOwned { version, owner },
                false => Step::Delete { version, owner, covers: None },
            };
            Some(Action::Guarded(vec![step]))
        }
        Effect::Write(..) | Effect::Delete | Effect::DeleteIf(_) | Effect::Patch(..) => None,
    }
}

fn is_write(effect: &Effect) -> bool {
    matches!(effect, Effect::Write(..) | Effect::Patch(..))
}

#[cfg(test)]
mod tests;
