//! Filters of templates: `{email|trim|lower}`.
//!
//! Each says whether it keeps different texts different: only a column under such filters still tells rows
//! apart, and only a key made of those is primary (see `flow`). Start at [`Filter`].

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::types::DatePart;

/// Digits of `hash` where it says none: 128 bits, at which no two texts of any cache will meet by chance.
const HASH_DIGITS: usize = 32;
/// Fewer digits collide within some ten thousand texts; SHA-256 has no more.
const HASH_DIGITS_BOUNDS: std::ops::RangeInclusive<usize> = 8..=64;

/// What is done to a column's text, or, by a date part, to its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    Lower,
    Upper,
    Trim,
    /// Percent-encodes all but RFC 3986's unreserved characters.
    Url,
    /// Percent-encodes what has a meaning in keys.
    Escape,
    /// So many hexadecimal digits from the front of SHA-256.
    Hash(usize),
    /// Reads the value, not its text: only ever the first filter of a column.
    Date(DatePart),
}

/// The names, in the order of the docs.
const NAMES: [(&str, Filter); 11] = [
    ("lower", Filter::Lower),
    ("upper", Filter::Upper),
    ("trim", Filter::Trim),
    ("url", Filter::Url),
    ("escape", Filter::Escape),
    ("hash", Filter::Hash(HASH_DIGITS)),
    ("date", Filter::Date(DatePart::Date)),
    ("year", Filter::Date(DatePart::Year)),
    ("month", Filter::Date(DatePart::Month)),
    ("day", Filter::Date(DatePart::Day)),
    ("hour", Filter::Date(DatePart::Hour)),
];

impl Filter {
    /// Parses a filter as it stands after its `|`, without space around it. The error says what to do.
    pub(super) fn parse(text: &str) -> Result<Filter, String> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let Some((_, filter)) = NAMES.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(name));
        };
        match (filter, argument) {
            (filter, None) => Ok(*filter),
            (Filter::Hash(_), Some(digits)) => match digits.parse() {
                Ok(digits) if HASH_DIGITS_BOUNDS.contains(&digits) => Ok(Filter::Hash(digits)),
                _ => Err(format!(
                    "hash takes a number of digits from {} to {}, as in hash:16",
                    HASH_DIGITS_BOUNDS.start(),
                    HASH_DIGITS_BOUNDS.end()
                )),
            },
            (_, Some(_)) => Err(format!("the filter {name:?} takes no argument")),
        }
    }

    /// The date part that it reads.
    pub(super) fn date_part(self) -> Option<DatePart> {
        match self {
            Filter::Date(part) => Some(part),
            _ => None,
        }
    }

    /// The text under this filter. A date part's was made from the value already.
    pub(super) fn apply(self, text: &str) -> String {
        match self {
            Filter::Lower => text.to_lowercase(),
            Filter::Upper => text.to_uppercase(),
            Filter::Trim => text.trim().to_owned(),
            Filter::Url => percent(text, |byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
            }),
            Filter::Escape => percent(text, |byte| !matches!(byte, b':' | b'{' | b'}' | b'%')),
            Filter::Hash(digits) => {
                let mut hex = Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
                    // Writing to a String cannot fail.
                    let _ = write!(hex, "{byte:02x}");
                    hex
                });
                hex.truncate(digits);
                hex
            }
            Filter::Date(_) => text.to_owned(),
        }
    }

    /// True where different texts stay different, so that the column still tells rows apart. A hash does not:
    /// what only will not happen by chance can be made to happen by whoever chooses the texts.
    pub(super) fn keeps_apart(self) -> bool {
        match self {
            Filter::Url | Filter::Escape => true,
            Filter::Lower | Filter::Upper | Filter::Trim | Filter::Hash(_) | Filter::Date(_) => false,
        }
    }

    /// True where its text never holds a brace, whatever the filters before it gave; none puts one in.
    pub(super) fn takes_braces_out(self) -> bool {
        match self {
            Filter::Url | Filter::Escape | Filter::Hash(_) | Filter::Date(_) => true,
            Filter::Lower | Filter::Upper | Filter::Trim => false,
        }
    }

    /// True where a text of this filter may hold that byte: what a key's bytes say about where they came from.
    pub(super) fn may_hold(self, byte: u8) -> bool {
        match self {
            Filter::Lower => !byte.is_ascii_uppercase(),
            Filter::Upper => !byte.is_ascii_lowercase(),
            Filter::Trim => true,
            Filter::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%'),
            Filter::Escape => !matches!(byte, b':' | b'{' | b'}'),
            Filter::Hash(_) => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Filter::Date(_) => byte.is_ascii_digit() || matches!(byte, b'-' | b'+'),
        }
    }

    /// The bytes that its text always has; `None` where they differ.
    pub(super) fn exact_bytes(self) -> Option<usize> {
        match self {
            Filter::Hash(digits) => Some(digits),
            Filter::Lower | Filter::Upper | Filter::Trim | Filter::Url | Filter::Escape | Filter::Date(_) => {
                None
            }
        }
    }

    /// True where its text is never empty.
    pub(super) fn is_never_empty(self) -> bool {
        matches!(self, Filter::Hash(_) | Filter::Date(_))
    }
}

