//! The few kinds of layer that the detector's three small networks are made of, in plain Rust.
//!
//! libtorch would pay more for dispatch, and for preparing a convolution anew for each size in the pyramid and each
//! number of candidates, than these networks cost to compute. Values are rows of pixels of channels (height, width,
//! channel).

use crate::vision::native::{Vectorised, run_vectorised};
use crate::vision::weights::{WeightFile, WeightsError};

/// Output channels are computed in groups of this many,
const LANES: usize = 16;

/// for this many pixels at once. The compiler keeps 4 x 16 sums in registers; of larger blocks it has been seen to keep
/// some in memory, at half the speed.
const PIXELS: usize = 4;

/// Values in rows of pixels of channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub values: Vec<f32>,
}

/// A convolution without padding, stride 1, with its bias and, if `slopes` is not empty, a PReLU after it.
#[derive(Debug)]
pub struct Convolution {
    side: usize,
    inputs: usize,
    outputs: usize,
    /// [group of 16 outputs][kernel row][kernel column and input channel][16]; missing outputs are zero.
    weights: Vec<f32>,
    bias: Vec<f32>,
    slopes: Vec<f32>,
}

impl Convolution {
    /// Reads `name.weight` [outputs, side, side, inputs], `name.bias` and `activation.weight` (the PReLU's slopes).
    pub fn load(
        file: &WeightFile,
        name: &str,
        activation: Option<&str>,
        [inputs, side, outputs]: [usize; 3],
    ) -> Result<Self, WeightsError> {
        let weights = file.values(&format!("{name}.weight"), &[outputs, side, side, inputs])?;
        Self::new(file, name, activation, [inputs, side, outputs], &weights)
    }

    /// A dense layer is a 1x1 convolution over a row of inputs: `name.weight` is [outputs, inputs].
    pub fn load_dense(
        file: &WeightFile,
        name: &str,
        activation: Option<&str>,
        [inputs, outputs]: [usize; 2],
    ) -> Result<Self, WeightsError> {
        let weights = file.values(&format!("{name}.weight"), &[outputs, inputs])?;
        Self::new(file, name, activation, [inputs, 1, outputs], &weights)
    }

    fn new(
        file: &WeightFile,
        name: &str,
        activation: Option<&str>,
        [inputs, side, outputs]: [usize; 3],
        weights: &[f32],
    ) -> Result<Self, WeightsError> {
        let padded = outputs.next_multiple_of(LANES);
        let mut bias = file.values(&format!("{name}.bias"), &[outputs])?;
        bias.resize(padded, 0.0);
        let mut slopes = match activation {
            Some(activation) => file.values(&format!("{activation}.weight"), &[outputs])?,
            None => vec![1.0; outputs],
        };
        slopes.resize(padded, 1.0);
        let taps = side * side * inputs;
        let mut packed = vec![0.0; padded * taps];
        for (output, kernel) in weights.chunks_exact(taps).enumerate() {
            let group = &mut packed[output / LANES * LANES * taps..][..LANES * taps];
            for (tap, &weight) in kernel.iter().enumerate() {
                group[tap * LANES + output % LANES] = weight;
            }
        }
        Ok(Self {
            side,
            inputs,
            outputs,
            weights: packed,
            bias,
            slopes,
        })
    }

    /// [height, width, inputs] to [height - side + 1, width - side + 1, outputs].
    pub fn forward(&self, input: &Map) -> Map {
        assert_eq!(
            input.channels, self.inputs,
            "the layer before has as many channels"
        );
        let (height, width) = (input.height - self.side + 1, input.width - self.side + 1);
        let mut values = vec![0.0; height * width * self.outputs];
        run_vectorised(Pass {
            layer: self,
            input,
            width,
            out: &mut values,
        });
        Map {
            height,
            width,
            channels: self.outputs,
            values,
        }
    }
}

/// One run of a convolution over a map.
struct Pass<'a> {
    layer: &'a Convolution,
    input: &'a Map,
    width: usize,
    out: &'a mut [f32],
}

