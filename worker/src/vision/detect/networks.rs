//! R-Net and O-Net, which score and refine candidates (K. Zhang et al., "Joint Face Detection and Alignment Using
//! Multitask Cascaded Convolutional Networks", 2016), with the weights of facenet-pytorch.

use super::layers::{BiasPrelu, Maps, ValidConvolution, softmax_second};
use crate::kernels::Instructions;
use crate::kernels::winograd_convolution::{WinogradBuffers, WinogradConvolution};
use crate::model::weights::{WeightFile, WeightsError};

/// Side of R-Net's input, in pixels.
pub const REFINE_INPUT: usize = 24;
/// Side of O-Net's input, in pixels.
pub const OUTPUT_INPUT: usize = 48;

/// R-Net or O-Net.
#[derive(Debug)]
pub struct CandidateNet {
    /// Side of the input, in pixels.
    input: usize,
    /// Crops whose activations fit into the second-level cache.
    batch: usize,
    /// Convolutions, and the side of the maximum pool after each.
    stages: Vec<(CandidateLayer, Option<usize>)>,
    dense: ValidConvolution,
    probability: ValidConvolution,
    regression: ValidConvolution,
    landmarks: Option<ValidConvolution>,
}

#[derive(Debug)]
enum CandidateLayer {
    Direct(ValidConvolution),
    Winograd(WinogradConvolution),
}

/// What R-Net or O-Net predicts for one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    pub probability: f32,
    /// Shifts of left, top, right, bottom in box sizes.
    pub regression: [f32; 4],
    /// Five x, then five y, in box sizes; zero from R-Net.
    pub landmarks: [f32; 10],
}

/// Memory for a batch of candidates, and for the inputs of the dense layers, which take all candidates at once.
#[derive(Debug, Default)]
pub struct CandidateArena {
    crops: Maps,
    convolved: Maps,
    pooled: Maps,
    winograd: WinogradBuffers,
    features: Maps,
    dense: Maps,
    logits: Maps,
    regressions: Maps,
    landmarks: Maps,
}

impl CandidateNet {
    /// Loads R-Net, whose input has [`REFINE_INPUT`] pixels a side.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn refine(file: &WeightFile) -> Result<Self, WeightsError> {
        let layer = |number, shape| CandidateLayer::load(file, number, shape);
        let dense = |name, shape| ValidConvolution::load_dense(file, name, None, shape);
        Ok(Self {
            input: REFINE_INPUT,
            batch: 4,
            stages: vec![
                (layer(1, [3, 3, 28])?, Some(3)),
                (layer(2, [28, 3, 48])?, Some(3)),
                (layer(3, [48, 2, 64])?, None),
            ],
            dense: ValidConvolution::load_dense(file, "dense4", Some("prelu4"), [576, 128])?,
            probability: dense("dense5_1", [128, 2])?,
            regression: dense("dense5_2", [128, 4])?,
            landmarks: None,
        })
    }

    /// Loads O-Net, whose input has [`OUTPUT_INPUT`] pixels a side.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn output(file: &WeightFile) -> Result<Self, WeightsError> {
        let layer = |number, shape| CandidateLayer::load(file, number, shape);
        let dense = |name, shape| ValidConvolution::load_dense(file, name, None, shape);
        Ok(Self {
            input: OUTPUT_INPUT,
            batch: 1,
            stages: vec![
                (layer(1, [3, 3, 32])?, Some(3)),
                (layer(2, [32, 3, 64])?, Some(3)),
                (layer(3, [64, 3, 64])?, Some(2)),
                (layer(4, [64, 2, 128])?, None),
            ],
            dense: ValidConvolution::load_dense(file, "dense5", Some("prelu5"), [1152, 256])?,
            probability: dense("dense6_1", [256, 2])?,
            regression: dense("dense6_2", [256, 4])?,
            landmarks: Some(dense("dense6_3", [256, 10])?),
        })
    }

    /// Runs the network on `count` crops; `write_crop(index, crop)` writes the normalized pixels of one of them.
    pub fn forward(
        &self,
        instructions: Instructions,
        count: usize,
        write_crop: impl FnMut(usize, &mut [f32]),
        arena: &mut CandidateArena,
    ) -> Vec<Prediction> {
        if count == 0 {
            return Vec::new();
        }
        self.convolve(instructions, count, write_crop, arena);
        (self.dense).forward(instructions, &arena.features, &mut arena.dense);
        let dense = &arena.dense;
        (self.probability).forward(instructions, dense, &mut arena.logits);
        (self.regression).forward(instructions, dense, &mut arena.regressions);
        if let Some(landmarks) = &self.landmarks {
            landmarks.forward(instructions, dense, &mut arena.landmarks);
        }
        arena.predictions(self.landmarks.is_some())
    }

    /// Convolves the crops batch by batch, and collects the results in `features`.
    fn convolve(
        &self,
        instructions: Instructions,
        count: usize,
        mut write_crop: impl FnMut(usize, &mut [f32]),
        arena: &mut CandidateArena,
    ) {
        let CandidateArena {
            crops,
            convolved,
            pooled,
            winograd,
            features,
            ..
        } = arena;
        let side = self.input;
        for first in (0..count).step_by(self.batch) {
            let images = self.batch.min(count - first);
            crops.resize([images, side, side, 3]);
            let values = crops.values_mut().chunks_exact_mut(side * side * 3);
            values
                .enumerate()
                .for_each(|(index, crop)| write_crop(first + index, crop));
            for (index, (layer, pool)) in self.stages.iter().enumerate() {
                let input = if index == 0 { &*crops } else { &*pooled };
                layer.forward(instructions, input, winograd, convolved);
                if let Some(side) = pool {
                    convolved.max_pool(instructions, *side, pooled);
                }
            }
            let length = convolved.values_per_image();
            features.resize([count, 1, 1, length]);
            features.values_mut()[first * length..][..images * length]
                .copy_from_slice(convolved.values());
        }
    }
}

