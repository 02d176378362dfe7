//! What is written: a table in Markdown, and a line of history that the next run is compared with.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::big_preload::BigPreload;
use crate::contestant::Peer;
use crate::latency::Latency;
use crate::point::Point;
use crate::recovery::{Recovery, Seen};
use crate::trial::Measured;

/// Everything that one run found.
pub(crate) struct Findings {
    pub(crate) measured: Vec<Measured>,
    pub(crate) latencies: Vec<Latency>,
    pub(crate) recoveries: Vec<Recovery>,
    /// Only in full runs, and where it was asked for.
    pub(crate) big_preload: Option<BigPreload>,
    pub(crate) peers: Vec<Peer>,
    /// `quick`, `default` or `full`: only runs of one kind compare.
    pub(crate) kind: &'static str,
    pub(crate) minutes: f64,
}

impl Findings {
    /// The tables.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# Results\n\nWritten by `make bench` ({}, {:.0} minutes, {}). How it is measured: [README.md](README.md).\n\n",
            self.kind,
            self.minutes,
            machine()
        );
        text.push_str("## Stoker\n\n![Shares of redis-benchmark's rate](results.svg)\n\n");
        text.push_str(HEAD);
        for measured in self.of("stoker") {
            text.push_str(&row(&measured.point, measured));
        }
        text.push_str("\nRatios are medians over the pairs, with the lowest and the highest. `redis-benchmark` sends the same command with the same pipeline depth over as many connections as there are lanes. Thrown away are trials whose two reference runs differ by more than 15 %.\n");
        if !self.latencies.is_empty() {
            text.push_str("\n## Latency, append to applied\n\n| load | p50 | p99 | p99.9 | probes | load late by (p99) |\n|---|---|---|---|---|---|\n");
            for latency in &self.latencies {
                let Latency { rate, p50, p99, p999, probes, late_p99 } = latency;
                let _ = writeln!(
                    text,
                    "| {:.0} k records/s | {p50:.1} ms | {p99:.1} ms | {p999:.1} ms | {probes} | {late_p99:.1} ms |",
                    rate / 1e3
                );
            }
        }
        if !self.recoveries.is_empty() {
            text.push_str(RECOVERY_HEAD);
            for recovery in &self.recoveries {
                text.push_str(&recovery_rows(recovery));
            }
        }
        if let Some(big) = &self.big_preload {
            text.push_str(&big_preload_table(big));
        }
        if !self.peers.is_empty() {
            text.push_str("\n## What a team would write instead\n\nThe same topic, the same mapping, the same final state (checked), in the same run.\n\n");
            text.push_str(HEAD);
            for measured in &self.measured {
                let is_peer = self.peers.iter().any(|peer| peer.name == measured.contestant);
                if measured.point == Point::base().name && (is_peer || measured.contestant == "stoker") {
                    text.push_str(&row(&measured.contestant, measured));
                }
            }
            text.push_str("\nWhat their figures do not pay for, since they do not do it:\n\n");
            for Peer { name, cannot, .. } in &self.peers {
                let _ = writeln!(text, "- `{name}`: {cannot}");
            }
        }
        text
    }

    fn of<'a>(&'a self, contestant: &'a str) -> impl Iterator<Item = &'a Measured> {
        self.measured.iter().filter(move |measured| measured.contestant == contestant)
    }

    /// The run as one line of the history.
    pub(crate) fn history(&self) -> Value {
        let rows = self.measured.iter().map(|measured| {
            json!({
                "point": measured.point, "contestant": measured.contestant,
                "ratio": round(measured.ratio()), "pairs": measured.ratios.len(),
                "discarded": measured.discarded,
                "rate": measured.median(|drained| drained.rate).round(),
                "reference_rate": measured.reference_rate.round(),
                "depth": measured.depth, "event_bytes": measured.event_bytes, "records": measured.records,
                "own_us": round(measured.median(|drained| drained.own_us)),
                "redis_us": round(measured.median(|drained| drained.redis_us)),
                "broker_us": round(measured.median(|drained| drained.broker_us)),
                "peak_mb": round(measured.median(|drained| drained.peak_mb)),
                "first_write_s": round(measured.median(|drained| drained.first_write_s)),
            })
        });
        let latencies = self.latencies.iter().map(|latency| {
            json!({ "rate": latency.rate.round(), "p50_ms": round(latency.p50), "p99_ms": round(latency.p99),
                "p999_ms": round(latency.p999), "probes": latency.probes, "late_p99_ms": round(latency.late_p99) })
        });
        let recoveries = self.recoveries.iter().map(|recovery| {
            let Recovery { keys, records, rows, newest_first, in_order } = recovery;
            json!({ "exponent": keys.exponent(), "records": records, "rows": rows,
                "newest_first_s": newest_first.current_s.map(round), "in_order_s": in_order.current_s.map(round),
                "old_reads": newest_first.old_reads, "old_reads_in_order": in_order.old_reads })
        });
        json!({
            "commit": commit(), "kind": self.kind, "machine": machine(),
            "rows": rows.collect::<Vec<_>>(), "latencies": latencies.collect::<Vec<_>>(),
            "recoveries": recoveries.collect::<Vec<_>>(),
            "big_preload": self.big_preload.as_ref().map(big_preload_entry),
        })
    }
}

