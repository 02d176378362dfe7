//! JSON text: escaping, unescaping, and the items of arrays and objects as tokens.
//!
//! Tokens come from the decoder, which has scanned them; this checks as much as it needs in order not to
//! read past them, and refuses what does not fit. Nothing here recurses.

use std::borrow::Cow;

use memchr::memchr2;

use super::ValueError;

fn malformed(expected: &'static str) -> ValueError {
    ValueError::mismatch(expected, "malformed JSON")
}

/// Bytes before the first that a JSON string may not hold as it is: a quote, a backslash, or a control character.
///
/// The first sixteen go in words of eight: a byte that is zero after `^`, or below 0x20, borrows in the subtraction
/// and sets its high bit; the lowest such bit is always right
/// (<https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>). Longer texts go in blocks that the
/// compiler turns into vector instructions: 10 KB take a quarter of the time. Of four bytes to seven, what the first
/// four and the last four are is enough where nothing is found: names of columns.
#[inline]
pub fn plain_length(text: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let mut at = 0;
    while let Some((chunk, _)) = text.get(at..).and_then(|rest| rest.split_first_chunk::<8>()) {
        if let Some(found) = special_in(*chunk) {
            return at + found;
        }
        at += 8;
        if at == 16 {
            while let Some((block, _)) = text.get(at..).and_then(|rest| rest.split_first_chunk::<BLOCK>()) {
                let special =
                    |byte: &u8| u8::from(*byte < 0x20) | u8::from(*byte == b'"') | u8::from(*byte == b'\\');
                if block.iter().fold(0, |found, byte| found | special(byte)) != 0 {
                    break;
                }
                at += BLOCK;
            }
        }
    }
    // The last eight bytes once more: what of them was looked at before is plain.
    if let Some((chunk, from)) = text.last_chunk::<8>().zip(text.len().checked_sub(8)) {
        return from + special_in(*chunk).unwrap_or(8);
    }
    if let (Some([a, b, c, d]), Some([e, f, g, h])) = (text.first_chunk(), text.last_chunk())
        && special_in([*a, *b, *c, *d, *e, *f, *g, *h]).is_none()
    {
        return text.len();
    }
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count()
}

#[inline]
fn special_in(chunk: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let word = u64::from_le_bytes(chunk);
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
    let found = (below(word, 0x20) | quote | backslash) & HIGH;
    (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
}

/// Appends the text as a JSON string with its quotes.
///
/// Escapes what must be escaped (quote, backslash, controls below 0x20) and nothing else; the short forms
/// where JSON has them.
pub fn json_string(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at_checked(plain_length(rest)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        escape(*byte, out);
        rest = after;
    }
    out.push(b'"');
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => b'u',
    };
    out.extend_from_slice(&[b'\\', short]);
    if short == b'u' {
        let low = byte & 0x0f;
        let low = if low < 10 { b'0' + low } else { b'a' + (low - 10) };
        out.extend_from_slice(&[b'0', b'0', b'0' + (byte >> 4), low]);
    }
}

/// The text of a JSON string token (with its quotes). Borrows where nothing is escaped.
///
/// An unknown escape, an unpaired surrogate (which no UTF-8 text can hold), or a quote that ends the string
/// before the token does is an error.
pub fn unescape(token: &str) -> Result<Cow<'_, str>, ValueError> {
    let inner = token
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .ok_or_else(|| malformed("a JSON string"))?;
    let Some(first) = memchr2(b'\\', b'"', inner.as_bytes()) else {
        return Ok(Cow::Borrowed(inner));
    };
    let mut text = String::with_capacity(inner.len());
    let (mut plain, mut rest) = inner.split_at_checked(first).ok_or_else(|| malformed("a JSON string"))?;
    loop {
        text.push_str(plain);
        let Some(escape) = rest.strip_prefix('\\') else {
            if rest.is_empty() {
                return Ok(Cow::Owned(text));
            }
            return Err(malformed("a JSON string"));
        };
        let (character, after) = escaped(escape).ok_or_else(|| malformed("a JSON escape"))?;
        text.push(character);
        let next = memchr2(b'\\', b'"', after.as_bytes()).unwrap_or(after.len());
        (plain, rest) = after.split_at_checked(next).ok_or_else(|| malformed("a JSON string"))?;
    }
}

