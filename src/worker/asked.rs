//! A refill that somebody asked for, on its way to the lanes.

use std::sync::Arc;

use super::{Action, Worker};
use crate::batch::LaneId;
use crate::clock::Now;
use crate::record::AsRecord;
use crate::refill::{RefillAsked, Scope};

impl<R: AsRecord> Worker<R> {
    /// Hands the lanes what is asked for, or takes it back. Lanes that are through with it are left alone, also
    /// those that another owner had before.
    pub(super) fn refill_asked(&mut self, asked: Option<&RefillAsked>, now: Now, out: &mut Vec<Action>) {
        let lanes: Vec<LaneId> = self.lanes.keys().copied().collect();
        let Some(RefillAsked { request, lanes: told }) = asked else {
            self.throttle.set_rate(self.options.refill_rate);
            for id in lanes {
                self.with(id, now, out, |owned, _| owned.lane.cancel_refill());
            }
            return;
        };
        #[expect(clippy::cast_precision_loss, reason = "few workers")]
        let rate = request.rate.map(|rate| rate / self.options.workers.max(1) as f64);
        self.throttle.set_rate(rate.or(self.options.refill_rate));
        let id: Arc<str> = request.id.as_str().into();
        let entities = Arc::clone(self.pipeline.entities());
        let named = |(index, entity): (usize, &crate::entity::Entity)| {
            request.entities.iter().any(|name| **name == *entity.name).then_some(index)
        };
        let wanted: Vec<usize> = entities.iter().enumerate().filter_map(named).collect();
        for lane in lanes {
            self.with(lane, now, out, |owned, acts| {
                let name = owned.lane.name();
                let told = told.get(name);
                if told.is_some_and(|report| report.state.is_over()) {
                    return;
                }
                let read_here = |index: &usize| {
                    entities.get(*index).is_some_and(|entity| entity.topics.matches(&name.topic))
                };
                let here: Vec<usize> = wanted.iter().copied().filter(read_here).collect();
                if !request.entities.is_empty() && here.is_empty() {
                    owned.lane.skip_refill(&id);
                    return;
                }
                let scope =
                    Scope { since_ms: request.since_ms, entities: here, keys_max: request.lane_keys_max };
                owned.lane.ask_refill(&id, request.mode(), scope, told);
                owned.lane.tick(now, acts);
            });
        }
    }
}
