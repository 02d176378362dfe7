//! `stoker verify` on real parts: what was tampered with is found, and nothing else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::broker;
use crate::support::command::{Ran, stoker};
use crate::support::instance::Bench;
use crate::support::scene::{LONG, Scene, envelope, row};
use crate::support::wait_for;

/// What `verify` said: examples by key, or by `key member`, and the summary.
pub(crate) struct Said {
    pub(crate) examples: BTreeMap<String, Value>,
    pub(crate) summary: Value,
}

impl Said {
    /// Runs it. It ends with 7 exactly where something differs.
    pub(crate) fn by(bench: &Bench, more: &[&str]) -> Said {
        let settings = bench.settings();
        let mut arguments = vec!["verify", "-c", settings.to_str().unwrap(), "--output", "json"];
        arguments.extend(more);
        let Ran { code, out, err } = stoker(&arguments, "");
        let mut lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary = lines.pop().unwrap_or_else(|| panic!("{code}: {err}"));
        let of = |line: &Value| match line["member"].as_str() {
            Some(member) => format!("{} {member}", line["key"].as_str().unwrap()),
            None => line["key"].as_str().unwrap().to_owned(),
        };
        let examples: BTreeMap<String, Value> = lines.into_iter().map(|line| (of(&line), line)).collect();
        assert_eq!(code, if summary["differences"] == 0 { 0 } else { 7 }, "{summary}\n{err}");
        Said { examples, summary }
    }

    /// Key and difference of each example.
    pub(crate) fn differences(&self) -> Vec<(&str, &str)> {
        self.examples.iter().map(|(key, line)| (key.as_str(), line["difference"].as_str().unwrap())).collect()
    }

    /// A count of the one entity.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.summary["entities"][0][name].as_u64().unwrap_or_else(|| panic!("{name} in {}", self.summary))
    }
}

#[test]
fn what_was_tampered_with_is_found_each_with_its_kind() {
    let scene = Scene::new("verify_tampered", 2);
    scene.write(0..200, 1, 2);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..200, 1, &instance);
    let deleted = r#"{"id":7}"#;
    scene.topic.append(1, Some(deleted), Some(&envelope("d", "null", "null", 300)));
    scene.topic.append(1, Some(deleted), None);
    scene.topic.flush();
    scene.await_committed(2, &instance);

    let healthy = Said::by(&bench, &[]);
    assert_eq!((healthy.differences(), healthy.count("checked")), (vec![], 200), "{}", healthy.summary);

    let mut client = scene.redis.client();
    let key = |id: usize| format!("{}:{id}", scene.name);
    client.run::<()>(&["DEL", &key(1)]);
    client.run::<()>(&["SET", &key(2), &row(2, 9), "KEEPTTL"]);
    client.run::<()>(&["PERSIST", &key(3)]);
    client.run::<()>(&["EXPIRE", &key(4), "60"]);
    client.run::<()>(&["DEL", &key(5)]);
    client.run::<()>(&["SADD", &key(5), "member"]);
    client.run::<()>(&["SET", &key(7), &row(7, 1), "EX", "3600"]);
    client.run::<()>(&["SET", &key(1_000), "{}", "EX", "3600"]);
    client.run::<()>(&["SET", "another:1", "{}"]);
    let keys = [1, 2, 3, 4, 5, 7, 1_000].map(key);
    let kinds = ["missing", "stale", "wrong_ttl", "wrong_ttl", "wrong_type", "extra", "extra"];
    let mut expected: Vec<(&str, &str)> = keys.iter().map(String::as_str).zip(kinds).collect();
    expected.sort_unstable();

    let tampered = Said::by(&bench, &[]);
    assert_eq!(tampered.differences(), expected);
    assert_eq!(tampered.summary["differences"], 7);
    let stale = &tampered.examples[&key(2)];
    assert_eq!((&stale["record"]["topic"], &stale["held"]["type"]), (&scene.name.into(), &"string".into()));
    assert!(!tampered.summary.to_string().contains("version"), "no values");

    // A sample finds those that are in it, and its parts make the whole.
    let half = Said::by(&bench, &["--sample", "50%"]);
    assert!((60..140).contains(&half.count("checked")), "{}", half.summary);
    assert!(half.differences().iter().all(|found| expected.contains(found)));
    let few = Said::by(&bench, &["--max-examples", "1"]);
    assert_eq!((few.examples.len(), &few.summary["differences"]), (5, &Value::from(7)));
    assert_eq!(instance.stop(), 0);
}

