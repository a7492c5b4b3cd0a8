//! One instance and its worker, as they truly are.

use super::Micros;
use crate::plan::State;

/// What an instance and its worker do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Stopped,
    /// Ordered to start; the worker process is not there yet.
    Starting,
    /// The worker reports, and loads its model.
    Loading,
    Idle,
    Busy,
    /// The worker died, and its job with it.
    Dead,
    Stopping,
}

#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub phase: Phase,
    pub since: Micros,
    /// Counts what makes events that were scheduled before void.
    pub epoch: u32,
    pub cordoned: bool,
    /// Whether the worker has confirmed that it takes no more work.
    pub confirmed: bool,
    pub started_at: Micros,
    /// When EC2 has it running; absent before.
    pub running_at: Option<Micros>,
    /// How long from the order to start to a ready worker; absent when that never comes.
    pub boot: Option<Micros>,
    pub created_at: Micros,
    /// The place in the list of workers that wait for work.
    pub waits_at: usize,
    /// When the request that it works on was accepted.
    pub request: Micros,
    /// Whether it dies at the end of the job.
    pub dies: bool,
}

impl Machine {
    pub(super) fn stopped(created_at: Micros) -> Self {
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
            waits_at: 0,
            request: 0,
            dies: false,
        }
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Micros) {
        (self.phase, self.since) = (phase, now);
    }

    pub(super) fn is_up(&self) -> bool {
        !matches!(self.phase, Phase::Stopped | Phase::Stopping)
    }

    /// Whether the worker has reported since the start.
    pub(super) fn attends(&self) -> bool {
        matches!(
            self.phase,
            Phase::Loading | Phase::Idle | Phase::Busy | Phase::Dead
        )
    }

    /// What the scaler takes it for, by EC2's answer to a question asked at `described_at` and the worker's reports.
    pub(super) fn seen(&self, described_at: Option<Micros>) -> State {
        let described = |at| described_at.is_some_and(|described_at| at <= described_at);
        let is_running = self.running_at.is_some_and(described);
        match self.phase {
            Phase::Stopped if described(self.since) => State::Stopped,
            Phase::Stopped | Phase::Stopping => State::Stopping,
            // EC2 would refuse to stop one that it does not have running.
            _ if self.confirmed && is_running => State::Cordoned,
            _ if self.cordoned => State::Draining,
            Phase::Starting if !is_running => State::Pending,
            Phase::Starting | Phase::Loading => State::Booting,
            Phase::Idle => State::Idle,
            // A dead worker said last that it was at work.
            Phase::Busy | Phase::Dead => State::Busy,
        }
    }
}
