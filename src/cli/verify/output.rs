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
        writeln!(out, "records that cannot be decoded or handled: {count}; see `stoker explain`")?;
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
        (entity.behind, "cannot be judged: the group has not come to their last changes, or refills them"),
        (entity.evicted, "are not there, and may have been evicted"),
        (entity.unknown, "cannot be judged: the topics do not reach back to what made them"),
    ]
}

fn line(example: &Example) -> String {
    let Example { key, member, difference, held, expected_type, record, .. } = example;
    let member = member.as_ref().map_or_else(String::new, |member| format!(" member {member}"));
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
        Some("set") => "it should be a member of a set",
        Some("zset") => "it should be a member of a sorted set",
        Some(_) => "it should be a string",
    };
    let record = record.as_ref().map_or_else(String::new, |record| {
        format!(", says {}/{} offset {}", record.topic, record.partition, record.offset)
    });
    format!("{:10} {key}{member}  ({held}; {must}{record})", difference.name())
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::verify::{RecordPlace, Shown};

    /// Two keys of 1,200 differ; 3 have expired.
    fn report() -> Report {
        let differences = BTreeMap::from([(Difference::Missing, 1), (Difference::Stale, 1)]);
        let customer = EntityCounts {
            entity: "customer".to_owned(),
            checked: 1_200,
            differences,
            expired: 3,
            ..EntityCounts::default()
        };
        let example = |key: &str, difference, held| Example {
            entity: "customer".to_owned(),
            key: key.to_owned(),
            member: None,
            difference,
            held,
            expected_type: Some("string"),
            record: Some(RecordPlace { topic: "t".to_owned(), partition: 2, offset: 7, timestamp_ms: None }),
        };
        let held = Shown { r#type: "string".to_owned(), bytes: 64, ttl_ms: Some(900) };
        Report {
            entities: vec![customer],
            examples: vec![
                example("customer:1", Difference::Missing, None),
                example("customer:2", Difference::Stale, Some(held)),
            ],
            records: 5_000,
            failed_records: 1,
            passes: 2,
            behind_partitions: 0,
        }
    }

    #[test]
    fn people_get_a_table_the_examples_and_what_is_counted_apart() {
        let mut out = Vec::new();
        text(&report(), &mut out).unwrap();
        let expected = "\
entity        checked    missing      stale      extra  wrong_ttl wrong_type
customer        1,200          1          1          0          0          0
missing    customer:1  (not there; it should be a string, says t/2 offset 7)
stale      customer:2  (a string of 64 bytes, TTL 900 ms; it should be a string, says t/2 offset 7)
customer: 3 are not there, and their TTL may have run out since their last change
records that cannot be decoded or handled: 1; see `stoker explain`
2 of 1,200 keys differ; 5,000 records read in 2 passes
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn scripts_get_a_line_for_each_example_and_one_for_all() {
        let mut out = Vec::new();
        json(&report(), &mut out).unwrap();
        let expected = concat!(
            r#"{"entity":"customer","key":"customer:1","difference":"missing","held":null,"expected_type":"string","#,
            r#""record":{"topic":"t","partition":2,"offset":7,"timestamp_ms":null}}"#,
            "\n",
            r#"{"entity":"customer","key":"customer:2","difference":"stale","#,
            r#""held":{"type":"string","bytes":64,"ttl_ms":900},"expected_type":"string","#,
            r#""record":{"topic":"t","partition":2,"offset":7,"timestamp_ms":null}}"#,
            "\n",
            r#"{"checked":1200,"differences":2,"entities":[{"entity":"customer","checked":1200,"#,
            r#""differences":{"missing":1,"stale":1},"expired":3,"raced":0,"behind":0,"evicted":0,"unknown":0}],"#,
            r#""records":5000,"failed_records":1,"passes":2,"behind_partitions":0}"#,
            "\n",
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
