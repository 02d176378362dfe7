//! Files with something wrong in them, and what is said about it: the beginning of each problem's line.

use super::{SMALLEST, problems, with_entity, with_kafka, with_redis, with_sections};

#[track_caller]
pub(super) fn each(cases: &[(String, &[&str])]) {
    for (text, expected) in cases {
        let found = problems(text);
        let same = found.len() == expected.len()
            && found.iter().zip(*expected).all(|(found, expected)| found.starts_with(expected));
        assert!(same, "{text}\nfound {found:#?}\nexpected {expected:#?}");
    }
}

#[test]
fn what_is_wrong_in_kafka() {
    each(&[
        (with_kafka(r#"group = "g""#), &[r#"2:9: kafka: "brokers" is missing"#]),
        (
            with_kafka(r#"brokers = "localhost:x, :9092", group = "g""#),
            &[
                r#"2:21: kafka.brokers: "localhost:x" has a port that is not a number from 1 to 65535"#,
                r#"2:21: kafka.brokers: ":9092" names no host"#,
            ],
        ),
        (
            with_kafka(r#"brokers = ["a:9092", "http"], group = "{g}""#),
            &[
                "2:49: kafka.group: holds a brace: the group is a part of Stoker's own keys, where braces would be a hash tag",
            ],
        ),
        (
            with_kafka(r#"brokers = [], group = """#),
            &["2:21: kafka.brokers: names no broker", "2:33: kafka.group: is empty"],
        ),
        (
            with_kafka(r#"brokers = "a", group = "g", start = "earlier""#),
            &[
                r#"2:47: kafka.start: "earlier" is not "refill", "earliest" or "latest" -> did you mean "earliest"?"#,
            ],
        ),
        (
            with_kafka(r#"brokers = "a", group = "g", bootstrap_servers = "x""#),
            &[
                r#"2:39: kafka.bootstrap_servers: unknown field "bootstrap_servers" -> write brokers = "host:port""#,
            ],
        ),
        (
            with_kafka(r#"brokers = "a", group = "g", properties = { "enable.auto.commit" = true }"#),
            &[
                "2:54: kafka.properties.enable.auto.commit: is set by Stoker: a position is committed only after its records are applied",
            ],
        ),
        (
            with_kafka(r#"brokers = "a", group = "g", properties = { security.protocol = "SSL" }"#),
            &[
                r#"2:54: kafka.properties.security: expected a text or a whole number or true or false or { file = … }, found a table -> a property's name has dots: put it in quotes, as in "security.protocol" = …"#,
            ],
        ),
        (
            with_kafka(r#"brokers = "a", group = "g", properties = { "fetch.min.bytes" = 1.5 }"#),
            &[
                "2:74: kafka.properties.fetch.min.bytes: expected a text or a whole number or true or false or { file = … }, found a number with a point",
            ],
        ),
        (
            with_kafka(
                r#"brokers = "a", group = "g", properties = { "enable.ssl.certificate.verification" = false }"#,
            ),
            &[
                r#"2:94: kafka.properties.enable.ssl.certificate.verification: without it anyone in between can read the changes and alter them, so this is allowed only where all brokers are on this machine -> set "ssl.ca.location" to the certificate of whoever signed the broker's"#,
            ],
        ),
        (
            with_kafka(
                r#"brokers = "a", group = "g", properties = { "partition.assignment.strategy" = "range" }"#,
            ),
            &[
                r#"2:88: kafka.properties.partition.assignment.strategy: only "cooperative-sticky" (the default) moves a partition without stopping all others, and Stoker's hand-over counts on that"#,
            ],
        ),
        (
            with_kafka(
                r#"brokers = "a", group = "g", properties = { "group.protocol" = "consumer", "session.timeout.ms" = 6000 }"#,
            ),
            &[
                r#"2:85: kafka.properties.session.timeout.ms: cannot be set beside "group.protocol" = "consumer": there the broker decides it"#,
            ],
        ),
        (
            with_kafka(r#"brokers = "a", group = "g", properties = { "session.timeout.ms" = "6s" }"#),
            &["2:77: kafka.properties.session.timeout.ms: is a whole number of milliseconds"],
        ),
    ]);
}

#[test]
fn what_is_wrong_in_redis() {
    each(&[
        (with_redis(""), &["3:9: redis: does not say where Redis is"]),
        (
            with_redis(r#"url = "redis://h", cluster = ["a:1"]"#),
            &["3:30: redis.cluster: stands beside url: one of the two says where Redis is"],
        ),
        (
            with_redis(r#"cluster = ["a:1", "b", "redis://c:1"]"#),
            &[
                "3:29: redis.cluster[1]: the node names no port",
                "3:34: redis.cluster[2]: the node has several colons: an IPv6 address stands in brackets, as in [::1]:6379",
            ],
        ),
        (with_redis(r#"cluster = []"#), &["3:21: redis.cluster: is an empty list"]),
        (
            with_redis(r#"sentinel = { master = "m", nodes = ["a:1"] }"#),
            &["3:11: redis.sentinel: not built yet: Redis Sentinel"],
        ),
        (
            with_redis(r#"url = "redis://u:p@h", username = "u", password = "p""#),
            &[
                "3:34: redis.username: is said in the url too: one of the two has to go",
                "3:50: redis.password: is said in the url too: one of the two has to go",
            ],
        ),
        (
            with_redis(r#"url = "redis://h", username = "u""#),
            &["3:41: redis.username: names a user, but no password stands beside it"],
        ),
        (with_redis(r#"url = "unix:///s", tls = {}"#), &["3:30: redis.tls: a unix socket has no TLS"]),
        (
            with_redis(r#"url = "rediss://h", tls = { cert = "no.pem" }"#),
            &[
                r#"3:46: redis.tls.cert: "no.pem" cannot be read: there is no such file"#,
                "3:46: redis.tls.cert: needs key beside it",
            ],
        ),
        (
            with_redis(r#"url = "redis://h", own_prefix = "{s}:", timeout = "1ms""#),
            &[
                "3:43: redis.own_prefix: holds a brace, which would be a hash tag: Stoker chooses the slots of its own keys itself",
                "3:61: redis.timeout: is out of bounds: at least 10ms, at most 10m",
            ],
        ),
        (
            with_redis(r#"url = "redis://h", host = "h", password = { fil = "x" }"#),
            &[
                r#"3:30: redis.host: unknown field "host""#,
                r#"3:55: redis.password.fil: unknown field "fil" -> did you mean "file"?"#,
            ],
        ),
        (
            with_redis(r#"url = "redis://h", password = { file = "missing" }"#),
            &[r#"3:50: redis.password.file: "missing" cannot be read: there is no such file"#],
        ),
        (
            with_redis(r#"url = "redis://h", password = "x${MISSING}", username = "${""#),
            &[
                "3:43: redis.password: the environment variable MISSING is not set",
                "3:68: redis.username: `${` without its `}`: write ${NAME}, or $$ for a dollar",
            ],
        ),
    ]);
}

#[test]
fn what_is_wrong_in_processes() {
    each(&[
        (
            with_sections("[registry]\nurl = \"r:8081\"\nusername = \"u\"\nid_bytes = 5"),
            &[
                "14:7: registry.url: the URL has no scheme: write http://host:8081 or https://host",
                "15:12: registry.username: needs password beside it",
                "16:12: registry.id_bytes: is neither 4 nor 8",
            ],
        ),
        (
            with_sections("[registry]\nurl = []\ntoken = \"t\"\nusername = \"u\"\npassword = \"p\""),
            &[
                "14:7: registry.url: is empty",
                "15:1: registry.token: stands beside a user or password: one of the two logs in",
            ],
        ),
        (
            with_sections("[errors]\non_error = \"dead_letter\""),
            &["14:12: errors.on_error: names no topic for dead letters"],
        ),
        (
            with_sections(
                "[errors]\ndead_letter_topic = \"customers\"\nbreaker = { share = \"200%\", of = 0 }",
            ),
            &[
                r#"14:21: errors.dead_letter_topic: is a topic that entity "customer" reads"#,
                r#"15:21: errors.breaker.share: "200%" is not a share: write a number from 0 to 100 with a percent sign, as in "10%""#,
                "15:34: errors.breaker.of: is out of bounds: write a whole number from 1 to 1000000",
            ],
        ),
        (
            with_sections("[limits]\nvalue_bytes = \"256MiB\"\ndrain = \"1d\""),
            &[
                "14:15: limits.value_bytes: value_bytes is larger than memory, which holds it",
                "15:9: limits.drain: is out of bounds: at least 100ms, at most 5m",
            ],
        ),
        (
            with_sections("[limits]\nbatch_records = -1"),
            &["14:17: limits.batch_records: is out of bounds: write a whole number from 1 to 100000"],
        ),
        (with_sections("[ready]\nlag = 5"), &["14:7: ready.lag: expected a text, found a whole number"]),
        (
            with_sections("[log]\nlevel = \"inf,stoker=debg\"\nformat = \"xml\""),
            &[
                r#"14:9: log.level: "inf" is no level: error, warn, info, debug or trace, as in "info" or "info,stoker::lane=debug" -> did you mean "info"?"#,
                r#"14:9: log.level: "debg" is no level: error, warn, info, debug or trace, as in "info" or "info,stoker::lane=debug" -> did you mean "debug"?"#,
                r#"15:10: log.format: "xml" is not "auto", "text" or "json""#,
            ],
        ),
        (
            with_sections("[admin]\nlisten = \"9187\""),
            &[r#"14:10: admin.listen: "9187" is not address:port"#],
        ),
    ]);
}

#[test]
fn what_is_wrong_in_entities() {
    each(&[
        (with_sections("[entity]\nname = \"x\""), &["13:2: duplicate key"]),
        (
            "entity = { name = \"x\" }".to_owned(),
            &[
                r#"1:1: "kafka" is missing"#,
                r#"1:1: "redis" is missing"#,
                "1:10: entity: expected a list, found a table -> write [[entity]], with two brackets",
            ],
        ),
        (
            "entity = [1]".to_owned(),
            &[
                r#"1:1: "kafka" is missing"#,
                r#"1:1: "redis" is missing"#,
                "1:11: entity 1: expected a table, found a whole number",
            ],
        ),
        (
            String::new(),
            &[r#"1:1: "kafka" is missing"#, r#"1:1: "redis" is missing"#, r#"1:1: "entity" is missing"#],
        ),
        (with_entity("guard = {}"), &[r#"8:9: entity "customer": guard: "by" is missing"#]),
        (
            with_entity("guard = { by = \"version\", epoch = -1 }"),
            &[
                r#"8:16: entity "customer": guard.by: "version" is not "source" or "offset", or { column = … }"#,
                r#"8:35: entity "customer": guard.epoch: is out of bounds: write a whole number from 0 to"#,
            ],
        ),
        (
            with_entity("guard = { by = { column = [] } }\ncolumns = { a = \"bool\" }"),
            &[r#"8:27: entity "customer": guard.by.column: names no column"#],
        ),
        (
            with_entity("guard = { by = { column = [\"b\", \"a\"] } }\ncolumns = { a = \"bool\" }"),
            &[r#"8:27: entity "customer": guard.by.column: "a" is declared as a type without an order"#],
        ),
        (
            with_entity("guard = { by = \"source\" }\nformat = \"rows\""),
            &[r#"8:16: entity "customer": guard.by: plain rows have no source position"#],
        ),
        (
            with_entity("guard = { by = \"offset\" }").replace("ttl = \"1h\"", "ttl = \"1h\"\nshared = true"),
            &[r#"8:16: entity "customer": guard.by: offsets of two topics or partitions do not compare"#],
        ),
        (
            with_sections(
                "[[entity]]\nname = \"other\"\ntopics = [\"o\"]\nguard = { by = \"source\", epoch = 1 }\n\
                 [[entity.write]]\nkey = \"customer:{id}\"\nvalue = \"json\"\nttl = \"1h\"\nshared = true",
            )
            .replacen("ttl = \"1h\"", "ttl = \"1h\"\nshared = true", 1),
            &[
                r#"19:7: entity "other", write 1: key: is shared with "customer:{id}" of entity "customer" (line 10), which compares other versions"#,
            ],
        ),
        (
            with_entity("table = \"^a(b$\""),
            &[r#"8:9: entity "customer": table: is no regular expression: unclosed group"#],
        ),
        (
            with_entity("table = \"^ab\""),
            &[
                r#"8:9: entity "customer": table: a regular expression speaks of the whole name: it ends with $"#,
            ],
        ),
        (
            with_entity("format = \"json\""),
            &[
                r#"8:10: entity "customer": format: "json" is not "auto", "debezium", "flattened", "rows", "maxwell", "canal", "ticdc", "ogg", "dms", "cockroach", "sequin" or "mongo" -> JSON and Avro are told apart by themselves: say what the records are, or "auto""#,
            ],
        ),
        (
            with_entity("replica_identity = \"nothing\""),
            &[
                r#"8:20: entity "customer": replica_identity: "nothing" is not "default" or "full", or { index = … } -> under REPLICA IDENTITY NOTHING PostgreSQL publishes no updates and no deletes: run ALTER TABLE … REPLICA IDENTITY DEFAULT (or FULL) and say that here"#,
            ],
        ),
        (
            with_entity("replica_identity = { index = [] }"),
            &[r#"8:30: entity "customer": replica_identity.index: is an empty list"#],
        ),
        (
            with_entity("truncate = \"drop\""),
            &[r#"8:12: entity "customer": truncate: "drop" is not "ignore" or "delete""#],
        ),
        (
            with_entity("unavailable = \"keep\""),
            &[r#"8:15: entity "customer": unavailable: "keep" is not "delete" or "merge""#],
        ),
        (
            with_entity("absent = \"null\""),
            &[r#"8:10: entity "customer": absent: speaks of the columns in `columns`, and there are none"#],
        ),
        (
            with_entity("op_column = { column = \"op\", delete = [] }"),
            &[r#"8:39: entity "customer": op_column.delete: is an empty list"#],
        ),
        (
            with_entity("op_column = { column = \"op\" }"),
            &[r#"8:13: entity "customer": op_column: "delete" is missing"#],
        ),
        (with_entity("columns = { a = \"decimals\" }"), &[r#"8:17: entity "customer": columns.a: "#]),
        (
            with_entity("key_columns = { a = 1 }"),
            &["8:15: entity \"customer\": key_columns: expected a list, found a table"],
        ),
        (
            with_entity("render = { decimal = \"float\" }"),
            &[r#"8:22: entity "customer": render.decimal: "float" is not "string" or "number""#],
        ),
        (
            with_entity("key_columns = [\"a\", \"\", \"a\"]"),
            &[
                r#"8:21: entity "customer": key_columns[1]: is empty"#,
                r#"8:25: entity "customer": key_columns[2]: stands in the list twice"#,
            ],
        ),
        (
            with_entity("handler = \"price\""),
            &[
                r#"8:1: entity "customer": handler: stands beside [[entity.write]]: an entity has one or the other"#,
            ],
        ),
        (
            with_entity("ttl = \"1h\""),
            &[r#"8:1: entity "customer": ttl: unknown field "ttl" -> each [[entity.write]] has its own ttl"#],
        ),
        (
            SMALLEST.replace("[\"customers\"]", "[\"^a$\", \"b\"]"),
            &[r#"7:11: entity "customer": topics[0]: a regular expression stands alone in the list"#],
        ),
        (
            SMALLEST.replace("[\"customers\"]", "[\"^a\"]"),
            &[
                r#"7:11: entity "customer": topics[0]: a regular expression speaks of the whole name: it ends with $"#,
            ],
        ),
        (
            SMALLEST.replace("[\"customers\"]", "[]"),
            &[r#"7:10: entity "customer": topics: is an empty list"#],
        ),
        (
            SMALLEST.split_once("[[entity.write").unwrap().0.to_owned(),
            &[r#"5:1: entity "customer": does not say what a row becomes"#],
        ),
    ]);
}

#[test]
fn all_syntax_errors_of_a_file_are_reported() {
    let found = problems("[kafka]\nbrokers = \"a\ngroup = g\n[redis]\nurl = \"x\"\nurl = \"y\"\n");
    let positions: Vec<&str> = found.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(positions, ["2:13:", "3:9:", "6:1:"], "{found:#?}");
}
