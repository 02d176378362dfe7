//! Each format gives the values that change events of the same rows give, in memory that does not grow with the export.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use apache_avro::types::{Record, Value as Avro};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::{Desk, LONG, as_of, held, long_ago};
use crate::support::redis::RedisServer;
use crate::support::rig::Rig;
use crate::support::topic::Topic;
use crate::support::wait_for;

/// An envelope of PostgreSQL's connector with its schema, so that the topic tells types.
fn typed_event() -> String {
    let field = |name: &str, kind: &str, semantic: &str| match semantic {
        "" => format!(r#"{{"field":"{name}","type":"{kind}","optional":true}}"#),
        decimal if decimal.starts_with("decimal") => format!(
            r#"{{"field":"{name}","type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{{"scale":"2"}},"optional":true}}"#
        ),
        semantic => format!(r#"{{"field":"{name}","type":"{kind}","name":"{semantic}","optional":true}}"#),
    };
    let fields = [
        field("id", "int64", ""),
        field("name", "string", ""),
        field("balance", "", "decimal"),
        field("born", "int32", "io.debezium.time.Date"),
        field("seen", "int64", "io.debezium.time.MicroTimestamp"),
        field("paid", "string", "io.debezium.time.ZonedTimestamp"),
        field("vip", "boolean", ""),
        field("note", "string", ""),
        r#"{"field":"tags","type":"array","items":{"type":"string","optional":true},"optional":true}"#
            .to_owned(),
    ]
    .join(",");
    let row = r#"{"id":7,"name":"Ann \"x\", é","balance":"BOI=","born":20028,"seen":1730455020250000,"paid":"2024-11-01T09:57:00.25Z","vip":true,"note":null,"tags":["a",null]}"#;
    format!(
        r#"{{"schema":{{"type":"struct","fields":[{{"field":"before","type":"struct","fields":[{fields}],"optional":true}},{{"field":"after","type":"struct","fields":[{fields}],"optional":true}},{{"field":"source","type":"struct","fields":[{{"field":"connector","type":"string"}},{{"field":"schema","type":"string"}},{{"field":"table","type":"string"}},{{"field":"lsn","type":"int64"}}]}},{{"field":"op","type":"string"}}]}},"payload":{{"before":null,"after":{row},"source":{{"connector":"postgresql","schema":"public","table":"t","lsn":7}},"op":"c"}}}}"#
    )
}

const AVRO: &str = r#"{"type":"record","name":"T","fields":[
    {"name":"id","type":"long"},
    {"name":"name","type":["null","string"]},
    {"name":"balance","type":["null",{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}]},
    {"name":"born","type":["null",{"type":"int","logicalType":"date"}]},
    {"name":"seen","type":["null",{"type":"long","logicalType":"timestamp-micros"}]},
    {"name":"paid","type":["null",{"type":"long","logicalType":"timestamp-millis"}]},
    {"name":"vip","type":["null","boolean"]},
    {"name":"note","type":["null","string"]},
    {"name":"tags","type":["null",{"type":"array","items":["null","string"]}]}]}"#;

fn avro() -> Vec<u8> {
    let schema = apache_avro::Schema::parse_str(AVRO).unwrap();
    let mut writer = apache_avro::Writer::new(&schema, Vec::new()).unwrap();
    let some = |branch: Avro| Avro::Union(1, Box::new(branch));
    let mut record = Record::new(&schema).unwrap();
    record.put("id", 7_i64);
    record.put("name", some(Avro::String("Ann \"x\", é".into())));
    record.put("balance", some(Avro::Decimal(vec![0x04, 0xe2].into())));
    record.put("born", some(Avro::Date(20_028)));
    record.put("seen", some(Avro::TimestampMicros(1_730_455_020_250_000)));
    record.put("paid", some(Avro::TimestampMillis(1_730_455_020_250)));
    record.put("vip", some(Avro::Boolean(true)));
    record.put("note", Avro::Union(0, Box::new(Avro::Null)));
    let tags = vec![some(Avro::String("a".into())), Avro::Union(0, Box::new(Avro::Null))];
    record.put("tags", some(Avro::Array(tags)));
    writer.append_value(record).unwrap();
    writer.into_inner().unwrap()
}

