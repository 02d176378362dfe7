//! Transactions that are open: records that lie in a partition, and that no reader of committed ones gets before it ends.
//!
//! What can be read ends at the last stable offset, and with it a refill: its lane takes what lies behind once the
//! transaction has been committed or aborted. That may be long where its producer hangs (`transaction.timeout.ms`), so
//! it is said. Start at [`open_transactions`].

use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::BaseConsumer;
use serde::Serialize;

use super::positions::ask_all;
use super::properties::{Properties, Role};
use super::{SourceError, error};
use crate::batch::LaneName;
use crate::record::Position;
use crate::settings::KafkaSettings;

/// Time for the broker to say where a partition ends.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What of a partition lies behind the beginning of an open transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenTransaction {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Where what can be read ends: the last stable offset.
    pub from: Position,
    /// Where the partition ends.
    pub to: Position,
}

/// Those of the partitions in which a transaction is open now, in their order. Blocks for two questions to each broker.
///
/// # Errors
/// Kafka's.
pub fn open_transactions<'n>(
    kafka: &KafkaSettings,
    names: impl Iterator<Item = &'n LaneName>,
) -> Result<Vec<OpenTransaction>, SourceError> {
    let all = Properties::new(kafka, Role::Outside, None).set("isolation.level", "read_uncommitted");
    let all: BaseConsumer = all.client().create().map_err(SourceError::client)?;
    let stable: BaseConsumer =
        Properties::new(kafka, Role::Outside, None).client().create().map_err(SourceError::client)?;
    let no_answer = |cause| SourceError::Unreachable { detail: error::name(&cause) };
    let names: Vec<LaneName> = names.cloned().collect();
    let ends = ask_all(&all, &names, Offset::End, ANSWER_WITHIN).map_err(no_answer)?;
    let ends: Vec<_> = ends.into_iter().collect();
    open_below(&stable, &ends).map_err(no_answer)
}

/// Says where a transaction is open in these partitions, each with its end as its fetches told it.
pub(super) fn say_open(stable: &BaseConsumer, ends: &[(LaneName, Position)]) {
    for OpenTransaction { topic, partition, from, to } in open_below(stable, ends).unwrap_or_default() {
        tracing::warn!(
            topic,
            partition,
            from,
            to,
            "a transaction is open: what lies in this range cannot be read before it ends, and is applied then"
        );
    }
}

/// An end is older than the answer, and neither ever goes back: so where the answer is below it, something is open.
fn open_below(
    stable: &BaseConsumer,
    ends: &[(LaneName, Position)],
) -> Result<Vec<OpenTransaction>, rdkafka::error::KafkaError> {
    let names: Vec<LaneName> = ends.iter().map(|(name, _)| name.clone()).collect();
    let readable = ask_all(stable, &names, Offset::End, ANSWER_WITHIN)?;
    let mut open: Vec<_> = ends
        .iter()
        .filter_map(|(name, to)| {
            let (from, LaneName { topic, partition }) = (*readable.get(name)?, name.clone());
            (from < *to).then_some(OpenTransaction { topic, partition, from, to: *to })
        })
        .collect();
    open.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Ok(open)
}
