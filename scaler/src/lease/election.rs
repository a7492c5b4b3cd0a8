use std::time::Duration;

use platform::objects::{Condition, ObjectError, Objects, Swap};
use platform::shutdown::CancellationToken;
use tokio::sync::watch;

use super::record::LeaseRecord;
use super::state::{self, ReadOutcome, Step, WriteOutcome};
use super::{KEY, Role, UNLISTED_FOR};
use crate::clock::Clock;
use crate::plan::Timestamp;

/// Competes for the lease: makes the calls of [`state::Lease`] and publishes the role.
pub(super) struct LeaseLoop {
    pub bucket: Objects,
    pub clock: Clock,
    pub call_timeout: Duration,
    pub lease: state::Lease,
    /// Why the last call to S3 failed, or what is wrong with the object.
    pub last_error: Option<String>,
    pub role: watch::Sender<Role>,
}

impl LeaseLoop {
    pub async fn run(mut self, releasing: CancellationToken) {
        while !releasing.is_cancelled() {
            let now = self.clock.now();
            match self.lease.next(now) {
                Step::Wait(until) => {
                    let until = tokio::time::sleep_until(self.clock.instant(until));
                    if releasing.run_until_cancelled(until).await.is_none() {
                        break;
                    }
                }
                Step::Read => self.read().await,
                Step::Write(record, condition) => {
                    let written = self.write(&record, &condition).await;
                    self.lease.wrote(&record, written, now, self.clock.now());
                }
            }
            self.publish_role();
        }
        if let Some((record, condition)) = self.lease.release() {
            self.role.send_replace(Role::Standby {
                reason: Some("it is shutting down".to_owned()),
            });
            if self.write(&record, &condition).await == WriteOutcome::Unconfirmed {
                tracing::warn!("the release of the lease is unconfirmed, so it may have to lapse");
            }
        }
    }

    async fn read(&mut self) {
        let got = tokio::time::timeout(self.call_timeout, self.find()).await;
        let now = self.clock.now();
        match got {
            Ok(Ok(found)) => {
                self.lease.read(found, now);
                if self.lease.has_unknown_holder() {
                    self.note(
                        "decoded",
                        "it was deleted, is damaged, or a newer scaler wrote it; its holder may act for the lease time",
                    );
                } else {
                    self.last_error = None;
                }
            }
            Ok(Err(error)) => self.failed("read", &error.to_string(), now),
            Err(_) => self.failed("read", "S3 does not answer", now),
        }
    }

    async fn find(&self) -> Result<ReadOutcome, ObjectError> {
        match self.bucket.get_tagged(KEY).await {
            Ok(None) => Ok(ReadOutcome::Nothing),
            Ok(Some(object)) => Ok(match LeaseRecord::decode(&object.body) {
                Ok(record) => ReadOutcome::Record(record, object.etag),
                Err(_) => ReadOutcome::Unreadable(object.etag),
            }),
            Err(ObjectError::NoBucket) => {
                self.bucket.ensure().await?;
                Ok(ReadOutcome::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    async fn write(&mut self, record: &LeaseRecord, condition: &Condition) -> WriteOutcome {
        let put = self.bucket.swap(KEY, record.encode().into(), condition);
        let error = match tokio::time::timeout(self.call_timeout, put).await {
            Ok(Ok(Swap::Stored(etag))) => {
                self.last_error = None;
                return WriteOutcome::Stored(etag);
            }
            Ok(Ok(Swap::Refused)) => return WriteOutcome::Refused,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "S3 does not answer".to_owned(),
        };
        self.note("written", &error);
        WriteOutcome::Unconfirmed
    }

    fn failed(&mut self, what: &str, error: &str, now: Timestamp) {
        self.note(what, error);
        self.lease.not_read(now);
    }

    fn note(&mut self, what: &str, error: &str) {
        let error = format!("the lease cannot be {what}: {error}");
        if self.last_error.as_ref() != Some(&error) {
            tracing::warn!(bucket = self.bucket.bucket(), "{error}");
        }
        self.last_error = Some(error);
    }

    fn publish_role(&self) {
        let now = self.clock.now();
        let role = match (self.lease.leads_until(), self.lease.leader()) {
            (Some(until), _) if now < until => Role::Leader {
                until: Some(until),
                launches_from: self.lease.unreleased_at().map(|at| at.after(UNLISTED_FOR)),
            },
            (_, Some(leader)) => Role::Standby {
                reason: Some(format!("{leader} leads")),
            },
            // Without an error, the first calls are in flight.
            (..) => Role::Standby {
                reason: self.last_error.clone(),
            },
        };
        self.role.send_if_modified(|before| {
            if *before == role {
                return false;
            }
            match (&*before, &role) {
                (Role::Standby { .. }, Role::Leader { .. }) => tracing::info!("leads"),
                (Role::Leader { .. }, Role::Standby { reason }) => {
                    tracing::warn!(reason, "stands by from now on");
                }
                (Role::Standby { .. }, Role::Standby { reason }) => {
                    tracing::info!(reason, "stands by");
                }
                (Role::Leader { .. }, Role::Leader { .. }) => {}
            }
            *before = role;
            true
        });
    }
}
