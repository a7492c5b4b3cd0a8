//! 3x3 convolutions with half of the products, by F(4, 3) over rows and GEMMs of 1x3 kernels.

use std::marker::PhantomData;

use super::aligned::Aligned;
use super::blocks::{LANES, block, starts};
use super::convolve::{FloatOutput, Geometry, Instructions, convolve};
use super::dispatch::{Kernel, run};
use super::panels::{PANEL, panels};
use super::vectors::Float;
use super::winograd::{
    INPUT_ROWS, Number, OUTPUT_ROWS, transform_inputs, transform_kernel, transform_products,
};

/// A 3x3 convolution without padding, stride 1, that computes four rows of outputs from six of products, see
/// [`super::winograd`].
#[derive(Debug)]
pub struct WinogradConvolution {
    inputs: usize,
    outputs: usize,
    /// For each of the six rows of products, a kernel of 1 x 3.
    weights: [Aligned; INPUT_ROWS],
    bias: Vec<f32>,
    slopes: Vec<f32>,
}

/// Transformed activations of a [`WinogradConvolution`]: [row of products, image and group of rows, width, channel].
#[derive(Debug, Default)]
pub struct WinogradBuffers {
    inputs: Vec<f32>,
    products: Vec<f32>,
}

impl WinogradConvolution {
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
                let products = transform_kernel([top, middle, bottom]);
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

    /// Convolves [images, height, width, inputs] to [images, height - 2, width - 2, outputs].
    pub fn forward(
        &self,
        instructions: Instructions,
        [images, height, width]: [usize; 3],
        input: &[f32],
        buffers: &mut WinogradBuffers,
        output: &mut [f32],
    ) {
        let shape = [images, height, width, self.inputs];
        let input_width = width;
        let (height, width) = (height - 2, width - 2);
        let groups = images * height.div_ceil(OUTPUT_ROWS);
        let input_length = groups * input_width * self.inputs;
        let output_length = groups * width * self.outputs;
        buffers.reserve(INPUT_ROWS * input_length, INPUT_ROWS * output_length);
        let transform = InputTransform {
            input,
            shape,
            out: &mut buffers.inputs[..INPUT_ROWS * input_length],
        };
        run(instructions, transform);
        let geometry =
            Geometry::contiguous(1, [groups, input_width, self.inputs], [1, 3], self.outputs);
        let channels = panels(self.outputs) * PANEL;
        let (zeros, ones) = (vec![0.0; channels], vec![1.0; channels]);
        for (row, weights) in self.weights.iter().enumerate() {
            let target = FloatOutput {
                bias: &zeros,
                slopes: &ones,
                accumulate: false,
                values: &mut buffers.products[row * output_length..][..output_length],
            };
            let inputs = &buffers.inputs[row * input_length..][..input_length];
            convolve(instructions, &geometry, inputs, weights, target);
        }
        let transform = OutputTransform {
            products: &buffers.products[..INPUT_ROWS * output_length],
            layer: self,
            shape: [height, width],
            output,
        };
        run(instructions, transform);
    }
}

impl WinogradBuffers {
    fn reserve(&mut self, inputs: usize, products: usize) {
        for (memory, length) in [(&mut self.inputs, inputs), (&mut self.products, products)] {
            if memory.len() < length {
                memory.resize(length, 0.0);
            }
        }
    }
}

/// Transforms the six rows of each group.
struct InputTransform<'a> {
    input: &'a [f32],
    /// [images, height, width, channels]
    shape: [usize; 4],
    out: &'a mut [f32],
}

impl Kernel for InputTransform<'_> {
    #[inline(always)]
    fn run<F: Float>(self) {
        let [images, height, width, channels] = self.shape;
        let row_length = width * channels;
        let groups_per_image = (height - 2).div_ceil(OUTPUT_ROWS);
        let stride = self.out.len() / INPUT_ROWS;
        for group in 0..images * groups_per_image {
            let (image, first) = (
                group / groups_per_image,
                group % groups_per_image * OUTPUT_ROWS,
            );
            // The last row stands for missing ones, whose outputs are not used.
            let rows: [&[f32]; INPUT_ROWS] = std::array::from_fn(|row| {
                let row = image * height + (first + row).min(height - 1);
                &self.input[row * row_length..][..row_length]
            });
            for start in starts(row_length) {
                let values = std::array::from_fn(|row| *block(rows[row], start));
                let values = each_lane::<F, _, _>(values, transform_inputs);
                for (row, values) in values.iter().enumerate() {
                    let to = row * stride + group * row_length + start;
                    self.out[to..to + LANES].copy_from_slice(values);
                }
            }
        }
    }
}

/// Computes with each lane of some rows of values.
#[inline(always)]
fn each_lane<F: Float, const FROM: usize, const TO: usize>(
    rows: [[f32; LANES]; FROM],
    compute: impl Fn([Scalar<F>; FROM]) -> [Scalar<F>; TO],
) -> [[f32; LANES]; TO] {
    let mut results = [[0.0; LANES]; TO];
    for lane in 0..LANES {
        let values = compute(std::array::from_fn(|row| {
            Scalar(rows[row][lane], PhantomData)
        }));
        for row in 0..TO {
            results[row][lane] = values[row].0;
        }
    }
    results
}

/// One lane of the vectors that the compiler makes, rounded as `F` rounds.
#[derive(Clone, Copy)]
struct Scalar<F>(f32, PhantomData<F>);

impl<F: Float> Number for Scalar<F> {
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0, PhantomData)
    }

    #[inline(always)]
    fn mul_add(self, factor: f32, addend: Self) -> Self {
        let value = match F::FUSED {
            true => self.0.mul_add(factor, addend.0),
            false => self.0 * factor + addend.0,
        };
        Self(value, PhantomData)
    }
}

/// Transforms six rows of products into four rows of outputs, with bias and activation.
struct OutputTransform<'a> {
    products: &'a [f32],
    layer: &'a WinogradConvolution,
    /// [height, width]
    shape: [usize; 2],
    output: &'a mut [f32],
}

impl Kernel for OutputTransform<'_> {
    #[inline(always)]
    fn run<F: Float>(self) {
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
                    for channel in starts(channels) {
                        let value = x * channels + channel;
                        let products: [[f32; LANES]; INPUT_ROWS] = std::array::from_fn(|row| {
                            *block(self.products, row * stride + start + value)
                        });
                        let sums = each_lane::<F, _, _>(products, |products| {
                            transform_products(products, |sum| sum)
                        });
                        let (bias, slopes) = (block(bias, channel), block(slopes, channel));
                        for (row, sums) in sums.iter().enumerate().take(count) {
                            let activated: [f32; LANES] = std::array::from_fn(|lane| {
                                let sum = sums[lane] + bias[lane];
                                sum.max(0.0) + sum.min(0.0) * slopes[lane]
                            });
                            rows[row * row_length + value..][..LANES].copy_from_slice(&activated);
                        }
                    }
                }
            }
        }
    }
}
