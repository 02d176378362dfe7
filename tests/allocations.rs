//! Allocations of one record on its way through the core, counted: they are the cost that grows unseen.
//!
//! A binary of its own, since its allocator counts. Where a figure here falls, lower the bound with it; where it must
//! rise, say in the commit what for.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as it should be")]
#![expect(
    unsafe_code,
    reason = "an allocator is made of unsafe functions; this one passes them on and counts"
)]

#[path = "../benches/events/mod.rs"]
mod events;
#[path = "../benches/core/input.rs"]
mod input;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use stoker::coalesce::Filling;
use stoker::decode::{Decoded, Decoder};
use stoker::pipeline::Emitted;

use self::events::Format;
use self::input::{RECORDS, Records, pipeline, schemas};

/// The system's allocator, counting what this thread asks of it.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: likewise.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: likewise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Records before counting starts: by then maps, plans and buffers have their size.
const WARM_UP: usize = 2 * RECORDS;
const COUNTED: usize = 4 * RECORDS;

/// Allocations of one record, on average, of that work.
fn a_record(mut work: impl FnMut()) -> f64 {
    for _ in 0..WARM_UP {
        work();
    }
    let before = COUNT.get();
    for _ in 0..COUNTED {
        work();
    }
    (COUNT.get() - before) as f64 / COUNTED as f64
}

fn decoding(format: Format) -> f64 {
    let (mut records, schemas) = (Records::new(format, 400), schemas());
    let mut decoder = Decoder::new(stoker::decode::Format::Auto);
    a_record(|| {
        let decoded = decoder.decode_with(&records.next(), &schemas).unwrap();
        assert!(matches!(decoded, Decoded::Changes(_)));
    })
}

/// Decoding, handling, and composing into batches of 1,024 records.
fn whole_core(format: Format) -> f64 {
    let mut records = Records::new(format, 400);
    let (mut pipeline, mut filling) = (pipeline(), Filling::default());
    a_record(|| {
        let record = records.next();
        pipeline.handle(&record, &mut |emitted| match emitted {
            Emitted::Mutations { mutations, .. } => {
                for mutation in mutations {
                    filling.add(mutation, record.offset, 0);
                }
            }
            other => panic!("{other:?}"),
        });
        if filling.len() == RECORDS {
            filling.take();
        }
    })
}

/// What decoding and the whole core may cost. A tenth is room for what comes once in many records: a map that grows,
/// a batch's own list.
fn most(format: Format) -> (f64, f64) {
    match format {
        Format::Debezium | Format::DebeziumWithSchema => (2.1, 4.1),
        Format::Flattened => (3.1, 5.1),
        Format::Avro => (4.1, 6.1),
        Format::Maxwell => (7.1, 10.1),
        Format::Canal => (19.1, 22.1),
    }
}

#[test]
fn a_record_costs_no_more_allocations_than_it_did() {
    let mut grown = Vec::new();
    for format in Format::ALL {
        let (decode, core) = (decoding(format), whole_core(format));
        println!("{format:?}: decoding {decode:.2}, the whole core {core:.2}");
        let (decode_max, core_max) = most(format);
        if decode > decode_max || core > core_max {
            grown.push(format!("{format:?}: {decode:.2} over {decode_max}, or {core:.2} over {core_max}"));
        }
    }
    assert!(grown.is_empty(), "allocations a record: {grown:#?}");
}
