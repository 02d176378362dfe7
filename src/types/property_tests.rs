//! Laws of rendering: nothing panics, JSON is JSON, and decimals come back.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use num_bigint::BigInt;
use proptest::prelude::*;

use super::*;

fn unit() -> impl Strategy<Value = Unit> {
    prop_oneof![Just(Unit::Millis), Just(Unit::Micros), Just(Unit::Nanos)]
}

fn kind() -> impl Strategy<Value = Kind> {
    let scalar = prop_oneof![
        prop::sample::select(vec![
            Kind::Untyped,
            Kind::Bool,
            Kind::Int,
            Kind::Uint,
            Kind::Decimal { scale: None },
            Kind::VariableDecimal,
            Kind::Double,
            Kind::Text,
            Kind::Uuid,
            Kind::Json,
            Kind::Bytes,
            Kind::BytesHex,
            Kind::BytesLatin1,
            Kind::Date,
            Kind::ZonedText,
            Kind::ZonedTime,
            Kind::IsoText(IsoText::Date),
            Kind::IsoText(IsoText::Time),
            Kind::IsoText(IsoText::Timestamp),
            Kind::IntervalText,
        ]),
        any::<i32>().prop_map(|scale| Kind::Decimal { scale: Some(scale) }),
        (-40..40).prop_map(|scale| Kind::Decimal { scale: Some(scale) }),
        prop_oneof![any::<u32>(), 0..200_u32].prop_map(|length| Kind::Bits { length }),
        unit().prop_map(Kind::Timestamp),
        unit().prop_map(Kind::Instant),
        unit().prop_map(Kind::Time),
        unit().prop_map(Kind::Duration),
    ];
    scalar.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| Kind::Array(Arc::new(item))),
            (inner.clone(), inner.clone()).prop_map(|(key, item)| Kind::Map(Arc::new(key), Arc::new(item))),
            prop::collection::vec(("[a-c]", inner), 0..3).prop_map(|fields| Kind::Struct(fields.into())),
        ]
    })
}

/// Texts that some type takes for its own, and near misses.
fn meaningful_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[-+]?[0-9]{0,25}[.]?[0-9]{0,10}([eE][-+]?[0-9]{1,5})?",
        "[-+]?[0-9]{4,6}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-5][0-9](:[0-6][0-9]([.][0-9]{0,10})?)?)?(Z|[-+][01][0-9]:?[0-5][0-9])?",
        "-?[0-9]{2,4}:[0-9]{2}:[0-9]{2}([.][0-9]{0,7})?Z?",
        "[A-Za-z0-9+/_-]{0,16}={0,2}",
        "-?infinity|NaN|-?Infinity|true|f",
        any::<String>(),
    ]
}

