//! The rows that a topic leads to as a Parquet file, as a warehouse would export them.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::load::Topic;

/// Rows in a row group.
const GROUP_ROWS: usize = 50_000;

/// Writes the file: whole numbers as INT64, all else as texts. Holds one row group at a time.
pub(crate) fn write(path: &Path, topic: &Topic) {
    let mut rows =
        topic.rows(1).map(|row| -> Vec<(&'static str, String)> { row.columns().collect() }).peekable();
    let first = rows.peek().expect("a row");
    let is_text: Vec<bool> = first.iter().map(|(_, value)| value.starts_with('"')).collect();
    let field = |((name, _), is_text): (&(&str, String), &bool)| match is_text {
        true => format!("required binary {name} (UTF8);"),
        false => format!("required int64 {name};"),
    };
    let fields: String = first.iter().zip(&is_text).map(field).collect();
    let schema = parse_message_type(&format!("message customers {{ {fields} }}")).expect("a schema");
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = File::create(path).expect("an export can be written");
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).expect("a writer");
    while rows.peek().is_some() {
        let rows: Vec<_> = rows.by_ref().take(GROUP_ROWS).collect();
        let mut group = writer.next_row_group().expect("a row group");
        for (index, is_text) in is_text.iter().enumerate() {
            let mut column = group.next_column().expect("a column").expect("a column");
            let values = rows.iter().map(|row| row[index].1.as_str());
            if *is_text {
                let texts: Vec<ByteArray> = values.map(|value| value.trim_matches('"').into()).collect();
                column.typed::<ByteArrayType>().write_batch(&texts, None, None).expect("a column is written");
            } else {
                let numbers: Vec<i64> = values.map(|value| value.parse().expect("a number")).collect();
                column.typed::<Int64Type>().write_batch(&numbers, None, None).expect("a column is written");
            }
            column.close().expect("a column is written");
        }
        group.close().expect("a row group is written");
    }
    writer.close().expect("an export is written");
}
