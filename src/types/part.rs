//! What a raw part is, whatever carried it: the first look that every rendering takes.

use std::borrow::Cow;

use super::{Raw, ValueError};

/// A raw part, told apart by its own form. JSON tokens keep their spelling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A JSON number token.
    Number(&'a str),
    /// An integer of a binary format.
    Int(i64),
    /// A double of a binary format.
    Double(f64),
    /// A JSON string token with its quotes.
    Quoted(&'a str),
    /// Text that is not JSON.
    Text(&'a str),
    /// Bytes of a binary format.
    Bytes(&'a [u8]),
    /// A JSON array token.
    Array(&'a str),
    /// A JSON object token.
    Object(&'a str),
}

impl<'a> Part<'a> {
    /// Tells a raw part by its form.
    ///
    /// Of a JSON token, only the first and last bytes are looked at (of a number, all): the decoder has
    /// scanned it. What is no JSON token at all is an error.
    pub(super) fn of(raw: Raw<'a>) -> Result<Part<'a>, ValueError> {
        Ok(match raw {
            Raw::Json(token) => return Part::of_token(token),
            Raw::Bool(value) => Part::Bool(value),
            Raw::Int(value) => Part::Int(value),
            Raw::Double(value) => Part::Double(value),
            Raw::Text(text) => Part::Text(text),
            Raw::Bytes(bytes) => Part::Bytes(bytes),
        })
    }

    fn of_token(token: &'a str) -> Result<Part<'a>, ValueError> {
        match (token.as_bytes().first(), token.as_bytes().last()) {
            (Some(b'"'), Some(b'"')) if token.len() > 1 => Ok(Part::Quoted(token)),
            (Some(b'{'), Some(b'}')) => Ok(Part::Object(token)),
            (Some(b'['), Some(b']')) => Ok(Part::Array(token)),
            (Some(b'-' | b'0'..=b'9'), _) if is_number(token) => Ok(Part::Number(token)),
            _ => match token {
                "null" => Ok(Part::Null),
                "true" => Ok(Part::Bool(true)),
                "false" => Ok(Part::Bool(false)),
                _ => Err(ValueError::mismatch("a JSON value", "a malformed token")),
            },
        }
    }

    /// The text of a text part, unescaped; `None` for any other part.
    pub(super) fn text(self) -> Result<Option<Cow<'a, str>>, ValueError> {
        match self {
            Part::Quoted(token) => super::json::unescape(token).map(Some),
            Part::Text(text) => Ok(Some(Cow::Borrowed(text))),
            Part::Null
            | Part::Bool(_)
            | Part::Number(_)
            | Part::Int(_)
            | Part::Double(_)
            | Part::Bytes(_)
            | Part::Array(_)
            | Part::Object(_) => Ok(None),
        }
    }

    /// The error that says that this part is not what its type wants.
    pub(super) fn refuse(self, expected: &'static str) -> ValueError {
        ValueError::mismatch(expected, self.in_words())
    }

    /// The error that says that this part has a form that its type reads, but not this content.
    pub(super) fn misread(self, expected: &'static str) -> ValueError {
        let found = match self {
            Part::Quoted(_) | Part::Text(_) => "another text",
            Part::Array(_) => "another JSON array",
            Part::Object(_) => "another JSON object",
            Part::Null
            | Part::Bool(_)
            | Part::Number(_)
            | Part::Int(_)
            | Part::Double(_)
            | Part::Bytes(_) => self.in_words(),
        };
        ValueError::mismatch(expected, found)
    }

    fn in_words(self) -> &'static str {
        match self {
            Part::Null => "null",
            Part::Bool(_) => "a boolean",
            Part::Number(_) => "a number",
            Part::Int(_) => "an integer",
            Part::Double(_) => "a double",
            Part::Quoted(_) | Part::Text(_) => "a text",
            Part::Bytes(_) => "bytes",
            Part::Array(_) => "a JSON array",
            Part::Object(_) => "a JSON object",
        }
    }
}

impl ValueError {
    /// The error for a part that is not what its type wants; both in words, never a value.
    pub(super) fn mismatch(expected: &'static str, found: &'static str) -> ValueError {
        ValueError { expected: Cow::Borrowed(expected), found: Cow::Borrowed(found) }
    }
}

/// True where the text is a number by JSON's grammar (RFC 8259, section 6).
pub(super) fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    // The usual case, without looking for a point and an exponent.
    if is_digits(unsigned) {
        return unsigned.len() == 1 || !unsigned.starts_with('0');
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    is_digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(is_digits)
        && exponent.is_none_or(|text| is_digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

/// True for one or more ASCII digits and nothing else.
pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_by_the_grammar_of_json() {
        for token in ["0", "-0", "10", "1.5", "1.0E10", "1e+3", "-1.25e-7", "18446744073709551615"] {
            assert!(is_number(token), "{token}");
        }
        for token in ["", "-", "01", "1.", ".5", "+1", "1e", "1e+", "NaN", "0x1", "1 ", "١"] {
            assert!(!is_number(token), "{token}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for token in ["", "\"", "nul", "True", "NaN", "[", "{]", "'a'"] {
            assert!(Part::of(Raw::Json(token)).is_err(), "{token}");
        }
    }
}
