//! Lanes on their way out: what was taken is finished, then the sink leaves them; those that are late are abandoned.

use std::time::Duration;

use super::{Action, Worker};
use crate::batch::LaneId;
use crate::clock::Now;
use crate::record::AsRecord;
use crate::source::Released;

/// How far a lane is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Not asked to.
    Stays,
    /// Finishes what was taken.
    Drains,
    /// The sink is leaving it.
    Leaving,
}

/// Lanes that are asked back together.
#[derive(Debug)]
pub(super) struct Releasing {
    lanes: Vec<LaneId>,
    pub(super) until: Duration,
    done: std::sync::mpsc::SyncSender<Released>,
    abandoned: bool,
}

impl<R: AsRecord> Worker<R> {
    pub(super) fn release(
        &mut self,
        lanes: Vec<LaneId>,
        within: Duration,
        done: std::sync::mpsc::SyncSender<Released>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        for id in &lanes {
            if let Some(owned) = self.lanes.get_mut(id) {
                owned.leave = Leave::Drains;
                owned.lane.halt_purge();
                // What waits was not handled: its next owner reads it again.
                self.waiting.forget(&mut owned.backlog);
                owned.needs = None;
            }
            self.with(*id, now, out, |_, _| {});
        }
        self.releasing.push(Releasing { lanes, until: now.monotonic + within, done, abandoned: false });
    }

    /// Moves the releases on: lanes that are drained are left, those past the deadline abandoned.
    pub(super) fn finish_releases(&mut self, now: Now, out: &mut Vec<Action>) {
        let mut releasing = std::mem::take(&mut self.releasing);
        releasing.retain_mut(|release| {
            let late = now.monotonic >= release.until;
            release.lanes.retain(|&id| {
                let Some(owned) = self.lanes.get_mut(&id) else { return false };
                if late || owned.lane.is_stopped() {
                    release.abandoned = true;
                    self.drop_lane(id);
                    out.push(Action::Abandon(id));
                    return false;
                }
                if owned.leave == Leave::Drains && owned.lane.is_drained() {
                    owned.leave = Leave::Leaving;
                    out.push(Action::Leave(id));
                }
                true
            });
            if release.lanes.is_empty() {
                let released = if release.abandoned { Released::Abandoned } else { Released::InTime };
                out.push(Action::Answer(release.done.clone(), released));
            }
            !release.lanes.is_empty()
        });
        self.releasing = releasing;
    }
}
