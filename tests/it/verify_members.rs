//! `stoker verify` of sets and sorted sets, member by member.

use serde_json::Value;

use crate::support::cache::slot;
use crate::support::command::{Ran, stoker};
use crate::support::redis::{Client, RedisCluster};
use crate::support::scene::{LONG, Scene, envelope};
use crate::support::wait_for;
use crate::verify::Said;

/// Rows that are a member of a board, of their team's set, and, by a name that passes between rows, of another set.
const PLAYERS: &str = r#"
[[entity]]
name = "player"
topics = ["{TOPIC}"]
replica_identity = "full"
  [[entity.write]]
  key = "board"
  value = { sorted_set = { member = "p{id}", score = "points" } }
  ttl = "none"
  [[entity.write]]
  key = "team:{team}"
  value = { set = { member = "p{id}" } }
  ttl = "none"
  [[entity.write]]
  key = "names"
  value = { set = { member = "{name|lower}" } }
  ttl = "none"
"#;

fn players(name: &'static str) -> Scene {
    let mut scene = Scene::new(name, 2);
    scene.draft.entities = PLAYERS.replace("{TOPIC}", name);
    scene
}

fn player(id: usize, team: usize, points: &str, name: &str) -> String {
    format!(r#"{{"id":{id},"team":{team},"points":{points},"name":"{name}"}}"#)
}

/// 100 players in 4 teams; one changes team and score, a name passes from one row to another, a row goes. 99 rows with
/// three members each are left.
fn write(scene: &Scene) {
    let mut lsn = 0;
    let mut change = |op: &str, id: usize, before: &str, after: &str| {
        lsn += 1;
        let partition = i32::try_from(id % 2).unwrap();
        let event = envelope(op, before, after, lsn);
        scene.topic.append(partition, Some(&format!(r#"{{"id":{id}}}"#)), Some(&event));
    };
    let rows: Vec<String> =
        (0..100).map(|id| player(id, id % 4, &format!("{id}.5"), &format!("N{id}"))).collect();
    for (id, row) in rows.iter().enumerate() {
        change("c", id, "null", row);
    }
    change("u", 1, &rows[1], &player(1, 2, "-1e3", "N1"));
    let (gave, took) = (player(10, 2, "10.5", "Other"), player(11, 3, "11.5", "N10"));
    change("u", 10, &rows[10], &gave);
    change("u", 11, &rows[11], &took);
    change("d", 99, &rows[99], "null");
    scene.topic.append(1, Some(r#"{"id":99}"#), None);
    scene.topic.flush();
}

#[test]
fn members_that_were_tampered_with_are_found_each_with_its_kind() {
    let scene = players("verify_members");
    write(&scene);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_committed(2, &instance);

    let healthy = Said::by(&bench, &[]);
    assert_eq!(healthy.differences(), vec![], "{}", healthy.summary);
    // Of those that are gone: the old team, two given names, and what the deleted row had.
    assert_eq!(healthy.count("checked"), 99 * 3 + 1 + 1 + 3, "{}", healthy.summary);
    assert_eq!(healthy.count("raced"), 0);

    let mut client = scene.redis.client();
    client.run::<()>(&["ZREM", "board", "p7"]);
    client.run::<()>(&["ZADD", "board", "8.25", "p8"]);
    client.run::<()>(&["ZADD", "board", "1", "p99"]);
    client.run::<()>(&["ZADD", "board", "1", "p1000"]);
    client.run::<()>(&["ZADD", "board", "1", "somebody else's"]);
    client.run::<()>(&["ZADD", "board", "-1000.0", "p1"]);
    client.run::<()>(&["SREM", "team:2", "p1"]);
    client.run::<()>(&["SADD", "team:1", "p1"]);
    client.run::<()>(&["SREM", "names", "n10"]);
    client.run::<()>(&["SADD", "names", "n11"]);
    client.run::<()>(&["SADD", "team:77", "p7"]);
    client.run::<()>(&["SET", "team:78", "no set"]);
    let mut expected = vec![
        ("board p7", "missing"),
        ("board p8", "stale"),
        ("board p99", "extra"),
        ("board p1000", "extra"),
        ("team:2 p1", "missing"),
        ("team:1 p1", "extra"),
        ("names n10", "missing"),
        ("names n11", "extra"),
        ("team:77 p7", "extra"),
        ("team:78", "extra"),
    ];
    expected.sort_unstable();
    let tampered = Said::by(&bench, &[]);
    assert_eq!(tampered.differences(), expected, "{}", tampered.summary);
    let stale = &tampered.examples["board p8"];
    assert_eq!((&stale["held"]["type"], &stale["expected_type"]), (&"zset".into(), &"zset".into()));
    assert_eq!(stale["record"]["offset"], 4);
    let sliced = Said::by(&bench, &["--memory", "40KiB"]);
    assert_eq!(sliced.differences(), expected);
    assert!(sliced.summary["passes"].as_u64().unwrap() > 2, "{}", sliced.summary);
    assert_eq!(sliced.count("checked"), tampered.count("checked"));
    let half = Said::by(&bench, &["--sample", "50%"]);
    assert!((100..210).contains(&half.count("checked")), "{}", half.summary);
    assert!(half.differences().iter().all(|found| expected.contains(found)));

    let story = |more: &[&str]| -> (i32, Value) {
        let settings = bench.settings();
        let mut arguments = vec!["inspect", "-c", settings.to_str().unwrap(), "--output", "json"];
        arguments.extend(more);
        let Ran { code, out, err } = stoker(&arguments, "");
        (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code}: {out} {err}")))
    };
    let (code, told) = story(&["board", "--member", "p8", "--show-value"]);
    assert_eq!(
        (code, &told["finding"], &told["held"]["value"]),
        (7, &"stale".into(), &"8.25".into()),
        "{told}"
    );
    assert_eq!(
        (&told["expected"]["value"], &told["templates"][0]["template"]),
        (&"8.5".into(), &"board p{id}".into())
    );
    let (code, told) = story(&["names", "--member", "n10"]);
    assert_eq!(
        (code, &told["finding"], &told["guard"]["row"]),
        (7, &"missing".into(), &"public.t:11".into()),
        "{told}"
    );
    assert_eq!(story(&["board", "--member", "p9"]).1["finding"], "right");
    let (code, told) = story(&["board"]);
    assert_eq!((code, &told["finding"]), (0, &"members".into()), "{told}");

    // The whole set is taken away, and something else is in its place; an expiry would take it away soon.
    client.run::<()>(&["SET", "board", "no set"]);
    client.run::<()>(&["EXPIRE", "names", "60"]);
    let gone = Said::by(&bench, &["--max-examples", "1"]);
    let counts = &gone.summary["entities"][0]["differences"];
    assert_eq!((&counts["wrong_type"], &counts["wrong_ttl"]), (&99.into(), &98.into()), "{}", gone.summary);
    assert_eq!(instance.stop(), 0);
}

#[test]
fn large_sets_of_a_cluster_are_searched_page_by_page_also_while_a_slot_moves() {
    let mut scene = players("verify_members_cluster");
    let cluster = RedisCluster::start();
    let nodes: Vec<String> =
        cluster.masters.iter().map(|node| format!("\"127.0.0.1:{}\"", node.port)).collect();
    scene.draft.redis = format!("cluster = [{}]", nodes.join(", "));
    write(&scene);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_committed(2, &instance);
    assert_eq!(instance.stop(), 0);
    let before = Said::by(&bench, &[]);
    assert_eq!(before.differences(), vec![], "{}", before.summary);

    for team in 0..8 {
        let key = format!("team:{team}");
        let mut command = vec!["SADD".to_owned(), key.clone()];
        command.extend((1_000..3_500).map(|id| format!("p{id}")));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        cluster.master_of(slot(&key)).client().run::<()>(&command);
    }
    let after = Said::by(&bench, &["--max-examples", "0"]);
    let differences = |said: &Said| said.summary["entities"][0]["differences"].clone();
    assert_eq!(differences(&after), serde_json::json!({ "extra": 8 * 2_500 }));

    // A set is at its new master, while the slot is still at the old one.
    let slot_of = slot("team:3");
    let from = cluster.master_of(slot_of);
    let to = cluster.masters.iter().find(|node| node.port != from.port).unwrap();
    let (mut source, mut target) = (from.client(), to.client());
    let id = |client: &mut Client| client.run::<String>(&["CLUSTER", "MYID"]);
    let (from_id, to_id, number) = (id(&mut source), id(&mut target), slot_of.to_string());
    target.run::<()>(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &from_id]);
    source.run::<()>(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &to_id]);
    source.run::<redis::Value>(&["MIGRATE", "127.0.0.1", &to.port.to_string(), "team:3", "0", "5000"]);
    let moving = Said::by(&bench, &["--max-examples", "0"]);
    assert_eq!(differences(&moving), differences(&after), "{}", moving.summary);
}

#[test]
fn a_running_process_looks_at_members_too() {
    let mut scene = players("verify_members_running");
    scene.draft.more = "[verify]\nsample = \"100%\"".to_owned();
    let bench = scene.draft.bench();
    let instance = bench.start();
    write(&scene);
    // Names are under the guard, and left out.
    instance.await_metric("stoker_verify_checked_total", "", 150.0);
    assert_eq!(instance.metric("stoker_verify_differences_total", ""), 0.0, "{}", instance.story());
    scene.topic.append(
        0,
        Some(r#"{"id":500}"#),
        Some(&envelope("c", "null", &player(500, 1, "5", "N"), 900)),
    );
    scene.topic.flush();
    let mut client = scene.redis.client();
    let score = |client: &mut Client| client.run::<Option<String>>(&["ZSCORE", "board", "p500"]);
    assert!(wait_for(LONG, || score(&mut client).is_some()), "{}", instance.story());
    client.run::<()>(&["ZREM", "board", "p500"]);
    instance.await_metric("stoker_verify_differences_total", "kind=\"missing\"", 1.0);
    assert_eq!(instance.stop(), 0);
}
