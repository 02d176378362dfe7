//! What the README says, tried: its settings, its example, its rights in Redis, its table of metrics, its links.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use stoker::admin::metrics::table;
use stoker::entity::Handlers;
use stoker::record::OwnedRecord;
use stoker::settings::{Environment, parse};
use stoker::source::kafka::mock::MockKafka;

use crate::support::instance::Bench;
use crate::support::redis::RedisServer;
use crate::support::wait_for;

/// Where the table of metrics stands in the README.
const METRICS_BEGIN: &str = "<!-- metrics: written by STOKER_BLESS=1 cargo test --test it readme -->\n";
const METRICS_END: &str = "<!-- end of metrics -->";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks fenced with that word, without the indentation of a list.
fn blocks(text: &str, word: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != format!("```{word}") {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let body = lines.by_ref().take_while(|line| line.trim() != "```");
        found.push(body.fold(String::new(), |text, line| text + line.get(indent..).unwrap_or("") + "\n"));
    }
    found
}

/// The README's whole file, and the blocks that are parts of one.
fn settings() -> (String, Vec<String>) {
    let (whole, parts): (Vec<String>, Vec<String>) =
        blocks(&read("README.md"), "toml").into_iter().partition(|block| block.starts_with("# stoker.toml"));
    let [whole] = whole.try_into().expect("the README has one whole stoker.toml");
    (whole, parts)
}

/// The whole file with a part put in its place: entities behind it, a section instead of that section.
fn with_part(whole: &str, part: &str) -> String {
    let header = part.lines().next().unwrap();
    if header.starts_with("[[") {
        return format!("{whole}\n{part}");
    }
    let start = whole.find(&format!("{header}\n")).unwrap_or_else(|| panic!("no section {header}"));
    let end = whole[start..].find("\n\n").map_or(whole.len(), |length| start + length);
    format!("{}{}{}", &whole[..start], part.trim_end(), &whole[end..])
}

struct Variables;

impl Environment for Variables {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "REDIS_PASSWORD").then(|| "secret".to_owned())
    }

    fn locate(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn read(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn cores(&self) -> usize {
        2
    }
}

#[test]
fn the_settings_are_read_as_a_whole_and_with_each_part() {
    let (whole, parts) = settings();
    assert!(!parts.is_empty());
    let files = std::iter::once(whole.clone()).chain(parts.iter().map(|part| with_part(&whole, part)));
    for file in files {
        match parse(&file, &Variables, &Handlers::new()) {
            Ok(loaded) => assert!(loaded.warnings.is_empty(), "{:?}\n{file}", loaded.warnings),
            Err(error) => panic!("{error}\n{file}"),
        }
    }
}

/// The record that the README follows, as its `grep` finds it.
const FOLLOWED: &str =
    r#"grep -m1 'customers.*{\\"id\\":64}' examples/shop/demo/live.ndjson | stoker explain"#;

#[test]
fn explain_prints_what_the_example_shows() {
    let _alone = README.lock();
    let text = read("README.md");
    assert!(text.contains(FOLLOWED), "the README follows the record that this test finds");
    let printed = explain(&change_of_customer(64));
    let [shown] = blocks(&text, "json").try_into().expect("the README shows one record's mutations");
    if blesses() {
        write("README.md", &text.replace(&shown, &pretty(&printed)));
    } else {
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), shown, "{BLESS}");
    }

    // What is told around it: the position behind it, and who gave the address up, where and when.
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let position = printed["offset"].as_i64().unwrap() + 1;
    assert!(text.contains(&format!("position {position} may be committed")));
    assert!(text.contains(&format!("owns partition {}", printed["partition"])));
    let key = &printed["mutations"][2]["key"];
    let told: Value = serde_json::from_str(&explain(&change_of_customer(217))).unwrap();
    let freed = &told["mutations"][0];
    assert_eq!((&freed["op"], &freed["key"]), (&Value::from("delete"), key));
    assert_ne!(told["partition"], printed["partition"]);
}

