//! `stoker verify` where topics and caches are not as simple: transactions, retention, evictions, a cluster with a slot
//! on the move.

use crate::support::broker;
use crate::support::cache::slot;
use crate::support::redis::RedisCluster;
use crate::support::rig::Rig;
use crate::support::scene::{Draft, LONG, Scene, event, record_key};
use crate::support::topic::{Topic, Transactional};
use crate::support::wait_for;
use crate::verify::Said;

#[test]
fn transactions_end_a_topic_with_markers_and_what_is_aborted_or_open_does_not_count() {
    let scene = Scene::new("verify_transactions", 1);
    let producer = Transactional::to("verify_transactions", scene.brokers);
    producer.begin(0..10, 1);
    producer.commit();
    producer.begin(5..15, 2);
    producer.abort();
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..10, 1, &instance);
    // Only up to the last record: no commit passes the markers behind it.
    assert!(wait_for(LONG, || scene.committed(1)[0] >= Some(10)), "{}", instance.story());

    let said = Said::by(&bench, &[]);
    assert_eq!((said.differences(), said.count("checked")), (vec![], 10), "{}", said.summary);
    producer.begin(0..10, 3);
    let said = Said::by(&bench, &[]);
    assert_eq!((said.differences(), said.count("checked")), (vec![], 10), "an open one: {}", said.summary);
    scene.redis.client().run::<()>(&["SET", "verify_transactions:77", "{}", "EX", "3600"]);
    let said = Said::by(&bench, &[]);
    assert_eq!(said.differences(), vec![("verify_transactions:77", "extra")], "markers are no compaction");
    producer.abort();
    assert_eq!(instance.stop(), 0);
}

#[test]
fn where_retention_took_the_history_a_key_without_one_is_unknown() {
    let scene = Scene::new("verify_retention", 1);
    scene.write(0..20, 1, 1);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..20, 1, &instance);
    scene.await_committed(1, &instance);
    broker::delete_below(scene.brokers, scene.name, 0, 5);
    scene.redis.client().run::<()>(&["DEL", "verify_retention:2", "verify_retention:7"]);

    let said = Said::by(&bench, &[]);
    assert_eq!(said.differences(), vec![("verify_retention:7", "missing")], "{}", said.summary);
    assert_eq!((said.count("checked"), said.count("unknown")), (19, 4));
    assert_eq!(instance.stop(), 0);
}

#[test]
fn what_an_eviction_policy_may_have_dropped_is_counted_apart() {
    let mut scene = Scene::new("verify_evicted", 1);
    scene.redis = crate::support::redis::RedisServer::start_with(&[
        "--maxmemory",
        "3mb",
        "--maxmemory-policy",
        "volatile-lru",
    ]);
    scene.draft.redis = format!("url = \"redis://127.0.0.1:{}/0\"", scene.redis.port);
    let bench = scene.draft.bench();
    scene.write(0..10, 1, 1);
    let instance = bench.start();
    scene.await_committed(1, &instance);
    let mut client = scene.redis.client();
    let filler = "x".repeat(100_000);
    for number in 0..40 {
        client.run::<()>(&["SET", &format!("filler:{number}"), &filler, "EX", "600"]);
    }
    client.run::<()>(&["DEL", "verify_evicted:3"]);
    let said = Said::by(&bench, &[]);
    assert_eq!(said.differences(), vec![], "{}", said.summary);
    assert!(said.count("evicted") >= 1, "{}", said.summary);
    assert_eq!(instance.stop(), 0);
}

#[test]
fn a_cluster_is_compared_on_every_master_also_while_a_slot_moves() {
    let name = "verify_cluster";
    let brokers = Rig::shared().brokers();
    let topic = Topic::create(brokers, name, 1);
    let cluster = RedisCluster::start();
    let mut draft = Draft::new(name, brokers, 0);
    let nodes: Vec<String> =
        cluster.masters.iter().map(|node| format!("\"127.0.0.1:{}\"", node.port)).collect();
    draft.redis = format!("cluster = [{}]", nodes.join(", "));
    for id in 0..60 {
        topic.append(0, Some(&record_key(id)), Some(&event(id, 1)));
    }
    topic.flush();
    let bench = draft.bench();
    let instance = bench.start();
    let done = || broker::committed(brokers, name, name, 1) == broker::ends(brokers, name, 1);
    assert!(wait_for(LONG, done), "{}", instance.story());
    assert_eq!(instance.stop(), 0);

    // One key is at its new master, while the slot is still at the old one.
    let key = format!("{name}:7");
    let slot_of = slot(&key);
    let from = cluster.master_of(slot_of);
    let to = cluster.masters.iter().find(|node| node.port != from.port).unwrap();
    let (mut source, mut target) = (from.client(), to.client());
    let id = |client: &mut crate::support::redis::Client| client.run::<String>(&["CLUSTER", "MYID"]);
    let (from_id, to_id, number) = (id(&mut source), id(&mut target), slot_of.to_string());
    target.run::<()>(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &from_id]);
    source.run::<()>(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &to_id]);
    let port = to.port.to_string();
    source.run::<redis::Value>(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
    let said = Said::by(&bench, &[]);
    assert_eq!((said.differences(), said.count("checked")), (vec![], 60), "{}", said.summary);

    for id in [1, 2, 3] {
        let key = format!("{name}:{id}");
        cluster.master_of(slot(&key)).client().run::<()>(&["DEL", &key]);
    }
    let extra = format!("{name}:900");
    cluster.master_of(slot(&extra)).client().run::<()>(&["SET", &extra, "{}", "EX", "3600"]);
    let said = Said::by(&bench, &[]);
    let expected = [("1", "missing"), ("2", "missing"), ("3", "missing"), ("900", "extra")]
        .map(|(id, kind)| (format!("{name}:{id}"), kind));
    let expected: Vec<(&str, &str)> = expected.iter().map(|(key, kind)| (key.as_str(), *kind)).collect();
    assert_eq!(said.differences(), expected, "{}", said.summary);
}

#[test]
fn of_a_primary_key_under_the_guard_the_newest_counts_and_what_an_epoch_lets_in_is_right_too() {
    let name = "verify_guarded";
    let mut scene = Scene::new(name, 1);
    let guarded = |guard: &str| {
        format!(
            "[[entity]]\nname = \"t\"\ntopics = [\"{name}\"]\nguard = {guard}\n  [[entity.write]]\n  \
             key = \"{name}:{{id}}\"\n  value = \"json\"\n  ttl = \"1h\"\n"
        )
    };
    scene.draft.entities = guarded("{ by = \"source\" }");
    scene.write(0..20, 50, 1);
    scene.write(0..10, 3, 1);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_committed(1, &instance);
    assert_eq!(scene.missing(0..20, 50), 0, "what came late was refused");
    let said = Said::by(&bench, &[]);
    assert_eq!((said.differences(), said.count("raced")), (vec![], 0), "{}", said.summary);
    assert_eq!(instance.stop(), 0);

    scene.draft.entities = guarded("{ by = \"source\", epoch = 1 }");
    let bench = scene.draft.bench();
    scene.write(0..5, 4, 1);
    let instance = bench.start();
    scene.await_applied(0..5, 4, &instance);
    scene.await_committed(1, &instance);
    scene.redis.client().run::<()>(&["DEL", "verify_guarded:1", "verify_guarded:19"]);
    let said = Said::by(&bench, &[]);
    let missing = vec![("verify_guarded:1", "missing"), ("verify_guarded:19", "missing")];
    assert_eq!((said.differences(), said.count("raced")), (missing, 4), "{}", said.summary);
    assert_eq!(instance.stop(), 0);
}
