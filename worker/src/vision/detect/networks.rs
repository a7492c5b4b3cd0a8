//! R-Net and O-Net, which score and refine candidates (K. Zhang et al., "Joint Face Detection and Alignment Using
//! Multitask Cascaded Convolutional Networks", 2016), with the weights of facenet-pytorch.

use super::layers::{BiasPrelu, Convolution, Maps, softmax_second};
use crate::kernels::Instructions;
use crate::kernels::winograd_convolution::{WinogradBuffers, WinogradConvolution};
use crate::model::weights::{WeightFile, WeightsError};

/// Scores proposals of 24 x 24 pixels.
#[derive(Debug)]
pub struct RefineNet {
    conv1: Convolution,
    conv2: WinogradConvolution,
    conv3: Convolution,
    dense: Convolution,
    probability: Convolution,
    regression: Convolution,
}

/// Scores candidates of 48 x 48 pixels, and finds landmarks.
#[derive(Debug)]
pub struct OutputNet {
    conv1: Convolution,
    conv2: WinogradConvolution,
    conv3: WinogradConvolution,
    conv4: Convolution,
    dense: Convolution,
    probability: Convolution,
    regression: Convolution,
    landmarks: Convolution,
}

/// R-Net's or O-Net's output for one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
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
    here: Maps,
    there: Maps,
    buffers: WinogradBuffers,
    features: Maps,
    dense: Maps,
    logits: Maps,
    regressions: Maps,
    landmarks: Maps,
}

impl RefineNet {
    pub const INPUT: usize = 24;
    /// Crops whose activations fit into the second-level cache.
    const BATCH: usize = 4;

    pub fn load(file: &WeightFile) -> Result<Self, WeightsError> {
        Ok(Self {
            conv1: Convolution::load(file, "conv1", Some("prelu1"), [3, 3, 28])?,
            conv2: load_winograd(file, "conv2", "prelu2", [28, 48])?,
            conv3: Convolution::load(file, "conv3", Some("prelu3"), [48, 2, 64])?,
            dense: Convolution::load_dense(file, "dense4", Some("prelu4"), [576, 128])?,
            probability: Convolution::load_dense(file, "dense5_1", None, [128, 2])?,
            regression: Convolution::load_dense(file, "dense5_2", None, [128, 4])?,
        })
    }

    /// Runs the network on `count` crops; `cut(index, crop)` writes one of them, 24 x 24 normalized pixels.
    pub fn forward(
        &self,
        instructions: Instructions,
        count: usize,
        cut: impl FnMut(usize, &mut [f32]),
        arena: &mut CandidateArena,
    ) -> Vec<Verdict> {
        if count == 0 {
            return Vec::new();
        }
        arena.gather([count, Self::BATCH, Self::INPUT], cut, |arena| {
            let CandidateArena {
                crops,
                here,
                there,
                buffers,
                ..
            } = arena;
            self.conv1.forward(instructions, crops, here);
            here.max_pool(instructions, 3, there);
            run_winograd(&self.conv2, instructions, there, buffers, here);
            here.max_pool(instructions, 3, there);
            self.conv3.forward(instructions, there, here);
        });
        self.dense
            .forward(instructions, &arena.features, &mut arena.dense);
        let dense = &arena.dense;
        self.probability
            .forward(instructions, dense, &mut arena.logits);
        self.regression
            .forward(instructions, dense, &mut arena.regressions);
        arena.verdicts(None)
    }
}

impl OutputNet {
    pub const INPUT: usize = 48;
    const BATCH: usize = 1;

    pub fn load(file: &WeightFile) -> Result<Self, WeightsError> {
        Ok(Self {
            conv1: Convolution::load(file, "conv1", Some("prelu1"), [3, 3, 32])?,
            conv2: load_winograd(file, "conv2", "prelu2", [32, 64])?,
            conv3: load_winograd(file, "conv3", "prelu3", [64, 64])?,
            conv4: Convolution::load(file, "conv4", Some("prelu4"), [64, 2, 128])?,
            dense: Convolution::load_dense(file, "dense5", Some("prelu5"), [1152, 256])?,
            probability: Convolution::load_dense(file, "dense6_1", None, [256, 2])?,
            regression: Convolution::load_dense(file, "dense6_2", None, [256, 4])?,
            landmarks: Convolution::load_dense(file, "dense6_3", None, [256, 10])?,
        })
    }

