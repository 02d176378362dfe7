//! Templates of keys and texts: `user:{id}:{email|lower}`. A column's name stands between `{` and `|` or `}`.

use crate::change::Row;
use crate::error::HandleError;
use crate::types::RenderStyle;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Option<String>>,
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct TemplateError {
    /// Byte in the template's text.
    pub at: usize,
    /// What is wrong and what to do.
    pub problem: String,
}

impl Template {
    /// Parses one.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let wrong = |at: usize, problem: &str| TemplateError { at, problem: problem.to_owned() };
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, from_brace)) = rest.find(['{', '}']).and_then(|at| rest.split_at_checked(at))
        {
            literal.push_str(before);
            let at = text.len() - from_brace.len();
            if let Some(after) = from_brace.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = from_brace.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else if let Some(after) = from_brace.strip_prefix('{') {
                let Some((inside, after)) = after.split_once('}') else {
                    return Err(wrong(at, "this brace is never closed; write {{ for a brace itself"));
                };
                let name = inside.split('|').next().unwrap_or_default();
                if name.is_empty() {
                    return Err(wrong(at + 1, "a column's name is missing"));
                }
                parts.push(Some(std::mem::take(&mut literal)));
                parts.push(None);
                rest = after;
            } else {
                return Err(wrong(at, "no column begins before this brace; write }} for a brace itself"));
            }
        }
        literal.push_str(rest);
        parts.push(Some(literal));
        parts.retain(|part| part.as_ref().is_none_or(|literal| !literal.is_empty()));
        Ok(Template { text: text.to_owned(), parts })
    }

    /// Its literals, with `None` where a column stands.
    pub fn literal_skeleton(&self) -> impl Iterator<Item = Option<&str>> {
        self.parts.iter().map(Option::as_deref)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Renders a cache key: a null, missing or unavailable column is an error.
    pub fn render_key(
        &self,
        _row: &Row<'_>,
        _style: RenderStyle,
        _out: &mut Vec<u8>,
    ) -> Result<(), HandleError> {
        Err(HandleError::Handler("not built".into()))
    }
}