impl CandidateLayer {
    /// Reads convolution `number` and its PReLU. Winograd's F(4, 3) pays for 3x3 kernels of many channels.
    fn load(
        file: &WeightFile,
        number: usize,
        [inputs, side, outputs]: [usize; 3],
    ) -> Result<Self, WeightsError> {
        let (name, prelu) = (format!("conv{number}"), format!("prelu{number}"));
        if side != 3 || inputs == 3 {
            let shape = [inputs, side, outputs];
            return ValidConvolution::load(file, &name, Some(&prelu), shape).map(Self::Direct);
        }
        let weights = file.values(&format!("{name}.weight"), &[outputs, 3, 3, inputs])?;
        let BiasPrelu { bias, slopes } = BiasPrelu::load(file, &name, Some(&prelu), outputs)?;
        let layer = WinogradConvolution::new(&weights, [inputs, outputs], bias, slopes);
        Ok(Self::Winograd(layer))
    }

    fn forward(
        &self,
        instructions: Instructions,
        input: &Maps,
        buffers: &mut WinogradBuffers,
        output: &mut Maps,
    ) {
        match self {
            Self::Direct(layer) => layer.forward(instructions, input, output),
            Self::Winograd(layer) => {
                let [images, height, width] = [input.images, input.height, input.width];
                output.resize([images, height - 2, width - 2, layer.outputs()]);
                let (shape, values) = ([images, height, width], input.values());
                layer.forward(instructions, shape, values, buffers, output.values_mut());
            }
        }
    }
}

impl CandidateArena {
    fn predictions(&self, has_landmarks: bool) -> Vec<Prediction> {
        let logits = self.logits.values().as_chunks::<2>().0;
        let regressions = self.regressions.values().as_chunks::<4>().0;
        let landmarks = has_landmarks.then(|| self.landmarks.values().as_chunks::<10>().0);
        let prediction = |index: usize| Prediction {
            probability: softmax_second(logits[index]),
            regression: regressions[index],
            landmarks: landmarks.map_or([0.0; 10], |landmarks| landmarks[index]),
        };
        (0..logits.len()).map(prediction).collect()
    }
}
