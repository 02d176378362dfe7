//! What every type looks like in JSON, text and keys: the table of [`render_json`], at the values
//! that break implementations.

mod composites;
mod numbers;
mod times;

use super::Raw::{Bool, Bytes, Double, Int, Json, Text};
use super::*;

const STYLE: RenderStyle =
    RenderStyle { decimal: DecimalStyle::Text, time: TimeStyle::Rfc3339, bytes: BytesStyle::Base64 };

type Render = fn(Typed<'_>, RenderStyle, &mut Vec<u8>) -> Result<(), ValueError>;

fn rendered(render: Render, kind: &Kind, raw: Raw<'_>, style: RenderStyle) -> Result<String, ValueError> {
    let mut out = b"before ".to_vec();
    let outcome = render(Typed { raw, kind }, style, &mut out);
    let text = String::from_utf8(out).unwrap();
    let text = text.strip_prefix("before ").unwrap().to_owned();
    if outcome.is_err() {
        assert_eq!(text, "", "an error leaves the buffer as it was");
    }
    outcome.map(|()| text)
}

fn json(kind: &Kind, raw: Raw<'_>) -> Result<String, ValueError> {
    rendered(render_json, kind, raw, STYLE)
}

fn text(kind: &Kind, raw: Raw<'_>) -> Result<String, ValueError> {
    rendered(render_text, kind, raw, STYLE)
}

fn key(kind: &Kind, raw: Raw<'_>) -> Result<String, ValueError> {
    rendered(render_key, kind, raw, STYLE)
}

fn kind(spec: &str) -> Kind {
    Kind::parse(spec).unwrap()
}

/// Each row: a raw part, and what it is in JSON; text and key are the same without quotes.
#[track_caller]
fn assert_golden(spec: &str, rows: &[(Raw<'_>, &str)]) {
    let kind = kind(spec);
    for (raw, expected) in rows {
        let plain = match serde_json::from_str::<serde_json::Value>(expected) {
            Ok(serde_json::Value::String(text)) => text,
            Ok(_) => (*expected).to_owned(),
            Err(error) => panic!("{expected} is no JSON: {error}"),
        };
        assert_eq!(json(&kind, *raw).as_deref(), Ok(*expected), "{spec}, {raw:?}, in JSON");
        assert_eq!(text(&kind, *raw).as_deref(), Ok(&*plain), "{spec}, {raw:?}, as text");
        assert_eq!(key(&kind, *raw).as_deref(), Ok(&*plain), "{spec}, {raw:?}, in a key");
    }
}

#[track_caller]
fn assert_refused(spec: &str, raws: &[Raw<'_>]) {
    let kind = kind(spec);
    for raw in raws {
        for render in [render_json, render_text, render_key] {
            assert!(rendered(render, &kind, *raw, STYLE).is_err(), "{spec}, {raw:?}");
        }
    }
}

#[test]
fn untyped_passes_on_as_it_came() {
    assert_golden(
        "untyped",
        &[
            (Json("1.50E+3"), "1.50E+3"),
            (Json("18446744073709551616"), "18446744073709551616"),
            (Json("true"), "true"),
            (Json(r#""a\u00e9\n""#), r#""a\u00e9\n""#),
            (Json(r#"{ "a" : [1, 2.0] }"#), r#"{ "a" : [1, 2.0] }"#),
            (Json("[]"), "[]"),
            (Bool(false), "false"),
            (Int(i64::MIN), "-9223372036854775808"),
            (Double(0.1), "0.1"),
            (Text("\"q\""), r#""\"q\"""#),
            (Bytes(&[0, 0xff]), r#""AP8=""#),
        ],
    );
}

#[test]
fn null_is_null_in_json_empty_in_text_and_an_error_in_a_key() {
    for spec in ["untyped", "int", "decimal(2)", "date", "array(int)", "bytes"] {
        assert_eq!(json(&kind(spec), Json("null")).as_deref(), Ok("null"));
        assert_eq!(text(&kind(spec), Json("null")).as_deref(), Ok(""));
        assert!(key(&kind(spec), Json("null")).is_err());
    }
}

#[test]
fn texts_keep_their_characters() {
    assert_golden(
        "text",
        &[
            (Json(r#""""#), r#""""#),
            (Json(r#""a\"\u00e9\/""#), r#""a\"\u00e9\/""#),
            (Json("12.50"), r#""12.50""#),
            (Json("false"), r#""false""#),
            (Json(r#"["a"]"#), r#""[\"a\"]""#),
            (Text("a\"\n\u{1}"), r#""a\"\n\u0001""#),
            (Bytes("é".as_bytes()), r#""é""#),
            (Int(-1), r#""-1""#),
            (Double(1.5), r#""1.5""#),
            (Double(f64::INFINITY), r#""Infinity""#),
            (Bool(true), r#""true""#),
        ],
    );
    assert_refused("text", &[Bytes(&[0xff])]);
    assert_eq!(json(&Kind::Text, Json(r#""\ud800""#)).as_deref(), Ok(r#""\ud800""#));
    assert!(text(&Kind::Text, Json(r#""\ud800""#)).is_err(), "no UTF-8 holds an unpaired surrogate");
}

#[test]
fn json_columns_stay_text_and_uuids_get_their_dashes() {
    assert_golden(
        "json",
        &[
            (Json(r#""{\"b\": 1.0, \"a\": 2}""#), r#""{\"b\": 1.0, \"a\": 2}""#),
            (Json(r#"{"b":1.0}"#), r#""{\"b\":1.0}""#),
            (Text("[1, 2]"), r#""[1, 2]""#),
            (Json("5"), r#""5""#),
        ],
    );
    assert_golden(
        "uuid",
        &[
            (Json(r#""b68a35a7-17ad-35b3-af2a-ae46edb4545a""#), r#""b68a35a7-17ad-35b3-af2a-ae46edb4545a""#),
            (
                Bytes(&[
                    0xb6, 0x8a, 0x35, 0xa7, 0x17, 0xad, 0x35, 0xb3, 0xaf, 0x2a, 0xae, 0x46, 0xed, 0xb4, 0x54,
                    0x5a,
                ]),
                r#""b68a35a7-17ad-35b3-af2a-ae46edb4545a""#,
            ),
        ],
    );
    assert_refused("uuid", &[Bytes(&[0; 15])]);
}

#[test]
fn bytes_are_base64_or_hexadecimal() {
    assert_golden(
        "bytes",
        &[
            (Json(r#""AP8=""#), r#""AP8=""#),
            (Json(r#""\/\/79""#), r#""//79""#),
            (Json(r#""__79""#), r#""//79""#),
            (Json(r#""AP8""#), r#""AP8=""#),
            (Json(r#""""#), r#""""#),
            (Bytes(&[0, 0xff]), r#""AP8=""#),
        ],
    );
    assert_golden(
        "bytes_hex",
        &[(Json(r#""00fF""#), r#""AP8=""#), (Text("\\x00ff"), r#""AP8=""#), (Bytes(&[0, 0xff]), r#""AP8=""#)],
    );
    let hex = RenderStyle { bytes: BytesStyle::Hex, ..STYLE };
    for (spec, raw) in
        [("bytes", Json(r#""AP8=""#)), ("bytes_hex", Text("00FF")), ("bytes", Bytes(&[0, 255]))]
    {
        assert_eq!(rendered(render_json, &kind(spec), raw, hex).as_deref(), Ok(r#""00ff""#));
        assert_eq!(rendered(render_key, &kind(spec), raw, hex).as_deref(), Ok("00ff"));
    }
    assert_refused(
        "bytes",
        &[Json(r#""A""#), Json(r#""é""#), Json("1"), Json("[0,255]"), Bool(true), Double(1.0)],
    );
    assert_refused("bytes_hex", &[Text("0"), Text("0g"), Json("12"), Text("é"), Json("[]")]);
}

#[test]
fn bits_are_digits_with_the_most_significant_first() {
    assert_golden(
        "bits(10)",
        &[
            (Json(r#""AQI=""#), r#""1000000001""#),
            (Bytes(&[0x01]), r#""0000000001""#),
            (Bytes(&[0x01, 0x80]), r#""1000000000000001""#),
            (Json("5"), r#""0000000101""#),
            (Text("0000000101"), r#""0000000101""#),
        ],
    );
    assert_golden(
        "bits",
        &[
            (Json(r#""AQ==""#), r#""00000001""#),
            (Bytes(&[]), r#""""#),
            (Bool(true), r#""1""#),
            (Json("false"), r#""0""#),
            (Json("6"), r#""110""#),
            (Int(-1), r#""1111111111111111111111111111111111111111111111111111111111111111""#),
        ],
    );
    assert_refused("bits", &[Json("-1"), Json("1.5"), Json("{}"), Text("21"), Double(1.0)]);
    assert_refused("bits(4294967295)", &[Bytes(&[1])]);
}

#[test]
fn errors_name_the_form_and_never_the_value() {
    for (spec, raw) in [
        ("int", Json(r#""secret 42""#)),
        ("date", Json(r#""secret 42""#)),
        ("bytes", Json(r#""secret 42""#)),
        ("array(int)", Json(r#"["secret 42"]"#)),
        ("bool", Text("secret 42")),
        ("untyped", Json("secret 42")),
        ("variable_decimal", Json(r#"{"secret":42}"#)),
    ] {
        let error = json(&kind(spec), raw).unwrap_err().to_string();
        assert!(error.starts_with("expected ") && error.contains(", found "), "{error}");
        assert!(!error.contains("secret") && !error.contains("42"), "{error}");
    }
}

#[test]
fn raw_bytes_are_what_the_column_holds() {
    let bytes = |spec: &str, raw| {
        let mut out = Vec::new();
        raw_bytes(Typed { raw, kind: &kind(spec) }, &mut out).map(|()| out)
    };
    for (spec, raw, expected) in [
        ("bytes", Json(r#""AP8=""#), &[0, 0xff][..]),
        ("bytes", Bytes(&[1, 2]), &[1, 2]),
        ("bytes_hex", Text("00ff"), &[0, 0xff]),
        ("bits(9)", Json(r#""AP8=""#), &[0, 0xff]),
        ("text", Json(r#""AP8=""#), b"AP8="),
        ("untyped", Json(r#""a\n""#), b"a\n"),
        ("untyped", Json("12.50"), b"12.50"),
        ("untyped", Bytes(&[0xff]), &[0xff]),
        ("json", Json(r#""{\"a\":1}""#), b"{\"a\":1}"),
        ("decimal(2)", Json(r#""MDk=""#), b"123.45"),
        ("text", Text(""), b""),
    ] {
        assert_eq!(bytes(spec, raw).as_deref(), Ok(expected), "{spec}, {raw:?}");
    }
    for (spec, raw) in
        [("bytes", Json("null")), ("bytes", Json(r#""é""#)), ("bytes_hex", Text("0")), ("int", Text("x"))]
    {
        assert!(bytes(spec, raw).is_err(), "{spec}, {raw:?}");
    }
}
