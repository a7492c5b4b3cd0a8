//! From a face to its embedding: Inception-ResNet v1 (Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of
//! Residual Connections on Learning", 2016) as trained for FaceNet by David Sandberg, on libtorch.

use tch::{Kind, Tensor};

use self::network::InceptionResnet;
use super::bundle::{BundleDescription, Preprocessing};
use super::crop::FaceCrop;
use super::weights::{WeightFile, WeightsError};

mod network;

/// A unit vector; faces of one person lie close together by Euclidean distance.
pub type Embedding = Vec<f32>;

/// The network and what it wants its input to look like.
#[derive(Debug)]
pub struct Embedder {
    network: InceptionResnet,
    preprocessing: Preprocessing,
    input_size: usize,
}

impl Embedder {
    pub fn load(file: &WeightFile, description: &BundleDescription) -> Result<Self, WeightsError> {
        Ok(Self {
            network: InceptionResnet::load(file, description.embedding_size)?,
            preprocessing: description.preprocessing,
            input_size: description.input_size,
        })
    }

    /// Side of the square crops that `embed` takes, in pixels.
    pub fn input_size(&self) -> usize {
        self.input_size
    }

    /// One embedding for each crop, in one pass of the network.
    ///
    /// Panics if a crop has another size than `input_size`.
    pub fn embed(&self, crops: &[FaceCrop]) -> Vec<Embedding> {
        if crops.is_empty() {
            return Vec::new();
        }
        let _no_grad = tch::no_grad_guard();
        let mut values = Vec::with_capacity(crops.len() * self.input_size * self.input_size * 3);
        for crop in crops {
            assert_eq!(
                crop.size, self.input_size,
                "crops have the network's input size"
            );
            values.extend(preprocess(&crop.pixels, self.preprocessing));
        }
        let (count, side) = (crops.len() as i64, self.input_size as i64);
        // The values lie as [count, height, width, channel]; seen as [count, channel, height, width] that is what
        // libtorch calls channels-last, and its convolutions keep to it.
        let input = Tensor::from_slice(&values)
            .view([count, side, side, 3])
            .permute([0, 3, 1, 2]);
        let raw = self
            .network
            .forward(&input)
            .to_kind(Kind::Float)
            .contiguous()
            .view([-1]);
        let raw = Vec::<f32>::try_from(&raw).expect("a flat float tensor becomes a vector");
        raw.chunks_exact(raw.len() / crops.len())
            .map(normalise)
            .collect()
    }
}

fn preprocess(pixels: &[u8], preprocessing: Preprocessing) -> impl Iterator<Item = f32> {
    let (mean, deviation) = match preprocessing {
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
    };
    pixels
        .iter()
        .map(move |&value| (f32::from(value) - mean) / deviation)
}

fn normalise(raw: &[f32]) -> Embedding {
    let norm = raw
        .iter()
        .map(|value| value * value)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    raw.iter().map(|value| value / norm).collect()
}
