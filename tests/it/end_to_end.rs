//! The main job on real parts: PostgreSQL under load, Debezium, a broker, Stoker that is killed and joined, Redis.
//!
//! At the end what is in Redis equals what is in the database. The expected values are written in SQL
//! (`tests/shop/typed.expected.sql`), apart from Stoker's own rendering.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::broker;
use crate::support::cache::{self, Cached};
use crate::support::failover::Replicated;
use crate::support::instance::{Bench, Instance};
use crate::support::load::StopOnDrop;
use crate::support::redis::{Client, RedisCluster, RedisServer};
use crate::support::rig::{Database, Rig};
use crate::support::scene::LONG;
use crate::support::typed_load::{Left, load};
use crate::support::wait_for;

/// Load threads. Each owns its ids, so that it knows what its last change of a row held.
const WRITERS: u64 = 3;
/// TTL of the keys in the settings, milliseconds, and its jitter.
const TTL_MS: i64 = 3_600_000;
const JITTER: f64 = 0.1;
/// Longest that the test may take from the first write to the comparison.
const AGE_MS_MAX: i64 = 600_000;

#[test]
fn redis_equals_the_database_after_load_kills_and_a_member_that_joins_and_leaves() {
    let redis = RedisServer::start();
    let url = format!("url = \"redis://127.0.0.1:{}/0\"", redis.port);
    follow(Plot {
        name: "e2e_single",
        target: &url,
        converters: &[],
        clients: &mut || vec![redis.client()],
        at: &mut |_, _| {},
        last_coupon: r#"{"id":999,"code":"code 999"}"#,
    });
}

#[test]
fn avro_equals_the_database_with_the_registry_away_and_a_column_added() {
    let redis = RedisServer::start();
    let registry = Rig::shared().registry();
    let url = registry.url();
    let target = format!("url = \"redis://127.0.0.1:{}/0\"\n[registry]\nurl = \"{url}\"", redis.port);
    follow(Plot {
        name: "e2e_avro",
        target: &target,
        converters: &registry.converters(),
        clients: &mut || vec![redis.client()],
        at: &mut |step, moment| match step {
            // Two instances begin without it, and know no schema.
            1 => {
                // The converters have registered the schemas of all tables by then.
                let seen = |entity: &&str| moment.instance.metric("stoker_changes_total", entity) >= 1.0;
                let all = ["account", "contact", "stock", "visit", "coupon"];
                let registered = wait_for(LONG, || all.iter().all(&seen));
                assert!(registered, "{}", moment.instance.story());
                registry.stop();
            }
            3 => {
                let instance = moment.instance;
                let waits = || {
                    instance.log().contains("a schema is not known yet") && instance.get("/readyz").0 == 503
                };
                assert!(wait_for(LONG, waits), "{}", instance.story());
                registry.start();
            }
            4 => {
                let added = "alter table coupons add column note text default 'added'";
                moment.database.client().batch_execute(added).unwrap();
            }
            _ => {}
        },
        last_coupon: r#"{"id":999,"code":"code 999","note":"added"}"#,
    });
}

#[test]
fn a_cluster_equals_the_database_with_a_slot_migrated_in_the_middle() {
    let cluster = RedisCluster::start();
    follow(Plot {
        name: "e2e_cluster",
        target: &cluster.target(),
        converters: &[],
        clients: &mut || cluster.clients(),
        at: &mut |step, _| {
            // Of every key that the load touches most, the slot of one: half of it at once, half a while later.
            // And that of all addresses, with what the guard remembers of each.
            if step == 2 {
                for key in ["stock:north:sku-1", "contact:1000001", "account:2000003", "contact-emails"] {
                    cache::migrate_slot(&cluster, cache::slot(key));
                }
            }
        },
        last_coupon: r#"{"id":999,"code":"code 999"}"#,
    });
}

#[test]
fn a_cluster_equals_the_database_with_a_master_replaced_by_a_replica_that_lagged() {
    const NAME: &str = "e2e_failover";
    let nodes = RefCell::new(Replicated::start());
    let target = nodes.borrow().cluster.target();
    // Where the boards are, and much else.
    let slot = cache::slot("contact-emails");
    let number = nodes.borrow().cluster.number_of(slot);
    let mut committed_at_cut = 0;
    let await_committed_above = |least: i64, instance: &Instance| -> i64 {
        let (brokers, topic) = (Rig::shared().brokers(), format!("{NAME}.public.contacts"));
        let mut sum = 0;
        let moved = wait_for(LONG, || {
            sum = broker::committed(brokers, NAME, &topic, 3).into_iter().flatten().sum();
            sum > least
        });
        assert!(moved, "{sum} is committed, not over {least}:\n{}", instance.story());
        sum
    };
    follow(Plot {
        name: NAME,
        target: &target,
        converters: &[],
        clients: &mut || nodes.borrow().clients(),
        at: &mut |step, moment| match step {
            2 => {
                committed_at_cut = await_committed_above(0, moment.instance);
                nodes.borrow_mut().cut(number);
            }
            // What the replica lacks is committed: who comes next does not read it of its own accord.
            3 => {
                await_committed_above(committed_at_cut, moment.instance);
                let mut nodes = nodes.borrow_mut();
                nodes.master(number).kill();
                nodes.promote(number);
            }
            _ => {}
        },
        last_coupon: r#"{"id":999,"code":"code 999"}"#,
    });
}

