//! Canal's texts that say less than the column holds, and what the type's name adds: the labels of ENUM and SET, which
//! arrive as numbers, and the zeros at the end of a decimal, which Canal drops (captured from Canal 1.1.7).

use std::borrow::Cow;

/// Digits behind the point of MySQL's longest decimal: 30; MariaDB's: 38.
const SCALE_MAX: usize = 38;
/// JDBC's code that stands beside an ENUM that is told as its number.
const INTEGER: i64 = 4;
/// Likewise beside a SET: Canal's BLOB, TiCDC's BIT.
const BITS: [i64; 2] = [2004, -7];

/// How a column's texts are completed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// The text is a label's place, counted from 1; 0 is the empty text of a value that was none.
    Label(Vec<String>),
    /// The text is a number whose bits are labels, the lowest the first.
    Labels(Vec<String>),
    /// The text is a decimal with so many digits behind the point.
    Scale(usize),
}

impl Completion {
    /// What completes the texts of a column of that type (`enum('a','b')`, `decimal(12,2)`) and JDBC code; `None`
    /// where they are whole.
    pub(super) fn of(name: &str, code: Option<i64>) -> Option<Completion> {
        let name = name.trim();
        let (base, parameters) = name.split_once('(')?;
        let is = |other: &str| base.trim().eq_ignore_ascii_case(other);
        if is("enum") && code == Some(INTEGER) {
            labels(parameters).map(Completion::Label)
        } else if is("set") && code.is_some_and(|code| BITS.contains(&code)) {
            labels(parameters).map(Completion::Labels)
        } else if is("decimal") || is("numeric") {
            let (inner, _) = parameters.split_once(')')?;
            let scale = inner.split_once(',')?.1.trim().parse().ok()?;
            (scale <= SCALE_MAX).then_some(Completion::Scale(scale))
        } else {
            None
        }
    }

    /// The whole text; `None` where it is whole as it came, or is not what is expected.
    pub(super) fn complete(&self, text: &str) -> Option<String> {
        match self {
            Completion::Label(labels) => match text.parse::<usize>().ok()?.checked_sub(1) {
                None => Some(String::new()),
                Some(place) => labels.get(place).cloned(),
            },
            Completion::Labels(labels) => {
                let bits: u64 = text.parse().ok()?;
                let known = u32::try_from(labels.len()).ok()?;
                if bits.checked_shr(known).unwrap_or(0) != 0 {
                    return None;
                }
                let chosen = labels.iter().enumerate().filter(|(place, _)| bits >> (place & 63) & 1 == 1);
                Some(chosen.map(|(_, label)| label.as_str()).collect::<Vec<_>>().join(","))
            }
            Completion::Scale(scale) => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
                let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
                if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
                    return None;
                }
                let zeros = scale.checked_sub(fraction.len()).filter(|zeros| *zeros > 0)?;
                let point = if text.contains('.') { "" } else { "." };
                Some(format!("{text}{point}{}", "0".repeat(zeros)))
            }
        }
    }
}

/// The labels in `'a','it''s')`; `None` where it is no such list.
fn labels(mut list: &str) -> Option<Vec<String>> {
    let mut labels = Vec::new();
    loop {
        list = list.trim_start().strip_prefix('\'')?;
        let mut label = Cow::Borrowed("");
        loop {
            let (part, rest) = list.split_once('\'')?;
            label += part;
            match rest.strip_prefix('\'') {
                // A doubled quote is one of the label's own.
                Some(rest) => {
                    label += "'";
                    list = rest;
                }
                None => {
                    list = rest.trim_start();
                    break;
                }
            }
        }
        labels.push(label.into_owned());
        match list.strip_prefix(',') {
            Some(rest) => list = rest,
            None => return list.starts_with(')').then_some(labels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(name: &str, code: i64, text: &str) -> Option<String> {
        Completion::of(name, Some(code))?.complete(text)
    }

    #[test]
    fn numbers_of_enum_and_set_become_labels() {
        let name = "enum('small','a,b','it''s','')";
        for (text, label) in
            [("1", "small"), ("2", "a,b"), ("3", "it's"), ("4", ""), ("0", ""), ("007", "none")]
        {
            let expected = (label != "none").then(|| label.to_owned());
            assert_eq!(completed(name, INTEGER, text), expected, "{text}");
        }
        let name = "set('red', 'green','blue')";
        for (text, label) in [("5", "red,blue"), ("7", "red,green,blue"), ("0", "")] {
            assert_eq!(completed(name, 2004, text).as_deref(), Some(label), "{text}");
            assert_eq!(completed(name, -7, text).as_deref(), Some(label), "{text}");
        }
        let widest = format!("set({})", vec!["'x'"; 64].join(","));
        assert_eq!(completed(&widest, -7, "9223372036854775809").as_deref(), Some("x,x"));
    }

    #[test]
    fn what_is_no_number_of_a_label_stays() {
        for (name, code, text) in [
            ("enum('1','2')", 12, "2"),
            ("enum('a','b')", INTEGER, "a"),
            ("enum('a','b')", INTEGER, "3"),
            ("enum('a','b", INTEGER, "1"),
            ("enum(a,b)", INTEGER, "1"),
            ("enum", INTEGER, "1"),
            ("set('a')", 2004, "2"),
            ("set('a')", 2004, "a"),
            ("varchar(2)", INTEGER, "1"),
        ] {
            assert_eq!(completed(name, code, text), None, "{text} of {name}");
        }
    }

    #[test]
    fn decimals_get_the_digits_of_their_scale() {
        for (text, expected) in [
            ("0.0", Some("0.00")),
            ("-7", Some("-7.00")),
            ("12.50", None),
            ("1E2", None),
            ("", None),
            ("1.234", None),
        ] {
            assert_eq!(completed("decimal(12,2) unsigned", 3, text).as_deref(), expected, "{text}");
        }
        assert_eq!(completed("decimal(20,0)", 3, "7"), None);
        assert_eq!(completed("decimal(20,999)", 3, "7"), None);
    }
}