/// The first change of a customer in the shop's stream.
fn change_of_customer(id: u64) -> String {
    let live = read("examples/shop/demo/live.ndjson");
    let key = format!(r#"{{\"id\":{id}}}"#);
    let found = live.lines().find(|line| line.contains("customers") && line.contains(&key));
    found.unwrap_or_else(|| panic!("customer {id} changes")).to_owned()
}

/// Held by who reads the README to write it anew.
static README: Mutex<()> = Mutex::new(());

fn blesses() -> bool {
    std::env::var_os("STOKER_BLESS").is_some()
}

/// Said where a part that is written by a test is out of date.
const BLESS: &str = "run STOKER_BLESS=1 cargo test --test it readme";

fn write(path: &str, text: &str) {
    std::fs::write(root().join(path), text).unwrap();
}

/// The line as the README's `jq` shows it: serde_json would sort the members.
fn pretty(line: &str) -> String {
    let mut jq = Command::new("jq").arg(".").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    jq.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    String::from_utf8(jq.wait_with_output().unwrap().stdout).unwrap()
}

/// What `stoker explain` says to one record under the README's settings.
fn explain(record: &str) -> String {
    let bench = Bench::new(&settings().0);
    let mut child = Command::new(env!("CARGO_BIN_EXE_stoker"))
        .args(["explain", "-c"])
        .arg(bench.settings())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(record.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_table_of_metrics_is_that_of_the_code() {
    let _alone = README.lock();
    let text = read("README.md");
    let (before, rest) = text.split_once(METRICS_BEGIN).expect("the table's begin is marked");
    let (shown, after) = rest.split_once(METRICS_END).expect("the table's end is marked");
    let expected = format!("\n{}\n", table::markdown());
    if blesses() {
        write("README.md", &format!("{before}{METRICS_BEGIN}{expected}{METRICS_END}{after}"));
    } else {
        assert_eq!(shown, expected, "{BLESS}");
    }
}

/// Documents whose links, paths and names of tests are followed.
fn documents() -> Vec<PathBuf> {
    let in_folder = |folder: &str| {
        let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    };
    in_folder("docs")
        .chain(in_folder("docs/bench"))
        .chain(["README.md", "CHANGELOG.md", "src/lib.rs"].map(|name| root().join(name)))
        .collect()
}

#[test]
fn links_lead_to_files_and_named_files_and_tests_exist() {
    let mut dead = BTreeSet::new();
    for document in documents() {
        let text = read(&document);
        let folder = document.parent().unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            if !folder.join(link.split('#').next().unwrap()).exists() {
                dead.insert(format!("{}: {link}", document.display()));
            }
        }
        for named in text.split('`').filter(|code| is_path(code)) {
            let (path, test) = named.split_once("::").unwrap_or((named, ""));
            let content = std::fs::read_to_string(root().join(path)).unwrap_or_default();
            let there = match test {
                "" => root().join(path).exists(),
                test => content.contains(&format!("fn {test}(")),
            };
            if !there {
                dead.insert(format!("{}: `{named}`", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "these name nothing:\n{dead:#?}");
}

/// True for text in backquotes that names a file of the repository, or a test in one (`file::test`).
fn is_path(code: &str) -> bool {
    let tops = ["src/", "tests/", "examples/", "docs/", "schemas/"];
    tops.iter().any(|top| code.starts_with(top)) && !code.contains([' ', '*', '<', '{', '\n'])
}

#[test]
fn every_name_of_a_type_is_documented() {
    let text = read("docs/formats.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let missing: Vec<&str> = stoker::types::NAMES
        .iter()
        .map(|it| it.name)
        .filter(|name| !text.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "docs/formats.md does not name {missing:?}");
}

/// A user that may do exactly what the README allows runs `check` without a warning, and every kind of unit
/// reaches Redis.
#[test]
fn the_rights_in_redis_are_enough() {
    let text = read("README.md");
    let rule =
        text.lines().find(|line| line.starts_with("ACL SETUSER ")).expect("the README has an ACL rule");
    let mut words: Vec<&str> = rule.split(' ').collect();
    // The entities beside the README's whole file need their keys, and no other command.
    words.extend(["~order:*", "~customer-orders:*", "~orders-by-total", "~label:*"]);
    let redis = RedisServer::start();
    redis.client().run::<()>(&words);

    let kafka = MockKafka::start(1).unwrap();
    for topic in ["shop.public.customers", "shop.public.orders", "stoker-shop-dlq", "labels"] {
        kafka.create_topic(topic, 3).unwrap();
    }
    let (whole, parts) = settings();
    let file = parts.iter().fold(whole, |file, part| with_part(&file, part));
    let file = file
        .replace("localhost:9092", kafka.brokers())
        .replace("localhost:6379", &format!("127.0.0.1:{}", redis.port))
        .replace("127.0.0.1:9187", "127.0.0.1:0")
        .replace("${REDIS_PASSWORD}", "secret");
    let bench = Bench::new(&format!("{file}\n{LABELS}"));

    let check = Command::new(env!("CARGO_BIN_EXE_stoker"))
        .args(["check", "--output", "json", "-c"])
        .arg(bench.settings())
        .output()
        .unwrap();
    let found = String::from_utf8(check.stdout).unwrap();
    let doubtful: Vec<&str> = found.lines().filter(|line| !line.contains(r#""level":"note""#)).collect();
    assert!(check.status.success() && doubtful.is_empty(), "{doubtful:#?}");

    let live = read("examples/shop/demo/live.ndjson");
    let customer = change_of_customer(64);
    let is_new_order = |line: &&str| line.contains("shop.public.orders") && line.contains(r#"\"op\":\"c\""#);
    let order = live.lines().find(is_new_order).unwrap();
    let order_id = id_of(order).to_string();
    let (order_key, order_status) = (format!("order:{order_id}"), "new");
    assert!(order.contains(&format!(r#"\"status\":\"{order_status}\""#)));
    kafka
        .append_all([&record(&customer), &record(order), &label(1, None, "a"), &label(1, Some("a"), "b")])
        .unwrap();

    let stoker = bench.start();
    let mut client = redis.client();
    let text = |value: &str| Some(value.to_owned());
    let applied = wait_for(Duration::from_secs(30), || {
        let status: Option<String> = client.run(&["HGET", &order_key, "status"]);
        let owner: Option<String> = client.run(&["GET", "customer-by-email:björn.nagy217@example.com"]);
        let labels: [Option<String>; 2] = [client.run(&["GET", "label:a"]), client.run(&["GET", "label:b"])];
        let score: Option<f64> = client.run(&["ZSCORE", "orders-by-total", &order_id]);
        let indexed: Vec<String> = client.run(&["KEYS", "customer-orders:*"]);
        status == text(order_status)
            && score.is_some()
            && indexed.len() == 1
            && owner == text("64")
            && labels == [None, text("1")]
    });
    assert!(applied, "not all of it was applied:\n{}", stoker.log());
    // One more value after the other, so that the script compares with what is there.
    kafka.append(&label(1, Some("b"), "c")).unwrap();
    let moved = wait_for(Duration::from_secs(30), || {
        let labels: [Option<String>; 2] = [client.run(&["GET", "label:b"]), client.run(&["GET", "label:c"])];
        labels == [None, text("1")]
    });
    assert!(moved, "a compare-and-delete was not applied:\n{}", stoker.log());
    kafka.append(&deleted(record(order))).unwrap();
    let gone = wait_for(Duration::from_secs(30), || {
        client.run::<u64>(&["EXISTS", &order_key, "orders-by-total"]) == 0
            && client.run::<Vec<String>>(&["KEYS", "customer-orders:*"]).is_empty()
    });
    assert!(gone, "an order's members were not removed:\n{}", stoker.log());
    assert_eq!(stoker.stop(), 0);
}

/// The record that deletes what that one created.
fn deleted(created: OwnedRecord) -> OwnedRecord {
    let mut value: Value = serde_json::from_slice(created.value.as_deref().unwrap()).unwrap();
    value["before"] = value["after"].take();
    value["op"] = "d".into();
    OwnedRecord { value: Some(value.to_string().into()), ..created }
}

/// A secondary key of a source without positions: its delete compares.
const LABELS: &str = r#"
[[entity]]
name = "label"
topics = ["labels"]

[[entity.write]]
key = "label:{name}"
value = { text = "{id}" }
ttl = "1h"
"#;

fn label(id: u32, before: Option<&str>, after: &str) -> OwnedRecord {
    let before = before.map_or("null".to_owned(), |name| format!(r#"{{"id":{id},"name":"{name}"}}"#));
    let value = format!(
        r#"{{"before":{before},"after":{{"id":{id},"name":"{after}"}},"source":{{"connector":"db2","table":"labels"}},"op":"u"}}"#
    );
    OwnedRecord {
        topic: "labels".to_owned(),
        key: Some(format!(r#"{{"id":{id}}}"#).into()),
        value: Some(value.into()),
        ..OwnedRecord::default()
    }
}

/// A record of the shop, as `explain` reads it. An order of its must not have expired when the test runs.
fn record(line: &str) -> OwnedRecord {
    let line: Value = serde_json::from_str(line).unwrap();
    let mut value: Value = serde_json::from_str(line["value"].as_str().unwrap()).unwrap();
    if let Some(expires_at) = value["after"].get_mut("expires_at") {
        *expires_at = "2999-01-01T00:00:00Z".into();
    }
    OwnedRecord {
        topic: line["topic"].as_str().unwrap().to_owned(),
        key: line["key"].as_str().map(Into::into),
        value: Some(value.to_string().into()),
        ..OwnedRecord::default()
    }
}

fn id_of(line: &str) -> u64 {
    let line: Value = serde_json::from_str(line).unwrap();
    let key: Value = serde_json::from_str(line["key"].as_str().unwrap()).unwrap();
    key["id"].as_u64().unwrap()
}
