//! How fast it may write: by what the user says, and by what Redis bears.
//!
//! Pure: times are handed in, and whoever asks does the waiting. Start at [`Pace::pause`].

use std::time::Duration;

/// An answer to a chunk that takes longer than this means that readers wait too. A chunk of 512 writes takes Redis one
/// or two milliseconds, and a round trip a few more.
const LATENCY_MAX: Duration = Duration::from_millis(50);
/// The longest pause after one chunk.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Below the share at which it stops by this much it slows down.
const NEAR: f64 = 0.05;

/// Watches the pace.
#[derive(Debug)]
pub(super) struct Pace {
    /// Writes a second; `None` where only Redis bounds it.
    rate: Option<u32>,
    /// When the writes so far should have been done.
    due: Duration,
    is_near_full: bool,
}

impl Pace {
    pub(super) fn new(rate: Option<u32>, now: Duration) -> Pace {
        Pace { rate: rate.filter(|rate| *rate > 0), due: now, is_near_full: false }
    }

    /// How full the fullest master is, and where it stops.
    pub(super) fn saw_share(&mut self, share: f64, stop_at: f64) {
        self.is_near_full = share >= stop_at - NEAR;
    }

    /// How long to wait after so many writes that took so long to be answered.
    pub(super) fn pause(&mut self, writes: usize, took: Duration, now: Duration) -> Duration {
        // As long as it took: Redis has at least half of the time for its readers.
        let held = if took > LATENCY_MAX { took.min(PAUSE_MAX) } else { Duration::ZERO };
        let near_full = if self.is_near_full { took * 4 } else { Duration::ZERO };
        let by_rate = match self.rate {
            Some(rate) => {
                let writes = u32::try_from(writes).unwrap_or(u32::MAX);
                // What was not used of the rate is not made up for.
                let since = now.saturating_sub(took);
                self.due = self.due.max(since) + Duration::from_secs(1) * writes / rate;
                self.due.saturating_sub(now)
            }
            None => Duration::ZERO,
        };
        by_rate.max(held).max(near_full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_rate_is_kept_and_not_made_up_for() {
        let mut pace = Pace::new(Some(1_000), Duration::ZERO);
        assert_eq!(pace.pause(500, 10 * MS, 10 * MS), 490 * MS);
        assert_eq!(pace.pause(500, 10 * MS, 510 * MS), 490 * MS);
        // Ten seconds without a write.
        assert_eq!(pace.pause(500, 10 * MS, 11_000 * MS), 490 * MS);
        assert_eq!(Pace::new(None, Duration::ZERO).pause(500, 10 * MS, 10 * MS), Duration::ZERO);
    }

    #[test]
    fn slow_answers_make_it_wait_as_long_as_they_took() {
        let mut pace = Pace::new(None, Duration::ZERO);
        for (took, pause) in [(60, 60), (900, 900), (5_000, 1_000), (50, 0), (1, 0)] {
            assert_eq!(pace.pause(500, took * MS, Duration::ZERO), pause * MS, "{took}");
        }
    }

    #[test]
    fn near_the_limit_it_slows_down() {
        let mut pace = Pace::new(None, Duration::ZERO);
        pace.saw_share(0.7, 0.8);
        assert_eq!(pace.pause(500, 5 * MS, Duration::ZERO), Duration::ZERO);
        pace.saw_share(0.76, 0.8);
        assert_eq!(pace.pause(500, 5 * MS, Duration::ZERO), 20 * MS);
    }
}
