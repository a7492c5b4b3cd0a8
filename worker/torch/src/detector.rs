//! MTCNN's three networks by libtorch.

use photo::Photo;
use tch::{Device, Kind, Tensor};
use worker::kernels::area::{AreaResizer, PixelRect};
use worker::model::bundle::{Bundle, LoadError};
use worker::model::weights::WeightFile;
use worker::vision::detect::networks::{OUTPUT_INPUT, Prediction, REFINE_INPUT};
use worker::vision::detect::proposal::Proposal;
use worker::vision::detect::{CropWriter, DetectionNetworks};

use crate::operators::Constant;
use crate::{images, infer, values};

/// Candidates in a batch.
const BATCH: usize = 64;

/// The networks, with layers named as in facenet-pytorch's `mtcnn.py`.
#[derive(Debug)]
pub struct TorchDetector {
    proposal: [Layer; 5],
    refine: CandidateNet,
    output: CandidateNet,
    device: Device,
}

/// R-Net or O-Net.
#[derive(Debug)]
struct CandidateNet {
    /// Side of the input, in pixels.
    side: usize,
    /// Convolutions, and the side of the maximum pool after each.
    stages: Vec<(Layer, Option<i64>)>,
    dense: Layer,
    logits: Layer,
    regression: Layer,
    landmarks: Option<Layer>,
}

/// A convolution or a dense layer, and the slopes of its PReLU.
#[derive(Debug)]
struct Layer {
    weights: Constant,
    bias: Constant,
    slopes: Option<Constant>,
}

impl TorchDetector {
    /// Loads the bundle's three networks onto the device.
    ///
    /// # Errors
    /// When the weights cannot be used.
    pub fn load(bundle: &Bundle, device: Device) -> Result<Self, LoadError> {
        let description = &bundle.description;
        let [pnet, rnet, onet] = [&description.pnet, &description.rnet, &description.onet]
            .map(|file| bundle.weights(file));
        let (pnet, rnet, onet) = (pnet?, rnet?, onet?);
        let convolution = |file: &WeightFile, number: usize, shape: [usize; 3]| {
            let activation = format!("prelu{number}");
            Layer::convolution(
                file,
                &format!("conv{number}"),
                Some(&activation),
                shape,
                device,
            )
        };
        let map = |file: &WeightFile, name: &str, outputs: usize| {
            Layer::convolution(file, name, None, [32, 1, outputs], device)
        };
        let dense = |file: &WeightFile, name: &str, activation, shape| {
            Layer::dense(file, name, activation, shape, device)
        };
        Ok(Self {
            proposal: [
                convolution(&pnet, 1, [3, 3, 10])?,
                convolution(&pnet, 2, [10, 3, 16])?,
                convolution(&pnet, 3, [16, 3, 32])?,
                map(&pnet, "conv4_1", 2)?,
                map(&pnet, "conv4_2", 4)?,
            ],
            refine: CandidateNet {
                side: REFINE_INPUT,
                stages: vec![
                    (convolution(&rnet, 1, [3, 3, 28])?, Some(3)),
                    (convolution(&rnet, 2, [28, 3, 48])?, Some(3)),
                    (convolution(&rnet, 3, [48, 2, 64])?, None),
                ],
                dense: dense(&rnet, "dense4", Some("prelu4"), [576, 128])?,
                logits: dense(&rnet, "dense5_1", None, [128, 2])?,
                regression: dense(&rnet, "dense5_2", None, [128, 4])?,
                landmarks: None,
            },
            output: CandidateNet {
                side: OUTPUT_INPUT,
                stages: vec![
                    (convolution(&onet, 1, [3, 3, 32])?, Some(3)),
                    (convolution(&onet, 2, [32, 3, 64])?, Some(3)),
                    (convolution(&onet, 3, [64, 3, 64])?, Some(2)),
                    (convolution(&onet, 4, [64, 2, 128])?, None),
                ],
                dense: dense(&onet, "dense5", Some("prelu5"), [1152, 256])?,
                logits: dense(&onet, "dense6_1", None, [256, 2])?,
                regression: dense(&onet, "dense6_2", None, [256, 4])?,
                landmarks: Some(dense(&onet, "dense6_3", None, [256, 10])?),
            },
            device,
        })
    }
}

impl CandidateNet {
    /// Cuts the candidates out and runs the network on them, batch by batch.
    fn forward(&self, device: Device, count: usize, write_crop: CropWriter<'_>) -> Vec<Prediction> {
        let side = self.side;
        let length = side * side * 3;
        let mut predictions = Vec::with_capacity(count);
        let mut crops = vec![0.0; BATCH.min(count) * length];
        for first in (0..count).step_by(BATCH) {
            let batch = BATCH.min(count - first);
            let crops = &mut crops[..batch * length];
            for (index, crop) in crops.chunks_exact_mut(length).enumerate() {
                write_crop(first + index, crop);
            }
            let (probabilities, regressions, landmarks) = infer(|| {
                let mut maps = images(crops, [batch, side, side, 3], device);
                for (layer, pool) in &self.stages {
                    maps = layer.convolve(&maps);
                    if let Some(side) = pool {
                        maps = max_pool(&maps, *side);
                    }
                }
                let features = self.dense.multiply(&flat(&maps));
                let output = |layer: &Layer| layer.multiply(&features);
                (
                    values(&output(&self.logits).softmax(1, Kind::Float)),
                    values(&output(&self.regression)),
                    self.landmarks.as_ref().map(|layer| values(&output(layer))),
                )
            });
            let landmarks = landmarks
                .as_deref()
                .map(|values| values.as_chunks::<10>().0);
            let outputs = (probabilities.as_chunks::<2>().0.iter())
                .zip(regressions.as_chunks::<4>().0)
                .enumerate();
            predictions.extend(outputs.map(|(index, (&[_, probability], &regression))| {
                Prediction {
                    probability,
                    regression,
                    landmarks: landmarks.map_or([0.0; 10], |landmarks| landmarks[index]),
                }
            }));
        }
        predictions
    }
}

