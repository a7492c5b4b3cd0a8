//! Rows as 4-bit codes, an eighth of their size in float32. The codes rule out almost every row as the nearest, so that
//! a search reads few rows. It takes 2.5 to 7 ms among a million rows, where a scan of all of them would take perhaps
//! 25 to 40 ms: this is what the about 950 lines of codes, kernels and tests are for.
//!
//! A row x is coded as x' = h * (2u - 15) with a scale h of its own and codes u from 0 to 15, a query q as q' = t * k
//! with k from -127 to 127. |x - x'| is stored with the codes, so the triangle inequality gives
//!
//! ```text
//! |x - q| >= |x' - q'| - |x - x'| - |q - q'|     and     |x' - q'|² = h²Σ(2u-15)² - 2ht Σ(2u-15)k + t²Σk²
//! ```
//!
//! All sums on the right are whole numbers. The rest is rounded to the safe side, by margins that are wide compared
//! with float32 errors: a row is ruled out only if its float32 distance is larger than that of another row.

mod encode;
mod margins;

use encode::{HEADER, encode, encode_row};
use margins::{LENGTH_MARGIN, UNDERFLOW, is_codable, largest_magnitude, norm_of};

use super::parallel::for_each_parallel;
use super::storage::Storage;
use crate::kernels::Instructions;
use crate::kernels::code_dots::{CODE_GROUP, CodeGroup, LANES, QueryGroup, dots};

/// The margins are proven for so many dimensions.
pub const MAX_DIMENSION: usize = 1 << 16;

/// Blocks that a thread encodes or checks at a time.
const BLOCKS_AT_ONCE: usize = 256;

/// The codes of a gallery's rows, in blocks of sixteen rows. The padding of the last block is zero.
#[derive(Debug, Clone, Default)]
pub struct Codes {
    blocks: Storage<u8>,
    dimension: usize,
}

/// Why stored codes or embeddings cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodesError {
    /// An embedding holds NaN or an infinity.
    NotFinite,
    /// The codes belong to other embeddings.
    OtherCodes,
}

impl Codes {
    pub fn new(dimension: usize) -> Self {
        Self {
            blocks: Storage::default(),
            dimension,
        }
    }

    /// Returns the number of blocks, and the bytes of a block, for so many rows.
    pub fn shape(rows: usize, dimension: usize) -> [usize; 2] {
        [
            rows.div_ceil(LANES),
            HEADER + dimension.div_ceil(CODE_GROUP) * size_of::<CodeGroup>(),
        ]
    }

    /// Encodes `embeddings`, with several threads.
    ///
    /// # Errors
    /// When a number is not finite.
    pub fn of(embeddings: &[f32], dimension: usize) -> Result<Self, CodesError> {
        let [count, block_bytes] = Self::shape(embeddings.len() / dimension, dimension);
        let mut blocks = vec![0; count * block_bytes];
        let rows = embeddings.chunks(BLOCKS_AT_ONCE * LANES * dimension);
        let pieces = rows.zip(blocks.chunks_mut(BLOCKS_AT_ONCE * block_bytes));
        for_each_parallel(pieces, |(rows, blocks)| {
            check_finite(rows)?;
            encode(rows, dimension, blocks.chunks_exact_mut(block_bytes));
            Ok(())
        })?;
        Ok(Self {
            blocks: Storage::Owned(blocks),
            dimension,
        })
    }

    /// Checks codes that were stored with `embeddings`. They are computed again and compared: a damaged code could hide
    /// the nearest row, and checking that the embeddings are finite reads them anyway.
    ///
    /// # Errors
    /// When a number is not finite, or when the codes belong to other embeddings.
    pub fn stored(
        blocks: Storage<u8>,
        embeddings: &[f32],
        dimension: usize,
    ) -> Result<Self, CodesError> {
        let [_, block_bytes] = Self::shape(0, dimension);
        let rows = embeddings.chunks(BLOCKS_AT_ONCE * LANES * dimension);
        let pieces = rows.zip(blocks.chunks(BLOCKS_AT_ONCE * block_bytes));
        for_each_parallel(pieces, |(rows, stored)| {
            check_finite(rows)?;
            let mut expected = vec![0; stored.len()];
            encode(rows, dimension, expected.chunks_exact_mut(block_bytes));
            (expected == stored)
                .then_some(())
                .ok_or(CodesError::OtherCodes)
        })?;
        Ok(Self { blocks, dimension })
    }

