//! Maximum pooling, as torch's `MaxPool2d(ceil_mode=True)`.

use super::layers::Maps;
use crate::vision::native::{Vectorised, run_vectorised};

/// Maximum over windows of `side` x `side`, 2 apart; windows may hang over the right and lower edge (torch's
/// `ceil_mode`), but each begins inside.
pub fn max_pool(side: usize, input: &Maps, output: &mut Maps) {
    let outputs = |size: usize| (size.saturating_sub(side).div_ceil(2) + 1).min(size.div_ceil(2));
    let (height, width) = (outputs(input.height), outputs(input.width));
    output.resize([input.images, height, width, input.channels]);
    run_vectorised(Pool {
        input,
        side,
        output,
    });
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
        let out_row_length = output.width * channels;
        let height = output.height;
        // Down the columns first, whose pixels lie together.
        let mut columns = vec![0.0; row_length];
        let out_rows = output.values_mut().chunks_exact_mut(out_row_length);
        for (number, out_row) in out_rows.enumerate() {
            let (image, y) = (number / height, number % height * 2);
            let first = image * input.height + y;
            let count = side.min(input.height - y);
            let mut rows = input.values()[first * row_length..][..count * row_length]
                .chunks_exact(row_length);
            columns.copy_from_slice(rows.next().expect("a window begins inside"));
            rows.for_each(|row| raise(&mut columns, row));
            for (x, maximum) in out_row.chunks_exact_mut(channels).enumerate() {
                let end = (x * 2 + side).min(input.width) * channels;
                let mut pixels = columns[x * 2 * channels..end].chunks_exact(channels);
                maximum.copy_from_slice(pixels.next().expect("a window begins inside"));
                pixels.for_each(|pixel| raise(maximum, pixel));
            }
        }
    }
}

#[inline(always)]
fn raise(maxima: &mut [f32], values: &[f32]) {
    for (maximum, &value) in maxima.iter_mut().zip(values) {
        *maximum = if value > *maximum { value } else { *maximum };
    }
}
