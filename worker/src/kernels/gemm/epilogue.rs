//! What follows a matrix product: bias or scale, sum with the output, activation, rounding.

use super::super::panels::PANEL;
use super::super::vectors::{Arithmetic, Float};

/// Turns the sums of one pixel, from output channel `channel` on, into `count` results at `output`.
pub trait Epilogue<A: Arithmetic> {
    unsafe fn store(&self, sum: A::Sum, channel: usize, output: usize, count: usize);
}

pub struct FloatEpilogue {
    pub bias: *const f32,
    pub slopes: *const f32,
    pub accumulate: bool,
    pub values: *mut f32,
}

impl<A: Arithmetic> Epilogue<A> for FloatEpilogue {
    #[inline(always)]
    unsafe fn store(&self, sum: A::Sum, channel: usize, output: usize, count: usize) {
        unsafe {
            let mut value = A::to_float(sum).add(A::Float::load(self.bias.add(channel)));
            let to = self.values.add(output);
            if self.accumulate {
                value = value.add(load_part::<A::Float>(to, count));
            }
            let zero = A::Float::late_zero();
            let slopes = A::Float::load(self.slopes.add(channel));
            let activated = value.min(zero).mul_add(slopes, value.max(zero));
            activated.store(to, count);
        }
    }
}

pub struct ByteEpilogue {
    pub factors: *const f32,
    pub offsets: *const f32,
    pub target: RawByteTarget,
}

#[derive(Clone, Copy)]
pub enum RawByteTarget {
    Bytes(*mut u8),
    Stream {
        values: *mut f32,
        bytes: *mut u8,
        scale: f32,
        accumulate: bool,
        floor: f32,
    },
}

impl<A: Arithmetic> Epilogue<A> for ByteEpilogue {
    #[inline(always)]
    unsafe fn store(&self, sum: A::Sum, channel: usize, output: usize, count: usize) {
        unsafe {
            let factors = A::Float::load(self.factors.add(channel));
            let offsets = A::Float::load(self.offsets.add(channel));
            let mut value = A::to_float(sum).mul_add(factors, offsets);
            match self.target {
                // Rounding to unsigned bytes clamps at 0, as a ReLU.
                RawByteTarget::Bytes(bytes) => value.store_bytes(bytes.add(output), count),
                RawByteTarget::Stream {
                    values,
                    bytes,
                    scale,
                    accumulate,
                    floor,
                } => {
                    let to = values.add(output);
                    if accumulate {
                        value = value.add(load_part::<A::Float>(to, count));
                    }
                    let value = value.max(A::Float::splat(floor));
                    value.store(to, count);
                    value
                        .mul(A::Float::splat(scale))
                        .store_bytes(bytes.add(output), count);
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
