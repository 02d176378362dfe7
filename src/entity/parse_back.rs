//! Whether a key can be one of a template's: for jobs that find keys in the cache and must know whose they are.

use super::template::Template;

/// True where the template can give this key with some row. A column may hold any text, also an empty one; what its
/// filters would make of it is not asked.
pub fn could_give(template: &Template, key: &[u8]) -> bool {
    let Ok(key) = std::str::from_utf8(key) else { return false };
    let mut rest = key;
    let mut open = false;
    let mut pieces = template.literal_skeleton().peekable();
    while let Some(piece) = pieces.next() {
        let Some(literal) = piece else {
            open = true;
            continue;
        };
        if pieces.peek().is_none() && open {
            // What is last stands at the end, wherever else it may stand.
            return rest.ends_with(literal);
        }
        rest = match rest.find(literal) {
            Some(at) if open || at == 0 => rest.get(at + literal.len()..).unwrap_or_default(),
            _ => return false,
        };
        open = false;
    }
    open || rest.is_empty()
}

/// The text that all keys of a template begin with; empty where a column comes first.
pub fn literal_prefix(template: &Template) -> &str {
    template.literal_skeleton().next().flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_by_its_literals() {
        for (template, key, could) in [
            ("user:{id}", "user:7", true),
            ("user:{id}", "user:", true),
            ("user:{id}", "users:7", false),
            ("user:{id}", "user", false),
            ("user:{id}:h", "user:7:h", true),
            ("user:{id}:h", "user:7:h:h", true),
            ("user:{id}:h", "user:7", false),
            ("user:{id}:h", "user:h", false),
            ("{a}:x:{b}", "p:x:q", true),
            ("{a}:x:{b}", "p:y:q", false),
            ("a{x}ab", "ab", false),
            ("a{x}ab", "aab", true),
            ("all", "all", true),
            ("all", "all:1", false),
            ("{{{id}}}:x", "{7}:x", true),
        ] {
            assert_eq!(
                could_give(&Template::parse(template).unwrap(), key.as_bytes()),
                could,
                "{template} {key}"
            );
        }
        assert!(!could_give(&Template::parse("user:{id}").unwrap(), b"user:\xff"));
        assert_eq!(literal_prefix(&Template::parse("user:{id}").unwrap()), "user:");
        assert_eq!(literal_prefix(&Template::parse("{id}:user").unwrap()), "");
    }
}
