//! One level of the pyramid, computed a few rows at a time.

use photo::Photo;

use super::super::layers::softmax_second;
use super::{
    BORDER, DenseOutput, FEATURES, MIDDLE, PIXEL_PLANES, POOLED, Proposal, ProposalArena,
    ProposalNet, RING,
};
use crate::kernels::area::PixelRect;
use crate::kernels::planes::{PlaneRows, plane_length};
use crate::kernels::winograd::{INPUT_ROWS, OUTPUT_ROWS};
use crate::kernels::{Float, Instructions, Kernel, run};

/// A level of the pyramid in the network.
struct Level<'a> {
    network: &'a ProposalNet,
    instructions: Instructions,
    photo: &'a Photo,
    width: usize,
    height: usize,
    /// Distance between planes in all buffers.
    plane: usize,
    arena: &'a mut ProposalArena,
    /// Rows that are done.
    pixel_rows: usize,
    pooled_rows: usize,
    middle_rows: usize,
}

impl ProposalNet {
    /// Returns the windows, row by row, of the photo resized to `width` x `height` (at least 12 x 12) whose probability
    /// is at least `threshold`.
    pub fn propose(
        &self,
        instructions: Instructions,
        photo: &Photo,
        [width, height]: [usize; 2],
        threshold: f32,
        arena: &mut ProposalArena,
    ) -> Vec<Proposal> {
        let mut level = Level::new(self, instructions, photo, [width, height], arena);
        let rows = level.pooled_height() - BORDER;
        let mut proposals = Vec::new();
        for y in (0..rows).step_by(OUTPUT_ROWS) {
            level.compute_features(y);
            for row in y..(y + OUTPUT_ROWS).min(rows) {
                level.collect(row, y, threshold, &mut proposals);
            }
        }
        proposals
    }
}

impl<'a> Level<'a> {
    fn new(
        network: &'a ProposalNet,
        instructions: Instructions,
        photo: &'a Photo,
        [width, height]: [usize; 2],
        arena: &'a mut ProposalArena,
    ) -> Self {
        let plane = plane_length(width.div_ceil(2));
        arena.reserve(plane);
        arena
            .resizer
            .set_target(PixelRect::whole(photo), width, height);
        Self {
            network,
            instructions,
            photo,
            width,
            height,
            plane,
            arena,
            pixel_rows: 0,
            pooled_rows: 0,
            middle_rows: 0,
        }
    }

    /// Returns the height of the pooled map, whose last row may be the maximum of a single row.
    fn pooled_height(&self) -> usize {
        (self.height - 2).div_ceil(2)
    }

    fn pooled_width(&self) -> usize {
        (self.width - 2).div_ceil(2)
    }

    /// Returns the six rows of a ring from `first` on; the last of `count` rows repeats.
    fn ring(&self, first: usize, count: usize, planes: usize) -> PlaneRows<INPUT_ROWS> {
        let start = |row: usize| (first + row).min(count - 1) % RING * planes * self.plane;
        PlaneRows {
            starts: std::array::from_fn(start),
            plane: self.plane,
        }
    }

    /// Returns four rows of a buffer from `first` on.
    fn four(&self, first: usize, planes: usize) -> PlaneRows<OUTPUT_ROWS> {
        PlaneRows {
            starts: std::array::from_fn(|row| (first + row) % RING * planes * self.plane),
            plane: self.plane,
        }
    }

    /// Computes rows `y` to `y + 3` of the last convolution.
    fn compute_features(&mut self, y: usize) {
        let count = self.pooled_height() - 2;
        while self.middle_rows < (y + INPUT_ROWS).min(count) {
            self.compute_middle();
        }
        let rows = self.ring(y, count, MIDDLE);
        let targets = self.four(0, FEATURES);
        self.network.conv3.convolve(
            self.instructions,
            self.pooled_width() - BORDER,
            (&self.arena.middle, rows),
            (&mut self.arena.features, targets),
        );
    }

    fn compute_middle(&mut self) {
        let first = self.middle_rows;
        let count = self.pooled_height();
        while self.pooled_rows < (first + INPUT_ROWS).min(count) {
            self.compute_pooled();
        }
        let rows = self.ring(first, count, POOLED);
        let targets = self.four(first, MIDDLE);
        self.network.conv2.convolve(
            self.instructions,
            self.pooled_width() - 2,
            (&self.arena.pooled, rows),
            (&mut self.arena.middle, targets),
        );
        self.middle_rows += OUTPUT_ROWS;
    }

