//! Distributions of the latency that a fault adds.

use std::time::Duration;

use rand_distr::{Exp, LogNormal, Normal, Uniform};
use serde::{Deserialize, Serialize};

use super::{FaultRng, FaultsError};

/// A distribution of latencies in milliseconds. Draws are clamped to 0 and 10 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Latency {
    Constant(f64),
    Distribution(LatencyDistribution),
}

/// A latency that differs from call to call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum LatencyDistribution {
    /// From, to.
    Uniform(f64, f64),
    Normal {
        mean: f64,
        deviation: f64,
    },
    /// The usual shape of measured latencies. e^sigma is the factor of one standard deviation.
    LogNormal {
        median: f64,
        sigma: f64,
    },
    Exponential {
        mean: f64,
    },
}

const MAX_MS: f64 = 600_000.0;

impl Latency {
    /// Draws a latency.
    pub fn draw(self, rng: &mut FaultRng) -> Duration {
        use LatencyDistribution as D;
        let drawn = match self {
            Self::Constant(millis) => Some(millis),
            Self::Distribution(D::Uniform(from, to)) => Uniform::new_inclusive(from, to)
                .ok()
                .map(|distribution| rng.draw(distribution)),
            Self::Distribution(D::Normal { mean, deviation }) => Normal::new(mean, deviation)
                .ok()
                .map(|distribution| rng.draw(distribution)),
            Self::Distribution(D::LogNormal { median, sigma }) => {
                LogNormal::new(median.ln(), sigma)
                    .ok()
                    .map(|distribution| rng.draw(distribution))
            }
            Self::Distribution(D::Exponential { mean }) => Exp::new(mean.recip())
                .ok()
                .map(|distribution| rng.draw(distribution)),
        };
        Duration::from_secs_f64(drawn.unwrap_or_default().clamp(0.0, MAX_MS) / 1000.0)
    }

    /// Checks the parameters. `name` is that of the latency in the error.
    ///
    /// # Errors
    /// When a parameter is out of bounds.
    pub(super) fn check(self, name: &str) -> Result<(), FaultsError> {
        use LatencyDistribution as D;
        let within = |millis: f64| (0.0..=MAX_MS).contains(&millis);
        let is_valid = match self {
            Self::Constant(millis) => within(millis),
            Self::Distribution(D::Uniform(from, to)) => within(from) && within(to) && from <= to,
            Self::Distribution(D::Normal { mean, deviation }) => within(mean) && within(deviation),
            Self::Distribution(D::LogNormal { median, sigma }) => {
                within(median) && median > 0.0 && (0.0..=10.0).contains(&sigma)
            }
            Self::Distribution(D::Exponential { mean }) => within(mean) && mean > 0.0,
        };
        if is_valid {
            Ok(())
        } else {
            Err(FaultsError::Latency(name.to_owned()))
        }
    }
}
