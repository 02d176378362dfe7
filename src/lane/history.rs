//! What a lane does about the history that it owes: after a loss, at the start of a group, or because it was asked.

use std::sync::Arc;

use super::{Act, Lane, Phase, RefillNews};
use crate::batch::{Batch, Owed, RefillMode};
use crate::clock::Now;
use crate::mutation::RowId;
use crate::record::{Position, Record};
use crate::refill::{AskedState, LaneReport, Progressed, Refill, RefillCounts, RefillView, Scope};

/// A refill that was asked for.
#[derive(Debug)]
pub(super) struct Asked {
    id: Arc<str>,
    mode: RefillMode,
    scope: Scope,
    /// True where nothing else is owed, so that its scope holds.
    alone: bool,
    /// What the lane owed when it was taken over is what a former owner had left of this.
    begun_before: bool,
    report: LaneReport,
}

impl Lane {
    /// True while a refill runs: then it is to be told of the rows of what the lane takes.
    pub fn is_refilling(&self) -> bool {
        self.refill.is_some()
    }

    /// How far the refill is, and how it writes.
    pub fn refill_view(&self) -> Option<(RefillView, RefillMode)> {
        self.refill.as_ref().map(|refill| (refill.view(), refill.mode()))
    }

    /// The refill, to be given the records that it asked for.
    pub fn refill_mut(&mut self) -> Option<&mut Refill> {
        self.refill.as_mut()
    }

    /// So many keys of history may be sent from now on.
    pub fn allow_history(&mut self, keys: usize) {
        self.history_allowed = keys;
    }

    /// Keys of history that were sent since this was last asked.
    pub fn history_sent(&mut self) -> usize {
        std::mem::take(&mut self.history_sent)
    }

    /// True where history waits for nothing but its rate.
    pub fn history_is_held_back(&self) -> bool {
        self.history_allowed == 0
            && self.flight.is_none()
            && self.phase == Phase::Running
            && self.refill.as_ref().is_some_and(Refill::has_entries)
    }

    /// What is owed.
    pub fn owed(&self) -> Option<Owed> {
        self.owed
    }

    /// The lane takes this record: what is filled next is of it.
    pub fn takes(&mut self, record: &Record<'_>) {
        if let Some(refill) = &mut self.refill {
            refill.live(record.key);
        }
    }

    /// The lane took a change of these rows.
    pub fn took_rows(&mut self, entity: usize, rows: &[RowId]) {
        if let Some(refill) = &mut self.refill {
            refill.saw_rows(entity, rows);
        }
    }

    /// The lane took this record, and it settles its record key.
    pub fn took_settled(&mut self, record: &Record<'_>) {
        if let (Some(refill), Some(key)) = (&mut self.refill, record.key) {
            refill.saw_settled(key);
        }
    }

    /// The source has read a window of history, from `from` to its end; the partition begins at `low`.
    pub fn history_read(&mut self, number: u64, from: Position, low: Position) {
        if let Some(refill) = &mut self.refill {
            refill.read(number, from, low);
        }
    }

    /// What is owed, as the commit is to say: without the steps, of which only watermarks tell.
    pub(super) fn to_store(&self) -> Option<Owed> {
        self.owed.map(|owed| Owed { step: 0, ..owed })
    }

    /// Somebody asks for a refill. It begins as soon as nothing is in flight; asked twice it is done once. `told` is
    /// what a former owner told of it.
    pub fn ask_refill(&mut self, id: &Arc<str>, mode: RefillMode, scope: Scope, told: Option<&LaneReport>) {
        if self.asked.as_ref().is_some_and(|asked| asked.id == *id) {
            return;
        }
        let report = LaneReport::new(AskedState::Waiting, 0.0, RefillCounts::default());
        let begun_before = told.is_some_and(|told| told.stored);
        self.asked = Some(Asked { id: Arc::clone(id), mode, scope, alone: false, begun_before, report });
    }

    /// Nothing of what somebody asks for is in this lane's partition.
    pub fn skip_refill(&mut self, id: &Arc<str>) {
        if self.asked.as_ref().is_none_or(|asked| asked.id != *id) {
            let report = LaneReport::new(AskedState::Done, 1.0, RefillCounts::default());
            let (mode, scope) = (RefillMode::IfAbsent, Scope::default());
            let id = Arc::clone(id);
            self.asked = Some(Asked { id, mode, scope, alone: false, begun_before: false, report });
        }
    }

    /// The refill that was asked for is taken back. What is owed for another reason goes on.
    pub fn cancel_refill(&mut self) {
        let Some(asked) = self.asked.as_mut().filter(|asked| !asked.report.state.is_over()) else { return };
        let alone = asked.alone && asked.report.state == AskedState::Running;
        self.asked_is_over(AskedState::Cancelled);
        if alone {
            self.owed = None;
            self.refill = None;
        }
    }

