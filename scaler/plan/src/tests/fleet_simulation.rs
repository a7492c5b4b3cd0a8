//! A fleet over time whose plans are executed at once: for rules that have windows and intervals.

use std::time::Duration;

use crate::fixtures::{Fleet, NOW};
use crate::{Counters, FrontDemand, InstanceState, Plan, PolicyKind, Timestamp, Timestamped, plan};

/// Starts with stopped instances, and with no demand.
#[derive(Debug)]
pub struct FleetSimulation {
    pub fleet: Fleet,
    /// How long instances take to become ready.
    boot: Duration,
    front_is_lost: bool,
    queue_is_lost: bool,
    /// Messages that front has forgotten.
    forgotten: u64,
}

/// Returns the index of the first change of the wanted number, and the number then.
pub fn first_change(wanted: &[u32]) -> Option<(usize, u32)> {
    let changed = wanted.iter().position(|it| *it != wanted[0])?;
    Some((changed, wanted[changed]))
}

/// Returns at which seconds the wanted number falls, and to what. The first number is that of second `from`.
pub fn falls(wanted: &[u32], from: u64) -> Vec<(u64, u32)> {
    wanted
        .windows(2)
        .zip(from + 1..)
        .filter(|(pair, _)| pair[0] > pair[1])
        .map(|(pair, second)| (second, pair[1]))
        .collect()
}

impl FleetSimulation {
    /// Up to `max_workers`, of which `ready` are up.
    pub fn under(kind: PolicyKind, ready: usize, max_workers: u32) -> Self {
        let stopped = (max_workers as usize).saturating_sub(ready);
        let fleet = Fleet::of(ready).idle().and(stopped).bounded(0, max_workers);
        let mut simulation = Self {
            fleet,
            boot: Duration::ZERO,
            front_is_lost: false,
            queue_is_lost: false,
            forgotten: 0,
        };
        simulation.fleet.policy.kind = kind;
        for instance in &mut simulation.fleet.observation.instances {
            // These tests are not about silent workers.
            (instance.heard, instance.running_since) = (None, None);
        }
        simulation
    }

    pub fn with_min_workers(mut self, min_workers: u32) -> Self {
        self.fleet.policy.bounds.min_workers = min_workers;
        self
    }

    pub fn booting_for_seconds(mut self, seconds: u64) -> Self {
        self.boot = Duration::from_secs(seconds);
        self
    }

    pub fn with_forgotten_messages(mut self, messages: u64) -> Self {
        self.forgotten = messages;
        self
    }

    pub fn lose(&mut self, front: bool, queue: bool) {
        (self.front_is_lost, self.queue_is_lost) = (front, queue);
    }

    /// Returns how many workers are wanted `second`s after the beginning, with this many unanswered requests.
    pub fn at(&mut self, second: u64, unanswered: u64) -> u32 {
        self.plan_at(second, unanswered).desired_workers
    }

    /// Returns the same for each second from the first to the last.
    pub fn through(&mut self, seconds: std::ops::RangeInclusive<u64>, unanswered: u64) -> Vec<u32> {
        seconds.map(|second| self.at(second, unanswered)).collect()
    }

    /// Plans, executes the plan, and checks that planning again changes nothing.
    pub fn plan_at(&mut self, second: u64, unanswered: u64) -> Plan {
        let now = NOW.after(Duration::from_secs(second));
        self.pass_time(now);
        self.demand(now, unanswered);
        let observation = self.fleet.observation.clone();
        let (decided, memory) = plan(&self.fleet.policy, &observation, self.fleet.memory.clone());
        self.fleet.memory = memory;
        let limits = self.fleet.policy.limits(now, 0);
        assert!(
            (limits.min_workers..=limits.max_workers).contains(&decided.desired_workers),
            "{decided:?}"
        );
        assert!(
            decided.wake_at.is_none_or(|wake_at| wake_at > now),
            "{decided:?}"
        );
        self.carry_out(&decided, now);
        let memory = self.fleet.memory.clone();
        let (again, memory) = plan(&self.fleet.policy, &self.fleet.observation, memory);
        assert_eq!(again.desired_workers, decided.desired_workers);
        assert!(!again.changes_something(), "{decided:?} {again:?}");
        self.fleet.memory = memory;
        decided
    }

    fn pass_time(&mut self, now: Timestamp) {
        let observation = &mut self.fleet.observation;
        (observation.now, observation.described_at) = (now, Some(now));
        for instance in &mut observation.instances {
            let next = match instance.state {
                InstanceState::Pending | InstanceState::Booting
                    if now.since(instance.since) >= self.boot =>
                {
                    InstanceState::Idle
                }
                InstanceState::Draining => InstanceState::Cordoned,
                InstanceState::Stopping => InstanceState::Stopped,
                state => state,
            };
            if next != instance.state {
                (instance.state, instance.since) = (next, now);
            }
        }
    }

    fn demand(&mut self, now: Timestamp, unanswered: u64) {
        let observation = &mut self.fleet.observation;
        let mut served = 0;
        for instance in &mut observation.instances {
            let state = match instance.state {
                InstanceState::Idle | InstanceState::Busy if served < unanswered => {
                    InstanceState::Busy
                }
                InstanceState::Idle | InstanceState::Busy => InstanceState::Idle,
                _ => continue,
            };
            served += u64::from(state == InstanceState::Busy);
            if state != instance.state {
                (instance.state, instance.since) = (state, now);
            }
        }
        let demand = FrontDemand {
            unanswered,
            ..FrontDemand::default()
        };
        let counters = Counters {
            visible: unanswered - served + self.forgotten,
            in_flight: served,
            delayed: 0,
        };
        observation.front = (!self.front_is_lost).then_some(Timestamped {
            value: demand,
            at: now,
        });
        observation.queue = (!self.queue_is_lost).then_some(Timestamped {
            value: counters,
            at: now,
        });
    }

    fn carry_out(&mut self, decided: &Plan, now: Timestamp) {
        assert_eq!(decided.launch, 0, "there are as many instances as allowed");
        for instance in &mut self.fleet.observation.instances {
            let id = &instance.id;
            let state = if decided.start.contains(id) {
                InstanceState::Pending
            } else if decided.cordon.contains(id) {
                InstanceState::Draining
            } else if decided.uncordon.contains(id) {
                InstanceState::Idle
            } else if decided.stop.iter().any(|stop| stop.id == *id) {
                InstanceState::Stopping
            } else {
                continue;
            };
            (instance.state, instance.since) = (state, now);
        }
    }
}
