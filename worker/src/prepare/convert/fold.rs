//! Folds batch norms and residual scales into the kernels and biases before them, in double precision.

use super::error::ContentError;
use super::layers::{Fold, Layer, layers};
use super::torch_file::TensorProblem;
use crate::kernels::panels;

/// Of all batch norms of these networks.
const BATCH_NORM_EPSILON: f64 = 0.001;

/// A file with the weights of an Inception-ResNet v1. Each tensor is checked when it is taken.
pub trait Source {
    /// Returns the number of values in an embedding.
    fn embedding_size(&self) -> Result<usize, ContentError>;

    /// Takes the kernel in the order [out, height, width, in].
    fn kernel(&mut self, layer: &Layer) -> Result<Vec<f32>, ContentError>;

    /// Takes the bias of a layer that has one.
    fn bias(&mut self, layer: &Layer) -> Result<Vec<f32>, ContentError>;

    /// Takes the batch norm behind a layer; `name` is its name in a state dict.
    fn batch_norm(&mut self, layer: &Layer, name: &str) -> Result<BatchNorm, ContentError>;

    /// Checks that all tensors were taken.
    ///
    /// # Errors
    /// When a tensor is left over.
    fn finish(self) -> Result<(), ContentError>;
}

/// y = (x - mean) / sqrt(variance + eps) * gamma + beta, with a number of each kind for each channel.
#[derive(Debug)]
pub struct BatchNorm {
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    pub mean: Vec<f32>,
    pub variance: Vec<f32>,
}

/// The folded network.
#[derive(Debug)]
pub struct FoldedEmbedder {
    pub embedding_size: usize,
    pub layers: Vec<FoldedLayer>,
}

#[derive(Debug)]
pub struct FoldedLayer {
    pub name: String,
    /// [panels, height, width, in, 32]
    pub shape: [usize; 5],
    pub kernel: Vec<f32>,
    pub bias: Vec<f32>,
}

/// Takes all weights of the file and folds them.
pub fn embedder(mut weights: impl Source) -> Result<FoldedEmbedder, ContentError> {
    let embedding_size = weights.embedding_size()?;
    let layers = layers(embedding_size)
        .into_iter()
        .map(|layer| fold(&mut weights, layer))
        .collect::<Result<_, _>>()?;
    weights.finish()?;
    Ok(FoldedEmbedder {
        embedding_size,
        layers,
    })
}

fn fold(weights: &mut impl Source, layer: Layer) -> Result<FoldedLayer, ContentError> {
    let [outputs, height, width, inputs] = layer.shape;
    let mut kernel = weights.kernel(&layer)?;
    let (factors, bias) = match &layer.fold {
        Fold::BatchNorm(norm) => weights.batch_norm(&layer, norm)?.factors_and_biases(),
        &Fold::Scale(scale) => {
            let bias = weights.bias(&layer)?.into_iter();
            let scaled = bias.map(|value| (f64::from(value) * scale) as f32);
            (vec![scale; outputs], scaled.collect())
        }
    };
    for (row, factor) in kernel
        .chunks_exact_mut(height * width * inputs)
        .zip(factors)
    {
        for weight in row {
            *weight = (f64::from(*weight) * factor) as f32;
        }
    }
    if !kernel.iter().chain(&bias).all(|value| value.is_finite()) {
        return Err(ContentError::of_tensor(
            &layer.kernel,
            TensorProblem::NotFinite,
        ));
    }
    Ok(FoldedLayer {
        name: layer.name,
        shape: [
            panels::panels(outputs),
            height,
            width,
            inputs,
            panels::PANEL,
        ],
        kernel: panels::pack(&kernel, outputs),
        bias,
    })
}

impl BatchNorm {
    /// Returns a factor for the kernel and a bias for each channel.
    fn factors_and_biases(&self) -> (Vec<f64>, Vec<f32>) {
        let factors: Vec<f64> = self
            .gamma
            .iter()
            .zip(&self.variance)
            .map(|(&gamma, &variance)| {
                f64::from(gamma) / (f64::from(variance) + BATCH_NORM_EPSILON).sqrt()
            })
            .collect();
        let biases = self
            .beta
            .iter()
            .zip(&self.mean)
            .zip(&factors)
            .map(|((&beta, &mean), factor)| (f64::from(beta) - f64::from(mean) * factor) as f32)
            .collect();
        (factors, biases)
    }
}
