//! Writes and deletes of a scene's rows, and what they come to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::redis::Client;
use super::scene::{Scene, envelope, record_key, row};

/// A load on a scene, and what it leaves.
pub(crate) struct Load<'s> {
    scene: &'s Scene,
    partitions: usize,
    /// The version of each row that is there.
    now: BTreeMap<usize, usize>,
    version: usize,
}

impl Load<'_> {
    pub(crate) fn new(scene: &Scene, partitions: usize) -> Load<'_> {
        Load { scene, partitions, now: BTreeMap::new(), version: 0 }
    }

    /// Writes a row at a version of its own.
    pub(crate) fn write(&mut self, id: usize) {
        self.version += 1;
        self.scene.append(self.partition(id), id, self.version);
        self.now.insert(id, self.version);
    }

    /// Deletes a row, as a connector does: the delete, then its tombstone.
    pub(crate) fn delete(&mut self, id: usize) {
        self.version += 1;
        let (partition, key) = (self.partition(id), record_key(id));
        let gone = envelope("d", "null", "null", self.version);
        self.scene.topic.append(partition, Some(&key), Some(&gone));
        self.scene.topic.append(partition, Some(&key), None);
        self.now.remove(&id);
    }

    /// Waits until the broker has all of it.
    pub(crate) fn flush(&self) {
        self.scene.topic.flush();
    }

    /// Writes and deletes rows of these numbers until `stop`.
    pub(crate) fn go_on(&mut self, rows: usize, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..20 {
                // Any row, by a multiplier that scatters them.
                let id = self.version.wrapping_mul(2_654_435_761) % rows;
                if self.version.is_multiple_of(4) { self.delete(id) } else { self.write(id) }
            }
            self.flush();
            // A pace that a debug build keeps up with.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Every row that must be cached, with its value.
    pub(crate) fn expected(&self) -> BTreeMap<usize, String> {
        self.now.iter().map(|(id, version)| (*id, row(*id, *version))).collect()
    }

    fn partition(&self, id: usize) -> i32 {
        i32::try_from(id % self.partitions).unwrap()
    }
}

/// The rows that these servers hold together.
pub(crate) fn held(clients: &mut [Client], name: &str) -> BTreeMap<usize, String> {
    let mut held = BTreeMap::new();
    for client in clients {
        let keys: Vec<String> = client.run(&["KEYS", &format!("{name}:*")]);
        if keys.is_empty() {
            continue;
        }
        let mut pipeline = redis::pipe();
        keys.iter().for_each(|key| {
            pipeline.cmd("GET").arg(key);
        });
        let values: Vec<Option<String>> = pipeline.query(&mut client.0).unwrap();
        for (key, value) in keys.iter().zip(values) {
            let id = key.rsplit_once(':').unwrap().1.parse().unwrap();
            held.extend(value.map(|value| (id, value)));
        }
    }
    held
}

/// Tells the load's threads to stop, also where the test fails before.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
