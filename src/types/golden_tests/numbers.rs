//! Booleans, integers, doubles and decimals.

use super::*;

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
        ("decimal(2)", Json(r#""1234""#), "-26588.24", "-26588.24"),
        ("decimal(2)", Json(r#""+inf""#), "-3824.97", "-3824.97"),
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
