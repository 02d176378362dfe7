//! A deliberate rewrite: guarded writes apply whatever was remembered before it.
//!
//! What the rewrite leaves is marked with its name in the side key. A step of the rewrite that finds the name there
//! compares versions as ever, so that of one rewrite the newest still stays; where the name is not there, what is
//! remembered is of before the rewrite, and its version counts for nothing. Steps of other runs compare versions
//! whatever the name, and leave it where it is. So who takes part must know the same name: the processes of a
//! group, and a process that goes on where it was cut.

use std::fmt;

/// The name of a rewrite: 1 to [`Rewrite::LENGTH_MAX`] letters, digits and `.`, `_`, `-`, `:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite(String);

impl Rewrite {
    /// Room for a time stamp. It stands in each side key that the rewrite leaves.
    pub const LENGTH_MAX: usize = 32;

    /// A rewrite of that name. `Err` says what is wrong with it.
    pub fn named(name: &str) -> Result<Rewrite, &'static str> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        if name.is_empty() || name.len() > Self::LENGTH_MAX || !name.bytes().all(legal) {
            return Err("the name of a rewrite is 1 to 32 letters, digits and . _ - :");
        }
        Ok(Rewrite(name.to_owned()))
    }

    /// A rewrite that begins at this Unix millisecond, named after it.
    pub fn begun_at(now_ms: i64) -> Rewrite {
        Rewrite(now_ms.to_string())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_no_blank_and_an_end() {
        for name in ["1", "2026-11-21T07:00:00.5Z", "restore_7", &"x".repeat(32)] {
            assert_eq!(Rewrite::named(name).map(|rewrite| rewrite.to_string()), Ok(name.to_owned()));
        }
        for name in ["", "a b", "ä", "a\n", &"x".repeat(33)] {
            assert!(Rewrite::named(name).is_err(), "{name:?}");
        }
        assert_eq!(Rewrite::named(Rewrite::begun_at(-5).as_str()), Ok(Rewrite::begun_at(-5)));
    }
}
