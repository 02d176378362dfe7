//! Templates of keys and texts: `user:{id}:{email|lower}`. A column's name stands between `{` and `|` or `}`.

use crate::change::Row;
use crate::error::HandleError;
use crate::types::RenderStyle;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
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
        Ok(Template { text: text.to_owned() })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The columns that it is made of, in order; one that comes twice is there twice.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.text.split('{').skip(1).filter_map(|part| part.split(['|', '}']).next())
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
