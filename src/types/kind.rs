//! Names of types, as `columns = { balance = "decimal(2)" }` spells them.

use std::sync::Arc;

use super::{IsoText, Kind, Unit};

/// Types in each other (`array(array(…))`) that a setting may spell: deeper than any column, shallower
/// than any stack.
const NESTING_MAX: usize = 16;

/// A name of a type, for the documentation and for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeName {
    /// How the settings spell it, with its parameters.
    pub name: &'static str,
    /// What a column of it holds, and what is read.
    pub holds: &'static str,
}

/// All names that [`Kind::parse`] takes, in the order of the documentation.
pub const NAMES: &[TypeName] = &[
    TypeName { name: "bool", holds: "a boolean; 1 and 0 are read too" },
    TypeName { name: "int", holds: "a whole number of any width" },
    TypeName {
        name: "uint",
        holds: "a whole number that is not negative; -1 is read as 18446744073709551615, \
                the same 64 bits, as MySQL's BIGINT UNSIGNED arrives",
    },
    TypeName { name: "decimal", holds: "a decimal that arrives as a text or a number" },
    TypeName {
        name: "decimal(S)",
        holds: "a decimal that arrives as bytes (base64 in JSON) with S digits after the point. A text is \
                read too where it is no base64; but four or eight digits are base64, so say `decimal` \
                where the connector writes text (`decimal.handling.mode = string`)",
    },
    TypeName {
        name: "variable_decimal",
        holds: "a decimal that arrives as {\"scale\", \"value\"}, as a NUMERIC without precision does",
    },
    TypeName { name: "double", holds: "a binary floating point number" },
    TypeName { name: "text", holds: "a text" },
    TypeName { name: "enum", holds: "one of a few texts" },
    TypeName { name: "uuid", holds: "a UUID" },
    TypeName { name: "json", holds: "a JSON document as text; passed on as it came" },
    TypeName { name: "bytes", holds: "bytes (base64 in JSON)" },
    TypeName { name: "bytes_hex", holds: "bytes that arrive as hexadecimal text" },
    TypeName {
        name: "bytes_latin1",
        holds: "bytes that arrive as text of one character a byte, U+0000 to U+00FF",
    },
    TypeName { name: "bits", holds: "a bit string (base64 of little-endian bytes in JSON)" },
    TypeName { name: "bits(N)", holds: "a bit string of N bits" },
    TypeName { name: "date", holds: "days since 1970-01-01, or a date in ISO 8601" },
    TypeName { name: "timestamp", holds: "a time stamp without a zone, in ISO 8601" },
    TypeName { name: "timestamp_ms", holds: "a time stamp without a zone, in milliseconds since 1970-01-01" },
    TypeName { name: "timestamp_us", holds: "the same in microseconds" },
    TypeName { name: "timestamp_ns", holds: "the same in nanoseconds" },
    TypeName { name: "instant", holds: "an instant in ISO 8601 with an offset" },
    TypeName { name: "instant_ms", holds: "an instant in milliseconds since 1970-01-01T00:00:00Z" },
    TypeName { name: "instant_us", holds: "the same in microseconds" },
    TypeName { name: "instant_ns", holds: "the same in nanoseconds" },
    TypeName { name: "time", holds: "a time of day or a span of hours, as text without an offset" },
    TypeName { name: "time_ms", holds: "a time of day or a span of hours, in milliseconds" },
    TypeName { name: "time_us", holds: "the same in microseconds" },
    TypeName { name: "time_ns", holds: "the same in nanoseconds" },
    TypeName { name: "time_zoned", holds: "a time of day with an offset, as text" },
    TypeName {
        name: "duration",
        holds: "a span of time in microseconds, as Debezium's MicroDuration; an interval's text as it came",
    },
    TypeName { name: "duration_ms", holds: "the same in milliseconds" },
    TypeName { name: "duration_us", holds: "the same in microseconds" },
    TypeName { name: "duration_ns", holds: "the same in nanoseconds" },
    TypeName { name: "array(T)", holds: "a JSON array of type T, of any number of dimensions" },
    TypeName { name: "map(T)", holds: "a JSON object with values of type T" },
    TypeName { name: "map(K, T)", holds: "the same, also as an array of pairs with keys of type K" },
    TypeName { name: "untyped", holds: "whatever it is: passed on as it came" },
];

