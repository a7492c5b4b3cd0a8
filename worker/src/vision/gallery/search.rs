//! The search for the nearest row: a scan of all rows, or of those that their codes do not rule out. Both return the
//! same row and the same distance to the last bit.

use std::sync::atomic::{AtomicU32, Ordering};

use super::codes::{CodedQuery, Codes};
use super::parallel::{WorkQueue, default_threads, on_threads};
use crate::kernels::Instructions;
use crate::kernels::code_dots::LANES;

/// Bytes of codes that are worth a thread: reading them takes several times as long as starting it.
const BYTES_PER_THREAD: usize = 2 << 20;
/// Blocks that a thread takes at a time, a few hundred kilobytes.
const RUN: usize = 256;

/// How a search runs. The plan changes its time, never its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchPlan {
    /// Threads that share the search, the calling one among them.
    pub threads: usize,
    pub instructions: Instructions,
}

impl SearchPlan {
    /// Returns the fastest plan for so many bytes of codes.
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
pub struct Match {
    pub row: usize,
    pub squared: f32,
}

impl Match {
    /// Whether the other match is better. It is not if one of the distances is NaN.
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

    /// Returns the squared distance of a row, or `None` if there is no such row.
    fn measure(self, row: usize, query: &[f32]) -> Option<Match> {
        let known = self.embeddings.get(row * self.dimension..)?;
        Some(Match {
            row,
            squared: squared_distance(known.get(..self.dimension)?, query),
        })
    }

    /// Scans all rows.
    pub fn nearest(self, query: &[f32]) -> Option<Match> {
        let all = self.iter().enumerate().map(|(row, known)| Match {
            row,
            squared: squared_distance(known, query),
        });
        all.reduce(|best, next| if best.loses_to(&next) { next } else { best })
    }

    /// Scans the rows that their `codes` do not rule out.
    pub fn nearest_by_codes(self, codes: &Codes, query: &[f32], plan: SearchPlan) -> Option<Match> {
        let Some(coded_query) = CodedQuery::new(query) else {
            return self.nearest(query);
        };
        // A first row whose distance is NaN is never replaced, as in the scan of all rows.
        let first = self.measure(0, query)?;
        let search = Search {
            rows: self,
            codes,
            query,
            coded_query,
            instructions: plan.instructions,
            smallest: AtomicU32::new(first.squared.to_bits()),
        };
        let runs = WorkQueue::new(codes.runs(RUN).enumerate());
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
    /// The bits of the smallest squared distance so far. Bits of non-negative numbers have the order of the numbers.
    smallest: AtomicU32,
}

impl Search<'_> {
    /// Replaces `best` by a nearer row of the run that starts at `first_row`.
    fn improve(&self, best: &mut Match, first_row: usize, run: &[u8]) {
        let mut smallest = self.smallest.load(Ordering::Relaxed);
        let mut radius = self.coded_query.radius(f32::from_bits(smallest));
        for (index, block) in self.codes.blocks(run).enumerate() {
            let beyond = block.beyond(&self.coded_query, radius, self.instructions);
            if beyond == [true; LANES] {
                continue;
            }
            for lane in (0..LANES).filter(|&lane| !beyond[lane]) {
                let row = first_row + index * LANES + lane;
                // The last block is padded with zeros.
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
                radius = self.coded_query.radius(f32::from_bits(smallest));
            }
        }
    }
}

/// Returns the square of the Euclidean distance, from sixteen sums that the compiler turns into vectors.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
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
