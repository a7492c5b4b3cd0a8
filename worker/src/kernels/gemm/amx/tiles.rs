//! AMX's tiles ("Intel Architecture Instruction Set Extensions Programming Reference", chapter 3). Rust has no stable
//! intrinsics for them, hence the assembly.
//!
//! A block is 32 pixels by one panel of 32 output channels, in four tiles of sums.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _MM_HINT_T1, _mm_prefetch};

use super::super::super::panels::PANEL;

/// Bytes of a tile's row: inputs that one step takes together.
pub const ROW_BYTES: usize = 64;
/// Rows of a tile.
const ROWS: usize = 16;
/// Pixels of a block: two tiles.
pub const PIXELS: usize = 2 * ROWS;
/// Inputs that lie together in the weights.
pub const GROUP: usize = 4;
/// Bytes of one panel's weights for one step.
pub const PANEL_STEP: usize = ROW_BYTES * PANEL;

/// Returns whether the processor has tiles of bytes and the system lets this process use them.
pub fn is_usable() -> bool {
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    let features = __cpuid_count(7, 0).edx;
    features & AMX_TILE != 0 && features & AMX_INT8 != 0 && is_permitted()
}

/// Asks Linux for permission, since tiles enlarge the state that it saves of each thread.
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
pub struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl TileConfig {
    /// Sums in tiles 0 to 3, inputs in 4 and 5, weights in 6 and 7.
    pub fn new(pixels: usize) -> Self {
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

    /// Sets the tiles' shapes until [`Self::release`].
    ///
    /// # Safety
    /// Tiles must be usable.
    #[inline(always)]
    pub unsafe fn load(&self) {
        unsafe {
            asm!("ldtilecfg [{config}]", config = in(reg) std::ptr::from_ref(self), options(nostack))
        };
    }

    /// # Safety
    /// Tiles must be usable.
    #[inline(always)]
    pub unsafe fn release() {
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// The weights of one panel: whole steps where they lie, and a copy of the tail, padded with zeros.
pub struct Panel {
    pub weights: *const i8,
    pub steps: usize,
    pub tail: Option<Tail>,
}

#[repr(C, align(64))]
pub struct Tail(pub [i8; PANEL_STEP]);

#[repr(C, align(64))]
pub struct Sums(pub [i32; PIXELS * PANEL]);

/// Computes the sums of one block: up to 32 rows of inputs times one panel.
#[inline(always)]
pub unsafe fn multiply_block(
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
