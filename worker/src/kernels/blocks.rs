//! Blocks of sixteen neighboring values, which the compiler turns into vectors.

pub const LANES: usize = 16;

/// Returns the starts of blocks that cover `length` values, at least [`LANES`]. The last block overlaps the one before.
#[inline(always)]
pub fn starts(length: usize) -> impl Iterator<Item = usize> {
    (0..length)
        .step_by(LANES)
        .map(move |start| start.min(length - LANES))
}

/// Returns the block at `start`.
#[inline(always)]
pub fn block<T>(values: &[T], start: usize) -> &[T; LANES] {
    values[start..].first_chunk().expect("a block lies inside")
}
