//! Whether two templates can give the same key: what the settings refuse, or warn of.
//!
//! A column can hold any text of at least one byte, so a template is a pattern of literals and wildcards;
//! two templates meet where their patterns do. Types of columns are not looked at here.

use super::template::Template;

/// What can be said of two templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ambiguity {
    /// The same literal skeleton: they certainly can give the same key.
    Certain,
    /// They can, where a column holds the right text; this key, for example.
    Possible(String),
    /// They cannot.
    None,
}

/// Compares two templates. At most the square of [`super::template::TEMPLATE_BYTES_MAX`] steps.
pub fn ambiguity(a: &Template, b: &Template) -> Ambiguity {
    if a.literal_skeleton().eq(b.literal_skeleton()) {
        return Ambiguity::Certain;
    }
    common_key(&pattern(a), &pattern(b)).map_or(Ambiguity::None, Ambiguity::Possible)
}

/// A place of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// This character.
    One(char),
    /// Any text of at least one character.
    Any,
}

fn pattern(template: &Template) -> Vec<Place> {
    let mut places = Vec::new();
    for literal in template.literal_skeleton() {
        match literal {
            Some(text) => places.extend(text.chars().map(Place::One)),
            None => places.push(Place::Any),
        }
    }
    places
}

/// Where both patterns stand: the next place of each, and whether the wildcard before it is still open.
type State = (usize, bool, usize, bool);

/// Finds the shortest key that both patterns give: breadth first over the pairs of places.
fn common_key(a: &[Place], b: &[Place]) -> Option<String> {
    let mut seen = std::collections::HashSet::new();
    let mut reached: Vec<(State, Option<(usize, char)>)> = vec![((0, false, 0, false), None)];
    let mut next = 0;
    while let Some(&((i, a_open, j, b_open), _)) = reached.get(next) {
        if i == a.len() && j == b.len() {
            return Some(spell(&reached, next));
        }
        for (a_char, a_next) in steps(a, i, a_open) {
            for (b_char, b_next) in steps(b, j, b_open) {
                let char = match (a_char, b_char) {
                    (Some(x), Some(y)) if x != y => continue,
                    (Some(x), _) | (None, Some(x)) => x,
                    (None, None) => 'x',
                };
                let state = (a_next.0, a_next.1, b_next.0, b_next.1);
                if seen.insert(state) {
                    reached.push((state, Some((next, char))));
                }
            }
        }
        next += 1;
    }
    None
}

/// What a pattern can read next: a character (`None` for any) and where it stands then.
fn steps(places: &[Place], at: usize, open: bool) -> impl Iterator<Item = (Option<char>, (usize, bool))> {
    let stay = open.then_some((None, (at, true)));
    let go = places.get(at).map(|place| match place {
        Place::One(char) => (Some(*char), (at + 1, false)),
        Place::Any => (None, (at + 1, true)),
    });
    stay.into_iter().chain(go)
}

fn spell(reached: &[(State, Option<(usize, char)>)], last: usize) -> String {
    let mut chars = Vec::new();
    let mut at = last;
    while let Some((_, Some((from, char)))) = reached.get(at) {
        chars.push(*char);
        at = *from;
    }
    chars.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_meet_where_their_literals_allow_it() {
        for (a, b, expected) in [
            ("customer:{id}", "customer:{email|lower}", Ambiguity::Certain),
            ("customer:{id}", "customer:{id}", Ambiguity::Certain),
            ("customer:{id}", "customer:email:{email}", Ambiguity::Possible("customer:email:x".into())),
            ("customer:{id}", "customer:{id}:h", Ambiguity::Possible("customer:x:h".into())),
            ("{a}:x", "y:{b}", Ambiguity::Possible("y:x".into())),
            ("a:{a}:b", "a:b", Ambiguity::None),
            ("customer:{id}", "order:{id}", Ambiguity::None),
            ("a:{x}", "a:", Ambiguity::None),
            ("c:{{{id}}}", "c:{id}", Ambiguity::Possible("c:{x}".into())),
        ] {
            let parse = |text| Template::parse(text).unwrap();
            assert_eq!(ambiguity(&parse(a), &parse(b)), expected, "{a} and {b}");
            let turned = ambiguity(&parse(b), &parse(a));
            assert_eq!(turned, expected, "{b} and {a}");
        }
    }

    #[test]
    fn the_longest_templates_are_compared_in_bounded_time() {
        let long = |end: &str| Template::parse(&format!("{}{end}", "{a}b".repeat(200))).unwrap();
        assert_eq!(ambiguity(&long("x"), &long("y")), Ambiguity::None);
    }
}
