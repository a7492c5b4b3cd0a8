//! The loop over blocks of pixels and panels of output channels, and what becomes of the sums.

use super::convolve::Geometry;
use super::vectors::{Arithmetic, Float};
use crate::vision::panels::PANEL;

/// Turns the sums of one pixel, from output channel `channel` on, into results.
pub(super) trait Finish<A: Arithmetic> {
    unsafe fn store(&self, sum: A::Sum, channel: usize, output: usize, count: usize);
}

pub(super) struct FloatFinish {
    pub bias: *const f32,
    pub slopes: *const f32,
    pub accumulate: bool,
    pub values: *mut f32,
}

impl<A: Arithmetic> Finish<A> for FloatFinish {
    #[inline(always)]
    unsafe fn store(&self, sum: A::Sum, channel: usize, output: usize, count: usize) {
        unsafe {
            let mut value = A::to_float(sum).add(A::Float::load(self.bias.add(channel)));
            let to = self.values.add(output);
            if self.accumulate {
                value = value.add(load_part::<A::Float>(to, count));
            }
            let zero = A::Float::splat(0.0);
            let slopes = A::Float::load(self.slopes.add(channel));
            let activated = value.min(zero).mul_add(slopes, value.max(zero));
            activated.store(to, count);
        }
    }
}

pub(super) struct ByteFinish {
    pub factors: *const f32,
    pub offsets: *const f32,
    pub target: RawTarget,
}

#[derive(Clone, Copy)]
pub(super) enum RawTarget {
    Bytes(*mut u8),
    Stream {
        values: *mut f32,
        bytes: *mut u8,
        scale: f32,
        accumulate: bool,
        floor: f32,
    },
}

