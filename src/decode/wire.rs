//! How a record names the registry schema of its key and value: a few bytes in front, or a header.
//!
//! - Confluent: `00` and a 4-byte id, or `01` and a 16-byte GUID, before the datum; or the GUID form in the header
//!   `__value_schema_id` (`__key_schema_id`), and then nothing before the datum
//!   (<https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>).
//! - Apicurio: `00` and an 8-byte id, or the id in `apicurio.value.globalId` or `apicurio.value.contentId`
//!   (<https://www.apicur.io/registry/docs/>). Its `ExtJsonConverter` writes `{"schemaId":7,"payload":{…}}`, by the id of
//!   an artifact's version whatever else is set (captured from its release 2.6.13).
//!
//! Numbers are big-endian. Of a name that repeats among the headers, the last one counts.

use super::json::Scanner;
use super::protobuf::MessageName;
use crate::record::Record;

/// What a registry calls a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchemaId {
    /// The id of the Confluent API.
    Number(u32),
    /// Confluent's GUID.
    Guid([u8; 16]),
    /// Apicurio's id of an artifact's version.
    ApicurioGlobal(u64),
    /// Apicurio's id of a content.
    ApicurioContent(u64),
}

impl std::fmt::Display for SchemaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SchemaId::Number(id) => write!(f, "schema id {id}"),
            SchemaId::ApicurioGlobal(id) => write!(f, "Apicurio global id {id}"),
            SchemaId::ApicurioContent(id) => write!(f, "Apicurio content id {id}"),
            SchemaId::Guid(bytes) => write!(f, "schema GUID {}", guid_text(bytes)),
        }
    }
}

/// A GUID as registries spell it: `8-4-4-4-12` digits.
pub fn guid_text(bytes: &[u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(*bytes));
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap_or_default());
    parts.join("-")
}

/// Which part of a record a schema is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The record key.
    Key,
    /// The value.
    Value,
}

/// A schema that a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SchemaRef {
    /// Its name in the registry.
    pub id: SchemaId,
    /// Which part of the record names it.
    pub side: Side,
}

/// How ids are read where the bytes cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wire {
    /// Bytes of an id behind the magic byte.
    pub id_bytes: IdBytes,
    /// What an 8-byte id counts.
    pub eight_byte_ids: ApicurioIds,
}

/// Bytes of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdBytes {
    /// 4, but 8 where the first 4 are zero: no registry gives the id 0, and 8-byte ids are below 2^32.
    #[default]
    Auto,
    /// 4, Confluent's.
    Four,
    /// 8, Apicurio's.
    Eight,
}

/// What Apicurio's 8-byte ids in a payload count. A header says it by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApicurioIds {
    /// Versions of artifacts: the default of its serializers of version 2.
    #[default]
    Global,
    /// Contents.
    Content,
}

/// Bytes of a record that follow a registry schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Framed<'a> {
    pub(super) schema: SchemaRef,
    /// The datum, without what stood before it.
    pub(super) datum: &'a [u8],
    /// Which message of a Protobuf schema it is, as far as that is told beside the datum.
    pub(super) message: MessageName<'a>,
}

/// What names the schema of that side of the record; `None` where nothing does.
pub(super) fn framed<'a>(record: &Record<'a>, side: Side, wire: Wire) -> Option<Framed<'a>> {
    let bytes = match side {
        Side::Key => record.key?,
        Side::Value => record.value?,
    };
    let (id, message, datum) = match by_header(record, side) {
        Some((id, message)) => (id, message, bytes),
        None => {
            let (id, datum) = by_prefix(bytes, wire)?;
            let message = match id {
                SchemaId::Number(_) | SchemaId::Guid(_) => MessageName::InFront,
                SchemaId::ApicurioGlobal(_) | SchemaId::ApicurioContent(_) => {
                    MessageName::Apicurio(message_type(record, side))
                }
            };
            (id, message, datum)
        }
    };
    Some(Framed { schema: SchemaRef { id, side }, datum, message })
}

