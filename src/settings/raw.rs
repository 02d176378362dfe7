//! `stoker.toml` as it is written. The one source of its fields: the JSON Schema is generated from these
//! types, and [`super::check`] holds a file against that schema.
//!
//! Where a field can be several things, serde tries them in turn (`untagged`): the checker has told them apart
//! before, in words that serde does not have, so what arrives here fits one of them.
//!
//! Every field is optional to serde, because a file with problems is read as far as it can be; what is
//! required is said by the schema. The doc comments here are what editors and the documentation show.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::{defaults, raw_entity, units};

/// Name in the JSON Schema of `{ file = "path" }`.
pub(super) const FILE: &str = "File";
/// `format` in the JSON Schema of texts in a language of their own, where `${NAME}` is not filled in.
pub(super) const LANGUAGES: [&str; 3] = ["template", "text-template", "condition"];

/// A text type whose JSON Schema has a name of its own.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $schema:expr) => {
        $(#[$doc])*
        #[derive(Clone, Deserialize)]
        #[serde(transparent)]
        pub(super) struct $name(pub(super) String);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let schema: fn(&mut SchemaGenerator) -> Schema = $schema;
                schema(generator)
            }
        }
    };
}
pub(super) use text_type;

text_type!(
    /// A text: as it stands, with `${NAME}` filled in, or from a file.
    Text,
    |generator| json_schema!({
        "description": "A text. `${NAME}` is an environment variable, `$$` a dollar; `{ file = \"path\" }` is the content of a file.",
        "anyOf": [{ "type": "string" }, generator.subschema_for::<File>()],
    })
);
text_type!(
    /// A duration.
    DurationText,
    |_| json_schema!({
        "description": "A duration: a whole number and ms, s, m, h or d.",
        "type": "string",
        "pattern": units::DURATION_PATTERN,
        "examples": ["250ms", "90s", "15m", "1h", "7d"],
    })
);
text_type!(
    /// A size.
    SizeText,
    |_| json_schema!({
        "description": "A size: a whole number and B, KiB, MiB or GiB (a KiB is 1,024 B).",
        "type": "string",
        "pattern": units::SIZE_PATTERN,
        "examples": ["64KiB", "4MiB", "1GiB"],
    })
);
text_type!(
    /// A share.
    ShareText,
    |_| json_schema!({
        "description": "A share in percent.",
        "type": "string",
        "pattern": units::SHARE_PATTERN,
        "examples": ["5%", "0.5%"],
    })
);

/// The content of a file, without line breaks at its end. A relative path counts from the settings file.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "the checker puts the content in its place; only the schema is made of this")]
struct File {
    /// Where the file is.
    file: String,
}

/// The settings of Stoker.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Stoker")]
pub(super) struct Stoker {
    /// Where records come from.
    #[schemars(required)]
    pub(super) kafka: Option<Kafka>,
    /// The schema registry of records in Avro, in Protobuf, or in JSON with a JSON Schema.
    pub(super) registry: Option<super::raw_registry::Registry>,
    /// Where the cache is.
    #[schemars(required)]
    pub(super) redis: Option<Redis>,
    /// What becomes of records that cannot be decoded, handled or written.
    pub(super) errors: Option<Errors>,
    /// Bounds of what one process takes.
    pub(super) limits: Option<Limits>,
    /// When a process counts as warm.
    pub(super) ready: Option<Ready>,
    /// Refills: history that Redis lost, or never had.
    pub(super) refill: Option<Refill>,
    /// Looks at keys that were written a moment ago. Without this section nothing is looked at.
    pub(super) verify: Option<Verify>,
    /// Logs; they go to standard error.
    pub(super) log: Option<Log>,
    /// The HTTP server with /metrics, /livez, /readyz and /status. Without this section nothing listens.
    pub(super) admin: Option<Admin>,
    /// What is cached: one `[[entity]]` each.
    #[schemars(required, length(min = 1))]
    pub(super) entity: Option<Vec<raw_entity::Entity>>,
}

