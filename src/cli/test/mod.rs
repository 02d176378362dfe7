//! `stoker test`: mapping tests, over the same code as `explain`.
//!
//! A case is `NAME.records.ndjson` (records) beside `NAME.expected.ndjson` (what they do), anywhere under the
//! given directories. The two are compared line by line; white space between JSON tokens does not count, order
//! and every digit do. Ends with 0 where all cases pass, 1 where one fails, 2 where there is none.

mod difference;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::difference::{Difference, differences};
use super::config::{self, ConfigArgs};
use super::explain;
use super::schemas::{SchemaSource, SchemasArgs};
use super::{Exit, Output, complain, unwritten};
use crate::entity::Handlers;
use crate::pipeline::Pipeline;
use crate::telemetry;

const RECORDS_SUFFIX: &str = ".records.ndjson";
const EXPECTED_SUFFIX: &str = ".expected.ndjson";

/// Deepest directory that is looked into, below the one that is given.
const DEPTH_MAX: usize = 16;

/// Differences shown of one case: the first ones tell, the rest follow from them.
const DIFFERENCES_MAX: usize = 10;

/// Options of `stoker test`.
#[derive(Debug, Clone, clap::Args)]
pub struct TestArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    schemas: SchemasArgs,
    /// Write what the records do as what is expected
    #[arg(long)]
    bless: bool,
    /// Directories with NAME.records.ndjson and NAME.expected.ndjson
    #[arg(value_name = "DIR", required = true)]
    directories: Vec<PathBuf>,
}

/// The files of one case.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Case {
    records: Option<PathBuf>,
    expected: Option<PathBuf>,
}

/// What became of one case.
#[derive(Debug, Serialize)]
struct Verdict {
    case: String,
    passed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    blessed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<Difference>,
}

pub(super) fn test(args: &TestArgs, output: Output, handlers: &Handlers) -> Exit {
    let settings = match config::load(&args.config, handlers) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    if let Err(error) = telemetry::init(&settings.log) {
        complain(telemetry::chain(&error));
        return Exit::Usage;
    }
    let schemas = match SchemaSource::new(&args.schemas, &settings) {
        Ok(schemas) => schemas,
        Err(wrong) => {
            complain(wrong);
            return Exit::Usage;
        }
    };
    let mut cases = BTreeMap::new();
    for directory in &args.directories {
        if let Err(error) = find_cases(directory, DEPTH_MAX, &mut cases) {
            complain(format_args!("{}: cannot be read: {error}", directory.display()));
            return Exit::Usage;
        }
    }
    if cases.is_empty() {
        complain(format_args!("no case found: expected NAME{RECORDS_SUFFIX} under the given directories"));
        return Exit::Usage;
    }
    // Each case gets a pipeline whose decoders have seen nothing, so that none depends on another.
    let bench = Bench { pipeline: &|| schemas.pipeline(&settings), schemas: &schemas };
    let verdicts = cases.iter().map(|(name, case)| judge(name, case, &bench, args.bless));
    match report(verdicts, output, &mut io::stdout().lock()) {
        Ok(exit) => exit,
        Err(error) => unwritten(&error),
    }
}

/// Prints each verdict as it comes, then how many passed.
fn report(verdicts: impl Iterator<Item = Verdict>, output: Output, out: &mut dyn Write) -> io::Result<Exit> {
    let (mut passed, mut failed) = (0_usize, 0_usize);
    for verdict in verdicts {
        *(if verdict.passed { &mut passed } else { &mut failed }) += 1;
        match output {
            Output::Text => write!(out, "{verdict}")?,
            Output::Json => writeln!(out, "{}", serde_json::to_string(&verdict)?)?,
        }
    }
    match output {
        Output::Text => writeln!(out, "{passed} passed, {failed} failed")?,
        Output::Json => writeln!(out, "{}", serde_json::json!({"passed": passed, "failed": failed}))?,
    }
    out.flush()?;
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

/// Adds the cases under a directory, by path and name. Links to directories are not followed.
fn find_cases(directory: &Path, depth: usize, cases: &mut BTreeMap<PathBuf, Case>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if depth > 0 {
                find_cases(&path, depth - 1, cases)?;
            }
            continue;
        }
        let file_name = entry.file_name();
        let file_name = file_name.to_string_lossy();
        if let Some(name) = file_name.strip_suffix(RECORDS_SUFFIX) {
            cases.entry(directory.join(name)).or_default().records = Some(path);
        } else if let Some(name) = file_name.strip_suffix(EXPECTED_SUFFIX) {
            cases.entry(directory.join(name)).or_default().expected = Some(path);
        }
    }
    Ok(())
}

/// What cases are run on.
struct Bench<'b> {
    pipeline: &'b dyn Fn() -> Pipeline,
    schemas: &'b SchemaSource,
}

