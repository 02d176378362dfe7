//! A refill that was asked for: a request that stands in Redis, and what the lanes tell of it.
//!
//! A hash: `request` is the request's JSON, every other field the request's id, a lane, and the lane's report. An id,
//! since a report may come late, when another request stands. Both the group's lanes and whoever asks go through here. Start at [`RedisSink::refill_asked`].

use std::collections::BTreeMap;

use redis::{Cmd, Value as Reply};

use super::RedisSink;
use super::command::{bytes_of, checked_world};
use crate::batch::LaneName;
use crate::error::{ServerCode, WorldError};
use crate::refill::{LaneReport, RefillAsked, RefillRequest};
use crate::sink::slots::slot_of;

/// A request that nobody ends is forgotten after so long, milliseconds: a week.
const FORGOTTEN_AFTER_MS: i64 = 7 * 24 * 3_600_000;
/// The field of the request itself; no lane has that name, for each ends in its partition.
const REQUEST: &str = "request";

impl RedisSink {
    /// The request that stands, if any, and what the lanes told of it.
    ///
    /// Errors: of the world, and [`WorldError::Protocol`] where a request cannot be read.
    pub async fn refill_asked(&self) -> Result<Option<RefillAsked>, WorldError> {
        let key = self.own.refill_request();
        let mut cmd = redis::cmd("HGETALL");
        cmd.arg(&key);
        let reply = self.asked_call(&key, cmd).await?;
        let fields = fields_of(&reply)?;
        let Some(request) = fields.get(REQUEST.as_bytes()) else { return Ok(None) };
        let request: RefillRequest = serde_json::from_slice(request).map_err(|_| WorldError::Protocol)?;
        self.refill_memory.set(request.memory.unwrap_or(self.refill_memory_set));
        let mut lanes = BTreeMap::new();
        for (field, report) in &fields {
            let report = serde_json::from_slice::<LaneReport>(report);
            if let (Some(lane), Ok(report)) = (lane_of(field, &request.id), report) {
                lanes.insert(lane, report);
            }
        }
        Ok(Some(RefillAsked { request, lanes }))
    }

    /// Leaves a request for the group's lanes. False where another one stands.
    pub async fn ask_refill(&self, request: &RefillRequest, now_ms: i64) -> Result<bool, WorldError> {
        let key = self.own.refill_request();
        if self.refill_asked().await?.is_some() {
            return Ok(false);
        }
        let json = serde_json::to_string(request).map_err(|_| WorldError::Protocol)?;
        let mut cmd = redis::cmd("HSET");
        cmd.arg(&key).arg(REQUEST).arg(json);
        self.asked_call(&key, cmd).await?;
        self.expire(&key, now_ms).await?;
        Ok(true)
    }

    /// Takes the request away, whoever left it. Lanes that are at it stop.
    pub async fn end_refill(&self) -> Result<(), WorldError> {
        let key = self.own.refill_request();
        let mut cmd = redis::cmd("UNLINK");
        cmd.arg(&key);
        self.asked_call(&key, cmd).await.map(drop)
    }

    /// Tells how far lanes are with the request of that id.
    pub(super) async fn tell_refill(
        &self,
        id: &str,
        reports: &[(LaneName, LaneReport)],
        now_ms: i64,
    ) -> Result<(), WorldError> {
        if reports.is_empty() {
            return Ok(());
        }
        let key = self.own.refill_request();
        let mut cmd = redis::cmd("HSET");
        cmd.arg(&key);
        for (lane, report) in reports {
            let json = serde_json::to_string(report).map_err(|_| WorldError::Protocol)?;
            cmd.arg(format!("{id}:{}:{}", lane.topic, lane.partition)).arg(json);
        }
        self.asked_call(&key, cmd).await?;
        self.expire(&key, now_ms).await
    }

    async fn expire(&self, key: &[u8], now_ms: i64) -> Result<(), WorldError> {
        let mut cmd = redis::cmd("PEXPIREAT");
        cmd.arg(key).arg(now_ms.saturating_add(FORGOTTEN_AFTER_MS));
        self.asked_call(key, cmd).await.map(drop)
    }

    async fn asked_call(&self, key: &[u8], cmd: Cmd) -> Result<Reply, WorldError> {
        self.refresh_if_stale().await?;
        let map = self.map();
        let Some(master) = map.master_of(slot_of(key)) else {
            return Err(WorldError::NotNow { code: ServerCode::ClusterDown });
        };
        let link = self.link(master).await?;
        let reply = self.call(&link, cmd).await?;
        checked_world(&reply)?;
        Ok(reply)
    }
}

/// The lane that a field is of, under the request of that id.
fn lane_of(field: &[u8], id: &str) -> Option<LaneName> {
    let lane = std::str::from_utf8(field).ok()?.strip_prefix(id)?.strip_prefix(':')?;
    let (topic, partition) = lane.rsplit_once(':')?;
    Some(LaneName { topic: topic.to_owned(), partition: partition.parse().ok()? })
}

fn fields_of(reply: &Reply) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, WorldError> {
    let pair = |(name, value): (&Reply, &Reply)| {
        let (name, value) = bytes_of(name).zip(bytes_of(value)).ok_or(WorldError::Protocol)?;
        Ok((name.to_vec(), value.to_vec()))
    };
    match reply {
        Reply::Array(flat) => {
            let pairs = flat.chunks_exact(2).filter_map(|two| two.first().zip(two.get(1)));
            pairs.map(pair).collect()
        }
        Reply::Map(pairs) => pairs.iter().map(|(name, value)| pair((name, value))).collect(),
        _ => Err(WorldError::Protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lane that was through with one request would have been left out of the next one.
    #[test]
    fn a_report_that_comes_late_says_nothing_of_the_next_request() {
        let lane = LaneName { topic: "a:b".to_owned(), partition: 3 };
        assert_eq!(lane_of(b"17-1:a:b:3", "17-1"), Some(lane));
        for field in ["17-1:a:b:3", "17-10:a:b:3", "a:b:3", "request"] {
            assert_eq!(lane_of(field.as_bytes(), "18-1"), None, "{field}");
        }
        assert_eq!(lane_of(b"17-10:a:b:3", "17-1"), None);
    }
}
