//! How much waits: the records of all backlogs of a worker, so that their sum is bounded.

use std::collections::VecDeque;

use crate::record::AsRecord;
use crate::source::Delivery;

/// What waits in the backlogs of all lanes.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) bytes: usize,
    pub(super) records: usize,
}

impl Waiting {
    pub(super) fn add(&mut self, record: &impl AsRecord) {
        self.bytes += record.size_bytes();
        self.records += 1;
    }
    pub(super) fn remove(&mut self, record_bytes: usize) {
        self.bytes -= record_bytes;
        self.records -= 1;
    }
    pub(super) fn forget<R: AsRecord>(&mut self, backlog: &mut VecDeque<Delivery<R>>) {
        for waiting in backlog.drain(..) {
            self.remove(waiting.record.size_bytes());
        }
    }
}
