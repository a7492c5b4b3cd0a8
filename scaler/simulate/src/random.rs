//! Seeded random numbers: the same seed gives the same numbers on every run. The transforms are written by hand, because the
//! published figures depend on every bit of them, and releases of rand_distr may change bits.

use std::f64::consts::TAU;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

/// A named generator, as the standard one may change with `rand`.
#[derive(Debug, Clone)]
pub struct Random {
    source: Xoshiro256PlusPlus,
    /// The second normal number of a pair.
    spare: Option<f64>,
}

/// The use of random numbers. Each has its own stream, so that a policy's decisions do not change the trace.
#[derive(Debug, Clone, Copy)]
pub enum Stream {
    Arrivals = 1,
    Service = 2,
    Cloud = 3,
}

/// A lognormal distribution of durations in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Lognormal {
    location: f64,
    scale: f64,
}

impl Random {
    pub fn new(seed: u64, stream: Stream) -> Self {
        // An odd factor separates the streams of neighboring seeds.
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream as u64;
        Self {
            source: Xoshiro256PlusPlus::seed_from_u64(seed),
            spare: None,
        }
    }

    /// Returns a number from 0 up to but not including 1.
    pub fn unit(&mut self) -> f64 {
        (self.source.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns an integer below `limit`, which is at least 1.
    pub fn below(&mut self, limit: usize) -> usize {
        // The high half of the product: <https://lemire.me/blog/2016/06/27/a-fast-alternative-to-the-modulo-reduction/>.
        ((u128::from(self.source.next_u64()) * limit as u128) >> 64) as usize
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// Returns an exponential number with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Returns a Pareto number of at least `least` with tail exponent `shape`.
    pub fn pareto(&mut self, least: f64, shape: f64) -> f64 {
        least * (1.0 - self.unit()).powf(-1.0 / shape)
    }

    /// Returns a normal number with mean 0 and standard deviation 1, by the Box-Muller transform.
    pub fn normal(&mut self) -> f64 {
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
    /// `mean` is in seconds, `variation` a coefficient.
    pub fn of(mean: f64, variation: f64) -> Self {
        let variance = (variation * variation).ln_1p();
        Self {
            location: mean.ln() - variance / 2.0,
            scale: variance.sqrt(),
        }
    }

    /// Returns a duration in seconds.
    pub fn sample(&self, random: &mut Random) -> f64 {
        (self.location + self.scale * random.normal()).exp()
    }
}
