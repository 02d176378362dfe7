//! What came of a record, as JSON objects: one for the record and each entity that it concerns.
//!
//! An object holds `topic`, `partition`, `offset`, `entity` (where it got that far), and one or more of:
//!
//! - `mutations`, in the order in which they were emitted, not coalesced: `op` is `write` or `delete`, `key` is
//!   text (`key_b64` where it is not UTF-8). A write has `kind` and `value` (`json`: the very bytes that would
//!   be written; `text`; `hash`: an object of texts) or `value_b64` (`bytes`, and text that is not UTF-8) or
//!   `fields_b64` (a hash that is not UTF-8), and beside them `encoding` (`msgpack`) and `compress` (`zstd`, `lz4`) where
//!   what is written is that, packed so; and `ttl_ms` or `expires_at_ms`, or neither for ever.
//!   A member of a set or sorted set has `kind` `member` and `member` (`member_b64` where it is not UTF-8), and, written to
//!   a sorted set, its `score`.
//!   `guard` is the version that it carries through the version guard, `none` where it has none but its epoch;
//!   `only_if` is the value that a compare-and-delete looks for; `expired` marks a delete that stands for a
//!   write whose expiry is not after now.
//!   `partial` marks a write onto what the key holds: `value` has only the fields that are written, `kept` names
//!   those that the event says are to stay, `removed` those of a hash that go.
//!   A truncate is `delete_prefix` with a `prefix`: of the keys that begin with it, those that the entity's
//!   templates can give.
//! - `ignored`: why there is nothing to do.
//! - `error` with `stage`, `kind` and `detail`; `mutations` beside it are the deletes that it causes, so that
//!   no stale value stays, and what other changes of the record do. `more_errors` lists any further ones.
//! - `undecided`: conditions (`key` is the template of what they are for) that could not be evaluated, with
//!   the `reason`; what they guard is deleted.
//!
//! Without a "now" (no `timestamp_ms`, no `--now`) an expiry that depends on it is shown as `expires_at_ms`
//! with its bound `ttl_at_most_ms` beside it. Start at [`Account`].

mod partial;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use self::partial::Partial;
use crate::entity::packing::unpacked;
use crate::entity::parse_back::literal_prefixes;
use crate::mutation::{
    Compression, Effect, Expiry, Guard, Member, Mutation, Packed, PackedShape, StringKind, Value,
};
use crate::pipeline::Emitted;
use crate::record::Record;

/// What came of one record, gathered by entity in the order in which they came up.
#[derive(Debug)]
pub struct Account<'r> {
    entity_names: &'r [Arc<str>],
    record: Record<'r>,
    now_ms: Option<i64>,
    lines: Vec<(Option<usize>, Line<'r>)>,
}

#[derive(Debug, Serialize)]
struct Line<'r> {
    topic: &'r str,
    partition: i32,
    offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<&'r str>,
    /// Absent where nothing was to be done or handling failed without a known key.
    #[serde(skip_serializing_if = "Option::is_none")]
    mutations: Option<Vec<Shown>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignored: Option<&'static str>,
    /// The first error: it decides what becomes of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ShownError>,
    /// Errors of further changes of the same record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    more_errors: Vec<ShownError>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    undecided: Vec<ShownUndecided>,
}

#[derive(Debug, Serialize)]
struct ShownUndecided {
    /// The key's template; absent where the condition is about the whole row.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    reason: String,
}

