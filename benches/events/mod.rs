//! Change events of one table, as real sources write them, for everything that measures: the micro-benchmarks, the
//! count of allocations and the end-to-end load.
//!
//! One row has the same columns in every format, so that formats differ in their own cost alone. The envelope's
//! members and their order are those that Debezium 3.7 writes for PostgreSQL (see tests/fixtures). Start at
//! [`Event`].

mod avro;

use std::fmt::Write as _;

pub(crate) use avro::{KEY_SCHEMA, KEY_SCHEMA_ID, VALUE_SCHEMA, VALUE_SCHEMA_ID};

/// What the events look like on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Debezium's envelope as JSON, `schemas.enable=false`.
    Debezium,
    /// The same inside `{"schema", "payload"}`.
    DebeziumWithSchema,
    /// ExtractNewRecordState's rows with `__op`, `__table`, `__lsn`, `__source_ts_ms`.
    Flattened,
    /// Debezium's envelope as Avro behind a registry's id.
    Avro,
    /// Maxwell's JSON.
    Maxwell,
    /// Canal's flat JSON.
    Canal,
}

impl Format {
    /// All of them.
    pub(crate) const ALL: [Format; 6] = [
        Format::Debezium,
        Format::DebeziumWithSchema,
        Format::Flattened,
        Format::Avro,
        Format::Maxwell,
        Format::Canal,
    ];
}

/// The first id. All have twelve digits, so that all keys have one length, which is that of `redis-benchmark`'s.
pub(crate) const FIRST_ID: u64 = 100_000_000_000;

/// Values below this many bytes have fewer columns.
const WIDE_BYTES_MIN: usize = 300;

/// One change of one row: an update without a believable `before`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    /// The row's id, from [`FIRST_ID`].
    pub(crate) id: u64,
    /// Which change of the row it is; below 10^7.
    pub(crate) version: u64,
    /// Bytes of the row as JSON. At least 100.
    pub(crate) row_bytes: usize,
}

