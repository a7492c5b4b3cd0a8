//! Convolutions as matrix products (GEMM) of pixels' inputs with panels of weights, in float32 and in bytes.
//!
//! Activations are rows of pixels of channels, so the inputs under one kernel row lie together. A row of the im2col
//! matrix is `kernel rows` such runs of `kernel width * channels` values, read in place.

use super::dispatch::{ByteDotKernel, Kernel, run, run_byte_dots};
use super::gemm::multiply;
pub use super::instructions::Instructions;
use super::panels::{PANEL, panels};
use super::vectors::{ByteDots, Float};

/// Distances between neighboring images, rows and pixels in a buffer, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    pub image: usize,
    pub row: usize,
    pub pixel: usize,
}

impl Strides {
    /// Of images without gaps.
    fn contiguous(height: usize, width: usize, channels: usize) -> Self {
        Self {
            image: height * width * channels,
            row: width * channels,
            pixel: channels,
        }
    }

    pub(crate) fn offset(&self, image: usize, row: usize, pixel: usize) -> usize {
        image * self.image + row * self.row + pixel * self.pixel
    }
}

/// What one convolution reads and writes. Sizes and strides count elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    pub images: usize,
    /// Of the output.
    pub height: usize,
    /// Of the output.
    pub width: usize,
    pub outputs: usize,
    /// Between the inputs of neighboring outputs.
    pub input: Strides,
    /// Between two kernel rows in the input.
    pub kernel_row: usize,
    pub kernel_rows: usize,
    /// Inputs under one kernel row.
    pub run: usize,
    pub output: Strides,
}

impl Geometry {
    /// A convolution without padding, stride 1, of images [height, width, inputs] without gaps.
    pub fn contiguous(
        images: usize,
        [height, width, inputs]: [usize; 3],
        [kernel_height, kernel_width]: [usize; 2],
        outputs: usize,
    ) -> Self {
        let output_height = height - kernel_height + 1;
        let output_width = width - kernel_width + 1;
        Self {
            images,
            height: output_height,
            width: output_width,
            outputs,
            input: Strides::contiguous(height, width, inputs),
            kernel_row: width * inputs,
            kernel_rows: kernel_height,
            run: kernel_width * inputs,
            output: Strides::contiguous(output_height, output_width, outputs),
        }
    }

    pub(super) fn pixels(&self) -> usize {
        self.images * self.height * self.width
    }

    /// Weights of one output channel: whole groups in each kernel row.
    pub(super) fn taps(&self, group: usize) -> usize {
        self.kernel_rows * self.padded_run(group)
    }

    /// The row stride of the im2col matrix if the input buffer is that matrix already: each pixel's inputs lie
    /// together, and neighbors are the same distance apart.
    pub(super) fn matrix_stride(&self) -> Option<usize> {
        let Strides { image, row, pixel } = self.input;
        let rows_follow = self.height == 1 || row == self.width * pixel;
        let images_follow = self.images == 1 || image == self.height * self.width * pixel;
        (self.kernel_rows == 1 && rows_follow && images_follow).then_some(pixel)
    }

    /// Weights of one kernel row and output channel.
    fn padded_run(&self, group: usize) -> usize {
        self.run.next_multiple_of(group)
    }

    /// Elements of the input from the first to the last that is read, whole groups included.
    fn input_length(&self, group: usize) -> usize {
        self.input
            .offset(self.images - 1, self.height - 1, self.width - 1)
            + (self.kernel_rows - 1) * self.kernel_row
            + self.padded_run(group)
    }

    /// Elements from the first output to the last.
    fn output_length(&self) -> usize {
        let last = (self.images - 1, self.height - 1, self.width - 1);
        self.output.offset(last.0, last.1, last.2) + self.outputs
    }

    fn check(&self, group: usize, input: usize, weights: usize, output: usize) {
        assert!(
            self.pixels() > 0 && self.outputs > 0,
            "there is something to compute"
        );
        assert!(
            self.input_length(group) <= input,
            "the inputs lie in their buffer"
        );
        assert!(
            self.output_length() <= output,
            "the outputs lie in their buffer"
        );
        assert_eq!(
            weights,
            panels(self.outputs) * self.taps(group) * PANEL,
            "the weights are whole panels"
        );
    }
}

/// What follows the sums of a float32 convolution.
#[derive(Debug)]
pub struct FloatOutput<'a> {
    /// One for each channel, padded to whole panels.
    pub bias: &'a [f32],
    /// Factors of negative results, padded to whole panels: 0 makes a ReLU, 1 leaves them.
    pub slopes: &'a [f32],
    /// Adds to what the output holds, before the activation.
    pub accumulate: bool,
    pub values: &'a mut [f32],
}

