use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::{Learned, Timeouts};

/// A point in time, counted from the Unix epoch. The scaler's clock makes it monotonic within a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(Duration);

/// An EC2 instance id. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct InstanceId(Arc<str>);

/// Everything that a plan is made from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    pub now: Timestamp,
    /// The present by the machine's wall clock, which `now` does not follow when it is set. Absent: `now`.
    #[serde(default)]
    pub wall_clock: Option<Timestamp>,
    /// Front's exact demand; absent when front is unreachable.
    pub front: Option<Timestamped<FrontDemand>>,
    /// The request queue's counters; absent when the queue was never reached, or does not exist yet.
    pub queue: Option<Timestamped<Counters>>,
    /// All worker instances that are not terminated, in the order of their numbers.
    pub instances: Vec<Instance>,
    /// Stopped instances that are not in `instances`, in the order of their names.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// How many instances the launches in progress have requested; their ids are not known yet.
    pub launching: u32,
    /// When the last answered DescribeInstances was sent; absent before the first answer.
    pub described_at: Option<Timestamp>,
    /// How long its answer took: with thousands of instances it is several calls.
    #[serde(default)]
    pub described_in: Duration,
    /// Since when this scaler leads; absent where that is not known.
    #[serde(default)]
    pub leads_since: Option<Timestamp>,
    /// Present while the last starts failed.
    pub failed_boots: Option<FailedBoots>,
    pub call_backoff: CallBackoff,
    pub billing: Billing,
    /// What a former scaler measured with workers of this kind.
    #[serde(default)]
    pub learned: Learned,
}

/// What the instances cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Billing {
    /// Dollars for all instances so far, since the scaler started.
    pub spent: f64,
    /// How many instances are down and still paid for: EC2 bills a minimum for each start.
    pub still_paid: u32,
    /// When the minimum of the first of these ends.
    pub paid_off_at: Option<Timestamp>,
}

/// Instances that stopped by themselves before their worker was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedBoots {
    /// How many starts have failed in a row; instances that were started together count once.
    pub in_a_row: u32,
    /// Until when no other instance is started or launched.
    pub held_until: Timestamp,
}

/// A value and when it was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamped<T> {
    pub value: T,
    pub at: Timestamp,
}

/// Front's counters, as in `platform::demand::Demand`. This crate is pure and may not depend on `platform`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontDemand {
    /// Requests accepted and not yet answered.
    pub unanswered: u64,
    /// Requests accepted since front started.
    pub accepted_total: u64,
    /// Requests answered since front started.
    pub answered_total: u64,
    /// Frames of clips that are not done. Photos go first.
    #[serde(default)]
    pub waiting_frames: u64,
    /// Frames done since front started.
    #[serde(default)]
    pub frames_done_total: u64,
}

/// The request queue's approximate counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub visible: u64,
    pub in_flight: u64,
    pub delayed: u64,
}

/// One worker instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    /// The number in its name; absent until it is named.
    pub number: Option<u32>,
    pub state: InstanceState,
    /// Since when it is in `state`. After each job the worker is idle anew.
    pub since: Timestamp,
    /// When its worker last reported; absent before the first report since the instance started.
    pub heard: Option<Timestamp>,
    /// When it was last started or launched: since when it is paid for.
    pub started_at: Option<Timestamp>,
    /// Since when EC2 describes it as running.
    pub running_since: Option<Timestamp>,
    /// Whether EC2 has listed it: a launched instance may be missing for a while.
    pub listed: bool,
    /// Whether AWS is about to end it, as its worker reported.
    pub leaving: bool,
    /// Whether it was launched from another image or with other settings than those of today. It works on until it is idle,
    /// and is not started again.
    pub outdated: bool,
}

/// A stopped instance that is not counted, so that others are started or launched in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub id: InstanceId,
    /// The number in its name; absent until it is named.
    pub number: Option<u32>,
    /// Why, as a sentence without a full stop.
    pub reason: String,
    /// When it is counted again; absent when it is to be terminated.
    pub until: Option<Timestamp>,
}

/// The state of an instance and its worker. See `muster.v1.InstanceState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InstanceState {
    /// In the warm pool: may be started.
    Stopped,
    /// Started, not yet running.
    Pending,
    /// Running, worker not yet ready.
    Booting,
    Idle,
    Busy,
    /// Ordered to take no more work; not yet confirmed.
    Draining,
    /// Confirmed: idle, and no receive call outstanding.
    Cordoned,
    Stopping,
}

