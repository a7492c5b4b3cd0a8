//! The micro kernel: a tile of the product, with all its accumulators in registers.

use super::super::panels::PANEL;
use super::super::vectors::{Arithmetic, Float};
use super::epilogue::Epilogue;
use super::k_blocks::KBlock;
use super::pixels::PixelCursor;
use super::shape::Geometry;

/// In bytes.
const CACHE_LINE: usize = 64;

/// Some pixels by one or two vectors of output channels, for one K block.
pub struct Tile<'a, Input, Weight, Sum> {
    pub geometry: &'a Geometry,
    pub input: *const Input,
    /// Of the K block, from the first channel on.
    pub weights: *const Weight,
    pub block: KBlock,
    pub channel: usize,
    /// Sums of the panel's K blocks so far.
    pub partial_sums: *mut Sum,
    /// Weights to prefetch, and how much further with each group; 0 where others do it. A condition would cost more
    /// than fetching the same line again.
    pub ahead: *const Weight,
    pub ahead_step: usize,
}

impl<Input, Weight, Sum> Tile<'_, Input, Weight, Sum> {
    /// The micro kernel. Moves `cursor` past the tile's pixels.
    #[inline(always)]
    pub unsafe fn run<A, E, const PIXELS: usize, const VECTORS: usize>(
        &self,
        cursor: &mut PixelCursor,
        epilogue: &mut E,
    ) where
        A: Arithmetic<Input = Input, Weight = Weight, Sum = Sum>,
        E: Epilogue<A>,
        Sum: Copy,
    {
        let (geometry, block) = (self.geometry, self.block);
        let lanes = A::Float::LANES;
        let start = block.row * geometry.kernel_row + block.group * A::GROUP;
        let mut inputs = [self.input; PIXELS];
        let mut outputs = [0; PIXELS];
        for pixel in 0..PIXELS {
            inputs[pixel] = unsafe { self.input.add(cursor.input(geometry) + start) };
            outputs[pixel] = cursor.output(geometry);
            cursor.step(geometry);
        }
        let mut sums = [[unsafe { A::zero() }; VECTORS]; PIXELS];
        if !block.is_first {
            unroll!(pixel < PIXELS {
                sums[pixel][0] = unsafe { self.partial_sums.add(2 * pixel).read() };
                if VECTORS == 2 {
                    sums[pixel][1] = unsafe { self.partial_sums.add(2 * pixel + 1).read() };
                }
            });
        }
        let mut weights = self.weights;
        let mut ahead = self.ahead;
        for _ in 0..block.rows {
            for group in 0..block.groups {
                unsafe {
                    let first = A::weights(weights);
                    let second = if VECTORS == 2 {
                        A::weights(weights.add(lanes * A::GROUP))
                    } else {
                        first
                    };
                    prefetch(ahead);
                    if VECTORS * lanes == PANEL {
                        prefetch(ahead.wrapping_byte_add(CACHE_LINE));
                    }
                    ahead = ahead.wrapping_add(self.ahead_step);
                    weights = weights.add(PANEL * A::GROUP);
                    unroll!(pixel < PIXELS {
                        let values = A::inputs(inputs[pixel].add(group * A::GROUP));
                        sums[pixel][0] = A::accumulate(sums[pixel][0], values, first);
                        if VECTORS == 2 {
                            sums[pixel][1] = A::accumulate(sums[pixel][1], values, second);
                        }
                    });
                }
            }
            for input in &mut inputs {
                *input = input.wrapping_add(geometry.kernel_row);
            }
        }
        if !block.is_last {
            unroll!(pixel < PIXELS {
                unsafe { self.partial_sums.add(2 * pixel).write(sums[pixel][0]) };
                if VECTORS == 2 {
                    unsafe { self.partial_sums.add(2 * pixel + 1).write(sums[pixel][1]) };
                }
            });
            return;
        }
        let (channel, left) = (self.channel, geometry.outputs - self.channel);
        unroll!(pixel < PIXELS {
            let output = outputs[pixel] + channel;
            unsafe {
                epilogue.store(sums[pixel][0], channel, output, lanes.min(left));
                if VECTORS == 2 {
                    let count = lanes.min(left - lanes);
                    epilogue.store(sums[pixel][1], channel + lanes, output + lanes, count);
                }
            }
        });
    }
}

/// Fetches a cache line of weights ahead of its use.
#[inline(always)]
fn prefetch<T>(weights: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on caches, at any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(weights.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = weights;
}
