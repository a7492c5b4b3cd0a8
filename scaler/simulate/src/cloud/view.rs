//! What the scaler observes: late, and incomplete.

use std::time::Duration;

use scaler_plan::pace::{LONGEST_SLEEP, count_interval, describe_interval};
use scaler_plan::{
    Billing, Counters, FrontDemand, InstanceState, Observation, Timestamp, Timestamped,
};

use super::{Cloud, Machine, Phase, Power};
use crate::{Micros, micros};

/// Midnight of a day that is long after the epoch, so that no timeout reaches back before it.
const BEGINNING: Duration = Duration::from_secs(20_000 * 24 * 60 * 60);

pub(crate) fn timestamp(at: Micros) -> Timestamp {
    Timestamp::after_epoch(BEGINNING + Duration::from_micros(at))
}

/// Returns the first microsecond that is not before `at`.
pub(crate) fn micros_at(at: Timestamp) -> Micros {
    let passed = at.since(Timestamp::after_epoch(BEGINNING));
    micros(passed + Duration::from_nanos(999))
}

impl Cloud {
    /// Returns how long after the last poll EC2 and the queue are polled next.
    pub(crate) fn poll_interval(&self) -> Micros {
        let tick = self.scenario.tick;
        if !self.scenario.adaptive_polling {
            return micros(tick);
        }
        let describe = describe_interval(&self.observation, tick);
        let count = count_interval(&self.observation, tick);
        micros(describe.min(count).min(LONGEST_SLEEP))
    }

    /// Polls EC2 and the queue. The answers are as old as the calls' latency.
    pub fn poll(&mut self) {
        let describe_latency = micros(self.scenario.describe_latency);
        if !self.faults.ec2_is_lost {
            self.described_at = self.now.checked_sub(describe_latency);
            self.observation.described_at = self.described_at.map(timestamp);
            if let Some(described_at) = self.described_at.filter(|_| !self.faults.list_lags) {
                let unlisted = self.machines.iter_mut().filter(|it| !it.listed);
                unlisted.for_each(|it| it.listed = it.created_at <= described_at);
            }
        }
        self.counted.push_back((self.now, self.counters()));
        let asked_at = self.now.checked_sub(micros(self.scenario.count_latency));
        let Some(asked_at) = asked_at.filter(|_| !self.faults.queue_is_lost) else {
            return;
        };
        let as_of = asked_at.saturating_sub(micros(self.scenario.count_lag));
        while self.counted.get(1).is_some_and(|(at, _)| *at <= as_of) {
            self.counted.pop_front();
        }
        self.observation.queue = self.counted.front().map(|(_, value)| Timestamped {
            value: match self.faults.counters_are_blind {
                true => Counters::default(),
                false => *value,
            },
            at: timestamp(asked_at),
        });
    }

    /// Forgets what was observed, as a restarted scaler has.
    pub fn forget_observations(&mut self) {
        (self.observation.front, self.observation.queue) = (None, None);
        (self.observation.described_at, self.described_at) = (None, None);
    }

    /// Returns what the scaler knows now.
    pub fn observe(&mut self) -> &Observation {
        let (now, described_at) = (self.now(), self.described_at);
        for (machine, instance) in self.machines.iter().zip(&mut self.observation.instances) {
            instance.outdated = machine.outdated;
            if machine.phase == Phase::Stopped && instance.state == InstanceState::Stopped {
                continue;
            }
            let power = machine.power(described_at);
            instance.state = machine.state(power);
            instance.since = timestamp(machine.since);
            instance.heard = heard(machine, now);
            instance.started_at = (machine.epoch > 0).then(|| timestamp(machine.started_at));
            instance.running_since = machine
                .running_at
                .filter(|_| power == Power::Running)
                .map(timestamp);
            (instance.listed, instance.leaving) = (machine.listed, machine.leaving);
        }
        self.observation.now = now;
        if !self.faults.front_is_lost {
            self.observation.front = Some(Timestamped {
                value: FrontDemand {
                    unanswered: self.unanswered(),
                    accepted_total: self.outcome.accepted,
                    answered_total: self.outcome.answered,
                    waiting_frames: self.undone_frames(),
                    frames_done_total: self.outcome.frames_done,
                },
                at: now,
            });
        }
        let (still_paid, paid_off_at) = self.bill.still_paid(now);
        self.observation.billing = Billing {
            // No plan depends on it.
            spent: 0.0,
            still_paid,
            paid_off_at,
        };
        &self.observation
    }

    /// Returns EC2's description of a machine as of the last poll.
    #[must_use]
    pub fn power(&self, index: usize) -> Power {
        self.machines[index].power(self.described_at)
    }
}

/// A live worker reports all the time.
fn heard(machine: &Machine, now: Timestamp) -> Option<Timestamp> {
    match machine.phase {
        Phase::Dead => Some(timestamp(machine.since)),
        _ if machine.has_worker() => Some(now),
        _ => None,
    }
}
