//! Rows as 4-bit codes, an eighth of the float32 numbers, from which a search tells for almost every row that it cannot
//! be the nearest.
//!
//! A row x is coded as x' = h * (2u - 15) with a scale h of its own and codes u from 0 to 15, a query q as q' = t * k
//! with k from -127 to 127. Beside the codes lies |x - x'|, so the triangle inequality gives
//!
//! ```text
//! |x - q| >= |x' - q'| - |x - x'| - |q - q'|     and     |x' - q'|² = h²Σ(2u-15)² - 2ht Σ(2u-15)k + t²Σk²
//! ```
//!
//! All sums on the right are whole numbers. What is rounded is rounded to the safe side by margins that are wide
//! compared with float32 errors: a row is left out only if the float32 distance that would be computed for it is larger
//! than that of another row.

mod encode;

use encode::{encode, encode_row};

use super::parallel::for_each_piece;
use super::storage::Storage;
use crate::vision::native::dot::{CodeGroup, GROUP, Instructions, LANES, QueryGroup, dots};

/// Beyond this the error bound of a float32 sum, and whole numbers as float32, would have to be thought over again.
pub const MAX_DIMENSION: usize = 1 << 16;

/// Largest absolute values for which no product below leaves float32's normal range. Rows beyond it are never left out.
const CODABLE: std::ops::RangeInclusive<f32> = 1e-15..=1e15;
/// Sixteen scales, sixteen squared norms and sixteen distances between row and code, in float32.
const HEADER: usize = 3 * 4 * LANES;
/// Relative margin of the squared distance between codes: about ten roundings of 2^-24 each.
const NORM_MARGIN: f64 = 1.0 / (1u64 << 19) as f64;
/// Factor on lengths, for their own roundings and for those of adding and squaring them.
const LENGTH_MARGIN: f64 = 1.0 + 1.0 / (1u64 << 20) as f64;
/// More than what is lost where squares of tiny differences underflow.
const UNDERFLOW: f64 = 1e-37;

/// Blocks that one thread codes or checks at a time.
const PIECE: usize = 256;

/// The codes of a gallery's rows, in blocks of sixteen rows; rows that fill up the last block are zero.
#[derive(Debug, Clone, Default)]
pub struct Codes {
    blocks: Storage<u8>,
    dimension: usize,
}

/// Codes that do not belong to the embeddings they lie beside, or embeddings that are no numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    NotFinite,
    OtherCodes,
}

impl Codes {
    pub fn new(dimension: usize) -> Self {
        Self {
            blocks: Storage::default(),
            dimension,
        }
    }

    /// Number of blocks and bytes in each for a gallery of so many rows.
    pub fn shape(rows: usize, dimension: usize) -> [usize; 2] {
        [
            rows.div_ceil(LANES),
            HEADER + dimension.div_ceil(GROUP) * size_of::<CodeGroup>(),
        ]
    }

    /// Codes of `embeddings`, computed by several threads.
    pub fn of(embeddings: &[f32], dimension: usize) -> Result<Self, Fault> {
        let [count, block_bytes] = Self::shape(embeddings.len() / dimension, dimension);
        let mut blocks = vec![0; count * block_bytes];
        let rows = embeddings.chunks(PIECE * LANES * dimension);
        let pieces = rows.zip(blocks.chunks_mut(PIECE * block_bytes));
        for_each_piece(pieces, |(rows, blocks)| {
            check_finite(rows)?;
            encode(rows, dimension, blocks);
            Ok(())
        })?;
        Ok(Self {
            blocks: Storage::Owned(blocks),
            dimension,
        })
    }

    /// Codes that were stored beside `embeddings`. They are computed anew and compared: a damaged code could hide the
    /// nearest row, and the embeddings must be read anyway to see whether they are finite.
    pub fn stored(
        blocks: Storage<u8>,
        embeddings: &[f32],
        dimension: usize,
    ) -> Result<Self, Fault> {
        let [_, block_bytes] = Self::shape(0, dimension);
        let rows = embeddings.chunks(PIECE * LANES * dimension);
        let pieces = rows.zip(blocks.chunks(PIECE * block_bytes));
        for_each_piece(pieces, |(rows, stored)| {
            check_finite(rows)?;
            let mut expected = vec![0; stored.len()];
            encode(rows, dimension, &mut expected);
            (expected == stored).then_some(()).ok_or(Fault::OtherCodes)
        })?;
        Ok(Self { blocks, dimension })
    }

