//! `stoker refill` on real parts: what is asked for comes back, and nothing else is touched.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::command::{Ran, stoker};
use crate::support::instance::Bench;
use crate::support::scene::{LONG, Scene, envelope, row};
use crate::support::wait_for;

/// Runs it to its end: the exit code and the report.
fn refill(bench: &Bench, more: &[&str]) -> (i32, Value) {
    let settings = bench.settings();
    let mut arguments = vec!["refill", "-c", settings.to_str().unwrap(), "--output", "json"];
    arguments.extend(more);
    let Ran { code, out, err } = stoker(&arguments, "");
    let report = out.lines().last().map(|line| serde_json::from_str(line).unwrap());
    (code, report.unwrap_or(Value::String(err)))
}

/// Begins one, and lets it go on.
fn begin(bench: &Bench, more: &[&str]) -> Child {
    let settings = bench.settings();
    Command::new(env!("CARGO_BIN_EXE_stoker"))
        .args(["refill", "-c", settings.to_str().unwrap()])
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn it_fills_what_is_absent_and_with_overwrite_puts_right_what_is_there() {
    let scene = Scene::new("refill_asked", 3);
    scene.write(0..300, 1, 3);
    scene.write(0..150, 2, 3);
    scene.topic.append(0, Some(r#"{"id":300}"#), Some(&envelope("c", "null", &row(300, 1), 900)));
    scene.topic.append(0, Some(r#"{"id":300}"#), Some(&envelope("d", &row(300, 1), "null", 901)));
    scene.topic.flush();
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..150, 2, &instance);
    scene.await_applied(150..300, 1, &instance);
    scene.await_committed(3, &instance);

    let mut client = scene.redis.client();
    let key = |id: usize| format!("{}:{id}", scene.name);
    scene.forget(0..100);
    let tampered = row(200, 9);
    client.run::<()>(&["SET", &key(200), &tampered]);
    client.run::<()>(&["SET", &key(300), &tampered]);

    let (code, report) = refill(&bench, &[]);
    assert_eq!((code, &report["result"]), (0, &"done".into()), "{report}\n{}", instance.story());
    assert_eq!((report["partitions_done"].as_u64(), report["covered"].as_f64()), (Some(3), Some(1.0)));
    assert_eq!((scene.missing(0..150, 2), scene.missing(150..200, 1)), (0, 0), "{report}");
    assert_eq!(client.run::<String>(&["GET", &key(200)]), tampered, "it was there");
    assert_eq!(client.run::<String>(&["GET", &key(300)]), tampered, "nothing is deleted");

    let (code, report) = refill(&bench, &["--overwrite", "--since", "1h"]);
    assert_eq!((code, &report["result"]), (0, &"done".into()), "{report}");
    assert_eq!(scene.missing(150..300, 1), 0, "{report}\n{}", instance.story());
    assert!(!client.run::<bool>(&["EXISTS", &key(300)]), "its row was deleted");
    assert_eq!(
        client.run::<i64>(&["EXISTS", &format!("stoker:{}:refill", scene.name)]),
        0,
        "the request is gone"
    );
    assert_eq!(instance.stop(), 0);
}

#[test]
fn its_options_bound_it() {
    let scene = Scene::new("refill_bounded", 2);
    scene.write(0..400, 1, 2);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..400, 1, &instance);
    scene.forget(0..400);

    let (code, report) = refill(&bench, &["--max-keys", "20"]);
    assert_eq!((code, report["result"].as_str()), (0, Some("keys_max")), "{report}");
    assert_eq!(
        (report["keys_written"].as_u64(), scene.missing(380..400, 1)),
        (Some(20), 0),
        "the newest ones"
    );
    assert_eq!(scene.missing(0..380, 1), 380);

    let (code, said) = refill(&bench, &["--entity", "nobody"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.as_str().unwrap().contains("\"nobody\" is none of the settings' entities (t)"), "{said}");
    let (code, report) = refill(&bench, &["--entity", "t", "--memory-budget", "90%"]);
    assert_eq!((code, scene.missing(0..400, 1)), (0, 0), "{report}");
}

#[test]
fn only_one_is_under_way_and_it_can_be_followed_and_taken_back() {
    let scene = Scene::new("refill_one", 1);
    scene.write(0..500, 1, 1);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..500, 1, &instance);
    scene.forget(0..500);

    let mut slow = begin(&bench, &["--rate", "10"]);
    assert!(wait_for(LONG, || scene.missing(0..500, 1) < 500), "{}", instance.story());
    let (code, said) = refill(&bench, &[]);
    assert!(code == 7 && said.as_str().unwrap().contains("under way already"), "{code} {said}");
    let mut following = begin(&bench, &["--follow"]);
    let (code, _) = refill(&bench, &["--cancel"]);
    assert_eq!(code, 0);
    assert_eq!(slow.wait().unwrap().code(), Some(7), "its request is gone");
    assert_eq!(following.wait().unwrap().code(), Some(7));
    assert!(scene.missing(0..500, 1) > 100, "it was slow, and has ended");
    let (code, said) = refill(&bench, &["--cancel"]);
    assert!(code == 7 && said.as_str().unwrap().contains("none is under way"), "{said}");
    instance.await_ready();
}

#[test]
fn without_a_member_it_joins_the_group_itself() {
    let scene = Scene::new("refill_alone", 2);
    scene.write(0..200, 1, 2);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..200, 1, &instance);
    scene.await_committed(2, &instance);
    assert_eq!(instance.stop(), 0);
    scene.forget(0..200);
    let (code, report) = refill(&bench, &[]);
    assert_eq!((code, &report["result"]), (0, &"done".into()), "{report}");
    assert_eq!(scene.missing(0..200, 1), 0, "{report}");
}

/// kill -9 in the middle, and its partitions move to another member, which goes on.
#[test]
fn a_member_that_dies_in_the_middle_is_followed_by_another() {
    let scene = Scene::new("refill_killed", 2);
    scene.write(0..600, 1, 2);
    let bench = scene.draft.bench();
    let instance = bench.start();
    scene.await_applied(0..600, 1, &instance);
    scene.await_committed(2, &instance);
    scene.forget(0..600);
    let mut asked = begin(&bench, &["--rate", "100"]);
    assert!(wait_for(LONG, || scene.missing(0..600, 1) < 500), "{}", instance.story());
    let other = bench.start();
    assert!(scene.missing(0..600, 1) > 0, "it is under way");
    instance.kill();
    let ended = asked.wait().unwrap().code();
    assert_eq!((ended, scene.missing(0..600, 1)), (Some(0), 0), "{}", other.story());
    other.await_ready();
}

/// Rows, the popular ones much oftener: every row is one of the first `1 / 2^n` in one of `n` draws.
fn popular(rng: &mut u64, rows: usize) -> usize {
    let mut draw = || {
        *rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*rng >> 33) as usize
    };
    let below = rows >> (draw() % 10);
    draw() % below.max(1)
}

/// FLUSHALL under load, with live changes and deletes going on. From then on no reader may see a value that is older
/// than what was applied before, and no row that was deleted before; in the end the cache is the fold of the topic.
#[test]
fn after_flushall_under_load_nothing_old_and_nothing_deleted_ever_shows() {
    const ROWS: usize = 2_000;
    const PARTITIONS: usize = 4;
    let scene = Scene::new("refill_load", PARTITIONS as i32);
    let partition = |id: usize| (id % PARTITIONS) as i32;
    // The version of each row; none where it is deleted.
    let mut now: Vec<Option<usize>> = vec![None; ROWS];
    let (mut rng, mut version) = (7_u64, 0_usize);
    let mut change = |now: &mut Vec<Option<usize>>, count: usize| {
        for _ in 0..count {
            version += 1;
            let id = popular(&mut rng, ROWS);
            let deletes = now[id].is_some() && version.is_multiple_of(10);
            if deletes {
                let key = format!(r#"{{"id":{id}}}"#);
                scene.topic.append(partition(id), Some(&key), Some(&envelope("d", "null", "null", version)));
                scene.topic.append(partition(id), Some(&key), None);
            } else {
                scene.append(partition(id), id, version);
            }
            now[id] = (!deletes).then_some(version);
        }
        scene.topic.flush();
    };
    let mut client = scene.redis.client();
    let keys: Vec<String> = (0..ROWS).map(|id| format!("{}:{id}", scene.name)).collect();
    let read = |client: &mut crate::support::redis::Client| -> Vec<Option<usize>> {
        let mut mget = vec!["MGET"];
        mget.extend(keys.iter().map(String::as_str));
        let held: Vec<Option<String>> = client.run(&mget);
        let version = |json: String| -> usize {
            let row: Value = serde_json::from_str(&json).unwrap();
            row["version"].as_u64().unwrap() as usize
        };
        held.into_iter().map(|json| json.map(version)).collect()
    };

    change(&mut now, 30_000);
    let bench = scene.draft.bench();
    let instance = bench.start();
    assert!(wait_for(LONG, || read(&mut client) == now), "{}", instance.story());
    scene.await_committed(PARTITIONS as i32, &instance);

    let before = now.clone();
    client.run::<()>(&["FLUSHALL"]);
    let (mut looks, mut whole) = (0, false);
    for round in 0..10_000 {
        if round < 20 {
            change(&mut now, 200);
        }
        let held = read(&mut client);
        looks += 1;
        for (id, held) in held.iter().enumerate() {
            match (held, before[id]) {
                (Some(held), Some(least)) => {
                    assert!(*held >= least, "row {id}: {held}, and {least} was there before")
                }
                (Some(held), None) => assert!(*held > 30_000, "row {id} was deleted, and {held} came back"),
                (None, _) => {}
            }
        }
        whole = round >= 20 && held == now;
        if whole {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(whole, "after {looks} looks it is not whole:\n{}", instance.story());
    assert!(instance.log().contains("history is refilled"), "{}", instance.story());
    assert_eq!(instance.stop(), 0);
}
