//! What keeps the code's layers apart, read from the source: which file may name what, and how long it may be.
//!
//! Each finding says the remedy. Lines that are comments do not count. Start at [`RULES`].

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

/// Modules that decide and do nothing else: no IO, no clock, no environment (invariant 6).
const CORE: &[&str] = &[
    "batch",
    "change",
    "coalesce",
    "dead_letter",
    "decode",
    "entity",
    "error",
    "lane",
    "mutation",
    "patch",
    "pipeline",
    "record",
    "refill",
    "retry",
    "types",
    "version",
    "worker",
];

/// Of the core, what holds data and knows nobody.
const PLAIN_DATA: &[&str] = &["change", "mutation", "patch", "record", "version"];

/// Modules at the edge, where IO is done, and those that read settings and arguments.
const EDGE: &[&str] = &[
    "admin",
    "cli",
    "clock",
    "engine",
    "export",
    "preload",
    "process",
    "registry",
    "settings",
    "sink",
    "source",
    "telemetry",
    "tls",
    "verify",
];

/// What a file under some paths must not name.
struct Rule {
    /// A regular expression over one line of code.
    names: &'static str,
    /// True where the rule holds, by the file's path and content.
    holds: fn(&str, &str) -> bool,
    remedy: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        names: r"\btokio\b|\bfutures_util\b|\basync fn\b|\.await\b",
        holds: |path, _| is_core(path),
        remedy: "the core waits for nothing: take the input as an argument and hand the work out as a value",
    },
    Rule {
        names: r"\bInstant::now\b|\bSystemTime::now\b",
        holds: |path, _| path != "src/clock.rs" && path.starts_with("src/"),
        remedy: "the core reads no clock: take a clock::Now as an argument; at the edge ask clock::Clock",
    },
    Rule {
        names: r"\bstd::(env|fs|net|process)\b",
        holds: |path, _| is_core(path),
        remedy: "the core does no IO and reads no environment: read it at the edge and hand the plain value down",
    },
    Rule {
        names: r"\bstd::env::var",
        holds: |path, _| {
            !path.starts_with("src/settings/") && path.starts_with("src/") && !path.contains("/tests")
        },
        remedy: "the environment is read by the settings and nowhere else: make it a setting",
    },
    Rule {
        names: r"\brdkafka\b",
        holds: |path, _| {
            path.starts_with("src/")
                && !path.starts_with("src/source/kafka/")
                && path != "src/source/linked.rs"
        },
        remedy: "rdkafka lives in src/source/kafka: put what needs it there, behind a type of ours",
    },
    Rule {
        // A module of one's own may have that name, but is reached by a path.
        names: r"(^|[^a-z_:\n])::redis::|\buse redis\b",
        holds: |path, _| path.starts_with("src/") && !path.starts_with("src/sink/redis/"),
        remedy: "the redis crate lives in src/sink/redis: put what needs it there, behind a type of ours",
    },
    Rule {
        names: r"(^|[^a-z_:.\n])redis::",
        holds: |path, content| {
            path.starts_with("src/")
                && !path.starts_with("src/sink/redis/")
                && !content.contains("mod redis;")
        },
        remedy: "the redis crate lives in src/sink/redis: put what needs it there, behind a type of ours",
    },
    Rule {
        names: r"\bcrate::(admin|cli|engine|process|registry|settings|sink|telemetry)\b",
        holds: |path, _| is_core(path),
        remedy: "the edge uses the core, never the core the edge: pass the value in, or move its type to the core",
    },
    Rule {
        names: r"\bcrate::(clock|source)\b",
        holds: |path, _| is_core(path) && !matches!(module(path), "lane" | "worker"),
        remedy: "only lane and worker speak the source's words (its plain types, and Now): pass the value in",
    },
    Rule {
        names: r"\bcrate::(batch|coalesce|decode|entity|lane|pipeline|retry|worker)\b",
        holds: |path, _| PLAIN_DATA.contains(&module(path)),
        remedy: "plain data knows nobody: move the function to the module that it speaks of",
    },
    Rule {
        names: concat!(r"\b(to", r"do|unimple", r"mented|d", r"bg)!|\b(FIX", r"ME|X", r"XX)\b"),
        holds: |_, _| true,
        remedy: "finish it, or refuse it as not built yet and write down why",
    },
];

/// Lines from which on a file of code, or of tests, needs a reason to be one. Suites of cases read on where code
/// would not.
const CODE_LINES_MAX: usize = 600;
const TEST_LINES_MAX: usize = 900;

/// Longer files, and why each is one idea.
const LONG: &[(&str, &str)] =
    &[("src/lane.rs", "one state machine: apart, its transitions could not be read against each other")];

/// The module of a file: `src/entity/flow.rs` is of `entity`.
fn module(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or_default();
    inside.split(['/', '.']).next().unwrap_or_default()
}

fn is_core(path: &str) -> bool {
    CORE.contains(&module(path))
}

/// The rules' expressions, in their order. A word ends by ASCII: with all of Unicode's letters it takes seconds.
static NAMES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let compile =
        |rule: &Rule| Regex::new(&format!("(?m){}", rule.names.replace(r"\b", r"(?-u:\b)"))).unwrap();
    RULES.iter().map(compile).collect()
});

