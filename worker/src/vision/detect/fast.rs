//! 3x3 convolutions with half of the products.

use super::layers::{Activation, Maps, strides};
use crate::vision::native::convolve::{FloatOutput, Geometry, Instructions, convolve};
use crate::vision::native::{Vectorised, run_vectorised};
use crate::vision::panels::pack;
use crate::vision::weights::{WeightFile, WeightsError};
use crate::vision::winograd::{
    INPUT_ROWS, LANES, OUTPUT_ROWS, kernel_products, sums_of_products, transformed_inputs,
};

/// A 3x3 convolution that takes four rows of outputs from six products, see [`crate::vision::winograd`].
#[derive(Debug)]
pub struct FastConvolution {
    inputs: usize,
    outputs: usize,
    /// For each of the six rows of products, a kernel of 1 x 3.
    weights: [Vec<f32>; INPUT_ROWS],
    activation: Activation,
    none: Activation,
}

/// What a [`FastConvolution`] computes in between.
#[derive(Debug, Default)]
pub struct Products {
    /// [row of products, image and group of rows, width, channel]
    inputs: Vec<f32>,
    outputs: Vec<f32>,
}

impl FastConvolution {
    /// As [`Convolution::load`] with a side of 3.
    pub fn load(
        file: &WeightFile,
        name: &str,
        activation: &str,
        [inputs, outputs]: [usize; 2],
    ) -> Result<Self, WeightsError> {
        let weights = file.values(&format!("{name}.weight"), &[outputs, 3, 3, inputs])?;
        let run = 3 * inputs;
        let kernel = |row: usize| {
            let products = (0..outputs * run).map(|index| {
                let (output, tap) = (index / run, index % run);
                kernel_products([0, 1, 2].map(|ky| weights[(output * 3 + ky) * run + tap]))[row]
            });
            pack(&products.collect::<Vec<_>>(), outputs)
        };
        Ok(Self {
            inputs,
            outputs,
            weights: std::array::from_fn(kernel),
            activation: Activation::load(file, name, Some(activation), outputs)?,
            none: Activation::none(outputs),
        })
    }

    /// [height, width, inputs] to [height - 2, width - 2, outputs].
    pub fn forward(
        &self,
        instructions: Instructions,
        input: &Maps,
        products: &mut Products,
        output: &mut Maps,
    ) {
        let (height, width) = (input.height - 2, input.width - 2);
        output.resize([input.images, height, width, self.outputs]);
        let groups = input.images * height.div_ceil(OUTPUT_ROWS);
        let input_length = groups * input.width * self.inputs;
        let output_length = groups * width * self.outputs;
        products.reserve(INPUT_ROWS * input_length, INPUT_ROWS * output_length);
        run_vectorised(Transform {
            input,
            out: &mut products.inputs[..INPUT_ROWS * input_length],
        });
        let geometry = Geometry {
            images: 1,
            height: groups,
            width,
            outputs: self.outputs,
            input: strides(groups, input.width, self.inputs),
            kernel_row: 0,
            kernel_rows: 1,
            run: 3 * self.inputs,
            output: strides(groups, width, self.outputs),
        };
        for (row, weights) in self.weights.iter().enumerate() {
            let target = &mut FloatOutput {
                bias: &self.none.bias,
                slopes: &self.none.slopes,
                accumulate: false,
                values: &mut products.outputs[row * output_length..][..output_length],
            };
            let inputs = &products.inputs[row * input_length..][..input_length];
            convolve(instructions, &geometry, inputs, weights, target);
        }
        run_vectorised(Combine {
            products: &products.outputs[..INPUT_ROWS * output_length],
            activation: &self.activation,
            output,
        });
    }
}

impl Products {
    fn reserve(&mut self, inputs: usize, outputs: usize) {
        for (memory, length) in [(&mut self.inputs, inputs), (&mut self.outputs, outputs)] {
            if memory.len() < length {
                memory.resize(length, 0.0);
            }
        }
    }
}

/// Six rows of each group become six that products are taken of.
struct Transform<'a> {
    input: &'a Maps,
    out: &'a mut [f32],
}

impl Vectorised for Transform<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let input = self.input;
        let row_length = input.width * input.channels;
        let groups_per_image = (input.height - 2).div_ceil(OUTPUT_ROWS);
        let stride = self.out.len() / INPUT_ROWS;
        for group in 0..input.images * groups_per_image {
            let (image, first) = (
                group / groups_per_image,
                group % groups_per_image * OUTPUT_ROWS,
            );
            // Beyond the last row it stands for those that are missing, whose outputs nobody wants.
            let rows: [&[f32]; INPUT_ROWS] = std::array::from_fn(|row| {
                let row = image * input.height + (first + row).min(input.height - 1);
                &input.values()[row * row_length..][..row_length]
            });
            for place in blocks(row_length) {
                let values = std::array::from_fn(|row| *block(rows[row], place));
                let values = transformed_inputs::<FUSED>(values);
                for (row, values) in values.iter().enumerate() {
                    let start = row * stride + group * row_length + place;
                    self.out[start..start + LANES].copy_from_slice(values);
                }
            }
        }
    }
}

/// The first values of blocks that cover `length`, the last of which overlaps the one before it.
#[inline(always)]
pub fn blocks(length: usize) -> impl Iterator<Item = usize> {
    (0..length)
        .step_by(LANES)
        .map(move |place| place.min(length - LANES))
}

/// The block of values at `place`.
#[inline(always)]
pub fn block(values: &[f32], place: usize) -> &[f32; LANES] {
    values[place..].first_chunk().expect("a block lies inside")
}

/// Six rows of products become four rows of outputs.
struct Combine<'a> {
    products: &'a [f32],
    activation: &'a Activation,
    output: &'a mut Maps,
}

impl Vectorised for Combine<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Maps {
            height,
            width,
            channels,
            ..
        } = *self.output;
        let row_length = width * channels;
        let groups = height.div_ceil(OUTPUT_ROWS);
        let stride = self.products.len() / INPUT_ROWS;
        let bias = &self.activation.bias[..channels];
        let slopes = &self.activation.slopes[..channels];
        let images = self
            .output
            .values_mut()
            .chunks_exact_mut(height * row_length);
        for (image, values) in images.enumerate() {
            for (group, rows) in values.chunks_mut(OUTPUT_ROWS * row_length).enumerate() {
                let start = (image * groups + group) * row_length;
                let count = rows.len() / row_length;
                for x in 0..width {
                    for channel in blocks(channels) {
                        let place = x * channels + channel;
                        let products: [[f32; LANES]; INPUT_ROWS] = std::array::from_fn(|row| {
                            *block(self.products, row * stride + start + place)
                        });
                        let sums = sums_of_products::<FUSED>(products);
                        let (bias, slopes) = (block(bias, channel), block(slopes, channel));
                        for (row, sums) in sums.iter().enumerate().take(count) {
                            let activated: [f32; LANES] = std::array::from_fn(|lane| {
                                let value = sums[lane] + bias[lane];
                                value.max(0.0) + value.min(0.0) * slopes[lane]
                            });
                            rows[row * row_length + place..][..LANES].copy_from_slice(&activated);
                        }
                    }
                }
            }
        }
    }
}
