//! Times that a former scaler measured, and when new ones are worth keeping.

use serde::{Deserialize, Serialize};

use crate::{Estimates, Smoothed};

/// No plausible request or frame takes longer, in seconds.
const LONGEST_WORK: f64 = 600.0;
/// No plausible boot takes longer, in seconds.
const LONGEST_BOOT: f64 = 1_800.0;
/// A time that has changed by this share is kept anew.
const NOTABLE: f64 = 0.1;

/// What is known about workers of one kind before this scaler measures them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// How long a worker is occupied by one request, in seconds.
    pub service: Option<Smoothed>,
    /// From the call that starts an instance until its worker is ready, in seconds.
    pub boot: Option<Smoothed>,
    /// How long a worker is occupied by one frame of a clip, in seconds.
    pub frame: Option<Smoothed>,
}

impl Learned {
    /// Replaces the times that the scaler with these estimates has measured itself.
    #[must_use]
    pub fn updated_by(self, estimates: &Estimates) -> Self {
        let newer =
            |measured: Option<Smoothed>, before| measured.filter(|it| it.measured() > 0).or(before);
        Self {
            service: newer(estimates.service, self.service),
            boot: newer(estimates.boot, self.boot),
            frame: newer(estimates.frame, self.frame),
        }
    }

    /// Returns whether a time is new, or differs from that of `kept` by more than a tenth.
    #[must_use]
    pub fn differs_notably_from(&self, kept: &Self) -> bool {
        let differs = |(now, kept): (Option<Smoothed>, Option<Smoothed>)| match (now, kept) {
            (Some(now), Some(kept)) => (now.mean - kept.mean).abs() > NOTABLE * kept.mean,
            (now, kept) => now.is_some() != kept.is_some(),
        };
        [
            (self.service, kept.service),
            (self.boot, kept.boot),
            (self.frame, kept.frame),
        ]
        .into_iter()
        .any(differs)
    }

    /// Returns the plausible ones of these times, and the names of the others.
    #[must_use]
    pub fn plausible(self) -> (Self, Vec<&'static str>) {
        let mut absurd = Vec::new();
        let mut check = |name, time: Option<Smoothed>, longest| {
            let plausible = time.filter(|it| is_plausible(it, longest));
            if plausible != time {
                absurd.push(name);
            }
            plausible
        };
        let times = Self {
            service: check("service", self.service, LONGEST_WORK),
            boot: check("boot", self.boot, LONGEST_BOOT),
            frame: check("frame", self.frame, LONGEST_WORK),
        };
        (times, absurd)
    }
}

fn is_plausible(time: &Smoothed, longest: f64) -> bool {
    let up_to = 0.0..=longest;
    time.mean > 0.0 && up_to.contains(&time.mean) && up_to.contains(&time.spread)
}
