//! One step of deleting what the keys of a truncated table may be: a look at about a thousand keys of one master.
//!
//! Goes over the lane's own connections, so that the fence holds back what is late. What was looked at is
//! forgotten, and the scan begun anew, where its cursor means nothing any more: under another slot map, and in
//! another server process. Start at [`RedisSink::purge_step`].

use std::collections::BTreeMap;
use std::rc::Rc;

use redis::{Cmd, Value as Reply};

use super::RedisSink;
use super::apply::is_entered;
use super::classify::Fault;
use super::cluster::SlotMap;
use super::command::{bytes_of, checked, checked_world};
use super::commands::Commands;
use super::connect::Link;
use super::lane::Lane;
use super::scripts::PURGE;
use crate::batch::{Purge, Purged};
use crate::entity::parse_back::literal_prefixes;
use crate::error::{ServerCode, WorldError};
use crate::sink::own::TOMBSTONE_MS;

/// Keys that one step looks at: under a millisecond of the server's time.
const SCAN_KEYS: usize = 1_000;

/// How far a purge has come.
#[derive(Debug)]
pub(super) struct Scan {
    number: u64,
    map: Rc<SlotMap>,
    /// What is left to scan, the place at hand last.
    left: Vec<Place>,
    /// Where the scan of that place goes on, and the server process that gave the cursor.
    cursor: Vec<u8>,
    run_id: Option<String>,
}

/// One prefix on one master.
#[derive(Debug, Clone)]
struct Place {
    node: String,
    pattern: Vec<u8>,
}

impl Scan {
    fn new(purge: &Purge, map: Rc<SlotMap>) -> Scan {
        let prefixes = literal_prefixes(&purge.templates);
        let on = |node: &str| -> Vec<Place> {
            let place = |prefix: &&str| Place { node: node.to_owned(), pattern: glob_of(prefix) };
            prefixes.iter().map(place).collect()
        };
        let left = map.masters().flat_map(on).collect();
        Scan { number: purge.number, map, left, cursor: b"0".to_vec(), run_id: None }
    }
}

/// The pattern of all keys with that prefix: <https://redis.io/docs/latest/commands/keys/>.
fn glob_of(prefix: &str) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for byte in prefix.bytes() {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    pattern.push(b'*');
    pattern
}

impl RedisSink {
    /// Takes the next step of a purge; see [`crate::sink::Sink::purge`].
    pub(super) async fn purge_step(&self, lane: &Lane, purge: &Purge) -> Result<Purged, WorldError> {
        self.refresh_if_stale().await?;
        let map = self.map();
        let former = lane.scan.borrow_mut().take();
        let goes_on = |scan: &Scan| scan.number == purge.number && Rc::ptr_eq(&scan.map, &map);
        let scan = former.filter(goes_on).unwrap_or_else(|| Scan::new(purge, Rc::clone(&map)));
        let place = scan.left.last().cloned();
        let Some(place) = place else {
            return Err(WorldError::NotNow { code: ServerCode::ClusterDown });
        };
        let (cursor, run_id) = (scan.cursor.clone(), scan.run_id.clone());
        *lane.scan.borrow_mut() = Some(scan);

        let link = self.link(&place.node).await?;
        if !is_entered(lane, &place.node, &link) {
            self.enter_lane(lane, &BTreeMap::from([(place.node.clone(), Rc::clone(&link))])).await?;
        }
        if run_id.is_some_and(|run_id| run_id != link.peer.run_id) {
            *lane.scan.borrow_mut() = None;
            return Ok(Purged { deleted: 0, done: false });
        }
        let (next, keys) = self.scan_some(lane, &link, &place, &cursor).await?;
        let deleted = self.purge_keys(lane, &link, &place, purge, &keys).await?;

        let mut scan = lane.scan.borrow_mut();
        let Some(scan) = scan.as_mut() else { return Ok(Purged { deleted, done: false }) };
        scan.run_id = Some(link.peer.run_id.clone());
        if next == b"0" {
            scan.left.pop();
            scan.run_id = None;
        }
        scan.cursor = next;
        Ok(Purged { deleted, done: scan.left.is_empty() })
    }

    /// Where the scan goes on, and keys.
    async fn scan_some(
        &self,
        lane: &Lane,
        link: &Rc<Link>,
        place: &Place,
        cursor: &[u8],
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>), WorldError> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&*place.pattern).arg("COUNT").arg(SCAN_KEYS);
        let replies = self.send_for_lane(lane, link, Commands::one(&scan).into()).await?.replies;
        let reply = replies.first().ok_or(WorldError::Protocol)?;
        let told = checked_world(reply).inspect_err(|error| self.noticed(error))?;
        let Reply::Array(parts) = told else { return Err(WorldError::Protocol) };
        let [next, Reply::Array(keys)] = parts.as_slice() else { return Err(WorldError::Protocol) };
        let next = bytes_of(next).ok_or(WorldError::Protocol)?.to_vec();
        let keys = keys.iter().map(|key| bytes_of(key).map(<[u8]>::to_vec).ok_or(WorldError::Protocol));
        Ok((next, keys.collect::<Result<_, _>>()?))
    }

    /// Deletes those of the keys that the entity's templates can give. How many there were.
    async fn purge_keys(
        &self,
        lane: &Lane,
        link: &Rc<Link>,
        place: &Place,
        purge: &Purge,
        keys: &[Vec<u8>],
    ) -> Result<u64, WorldError> {
        let sealed_at_ms = purge.sealed_at_ms.saturating_add(self.node(&place.node).clock_offset_ms());
        let given = |key: &[u8]| purge.templates.iter().any(|template| template.may_give(key));
        let mut commands = Commands::default();
        for key in keys.iter().filter(|key| given(key) && !self.own.is_own(key)) {
            commands.add(&self.purge_key(key, purge, sealed_at_ms));
        }
        if commands.is_empty() {
            return Ok(0);
        }
        let mut deleted = 0_u64;
        let mut failed = None;
        for reply in self.send_for_lane(lane, link, commands.into()).await?.replies {
            match checked(&reply) {
                Ok(Reply::Int(count)) => deleted = deleted.saturating_add(u64::try_from(*count).unwrap_or(0)),
                Ok(_) => failed = Some(WorldError::Protocol),
                // One key that cannot be deleted must not hold the lane for ever.
                Err(Fault::Refused(_)) => {}
                Err(Fault::Moved { slot, node }) => failed = Some(self.moved(slot, &node, &place.node)),
                Err(Fault::Ask { .. }) => failed = Some(WorldError::Redirected),
                Err(Fault::World(error)) => {
                    self.noticed(&error);
                    failed = Some(error);
                }
            }
        }
        match failed {
            None => Ok(deleted),
            Some(error) => {
                if error == WorldError::NoScript {
                    self.load_scripts(link).await?;
                }
                Err(error)
            }
        }
    }

    fn purge_key(&self, key: &[u8], purge: &Purge, sealed_at_ms: i64) -> Cmd {
        let mut cmd = PURGE.call(&[key, &self.own.side(key)]);
        cmd.arg(purge.version.as_bytes()).arg(sealed_at_ms.saturating_add(TOMBSTONE_MS));
        cmd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_by_its_letters() {
        assert_eq!(glob_of("a*b?[c]\\:"), b"a\\*b\\?\\[c\\]\\\\:*");
    }
}