/// Apicurio's name of a Protobuf message.
fn message_type<'a>(record: &Record<'a>, side: Side) -> Option<&'a str> {
    let header = match side {
        Side::Key => "apicurio.protobuf.type.key",
        Side::Value => "apicurio.protobuf.type",
    };
    std::str::from_utf8(record.headers.last(header)?).ok()
}

fn by_header<'a>(record: &Record<'a>, side: Side) -> Option<(SchemaId, MessageName<'a>)> {
    if record.headers.count() == 0 {
        return None;
    }
    let (confluent, global, content) = match side {
        Side::Key => ("__key_schema_id", "apicurio.key.globalId", "apicurio.key.contentId"),
        Side::Value => ("__value_schema_id", "apicurio.value.globalId", "apicurio.value.contentId"),
    };
    let number = |name: &str| {
        let bytes = record.headers.last(name)?;
        bytes.try_into().ok().map(u64::from_be_bytes)
    };
    // Behind the GUID are the indexes of a Protobuf message; other schemas have none.
    let guid = |bytes: &'a [u8]| {
        let (guid, indexes) = bytes.strip_prefix(&[1])?.split_first_chunk()?;
        Some((SchemaId::Guid(*guid), MessageName::Indexes(indexes)))
    };
    (record.headers.last(confluent).and_then(guid)).or_else(|| {
        let id = number(content).map(SchemaId::ApicurioContent);
        let id = id.or_else(|| number(global).map(SchemaId::ApicurioGlobal))?;
        Some((id, MessageName::Apicurio(message_type(record, side))))
    })
}

fn by_prefix(bytes: &[u8], wire: Wire) -> Option<(SchemaId, &[u8])> {
    match bytes.split_first()? {
        (0, rest) => {
            let (id, datum) = rest.split_first_chunk::<4>()?;
            let eight = match wire.id_bytes {
                IdBytes::Four => false,
                IdBytes::Eight => true,
                IdBytes::Auto => *id == [0; 4],
            };
            if !eight {
                return Some((SchemaId::Number(u32::from_be_bytes(*id)), datum));
            }
            let (id, datum) = rest.split_first_chunk::<8>()?;
            let id = u64::from_be_bytes(*id);
            let id = match wire.eight_byte_ids {
                ApicurioIds::Global => SchemaId::ApicurioGlobal(id),
                ApicurioIds::Content => SchemaId::ApicurioContent(id),
            };
            Some((id, datum))
        }
        (1, rest) => rest.split_first_chunk::<16>().map(|(guid, datum)| (SchemaId::Guid(*guid), datum)),
        (b'{', _) => by_member(bytes),
        _ => None,
    }
}

/// `{"schemaId":7,"payload":{…}}`, as it is written: these two members in this order, without white space, around an
/// object or null. A row of an ETL job may well own columns of these names, but hardly them alone and so.
fn by_member(bytes: &[u8]) -> Option<(SchemaId, &[u8])> {
    let rest = bytes.strip_prefix(b"{\"schemaId\":")?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let (id, rest) = rest.split_at_checked(digits)?;
    let id = std::str::from_utf8(id).ok()?.parse().ok()?;
    let rest = std::str::from_utf8(rest.strip_prefix(b",\"payload\":")?).ok()?;
    let payload = Scanner::new(rest, 0).skip().ok()?;
    let alone = rest.get(payload.len()..).map(str::trim_ascii_end) == Some("}");
    let fits = alone && (payload.starts_with('{') || payload == "null");
    fits.then_some((SchemaId::ApicurioGlobal(id), payload.as_bytes()))
}

