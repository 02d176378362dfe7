//! The result of a comparison: a table and examples for people, one object a line for scripts.

use std::io::{self, Write};

use indicatif::HumanCount;
use serde::Serialize;

use crate::verify::{Difference, EntityCounts, Example, Report};

pub(super) fn text(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let width = report.entities.iter().map(|entity| entity.entity.chars().count()).max().unwrap_or(0).max(6);
    write!(out, "{:width$} {:>12}", "entity", "checked")?;
    for difference in Difference::ALL {
        write!(out, " {:>10}", difference.name())?;
    }
    writeln!(out)?;
    for entity in &report.entities {
        write!(out, "{:width$} {:>12}", entity.entity, HumanCount(entity.checked).to_string())?;
        for difference in Difference::ALL {
            write!(out, " {:>10}", HumanCount(entity.count(difference)).to_string())?;
        }
        writeln!(out)?;
    }
    for example in &report.examples {
        writeln!(out, "{}", line(example))?;
    }
    for entity in &report.entities {
        for (count, what) in apart(entity) {
            if count > 0 {
                writeln!(out, "{}: {} {what}", entity.entity, HumanCount(count))?;
            }
        }
    }
    if report.failed_records > 0 {
        let count = HumanCount(report.failed_records);
        writeln!(out, "{count} records cannot be decoded or handled: see `stoker explain`")?;
    }
    let (differing, records) = (HumanCount(report.difference_count()), HumanCount(report.records));
    let passes = if report.passes == 1 { String::new() } else { format!(" in {} passes", report.passes) };
    writeln!(
        out,
        "{differing} of {} keys differ; {records} records read{passes}",
        HumanCount(checked(report))
    )
}

/// What is counted apart, and is no difference.
fn apart(entity: &EntityCounts) -> [(u64, &'static str); 5] {
    [
        (entity.expired, "are not there, and their TTL may have run out since their last change"),
        (entity.raced, "hold what the order of partitions can leave"),
        (entity.behind, "cannot be judged: the group has not come to their last change"),
        (entity.evicted, "are not there, and may have been evicted"),
        (entity.unknown, "cannot be judged: the topics do not reach back to what made them"),
    ]
}

fn line(example: &Example) -> String {
    let Example { key, difference, held, expected_type, record, .. } = example;
    let held = match held {
        None => "not there".to_owned(),
        Some(held) => {
            let ttl = held.ttl_ms.map_or_else(|| "no TTL".to_owned(), |ttl_ms| format!("TTL {ttl_ms} ms"));
            format!("a {} of {} bytes, {ttl}", held.r#type, HumanCount(held.bytes as u64))
        }
    };
    let must = match expected_type {
        None => "nothing should be there",
        Some("hash") => "it should be a hash",
        Some(_) => "it should be a string",
    };
    let record = record.as_ref().map_or_else(String::new, |record| {
        format!(" by {}/{} offset {}", record.topic, record.partition, record.offset)
    });
    format!("{:10} {key}  ({held}; {must}{record})", difference.name())
}

fn checked(report: &Report) -> u64 {
    report.entities.iter().map(|entity| entity.checked).sum()
}

#[derive(Serialize)]
struct Summary<'r> {
    checked: u64,
    differences: u64,
    #[serde(flatten)]
    report: &'r Report,
}

/// One line for each example, and one for all.
pub(super) fn json(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for example in &report.examples {
        writeln!(out, "{}", serde_json::to_string(example)?)?;
    }
    let summary = Summary { checked: checked(report), differences: report.difference_count(), report };
    writeln!(out, "{}", serde_json::to_string(&summary)?)
}
