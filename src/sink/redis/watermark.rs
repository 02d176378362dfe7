//! A lane's watermark on one master: what was told last, what the script said, and how the answers of all
//! masters add up.

use redis::{Cmd, Value as Reply};

use super::classify::Fault;
use super::command::{bytes_of, checked};
use super::scripts::ADVANCE;
use crate::batch::{Epoch, Owed, WatermarkSeen};
use crate::error::WorldError;
use crate::record::Position;
use crate::sink::own::{owed_text, parse_owed};

/// What a lane knows about its watermark on one master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LaneMark {
    /// Its key there.
    pub(super) key: Vec<u8>,
    /// True once the owner record names the key: only then may its absence mean a loss to the next owner.
    pub(super) named: bool,
    /// A key that was used here before, its slot having moved away; it is deleted once this one is named.
    pub(super) replaces: Option<Vec<u8>>,
    /// The position last acknowledged here; `None` where it is to be set whatever is there.
    pub(super) told: Option<Position>,
    /// What was owed there by then.
    pub(super) told_owed: Option<Owed>,
    /// A position that was sent and not acknowledged: it may be there.
    pub(super) sent: Option<Position>,
    /// What was owed there by then.
    pub(super) sent_owed: Option<Owed>,
    /// Batches that end here or before are on this master already: it is left alone while the lane goes
    /// back because of another master's loss.
    pub(super) settled: Option<Position>,
    /// True where this master lacks history that the lane owes.
    pub(super) owes: bool,
}

impl LaneMark {
    /// A mark that was never set.
    pub(super) fn new(key: Vec<u8>) -> LaneMark {
        LaneMark {
            key,
            named: false,
            replaces: None,
            told: None,
            told_owed: None,
            sent: None,
            sent_owed: None,
            settled: None,
            owes: false,
        }
    }

    /// True where a batch that ends at `end` is on this master already.
    pub(super) fn has(&self, end: Position) -> bool {
        self.settled.is_some_and(|settled| settled >= end)
    }

    /// The command that brings it up to `end`, or leaves it where it stands further on; and that position.
    ///
    /// `owed` is what the lane owes by then: nothing any more frees this master too. Where it `asks`, the master
    /// owes like any other.
    pub(super) fn advance(
        &mut self,
        epoch: Epoch,
        end: Position,
        owed: Option<Owed>,
        asks: bool,
    ) -> (Cmd, Position) {
        self.owes = (self.owes || asks) && owed.is_some();
        let target = self.told.map_or(end, |told| told.max(end)).max(0);
        let mut cmd = ADVANCE.call(&[&self.key]);
        cmd.arg(epoch.0).arg(target);
        for position in [self.told, self.sent] {
            match position {
                Some(position) => cmd.arg(position),
                None => cmd.arg(""),
            };
        }
        let owed = owed.filter(|_| self.owes);
        for owed in [owed, self.told_owed, self.sent_owed] {
            match owed {
                Some(owed) => cmd.arg(format!(":{}", owed_text(owed))),
                None => cmd.arg(""),
            };
        }
        (self.sent, self.sent_owed) = (Some(target), owed);
        (cmd, target)
    }

    /// Takes the script's answer in. A loss is reported once: the next batch moves the mark on from there, or
    /// sets it anew where it was missing.
    pub(super) fn answered(&mut self, reply: &Reply, target: Position) -> Result<WatermarkSeen, Fault> {
        let answer = bytes_of(checked(reply)?).unwrap_or_default();
        let seen = match answer {
            b"ok" => WatermarkSeen::Current,
            b"missing" => WatermarkSeen::Missing,
            b"newer" => WatermarkSeen::NotOwner,
            other => match other.strip_prefix(b"behind:").map(std::str::from_utf8) {
                Some(Ok(held)) => {
                    let (position, owed) = match held.split_once(':') {
                        Some((position, owed)) => (position, parse_owed(owed.as_bytes())),
                        None => (held, None),
                    };
                    let position = position.parse().map_err(|_| Fault::World(WorldError::Protocol))?;
                    WatermarkSeen::Behind(position, owed)
                }
                _ => return Err(Fault::World(WorldError::Protocol)),
            },
        };
        let sent_owed = self.sent_owed.take();
        self.sent = None;
        match seen {
            WatermarkSeen::Current => (self.told, self.told_owed) = (Some(target), sent_owed),
            WatermarkSeen::Missing => {
                (self.told, self.told_owed) = (None, None);
                self.settled = None;
                self.owes = true;
            }
            // The lane reads again from there, perhaps only after a pause: a further loss must show.
            WatermarkSeen::Behind(position, owed) => {
                (self.told, self.told_owed) = (Some(position), owed);
                self.settled = None;
                self.owes = owed.is_some();
            }
            WatermarkSeen::NotOwner | WatermarkSeen::Unknown => {}
        }
        Ok(seen)
    }
}

