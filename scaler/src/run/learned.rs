//! What the scaler measures of its workers lasts across restarts: `learned.json` in its bucket.
//!
//! The object has an entry for each kind of worker: instance types, image and engine, on which their speed depends. The
//! tag `muster-launch` would be no better key: it also covers the fleet's token, security groups and disks, whose change
//! leaves the speed as it is.
//!
//! A scaler reads the object when it starts and when it begins to lead. The leader writes it at most once a minute, when a
//! time has changed by more than a tenth, and when it shuts down. No decision waits for a write, and no failure is more
//! than a warning.

pub mod record;

use std::sync::Arc;
use std::time::Duration;

use platform::objects::{Condition, ObjectError, Objects, Swap};

use self::record::{DecodeError, LearnedRecord, WorkerKind};
use crate::plan::{Estimates, Learned, Smoothed, Timestamp};

const KEY: &str = "learned.json";
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// The object is read again when the scaler begins to lead and has read it this long ago: another one led meanwhile.
const READ_EVERY: Duration = Duration::from_secs(10);
/// How long a read or a write may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// The object for one kind of worker. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct LearnedTimes {
    bucket: Objects,
    kind: Arc<WorkerKind>,
}

/// Decides when to read and to write the object.
#[derive(Debug, Default)]
pub struct LearnedSchedule {
    read_at: Option<Timestamp>,
    leads: bool,
    /// The times in the object, as far as is known.
    kept: Learned,
    next_write_at: Timestamp,
    is_writing: bool,
}

impl LearnedTimes {
    #[must_use]
    pub fn new(bucket: Objects, kind: WorkerKind) -> Self {
        let kind = Arc::new(kind);
        Self { bucket, kind }
    }

    /// Returns what is known about this kind of worker: nothing when the object is missing or cannot be read.
    pub async fn read(&self) -> Learned {
        let found = match tokio::time::timeout(DEADLINE, self.find()).await {
            Ok(Ok((record, _))) => record.find(&self.kind),
            Ok(Err(error)) => {
                self.warn("read", &error);
                None
            }
            Err(_) => {
                self.warn("read", "S3 does not answer");
                None
            }
        };
        let Some(entry) = found else {
            return Learned::default();
        };
        let (times, absurd) = entry.times.plausible();
        if !absurd.is_empty() {
            tracing::warn!(
                key = KEY,
                ?absurd,
                "learned times are implausible and ignored"
            );
        }
        let mean = |time: Option<Smoothed>| time.map(|it| it.mean);
        tracing::info!(
            service_s = mean(times.service),
            boot_s = mean(times.boot),
            frame_s = mean(times.frame),
            at = entry.at_s,
            "begins with the times that a former scaler measured"
        );
        times
    }

    /// Writes the times of this kind of worker, measured at `at`, and returns whether the object holds them now.
    pub async fn write(&self, times: Learned, at: Timestamp) -> bool {
        match tokio::time::timeout(DEADLINE, self.replace(times, at)).await {
            Ok(Ok(written)) => return written,
            Ok(Err(error)) => self.warn("written", &error),
            Err(_) => self.warn("written", "S3 does not answer"),
        }
        false
    }

    /// Returns the object's content and the condition under which it may be replaced. A damaged one counts as empty. One of
    /// a newer scaler is an error: it is not replaced.
    async fn find(&self) -> Result<(LearnedRecord, Condition), String> {
        match self.bucket.get_tagged(KEY).await {
            Ok(None) | Err(ObjectError::NoBucket) => {
                Ok((LearnedRecord::default(), Condition::Absent))
            }
            Ok(Some(object)) => {
                let record = match LearnedRecord::decode(&object.body) {
                    Err(error @ DecodeError::Newer(_)) => return Err(error.to_string()),
                    Err(error) => {
                        self.warn("decoded", &error.to_string());
                        LearnedRecord::default()
                    }
                    Ok(record) => record,
                };
                Ok((record, Condition::Unchanged(object.etag)))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Refused when another scaler has written meanwhile. Without a bucket nothing is kept: the lease and the fleet's token
    /// make it, and a scaler that uses neither may lack the permission.
    async fn replace(&self, times: Learned, at: Timestamp) -> Result<bool, String> {
        let (mut record, condition) = self.find().await?;
        record.learn(&self.kind, times, at);
        let body = record.encode().into();
        match self.bucket.swap(KEY, body, &condition).await {
            Ok(Swap::Stored(_)) => Ok(true),
            Ok(Swap::Refused) | Err(ObjectError::NoBucket) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    fn warn(&self, what: &str, error: &str) {
        let bucket = self.bucket.bucket();
        tracing::warn!(
            bucket,
            key = KEY,
            error,
            "what was learned before cannot be {what}"
        );
    }
}

impl LearnedSchedule {
    /// Takes in that the object is being read.
    pub fn reads(&mut self, now: Timestamp) {
        self.read_at = Some(now);
    }

    /// Takes in what was read.
    pub fn read(&mut self, learned: Learned) {
        self.kept = learned;
    }

    /// Takes in whether this scaler leads. Returns whether to read the object.
    pub fn is_read_due(&mut self, leads: bool, now: Timestamp) -> bool {
        let led = std::mem::replace(&mut self.leads, leads);
        let began = leads && !led;
        began && self.read_at.is_some_and(|at| now.since(at) > READ_EVERY)
    }

    /// Returns what the leader is to write now, if anything.
    pub fn next_write(&mut self, estimates: &Estimates, now: Timestamp) -> Option<Learned> {
        let times = self.kept.updated_by(estimates);
        let is_due = !self.is_writing && now >= self.next_write_at;
        if !is_due || !times.differs_notably_from(&self.kept) {
            return None;
        }
        self.is_writing = true;
        self.next_write_at = now.after(WRITE_EVERY);
        Some(times)
    }

    /// Takes in that the object holds these times, or that a write failed.
    pub fn wrote(&mut self, times: Option<Learned>) {
        self.is_writing = false;
        self.kept = times.unwrap_or(self.kept);
    }

    /// Returns what the leader is to write before it ends, if anything.
    #[must_use]
    pub fn last_write(&self, estimates: &Estimates) -> Option<Learned> {
        let times = self.kept.updated_by(estimates);
        (self.leads && times != self.kept).then_some(times)
    }
}

#[cfg(test)]
mod tests;
