//! Maximum pools of floats and of bytes, with windows of 2x2 or 3x3, 2 apart.

use super::blocks::{LANES, block, starts};
use super::dispatch::{Kernel, run};
use super::instructions::Instructions;
use super::vectors::Float;

/// The shapes of one image's pool. Rows of the input and of the output follow each other without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolGeometry {
    /// Of a window: 2 or 3.
    pub side: usize,
    /// Of the input. Windows begin inside, and are cut at the right and lower edge.
    pub height: usize,
    pub width: usize,
    /// At least 16.
    pub channels: usize,
    /// Of the output.
    pub output_height: usize,
    pub output_width: usize,
    /// Elements from one output pixel to the next.
    pub output_pixel: usize,
}

/// Writes the maxima of an image's windows, from the start of `maxima` on.
///
/// Panics if a slice is too short for the geometry, or if the processor lacks the instructions.
pub fn max_pool<T: Copy + Default + PartialOrd>(
    instructions: Instructions,
    geometry: PoolGeometry,
    values: &[T],
    maxima: &mut [T],
) {
    let pool = Pool {
        geometry,
        values,
        maxima,
    };
    run(instructions, pool);
}

struct Pool<'a, T> {
    geometry: PoolGeometry,
    values: &'a [T],
    maxima: &'a mut [T],
}

impl<T: Copy + Default + PartialOrd> Kernel for Pool<'_, T> {
    #[inline(always)]
    fn run<F: Float>(self) {
        let PoolGeometry {
            side,
            height,
            width,
            channels,
            output_height,
            output_width,
            output_pixel,
        } = self.geometry;
        let row_length = width * channels;
        // Places beyond the window or the edge repeat the last one inside.
        let window = |first: usize, size: usize| {
            let last = (first + side).min(size) - 1;
            std::array::from_fn(|place| (first + place).min(last))
        };
        // Down the columns first, whose pixels lie together.
        let mut columns = vec![T::default(); row_length];
        for y in 0..output_height {
            let rows = window(2 * y, height).map(|row| row * row_length);
            for start in starts(row_length) {
                let maxima = largest(self.values, rows.map(|row| row + start));
                columns[start..][..LANES].copy_from_slice(&maxima);
            }
            for x in 0..output_width {
                let pixels = window(2 * x, width).map(|pixel| pixel * channels);
                let output = &mut self.maxima[(y * output_width + x) * output_pixel..][..channels];
                for start in starts(channels) {
                    let maxima = largest(&columns, pixels.map(|pixel| pixel + start));
                    output[start..][..LANES].copy_from_slice(&maxima);
                }
            }
        }
    }
}

/// Returns the largest of the values in three blocks.
#[inline(always)]
fn largest<T: Copy + PartialOrd>(values: &[T], [a, b, c]: [usize; 3]) -> [T; LANES] {
    // One instruction, unlike `f32::max`, which handles NaN.
    let larger = |a: T, b: T| if a > b { a } else { b };
    let (a, b, c) = (block(values, a), block(values, b), block(values, c));
    std::array::from_fn(|lane| larger(larger(a[lane], b[lane]), c[lane]))
}
