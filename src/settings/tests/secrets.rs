//! No secret is ever shown, and no text can bring the reader down.

use proptest::prelude::*;

use super::{Fake, Handlers, Loaded, SMALLEST, parse, with_kafka, with_redis};

const SECRET: &str = "hunter2";

#[test]
fn secrets_are_in_no_debug_and_no_description() {
    let text = SMALLEST
        .replace("\"redis://localhost\"", "\"redis://user:hunter2@localhost\"")
        .replace(
            "group = \"g\"",
            "group = \"g\", properties = { \"sasl.password\" = \"${PASSWORD}\", \"ssl.key.pem\" = { file = \"key\" }, \
             \"sasl.jaas.config\" = \"hunter2\", \"sasl.oauthbearer.client.secret\" = \"hunter2\", \
             \"ssl.keystore.password\" = \"hunter2\", \"client.id\" = \"me\", \"sasl.mechanisms\" = \"PLAIN\" }",
        );
    let environment = Fake::default().with("PASSWORD", SECRET).with_file("key", SECRET);
    let Loaded { settings, .. } = parse(&text, &environment, &Handlers::default()).unwrap();
    assert_eq!(settings.redis.password.as_ref().unwrap().expose(), SECRET);
    let property =
        |name: &str| settings.kafka.properties.iter().find(|(known, _)| known == name).unwrap().1.expose();
    assert_eq!((property("sasl.password"), property("ssl.key.pem")), (SECRET, SECRET));

    let shown = format!("{settings:?} {:?}", settings.describe());
    assert!(!shown.contains(SECRET), "{shown}");
    let described = settings.describe();
    assert!(described.contains(&("kafka.properties.client.id".to_owned(), "me".to_owned())));
    assert!(described.contains(&("kafka.properties.sasl.mechanisms".to_owned(), "PLAIN".to_owned())));
    assert!(described.contains(&("redis.password".to_owned(), "***".to_owned())));
}

#[test]
fn secrets_are_in_no_problem() {
    let secret_file = r#"brokers = "a", group = "g", properties = { "session.timeout.ms" = { file = "s" } }"#;
    let cases = [
        with_redis(r#"url = "redis://u:hunter2@h:x""#),
        with_redis(r#"url = "redis://h", pasword = "hunter2""#),
        with_redis(r#"url = "redis://h", password = ["hunter2"]"#),
        with_redis(r#"url = "redis://h", password = "hunter2", timeout = 5"#),
        with_redis(r#"url = "redis://h", timeout = "${S}""#),
        with_redis(r#"cluster = ["u:hunter2@h:1"]"#),
        with_redis("url = \"redis://h\", password = \"hunter2"),
        with_kafka(r#"brokers = "a", group = "g", properties = { "sasl.password" = "hunter2", x = 1.5 }"#),
        with_kafka(secret_file),
        with_kafka(r#"brokers = "${S} ", group = "{${S}}""#),
        with_kafka(r#"brokers = "a", group = "g", start = "${S}""#),
        format!("redis.password = \"hunter2\"\nredis.x = 1\n{SMALLEST}"),
        format!("{SMALLEST}\n[kafka.properties]\n\"ssl.key.pem\" = \"\"\"\nhunter2 \\q\n\"\"\"\n"),
        format!("{SMALLEST}\n[registry]\nurl = \"http://u:hunter2@h\"\n"),
        SMALLEST.replace("\"1h\"", "\"${S}\""),
        SMALLEST.replace("\"customers\"", "\"${S} \""),
        SMALLEST.replace("topics", "format = \"${S}\"\ntopics"),
        SMALLEST.replace("topics", "handler = \"${S}\"\ntopics"),
        SMALLEST.replace("topics", "columns = { a = \"${S}\" }\ntopics"),
        SMALLEST.replace("topics", "table = \"^${S}($\"\ntopics"),
        format!(
            "{SMALLEST}\n[admin]\nlisten = \"${{S}}\"\n[log]\nlevel = \"${{S}}\"\n[limits]\nmemory = \"${{S}}\"\n"
        ),
    ];
    for text in cases {
        let environment = Fake::default().with("S", SECRET).with_file("s", SECRET);
        let error = parse(&text, &environment, &Handlers::default()).map(drop).expect_err(&text);
        let shown = format!("{error}\n{error:?}\n{}", serde_json::to_string(&error.problems).unwrap());
        assert!(!shown.contains(SECRET), "{text}\n{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Cuts, doubled parts and pieces of other values: whatever comes of it is read or refused, at a place that
    /// exists, and never because the schema and the types that are read disagree.
    #[test]
    fn mangled_files_are_read_or_refused(
        cuts in prop::collection::vec((0usize..5_000, 0usize..40, prop::sample::select(&PIECES[..])), 1..6),
    ) {
        let mut text = include_str!("../../../examples/stoker.toml").replace("# ", "");
        for (at, length, piece) in cuts {
            let from = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            let to = (0..=(from + length).min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            text.replace_range(from..to.max(from), piece);
        }
        refused_in_place(&text);
        refused_in_place(&toml_lines(&text));
    }
}

const PIECES: [&str; 12] = [
    "",
    " = ",
    "\"",
    "{ }",
    "[]",
    "[[entity]]\n",
    "\n[[entity.write]]\n",
    "5",
    "{ file = \"x\" }",
    "${X}",
    "é{",
    "true\n",
];

/// Only the lines that are TOML by themselves: more of these files get past the syntax.
fn toml_lines(text: &str) -> String {
    text.lines()
        .filter(|line| toml::from_str::<toml::Table>(line).is_ok())
        .map(|line| format!("{line}\n"))
        .collect()
}

fn refused_in_place(text: &str) {
    let Err(error) = parse(text, &Fake::default(), &Handlers::default()) else { return };
    assert!(!error.problems.is_empty());
    for problem in error.problems {
        let lines = text.lines().count() + 1;
        assert!((1..=lines).contains(&problem.line) && problem.column > 0, "{problem:?}");
        assert!(!problem.message.contains("could not be read ("), "{problem}\n{text}");
    }
}
