//! Which of several scalers acts. They agree by an object in S3, `lease.json` in `<prefix>-scaler-bucket`, which is
//! only ever replaced by conditional writes; [`state`] is the protocol.
//!
//! While S3 cannot be reached, the leader leads on until its lease time is nearly over, and then stands by. A scaler that
//! never reached S3 does nothing. A call to EC2 that is under way when a leader steps down is brought to its end, which
//! takes [`LONGEST_CALL`] at most, and that is within [`LeaseTimes::slack`]; no other one follows.

mod place;
pub mod record;
pub mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

use platform::fleet::LONGEST_CALL;
use platform::objects::{ObjectError, Objects, Swap};
use platform::shutdown::CancellationToken;
use record::{Holder, Record};
use state::{Found, Step, Written};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::clock::Clock;
use crate::plan::Timestamp;

const KEY: &str = "lease.json";
/// How long giving the lease up may take.
const RELEASE_DEADLINE: Duration = Duration::from_secs(2);
/// How long a worker that comes right after the start waits to learn whether this scaler leads.
const FIRST_ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// With a shorter one the leader would step down because of one slow call to S3.
const SHORTEST: Duration = LONGEST_CALL.saturating_mul(3);
/// Which part of the lease time clocks may drift apart by.
const DRIFT_PART: u32 = 20;

/// Whether this scaler acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Leads {
        /// Absent: for good, as there is no lease.
        until: Option<Timestamp>,
    },
    StandsBy {
        /// Present once S3 has answered: who leads, or why nobody is known to.
        reason: Option<String>,
    },
}

/// Tells whether this scaler acts. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Leadership {
    clock: Clock,
    standing: watch::Receiver<Standing>,
}

/// Keeps the lease in the background. Dropping it leaves the lease to lapse.
#[derive(Debug)]
pub struct Keeper {
    releasing: CancellationToken,
    task: Option<AbortOnDropHandle<()>>,
}

/// How long a scaler that dies holds up the next one, and how much earlier one that cannot renew its lease stops to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    pub lease: Duration,
    /// A call to EC2 that is under way when a leader steps down ends within it.
    pub slack: Duration,
}

impl LeaseTimes {
    /// With slack for the longest call to EC2, and for clocks that drift.
    ///
    /// # Errors
    /// When the lease time is too short for that.
    pub fn of(lease: Duration) -> anyhow::Result<Self> {
        anyhow::ensure!(
            lease >= SHORTEST,
            "--lease-time is below {SHORTEST:?}: a call to EC2 may take {LONGEST_CALL:?}, and has to end before another scaler leads"
        );
        let slack = LONGEST_CALL + lease / DRIFT_PART;
        Ok(Self { lease, slack })
    }
}

/// No lease: this scaler always acts.
#[must_use]
pub fn off(clock: Clock) -> (Leadership, Keeper) {
    let (_, standing) = watch::channel(Standing::Leads { until: None });
    let keeper = Keeper {
        releasing: CancellationToken::new(),
        task: None,
    };
    (Leadership { clock, standing }, keeper)
}

/// Takes part: leads when no other scaler does. `listener` is where this scaler serves gRPC, and `address` the name by
/// which others get there.
#[must_use]
pub fn keep(
    bucket: Objects,
    clock: Clock,
    times: LeaseTimes,
    address: String,
    listener: std::net::SocketAddr,
) -> (Leadership, Keeper) {
    let me = Holder {
        id: Uuid::new_v4().to_string(),
        address,
        place: place::of(listener),
    };
    let (told, standing) = watch::channel(Standing::StandsBy { reason: None });
    let releasing = CancellationToken::new();
    let keeping = Keeping {
        bucket,
        clock,
        patience: times.lease / 4,
        lease: state::Lease::new(me, times.lease, times.slack),
        trouble: None,
        told,
    };
    let task = tokio::spawn(keeping.run(releasing.clone()));
    let keeper = Keeper {
        releasing,
        task: Some(AbortOnDropHandle::new(task)),
    };
    (Leadership { clock, standing }, keeper)
}

impl Leadership {
    /// Why this scaler must not act now; absent when it leads.
    #[must_use]
    pub fn standing_by(&self, now: Timestamp) -> Option<String> {
        match &*self.standing.borrow() {
            Standing::Leads { until: None } => None,
            Standing::Leads { until: Some(until) } if now < *until => None,
            Standing::Leads { .. } => Some("the lease could not be renewed in time".to_owned()),
            Standing::StandsBy { reason } => Some(
                reason
                    .clone()
                    .unwrap_or_else(|| "the lease was not read yet".to_owned()),
            ),
        }
    }