impl<A: Arithmetic> Finish<A> for ByteFinish {
    #[inline(always)]
    unsafe fn store(&self, sum: A::Sum, channel: usize, output: usize, count: usize) {
        unsafe {
            let factors = A::Float::load(self.factors.add(channel));
            let offsets = A::Float::load(self.offsets.add(channel));
            let mut value = A::to_float(sum).mul_add(factors, offsets);
            match self.target {
                // Rounding to unsigned bytes is the ReLU.
                RawTarget::Bytes(bytes) => value.store_bytes(bytes.add(output), count),
                RawTarget::Stream {
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

/// A vector whose first `count` values lie at `from`; nothing beyond them is read.
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

/// Repeats the body for each pixel of a block, with the pixel's number a constant, so that sums stay in registers.
macro_rules! each {
    ($pixel:ident < $count:ident $body:block) => {
        each!(@ $pixel $count $body 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $pixel:ident $count:ident $body:block $($number:literal)*) => {
        $(if $number < $count {
            let $pixel: usize = $number;
            $body
        })*
    };
}

/// Blocks that share the fetching of one panel at most.
const MAX_SPREAD: usize = 8;

/// Goes through the image's pixels in blocks of almost equal size, for each panel's vectors of output channels.
#[inline(always)]
pub(super) unsafe fn sweep<A: Arithmetic, F: Finish<A>>(
    geometry: &Geometry,
    input: *const A::Input,
    weights: *const A::Weight,
    finish: &F,
) {
    let lanes = A::Float::LANES;
    let pixels = geometry.pixels();
    let blocks = pixels.div_ceil(A::PIXELS);
    let (size, larger) = (pixels / blocks, pixels % blocks);
    let panel_length = geometry.taps(A::GROUP) * PANEL;
    for first in (0..geometry.outputs).step_by(2 * lanes) {
        // A panel holds the weights of one or more pairs of vectors.
        let panel = unsafe { weights.add(first / PANEL * panel_length + first % PANEL * A::GROUP) };
        // The blocks share the fetching of the weights that come next, which no cache may hold yet.
        let spread = blocks.min(MAX_SPREAD);
        let mut place = Place::default();
        for block in 0..blocks {
            let count = size + usize::from(block < larger);
            let task = Task {
                geometry,
                input,
                weights: panel,
                first,
                ahead: (block < spread)
                    .then(|| panel.wrapping_add(panel_length + panel_length / spread * block)),
                ahead_step: PANEL * A::GROUP / spread,
            };
            macro_rules! run {
                ($($pixels:literal)*) => {
                    match count {
                        $($pixels if $pixels <= A::PIXELS => {
                            if geometry.outputs - first > lanes {
                                unsafe { task.block::<A, F, $pixels, 2>(&mut place, finish) }
                            } else {
                                unsafe { task.block::<A, F, $pixels, 1>(&mut place, finish) }
                            }
                        })*
                        _ => unreachable!("blocks have 1 to 12 pixels"),
                    }
                };
            }
            run!(1 2 3 4 5 6 7 8 9 10 11 12);
        }
    }
}

/// Asks for the weights of a group of inputs, 128 bytes, before they are needed.
#[inline(always)]
fn prefetch<T>(weights: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: fetching ahead changes nothing, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(weights.cast());
        _mm_prefetch::<_MM_HINT_T1>(weights.cast::<i8>().wrapping_add(64));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = weights;
}

/// A pixel of the output.
#[derive(Default)]
pub(super) struct Place {
    image: usize,
    y: usize,
    x: usize,
}

impl Place {
    /// The pixel with number `index` of all.
    #[inline(always)]
    pub(super) fn at(geometry: &Geometry, index: usize) -> Self {
        let row = index / geometry.width;
        Self {
            image: row / geometry.height,
            y: row % geometry.height,
            x: index % geometry.width,
        }
    }

    /// Where its inputs begin.
    #[inline(always)]
    pub(super) fn input(&self, geometry: &Geometry) -> usize {
        geometry.input.offset(self.image, self.y, self.x)
    }

    /// Where its outputs begin.
    #[inline(always)]
    pub(super) fn output(&self, geometry: &Geometry) -> usize {
        geometry.output.offset(self.image, self.y, self.x)
    }

    #[inline(always)]
    pub(super) fn step(&mut self, geometry: &Geometry) {
        self.x += 1;
        if self.x == geometry.width {
            self.x = 0;
            self.y += 1;
            if self.y == geometry.height {
                self.y = 0;
                self.image += 1;
            }
        }
    }
}

/// The pixels of one block against the weights of one or two vectors of channels.
struct Task<'a, Input, Weight> {
    geometry: &'a Geometry,
    input: *const Input,
    weights: *const Weight,
    first: usize,
    /// Weights to fetch ahead, and how much further with each group.
    ahead: Option<*const Weight>,
    ahead_step: usize,
}

impl<Input, Weight> Task<'_, Input, Weight> {
    #[inline(always)]
    unsafe fn block<A, F, const PIXELS: usize, const VECTORS: usize>(
        &self,
        place: &mut Place,
        finish: &F,
    ) where
        A: Arithmetic<Input = Input, Weight = Weight>,
        F: Finish<A>,
    {
        let geometry = self.geometry;
        let lanes = A::Float::LANES;
        let mut inputs = [self.input; PIXELS];
        let mut outputs = [0; PIXELS];
        for pixel in 0..PIXELS {
            inputs[pixel] = unsafe { self.input.add(place.input(geometry)) };
            outputs[pixel] = place.output(geometry);
            place.step(geometry);
        }
        let mut sums = [[unsafe { A::zero() }; VECTORS]; PIXELS];
        let groups = geometry.run.div_ceil(A::GROUP);
        let mut weights = self.weights;
        let mut ahead = self.ahead;
        for _ in 0..geometry.kernel_rows {
            for group in 0..groups {
                unsafe {
                    let first = A::weights(weights);
                    let second = if VECTORS == 2 {
                        A::weights(weights.add(lanes * A::GROUP))
                    } else {
                        first
                    };
                    if let Some(weights) = ahead {
                        prefetch(weights);
                        ahead = Some(weights.wrapping_add(self.ahead_step));
                    }
                    weights = weights.add(PANEL * A::GROUP);
                    each!(pixel < PIXELS {
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
        // Constant indices throughout: one that varies would send all sums through memory, at half the speed.
        let (channel, left) = (self.first, geometry.outputs - self.first);
        each!(pixel < PIXELS {
            let output = outputs[pixel] + channel;
            unsafe {
                finish.store(sums[pixel][0], channel, output, lanes.min(left));
                if VECTORS == 2 {
                    let count = lanes.min(left - lanes);
                    finish.store(sums[pixel][1], channel + lanes, output + lanes, count);
                }
            }
        });
    }
}
