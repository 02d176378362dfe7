//! Whole files, good and bad.

mod refused;
mod refused_writes;
mod secrets;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Environment, Loaded, OnError, Problem, RedisAddress, RedisTarget, load, parse};
use crate::entity::spec::{MappingSpec, Shape, Ttl, TtlBase, WriteSpec};
use crate::entity::template::Template;
use crate::entity::{Handlers, Mapping};

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
    let first =
        problem.to_string().lines().next().unwrap_or_default().trim_start_matches("stoker.toml:").to_owned();
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
    SMALLEST
        .replace("kafka = { brokers = \"localhost:9092\", group = \"g\" }", &format!("kafka = {{ {kafka} }}"))
}

/// The smallest file with another `[redis]`, in line 3.
fn with_redis(redis: &str) -> String {
    SMALLEST.replace("redis = { url = \"redis://localhost\" }", &format!("redis = {{ {redis} }}"))
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let Loaded { settings, warnings } = loaded(SMALLEST);
    assert!(warnings.is_empty(), "{warnings:?}");
    let shown: Vec<String> =
        settings.describe().iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        shown.join(" "),
        "kafka.brokers=localhost:9092 kafka.group=g kafka.start=refill kafka.partitioner=murmur2 redis.server=localhost:6379 redis.database=0 \
         redis.tls=off redis.own_prefix=stoker: redis.timeout=5s redis.connect_timeout=5s errors.on_error=stop \
         errors.breaker.share=5% errors.breaker.of=1000 limits.workers=3 limits.memory=128MiB \
         limits.batch_records=4096 limits.batch_bytes=1MiB limits.value_bytes=16MiB limits.drain=10s ready.lag=5s \
         refill.memory=80% verify.sample=off log.format=auto log.level=info admin.listen=off \
         entity.customer.topics=customers entity.customer.format=auto entity.customer.keys=customer:{id}"
    );
}

