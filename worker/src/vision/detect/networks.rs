//! P-Net, R-Net and O-Net of MTCNN (Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded
//! Convolutional Networks", 2016), as in facenet-pytorch's `mtcnn.py`.

use super::layers::{Convolution, Map, softmax_second};
use super::pool::max_pool;
use crate::vision::weights::{WeightFile, WeightsError};

/// Proposes faces: a fully convolutional network with a 12 pixel window, 2 pixels apart.
#[derive(Debug)]
pub struct ProposalNet {
    conv1: Convolution,
    conv2: Convolution,
    conv3: Convolution,
    probability: Convolution,
    regression: Convolution,
}

/// What P-Net says about every window of a level.
#[derive(Debug)]
pub struct Proposals {
    /// Windows in a row.
    pub width: usize,
    pub probabilities: Vec<f32>,
    /// Shifts of left, top, right, bottom in window sizes.
    pub regressions: Vec<[f32; 4]>,
}

/// Keeps or rejects a proposal: 24 x 24 pixels in.
#[derive(Debug)]
pub struct RefineNet {
    conv1: Convolution,
    conv2: Convolution,
    conv3: Convolution,
    dense: Convolution,
    probability: Convolution,
    regression: Convolution,
}

/// The last word, with landmarks: 48 x 48 pixels in.
#[derive(Debug)]
pub struct OutputNet {
    conv1: Convolution,
    conv2: Convolution,
    conv3: Convolution,
    conv4: Convolution,
    dense: Convolution,
    probability: Convolution,
    regression: Convolution,
    landmarks: Convolution,
}

/// R-Net's or O-Net's answer for one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub probability: f32,
    /// Shifts of left, top, right, bottom in box sizes.
    pub regression: [f32; 4],
    /// Five x, then five y, in box sizes; zero from R-Net.
    pub landmarks: [f32; 10],
}

impl ProposalNet {
    pub fn load(file: &WeightFile) -> Result<Self, WeightsError> {
        Ok(Self {
            conv1: Convolution::load(file, "conv1", Some("prelu1"), [3, 3, 10])?,
            conv2: Convolution::load(file, "conv2", Some("prelu2"), [10, 3, 16])?,
            conv3: Convolution::load(file, "conv3", Some("prelu3"), [16, 3, 32])?,
            probability: Convolution::load(file, "conv4_1", None, [32, 1, 2])?,
            regression: Convolution::load(file, "conv4_2", None, [32, 1, 4])?,
        })
    }

    /// A level of the pyramid, at least 12 x 12 normalised pixels.
    pub fn forward(&self, level: &Map) -> Proposals {
        let features = max_pool(&self.conv1.forward(level), 2, 2);
        let features = self.conv3.forward(&self.conv2.forward(&features));
        let logits = self.probability.forward(&features);
        let regressions = self.regression.forward(&features);
        Proposals {
            width: features.width,
            probabilities: logits
                .values
                .as_chunks()
                .0
                .iter()
                .map(|logits| softmax_second(*logits))
                .collect(),
            regressions: regressions.values.as_chunks().0.to_vec(),
        }
    }
}

impl RefineNet {
    pub const INPUT: usize = 24;

    pub fn load(file: &WeightFile) -> Result<Self, WeightsError> {
        Ok(Self {
            conv1: Convolution::load(file, "conv1", Some("prelu1"), [3, 3, 28])?,
            conv2: Convolution::load(file, "conv2", Some("prelu2"), [28, 3, 48])?,
            conv3: Convolution::load(file, "conv3", Some("prelu3"), [48, 2, 64])?,
            dense: Convolution::load_dense(file, "dense4", Some("prelu4"), [576, 128])?,
            probability: Convolution::load_dense(file, "dense5_1", None, [128, 2])?,
            regression: Convolution::load_dense(file, "dense5_2", None, [128, 4])?,
        })
    }

    /// `crops` holds one 24 x 24 crop of normalised pixels after the other.
    pub fn forward(&self, crops: &[f32]) -> Vec<Verdict> {
        if crops.is_empty() {
            return Vec::new();
        }
        let features = gather(crops, Self::INPUT, |crop| {
            let features = max_pool(&self.conv1.forward(&crop), 3, 2);
            let features = max_pool(&self.conv2.forward(&features), 3, 2);
            self.conv3.forward(&features)
        });
        let features = self.dense.forward(&features);
        verdicts(
            &self.probability.forward(&features),
            &self.regression.forward(&features),
            None,
        )
    }
}

impl OutputNet {
    pub const INPUT: usize = 48;

    pub fn load(file: &WeightFile) -> Result<Self, WeightsError> {
        Ok(Self {
            conv1: Convolution::load(file, "conv1", Some("prelu1"), [3, 3, 32])?,
            conv2: Convolution::load(file, "conv2", Some("prelu2"), [32, 3, 64])?,
            conv3: Convolution::load(file, "conv3", Some("prelu3"), [64, 3, 64])?,
            conv4: Convolution::load(file, "conv4", Some("prelu4"), [64, 2, 128])?,
            dense: Convolution::load_dense(file, "dense5", Some("prelu5"), [1152, 256])?,
            probability: Convolution::load_dense(file, "dense6_1", None, [256, 2])?,
            regression: Convolution::load_dense(file, "dense6_2", None, [256, 4])?,
            landmarks: Convolution::load_dense(file, "dense6_3", None, [256, 10])?,
        })
    }

    /// `crops` holds one 48 x 48 crop of normalised pixels after the other.
    pub fn forward(&self, crops: &[f32]) -> Vec<Verdict> {
        if crops.is_empty() {
            return Vec::new();
        }
        let features = gather(crops, Self::INPUT, |crop| {
            let features = max_pool(&self.conv1.forward(&crop), 3, 2);
            let features = max_pool(&self.conv2.forward(&features), 3, 2);
            let features = max_pool(&self.conv3.forward(&features), 2, 2);
            self.conv4.forward(&features)
        });
        let features = self.dense.forward(&features);
        let landmarks = self.landmarks.forward(&features);
        verdicts(
            &self.probability.forward(&features),
            &self.regression.forward(&features),
            Some(&landmarks),
        )
    }
}

/// Runs the convolutions on each crop and lines the results up as one row of pixels, one for each crop, which the dense
/// layers then take together.
fn gather(crops: &[f32], side: usize, convolve: impl Fn(Map) -> Map) -> Map {
    let mut row = Map {
        height: 1,
        width: 0,
        channels: 0,
        values: Vec::new(),
    };
    for crop in crops.chunks_exact(side * side * 3) {
        let features = convolve(Map {
            height: side,
            width: side,
            channels: 3,
            values: crop.to_vec(),
        });
        row.width += 1;
        row.channels = features.values.len();
        row.values.extend(features.values);
    }
    row
}

fn verdicts(logits: &Map, regressions: &Map, landmarks: Option<&Map>) -> Vec<Verdict> {
    let logits = logits.values.as_chunks::<2>().0;
    let regressions = regressions.values.as_chunks::<4>().0;
    let landmarks = landmarks.map(|map| map.values.as_chunks::<10>().0);
    let verdict = |index: usize| Verdict {
        probability: softmax_second(logits[index]),
        regression: regressions[index],
        landmarks: landmarks.map_or([0.0; 10], |landmarks| landmarks[index]),
    };
    (0..logits.len()).map(verdict).collect()
}
