//! What a load sends to Redis: writes, and what is taken back of them.
//!
//! Every reply is looked at; what got no answer is sent again and remembered as if it were done. Start at
//! [`Load::put`].

use std::sync::atomic::Ordering;

use tokio::time::sleep;

use super::fit::bytes_of;
use super::load::{Load, count};
use super::report::Ended;
use super::settle::{Back, Held, fingerprint};
use crate::error::{ServerCode, WorldError};
use crate::mutation::CacheKey;
use crate::retry;
use crate::sink::redis::{Fingerprint, Put, PutOutcome, TakenBack, digest};

impl Load<'_> {
    /// Leaves out what is not to be written.
    pub(super) fn choose(&mut self, puts: Vec<Put>, rows_of: Vec<u64>) -> (Vec<Put>, Vec<u64>) {
        let now_ms = self.clock.now().unix_ms;
        let mut chosen = (Vec::with_capacity(puts.len()), Vec::with_capacity(puts.len()));
        for (put, row) in puts.into_iter().zip(rows_of) {
            let overlaps = self.overlap > 0;
            self.overlap = self.overlap.saturating_sub(1);
            if self.settling.is_changed(row) || self.settling.is_changed(fingerprint(&put.key)) {
                self.report.keys_changed += 1;
                if overlaps {
                    // The run that was killed may have written it, and did not live to take it back.
                    let (key, held) = held(put, None);
                    self.settling.overlapped(key, row, held, &mut self.back);
                }
            } else if put.expiry.at(now_ms).is_some_and(|at_ms| at_ms <= now_ms) {
                self.report.keys_expired += 1;
            } else {
                chosen.0.push(put);
                chosen.1.push(row);
            }
        }
        chosen
    }

    /// Writes, as often as it takes, and remembers what is written. What is heard meanwhile waits.
    pub(super) async fn put(&mut self, mut puts: Vec<Put>, mut rows_of: Vec<u64>) -> Result<(), Ended> {
        let mut attempt = 0;
        while !puts.is_empty() {
            let outcomes = self.sink.put(&puts, self.job.over).await;
            let (mut open, mut open_rows) = (Vec::new(), Vec::new());
            let mut worst: Option<WorldError> = None;
            for ((put, row), outcome) in puts.into_iter().zip(rows_of).zip(outcomes) {
                match outcome {
                    Ok(PutOutcome::Written { expires_at_ms }) => {
                        self.report.keys_written += 1;
                        self.unlooked = self.unlooked.saturating_add(bytes_of(&put));
                        self.remember(put, row, Some(expires_at_ms));
                    }
                    // It may be there since the attempt that got no answer.
                    Ok(PutOutcome::Exists) if attempt > 0 => {
                        self.report.keys_present += 1;
                        self.remember(put, row, None);
                    }
                    Ok(PutOutcome::Exists) => self.report.keys_present += 1,
                    Ok(PutOutcome::Older) => self.report.keys_older += 1,
                    Ok(PutOutcome::Refused(_)) => self.report.keys_refused += 1,
                    Err(error) => {
                        open.push(put);
                        open_rows.push(row);
                        worst = Some(worst.map_or(error.clone(), |worst| retry::worse(worst, error)));
                    }
                }
            }
            (puts, rows_of) = (open, open_rows);
            let Some(error) = worst else { break };
            attempt += 1;
            if let Err(ended) = self.bear(&error, attempt).await {
                // No answer may mean that they landed: what is known of them is that they may be there.
                for (put, row) in puts.into_iter().zip(rows_of) {
                    self.remember(put, row, None);
                }
                return Err(ended);
            }
        }
        Ok(())
    }

    fn remember(&mut self, put: Put, row: u64, expires_at_ms: Option<i64>) {
        if self.follower.is_some() {
            let (key, held) = held(put, expires_at_ms);
            self.settling.remember(key, row, held);
        }
    }

    /// Takes back what a change raced with.
    pub(super) async fn take_back(&mut self) -> Result<(), Ended> {
        let (mut keys, mut members) = (Vec::new(), Vec::new());
        for back in std::mem::take(&mut self.back) {
            match back {
                Back::Whole(key, held) => keys.push((key, held)),
                Back::Member(member) => members.push(member),
            }
        }
        let mut attempt = 0;
        while !keys.is_empty() || !members.is_empty() {
            let outcomes = self.sink.take_back(&keys).await;
            let (open_keys, worst) = self.taken(keys, outcomes);
            // In their order: one may be put right twice.
            let outcomes = self.sink.put_right(&members).await;
            let (open_members, worse) = self.taken(members, outcomes);
            (keys, members) = (open_keys, open_members);
            let worst = worst.into_iter().chain(worse).reduce(retry::worse);
            let Some(error) = worst else { break };
            attempt += 1;
            if let Err(ended) = self.bear(&error, attempt).await {
                self.report.unsettled += count(keys.len() + members.len());
                return Err(ended);
            }
        }
        Ok(())
    }

    /// Counts what was taken back. Returns what is open, and the worst that came of it.
    fn taken<T>(
        &mut self,
        asked: Vec<T>,
        outcomes: Vec<Result<TakenBack, WorldError>>,
    ) -> (Vec<T>, Option<WorldError>) {
        let mut open = Vec::new();
        let mut worst = None;
        for (it, outcome) in asked.into_iter().zip(outcomes) {
            match outcome {
                Ok(TakenBack::Deleted) => self.report.taken_back += 1,
                Ok(TakenBack::Right) => self.report.put_right += 1,
                Ok(TakenBack::Other | TakenBack::Gone) => {}
                Err(error) => {
                    open.push(it);
                    worst = worst.into_iter().chain([error]).reduce(retry::worse);
                }
            }
        }
        (open, worst)
    }

    /// Waits before something is sent again, or ends where that does not help.
    pub(super) async fn bear(&mut self, error: &WorldError, attempt: u32) -> Result<(), Ended> {
        if let WorldError::NotNow { code: ServerCode::OutOfMemory | ServerCode::NoPermission } = error {
            return Err(Ended::RedisRefuses(error.to_string()));
        }
        if attempt == 3 {
            self.watch.note(&format!("Redis: {error}; it goes on when that is over"));
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(Ended::Stopped);
        }
        sleep(retry::pause(retry::verdict(error), attempt, 0)).await;
        Ok(())
    }
}

/// What is remembered of a write.
fn held(put: Put, expires_at_ms: Option<i64>) -> (CacheKey, Held) {
    let held = if put.key.member().is_some() {
        Held::Member(Some(put.value), put.guard)
    } else {
        Held::Whole(Fingerprint { digest: digest(&put.value), expires_at_ms })
    };
    (put.key, held)
}
