//! What a text setting takes from outside: `${NAME}` from the environment, `{ file = "path" }` from a file.

use std::io;
use std::path::{Path, PathBuf};

/// What settings read beside their own file. Tests give their own.
pub trait Environment {
    /// The value of a variable; `None` where it is not set or is not Unicode.
    fn variable(&self, name: &str) -> Option<String>;
    /// The file that a path in the settings means: a relative one counts from the settings file.
    fn locate(&self, path: &Path) -> PathBuf;
    /// The content of a file.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// Cores of this machine, at least 1: the default of `limits.workers`.
    fn cores(&self) -> usize;
}

/// The environment of this process.
#[derive(Debug, Clone)]
pub struct ProcessEnvironment {
    directory: PathBuf,
}

impl ProcessEnvironment {
    /// For a settings file in that directory.
    pub fn new(directory: PathBuf) -> ProcessEnvironment {
        ProcessEnvironment { directory }
    }
}

impl Environment for ProcessEnvironment {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn locate(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        read_bounded(&self.locate(path))
    }

    fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

/// Settings and secrets are a few KiB; a larger file is a mistake (a device, a dump).
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads a text file of at most [`FILE_BYTES_MAX`].
pub(super) fn read_bounded(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "over 4 MiB"));
    }
    Ok(text)
}

/// A file's text without the line breaks at its end: editors and `echo` add one.
pub(super) fn without_line_end(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

/// Fills in `${NAME}` and `$$`. A dollar before anything else stands for itself.
///
/// Errors are all that is wrong: the byte in `text`, and what.
pub(super) fn expand(text: &str, environment: &dyn Environment) -> Result<String, Vec<(usize, String)>> {
    let mut expanded = String::with_capacity(text.len());
    let mut errors = Vec::new();
    let mut rest = text;
    while let Some((plain, from_dollar)) = rest.find('$').and_then(|at| rest.split_at_checked(at)) {
        expanded.push_str(plain);
        let at = text.len() - from_dollar.len();
        let after = from_dollar.get(1..).unwrap_or_default();
        rest = after;
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(name) = after.strip_prefix('{') {
            let Some((name, after)) = name.split_once('}') else {
                errors.push((at, "`${` without its `}`: write ${NAME}, or $$ for a dollar".to_owned()));
                break;
            };
            rest = after;
            match named(name, environment) {
                Ok(value) => expanded.push_str(&value),
                Err(message) => errors.push((at, message)),
            }
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    if errors.is_empty() { Ok(expanded) } else { Err(errors) }
}

fn named(name: &str, environment: &dyn Environment) -> Result<String, String> {
    let first_is_digit = name.starts_with(|first: char| first.is_ascii_digit());
    if name.is_empty() || first_is_digit || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err("the name of an environment variable is letters, digits and _: ${NAME}".to_owned());
    }
    environment.variable(name).ok_or_else(|| format!("the environment variable {name} is not set"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::Fake;

    #[test]
    fn variables_are_filled_in_and_a_double_dollar_is_a_dollar() {
        let fake = Fake::default().with("HOST", "redis-1").with("EMPTY", "").with("NESTED", "${HOST}");
        let good = [
            ("plain", "plain"),
            ("redis://${HOST}:6379", "redis://redis-1:6379"),
            ("$$ ${EMPTY}$$${HOST}", "$ $redis-1"),
            ("^shop\\..*$", "^shop\\..*$"),
            ("$HOST", "$HOST"),
            ("${NESTED}", "${HOST}"),
        ];
        for (text, expected) in good {
            assert_eq!(expand(text, &fake).as_deref(), Ok(expected), "{text}");
        }
        let bad: [(&str, &[usize]); 4] =
            [("a${NO}b${NO2}", &[1, 7]), ("x${", &[1]), ("${A-B}", &[0]), ("é${}", &[2])];
        for (text, at) in bad {
            let errors = expand(text, &fake).unwrap_err();
            assert_eq!(errors.iter().map(|(at, _)| *at).collect::<Vec<_>>(), at, "{text}");
        }
    }
}
