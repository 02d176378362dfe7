//! A refill after a topic was given more partitions: a key's history lies in two of them by then.

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::refill_ends::Refill;
use crate::support::broker;
use crate::support::instance::{Bench, Instance};
use crate::support::scene::{LONG, Scene, envelope, event, record_key, row};
use crate::support::wait_for;

/// Rows that change after the topic has grown.
const CHANGED: std::ops::Range<usize> = 0..40;
/// Rows that are deleted then.
const DELETED: std::ops::Range<usize> = 40..60;
/// Rows that stay as they are.
const KEPT: std::ops::Range<usize> = 60..80;

/// A producer that places records by their keys in that way, among the partitions that there are by now.
struct Placed {
    topic: &'static str,
    producer: BaseProducer,
}

impl Placed {
    fn by(partitioner: &str, scene: &Scene) -> Placed {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", scene.brokers).set("partitioner", partitioner).set("linger.ms", "0");
        Placed { topic: scene.name, producer: config.create().unwrap() }
    }

    fn send(&self, id: usize, value: Option<&str>) {
        let key = record_key(id);
        let record = BaseRecord::<str, str>::to(self.topic).key(&key);
        let record = if let Some(value) = value { record.payload(value) } else { record };
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    fn flush(&self) {
        self.producer.flush(LONG).unwrap();
    }
}

/// Rows are written while the topic has two partitions, and changed and deleted when it has four.
fn grown(scene: &mut Scene, partitioner: &str) -> (Bench, Instance) {
    scene.draft.properties.push_str("\n\"topic.metadata.refresh.interval.ms\" = \"500\"");
    let bench = scene.draft.bench();
    let instance = bench.start();
    let producer = Placed::by(partitioner, scene);
    (0..KEPT.end).for_each(|id| producer.send(id, Some(&event(id, 1))));
    producer.flush();
    // What the former partitions hold of keys that have moved lies far back in them, so that their refill comes to it
    // last. These records have no key, and so no place of their own.
    for partition in 0..2 {
        (0..12_000).for_each(|_| scene.topic.append(partition, None, None));
    }
    scene.topic.flush();
    scene.await_applied(0..KEPT.end, 1, &instance);
    scene.await_committed(2, &instance);

    broker::add_partitions(scene.brokers, scene.name, 4);
    let knows = wait_for(LONG, || broker::ends_of_all(scene.brokers, scene.name).len() == 4);
    assert!(knows, "the topic has four partitions");
    let producer = Placed::by(partitioner, scene);
    CHANGED.for_each(|id| producer.send(id, Some(&event(id, 2))));
    for id in DELETED {
        producer.send(id, Some(&envelope("d", &row(id, 1), "null", 2)));
        producer.send(id, None);
    }
    producer.flush();
    scene.await_applied(CHANGED, 2, &instance);
    scene.await_committed(4, &instance);
    let ends = broker::ends_of_all(scene.brokers, scene.name);
    assert!(ends[2] > 0 && ends[3] > 0, "the new partitions hold some: {ends:?}");
    (bench, instance)
}

fn existing(scene: &Scene, ids: std::ops::Range<usize>) -> usize {
    let mut client = scene.redis.client();
    ids.filter(|id| client.run::<bool>(&["EXISTS", &format!("{}:{id}", scene.name)])).count()
}

#[test]
fn brings_back_no_old_value_and_no_deleted_row_from_a_key_s_former_partition() {
    let mut scene = Scene::new("refill_grown", 2);
    let (bench, instance) = grown(&mut scene, "murmur2");
    let is_current = |report: &Value| {
        let wrong = (scene.missing(CHANGED, 2), existing(&scene, DELETED));
        assert_eq!(wrong, (0, 0), "changed rows, deleted rows: {report}\n{}", instance.story());
    };
    // Written where absent, with no deletes: whatever a former partition holds of a deleted row would come back.
    let report = Refill::begin(&bench, &[]).done(&instance);
    is_current(&report);
    assert!(report["records_moved"].as_u64() > Some(0), "{report}");
    let right = |report: &Value| {
        is_current(report);
        // A row that has moved and not changed since is a miss: nothing tells it from one that was deleted.
        let kept = KEPT.len() - scene.missing(KEPT, 1);
        assert!(kept > 0 && kept < KEPT.len(), "{kept}: {report}");
    };
    scene.redis.client().run::<()>(&["FLUSHALL"]);
    instance.await_metric("stoker_refills_total", "result=\"done\"", 8.0);
    right(&Value::Null);
    assert!(instance.metric("stoker_refill_moved_records_total", "") > 0.0, "{}", instance.story());

    scene.redis.client().run::<()>(&["SET", "refill_grown:40", "old", "EX", "3600"]);
    let report = Refill::begin(&bench, &["--overwrite"]).done(&instance);
    right(&report);
    assert!(report["records_moved"].as_u64() > Some(0), "{report}");
    assert!(!instance.log().contains("not placed by Kafka's own hash"), "{}", instance.story());
    assert_eq!(instance.stop(), 0);
}

/// Nothing is left out, so every row that was not changed comes back, whichever partition holds it.
fn leaves_nothing_out(scene: &mut Scene, partitioner: &str) -> Instance {
    let (bench, instance) = grown(scene, partitioner);
    scene.forget(KEPT);
    let report = Refill::begin(&bench, &[]).done(&instance);
    assert_eq!((scene.missing(KEPT, 1), report["records_moved"].as_u64()), (0, Some(0)), "{report}");
    instance
}

#[test]
fn leaves_nothing_out_where_producers_place_records_otherwise() {
    let instance = leaves_nothing_out(&mut Scene::new("refill_grown_crc", 2), "consistent");
    let mut told = Vec::new();
    for line in instance.lines().iter().filter(|line| line.to_string().contains("not placed by Kafka's own"))
    {
        told.push(line["partition"].as_i64().unwrap());
    }
    told.sort_unstable();
    let count = told.len();
    told.dedup();
    assert!(told.starts_with(&[0, 1]) && told.len() == count, "once each: {told:?}\n{}", instance.story());
}

#[test]
fn leaves_nothing_out_where_the_settings_say_so() {
    let mut scene = Scene::new("refill_grown_unknown", 2);
    scene.draft.kafka = "partitioner = \"unknown\"".to_owned();
    let instance = leaves_nothing_out(&mut scene, "murmur2");
    assert!(!instance.log().contains("not placed by"), "{}", instance.story());
}
