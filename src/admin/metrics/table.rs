//! Every metric, in one table: what is registered, and what the README prints ([`markdown`]).
//!
//! Freshness is apply time minus source commit time. Labels are bounded: never a key.

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name on `/metrics`.
    pub name: &'static str,
    /// What kind of number.
    pub kind: MetricKind,
    /// Unit of the number.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it; empty where there is nothing to do.
    pub action: &'static str,
}

/// Kind of a metric, as Prometheus names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises.
    Counter,
    /// What is now.
    Gauge,
    /// A distribution over fixed buckets.
    Histogram,
}

impl MetricKind {
    /// Prometheus's word.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $kind:ident, $unit:literal, $labels:expr, $meaning:literal, $action:literal;)*) => {
        $(#[doc = $meaning] pub(super) const $constant: &str = $name;)*

        /// The table, by subject.
        pub const TABLE: &[Metric] = &[$(Metric {
            name: $name,
            kind: MetricKind::$kind,
            unit: $unit,
            labels: &$labels,
            meaning: $meaning,
            action: $action,
        },)*];
    };
}

metrics! {
    RECORDS = "stoker_records_total", Counter, "records", ["topic"],
        "Records handled.", "";
    CHANGES = "stoker_changes_total", Counter, "changes", ["entity"],
        "Row changes that an entity's handler took.", "";
    MUTATIONS = "stoker_mutations_total", Counter, "mutations", ["entity", "kind"],
        "Writes and deletes that Redis acknowledged, by kind.", "";
    COALESCED = "stoker_coalesced_mutations_total", Counter, "mutations", [],
        "Mutations that a later one of the same key in the same batch made needless.", "";
    REJECTED = "stoker_rejected_mutations_total", Counter, "mutations", ["entity"],
        "Guarded mutations that found something newer in the cache.",
        "Normal at a restart; a steady stream means that rows of different partitions compete for keys.";
    REJECTED_RATIO = "stoker_guard_rejected_ratio", Gauge, "share", ["entity", "topic", "partition"],
        "Share of the last 1,000 or more guarded mutations of a partition that found something newer.",
        "0.95 and more: old records are read again, or positions started again: raise guard.epoch.";
    IGNORED = "stoker_ignored_records_total", Counter, "records", ["reason"],
        "Records with nothing to do, by reason.",
        "A rising reason=\"truncate\": a table was truncated, and its keys stay until their TTL.";
    UNDECIDED = "stoker_undecided_conditions_total", Counter, "conditions", ["entity"],
        "Conditions (when, delete_when) that could not be evaluated, and so deleted.",
        "Try a record with stoker explain: it says which condition, and why.";
    RECORD_ERRORS = "stoker_record_errors_total", Counter, "errors", ["stage", "kind"],
        "Errors of a record, by where and what.",
        "Look at the log line of that kind, and try a record with stoker explain.";
    DEAD_LETTERS = "stoker_dead_letters_total", Counter, "records", ["stage"],
        "Records that were set aside in the dead letter topic.",
        "Read the letters' headers; repair the mapping or the producer.";
    SKIPPED = "stoker_skipped_records_total", Counter, "records", ["stage"],
        "Records that were passed over under on_error = \"skip\".", "As for record errors.";
    RETRIES = "stoker_retries_total", Counter, "batches", ["reason"],
        "Batches sent again after an error of the world, by error.",
        "See what Redis says: memory, failover, network, permissions.";
    REWINDS = "stoker_rewinds_total", Counter, "rewinds", ["reason"],
        "Times that a lane read again what Redis had lost.",
        "Find out why Redis lost data: restart without persistence, failover, FLUSHALL.";
    REFILL_LANES = "stoker_refill_lanes", Gauge, "lanes", [],
        "Lanes whose history is still to be refilled.", "Above 0 the cache is not whole yet: see the share that is covered.";
    REFILL_COVERED = "stoker_refill_covered_ratio", Gauge, "share of the history", ["topic", "partition"],
        "How much of a partition's history this pass of a refill has covered.", "";
    INCOMPLETE = "stoker_incomplete_members", Gauge, "1", ["entity"],
        "Entities whose sets and sorted sets lack members while history is refilled.",
        "Readers that take a set for whole should wait until it is gone.";
    REFILLS = "stoker_refills_total", Counter, "refills", ["result"],
        "Refills of lanes that ended: done, or no_room.",
        "no_room: Redis is out of memory; give it more, then ask for a refill.";
    REFILL_KEYS = "stoker_refill_keys_total", Counter, "keys", ["result"],
        "Keys of history: written, or seen (left out, for something newer was there).", "";
    REFILL_MOVED = "stoker_refill_moved_records_total", Counter, "records", [],
        "Records of history left out, for their key belongs to another partition since the topic has grown.",
        "Rows that have not changed since come back with their next change; see `kafka.partitioner`.";
    TAKE_OVERS = "stoker_take_overs_total", Counter, "lanes", [],
        "Lanes taken over.", "Many an hour: look for rebalances and restarts.";
    MISSED = "stoker_missed_positions_total", Counter, "positions", ["topic"],
        "Positions that retention took away before they were read.",
        "Rows that changed there last are stale in the cache until they change again: rebuild them from the database, and give the topic more retention.";
    COMMITS = "stoker_commits_total", Counter, "commits", ["result"],
        "Commits of positions, by result (ok, failed).",
        "A steady stream of failed ones: see the log; nothing is lost, restarts repeat more.";
    VERIFY_CHECKED = "stoker_verify_checked_total", Counter, "keys", ["entity"],
        "Keys that the running check has looked at (`verify.sample`).", "";
    VERIFY_DIFFERENCES = "stoker_verify_differences_total", Counter, "keys", ["entity", "kind"],
        "Of those, keys that Redis did not hold as they were applied, by difference.",
        "Find out who else writes or drops keys: evictions, another client, a loss of data. See docs/verify.md.";
    FRESHNESS = "stoker_freshness_seconds", Histogram, "seconds", ["entity"],
        "From the source's commit to Redis's acknowledgement, of each batch's oldest change of the entity.",
        "Compare with the lag: where that is low, the delay lies before Kafka.";
    BATCH_LATENCY = "stoker_redis_batch_seconds", Histogram, "seconds", [],
        "From sending a batch to its last reply.",
        "Rising: see Redis's latency and slow log, and the network.";
    BATCH_UNITS = "stoker_batch_units", Histogram, "commands", [],
        "Atomic commands in a batch.", "At limits.batch_records all the time: the process is at its limit.";
    LAG = "stoker_lag_records", Gauge, "records", ["topic", "partition"],
        "High watermark minus committed position.", "Rising for long: add processes, or look at Redis.";
    UNAPPLIED_AGE = "stoker_unapplied_age_seconds", Gauge, "seconds", ["topic", "partition"],
        "Age of the oldest record that is not applied; 0 at the end of the partition.",
        "Over ready.lag: the caches are not warm.";
    LANES = "stoker_lanes", Gauge, "lanes", ["state"],
        "Lanes of this process by what they do.", "In backoff: see stoker_retries_total.";
    PAUSED = "stoker_paused_lanes", Gauge, "lanes", [],
        "Lanes whose partition is not fetched, since nothing has moved for seconds.",
        "Not 0 for long: Redis is away.";
    READY = "stoker_ready", Gauge, "0 or 1", [],
        "1 while this process's lanes are warm.", "0: /readyz says why.";
    KAFKA_UP = "stoker_kafka_up", Gauge, "0 or 1", [],
        "1 while Kafka answers.", "";
    REDIS_UP = "stoker_redis_up", Gauge, "0 or 1", [],
        "1 while Redis answers.", "";
    CLOCK_SKEW = "stoker_redis_clock_skew_seconds", Gauge, "seconds", [],
        "Redis's clock minus this machine's.", "Over a second: set the clocks; expiries go by Redis's.";
    FENCING_WORKS = "stoker_redis_fencing_works", Gauge, "0 or 1", [],
        "1 where the connections of a lane's former owner can be killed.",
        "0: give the Redis user the right to CLIENT KILL, or late writes of a stopped process may land.";
    START_TIME = "stoker_start_time_seconds", Gauge, "seconds", [],
        "When the process started, Unix time.", "";
    BUILD = "stoker_build_info", Gauge, "1", ["version"],
        "Always 1; the label says which version runs.", "";
}

/// The table as Markdown, for the operations page.
pub fn markdown() -> String {
    let mut text = String::from("| metric | type | labels | meaning | what to do |\n|---|---|---|---|---|\n");
    for Metric { name, kind, unit, labels, meaning, action } in TABLE {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        text.push_str(&format!(
            "| `{name}` | {}, {unit} | {labels} | {meaning} | {action} |\n",
            kind.as_str()
        ));
    }
    text
}
