//! The steps that the demo shows one by one: places of the live stream, found in what it holds.
//!
//! A step is a run of records, between two looks at the keys that they change. Found by what the envelopes say,
//! so a new capture needs no change here; a test holds that each kind is found.

use std::ops::Range;

use serde_json::{Map, Value};

use super::shop::{Envelope, Event};

/// Most records of one step: others that arrived between its own go along.
const STEP_RECORDS_MAX: usize = 8;

type Row = Map<String, Value>;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// What happens, for a title.
    pub(super) title: String,
    /// The records, as indices of the live stream.
    pub(super) records: Range<usize>,
    /// The keys to look at, and what becomes of each.
    pub(super) keys: Vec<(String, Becomes)>,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    /// There before, deleted.
    Gone,
    /// Not there before.
    New,
    /// There, with another value.
    Changed,
}

/// What a kind of step asks of a transaction: its title and keys where it is one.
type Recognise = fn(&[&Envelope]) -> Option<(String, Vec<(String, Becomes)>)>;

const KINDS: [Recognise; 4] = [updated_customer, deleted_order, moved_key, moved_address];

/// One step of each kind, spread over the stream in its order. Fewer where a kind is not in it.
pub(super) fn steps(events: &[Event]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::with_capacity(KINDS.len());
    let share = events.len() / (KINDS.len() + 1);
    for (kind, start) in KINDS.iter().zip((1..).map(|number| number * share)) {
        let start = start.max(steps.last().map_or(0, |step| step.records.end));
        steps.extend((start..events.len()).find_map(|first| step_at(events, first, *kind)));
    }
    steps
}

/// The step of that kind whose first record this is.
fn step_at(events: &[Event], first: usize, recognise: Recognise) -> Option<Step> {
    let transaction = events.get(first)?.change.as_ref()?.source.transaction;
    let all = || events.iter().enumerate().filter(|(_, event)| is_of(event, transaction));
    let indices: Vec<usize> = all().map(|(index, _)| index).collect();
    if indices.first() != Some(&first) {
        return None;
    }
    let changes: Vec<&Envelope> = all().filter_map(|(_, event)| event.change.as_ref()).collect();
    let (title, keys) = recognise(&changes)?;
    let last_change = *indices.last()?;
    // The tombstone of a delete follows it in its partition; it goes along, for it is part of what happens.
    let deletes = indices.iter().filter_map(|index| events.get(*index)).filter(|event| is_delete(event));
    let last = deletes.filter_map(|event| tombstone_of(events, event)).fold(last_change, usize::max);
    let records = first..last + 1;
    let strangers = records.clone().filter_map(|index| events.get(index)).filter(|event| {
        event.change.as_ref().is_some_and(|change| change.source.transaction != transaction)
            && indices.iter().filter_map(|index| events.get(*index)).any(|own| same_row(own, event))
    });
    (records.len() <= STEP_RECORDS_MAX && strangers.count() == 0).then_some(Step { title, records, keys })
}

fn is_of(event: &Event, transaction: u64) -> bool {
    event.change.as_ref().is_some_and(|change| change.source.transaction == transaction)
}

fn is_delete(event: &Event) -> bool {
    event.change.as_ref().is_some_and(|change| change.op == "d")
}

fn same_row(a: &Event, b: &Event) -> bool {
    a.record.topic == b.record.topic && a.record.key == b.record.key
}

fn tombstone_of(events: &[Event], delete: &Event) -> Option<usize> {
    let follows = |event: &Event| same_row(event, delete) && event.record.offset == delete.record.offset + 1;
    events.iter().position(|event| event.record.value.is_none() && follows(event))
}

fn updated_customer(changes: &[&Envelope]) -> Option<(String, Vec<(String, Becomes)>)> {
    let [change] = changes else { return None };
    let (before, after) = customer(change)?;
    let id = after.get("id")?;
    let same = |column: &str| before.get(column) == after.get(column);
    let active = after.get("status")? == "active";
    if same("balance") || !same("email") || !same("status") || !active {
        return None;
    }
    let keys = [format!("customer:{id}"), format!("customer-card:{id}")];
    let title = format!("An update: the balance of customer {id}");
    Some((title, keys.map(|key| (key, Becomes::Changed)).into()))
}

