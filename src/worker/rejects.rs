//! Whether the guard refuses nearly all that a partition brings: a sign that what it compares has started again.

use crate::lane::GuardTally;

/// Guarded units that are looked at together. Enough that a restart's second of repeated records is not taken for
/// a fault; few enough to show within seconds under load.
pub const REJECT_WINDOW_UNITS: u64 = 1_000;
/// Percent of a window's units that are refused where the alarm is raised. A partition whose changes are new is far
/// below, one that is read again, or whose positions started again, far above; picked by eye.
pub const REJECT_ALARM_PERCENT: u64 = 95;

/// What became of one entity's guarded units in one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardView {
    /// Index of the entity.
    pub entity: usize,
    /// Units that the guard looked at since the lane was assigned.
    pub seen: u64,
    /// Of these, units that it refused.
    pub rejected: u64,
    /// Units of the last whole window, and how many of them were refused; `None` before the first.
    pub window: Option<(u64, u64)>,
    /// True while the alarm stands.
    pub alarmed: bool,
}

/// Watches one lane.
#[derive(Debug, Default)]
pub(super) struct RejectWatch {
    entities: Vec<(GuardView, GuardTally)>,
}

impl RejectWatch {
    /// Adds what a batch came to. Returns the entities whose alarm was raised or has ended.
    pub(super) fn add(&mut self, tallies: &[GuardTally]) -> Vec<GuardView> {
        let mut turned = Vec::new();
        for tally in tallies {
            let (view, open) = self.of(tally.entity);
            view.seen = view.seen.saturating_add(tally.seen);
            view.rejected = view.rejected.saturating_add(tally.rejected);
            open.seen = open.seen.saturating_add(tally.seen);
            open.rejected = open.rejected.saturating_add(tally.rejected);
            if open.seen < REJECT_WINDOW_UNITS {
                continue;
            }
            let alarmed = open.rejected.saturating_mul(100) >= open.seen.saturating_mul(REJECT_ALARM_PERCENT);
            view.window = Some((open.seen, open.rejected));
            *open = GuardTally { entity: tally.entity, seen: 0, rejected: 0 };
            if std::mem::replace(&mut view.alarmed, alarmed) != alarmed {
                turned.push(*view);
            }
        }
        turned
    }

    /// What is known, one an entity.
    pub(super) fn views(&self) -> Vec<GuardView> {
        self.entities.iter().map(|(view, _)| *view).collect()
    }

    fn of(&mut self, entity: usize) -> &mut (GuardView, GuardTally) {
        // A handful of entities: a search is quicker than a map.
        let at = self.entities.iter().position(|(view, _)| view.entity == entity).unwrap_or_else(|| {
            let view = GuardView { entity, seen: 0, rejected: 0, window: None, alarmed: false };
            self.entities.push((view, GuardTally { entity, seen: 0, rejected: 0 }));
            self.entities.len() - 1
        });
        &mut self.entities[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(seen: u64, rejected: u64) -> [GuardTally; 1] {
        [GuardTally { entity: 3, seen, rejected }]
    }

    #[test]
    fn the_alarm_speaks_of_whole_windows_and_once_a_turn() {
        let mut watch = RejectWatch::default();
        let turns = |watch: &mut RejectWatch, seen, rejected| {
            let turned = watch.add(&batch(seen, rejected));
            turned.iter().map(|view| view.alarmed).collect::<Vec<_>>()
        };
        assert_eq!(turns(&mut watch, 999, 999), Vec::<bool>::new(), "too few to tell");
        assert_eq!(turns(&mut watch, 1, 0), [true], "999 of 1,000");
        assert_eq!(turns(&mut watch, 4_096, 4_096), Vec::<bool>::new(), "it stands already");
        assert_eq!(turns(&mut watch, 1_000, 950), Vec::<bool>::new(), "as many as it takes");
        assert_eq!(turns(&mut watch, 500, 500), Vec::<bool>::new());
        assert_eq!(turns(&mut watch, 500, 449), [false], "949 of 1,000");
        assert_eq!(turns(&mut watch, 1_000, 0), Vec::<bool>::new());
        let view =
            GuardView { entity: 3, seen: 8_096, rejected: 6_994, window: Some((1_000, 0)), alarmed: false };
        assert_eq!(watch.views(), [view]);
    }

    #[test]
    fn entities_are_told_apart() {
        let mut watch = RejectWatch::default();
        let both = [
            GuardTally { entity: 0, seen: 1_000, rejected: 0 },
            GuardTally { entity: 1, seen: 1_000, rejected: 1_000 },
        ];
        let turned = watch.add(&both);
        assert_eq!(turned.iter().map(|view| view.entity).collect::<Vec<_>>(), [1]);
        assert_eq!(watch.views().len(), 2);
    }
}
