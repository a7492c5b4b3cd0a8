//! What follows a matrix product: bias or scale, sum with the output, activation, rounding.

use super::super::panels::PANEL;
use super::super::vectors::{Arithmetic, Float};

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

/// Turns the sums of one pixel, from output channel `channel` on, into `count` results at `output`.
pub trait Epilogue<A: Arithmetic> {
    unsafe fn store(&mut self, sum: A::Sum, channel: usize, output: usize, count: usize);
}

impl<A: Arithmetic> Epilogue<A> for FloatOutput<'_> {
    #[inline(always)]
    unsafe fn store(&mut self, sum: A::Sum, channel: usize, output: usize, count: usize) {
        unsafe {
            let bias = A::Float::load(self.bias.as_ptr().add(channel));
            let mut value = A::to_float(sum).add(bias);
            let to = self.values.as_mut_ptr().add(output);
            if self.accumulate {
                value = value.add(load_part::<A::Float>(to, count));
            }
            let zero = A::Float::late_zero();
            let slopes = A::Float::load(self.slopes.as_ptr().add(channel));
            let activated = value.min(zero).mul_add(slopes, value.max(zero));
            activated.store(to, count);
        }
    }
}

impl<A: Arithmetic> Epilogue<A> for ByteOutput<'_> {
    #[inline(always)]
    unsafe fn store(&mut self, sum: A::Sum, channel: usize, output: usize, count: usize) {
        unsafe {
            let factors = A::Float::load(self.factors.as_ptr().add(channel));
            let offsets = A::Float::load(self.offsets.as_ptr().add(channel));
            let largest = A::Float::splat(f32::from(self.largest));
            let mut value = A::to_float(sum).mul_add(factors, offsets);
            match &mut self.target {
                // Rounding to unsigned bytes clamps at 0, as a ReLU.
                ByteTarget::Bytes(bytes) => {
                    let value = value.min(largest);
                    value.store_bytes(bytes.as_mut_ptr().add(output), count);
                }
                ByteTarget::Stream {
                    values,
                    bytes,
                    scale,
                    accumulate,
                    relu,
                } => {
                    let to = values.as_mut_ptr().add(output);
                    if *accumulate {
                        value = value.add(load_part::<A::Float>(to, count));
                    }
                    if *relu {
                        value = value.max(A::Float::splat(0.0));
                    }
                    value.store(to, count);
                    value
                        .mul(A::Float::splat(*scale))
                        .min(largest)
                        .store_bytes(bytes.as_mut_ptr().add(output), count);
                }
            }
        }
    }
}

/// Loads a vector whose first `count` values lie at `from`, and reads nothing beyond them.
#[inline(always)]
unsafe fn load_part<F: Float>(from: *const f32, count: usize) -> F {
    unsafe {
        if count == F::LANES {
            return F::load(from);
        }
        let mut copy = [0.0; PANEL];
        std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), count);
        F::load(copy.as_ptr())
    }
}
