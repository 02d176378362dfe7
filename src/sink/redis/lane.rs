//! What the sink keeps of a lane while this process owns it: its epoch, its watermarks, and the connections with
//! commands of it unanswered. Made by taking over, dropped by leaving. Start at [`Lane`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::cluster::SlotMap;
use super::connect::Link;
use super::purge::Scan;
use super::watermark::LaneMark;
use crate::batch::{Epoch, LaneName};
use crate::record::Position;
use crate::sink::own::{Entry, OwnKeys, OwnerRecord};
use crate::sink::slots::slot_of;

/// A lane that was taken over.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: LaneName,
    pub(super) epoch: Epoch,
    /// Key of its owner record.
    pub(super) record: Vec<u8>,
    /// Its watermarks, by master.
    pub(super) marks: RefCell<BTreeMap<String, LaneMark>>,
    /// What the owner record says, as far as it was acknowledged.
    pub(super) entered: RefCell<BTreeMap<String, Entry>>,
    /// Nodes that serve no slot but were sent to, while a slot moves to them.
    pub(super) guests: RefCell<BTreeSet<String>>,
    /// Connections with commands of this lane unanswered.
    pub(super) sending: RefCell<Vec<Rc<Link>>>,
    /// The map that the marks were chosen by.
    pub(super) map: RefCell<Rc<SlotMap>>,
    /// How far the purge that it waits for has come.
    pub(super) scan: RefCell<Option<Scan>>,
    /// True once it was released or abandoned: nothing more is sent.
    pub(super) gone: Cell<bool>,
}

impl Lane {
    /// Gives each master of a new map its watermark.
    ///
    /// A watermark lives with its slot: after a failover the new master inherits the mark of the old one,
    /// and what was told there, so that a lagging replica shows. A master whose mark's slot went elsewhere
    /// gets a new one in a slot of its own.
    pub(super) fn follow(&self, map: &Rc<SlotMap>, own: &OwnKeys) {
        if Rc::ptr_eq(map, &self.map.borrow()) {
            return;
        }
        *self.map.borrow_mut() = Rc::clone(map);
        let mut former = std::mem::take(&mut *self.marks.borrow_mut());
        let mut marks: BTreeMap<String, LaneMark> = BTreeMap::new();
        let at_home = |master: &str, mark: &LaneMark| map.master_of(slot_of(&mark.key)) == Some(master);
        for master in map.masters() {
            if let Some(mark) = former.get(master).filter(|mark| at_home(master, mark)) {
                marks.insert(master.to_owned(), mark.clone());
                former.remove(master);
            }
        }
        let mut left_over: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (node, mark) in former {
            match map.master_of(slot_of(&mark.key)) {
                Some(heir) if !marks.contains_key(heir) => {
                    marks.insert(heir.to_owned(), mark);
                }
                _ => {
                    left_over.insert(node, mark.key);
                }
            }
        }
        for master in map.masters() {
            if let Some(slot) = map.slot_of_master(master, slot_of(&self.record)) {
                marks.entry(master.to_owned()).or_insert_with(|| LaneMark {
                    replaces: left_over.remove(master),
                    ..LaneMark::new(own.watermark(&self.name, slot))
                });
            }
        }
        // A master may have been given slots whose keys it did not have: nothing is passed over there.
        for mark in marks.values_mut() {
            mark.settled = None;
        }
        *self.marks.borrow_mut() = marks;
    }

    /// Chooses another slot for the mark on that master, its slot being on the way to another node.
    pub(super) fn replace_mark(&self, master: &str, own: &OwnKeys) {
        let map = Rc::clone(&self.map.borrow());
        let mut marks = self.marks.borrow_mut();
        let Some(mark) = marks.get_mut(master) else { return };
        let next = slot_of(&mark.key).wrapping_add(1);
        if let Some(slot) = map.slot_of_master(master, next) {
            let replaces = Some(mark.replaces.take().unwrap_or_else(|| mark.key.clone()));
            *mark = LaneMark { replaces, ..LaneMark::new(own.watermark(&self.name, slot)) };
        }
    }

    /// The owner record as it is to be, given the connections in use: nodes without one keep the entry that
    /// names the last one, so that the next owner can fence it.
    pub(super) fn record_to_enter(&self, links: &BTreeMap<String, Rc<Link>>) -> OwnerRecord {
        let (marks, entered, guests) = (self.marks.borrow(), self.entered.borrow(), self.guests.borrow());
        let mut record = OwnerRecord { epoch: self.epoch, entries: BTreeMap::new() };
        for node in marks.keys().chain(guests.iter()) {
            let former = entered.get(node);
            let peer = match links.get(node) {
                Some(link) => Some(link.peer.clone()),
                None => former.and_then(|entry| entry.peer.clone()),
            };
            let key = marks.get(node).and_then(|mark| {
                if mark.named || mark.told.is_some() { Some(&mark.key) } else { mark.replaces.as_ref() }
            });
            let watermark = key.map(|key| String::from_utf8_lossy(key).into_owned());
            record.entries.insert(node.clone(), Entry { peer, watermark });
        }
        record
    }

