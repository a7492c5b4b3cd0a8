//! The default policy: as few workers as meet the latency target.
//!
//! It answers three questions, in this order. How many workers finish the waiting requests in time, including booting ones
//! ([`capacity`])? How many keep up with the arrivals ([`staffing`])? How long are the others cheaper to keep than to start
//! again ([`keep`])?

mod capacity;
pub mod keep;
mod staffing;

use std::time::Duration;

use capacity::Capacity;

use super::{ScaleIn, Target, hold};
use crate::demand::{Assessment, ZeroDemand};
use crate::{Alternative, Estimates, InstanceState, Memory, Observation, Policy};

/// A queue is short while its wait is below this share of the slack that the target leaves. Chosen by `scaler simulate`: at
/// half, one worker in ten was idle; at three quarters, p95 exceeded the target on a ramp.
const FAR_FROM_LATE: f64 = 0.65;

/// While no worker is ready, all that waits is late by a boot. What arrives during the boot may be late by this share of it:
/// workers that make up for it sooner are hardly used within the minute that is billed for them. Chosen by
/// `scaler simulate`: from a tenth to a half, cost and latency differ by a few percent.
const CATCH_UP: f64 = 0.25;

/// The waiting work and the workers for it. Seconds throughout.
struct Forecast {
    /// Worker time that all waiting requests take together.
    work: f64,
    service: f64,
    boot: f64,
    target: f64,
    /// Worker time that arrives in a second, by the time that a worker started now is ready.
    offered: f64,
    requests: u64,
    /// The most workers to consider.
    most: u32,
    capacity: Capacity,
}

pub(crate) fn target(
    policy: &Policy,
    observation: &Observation,
    assessment: &Assessment,
    memory: &mut Memory,
) -> Target {
    let now = observation.now;
    let working = observation.working();
    let hold = |wake_at| Target {
        needed: 0,
        wake_at,
        ..hold(working.into())
    };
    let (requests, since) = match *assessment {
        Assessment::Exact(requests)
        | Assessment::Estimated {
            messages: requests, ..
        } if requests > 0 => (requests, now),
        Assessment::Zero(ZeroDemand::Settled | ZeroDemand::QueueUnreachable) => {
            (0, memory.zero_since.unwrap_or(now))
        }
        Assessment::Estimated {
            empty_for_long: true,
            ..
        } => (0, memory.empty_since.unwrap_or(now)),
        Assessment::Zero(leftover @ ZeroDemand::Leftover { .. }) => {
            (leftover.demand(working.into()), now)
        }
        Assessment::Zero(ZeroDemand::SettlesAt(at)) => return hold(Some(at)),
        Assessment::Zero(ZeroDemand::Unconfirmed)
        | Assessment::Exact(_)
        | Assessment::Estimated { .. }
        | Assessment::Unknown => return hold(None),
    };
    let forecast = Forecast::new(policy, observation, &memory.estimates, requests);
    let needed = forecast.needed();
    let limits = policy.limits(observation.time_of_day(), observation.billing.still_paid);
    let keeping = memory.keeping.note(
        limits.clamp(needed),
        since,
        now,
        forecast.boot,
        policy.prices.minimum.as_secs_f64(),
        policy.timeouts.keep_idle,
    );
    // Instances are kept, but none is started in order to be kept.
    let kept = needed.saturating_add(keeping.workers.into());
    // While all have work, more of them cost no more: the work is what costs.
    let desired = needed.max(kept.max(requests).min(working.into()));
    Target {
        desired,
        needed,
        scale_in: ScaleIn::Paid,
        wake_at: keeping.until,
        rejected: forecast.rejected(limits.clamp(needed), limits.clamp(desired), &keeping),
        completes_in: forecast.completes_in(limits.clamp(desired)),
        ..hold(None)
    }
}

impl Forecast {
    fn new(
        policy: &Policy,
        observation: &Observation,
        estimates: &Estimates,
        requests: u64,
    ) -> Self {
        let targets = &policy.targets;
        let service = estimates.service_seconds(targets);
        let boot = estimates
            .boot
            .map_or(targets.boot_time.as_secs_f64(), |boot| boot.mean);
        let rate = estimates.arrivals(observation.now);
        let expected = rate.per_second + rate.trend.max(0.0) * boot;
        Self {
            work: requests as f64 * service,
            service,
            boot,
            target: targets.latency.as_secs_f64(),
            offered: if requests > 0 {
                expected * service
            } else {
                0.0
            },
            requests,
            most: policy.bounds.max_workers,
            capacity: Capacity::of(observation, boot),
        }
    }