#[test]
fn nothing_is_reported_of_a_healthy_cache_under_load() {
    let scene = Scene::new("verify_load", 3);
    let bench = scene.draft.bench();
    scene.write(0..300, 0, 3);
    let instance = bench.start();
    scene.await_applied(0..300, 0, &instance);
    let stop = AtomicBool::new(false);
    let (checked, last) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| scene.write_until(0..300, 3, &stop));
        let mut checked = 0;
        for _ in 0..3 {
            let said = Said::by(&bench, &[]);
            assert_eq!(said.differences(), vec![], "{}", said.summary);
            checked += said.count("checked");
        }
        stop.store(true, Ordering::Relaxed);
        (checked, writer.join().unwrap())
    });
    assert_eq!(checked, 900);
    assert!(last > 3, "there was load: {last}");
    assert_eq!(instance.stop(), 0);
}

#[test]
fn what_the_group_has_not_come_to_is_behind_and_no_difference() {
    let scene = Scene::new("verify_behind", 1);
    scene.write(0..50, 1, 1);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..50, 1, &instance);
    scene.await_committed(1, &instance);
    assert_eq!(instance.stop(), 0);
    scene.write(40..60, 2, 1);
    scene.redis.client().run::<()>(&["DEL", "verify_behind:1", "verify_behind:41"]);

    let said = Said::by(&bench, &[]);
    assert_eq!(said.differences(), vec![("verify_behind:1", "missing")], "{}", said.summary);
    assert_eq!((said.count("checked"), said.count("behind")), (60, 20));
    let recent = Said::by(&bench, &["--since", "1d"]);
    assert_eq!(recent.count("checked"), 60);
}

/// An entity whose rows have a secondary key, and one that readers fill.
const CUSTOMERS: &str = r#"
[[entity]]
name = "customer"
topics = ["{TOPIC}"]
replica_identity = "full"
  [[entity.write]]
  key = "customer:{id}"
  value = "json"
  ttl = "1h"
  jitter = "10%"
  [[entity.write]]
  key = "email:{email|lower}"
  value = { text = "{id}" }
  ttl = "none"
  [[entity.write]]
  key = "customer:{id}:h"
  value = { hash = ["id", "email"] }
  ttl = { column = "until", at_most = "2h" }
  [[entity.write]]
  key = "page:{id}"
  value = "invalidate"
"#;

fn customers(name: &'static str, partitions: i32) -> Scene {
    let mut scene = Scene::new(name, partitions);
    scene.draft.entities = CUSTOMERS.replace("{TOPIC}", name);
    scene
}

