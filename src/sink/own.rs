//! Stoker's own keys: how they are named, and what they hold. Shared by every sink, so that the model and
//! the real thing can be compared key by key.
//!
//! | key | holds |
//! |---|---|
//! | `<own_prefix><group>:owner:{<topic>:<partition>}` | hash: `epoch`, and per node an [`Entry`] as JSON under `n:<node>` |
//! | `<own_prefix><group>:mark:{<tag>}:<topic>:<partition>` | a lane's watermark on one master, a [`Mark`] |
//! | `<own_prefix><group>:refill` | a refill that is asked for, and how far the lanes are with it: a hash |
//! | `<own_prefix>v:{<tag>}:<cache key>` | what the version guard remembers, [`Remembered`] |
//! | `<own_prefix>v:{<tag>}<length of key>:<cache key>:<member>` | the same of one member; the length is in bytes |
//!
//! Group and topic are escaped (`%`, `:`, `{`, `}` as `%xx`), so that no two names meet and the hash tag is
//! ours. The own prefix must hold no brace; the settings see to that.

use serde::{Deserialize, Serialize};

use crate::batch::{Claim, Epoch, LaneName, Owed, RefillMode, Standing};
use crate::mutation::CacheKey;
#[cfg(doc)]
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

    /// A refill that is asked for, and how far the lanes are with it.
    pub fn refill_request(&self) -> Vec<u8> {
        format!("{}{}:refill", self.prefix, self.group).into_bytes()
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

    /// The side key of a cache key, or of a member. Where the key ends and the member begins, its length tells.
    pub fn side_of(&self, key: &CacheKey) -> Vec<u8> {
        let (bytes, Some(member)) = (key.as_bytes(), key.member()) else { return self.side(key.as_bytes()) };
        let (tag, length) = (tag_of(slot_of(bytes)), bytes.len());
        let start = format!("{}v:{{{tag}}}{length}:", self.prefix);
        [start.as_bytes(), bytes, b":", &*member.bytes].concat()
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

/// What a watermark key holds: `<epoch>:<position>`, and where history is owed `:<mode><below>.<step>`, the mode as
/// `a`, `r` or `o` ([`RefillMode`] in its order).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Who set it.
    pub epoch: Epoch,
    /// Up to where the lane's mutations are on this master.
    pub position: Position,
    /// What lies before and is not there.
    pub owed: Option<Owed>,
}

impl Mark {
    /// Reads a watermark's value; `None` where it is none.
    pub fn parse(text: &[u8]) -> Option<Mark> {
        let mut parts = text.splitn(3, |byte| *byte == b':');
        let epoch = Epoch(parse(parts.next()?)?);
        let position = parse(parts.next()?)?;
        let owed = match parts.next() {
            Some(owed) => Some(parse_owed(owed)?),
            None => None,
        };
        Some(Mark { epoch, position, owed })
    }
}

/// Reads what follows the second colon of a watermark.
pub fn parse_owed(text: &[u8]) -> Option<Owed> {
    let (mode, below) = match text.split_first()? {
        (b'a', below) => (RefillMode::IfAbsent, below),
        (b'r', below) => (RefillMode::Restore, below),
        (b'o', below) => (RefillMode::Overwrite, below),
        _ => return None,
    };
    let dot = below.iter().position(|byte| *byte == b'.')?;
    let (below, step) = (below.get(..dot)?, below.get(dot + 1..)?);
    Some(Owed { below: parse(below)?, mode, step: parse(step)? })
}

/// What follows the second colon of a watermark: `<mode><below>.<step>`, the mode as `a`, `r` or `o`.
pub fn owed_text(owed: Owed) -> String {
    let mode = match owed.mode {
        RefillMode::IfAbsent => 'a',
        RefillMode::Restore => 'r',
        RefillMode::Overwrite => 'o',
    };
    format!("{mode}{}.{}", owed.below, owed.step)
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.epoch.0, self.position)?;
        match self.owed {
            Some(owed) => write!(f, ":{}", owed_text(owed)),
            None => Ok(()),
        }
    }
}

/// What the guard remembers of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The version that was written or deleted last.
    pub version: Version,
    /// The row that it speaks for, see [`RowId`].
    pub owner: Vec<u8>,
    /// The name of the last [`super::Rewrite`] that reached the key; empty where none has.
    pub rewrite: Vec<u8>,
}

