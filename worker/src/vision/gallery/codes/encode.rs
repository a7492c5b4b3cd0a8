//! Encodes float32 rows, to the same bits on every processor: single IEEE operations in a fixed order.

use super::margins::{LENGTH_MARGIN, UNDERFLOW, is_codable, largest_magnitude, norm_of};
use crate::kernels::code_dots::{CODE_GROUP, CodeGroup, LANES};
use crate::kernels::{Float, Instructions, Kernel, run};

/// Bytes of sixteen scales, squared norms and distances between row and code, in float32.
pub const HEADER: usize = 3 * 4 * LANES;

/// Encodes rows into blocks of zeros.
pub fn encode<'a>(rows: &[f32], dimension: usize, blocks: impl Iterator<Item = &'a mut [u8]>) {
    for (rows, block) in rows.chunks(LANES * dimension).zip(blocks) {
        for (lane, row) in rows.chunks_exact(dimension).enumerate() {
            encode_row(row, block, lane);
        }
    }
}

/// Encodes one row into its lane of a block.
pub fn encode_row(row: &[f32], block: &mut [u8], lane: usize) {
    run(Instructions::best(), EncodeRow { row, block, lane });
}

struct EncodeRow<'a> {
    row: &'a [f32],
    block: &'a mut [u8],
    lane: usize,
}

impl Kernel for EncodeRow<'_> {
    #[inline(always)]
    fn run<F: Float>(self) {
        let Self { row, block, lane } = self;
        let (header, codes) = block.split_at_mut(HEADER);
        let (codes, _) = codes.as_chunks_mut::<{ size_of::<CodeGroup>() }>();
        let largest = largest_magnitude(row);
        let [scale, norm, error] = if is_codable(largest) {
            let scale = largest / 15.0;
            let mut sums = RowSums::default();
            let (groups, rest) = row.as_chunks();
            for (group, codes) in groups.iter().zip(codes.iter_mut()) {
                sums.encode(group, scale, &mut codes.as_chunks_mut().0[lane]);
            }
            let mut squares = sums.squares;
            if let (false, Some(codes)) = (rest.is_empty(), codes.last_mut()) {
                // The padding has an exact code, whose square is not counted.
                let mut group = [scale; CODE_GROUP];
                group[..rest.len()].copy_from_slice(rest);
                sums.encode(&group, scale, &mut codes.as_chunks_mut().0[lane]);
                squares = sums.squares;
                squares[rest.len()..]
                    .iter_mut()
                    .for_each(|square| *square -= 1);
            }
            let error = sums.errors.iter().sum::<f64>().sqrt();
            let error = (error * LENGTH_MARGIN + UNDERFLOW) as f32;
            [
                scale,
                norm_of(scale, f64::from(squares.iter().sum::<i32>())),
                error,
            ]
        } else {
            [0.0, 0.0, f32::INFINITY]
        };
        let words = header.as_chunks_mut().0;
        words[lane] = scale.to_le_bytes();
        words[LANES + lane] = norm.to_le_bytes();
        words[2 * LANES + lane] = error.to_le_bytes();
    }
}

/// Sums over a row, eight of each for the compiler's vectors.
#[derive(Default)]
struct RowSums {
    /// Of (x - x')².
    errors: [f64; CODE_GROUP],
    /// Of (2u - 15)².
    squares: [i32; CODE_GROUP],
}

impl RowSums {
    /// Encodes eight numbers of a row.
    #[inline(always)]
    fn encode(&mut self, values: &[f32; CODE_GROUP], scale: f32, bytes: &mut [u8; CODE_GROUP / 2]) {
        let per_step = 0.5 / scale;
        let mut codes = [0; CODE_GROUP];
        for index in 0..CODE_GROUP {
            // NaN in a row of zeros, which becomes code 0. The scale decodes that to zero.
            let step = values[index] * per_step + 7.5;
            let step = if step > 0.0 { step } else { 0.0 };
            let step = if step < 15.0 { step } else { 15.0 };
            // Adding 2^23 rounds, and leaves the whole number in the last bits. The rules of a cast for numbers that do
            // not fit would keep it from becoming vector instructions.
            let code = (step + (1 << 23) as f32).to_bits() & 15;
            let doubled = 2 * code.cast_signed() - 15;
            let error = f64::from(values[index]) - f64::from(scale) * f64::from(doubled);
            self.errors[index] += error * error;
            self.squares[index] += doubled * doubled;
            codes[index] = code as u8;
        }
        for index in 0..CODE_GROUP / 2 {
            bytes[index] = codes[index] | codes[index + CODE_GROUP / 2] << 4;
        }
    }
}
