//! Time, handed in: the core never asks for it.
//!
//! [`SystemClock`] is the one place that asks the system; the core gets a [`Now`] with each input, so that the
//! simulation can make its own. Expiries are reckoned by the Redis server's clock (see `sink::redis`), not by
//! this one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One look at both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Monotonic, since the process (or the simulation) started: for waits.
    pub monotonic: Duration,
    /// Wall clock, Unix milliseconds: for expiries.
    pub unix_ms: i64,
}

/// Where time comes from.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that starts at this moment.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    #[expect(clippy::new_without_default, reason = "starting a clock is an act, not a default")]
    pub fn new() -> SystemClock {
        SystemClock { start: Instant::now() }
    }

    /// The time.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic: Instant::now().saturating_duration_since(self.start),
            unix_ms: i64::try_from(unix.as_millis()).unwrap_or(i64::MAX),
        }
    }
}
