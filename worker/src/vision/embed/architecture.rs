//! Inception-ResNet v1 as a list of steps over a few buffers. Batch norms and residual scales are folded into the
//! weights when a model is converted.

mod build;

use crate::kernels::Instructions;
use crate::kernels::convolve::{Geometry, Strides};
use crate::kernels::pool::{PoolGeometry, max_pool};

/// Channels after the last block, which the dense layer reads.
pub const FEATURES: usize = 1792;

/// The smallest side of an input, whose last map is a single pixel.
pub const SMALLEST_SIDE: usize = 75;

/// The network for one size of input.
#[derive(Debug, Default)]
pub struct Architecture {
    pub buffers: Vec<Buffer>,
    pub steps: Vec<Step>,
    /// Number of tensors that [`TensorRef::value`] counts.
    pub values: usize,
    /// Steps before this one run image by image, since their weights are small beside their activations. The others
    /// run on a whole batch, since their weights are large.
    pub batched_from: usize,
}

/// Activations in rows of pixels of channels, surrounded by a margin that stays zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// Rows above and below, and columns left and right.
    pub margin: [usize; 2],
    /// Whether it holds each image of a batch, or one at a time.
    pub batched: bool,
    /// Whether residual blocks add to it. It is float32 then, also in the int8 network.
    pub is_stream: bool,
}

/// One of the tensors that pass through a buffer. Each has a scale of its own in int8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorRef {
    pub buffer: usize,
    pub value: usize,
}

#[derive(Debug)]
pub enum Step {
    Convolve(Convolution),
    /// 3x3, stride 2.
    MaxPool {
        input: TensorRef,
        output: TensorRef,
        /// The first channel of the output that is written.
        channel: usize,
    },
}

#[derive(Debug)]
pub struct Convolution {
    pub name: String,
    /// Among the convolutions.
    pub index: usize,
    pub inputs: usize,
    pub outputs: usize,
    /// Height and width.
    pub kernel: [usize; 2],
    pub stride: usize,
    pub padding: [usize; 2],
    pub input: TensorRef,
    pub output: TensorRef,
    /// The first channel of the output that is written.
    pub channel: usize,
    /// Adds to what the output holds.
    pub accumulate: bool,
    pub relu: bool,
}

impl Step {
    pub fn input(&self) -> TensorRef {
        match self {
            Self::Convolve(convolution) => convolution.input,
            Self::MaxPool { input, .. } => *input,
        }
    }

    pub fn output(&self) -> TensorRef {
        match self {
            Self::Convolve(convolution) => convolution.output,
            Self::MaxPool { output, .. } => *output,
        }
    }
}

impl Buffer {
    pub fn row(&self) -> usize {
        (self.width + 2 * self.margin[1]) * self.channels
    }

    /// Returns the number of elements of one image.
    pub fn image(&self) -> usize {
        (self.height + 2 * self.margin[0]) * self.row()
    }

    fn strides(&self, step: usize) -> Strides {
        Strides {
            image: self.image(),
            row: self.row() * step,
            pixel: self.channels * step,
        }
    }

    /// Returns the offset of a batch's image `image`.
    pub fn start(&self, image: usize) -> usize {
        if self.batched {
            image * self.image()
        } else {
            0
        }
    }

    /// Returns the offset in an image of the pixel that is `margin` outside the top left corner of the content.
    fn inside(&self, margin: [usize; 2]) -> usize {
        (self.margin[0] - margin[0]) * self.row() + (self.margin[1] - margin[1]) * self.channels
    }
}

/// Writes 3x3 maxima of one image into the output's channels from `channel` on. Neither buffer has a margin.
pub fn pool_image<T: Copy + Default + PartialOrd>(
    instructions: Instructions,
    [input, output]: [&Buffer; 2],
    image: usize,
    channel: usize,
    values: &[T],
    maxima: &mut [T],
) {
    let geometry = PoolGeometry {
        side: 3,
        height: input.height,
        width: input.width,
        channels: input.channels,
        output_height: output.height,
        output_width: output.width,
        output_pixel: output.channels,
    };
    let (values, maxima) = (
        &values[input.start(image)..],
        &mut maxima[output.start(image) + channel..],
    );
    max_pool(instructions, geometry, values, maxima);
}

impl Convolution {
    /// Returns whether it is a 3x3 convolution of a whole input buffer, margin included, to a whole output buffer.
    pub fn is_plain(&self, buffers: &[Buffer]) -> bool {
        let (input, output) = (&buffers[self.input.buffer], &buffers[self.output.buffer]);
        self.kernel == [3, 3]
            && self.stride == 1
            && self.padding == input.margin
            && output.margin == [0, 0]
            && self.outputs == output.channels
            && !self.accumulate
    }

    /// Returns the geometry for `images` images from `first` on, and the offsets of their first input and output.
    pub fn geometry(
        &self,
        buffers: &[Buffer],
        first: usize,
        images: usize,
    ) -> (Geometry, usize, usize) {
        let (input, output) = (&buffers[self.input.buffer], &buffers[self.output.buffer]);
        let geometry = Geometry {
            images,
            height: output.height,
            width: output.width,
            outputs: self.outputs,
            input: input.strides(self.stride),
            kernel_row: input.row(),
            kernel_rows: self.kernel[0],
            run: self.kernel[1] * self.inputs,
            output: output.strides(1),
        };
        let from = input.start(first) + input.inside(self.padding);
        let to = output.start(first) + output.inside([0, 0]) + self.channel;
        (geometry, from, to)
    }
}

impl Architecture {
    pub fn convolutions(&self) -> impl Iterator<Item = &Convolution> {
        self.steps.iter().filter_map(|step| match step {
            Step::Convolve(convolution) => Some(convolution),
            Step::MaxPool { .. } => None,
        })
    }

    /// Returns the buffer of the last block's output, which is averaged over its pixels.
    pub fn features(&self) -> usize {
        self.steps.last().expect("there are steps").output().buffer
    }
}
