//! Matrix products of pixels' inputs with panels of weights: the loops around the micro kernel.

#[cfg(target_arch = "x86_64")]
pub mod amx;
mod epilogue;
mod k_blocks;
mod pixels;
mod shape;
mod tile;

use std::mem::MaybeUninit;

use self::epilogue::Epilogue;
pub use self::epilogue::{ByteOutput, ByteTarget, FloatOutput};
use self::k_blocks::KBlocks;
use self::pixels::PixelCursor;
pub use self::shape::{Geometry, Strides};
use self::tile::Tile;
use super::panels::PANEL;
use super::vectors::{Arithmetic, Float};

/// Tiles that share the prefetch of one K block at most.
const MAX_PREFETCH_SHARES: usize = 8;

/// Multiplies all pixels, in tiles of almost equal size, by one K block of a panel after the other. Partial sums wait
/// in memory between the K blocks of a panel.
///
/// # Safety
/// The processor must have the vectors, and the geometry must have been checked against the buffers' lengths.
#[inline(always)]
pub unsafe fn multiply<A: Arithmetic, E: Epilogue<A>>(
    geometry: &Geometry,
    input: *const A::Input,
    weights: *const A::Weight,
    epilogue: &mut E,
) {
    let lanes = A::Float::LANES;
    let pixels = geometry.pixels();
    let tiles = pixels.div_ceil(A::TILE_PIXELS);
    let (size, larger) = (pixels / tiles, pixels % tiles);
    let groups = geometry.run.div_ceil(A::GROUP);
    let blocks = KBlocks::of(geometry.kernel_rows, groups, A::K_BLOCK);
    let partial_length = if blocks.is_single() {
        0
    } else {
        pixels * (PANEL / lanes)
    };
    let mut partial_sums: Vec<MaybeUninit<A::Sum>> = Vec::with_capacity(partial_length);
    let partial_sums = partial_sums.as_mut_ptr().cast::<A::Sum>();
    let mut block_weights = weights;
    for panel in (0..geometry.outputs).step_by(PANEL) {
        let channels = panel..geometry.outputs.min(panel + PANEL);
        for block in blocks.iter() {
            let length = block.rows * block.groups * PANEL * A::GROUP;
            let next = block_weights.wrapping_add(length);
            // The tiles share the prefetch of the next weights, which may be in no cache yet.
            let shares = (tiles * channels.len().div_ceil(2 * lanes)).min(MAX_PREFETCH_SHARES);
            let mut number = 0;
            for channel in channels.clone().step_by(2 * lanes) {
                let mut cursor = PixelCursor::default();
                let mut done = 0;
                for index in 0..tiles {
                    let count = size + usize::from(index < larger);
                    let (ahead, ahead_step) = match number < shares {
                        true => (
                            next.wrapping_add(length / shares * number),
                            PANEL * A::GROUP / shares,
                        ),
                        false => (block_weights, 0),
                    };
                    let tile = Tile {
                        geometry,
                        input,
                        weights: unsafe { block_weights.add(channel % PANEL * A::GROUP) },
                        block,
                        channel,
                        partial_sums: partial_sums
                            .wrapping_add(channel % PANEL / lanes * pixels + 2 * done),
                        ahead,
                        ahead_step,
                    };
                    number += 1;
                    done += count;
                    macro_rules! run {
                        ($($pixels:literal)*) => {
                            match count {
                                $($pixels if $pixels <= A::TILE_PIXELS => unsafe {
                                    if geometry.outputs - channel > lanes {
                                        tile.run::<A, E, $pixels, 2>(&mut cursor, epilogue)
                                    } else {
                                        tile.run::<A, E, $pixels, 1>(&mut cursor, epilogue)
                                    }
                                })*
                                _ => unreachable!("tiles have 1 to 12 pixels"),
                            }
                        };
                    }
                    run!(1 2 3 4 5 6 7 8 9 10 11 12);
                }
            }
            block_weights = next;
        }
    }
}
