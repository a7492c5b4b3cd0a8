//! From a face to its embedding: Inception-ResNet v1 (Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of
//! Residual Connections on Learning", 2016) as trained for FaceNet by David Sandberg.

use std::sync::{Mutex, PoisonError};

use self::bytes::{ByteArena, ByteNetwork, Image};
use self::floats::{FloatArena, FloatNetwork};
use super::bundle::{BundleDescription, Preprocessing};
use super::crop::FaceCrop;
use super::native::convolve::Instructions;
use super::weights::{WeightFile, WeightsError};

mod architecture;
mod bytes;
pub mod calibrate;
mod floats;
mod pool;

/// A unit vector; faces of one person lie close together by Euclidean distance.
pub type Embedding = Vec<f32>;

/// Crops that go through the network together at most: more would take memory and gain no time.
const MAX_BATCH: usize = 8;

/// How the network computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// 32-bit floating point.
    Fp32,
    /// 8-bit integers, several times as fast.
    Int8,
}

/// The network and what it wants its input to look like. Threads may share it.
#[derive(Debug)]
pub struct Embedder {
    network: Network,
    preprocessing: Preprocessing,
    input_size: usize,
}

#[derive(Debug)]
enum Network {
    Floats(FloatNetwork, Arenas<FloatArena>),
    Bytes(ByteNetwork, Arenas<ByteArena>),
}

/// Memory for activations: as many arenas as threads ever embedded at once.
#[derive(Debug, Default)]
struct Arenas<A>(Mutex<Vec<A>>);

impl<A: Default> Arenas<A> {
    fn lend<R>(&self, work: impl FnOnce(&mut A) -> R) -> R {
        let free = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut arena = free().pop().unwrap_or_default();
        let result = work(&mut arena);
        free().push(arena);
        result
    }
}

impl Engine {
    /// int8 where the processor has instructions for it, fp32 elsewhere.
    pub fn best() -> Self {
        match Instructions::best().has_fast_bytes() {
            true => Self::Int8,
            false => Self::Fp32,
        }
    }
}

impl Embedder {
    /// `file` holds the weights for `engine`.
    pub fn load(
        file: &WeightFile,
        description: &BundleDescription,
        engine: Engine,
    ) -> Result<Self, WeightsError> {
        let (side, size) = (description.input_size, description.embedding_size);
        let network = match engine {
            Engine::Fp32 => {
                Network::Floats(FloatNetwork::load(file, side, size)?, Arenas::default())
            }
            Engine::Int8 => Network::Bytes(ByteNetwork::load(file, side, size)?, Arenas::default()),
        };
        Ok(Self {
            network,
            preprocessing: description.preprocessing,
            input_size: side,
        })
    }

    /// Computes with other instructions than the process's, for tests.
    pub fn with_instructions(self, instructions: Instructions) -> Self {
        let network = match self.network {
            Network::Floats(network, arenas) => {
                Network::Floats(network.with_instructions(instructions), arenas)
            }
            Network::Bytes(network, arenas) => {
                Network::Bytes(network.with_instructions(instructions), arenas)
            }
        };
        Self { network, ..self }
    }

    /// Side of the square crops that `embed` takes, in pixels.
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    pub fn engine(&self) -> Engine {
        match self.network {
            Network::Floats(..) => Engine::Fp32,
            Network::Bytes(..) => Engine::Int8,
        }
    }

    /// One embedding for each crop.
    ///
    /// Panics if a crop has another size than `input_size`.
    pub fn embed(&self, crops: &[&FaceCrop]) -> Vec<Embedding> {
        let batches = crops.chunks(MAX_BATCH);
        batches.flat_map(|batch| self.embed_batch(batch)).collect()
    }

    fn embed_batch(&self, crops: &[&FaceCrop]) -> Vec<Embedding> {
        let right_size = |crop: &&FaceCrop| crop.size == self.input_size;
        assert!(
            crops.iter().all(right_size),
            "crops have the network's input size"
        );
        let raw = match &self.network {
            Network::Floats(network, arenas) => {
                let inputs = normalised(crops, self.preprocessing);
                arenas.lend(|arena| network.forward(arena, &inputs))
            }
            Network::Bytes(network, arenas) => {
                let images: Vec<Image<'_>> = crops
                    .iter()
                    .map(|crop| {
                        let (mean, deviation) = statistics(&crop.pixels, self.preprocessing);
                        Image {
                            pixels: &crop.pixels,
                            mean,
                            deviation,
                        }
                    })
                    .collect();
                arenas.lend(|arena| network.forward(arena, &images))
            }
        };
        raw.chunks_exact(raw.len() / crops.len())
            .map(unit)
            .collect()
    }
}

/// The network's float32 inputs: (byte - mean) / deviation.
fn normalised(crops: &[&FaceCrop], preprocessing: Preprocessing) -> Vec<f32> {
    let values = |crop: &&FaceCrop| {
        let (mean, deviation) = statistics(&crop.pixels, preprocessing);
        let table: Vec<f32> = (0..=u8::MAX)
            .map(|value| (f32::from(value) - mean) / deviation)
            .collect();
        crop.pixels
            .iter()
            .map(|&value| table[usize::from(value)])
            .collect::<Vec<f32>>()
    };
    crops.iter().flat_map(values).collect()
}

/// Mean and deviation by which a crop's bytes are normalised.
fn statistics(pixels: &[u8], preprocessing: Preprocessing) -> (f32, f32) {
    match preprocessing {
        Preprocessing::Fixed => (127.5, 128.0),
        Preprocessing::PerImageStandardised => {
            let count = pixels.len() as f64;
            let sum: u64 = pixels.iter().map(|&value| u64::from(value)).sum();
            let squares: u64 = pixels.iter().map(|&value| u64::from(value).pow(2)).sum();
            let mean = sum as f64 / count;
            let deviation = (squares as f64 / count - mean * mean).max(0.0).sqrt();
            // An even picture has no deviation to divide by.
            (mean as f32, deviation.max(1.0 / count.sqrt()) as f32)
        }
    }
}

fn unit(raw: &[f32]) -> Embedding {
    let norm = raw
        .iter()
        .map(|value| value * value)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    raw.iter().map(|value| value / norm).collect()
}
