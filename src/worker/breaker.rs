//! The breaker: too many failures are a wrong mapping, not bad records.

use std::collections::VecDeque;

use crate::source::StopReason;

/// Stops the process when too large a share of the last records failed: a wrong mapping must not turn a topic
/// into dead letters. Speaks up only once it has seen as many records as it looks at.
#[derive(Debug)]
pub(super) struct Breaker {
    share: f64,
    of: usize,
    last: VecDeque<bool>,
    failed: usize,
}

impl Breaker {
    pub(super) fn new(share: f64, of: usize) -> Breaker {
        Breaker { share, of: of.max(1), last: VecDeque::new(), failed: 0 }
    }

    pub(super) fn looked_at(&mut self, failed: bool) {
        if self.last.len() == self.of && self.last.pop_front() == Some(true) {
            self.failed -= 1;
        }
        self.last.push_back(failed);
        self.failed += usize::from(failed);
    }

    pub(super) fn tripped(&self) -> bool {
        self.last.len() == self.of && self.failed as f64 > self.share * self.of as f64
    }

    pub(super) fn reason(&self) -> StopReason {
        StopReason::ErrorPolicy {
            detail: format!(
                "{} of the last {} records failed, more than errors.breaker allows ({}%)",
                self.failed,
                self.of,
                self.share * 100.0
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_trips_past_its_share_and_forgets_old_failures() {
        let mut breaker = Breaker::new(0.1, 10);
        breaker.looked_at(true);
        for _ in 0..8 {
            breaker.looked_at(false);
            assert!(!breaker.tripped(), "fewer records than it looks at");
        }
        breaker.looked_at(false);
        assert!(!breaker.tripped(), "one of ten is allowed");
        breaker.looked_at(true);
        assert!(!breaker.tripped(), "the oldest failure left the window");
        breaker.looked_at(true);
        assert!(breaker.tripped());
    }
}