fn judge(name: &Path, case: &Case, bench: &Bench<'_>, bless: bool) -> Verdict {
    let verdict = |passed, problem| Verdict {
        case: name.display().to_string(),
        passed,
        blessed: false,
        problem,
        differences: Vec::new(),
    };
    let Some(records) = &case.records else {
        let problem =
            format!("no {}{RECORDS_SUFFIX} beside it: delete it, or add the records", name.display());
        return verdict(false, Some(problem));
    };
    let got = match explain_file(records, bench) {
        Ok(got) => got,
        Err(problem) => return verdict(false, Some(problem)),
    };
    if bless {
        let path = case.expected.clone().unwrap_or_else(|| beside(name, EXPECTED_SUFFIX));
        return match fs::write(&path, got) {
            Ok(()) => Verdict { blessed: true, ..verdict(true, None) },
            Err(error) => verdict(false, Some(format!("{}: cannot be written: {error}", path.display()))),
        };
    }
    let Some(expected) = &case.expected else {
        let problem = format!(
            "no {}{EXPECTED_SUFFIX}: look at what explain says, then run with --bless",
            name.display()
        );
        return verdict(false, Some(problem));
    };
    match fs::read_to_string(expected) {
        Ok(expected) => {
            let differences = differences(&expected, &got);
            Verdict { differences, ..verdict(true, None) }.settle()
        }
        Err(error) => verdict(false, Some(format!("{}: cannot be read: {error}", expected.display()))),
    }
}

impl Verdict {
    fn settle(self) -> Verdict {
        Verdict { passed: self.differences.is_empty(), ..self }
    }
}

/// `shop/customer` to `shop/customer.expected.ndjson`, whatever dots the name holds.
fn beside(name: &Path, suffix: &str) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

/// What `explain` prints for the file.
fn explain_file(records: &Path, bench: &Bench<'_>) -> Result<String, String> {
    let reader = explain::open(records).map_err(|error| telemetry::chain(&error))?;
    let mut got = Vec::new();
    explain::explain_records(&mut (bench.pipeline)(), bench.schemas, reader, None, &mut got)
        .map_err(|error| telemetry::chain(&error))?;
    Ok(String::from_utf8_lossy(&got).into_owned())
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match (self.passed, self.blessed) {
            (true, true) => "blessed",
            (true, false) => "ok",
            (false, _) => "FAILED",
        };
        writeln!(f, "{word} {}", self.case)?;
        if let Some(problem) = &self.problem {
            writeln!(f, "  {problem}")?;
        }
        for difference in self.differences.iter().take(DIFFERENCES_MAX) {
            write!(f, "{difference}")?;
        }
        match self.differences.len().saturating_sub(DIFFERENCES_MAX) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more lines"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_entities() -> Pipeline {
        Pipeline::new(std::sync::Arc::new([]))
    }

    /// A directory with these files.
    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        directory
    }

    fn judge_all(directory: &tempfile::TempDir, bless: bool) -> Vec<Verdict> {
        let mut cases = BTreeMap::new();
        find_cases(directory.path(), DEPTH_MAX, &mut cases).unwrap();
        let bench = Bench { pipeline: &no_entities, schemas: &SchemaSource::nowhere() };
        cases.iter().map(|(name, case)| judge(name, case, &bench, bless)).collect()
    }

    const RECORD: &str = r#"{"topic":"nobody.reads.it"}"#;
    const NO_ENTITY: &str =
        r#"{ "topic":"nobody.reads.it", "partition":0, "offset":0, "ignored":"no_entity" }"#;

    #[test]
    fn a_case_passes_where_the_lines_are_the_same_but_for_white_space() {
        let directory =
            directory(&[("deep/er/a.b.records.ndjson", RECORD), ("deep/er/a.b.expected.ndjson", NO_ENTITY)]);
        let verdicts = judge_all(&directory, false);
        assert_eq!(verdicts.len(), 1);
        assert!(verdicts[0].passed, "{verdicts:?}");
        assert!(verdicts[0].case.ends_with("deep/er/a.b"), "{verdicts:?}");
    }

    #[test]
    fn missing_stale_and_broken_files_fail_and_say_what_to_do() {
        let cases = [
            ("a.records.ndjson", RECORD, "--bless"),
            ("a.expected.ndjson", NO_ENTITY, "delete it"),
            ("a.records.ndjson", "nonsense", "a.records.ndjson:1: not JSON"),
        ];
        for (name, content, expected) in cases {
            let verdicts = judge_all(&directory(&[(name, content)]), false);
            let problem = verdicts[0].problem.clone().unwrap_or_default();
            assert!(!verdicts[0].passed && problem.contains(expected), "{name}: {problem}");
        }
    }

    #[test]
    fn bless_writes_what_then_passes() {
        let directory = directory(&[("a.records.ndjson", RECORD)]);
        assert!(judge_all(&directory, true)[0].blessed);
        assert!(judge_all(&directory, false)[0].passed);
    }

    #[test]
    fn the_report_shows_what_differs_counts_and_ends_with_1_where_a_case_failed() {
        let files = [
            ("a.records.ndjson", RECORD),
            ("a.expected.ndjson", NO_ENTITY),
            ("b.records.ndjson", RECORD),
            ("b.expected.ndjson", "{}"),
        ];
        let verdicts = || {
            let named = judge_all(&directory(&files), false).into_iter();
            named.zip(["a", "b"]).map(|(verdict, name)| Verdict { case: name.to_owned(), ..verdict })
        };
        let mut text = Vec::new();
        assert_eq!(report(verdicts(), Output::Text, &mut text).unwrap(), Exit::Failed);
        let expected = concat!(
            "ok a\nFAILED b\n  line 1:\n    expected {}\n",
            "    got      {\"topic\":\"nobody.reads.it\",\"partition\":0,\"offset\":0,\"ignored\":\"no_entity\"}\n",
            "1 passed, 1 failed\n",
        );
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert_eq!(report(verdicts().take(1), Output::Json, &mut Vec::new()).unwrap(), Exit::Done);
    }
}