/// A row whose hash expires in an hour.
fn customer(id: usize, email: &str) -> String {
    let until = jiff::Timestamp::now() + Duration::from_secs(3_600);
    format!(r#"{{"id":{id},"email":"{email}","until":"{until}"}}"#)
}

#[test]
fn slices_give_what_one_pass_gives_and_secondary_keys_follow_positions() {
    let scene = customers("verify_slices", 3);
    let mut lsn = 0;
    let mut change = |op: &str, id: usize, before: &str, after: &str| {
        lsn += 1;
        let partition = i32::try_from(id % 3).unwrap();
        let event = envelope(op, before, after, lsn);
        scene.topic.append(partition, Some(&format!(r#"{{"id":{id}}}"#)), Some(&event));
    };
    let rows: Vec<String> = (0..400).map(|id| customer(id, &format!("a{id}@x.org"))).collect();
    for (id, row) in rows.iter().enumerate() {
        change("c", id, "null", row);
    }
    // An address passes from one row to another, in another partition, twice; a row goes; one changes its key.
    for id in 0..20 {
        let (giver, taker) = (3 * id, 3 * id + 100);
        let (left, taken) =
            (customer(giver, &format!("b{giver}@x.org")), customer(taker, &format!("a{giver}@x.org")));
        change("u", giver, &rows[giver], &left);
        change("u", taker, &rows[taker], &taken);
    }
    change("d", 399, &rows[399], "null");
    scene.topic.append(0, Some(r#"{"id":399}"#), None);
    scene.topic.flush();

    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_committed(3, &instance);
    let mut client = scene.redis.client();
    client.run::<()>(&["SET", "page:7", "filled by a reader"]);
    let whole = Said::by(&bench, &[]);
    assert_eq!(whole.differences(), vec![], "{}", whole.summary);
    assert_eq!(whole.count("raced"), 0);

    client.run::<()>(&["DEL", "email:a0@x.org"]);
    client.run::<()>(&["SET", "email:a399@x.org", "399"]);
    client.run::<()>(&["SET", "email:b3@x.org", "103"]);
    client.run::<()>(&["HSET", "customer:5:h", "email", "other"]);
    client.run::<()>(&["HSET", "customer:6:h", "more", ""]);
    client.run::<()>(&["EXPIRE", "email:a9@x.org", "3600"]);
    client.run::<()>(&["EXPIRE", "customer:8:h", "7200"]);
    let expected = vec![
        ("customer:5:h", "stale"),
        ("customer:6:h", "stale"),
        ("customer:8:h", "wrong_ttl"),
        ("email:a0@x.org", "missing"),
        ("email:a399@x.org", "extra"),
        ("email:a9@x.org", "wrong_ttl"),
        ("email:b3@x.org", "stale"),
    ];
    let whole = Said::by(&bench, &[]);
    assert_eq!((whole.differences(), &whole.summary["passes"]), (expected.clone(), &Value::from(1)));
    let sliced = Said::by(&bench, &["--memory", "100KiB"]);
    assert_eq!(sliced.differences(), expected);
    assert!(sliced.summary["passes"].as_u64().unwrap() > 3, "{}", sliced.summary);
    assert_eq!(sliced.count("checked"), whole.count("checked"));
    assert_eq!(instance.stop(), 0);
}

#[test]
fn one_keys_story_names_its_template_its_records_and_what_is_wrong() {
    let scene = customers("verify_story", 1);
    let (first, second) = (customer(7, "Ann@x.org"), customer(7, "Bob@x.org"));
    let key = Some(r#"{"id":7}"#);
    scene.topic.append(0, key, Some(&envelope("c", "null", &first, 1)));
    scene.topic.append(0, key, Some(&envelope("u", &first, &second, 2)));
    scene.topic.flush();
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_committed(1, &instance);
    let story = |key: &str, more: &[&str]| -> (i32, Value) {
        let settings = bench.settings();
        let mut arguments = vec!["inspect", "-c", settings.to_str().unwrap(), key, "--output", "json"];
        arguments.extend(more);
        let Ran { code, out, err } = stoker(&arguments, "");
        (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code}: {out} {err}")))
    };

    let (code, told) = story("email:bob@x.org", &[]);
    assert_eq!((code, &told["finding"]), (0, &"right".into()), "{told}");
    assert_eq!(told["templates"][0]["template"], "email:{email|lower}");
    assert_eq!(told["guard"]["row"], "public.t:7");
    assert_eq!((&told["records"][0]["offset"], &told["records"][0]["made_it"]), (&1.into(), &true.into()));
    assert_eq!((&told["held"]["ttl_ms"], &told["held"]["value"]), (&Value::Null, &Value::Null));

    let (code, told) = story("email:ann@x.org", &[]);
    assert_eq!((code, &told["finding"], &told["held"]), (0, &"right".into(), &Value::Null), "{told}");
    assert_eq!(
        (&told["records"][0]["does"], &told["records"][1]["does"]),
        (&"write".into(), &"delete".into())
    );

    scene.redis.client().run::<()>(&["SET", "customer:7", "{}", "KEEPTTL"]);
    let (code, told) = story("customer:7", &["--show-value"]);
    assert_eq!(
        (code, &told["finding"], &told["held"]["value"]),
        (7, &"stale".into(), &"{}".into()),
        "{told}"
    );
    assert_eq!(told["expected"]["value"], Value::from(second));
    let (code, told) = story("nobodys:7", &[]);
    assert_eq!((code, &told["finding"]), (0, &"no_template".into()));
    let settings = bench.settings();
    let Ran { code, out, .. } = stoker(&["inspect", "-c", settings.to_str().unwrap(), "customer:7"], "");
    assert!(code == 7 && out.contains("finding   stale") && !out.contains("Bob@x.org"), "{out}");
    assert_eq!(instance.stop(), 0);
}

#[test]
fn wait_ends_when_the_group_is_warm_and_gives_up_in_time() {
    // The third partition is empty.
    let mut scene = Scene::new("verify_wait", 3);
    scene.draft.more = "[ready]\nlag = \"100ms\"".to_owned();
    scene.write(0..20, 1, 2);
    let bench = scene.draft.bench();
    let settings = bench.settings();
    let wait = |timeout: &str| -> (i32, Value) {
        let arguments =
            ["wait", "-c", settings.to_str().unwrap(), "--ready", "--timeout", timeout, "--output", "json"];
        let Ran { code, out, err } = stoker(&arguments, "");
        (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code}: {out} {err}")))
    };
    let (code, told) = wait("1s");
    assert_eq!(
        (code, &told["ready"], &told["cold"][0]["reason"]),
        (7, &false.into(), &"not_taken".into()),
        "{told}"
    );

    let instance = bench.start();
    let (code, told) = wait("60s");
    assert_eq!((code, &told["ready"], &told["partitions"]), (0, &true.into(), &3.into()), "{told}");
    assert_eq!(scene.missing(0..20, 1), 0, "warm is what it says");
    assert_eq!(instance.stop(), 0);
    scene.write(0..1, 2, 2);
    let (code, told) = wait("3s");
    let cold = &told["cold"][0];
    assert_eq!((code, &cold["reason"], &cold["lag"]), (7, &"behind".into(), &1.into()), "{told}");

    let mut nowhere = scene.draft.clone();
    nowhere.brokers = "127.0.0.1:1".to_owned();
    let nowhere = nowhere.bench();
    let settings = nowhere.settings();
    let arguments = ["wait", "-c", settings.to_str().unwrap(), "--ready", "--timeout", "1s"];
    assert_eq!(stoker(&arguments, "").code, 7);
    assert_eq!(stoker(&[&arguments[..], &["--fail-fast"]].concat(), "").code, 3);
}

#[test]
fn while_a_lane_owes_history_the_group_is_not_warm_and_its_keys_are_behind() {
    let scene = Scene::new("verify_owes", 2);
    scene.write(0..20, 1, 2);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..20, 1, &instance);
    scene.await_committed(2, &instance);
    assert_eq!(instance.stop(), 0);
    scene.redis.client().run::<()>(&["DEL", "verify_owes:2", "verify_owes:3"]);
    let settings = bench.settings();
    let wait = || -> (i32, Value) {
        let arguments =
            ["wait", "-c", settings.to_str().unwrap(), "--ready", "--timeout", "1s", "--output", "json"];
        let Ran { code, out, err } = stoker(&arguments, "");
        (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code}: {out} {err}")))
    };
    let end = scene.committed(2)[0].unwrap();
    let commit = |metadata| broker::commit(scene.brokers, scene.name, (scene.name, 0), end, metadata);

    commit("stoker/1 epoch=1 partitions=2 refill=a7.3");
    let (code, told) = wait();
    let cold = &told["cold"][0];
    assert_eq!((code, &cold["reason"], &cold["partition"]), (7, &"refills".into(), &0.into()), "{told}");
    let said = Said::by(&bench, &[]);
    assert_eq!(said.differences(), vec![("verify_owes:3", "missing")], "{}", said.summary);
    assert_eq!((said.count("behind"), &said.summary["behind_partitions"]), (1, &1.into()));

    commit("stoker/1 epoch=1 partitions=2");
    assert_eq!(wait().0, 0);
    let said = Said::by(&bench, &[]);
    assert_eq!(said.differences().len(), 2, "{}", said.summary);
}

#[test]
fn a_running_process_sees_what_somebody_else_does_to_what_it_applied_and_nothing_else() {
    let mut scene = Scene::new("verify_running", 2);
    scene.draft.more = "[verify]\nsample = \"100%\"".to_owned();
    let bench = scene.draft.bench();
    let instance = bench.start();
    // Hot keys and cold ones, under load.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| scene.write_until(0..20, 2, &stop));
        for round in 1..=10 {
            scene.write(100 * round..100 * round + 50, 1, 2);
        }
        instance.await_metric("stoker_verify_checked_total", "", 500.0);
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    assert_eq!(instance.metric("stoker_verify_differences_total", "",), 0.0, "{}", instance.story());

    scene.write(5_000..5_010, 1, 2);
    scene.await_applied(5_000..5_010, 1, &instance);
    let mut client = scene.redis.client();
    client.run::<()>(&["DEL", "verify_running:5001"]);
    client.run::<()>(&["SET", "verify_running:5002", "{}", "KEEPTTL"]);
    instance.await_metric("stoker_verify_differences_total", "kind=\"missing\"", 1.0);
    instance.await_metric("stoker_verify_differences_total", "kind=\"stale\"", 1.0);
    instance.await_log("Redis does not hold what was applied");
    assert_eq!(instance.metric("stoker_verify_differences_total", ""), 2.0);
    let status = || serde_json::from_str::<Value>(&instance.get("/status").1).unwrap();
    assert!(wait_for(LONG, || status()["verify"]["differences"] == 2), "{}", status());
    assert!(!instance.log().contains("verify_running:5001"), "counts only");
    assert_eq!(instance.stop(), 0);
}
