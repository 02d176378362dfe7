//! How long a cached value lives, before its key and the clock make an absolute time of it.
//!
//! No clock is read here: what counts from the write becomes an [`Expiry`] that the sink makes absolute by the
//! server's clock. Start at [`Lifetime`].

use std::time::Duration;

use super::digest::spread;
use crate::mutation::Expiry;

/// A lifetime. Jitter is a function of the key, so that the same change gives the same mutations in every
/// run, and keys that were written together do not expire together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lifetime {
    base: Base,
    jitter: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Base {
    Never,
    After { ms: u64 },
    AfterMoment { moment_ms: i64, ms: u64 },
    Until { at_ms: i64, at_most_ms: Option<u64> },
}

impl Lifetime {
    /// Lives until it is written or deleted.
    pub fn never() -> Lifetime {
        Lifetime { base: Base::Never, jitter: 0.0 }
    }

    /// Lives so long after the write; at least a millisecond.
    pub fn after(ttl: Duration) -> Lifetime {
        Lifetime { base: Base::After { ms: millis(ttl) }, jitter: 0.0 }
    }

    /// Lives so long after that moment (Unix milliseconds), such as the source's commit. A value whose time
    /// has passed is deleted instead of written.
    pub fn after_moment(moment_ms: i64, ttl: Duration) -> Lifetime {
        Lifetime { base: Base::AfterMoment { moment_ms, ms: millis(ttl) }, jitter: 0.0 }
    }

    /// Lives until that moment (Unix milliseconds). One that has passed deletes instead; `i64::MAX`, which is
    /// what infinity becomes, never passes.
    pub fn until(at_ms: i64) -> Lifetime {
        if at_ms == i64::MAX {
            return Lifetime::never();
        }
        Lifetime { base: Base::Until { at_ms, at_most_ms: None }, jitter: 0.0 }
    }

    /// But at most so long after the write. Only a lifetime that ends at a moment of its own, or never,
    /// takes a bound; one that counts from the write is shortened.
    pub fn at_most(mut self, bound: Duration) -> Lifetime {
        let bound = millis(bound);
        self.base = match self.base {
            Base::Never => Base::After { ms: bound },
            Base::After { ms } => Base::After { ms: ms.min(bound) },
            Base::AfterMoment { moment_ms, ms } => {
                Base::Until { at_ms: add(moment_ms, ms), at_most_ms: Some(bound) }
            }
            Base::Until { at_ms, at_most_ms } => {
                Base::Until { at_ms, at_most_ms: Some(at_most_ms.map_or(bound, |old| old.min(bound))) }
            }
        };
        self
    }

    /// Longer or shorter by up to that share (0 to 1) of its duration, as the key decides. A lifetime that
    /// ends at a moment that a column holds ends there.
    pub fn jitter(mut self, share: f64) -> Lifetime {
        self.jitter = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self
    }

    /// The expiry of a value under that key.
    pub(crate) fn of_key(self, key: &[u8]) -> Expiry {
        match self.base {
            Base::Never => Expiry::Never,
            Base::After { ms } => Expiry::In(jittered(ms, self.jitter, key)),
            Base::AfterMoment { moment_ms, ms } => Expiry::At(add(moment_ms, jittered(ms, self.jitter, key))),
            Base::Until { at_ms, at_most_ms: None } => Expiry::At(at_ms),
            Base::Until { at_ms, at_most_ms: Some(within_ms) } => Expiry::AtWithin { at_ms, within_ms },
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn add(moment_ms: i64, ms: u64) -> i64 {
    moment_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// Within `ms ± ms × share`, at least a millisecond. The share is taken in parts of 2⁻³², in integers, so
/// that every machine gets the same.
fn jittered(ms: u64, share: f64, key: &[u8]) -> u64 {
    if share == 0.0 {
        return ms;
    }
    const ONE: i128 = 1 << 32;
    #[expect(clippy::cast_possible_truncation, reason = "share is within 0 and 1")]
    let share = (share * ONE as f64) as i128;
    let position = i128::from(spread(key) >> 31) - ONE;
    let change = i128::from(ms) * share / ONE * position / ONE;
    u64::try_from(i128::from(ms) + change).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_a_function_of_the_key_within_its_bounds_and_uses_them() {
        let ttl = Lifetime::after(Duration::from_secs(1_000)).jitter(0.1);
        let mut seen = Vec::new();
        for id in 0..1_000 {
            let key = format!("customer:{id}");
            let Expiry::In(ms) = ttl.of_key(key.as_bytes()) else { panic!("counts from the write") };
            assert_eq!(ttl.of_key(key.as_bytes()), Expiry::In(ms), "the same key, the same jitter");
            assert!((900_000..=1_100_000).contains(&ms), "{key}: {ms}");
            seen.push(ms);
        }
        assert!(seen.iter().min() < Some(&905_000) && seen.iter().max() > Some(&1_095_000));
    }

    #[test]
    fn jitter_is_the_same_on_every_machine() {
        let ttl = Lifetime::after(Duration::from_secs(3_600)).jitter(0.1);
        assert_eq!(ttl.of_key(b"customer:7"), Expiry::In(3_623_343));
    }

    #[test]
    fn lifetimes_become_expiries() {
        let hour = Duration::from_secs(3_600);
        let ms = 3_600_000;
        for (lifetime, expected) in [
            (Lifetime::never(), Expiry::Never),
            (Lifetime::never().at_most(hour), Expiry::In(ms)),
            (Lifetime::after(hour), Expiry::In(ms)),
            (Lifetime::after(hour).at_most(Duration::from_secs(1)), Expiry::In(1_000)),
            (Lifetime::after(Duration::ZERO), Expiry::In(1)),
            (Lifetime::after_moment(5, hour), Expiry::At(3_600_005)),
            (Lifetime::after_moment(i64::MAX, hour), Expiry::At(i64::MAX)),
            (Lifetime::until(9), Expiry::At(9)),
            (Lifetime::until(i64::MAX), Expiry::Never),
            (Lifetime::until(i64::MAX).at_most(hour), Expiry::In(ms)),
            (Lifetime::until(9).jitter(0.5), Expiry::At(9)),
            (Lifetime::until(9).at_most(hour), Expiry::AtWithin { at_ms: 9, within_ms: ms }),
        ] {
            assert_eq!(lifetime.of_key(b"k"), expected, "{lifetime:?}");
        }
    }

    #[test]
    fn the_widest_jitter_neither_overflows_nor_reaches_zero() {
        for id in 0..200_u32 {
            let key = id.to_be_bytes();
            for ms in [1, 2, u64::MAX / 1_000_000, u64::MAX] {
                assert!(jittered(ms, 1.0, &key) >= 1);
            }
        }
    }
}
