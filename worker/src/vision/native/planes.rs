//! 3x3 convolution of planes: one row of one channel lies together, so that the lanes of a vector are neighbouring pixels
//! and none is idle however few the channels are.
//!
//! Four rows are computed at once from six by F(4, 3) along the columns (S. Winograd, "Arithmetic Complexity of
//! Computations", 1980; A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2016), which takes half
//! of the products.

use std::mem::MaybeUninit;

use super::convolve::Instructions;
use super::vectors::{Float, Portable};
use crate::vision::winograd::{INPUT_ROWS, OUTPUT_ROWS, kernel_products};

/// Planes are this much longer than they need be, after rounding up to whole vectors of this many.
const MARGIN: usize = 16;
/// Neighbouring vectors that are computed together.
const MAX_VECTORS: usize = 3;
/// Room for one block of a plane: its vectors, and one more for the kernel to reach into.
const BLOCK: usize = (MAX_VECTORS + 1) * MARGIN;
const MAX_PLANES: usize = 16;
const MAX_GROUP: usize = 10;

/// Distance between planes for `width` pixels: vectors may be written and read beyond them.
pub fn plane_length(width: usize) -> usize {
    width.next_multiple_of(MARGIN) + MARGIN
}

/// Outputs that read the same inputs: where those lie, as plane and distance in pixels from the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub taps: Vec<(usize, usize)>,
}

/// A convolution's parts, with as many outputs each, its bias, and the PReLU after it.
#[derive(Debug)]
pub struct PlaneConvolution {
    planes: usize,
    /// Of each part.
    outputs: usize,
    parts: Vec<PackedPart>,
    bias: Vec<f32>,
    slopes: Vec<f32>,
}

#[derive(Debug)]
struct PackedPart {
    /// Places in the transformed block.
    taps: Vec<usize>,
    /// [transformed row, tap, output]
    weights: Vec<f32>,
}

/// Where the rows of a buffer lie, in elements, and how far apart a row's planes are.
#[derive(Debug, Clone, Copy)]
pub struct Rows<const COUNT: usize> {
    pub starts: [usize; COUNT],
    pub plane: usize,
}

impl PlaneConvolution {
    /// `kernel(part, output, tap)` is the kernel's column for one tap, `bias` and `slopes` hold one value for each output of
    /// a part.
    pub fn new(
        planes: usize,
        parts: &[Part],
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
        let pack = |(index, part): (usize, &Part)| {
            let place = |&(plane, shift): &(usize, usize)| {
                assert!(plane < planes && shift < 8, "the tap lies in the block");
                plane * BLOCK + shift
            };
            let mut weights = vec![0.0; INPUT_ROWS * part.taps.len() * outputs];
            for tap in 0..part.taps.len() {
                for output in 0..outputs {
                    let products = kernel_products(kernel(index, output, tap));
                    for (row, product) in products.into_iter().enumerate() {
                        weights[(row * part.taps.len() + tap) * outputs + output] = product;
                    }
                }
            }
            PackedPart {
                taps: part.taps.iter().map(place).collect(),
                weights,
            }
        };
        Self {
            planes,
            outputs,
            parts: parts.iter().enumerate().map(pack).collect(),
            bias,
            slopes,
        }
    }

    /// Planes that `convolve` writes: all outputs of the first part, then those of the next.
    pub fn output_planes(&self) -> usize {
        self.outputs * self.parts.len()
    }

    /// Four rows of outputs, each `width` wide, from six rows of inputs. Beyond `width`, up to `plane_length`, the output
    /// holds anything.
    ///
    /// Panics if a buffer is too short for its rows.
    pub fn convolve(
        &self,
        instructions: Instructions,
        width: usize,
        (input, input_rows): (&[f32], Rows<INPUT_ROWS>),
        (output, output_rows): (&mut [f32], Rows<OUTPUT_ROWS>),
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
        let task = Task {
            layer: self,
            width,
            input: input.as_ptr(),
            input_rows,
            output: output.as_mut_ptr(),
            output_rows,
        };
        instructions.check();
        // SAFETY: rows and planes lie in their buffers, and the processor has the instructions.
        unsafe {
            match instructions {
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 | Instructions::Avx512Vnni | Instructions::Amx => {
                    x86::sweep_512(&task)
                }
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 | Instructions::AvxVnni => x86::sweep_256(&task),
                Instructions::Portable => task.sweep::<Portable, 4, 5>(),
                #[cfg(not(target_arch = "x86_64"))]
                _ => unreachable!("only x86-64 processors have other instructions"),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256, __m512};

    use super::Task;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub unsafe fn sweep_512(task: &Task<'_>) {
        unsafe { task.sweep::<__m512, 8, 10>() }
    }

    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn sweep_256(task: &Task<'_>) {
        unsafe { task.sweep::<__m256, 4, 5>() }
    }
}

struct Task<'a> {
    layer: &'a PlaneConvolution,
    width: usize,
    input: *const f32,
    input_rows: Rows<INPUT_ROWS>,
    output: *mut f32,
    output_rows: Rows<OUTPUT_ROWS>,
}

/// Memory whose vectors do not straddle cache lines.
#[repr(align(64))]
struct Lines<const LENGTH: usize>(MaybeUninit<[f32; LENGTH]>);

impl<const LENGTH: usize> Lines<LENGTH> {
    fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    fn start(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}

/// Repeats the body with the number a constant, so that sums stay in registers.
macro_rules! each {
    ($number:ident < $count:ident $body:block) => {
        each!(@ $number $count $body 0 1 2 3 4 5 6 7 8 9)
    };
    (@ $number:ident $count:ident $body:block $($literal:literal)*) => {
        $(if $literal < $count {
            let $number: usize = $literal;
            $body
        })*
    };
}

impl Task<'_> {
    /// Blocks of three vectors by `NARROW` outputs, or of two by `WIDE`, whichever divides the outputs.
    #[inline(always)]
    unsafe fn sweep<F: Float, const NARROW: usize, const WIDE: usize>(&self) {
        let mut transformed = Lines::<{ INPUT_ROWS * MAX_PLANES * BLOCK }>::new();
        let is_narrow = self.layer.outputs.is_multiple_of(NARROW);
        let vectors = self.width.div_ceil(F::LANES);
        let mut vector = 0;
        while vector < vectors {
            let x = vector * F::LANES;
            let left = vectors - vector;
            unsafe {
                vector += match (is_narrow, left) {
                    // One vector alone has too few sums to keep the processor busy.
                    (true, 3 | 5..) => self.block::<F, NARROW, 3>(x, &mut transformed),
                    (true, 2 | 4) => self.block::<F, NARROW, 2>(x, &mut transformed),
                    (true, _) => self.block::<F, NARROW, 1>(x, &mut transformed),
                    (false, 2..) => self.block::<F, WIDE, 2>(x, &mut transformed),
                    (false, _) => self.block::<F, WIDE, 1>(x, &mut transformed),
                }
            }
        }
    }