    /// Returns how many workers are needed, up or not.
    fn needed(&self) -> u64 {
        if self.requests == 0 {
            return 0;
        }
        let sustained = staffing::workers(self.offered, self.service, self.target, self.most);
        // While the queue is short, the arrival rate is a reason to keep workers, but not to start more.
        let there = self.capacity.workers();
        let slack = (self.target - self.service).max(0.0) * FAR_FROM_LATE;
        let is_short = self.requests <= there.into() || self.work <= f64::from(there) * slack;
        let sustained = if is_short {
            sustained.min(there.into())
        } else {
            sustained
        };
        self.for_the_backlog().max(sustained).max(1)
    }

    fn for_the_backlog(&self) -> u64 {
        // The last request waits at most for the others, spread over all workers: Graham's bound for list scheduling.
        let work = self.work - self.service;
        let in_time = (self.target - self.service).max(0.0);
        if let Some(workers) = self.capacity.fewest(work, in_time) {
            return workers.into();
        }
        // Unless boots are quick, workers that start now are too late for the target. They can meet it from their boot
        // on; by then more has arrived.
        let deadline = in_time.max(self.boot + in_time);
        let catch_up = match self.capacity.ready() {
            0 => CATCH_UP * self.boot,
            _ => 0.0,
        };
        let caught_up = deadline + catch_up;
        let arriving = self.offered * (caught_up - in_time);
        self.finishing(work, deadline)
            .max(self.finishing(work + arriving, caught_up))
    }

    /// Returns how many workers do `work` by a deadline that is too early for those that are there now, or that they
    /// meet only once all have booted. All of these are needed.
    fn finishing(&self, work: f64, deadline: f64) -> u64 {
        let there = u64::from(self.capacity.workers());
        let missing = (work - self.capacity.work_by(deadline)).max(0.0);
        let each = (deadline - self.boot).max(f64::MIN_POSITIVE);
        let started = (missing / each - 1e-9).ceil().min(self.requests as f64) as u64;
        there.saturating_add(started).min(there.max(self.requests))
    }

    fn completes_in(&self, workers: u32) -> Option<Duration> {
        let seconds = self.capacity.completion(self.work, workers, self.boot)?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    fn rejected(
        &self,
        needed: u32,
        desired: u32,
        keeping: &keep::KeepDecision,
    ) -> Vec<Alternative> {
        let mut rejected = Vec::new();
        let mut reject = |workers, reason| rejected.push(Alternative { workers, reason });
        let completes = |workers| {
            let seconds = self.capacity.completion(self.work, workers, self.boot)?;
            Some(format!(
                "would finish the pending requests in {seconds:.1} s"
            ))
        };
        let never = || "would never finish".to_owned();
        let there = self.capacity.workers();
        if self.requests > 0 && needed > there {
            let sustained = staffing::workers(self.offered, self.service, self.target, self.most);
            let reason = if sustained > there.into() {
                let rate = self.offered / self.service;
                format!("would not keep up with {rate:.1} requests a second")
            } else {
                completes(there).map_or_else(never, |completes| {
                    format!("{completes}, later than the target of {} s", self.target)
                })
            };
            reject(there, reason);
            if needed - 1 > there {
                reject(needed - 1, completes(needed - 1).unwrap_or_else(never));
            }
        }
        if desired > needed {
            reject(
                needed,
                format!(
                    "starting the others again would cost {:.0} s of an instance's time each",
                    keeping.restart_cost
                ),
            );
        }
        rejected
    }
}

impl Capacity {
    /// Ready and booting workers. Those that may be uncordoned do not count.
    fn of(observation: &Observation, boot: f64) -> Self {
        let mut ready = 0;
        let mut booting = vec![boot; observation.launching as usize];
        for instance in &observation.instances {
            match instance.state {
                _ if instance.leaving => {}
                InstanceState::Idle | InstanceState::Busy => ready += 1,
                InstanceState::Pending | InstanceState::Booting => {
                    let started_at = instance.started_at.unwrap_or(instance.since);
                    let age = observation.now.since(started_at).as_secs_f64();
                    // An overdue one may be ready at any time, but hardly at once.
                    booting.push((boot - age).max(boot / 10.0));
                }
                InstanceState::Draining
                | InstanceState::Cordoned
                | InstanceState::Stopping
                | InstanceState::Stopped => {}
            }
        }
        Self::new(ready, booting)
    }
}
