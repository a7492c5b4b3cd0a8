//! From a wanted number of workers to the moves that lead there. The same for all policies.

use std::collections::HashSet;
use std::time::Duration;

use super::{
    Instance, InstanceId, Limits, Memory, Moment, Observation, Plan, Policy, ScaleIn, State, Stop,
    StopCause, Target,
};

pub(super) struct Moves<'a> {
    policy: &'a Policy,
    limits: Limits,
    observation: &'a Observation,
    /// How many workers are wanted, within the limits.
    desired: u32,
    target: Target,
    /// Instances whose worker is given up, and why.
    lost: Vec<(&'a Instance, StopCause)>,
    /// Whether EC2's answer is recent enough to withdraw workers by.
    fleet_is_fresh: bool,
    wake_at: Option<Moment>,
}

impl<'a> Moves<'a> {
    pub(super) fn new(
        policy: &'a Policy,
        limits: Limits,
        observation: &'a Observation,
        memory: &Memory,
        target: Target,
    ) -> Self {
        let patience = &policy.patience;
        let fleet_is_fresh = observation
            .described_at
            .is_some_and(|at| observation.now.since(at) <= patience.fleet_stale_after);
        let mut moves = Self {
            policy,
            limits,
            observation,
            desired: limits.clamp(target.desired),
            wake_at: target.wake_at,
            target,
            lost: Vec::new(),
            fleet_is_fresh,
        };
        if fleet_is_fresh {
            moves.find_lost(memory);
        }
        moves
    }

    pub(super) fn plan(mut self) -> Plan {
        let mut plan = Plan {
            desired_workers: self.desired,
            rejected: std::mem::take(&mut self.target.rejected),
            completes_in: self.target.completes_in,
            ..Plan::default()
        };
        let working = self.working();
        let missing = self.desired.saturating_sub(working);
        let surplus = working.saturating_sub(self.desired);
        if missing > 0 {
            plan.uncordon = self.call_back(missing);
            let missing = missing - len(&plan.uncordon);
            self.add_capacity(missing, &mut plan);
        } else if surplus > 0 && self.fleet_is_fresh {
            plan.cordon = self.withdraw(surplus);
        }
        if self.fleet_is_fresh {
            plan.stop = self.stops(&plan.uncordon);
        }
        plan.rename = self.renames();
        plan.wake_at = self.wake_at;
        plan
    }

    /// A worker that reports is trusted, one that does not is given up: past a deadline, and only while the scaler was
    /// there to hear it.
    fn find_lost(&mut self, memory: &Memory) {
        let patience = &self.policy.patience;
        for instance in &self.observation.instances {
            // EC2 cannot stop what it does not describe as running.
            let Some(running_since) = instance.running_since else {
                continue;
            };
            if !matches!(
                instance.state,
                State::Booting | State::Idle | State::Busy | State::Draining | State::Cordoned
            ) {
                continue;
            }
            let (quiet_since, deadline, cause) = match instance.heard {
                Some(heard) => (heard, patience.silence_deadline, StopCause::Silent),
                None => (
                    running_since,
                    patience.boot_deadline,
                    StopCause::NeverAttended,
                ),
            };
            let given_up_at = quiet_since.max(memory.watching_since).after(deadline);
            if self.observation.now > given_up_at {
                self.lost.push((instance, cause));
            } else {
                self.wake(given_up_at.after(Duration::from_millis(1)));
            }
        }
    }

    fn working(&self) -> u32 {
        let lost = self
            .lost
            .iter()
            .filter(|(instance, _)| instance.state.is_capacity())
            .count();
        self.observation.working() - len_of(lost)
    }

    fn is_lost(&self, instance: &Instance) -> bool {
        self.lost.iter().any(|(lost, _)| lost.id == instance.id)
    }