const HEAD: &str = "| | share of redis-benchmark | target | records/s | own CPU µs | Redis µs | broker µs | records per own CPU second | peak RSS | first write | thrown away |\n|---|---|---|---|---|---|---|---|---|---|---|\n";

fn row(name: &str, measured: &Measured) -> String {
    let lowest = measured.ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = measured.ratios.iter().copied().fold(0.0, f64::max);
    let target = match Point::all().into_iter().find(|point| point.name == measured.point) {
        Some(Point { target: Some(target), .. }) if measured.contestant == "stoker" => format!("≥ {target}"),
        _ => String::new(),
    };
    if measured.ratios.is_empty() {
        return format!(
            "| {name} | not measured: the reference runs never agreed | {target} | | | | | | | | {} |\n",
            measured.discarded
        );
    }
    let own_us = measured.median(|drained| drained.own_us);
    format!(
        "| {name} | **{:.2}** ({lowest:.2}–{highest:.2}) | {target} | {:.0} k | {own_us:.2} | {:.2} | {:.2} | {:.0} k | {:.0} MB | {:.1} s | {} |\n",
        measured.ratio(),
        measured.median(|drained| drained.rate) / 1e3,
        measured.median(|drained| drained.redis_us),
        measured.median(|drained| drained.broker_us),
        1e3 / own_us,
        measured.median(|drained| drained.peak_mb),
        measured.median(|drained| drained.first_write_s),
        measured.discarded,
    )
}

const RECOVERY_HEAD: &str = "\n## After Redis lost everything\n\nReaders ask for rows as popular as their changes are, while live changes and deletes go on. Newest first counts from FLUSHALL, so that noticing the loss is in it; in order from the first key in the cache. An old read showed something older than before the loss, or a row that was deleted before it.\n\n| popularity by rank r | records, rows | | half of the reads are current after | nine of ten | 99 of 100 | old reads |\n|---|---|---|---|---|---|---|\n";

fn recovery_rows(recovery: &Recovery) -> String {
    let Recovery { keys, records, rows, newest_first, in_order } = recovery;
    let line = |what: &str, seen: &Seen, times: String| {
        let [half, nine, most] = seen.current_s;
        let place = format!("r^-{}, {records}, {rows}", keys.exponent()).replacen(", ", " | ", 1);
        format!(
            "| {place} | {what} | {half:.1} s | {nine:.1} s{times} | {most:.1} s | {} |\n",
            seen.old_reads
        )
    };
    let times = format!(": **{:.1} times as soon**", recovery.times_as_soon());
    line("newest first", newest_first, times) + &line("in order", in_order, String::new())
}

