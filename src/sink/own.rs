//! Stoker's own keys: how they are named, and what they hold. Shared by every sink, so that the model and
//! the real thing can be compared key by key.
//!
//! | key | holds |
//! |---|---|
//! | `<own_prefix><group>:owner:{<topic>:<partition>}` | hash: `epoch`, and per node an [`Entry`] as JSON under `n:<node>` |
//! | `<own_prefix><group>:mark:{<tag>}:<topic>:<partition>` | a lane's watermark on one master, `<epoch>:<position>` |
//! | `<own_prefix>v:{<tag>}:<cache key>` | what the version guard remembers: version, a blank, owner |
//!
//! Group and topic are escaped (`%`, `:`, `{`, `}` as `%xx`), so that no two names meet and the hash tag is
//! ours. The own prefix must hold no brace; the settings see to that.

use serde::{Deserialize, Serialize};

use crate::batch::{Claim, Epoch, LaneName, Standing};
use crate::mutation::RowId;
use crate::record::Position;
use crate::sink::slots::{slot_of, tag_of};
use crate::version::Version;

/// How long the guard remembers a delete, and a value past its expiry: longer than the longest late writer.
/// 24 h, as Kafka's `delete.retention.ms`.
pub const TOMBSTONE_MS: i64 = 24 * 60 * 60 * 1000;

/// Names Stoker's own keys.
#[derive(Debug, Clone)]
pub struct OwnKeys {
    prefix: String,
    group: String,
}

impl OwnKeys {
    /// Names under this prefix, for this consumer group.
    pub fn new(own_prefix: &str, group: &str) -> OwnKeys {
        OwnKeys { prefix: own_prefix.to_owned(), group: escape(group) }
    }

    /// True where a key is Stoker's own, whichever group's.
    pub fn is_own(&self, key: &[u8]) -> bool {
        key.starts_with(self.prefix.as_bytes())
    }

    /// The owner record of a lane.
    pub fn owner_record(&self, lane: &LaneName) -> Vec<u8> {
        let OwnKeys { prefix, group } = self;
        format!("{prefix}{group}:owner:{{{}:{}}}", escape(&lane.topic), lane.partition).into_bytes()
    }

    /// A lane's watermark in that slot.
    pub fn watermark(&self, lane: &LaneName, slot: u16) -> Vec<u8> {
        let OwnKeys { prefix, group } = self;
        let (tag, topic) = (tag_of(slot), escape(&lane.topic));
        format!("{prefix}{group}:mark:{{{tag}}}:{topic}:{}", lane.partition).into_bytes()
    }

    /// The guard's side key of a cache key: in the same slot, without the group, so that two groups on one
    /// Redis guard each other.
    pub fn side(&self, key: &[u8]) -> Vec<u8> {
        let mut side = format!("{}v:{{{}}}:", self.prefix, tag_of(slot_of(key))).into_bytes();
        side.extend_from_slice(key);
        side
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '%' => escaped.push_str("%25"),
            ':' => escaped.push_str("%3a"),
            '{' => escaped.push_str("%7b"),
            '}' => escaped.push_str("%7d"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A connection, as a server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// `run_id` of the server process (`INFO server`): connection ids start again with it.
    pub run_id: String,
    /// The connection's id (`CLIENT INFO`).
    pub id: u64,
    /// The connection's address as the server sees it (`CLIENT INFO`).
    pub addr: String,
}

/// What an owner record says about one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The owner's connection there; `None` once it was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// The watermark key in use there; `None` where none was set yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<String>,
}

/// An owner record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerRecord {
    /// The owner's epoch; 0 where there is no record.
    pub epoch: Epoch,
    /// Per node, by address.
    pub entries: std::collections::BTreeMap<String, Entry>,
}

/// Field of the epoch in an owner record.
pub const EPOCH_FIELD: &str = "epoch";

