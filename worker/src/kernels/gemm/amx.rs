//! Byte convolutions by AMX: tiles of 16 rows of 64 bytes, and an instruction that multiplies two of them. It does eight
//! times the work of a VNNI instruction. Blocks of pixels are gathered into an im2col matrix unless they lie as one.

mod tiles;

use std::ops::Range;

use std::arch::x86_64::_mm512_loadu_si512;

pub use self::tiles::is_usable;
use self::tiles::{
    GROUP, PANEL_STEP, PIXELS, Panel, ROW_BYTES, Sums, Tail, TileConfig, multiply_block,
};
use super::super::panels::PANEL;
use super::super::vectors::x86::Vnni512;
use super::epilogue::{ByteOutput, Epilogue};
use super::pixels::PixelCursor;
use super::shape::Geometry;

/// Bytes of the im2col matrix at a time, which fit into a core's second-level cache.
const IM2COL_BYTES: usize = 256 << 10;

/// The im2col matrix: one row of inputs for each pixel.
#[derive(Clone, Copy)]
struct Matrix {
    start: *const u8,
    /// Bytes from one row to the next.
    stride: usize,
    /// Rows that may be read.
    rows: usize,
}

/// See [`super::super::convolve::convolve_bytes`].
///
/// # Safety
/// Tiles must be usable, and the geometry must have been checked against the lengths of what the pointers point to.
#[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub unsafe fn multiply(
    geometry: &Geometry,
    input: *const u8,
    weights: *const i8,
    epilogue: &mut ByteOutput<'_>,
) {
    let pixels = geometry.pixels();
    let block = pixels.min(PIXELS);
    // SAFETY: tiles are usable.
    unsafe { TileConfig::new(block).load() };
    let mut product = Product {
        geometry,
        weights,
        epilogue,
        block,
    };
    if let Some(stride) = geometry
        .matrix_stride()
        .filter(|_| geometry.run.is_multiple_of(ROW_BYTES))
    {
        let matrix = Matrix {
            start: input,
            stride,
            rows: pixels,
        };
        // SAFETY: the pixels' inputs are such a matrix.
        unsafe { product.run(matrix, 0, pixels) };
    } else {
        let stride = geometry.taps(GROUP).next_multiple_of(ROW_BYTES);
        let at_once = (IM2COL_BYTES / stride).next_multiple_of(PIXELS);
        let mut rows = vec![0; at_once.min(pixels.next_multiple_of(PIXELS)) * stride];
        let matrix = Matrix {
            start: rows.as_ptr(),
            stride,
            rows: rows.len() / stride,
        };
        for first in (0..pixels).step_by(at_once) {
            let count = at_once.min(pixels - first);
            // SAFETY: the caller checked the geometry, and `rows` has room for as many pixels.
            unsafe {
                im2col(geometry, input, first, &mut rows[..count * stride], stride);
                product.run(matrix, first, count);
            }
        }
    }
    // SAFETY: nothing reads the tiles any more.
    unsafe { TileConfig::release() };
}

/// Copies the inputs of the pixels from `first` on into rows of `stride` bytes, in the order of the weights. Padding
/// stays zero.
#[inline(always)]
unsafe fn im2col(
    geometry: &Geometry,
    input: *const u8,
    first: usize,
    rows: &mut [u8],
    stride: usize,
) {
    let padded = geometry.run.next_multiple_of(GROUP);
    let mut cursor = PixelCursor::new(geometry, first);
    for row in rows.chunks_exact_mut(stride) {
        let mut from = unsafe { input.add(cursor.input(geometry)) };
        for to in row.chunks_exact_mut(padded).take(geometry.kernel_rows) {
            unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), geometry.run) };
            from = from.wrapping_add(geometry.kernel_row);
        }
        cursor.step(geometry);
    }
}

/// The product of rows of inputs with panels of weights.
struct Product<'a, 'b> {
    geometry: &'a Geometry,
    weights: *const i8,
    epilogue: &'a mut ByteOutput<'b>,
    /// Pixels that the tiles are set for.
    block: usize,
}

impl Product<'_, '_> {
    /// Multiplies `count` pixels from `first` on, whose inputs are the matrix's first rows.
    #[inline(always)]
    unsafe fn run(&mut self, matrix: Matrix, first: usize, count: usize) {
        let taps = self.geometry.taps(GROUP);
        let mut sums = Sums([0; PIXELS * PANEL]);
        for (index, channel) in (0..self.geometry.outputs).step_by(PANEL).enumerate() {
            let weights = unsafe { self.weights.add(index * taps * PANEL) };
            let left = taps % ROW_BYTES;
            let tail = (left > 0).then(|| {
                let mut tail = Tail([0; PANEL_STEP]);
                let from = weights.wrapping_add((taps - left) * PANEL);
                unsafe { std::ptr::copy_nonoverlapping(from, tail.0.as_mut_ptr(), left * PANEL) };
                tail
            });
            let panel = Panel {
                weights,
                steps: taps / ROW_BYTES,
                tail,
            };
            for pixel in (0..count).step_by(PIXELS) {
                // A block that would reach beyond the matrix starts earlier and repeats some pixels.
                let start = pixel.min(matrix.rows - self.block);
                let inputs = unsafe { matrix.start.add(start * matrix.stride) };
                // The first block also prefetches the next panel, which may be in no cache yet.
                let prefetches = pixel == 0;
                let end = count.min(pixel + PIXELS);
                unsafe {
                    multiply_block(
                        inputs,
                        matrix.stride,
                        &panel,
                        self.block,
                        prefetches,
                        &mut sums,
                    );
                    self.store(&sums, first + start, pixel - start..end - start, channel);
                }
            }
        }
    }

    /// Turns the sums of the rows `rows`, whose first row is pixel `first`, into results.
    #[inline(always)]
    unsafe fn store(&mut self, sums: &Sums, first: usize, rows: Range<usize>, channel: usize) {
        let geometry = self.geometry;
        let mut cursor = PixelCursor::new(geometry, first + rows.start);
        for row in rows {
            for half in [0, PANEL / 2] {
                let channel = channel + half;
                if channel < geometry.outputs {
                    let count = (PANEL / 2).min(geometry.outputs - channel);
                    let output = cursor.output(geometry) + channel;
                    unsafe {
                        let sum = _mm512_loadu_si512(sums.0[row * PANEL + half..].as_ptr().cast());
                        Epilogue::<Vnni512>::store(self.epilogue, sum, channel, output, count);
                    }
                }
            }
            cursor.step(geometry);
        }
    }
}
