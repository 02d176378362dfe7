//! Registry schemas that a worker waits for: each is asked for once at a time, for all lanes whose next record
//! names it.
//!
//! What the registry does not have yet is asked for again within a grace time, since a new schema may not have
//! reached the replica that answers; what it cannot say now is asked for again for ever. Pure: the driver fetches.

use std::time::Duration;

use crate::clock::Now;
use crate::decode::{RegisteredSchema, SchemaRef, UnknownSchema};
use crate::error::WorldError;
use crate::retry::{Verdict, pause, verdict};

/// For how long a schema that the registry does not have is asked for again, before that is the error of the
/// records that name it. Picked by eye: replicas follow within seconds.
pub const SCHEMA_GRACE: Duration = Duration::from_secs(30);

/// Why a schema was not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTold {
    /// The registry says that there is none.
    Unknown(UnknownSchema),
    /// It could not be asked.
    World(WorldError),
}

/// Schemas that are being fetched. As many as the worker has lanes, at most.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    schemas: Vec<One>,
}

#[derive(Debug)]
struct One {
    schema: SchemaRef,
    since: Duration,
    attempts: u32,
    /// When it is asked for (again); `None` while the driver fetches it.
    asks_at: Option<Duration>,
    /// Why it was not told the last time.
    error: Option<WorldError>,
}

impl Wanted {
    /// A lane waits for this schema; true where the driver is to fetch it now.
    pub(super) fn add(&mut self, schema: SchemaRef, now: Now) -> bool {
        if self.schemas.iter().any(|one| one.schema.id == schema.id) {
            return false;
        }
        self.schemas.push(One { schema, since: now.monotonic, attempts: 0, asks_at: None, error: None });
        true
    }

    /// The registry has answered. Returns what the pipeline is to know, where that is decided.
    pub(super) fn told(
        &mut self,
        schema: SchemaRef,
        told: Result<RegisteredSchema, NotTold>,
        now: Now,
    ) -> Option<Result<RegisteredSchema, UnknownSchema>> {
        let index = self.schemas.iter().position(|one| one.schema.id == schema.id)?;
        let one = self.schemas.get_mut(index)?;
        let verdict = match told {
            Ok(registered) => {
                self.schemas.swap_remove(index);
                return Some(Ok(registered));
            }
            Err(NotTold::Unknown(unknown)) => {
                if now.monotonic.saturating_sub(one.since) >= SCHEMA_GRACE {
                    self.schemas.swap_remove(index);
                    return Some(Err(unknown));
                }
                Verdict::Retry
            }
            Err(NotTold::World(error)) => {
                let verdict = verdict(&error);
                one.error = Some(error);
                verdict
            }
        };
        one.attempts = one.attempts.saturating_add(1);
        one.asks_at = Some(now.monotonic + pause(verdict, one.attempts, u64::from(one.attempts)));
        None
    }

    /// Those that are due to be asked for again. What nobody waits for any more is forgotten.
    pub(super) fn due(&mut self, now: Now, waited_for: impl Fn(SchemaRef) -> bool) -> Vec<SchemaRef> {
        self.schemas.retain(|one| one.asks_at.is_none() || waited_for(one.schema));
        let due = self.schemas.iter_mut().filter(|one| one.asks_at.is_some_and(|at| at <= now.monotonic));
        due.map(|one| {
            one.asks_at = None;
            one.schema
        })
        .collect()
    }

    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.schemas.iter().filter_map(|one| one.asks_at).min()
    }

    /// What keeps a schema from being known, for the status page.
    pub(super) fn error(&self, schema: SchemaRef) -> Option<&WorldError> {
        self.schemas.iter().find(|one| one.schema.id == schema.id)?.error.as_ref()
    }
}
