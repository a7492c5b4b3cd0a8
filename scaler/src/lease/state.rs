//! The lease's protocol, without clock or I/O: which call to the store to make, and what follows from its reply.
//!
//! One object holds a [`LeaseRecord`]. Every write has the condition that the object is still the one that was read. The
//! leader renews it every third of the lease time. Its leadership counts from when it *sent* the write that succeeded. A
//! standby takes over when the object has stayed the same for the lease time, counted from when it *received* the reply
//! that first showed it. The write was sent before any read could show it. So the leader's time ends first, no matter
//! how long calls take and whether their replies arrive. The leader steps down earlier by a slack, in which the calls to
//! EC2 that are in flight end.
//!
//! An object that cannot be decoded, as one of a newer scaler, may have a holder as well. So may one that was deleted. Both
//! are taken after the lease time, and at once only by the leader itself.
//!
//! The protocol assumes that all clocks run at the same rate, within the rest of the slack, and do not stop, as the clock
//! of a suspended machine does.

use std::time::Duration;

use platform::objects::Condition;

use super::record::{Holder, LeaseRecord};
use crate::plan::Timestamp;

/// How many unconfirmed writes are remembered. An older one counts from the last known write.
const MOST_UNCONFIRMED: usize = 16;

/// One scaler's view of the lease.
#[derive(Debug, Clone)]
pub struct Lease {
    me: Holder,
    lease_time: Duration,
    /// How much earlier the leader steps down.
    slack: Duration,
    view: View,
    /// The newest unconfirmed writes: their renewals, and when they were sent.
    unconfirmed: Vec<(u64, Timestamp)>,
    /// Whether there ever was an object.
    was_there: bool,
    /// When the last read found that another scaler had not released the lease. Absent after a release.
    unreleased_at: Option<Timestamp>,
    /// When to make the next call.
    next_at: Timestamp,
}

#[derive(Debug, Clone)]
enum View {
    /// Never read, or outdated. `leads_since` still counts.
    Unknown { leads_since: Option<Timestamp> },
    /// No scaler holds it.
    Free { condition: Condition, renewals: u64 },
    Others {
        /// `None` when the object was deleted or cannot be decoded.
        record: Option<LeaseRecord>,
        condition: Condition,
        /// Since when the object is known to be the same.
        same_since: Timestamp,
    },
    Mine {
        etag: String,
        renewals: u64,
        leads_since: Timestamp,
    },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Wait(Timestamp),
    Read,
    Write(LeaseRecord, Condition),
}

/// The result of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    Nothing,
    Record(LeaseRecord, String),
    /// An object that cannot be decoded, with its entity tag.
    Unreadable(String),
}

/// The result of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// With this entity tag.
    Stored(String),
    Refused,
    /// It may have happened, or may still happen.
    Unconfirmed,
}

impl Lease {
    #[must_use]
    pub fn new(me: Holder, lease_time: Duration, slack: Duration) -> Self {
        Self {
            me,
            lease_time,
            slack,
            view: View::Unknown { leads_since: None },
            unconfirmed: Vec::new(),
            was_there: false,
            unreleased_at: None,
            next_at: Timestamp::default(),
        }
    }

    /// Returns until when this scaler leads; `None` when it does not.
    #[must_use]
    pub fn leads_until(&self) -> Option<Timestamp> {
        let since = match &self.view {
            View::Mine { leads_since, .. } => Some(*leads_since),
            View::Unknown { leads_since } => *leads_since,
            View::Free { .. } | View::Others { .. } => None,
        };
        since.map(|since| since.after(self.lease_time.saturating_sub(self.slack)))
    }

    /// Returns when another scaler last had the lease, if it did not release it: it may have been killed at any time before.
    #[must_use]
    pub fn unreleased_at(&self) -> Option<Timestamp> {
        self.unreleased_at
    }

    /// Returns the holder, if that is another scaler.
    #[must_use]
    pub fn leader(&self) -> Option<&Holder> {
        match &self.view {
            View::Others { record, .. } => record.as_ref().map(|record| &record.holder),
            _ => None,
        }
    }

    /// Returns whether another scaler may hold the lease whose record is missing or cannot be decoded.
    #[must_use]
    pub fn has_unknown_holder(&self) -> bool {
        matches!(self.view, View::Others { record: None, .. })
    }

    /// Returns what to do at `now`. Make one call at a time, and report its result by [`read`](Self::read),
    /// [`not_read`](Self::not_read) or [`wrote`](Self::wrote).
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Step {
        if now < self.next_at {
            return Step::Wait(self.next_at);
        }
        match &self.view {
            View::Unknown { .. } => Step::Read,
            View::Free {
                condition,
                renewals,
            } => self.write(*renewals, condition.clone()),
            View::Others {
                record,
                condition,
                same_since,
            } => {
                if now >= self.lapses_at(record.as_ref(), *same_since) {
                    let renewals = record.as_ref().map_or(0, |record| record.renewals);
                    self.write(renewals, condition.clone())
                } else {
                    Step::Read
                }
            }
            View::Mine { etag, renewals, .. } => {
                self.write(*renewals, Condition::Unchanged(etag.clone()))
            }
        }
    }

