//! Parts of a Redis Cluster that lose data while `stoker run` writes to it: a master that comes back empty, a replica
//! that lagged and takes over, a master that goes on beside the replica in its place. What happens to a single server
//! is in `outage.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::failover::Replicated;
use crate::support::instance::Instance;
use crate::support::load::{Load, StopOnDrop, held};
use crate::support::redis::RedisCluster;
use crate::support::scene::{LONG, Scene, row};
use crate::support::{cache, wait_for};

const PARTITIONS: usize = 2;
/// The master that something happens to.
const LOST: usize = 1;
/// Rows of the load.
const ROWS: usize = 400;

/// A topic, and settings that lead to that cluster.
fn scene(name: &'static str, cluster: &RedisCluster) -> Scene {
    let mut scene = Scene::new(name, i32::try_from(PARTITIONS).unwrap());
    // One that hangs is found out soon.
    scene.draft.redis = format!("{}\ntimeout = \"1s\"\nconnect_timeout = \"1s\"", cluster.target());
    scene
}

/// The number of the master that holds a row.
fn number_of(name: &str, cluster: &RedisCluster, id: usize) -> usize {
    cluster.number_of(cache::slot(&format!("{name}:{id}")))
}

fn await_held(
    what: &str,
    instance: &Instance,
    expected: &BTreeMap<usize, String>,
    mut held: impl FnMut() -> BTreeMap<usize, String>,
) {
    let mut found = BTreeMap::new();
    let equal = wait_for(LONG, || {
        found = held();
        found == *expected
    });
    let differs = |id: &&usize| found.get(id) != expected.get(id);
    let ids: BTreeSet<&usize> = expected.keys().chain(found.keys()).filter(differs).collect();
    let some: Vec<_> = ids.iter().take(8).map(|id| (id, expected.get(id), found.get(id))).collect();
    assert!(equal, "{what}: {} rows differ (row, expected, held): {some:?}\n{}", ids.len(), instance.story());
}

/// The rows of the others are tampered with or taken away, which nothing that Stoker does for the one puts right.
#[test]
fn a_master_that_comes_back_empty_is_refilled_and_the_others_are_left_alone() {
    const KEPT: std::ops::Range<usize> = 50..400;
    let mut cluster = RedisCluster::start();
    let scene = scene("losses_empty", &cluster);
    let name = scene.name;
    scene.write(0..KEPT.end, 1, PARTITIONS);
    let mut instance = scene.draft.bench().start();
    let mut expected: BTreeMap<usize, String> = (0..KEPT.end).map(|id| (id, row(id, 1))).collect();
    await_held("all rows", &instance, &expected, || held(&mut cluster.clients(), name));
    scene.await_committed(2, &instance);
    instance.await_ready();

    let mut clients = cluster.clients();
    let mut refilled = 0;
    for id in KEPT {
        let number = number_of(name, &cluster, id);
        let key = format!("{name}:{id}");
        if number == LOST {
            refilled += 1;
        } else if id % 3 == 0 {
            clients[number].run::<()>(&["DEL", &key]);
            expected.remove(&id);
        } else {
            let tampered = row(id, 9);
            clients[number].run::<()>(&["SET", &key, &tampered]);
            expected.insert(id, tampered);
        }
    }
    assert!((20..KEPT.len() - 20).contains(&refilled), "{refilled}");
    drop(clients);

    cluster.masters[LOST].kill();
    scene.write(0..KEPT.start, 2, PARTITIONS);
    expected.extend((0..KEPT.start).map(|id| (id, row(id, 2))));
    instance.await_reason("lane_not_applying");
    cluster.masters[LOST].revive();
    assert_eq!(cluster.masters[LOST].client().run::<usize>(&["DBSIZE"]), 0);
    await_held("the one master's rows", &instance, &expected, || held(&mut cluster.clients(), name));
    instance.await_metric("stoker_rewinds_total", "reason=\"missing\"", 2.0);
    scene.await_committed(2, &instance);
    instance.await_ready();
    assert_eq!(held(&mut cluster.clients(), name), expected, "and nothing came after");
    assert!(instance.runs());
    assert_eq!(instance.stop(), 0);
}

