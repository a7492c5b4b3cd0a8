//! Leader election: which of several scalers acts. They share an object in S3, `lease.json` in
//! `<prefix>-scaler-bucket`, and replace it by conditional writes only. `lease/state.rs` is the protocol.
//!
//! Written by hand because AWS has no lock service without a server of its own, and S3 alone needs no other dependency.
//!
//! While S3 is unreachable, the leader leads until its lease time is nearly over, and then stands by. A scaler that never
//! reached S3 does nothing. A call to EC2 that is in flight when a leader steps down ends within [`LONGEST_CALL`], which
//! is within [`LeaseTimes::slack`]. No other call follows it. A leader that is killed during a launch leaves instances that
//! EC2 may not list yet, so after one that did not release the lease the next leader launches nothing for a while.

mod election;
pub mod record;
mod socket;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

use election::LeaseLoop;
use platform::fleet::LONGEST_CALL;
use platform::objects::Objects;
use platform::shutdown::CancellationToken;
use record::Holder;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::clock::Clock;
use crate::plan::Timestamp;

const KEY: &str = "lease.json";
/// How long releasing the lease may take.
const RELEASE_DEADLINE: Duration = Duration::from_secs(2);
/// How long a request right after the start waits until it is known whether this scaler leads.
const KNOWN_DEADLINE: Duration = Duration::from_secs(2);
/// With a shorter lease time, one slow call to S3 would make the leader step down.
const SHORTEST: Duration = LONGEST_CALL.saturating_mul(3);
/// How long the last launch of a leader that did not release the lease may not be listed: the call ends within
/// [`LONGEST_CALL`], and EC2's list may lag as long again.
const UNLISTED_FOR: Duration = LONGEST_CALL.saturating_mul(2);
/// Clocks may drift apart by this part of the lease time.
const DRIFT_PART: u32 = 20;

/// Whether this scaler leads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Role {
    Leader {
        /// `None`: for good, because there is no lease.
        until: Option<Timestamp>,
        /// When it may launch: EC2's list may lack what a former leader launched last.
        launches_from: Option<Timestamp>,
    },
    Standby {
        /// Present once S3 has replied: which scaler leads, or why that is unknown.
        reason: Option<String>,
    },
}

/// Tells whether this scaler leads. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Leadership {
    clock: Clock,
    role: watch::Receiver<Role>,
}

/// Renews the lease in the background. After a drop the lease lapses.
#[derive(Debug)]
pub struct LeaseGuard {
    releasing: CancellationToken,
    task: Option<AbortOnDropHandle<()>>,
}

/// The lease time, and how much earlier a leader that cannot renew its lease steps down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// How long the next scaler waits after a leader has died.
    pub lease: Duration,
    /// A call to EC2 that is in flight when a leader steps down ends within it.
    pub slack: Duration,
}

impl LeaseTimes {
    /// Returns the times for a lease, with slack for the longest call to EC2 and for the drift of clocks.
    ///
    /// # Errors
    /// When the lease time is too short for the slack.
    pub fn of(lease: Duration) -> anyhow::Result<Self> {
        anyhow::ensure!(
            lease >= SHORTEST,
            "--lease-time is below {SHORTEST:?}: a call to EC2 may take {LONGEST_CALL:?} and has to end before another scaler leads; give a longer time"
        );
        let slack = LONGEST_CALL + lease / DRIFT_PART;
        Ok(Self { lease, slack })
    }
}

/// Returns the leadership of the only scaler: without a lease it always leads.
#[must_use]
pub fn disabled(clock: Clock) -> (Leadership, LeaseGuard) {
    let (_, role) = watch::channel(Role::Leader {
        until: None,
        launches_from: None,
    });
    let guard = LeaseGuard {
        releasing: CancellationToken::new(),
        task: None,
    };
    (Leadership { clock, role }, guard)
}

/// Competes for the lease in the background, and leads while it is held. `listener` is the address at which this scaler
/// serves gRPC, and `address` the name that the lease gives to others.
#[must_use]
pub fn compete(
    bucket: Objects,
    clock: Clock,
    times: LeaseTimes,
    address: String,
    listener: std::net::SocketAddr,
) -> (Leadership, LeaseGuard) {
    let me = Holder {
        id: Uuid::new_v4().to_string(),
        address,
        socket: socket::identity(listener),
    };
    let (published, role) = watch::channel(Role::Standby { reason: None });
    let releasing = CancellationToken::new();
    let competing = LeaseLoop {
        bucket,
        clock,
        call_timeout: times.lease / 4,
        lease: state::Lease::new(me, times.lease, times.slack),
        last_error: None,
        role: published,
    };
    let task = tokio::spawn(competing.run(releasing.clone()));
    let guard = LeaseGuard {
        releasing,
        task: Some(AbortOnDropHandle::new(task)),
    };
    (Leadership { clock, role }, guard)
}

impl Leadership {
    /// Returns why this scaler must not act now; `None` when it leads.
    #[must_use]
    pub fn standing_by(&self, now: Timestamp) -> Option<String> {
        match &*self.role.borrow() {
            Role::Leader { until: None, .. } => None,
            Role::Leader {
                until: Some(until), ..
            } if now < *until => None,
            Role::Leader { .. } => Some("the lease could not be renewed in time".to_owned()),
            Role::Standby { reason } => Some(
                reason
                    .clone()
                    .unwrap_or_else(|| "the lease was not read yet".to_owned()),
            ),
        }
    }

    /// Returns whether this scaler may act now.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.standing_by(self.clock.now()).is_none()
    }

    /// Returns when this leader may launch, if the former one did not release the lease: it may have been killed during a
    /// launch, and EC2's list may not show that yet. Repeated starts and stops do no harm.
    #[must_use]
    pub fn launches_from(&self) -> Option<Timestamp> {
        match *self.role.borrow() {
            Role::Leader { launches_from, .. } => launches_from,
            Role::Standby { .. } => None,
        }
    }

    /// Returns the leadership of a scaler that stands by for a known reason.
    #[cfg(test)]
    pub(crate) fn standby(clock: Clock, reason: &str) -> Self {
        let reason = Some(reason.to_owned());
        let (_, role) = watch::channel(Role::Standby { reason });
        Self { clock, role }
    }

    /// Waits for the next change of the role. Never returns when there is no lease.
    pub async fn changed(&mut self) {
        if self.role.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Like [`standing_by`](Self::standing_by), after a bounded wait until that is known.
    pub async fn known(mut self) -> Option<String> {
        let is_known = |role: &Role| *role != Role::Standby { reason: None };
        let waiting = tokio::time::timeout(KNOWN_DEADLINE, self.role.wait_for(is_known));
        drop(waiting.await);
        self.standing_by(self.clock.now())
    }

    /// Waits until this scaler no longer leads.
    pub async fn lost(mut self) {
        loop {
            let until = match *self.role.borrow_and_update() {
                Role::Standby { .. } => return,
                Role::Leader { until, .. } => until,
            };
            let Some(until) = until else {
                return self.changed().await;
            };
            if self.clock.now() >= until {
                return;
            }
            let lapses_at = self.clock.instant(until);
            drop(tokio::time::timeout_at(lapses_at, self.changed()).await);
        }
    }
}

impl LeaseGuard {
    /// Releases the lease, if it is held, so that the next scaler need not wait for it to lapse.
    pub async fn release(mut self) {
        self.releasing.cancel();
        if let Some(task) = self.task.take()
            && tokio::time::timeout(RELEASE_DEADLINE, task).await.is_err()
        {
            tracing::warn!("the lease could not be released in time, so it has to lapse");
        }
    }
}
