//! The few kinds of layer that R-Net and O-Net are made of. Values are rows of pixels of channels.

use crate::vision::native::convolve::{FloatOutput, Geometry, Instructions, Strides, convolve};
use crate::vision::native::{Vectorised, run_vectorised};
use crate::vision::panels::{PANEL, pack, panels};
use crate::vision::weights::{WeightFile, WeightsError};
use crate::vision::winograd::{
    INPUT_ROWS, LANES, OUTPUT_ROWS, kernel_products, sums_of_products, transformed_inputs,
};

/// Several images of one size, one after the other: [image, height, width, channel]. Memory is kept when they shrink.
#[derive(Debug, Default)]
pub struct Maps {
    pub images: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    memory: Vec<f32>,
}

impl Maps {
    /// Gives the images another size; their values are anything then.
    pub fn resize(&mut self, [images, height, width, channels]: [usize; 4]) {
        (self.images, self.height, self.width, self.channels) = (images, height, width, channels);
        let length = self.values_per_image() * images;
        if self.memory.len() < length {
            self.memory.resize(length, 0.0);
        }
    }

    pub fn values(&self) -> &[f32] {
        &self.memory[..self.images * self.values_per_image()]
    }

    pub fn values_mut(&mut self) -> &mut [f32] {
        let length = self.images * self.values_per_image();
        &mut self.memory[..length]
    }

    pub fn values_per_image(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// A layer's bias and PReLU, padded to whole panels; slopes of 1 where it has none.
#[derive(Debug)]
struct Activation {
    bias: Vec<f32>,
    slopes: Vec<f32>,
}

impl Activation {
    /// Reads `name.bias` and `activation.weight`.
    fn load(
        file: &WeightFile,
        name: &str,
        activation: Option<&str>,
        outputs: usize,
    ) -> Result<Self, WeightsError> {
        let mut bias = file.values(&format!("{name}.bias"), &[outputs])?;
        let mut slopes = match activation {
            Some(activation) => file.values(&format!("{activation}.weight"), &[outputs])?,
            None => vec![1.0; outputs],
        };
        bias.resize(panels(outputs) * PANEL, 0.0);
        slopes.resize(panels(outputs) * PANEL, 1.0);
        Ok(Self { bias, slopes })
    }

    fn none(outputs: usize) -> Self {
        Self {
            bias: vec![0.0; panels(outputs) * PANEL],
            slopes: vec![1.0; panels(outputs) * PANEL],
        }
    }
}

/// A convolution without padding, stride 1.
#[derive(Debug)]
pub struct Convolution {
    side: usize,
    inputs: usize,
    outputs: usize,
    weights: Vec<f32>,
    activation: Activation,
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
        Ok(Self {
            side,
            inputs,
            outputs,
            weights: pack(&weights, outputs),
            activation: Activation::load(file, name, activation, outputs)?,
        })
    }

    /// A dense layer is a 1x1 convolution: `name.weight` is [outputs, inputs].
    pub fn load_dense(
        file: &WeightFile,
        name: &str,
        activation: Option<&str>,
        [inputs, outputs]: [usize; 2],
    ) -> Result<Self, WeightsError> {
        let weights = file.values(&format!("{name}.weight"), &[outputs, inputs])?;
        Ok(Self {
            side: 1,
            inputs,
            outputs,
            weights: pack(&weights, outputs),
            activation: Activation::load(file, name, activation, outputs)?,
        })
    }

    /// [height, width, inputs] to [height - side + 1, width - side + 1, outputs].
    pub fn forward(&self, instructions: Instructions, input: &Maps, output: &mut Maps) {
        assert_eq!(
            input.channels, self.inputs,
            "the layer before has as many channels"
        );
        let (height, width) = (input.height - self.side + 1, input.width - self.side + 1);
        output.resize([input.images, height, width, self.outputs]);
        let geometry = Geometry {
            images: input.images,
            height,
            width,
            outputs: self.outputs,
            input: strides(input.height, input.width, self.inputs),
            kernel_row: input.width * self.inputs,
            kernel_rows: self.side,
            run: self.side * self.inputs,
            output: strides(height, width, self.outputs),
        };
        let target = &mut FloatOutput {
            bias: &self.activation.bias,
            slopes: &self.activation.slopes,
            accumulate: false,
            values: output.values_mut(),
        };
        convolve(
            instructions,
            &geometry,
            input.values(),
            &self.weights,
            target,
        );
    }
}

fn strides(height: usize, width: usize, channels: usize) -> Strides {
    Strides {
        image: height * width * channels,
        row: width * channels,
        pixel: channels,
    }
}

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

/// The second of two classes' probability.
pub fn softmax_second([first, second]: [f32; 2]) -> f32 {
    let largest = first.max(second);
    let (first, second) = ((first - largest).exp(), (second - largest).exp());
    second / (first + second)
}
