//! Byte convolutions by AMX: tiles of 16 rows of 64 bytes, and an instruction that multiplies two of them ("Intel
//! Architecture Instruction Set Extensions Programming Reference", chapter 3). It does eight times the work of a VNNI
//! instruction.
//!
//! A block is 32 pixels by one panel of 32 output channels, in four tiles of sums. Rust has no stable intrinsics for
//! tiles, hence the assembly. The tiles' state never outlives one call of [`multiply`].

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _MM_HINT_T1, _mm_prefetch, _mm512_loadu_si512};

use super::super::convolve::Geometry;
use super::super::panels::PANEL;
use super::super::vectors::x86::Vnni512;
use super::epilogue::{ByteEpilogue, Epilogue};
use super::pixels::PixelCursor;

/// Bytes of a tile's row: inputs that one step takes together.
const ROW_BYTES: usize = 64;
/// Rows of a tile.
const ROWS: usize = 16;
/// Pixels of a block: two tiles.
const PIXELS: usize = 2 * ROWS;
/// Inputs that lie together in the weights.
const GROUP: usize = 4;
/// Bytes of one panel's weights for one step.
const PANEL_STEP: usize = ROW_BYTES * PANEL;
/// Bytes of the im2col matrix at a time, which fit into a core's second-level cache.
const IM2COL_BYTES: usize = 256 << 10;

/// Returns whether the processor has tiles of bytes and the system lets this process use them.
pub fn is_usable() -> bool {
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    let features = __cpuid_count(7, 0).edx;
    features & AMX_TILE != 0 && features & AMX_INT8 != 0 && is_permitted()
}

/// Asks Linux for permission, which it wants since tiles enlarge each thread's saved state.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    // From Linux's arch/x86/include/uapi/asm/prctl.h and asm/fpu/types.h.
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        ) == 0
    }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// The shapes of the eight tiles, as LDTILECFG reads them.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl TileConfig {
    /// Sums in tiles 0 to 3, inputs in 4 and 5, weights in 6 and 7.
    fn new(pixels: usize) -> Self {
        let upper = pixels.min(ROWS) as u8;
        let lower = (pixels.saturating_sub(ROWS).max(1)) as u8;
        let mut config = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        config.row_bytes[..8].fill(ROW_BYTES as u16);
        config.rows[..8].copy_from_slice(&[
            upper, upper, lower, lower, upper, lower, ROWS as u8, ROWS as u8,
        ]);
        config
    }
}

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
    epilogue: &ByteEpilogue,
) {
    let pixels = geometry.pixels();
    let block = pixels.min(PIXELS);
    let config = TileConfig::new(block);
    // SAFETY: the config is one that LDTILECFG takes.
    unsafe { asm!("ldtilecfg [{config}]", config = in(reg) &raw const config, options(nostack)) };
    let product = Product {
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
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
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
            unsafe {
                std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), geometry.run);
            }
            from = from.wrapping_add(geometry.kernel_row);
        }
        cursor.step(geometry);
    }
}

/// The product of rows of inputs with panels of weights.
struct Product<'a> {
    geometry: &'a Geometry,
    weights: *const i8,
    epilogue: &'a ByteEpilogue,
    /// Pixels that the tiles are set for.
    block: usize,
}

/// The weights of one panel: whole steps where they lie, and a copy of the tail, padded with zeros.
struct Panel {
    weights: *const i8,
    steps: usize,
    tail: Option<Tail>,
}

#[repr(C, align(64))]
struct Tail([i8; PANEL_STEP]);

#[repr(C, align(64))]
struct Sums([i32; PIXELS * PANEL]);

impl Product<'_> {
    /// Multiplies `count` pixels from `first` on, whose inputs are the matrix's first rows.
    #[inline(always)]
    unsafe fn run(&self, matrix: Matrix, first: usize, count: usize) {
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
                unsafe {
                    block(
                        inputs,
                        matrix.stride,
                        &panel,
                        self.block,
                        pixel == 0,
                        &mut sums,
                    )
                };
                let end = count.min(pixel + PIXELS);
                unsafe { self.store(&sums, first + start, pixel - start..end - start, channel) };
            }
        }
    }

    /// Turns the sums of the rows `rows`, whose first row is pixel `first`, into results.
    #[inline(always)]
    unsafe fn store(
        &self,
        sums: &Sums,
        first: usize,
        rows: std::ops::Range<usize>,
        channel: usize,
    ) {
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

/// Computes the sums of one block: up to 32 rows of inputs times one panel.
#[inline(always)]
unsafe fn block(
    inputs: *const u8,
    stride: usize,
    panel: &Panel,
    pixels: usize,
    prefetches: bool,
    sums: &mut Sums,
) {
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            options(nostack, nomem)
        )
    };
    let ahead = panel.weights.wrapping_add(panel.steps * PANEL_STEP);
    for step in 0..panel.steps {
        unsafe {
            if prefetches {
                for line in (0..PANEL_STEP).step_by(ROW_BYTES) {
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(step * PANEL_STEP + line));
                }
            }
            let weights = panel.weights.add(step * PANEL_STEP);
            accumulate(inputs.add(step * ROW_BYTES), stride, weights, pixels);
        }
    }
    if let Some(tail) = &panel.tail {
        let inputs = inputs.wrapping_add(panel.steps * ROW_BYTES);
        unsafe { accumulate(inputs, stride, tail.0.as_ptr(), pixels) };
    }
    // SAFETY: the sums have room for four whole tiles.
    unsafe {
        asm!(
            "tilestored [{sums} + {stride} * 1], tmm0",
            "tilestored [{sums} + {stride} * 1 + 64], tmm1",
            "tilestored [{sums} + {stride} * 1 + 2048], tmm2",
            "tilestored [{sums} + {stride} * 1 + 2112], tmm3",
            sums = in(reg) sums.0.as_mut_ptr(),
            stride = in(reg) PANEL * size_of::<i32>(),
            options(nostack),
        );
    }
}

/// Adds the products of one step.
#[inline(always)]
unsafe fn accumulate(inputs: *const u8, stride: usize, weights: *const i8, pixels: usize) {
    unsafe {
        if pixels > ROWS {
            asm!(
                "tileloadd tmm4, [{upper} + {stride} * 1]",
                "tileloadd tmm6, [{weights} + {row} * 1]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{weights} + {row} * 1 + 64]",
                "tdpbusd tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{lower} + {stride} * 1]",
                "tdpbusd tmm2, tmm5, tmm6",
                "tdpbusd tmm3, tmm5, tmm7",
                upper = in(reg) inputs,
                lower = in(reg) inputs.add(ROWS * stride),
                stride = in(reg) stride,
                weights = in(reg) weights,
                row = in(reg) PANEL * GROUP,
                options(nostack, readonly),
            );
        } else {
            asm!(
                "tileloadd tmm4, [{inputs} + {stride} * 1]",
                "tileloadd tmm6, [{weights} + {row} * 1]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{weights} + {row} * 1 + 64]",
                "tdpbusd tmm1, tmm4, tmm7",
                inputs = in(reg) inputs,
                stride = in(reg) stride,
                weights = in(reg) weights,
                row = in(reg) PANEL * GROUP,
                options(nostack, readonly),
            );
        }
    }
}