    fn compute_pooled(&mut self) {
        let first = 2 * self.pooled_rows;
        while self.pixel_rows < (first + INPUT_ROWS).min(self.height) {
            let row = &mut self.arena.pixels[self.pixel_rows % RING * PIXEL_PLANES * self.plane..];
            (self.arena.resizer).split_row(self.photo, self.pixel_rows, row, self.plane);
            self.pixel_rows += 1;
        }
        let rows = self.ring(first, self.height, PIXEL_PLANES);
        let targets = self.four(0, 2 * POOLED);
        self.network.conv1.convolve(
            self.instructions,
            self.pooled_width(),
            (&self.arena.pixels, rows),
            (&mut self.arena.unpooled, targets),
        );
        let length = POOLED * self.plane;
        for pair in 0..2 {
            let rows = self.arena.unpooled.chunks_exact(2 * length).skip(2 * pair);
            let target = (self.pooled_rows + pair) % RING * length;
            let single_row = first + 2 * pair + 1 >= self.height - 2;
            let pool = PlanePool {
                rows: rows.take(if single_row { 1 } else { 2 }),
                plane: self.plane,
                odd_columns: (self.width - 2) / 2,
                out: &mut self.arena.pooled[target..][..length],
            };
            run(self.instructions, pool);
        }
        self.pooled_rows += 2;
    }

    /// Adds the faces of a row to `proposals`; `first` is the row that the features begin with.
    fn collect(&mut self, row: usize, first: usize, threshold: f32, proposals: &mut Vec<Proposal>) {
        let network = self.network;
        let [no, yes] = &network.logits;
        let length = FEATURES * self.plane;
        let features = &self.arena.features[(row - first) * length..][..length];
        let width = self.pooled_width() - BORDER;
        let scores = &mut self.arena.scores[..self.plane];
        let score = Score {
            features,
            logits: [no, yes],
            out: scores,
        };
        run(self.instructions, score);
        // A score below this rules a window out, and is cheaper than a probability.
        let min_score = (threshold / (1.0 - threshold)).ln() - 0.01;
        for (x, _) in scores[..width]
            .iter()
            .enumerate()
            .filter(|(_, score)| **score >= min_score)
        {
            let dense = |dense: &DenseOutput| {
                let channels = features.iter().skip(x).step_by(self.plane);
                let products = dense.weights.iter().zip(channels).map(|(a, b)| a * b);
                products.sum::<f32>() + dense.bias
            };
            let probability = softmax_second([dense(no), dense(yes)]);
            if probability >= threshold {
                proposals.push(Proposal {
                    x,
                    y: row,
                    probability,
                    regression: network.regression.each_ref().map(dense),
                });
            }
        }
    }
}

/// Takes maxima over pairs of columns in each row, and over the rows.
struct PlanePool<'a, R> {
    /// A row's even columns, channel by channel, then its odd ones.
    rows: R,
    plane: usize,
    odd_columns: usize,
    out: &'a mut [f32],
}

impl<'a, R: Iterator<Item = &'a [f32]>> Kernel for PlanePool<'a, R> {
    #[inline(always)]
    fn run<F: Float>(self) {
        // One instruction, unlike `f32::max`, which handles NaN.
        let larger = |a: f32, b: f32| if a > b { a } else { b };
        for (number, row) in self.rows.enumerate() {
            let (even, odd) = row.split_at(self.out.len());
            let planes = (self.out.chunks_exact_mut(self.plane)).zip(
                even.chunks_exact(self.plane)
                    .zip(odd.chunks_exact(self.plane)),
            );
            for (out, (even, odd)) in planes {
                let (pairs, single) = out.split_at_mut(self.odd_columns);
                let (even_of_pairs, even) = even.split_at(self.odd_columns);
                for ((out, &even), &odd) in pairs.iter_mut().zip(even_of_pairs).zip(odd) {
                    let above = if number == 0 { even } else { *out };
                    *out = larger(larger(above, even), odd);
                }
                for (out, &even) in single.iter_mut().zip(even) {
                    *out = if number == 0 {
                        even
                    } else {
                        larger(*out, even)
                    };
                }
            }
        }
    }
}

/// Computes each window's difference of the two logits.
struct Score<'a> {
    features: &'a [f32],
    logits: [&'a DenseOutput; 2],
    out: &'a mut [f32],
}

impl Kernel for Score<'_> {
    #[inline(always)]
    fn run<F: Float>(self) {
        // Several vectors, whose sums are independent. The last block overlaps.
        const BLOCK: usize = 32;
        let [no, yes] = self.logits;
        let plane = self.out.len();
        for start in (0..plane).step_by(BLOCK) {
            let start = start.min(plane - BLOCK);
            let mut sums = [yes.bias - no.bias; BLOCK];
            for (channel, (yes, no)) in yes.weights.iter().zip(&no.weights).enumerate() {
                let weight = yes - no;
                let values = &self.features[channel * plane + start..][..BLOCK];
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = if F::FUSED {
                        value.mul_add(weight, *sum)
                    } else {
                        value * weight + *sum
                    };
                }
            }
            self.out[start..start + BLOCK].copy_from_slice(&sums);
        }
    }
}
