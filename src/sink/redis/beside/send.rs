//! One command a key to where its slot is served, with every reply looked at.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::join_all;
use redis::Value as Reply;

use super::super::RedisSink;
use super::super::classify::Fault;
use super::super::cluster::resolve;
use super::super::command::checked;
use super::super::commands::Commands;
use super::super::connect::Link;
use super::scripts;
use crate::batch::Refusal;
use crate::error::{ServerCode, WorldError};
use crate::sink::slots::slot_of;

/// Adds the command of the key at an index, by a server whose clock is so many milliseconds ahead of ours.
type Build<'b> = dyn Fn(usize, i64, &mut Commands) + 'b;

impl RedisSink {
    /// Sends one command a key to where its slot is served: one pipeline a master. An answer is the reply, or what its
    /// error means, with the server's clock less ours. `build` gets the index and that offset, and adds one command;
    /// where it adds none, that counts as refused.
    pub(super) async fn each_key(
        &self,
        keys: &[&[u8]],
        build: &Build<'_>,
    ) -> Vec<(Result<Reply, Fault>, i64)> {
        let mut answers: Vec<(Result<Reply, Fault>, i64)> =
            keys.iter().map(|_| (Err(Fault::Refused(Refusal::Command)), 0)).collect();
        if let Err(error) = self.refresh_if_stale().await {
            answers.iter_mut().for_each(|answer| answer.0 = Err(Fault::World(error.clone())));
            return answers;
        }
        let map = self.map();
        let mut parts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, key) in keys.iter().enumerate() {
            match map.master_of(slot_of(key)) {
                Some(master) => parts.entry(master).or_default().push(index),
                None => {
                    let error = WorldError::NotNow { code: ServerCode::ClusterDown };
                    self.noticed(&error);
                    set(&mut answers, index, Err(Fault::World(error)), 0);
                }
            }
        }
        let sending = parts.into_iter().map(|(address, indices)| async move {
            let offset_ms = |sink: &RedisSink| sink.node(address).clock_offset_ms();
            match self.link(address).await {
                Ok(link) => {
                    let offset_ms = offset_ms(self);
                    let replies = self.send_keys(address, &link, &indices, offset_ms, build).await;
                    (indices, replies, offset_ms)
                }
                Err(error) => {
                    let failed = indices.iter().map(|_| Err(Fault::World(error.clone()))).collect();
                    (indices, failed, 0)
                }
            }
        });
        for (indices, replies, offset_ms) in join_all(sending).await {
            for (index, reply) in indices.into_iter().zip(replies) {
                set(&mut answers, index, reply, offset_ms);
            }
        }
        answers
    }

    async fn send_keys(
        &self,
        address: &str,
        link: &Rc<Link>,
        indices: &[usize],
        offset_ms: i64,
        build: &Build<'_>,
    ) -> Vec<Result<Reply, Fault>> {
        let mut replies: Vec<Result<Reply, Fault>> =
            indices.iter().map(|_| Err(Fault::Refused(Refusal::Command))).collect();
        // Places that are open. Twice: what finds its script lost is sent again once they are loaded.
        let mut open: Vec<usize> = (0..indices.len()).collect();
        for attempt in 0..2 {
            let mut exchange = self.room();
            open.retain(|place| {
                let before = exchange.commands.len();
                indices.get(*place).inspect(|index| build(**index, offset_ms, &mut exchange.commands));
                exchange.commands.len() > before
            });
            if open.is_empty() {
                break;
            }
            let mut answered = match link.exchange(exchange).await {
                Ok(answered) => answered,
                Err(error) => {
                    self.noticed(&error);
                    for place in open {
                        put(&mut replies, place, Err(Fault::World(error.clone())));
                    }
                    return replies;
                }
            };
            let mut lost = Vec::new();
            for (place, reply) in open.into_iter().zip(answered.replies.drain(..)) {
                match checked(&reply).map(|_| ()) {
                    Ok(()) => put(&mut replies, place, Ok(reply)),
                    Err(Fault::World(WorldError::NoScript)) if attempt == 0 => lost.push(place),
                    Err(Fault::Ask { node }) => {
                        let mut asking = Commands::default();
                        asking.ask_next();
                        indices.get(place).inspect(|index| build(**index, offset_ms, &mut asking));
                        put(&mut replies, place, self.ask(&resolve(&node, address), asking).await);
                    }
                    Err(fault) => put(&mut replies, place, Err(self.taken_in(fault, address, link))),
                }
            }
            self.keep_room(answered);
            open = lost;
            if !open.is_empty()
                && let Err(error) = self.load_beside(link).await
            {
                for place in open {
                    put(&mut replies, place, Err(Fault::World(error.clone())));
                }
                break;
            }
        }
        replies
    }

    /// What an error says about the map and the connection.
    fn taken_in(&self, fault: Fault, address: &str, link: &Link) -> Fault {
        match fault {
            Fault::Moved { slot, node } => Fault::World(self.moved(slot, &node, address)),
            Fault::World(error) => {
                self.noticed(&error);
                if let WorldError::NotNow { code: ServerCode::ReadOnly | ServerCode::Auth } = error {
                    link.give_up();
                }
                Fault::World(error)
            }
            other => other,
        }
    }

    /// Sends one command to where its slot is going, behind its `ASKING`.
    async fn ask(&self, address: &str, asking: Commands) -> Result<Reply, Fault> {
        let link = self.link(address).await.map_err(Fault::World)?;
        self.load_beside(&link).await.map_err(Fault::World)?;
        let reply = link.send(asking).await.map_err(Fault::World)?.pop();
        let reply = reply.ok_or(Fault::World(WorldError::Protocol))?;
        checked(&reply).map(|_| ()).map(|()| reply.clone())
    }

    async fn load_beside(&self, link: &Link) -> Result<(), WorldError> {
        self.load_scripts(link).await?;
        let mut commands = Commands::default();
        for script in scripts::all() {
            commands.add(redis::cmd("SCRIPT").arg("LOAD").arg(script.source()));
        }
        for reply in link.send(commands).await? {
            checked(&reply).map_err(world)?;
        }
        Ok(())
    }
}

fn set(
    answers: &mut [(Result<Reply, Fault>, i64)],
    index: usize,
    reply: Result<Reply, Fault>,
    offset_ms: i64,
) {
    if let Some(answer) = answers.get_mut(index) {
        *answer = (reply, offset_ms);
    }
}

fn put(replies: &mut [Result<Reply, Fault>], place: usize, reply: Result<Reply, Fault>) {
    if let Some(slot) = replies.get_mut(place) {
        *slot = reply;
    }
}

/// What an error says of the world, where there is nothing to refuse.
pub(super) fn world(fault: Fault) -> WorldError {
    match fault {
        Fault::World(error) => error,
        Fault::Moved { .. } | Fault::Ask { .. } => WorldError::Redirected,
        Fault::Refused(_) => WorldError::Protocol,
    }
}
