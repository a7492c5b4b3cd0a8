//! The margins by which distances between codes err on the safe side, and the numbers that codes can stand for.

use std::ops::RangeInclusive;

use crate::kernels::code_dots::LANES;

/// Largest absolute values for which no product leaves float32's normal range. Other rows are never ruled out.
const CODABLE: RangeInclusive<f32> = 1e-15..=1e15;
/// Relative margin of the squared distance between codes: about ten roundings of 2^-24 each.
const NORM_MARGIN: f64 = 1.0 / (1u64 << 19) as f64;
/// Factor on lengths, for the roundings of computing, adding and squaring them.
pub const LENGTH_MARGIN: f64 = 1.0 + 1.0 / (1u64 << 20) as f64;
/// More than the sum of squares that underflow.
pub const UNDERFLOW: f64 = 1e-37;

/// Returns the squared length of a code, less the margin for all roundings of a squared distance.
pub fn norm_of(scale: f32, squares: f64) -> f32 {
    (f64::from(scale).powi(2) * squares * (1.0 - NORM_MARGIN)) as f32
}

pub fn is_codable(largest: f32) -> bool {
    largest == 0.0 || CODABLE.contains(&largest)
}

/// Returns the largest absolute value; NaN may be overlooked.
#[inline(always)]
pub fn largest_magnitude(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut largest = [0.0f32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            let magnitude = chunk[lane].abs();
            largest[lane] = if magnitude > largest[lane] {
                magnitude
            } else {
                largest[lane]
            };
        }
    }
    let largest = largest
        .into_iter()
        .chain(rest.iter().map(|value| value.abs()));
    largest.fold(0.0, f32::max)
}
