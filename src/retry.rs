//! The one table: an error of the world, and what is done about it. No other file decides to retry.
//!
//! Pure: pauses are a function of the attempt and a seed, and whoever asks does the waiting. Errors of a record
//! never come here: they follow `errors.on_error`. What the server's texts mean is `sink::redis`'s to say. Start
//! at [`verdict`].

use std::time::Duration;

use crate::error::{ServerCode, WorldError};

/// What is done about an error of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Send again after a short pause.
    Retry,
    /// Send again at once, to where the refreshed map points.
    Redirect,
    /// The connection is given up: fence it, connect anew, then send again.
    FenceAndResend,
    /// Wait with growing pauses, be not ready, say so once; nothing is sent meanwhile but probes.
    Pause,
    /// Give the lane up: somebody else owns it.
    GiveUp,
}

/// The table.
pub fn verdict(error: &WorldError) -> Verdict {
    match error {
        WorldError::Timeout | WorldError::Disconnected | WorldError::Protocol => Verdict::FenceAndResend,
        WorldError::NotNow { code: ServerCode::TryAgain } => Verdict::Retry,
        WorldError::Unreachable { .. } | WorldError::NotNow { .. } | WorldError::Registry { .. } => {
            Verdict::Pause
        }
        WorldError::Redirected => Verdict::Redirect,
        WorldError::NoScript => Verdict::Retry,
        WorldError::NotOwner => Verdict::GiveUp,
    }
}

/// Shortest pause before something is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause while something that answers says "not now", or a connection must be made anew.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Longest pause while nothing answers. Short enough that an outage's end shows within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// So many redirects are followed at once; more of them mean a map that does not settle.
const REDIRECTS_AT_ONCE: u32 = 3;

/// How long to wait before the `attempt`th resend (from 1): doubling, with a spread of a quarter so that
/// lanes do not come back in step. The spread is a function of `seed` and `attempt`, not of chance.
pub fn pause(verdict: Verdict, attempt: u32, seed: u64) -> Duration {
    let max = match verdict {
        Verdict::Redirect if attempt <= REDIRECTS_AT_ONCE => return Duration::ZERO,
        Verdict::Redirect | Verdict::Retry | Verdict::FenceAndResend => RETRY_MAX,
        Verdict::Pause | Verdict::GiveUp => PAUSE_MAX,
    };
    let doubled = PAUSE_MIN.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
    let pause = doubled.min(max);
    let spread = (seed ^ (u64::from(attempt) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    pause.mul_f64(0.875 + 0.25 * (spread as f64 / 256.0))
}

/// The worse of two errors: the one whose verdict asks for more. What a batch reports when several were met.
pub fn worse(one: WorldError, other: WorldError) -> WorldError {
    if severity(&other) > severity(&one) { other } else { one }
}

fn severity(error: &WorldError) -> u8 {
    match verdict(error) {
        Verdict::Retry => 0,
        Verdict::Redirect => 1,
        Verdict::Pause => 2,
        Verdict::FenceAndResend => 3,
        Verdict::GiveUp => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_never_vanish() {
        for seed in 0..50 {
            assert!(pause(Verdict::Pause, 1, seed) >= Duration::from_millis(8));
            for attempt in [10, 33, u32::MAX] {
                let longest = pause(Verdict::Pause, attempt, seed);
                assert!(longest >= PAUSE_MAX.mul_f64(0.87) && longest <= PAUSE_MAX.mul_f64(1.13));
            }
        }
    }

    #[test]
    fn a_redirect_is_followed_at_once_but_not_for_ever() {
        assert_eq!(pause(Verdict::Redirect, 1, 7), Duration::ZERO);
        assert!(pause(Verdict::Redirect, 4, 7) > Duration::ZERO);
    }

    #[test]
    fn each_error_of_the_world_has_its_verdict() {
        let not_now = |code| WorldError::NotNow { code };
        let cases = [
            (WorldError::NoScript, Verdict::Retry),
            (not_now(ServerCode::TryAgain), Verdict::Retry),
            (WorldError::Redirected, Verdict::Redirect),
            (not_now(ServerCode::OutOfMemory), Verdict::Pause),
            (not_now(ServerCode::NoPermission), Verdict::Pause),
            (WorldError::Unreachable { node: "h:1".into() }, Verdict::Pause),
            (WorldError::Timeout, Verdict::FenceAndResend),
            (WorldError::Disconnected, Verdict::FenceAndResend),
            (WorldError::Protocol, Verdict::FenceAndResend),
            (WorldError::NotOwner, Verdict::GiveUp),
        ];
        for (error, expected) in &cases {
            assert_eq!(verdict(error), *expected, "{error}");
        }
        for pair in cases.windows(2) {
            let [(milder, mild), (graver, grave)] = pair else { unreachable!() };
            if mild != grave {
                assert_eq!(worse(milder.clone(), graver.clone()), *graver);
                assert_eq!(worse(graver.clone(), milder.clone()), *graver);
            }
        }
    }
}
