//! Convolution as one loop over blocks of pixels and panels of output channels, for every kind of processor.
//!
//! Activations are rows of pixels of channels, so the inputs under one kernel row lie together: a kernel row is one run
//! of `width * channels` values, and a convolution sums `kernel rows` such runs for each output.

#[cfg(target_arch = "x86_64")]
use super::amx;
pub use super::instructions::Instructions;
use super::sweep::{ByteFinish, FloatFinish, RawTarget, sweep};
use super::vectors::{Floats, Portable, PortableBytes};
use crate::vision::panels::{PANEL, panels};

/// Distances between neighbouring images, rows and pixels in a buffer, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    pub image: usize,
    pub row: usize,
    pub pixel: usize,
}

impl Strides {
    pub(super) fn offset(&self, image: usize, row: usize, pixel: usize) -> usize {
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
    /// From the inputs of one output to those of the next.
    pub input: Strides,
    /// Distance between two kernel rows in the input.
    pub kernel_row: usize,
    pub kernel_rows: usize,
    /// Inputs under one kernel row.
    pub run: usize,
    pub output: Strides,
}

impl Geometry {
    pub(super) fn pixels(&self) -> usize {
        self.images * self.height * self.width
    }

    /// Weights of one output: whole groups in each kernel row.
    pub(super) fn taps(&self, group: usize) -> usize {
        self.kernel_rows * self.padded_run(group)
    }

    /// The distance between the inputs of one pixel and the next, if it is the same for all and each pixel's lie
    /// together: then they are the rows of a matrix.
    pub(super) fn matrix_stride(&self) -> Option<usize> {
        let Strides { image, row, pixel } = self.input;
        let rows_follow = self.height == 1 || row == self.width * pixel;
        let images_follow = self.images == 1 || image == self.height * self.width * pixel;
        (self.kernel_rows == 1 && rows_follow && images_follow).then_some(pixel)
    }

    /// Length of the run in weights: whole groups.
    fn padded_run(&self, group: usize) -> usize {
        self.run.next_multiple_of(group)
    }

    /// Elements of the input that are read, groups included.
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

/// What follows the sums of a byte convolution: `sum * factor + offset`, then a ReLU.
#[derive(Debug)]
pub struct ByteOutput<'a> {
    /// One for each channel, padded to whole panels.
    pub factors: &'a [f32],
    pub offsets: &'a [f32],
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

/// Convolves float32 by `weights` in panels, see [`crate::vision::panels`].
///
/// Panics if a slice is too short for the geometry, or the processor does not have the instructions.
pub fn convolve(
    instructions: Instructions,
    geometry: &Geometry,
    input: &[f32],
    weights: &[f32],
    output: &mut FloatOutput<'_>,
) {
    instructions.check();
    geometry.check(1, input.len(), weights.len(), output.values.len());
    let channels = panels(geometry.outputs) * PANEL;
    assert!(
        output.bias.len() >= channels && output.slopes.len() >= channels,
        "padded to panels"
    );
    let finish = FloatFinish {
        bias: output.bias.as_ptr(),
        slopes: output.slopes.as_ptr(),
        accumulate: output.accumulate,
        values: output.values.as_mut_ptr(),
    };
    let (input, weights) = (input.as_ptr(), weights.as_ptr());
    // SAFETY: the lengths and the processor were checked.
    unsafe {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 | Instructions::Avx512Vnni | Instructions::Amx => {
                x86::floats_512(geometry, input, weights, &finish);
            }
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 | Instructions::AvxVnni => {
                x86::floats_256(geometry, input, weights, &finish);
            }
            _ => sweep::<Floats<Portable, 2>, _>(geometry, input, weights, &finish),
        }
    }
}

/// Convolves unsigned bytes by signed `weights` in panels of groups of four:
/// [panel, kernel row, group of 4 inputs, 32 outputs, 4]. The sums are exact.
///
/// Panics if a slice is too short for the geometry, or the processor does not have the instructions.
pub fn convolve_bytes(
    instructions: Instructions,
    geometry: &Geometry,
    input: &[u8],
    weights: &[i8],
    output: &mut ByteOutput<'_>,
) {
    let length = match &output.target {
        ByteTarget::Bytes(bytes) => bytes.len(),
        ByteTarget::Stream { values, bytes, .. } => values.len().min(bytes.len()),
    };
    instructions.check();
    geometry.check(4, input.len(), weights.len(), length);
    let channels = panels(geometry.outputs) * PANEL;
    assert!(
        output.factors.len() >= channels && output.offsets.len() >= channels,
        "padded to panels"
    );
    let finish = ByteFinish {
        factors: output.factors.as_ptr(),
        offsets: output.offsets.as_ptr(),
        target: match &mut output.target {
            ByteTarget::Bytes(bytes) => RawTarget::Bytes(bytes.as_mut_ptr()),
            ByteTarget::Stream {
                values,
                bytes,
                scale,
                accumulate,
                relu,
            } => RawTarget::Stream {
                values: values.as_mut_ptr(),
                bytes: bytes.as_mut_ptr(),
                scale: *scale,
                accumulate: *accumulate,
                floor: if *relu { 0.0 } else { f32::NEG_INFINITY },
            },
        },
    };
    let (input, weights) = (input.as_ptr(), weights.as_ptr());
    // SAFETY: the lengths and the processor were checked.
    unsafe {
        match instructions {
            // To gather inputs for one panel only costs more than the tiles gain.
            #[cfg(target_arch = "x86_64")]
            Instructions::Amx if geometry.outputs > PANEL || geometry.matrix_stride().is_some() => {
                amx::sweep(geometry, input, weights, &finish);
            }
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vnni | Instructions::Amx => {
                x86::bytes_512(geometry, input, weights, &finish)
            }
            #[cfg(target_arch = "x86_64")]
            Instructions::AvxVnni => x86::bytes_256(geometry, input, weights, &finish),
            _ => sweep::<PortableBytes, _>(geometry, input, weights, &finish),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256, __m512};

    use super::super::sweep::{ByteFinish, FloatFinish, sweep};
    use super::super::vectors::Floats;
    use super::super::x86::{Vnni256, Vnni512};
    use super::Geometry;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub unsafe fn floats_512(
        geometry: &Geometry,
        input: *const f32,
        weights: *const f32,
        finish: &FloatFinish,
    ) {
        unsafe { sweep::<Floats<__m512, 12>, _>(geometry, input, weights, finish) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn floats_256(
        geometry: &Geometry,
        input: *const f32,
        weights: *const f32,
        finish: &FloatFinish,
    ) {
        unsafe { sweep::<Floats<__m256, 6>, _>(geometry, input, weights, finish) }
    }

    #[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub unsafe fn bytes_512(
        geometry: &Geometry,
        input: *const u8,
        weights: *const i8,
        finish: &ByteFinish,
    ) {
        unsafe { sweep::<Vnni512, _>(geometry, input, weights, finish) }
    }

    #[target_feature(enable = "avxvnni,avx2,fma")]
    pub unsafe fn bytes_256(
        geometry: &Geometry,
        input: *const u8,
        weights: *const i8,
        finish: &ByteFinish,
    ) {
        unsafe { sweep::<Vnni256, _>(geometry, input, weights, finish) }
    }
}
