use super::*;
use crate::change::{Change, Op, Row};
use crate::entity::handler::RowImage;
use crate::entity::testing::{change_of, record, row};
use crate::types::RenderStyle;

/// Three quarters of what a thread gets unless it asks for more.
const EVALUATION_STACK_BYTES: usize = 1_536 << 10;

fn evaluate(condition: &str, change: &Change<'_>) -> Truth {
    let empty = Row::default();
    let record = record();
    let row = change.after.as_ref().unwrap_or(&empty);
    let image = RowImage { row, change, record: &record, style: RenderStyle::default(), stored: false };
    Condition::compile(condition).unwrap_or_else(|error| panic!("{condition}: {error}")).evaluate(&image)
}

fn update() -> Change<'static> {
    let before = r#"{"id":7,"status":"new","n":null}"#;
    let after = r#"{"id":7,"status":"active","n":null,"score":2.5,"big":18446744073709551615,
        "huge":99999999999999999999,"ok":true,"deleted_at":null,"bio":"<unavailable>","e-mail":"a@x",
        "tags":["a","b"],"address":{"city":"Ulm","lines":[1,null]}}"#;
    let mut change = change_of(Op::Update, r#"{"id":7}"#, before, after);
    change.source = Some(r#"{"table":"customers","lsn":24023128,"snapshot":"false","xmin":null}"#);
    change
}

#[test]
fn conditions_are_decided_over_rows_op_and_source() {
    for (condition, expected) in [
        ("after.status == 'active'", Truth::True),
        ("after.status == 'closed'", Truth::False),
        ("after.status != 'closed' && after.id > 5", Truth::True),
        ("after['e-mail'] == 'a@x'", Truth::True),
        ("after.id == 7.0 && after.score > 2 && after.ok", Truth::True),
        ("after.big == 18446744073709551615u", Truth::True),
        ("after.status in ['active', 'new']", Truth::True),
        ("after.status in ['closed']", Truth::False),
        ("'a' in after.tags && after.tags.exists(t, t == 'b')", Truth::True),
        ("after.address.city == 'Ulm' && size(after.address.lines) == 2", Truth::True),
        ("after.status.startsWith('act') && size(after.status) == 6", Truth::True),
        ("before.status == 'new' && op == 'u'", Truth::True),
        ("before.status != after.status", Truth::True),
        ("source.topic == 'shop.public.customers' && source.partition == 1", Truth::True),
        ("source.offset == 3 && source.timestamp_ms == 2000000", Truth::True),
        ("source.table == 'customers' && source.lsn > 24023127 && source.xmin == null", Truth::True),
        ("has(after.status) && !has(after.gone)", Truth::True),
        ("after.status == 'x' ? false : true", Truth::True),
    ] {
        assert_eq!(evaluate(condition, &update()), expected, "{condition}");
    }
}

#[test]
fn columns_may_be_named_like_types_and_functions() {
    let after = r#"{"type":"a","size":"b","string":"c","map":"d","op":"e","after":"f","in":"g","math":"h"}"#;
    let change = change_of(Op::Create, "", "", after);
    for condition in [
        "after.type == 'a' && after.size == 'b' && after.string == 'c'",
        "after.map == 'd' && after.op == 'e' && after.after == 'f'",
        "after['in'] == 'g' && after.math.startsWith('h')",
    ] {
        assert_eq!(evaluate(condition, &change), Truth::True, "{condition}");
    }
}

#[test]
fn null_can_be_asked_for_whatever_the_column_holds() {
    for (condition, expected) in [
        ("after.deleted_at == null", Truth::True),
        ("null == after.deleted_at", Truth::True),
        ("after.deleted_at != null", Truth::False),
        ("after.status == null", Truth::False),
        ("after.status != null", Truth::True),
        ("after.id != null && after.score != null && after.ok != null && after.tags != null", Truth::True),
        ("after.address == null || after.big == null", Truth::False),
        ("after == null", Truth::False),
        ("before != null && after != null", Truth::True),
        ("source != null", Truth::True),
    ] {
        assert_eq!(evaluate(condition, &update()), expected, "{condition}");
    }
    let create = change_of(Op::Create, r#"{"id":7}"#, "", r#"{"id":7}"#);
    assert_eq!(evaluate("before == null && op == 'c'", &create), Truth::True);
}

#[test]
fn what_cannot_be_evaluated_is_undecidable_and_says_why_without_values() {
    for (condition, words) in [
        ("after.deleted_at == 'x'", "== cannot be applied to null and string"),
        ("after.deleted_at != 'x'", "!= cannot be applied"),
        ("after.deleted_at in ['x']", "cannot be applied"),
        ("after.n > 5", "cannot be applied"),
        ("after.status == 5", "string and int"),
        ("after.status > 5", "cannot be applied"),
        ("after.gone == 'x'", "there is no gone"),
        ("after.gone == null", "there is no gone"),
        ("after[after.status] == null", "a column is missing"),
        ("after.bio == 'x'", "does not hold bio"),
        ("after.bio != null", "does not hold bio"),
        ("has(after.bio)", "does not hold bio"),
        ("size(after.bio) > 0", "does not hold bio"),
        ("after.huge > 1", "does not hold huge"),
        ("after.status", "neither true nor false"),
        ("after == before", "found row"),
        ("after.id / 0 == 1", "cannot be evaluated"),
        ("after.ok && after.gone == 1", "gone"),
        ("source.gone == 1", "gone"),
        ("size(after) > 1", "cannot be applied"),
    ] {
        let Truth::Undecidable(reason) = evaluate(condition, &update()) else {
            panic!("{condition} was decided: {:?}", evaluate(condition, &update()));
        };
        assert!(reason.contains(words), "{condition}: {reason}");
        assert!(!reason.contains("active"), "{condition}: {reason}");
    }
}

#[test]
fn what_decides_without_the_missing_part_decides() {
    for (condition, expected) in [
        ("after.ok || after.bio == 'x'", Truth::True),
        ("after.bio == 'x' || after.ok", Truth::True),
        ("after.status == 'closed' && after.gone == 1", Truth::False),
        ("after.gone == 1 && after.status == 'closed'", Truth::False),
    ] {
        assert_eq!(evaluate(condition, &update()), expected, "{condition}");
    }
}

#[test]
fn what_is_wrong_is_found_when_it_is_compiled() {
    for (condition, words) in [
        ("", "not a CEL expression"),
        ("after.status ==", "not a CEL expression"),
        ("status == 'x'", "after.status"),
        ("afte.status == 'x'", "unknown name"),
        ("after.status.matchez('x')", "no function \"matchez\""),
        ("lower(after.status) == 'x'", "no function \"lower\""),
        ("Some{a: 1} == null", "structs"),
        ("[1].map(x, y)[0] == 1", "unknown name \"y\""),
    ] {
        let error = Condition::compile(condition).map(|_| ()).unwrap_err();
        assert!(error.problem.contains(words), "{condition}: {error}");
    }
}

#[test]
fn length_and_depth_are_bounded_before_they_overflow_a_stack() {
    let nested =
        |open: &str, close: &str, count: usize| format!("{}true{}", open.repeat(count), close.repeat(count));
    for text in [
        nested("(", ")", 2_000),
        nested("[", "]", 1_000),
        nested("{1:", "}", 800),
        nested("!(", ")", 800),
        nested("size(", ")", 500),
        nested("after[", "]", 500),
        format!("{}1 == 1", "1+".repeat(2_000)),
        format!("{}true", "true?true:".repeat(400)),
        format!("after{} == 1", ".a".repeat(1_900)),
        format!("after{} == 1", "[0]".repeat(1_200)),
        format!("after{} == 1", ".a()".repeat(900)),
        nested("[1].all(x, ", ")", 300),
        "x".repeat(CONDITION_BYTES_MAX + 1),
        format!("{}\"))))))))))))))))\"", "(".repeat(2_000)),
    ] {
        let _ = Condition::compile(&text).map(|_| panic!("too deep: {text}"));
    }
    // The parser folds these.
    for text in
        [nested("(", ")", 20), format!("{}true", "!".repeat(4_000)), format!("{}1 == 1", "-".repeat(4_000))]
    {
        assert!(Condition::compile(&text).is_ok(), "{text}");
    }
}

#[test]
fn the_deepest_condition_evaluates_on_a_worker_s_stack() {
    // The chains that nest deepest for each kind of expression that evaluation recurses into.
    let deepest = CONDITION_DEPTH_MAX;
    let texts = [
        format!("{}1 == 1", "1+".repeat(deepest - 3)),
        format!("{}true{}", "[1].all(x, ".repeat(deepest / 2 - 1), ")".repeat(deepest / 2 - 1)),
        format!("{}true", "true?true:".repeat(deepest - 2)),
        format!("size({}1{}) == 1", "[".repeat(deepest - 4), "]".repeat(deepest - 4)),
    ];
    for text in texts {
        let condition = Condition::compile(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let evaluated = std::thread::Builder::new().stack_size(EVALUATION_STACK_BYTES).spawn(move || {
            let change = change_of(Op::Create, "", "", "{}");
            let after = row("{}");
            let record = record();
            let style = RenderStyle::default();
            let image = RowImage { row: &after, change: &change, record: &record, style, stored: false };
            condition.evaluate(&image)
        });
        evaluated.unwrap().join().unwrap();
    }
}

#[test]
fn conditions_cross_threads_and_are_cheap_to_clone() {
    fn crosses<T: Send + Sync + Clone + std::fmt::Debug>() {}
    crosses::<Condition>();
}
