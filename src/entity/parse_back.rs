//! From a key back to its template: which keys may be a template's.
//!
//! A key does not tell its columns apart for sure (`{a}:{b}` may be split in several ways), so the answer is only
//! whether some row can give it, as far as the filters tell. Start at [`Template::may_give`].

use super::template::{Part, Template};

impl Template {
    /// True where some row may give this key. A column can hold any text, under the last of its filters.
    ///
    /// At most the product of the key's length and the template's parts in steps.
    pub fn may_give(&self, key: &[u8]) -> bool {
        if key.is_empty() {
            return false;
        }
        // Where in the key the parts so far may end.
        let mut ends = vec![false; key.len() + 1];
        if let Some(start) = ends.first_mut() {
            *start = true;
        }
        for part in self.parts() {
            ends = match part {
                Part::Literal(text) => after_literal(&ends, key, text.as_bytes()),
                Part::Column(column) => {
                    let filter = column.last_filter();
                    match filter.and_then(|filter| filter.exact_bytes()) {
                        Some(length) => after_exactly(&ends, key, length, |byte| {
                            filter.is_none_or(|filter| filter.may_hold(byte))
                        }),
                        None => {
                            after_any(&ends, key, |byte| filter.is_none_or(|filter| filter.may_hold(byte)))
                        }
                    }
                }
            };
        }
        ends.last().copied().unwrap_or(false)
    }

    /// The text that every key of it begins with; empty where it begins with a column.
    pub fn literal_prefix(&self) -> &str {
        match self.parts().first() {
            Some(Part::Literal(text)) => text,
            Some(Part::Column(_)) | None => "",
        }
    }
}

/// The prefixes of these templates, none of which begins with another.
pub fn literal_prefixes(templates: &[Template]) -> Vec<&str> {
    let mut prefixes: Vec<&str> = templates.iter().map(Template::literal_prefix).collect();
    prefixes.sort_unstable();
    prefixes.dedup_by(|longer, shorter| longer.starts_with(*shorter));
    prefixes
}

fn after_literal(ends: &[bool], key: &[u8], literal: &[u8]) -> Vec<bool> {
    let mut next = vec![false; ends.len()];
    for at in reached(ends) {
        if key.get(at..).is_some_and(|rest| rest.starts_with(literal))
            && let Some(end) = next.get_mut(at + literal.len())
        {
            *end = true;
        }
    }
    next
}

fn after_exactly(ends: &[bool], key: &[u8], length: usize, allowed: impl Fn(u8) -> bool) -> Vec<bool> {
    let mut next = vec![false; ends.len()];
    for at in reached(ends) {
        let fits = key.get(at..at + length).is_some_and(|text| text.iter().all(|byte| allowed(*byte)));
        if fits && let Some(end) = next.get_mut(at + length) {
            *end = true;
        }
    }
    next
}

/// Any text, also an empty one, of allowed bytes.
fn after_any(ends: &[bool], key: &[u8], allowed: impl Fn(u8) -> bool) -> Vec<bool> {
    let mut open = false;
    let mut next = Vec::with_capacity(ends.len());
    for (at, reached) in ends.iter().enumerate() {
        let goes_on = at.checked_sub(1).and_then(|before| key.get(before)).is_some_and(|byte| allowed(*byte));
        open = *reached || (open && goes_on);
        next.push(open);
    }
    next
}

fn reached(ends: &[bool]) -> impl Iterator<Item = usize> {
    ends.iter().enumerate().filter(|(_, reached)| **reached).map(|(at, _)| at)
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
    fn a_key_is_held_against_literals_and_filters() {
        for (template, key, gives) in [
            ("customer:{id}", "customer:7", true),
            ("customer:{id}", "customer:", true),
            ("customer:{id}", "customers:7", false),
            ("customer:{id}", "customer:email:x", true),
            ("customer:{id|escape}", "customer:email:x", false),
            ("customer:{id}:card", "customer:7:card", true),
            ("customer:{id}:card", "customer:7:cards", false),
            ("{a}:{b}", "1:2:3", true),
            ("{a}:{b}", "12", false),
            ("{a}", "", false),
            ("u:{email|lower}", "u:ann@x.org", true),
            ("u:{email|lower}", "u:Ann@x.org", false),
            ("u:{email|lower|hash:8}:x", "u:367a1e74:x", true),
            ("u:{email|lower|hash:8}:x", "u:367a1e7:x", false),
            ("u:{email|hash:8}:x", "u:367A1E74:x", false),
            ("o:{at|date}:{id}", "o:2025-01-01:7", true),
            ("o:{at|date}:{id}", "o:today:7", false),
            ("x{{{id}}}y", "x{7}y", true),
            ("x{{{id}}}y", "x7y", false),
        ] {
            assert_eq!(
                Template::parse(template).unwrap().may_give(key.as_bytes()),
                gives,
                "{template} {key}"
            );
        }
    }

    #[test]
    fn the_prefix_is_the_first_literal() {
        for (template, prefix) in [("customer:{id}:x", "customer:"), ("{id}:x", ""), ("plain", "plain")] {
            assert_eq!(Template::parse(template).unwrap().literal_prefix(), prefix);
        }
    }

    #[test]
    fn what_a_template_gives_parses_back() {
        let row = row(r#"{"id":7,"e":"Ann:h@x","empty":""}"#);
        for text in
            ["c:{id}", "c:{e|lower}:h", "{id}{e}", "x{empty}y{empty}", "c:{e|hash}:{{{e|escape}}}", "all"]
        {
            let mut key = Vec::new();
            template(text).render_key(&row, RenderStyle::default(), &mut key).unwrap();
            assert!(template(text).may_give(&key), "{text}");
        }
    }

    #[test]
    fn no_prefix_begins_with_another() {
        let templates: Vec<Template> =
            ["c:{id}:h", "c:{id}", "c:email:{e}", "d:{id}", "c:{id}"].map(template).into();
        assert_eq!(literal_prefixes(&templates), ["c:", "d:"]);
    }
}
