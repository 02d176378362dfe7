//! A write of some of a value's fields.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Content, ShownValue, hash};
use crate::patch::{Field, Patch, PatchShape, Told};

/// Serialised beside the other members of a write.
#[derive(Debug, Serialize)]
pub(super) struct Partial {
    partial: bool,
    /// Fields that stay what they were, as far as the event names them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept: Vec<String>,
    /// Fields of a hash that are removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<String>,
}

impl Partial {
    pub(super) fn of(patch: &Patch) -> Partial {
        let names = |wanted: &Told| {
            let fields = patch.fields().iter().filter(|field| field.told == *wanted);
            fields.map(|field| name(patch.shape(), field)).collect()
        };
        Partial { partial: true, kept: names(&Told::Kept), removed: names(&Told::Gone) }
    }
}

impl ShownValue {
    /// The fields that are written.
    pub(super) fn of_patch(patch: &Patch) -> ShownValue {
        let told = patch.fields().iter().filter_map(|field| match &field.told {
            Told::Value(value) => Some((field.name.clone(), value.clone())),
            Told::Kept | Told::Gone => None,
        });
        let told: Vec<(Vec<u8>, Vec<u8>)> = told.collect();
        let (kind, content) = match patch.shape() {
            PatchShape::Hash => ("hash", hash(&told)),
            PatchShape::Json => ("json", object(&told)),
        };
        ShownValue { kind, content, packed: None }
    }
}

fn name(shape: PatchShape, field: &Field) -> String {
    let read = match shape {
        PatchShape::Json => serde_json::from_slice(&field.name).ok(),
        PatchShape::Hash => None,
    };
    read.unwrap_or_else(|| String::from_utf8_lossy(&field.name).into_owned())
}

/// Names and values are JSON already.
fn object(members: &[(Vec<u8>, Vec<u8>)]) -> Content {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let members: Vec<String> = members.iter().map(|(n, v)| format!("{}:{}", text(n), text(v))).collect();
    let object = format!("{{{}}}", members.join(","));
    match RawValue::from_string(object.clone()) {
        Ok(json) => Content::Json(json),
        Err(_) => Content::Text(object),
    }
}
