//! What Stoker writes into the metadata of its commits.
//!
//! `stoker/1 epoch=<u64> partitions=<i32>`: ASCII, under 100 bytes (a broker takes 4,096,
//! `offset.metadata.max.bytes`). Fields that are not known are passed over, so that a later version may add
//! some; text that is not ours reads as nothing.

use std::fmt;

use crate::batch::Epoch;

const TAG: &str = "stoker/1";

/// The metadata of one partition's commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CommitMetadata {
    /// The lane's epoch; 0 where no owner has taken the lane yet.
    pub(super) epoch: Epoch,
    /// Partitions that the topic had when the group first committed: a partition with this number or a
    /// higher one was added later. `None` where it is not known.
    pub(super) first_partition_count: Option<i32>,
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
                "epoch" => metadata.epoch = Epoch(value.parse().unwrap_or_default()),
                "partitions" => {
                    metadata.first_partition_count = value.parse().ok().filter(|count| *count > 0);
                }
                _ => {}
            }
        }
        metadata
    }
}

/// True where a commit of ours says that history is still to be refilled: a field `refill=<mode><below>.<step>`, which
/// goes when nothing is owed any more. Whatever it holds: what cannot be read must not count as done.
pub(super) fn names_refill(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace();
    words.next() == Some(TAG) && words.any(|word| word.starts_with("refill="))
}

impl fmt::Display for CommitMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TAG} epoch={}", self.epoch.0)?;
        match self.first_partition_count {
            Some(count) => write!(f, " partitions={count}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for metadata in [
            CommitMetadata::default(),
            CommitMetadata { epoch: Epoch(u64::MAX), first_partition_count: Some(i32::MAX) },
            CommitMetadata { epoch: Epoch(7), first_partition_count: Some(1) },
        ] {
            assert_eq!(CommitMetadata::parse(&metadata.to_string()), metadata);
            assert!(metadata.to_string().len() < 100);
        }
    }

    #[test]
    fn a_refill_is_named_by_its_field() {
        for text in [
            "stoker/1 epoch=4 partitions=3 refill=a1200.7",
            "stoker/1 epoch=4 refill=o12.0",
            "stoker/1 refill=?",
        ] {
            assert!(names_refill(text), "{text:?}");
            assert_eq!(CommitMetadata::parse(text).epoch.0, if text.contains("epoch") { 4 } else { 0 });
        }
        for text in ["stoker/1 epoch=4", "stoker/1 epoch=4 refill", "refill=a9.1", "other/1 refill=a9.1", ""]
        {
            assert!(!names_refill(text), "{text:?}");
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
            let expected = CommitMetadata { epoch: Epoch(epoch), first_partition_count: count };
            assert_eq!(CommitMetadata::parse(text), expected, "{text:?}");
        }
    }
}