/// What sets one run of the story apart.
struct Plot<'p> {
    name: &'static str,
    /// Lines of `[redis]`, and sections behind it.
    target: &'p str,
    /// Members of the connector.
    converters: &'p [String],
    /// A client of each master.
    clients: &'p mut dyn FnMut() -> Vec<Client>,
    /// Called between the steps.
    at: &'p mut dyn FnMut(u32, &Moment<'_>),
    /// What the coupon that is written last must be.
    last_coupon: &'static str,
}

/// What can be looked at between two steps.
struct Moment<'m> {
    database: &'m Database,
    instance: &'m Instance,
}

/// Runs the whole story against one Redis.
fn follow(plot: Plot<'_>) {
    let Plot { name, target, converters, clients, at, last_coupon } = plot;
    let members: Vec<&str> = converters.iter().map(String::as_str).collect();
    let rig = Rig::shared();
    let database = rig.database(name, include_str!("../shop/typed.sql"));
    let _connector = rig.connector(name, &database, "tests/shop/typed.connector.json", &members);
    let bench = Bench::new(&settings(name, rig.brokers(), target));

    let stop = AtomicBool::new(false);
    let done = AtomicUsize::new(0);
    let left = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (database, stop, done) = (&database, &stop, &done);
                scope.spawn(move || load(&mut database.client(), writer, stop, done))
            })
            .collect();
        // Also when this thread fails: the writers end, and the scope with them.
        let _end = StopOnDrop(&stop);
        coupons(&database, 1..=50);

        let first = bench.start();
        progress(&done, 300);
        at(1, &Moment { database: &database, instance: &first });
        first.kill();
        let first = bench.start();
        progress(&done, 300);
        at(2, &Moment { database: &database, instance: &first });
        let second = bench.start();
        progress(&done, 500);
        database.client().batch_execute("truncate coupons").unwrap();
        coupons(&database, 51..=60);
        let code = second.stop();
        assert!(matches!(code, 0 | 5), "the member that leaves drains: exit code {code}");
        progress(&done, 300);
        at(3, &Moment { database: &database, instance: &first });
        first.kill();
        let mut last = bench.start();
        progress(&done, 500);
        stop.store(true, Ordering::Relaxed);
        let mut left = Left::default();
        for writer in writers {
            left.extend(writer.join().unwrap());
        }
        at(4, &Moment { database: &database, instance: &last });
        coupons(&database, 999..=999);

        let mut expected = expected(&database, &left);
        expected.insert("coupon:999".to_owned(), Cached::from_text(last_coupon));
        assert!(expected.len() > 100, "the load left something to compare: {}", expected.len());
        let mut difference = String::new();
        let equal = wait_for(Duration::from_secs(90), || {
            assert!(last.runs(), "stoker ended:\n{}", last.log());
            let cached = cache::dump(&mut clients());
            difference = differences(&expected, &cached);
            difference.is_empty()
        });
        assert!(equal, "{} keys expected; {difference}", expected.len());
        let log = last.log();
        assert!(!log.contains("pool1@example.com"), "no row value in the log");
        assert_eq!(last.stop(), 0, "a drained shutdown");
        left
    });
    assert!(left.statements > 1_000, "{} statements were committed", left.statements);
}

/// Waits until the writers have done so many more transactions: a wait on work, not on time.
fn progress(done: &AtomicUsize, more: usize) {
    let until = done.load(Ordering::Relaxed) + more;
    let moved = wait_for(Duration::from_secs(120), || done.load(Ordering::Relaxed) >= until);
    assert!(moved, "the load goes on");
}

fn coupons(database: &Database, ids: std::ops::RangeInclusive<i64>) {
    let mut client = database.client();
    for id in ids {
        client.execute("insert into coupons values ($1, 'code ' || $1::bigint)", &[&id]).unwrap();
    }
}

/// What Redis must hold: keys with their values, as SQL writes them.
fn expected(database: &Database, left: &Left) -> BTreeMap<String, Cached> {
    let mut expected = BTreeMap::new();
    let mut client = database.client();
    for row in client.query(include_str!("../shop/typed.expected.sql"), &[]).unwrap() {
        let (key, value): (String, String) = (row.get(0), row.get(1));
        expected.insert(key, Cached::from_text(&value));
    }
    // Where the last change of a row left the TOASTed column out, the keys that need it are absent.
    for id in &left.without_bio {
        expected.remove(&format!("account:{id}"));
    }
    // A truncate is ignored: its keys stay until their TTL.
    for id in 1..=50_i64 {
        let value = format!("{{\"id\":{id},\"code\":\"code {id}\"}}");
        expected.insert(format!("coupon:{id}"), Cached::from_text(&value));
    }
    expected
}

