//! The order of Vitess's changes, as Debezium tells it in the envelope's `transaction` under
//! `transaction.metadata.factory = …VitessOrderedTransactionMetadataFactory`:
//! <https://debezium.io/documentation/reference/stable/connectors/vitess.html>.
//!
//! Epoch, rank and place in the transaction order the changes of one shard, and of no two. A key that passes from a
//! row of one shard to a row of another would be refused the newer value, so only a keyspace of a single shard has
//! positions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::json::{Fault, Scanner};
use crate::version::Version;

/// What a change tells of its transaction: raw JSON tokens.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Transaction<'a> {
    epoch: Option<&'a str>,
    rank: Option<&'a str>,
    order: Option<&'a str>,
}

impl<'a> Transaction<'a> {
    /// Reads the block, an object. Other connectors' has neither epoch nor rank.
    pub(super) fn scan(scanner: &mut Scanner<'a>) -> Result<Transaction<'a>, Fault> {
        let mut transaction = Transaction::default();
        scanner.each_member(|scanner, name| {
            let token = scanner.skip()?;
            transaction.set(&name, token);
            Ok(())
        })?;
        Ok(transaction)
    }

    /// Takes one member. False where the block has none of that name.
    pub(super) fn set(&mut self, name: &str, token: &'a str) -> bool {
        let member = match name {
            "transaction_epoch" => &mut self.epoch,
            "transaction_rank" => &mut self.rank,
            "total_order" => &mut self.order,
            other => return matches!(other, "id" | "data_collection_order"),
        };
        *member = Some(token);
        true
    }

    /// (epoch, rank, place in the transaction) of a change in the shard of that name.
    pub(super) fn version(&self, shard: Option<&str>) -> Option<Version> {
        // What Vitess calls the only shard of a keyspace.
        if !matches!(shard, Some("-" | "0")) {
            return None;
        }
        let number = |token: &str| token.trim_matches('"').parse::<u64>().ok();
        let order = self.order.and_then(number).unwrap_or(0);
        Some(Version::from_parts(&[number(self.epoch?)?, rank(self.rank?)?, order]))
    }
}

/// A rank is a text of digits, or a Connect decimal of scale 0: two's complement in base64. A number that is not negative
/// begins with none of base64's digits there, so the two cannot be mixed up.
fn rank(token: &str) -> Option<u64> {
    let text = token.trim_matches('"');
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let bytes = STANDARD.decode(text).ok()?;
    if bytes.first().is_none_or(|first| *first >= 0x80) {
        return None;
    }
    let mut number = 0_u64;
    for byte in bytes {
        number = number.checked_mul(256)?.checked_add(u64::from(byte))?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::super::{Decoded, Decoder, Format};
    use super::*;
    use crate::record::{AsRecord as _, OwnedRecord};

    fn version(value: &str) -> Option<Version> {
        let record = OwnedRecord {
            key: Some(br#"{"id":7}"#.to_vec()),
            value: Some(value.as_bytes().to_vec()),
            ..OwnedRecord::default()
        };
        let mut decoder = Decoder::new(Format::Auto);
        match decoder.decode(&record.as_record()) {
            Ok(Decoded::Changes(changes)) => changes[0].version.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn changes_of_the_only_shard_are_ordered_by_epoch_rank_and_place() {
        let enveloped = |shard: &str, transaction: &str| {
            version(&format!(
                r#"{{"before":null,"after":{{"id":7}},"source":{{"connector":"vitess","keyspace":"k","table":"t","shard":{shard},"vgtid":"[]"}},"op":"u","transaction":{transaction}}}"#
            ))
        };
        let flattened = |epoch: u32, rank: u32, order: u32| {
            version(&format!(
                r#"{{"id":7,"__op":"u","__source_shard":"0","__transaction_transaction_epoch":{epoch},"__transaction_transaction_rank":"{rank}","__transaction_total_order":{order}}}"#
            ))
        };
        let block = |epoch: u32, rank: &str, order: u32| {
            format!(
                r#"{{"id":"[]","total_order":{order},"data_collection_order":1,"transaction_epoch":{epoch},"transaction_rank":{rank}}}"#
            )
        };
        let rising = [
            enveloped("\"-\"", &block(0, "\"Bek=\"", 1)),
            enveloped("\"0\"", &block(0, "\"1513\"", 2)),
            flattened(0, 1513, 3),
            enveloped("\"-\"", &block(0, "\"BeoA\"", 1)),
            enveloped("\"-\"", &block(1, "\"2\"", 1)),
            flattened(1, 10, 1),
        ];
        assert!(rising.iter().all(Option::is_some), "{rising:?}");
        assert!(rising.is_sorted_by(|older, newer| older < newer), "{rising:?}");
        // Ranks of two shards do not compare, and without the ordered metadata there are none.
        assert_eq!(enveloped("\"-80\"", &block(0, "\"1513\"", 1)), None);
        assert_eq!(enveloped("\"-\"", "null"), None);
        let plain = r#"{"id":"[]","total_order":1,"data_collection_order":1}"#;
        assert_eq!(enveloped("\"-\"", plain), None);
    }

    #[test]
    fn a_rank_is_digits_or_a_decimal_s_bytes() {
        for (token, expected) in [
            ("\"1513\"", Some(1513)),
            ("1513", Some(1513)),
            ("\"Bek=\"", Some(1513)),
            ("\"AA==\"", Some(0)),
            ("\"AP//////////\"", Some(u64::MAX)),
            ("\"AQAAAAAAAAAA\"", None),
            ("\"/w==\"", None),
            ("\"\"", None),
            ("null", None),
            ("-1", None),
            ("1e3", None),
        ] {
            assert_eq!(rank(token), expected, "{token}");
        }
    }
}