/// One row group with these columns, each written by its own function.
pub(super) type Column = Box<dyn FnOnce(&mut SerializedRowGroupWriter<'_, File>)>;

pub(super) fn column<T: parquet::data_type::DataType>(
    values: Vec<T::T>,
    defs: Vec<i16>,
    reps: Vec<i16>,
) -> Column {
    Box::new(move |group| {
        let mut column = group.next_column().unwrap().unwrap();
        let levels = |levels: &'_ Vec<i16>| (!levels.is_empty()).then(|| levels.clone());
        column.typed::<T>().write_batch(&values, levels(&defs).as_deref(), levels(&reps).as_deref()).unwrap();
        column.close().unwrap();
    })
}

pub(super) fn parquet(path: &std::path::Path, message: &str, groups: Vec<Vec<Column>>) {
    let schema = Arc::new(parse_message_type(message).unwrap());
    let properties = WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build();
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for columns in groups {
        let mut group = writer.next_row_group().unwrap();
        columns.into_iter().for_each(|write| write(&mut group));
        group.close().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn each_format_gives_what_change_events_give() {
    let redis = RedisServer::start();
    let brokers = Rig::shared().brokers();
    let topic = Topic::create(brokers, "preload_formats", 1);
    let key = r#"{"schema":{"type":"struct","fields":[{"field":"id","type":"int64"}]},"payload":{"id":7}}"#;
    topic.append_at(0, key, Some(&typed_event()), long_ago());
    topic.flush();
    let settings = format!(
        r#"
[kafka]
brokers = "{brokers}"
group = "preload_formats"
start = "earliest"
[redis]
url = "redis://127.0.0.1:{}/0"
[errors]
on_error = "stop"
[admin]
listen = "127.0.0.1:0"
[[entity]]
name = "t"
topics = ["preload_formats"]
  [[entity.write]]
  key = "t:{{id}}"
  value = "json"
  ttl = "1h"
  [[entity.write]]
  key = "h:{{id}}:{{balance}}"
  value = "hash"
  ttl = "1h"
"#,
        redis.port
    );
    let bench = crate::support::instance::Bench::new(&settings);
    let instance = bench.start();
    let mut client = redis.client();
    assert!(wait_for(LONG, || client.run::<u64>(&["EXISTS", "t:7"]) == 1), "{}", instance.story());
    assert_eq!(instance.stop(), 0);
    let expected = held(&mut client);
    assert_eq!(
        expected["t:7"],
        r#"{"id":7,"name":"Ann \"x\", é","balance":"12.50","born":"2024-11-01","seen":"2024-11-01T09:57:00.25","paid":"2024-11-01T09:57:00.25Z","vip":true,"note":null,"tags":["a",null]}"#
    );

    let desk = Desk::new(&settings);
    // Other columns than the table's, another order, and a partition's folder.
    let ndjson = r#"{"extra":1,"vip":true,"id":7,"name":"Ann \"x\", é","balance":12.50,"born":"2024-11-01","seen":"2024-11-01 09:57:00.250","paid":"2024-11-01 09:57:00.25 UTC","note":null,"tags":["a",null]}"#;
    desk.file("n.ndjson", ndjson);
    let csv = "id,NAME,balance,born,seen,paid,vip,note,tags\n7,\"Ann \"\"x\"\", é\",12.50,2024-11-01,2024-11-01T09:57:00.25,2024-11-01 10:57:00.25+01:00,t,,\"[\"\"a\"\",null]\"\n";
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(csv.as_bytes()).unwrap();
    desk.file("c.csv.gz", packed.finish().unwrap());
    desk.file("z/dt=2026-11-01/n.json.zst", zstd::encode_all(ndjson.as_bytes(), 1).unwrap());
    desk.file("a.avro", avro());
    let message = "message t { required int64 id; optional binary name (UTF8); optional int32 balance (DECIMAL(9,2));
        optional int32 born (DATE); optional int64 seen (TIMESTAMP(MICROS,true)); optional int64 paid (TIMESTAMP(MILLIS,true));
        optional boolean vip; optional binary note (UTF8);
        optional group tags (LIST) { repeated group list { optional binary element (UTF8); } } }";
    let columns: Vec<Column> = vec![
        column::<Int64Type>(vec![7], vec![], vec![]),
        column::<ByteArrayType>(vec!["Ann \"x\", é".into()], vec![1], vec![]),
        column::<Int32Type>(vec![1250], vec![1], vec![]),
        column::<Int32Type>(vec![20_028], vec![1], vec![]),
        column::<Int64Type>(vec![1_730_455_020_250_000], vec![1], vec![]),
        column::<Int64Type>(vec![1_730_455_020_250], vec![1], vec![]),
        column::<BoolType>(vec![true], vec![1], vec![]),
        column::<ByteArrayType>(vec![], vec![0], vec![]),
        column::<ByteArrayType>(vec!["a".into()], vec![3, 2], vec![0, 1]),
    ];
    parquet(&desk.path("p.parquet"), message, vec![columns]);

    for path in ["n.ndjson", "c.csv.gz", "z", "a.avro", "p.parquet"] {
        client.run::<()>(&["FLUSHALL"]);
        let done = desk.run(&["--as-of", &as_of(), path]);
        assert_eq!((done.code, done.count("keys_written")), (0, 2), "{path}: {done:?}");
        assert_eq!(held(&mut client), expected, "{path}");
    }
    // A file without a column that rows have gives no value that would lack it.
    desk.file("less.csv", "id,name,balance\n7,Ann,12.50\n");
    client.run::<()>(&["FLUSHALL"]);
    let done = desk.run(&["--as-of", &as_of(), "less.csv"]);
    assert_eq!(
        (done.code, done.count("keys_written"), done.count("rows_without_key")),
        (0, 0, 1),
        "{done:?}"
    );
    assert_eq!(done.report["columns_missing"][0], "born", "{done:?}");
}

#[test]
fn two_hundred_thousand_rows_of_parquet_take_little_memory_and_are_all_there() {
    const GROUPS: i64 = 4;
    const ROWS: i64 = 50_000;
    let redis = RedisServer::start();
    let desk = Desk::new(&super::alone(redis.port, ""));
    let message = "message t { required int64 id; optional binary name (UTF8); required binary filler (UTF8); required int32 n; }";
    let groups = (0..GROUPS).map(|group| -> Vec<Column> {
        let ids: Vec<i64> = (group * ROWS..(group + 1) * ROWS).collect();
        let names: Vec<ByteArray> = ids.iter().map(|id| format!("n{id}").as_str().into()).collect();
        let filler: Vec<ByteArray> = ids.iter().map(|id| format!("{id:0>400}").as_str().into()).collect();
        let numbers: Vec<i32> = ids.iter().map(|id| i32::try_from(id * 3).unwrap()).collect();
        let defs = vec![1; ids.len()];
        vec![
            column::<Int64Type>(ids, vec![], vec![]),
            column::<ByteArrayType>(names, defs, vec![]),
            column::<ByteArrayType>(filler, vec![], vec![]),
            column::<Int32Type>(numbers, vec![], vec![]),
        ]
    });
    parquet(&desk.path("big.parquet"), message, groups.collect());
    let mut running = desk.start(&["--unprotected", "big.parquet"]);
    let mut peak = 0;
    let ended = wait_for(LONG * 2, || {
        peak = running.peak_kib().map_or(peak, |kib| kib.max(peak));
        std::thread::sleep(Duration::from_millis(20));
        running.child.try_wait().unwrap().is_some()
    });
    assert!(ended, "{}", running.said());
    let done = running.end();
    assert_eq!(
        (done.code, done.count("rows"), done.count("keys_written")),
        (0, 200_000, 600_000),
        "{done:?}"
    );
    assert!((1..200 << 10).contains(&peak), "{peak} KiB");
    println!("{peak} KiB at the most, {} ms", done.count("took_ms"));

    let mut client = redis.client();
    let mut different = 0;
    for first in (0..GROUPS * ROWS).step_by(5_000) {
        let mut pipe = redis::pipe();
        for id in first..first + 5_000 {
            pipe.cmd("GET").arg(format!("t:{id}"));
        }
        let found: Vec<Option<String>> = pipe.query(&mut client.0).unwrap();
        for (id, found) in (first..).zip(found) {
            let expected = format!(r#"{{"id":{id},"name":"n{id}","filler":"{id:0>400}","n":{}}}"#, id * 3);
            different += u32::from(found != Some(expected));
        }
    }
    assert_eq!(different, 0);
}
