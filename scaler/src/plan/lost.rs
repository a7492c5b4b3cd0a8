//! Workers that are given up.
//!
//! A worker that reports is trusted. One that has not reported for a while is not counted on, so that others take its
//! place, but it may be at work: what is cut off from the scaler need not be cut off from the queue. So few are stopped at
//! a time, and none for long while most are silent, which is more likely the scaler's own fault than theirs.

use std::collections::HashSet;
use std::time::Duration;

use super::{Instance, InstanceId, Memory, Moment, Observation, Patience, State, StopCause};

/// How many silence deadlines the silence of most workers has to last before any of them is stopped.
const OF_MOST: u32 = 10;
/// Of so many workers that have reported, one is stopped for its silence within a silence deadline.
const OF_SO_MANY_ONE: usize = 5;

/// Instances that are not counted on, and those of them that are to be stopped.
#[derive(Debug, Default)]
pub(super) struct Lost<'a> {
    pub instances: Vec<&'a Instance>,
    ids: HashSet<&'a InstanceId>,
    pub stops: Vec<(&'a Instance, StopCause)>,
    /// Whether most workers that have reported do so no more.
    pub most_are_silent: bool,
    /// When there will be more of either.
    pub next_at: Option<Moment>,
}

impl<'a> Lost<'a> {
    /// Only the time for which the scaler was there to hear counts, and an old answer of EC2 is no ground to give up
    /// anything.
    pub fn find(patience: &Patience, observation: &'a Observation, memory: &Memory) -> Self {
        let mut lost = Self::default();
        let now = observation.now;
        let attending = attending(observation, memory);
        // What they lose together they miss at different times, up to a report's interval apart.
        let is_quiet = |since: Moment| now > since.after(patience.silence_deadline / 2);
        let quiet = attending.iter().filter(|(_, since)| is_quiet(*since));
        lost.most_are_silent = quiet.count() * 2 > attending.len();
        if observation.fleet_is_fresh(patience) {
            lost.find_silent(patience, now, attending, memory);
            lost.find_unheard(patience, observation, memory);
        }
        lost
    }

    /// `attending` are all instances whose worker has reported, and since when it might have reported again.
    fn find_silent(
        &mut self,
        patience: &Patience,
        now: Moment,
        attending: Vec<(&'a Instance, Moment)>,
        memory: &Memory,
    ) {
        let deadline = patience.silence_deadline;
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
            // Those that are heard first again are not the only ones to come back.
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

    /// Those that no worker was ever heard from.
    fn find_unheard(&mut self, patience: &Patience, observation: &'a Observation, memory: &Memory) {
        let unheard = observation.instances.iter();
        for instance in unheard.filter(|it| it.heard.is_none()) {
            let (since, cause) = match (instance.state, instance.running_since) {
                (State::Stopped | State::Stopping, _) => continue,
                (_, Some(running_since)) => (running_since, StopCause::NeverAttended),
                // One that was to take no work before it came up is draining. What a launch has just brought may not be
                // listed yet, which says nothing about it.
                (State::Pending | State::Draining, None) if instance.listed => {
                    (instance.since, StopCause::NeverStarted)
                }
                (_, None) => continue,
            };
            let given_up_at = since
                .max(memory.watching_since)
                .after(patience.boot_deadline);
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

    /// Whether a deadline is over. If it is not, its end is a time to plan again.
    fn is_past(&mut self, deadline: Moment, now: Moment) -> bool {
        if now > deadline {
            return true;
        }
        let at = deadline.after(Duration::from_millis(1));
        self.next_at = Some(self.next_at.map_or(at, |next| next.min(at)));
        false
    }

    /// Whether EC2 does not get it to run. However long it takes to be rid of it, it is in nobody's way.
    pub fn never_started(&self, instance: &Instance) -> bool {
        instance.running_since.is_none() && self.contains(instance)
    }

    pub fn contains(&self, instance: &Instance) -> bool {
        !self.ids.is_empty() && self.ids.contains(&instance.id)
    }

    /// What is left to count on; `None` when that is everything.
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

/// The instances whose worker has reported, and since when it might have reported again. EC2 cannot stop what it does not
/// describe as running.
fn attending<'a>(observation: &'a Observation, memory: &Memory) -> Vec<(&'a Instance, Moment)> {
    let instances = observation.instances.iter();
    let up = instances.filter(|it| !matches!(it.state, State::Stopped | State::Stopping));
    let attending = up.filter_map(|it| {
        let since = it.heard?.max(it.running_since?);
        Some((it, since.max(memory.watching_since)))
    });
    attending.collect()
}
