//! The running check of one worker, with its parts: a connection of its own, metrics, a line in the log.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tracing::{debug, warn};

use crate::admin::VerifyStatus;
use crate::admin::metrics::VerifyMetrics;
use crate::batch::{Batch, LaneId, Outcomes};
use crate::clock::SystemClock;
use crate::mutation::CacheKey;
use crate::settings::{Settings, VerifySettings};
use crate::sink::redis::RedisSink;
use crate::telemetry::{SUMMED_EVERY, SummedLog};
use crate::verify::{Checked, Difference, RunningCheck};

/// How often keys are looked at; some hundreds each time.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks at what was applied.
pub(super) struct Applied<'a> {
    check: RunningCheck,
    settings: &'a Settings,
    clock: SystemClock,
    /// Not the lanes': a look must not stand before a batch.
    sink: RedisSink,
    metrics: VerifyMetrics,
    found: Cell<VerifyStatus>,
    log: RefCell<SummedLog<(usize, Difference)>>,
}

impl<'a> Applied<'a> {
    pub(super) fn new(verify: VerifySettings, settings: &'a Settings, clock: SystemClock) -> Applied<'a> {
        let group = settings.kafka.group.clone();
        Applied {
            check: RunningCheck::new(verify.sample, settings.entities.clone()),
            settings,
            clock,
            sink: RedisSink::new(settings.redis.clone(), group, settings.limits.value_bytes),
            metrics: VerifyMetrics::new(&settings.entities),
            found: Cell::default(),
            log: RefCell::new(SummedLog::new(SUMMED_EVERY)),
        }
    }

    pub(super) fn sent(&self, batch: &Batch) {
        self.check.sent(batch);
    }

    pub(super) fn left(&self, lane: LaneId) {
        self.check.left(lane);
    }

    pub(super) fn answered(&self, batch: &Batch, outcomes: &Outcomes) {
        self.check.answered(batch, outcomes, self.clock.now());
    }

    pub(super) fn status(&self) -> VerifyStatus {
        self.found.get()
    }

    /// Looks, until it is dropped.
    pub(super) async fn look_for_ever(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.clock.now().monotonic;
            for ((entity, difference), count) in self.log.borrow_mut().overdue(now) {
                self.warn(entity, difference, count);
            }
            let due = self.check.due(now);
            if due.is_empty() {
                continue;
            }
            let keys: Vec<&CacheKey> = due.iter().map(|due| &due.key).collect();
            match self.sink.look(&keys).await {
                Ok(glances) => {
                    let now = self.clock.now().monotonic;
                    let looked = due.iter().zip(&glances);
                    looked
                        .filter_map(|(due, glance)| self.check.looked(due, glance, now))
                        .for_each(|it| self.count(it));
                }
                // The lanes tell that Redis is away; what waits here is looked at when it is back.
                Err(error) => debug!(%error, "the running check could not look"),
            }
        }
    }

    fn count(&self, Checked { entity, difference }: Checked) {
        self.metrics.checked(entity, difference);
        let VerifyStatus { checked, differences } = self.found.get();
        let differences = differences + u64::from(difference.is_some());
        self.found.set(VerifyStatus { checked: checked + 1, differences });
        let Some(difference) = difference else { return };
        let hit = self.log.borrow_mut().hit((entity, difference), self.clock.now().monotonic);
        if let Some(count) = hit {
            self.warn(entity, difference, count);
        }
    }

    fn warn(&self, entity: usize, difference: Difference, count: u64) {
        warn!(
            entity = self.settings.entities.get(entity).map(|entity| &*entity.name),
            kind = difference.name(),
            count,
            "Redis does not hold what was applied a moment ago: another client, an eviction or a loss of data"
        );
    }
}
