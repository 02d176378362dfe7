//! `[[entity]]` as it is written; see [`super::raw`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::raw::{DurationText, ShareText, SizeText, text_type};
use super::raw_guard::Guard;
use super::raw_member::{SetMember, SortedSetMember};
use super::units;

text_type!(
    /// A template of a key or a text.
    Template,
    |_| json_schema!({
        "description": "A template: `{column}` or `{column|filter}` stands for the row's value, `{{` and `}}` for the braces themselves. `${NAME}` is not filled in here.",
        "type": "string",
        "format": "template",
        "minLength": 1,
        "examples": ["customer:{id}", "customer:email:{email|lower}"],
    })
);
text_type!(
    /// A condition.
    Condition,
    |_| json_schema!({
        "description": "A condition (CEL) over `before`, `after`, `op` and `source`. `${NAME}` is not filled in here.",
        "type": "string",
        "format": "condition",
        "minLength": 1,
        "examples": ["after.status == 'active'", "after.deleted_at != null"],
    })
);

text_type!(
    /// A template of a larger text.
    TextTemplate,
    |_| json_schema!({
        "description": "A template in Jinja's language: `{{ column }}`, `{% for … %}`, `{% if … %}`. `${NAME}` is not filled in here.",
        "type": "string",
        "format": "text-template",
        "minLength": 1,
        "examples": ["<b>{{ name }}</b>"],
    })
);

/// A constant: any text, number, date, or true or false.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Constant(pub(super) serde_json::Value);

impl JsonSchema for Constant {
    fn schema_name() -> Cow<'static, str> {
        "Constant".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A constant: a text, a number, a date or time (written as its text), true or false.",
            "anyOf": [
                { "type": "string", "format": "constant" },
                { "type": "integer" },
                { "type": "number" },
                { "type": "boolean" },
            ],
        })
    }
}

/// One kind of cached thing: which records it reads, and which keys they become.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Entity {
    /// Its name in metrics, logs and commands: a-z, 0-9, _ and -.
    #[schemars(required)]
    pub(super) name: Option<String>,
    /// The topics that it reads: names, or one regular expression "^…$" over the whole name.
    #[schemars(required, length(min = 1))]
    pub(super) topics: Option<Vec<String>>,
    /// Only this table, where several share a topic: "table", "schema.table" or "db.table", or a regular
    /// expression "^…$" over the whole name.
    pub(super) table: Option<String>,
    /// The format of the topics; "auto" tells by each record.
    #[schemars(extend("default" = "auto"))]
    pub(super) format: Option<Format>,
    /// The row's key columns, where the record's key does not tell them.
    #[schemars(length(min = 1))]
    pub(super) key_columns: Option<Vec<String>>,
    /// How much of a PostgreSQL `before` is believed: "default" only its key columns, "full" all of it,
    /// `{ index = ["column"] }` only those of the index.
    #[schemars(extend("default" = "default"))]
    pub(super) replica_identity: Option<ReplicaIdentity>,
    /// Soft deletes: a row for which this holds, or cannot be evaluated, is deleted from the cache.
    pub(super) delete_when: Option<Condition>,
    /// What a TRUNCATE does: "ignore" leaves the keys to their TTL and raises an alarm; "delete" scans for them and
    /// deletes them, while the partition waits.
    #[schemars(extend("default" = "ignore"))]
    pub(super) truncate: Option<Truncate>,
    /// What becomes of a key whose value needs a column that the event does not hold: "delete" it, or "merge" an update
    /// with the cached value (JSON and hashes of columns; otherwise, and where that is not certain to be the row's,
    /// it is deleted).
    #[schemars(extend("default" = "delete"))]
    pub(super) unavailable: Option<Unavailable>,
    /// Sends all keys of the entity through the version guard, which keeps late and repeated changes from replacing
    /// newer ones, and says what it compares. Without it only keys that several rows can have are guarded.
    pub(super) guard: Option<Guard>,
    /// Types of columns, where the format carries none: `{ balance = "decimal(2)", placed_at = "instant_us" }`.
    pub(super) columns: Option<BTreeMap<String, String>>,
    /// The column that holds what happened to a row, and its texts that mean a delete:
    /// `{ column = "op", delete = ["D"] }`. It is no part of the row.
    pub(super) op_column: Option<OpColumn>,
    /// What a column of `columns` means that a row does not have: "omit" leaves it out, "null", or
    /// "unavailable", where a producer leaves out what has not changed. Under `format = "dms"` it is "null".
    #[schemars(extend("default" = "omit"))]
    pub(super) absent: Option<Absent>,
    /// How column names are read: "as_is", or "lower" where the producer writes them in capitals.
    #[schemars(extend("default" = "as_is"))]
    pub(super) column_case: Option<ColumnCase>,
    /// How values are rendered.
    pub(super) render: Option<Render>,
    /// The name of a handler in Rust. Either this or `write`.
    pub(super) handler: Option<String>,
    /// What a row becomes in the cache: one `[[entity.write]]` for each key. Either this or `handler`.
    #[schemars(length(min = 1))]
    pub(super) write: Option<Vec<Write>>,
}