/// The character of one escape (without its backslash) and what follows it.
fn escaped(escape: &str) -> Option<(char, &str)> {
    let mut rest = escape.chars();
    let character = match rest.next()? {
        same @ ('"' | '\\' | '/') => same,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let (high, after) = hex4(rest.as_str())?;
            if !(0xd800..0xdc00).contains(&high) {
                return Some((char::from_u32(high)?, after));
            }
            let (low, after) = hex4(after.strip_prefix("\\u")?)?;
            if !(0xdc00..0xe000).contains(&low) {
                return None;
            }
            let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            return Some((char::from_u32(code)?, after));
        }
        _ => return None,
    };
    Some((character, rest.as_str()))
}

fn hex4(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

/// The items of an array, or the members of an object, as tokens.
#[derive(Debug)]
pub(super) struct Items<'a> {
    rest: &'a str,
    /// A comma was passed (or nothing was taken yet): an item must follow.
    wants_item: bool,
}

impl<'a> Items<'a> {
    /// The items of an array token.
    pub(super) fn of_array(token: &'a str) -> Result<Items<'a>, ValueError> {
        Items::between(token, '[', ']').ok_or_else(|| malformed("a JSON array"))
    }

    /// The members of an object token.
    pub(super) fn of_object(token: &'a str) -> Result<Items<'a>, ValueError> {
        Items::between(token, '{', '}').ok_or_else(|| malformed("a JSON object"))
    }

    fn between(token: &'a str, open: char, close: char) -> Option<Items<'a>> {
        let rest = token.strip_prefix(open)?.strip_suffix(close)?.trim_ascii();
        Some(Items { rest, wants_item: !rest.is_empty() })
    }

    /// The next item of an array; `None` at its end.
    pub(super) fn item(&mut self) -> Result<Option<&'a str>, ValueError> {
        if !self.wants_item {
            return Ok(None);
        }
        let item = self.token()?;
        self.comma()?;
        Ok(Some(item))
    }

    /// The next member of an object, its name as a string token; `None` at its end.
    pub(super) fn member(&mut self) -> Result<Option<(&'a str, &'a str)>, ValueError> {
        if !self.wants_item {
            return Ok(None);
        }
        let name = self.token()?;
        let colon = self.rest.trim_ascii_start().strip_prefix(':');
        self.rest = colon.ok_or_else(|| malformed("a JSON object"))?;
        if !name.starts_with('"') {
            return Err(malformed("a JSON object"));
        }
        let value = self.token()?;
        self.comma()?;
        Ok(Some((name, value)))
    }

    fn token(&mut self) -> Result<&'a str, ValueError> {
        let text = self.rest.trim_ascii_start();
        let (token, rest) = token_end(text.as_bytes())
            .and_then(|end| text.split_at_checked(end))
            .filter(|(token, _)| !token.is_empty())
            .ok_or_else(|| malformed("a JSON value"))?;
        self.rest = rest;
        Ok(token)
    }

    fn comma(&mut self) -> Result<(), ValueError> {
        let rest = self.rest.trim_ascii_start();
        self.wants_item = !rest.is_empty();
        self.rest = match rest.strip_prefix(',') {
            Some(after) => after,
            None if rest.is_empty() => rest,
            None => return Err(malformed("a comma between JSON values")),
        };
        Ok(())
    }
}

/// Where the token that the text begins with ends. Brackets are counted, not matched.
fn token_end(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string_end(text),
        b'[' | b'{' => {
            let mut depth = 0_usize;
            let mut at = 0;
            loop {
                match text.get(at)? {
                    b'"' => {
                        at += string_end(text.get(at..)?)?;
                        continue;
                    }
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b':' | b']' | b'}') || byte.is_ascii_whitespace();
            Some(text.iter().position(ends).unwrap_or(text.len()))
        }
    }
}

/// Where the string that the text begins with ends, past its closing quote.
fn string_end(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        match text.get(at)? {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_string_may_hold_as_it_is_ends_at_the_first_special_byte_wherever_it_is() {
        for length in 0..70 {
            let plain: Vec<u8> = (0..length).map(|at| [b' ', b'!', 0x7f, 0x80, 0xff][at % 5]).collect();
            assert_eq!(plain_length(&plain), length);
            for at in 0..length {
                for special in [b'"', b'\\', 0, 0x1f] {
                    let mut text = plain.clone();
                    text[at] = special;
                    assert_eq!(plain_length(&text), at, "of {length}");
                    *text.last_mut().unwrap() = b'"';
                    assert_eq!(plain_length(&text), at, "of {length}, with another at the end");
                }
            }
        }
    }

    fn escape(text: &str) -> String {
        let mut out = Vec::new();
        json_string(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_little_as_json_allows() {
        for (text, token) in [
            ("", r#""""#),
            ("a/b\u{7f}é😀", "\"a/b\u{7f}é😀\""),
            ("q\"b\\", r#""q\"b\\""#),
            ("\u{8}\u{9}\u{a}\u{c}\u{d}", r#""\b\t\n\f\r""#),
            ("\u{0}\u{1f}\u{b}", r#""\u0000\u001f\u000b""#),
        ] {
            assert_eq!(escape(text), token);
            assert_eq!(unescape(token).unwrap(), text);
            assert_eq!(serde_json::from_str::<String>(token).unwrap(), text);
        }
    }

    #[test]
    fn escapes_are_read_and_bad_ones_refused() {
        for (token, text) in [(r#""\/""#, "/"), (r#""\u00e9\u20AC""#, "é€"), (r#""a\ud83d\ude00b""#, "a😀b")]
        {
            assert_eq!(unescape(token).unwrap(), text);
        }
        for token in [
            "",
            "\"",
            "a",
            r#""\""#,
            r#""\x""#,
            r#""\u12""#,
            r#""\u+123""#,
            r#""\ud83d""#,
            r#""\ud83dx""#,
            r#""\ud83d\u0041""#,
            r#""\ude00""#,
            r#""a"b""#,
            r#""a\n"b""#,
        ] {
            assert!(unescape(token).is_err(), "{token}");
        }
        assert!(matches!(unescape("\"plain\""), Ok(Cow::Borrowed("plain"))));
    }

    #[test]
    fn items_and_members_come_as_tokens() {
        let mut items = Items::of_array("[ 1,\n\"a,]\\\"\" , {\"b\":[2,\"}\"]}\t,null ]").unwrap();
        let mut seen = Vec::new();
        while let Some(item) = items.item().unwrap() {
            seen.push(item);
        }
        assert_eq!(seen, ["1", "\"a,]\\\"\"", "{\"b\":[2,\"}\"]}", "null"]);

        let mut members = Items::of_object("{\"a\" :1 , \"b:\":[ ] }").unwrap();
        assert_eq!(members.member().unwrap(), Some(("\"a\"", "1")));
        assert_eq!(members.member().unwrap(), Some(("\"b:\"", "[ ]")));
        assert_eq!(members.member().unwrap(), None);
        assert_eq!(Items::of_array("[ ]").unwrap().item().unwrap(), None);
    }

    #[test]
    fn malformed_items_are_errors() {
        for token in ["[1,]", "[,1]", "[1 2]", "[\"a]", "[[1]", "[1]]", "[ , ]"] {
            let mut items = Items::of_array(token).unwrap();
            let outcome = loop {
                match items.item() {
                    Ok(Some(_)) => {}
                    other => break other,
                }
            };
            assert!(outcome.is_err(), "{token}");
        }
        assert!(Items::of_object("{\"a\"}").unwrap().member().is_err());
        assert!(Items::of_object("{1:2}").unwrap().member().is_err());
        assert!(Items::of_array("{}").is_err());
    }
}