    /// How far a refill is that was asked for, and which one it is.
    pub fn asked_report(&self) -> Option<(&Arc<str>, LaneReport)> {
        let asked = self.asked.as_ref()?;
        let report = match (&self.refill, asked.report.state) {
            (Some(refill), AskedState::Running) => {
                let view = refill.view();
                let report = LaneReport::new(AskedState::Running, view.covered(), view.counts);
                LaneReport { stored: asked.report.stored, ..report }
            }
            _ => asked.report,
        };
        Some((&asked.id, report))
    }

    /// True where all masters are to be told that they owe: a refill that was asked for.
    pub(super) fn asks(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.report.state == AskedState::Running)
    }

    /// All masters' watermarks say what is owed.
    pub(super) fn owed_is_stored(&mut self) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.report.state == AskedState::Running) {
            asked.report.stored = true;
        }
    }

    /// What is owed is more than was asked for, by now.
    pub(super) fn owes_more_than_asked(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.alone = false;
        }
    }

    /// The lane is another owner's, or a new one: what was asked for begins anew with the next claim.
    pub(super) fn ask_again(&mut self) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| !asked.report.state.is_over()) {
            asked.report.state = AskedState::Waiting;
            asked.report.stored = false;
        }
    }

    fn asked_is_over(&mut self, state: AskedState) {
        let view = self.refill.as_ref().map(Refill::view).unwrap_or_default();
        if let Some(asked) = self.asked.as_mut().filter(|asked| !asked.report.state.is_over()) {
            let covered = if state == AskedState::Done { 1.0 } else { view.covered() };
            asked.report = LaneReport::new(state, covered, view.counts);
        }
    }

    /// Begins a refill where one is owed, takes in what landed, and asks for the next window. Called where
    /// nothing is in flight.
    ///
    /// While records are read again it is told what the lane takes, and waits: what lies before them is older.
    pub(super) fn go_on_refilling(&mut self, now: Now, out: &mut Vec<Act>) {
        let is_behind = self.position < self.caught_up_at;
        if !is_behind {
            self.begin_asked();
        }
        let Some(owed) = self.owed else { return };
        if self.refill.is_none() {
            out.push(Act::Refill(RefillNews::Began(owed)));
            let scope = self.scope(now);
            self.refill = Some(Refill::new(owed, self.position, self.options.refill, scope));
        }
        if is_behind {
            return;
        }
        let Some(refill) = &mut self.refill else { return };
        while let Some(progressed) = refill.landed() {
            let state = match progressed {
                Progressed::Covered => continue,
                Progressed::Owes(below) => {
                    if let Some(owed) = &mut self.owed {
                        owed.below = below;
                    }
                    continue;
                }
                Progressed::Done => AskedState::Done,
                Progressed::KeysMax => AskedState::KeysMax,
            };
            out.push(Act::Refill(RefillNews::Done(refill.view().counts)));
            self.asked_is_over(state);
            self.owed = None;
            self.refill = None;
            return;
        }
        if refill.doubts_placing() {
            out.push(Act::Refill(RefillNews::PlacedOtherwise));
        }
        if refill.wants_top() {
            refill.restart(self.position);
        }
        if let Some(request) = refill.next_request(self.window_count + 1) {
            self.window_count += 1;
            out.push(Act::ReadHistory(request));
        }
    }

    /// What somebody asks for is owed from now on.
    fn begin_asked(&mut self) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.report.state == AskedState::Waiting) {
            asked.report.state = AskedState::Running;
            // Only what is asked for is written where absent: it is what an owner before this one had begun.
            asked.alone = self.owed.is_none_or(|owed| owed.mode == RefillMode::IfAbsent);
            let all = Owed::all(self.applied, asked.mode);
            self.owed = match self.owed {
                left @ Some(_) if asked.alone && asked.mode == RefillMode::IfAbsent && asked.begun_before => {
                    left
                }
                _ if asked.alone => Some(all),
                more => Owed::together(more, Some(all)),
            };
            asked.begun_before = false;
            self.refill = None;
        }
    }

    /// Which part of the history is refilled. What cannot be alive any more is left out; and what was not asked
    /// for, unless more than that is owed.
    fn scope(&self, now: Now) -> Scope {
        let asked =
            self.asked.as_ref().filter(|asked| asked.alone && asked.report.state == AskedState::Running);
        let mut scope = asked.map(|asked| asked.scope.clone()).unwrap_or_default();
        let lived_ms = self.longest_life.map(|life| i64::try_from(life.as_millis()).unwrap_or(i64::MAX));
        scope.since_ms = scope.since_ms.max(lived_ms.map(|ms| now.unix_ms.saturating_sub(ms)));
        scope
    }

    /// Redis has no room: the refill ends, and the live changes of its batch alone are sent again.
    pub(super) fn stop_refilling(&mut self, batch: &mut Batch, out: &mut Vec<Act>) {
        batch.units.retain(|unit| !unit.offsets.is_empty());
        if let Some(refill) = &self.refill {
            out.push(Act::Refill(RefillNews::NoRoom(refill.view().counts)));
            self.asked_is_over(AskedState::NoRoom);
            self.refill = None;
            self.owed = None;
        }
    }
}
