//! What is decoded takes no more memory than its size allows, whatever lengths and counts it announces.
//!
//! Measured: this binary's allocator counts, on the thread that asks, what is held and the most that was.
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe to write; this one hands everything on to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use stoker::decode::{
    Decoded, Decoder, Format, RegisteredSchema, SchemaId, SchemaKind, SchemaRef, Schemas, Side, Wire,
};
use stoker::record::{NoHeaders, Record};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

fn count(more: usize, less: usize) {
    // Not there while a thread ends; then nobody measures.
    let _ = HELD.try_with(|held| {
        held.set(held.get().wrapping_add(more).wrapping_sub(less));
        let _ =
            MOST.try_with(|most| most.set(most.get().max(held.get().cast_signed().max(0).cast_unsigned())));
    });
}

// SAFETY: every call is the system allocator's with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: likewise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are held while the content moves.
        count(size, 0);
        count(0, layout.size());
        // SAFETY: likewise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The most bytes that were held while `work` ran, beyond those held before.
fn most_held<T>(work: impl FnOnce() -> T) -> usize {
    let before = HELD.get();
    MOST.set(before);
    drop(work());
    MOST.get().saturating_sub(before)
}

/// Bytes that decoding may hold for each byte of a record: a list of empty maps in Protobuf is 8 a place, a column
/// in JSON some 70 for `"":1,`, and what grows is copied.
const BYTES_A_BYTE: usize = 160;
/// Bytes that it may hold for any record: the 65,536 values without bytes that Avro may have (`null,` in a text that
/// grows by copying), room for columns before they are seen, an error's text.
const BYTES_ANYWAY: usize = 1 << 20;

fn schemas(kind: SchemaKind, text: &str) -> Schemas {
    let mut schemas = Schemas::new(Wire::default());
    let schema = RegisteredSchema { kind, text: text.to_owned(), references: Vec::new() };
    schemas.know(SchemaRef { id: SchemaId::Number(1), side: Side::Value }, Ok(schema));
    schemas
}

fn decoded(schemas: &Schemas, value: &[u8]) -> usize {
    let record = Record {
        topic: "t",
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: Some(value),
        value: Some(value),
        headers: &NoHeaders,
    };
    most_held(|| match Decoder::new(Format::Auto).decode_with(&record, schemas) {
        Ok(Decoded::Changes(changes)) => changes.len(),
        Ok(Decoded::Ignored(_)) | Err(_) => 0,
    })
}

fn framed(datum: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, 1], datum].concat()
}

const AVRO: &str = r#"{"type":"record","name":"R","fields":[{"name":"b","type":"bytes"},{"name":"l","type":{"type":"array","items":"null"}},{"name":"m","type":{"type":"map","values":"R"}}]}"#;
const PROTO: &str = r#"syntax = "proto3"; import "google/protobuf/struct.proto"; message R { bytes b = 1; repeated int32 l = 2;
    map<int32, R> m = 3; R r = 4; google.protobuf.Value v = 5; repeated R s = 6; }"#;
const JSON: &str = r#"{"type":"object","properties":{"id":{"type":"integer"}}}"#;

/// Lengths and counts from a few bytes to 2^63, in the format's own numbers.
fn announced() -> Vec<Vec<u8>> {
    let varint = |mut number: u64| {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
            number >>= 7;
        }
        bytes.push(u8::try_from(number).unwrap());
        bytes
    };
    (3..64).map(|bits| varint((1 << bits) - 2)).chain([vec![0xff; 10], vec![0x80; 20]]).collect()
}

#[test]
fn lengths_and_counts_are_not_believed() {
    let avro = schemas(SchemaKind::Avro, AVRO);
    let proto = schemas(SchemaKind::Protobuf, PROTO);
    let json = schemas(SchemaKind::Json, JSON);
    let bound = |value: &[u8]| BYTES_ANYWAY + BYTES_A_BYTE * value.len();
    for number in announced() {
        // A length of bytes; the number of an array's items, with and without a size; a map's.
        for before in [&[][..], &[0], &[0, 1], &[0, 0]] {
            let value = framed(&[before, &number, &[1, 2, 3]].concat());
            assert!(decoded(&avro, &value) <= bound(&value), "Avro: {value:?}");
        }
        // The number of indexes; a length of each field, of fields in a map's entry, and of a group that is unknown.
        for before in [
            &[][..],
            &[0, 0x0a],
            &[0, 0x12],
            &[0, 0x1a],
            &[0, 0x22],
            &[0, 0x2a],
            &[0, 0x1a, 9, 0x12],
            &[0, 0x4b, 0x0a],
        ] {
            let value = framed(&[before, &number, &[1, 2, 3]].concat());
            assert!(decoded(&proto, &value) <= bound(&value), "Protobuf: {value:?}");
        }
        let value = framed(&[b"{\"id\":", &number[..], b"}"].concat());
        assert!(decoded(&json, &value) <= bound(&value), "JSON Schema: {value:?}");
    }
}

#[test]
fn what_is_densest_is_within_the_bound() {
    const TIMES: usize = 40_000;
    let avro = schemas(SchemaKind::Avro, AVRO);
    let proto = schemas(SchemaKind::Protobuf, PROTO);
    let none = Schemas::default();
    let nested = (0..60).fold(Vec::new(), |inner: Vec<u8>, _| {
        let length = u8::try_from(inner.len()).unwrap_or(0);
        [&[0x22, length], &inner[..]].concat()
    });
    for (name, schemas, value) in [
        ("nulls", &avro, framed(&[&[0, 0xc0, 0xa9, 7][..], &[0, 0]].concat())),
        ("empty bytes, again and again", &proto, framed(&[&[0][..], &[0x0a, 0].repeat(TIMES)].concat())),
        ("packed numbers", &proto, framed(&[&[0][..], &[0x12, 0x7f], &[1; 0x7f]].concat())),
        ("numbers one by one", &proto, framed(&[&[0][..], &[0x10, 1].repeat(TIMES)].concat())),
        ("messages in each other", &proto, framed(&[&[0][..], &nested].concat())),
        ("the same key", &proto, framed(&[&[0][..], &[0x1a, 0].repeat(TIMES)].concat())),
        ("JSON's values", &proto, framed(&[&[0][..], &[0x2a, 2, 0x32, 0].repeat(TIMES)].concat())),
        ("a list of lists", &none, [vec![b'['; 100], vec![b']'; 100]].concat()),
        ("columns", &none, format!("{{{}\"z\":1}}", "\"\":1,".repeat(TIMES)).into_bytes()),
        ("elements", &none, format!("{{\"a\":[{}1]}}", "1,".repeat(TIMES)).into_bytes()),
    ] {
        let held = decoded(schemas, &value);
        assert!(held <= BYTES_ANYWAY + BYTES_A_BYTE * value.len(), "{name}: {held} of {} bytes", value.len());
    }
}

/// A message without bytes is written with all its fields, so that the JSON may be longer by any factor: it ends.
#[test]
fn defaults_without_bytes_end_at_the_bound_of_nested_values() {
    let fields: String =
        (1..200).map(|number| format!("int32 a_column_with_a_long_name_{number} = {number};")).collect();
    let schema = format!("syntax = \"proto3\"; message M {{ repeated N n = 1; }} message N {{ {fields} }}");
    let proto = schemas(SchemaKind::Protobuf, &schema);
    let value = framed(&[&[0][..], &[0x0a, 0].repeat(40_000)].concat());
    let held = decoded(&proto, &value);
    // 64 MiB are written, into a text that grows by copying to twice its size.
    assert!((64 << 20..200 << 20).contains(&held), "{held} bytes");
}
