//! Records of history on their way into a lane's refill.
//!
//! Taken after live records, and one part after the other: a schema that is not known yet holds them up, and only
//! them. Within a part the newest are looked at first, so that what they settle is not decoded, and what comes of them
//! is told in their order.

use std::collections::HashSet;

use super::handle::{OfHistory, handle_history};
use super::{Action, Worker};
use crate::batch::LaneId;
use crate::clock::Now;
use crate::decode::SchemaRef;
use crate::pipeline::Pipeline;
use crate::record::AsRecord;
use crate::refill::Refill;
use crate::source::{History, StopReason};

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
        while let Some(part) = owned.history.pop_front() {
            if let Some(refill) = owned.lane.refill_mut() {
                refill.set_growth(part.growth);
            }
            owned.history_needs = missing_schema(&self.pipeline, owned.lane.refill_mut(), &part);
            if let Some(schema) = owned.history_needs {
                owned.history.push_front(part);
                if self.schemas.add(schema, now) {
                    out.push(Action::FetchSchema(schema));
                }
                return Ok(());
            }
            let policy = self.options.lane.on_refused;
            let mut handled: Vec<(&R, OfHistory)> = Vec::new();
            let mut settled: HashSet<&[u8], ahash::RandomState> = HashSet::default();
            for whole in part.records.iter().rev() {
                let record = whole.as_record();
                let Some(refill) = owned.lane.refill_mut() else { break };
                if !refill.wants(part.number, record.key, record.timestamp_ms)
                    || record.key.is_some_and(|key| settled.contains(key))
                {
                    continue;
                }
                let (pipeline, lane) = (&mut self.pipeline, &mut owned.lane);
                let of_history =
                    handle_history(pipeline, &record, lane, policy, &mut self.counts, &mut self.breaker)?;
                if let (true, Some(key)) = (of_history.settles, record.key) {
                    settled.insert(key);
                }
                handled.push((whole, of_history));
            }
            if let Some(refill) = owned.lane.refill_mut() {
                for (whole, of_history) in handled.into_iter().rev() {
                    of_history.tell(refill, whole.as_record().key);
                }
            }
            if let Some((from, low)) = part.end {
                owned.lane.history_read(part.number, from, low);
            }
        }
        Ok(())
    }
}

/// A schema that a record which is wanted needs.
fn missing_schema<R: AsRecord>(
    pipeline: &Pipeline,
    refill: Option<&mut Refill>,
    part: &History<R>,
) -> Option<SchemaRef> {
    let refill = refill?;
    part.records.iter().find_map(|whole| {
        let record = whole.as_record();
        let schema = pipeline.missing_schema(&record)?;
        refill.would_want(part.number, record.key, record.timestamp_ms).then_some(schema)
    })
}
