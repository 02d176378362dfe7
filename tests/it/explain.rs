//! `stoker explain` and `stoker test` as users and scripts meet them: what is printed where, and exit codes.

use std::fs;
use std::path::Path;

use crate::support::command::stoker;

const SHOP: [&str; 3] = ["explain", "-c", "tests/shop/customer.toml"];

/// One customer whose address changed, as Debezium tells it.
const MOVED: &str = r#"{"topic":"shop.public.customers","partition":1,"offset":104,"timestamp_ms":1709209800200,"key":"{\"id\":7}","value":"{\"before\":{\"id\":7,\"email\":\"Old@example.com\",\"phone\":null,\"name\":\"Ann\",\"status\":\"active\",\"balance\":\"MDk=\",\"updated_at\":\"2024-02-29T12:00:00.000000Z\",\"deleted_at\":null},\"after\":{\"id\":7,\"email\":\"New@example.com\",\"phone\":null,\"name\":\"Ann\",\"status\":\"active\",\"balance\":\"MDk=\",\"updated_at\":\"2024-02-29T12:30:00.123456Z\",\"deleted_at\":null},\"source\":{\"version\":\"3.7.0.Final\",\"connector\":\"postgresql\",\"name\":\"shop\",\"ts_ms\":1709209800123,\"snapshot\":\"false\",\"db\":\"shop\",\"sequence\":\"[\\\"24023000\\\",\\\"24023128\\\"]\",\"schema\":\"public\",\"table\":\"customers\",\"txId\":571,\"lsn\":24023128,\"xmin\":null},\"transaction\":null,\"op\":\"u\",\"ts_ms\":1709209800200}"}"#;

/// What that record does under the shop's settings: the old address goes, then everything is written. The guard
/// is the source's position, 24023000 and 24023128; the lifetimes carry the jitter of their keys, within 10 %.
const MOVED_EXPLAINED: &str = concat!(
    r#"{"topic":"shop.public.customers","partition":1,"offset":104,"entity":"customer","mutations":["#,
    r#"{"op":"delete","key":"customer-by-email:old@example.com","guard":"00000000016e8fd800000000016e9058"},"#,
    r#"{"op":"write","key":"customer:7","kind":"json","value":{"id":7,"email":"New@example.com","phone":null,"#,
    r#""name":"Ann","status":"active","balance":"123.45","updated_at":"2024-02-29T12:30:00.123456Z","#,
    r#""deleted_at":null},"ttl_ms":3623343},"#,
    r#"{"op":"write","key":"customer-by-email:new@example.com","kind":"text","value":"7","ttl_ms":3600000,"#,
    r#""guard":"00000000016e8fd800000000016e9058"},"#,
    r#"{"op":"write","key":"customer-card:7","kind":"json","value":{"id":7,"name":"Ann","credit":"123.45"},"#,
    r#""expires_at_ms":1709297127128}]}"#,
    "\n",
);

#[test]
fn one_record_s_way_is_shown_as_documented() {
    let ran = stoker(&SHOP, MOVED);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert_eq!(ran.out, MOVED_EXPLAINED);
    assert_eq!(24_023_000, 0x016e_8fd8);
    assert_eq!(24_023_128, 0x016e_9058);
}

#[test]
fn files_are_read_like_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("moved.ndjson");
    fs::write(&file, MOVED).unwrap();
    let file = file.to_str().unwrap();
    let ran = stoker(&[&SHOP[..], &[file, file]].concat(), "");
    assert_eq!((ran.code, ran.out), (0, MOVED_EXPLAINED.repeat(2)));
}

#[test]
fn records_with_errors_are_the_answer_and_end_with_0() {
    let records = concat!(
        r#"{"topic":"shop.public.customers","key":"{\"id\":7}","value":"{\"op\":\"x\",\"before\":null,\"after\":null}"}"#,
        "\n\n",
        r#"{"topic":"shop.public.customers","key":"{\"id\":7}","value":"{"}"#,
        "\n",
        r#"{"topic":"elsewhere"}"#,
        "\n",
    );
    let ran = stoker(&SHOP, records);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{}", ran.out);
    for (line, kind) in lines.iter().zip(["op", "json"]) {
        assert_eq!((&line["error"]["stage"], &line["error"]["kind"]), (&"decode".into(), &kind.into()));
        // What the record key tells is deleted, so that no stale value stays.
        assert_eq!(line["mutations"][0], serde_json::json!({"op": "delete", "key": "customer:7"}));
    }
    assert_eq!((&lines[2]["offset"], &lines[2]["ignored"]), (&2.into(), &"no_entity".into()));
}