/// What two masters say together: the graver.
pub(super) fn together(one: WatermarkSeen, other: WatermarkSeen) -> WatermarkSeen {
    use WatermarkSeen::{Behind, Current, Missing, NotOwner, Unknown};
    match (one, other) {
        (NotOwner, _) | (_, NotOwner) => NotOwner,
        (Missing, _) | (_, Missing) => Missing,
        (Behind(one, owed), Behind(other, also)) => Behind(one.min(other), Owed::together(owed, also)),
        (Behind(position, owed), _) | (_, Behind(position, owed)) => Behind(position, owed),
        (Unknown, _) | (_, Unknown) => Unknown,
        (Current, Current) => Current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_loss_is_reported_once_and_then_set_anew() {
        let mut mark = LaneMark { told: Some(10), settled: Some(10), ..LaneMark::new(b"w".to_vec()) };
        let (_, target) = mark.advance(Epoch(1), 20, None, false);
        assert_eq!(target, 20);
        assert_eq!(mark.answered(&reply("missing"), target), Ok(WatermarkSeen::Missing));
        assert_eq!((mark.told, mark.sent, mark.settled), (None, None, None));
        let (_, target) = mark.advance(Epoch(1), 7, None, false);
        assert_eq!(mark.answered(&reply("ok"), target), Ok(WatermarkSeen::Current));
        assert_eq!(mark.told, Some(7));
    }

    #[test]
    fn after_a_fall_back_a_further_loss_still_shows() {
        let mut mark = LaneMark { told: Some(10), settled: Some(10), ..LaneMark::new(b"w".to_vec()) };
        let (_, target) = mark.advance(Epoch(1), 20, None, false);
        assert_eq!(mark.answered(&reply("behind:5"), target), Ok(WatermarkSeen::Behind(5, None)));
        assert_eq!((mark.told, mark.sent, mark.settled), (Some(5), None, None));
        let (_, target) = mark.advance(Epoch(1), 7, None, false);
        assert_eq!(mark.answered(&reply("behind:3"), target), Ok(WatermarkSeen::Behind(3, None)));
        assert_eq!(mark.told, Some(3));
    }

    #[test]
    fn a_mark_that_stands_further_on_is_looked_at_and_left() {
        let mut mark = LaneMark { told: Some(100), settled: Some(100), ..LaneMark::new(b"w".to_vec()) };
        assert!(mark.has(100) && !mark.has(101));
        assert_eq!(mark.advance(Epoch(1), 60, None, false).1, 100);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_an_answer() {
        for bad in ["", "behind:", "behind:x", "what"] {
            let mut mark = LaneMark { told: Some(1), sent: Some(2), ..LaneMark::new(b"w".to_vec()) };
            assert!(mark.answered(&reply(bad), 2).is_err(), "{bad}");
            assert_eq!((mark.told, mark.sent), (Some(1), Some(2)));
        }
    }

    #[test]
    fn the_graver_answer_wins_and_the_lowest_position() {
        use WatermarkSeen::{Behind, Current, Missing, NotOwner, Unknown};
        let graver = [Current, Unknown, Behind(9, None), Behind(3, None), Missing, NotOwner];
        for (rank, one) in graver.into_iter().enumerate() {
            for other in graver.into_iter().take(rank + 1) {
                assert_eq!(together(one, other), one);
                assert_eq!(together(other, one), one);
            }
        }
    }
}
