//! The defaults and bounds of all settings, each with its reason. The JSON Schema and the documentation take
//! them from here.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Beginning of Stoker's own keys. Says whose they are to whoever looks into Redis.
pub(super) const OWN_PREFIX: &str = "stoker:";

/// One Redis answer. Long enough for a fork or a slow command on a busy server (redis-rs's own 500 ms fails
/// whole pipelines there), well under the drain so that an answer can still be waited for at a revoke.
pub(super) const REDIS_TIMEOUT: Duration = Duration::from_secs(5);
/// One connection, TLS and login included. The same patience as for an answer.
pub(super) const REDIS_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One request to the registry, TLS included. The lane that needs the schema waits meanwhile, and tries again.
pub(super) const REGISTRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Under 10 ms a healthy network already times out; past 10 minutes a dead peer goes unnoticed.
pub(super) const TIMEOUT_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(600);
/// Redis's port: <https://redis.io/docs/latest/operate/oss_and_stack/management/config/>.
pub(super) const REDIS_PORT: u16 = 6379;

/// Below it a frame's head and the reader's call cost more than the bytes that are saved.
pub(super) const COMPRESS_OVER_BYTES: usize = 1 << 10;
/// Redis's largest value: <https://redis.io/docs/latest/develop/data-types/strings/>.
pub(super) const COMPRESS_OVER_BYTES_BOUNDS: RangeInclusive<usize> = 0..=(512 << 20);

/// More than 5 % failing records is a wrong mapping or a wrong format, not bad records.
pub(super) const BREAKER_SHARE: f64 = 0.05;
/// Enough records that a handful of bad ones in a row does not stop the process.
pub(super) const BREAKER_OF: u32 = 1000;
/// The breaker remembers an outcome a record: a bit each, so a million is 125 KB.
pub(super) const BREAKER_OF_BOUNDS: RangeInclusive<u32> = 1..=1_000_000;

/// A worker is a thread that decodes; more of them than any machine's cores is a slip.
pub(super) const WORKERS_BOUNDS: RangeInclusive<u32> = 1..=512;
/// Fits a small container beside librdkafka's own queues; 8 full batches of the largest values that a cache
/// should hold.
pub(super) const MEMORY_BYTES: usize = 128 << 20;
/// Under 16 MiB not even one lane's batches fit.
pub(super) const MEMORY_BYTES_BOUNDS: RangeInclusive<usize> = (16 << 20)..=(1 << 40);
/// A pipeline of some thousand commands is past the point where a longer one is any faster.
pub(super) const BATCH_RECORDS: u32 = 4096;
/// A batch is remembered record by record.
pub(super) const BATCH_RECORDS_BOUNDS: RangeInclusive<u32> = 1..=100_000;
/// About 2,500 records of 400 B: a few milliseconds of Redis's time, so that other clients get their turn.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// A batch is one write to a socket.
pub(super) const BATCH_BYTES_BOUNDS: RangeInclusive<usize> = (4 << 10)..=(64 << 20);
/// Far above what a cache should hold, far below Redis's own limit.
pub(super) const VALUE_BYTES: usize = 16 << 20;
/// Redis closes the connection over `proto-max-bulk-len`, 512 MiB:
/// <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
pub(super) const VALUE_BYTES_BOUNDS: RangeInclusive<usize> = 1..=(512 << 20);
/// Two Redis timeouts, and well under the 45 s after which the broker gives the partitions away.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// A drain holds up all lanes of the process.
pub(super) const DRAIN_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(300);
/// librdkafka 2.12's `session.timeout.ms`:
/// <https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>.
pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// Behind by less than this counts as warm: a reader cannot tell.
pub(super) const READY_LAG: Duration = Duration::from_secs(5);
/// Records are never younger than a poll, and a day behind is not warm.
pub(super) const READY_LAG_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(86_400);

/// Leaves room for live changes, copy-on-write of a fork and the replication backlog.
pub(super) const REFILL_MEMORY: f64 = 0.8;
/// Under 1 a second nothing is ever refilled; past 10 million no server follows.
pub(super) const REFILL_RATE_BOUNDS: RangeInclusive<u32> = 1..=10_000_000;

/// A look takes three commands a key: at 0.1 % a few hundredths of a percent of what Redis does.
pub(super) const VERIFY_SAMPLE: f64 = 0.001;

/// One line for what an operator should know, none for each record.
pub(super) const LOG_LEVEL: &str = "info";
/// Only this machine; whoever wants more says so.
pub(super) const ADMIN_LISTEN: &str = "127.0.0.1:9187";

/// Redis refuses an expiry of 0 (`ERR invalid expire time`); past 100 years "none" is what is meant.
pub(super) const TTL_BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(100 * 365 * 86_400);

/// Kafka's own limit on topic names: <https://github.com/apache/kafka/blob/4.0/clients/src/main/java/org/apache/kafka/common/internals/Topic.java>.
pub(super) const TOPIC_LENGTH_MAX: usize = 249;
