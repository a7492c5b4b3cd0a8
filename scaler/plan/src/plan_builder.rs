//! From a desired number of workers to the calls that lead there, for all policies.

use std::collections::HashSet;

use crate::lost::LostInstances;
use crate::policies::{ScaleIn, Target};
use crate::{
    Instance, InstanceId, InstanceState, KeepIdle, Memory, Observation, Plan, Policy, Stop,
    StopCause, Timestamp, WorkerLimits,
};

pub(crate) struct PlanBuilder<'a> {
    policy: &'a Policy,
    limits: WorkerLimits,
    observation: &'a Observation,
    /// How many workers are wanted, within the limits.
    desired: u32,
    target: Target,
    memory: &'a Memory,
    lost: LostInstances<'a>,
    /// Whether EC2's answer is recent enough to cordon workers by.
    fleet_is_fresh: bool,
    wake_at: Option<Timestamp>,
}

impl<'a> PlanBuilder<'a> {
    pub(crate) fn new(
        policy: &'a Policy,
        limits: WorkerLimits,
        observation: &'a Observation,
        memory: &'a Memory,
        lost: LostInstances<'a>,
        target: Target,
    ) -> Self {
        let wake_at = [target.wake_at, lost.next_at].into_iter().flatten().min();
        Self {
            policy,
            limits,
            desired: limits.clamp(target.desired).max(target.frames.workers),
            fleet_is_fresh: observation.fleet_is_fresh(&policy.timeouts),
            observation,
            target,
            memory,
            lost,
            wake_at,
        }
    }

    pub(crate) fn build(mut self) -> Plan {
        let mut plan = Plan {
            desired_workers: self.desired,
            rejected: std::mem::take(&mut self.target.rejected),
            completes_in: self.target.completes_in,
            ..Plan::default()
        };
        let working = self.working();
        let missing = self.desired.saturating_sub(working);
        let surplus = working.saturating_sub(self.desired);
        plan.uncordon = self.call_back(missing);
        if self.fleet_is_fresh {
            plan.stop = self.stops(&plan.uncordon);
        }
        let missing = missing - len(&plan.uncordon);
        if missing > 0 {
            self.add_capacity(missing, &mut plan);
        } else if surplus > 0 && self.fleet_is_fresh {
            plan.cordon = self.withdraw(surplus);
        }
        if self.fleet_is_fresh {
            let will_boot = plan.launch > 0 || !plan.start.is_empty();
            if self.target.scale_in != ScaleIn::Hold && !will_boot && !self.is_booting() {
                self.fill_the_warm_pool(&mut plan);
            }
            let at_work = self
                .leaving()
                .filter(|instance| instance.state.is_capacity());
            plan.cordon
                .extend(at_work.map(|instance| instance.id.clone()));
        }
        if self.limits.max_workers < self.policy.bounds.max_workers
            && let Some(paid_off_at) = self.observation.billing.paid_off_at
        {
            self.wake(paid_off_at);
        }
        plan.rename = self.renames();
        plan.wake_at = self.wake_at;
        plan
    }

    fn working(&self) -> u32 {
        let lost = self.lost.instances.iter();
        let lost = lost.filter(|instance| instance.is_capacity()).count();
        self.observation.working() - len_of(lost)
    }

