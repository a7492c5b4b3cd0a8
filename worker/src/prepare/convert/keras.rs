//! Inception-ResNet v1 in a model file of Keras: David Sandberg's checkpoints as `facenet_keras.h5` has them.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ContentError;
use super::fold::{BatchNorm, Source};
use super::hdf5::{self, Dataset};
use super::layers::{FEATURES, Layer};
use super::torch_file::TensorProblem;

/// The group that `Model.save` puts the layers into.
const ROOT: &str = "model_weights/";
/// The layer that makes the embedding.
const EMBEDDING: &str = "Bottleneck";

/// The file's datasets, each to be used.
#[derive(Debug)]
pub struct KerasWeights<'a> {
    datasets: BTreeMap<String, Dataset<'a>>,
    unused: BTreeSet<String>,
}

impl<'a> KerasWeights<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ContentError> {
        let datasets = hdf5::datasets(bytes)?;
        let names = datasets.keys().filter(|path| path.starts_with(ROOT));
        let unused = names.cloned().collect();
        Ok(Self { datasets, unused })
    }

    fn dataset(&self, path: &str, expected: &str) -> Result<&Dataset<'a>, ContentError> {
        let missing = || TensorProblem::Missing {
            expected: expected.to_owned(),
        };
        let found = self.datasets.get(path);
        found.ok_or_else(|| ContentError::of_tensor(path, missing()))
    }

    fn take(
        &mut self,
        layer: &str,
        weight: &str,
        shape: &[usize],
    ) -> Result<Vec<f32>, ContentError> {
        let (path, expected) = (path(layer, weight), format!("{shape:?}"));
        let dataset = self.dataset(&path, &expected)?;
        if dataset.shape != shape {
            return Err(wrong_shape(&path, dataset, expected));
        }
        let values = dataset.values();
        self.unused.remove(&path);
        Ok(values)
    }
}

impl Source for KerasWeights<'_> {
    fn embedding_size(&self) -> Result<usize, ContentError> {
        let (path, expected) = (
            path(EMBEDDING, "kernel"),
            format!("[{FEATURES}, embedding size]"),
        );
        let dataset = self.dataset(&path, &expected)?;
        match dataset.shape[..] {
            [FEATURES, size] if size > 0 => Ok(size),
            _ => Err(wrong_shape(&path, dataset, expected)),
        }
    }

    fn kernel(&mut self, layer: &Layer) -> Result<Vec<f32>, ContentError> {
        let [outputs, height, width, inputs] = layer.shape;
        let shape = [height, width, inputs, outputs];
        let shape = if layer.keras == EMBEDDING {
            &shape[2..]
        } else {
            &shape
        };
        let values = self.take(&layer.keras, "kernel", shape)?;
        // Keras has the output channels last.
        let channel = |output| values.iter().skip(output).step_by(outputs);
        Ok((0..outputs).flat_map(channel).copied().collect())
    }

    fn bias(&mut self, layer: &Layer) -> Result<Vec<f32>, ContentError> {
        self.take(&layer.keras, "bias", &layer.shape[..1])
    }

    fn batch_norm(&mut self, layer: &Layer, _: &str) -> Result<BatchNorm, ContentError> {
        let norm = format!("{}_BatchNorm", layer.keras);
        let mut vector = |weight| self.take(&norm, weight, &layer.shape[..1]);
        Ok(BatchNorm {
            // These networks were trained without.
            gamma: vec![1.0; layer.shape[0]],
            beta: vector("beta")?,
            mean: vector("moving_mean")?,
            variance: vector("moving_variance")?,
        })
    }

    fn finish(self) -> Result<(), ContentError> {
        if self.unused.is_empty() {
            return Ok(());
        }
        let tensors = self.unused.into_iter().collect();
        Err(ContentError::LeftOver { tensors })
    }
}

fn path(layer: &str, weight: &str) -> String {
    format!("{ROOT}{layer}/{layer}/{weight}:0")
}

fn wrong_shape(path: &str, dataset: &Dataset<'_>, expected: String) -> ContentError {
    let found = dataset.shape.clone();
    ContentError::of_tensor(path, TensorProblem::Shape { found, expected })
}
