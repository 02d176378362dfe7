//! Which keys a template can give: what a scan for keys of an entity goes by.
//!
//! Columns and their filters are not undone. A column can hold any text, so a key is taken for the template's
//! wherever its literals allow it: never one that the template cannot give, for such a key lacks one of them.

use super::template::Template;

impl Template {
    /// The text that every key of it begins with; empty where it begins with a column.
    pub fn literal_prefix(&self) -> &str {
        self.literal_skeleton().next().flatten().unwrap_or_default()
    }

    /// True where the template can give this key, for some texts of its columns (an empty one is a text).
    pub fn parse_back(&self, key: &[u8]) -> bool {
        let pieces: Vec<Option<&str>> = self.literal_skeleton().collect();
        let mut rest = key;
        let mut open = false;
        for (index, piece) in pieces.iter().enumerate() {
            let Some(literal) = piece.map(str::as_bytes) else {
                open = true;
                continue;
            };
            let last = index + 1 == pieces.len();
            // The first place is as good as any, for what is left behind it can only be longer.
            let at = match (open, last) {
                (false, _) => rest.starts_with(literal).then_some(0),
                (true, true) => rest.ends_with(literal).then(|| rest.len() - literal.len()),
                (true, false) => find(rest, literal),
            };
            let Some(behind) = at.and_then(|at| rest.get(at + literal.len()..)) else { return false };
            rest = behind;
            open = false;
        }
        open || rest.is_empty()
    }
}

fn find(text: &[u8], literal: &[u8]) -> Option<usize> {
    text.windows(literal.len()).position(|window| window == literal)
}

/// The prefixes of these templates, none of which begins with another.
pub fn literal_prefixes(templates: &[Template]) -> Vec<&str> {
    let mut prefixes: Vec<&str> = templates.iter().map(Template::literal_prefix).collect();
    prefixes.sort_unstable();
    prefixes.dedup_by(|longer, shorter| longer.starts_with(*shorter));
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::testing::row;
    use crate::types::RenderStyle;

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    #[test]
    fn a_key_is_taken_where_the_literals_allow_it() {
        for (text, key, expected) in [
            ("customer:{id}", "customer:7", true),
            ("customer:{id}", "customer:", true),
            ("customer:{id}", "customer:7:h", true),
            ("customer:{id}", "customers:7", false),
            ("customer:{id}:h", "customer:7:h", true),
            ("customer:{id}:h", "customer:7", false),
            ("customer:{id}:h", "customer::h", true),
            ("customer:{id}:h", "customer:h", false),
            ("a{x}b{y}b", "abb", true),
            ("a{x}b{y}b", "ab", false),
            ("a{x}b{y}b", "a1b2b", true),
            ("a{x}{y}", "a", true),
            ("{x}:h", "7:h", true),
            ("u:{{{id}}}:p", "u:{7}:p", true),
            ("u:{{{id}}}:p", "u:7:p", false),
            ("all", "all", true),
            ("all", "all:7", false),
        ] {
            assert_eq!(template(text).parse_back(key.as_bytes()), expected, "{key} of {text}");
        }
        assert!(template("photo:{id}").parse_back(b"photo:\xff"), "keys are bytes");
    }

    #[test]
    fn what_a_template_gives_parses_back() {
        let row = row(r#"{"id":7,"e":"Ann:h@x","empty":""}"#);
        for text in
            ["c:{id}", "c:{e|lower}:h", "{id}{e}", "x{empty}y{empty}", "c:{e|hash}:{{{e|escape}}}", "all"]
        {
            let mut key = Vec::new();
            template(text).render_key(&row, RenderStyle::default(), &mut key).unwrap();
            assert!(template(text).parse_back(&key), "{text}");
        }
    }

    #[test]
    fn no_prefix_begins_with_another() {
        let templates: Vec<Template> =
            ["c:{id}:h", "c:{id}", "c:email:{e}", "d:{id}", "c:{id}"].map(template).into();
        assert_eq!(literal_prefixes(&templates), ["c:", "d:"]);
    }
}