#[test]
fn the_example_says_the_defaults_and_has_no_warning() {
    let Loaded { settings, warnings } = loaded(include_str!("../../../examples/stoker.toml"));
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(settings.entities.len(), 3);
    let smallest = loaded(SMALLEST).settings.describe();
    let told = [
        "kafka.group",
        "errors.on_error",
        "verify.sample",
        "admin.listen",
        "entity.customer.topics",
        "entity.customer.keys",
    ];
    for (name, value) in settings.describe() {
        if let Some((_, default)) =
            smallest.iter().find(|(known, _)| *known == name && !told.contains(&name.as_str()))
        {
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
format = "avro"

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
        "13:10: entity \"customer\": format: \"avro\" is not built yet",
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
fn a_problem_shows_its_line_and_what_to_do() {
    let text = with_write("key = \"c:{id}\"\nvalue = \"jsno\"\nttl = \"1h\"");
    let error = parse(&text, &Fake::default(), &Handlers::default()).map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "stoker.toml:11:9: entity \"customer\", write 1: value: \"jsno\" is not \"json\", \"hash\" or \
         \"invalidate\", or { json = … }, or { text = … }, or { template = … }, or { hash = … }, or { bytes = … }, or { set = … }, or { sorted_set = … }\n    \
         | value = \"jsno\"\n    \
         |         ^^^^^^\n    \
         = did you mean \"json\"?"
    );
    let problem = &error.problems[0];
    assert_eq!((problem.line, problem.column, problem.path.as_str()), (11, 9, "entity[0].write[0].value"));
}

#[test]
fn what_a_whole_file_lacks_is_said_without_a_line() {
    let error = parse("# x = 1", &Fake::default(), &Handlers::default()).map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "stoker.toml:1:1: \"kafka\" is missing\n    = Where records come from.\n\
         stoker.toml:1:1: \"redis\" is missing\n    = Where the cache is.\n\
         stoker.toml:1:1: \"entity\" is missing\n    = What is cached: one `[[entity]]` each."
    );
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_problem() {
    let text = format!("\u{feff}{}", SMALLEST.trim_start().replace('\n', "\r\n"));
    loaded(&text);
    let wrong = text.replace("\"1h\"", "\"1x\"");
    assert!(
        problems(&wrong)[0].starts_with("11:7: entity \"customer\", write 1: ttl: "),
        "{:?}",
        problems(&wrong)
    );
}

#[test]
fn columns_count_characters_and_carets_stand_under_them() {
    let text = with_write("key = \"é:{id}\"\nvalue = { json = [\"日本\", 5] }\nttl = \"1h\"");
    let error = parse(&text, &Fake::default(), &Handlers::default()).map(drop).unwrap_err();
    let drawn = "    | value = { json = [\"日本\", 5] }\n    |                         ^";
    assert!(error.to_string().contains(drawn), "{error}");
    assert_eq!(error.problems[0].column, 25);
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().join("missing.toml"), directory.path().to_owned()] {
        let error = load(&path, &Handlers::default()).map(drop).unwrap_err();
        assert_eq!(error.problems.len(), 1);
        assert!(error.to_string().starts_with(&format!("{}: cannot be read: ", path.display())), "{error}");
    }
}

#[test]
fn relative_paths_count_from_the_settings_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "hunter2\n").unwrap();
    std::fs::write(directory.path().join("ca.pem"), "").unwrap();
    let redis = with_redis(r#"url = "redis://h", password = { file = "secret" }, tls = { ca = "ca.pem" }"#);
    let path = directory.path().join("stoker.toml");
    std::fs::write(&path, redis).unwrap();
    let redis = load(&path, &Handlers::default()).unwrap().settings.redis;
    let password = redis.password.unwrap();
    assert_eq!(password.expose(), "hunter2");
    std::fs::write(directory.path().join("secret"), "rotated\n").unwrap();
    assert_eq!(password.expose_anew().unwrap(), "rotated");
    assert_eq!(redis.tls.unwrap().ca, Some(directory.path().join("ca.pem")));
}

#[test]
fn texts_take_variables_and_templates_and_conditions_do_not() {
    let text =
        with_write("key = \"c:${A}:$$\"\nvalue = \"json\"\nttl = \"${TTL}\"\nwhen = \"'${A}' == '$$'\"")
            .replace("\"localhost:9092\"", "[\"${HOST}:1\", { file = \"broker\" }]")
            .replace("\"g\"", "\"a$$b\"");
    let environment = Fake::default().with("HOST", "h").with("TTL", "1h").with_file("broker", "b:2\r\n");
    let settings = parse(&text, &environment, &Handlers::default()).unwrap().settings;
    assert_eq!(settings.kafka.brokers, "h:1,b:2");
    assert_eq!(settings.kafka.group, "a$b");
}

#[test]
fn redis_is_one_server_or_a_cluster() {
    let cases = [
        ("url = \"rediss://u:p@h:7/2\"", "h:7", Some("u"), true),
        ("url = \"redis://h:7/2\", username = \"u\", password = \"p\", tls = {}", "h:7", Some("u"), true),
        ("url = \"redis://h:7/2\", password = \"p\"", "h:7", None, false),
    ];
    for (redis, address, username, tls) in cases {
        let redis = loaded(&with_redis(redis)).settings.redis;
        let (host, port) = address.split_once(':').unwrap();
        let address = RedisAddress::Tcp(host.to_owned(), port.parse().unwrap());
        assert_eq!(redis.target, RedisTarget::Single { address, database: 2 });
        assert_eq!(redis.username.as_deref(), username);
        assert_eq!(redis.password.unwrap().expose(), "p");
        assert_eq!(redis.tls.is_some(), tls);
    }
    let redis = loaded(&with_redis("cluster = [\"a:1\", \"[::1]:2\"], own_prefix = \"s:\"")).settings.redis;
    assert_eq!(redis.target, RedisTarget::Cluster(vec!["a:1".to_owned(), "[::1]:2".to_owned()]));
    assert_eq!(redis.own_prefix, "s:");
}