    /// Codes row number `index`, which comes after those coded before.
    pub fn push(&mut self, index: usize, row: &[f32]) {
        let [count, block_bytes] = Self::shape(index + 1, self.dimension);
        let blocks = self.blocks.to_mut();
        blocks.resize(count * block_bytes, 0);
        let block = &mut blocks[(count - 1) * block_bytes..];
        encode_row(row, block, index % LANES);
    }

    /// All blocks as stored, empty if nothing is coded.
    pub fn bytes(&self) -> &[u8] {
        &self.blocks
    }

    /// Runs of `length` blocks.
    pub fn runs(&self, length: usize) -> impl Iterator<Item = &[u8]> {
        let [_, block_bytes] = Self::shape(0, self.dimension);
        self.blocks.chunks(length * block_bytes)
    }

    /// The blocks of a run.
    pub fn blocks<'a>(&self, run: &'a [u8]) -> impl Iterator<Item = Block<'a>> {
        let [_, block_bytes] = Self::shape(0, self.dimension);
        run.chunks_exact(block_bytes).map(Block)
    }
}

/// Codes of sixteen rows.
#[derive(Debug)]
pub struct Block<'a>(&'a [u8]);

impl Block<'_> {
    /// Which rows are certainly farther from the query than `reach`, made by `CodedQuery::reach`.
    pub fn beyond(
        &self,
        query: &CodedQuery,
        reach: f32,
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
            let limit = reach + error;
            squared > limit * limit
        })
    }
}

/// A query in 8 bits per dimension.
#[derive(Debug)]
pub struct CodedQuery {
    groups: Vec<QueryGroup>,
    /// 15 * Σk, what makes products with 2u - 15 of products with u.
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
    /// `None` if its numbers are too large, too small or not finite.
    pub fn new(query: &[f32]) -> Option<Self> {
        let largest = largest_magnitude(query);
        if !is_codable(largest) {
            return None;
        }
        let scale = largest / 127.0;
        let mut groups = vec![QueryGroup::default(); query.len().div_ceil(GROUP)];
        let (mut sum, mut squares, mut error) = (0, 0, 0.0);
        for (index, &value) in query.iter().enumerate() {
            let code = (value / scale).round() as i8;
            groups[index / GROUP][index % GROUP / 4][index % 4] = code;
            sum += i32::from(code);
            squares += i64::from(code).pow(2);
            error += (f64::from(value) - f64::from(scale) * f64::from(code)).powi(2);
        }
        // A number that is not finite may have escaped `largest_magnitude`, but not this sum.
        error.is_finite().then(|| Self {
            groups,
            offset: 15 * sum,
            doubled_scale: 2.0 * scale,
            norm: norm_of(scale, squares as f64),
            error: error.sqrt(),
            dimension: query.len(),
        })
    }

    /// How far from the coded query the code of a row may lie whose computed squared distance is at most `squared`.
    pub fn reach(&self, squared: f32) -> f32 {
        // Subtracting, squaring and adding up in float32, in whatever order, loses at most this share.
        let lost = (self.dimension + 8) as f64 / (1u64 << 24) as f64;
        let distance = ((f64::from(squared) + UNDERFLOW) / (1.0 - lost)).sqrt();
        ((distance + self.error) * LENGTH_MARGIN) as f32
    }
}

/// The squared length of a code, less the margin for all roundings of a squared distance.
fn norm_of(scale: f32, squares: f64) -> f32 {
    (f64::from(scale).powi(2) * squares * (1.0 - NORM_MARGIN)) as f32
}

fn is_codable(largest: f32) -> bool {
    largest == 0.0 || CODABLE.contains(&largest)
}

/// The largest absolute value; numbers that are not finite may be overlooked.
#[inline(always)]
fn largest_magnitude(values: &[f32]) -> f32 {
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

fn check_finite(values: &[f32]) -> Result<(), Fault> {
    // Without a way out of its middle the loop becomes vector instructions.
    let finite = values
        .iter()
        .fold(true, |finite, value| finite & value.is_finite());
    finite.then_some(()).ok_or(Fault::NotFinite)
}