/// What other systems call these types: not taken, but answered with our name.
const ELSEWHERE: &[(&str, &str)] = &[
    ("array", "array(T)"),
    ("map", "map(T)"),
    ("hstore", "map(text)"),
    ("any", "untyped"),
    ("bigdecimal", "decimal"),
    ("bigint", "int"),
    ("bigserial", "int"),
    ("binary", "bytes"),
    ("bit", "bits"),
    ("blob", "bytes"),
    ("boolean", "bool"),
    ("bytea", "bytes"),
    ("char", "text"),
    ("datetime", "timestamp_us"),
    ("double precision", "double"),
    ("float", "double"),
    ("float4", "double"),
    ("float8", "double"),
    ("hex", "bytes_hex"),
    ("int16", "int"),
    ("int2", "int"),
    ("int32", "int"),
    ("int4", "int"),
    ("int64", "int"),
    ("int8", "int"),
    ("integer", "int"),
    ("interval", "duration"),
    ("jsonb", "json"),
    ("long", "int"),
    ("money", "decimal(2)"),
    ("number", "decimal"),
    ("numeric", "decimal"),
    ("real", "double"),
    ("serial", "int"),
    ("smallint", "int"),
    ("string", "text"),
    ("timestamptz", "instant"),
    ("timetz", "time_zoned"),
    ("tinyint", "int"),
    ("unsigned", "uint"),
    ("varbinary", "bytes"),
    ("varchar", "text"),
];

impl Kind {
    /// Reads a type's name, with its parameters: see [`NAMES`]. White space around parts is ignored.
    ///
    /// The error is for the settings' report: what is wrong, and the name that was probably meant.
    pub fn parse(spec: &str) -> Result<Kind, String> {
        parse(spec, 0)
    }

    /// True for dates, times and spans: what `render = { time = … }` speaks of.
    pub fn is_temporal(&self) -> bool {
        match self {
            Kind::Date
            | Kind::Timestamp(_)
            | Kind::Instant(_)
            | Kind::ZonedText
            | Kind::Time(_)
            | Kind::ZonedTime
            | Kind::IsoText(_)
            | Kind::Duration(_)
            | Kind::IntervalText => true,
            Kind::Untyped
            | Kind::Bool
            | Kind::Int
            | Kind::Uint
            | Kind::Decimal { .. }
            | Kind::VariableDecimal
            | Kind::Double
            | Kind::Text
            | Kind::Uuid
            | Kind::Json
            | Kind::Bytes
            | Kind::BytesHex
            | Kind::BytesLatin1
            | Kind::Bits { .. }
            | Kind::Array(_)
            | Kind::Map(..)
            | Kind::Struct(_) => false,
        }
    }
}

fn parse(spec: &str, nesting: usize) -> Result<Kind, String> {
    if nesting > NESTING_MAX {
        return Err(format!("types are nested more than {NESTING_MAX} deep"));
    }
    let spec = spec.trim();
    let (name, parameters) = match spec.split_once('(') {
        None => (spec, None),
        Some((name, rest)) => {
            let inner =
                rest.strip_suffix(')').ok_or_else(|| format!("`{spec}` has no closing parenthesis"))?;
            (name.trim_end(), Some(split_parameters(inner)))
        }
    };
    let nested = |spec: &str| parse(spec, nesting + 1).map(Arc::new);
    match (name, parameters.as_deref()) {
        ("decimal", Some([scale])) => {
            let scale = scale.trim().parse().map_err(|_| {
                format!("the scale in `{spec}` is no whole number: `decimal(2)` has 2 digits after the point")
            })?;
            Ok(Kind::Decimal { scale: Some(scale) })
        }
        ("decimal", Some([_, scale])) => {
            Err(format!("`decimal` takes the scale alone, and no precision: `decimal({})`", scale.trim()))
        }
        ("bits", Some([length])) => {
            let length =
                length.trim().parse().map_err(|_| format!("`{spec}`: N in `bits(N)` is a number of bits"))?;
            Ok(Kind::Bits { length })
        }
        ("array", Some([item])) => Ok(Kind::Array(nested(item)?)),
        ("map", Some([item])) => Ok(Kind::Map(Arc::new(Kind::Text), nested(item)?)),
        ("map", Some([key, item])) => Ok(Kind::Map(nested(key)?, nested(item)?)),
        (_, None) => simple(name).ok_or_else(|| unknown(name)),
        (_, Some(_)) if simple(name).is_some() || ["array", "map"].contains(&name) => {
            Err(format!("`{name}` does not take these parameters: {}", forms(name).join(" or ")))
        }
        (_, Some(_)) => Err(unknown(name)),
    }
}

fn simple(name: &str) -> Option<Kind> {
    Some(match name {
        "bool" => Kind::Bool,
        "int" => Kind::Int,
        "uint" => Kind::Uint,
        "decimal" => Kind::Decimal { scale: None },
        "variable_decimal" => Kind::VariableDecimal,
        "double" => Kind::Double,
        "text" | "enum" => Kind::Text,
        "uuid" => Kind::Uuid,
        "json" => Kind::Json,
        "bytes" => Kind::Bytes,
        "bytes_hex" => Kind::BytesHex,
        "bytes_latin1" => Kind::BytesLatin1,
        "bits" => Kind::Bits { length: 0 },
        "date" => Kind::Date,
        "timestamp" => Kind::IsoText(IsoText::Timestamp),
        "timestamp_ms" => Kind::Timestamp(Unit::Millis),
        "timestamp_us" => Kind::Timestamp(Unit::Micros),
        "timestamp_ns" => Kind::Timestamp(Unit::Nanos),
        "instant" => Kind::ZonedText,
        "instant_ms" => Kind::Instant(Unit::Millis),
        "instant_us" => Kind::Instant(Unit::Micros),
        "instant_ns" => Kind::Instant(Unit::Nanos),
        "time" => Kind::IsoText(IsoText::Time),
        "time_ms" => Kind::Time(Unit::Millis),
        "time_us" => Kind::Time(Unit::Micros),
        "time_ns" => Kind::Time(Unit::Nanos),
        "time_zoned" => Kind::ZonedTime,
        "duration" | "duration_us" => Kind::Duration(Unit::Micros),
        "duration_ms" => Kind::Duration(Unit::Millis),
        "duration_ns" => Kind::Duration(Unit::Nanos),
        "untyped" => Kind::Untyped,
        _ => return None,
    })
}