    /// Takes in that the record was written like this. Returns keys that are now out of use.
    pub(super) fn was_entered(&self, record: OwnerRecord) -> Vec<Vec<u8>> {
        let mut out_of_use = Vec::new();
        for (node, mark) in self.marks.borrow_mut().iter_mut() {
            let named = record.entries.get(node).and_then(|entry| entry.watermark.as_ref());
            if named.is_some_and(|name| name.as_bytes() == mark.key.as_slice()) {
                mark.named = true;
                out_of_use.extend(mark.replaces.take());
            }
        }
        *self.entered.borrow_mut() = record.entries;
        out_of_use
    }

    /// True where a mark was set that the record does not name yet.
    pub(super) fn has_unnamed_marks(&self) -> bool {
        self.marks.borrow().values().any(|mark| mark.told.is_some() && !mark.named)
    }

    /// Takes in that some master lost what it had: all others have everything before `start`, but for those
    /// that owe history: what the lane reads again is theirs to have, or it would count as seen and never come.
    pub(super) fn settle_others(&self, lost: &[String], start: Position) {
        for (node, mark) in self.marks.borrow_mut().iter_mut() {
            if !lost.contains(node) && !mark.owes {
                mark.settled = Some(mark.settled.map_or(start, |settled| settled.max(start)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::slots::tag_of;

    fn map(owners: &[(&str, std::ops::Range<u16>)]) -> Rc<SlotMap> {
        let mut map = SlotMap::empty();
        for (master, slots) in owners {
            for slot in slots.clone() {
                map.assign(slot, master);
            }
        }
        Rc::new(map)
    }

    fn lane() -> Lane {
        Lane {
            name: LaneName { topic: "t".into(), partition: 0 },
            epoch: Epoch(1),
            record: format!("r{{{}}}", tag_of(50)).into_bytes(),
            marks: RefCell::default(),
            entered: RefCell::default(),
            guests: RefCell::default(),
            sending: RefCell::default(),
            map: RefCell::new(Rc::new(SlotMap::empty())),
            scan: RefCell::default(),
            gone: Cell::new(false),
        }
    }

    fn slot_and_told(lane: &Lane, master: &str) -> (u16, Option<Position>) {
        let marks = lane.marks.borrow();
        let mark = marks.get(master).unwrap();
        (slot_of(&mark.key), mark.told)
    }

    #[test]
    fn a_promoted_replica_inherits_the_mark_and_a_master_whose_slot_moved_gets_a_new_one() {
        let own = OwnKeys::new("stoker:", "g");
        let lane = lane();
        lane.follow(&map(&[("a:1", 0..100), ("b:1", 100..16384)]), &own);
        assert_eq!(slot_and_told(&lane, "a:1"), (50, None));
        assert_eq!(slot_and_told(&lane, "b:1"), (100, None));
        for mark in lane.marks.borrow_mut().values_mut() {
            (mark.told, mark.named, mark.settled) = (Some(7), true, Some(7));
        }

        lane.follow(&map(&[("a:2", 0..100), ("b:1", 100..16384)]), &own);
        assert_eq!(slot_and_told(&lane, "a:2"), (50, Some(7)), "failover");
        assert!(!lane.marks.borrow().contains_key("a:1"));
        assert!(lane.marks.borrow().values().all(|mark| mark.settled.is_none()));

        lane.follow(&map(&[("a:2", 0..40), ("b:1", 40..16384)]), &own);
        assert_eq!(slot_and_told(&lane, "a:2"), (0, None), "slot 50 moved to b");
        assert_eq!(slot_and_told(&lane, "b:1"), (100, Some(7)));
        let marks = lane.marks.borrow();
        let mark = marks.get("a:2").unwrap();
        assert_eq!(mark.replaces.as_deref().map(slot_of), Some(50));
        assert!(!mark.named);
    }

    #[test]
    fn a_new_key_is_named_once_it_was_set() {
        let own = OwnKeys::new("stoker:", "g");
        let lane = lane();
        lane.follow(&map(&[("a:1", 0..16384)]), &own);
        let named = |lane: &Lane| {
            let record = lane.record_to_enter(&BTreeMap::new());
            record.entries.get("a:1").and_then(|entry| entry.watermark.clone())
        };
        assert_eq!(named(&lane), None);
        lane.marks.borrow_mut().get_mut("a:1").unwrap().told = Some(1);
        assert!(lane.has_unnamed_marks());
        let first = named(&lane).unwrap();
        assert_eq!(lane.was_entered(lane.record_to_enter(&BTreeMap::new())), Vec::<Vec<u8>>::new());
        assert!(!lane.has_unnamed_marks());

        lane.replace_mark("a:1", &own);
        assert_eq!(named(&lane), Some(first.clone()), "until the new one was set");
        lane.marks.borrow_mut().get_mut("a:1").unwrap().told = Some(2);
        let record = lane.record_to_enter(&BTreeMap::new());
        assert_eq!(lane.was_entered(record), [first.into_bytes()]);
    }
}