#[test]
fn errors_go_to_the_dead_letter_topic_where_one_is_set() {
    let dead_letter = OnError::DeadLetter { topic: "dlq".to_owned() };
    let cases = [
        ("", OnError::Stop, 0),
        ("dead_letter_topic = \"dlq\"", dead_letter.clone(), 0),
        ("dead_letter_topic = \"dlq\"\non_error = \"dead_letter\"", dead_letter, 0),
        ("on_error = \"skip\"", OnError::Skip, 0),
        ("dead_letter_topic = \"dlq\"\non_error = \"stop\"", OnError::Stop, 1),
    ];
    for (errors, expected, warnings) in cases {
        let loaded = loaded(&with_sections(&format!("[errors]\n{errors}")));
        assert_eq!(loaded.settings.errors.on_error, expected, "{errors}");
        assert_eq!(loaded.warnings.len(), warnings, "{errors}");
    }
}

#[test]
fn a_pattern_speaks_of_the_whole_name() {
    let text = SMALLEST.replace("\"customers\"", "'^shop\\.(a|b)|c$'");
    let topics = loaded(&text).settings.entities[0].topics.clone();
    for (topic, read) in [("shop.a", true), ("c", true), ("shop.ax", false), ("xc", false), ("shopxa", false)]
    {
        assert_eq!(topics.matches(topic), read, "{topic}");
    }
}

#[test]
fn what_is_doubtful_is_a_warning() {
    let two = |second: &str| {
        with_write(&format!(
            "key = \"c:{{id}}\"\nvalue = \"json\"\nttl = \"1h\"\n[[entity.write]]\n{second}\nvalue = \"json\"\nttl = \"1h\""
        ))
    };
    let cases = [
        (
            two("key = \"c:email:{email}\""),
            "14:7: entity \"customer\", write 2: key: can give the same key as",
        ),
        (two("key = \"all\""), "14:7: entity \"customer\", write 2: key: names no column"),
        (
            two("key = \"tag:{{{email}}}:x\""),
            "14:7: entity \"customer\", write 2: key: a brace in \"email\" would move its hash tag",
        ),
        (
            two("key = \"tag:{{{email|url}}}:x\""),
            "14:7: entity \"customer\", write 2: key: its hash tag is empty where \"email\" is",
        ),
        (
            with_write("key = \"c:{id}\"\nvalue = \"invalidate\"\nwhen = \"true\""),
            "12:8: entity \"customer\", write 1: when: has no effect",
        ),
        (
            with_kafka("brokers = \"a\", group = \"g\", properties = { \"session.timeout.ms\" = 6000 }"),
            "2:77: kafka.properties.session.timeout.ms: drain (10s) is not below session.timeout.ms (6s)",
        ),
        (
            with_kafka(
                "brokers = \"a\", group = \"g\", properties = { \"isolation.level\" = \"read_uncommitted\" }",
            ),
            "2:74: kafka.properties.isolation.level: rows of transactions that were aborted",
        ),
        (
            with_entity("unavailable = \"merge\"")
                .replace("group = \"g\"", "group = \"g\", start = \"latest\""),
            "8:15: entity \"customer\": unavailable: counts as \"delete\" under kafka.start = \"latest\"",
        ),
    ];
    for (text, expected) in cases {
        let warnings: Vec<String> = loaded(&text).warnings.iter().map(one_line).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(expected), "{warnings:?}");
    }
}

