//! Seeded randomness: the same seed gives the same numbers on every run.

use std::f64::consts::TAU;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

/// A generator that is named rather than "the standard one", so that an update of `rand` changes no result.
#[derive(Debug, Clone)]
pub(super) struct Random {
    source: Xoshiro256PlusPlus,
    /// The second of the two normal numbers that are made at a time.
    spare: Option<f64>,
}

/// What the random numbers are for: each has a stream of its own, so that a policy's choices leave the trace alone.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Arrivals = 1,
    Service = 2,
    Cloud = 3,
}

/// A lognormal distribution of durations in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lognormal {
    location: f64,
    scale: f64,
}

impl Random {
    pub(super) fn new(seed: u64, stream: Stream) -> Self {
        // An odd factor keeps neighbouring seeds' streams apart.
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream as u64;
        Self {
            source: Xoshiro256PlusPlus::seed_from_u64(seed),
            spare: None,
        }
    }

    /// At least 0, below 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.source.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number below `limit`, which is at least 1.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        // The high half of the product: <https://lemire.me/blog/2016/06/27/a-fast-alternative-to-the-modulo-reduction/>.
        ((u128::from(self.source.next_u64()) * limit as u128) >> 64) as usize
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// With mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// At least `least`, with tail exponent `shape`.
    pub(super) fn pareto(&mut self, least: f64, shape: f64) -> f64 {
        least * (1.0 - self.unit()).powf(-1.0 / shape)
    }

    /// With mean 0 and standard deviation 1, by the transform of Box and Muller.
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (2.0 * self.exponential()).sqrt();
        let (sine, cosine) = (TAU * self.unit()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }
}

impl Lognormal {
    /// With this mean in seconds and this coefficient of variation.
    pub(super) fn of(mean: f64, variation: f64) -> Self {
        let variance = (variation * variation).ln_1p();
        Self {
            location: mean.ln() - variance / 2.0,
            scale: variance.sqrt(),
        }
    }

    /// In seconds.
    pub(super) fn sample(&self, random: &mut Random) -> f64 {
        (self.location + self.scale * random.normal()).exp()
    }
}
