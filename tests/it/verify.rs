//! `stoker verify` on real parts: what was tampered with is found, and nothing else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::command::{Ran, stoker};
use crate::support::instance::Bench;
use crate::support::scene::{Scene, envelope, row};

/// What `verify` said: examples by key, and the summary.
struct Said {
    examples: BTreeMap<String, Value>,
    summary: Value,
}

impl Said {
    /// Runs it. It ends with 7 exactly where something differs.
    fn by(bench: &Bench, more: &[&str]) -> Said {
        let settings = bench.settings();
        let mut arguments = vec!["verify", "-c", settings.to_str().unwrap(), "--output", "json"];
        arguments.extend(more);
        let Ran { code, out, err } = stoker(&arguments, "");
        let mut lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary = lines.pop().unwrap_or_else(|| panic!("{code}: {err}"));
        let examples: BTreeMap<String, Value> =
            lines.into_iter().map(|line| (line["key"].as_str().unwrap().to_owned(), line)).collect();
        assert_eq!(code, if summary["differences"] == 0 { 0 } else { 7 }, "{summary}\n{err}");
        Said { examples, summary }
    }

    /// Key and difference of each example.
    fn differences(&self) -> Vec<(&str, &str)> {
        self.examples.iter().map(|(key, line)| (key.as_str(), line["difference"].as_str().unwrap())).collect()
    }

    /// A count of the one entity.
    fn count(&self, name: &str) -> u64 {
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
