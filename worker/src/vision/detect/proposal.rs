//! P-Net, which proposes windows: a fully convolutional network with windows of 12 pixels, 2 apart.
//!
//! A level of the pyramid flows through all layers a few rows at a time, so that activations stay in the processor's
//! cache. Ring buffers hold the last eight rows of each layer.

mod level;

use crate::kernels::area::AreaResizer;
use crate::kernels::planes::{OutputGroup, PlaneConvolution};
use crate::kernels::winograd::OUTPUT_ROWS;
use crate::model::weights::{WeightFile, WeightsError};

/// Rows of a ring buffer: four that are computed and four that are still read.
const RING: usize = 8;
/// Pixels lie in planes of even and of odd columns, since the pool takes one of each.
const PIXEL_PLANES: usize = 6;
const POOLED: usize = 10;
const MIDDLE: usize = 16;
const FEATURES: usize = 32;
/// Rows and columns that the second and third convolution take off the pooled map.
const BORDER: usize = 4;

/// The network.
#[derive(Debug)]
pub struct ProposalNet {
    conv1: PlaneConvolution,
    conv2: PlaneConvolution,
    conv3: PlaneConvolution,
    /// Weights of "no face" and "face", and their bias.
    logits: [DenseOutput; 2],
    regression: [DenseOutput; 4],
}

#[derive(Debug)]
struct DenseOutput {
    weights: Vec<f32>,
    bias: f32,
}

/// A window that P-Net scores as a face.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proposal {
    pub x: usize,
    pub y: usize,
    pub probability: f32,
    /// Shifts of left, top, right, bottom in window sizes.
    pub regression: [f32; 4],
}

/// Activations of one level of the pyramid.
#[derive(Debug, Default)]
pub struct ProposalArena {
    resizer: AreaResizer,
    pixels: Vec<f32>,
    unpooled: Vec<f32>,
    pooled: Vec<f32>,
    middle: Vec<f32>,
    features: Vec<f32>,
    scores: Vec<f32>,
}

impl ProposalNet {
    pub fn load(file: &WeightFile) -> Result<Self, WeightsError> {
        // Output i of the even columns reads columns 2i to 2i + 2, of the odd ones 2i + 1 to 2i + 3.
        let columns = |parity: usize| OutputGroup {
            taps: (0..9)
                .map(|tap| (tap % 3, tap / 3 + parity))
                .map(|(channel, column)| (channel * 2 + column % 2, column / 2))
                .collect(),
        };
        let plain = |planes: usize| OutputGroup {
            taps: (0..planes * 3)
                .map(|tap| (tap % planes, tap / planes))
                .collect(),
        };
        let load = |number: usize,
                    inputs: usize,
                    planes: usize,
                    groups: &[OutputGroup],
                    outputs: usize| {
            let weights = file.values(&format!("conv{number}.weight"), &[outputs, 3, 3, inputs])?;
            let bias = file.values(&format!("conv{number}.bias"), &[outputs])?;
            let slopes = file.values(&format!("prelu{number}.weight"), &[outputs])?;
            let row = 3 * inputs;
            let kernel = |_group: usize, output: usize, tap: usize| {
                std::array::from_fn(|ky| weights[(output * 3 + ky) * row + tap])
            };
            Ok::<_, WeightsError>(PlaneConvolution::new(planes, groups, kernel, bias, slopes))
        };
        let dense = |name: &str, outputs: usize| {
            let weights = file.values(&format!("{name}.weight"), &[outputs, 1, 1, FEATURES])?;
            let bias = file.values(&format!("{name}.bias"), &[outputs])?;
            let output = |(weights, bias): (&[f32], f32)| DenseOutput {
                weights: weights.to_vec(),
                bias,
            };
            Ok::<_, WeightsError>(
                weights
                    .chunks_exact(FEATURES)
                    .zip(bias)
                    .map(output)
                    .collect::<Vec<_>>(),
            )
        };
        let array = "as many outputs as were asked for";
        Ok(Self {
            conv1: load(1, 3, PIXEL_PLANES, &[columns(0), columns(1)], POOLED)?,
            conv2: load(2, POOLED, POOLED, &[plain(POOLED)], MIDDLE)?,
            conv3: load(3, MIDDLE, MIDDLE, &[plain(MIDDLE)], FEATURES)?,
            logits: dense("conv4_1", 2)?.try_into().expect(array),
            regression: dense("conv4_2", 4)?.try_into().expect(array),
        })
    }
}

impl ProposalArena {
    fn reserve(&mut self, plane: usize) {
        let buffers = [
            (&mut self.pixels, RING * PIXEL_PLANES),
            (&mut self.unpooled, OUTPUT_ROWS * 2 * POOLED),
            (&mut self.pooled, RING * POOLED),
            (&mut self.middle, RING * MIDDLE),
            (&mut self.features, OUTPUT_ROWS * FEATURES),
            (&mut self.scores, 1),
        ];
        for (buffer, planes) in buffers {
            if buffer.len() < planes * plane {
                *buffer = vec![0.0; planes * plane];
            }
        }
    }
}