    /// Appends the code of row `index`.
    pub fn push(&mut self, index: usize, row: &[f32]) {
        let [count, block_bytes] = Self::shape(index + 1, self.dimension);
        let blocks = self.blocks.to_mut();
        blocks.resize(count * block_bytes, 0);
        let block = &mut blocks[(count - 1) * block_bytes..];
        encode_row(row, block, index % LANES);
    }

    /// Returns all blocks as stored, or nothing before the first row.
    pub fn bytes(&self) -> &[u8] {
        &self.blocks
    }

    /// Splits the blocks into runs of `length`.
    pub fn runs(&self, length: usize) -> impl Iterator<Item = &[u8]> {
        let [_, block_bytes] = Self::shape(0, self.dimension);
        self.blocks.chunks(length * block_bytes)
    }

    /// Splits a run into blocks.
    pub fn blocks<'a>(&self, run: &'a [u8]) -> impl Iterator<Item = Block<'a>> {
        let [_, block_bytes] = Self::shape(0, self.dimension);
        run.chunks_exact(block_bytes).map(Block)
    }
}

/// Codes of sixteen rows.
#[derive(Debug)]
pub struct Block<'a>(&'a [u8]);

impl Block<'_> {
    /// Returns which rows are certainly farther from the query than `radius`, see [`CodedQuery::radius`].
    pub fn beyond(
        &self,
        query: &CodedQuery,
        radius: f32,
        instructions: Instructions,
    ) -> [bool; LANES] {
        let (header, groups) = self.0.split_at(HEADER);
        let dots = dots(instructions, groups.as_chunks().0, &query.groups);
        let words = header.as_chunks().0;
        let word = |index: usize| f32::from_le_bytes(words[index]);
        std::array::from_fn(|lane| {
            let (scale, norm, error) = (word(lane), word(LANES + lane), word(2 * LANES + lane));
            let products = (2 * dots[lane] - query.offset) as f32;
            let squared = norm + query.norm - products * (query.doubled_scale * scale);
            let limit = radius + error;
            squared > limit * limit
        })
    }
}

/// A query in 8 bits per dimension.
#[derive(Debug)]
pub struct CodedQuery {
    groups: Vec<QueryGroup>,
    /// 15 * Σk, which turns products with u into products with 2u - 15.
    offset: i32,
    /// 2t.
    doubled_scale: f32,
    /// t²Σk², less its margin.
    norm: f32,
    /// |q - q'|.
    error: f64,
    dimension: usize,
}

impl CodedQuery {
    /// Returns `None` if the numbers are too large, too small or not finite.
    pub fn new(query: &[f32]) -> Option<Self> {
        let largest = largest_magnitude(query);
        if !is_codable(largest) {
            return None;
        }
        let scale = largest / 127.0;
        let mut groups = vec![QueryGroup::default(); query.len().div_ceil(CODE_GROUP)];
        let (mut sum, mut squares, mut error) = (0, 0, 0.0);
        for (index, &value) in query.iter().enumerate() {
            let code = (value / scale).round() as i8;
            groups[index / CODE_GROUP][index % CODE_GROUP / 4][index % 4] = code;
            sum += i32::from(code);
            squares += i64::from(code).pow(2);
            error += (f64::from(value) - f64::from(scale) * f64::from(code)).powi(2);
        }
        // `largest_magnitude` may overlook a NaN, but this sum does not.
        error.is_finite().then(|| Self {
            groups,
            offset: 15 * sum,
            doubled_scale: 2.0 * scale,
            norm: norm_of(scale, squares as f64),
            error: error.sqrt(),
            dimension: query.len(),
        })
    }

    /// Returns the largest distance between the coded query and the code of a row whose computed squared distance is at
    /// most `squared`.
    pub fn radius(&self, squared: f32) -> f32 {
        // Subtracting, squaring and adding in float32 loses at most this share, in any order.
        let lost = (self.dimension + 8) as f64 / (1u64 << 24) as f64;
        let distance = ((f64::from(squared) + UNDERFLOW) / (1.0 - lost)).sqrt();
        ((distance + self.error) * LENGTH_MARGIN) as f32
    }
}

fn check_finite(values: &[f32]) -> Result<(), CodesError> {
    // A loop without an early exit becomes vector instructions.
    let finite = values
        .iter()
        .fold(true, |finite, value| finite & value.is_finite());
    finite.then_some(()).ok_or(CodesError::NotFinite)
}
