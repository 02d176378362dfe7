//! Where reading starts: decided here, fetched in [`super::positions`].
//!
//! The table in place of librdkafka's reset policy, which would skip data in silence. Pure. Read [`start`].

use crate::batch::{Owed, RefillMode};
use crate::record::Position;
use crate::settings::Start;

/// What is known of a partition before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The group's committed position.
    pub(super) committed: Option<Position>,
    /// First position that can be read.
    pub(super) low: Position,
    /// The end: position of the next record to be appended.
    pub(super) high: Position,
    /// True where the partition was added to a topic that the group already followed.
    pub(super) added: bool,
}

/// Why reading starts there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Because {
    /// It is the committed position.
    Committed,
    /// Nothing is committed: the start policy says so.
    Policy,
    /// The partition is new in a followed topic: read from its beginning whatever the policy.
    Added,
    /// Retention took the committed position away.
    BelowLow,
    /// The committed position is past the end: the topic was made anew or truncated.
    AboveHigh,
}

/// What history a start owes: all of it where reading starts at the end for a refill's sake, and what the commit
/// says (`committed`) where it goes on.
pub(super) fn owed(known: Known, policy: Start, committed: Option<Owed>) -> Option<Owed> {
    let all = Owed::all(known.high, RefillMode::Overwrite);
    let owed = match start(known, policy).1 {
        Because::Committed => committed,
        Because::BelowLow => Some(all),
        Because::Policy if policy == Start::Refill => Some(all),
        Because::Policy | Because::Added | Because::AboveHigh => None,
    };
    owed.filter(|owed| owed.below > known.low)
}

/// Where reading starts, and why.
pub(super) fn start(known: Known, policy: Start) -> (Position, Because) {
    match known.committed {
        // What was never read, and what was changed since, comes with the refill.
        Some(committed) if committed < known.low => (known.high, Because::BelowLow),
        Some(committed) if committed > known.high => (known.low, Because::AboveHigh),
        Some(committed) => (committed, Because::Committed),
        None if known.added => (known.low, Because::Added),
        None => match policy {
            Start::Earliest => (known.low, Because::Policy),
            Start::Refill | Start::Latest => (known.high, Because::Policy),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_starts_where_the_table_says() {
        let cases = [
            (Some(5), 0, 10, false, Start::Latest, (5, Because::Committed)),
            (Some(0), 0, 0, false, Start::Latest, (0, Because::Committed)),
            (Some(10), 0, 10, true, Start::Earliest, (10, Because::Committed)),
            (None, 3, 10, false, Start::Earliest, (3, Because::Policy)),
            (None, 3, 10, false, Start::Refill, (10, Because::Policy)),
            (None, 3, 10, false, Start::Latest, (10, Because::Policy)),
            (None, 3, 10, true, Start::Latest, (3, Because::Added)),
            (Some(2), 3, 10, false, Start::Latest, (10, Because::BelowLow)),
            (Some(11), 3, 10, false, Start::Latest, (3, Because::AboveHigh)),
        ];
        for (committed, low, high, added, policy, expected) in cases {
            let known = Known { committed, low, high, added };
            assert_eq!(start(known, policy), expected, "{known:?} {policy:?}");
        }
    }

    #[test]
    fn a_start_at_the_end_for_a_refill_owes_all_that_lies_before() {
        let all = Some(Owed::all(10, RefillMode::Overwrite));
        let part = Some(Owed::all(5, RefillMode::IfAbsent));
        let cases = [
            (None, 3, Start::Refill, None, all),
            (None, 10, Start::Refill, None, None),
            (None, 3, Start::Earliest, None, None),
            (None, 3, Start::Latest, None, None),
            (Some(2), 3, Start::Latest, part, all),
            (Some(8), 3, Start::Refill, part, part),
            (Some(8), 5, Start::Refill, part, None),
            (Some(11), 3, Start::Refill, part, None),
        ];
        for (committed, low, policy, told, expected) in cases {
            let known = Known { committed, low, high: 10, added: false };
            assert_eq!(owed(known, policy, told), expected, "{known:?} {policy:?}");
        }
    }
}
