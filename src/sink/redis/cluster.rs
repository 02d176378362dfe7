//! Who serves which slot: the map, and how it is read from a cluster. Plain data; asking is [`super::topology`]'s.
//!
//! A single server is a map in which one node serves every slot, so that the rest of the sink knows no difference.

use redis::Value as Reply;

use super::command::bytes_of;
use crate::sink::slots::SLOT_COUNT;

/// Slots to masters. Immutable: a refresh makes a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotMap {
    masters: Vec<String>,
    /// How many slots each of them serves.
    served: Vec<u16>,
    /// Per slot an index into `masters`; `None` where nobody serves it.
    owners: Vec<Option<u16>>,
}

impl SlotMap {
    /// No slot is served.
    pub(super) fn empty() -> SlotMap {
        SlotMap { masters: Vec::new(), served: Vec::new(), owners: vec![None; usize::from(SLOT_COUNT)] }
    }

    /// One server serves everything.
    pub(super) fn single(address: &str) -> SlotMap {
        SlotMap {
            masters: vec![address.to_owned()],
            served: vec![SLOT_COUNT],
            owners: vec![Some(0); usize::from(SLOT_COUNT)],
        }
    }

    /// The master that serves every slot; `None` where there are more, or some slots are served by nobody.
    pub(super) fn only_master(&self) -> Option<&str> {
        match (self.masters.as_slice(), self.served.as_slice()) {
            ([master], [SLOT_COUNT]) => Some(master),
            _ => None,
        }
    }

    /// Reads `CLUSTER SLOTS`, asked of the node at `asked`. `None` where the answer is none.
    ///
    /// Each row is `[first, last, [host, port, id, …], replica…]`; an empty host is the one that was asked:
    /// <https://redis.io/docs/latest/commands/cluster-slots/>.
    pub(super) fn parse(reply: &Reply, asked: &str) -> Option<SlotMap> {
        let Reply::Array(rows) = reply else { return None };
        let mut map = SlotMap::empty();
        for row in rows {
            let Reply::Array(row) = row else { return None };
            let [Reply::Int(first), Reply::Int(last), Reply::Array(master), ..] = row.as_slice() else {
                return None;
            };
            let (host, port) = match master.as_slice() {
                [host, Reply::Int(port), ..] => (bytes_of(host).unwrap_or_default(), port),
                _ => return None,
            };
            let address = resolve(&format!("{}:{port}", std::str::from_utf8(host).ok()?), asked);
            let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
            for slot in first..=last.min(SLOT_COUNT - 1) {
                map.assign(slot, &address);
            }
        }
        Some(map)
    }

    /// Says that a slot is served there, as a `MOVED` does.
    pub(super) fn assign(&mut self, slot: u16, address: &str) {
        let index = match self.masters.iter().position(|master| master == address) {
            Some(index) => index,
            None => {
                self.masters.push(address.to_owned());
                self.served.push(0);
                self.masters.len() - 1
            }
        };
        if let (Some(owner), Ok(new)) = (self.owners.get_mut(usize::from(slot)), u16::try_from(index)) {
            let former = owner.replace(new);
            if let Some(count) = former.and_then(|former| self.served.get_mut(usize::from(former))) {
                *count -= 1;
            }
            if let Some(count) = self.served.get_mut(index) {
                *count += 1;
            }
        }
    }

    /// Who serves a slot.
    pub(super) fn master_of(&self, slot: u16) -> Option<&str> {
        let index = (*self.owners.get(usize::from(slot))?)?;
        self.masters.get(usize::from(index)).map(String::as_str)
    }

    /// The masters that serve at least one slot.
    pub(super) fn masters(&self) -> impl Iterator<Item = &str> {
        let serving = self.masters.iter().zip(&self.served).filter(|(_, served)| **served > 0);
        serving.map(|(master, _)| master.as_str())
    }

    /// A slot of that master, the first one at or after `from`, round the end.
    pub(super) fn slot_of_master(&self, address: &str, from: u16) -> Option<u16> {
        (0..SLOT_COUNT)
            .map(|step| (from % SLOT_COUNT + step) % SLOT_COUNT)
            .find(|slot| self.master_of(*slot) == Some(address))
    }
}

/// An address whose host may be empty: then it is the host that was asked.
pub(super) fn resolve(address: &str, asked: &str) -> String {
    match (address.strip_prefix(':'), asked.rsplit_once(':')) {
        (Some(port), Some((host, _))) if !port.contains(':') => format!("{host}:{port}"),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(first: i64, last: i64, host: &str, port: i64) -> Reply {
        let node = vec![Reply::BulkString(host.into()), Reply::Int(port), Reply::BulkString("id".into())];
        Reply::Array(vec![Reply::Int(first), Reply::Int(last), Reply::Array(node)])
    }

    #[test]
    fn a_map_is_read_from_cluster_slots_and_patched_by_moved() {
        let reply = Reply::Array(vec![
            row(0, 99, "10.0.0.1", 1),
            row(200, 16383, "", 2),
            row(100, 199, "10.0.0.1", 1),
        ]);
        let mut map = SlotMap::parse(&reply, "seed:7").unwrap();
        assert_eq!(map.masters().collect::<Vec<_>>(), ["10.0.0.1:1", "seed:2"]);
        assert_eq!(map.master_of(150), Some("10.0.0.1:1"));
        assert_eq!(map.slot_of_master("seed:2", 100), Some(200));
        assert_eq!(map.slot_of_master("10.0.0.1:1", 300), Some(0));
        for slot in 0..200 {
            map.assign(slot, "10.0.0.3:3");
        }
        assert_eq!(map.masters().collect::<Vec<_>>(), ["seed:2", "10.0.0.3:3"]);
        assert_eq!(map.slot_of_master("10.0.0.1:1", 0), None);
    }

    #[test]
    fn what_is_no_map_is_refused_and_unserved_slots_have_no_master() {
        assert_eq!(SlotMap::parse(&Reply::Nil, "a:1"), None);
        assert_eq!(SlotMap::parse(&Reply::Array(vec![row(-1, 5, "a", 1)]), "a:1"), None);
        let map = SlotMap::parse(&Reply::Array(vec![row(0, 5, "a", 1)]), "a:1").unwrap();
        assert_eq!(map.master_of(6), None);
    }
}
