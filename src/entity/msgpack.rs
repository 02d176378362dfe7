//! JSON as MessagePack, and back for `explain`: <https://github.com/msgpack/msgpack/blob/master/spec.md>.
//!
//! Each value takes its shortest form, so that the same JSON gives the same bytes. Whole numbers of 64 bits stay
//! whole; longer ones are texts, for MessagePack has none; a number with a point or exponent is the nearest
//! 64-bit float, and a text where that would be infinite. Members keep their order. Start at [`from_json`].

use crate::error::HandleError;
use crate::types::{json_string, unescape};

/// Deeper than any row; keeps the recursion far from the end of a thread's stack.
const DEPTH_MAX: usize = 128;

/// The JSON as MessagePack. Nesting over 128 levels, half a surrogate pair in a text and what is no JSON (a handler
/// in Rust may say so) are errors.
pub(super) fn from_json(json: &[u8]) -> Result<Vec<u8>, HandleError> {
    let mut out = Vec::with_capacity(json.len());
    let text = std::str::from_utf8(json).ok();
    let whole = text.and_then(|text| {
        let mut reader = Reader { rest: text, out: &mut out };
        reader.value(DEPTH_MAX)?;
        reader.space();
        reader.rest.is_empty().then_some(())
    });
    match whole {
        Some(()) => Ok(out),
        None => Err(HandleError::Handler(
            "the JSON cannot be written as MessagePack: over 128 levels deep, or not well-formed".into(),
        )),
    }
}

struct Reader<'j, 'o> {
    rest: &'j str,
    out: &'o mut Vec<u8>,
}

