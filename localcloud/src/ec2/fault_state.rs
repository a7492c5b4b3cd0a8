//! The faults that EC2 injects, with the states of their random generators and buckets.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use rand_distr::Uniform;

use super::Ec2;
use super::error::Ec2Result;
use super::params::Params;
use super::rate_limiter::RateLimiter;
use super::state::Instance;
use crate::clock::Millis;
use crate::faults::{Ec2Faults, FaultRng};

#[derive(Debug)]
pub struct FaultState {
    faults: Ec2Faults,
    limiter: RateLimiter,
    boots: FaultRng,
    stops: FaultRng,
    interruptions: FaultRng,
}

impl FaultState {
    pub fn new(faults: Ec2Faults, seed: u64, now: Millis) -> Self {
        Self {
            limiter: RateLimiter::new(&faults.limits, now),
            faults,
            boots: FaultRng::new(seed, "ec2.boot_delay"),
            stops: FaultRng::new(seed, "ec2.stop_delay"),
            interruptions: FaultRng::new(seed, "ec2.spot_interruption"),
        }
    }
}

impl Ec2 {
    /// Replaces the faults. Generators and the count of boots start anew, and buckets are full if the limits changed.
    ///
    /// A fault that was drawn before stays: a boot that is under way keeps its delay.
    pub fn set_faults(&self, faults: Ec2Faults, seed: u64) {
        let now = self.clock.now();
        {
            let mut shared = self.lock();
            let lag = faults.describe_lag.as_millis() as Millis;
            shared.instances.set_faults(faults.capacity.clone(), lag);
            shared.boots = 0;
        }
        let mut current = self.fault_state();
        let limits_stay = current.faults.limits == faults.limits;
        let mut changed = FaultState::new(faults, seed, now);
        if limits_stay {
            std::mem::swap(&mut changed.limiter, &mut current.limiter);
        }
        *current = changed;
    }

    /// Takes the tokens of a call from the buckets.
    ///
    /// # Errors
    /// `RequestLimitExceeded`.
    pub(super) fn admit(&self, action: &str, params: &Params) -> Ec2Result {
        let is_unfiltered = !params.has("Filter") && !params.has("MaxResults");
        let instances = instances_named(action, params);
        let now = self.clock.now();
        let mut state = self.fault_state();
        state.limiter.admit(action, is_unfiltered, instances, now)
    }

    pub(super) fn fail_boot_every(&self) -> u64 {
        self.fault_state().faults.fail_boot_every
    }

    /// Draws the time before the process of a boot may start.
    pub(super) fn draw_boot_delay(&self) -> Duration {
        let mut state = self.fault_state();
        let share = draw_share(&mut state.boots);
        state.faults.boot_delay + state.faults.boot_delay_spread.mul_f64(share)
    }

    /// Draws the part of the spread of stop delays that the end of a boot takes.
    pub(super) fn draw_stop_share(&self) -> f64 {
        draw_share(&mut self.fault_state().stops)
    }

    /// Returns the time that an instance keeps stopping after its process has ended.
    pub(super) fn stop_delay(&self, share: f64) -> Duration {
        let faults = &self.fault_state().faults;
        faults.stop_delay + faults.stop_delay_spread.mul_f64(share)
    }

    pub(super) fn status_check_time(&self) -> Millis {
        self.fault_state().faults.status_check.as_millis() as Millis
    }

    /// Draws whether a spot instance that starts is interrupted. Returns the time until the notice, and that of the notice.
    ///
    /// Takes no draw for an instance on demand.
    pub(super) fn draw_interruption(&self, instance: &Instance) -> Option<(Duration, Duration)> {
        instance.spec.market.lifecycle()?;
        let mut state = self.fault_state();
        let probability = state.faults.spot_interruption;
        let is_interrupted = state.interruptions.random_bool(probability);
        let faults = &state.faults;
        is_interrupted.then_some((faults.spot_interruption_after, faults.spot_notice))
    }

    fn fault_state(&self) -> MutexGuard<'_, FaultState> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Draws from 0 to 1, also for a spread of 0: a changed spread leaves later draws as they are.
fn draw_share(rng: &mut FaultRng) -> f64 {
    Uniform::new(0.0, 1.0).map_or(0.0, |shares| rng.draw(shares))
}

/// Returns the number of instances that a call names; 0 if it is malformed, for which the call itself is refused.
fn instances_named(action: &str, params: &Params) -> u64 {
    let count = match action {
        "RunInstances" => params.number("MaxCount").ok().flatten().unwrap_or(0),
        _ => params.list("InstanceId").len(),
    };
    count as u64
}