#[derive(Debug, Serialize)]
struct ShownError {
    stage: &'static str,
    kind: &'static str,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Shown {
    op: &'static str,
    #[serde(flatten)]
    key: ShownKey,
    #[serde(flatten)]
    member: Option<ShownMember>,
    #[serde(flatten)]
    value: Option<ShownValue>,
    #[serde(flatten)]
    expiry: ShownExpiry,
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<String>,
    #[serde(flatten)]
    only_if: Option<OnlyIf>,
    #[serde(flatten)]
    partial: Option<Partial>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum ShownKey {
    Key(String),
    KeyB64(String),
    Prefix(String),
}

/// A member of a set or sorted set: its value, if it is written, is no more than a score.
#[derive(Debug, Serialize)]
struct ShownMember {
    kind: &'static str,
    #[serde(flatten)]
    bytes: ShownBytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum ShownBytes {
    Member(String),
    MemberB64(String),
}

impl ShownMember {
    fn of(member: &Member) -> ShownMember {
        let bytes = match std::str::from_utf8(&member.bytes) {
            Ok(text) => ShownBytes::Member(text.to_owned()),
            Err(_) => ShownBytes::MemberB64(STANDARD.encode(&member.bytes)),
        };
        ShownMember { kind: "member", bytes, score: None }
    }
}

/// A score is digits.
fn lossy(score: &[u8]) -> String {
    String::from_utf8_lossy(score).into_owned()
}

/// Serialised beside the other members of a mutation: `kind` and one of `value`, `value_b64`, `fields_b64`.
#[derive(Debug)]
struct ShownValue {
    kind: &'static str,
    content: Content,
    packed: Option<Packed>,
}

#[derive(Debug)]
enum Content {
    Json(Box<RawValue>),
    Text(String),
    Base64(String),
    Fields(Vec<(String, String)>),
    /// A hash with a field that is not UTF-8: pairs of base64.
    FieldsBase64(Vec<(String, String)>),
}

#[derive(Debug, Default, Serialize)]
struct ShownExpiry {
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<i64>,
    /// The bound of `expires_at_ms` after the write, where no "now" is known to work it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_at_most_ms: Option<u64>,
    /// On a delete: a write whose expiry has passed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    expired: bool,
}

#[derive(Debug)]
struct OnlyIf(Content);

impl<'r> Account<'r> {
    /// Nothing yet of this record. `now_ms` (Unix milliseconds) is the moment at which it would be applied.
    ///
    /// `entity_names` are the names of the pipeline's entities, by index.
    pub fn new(entity_names: &'r [Arc<str>], record: Record<'r>, now_ms: Option<i64>) -> Account<'r> {
        Account { entity_names, record, now_ms, lines: Vec::new() }
    }

    /// Adds what the pipeline emitted.
    pub fn add(&mut self, emitted: Emitted<'_>) {
        let now_ms = self.now_ms;
        match emitted {
            Emitted::Mutations { entity, mutations, .. } => {
                let shown = mutations.map(|mutation| show(&mutation, now_ms));
                self.line(Some(entity)).mutations.get_or_insert_default().extend(shown);
            }
            Emitted::Truncated { entity, templates, version: _ } => {
                let prefixes = literal_prefixes(&templates);
                let shown = prefixes.into_iter().map(delete_prefix);
                self.line(Some(entity)).mutations.get_or_insert_default().extend(shown);
            }
            Emitted::Ignored { entity, why } => {
                self.line(entity).ignored.get_or_insert(why.as_str());
            }
            Emitted::Failed(failure) => {
                let line = self.line(failure.entity);
                let error =
                    ShownError { stage: failure.stage.as_str(), kind: failure.kind, detail: failure.detail };
                match line.error {
                    None => line.error = Some(error),
                    Some(_) => line.more_errors.push(error),
                }
                if !failure.deletes.is_empty() {
                    let shown = failure.deletes.iter().map(|mutation| show(mutation, now_ms));
                    line.mutations.get_or_insert_default().extend(shown);
                }
            }
        }
    }

    /// Adds a condition that could not be evaluated: what it guards was deleted. `key` is the template of that
    /// key; `None` where the condition is about the whole row.
    pub fn add_undecided(&mut self, entity: usize, key: Option<&str>, reason: &str) {
        let undecided = ShownUndecided { key: key.map(str::to_owned), reason: reason.to_owned() };
        self.line(Some(entity)).undecided.push(undecided);
    }

    /// The objects as text, one a line, each with its line end.
    pub fn to_ndjson(&self) -> String {
        let mut text = String::new();
        for (_, line) in &self.lines {
            let json =
                serde_json::to_string(line).expect("every member has a JSON form and every name is text");
            text.push_str(&json);
            text.push('\n');
        }
        text
    }

