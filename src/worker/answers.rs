//! What the sink answers to batches and purges: handed to their lane, and counted.

use std::time::Duration;

use super::counts::Failed;
use super::{Action, Worker};
use crate::batch::{Batch, LaneId, Outcomes, Purge, Purged, WatermarkSeen};
use crate::clock::Now;
use crate::dead_letter::Stage;
use crate::error::WorldError;
use crate::lane::Tally;
use crate::record::AsRecord;
use crate::source::ToSource;

/// A lane that finds data lost makes the others look, this often: what one of them lost, all have.
const ALERT_INTERVAL: Duration = Duration::from_secs(1);

impl<R: AsRecord> Worker<R> {
    pub(super) fn applied(&mut self, batch: Batch, outcomes: Outcomes, now: Now, out: &mut Vec<Action>) {
        let id = batch.lane;
        let mut tally = Tally::default();
        let is_lost = outcomes.watermark == WatermarkSeen::Missing;
        self.with(id, now, out, |owned, acts| owned.lane.applied(batch, outcomes, now, &mut tally, acts));
        if is_lost && self.alerted_at.is_none_or(|at| now.monotonic >= at + ALERT_INTERVAL) {
            self.alerted_at = Some(now.monotonic);
            let others: Vec<LaneId> = self.lanes.keys().copied().filter(|other| *other != id).collect();
            for other in others {
                self.with(other, now, out, |owned, _| owned.lane.look_soon());
            }
        }
        self.counts.world.extend(tally.error);
        let Some(owned) = self.lanes.get_mut(&id) else { return };
        for turned in owned.rejects.add(&tally.guarded) {
            self.counts.guard_alarms.push((owned.lane.name().clone(), turned));
        }
        for (offset, entity, refusal) in tally.refused {
            self.counts.failures.push(Failed {
                lane: owned.lane.name().clone(),
                offset,
                entity: Some(entity),
                stage: Stage::Apply,
                kind: refusal.kind(),
                detail: refusal.to_string(),
            });
            self.breaker.looked_at(true);
        }
        if self.breaker.tripped() && !self.stopped {
            self.stopped = true;
            out.push(Action::Source(ToSource::Stop(self.breaker.reason())));
        }
    }

    pub(super) fn purged(
        &mut self,
        purge: &Purge,
        result: &Result<Purged, WorldError>,
        now: Now,
        out: &mut Vec<Action>,
    ) {
        match result {
            Ok(purged) => *self.counts.purged.entry(purge.entity).or_default() += purged.deleted,
            Err(error) => self.counts.world.push(error.clone()),
        }
        let mut done = None;
        self.with(purge.lane, now, out, |owned, acts| {
            done = owned
                .lane
                .purged(purge, result, now, acts)
                .map(|deleted| (owned.lane.name().clone(), deleted));
        });
        if let Some((lane, deleted)) = done {
            self.counts.purges_done.push((lane, purge.entity, deleted));
        }
    }
}
