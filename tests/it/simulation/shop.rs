//! A small database and the connector that captures it: rows in, Debezium records out.
//!
//! Beside its bytes each record carries what it *means* ([`Does`]), so that the oracle folds the log without
//! asking Stoker's decoder or handlers.

use std::collections::BTreeMap;
use std::rc::Rc;

use stoker::record::{AsRecord, OwnedRecord, Record};

use super::rng::Rng;

pub(super) const TOPIC: &str = "shop.public.customers";
/// Ids and email addresses are few, so that rows collide.
const IDS: u64 = 8;
const EMAILS: u64 = 5;
/// A note so long that the sink refuses the row's JSON (see `world::VALUE_BYTES_MAX`).
const LONG_NOTE: usize = 400;
/// What the connector sends again after a restart of its own, at most.
const REPEATED_MAX: usize = 12;

/// A row of `public.customers`. `v` is new with every write, so that no two values are equal by chance.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) id: u64,
    pub(super) email: Option<u64>,
    pub(super) active: bool,
    pub(super) note: String,
    pub(super) v: u64,
}

impl Row {
    pub(super) fn json(&self) -> String {
        let email = self.email.map_or("null".to_owned(), |email| format!("\"e{email}\""));
        let status = if self.active { "active" } else { "idle" };
        let Row { id, note, v, .. } = self;
        format!(r#"{{"id":{id},"email":{email},"status":"{status}","note":"{note}","v":{v}}}"#)
    }
}

/// A source position: last commit, own lsn.
pub(super) type Version = (u64, u64);

/// What a record means.
#[derive(Debug, Clone)]
pub(super) enum Does {
    Upsert {
        before: Option<Row>,
        after: Row,
        version: Version,
    },
    Delete {
        before: Row,
        version: Version,
    },
    Tombstone {
        id: u64,
    },
    /// Cannot be decoded: set aside, and the keys that its record key tells are deleted.
    Undecodable {
        id: Option<u64>,
    },
    /// Its row has no key: set aside, and the keys that `before` tells are deleted.
    Unhandled {
        before: Row,
        version: Version,
    },
    /// Heartbeat, truncate, null key and value: nothing, but the position moves.
    Nothing,
}

/// One record of a log.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: OwnedRecord,
    pub(super) does: Does,
}

/// An entry as the source delivers it.
#[derive(Debug, Clone)]
pub(super) struct Delivered(pub(super) Rc<Entry>);

impl AsRecord for Delivered {
    fn as_record(&self) -> Record<'_> {
        self.0.record.as_record()
    }
}

/// A record before it has a place in a log.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) partition: usize,
    key: Option<String>,
    value: Option<String>,
    does: Does,
}

impl Draft {
    pub(super) fn at(self, offset: usize, now_ms: i64) -> Entry {
        let record = OwnedRecord {
            topic: TOPIC.to_owned(),
            partition: self.partition as i32,
            offset: offset as i64,
            timestamp_ms: Some(now_ms),
            key: self.key.map(String::into_bytes),
            value: self.value.map(String::into_bytes),
            headers: Vec::new(),
        };
        Entry { record, does: self.does }
    }
}

/// The database and its connector.
#[derive(Debug)]
pub(super) struct Shop {
    partitions: usize,
    rows: BTreeMap<u64, Row>,
    writes: u64,
    last_commit: u64,
    recent: Vec<Draft>,
}

impl Shop {
    pub(super) fn new(partitions: usize) -> Shop {
        Shop { partitions, rows: BTreeMap::new(), writes: 0, last_commit: 1_000, recent: Vec::new() }
    }

