//! Maximum pooling, as torch's `MaxPool2d(ceil_mode=True)`.

use super::layers::Map;
use crate::vision::native::{Vectorised, run_vectorised};

/// Maximum over windows of `side` x `side`, `stride` apart; windows may hang over the right and lower edge (torch's
/// `ceil_mode`).
pub fn max_pool(input: &Map, side: usize, stride: usize) -> Map {
    let outputs = |size: usize| {
        let count = (size.saturating_sub(side)).div_ceil(stride) + 1;
        // The last window must begin inside the map.
        if (count - 1) * stride >= size {
            count - 1
        } else {
            count
        }
    };
    let (height, width) = (outputs(input.height), outputs(input.width));
    let mut values = vec![f32::NEG_INFINITY; height * width * input.channels];
    run_vectorised(Pool {
        input,
        side,
        stride,
        width,
        out: &mut values,
    });
    Map {
        height,
        width,
        channels: input.channels,
        values,
    }
}

struct Pool<'a> {
    input: &'a Map,
    side: usize,
    stride: usize,
    width: usize,
    out: &'a mut [f32],
}

impl Vectorised for Pool<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self {
            input,
            side,
            stride,
            width,
            out,
        } = self;
        let channels = input.channels;
        for (y, out_row) in out.chunks_exact_mut(width * channels).enumerate() {
            for row in y * stride..(y * stride + side).min(input.height) {
                let row = &input.values[row * input.width * channels..][..input.width * channels];
                for (x, maximum) in out_row.chunks_exact_mut(channels).enumerate() {
                    let end = (x * stride + side).min(input.width);
                    for pixel in row[x * stride * channels..end * channels].chunks_exact(channels) {
                        for (maximum, &value) in maximum.iter_mut().zip(pixel) {
                            *maximum = if value > *maximum { value } else { *maximum };
                        }
                    }
                }
            }
        }
    }
}
