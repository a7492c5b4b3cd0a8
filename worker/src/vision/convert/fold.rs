//! Folds batch norms and residual scales into the kernels and biases before them, in double precision.

use super::ContentError;
use super::layers::{FEATURES, Fold, Layer, layers};
use super::state_dict::{StateDict, problem};
use super::torch_file::{TensorProblem, TorchFile};
use crate::vision::panels;

/// facenet-pytorch's, of all its batch norms.
const BATCH_NORM_EPSILON: f64 = 0.001;
const DENSE: &str = "last_linear.weight";
/// The classifier on top of the embedding, which recognition by distance does not need.
const CLASSIFIER: &str = "logits.";

/// The folded network.
#[derive(Debug)]
pub struct Embedder {
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

/// The network of a state dict of `InceptionResnetV1`.
pub fn embedder(file: &TorchFile<'_>) -> Result<Embedder, ContentError> {
    let mut weights = StateDict::of(file)?;
    weights.ignore(CLASSIFIER);
    let embedding_size = weights.rows(DENSE, FEATURES)?;
    let layers = layers(embedding_size)
        .into_iter()
        .map(|layer| fold(&mut weights, layer))
        .collect::<Result<_, _>>()?;
    weights.finish()?;
    Ok(Embedder {
        embedding_size,
        layers,
    })
}

fn fold(weights: &mut StateDict<'_>, layer: Layer) -> Result<FoldedLayer, ContentError> {
    let [outputs, height, width, inputs] = layer.shape;
    let mut kernel = if layer.kernel == DENSE {
        weights.take(DENSE, &[outputs, inputs])?
    } else {
        weights.take_kernel(&layer.kernel, [outputs, inputs, height, width])?
    };
    let (factors, bias) = match layer.fold {
        Fold::BatchNorm(norm) => batch_norm(weights, &norm, outputs)?,
        Fold::Scale(scale) => {
            let bias = weights.take(&format!("{}.bias", layer.name), &[outputs])?;
            let scaled = bias.iter().map(|&value| (f64::from(value) * scale) as f32);
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
        return Err(problem(&layer.kernel, TensorProblem::NotFinite));
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

/// y = (x - mean) / sqrt(variance + eps) * gamma + beta as a factor and a bias for each channel.
fn batch_norm(
    weights: &mut StateDict<'_>,
    norm: &str,
    channels: usize,
) -> Result<(Vec<f64>, Vec<f32>), ContentError> {
    // A count of training steps, which files of torch before 0.4.1 lack.
    weights.ignore(&format!("{norm}.num_batches_tracked"));
    let mut vector = |name: &str| weights.take(&format!("{norm}.{name}"), &[channels]);
    let (gamma, beta) = (vector("weight")?, vector("bias")?);
    let (mean, variance) = (vector("running_mean")?, vector("running_var")?);
    let factors: Vec<f64> = gamma
        .iter()
        .zip(&variance)
        .map(|(&gamma, &variance)| {
            f64::from(gamma) / (f64::from(variance) + BATCH_NORM_EPSILON).sqrt()
        })
        .collect();
    let bias = beta
        .iter()
        .zip(&mean)
        .zip(&factors)
        .map(|((&beta, &mean), factor)| (f64::from(beta) - f64::from(mean) * factor) as f32)
        .collect();
    Ok((factors, bias))
}
