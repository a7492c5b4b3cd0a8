//! The end of the network, in float32 also in the int8 network.

use super::architecture::{Buffer, FEATURES};
use crate::kernels::Mapped;
use crate::kernels::convolve::{FloatOutput, Geometry, Instructions, convolve};
use crate::kernels::panels::{PANEL, padded, panels};
use crate::model::weights::{WeightFile, WeightsError};

/// The average over the pixels, then the dense layer.
#[derive(Debug)]
pub struct Dense {
    weights: Mapped<f32>,
    bias: Vec<f32>,
    slopes: Vec<f32>,
    embedding_size: usize,
}

impl Dense {
    pub fn load(file: &WeightFile, embedding_size: usize) -> Result<Self, WeightsError> {
        let shape = [panels(embedding_size), 1, 1, FEATURES, PANEL];
        Ok(Self {
            weights: file.mapped("last_linear.weight", &shape)?,
            bias: padded(file.values("last_linear.bias", &[embedding_size])?),
            slopes: vec![1.0; panels(embedding_size) * PANEL],
            embedding_size,
        })
    }

    /// Returns one embedding after the other, not normalized.
    pub fn forward(
        &self,
        features: &[f32],
        buffer: &Buffer,
        images: usize,
        instructions: Instructions,
    ) -> Vec<f32> {
        let pixels = (buffer.height * buffer.width) as f32;
        let mut means = vec![0.0; images * FEATURES];
        for (image, means) in features
            .chunks_exact(buffer.image())
            .zip(means.chunks_exact_mut(FEATURES))
        {
            for pixel in image.chunks_exact(FEATURES) {
                for (mean, value) in means.iter_mut().zip(pixel) {
                    *mean += value;
                }
            }
            for mean in means {
                *mean /= pixels;
            }
        }
        let mut values = vec![0.0; images * self.embedding_size];
        // A batch is a row of pixels.
        let geometry = Geometry::contiguous(1, [1, images, FEATURES], [1, 1], self.embedding_size);
        let output = FloatOutput {
            bias: &self.bias,
            slopes: &self.slopes,
            accumulate: false,
            values: &mut values,
        };
        convolve(instructions, &geometry, &means, &self.weights, output);
        values
    }
}
