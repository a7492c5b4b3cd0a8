//! Maximum pooling, as torch's `MaxPool2d(ceil_mode=True)`.

use super::layers::Maps;
use crate::vision::fast::{block, blocks};
use crate::vision::native::instructions::Instructions;
use crate::vision::native::{Vectorised, run_vectorised};
use crate::vision::winograd::LANES;

/// Maximum over windows of `side` x `side`, 2 apart; windows may hang over the right and lower edge (torch's
/// `ceil_mode`), but each begins inside. At most 3 x 3, and at least 16
/// channels.
pub fn max_pool(instructions: Instructions, side: usize, input: &Maps, output: &mut Maps) {
    let outputs = |size: usize| (size.saturating_sub(side).div_ceil(2) + 1).min(size.div_ceil(2));
    let (height, width) = (outputs(input.height), outputs(input.width));
    output.resize([input.images, height, width, input.channels]);
    let pool = Pool {
        input,
        side,
        output,
    };
    run_vectorised(instructions, pool);
}

struct Pool<'a> {
    input: &'a Maps,
    side: usize,
    output: &'a mut Maps,
}

impl Vectorised for Pool<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self {
            input,
            side,
            output,
        } = self;
        let channels = input.channels;
        let row_length = input.width * channels;
        let (height, width) = (output.height, output.width);
        // What would hang over the edge, or is more than the side, repeats the last place inside.
        let window = |first: usize, size: usize| {
            let last = (first + side).min(size) - 1;
            std::array::from_fn(|place| (first + place).min(last))
        };
        // Down the columns first, whose pixels lie together.
        let mut columns = vec![0.0; row_length];
        let out_rows = output.values_mut().chunks_exact_mut(width * channels);
        for (number, out_row) in out_rows.enumerate() {
            let image = &input.values()[number / height * input.height * row_length..];
            let rows = window(number % height * 2, input.height).map(|row| row * row_length);
            for place in blocks(row_length) {
                let [a, b, c] = rows;
                let maxima = largest(image, [a + place, b + place, c + place]);
                columns[place..][..LANES].copy_from_slice(&maxima);
            }
            for (x, out) in out_row.chunks_exact_mut(channels).enumerate() {
                let pixels = window(x * 2, input.width).map(|pixel| pixel * channels);
                for place in blocks(channels) {
                    let [a, b, c] = pixels;
                    let maxima = largest(&columns, [a + place, b + place, c + place]);
                    out[place..][..LANES].copy_from_slice(&maxima);
                }
            }
        }
    }
}

/// The largest of the values in three blocks.
#[inline(always)]
fn largest(values: &[f32], [a, b, c]: [usize; 3]) -> [f32; LANES] {
    let (a, b, c) = (block(values, a), block(values, b), block(values, c));
    std::array::from_fn(|lane| a[lane].max(b[lane]).max(c[lane]))
}