impl<'j> Reader<'j, '_> {
    fn value(&mut self, depth: usize) -> Option<()> {
        self.space();
        match self.rest.as_bytes().first()? {
            b'{' => self.many(depth.checked_sub(1)?, '}', 0x80, 0xde),
            b'[' => self.many(depth.checked_sub(1)?, ']', 0x90, 0xdc),
            b'"' => self.text(),
            b't' => self.literal("true", 0xc3),
            b'f' => self.literal("false", 0xc2),
            b'n' => self.literal("null", 0xc0),
            _ => self.number(),
        }
    }

    /// An object or an array. Its count is known at its end: the head is made room for then.
    fn many(&mut self, depth: usize, end: char, short: u8, long: u8) -> Option<()> {
        self.rest = self.rest.get(1..)?;
        let start = self.out.len();
        self.out.push(0);
        let mut count: u32 = 0;
        self.space();
        if let Some(rest) = self.rest.strip_prefix(end) {
            self.rest = rest;
        } else {
            loop {
                if end == '}' {
                    self.space();
                    self.text()?;
                    self.space();
                    self.rest = self.rest.strip_prefix(':')?;
                }
                self.value(depth)?;
                count = count.checked_add(1)?;
                self.space();
                if let Some(rest) = self.rest.strip_prefix(',') {
                    self.rest = rest;
                } else {
                    self.rest = self.rest.strip_prefix(end)?;
                    break;
                }
            }
        }
        let head = match (u8::try_from(count), u16::try_from(count)) {
            (Ok(count @ 0..=15), _) => vec![short | count],
            (_, Ok(count)) => [&[long], &count.to_be_bytes()[..]].concat(),
            (_, Err(_)) => [&[long + 1], &count.to_be_bytes()[..]].concat(),
        };
        self.out.splice(start..=start, head);
        Some(())
    }

    fn text(&mut self) -> Option<()> {
        let inside = self.rest.strip_prefix('"')?;
        let mut end = 0;
        while let Some(stop) = inside.get(end..)?.find(['"', '\\']) {
            end += stop;
            if inside.as_bytes().get(end) == Some(&b'"') {
                // Both quotes are one byte each.
                let (token, rest) = self.rest.split_at_checked(end.checked_add(2)?)?;
                self.rest = rest;
                write_text(&unescape(token).ok()?, self.out);
                return Some(());
            }
            let escaped = inside.get(end + 1..)?.chars().next()?;
            end += 1 + escaped.len_utf8();
        }
        None
    }

    fn literal(&mut self, word: &str, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        self.out.push(byte);
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let is_part = |c: char| matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        if let Ok(whole) = token.parse::<u64>() {
            write_uint(whole, self.out);
        } else if let Ok(whole) = token.parse::<i64>() {
            write_negative(whole, self.out);
        } else if token.contains(['.', 'e', 'E']) {
            let float: f64 = token.parse().ok()?;
            if float.is_finite() {
                tagged(0xcb, &float.to_be_bytes(), self.out);
            } else {
                write_text(token, self.out);
            }
        } else {
            let digits = token.strip_prefix('-').unwrap_or(token);
            (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
            write_text(token, self.out);
        }
        Some(())
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    let length = text.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=31), _) => out.push(0xa0 | length),
        (Ok(length), _) => out.extend_from_slice(&[0xd9, length]),
        (_, Ok(length)) => {
            out.push(0xda);
            out.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(0xdb);
            // A value of 4 GiB is far over any limits.value_bytes.
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

fn write_uint(number: u64, out: &mut Vec<u8>) {
    match (u8::try_from(number), u16::try_from(number), u32::try_from(number)) {
        (Ok(small @ 0..=127), ..) => out.push(small),
        (Ok(small), ..) => out.extend_from_slice(&[0xcc, small]),
        (_, Ok(number), _) => tagged(0xcd, &number.to_be_bytes(), out),
        (.., Ok(number)) => tagged(0xce, &number.to_be_bytes(), out),
        _ => tagged(0xcf, &number.to_be_bytes(), out),
    }
}

fn write_negative(number: i64, out: &mut Vec<u8>) {
    match (i8::try_from(number), i16::try_from(number), i32::try_from(number)) {
        (Ok(small @ -32..), ..) => out.extend_from_slice(&small.to_be_bytes()),
        (Ok(small), ..) => tagged(0xd0, &small.to_be_bytes(), out),
        (_, Ok(number), _) => tagged(0xd1, &number.to_be_bytes(), out),
        (.., Ok(number)) => tagged(0xd2, &number.to_be_bytes(), out),
        _ => tagged(0xd3, &number.to_be_bytes(), out),
    }
}

fn tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

/// MessagePack as JSON: what [`from_json`] makes, and nothing else; `None` for anything else.
pub(super) fn to_json(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    json_value(&mut rest, &mut out, DEPTH_MAX)?;
    rest.is_empty().then_some(out)
}

fn json_value(rest: &mut &[u8], out: &mut Vec<u8>, depth: usize) -> Option<()> {
    let [tag] = take(rest)?;
    let count = |number: Option<u32>| usize::try_from(number?).ok();
    match tag {
        0xc0 => out.extend_from_slice(b"null"),
        0xc2 => out.extend_from_slice(b"false"),
        0xc3 => out.extend_from_slice(b"true"),
        0x00..=0x7f => show(tag, out),
        0xe0..=0xff => show(i8::from_be_bytes([tag]), out),
        0xcc => show(u8::from_be_bytes(take(rest)?), out),
        0xcd => show(u16::from_be_bytes(take(rest)?), out),
        0xce => show(u32::from_be_bytes(take(rest)?), out),
        0xcf => show(u64::from_be_bytes(take(rest)?), out),
        0xd0 => show(i8::from_be_bytes(take(rest)?), out),
        0xd1 => show(i16::from_be_bytes(take(rest)?), out),
        0xd2 => show(i32::from_be_bytes(take(rest)?), out),
        0xd3 => show(i64::from_be_bytes(take(rest)?), out),
        0xcb => show(serde_json::Number::from_f64(f64::from_be_bytes(take(rest)?))?, out),
        0xa0..=0xbf => json_text(rest, usize::from(tag & 0x1f), out)?,
        0xd9 => {
            let length = u8::from_be_bytes(take(rest)?);
            json_text(rest, usize::from(length), out)?;
        }
        0xda => {
            let length = u16::from_be_bytes(take(rest)?);
            json_text(rest, usize::from(length), out)?;
        }
        0xdb => {
            let length = count(Some(u32::from_be_bytes(take(rest)?)))?;
            json_text(rest, length, out)?;
        }
        0x80..=0x8f => json_many(rest, usize::from(tag & 0x0f), true, out, depth)?,
        0x90..=0x9f => json_many(rest, usize::from(tag & 0x0f), false, out, depth)?,
        0xde | 0xdc => {
            let length = u16::from_be_bytes(take(rest)?);
            json_many(rest, usize::from(length), tag == 0xde, out, depth)?;
        }
        0xdf | 0xdd => {
            let length = count(Some(u32::from_be_bytes(take(rest)?)))?;
            json_many(rest, length, tag == 0xdf, out, depth)?;
        }
        _ => return None,
    }
    Some(())
}

fn json_many(rest: &mut &[u8], count: usize, is_map: bool, out: &mut Vec<u8>, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    out.push(if is_map { b'{' } else { b'[' });
    for index in 0..count {
        if index > 0 {
            out.push(b',');
        }
        if is_map {
            json_value(rest, out, depth)?;
            out.push(b':');
        }
        json_value(rest, out, depth)?;
    }
    out.push(if is_map { b'}' } else { b']' });
    Some(())
}

fn json_text(rest: &mut &[u8], length: usize, out: &mut Vec<u8>) -> Option<()> {
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    json_string(std::str::from_utf8(text).ok()?, out);
    Some(())
}

fn show(number: impl ToString, out: &mut Vec<u8>) {
    out.extend_from_slice(number.to_string().as_bytes());
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(json: &str) -> String {
        from_json(json.as_bytes()).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn each_value_takes_the_shortest_form_of_the_specification() {
        for (json, expected) in [
            ("null", "c0"),
            ("true", "c3"),
            ("0", "00"),
            ("127", "7f"),
            ("128", "cc80"),
            ("256", "cd0100"),
            ("65536", "ce00010000"),
            ("4294967296", "cf0000000100000000"),
            ("18446744073709551615", "cfffffffffffffffff"),
            ("-1", "ff"),
            ("-32", "e0"),
            ("-33", "d0df"),
            ("-129", "d1ff7f"),
            ("-32769", "d2ffff7fff"),
            ("-9223372036854775808", "d38000000000000000"),
            ("1.5", "cb3ff8000000000000"),
            ("1e2", "cb4059000000000000"),
            ("1e999", "a53165393939"),
            ("18446744073709551616", "b43138343436373434303733373039353531363136"),
            (r#""a\"\u00e9""#, "a46122c3a9"),
            (r#"{ "compact" : true, "schema" : 0 }"#, "82a7636f6d70616374c3a6736368656d6100"),
            ("[1,[],{}]", "93019080"),
        ] {
            assert_eq!(hex(json), expected, "{json}");
        }
        assert_eq!(&hex(&format!("\"{}\"", "x".repeat(40)))[..6], "d92878");
        assert_eq!(&hex(&format!("\"{}\"", "x".repeat(256)))[..8], "da010078");
        let sixteen = vec!["1"; 16].join(",");
        assert_eq!(&hex(&format!("[{sixteen}]"))[..8], "dc001001");
    }

    #[test]
    fn what_was_written_reads_back() {
        let wide: Vec<String> = (0..70_000).map(|n| format!("\"k{n}\":{n}")).collect();
        let long = "é\\n".repeat(40_000);
        for json in [
            r#"{"a":[-1,-33,-129,-40000,-3000000000,200,300,70000,5000000000],"b":{"c":null,"d":false},"e":1.5}"#,
            &format!("{{{}}}", wide.join(",")),
            &format!("{{\"t\":\"{long}\"}}"),
        ] {
            let packed = from_json(json.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(to_json(&packed).unwrap()).unwrap(), json);
            assert!(to_json(packed.get(..packed.len() - 1).unwrap()).is_none(), "cut short");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>, text in "[\\[\\]{}\",:\\\\u0-9a-f .eE+-]{0,40}") {
            let _ = to_json(&bytes);
            let _ = from_json(&bytes);
            // serde_json has other bounds on numbers only: it refuses a float that 64 bits do not hold.
            if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                let packed = from_json(text.as_bytes()).unwrap();
                let shown: serde_json::Value = serde_json::from_slice(&to_json(&packed).unwrap()).unwrap();
                assert!(shown.is_object() || !text.trim().starts_with('{'));
            }
        }
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_an_error_and_never_a_panic() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(from_json(deep(128).as_bytes()).is_ok());
        for bad in [
            "",
            "{",
            "[1",
            "[1,]",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"""#,
            r#""\"#,
            r#""\u12"#,
            "-",
            "1-",
            "tru",
            "1 2",
            r#""\ud800""#,
            &deep(129),
            &deep(200_000),
        ] {
            let short: String = bad.chars().take(20).collect();
            assert!(from_json(bad.as_bytes()).is_err(), "{short}");
        }
        assert!(from_json(b"\"\xff\"").is_err());
        for bad in [&[][..], &[0xc1], &[0xdf, 0xff, 0xff, 0xff, 0xff], &[0x91; 1_000], &[0xa1, 0xff]] {
            assert!(to_json(bad).is_none(), "{:?}", bad.first());
        }
    }
}
