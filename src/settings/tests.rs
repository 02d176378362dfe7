//! Whole files, good and bad.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Environment, Loaded, Problem, parse};
use crate::entity::Handlers;

/// An environment of variables and files that a test names.
#[derive(Default)]
pub(super) struct Fake {
    variables: HashMap<String, String>,
    files: HashMap<PathBuf, String>,
}

impl Fake {
    pub(super) fn with(mut self, name: &str, value: &str) -> Fake {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn with_file(mut self, path: &str, content: &str) -> Fake {
        self.files.insert(path.into(), content.to_owned());
        self
    }
}

impl Environment for Fake {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn locate(&self, path: &Path) -> PathBuf {
        Path::new("/etc/stoker").join(path)
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn cores(&self) -> usize {
        3
    }
}

/// A file without a problem, in as few lines as can be.
const SMALLEST: &str = r#"
kafka = { brokers = "localhost:9092", group = "g" }
redis = { url = "redis://localhost" }

[[entity]]
name = "customer"
topics = ["customers"]

[[entity.write]]
key = "customer:{id}"
value = "json"
ttl = "1h"
"#;

/// Every problem of a file, a line each, without excerpts; the help behind an arrow.
fn problems(text: &str) -> Vec<String> {
    problems_with(text, &Fake::default())
}

fn problems_with(text: &str, environment: &Fake) -> Vec<String> {
    let error = parse(text, environment, &Handlers::default()).map(drop).expect_err(text);
    error.problems.iter().map(one_line).collect()
}

fn one_line(problem: &Problem) -> String {
    let first = problem.to_string().lines().next().unwrap_or_default().trim_start_matches("stoker.toml:").to_owned();
    problem.help.as_ref().map_or(first.clone(), |help| format!("{first} -> {help}"))
}

fn loaded(text: &str) -> Loaded {
    parse(text, &Fake::default(), &Handlers::default()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The smallest file with other lines in the place of its key, value and ttl: they begin in line 10.
fn with_write(lines: &str) -> String {
    let (head, _) = SMALLEST.split_once("key =").unwrap();
    format!("{head}{lines}\n")
}

/// The smallest file with a line more in its entity: line 8.
fn with_entity(line: &str) -> String {
    SMALLEST.replace("topics = [\"customers\"]", &format!("topics = [\"customers\"]\n{line}"))
}

/// The smallest file with more sections at its end: they begin in line 13.
fn with_sections(text: &str) -> String {
    format!("{SMALLEST}{text}\n")
}

/// The smallest file with another `[kafka]`, in line 2.
fn with_kafka(kafka: &str) -> String {
    SMALLEST.replace("kafka = { brokers = \"localhost:9092\", group = \"g\" }", &format!("kafka = {{ {kafka} }}"))
}

/// The smallest file with another `[redis]`, in line 3.
fn with_redis(redis: &str) -> String {
    SMALLEST.replace("redis = { url = \"redis://localhost\" }", &format!("redis = {{ {redis} }}"))
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let Loaded { settings, warnings } = loaded(SMALLEST);
    assert!(warnings.is_empty(), "{warnings:?}");
    let shown: Vec<String> = settings.describe().iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        shown.join(" "),
        "kafka.brokers=localhost:9092 kafka.group=g kafka.start=refill redis.server=localhost:6379 redis.database=0 \
         redis.tls=off redis.own_prefix=stoker: redis.timeout=5s redis.connect_timeout=5s errors.on_error=stop \
         errors.breaker.share=5% errors.breaker.of=1000 limits.workers=3 limits.memory=128MiB \
         limits.batch_records=4096 limits.batch_bytes=1MiB limits.value_bytes=16MiB limits.drain=10s ready.lag=5s \
         log.format=auto log.level=info admin.listen=off entity.customer.topics=customers"
    );
}

#[test]
fn the_example_says_the_defaults_and_has_no_warning() {
    let Loaded { settings, warnings } = loaded(include_str!("../../examples/shop/stoker.toml"));
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(settings.entities.len(), 3);
    let smallest = loaded(SMALLEST).settings.describe();
    let told = ["kafka.group", "errors.on_error", "admin.listen", "entity.customer.topics"];
    for (name, value) in settings.describe() {
        if let Some((_, default)) = smallest.iter().find(|(known, _)| *known == name && !told.contains(&name.as_str())) {
            assert_eq!(value, *default, "{name}");
        }
    }
}

#[test]
fn all_problems_of_a_file_are_reported_at_once_in_its_order() {
    let text = r#"kafka = { brokers = "a:9092" }
[redis]
url = "redis://u:hunter2@h:x"
timeot = "5s"

[limits]
memory = "5MB"
workers = 0

[[entity]]
name = "customer"
topics = ["a"]
format = "maxwell"

[[entity.write]]
key = "customer:{id"
value = "jsn"
ttl = "1 h"

[[entity.write]]
key = "c:{id}"
value = { json = ["id", 5] }

[[entity]]
name = "customer"
topics = ["b c"]
handler = "price"
"#;
    let expected = [
        "1:9: kafka: \"group\" is missing",
        "3:7: redis.url: the URL has a port that is not a number from 1 to 65535",
        "4:1: redis.timeot: unknown field \"timeot\" -> did you mean \"timeout\"?",
        "7:10: limits.memory: \"5MB\" is not a size",
        "8:11: limits.workers: is out of bounds: write a whole number from 1 to 512",
        "13:10: entity \"customer\": format: \"maxwell\" is not built yet",
        "16:17: entity \"customer\", write 1: key: ",
        "17:9: entity \"customer\", write 1: value: \"jsn\" is not \"json\", \"hash\" or \"invalidate\"",
        "18:7: entity \"customer\", write 1: ttl: \"1 h\" is not a duration",
        "22:25: entity \"customer\", write 2: value.json[1]: expected a table or a text, found a whole number",
        "25:8: entity \"customer\": name: is the name of entity 1 already",
        "26:11: entity \"customer\": topics[0]: \"b c\" is no name of a topic",
        "27:11: entity \"customer\": handler: this program has no handler \"price\"",
    ];
    let found = problems(text);
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn gather() {
    let cases = vec![
        with_kafka(r#"group = "g""#),
        with_kafka(r#"brokers = "localhost:x, :9092", group = "g""#),
        with_kafka(r#"brokers = ["a:9092", "http"], group = "{g}""#),
        with_kafka(r#"brokers = [], group = """#),
        with_kafka(r#"brokers = "a", group = "g", start = "earlier""#),
        with_kafka(r#"brokers = "a", group = "g", bootstrap_servers = "x""#),
        with_kafka(r#"brokers = "a", group = "g", properties = { "enable.auto.commit" = true }"#),
        with_kafka(r#"brokers = "a", group = "g", properties = { security.protocol = "SSL" }"#),
        with_kafka(r#"brokers = "a", group = "g", properties = { "fetch.min.bytes" = 1.5 }"#),
        with_kafka(r#"brokers = "a", group = "g", properties = { "enable.ssl.certificate.verification" = false }"#),
        with_kafka(r#"brokers = "a", group = "g", properties = { "partition.assignment.strategy" = "range" }"#),
        with_kafka(r#"brokers = "a", group = "g", properties = { "group.protocol" = "consumer", "session.timeout.ms" = 6000 }"#),
        with_kafka(r#"brokers = "a", group = "g", properties = { "session.timeout.ms" = "6s" }"#),
        with_redis(""),
        with_redis(r#"url = "redis://h", cluster = ["a:1"]"#),
        with_redis(r#"cluster = ["a:1", "b", "redis://c:1"]"#),
        with_redis(r#"cluster = []"#),
        with_redis(r#"sentinel = { master = "m", nodes = ["a:1"] }"#),
        with_redis(r#"url = "redis://u:p@h", username = "u", password = "p""#),
        with_redis(r#"url = "redis://h", username = "u""#),
        with_redis(r#"url = "unix:///s", tls = {}"#),
        with_redis(r#"url = "rediss://h", tls = { cert = "no.pem" }"#),
        with_redis(r#"url = "redis://h", own_prefix = "{s}:", timeout = "1ms""#),
        with_redis(r#"url = "redis://h", host = "h", password = { fil = "x" }"#),
        with_redis(r#"url = "redis://h", password = { file = "missing" }"#),
        with_redis(r#"url = "redis://h", password = "x${MISSING}", username = "${""#),
        with_sections("[registry]\nurl = \"http://r\""),
        with_sections("[errors]\non_error = \"dead_letter\""),
        with_sections("[errors]\ndead_letter_topic = \"customers\"\nbreaker = { share = \"200%\", of = 0 }"),
        with_sections("[limits]\nvalue_bytes = \"256MiB\"\ndrain = \"1d\""),
        with_sections("[limits]\nbatch_records = -1"),
        with_sections("[ready]\nlag = 5"),
        with_sections("[log]\nlevel = \"inf,stoker=debg\"\nformat = \"xml\""),
        with_sections("[admin]\nlisten = \"9187\""),
        with_sections("[entity]\nname = \"x\""),
        "entity = { name = \"x\" }".to_owned(),
        "entity = [1]".to_owned(),
        String::new(),
        with_entity("table = \"^a(b$\""),
        with_entity("table = \"^ab\""),
        with_entity("format = \"json\""),
        with_entity("replica_identity = \"nothing\""),
        with_entity("replica_identity = { index = [] }"),
        with_entity("truncate = \"delete\"\nunavailable = \"merge\""),
        with_entity("columns = { a = \"decimals\" }"),
        with_entity("render = { decimal = \"float\" }"),
        with_entity("key_columns = [\"a\", \"\", \"a\"]"),
        with_entity("handler = \"price\""),
        with_entity("ttl = \"1h\""),
        SMALLEST.replace("[\"customers\"]", "[\"^a$\", \"b\"]"),
        SMALLEST.replace("[\"customers\"]", "[\"^a\"]"),
        SMALLEST.replace("[\"customers\"]", "[]"),
        SMALLEST.split_once("[[entity.write").unwrap().0.to_owned(),
        with_write("key = \"\"\nvalue = \"json\"\nttl = \"1h\""),
        with_write("key = \"\"\"\nc:{\"\"\"\nvalue = \"json\"\nttl = \"1h\""),
        with_write("key = \"c:{a}\"\nttl = \"1h\""),
        with_write("key = \"c:{a}\"\nvalue = \"json\""),
        with_write("key = \"c:{a}\"\nvalue = \"invalidate\"\nttl = \"1h\"\njitter = \"1%\""),
        with_write("key = \"c:{a}\"\nvalue = { sorted_set = { member = \"{id}\" } }"),
        with_write("key = \"c:{a}\"\nvalue = { jsn = [\"a\"] }\nttl = \"1h\""),
        with_write("key = \"c:{a}\"\nvalue = { json = [\"a\"], text = \"x\" }\nttl = \"1h\""),
        with_write("key = \"c:{a}\"\nvalue = { json = [\"a\", { name = \"a\", column = \"b\" }, { name = \"c\" }] }\nttl = \"1h\""),
        with_write("key = \"c:{a}\"\nvalue = { json = [\"a\", { name = \"a\", column = \"b\" }] }\nttl = \"1h\""),
        with_write("key = \"c:{a}\"\nvalue = { hash = [] }\nttl = \"1h\""),
        with_write("key = \"c:{a}\"\nvalue = { text = \"é{b\" }\nttl = \"1h\""),
        with_write("key = \"c:{a}\"\nvalue = { bytes = \"\" }\nttl = \"0s\""),
        with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = \"none\"\njitter = \"1%\""),
        with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = \"1h\"\njitter = \"100%\""),
        with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = { column = \"e\", after = \"1h\" }"),
        with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = { column = \"e\", at_most = \"1w\" }\njitter = \"1%\""),
        with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = { after = \"1h\", jitter = \"1%\", from = \"comit\" }\njitter = \"1%\""),
        with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = { after = \"1h\", jitter = \"1%\" }\njitter = \"1%\""),
        with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = { at_most = \"1h\" }"),
        with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = 3600"),
        with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = \"1h\"\ncompress = {}\nshared = \"yes\"\nguard = {}"),
        with_write("key = \"{a}:x\"\nvalue = \"json\"\nttl = \"1h\""),
        with_write("key = \"stoker:{a}\"\nvalue = \"json\"\nttl = \"1h\""),
        with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = \"1h\"\n[[entity.write]]\nkey = \"c:{b}\"\nvalue = \"invalidate\"\nshared = true"),
        "a = [[[1]]\nb = \"x".to_owned(),
    ];
    for (i, case) in cases.iter().enumerate() {
        for p in problems(case) { println!("{i} {p}"); }
    }
}