/// Where records come from.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Kafka {
    /// Brokers to begin with, `host:port`: one text with commas, or a list.
    #[schemars(required)]
    pub(super) brokers: Option<Brokers>,
    /// The consumer group. Processes of one group share the partitions.
    #[schemars(required)]
    pub(super) group: Option<Text>,
    /// Where a group without positions starts: "refill" takes the history and then follows, "earliest" starts
    /// at the first record, "latest" at the end.
    #[schemars(extend("default" = "refill"))]
    pub(super) start: Option<Start>,
    /// How the topics' producers place records by their key: "murmur2" as Kafka's own do, so that a refill leaves out
    /// keys that belong to another partition since their topic has grown; "unknown" leaves nothing out.
    #[schemars(extend("default" = "murmur2"))]
    pub(super) partitioner: Option<Partitioner>,
    /// Any librdkafka property, passed through as it is, but for those that Stoker sets itself.
    pub(super) properties: Option<BTreeMap<String, Property>>,
}

/// Brokers to begin with.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Brokers {
    /// One text, separated by commas.
    Text(Text),
    /// A list.
    List(Vec<Text>),
}

/// Where a group without positions starts.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Start {
    /// The history, then live changes.
    Refill,
    /// From the first record that the topic still holds.
    Earliest,
    /// From the end.
    Latest,
}

/// How producers place records that have a key.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Partitioner {
    /// By the hash of Kafka's own producers.
    Murmur2,
    /// In some other way, or it is not known.
    Unknown,
}

/// A property's value.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Property {
    /// A text.
    Text(Text),
    /// A whole number.
    Number(i64),
    /// True or false.
    Switch(bool),
}

/// Where the cache is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Redis {
    /// One server: `redis://user:password@host:6379/0`, `rediss://…` over TLS, `unix:///path/of.sock?db=0`.
    /// Reserved characters of user and password are percent-encoded. Either this or `cluster`.
    pub(super) url: Option<Text>,
    /// A Redis Cluster: some of its nodes, `host:port`. Either this or `url`.
    #[schemars(length(min = 1))]
    pub(super) cluster: Option<Vec<Text>>,
    /// The ACL user, where the URL does not name one.
    pub(super) username: Option<Text>,
    /// The password, where the URL does not hold one.
    pub(super) password: Option<Text>,
    /// Turns TLS on and says what to trust.
    pub(super) tls: Option<Tls>,
    /// What Stoker's own keys begin with. No braces: they would be hash tags.
    #[schemars(extend("default" = defaults::OWN_PREFIX))]
    pub(super) own_prefix: Option<Text>,
    /// How long one answer may take.
    #[schemars(extend("default" = units::show_duration(defaults::REDIS_TIMEOUT)))]
    pub(super) timeout: Option<DurationText>,
    /// How long a connection may take, login included.
    #[schemars(extend("default" = units::show_duration(defaults::REDIS_CONNECT_TIMEOUT)))]
    pub(super) connect_timeout: Option<DurationText>,
}

/// TLS of Redis connections. Paths of PEM files; a relative one counts from the settings file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    /// Certificates to trust instead of the system's.
    pub(super) ca: Option<Text>,
    /// The client's certificate.
    pub(super) cert: Option<Text>,
    /// The client's key.
    pub(super) key: Option<Text>,
}

/// What becomes of records that cannot be decoded, handled or written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Errors {
    /// "dead_letter" sets the record aside (the default where a topic is set), "stop" ends the process (the
    /// default where none is), "skip" counts it and goes on.
    pub(super) on_error: Option<OnError>,
    /// The topic for records set aside: their original bytes, with the reason in the headers.
    pub(super) dead_letter_topic: Option<Text>,
    /// Stops the process when more than `share` of the last `of` records failed: a wrong mapping must not
    /// turn a topic into dead letters.
    pub(super) breaker: Option<Breaker>,
}

/// What becomes of a record that fails.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnError {
    /// Goes to the dead letter topic.
    DeadLetter,
    /// Ends the process with exit code 6.
    Stop,
    /// Is counted and passed over.
    Skip,
}