/// The format of an entity's topics.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// Told by each record.
    Auto,
    /// Debezium's envelopes.
    Debezium,
    /// Rows of Debezium's ExtractNewRecordState.
    Flattened,
    /// Plain rows: a value is the whole row, a null value deletes.
    Rows,
    /// Maxwell's JSON.
    Maxwell,
    /// Canal's flat JSON.
    Canal,
    /// TiCDC: canal-json, open protocol, simple (JSON), Debezium.
    Ticdc,
    /// Oracle GoldenGate's JSON.
    Ogg,
    /// AWS DMS with Kafka as its target.
    Dms,
    /// CockroachDB's changefeeds as JSON.
    Cockroach,
    /// Sequin's messages.
    Sequin,
    /// MongoDB: its Kafka source connector, and Debezium's connector for it.
    Mongo,
}

/// How much of a PostgreSQL `before` is believed.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum ReplicaIdentity {
    /// By name.
    Name(ReplicaIdentityName),
    /// `REPLICA IDENTITY USING INDEX`.
    Index(ReplicaIdentityIndex),
}

/// PostgreSQL's replica identity.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReplicaIdentityName {
    /// `REPLICA IDENTITY DEFAULT`: only the key columns of `before` are believed.
    Default,
    /// `REPLICA IDENTITY FULL`: `before` is the whole old row.
    Full,
}

/// `REPLICA IDENTITY USING INDEX`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplicaIdentityIndex {
    /// The index's columns: all of `before` that is believed.
    #[schemars(required, length(min = 1))]
    pub(super) index: Option<Vec<String>>,
}

/// What a TRUNCATE does.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Truncate {
    /// Nothing but an alarm; the keys stay until their TTL.
    Ignore,
    /// Every key that the entity's templates can give is deleted.
    Delete,
}

/// What becomes of a key whose value needs a column that the event does not hold.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unavailable {
    /// It is deleted: a miss is right where a guess is not.
    Delete,
    /// An update keeps that column of the cached value, where it is certain to be this row's.
    Merge,
}

/// The column that holds what happened to a row.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OpColumn {
    /// Its name.
    #[schemars(required)]
    pub(super) column: Option<String>,
    /// Its texts that mean a delete.
    #[schemars(required, length(min = 1))]
    pub(super) delete: Option<Vec<String>>,
}

/// What a column means that a row does not have.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Absent {
    /// It stays left out.
    Omit,
    /// It is null.
    Null,
    /// The event does not hold it.
    Unavailable,
}

/// How column names are read.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ColumnCase {
    /// As they are.
    AsIs,
    /// In lower case.
    Lower,
}

/// How values are rendered.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Render {
    /// Decimals in JSON: "string" ("12.50") or "number" (the same digits unquoted).
    #[schemars(extend("default" = "string"))]
    pub(super) decimal: Option<RenderDecimal>,
    /// Times: "rfc3339" text, or "raw", the number as the event carries it.
    #[schemars(extend("default" = "rfc3339"))]
    pub(super) time: Option<RenderTime>,
    /// Bytes: "base64" or "hex".
    #[schemars(extend("default" = "base64"))]
    pub(super) bytes: Option<RenderBytes>,
}

/// How decimals are rendered in JSON.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RenderDecimal {
    /// "12.50".
    String,
    /// 12.50.
    Number,
}

/// How times are rendered.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RenderTime {
    /// ISO 8601 text.
    Rfc3339,
    /// As the event carries it.
    Raw,
}

/// How bytes are rendered.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RenderBytes {
    /// Padded base64.
    Base64,
    /// Lower-case hexadecimal.
    Hex,
}