    fn line(&mut self, entity: Option<usize>) -> &mut Line<'r> {
        let at = self.lines.iter().position(|(of, _)| *of == entity).unwrap_or_else(|| {
            let line = Line {
                topic: self.record.topic,
                partition: self.record.partition,
                offset: self.record.offset,
                entity: entity.and_then(|index| self.entity_names.get(index)).map(|name| &**name),
                mutations: None,
                ignored: None,
                error: None,
                more_errors: Vec::new(),
                undecided: Vec::new(),
            };
            self.lines.push((entity, line));
            self.lines.len() - 1
        });
        &mut self.lines[at].1
    }
}

/// Every key with that prefix that a template of the entity can give.
fn delete_prefix(prefix: &str) -> Shown {
    Shown {
        op: "delete_prefix",
        key: ShownKey::Prefix(prefix.to_owned()),
        member: None,
        value: None,
        expiry: ShownExpiry::default(),
        guard: None,
        only_if: None,
        partial: None,
    }
}

fn show(mutation: &Mutation, now_ms: Option<i64>) -> Shown {
    let mut shown = Shown {
        op: "delete",
        key: match std::str::from_utf8(mutation.key.as_bytes()) {
            Ok(key) => ShownKey::Key(key.to_owned()),
            Err(_) => ShownKey::KeyB64(STANDARD.encode(mutation.key.as_bytes())),
        },
        member: mutation.key.member().map(ShownMember::of),
        value: None,
        expiry: ShownExpiry::default(),
        guard: mutation.guard.as_deref().map(guard_text),
        only_if: None,
        partial: None,
    };
    match &mutation.effect {
        Effect::Delete => {}
        Effect::DeleteIf(value) => shown.only_if = Some(OnlyIf(only_if(value))),
        Effect::Write(_, expiry) | Effect::Patch(_, expiry) if has_passed(*expiry, now_ms) => {
            shown.expiry.expired = true
        }
        Effect::Write(value, expiry) => {
            shown.op = "write";
            match (&mut shown.member, value) {
                (Some(member), Value::Member { score }) => member.score = score.as_deref().map(lossy),
                (_, value) => shown.value = Some(ShownValue::of(value)),
            }
            shown.expiry = show_expiry(*expiry, now_ms);
        }
        Effect::Patch(patch, expiry) => {
            shown.op = "write";
            shown.value = Some(ShownValue::of_patch(patch));
            shown.partial = Some(Partial::of(patch));
            shown.expiry = show_expiry(*expiry, now_ms);
        }
    }
    shown
}

/// True where a fixed moment of expiry is not after now: the write deletes instead.
fn has_passed(expiry: Expiry, now_ms: Option<i64>) -> bool {
    match (expiry, now_ms) {
        (Expiry::At(at_ms) | Expiry::AtWithin { at_ms, .. }, Some(now_ms)) => at_ms <= now_ms,
        (Expiry::Never | Expiry::In(_), _) | (_, None) => false,
    }
}

fn show_expiry(expiry: Expiry, now_ms: Option<i64>) -> ShownExpiry {
    match expiry {
        Expiry::Never => ShownExpiry::default(),
        Expiry::In(ms) => ShownExpiry { ttl_ms: Some(ms), ..ShownExpiry::default() },
        Expiry::At(at_ms) => ShownExpiry { expires_at_ms: Some(at_ms), ..ShownExpiry::default() },
        Expiry::AtWithin { at_ms, within_ms } => match now_ms {
            Some(now_ms) => ShownExpiry { expires_at_ms: expiry.at(now_ms), ..ShownExpiry::default() },
            None => ShownExpiry {
                expires_at_ms: Some(at_ms),
                ttl_at_most_ms: Some(within_ms),
                ..ShownExpiry::default()
            },
        },
    }
}

/// The version as the side key holds it, which for a row without a position is at most its epoch: then `none`
/// says so.
fn guard_text(guard: &Guard) -> String {
    match guard.version.to_string() {
        epoch if guard.version.is_none() => format!("{epoch} none").trim_start().to_owned(),
        version => version,
    }
}

