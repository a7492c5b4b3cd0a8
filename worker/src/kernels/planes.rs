//! 3x3 convolutions of planes: one row of one channel lies together. The lanes of a vector are neighboring pixels, and
//! none is idle however few the channels are.
//!
//! Four rows are computed at once from six by F(4, 3) along the columns, see [`super::winograd`].

use std::mem::MaybeUninit;

use super::dispatch::{Kernel, run};
use super::instructions::Instructions;
use super::vectors::Float;
use super::winograd::{
    INPUT_ROWS, OUTPUT_ROWS, transform_inputs, transform_kernel, transform_products,
};

/// Lanes of the longest vector, to which planes are rounded up; and the padding after that.
const MARGIN: usize = 16;
/// Neighboring vectors that are computed together.
const MAX_VECTORS: usize = 3;
/// Length of one block of a plane: its vectors, and one more that the kernel reaches into.
const BLOCK: usize = (MAX_VECTORS + 1) * MARGIN;
const MAX_PLANES: usize = 16;
const MAX_GROUP: usize = 10;

/// Returns the distance between planes of `width` pixels, beyond which vectors may be read and written.
pub fn plane_length(width: usize) -> usize {
    width.next_multiple_of(MARGIN) + MARGIN
}

/// Outputs that read the same inputs, given as plane and distance in pixels from the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputGroup {
    pub taps: Vec<(usize, usize)>,
}

/// A convolution with one or more groups of as many outputs, its bias, and the PReLU after it.
#[derive(Debug)]
pub struct PlaneConvolution {
    planes: usize,
    /// Of each group.
    outputs: usize,
    groups: Vec<PackedGroup>,
    bias: Vec<f32>,
    slopes: Vec<f32>,
}

#[derive(Debug)]
struct PackedGroup {
    /// Offsets in the transformed block.
    taps: Vec<usize>,
    /// [transformed row, tap, output]
    weights: Vec<f32>,
}

/// Offsets of a buffer's rows, and the distance between a row's planes, in elements.
#[derive(Debug, Clone, Copy)]
pub struct PlaneRows<const COUNT: usize> {
    pub starts: [usize; COUNT],
    pub plane: usize,
}

impl PlaneConvolution {
    /// `kernel(group, output, tap)` returns the kernel's column for one tap. `bias` and `slopes` hold one value for
    /// each output of a group.
    pub fn new(
        planes: usize,
        groups: &[OutputGroup],
        kernel: impl Fn(usize, usize, usize) -> [f32; 3],
        bias: Vec<f32>,
        slopes: Vec<f32>,
    ) -> Self {
        let outputs = bias.len();
        assert!(planes <= MAX_PLANES, "a block has room for all planes");
        assert_eq!(slopes.len(), outputs, "one slope for each output");
        assert!(
            outputs.is_multiple_of(8) || outputs.is_multiple_of(10),
            "the outputs are whole groups"
        );
        let pack = |(index, group): (usize, &OutputGroup)| {
            let offset = |&(plane, shift): &(usize, usize)| {
                assert!(plane < planes && shift < 8, "the tap lies in the block");
                plane * BLOCK + shift
            };
            let mut weights = vec![0.0; INPUT_ROWS * group.taps.len() * outputs];
            for tap in 0..group.taps.len() {
                for output in 0..outputs {
                    let products = transform_kernel(kernel(index, output, tap));
                    for (row, product) in products.into_iter().enumerate() {
                        weights[(row * group.taps.len() + tap) * outputs + output] = product;
                    }
                }
            }
            PackedGroup {
                taps: group.taps.iter().map(offset).collect(),
                weights,
            }
        };
        Self {
            planes,
            outputs,
            groups: groups.iter().enumerate().map(pack).collect(),
            bias,
            slopes,
        }
    }

    /// Returns the number of planes that `convolve` writes: all outputs of the first group, then those of the next.
    pub fn output_planes(&self) -> usize {
        self.outputs * self.groups.len()
    }