/// The documented forms of a name.
fn forms(name: &str) -> Vec<String> {
    let same = |listed: &&TypeName| listed.name.split('(').next() == Some(name);
    NAMES.iter().filter(same).map(|listed| format!("`{}`", listed.name)).collect()
}

fn unknown(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    if let Some((_, ours)) = ELSEWHERE.iter().find(|(other, _)| *other == lower) {
        return format!("`{name}` is spelt `{ours}` here");
    }
    let named =
        NAMES.iter().map(|listed| (listed.name.split('(').next().unwrap_or(listed.name), listed.name));
    let nearest = named
        .chain(ELSEWHERE.iter().copied())
        .map(|(spelling, ours)| (strsim::jaro_winkler(&lower, spelling), ours))
        // Of equals the last counts, which `rev` makes the first: `decimal` before `decimal(S)`.
        .rev()
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        // Below this, suggestions are no longer what anybody meant; picked by eye.
        Some((likeness, ours)) if likeness >= 0.8 => {
            format!("there is no type `{name}`; did you mean `{ours}`?")
        }
        _ => {
            let all: Vec<&str> = NAMES.iter().map(|listed| listed.name).collect();
            format!("there is no type `{name}`; there are {}", all.join(", "))
        }
    }
}

/// Splits at the commas that are in no parentheses of their own.
fn split_parameters(inner: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    inner
        .split(|character| {
            match character {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            character == ',' && depth == 0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_name_is_taken_and_no_other() {
        for TypeName { name, .. } in NAMES {
            let spec = name
                .replace("(S)", "(2)")
                .replace("(N)", "(12)")
                .replace("(K, ", "(int, ")
                .replace("T)", "date)");
            assert!(Kind::parse(&spec).is_ok(), "{spec}");
            assert!(Kind::parse(&format!("{spec}x")).is_err(), "{spec}x");
        }
        for (other, ours) in ELSEWHERE {
            assert!(Kind::parse(other).is_err(), "{other}");
            assert!(Kind::parse(&ours.replace("(T)", "(int)")).is_ok(), "{ours}");
        }
    }

    #[test]
    fn parameters_are_read() {
        let text = || Arc::new(Kind::Text);
        for (spec, kind) in [
            ("decimal(2)", Kind::Decimal { scale: Some(2) }),
            ("decimal( -3 )", Kind::Decimal { scale: Some(-3) }),
            ("decimal", Kind::Decimal { scale: None }),
            (" bits (12)", Kind::Bits { length: 12 }),
            ("array(decimal(2))", Kind::Array(Arc::new(Kind::Decimal { scale: Some(2) }))),
            ("map(int)", Kind::Map(text(), Arc::new(Kind::Int))),
            (
                "map(map(int, text), array(date))",
                Kind::Map(
                    Arc::new(Kind::Map(Arc::new(Kind::Int), text())),
                    Arc::new(Kind::Array(Arc::new(Kind::Date))),
                ),
            ),
        ] {
            assert_eq!(Kind::parse(spec).unwrap(), kind, "{spec}");
        }
    }

    #[test]
    fn errors_say_what_was_probably_meant() {
        for (spec, part) in [
            ("decimel", "`decimal`"),
            ("timestamp_mss", "`timestamp_ms`"),
            ("instant_micros", "`instant_m"),
            ("Bool", "`bool`"),
            ("bigint", "`int`"),
            ("TIMESTAMPTZ", "`instant`"),
            ("numeric(10,2)", "`decimal`"),
            ("decimal(10,2)", "`decimal(2)`"),
            ("decimal(x)", "scale"),
            ("decimal(2", "parenthesis"),
            ("date(3)", "`date`"),
            ("array(int, int)", "`array(T)`"),
            ("array(strng)", "`text`"),
            ("quux", "there are bool, int"),
            ("", "there are bool"),
        ] {
            let error = Kind::parse(spec).unwrap_err();
            assert!(error.contains(part), "{spec}: {error}");
        }
        assert!(Kind::parse(&format!("{}int{}", "array(".repeat(500), ")".repeat(500))).is_err());
    }
}
