//! JSON values of more than columns: constants, objects inside, columns whose text is JSON.

use serde_json::value::RawValue;

use super::super::access::{mismatch, value_error};
use super::super::spec::{Member, Source};
use super::missing;
use crate::change::{Cell, Row};
use crate::error::HandleError;
use crate::types::{self, RenderStyle, Typed, ValueError};

/// The object; `None` where the event does not hold the value of one of its columns. As deep as the settings'
/// parser lets them nest (80 levels).
pub(super) fn object(
    members: &[Member],
    row: &Row<'_>,
    style: RenderStyle,
) -> Result<Option<Vec<u8>>, HandleError> {
    let mut out = Vec::with_capacity(64 + 32 * members.len());
    let whole = write(members, row, style, &mut out)?;
    Ok(whole.then_some(out))
}

/// Appends the object; false where a column is unavailable.
fn write(
    members: &[Member],
    row: &Row<'_>,
    style: RenderStyle,
    out: &mut Vec<u8>,
) -> Result<bool, HandleError> {
    let mut whole = true;
    out.push(b'{');
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        types::json_string(&member.name, out);
        out.push(b':');
        match &member.source {
            Source::Constant(json) => out.extend_from_slice(json.as_bytes()),
            Source::Object(members) => whole &= write(members, row, style, out)?,
            Source::Column(column) | Source::Parsed(column) => match row.cell(column) {
                Cell::Absent => return Err(missing(column)),
                Cell::Unavailable => whole = false,
                Cell::Null => out.extend_from_slice(b"null"),
                Cell::Present(typed) => match &member.source {
                    Source::Parsed(_) => parsed(typed, style, out),
                    _ => types::render_json(typed, style, out),
                }
                .map_err(|error| value_error(column, error))?,
            },
        }
    }
    out.push(b'}');
    Ok(whole)
}

/// Appends the JSON that the column's text is, as it came but for space around it.
fn parsed(typed: Typed<'_>, style: RenderStyle, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let mut text = Vec::new();
    types::render_text(typed, style, &mut text)?;
    let json = std::str::from_utf8(&text).ok().and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    let json = json.ok_or_else(|| mismatch("a text that is JSON", "another text"))?;
    out.extend_from_slice(json.get().as_bytes());
    Ok(())
}