    /// Computes four rows of outputs, each `width` wide, from six rows of inputs. From `width` up to `plane_length`,
    /// the output is unspecified.
    ///
    /// Panics if a buffer is too short for its rows, or if the processor lacks the instructions.
    pub fn convolve(
        &self,
        instructions: Instructions,
        width: usize,
        (input, input_rows): (&[f32], PlaneRows<INPUT_ROWS>),
        (output, output_rows): (&mut [f32], PlaneRows<OUTPUT_ROWS>),
    ) {
        let fits = |start: usize, planes: usize, plane: usize, length: usize| {
            plane >= plane_length(width) && start + planes * plane <= length
        };
        assert!(
            (input_rows.starts.iter()).all(|&start| fits(
                start,
                self.planes,
                input_rows.plane,
                input.len()
            )),
            "the inputs lie in their buffer"
        );
        assert!(
            (output_rows.starts.iter()).all(|&start| fits(
                start,
                self.output_planes(),
                output_rows.plane,
                output.len()
            )),
            "the outputs lie in their buffer"
        );
        if width == 0 {
            return;
        }
        let convolution = RawConvolution {
            layer: self,
            width,
            input: input.as_ptr(),
            input_rows,
            output: output.as_mut_ptr(),
            output_rows,
        };
        run(instructions, convolution);
    }
}

/// A convolution whose rows and planes were found to lie in their buffers.
struct RawConvolution<'a> {
    layer: &'a PlaneConvolution,
    width: usize,
    input: *const f32,
    input_rows: PlaneRows<INPUT_ROWS>,
    output: *mut f32,
    output_rows: PlaneRows<OUTPUT_ROWS>,
}

impl Kernel for RawConvolution<'_> {
    #[inline(always)]
    fn run<F: Float>(self) {
        // SAFETY: rows and planes lie in their buffers, and the processor has the vectors.
        unsafe {
            match F::LANES {
                16 => self.convolve::<F, 8, 10>(),
                _ => self.convolve::<F, 4, 5>(),
            }
        }
    }
}

/// Uninitialized memory whose vectors do not straddle cache lines.
#[repr(align(64))]
struct AlignedScratch<const LENGTH: usize>(MaybeUninit<[f32; LENGTH]>);

impl<const LENGTH: usize> AlignedScratch<LENGTH> {
    fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    fn start(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}

impl RawConvolution<'_> {
    /// Computes blocks of three vectors by `NARROW` outputs, or of two by `WIDE` if `NARROW` does not divide the
    /// outputs.
    #[inline(always)]
    unsafe fn convolve<F: Float, const NARROW: usize, const WIDE: usize>(&self) {
        let mut transformed = AlignedScratch::<{ INPUT_ROWS * MAX_PLANES * BLOCK }>::new();
        let is_narrow = self.layer.outputs.is_multiple_of(NARROW);
        let vectors = self.width.div_ceil(F::LANES);
        let mut vector = 0;
        // The first pass is unconditional. Before a loop that may not run at all, LLVM 22.1 keeps `vectors` in a register
        // that the probing of this large stack frame overwrites: stores went beyond the output at opt-level 1.
        loop {
            let x = vector * F::LANES;
            let left = vectors - vector;
            unsafe {
                vector += match (is_narrow, left) {
                    // A single vector has too few independent sums: four are split as two and two.
                    (true, 3 | 5..) => self.block::<F, NARROW, 3>(x, &mut transformed),
                    (true, 2 | 4) => self.block::<F, NARROW, 2>(x, &mut transformed),
                    (true, _) => self.block::<F, NARROW, 1>(x, &mut transformed),
                    (false, 2..) => self.block::<F, WIDE, 2>(x, &mut transformed),
                    (false, _) => self.block::<F, WIDE, 1>(x, &mut transformed),
                }
            }
            if vector >= vectors {
                break;
            }
        }
    }

