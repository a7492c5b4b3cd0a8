//! The lease's protocol, without clock or I/O: what to ask of the store, and what follows from its answers.
//!
//! One object holds a [`Record`], and it is only ever replaced under the condition that it is still the one that was read.
//! The leader replaces it every third of the lease time. Its leadership counts from the moment when it *sent* the write
//! that succeeded. A standby takes over when the object has stayed the same for the lease time, counted from the moment
//! when it *received* the answer that first showed it. The write was sent before it could be seen, so the leader's time is
//! up first, however long calls take and whether or not their answers arrive. The leader steps down earlier, by a slack in
//! which the calls to EC2 that are under way end. What this rests on: all processes' clocks run at the same rate, within the
//! rest of the slack, and do not stand still, as that of a suspended machine does.

use std::time::Duration;

use platform::objects::Condition;

use super::record::{Holder, Record};
use crate::plan::Timestamp;

/// How many writes without an answer are remembered. What an older one has written counts from the last known write.
const MOST_UNSURE: usize = 16;

/// One scaler's view of the lease.
#[derive(Debug, Clone)]
pub struct Lease {
    me: Holder,
    lease_time: Duration,
    /// How much earlier the leader steps down.
    slack: Duration,
    view: View,
    /// The newest writes whose success was not told, by their renewals: when they were sent.
    unsure: Vec<(u64, Timestamp)>,
    /// When to make the next call.
    next_at: Timestamp,
}

#[derive(Debug, Clone)]
enum View {
    /// Never read, or what was known is outdated. `leads_since` still counts.
    Unknown { leads_since: Option<Timestamp> },
    /// Nobody holds it.
    Free { condition: Condition, renewals: u64 },
    Others {
        record: Record,
        etag: String,
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
    Write(Record, Condition),
}

/// What a read has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Nothing,
    Record(Record, String),
    /// An object that is no record, with its entity tag. It is replaced.
    Unreadable(String),
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// With this entity tag.
    Stored(String),
    Refused,
    /// It may have happened, or happen yet.
    Unsure,
}

impl Lease {
    #[must_use]
    pub fn new(me: Holder, lease_time: Duration, slack: Duration) -> Self {
        Self {
            me,
            lease_time,
            slack,
            view: View::Unknown { leads_since: None },
            unsure: Vec::new(),
            next_at: Timestamp::default(),
        }
    }

    /// Until when this scaler leads; absent when it does not.
    #[must_use]
    pub fn leads_until(&self) -> Option<Timestamp> {
        let since = match &self.view {
            View::Mine { leads_since, .. } => Some(*leads_since),
            View::Unknown { leads_since } => *leads_since,
            View::Free { .. } | View::Others { .. } => None,
        };
        since.map(|since| since.after(self.lease_time.saturating_sub(self.slack)))
    }

    #[must_use]
    pub fn leads(&self, now: Timestamp) -> bool {
        self.leads_until().is_some_and(|until| now < until)
    }

    /// Who holds it, if that is another scaler.
    #[must_use]
    pub fn leader(&self) -> Option<&Holder> {
        match &self.view {
            View::Others { record, .. } => Some(&record.holder),
            _ => None,
        }
    }

