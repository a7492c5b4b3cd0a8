//! The loop over blocks of pixels and panels of output channels, and what becomes of the sums.

use std::mem::MaybeUninit;

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
            let zero = A::Float::late_zero();
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

/// In bytes.
const CACHE_LINE: usize = 64;

/// Blocks that share the fetching of one chunk at most.
const MAX_SPREAD: usize = 8;

/// Goes through the weights in chunks that stay in the first-level cache while all pixels are multiplied by them, in blocks
/// of almost equal size. Sums wait in memory between the chunks of one panel.
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
    let groups = geometry.run.div_ceil(A::GROUP);
    let chunks = Chunks::of(geometry.kernel_rows, groups, A::CHUNK);
    let waiting_length = if chunks.is_single() {
        0
    } else {
        pixels * (PANEL / lanes)
    };
    let mut waiting: Vec<MaybeUninit<A::Sum>> = Vec::with_capacity(waiting_length);
    let waiting = waiting.as_mut_ptr().cast::<A::Sum>();
    let mut chunk_weights = weights;
    for panel in (0..geometry.outputs).step_by(PANEL) {
        let channels = panel..geometry.outputs.min(panel + PANEL);
        for chunk in chunks.iter() {
            let length = chunk.rows * chunk.groups * PANEL * A::GROUP;
            let next = chunk_weights.wrapping_add(length);
            // The blocks share the fetching of the weights that come next, which no cache may hold yet.
            let spread = (blocks * channels.len().div_ceil(2 * lanes)).min(MAX_SPREAD);
            let mut number = 0;
            for first in channels.clone().step_by(2 * lanes) {
                let mut place = Place::default();
                let mut done = 0;
                for block in 0..blocks {
                    let count = size + usize::from(block < larger);
                    let task = Task {
                        geometry,
                        input,
                        weights: unsafe { chunk_weights.add(first % PANEL * A::GROUP) },
                        chunk,
                        first,
                        waiting: waiting.wrapping_add(first % PANEL / lanes * pixels + 2 * done),
                        ahead: match number < spread {
                            true => next.wrapping_add(length / spread * number),
                            false => chunk_weights,
                        },
                        ahead_step: match number < spread {
                            true => PANEL * A::GROUP / spread,
                            false => 0,
                        },
                    };
                    number += 1;
                    done += count;
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
            chunk_weights = next;
        }
    }
}

/// How the weights of a panel are divided: into whole kernel rows, or each kernel row into parts.
#[derive(Clone, Copy)]
struct Chunks {
    kernel_rows: usize,
    groups: usize,
    /// Kernel rows of a chunk.
    rows: usize,
    /// Groups of a chunk; less than `groups` only if `rows` is 1.
    part: usize,
}

/// Kernel rows and groups of inputs in each that are summed at once.
#[derive(Clone, Copy)]
struct Chunk {
    row: usize,
    rows: usize,
    group: usize,
    groups: usize,
    is_first: bool,
    is_last: bool,
}

impl Chunks {
    /// Chunks of about `size` groups, all of almost the same size.
    #[inline(always)]
    fn of(kernel_rows: usize, groups: usize, size: usize) -> Self {
        let parts = groups.div_ceil(size);
        let rows = (size / groups).clamp(1, kernel_rows);
        Self {
            kernel_rows,
            groups,
            rows: kernel_rows.div_ceil(kernel_rows.div_ceil(rows)),
            part: groups.div_ceil(parts),
        }
    }

    #[inline(always)]
    fn is_single(self) -> bool {
        self.rows == self.kernel_rows && self.part == self.groups
    }

    #[inline(always)]
    fn iter(self) -> impl Iterator<Item = Chunk> {
        let Self {
            kernel_rows,
            groups,
            rows,
            part,
        } = self;
        (0..kernel_rows).step_by(rows).flat_map(move |row| {
            (0..groups).step_by(part).map(move |group| Chunk {
                row,
                rows: rows.min(kernel_rows - row),
                group,
                groups: part.min(groups - group),
                is_first: row == 0 && group == 0,
                is_last: row + rows >= kernel_rows && group + part >= groups,
            })
        })
    }
}

/// Asks for a cache line of weights before they are needed.
#[inline(always)]
fn prefetch<T>(weights: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: fetching ahead changes nothing, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(weights.cast());
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

/// The pixels of one block against a chunk of the weights of one or two vectors of channels.
struct Task<'a, Input, Weight, Sum> {
    geometry: &'a Geometry,
    input: *const Input,
    /// Of the chunk.
    weights: *const Weight,
    chunk: Chunk,
    first: usize,
    /// Where the block's sums wait for the panel's other chunks.
    waiting: *mut Sum,
    /// Weights to fetch ahead, and how much further with each group. There is nothing to ask first whether to fetch, which would
    /// cost more than fetching the same again.
    ahead: *const Weight,
    ahead_step: usize,
}

impl<Input, Weight, Sum> Task<'_, Input, Weight, Sum> {
    #[inline(always)]
    unsafe fn block<A, F, const PIXELS: usize, const VECTORS: usize>(
        &self,
        place: &mut Place,
        finish: &F,
    ) where
        A: Arithmetic<Input = Input, Weight = Weight, Sum = Sum>,
        F: Finish<A>,
        Sum: Copy,
    {
        let (geometry, chunk) = (self.geometry, self.chunk);
        let lanes = A::Float::LANES;
        let start = chunk.row * geometry.kernel_row + chunk.group * A::GROUP;
        let mut inputs = [self.input; PIXELS];
        let mut outputs = [0; PIXELS];
        for pixel in 0..PIXELS {
            inputs[pixel] = unsafe { self.input.add(place.input(geometry) + start) };
            outputs[pixel] = place.output(geometry);
            place.step(geometry);
        }
        let mut sums = [[unsafe { A::zero() }; VECTORS]; PIXELS];
        // Constant indices throughout: one that varies would send all sums through memory, at half the speed.
        if !chunk.is_first {
            each!(pixel < PIXELS {
                sums[pixel][0] = unsafe { self.waiting.add(2 * pixel).read() };
                if VECTORS == 2 {
                    sums[pixel][1] = unsafe { self.waiting.add(2 * pixel + 1).read() };
                }
            });
        }
        let mut weights = self.weights;
        let mut ahead = self.ahead;
        for _ in 0..chunk.rows {
            for group in 0..chunk.groups {
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
        if !chunk.is_last {
            each!(pixel < PIXELS {
                unsafe { self.waiting.add(2 * pixel).write(sums[pixel][0]) };
                if VECTORS == 2 {
                    unsafe { self.waiting.add(2 * pixel + 1).write(sums[pixel][1]) };
                }
            });
            return;
        }
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