/// What is wrong with one file, each with its line and remedy.
fn findings(path: &str, content: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (rule, names) in RULES.iter().zip(&*NAMES).filter(|(rule, _)| (rule.holds)(path, content)) {
        for name in names.find_iter(content) {
            let before = &content[..name.start()];
            let line_start = before.rfind('\n').map_or(0, |end| end + 1);
            if !content[line_start..].trim_start().starts_with("//") {
                let (number, name) = (before.matches('\n').count() + 1, name.as_str().trim());
                found.push(format!("{path}:{number}: names {name:?}: {}", rule.remedy));
            }
        }
    }
    let lines = content.lines().count();
    let limit = if path.starts_with("tests/") { TEST_LINES_MAX } else { CODE_LINES_MAX };
    if lines > limit && !LONG.iter().any(|(long, _)| *long == path) {
        found.push(format!(
            "{path}: {lines} lines, over {limit}: split it where two ideas meet, or say in LONG why it is one"
        ));
    }
    found
}

/// Every source file, by its path from the repository's folder.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = ["src", "tests", "examples"].map(|folder| root.join(folder)).into();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn every_source_file_keeps_to_its_layer() {
    let sources = sources();
    assert!(sources.len() > 100, "only {} files were found", sources.len());
    let found: Vec<String> = sources.iter().flat_map(|(path, content)| findings(path, content)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_module_is_of_the_core_or_of_the_edge() {
    let library = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let declared = Regex::new(r"(?m)^(?:pub(?:\(crate\))? )?mod (\w+);").unwrap();
    let declared: BTreeSet<_> =
        declared.captures_iter(&library).map(|found| found.get(1).unwrap().as_str()).collect();
    let sorted: BTreeSet<_> = CORE.iter().chain(EDGE).copied().collect();
    for module in &declared {
        assert!(
            sorted.contains(module),
            "src/lib.rs: {module} is new: put it in CORE or EDGE of tests/it/tidy.rs"
        );
    }
    for module in CORE.iter().chain(EDGE) {
        assert!(
            declared.contains(module),
            "tests/it/tidy.rs: there is no module {module} any more: take it out"
        );
    }
    assert_eq!(sorted.len(), CORE.len() + EDGE.len(), "a module is of the core or of the edge, not of both");
    assert!(PLAIN_DATA.iter().all(|module| CORE.contains(module)));
}

#[test]
fn a_long_file_that_became_short_needs_no_reason() {
    for (path, content) in sources() {
        let listed = LONG.iter().any(|(long, _)| *long == path);
        let short = content.lines().count() < CODE_LINES_MAX - 100;
        assert!(!(listed && short), "{path} is short: take it out of LONG in tests/it/tidy.rs");
    }
}

/// The rules themselves, on planted lines: each is found in the one place and allowed in the other.
#[test]
fn planted_violations_are_found_and_allowed_places_are_left_alone() {
    for (line, forbidden, allowed) in [
        ("use tokio::sync::mpsc;", "src/lane.rs", "src/engine.rs"),
        ("    reply.await", "src/pipeline.rs", "src/sink/redis/apply.rs"),
        ("let now = Instant::now();", "src/entity/flow.rs", "src/clock.rs"),
        ("let now = std::time::SystemTime::now();", "src/engine.rs", "src/clock.rs"),
        ("let home = std::env::var(\"HOME\");", "src/process/mod.rs", "src/settings/expand.rs"),
        ("use std::env;", "src/decode/mod.rs", "src/cli/run.rs"),
        ("use rdkafka::Message;", "src/engine.rs", "src/source/kafka/poll.rs"),
        ("fn of(error: ::redis::RedisError)", "src/process/mod.rs", "src/sink/redis/classify.rs"),
        ("use redis::aio;", "src/worker/mod.rs", "src/sink/redis/connect.rs"),
        ("let url = redis::parse();", "src/settings/mod.rs", "src/sink/redis/mod.rs"),
        ("use crate::settings::Settings;", "src/entity/mapping.rs", "src/cli/check/mod.rs"),
        ("use crate::source::Stored;", "src/decode/rows.rs", "src/lane.rs"),
        ("use crate::entity::Entity;", "src/mutation.rs", "src/pipeline.rs"),
    ] {
        let found = findings(forbidden, line);
        assert!(!found.is_empty(), "{line} in {forbidden}");
        assert!(found[0].starts_with(&format!("{forbidden}:1: names ")) && found[0].len() > 60, "{found:?}");
        assert_eq!(findings(allowed, line), Vec::<String>::new(), "{line} in {allowed}");
        assert_eq!(findings(forbidden, &format!("    // {line}")), Vec::<String>::new(), "a comment");
    }
    let own = "mod redis;\nlet problems = redis::redis(raw);";
    assert_eq!(findings("src/settings/validate/mod.rs", own), Vec::<String>::new());
    for word in [concat!("to", "do!()"), concat!("unimple", "mented!()"), concat!("d", "bg!(x)")] {
        assert_eq!(findings("tests/it/tidy.rs", word).len(), 1, "{word}");
    }
    let long = "\n".repeat(CODE_LINES_MAX + 1);
    assert!(findings("src/entity/mod.rs", &long)[0].contains("601 lines, over 600: split it"));
    assert_eq!(findings("src/lane.rs", &long), Vec::<String>::new());
}
