//! One strict pass over JSON text into borrowed raw parts.
//!
//! A pull scanner instead of a deserializer: an envelope is validated once while its rows, its source
//! block and their raw texts are taken in the same pass. With `&RawValue` each level is a pass of its own,
//! and the source block needs two. Nothing is converted; only names with escapes are copied. Values are
//! checked by the grammar of RFC 8259 (<https://www.rfc-editor.org/rfc/rfc8259>), nesting is bounded.
//! Start at [`Scanner`].

use std::borrow::Cow;

use crate::types::plain_length;

/// Nesting that is read; serde_json's default bound, so that what was accepted here can be parsed there.
pub(super) const DEPTH_MAX: u32 = 127;

/// Where the text stops being JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// Byte in the scanned text.
    pub(super) at: usize,
    /// What was expected.
    pub(super) what: &'static str,
}

/// Reads JSON text from left to right. Copying it remembers a place to go back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    /// Starts at that byte of the text.
    pub(super) fn new(text: &'a str, at: usize) -> Scanner<'a> {
        Scanner { text, at, depth: 0 }
    }

    /// The next byte that is not white space, which stays unread.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                // One comparison for the usual case: white space lies below every other byte of the grammar.
                Some(byte) if byte > b' ' => return Some(byte),
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other,
            }
        }
    }

    /// Byte in the text that is read next.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Reads one value whatever it is; its text without the white space around it.
    pub(super) fn skip(&mut self) -> Result<&'a str, Fault> {
        self.peek();
        let start = self.at;
        self.value()?;
        self.since(start)
    }

    /// The same of a value inside an envelope's row: two levels of nesting count as entered.
    #[inline]
    pub(super) fn skip_inside(&mut self) -> Result<&'a str, Fault> {
        self.depth = 2;
        self.skip()
    }

    /// Reads these very bytes; false, and nothing is read, where others stand there.
    #[inline]
    pub(super) fn pass(&mut self, bytes: &str) -> bool {
        let stands_there = self.rest().starts_with(bytes.as_bytes());
        self.at += if stands_there { bytes.len() } else { 0 };
        stands_there
    }

    /// Reads an object, calling `take` behind each name; it must read exactly the member's value.
    pub(super) fn each_member(
        &mut self,
        mut take: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut more = self.open(b'{', b'}')?;
        while more {
            let name = self.name()?;
            take(self, name)?;
            more = self.more(b'}')?;
        }
        Ok(())
    }

    /// Reads an array, calling `take` before each element; it must read exactly the element.
    pub(super) fn each_element(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut more = self.open(b'[', b']')?;
        while more {
            take(self)?;
            more = self.more(b']')?;
        }
        Ok(())
    }

    /// The name of an object's first member, unread; `None` where there is no such thing.
    pub(super) fn first_name(mut self) -> Option<Cow<'a, str>> {
        self.open(b'{', b'}').ok()?.then(|| self.name().ok())?
    }

    /// Nothing but white space may follow.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault("expected the end")),
        }
    }

    fn value(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{') => {
                let mut more = self.open(b'{', b'}')?;
                while more {
                    self.member_name()?;
                    self.colon()?;
                    self.value()?;
                    more = self.more(b'}')?;
                }
                Ok(())
            }
            Some(b'[') => {
                let mut more = self.open(b'[', b']')?;
                while more {
                    self.value()?;
                    more = self.more(b']')?;
                }
                Ok(())
            }
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => Err(self.fault("expected a value")),
        }
    }

    /// Enters an object or array; false where it is empty, and then it is left again.
    fn open(&mut self, opening: u8, closing: u8) -> Result<bool, Fault> {
        if self.peek() != Some(opening) {
            return Err(self.fault(if opening == b'{' { "expected an object" } else { "expected an array" }));
        }
        if self.depth >= DEPTH_MAX {
            return Err(self.fault("nested too deeply"));
        }
        self.at += 1;
        if self.peek() == Some(closing) {
            self.at += 1;
            return Ok(false);
        }
        self.depth += 1;
        Ok(true)
    }

    /// Behind a member or an element: true where another one follows, else leaves the object or array.
    fn more(&mut self, closing: u8) -> Result<bool, Fault> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(found) if found == closing => {
                self.at += 1;
                self.depth = self.depth.saturating_sub(1);
                Ok(false)
            }
            _ => Err(self.fault("expected a comma or the end of the object or array")),
        }
    }

    fn name(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.peek();
        let start = self.at;
        let escaped = self.member_name()?;
        let end = self.at;
        self.colon()?;
        let fault = Fault { at: start, what: "a name with half a surrogate pair" };
        if escaped {
            return self.text.get(start..end).and_then(unescape).ok_or(fault);
        }
        self.text.get(start + 1..end - 1).map(Cow::Borrowed).ok_or(fault)
    }

    /// A member's name; true where it holds an escape.
    fn member_name(&mut self) -> Result<bool, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("expected a name in quotes"));
        }
        self.string()
    }

    fn colon(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b':') {
            return Err(self.fault("expected a colon"));
        }
        self.at += 1;
        Ok(())
    }

    /// A string from its opening quote. Escapes are checked, not resolved; true where there is one.
    fn string(&mut self) -> Result<bool, Fault> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.plain();
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(self.fault("a control character in a string")),
                None => return Err(Fault { at: start, what: "a string without its end" }),
            }
            escaped = true;
        }
    }

    /// Moves to the next quote, backslash or control character.
    #[inline]
    fn plain(&mut self) {
        self.at += plain_length(self.rest());
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let length = match self.rest() {
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [_, b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => 6,
            _ => return Err(self.fault("an unknown escape")),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let mut words = 0;
        // Eight at a time: positions and times have ten to twenty.
        while let Some((word, _)) = rest.get(words..).and_then(|rest| rest.split_first_chunk::<8>()) {
            if !all_digits(*word) {
                break;
            }
            words += 8;
        }
        let rest = rest.get(words..).unwrap_or_default();
        let count = words + rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        if count == 0 {
            return Err(self.fault("expected a digit"));
        }
        self.at += count;
        Ok(())
    }

    fn literal(&mut self, literal: &'static str) -> Result<(), Fault> {
        if !self.rest().starts_with(literal.as_bytes()) {
            return Err(self.fault("expected a value"));
        }
        self.at += literal.len();
        Ok(())
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The text from that byte to where the scanner stands.
    pub(super) fn since(&self, start: usize) -> Result<&'a str, Fault> {
        self.text.get(start..self.at).ok_or(Fault { at: start, what: "expected a value" })
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault { at: self.at, what }
    }
}

/// True where all eight bytes are digits: the high half of each is 3, also once six was added to it.
#[inline]
fn all_digits(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let (word, highs) = (u64::from_le_bytes(word), ONES * 0xf0);
    let threes = ONES * 0x30;
    word & highs == threes && word.wrapping_add(ONES * 6) & highs == threes
}

/// The text of a string token (quotes included), borrowed where it holds no escape.
///
/// `None` where it is no string token, or an escape is half of a surrogate pair, which no text can hold.
pub(super) fn unescape(token: &str) -> Option<Cow<'_, str>> {
    let inner = token.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(token).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn whole(text: &str) -> Result<&str, Fault> {
        let mut scanner = Scanner::new(text, 0);
        let token = scanner.skip()?;
        scanner.finish()?;
        Ok(token)
    }

    #[test]
    fn takes_what_the_grammar_takes_and_says_where_it_stops() {
        for (text, fault) in [
            (r#" {"a" : [1, -0.5e+3, "x\u00e9\"", true, null, {}], "b":[]} "#, None),
            ("0", None),
            ("01", Some(1)),
            ("1.", Some(2)),
            ("-", Some(1)),
            ("[1,]", Some(3)),
            (r#"{"a":1,}"#, Some(7)),
            (r#"{"a" 1}"#, Some(5)),
            ("\"a\nb\"", Some(2)),
            (r#""\x""#, Some(1)),
            (r#""\u12g4""#, Some(1)),
            (r#""open"#, Some(0)),
            ("NaN", Some(0)),
            ("nul", Some(0)),
            ("{} x", Some(3)),
            ("", Some(0)),
        ] {
            assert_eq!(whole(text).err().map(|fault| fault.at), fault, "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(whole(&nested(127)).is_ok());
        assert_eq!(whole(&nested(100_000)).unwrap_err().what, "nested too deeply");
    }

    #[test]
    fn names_are_borrowed_unless_escaped() {
        let mut names = Vec::new();
        Scanner::new(r#"{"plain":1,"\u00e9t\u00e9":2}"#, 0)
            .each_member(|scanner, name| {
                names.push(name);
                scanner.skip().map(drop)
            })
            .unwrap();
        assert!(matches!(names.as_slice(), [Cow::Borrowed("plain"), Cow::Owned(own)] if own == "été"));
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|value| value.to_string()),
            any::<i64>().prop_map(|value| value.to_string()),
            any::<f32>().prop_map(|value| serde_json::to_string(&value).unwrap()),
            any::<String>().prop_map(|value| serde_json::to_string(&value).unwrap()),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(" ,"))),
                prop::collection::vec((any::<String>(), inner), 0..4).prop_map(|members| {
                    let members: Vec<String> = members
                        .iter()
                        .map(|(name, value)| format!("{}: {value}", serde_json::to_string(name).unwrap()))
                        .collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_valid_and_broken_text(
            text in json(), cut in any::<prop::sample::Index>(), byte in any::<char>(),
        ) {
            prop_assert_eq!(whole(&text), Ok(text.as_str()));
            let at = text.char_indices().map(|(at, _)| at).nth(cut.index(text.chars().count())).unwrap();
            let (head, tail) = text.split_at(at);
            for broken in [head.to_owned(), format!("{head}{byte}{tail}")] {
                let theirs = serde_json::from_str::<&RawValue>(&broken).is_ok();
                prop_assert_eq!(whole(&broken).is_ok(), theirs, "{}", broken);
            }
        }
    }
}
