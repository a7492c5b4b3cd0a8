use scaler_plan::InstanceState;

use super::Job;
use crate::Micros;

/// What an instance and its worker do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Stopped,
    /// Started; the worker process does not exist yet.
    Starting,
    /// The worker reports, and loads its model.
    Loading,
    Idle,
    Busy,
    /// The worker hangs or has died, and its job with it.
    Dead,
    Stopping,
    Terminated,
}

/// An instance's state as EC2 describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    Stopped,
    Pending,
    Running,
    Stopping,
}

/// One instance and its worker, as they truly are.
#[derive(Debug, Clone)]
pub struct Machine {
    pub phase: Phase,
    pub since: Micros,
    /// Counts what voids the events that were scheduled before.
    pub(super) epoch: u32,
    /// Whether the worker was told to take no more work.
    pub cordoned: bool,
    /// Whether the worker has confirmed that it takes no more work.
    pub confirmed: bool,
    pub started_at: Micros,
    /// When EC2 had it running; absent before.
    pub running_at: Option<Micros>,
    /// From the start to a ready worker; absent when the boot fails.
    pub(super) boot: Option<Micros>,
    pub(super) created_at: Micros,
    /// Whether EC2 has listed it.
    pub(super) listed: bool,
    /// Whether EC2 never brings it up.
    pub is_stuck: bool,
    /// Whether AWS is about to end it.
    pub leaving: bool,
    /// Whether it was launched from an image that is old now.
    pub outdated: bool,
    /// The index in the list of workers that wait for work.
    pub(super) waits_at: usize,
    /// The job in progress.
    pub(super) job: Job,
    /// Whether the worker dies at the end of the job.
    pub(super) dies: bool,
    /// How many jobs the worker has finished since the start.
    pub completed: u64,
}

impl Machine {
    pub(super) fn stopped(created_at: Micros, listed: bool) -> Self {
        Self {
            phase: Phase::Stopped,
            since: created_at,
            epoch: 0,
            cordoned: false,
            confirmed: false,
            started_at: created_at,
            running_at: None,
            boot: None,
            created_at,
            listed,
            is_stuck: false,
            leaving: false,
            outdated: false,
            waits_at: 0,
            job: Job::Frame,
            dies: false,
            completed: 0,
        }
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Micros) {
        (self.phase, self.since) = (phase, now);
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Stopped | Phase::Stopping | Phase::Terminated
        )
    }

    /// Returns whether its worker process exists and works.
    #[must_use]
    pub fn has_worker(&self) -> bool {
        matches!(self.phase, Phase::Loading | Phase::Idle | Phase::Busy)
    }

    /// Returns what EC2 described when it was polled at `described_at`. Calls since then count at once.
    pub(super) fn power(&self, described_at: Option<Micros>) -> Power {
        let described = |at| described_at.is_some_and(|described_at| at <= described_at);
        match self.phase {
            Phase::Stopped if described(self.since) => Power::Stopped,
            Phase::Stopped | Phase::Stopping | Phase::Terminated => Power::Stopping,
            _ if self.listed && self.running_at.is_some_and(described) => Power::Running,
            _ => Power::Pending,
        }
    }

    /// Returns its state by `power` and by the worker's reports.
    pub(super) fn state(&self, power: Power) -> InstanceState {
        match (power, self.phase) {
            (Power::Stopped, _) => InstanceState::Stopped,
            (Power::Stopping, _) => InstanceState::Stopping,
            // EC2 would refuse to stop an instance that is not running.
            (Power::Running, _) if self.confirmed => InstanceState::Cordoned,
            _ if self.cordoned => InstanceState::Draining,
            (Power::Pending, Phase::Starting) => InstanceState::Pending,
            (_, Phase::Starting | Phase::Loading) => InstanceState::Booting,
            (_, Phase::Idle) => InstanceState::Idle,
            // A dead worker's last report was busy.
            _ => InstanceState::Busy,
        }
    }
}
