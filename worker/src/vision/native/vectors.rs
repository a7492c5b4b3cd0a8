//! Vectors of each kind of processor behind one interface, so that a loop is written once and compiled for each.
//!
//! Every method must be inlined into a function that is compiled for the instructions it needs.

/// A vector of float32.
pub trait Float: Copy {
    const LANES: usize;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn splat(value: f32) -> Self;
    /// Zeros that the compiler cannot keep in a register from before a loop, which would push a sum out to memory.
    #[inline(always)]
    unsafe fn late_zero() -> Self {
        static ZERO: f32 = 0.0;
        unsafe { Self::splat((&raw const ZERO).read_volatile()) }
    }
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * factor + addend`.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// Adds the product of each value with the number at `factor` to its sum.
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
    /// Stores the first `count` values rounded to the nearest (even) integer from 0 to 255.
    unsafe fn store_bytes(self, to: *mut u8, count: usize);
}

/// How products are summed: of float32, or of unsigned with signed bytes in 32-bit integers.
pub trait Arithmetic {
    type Input;
    type Weight;
    type Vector: Copy;
    type Sum: Copy;
    type Float: Float;
    /// Neighbouring inputs that one step takes together, with as many weights for each output channel.
    const GROUP: usize;
    /// Pixels whose sums, two vectors each, fit into the registers.
    const PIXELS: usize;
    /// Groups whose weights, two vectors each, stay in the first-level cache.
    const CHUNK: usize;
    unsafe fn zero() -> Self::Sum;
    /// The weights of as many output channels as there are lanes.
    unsafe fn weights(from: *const Self::Weight) -> Self::Vector;
    /// A group of inputs, repeated in each lane.
    unsafe fn inputs(from: *const Self::Input) -> Self::Vector;
    unsafe fn accumulate(sum: Self::Sum, inputs: Self::Vector, weights: Self::Vector) -> Self::Sum;
    unsafe fn to_float(sum: Self::Sum) -> Self::Float;
}

/// Sums of float32 products in vectors `F`, of `PIXELS` pixels at once.
#[derive(Debug)]
pub struct Floats<F, const PIXELS: usize>(std::marker::PhantomData<F>);

impl<F: Float, const PIXELS: usize> Arithmetic for Floats<F, PIXELS> {
    type Input = f32;
    type Weight = f32;
    type Vector = F;
    type Sum = F;
    type Float = F;
    const GROUP: usize = 1;
    const PIXELS: usize = PIXELS;
    const CHUNK: usize = 288;

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

/// Eight lanes in plain Rust, for the compiler to make of them what the processor has.
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
        // Fused multiply-add is an instruction of every Arm processor; elsewhere it would be a call.
        if cfg!(target_arch = "aarch64") {
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
        // A float that is cast to a byte saturates.
        let bytes = self.0.map(|value| value.round_ties_even() as u8);
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, count) };
    }
}

/// Sums of byte products in plain Rust.
#[derive(Debug)]
pub struct PortableBytes;

impl Arithmetic for PortableBytes {
    type Input = u8;
    type Weight = i8;
    type Vector = [i32; 32];
    type Sum = [i32; 8];
    type Float = Portable;
    const GROUP: usize = 4;
    const PIXELS: usize = 1;
    const CHUNK: usize = usize::MAX;

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
