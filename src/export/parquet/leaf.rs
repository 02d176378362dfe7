//! One primitive column of a row group: its values and levels, a bounded number of rows at a time.

use std::fmt::Write as _;

use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::{ByteArray, DataType, FixedLenByteArray, Int96};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::RowGroupReader;
use ::parquet::schema::types::SchemaDescriptor;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::meaning::{self, Form};
use crate::types::{Kind, Raw, json_string};

/// A column, and what of it is in memory.
pub(super) struct Leaf {
    /// Its number among the primitive columns of the file.
    column: usize,
    pub(super) kind: Kind,
    pub(super) form: Form,
    /// Levels at which a value is there.
    def_max: i16,
    reader: Option<ColumnReader>,
    values: Values,
    defs: Vec<i16>,
    reps: Vec<i16>,
    /// Levels in memory.
    levels: usize,
    /// The level and the value that come next.
    level: usize,
    value: usize,
}

#[derive(Debug, Default)]
struct Values {
    bools: Vec<bool>,
    ints: Vec<i32>,
    longs: Vec<i64>,
    int96s: Vec<Int96>,
    floats: Vec<f32>,
    doubles: Vec<f64>,
    bytes: Vec<ByteArray>,
    fixed: Vec<FixedLenByteArray>,
}

impl Leaf {
    pub(super) fn new(column: usize, schema: &SchemaDescriptor) -> Leaf {
        let described = schema.column(column);
        let (kind, form) = meaning::of(described.self_type());
        Leaf {
            column,
            kind,
            form,
            def_max: described.max_def_level(),
            reader: None,
            values: Values::default(),
            defs: Vec::new(),
            reps: Vec::new(),
            levels: 0,
            level: 0,
            value: 0,
        }
    }

    /// Begins with a row group.
    pub(super) fn open(&mut self, group: &dyn RowGroupReader) -> Result<(), ParquetError> {
        self.reader = Some(group.get_column_reader(self.column)?);
        self.levels = 0;
        self.level = 0;
        Ok(())
    }

    /// True where nothing in memory is left: always between two rows.
    pub(super) fn is_empty(&self) -> bool {
        self.level >= self.levels
    }

    /// Reads so many rows, whole ones.
    pub(super) fn fill(&mut self, rows: usize) -> Result<(), ParquetError> {
        self.defs.clear();
        self.reps.clear();
        self.level = 0;
        self.value = 0;
        let (defs, reps) = (&mut self.defs, &mut self.reps);
        self.levels = match &mut self.reader {
            None => 0,
            Some(ColumnReader::BoolColumnReader(it)) => read(it, rows, defs, reps, &mut self.values.bools)?,
            Some(ColumnReader::Int32ColumnReader(it)) => read(it, rows, defs, reps, &mut self.values.ints)?,
            Some(ColumnReader::Int64ColumnReader(it)) => read(it, rows, defs, reps, &mut self.values.longs)?,
            Some(ColumnReader::Int96ColumnReader(it)) => read(it, rows, defs, reps, &mut self.values.int96s)?,
            Some(ColumnReader::FloatColumnReader(it)) => read(it, rows, defs, reps, &mut self.values.floats)?,
            Some(ColumnReader::DoubleColumnReader(it)) => {
                read(it, rows, defs, reps, &mut self.values.doubles)?
            }
            Some(ColumnReader::ByteArrayColumnReader(it)) => {
                read(it, rows, defs, reps, &mut self.values.bytes)?
            }
            Some(ColumnReader::FixedLenByteArrayColumnReader(it)) => {
                read(it, rows, defs, reps, &mut self.values.fixed)?
            }
        };
        Ok(())
    }

    /// How much of what stands next is defined; `None` at the end of what is in memory.
    pub(super) fn def(&self) -> Option<i16> {
        if self.is_empty() {
            return None;
        }
        // A column that is always there has no levels.
        if self.def_max == 0 { Some(0) } else { self.defs.get(self.level).copied() }
    }

    /// At which level what stands next repeats; 0 begins a row.
    pub(super) fn rep(&self) -> Option<i16> {
        if self.is_empty() {
            return None;
        }
        Some(self.reps.get(self.level).copied().unwrap_or(0))
    }

    /// Takes what stands next: the index of its value, `None` where there is none.
    pub(super) fn take(&mut self) -> Option<usize> {
        let is_there = self.def() == Some(self.def_max);
        self.level += 1;
        is_there.then(|| {
            self.value += 1;
            self.value - 1
        })
    }