    /// Computes all outputs of `VECTORS` vectors of pixels from `x` on. Returns `VECTORS`.
    #[inline(always)]
    unsafe fn block<F: Float, const GROUP: usize, const VECTORS: usize>(
        &self,
        x: usize,
        transformed: &mut AlignedScratch<{ INPUT_ROWS * MAX_PLANES * BLOCK }>,
    ) -> usize {
        let layer = self.layer;
        let transformed = transformed.start();
        let mut products = AlignedScratch::<{ INPUT_ROWS * MAX_GROUP * MAX_VECTORS * 16 }>::new();
        let products = products.start();
        unsafe { self.transform::<F>(x, VECTORS + 1, transformed) };
        for (number, group) in layer.groups.iter().enumerate() {
            for first in (0..layer.outputs).step_by(GROUP) {
                for row in 0..INPUT_ROWS {
                    unsafe {
                        let inputs = transformed.add(row * layer.planes * BLOCK);
                        let weights = (group.weights.as_ptr())
                            .add(row * group.taps.len() * layer.outputs + first);
                        let sums = products.add(row * GROUP * VECTORS * F::LANES);
                        multiply::<F, GROUP, VECTORS>(
                            inputs,
                            &group.taps,
                            weights,
                            layer.outputs,
                            sums,
                        );
                    }
                }
                for output in 0..GROUP {
                    let channel = first + output;
                    let plane = (number * layer.outputs + channel) * self.output_rows.plane;
                    for vector in 0..VECTORS {
                        unsafe {
                            let sums = products.add((output * VECTORS + vector) * F::LANES);
                            let to = self.output.add(plane + x + vector * F::LANES);
                            self.finish::<F>(sums, GROUP * VECTORS * F::LANES, channel, to);
                        }
                    }
                }
            }
        }
        VECTORS
    }

    /// Transforms six rows of inputs.
    #[inline(always)]
    unsafe fn transform<F: Float>(&self, x: usize, vectors: usize, transformed: *mut f32) {
        for plane in 0..self.layer.planes {
            for vector in 0..vectors {
                unsafe {
                    let offset = plane * self.input_rows.plane + x + vector * F::LANES;
                    let rows = self
                        .input_rows
                        .starts
                        .map(|start| F::load(self.input.add(start + offset)));
                    let results = transform_inputs(rows);
                    let transformed = transformed.add(plane * BLOCK + vector * F::LANES);
                    for (row, result) in results.into_iter().enumerate() {
                        result.store(transformed.add(row * self.layer.planes * BLOCK), F::LANES);
                    }
                }
            }
        }
    }

    /// Transforms six rows of products into four rows of outputs.
    #[inline(always)]
    unsafe fn finish<F: Float>(&self, sums: *const f32, row: usize, channel: usize, to: *mut f32) {
        unsafe {
            let bias = F::splat(*self.layer.bias.get_unchecked(channel));
            let slopes = F::splat(*self.layer.slopes.get_unchecked(channel));
            let sum = |index: usize| F::load(sums.add(index * row));
            let results =
                transform_products(std::array::from_fn(sum), |value: F| Float::add(value, bias));
            let zero = F::late_zero();
            for (value, start) in results.into_iter().zip(self.output_rows.starts) {
                let activated = value.min(zero).mul_add(slopes, value.max(zero));
                activated.store(to.add(start), F::LANES);
            }
        }
    }
}

/// The micro kernel: sums over all taps for `GROUP` outputs and `VECTORS` vectors of pixels.
#[inline(always)]
unsafe fn multiply<F: Float, const GROUP: usize, const VECTORS: usize>(
    inputs: *const f32,
    taps: &[usize],
    mut weights: *const f32,
    outputs: usize,
    results: *mut f32,
) {
    let mut sums = [[unsafe { F::splat(0.0) }; VECTORS]; GROUP];
    for &tap in taps {
        unsafe {
            let inputs = inputs.add(tap);
            let values: [F; VECTORS] =
                std::array::from_fn(|vector| F::load(inputs.add(vector * F::LANES)));
            unroll!(output < GROUP {
                F::add_products(&mut sums[output], &values, weights.add(output));
            });
            weights = weights.add(outputs);
        }
    }
    unroll!(output < GROUP {
        unroll!(vector < VECTORS {
            let to = unsafe { results.add((output * VECTORS + vector) * F::LANES) };
            unsafe { sums[output][vector].store(to, F::LANES) };
        });
    });
}
