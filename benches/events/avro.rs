//! The same events as Avro, written by hand: an encoder of a few lines is faster than the load that it makes.
//!
//! Schemas as Debezium 3.7 with Confluent's converter registers them (see tests/fixtures), fields in order.

use super::{Event, WIDE_BYTES_MIN};

/// The registry's id of the key's schema.
pub(crate) const KEY_SCHEMA_ID: u32 = 1;
/// Of the value's.
pub(crate) const VALUE_SCHEMA_ID: u32 = 2;

/// Of [`key`].
pub(crate) const KEY_SCHEMA: &str = r#"{"type":"record","name":"Key","namespace":"shop.public.customers","fields":[{"name":"id","type":"long"}]}"#;

/// Of [`value`], for rows of every width: a narrow row has nulls where a wide one has texts.
pub(crate) const VALUE_SCHEMA: &str = r#"{"type":"record","name":"Envelope","namespace":"shop.public.customers","fields":[{"name":"before","type":["null",{"type":"record","name":"Value","fields":[{"name":"id","type":"long"},{"name":"version","type":"long"},{"name":"email","type":["null","string"],"default":null},{"name":"first_name","type":["null","string"],"default":null},{"name":"last_name","type":["null","string"],"default":null},{"name":"street","type":["null","string"],"default":null},{"name":"city","type":["null","string"],"default":null},{"name":"status","type":["null","string"],"default":null},{"name":"balance","type":["null","string"],"default":null},{"name":"created_at","type":["null","long"],"default":null},{"name":"note","type":["null","string"],"default":null}]}],"default":null},{"name":"after","type":["null","Value"],"default":null},{"name":"source","type":{"type":"record","name":"Source","namespace":"io.debezium.connector.postgresql","fields":[{"name":"version","type":"string"},{"name":"connector","type":"string"},{"name":"name","type":"string"},{"name":"ts_ms","type":"long"},{"name":"snapshot","type":["string","null"],"default":"false"},{"name":"db","type":"string"},{"name":"sequence","type":["null","string"],"default":null},{"name":"ts_us","type":["null","long"],"default":null},{"name":"ts_ns","type":["null","long"],"default":null},{"name":"schema","type":"string"},{"name":"table","type":"string"},{"name":"txId","type":["null","long"],"default":null},{"name":"lsn","type":["null","long"],"default":null},{"name":"xmin","type":["null","long"],"default":null},{"name":"origin","type":["null","string"],"default":null},{"name":"origin_lsn","type":["null","long"],"default":null}]}},{"name":"transaction","type":["null",{"type":"record","name":"block","namespace":"event","fields":[{"name":"id","type":"string"},{"name":"total_order","type":"long"},{"name":"data_collection_order","type":"long"}]}],"default":null},{"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"],"default":null},{"name":"ts_us","type":["null","long"],"default":null},{"name":"ts_ns","type":["null","long"],"default":null}]}"#;

/// A key's bytes.
pub(super) fn key(id: u64) -> Vec<u8> {
    let mut out = framed(KEY_SCHEMA_ID);
    long(i64::try_from(id).unwrap_or(0), &mut out);
    out
}

/// A value's bytes.
pub(super) fn value(event: &Event, note: &str, position: u64) -> Vec<u8> {
    let number = |number: u64| i64::try_from(number).unwrap_or(0);
    let mut out = framed(VALUE_SCHEMA_ID);
    null(&mut out); // before
    long(1, &mut out); // after: the record
    long(number(event.id), &mut out);
    long(number(1_000_000 + event.version), &mut out);
    if event.row_bytes >= WIDE_BYTES_MIN {
        some_text(&format!("customer{}@example.com", event.id), &mut out);
        for column in ["Annegret", "O'Connor", "12 Long Acre, Covent Garden", "London", "active", "1234.50"] {
            some_text(column, &mut out);
        }
        some_long(1_730_455_020_250, &mut out);
    } else {
        for _ in 0..8 {
            null(&mut out);
        }
    }
    some_text(note, &mut out);
    source(number(position), &mut out);
    null(&mut out); // transaction
    text("u", &mut out);
    some_long(1_730_455_020_271, &mut out);
    some_long(1_730_455_020_271_732, &mut out);
    some_long(1_730_455_020_271_732_318, &mut out);
    out
}

fn source(position: i64, out: &mut Vec<u8>) {
    for member in ["3.7.0.Final", "postgresql", "shop"] {
        text(member, out);
    }
    long(1_730_455_020_250, out);
    long(0, out); // snapshot: the text
    text("false", out);
    text("shop", out);
    some_text(&format!(r#"["{position}","{position}"]"#), out);
    some_long(1_730_455_020_250_250, out);
    some_long(1_730_455_020_250_250_000, out);
    text("public", out);
    text("customers", out);
    some_long(771, out);
    some_long(position, out);
    for _ in 0..3 {
        null(out);
    }
}

fn framed(id: u32) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&id.to_be_bytes());
    out
}

/// Zigzag and base 128: <https://avro.apache.org/docs/1.12.0/specification/#binary-encoding>.
fn long(number: i64, out: &mut Vec<u8>) {
    let mut bits = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while bits >= 0x80 {
        out.push(bits.to_le_bytes()[0] | 0x80);
        bits >>= 7;
    }
    out.push(bits.to_le_bytes()[0]);
}

fn text(text: &str, out: &mut Vec<u8>) {
    long(i64::try_from(text.len()).unwrap_or(0), out);
    out.extend_from_slice(text.as_bytes());
}

fn null(out: &mut Vec<u8>) {
    long(0, out);
}

fn some_text(value: &str, out: &mut Vec<u8>) {
    long(1, out);
    text(value, out);
}

fn some_long(value: i64, out: &mut Vec<u8>) {
    long(1, out);
    long(value, out);
}
