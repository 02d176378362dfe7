//! The guard by choice, in a running process: what it refuses is told, and there are two ways on.

use serde_json::Value;

use crate::support::instance::Instance;
use crate::support::scene::{Draft, LONG, Scene, envelope, event, record_key};
use crate::support::topic::Topic;
use crate::support::wait_for;

/// Over a window of the alarm.
const ROWS: usize = 1_200;

/// The scene's settings, for another group that follows that topic into the same keys.
fn follow(scene: &Scene, topic: &str, group: &str, guard: &str) -> Draft {
    let name = scene.name;
    let entities = format!(
        "[[entity]]\nname = \"t\"\ntopics = [\"{topic}\"]\nguard = {guard}\n  [[entity.write]]\n  \
         key = \"{name}:{{id}}\"\n  value = \"json\"\n  ttl = \"1h\"\n"
    );
    Draft { group: format!("{name}-{group}"), entities, ..scene.draft.clone() }
}

fn alarms(instance: &Instance) -> Vec<Value> {
    let status: Value = serde_json::from_str(&instance.get("/status").1).unwrap();
    status["alarms"].as_array().unwrap().clone()
}

#[test]
fn positions_that_start_again_are_alarmed_of_and_a_rewrite_or_an_epoch_lets_them_in() {
    const BY_SOURCE: &str = "{ by = \"source\" }";
    let scene = Scene::new("guard-restored", 1);
    scene.write(0..ROWS, 50, 1);
    let instance = follow(&scene, scene.name, "before", BY_SOURCE).bench().start();
    scene.await_applied(0..ROWS, 50, &instance);
    assert_eq!(alarms(&instance), Vec::<Value>::new());
    assert_eq!(instance.stop(), 0);

    // The database is restored: a new connector, a new topic, and positions below those that are remembered.
    let restored = Topic::create(scene.brokers, "guard-restored-anew", 1);
    for id in 0..ROWS {
        restored.append(0, Some(&record_key(id)), Some(&event(id, 3)));
    }
    restored.append(0, Some(&record_key(7)), Some(&envelope("d", "{\"id\":7}", "null", 4)));
    restored.flush();
    let instance = follow(&scene, "guard-restored-anew", "refused", BY_SOURCE).bench().start();
    instance.await_metric("stoker_rejected_mutations_total", "entity=\"t\"", ROWS as f64);
    assert!(wait_for(LONG, || !alarms(&instance).is_empty()), "no alarm:\n{}", instance.story());
    let alarm = alarms(&instance).remove(0);
    assert_eq!(alarm["alarm"], "guard_rejects_nearly_all");
    assert!(alarm["hint"].as_str().unwrap().contains("guard.epoch"), "{alarm}");
    instance.await_log("the version guard refuses nearly all");
    instance.await_metric("stoker_guard_rejected_ratio", "entity=\"t\"", 0.95);
    instance.await_ready();
    assert_eq!(scene.missing(0..ROWS, 50), 0, "nothing older replaced anything");
    assert_eq!(instance.stop(), 0);

    // A rewrite takes what it reads, and is left in two parts under one name.
    let rewrite = follow(&scene, "guard-restored-anew", "rewrite", BY_SOURCE).bench();
    let instance = rewrite.start_with(&["--force=restore"]);
    scene.await_applied(0..7, 3, &instance);
    scene.await_applied(8..ROWS, 3, &instance);
    assert!(!scene.redis.client().run::<bool>(&["EXISTS", "guard-restored:7"]), "deletes too");
    instance.await_log("guarded keys are rewritten");
    assert_eq!(alarms(&instance), Vec::<Value>::new());
    assert_eq!(instance.stop(), 0);
    restored.append(0, Some(&record_key(1)), Some(&event(1, 2)));
    restored.append(0, Some(&record_key(2)), Some(&event(2, 5)));
    restored.flush();
    let instance = rewrite.start_with(&["--force=restore"]);
    scene.await_applied(2..3, 5, &instance);
    scene.await_applied(1..2, 3, &instance);
    assert_eq!(instance.stop(), 0);

    // A newer epoch is newer than all of it.
    let instance =
        follow(&scene, "guard-restored-anew", "epoch", "{ by = \"offset\", epoch = 1 }").bench().start();
    scene.await_applied(1..2, 2, &instance);
    scene.await_applied(2..3, 5, &instance);
    assert_eq!(instance.stop(), 0);
}