    fn in_state(&self, state: State) -> impl Iterator<Item = &'a Instance> {
        self.observation
            .instances
            .iter()
            .filter(move |instance| instance.state == state && !self.is_lost(instance))
    }

    /// Workers that were told to go but are still there are the fastest capacity: those that wait for work first, then
    /// those that finish a job.
    fn call_back(&self, missing: u32) -> Vec<InstanceId> {
        let withdrawn = self
            .in_state(State::Cordoned)
            .chain(self.in_state(State::Draining));
        withdrawn
            .take(missing as usize)
            .map(|instance| instance.id.clone())
            .collect()
    }

    fn add_capacity(&mut self, missing: u32, plan: &mut Plan) {
        let room = self.limits.max_workers.saturating_sub(self.active());
        let wanted = missing.min(room);
        let failed_boots = self.observation.failed_boots;
        if wanted == 0 || !self.may(failed_boots.map(|failed| failed.held_until)) {
            return;
        }
        let stopped: Vec<_> = self
            .in_state(State::Stopped)
            .take(wanted as usize)
            .collect();
        let from_pool = len(&stopped);
        if self.may(self.observation.held.start) {
            plan.start = stopped.iter().map(|instance| instance.id.clone()).collect();
        }
        // A launch by an old description could exceed the maximum: others may have been launched since.
        if self.fleet_is_fresh && wanted > from_pool && self.may(self.observation.held.launch) {
            plan.launch = (wanted - from_pool).min(self.launch_room());
        }
    }

    /// How many instances there may be more. Those that are stopping can be started soon, so they count, except those
    /// that take too long.
    fn launch_room(&mut self) -> u32 {
        let (now, patience) = (self.observation.now, self.policy.patience.stopping_patience);
        let mut existing = self.observation.launching;
        for instance in &self.observation.instances {
            let startable_at = instance.since.after(patience);
            if instance.state != State::Stopping || now < startable_at {
                existing = existing.saturating_add(1);
            }
            if instance.state == State::Stopping && now < startable_at {
                self.wake(startable_at);
            }
        }
        self.limits.max_workers.saturating_sub(existing)
    }

    fn withdraw(&mut self, surplus: u32) -> Vec<InstanceId> {
        let chosen: Vec<&Instance> = match self.target.scale_in {
            ScaleIn::Hold => Vec::new(),
            ScaleIn::AtOnce => [State::Pending, State::Booting, State::Idle, State::Busy]
                .into_iter()
                .flat_map(|state| self.in_state(state))
                .collect(),
            ScaleIn::Idle => {
                let idle_time = self.policy.patience.idle_time;
                let mut idle: Vec<_> = self.in_state(State::Idle).collect();
                idle.sort_by_key(|instance| instance.since);
                let now = self.observation.now;
                let (rested, resting): (Vec<_>, Vec<_>) = idle
                    .into_iter()
                    .partition(|instance| now.since(instance.since) >= idle_time);
                if let Some(next) = resting.first() {
                    self.wake(next.since.after(idle_time));
                }
                rested
            }
        };
        chosen
            .iter()
            .take(surplus as usize)
            .map(|instance| instance.id.clone())
            .collect()
    }

    fn stops(&mut self, called_back: &[InstanceId]) -> Vec<Stop> {
        let called_back: HashSet<_> = called_back.iter().collect();
        let mut stops: Vec<_> = self
            .lost
            .iter()
            .map(|(instance, cause)| stop(instance, *cause))
            .collect();
        if self.target.scale_in != ScaleIn::Hold {
            let drained = self
                .in_state(State::Cordoned)
                .filter(|i| !called_back.contains(&i.id));
            stops.extend(drained.map(|instance| stop(instance, StopCause::Drained)));
        }
        if stops.is_empty() || self.may(self.observation.held.stop) {
            stops
        } else {
            Vec::new()
        }
    }

    /// The lowest free numbers, for instances without one and for those whose number another one has too.
    fn renames(&mut self) -> Vec<(InstanceId, u32)> {
        let mut taken = HashSet::new();
        let mut unnamed = Vec::new();
        for instance in &self.observation.instances {
            if !instance.number.is_some_and(|number| taken.insert(number)) && instance.listed {
                unnamed.push(instance);
            }
        }
        if unnamed.is_empty() || !self.may(self.observation.held.rename) {
            return Vec::new();
        }
        let mut free = (1..).filter(|number| !taken.contains(number));
        unnamed
            .into_iter()
            .filter_map(|instance| Some((instance.id.clone(), free.next()?)))
            .collect()
    }

    /// Everything that runs or is about to, also what is given up but not stopped yet.
    fn active(&self) -> u32 {
        let withdrawn = self
            .observation
            .instances
            .iter()
            .filter(|i| i.state.is_withdrawn())
            .count();
        self.observation.working().saturating_add(len_of(withdrawn))
    }

    /// Whether a call may be made; wakes the scaler when it may be made again.
    fn may(&mut self, held_until: Option<Moment>) -> bool {
        match held_until {
            Some(moment) if self.observation.now < moment => {
                self.wake(moment);
                false
            }
            _ => true,
        }
    }

    fn wake(&mut self, moment: Moment) {
        self.wake_at = Some(self.wake_at.map_or(moment, |earlier| earlier.min(moment)));
    }
}

fn stop(instance: &Instance, cause: StopCause) -> Stop {
    Stop {
        id: instance.id.clone(),
        cause,
    }
}

fn len<T>(items: &[T]) -> u32 {
    len_of(items.len())
}

fn len_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