impl OwnerRecord {
    /// Reads a record's fields. What cannot be read is left out: whoever wrote it, it names no connection.
    pub fn from_fields<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> OwnerRecord {
        let mut record = OwnerRecord::default();
        for (name, value) in fields {
            if name == EPOCH_FIELD.as_bytes() {
                record.epoch = Epoch(parse(value).unwrap_or(0));
            } else if let Some(node) = name.strip_prefix(b"n:")
                && let (Ok(node), Ok(entry)) = (std::str::from_utf8(node), serde_json::from_slice(value))
            {
                record.entries.insert(node.to_owned(), entry);
            }
        }
        record
    }

    /// The fields of the entries (without the epoch).
    pub fn entry_fields(&self) -> Vec<(String, Vec<u8>)> {
        self.entries
            .iter()
            .map(|(node, entry)| (format!("n:{node}"), serde_json::to_vec(entry).unwrap_or_default()))
            .collect()
    }
}

/// The epoch of the next owner: above all that is known, and no lower than the server's clock (Unix
/// milliseconds).
///
/// The clock counts because what is known can be lost: an owner that has committed nothing yet and whose
/// record goes in a `FLUSHALL` leaves no trace of its epoch. Counted from what is left, the next owner would
/// get the same one, and the two could not be told apart.
pub fn epoch_above(known: Epoch, server_ms: i64) -> Epoch {
    Epoch(known.0.saturating_add(1).max(u64::try_from(server_ms).unwrap_or(0)))
}

/// What a watermark key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Who set it.
    pub epoch: Epoch,
    /// Up to where the lane's mutations are on this master.
    pub position: Position,
}

impl Mark {
    /// Reads a watermark's value; `None` where it is none.
    pub fn parse(text: &[u8]) -> Option<Mark> {
        let colon = text.iter().position(|byte| *byte == b':')?;
        let (epoch, position) = (text.get(..colon)?, text.get(colon + 1..)?);
        Some(Mark { epoch: Epoch(parse(epoch)?), position: parse(position)? })
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.epoch.0, self.position)
    }
}

/// What the guard remembers, as its side key holds it.
pub fn remembered(version: &Version, owner: &RowId) -> Vec<u8> {
    [version.as_bytes(), b" ", owner.as_bytes()].concat()
}

/// What a lane finds on one master when it takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No watermark was ever set there, as far as the record knows: a master that joined.
    Nothing,
    /// The record names one, or there is no record, and it is not there.
    Lost,
    /// This position.
    At(Position),
}

/// Compares what was found on the masters with what was committed: the lane's standing, and the position
/// that each master's watermark is set to.
///
/// A master that has everything keeps the committed position, so that a rewind which another master's loss
/// causes leaves it alone.
pub fn standing(claim: &Claim, found: &[Found]) -> (Standing, Vec<Position>) {
    let committed = match claim.committed {
        Some(committed) if committed > claim.low => committed,
        _ => return (Standing::Intact, vec![claim.start; found.len()]),
    };
    let missing = found.contains(&Found::Lost);
    let behind = found
        .iter()
        .filter_map(|found| match found {
            Found::At(position) if *position < committed => Some((*position).max(claim.low)),
            Found::At(_) | Found::Lost | Found::Nothing => None,
        })
        .min();
    let standing = match behind {
        _ if missing => Standing::Missing,
        Some(position) => Standing::Behind(position),
        None => return (Standing::Intact, vec![claim.start; found.len()]),
    };
    let positions = found
        .iter()
        .map(|found| match found {
            Found::Lost => claim.low,
            Found::At(position) => (*position).clamp(claim.low, committed),
            Found::Nothing => committed,
        })
        .collect();
    (standing, positions)
}