fn deleted_order(changes: &[&Envelope]) -> Option<(String, Vec<(String, Becomes)>)> {
    let [change] = changes else { return None };
    let id = deleted_id(change)?;
    Some((format!("A delete: order {id}"), vec![(format!("order:{id}"), Becomes::Gone)]))
}

/// A changed key comes as a delete under the old one and a create under the new one.
fn moved_key(changes: &[&Envelope]) -> Option<(String, Vec<(String, Becomes)>)> {
    if changes.len() != 2 {
        return None;
    }
    let old = changes.iter().find_map(|change| deleted_id(change))?;
    let mut created = changes.iter().filter(|change| change.op == "c" && change.source.table == "orders");
    let new = created.find_map(|change| change.after.as_ref()?.get("id"))?;
    let keys = vec![(format!("order:{old}"), Becomes::Gone), (format!("order:{new}"), Becomes::New)];
    (old != new).then(|| (format!("A changed key: order {old} becomes order {new}"), keys))
}

/// An e-mail address passes from one customer to another, who lets go of his own.
fn moved_address(changes: &[&Envelope]) -> Option<(String, Vec<(String, Becomes)>)> {
    let [a, b] = changes else { return None };
    let (giver, taker) = if email(a.before.as_ref()?) == email(b.after.as_ref()?) { (a, b) } else { (b, a) };
    let ((given, _), (left, taken)) = (customer(giver)?, customer(taker)?);
    let (address, old) = (email(taken)?, email(left)?);
    if email(given)? != address || old == address {
        return None;
    }
    let ids = (given.get("id")?, taken.get("id")?);
    let title = format!("A secondary key moves: an address passes from customer {} to {}", ids.0, ids.1);
    let keys = vec![
        (format!("customer-by-email:{address}"), Becomes::Changed),
        (format!("customer-by-email:{old}"), Becomes::Gone),
    ];
    Some((title, keys))
}

/// Both images of an update of a customer who is cached before and after it.
fn customer(change: &Envelope) -> Option<(&Row, &Row)> {
    let (before, after) = (change.before.as_ref()?, change.after.as_ref()?);
    let cached = |row: &Row| row.get("deleted_at").is_some_and(Value::is_null);
    let is_one = change.op == "u" && change.source.table == "customers" && cached(before) && cached(after);
    is_one.then_some((before, after))
}

fn deleted_id(change: &Envelope) -> Option<&Value> {
    let is_one = change.op == "d" && change.source.table == "orders";
    is_one.then_some(change.before.as_ref()?.get("id")?)
}

fn email(row: &Row) -> Option<String> {
    row.get("email").and_then(Value::as_str).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::super::shop;
    use super::*;

    #[test]
    fn the_stream_holds_a_step_of_each_kind_one_after_the_other() {
        let events = shop::live().expect("records");
        let steps = steps(&events);
        let became: Vec<Vec<Becomes>> =
            steps.iter().map(|step| step.keys.iter().map(|(_, becomes)| *becomes).collect()).collect();
        assert_eq!(
            became,
            [
                vec![Becomes::Changed, Becomes::Changed],
                vec![Becomes::Gone],
                vec![Becomes::Gone, Becomes::New],
                vec![Becomes::Changed, Becomes::Gone],
            ]
        );
        let ends = steps.iter().map(|step| step.records.end);
        let starts = steps.iter().skip(1).map(|step| step.records.start);
        assert!(ends.zip(starts).all(|(end, start)| end <= start), "{steps:?}");
    }

    #[test]
    fn a_step_ends_with_its_tombstone() {
        let events = shop::live().expect("records");
        let steps = steps(&events);
        let delete = &steps[1];
        assert!(events[delete.records.end - 1].record.value.is_none(), "{delete:?}");
    }
}