impl Remembered {
    /// Reads a side key's value; `None` where it is none.
    pub fn parse(text: &[u8]) -> Option<Remembered> {
        let mut words = text.split(|byte| *byte == b' ');
        let (version, owner) = (words.next()?, words.next()?);
        let rewrite = words.next().unwrap_or_default();
        let whole = words.next().is_none();
        let version = Version::from_text(version).filter(|_| whole)?;
        Some(Remembered { version, owner: owner.to_vec(), rewrite: rewrite.to_vec() })
    }

    /// As the side key holds it.
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = [self.version.as_bytes(), b" ", &self.owner].concat();
        if !self.rewrite.is_empty() {
            text.push(b' ');
            text.extend_from_slice(&self.rewrite);
        }
        text
    }
}

/// What a lane finds on one master when it takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No watermark was ever set there, as far as the record knows: a master that joined.
    Nothing,
    /// The record names one, or there is no record, and it is not there.
    Lost,
    /// This position, and the history that it says is owed.
    At(Position, Option<Owed>),
}

/// Where a lane begins on its masters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// The lane's standing.
    pub standing: Standing,
    /// What the lane owes: the most that one of its masters does.
    pub owed: Option<Owed>,
    /// What each master's watermark is set to: position and debt.
    pub masters: Vec<(Position, Option<Owed>)>,
}

/// Compares what was found on the masters with what was committed.
///
/// - A master whose watermark is gone owes all that was committed, and so does every master of a group that
///   starts with a refill. What lies above is read by the lane itself, in order.
/// - A master that has everything keeps the committed position, so that a rewind which another master's loss
///   causes leaves it alone.
pub fn beginning(claim: &Claim, found: &[Found]) -> Beginning {
    let committed = match claim.committed {
        Some(committed) if committed > claim.low => committed,
        _ => {
            // Nothing of this group's is there, whatever an older group of its name left behind.
            let owed = claim.owed.filter(|owed| owed.below > claim.low);
            let masters = vec![(claim.start, owed); found.len()];
            return Beginning { standing: Standing::Intact, owed, masters };
        }
    };
    let behind = found
        .iter()
        .filter_map(|found| match found {
            Found::At(position, _) if *position < committed => Some((*position).max(claim.low)),
            Found::At(..) | Found::Lost | Found::Nothing => None,
        })
        .min();
    let mode = claim.owed.map_or(RefillMode::Restore, |owed| owed.mode.max(RefillMode::Restore));
    let masters: Vec<(Position, Option<Owed>)> = found
        .iter()
        .map(|found| match (found, behind) {
            // Read in order from where the lane goes back to, and refilled below.
            (Found::Lost, Some(behind)) => (behind, Some(Owed::all(behind, mode))),
            (Found::Lost, None) => (claim.start, Some(Owed::all(claim.start, mode))),
            (Found::At(position, owed), Some(_)) => ((*position).clamp(claim.low, committed), *owed),
            (Found::Nothing, Some(_)) => (committed, None),
            (Found::At(_, owed), None) => (claim.start, *owed),
            (Found::Nothing, None) => (claim.start, None),
        })
        .collect();
    let owed = masters.iter().fold(None, |most, (_, owed)| Owed::together(most, *owed));
    Beginning { standing: behind.map_or(Standing::Intact, Standing::Behind), owed, masters }
}

