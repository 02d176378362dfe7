//! What every type looks like in JSON, text and keys: the table that CONTRACT.md promises, with the values
//! at which implementations break.

use std::sync::Arc;

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

use super::Raw::{Bool, Bytes, Double, Int, Json, Text};

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
fn booleans_are_literals() {
    assert_golden(
        "bool",
        &[
            (Json("true"), "true"),
            (Json("0"), "false"),
            (Json(r#""1""#), "true"),
            (Json(r#""false""#), "false"),
            (Text("t"), "true"),
            (Int(0), "false"),
            (Bool(true), "true"),
        ],
    );
    assert_refused(
        "bool",
        &[Json("2"), Json("1.0"), Json(r#""yes""#), Int(2), Double(1.0), Json("[]"), Bytes(&[1])],
    );
}

#[test]
fn integers_are_exact_at_any_width() {
    assert_golden(
        "int",
        &[
            (Json("9007199254740993"), "9007199254740993"),
            (Json("-9223372036854775808"), "-9223372036854775808"),
            (Json("18446744073709551615"), "18446744073709551615"),
            (Json("123456789012345678901234567890"), "123456789012345678901234567890"),
            (Json("-0"), "0"),
            (Json("7.00"), "7"),
            (Json("1.2E3"), "1200"),
            (Json(r#""007""#), "7"),
            (Text("9223372036854775807"), "9223372036854775807"),
            (Int(i64::MAX), "9223372036854775807"),
            (Int(i64::MIN), "-9223372036854775808"),
            (Double(-0.0), "0"),
            (Double(9_007_199_254_740_992.0), "9007199254740992"),
            (Bool(true), "1"),
        ],
    );
    assert_refused(
        "int",
        &[
            Json("7.5"),
            Json("1E99999"),
            Json(r#""""#),
            Json(r#""x""#),
            Double(0.5),
            Double(f64::NAN),
            Double(1e300),
            Bytes(&[1]),
            Json("{}"),
        ],
    );
}

#[test]
fn negative_64_bit_integers_are_read_unsigned() {
    assert_golden(
        "uint",
        &[
            (Json("-1"), "18446744073709551615"),
            (Json("-9223372036854775808"), "9223372036854775808"),
            (Json("18446744073709551615"), "18446744073709551615"),
            (Json("-0"), "0"),
            (Int(-1), "18446744073709551615"),
            (Int(5), "5"),
            (Text("18446744073709551615"), "18446744073709551615"),
        ],
    );
    assert_refused("uint", &[Json("-9223372036854775809"), Json("-0.5"), Bytes(&[])]);
}

#[test]
fn decimals_keep_their_scale_but_in_keys() {
    let sixty = "123456789012345678901234567890123456789012345678901234567.890";
    for (spec, raw, scaled, canonical) in [
        ("decimal(2)", Json(r#""MDk=""#), "123.45", "123.45"),
        ("decimal(2)", Json(r#""nA==""#), "-1.00", "-1"),
        ("decimal(0)", Json(r#""AIA=""#), "128", "128"),
        ("decimal(0)", Json(r#""AA==""#), "0", "0"),
        ("decimal(0)", Json(r#""AP8=""#), "255", "255"),
        ("decimal(2)", Json(r#""""#), "0.00", "0"),
        ("decimal(3)", Bytes(&[]), "0.000", "0"),
        ("decimal(-3)", Bytes(&[5]), "5000", "5000"),
        ("decimal(2)", Json("12.50"), "12.50", "12.5"),
        ("decimal(2)", Text("12.50"), "12.50", "12.5"),
        ("decimal(2)", Text("1234"), "1234", "1234"),
        ("decimal(2)", Json(r#""12.50""#), "12.50", "12.5"),
        ("decimal", Json(r#""12.50""#), "12.50", "12.5"),
        ("decimal", Json(r#""1234""#), "1234", "1234"),
        ("decimal", Json("1E+3"), "1000", "1000"),
        ("decimal", Json("1.0E-2"), "0.010", "0.01"),
        ("decimal", Json("-0.0"), "0.0", "0"),
        ("decimal", Json(r#""-0""#), "0", "0"),
        ("decimal", Text(sixty), sixty, sixty.trim_end_matches('0')),
        ("decimal", Text("1.0"), "1.0", "1"),
        ("decimal", Text("1.00"), "1.00", "1"),
        ("decimal", Int(-7), "-7", "-7"),
        ("decimal", Double(0.1), "0.1", "0.1"),
        ("decimal", Double(1e21), "1000000000000000000000", "1000000000000000000000"),
        ("variable_decimal", Json(r#"{"scale":2,"value":"MDk="}"#), "123.45", "123.45"),
        ("variable_decimal", Json(r#"{ "value" : "CgA=", "scale" : 1 }"#), "256.0", "256"),
        ("variable_decimal", Json(r#"{"scale":-2,"value":"BQ=="}"#), "500", "500"),
        ("variable_decimal", Json(r#"{"scale":0,"value":""}"#), "0", "0"),
        ("variable_decimal", Json(r#""12.50""#), "12.50", "12.5"),
    ] {
        let kind = kind(spec);
        assert_eq!(json(&kind, raw), Ok(format!("\"{scaled}\"")), "{spec}, {raw:?}");
        assert_eq!(text(&kind, raw).as_deref(), Ok(scaled), "{spec}, {raw:?}");
        assert_eq!(key(&kind, raw).as_deref(), Ok(canonical), "{spec}, {raw:?}");
        let number =
            rendered(render_json, &kind, raw, RenderStyle { decimal: DecimalStyle::Number, ..STYLE });
        assert_eq!(number.as_deref(), Ok(scaled), "the same digits without quotes");
    }
    assert_refused(
        "decimal",
        &[
            Json(r#""MDk=""#),
            Json(r#""""#),
            Json("true"),
            Json("{}"),
            Bytes(&[1]),
            Json("1E+99999"),
            Text("1,5"),
        ],
    );
    assert_refused("decimal(2)", &[Json(r#""twelve""#), Json("[1]"), Bool(true)]);
    assert_refused("decimal(2000000000)", &[Bytes(&[1])]);
    assert_refused("decimal(-2000000000)", &[Bytes(&[1])]);
    assert_refused(
        "variable_decimal",
        &[
            Json("{}"),
            Json(r#"{"scale":2}"#),
            Json(r#"{"scale":2,"value":null}"#),
            Json(r#"{"scale":2.5,"value":"MDk="}"#),
            Json(r#"{"scale":2,"value":"MDk"}"#),
            Json(r#"{"scale":2147483647,"value":"MDk="}"#),
            Bytes(&[1]),
        ],
    );
}

#[test]
fn what_is_no_number_is_a_text_in_every_style() {
    let number = RenderStyle { decimal: DecimalStyle::Number, ..STYLE };
    for spec in ["decimal", "decimal(2)", "double", "variable_decimal"] {
        for (raw, name) in [
            (Json(r#""NaN""#), "NaN"),
            (Json(r#""NAN""#), "NaN"),
            (Json(r#""Infinity""#), "Infinity"),
            (Json(r#""-Infinity""#), "-Infinity"),
            (Text("NEGATIVE_INFINITY"), "-Infinity"),
            (Double(f64::NAN), "NaN"),
            (Double(f64::NEG_INFINITY), "-Infinity"),
        ] {
            assert_eq!(json(&kind(spec), raw), Ok(format!("\"{name}\"")), "{spec}, {raw:?}");
            assert_eq!(rendered(render_json, &kind(spec), raw, number), Ok(format!("\"{name}\"")));
            assert_eq!(text(&kind(spec), raw).as_deref(), Ok(name));
            assert_eq!(key(&kind(spec), raw).as_deref(), Ok(name));
        }
    }
}

#[test]
fn doubles_keep_their_token_and_binary_ones_read_back() {
    assert_golden(
        "double",
        &[
            (Json("1.0E10"), "1.0E10"),
            (Json("-0.0"), "-0.0"),
            (Json("1"), "1"),
            (Json(r#""1.5""#), "1.5"),
            (Text("1e-7"), "1e-7"),
            (Text(".5"), "0.5"),
            (Double(0.1), "0.1"),
            (Double(-0.0), "-0.0"),
            (Double(1e300), "1e+300"),
            (Double(f64::MIN_POSITIVE), "2.2250738585072014e-308"),
            (Int(3), "3"),
        ],
    );
    for value in [f64::MAX, f64::MIN_POSITIVE, 5e-324, 1.0 / 3.0, 123_456_789.123_456_78] {
        let text = json(&Kind::Double, Double(value)).unwrap();
        assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
    }
    assert_refused("double", &[Json("true"), Json(r#""x""#), Json("[]"), Bytes(&[0; 8])]);
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
fn dates_reach_before_christ_and_beyond_9999() {
    assert_golden(
        "date",
        &[
            (Json("20028"), r#""2024-11-01""#),
            (Json("19782"), r#""2024-02-29""#),
            (Json("0"), r#""1970-01-01""#),
            (Json("-1"), r#""1969-12-31""#),
            (Json("-719162"), r#""0001-01-01""#),
            (Json("-719163"), r#""0000-12-31""#),
            (Json("-735160"), r#""-0043-03-15""#),
            (Json("2932896"), r#""9999-12-31""#),
            (Json("3672148"), r#""+12024-01-01""#),
            (Json("2145042905"), r#""+5874897-12-31""#),
            (Json("2146033979"), r#""infinity""#),
            (Json("-2147472691"), r#""-infinity""#),
            (Int(i64::from(i32::MAX)), r#""infinity""#),
            (Int(i64::from(i32::MIN)), r#""-infinity""#),
            (Int(i64::MAX - 1), r#""+25252734927768524-07-26""#),
            (Text("20028"), r#""2024-11-01""#),
            (Text("2024-11-01"), r#""2024-11-01""#),
            (Json(r#""2024-11-01Z""#), r#""2024-11-01""#),
            (Text("2024-11-01 00:00:00"), r#""2024-11-01""#),
            (Text("0044-03-15 BC"), r#""-0043-03-15""#),
            (Text("0000-00-00"), r#""0000-00-00""#),
            (Json(r#""infinity""#), r#""infinity""#),
        ],
    );
    assert_refused(
        "date",
        &[
            Json("9223372036854775808"),
            Json("1.5"),
            Text("2024-11-01T10:00:00"),
            Text("2024-02-30"),
            Text("today"),
            Json("true"),
            Bytes(&[1]),
            Json("{}"),
            Double(1.0),
        ],
    );
}

#[test]
fn time_stamps_have_no_zone_letter_and_instants_have() {
    for (unit, raw, expected) in [
        ("ms", Json("1730455020250"), "2024-11-01T09:57:00.25"),
        ("us", Json("1709209800123456"), "2024-02-29T12:30:00.123456"),
        ("us", Json("1709209800000000"), "2024-02-29T12:30:00"),
        ("ns", Json("-1"), "1969-12-31T23:59:59.999999999"),
        ("ns", Int(i64::MAX - 1), "2262-04-11T23:47:16.854775806"),
        ("ns", Int(i64::MIN + 1), "1677-09-21T00:12:43.145224193"),
        ("ns", Int(9_223_372_036_825_200_000), "2262-04-11T23:47:16.8252"),
        ("us", Int(i64::MAX - 1), "+294247-01-10T04:00:54.775806"),
        ("us", Int(i64::MIN + 1), "-290308-12-21T19:59:05.224193"),
        ("ms", Int(i64::MAX - 1), "+292278994-08-17T07:12:55.806"),
        ("ms", Int(-62_135_596_800_000), "0001-01-01T00:00:00"),
        ("ms", Int(-62_135_596_800_001), "0000-12-31T23:59:59.999"),
        ("us", Text("1709209800123456"), "2024-02-29T12:30:00.123456"),
    ] {
        let stamp = kind(&format!("timestamp_{unit}"));
        let instant = kind(&format!("instant_{unit}"));
        assert_eq!(json(&stamp, raw), Ok(format!("\"{expected}\"")));
        assert_eq!(text(&stamp, raw).as_deref(), Ok(expected));
        assert_eq!(json(&instant, raw), Ok(format!("\"{expected}Z\"")));
        assert_eq!(key(&instant, raw), Ok(format!("{expected}Z")));
    }
    for (unit, count, expected) in [
        ("us", 9_223_372_036_825_200_000, "infinity"),
        ("us", -9_223_372_036_832_400_000, "-infinity"),
        ("us", i64::MAX, "infinity"),
        ("us", i64::MIN, "-infinity"),
        ("ms", 9_223_372_036_825_200_000, "infinity"),
        ("ms", -9_223_372_036_832_400, "-infinity"),
        ("ns", i64::MAX, "infinity"),
        ("ns", i64::MIN, "-infinity"),
    ] {
        for family in ["timestamp", "instant"] {
            assert_golden(&format!("{family}_{unit}"), &[(Int(count), &format!("\"{expected}\""))]);
        }
    }
    assert_refused(
        "timestamp_ms",
        &[Json("1.7E12"), Text("soon"), Json("[]"), Text("2024-01-01T00:00:00+01:00")],
    );
    assert_refused("instant_ms", &[Text("2024-01-01T00:00:00"), Json("true"), Json("99999999999999999999")]);
}

#[test]
fn zoned_text_becomes_utc() {
    let rows = [
        (Json(r#""2024-02-29T12:30:00.123456Z""#), r#""2024-02-29T12:30:00.123456Z""#),
        (Json(r#""2024-02-29T12:30:00.100000Z""#), r#""2024-02-29T12:30:00.1Z""#),
        (Text("2024-02-29T12:30:00.000+02:00"), r#""2024-02-29T10:30:00Z""#),
        (Text("2024-01-01T00:30:00.123456789+01:00"), r#""2023-12-31T23:30:00.123456789Z""#),
        (Text("2024-12-31T20:00:00-05:30"), r#""2025-01-01T01:30:00Z""#),
        (Text("2024-02-29 12:30:00.5 UTC"), r#""2024-02-29T12:30:00.5Z""#),
        (Text("1892-05-31T23:59:59+00:53:28"), r#""1892-05-31T23:06:31Z""#),
        (Text("0001-01-01T00:00:00+01:00"), r#""0000-12-31T23:00:00Z""#),
        (Text("-0043-03-15T12:00:00Z"), r#""-0043-03-15T12:00:00Z""#),
        (Text("+294247-01-01T23:59:59.999999Z"), r#""+294247-01-01T23:59:59.999999Z""#),
        (Text("+12024-01-01T00:00Z"), r#""+12024-01-01T00:00:00Z""#),
        (Text("2024-12-31T24:00:00Z"), r#""2025-01-01T00:00:00Z""#),
        (Json(r#""infinity""#), r#""infinity""#),
        (Json(r#""-infinity""#), r#""-infinity""#),
    ];
    assert_golden("instant", &rows);
    assert_golden("instant_us", &rows);
    assert_refused(
        "instant",
        &[Json("1709209800123"), Text("2024-02-29T12:30:00"), Text("0000-00-00T00:00:00Z"), Text("")],
    );
}

#[test]
fn iso_text_loses_the_letter_that_means_nothing() {
    let text_of = |iso, raw| json(&Kind::IsoText(iso), Text(raw));
    for (iso, raw, expected) in [
        (IsoText::Date, "2017-09-15Z", "\"2017-09-15\""),
        (IsoText::Date, "-0043-03-15Z", "\"-0043-03-15\""),
        (IsoText::Time, "04:05:11.789Z", "\"04:05:11.789\""),
        (IsoText::Time, "04:05:11.700", "\"04:05:11.7\""),
        (IsoText::Time, "04:05Z", "\"04:05:00\""),
        (IsoText::Timestamp, "2019-07-09T02:28:57.123456Z", "\"2019-07-09T02:28:57.123456\""),
        (IsoText::Timestamp, "2019-07-09 02:28:57.100", "\"2019-07-09T02:28:57.1\""),
        (IsoText::Timestamp, "2019-07-09", "\"2019-07-09T00:00:00\""),
        (IsoText::Timestamp, "0000-00-00 00:00:00", "\"0000-00-00T00:00:00\""),
        (IsoText::Timestamp, "infinity", "\"infinity\""),
    ] {
        assert_eq!(text_of(iso, raw).as_deref(), Ok(expected));
    }
    for (iso, raw) in [
        (IsoText::Date, "2017-09-15+02:00"),
        (IsoText::Time, "04:05:11+01:00"),
        (IsoText::Timestamp, "2019-07-09T02:28:57+02:00"),
        (IsoText::Timestamp, "1709209800123"),
    ] {
        assert!(text_of(iso, raw).is_err(), "{raw}");
    }
    assert_refused("timestamp", &[Json("1709209800123")]);
}

#[test]
fn times_may_be_negative_and_over_a_day() {
    assert_golden(
        "time_ms",
        &[
            (Json("37984500"), r#""10:33:04.5""#),
            (Json("86400000"), r#""24:00:00""#),
            (Text("10:33:04.500"), r#""10:33:04.5""#),
            (Text("-838:59:59.000000"), r#""-838:59:59""#),
        ],
    );
    assert_golden(
        "time_us",
        &[
            (Json("-3020399000000"), r#""-838:59:59""#),
            (Json("3020399000000"), r#""838:59:59""#),
            (Json("-1"), r#""-00:00:00.000001""#),
            (Int(i64::MIN), r#""-2562047788:00:54.775808""#),
        ],
    );
    assert_golden(
        "time_ns",
        &[(Json("0"), r#""00:00:00""#), (Int(i64::MAX), r#""2562047:47:16.854775807""#)],
    );
    assert_golden(
        "time_zoned",
        &[(Json(r#""10:15:30+01:00""#), r#""10:15:30+01:00""#), (Text("10:15:30Z"), r#""10:15:30Z""#)],
    );
    assert_refused(
        "time_ms",
        &[Json("1.5"), Text("10:60:00"), Text("ten"), Text("10:00:00+01:00"), Text("--10:00:00")],
    );
    assert_refused("time_zoned", &[Json("1"), Json("[]")]);
}

#[test]
fn durations_are_iso_8601_and_interval_texts_pass() {
    assert_golden(
        "duration",
        &[
            (Json("5400500000"), r#""PT1H30M0.5S""#),
            (Json("0"), r#""PT0S""#),
            (Json("-2629800000000"), r#""-PT730H30M""#),
            (Json(r#""P1Y2M3DT4H5M6.78S""#), r#""P1Y2M3DT4H5M6.78S""#),
            (Text("1 mon"), r#""1 mon""#),
        ],
    );
    assert_golden("duration_ns", &[(Int(i64::MIN), r#""-PT2562047H47M16.854775808S""#)]);
    assert_eq!(
        json(&Kind::IntervalText, Json(r#""P0Y0M-3DT0H0M0S""#)).as_deref(),
        Ok(r#""P0Y0M-3DT0H0M0S""#)
    );
    assert!(json(&Kind::IntervalText, Json("1")).is_err());
    assert_refused("duration", &[Json("1.5"), Json("true"), Json("{}")]);
}

#[test]
fn raw_times_pass_as_the_event_carried_them() {
    let raw_style = RenderStyle { time: TimeStyle::Raw, ..STYLE };
    for (spec, raw, expected) in [
        ("timestamp_us", Json("1709209800123456"), "1709209800123456"),
        ("instant_ms", Int(i64::MAX), "9223372036854775807"),
        ("date", Json("-719163"), "-719163"),
        ("instant", Json(r#""2024-02-29T12:30:00.100+02:00""#), r#""2024-02-29T12:30:00.100+02:00""#),
        ("duration", Json("5"), "5"),
        ("time_us", Json("null"), "null"),
    ] {
        assert_eq!(rendered(render_json, &kind(spec), raw, raw_style).as_deref(), Ok(expected));
    }
}

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

#[test]
fn moments_are_unix_milliseconds() {
    let moment = |spec: &str, raw| unix_ms(Typed { raw, kind: &kind(spec) });
    for (spec, raw, expected) in [
        ("instant_ms", Json("1709209800123"), Some(1_709_209_800_123)),
        ("timestamp_us", Json("1709209800123999"), Some(1_709_209_800_123)),
        ("instant_ns", Int(-1), Some(-1)),
        ("timestamp_ms", Text("2024-02-29T12:30:00.123"), Some(1_709_209_800_123)),
        ("instant", Json(r#""2024-02-29T13:30:00.1239+01:00""#), Some(1_709_209_800_123)),
        ("instant", Text("1969-12-31T23:59:59.999Z"), Some(-1)),
        ("timestamp", Text("2024-02-29 12:30:00"), Some(1_709_209_800_000)),
        ("date", Json("19782"), Some(1_709_164_800_000)),
        ("date", Text("2024-02-29"), Some(1_709_164_800_000)),
        ("untyped", Json(r#""2024-02-29T12:30:00.5Z""#), Some(1_709_209_800_500)),
        ("text", Text("2024-02-29T12:30:00Z"), Some(1_709_209_800_000)),
        ("instant", Text("infinity"), Some(i64::MAX)),
        ("timestamp_us", Json("9223372036825200000"), Some(i64::MAX)),
        ("timestamp_us", Int(i64::MIN), Some(i64::MIN)),
        ("date", Json("-2147472691"), Some(i64::MIN)),
        ("date", Int(i64::MAX - 1), Some(i64::MAX)),
        ("instant_ms", Int(i64::MIN + 1), Some(i64::MIN + 1)),
        ("untyped", Json("null"), None),
        ("int", Json("null"), None),
    ] {
        assert_eq!(moment(spec, raw), Ok(expected), "{spec}, {raw:?}");
    }
    for (spec, raw) in
        [("untyped", Json("1709209800123")), ("untyped", Text("1709209800123")), ("int", Int(5))]
    {
        let error = moment(spec, raw).unwrap_err().to_string();
        assert!(error.contains("declare the column's type"), "{error}");
    }
    for (spec, raw) in [
        ("untyped", Text("tomorrow")),
        ("date", Text("0000-00-00")),
        ("time_ms", Json("5")),
        ("bool", Json("true")),
        ("instant_ms", Json("[]")),
    ] {
        assert!(moment(spec, raw).is_err(), "{spec}, {raw:?}");
    }
}
