//! Face embeddings: Inception-ResNet v1 (Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of
//! Residual Connections on Learning", 2016) as trained for FaceNet by David Sandberg.

use std::fmt::Debug;

use super::crop::FaceCrop;
use crate::model::bundle::{Precision, Preprocessing};

pub mod architecture;
pub mod bytes;
mod dense;
pub mod floats;

/// A unit vector; faces of one person lie close together by Euclidean distance.
pub type Embedding = Vec<f32>;

/// Largest batch of crops. Larger ones take more memory and no less time.
const MAX_BATCH: usize = 8;

/// The network and its preprocessing. Threads may share it.
#[derive(Debug)]
pub struct Embedder {
    network: Box<dyn EmbeddingNetwork>,
    preprocessing: Preprocessing,
    input_size: usize,
}

/// A square crop's bytes, in rows of red, green, blue. The network reads (byte - mean) / deviation, for each channel.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub pixels: &'a [u8],
    pub mean: [f32; 3],
    pub deviation: [f32; 3],
}

/// The network that turns crops into embeddings. Threads may share it.
///
/// Methods panic when the engine fails, for instance without enough GPU memory. The process must end then.
pub trait EmbeddingNetwork: Debug + Send + Sync {
    fn precision(&self) -> Precision;

    /// Returns the processor's instructions or the device that it computes with, for people.
    fn runs_on(&self) -> String;

    /// Returns the embeddings one after the other, not normalized.
    fn forward(&self, inputs: &[Input<'_>]) -> Vec<f32>;

    /// Runs the network once on a square of `side` pixels, so that memory and kernels are ready before the first photo.
    fn warm_up(&self, side: usize) {
        self.forward(&[Input {
            pixels: &vec![128; side * side * 3],
            mean: [127.5; 3],
            deviation: [128.0; 3],
        }]);
    }

    /// Returns the largest element of each value between the layers, in the order of `Architecture::values`, for the
    /// calibration to int8. `None` if the network is not the built-in one in float32.
    fn largest_values(&self, input: &Input<'_>) -> Option<Vec<f32>>;
}

impl Embedder {
    /// `input_size` is the side of the square crops, in pixels.
    pub fn new(
        network: Box<dyn EmbeddingNetwork>,
        preprocessing: Preprocessing,
        input_size: usize,
    ) -> Self {
        Self {
            network,
            preprocessing,
            input_size,
        }
    }

    /// Returns the side of the square crops that `embed` takes, in pixels.
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    pub fn precision(&self) -> Precision {
        self.network.precision()
    }

    pub fn network(&self) -> &dyn EmbeddingNetwork {
        &*self.network
    }

    /// Returns one embedding for each crop.
    ///
    /// Panics if a crop has another size than `input_size`, or if the engine fails.
    pub fn embed(&self, crops: &[&FaceCrop]) -> Vec<Embedding> {
        let batches = crops.chunks(MAX_BATCH);
        batches.flat_map(|batch| self.embed_batch(batch)).collect()
    }

    fn embed_batch(&self, crops: &[&FaceCrop]) -> Vec<Embedding> {
        let inputs: Vec<Input<'_>> = crops.iter().map(|crop| self.input(crop)).collect();
        let raw = self.network.forward(&inputs);
        raw.chunks_exact(raw.len() / crops.len())
            .map(unit)
            .collect()
    }

    /// Returns the network's input for a crop.
    ///
    /// Panics if it has another size than `input_size`.
    pub fn input<'a>(&self, crop: &'a FaceCrop) -> Input<'a> {
        assert_eq!(
            crop.size, self.input_size,
            "crops have the network's input size"
        );
        let (mean, deviation) = statistics(&crop.pixels, self.preprocessing);
        Input {
            pixels: &crop.pixels,
            mean,
            deviation,
        }
    }
}

impl Input<'_> {
    /// Returns the normalized values, one image after the other.
    pub fn floats(inputs: &[Self]) -> Vec<f32> {
        let values = |input: &Self| {
            let table = |channel: usize| -> [f32; 256] {
                let (mean, deviation) = (input.mean[channel], input.deviation[channel]);
                std::array::from_fn(|byte| (byte as f32 - mean) / deviation)
            };
            let tables = [0, 1, 2].map(table);
            let pixels = input.pixels.as_chunks::<3>().0.iter();
            pixels
                .flat_map(|pixel| {
                    [0, 1, 2].map(|channel| tables[channel][usize::from(pixel[channel])])
                })
                .collect::<Vec<f32>>()
        };
        inputs.iter().flat_map(values).collect()
    }
}

/// Returns the mean and deviation that a crop's bytes are normalized by, for each channel.
fn statistics(pixels: &[u8], preprocessing: Preprocessing) -> ([f32; 3], [f32; 3]) {
    match preprocessing {
        Preprocessing::Fixed => ([127.5; 3], [128.0; 3]),
        Preprocessing::Channels { mean, deviation } => (mean, deviation),
        Preprocessing::PerImageStandardised => {
            let count = pixels.len() as f64;
            let sum: u64 = pixels.iter().map(|&value| u64::from(value)).sum();
            let squares: u64 = pixels.iter().map(|&value| u64::from(value).pow(2)).sum();
            let mean = sum as f64 / count;
            let deviation = (squares as f64 / count - mean * mean).max(0.0).sqrt();
            // The lower bound avoids a division by zero, as in `tf.image.per_image_standardization`.
            let deviation = deviation.max(1.0 / count.sqrt());
            ([mean as f32; 3], [deviation as f32; 3])
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
