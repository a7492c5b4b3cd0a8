//! The 3x3 maximum pool, 2 apart, of floats and of bytes.

use super::architecture::Buffer;
use crate::vision::native::instructions::Instructions;
use crate::vision::native::{Vectorised, run_vectorised};

/// Writes the maxima of one image into the output's channels from `channel` on. Neither buffer has a margin.
pub fn max_pool<T: Copy + PartialOrd>(
    instructions: Instructions,
    [input, output]: [&Buffer; 2],
    image: usize,
    channel: usize,
    values: &[T],
    maxima: &mut [T],
) {
    let pool = Pool {
        shapes: [input, output],
        channel,
        values: &values[input.start(image)..],
        maxima: &mut maxima[output.start(image)..],
    };
    run_vectorised(instructions, pool);
}

struct Pool<'a, T> {
    shapes: [&'a Buffer; 2],
    channel: usize,
    values: &'a [T],
    maxima: &'a mut [T],
}

impl<T: Copy + PartialOrd> Vectorised for Pool<'_, T> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let [input, output] = self.shapes;
        let channels = input.channels;
        for y in 0..output.height {
            for x in 0..output.width {
                let window = 2 * y * input.row() + 2 * x * channels;
                let start = y * output.row() + x * output.channels + self.channel;
                let maxima = &mut self.maxima[start..start + channels];
                maxima.copy_from_slice(&self.values[window..window + channels]);
                for place in 1..9 {
                    let start = window + place / 3 * input.row() + place % 3 * channels;
                    for (maximum, &value) in
                        maxima.iter_mut().zip(&self.values[start..start + channels])
                    {
                        *maximum = if value > *maximum { value } else { *maximum };
                    }
                }
            }
        }
    }
}