/// Stops the process when too large a share of records fails.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Breaker {
    /// The share that may fail.
    #[schemars(extend("default" = units::show_share(defaults::BREAKER_SHARE)))]
    pub(super) share: Option<ShareText>,
    /// Of so many records, the last ones.
    #[schemars(extend("default" = defaults::BREAKER_OF), range(min = *defaults::BREAKER_OF_BOUNDS.start(), max = *defaults::BREAKER_OF_BOUNDS.end()))]
    pub(super) of: Option<u32>,
}

/// Bounds of what one process takes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Threads that decode, handle and write. Default: the machine's cores.
    #[schemars(range(min = *defaults::WORKERS_BOUNDS.start(), max = *defaults::WORKERS_BOUNDS.end()))]
    pub(super) workers: Option<u32>,
    /// All queues, batches and windows together.
    #[schemars(extend("default" = units::show_size(defaults::MEMORY_BYTES)))]
    pub(super) memory: Option<SizeText>,
    /// Records in one batch.
    #[schemars(extend("default" = defaults::BATCH_RECORDS), range(min = *defaults::BATCH_RECORDS_BOUNDS.start(), max = *defaults::BATCH_RECORDS_BOUNDS.end()))]
    pub(super) batch_records: Option<u32>,
    /// Bytes in one batch; a single larger value is a batch of its own. Less where many partitions share `memory`: all batches
    /// that are being filled may hold a 32nd part of it, but never less than 32 KiB each.
    #[schemars(extend("default" = units::show_size(defaults::BATCH_BYTES)))]
    pub(super) batch_bytes: Option<SizeText>,
    /// A value over this size is its record's error.
    #[schemars(extend("default" = units::show_size(defaults::VALUE_BYTES)))]
    pub(super) value_bytes: Option<SizeText>,
    /// How long a revoke and a shutdown may wait for what is in flight. Well under `session.timeout.ms`.
    #[schemars(extend("default" = units::show_duration(defaults::DRAIN)))]
    pub(super) drain: Option<DurationText>,
}

/// When a process counts as warm.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ready {
    /// Warm: no lane's oldest record that is not applied yet is older than this, and no refill runs.
    #[schemars(extend("default" = units::show_duration(defaults::READY_LAG)))]
    pub(super) lag: Option<DurationText>,
}

/// How much a refill may take: of Redis, and of what it would drive out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refill {
    /// Keys a second that one process writes, at most. Unset: as fast as live changes leave room.
    #[schemars(range(min = *defaults::REFILL_RATE_BOUNDS.start(), max = *defaults::REFILL_RATE_BOUNDS.end()))]
    pub(super) rate: Option<u32>,
    /// Share of a server's maxmemory, such as "80%", over which no history is written any more. It also ends at the
    /// first keys that Redis evicts.
    #[schemars(extend("default" = "80%"))]
    pub(super) memory: Option<ShareText>,
}

/// Looks at keys that were written a moment ago: whether Redis holds what was applied.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    /// The share of keys that is looked at; other ones each minute.
    #[schemars(extend("default" = units::show_share(defaults::VERIFY_SAMPLE)))]
    pub(super) sample: Option<ShareText>,
}

/// Logs; they go to standard error.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    /// "auto" writes text on a terminal and JSON elsewhere.
    #[schemars(extend("default" = "auto"))]
    pub(super) format: Option<LogFormat>,
    /// "error", "warn", "info", "debug" or "trace", or a filter such as "info,stoker::lane=debug".
    #[schemars(extend("default" = defaults::LOG_LEVEL))]
    pub(super) level: Option<Text>,
}

/// Form of the logs.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Text.
    Text,
    /// JSON, one object a line.
    Json,
}

/// The HTTP server with /metrics, /livez, /readyz and /status.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    /// `address:port` to listen on, or "off". Port 0 takes a free one.
    #[schemars(extend("default" = defaults::ADMIN_LISTEN))]
    pub(super) listen: Option<Text>,
}
