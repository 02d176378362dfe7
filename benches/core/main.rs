//! Micro-benchmarks of one record's way through the core, without Kafka and without Redis.
//!
//! `cargo bench --bench core [FILTER]`. Times are of one record, or of one of what the benchmark is named after.
//! Allocations are counted by tests/allocations.rs.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark panics where its input is not what it says"
)]

#[path = "../events/mod.rs"]
mod events;
mod input;

use divan::{Bencher, black_box};
use stoker::coalesce::Filling;
use stoker::decode::{Decoded, Decoder};
use stoker::entity::template::Template;
use stoker::mutation::Mutation;
use stoker::pipeline::{Emitted, Pipeline};
use stoker::sink::redis::RedisSink;
use stoker::types::RenderStyle;

use self::events::Format;
use self::input::{RECORDS, Records, pipeline, schemas, settings};

/// Rows of the base point: 400 B as JSON, 830 B in an envelope.
const ROW_BYTES: usize = 400;

fn main() {
    divan::main();
}

/// Bytes to a change.
#[divan::bench(args = Format::ALL)]
fn decode(bencher: Bencher<'_, '_>, format: Format) {
    let (mut records, schemas) = (Records::new(format, ROW_BYTES), schemas());
    let mut decoder = Decoder::new(stoker::decode::Format::Auto);
    bencher.bench_local(|| {
        let decoded = decoder.decode_with(&records.next(), &schemas).unwrap();
        assert!(matches!(black_box(decoded), Decoded::Changes(_)));
    });
}

/// Bytes to mutations: decoding, routing, and the declarative handler.
#[divan::bench(args = Format::ALL)]
fn handle(bencher: Bencher<'_, '_>, format: Format) {
    let mut records = Records::new(format, ROW_BYTES);
    let mut pipeline = pipeline();
    bencher.bench_local(|| {
        pipeline.handle(&records.next(), &mut |emitted| {
            black_box(write_of(emitted));
        });
    });
}

/// Bytes to a batch: the same, and composed into units, 1,024 of them a batch.
#[divan::bench(args = Format::ALL)]
fn core(bencher: Bencher<'_, '_>, format: Format) {
    let mut records = Records::new(format, ROW_BYTES);
    let mut pipeline = pipeline();
    let mut filling = Filling::default();
    bencher.bench_local(|| fill(&mut pipeline, &mut records, &mut filling));
}

/// The same with larger and smaller rows, as Debezium's JSON.
#[divan::bench(args = [100, 10_000])]
fn core_row_bytes(bencher: Bencher<'_, '_>, row_bytes: usize) {
    let mut records = Records::new(Format::Debezium, row_bytes);
    let mut pipeline = pipeline();
    let mut filling = Filling::default();
    bencher.bench_local(|| fill(&mut pipeline, &mut records, &mut filling));
}

fn fill(pipeline: &mut Pipeline, records: &mut Records, filling: &mut Filling) {
    let record = records.next();
    pipeline.handle(&record, &mut |emitted| {
        filling.add(write_of(emitted), record.offset, 0);
    });
    if filling.len() == RECORDS {
        black_box(filling.take());
    }
}

fn write_of(emitted: Emitted<'_>) -> Mutation {
    match emitted {
        Emitted::Mutations { mut mutations, .. } => mutations.next_back().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A key of two columns, one of them filtered.
#[divan::bench(args = ["customer:{id}", "customer:{id}:{email|lower}"])]
fn template(bencher: Bencher<'_, '_>, template: &str) {
    let template = Template::parse(template).unwrap();
    let mut records = Records::new(Format::Debezium, ROW_BYTES);
    let mut decoder = Decoder::new(stoker::decode::Format::Auto);
    let (record, schemas) = (records.next(), schemas());
    let Decoded::Changes(changes) = decoder.decode_with(&record, &schemas).unwrap() else {
        panic!("a change")
    };
    let row = changes[0].after.as_ref().unwrap();
    let mut key = Vec::new();
    bencher.bench_local(|| {
        key.clear();
        template.render_key(black_box(row), RenderStyle::default(), &mut key).unwrap();
        black_box(&key);
    });
}

/// A unit's command, in the buffer that is sent: a `SET` with its expiry.
#[divan::bench]
fn command(bencher: Bencher<'_, '_>) {
    let mut pipeline = pipeline();
    let mut records = Records::new(Format::Debezium, ROW_BYTES);
    let mut filling = Filling::default();
    while filling.len() < RECORDS - 1 {
        fill(&mut pipeline, &mut records, &mut filling);
    }
    let units = filling.take();
    let sink = RedisSink::new(settings().redis, "bench".to_owned(), usize::MAX);
    let (mut each, now_ms) = (units.chunks(1).cycle(), 1_750_000_000_000);
    bencher.bench_local(|| sink.command_bytes(each.next().unwrap(), now_ms));
}

/// One mutation into a batch: of keys that all differ, and of 64 hot ones.
#[divan::bench(args = [RECORDS, 64])]
fn coalesce(bencher: Bencher<'_, '_>, keys: usize) {
    let mut pipeline = pipeline();
    let mut records = Records::new(Format::Debezium, ROW_BYTES);
    let mut mutations = Vec::new();
    for _ in 0..keys {
        pipeline.handle(&records.next(), &mut |emitted| mutations.push(write_of(emitted)));
    }
    let (mut filling, mut next) = (Filling::default(), 0);
    bencher
        .with_inputs(|| {
            next = (next + 1) % keys;
            mutations[next].clone()
        })
        .bench_local_values(|mutation| {
            filling.add(mutation, 0, 0);
            if filling.len() == RECORDS {
                black_box(filling.take());
            }
        });
}