    /// Whether this scaler may act at this moment.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.standing_by(self.clock.now()).is_none()
    }

    /// That of a scaler which knows why it stands by.
    #[cfg(test)]
    pub(crate) fn standing_by_for(clock: Clock, reason: &str) -> Self {
        let reason = Some(reason.to_owned());
        let (_, standing) = watch::channel(Standing::StandsBy { reason });
        Self { clock, standing }
    }

    /// Waits for news, which may be none.
    pub async fn changed(&mut self) {
        if self.standing.changed().await.is_err() {
            // There is no lease, or nobody keeps it any more.
            std::future::pending::<()>().await;
        }
    }

    /// Why this scaler must not act, once that is known; the wait for it is bounded.
    pub async fn settled(mut self) -> Option<String> {
        let is_known = |standing: &Standing| *standing != Standing::StandsBy { reason: None };
        // Late or gone, the answer is what is known by then.
        let waiting = tokio::time::timeout(FIRST_ANSWER_DEADLINE, self.standing.wait_for(is_known));
        drop(waiting.await);
        self.standing_by(self.clock.now())
    }

    /// Waits until this scaler does not lead.
    pub async fn lost(mut self) {
        loop {
            let until = match *self.standing.borrow_and_update() {
                Standing::StandsBy { .. } => return,
                Standing::Leads { until } => until,
            };
            let Some(until) = until else {
                return self.changed().await;
            };
            if self.clock.now() >= until {
                return;
            }
            let lapses_at = self.clock.instant(until);
            // Either way it is looked at anew.
            drop(tokio::time::timeout_at(lapses_at, self.changed()).await);
        }
    }
}

impl Keeper {
    /// Gives the lease up, if it is held, so that the next scaler need not wait for it to lapse.
    pub async fn release(mut self) {
        self.releasing.cancel();
        if let Some(task) = self.task.take()
            && tokio::time::timeout(RELEASE_DEADLINE, task).await.is_err()
        {
            tracing::warn!("the lease could not be released in time, so it has to lapse");
        }
    }
}

struct Keeping {
    bucket: Objects,
    clock: Clock,
    /// How long to wait for one answer.
    patience: Duration,
    lease: state::Lease,
    /// Why the last call failed.
    trouble: Option<String>,
    told: watch::Sender<Standing>,
}

impl Keeping {
    async fn run(mut self, releasing: CancellationToken) {
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
            self.tell();
        }
        if let Some((record, condition)) = self.lease.release() {
            self.told.send_replace(Standing::StandsBy {
                reason: Some("it is shutting down".to_owned()),
            });
            if self.write(&record, &condition).await == Written::Unsure {
                tracing::warn!("the lease may not have been released; then it has to lapse");
            }
        }
    }

    async fn read(&mut self) {
        let got = tokio::time::timeout(self.patience, self.find()).await;
        let now = self.clock.now();
        match got {
            Ok(Ok(found)) => {
                self.trouble = None;
                self.lease.read(found, now);
            }
            Ok(Err(error)) => self.failed("read", &error.to_string(), now),
            Err(_) => self.failed("read", "S3 does not answer", now),
        }
    }

    async fn find(&self) -> Result<Found, ObjectError> {
        match self.bucket.get_tagged(KEY).await {
            Ok(None) => Ok(Found::Nothing),
            Ok(Some(object)) => Ok(match Record::decode(&object.body) {
                Ok(record) => Found::Record(record, object.etag),
                Err(error) => {
                    tracing::warn!(%error, key = KEY, "the lease is no lease, so it is replaced");
                    Found::Unreadable(object.etag)
                }
            }),
            Err(ObjectError::NoBucket) => {
                self.bucket.ensure().await?;
                Ok(Found::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    async fn write(
        &mut self,
        record: &Record,
        condition: &platform::objects::Condition,
    ) -> Written {
        let put = self.bucket.swap(KEY, record.encode().into(), condition);
        let trouble = match tokio::time::timeout(self.patience, put).await {
            Ok(Ok(Swap::Stored(etag))) => {
                self.trouble = None;
                return Written::Stored(etag);
            }
            Ok(Ok(Swap::Refused)) => return Written::Refused,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "S3 does not answer".to_owned(),
        };
        self.note("written", &trouble);
        Written::Unsure
    }

    fn failed(&mut self, what: &str, error: &str, now: Timestamp) {
        self.note(what, error);
        self.lease.not_read(now);
    }

    fn note(&mut self, what: &str, error: &str) {
        let trouble = format!("the lease cannot be {what}: {error}");
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::warn!(bucket = self.bucket.bucket(), "{trouble}");
        }
        self.trouble = Some(trouble);
    }

    fn tell(&self) {
        let now = self.clock.now();
        let standing = match (self.lease.leads_until(), self.lease.leader()) {
            (Some(until), _) if now < until => Standing::Leads { until: Some(until) },
            (_, Some(leader)) => Standing::StandsBy {
                reason: Some(format!("{leader} leads")),
            },
            // Nothing was found wrong yet: the first calls are under way.
            (..) => Standing::StandsBy {
                reason: self.trouble.clone(),
            },
        };
        let leads = |standing: &Standing| matches!(standing, Standing::Leads { .. });
        self.told.send_if_modified(|told| {
            if *told == standing {
                return false;
            }
            match (leads(told), &standing) {
                (false, Standing::Leads { .. }) => tracing::info!("leads"),
                (true, Standing::StandsBy { reason }) => {
                    tracing::warn!(reason, "stands by from now on");
                }
                (false, Standing::StandsBy { reason }) => tracing::info!(reason, "stands by"),
                (true, Standing::Leads { .. }) => {}
            }
            *told = standing;
            true
        });
    }
}
