//! The sink on a cluster of three masters.

use std::collections::BTreeMap;

use stoker::batch::{Action, Batch, Outcome, Owed, RefillMode, Standing, Unit, WatermarkSeen};
use stoker::error::{ServerCode, WorldError};
use stoker::mutation::Expiry;
use stoker::sink::Sink;
use stoker::sink::memory::MemoryValue;
use stoker::sink::redis::RedisSink;
use stoker::sink::slots::{slot_of, tag_of};

use super::support::redis::{RedisCluster, RedisServer, wait_for};
use super::support::sink::*;

fn sink(cluster: &RedisCluster) -> RedisSink {
    RedisSink::new(cluster.settings(), GROUP.into(), VALUE_BYTES_MAX)
}

fn read_at(cluster: &RedisCluster, key: &[u8]) -> Option<MemoryValue> {
    read(&mut cluster.master_of(slot_of(key)).client(), key).map(|(value, _)| value)
}

fn string(value: &str) -> Option<MemoryValue> {
    Some(MemoryValue::String(value.into()))
}

/// Applies until everything is acknowledged; panics where that takes long.
async fn until_applied(sink: &RedisSink, lane: u64, positions: std::ops::Range<i64>, units: Vec<Unit>) {
    let mut units = units;
    for _ in 0..200 {
        let outcomes = sink.apply(&batch(lane, positions.clone(), units.clone())).await;
        let mut open = outcomes.units.iter().map(|outcome| *outcome == Outcome::NotAcknowledged);
        units.retain(|_| open.next().unwrap());
        if units.is_empty() && outcomes.watermark == WatermarkSeen::Current {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("never applied");
}

/// One unit of each kind for that key.
fn unit_of(key: &str, number: u64) -> Unit {
    let value = number.to_string();
    let action = match number % 4 {
        0 => Action::Write(text(&value), hour()),
        1 => Action::Write(hash(&[("f", &value)]), Expiry::Never),
        2 => Action::Guarded([guarded_write(number, "r", &value)].into_iter().collect()),
        _ => Action::Delete,
    };
    unit(key, action)
}

fn expected(number: u64) -> Option<MemoryValue> {
    match number % 4 {
        0 | 2 => string(&number.to_string()),
        1 => Some(MemoryValue::Hash(BTreeMap::from([(b"f".to_vec(), number.to_string().into_bytes())]))),
        _ => None,
    }
}

/// Moves a slot as `redis-cli --cluster reshard` does; `between` runs while half of the keys have moved.
fn migrate(from: &RedisServer, to: &RedisServer, slot: u16, between: impl FnOnce()) {
    let (mut source, mut target) = (from.client(), to.client());
    let id = |client: &mut super::support::redis::Client| client.run::<String>(&["CLUSTER", "MYID"]);
    let (source_id, target_id) = (id(&mut source), id(&mut target));
    let slot = slot.to_string();
    target.run::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]);
    source.run::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]);
    let mut move_keys = |count: usize| {
        let keys: Vec<Vec<u8>> = source.run(&["CLUSTER", "GETKEYSINSLOT", &slot, &count.to_string()]);
        for key in keys {
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(to.port).arg(key).arg(0).arg(5000).arg("REPLACE");
            migrate.query::<redis::Value>(&mut source.0).unwrap();
        }
    };
    move_keys(2);
    between();
    move_keys(usize::from(u16::MAX));
    for client in [&mut target, &mut source] {
        client.run::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]);
    }
}