    /// Returns what to write to release the lease; `None` when it is not held.
    #[must_use]
    pub fn release(&self) -> Option<(LeaseRecord, Condition)> {
        let View::Mine { etag, renewals, .. } = &self.view else {
            return None;
        };
        let mut record = self.record(*renewals);
        record.released = true;
        Some((record, Condition::Unchanged(etag.clone())))
    }

    /// Records a read whose reply came at `now`.
    pub fn read(&mut self, found: ReadOutcome, now: Timestamp) {
        self.was_there |= found != ReadOutcome::Nothing;
        let (record, condition) = match found {
            ReadOutcome::Record(record, etag) if record.holder.id == self.me.id => {
                self.view = self.found_mine(&record, etag);
                self.next_at = now;
                return;
            }
            ReadOutcome::Record(record, etag) => (Some(record), Condition::Unchanged(etag)),
            ReadOutcome::Unreadable(etag) => (None, Condition::Unchanged(etag)),
            ReadOutcome::Nothing => (None, Condition::Absent),
        };
        let is_free = match &record {
            Some(record) => record.released || self.replaces(record),
            None => {
                let leads = self.leads_until().is_some_and(|until| now < until);
                leads || !self.was_there
            }
        };
        let is_released = record.as_ref().map_or(is_free, |record| record.released);
        self.unreleased_at = (!is_released).then_some(now);
        if is_free {
            let renewals = record.map_or(0, |record| record.renewals);
            self.view = View::Free {
                condition,
                renewals,
            };
            self.next_at = now;
            return;
        }
        let same_since = match &self.view {
            View::Others {
                condition: before,
                same_since,
                ..
            } if *before == condition => *same_since,
            _ => now,
        };
        let poll_at = now.after(self.poll());
        self.next_at = poll_at.min(self.lapses_at(record.as_ref(), same_since));
        self.view = View::Others {
            record,
            condition,
            same_since,
        };
    }

    /// Records a read that failed.
    pub fn not_read(&mut self, now: Timestamp) {
        self.next_at = now.after(self.poll());
    }

    /// Records a write of `record` that was sent at `sent_at` and ended at `now`.
    pub fn wrote(
        &mut self,
        record: &LeaseRecord,
        written: WriteOutcome,
        sent_at: Timestamp,
        now: Timestamp,
    ) {
        match written {
            WriteOutcome::Stored(etag) => {
                self.unconfirmed.clear();
                self.was_there = true;
                self.view = View::Mine {
                    etag,
                    renewals: record.renewals,
                    leads_since: sent_at,
                };
                self.next_at = sent_at.after(self.lease_time / 3).max(now);
            }
            WriteOutcome::Refused => {
                self.doubt();
                self.next_at = now;
            }
            WriteOutcome::Unconfirmed => {
                self.unconfirmed.push((record.renewals, sent_at));
                // The same write again is refused if the first one happened. After two in a row, read again.
                if self.unconfirmed.len() >= 2 {
                    self.doubt();
                }
                if self.unconfirmed.len() > MOST_UNCONFIRMED {
                    self.unconfirmed.remove(0);
                }
                self.next_at = now.after(self.poll());
            }
        }
    }

    /// Reads again next. A leader keeps leading until its time ends: others wait for longer.
    fn doubt(&mut self) {
        let leads_since = match &self.view {
            View::Mine { leads_since, .. } => Some(*leads_since),
            View::Unknown { leads_since } => *leads_since,
            View::Free { .. } | View::Others { .. } => None,
        };
        self.view = View::Unknown { leads_since };
    }

    /// The object is this scaler's: an unconfirmed write may have happened.
    fn found_mine(&mut self, record: &LeaseRecord, etag: String) -> View {
        let of_this_write = self
            .unconfirmed
            .iter()
            .find(|(renewals, _)| *renewals == record.renewals);
        let before = match &self.view {
            View::Unknown { leads_since } => *leads_since,
            View::Mine { leads_since, .. } => Some(*leads_since),
            View::Free { .. } | View::Others { .. } => None,
        };
        let leads_since = of_this_write.map(|(_, sent_at)| *sent_at).or(before);
        View::Mine {
            etag,
            renewals: record.renewals,
            // Without a known write it does not lead until the next renewal.
            leads_since: leads_since.unwrap_or_default(),
        }
    }

    fn replaces(&self, record: &LeaseRecord) -> bool {
        self.me.socket.is_some() && record.holder.socket == self.me.socket
    }

    fn lapses_at(&self, record: Option<&LeaseRecord>, same_since: Timestamp) -> Timestamp {
        let theirs = record.map(LeaseRecord::lease_time).unwrap_or_default();
        same_since.after(theirs.max(self.lease_time))
    }

    fn poll(&self) -> Duration {
        (self.lease_time / 10).min(Duration::from_secs(1))
    }

    fn write(&self, renewals: u64, condition: Condition) -> Step {
        Step::Write(self.record(renewals), condition)
    }

    /// Returns the record after one with this number. Unconfirmed writes have other numbers.
    fn record(&self, renewals: u64) -> LeaseRecord {
        let unconfirmed = self.unconfirmed.iter().map(|(renewals, _)| *renewals).max();
        LeaseRecord {
            holder: self.me.clone(),
            renewals: renewals.max(unconfirmed.unwrap_or(0)) + 1,
            lease_time_ms: u64::try_from(self.lease_time.as_millis()).unwrap_or(u64::MAX),
            released: false,
        }
    }
}