/// One key that a row becomes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Write {
    /// The key.
    #[schemars(required)]
    pub(super) key: Option<Template>,
    /// The value: of the whole row "json" or "hash", or "invalidate" to delete the key on every change; of chosen
    /// columns { json = ["id"] }, { hash = ["id"] }, { text = "{id}" }, { template = "…" } or { bytes = "photo" }; or
    /// a member of the key: { set = { member = "{id}" } }, { sorted_set = { member = "{id}", score = "points" } }.
    #[schemars(required)]
    pub(super) value: Option<Value>,
    /// How a JSON value is written: "json" or "msgpack".
    #[schemars(extend("default" = "json"))]
    pub(super) encoding: Option<Encoding>,
    /// Compresses the value over a size. Not of a hash.
    pub(super) compress: Option<Compress>,
    /// How long the key lives: a duration, "none", by a column, or from the source's commit. Has to be said,
    /// but for `value = "invalidate"`, which has none. A member's is "none".
    pub(super) ttl: Option<Ttl>,
    /// ± this share of the duration, by a function of the key: keys written together do not expire together.
    pub(super) jitter: Option<ShareText>,
    /// Only rows for which this holds are cached; the key of any other, or of one for which it cannot be
    /// evaluated, is deleted.
    pub(super) when: Option<Condition>,
    /// True where another template gives the same keys, and that is meant: turns the version guard on.
    #[schemars(extend("default" = false))]
    pub(super) shared: Option<bool>,
}

/// What a value is made of.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Value {
    /// Of the whole row.
    Name(ValueName),
    /// Of chosen columns.
    Of(ValueOf),
}

/// A value of the whole row.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ValueName {
    /// The whole row as one JSON object, columns in the event's order.
    Json,
    /// The whole row as a hash, replaced as a whole.
    Hash,
    /// No value: the key is deleted on every change, and the reader fetches it again.
    Invalidate,
}

/// A value of chosen columns.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ValueOf {
    /// These columns as one JSON object, in this order.
    Json(Vec<Column>),
    /// A text.
    Text(Template),
    /// A larger text, by a template in Jinja's language.
    Template(TextTemplate),
    /// These columns as a hash.
    Hash(Vec<Column>),
    /// One column's bytes as they are.
    Bytes(String),
    /// The row is a member of the set at the key.
    Set(SetMember),
    /// The row is a member of the sorted set at the key.
    SortedSet(SortedSetMember),
}

/// A column of a value.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Column {
    /// By its own name.
    Same(String),
    /// Under another name, or something else than a column.
    Renamed(Renamed),
}

/// A field of a value under a name of its own: a column, or, in JSON, a constant or an object.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Renamed {
    /// The name in the value.
    #[schemars(required)]
    pub(super) name: Option<String>,
    /// The column of the row. Either this, `value` or `json`.
    pub(super) column: Option<String>,
    /// A constant.
    pub(super) value: Option<Constant>,
    /// An object of these columns.
    #[schemars(length(min = 1))]
    pub(super) json: Option<Vec<Column>>,
    /// "json": the column's text is JSON, and becomes a part of the value.
    pub(super) parse: Option<ParseAs>,
}

/// What a column's text is parsed as.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ParseAs {
    /// JSON.
    Json,
}

/// How a JSON value is written.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Encoding {
    /// As it is.
    Json,
    /// As MessagePack.
    Msgpack,
}

/// Compression of a value.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Compress {
    /// "zstd" or "lz4", in their frame formats.
    #[schemars(required)]
    pub(super) algorithm: Option<Algorithm>,
    /// Values over this size are compressed.
    #[schemars(extend("default" = "1KiB"))]
    pub(super) over: Option<SizeText>,
}

/// A compression.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Algorithm {
    /// zstd.
    Zstd,
    /// LZ4.
    Lz4,
}

/// How long a key lives.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Ttl {
    /// A duration after the write, or "none".
    Fixed(TtlText),
    /// Until the moment that a column holds.
    Column(TtlColumn),
    /// A duration, with more to say about it.
    After(TtlAfter),
}

text_type!(
    /// A duration, or "none".
    TtlText,
    |_| json_schema!({
        "description": "A duration after the write, or \"none\": the key never expires.",
        "type": "string",
        "pattern": format!("^none$|{}", units::DURATION_PATTERN),
        "examples": ["90s", "1h", "7d", "none"],
    })
);

/// Until the moment that a column holds.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TtlColumn {
    /// The column that holds the moment.
    #[schemars(required)]
    pub(super) column: Option<String>,
    /// But at most so long after the write.
    pub(super) at_most: Option<DurationText>,
    /// Where the column is null; without it, null is the record's error.
    pub(super) if_null: Option<DurationText>,
}

/// A duration, with more to say about it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TtlAfter {
    /// The duration.
    #[schemars(required)]
    pub(super) after: Option<DurationText>,
    /// ± this share of it, by a function of the key.
    pub(super) jitter: Option<ShareText>,
    /// What it counts from: "write", or "commit", the source's commit time; what would have expired already
    /// is deleted.
    #[schemars(extend("default" = "write"))]
    pub(super) from: Option<TtlFrom>,
}

/// What a duration counts from.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TtlFrom {
    /// The write.
    Write,
    /// The source's commit.
    Commit,
}
