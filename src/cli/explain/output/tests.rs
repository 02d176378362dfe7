use super::*;
use crate::dead_letter::Stage;
use crate::decode::Ignored;
use crate::entity::packing::Packing;
use crate::mutation::{CacheKey, MemberKind, Mutations, RowId};
use crate::pipeline::Failure;
use crate::record::NoHeaders;
use crate::version::Version;

const RECORD: Record<'static> = Record {
    topic: "shop.customers",
    partition: 0,
    offset: 7,
    timestamp_ms: Some(1_000),
    key: None,
    value: None,
    headers: &NoHeaders,
};

fn explained(now_ms: Option<i64>, emit: impl FnOnce(&mut Account<'_>)) -> String {
    let names = ["customer".into(), "loyalty".into()];
    let mut account = Account::new(&names, RECORD, now_ms);
    emit(&mut account);
    account.to_ndjson()
}

fn emit(account: &mut Account<'_>, entity: usize, mutations: Vec<Mutation>) {
    let mut list = Mutations::new();
    mutations.into_iter().for_each(|mutation| list.push(mutation));
    account.add(Emitted::Mutations { entity, mutations: list.drain(), rows: &[], commit_ms: None });
}

fn plain(key: &[u8], effect: Effect) -> Mutation {
    Mutation { key: CacheKey::new(key), effect, guard: None }
}

fn string(kind: StringKind, bytes: &[u8]) -> Value {
    Value::String { kind, bytes: bytes.to_vec() }
}

/// The one mutation, as it is shown, of a record applied at 1,000 ms.
fn one(mutation: Mutation) -> String {
    let line = explained(Some(1_000), |account| emit(account, 0, vec![mutation]));
    let prefix = r#"{"topic":"shop.customers","partition":0,"offset":7,"entity":"customer","mutations":["#;
    let rest = line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line}"));
    rest.strip_suffix("]}\n").unwrap_or_else(|| panic!("{line}")).to_owned()
}