fn parse<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::LaneId;

    fn lane(topic: &str, partition: i32) -> LaneName {
        LaneName { topic: topic.to_owned(), partition }
    }

    #[test]
    fn names_are_unambiguous_and_hash_by_their_own_tag() {
        let tricky = OwnKeys::new("stoker:", "a:b{c}");
        let record = tricky.owner_record(&lane("t{x}:1", 2));
        assert_eq!(record, b"stoker:a%3ab%7bc%7d:owner:{t%7bx%7d%3a1:2}");
        assert_eq!(slot_of(&record), slot_of(b"t%7bx%7d%3a1:2"));
        assert_ne!(record, tricky.owner_record(&lane("t{x}", 12)));
        assert_eq!(slot_of(&tricky.watermark(&lane("t", 0), 77)), 77);
    }

    #[test]
    fn side_keys_lie_in_the_slot_of_their_key_whatever_braces_it_holds() {
        let own = OwnKeys::new("stoker:", "g");
        for key in ["plain", "{tag}:x", "a}b{c", "{}", "{", "x{}y{z}", "{{a}}"] {
            assert_eq!(slot_of(&own.side(key.as_bytes())), slot_of(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn records_and_marks_read_back() {
        let mut record = OwnerRecord { epoch: Epoch(7), ..OwnerRecord::default() };
        let peer = Peer { run_id: "r".into(), id: u64::MAX, addr: "127.0.0.1:1".into() };
        let entry = Entry { peer: Some(peer), watermark: Some("w".into()) };
        record.entries.insert("h:1".into(), entry);
        record.entries.insert("h:2".into(), Entry::default());
        let mut fields = record.entry_fields();
        fields.push((EPOCH_FIELD.to_owned(), b"7".to_vec()));
        fields.push(("n:bad".to_owned(), b"{".to_vec()));
        let read = OwnerRecord::from_fields(fields.iter().map(|(n, v)| (n.as_bytes(), v.as_slice())));
        assert_eq!(read, record);

        let mark = Mark { epoch: Epoch(u64::MAX), position: i64::MAX };
        assert_eq!(Mark::parse(mark.to_string().as_bytes()), Some(mark));
        for bad in ["", "1", "1:", ":1", "1:x", "-1:1"] {
            assert_eq!(Mark::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn an_epoch_whose_traces_were_lost_does_not_come_again() {
        let (committed, lost_later) = (Epoch(7), epoch_above(Epoch(7), 1_000));
        assert!(epoch_above(committed, 1_001) > lost_later);
        assert_eq!(epoch_above(Epoch(2_000), 1_000), Epoch(2_001), "a clock behind does not lower it");
        assert_eq!(epoch_above(Epoch(7), -1), Epoch(8));
    }

    #[test]
    fn standing_takes_the_worst_master_and_leaves_the_others_where_they_are() {
        let claim = |committed| Claim {
            lane: LaneId(1),
            name: lane("t", 0),
            above: Epoch(0),
            committed,
            start: committed.unwrap_or(50),
            low: 10,
        };
        use Found::{At, Lost, Nothing};
        let cases: [(_, &[Found], _, &[Position]); 9] = [
            (None, &[Lost], Standing::Intact, &[50]),
            (Some(10), &[Lost], Standing::Intact, &[10]),
            (Some(100), &[At(100), At(130)], Standing::Intact, &[100, 100]),
            (Some(100), &[At(100), Nothing], Standing::Intact, &[100, 100]),
            (Some(100), &[Lost, At(130)], Standing::Missing, &[10, 100]),
            (Some(100), &[At(80), At(60), At(100)], Standing::Behind(60), &[80, 60, 100]),
            (Some(100), &[At(3)], Standing::Behind(10), &[10]),
            (Some(100), &[At(80), Lost], Standing::Missing, &[80, 10]),
            (Some(100), &[At(80), Nothing], Standing::Behind(80), &[80, 100]),
        ];
        for (committed, found, standing_, positions) in cases {
            assert_eq!(standing(&claim(committed), found), (standing_, positions.to_vec()), "{found:?}");
        }
    }
}