    /// All outputs of `VECTORS` vectors of pixels from `x` on; returns `VECTORS`.
    #[inline(always)]
    unsafe fn block<F: Float, const GROUP: usize, const VECTORS: usize>(
        &self,
        x: usize,
        transformed: &mut Lines<{ INPUT_ROWS * MAX_PLANES * BLOCK }>,
    ) -> usize {
        let layer = self.layer;
        let transformed = transformed.start();
        let mut products = Lines::<{ INPUT_ROWS * MAX_GROUP * MAX_VECTORS * 16 }>::new();
        let products = products.start();
        unsafe { self.transform::<F>(x, VECTORS + 1, transformed) };
        for (number, part) in layer.parts.iter().enumerate() {
            for first in (0..layer.outputs).step_by(GROUP) {
                for row in 0..INPUT_ROWS {
                    unsafe {
                        let inputs = transformed.add(row * layer.planes * BLOCK);
                        let weights = (part.weights.as_ptr())
                            .add(row * part.taps.len() * layer.outputs + first);
                        let sums = products.add(row * GROUP * VECTORS * F::LANES);
                        multiply::<F, GROUP, VECTORS>(
                            inputs,
                            &part.taps,
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

    /// Six rows of inputs become six rows that products are taken of.
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
                    let [a, b, c, d, e, f] = rows;
                    let (four, minus_four) = (F::splat(4.0), F::splat(-4.0));
                    let (minus_five, two) = (F::splat(-5.0), F::splat(2.0));
                    let minus = F::splat(-1.0);
                    let even = c.mul_add(minus_four, e);
                    let odd = b.mul_add(minus_four, d);
                    let even_2 = c.mul_add(minus, e);
                    let odd_2 = b.mul_add(minus, d);
                    let transformed = transformed.add(plane * BLOCK + vector * F::LANES);
                    let results = [
                        a.mul_add(four, c.mul_add(minus_five, e)),
                        even.add(odd),
                        odd.mul_add(minus, even),
                        odd_2.mul_add(two, even_2),
                        odd_2.mul_add(F::splat(-2.0), even_2),
                        b.mul_add(four, d.mul_add(minus_five, f)),
                    ];
                    for (row, result) in results.into_iter().enumerate() {
                        result.store(transformed.add(row * self.layer.planes * BLOCK), F::LANES);
                    }
                }
            }
        }
    }

    /// Six rows of products become four rows of outputs.
    #[inline(always)]
    unsafe fn finish<F: Float>(&self, sums: *const f32, row: usize, channel: usize, to: *mut f32) {
        unsafe {
            let bias = F::splat(*self.layer.bias.get_unchecked(channel));
            let slopes = F::splat(*self.layer.slopes.get_unchecked(channel));
            let sum = |index: usize| F::load(sums.add(index * row));
            let minus = F::splat(-1.0);
            let (b, c, d, e) = (sum(1), sum(2), sum(3), sum(4));
            let (even, odd) = (b.add(c).add(bias), c.mul_add(minus, b).add(bias));
            let (even_2, odd_2) = (d.add(e), e.mul_add(minus, d));
            let results = [
                sum(0).add(even).add(even_2),
                odd_2.mul_add(F::splat(2.0), odd),
                even_2.mul_add(F::splat(4.0), even),
                odd_2.mul_add(F::splat(8.0), odd).add(sum(5)),
            ];
            let zero = F::late_zero();
            for (value, start) in results.into_iter().zip(self.output_rows.starts) {
                let activated = value.min(zero).mul_add(slopes, value.max(zero));
                activated.store(to.add(start), F::LANES);
            }
        }
    }
}

/// Sums over all taps for `GROUP` outputs and `VECTORS` vectors of pixels.
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
            each!(output < GROUP {
                F::add_products(&mut sums[output], &values, weights.add(output));
            });
            weights = weights.add(outputs);
        }
    }
    each!(output < GROUP {
        each!(vector < VECTORS {
            let to = unsafe { results.add((output * VECTORS + vector) * F::LANES) };
            unsafe { sums[output][vector].store(to, F::LANES) };
        });
    });
}