fn differences(expected: &BTreeMap<String, Cached>, cached: &BTreeMap<String, (Cached, i64)>) -> String {
    let mut out = String::new();
    let mut count = 0;
    let mut tell = |line: std::fmt::Arguments<'_>| {
        count += 1;
        if count <= 12 {
            let _ = writeln!(out, "{line}");
        }
    };
    for (key, value) in expected {
        match cached.get(key) {
            None => tell(format_args!("missing {key}")),
            Some((held, _)) if !held.same(value) => {
                tell(format_args!("differs {key}:\n  database {value:?}\n  redis    {held:?}"));
            }
            Some((held, ttl)) if held.has_members() => {
                if *ttl != -1 {
                    tell(format_args!("ttl of {key}, whose members do not expire: {ttl} ms"));
                }
            }
            Some((_, ttl)) => {
                let spread = (TTL_MS as f64 * JITTER) as i64;
                if *ttl > TTL_MS + spread || *ttl < TTL_MS - spread - AGE_MS_MAX {
                    tell(format_args!("ttl of {key}: {ttl} ms"));
                }
            }
        }
    }
    for key in cached.keys().filter(|key| !expected.contains_key(*key)) {
        tell(format_args!("left over {key}"));
    }
    if count > 0 {
        let _ = writeln!(out, "{count} differences");
    }
    out
}

fn settings(name: &str, brokers: &str, target: &str) -> String {
    format!(
        r#"
[kafka]
brokers = "{brokers}"
group = "{name}"
start = "earliest"
[kafka.properties]
"session.timeout.ms" = "3000"
"heartbeat.interval.ms" = "500"
# The connector makes the topics while Stoker runs.
"topic.metadata.refresh.interval.ms" = "1000"

[redis]
{target}

[errors]
on_error = "stop"

[limits]
workers = 2
drain = "8s"

[admin]
listen = "127.0.0.1:0"

[[entity]]
name = "account"
topics = ["{name}.public.accounts"]
  [[entity.write]]
  key = "account:{{id}}"
  value = "json"
  ttl = "1h"
  jitter = "10%"
  [[entity.write]]
  key = "account:{{id}}:card"
  value = {{ json = ["id", "plan", {{ name = "total", column = "balance" }}] }}
  ttl = "1h"
  [[entity.write]]
  key = "account:{{id}}:h"
  value = {{ hash = ["id", "plan", "balance", "rate", "born", "token"] }}
  ttl = "1h"
  [[entity.write]]
  key = "account:gold:{{id}}"
  value = {{ text = "{{plan}} {{balance}}" }}
  when = "after.plan == 'gold'"
  ttl = "1h"
  [[entity.write]]
  key = "accounts-by-balance"
  value = {{ sorted_set = {{ member = "{{id}}", score = "balance" }} }}
  ttl = "none"

[[entity]]
name = "contact"
topics = ["{name}.public.contacts"]
replica_identity = "full"
  [[entity.write]]
  key = "contact:{{id}}"
  value = "json"
  ttl = "1h"
  [[entity.write]]
  key = "contact:email:{{email|lower}}"
  value = {{ text = "{{id}}" }}
  ttl = "1h"
  shared = false
  [[entity.write]]
  key = "contact-emails"
  value = {{ set = {{ member = "{{email|lower}}" }} }}
  ttl = "none"

[[entity]]
name = "stock"
topics = ["^{name}\\.public\\.sto.*$"]
  [[entity.write]]
  key = "stock:{{warehouse}}:{{sku}}"
  value = "json"
  ttl = "1h"
  [[entity.write]]
  key = "stock-of:{{warehouse}}"
  value = {{ sorted_set = {{ member = "{{sku}}", score = "quantity" }} }}
  ttl = "none"

[[entity]]
name = "visit"
topics = ["{name}.public.visits"]
replica_identity = "full"
  [[entity.write]]
  key = "visit:{{visitor}}:{{page}}"
  value = "json"
  ttl = "1h"
  [[entity.write]]
  key = "visits-of:{{visitor}}"
  value = {{ sorted_set = {{ member = "{{page}}", score = "last" }} }}
  ttl = "none"

[[entity]]
name = "coupon"
topics = ["{name}.public.coupons"]
  [[entity.write]]
  key = "coupon:{{id}}"
  value = "json"
  ttl = "1h"
"#
    )
}

#[test]
fn the_comparison_sees_a_difference() {
    let expected = BTreeMap::from([("k".to_owned(), Cached::from_text("{\"a\":1}"))]);
    let with = |text: &str, ttl| BTreeMap::from([("k".to_owned(), (Cached::from_text(text), ttl))]);
    assert_eq!(differences(&expected, &with("{\"a\":1.0}", TTL_MS)), "");
    assert!(differences(&expected, &with("{\"a\":2}", TTL_MS)).contains("differs"));
    assert!(differences(&expected, &with("{\"a\":1}", -1)).contains("ttl"));
    assert!(differences(&expected, &BTreeMap::new()).contains("missing"));
    assert!(differences(&BTreeMap::new(), &with("{}", TTL_MS)).contains("left over"));
    assert_eq!(Cached::from_text("x"), Cached::Text("x".into()));
    assert_eq!(Cached::from_text("{}"), Cached::Json(Value::Object(serde_json::Map::new())));
}
