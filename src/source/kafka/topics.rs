//! Which topics a subscription means: a name, or a pattern that begins with `^`, held against the broker's word.

use rdkafka::metadata::{Metadata, MetadataTopic};

use super::{SourceError, whole_name};

/// The topics of that name, or that match that pattern, also those that the broker reports an error of.
///
/// # Errors
/// A pattern that cannot be read.
pub(super) fn meant<'m>(metadata: &'m Metadata, asked: &str) -> Result<Vec<&'m MetadataTopic>, SourceError> {
    let topics = metadata.topics().iter();
    if !asked.starts_with('^') {
        return Ok(topics.filter(|topic| topic.name() == asked).collect());
    }
    let pattern = regex::Regex::new(&whole_name(asked))
        .map_err(|_| SourceError::Settings { detail: format!("the pattern {asked:?} cannot be read") })?;
    Ok(topics.filter(|topic| pattern.is_match(topic.name())).collect())
}
