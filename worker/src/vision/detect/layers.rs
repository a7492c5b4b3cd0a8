//! The layers of R-Net and O-Net. Values are rows of pixels of channels.

use crate::kernels::aligned::Aligned;
use crate::kernels::convolve::{FloatOutput, Geometry, Instructions, convolve};
use crate::kernels::panels::{PANEL, pack_aligned, panels};
use crate::kernels::pool::{PoolGeometry, max_pool};
use crate::model::weights::{WeightFile, WeightsError};

/// Feature maps of several images of one size: [image, height, width, channel]. Memory is kept when they shrink.
#[derive(Debug, Default)]
pub struct Maps {
    pub images: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    memory: Vec<f32>,
}

impl Maps {
    /// Changes the size; the values are unspecified then.
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

    /// Writes maxima of windows of `side` x `side`, 2 apart, which may hang over the right and lower edge (torch's
    /// `ceil_mode`).
    pub fn max_pool(&self, instructions: Instructions, side: usize, output: &mut Self) {
        let outputs =
            |size: usize| (size.saturating_sub(side).div_ceil(2) + 1).min(size.div_ceil(2));
        let geometry = PoolGeometry {
            side,
            height: self.height,
            width: self.width,
            channels: self.channels,
            output_height: outputs(self.height),
            output_width: outputs(self.width),
            output_pixel: self.channels,
        };
        let [height, width] = [geometry.output_height, geometry.output_width];
        output.resize([self.images, height, width, self.channels]);
        let length = output.values_per_image();
        let maxima = output.values_mut().chunks_exact_mut(length);
        for (image, maxima) in self
            .values()
            .chunks_exact(self.values_per_image())
            .zip(maxima)
        {
            max_pool(instructions, geometry, image, maxima);
        }
    }
}

/// A layer's bias and PReLU, padded to whole panels. Slopes of 1 leave the sums as they are.
#[derive(Debug)]
pub struct BiasPrelu {
    pub bias: Vec<f32>,
    pub slopes: Vec<f32>,
}

impl BiasPrelu {
    /// Reads `name.bias` and `activation.weight`.
    pub fn load(
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
}

/// A convolution without padding, stride 1.
#[derive(Debug)]
pub struct ValidConvolution {
    side: usize,
    inputs: usize,
    outputs: usize,
    weights: Aligned,
    activation: BiasPrelu,
}

impl ValidConvolution {
    /// Reads `name.weight` [outputs, side, side, inputs], `name.bias` and `activation.weight` (the PReLU's slopes).
    pub fn load(
        file: &WeightFile,
        name: &str,
        activation: Option<&str>,
        [inputs, side, outputs]: [usize; 3],
    ) -> Result<Self, WeightsError> {
        let shape = [outputs, side, side, inputs];
        Self::load_shape(file, name, activation, [inputs, side, outputs], &shape)
    }

    /// Reads a dense layer as a 1x1 convolution: `name.weight` is [outputs, inputs].
    pub fn load_dense(
        file: &WeightFile,
        name: &str,
        activation: Option<&str>,
        [inputs, outputs]: [usize; 2],
    ) -> Result<Self, WeightsError> {
        let shape = [outputs, inputs];
        Self::load_shape(file, name, activation, [inputs, 1, outputs], &shape)
    }

    fn load_shape(
        file: &WeightFile,
        name: &str,
        activation: Option<&str>,
        [inputs, side, outputs]: [usize; 3],
        shape: &[usize],
    ) -> Result<Self, WeightsError> {
        let weights = file.values(&format!("{name}.weight"), shape)?;
        Ok(Self {
            side,
            inputs,
            outputs,
            weights: pack_aligned(&weights, outputs),
            activation: BiasPrelu::load(file, name, activation, outputs)?,
        })
    }

    /// Convolves [height, width, inputs] to [height - side + 1, width - side + 1, outputs].
    pub fn forward(&self, instructions: Instructions, input: &Maps, output: &mut Maps) {
        assert_eq!(
            input.channels, self.inputs,
            "the layer before has as many channels"
        );
        let shape = [input.height, input.width, self.inputs];
        let geometry = Geometry::contiguous(input.images, shape, [self.side; 2], self.outputs);
        output.resize([input.images, geometry.height, geometry.width, self.outputs]);
        let target = FloatOutput {
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

/// Returns the probability of the second of two classes.
pub fn softmax_second([first, second]: [f32; 2]) -> f32 {
    let largest = first.max(second);
    let (first, second) = ((first - largest).exp(), (second - largest).exp());
    second / (first + second)
}
