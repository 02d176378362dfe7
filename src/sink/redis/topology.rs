//! Which nodes there are, and the connections to them.
//!
//! The map is read anew where something said that it is out of date; a connection that broke is fenced before a
//! new one is used. Which slots go where is [`super::cluster`]'s.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::join_all;
use redis::Value as Reply;

use super::RedisSink;
use super::cluster::{SlotMap, resolve};
use super::command::checked_world;
use super::commands::Commands;
use super::connect::{Link, Node};
use super::scripts;
use crate::error::{ServerCode, WorldError};
use crate::settings::{RedisAddress, RedisSettings, RedisTarget};
use crate::sink::own::OwnerRecord;

impl RedisSink {
    /// The slot map in use.
    pub(super) fn map(&self) -> Rc<SlotMap> {
        Rc::clone(&self.map.borrow())
    }

    /// A node by its address; made where it is not known yet.
    pub(super) fn node(&self, address: &str) -> Rc<Node> {
        let mut nodes = self.nodes.borrow_mut();
        let node = nodes.entry(address.to_owned()).or_insert_with(|| Rc::new(Node::new(address)));
        Rc::clone(node)
    }

    /// Connections to these nodes, all at once; each lost one was fenced.
    pub(super) async fn links(
        &self,
        addresses: impl IntoIterator<Item = &str>,
    ) -> BTreeMap<String, Result<Rc<Link>, WorldError>> {
        let connecting = addresses.into_iter().map(|address| async move {
            let link = self.link(address).await;
            (address.to_owned(), link)
        });
        join_all(connecting).await.into_iter().collect()
    }

    /// The connection to a node.
    pub(super) async fn link(&self, address: &str) -> Result<Rc<Link>, WorldError> {
        let link = self.node(address).link(&self.connector).await;
        if let Err(error) = &link {
            self.noticed(error);
        }
        link
    }

    /// Kills every connection that a former owner's record names, at its server. At a node that cannot be
    /// asked now it is killed before anything is sent there.
    pub(super) async fn fence(&self, record: &OwnerRecord) {
        let peers: Vec<_> = record.entries.values().filter_map(|entry| entry.peer.clone()).collect();
        if peers.is_empty() {
            return;
        }
        let nodes: Vec<Rc<Node>> = self.map().masters().map(|address| self.node(address)).collect();
        for node in nodes {
            node.fence(&peers).await;
        }
    }

    /// Takes in what an error says about the map.
    pub(super) fn noticed(&self, error: &WorldError) {
        if matches!(self.settings.target, RedisTarget::Single { .. }) {
            return;
        }
        let stale = match error {
            WorldError::Unreachable { .. } | WorldError::Redirected => true,
            WorldError::NotNow { code } => {
                matches!(code, ServerCode::ClusterDown | ServerCode::ReadOnly | ServerCode::MasterDown)
            }
            WorldError::Timeout
            | WorldError::Disconnected
            | WorldError::NoScript
            | WorldError::Protocol
            | WorldError::NotOwner
            | WorldError::Registry { .. } => false,
        };
        if stale {
            self.stale.set(true);
        }
    }

    /// Takes in a `MOVED` that `asked` answered. Returns the error that this is: where the settings name one
    /// server and it is part of a cluster, nowhere to go but to wait for other settings.
    pub(super) fn moved(&self, slot: u16, address: &str, asked: &str) -> WorldError {
        if matches!(self.settings.target, RedisTarget::Single { .. }) {
            return WorldError::NotNow { code: ServerCode::ClusterDown };
        }
        let address = resolve(address, asked);
        let mut map = (*self.map()).clone();
        map.assign(slot, &address);
        *self.map.borrow_mut() = Rc::new(map);
        *self.moved_to.borrow_mut() = Some(address);
        self.stale.set(true);
        WorldError::Redirected
    }

    /// Reads the map anew, if something said that it is out of date.
    pub(super) async fn refresh_if_stale(&self) -> Result<(), WorldError> {
        if !self.stale.get() {
            return Ok(());
        }
        let _gate = self.refreshing.lock().await;
        if !self.stale.get() {
            return Ok(());
        }
        let mut failed = WorldError::NotNow { code: ServerCode::ClusterDown };
        for address in self.who_may_know() {
            match self.read_map(&address).await {
                Ok(map) => {
                    self.take_map(map);
                    return Ok(());
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Nodes to ask for the map: who a slot moved to, the masters, the nodes of the settings.
    fn who_may_know(&self) -> Vec<String> {
        let mut addresses: Vec<String> = self.moved_to.borrow_mut().take().into_iter().collect();
        addresses.extend(self.map().masters().map(str::to_owned));
        if let RedisTarget::Cluster(seeds) = &self.settings.target {
            addresses.extend(seeds.iter().cloned());
        }
        let mut seen = std::collections::BTreeSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        addresses
    }

    async fn read_map(&self, address: &str) -> Result<SlotMap, WorldError> {
        let link = self.node(address).link(&self.connector).await?;
        let replies = link.send(Commands::one(redis::cmd("CLUSTER").arg("SLOTS"))).await?;
        let reply = replies.first().ok_or(WorldError::Protocol)?;
        let map = SlotMap::parse(checked_world(reply)?, address).ok_or(WorldError::Protocol)?;
        if map.masters().next().is_none() {
            return Err(WorldError::NotNow { code: ServerCode::ClusterDown });
        }
        Ok(map)
    }

    fn take_map(&self, map: SlotMap) {
        self.stale.set(false);
        if *self.map() == map {
            return;
        }
        let keep: std::collections::BTreeSet<String> = map.masters().map(str::to_owned).collect();
        *self.map.borrow_mut() = Rc::new(map);
        // A connection to a node that serves nothing any more needs no fence: whatever still lands there is
        // refused, or lost with a master that has been replaced.
        self.nodes.borrow_mut().retain(|address, _| keep.contains(address));
    }

    /// Sends one command; scripts that the server has lost are loaded and the command sent again.
    pub(super) async fn call(&self, link: &Link, cmd: redis::Cmd) -> Result<Reply, WorldError> {
        let mut reply = first(link.send(Commands::one(&cmd)).await?)?;
        if matches!(checked_world(&reply), Err(WorldError::NoScript)) {
            self.load_scripts(link).await?;
            reply = first(link.send(Commands::one(&cmd)).await?)?;
        }
        match checked_world(&reply) {
            Ok(_) => Ok(reply),
            Err(error) => {
                self.noticed(&error);
                Err(error)
            }
        }
    }

    pub(super) async fn load_scripts(&self, link: &Link) -> Result<(), WorldError> {
        let mut commands = Commands::default();
        scripts::load_all(&mut commands);
        for reply in link.send(commands).await? {
            checked_world(&reply)?;
        }
        Ok(())
    }
}

fn first(replies: Vec<Reply>) -> Result<Reply, WorldError> {
    replies.into_iter().next().ok_or(WorldError::Protocol)
}

/// The map before anything was asked: one server has all slots, of a cluster nothing is known.
pub(super) fn first_map(settings: &RedisSettings) -> SlotMap {
    match &settings.target {
        RedisTarget::Single { address: RedisAddress::Tcp(host, port), .. } => {
            SlotMap::single(&format!("{host}:{port}"))
        }
        RedisTarget::Single { address: RedisAddress::Unix(path), .. } => {
            SlotMap::single(&format!("unix:{}", path.display()))
        }
        RedisTarget::Cluster(_) => SlotMap::empty(),
    }
}