    /// Runs the network on `count` crops; `cut(index, crop)` writes one of them, 48 x 48 normalized pixels.
    pub fn forward(
        &self,
        instructions: Instructions,
        count: usize,
        cut: impl FnMut(usize, &mut [f32]),
        arena: &mut CandidateArena,
    ) -> Vec<Verdict> {
        if count == 0 {
            return Vec::new();
        }
        arena.gather([count, Self::BATCH, Self::INPUT], cut, |arena| {
            let CandidateArena {
                crops,
                here,
                there,
                buffers,
                ..
            } = arena;
            self.conv1.forward(instructions, crops, here);
            here.max_pool(instructions, 3, there);
            run_winograd(&self.conv2, instructions, there, buffers, here);
            here.max_pool(instructions, 3, there);
            run_winograd(&self.conv3, instructions, there, buffers, here);
            here.max_pool(instructions, 2, there);
            self.conv4.forward(instructions, there, here);
        });
        self.dense
            .forward(instructions, &arena.features, &mut arena.dense);
        let dense = &arena.dense;
        self.probability
            .forward(instructions, dense, &mut arena.logits);
        self.regression
            .forward(instructions, dense, &mut arena.regressions);
        self.landmarks
            .forward(instructions, dense, &mut arena.landmarks);
        arena.verdicts(Some(&arena.landmarks))
    }
}

/// As [`Convolution::load`], with a side of 3.
fn load_winograd(
    file: &WeightFile,
    name: &str,
    activation: &str,
    [inputs, outputs]: [usize; 2],
) -> Result<WinogradConvolution, WeightsError> {
    let weights = file.values(&format!("{name}.weight"), &[outputs, 3, 3, inputs])?;
    let BiasPrelu { bias, slopes } = BiasPrelu::load(file, name, Some(activation), outputs)?;
    Ok(WinogradConvolution::new(
        &weights,
        [inputs, outputs],
        bias,
        slopes,
    ))
}

fn run_winograd(
    layer: &WinogradConvolution,
    instructions: Instructions,
    input: &Maps,
    buffers: &mut WinogradBuffers,
    output: &mut Maps,
) {
    let shape = [input.images, input.height, input.width];
    output.resize([
        input.images,
        input.height - 2,
        input.width - 2,
        layer.outputs(),
    ]);
    layer.forward(
        instructions,
        shape,
        input.values(),
        buffers,
        output.values_mut(),
    );
}

impl CandidateArena {
    /// Convolves the crops batch by batch, from `crops` to `here`, and collects the results in `features`.
    fn gather(
        &mut self,
        [count, batch, side]: [usize; 3],
        mut cut: impl FnMut(usize, &mut [f32]),
        convolve: impl Fn(&mut Self),
    ) {
        for first in (0..count).step_by(batch) {
            let images = batch.min(count - first);
            self.crops.resize([images, side, side, 3]);
            let crops = self.crops.values_mut().chunks_exact_mut(side * side * 3);
            crops
                .enumerate()
                .for_each(|(index, crop)| cut(first + index, crop));
            convolve(self);
            let length = self.here.values_per_image();
            self.features.resize([count, 1, 1, length]);
            self.features.values_mut()[first * length..][..images * length]
                .copy_from_slice(self.here.values());
        }
    }

    fn verdicts(&self, landmarks: Option<&Maps>) -> Vec<Verdict> {
        let logits = self.logits.values().as_chunks::<2>().0;
        let regressions = self.regressions.values().as_chunks::<4>().0;
        let landmarks = landmarks.map(|maps| maps.values().as_chunks::<10>().0);
        let verdict = |index: usize| Verdict {
            probability: softmax_second(logits[index]),
            regression: regressions[index],
            landmarks: landmarks.map_or([0.0; 10], |landmarks| landmarks[index]),
        };
        (0..logits.len()).map(verdict).collect()
    }
}