#[test]
fn a_line_that_is_no_record_ends_with_2_and_its_place_behind_what_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records.ndjson");
    for (bad, problem) in [
        ("nonsense", "not JSON"),
        ("[]", "expected a record"),
        (r#"{"value":"x"}"#, "\"topic\" is missing"),
        (r#"{"topic":"t","valu":"x"}"#, "unknown field \"valu\""),
        (r#"{"topic":"t","key":"a","key_b64":"YQ=="}"#, "exclude each other"),
        (r#"{"topic":"t","value_b64":"%"}"#, "value_b64"),
    ] {
        let text = format!("{MOVED}\n{bad}\n{MOVED}\n");
        fs::write(&file, &text).unwrap();
        let path = file.to_str().unwrap();
        for (ran, name) in
            [(stoker(&[&SHOP[..], &[path]].concat(), ""), path), (stoker(&SHOP, &text), "standard input")]
        {
            assert_eq!((ran.code, ran.out.as_str()), (2, MOVED_EXPLAINED), "{bad}: {}", ran.err);
            assert!(
                ran.err.starts_with(&format!("{name}:2: ")) && ran.err.contains(problem),
                "{bad}: {}",
                ran.err
            );
        }
    }
    let ran = stoker(&[&SHOP[..], &["no/such/file.ndjson"]].concat(), "");
    assert!(ran.code == 2 && ran.err.contains("no/such/file.ndjson: cannot be read"), "{ran:?}");
}

#[test]
fn bad_usage_and_bad_settings_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("stoker.toml");
    fs::write(&settings, "[kafka]\nbroker = \"x\"\n[redis]\nurl = \"http://x\"\n").unwrap();
    let settings = settings.to_str().unwrap();
    let ran = stoker(&["explain", "-c", settings], "");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    // All at once, each with its place and, where a name is misspelt, the right one.
    for part in ["stoker.toml:2:1", "stoker.toml:4:", "brokers"] {
        assert!(ran.err.contains(part), "{part} in {}", ran.err);
    }
    for arguments in [
        &["explain", "-c", "no/such.toml"][..],
        &["explain", "--what"],
        &["frobnicate"],
        &["test", "-c", settings],
    ] {
        let ran = stoker(arguments, "");
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        assert!(!ran.err.is_empty(), "{arguments:?}");
    }
    assert_eq!(stoker(&["explain", "--help"], "").code, 0);
}

#[test]
fn now_is_the_record_s_time_unless_it_is_told() {
    let order = r#"{"topic":"shop.public.orders","timestamp_ms":1709209800000,"key":"{\"id\":1}","value":"{\"id\":1,\"customer_id\":7,\"status\":\"new\",\"total\":5,\"expires_at\":\"2024-03-01T00:00:00Z\"}"}"#;
    for (now, expected) in [
        (None, r#""expires_at_ms":1709251200000"#),
        // No longer than 7 days from now.
        (Some("2024-02-01T00:00:00Z"), r#""expires_at_ms":1707350400000"#),
        (Some("1709251200000"), r#"{"op":"delete","key":"order:1","expired":true}"#),
    ] {
        let now = now.map_or(vec![], |now| vec!["--now", now]);
        let ran = stoker(&[&SHOP[..], &now].concat(), order);
        assert!(ran.code == 0 && ran.out.contains(expected), "{now:?}: {}{}", ran.out, ran.err);
    }
}

/// A folder with one case: that record, and what is expected of it.
fn case(expected: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("moved.records.ndjson"), MOVED).unwrap();
    if let Some(expected) = expected {
        fs::write(folder.path().join("moved.expected.ndjson"), expected).unwrap();
    }
    folder
}

fn test(folder: &Path, more: &[&str]) -> crate::support::command::Ran {
    let arguments = ["test", "-c", "tests/shop/customer.toml", folder.to_str().unwrap()];
    stoker(&[&arguments[..], more].concat(), "")
}

#[test]
fn mapping_tests_end_with_0_1_or_2() {
    let passing = test(case(Some(MOVED_EXPLAINED)).path(), &[]);
    assert!(passing.code == 0 && passing.out.ends_with("\n1 passed, 0 failed\n"), "{passing:?}");
    let wrong = MOVED_EXPLAINED.replace("new@example.com", "new@example.org");
    let differing = test(case(Some(&wrong)).path(), &[]);
    assert!(
        differing.code == 1 && differing.out.contains("line 1:") && differing.out.contains("example.org"),
        "{differing:?}"
    );
    let missing = test(case(None).path(), &[]);
    assert!(missing.code == 1 && missing.out.contains("--bless"), "{missing:?}");
    let empty = tempfile::tempdir().unwrap();
    let none = test(empty.path(), &[]);
    assert!(none.code == 2 && none.err.contains("no case found"), "{none:?}");
    let nowhere = test(Path::new("no/such/folder"), &[]);
    assert!(nowhere.code == 2 && nowhere.err.contains("no/such/folder"), "{nowhere:?}");
}

#[test]
fn bless_writes_what_explain_prints_and_changes_nothing_else() {
    let folder = case(Some("{}\n"));
    let blessed = test(folder.path(), &["--bless"]);
    assert_eq!(blessed.code, 0, "{blessed:?}");
    assert_eq!(fs::read_to_string(folder.path().join("moved.expected.ndjson")).unwrap(), MOVED_EXPLAINED);
    assert_eq!(fs::read_to_string(folder.path().join("moved.records.ndjson")).unwrap(), MOVED);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    assert_eq!(test(folder.path(), &[]).code, 0);
}

#[test]
fn verdicts_as_json_are_one_object_a_line() {
    let ran = test(case(Some("{}\n")).path(), &["--output", "json"]);
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(ran.code, 1);
    assert_eq!(lines[0]["passed"], false);
    assert_eq!(lines[0]["differences"][0]["line"], 1);
    assert_eq!(lines[1], serde_json::json!({"passed": 0, "failed": 1}));
}

#[test]
fn protobuf_is_explained_under_the_schemas_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let schemas = folder.path().join("schemas.json");
    let text = "syntax = \"proto3\"; package shop; import \"money.proto\"; message Key { int32 id = 1; } \
        message Customer { int32 id = 1; optional string email = 2; Money balance = 3; }";
    let money = "syntax = \"proto3\"; package shop; message Money { int64 cents = 1; }";
    let stored = serde_json::json!({"7": {
        "schema": text, "schemaType": "PROTOBUF", "references": [{"name": "money.proto", "schema": money}],
    }});
    fs::write(&schemas, stored.to_string()).unwrap();
    let settings = folder.path().join("stoker.toml");
    let entity = "[kafka]\nbrokers = \"b:9092\"\ngroup = \"g\"\n[redis]\nurl = \"redis://r\"\n[[entity]]\nname = \"c\"\ntopics = [\"t\"]\n\
        [[entity.write]]\nkey = \"c:{id}\"\nvalue = \"json\"\nttl = \"none\"\n";
    fs::write(&settings, entity).unwrap();
    let args = ["explain", "-c", settings.to_str().unwrap(), "--schemas", schemas.to_str().unwrap()];
    // Id 7; index [0] is the key, [1] the row: id 5, no email, a balance of 1250 cents.
    let key = "\"key_b64\":\"AAAAAAcACAU=\"";
    let ran = stoker(
        &args,
        &format!(
            "{{\"topic\":\"t\",{key},\"value_b64\":\"AAAAAAcCAggFGgMI4gk=\"}}\n{{\"topic\":\"t\",{key}}}\n{{\"topic\":\"t\",{key},\"value_b64\":\"AAAAAAcCAggF/w==\"}}\n"
        ),
    );
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = serde_json::json!({"id": 5, "email": null, "balance": {"cents": 1250}});
    assert_eq!(lines[0]["mutations"][0]["value"], expected, "{}", ran.out);
    assert_eq!(lines[1]["mutations"][0], serde_json::json!({"op": "delete", "key": "c:5"}));
    assert_eq!(lines[2]["error"]["kind"], "protobuf", "{}", ran.out);
    assert_eq!(
        lines[2]["error"]["detail"],
        "the value is not what its Protobuf schema says at byte 4: expected a number, and the record ends within it"
    );
}
