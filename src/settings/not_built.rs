//! Settings that are documented, but whose part is not built yet, and settings that are wrong for a known
//! reason: told apart from misspelt ones.

/// Names (fields, or values of a field) that are not built yet: where, which, and what they are.
///
/// A path holds field names only: `entity.write.value`.
const NOT_BUILT: &[(&str, &[&str], &str)] = &[
    ("redis", &["sentinel"], "Redis Sentinel"),
    ("entity.format", &["avro", "outbox"], "a later version will read this format"),
];

/// Values and fields that people write, and what to write instead.
const ADVICE: &[(&str, &str, &str)] = &[
    (
        "entity.replica_identity",
        "nothing",
        "under REPLICA IDENTITY NOTHING PostgreSQL publishes no updates and no deletes: run \
         ALTER TABLE … REPLICA IDENTITY DEFAULT (or FULL) and say that here",
    ),
    (
        "entity.format",
        "json",
        "JSON and Avro are told apart by themselves: say what the records are, or \"auto\"",
    ),
    (
        "entity.format",
        "protobuf",
        "Protobuf under a registry is told by its schema: say what the records are, or \"auto\"",
    ),
    ("entity", "topic", "write topics = [\"…\"]"),
    ("entity", "ttl", "each [[entity.write]] has its own ttl"),
    ("entity", "key", "a key is a part of an [[entity.write]]"),
    ("entity", "value", "a value is a part of an [[entity.write]]"),
    (
        "entity.write",
        "delete_when",
        "delete_when is said once for the entity, above its first [[entity.write]]",
    ),
    ("kafka", "bootstrap_servers", "write brokers = \"host:port\""),
    ("kafka", "group_id", "write group = \"…\""),
    ("redis", "host", "write url = \"redis://host:6379\""),
    ("redis", "port", "write url = \"redis://host:6379\""),
    ("redis", "database", "the database is a part of the url: \"redis://host:6379/1\""),
    ("redis", "db", "the database is a part of the url: \"redis://host:6379/1\""),
    ("", "entities", "write [[entity]]"),
];

/// What is not built yet, where `name` stands at `path`.
pub(super) fn not_built(path: &str, name: &str) -> Option<&'static str> {
    NOT_BUILT.iter().find(|(at, names, _)| *at == path && names.contains(&name)).map(|(_, _, what)| *what)
}

/// What to write instead of `name` at `path`.
pub(super) fn advice(path: &str, name: &str) -> Option<&'static str> {
    ADVICE.iter().find(|(at, wrong, _)| *at == path && *wrong == name).map(|(_, _, instead)| *instead)
}
