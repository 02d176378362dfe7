//! `[[entity.write]]` with something wrong in it.

use super::refused::each;
use super::{with_sections, with_write};

/// Two writes of these values to keys that are the same.
fn two_writes(first: &str, second: &str) -> String {
    with_write(&format!(
        "key = \"s:{{x}}\"\nvalue = {first}\n[[entity.write]]\nkey = \"s:{{y}}\"\nvalue = {second}"
    ))
}

#[test]
fn what_is_wrong_in_writes() {
    each(&[
        (
            with_write("key = \"\"\nvalue = \"json\"\nttl = \"1h\""),
            &[r#"10:7: entity "customer", write 1: key: is empty"#],
        ),
        (
            with_write("key = \"\"\"\nc:{\"\"\"\nvalue = \"json\"\nttl = \"1h\""),
            &[r#"11:3: entity "customer", write 1: key: "#],
        ),
        (
            with_write("key = \"c:{a}\"\nttl = \"1h\""),
            &[r#"9:1: entity "customer", write 1: "value" is missing"#],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = \"json\""),
            &[r#"9:1: entity "customer", write 1: "ttl" is missing"#],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = \"invalidate\"\nttl = \"1h\"\njitter = \"1%\""),
            &[
                r#"12:1: entity "customer", write 1: ttl: value = "invalidate" deletes the key: it has no ttl"#,
                r#"13:1: entity "customer", write 1: jitter: value = "invalidate" deletes the key: it has no jitter"#,
            ],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = { sorted_set = { member = \"{id}\" } }\nttl = \"none\""),
            &[r#"11:24: entity "customer", write 1: value.sorted_set: "score" is missing"#],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = { set = { member = \"{id}\", score = \"n\" } }\nttl = \"none\"",
            ),
            &[r#"11:36: entity "customer", write 1: value.set.score: unknown field "score""#],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = { set = { member = \"{id\" } }"),
            &[
                r#"9:1: entity "customer", write 1: "ttl" is missing -> write ttl = "none""#,
                r#"11:29: entity "customer", write 1: value.set.member: this brace is never closed"#,
            ],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = { sorted_set = { member = \"{id}\", score = \"\" } }\nttl = \"1h\"\n\
                 encoding = \"msgpack\"\ncompress = { algorithm = \"lz4\" }",
            ),
            &[
                r#"11:51: entity "customer", write 1: value.sorted_set.score: is empty"#,
                r#"12:7: entity "customer", write 1: ttl: members do not expire: a set that expires and starts again with one member is a wrong value, and no miss -> write ttl = "none""#,
                r#"13:1: entity "customer", write 1: encoding: MessagePack is an encoding of JSON values, and this is none"#,
                r#"14:1: entity "customer", write 1: compress: a member is compared with others: it cannot be compressed"#,
            ],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = { jsn = [\"a\"] }\nttl = \"1h\""),
            &[r#"11:11: entity "customer", write 1: value.jsn: unknown field "jsn" -> did you mean "json"?"#],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = { json = [\"a\"], text = \"x\" }\nttl = \"1h\""),
            &[r#"11:25: entity "customer", write 1: value.text: does not go together with json"#],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = { json = [\"a\", { name = \"a\", column = \"b\" }, { name = \"c\" }] }\nttl = \"1h\"",
            ),
            &[
                r#"11:24: entity "customer", write 1: value.json[1]: the value has a field "a" already"#,
                r#"11:54: entity "customer", write 1: value.json[2]: "column" is missing"#,
            ],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = { json = [\"a\", { name = \"a\", column = \"b\" }] }\nttl = \"1h\"",
            ),
            &[r#"11:24: entity "customer", write 1: value.json[1]: the value has a field "a" already"#],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = { hash = [] }\nttl = \"1h\""),
            &[r#"11:18: entity "customer", write 1: value.hash: names no column"#],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = { text = \"é{b\" }\nttl = \"1h\""),
            &[r#"11:20: entity "customer", write 1: value.text: "#],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = { bytes = \"\" }\nttl = \"0s\""),
            &[
                r#"11:19: entity "customer", write 1: value.bytes: is empty"#,
                r#"12:7: entity "customer", write 1: ttl: is out of bounds: at least 1ms, at most 36500d"#,
            ],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = \"none\"\njitter = \"1%\""),
            &[r#"13:1: entity "customer", write 1: jitter: ttl = "none" has nothing to vary"#],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = \"1h\"\njitter = \"100%\""),
            &[
                r#"13:10: entity "customer", write 1: jitter: has to be below 100%: keys would expire as they are written"#,
            ],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = { column = \"e\", after = \"1h\" }"),
            &[
                r#"12:23: entity "customer", write 1: ttl.after: does not go together with at_most, column, if_null"#,
            ],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = \"json\"\nttl = { column = \"e\", at_most = \"1w\" }\njitter = \"1%\"",
            ),
            &[
                r#"12:33: entity "customer", write 1: ttl.at_most: "1w" is not a duration: write a whole number with its unit (ms, s, m, h or d), as in "250ms" or "15m""#,
            ],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = \"json\"\nttl = { after = \"1h\", jitter = \"1%\", from = \"comit\" }\njitter = \"1%\"",
            ),
            &[
                r#"12:45: entity "customer", write 1: ttl.from: "comit" is not "write" or "commit" -> did you mean "commit"?"#,
            ],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = \"json\"\nttl = { after = \"1h\", jitter = \"1%\" }\njitter = \"1%\"",
            ),
            &[r#"13:1: entity "customer", write 1: jitter: is said in ttl too: one of the two has to go"#],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = { at_most = \"1h\" }"),
            &[r#"12:7: entity "customer", write 1: ttl: "column" is missing"#],
        ),
        (
            with_write("key = \"c:{a}\"\nvalue = \"json\"\nttl = 3600"),
            &[r#"12:7: entity "customer", write 1: ttl: expected a table or a text, found a whole number"#],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = \"json\"\nttl = \"1h\"\ncompress = {}\nshared = \"yes\"\nguard = {}",
            ),
            &[
                r#"13:12: entity "customer", write 1: compress: "algorithm" is missing"#,
                r#"14:10: entity "customer", write 1: shared: expected true or false, found a text"#,
                r#"15:1: entity "customer", write 1: guard: unknown field "guard""#,
            ],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = { template = \"{% if a %}\\n{{ b|uper }}{% endif %}{{ c|lowr }}\" }\nttl = \"1h\"\nencoding = \"msgpack\"",
            ),
            &[
                r#"11:63: entity "customer", write 1: value.template: unknown filter: filter lowr is unknown"#,
                r#"13:1: entity "customer", write 1: encoding: MessagePack is an encoding of JSON values"#,
            ],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = { hash = [\"a\", { name = \"b\", value = 1 }, { name = \"c\", column = \"c\", value = 1.5 }] }\nttl = \"1h\"\ncompress = { algorithm = \"lz4\" }",
            ),
            &[
                r#"11:24: entity "customer", write 1: value.hash[1]: a hash has texts of columns"#,
                r#"11:51: entity "customer", write 1: value.hash[2]: has to be one of column, value and json"#,
                r#"11:51: entity "customer", write 1: value.hash[2]: a hash has texts of columns"#,
                r#"13:1: entity "customer", write 1: compress: a hash is read field by field"#,
            ],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = { json = [{ name = \"b\", value = nan }, { name = \"c\", value = [] }, { name = \"d\", json = [\"\"] }] }\nttl = \"1h\"",
            ),
            &[
                r#"11:41: entity "customer", write 1: value.json[0].value: is no number of JSON"#,
                r#"11:70: entity "customer", write 1: value.json[1].value: expected"#,
            ],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = { json = [{ name = \"d\", json = [\"\", \"e\", \"e\"], parse = \"json\" }] }\nttl = \"1h\"",
            ),
            &[
                r#"11:41: entity "customer", write 1: value.json[0].json[0]: a name is empty"#,
                r#"11:50: entity "customer", write 1: value.json[0].json[2]: the value has a field "e" already"#,
                r#"11:56: entity "customer", write 1: value.json[0].parse: says how a column's text is read"#,
            ],
        ),
        (
            with_write("key = \"{a}:x\"\nvalue = \"json\"\nttl = \"1h\""),
            &[
                r#"10:7: entity "customer", write 1: key: can give a key that begins with redis.own_prefix ("stoker:"): such keys are"#,
            ],
        ),
        (
            with_write("key = \"stoker:{a}\"\nvalue = \"json\"\nttl = \"1h\""),
            &[
                r#"10:7: entity "customer", write 1: key: begins with redis.own_prefix ("stoker:"): such keys are Stoker's own"#,
            ],
        ),
        (
            with_write(
                "key = \"c:{a}\"\nvalue = \"json\"\nttl = \"1h\"\n[[entity.write]]\nkey = \"c:{b}\"\nvalue = \"invalidate\"\nshared = true",
            ),
            &[
                r#"14:7: entity "customer", write 2: key: gives the same keys as "c:{a}" of entity "customer" (line 10)"#,
            ],
        ),
        (
            two_writes(
                "{ set = { member = \"{a}\" } }\nttl = \"none\"",
                "{ set = { member = \"{b}\" } }\nttl = \"none\"",
            ),
            &[
                r#"14:7: entity "customer", write 2: key: gives the same members as "s:{x}" (member "{a}") of entity "customer" (line 10)"#,
            ],
        ),
        (
            two_writes(
                "{ set = { member = \"{a}\" } }\nttl = \"none\"\nshared = true",
                "\"json\"\nttl = \"1h\"\nshared = true",
            ),
            &[
                r#"15:7: entity "customer", write 2: key: gives the same keys as "s:{x}" (member "{a}") of entity "customer" (line 10): a key holds members"#,
            ],
        ),
        (
            two_writes(
                "{ set = { member = \"{a}\" } }\nttl = \"none\"",
                "{ sorted_set = { member = \"{a}\", score = \"n\" } }\nttl = \"none\"",
            ),
            &[
                r#"14:7: entity "customer", write 2: key: gives the same keys as "s:{x}" (member "{a}") of entity "customer" (line 10): a key holds members"#,
            ],
        ),
    ]);
}

#[test]
fn what_is_not_made_of_columns_is_not_merged() {
    let merging = |lines: &str| {
        with_write(&format!("key = \"c:{{id}}\"\nttl = \"1h\"\n{lines}"))
            .replace("topics = [\"customers\"]", "topics = [\"customers\"]\nunavailable = \"merge\"")
    };
    let value = "13:9: entity \"customer\", write 1: value: ";
    each(&[
        (merging("value = { text = \"{id}\" }"), &[&format!("{value}a text cannot be merged")]),
        (merging("value = { template = \"x\" }"), &[&format!("{value}a text cannot be merged")]),
        (merging("value = { bytes = \"photo\" }"), &[&format!("{value}one column's bytes cannot be merged")]),
        (
            merging("value = { json = [\"id\", { name = \"kind\", value = 1 }] }"),
            &[&format!("{value}JSON of more than columns cannot be merged")],
        ),
        (
            merging("value = \"json\"\nencoding = \"msgpack\"\ncompress = { algorithm = \"lz4\" }"),
            &[
                "14:1: entity \"customer\", write 1: encoding: a packed value cannot be merged",
                "15:1: entity \"customer\", write 1: compress: a packed value cannot be merged",
            ],
        ),
    ]);
}

#[test]
fn keys_that_a_scan_cannot_tell_are_not_deleted_at_a_truncate() {
    let deleting = |text: String| {
        text.replace("topics = [\"customers\"]", "topics = [\"customers\"]\ntruncate = \"delete\"")
    };
    let other = |key: &str| {
        deleting(with_sections(&format!(
            "[[entity]]\nname = \"order\"\ntopics = [\"orders\"]\n[[entity.write]]\nkey = \"{key}\"\nvalue = \"json\"\nttl = \"1h\""
        )))
    };
    assert!(super::loaded(&other("order:{id}")).warnings.is_empty());
    each(&[
        (
            other("customer:{id}:orders"),
            &[
                r#"8:12: entity "customer": truncate: "delete" would take keys of "customer:{id}:orders" of entity "order" (line "#,
            ],
        ),
        (
            deleting(with_write("key = \"{id}:c\"\nvalue = \"invalidate\"")),
            &[
                r#"8:12: entity "customer": truncate: "delete" looks for keys by their beginning, and "{id}:c" begins with a column"#,
                "11:7: entity \"customer\", write 1: key: can give a key that begins with redis.own_prefix",
            ],
        ),
    ]);
}
