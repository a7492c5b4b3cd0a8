//! What no plan may do, given the truth.

use std::time::Duration;

use super::link::REPORT_EVERY;
use super::scaled_cloud::ScaledCloud;
use crate::plan::{
    Counters, FrontDemand, InstanceId, Observation, Plan, Stop, StopCause, Timestamped,
};
use crate::simulate::Phase;

impl ScaledCloud {
    /// Checks a plan that is not executed yet.
    ///
    /// # Panics
    /// When it breaks an invariant.
    pub fn check(&self, observation: &Observation, plan: &Plan) {
        self.check_the_limits(observation, plan);
        self.check_the_cordons(observation, plan);
        let silent = plan.stop.iter().filter(|it| it.cause == StopCause::Silent);
        assert!(silent.count() <= (self.instances() / 5).max(1), "{plan:?}");
        assert!(plan.stop.is_empty() || observation.described_at.is_some());
        for stop in &plan.stop {
            self.check_the_stop(stop);
        }
        for id in &plan.start {
            let phase = self.cloud.machine(id).phase;
            assert_eq!(phase, Phase::Stopped, "{plan:?}");
            assert!(!self.cloud.machine(id).outdated, "{plan:?}");
        }
    }

    fn check_the_limits(&self, observation: &Observation, plan: &Plan) {
        let (now, policy) = (self.cloud.now(), &self.cloud.scenario.policy);
        let (bounds, prices) = (policy.bounds, policy.prices);
        let still_paid = observation.billing.still_paid;
        let limits = policy.limits(now, still_paid);
        assert!((limits.min_workers..=limits.max_workers).contains(&plan.desired_workers));
        let up = self.cloud.up() + observation.launching;
        let was_up = |stop: &&Stop| stop.cause != StopCause::OutdatedStopped;
        let stops = plan.stop.iter().filter(was_up).count();
        let after = up as usize + plan.start.len() + plan.launch as usize - stops;
        assert!(
            after <= bounds.max_workers as usize,
            "above the maximum: {observation:?} {plan:?}"
        );
        if let Some(budget) = bounds.budget_per_hour
            && plan.adds()
        {
            let is_paid_off = |stop: &&Stop| {
                let mut instances = observation.instances.iter();
                let instance = instances.find(|it| it.id == stop.id);
                let started_at = instance.and_then(|it| it.started_at);
                started_at.is_some_and(|at| prices.paid_until(at) <= now)
            };
            let gone = plan.stop.iter().filter(was_up).filter(is_paid_off);
            let paid = after + stops - gone.count() + still_paid as usize;
            let spent = paid as f64 * prices.per_hour;
            assert!(spent <= budget * 1.000_001, "{spent} an hour: {plan:?}");
        }
    }

    fn check_the_cordons(&self, observation: &Observation, plan: &Plan) {
        let now = self.cloud.now();
        let stays = |id: &&InstanceId| !self.cloud.machine(id).leaving;
        let withdrawn = plan.cordon.iter().filter(stays).count();
        // Messages from before the counters went blind are not forgotten while front is lost.
        let knew_of_work = self.blind_since.zip(self.work_since);
        let stale_after = self.cloud.scenario.policy.timeouts.front_stale_after;
        let is_known = |seen: Timestamped<FrontDemand>| now.since(seen.at) <= stale_after;
        let reads_zero = |queue: Timestamped<Counters>| queue.value == Counters::default();
        if knew_of_work.is_some_and(|(blind, work)| work < blind)
            && observation.queue.is_none_or(reads_zero)
            && !observation.front.is_some_and(is_known)
        {
            assert_eq!(withdrawn, 0, "work is forgotten: {plan:?}");
        }
        if withdrawn > 0 {
            let working = observation.instances.iter().filter(|it| it.is_capacity());
            let rest = working.count() - withdrawn + observation.launching as usize;
            assert!(rest >= plan.desired_workers as usize, "{plan:?}");
        }
    }

    fn check_the_stop(&self, stop: &Stop) {
        let machine = self.cloud.machine(&stop.id);
        let is_running = machine.is_up() && machine.running_at.is_some();
        match stop.cause {
            StopCause::NeverStarted => {
                assert!(machine.is_stuck && machine.is_up(), "{stop:?} {machine:?}");
            }
            StopCause::Drained | StopCause::Outdated => {
                let is_parked = machine.confirmed && machine.phase != Phase::Busy;
                assert!(is_running && is_parked, "{stop:?} {machine:?}");
                let is_outdated = stop.cause == StopCause::Outdated;
                assert_eq!(machine.outdated, is_outdated, "{stop:?} {machine:?}");
            }
            StopCause::OutdatedStopped => {
                let is_spent = machine.outdated && machine.phase == Phase::Stopped;
                assert!(is_spent, "{stop:?} {machine:?}");
            }
            StopCause::Silent | StopCause::NeverAttended => {
                assert!(is_running, "{stop:?} {machine:?}");
                let timeouts = &self.cloud.scenario.policy.timeouts;
                let deadline = match stop.cause {
                    StopCause::Silent => timeouts.silence_deadline * 10,
                    _ => timeouts.boot_deadline,
                };
                let now = self.cloud.now();
                // The last report may have been due when the cut began.
                let is_long = |at| now.since(at) + REPORT_EVERY * 2 > deadline;
                // The first report after the cut may be on its way.
                let was_just = |until| now.since(until) < Duration::from_millis(200);
                let last = self.last_cut_off.filter(|(_, until)| was_just(*until));
                let cut_off_since = self.cut_off_since.or(last.map(|(since, _)| since));
                let is_cut_off = cut_off_since.is_some_and(is_long);
                assert!(
                    machine.phase == Phase::Dead || is_cut_off,
                    "{stop:?} {machine:?}"
                );
            }
        }
    }
}
