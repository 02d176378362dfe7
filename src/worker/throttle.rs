//! How fast history may be written: a bucket that fills with time, for all lanes of a worker.

use std::time::Duration;

/// The bucket holds so much of a second's worth: a lane takes a batch at a time.
const BURST: f64 = 0.1;
/// How long to wait where it is empty.
const REFILLS_IN: Duration = Duration::from_millis(20);

/// A rate in keys a second; without one everything is allowed.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: Option<f64>,
    held: f64,
    at: Option<Duration>,
}

impl Throttle {
    pub(super) fn new(rate: Option<f64>) -> Throttle {
        Throttle { rate, held: 0.0, at: None }
    }

    /// From now on that rate; nothing is due for the time before.
    pub(super) fn set_rate(&mut self, rate: Option<f64>) {
        if self.rate != rate {
            *self = Throttle::new(rate);
        }
    }

    /// Keys that may be written now.
    pub(super) fn allowed(&mut self, now: Duration) -> usize {
        let Some(rate) = self.rate else { return usize::MAX };
        let passed = self.at.map_or(BURST, |at| now.saturating_sub(at).as_secs_f64());
        self.at = Some(now);
        self.held = (self.held + passed * rate).min((rate * BURST).max(1.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
        let allowed = self.held.max(0.0) as usize;
        allowed
    }

    /// So many were written.
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    pub(super) fn spent(&mut self, keys: usize) {
        self.held -= keys as f64;
    }

    /// When there is something again, on the clock that it is asked with.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        Some(self.at? + REFILLS_IN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_holds_over_time_and_allows_no_burst_after_a_pause() {
        let mut throttle = Throttle::new(Some(1_000.0));
        let mut sent = 0;
        for step in 0..100 {
            let allowed = throttle.allowed(Duration::from_millis(step * 10));
            throttle.spent(allowed);
            sent += allowed;
        }
        assert!((1_000..=1_100).contains(&sent), "{sent} in a second");
        assert!(throttle.allowed(Duration::from_secs(60)) <= 100);
        assert_eq!(Throttle::new(None).allowed(Duration::ZERO), usize::MAX);
    }
}
