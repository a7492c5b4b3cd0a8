//! 3x3 convolutions with half of the products.

use super::native::aligned::Aligned;
use super::native::convolve::{FloatOutput, Geometry, Instructions, Strides, convolve};
use super::native::{Vectorised, run_vectorised};
use super::panels::{PANEL, panels};
use super::winograd::{
    INPUT_ROWS, LANES, OUTPUT_ROWS, kernel_products, sums_of_products, transformed_inputs,
};

/// A 3x3 convolution without padding, stride 1, that takes four rows of outputs from six products, see [`crate::vision::winograd`].
#[derive(Debug)]
pub struct FastConvolution {
    inputs: usize,
    outputs: usize,
    /// For each of the six rows of products, a kernel of 1 x 3.
    weights: [Aligned; INPUT_ROWS],
    bias: Vec<f32>,
    slopes: Vec<f32>,
}

/// What a [`FastConvolution`] computes in between.
#[derive(Debug, Default)]
pub struct Products {
    /// [row of products, image and group of rows, width, channel]
    inputs: Vec<f32>,
    outputs: Vec<f32>,
}

impl FastConvolution {
    /// `weights` is [outputs, 3, 3, inputs]; `bias` and `slopes` (factors of negative results) are padded to whole
    /// panels.
    pub fn new(
        weights: &[f32],
        [inputs, outputs]: [usize; 2],
        bias: Vec<f32>,
        slopes: Vec<f32>,
    ) -> Self {
        let run = 3 * inputs;
        let mut packed = std::array::from_fn(|_| Aligned::zeros(panels(outputs) * run * PANEL));
        for (output, kernel) in weights.chunks_exact(3 * run).enumerate() {
            let (top, rest) = kernel.split_at(run);
            let (middle, bottom) = rest.split_at(run);
            let start = output / PANEL * run * PANEL + output % PANEL;
            for (tap, ((&top, &middle), &bottom)) in top.iter().zip(middle).zip(bottom).enumerate()
            {
                let products = kernel_products([top, middle, bottom]);
                for (packed, product) in packed.iter_mut().zip(products) {
                    packed[start + tap * PANEL] = product;
                }
            }
        }
        Self {
            inputs,
            outputs,
            weights: packed,
            bias,
            slopes,
        }
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// [images, height, width, inputs] to [images, height - 2, width - 2, outputs].
    pub fn forward(
        &self,
        instructions: Instructions,
        [images, height, width]: [usize; 3],
        input: &[f32],
        products: &mut Products,
        output: &mut [f32],
    ) {
        let shape = [images, height, width, self.inputs];
        let input_row = width * self.inputs;
        let (height, width) = (height - 2, width - 2);
        let groups = images * height.div_ceil(OUTPUT_ROWS);
        let input_length = groups * input_row;
        let output_length = groups * width * self.outputs;
        products.reserve(INPUT_ROWS * input_length, INPUT_ROWS * output_length);
        let transform = Transform {
            input,
            shape,
            out: &mut products.inputs[..INPUT_ROWS * input_length],
        };
        run_vectorised(instructions, transform);
        let geometry = Geometry {
            images: 1,
            height: groups,
            width,
            outputs: self.outputs,
            input: strides(input_row, self.inputs),
            kernel_row: 0,
            kernel_rows: 1,
            run: 3 * self.inputs,
            output: strides(width * self.outputs, self.outputs),
        };
        let channels = panels(self.outputs) * PANEL;
        let (none, as_they_are) = (vec![0.0; channels], vec![1.0; channels]);
        for (row, weights) in self.weights.iter().enumerate() {
            let target = &mut FloatOutput {
                bias: &none,
                slopes: &as_they_are,
                accumulate: false,
                values: &mut products.outputs[row * output_length..][..output_length],
            };
            let inputs = &products.inputs[row * input_length..][..input_length];
            convolve(instructions, &geometry, inputs, weights, target);
        }
        let combine = Combine {
            products: &products.outputs[..INPUT_ROWS * output_length],
            layer: self,
            shape: [height, width],
            output,
        };
        run_vectorised(instructions, combine);
    }
}

fn strides(row: usize, pixel: usize) -> Strides {
    Strides {
        image: 0,
        row,
        pixel,
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
    input: &'a [f32],
    /// [images, height, width, channels]
    shape: [usize; 4],
    out: &'a mut [f32],
}

impl Vectorised for Transform<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let [images, height, width, channels] = self.shape;
        let row_length = width * channels;
        let groups_per_image = (height - 2).div_ceil(OUTPUT_ROWS);
        let stride = self.out.len() / INPUT_ROWS;
        for group in 0..images * groups_per_image {
            let (image, first) = (
                group / groups_per_image,
                group % groups_per_image * OUTPUT_ROWS,
            );
            // Beyond the last row it stands for those that are missing, whose outputs nobody wants.
            let rows: [&[f32]; INPUT_ROWS] = std::array::from_fn(|row| {
                let row = image * height + (first + row).min(height - 1);
                &self.input[row * row_length..][..row_length]
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
    layer: &'a FastConvolution,
    /// [height, width]
    shape: [usize; 2],
    output: &'a mut [f32],
}

impl Vectorised for Combine<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let [height, width] = self.shape;
        let channels = self.layer.outputs;
        let row_length = width * channels;
        let groups = height.div_ceil(OUTPUT_ROWS);
        let stride = self.products.len() / INPUT_ROWS;
        let bias = &self.layer.bias[..channels];
        let slopes = &self.layer.slopes[..channels];
        let images = self.output.chunks_exact_mut(height * row_length);
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