    /// The value at that index as it is; for [`Form::Plain`], [`Form::Unsigned32`] and [`Form::Half`].
    pub(super) fn raw(&self, index: usize) -> Result<Raw<'_>, &'static str> {
        const GONE: &str = "has fewer values than levels";
        let values = &self.values;
        let bytes = match &self.reader {
            Some(ColumnReader::BoolColumnReader(_)) => {
                return values.bools.get(index).map(|value| Raw::Bool(*value)).ok_or(GONE);
            }
            Some(ColumnReader::Int32ColumnReader(_)) => {
                let value = values.ints.get(index).ok_or(GONE)?;
                return Ok(Raw::Int(match self.form {
                    Form::Unsigned32 => i64::from(value.cast_unsigned()),
                    _ => i64::from(*value),
                }));
            }
            Some(ColumnReader::Int64ColumnReader(_)) => {
                return values.longs.get(index).map(|value| Raw::Int(*value)).ok_or(GONE);
            }
            Some(ColumnReader::FloatColumnReader(_)) => {
                return values.floats.get(index).map(|value| Raw::Double(widened(*value))).ok_or(GONE);
            }
            Some(ColumnReader::DoubleColumnReader(_)) => {
                return values.doubles.get(index).map(|value| Raw::Double(*value)).ok_or(GONE);
            }
            Some(ColumnReader::ByteArrayColumnReader(_) | ColumnReader::FixedLenByteArrayColumnReader(_)) => {
                self.bytes(index)?
            }
            Some(ColumnReader::Int96ColumnReader(_)) | None => return Err(GONE),
        };
        match (self.form, &self.kind) {
            (Form::Half, _) => meaning::half(bytes).map(Raw::Double),
            (_, Kind::Text | Kind::Json) => {
                std::str::from_utf8(bytes).map(Raw::Text).map_err(|_| "is not UTF-8")
            }
            _ => Ok(Raw::Bytes(bytes)),
        }
    }

    /// Appends the value at that index as text; for the forms that are no raw part.
    pub(super) fn push_text(&self, index: usize, out: &mut String) -> Result<(), &'static str> {
        const GONE: &str = "has fewer values than levels";
        match (self.form, &self.reader) {
            (Form::Decimal(scale), Some(ColumnReader::Int32ColumnReader(_))) => {
                let value = *self.values.ints.get(index).ok_or(GONE)?;
                meaning::push_decimal_int(i64::from(value), scale, out);
            }
            (Form::Decimal(scale), Some(ColumnReader::Int64ColumnReader(_))) => {
                meaning::push_decimal_int(*self.values.longs.get(index).ok_or(GONE)?, scale, out);
            }
            (Form::Decimal(scale), _) => meaning::push_decimal(self.bytes(index)?, scale, out),
            (Form::Int96, _) => meaning::push_int96(self.values.int96s.get(index).ok_or(GONE)?, out)?,
            (Form::Interval, _) => meaning::push_interval(self.bytes(index)?, out)?,
            (Form::Plain | Form::Unsigned32 | Form::Half, _) => return Err(GONE),
        }
        Ok(())
    }

    /// Appends the value at that index as the JSON that its kind is read from.
    pub(super) fn push_json(&self, index: usize, out: &mut String) -> Result<(), &'static str> {
        if self.is_text() {
            out.push('"');
            self.push_text(index, out)?;
            out.push('"');
            return Ok(());
        }
        match self.raw(index)? {
            Raw::Bool(value) => out.push_str(if value { "true" } else { "false" }),
            Raw::Int(value) => drop(write!(out, "{value}")),
            Raw::Double(value) => match serde_json::to_string(&value) {
                Ok(text) if value.is_finite() => out.push_str(&text),
                _ if value.is_nan() => out.push_str("\"NaN\""),
                _ => out.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }),
            },
            Raw::Text(text) | Raw::Json(text) => push_quoted(text, out),
            Raw::Bytes(bytes) => match (<&[u8; 16]>::try_from(bytes), &self.kind) {
                (Ok(uuid), Kind::Uuid) => push_quoted(&crate::decode::guid_text(uuid), out),
                _ => {
                    out.push('"');
                    STANDARD.encode_string(bytes, out);
                    out.push('"');
                }
            },
        }
        Ok(())
    }

    /// True where a value is handed on as a text that is made for it.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.form, Form::Decimal(_) | Form::Int96 | Form::Interval)
    }

    fn bytes(&self, index: usize) -> Result<&[u8], &'static str> {
        let bytes = match &self.reader {
            Some(ColumnReader::FixedLenByteArrayColumnReader(_)) => {
                self.values.fixed.get(index).map(|bytes| bytes.data())
            }
            _ => self.values.bytes.get(index).map(ByteArray::data),
        };
        bytes.ok_or("has fewer values than levels")
    }
}

pub(super) fn push_quoted(text: &str, out: &mut String) {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    json_string(text, &mut quoted);
    out.push_str(std::str::from_utf8(&quoted).unwrap_or("\"\""));
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    defs: &mut Vec<i16>,
    reps: &mut Vec<i16>,
    values: &mut Vec<T::T>,
) -> Result<usize, ParquetError> {
    values.clear();
    let (_, _, levels) = reader.read_records(rows, Some(defs), Some(reps), values)?;
    Ok(levels)
}

/// The double whose shortest text is the float's, as for Avro's.
fn widened(value: f32) -> f64 {
    if value.is_finite() { value.to_string().parse().unwrap_or(f64::from(value)) } else { f64::from(value) }
}
