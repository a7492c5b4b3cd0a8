//! Convolution as one loop over blocks of pixels and panels of output channels, for every kind of processor.
//!
//! Activations are rows of pixels of channels, so the inputs under one kernel row lie together: a kernel row is one run
//! of `width * channels` values, and a convolution sums `kernel rows` such runs for each output.

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::vectors::{Arithmetic, Float, Floats, Portable, PortableBytes};
use crate::vision::panels::{PANEL, panels};

/// Instructions to compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// Whatever the compiler makes of plain Rust.
    Portable,
    /// AVX2 with fused multiply-add; bytes in plain Rust.
    Avx2,
    /// AVX2, and bytes by AVX-VNNI.
    AvxVnni,
    /// AVX-512; bytes in plain Rust.
    Avx512,
    /// AVX-512, and bytes by VNNI.
    Avx512Vnni,
    /// AVX-512, and bytes by AMX.
    Amx,
}

impl Instructions {
    /// The best that this processor has.
    pub fn best() -> Self {
        *Self::available().last().expect("plain Rust runs anywhere")
    }

    /// All that this processor has, the best one last.
    pub fn available() -> &'static [Self] {
        static AVAILABLE: std::sync::OnceLock<Vec<Instructions>> = std::sync::OnceLock::new();
        AVAILABLE.get_or_init(|| {
            #[allow(unused_mut, reason = "other processors have plain Rust only")]
            let mut available = vec![Self::Portable];
            #[cfg(target_arch = "x86_64")]
            {
                let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
                let avx512 = avx2
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl");
                available.extend(avx2.then_some(Self::Avx2));
                available
                    .extend((avx2 && is_x86_feature_detected!("avxvnni")).then_some(Self::AvxVnni));
                available.extend(avx512.then_some(Self::Avx512));
                let vnni = avx512 && is_x86_feature_detected!("avx512vnni");
                available.extend(vnni.then_some(Self::Avx512Vnni));
                available.extend((vnni && amx::is_usable()).then_some(Self::Amx));
            }
            available
        })
    }

    /// Whether bytes are several times as fast as float32.
    pub fn has_fast_bytes(self) -> bool {
        matches!(self, Self::AvxVnni | Self::Avx512Vnni | Self::Amx)
    }
}

/// Distances between neighbouring images, rows and pixels in a buffer, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    pub image: usize,
    pub row: usize,
    pub pixel: usize,
}

impl Strides {
    fn offset(&self, image: usize, row: usize, pixel: usize) -> usize {
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
/// Panics if a slice is too short for the geometry.
pub fn convolve(
    instructions: Instructions,
    geometry: &Geometry,
    input: &[f32],
    weights: &[f32],
    output: &mut FloatOutput<'_>,
) {
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
    // SAFETY: the lengths were checked, and `Instructions` are only made of what the processor has.
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
/// Panics if a slice is too short for the geometry.
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
    // SAFETY: the lengths were checked, and `Instructions` are only made of what the processor has.
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

    use super::super::x86::{Vnni256, Vnni512};
    use super::{ByteFinish, FloatFinish, Floats, Geometry, sweep};

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

/// Turns the sums of one pixel, from output channel `channel` on, into results.
pub(super) trait Finish<A: Arithmetic> {
    unsafe fn store(&self, sum: A::Sum, channel: usize, output: usize, count: usize);
}

struct FloatFinish {
    bias: *const f32,
    slopes: *const f32,
    accumulate: bool,
    values: *mut f32,
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
    factors: *const f32,
    offsets: *const f32,
    target: RawTarget,
}

#[derive(Clone, Copy)]
enum RawTarget {
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
unsafe fn sweep<A: Arithmetic, F: Finish<A>>(
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
