//! How full a server is: what a refill looks at, so that it stops before it drives out what is there.

use redis::Value as Reply;

use super::command::bytes_of;

/// What `INFO memory` and `INFO stats` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    /// `used_memory`, bytes.
    pub(super) used: u64,
    /// `maxmemory`, bytes; 0 is no limit.
    pub(super) max: u64,
    /// `evicted_keys` since the server started.
    pub(super) evicted: u64,
}

impl Memory {
    /// Reads the two answers; `None` where a server does not say (a proxy, a managed service).
    pub(super) fn read(memory: &Reply, stats: &Reply) -> Option<Memory> {
        Some(Memory {
            used: field(memory, "used_memory")?,
            max: field(memory, "maxmemory")?,
            evicted: field(stats, "evicted_keys").unwrap_or(0),
        })
    }

    /// True where history is not to be written any more: over that share of the limit, or keys were evicted since
    /// the refill's first look.
    pub(super) fn is_full(&self, share: f64, evicted_before: u64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let over = self.max > 0 && self.used as f64 > self.max as f64 * share;
        over || self.evicted > evicted_before
    }
}

/// A number of an `INFO` answer: `name:value` lines.
fn field(info: &Reply, name: &str) -> Option<u64> {
    let text = match info {
        Reply::VerbatimString { text, .. } => text.as_str(),
        other => std::str::from_utf8(bytes_of(other)?).ok()?,
    };
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_full_over_its_share_or_once_it_evicts() {
        let info = |text: &str| Reply::BulkString(text.as_bytes().to_vec());
        let memory = info("# Memory\r\nused_memory:810\r\nused_memory_human:810B\r\nmaxmemory:1000\r\n");
        let read = Memory::read(&memory, &info("evicted_keys:7\r\n")).unwrap();
        assert_eq!(read, Memory { used: 810, max: 1_000, evicted: 7 });
        assert!(read.is_full(0.8, 7) && !read.is_full(0.9, 7), "by its share");
        assert!(read.is_full(0.9, 6), "by what it has driven out");
        let unlimited = Memory { max: 0, ..read };
        assert!(!unlimited.is_full(0.8, 7));
        assert_eq!(Memory::read(&Reply::Nil, &Reply::Nil), None);
    }
}