#[test]
fn shared_keys_and_declared_numbers_are_allowed() {
    let shared = with_write(
        "key = \"c:{id}\"\nvalue = \"json\"\nttl = \"1h\"\nshared = true\n\
         [[entity.write]]\nkey = \"c:{x}\"\nvalue = \"invalidate\"\nshared = true",
    );
    assert!(loaded(&shared).warnings.is_empty());
    let number = SMALLEST
        .replace("customer:{id}", "{id}:x")
        .replace("[[entity.write]]", "columns = { id = \"int\" }\n[[entity.write]]");
    loaded(&number);
    let verification = "properties = { \"enable.ssl.certificate.verification\" = false }";
    for brokers in ["localhost:1", "127.0.0.1:1,[::1]:2"] {
        loaded(&with_kafka(&format!("brokers = {brokers:?}, group = \"g\", {verification}")));
    }
}

#[test]
fn members_share_a_key_where_no_two_are_the_same() {
    let board =
        "key = \"board\"\nttl = \"none\"\nvalue = { sorted_set = { member = \"{id}\", score = \"points\" } }";
    assert!(loaded(&with_write(board)).warnings.is_empty(), "a board has one key");
    let two = |first: &str, second: &str| {
        let write = |member: &str| {
            format!("key = \"tag:{{tag}}\"\nttl = \"none\"\nvalue = {{ set = {{ member = \"{member}\" }} }}")
        };
        let text = with_write(&format!("{}\n[[entity.write]]\n{}", write(first), write(second)));
        loaded(&text).warnings.iter().map(one_line).collect::<Vec<_>>()
    };
    assert_eq!(two("order:{id}", "customer:{customer_id}"), Vec::<String>::new());
    let found = two("{id}", "customer:{customer_id}");
    assert!(
        found.len() == 1 && found[0].contains("can give the same member as \"tag:{tag}\" (member \"{id}\")"),
        "{found:?}"
    );
    let mixed = with_write(
        "key = \"c:{id}\"\nvalue = \"json\"\nttl = \"1h\"\nshared = true\n[[entity.write]]\nkey = \"c:{id}:orders\"\n\
         value = { set = { member = \"{order}\" } }\nttl = \"none\"\nshared = true",
    );
    let found: Vec<_> = loaded(&mixed).warnings.iter().map(one_line).collect();
    assert!(found.len() == 1 && found[0].contains("a key holds members of a set,"), "{found:?}");
    let constant =
        loaded(&with_write("key = \"all\"\nttl = \"none\"\nvalue = { set = { member = \"all\" } }"));
    assert!(one_line(&constant.warnings[0]).contains("names no column"), "{:?}", constant.warnings);
}

#[test]
fn keys_of_handlers_in_rust_are_checked_too() {
    let write = |key| WriteSpec {
        packing: Default::default(),
        key: Template::parse(key).unwrap(),
        shape: Shape::Invalidate,
        ttl: Ttl { base: TtlBase::None, jitter: 0.0 },
        when: None,
        shared: false,
    };
    let writes = vec![write("customer:{offer}"), write("stoker:{x}")];
    let price = Mapping::new(MappingSpec {
        writes,
        delete_when: None,
        value_bytes_max: 1,
        unavailable: Default::default(),
    });
    let handlers = Handlers::default().with("price", price);
    let text = with_sections("[[entity]]\nname = \"price\"\ntopics = [\"prices\"]\nhandler = \"price\"");
    let error = parse(&text, &Fake::default(), &handlers).map(drop).unwrap_err();
    let found: Vec<String> = error.problems.iter().map(one_line).collect();
    let expected = [
        "16:11: entity \"price\": handler: its key \"customer:{offer}\" gives the same keys as \"customer:{id}\" of \
         entity \"customer\" (line 10)",
        "16:11: entity \"price\": handler: begins with redis.own_prefix",
    ];
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected)), "{found:#?}");

    let misspelt = text.replace("handler = \"price\"", "handler = \"prise\"");
    let error = parse(&misspelt, &Fake::default(), &handlers).map(drop).unwrap_err();
    assert_eq!(error.problems[0].help.as_deref(), Some("did you mean \"price\"?"));
}
