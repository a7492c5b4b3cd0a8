//! The nearest row: by looking at every row, or at those only that their codes do not rule out. Both give the same row
//! and the same distance to the last bit.

use std::sync::atomic::{AtomicU32, Ordering};

use super::codes::{CodedQuery, Codes};
use super::parallel::{Pieces, default_threads, on_threads};
use crate::vision::native::dot::{Instructions, LANES};

/// Codes that are worth a thread of their own: reading them takes several times as long as starting one.
const BYTES_PER_THREAD: usize = 2 << 20;
/// Blocks that a thread takes at a time, a few hundred kilobytes.
const RUN: usize = 256;

/// How a search is carried out. It changes the time, never the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchPlan {
    /// Threads that share the search, the calling one among them.
    pub threads: usize,
    pub instructions: Instructions,
}

impl SearchPlan {
    /// The fastest way through so many bytes of codes.
    pub fn for_codes(bytes: usize) -> Self {
        let worthwhile = bytes / BYTES_PER_THREAD;
        Self {
            threads: if worthwhile > 1 {
                default_threads().min(worthwhile)
            } else {
                1
            },
            instructions: Instructions::best(),
        }
    }
}

/// A row and its squared distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    pub row: usize,
    pub squared: f32,
}

impl Found {
    /// Whether the other is the better answer; it is not if one of the distances is not a number.
    fn loses_to(&self, other: &Self) -> bool {
        other.squared < self.squared || (other.squared == self.squared && other.row < self.row)
    }
}

/// Embeddings of a gallery, `dimension` numbers each.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    pub embeddings: &'a [f32],
    pub dimension: usize,
}

impl<'a> Rows<'a> {
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        self.embeddings.chunks_exact(self.dimension.max(1))
    }

    /// The squared distance of a row; `None` if there is no such row.
    fn measure(self, row: usize, query: &[f32]) -> Option<Found> {
        let known = self.embeddings.get(row * self.dimension..)?;
        Some(Found {
            row,
            squared: squared_distance(known.get(..self.dimension)?, query),
        })
    }

    /// Looks at every row.
    pub fn nearest(self, query: &[f32]) -> Option<Found> {
        let all = self.iter().enumerate().map(|(row, known)| Found {
            row,
            squared: squared_distance(known, query),
        });
        all.reduce(|best, next| if best.loses_to(&next) { next } else { best })
    }

    /// Looks at the rows that `codes`, which are the codes of these rows, do not rule out.
    pub fn nearest_by_codes(self, codes: &Codes, query: &[f32], plan: SearchPlan) -> Option<Found> {
        let Some(coded_query) = CodedQuery::new(query) else {
            return self.nearest(query);
        };
        // A first row whose distance is not a number is never replaced, as in the search through all rows.
        let first = self.measure(0, query)?;
        let search = Search {
            rows: self,
            codes,
            query,
            coded_query,
            instructions: plan.instructions,
            smallest: AtomicU32::new(first.squared.to_bits()),
        };
        let runs = Pieces::new(codes.runs(RUN).enumerate());
        let results = on_threads(plan.threads, || {
            let mut best = first;
            while let Some((index, run)) = runs.next() {
                search.improve(&mut best, index * RUN * LANES, run);
            }
            best
        });
        results
            .into_iter()
            .reduce(|best, next| if best.loses_to(&next) { next } else { best })
    }
}

/// What the threads of one search share.
struct Search<'a> {
    rows: Rows<'a>,
    codes: &'a Codes,
    query: &'a [f32],
    coded_query: CodedQuery,
    instructions: Instructions,
    /// The bits of the smallest squared distance that any thread has found. Numbers that are not negative have the
    /// order of their bits.
    smallest: AtomicU32,
}

impl Search<'_> {
    /// Replaces `best` by a nearer row of the run that starts at `first_row`.
    fn improve(&self, best: &mut Found, first_row: usize, run: &[u8]) {
        let mut smallest = self.smallest.load(Ordering::Relaxed);
        let mut reach = self.coded_query.reach(f32::from_bits(smallest));
        for (index, block) in self.codes.blocks(run).enumerate() {
            let beyond = block.beyond(&self.coded_query, reach, self.instructions);
            if beyond == [true; LANES] {
                continue;
            }
            for lane in (0..LANES).filter(|&lane| !beyond[lane]) {
                let row = first_row + index * LANES + lane;
                // Past the last row there are only the zeros that fill up the last block.
                let Some(found) = self.rows.measure(row, self.query) else {
                    break;
                };
                if best.loses_to(&found) {
                    *best = found;
                    self.smallest
                        .fetch_min(found.squared.to_bits(), Ordering::Relaxed);
                }
            }
            let now = self.smallest.load(Ordering::Relaxed);
            if now != smallest {
                smallest = now;
                reach = self.coded_query.reach(f32::from_bits(smallest));
            }
        }
    }
}

/// The square of the Euclidean distance. Sixteen sums side by side, which the compiler turns into vector instructions.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            let difference = a[lane] - b[lane];
            sums[lane] += difference * difference;
        }
    }
    let rest: f32 = a_rest
        .iter()
        .zip(b_rest)
        .map(|(a, b)| (a - b) * (a - b))
        .sum();
    sums.iter().sum::<f32>() + rest
}
