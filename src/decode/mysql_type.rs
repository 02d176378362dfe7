//! MySQL's names of types, as Canal and TiCDC write them beside values that are all text.

use std::sync::LazyLock;

use crate::types::{IsoText, Kind};

/// Bits of MySQL's widest BIT.
const BITS_MAX: usize = 64;

/// Spatial types: four bytes of SRID, then WKB.
const GEOMETRIES: &[&str] = &[
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
    "geomcollection",
];

static BITS: LazyLock<Vec<Kind>> = LazyLock::new(|| (0..=64).map(|length| Kind::Bits { length }).collect());

/// The kind of a column of that type, such as `bigint(20) unsigned` or `varchar(64)`; untyped where it is
/// none of MySQL's.
///
/// A TIMESTAMP arrives in the producer's zone without saying which, so it is a time stamp without one.
pub(super) fn kind(name: &str) -> &'static Kind {
    let name = name.trim();
    let base = name.find(['(', ' ']).and_then(|end| name.get(..end)).unwrap_or(name);
    let is = |names: &[&str]| names.iter().any(|name| base.eq_ignore_ascii_case(name));
    if is(&["tinyint", "smallint", "mediumint", "int", "integer", "bigint"]) {
        return if contains(name, "unsigned") { &Kind::Uint } else { &Kind::Int };
    }
    if is(&["char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"]) {
        &Kind::Text
    } else if is(&["decimal", "numeric"]) {
        &Kind::Decimal { scale: None }
    } else if is(&["float", "double", "real"]) {
        &Kind::Double
    } else if is(&["datetime", "timestamp"]) {
        &Kind::IsoText(IsoText::Timestamp)
    } else if is(&["date"]) {
        &Kind::Date
    } else if is(&["time"]) {
        &Kind::IsoText(IsoText::Time)
    } else if is(&["year"]) {
        &Kind::Int
    } else if is(&["json"]) {
        &Kind::Json
    } else if is(&["bit"]) {
        bits(length(name))
    } else if is(&["binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"]) || is(GEOMETRIES) {
        &Kind::BytesLatin1
    } else {
        &Kind::Untyped
    }
}

/// The kind of a JDBC type's code (`java.sql.Types`), where there is no name.
pub(super) fn jdbc(code: i64) -> &'static Kind {
    match code {
        -6 | -5 | 4 | 5 => &Kind::Int,
        2 | 3 => &Kind::Decimal { scale: None },
        6..=8 => &Kind::Double,
        1 | 12 | -1 | 2005 => &Kind::Text,
        91 => &Kind::Date,
        92 => &Kind::IsoText(IsoText::Time),
        93 => &Kind::IsoText(IsoText::Timestamp),
        -2 | -3 | -4 | 2004 => &Kind::BytesLatin1,
        _ => &Kind::Untyped,
    }
}

/// BIT(1) is a boolean to Debezium, so it is one here.
fn bits(length: usize) -> &'static Kind {
    if length == 1 { &Kind::Bool } else { BITS.get(length).unwrap_or(&Kind::Bits { length: 0 }) }
}

/// The number in parentheses; 0 where there is none.
fn length(name: &str) -> usize {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    inner.and_then(|(inner, _)| inner.trim().parse().ok()).filter(|length| *length <= BITS_MAX).unwrap_or(0)
}

fn contains(name: &str, word: &str) -> bool {
    name.split([' ', ')']).any(|part| part.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_with_and_without_parameters() {
        for (name, expected) in [
            ("bigint(20)", &Kind::Int),
            ("BIGINT(20) UNSIGNED", &Kind::Uint),
            ("int unsigned zerofill", &Kind::Uint),
            ("tinyint(1)", &Kind::Int),
            ("decimal(10,2)", &Kind::Decimal { scale: None }),
            ("varchar(64)", &Kind::Text),
            ("enum('unsigned','b')", &Kind::Text),
            ("datetime(6)", &Kind::IsoText(IsoText::Timestamp)),
            ("longblob", &Kind::BytesLatin1),
            ("bit(1)", &Kind::Bool),
            ("bit(9)", &Kind::Bits { length: 9 }),
            ("bit(999)", &Kind::Bits { length: 0 }),
            ("point", &Kind::BytesLatin1),
            ("vector(3)", &Kind::Untyped),
            ("", &Kind::Untyped),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
