//! The search for the nearest rows of different identities: a scan of all rows, or of those that their codes do not rule
//! out. Both return the same rows and the same distances to the last bit.

use std::sync::atomic::{AtomicU32, Ordering};

use super::codes::{CodedQuery, Codes};
use super::nearest::{Match, NearestList};
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

    /// Returns the squared distance of a row.
    ///
    /// Panics if there is no such row.
    pub fn measure(self, row: usize, query: &[f32]) -> Match {
        let known = &self.embeddings[row * self.dimension..][..self.dimension];
        Match {
            row,
            squared: squared_distance(known, query),
        }
    }

    /// Scans all rows.
    pub fn nearest<'n>(self, mut nearest: NearestList<'n>, query: &[f32]) -> NearestList<'n> {
        for (row, known) in self.iter().enumerate() {
            nearest.offer(Match {
                row,
                squared: squared_distance(known, query),
            });
        }
        nearest
    }

    /// Scans the rows that their `codes` do not rule out.
    pub fn nearest_by_codes<'n>(
        self,
        nearest: NearestList<'n>,
        codes: &Codes,
        query: &[f32],
        plan: SearchPlan,
    ) -> NearestList<'n> {
        let Some(coded_query) = CodedQuery::new(query) else {
            return self.nearest(nearest, query);
        };
        let search = Search {
            rows: self,
            count: self.iter().len(),
            codes,
            query,
            coded_query,
            instructions: plan.instructions,
            limit: AtomicU32::new(nearest.limit().to_bits()),
        };
        let runs = WorkQueue::new(codes.runs(RUN).enumerate());
        let results = on_threads(plan.threads, || {
            let mut nearest = nearest.clone();
            while let Some((index, run)) = runs.next() {
                search.improve(&mut nearest, index * RUN * LANES, run);
            }
            nearest
        });
        results.into_iter().fold(nearest, NearestList::merge)
    }
}

/// What the threads of one search share.
struct Search<'a> {
    rows: Rows<'a>,
    count: usize,
    codes: &'a Codes,
    query: &'a [f32],
    coded_query: CodedQuery,
    instructions: Instructions,
    /// The bits of the smallest limit of all threads' lists: each list has as many identities within its limit as are
    /// wanted, so that no farther row is one of them. Bits of non-negative numbers have the order of the numbers.
    limit: AtomicU32,
}

impl Search<'_> {
    /// Takes the nearest rows of the run that starts at `first_row` into the list.
    fn improve(&self, nearest: &mut NearestList<'_>, first_row: usize, run: &[u8]) {
        let mut limit = self.limit.load(Ordering::Relaxed);
        let mut radius = self.coded_query.radius(f32::from_bits(limit));
        for (index, block) in self.codes.blocks(run).enumerate() {
            let beyond = block.beyond(&self.coded_query, radius, self.instructions);
            if beyond == [true; LANES] {
                continue;
            }
            for lane in (0..LANES).filter(|&lane| !beyond[lane]) {
                let row = first_row + index * LANES + lane;
                // The last block is padded with zeros.
                if row >= self.count {
                    break;
                }
                if nearest.offer(self.rows.measure(row, self.query)) {
                    let limit = nearest.limit().to_bits();
                    self.limit.fetch_min(limit, Ordering::Relaxed);
                }
            }
            let now = self.limit.load(Ordering::Relaxed);
            if now != limit {
                limit = now;
                radius = self.coded_query.radius(f32::from_bits(limit));
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
