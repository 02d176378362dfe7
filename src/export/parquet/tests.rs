//! Written with the library's own writer, read back as the types say.

use std::fs::File;
use std::sync::Arc;

use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::super::testing::listed;
use super::*;

/// A column's values with their levels.
struct Written {
    values: Column2,
    defs: Vec<i16>,
    reps: Vec<i16>,
}

enum Column2 {
    Bools(Vec<bool>),
    Ints(Vec<i32>),
    Longs(Vec<i64>),
    Int96s(Vec<Int96>),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    Bytes(Vec<&'static [u8]>),
    Fixed(Vec<&'static [u8]>),
}

fn required(values: Column2) -> Written {
    Written { values, defs: Vec::new(), reps: Vec::new() }
}

fn write(message: &str, groups: usize, columns: impl Fn(usize) -> Vec<Written>) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let schema = Arc::new(parse_message_type(message).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file.reopen().unwrap(), schema, properties).unwrap();
    for group in 0..groups {
        let mut row_group = writer.next_row_group().unwrap();
        for column in columns(group) {
            let mut open = row_group.next_column().unwrap().unwrap();
            let levels = |levels: &'_ [i16]| (!levels.is_empty()).then(|| levels.to_vec());
            let (defs, reps) = (levels(&column.defs), levels(&column.reps));
            let (defs, reps) = (defs.as_deref(), reps.as_deref());
            let bytes = |values: &[&'static [u8]]| -> Vec<ByteArray> {
                values.iter().map(|bytes| ByteArray::from(bytes.to_vec())).collect()
            };
            match (open.untyped(), &column.values) {
                (ColumnWriter::BoolColumnWriter(it), Column2::Bools(values)) => {
                    it.write_batch(values, defs, reps)
                }
                (ColumnWriter::Int32ColumnWriter(it), Column2::Ints(values)) => {
                    it.write_batch(values, defs, reps)
                }
                (ColumnWriter::Int64ColumnWriter(it), Column2::Longs(values)) => {
                    it.write_batch(values, defs, reps)
                }
                (ColumnWriter::Int96ColumnWriter(it), Column2::Int96s(values)) => {
                    it.write_batch(values, defs, reps)
                }
                (ColumnWriter::FloatColumnWriter(it), Column2::Floats(values)) => {
                    it.write_batch(values, defs, reps)
                }
                (ColumnWriter::DoubleColumnWriter(it), Column2::Doubles(values)) => {
                    it.write_batch(values, defs, reps)
                }
                (ColumnWriter::ByteArrayColumnWriter(it), Column2::Bytes(values)) => {
                    it.write_batch(&bytes(values), defs, reps)
                }
                (ColumnWriter::FixedLenByteArrayColumnWriter(it), Column2::Fixed(values)) => {
                    let values: Vec<FixedLenByteArray> =
                        bytes(values).into_iter().map(FixedLenByteArray::from).collect();
                    it.write_batch(&values, defs, reps)
                }
                _ => panic!("the column is of another type"),
            }
            .unwrap();
            open.close().unwrap();
        }
        row_group.close().unwrap();
    }
    writer.close().unwrap();
    file
}

fn read(file: &tempfile::NamedTempFile, wanted: Option<&[&str]>) -> Vec<String> {
    let wanted: Option<Vec<String>> =
        wanted.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    let mut rows = Parquet::new(File::open(file.path()).unwrap(), wanted.as_deref()).unwrap();
    listed(&mut rows)
}

#[test]
fn every_type_is_read_as_what_it_means() {
    let message = "message m {
        required boolean b; required int32 i; required int32 u32 (INTEGER(32,false));
        required int64 u64 (INTEGER(64,false)); required int32 d (DATE); required int32 dec32 (DECIMAL(9,2));
        required int64 dec64 (DECIMAL(18,3)); required binary decb (DECIMAL(38,9));
        required fixed_len_byte_array(16) decf (DECIMAL(38,0)); required int64 utc (TIMESTAMP(MICROS,true));
        required int64 wall (TIMESTAMP(NANOS,false)); required int64 old (TIMESTAMP_MILLIS);
        required int32 t (TIME(MILLIS,false)); required int96 legacy; required float f; required double g;
        required binary s (UTF8); required binary j (JSON); required binary raw;
        required fixed_len_byte_array(16) uuid (UUID); required fixed_len_byte_array(12) gap (INTERVAL);
        required fixed_len_byte_array(2) h (FLOAT16);
    }";
    let mut legacy = Int96::new();
    // 2024-11-01, and an hour of nanoseconds with one more.
    legacy.set_data(817_405_953, 838, 2_460_616);
    let file = write(message, 1, |_| {
        vec![
            required(Column2::Bools(vec![true])),
            required(Column2::Ints(vec![-7])),
            required(Column2::Ints(vec![-1])),
            required(Column2::Longs(vec![-1])),
            required(Column2::Ints(vec![20_028])),
            required(Column2::Ints(vec![-1250])),
            required(Column2::Longs(vec![5])),
            required(Column2::Bytes(vec![&[0x01, 0, 0, 0, 0, 0, 0, 0, 0]])),
            required(Column2::Fixed(vec![&[0xff; 16]])),
            required(Column2::Longs(vec![1_730_455_020_250_000])),
            required(Column2::Longs(vec![1_730_455_020_000_000_001])),
            required(Column2::Longs(vec![1_730_455_020_250])),
            required(Column2::Ints(vec![37_984_500])),
            required(Column2::Int96s(vec![legacy])),
            required(Column2::Floats(vec![0.1])),
            required(Column2::Doubles(vec![0.1])),
            required(Column2::Bytes(vec!["é".as_bytes()])),
            required(Column2::Bytes(vec![b"{\"a\": 1}"])),
            required(Column2::Bytes(vec![&[0, 255]])),
            required(Column2::Fixed(vec![&[0x11; 16]])),
            required(Column2::Fixed(vec![&[1, 0, 0, 0, 2, 0, 0, 0, 0xdc, 5, 0, 0]])),
            required(Column2::Fixed(vec![&[0x00, 0x3e]])),
        ]
    });
    let expected = [
        "b=true i=-7 u32=4294967295 u64=18446744073709551615 d=\"2024-11-01\" dec32=\"-12.50\" dec64=\"0.005\"",
        "decb=\"18446744073.709551616\" decf=\"-1\" utc=\"2024-11-01T09:57:00.25Z\"",
        "wall=\"2024-11-01T09:57:00.000000001\" old=\"2024-11-01T09:57:00.25Z\" t=\"10:33:04.5\"",
        "legacy=\"2024-11-01T01:00:00.000000001\" f=0.1 g=0.1 s='é' j=\"{\\\"a\\\": 1}\" raw=\"AP8=\"",
        "uuid=\"11111111-1111-1111-1111-111111111111\" gap=\"P1M2DT1.5S\" h=1.5",
    ];
    assert_eq!(read(&file, None), [expected.join(" ")]);
    assert_eq!(read(&file, Some(&["s", "i", "none"])), ["i=-7 s='é'"]);
}