/// A JSON document, with numbers at the edges.
fn json_document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_filter_map("finite", |value| serde_json::to_string(&value).ok()),
        prop::sample::select(vec![i64::MAX, i64::MIN, 0, -1]).prop_map(|value| value.to_string()),
        "-?[1-9][0-9]{0,60}([.][0-9]{1,9})?(E[+-]?[0-9]{1,7})?",
        meaningful_text().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[ {} ]", items.join(" ,"))),
            prop::collection::vec(("[a-c]|scale|value|\\PC", inner), 0..4).prop_map(|members| {
                let members: Vec<String> = members
                    .iter()
                    .map(|(name, value)| format!("{}: {value}", serde_json::to_string(name).unwrap()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// A raw part with what it borrows from.
#[derive(Debug, Clone)]
enum Owned {
    Json(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Owned {
    fn raw(&self) -> Raw<'_> {
        match self {
            Owned::Json(token) => Raw::Json(token),
            Owned::Bool(value) => Raw::Bool(*value),
            Owned::Int(value) => Raw::Int(*value),
            Owned::Double(value) => Raw::Double(*value),
            Owned::Text(text) => Raw::Text(text),
            Owned::Bytes(bytes) => Raw::Bytes(bytes),
        }
    }
}

fn valid_raw() -> impl Strategy<Value = Owned> {
    prop_oneof![
        4 => json_document().prop_map(Owned::Json),
        1 => any::<bool>().prop_map(Owned::Bool),
        2 => any::<i64>().prop_map(Owned::Int),
        1 => any::<f64>().prop_map(Owned::Double),
        2 => meaningful_text().prop_map(Owned::Text),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Owned::Bytes),
    ]
}

fn any_raw() -> impl Strategy<Value = Owned> {
    prop_oneof![
        valid_raw(),
        any::<String>().prop_map(Owned::Json),
        "[\\[\\]{}\",:0-9eE.\\\\untrfals -]{0,24}".prop_map(Owned::Json),
        (json_document(), any::<prop::sample::Index>()).prop_map(|(document, at)| {
            Owned::Json(document.chars().take(at.index(document.chars().count() + 1)).collect())
        }),
    ]
}

fn style() -> impl Strategy<Value = RenderStyle> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(number, raw, hex)| RenderStyle {
        decimal: if number { DecimalStyle::Number } else { DecimalStyle::Text },
        time: if raw { TimeStyle::Raw } else { TimeStyle::Rfc3339 },
        bytes: if hex { BytesStyle::Hex } else { BytesStyle::Base64 },
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_panics_and_an_error_leaves_the_buffer(kind in kind(), owned in any_raw(), style in style()) {
        let value = Typed { raw: owned.raw(), kind: &kind };
        for render in [render_json, render_text, render_key] {
            let mut out = b"before".to_vec();
            let outcome = render(value, style, &mut out);
            prop_assert!(out.starts_with(b"before"));
            prop_assert!(outcome.is_ok() || out == b"before");
            prop_assert!(std::str::from_utf8(&out).is_ok());
        }
        let mut out = b"before".to_vec();
        match score(value, &mut out) {
            Ok(()) => {
                let text = out.strip_prefix(b"before").and_then(|score| std::str::from_utf8(score).ok());
                prop_assert!(text.and_then(|score| score.parse::<f64>().ok()).is_some_and(|score| !score.is_nan()));
            }
            Err(_) => prop_assert_eq!(out, b"before"),
        }
        let _ = raw_bytes(value, &mut Vec::new());
        let _ = unix_ms(value);
        if let Raw::Json(token) = value.raw {
            let _ = unescape(token);
        }
    }

    #[test]
    fn rendered_json_is_json(kind in kind(), owned in valid_raw(), style in style()) {
        let mut out = Vec::new();
        if render_json(Typed { raw: owned.raw(), kind: &kind }, style, &mut out).is_ok() {
            let parsed = serde_json::from_slice::<&serde_json::value::RawValue>(&out);
            prop_assert!(parsed.is_ok(), "{:?}", String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn decimal_bytes_come_back_from_their_text(bytes in prop::collection::vec(any::<u8>(), 0..60), scale in -30..60_i32) {
        let kind = Kind::Decimal { scale: Some(scale) };
        let token = format!("\"{}\"", STANDARD.encode(&bytes));
        let mut text = Vec::new();
        render_text(Typed { raw: Raw::Json(&token), kind: &kind }, RenderStyle::default(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();

        let unscaled = BigInt::from_signed_bytes_be(&bytes);
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        prop_assert_eq!(i32::try_from(fraction.len()).unwrap(), scale.max(0));
        let digits: BigInt = format!("{whole}{fraction}").parse().unwrap();
        let shift = BigInt::from(10).pow(u32::try_from((-scale).max(0)).unwrap());
        prop_assert_eq!(digits, unscaled * shift);

        // The text form of the same number renders the same, and so does the binary form.
        let mut again = Vec::new();
        render_text(Typed { raw: Raw::Text(&text), kind: &kind }, RenderStyle::default(), &mut again).unwrap();
        render_text(Typed { raw: Raw::Bytes(&bytes), kind: &kind }, RenderStyle::default(), &mut again).unwrap();
        prop_assert_eq!(String::from_utf8(again).unwrap(), format!("{text}{text}"));
    }

    #[test]
    fn equal_decimals_give_equal_keys(number in any::<i64>(), zeros in 0..20_u32) {
        let kind = Kind::Decimal { scale: Some(0) };
        let padded = Kind::Decimal { scale: i32::try_from(zeros).ok() };
        let wide = (BigInt::from(number) * BigInt::from(10).pow(zeros)).to_signed_bytes_be();
        let narrow = BigInt::from(number).to_signed_bytes_be();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        render_key(Typed { raw: Raw::Bytes(&narrow), kind: &kind }, RenderStyle::default(), &mut a).unwrap();
        render_key(Typed { raw: Raw::Bytes(&wide), kind: &padded }, RenderStyle::default(), &mut b).unwrap();
        prop_assert_eq!(a, b);
    }

    #[test]
    fn instants_agree_with_an_independent_calendar(nanos in any::<i64>()) {
        prop_assume!(nanos != i64::MAX && nanos != i64::MIN);
        let mut out = Vec::new();
        let kind = Kind::Instant(Unit::Nanos);
        render_text(Typed { raw: Raw::Int(nanos), kind: &kind }, RenderStyle::default(), &mut out).unwrap();
        let expected = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap().to_string();
        prop_assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);

        // And the text reads back as the same moment.
        let text = String::from_utf8(out).unwrap();
        let read = unix_ms(Typed { raw: Raw::Text(&text), kind: &Kind::ZonedText }).unwrap();
        prop_assert_eq!(read, Some(nanos.div_euclid(1_000_000)));
    }

    #[test]
    fn texts_come_back_from_their_json(text in any::<String>()) {
        let mut token = Vec::new();
        json_string(&text, &mut token);
        let token = String::from_utf8(token).unwrap();
        prop_assert_eq!(serde_json::from_str::<String>(&token).unwrap(), text.clone());
        prop_assert_eq!(unescape(&token).unwrap(), text.clone());
        let by_serde = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(unescape(&by_serde).unwrap(), text);
    }
}
