//! Errors counted by kind: said once, then summed up.

use std::collections::BTreeMap;
use std::time::Duration;

/// A kind that goes on is said again after this long: often enough to be seen, too rarely to fill a disk.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Counts by kind. The kinds are librdkafka's error codes: a bounded list.
#[derive(Debug, Default)]
pub(super) struct Tally {
    kinds: BTreeMap<String, Kind>,
}

#[derive(Debug)]
struct Kind {
    said_at: Duration,
    unsaid_count: u64,
}

impl Tally {
    /// Counts one; `Some` of the number since it was last said, where it is to be said now.
    pub(super) fn count(&mut self, kind: &str, now: Duration) -> Option<u64> {
        match self.kinds.get_mut(kind) {
            None => {
                self.kinds.insert(kind.to_owned(), Kind { said_at: now, unsaid_count: 0 });
                Some(1)
            }
            Some(known) => {
                known.unsaid_count += 1;
                if now.saturating_sub(known.said_at) < AGAIN_AFTER {
                    return None;
                }
                known.said_at = now;
                Some(std::mem::take(&mut known.unsaid_count))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_said_once_and_then_summed_up() {
        let mut tally = Tally::default();
        let at = Duration::from_secs;
        assert_eq!(tally.count("a", at(0)), Some(1));
        assert_eq!(tally.count("a", at(1)), None);
        assert_eq!(tally.count("b", at(1)), Some(1));
        assert_eq!(tally.count("a", at(59)), None);
        assert_eq!(tally.count("a", at(60)), Some(3));
        assert_eq!(tally.count("a", at(61)), None);
    }
}