fn parse<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::LaneId;
    use crate::mutation::{Member, MemberKind};

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
            let whole = CacheKey::new(key.as_bytes());
            let member = Member { kind: MemberKind::Set, bytes: b"{m}".as_slice().into() };
            let member = CacheKey::of_member(key.as_bytes(), member);
            for key in [whole, member] {
                assert_eq!(slot_of(&own.side_of(&key)), slot_of(key.as_bytes()), "{key}");
            }
        }
    }

    #[test]
    fn side_keys_of_members_are_told_from_each_other_and_from_those_of_keys() {
        let own = OwnKeys::new("stoker:", "g");
        let member = |key: &[u8], member: &[u8]| {
            CacheKey::of_member(key, Member { kind: MemberKind::Set, bytes: member.into() })
        };
        let sides: std::collections::BTreeSet<_> = [
            member(b"a:b", b"c"),
            member(b"a", b"b:c"),
            member(b"3:a", b"b:c"),
            CacheKey::new(b"a:b:c"),
            CacheKey::new(b"3:a:b:c"),
        ]
        .iter()
        // Each lies in the slot of its key: without the tags they must differ already.
        .map(|key| own.side_of(key).iter().skip_while(|byte| **byte != b'}').copied().collect::<Vec<_>>())
        .collect();
        assert_eq!(sides.len(), 5);
        assert!(own.side_of(&member(b"board", b"7")).ends_with(b"}5:board:7"));
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

        let owed = |mode| Some(Owed { below: 7, mode, step: 3 });
        for owed in [None, owed(RefillMode::IfAbsent), owed(RefillMode::Restore), owed(RefillMode::Overwrite)]
        {
            let mark = Mark { epoch: Epoch(u64::MAX), position: i64::MAX, owed };
            assert_eq!(Mark::parse(mark.to_string().as_bytes()), Some(mark));
        }
        for bad in [
            "", "1", "1:", ":1", "1:x", "-1:1", "1:1:", "1:1:7", "1:1:a", "1:1:x7.1", "1:1:a7", "1:1:a7:",
            "1:1:a7.",
        ] {
            assert_eq!(Mark::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_is_remembered_reads_back() {
        for (text, owner, rewrite) in [
            ("00ff t:7", "t:7", ""),
            (" t:7", "t:7", ""),
            ("g2 t:7 now", "t:7", "now"),
            (" t:7 now", "t:7", "now"),
        ] {
            let read = Remembered::parse(text.as_bytes()).unwrap();
            assert_eq!(
                (read.owner.as_slice(), read.rewrite.as_slice()),
                (owner.as_bytes(), rewrite.as_bytes())
            );
            assert_eq!(read.to_text(), text.as_bytes());
        }
        for text in ["", "00ff", "0 a b c", "A t:7"] {
            assert_eq!(Remembered::parse(text.as_bytes()), None, "{text:?}");
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
    fn a_lane_begins_by_its_worst_master_and_leaves_the_others_where_they_are() {
        use Found::{At, Lost, Nothing};
        use RefillMode::{Overwrite, Restore};
        use Standing::{Behind, Intact};
        let lost = |below| Some(Owed::all(below, Restore));
        let over = |below| Some(Owed::all(below, Overwrite));
        type Case<'c> =
            (Option<Position>, Option<Owed>, &'c [Found], Standing, &'c [(Position, Option<Owed>)]);
        let cases: [Case<'_>; 15] = [
            (None, None, &[Lost], Intact, &[(50, None)]),
            (None, over(50), &[Lost, At(3, None)], Intact, &[(50, over(50)), (50, over(50))]),
            (Some(10), None, &[Lost], Intact, &[(10, None)]),
            (Some(100), None, &[At(100, None), At(130, None)], Intact, &[(100, None), (100, None)]),
            (Some(100), None, &[At(100, None), Nothing], Intact, &[(100, None), (100, None)]),
            (Some(100), None, &[Lost, At(130, None)], Intact, &[(100, lost(100)), (100, None)]),
            (Some(100), over(60), &[Lost], Intact, &[(100, over(100))]),
            (Some(100), over(60), &[At(100, over(40))], Intact, &[(100, over(40))]),
            (Some(100), over(60), &[At(100, None)], Intact, &[(100, None)]),
            (Some(100), None, &[At(100, lost(30)), Nothing], Intact, &[(100, lost(30)), (100, None)]),
            (
                Some(100),
                None,
                &[At(80, None), At(60, lost(20)), At(100, None)],
                Behind(60),
                &[(80, None), (60, lost(20)), (100, None)],
            ),
            (Some(100), None, &[At(3, None)], Behind(10), &[(10, None)]),
            (Some(100), None, &[At(80, None), Lost], Behind(80), &[(80, None), (80, lost(80))]),
            (Some(100), None, &[At(80, None), Nothing], Behind(80), &[(80, None), (100, None)]),
            (Some(100), None, &[Lost, Lost], Intact, &[(100, lost(100)), (100, lost(100))]),
        ];
        for (committed, owed, found, standing, masters) in cases {
            let claim = Claim {
                lane: LaneId(1),
                name: lane("t", 0),
                above: Epoch(0),
                committed,
                start: committed.unwrap_or(50),
                low: 10,
                owed,
            };
            let begun = beginning(&claim, found);
            assert_eq!((begun.standing, begun.masters.as_slice()), (standing, masters), "{found:?}");
            let most = masters.iter().filter_map(|(_, owed)| owed.map(|owed| owed.below)).max();
            assert_eq!(begun.owed.map(|owed| owed.below), most, "{found:?}");
        }
    }
}
