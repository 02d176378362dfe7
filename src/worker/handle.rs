//! One record on its way into its lane: what the pipeline makes of it, and what becomes of its errors.

use std::sync::Arc;

use smallvec::SmallVec;

use super::breaker::Breaker;
use super::counts::{Counts, Failed};
use crate::batch::RefillMode;
use crate::clock::Now;
use crate::dead_letter::{Letter, PendingLetter};
use crate::decode::Ignored;
use crate::entity::Entity;
use crate::lane::{Lane, OnRefused};
use crate::mutation::{Mutation, RowId};
use crate::pipeline::{Emitted, Failure, Pipeline};
use crate::record::Record;
use crate::refill::Refill;
use crate::source::StopReason;

/// Hands one record to the pipeline and what comes of it to the lane. `Err` says why the process must stop;
/// the lane's position is then still before the record.
pub(super) fn handle(
    pipeline: &mut Pipeline,
    record: &Record<'_>,
    lane: &mut Lane,
    on_error: OnRefused,
    counts: &mut Counts,
    breaker: &mut Breaker,
    now: Now,
) -> Result<(), StopReason> {
    if !lane.is_next(record.offset) {
        counts.stale += 1;
        return Ok(());
    }
    counts.taken(record.topic);
    let mut failed = false;
    let mut stop = None;
    let mut aside: Vec<Failed> = Vec::new();
    lane.takes(record);
    pipeline.handle(record, &mut |emitted| match emitted {
        Emitted::Mutations { entity, mutations, rows, commit_ms } => {
            lane.took_rows(entity, rows);
            *counts.changes.entry(entity).or_default() += 1;
            if let Some(commit_ms) = commit_ms {
                lane.committed(entity, commit_ms);
            }
            for mutation in mutations {
                counts.coalesced += u64::from(lane.fill(mutation, record.offset, entity));
            }
        }
        Emitted::Truncated { entity, templates, version } => {
            *counts.changes.entry(entity).or_default() += 1;
            counts.truncated.push((lane.name().clone(), record.offset, entity));
            lane.purge(entity, templates, version, (record.offset, record.timestamp_ms), now);
        }
        Emitted::Ignored { why, .. } => {
            if why == Ignored::Truncate {
                counts.truncates.push((lane.name().clone(), record.offset));
            }
            counts.ignored.entry(why.as_str()).or_insert((why, 0)).1 += 1;
        }
        Emitted::Failed(failure) => {
            failed = true;
            let told = told(lane, record, &failure);
            lane.took_rows(failure.entity.unwrap_or_default(), &failure.rows);
            match on_error {
                OnRefused::Stop => {
                    stop.get_or_insert_with(|| StopReason::ErrorPolicy { detail: told.to_string() });
                }
                OnRefused::Skip | OnRefused::DeadLetter => {
                    if on_error == OnRefused::DeadLetter {
                        aside.push(told.clone());
                    }
                    for mutation in failure.deletes {
                        lane.fill(mutation, record.offset, failure.entity.unwrap_or_default());
                    }
                }
            }
            counts.failures.push(told);
        }
    });
    for told in &aside {
        lane.set_aside(letter(record, told, pipeline.entities()), record.size_bytes());
    }
    if pipeline.settles() {
        lane.took_settled(record);
    }
    for (entity, _) in pipeline.undecided() {
        *counts.undecided.entry(*entity).or_default() += 1;
    }
    if let Some(reason) = stop {
        return Err(reason);
    }
    lane.record_done(record.offset, record.timestamp_ms);
    breaker.looked_at(failed);
    if breaker.tripped() { Err(breaker.reason()) } else { Ok(()) }
}

/// What one record of history comes to.
#[derive(Debug, Default)]
pub(super) struct OfHistory {
    told: SmallVec<[Told; 1]>,
    /// It settles its record key ([`Pipeline::settles`]).
    pub(super) settles: bool,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "truncates are rare")]
enum Told {
    /// A change of these rows; its entity is none where it is not known.
    Change { entity: Option<usize>, rows: SmallVec<[RowId; 2]>, mutations: SmallVec<[Mutation; 1]> },
    /// The entity's table was truncated.
    Truncate(usize),
}

impl OfHistory {
    /// Tells the refill, after what is told of older records. `key` is the record's.
    pub(super) fn tell(self, refill: &mut Refill, key: Option<&[u8]>) {
        refill.history(key);
        for told in self.told {
            match told {
                Told::Change { entity, rows, mutations } => refill.add(entity, &rows, mutations.into_iter()),
                Told::Truncate(entity) => refill.truncate(entity),
            }
        }
        if let (true, Some(key)) = (self.settles, key) {
            refill.settle(key);
        }
    }
}

/// Hands one record of history to the pipeline; what comes of it is for the lane's refill.
///
/// After a loss its errors were told when it was live. Where all is written over (a group that starts, a gap), it
/// never was, and its errors are dealt with like any other's.
pub(super) fn handle_history(
    pipeline: &mut Pipeline,
    record: &Record<'_>,
    lane: &mut Lane,
    on_error: OnRefused,
    counts: &mut Counts,
    breaker: &mut Breaker,
) -> Result<OfHistory, StopReason> {
    let mut of_history = OfHistory::default();
    let mut failed = false;
    let mut stop = None;
    let mut aside: Vec<Failed> = Vec::new();
    pipeline.handle(record, &mut |emitted| match emitted {
        Emitted::Mutations { entity, mutations, rows, .. } => {
            let (entity, rows) = (Some(entity), rows.iter().cloned().collect());
            of_history.told.push(Told::Change { entity, rows, mutations: mutations.collect() });
        }
        Emitted::Truncated { entity, .. } => of_history.told.push(Told::Truncate(entity)),
        Emitted::Ignored { .. } => {}
        Emitted::Failed(failure) => {
            failed = true;
            let told = told(lane, record, &failure);
            let Some(refill) = lane.refill_mut() else { return };
            refill.failed();
            let overwrites = refill.mode() == RefillMode::Overwrite;
            let Failure { entity, deletes, rows, .. } = failure;
            of_history.told.push(Told::Change { entity, rows, mutations: SmallVec::from_vec(deletes) });
            if !overwrites {
                return;
            }
            match on_error {
                OnRefused::Stop => {
                    stop.get_or_insert_with(|| StopReason::ErrorPolicy { detail: told.to_string() });
                }
                OnRefused::Skip => {}
                OnRefused::DeadLetter => aside.push(told.clone()),
            }
            counts.failures.push(told);
        }
    });
    for told in &aside {
        lane.set_aside(letter(record, told, pipeline.entities()), record.size_bytes());
    }
    if let Some(reason) = stop {
        return Err(reason);
    }
    of_history.settles = pipeline.settles();
    breaker.looked_at(failed);
    if breaker.tripped() { Err(breaker.reason()) } else { Ok(of_history) }
}

fn told(lane: &Lane, record: &Record<'_>, failure: &Failure) -> Failed {
    Failed {
        lane: lane.name().clone(),
        offset: record.offset,
        entity: failure.entity,
        stage: failure.stage,
        kind: failure.kind,
        detail: failure.detail.clone(),
    }
}

fn letter(record: &Record<'_>, told: &Failed, entities: &[Entity]) -> PendingLetter {
    let entity = told.entity.and_then(|index| entities.get(index));
    PendingLetter::Whole(Box::new(Letter {
        record: record.to_owned_record(),
        entity: entity.map(|entity| Arc::clone(&entity.name)),
        stage: told.stage,
        kind: told.kind,
        detail: told.detail.clone(),
    }))
}
