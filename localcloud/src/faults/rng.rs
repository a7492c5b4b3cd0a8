//! Random decisions that a seed repeats.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::Distribution;

/// A stream of random decisions. The same seed and name give the same stream.
///
/// Streams of different names are independent: the draws of one fault do not move another's.
#[derive(Debug, Clone)]
pub struct FaultRng {
    generator: Xoshiro256PlusPlus,
}

impl FaultRng {
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a: the standard library's hashes may differ between releases.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self {
            generator: Xoshiro256PlusPlus::seed_from_u64(seed ^ hash),
        }
    }

    /// Returns true with a probability from 0 to 1. Takes one draw in any case: a changed probability leaves later draws
    /// as they are.
    pub fn random_bool(&mut self, probability: f64) -> bool {
        self.generator.random::<f64>() < probability
    }

    /// Draws from a distribution.
    pub fn draw(&mut self, distribution: impl Distribution<f64>) -> f64 {
        distribution.sample(&mut self.generator)
    }
}