/// Under live writes and deletes the replica of one master is left behind, and takes over in the way that `take_over`
/// does it. Rows that were changed and deleted in between are old in it, and there again.
fn replaced_by_a_lagging_replica(
    name: &'static str,
    lag: impl FnOnce(&mut Replicated),
    take_over: impl FnOnce(&mut Replicated),
    after: impl FnOnce(&mut Replicated),
) {
    let mut nodes = Replicated::start();
    let scene = scene(name, &nodes.cluster);
    let mut instance = scene.draft.bench().start();
    let of_lost: Vec<usize> =
        (ROWS..).filter(|id| number_of(name, &nodes.cluster, *id) == LOST).take(40).collect();
    let (changed, deleted) = of_lost.split_at(20);

    let mut first = Load::new(&scene, PARTITIONS);
    of_lost.iter().for_each(|id| first.write(*id));
    first.flush();
    let before = first.expected();
    let of_replica = |nodes: &mut Replicated| {
        let mut client = nodes.replica(LOST).client();
        client.run::<()>(&["READONLY"]);
        let mut found = held(&mut [client], name);
        found.retain(|id, _| *id >= ROWS);
        found
    };
    await_held("the replica", &instance, &before, || of_replica(&mut nodes));

    let stop = AtomicBool::new(false);
    let expected = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut load = Load::new(&scene, PARTITIONS);
            load.go_on(ROWS, &stop);
            load.expected()
        });
        let _end = StopOnDrop(&stop);
        instance.await_metric("stoker_records_total", "", 500.0);
        lag(&mut nodes);
        changed.iter().for_each(|id| first.write(*id));
        deleted.iter().for_each(|id| first.delete(*id));
        first.flush();
        let mut master = nodes.master(LOST).client();
        let at_master = || {
            let mut found = held(std::slice::from_mut(&mut master), name);
            found.retain(|id, _| *id >= ROWS);
            found
        };
        await_held("the old master", &instance, &first.expected(), at_master);
        let committed = scene.committed(2);
        let moved_on = |now: &[Option<i64>]| now.iter().zip(&committed).all(|(now, before)| now > before);
        let told = wait_for(LONG, || moved_on(&scene.committed(2)));
        assert!(told, "what the replica lacks is committed:\n{}", instance.story());
        assert_eq!(of_replica(&mut nodes), before, "the replica lags");
        take_over(&mut nodes);
        // Some of it with the load going on, and the end of it without.
        instance.await_metric("stoker_rewinds_total", "reason=\"behind\"", 1.0);
        let so_far = instance.metric("stoker_records_total", "");
        instance.await_metric("stoker_records_total", "", so_far + 500.0);
        stop.store(true, Ordering::Relaxed);
        let mut expected = writer.join().unwrap();
        expected.extend(first.expected());
        expected
    });
    let whole = |what: &str, nodes: &Replicated| {
        await_held(what, &instance, &expected, || held(&mut nodes.clients(), name));
    };
    whole("the cluster", &nodes);
    after(&mut nodes);
    scene.await_committed(2, &instance);
    instance.await_ready();
    whole("the cluster at the end", &nodes);
    assert!(instance.runs());
    assert_eq!(instance.stop(), 0);
}

fn cut(nodes: &mut Replicated) {
    nodes.cut(LOST);
}

#[test]
fn a_lagging_replica_in_the_place_of_a_dead_master_is_brought_up_to_date_under_load() {
    replaced_by_a_lagging_replica(
        "losses_lagging",
        cut,
        |nodes| {
            nodes.master(LOST).kill();
            nodes.promote(LOST);
        },
        |_| {},
    );
}

/// The old master goes on where it was stopped, with what was sent to it and not answered.
#[test]
fn a_lagging_replica_in_the_place_of_a_master_that_hangs_is_brought_up_to_date_under_load() {
    replaced_by_a_lagging_replica(
        "losses_hanging",
        cut,
        |nodes| {
            nodes.master(LOST).signal("-STOP");
            nodes.promote(LOST);
        },
        |nodes| nodes.replica(LOST).signal("-CONT"),
    );
}

/// Split brain: the old master does not learn of the other one, and goes on to take writes, which are lost with it.
#[test]
fn what_a_master_took_beside_the_replica_in_its_place_is_written_again_under_load() {
    replaced_by_a_lagging_replica(
        "losses_split",
        |nodes| {
            nodes.blind(LOST);
            nodes.promote(LOST);
            // Until it is told, it is where the lanes write.
            nodes.swap(LOST);
        },
        |nodes| {
            nodes.swap(LOST);
            nodes.tell(LOST);
        },
        |_| {},
    );
}
