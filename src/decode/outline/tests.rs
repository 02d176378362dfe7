//! Outlines against reading.

use proptest::prelude::*;

use super::*;
use crate::decode::debezium::Envelope;

/// An envelope, often of the same outline as the one before: few names, few shapes, and white space and what no
/// outline can tell now and then.
fn envelope() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("1".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        Just("\"x\\\"é\"".to_owned()),
        Just("{\"a\":[1,{}]}".to_owned()),
        Just("\"__debezium_unavailable_value\"".to_owned()),
    ];
    let object = |names: &'static [&'static str], value: BoxedStrategy<String>| {
        let member =
            move |name: &'static str| value.clone().prop_map(move |value| format!("\"{name}\":{value}"));
        let members: Vec<_> = names.iter().map(|name| member(name)).collect();
        (members, prop_oneof![9 => Just(","), 1 => Just(" , ")])
            .prop_map(|(members, comma)| format!("{{{}}}", members.join(comma)))
    };
    let value = value.boxed();
    let row = || {
        prop_oneof![
            8 => object(&["id", "b"], value.clone()),
            2 => object(&["id", "b", "c"], value.clone()),
            1 => object(&["id", "id"], value.clone()),
            1 => object(&["\\u0069d"], value.clone()),
            1 => Just("{}".to_owned()),
            3 => Just("null".to_owned()),
            1 => value.clone(),
        ]
    };
    let source = prop_oneof![
        8 => object(&["connector", "ts_ms", "lsn", "table"], value.clone()),
        1 => Just("null".to_owned()),
        1 => value.clone(),
    ];
    let transaction = prop_oneof![4 => Just("null"), 1 => Just("{\"epoch\":1,\"rank\":2,\"total_order\":3}"), 1 => Just("7")];
    let op = prop_oneof![4 => Just("\"u\""), 1 => Just("\"c\""), 1 => Just("null")];
    let tail = prop_oneof![9 => Just(""), 1 => Just(" "), 1 => Just("x"), 1 => Just(",\"after\":null}")];
    (row(), row(), source, op, transaction, tail).prop_map(|(before, after, source, op, transaction, tail)| {
        format!("{{\"before\":{before},\"after\":{after},\"source\":{source},\"op\":{op},\"ts_ms\":1,\"transaction\":{transaction}}}{tail}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_outline_gives_what_reading_gives_or_nothing(texts in prop::collection::vec(envelope(), 1..100)) {
        let (mut outlines, mut rows) = (Outlines::default(), Outlines::default());
        for text in texts {
            let document = Document::bare(&text);
            let read = Envelope::read(document).map(|envelope| format!("{envelope:?}"));
            let scanned = Envelope::scan(document, &mut outlines).map(|envelope| format!("{envelope:?}"));
            prop_assert_eq!(scanned, read, "{}", text);
            let read = rows::read_document(document).map(|row| format!("{row:?}"));
            let scanned = rows::scan_document(document, &mut rows).map(|row| format!("{row:?}"));
            prop_assert_eq!(scanned, read, "{}", text);
        }
    }
}

/// An envelope of one table, whose source block is mostly the same.
fn usual() -> impl Strategy<Value = String> {
    let rarely = |usual: &'static str, other: &'static str| prop_oneof![40 => Just(usual), 1 => Just(other)];
    let fields = (
        any::<u8>(),
        rarely("1", "22"),
        rarely("\"users\"", "\"user\""),
        rarely("null", "\"true\""),
        rarely("\"u\"", "\"c\""),
    );
    fields.prop_map(|(id, ts_ms, table, snapshot, op)| {
        format!(
            r#"{{"before":null,"after":{{"id":{id},"b":"x"}},"source":{{"ts_ms":{ts_ms},"connector":"mysql","table":{table},"snapshot":{snapshot}}},"op":{op},"ts_ms":{ts_ms}}}"#
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_was_always_the_same_is_compared_and_still_the_record_s_own(texts in prop::collection::vec(usual(), 100..200)) {
        let mut outlines = Outlines::default();
        for text in &texts {
            let document = Document::bare(text);
            let read = Envelope::read(document).map(|envelope| format!("{envelope:?}"));
            let scanned = Envelope::scan(document, &mut outlines).map(|envelope| format!("{envelope:?}"));
            prop_assert_eq!(scanned, read, "{}", text);
        }
        let is_settled = |outline: &Outline| outline.fitted == SETTLES_AFTER && outline.steps.len() < 8;
        prop_assert!(outlines.known.iter().any(is_settled));
    }
}

fn fits(outlines: &mut Outlines, text: &str) -> bool {
    outlines.read(Document::bare(text), Whole::Row).is_some()
}

#[test]
fn records_that_take_turns_each_find_their_outline_and_endless_variety_is_given_up() {
    let mut outlines = Outlines::default();
    let create = |id: usize| format!(r#"{{"id":{id},"a":null}}"#);
    let delete = |id: usize| format!(r#"{{"id":{id}}}"#);
    for text in [create(1), delete(1)] {
        assert!(!fits(&mut outlines, &text));
        outlines.learn(Document::bare(&text), Whole::Row);
    }
    for id in 2..50 {
        assert!(fits(&mut outlines, &create(id)) && fits(&mut outlines, &delete(id)));
    }
    for other in 0..1_000 {
        let text = format!(r#"{{"c{other}":1}}"#);
        assert!(!fits(&mut outlines, &text));
        outlines.learn(Document::bare(&text), Whole::Row);
    }
    assert_eq!(outlines.known.len(), OUTLINES_MAX);
    let mut tried = 0;
    while !fits(&mut outlines, &create(1)) {
        outlines.learn(Document::bare(&create(1)), Whole::Row);
        tried += 1;
    }
    assert!((2..=2 * TRY_EVERY).contains(&tried), "{tried}");
}

#[test]
fn an_object_too_wide_for_an_outline_is_read_as_it_comes() {
    let members: Vec<String> = (0..=STEPS_MAX).map(|index| format!("\"c{index}\":0")).collect();
    let text = format!("{{{}}}", members.join(","));
    let mut outlines = Outlines::default();
    outlines.learn(Document::bare(&text), Whole::Row);
    assert!(outlines.known.is_empty());
}