#[test]
fn a_customer_that_changes_its_address_reads_as_the_contract_says() {
    let line = explained(Some(1_000), |account| {
        let write = Effect::Write(string(StringKind::Json, br#"{"id":7}"#), Expiry::In(3_600_000));
        let mutations =
            vec![plain(b"customer:email:old@example.com", Effect::Delete), plain(b"customer:7", write)];
        emit(account, 0, mutations);
    });
    let expected = concat!(
        r#"{"topic":"shop.customers","partition":0,"offset":7,"entity":"customer","mutations":["#,
        r#"{"op":"delete","key":"customer:email:old@example.com"},"#,
        r#"{"op":"write","key":"customer:7","kind":"json","value":{"id":7},"ttl_ms":3600000}]}"#,
        "\n",
    );
    assert_eq!(line, expected);
}

#[test]
fn each_value_is_shown_by_its_kind_and_never_as_broken_text() {
    let write = |value| plain(b"k", Effect::Write(value, Expiry::Never));
    let field = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
    let cases = [
        (
            string(StringKind::Json, b"{\"n\":123456789012345678901234567890.10,\n \"a\":\"\\n\"}"),
            r#""kind":"json","value":{"n":123456789012345678901234567890.10,  "a":"\n"}"#,
        ),
        (string(StringKind::Json, b"{\"cut"), r#""kind":"text","value":"{\"cut""#),
        (string(StringKind::Text, "é\"".as_bytes()), r#""kind":"text","value":"é\"""#),
        (string(StringKind::Text, b"\xff"), r#""kind":"text","value_b64":"/w==""#),
        (string(StringKind::Bytes, b"text"), r#""kind":"bytes","value_b64":"dGV4dA==""#),
        (
            Value::Hash(vec![field(b"id", b"7"), field(b"email", b"a@b")]),
            r#""kind":"hash","value":{"id":"7","email":"a@b"}"#,
        ),
        (Value::Hash(vec![field(b"id", b"\xff")]), r#""kind":"hash","fields_b64":[["aWQ=","/w=="]]"#),
    ];
    for (value, expected) in cases {
        assert_eq!(one(write(value)), format!(r#"{{"op":"write","key":"k",{expected}}}"#));
    }
}

#[test]
fn members_are_shown_beside_their_key_and_with_their_score() {
    let member = |kind, bytes: &[u8], effect| Mutation {
        key: CacheKey::of_member(b"board", Member { kind, bytes: bytes.into() }),
        effect,
        guard: None,
    };
    let write = |value| Effect::Write(value, Expiry::Never);
    let (set, sorted) = (MemberKind::Set, MemberKind::SortedSet);
    let shown = r#""key":"board","kind":"member","member":"7""#;
    for (mutation, expected) in [
        (member(set, b"7", write(Value::member())), format!(r#"{{"op":"write",{shown}}}"#)),
        (
            member(sorted, b"7", write(Value::score(12.5).unwrap())),
            format!(r#"{{"op":"write",{shown},"score":"12.5"}}"#),
        ),
        (member(sorted, b"7", Effect::Delete), format!(r#"{{"op":"delete",{shown}}}"#)),
        (
            member(set, b"\xff", Effect::Delete),
            r#"{"op":"delete","key":"board","kind":"member","member_b64":"/w=="}"#.to_owned(),
        ),
    ] {
        assert_eq!(one(mutation), expected);
    }
}

#[test]
fn expiries_are_relative_or_made_absolute_against_now_and_a_passed_one_deletes() {
    let within = |at_ms, within_ms| Expiry::AtWithin { at_ms, within_ms };
    let write = r#"{"op":"write","key":"k","kind":"text","value":"v""#;
    let cases = [
        (Expiry::Never, format!("{write}}}")),
        (Expiry::In(90_000), format!(r#"{write},"ttl_ms":90000}}"#)),
        (Expiry::At(1_001), format!(r#"{write},"expires_at_ms":1001}}"#)),
        (within(5_000, 10), format!(r#"{write},"expires_at_ms":1010}}"#)),
        (within(1_005, 10), format!(r#"{write},"expires_at_ms":1005}}"#)),
        (Expiry::At(1_000), r#"{"op":"delete","key":"k","expired":true}"#.to_owned()),
        (within(-5, 10), r#"{"op":"delete","key":"k","expired":true}"#.to_owned()),
    ];
    for (expiry, expected) in cases {
        let value = string(StringKind::Text, b"v");
        assert_eq!(one(plain(b"k", Effect::Write(value, expiry))), expected, "{expiry:?}");
    }
}

#[test]
fn without_a_now_the_bound_of_an_expiry_is_shown_beside_it() {
    let line = explained(None, |account| {
        let expiry = Expiry::AtWithin { at_ms: 5, within_ms: 10 };
        emit(account, 0, vec![plain(b"k", Effect::Write(string(StringKind::Text, b"v"), expiry))]);
    });
    assert!(line.contains(r#""expires_at_ms":5,"ttl_at_most_ms":10}"#), "{line}");
}

#[test]
fn guard_and_comparison_and_binary_keys_are_said() {
    let guarded = |version| Mutation {
        guard: Some(Box::new(Guard { version, owner: RowId::new(b"7") })),
        ..plain(b"k", Effect::Delete)
    };
    let delete_if = |value| plain(b"k", Effect::DeleteIf(value));
    let cases = [
        (
            guarded(Version::from_parts(&[1, 255])),
            r#"{"op":"delete","key":"k","guard":"000000000000000100000000000000ff"}"#,
        ),
        (guarded(Version::NONE), r#"{"op":"delete","key":"k","guard":"none"}"#),
        (guarded(Version::NONE.in_epoch(2)), r#"{"op":"delete","key":"k","guard":"g2 none"}"#),
        (guarded(Version::from_offset(255)), r#"{"op":"delete","key":"k","guard":"-00000000000000ff"}"#),
        (delete_if(string(StringKind::Text, b"7")), r#"{"op":"delete","key":"k","only_if":"7"}"#),
        (
            delete_if(string(StringKind::Json, br#"{"id":7}"#)),
            r#"{"op":"delete","key":"k","only_if":"{\"id\":7}"}"#,
        ),
        (delete_if(string(StringKind::Bytes, b"\xff")), r#"{"op":"delete","key":"k","only_if_b64":"/w=="}"#),
        (plain(b"\xff", Effect::Delete), r#"{"op":"delete","key_b64":"/w=="}"#),
    ];
    for (mutation, expected) in cases {
        assert_eq!(one(mutation), expected);
    }
}

#[test]
fn several_changes_of_a_record_are_one_object_per_entity() {
    let line = explained(None, |account| {
        emit(account, 1, vec![plain(b"l:1", Effect::Delete)]);
        emit(account, 0, Vec::new());
        emit(account, 1, vec![plain(b"l:2", Effect::Delete)]);
    });
    let expected = concat!(
        r#"{"topic":"shop.customers","partition":0,"offset":7,"entity":"loyalty","mutations":["#,
        r#"{"op":"delete","key":"l:1"},{"op":"delete","key":"l:2"}]}"#,
        "\n",
        r#"{"topic":"shop.customers","partition":0,"offset":7,"entity":"customer","mutations":[]}"#,
        "\n",
    );
    assert_eq!(line, expected);
}

#[test]
fn errors_and_ignored_records_say_so_and_show_the_deletes_that_an_error_causes() {
    let failure = |entity, deletes| {
        Emitted::Failed(Failure {
            entity,
            stage: Stage::Handle,
            kind: "key_column",
            detail: "key column \"id\" is null".into(),
            deletes,
            rows: Default::default(),
        })
    };
    let line = explained(None, |account| {
        account.add(Emitted::Ignored { entity: None, why: Ignored::Heartbeat });
        account.add(failure(Some(0), vec![plain(b"customer:7", Effect::Delete)]));
        account.add(failure(Some(1), Vec::new()));
        account.add(failure(Some(1), Vec::new()));
    });
    let error = r#"{"stage":"handle","kind":"key_column","detail":"key column \"id\" is null"}"#;
    let at = r#"{"topic":"shop.customers","partition":0,"offset":7"#;
    let expected = [
        format!(r#"{at},"ignored":"heartbeat"}}"#),
        format!(
            r#"{at},"entity":"customer","mutations":[{{"op":"delete","key":"customer:7"}}],"error":{error}}}"#
        ),
        format!(r#"{at},"entity":"loyalty","error":{error},"more_errors":[{error}]}}"#),
    ];
    assert_eq!(line.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_condition_that_could_not_be_evaluated_is_said_beside_the_delete() {
    let line = explained(None, |account| {
        emit(account, 0, vec![plain(b"customer:7", Effect::Delete)]);
        account.add_undecided(0, Some("customer:{id}"), "no such key: age");
        account.add_undecided(0, None, "no such key: deleted_at");
    });
    let undecided = concat!(
        r#""mutations":[{"op":"delete","key":"customer:7"}],"undecided":["#,
        r#"{"key":"customer:{id}","reason":"no such key: age"},{"reason":"no such key: deleted_at"}]}"#,
        "\n",
    );
    assert!(line.ends_with(undecided), "{line}");
}

#[test]
fn packed_values_are_shown_readable_with_how_they_are_packed() {
    let json = format!(r#"{{"id":7,"price":"12.50","t":"{}"}}"#, "x".repeat(200));
    let compress = |compression| Some((compression, 100));
    for (packing, kind, fields) in [
        (
            Packing { msgpack: true, compress: None },
            StringKind::Json,
            format!(r#""kind":"json","encoding":"msgpack","value":{json}"#),
        ),
        (
            Packing { msgpack: true, compress: compress(Compression::Zstd) },
            StringKind::Json,
            format!(r#""kind":"json","encoding":"msgpack","compress":"zstd","value":{json}"#),
        ),
        (
            Packing { msgpack: false, compress: compress(Compression::Lz4) },
            StringKind::Text,
            format!(r#""kind":"text","compress":"lz4","value":{}"#, serde_json::to_string(&json).unwrap()),
        ),
        (
            Packing { msgpack: false, compress: compress(Compression::Lz4) },
            StringKind::Bytes,
            format!(r#""kind":"bytes","compress":"lz4","value_b64":"{}""#, STANDARD.encode(&json)),
        ),
    ] {
        let value = packing.pack(string(kind, json.as_bytes())).unwrap();
        let Value::String { bytes, .. } = &value else { panic!("{value:?}") };
        assert_ne!(bytes, json.as_bytes());
        let shown = serde_json::to_string(&ShownValue::of(&value)).unwrap();
        assert_eq!(shown, format!("{{{fields}}}"));
    }
}
