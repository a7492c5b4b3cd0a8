//! Vectors of each instruction set behind one interface, so that a loop is written once and compiled for each.
//!
//! Every method must be inlined into a function that is compiled for the instructions it needs.

#[cfg(target_arch = "x86_64")]
pub mod x86;

use super::code_loops::{self, CodeGroup, QueryGroup};
use super::winograd::Number;

/// A vector of float32.
pub trait Float: Copy {
    const LANES: usize;
    /// Whether `mul_add` is one instruction, which rounds once.
    const FUSED: bool;
    /// Pixels of a GEMM tile: their accumulators, two vectors each, fit into the registers.
    const TILE_PIXELS: usize;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn splat(value: f32) -> Self;
    /// Zeros that are loaded here: hoisted out of a loop, they would take the register of an accumulator.
    #[inline(always)]
    unsafe fn late_zero() -> Self {
        static ZERO: f32 = 0.0;
        unsafe { Self::splat((&raw const ZERO).read_volatile()) }
    }
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// Returns `self * factor + addend`.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// Adds `values[i] * factor` to each `sums[i]`.
    #[inline(always)]
    unsafe fn add_products<const COUNT: usize>(
        sums: &mut [Self; COUNT],
        values: &[Self; COUNT],
        factor: *const f32,
    ) {
        let factor = unsafe { Self::splat(*factor) };
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = unsafe { value.mul_add(factor, *sum) };
        }
    }
    unsafe fn max(self, other: Self) -> Self;
    unsafe fn min(self, other: Self) -> Self;
    /// Stores the first `count` values; `count` is at most `LANES`.
    unsafe fn store(self, to: *mut f32, count: usize);
    /// Stores the first `count` values rounded to the nearest (even) integer, negative ones as 0. They are at most 255.
    unsafe fn store_bytes(self, to: *mut u8, count: usize);
}

/// How a GEMM multiplies and accumulates: float32, or unsigned by signed bytes in 32-bit integers.
pub trait Arithmetic {
    type Input;
    type Weight;
    type Vector: Copy;
    type Sum: Copy;
    type Float: Float;
    /// Neighboring inputs that one step takes together, with as many weights for each output channel.
    const GROUP: usize;
    /// Pixels of a tile: their accumulators, two vectors each, fit into the registers.
    const TILE_PIXELS: usize;
    /// Groups whose weights, two vectors each, stay in the first-level cache.
    const K_BLOCK: usize;
    unsafe fn zero() -> Self::Sum;
    /// Loads the weights of as many output channels as there are lanes.
    unsafe fn weights(from: *const Self::Weight) -> Self::Vector;
    /// Loads a group of inputs into every lane.
    unsafe fn inputs(from: *const Self::Input) -> Self::Vector;
    unsafe fn accumulate(sum: Self::Sum, inputs: Self::Vector, weights: Self::Vector) -> Self::Sum;
    unsafe fn to_float(sum: Self::Sum) -> Self::Float;
}

/// The dot products of bytes of an instruction set.
pub trait ByteDots {
    type Convolution: Arithmetic<Input = u8, Weight = i8>;
    /// See [`super::code_dots::dots`].
    unsafe fn code_dots(codes: &[CodeGroup], query: &[QueryGroup]) -> [i32; code_loops::LANES];
}

impl<F: Float> Arithmetic for F {
    type Input = f32;
    type Weight = f32;
    type Vector = F;
    type Sum = F;
    type Float = F;
    const GROUP: usize = 1;
    const TILE_PIXELS: usize = F::TILE_PIXELS;
    const K_BLOCK: usize = 288;

    #[inline(always)]
    unsafe fn zero() -> F {
        unsafe { F::splat(0.0) }
    }

    #[inline(always)]
    unsafe fn weights(from: *const f32) -> F {
        unsafe { F::load(from) }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const f32) -> F {
        unsafe { F::splat(*from) }
    }

    #[inline(always)]
    unsafe fn accumulate(sum: F, inputs: F, weights: F) -> F {
        unsafe { inputs.mul_add(weights, sum) }
    }

    #[inline(always)]
    unsafe fn to_float(sum: F) -> F {
        sum
    }
}

// Winograd's transforms of whole vectors. Vectors exist only inside kernels that `dispatch` runs.
impl<F: Float> Number for F {
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: the kernel that holds the vectors runs on a processor that has them.
        unsafe { Float::add(self, other) }
    }

    #[inline(always)]
    fn mul_add(self, factor: f32, addend: Self) -> Self {
        // SAFETY: as above.
        unsafe { Float::mul_add(self, F::splat(factor), addend) }
    }
}

/// Eight lanes in plain Rust.
#[derive(Debug, Clone, Copy)]
pub struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| {
            operation(self.0[lane], other.0[lane])
        }))
    }
}

impl Float for Portable {
    const LANES: usize = 8;
    // A fused multiply-add is an instruction of every Arm processor; elsewhere it would be a call.
    const FUSED: bool = cfg!(target_arch = "aarch64");
    const TILE_PIXELS: usize = 2;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(from.cast::<[f32; 8]>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        if Self::FUSED {
            let fused = |lane: usize| self.0[lane].mul_add(factor.0[lane], addend.0[lane]);
            Self(std::array::from_fn(fused))
        } else {
            self.zip(factor, |a, b| a * b).zip(addend, |a, b| a + b)
        }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, count: usize) {
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, count) };
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, count: usize) {
        // The cast saturates.
        let bytes = self.0.map(|value| value.round_ties_even() as u8);
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, count) };
    }
}

impl ByteDots for Portable {
    type Convolution = PortableBytes;

    #[inline(always)]
    unsafe fn code_dots(codes: &[CodeGroup], query: &[QueryGroup]) -> [i32; code_loops::LANES] {
        code_loops::portable(codes, query)
    }
}

/// Products of bytes in plain Rust.
#[derive(Debug)]
pub struct PortableBytes;

impl Arithmetic for PortableBytes {
    type Input = u8;
    type Weight = i8;
    type Vector = [i32; 32];
    type Sum = [i32; 8];
    type Float = Portable;
    const GROUP: usize = 4;
    const TILE_PIXELS: usize = 1;
    const K_BLOCK: usize = usize::MAX;

    #[inline(always)]
    unsafe fn zero() -> Self::Sum {
        [0; 8]
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> Self::Vector {
        unsafe { from.cast::<[i8; 32]>().read() }.map(i32::from)
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> Self::Vector {
        let group = unsafe { from.cast::<[u8; 4]>().read() }.map(i32::from);
        std::array::from_fn(|index| group[index % 4])
    }

    #[inline(always)]
    unsafe fn accumulate(sum: Self::Sum, inputs: Self::Vector, weights: Self::Vector) -> Self::Sum {
        std::array::from_fn(|lane| {
            let products = (lane * 4..lane * 4 + 4).map(|index| inputs[index] * weights[index]);
            sum[lane] + products.sum::<i32>()
        })
    }

    #[inline(always)]
    unsafe fn to_float(sum: Self::Sum) -> Portable {
        Portable(sum.map(|value| value as f32))
    }
}