/// The largest of the inputs that [`ByteInput::is_small`] promises.
pub const SMALL_BYTE: u8 = 127;

/// What a byte convolution reads.
#[derive(Debug, Clone, Copy)]
pub struct ByteInput<'a> {
    pub bytes: &'a [u8],
    /// Whether no byte that has a weight is larger than [`SMALL_BYTE`]. AVX2 takes half the time then; sums are wrong
    /// if it is not true.
    pub is_small: bool,
}

/// What follows the sums of a byte convolution: `sum * factor + offset`, then a ReLU.
#[derive(Debug)]
pub struct ByteOutput<'a> {
    /// One for each channel, padded to whole panels.
    pub factors: &'a [f32],
    pub offsets: &'a [f32],
    /// Larger results become this one in bytes.
    pub largest: u8,
    pub target: ByteTarget<'a>,
}

#[derive(Debug)]
pub enum ByteTarget<'a> {
    /// The results, rounded.
    Bytes(&'a mut [u8]),
    /// The results as they are, and their product with `scale`, rounded.
    Stream {
        values: &'a mut [f32],
        bytes: &'a mut [u8],
        scale: f32,
        /// Adds to what `values` holds, before the activation.
        accumulate: bool,
        relu: bool,
    },
}

/// Convolves float32 by `weights` in panels, see [`super::panels`].
///
/// Panics if a slice is too short for the geometry, or if the processor lacks the instructions.
pub fn convolve(
    instructions: Instructions,
    geometry: &Geometry,
    input: &[f32],
    weights: &[f32],
    output: FloatOutput<'_>,
) {
    geometry.check(1, input.len(), weights.len(), output.values.len());
    let channels = panels(geometry.outputs) * PANEL;
    assert!(
        output.bias.len() >= channels && output.slopes.len() >= channels,
        "padded to panels"
    );
    let convolution = Convolution {
        geometry: *geometry,
        input: input.as_ptr(),
        has_small_bytes: false,
        weights: weights.as_ptr(),
        output,
    };
    run(instructions, convolution);
}

/// Convolves unsigned bytes by signed `weights` in panels of groups of four:
/// [panel, kernel row, group of 4 inputs, 32 outputs, 4]. The sums are exact.
///
/// Panics if a slice is too short for the geometry, or if the processor lacks the instructions.
pub fn convolve_bytes(
    instructions: Instructions,
    geometry: &Geometry,
    input: ByteInput<'_>,
    weights: &[i8],
    mut output: ByteOutput<'_>,
) {
    let length = match &output.target {
        ByteTarget::Bytes(bytes) => bytes.len(),
        ByteTarget::Stream { values, bytes, .. } => values.len().min(bytes.len()),
    };
    geometry.check(4, input.bytes.len(), weights.len(), length);
    let channels = panels(geometry.outputs) * PANEL;
    assert!(
        output.factors.len() >= channels && output.offsets.len() >= channels,
        "padded to panels"
    );
    // For one panel, gathering the inputs costs more than the tiles gain.
    #[cfg(target_arch = "x86_64")]
    if instructions == Instructions::Amx
        && (geometry.outputs > PANEL || geometry.matrix_stride().is_some())
    {
        instructions.check();
        // SAFETY: the lengths and the processor were checked.
        unsafe {
            super::gemm::amx::multiply(
                geometry,
                input.bytes.as_ptr(),
                weights.as_ptr(),
                &mut output,
            )
        }
        return;
    }
    let convolution = Convolution {
        geometry: *geometry,
        input: input.bytes.as_ptr(),
        has_small_bytes: input.is_small,
        weights: weights.as_ptr(),
        output,
    };
    run_byte_dots(instructions, convolution);
}

/// A convolution whose lengths were checked. Geometry and output are values: behind references, the compiler would
/// load them again after each store.
struct Convolution<Input, Weight, O> {
    geometry: Geometry,
    input: *const Input,
    has_small_bytes: bool,
    weights: *const Weight,
    output: O,
}

impl Kernel for Convolution<f32, f32, FloatOutput<'_>> {
    #[inline(always)]
    fn run<F: Float>(mut self) {
        // SAFETY: the lengths were checked, and the processor has the vectors.
        unsafe { multiply::<F, _>(&self.geometry, self.input, self.weights, &mut self.output) }
    }
}

impl ByteDotKernel for Convolution<u8, i8, ByteOutput<'_>> {
    type Output = ();

    fn has_small_bytes(&self) -> bool {
        self.has_small_bytes
    }

    #[inline(always)]
    fn run<B: ByteDots>(mut self) {
        // SAFETY: as above.
        unsafe {
            multiply::<B::Convolution, _>(
                &self.geometry,
                self.input,
                self.weights,
                &mut self.output,
            )
        }
    }
}