impl Vectorised for Pass<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self {
            layer,
            input,
            width,
            out,
        } = self;
        let taps_in_row = layer.side * layer.inputs;
        let group_size = layer.side * taps_in_row * LANES;
        for (y, out_row) in out.chunks_exact_mut(width * layer.outputs).enumerate() {
            let rows = &input.values[y * input.width * input.channels..];
            let row = Row {
                rows,
                row_length: input.width * input.channels,
                pixel: input.channels,
                taps_in_row,
            };
            for (group, weights) in layer.weights.chunks_exact(group_size).enumerate() {
                let first = group * LANES;
                let lanes = LANES.min(layer.outputs - first);
                let bias: &[f32; LANES] = layer.bias[first..]
                    .first_chunk()
                    .expect("padded to whole groups");
                let slopes: &[f32; LANES] = layer.slopes[first..]
                    .first_chunk()
                    .expect("padded to whole groups");
                let mut x = 0;
                // The last block overlaps the one before it; a row shorter than a block goes pixel by pixel.
                while x < width {
                    let target = |x: usize| x * layer.outputs + first;
                    if width >= PIXELS {
                        x = x.min(width - PIXELS);
                        let sums = row.block::<FUSED, PIXELS>(x, weights, bias);
                        store(
                            &sums,
                            slopes,
                            lanes,
                            &mut out_row[target(x)..],
                            layer.outputs,
                        );
                        x += PIXELS;
                    } else {
                        let sums = row.block::<FUSED, 1>(x, weights, bias);
                        store(
                            &sums,
                            slopes,
                            lanes,
                            &mut out_row[target(x)..],
                            layer.outputs,
                        );
                        x += 1;
                    }
                }
            }
        }
    }
}

/// The input rows that one output row reads.
struct Row<'a> {
    rows: &'a [f32],
    row_length: usize,
    pixel: usize,
    taps_in_row: usize,
}

impl Row<'_> {
    /// Sums of `COUNT` neighbouring outputs, 16 channels each, held in registers throughout.
    #[inline(always)]
    fn block<const FUSED: bool, const COUNT: usize>(
        &self,
        x: usize,
        weights: &[f32],
        bias: &[f32; LANES],
    ) -> [[f32; LANES]; COUNT] {
        let mut sums = [*bias; COUNT];
        for (ky, kernel_row) in weights.chunks_exact(self.taps_in_row * LANES).enumerate() {
            let start = ky * self.row_length + x * self.pixel;
            let inputs: [&[f32]; COUNT] =
                std::array::from_fn(|p| &self.rows[start + p * self.pixel..][..self.taps_in_row]);
            for (tap, weights) in kernel_row.as_chunks::<LANES>().0.iter().enumerate() {
                for p in 0..COUNT {
                    let value = inputs[p][tap];
                    for lane in 0..LANES {
                        sums[p][lane] = if FUSED {
                            value.mul_add(weights[lane], sums[p][lane])
                        } else {
                            value * weights[lane] + sums[p][lane]
                        };
                    }
                }
            }
        }
        sums
    }
}

#[inline(always)]
fn store<const COUNT: usize>(
    sums: &[[f32; LANES]; COUNT],
    slopes: &[f32; LANES],
    lanes: usize,
    out: &mut [f32],
    pixel: usize,
) {
    for (p, sums) in sums.iter().enumerate() {
        let activated: [f32; LANES] = std::array::from_fn(|lane| {
            if sums[lane] > 0.0 {
                sums[lane]
            } else {
                sums[lane] * slopes[lane]
            }
        });
        if lanes == LANES {
            out[p * pixel..][..LANES].copy_from_slice(&activated);
        } else {
            out[p * pixel..][..lanes].copy_from_slice(&activated[..lanes]);
        }
    }
}

/// The second of two classes' probability.
pub fn softmax_second([first, second]: [f32; 2]) -> f32 {
    let largest = first.max(second);
    let (first, second) = ((first - largest).exp(), (second - largest).exp());
    second / (first + second)
}
