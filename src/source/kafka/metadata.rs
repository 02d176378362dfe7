//! What Stoker writes into the metadata of its commits.
//!
//! `stoker/1 epoch=<u64> partitions=<i32> refill=<mode><position>`: ASCII, under 150 bytes (a broker takes 4,096,
//! `offset.metadata.max.bytes`). Fields that are not known are passed over, so that a later version may add
//! some; text that is not ours reads as nothing.

use std::fmt;

use crate::batch::{Epoch, Owed};
use crate::sink::own::{owed_text, parse_owed};

const TAG: &str = "stoker/1";

/// The metadata of one partition's commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CommitMetadata {
    /// The lane's epoch; 0 where no owner has taken the lane yet.
    pub(super) epoch: Epoch,
    /// Partitions that the topic had when the group first committed: a partition with this number or a
    /// higher one was added later. `None` where it is not known.
    pub(super) first_partition_count: Option<i32>,
    /// History below the committed position that is not refilled yet.
    pub(super) owed: Option<Owed>,
    /// A refill is named that cannot be read, of a later version: it must not count as done.
    pub(super) owes_unread: bool,
}

impl CommitMetadata {
    /// Reads what a commit carries.
    pub(super) fn parse(text: &str) -> CommitMetadata {
        let mut metadata = CommitMetadata::default();
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some(TAG) {
            return metadata;
        }
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            match name {
                "refill" => {
                    metadata.owed = parse_owed(value.as_bytes());
                    metadata.owes_unread = metadata.owed.is_none();
                }
                "epoch" => metadata.epoch = Epoch(value.parse().unwrap_or_default()),
                "partitions" => {
                    metadata.first_partition_count = value.parse().ok().filter(|count| *count > 0);
                }
                _ => {}
            }
        }
        metadata
    }

    /// True where history is still to be refilled.
    pub(super) fn owes(&self) -> bool {
        self.owed.is_some() || self.owes_unread
    }
}

impl fmt::Display for CommitMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TAG} epoch={}", self.epoch.0)?;
        if let Some(count) = self.first_partition_count {
            write!(f, " partitions={count}")?;
        }
        match self.owed {
            Some(owed) => write!(f, " refill={}", owed_text(owed)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::RefillMode;

    #[test]
    fn what_is_written_is_read_back() {
        for metadata in [
            CommitMetadata::default(),
            CommitMetadata {
                epoch: Epoch(u64::MAX),
                first_partition_count: Some(i32::MAX),
                owed: Some(Owed { below: i64::MAX, mode: RefillMode::Overwrite, step: u64::MAX }),
                owes_unread: false,
            },
            CommitMetadata { epoch: Epoch(7), first_partition_count: Some(1), ..CommitMetadata::default() },
        ] {
            assert_eq!(CommitMetadata::parse(&metadata.to_string()), metadata);
            assert!(metadata.to_string().len() < 150);
        }
    }

    #[test]
    fn a_refill_is_owed_also_where_what_names_it_cannot_be_read() {
        for text in [
            "stoker/1 epoch=4 partitions=3 refill=a1200.7",
            "stoker/1 epoch=4 refill=o12.0",
            "stoker/1 refill=?",
            "stoker/1 refill=",
        ] {
            let metadata = CommitMetadata::parse(text);
            assert!(metadata.owes(), "{text:?}");
            assert_eq!(metadata.epoch.0, if text.contains("epoch") { 4 } else { 0 });
        }
        for text in ["stoker/1 epoch=4", "stoker/1 epoch=4 refill", "refill=a9.1", "other/1 refill=a9.1", ""]
        {
            assert!(!CommitMetadata::parse(text).owes(), "{text:?}");
        }
    }

    #[test]
    fn text_of_others_reads_as_nothing() {
        for text in ["", " ", "OffsetAndMetadata", "epoch=4 partitions=3", "stoker/2 epoch=4", "stoker/1x"] {
            assert_eq!(CommitMetadata::parse(text), CommitMetadata::default(), "{text:?}");
        }
    }

    #[test]
    fn broken_and_unknown_fields_are_passed_over() {
        let cases = [
            ("stoker/1 epoch=x partitions=3", 0, Some(3)),
            ("stoker/1 partitions=-3 epoch=4", 4, None),
            ("stoker/1 partitions=0", 0, None),
            ("stoker/1 epoch=18446744073709551616", 0, None),
            ("stoker/1 refill=0-99 epoch=4 bare partitions=6", 4, Some(6)),
        ];
        for (text, epoch, count) in cases {
            let metadata = CommitMetadata::parse(text);
            let found = (metadata.epoch.0, metadata.first_partition_count, metadata.owed);
            assert_eq!(found, (epoch, count, None), "{text:?}");
        }
    }
}