/// True where the bytes are in Apicurio's envelope of JSON.
pub(super) fn is_enveloped(bytes: &[u8]) -> bool {
    by_member(bytes).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{AsRecord as _, OwnedRecord};

    fn id_of(value: &[u8], headers: &[(&str, &[u8])], wire: Wire) -> Option<(SchemaId, Vec<u8>)> {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), Some(value.to_vec()))).collect();
        let owned = OwnedRecord { value: Some(value.to_vec()), headers, ..OwnedRecord::default() };
        let record = owned.as_record();
        framed(&record, Side::Value, wire).map(|framed| (framed.schema.id, framed.datum.to_vec()))
    }

    #[test]
    fn ids_are_read_by_prefix_and_by_header_and_the_last_header_counts() {
        let guid = [7; 16];
        let in_header = [&[1][..], &guid].concat();
        let (auto, eight) = (Wire::default(), Wire { id_bytes: IdBytes::Eight, ..Wire::default() });
        let content = Wire { eight_byte_ids: ApicurioIds::Content, ..auto };
        let wide: u64 = 5 << 32 | 6;
        type Named<'n> = &'n [(&'n str, &'n [u8])];
        type Case<'n> = (&'n [u8], Named<'n>, Wire, SchemaId, &'n [u8]);
        let cases: &[Case<'_>] = &[
            (&[0, 0, 0, 0, 7, 2], &[], auto, SchemaId::Number(7), &[2]),
            (&[0, 0, 0, 0, 0, 0, 0, 1, 2, 9], &[], auto, SchemaId::ApicurioGlobal(258), &[9]),
            (&[0, 0, 0, 0, 0, 0, 0, 1, 2, 9], &[], content, SchemaId::ApicurioContent(258), &[9]),
            (&[0, 0, 0, 0, 5, 0, 0, 0, 6, 9], &[], eight, SchemaId::ApicurioGlobal(wide), &[9]),
            (&[0, 0, 0, 0, 5, 0, 0, 0, 6, 9], &[], auto, SchemaId::Number(5), &[0, 0, 0, 6, 9]),
            (&[&[1][..], &guid, &[8]].concat(), &[], auto, SchemaId::Guid(guid), &[8]),
            (
                &[0, 0, 0, 0, 7],
                &[("__value_schema_id", &[1]), ("__value_schema_id", &in_header)],
                auto,
                SchemaId::Guid(guid),
                &[0, 0, 0, 0, 7],
            ),
            (
                &[2],
                &[("apicurio.value.globalId", &[0, 0, 0, 0, 0, 0, 0, 3])],
                auto,
                SchemaId::ApicurioGlobal(3),
                &[2],
            ),
            (br#"{"schemaId":7,"payload":{"a":1}}"#, &[], auto, SchemaId::ApicurioGlobal(7), br#"{"a":1}"#),
            (b"{\"schemaId\":70,\"payload\":null}\n", &[], content, SchemaId::ApicurioGlobal(70), b"null"),
        ];
        for (value, headers, wire, id, datum) in cases {
            assert_eq!(id_of(value, headers, *wire), Some((*id, datum.to_vec())), "{value:?} {headers:?}");
        }
    }

    #[test]
    fn what_is_too_short_or_begins_otherwise_names_no_schema() {
        for value in [&b""[..], b"{}", &[0, 1, 2, 3], &[0; 8], &[1; 16], &[2; 20]] {
            assert_eq!(id_of(value, &[], Wire::default()), None, "{value:?}");
        }
        for row in [
            r#"{"schemaId":7}"#,
            r#"{"schemaId":7,"payload":"{}"}"#,
            r#"{"schemaId":"7","payload":{}}"#,
            r#"{"schemaId":7,"payload":{},"more":1}"#,
            r#"{"schemaId":7,"payload":{}"#,
            r#"{"schemaId":99999999999999999999,"payload":{}}"#,
            r#"{"payload":{},"schemaId":7}"#,
        ] {
            assert_eq!(id_of(row.as_bytes(), &[], Wire::default()), None, "{row}");
        }
        assert_eq!(guid_text(&[0xab; 16]), "abababab-abab-abab-abab-abababababab");
    }
}
