//! How unkind EC2 is at present.

use std::sync::PoisonError;
use std::time::Duration;

use rand_distr::Uniform;

use super::limits::Limiter;
use super::params::Params;
use super::state::Instance;
use super::{Ec2, Ec2Error};
use crate::clock::Millis;
use crate::faults::{Dice, Ec2Settings};

/// The settings and what chance and the buckets hold.
#[derive(Debug)]
pub struct Unkindness {
    pub settings: Ec2Settings,
    limiter: Limiter,
    boots: Dice,
    stops: Dice,
    interruptions: Dice,
}

impl Unkindness {
    pub fn new(settings: Ec2Settings, seed: u64, now: Millis) -> Self {
        Self {
            limiter: Limiter::new(&settings.limits, now),
            settings,
            boots: Dice::new(seed, "ec2.boot_delay"),
            stops: Dice::new(seed, "ec2.stop_delay"),
            interruptions: Dice::new(seed, "ec2.spot_interruption"),
        }
    }
}

impl Ec2 {
    /// Makes EC2 as unkind as this from now on. What calls have met already stays: a boot that is under way takes as
    /// long as it was to take. Chance and the count of boots begin anew, and the buckets are full where limits changed.
    pub fn set_faults(&self, settings: Ec2Settings, seed: u64) {
        let now = self.clock.now();
        {
            let mut shared = self.lock();
            let lag = settings.describe_lag.as_millis() as Millis;
            shared.instances.set_faults(settings.capacity.clone(), lag);
            shared.boots = 0;
        }
        let mut unkindness = self.unkindness();
        let limits_stay = unkindness.settings.limits == settings.limits;
        let mut changed = Unkindness::new(settings, seed, now);
        if limits_stay {
            std::mem::swap(&mut changed.limiter, &mut unkindness.limiter);
        }
        *unkindness = changed;
    }

    /// Takes the tokens of a call from the buckets.
    ///
    /// # Errors
    /// `RequestLimitExceeded`.
    pub(super) fn admit(&self, action: &str, params: &Params) -> Result<(), Ec2Error> {
        let unfiltered = !params.has("Filter") && !params.has("MaxResults");
        let instances = instances_named(action, params);
        let now = self.clock.now();
        self.unkindness()
            .limiter
            .admit(action, unfiltered, instances, now)
    }

    pub(super) fn fail_boot_every(&self) -> u64 {
        self.unkindness().settings.fail_boot_every
    }

    /// How long this boot takes before its process has its turn.
    pub(super) fn boot_time(&self) -> Duration {
        let mut unkindness = self.unkindness();
        let share = share(&mut unkindness.boots);
        let settings = &unkindness.settings;
        settings.boot_delay + settings.boot_delay_spread.mul_f64(share)
    }

    /// How much of the spread of stops the end of this boot will take.
    pub(super) fn stop_share(&self) -> f64 {
        share(&mut self.unkindness().stops)
    }

    /// How long an instance is still ending when its process is gone.
    pub(super) fn stop_time(&self, share: f64) -> Duration {
        let settings = &self.unkindness().settings;
        settings.stop_delay + settings.stop_delay_spread.mul_f64(share)
    }

    pub(super) fn status_check_time(&self) -> Millis {
        self.unkindness().settings.status_check.as_millis() as Millis
    }

    /// When chance will have a spot instance interrupted that starts now: the time until the notice, and that of the
    /// notice. `None` for others, which take no draw.
    pub(super) fn spot_fate(&self, instance: &Instance) -> Option<(Duration, Duration)> {
        instance.spec.market.lifecycle()?;
        let mut unkindness = self.unkindness();
        let probability = unkindness.settings.spot_interruption;
        let struck = unkindness.interruptions.roll(probability);
        let settings = &unkindness.settings;
        struck.then_some((settings.spot_interruption_after, settings.spot_notice))
    }

    fn unkindness(&self) -> std::sync::MutexGuard<'_, Unkindness> {
        self.unkindness
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A draw from 0 to 1, always taken, so that a changed spread leaves the later draws as they are.
fn share(dice: &mut Dice) -> f64 {
    Uniform::new(0.0, 1.0).map_or(0.0, |shares| dice.draw(shares))
}

/// How many instances a call is about. A call that says so wrongly counts none: it is refused for that.
fn instances_named(action: &str, params: &Params) -> u64 {
    let count = match action {
        "RunInstances" => params.number("MaxCount").ok().flatten().unwrap_or(0),
        _ => params.list("InstanceId").len(),
    };
    count as u64
}
