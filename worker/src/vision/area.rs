//! Resizing by area: every output value is the mean of the pixels that its cell touches, as in torch's
//! `interpolate(mode="area")` (`adaptive_avg_pool2d`), which facenet-pytorch's detector uses for all its inputs.

use photo::Photo;

const CHANNELS: usize = 3;

/// Sums over every rectangle from the top left corner (F. C. Crow, "Summed-area tables for texture mapping", 1984), so
/// that a cell costs four reads a channel whatever its size.
///
/// The sums wrap around at 2^32; a difference of two is right all the same, since no cell holds 16 million pixels.
#[derive(Debug, Default)]
pub struct AreaTable {
    width: usize,
    height: usize,
    sums: Vec<u32>,
}

/// A rectangle of whole pixels, from `left`, `top` up to but without `right`, `bottom`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PixelRect {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

/// How a part of the photo is resized: which columns each output averages.
///
/// An output value is (mean - 127.5) / 128, what the detector's networks read.
#[derive(Debug, Default)]
pub struct Sampler {
    rect: PixelRect,
    height: usize,
    /// First column of each output and the one after its last, as distances in a strip.
    columns: Vec<(u32, u32)>,
    /// One over 128 times the number of columns.
    weights: Vec<f32>,
    /// Sums of the rows of one output row, over all columns up to each.
    strip: Vec<u32>,
    /// Sums of the cells of one output row, and one number more.
    cells: Vec<u32>,
}

impl AreaTable {
    /// Sums up another photo in the same memory.
    pub fn fill(&mut self, photo: &Photo) {
        (self.width, self.height) = (photo.width(), photo.height());
        let stride = self.stride();
        let length = stride * (self.height + 1);
        if self.sums.len() < length {
            // Memory fresh from the system is zero.
            self.sums = vec![0; length];
        }
        self.sums[..stride].fill(0);
        let rows = photo.pixels().chunks_exact(self.width * CHANNELS);
        for (y, row) in rows.enumerate() {
            let (above, below) = self.sums[y * stride..(y + 2) * stride].split_at_mut(stride);
            below[..CHANNELS].fill(0);
            let mut running = [0u32; CHANNELS];
            let cells = above[CHANNELS..].as_chunks::<CHANNELS>().0.iter();
            let targets = below[CHANNELS..].as_chunks_mut::<CHANNELS>().0.iter_mut();
            for ((pixel, above), target) in
                row.as_chunks::<CHANNELS>().0.iter().zip(cells).zip(targets)
            {
                for channel in 0..CHANNELS {
                    running[channel] = running[channel].wrapping_add(u32::from(pixel[channel]));
                    target[channel] = running[channel].wrapping_add(above[channel]);
                }
            }
        }
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    pub fn whole(&self) -> PixelRect {
        PixelRect {
            left: 0,
            top: 0,
            right: self.width,
            bottom: self.height,
        }
    }

    fn stride(&self) -> usize {
        (self.width + 1) * CHANNELS
    }
}

impl Sampler {
    /// Resizes `rect` to `width` x `height` from now on.
    pub fn aim(&mut self, rect: PixelRect, width: usize, height: usize) {
        (self.rect, self.height) = (rect, height);
        self.columns.clear();
        self.weights.clear();
        for x in 0..width {
            let (start, end) = cell(x, rect.right - rect.left, width);
            self.columns
                .push(((start * CHANNELS) as u32, (end * CHANNELS) as u32));
            self.weights.push(0.007_812_5 / (end - start) as f32);
        }
        self.cells.resize(width * CHANNELS + 1, 0);
    }

    /// Writes `rect` as `width` x `height` pixels, in rows of red, green, blue.
    pub fn resize(
        &mut self,
        table: &AreaTable,
        rect: PixelRect,
        [width, height]: [usize; 2],
        out: &mut [f32],
    ) {
        self.aim(rect, width, height);
        for (y, row) in out.chunks_exact_mut(width * CHANNELS).enumerate() {
            self.row(table, y, row);
        }
    }

    fn row(&mut self, table: &AreaTable, y: usize, out: &mut [f32]) {
        let row_weight = self.sum_cells(table, y);
        let cells = self.cells.as_chunks::<CHANNELS>().0;
        let pixels = out.as_chunks_mut::<CHANNELS>().0;
        for ((pixel, cell), column_weight) in pixels.iter_mut().zip(cells).zip(&self.weights) {
            let weight = row_weight * column_weight;
            *pixel = cell.map(|sum| mean(sum, weight));
        }
    }

