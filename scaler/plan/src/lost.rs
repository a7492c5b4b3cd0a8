//! Workers that are given up.
//!
//! A worker that has not reported for a while is not counted, so that others replace it. But it may be at work: a worker
//! that is cut off from the scaler may still reach the queue. So few are stopped at a time. While most are silent, which is
//! more likely the scaler's own fault, none is stopped for long.

use std::collections::HashSet;
use std::time::Duration;

use crate::{
    Instance, InstanceId, InstanceState, Memory, Observation, StopCause, Timeouts, Timestamp,
};

/// After how many silence deadlines workers are stopped even if most are silent.
const OF_MOST: u32 = 10;
/// Within a silence deadline, one of this many workers may be stopped for its silence.
const OF_SO_MANY_ONE: usize = 5;

/// Instances that are not counted, and those of them to stop.
#[derive(Debug, Default)]
pub(crate) struct LostInstances<'a> {
    pub instances: Vec<&'a Instance>,
    ids: HashSet<&'a InstanceId>,
    pub stops: Vec<(&'a Instance, StopCause)>,
    /// Whether most workers that have reported are silent now.
    pub most_are_silent: bool,
    /// When more instances will be given up or stopped.
    pub next_at: Option<Timestamp>,
}

impl<'a> LostInstances<'a> {
    /// Finds them. Silence counts only while the scaler was up to hear reports. An old answer of EC2 is no ground to give up
    /// an instance.
    pub fn find(timeouts: &Timeouts, observation: &'a Observation, memory: &Memory) -> Self {
        let mut lost = Self::default();
        let now = observation.now;
        let attending = attending(observation, memory);
        // A common loss shows at different times, up to a report interval apart.
        let is_quiet = |since: Timestamp| now > since.after(timeouts.silence_deadline / 2);
        let quiet = attending.iter().filter(|(_, since)| is_quiet(*since));
        lost.most_are_silent = quiet.count() * 2 > attending.len();
        if observation.fleet_is_fresh(timeouts) {
            lost.find_silent(timeouts, now, attending, memory);
            lost.find_unheard(timeouts, observation, memory);
        }
        lost
    }

    /// `attending` are all instances whose worker has reported, and since when the next report could have come.
    fn find_silent(
        &mut self,
        timeouts: &Timeouts,
        now: Timestamp,
        attending: Vec<(&'a Instance, Timestamp)>,
        memory: &Memory,
    ) {
        let deadline = timeouts.silence_deadline;
        let workers = attending.len();
        let mut silent = attending;
        silent.retain(|(_, since)| self.is_past(since.after(deadline), now));
        silent
            .iter()
            .for_each(|(instance, _)| self.give_up(instance));
        let may_stop_at = memory.gave_up_at.map(|at| at.after(deadline));
        if silent.is_empty() || !may_stop_at.is_none_or(|at| self.is_past(at, now)) {
            return;
        }
        silent.sort_by_key(|(_, since)| *since);
        silent.retain(|(_, since)| {
            let at_the_latest = since.after(deadline * OF_MOST);
            // After the first workers are heard again, the others get time to come back.
            let most_silent_at = memory.most_silent_at.unwrap_or_default();
            let soon = most_silent_at.max(*since).after(deadline);
            let stopped_at = if self.most_are_silent {
                at_the_latest
            } else {
                soon.min(at_the_latest)
            };
            self.is_past(stopped_at, now)
        });
        silent.truncate((workers / OF_SO_MANY_ONE).max(1));
        let stops = silent.into_iter();
        self.stops
            .extend(stops.map(|(instance, _)| (instance, StopCause::Silent)));
    }

    /// Instances whose worker never reported.
    fn find_unheard(&mut self, timeouts: &Timeouts, observation: &'a Observation, memory: &Memory) {
        let unheard = observation.instances.iter();
        for instance in unheard.filter(|it| it.heard.is_none()) {
            let (since, cause) = match (instance.state, instance.running_since) {
                (InstanceState::Stopped | InstanceState::Stopping, _) => continue,
                (_, Some(running_since)) => (running_since, StopCause::NeverAttended),
                // An instance that was cordoned before it came up is draining. A launched one may not be listed yet, which
                // is no evidence against it.
                (InstanceState::Pending | InstanceState::Draining, None) if instance.listed => {
                    (instance.since, StopCause::NeverStarted)
                }
                (_, None) => continue,
            };
            let given_up_at = since
                .max(memory.watching_since)
                .after(timeouts.boot_deadline);
            if self.is_past(given_up_at, observation.now) {
                self.give_up(instance);
                self.stops.push((instance, cause));
            }
        }
    }

    fn give_up(&mut self, instance: &'a Instance) {
        self.instances.push(instance);
        self.ids.insert(&instance.id);
    }

    /// Returns whether a deadline has passed. If not, its end is a time to plan again.
    fn is_past(&mut self, deadline: Timestamp, now: Timestamp) -> bool {
        if now > deadline {
            return true;
        }
        let at = deadline.after(Duration::from_millis(1));
        self.next_at = Some(self.next_at.map_or(at, |next| next.min(at)));
        false
    }

    /// Returns whether EC2 does not bring it up. Such an instance takes no room, however long its termination takes.
    pub fn never_started(&self, instance: &Instance) -> bool {
        instance.running_since.is_none() && self.contains(instance)
    }

    pub fn contains(&self, instance: &Instance) -> bool {
        !self.ids.is_empty() && self.ids.contains(&instance.id)
    }

    /// The observation with the lost instances marked as leaving; `None` when none is lost.
    pub fn without(&self, observation: &Observation) -> Option<Observation> {
        if self.ids.is_empty() {
            return None;
        }
        let mut rest = observation.clone();
        for instance in &mut rest.instances {
            instance.leaving |= self.contains(instance);
        }
        Some(rest)
    }
}

/// The instances whose worker has reported, and since when the next report could have come. EC2 can only stop an instance
/// that it describes as running.
fn attending<'a>(observation: &'a Observation, memory: &Memory) -> Vec<(&'a Instance, Timestamp)> {
    let instances = observation.instances.iter();
    let up = instances
        .filter(|it| !matches!(it.state, InstanceState::Stopped | InstanceState::Stopping));
    let attending = up.filter_map(|it| {
        let since = it.heard?.max(it.running_since?);
        Some((it, since.max(memory.watching_since)))
    });
    attending.collect()
}