    /// One transaction, as the connector sends it: its records in order, over all partitions.
    pub(super) fn commit(&mut self, rng: &mut Rng) -> Vec<Draft> {
        let mut drafts = Vec::new();
        // Statements of one transaction may be older than the last commit of another.
        let mut lsn = self.last_commit - rng.between(0, 60);
        match rng.between(0, 99) {
            0..=4 => return self.repeat(rng),
            5..=7 => drafts.push(self.draft_nothing(rng)),
            8..=11 => drafts.push(self.draft_broken(rng, &mut lsn)),
            12..=24 => self.delete(rng, &mut lsn, &mut drafts),
            25..=34 => self.change_key(rng, &mut lsn, &mut drafts),
            35..=54 => self.move_email(rng, &mut lsn, &mut drafts),
            _ => {
                for _ in 0..rng.between(1, 3) {
                    self.upsert(rng, &mut lsn, &mut drafts);
                }
            }
        }
        self.last_commit = self.last_commit.max(lsn) + rng.between(1, 100);
        self.recent.extend(drafts.iter().cloned());
        let old = self.recent.len().saturating_sub(REPEATED_MAX);
        self.recent.drain(..old);
        drafts
    }

    /// The connector came back from a position before its last records: they come once more, in order.
    fn repeat(&mut self, rng: &mut Rng) -> Vec<Draft> {
        let count = rng.below(self.recent.len() + 1);
        self.recent.split_at(self.recent.len() - count).1.to_vec()
    }

    fn upsert(&mut self, rng: &mut Rng, lsn: &mut u64, drafts: &mut Vec<Draft>) {
        let id = rng.between(1, IDS);
        let before = self.rows.get(&id).cloned();
        let mut after = self.new_row(id, rng);
        after.email = before.as_ref().and_then(|row| row.email);
        if rng.chance(400) {
            after.email = self.free_email(rng);
        }
        self.put(before, after, lsn, rng, drafts);
    }

    /// An address passes from one row to another in one transaction.
    fn move_email(&mut self, rng: &mut Rng, lsn: &mut u64, drafts: &mut Vec<Draft>) {
        let owners: Vec<u64> =
            self.rows.values().filter(|row| row.email.is_some()).map(|row| row.id).collect();
        let Some(from) = rng.pick(&owners).copied() else { return self.upsert(rng, lsn, drafts) };
        let Some(before) = self.rows.get(&from).cloned() else { return };
        let left = Row { email: None, v: self.next_write(), ..before.clone() };
        let email = before.email;
        self.put(Some(before), left, lsn, rng, drafts);
        let to = rng.between(1, IDS);
        let before = self.rows.get(&to).cloned();
        let after = Row { email, ..self.new_row(to, rng) };
        self.put(before, after, lsn, rng, drafts);
    }

    fn delete(&mut self, rng: &mut Rng, lsn: &mut u64, drafts: &mut Vec<Draft>) {
        let ids: Vec<u64> = self.rows.keys().copied().collect();
        let Some(row) = rng.pick(&ids).and_then(|id| self.rows.remove(id)) else { return };
        let version = self.step(lsn, rng);
        self.draft_delete(row, version, drafts);
    }

    /// The connector sends a changed primary key as a delete, its tombstone and a create, of one position.
    fn change_key(&mut self, rng: &mut Rng, lsn: &mut u64, drafts: &mut Vec<Draft>) {
        let ids: Vec<u64> = self.rows.keys().copied().collect();
        let free: Vec<u64> = (1..=IDS).filter(|id| !self.rows.contains_key(id)).collect();
        let (Some(id), Some(to)) = (rng.pick(&ids), rng.pick(&free)) else { return };
        let Some(row) = self.rows.remove(id) else { return };
        let after = Row { id: *to, v: self.next_write(), ..row.clone() };
        let version = self.step(lsn, rng);
        self.draft_delete(row, version, drafts);
        self.rows.insert(*to, after.clone());
        drafts.push(self.draft_upsert(None, after, version));
    }

    fn put(
        &mut self,
        before: Option<Row>,
        after: Row,
        lsn: &mut u64,
        rng: &mut Rng,
        drafts: &mut Vec<Draft>,
    ) {
        let version = self.step(lsn, rng);
        self.rows.insert(after.id, after.clone());
        drafts.push(self.draft_upsert(before, after, version));
    }