/// Each byte that does not `stand` as `%` and two upper-case digits, as RFC 3986 spells it. UTF-8 stays UTF-8 where
/// `stand` takes a whole character's bytes or none.
fn percent(text: &str, stand: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        let mut bytes = [0; 4];
        let encoded = char.encode_utf8(&mut bytes);
        if encoded.bytes().all(&stand) {
            out.push(char);
        } else {
            for byte in encoded.bytes() {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn unknown(name: &str) -> String {
    let names = || NAMES.iter().map(|(known, _)| *known);
    let alias = matches!(name, "urlencode" | "url_encode" | "url-encode").then_some("url");
    let nearest = names()
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, known)| known);
    match alias.or(nearest) {
        Some(known) => format!("no filter {name:?}; did you mean {known:?}?"),
        None => format!("no filter {name:?}; there are {}", names().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_filter_gives_its_text() {
        for (filter, text, expected) in [
            ("lower", "ÄB", "äb"),
            ("upper", "ß", "SS"),
            ("trim", " a b\t", "a b"),
            ("url", "a/b c:é~-._", "a%2Fb%20c%3A%C3%A9~-._"),
            ("escape", "a:b{c}%é/", "a%3Ab%7Bc%7D%25é/"),
            // `printf abc | sha256sum`
            ("hash", "abc", "ba7816bf8f01cfea414140de5dae2223"),
            ("hash:8", "abc", "ba7816bf"),
            ("hash:64", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ] {
            assert_eq!(Filter::parse(filter).unwrap().apply(text), expected, "{filter}");
        }
    }

    #[test]
    fn filters_that_keep_texts_apart_do_and_the_others_do_not() {
        let texts = ["a", "A", " a", "%61", "%41", "a:b", "a%3Ab", "a%3ab", "{", "%7B", "é", "É", ""];
        for (name, filter) in NAMES {
            if filter.date_part().is_some() {
                assert!(!filter.keeps_apart(), "{name}: many moments share a day");
                continue;
            }
            let made: std::collections::HashSet<_> = texts.iter().map(|text| filter.apply(text)).collect();
            if filter.keeps_apart() {
                assert_eq!(made.len(), texts.len(), "{name}");
            } else if filter != Filter::Hash(HASH_DIGITS) {
                assert!(made.len() < texts.len(), "{name}");
            }
            if filter.takes_braces_out() {
                assert!(made.iter().all(|text| !text.contains(['{', '}'])), "{name}");
            }
            assert!(!(filter.is_never_empty() && made.contains("")), "{name}");
        }
    }

    #[test]
    fn wrong_arguments_and_names_say_what_to_write() {
        for (text, words) in [
            ("hash:7", "from 8 to 64"),
            ("hash:x", "from 8 to 64"),
            ("lower:1", "no argument"),
            ("urlencode", "did you mean \"url\""),
            ("md5", "lower, upper, trim, url, escape, hash, date, year, month, day, hour"),
        ] {
            let problem = Filter::parse(text).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }
}