impl DetectionNetworks for TorchDetector {
    fn propose(&self, photo: &Photo, [width, height]: [usize; 2], threshold: f32) -> Vec<Proposal> {
        let mut level = vec![0.0; width * height * 3];
        let mut resizer = AreaResizer::default();
        resizer.resize(photo, PixelRect::whole(photo), [width, height], &mut level);
        let [conv1, conv2, conv3, logits, regression] = &self.proposal;
        let (probabilities, regressions, columns) = infer(|| {
            let pixels = images(&level, [1, height, width, 3], self.device);
            let features = conv3.convolve(&conv2.convolve(&max_pool(&conv1.convolve(&pixels), 2)));
            let probabilities = logits
                .convolve(&features)
                .softmax(1, Kind::Float)
                .select(1, 1);
            let columns = features.size()[3] as usize;
            let regressions = regression.convolve(&features).permute([0, 2, 3, 1]);
            (values(&probabilities), values(&regressions), columns)
        });
        let windows = probabilities
            .iter()
            .zip(regressions.as_chunks::<4>().0)
            .enumerate();
        windows
            .filter(|(_, (probability, _))| **probability >= threshold)
            .map(|(index, (&probability, &regression))| Proposal {
                x: index % columns,
                y: index / columns,
                probability,
                regression,
            })
            .collect()
    }

    fn refine(&self, count: usize, write_crop: CropWriter<'_>) -> Vec<Prediction> {
        self.refine.forward(self.device, count, write_crop)
    }

    fn output(&self, count: usize, write_crop: CropWriter<'_>) -> Vec<Prediction> {
        self.output.forward(self.device, count, write_crop)
    }
}

impl Layer {
    /// Reads `name.weight` [outputs, side, side, inputs], `name.bias` and `activation.weight`.
    fn convolution(
        file: &WeightFile,
        name: &str,
        activation: Option<&str>,
        [inputs, side, outputs]: [usize; 3],
        device: Device,
    ) -> Result<Self, LoadError> {
        let shape = [outputs, side, side, inputs];
        let weights = file.values(&format!("{name}.weight"), &shape)?;
        let weights = images(&weights, shape, device);
        Self::with_weights(weights, file, name, activation, outputs, device)
    }

    /// Reads `name.weight` [outputs, inputs], `name.bias` and `activation.weight`.
    fn dense(
        file: &WeightFile,
        name: &str,
        activation: Option<&str>,
        [inputs, outputs]: [usize; 2],
        device: Device,
    ) -> Result<Self, LoadError> {
        let weights = file.values(&format!("{name}.weight"), &[outputs, inputs])?;
        let shape = [outputs as i64, inputs as i64];
        let weights = Tensor::from_slice(&weights).view(shape).to_device(device);
        Self::with_weights(weights, file, name, activation, outputs, device)
    }

    fn with_weights(
        weights: Tensor,
        file: &WeightFile,
        name: &str,
        activation: Option<&str>,
        outputs: usize,
        device: Device,
    ) -> Result<Self, LoadError> {
        let vector = |name: String| -> Result<Constant, LoadError> {
            let values = Tensor::from_slice(&file.values(&name, &[outputs])?);
            Ok(values.to_device(device).into())
        };
        Ok(Self {
            weights: weights.into(),
            bias: vector(format!("{name}.bias"))?,
            slopes: activation
                .map(|name| vector(format!("{name}.weight")))
                .transpose()?,
        })
    }

    fn convolve(&self, input: &Tensor) -> Tensor {
        self.activate(input.conv2d(&self.weights, Some(&*self.bias), [1, 1], [0, 0], [1, 1], 1))
    }

    fn multiply(&self, input: &Tensor) -> Tensor {
        self.activate(input.linear(&self.weights, Some(&*self.bias)))
    }

    fn activate(&self, sums: Tensor) -> Tensor {
        match &self.slopes {
            Some(slopes) => sums.prelu(slopes),
            None => sums,
        }
    }
}

/// Pools windows of `side` x `side`, 2 apart, which may hang over the right and lower edge.
fn max_pool(maps: &Tensor, side: i64) -> Tensor {
    maps.max_pool2d([side, side], [2, 2], [0, 0], [1, 1], true)
}

/// Flattens each image to rows of pixels of channels, the order that the dense layers were trained on.
fn flat(maps: &Tensor) -> Tensor {
    maps.permute([0, 2, 3, 1]).flatten(1, 3)
}
