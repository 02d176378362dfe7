//! Stoker keeps Redis caches hot from Kafka: change events and row streams in, `(key, value, ttl)` writes and
//! deletes out, applied in partition-ordered batches.
//!
//! ```text
//!  Kafka ──record──▶ decode ──change──▶ entity ──mutations──▶ lane (one for each partition)
//!    ▲                                                          │  what one key needs, composed
//!    │                                                          ▼
//!    └── commit ◀── position ◀── every reply looked at ◀── Redis (one batch of a lane in flight)
//!
//!  what cannot be decoded, handled or applied ──▶ dead letter topic, and the lane goes on
//! ```
//!
//! A [`record::Record`] is read; it becomes a [`change::Change`]; its entity's handler makes
//! [`mutation::Mutation`]s of it; the partition's [`lane::Lane`] composes them into a [`batch::Batch`]; a
//! [`sink::Sink`] applies that; only then does the position move. The README follows one record through the files.
//!
//! # Invariants
//!
//! Each with tests that fail where it is broken. Behind all of them stand the simulation, whose oracle looks at every
//! action (`tests/it/simulation/mod.rs::the_cache_is_the_fold_of_the_log_whatever_happens`), and the end-to-end test
//! (`tests/it/end_to_end.rs::redis_equals_the_database_after_load_kills_and_a_member_that_joins_and_leaves`).
//!
//! 1. A committed position passes no record that is not applied, unless the record is in the dead letter topic,
//!    or was skipped by a setting that says so, or lies before where the partition was started.
//!    `tests/it/process.rs::sigterm_under_load_commits_exactly_what_it_applied`,
//!    `tests/it/kafka_source.rs::a_worker_that_misses_the_drain_deadline_commits_nothing_more`,
//!    `src/source/kafka/lanes.rs::only_what_is_stored_is_committed_and_a_start_once`
//! 2. The mutations of one key reach Redis in the order of their partition's offsets: over batches, resends,
//!    rebalances, restarts and changes of owner.
//!    `tests/it/zombie.rs::a_zombie_that_wakes_up_writes_nothing_stale`,
//!    `tests/it/redis_sink.rs::a_pipeline_that_timed_out_never_overwrites_what_the_next_owner_wrote`
//! 3. While a lane is owned, what was acknowledged is not sent again, except by a rewind after a loss. What was
//!    not is sent again before anything newer, and applying it twice leaves what once leaves.
//!    `tests/it/redis_sink.rs::what_was_not_acknowledged_is_sent_again_under_a_hail_of_kills`,
//!    `tests/it/coalesce_law.rs::a_unit_applied_twice_leaves_what_it_leaves_once`,
//!    `tests/it/sink_contract.rs::a_resend_extends_no_expiry`
//! 4. A lane has at most one batch in flight; the next one fills meanwhile, and a lone record goes out at once.
//!    [`lane::Lane::applied`] asserts the one, so that every test that runs lanes does.
//!    `tests/it/admin.rs::a_lone_record_is_visible_at_once`,
//!    `tests/it/admin.rs::batches_grow_under_load_and_every_record_is_counted`
//! 5. A batch holds one atomic unit for each key (or key and member), and the reply to every command is looked at.
//!    `tests/it/coalesce_law.rs::plain_mutations_composed_leave_what_they_leave_one_by_one`,
//!    `tests/it/coalesce_law.rs::guarded_mutations_composed_leave_what_they_leave_one_by_one`,
//!    `tests/it/sink_contract.rs::a_poisoned_key_is_refused_and_the_rest_applied`,
//!    `tests/it/member_contract.rs::members_of_a_key_of_another_type_are_refused_and_removing_them_is_done`
//! 6. The core does no IO, reads neither clock nor environment, and draws no randomness.
//!    `tests/it/tidy.rs::every_source_file_keeps_to_its_layer`,
//!    `src/entity/lifetime.rs::jitter_is_the_same_on_every_machine`
//! 7. Every queue, batch, retry and wait has a bound with a name, in records and in bytes.
//!    `src/source/kafka/feed.rs::a_chunk_is_full_by_bytes_and_by_count`,
//!    `src/coalesce.rs::bytes_follow_what_is_held`,
//!    `src/retry.rs::pauses_grow_to_their_bound_and_never_vanish`
//! 8. A record that yields nothing still moves the position. (The simulation's database writes such records.)
//! 9. Nothing from outside panics the process, and no secret and no row value is logged.
//!    `src/decode/tests/arbitrary.rs::arbitrary_bytes_give_an_answer_and_never_a_panic`,
//!    `src/types/property_tests.rs::nothing_panics_and_an_error_leaves_the_buffer`,
//!    `tests/it/mutated_captures.rs::broken_captures_never_panic_and_never_write_what_is_no_json`,
//!    `tests/it/redis_sink.rs::what_is_no_redis_is_an_error_and_no_panic`,
//!    `src/settings/tests/secrets.rs::mangled_files_are_read_or_refused`,
//!    `tests/it/errors.rs::errors_are_told_once_a_kind_and_no_row_value_or_secret_is_logged`
//! 10. What reads history never replaces a value that is newer than its own, and brings no deleted key back. Replay
//!     is not built.
//!     `src/refill/tests.rs::the_cache_is_the_fold_of_the_log`,
//!     `src/refill/tests.rs::a_snapshot_that_no_watermark_tells_of_is_written_over`,
//!     `tests/it/simulation/mod.rs::the_cache_is_the_fold_of_the_log_whatever_happens`,
//!     `tests/it/preload/live.rs::what_changed_since_the_export_is_neither_written_nor_replaced`,
//!     `tests/it/preload/live.rs::a_write_that_a_change_raced_with_is_taken_back`,
//!     `src/preload/settle.rs::a_change_that_comes_to_light_takes_the_write_back_until_it_is_settled`,
//!     `tests/it/preload/members.rs::beside_a_lane_boards_hold_what_the_rows_are`,
//!     `tests/it/sink_contract.rs::the_guard_takes_what_is_not_older`,
//!     `tests/it/sink_contract.rs::the_guard_remembers_past_the_value`,
//!     `tests/it/guard_race.rs::the_newest_position_wins_every_race`
//! 11. Only keys that the entities' templates give are touched, and Stoker's own.
//!     `src/sink/own.rs::names_are_unambiguous_and_hash_by_their_own_tag`; the end-to-end test finds no other key
//!
//! # Code map
//!
//! What stands higher may use what stands lower, never the other way round.
//!
//! | module | job |
//! |---|---|
//! | [`cli`] | one file a command: run, refill, preload, check, explain, test, verify, inspect, wait, demo; exit codes |
//! | [`process`] | a running process: threads, channels, what the admin side sees |
//! | [`verify`] | compares Redis with what the topics say |
//! | [`preload`] | the load of an export beside live traffic: feed, follower, settled writes, sweep |
//! | [`engine`] | awaits for one worker: the only loop that does |
//! | [`source`] | the border to Kafka; `source::kafka` is the only user of librdkafka |
//! | [`registry`] | the border to the schema registry: HTTP, and nothing else names hyper's client |
//! | [`sink`] | the border to the cache; `sink::redis` is the only user of the Redis client, `sink::memory` its model |
//! | [`export`] | files of a warehouse as rows: Parquet, CSV, NDJSON, Avro; the only user of their libraries |
//! | [`admin`], [`telemetry`] | metrics, health, readiness, status; logs |
//! | `tls` | TLS of outgoing connections, to Redis and to the registry |
//! | [`settings`] | `stoker.toml`: read at the edge, handed down as plain values; the core never sees it |
//! | [`clock`] | the one place that asks for the time |
//! | [`worker`] | owns lanes; one input in, actions out (from here on down: no IO) |
//! | [`lane`], [`coalesce`] | one partition's order; what one key needs after several mutations |
//! | [`retry`] | the one table of what is done about an error of the world |
//! | [`pipeline`] | decode, route, handle: what `run`, `explain` and `test` share |
//! | [`entity`] | which keys a row has and what they hold; the handler trait and the declarative handler |
//! | [`decode`], [`types`] | bytes to changes, one file a format; column types and how they are rendered |
//! | [`record`], [`change`], [`mutation`], [`version`], [`batch`], [`dead_letter`], [`error`] | plain data |
//!
//! A handler in Rust starts at [`entity::EntityHandler`], a binary of one's own at [`cli::main`].

pub mod admin;
pub mod batch;
pub mod change;
pub mod cli;
pub mod clock;
pub mod coalesce;
pub mod dead_letter;
pub mod decode;
pub mod engine;
pub mod entity;
pub mod error;
pub mod export;
pub mod lane;
pub mod mutation;
pub mod patch;
pub mod pipeline;
pub mod preload;
pub mod process;
pub mod record;
pub mod refill;
pub mod registry;
pub mod retry;
pub mod settings;
pub mod sink;
pub mod source;
pub mod telemetry;
mod tls;
pub mod types;
pub mod verify;
pub mod version;
pub mod worker;