    /// What to do at `now`. Calls are made one after the other, and each is answered by [`Lease::read`],
    /// [`Lease::not_read`] or [`Lease::wrote`].
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
                etag,
                same_since,
            } => {
                if now >= self.lapses_at(record, *same_since) {
                    self.write(record.renewals, Condition::Unchanged(etag.clone()))
                } else {
                    Step::Read
                }
            }
            View::Mine { etag, renewals, .. } => {
                self.write(*renewals, Condition::Unchanged(etag.clone()))
            }
        }
    }

    /// What to write to give the lease up; absent when it is not held.
    #[must_use]
    pub fn release(&self) -> Option<(Record, Condition)> {
        let View::Mine { etag, renewals, .. } = &self.view else {
            return None;
        };
        let mut record = self.record(*renewals);
        record.released = true;
        Some((record, Condition::Unchanged(etag.clone())))
    }

    /// A read has been answered at `now`.
    pub fn read(&mut self, found: Found, now: Timestamp) {
        self.view = match found {
            Found::Nothing => View::Free {
                condition: Condition::Absent,
                renewals: 0,
            },
            Found::Unreadable(etag) => View::Free {
                condition: Condition::Unchanged(etag),
                renewals: 0,
            },
            Found::Record(record, etag) if record.holder.id == self.me.id => {
                self.found_mine(&record, etag)
            }
            Found::Record(record, etag) if record.released || self.replaces(&record) => {
                View::Free {
                    condition: Condition::Unchanged(etag),
                    renewals: record.renewals,
                }
            }
            Found::Record(record, etag) => {
                let same_since = match &self.view {
                    View::Others {
                        etag: before,
                        same_since,
                        ..
                    } if *before == etag => *same_since,
                    _ => now,
                };
                let poll_at = now.after(self.poll());
                self.next_at = poll_at.min(self.lapses_at(&record, same_since));
                self.view = View::Others {
                    record,
                    etag,
                    same_since,
                };
                return;
            }
        };
        self.next_at = now;
    }

    /// A read has failed.
    pub fn not_read(&mut self, now: Timestamp) {
        self.next_at = now.after(self.poll());
    }

    /// A write of `record`, sent at `sent_at`, has ended at `now`.
    pub fn wrote(&mut self, record: &Record, written: Written, sent_at: Timestamp, now: Timestamp) {
        match written {
            Written::Stored(etag) => {
                self.unsure.clear();
                self.view = View::Mine {
                    etag,
                    renewals: record.renewals,
                    leads_since: sent_at,
                };
                self.next_at = sent_at.after(self.lease_time / 3).max(now);
            }
            Written::Refused => {
                self.doubt();
                self.next_at = now;
            }
            Written::Unsure => {
                self.unsure.push((record.renewals, sent_at));
                // Written again under the same condition, it is refused if the first has happened. After two in a row
                // there may be more to it.
                if self.unsure.len() >= 2 {
                    self.doubt();
                }
                if self.unsure.len() > MOST_UNSURE {
                    self.unsure.remove(0);
                }
                self.next_at = now.after(self.poll());
            }
        }
    }

    /// What is known must be read anew. As long as it led, it leads on: others wait for longer.
    fn doubt(&mut self) {
        let leads_since = match &self.view {
            View::Mine { leads_since, .. } => Some(*leads_since),
            View::Unknown { leads_since } => *leads_since,
            View::Free { .. } | View::Others { .. } => None,
        };
        self.view = View::Unknown { leads_since };
    }

    /// A write whose success was not told has happened, or has not.
    fn found_mine(&mut self, record: &Record, etag: String) -> View {
        let of_this_write = self
            .unsure
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
            // Renewed next; until then it does not count.
            leads_since: leads_since.unwrap_or_default(),
        }
    }

    fn replaces(&self, record: &Record) -> bool {
        self.me.place.is_some() && record.holder.place == self.me.place
    }

    fn lapses_at(&self, record: &Record, same_since: Timestamp) -> Timestamp {
        same_since.after(record.lease_time().max(self.lease_time))
    }

    fn poll(&self) -> Duration {
        (self.lease_time / 10).min(Duration::from_secs(1))
    }

    fn write(&self, renewals: u64, condition: Condition) -> Step {
        Step::Write(self.record(renewals), condition)
    }

    /// The record after one with this number. Writes that may yet happen have other numbers.
    fn record(&self, renewals: u64) -> Record {
        let unsure = self.unsure.iter().map(|(renewals, _)| *renewals).max();
        Record {
            holder: self.me.clone(),
            renewals: renewals.max(unsure.unwrap_or(0)) + 1,
            lease_time_ms: u64::try_from(self.lease_time.as_millis()).unwrap_or(u64::MAX),
            released: false,
        }
    }
}
