//! What `stoker check` has to say: plain findings.

use std::fmt;

use serde::Serialize;

use crate::settings::Problem;

/// One finding: where, what, and what to do about it. Holds no secret and no row value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Where: `stoker.toml:12:3: entity "customer"`, `redis 10.0.0.1:6379`, `kafka`.
    pub place: String,
    /// What is found.
    pub what: String,
    /// What to do, where there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The problem of the settings that it tells of, which shows itself in full to people.
    #[serde(skip)]
    problem: Option<Box<Problem>>,
}

/// How bad a finding is, rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know.
    Note,
    /// Works, but not for everything.
    Warning,
    /// A dependency could not be asked. `check` ends with 3.
    Unreachable,
    /// `run` would not start, or would do the wrong thing. `check` ends with 2.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Unreachable => "unreachable",
            Level::Error => "error",
        })
    }
}

impl Finding {
    /// A finding without a remedy.
    pub fn new(level: Level, place: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding { level, place: place.into(), what: what.into(), remedy: None, problem: None }
    }

    /// The same with what to do.
    #[must_use]
    pub fn remedy(self, remedy: impl Into<String>) -> Finding {
        Finding { remedy: Some(remedy.into()), ..self }
    }

    /// A problem or a warning of the settings.
    pub fn of_settings(level: Level, problem: Problem) -> Finding {
        let mut place = problem.file.clone();
        if problem.line > 0 {
            place.push_str(&format!(":{}:{}", problem.line, problem.column));
        }
        if !problem.place.is_empty() {
            place.push_str(&format!(": {}", problem.place));
        }
        let (what, remedy) = (problem.message.clone(), problem.help.clone());
        Finding { level, place, what, remedy, problem: Some(Box::new(problem)) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = &self.problem {
            return write!(f, "{}: {problem}", self.level);
        }
        write!(f, "{}: {}: {}", self.level, self.place, self.what)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n    = {remedy}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_level_place_what_and_remedy() {
        let finding = Finding::new(Level::Warning, "redis a:6379", "evicts keys").remedy("set noeviction");
        assert_eq!(finding.to_string(), "warning: redis a:6379: evicts keys\n    = set noeviction");
        let json = serde_json::to_string(&finding).unwrap();
        let expected =
            r#"{"level":"warning","place":"redis a:6379","what":"evicts keys","remedy":"set noeviction"}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn levels_rise_by_what_they_end_with() {
        let rising = [Level::Note, Level::Warning, Level::Unreachable, Level::Error];
        assert!(rising.is_sorted());
    }
}
