//! Convolutions as matrix products (GEMM) of pixels' inputs with panels of weights, in float32 and in bytes.
//!
//! Activations are rows of pixels of channels, so the inputs under one kernel row lie together. A row of the im2col
//! matrix is `kernel rows` such runs of `kernel width * channels` values, read in place.

use super::dispatch::{ByteDotKernel, Kernel, run, run_byte_dots};
use super::gemm::multiply;
pub use super::gemm::{ByteOutput, ByteTarget, FloatOutput, Geometry, Strides};
pub use super::instructions::Instructions;
use super::panels::{PANEL, panels};
use super::vectors::{ByteDots, Float};

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
    let convolution = CheckedConvolution {
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
    let convolution = CheckedConvolution {
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
struct CheckedConvolution<Input, Weight, O> {
    geometry: Geometry,
    input: *const Input,
    has_small_bytes: bool,
    weights: *const Weight,
    output: O,
}

impl Kernel for CheckedConvolution<f32, f32, FloatOutput<'_>> {
    #[inline(always)]
    fn run<F: Float>(mut self) {
        // SAFETY: the lengths were checked, and the processor has the vectors.
        unsafe { multiply::<F, _>(&self.geometry, self.input, self.weights, &mut self.output) }
    }
}

impl ByteDotKernel for CheckedConvolution<u8, i8, ByteOutput<'_>> {
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
