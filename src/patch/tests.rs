//! Overlays by example, and the laws of [`Patch::then`].

use proptest::prelude::*;

use super::*;

fn json(text: &str) -> Value {
    Value::String { kind: StringKind::Json, bytes: text.into() }
}

fn hash(fields: &[(&str, &str)]) -> Value {
    Value::Hash(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}

fn field(name: &str, told: Told) -> Field {
    Field { name: name.into(), told }
}

fn value(text: &str) -> Told {
    Told::Value(text.into())
}

#[test]
fn members_that_are_kept_keep_their_bytes_and_the_event_s_order() {
    let fields = vec![
        field("\"id\"", value("7")),
        field("\"n\"", Told::Kept),
        field("\"big\"", Told::Kept),
        field("\"t\"", value("null")),
    ];
    let patch = Patch::new(PatchShape::Json, fields, Others::Dropped);
    let held = json(r#"{"big":123456789012345678901234567890, "n":12.50,"id":6,"t":"é\u00e9","old":1}"#);
    let expected = json(r#"{"id":7,"n":12.50,"big":123456789012345678901234567890,"t":null}"#);
    assert_eq!(patch.overlay(&held), Some(expected));
}

#[test]
fn where_the_others_stay_the_order_is_the_held_value_s() {
    let fields =
        vec![field("\"id\"", value("7")), field("\"new\"", value("[1]")), field("\"n\"", value("2"))];
    let patch = Patch::new(PatchShape::Json, fields, Others::Kept);
    let held = json(r#"{"n":1,"old":"x","id":7}"#);
    assert_eq!(patch.overlay(&held), Some(json(r#"{"n":2,"old":"x","id":7,"new":[1]}"#)));
}

#[test]
fn a_field_of_a_hash_that_became_null_goes_and_one_that_was_null_stays_so() {
    let fields =
        vec![field("id", value("7")), field("a", Told::Gone), field("b", Told::Kept), field("c", Told::Kept)];
    for (others, expected) in [
        (Others::Dropped, hash(&[("id", "7"), ("c", "C")])),
        (Others::Kept, hash(&[("c", "C"), ("old", "1"), ("id", "7")])),
    ] {
        let patch = Patch::new(PatchShape::Hash, fields.clone(), others);
        assert_eq!(
            patch.overlay(&hash(&[("a", "A"), ("c", "C"), ("old", "1")])),
            Some(expected),
            "{others:?}"
        );
    }
}

#[test]
fn what_cannot_be_overlaid_leaves_no_key() {
    let kept = Patch::new(PatchShape::Json, vec![field("\"a\"", Told::Kept)], Others::Kept);
    for held in [json("{}"), json("{\"b\":1}"), json("no JSON"), json("[1]"), hash(&[("\"a\"", "1")])] {
        assert_eq!(kept.overlay(&held), None);
    }
    let gone = Patch::new(PatchShape::Hash, vec![field("a", Told::Gone)], Others::Kept);
    assert_eq!(gone.overlay(&hash(&[("a", "1")])), None);
    assert_eq!(gone.overlay(&json("{}")), None);
}

fn told(shape: PatchShape) -> impl Strategy<Value = Option<Told>> {
    let gone = if shape == PatchShape::Hash { 1 } else { 0 };
    prop_oneof![
        3 => (0..9_u8).prop_map(|n| Some(Told::Value(vec![b'0' + n]))),
        2 => Just(Some(Told::Kept)),
        gone => Just(Some(Told::Gone)),
        1 => Just(None),
    ]
}

fn patch(shape: PatchShape) -> impl Strategy<Value = Patch> {
    let others = prop_oneof![Just(Others::Dropped), Just(Others::Kept)];
    (proptest::collection::vec(told(shape), 4), others, any::<bool>()).prop_map(
        move |(told, others, turned)| {
            let mut fields: Vec<Field> = (0..)
                .zip(told)
                .filter_map(|(n, told)| Some(Field { name: name(shape, n), told: told? }))
                .collect();
            if shape == PatchShape::Hash {
                // A row's hash always has its key: one that has no field in between is gone, and stays so.
                fields.push(field("id", value("7")));
            }
            if turned {
                fields.reverse();
            }
            Patch::new(shape, fields, others)
        },
    )
}

fn name(shape: PatchShape, n: u8) -> Vec<u8> {
    match shape {
        PatchShape::Json => vec![b'"', b'a' + n, b'"'],
        PatchShape::Hash => vec![b'a' + n],
    }
}

fn held(shape: PatchShape) -> impl Strategy<Value = Value> {
    proptest::collection::vec(proptest::option::weighted(0.8, 0..9_u8), 5).prop_map(move |values| {
        let fields: Vec<(Vec<u8>, Vec<u8>)> =
            (0..).zip(values).filter_map(|(n, value)| Some((name(shape, n), vec![b'0' + value?]))).collect();
        match shape {
            PatchShape::Hash => Value::Hash(fields),
            PatchShape::Json => {
                let members: Vec<(&[u8], &[u8])> = fields.iter().map(|(n, v)| (&n[..], &v[..])).collect();
                Value::String { kind: StringKind::Json, bytes: object(&members) }
            }
        }
    })
}

fn in_any_order(value: Option<Value>) -> Option<Value> {
    value.map(|value| match value {
        Value::Hash(mut fields) => {
            fields.sort();
            Value::Hash(fields)
        }
        other @ (Value::String { .. } | Value::Member { .. }) => other,
    })
}

fn check(held: &Value, first: &Patch, second: &Patch) -> Result<(), TestCaseError> {
    let one_by_one = first.overlay(held).and_then(|value| second.overlay(&value));
    let at_once = first.then(second).and_then(|patch| patch.overlay(held));
    prop_assert_eq!(in_any_order(at_once), in_any_order(one_by_one.clone()));
    if first.is_covered_by(second) {
        prop_assert_eq!(in_any_order(second.overlay(held)), in_any_order(one_by_one));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn two_patches_of_json_are_one(
        held in held(PatchShape::Json), first in patch(PatchShape::Json), second in patch(PatchShape::Json)
    ) {
        check(&held, &first, &second)?;
    }

    #[test]
    fn two_patches_of_a_hash_are_one(
        held in held(PatchShape::Hash), first in patch(PatchShape::Hash), second in patch(PatchShape::Hash)
    ) {
        check(&held, &first, &second)?;
    }

    #[test]
    fn no_bytes_make_the_scanner_fail(bytes in "[{}\\[\\]\",:\\\\a1 ]{0,24}") {
        scan::members(bytes.as_bytes());
    }
}
