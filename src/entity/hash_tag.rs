//! Hash tags of key templates: `user:{{{id}}}:profile` gives `user:{7}:profile`, and a cluster keeps all keys
//! with `{7}` in one slot.
//!
//! Redis takes the first `{` of a key and the first `}` after it; where nothing stands between them, the whole
//! key decides (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>). So a
//! column that is empty, or holds a brace, moves its key away from the others. Start at [`doubt`].

use super::template::{ColumnPart, Part, Template};

/// Why keys of a template may not lie where its hash tag says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagDoubt {
    /// Between the braces stand only columns, and all of them can be empty: this one, first.
    Empty(String),
    /// This column, in the tag or before it, can hold a brace.
    Brace(String),
    /// The braces stand together: the tag is always empty.
    AlwaysEmpty,
}

/// What is doubtful about the template's hash tag; nothing where it has none. `is_number` says of which columns
/// the type is known to give neither an empty text nor a brace.
pub fn doubt(template: &Template, is_number: impl Fn(&str) -> bool) -> Option<TagDoubt> {
    let mut before: Vec<&ColumnPart> = Vec::new();
    let mut inside: Vec<&ColumnPart> = Vec::new();
    let (mut opened, mut closed, mut has_text) = (false, false, false);
    'parts: for part in template.parts() {
        match part {
            Part::Column(column) if opened => inside.push(column),
            Part::Column(column) => before.push(column),
            Part::Literal(text) => {
                for char in text.chars() {
                    match char {
                        '{' if !opened => opened = true,
                        '}' if opened => {
                            closed = true;
                            break 'parts;
                        }
                        _ if opened => has_text = true,
                        _ => {}
                    }
                }
            }
        }
    }
    if !closed {
        return None;
    }
    let with_brace = |column: &&&ColumnPart| !is_number(column.name()) && !column.takes_braces_out();
    if let Some(column) = before.iter().chain(&inside).find(with_brace) {
        return Some(TagDoubt::Brace(column.name().to_owned()));
    }
    let can_be_empty = |column: &&ColumnPart| !is_number(column.name()) && !column.is_never_empty();
    match inside.first() {
        _ if has_text => None,
        None => Some(TagDoubt::AlwaysEmpty),
        Some(first) => inside.iter().all(can_be_empty).then(|| TagDoubt::Empty(first.name().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_certain_where_its_columns_are_neither_empty_nor_hold_braces() {
        let brace = |name: &str| Some(TagDoubt::Brace(name.to_owned()));
        let empty = |name: &str| Some(TagDoubt::Empty(name.to_owned()));
        for (template, expected) in [
            ("user:{id}", None),
            ("user:{name}:{{x", None),
            ("user:{{{id}}}:profile", None),
            ("user:{{{name}}}:profile", brace("name")),
            ("user:{{{name|escape}}}:profile", empty("name")),
            ("user:{{u{name|escape}}}:profile", None),
            ("user:{{{name|escape|trim}}}", empty("name")),
            ("user:{{{name|hash}}}", None),
            ("user:{{{id}{name|url}}}", None),
            ("{name}:{{{id}}}", brace("name")),
            ("{{{id}}}:{name}", None),
            ("user:{{}}{id}", Some(TagDoubt::AlwaysEmpty)),
        ] {
            let parsed = Template::parse(template).unwrap();
            assert_eq!(doubt(&parsed, |name| name == "id"), expected, "{template}");
        }
    }
}
