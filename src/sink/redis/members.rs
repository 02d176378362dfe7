//! Shows the members of sets and sorted sets, page by page. Writes nothing.
//!
//! For what compares; no lane goes through here. Needs `SSCAN` and `ZSCAN`. Start at [`Look::members`].

use std::collections::BTreeMap;

use redis::{Cmd, Value as Reply};

use super::RedisSink;
use super::classify::Fault;
use super::cluster::resolve;
use super::command::{bytes_of, checked};
use super::commands::Commands;
use super::onlooker::Look;
use crate::batch::Refusal;
use crate::error::{ServerCode, WorldError};
use crate::mutation::MemberKind;
use crate::sink::slots::slot_of;

/// Keys whose first pages one pipeline asks for.
const KEYS_AT_ONCE: usize = 64;
/// Members that a page of a large set looks at; a small one comes whole, with some hundreds.
const SCAN_COUNT: usize = 1_000;

/// Where a scan begins, and what tells that it has ended.
const FIRST: &[u8] = b"0";

/// A key that may hold members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetKey {
    /// The key's bytes.
    pub bytes: Vec<u8>,
    /// Which kind of set it must be.
    pub kind: MemberKind,
}

/// A page of a key's members, and the cursor of the next one.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    next: Vec<u8>,
    members: Vec<Vec<u8>>,
}

/// What is told some members of a key; `None` where the key is of another type.
type Visit<'v, E> = dyn FnMut(&SetKey, Option<Vec<Vec<u8>>>) -> Result<(), E> + 'v;

impl Look {
    /// Shows every member of these keys, page by page, in no order; one may come twice. `None` where the key is of
    /// another type; of one that is not there, nothing. Not a snapshot, as [`Look::scan`].
    ///
    /// # Errors
    /// Of the world, after 10 s of trying; those of `visit`.
    pub fn members<E: From<WorldError>>(&self, keys: &[SetKey], visit: &mut Visit<'_, E>) -> Result<(), E> {
        for chunk in keys.chunks(KEYS_AT_ONCE) {
            let asked: Vec<(&SetKey, &[u8])> = chunk.iter().map(|key| (key, FIRST)).collect();
            let pages = self.blocking(async |sink| sink.member_pages(&asked).await)?;
            for (key, page) in chunk.iter().zip(pages) {
                let Some(mut page) = page else {
                    visit(key, None)?;
                    continue;
                };
                loop {
                    visit(key, Some(page.members))?;
                    if page.next == FIRST {
                        break;
                    }
                    let asked = [(key, page.next.as_slice())];
                    let next = self.blocking(async |sink| sink.member_pages(&asked).await)?.pop().flatten();
                    // Of another type by now: none of them is a member any more.
                    let Some(next) = next else { break };
                    page = next;
                }
            }
        }
        Ok(())
    }
}

impl RedisSink {
    /// A page of each of these keys, from those cursors; `None` where the key is of another type.
    async fn member_pages(&self, asked: &[(&SetKey, &[u8])]) -> Result<Vec<Option<Page>>, WorldError> {
        self.refresh_if_stale().await?;
        let map = self.map();
        let mut by_master: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, (key, _)) in asked.iter().enumerate() {
            let master = map
                .master_of(slot_of(&key.bytes))
                .ok_or(WorldError::NotNow { code: ServerCode::ClusterDown })?;
            by_master.entry(master).or_default().push(index);
        }
        let mut pages: Vec<Option<Page>> = asked.iter().map(|_| None).collect();
        for (master, indexes) in by_master {
            let mine = || indexes.iter().filter_map(|index| Some((*index, *asked.get(*index)?)));
            let mut ask = Commands::default();
            for (_, (key, cursor)) in mine() {
                ask.add(&scan(key, cursor));
            }
            let replies = self.link(master).await?.send(ask).await?;
            for (reply, (index, (key, cursor))) in replies.iter().zip(mine()) {
                let page = match checked(reply) {
                    Err(Fault::Refused(Refusal::WrongType)) => None,
                    Err(Fault::Ask { node }) => {
                        self.members_on_the_move(&resolve(&node, master), key, cursor).await?
                    }
                    _ => Some(page(key.kind, self.answered(master, Some(reply))?)?),
                };
                if let Some(slot) = pages.get_mut(index) {
                    *slot = page;
                }
            }
        }
        Ok(pages)
    }

    /// A page of a key that its slot's master does not have while the slot moves.
    async fn members_on_the_move(
        &self,
        address: &str,
        key: &SetKey,
        cursor: &[u8],
    ) -> Result<Option<Page>, WorldError> {
        let mut ask = Commands::default();
        ask.add_asking(&scan(key, cursor));
        let reply = self.link(address).await?.send(ask).await?.pop().ok_or(WorldError::Protocol)?;
        match checked(&reply) {
            Err(Fault::Refused(Refusal::WrongType)) => Ok(None),
            _ => page(key.kind, self.answered(address, Some(&reply))?).map(Some),
        }
    }
}

fn scan(key: &SetKey, cursor: &[u8]) -> Cmd {
    let mut cmd = redis::cmd(match key.kind {
        MemberKind::Set => "SSCAN",
        MemberKind::SortedSet => "ZSCAN",
    });
    cmd.arg(&key.bytes).arg(cursor).arg("COUNT").arg(SCAN_COUNT);
    cmd
}

/// Reads `[cursor, [member, …]]`; a sorted set's members have their scores behind them.
fn page(kind: MemberKind, reply: &Reply) -> Result<Page, WorldError> {
    let Reply::Array(parts) = reply else { return Err(WorldError::Protocol) };
    let [next, Reply::Array(flat)] = parts.as_slice() else { return Err(WorldError::Protocol) };
    let every = match kind {
        MemberKind::Set => 1,
        MemberKind::SortedSet => 2,
    };
    let members = flat.iter().step_by(every).filter_map(bytes_of).map(<[u8]>::to_vec).collect();
    Ok(Page { next: bytes_of(next).ok_or(WorldError::Protocol)?.to_vec(), members })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_no_members() {
        let bulk = |text: &str| Reply::BulkString(text.into());
        let reply = |flat: &[&str]| {
            Reply::Array(vec![bulk("17"), Reply::Array(flat.iter().map(|text| bulk(text)).collect())])
        };
        let shown = |members: &[&str]| Page {
            next: b"17".to_vec(),
            members: members.iter().map(|member| member.as_bytes().to_vec()).collect(),
        };
        assert_eq!(page(MemberKind::Set, &reply(&["a", "b"])), Ok(shown(&["a", "b"])));
        assert_eq!(page(MemberKind::SortedSet, &reply(&["a", "1", "b", "2"])), Ok(shown(&["a", "b"])));
        assert_eq!(page(MemberKind::Set, &Reply::Nil), Err(WorldError::Protocol));
    }
}