    /// One row as six planes, `plane` values apart: red of the even pixels, red of the odd ones, then green and blue.
    pub fn split_row(&mut self, table: &AreaTable, y: usize, out: &mut [f32], plane: usize) {
        let row_weight = self.sum_cells(table, y);
        let planes = out.chunks_exact_mut(plane).take(2 * CHANNELS);
        for (number, values) in planes.enumerate() {
            let (channel, parity) = (number / 2, number % 2);
            let cells = self.cells[..self.columns.len() * CHANNELS].as_chunks::<{ 2 * CHANNELS }>();
            let sums = cells.0.iter().map(|pair| pair[parity * CHANNELS + channel]);
            // A last pixel that has no odd one beside it.
            let last = cells.1.get(channel).filter(|_| parity == 0);
            let weights = self.weights.iter().skip(parity).step_by(2);
            for ((value, sum), weight) in values
                .iter_mut()
                .zip(sums.chain(last.copied()))
                .zip(weights)
            {
                *value = mean(sum, row_weight * weight);
            }
        }
    }

    /// Sums of all cells of an output row; returns one over its number of rows.
    fn sum_cells(&mut self, table: &AreaTable, y: usize) -> f32 {
        let rect = self.rect;
        let (start, end) = cell(y, rect.bottom - rect.top, self.height);
        let stride = table.stride();
        let length = (rect.right - rect.left + 1) * CHANNELS;
        let row = |y: usize| &table.sums[y * stride + rect.left * CHANNELS..][..length];
        self.strip.clear();
        let strip = row(rect.top + end)
            .iter()
            .zip(row(rect.top + start))
            .map(|(lower, upper)| lower.wrapping_sub(*upper));
        self.strip.extend(strip);
        self.strip.push(0);
        // One vector each: the fourth number is written over by the next cell, or lies beyond the last.
        for (index, &(left, right)) in self.columns.iter().enumerate() {
            let left = &self.strip[left as usize..][..CHANNELS + 1];
            let right = &self.strip[right as usize..][..CHANNELS + 1];
            let sums: [u32; CHANNELS + 1] =
                std::array::from_fn(|channel| right[channel].wrapping_sub(left[channel]));
            self.cells[index * CHANNELS..][..CHANNELS + 1].copy_from_slice(&sums);
        }
        1.0 / (end - start) as f32
    }
}

/// A sum is less than 2^31, and signed numbers are the faster ones to convert.
fn mean(sum: u32, weight: f32) -> f32 {
    sum as i32 as f32 * weight - 127.5 * 0.007_812_5
}

/// A copy of the photo with each side divided by `factor`, by the mean over `factor` x `factor` pixels; the pixels left
/// over at the right and lower edge are dropped.
pub fn shrink(photo: &Photo, factor: usize) -> Photo {
    let (width, height) = (
        (photo.width() / factor).max(1),
        (photo.height() / factor).max(1),
    );
    let (cell_width, cell_height) = (factor.min(photo.width()), factor.min(photo.height()));
    let pixels_in_cell = (cell_width * cell_height) as u32;
    let mut sums = vec![0u32; width * CHANNELS];
    let mut pixels = Vec::with_capacity(width * height * CHANNELS);
    for y in 0..height {
        sums.fill(0);
        for row in y * cell_height..(y + 1) * cell_height {
            let row =
                &photo.pixels()[row * photo.width() * CHANNELS..][..width * cell_width * CHANNELS];
            for (cell, sum) in row
                .chunks_exact(cell_width * CHANNELS)
                .zip(sums.chunks_exact_mut(CHANNELS))
            {
                for pixel in cell.chunks_exact(CHANNELS) {
                    for (total, &value) in sum.iter_mut().zip(pixel) {
                        *total += u32::from(value);
                    }
                }
            }
        }
        pixels.extend(
            sums.iter()
                .map(|sum| ((sum + pixels_in_cell / 2) / pixels_in_cell) as u8),
        );
    }
    Photo::new(width, height, pixels)
}

/// The pixels that output `index` of `outputs` averages over: from the first up to but without the second.
fn cell(index: usize, inputs: usize, outputs: usize) -> (usize, usize) {
    (
        index * inputs / outputs,
        ((index + 1) * inputs).div_ceil(outputs),
    )
}
