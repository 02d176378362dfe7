//! Records of history on their way into a lane's refill.
//!
//! Taken after live records, and one part after the other: a schema that is not known yet holds them up, and only
//! them.

use super::handle::handle_history;
use super::{Action, Worker};
use crate::batch::LaneId;
use crate::clock::Now;
use crate::record::AsRecord;
use crate::source::StopReason;

impl<R: AsRecord> Worker<R> {
    /// Hands the lane's refill what was read of its history.
    pub(super) fn look_back(
        &mut self,
        id: LaneId,
        now: Now,
        out: &mut Vec<Action>,
    ) -> Result<(), StopReason> {
        let Some(owned) = self.lanes.get_mut(&id) else { return Ok(()) };
        self.pipeline.tell_rows(true);
        while let Some(part) = owned.history.front_mut() {
            owned.history_needs = None;
            if let Some(refill) = owned.lane.refill_mut() {
                refill.set_growth(part.growth);
            }
            let mut records = std::mem::take(&mut part.records).into_iter();
            for record in records.by_ref() {
                let seen = record.as_record();
                let wanted = owned
                    .lane
                    .refill_mut()
                    .is_some_and(|refill| refill.wants(part.number, seen.key, seen.timestamp_ms));
                if !wanted {
                    continue;
                }
                if let Some(schema) = self.pipeline.missing_schema(&seen) {
                    owned.history_needs = Some(schema);
                    if self.schemas.add(schema, now) {
                        out.push(Action::FetchSchema(schema));
                    }
                    part.records = std::iter::once(record).chain(records).collect();
                    return Ok(());
                }
                let policy = self.options.lane.on_refused;
                let (pipeline, lane) = (&mut self.pipeline, &mut owned.lane);
                handle_history(pipeline, &seen, lane, policy, &mut self.counts, &mut self.breaker)?;
            }
            if let Some((from, low)) = part.end {
                owned.lane.history_read(part.number, from, low);
            }
            owned.history.pop_front();
        }
        Ok(())
    }
}