#[test]
fn every_key_reaches_its_master_while_slots_move() {
    let cluster = RedisCluster::start();
    let sink = sink(&cluster);
    let runtime = runtime();
    // Keys all over, and some that share one slot with each other, which is moved under way.
    let moving = 7_000;
    let keys: Vec<String> = (0..60)
        .map(|n| format!("user:{n}"))
        .chain((0..8).map(|n| format!("{{{}}}:{n}", tag_of(moving))))
        .chain(["b}r{a}ces".to_owned(), "{}".to_owned()])
        .collect();
    let apply_round = |round: u64| {
        let units = (0..).zip(&keys).map(|(index, key)| unit_of(key, round + index)).collect();
        let position = i64::try_from(round).unwrap();
        runtime.block_on(until_applied(&sink, 1, position..position + 1, units));
    };
    let check = |round: u64| {
        for (index, key) in (0..).zip(&keys) {
            assert_eq!(read_at(&cluster, key.as_bytes()), expected(round + index), "{key} in round {round}");
        }
    };
    runtime.block_on(sink.take_over(&fresh_claim(1))).unwrap();
    (0..4).for_each(apply_round);
    check(3);

    let source = cluster.master_of(moving);
    let target = cluster.masters.iter().find(|master| master.port != source.port).unwrap();
    migrate(source, target, moving, || {
        // In the middle the slot's keys lie on both sides. A script over two keys that lie apart is answered
        // TRYAGAIN until the rest has followed.
        let plain = |value: &str| {
            let moving = keys.iter().filter(|key| slot_of(key.as_bytes()) == moving);
            moving.map(|key| write(key, value)).collect::<Vec<_>>()
        };
        runtime.block_on(until_applied(&sink, 1, 4..5, plain("between")));
        let mut client = source.client();
        let slot = moving.to_string();
        let here: Vec<String> = client.run(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
        let side = |key: &str| String::from_utf8(own_keys().side(key.as_bytes())).unwrap();
        let apart = here.iter().find(|key| keys.contains(key) && !here.contains(&side(key))).unwrap();
        let guarded = Action::Guarded([guarded_write(1, "r", "x")].into_iter().collect());
        let outcomes = runtime.block_on(sink.apply(&batch(1, 4..5, vec![unit(apart, guarded)])));
        assert_eq!(outcomes.units, [Outcome::NotAcknowledged]);
        assert_eq!(outcomes.error, Some(WorldError::NotNow { code: ServerCode::TryAgain }));
    });
    for key in keys.iter().filter(|key| slot_of(key.as_bytes()) == moving) {
        assert_eq!(read_at(&cluster, key.as_bytes()), string("between"), "{key}");
    }
    (8..12).for_each(apply_round);
    check(11);
    assert_done(&runtime.block_on(sink.apply(&look(1, 12))));
    assert_eq!(sink.nodes().len(), 3);
}

#[test]
fn a_watermark_whose_slot_moved_is_set_anew_and_named() {
    let cluster = RedisCluster::start();
    let sink = sink(&cluster);
    let runtime = runtime();
    let record = own_keys().owner_record(&lane_name());
    runtime.block_on(async {
        sink.take_over(&fresh_claim(1)).await.unwrap();
        assert_done(&sink.apply(&look(1, 5)).await);
    });
    // The record's master has its watermark in the record's slot.
    let slot = slot_of(&record);
    let source = cluster.master_of(slot);
    let target = cluster.masters.iter().find(|master| master.port != source.port).unwrap();
    migrate(source, target, slot, || ());
    runtime.block_on(until_applied(&sink, 1, 5..6, Vec::new()));
    let mut seen = runtime.block_on(sink.apply(&look(1, 6)));
    for _ in 0..20 {
        if seen.watermark == WatermarkSeen::Current {
            break;
        }
        assert_eq!(seen.watermark, WatermarkSeen::Unknown, "nothing was lost");
        seen = runtime.block_on(sink.apply(&look(1, 6)));
    }
    assert_done(&seen);
    let old = own_keys().watermark(&lane_name(), slot);
    assert_eq!(read_at(&cluster, &old), None, "the one whose slot moved is deleted");
    let MemoryValue::Hash(fields) = read_at(&cluster, &record).unwrap() else { panic!() };
    let entries: Vec<String> = fields.values().map(|v| String::from_utf8(v.clone()).unwrap()).collect();
    let named = entries.iter().filter(|entry| entry.contains(":mark:")).count();
    assert_eq!(named, 3, "each master's watermark is named: {entries:?}");

    let next = self::sink(&cluster);
    let taken = runtime.block_on(next.take_over(&claim_from(2, 6))).unwrap();
    assert_eq!(taken.standing, Standing::Intact, "the next owner finds them all");
    // The first look may only find that its connections were killed.
    let looks = (0..2).map(|_| runtime.block_on(sink.apply(&look(1, 6))));
    assert_eq!(looks.last().unwrap().watermark, WatermarkSeen::NotOwner);
}

#[test]
fn a_master_that_lost_its_data_is_written_again_and_the_others_left_alone() {
    let cluster = RedisCluster::start();
    let sink = sink(&cluster);
    let runtime = runtime();
    let keys: Vec<String> = (0..30).map(|n| format!("user:{n}")).collect();
    let units = |value: &str| keys.iter().map(|key| write(key, value)).collect::<Vec<_>>();
    runtime.block_on(async {
        sink.take_over(&fresh_claim(1)).await.unwrap();
        assert_done(&sink.apply(&batch(1, 0..10, units("first"))).await);
        assert_done(&sink.apply(&look(1, 10)).await);
    });
    let lost = &cluster.masters[1];
    lost.client().run::<()>(&["FLUSHALL"]);
    runtime.block_on(async {
        assert_eq!(sink.apply(&look(1, 10)).await.watermark, WatermarkSeen::Missing);
        // Told apart by the value: a rewind really sends the same ones.
        let outcomes = sink.apply(&batch(1, 0..10, units("again"))).await;
        assert_done(&outcomes);
        assert_eq!(outcomes.units, vec![Outcome::Applied; keys.len()]);
    });
    let on_lost = |key: &str| cluster.master_of(slot_of(key.as_bytes())).port == lost.port;
    assert!(keys.iter().any(|key| on_lost(key)) && !keys.iter().all(|key| on_lost(key)));
    for key in &keys {
        let expected = if on_lost(key) { "again" } else { "first" };
        assert_eq!(read_at(&cluster, key.as_bytes()), string(expected), "{key}");
    }
    runtime.block_on(async {
        assert_done(&sink.apply(&batch(1, 10..11, units("on"))).await);
        assert_done(&sink.apply(&look(1, 11)).await);
    });
    for key in &keys {
        assert_eq!(read_at(&cluster, key.as_bytes()), string("on"), "{key}");
    }

    lost.client().run::<()>(&["FLUSHALL"]);
    let next = self::sink(&cluster);
    let taken = runtime.block_on(next.take_over(&claim_from(2, 11))).unwrap();
    let owed = Some(Owed::all(11, RefillMode::Restore));
    assert_eq!((taken.standing, taken.owed), (Standing::Intact, owed), "a new owner sees it as well");
    let refilled = units("again").into_iter().map(|unit| match unit.action {
        Action::Write(value, expiry) => {
            Unit { action: Action::Write(value, expiry), offsets: [].into_iter().collect(), ..unit }
        }
        _ => panic!("units are writes"),
    });
    let elsewhere = keys.iter().find(|key| !on_lost(key)).unwrap();
    cluster.master_of(slot_of(elsewhere.as_bytes())).client().run::<i64>(&["DEL", elsewhere]);
    let batch = Batch { owed, ..batch(2, 11..12, refilled.collect()) };
    let outcomes = runtime.block_on(next.apply(&batch));
    assert_done(&outcomes);
    assert_eq!(read_at(&cluster, elsewhere.as_bytes()), None, "only who lost its data is refilled");
    let again = runtime.block_on(self::sink(&cluster).take_over(&claim_from(3, 12))).unwrap();
    assert_eq!(again.owed, owed, "until it is paid, whoever owns the lane");
    for key in keys.iter().filter(|key| *key != elsewhere) {
        let expected = if on_lost(key) { "again" } else { "on" };
        assert_eq!(read_at(&cluster, key.as_bytes()), string(expected), "{key}");
    }
}

#[test]
fn one_master_that_is_gone_holds_up_only_its_own_keys() {
    let mut cluster = RedisCluster::start();
    for master in &cluster.masters {
        master.client().run::<()>(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let sink = sink(&cluster);
    let runtime = runtime();
    let keys: Vec<String> = (0..30).map(|n| format!("user:{n}")).collect();
    let on_last: Vec<bool> = keys
        .iter()
        .map(|key| cluster.master_of(slot_of(key.as_bytes())).port == cluster.masters[2].port)
        .collect();
    let units: Vec<Unit> = keys.iter().map(|key| write(key, "x")).collect();
    runtime.block_on(sink.take_over(&fresh_claim(1))).unwrap();
    drop(cluster.masters.pop());
    for attempt in 0..3 {
        let outcomes = runtime.block_on(sink.apply(&batch(1, 0..1, units.clone())));
        for ((key, outcome), on_last) in keys.iter().zip(&outcomes.units).zip(&on_last) {
            let expected = if *on_last { Outcome::NotAcknowledged } else { Outcome::Applied };
            assert_eq!(*outcome, expected, "{key} in attempt {attempt}");
        }
        assert_eq!(outcomes.watermark, WatermarkSeen::Unknown);
        assert_ne!(outcomes.error, Some(WorldError::NotOwner));
    }
}

#[test]
fn a_replica_that_lagged_and_took_over_shows_in_its_watermark() {
    let cluster = RedisCluster::start();
    let master = &cluster.masters[0];
    let replica = cluster.add_replica(master);
    let sink = sink(&cluster);
    let runtime = runtime();
    let units = |value: &str| (0..30).map(|n| write(&format!("user:{n}"), value)).collect::<Vec<_>>();
    runtime.block_on(async {
        sink.take_over(&fresh_claim(1)).await.unwrap();
        assert_done(&sink.apply(&batch(1, 0..10, units("first"))).await);
        assert_done(&sink.apply(&look(1, 10)).await);
    });
    let behind: i64 = master.client().run(&["WAIT", "1", "5000"]);
    assert_eq!(behind, 1, "the replica has everything");
    // The replica loses its link and cannot come back.
    master.client().run::<()>(&["CONFIG", "SET", "requirepass", "nobody knows"]);
    let mut client = master.client();
    redis::cmd("AUTH").arg("nobody knows").exec(&mut client.0).unwrap();
    client.run::<i64>(&["CLIENT", "KILL", "TYPE", "replica"]);
    runtime.block_on(async {
        assert_done(&sink.apply(&batch(1, 10..20, units("second"))).await);
        assert_done(&sink.apply(&look(1, 20)).await);
    });
    replica.client().run::<()>(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
    let mut seen = WatermarkSeen::Current;
    let found = wait_for(std::time::Duration::from_secs(20), || {
        seen = runtime.block_on(sink.apply(&look(1, 20))).watermark;
        matches!(seen, WatermarkSeen::Behind(..) | WatermarkSeen::Missing)
    });
    assert!(found, "{seen:?}");
    assert_eq!(seen, WatermarkSeen::Behind(10, None));
    runtime.block_on(until_applied(&sink, 1, 10..20, units("second")));
    assert_done(&runtime.block_on(sink.apply(&look(1, 20))));
    let promoted = format!("127.0.0.1:{}", replica.port);
    assert!(sink.nodes().iter().any(|node| node.address == promoted));
}

/// Found by review: leaving a lane struck connections from its record over which a pipeline could still land.
#[test]
fn a_connection_with_unanswered_commands_stays_named_when_its_lane_is_left() {
    let cluster = RedisCluster::start();
    let settings = stoker::settings::RedisSettings {
        timeout: std::time::Duration::from_millis(300),
        ..cluster.settings()
    };
    let sink = RedisSink::new(settings, GROUP.into(), VALUE_BYTES_MAX);
    let claim = fresh_claim(1);
    let record_key = own_keys().owner_record(&claim.name);
    let home = cluster.master_of(slot_of(&record_key));
    let away = cluster.masters.iter().find(|master| master.port != home.port).unwrap();
    let key = (0..)
        .map(|n| format!("k{n}"))
        .find(|key| cluster.master_of(slot_of(key.as_bytes())).port == away.port);
    runtime().block_on(async {
        sink.take_over(&claim).await.unwrap();
        away.signal("-STOP");
        let outcomes = sink.apply(&batch(1, 0..1, vec![write(&key.unwrap(), "late")])).await;
        assert_eq!(outcomes.error, Some(WorldError::Timeout));
        sink.release(claim.lane).await;
        away.signal("-CONT");
    });
    let fields: BTreeMap<String, String> =
        redis::cmd("HGETALL").arg(record_key).query(&mut home.client().0).unwrap();
    let named: Vec<&str> = fields
        .iter()
        .filter(|(name, entry)| name.starts_with("n:") && entry.contains("\"peer\""))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(named, [format!("n:127.0.0.1:{}", away.port)]);
}