#[test]
fn lists_maps_and_structs_are_put_together() {
    let message = "message m {
        required int32 id;
        optional group tags (LIST) { repeated group list { optional binary element (UTF8); } }
        optional group props (MAP) { repeated group key_value { required binary key (UTF8); optional int32 value; } }
        optional group at { required int32 d (DATE); optional group in { optional int64 x; } }
        repeated int32 bare;
        optional group old (LIST) { repeated group array { required int32 n (DECIMAL(9,1)); } }
        optional group deep (LIST) { repeated group list { optional group element (LIST) {
            repeated group list { optional int32 element; } } } }
    }";
    let file = write(message, 1, |_| {
        vec![
            required(Column2::Ints(vec![1, 2, 3])),
            // ["a", null], [], null
            Written { values: Column2::Bytes(vec![b"a"]), defs: vec![3, 2, 1, 0], reps: vec![0, 1, 0, 0] },
            // {"k": 1, "l": null}, {}, null
            Written {
                values: Column2::Bytes(vec![b"k", b"l"]),
                defs: vec![2, 2, 1, 0],
                reps: vec![0, 1, 0, 0],
            },
            Written { values: Column2::Ints(vec![1]), defs: vec![3, 2, 1, 0], reps: vec![0, 1, 0, 0] },
            // {d, {x: 5}}, {d, null}, null
            Written { values: Column2::Ints(vec![0, 1]), defs: vec![1, 1, 0], reps: Vec::new() },
            Written { values: Column2::Longs(vec![5]), defs: vec![3, 1, 0], reps: Vec::new() },
            // [1, 2], [], [3]
            Written { values: Column2::Ints(vec![1, 2, 3]), defs: vec![1, 1, 0, 1], reps: vec![0, 1, 0, 0] },
            // [{1.5}], null, []
            Written { values: Column2::Ints(vec![15]), defs: vec![2, 0, 1], reps: vec![0, 0, 0] },
            // [[1, null], [], null], [[2]], null
            Written {
                values: Column2::Ints(vec![1, 2]),
                defs: vec![5, 4, 3, 2, 5, 0],
                reps: vec![0, 2, 1, 1, 0, 0],
            },
        ]
    });
    assert_eq!(
        read(&file, None),
        [
            "id=1 tags=[\"a\",null] props={\"k\":1,\"l\":null} at={\"d\":\"1970-01-01\",\"in\":{\"x\":5}} \
             bare=[1,2] old=[{\"n\":\"1.5\"}] deep=[[1,null],[],null]",
            "id=2 tags=[] props={} at={\"d\":\"1970-01-02\",\"in\":null} bare=[] old=null deep=[[2]]",
            "id=3 tags=null props=null at=null bare=[3] old=[] deep=null",
        ]
    );
}