    fn in_state(&self, state: InstanceState) -> impl Iterator<Item = &'a Instance> {
        self.observation.instances.iter().filter(move |instance| {
            instance.state == state && !instance.leaving && !self.lost.contains(instance)
        })
    }

    /// Instances that AWS is about to end.
    fn leaving(&self) -> impl Iterator<Item = &'a Instance> {
        self.observation
            .instances
            .iter()
            .filter(|instance| instance.leaving && !self.lost.contains(instance))
    }

    /// Cordoned workers are the fastest capacity, draining ones the second fastest.
    fn call_back(&self, missing: u32) -> Vec<InstanceId> {
        let mut cordoned: Vec<_> = self.in_state(InstanceState::Cordoned).collect();
        cordoned.sort_by_key(|instance| instance.outdated);
        cordoned
            .into_iter()
            .chain(self.in_state(InstanceState::Draining))
            .take(missing as usize)
            .map(|instance| instance.id.clone())
            .collect()
    }

    fn add_capacity(&mut self, missing: u32, plan: &mut Plan) {
        let wanted = missing.min(self.room(&plan.stop));
        if wanted == 0 || !self.may_add() {
            return;
        }
        let stopped: Vec<_> = self
            .in_state(InstanceState::Stopped)
            .filter(|instance| !instance.outdated)
            .take(wanted as usize)
            .collect();
        let from_pool = len(&stopped);
        if self.observation.is_described_to_leader()
            && self.may(self.observation.call_backoff.start)
        {
            plan.start = stopped.iter().map(|instance| instance.id.clone()).collect();
        }
        // A launch by an old description could exceed the maximum: others may have been launched since.
        if self.fleet_is_fresh
            && wanted > from_pool
            && self.may(self.observation.call_backoff.launch)
        {
            plan.launch = (wanted - from_pool).min(self.launch_room(&plan.stop));
        }
    }

    /// Returns whether instances may be started or launched at all.
    fn may_add(&mut self) -> bool {
        let failed_boots = self.observation.failed_boots;
        let cooldown = self.policy.bounds.scale_out_cooldown;
        let is_for_photos = self.limits.clamp(self.target.desired) > self.working();
        let added_at = if is_for_photos {
            self.memory.added_at
        } else {
            self.memory.added_at.max(self.memory.added_for_frames_at)
        };
        let cooled = added_at.map(|at| at.after(cooldown));
        self.may(failed_boots.map(|failed| failed.held_until)) && self.may(cooled)
    }

    /// Returns whether any instance is on its way up. Until it is ready, the policy's need is not final.
    fn is_booting(&self) -> bool {
        let booting = [InstanceState::Pending, InstanceState::Booting];
        self.observation.launching > 0 || !self.in_states(&booting).is_empty()
    }

    /// Launches the instances that the warm pool lacks. They boot once and stop as any unneeded worker.
    fn fill_the_warm_pool(&mut self, plan: &mut Plan) {
        let there = len_of(self.lasting(&plan.stop).count());
        let needed = self.limits.clamp(self.target.needed);
        let needed = needed.max(self.target.frames.workers);
        let wanted = needed.saturating_add(self.policy.bounds.warm_pool);
        let missing = wanted.min(self.limits.max_workers).saturating_sub(there);
        let missing = missing.min(self.room(&plan.stop));
        if missing > 0 && self.may_add() && self.may(self.observation.call_backoff.launch) {
            plan.launch = missing;
        }
    }

    /// Returns how many more instances may exist. Stopping ones can be started soon, so they count, unless they take
    /// too long.
    fn launch_room(&mut self, stops: &[Stop]) -> u32 {
        let (now, timeout) = (self.observation.now, self.policy.timeouts.stopping_timeout);
        let mut existing = self.observation.launching;
        for instance in self.lasting(stops).collect::<Vec<_>>() {
            let startable_at = instance.since.after(timeout);
            if instance.state != InstanceState::Stopping || now < startable_at {
                existing = existing.saturating_add(1);
            }
            if instance.state == InstanceState::Stopping && now < startable_at {
                self.wake(startable_at);
            }
        }
        self.limits.max_workers.saturating_sub(existing)
    }

    /// The instances that run or may be started again, after these stops.
    fn lasting(&self, stops: &[Stop]) -> impl Iterator<Item = &'a Instance> {
        let gone: HashSet<_> = stops.iter().map(|stop| stop.id.clone()).collect();
        self.observation.instances.iter().filter(move |it| {
            let is_spent = it.is_spent() || (it.outdated && gone.contains(&it.id));
            !is_spent && !self.lost.never_started(it)
        })
    }

    fn withdraw(&mut self, surplus: u32) -> Vec<InstanceId> {
        let excess = self.working().saturating_sub(self.limits.max_workers);
        if excess > 0 {
            // Lowered limits hold under every policy.
            let all = [
                InstanceState::Pending,
                InstanceState::Booting,
                InstanceState::Idle,
                InstanceState::Busy,
            ];
            return ids(self.in_states(&all), excess);
        }
        let bounds = &self.policy.bounds;
        let added_at = self.memory.added_at.max(self.memory.added_for_frames_at);
        let changed_at = added_at.max(self.memory.withdrawn_at);
        if !self.may(changed_at.map(|at| at.after(bounds.scale_in_cooldown))) {
            return Vec::new();
        }
        // Where only ready workers are withdrawn, a booting one does not replace them yet.
        let up = len(&self.in_states(&[InstanceState::Idle, InstanceState::Busy]));
        let replaced = surplus.min(up.saturating_sub(self.desired));
        let chosen: Vec<&Instance> = match self.target.scale_in {
            ScaleIn::Hold => Vec::new(),
            // An instance for the warm pool has to boot before it can stop.
            ScaleIn::AtOnce if bounds.warm_pool > 0 => {
                self.in_states(&[InstanceState::Idle, InstanceState::Busy])
            }
            ScaleIn::AtOnce => {
                let all = [
                    InstanceState::Pending,
                    InstanceState::Booting,
                    InstanceState::Idle,
                    InstanceState::Busy,
                ];
                return ids(self.in_states(&all), surplus);
            }
            ScaleIn::Paid => {
                let now = self.observation.now;
                let waiting = self.in_states(&[InstanceState::Idle]);
                let (paid, unpaid): (Vec<_>, Vec<_>) =
                    waiting.into_iter().partition(|it| now >= self.goes_at(it));
                if let Some(next) = unpaid.iter().map(|it| self.goes_at(it)).min() {
                    self.wake(next);
                }
                paid
            }
            ScaleIn::Idle => {
                let timeouts = &self.policy.timeouts;
                let idle_time = timeouts.keep_idle.bound(timeouts.idle_time);
                let mut idle: Vec<_> = self.in_state(InstanceState::Idle).collect();
                idle.sort_by_key(|instance| (!instance.outdated, instance.since));
                let now = self.observation.now;
                let (rested, resting): (Vec<_>, Vec<_>) = idle
                    .into_iter()
                    .partition(|instance| now.since(instance.since) >= idle_time);
                if let Some(since) = resting.iter().map(|it| it.since).min() {
                    self.wake(since.after(idle_time));
                }
                rested
            }
        };
        ids(chosen, replaced)
    }

    /// Returns when an idle worker may go under [`ScaleIn::Paid`].
    fn goes_at(&self, instance: &Instance) -> Timestamp {
        let paid_until = instance
            .started_at
            .map_or(instance.since, |at| self.policy.prices.paid_until(at));
        match self.policy.timeouts.keep_idle {
            KeepIdle::Auto => paid_until,
            KeepIdle::AtMost(most) => paid_until.min(instance.since.after(most)),
        }
    }

    /// The instances in these states, in this order. In each, outdated ones come first: those are to go.
    fn in_states(&self, states: &[InstanceState]) -> Vec<&'a Instance> {
        let in_state = |state: &InstanceState| {
            let mut found: Vec<_> = self.in_state(*state).collect();
            found.sort_by_key(|instance| !instance.outdated);
            found
        };
        states.iter().flat_map(in_state).collect()
    }

    fn stops(&mut self, called_back: &[InstanceId]) -> Vec<Stop> {
        let called_back: HashSet<_> = called_back.iter().collect();
        let mut stops: Vec<_> = self
            .lost
            .stops
            .iter()
            .map(|(instance, cause)| stop(instance, *cause))
            .collect();
        if self.target.scale_in != ScaleIn::Hold {
            let drained = self
                .in_state(InstanceState::Cordoned)
                .filter(|i| !called_back.contains(&i.id));
            stops.extend(drained.map(drained_stop));
        }
        let leaving = self
            .leaving()
            .filter(|it| it.state == InstanceState::Cordoned);
        stops.extend(leaving.map(drained_stop));
        let spent = self
            .in_state(InstanceState::Stopped)
            .filter(|it| it.outdated);
        stops.extend(spent.map(drained_stop));
        if stops.is_empty() || self.may(self.observation.call_backoff.stop) {
            stops
        } else {
            Vec::new()
        }
    }

    /// The lowest free numbers, for instances without a number and for duplicates.
    fn renames(&mut self) -> Vec<(InstanceId, u32)> {
        // Instances come in the order of their numbers, so most plans need one pass.
        let numbered =
            |pair: &[Instance]| pair[0].number.is_some() && pair[0].number < pair[1].number;
        let instances = &self.observation.instances;
        if instances.first().is_none_or(|it| it.number.is_some())
            && instances.windows(2).all(numbered)
        {
            return Vec::new();
        }
        let mut taken = HashSet::new();
        let mut unnamed = Vec::new();
        for instance in &self.observation.instances {
            if instance.is_spent() {
                continue;
            }
            let stays = instance.listed && !self.lost.never_started(instance);
            if !instance.number.is_some_and(|number| taken.insert(number)) && stays {
                unnamed.push(instance);
            }
        }
        if unnamed.is_empty() || !self.may(self.observation.call_backoff.rename) {
            return Vec::new();
        }
        let mut free = (1..).filter(|number| !taken.contains(number));
        unnamed
            .into_iter()
            .filter_map(|instance| Some((instance.id.clone(), free.next()?)))
            .collect()
    }

    /// Returns how many more instances may run. An instance that the same plan stops makes room for its replacement.
    /// While it stays paid for, it counts towards the budget.
    fn room(&self, stops: &[Stop]) -> u32 {
        let (now, prices) = (self.observation.now, &self.policy.prices);
        let paid = |it: &&Instance| it.started_at.is_some_and(|at| now < prices.paid_until(at));
        let gone: HashSet<_> = stops.iter().map(|stop| &stop.id).collect();
        let gone = self.observation.instances.iter().filter(|it| {
            let was_up = it.state != InstanceState::Stopped && !self.lost.never_started(it);
            gone.contains(&it.id) && was_up
        });
        let still_paid = len_of(gone.clone().filter(paid).count());
        let still_paid = still_paid.saturating_add(self.observation.billing.still_paid);
        let time_of_day = self.observation.time_of_day();
        let limits = self.policy.limits(time_of_day, still_paid);
        let up = self.active().saturating_sub(len_of(gone.count()));
        limits.max_workers.saturating_sub(up)
    }

    /// Returns how many instances run or are about to, including those that are given up but not stopped yet.
    fn active(&self) -> u32 {
        let withdrawn = self
            .observation
            .instances
            .iter()
            .filter(|i| i.state.is_withdrawn() || (i.leaving && i.state.is_capacity()))
            .count();
        let lost = self.lost.instances.iter();
        let never_started = lost.filter(|it| self.lost.never_started(it)).count();
        let active = self.observation.working().saturating_add(len_of(withdrawn));
        active.saturating_sub(len_of(never_started))
    }

    /// Returns whether a call may be made. If not, the scaler wakes when it may.
    fn may(&mut self, held_until: Option<Timestamp>) -> bool {
        match held_until {
            Some(at) if self.observation.now < at => {
                self.wake(at);
                false
            }
            _ => true,
        }
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

fn ids(instances: Vec<&Instance>, count: u32) -> Vec<InstanceId> {
    let instances = instances.into_iter().take(count as usize);
    instances.map(|instance| instance.id.clone()).collect()
}

fn stop(instance: &Instance, cause: StopCause) -> Stop {
    Stop {
        id: instance.id.clone(),
        cause,
    }
}

/// The stop of an instance that nothing needs.
fn drained_stop(instance: &Instance) -> Stop {
    let cause = match (instance.outdated, instance.state) {
        (false, _) => StopCause::Drained,
        (true, InstanceState::Stopped) => StopCause::OutdatedStopped,
        (true, _) => StopCause::Outdated,
    };
    stop(instance, cause)
}

fn len<T>(items: &[T]) -> u32 {
    len_of(items.len())
}

fn len_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
