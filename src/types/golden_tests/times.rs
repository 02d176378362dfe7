//! Dates, times, instants and spans, and the moments that a TTL may come from.

use super::*;

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
fn infinite_dates_of_a_snapshot_are_infinite_too() {
    for (count, expected) in [
        ("-622191234", "infinity"),
        ("-622191233", "infinity"),
        ("-625821272", "-infinity"),
        ("-625821271", "-infinity"),
        ("-2440588", "-4713-11-24"),
    ] {
        assert_golden("date", &[(Json(count), &format!("\"{expected}\""))]);
    }
    assert_eq!(unix_ms(Typed { raw: Json("-625821272"), kind: &kind("date") }), Ok(Some(i64::MIN)));
}

#[test]
fn infinity_that_is_spelt_out_as_a_date_is_infinite_too() {
    for (spec, text, expected) in [
        ("date", "+5877611-06-21Z", "infinity"),
        ("date", "-5877611-06-22Z", "-infinity"),
        ("date", "+292278994-08-16Z", "infinity"),
        ("date", "+292269055-12-02Z", "-infinity"),
        ("timestamp", "+292278994-08-16T23:00:00Z", "infinity"),
        ("timestamp", "-292275055-05-16T23:00:00Z", "-infinity"),
        ("date", "+5874897-12-31Z", "+5874897-12-31"),
        ("timestamp", "+294276-12-31T23:59:59Z", "+294276-12-31T23:59:59"),
    ] {
        assert_golden(spec, &[(Text(text), &format!("\"{expected}\""))]);
    }
    let moment = |text| unix_ms(Typed { raw: Text(text), kind: &kind("timestamp") });
    assert_eq!(moment("+292278994-08-16T23:00:00Z"), Ok(Some(i64::MAX)));
    assert_eq!(moment("-292275055-05-16T23:00:00Z"), Ok(Some(i64::MIN)));
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
