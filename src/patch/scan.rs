//! The members of a JSON object as they stand, without reading what they mean.
//!
//! Looks at quotes, brackets, commas and colons alone: what lies between is copied. Text that is no JSON may
//! pass where its outline is an object's; text whose outline is not never does. No recursion, one pass. The same
//! steps stand in Lua in `sink::redis::scripts`.

/// Name and value tokens in order; `None` where it is no object, or names a member twice.
pub(super) fn members(json: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut members: Vec<(&[u8], &[u8])> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut at = blank(json, 0);
    if json.get(at) != Some(&b'{') {
        return None;
    }
    at = blank(json, at + 1);
    if json.get(at) == Some(&b'}') {
        return (blank(json, at + 1) == json.len()).then_some(members);
    }
    loop {
        let name_end = text_end(json, at)?;
        let name = json.get(at..name_end)?;
        at = blank(json, name_end);
        if json.get(at) != Some(&b':') {
            return None;
        }
        at = blank(json, at + 1);
        let value_end = value_end(json, at)?;
        if !seen.insert(name) {
            return None;
        }
        members.push((name, json.get(at..value_end)?));
        at = blank(json, value_end);
        match json.get(at)? {
            b',' => at = blank(json, at + 1),
            b'}' => return (blank(json, at + 1) == json.len()).then_some(members),
            _ => return None,
        }
    }
}

/// Where the white space at `at` ends.
fn blank(json: &[u8], at: usize) -> usize {
    let rest = json.get(at..).unwrap_or_default();
    let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    at + rest.iter().take_while(|byte| space(byte)).count()
}

/// Where the text that begins at `at` ends.
fn text_end(json: &[u8], at: usize) -> Option<usize> {
    if json.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where the value that begins at `at` ends.
fn value_end(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => text_end(json, at),
        b'{' | b'[' => {
            let (mut at, mut depth) = (at, 0_usize);
            loop {
                match json.get(at)? {
                    b'"' => {
                        at = text_end(json, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let rest = json.get(at..)?;
            let scalar = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
            let length = rest.iter().take_while(|byte| scalar(byte)).count();
            (length > 0).then_some(at + length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> Option<Vec<(String, String)>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let members = members(json.as_bytes())?;
        Some(members.into_iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    #[test]
    fn tokens_are_told_apart_and_stay_as_they_are() {
        for (json, expected) in [
            ("{}", vec![]),
            (" { } ", vec![]),
            (r#"{"a":12.50}"#, vec![("\"a\"", "12.50")]),
            (
                r#"{"a\"}":"}\\","b":[{"x":"]"},[1,2]] , "c" : -1e+9}"#,
                vec![(r#""a\"}""#, r#""}\\""#), ("\"b\"", r#"[{"x":"]"},[1,2]]"#), ("\"c\"", "-1e+9")],
            ),
            (r#"{"n":null,"é":"ü"}"#, vec![("\"n\"", "null"), ("\"é\"", "\"ü\"")]),
        ] {
            let expected = expected.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            assert_eq!(shown(json), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_is_no_object_is_none() {
        for json in [
            "",
            "null",
            "[1]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":1}x",
            "{\"a\":\"}",
            "{\"a\":[1}",
            "{\"a\":,}",
            "{\"a\":1,\"a\":2}",
            "{\"a\":1 2}",
            "{}}",
        ] {
            assert_eq!(shown(json), None, "{json}");
        }
    }
}