impl ShownValue {
    fn of(value: &Value) -> ShownValue {
        let plain = |kind, content| ShownValue { kind, content, packed: None };
        match value {
            Value::String { kind: StringKind::Packed(packed), bytes } => match plain_value(packed, bytes) {
                Some(value) => ShownValue { packed: Some(*packed), ..ShownValue::of(&value) },
                None => plain("bytes", Content::Base64(STANDARD.encode(bytes))),
            },
            Value::String { kind: StringKind::Json, bytes } => match one_line_json(bytes) {
                Some(json) => plain("json", Content::Json(json)),
                // Only a handler in Rust can say JSON and mean something else.
                None => plain("text", text_or_base64(bytes)),
            },
            Value::String { kind: StringKind::Text, bytes } => plain("text", text_or_base64(bytes)),
            Value::String { kind: StringKind::Bytes, bytes } => {
                plain("bytes", Content::Base64(STANDARD.encode(bytes)))
            }
            Value::Hash(fields) => plain("hash", hash(fields)),
            Value::Member { score } => {
                plain("member", Content::Text(score.as_deref().map(lossy).unwrap_or_default()))
            }
        }
    }
}

fn only_if(value: &Value) -> Content {
    match value {
        Value::String { kind: StringKind::Packed(packed), bytes } => match plain_value(packed, bytes) {
            Some(value) => only_if(&value),
            None => Content::Base64(STANDARD.encode(bytes)),
        },
        Value::String { kind: StringKind::Json | StringKind::Text, bytes } => text_or_base64(bytes),
        Value::String { kind: StringKind::Bytes, bytes } => Content::Base64(STANDARD.encode(bytes)),
        Value::Hash(fields) => hash(fields),
        Value::Member { score } => Content::Text(score.as_deref().map(lossy).unwrap_or_default()),
    }
}

/// A packed value as it was before it was packed.
fn plain_value(packed: &Packed, bytes: &[u8]) -> Option<Value> {
    let kind = match packed.of {
        PackedShape::Json => StringKind::Json,
        PackedShape::Text => StringKind::Text,
        PackedShape::Bytes => StringKind::Bytes,
    };
    Some(Value::String { kind, bytes: unpacked(packed, bytes)? })
}

/// The document as it will be written, but for line ends between its tokens: those would end the line.
fn one_line_json(bytes: &[u8]) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(bytes).ok()?;
    RawValue::from_string(text.replace(['\n', '\r'], " ")).ok()
}

fn text_or_base64(bytes: &[u8]) -> Content {
    match std::str::from_utf8(bytes) {
        Ok(text) => Content::Text(text.to_owned()),
        Err(_) => Content::Base64(STANDARD.encode(bytes)),
    }
}

fn hash(fields: &[(Vec<u8>, Vec<u8>)]) -> Content {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    let texts: Result<Vec<_>, std::string::FromUtf8Error> =
        fields.iter().map(|(name, value)| Ok((text(name)?, text(value)?))).collect();
    match texts {
        Ok(fields) => Content::Fields(fields),
        Err(_) => Content::FieldsBase64(
            fields.iter().map(|(name, value)| (STANDARD.encode(name), STANDARD.encode(value))).collect(),
        ),
    }
}

impl Serialize for ShownValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("kind", self.kind)?;
        if let Some(packed) = self.packed {
            if packed.msgpack {
                map.serialize_entry("encoding", "msgpack")?;
            }
            match packed.compression {
                Some(Compression::Zstd) => map.serialize_entry("compress", "zstd")?,
                Some(Compression::Lz4) => map.serialize_entry("compress", "lz4")?,
                None => {}
            }
        }
        self.content.serialize_as(&mut map, ["value", "value_b64", "fields_b64"])?;
        map.end()
    }
}

impl Serialize for OnlyIf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        self.0.serialize_as(&mut map, ["only_if", "only_if_b64", "only_if_fields_b64"])?;
        map.end()
    }
}

impl Content {
    fn serialize_as<M: serde::ser::SerializeMap>(
        &self,
        map: &mut M,
        [plain, base64, fields_base64]: [&'static str; 3],
    ) -> Result<(), M::Error> {
        match self {
            Content::Json(json) => map.serialize_entry(plain, json),
            Content::Text(text) => map.serialize_entry(plain, text),
            Content::Base64(text) => map.serialize_entry(base64, text),
            Content::Fields(fields) => map.serialize_entry(plain, &InOrder(fields)),
            Content::FieldsBase64(fields) => map.serialize_entry(fields_base64, fields),
        }
    }
}

/// An object whose members keep their order.
struct InOrder<'a>(&'a [(String, String)]);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests;