fn big_preload_table(big: &BigPreload) -> String {
    let BigPreload { rows, loaded, reference_rates: [before, after], resumed, verified } = big;
    let lines = [
        ("rows, one key each", rows.to_string()),
        ("share of redis-benchmark", format!("**{:.2}**", big.ratio())),
        ("rows/s", format!("{:.0} k", loaded.rate / 1e3)),
        ("redis-benchmark before and after", format!("{:.0} k/s, {:.0} k/s", before / 1e3, after / 1e3)),
        ("own CPU of a row", format!("{:.2} µs", loaded.own_us)),
        ("Redis's CPU of a row", format!("{:.2} µs", loaded.redis_us)),
        ("peak RSS", format!("{:.0} MB", loaded.peak_mb)),
        ("first write", format!("{:.1} s", loaded.first_write_s)),
        ("another load, ended by SIGKILL", format!("with {} keys there", resumed.keys_at_kill)),
        (
            "gone on from its checkpoint",
            format!(
                "{} rows in {:.0} s, {} of them again; peak RSS {:.0} MB",
                resumed.rows_read, resumed.took_s, resumed.rows_again, resumed.peak_mb
            ),
        ),
        (
            "`stoker verify` of that",
            format!(
                "**{} differences** of {} keys, in {:.0} s and {} passes over the topic; peak RSS {:.0} MB",
                verified.differences, verified.checked, verified.took_s, verified.passes, verified.peak_mb
            ),
        ),
    ];
    let mut text = "\n## Preload of five million rows\n\n`stoker preload` of a Parquet file into an empty redis-server, beside a topic that holds each row once. One pair; the last three lines are of a load that was killed in the middle.\n\n| | |\n|---|---|\n".to_owned();
    for (what, figure) in lines {
        let _ = writeln!(text, "| {what} | {figure} |");
    }
    text
}

fn big_preload_entry(big: &BigPreload) -> Value {
    let BigPreload { rows, loaded, reference_rates, resumed, verified } = big;
    json!({
        "rows": rows, "ratio": round(big.ratio()), "rate": loaded.rate.round(),
        "reference_rates": reference_rates.map(f64::round),
        "own_us": round(loaded.own_us), "redis_us": round(loaded.redis_us),
        "peak_mb": round(loaded.peak_mb), "first_write_s": round(loaded.first_write_s),
        "keys_at_kill": resumed.keys_at_kill, "resumed_rows": resumed.rows_read,
        "resumed_rows_again": resumed.rows_again, "resumed_s": round(resumed.took_s),
        "resumed_peak_mb": round(resumed.peak_mb),
        "checked": verified.checked, "differences": verified.differences, "passes": verified.passes,
        "verify_s": round(verified.took_s), "verify_peak_mb": round(verified.peak_mb),
    })
}

/// Says how each row compares with the last run of the same kind, and appends this one.
pub(crate) fn compare_and_append(file: &Path, now: &Value) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let same = |line: &Value| line["kind"] == now["kind"] && line["machine"] == now["machine"];
    if let Some(last) = lines.rfind(same) {
        println!("Against {}:", last["commit"].as_str().unwrap_or("the run before"));
        for row in now["rows"].as_array().into_iter().flatten() {
            let of_it =
                |other: &&Value| other["point"] == row["point"] && other["contestant"] == row["contestant"];
            let before = last["rows"].as_array().into_iter().flatten().find(of_it);
            let change = |name: &str| Some(row[name].as_f64()? / before?[name].as_f64()?);
            if let (Some(ratio), Some(own)) = (change("ratio"), change("own_us")) {
                let (point, who) = (row["point"].as_str(), row["contestant"].as_str());
                println!(
                    "  {} {}: share × {ratio:.2}, own CPU × {own:.2}",
                    who.unwrap_or_default(),
                    point.unwrap_or_default()
                );
            }
        }
    }
    let mut text = text;
    let _ = writeln!(text, "{now}");
    std::fs::write(file, text).expect("the history can be written");
}

fn round(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

fn commit() -> String {
    let out = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
}

/// Processor and number of cores.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores", model.trim_start_matches([' ', '\t', ':']).trim())
}
