//! A Redis Cluster of three masters, each with a replica that can be made to lag, and to take over.

use std::time::Duration;

use super::redis::{Client, RedisCluster, RedisServer};
use super::wait_for;

const WITHIN: Duration = Duration::from_secs(30);

/// The cluster. A master goes by its number; its replica has the same one, and they change places.
pub(crate) struct Replicated {
    pub(crate) cluster: RedisCluster,
    replicas: Vec<RedisServer>,
}

impl Replicated {
    /// Starts one, every replica in step with its master.
    pub(crate) fn start() -> Replicated {
        let cluster = RedisCluster::start();
        let replicas = cluster.masters.iter().map(|master| cluster.add_replica(master)).collect();
        Replicated { cluster, replicas }
    }

    /// The master of that number.
    pub(crate) fn master(&mut self, number: usize) -> &mut RedisServer {
        &mut self.cluster.masters[number]
    }

    /// Its replica; after [`Replicated::promote`] the one that it has taken over from.
    pub(crate) fn replica(&mut self, number: usize) -> &mut RedisServer {
        &mut self.replicas[number]
    }

    /// A client of each master.
    pub(crate) fn clients(&self) -> Vec<Client> {
        self.cluster.clients()
    }

    /// Breaks a replica's link to its master for good. What is written from then on it lacks.
    pub(crate) fn cut(&mut self, number: usize) {
        let mut replica = self.replicas[number].client();
        // The master has no password, and turns away who says one.
        replica.run::<()>(&["CONFIG", "SET", "masterauth", "nobody knows"]);
        self.master(number).client().run::<i64>(&["CLIENT", "KILL", "TYPE", "replica"]);
        let cut = wait_for(WITHIN, || {
            let state: String = replica.run(&["INFO", "replication"]);
            state.contains("master_link_status:down")
        });
        assert!(cut, "the replica has lost its master");
    }

    /// The master forgets its replica: it will not learn for a minute that this has taken over, and goes on as before.
    pub(crate) fn blind(&mut self, number: usize) {
        let id: String = self.replicas[number].client().run(&["CLUSTER", "MYID"]);
        self.master(number).client().run::<()>(&["CLUSTER", "FORGET", &id]);
    }

    /// Tells a master that was blind who has taken over from it.
    pub(crate) fn tell(&mut self, number: usize) {
        let port = self.master(number).port;
        let nodes: String = self.master(number).client().run(&["CLUSTER", "NODES"]);
        let bus = nodes.lines().find(|line| line.contains("myself")).unwrap().split_once('@').unwrap().1;
        let bus = bus.split([' ', ',']).next().unwrap();
        let mut former = self.replicas[number].client();
        former.run::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), bus]);
        assert!(wait_for(WITHIN, || !is_master(&mut former)), "it has learned of the other one");
    }

    /// The replica takes its master's slots over, without anybody's leave.
    pub(crate) fn promote(&mut self, number: usize) {
        let mut client = self.replicas[number].client();
        let promoted = wait_for(WITHIN, || {
            let _ = client.try_run::<()>(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
            is_master(&mut client)
        });
        assert!(promoted, "the replica takes over");
        self.swap(number);
    }

    /// Lets the two change places in here: which of them is looked at as the master.
    pub(crate) fn swap(&mut self, number: usize) {
        std::mem::swap(&mut self.cluster.masters[number], &mut self.replicas[number]);
    }
}

fn is_master(client: &mut Client) -> bool {
    let state: String = client.run(&["INFO", "replication"]);
    state.contains("role:master")
}