impl Event {
    /// The row as JSON: what `value = "json"` caches, whatever format the event came in.
    pub(crate) fn row(&self) -> String {
        format!(r#"{}"note":"{}"}}"#, self.head(), self.note())
    }

    /// The row's JSON before its last column.
    fn head(&self) -> String {
        let mut head = format!(r#"{{"id":{},"version":{},"#, self.id, 1_000_000 + self.version);
        if self.row_bytes >= WIDE_BYTES_MIN {
            let _ = write!(
                head,
                concat!(
                    r#""email":"customer{}@example.com","first_name":"Annegret","last_name":"O'Connor","#,
                    r#""street":"12 Long Acre, Covent Garden","city":"London","status":"active","#,
                    r#""balance":"1234.50","created_at":1730455020250,"#,
                ),
                self.id
            );
        }
        head
    }

    /// Text that fills the row up, the same for the same row.
    fn note(&self) -> String {
        let rest = self.head().len() + r#""note":""}"#.len();
        let letter = char::from(b'a' + u8::try_from(self.id % 26).unwrap_or(0));
        std::iter::repeat_n(letter, self.row_bytes.saturating_sub(rest)).collect()
    }

    /// The record's key.
    pub(crate) fn key(&self, format: Format) -> Vec<u8> {
        let id = self.id;
        match format {
            Format::Debezium | Format::Flattened | Format::Canal => format!(r#"{{"id":{id}}}"#).into_bytes(),
            Format::DebeziumWithSchema => format!(
                r#"{{"schema":{{"type":"struct","fields":[{{"type":"int64","optional":false,"field":"id"}}],"optional":false,"name":"shop.public.customers.Key"}},"payload":{{"id":{id}}}}}"#
            )
            .into_bytes(),
            Format::Avro => avro::key(id),
            Format::Maxwell => {
                format!(r#"{{"database":"shop","table":"customers","pk.id":{id}}}"#).into_bytes()
            }
        }
    }

    /// The record's value.
    pub(crate) fn value(&self, format: Format) -> Vec<u8> {
        let row = self.row();
        let position = 24_000_000 + self.version;
        match format {
            Format::Debezium => envelope(&row, position).into_bytes(),
            Format::DebeziumWithSchema => {
                format!(r#"{{"schema":{},"payload":{}}}"#, self.schema(), envelope(&row, position))
                    .into_bytes()
            }
            Format::Flattened => {
                let columns = row.trim_end_matches('}');
                format!(
                    r#"{columns},"__op":"u","__table":"customers","__lsn":{position},"__source_ts_ms":1730455020250}}"#
                )
                .into_bytes()
            }
            Format::Avro => avro::value(self, &self.note(), position),
            Format::Maxwell => format!(
                r#"{{"database":"shop","table":"customers","type":"update","ts":1730455020,"xid":{position},"commit":true,"position":"binlog.000012:{position}","data":{row},"old":{{"version":1}}}}"#
            )
            .into_bytes(),
            Format::Canal => self.canal(position).into_bytes(),
        }
    }

    fn canal(&self, position: u64) -> String {
        let texts: Vec<String> = self
            .columns()
            .map(|(name, value)| match value.starts_with('"') {
                true => format!(r#""{name}":{value}"#),
                false => format!(r#""{name}":"{value}""#),
            })
            .collect();
        let types: Vec<String> = self
            .columns()
            .map(|(name, value)| {
                let kind = if value.starts_with('"') { "varchar(20000)" } else { "bigint" };
                format!(r#""{name}":"{kind}""#)
            })
            .collect();
        format!(
            r#"{{"data":[{{{}}}],"database":"shop","es":1730455020250,"id":{position},"isDdl":false,"mysqlType":{{{}}},"old":[{{"version":"1"}}],"pkNames":["id"],"sql":"","table":"customers","ts":1730455020400,"type":"UPDATE"}}"#,
            texts.join(","),
            types.join(",")
        )
    }

    /// Connect's schema of the envelope.
    fn schema(&self) -> String {
        let fields: Vec<String> = self
            .columns()
            .map(|(name, value)| {
                let kind = if value.starts_with('"') { "string" } else { "int64" };
                format!(r#"{{"type":"{kind}","optional":true,"field":"{name}"}}"#)
            })
            .collect();
        let row = |side: &str| {
            format!(
                r#"{{"type":"struct","fields":[{}],"optional":true,"name":"shop.public.customers.Value","field":"{side}"}}"#,
                fields.join(",")
            )
        };
        format!(
            r#"{{"type":"struct","fields":[{},{},{SOURCE_SCHEMA},{TAIL_SCHEMA}],"optional":false,"name":"shop.public.customers.Envelope","version":2}}"#,
            row("before"),
            row("after")
        )
    }

    /// Names and JSON values of the columns.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let mut columns =
            vec![("id", self.id.to_string()), ("version", (1_000_000 + self.version).to_string())];
        if self.row_bytes >= WIDE_BYTES_MIN {
            columns.extend([
                ("email", format!(r#""customer{}@example.com""#, self.id)),
                ("first_name", r#""Annegret""#.to_owned()),
                ("last_name", r#""O'Connor""#.to_owned()),
                ("street", r#""12 Long Acre, Covent Garden""#.to_owned()),
                ("city", r#""London""#.to_owned()),
                ("status", r#""active""#.to_owned()),
                ("balance", r#""1234.50""#.to_owned()),
                ("created_at", "1730455020250".to_owned()),
            ]);
        }
        columns.push(("note", format!(r#""{}""#, self.note())));
        columns.into_iter()
    }
}

fn envelope(row: &str, position: u64) -> String {
    format!(
        r#"{{"before":null,"after":{row},"source":{{"version":"3.7.0.Final","connector":"postgresql","name":"shop","ts_ms":1730455020250,"snapshot":"false","db":"shop","sequence":"[\"{position}\",\"{position}\"]","ts_us":1730455020250250,"ts_ns":1730455020250250000,"schema":"public","table":"customers","txId":771,"lsn":{position},"xmin":null,"origin":null,"origin_lsn":null}},"transaction":null,"op":"u","ts_ms":1730455020271,"ts_us":1730455020271732,"ts_ns":1730455020271732318}}"#
    )
}

const SOURCE_SCHEMA: &str = r#"{"type":"struct","fields":[{"type":"string","optional":false,"field":"version"},{"type":"string","optional":false,"field":"connector"},{"type":"string","optional":false,"field":"name"},{"type":"int64","optional":false,"field":"ts_ms"},{"type":"string","optional":true,"name":"io.debezium.data.Enum","version":1,"parameters":{"allowed":"true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},"default":"false","field":"snapshot"},{"type":"string","optional":false,"field":"db"},{"type":"string","optional":true,"field":"sequence"},{"type":"int64","optional":true,"field":"ts_us"},{"type":"int64","optional":true,"field":"ts_ns"},{"type":"string","optional":false,"field":"schema"},{"type":"string","optional":false,"field":"table"},{"type":"int64","optional":true,"field":"txId"},{"type":"int64","optional":true,"field":"lsn"},{"type":"int64","optional":true,"field":"xmin"},{"type":"string","optional":true,"field":"origin"},{"type":"int64","optional":true,"field":"origin_lsn"}],"optional":false,"name":"io.debezium.connector.postgresql.Source","version":1,"field":"source"}"#;

const TAIL_SCHEMA: &str = r#"{"type":"struct","fields":[{"type":"string","optional":false,"field":"id"},{"type":"int64","optional":false,"field":"total_order"},{"type":"int64","optional":false,"field":"data_collection_order"}],"optional":true,"name":"event.block","version":1,"field":"transaction"},{"type":"string","optional":false,"field":"op"},{"type":"int64","optional":true,"field":"ts_ms"},{"type":"int64","optional":true,"field":"ts_us"},{"type":"int64","optional":true,"field":"ts_ns"}"#;