/// Until when calls of each kind are held back, because EC2 refused the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallBackoff {
    pub start: Option<Timestamp>,
    pub launch: Option<Timestamp>,
    pub stop: Option<Timestamp>,
    pub rename: Option<Timestamp>,
    #[serde(default)]
    pub refused: RefusedCalls,
}

/// Why the last call of each kind failed: EC2's error code, or that EC2 did not reply. Absent after a success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCalls {
    pub start: Option<String>,
    pub launch: Option<String>,
    pub stop: Option<String>,
    pub rename: Option<String>,
}

impl Timestamp {
    #[must_use]
    pub const fn after_epoch(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// Time since the Unix epoch.
    #[must_use]
    pub const fn elapsed(self) -> Duration {
        self.0
    }

    /// Zero when `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }

    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl From<SystemTime> for Timestamp {
    /// Times before 1970 become 1970.
    fn from(time: SystemTime) -> Self {
        Self(
            time.duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        )
    }
}

impl InstanceId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for InstanceId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<String> for InstanceId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FrontDemand {
    /// Returns whether no photo and no frame is to be done.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.unanswered == 0 && self.waiting_frames == 0
    }
}

impl Counters {
    /// All messages that are not deleted.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.visible
            .saturating_add(self.in_flight)
            .saturating_add(self.delayed)
    }
}

impl InstanceState {
    pub const ALL: [Self; 8] = [
        Self::Stopped,
        Self::Pending,
        Self::Booting,
        Self::Idle,
        Self::Busy,
        Self::Draining,
        Self::Cordoned,
        Self::Stopping,
    ];

    /// Returns whether the instance serves requests or is going to.
    #[must_use]
    pub fn is_capacity(self) -> bool {
        matches!(
            self,
            Self::Pending | Self::Booting | Self::Idle | Self::Busy
        )
    }

    /// Returns whether the instance was told to take no more work and may still be uncordoned.
    #[must_use]
    pub fn is_withdrawn(self) -> bool {
        matches!(self, Self::Draining | Self::Cordoned)
    }

    /// Lower-case, as in metrics and tables.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Pending => "pending",
            Self::Booting => "booting",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Cordoned => "cordoned",
            Self::Stopping => "stopping",
        }
    }
}

impl Instance {
    /// Returns whether it is down for good: it will not be started again.
    pub(crate) fn is_spent(&self) -> bool {
        self.outdated && matches!(self.state, InstanceState::Stopped | InstanceState::Stopping)
    }

    /// Returns whether it serves requests or is going to, and is not about to end.
    #[must_use]
    pub fn is_capacity(&self) -> bool {
        self.state.is_capacity() && !self.leaving
    }
}

impl Observation {
    /// Returns the time by which the schedule's windows begin and end.
    #[must_use]
    pub fn time_of_day(&self) -> Timestamp {
        self.wall_clock.unwrap_or(self.now)
    }

    /// Returns whether EC2's answer is recent enough to launch, cordon and stop workers by. Its age counts from when it
    /// was complete, so that a slow EC2 slows the scaler and does not stop it. Orders that were given meanwhile are in
    /// the view already.
    #[must_use]
    pub fn fleet_is_fresh(&self, timeouts: &Timeouts) -> bool {
        let stale_after = timeouts.fleet_stale_after.saturating_add(self.described_in);
        let is_recent = |at| self.now.since(at) <= stale_after;
        self.is_described_to_leader() && self.described_at.is_some_and(is_recent)
    }

    /// Returns whether EC2's answer was requested since this scaler leads. An earlier one may lack what the former
    /// leader did last.
    pub(crate) fn is_described_to_leader(&self) -> bool {
        self.described_at >= self.leads_since
    }

    /// Returns how many instances are in `state`, including those of launches in progress.
    #[must_use]
    pub fn count(&self, state: InstanceState) -> u32 {
        let listed = self
            .instances
            .iter()
            .filter(|instance| instance.state == state)
            .count();
        let launching = if state == InstanceState::Pending {
            self.launching
        } else {
            0
        };
        u32::try_from(listed)
            .unwrap_or(u32::MAX)
            .saturating_add(launching)
    }

    /// Returns how many instances serve requests or are going to.
    pub(crate) fn working(&self) -> u32 {
        let working = self.instances.iter().filter(|it| it.is_capacity()).count();
        u32::try_from(working)
            .unwrap_or(u32::MAX)
            .saturating_add(self.launching)
    }
}