#[test]
fn row_groups_follow_each_other_and_are_skipped_unread() {
    let message = "message m { required int64 id; optional binary s (UTF8); }";
    let file = write(message, 3, |group| {
        let first = i64::try_from(group).unwrap() * 2000;
        vec![
            required(Column2::Longs((first..first + 2000).collect())),
            Written { values: Column2::Bytes(vec![b"x"; 1000]), defs: [1, 0].repeat(1000), reps: Vec::new() },
        ]
    });
    let all = read(&file, None);
    assert_eq!(all.len(), 6000);
    assert_eq!((all[0].as_str(), all[5999].as_str()), ("id=0 s='x'", "id=5999 s=null"));
    for skipped in [0, 1, 1999, 2000, 2001, 4500, 5999] {
        let mut rows = Parquet::new(File::open(file.path()).unwrap(), None).unwrap();
        assert_eq!(rows.skip(skipped).unwrap(), skipped);
        let left = listed(&mut rows);
        assert_eq!(left, all[usize::try_from(skipped).unwrap()..], "{skipped}");
    }
    let mut rows = Parquet::new(File::open(file.path()).unwrap(), None).unwrap();
    assert_eq!(rows.skip(7000).unwrap(), 6000);
    assert_eq!(rows.count(), Some(6000));
}

#[test]
fn a_broken_file_is_an_error_and_no_panic() {
    let message = "message m { required int64 id; optional binary s (UTF8); }";
    let file = write(message, 1, |_| {
        vec![
            required(Column2::Longs((0..100).collect())),
            Written { values: Column2::Bytes(vec![b"x"; 50]), defs: [1, 0].repeat(50), reps: Vec::new() },
        ]
    });
    let whole = std::fs::read(file.path()).unwrap();
    for at in (4..whole.len()).step_by(3) {
        let mut broken = whole.clone();
        broken[at] ^= 0x55;
        let copy = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(copy.path(), &broken).unwrap();
        let Ok(mut rows) = Parquet::new(File::open(copy.path()).unwrap(), None) else { continue };
        let mut count = 0;
        while let Ok(Next::Row(_) | Next::Bad(_)) = rows.next() {
            count += 1;
            assert!(count <= 1_000_000);
        }
    }
}
