//! Arrays, maps and structs, and the bounds over the whole of a value.

use std::sync::Arc;

use super::*;

#[test]
fn composites_follow_the_same_rules_inside() {
    for (spec, raw, expected) in [
        ("array(int)", r#"[ 1 ,null, "9007199254740993" ]"#, "[1,null,9007199254740993]"),
        ("array(decimal(2))", r#"["MDk=","nA=="]"#, r#"["123.45","-1.00"]"#),
        ("array(date)", "[20028,-719163]", r#"["2024-11-01","0000-12-31"]"#),
        ("array(int)", "[[1,2],[3,[]]]", "[[1,2],[3,[]]]"),
        ("array(array(bool))", "[[1],[0]]", "[[true],[false]]"),
        ("array(text)", r#"["a,]","\"",""]"#, r#"["a,]","\"",""]"#),
        ("array(json)", r#"["[1]",[1]]"#, r#"["[1]","[1]"]"#),
        ("array(untyped)", r#"[{"a": 1.0}, 2E0]"#, r#"[{"a": 1.0},2E0]"#),
        ("array(int)", "[]", "[]"),
        ("map(text)", r#"{"a": "1", "b" :null}"#, r#"{"a":"1","b":null}"#),
        ("map(int, date)", r#"[[1, 0],[2,null]]"#, r#"[[1,"1970-01-01"],[2,null]]"#),
        ("map(decimal)", "{}", "{}"),
    ] {
        assert_eq!(json(&kind(spec), Json(raw)).as_deref(), Ok(expected), "{spec}");
        assert_eq!(text(&kind(spec), Json(raw)).as_deref(), Ok(expected), "text of a composite is its JSON");
    }
    assert_refused(
        "array(int)",
        &[Json("[1,]"), Json(r#"["x"]"#), Json("{}"), Text("{1,2}"), Int(1), Json("[1 2]")],
    );
    assert_refused("map(text)", &[Json("1"), Json("[[1]]"), Json("[[1,2,3]]"), Json("[1]"), Bytes(&[1])]);
}

#[test]
fn structs_render_their_fields_by_name() {
    let point = Kind::Struct(Arc::from([
        ("x".to_owned(), Kind::Double),
        ("wkb".to_owned(), Kind::Bytes),
        ("srid".to_owned(), Kind::Int),
    ]));
    let raw = Json(r#"{"x":1.0E1,"y":2.50,"wkb":"AP8=","srid":null}"#);
    assert_eq!(json(&point, raw).as_deref(), Ok(r#"{"x":1.0E1,"y":2.50,"wkb":"AP8=","srid":null}"#));
    let hex = RenderStyle { bytes: BytesStyle::Hex, ..STYLE };
    assert_eq!(
        rendered(render_json, &point, raw, hex).as_deref(),
        Ok(r#"{"x":1.0E1,"y":2.50,"wkb":"00ff","srid":null}"#)
    );
    assert!(json(&point, Json("[]")).is_err());
}

#[test]
fn nesting_and_made_up_zeros_are_bounded_over_the_whole_value() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(json(&kind("array(int)"), Json(&deep(64))), Ok(deep(64)));
    assert!(json(&kind("array(int)"), Json(&deep(65))).is_err());
    assert!(json(&kind("array(int)"), Json(&deep(100_000))).is_err());
    assert_eq!(json(&Kind::Untyped, Json(&deep(100_000))), Ok(deep(100_000)));

    assert_eq!(json(&kind("array(decimal)"), Json("[1E+8000,1E+8000]")).unwrap().len(), 16_009);
    assert!(json(&kind("array(decimal)"), Json("[1E+9000,1E+9000]")).is_err());
}