    fn step(&self, lsn: &mut u64, rng: &mut Rng) -> Version {
        *lsn += rng.between(1, 20);
        (self.last_commit, *lsn)
    }

    fn next_write(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }

    fn new_row(&mut self, id: u64, rng: &mut Rng) -> Row {
        let note = if rng.chance(40) { "x".repeat(LONG_NOTE) } else { String::new() };
        Row { id, email: None, active: rng.chance(600), note, v: self.next_write() }
    }

    fn free_email(&self, rng: &mut Rng) -> Option<u64> {
        let taken = |email: &u64| self.rows.values().any(|row| row.email == Some(*email));
        let free: Vec<u64> = (1..=EMAILS).filter(|email| !taken(email)).collect();
        rng.pick(&free).copied()
    }

    fn partition_of(&self, id: u64) -> usize {
        // Any fixed function of the key.
        (id.wrapping_mul(0x9e37_79b9) >> 4) as usize % self.partitions
    }

    fn draft(&self, id: u64, value: Option<String>, does: Does) -> Draft {
        Draft { partition: self.partition_of(id), key: Some(format!(r#"{{"id":{id}}}"#)), value, does }
    }

    fn draft_upsert(&self, before: Option<Row>, after: Row, version: Version) -> Draft {
        let op = if before.is_some() { "u" } else { "c" };
        let value = envelope(before.as_ref().map(Row::json), Some(after.json()), version, op);
        self.draft(after.id, Some(value), Does::Upsert { before, after, version })
    }

    fn draft_delete(&self, before: Row, version: Version, drafts: &mut Vec<Draft>) {
        let id = before.id;
        let value = envelope(Some(before.json()), None, version, "d");
        drafts.push(self.draft(id, Some(value), Does::Delete { before, version }));
        drafts.push(self.draft(id, None, Does::Tombstone { id }));
    }

    fn draft_nothing(&self, rng: &mut Rng) -> Draft {
        let (key, value) = match rng.below(3) {
            0 => (Some(r#"{"serverName":"shop"}"#.to_owned()), Some(r#"{"ts_ms":1700000000000}"#.to_owned())),
            1 => (None, Some(envelope(None, None, (self.last_commit, self.last_commit), "t"))),
            _ => (None, None),
        };
        Draft { partition: rng.below(self.partitions), key, value, does: Does::Nothing }
    }

    fn draft_broken(&self, rng: &mut Rng, lsn: &mut u64) -> Draft {
        let id = rng.between(1, IDS);
        let cut = r#"{"before":null,"after":{"id":"#.to_owned();
        match (rng.below(4), self.rows.get(&id)) {
            (0, Some(row)) => {
                let version = self.step(lsn, rng);
                let after = row.json().replacen(&format!("\"id\":{id}"), "\"id\":null", 1);
                let value = envelope(Some(row.json()), Some(after), version, "u");
                self.draft(id, Some(value), Does::Unhandled { before: row.clone(), version })
            }
            (1, _) => Draft {
                partition: rng.below(self.partitions),
                key: Some("{\"id\"".to_owned()),
                value: Some(cut),
                does: Does::Undecodable { id: None },
            },
            (2, Some(row)) => {
                let value = envelope(None, Some(row.json()), (0, 0), "x");
                self.draft(id, Some(value), Does::Undecodable { id: Some(id) })
            }
            _ => self.draft(id, Some(cut), Does::Undecodable { id: Some(id) }),
        }
    }
}

fn envelope(before: Option<String>, after: Option<String>, (commit, lsn): Version, op: &str) -> String {
    let or_null = |row: Option<String>| row.unwrap_or_else(|| "null".to_owned());
    format!(
        r#"{{"before":{},"after":{},"source":{{"connector":"postgresql","ts_ms":1700000000000,"db":"shop","sequence":"[\"{commit}\",\"{lsn}\"]","schema":"public","table":"customers","lsn":{lsn}}},"op":"{op}"}}"#,
        or_null(before),
        or_null(after),
    )
}
